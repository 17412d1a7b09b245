"""A memory node behind the real RPC server, on an event loop in a thread of its own: for tests of blocking clients."""

import asyncio
import contextlib
import http.client
import json
import threading
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from node.rpc.server import RpcServer
from tests.memory_node import MemoryNode
from tests.patience import PATIENCE_S

MAX_BODY: Final = 256 * 1024


@dataclass
class Settings:
    host: str = "127.0.0.1"
    port: int = 0
    max_body_bytes: int = MAX_BODY


class LoopThread:
    """Runs one asynchronous context in a thread; entering waits until it stands and returns its value."""

    def __init__(self, enter: Callable[[contextlib.AsyncExitStack], Awaitable[Any]]) -> None:
        self._enter = enter
        self._started = threading.Event()
        self._failure: BaseException | None = None
        self._value: Any = None
        self._thread = threading.Thread(target=lambda: asyncio.run(self._main()))

    async def _main(self) -> None:
        self._loop, self._stop = asyncio.get_running_loop(), asyncio.Event()
        async with contextlib.AsyncExitStack() as stack:
            try:
                self._value = await self._enter(stack)
            except BaseException as error:  # noqa: BLE001 - raised again in the test's thread
                self._failure = error
                return
            finally:
                self._started.set()
            await self._stop.wait()

    def __enter__(self) -> Any:
        self._thread.start()
        assert self._started.wait(PATIENCE_S), "it does not come to stand"
        if self._failure is not None:
            self._thread.join()
            raise self._failure
        return self._value

    def __exit__(self, *_error: object) -> None:
        self._loop.call_soon_threadsafe(self._stop.set)
        self._thread.join(PATIENCE_S)
        assert not self._thread.is_alive(), "it does not end"


class Served:
    """A served memory node."""

    def __init__(self, node: MemoryNode, server: RpcServer) -> None:
        self.node = node
        self.server = server

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server.port}"

    def request(self, method: str, path: str, body: bytes | None = None, **headers: str) -> tuple[int, Any, Any]:
        """Return (status, headers, parsed or raw body)."""
        connection = http.client.HTTPConnection("127.0.0.1", self.server.port, timeout=PATIENCE_S)
        try:
            connection.request(method, path, body, {name.replace("_", "-"): value for name, value in headers.items()})
            response = connection.getresponse()
            raw = response.read()
        finally:
            connection.close()
        is_json = response.headers.get("Content-Type", "").startswith("application/json")
        return response.status, response.headers, json.loads(raw) if is_json else raw

    def rpc(self, body: bytes, **headers: str) -> tuple[int, Any]:
        """Return (status, answer) of a POST."""
        status, _, answer = self.request("POST", "/rpc", body, **headers)
        return status, answer


@contextlib.contextmanager
def serve(path: Path, *, members: int = 1, chain: str = "memory-1") -> Iterator[Served]:
    """A memory node of a chain of this name with its data in `path`, served until the end of the context."""

    async def enter(stack: contextlib.AsyncExitStack) -> Served:
        node = MemoryNode(path, members=members, name=chain)
        stack.callback(node.close)
        server = RpcServer(node, Settings(), allowed_hosts=["node.example"], allowed_origins=["https://wallet.example"])
        await server.start()
        stack.push_async_callback(server.stop)
        return Served(node, server)

    with LoopThread(enter) as found:
        yield found

"""The HTTP side of RPC (aiohttp): POST `/rpc`, WebSocket `/ws`, `/livez`, `/readyz`, `/metrics`.

Compressed requests are refused rather than unpacked, bodies and requests in flight are bounded, browsers of other sites are kept
out. What a request means is the dispatcher's business.
"""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Collection
from contextlib import asynccontextmanager
from typing import Final, Protocol

from aiohttp import WSCloseCode, WSMsgType, hdrs, web

from ledger.errors import BadEncodingError, DatacarError, LimitError, RejectedError, TooLargeError
from node.api import NodeApi
from node.rpc import jsonrpc, limits
from node.rpc.access import Access
from node.rpc.dispatch import Dispatcher
from node.rpc.metrics import Metrics
from node.rpc.waits import Waits
from vm.registry import Registry, default_registry

JSON: Final = "application/json"

_HttpHandler = Callable[[web.Request], Awaitable[web.StreamResponse]]


class RpcSettings(Protocol):
    """What the server takes from the node's configuration."""

    @property
    def host(self) -> str:
        """The address to listen on."""

    @property
    def port(self) -> int:
        """The port to listen on; 0 lets the system choose."""

    @property
    def max_body_bytes(self) -> int:
        """The largest request body, and WebSocket message."""


class RpcServer:
    """Serves one node. `start` listens, `stop` ends open requests and closes.

    `allowed_hosts` are names to answer to beside loopback and the address it listens on; `allowed_origins` are web origins whose
    pages may call, such as `https://wallet.example`.
    """

    def __init__(
        self,
        node: NodeApi,
        settings: RpcSettings,
        *,
        registry: Registry | None = None,
        allowed_hosts: Collection[str] = (),
        allowed_origins: Collection[str] = (),
    ) -> None:
        self._node = node
        self._settings = settings
        self._max_body_bytes = settings.max_body_bytes
        self._access = Access.of(settings.host, allowed_hosts, allowed_origins)
        self._metrics = Metrics(node)
        self._dispatcher = Dispatcher(
            node, registry or default_registry(), max_body_bytes=settings.max_body_bytes, observe=self._metrics.observe
        )
        self._in_flight = 0
        self._sockets: set[web.WebSocketResponse] = set()
        self._runner: web.AppRunner | None = None
        self.port = settings.port

    async def start(self) -> None:
        """Listen. Raises `OSError` when the address is taken; afterwards `port` is the real one."""
        app = web.Application(middlewares=[self._guard])
        app.router.add_post("/rpc", self._rpc)
        app.router.add_get("/ws", self._ws)
        app.router.add_get("/livez", self._livez)
        app.router.add_get("/readyz", self._readyz)
        app.router.add_get("/metrics", self._metrics_page)
        app.on_shutdown.append(self._close_sockets)
        runner = web.AppRunner(app, access_log=None, auto_decompress=False, shutdown_timeout=2.0, handler_cancellation=True)
        await runner.setup()
        self._runner = runner
        await web.TCPSite(runner, self._settings.host, self._settings.port, backlog=1_024).start()
        self.port = runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop listening and close every connection."""
        runner, self._runner = self._runner, None
        if runner is not None:
            await runner.cleanup()

    def serve(self, node: NodeApi) -> None:
        """Answer for another node from now on, on the same connections; what is being answered is answered by the one before."""
        self._node = node
        self._metrics.serve(node)
        self._dispatcher.serve(node)

    # ---- what every request passes

    @web.middleware
    async def _guard(self, request: web.Request, handler: _HttpHandler) -> web.StreamResponse:
        """Check Host and Origin (health checks may come under any name), and turn refusals into JSON-RPC errors."""
        try:
            if request.path not in ("/livez", "/readyz"):
                self._access.check(request.headers.get(hdrs.HOST), request.headers.get(hdrs.ORIGIN))
            return await handler(request)
        except RejectedError as error:
            return _refusal(error, status=403)

    # ---- JSON-RPC

    async def _rpc(self, request: web.Request) -> web.StreamResponse:
        if self._in_flight >= limits.MAX_CONCURRENT:
            return _busy(limits.MAX_CONCURRENT, "requests")
        self._in_flight += 1
        try:
            body = await self._body(request)
            if isinstance(body, web.Response):
                return body
            with self._dispatcher.room.share() as share:
                answer = await self._dispatcher.answer(body, share=share)
                if answer is None:
                    return web.Response(status=204)
                return await _sent(request, web.Response(body=answer, content_type=JSON))
        finally:
            self._in_flight -= 1

    async def _body(self, request: web.Request) -> bytes | web.Response:
        """Return the body, or the refusal of one that is compressed, too large or too slow."""
        if request.headers.get(hdrs.CONTENT_ENCODING, "identity").lower() != "identity":
            return _refusal(BadEncodingError("compressed requests are not taken", hint="send it as it is"), status=415)
        declared = request.content_length
        if declared is not None and declared > self._max_body_bytes:
            return _too_large(self._max_body_bytes, declared)
        body = bytearray()
        try:
            async with asyncio.timeout(limits.BODY_TIMEOUT_S):
                async for chunk in request.content.iter_any():
                    body += chunk
                    if len(body) > self._max_body_bytes:
                        return _too_large(self._max_body_bytes, len(body))
        except TimeoutError:
            return _refusal(BadEncodingError("the body did not come in time", hint="send it at once"), status=408)
        return bytes(body)

    async def _ws(self, request: web.Request) -> web.StreamResponse:
        if len(self._sockets) >= limits.MAX_SOCKETS:
            return _busy(limits.MAX_SOCKETS, "WebSockets")
        socket = web.WebSocketResponse(heartbeat=limits.HEARTBEAT_S, max_msg_size=self._max_body_bytes, compress=False)
        await socket.prepare(request)
        self._sockets.add(socket)
        try:
            async with asyncio.TaskGroup() as group:
                await self._serve_socket(socket, request, group)
        finally:
            self._sockets.discard(socket)
        return socket

    async def _serve_socket(self, socket: web.WebSocketResponse, request: web.Request, group: asyncio.TaskGroup) -> None:
        """Answer a socket's messages, each as soon as it is ready; over the bound, stop reading until one is."""
        slots, waits = asyncio.Semaphore(limits.MAX_SOCKET_REQUESTS), Waits(limits.SOCKET_WAITS)
        tasks: set[asyncio.Task[None]] = set()
        async for message in socket:
            if message.type not in (WSMsgType.TEXT, WSMsgType.BINARY):
                break
            await slots.acquire()
            body = message.data.encode() if message.type is WSMsgType.TEXT else message.data
            task = group.create_task(self._answer_on(socket, request, body, waits))
            tasks.add(task)
            task.add_done_callback(tasks.discard)
            task.add_done_callback(lambda _: slots.release())
        for task in tasks:  # nobody is left to read these answers
            task.cancel()

    async def _answer_on(self, socket: web.WebSocketResponse, request: web.Request, body: bytes, waits: Waits) -> None:
        with self._dispatcher.room.share() as share:
            answer = await self._dispatcher.answer(body, waits, share)
            if answer is not None and not socket.closed:
                async with _reading(request):
                    await socket.send_frame(answer, WSMsgType.TEXT)

    async def _close_sockets(self, _app: web.Application) -> None:
        for socket in tuple(self._sockets):
            await socket.close(code=WSCloseCode.GOING_AWAY, message=b"the node stops")

    # ---- for operators

    async def _livez(self, _request: web.Request) -> web.StreamResponse:
        """200 while the event loop turns."""
        return web.Response(text="ok\n")

    async def _readyz(self, request: web.Request) -> web.StreamResponse:
        """200 or 503; the checks stand there when asked for with `?verbose`, and whenever one fails."""
        readiness = self._node.readiness()
        shown: dict[str, object] = {"ready": readiness.ready}
        if "verbose" in request.query or not readiness.ready:
            shown["checks"] = readiness.checks
        headers = None if readiness.ready else {hdrs.RETRY_AFTER: str(limits.RETRY_AFTER_S)}
        body = jsonrpc.dump(shown)
        return web.Response(status=200 if readiness.ready else 503, body=body, content_type=JSON, headers=headers)

    async def _metrics_page(self, _request: web.Request) -> web.StreamResponse:
        return web.Response(body=self._metrics.page(), headers={hdrs.CONTENT_TYPE: "text/plain; version=0.0.4; charset=utf-8"})


@asynccontextmanager
async def _reading(request: web.Request) -> AsyncIterator[None]:
    """Send inside: a client that does not read in time, or is gone, is cut off, so that nothing is held for it."""
    try:
        async with asyncio.timeout(limits.SEND_TIMEOUT_S):
            yield
    except (TimeoutError, ConnectionError):
        if request.transport is not None:
            request.transport.abort()


async def _sent(request: web.Request, response: web.Response) -> web.Response:
    """Send a response and return it: what it takes is held until then."""
    async with _reading(request):
        await response.prepare(request)
        await response.write_eof()
    return response


def _refusal(error: DatacarError, *, status: int) -> web.Response:
    """Return a JSON-RPC error for a request that was not even read."""
    return web.Response(status=status, body=jsonrpc.dump(jsonrpc.error_object(None, error)), content_type=JSON)


def _too_large(limit: int, got: int) -> web.Response:
    response = _refusal(TooLargeError("request body", limit=limit, got=got), status=413)
    response.force_close()
    return response


def _busy(limit: int, what: str) -> web.Response:
    error = LimitError("rate_limited", f"{limit} {what} are open already", hint="try again in a moment", limit=limit)
    response = _refusal(error, status=429)
    response.headers[hdrs.RETRY_AFTER] = str(limits.RETRY_AFTER_S)
    return response

"""A load without end, in a process of its own: `python -m benchmarks.pressure`, orders as a line on stdin, until stdin closes.

Open loop like `benchmarks.load`, but signed as it goes and never looked after: it lives through nodes that die and come back,
for as long as it is told to, and says at the end how many transactions were offered, accepted and refused for what reason.
"""

import asyncio
import contextlib
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import aiohttp
import orjson

from benchmarks.transfers import Transfers

TICK_S: Final = 0.02
MAX_DUE: Final = 500  # signed in one tick: more would starve the answers
RECONNECT_S: Final = 0.2
VALID_MS: Final = 1_800_000
IN_FLIGHT: Final = 60  # on one WebSocket: at 64 the node stops reading from it


@dataclass(frozen=True, slots=True)
class PressureOrders:
    """Offer `rate` transfers a second to these WebSockets, in turn."""

    ws_urls: list[str]
    mnemonics: list[str]
    genesis_hash: str
    rate: float


@dataclass(frozen=True, slots=True)
class PressureResult:
    """What became of the offers. `unsent`: no node could take them at their time; `unanswered`: the connection went first."""

    seconds: float
    offered: int
    accepted: int
    refused: dict[str, int]
    unsent: int
    unanswered: int


class Wire:
    """A WebSocket to one node, opened again whenever it breaks."""

    def __init__(self, url: str, counts: "Counter[str]") -> None:
        self._url = url
        self._counts = counts
        self._socket: aiohttp.ClientWebSocketResponse | None = None
        self._waiting: dict[int, int] = {}
        self._last_id = 0

    @property
    def free(self) -> bool:
        """Return whether it is open and the node still reads from it."""
        return self._socket is not None and len(self._waiting) < IN_FLIGHT

    @property
    def unanswered(self) -> int:
        """Return how many transactions have no answer yet."""
        return sum(self._waiting.values())

    async def send(self, raws: list[str]) -> None:
        """Send a batch without waiting for its answer."""
        self._last_id += 1
        self._waiting[self._last_id] = len(raws)
        batch = ",".join(f'"{raw}"' for raw in raws)
        request = f'{{"jsonrpc":"2.0","id":{self._last_id},"method":"tx_sendBatch","params":{{"raws":[{batch}]}}}}'
        if self._socket is not None:
            with contextlib.suppress(ConnectionError):
                await self._socket.send_str(request)

    async def keep(self, session: aiohttp.ClientSession) -> None:
        """Connect, count the answers until the connection breaks, and again."""
        while True:
            with contextlib.suppress(aiohttp.ClientError, OSError):
                async with session.ws_connect(self._url, max_msg_size=64 * 2**20) as socket:
                    self._socket = socket
                    async for message in socket:
                        self._count(orjson.loads(message.data))
            self._socket = None
            self._counts["unanswered"] += self.unanswered
            self._waiting.clear()
            await asyncio.sleep(RECONNECT_S)

    def _count(self, answer: dict[str, object]) -> None:
        number = self._waiting.pop(int(str(answer["id"])))
        if isinstance(results := answer.get("result"), list):
            self._counts.update("accepted" if "error" not in item else item["error"]["data"]["reason"] for item in results)
        elif isinstance(error := answer.get("error"), dict):
            self._counts[error["data"]["reason"]] += number


async def press(orders: PressureOrders) -> PressureResult:
    """Offer until stdin is closed."""
    transfers = Transfers(orders.mnemonics, orders.genesis_hash)
    counts = Counter[str]()
    wires = [Wire(url, counts) for url in orders.ws_urls]
    over = asyncio.create_task(asyncio.to_thread(sys.stdin.buffer.read))
    async with aiohttp.ClientSession() as session:
        keepers = [asyncio.create_task(wire.keep(session)) for wire in wires]
        began, offered, turn = time.monotonic(), 0, 0
        while not over.done():
            due = min(MAX_DUE, int((time.monotonic() - began) * orders.rate) - offered)
            valid_until_ms = time.time_ns() // 1_000_000 + VALID_MS
            raws = ["0x" + transfers.sign(offered + number, valid_until_ms).raw.hex() for number in range(due)]
            offered += due
            turn += 1
            wire = next((free for at in range(len(wires)) if (free := wires[(turn + at) % len(wires)]).free), None)
            if wire is None:
                counts["unsent"] += due
            elif raws:
                await wire.send(raws)
            await asyncio.sleep(TICK_S)
        seconds = time.monotonic() - began
        for keeper in keepers:
            keeper.cancel()
        await asyncio.gather(*keepers, return_exceptions=True)
    counts["unanswered"] += sum(wire.unanswered for wire in wires)
    known = {name: counts.pop(name, 0) for name in ("accepted", "unsent", "unanswered")}
    return PressureResult(seconds=seconds, offered=offered, refused=dict(counts), **known)


class Pressure:
    """The process, as the one who started it sees it."""

    def __init__(self, orders: PressureOrders) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "benchmarks.pressure"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            cwd=Path(__file__).resolve().parent.parent,
        )
        if self._process.stdin is not None:
            self._process.stdin.write(orjson.dumps(orders) + b"\n")
            self._process.stdin.flush()

    @property
    def pid(self) -> int:
        """Return its process."""
        return self._process.pid

    def end(self) -> PressureResult:
        """Stop it and return what it counted. Raises `CalledProcessError` when it failed."""
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise subprocess.CalledProcessError(self._process.returncode, "benchmarks.pressure")
        return PressureResult(**orjson.loads(output))

    def kill(self) -> None:
        """End it without a result, unless it has ended."""
        if self._process.poll() is None:
            self._process.kill()
            self._process.communicate()


@contextlib.contextmanager
def pressing(orders: PressureOrders) -> Iterator[Pressure]:
    """A load that surely ends: by `end`, or with the context."""
    pressure = Pressure(orders)
    try:
        yield pressure
    finally:
        pressure.kill()


def main() -> None:
    """Take orders from stdin, press until it closes, and print the result."""
    orders = PressureOrders(**orjson.loads(sys.stdin.buffer.readline()))
    sys.stdout.buffer.write(orjson.dumps(asyncio.run(press(orders))))


if __name__ == "__main__":
    main()

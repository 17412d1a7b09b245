"""The load of the cluster benchmark, in a process of its own: `python -m benchmarks.load`, orders on stdin, results on stdout.

Open loop: every transaction has an intended time, and its latency runs from that time, not from when it could be sent, to the
moment when f+1 members have told of the block that holds it. All times are of one monotonic clock. Signing is done before.
"""

import asyncio
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import aiohttp
import orjson

from benchmarks.transfers import Transfers

TICK_S: Final = 0.01
POLL_S: Final = 0.02
DRAIN_S: Final = 15.0
DRAIN_POLL_S: Final = 0.1
VALID_MS: Final = 600_000
MAX_BATCH: Final = 1_000


@dataclass(frozen=True, slots=True)
class Orders:
    """What to do: offer `rate` transfers a second for `warm_up_s` and then `seconds`, and watch `observers` of the nodes."""

    ws_urls: list[str]
    pids: list[int]
    mnemonics: list[str]
    genesis_hash: str
    rate: float
    warm_up_s: float
    seconds: float
    observers: int
    start_height: int


@dataclass(frozen=True, slots=True)
class LoadResult:
    """What happened to the transactions intended within the window. Latencies in ms, sorted; CPU times in seconds."""

    offered: int
    accepted: int
    rejected: int
    rejections: dict[str, int]
    lost: int
    late: int
    latencies_ms: list[float]
    window_start_ms: int
    window_end_ms: int
    client_cpu_s: float
    node_cpu_s: float
    tx_size_bytes: int
    send_lag_ms: float


@dataclass(slots=True)
class Sent:
    """One prepared transaction: its id, the JSON text of its bytes, and what is known of it."""

    id: str
    text: str
    accepted: bool = False
    reason: str | None = None
    notices: list[float] = field(default_factory=list)


def prepare(orders: Orders) -> tuple[list[Sent], int]:
    """Sign all transfers. Returns them with the size of one in bytes."""
    transfers = Transfers(orders.mnemonics, orders.genesis_hash)
    valid_until_ms = time.time_ns() // 1_000_000 + VALID_MS
    prepared, size = [], 0
    for number in range(round(orders.rate * (orders.warm_up_s + orders.seconds))):
        transaction = transfers.sign(number, valid_until_ms)
        prepared.append(Sent("0x" + transaction.id.hex(), f'"0x{transaction.raw.hex()}"'))
        size = len(transaction.raw)
    return prepared, size


class Load:
    """One run of an open-loop load."""

    def __init__(self, orders: Orders, prepared: list[Sent]) -> None:
        self._orders = orders
        self._prepared = prepared
        self._by_id = {item.id: item for item in prepared}
        self._answers: dict[int, list[Sent]] = {}
        self._worst_lag_s = 0.0
        self._over = False

    async def run(self, tx_size_bytes: int) -> LoadResult:
        """Offer everything, wait for the rest to be final, and return what happened."""
        orders = self._orders
        async with aiohttp.ClientSession() as session:
            sockets = [await session.ws_connect(url, max_msg_size=64 * 2**20) for url in orders.ws_urls]
            watched = [await session.ws_connect(url, max_msg_size=64 * 2**20) for url in orders.ws_urls[: orders.observers]]
            readers = [asyncio.create_task(self._read(socket)) for socket in sockets]
            watchers = [asyncio.create_task(self._watch(socket)) for socket in watched]
            start = time.perf_counter() + 0.2
            marks = await self._offer(sockets, start)
            await self._drain()
            self._over = True
            await asyncio.gather(*watchers)
            for task in readers:
                task.cancel()
            await asyncio.gather(*readers, return_exceptions=True)
            return self._result(start, marks, tx_size_bytes)

    async def _offer(self, sockets: list[aiohttp.ClientWebSocketResponse], start: float) -> dict[str, float]:
        """Send each transaction at its time, never waiting for an answer; what is due in one tick goes in one batch."""
        orders, sent, turn = self._orders, 0, 0
        marks: dict[str, float] = {}
        window, end = start + orders.warm_up_s, start + orders.warm_up_s + orders.seconds
        while sent < len(self._prepared):
            now = time.perf_counter()
            if now >= window and not marks:
                marks = {"wall_ms": time.time() * 1_000, "client": time.process_time(), "nodes": cpu_seconds(orders.pids)}
            due = min(len(self._prepared), int((now - start) * orders.rate) + 1 if now >= start else 0)
            while sent < due:
                batch = self._prepared[sent : min(due, sent + MAX_BATCH)]
                self._worst_lag_s = max(self._worst_lag_s, now - (start + sent / orders.rate))
                await self._send(sockets[turn % len(sockets)], turn, batch)
                sent, turn = sent + len(batch), turn + 1
            await asyncio.sleep(TICK_S)
        await asyncio.sleep(max(0.0, end - time.perf_counter()))
        marks["client_end"], marks["nodes_end"] = time.process_time(), cpu_seconds(orders.pids)
        return marks

    async def _send(self, socket: aiohttp.ClientWebSocketResponse, number: int, batch: list[Sent]) -> None:
        self._answers[number] = batch
        raws = ",".join(item.text for item in batch)
        await socket.send_str(f'{{"jsonrpc":"2.0","id":{number},"method":"tx_sendBatch","params":{{"raws":[{raws}]}}}}')

    async def _read(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        async for message in socket:
            answer = orjson.loads(message.data)
            batch = self._answers.pop(answer["id"])
            if "error" in answer:
                for item in batch:
                    item.reason = answer["error"]["data"]["reason"]
                continue
            for item, outcome in zip(batch, answer["result"], strict=True):
                item.accepted = "error" not in outcome
                if not item.accepted:
                    item.reason = outcome["error"]["data"]["reason"]

    async def _watch(self, socket: aiohttp.ClientWebSocketResponse) -> None:
        """Ask one member for block after block, and note when it tells of each transaction."""
        height = self._orders.start_height + 1
        while not self._over:
            request = {"jsonrpc": "2.0", "id": height, "method": "chain_getBlock", "params": {"height": height}}
            await socket.send_bytes(orjson.dumps(request))
            answer = orjson.loads((await socket.receive()).data)
            if "error" in answer:
                await asyncio.sleep(POLL_S)
                continue
            now = time.perf_counter()
            for tx_id in answer["result"]["transactions"]:
                if (item := self._by_id.get(tx_id)) is not None:
                    item.notices.append(now)
            height += 1
        await socket.close()

    async def _drain(self) -> None:
        """Wait until what was accepted is final, or will not be in time."""
        for _ in range(round(DRAIN_S / DRAIN_POLL_S)):
            if not self._answers and not any(True for _ in self._open()):
                return
            await asyncio.sleep(DRAIN_POLL_S)

    def _open(self) -> Iterator[Sent]:
        return (item for item in self._prepared if item.accepted and len(item.notices) < self._orders.observers)

    def _result(self, start: float, marks: dict[str, float], tx_size_bytes: int) -> LoadResult:
        orders = self._orders
        first = round(orders.rate * orders.warm_up_s)
        end = start + orders.warm_up_s + orders.seconds
        latencies, late, reasons = [], 0, dict[str, int]()
        for number, item in enumerate(self._prepared[first:], first):
            if item.reason is not None:
                reasons[item.reason] = reasons.get(item.reason, 0) + 1
            if len(item.notices) >= orders.observers:
                noticed = max(item.notices)
                late += noticed > end + 1
                latencies.append((noticed - start - number / orders.rate) * 1_000)
        window = self._prepared[first:]
        accepted = sum(item.accepted for item in window)
        start_ms = round(marks["wall_ms"])
        return LoadResult(
            offered=len(window),
            accepted=accepted,
            rejected=len(window) - accepted,
            rejections=reasons,
            lost=sum(item.accepted and len(item.notices) < orders.observers for item in window),
            late=late,
            latencies_ms=sorted(latencies),
            window_start_ms=start_ms,
            window_end_ms=start_ms + round(orders.seconds * 1_000),
            client_cpu_s=marks["client_end"] - marks["client"],
            node_cpu_s=marks["nodes_end"] - marks["nodes"],
            tx_size_bytes=tx_size_bytes,
            send_lag_ms=self._worst_lag_s * 1_000,
        )


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU time that processes have used so far (Linux: /proc; elsewhere 0)."""
    ticks = 0
    for pid in pids:
        try:
            fields = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2].split()
        except OSError:
            continue
        ticks += int(fields[11]) + int(fields[12])
    return ticks / 100


def main() -> None:
    """Take orders from stdin, run, and print the result."""
    given: dict[str, Any] = orjson.loads(sys.stdin.buffer.read())
    orders = Orders(**given)
    prepared, size = prepare(orders)
    result = asyncio.run(Load(orders, prepared).run(size))
    sys.stdout.buffer.write(orjson.dumps(result))


if __name__ == "__main__":
    main()

"""Watchers of a running network: which blocks a node tells of and when, and what memory and CPU processes take."""

import itertools
import threading
import time
from abc import ABC, abstractmethod
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Final, Self

from benchmarks.load import cpu_seconds
from datacar import Client
from datacar.errors import NotFoundError, UnavailableError

POLL_S: Final = 0.02
SAMPLE_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Told:
    """A block of `size` transactions, proposed at `stamp_ms` (Unix), as a node told of it at `at_s` (monotonic seconds)."""

    at_s: float
    stamp_ms: int
    height: int
    block_hash: str
    size: int


class _Watcher(ABC):
    """Something that looks again and again, in a thread of its own, while its context lasts."""

    def __init__(self) -> None:
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.stop()

    def stop(self) -> None:
        """Look no more."""
        self._over.set()
        self._thread.join()

    @abstractmethod
    def _run(self) -> None:
        """Look until it is over."""


class BlockWatch(_Watcher):
    """Asks one node for block after block from `height` on, also after it was down."""

    def __init__(self, rpc_url: str, height: int) -> None:
        super().__init__()
        self.told: list[Told] = []
        self._client = Client(rpc_url, timeout_s=2)
        self._next = height

    def _run(self) -> None:
        while not self._over.is_set():
            try:
                block = self._client.call("chain_getBlock", height=self._next)
            except (NotFoundError, UnavailableError):
                self._over.wait(POLL_S)
                continue
            stamp_ms = block["header"]["timestamp_ms"]
            self.told.append(Told(time.monotonic(), stamp_ms, self._next, block["hash"], len(block["transactions"])))
            self._next += 1
        self._client.close()

    def rate(self, from_s: float, to_s: float) -> float:
        """Return the transactions a second that were told of within a window."""
        return sum(block.size for block in list(self.told) if from_s < block.at_s <= to_s) / (to_s - from_s)

    def longest_gap(self, from_s: float, to_s: float) -> tuple[float, float]:
        """Return the longest time (begin, end) without a block within a window, whose ends count as blocks."""
        times = [from_s, *(block.at_s for block in list(self.told) if from_s < block.at_s < to_s), to_s]
        return max(itertools.pairwise(times), key=lambda gap: gap[1] - gap[0])


@dataclass(frozen=True, slots=True)
class CpuMark:
    """CPU seconds up to a moment: of the whole machine, and of `pids` (Linux: /proc)."""

    at_s: float
    machine_s: float
    ours_s: float

    @classmethod
    def now(cls, pids: list[int]) -> Self:
        """Return the mark of this moment."""
        user, nice, system, _, _, irq, softirq, steal, *_ = Path("/proc/stat").read_text().split(maxsplit=11)[1:11]
        machine_s = sum(map(int, (user, nice, system, irq, softirq, steal))) / 100
        return cls(time.monotonic(), machine_s, cpu_seconds(pids))

    def others_cores(self, later: "CpuMark") -> float:
        """Return how many cores other processes kept busy until a later mark: near 0 on a machine of one's own."""
        busy_s = later.machine_s - self.machine_s - (later.ours_s - self.ours_s)
        return round(busy_s / (later.at_s - self.at_s), 2)


class MemoryWatch(_Watcher):
    """Samples what processes hold for themselves: anonymous memory, not the mapped files that the kernel can take back."""

    def __init__(self, pids: list[int]) -> None:
        super().__init__()
        self._pids = pids
        self.samples: list[tuple[float, list[float]]] = []

    def _run(self) -> None:
        while not self._over.is_set():
            self.samples.append((time.monotonic(), [anonymous_mib(pid) for pid in self._pids]))
            self._over.wait(SAMPLE_S)

    def mean(self, from_s: float, to_s: float) -> list[float]:
        """Return each process's mean over a window, MiB."""
        rows = [row for at_s, row in list(self.samples) if from_s <= at_s <= to_s]
        return [sum(column) / len(column) for column in zip(*rows, strict=True)]

    def highest(self) -> float:
        """Return the most that any process held, MiB."""
        return max(max(row) for _, row in list(self.samples))


def anonymous_mib(pid: int) -> float:
    """Return a process's anonymous resident memory in MiB (Linux: RssAnon of /proc/PID/status). Raises `OSError` elsewhere."""
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    anonymous = next(line for line in lines if line.startswith("RssAnon"))
    return int(anonymous.split()[1]) / 1024

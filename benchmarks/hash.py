"""Hash functions of the standard library over message sizes: nanoseconds an operation, megabytes (10^6 bytes) a second.

One operation is what the ledger does: build the hash object, feed it, take the digest. 32 and 64 bytes are a key and a tree
node; 256 bytes about a transaction; the rest shows where throughput begins to count. One core, one thread.
"""

import hashlib
import timeit
from dataclasses import dataclass
from typing import Final

from rich.table import Table

from benchmarks.report import Machine, Summary

ALGORITHMS: Final = ("sha256", "sha3_256", "blake2b")
SIZES_BYTES: Final = (32, 64, 256, 1_024, 4_096, 16_384, 65_536)

_TITLES: Final = {"sha256": "SHA-256", "sha3_256": "SHA3-256", "blake2b": "BLAKE2b-256"}
_STATEMENTS: Final = {
    "sha256": "sha256(message).digest()",
    "sha3_256": "sha3_256(message).digest()",
    "blake2b": "blake2b(message, digest_size=32).digest()",
}


@dataclass(frozen=True, slots=True)
class HashRow:
    """One algorithm at one message size."""

    algorithm: str
    size_bytes: int
    ns_per_op: Summary
    mb_per_s: float


@dataclass(frozen=True, slots=True)
class HashReport:
    """The hash benchmark's figures, algorithm by algorithm, sizes ascending."""

    benchmark: str
    machine: Machine
    rows: tuple[HashRow, ...]

    def table(self) -> Table:
        """Return a table with a line for each size and the algorithms side by side."""
        table = Table(title="Hashing, one core: ns/op (MB/s, spread)")
        table.add_column("bytes", justify="right")
        for algorithm in ALGORITHMS:
            table.add_column(_TITLES[algorithm], justify="right")
        for size in SIZES_BYTES:
            table.add_row(f"{size:,}", *(_cell(row) for row in self.rows if row.size_bytes == size))
        return table


def run(*, quick: bool = False) -> HashReport:
    """Measure every algorithm at every size: about 6 s, or less than 1 s with coarse figures when `quick`."""
    repeats, window_s = (3, 0.003) if quick else (7, 0.03)
    machine = Machine.here()
    timers = {(algorithm, size): _timer(algorithm, size) for algorithm in ALGORITHMS for size in SIZES_BYTES}
    loops = {case: _loops_for(timer, window_s) for case, timer in timers.items()}
    samples: dict[tuple[str, int], list[float]] = {case: [] for case in timers}
    for _ in range(repeats):
        for case, timer in timers.items():
            samples[case].append(timer.timeit(loops[case]) / loops[case] * 1e9)
    return HashReport("hash", machine, tuple(_row(*case, values) for case, values in samples.items()))


def _timer(algorithm: str, size: int) -> timeit.Timer:
    names = {"message": bytes(range(256)) * (size // 256) + bytes(size % 256), algorithm: getattr(hashlib, algorithm)}
    return timeit.Timer(_STATEMENTS[algorithm], globals=names)


def _loops_for(timer: timeit.Timer, window_s: float) -> int:
    """Return how many operations fill about `window_s`; also the warm-up."""
    loops = 1
    while (elapsed := timer.timeit(loops)) < window_s / 4:
        loops *= 2
    return max(1, round(loops * window_s / elapsed))


def _row(algorithm: str, size: int, samples_ns: list[float]) -> HashRow:
    ns_per_op = Summary.of(samples_ns)
    return HashRow(algorithm, size, ns_per_op, mb_per_s=size / ns_per_op.median * 1e3)


def _cell(row: HashRow) -> str:
    return f"{row.ns_per_op.median:,.0f} ({row.mb_per_s:,.0f}, {row.ns_per_op.spread:.0%})"

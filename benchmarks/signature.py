"""Ed25519 signing and verifying on one core and on all cores: operations a second, for the two libraries at hand.

`libsodium` is the project's own `ledger.crypto` (PyNaCl), the bound of every transaction rate; `openssl` is `cryptography`,
for comparison only. A verification starts from the raw bytes of a key it has not seen before, as in a block of transactions. All
cores means one process for each, which start every repeat together.
"""

import itertools
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from hashlib import sha256
from threading import Barrier
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from rich.table import Table

from benchmarks.report import Machine, Summary, usable_cores
from ledger import crypto
from ledger.errors import invariant, unreachable

LIBRARIES: Final = ("libsodium", "openssl")
OPERATIONS: Final = ("sign", "verify")

_SIGNERS: Final = 32  # distinct keys and messages, fewer than ledger.crypto remembers expanded
_START_TIMEOUT_S: Final = 60.0
_WARM_UP_S: Final = 0.01

Operation = Callable[[], object]


@dataclass(frozen=True, slots=True)
class SignatureRow:
    """One library and operation. `scaling` is the gain of all cores over one (the best is the number of cores)."""

    library: str
    operation: str
    one_core_per_s: Summary
    all_cores_per_s: Summary
    scaling: float


@dataclass(frozen=True, slots=True)
class SignatureReport:
    """The signature benchmark's figures."""

    benchmark: str
    machine: Machine
    rows: tuple[SignatureRow, ...]

    def table(self) -> Table:
        """Return a table with a line for each library and operation."""
        table = Table(title="Ed25519 over 32 bytes: operations/s (spread)")
        for heading in ("library", "operation", "one core", f"{self.machine.cores} cores", "scaling"):
            table.add_column(heading, justify="left" if heading in ("library", "operation") else "right")
        for row in self.rows:
            table.add_row(
                row.library, row.operation, _cell(row.one_core_per_s), _cell(row.all_cores_per_s), f"{row.scaling:.2f}x"
            )
        return table


def run(*, quick: bool = False) -> SignatureReport:
    """Measure both libraries: about 15 s, or about 2 s with coarse figures when `quick`."""
    repeats, window_s = (3, 0.03) if quick else (7, 0.25)
    machine = Machine.here()
    cases = list(itertools.product(LIBRARIES, OPERATIONS))
    one: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    every: dict[tuple[str, str], list[float]] = {case: [] for case in cases}
    with _one_process_a_core(machine.cores) as pool:
        for _ in range(repeats):
            for case in cases:
                one[case].append(_ops_per_s(_operation(*case), window_s))
                every[case].append(_together(pool, machine.cores, *case, window_s))
    return SignatureReport("signature", machine, tuple(_row(*case, one[case], every[case]) for case in cases))


def verifies_per_s_all_cores(seconds: float) -> float:
    """Return how many signatures `ledger.crypto` verifies a second on all cores: the median of three thirds of `seconds`."""
    cores = usable_cores()
    with _one_process_a_core(cores) as pool:
        return Summary.of([_together(pool, cores, "libsodium", "verify", seconds / 3) for _ in range(3)]).median


@contextmanager
def _one_process_a_core(cores: int) -> Iterator[ProcessPoolExecutor]:
    """Yield a pool of fresh processes that share a barrier, every one of them up and running."""
    context = multiprocessing.get_context("spawn")  # forking a process with threads is undefined
    barrier = context.Barrier(cores)
    with ProcessPoolExecutor(cores, mp_context=context, initializer=_join, initargs=(barrier,)) as pool:
        _together(pool, cores, "libsodium", "verify", _WARM_UP_S)
        yield pool


def _together(pool: ProcessPoolExecutor, cores: int, library: str, operation: str, window_s: float) -> float:
    """Return the operations a second of all processes together; none starts before all are ready."""
    tasks = [pool.submit(_wait_and_measure, library, operation, window_s) for _ in range(cores)]
    return sum(task.result() for task in tasks)


_start: Barrier | None = None


def _join(barrier: Barrier) -> None:
    """Remember the barrier in a new process of the pool (barriers travel only while a process is started)."""
    global _start  # noqa: PLW0603 - the pool's own way to give a process its state
    _start = barrier


def _wait_and_measure(library: str, operation: str, window_s: float) -> float:
    """Measure in a process of the pool. The barrier gives each process one task: a waiting one cannot take a second."""
    if _start is None:
        unreachable("this runs only in a process of the benchmark's pool")
    measured = _operation(library, operation)
    _start.wait(_START_TIMEOUT_S)
    return _ops_per_s(measured, window_s)


def _ops_per_s(operation: Operation, window_s: float) -> float:
    """Return how often `operation` ran a second over at least `window_s`; the clock is read once in 16 times."""
    operation()
    count, start = 0, time.perf_counter()
    while (elapsed := time.perf_counter() - start) < window_s:
        for _ in range(16):
            operation()
        count += 16
    return count / elapsed


def _operation(library: str, operation: str) -> Operation:
    """Return a function that signs or verifies once, going round distinct keys and messages."""
    seeds = [sha256(b"benchmark key %d" % number).digest() for number in range(_SIGNERS)]
    messages = [sha256(seed).digest() for seed in seeds]
    return _MAKERS[library, operation](seeds, messages)


def _sodium_sign(seeds: list[bytes], messages: list[bytes]) -> Operation:
    jobs = itertools.cycle(zip(seeds, messages, strict=True))
    return lambda: crypto.sign(*next(jobs))


def _sodium_verify(seeds: list[bytes], messages: list[bytes]) -> Operation:
    jobs = itertools.cycle(_signed(seeds, messages))
    return lambda: invariant(crypto.verify(*next(jobs)), "a valid signature was refused")


def _openssl_sign(seeds: list[bytes], messages: list[bytes]) -> Operation:
    keys = [Ed25519PrivateKey.from_private_bytes(seed) for seed in seeds]
    jobs = itertools.cycle(zip(keys, messages, strict=True))

    def sign() -> bytes:
        key, message = next(jobs)
        return key.sign(message)

    return sign


def _openssl_verify(seeds: list[bytes], messages: list[bytes]) -> Operation:
    jobs = itertools.cycle(_signed(seeds, messages))

    def verify() -> None:
        public_key, signature, message = next(jobs)
        Ed25519PublicKey.from_public_bytes(public_key).verify(signature, message)

    return verify


def _signed(seeds: list[bytes], messages: list[bytes]) -> list[tuple[bytes, bytes, bytes]]:
    """Return (public key, signature, message) of each signer."""
    return [(crypto.public_key(seed), crypto.sign(seed, message), message) for seed, message in zip(seeds, messages, strict=True)]


_MAKERS: Final[dict[tuple[str, str], Callable[[list[bytes], list[bytes]], Operation]]] = {
    ("libsodium", "sign"): _sodium_sign,
    ("libsodium", "verify"): _sodium_verify,
    ("openssl", "sign"): _openssl_sign,
    ("openssl", "verify"): _openssl_verify,
}


def _row(library: str, operation: str, one: list[float], every: list[float]) -> SignatureRow:
    one_core, all_cores = Summary.of(one), Summary.of(every)
    return SignatureRow(library, operation, one_core, all_cores, scaling=all_cores.median / one_core.median)


def _cell(figure: Summary) -> str:
    return f"{figure.median:,.0f} ({figure.spread:.0%})"

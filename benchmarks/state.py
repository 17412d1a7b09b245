"""How long a block's update of the Merkle state takes on disk: the new root, the write, and the pruning of what it replaces.

One thread, one LevelDB folder as a node opens it, keys chosen at random. The cache of nodes is as bounded as in a node, so most
of the lower nodes that an update touches are read from the disk (or the system's cache of it).
"""

import gc
import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Final

from rich.table import Table

from benchmarks.report import Bars, Machine, Summary
from ledger.hashing import ZERO_HASH
from ledger.state_tree import StateRoot, StateTree
from ledger.types import Height
from node.storage import LevelStore

TARGET_MS: Final = 40.0
UPDATES: Final = 1_000
_VALUE_BYTES: Final = 24
_FILL: Final = 20_000


@dataclass(frozen=True, slots=True)
class StateReport:
    """Milliseconds for a block that changes `updates` of `keys` keys; `reads` is how many nodes the root took from the store."""

    benchmark: str
    machine: Machine
    keys: int
    updates: int
    root_ms: Summary
    reads: float
    write_ms: Summary
    get_us: Summary
    bytes_written_a_key: float
    bytes_on_disk_a_key: float
    target_ms: float

    def table(self) -> Table:
        """Return a table with a line for each step."""
        table = Table(title=f"{self.updates:,} updates on {self.keys:,} keys, on disk")
        for column in ("step", "median", "fastest", "slowest"):
            table.add_column(column, justify="left" if column == "step" else "right")
        table.add_row(f"state root (target {self.target_ms:.0f} ms)", *_cells(self.root_ms, "ms"))
        table.add_row("synced write, without what it replaces", *_cells(self.write_ms, "ms"))
        table.add_row("read of a key of one version", *_cells(self.get_us, "us"))
        table.add_row("nodes read a root", f"{self.reads:,.0f}", "", "")
        table.add_row("bytes written a changed key", f"{self.bytes_written_a_key:,.0f}", "", "")
        table.add_row("bytes on disk a key", f"{self.bytes_on_disk_a_key:,.0f}", "", "")
        return table

    def bars(self) -> Bars:
        """Return the times of a block's steps."""
        steps = (
            ("state root", self.root_ms.median),
            ("synced write", self.write_ms.median),
            ("target for the root", self.target_ms),
        )
        return Bars(f"{self.updates:,} updates on {self.keys:,} keys", "ms", steps)


class _Counting:
    """A reader that counts."""

    def __init__(self, store: LevelStore) -> None:
        self._get = store.get
        self.count = 0

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a key."""
        self.count += 1
        return self._get(key)


def run(*, quick: bool = False, say: Callable[[str], None]) -> StateReport:
    """Fill a store with 1,000,000 keys (20,000 when `quick`) and measure blocks of 1,000 changes: one to two minutes."""
    machine = Machine.here()
    with tempfile.TemporaryDirectory(prefix="datacar-bench-") as folder:
        store = LevelStore(Path(folder))
        try:
            return _measure(store, Path(folder), machine, (20_000, 12) if quick else (1_000_000, 60), say)
        finally:
            store.close()


def _measure(store: LevelStore, folder: Path, machine: Machine, size: tuple[int, int], say: Callable[[str], None]) -> StateReport:
    keys, rounds = size
    rng = random.Random(1)
    names = [b"account/%d" % number for number in range(keys)]
    root = _fill(store, names, rng, say)
    on_disk = sum(file.stat().st_size for file in folder.iterdir())
    gc.collect()
    gc.freeze()  # as a node does: the names are the test bed
    reader = _Counting(store)
    tree = StateTree(ZERO_HASH, reader)
    times: dict[str, list[float]] = {"root": [], "write": [], "get": [], "reads": []}
    written = 0
    for number in range(rounds):
        changes = {name: rng.randbytes(_VALUE_BYTES) for name in rng.sample(names, UPDATES)}
        reader.count, began = 0, time.perf_counter()
        update = tree.update(root, Height(root.height + 1), changes)
        computed = time.perf_counter()
        reads, records = reader.count, update.nodes
        store.apply({**records, **dict.fromkeys(update.stale)})
        tree.adopt(update)
        stored, root = time.perf_counter(), update.root
        for name in changes:
            tree.get(root, name)
        read = time.perf_counter()
        if number >= rounds // 3:  # the first ones fill the cache
            written += sum(map(len, records)) + sum(map(len, records.values()))
            for step, took in (("root", computed - began), ("write", stored - computed), ("get", read - stored)):
                times[step].append(took * 1e3)
            times["reads"].append(reads)
    blocks = len(times["root"])
    return StateReport(
        benchmark="state",
        machine=machine,
        keys=keys,
        updates=UPDATES,
        root_ms=Summary.of(times["root"]),
        reads=median(times["reads"]),
        write_ms=Summary.of(times["write"]),
        get_us=Summary.of([took * 1e3 / UPDATES for took in times["get"]]),
        bytes_written_a_key=written / blocks / UPDATES,
        bytes_on_disk_a_key=on_disk / keys,
        target_ms=TARGET_MS,
    )


def _fill(store: LevelStore, names: list[bytes], rng: random.Random, say: Callable[[str], None]) -> StateRoot:
    """Write all keys, in several versions of which the last one stays."""
    tree, root = StateTree(ZERO_HASH, store), None
    for start in range(0, len(names), _FILL):
        changes = {name: rng.randbytes(_VALUE_BYTES) for name in names[start : start + _FILL]}
        update = tree.update(root, Height(start // _FILL), changes)
        store.apply({**update.nodes, **dict.fromkeys(update.stale)})
        root = update.root
        say(f"{start + len(changes):,} of {len(names):,} keys written")
    if root is None:
        raise ValueError("there are no keys")
    return root


def _cells(summary: Summary, unit: str) -> list[str]:
    return [f"{value:,.1f} {unit}" for value in (summary.median, summary.minimum, summary.maximum)]

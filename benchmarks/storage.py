"""What a block of transfers costs a node's store: milliseconds to write it, and bytes on disk for each transfer.

A chain of one member with a real LevelDB folder and real certificates; no consensus and no network. Bytes are counted twice: as
records by kind, which is exact, and as files on disk after a compaction, with all states kept and after pruning.
"""

import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from rich.table import Table

from benchmarks.local_chain import BlockTimes, LocalChain, local_chain
from benchmarks.report import Bars, Machine, Summary
from node.pruning import Keep, Pruner

TRANSFERS: Final = 500
WARM_UP: Final = 5
KEPT: Final = 3
_KINDS: Final = {
    b"b": "blocks: headers and transactions",
    b"c": "certificates",
    b"r": "receipts",
    b"i": "ids of each block",
    b"t": "place of each id",
    b"h": "heights by hash",
    b"v": "state of the tip",
    b"s": "versions of the state tree",
    b"x": "keys to prune",
    b"y": "indexes",
}


@dataclass(frozen=True, slots=True)
class StorageReport:
    """Figures of `blocks` blocks of `transfers` transfers to `accounts` accounts; bytes are for each transfer."""

    benchmark: str
    machine: Machine
    blocks: int
    transfers: int
    accounts: int
    execute_ms: Summary
    write_ms: Summary
    record_bytes: dict[str, float]
    disk_bytes: float
    disk_bytes_pruned_states: float
    disk_bytes_pruned_all: float

    def table(self) -> Table:
        """Return a table of times and bytes."""
        title = f"{self.blocks:,} blocks of {self.transfers:,} transfers to {self.accounts:,} accounts"
        table = Table("figure", "value", title=title)
        for name, times in (("execute a block and its roots", self.execute_ms), ("write a block, synced", self.write_ms)):
            table.add_row(name, f"{times.median:,.1f} ms ({times.minimum:,.1f} to {times.maximum:,.1f})")
        for kind, size in sorted(self.record_bytes.items(), key=lambda item: -item[1]):
            table.add_row(f"records, {kind}", f"{size:,.0f} B a transfer")
        table.add_row("on disk, everything kept", f"{self.disk_bytes:,.0f} B a transfer")
        table.add_row(f"on disk, states of {KEPT} heights kept", f"{self.disk_bytes_pruned_states:,.0f} B a transfer")
        table.add_row(f"on disk, bodies of {KEPT} heights kept too", f"{self.disk_bytes_pruned_all:,.0f} B a transfer")
        return table

    def bars(self) -> Bars:
        """Return the bytes by kind of record."""
        return Bars("Bytes in the store for each transfer", "bytes", tuple(self.record_bytes.items()))


def run(*, quick: bool = False, say: Callable[[str], None]) -> StorageReport:
    """Write 100 blocks of 500 transfers (10 when `quick`) and look at the folder: about half a minute."""
    machine, blocks, accounts = Machine.here(), 10 if quick else 100, 2_000 if quick else 20_000
    with tempfile.TemporaryDirectory(prefix="datacar-bench-") as name, local_chain(Path(name), accounts) as local:
        times = _write(local, blocks, say)
        total = (WARM_UP + blocks) * TRANSFERS
        records = _record_bytes(local, total)
        sizes = [_disk_bytes(local, Path(name)) / total]
        for keep in (Keep(states=KEPT, snapshot_every=0), Keep(states=KEPT, bodies=KEPT, snapshot_every=0)):
            say("pruning")
            pruner = Pruner(local.chain, keep)
            while pruner.step():
                pass
            sizes.append(_disk_bytes(local, Path(name)) / total)
    return StorageReport(
        "storage",
        machine,
        blocks,
        TRANSFERS,
        accounts,
        Summary.of([item.execute_ms for item in times]),
        Summary.of([item.write_ms for item in times]),
        records,
        *sizes,
    )


def _write(local: LocalChain, blocks: int, say: Callable[[str], None]) -> list[BlockTimes]:
    times = []
    for number in range(WARM_UP + blocks):
        times.append(local.add_block(TRANSFERS))
        if (number + 1) % 10 == 0:
            say(f"{number + 1} of {WARM_UP + blocks} blocks written")
    return times[WARM_UP:]


def _record_bytes(local: LocalChain, transfers: int) -> dict[str, float]:
    sizes: Counter[str] = Counter()
    for key, value in local.chain.store.raw.iterate():
        if (kind := _KINDS.get(key[:1])) is not None:
            sizes[kind] += len(key) + len(value)
    return {kind: size / transfers for kind, size in sizes.items()}


def _disk_bytes(local: LocalChain, folder: Path) -> float:
    """Return the size of the folder once LevelDB has thrown away what was deleted or written over."""
    local.disk.compact(b"", b"\xff")
    return sum(file.stat().st_size for file in folder.iterdir())

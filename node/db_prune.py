"""`datacar db prune`: has a stopped node forget old states and bodies now, and gives the room back to the file system."""

import contextlib
from dataclasses import dataclass
from pathlib import Path

from genesis.block import GenesisBlock
from ledger.types import Height
from node.block_store import BlockStore, Held
from node.chain import Chain
from node.damage import STORE_NAME
from node.db_tools import Progress, stopped_store
from node.indexes import Sweeper
from node.pruning import Keep, Pruner
from node.storage import LevelStore
from vm.executor import Executor
from vm.registry import Registry


@dataclass(frozen=True, slots=True)
class Pruned:
    """What is held now, and what the database's files took before and take after."""

    tip: Height
    held: Held
    before_bytes: int
    after_bytes: int


def prune(data_dir: Path, genesis: GenesisBlock, registry: Registry, keep: Keep, progress: Progress) -> Pruned:
    """Forget what `keep` does not keep. It goes in small batches: broken off, the next run or the node goes on from there.

    Raises `StorageError`, `NotFoundError` where there is no chain.
    """
    db = data_dir / STORE_NAME
    with stopped_store(data_dir, genesis.spec.hash) as store:
        before = size_of(db)
        kinds = [bytes((first,)) for first in range(255) if next(store.raw.iterate(bytes((first,))), None) is not None]
        chain = Chain(genesis, store, Executor(registry))
        if keep.snapshot_every and not store.pins:
            store.put_pins((chain.tip.height,))  # from this one members can join until the node takes its first
        _forget(chain, keep, progress)
        _sweep(store, chain.tip.height, progress)
        tip, held = chain.tip.height, store.held
    with contextlib.closing(LevelStore(db)) as raw:
        for number, kind in enumerate(kinds, 1):
            raw.compact(kind, bytes((kind[0] + 1,)))
            progress("giving the room back", number, len(kinds))
    return Pruned(tip, held, before, size_of(db))


def _forget(chain: Chain, keep: Keep, progress: Progress) -> None:
    pruner, steps = Pruner(chain, keep), 0
    while pruner.step():
        steps += 1
        progress("forgetting states and bodies", steps, 0)


def _sweep(store: BlockStore, tip: Height, progress: Progress) -> None:
    sweeper, steps = Sweeper(store.raw), 0
    floor = min(Height(max(store.held.bodies_from, store.held.receipts_from)), tip)
    while sweeper.step(floor, floor):
        steps += 1
        progress("forgetting index entries", steps, 0)


def size_of(folder: Path) -> int:
    """Return how many bytes the files of a folder take."""
    return sum(item.stat().st_size for item in folder.iterdir() if item.is_file())

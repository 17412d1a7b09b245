"""`datacar db snapshot` and `datacar db restore`: the state of a stopped node in one file, and an empty data folder from one."""

import contextlib
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final

from genesis.block import GenesisBlock
from ledger.errors import unreachable
from ledger.types import Height
from node.block_store import BlockStore, StorageError
from node.chain import Chain
from node.damage import STORE_NAME
from node.db_tools import Progress, stopped_store
from node.durable import replacing, sync_directory
from node.install import clean_up
from node.snapshot_file import Step, read_snapshot, write_snapshot
from node.storage import LevelStore
from vm.executor import Executor
from vm.registry import Registry

RESTORING_NAME: Final = "db.restoring"


def save(
    data_dir: Path, genesis: GenesisBlock, registry: Registry, path: Path, height: Height | None, progress: Progress
) -> Step:
    """Write the snapshot of a height (the tip's without one) into the file `path`, which it replaces once it is whole and synced.

    Raises `StorageError`, `NotFoundError` for what is not kept, `OSError`.
    """
    with stopped_store(data_dir, genesis.spec.hash) as store, replacing(path) as file:
        chain = Chain(genesis, store, Executor(registry))
        return _run(write_snapshot(chain, chain.tip.height if height is None else height, file), "writing the snapshot", progress)


def restore(data_dir: Path, genesis: GenesisBlock, registry: Registry, path: Path, progress: Progress) -> Step:
    """Make the database of a data folder that has none from a snapshot file, all of it checked against the genesis.

    It appears whole or not at all. Raises `StorageError` when there is a database already, `BadSnapshotError`, `OSError`.
    """
    db, part = data_dir / STORE_NAME, data_dir / RESTORING_NAME
    if db.is_dir() and any(db.iterdir()):
        hint = "restore into an empty data folder, or move this database away"
        raise StorageError("store_in_use", f"there is a database in {db} already", hint=hint, path=str(db))
    shutil.rmtree(part, ignore_errors=True)
    try:
        with path.open("rb") as file:
            part.mkdir(parents=True)
            last = _install(part, genesis, registry, file, progress)
        if db.is_dir():
            db.rmdir()
        part.rename(db)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise
    sync_directory(data_dir)
    return last


def _install(folder: Path, genesis: GenesisBlock, registry: Registry, file: BinaryIO, progress: Progress) -> Step:
    with contextlib.closing(LevelStore(folder)) as raw:
        store = BlockStore(raw, str(folder), genesis.spec.hash)
        chain = Chain(genesis, store, Executor(registry))
        last = _run(read_snapshot(chain, file), "checking and installing the snapshot", progress)
        chain.take_up()
        for _ in clean_up(store):
            pass
        return last


def _run(steps: Iterator[Step], what: str, progress: Progress) -> Step:
    last: Step | None = None
    for last in steps:
        progress(what, last.keys, max(last.keys, last.expected_keys))
    return last or unreachable("a snapshot has no record")

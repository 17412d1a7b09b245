"""What the operator's tools share: the store of a node that does not run, and a word on how far long work has come."""

import contextlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeAlias

from ledger.block import Receipt
from ledger.errors import NotFoundError
from ledger.transaction import Transaction
from ledger.types import Height
from node.block_store import BlockStore, StorageError, stored_genesis
from node.damage import STORE_NAME
from node.missing import pruned
from node.storage import LevelStore, locked

Progress: TypeAlias = Callable[[str, int, int], None]
"""Is told what is being done, how much of it is done, and how much there is (0: not known)."""


def silent(_what: str, _done: int, _total: int) -> None:
    """Say nothing."""


def check_stopped(db: Path) -> None:
    """Raise unless there is a database in the folder `db` that no other process has open."""
    if not db.is_dir() or not any(db.iterdir()):
        raise NotFoundError("not_found", f"there is no database in {db}", hint="is this the node's data folder?", path=str(db))
    try:
        with locked(db):
            pass
    except StorageError as error:
        if error.reason == "store_locked":
            error.hint = "stop the node first (or name another data folder): this works on the files of a node that does not run"
        raise


@contextlib.contextmanager
def stopped_store(data_dir: Path, genesis_hash: bytes | None = None) -> Iterator[BlockStore]:
    """The chain in a stopped node's data folder, open until the context is left; without a hash, whichever chain is there.

    Raises `StorageError`, or `NotFoundError` where there is no chain.
    """
    db = data_dir / STORE_NAME
    check_stopped(db)
    raw = LevelStore(db)
    with contextlib.closing(raw):
        found = stored_genesis(raw)
        if found is None:
            raise NotFoundError("not_found", f"{db} holds no chain yet", hint="start the node once, or restore a snapshot")
        yield BlockStore(raw, str(db), genesis_hash or found)


def heights(store: BlockStore, low: int | None, high: int | None, oldest: Height) -> range:
    """Return the heights low..high that are there, from `oldest` to the tip where they are not given. Raises `pruned`."""
    tip = store.tip_height() or Height(0)
    for given in (low, high):
        if given is not None and given < oldest:
            raise pruned(f"height {given}", oldest, height=given)
    return range(oldest if low is None else low, min(tip, tip if high is None else high) + 1)


def transactions_of(store: BlockStore, genesis_hash: bytes, height: Height) -> tuple[Transaction, ...]:
    """Return a block's transactions. Raises `StorageError` where the block should be and is not."""
    block = store.block(height)
    if block is None:
        raise missing("body", height)
    return tuple(Transaction.from_raw(raw, genesis_hash) for raw in block.transactions)


def receipts_of(store: BlockStore, height: Height) -> tuple[Receipt, ...]:
    """Return a block's receipts. Raises `StorageError` where they should be and are not."""
    receipts = store.receipts(height)
    if receipts is None:
        raise missing("receipts", height)
    return receipts


def missing(what: str, height: Height) -> StorageError:
    """Return the error for a part of a block that is held and not there."""
    hint = "run `datacar db verify --full`"
    return StorageError("store_corrupt", f"block {height} is damaged: no {what} in the store", hint=hint, height=height)

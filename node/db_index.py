"""`datacar db reindex`: makes the index of a stopped node anew from the blocks it holds."""

from typing import Final

from ledger.types import Height
from node.block_store import BlockStore
from node.db_tools import Progress, receipts_of, transactions_of
from node.indexes import INDEX_PREFIX, REACH_KEY, REBUILDING_KEY, Reach, index_block, reach_bytes
from vm.registry import Registry

BATCH_ENTRIES: Final = 10_000


def reindex(store: BlockStore, genesis_hash: bytes, registry: Registry, progress: Progress) -> Reach:
    """Delete the index and write it again; return which heights it covers.

    A note says that this is under way, until the last batch: broken off, it leaves a node without index. Raises `StorageError`.
    """
    store.raw.apply({REACH_KEY: None, REBUILDING_KEY: b"1"})
    _delete(store, progress)
    tip = store.tip_height() or Height(0)
    first = Height(max(1, store.held.bodies_from, store.held.receipts_from))
    entries: dict[bytes, bytes | None] = {}
    for height in map(Height, range(first, tip + 1)):
        transactions = transactions_of(store, genesis_hash, height)
        entries.update(index_block(height, transactions, receipts_of(store, height), registry))
        if len(entries) >= BATCH_ENTRIES:
            store.raw.apply(entries)
            entries = {}
        progress("indexing blocks", height - first + 1, tip - first + 1)
    reach = Reach(first, tip)
    store.raw.apply({**entries, REACH_KEY: reach_bytes(reach), REBUILDING_KEY: None})
    return reach


def _delete(store: BlockStore, progress: Progress) -> None:
    gone: dict[bytes, bytes | None] = {}
    count = 0
    for key, _ in store.raw.iterate(INDEX_PREFIX):
        if key != REBUILDING_KEY:
            gone[key] = None
        if len(gone) >= BATCH_ENTRIES:
            store.raw.apply(gone)
            count += len(gone)
            gone = {}
            progress("deleting the old index", count, 0)
    store.raw.apply(gone)

"""What lists of transactions and events are read from: the index, and single receipts and bodies of blocks.

A block's receipts lie in one record of perhaps a megabyte: one of them is found by skipping over those before it, which takes a
tenth of decoding them all.
"""

import itertools
from collections import OrderedDict
from collections.abc import Callable, Sequence
from typing import Final

import msgpack

from ledger.block import Receipt
from ledger.codec import as_bytes, decode
from ledger.errors import UnavailableError
from ledger.types import Height, TxId
from node.block_store import BlockStore
from node.indexes import Place, Search, read_reach

KEPT_RECORDS: Final = 4


class NotIndexedError(UnavailableError):
    """This node keeps no index."""

    def __init__(self) -> None:
        hint = "ask another node; its operator can set storage.indexes = true and run `datacar db reindex`"
        super().__init__("not_indexed", "this node keeps no index of transactions and events", hint=hint)


class Lists:
    """Reads of one node's index and of what it points to."""

    def __init__(self, store: BlockStore) -> None:
        self._store = store
        self._receipts = _Records(store.receipts_bytes, ())
        self._bodies = _Records(store.block_bytes, (1,))

    def oldest(self) -> Height:
        """Return the lowest height whose transactions and events are listed. Raises `NotIndexedError`."""
        reach, held = read_reach(self._store.raw), self._store.held
        if reach is None or reach.last != self._store.tip_height():
            raise NotIndexedError
        return max(reach.first, held.receipts_from, held.bodies_from)

    def search(self, selectors: Sequence[bytes], start: Place, end: Place) -> Search:
        """Return the search for receipts that answer to all selectors (`node.indexes`), newest first."""
        return Search(self._store.raw, selectors, start, end)

    def receipt(self, place: Place) -> Receipt | None:
        """Return the receipt that stands there, or None where receipts are no longer held."""
        data = self._receipts.item(place.height, place.index)
        return None if data is None else Receipt.from_value(decode(data))

    def receipts(self, height: Height) -> tuple[bytes, ...] | None:
        """Return the canonical bytes of each receipt of a block, or None where receipts are not held."""
        data = self._store.receipts_bytes(height)
        return None if data is None else receipt_items(data)

    def body(self, receipt: Receipt) -> bytes | None:
        """Return the bytes of the transaction that a receipt is of; None for a schedule entry's, or where it is pruned."""
        place = self._store.find_transaction(TxId(receipt.id))
        data = None if place is None else self._bodies.item(*place)
        return None if data is None else as_bytes(decode(data), "transaction")


class _Records:
    """Single items of arrays stored by height. `path` leads from the record to the array; the last few records are kept."""

    def __init__(self, read: Callable[[Height], bytes | None], path: tuple[int, ...]) -> None:
        self._read = read
        self._path = path
        self._kept: OrderedDict[Height, tuple[bytes, list[int]]] = OrderedDict()

    def item(self, height: Height, index: int) -> bytes | None:
        """Return an item's bytes, or None where there is no such record or item."""
        found = self._kept.get(height)
        if found is None:
            data = self._read(height)
            if data is None:
                return None
            found = self._kept[height] = data, _offsets(data, self._path)
            while len(self._kept) > KEPT_RECORDS:
                self._kept.popitem(last=False)
        data, offsets = found
        return data[offsets[index] : offsets[index + 1]] if index + 1 < len(offsets) else None


def receipt_items(data: bytes) -> tuple[bytes, ...]:
    """Return the canonical bytes of each receipt in a block's record of them."""
    offsets = _offsets(data, ())
    return tuple(data[start:end] for start, end in itertools.pairwise(offsets))


def _offsets(data: bytes, path: tuple[int, ...]) -> list[int]:
    """Return where the items of an array begin, and where the last one ends."""
    unpacker = msgpack.Unpacker(max_buffer_size=len(data))
    unpacker.feed(data)
    count = unpacker.read_array_header()
    for index in path:
        for _ in range(index):
            unpacker.skip()
        count = unpacker.read_array_header()
    offsets = [unpacker.tell()]
    for _ in range(count):
        unpacker.skip()
        offsets.append(unpacker.tell())
    return offsets

"""Puts a fetched state beside the chain and, when all of it is there, in its place (protocol, section State).

What is written before `finish` means nothing: the state grows as a version of a later height and under the flat prefix that is
not in use, the window's history at heights above the tip. One synced batch makes it the node's. A marker says that something is
under way, so that leftovers are removed after a crash: those of a state that was never finished, or of the chain it replaced.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Self

import structlog

from ledger.certificate import QuorumCertificate
from ledger.codec import as_bool, as_int, decode, encode_trusted, fields
from ledger.committee_chain import Handover
from ledger.state_parts import Assembly
from ledger.state_tree import LEAF_PREFIX, NODE_PREFIX, StateRoot
from ledger.types import Height, TxId
from node.block_store import BlockStore, Held
from node.crew import SyncFailedError
from node.indexes import REACH_KEY, Reach, reach_bytes, read_reach

BATCH_BYTES: Final = 512 * 1024
RECORDS_A_STEP: Final = 500
_MARKER: Final = b"minstall"
_VERSION_BYTES: Final = 8
_END: Final = object()

log = structlog.get_logger("sync")


@dataclass(frozen=True, slots=True)
class _Marker:
    """What is under way: the state of `height` in the place of the chain whose tip was `before`; `finished`: it is in place."""

    height: Height
    before: Height
    finished: bool

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return encode_trusted((self.height, self.before, self.finished))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what `encode` gave."""
        height, before, finished = fields(decode(data), 3, "installation")
        return cls(Height(as_int(height, "height")), Height(as_int(before, "height")), as_bool(finished, "finished"))


class Installation:
    """The state that a certified header commits to, as it comes. `assembly` says what is wanted and checks what comes."""

    def __init__(self, store: BlockStore, genesis_hash: bytes, certificate: QuorumCertificate) -> None:
        header = certificate.header
        self.certificate = certificate
        self.height = header.height
        self.before = store.tip_height() or Height(0)
        self.assembly = Assembly(genesis_hash, StateRoot(header.height, header.state_root), store.other_values)
        self.written_bytes = 0
        self._store = store
        self._batch: dict[bytes, bytes | None] = {}
        self._batch_bytes = 0

    def begin(self) -> None:
        """Note on disk that this is under way; leftovers of an earlier one must be gone."""
        self._store.raw.apply({_MARKER: _Marker(self.height, self.before, finished=False).encode()})

    def put(self, records: Mapping[bytes, bytes | None]) -> None:
        """Write records, in batches."""
        self._batch.update(records)
        self._batch_bytes += sum(len(key) + len(value or b"") for key, value in records.items())
        if self._batch_bytes >= BATCH_BYTES:
            self._flush()

    def put_history(self, certificate: QuorumCertificate, receipts: bytes, tx_ids: Sequence[TxId]) -> None:
        """Write what a block of the window did: its receipts as they came, and the ids of its transactions."""
        self.put(self._store.history_records(certificate, receipts, tx_ids))

    def _flush(self) -> None:
        if not _is_below(self._store, self.height):
            raise SyncFailedError("the chain itself came to this height meanwhile", height=self.height)
        if self._batch:
            self._store.raw.apply(self._batch)
            self.written_bytes += self._batch_bytes
            self._batch, self._batch_bytes = {}, 0

    def finish(self, window_from: Height, handovers: Iterable[Handover]) -> None:
        """Make the state the node's own; the history from `window_from` up has been put."""
        self._flush()
        held, height = self._store.held, self.height
        joined = window_from <= self.before + 1
        now = Held(
            headers_from=held.headers_from if joined else window_from,
            receipts_from=held.receipts_from if joined else window_from,
            bodies_from=Height(height + 1),
            states_from=height,
        )
        replaced = self._store.tip_height() or Height(0)  # it may have grown meanwhile
        more: dict[bytes, bytes | None] = {_MARKER: _Marker(height, replaced, finished=True).encode()}
        if read_reach(self._store.raw) is not None:
            more[REACH_KEY] = reach_bytes(Reach(Height(height + 1), height))
        self._store.become(height, now, handovers, more)


def clean_up(store: BlockStore) -> Iterator[None]:
    """Remove what an installation left, stopping between steps of some milliseconds; nothing when there was none.

    The chain may go on meanwhile. When it reaches the height of a state that was not finished, records of that version may be its
    own: what is left then stays, unread.
    """
    data = store.raw.get(_MARKER)
    if data is None:
        return
    marker = _Marker.decode(data)
    log.info("removing what an installed state left", height=marker.height, finished=marker.finished)
    yield from _delete(store, (key for key, _ in store.raw.iterate(store.other_values)))
    if marker.finished:
        yield from _delete_tree(store, range(marker.height))
        yield from _delete_blocks(store, range(1, marker.before + 1))
    else:
        steps = _delete_tree(store, range(marker.height, marker.height + 1))
        while _is_below(store, marker.height) and next(steps, _END) is not _END:
            yield
        yield from _delete_blocks(store, range(marker.before + 1, marker.height + 1))
    store.raw.apply({_MARKER: None})


def _is_below(store: BlockStore, height: Height) -> bool:
    return (store.tip_height() or 0) < height


def _delete_tree(store: BlockStore, versions: range) -> Iterator[None]:
    """Delete the tree's records of these versions."""
    for prefix in (NODE_PREFIX, LEAF_PREFIX):
        keys = (key for key, _ in store.raw.iterate(prefix))
        yield from _delete(store, (key if int.from_bytes(key[-_VERSION_BYTES:]) in versions else None for key in keys))


def _delete_blocks(store: BlockStore, heights: range) -> Iterator[None]:
    """Delete the records of blocks that are not held; of most heights below an unfinished window there is nothing at all."""
    gone: dict[bytes, bytes | None] = {}
    for count, height in enumerate(map(Height, heights), 1):
        if store.certificate_bytes(height) is not None:
            gone |= store.unheld_records(height)
        if len(gone) >= RECORDS_A_STEP or count % RECORDS_A_STEP == 0:
            _apply(store, gone)
            gone = {}
            yield
    _apply(store, gone)


def _delete(store: BlockStore, keys: Iterator[bytes | None]) -> Iterator[None]:
    """Delete those keys that are not None."""
    gone: dict[bytes, bytes | None] = {}
    for count, key in enumerate(keys, 1):
        if key is not None:
            gone[key] = None
        if count % RECORDS_A_STEP == 0:
            _apply(store, gone)
            gone = {}
            yield
    _apply(store, gone)


def _apply(store: BlockStore, changes: dict[bytes, bytes | None]) -> None:
    """Write if there is anything to write: a batch of nothing would be synced all the same."""
    if changes:
        store.raw.apply(changes)

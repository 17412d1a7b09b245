"""The history that a restored state needs: certificates and receipts of the blocks in the transaction window before it.

They tell which transaction ids are taken (protocol, section Transactions) and what became of them. Each item certifies itself:
the certificate by the committee of its height, the receipts by the root in its header.
"""

from bisect import bisect_left
from collections.abc import Iterable
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Final

import msgpack

from ledger.block import MAX_BLOCK_TRANSACTIONS, ReceiptKind
from ledger.certificate import BadCertificateError, QuorumCertificate
from ledger.codec import decode
from ledger.committee import Committee
from ledger.committee_chain import Handover, follow
from ledger.errors import BadEncodingError, TooLargeError
from ledger.hashing import Hasher, Tag
from ledger.list_root import BadProofError, list_root
from ledger.types import BlockHash, Height, TxId
from node.crew import NotHeldError
from node.install import Installation
from p2p.messages import StateAnswer, StateRequest
from p2p.state_messages import GetHistory, History
from vm.context import RECENT_BLOCKS

BLOCKS_A_REQUEST: Final = 50
MAX_RECEIPTS: Final = 4 * MAX_BLOCK_TRANSACTIONS
"""Of one block, of transactions and entries that were due: a liar's would else keep the event loop for a minute."""


class Committees:
    """Which committee votes on which height: that of `first` and every change after it, followed and checked."""

    def __init__(self, genesis_hash: bytes, committee: Committee, first: Height) -> None:
        self._genesis_hash = genesis_hash
        self._first = first
        self._committees = [committee]
        self._changes: list[Height] = []
        self.handovers: list[Handover] = []

    @property
    def last(self) -> Committee:
        """Return the committee after the last change."""
        return self._committees[-1]

    @property
    def next_height(self) -> Height:
        """Return the first height that the last committee votes on."""
        return Height(self._changes[-1] + 1) if self._changes else self._first

    def add(self, handovers: Iterable[Handover]) -> None:
        """Follow more changes, or none of them. Raises `BadCertificateError`."""
        added, committees, first = list(handovers), [*self._committees], self.next_height
        for handover in added:
            committees.append(follow(committees[-1], [handover], self._genesis_hash, first=first))
            first = Height(handover.certificate.header.height + 1)
        self._committees = committees
        self._changes += [handover.certificate.header.height for handover in added]
        self.handovers += added

    def at(self, height: Height) -> Committee:
        """Return the committee that votes on a height of `first` or above."""
        return self._committees[bisect_left(self._changes, height)]


@dataclass(frozen=True, slots=True)
class BlockHistory:
    """What is kept of a block of the window: its certificate, its receipts' canonical bytes, and its transactions' ids."""

    certificate: QuorumCertificate
    receipts: bytes = field(repr=False)
    tx_ids: tuple[TxId, ...] = field(repr=False)


def check_history(
    genesis_hash: bytes, committees: Committees, height: Height, certificate: bytes, receipts: bytes
) -> BlockHistory:
    """Return a block's history from the bytes of its certificate and receipts, checked. Raises `InvalidInputError`."""
    checked = QuorumCertificate.from_value(decode(certificate))
    if checked.header.height != height:
        raise BadCertificateError("the certificate is of another height", height=checked.header.height, expected=height)
    checked.check(genesis_hash, committees.at(height))
    # Receipts are hashed as the bytes they came in: those that have the certified root need no check of their shape.
    items = split_array(receipts, MAX_RECEIPTS)
    if list_root(genesis_hash, list(map(Hasher(Tag.RECEIPT, genesis_hash), items))) != checked.header.receipts_root:
        raise BadProofError("the receipts are not those of the certified header", height=height)
    fields_of = (msgpack.unpackb(item, use_list=False) for item in items)
    ids = tuple(TxId(receipt_id) for kind, receipt_id, *_ in fields_of if kind == ReceiptKind.TRANSACTION)
    return BlockHistory(checked, receipts, ids)


def split_array(data: bytes, max_items: int) -> list[bytes]:
    """Return the bytes of each item of an encoded array. Raises `BadEncodingError`, `TooLargeError` before any is looked at."""
    unpacker = msgpack.Unpacker(max_buffer_size=max(1, len(data)))
    unpacker.feed(data)
    try:
        count = unpacker.read_array_header()
        if count > max_items:
            raise TooLargeError("the array", limit=max_items, got=count)
        places = [unpacker.tell()]
        for _ in range(count):
            unpacker.skip()
            places.append(unpacker.tell())
    except (ValueError, msgpack.UnpackException) as error:
        raise BadEncodingError(f"not an array: {error or type(error).__name__}") from error
    if places[-1] != len(data):
        raise BadEncodingError("bytes follow the array", after=places[-1], size=len(data))
    return [data[start:end] for start, end in pairwise(places)]


class HistoryJobs:
    """Fetches the window from the snapshot's height down to where it begins, or to what is held already (`node.crew.Jobs`).

    The block right before the window comes too: its certified timestamp is what says that the window is whole.
    """

    def __init__(self, install: Installation, committees: Committees, genesis_hash: bytes, tx_window_ms: int) -> None:
        tip = install.certificate.header
        self._install = install
        self._committees = committees
        self._genesis_hash = genesis_hash
        self._tip = tip
        self._oldest_ms = tip.timestamp_ms - tx_window_ms
        self._from = Height(install.before + 1)
        self._next = tip.height
        self._missing: list[tuple[Height, int]] = []
        self._links: dict[Height, tuple[bytes, BlockHash]] = {}
        self._last: BlockHistory | None = None

    @property
    def done(self) -> bool:
        """Return whether all of it has come."""
        return len(self._links) == self._tip.height - self._from + 1

    @property
    def blocks(self) -> int:
        """Return how many blocks have come."""
        return len(self._links)

    def next_request(self) -> StateRequest | None:
        """Return the next blocks to ask for, the highest first: the lowest may turn out not to be needed."""
        while self._missing:
            self._missing.remove(highest := max(self._missing))
            start, count = highest
            if start >= self._from:
                return GetHistory(start, min(count, start - self._from + 1))
        if self._next < self._from:
            return None
        start, count = self._next, min(BLOCKS_A_REQUEST, self._next - self._from + 1)
        self._next = Height(start - count)
        return GetHistory(start, count)

    def give_back(self, request: StateRequest) -> None:
        """Ask for these blocks again."""
        if isinstance(request, GetHistory):
            self._missing.append((request.from_height, request.count))

    def take(self, request: StateRequest, answer: StateAnswer) -> None:
        """Check and put what came; the rest of what was asked for is missing still."""
        if not isinstance(request, GetHistory) or not isinstance(answer, History) or not answer.items:
            raise NotHeldError("this history")
        items = answer.items[: request.count]
        for offset, item in enumerate(items):
            self.take_item(Height(request.from_height - offset), *item)
        if left := request.count - len(items):
            self._missing.append((Height(request.from_height - len(items)), left))

    def take_item(self, height: Height, certificate_bytes: bytes, receipts_bytes: bytes) -> None:
        """Check and put one block's history. Raises `InvalidInputError`."""
        if height < self._from or height in self._links:
            return
        found = check_history(self._genesis_hash, self._committees, height, certificate_bytes, receipts_bytes)
        header = found.certificate.header
        if header.timestamp_ms < self._oldest_ms and height <= self._tip.height - RECENT_BLOCKS:
            self._end_at(found)
        else:
            self._put(found)
        self._links[height] = header.parent_hash, header.hash(self._genesis_hash)

    def _put(self, found: BlockHistory) -> None:
        self._install.put_history(found.certificate, found.receipts, found.tx_ids)

    def _end_at(self, found: BlockHistory) -> None:
        """Take a block from before the window: the highest one of these is the last."""
        if self._last is not None:
            del self._links[self._from]
        self._last, self._from = found, found.certificate.header.height

    def close(self, before: BlockHash) -> Height:
        """Put what is left and return the lowest height that was put; `before` is the hash of the tip that is replaced.

        Raises `BadProofError` when certified blocks do not follow one another.
        """
        heights = sorted(self._links)
        for lower, upper in pairwise(heights):
            if self._links[upper][0] != self._links[lower][1]:
                raise BadProofError("two certified blocks do not follow one another: a quorum lies", height=upper)
        if self._from == self._install.before + 1 and self._links[self._from][0] != before:
            raise BadProofError("the certified chain does not follow from ours: a quorum lies", height=self._from)
        if self._last is not None:
            self._put(self._last)
        return self._from

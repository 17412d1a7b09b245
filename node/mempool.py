"""Transactions that wait for a block: bounded in count and bytes, with a quota for each sender (pure, no clock of its own).

What is in here has been decoded, checked and its signatures verified, once. A transaction leaves only by being committed or by
expiring against a committed timestamp; the ones of the proposal in flight are pinned meanwhile.
"""

import heapq
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Final

from ledger.errors import LimitError
from ledger.transaction import Transaction
from ledger.types import Address, TxHash, TxId
from vm.context import count_values

OVERHEAD_BYTES: Final = 1_024
VALUE_BYTES: Final = 48
"""What a decoded transaction takes beside its raw bytes, itself and for each value of its arguments: measured, about."""
DEFERRED_SHARE: Final = 8  # one of so many candidates is one that was put behind the others: they wait long, but not for ever


@dataclass(frozen=True, slots=True)
class MempoolLimits:
    """The bounds of the pool; a sender may have at most `sender_share_percent` of either. Bytes are those of memory."""

    max_transactions: int = 50_000
    max_bytes: int = 64 * 1024 * 1024
    sender_share_percent: int = 10


class Mempool:
    """Pending transactions in the order in which they came, and behind them those that no block could take when it was tried.

    So what cannot be paid, however much of it there is, is not in the way of what comes later and can.
    """

    def __init__(self, limits: MempoolLimits) -> None:
        self._limits = limits
        self._by_hash: dict[TxHash, Transaction] = {}
        self._fresh: dict[TxHash, Transaction] = {}
        self._deferred: dict[TxHash, Transaction] = {}
        self._by_id: dict[TxId, TxHash] = {}
        self._senders: dict[Address, tuple[int, int]] = {}
        self._expiry: list[tuple[int, TxHash]] = []
        self._pinned: frozenset[TxHash] = frozenset()
        self._bytes = 0
        self._raw_bytes = 0

    def __len__(self) -> int:
        return len(self._by_hash)

    @property
    def size_bytes(self) -> int:
        """Return the raw bytes held; what the pool's bound counts is more."""
        return self._raw_bytes

    @property
    def memory_bytes(self) -> int:
        """Return about how much memory the transactions take."""
        return self._bytes

    @property
    def pending(self) -> int:
        """Return how many transactions are not part of the proposal in flight."""
        return len(self._by_hash) - len(self._pinned)

    def get(self, tx_hash: TxHash) -> Transaction | None:
        """Return a transaction by the digest of all its bytes."""
        return self._by_hash.get(tx_hash)

    def find(self, tx_id: TxId) -> Transaction | None:
        """Return a transaction by its id."""
        tx_hash = self._by_id.get(tx_id)
        return None if tx_hash is None else self._by_hash[tx_hash]

    def check_room(self, transaction: Transaction) -> None:
        """Raise `LimitError` (`pool_full`, `sender_quota`) when there is no room, before a signature is verified for it."""
        limits, size = self._limits, _memory_of(transaction)
        if len(self._by_hash) >= limits.max_transactions or self._bytes + size > limits.max_bytes:
            raise LimitError(
                "pool_full",
                f"the pool holds {len(self._by_hash)} transactions, which take {self._bytes} bytes",
                hint="send again in a few seconds",
                limit=limits.max_transactions,
                limit_bytes=limits.max_bytes,
            )
        count, held_bytes = self._senders.get(transaction.sender, (0, 0))
        max_count = max(1, limits.max_transactions * limits.sender_share_percent // 100)
        max_bytes = max(size, limits.max_bytes * limits.sender_share_percent // 100)
        if count >= max_count or held_bytes + size > max_bytes:
            raise LimitError(
                "sender_quota",
                f"this sender has {count} transactions pending",
                hint="wait until some of them are final",
                limit=max_count,
                have=count,
            )

    def add(self, transaction: Transaction) -> bool:
        """Take a verified transaction; return False when its id is already here. Raises `LimitError` when there is no room."""
        if transaction.id in self._by_id:
            return False
        self.check_room(transaction)
        sender, size = transaction.sender, _memory_of(transaction)
        count, held_bytes = self._senders.get(sender, (0, 0))
        self._senders[sender] = (count + 1, held_bytes + size)
        self._by_hash[transaction.tx_hash] = self._fresh[transaction.tx_hash] = transaction
        self._by_id[transaction.id] = transaction.tx_hash
        self._bytes += size
        self._raw_bytes += len(transaction.raw)
        heapq.heappush(self._expiry, (transaction.body.valid_until_ms, transaction.tx_hash))
        return True

    def candidates(self) -> Iterator[Transaction]:
        """Yield what may be proposed, oldest first; what was deferred comes last, but for one in `DEFERRED_SHARE`."""
        deferred = self._unpinned(self._deferred)
        for count, transaction in enumerate(self._unpinned(self._fresh), start=1):
            yield transaction
            if count % (DEFERRED_SHARE - 1) == 0:
                yield from islice(deferred, 1)
        yield from deferred

    def _unpinned(self, transactions: dict[TxHash, Transaction]) -> Iterator[Transaction]:
        pinned = self._pinned
        return (transaction for tx_hash, transaction in transactions.items() if tx_hash not in pinned)

    def defer(self, tx_hashes: Iterable[TxHash]) -> None:
        """Put transactions that no block could take just now behind all others."""
        for tx_hash in tx_hashes:
            if (transaction := self._by_hash.get(tx_hash)) is not None:
                self._fresh.pop(tx_hash, None)
                self._deferred.pop(tx_hash, None)
                self._deferred[tx_hash] = transaction

    def has_expired(self, time_ms: int) -> bool:
        """Return whether a block stamped `time_ms` would let something expire."""
        while self._expiry and self._expiry[0][1] not in self._by_hash:
            heapq.heappop(self._expiry)
        return bool(self._expiry) and self._expiry[0][0] < time_ms

    def pin(self, tx_hashes: Iterable[TxHash]) -> None:
        """Mark the transactions of the proposal in flight; those of an earlier one are pending again."""
        self._pinned = frozenset(tx_hash for tx_hash in tx_hashes if tx_hash in self._by_hash)

    def unpin(self) -> None:
        """Make everything pending again."""
        self._pinned = frozenset()

    def remove(self, tx_ids: Iterable[TxId]) -> None:
        """Drop committed transactions."""
        for tx_id in tx_ids:
            tx_hash = self._by_id.get(tx_id)
            if tx_hash is not None:
                self._drop(tx_hash)
        self.pin(self._pinned)

    def expire(self, block_time_ms: int) -> tuple[Transaction, ...]:
        """Drop and return what no block after one stamped `block_time_ms` can hold."""
        expired = []
        while self._expiry and self._expiry[0][0] <= block_time_ms:
            _, tx_hash = heapq.heappop(self._expiry)
            if (transaction := self._by_hash.get(tx_hash)) is not None:
                self._drop(tx_hash)
                expired.append(transaction)
        if len(self._expiry) > 2 * len(self._by_hash) + 1_024:
            self._expiry = [(item.body.valid_until_ms, tx_hash) for tx_hash, item in self._by_hash.items()]
            heapq.heapify(self._expiry)
        if expired:
            self.pin(self._pinned)
        return tuple(expired)

    def _drop(self, tx_hash: TxHash) -> None:
        transaction = self._by_hash.pop(tx_hash)
        del (self._deferred if tx_hash in self._deferred else self._fresh)[tx_hash]
        del self._by_id[transaction.id]
        size = _memory_of(transaction)
        self._bytes -= size
        self._raw_bytes -= len(transaction.raw)
        count, held_bytes = self._senders[transaction.sender]
        if count == 1:
            del self._senders[transaction.sender]
        else:
            self._senders[transaction.sender] = (count - 1, held_bytes - size)


def _memory_of(transaction: Transaction) -> int:
    """Return about how many bytes of memory a decoded transaction takes: small values take many times their encoding."""
    values = sum([count_values(call.args) for call in transaction.body.calls])
    return len(transaction.raw) + OVERHEAD_BYTES + VALUE_BYTES * values

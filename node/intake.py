"""From raw bytes to the mempool: each transaction is decoded once, checked once, its signatures verified once.

A wallet's transactions are answered one by one; gossip is kept as bytes and verified in bounded chunks between other work,
sooner when a proposal needs it. On few cores that beats threads: one verification for each release of the interpreter lock
beside a busy thread is a hundred times slower.
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Final

from ledger.errors import DatacarError, LimitError, RejectedError
from ledger.hashing import Hasher, Tag
from ledger.transaction import Transaction
from ledger.types import TxHash
from node.chain import Chain
from node.mempool import Mempool

MAX_UNVERIFIED: Final = 20_000
MAX_UNVERIFIED_BYTES: Final = 32 * 1024 * 1024
MAX_EXTRA: Final = 20_000


class Intake:
    """Admits transactions. `on_accepted` is called for each one that enters the pool, with whether a wallet sent it here."""

    def __init__(self, chain: Chain, mempool: Mempool, on_accepted: Callable[[Transaction, bool], None]) -> None:
        self.chain = chain
        self.mempool = mempool
        self.refused = 0
        self._turn = asyncio.Lock()
        self._on_accepted = on_accepted
        self._hash = Hasher(Tag.TRANSACTION_RAW, chain.genesis_hash)
        self._unverified: dict[TxHash, bytes] = {}
        self._unverified_bytes = 0
        self._extra: dict[TxHash, Transaction] = {}

    @asynccontextmanager
    async def turn(self) -> AsyncIterator[None]:
        """One chunk of checks and verification: one at a time in the whole node, and the event loop goes round between two.

        However many wallets and members send at once, consensus messages wait for one chunk at most.
        """
        async with self._turn:
            yield
            await asyncio.sleep(0)

    # ---- a wallet's transaction

    def decode(self, raw: bytes) -> Transaction:
        """Return the transaction of raw bytes; raises the coded error that its sender sees."""
        return Transaction.from_raw(raw, self.chain.genesis_hash)

    def admit(self, transaction: Transaction, now_ms: int) -> None:
        """Take a wallet's transaction that is neither committed nor pending. Cheap checks come first, the signature last."""
        self._check_time(transaction, now_ms)
        self.mempool.check_room(transaction)
        context = self.chain.context(max(now_ms, self.chain.tip.timestamp_ms + 1))
        self.chain.executor.check_transaction(transaction)
        transaction.check_signatures()
        self.chain.executor.check_funds(self.chain.store.state, context, transaction)
        if self.mempool.add(transaction):
            self._on_accepted(transaction, True)

    def _check_time(self, transaction: Transaction, now_ms: int) -> None:
        """Refuse what no later block can hold: nothing expires by a local clock, only a far future is judged by it."""
        valid_until_ms, tip_ms = transaction.body.valid_until_ms, self.chain.tip.timestamp_ms
        if valid_until_ms <= tip_ms:
            raise RejectedError(
                "expired",
                f"valid until {valid_until_ms}, the last block is stamped {tip_ms}",
                hint="sign it again with a later valid_until_ms",
                valid_until_ms=valid_until_ms,
                block_time_ms=tip_ms,
            )
        limit_ms = max(now_ms, tip_ms) + self.chain.parameters.tx_window_ms
        if valid_until_ms > limit_ms:
            raise RejectedError(
                "not_permitted",
                f"valid until {valid_until_ms}, which is after the latest allowed {limit_ms}",
                hint="sign it again with a valid_until_ms within tx_window_ms of now",
                limit_ms=limit_ms,
                got=valid_until_ms,
            )

    # ---- gossip

    @property
    def backlog(self) -> int:
        """Return how many gossiped transactions wait to be verified."""
        return len(self._unverified)

    def hash_of(self, raw: bytes) -> TxHash:
        """Return the digest of a transaction's bytes without decoding them."""
        return TxHash(self._hash(raw))

    def offer(self, raws: Sequence[bytes]) -> None:
        """Keep gossiped bytes for later; over the bound they are dropped, for their sender repeats what stays pending."""
        for raw in raws:
            tx_hash = self.hash_of(raw)
            if tx_hash in self._unverified or self.mempool.get(tx_hash) is not None:
                continue
            if len(self._unverified) >= MAX_UNVERIFIED or self._unverified_bytes + len(raw) > MAX_UNVERIFIED_BYTES:
                self.refused += 1
                return
            self._unverified[tx_hash] = raw
            self._unverified_bytes += len(raw)

    def verify_some(self, count: int) -> None:
        """Verify up to `count` gossiped transactions, oldest first, and pool the good ones."""
        for _ in range(min(count, len(self._unverified))):
            tx_hash = next(iter(self._unverified))
            try:
                self._verify(tx_hash)
            except DatacarError:
                self.refused += 1

    # ---- a proposal's bodies

    def find(self, tx_hash: TxHash) -> Transaction | None:
        """Return a verified transaction that we hold."""
        return self.mempool.get(tx_hash) or self._extra.get(tx_hash)

    def has_unverified(self, tx_hash: TxHash) -> bool:
        """Return whether its bytes are here but not yet verified."""
        return tx_hash in self._unverified

    def verify_now(self, tx_hash: TxHash) -> Transaction:
        """Verify a held body ahead of its turn; raises when it is bad, which makes a proposal that names it invalid."""
        return self._verify(tx_hash, for_proposal=True)

    def forget_extra(self) -> None:
        """Drop the bodies that only a past proposal needed."""
        self._extra.clear()

    def _verify(self, tx_hash: TxHash, *, for_proposal: bool = False) -> Transaction:
        raw = self._unverified.pop(tx_hash)
        self._unverified_bytes -= len(raw)
        transaction = self.decode(raw)
        if not for_proposal and not self._is_wanted(transaction):
            return transaction
        transaction.check_signatures()
        try:
            if self.mempool.add(transaction):
                self._on_accepted(transaction, False)
        except LimitError:
            if not for_proposal:
                raise
        if for_proposal and self.mempool.get(tx_hash) is None and len(self._extra) < MAX_EXTRA:
            self._extra[tx_hash] = transaction
        return transaction

    def _is_wanted(self, transaction: Transaction) -> bool:
        """Return whether gossip brought something that can still get into a block."""
        if transaction.body.valid_until_ms <= self.chain.tip.timestamp_ms or self.mempool.find(transaction.id) is not None:
            return False
        return self.chain.committed_at(transaction.id) is None

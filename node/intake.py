"""From raw bytes to the mempool: each transaction is decoded once, checked once, its signatures verified once.

A wallet's transactions are answered one by one; gossip is kept as bytes and verified in bounded chunks between other work,
sooner when a proposal needs it. On few cores that beats threads: one verification for each release of the interpreter lock
beside a busy thread is a hundred times slower.
"""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Sequence
from typing import Final

from ledger.errors import BadEncodingError, BadSignatureError, DatacarError, LimitError, RejectedError, TooLargeError
from ledger.hashing import Hasher, Tag
from ledger.transaction import Transaction
from ledger.types import MemberId, TxHash
from node.chain import Chain
from node.mempool import Mempool
from vm.gas import max_gas_limit

MAX_UNVERIFIED: Final = 10_000  # for each member
MAX_UNVERIFIED_BYTES: Final = 16 * 1024 * 1024
MAX_EXTRA: Final = 20_000
MAX_BACKLOG: Final = 1_500  # of one member: about a tenth of a second of verification


class Intake:
    """Admits transactions. `on_accepted` is called for each one that enters the pool, with whether a wallet sent it here."""

    def __init__(self, chain: Chain, mempool: Mempool, on_accepted: Callable[[Transaction, bool], None]) -> None:
        self.chain = chain
        self.mempool = mempool
        self.refused = 0
        self._turn = asyncio.Lock()
        self._on_accepted = on_accepted
        self._hash = Hasher(Tag.TRANSACTION_RAW, chain.genesis_hash)
        self._unverified: dict[TxHash, tuple[bytes, MemberId]] = {}
        self._held: dict[MemberId, tuple[int, int]] = {}
        self._wanted: dict[TxHash, bytes] = {}
        self._extra: dict[TxHash, Transaction] = {}
        self._closed: Callable[[], DatacarError] | None = None

    @contextlib.asynccontextmanager
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
        if self._closed is not None:
            raise self._closed()
        self._check_time(transaction, now_ms)
        self._check_backlog()
        self.mempool.check_room(transaction)
        context = self.chain.context(max(now_ms, self.chain.tip.timestamp_ms + 1))
        self.chain.executor.check_transaction(transaction)
        transaction.check_signatures()
        self.chain.executor.check_funds(self.chain.store.state, context, transaction)
        if self.mempool.add(transaction):
            self._on_accepted(transaction, True)

    def close(self, refusal: Callable[[], DatacarError]) -> None:
        """Refuse wallets' transactions from now on, each with an error of its own: this node has stopped taking part."""
        self._closed = refusal

    def _check_time(self, transaction: Transaction, now_ms: int, *, leeway_ms: int = 0) -> None:
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
        limit_ms = max(now_ms, tip_ms) + self.chain.parameters.tx_window_ms + leeway_ms
        if valid_until_ms > limit_ms:
            raise RejectedError(
                "not_permitted",
                f"valid until {valid_until_ms}, which is after the latest allowed {limit_ms}",
                hint="sign it again with a valid_until_ms within tx_window_ms of now",
                limit_ms=limit_ms,
                got=valid_until_ms,
            )

    def _check_backlog(self) -> None:
        """Refuse a wallet's transaction while members' wait to be verified: taking more in than all can verify loses gossip.

        The (f+1)-th largest backlog counts: what up to f members pour out keeps no wallet from the others.
        """
        counts = sorted((count for count, _ in self._held.values()), reverse=True)
        faults = self.chain.committee.faults
        if len(counts) > faults and counts[faults] >= MAX_BACKLOG:
            raise LimitError(
                "pool_full",
                f"{len(self._unverified)} transactions of other members wait to be verified here",
                hint="send again in a few seconds",
                limit=MAX_BACKLOG,
                have=counts[faults],
            )

    def _check_gas_limit(self, transaction: Transaction) -> None:
        """Refuse what asks for more gas than any block gives to one transaction: it would stay pending for nothing."""
        limit = max_gas_limit(self.chain.parameters.block_max_gas)
        if transaction.body.gas_limit > limit:
            raise TooLargeError("the transaction's gas limit", limit=limit, got=transaction.body.gas_limit)

    # ---- gossip

    @property
    def backlog(self) -> int:
        """Return how many gossiped transactions wait to be verified."""
        return len(self._unverified)

    def hash_of(self, raw: bytes) -> TxHash:
        """Return the digest of a transaction's bytes without decoding them."""
        return TxHash(self._hash(raw))

    def offer(self, raws: Sequence[bytes], source: MemberId) -> tuple[TxHash, ...]:
        """Keep a member's gossip for later and return the hashes of what is new.

        Each member has a share of its own; what is over it is dropped, for its sender repeats what stays pending.
        """
        taken = []
        for raw in raws:
            tx_hash = self.hash_of(raw)
            if tx_hash in self._unverified or self.mempool.get(tx_hash) is not None:
                continue
            count, size = self._held.get(source, (0, 0))
            if count >= MAX_UNVERIFIED or size + len(raw) > MAX_UNVERIFIED_BYTES:
                self.refused += 1
                break
            self._keep(tx_hash, raw, source)
            taken.append(tx_hash)
        return tuple(taken)

    def take_wanted(self, tx_hash: TxHash, raw: bytes) -> None:
        """Keep a body that a proposal needs, whatever else waits: proposals are bounded themselves."""
        if not self.has_unverified(tx_hash) and self.find(tx_hash) is None:
            self._wanted[tx_hash] = raw

    def _keep(self, tx_hash: TxHash, raw: bytes, source: MemberId) -> None:
        count, size = self._held.get(source, (0, 0))
        self._held[source] = (count + 1, size + len(raw))
        self._unverified[tx_hash] = (raw, source)

    def _release(self, tx_hash: TxHash) -> tuple[bytes, MemberId]:
        raw, source = self._unverified.pop(tx_hash)
        count, size = self._held[source]
        if count == 1:
            del self._held[source]
        else:
            self._held[source] = (count - 1, size - len(raw))
        return raw, source

    def verify_some(self, count: int, now_ms: int) -> frozenset[MemberId]:
        """Verify up to `count` gossiped transactions, oldest first, and pool those that a block could hold.

        Return who sent bytes that are no transaction or not signed: an honest member tells only of what it has verified.
        """
        liars = set()
        for _ in range(min(count, len(self._unverified))):
            raw, source = self._release(next(iter(self._unverified)))
            try:
                self._pool_gossip(self.decode(raw), now_ms)
            except DatacarError as error:
                self.refused += 1
                if isinstance(error, BadEncodingError | BadSignatureError):
                    liars.add(source)
        return frozenset(liars)

    def _pool_gossip(self, transaction: Transaction, now_ms: int) -> None:
        """Verify and pool gossip. Its calls are not asked: a block can hold one that fails."""
        if self._is_new(transaction):
            self._check_includable(transaction, now_ms)
            self.mempool.check_room(transaction)
            transaction.check_signatures()
            self._add(transaction)

    def _is_new(self, transaction: Transaction) -> bool:
        return self.mempool.find(transaction.id) is None and self.chain.committed_at(transaction.id) is None

    def _check_includable(self, transaction: Transaction, now_ms: int) -> None:
        """Raise for what no block could hold: pending all the same, it would have every primary replaced for not proposing it.

        Another member took it by its own clock, which may be ahead of ours by the drift on both sides.
        """
        self._check_time(transaction, now_ms, leeway_ms=2 * self.chain.parameters.clock_drift_ms)
        self._check_gas_limit(transaction)
        chain = self.chain
        context = chain.context(max(now_ms, chain.tip.timestamp_ms + 1))
        if chain.parameters.gas_price_motes and not chain.executor.can_reserve(chain.store.state, context, transaction):
            raise RejectedError("insufficient_funds", "its sender cannot pay its gas", hint="fund the account")

    def _add(self, transaction: Transaction) -> None:
        if self.mempool.add(transaction):
            self._on_accepted(transaction, False)

    # ---- a proposal's bodies

    def find(self, tx_hash: TxHash) -> Transaction | None:
        """Return a verified transaction that we hold."""
        return self.mempool.get(tx_hash) or self._extra.get(tx_hash)

    def has_unverified(self, tx_hash: TxHash) -> bool:
        """Return whether its bytes are here but not yet verified."""
        return tx_hash in self._unverified or tx_hash in self._wanted

    def verify_now(self, tx_hash: TxHash, now_ms: int) -> Transaction:
        """Verify a held body ahead of its turn; raises when it is bad, which makes a proposal that names it invalid.

        It enters the pool only if gossip could have brought it there: what a proposal names may be junk that no block can hold.
        """
        wanted = self._wanted.pop(tx_hash, None)
        transaction = self.decode(self._release(tx_hash)[0] if wanted is None else wanted)
        transaction.check_signatures()
        if self._is_new(transaction):
            with contextlib.suppress(DatacarError):
                self._check_includable(transaction, now_ms)
                self._add(transaction)
        if self.mempool.get(tx_hash) is None and len(self._extra) < MAX_EXTRA:
            self._extra[tx_hash] = transaction
        return transaction

    def forget_extra(self) -> None:
        """Drop the bodies that only a past proposal needed."""
        self._extra.clear()
        self._wanted.clear()

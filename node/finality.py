"""What became of transactions: answers from the store and the pool, and waits that end with the final answer.

A transaction ends as succeeded, failed or expired. Expired is said only of a committed timestamp, never of a local clock.
"""

import asyncio
from collections import OrderedDict
from typing import Final

from ledger.block import Header, Receipt, Status
from ledger.errors import NotFoundError, UnavailableError
from ledger.types import Height, TxId
from node.api import TxState, TxStatus
from node.block_store import Held
from node.chain import Chain, ExecutedBlock
from node.indexes import Place
from node.lists import Lists
from node.mempool import Mempool
from node.missing import pruned

MAX_WAITERS: Final = 32_768
"""More than all WebSockets and HTTP requests together may hold (node/rpc/limits.py)."""
MAX_EXPIRED: Final = 100_000
RECENT_BLOCKS: Final = 32


class WaitTimeoutError(UnavailableError):
    """A wait ended before the transaction did. Whatever ended it, the transaction may have been accepted: this is no refusal."""

    def __init__(self, tx_id: TxId, problem: str, **details: object) -> None:
        hint = "ask again with tx_wait; sending the same bytes again is safe"
        super().__init__("wait_timeout", problem, hint=hint, id="0x" + tx_id.hex(), **details)


class Finality:
    """Statuses and waiters by transaction id."""

    def __init__(self, chain: Chain, mempool: Mempool) -> None:
        self._chain = chain
        self._mempool = mempool
        self._lists = Lists(chain.store)
        self._window: tuple[Held, int | None] | None = None
        self._waiters: dict[TxId, list[tuple[asyncio.Future[TxStatus], int | None]]] = {}
        self._count = 0
        self._closed: str | None = None
        self._expired: OrderedDict[TxId, None] = OrderedDict()
        self._recent: OrderedDict[Height, tuple[Receipt, ...]] = OrderedDict()

    def status(self, tx_id: TxId, valid_until_ms: int | None = None) -> TxStatus:
        """Return where a transaction stands; `valid_until_ms` lets it answer expired for an id never seen here.

        Raises `NotFoundError` `pruned`: its receipt is not kept, or it may stand in a block from before what is held.
        """
        if (place := self._chain.committed_at(tx_id)) is not None:
            height, index = place
            return _final(tx_id, height, index, self._receipt(height, index))
        if self._mempool.find(tx_id) is not None:
            return TxStatus(tx_id, TxState.PENDING)
        if self._may_be_older(tx_id, valid_until_ms):
            raise self._older(tx_id)
        past = valid_until_ms is not None and self._chain.tip.timestamp_ms > valid_until_ms
        return TxStatus(tx_id, TxState.EXPIRED if past or tx_id in self._expired else TxState.NOT_FOUND)

    async def wait(self, tx_id: TxId, timeout_ms: int, valid_until_ms: int | None = None) -> TxStatus:
        """Return the final status. Raises `WaitTimeoutError`, at once when too many wait; it may still become final later.

        Raises `NotFoundError` `pruned` for a receipt that is not kept, or for what can only stand in an older block. What may
        stand there while it is still valid may also be on its way.
        """
        past = valid_until_ms is not None and self._chain.tip.timestamp_ms > valid_until_ms
        if past or self._chain.committed_at(tx_id) is not None or not self._may_be_older(tx_id, valid_until_ms):
            status = self.status(tx_id, valid_until_ms)
            if status.is_final:
                return status
        if self._closed is not None:
            raise WaitTimeoutError(tx_id, f"not final yet, and {self._closed}")
        if self._count >= MAX_WAITERS:
            raise WaitTimeoutError(tx_id, f"not final yet, and {self._count} waits are open on this node", limit=MAX_WAITERS)
        if valid_until_ms is None and (pending := self._mempool.find(tx_id)) is not None:
            valid_until_ms = pending.body.valid_until_ms
        future: asyncio.Future[TxStatus] = asyncio.get_running_loop().create_future()
        entry = (future, valid_until_ms)
        self._waiters.setdefault(tx_id, []).append(entry)
        self._count += 1
        try:
            return await asyncio.wait_for(future, timeout_ms / 1_000)
        except TimeoutError:
            raise WaitTimeoutError(tx_id, f"not final after {timeout_ms} ms", timeout_ms=timeout_ms) from None
        finally:
            self._forget(tx_id, entry)

    def close(self, why: str) -> None:
        """End every wait now and to come, for this node has stopped taking part."""
        self._closed = why
        for tx_id, entries in self._waiters.items():
            for future, _ in entries:
                if not future.done():
                    future.set_exception(WaitTimeoutError(tx_id, f"not final yet, and {why}"))

    def _may_be_older(self, tx_id: TxId, valid_until_ms: int | None) -> bool:
        """Return whether an id that no block here has may stand in a block from before what is held.

        A block within its window is stamped at most `tx_window_ms` before `valid_until_ms`. A restored node holds all blocks of
        the window before its snapshot, so what was valid at the snapshot or later is in none from before: however long before
        the first held block the one before it was stamped.
        """
        held = self._chain.store.held
        if held.headers_from <= 1 or tx_id in self._expired:
            return False
        if self._window is None or self._window[0] is not held:  # asked for every transaction that is sent
            self._window = held, self._window_end(held)
        end_ms = self._window[1]
        return valid_until_ms is None or end_ms is None or valid_until_ms < end_ms

    def _window_end(self, held: Held) -> int | None:
        """Return what is valid until when can stand in no block from before what is held; None when that cannot be told."""
        store = self._chain.store
        first, snapshot = store.header(held.headers_from), store.header(Height(max(held.states_from, held.bodies_from - 1)))
        if first is None or snapshot is None:
            return None
        return min(first.timestamp_ms + self._chain.window_limit_ms, snapshot.timestamp_ms)

    def _older(self, tx_id: TxId) -> NotFoundError:
        oldest = self._chain.store.held.headers_from
        return pruned(f"what became of 0x{tx_id.hex()}, which is not in a later block,", oldest)

    def committed(self, executed: ExecutedBlock) -> None:
        """Answer those who wait for a transaction of this block, or for one that can no longer come after it."""
        header, receipts = executed.header, executed.execution.receipts
        self._recent[header.height] = receipts
        while len(self._recent) > RECENT_BLOCKS:
            self._recent.popitem(last=False)
        if self._waiters:
            for index, transaction in enumerate(executed.transactions):
                if transaction.id in self._waiters:
                    self._answer(_final(transaction.id, header.height, index, receipts[index]))
            self._answer_expired(header)

    def adopted(self) -> None:
        """Answer those who wait for a transaction in the blocks that came with a restored state."""
        self._recent.clear()
        for tx_id in tuple(self._waiters):
            if self._chain.committed_at(tx_id) is not None:
                self._answer(self.status(tx_id))

    def expired(self, tx_ids: list[TxId]) -> None:
        """Remember ids that left the pool because a committed timestamp passed them."""
        self._expired.update(dict.fromkeys(tx_ids))
        while len(self._expired) > MAX_EXPIRED:
            self._expired.popitem(last=False)

    def _answer_expired(self, header: Header) -> None:
        """Answer each waiter by the validity that it named itself: another's word on the same id does not count.

        What is pending here has not expired, whatever validity was named.
        """
        for tx_id, entries in self._waiters.items():
            if self._mempool.find(tx_id) is not None:
                continue
            for future, valid_until_ms in entries:
                if valid_until_ms is None or valid_until_ms >= header.timestamp_ms or future.done():
                    continue
                if self._may_be_older(tx_id, valid_until_ms):  # a state was restored while it waited
                    future.set_exception(self._older(tx_id))
                else:
                    future.set_result(TxStatus(tx_id, TxState.EXPIRED))

    def _answer(self, status: TxStatus) -> None:
        for future, _ in self._waiters.get(status.id, ()):
            if not future.done():
                future.set_result(status)

    def _forget(self, tx_id: TxId, entry: tuple[asyncio.Future[TxStatus], int | None]) -> None:
        entries = self._waiters[tx_id]
        entries.remove(entry)
        self._count -= 1
        if not entries:
            del self._waiters[tx_id]

    def _receipt(self, height: Height, index: int) -> Receipt:
        """Return a committed receipt; those of recent blocks are in memory. Raises `NotFoundError` `pruned`."""
        if (recent := self._recent.get(height)) is not None:
            return recent[index]
        found = self._lists.receipt(Place(height, index))
        if found is None:
            raise pruned(f"the receipts of block {height}", self._chain.store.held.receipts_from, height=height)
        return found


def _final(tx_id: TxId, height: Height, index: int, receipt: Receipt) -> TxStatus:
    state = TxState.SUCCEEDED if receipt.status is Status.SUCCEEDED else TxState.FAILED
    return TxStatus(tx_id, state, height, index, receipt)

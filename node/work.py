"""When there is something to propose: pending transactions after the batch delay, an overdue heartbeat, something to expire.

Every member tells its replica, for the primary is held to it; so all must see it alike, from the tip and their pools.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from node.chain import MAX_SCANNED, Chain
from node.clock import Clock
from node.mempool import Mempool

FULL_BATCH: Final = 256  # so many waiting transactions need no batch delay
LOADED_SIZE: Final = 16  # after a block of so many, gathering longer saves more of the fixed cost of blocks than it delays
LOADED_STRETCH: Final = 3
LOOK_AGAIN_S: Final = 0.1


class Work:
    """Calls `offer` with whether a block could be made, whenever the answer may have changed."""

    def __init__(self, chain: Chain, mempool: Mempool, clock: Clock, batch_delay_ms: int, offer: Callable[[bool], None]) -> None:
        self._chain = chain
        self._mempool = mempool
        self._clock = clock
        self._batch_delay_ms = batch_delay_ms
        self._offer = offer
        self._last_size = 0
        self._unseen = 0  # how many of the pool were not looked at on this tip
        self._work_timer: asyncio.TimerHandle | None = None
        self._heartbeat_timer: asyncio.TimerHandle | None = None

    def stop(self) -> None:
        """Stop all timers."""
        for handle in (self._work_timer, self._heartbeat_timer):
            if handle is not None:
                handle.cancel()

    def on_pending(self) -> None:
        """A transaction entered the pool: propose after the batch delay, or at once when a full batch waits."""
        if self._work_timer is None:
            stretch = LOADED_STRETCH if self._last_size >= LOADED_SIZE else 1
            delay_s = 0 if self._mempool.pending >= FULL_BATCH else stretch * self._batch_delay_ms / 1_000
            self._work_timer = asyncio.get_running_loop().call_later(delay_s, self._work_due)

    def on_committed(self, transactions: int) -> None:
        """After a block of so many: go on with what is pending, and see that an idle chain's time moves on."""
        self._last_size = transactions
        self._unseen = self._mempool.pending
        if self._mempool.pending:
            self.on_pending()
        self._await_heartbeat()

    def look_again(self) -> None:
        """Look again soon: what is pending was not all seen, or may not be proposed yet by our clock, and by others' may."""
        if self._mempool.pending and self._work_timer is None:
            self._work_timer = asyncio.get_running_loop().call_later(LOOK_AGAIN_S, self._work_due)

    def clock_moved(self) -> None:
        """The clock was set ahead: what waits for its time may be due."""
        self._await_heartbeat()
        self._tell()

    def heartbeat_due(self, now_ms: int) -> bool:
        """Return whether the chain's time stood still for a heartbeat."""
        return now_ms >= self._chain.tip.timestamp_ms + self._chain.parameters.heartbeat_ms

    def _work_due(self) -> None:
        self._work_timer = None
        self._tell()

    def _await_heartbeat(self) -> None:
        """Wake up when the next heartbeat or scheduled call is due by the wall clock, whatever that did meanwhile."""
        if self._heartbeat_timer is not None:
            self._heartbeat_timer.cancel()
        heartbeat_ms = self._chain.tip.timestamp_ms + self._chain.parameters.heartbeat_ms
        due_in_ms = max(1, min(heartbeat_ms, self._chain.next_due_ms or heartbeat_ms) - self._clock())
        self._heartbeat_timer = asyncio.get_running_loop().call_later(due_in_ms / 1_000, self._heartbeat)

    def _heartbeat(self) -> None:
        if self.heartbeat_due(self._clock()) or self._chain.is_due(self._clock()):
            self._tell()
        else:
            self._await_heartbeat()

    def _tell(self) -> None:
        now_ms = self._clock()
        work = self.heartbeat_due(now_ms) or self._chain.has_includable(self._mempool, now_ms)
        self._offer(work)
        if not work:
            self._unseen -= MAX_SCANNED
            if self._unseen > 0 or self._chain.opens_soon(self._mempool, now_ms):
                self.look_again()

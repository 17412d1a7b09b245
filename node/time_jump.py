"""Setting a development clock ahead without a trace in consensus: no view change, no complaint, no refused block.

A primary's blocks bear its clock, and the others judge them by theirs: what is ahead waits, what is stale has the primary
replaced at once. So the primary goes first, and says from which height on its blocks bear the new time; the others follow where
that height begins, when nothing of the old time can be on its way to them any more. The clock is set between two inputs of the
replica, and what was being measured by it begins anew: a month is not how long somebody took to propose.
"""

from collections.abc import Callable

import structlog

from consensus.effects import Effects, Timer
from consensus.replica import Replica
from ledger.types import Height
from node.clock import Clock

log = structlog.get_logger("consensus")


class TimeJumps:
    """The jumps that wait for their height. `post` queues an input of the replica; `jumped` hears that the clock was set."""

    def __init__(
        self, replica: Replica, clock: Clock, post: Callable[[Callable[[], Effects]], None], jumped: Callable[[], None]
    ) -> None:
        self._replica = replica
        self._clock = clock
        self._post = post
        self._jumped = jumped
        self._waiting: list[tuple[Height, Callable[[], None]]] = []

    def ask(self, set_clock: Callable[[], None], from_height: Height | None) -> Height:
        """Call `set_clock` where `from_height` begins, at once when it has; return from which height on the clock is ahead.

        None: as soon as no block of the old time is on its way here.
        """
        replica = self._replica
        if from_height is None:
            from_height = Height(replica.height + (replica.phase in ("pre_prepared", "prepared")))
        self._waiting.append((from_height, set_clock))
        self.on_height(replica.height)
        return from_height

    def on_height(self, height: Height) -> None:
        """Carry out what waited for this height."""
        due = [set_clock for at, set_clock in self._waiting if at <= height]
        self._waiting = [(at, set_clock) for at, set_clock in self._waiting if at > height]
        for set_clock in due:
            self._post(lambda: self._replica.on_work(False, self._clock()))
            self._post(lambda set_clock=set_clock: self._jump(set_clock))  # type: ignore[misc]
            self._post(lambda: self._replica.on_timer(Timer.HOLD, self._clock()))

    def _jump(self, set_clock: Callable[[], None]) -> Effects:
        set_clock()
        log.warning("the clock was set ahead", now_ms=self._clock(), height=self._replica.height)
        self._jumped()
        return ()

"""When a view has taken too long (rules 8 and 9)."""

from consensus.effects import Effects, SetTimer, Timer
from consensus.pacing import Timing
from consensus.round import Round
from ledger.types import Height, View


class ProgressTimer:
    """Runs while there is work, and in a later view only once q members are there, so isolation never escalates."""

    def __init__(self, timing: Timing) -> None:
        self._timing = timing
        self._armed: tuple[Height, View] | None = None

    def set_timing(self, timing: Timing) -> None:
        """Use other timeouts from the next view on."""
        self._timing = timing

    def arm(self, round_: Round, now_ms: int) -> Effects:
        """Return what sets, leaves or stops the timer as things stand. It is set once for each view."""
        position = (round_.height, round_.view)
        if not self._wanted(round_):
            stopped = self._armed is not None
            self._armed = None
            return (SetTimer(Timer.PROGRESS, None),) if stopped else ()
        if self._armed == position:
            return ()
        self._armed = position
        return (SetTimer(Timer.PROGRESS, now_ms + self._timing.view_timeout_ms(round_.failed_views)),)

    def expired(self, round_: Round) -> bool:
        """Return whether the timer that went off is that of the current view, and not one left over."""
        return self._armed == (round_.height, round_.view)

    def _wanted(self, round_: Round) -> bool:
        if round_.view > round_.start_view:
            return round_.views.at_least(round_.view) >= round_.committee.quorum
        return round_.work or round_.current is not None

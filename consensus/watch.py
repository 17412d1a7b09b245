"""Rule 9 (a): complain about a primary that stays just under the timeout.

Measured is the time from our commit of a height's parent, or from when there was work for it, to the proposal. Its mean over 16
blocks may be 250 ms and four times what we ourselves took to execute them: an overloaded machine is slow in both. The allowance
doubles with each view change made for this, so that honest members on a slow network cannot depose one another for ever, and
comes down again as blocks go by.
"""

from collections import deque
from typing import Final

from ledger.types import MemberId

WINDOW: Final = 16
ALLOWED_MS: Final = 250
EXECUTION_FACTOR: Final = 4
MAX_DOUBLINGS: Final = 5  # 250 ms << 5 is above the timeout's cap: from there on only the progress timer judges
FORGIVEN_AFTER: Final = 64  # blocks without a complaint take one doubling back


class PrimaryWatch:
    """The last blocks of the current primary. A new primary starts with a clean record."""

    def __init__(self) -> None:
        self._proposer: MemberId | None = None
        self._samples: deque[tuple[int, int]] = deque(maxlen=WINDOW)
        self._since_ms: int | None = None
        self._was_told = False
        self._delay_ms: int | None = None
        self._execution_ms = 0
        self._doublings = 0
        self._good = 0

    def work_began(self, now_ms: int) -> None:
        """Note that this height has something to propose; the first time counts."""
        if self._since_ms is None:
            self._since_ms = now_ms

    def told(self, now_ms: int) -> None:
        """Note that the primary was told what there is to propose: its time counts from here, the first time in each height."""
        if not self._was_told:
            self._was_told, self._since_ms = True, now_ms

    def work_ended(self) -> None:
        """Note that there is nothing to propose after all."""
        self._since_ms = None

    def proposed(self, now_ms: int) -> None:
        """Note that the proposal of this height's first view is here; what came before we saw work for it took no time."""
        if self._delay_ms is None:
            self._delay_ms = 0 if self._since_ms is None else now_ms - self._since_ms

    def executed(self, took_ms: int) -> None:
        """Note how long executing a proposal of this height took here."""
        self._execution_ms = max(self._execution_ms, took_ms)

    def committed(self, proposer: MemberId | None) -> None:
        """End a height that `proposer` decided in its first view (None: it was decided in a later one)."""
        if proposer != self._proposer:
            self._samples.clear()
            self._proposer = proposer
        if proposer is not None and self._delay_ms is not None:
            self._samples.append((self._delay_ms, self._execution_ms))
        self._since_ms, self._delay_ms, self._execution_ms, self._was_told = None, None, 0, False
        self._good += 1
        if self._good % FORGIVEN_AFTER == 0:
            self._doublings = max(0, self._doublings - 1)

    def is_slow(self, primary: MemberId) -> bool:
        """Return whether the mean over 16 blocks of `primary` is too high, or will be whatever the missing ones take."""
        if not self._samples or primary != self._proposer:
            return False
        execution_ms = sum(took for _, took in self._samples) // len(self._samples)
        allowed_ms = (ALLOWED_MS << self._doublings) + EXECUTION_FACTOR * execution_ms
        return sum(delay for delay, _ in self._samples) > WINDOW * allowed_ms

    def complained(self) -> None:
        """Note that we left a view for this."""
        self._samples.clear()
        self._doublings = min(MAX_DOUBLINGS, self._doublings + 1)
        self._good = 0

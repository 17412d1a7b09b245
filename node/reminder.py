"""When to tell a silent primary what is pending here, before the timer that replaces it runs out (PBFT, section 4.1: the relay).

A primary may lack what the others hold: gossip is lost with a connection, or dropped by a member that is behind with verifying.
It is honest all the same, and is replaced only when it stays silent after it was told.
"""

import asyncio
from collections.abc import Callable
from typing import Final

PATIENCE_S: Final = 0.25  # a quarter of the base timeout: three reminders fit into one view


class Reminder:
    """One timer: runs from when there is work until the height is over; `remind` returns whether to go on."""

    def __init__(self, remind: Callable[[], bool]) -> None:
        self._remind = remind
        self._timer: asyncio.TimerHandle | None = None

    def work_began(self) -> None:
        """Start waiting for a proposal, unless that is under way."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._over)

    def stop(self) -> None:
        """Stop waiting: the height is over, or the node."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _over(self) -> None:
        self._timer = None
        if self._remind():
            self.work_began()

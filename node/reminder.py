"""Tells a silent primary what is pending here, before the timer that replaces it runs out (PBFT, section 4.1: the relay).

A primary may lack what the others hold: gossip is lost with a connection, or dropped by a member that is behind with verifying.
It is honest all the same, and is replaced only when it stays silent after it was told.
"""

import asyncio
from typing import Final

from consensus.replica import Replica
from node.gossip import Gossip

PATIENCE_S: Final = 0.25  # a quarter of the base timeout: three reminders fit into one view


class Reminder:
    """One timer: runs from when there is work until a proposal for this height is here."""

    def __init__(self, replica: Replica, gossip: Gossip) -> None:
        self._replica = replica
        self._gossip = gossip
        self._timer: asyncio.TimerHandle | None = None

    def work_began(self) -> None:
        """Start waiting for a proposal, unless that is under way."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(PATIENCE_S, self._remind)

    def stop(self) -> None:
        """Stop waiting: the height is over, or the node."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _remind(self) -> None:
        self._timer = None
        replica = self._replica
        if replica.awaits_proposal and replica.primary != replica.config.me and self._gossip.remind(replica.primary):
            self.work_began()

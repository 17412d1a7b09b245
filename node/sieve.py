"""Which consensus messages are worth decoding further and verifying: what one member may cost the others is bounded.

A vote is 0.2 ms of verification, a view change with its certificate 0.6 ms. Most of a flood can change nothing and is dropped
unverified (`Replica.wants`). Only view changes to ever higher views always could; of one signer by one member a few a second are
taken, the rest comes again (rule 8).
"""

from typing import Final

from consensus.messages import Signed, ViewChange
from consensus.replica import Replica
from ledger.types import MemberId
from p2p.limits import TokenBucket

CHANGES_PER_S: Final = 10
CHANGES_BURST: Final = 8


class Sieve:
    """Asked before each verification of a message of the current height."""

    def __init__(self, replica: Replica) -> None:
        self._replica = replica
        self._changes: dict[tuple[MemberId, MemberId], TokenBucket] = {}

    def passes(self, deliverer: MemberId, signed: Signed, now_ms: int) -> bool:
        """Return whether to verify a message that a member delivered, whoever signed it."""
        if not self._replica.wants(signed):
            return False
        if not isinstance(signed.message, ViewChange) or self._replica.committee.get(signed.signer) is None:
            return True
        bucket = self._changes.setdefault((deliverer, signed.signer), TokenBucket(CHANGES_PER_S, CHANGES_BURST, now_ms))
        return bucket.take(1, now_ms)

    def forget(self) -> None:
        """Start anew with each height."""
        self._changes.clear()

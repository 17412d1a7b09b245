"""Consensus messages on their way in: cheap checks first, then signatures; what comes early waits as bytes (rules 1 and 10)."""

from collections.abc import Callable

import structlog

from consensus.inbox import Inbox
from consensus.messages import NewView, Signed
from consensus.replica import Replica
from consensus.verify import authenticate
from ledger.errors import BadSignatureError, DatacarError
from ledger.types import MemberId
from node.chain import Chain
from node.clock import Clock
from node.ports import Network
from node.sieve import Sieve

log = structlog.get_logger("consensus")


class ConsensusDoor:
    """Passes on to `consider` what the replica may see."""

    def __init__(
        self, chain: Chain, replica: Replica, network: Network, clock: Clock, consider: Callable[[Signed], None]
    ) -> None:
        self._chain = chain
        self._replica = replica
        self._network = network
        self._clock = clock
        self._consider = consider
        self._sieve = Sieve(replica)
        self._early = Inbox()

    @property
    def waiting(self) -> int:
        """Return how many messages wait for the next height."""
        return len(self._early)

    def on_consensus(self, member_id: MemberId, payload: bytes) -> bool:
        """Check a consensus message and pass it on; return False for one that no honest member delivers.

        One for another height is only a hint, and only of its own signer. One for the next height waits until this one is
        decided, since its committee may be another.
        """
        try:
            signed = Signed.decode(payload)
            if (ahead := signed.message.height - self._replica.height) == 0:
                if not self._sieve.passes(member_id, signed, self._clock()):
                    return True
                self._authenticate(signed)
            elif ahead == 1:
                self._early.put(member_id, signed.message.height, payload)
                return True
            elif signed.signer != member_id:
                return True
        except DatacarError as error:
            log.warning("refused a consensus message", member=member_id, error=error.message, details=error.details)
            self._network.disconnect(member_id, f"sent a bad consensus message: {error.message}")
            return False
        self._consider(signed)
        return True

    def _authenticate(self, signed: Signed) -> None:
        """Check all signatures."""
        committee, message = self._chain.committee, signed.message
        if isinstance(message, NewView) and signed.signer != committee.primary(message.view):
            raise BadSignatureError(f"{signed.signer} is not the primary of view {message.view}", member=signed.signer)
        authenticate(signed, committee, self._chain.genesis_hash)

    def deliver_early(self) -> None:
        """Take up what came for this height before it began; of who sent something bad no more."""
        bad: set[MemberId] = set()
        for sender, payload in self._early.take(self._replica.height):
            if sender not in bad and not self.on_consensus(sender, payload):
                bad.add(sender)

    def forget(self) -> None:
        """Let the next height's messages be looked at anew."""
        self._sieve.forget()

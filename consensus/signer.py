"""The only place where a replica decides to sign: the floor, the quarantine and a halt all forbid it here (rules 5 and 7)."""

from consensus.effects import Broadcast, Effects, Halt, Persist, Proposal
from consensus.messages import Message, Step
from consensus.quarantine import Quarantine
from consensus.sign_state import Floor, SignState
from ledger.certificate import PreparedCert
from ledger.committee import Committee
from ledger.types import Height, MemberId, View


class Signer:
    """What this member has signed and whether it may sign more. `state` is None when it was lost: quarantine."""

    def __init__(self, committee: Committee, me: MemberId, state: SignState | None) -> None:
        self._is_member = committee.get(me) is not None
        self.state = state or SignState()
        self.quarantine = Quarantine(committee, me) if state is None else None
        self.halted: Halt | None = None

    @property
    def may_vote(self) -> bool:
        """Return whether anything may be signed at all."""
        return self._is_member and self.halted is None and self.quarantine is None

    def may_propose(self, height: Height, view: View) -> bool:
        """Return whether a proposal at this position would be new."""
        return self.may_vote and Floor(height, view, Step.PROPOSE) > self.state.floor

    def say(self, message: Message, prepared: PreparedCert | None, block: Proposal | None) -> Effects:
        """Return the effects that sign `message`, durably first; none when it is not new or we may not vote."""
        if not self.may_vote or not self.state.may_sign(message):
            return ()
        self.state = self.state.signed(message, prepared)
        return Persist(self.state, block), Broadcast(message)

    def repeat(self, height: Height) -> Effects:
        """Return the effects that send again what was signed at `height` before a restart."""
        if not self.may_vote or self.state.floor.height != height:
            return ()
        return tuple(Broadcast(message) for message in self.state.messages)

    def committed(self, height: Height) -> None:
        """End the quarantine when it may end."""
        if self.quarantine is not None and self.quarantine.is_over(height):
            self.quarantine = None

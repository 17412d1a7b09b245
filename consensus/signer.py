"""The only place where a replica decides to sign: the floor, the quarantine and a halt all forbid it here (rules 5 and 7)."""

from dataclasses import replace

from consensus.effects import Broadcast, Effects, Halt, Persist, Proposal
from consensus.messages import Message, Step
from consensus.quarantine import Quarantine
from consensus.sign_state import Floor, SignState, position_of
from ledger.certificate import PreparedCert
from ledger.committee import Committee
from ledger.types import Height, MemberId, View


class Signer:
    """What this member has signed and whether it may sign more. `state` is None when it was lost: quarantine."""

    def __init__(self, committee: Committee, me: MemberId, state: SignState | None) -> None:
        self._me = me
        self._keys: frozenset[bytes] | None = None
        self._committee = committee
        self.state = state or SignState()
        self.quarantine = Quarantine(me) if state is None or state.doubted else None
        self.halted: Halt | None = None

    def hold_keys(self, keys: frozenset[bytes]) -> None:
        """Take the public keys that we can sign with; until told, whichever the committee names."""
        self._keys = keys

    @property
    def is_voter(self) -> bool:
        """Return whether the committee of this height counts votes made with a key of ours."""
        member = self._committee.get(self._me)
        return member is not None and (self._keys is None or member.public_key in self._keys)

    @property
    def may_vote(self) -> bool:
        """Return whether anything may be signed at all."""
        return self.halted is None and self.quarantine is None and self.is_voter

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

    def saw_own(self, message: Message) -> Effects:
        """Rule 7: a signature of ours that this sign-state does not know of means that it is not what we signed last.

        That is made durable: a restart does not end the quarantine.
        """
        position = position_of(message)
        same = [old for old in self.state.messages if position_of(old) == position]
        if self.quarantine is None and (position > self.state.floor or any(old != message for old in same)):
            self.quarantine = Quarantine(self._me)
            self.state = replace(self.state, doubted=True)
            return (Persist(self.state),)
        return ()

    def saw_tip(self, member: MemberId, height: Height) -> None:
        """Take a tip that another member states."""
        if self.quarantine is not None and self._committee.get(member) is not None:
            self.quarantine.saw_tip(member, height)

    def committed(self, height: Height, following: Committee) -> None:
        """Go on with the committee after a committed block; end the quarantine when it may end."""
        self._committee = following
        if self.quarantine is not None and self.quarantine.is_over(height, following):
            self.quarantine = None

"""The members: who votes, who only follows, and how that changes (protocol, rules 13 and 14).

    propose -> vote ... vote -> executed by the vote that makes a quorum, or rejected when none is possible, or expired

A change of the committee in block h makes the committee of h + 1, so there is at most one in a block; a vote that would make a
second fails without a trace and is sent again. The contract checks what the chain knows. Whether the network would stay live
is for the members to judge before they vote.
"""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Final

from ledger.committee import MAX_MEMBERS, fault_tolerance, quorum_size
from vm.context import RECENT_BLOCKS
from vm.contract import U32, U64, Address, Bytes32, Context, Item, Map, Text, genesis, read, require, write
from vm.contracts.asset import has_keys
from vm.contracts.governance_members import MemberRegister
from vm.contracts.governance_possession import Possession
from vm.contracts.governance_types import (
    EVENTS,
    MAX_RETIRED,
    Action,
    ActionKind,
    AddressSet,
    Candidate,
    Certificate,
    CertificateRotated,
    Certificates,
    CommitteeInfo,
    GovernanceAccount,
    GovernanceError,
    KeyRotated,
    MemberName,
    MemberRecord,
    NodeRecord,
    Nominee,
    OpenProposal,
    Outcome,
    PeerAddress,
    Proposal,
    ProposalExecuted,
    ProposalExpired,
    ProposalRejected,
    ProposalStatus,
    Proposed,
    Reservation,
    Retired,
    Role,
    Roster,
    SyncAttested,
    Tally,
    Vote,
    Voted,
)

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
DEFAULT_EXPIRY_MS: Final = 7 * DAY_MS
MAX_EXPIRY_MS: Final = 30 * DAY_MS
MIN_EXPIRY_MS: Final = MINUTE_MS
GRACE_MS: Final = 7 * DAY_MS
"""How long a replaced certificate still opens connections."""
ROTATION_MS: Final = DAY_MS
"""How long a member keeps its key: each change is a committee that every receipt's proof must name for ever."""
CHANGE_MS: Final = MINUTE_MS
"""How long it keeps its certificate or address: each change has every node read all members and renew its TLS contexts."""
MAX_OPEN_PROPOSALS: Final = 32
"""In all; beyond them a member opens its first one only, so no others' proposals are ever in its way."""
MAX_OPEN_BY_MEMBER: Final = 4
MAX_OBSERVERS: Final = 64
FAULT_TOLERANT: Final = 4
"""A committee that has once been this large never gets smaller: below, it bears no fault."""


class Governance(MemberRegister, errors=GovernanceError, events=EVENTS):
    """Decides who is a member: validators vote, observers follow and may be promoted."""

    proposals: Map[U64, Proposal]
    proposal_count: Item[U64]
    candidate_certificates: Map[U64, Certificate]  # by proposal, while it is open: nobody stores 4 KB for ever

    @genesis
    def found(self, committee: tuple[NodeRecord, ...], accounts: tuple[GovernanceAccount, ...]) -> None:
        """Seat the first committee. Errors: UNKNOWN_MEMBER, BAD_ACCOUNT, ACCOUNT_TAKEN.

        Args:
            committee: the members of the genesis file
            accounts: who proposes and votes for them; a member without one cannot
        """
        of_member: dict[str, Address] = {}
        known = {node.id for node in committee}
        for entry in accounts:
            require(entry.member_id in known, GovernanceError.UNKNOWN_MEMBER, member_id=entry.member_id)
            taken = entry.member_id in of_member or entry.account in of_member.values()
            require(not taken, GovernanceError.ACCOUNT_TAKEN, member_id=entry.member_id)
            require(has_keys(entry.account), GovernanceError.BAD_ACCOUNT, member_id=entry.member_id)
            of_member[entry.member_id] = entry.account
        for node in committee:
            self._seat(node, of_member.get(node.id), Role.VALIDATOR, 0)
        self._save_roster(Roster(0, 0, tuple(sorted(known)), ()))

    # ---- proposals

    @write
    def propose_add_observer(
        self, ctx: Context, member_id: MemberName, candidate: Candidate, reason: Text, expires_ms: U64 | None
    ) -> U64:
        """Propose a new member, at first without a vote, and approve of it. Returns the proposal's id.

        Errors: NOT_A_VALIDATOR, BAD_EXPIRY, TOO_MANY_PROPOSALS, MEMBER_EXISTS, BAD_MEMBER_ID, BAD_KEY, KEY_USED, BAD_CERTIFICATE,
        CERTIFICATE_USED, BAD_ADDRESS, ADDRESS_TAKEN, BAD_ACCOUNT, ACCOUNT_TAKEN, TOO_MANY_MEMBERS, BAD_POSSESSION.
        Emits Proposed, Voted. While it is open no present member can take the certificate or the address.

        Args:
            reason: what the other members should know
            expires_ms: the last block time to vote at, from a minute to 30 days ahead; 7 days from now if not given
        """
        fingerprint = sha256(candidate.certificate).digest()
        nominee = Nominee(candidate.public_key, fingerprint, candidate.p2p_address, candidate.account)
        return self._propose(ctx, Action(ActionKind.ADD_OBSERVER, member_id, nominee), reason, expires_ms, candidate)

    @write
    def propose_promote(self, ctx: Context, member_id: MemberName, reason: Text, expires_ms: U64 | None) -> U64:
        """Propose that an observer gets a vote, and approve of it. Returns the proposal's id.

        When it is executed the observer must have attested to one of the last 100 blocks.
        Errors: NOT_A_VALIDATOR, BAD_EXPIRY, TOO_MANY_PROPOSALS, UNKNOWN_MEMBER, NOT_AN_OBSERVER, TOO_MANY_MEMBERS, and what its
        execution may fail with, where it is executed at once: NOT_SYNCED, ONE_CHANGE_A_BLOCK. Emits Proposed, Voted.

        Args:
            reason: what the other members should know
            expires_ms: the last block time to vote at, from a minute to 30 days ahead; 7 days from now if not given
        """
        return self._propose(ctx, Action(ActionKind.PROMOTE, member_id, None), reason, expires_ms)

    @write
    def propose_remove(self, ctx: Context, member_id: MemberName, reason: Text, expires_ms: U64 | None) -> U64:
        """Propose that a member of either role leaves, and approve of it. Returns the proposal's id.

        Errors: NOT_A_VALIDATOR, BAD_EXPIRY, TOO_MANY_PROPOSALS, UNKNOWN_MEMBER, TOO_FEW_MEMBERS, and where it is
        executed at once ONE_CHANGE_A_BLOCK. Emits Proposed, Voted.

        Args:
            reason: what the other members should know, such as the evidence against it
            expires_ms: the last block time to vote at, from a minute to 30 days ahead; 7 days from now if not given
        """
        return self._propose(ctx, Action(ActionKind.REMOVE, member_id, None), reason, expires_ms)

    @write
    def vote(self, ctx: Context, proposal_id: U64, approve: bool) -> ProposalStatus:
        """Approve or disapprove of an open proposal; of several votes the last one counts. Returns how the proposal stands then.

        Only an approval executes it, even where a smaller committee has made the approvals enough meanwhile.
        Errors: NOT_A_VALIDATOR, UNKNOWN_PROPOSAL, PROPOSAL_CLOSED, PROPOSAL_EXPIRED, and where the vote decides, all that the
        action may fail with: ONE_CHANGE_A_BLOCK, NOT_SYNCED, STALE_PROPOSAL and those of the propose methods. Emits Voted, then
        ProposalExecuted, with CommitteeChanged where there is another committee, or ProposalRejected.
        """
        voter = self._voter(ctx)
        proposal = self.proposals.require(proposal_id, GovernanceError.UNKNOWN_PROPOSAL, proposal_id=proposal_id)
        status = proposal.status
        require(status is ProposalStatus.OPEN, GovernanceError.PROPOSAL_CLOSED, status=status)
        require(
            ctx.now_ms <= proposal.expires_ms,
            GovernanceError.PROPOSAL_EXPIRED,
            now_ms=ctx.now_ms,
            expires_ms=proposal.expires_ms,
        )
        return self._cast(ctx, proposal, voter, approve=approve)

    @write
    def clear_expired(self, ctx: Context) -> U32:
        """Take expired proposals off the list of open ones, as each new proposal does. Returns how many.

        Emits ProposalExpired.
        """
        before = self.open.get(())
        return len(before) - len(self._clear(ctx, before))

    # ---- what a member does alone

    @write
    def attest_synced(self, ctx: Context, height: U64, block_hash: Bytes32) -> None:
        """Show that the caller's observer follows the chain, by the hash of one of the last 100 blocks.

        Errors: NOT_A_MEMBER, NOT_AN_OBSERVER, UNKNOWN_BLOCK, WRONG_HASH. Emits SyncAttested.
        """
        member = self._member_of(ctx.sender)
        require(member.role is Role.OBSERVER, GovernanceError.NOT_AN_OBSERVER, member_id=member.id)
        found = ctx.block_hash(height)
        require(found is not None, GovernanceError.UNKNOWN_BLOCK, height=height, tip=ctx.height - 1)
        require(found == block_hash, GovernanceError.WRONG_HASH, height=height)
        self.members[member.id] = replace(member, attested_height=max(height, member.attested_height))
        ctx.emit(SyncAttested(member.id, height))

    @write
    def rotate_key(self, ctx: Context, new_key: Bytes32, possession: Possession) -> None:
        """Replace the consensus key of the caller's node; from the next block on only the new one is valid.

        A member may do it once a day, so f members cannot take every block's one change, nor lengthen all proofs without end.
        Errors: NOT_A_MEMBER, ROTATED_TOO_SOON, KEY_USED, BAD_KEY, BAD_POSSESSION, ONE_CHANGE_A_BLOCK. Emits KeyRotated,
        CommitteeChanged.

        Args:
            possession: the new key's signature that it is for this member (`governance_possession`)
        """
        member = self._member_of(ctx.sender)
        _require_pause(ctx, member.changed.key_ms, ROTATION_MS, GovernanceError.ROTATED_TOO_SOON)
        self._take_key(ctx, member.id, new_key, possession)
        if member.role is Role.VALIDATOR:
            self._change_committee(ctx, self._roster())
        else:
            self._bump()
        changed = replace(member.changed, key_ms=ctx.now_ms)
        self.members[member.id] = replace(member, public_key=new_key, changed=changed)
        ctx.emit(KeyRotated(member.id, member.public_key, new_key))

    @write
    def rotate_certificate(self, ctx: Context, certificate: Certificate) -> None:
        """Replace the TLS certificate of the caller's node, at most once a minute; the old one stays valid for 7 days.

        Errors: NOT_A_MEMBER, CHANGED_TOO_SOON, BAD_CERTIFICATE, CERTIFICATE_USED, TOO_MANY_CERTIFICATES.
        Emits CertificateRotated.

        Args:
            certificate: X.509 in DER, Ed25519, self-signed
        """
        member = self._member_of(ctx.sender)
        _require_pause(ctx, member.changed.certificate_ms, CHANGE_MS, GovernanceError.CHANGED_TOO_SOON)
        fingerprint = self._take_certificate(ctx, certificate, member.id)
        held = self.certificates[member.id]
        retired = tuple(item for item in held.retired if item.until_ms >= ctx.now_ms)
        require(len(retired) < MAX_RETIRED, GovernanceError.TOO_MANY_CERTIFICATES, limit=MAX_RETIRED)
        until_ms = ctx.now_ms + GRACE_MS
        self.certificates[member.id] = Certificates(certificate, (*retired, Retired(held.current, until_ms)))
        changed = replace(member.changed, certificate_ms=ctx.now_ms)
        self.members[member.id] = replace(member, certificate_sha256=fingerprint, changed=changed)
        self._bump()
        ctx.emit(CertificateRotated(member.id, fingerprint, until_ms))

    @write
    def set_address(self, ctx: Context, p2p_address: PeerAddress) -> None:
        """Say where the others reach the caller's node, at most once a minute.

        Errors: NOT_A_MEMBER, CHANGED_TOO_SOON, BAD_ADDRESS, ADDRESS_TAKEN. Emits AddressSet.
        """
        member = self._member_of(ctx.sender)
        _require_pause(ctx, member.changed.address_ms, CHANGE_MS, GovernanceError.CHANGED_TOO_SOON)
        self._take_address(ctx, p2p_address, member.id)
        del self.addresses[member.p2p_address]
        changed = replace(member.changed, address_ms=ctx.now_ms)
        self.members[member.id] = replace(member, p2p_address=p2p_address, changed=changed)
        self._bump()
        ctx.emit(AddressSet(member.id, p2p_address))

    # ---- reads

    @read
    def committee(self) -> CommitteeInfo:
        """Return the members that vote on the next block, ascending by id."""
        roster = self._roster()
        n = len(roster.validators)
        records = tuple(self.members[name] for name in roster.validators)
        return CommitteeInfo(roster.epoch, roster.changed_height, quorum_size(n), fault_tolerance(n), records)

    @read
    def observers(self) -> tuple[MemberRecord, ...]:
        """Return the members without a vote, ascending by id."""
        return tuple(self.members[name] for name in self._roster().observers)

    @read
    def member(self, member_id: MemberName) -> MemberRecord:
        """Return a member of either role. Errors: UNKNOWN_MEMBER."""
        return self._member(member_id)

    @read
    def certificates_of(self, member_id: MemberName) -> Certificates:
        """Return a member's TLS certificates. Errors: UNKNOWN_MEMBER."""
        return self.certificates.require(member_id, GovernanceError.UNKNOWN_MEMBER, member_id=member_id)

    @read
    def proposal(self, ctx: Context, proposal_id: U64) -> Tally:
        """Return a proposal of any time with the votes that count, or counted when it was decided. Errors: UNKNOWN_PROPOSAL."""
        found = self.proposals.require(proposal_id, GovernanceError.UNKNOWN_PROPOSAL, proposal_id=proposal_id)
        if found.status is ProposalStatus.OPEN and ctx.now_ms > found.expires_ms:
            found = replace(found, status=ProposalStatus.EXPIRED)
        certificate = self.candidate_certificates.get(proposal_id)
        return replace(self._tally(found), certificate=certificate)

    @read
    def open_proposals(self, ctx: Context) -> tuple[U64, ...]:
        """Return the ids of the proposals that can be voted on, oldest first."""
        return tuple(item.id for item in self.open.get(()) if item.expires_ms >= ctx.now_ms)

    @read
    def last_proposal(self) -> U64:
        """Return the id of the newest proposal, or 0."""
        return self.proposal_count.get(0)

    # ---- voting

    def _propose(
        self, ctx: Context, action: Action, reason: str, expires_ms: int | None, candidate: Candidate | None = None
    ) -> int:
        proposer = self._voter(ctx)
        until_ms = _expiry(ctx, expires_ms)
        listed = self._clear(ctx, self.open.get(()))
        own = sum(item.proposer == proposer.id for item in listed)
        limit = MAX_OPEN_BY_MEMBER if len(listed) < MAX_OPEN_PROPOSALS else 1
        require(own < limit, GovernanceError.TOO_MANY_PROPOSALS, open=len(listed), proposer=proposer.id, own=own, limit=limit)
        self._check(action)
        number = self.proposal_count.get(0) + 1
        self.proposal_count.set(number)
        reserved = None
        if candidate is not None:
            self._check_candidate(ctx, action.member_id, candidate)
            self.candidate_certificates[number] = candidate.certificate
            reserved = Reservation(action.member_id, sha256(candidate.certificate).digest(), candidate.p2p_address)
        self.open.set((*listed, OpenProposal(number, proposer.id, until_ms, reserved)))
        ctx.emit(Proposed(number, action.kind, action.member_id, proposer.id, until_ms))
        status = ProposalStatus.OPEN
        made = Proposal(number, action, proposer.id, reason, ctx.height, ctx.now_ms, until_ms, status, (), None)
        self._cast(ctx, made, proposer, approve=True)
        return number

    def _cast(self, ctx: Context, proposal: Proposal, voter: MemberRecord, *, approve: bool) -> ProposalStatus:
        """Put a vote in the place of the voter's last one, drop votes that count no more, and decide what can be decided."""
        others = [vote for vote in proposal.votes if vote.member_id != voter.id and self._counts(vote)]
        votes = sorted((*others, Vote(voter.id, ctx.height, approve)), key=lambda vote: vote.member_id)
        tally = self._summed(replace(proposal, votes=tuple(votes)), votes)
        ctx.emit(Voted(proposal.id, voter.id, approve, tally.approvals, tally.rejections, tally.need))
        if approve and tally.approvals >= tally.need:
            self._execute(ctx, proposal)
            self._close(ctx, tally, ProposalStatus.EXECUTED)
            ctx.emit(ProposalExecuted(proposal.id, proposal.action.kind, proposal.action.member_id))
            return ProposalStatus.EXECUTED
        if len(self._roster().validators) - tally.rejections < tally.need:
            self._close(ctx, tally, ProposalStatus.REJECTED)
            ctx.emit(ProposalRejected(proposal.id))
            return ProposalStatus.REJECTED
        self.proposals[proposal.id] = tally.proposal
        return ProposalStatus.OPEN

    def _close(self, ctx: Context, tally: Tally, status: ProposalStatus) -> None:
        number = tally.proposal.id
        outcome = Outcome(ctx.height, tally.approvals, tally.rejections, tally.need)
        if tally.proposal.action.nominee is not None:
            del self.candidate_certificates[number]
        self.proposals[number] = replace(tally.proposal, status=status, outcome=outcome)
        self.open.set(tuple(item for item in self.open.get(()) if item.id != number))

    def _clear(self, ctx: Context, listed: tuple[OpenProposal, ...]) -> tuple[OpenProposal, ...]:
        left = tuple(item for item in listed if item.expires_ms >= ctx.now_ms)
        if left != listed:
            self.open.set(left)
        for item in listed:
            if item.expires_ms < ctx.now_ms:
                if item.reserved is not None:
                    del self.candidate_certificates[item.id]
                ctx.emit(ProposalExpired(item.id))
        return left

    def _tally(self, proposal: Proposal) -> Tally:
        if (outcome := proposal.outcome) is not None:
            return Tally(proposal, outcome.approvals, outcome.rejections, outcome.need, None)
        return self._summed(proposal, [vote for vote in proposal.votes if self._counts(vote)])

    def _summed(self, proposal: Proposal, counted: Sequence[Vote]) -> Tally:
        approvals = sum(vote.approve for vote in counted)
        need = quorum_size(len(self._roster().validators))
        return Tally(proposal, approvals, len(counted) - approvals, need, None)

    def _counts(self, vote: Vote) -> bool:
        """Return whether the voter still votes; one that left and came back under the same id must vote again."""
        member = self.members.get(vote.member_id)
        return member is not None and member.role is Role.VALIDATOR and member.since_height <= vote.height

    # ---- actions

    def _check(self, action: Action) -> None:
        """Fail where the action could not be executed as things stand, whatever the block and the attestations say."""
        roster = self._roster()
        if action.nominee is not None:
            require(len(roster.observers) < MAX_OBSERVERS, GovernanceError.TOO_MANY_MEMBERS, limit=MAX_OBSERVERS)
            self._check_nominee(action.member_id, action.nominee)
            return
        member, n = self._member(action.member_id), len(roster.validators)
        if action.kind is ActionKind.PROMOTE:
            require(member.role is Role.OBSERVER, GovernanceError.NOT_AN_OBSERVER, member_id=member.id)
            require(n < MAX_MEMBERS, GovernanceError.TOO_MANY_MEMBERS, limit=MAX_MEMBERS)
        elif member.role is Role.VALIDATOR:
            require(n not in (1, FAULT_TOLERANT), GovernanceError.TOO_FEW_MEMBERS, have=n)

    def _execute(self, ctx: Context, proposal: Proposal) -> None:
        action, roster = proposal.action, self._roster()
        self._check(action)
        if (new := action.nominee) is not None:
            certificate = self.candidate_certificates[proposal.id]
            node = NodeRecord(action.member_id, new.public_key, certificate, new.p2p_address)
            self._seat(node, new.account, Role.OBSERVER, ctx.height)
            self._save_roster(replace(roster, observers=tuple(sorted((*roster.observers, action.member_id)))))
            return
        member, created = self._member(action.member_id), proposal.created_height
        require(member.since_height <= created, GovernanceError.STALE_PROPOSAL, since=member.since_height, proposed=created)
        if action.kind is ActionKind.PROMOTE:
            self._promote(ctx, roster, member)
        else:
            self._remove(ctx, roster, member)

    def _promote(self, ctx: Context, roster: Roster, member: MemberRecord) -> None:
        age = ctx.height - member.attested_height
        attested = member.attested_height > 0 and age <= RECENT_BLOCKS
        require(attested, GovernanceError.NOT_SYNCED, attested_height=member.attested_height, height=ctx.height)
        self.members[member.id] = replace(member, role=Role.VALIDATOR, since_height=ctx.height)
        observers = tuple(name for name in roster.observers if name != member.id)
        validators = tuple(sorted((*roster.validators, member.id)))
        self._change_committee(ctx, replace(roster, validators=validators, observers=observers))

    def _remove(self, ctx: Context, roster: Roster, member: MemberRecord) -> None:
        """Take a member off; its keys and certificates stay used for ever."""
        del self.members[member.id], self.certificates[member.id], self.addresses[member.p2p_address]
        if member.account is not None:
            del self.accounts[member.account]
        if member.role is Role.OBSERVER:
            self._save_roster(replace(roster, observers=tuple(name for name in roster.observers if name != member.id)))
        else:
            validators = tuple(name for name in roster.validators if name != member.id)
            self._change_committee(ctx, replace(roster, validators=validators))


def _expiry(ctx: Context, expires_ms: int | None) -> int:
    """Return the last block time at which a new proposal can be voted on."""
    until_ms = ctx.now_ms + DEFAULT_EXPIRY_MS if expires_ms is None else expires_ms
    least_ms, limit_ms = ctx.now_ms + MIN_EXPIRY_MS, ctx.now_ms + MAX_EXPIRY_MS
    right = least_ms <= until_ms <= limit_ms
    require(right, GovernanceError.BAD_EXPIRY, expires_ms=until_ms, least_ms=least_ms, limit_ms=limit_ms)
    return until_ms


def _require_pause(ctx: Context, last_ms: int, pause_ms: int, error: GovernanceError) -> None:
    """Fail with when it may be done again, unless it was never done (0) or so long ago."""
    next_ms = last_ms + pause_ms
    require(last_ms == 0 or ctx.now_ms >= next_ms, error, now_ms=ctx.now_ms, next_ms=next_ms)

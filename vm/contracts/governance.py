"""What the members decide: who votes, who only follows, and by which rules the chain runs (protocol, rules 13 and 14).

    propose -> vote ... vote -> executed by the vote that makes it enough, or rejected when that is impossible, or expired

A change of the committee in block h makes the committee of h + 1, so there is at most one in a block; a vote that would make a
second fails without a trace and is sent again. The contract checks what the chain knows. Whether the network would stay live
is for the members to judge before they vote.

All else is decided by proposals that are lists of calls: the vote that is enough makes them, all or none, as this contract's own
account. What that may do to the chain's rules is below under "only by vote"; assets and other contracts know the account, too.
"""

from dataclasses import replace
from hashlib import sha256
from typing import Annotated

from ledger.committee import fault_tolerance, quorum_size
from ledger.policy import format_address
from vm.contract import U8, U32, U64, Address, Bounds, Bytes32, Context, Text, genesis, read, require, write
from vm.contracts.asset import has_keys
from vm.contracts.governance_auditors import AuditRegister
from vm.contracts.governance_deeds import MemberDeeds
from vm.contracts.governance_events import EVENTS
from vm.contracts.governance_possession import Possession
from vm.contracts.governance_rule_types import (
    MAX_AUDITORS,
    MAX_AUDITS_READ,
    Audit,
    AuditOpinion,
    Auditor,
    ParameterChange,
    ParameterName,
    Parameters,
    RulesInfo,
    Statement,
    Subject,
    ThresholdInfo,
    Upgrade,
    UpgradeName,
)
from vm.contracts.governance_rules import RuleBook
from vm.contracts.governance_state import deciding_vote_gas
from vm.contracts.governance_thresholds import topics_of
from vm.contracts.governance_types import (
    Action,
    ActionKind,
    CallsDigest,
    Candidate,
    Certificate,
    Certificates,
    CommitteeInfo,
    GovernanceAccount,
    GovernanceError,
    MemberName,
    MemberRecord,
    NodeRecord,
    Nominee,
    PeerAddress,
    ProposalStatus,
    Role,
    Roster,
    Tally,
    Topic,
)
from vm.contracts.governance_voting import Voting
from vm.contracts.planned_calls import ContractName, PlannedCalls, check_calls

Changes = Annotated[tuple[ParameterChange, ...], Bounds(1, len(ParameterName))]


class Governance(Voting, MemberDeeds, RuleBook, AuditRegister, errors=GovernanceError, events=EVENTS):
    """Decides who is a member and by which rules the chain runs: validators vote, observers follow, auditors speak."""

    @genesis
    def found(self, committee: tuple[NodeRecord, ...], parameters: Parameters, accounts: tuple[GovernanceAccount, ...]) -> None:
        """Seat the first committee. Errors: UNKNOWN_MEMBER, BAD_ACCOUNT, ACCOUNT_TAKEN, BAD_PARAMETER.

        Args:
            committee: the members of the genesis file
            parameters: those of the genesis file
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
        self._found_rules(parameters)

    # ---- proposals

    @write
    def propose_add_observer(
        self, ctx: Context, member_id: MemberName, candidate: Candidate, reason: Text, expires_ms: U64 | None
    ) -> U64:
        """Propose a new member, at first without a vote, and approve of it. Returns the proposal's id.

        Errors: NOT_A_VALIDATOR, BAD_EXPIRY, TOO_MANY_PROPOSALS, MEMBER_EXISTS, AUDITOR_EXISTS, BAD_MEMBER_ID, BAD_KEY, KEY_USED,
        BAD_CERTIFICATE, CERTIFICATE_USED, BAD_ADDRESS, ADDRESS_TAKEN, BAD_ACCOUNT, ACCOUNT_TAKEN, TOO_MANY_MEMBERS,
        BAD_POSSESSION. Emits Proposed, Voted. While it is open no present member can take the certificate or the address.

        Args:
            reason: what the other members should know
            expires_ms: the last block time to vote at, from a minute to 30 days ahead; 7 days from now if not given
        """
        fingerprint = sha256(candidate.certificate).digest()
        nominee = Nominee(candidate.public_key, fingerprint, candidate.p2p_address, candidate.account)
        return self._propose(ctx, Action(ActionKind.ADD_OBSERVER, member_id, nominee, None), reason, expires_ms, candidate)

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
        return self._propose(ctx, Action(ActionKind.PROMOTE, member_id, None, None), reason, expires_ms)

    @write
    def propose_remove(self, ctx: Context, member_id: MemberName, reason: Text, expires_ms: U64 | None) -> U64:
        """Propose that a member of either role leaves, and approve of it. Returns the proposal's id.

        Errors: NOT_A_VALIDATOR, BAD_EXPIRY, TOO_MANY_PROPOSALS, UNKNOWN_MEMBER, TOO_FEW_MEMBERS, and where it is
        executed at once ONE_CHANGE_A_BLOCK. Emits Proposed, Voted.

        Args:
            reason: what the other members should know, such as the evidence against it
            expires_ms: the last block time to vote at, from a minute to 30 days ahead; 7 days from now if not given
        """
        return self._propose(ctx, Action(ActionKind.REMOVE, member_id, None, None), reason, expires_ms)

    @write
    def propose_calls(self, ctx: Context, calls: PlannedCalls, reason: Text, expires_ms: U64 | None) -> U64:
        """Propose that the governance account makes these calls, all or none, and approve of it. Returns the proposal's id.

        The vote that decides makes them: where one fails the vote fails, and the proposal stays open. How many approvals it needs
        is in `thresholds`: of the topics of its calls the one that needs most.
        Errors: NOT_A_VALIDATOR, BAD_CALLS, BAD_EXPIRY, TOO_MANY_PROPOSALS, and where it is executed at once what the calls fail
        with. Emits Proposed, Voted.

        Args:
            reason: what the other members should know
            expires_ms: the last block time to vote at, from a minute to 30 days ahead; 7 days from now if not given
        """
        digest = CallsDigest(check_calls(ctx, calls, GovernanceError.BAD_CALLS), topics_of(calls))
        return self._propose(ctx, Action(ActionKind.CALLS, "", None, digest), reason, expires_ms, calls=calls)

    @write
    def vote(self, ctx: Context, proposal_id: U64, approve: bool) -> ProposalStatus:
        """Approve or disapprove of an open proposal; of several votes the last one counts. Returns how the proposal stands then.

        Only an approval executes it, even where a smaller committee has made the approvals enough meanwhile.
        Errors: NOT_A_VALIDATOR, UNKNOWN_PROPOSAL, PROPOSAL_CLOSED, PROPOSAL_EXPIRED, and where the vote decides, all that the
        action may fail with: ONE_CHANGE_A_BLOCK, NOT_SYNCED, STALE_PROPOSAL and those of the propose methods, or the calls.
        Emits Voted, then what the action or the calls emit (CommitteeChanged where there is another committee) and
        ProposalExecuted, or ProposalRejected.
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
        self._attest(ctx, height, block_hash)

    @write
    def rotate_key(self, ctx: Context, new_key: Bytes32, possession: Possession) -> None:
        """Replace the consensus key of the caller's node; from the next block on only the new one is valid.

        A member may do it once a day, so f members cannot take every block's one change, nor lengthen all proofs without end.
        Errors: NOT_A_MEMBER, ROTATED_TOO_SOON, KEY_USED, BAD_KEY, BAD_POSSESSION, ONE_CHANGE_A_BLOCK. Emits KeyRotated,
        CommitteeChanged.

        Args:
            possession: the new key's signature that it is for this member (`governance_possession`)
        """
        self._rotate_key(ctx, new_key, possession)

    @write
    def rotate_certificate(self, ctx: Context, certificate: Certificate) -> None:
        """Replace the TLS certificate of the caller's node, at most once a minute; the old one stays valid for 7 days.

        Errors: NOT_A_MEMBER, CHANGED_TOO_SOON, BAD_CERTIFICATE, CERTIFICATE_USED, TOO_MANY_CERTIFICATES.
        Emits CertificateRotated.

        Args:
            certificate: X.509 in DER, Ed25519, self-signed
        """
        self._rotate_certificate(ctx, certificate)

    @write
    def set_address(self, ctx: Context, p2p_address: PeerAddress) -> None:
        """Say where the others reach the caller's node, at most once a minute.

        Errors: NOT_A_MEMBER, CHANGED_TOO_SOON, BAD_ADDRESS, ADDRESS_TAKEN. Emits AddressSet.
        """
        self._set_address(ctx, p2p_address)

    # ---- only by vote

    @write
    def set_parameters(self, ctx: Context, changes: Changes) -> None:
        """Give parameters of the chain other values, from the next block on.

        Errors: ONLY_BY_VOTE, PARAMETER_TWICE, BAD_PARAMETER: outside of its bounds (`ledger.parameters`), tx_window_ms above
        what it was at genesis, blocks without room for a deciding vote or too large for the longest view, timeout_cap_ms below
        a second, or base_timeout_ms over it. Emits ParameterSet for each.
        """
        self._require_vote(ctx)
        self._set_parameters(ctx, changes, deciding_vote_gas(len(self._roster().validators)))

    @write
    def disable_contract(self, ctx: Context, contract: ContractName) -> None:
        """Switch a contract off from the next block on: its write methods fail, what it has scheduled waits, reads go on.

        Errors: ONLY_BY_VOTE, CANNOT_DISABLE (asset, governance, schedule), ALREADY_DISABLED, TOO_MANY_DISABLED.
        Emits ContractDisabled.
        """
        self._require_vote(ctx)
        self._disable(ctx, contract)

    @write
    def enable_contract(self, ctx: Context, contract: ContractName) -> None:
        """Switch a contract on again from the next block on. Errors: ONLY_BY_VOTE, NOT_DISABLED. Emits ContractEnabled."""
        self._require_vote(ctx)
        self._enable(ctx, contract)

    @write
    def schedule_upgrade(self, ctx: Context, version: U32, height: U64, name: UpgradeName) -> None:
        """Have every node run another version of the protocol from `height` on; nodes that cannot, stop there.

        Errors: ONLY_BY_VOTE, UPGRADE_PENDING, BAD_VERSION (not a later one), BAD_HEIGHT (in less than 100 blocks).
        Emits UpgradeScheduled.
        """
        self._require_vote(ctx)
        self._schedule_upgrade(ctx, Upgrade(version, height, name))

    @write
    def cancel_upgrade(self, ctx: Context) -> None:
        """Call the upgrade that lies ahead off. Errors: ONLY_BY_VOTE, NO_UPGRADE. Emits UpgradeCancelled."""
        self._require_vote(ctx)
        self._cancel_upgrade(ctx)

    @write
    def set_threshold(self, ctx: Context, topic: Topic, share: U32) -> None:
        """Set how many validators must approve of what is about a topic, at once also of what is proposed already.

        The consensus quorum is needed at least, for freeze and spending more than half. It takes what the topic needs now.
        Errors: ONLY_BY_VOTE, BAD_THRESHOLD. Emits ThresholdSet.

        Args:
            share: of the validators, in 1/10,000, rounded up; all but the tolerated faulty are enough for members and thresholds
        """
        self._require_vote(ctx)
        self._set_threshold(ctx, topic, share)

    @write
    def add_auditor(self, ctx: Context, name: MemberName, account: Address) -> None:
        """Let an account audit under a name; it needs no node and gets no vote.

        Errors: ONLY_BY_VOTE, BAD_MEMBER_ID, MEMBER_EXISTS, BAD_ACCOUNT, AUDITOR_EXISTS, ACCOUNT_TAKEN, TOO_MANY_AUDITORS.
        Emits AuditorAdded.
        """
        self._require_vote(ctx)
        require(name not in self.members, GovernanceError.MEMBER_EXISTS, member_id=name)
        require(account not in self.accounts, GovernanceError.ACCOUNT_TAKEN, account=format_address(account))
        self._add_auditor(ctx, name, account)

    @write
    def remove_auditor(self, ctx: Context, name: MemberName) -> None:
        """Let an auditor audit no more; what it said stays. Errors: ONLY_BY_VOTE, UNKNOWN_AUDITOR. Emits AuditorRemoved."""
        self._require_vote(ctx)
        self._remove_auditor(ctx, name)

    # ---- what an auditor does

    @write
    def audit(self, ctx: Context, subject: Subject, opinion: AuditOpinion, statement: Statement) -> U64:
        """Put an opinion on the chain, for ever. Returns the audit's id. Errors: NOT_AN_AUDITOR. Emits Audited.

        Args:
            subject: what it is about, such as `asset.release/3`
            statement: in words; the hash of a longer report, say
        """
        return self._audit(ctx, subject, opinion, statement)

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
        certificate, calls = self.candidate_certificates.get(proposal_id), self.proposal_calls.get(proposal_id)
        return replace(self._tally(found), certificate=certificate, calls=calls)

    @read
    def open_proposals(self, ctx: Context) -> tuple[U64, ...]:
        """Return the ids of the proposals that can be voted on, oldest first."""
        return tuple(item.id for item in self.open.get(()) if item.expires_ms >= ctx.now_ms)

    @read
    def last_proposal(self) -> U64:
        """Return the id of the newest proposal, or 0."""
        return self.proposal_count.get(0)

    @read
    def rules(self, ctx: Context) -> RulesInfo:
        """Return what nodes go by from the next block on: parameters, disabled contracts, versions."""
        return self._rules(ctx)

    @read
    def thresholds(self) -> Annotated[tuple[ThresholdInfo, ...], Bounds(0, len(Topic))]:
        """Return how many approvals each topic needs of the committee as it is."""
        return self._thresholds()

    @read
    def auditors(self) -> Annotated[tuple[Auditor, ...], Bounds(0, MAX_AUDITORS)]:
        """Return the auditors, ascending by name."""
        return self.auditor_list.get(())

    @read
    def get_audit(self, audit_id: U64) -> Audit:
        """Return what an auditor said. Errors: UNKNOWN_AUDIT."""
        return self.audits.require(audit_id, GovernanceError.UNKNOWN_AUDIT, audit_id=audit_id)

    @read
    def audits_of(self, subject: Subject, first: U32, limit: U8) -> Annotated[tuple[Audit, ...], Bounds(0, MAX_AUDITS_READ)]:
        """Return what was said of a subject, oldest first.

        Args:
            first: how many to pass over
            limit: at most so many, and 64
        """
        return self._audits_of(subject, first, limit)

    @read
    def last_audit(self) -> U64:
        """Return the id of the newest audit, or 0."""
        return self.audit_count.get(0)

    def _require_vote(self, ctx: Context) -> None:
        require(ctx.sender == ctx.contract, GovernanceError.ONLY_BY_VOTE)

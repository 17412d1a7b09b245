"""What the members' vote does to the members: one joins as an observer, gets a vote, or leaves (protocol, rule 13)."""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from ledger.committee import MAX_MEMBERS, quorum_size
from vm.context import RECENT_BLOCKS
from vm.contract import U64, Context, Map, require
from vm.contracts.governance_auditors import AuditRegister
from vm.contracts.governance_members import MemberRegister
from vm.contracts.governance_rules import RuleBook
from vm.contracts.governance_state import deciding_vote_gas
from vm.contracts.governance_types import (
    Action,
    ActionKind,
    Certificate,
    GovernanceError,
    MemberRecord,
    NodeRecord,
    Proposal,
    Role,
    Roster,
)
from vm.gas import max_gas_limit

MAX_OBSERVERS: Final = 64
FAULT_TOLERANT: Final = 4
"""A committee that has once been this large never gets smaller: below, it bears no fault."""


class MemberChanges(MemberRegister, RuleBook, AuditRegister):
    """Carries out what was decided of a member. It has no methods to call."""

    candidate_certificates: Map[U64, Certificate]  # by proposal, while it is open: nobody stores 4 KB for ever

    def _check(self, action: Action) -> None:
        """Fail where the action could not be executed as things stand, whatever the block and the attestations say."""
        roster = self._roster()
        if action.nominee is not None:
            require(len(roster.observers) < MAX_OBSERVERS, GovernanceError.TOO_MANY_MEMBERS, limit=MAX_OBSERVERS)
            self._check_nominee(action.member_id, action.nominee)
            self._check_no_auditor(action.member_id, action.nominee.account)
            return
        member, n = self._member(action.member_id), len(roster.validators)
        if action.kind is ActionKind.PROMOTE:
            require(member.role is Role.OBSERVER, GovernanceError.NOT_AN_OBSERVER, member_id=member.id)
            require(n < MAX_MEMBERS, GovernanceError.TOO_MANY_MEMBERS, limit=MAX_MEMBERS)
            self._check_room_to_vote(n + 1)
        elif member.role is Role.VALIDATOR:
            require(n not in (1, FAULT_TOLERANT), GovernanceError.TOO_FEW_MEMBERS, have=n)
            self._check_voters_left(name for name in roster.validators if name != member.id)

    def _check_voters_left(self, validators: Iterable[str]) -> None:
        """Fail where too few of those who stay have an account: nothing could be decided any more, not even that they get one."""
        accounts = [self.members[name].account for name in validators]
        have, need = sum(account is not None for account in accounts), quorum_size(len(accounts))
        require(have >= need, GovernanceError.TOO_FEW_MEMBERS, have=have, need=need)

    def _check_room_to_vote(self, validators: int) -> None:
        """Fail where the deciding vote of so many fits into no block: they could not even decide on larger blocks."""
        need, limit = deciding_vote_gas(validators), max_gas_limit(self._parameters().block_max_gas)
        require(need <= limit, GovernanceError.TOO_MANY_MEMBERS, vote_gas=need, limit=limit)

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
        require(member.since_height < created, GovernanceError.STALE_PROPOSAL, since=member.since_height, proposed=created)
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

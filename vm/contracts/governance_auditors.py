"""Auditors: named accounts without a node or a vote, whose opinions the chain keeps."""

from typing import Annotated

from ledger.policy import format_address
from vm.contract import U32, U64, Address, Bounds, Context, Contract, Item, Map, require
from vm.contracts.asset import has_keys
from vm.contracts.governance_events import Audited, AuditorAdded, AuditorRemoved
from vm.contracts.governance_rule_types import MAX_AUDITORS, MAX_AUDITS_READ, Audit, AuditOpinion, Auditor, Subject
from vm.contracts.governance_types import MEMBER_ID, GovernanceError
from vm.errors import ContractError


class AuditRegister(Contract):
    """Storage of the auditors and of what they said. It has no methods to call."""

    auditor_list: Item[Annotated[tuple[Auditor, ...], Bounds(0, MAX_AUDITORS)]]  # ascending by name
    audits: Map[U64, Audit]
    audit_count: Item[U64]
    subject_counts: Map[Subject, U32]
    subject_audits: Map[tuple[Subject, U32], U64]  # the n-th audit of a subject, from 0

    def _add_auditor(self, ctx: Context, name: str, account: Address) -> None:
        known = self.auditor_list.get(())
        require(MEMBER_ID.fullmatch(name) is not None, GovernanceError.BAD_MEMBER_ID)
        require(has_keys(account), GovernanceError.BAD_ACCOUNT, account=format_address(account))
        self._check_no_auditor(name, account)
        require(len(known) < MAX_AUDITORS, GovernanceError.TOO_MANY_AUDITORS, limit=MAX_AUDITORS)
        added = Auditor(name, account, ctx.height)
        self.auditor_list.set(tuple(sorted((*known, added), key=lambda each: each.name)))
        ctx.emit(AuditorAdded(name, account))

    def _check_no_auditor(self, name: str, account: Address) -> None:
        """Fail where a name or an account is an auditor's: nobody is both an auditor and a member."""
        known = self.auditor_list.get(())
        require(all(each.name != name for each in known), GovernanceError.AUDITOR_EXISTS, name=name)
        taken = any(each.account == account for each in known)
        require(not taken, GovernanceError.ACCOUNT_TAKEN, account=format_address(account))

    def _remove_auditor(self, ctx: Context, name: str) -> None:
        known = self.auditor_list.get(())
        left = tuple(each for each in known if each.name != name)
        require(len(left) < len(known), GovernanceError.UNKNOWN_AUDITOR, name=name)
        self.auditor_list.set(left)
        ctx.emit(AuditorRemoved(name))

    def _audit(self, ctx: Context, subject: str, opinion: AuditOpinion, statement: str) -> int:
        auditor = next((each for each in self.auditor_list.get(()) if each.account == ctx.sender), None)
        if auditor is None:
            raise ContractError(GovernanceError.NOT_AN_AUDITOR, account=format_address(ctx.sender))
        number, place = self.audit_count.get(0) + 1, self.subject_counts.get(subject, 0)
        self.audit_count.set(number)
        self.subject_counts[subject] = place + 1
        self.subject_audits[subject, place] = number
        self.audits[number] = Audit(number, auditor.name, subject, opinion, statement, ctx.height, ctx.now_ms)
        ctx.emit(Audited(number, auditor.name, subject, opinion))
        return number

    def _audits_of(self, subject: str, first: int, limit: int) -> tuple[Audit, ...]:
        last = min(first + min(limit, MAX_AUDITS_READ), self.subject_counts.get(subject, 0))
        return tuple(self.audits[self.subject_audits[subject, place]] for place in range(first, last))

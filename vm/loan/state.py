"""What is kept of a loan: its running state, its instalments, and where they are kept. A contract stores these as they are."""

from dataclasses import dataclass
from typing import Protocol

from ledger.types import Motes
from vm.abi_types import U16, U32, U64
from vm.loan.terms import NOTHING


@dataclass(frozen=True, slots=True)
class Instalment:
    """What one instalment asks for and what was paid of it, in motes.

    Args:
        number: counts from 1
        due_day: local day
        principal: part of the principal; until it falls due or is paid ahead in full, 0
        interest: of its period, with what was carried to it
        fee: fees charged on it
        penalty: the late fee
        principal_paid: includes what was paid ahead
        interest_paid: of interest
        fee_paid: of fee
        penalty_paid: of penalty
        extra: principal repaid early on top of the plan (it is within principal_paid, and in principal once that is fixed)
        closed: paid ahead in full, so that nothing of it changes any more
    """

    number: U16
    due_day: U32
    principal: Motes = NOTHING
    interest: Motes = NOTHING
    fee: Motes = NOTHING
    penalty: Motes = NOTHING
    principal_paid: Motes = NOTHING
    interest_paid: Motes = NOTHING
    fee_paid: Motes = NOTHING
    penalty_paid: Motes = NOTHING
    extra: Motes = NOTHING
    closed: bool = False

    @property
    def due(self) -> int:
        """Return all it asks for."""
        return self.principal + self.interest + self.fee + self.penalty

    @property
    def paid(self) -> int:
        """Return all that was paid of it."""
        return self.principal_paid + self.interest_paid + self.fee_paid + self.penalty_paid

    @property
    def outstanding(self) -> int:
        """Return what is still to be paid of it."""
        return self.due - self.paid

    @property
    def is_overdue(self) -> bool:
        """Return whether principal or interest of it is unpaid once it fell due; fees alone make nothing overdue."""
        return self.principal + self.interest > self.principal_paid + self.interest_paid


@dataclass(frozen=True, slots=True)
class LoanState:
    """Where a loan stands after `day` began and what was paid on it so far.

    Args:
        day: local day up to which everything is accounted for
        number: instalment of the running period; one more than the last after the last due day
        planned: the equal instalment, or the equal part of the principal
        owed: principal really owed, due or not
        unbilled: principal owed that has not fallen due
        pool: principal paid ahead on the last instalments
        balance_days: sum over the running period's days of the principal owed, in motes x days
        carried: interest of earlier periods that belongs to the running one
        deferred: interest that the interest grace put off
        taken: interest already paid of the running period's, with what is carried
        due_penalty: unpaid penalties of what fell due
        due_fee: unpaid fees of what fell due
        due_interest: unpaid interest of what fell due
        due_principal: unpaid principal of what fell due
        oldest_open: no instalment before this one is open
        next_late: no instalment before this one can become late any more
        next_early: no instalment before this one takes money ahead
    """

    day: U32
    number: U16
    planned: Motes
    owed: Motes
    unbilled: Motes
    pool: Motes = NOTHING
    balance_days: U64 = 0
    carried: Motes = NOTHING
    deferred: Motes = NOTHING
    taken: Motes = NOTHING
    due_penalty: Motes = NOTHING
    due_fee: Motes = NOTHING
    due_interest: Motes = NOTHING
    due_principal: Motes = NOTHING
    oldest_open: U16 = 1
    next_late: U16 = 1
    next_early: U16 = 1

    @property
    def due(self) -> int:
        """Return all that fell due and is unpaid."""
        return self.due_penalty + self.due_fee + self.due_interest + self.due_principal


@dataclass(frozen=True, slots=True)
class Split:
    """Where a payment went, in motes.

    Args:
        penalty: late fees
        fee: other fees
        interest: due or accrued
        principal: due or ahead
        returned: more than the whole loan takes
    """

    penalty: Motes = NOTHING
    fee: Motes = NOTHING
    interest: Motes = NOTHING
    principal: Motes = NOTHING
    returned: Motes = NOTHING


class Book(Protocol):
    """Where instalments are kept by number: a dict, or a contract's storage."""

    def get(self, number: int, /) -> Instalment | None:
        """Return the instalment, or None when it neither fell due nor was paid ahead."""

    def __setitem__(self, number: int, instalment: Instalment, /) -> None: ...

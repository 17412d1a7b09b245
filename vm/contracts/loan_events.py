"""What the loan contract reports: one event for each step of a loan."""

from dataclasses import dataclass
from typing import Final

from ledger.types import Address, Motes
from vm.abi_types import U8, U16, U32, U64, Bytes32
from vm.contracts.loan_types import BookingKind, Outstanding, Reason, VehicleId
from vm.loan.state import Split


@dataclass(frozen=True, slots=True)
class LoanOffered:
    """A lender put the principal aside for a borrower, who may accept until `expires_ms`."""

    loan_id: Bytes32
    lender: Address
    borrower: Address
    principal: Motes
    lien: VehicleId | None
    expires_ms: U64


@dataclass(frozen=True, slots=True)
class OfferWithdrawn:
    """The lender took an offer back."""

    loan_id: Bytes32
    borrower: Address


@dataclass(frozen=True, slots=True)
class OfferExpired:
    """Nobody accepted an offer in time."""

    loan_id: Bytes32


@dataclass(frozen=True, slots=True)
class LoanDisbursed:
    """A borrower accepted: the principal went to `paid_to`, and instalments of about `instalment` are collected.

    Args:
        instalment: what stays equal: the instalment, or its part of the principal
        first_due_day: local day
    """

    loan_id: Bytes32
    lender: Address
    borrower: Address
    paid_to: Address
    principal: Motes
    day: U32
    instalment: Motes
    first_due_day: U32


@dataclass(frozen=True, slots=True)
class LienTaken:
    """A vehicle became the security of a loan."""

    loan_id: Bytes32
    vehicle: VehicleId


@dataclass(frozen=True, slots=True)
class InstalmentDue:
    """An instalment fell due; `unpaid` is what it asks for beyond what was paid ahead."""

    loan_id: Bytes32
    number: U16
    due_day: U32
    principal: Motes
    interest: Motes
    unpaid: Motes


@dataclass(frozen=True, slots=True)
class LoanPaid:
    """Money came in: booking `number`. `outstanding` is the principal that is still owed, `due` what fell due and is unpaid."""

    loan_id: Bytes32
    number: U32
    kind: BookingKind
    payer: Address
    day: U32
    amount: Motes
    split: Split
    outstanding: Motes
    due: Motes


@dataclass(frozen=True, slots=True)
class CollectionShort:
    """The borrower had too little: `missing` is still due after an attempt."""

    loan_id: Bytes32
    borrower: Address
    period: U16
    attempt: U8
    day: U32
    due: Motes
    missing: Motes


@dataclass(frozen=True, slots=True)
class LateFeeCharged:
    """An instalment was unpaid when its grace days were over."""

    loan_id: Bytes32
    borrower: Address
    number: U16
    amount: Motes


@dataclass(frozen=True, slots=True)
class FeeCharged:
    """The lender charged a fee that the terms allow."""

    loan_id: Bytes32
    borrower: Address
    number: U16
    amount: Motes
    reason: Reason


@dataclass(frozen=True, slots=True)
class PaymentReversed:
    """A payment went back to its payer; the account is as if it had never come."""

    loan_id: Bytes32
    number: U32
    payer: Address
    amount: Motes
    outstanding: Motes
    due: Motes


@dataclass(frozen=True, slots=True)
class DefaultCalled:
    """The lender called default: instalment `number` is overdue since `overdue_since`."""

    loan_id: Bytes32
    lender: Address
    borrower: Address
    number: U16
    overdue_since: U32
    owed: Outstanding


@dataclass(frozen=True, slots=True)
class LienEnforced:
    """The lender may take the vehicle that is the loan's security."""

    loan_id: Bytes32
    lender: Address
    borrower: Address
    vehicle: VehicleId


@dataclass(frozen=True, slots=True)
class LoanWrittenOff:
    """The lender gave up what was owed."""

    loan_id: Bytes32
    lender: Address
    borrower: Address
    given_up: Outstanding


@dataclass(frozen=True, slots=True)
class LoanClosed:
    """Nothing is owed any more."""

    loan_id: Bytes32
    lender: Address
    borrower: Address
    day: U32


@dataclass(frozen=True, slots=True)
class LienReleased:
    """A vehicle is free again."""

    loan_id: Bytes32
    vehicle: VehicleId


EVENTS: Final = (
    LoanOffered,
    OfferWithdrawn,
    OfferExpired,
    LoanDisbursed,
    LienTaken,
    InstalmentDue,
    LoanPaid,
    CollectionShort,
    LateFeeCharged,
    FeeCharged,
    PaymentReversed,
    DefaultCalled,
    LienEnforced,
    LoanWrittenOff,
    LoanClosed,
    LienReleased,
)

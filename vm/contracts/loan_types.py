"""What the loan contract stores and returns: agreements, where loans stand, bookings; and its errors.

Amounts are motes, days are local day numbers of the loan's own offset from UTC (`vm.calendar`), as in `vm.loan`.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from ledger.types import Address, Motes
from vm.abi_types import U8, U16, U32, U64, Bounds, Bytes32
from vm.loan.state import Instalment, LoanState, Split
from vm.loan.terms import INSTALMENTS_MAX, Terms

VEHICLE_CHARS_MAX: Final = 64
_VEHICLE: Final = re.compile(rf"[A-Z0-9][A-Z0-9-]{{0,{VEHICLE_CHARS_MAX - 1}}}", re.ASCII)

VehicleId = Annotated[str, Bounds(1, VEHICLE_CHARS_MAX)]
Reason = Annotated[str, Bounds(1, 128)]

REVERSAL_DAYS: Final = 31
"""How long after its day a payment can be given back: the borrower bears interest on what the lender had for so long."""
CHECKPOINT_DAYS: Final = 15
"""A booking later than that after the newest checkpoint has another one made before it."""
CHECKPOINTS: Final = 1 + -(-(REVERSAL_DAYS + 1) // (CHECKPOINT_DAYS + 1))
"""How many are kept of each loan: one of them is before every payment that can be given back."""


class LoanError(StrEnum):
    """Why a loan call is refused."""

    BAD_AMOUNT = "the amount cannot be used here"
    BAD_EXPIRY = "an offer must end ahead, and within a year"
    BAD_PARTIES = "lender and borrower must be two accounts"
    BAD_RECIPIENT = "nobody could spend what this account receives"
    BAD_VEHICLE = "a vehicle's id has capital letters, digits and hyphens, as a vehicle identification number has"
    EXPIRES_TOO_EARLY = "an offer must last until the day has begun on which the money moves"
    FEE_NOT_AGREED = "the terms allow no such fee on one instalment"
    IN_DEFAULT = "default was called before, and stands until the loan is over"
    LIEN_EXISTS = "the vehicle is security for another loan"
    NOT_DISBURSEMENT_DAY = "the terms name another day on which the money moves"
    NOT_DUE = "the instalment has not fallen due"
    NOT_IN_DEFAULT = "no instalment is overdue for as long as the terms say"
    NOT_OFFERED = "the loan is not on offer any more"
    NOT_PERMITTED = "the caller may not do this"
    NOT_REVERSIBLE = "without this payment the later ones are more than the loan takes"
    NOT_RUNNING = "the loan is not running"
    OUTDATED = "the payment was too long ago to give it back"
    PAYOFF_CHANGED = "closing the loan takes more than the caller allows"
    TOO_MANY_BOOKINGS = "no more is booked by hand before that day, but for a payment of all that is due"
    UNKNOWN_LOAN = "there is no such loan"
    UNKNOWN_PAYMENT = "there is no such payment, or it was reversed"


class LoanStatus(StrEnum):
    """Where a loan stands."""

    OFFERED = "offered"
    WITHDRAWN = "withdrawn"
    EXPIRED = "expired"
    ACTIVE = "active"
    DEFAULTED = "defaulted"
    CLOSED = "closed"
    WRITTEN_OFF = "written_off"


RUNNING: Final = (LoanStatus.ACTIVE, LoanStatus.DEFAULTED)


class BookingKind(StrEnum):
    """How something came into a loan's account: drawn by the chain, paid by somebody, or a fee that the lender charged."""

    COLLECTED = "collected"
    PAID = "paid"
    FEE = "fee"


@dataclass(frozen=True, slots=True)
class Agreement:
    """What lender and borrower agree on. It changes once: accepting it fills in the day of disbursement where it was left open.

    Args:
        pay_to: receives the money instead of the borrower, as the car's seller does
        lien: the vehicle that is the loan's security
    """

    lender: Address
    borrower: Address
    pay_to: Address | None
    lien: VehicleId | None
    terms: Terms

    @property
    def paid_to(self) -> Address:
        """Return who receives the money."""
        return self.pay_to or self.borrower


@dataclass(frozen=True, slots=True)
class Attempt:
    """When something is next done for a loan by itself.

    Args:
        period: the instalment it is for; above the last one it is a later month's attempt at what is still owed
        number: 0 on the due day; later ones count the retry days and the day of the late fee, in order
        day: the local day it belongs to, also where the chain comes to it later
    """

    period: U16
    number: U8
    day: U32


@dataclass(frozen=True, slots=True)
class Outstanding:
    """What is owed, by kind.

    Args:
        principal: due or not
        interest: due and accrued
        fee: due
        penalty: late fees, due
    """

    principal: Motes
    interest: Motes
    fee: Motes
    penalty: Motes

    @property
    def total(self) -> int:
        """Return all of it."""
        return self.principal + self.interest + self.fee + self.penalty


@dataclass(frozen=True, slots=True)
class ByHand:
    """How many bookings were made by hand, not by the chain.

    Args:
        fees: charged by the lender
        by_borrower: payments
        by_others: payments of all others together
    """

    fees: U32 = 0
    by_borrower: U32 = 0
    by_others: U32 = 0


@dataclass(frozen=True, slots=True)
class Window:
    """The time since a checkpoint.

    Args:
        number: of the checkpoint, from 1; 0 before the first
        day: of the checkpoint
        pages: how many there are of instalments as they were at the checkpoint
    """

    number: U32 = 0
    day: U32 = 0
    pages: U32 = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """What changes of a loan besides its account.

    Args:
        expires_ms: until when it may be accepted
        entry_id: what waits in the calendar: the offer's expiry, or the next attempt; 0 for nothing
        next: the next attempt
        mandate_id: the authority to draw the borrower's money
        bookings: how many there are
        arrears_from: arrears count from this day at the earliest for a default: the next draw after a reversal, or after the
            chain came late to an attempt that left something due
        written_off: what the lender gave up
        window: the time since the newest checkpoint
        by_hand: bookings since then
    """

    status: LoanStatus
    expires_ms: U64
    entry_id: U64 = 0
    next: Attempt | None = None
    mandate_id: Bytes32 | None = None
    bookings: U32 = 0
    arrears_from: U32 = 0
    written_off: Outstanding | None = None
    window: Window = Window()
    by_hand: ByHand = ByHand()


@dataclass(frozen=True, slots=True)
class Booking:
    """One entry of a loan's account, in the order of their days; together with the terms they make up all of it.

    Args:
        payer: whose money it was; the lender for a fee
        split: where a payment went; for a fee, the fee
        period: the instalment a collection was for, or a fee was charged on; 0 for other payments
        attempt: of a collection
        reversed: the money went back, and the account is as if it had never come
    """

    kind: BookingKind
    day: U32
    payer: Address
    amount: Motes
    split: Split
    period: U16 = 0
    attempt: U8 = 0
    reversed: bool = False


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """A loan's account as it was before a booking, to make it anew from.

    Args:
        bookings: how many there were
        ended: the window that ended then
    """

    state: LoanState
    bookings: U32
    ended: Window


@dataclass(frozen=True, slots=True)
class KeptRow:
    """An instalment as it is stored.

    Args:
        window: the number of the window in which it last changed
    """

    instalment: Instalment
    window: U32


@dataclass(frozen=True, slots=True)
class Former:
    """What an instalment was at a checkpoint: None where it was not stored."""

    number: U16
    row: KeptRow | None


Page = Annotated[tuple[Former, ...], Bounds(1, INSTALMENTS_MAX)]
"""Instalments as they were at a checkpoint: those that one call changed first."""


@dataclass(frozen=True, slots=True)
class LoanView:
    """A loan as its account was last brought up to date, on `day`; an offer's figures are 0.

    Args:
        principal_paid: with `outstanding` and what was written off of it, all that was lent
        outstanding: principal that is owed, due or not
        due: what fell due and is unpaid, of any kind
        payoff: what would have closed the loan on that day
        bookings: how many there are, to read them by
        next: what the chain does next for it
    """

    agreement: Agreement
    status: LoanStatus
    expires_ms: U64
    mandate_id: Bytes32 | None
    day: U32
    principal_paid: Motes
    outstanding: Motes
    due: Motes
    payoff: Motes
    bookings: U32
    next: Attempt | None
    written_off: Outstanding | None


@dataclass(frozen=True, slots=True)
class Payoff:
    """What closes a loan on a day, if nothing is paid before."""

    day: U32
    parts: Outstanding
    total: Motes


def is_vehicle_id(text: str) -> bool:
    """Return whether a vehicle is named the one way it can be: two spellings would make two vehicles of it."""
    return _VEHICLE.fullmatch(text) is not None

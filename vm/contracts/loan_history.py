"""What came into a loan's account, booking by booking, and how the account is made anew without one of them.

That starts from a checkpoint, never from the beginning, so it takes no more of an old loan than of a young one. A booking more
than `CHECKPOINT_DAYS` after the newest checkpoint has another one made before it, and the last `CHECKPOINTS` are kept: a payment
that can still be given back stands after one of them, and behind that one stands at most what came in CHECKPOINT_DAYS and
REVERSAL_DAYS together. How much that can be is bounded too: the chain draws once a day, and `BY_HAND_MAX` bounds the rest.
"""

from dataclasses import replace
from typing import Final

from ledger.errors import invariant
from ledger.types import Address
from vm.calendar import Day, local_day
from vm.contract import U8, U16, U32, Bytes32, Context, Contract, Map, require
from vm.contracts.loan_book import StoredBook
from vm.contracts.loan_collection import StoredAccount
from vm.contracts.loan_types import (
    CHECKPOINT_DAYS,
    CHECKPOINTS,
    REVERSAL_DAYS,
    Agreement,
    Booking,
    BookingKind,
    ByHand,
    Checkpoint,
    KeptRow,
    LoanError,
    Page,
    Standing,
    Window,
)
from vm.loan.account import Account
from vm.loan.state import LoanState
from vm.loan.terms import EarlyPayment, Terms

BY_HAND_MAX: Final = CHECKPOINT_DAYS + 1
"""How many bookings of each kind are made by hand between two checkpoints: one a day."""
STEP_GAS: Final = 40_000
"""A payment, or an instalment that falls due."""
REPLAY_GAS: Final = 30_000
"""A booking gone through again, beside the instalments it changes."""
PLAN_GAS: Final = 150
"""For each instalment, when the equal part is worked out: powers of as many factors."""


def plan_gas(account: Account, amount: int) -> int:
    """Return the gas of planning the instalments anew, as a payment does that is more than what is due."""
    if account.terms.early_payment is not EarlyPayment.REAMORTISE or amount <= account.state.due:
        return 0
    return PLAN_GAS * max(0, account.terms.instalments - account.state.number + 1)


class OpenLoan:
    """A running loan during one call: read at its beginning, changed, stored at its end."""

    __slots__ = ("account", "agreement", "book", "id", "standing")

    def __init__(
        self, loan_id: bytes, agreement: Agreement, standing: Standing, account: StoredAccount, book: StoredBook
    ) -> None:
        self.id = loan_id
        self.agreement = agreement
        self.standing = standing
        self.account = account
        self.book = book

    @property
    def terms(self) -> Terms:
        """Return what was agreed."""
        return self.account.terms

    @property
    def parties(self) -> tuple[Address, Address]:
        """Return lender and borrower, as events name them."""
        return self.agreement.lender, self.agreement.borrower

    def today(self, now_ms: int) -> Day:
        """Return the loan's local day."""
        return local_day(now_ms, self.terms.utc_offset_minutes)


class LoanHistory(Contract):
    """Storage of the loans' accounts, bookings and checkpoints, and the steps that add to them and go back."""

    accounts: Map[Bytes32, LoanState]
    rows: Map[tuple[Bytes32, U16], KeptRow]
    booked: Map[tuple[Bytes32, U32], Booking]
    checkpoints: Map[tuple[Bytes32, U8], Checkpoint]
    pages: Map[tuple[Bytes32, U8, U32], Page]

    def _book_of(self, ctx: Context, loan_id: bytes, window: Window) -> StoredBook:
        return StoredBook(self.rows, self.pages, loan_id, window, ctx.charge)

    def _bookings(self, loan_id: bytes, first: int, last: int) -> list[Booking]:
        return [self.booked[loan_id, number] for number in range(first, last + 1)]

    def _turn(self, loan: OpenLoan) -> None:
        """Make a checkpoint where the newest is too old. Every booking begins with this."""
        window, state, bookings = loan.book.window, loan.account.state, loan.standing.bookings
        if window.number and state.day - window.day <= CHECKPOINT_DAYS:
            return
        ended = loan.book.begin(state.day)
        self.checkpoints[loan.id, loan.book.window.number % CHECKPOINTS] = Checkpoint(state, bookings, ended)
        loan.standing = replace(loan.standing, by_hand=ByHand())

    def _enter(self, loan: OpenLoan, booking: Booking) -> int:
        """Add a booking and return its number."""
        number = _count(loan, booking)
        self.booked[loan.id, number] = booking
        return number

    def _require_room(self, loan: OpenLoan, kind: BookingKind, payer: Address) -> None:
        """Fail where no more of a kind are booked by hand until the next checkpoint. Errors: TOO_MANY_BOOKINGS."""
        made = getattr(loan.standing.by_hand, _hand(loan, kind, payer))
        until = loan.book.window.day + CHECKPOINT_DAYS + 1
        require(made < BY_HAND_MAX, LoanError.TOO_MANY_BOOKINGS, made=made, limit=BY_HAND_MAX, day=until)

    def _payment(self, loan: OpenLoan, number: int) -> Booking:
        """Return a payment that can be given back. Errors: UNKNOWN_PAYMENT, OUTDATED."""
        require(0 < number <= loan.standing.bookings, LoanError.UNKNOWN_PAYMENT)
        payment = self.booked[loan.id, number]
        require(payment.kind is not BookingKind.FEE and not payment.reversed, LoanError.UNKNOWN_PAYMENT)
        days = loan.account.state.day - payment.day
        require(days <= REVERSAL_DAYS, LoanError.OUTDATED, days=days, limit=REVERSAL_DAYS)
        return payment

    def _take_out(self, ctx: Context, loan: OpenLoan, number: int) -> None:
        """Make a loan's account anew without a payment, up to the day it has reached. Errors: NOT_REVERSIBLE.

        What was paid until now brings no late fee any more, also where its grace days are not over.
        """
        account, last, state = loan.account, loan.standing.bookings, loan.account.state
        checkpoint, ended = self._before(loan, number)
        settled = range(checkpoint.state.next_late, state.number)
        account.charged = frozenset(each for each in settled if account.instalment(each).penalty)
        unpaid = (each for each in range(state.next_late, state.number) if account.instalment(each).is_overdue)
        next_late = next(unpaid, state.number)
        ctx.charge(STEP_GAS * (1 + state.number - checkpoint.state.number))
        loan.book.go_back(*ended)
        account.state = checkpoint.state
        loan.standing = replace(loan.standing, bookings=checkpoint.bookings, by_hand=ByHand())
        while loan.standing.bookings < last:
            self._replay(ctx, loan, number)
        account.advance(Day(state.day))
        account.state, account.charged = replace(account.state, next_late=next_late), None

    def _before(self, loan: OpenLoan, number: int) -> tuple[Checkpoint, list[Window]]:
        """Return the newest checkpoint before a booking, and the windows that ended since, the last one first."""
        window, ended = loan.book.window.number, list[Window]()
        while True:
            checkpoint = self.checkpoints[loan.id, window % CHECKPOINTS]
            invariant(checkpoint.ended.number == window - 1, "what can be given back stands after a checkpoint that is kept")
            if checkpoint.bookings < number:
                return checkpoint, ended
            ended.append(checkpoint.ended)
            window -= 1

    def _replay(self, ctx: Context, loan: OpenLoan, without: int) -> None:
        """Book the next booking again, but for the one to leave out, with a checkpoint wherever there was one."""
        ctx.charge(REPLAY_GAS)
        number, account = loan.standing.bookings + 1, loan.account
        stored = booking = self.booked[loan.id, number]
        account.advance(Day(booking.day))
        self._turn(loan)
        if number == without:
            booking = replace(booking, reversed=True)
        if not booking.reversed and booking.kind is BookingKind.FEE:
            account.charge_fee(booking.period, booking.amount)
        elif not booking.reversed:
            ctx.charge(plan_gas(account, booking.amount))
            booking = replace(booking, split=account.pay(Day(booking.day), booking.amount))
            require(not booking.split.returned, LoanError.NOT_REVERSIBLE)  # units coarser than payments do that
        _count(loan, booking)
        if booking != stored:
            self.booked[loan.id, number] = booking


def _count(loan: OpenLoan, booking: Booking) -> int:
    """Count a booking and return its number; they count from 1."""
    by_hand = loan.standing.by_hand
    if booking.kind is not BookingKind.COLLECTED:
        hand = _hand(loan, booking.kind, booking.payer)
        by_hand = replace(by_hand, **{hand: getattr(by_hand, hand) + 1})
    loan.standing = replace(loan.standing, bookings=loan.standing.bookings + 1, by_hand=by_hand)
    return loan.standing.bookings


def _hand(loan: OpenLoan, kind: BookingKind, payer: Address) -> str:
    """Return the field of `ByHand` that counts a booking by hand."""
    if kind is BookingKind.FEE:
        return "fees"
    return "by_borrower" if payer == loan.agreement.borrower else "by_others"

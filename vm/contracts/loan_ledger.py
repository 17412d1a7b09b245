"""The storage of all loans, and the steps that every entry point of the loan contract is made of."""

from contextlib import suppress
from dataclasses import replace
from typing import Final

from ledger.types import Motes
from vm.calendar import Day, local_midnight_ms
from vm.contract import U8, U16, Address, Bytes32, Context, Map, require, scheduled
from vm.contracts.asset import Asset
from vm.contracts.loan_collection import StoredAccount, is_drawing, next_attempt, next_draw
from vm.contracts.loan_events import CollectionShort, InstalmentDue, LateFeeCharged, LienReleased, LoanClosed, LoanPaid
from vm.contracts.loan_history import STEP_GAS, LoanHistory, OpenLoan, plan_gas
from vm.contracts.loan_types import (
    RUNNING,
    Agreement,
    Attempt,
    Booking,
    BookingKind,
    LoanError,
    LoanStatus,
    Standing,
    VehicleId,
)
from vm.errors import ContractError
from vm.loan.account import Account
from vm.loan.terms import NOTHING

PURPOSE: Final = "loan"
TERMS_GAS: Final = 40_000
"""Checking terms, as is done whenever they are read."""
DRAWN_INSTALMENTS: Final = 24
"""How many instalments a call of the calendar looks at to draw them; what more is due takes more calls."""


def advance(ctx: Context, account: Account, day: Day) -> None:
    """Bring an account to a day, charging for each instalment before it falls due. Raises `WrongDayError`."""
    ctx.charge(STEP_GAS)
    while account.state.number <= account.terms.instalments and (due := account.terms.due_on(account.state.number)) <= day:
        ctx.charge(STEP_GAS)
        account.advance(due)
    account.advance(day)


class LoanLedger(LoanHistory):
    """Storage of the loans, with the steps that keep it consistent, and collection, which plans itself."""

    agreements: Map[Bytes32, Agreement]
    standings: Map[Bytes32, Standing]
    liens: Map[VehicleId, Bytes32]

    @scheduled
    def collect(self, ctx: Context, loan_id: Bytes32, period: U16, attempt: U8) -> None:
        """Draw what is due from the borrower, or charge a late fee. An attempt that is not the loan's next one changes nothing.

        It counts on its own day however late the chain comes to it: an outage costs the borrower nothing, not even a late fee.
        Emits InstalmentDue, LateFeeCharged, LoanPaid, CollectionShort, LoanClosed, LienReleased.
        """
        standing = self.standings.require(loan_id, LoanError.UNKNOWN_LOAN)
        planned = standing.next
        if planned is None or (planned.period, planned.number) != (period, attempt):
            return
        loan = self._opened(ctx, loan_id, replace(standing, next=None, entry_id=0))
        self._save(ctx, loan, self._make(ctx, loan, planned))

    def _make(self, ctx: Context, loan: OpenLoan, attempt: Attempt) -> Attempt:
        """Make an attempt on its day and return the next: the same one, where more instalments are due than one call draws."""
        loan.account.excused = attempt.day < loan.today(ctx.now_ms)
        self._advance(ctx, loan, Day(attempt.day))
        goes_on = is_drawing(loan.terms, attempt.number) and self._draw(ctx, loan, attempt)
        if loan.account.excused and loan.account.state.due:
            loan.standing = replace(loan.standing, arrears_from=next_draw(loan.account))
        loan.account.excused = False
        return attempt if goes_on else next_attempt(loan.account)

    def _draw(self, ctx: Context, loan: OpenLoan, attempt: Attempt) -> bool:
        """Draw what the oldest instalments ask, or what there is of it. Returns whether to draw on."""
        account, mandate_id = loan.account, loan.standing.mandate_id
        if not account.state.due or mandate_id is None:
            return False
        due, wanted = account.state.due, account.due_of_oldest(DRAWN_INSTALMENTS)
        try:
            paid = ctx.call(Asset.draw, mandate_id, Motes(wanted), loan.agreement.lender)
        except ContractError:
            paid = NOTHING  # whatever keeps the money where it is today: the attempts to come stay planned
        if paid:
            self._receive(ctx, loan, BookingKind.COLLECTED, loan.agreement.borrower, paid, attempt)
        if paid < wanted:
            which, missing = (attempt.period, attempt.number), Motes(due - paid)
            ctx.emit(CollectionShort(loan.id, loan.agreement.borrower, *which, account.state.day, Motes(due), missing))
        return paid == wanted < due

    # ---- the steps

    def _open(self, ctx: Context, loan_id: bytes) -> OpenLoan:
        """Read a running loan as it was stored. Errors: UNKNOWN_LOAN, NOT_RUNNING."""
        standing = self.standings.require(loan_id, LoanError.UNKNOWN_LOAN)
        require(standing.status in RUNNING, LoanError.NOT_RUNNING, status=standing.status)
        return self._opened(ctx, loan_id, standing)

    def _opened(self, ctx: Context, loan_id: bytes, standing: Standing) -> OpenLoan:
        """Read a loan that was accepted."""
        ctx.charge(TERMS_GAS)
        agreement, book = self.agreements[loan_id], self._book_of(ctx, loan_id, standing.window)
        return OpenLoan(loan_id, agreement, standing, StoredAccount(agreement.terms, self.accounts[loan_id], book), book)

    def _today(self, ctx: Context, loan_id: bytes) -> OpenLoan:
        """Read a running loan, make the attempts that the calendar is late with, and bring it up to date.

        So nobody comes between what is due and its collection; an attempt may close it. Errors: UNKNOWN_LOAN, NOT_RUNNING.
        """
        loan = self._open(ctx, loan_id)
        today = loan.today(ctx.now_ms)
        while loan.standing.next is not None and loan.standing.next.day <= today:
            attempt = loan.standing.next
            self._unplan(ctx, loan)
            following = self._make(ctx, loan, attempt)
            if loan.account.is_closed:
                self._save(ctx, loan)
                return loan
            loan.standing = replace(loan.standing, next=following)
        self._advance(ctx, loan, today)
        return loan

    def _advance(self, ctx: Context, loan: OpenLoan, day: Day) -> None:
        """Bring a loan's account to a day, and report what fell due and was charged on the way."""
        account = loan.account
        due_from, late_from = account.state.number, account.state.next_late
        advance(ctx, account, day)
        for number in range(due_from, account.state.number):
            row = account.instalment(number)
            unpaid = Motes(row.outstanding - row.penalty)
            ctx.emit(InstalmentDue(loan.id, number, row.due_day, row.principal, row.interest, unpaid))
        for number in range(late_from, account.state.next_late):
            if penalty := account.instalment(number).penalty:
                ctx.emit(LateFeeCharged(loan.id, loan.agreement.borrower, number, penalty))

    def _receive(
        self, ctx: Context, loan: OpenLoan, kind: BookingKind, payer: Address, amount: int, attempt: Attempt | None = None
    ) -> None:
        """Book money that the lender has got on the day the account has reached. Errors: TOO_MANY_BOOKINGS.

        There is always room for a payment that leaves nothing overdue, or closes the loan: nobody is kept from that.
        """
        account = loan.account
        ctx.charge(STEP_GAS + plan_gas(account, amount))
        self._turn(loan)
        leaves_nothing_overdue = account.state.due > account.state.due_fee and amount >= account.state.due
        if kind is BookingKind.PAID and not leaves_nothing_overdue and amount < account.payoff:
            self._require_room(loan, kind, payer)
        split = account.pay(Day(account.state.day), amount)
        period, number = (attempt.period, attempt.number) if attempt else (0, 0)
        at = self._enter(loan, Booking(kind, account.state.day, payer, Motes(amount), split, period, number))
        state = account.state
        ctx.emit(LoanPaid(loan.id, at, kind, payer, state.day, Motes(amount), split, state.owed, Motes(state.due)))

    def _save(self, ctx: Context, loan: OpenLoan, attempt: Attempt | None = None) -> None:
        """Store a running loan: closed when nothing is owed any more, else with its next attempt in the calendar."""
        if loan.account.is_closed:
            self._end(ctx, loan, LoanStatus.CLOSED)
            ctx.emit(LoanClosed(loan.id, *loan.parties, loan.account.state.day))
        else:
            self._plan(ctx, loan, attempt or next_attempt(loan.account))
        self._store(loan)

    def _store(self, loan: OpenLoan) -> None:
        loan.book.save()
        loan.standing = replace(loan.standing, window=loan.book.window)
        self.accounts[loan.id] = loan.account.state
        self.standings[loan.id] = loan.standing

    def _plan(self, ctx: Context, loan: OpenLoan, attempt: Attempt) -> None:
        """Put the next attempt into the calendar, instead of another that waits there."""
        if loan.standing.entry_id and loan.standing.next == attempt:
            return
        self._unplan(ctx, loan)
        due_ms = max(local_midnight_ms(Day(attempt.day), loan.terms.utc_offset_minutes), ctx.now_ms + 1)
        entry_id = ctx.schedule(due_ms, self.collect, loan.id, attempt.period, attempt.number)
        loan.standing = replace(loan.standing, next=attempt, entry_id=entry_id)

    def _unplan(self, ctx: Context, loan: OpenLoan) -> None:
        """Take what waits for a loan out of the calendar. A call that failed is there no more: whoever pays brings it back."""
        if loan.standing.entry_id:
            with suppress(ContractError):
                ctx.cancel_schedule(loan.standing.entry_id)
        loan.standing = replace(loan.standing, next=None, entry_id=0)

    def _end(self, ctx: Context, loan: OpenLoan, status: LoanStatus) -> None:
        """End a running loan: nothing can be drawn for it any more, nothing waits for it, its security is free."""
        self._unplan(ctx, loan)
        if loan.standing.mandate_id is not None:
            ctx.call(Asset.revoke, loan.standing.mandate_id)
        if loan.agreement.lien is not None:
            del self.liens[loan.agreement.lien]
            ctx.emit(LienReleased(loan.id, loan.agreement.lien))
        loan.standing = replace(loan.standing, status=status, mandate_id=None)

"""Loans: a lender's money goes to a borrower or to the seller of the car, and the chain collects the instalments by itself.

    offer (lender; the principal is held) -> accept (borrower; the money moves, authority to draw is given)
        -> collect on each due day, by the calendar -> nothing is owed: closed

The figures are those of `vm.loan`, which quotes the same schedules offline. An instalment is drawn on its due day at 00:00 of the
loan's local time. Where the borrower has too little, what there is goes to penalty, fee, interest and principal of the oldest
instalment first; the rest is tried again on the retry days, on every later due day, and once a month after the last one. A late
fee comes once an instalment, after the grace days, but never where those ended while the chain stood still. Anybody may pay any
time; more than closes the loan is not taken.
At every time principal paid + outstanding + written off = what was lent.
"""

from contextlib import suppress
from dataclasses import replace
from typing import Final

from ledger.policy import format_address
from ledger.types import Motes
from vm.calendar import DAY_MS, Day, local_day, local_midnight_ms
from vm.contract import U16, U32, U64, Address, Bytes32, Context, read, require, scheduled, write
from vm.contracts.asset import Asset, has_keys, pay_as_signer
from vm.contracts.loan_collection import StoredAccount, fee_split, next_draw, outstanding
from vm.contracts.loan_events import (
    EVENTS,
    DefaultCalled,
    FeeCharged,
    LienEnforced,
    LienTaken,
    LoanDisbursed,
    LoanOffered,
    LoanWrittenOff,
    OfferExpired,
    OfferWithdrawn,
    PaymentReversed,
)
from vm.contracts.loan_history import PLAN_GAS, STEP_GAS, OpenLoan
from vm.contracts.loan_ledger import PURPOSE, TERMS_GAS, LoanLedger, advance
from vm.contracts.loan_types import (
    RUNNING,
    Agreement,
    Booking,
    BookingKind,
    LoanError,
    LoanStatus,
    LoanView,
    Payoff,
    Reason,
    Standing,
    VehicleId,
    is_vehicle_id,
)
from vm.errors import ContractError
from vm.loan.account import Account
from vm.loan.schedule import Row, draft, rows
from vm.loan.state import Instalment
from vm.loan.terms import INSTALMENTS_MAX, NOTHING, Terms

NAME: Final = "loan"

OFFER_MS_MAX: Final = 366 * DAY_MS
PAGE_MAX: Final = 256
RECLAIM_MS: Final = 7 * DAY_MS
"""How long after its expiry a lender could take the money of an offer back himself; the calendar gives it back before."""


class Loan(LoanLedger, errors=LoanError, events=EVENTS):
    """Lends DATR on agreed terms and collects the instalments by itself."""

    collect = LoanLedger.collect

    # ---- offers

    @write
    def offer(
        self,
        ctx: Context,
        terms: Terms,
        borrower: Address,
        pay_to: Address | None,
        lien: VehicleId | None,
        expires_ms: U64,
    ) -> Bytes32:
        """Offer a loan to `borrower`; the principal is held until it is accepted, withdrawn or expires. Returns the loan's id.

        Errors: BAD_PARTIES, BAD_RECIPIENT, BAD_VEHICLE, BAD_EXPIRY, EXPIRES_TOO_EARLY, NOT_DISBURSEMENT_DAY (it has passed), and
        those of the asset; terms no loan can have are BAD_ARGUMENTS. Emits LoanOffered.

        Args:
            terms: `disbursed_on` 0 leaves the day to the borrower; another one is the only day on which he can accept
            pay_to: receives the money instead of the borrower: the seller of the car
            lien: the vehicle that secures the loan
            expires_ms: Unix milliseconds; within a year, and after the day on which the money moves has begun
        """
        ctx.charge(TERMS_GAS + PLAN_GAS * terms.instalments)
        require(borrower != ctx.sender, LoanError.BAD_PARTIES)
        for receiver in (borrower, borrower if pay_to is None else pay_to):
            require(has_keys(receiver), LoanError.BAD_RECIPIENT, account=format_address(receiver))
        require(lien is None or is_vehicle_id(lien), LoanError.BAD_VEHICLE)
        ends_in_time = ctx.now_ms < expires_ms <= ctx.now_ms + OFFER_MS_MAX
        require(ends_in_time, LoanError.BAD_EXPIRY, expires_ms=expires_ms, now_ms=ctx.now_ms)
        if terms.disbursed_on:
            day, today = terms.disbursed_on, local_day(ctx.now_ms, terms.utc_offset_minutes)
            require(today <= day, LoanError.NOT_DISBURSEMENT_DAY, day=day, today=today)
            opens_ms = local_midnight_ms(Day(day), terms.utc_offset_minutes)
            require(opens_ms < expires_ms, LoanError.EXPIRES_TOO_EARLY, expires_ms=expires_ms, opens_ms=opens_ms)
        loan_id = ctx.call(Asset.hold, ctx.sender, terms.principal, PURPOSE, expires_ms + RECLAIM_MS)
        self.agreements[loan_id] = Agreement(ctx.sender, borrower, pay_to, lien, terms)
        entry_id = ctx.schedule(expires_ms, self.expire, loan_id)
        self.standings[loan_id] = Standing(LoanStatus.OFFERED, expires_ms, entry_id)
        ctx.emit(LoanOffered(loan_id, ctx.sender, borrower, terms.principal, lien, expires_ms))
        return loan_id

    @write
    def withdraw(self, ctx: Context, loan_id: Bytes32) -> None:
        """Take an offer back; only its lender may. Errors: UNKNOWN_LOAN, NOT_OFFERED, NOT_PERMITTED. Emits OfferWithdrawn."""
        standing = self._offered(loan_id)
        require(ctx.sender == self.agreements[loan_id].lender, LoanError.NOT_PERMITTED)
        ctx.cancel_schedule(standing.entry_id)
        ctx.call(Asset.release, loan_id)
        self.standings[loan_id] = replace(standing, status=LoanStatus.WITHDRAWN, entry_id=0)
        ctx.emit(OfferWithdrawn(loan_id, self.agreements[loan_id].borrower))

    @scheduled
    def expire(self, ctx: Context, loan_id: Bytes32) -> None:
        """End an offer that nobody accepted in time. Emits OfferExpired."""
        standing = self.standings.require(loan_id, LoanError.UNKNOWN_LOAN)
        if standing.status is not LoanStatus.OFFERED:
            return
        with suppress(ContractError):  # where the chain came to this a week late, the lender may have taken it back himself
            ctx.call(Asset.release, loan_id)
        self.standings[loan_id] = replace(standing, status=LoanStatus.EXPIRED, entry_id=0)
        ctx.emit(OfferExpired(loan_id))

    @write
    def accept(self, ctx: Context, loan_id: Bytes32) -> None:
        """Take a loan; only its borrower may. The money moves, and the chain may draw the borrower's money from now on.

        Errors: UNKNOWN_LOAN, NOT_OFFERED, NOT_PERMITTED, NOT_DISBURSEMENT_DAY, LIEN_EXISTS, those of the terms on this day
        (BAD_INPUT). Emits LoanDisbursed, LienTaken.
        """
        standing, agreement = self._offered(loan_id), self.agreements[loan_id]
        require(ctx.sender == agreement.borrower, LoanError.NOT_PERMITTED)
        require(ctx.now_ms < standing.expires_ms, LoanError.NOT_OFFERED, expired_ms=standing.expires_ms)
        agreement = replace(agreement, terms=_terms_on(agreement.terms, ctx.now_ms))
        self.agreements[loan_id] = agreement
        ctx.cancel_schedule(standing.entry_id)
        mandate_id = ctx.call(Asset.grant, ctx.sender, PURPOSE)
        ctx.call(Asset.capture, loan_id, agreement.terms.principal, agreement.paid_to)
        loan = self._started(ctx, loan_id, agreement, replace(standing, entry_id=0, mandate_id=mandate_id))
        if agreement.lien is not None:
            require(agreement.lien not in self.liens, LoanError.LIEN_EXISTS)
            self.liens[agreement.lien] = loan_id
            ctx.emit(LienTaken(loan_id, agreement.lien))
        self._save(ctx, loan)

    # ---- payments

    @write
    def pay(self, ctx: Context, loan_id: Bytes32, amount: Motes) -> Motes:
        """Pay for a loan; anybody may: what is due first, then ahead as agreed. Returns what was taken: at most what closes it.

        A payment that leaves nothing overdue or closes the loan is always booked. Of others there are at most 16 by the borrower
        and 16 by everybody else in 16 days, so that a reversal fits into a transaction whatever comes after the payment.
        Errors: BAD_AMOUNT, UNKNOWN_LOAN, NOT_RUNNING, TOO_MANY_BOOKINGS, and those of the asset.
        Emits LoanPaid, LoanClosed, LienReleased, InstalmentDue, LateFeeCharged.

        Args:
            amount: motes
        """
        require(amount > 0, LoanError.BAD_AMOUNT)
        loan = self._today(ctx, loan_id)
        return self._pay(ctx, loan, min(amount, loan.account.payoff))

    @write
    def pay_off(self, ctx: Context, loan_id: Bytes32, at_most: Motes) -> Motes:
        """Close a loan; anybody may. Returns what it took: principal, interest until today, fees and penalties.

        Errors: PAYOFF_CHANGED (it takes more than `at_most`), UNKNOWN_LOAN, NOT_RUNNING, and those of the asset.
        Emits LoanPaid, LoanClosed, LienReleased, InstalmentDue, LateFeeCharged.

        Args:
            at_most: motes; `payoff_quote` says what it takes
        """
        loan = self._today(ctx, loan_id)
        payoff = loan.account.payoff
        require(payoff <= at_most, LoanError.PAYOFF_CHANGED, payoff=payoff, at_most=at_most)
        return self._pay(ctx, loan, payoff)

    # ---- the lender

    @write
    def charge_fee(self, ctx: Context, loan_id: Bytes32, number: U16, amount: Motes, reason: Reason) -> None:
        """Charge a fee on an instalment that has fallen due, within what the terms allow, 16 in 16 days; only the lender may.

        Errors: UNKNOWN_LOAN, NOT_RUNNING, NOT_PERMITTED, BAD_AMOUNT, NOT_DUE, FEE_NOT_AGREED, TOO_MANY_BOOKINGS.
        Emits FeeCharged, InstalmentDue, LateFeeCharged.

        Args:
            number: of the instalment
            amount: motes; all fees of an instalment together are at most the terms' `fee_limit`
        """
        loan = self._of_lender(ctx, loan_id)
        require(amount > 0, LoanError.BAD_AMOUNT)
        require(0 < number < loan.account.state.number, LoanError.NOT_DUE, number=number)
        fees, limit = loan.account.instalment(number).fee + amount, loan.terms.fee_limit
        require(fees <= limit, LoanError.FEE_NOT_AGREED, fees=fees, limit=limit)
        self._turn(loan)
        self._require_room(loan, BookingKind.FEE, ctx.sender)
        loan.account.charge_fee(number, amount)
        self._enter(loan, Booking(BookingKind.FEE, loan.account.state.day, ctx.sender, amount, fee_split(amount), number))
        ctx.emit(FeeCharged(loan_id, loan.agreement.borrower, number, amount, reason))
        self._save(ctx, loan)

    @write
    def reverse_payment(self, ctx: Context, loan_id: Bytes32, number: U32) -> None:
        """Give a payment back to its payer; only the lender may, of his own money. The account is as if it had never come.

        That is possible for 31 days, however old the loan is. What was booked after it is split anew and interest is that of the
        money not having been there; but no late fee comes of it, and arrears from before the reversal count for a default from
        the next draw.
        Errors: UNKNOWN_LOAN, NOT_RUNNING, NOT_PERMITTED, UNKNOWN_PAYMENT, OUTDATED, NOT_REVERSIBLE, and those of the asset.
        Emits PaymentReversed, InstalmentDue, LateFeeCharged.

        Args:
            number: of the payment's booking
        """
        loan = self._of_lender(ctx, loan_id)
        payment = self._payment(loan, number)
        pay_as_signer(ctx, payment.amount, PURPOSE, payment.payer)
        self._take_out(ctx, loan, number)
        state = loan.account.state
        loan.standing = replace(loan.standing, arrears_from=next_draw(loan.account))
        ctx.emit(PaymentReversed(loan_id, number, payment.payer, payment.amount, state.owed, Motes(state.due)))
        self._save(ctx, loan)

    @write
    def call_default(self, ctx: Context, loan_id: Bytes32) -> None:
        """Call default where an instalment is overdue for as long as the terms say; only the lender may. Collection goes on.

        Errors: UNKNOWN_LOAN, NOT_RUNNING, NOT_PERMITTED, NOT_IN_DEFAULT, IN_DEFAULT (it was called before).
        Emits DefaultCalled, LienEnforced, InstalmentDue, LateFeeCharged.
        """
        loan = self._of_lender(ctx, loan_id)
        require(loan.standing.status is LoanStatus.ACTIVE, LoanError.IN_DEFAULT)
        row, today = loan.account.oldest_overdue(), loan.account.state.day
        since = max(row.due_day, loan.standing.arrears_from) if row else today
        days, need = today - since, loan.terms.default_days
        if row is None or days < need:
            raise ContractError(LoanError.NOT_IN_DEFAULT, overdue_days=days, need=need)
        loan.standing = replace(loan.standing, status=LoanStatus.DEFAULTED)
        ctx.emit(DefaultCalled(loan_id, *loan.parties, row.number, since, outstanding(loan.account)))
        if loan.agreement.lien is not None:
            ctx.emit(LienEnforced(loan_id, *loan.parties, loan.agreement.lien))
        self._save(ctx, loan)

    @write
    def write_off(self, ctx: Context, loan_id: Bytes32) -> None:
        """Give up what is owed and end the loan; only the lender may.

        Errors: UNKNOWN_LOAN, NOT_RUNNING, NOT_PERMITTED. Emits LoanWrittenOff, LienReleased, InstalmentDue, LateFeeCharged.
        """
        loan = self._of_lender(ctx, loan_id)
        given_up = outstanding(loan.account)
        self._end(ctx, loan, LoanStatus.WRITTEN_OFF)
        loan.standing = replace(loan.standing, written_off=given_up)
        ctx.emit(LoanWrittenOff(loan_id, *loan.parties, given_up))
        self._store(loan)

    # ---- reads

    @read
    def get(self, ctx: Context, loan_id: Bytes32) -> LoanView:
        """Return a loan as its account was last brought up to date. Errors: UNKNOWN_LOAN."""
        standing = self.standings.require(loan_id, LoanError.UNKNOWN_LOAN)
        figures = (0, NOTHING, NOTHING, NOTHING, NOTHING)
        agreement = self.agreements[loan_id]
        if loan_id in self.accounts:
            account = self._opened(ctx, loan_id, standing).account
            state, given_up = account.state, standing.written_off
            left, due, payoff = (NOTHING,) * 3 if given_up else (state.owed, Motes(state.due), Motes(account.payoff))
            figures = (state.day, Motes(agreement.terms.principal - state.owed), left, due, payoff)
        return LoanView(
            agreement,
            standing.status,
            standing.expires_ms,
            standing.mandate_id,
            *figures,
            standing.bookings,
            standing.next,
            standing.written_off,
        )

    @read
    def schedule(self, ctx: Context, loan_id: Bytes32, first: U16, count: U16) -> tuple[Row, ...]:
        """Return `count` instalments from number `first` on, seen from today: as if everything due were paid today.

        An offer is seen as if it were accepted today. Errors: UNKNOWN_LOAN.
        """
        account = self._seen(ctx, loan_id)
        last = min(first + count - 1, account.terms.instalments)
        ctx.charge(STEP_GAS * max(0, last - account.state.number + 1))
        return tuple(row for row in rows(account, last) if row.instalment.number >= first)

    @read
    def instalments(self, loan_id: Bytes32, first: U16, count: U16) -> tuple[Instalment, ...]:
        """Return those of `count` instalments from number `first` on that fell due or were paid ahead, as they are stored."""
        found = (self.rows.get((loan_id, number), None) for number in range(first, min(first + count, INSTALMENTS_MAX + 1)))
        return tuple(row.instalment for row in found if row is not None)

    @read
    def bookings(self, loan_id: Bytes32, first: U32, count: U16) -> tuple[Booking, ...]:
        """Return `count` bookings (at most 256) from number `first` (from 1) on: payments and fees. Errors: UNKNOWN_LOAN."""
        standing = self.standings.require(loan_id, LoanError.UNKNOWN_LOAN)
        last = min(first + min(count, PAGE_MAX) - 1, standing.bookings)
        return tuple(self._bookings(loan_id, max(1, first), last))

    @read
    def payoff_quote(self, ctx: Context, loan_id: Bytes32, day: U32) -> Payoff:
        """Return what closes a running loan on a local day (0 for today) if nothing is paid before.

        Errors: UNKNOWN_LOAN, NOT_RUNNING, a day that has passed (BAD_INPUT).
        """
        loan = self._open(ctx, loan_id)
        account = draft(loan.account)
        advance(ctx, account, Day(day) if day else loan.today(ctx.now_ms))
        parts = outstanding(account)
        return Payoff(account.state.day, parts, Motes(parts.total))

    @read
    def lien_of(self, vehicle: VehicleId) -> Bytes32 | None:
        """Return the running loan that a vehicle secures, None for none."""
        return self.liens.get(vehicle, None)

    # ---- steps

    def _offered(self, loan_id: bytes) -> Standing:
        standing = self.standings.require(loan_id, LoanError.UNKNOWN_LOAN)
        require(standing.status is LoanStatus.OFFERED, LoanError.NOT_OFFERED, status=standing.status)
        return standing

    def _of_lender(self, ctx: Context, loan_id: bytes) -> OpenLoan:
        """Read a running loan of the caller and bring it up to date."""
        loan = self._today(ctx, loan_id)
        require(ctx.sender == loan.agreement.lender, LoanError.NOT_PERMITTED)
        require(not loan.account.is_closed, LoanError.NOT_RUNNING)
        return loan

    def _started(self, ctx: Context, loan_id: bytes, agreement: Agreement, standing: Standing) -> OpenLoan:
        """Open the account of a loan whose money has moved."""
        ctx.charge(TERMS_GAS + PLAN_GAS * agreement.terms.instalments)
        book = self._book_of(ctx, loan_id, standing.window)
        account = StoredAccount.opened(agreement.terms, book)
        state, first = account.state, agreement.terms.due_on(1)
        parties, principal = (agreement.lender, agreement.borrower), agreement.terms.principal
        ctx.emit(LoanDisbursed(loan_id, *parties, agreement.paid_to, principal, state.day, state.planned, first))
        return OpenLoan(loan_id, agreement, replace(standing, status=LoanStatus.ACTIVE), account, book)

    def _pay(self, ctx: Context, loan: OpenLoan, amount: int) -> Motes:
        if loan.account.is_closed:  # by an attempt that the calendar is late with
            return NOTHING
        pay_as_signer(ctx, Motes(amount), PURPOSE, loan.agreement.lender)
        self._receive(ctx, loan, BookingKind.PAID, ctx.sender, amount)
        self._save(ctx, loan)
        return Motes(amount)

    def _seen(self, ctx: Context, loan_id: bytes) -> Account:
        """Return a loan's account as of today, of one that is over as of its last day, of an offer as if accepted today."""
        standing = self.standings.require(loan_id, LoanError.UNKNOWN_LOAN)
        if loan_id not in self.accounts:
            terms = self.agreements[loan_id].terms
            ctx.charge(TERMS_GAS + PLAN_GAS * terms.instalments)
            return Account.opened(terms if terms.disbursed_on else _terms_on(terms, ctx.now_ms), {})
        loan = self._opened(ctx, loan_id, standing)
        account = draft(loan.account)
        if standing.status in RUNNING:
            advance(ctx, account, loan.today(ctx.now_ms))
        return account


def _terms_on(terms: Terms, now_ms: int) -> Terms:
    """Return the terms of a loan whose money moves now. Errors: NOT_DISBURSEMENT_DAY, those of the terms."""
    today = local_day(now_ms, terms.utc_offset_minutes)
    require(terms.disbursed_on in (0, today), LoanError.NOT_DISBURSEMENT_DAY, day=terms.disbursed_on, today=today)
    return replace(terms, disbursed_on=today)

"""The running account of a loan: days pass, instalments fall due, payments come in.

`LoanState` is all that is carried from day to day, and one `Instalment` is kept for each that fell due or was paid ahead; a
contract stores both. A call costs as many steps as instalments fall due or are paid in it, usually one. The outcome depends only
on the payments and their days, never on how often the account was brought up to date in between.

A period's interest runs on the principal really owed each day. When its instalment falls due, interest and principal are fixed;
what stays unpaid goes on bearing interest in the periods after, none after the last due day.
"""

from dataclasses import replace
from typing import Any, Final, NamedTuple, Self

from ledger.errors import InvalidInputError, invariant
from ledger.types import Motes
from vm.calendar import Day
from vm.loan.state import Book, Instalment, LoanState, Split
from vm.loan.terms import Amortization, EarlyPayment, Terms, half_up


class WrongDayError(InvalidInputError):
    """A day before the one the account has reached: `wrong_day`."""

    def __init__(self, day: int, reached: int) -> None:
        super().__init__(
            "wrong_day",
            f"day {day} is before day {reached}, up to which this loan is accounted for",
            hint="give payments in the order of their days, none before the disbursement",
            day=day,
            reached=reached,
        )


PARTS: Final = ("penalty", "fee", "interest", "principal")  # the waterfall
PAID_PARTS: Final = tuple(f"{part}_paid" for part in PARTS)


class _PeriodEnd(NamedTuple):
    """A period's own interest (it lowers the annuity's principal), and the part billed now, carried on, or deferred."""

    own: int
    billed: int = 0
    carried: int = 0
    deferred: int = 0


class Account:
    """A loan in motion. `state` and what was written to `book` are what a contract stores after a call."""

    __slots__ = ("book", "state", "terms")

    def __init__(self, terms: Terms, state: LoanState, book: Book) -> None:
        self.terms = terms
        self.state = state
        self.book = book

    @classmethod
    def opened(cls, terms: Terms, book: Book) -> Self:
        """Return the account of a loan on the day its money moves."""
        planned = terms.instalment(terms.principal, terms.instalments - terms.principal_grace)
        lent = terms.principal
        return cls(terms, LoanState(terms.disbursed_on, number=1, planned=Motes(planned), owed=lent, unbilled=lent), book)

    @property
    def accrued(self) -> int:
        """Return the running period's interest up to today, rounded, with what is carried to it."""
        numerator, denominator = self._exact_interest()
        return half_up(numerator, denominator, self.terms.minor_unit)

    @property
    def interest_owed(self) -> int:
        """Return the interest that fell due, and what has accrued since, as far as it is unpaid."""
        return self.state.due_interest + self._accrued_unpaid

    @property
    def payoff(self) -> int:
        """Return what closes the loan today: principal, accrued and unpaid interest, fees and penalties."""
        return self.state.owed + self.interest_owed + self.state.due_fee + self.state.due_penalty

    @property
    def is_closed(self) -> bool:
        """Return whether nothing is owed and nothing will be."""
        return self.payoff == 0

    def advance(self, day: Day) -> None:
        """Bring the account to the beginning of a day: instalments fall due, late fees are charged.

        Raises `WrongDayError` for a day before the one it has reached.
        """
        if day < self.state.day:
            raise WrongDayError(day, self.state.day)
        while self.state.number <= self.terms.instalments and self.terms.due_on(self.state.number) <= day:
            self.bill()
        self._accrue(day)
        self._charge_late_fees()

    def pay(self, day: Day, amount: int) -> Split:
        """Book a payment on a day: all that is due, oldest first, then ahead as agreed; what is left over goes back.

        Each instalment's penalty comes first, then its fee, interest and principal. Money ahead pays accrued interest first only
        where it goes to the next instalment, or where it pays off the loan. Raises `WrongDayError`.
        """
        invariant(amount >= 0, "a payment is not negative")
        self.advance(day)
        before = self.state
        left = self._pay_due(amount)
        paid = {part: Motes(getattr(before, f"due_{part}") - getattr(self.state, f"due_{part}")) for part in PARTS}
        if not left:
            return Split(**paid)
        interest, principal = self._pay_ahead(left)
        paid["interest"] = Motes(paid["interest"] + interest)
        paid["principal"] = Motes(paid["principal"] + principal)
        return Split(**paid, returned=Motes(left - interest - principal))

    def charge_fee(self, number: int, amount: int) -> None:
        """Charge a fee on an instalment that has fallen due."""
        self._charge(number, "fee", amount)

    def oldest_overdue(self) -> Instalment | None:
        """Return the first instalment that fell due with principal or interest unpaid, None when there is none."""
        if not self.state.due_principal + self.state.due_interest:
            return None
        number = self.state.oldest_open
        while not (row := self.instalment(number)).is_overdue:
            number += 1
        return row

    def instalment(self, number: int) -> Instalment:
        """Return an instalment as far as it is known: one that neither fell due nor was paid ahead is empty."""
        return self.book.get(number) or Instalment(number, self.terms.due_on(number))

    def is_late(self, row: Instalment) -> bool:
        """Return whether an instalment is charged the late fee when its grace days are over; no fee alone brings another."""
        return row.is_overdue

    def due_of_oldest(self, count: int) -> int:
        """Return what the `count` oldest instalments ask for of all that is due; those that are paid are passed over."""
        last = min(self.state.oldest_open + count, self.state.number) - 1
        due = sum(self.instalment(number).outstanding for number in range(self.state.oldest_open, last + 1))
        if not due and self.state.due:
            self._set(oldest_open=last + 1)
        return due

    def bill(self) -> None:
        """Go to the due day of the running period's instalment, fix what it asks for, and begin the next period."""
        number = self.state.number
        invariant(number <= self.terms.instalments, "there is an instalment left to fall due")
        row = self.instalment(number)
        self._accrue(Day(row.due_day))
        period, share = self._period_end(row), self._pool_share(number)
        ahead = Motes(row.principal_paid + share)
        row = replace(row, interest=Motes(row.interest_paid + period.billed), principal_paid=ahead)
        unbilled, is_final = self.state.unbilled, self._is_final(number)
        principal = ahead if row.closed else self._principal_of(row, period.own, unbilled, is_final=is_final)
        self.book[number] = replace(row, principal=Motes(principal))
        self._set(
            number=number + 1,
            balance_days=0,
            carried=period.carried,
            deferred=period.deferred,
            taken=0,
            pool=self.state.pool - share,
            unbilled=self.state.unbilled - (principal - ahead),
            oldest_open=self.state.oldest_open if self.state.due else number,
            due_principal=self.state.due_principal + principal - ahead,
            due_interest=self.state.due_interest + period.billed,
        )

    def settle_due(self) -> None:
        """Take everything due as paid, without an entry in the book: how a schedule looks ahead."""
        owed = self.state.owed - self.state.due_principal
        self._set(owed=owed, due_penalty=0, due_fee=0, due_interest=0, due_principal=0)

    # Interest

    @property
    def _accrued_unpaid(self) -> int:
        return self.accrued + self.state.deferred - self.state.taken

    def _exact_interest(self) -> tuple[int, int]:
        """Return the running period's exact interest up to today, with what is carried to it."""
        if self.state.number > self.terms.instalments:
            return 0, 1
        numerator, denominator = self.terms.interest(self.state.number, self.state.balance_days)
        return numerator + self.state.carried * denominator, denominator

    def _accrue(self, day: Day) -> None:
        days = day - self.state.day
        runs = self.state.number <= self.terms.instalments
        self._set(day=day, balance_days=self.state.balance_days + self.state.owed * days if runs else 0)

    def _period_end(self, row: Instalment) -> _PeriodEnd:
        """Return what becomes of the running period's interest when its instalment falls due.

        It moves on to the next period where money ahead closed the instalment, or left too little room in it.
        """
        accrued, deferred = self.accrued, self.state.deferred
        unpaid = accrued - self.state.taken
        if row.number <= self.terms.interest_grace:
            return _PeriodEnd(own=accrued, deferred=deferred + unpaid)
        if row.closed or self._has_no_room(row, row.interest_paid + unpaid):
            numerator, denominator = self._exact_interest()
            rest = numerator // denominator - self.state.taken  # whole motes: under half a minor unit never becomes one
            return _PeriodEnd(own=row.interest_paid, carried=max(0, rest), deferred=deferred)
        return _PeriodEnd(own=row.interest_paid + unpaid, billed=unpaid + deferred)

    def _has_no_room(self, row: Instalment, interest: int) -> bool:
        """Return whether money ahead, and not the plan by itself, is why the interest does not fit into an instalment."""
        ahead = row.principal_paid - row.extra
        annuity = self.terms.amortization is Amortization.EQUAL_INSTALMENTS
        return annuity and interest <= self.state.planned < ahead + interest and not self._is_final(row.number)

    # Principal

    def _principal_of(self, row: Instalment, own_interest: int, unbilled: int, *, is_final: bool) -> int:
        """Return the principal of an instalment given the interest of its own period; the final one takes all there is."""
        ahead = row.principal_paid - row.extra
        everything = unbilled + ahead
        if is_final:
            return everything + row.extra
        plan = int(self.state.planned)
        if row.number <= self.terms.principal_grace:
            plan = 0
        elif self.terms.amortization is Amortization.EQUAL_INSTALMENTS:
            plan -= own_interest
        return min(max(plan, ahead), everything) + row.extra

    def _is_final(self, number: int) -> bool:
        """Return whether all instalments after this one are paid ahead, or there are none.

        A last one that is larger than the plan is not paid by as much as the plan has of it.
        """
        if number == self.terms.instalments:
            return True
        pool, fits = self.state.pool, self.state.unbilled < 2 * self.state.planned
        return number > self.terms.principal_grace and fits and pool > 0 and pool >= self._plan_behind(number)

    def _pool_share(self, number: int) -> int:
        """Return what was paid ahead on this instalment: what the pool has beyond the plan of those after it."""
        if number <= self.terms.principal_grace:
            return 0
        return max(0, self.state.pool - self._plan_behind(number))

    def _plan_behind(self, number: int) -> int:
        """Return how much of the pool the instalments after this one take; without a plan the last takes it all."""
        return (self.state.planned or self.state.pool) * (self.terms.instalments - number)

    # Payments

    def _pay_due(self, left: int) -> int:
        """Pay what fell due, oldest instalment first. Returns what is left."""
        state, due, number = self.state, self.state.due, self.state.oldest_open
        if not left or not due:
            return left
        paid = dict.fromkeys(PARTS, 0)
        while left and due:
            row = self.instalment(number)
            changes: dict[str, Any] = {}
            for part, paid_part in zip(PARTS, PAID_PARTS, strict=True):
                before = getattr(row, paid_part)
                if some := min(left, getattr(row, part) - before):
                    left, due, paid[part] = left - some, due - some, paid[part] + some
                    changes[paid_part] = before + some
            if changes:
                self.book[number] = row = replace(row, **changes)
            if left or not row.outstanding:
                number += 1
        dues = {f"due_{part}": getattr(state, f"due_{part}") - some for part, some in paid.items()}
        self._set(owed=state.owed - paid["principal"], oldest_open=number, **dues)
        return left

    def _pay_ahead(self, left: int) -> tuple[int, int]:
        """Pay with money beyond all that is due; returns (interest, principal)."""
        if left >= self._accrued_unpaid + self.state.owed:
            return self._pay_off()
        beyond_principal = max(0, left - self.state.owed)  # what interest must take, that principal is not overpaid
        match self.terms.early_payment:
            case EarlyPayment.NEXT_INSTALMENT:
                in_grace = self._open_ahead().number <= self.terms.interest_grace
                payable = 0 if in_grace else self.accrued - self.state.taken
                interest = self._pay_accrued(max(beyond_principal, min(left, payable)))
                self._pay_next(left - interest)
            case EarlyPayment.LAST_INSTALMENT:
                interest = self._pay_accrued(beyond_principal)
                self._set(pool=self.state.pool + left - interest)
                self._repay(left - interest)
            case EarlyPayment.REAMORTISE:
                interest = self._pay_accrued(beyond_principal)
                self._pay_extra(left - interest)
        return interest, left - interest

    def _pay_off(self) -> tuple[int, int]:
        """Close the running period's instalment with all that is owed."""
        interest, principal = self._accrued_unpaid, int(self.state.owed)
        if interest or principal:
            row = self.instalment(self.state.number)
            all_interest, all_principal = Motes(row.interest_paid + interest), Motes(row.principal_paid + principal)
            self.book[row.number] = replace(
                row,
                closed=True,
                interest=all_interest,
                interest_paid=all_interest,
                principal=all_principal,
                principal_paid=all_principal,
            )
            self._set(taken=self.accrued, deferred=0)
            self._repay(principal)
        return interest, principal

    def _open_ahead(self) -> Instalment:
        """Return the first instalment, from the running period's on, that is not closed by money ahead."""
        row = self.instalment(self.state.number)
        if row.closed:
            row = self.instalment(max(self.state.number, self.state.next_early))
        return self.instalment(row.number + 1) if row.closed else row

    def _pay_accrued(self, amount: int) -> int:
        """Pay interest of the running period as part of the next open instalment. Returns the amount."""
        if amount:
            row = self._open_ahead()
            self.book[row.number] = replace(row, interest_paid=Motes(row.interest_paid + amount))
            of_period = min(amount, self.accrued - self.state.taken)
            self._set(taken=self.state.taken + of_period, deferred=self.state.deferred - (amount - of_period))
        return amount

    def _pay_next(self, left: int) -> None:
        """Repay principal of the next instalments, each up to its plan; one that is full is closed."""
        state, repaid, next_early = self.state, 0, self.state.next_early
        number = max(next_early, state.number)
        while left:
            row = self.instalment(number)
            is_final = number == self.terms.instalments
            unpaid = self.accrued - state.taken if number == state.number else 0
            goal = self._principal_of(row, row.interest_paid + unpaid, state.unbilled - repaid, is_final=is_final)
            paid = min(left, goal - row.principal_paid)
            left, repaid = left - paid, repaid + paid
            changes: dict[str, Any] = {"principal_paid": Motes(row.principal_paid + paid)}
            if changes["principal_paid"] == goal and goal and not is_final:
                changes |= {"closed": True, "principal": Motes(goal), "interest": row.interest_paid}
            if paid:
                self.book[number] = replace(row, **changes)
            if left:
                number = next_early = number + 1
        self._set(owed=state.owed - repaid, unbilled=state.unbilled - repaid, next_early=next_early)

    def _pay_extra(self, amount: int) -> None:
        """Repay principal on top of the plan, and plan the rest anew."""
        row = self.instalment(self.state.number)
        self.book[row.number] = replace(row, principal_paid=Motes(row.principal_paid + amount), extra=Motes(row.extra + amount))
        self._repay(amount)
        count = self.terms.instalments - max(self.state.number - 1, self.terms.principal_grace)
        # Never more than before: arrears, a multiple rounded down or long months would raise it, and anybody may pay ahead.
        self._set(planned=min(self.state.planned, self.terms.instalment(self.state.unbilled, count)))

    def _repay(self, amount: int) -> None:
        self._set(owed=self.state.owed - amount, unbilled=self.state.unbilled - amount)

    # Charges

    def _charge_late_fees(self) -> None:
        """Charge the late fee once on each instalment that is unpaid when its grace days are over."""
        number = self.state.next_late
        while number < self.state.number and self.terms.due_on(number) + self.terms.grace_days < self.state.day:
            if self.terms.late_fee and self.is_late(self.instalment(number)):
                self._charge(number, "penalty", self.terms.late_fee)
            number += 1
        if number != self.state.next_late:
            self._set(next_late=number)

    def _charge(self, number: int, part: str, amount: int) -> None:
        invariant(0 < number < self.state.number, "only what has fallen due can be charged")
        row = self.instalment(number)
        changes: dict[str, Any] = {part: getattr(row, part) + amount}
        self.book[number] = replace(row, **changes)
        self._set(
            oldest_open=min(number, self.state.oldest_open),
            **{f"due_{part}": getattr(self.state, f"due_{part}") + amount},
        )

    def _set(self, **changes: Any) -> None:
        self.state = replace(self.state, **changes)

"""Loans over random terms and payments: laws every account obeys, and a second computation, day by day, in fractions."""

import dataclasses
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.types import Motes
from vm.abi_types import type_spec
from vm.calendar import BusinessDays, Day
from vm.loan.account import Account
from vm.loan.schedule import Payment, quote, replay, schedule
from vm.loan.state import LoanState
from vm.loan.terms import CENT, PRINCIPAL_MAX, Amortization, DayCount, EarlyPayment, Terms, annuity

EPOCH = date(1970, 1, 1)


@st.composite
def all_terms(draw: st.DrawFn, *, most: int = 60) -> Terms:
    """Terms of any kind, from a cent to all the DATR there is."""
    unit = draw(st.sampled_from([1, 1, CENT, CENT, CENT, 10**8]))
    principal = draw(st.one_of(st.integers(1, 10**6), st.integers(1, PRINCIPAL_MAX // unit))) * unit
    count = draw(st.integers(1, most))
    return Terms(
        principal=Motes(min(principal, PRINCIPAL_MAX)),
        annual_rate=draw(st.one_of(st.sampled_from([0, 1, 7_000, 12_000]), st.integers(0, 100_000), st.integers(0, 10**6))),
        instalments=count,
        disbursed_on=draw(st.integers(0, 30_000)),
        day_count=draw(st.sampled_from(DayCount)),
        amortization=draw(st.sampled_from(Amortization)),
        principal_grace=draw(st.one_of(st.just(0), st.integers(0, count - 1))),
        interest_grace=draw(st.one_of(st.just(0), st.integers(0, count - 1))),
        minor_unit=Motes(unit),
        instalment_multiple_of=Motes(draw(st.sampled_from([0, 0, unit, 100 * unit]))),
        due_day=draw(st.sampled_from([0, 0, 1, 15, 31])),
        business_days=draw(st.sampled_from([BusinessDays.SAME, BusinessDays.NEXT])),
        early_payment=draw(st.sampled_from(EarlyPayment)),
        late_fee=Motes(draw(st.sampled_from([0, 1, 5 * unit]))),
        grace_days=draw(st.integers(0, 40)),
    )


@st.composite
def histories(draw: st.DrawFn) -> tuple[Terms, list[Payment], Day]:
    """Terms, payments of any size in the order of their days, and a day from which to look."""
    terms = draw(all_terms(most=12))
    day, payments = terms.disbursed_on, []
    for _ in range(draw(st.integers(0, 6))):
        day += draw(st.integers(0, 70))
        share = draw(st.fractions(0, Fraction(5, 4), max_denominator=40))
        payments.append(Payment(Day(day), int(terms.principal * share / draw(st.sampled_from([1, 1, terms.instalments])))))
    return terms, payments, Day(day + draw(st.integers(0, 100)))


def rounded(exact: Fraction, unit: int) -> int:
    """Half up, by decimals."""
    with localcontext(prec=120):
        units = (Decimal(exact.numerator) / Decimal(exact.denominator) / unit).quantize(Decimal(1), ROUND_HALF_UP)
    return int(units) * unit


def months_after(start: date, months: int) -> date:
    """The same day of a later month, or its last."""
    first = date(start.year + (start.month - 1 + months) // 12, (start.month - 1 + months) % 12 + 1, 1)
    last = (first + timedelta(days=31)).replace(day=1) - timedelta(days=1)
    return min(first + timedelta(days=start.day - 1), last)


@dataclasses.dataclass
class Plain:
    """A loan without graces or money ahead, kept a day at a time: interest is added every day, and split where it falls due."""

    terms: Terms
    paid: dict[date, int]

    def parts(self, seen: date) -> list[tuple[int, int]]:
        """Principal and interest of each instalment, seen from a day."""
        terms, count, unit = self.terms, self.terms.instalments, self.terms.minor_unit
        start = EPOCH + timedelta(days=terms.disbursed_on)
        owed, left, dues, parts = int(terms.principal), int(terms.principal), list[list[int]](), list[tuple[int, int]]()
        for number in range(1, count + 1):
            begins, ends = months_after(start, number - 1), months_after(start, number)
            exact = Fraction(0)
            for offset in range((ends - begins).days):
                today = begins + timedelta(days=offset)
                money = self.paid.get(today, 0) if today < seen else sum(map(sum, dues))
                for due in dues:
                    interest = min(money, due[0])
                    principal = min(money - interest, due[1])
                    money, owed = money - interest - principal, owed - principal
                    due[:] = due[0] - interest, due[1] - principal
                exact += owed * self.day_rate((ends - begins).days)
            interest = rounded(exact, unit)
            principal = left if number == count else self.principal(interest, left)
            left -= principal
            dues.append([interest, principal])
            parts.append((principal, interest))
        return parts

    def day_rate(self, days: int) -> Fraction:
        """A day's interest on one mote."""
        rate = Fraction(self.terms.annual_rate, 100_000)
        return {"30/360": rate / 12 / days, "ACT/365": rate / 365, "ACT/360": rate / 360}[self.terms.day_count]

    def principal(self, interest: int, left: int) -> int:
        """Principal of an instalment that is not the last."""
        terms = self.terms
        if terms.amortization is Amortization.EQUAL_PRINCIPAL:
            return min(left, rounded(Fraction(terms.principal, terms.instalments), terms.minor_unit))
        with localcontext(prec=120):
            monthly = Decimal(terms.annual_rate) / 1_200_000
            exact = terms.principal / Decimal(terms.instalments)
            if monthly:
                exact = terms.principal * monthly / (1 - (1 + monthly) ** -terms.instalments)
        whole = rounded(Fraction(exact), terms.minor_unit)
        if terms.instalment_multiple_of:
            whole = rounded(Fraction(whole), terms.instalment_multiple_of)
        return min(left, max(0, whole - interest))


def plain(terms: Terms) -> Terms:
    """The same terms without what `Plain` does not know."""
    return dataclasses.replace(
        terms, principal_grace=0, interest_grace=0, due_day=0, business_days=BusinessDays.SAME, late_fee=Motes(0)
    )


@given(all_terms(most=24))
@settings(max_examples=60)
def test_a_schedule_is_the_one_a_second_computation_makes(terms: Terms) -> None:
    terms = plain(terms)
    found = quote(terms, [], Day(terms.disbursed_on))
    expected = Plain(terms, {}).parts(EPOCH + timedelta(days=terms.disbursed_on))
    assert [(row.instalment.principal, row.instalment.interest) for row in found.rows] == expected


@given(all_terms(most=8), st.lists(st.tuples(st.integers(0, 60), st.fractions(0, 1, max_denominator=9)), max_size=5), st.data())
@settings(max_examples=80)
def test_overdue_interest_is_the_one_a_second_computation_makes(
    terms: Terms, steps: list[tuple[int, Fraction]], data: st.DataObject
) -> None:
    """Each payment is a part of what is due on its day: nothing is paid ahead."""
    terms = plain(terms)
    account, paid = Account.opened(terms, {}), dict[date, int]()
    for days, share in steps:
        account.advance(Day(account.state.day + days))
        amount = int(account.state.due * share)
        account.pay(Day(account.state.day), amount)
        today = EPOCH + timedelta(days=account.state.day)
        paid[today] = paid.get(today, 0) + amount
    account.advance(Day(account.state.day + data.draw(st.integers(1, 90))))
    expected = Plain(terms, paid).parts(EPOCH + timedelta(days=account.state.day))
    found = schedule(account)
    assert [(row.instalment.principal, row.instalment.interest) for row in found.rows] == expected


@given(st.integers(1, PRINCIPAL_MAX), st.integers(0, 10**6), st.integers(1, 480))
@settings(max_examples=60)
def test_the_annuity_discounts_to_the_principal(principal: int, annual_rate: int, count: int) -> None:
    exact = Fraction(*annuity(principal, annual_rate, count))
    growth = 1 + Fraction(annual_rate, 1_200_000)
    worth = Fraction(0)
    for _ in range(min(count, 24)):
        worth = (worth + exact) / growth
    if count <= 24:
        assert worth == principal
    else:
        assert worth < principal <= exact * count


@given(all_terms())
@settings(max_examples=60)
def test_a_contractual_schedule_is_sound(terms: Terms) -> None:
    """It repays exactly the principal, never less than nothing, on ever later days, in whole units."""
    rows = quote(terms, [], Day(terms.disbursed_on)).rows
    instalments = [row.instalment for row in rows]
    assert sum(each.principal for each in instalments) == terms.principal
    assert [row.balance for row in rows] == sorted((row.balance for row in rows), reverse=True)
    assert rows[-1].balance == 0
    assert all(each.principal >= 0 and each.interest >= 0 for each in instalments)
    assert all(each.principal % terms.minor_unit == each.interest % terms.minor_unit == 0 for each in instalments)
    days = [terms.disbursed_on, *(each.due_day for each in instalments)]
    assert all(later > earlier for earlier, later in pairwise(days))
    assert not any(each.principal for each in instalments[: terms.principal_grace])
    assert not any(each.interest for each in instalments[: terms.interest_grace])


@given(all_terms(most=36))
@settings(max_examples=50)
def test_paying_the_schedule_on_time_closes_the_loan(terms: Terms) -> None:
    instalments = [row.instalment for row in quote(terms, [], Day(terms.disbursed_on)).rows]
    account = Account.opened(terms, {})
    for each in instalments:
        assert account.pay(Day(each.due_day), each.due).returned == 0
        assert account.state.due == 0
    assert account.is_closed
    account.advance(Day(account.state.day + 500))
    assert account.payoff == 0
    assert [row.instalment.due for row in schedule(account).rows] == [each.due for each in instalments]


@given(histories())
@settings(max_examples=150)
def test_money_is_never_made_or_lost(history: tuple[Terms, list[Payment], Day]) -> None:
    """Principal paid and owed are what was lent; every mote of a payment goes somewhere; the account agrees with its book."""
    terms, payments, day = history
    account = Account.opened(terms, {})
    principal = 0
    for payment in payments:
        part = account.pay(payment.day, payment.amount)
        assert part.penalty + part.fee + part.interest + part.principal + part.returned == payment.amount
        assert not part.returned or account.is_closed
        principal += part.principal
        assert principal + account.state.owed == terms.principal
        assert account.state.owed == account.state.due_principal + account.state.unbilled
    account.advance(day)
    fallen = [account.instalment(number) for number in range(1, account.state.number)]
    assert sum(each.outstanding for each in fallen) == account.state.due
    assert all(each.principal_paid <= each.principal and each.interest_paid <= each.interest for each in fallen)
    assert sum(each.penalty > 0 for each in fallen) == sum(each.penalty == terms.late_fee > 0 for each in fallen)
    spec = type_spec(LoanState)
    assert spec.decode(spec.encode(account.state)) == account.state


@given(histories())
@settings(max_examples=150)
def test_every_view_adds_up_and_the_payoff_closes(history: tuple[Terms, list[Payment], Day]) -> None:
    terms, payments, day = history
    account, returned = replay(terms, payments, day)
    found = schedule(account)
    assert sum(row.instalment.principal for row in found.rows) == terms.principal
    assert all(row.balance >= 0 and row.instalment.outstanding >= 0 for row in found.rows)
    assert sum(row.instalment.paid for row in found.rows) == sum(payment.amount for payment in payments) - returned
    assert found.payoff <= sum(row.instalment.outstanding for row in found.rows) + terms.minor_unit * terms.instalments
    assert account.pay(day, found.payoff).returned == 0
    assert account.is_closed
    later = replay(terms, [*payments, Payment(day, found.payoff)], Day(day + 1_000))[0]
    assert later.is_closed
    assert sum(row.instalment.outstanding for row in schedule(later).rows) == 0


@given(histories(), st.integers(1, 40))
@settings(max_examples=60)
def test_looking_often_changes_nothing(history: tuple[Terms, list[Payment], Day], step: int) -> None:
    terms, payments, day = history
    often = Account.opened(terms, {})
    for payment in [*payments, Payment(day, 0)]:
        while often.state.day + step < payment.day:
            often.advance(Day(often.state.day + step))
        often.pay(payment.day, payment.amount)
    assert often.state == replay(terms, payments, day)[0].state

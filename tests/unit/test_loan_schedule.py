"""Loan schedules: to the cent those of Apache Fineract and others who published theirs, terms that are refused, the calendar."""

import dataclasses

import pytest

from ledger.types import Motes
from tests.loan_cases import Excerpt, Vector, excerpts, loan, motes, payment, vectors
from tests.loan_chain import LoanChain
from vm.abi_types import type_spec
from vm.calendar import BusinessDays, Day, day_text, parse_day
from vm.contracts.loan import Loan
from vm.loan.schedule import quote
from vm.loan.terms import PRINCIPAL_MAX, BadTermsError, Terms

FIRST_PAGE = 60  # instalments


def parts(terms: Terms, seen: str) -> list[tuple[str, int, int]]:
    """Due date, principal and interest of each instalment."""
    rows = [row.instalment for row in quote(terms, [], parse_day(seen)).rows]
    return [(day_text(Day(row.due_day)), row.principal, row.interest) for row in rows]


@pytest.mark.parametrize("vector", list(vectors()), ids=lambda vector: vector.name)
def test_fineract(vector: Vector) -> None:
    found = quote(vector.terms, vector.payments, vector.day)
    shown = [
        (
            day_text(Day(row.instalment.due_day)) if date else "",
            row.instalment.principal,
            row.instalment.interest,
            row.instalment.paid,
        )
        for row, (date, *_) in zip(found.rows, vector.rows, strict=True)
    ]
    assert shown == [(date, *map(motes, amounts)) for date, *amounts in vector.rows]


def test_the_vectors_are_all_there() -> None:
    """A file that is cut short or misread would test nothing."""
    assert sum(len(vector.rows) for vector in vectors()) == 298
    assert sum(len(excerpt.figures) for excerpt in excerpts()) == 121


@pytest.mark.parametrize("excerpt", list(excerpts()), ids=lambda excerpt: excerpt.name)
def test_published(excerpt: Excerpt) -> None:
    rows = quote(excerpt.terms, excerpt.payments, excerpt.day).rows
    assert excerpt.shown(rows) == excerpt.figures


@pytest.mark.parametrize("excerpt", list(excerpts()), ids=lambda excerpt: excerpt.name)
def test_published_by_a_running_loan(excerpt: Excerpt) -> None:
    """Nothing is collected, and what was paid is paid. A query has the gas for the first instalments of a long loan."""
    chain, loan_id = LoanChain.lived(excerpt.terms, excerpt.payments)
    rows = chain.query(Loan.schedule, loan_id, 1, FIRST_PAGE)
    assert len(rows) == min(excerpt.terms.instalments, FIRST_PAGE)
    assert excerpt.shown(rows) == excerpt.within(rows) != []


@pytest.mark.parametrize("paid", ["862", "200"])
def test_interest_of_a_period_is_rounded_once(paid: str) -> None:
    """Late by four days: 6.5753 on 5,000 and 37.1696 on 4,187.32. Fineract's C2558 and C2561 round each of the two, to 43.75."""
    terms = loan("5000", "12", 6, "2022-11-01", multiple="2", day_count="ACT/365")
    rows = quote(terms, [payment("2022-12-05", paid)], parse_day("2022-12-05")).rows
    assert [row.instalment.interest for row in rows] == list(map(motes, ("49.32", "43.74", "34.34", "23.39", "17.35", "8.46")))


def test_the_total_interest_of_a_rounded_annuity() -> None:
    rows = quote(loan("5000", "12", 18, "2022-11-01", multiple="1"), [], parse_day("2022-11-01")).rows
    assert [row.instalment.due for row in rows] == [motes("305")] * 17 + [motes("303.22")]
    assert sum(row.instalment.interest for row in rows) == motes("488.22")
    assert [row.balance for row in rows[-2:]] == [motes("300.22"), 0]


@pytest.mark.parametrize(
    ("payments", "day", "payoff"),
    [
        ([], "2024-01-01", "100"),
        ([("2024-02-01", "17.01")], "2024-02-15", "83.81"),  # monthly interest x 14/29
        ([("2024-02-01", "17.01")], "2024-02-01", "83.57"),
        ([], "2024-02-15", "100.86"),  # 0.58, and 100 x 14/29 of a month
        ([("2024-01-15", "17.01")], "2024-01-20", "83.33"),  # Fineract's C3258: 83.25 and five days of it
    ],
)
def test_payoff_is_principal_and_interest_so_far(payments: list[tuple[str, str]], day: str, payoff: str) -> None:
    assert quote(loan(), [payment(*each) for each in payments], parse_day(day)).payoff == motes(payoff)


def test_actual_days_over_360() -> None:
    """10,000 at 3.6 % is a mark a day: 31, 29 and 31 days of what is left."""
    found = parts(loan("10000", "3.6", 3, amortization="equal_principal", day_count="ACT/360"), "2024-01-01")
    third = motes("3333.33")
    assert found == [
        ("2024-02-01", third, motes("31")),
        ("2024-03-01", third, motes("19.33")),
        ("2024-04-01", motes("3333.34"), motes("10.33")),
    ]


def test_due_days_keep_the_day_of_the_start() -> None:
    dates = [date for date, _, _ in parts(loan(start="2024-01-31", instalments=4), "2024-01-31")]
    assert dates == ["2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]


def test_due_days_move_off_weekends_and_interest_runs_to_them() -> None:
    """1 June 2024 is a Saturday: 33 days from 1 May, then 28 to Monday, 1 July; what 30/360 owes for a month does not change."""
    terms = loan("36500", "1", 3, "2024-05-01", amortization="equal_principal", day_count="ACT/365")
    moved = dataclasses.replace(terms, business_days=BusinessDays.NEXT)
    assert [date for date, _, _ in parts(moved, "2024-05-01")] == ["2024-06-03", "2024-07-01", "2024-08-01"]
    assert [interest for _, _, interest in parts(terms, "2024-05-01")][:2] == [motes("31"), motes("20")]
    assert [interest for _, _, interest in parts(moved, "2024-05-01")][:2] == [motes("33"), motes("18.67")]
    monthly = loan(start="2024-05-01")
    assert [each[1:] for each in parts(monthly, "2024-05-01")] == [
        each[1:] for each in parts(dataclasses.replace(monthly, business_days=BusinessDays.PREVIOUS), "2024-05-01")
    ]


def test_a_first_period_to_another_day_of_the_month_counts_its_days_of_30() -> None:
    """16 January to 1 February is 15 days of 30/360, half a month; the later periods are whole months."""
    found = parts(loan("1200", "12", 3, "2024-01-16", due_day=1, amortization="equal_principal"), "2024-01-16")
    assert found == [
        ("2024-02-01", motes("400"), motes("6")),
        ("2024-03-01", motes("400"), motes("8")),
        ("2024-04-01", motes("400"), motes("4")),
    ]


def test_without_interest_the_principal_is_shared_out() -> None:
    found = parts(loan("100", "0", 3), "2024-01-01")
    assert [principal for _, principal, _ in found] == [motes("33.33"), motes("33.33"), motes("33.34")]
    assert not any(interest for _, _, interest in found)


def test_the_multiple_rounds_the_annuity_to_the_nearest() -> None:
    assert loan("5000", "12", 18, multiple="1").instalment(motes("5000"), 18) == motes("305")
    assert loan("5000", "12", 18, multiple="10").instalment(motes("5000"), 18) == motes("300")
    assert loan("5000", "12", 18, multiple="10", amortization="equal_principal").instalment(motes("5000"), 18) == motes("277.78")


def test_a_multiple_above_the_principal_ends_the_loan_at_once() -> None:
    found = parts(loan(multiple="100"), "2024-01-01")
    assert [principal for _, principal, _ in found] == [0, 0, 0, 0, 0, motes("100")]
    found = parts(loan(multiple="30"), "2024-01-01")
    assert [principal for _, principal, _ in found][:5] == [motes("29.42"), motes("29.59"), motes("29.76"), motes("11.23"), 0]


def test_the_finest_unit_is_the_mote() -> None:
    rows = quote(loan(minor_unit=Motes(1)), [], parse_day("2024-01-01")).rows
    assert rows[0].instalment.due == 1_700_859_373  # 17.00859373...
    assert rows[-1].balance == 0


@pytest.mark.parametrize(
    ("change", "field"),
    [
        ({"principal": 0}, "principal"),
        ({"principal": PRINCIPAL_MAX + 10**6}, "principal"),
        ({"principal": 10**6 + 1}, "principal"),
        ({"principal": PRINCIPAL_MAX, "annual_rate": 1_000_000, "instalments": 480}, "principal"),
        ({"late_fee": PRINCIPAL_MAX, "instalments": 480}, "principal"),
        ({"fee_limit": PRINCIPAL_MAX, "instalments": 480}, "principal"),
        ({"annual_rate": -1}, "annual_rate"),
        ({"annual_rate": 1_000_001}, "annual_rate"),
        ({"instalments": 0}, "instalments"),
        ({"instalments": 481}, "instalments"),
        ({"disbursed_on": -1}, "disbursed_on"),
        ({"disbursed_on": 3_000_000}, "disbursed_on"),
        ({"principal_grace": 6}, "principal_grace"),
        ({"interest_grace": 6}, "interest_grace"),
        ({"minor_unit": 0}, "minor_unit"),
        ({"instalment_multiple_of": 1}, "instalment_multiple_of"),
        ({"due_day": 32}, "due_day"),
        ({"utc_offset_minutes": 900}, "utc_offset_minutes"),
        ({"late_fee": -1}, "late_fee"),
        ({"grace_days": 367}, "grace_days"),
        ({"retry_days": (3, 3)}, "retry_days"),
        ({"retry_days": (0, 3)}, "retry_days"),
        ({"retry_days": tuple(range(1, 33))}, "retry_days"),
        ({"retry_days": (1, 367)}, "retry_days"),
        ({"default_days": 367}, "default_days"),
        ({"fee_limit": -1}, "fee_limit"),
        ({"disbursed_on": parse_day("2026-01-31"), "due_day": 1, "business_days": BusinessDays.PREVIOUS}, "due_day"),
    ],
)
def test_terms_no_loan_can_have_are_refused(change: dict[str, object], field: str) -> None:
    with pytest.raises(BadTermsError) as caught:
        dataclasses.replace(loan(), **change)  # type: ignore[arg-type]
    assert caught.value.reason == "bad_terms"
    assert caught.value.details == {"field": field}
    assert caught.value.message.startswith(field)


def test_terms_can_be_stored_by_a_contract() -> None:
    spec = type_spec(Terms)
    terms = dataclasses.replace(loan(multiple="1", grace_days=3), retry_days=(1, 3, 7))
    assert spec.decode(spec.encode(terms)) == terms
    assert all(spec.docs)

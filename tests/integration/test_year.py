"""Two months of `python -m tests.year`: loans and standing orders collect themselves on four real nodes, day by day."""

from datetime import date
from pathlib import Path

import pytest

from tests.seeds import fresh
from tests.year.bills import MINOR, LoanBill, LoanPlan, OrderBill, OrderPlan, Purse
from tests.year.days import DAY_MS, midnight_ms
from tests.year.plan import make_plan
from tests.year.run import run_year

LOANS, ORDERS, DAYS = 20, 20, 62
DATR = 100 * MINOR


def hundred(*, rate: int = 7_000, late_fee: int = 0, retry_days: tuple[int, ...] = ()) -> LoanPlan:
    """100.00 at 7 % over 6 months, 30/360: a schedule of Apache Fineract's acceptance tests."""
    return LoanPlan(100 * DATR, rate, 6, "30/360", False, late_fee, 3, retry_days, 0)


def new_year(day: int = 1, month: int = 1, year: int = 2024) -> int:
    return midnight_ms(date(year, month, day), 0)


def test_bills_of_a_loan_are_those_that_others_published() -> None:
    """The year is judged by these bills, so they are judged by somebody else's figures."""
    purse = Purse()
    purse.free = 1_000 * DATR
    steps = list(LoanBill("a", purse, hundred(), new_year()).run_to(new_year(year=2025)))
    assert [step[2] for step in steps if step[1] == "paid"] == [1_701 * MINOR] * 5 + [1_700 * MINOR]
    assert [step[4] for step in steps if step[1] == "due"] == [cents * MINOR for cents in (58, 49, 39, 29, 20, 10)]
    assert steps[-1] == ("a", "closed")


def test_bills_of_a_borrower_who_is_short_for_a_while() -> None:
    purse, plan = Purse(), hundred(rate=0, late_fee=DATR, retry_days=(1, 9))
    bill, instalment, fee = LoanBill("a", purse, plan, new_year()), 1_667 * MINOR, DATR
    purse.free = 10 * DATR
    steps = list(bill.run_to(new_year(day=5, month=2)))
    assert [step[1:] for step in steps] == [
        ("due", 1, instalment, 0),
        ("paid", 10 * DATR),
        ("short", instalment - 10 * DATR),
        ("short", instalment - 10 * DATR),
        ("late", 1, fee),
    ]
    purse.free = 50 * DATR
    assert [step[1:] for step in bill.run_to(new_year(day=10, month=2))] == [("paid", instalment - 10 * DATR + fee)]


def test_bills_of_an_order_that_is_tried_again_and_then_lapses() -> None:
    plan = OrderPlan(5 * DATR, 0, "month", 31, 0, 0, 2, (2,), partial=False, carry=False)
    purse = Purse()
    bill = OrderBill("o", purse, plan, new_year(day=2))
    purse.free = 6 * DATR
    assert [step[1:] for step in bill.run_to(new_year(day=1, month=2))] == [("due", 1, 5 * DATR), ("paid", 5 * DATR)]
    february = new_year(day=29, month=2)
    assert [step[1:] for step in bill.run_to(february)] == [("due", 2, 5 * DATR), ("short", 5 * DATR)]
    assert [step[1:] for step in bill.run_to(february + 2 * DAY_MS)] == [
        ("short", 5 * DATR),
        ("lapsed", 5 * DATR),
        ("ended", 0),
    ]
    assert (bill.received, purse.free) == (5 * DATR, DATR)


@pytest.mark.cluster
def test_two_months_of_loans_and_standing_orders(tmp_path: Path) -> None:
    """Every step of every day, all balances at the end, no block over its limits: `run_year` compares them with the bills."""
    said: list[str] = []
    report = run_year(tmp_path, make_plan(fresh("year"), LOANS, ORDERS, DAYS), DAYS, said.append, transfers=3)
    assert (report.loans, report.orders, len(said)) == (LOANS, ORDERS, DAYS + 1)
    assert report.collected > LOANS + ORDERS // 2, "next to nothing was collected: the run proves nothing"
    assert report.view_changes <= 1, "no day makes a primary look slow (a busy machine may)"

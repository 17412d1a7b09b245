"""Money paid ahead never makes the agreed instalments larger or earlier: anybody may pay, the lender to himself at no cost."""

from dataclasses import replace
from typing import Any

import pytest

from ledger.types import Motes
from tests.loan_cases import loan, motes
from tests.loan_chain import LoanChain, names
from vm.calendar import BusinessDays, Day, day_text
from vm.context import Machine
from vm.contracts.loan import NAME, Loan
from vm.contracts.loan_types import LoanStatus
from vm.loan.terms import Terms


def late_fees(terms: Terms, has: str, paid: dict[str, Motes]) -> list[str]:
    """The months in which a borrower with so much on each due day is charged, where the lender pays himself on these days."""
    chain = LoanChain()
    loan_id, charged = chain.lend(terms), list[str]()
    for month in (f"2024-{number:02}" for number in range(2, 13)):
        chain.drain(has)
        if f"{month}-01" in paid:
            chain.do(chain.lender, Loan.pay, loan_id, paid[f"{month}-01"])
        if "LateFeeCharged" in names(chain.until(f"{month}-20")):
            charged.append(month)
        if f"{month}-20" in paid:
            chain.do(chain.lender, Loan.pay, loan_id, paid[f"{month}-20"])
    return charged


@pytest.mark.parametrize(
    ("terms", "has", "paid"),
    [
        (loan("1000", "12", 12, early="reamortise", multiple="60"), "60", {"2024-06-20": Motes(1)}),
        (loan("1000", "12", 12, early="last_instalment", multiple="60"), "60", {"2024-10-20": motes("60")}),
        (loan("1000", "12", 12, early="last_instalment", multiple="400"), "10", {"2024-05-20": Motes(1)}),
        (loan("100000", "12", 480, day_count="ACT/360"), "1033.34", {"2024-02-01": Motes(1)}),
    ],
    ids=["reamortised", "balloon", "balloon of all", "long months"],
)
def test_who_has_what_was_agreed_is_never_late(terms: Terms, has: str, paid: dict[str, Motes]) -> None:
    terms = replace(terms, late_fee=motes("25"), grace_days=5)
    expected = late_fees(terms, has, {})
    assert expected in ([], ["2024-12"], ["2024-11", "2024-12"]), "but for a balloon at the end"
    assert late_fees(terms, has, paid) == expected


def test_cured_arrears_do_not_raise_what_is_planned() -> None:
    chain = LoanChain()
    loan_id = chain.lend(replace(loan("1000", "24", 12, early="reamortise"), late_fee=motes("25"), grace_days=5))
    chain.drain()
    chain.until("2024-04-15")
    chain.drain("900")
    chain.until("2024-05-02")
    chain.do(chain.anybody, Loan.pay, loan_id, Motes(1))
    for month in range(6, 13):
        chain.drain("94.56")
        assert "LateFeeCharged" not in names(chain.until(f"2024-{month:02}-20"))


def test_a_collection_that_is_lost_and_would_close_the_loan_comes_with_the_next_payment() -> None:
    """A defect took the call out of the calendar; whoever pays next has it made, and is asked for nothing."""
    chain = LoanChain()
    loan_id = chain.lend(loan("100", "7", 1))
    machine = Machine(chain.registry, chain.state, chain.context)
    contract: Any = machine.instance(chain.registry.entry(NAME))
    machine.calendar().cancel(NAME, contract.standings[loan_id].entry_id)
    chain.state.apply(machine.storage.overlay.changes)
    chain.until("2024-03-10")
    before = chain.balance(chain.anybody).free
    chain.do(chain.anybody, Loan.pay_off, loan_id, Motes(1))
    assert chain.loan(loan_id).status is LoanStatus.CLOSED
    assert chain.balance(chain.anybody).free == before


def test_a_monthly_attempt_is_not_passed_over_where_a_weekend_moves_it_into_the_next_month() -> None:
    chain = LoanChain("2024-01-31")
    loan_id = chain.lend(replace(loan("100", "7", 1, "2024-01-31"), business_days=BusinessDays.NEXT))
    chain.drain()
    chain.until("2024-09-01")
    planned = chain.loan(loan_id).next
    assert planned is not None
    assert day_text(Day(planned.day)) == "2024-09-02", "31 August is a Saturday"
    chain.do(chain.anybody, Loan.pay, loan_id, Motes(1))
    assert chain.loan(loan_id).next == planned


def test_default_is_called_once() -> None:
    chain = LoanChain()
    loan_id = chain.lend(replace(loan("1000", "12", 12), default_days=10))
    chain.drain()
    chain.until("2024-02-15")
    chain.do(chain.lender, Loan.call_default, loan_id)
    assert chain.refused(chain.lender, Loan.call_default, loan_id) == "IN_DEFAULT"

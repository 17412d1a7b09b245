"""Giving payments back, over random lives of a loan: from its checkpoints comes what all its bookings together make."""

from dataclasses import dataclass, replace
from typing import Any

from hypothesis import Phase, given, settings
from hypothesis import strategies as st

from ledger.block import Status
from ledger.types import Motes
from tests.loan_cases import motes
from tests.loan_chain import HOUR_MS, LoanChain
from tests.loan_rebuild import comparable, rebuilt
from vm.calendar import DAY_MS, BusinessDays, Day
from vm.context import Machine
from vm.contracts.loan import NAME, Loan
from vm.contracts.loan_types import REVERSAL_DAYS, RUNNING, BookingKind
from vm.loan.account import Account
from vm.loan.state import Instalment
from vm.loan.terms import Amortization, DayCount, EarlyPayment, Terms


@st.composite
def long_terms(draw: st.DrawFn) -> Terms:
    """Terms of a loan of up to two years, so that it outlives many checkpoints."""
    count = draw(st.integers(8, 24))
    return Terms(
        principal=Motes(draw(st.integers(10, 2_000)) * 10**8),
        annual_rate=draw(st.sampled_from([0, 7_000, 30_000])),
        instalments=count,
        disbursed_on=0,
        day_count=draw(st.sampled_from(DayCount)),
        amortization=draw(st.sampled_from(Amortization)),
        principal_grace=draw(st.sampled_from([0, 0, 2])),
        interest_grace=draw(st.sampled_from([0, 0, 2])),
        minor_unit=Motes(draw(st.sampled_from([1, 10**6, 10**8]))),
        business_days=draw(st.sampled_from([BusinessDays.SAME, BusinessDays.NEXT])),
        early_payment=draw(st.sampled_from(EarlyPayment)),
        late_fee=motes(draw(st.sampled_from(["0", "3"]))),
        grace_days=draw(st.sampled_from([0, 3, 40, 100])),
        retry_days=draw(st.sampled_from([(), (1, 2, 5), (9, 30, 45)])),
        fee_limit=motes("5"),
    )


@dataclass
class Life:
    """A loan on a chain, and what is stored of it."""

    chain: LoanChain
    id: bytes

    @property
    def runs(self) -> bool:
        return self.chain.loan(self.id).status in RUNNING

    def stored(self) -> Account:
        """The account as it is stored."""
        chain = self.chain
        contract: Any = Machine(chain.registry, chain.state, chain.context).instance(chain.registry.entry(NAME))
        terms = contract.agreements[self.id].terms
        return Account(terms, contract.accounts[self.id], self.rows())

    def rows(self) -> dict[int, Instalment]:
        return {row.number: row for row in self.chain.query(Loan.instalments, self.id, 1, 1_000)}

    def go_on(self, days: int, *, dark: bool) -> None:
        """Days pass, with blocks or without; then whatever is due is done, also where an attempt leads to another."""
        if dark:
            self.chain.advance(days * DAY_MS)
        self.chain.until_ms(self.chain.now_ms + (HOUR_MS if dark else days * DAY_MS))

    def pay(self, who: Any, share: float) -> None:
        terms = self.chain.loan(self.id).agreement.terms
        amount = max(1, int(terms.principal * share) // terms.instalments)
        self.chain.send(who, Loan.pay, self.id, Motes(amount), gas_limit=25_000_000)

    def charge_fee(self, back: int) -> None:
        number = self.stored().state.number - 1 - back
        if number > 0:
            self.chain.send(self.chain.lender, Loan.charge_fee, self.id, number, motes("1"), "x", gas_limit=25_000_000)

    def reverse(self, back: int) -> None:
        """Give one of the payments back that still can be, and compare with the model."""
        self.chain.block()
        if not self.runs:
            return
        old = self.stored()
        old.advance(Day(self.chain.now_ms // DAY_MS))
        bookings = list(self.chain.bookings(self.id))
        young = [
            at
            for at, each in enumerate(bookings)
            if each.kind is not BookingKind.FEE and not each.reversed and old.state.day - each.day <= REVERSAL_DAYS
        ]
        if not young:
            return
        at = young[-1 - min(back, len(young) - 1)]
        bookings[at] = replace(bookings[at], reversed=True)
        account, rows, booked = rebuilt(old, bookings)
        receipt = self.chain.send(self.chain.lender, Loan.reverse_payment, self.id, at + 1, gas_limit=25_000_000)
        if any(each.split.returned for each in booked):
            assert receipt.error is not None
            assert receipt.error.code == "NOT_REVERSIBLE"
            return
        assert receipt.status is Status.SUCCEEDED, receipt.error
        assert list(self.chain.bookings(self.id)) == booked
        assert self.rows() == rows
        assert comparable(self.stored()) == comparable(account)


@dataclass(frozen=True)
class Stretch:
    """Some days of a loan's life, and what is done at their end."""

    days: int
    dark: bool  # no block on them
    funds: str | None  # what the borrower has from then on
    payments: list[tuple[str, float]]  # by whom, in instalments
    fee: int | None  # on an instalment so many before the last that fell due
    reversals: list[int]  # of a payment so many before the last one


def stretches() -> st.SearchStrategy[Stretch]:
    """Days of any kind. More is paid than given back, most of it less than an instalment, so that loans live long."""
    return st.builds(
        Stretch,
        days=st.sampled_from([1, 4, 9, 9, 16, 16, 20, 25, 31, 33, 65]),
        dark=st.sampled_from([False] * 9 + [True]),
        funds=st.sampled_from([None, None, "0", "0", "1", "30", "100000"]),
        payments=st.lists(
            st.tuples(st.sampled_from(["borrower", "anybody"]), st.sampled_from([0.001, 0.1, 0.3, 1, 1.5])), max_size=2
        ),
        fee=st.sampled_from([None, None, None, 0, 1, 6]),
        reversals=st.sampled_from([[], [], [0], [2], [5], [1, 3], [9]]),
    )


@given(long_terms(), st.lists(stretches(), min_size=16, max_size=30))
@settings(max_examples=15, deadline=None, phases=[Phase.generate])  # never shrunk: that takes minutes
def test_a_reversal_from_a_checkpoint_is_the_one_from_the_beginning(terms: Terms, life: list[Stretch]) -> None:
    """Rows, bookings and account are the model's to the mote after each, also where it comes after others."""
    chain = LoanChain("2024-01-31")
    loan = Life(chain, chain.lend(terms))
    for stretch in life:
        loan.go_on(stretch.days, dark=stretch.dark)
        if not loan.runs:
            break
        if stretch.funds is not None:
            chain.drain(stretch.funds)
        for who, share in stretch.payments:
            loan.pay(getattr(chain, who), share)
        if stretch.fee is not None:
            loan.charge_fee(stretch.fee)
        for back in stretch.reversals:
            loan.reverse(back)
    chain.check(loan.id)
    account, rows, booked = rebuilt(loan.stored(), chain.bookings(loan.id))
    next_late = loan.stored().state.next_late
    assert (rows, tuple(booked)) == (loan.rows(), chain.bookings(loan.id))
    if loan.runs:
        assert replace(comparable(account), next_late=next_late) == comparable(loan.stored())

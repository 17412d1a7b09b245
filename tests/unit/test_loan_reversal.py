"""Giving a payment back takes no more of an old loan than of a young one, and always fits into a transaction."""

from dataclasses import replace
from typing import Any

import pytest

from ledger.parameters import ChainParameters
from ledger.types import Motes
from tests.loan_cases import loan, motes, payment
from tests.loan_chain import HOUR_MS, LoanChain, day
from tests.vm_harness import Account
from vm import gas
from vm.calendar import Day, day_text, local_midnight_ms
from vm.context import Machine
from vm.contracts.loan import NAME, Loan
from vm.contracts.loan_history import BY_HAND_MAX
from vm.contracts.loan_types import CHECKPOINT_DAYS, CHECKPOINTS, REVERSAL_DAYS, LoanStatus
from vm.loan.schedule import quote
from vm.loan.terms import INSTALMENTS_MAX, Terms

MOST_GAS = gas.max_gas_limit(ChainParameters().block_max_gas)
LITTLE = Motes(1_000)


def long_terms() -> Terms:
    """As many instalments as there can be, with fees, a late fee, and all of a year's instalments in their days of grace."""
    terms = loan("5000", "12", INSTALMENTS_MAX, late_fee=motes("1"), grace_days=366)
    return replace(terms, fee_limit=motes("5"))


def live(months: int, *, pays: bool) -> tuple[LoanChain, bytes]:
    """Live with a loan for so many months; in each there is one instalment due, one small payment by hand and one fee."""
    chain, terms = LoanChain(), long_terms()
    loan_id = chain.lend(terms)
    if not pays:
        chain.drain()
    for number in range(1, months + 1):
        chain.until_ms(local_midnight_ms(terms.due_on(number), 0) + HOUR_MS)
        chain.do(chain.anybody, Loan.pay, loan_id, LITTLE)
        chain.do(chain.lender, Loan.charge_fee, loan_id, number, LITTLE, "a letter")
    return chain, loan_id


@pytest.fixture(scope="module")
def in_arrears() -> tuple[LoanChain, bytes]:
    """A loan with nearly a thousand bookings near its end, of which not one instalment is paid."""
    return live(INSTALMENTS_MAX - 3, pays=False)


@pytest.fixture(scope="module")
def paid() -> tuple[LoanChain, bytes]:
    """A loan with more than a thousand bookings at its end, of which every instalment was paid on its day."""
    return live(INSTALMENTS_MAX - 1, pays=True)


def keys(chain: LoanChain, field: str) -> int:
    """How many values a field of the loan contract has."""
    return sum(NAME.encode() in key[:6] and field.encode() in key[:20] for key, _ in chain.state.iterate())


class TestOld:
    def test_a_payment_of_a_loan_in_arrears_with_a_thousand_bookings(self, in_arrears: tuple[LoanChain, bytes]) -> None:
        chain, loan_id = in_arrears[0].fork(), in_arrears[1]
        count = chain.loan(loan_id).bookings
        assert count > 950
        assert chain.row(loan_id, 1).outstanding > 0
        chain.do(chain.anybody, Loan.pay, loan_id, LITTLE)
        receipt = chain.do(chain.lender, Loan.reverse_payment, loan_id, count + 1)
        assert receipt.gas_used < MOST_GAS // 20
        assert chain.bookings(loan_id)[-1].reversed

    def test_takes_the_same_of_a_loan_however_old_it_is(self, paid: tuple[LoanChain, bytes]) -> None:
        """All was paid on its day; the payment to give back is the one before the last instalment's fee."""
        used = []
        for chain, loan_id in (live(25, pays=True), (paid[0].fork(), paid[1])):
            number = chain.loan(loan_id).bookings - 1
            assert chain.row(loan_id, 24).outstanding == 0
            used.append(chain.do(chain.lender, Loan.reverse_payment, loan_id, number).gas_used)
            chain.check(loan_id)
        assert chain.loan(loan_id).bookings > 1_400
        young, old = used
        assert old < young * 1.05

    def test_what_is_stored_to_go_back_to_does_not_grow_with_the_years(self, paid: tuple[LoanChain, bytes]) -> None:
        """A page for each call that changes an instalment first, of the windows that are kept."""
        chain, _ = paid
        assert keys(chain, "checkpoints") == CHECKPOINTS
        assert 0 < keys(chain, "pages") <= 4 * CHECKPOINTS

    def test_a_payment_of_hundreds_of_instalments_can_be_made_and_given_back(self, in_arrears: tuple[LoanChain, bytes]) -> None:
        """All but a mote of what is due, by hand, on one day."""
        chain, loan_id = in_arrears[0].fork(), in_arrears[1]
        due = chain.loan(loan_id).due
        before = [chain.row(loan_id, number) for number in (1, 100, 400)]
        receipt = chain.do(chain.anybody, Loan.pay, loan_id, Motes(due - 1))
        assert receipt.gas_used < MOST_GAS * 2 // 3
        assert chain.loan(loan_id).due == 1
        receipt = chain.do(chain.lender, Loan.reverse_payment, loan_id, chain.loan(loan_id).bookings)
        assert receipt.gas_used < MOST_GAS // 2
        assert chain.loan(loan_id).due == due
        assert [chain.row(loan_id, number) for number in (1, 100, 400)] == before
        chain.check(loan_id)

    def test_a_payment_of_hundreds_of_instalments_ahead_can_be_made_and_given_back(self) -> None:
        """What was paid ahead is taken out of the book again, and nothing of it stays stored."""
        chain = LoanChain()
        loan_id = chain.lend(replace(long_terms(), annual_rate=0))
        receipt = chain.do(chain.anybody, Loan.pay, loan_id, Motes(motes("5000") - 1))
        assert receipt.gas_used < MOST_GAS
        assert keys(chain, "rows") == INSTALMENTS_MAX
        receipt = chain.do(chain.lender, Loan.reverse_payment, loan_id, 1)
        assert receipt.gas_used < MOST_GAS // 2
        assert keys(chain, "rows") == 0
        assert chain.check(loan_id).outstanding == motes("5000")


class TestFlood:
    """As much as can come in while a payment can be given back, of a loan that could not have more instalments unpaid."""

    def test_a_payment_under_all_that_can_come_after_it(self, in_arrears: tuple[LoanChain, bytes]) -> None:
        """Every day a draw, a payment by the borrower and by another, and a fee; then the chain draws all instalments at last."""
        chain, loan_id = in_arrears[0].fork(), in_arrears[1]
        draw_every_day(chain, loan_id)
        for _ in range(CHECKPOINT_DAYS + 1):
            chain.next_day()  # so that what comes now is behind a checkpoint of its own
        number = 0
        for after in range(CHECKPOINT_DAYS + REVERSAL_DAYS):
            if after == CHECKPOINT_DAYS:
                number = chain.loan(loan_id).bookings + 1
            self.come_by(chain, loan_id, after)
        due, known = chain.loan(loan_id).due, len(chain.scheduled)
        chain.drain(str(due // motes("1") - 1))
        chain.next_day()
        assert len(chain.scheduled) - known == 20
        assert max(receipt.gas_used for receipt in chain.scheduled) < gas.SCHEDULED_GAS_LIMIT // 2
        assert chain.row(loan_id, INSTALMENTS_MAX - 4).outstanding == 0
        count = chain.loan(loan_id).bookings
        assert count - number > 4 * REVERSAL_DAYS
        receipt = chain.do(chain.lender, Loan.reverse_payment, loan_id, number)
        assert MOST_GAS // 2 < receipt.gas_used < MOST_GAS * 9 // 10
        chain.check(loan_id)
        chain.do(chain.lender, Loan.reverse_payment, loan_id, count)
        chain.do(chain.lender, Loan.reverse_payment, loan_id, count - 21)
        chain.check(loan_id)

    def come_by(self, chain: LoanChain, loan_id: bytes, after: int) -> None:
        """A day with all that can be booked on it."""
        chain.drain("0.00001")
        known = chain.loan(loan_id).bookings
        chain.next_day()
        chain.drain("0.00001")
        for who in (chain.anybody, chain.borrower):
            chain.do(who, Loan.pay, loan_id, LITTLE)
        chain.do(chain.lender, Loan.charge_fee, loan_id, 100 + after, LITTLE, "a letter")
        assert chain.loan(loan_id).bookings == known + 4


def draw_every_day(chain: LoanChain, loan_id: bytes) -> None:
    """Make the loan one that is retried daily: to have lived so for forty years would have taken fifteen thousand blocks."""
    machine = Machine(chain.registry, chain.state, chain.context)
    contract: Any = machine.instance(chain.registry.entry(NAME))
    agreement = contract.agreements[loan_id]
    terms = replace(agreement.terms, retry_days=tuple(range(1, 32)), grace_days=30)
    contract.agreements[loan_id] = replace(agreement, terms=terms)
    chain.state.apply(machine.storage.overlay.changes)


class TestByHand:
    """How much is booked by hand between two checkpoints, so that what stands behind a payment stays bounded."""

    @pytest.fixture
    def chain(self) -> LoanChain:
        return LoanChain()

    terms = replace(loan(late_fee=motes("5"), grace_days=3), fee_limit=motes("2"))

    def lend(self, chain: LoanChain, terms: Terms = terms, until: str = "2024-02-02") -> bytes:
        """A loan whose first instalment is due, and the borrower has no money but for payments by hand."""
        loan_id = chain.lend(terms)
        chain.drain()
        chain.until(until)
        chain.drain("0.01")
        return loan_id

    def flood(self, chain: LoanChain, sender: Account, method: Any, *args: Any) -> None:
        """As many bookings as there is room for, and one that is refused."""
        for _ in range(BY_HAND_MAX):
            chain.do(sender, method, *args)
        assert chain.refused(sender, method, *args) == "TOO_MANY_BOOKINGS"

    def test_nobody_is_refused_who_pays_every_day(self, chain: LoanChain) -> None:
        loan_id = self.lend(chain)
        for _ in range(4 * CHECKPOINT_DAYS):
            chain.next_day()
            chain.drain("0.01")
            for who in (chain.borrower, chain.anybody):
                chain.do(who, Loan.pay, loan_id, LITTLE)
        assert len(chain.bookings(loan_id)) > 8 * CHECKPOINT_DAYS

    def test_one_payment_too_many_is_refused_with_the_day_from_which_it_is_not(self, chain: LoanChain) -> None:
        loan_id = self.lend(chain)
        self.flood(chain, chain.borrower, Loan.pay, loan_id, LITTLE)
        receipt = chain.send(chain.borrower, Loan.pay, loan_id, LITTLE)
        assert receipt.error is not None
        opens = day("2024-02-02") + CHECKPOINT_DAYS + 1
        assert receipt.error.message.endswith(f": made {BY_HAND_MAX}, limit {BY_HAND_MAX}, day {opens}")
        chain.until(day_text(Day(opens - 1)))
        assert chain.refused(chain.borrower, Loan.pay, loan_id, LITTLE) == "TOO_MANY_BOOKINGS"
        chain.until(day_text(Day(opens)))
        self.flood(chain, chain.borrower, Loan.pay, loan_id, LITTLE)

    def test_nobody_keeps_another_from_booking(self, chain: LoanChain) -> None:
        """Borrower, lender and everybody else are counted apart; what the chain draws is not counted."""
        loan_id = self.lend(chain)
        self.flood(chain, chain.anybody, Loan.pay, loan_id, LITTLE)
        assert chain.refused(chain.lender, Loan.pay, loan_id, LITTLE) == "TOO_MANY_BOOKINGS"
        self.flood(chain, chain.lender, Loan.charge_fee, loan_id, 1, LITTLE, "a letter")
        self.flood(chain, chain.borrower, Loan.pay, loan_id, LITTLE)
        chain.drain("100")
        chain.until("2024-03-01")
        assert chain.check(loan_id).due == 0

    def test_what_leaves_nothing_overdue_is_always_taken_and_so_is_what_closes_the_loan(self, chain: LoanChain) -> None:
        """Else somebody could keep a borrower in default by paying motes for him."""
        loan_id = self.lend(chain)
        self.flood(chain, chain.anybody, Loan.pay, loan_id, LITTLE)
        due = chain.loan(loan_id).due
        assert chain.refused(chain.anybody, Loan.pay, loan_id, Motes(due - 1)) == "TOO_MANY_BOOKINGS"
        chain.do(chain.anybody, Loan.pay, loan_id, Motes(due))
        assert chain.check(loan_id).due == 0
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, motes("1"), "a letter")
        assert chain.refused(chain.anybody, Loan.pay, loan_id, motes("1")) == "TOO_MANY_BOOKINGS"  # a fee alone is not overdue
        chain.do(chain.anybody, Loan.pay_off, loan_id, motes("200"))
        assert chain.check(loan_id).status is LoanStatus.CLOSED

    def test_reversed_payments_are_counted_too(self, chain: LoanChain) -> None:
        """They are gone through like the others; and a reversal counts again what it goes through."""
        loan_id = self.lend(chain)
        for _ in range(BY_HAND_MAX):
            chain.do(chain.anybody, Loan.pay, loan_id, LITTLE)
            chain.do(chain.lender, Loan.reverse_payment, loan_id, chain.loan(loan_id).bookings)
        assert chain.refused(chain.anybody, Loan.pay, loan_id, LITTLE) == "TOO_MANY_BOOKINGS"

    def test_a_reversal_behind_two_checkpoints_leaves_those_that_a_later_one_needs(self, chain: LoanChain) -> None:
        """The first goes back over both and makes them anew; the second starts from one of these."""
        loan_id = self.lend(chain, replace(self.terms, late_fee=Motes(0)))
        chain.drain()
        known = {}
        for date in ("2024-02-02", "2024-02-05", "2024-02-18", "2024-03-05"):
            chain.until(date)
            chain.do(chain.anybody, Loan.pay, loan_id, motes("3"))
            known[date] = chain.loan(loan_id).bookings
        assert keys(chain, "checkpoints") == CHECKPOINTS
        for date in ("2024-02-05", "2024-02-18"):
            chain.do(chain.lender, Loan.reverse_payment, loan_id, known[date])
        left = [payment(date, "3") for date in ("2024-02-02", "2024-03-05")]
        expected = quote(chain.loan(loan_id).agreement.terms, left, day("2024-03-05"))
        assert chain.schedule(loan_id) == expected.rows
        assert chain.check(loan_id).payoff == expected.payoff

    def test_the_checkpoints_reach_back_as_far_as_a_payment_can_be_given_back(self) -> None:
        """Of two checkpoints the later is at least a day more than CHECKPOINT_DAYS after the other."""
        assert (CHECKPOINTS - 1) * (CHECKPOINT_DAYS + 1) > REVERSAL_DAYS >= (CHECKPOINTS - 2) * (CHECKPOINT_DAYS + 1)

"""Collection: drawn on the due day, tried again when short, late fees once, outages, and nothing twice."""

import contextlib
import dataclasses
from typing import Any

import pytest

from ledger.block import ReceiptKind, Status
from ledger.policy import contract_address
from ledger.types import Motes
from tests.loan_cases import loan, motes
from tests.loan_chain import FUNDS, LoanChain, day, names
from vm import gas
from vm.calendar import DAY_MS, Day, day_text, local_midnight_ms
from vm.context import Machine
from vm.contracts.asset import Asset
from vm.contracts.loan import NAME, Loan
from vm.contracts.loan_collection import is_drawing, next_attempt, offsets
from vm.contracts.loan_types import Attempt, BookingKind, LoanStatus
from vm.errors import ContractError, CoreError
from vm.loan.account import Account
from vm.loan.state import Split
from vm.loan.terms import EarlyPayment, Terms


def terms(**changes: Any) -> Terms:
    """100.00 over six months, retried after 1, 3 and 7 days, with a late fee of 5.00 after 3 days."""
    return dataclasses.replace(loan(late_fee=motes("5"), grace_days=3), retry_days=(1, 3, 7), **changes)


@pytest.fixture
def chain() -> LoanChain:
    return LoanChain()


class TestOnTime:
    def test_every_instalment_is_drawn_at_local_midnight_and_the_loan_closes(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        assert chain.until_ms(local_midnight_ms(day("2024-02-01"), 0) - 1) == []
        assert names(chain.until_ms(local_midnight_ms(day("2024-02-01"), 0))) == ["InstalmentDue", "LoanPaid"]
        chain.until("2024-07-01")
        assert names(chain.events) == [
            *("LoanOffered", "LoanDisbursed"),
            *("InstalmentDue", "LoanPaid") * 6,
            "LoanClosed",
        ]
        booked = chain.bookings(loan_id)
        assert [each.amount for each in booked] == [motes("17.01")] * 5 + [motes("17.00")]
        assert [each.split.interest for each in booked] == list(map(motes, ("0.58", "0.49", "0.39", "0.29", "0.20", "0.10")))
        assert [(each.kind, each.period, each.attempt) for each in booked] == [(BookingKind.COLLECTED, n, 0) for n in range(1, 7)]
        assert chain.check(loan_id).status is LoanStatus.CLOSED
        assert chain.balance(chain.lender).free == FUNDS + motes("2.05")
        assert chain.waiting() == 0
        assert len(chain.scheduled) == 6

    def test_the_instalments_of_the_rounded_annuity(self) -> None:
        """5,000 at 12 % over 18 months, a multiple of 1: 17 draws of 305.00 and one of 303.22, 488.22 of interest."""
        chain = LoanChain("2022-11-01")
        loan_id = chain.lend(loan("5000", "12", 18, "2022-11-01", multiple="1"))
        chain.until("2024-06-01")
        assert [each.amount for each in chain.bookings(loan_id)] == [motes("305")] * 17 + [motes("303.22")]
        assert chain.balance(chain.lender).free == FUNDS + motes("488.22")

    def test_due_days_keep_the_day_of_the_month(self) -> None:
        chain = LoanChain("2024-01-31")
        loan_id = chain.lend(loan(start="2024-01-31", instalments=3))
        chain.until("2024-06-01")
        assert [day_text(each.day) for each in chain.bookings(loan_id)] == ["2024-02-29", "2024-03-31", "2024-04-30"]  # type: ignore[arg-type]

    def test_an_instalment_paid_ahead_is_not_drawn(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.do(chain.borrower, Loan.pay, loan_id, motes("17.01"))
        assert names(chain.until("2024-02-15")) == ["InstalmentDue"]
        assert chain.check(loan_id).due == 0
        assert names(chain.until("2024-03-01")) == ["InstalmentDue", "LoanPaid"]


class TestShort:
    def test_takes_what_is_there_and_tries_again(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain("10")
        [_, paid, short] = chain.until("2024-02-01")
        assert (paid.amount, paid.split) == (motes("10"), Split(interest=motes("0.58"), principal=motes("9.42")))
        assert (short.name, short.period, short.attempt, short.due, short.missing) == (
            *("CollectionShort", 1, 0),
            *map(motes, ("17.01", "7.01")),
        )
        assert chain.loan(loan_id).next == Attempt(1, 1, day("2024-02-02"))
        [short] = chain.until("2024-02-02")
        assert (short.attempt, short.missing) == (1, motes("7.01"))
        assert chain.loan(loan_id).next == Attempt(1, 2, day("2024-02-04"))
        chain.drain("50")
        assert names(chain.until("2024-02-04")) == ["LoanPaid"]
        view = chain.check(loan_id)
        assert (view.due, view.next) == (0, Attempt(2, 0, day("2024-03-01")))
        assert [(each.period, each.attempt) for each in chain.bookings(loan_id)] == [(1, 0), (1, 2)]

    def test_a_late_fee_comes_once_after_the_grace_days_and_nothing_is_drawn_on_that_day(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain()
        assert names(chain.until("2024-02-04")) == ["InstalmentDue", *["CollectionShort"] * 3]
        assert chain.loan(loan_id).next == Attempt(1, 3, day("2024-02-05"))
        chain.drain("3")
        [late] = chain.until("2024-02-05")
        assert (late.name, late.number, late.amount) == ("LateFeeCharged", 1, motes("5"))
        assert chain.loan(loan_id).next == Attempt(1, 4, day("2024-02-08"))
        assert [(event.name, event.attempt) for event in chain.until("2024-02-08")[1:]] == [("CollectionShort", 4)]
        assert chain.bookings(loan_id)[0].split == Split(penalty=motes("3"))
        assert names(chain.until("2024-02-28")) == []
        assert chain.check(loan_id).due == motes("19.01")
        assert names(chain.until("2024-03-04"))[:2] == ["InstalmentDue", "CollectionShort"]
        assert chain.row(loan_id, 1).penalty == motes("5")

    def test_the_next_due_day_draws_what_is_left_of_the_one_before_oldest_first(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain()
        chain.until("2024-02-15")
        chain.drain("30")
        chain.until("2024-03-01")
        [booked] = chain.bookings(loan_id)
        assert (booked.period, booked.attempt, booked.amount) == (2, 0, motes("30"))
        assert booked.split == Split(motes("5"), Motes(0), motes("1.16"), motes("23.84"))
        assert chain.row(loan_id, 1).outstanding == 0
        assert chain.row(loan_id, 2).outstanding == motes("9.02")  # two of 17.01 and the fee, less 30

    def test_after_the_last_due_day_there_is_an_attempt_a_month(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain()
        chain.until("2024-07-15")
        assert chain.loan(loan_id).next == Attempt(7, 0, day("2024-08-01"))
        chain.until("2026-07-15")
        assert chain.loan(loan_id).next == Attempt(31, 0, day("2026-08-01"))
        assert chain.row(loan_id, 6).penalty == motes("5")
        chain.drain("500")
        assert names(chain.until("2026-08-01")) == ["LoanPaid", "LoanClosed"]
        assert chain.check(loan_id).status is LoanStatus.CLOSED
        assert chain.bookings(loan_id)[0].split.penalty == motes("30")
        assert chain.waiting() == 0

    def test_a_payment_in_between_ends_the_attempts(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain()
        chain.until("2024-02-02")
        chain.do(chain.anybody, Loan.pay, loan_id, motes("17.01"))
        assert chain.loan(loan_id).next == Attempt(2, 0, day("2024-03-01"))
        assert chain.waiting() == 1
        assert names(chain.until("2024-02-28")) == []

    def test_a_payment_in_part_leaves_them(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain()
        chain.until("2024-02-02")
        planned = chain.loan(loan_id).next
        chain.do(chain.anybody, Loan.pay, loan_id, motes("1"))
        assert chain.loan(loan_id).next == planned == Attempt(1, 2, day("2024-02-04"))
        assert chain.waiting() == 1

    def test_held_money_is_not_drawn(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain("20")
        chain.do(chain.borrower, Asset.hold_for, chain.anybody.address, motes("15"), "rent", chain.now_ms + 90 * DAY_MS)
        chain.until("2024-02-01")
        assert chain.bookings(loan_id)[0].amount == motes("5")
        assert chain.balance(chain.borrower).held == motes("15")


class TestOnceAndLate:
    def test_an_attempt_that_is_not_the_next_one_changes_nothing(self, chain: LoanChain) -> None:
        """Whoever could make the calendar repeat or reorder itself would find nothing to take."""
        loan_id = chain.lend(terms())
        chain.drain("30")
        chain.until("2024-02-01")
        before, known = (chain.balance(chain.borrower), chain.loan(loan_id)), len(chain.events)
        for attempt in ((1, 0), (1, 0), (0, 0), (1, 1), (2, 1), (3, 0), (7, 0)):
            machine = Machine(chain.registry, chain.state, chain.context)
            machine.schedule(chain.registry.entry(NAME), chain.now_ms + 1, Loan.collect, (loan_id, *attempt))
            chain.state.apply(machine.storage.overlay.changes)
            chain.advance(1)
            [receipt] = chain.block().receipts
            assert receipt.events == ()
        assert len(chain.events) == known
        assert (chain.balance(chain.borrower), chain.loan(loan_id)) == before

    def test_nobody_but_the_chain_collects(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.leap("2024-02-01")
        chain.block()
        for method, args in ((Loan.collect, (loan_id, 1, 0)), (Loan.expire, (loan_id,))):
            assert chain.refused(chain.lender, method, *args) == CoreError.WRONG_KIND.name

    def test_an_outage_costs_the_borrower_nothing(self, chain: LoanChain) -> None:
        """The chain stands still from January to May: what was due counts on its days, without late fees or overdue interest."""
        loan_id = chain.lend(terms())
        chain.leap("2024-05-20")
        chain.until("2024-05-21")
        booked = chain.bookings(loan_id)
        assert [day_text(each.day) for each in booked] == ["2024-02-01", "2024-03-01", "2024-04-01", "2024-05-01"]  # type: ignore[arg-type]
        assert [each.amount for each in booked] == [motes("17.01")] * 4
        assert "LateFeeCharged" not in names(chain.events)
        assert chain.loan(loan_id).next == Attempt(5, 0, day("2024-06-01"))

    def test_an_outage_with_too_little_money_makes_the_attempts_it_missed_without_late_fees(self, chain: LoanChain) -> None:
        """As if it had been there all the time, with the money of today; but nobody could have paid meanwhile."""
        loan_id = chain.lend(terms())
        other = LoanChain()
        other.lend(terms())
        for each in (chain, other):
            each.drain("20")
        chain.leap("2024-04-20")
        chain.until("2024-04-21")
        other.until("2024-04-21")
        assert names(chain.events) == [name for name in names(other.events) if name != "LateFeeCharged"]
        late_fees = motes("10")
        view, expected = chain.check(loan_id), other.check(next(iter(_ids(other))))
        assert view == dataclasses.replace(
            expected,
            mandate_id=view.mandate_id,
            expires_ms=view.expires_ms,
            due=Motes(expected.due - late_fees),
            payoff=Motes(expected.payoff - late_fees),
        )
        assert [event.number for event in chain.until("2024-05-06") if event.name == "LateFeeCharged"] == [4]

    def test_the_days_before_a_default_count_from_the_first_draw_after_an_outage(self, chain: LoanChain) -> None:
        """After a year's halt the first transaction could else be the lender's, who takes the car."""
        loan_id = chain.lend(terms(default_days=10))
        chain.drain()
        chain.leap("2025-01-10")
        for date in ("2025-01-11", "2025-02-10"):
            chain.until(date)
            assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"
        chain.until("2025-02-11")
        chain.do(chain.lender, Loan.call_default, loan_id)

    def test_so_many_instalments_that_one_call_cannot_draw_them_take_several(self, chain: LoanChain) -> None:
        """Forty years nobody pays, then there is money: the calendar comes again until all is drawn, far below its bound."""
        loan_id = chain.lend(loan("5000", "12", 480))
        chain.drain()
        chain.until("2063-12-15")
        chain.drain("100000")
        due = chain.loan(loan_id).due
        known = len(chain.scheduled)
        assert names(chain.until("2064-01-01")) == ["InstalmentDue", *["LoanPaid"] * 20, "LoanClosed"]
        assert chain.check(loan_id).status is LoanStatus.CLOSED
        assert sum(each.amount for each in chain.bookings(loan_id)) > due
        assert max(receipt.gas_used for receipt in chain.scheduled[known:]) < gas.SCHEDULED_GAS_LIMIT // 2

    def test_a_fee_on_an_instalment_paid_long_ago_does_not_hide_what_is_due_now(self, chain: LoanChain) -> None:
        """More instalments lie between the two than one call looks at."""
        loan_id = chain.lend(dataclasses.replace(loan("5000", "12", 120), retry_days=(5,), fee_limit=motes("2")))
        chain.until("2030-01-15")
        chain.drain()
        chain.until("2030-02-02")
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, motes("2"), "a letter")
        chain.drain("500")
        assert "CollectionShort" not in names(chain.until("2030-02-07"))
        assert chain.check(loan_id).due == 0

    def test_a_loan_whose_call_was_lost_is_collected_again_when_somebody_pays(self, chain: LoanChain) -> None:
        """Nothing in a collection is known to fail; if one did, its entry would be gone, but the loan must not be."""
        loan_id, known = chain.lend(terms()), chain.balance(chain.lender).free
        machine = Machine(chain.registry, chain.state, chain.context)
        for entry_id in range(20):
            with contextlib.suppress(ContractError):
                machine.calendar().cancel(NAME, entry_id)
        chain.state.apply(machine.storage.overlay.changes)
        assert (chain.waiting(), chain.until("2024-03-10")) == (0, [])
        chain.do(chain.anybody, Loan.pay, loan_id, Motes(1))
        assert chain.balance(chain.lender).free == known + motes("34.02") + 1
        assert names(chain.until("2024-04-01"))[-2:] == ["InstalmentDue", "LoanPaid"]

    def test_what_is_due_is_collected_before_anything_else_is_done_with_the_loan(self, chain: LoanChain) -> None:
        """The calendar is behind; paying a mote on the due day neither puts the draw off nor takes its place."""
        loan_id = chain.lend(terms())
        chain.hold_up_the_calendar()
        chain.leap("2024-02-01")
        receipt = chain.send(chain.borrower, Loan.pay, loan_id, Motes(1), gas_limit=600_000)
        assert receipt.status is Status.SUCCEEDED, receipt.error
        assert [(each.kind, each.amount) for each in chain.bookings(loan_id)] == [
            (BookingKind.COLLECTED, motes("17.01")),
            (BookingKind.PAID, 1),
        ]
        assert chain.loan(loan_id).next == Attempt(2, 0, day("2024-03-01"))
        chain.let_go()
        assert chain.waiting() == 1
        assert chain.until("2024-02-28") == []

    def test_a_payment_after_an_outage_finds_the_loan_as_if_there_had_been_none(self, chain: LoanChain) -> None:
        """Three due days were missed; whoever pays first has them collected on their days, without a late fee."""
        loan_id = chain.lend(terms())
        chain.hold_up_the_calendar()
        chain.leap("2024-04-15")
        chain.let_go()
        chain.context = dataclasses.replace(chain.context, disabled=frozenset({NAME}))
        chain.block()
        chain.context = dataclasses.replace(chain.context, disabled=frozenset())
        chain.do(chain.anybody, Loan.pay, loan_id, motes("5"))
        booked = [(day_text(Day(each.day)), each.amount) for each in chain.bookings(loan_id)]
        collected = [(f"2024-0{month}-01", motes("17.01")) for month in (2, 3, 4)]
        assert booked == [*collected, ("2024-04-15", motes("5"))]
        assert "LateFeeCharged" not in names(chain.events)
        assert names(chain.until("2024-05-01"))[-2:] == ["InstalmentDue", "LoanPaid"]

    def test_an_attempt_that_closes_the_loan_comes_before_the_payment_that_would_have(self, chain: LoanChain) -> None:
        loan_id = chain.lend(dataclasses.replace(terms(), instalments=1))
        chain.hold_up_the_calendar()
        chain.leap("2024-02-01")
        refused = chain.send(chain.lender, Loan.write_off, loan_id, gas_limit=600_000).error
        assert refused is not None
        assert refused.code == "NOT_RUNNING"
        receipt = chain.send(chain.anybody, Loan.pay, loan_id, motes("5"), gas_limit=600_000)
        assert (receipt.error, receipt.results) == (None, (0,))
        chain.let_go()
        chain.block()
        assert chain.check(loan_id).status is LoanStatus.CLOSED
        assert chain.balance(chain.anybody).free == FUNDS

    def test_a_disabled_contract_collects_when_it_is_enabled_again_as_if_on_time(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.context = dataclasses.replace(chain.context, disabled=frozenset({NAME}))
        assert chain.until("2024-02-10") == []
        assert chain.refused(chain.borrower, Loan.pay, loan_id, Motes(1)) == CoreError.CONTRACT_DISABLED.name
        assert chain.check(loan_id).next == Attempt(1, 0, day("2024-02-01"))
        chain.context = dataclasses.replace(chain.context, disabled=frozenset())
        assert names(chain.until("2024-02-11")) == ["InstalmentDue", "LoanPaid"]
        [booked] = chain.bookings(loan_id)
        assert day_text(Day(booked.day)) == "2024-02-01"
        assert chain.check(loan_id).due == 0

    def test_a_frozen_borrower_pays_when_he_is_free_again(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        _as_governance(chain, Asset.freeze, "DATR", chain.borrower.address, "an order of the court")
        assert names(chain.until("2024-02-01")) == ["InstalmentDue", "CollectionShort"]
        _as_governance(chain, Asset.unfreeze, "DATR", chain.borrower.address)
        assert names(chain.until("2024-02-02")) == ["LoanPaid"]
        assert chain.check(loan_id).due == 0

    def test_a_draw_stays_far_below_what_a_scheduled_call_may_use(self, chain: LoanChain) -> None:
        """Forty years, re-amortised, with the oldest of a year's unpaid instalments first."""
        long = dataclasses.replace(terms(early_payment=EarlyPayment.REAMORTISE), instalments=480, retry_days=(1, 3, 7, 366))
        loan_id = chain.lend(dataclasses.replace(long, principal=motes("5000")))
        chain.drain()
        chain.until("2025-01-15")
        chain.drain("5000")
        chain.until("2025-02-15")
        assert len(chain.bookings(loan_id)) >= 1
        assert max(receipt.gas_used for receipt in chain.scheduled) < gas.SCHEDULED_GAS_LIMIT // 2
        assert all(receipt.kind is ReceiptKind.SCHEDULED for receipt in chain.scheduled)


def _ids(chain: LoanChain) -> list[bytes]:
    return [event.loan_id for event in chain.events if event.name == "LoanOffered"]


def _as_governance(chain: LoanChain, method: Any, *args: Any) -> None:
    """Make a call as the governance contract, which is not part of this chain."""
    machine = Machine(chain.registry, chain.state, chain.context)
    machine.begin(bytes(32), contract_address("governance"), gas.UNLIMITED)
    entry, spec = chain.registry.of_function(method)
    machine.run(entry, spec, contract_address("governance"), list(args))
    chain.state.apply(machine.storage.overlay.changes)


class TestPlan:
    def test_attempts_are_the_retry_days_and_the_day_of_the_late_fee(self) -> None:
        assert offsets(terms()) == (1, 3, 4, 7)
        assert [is_drawing(terms(), number) for number in range(5)] == [True, True, True, False, True]
        assert offsets(terms(late_fee=Motes(0))) == (1, 3, 7)
        assert is_drawing(terms(grace_days=2), 2)
        assert offsets(dataclasses.replace(loan(), retry_days=())) == ()

    def test_the_earliest_day_of_any_unpaid_instalment_comes_next_and_a_due_day_before_an_attempt(self) -> None:
        """Retried on days 29 and 60: the first instalment's second retry falls between the others' days."""
        account = Account.opened(dataclasses.replace(loan(), retry_days=(29, 60)), {})
        found = []
        while account.state.day < day("2024-04-20"):
            attempt = next_attempt(account)
            account.advance(attempt.day)  # type: ignore[arg-type]
            found.append((attempt.period, attempt.number, day_text(attempt.day)))  # type: ignore[arg-type]
        assert found == [
            (1, 0, "2024-02-01"),
            (2, 0, "2024-03-01"),  # also day 29 of the first
            (2, 1, "2024-03-30"),
            (3, 0, "2024-04-01"),  # also day 60 of the first
            (3, 1, "2024-04-30"),
        ]

    def test_a_retry_is_made_where_another_instalments_late_fee_falls_on_its_day(self) -> None:
        """The second's late fee comes on 4 March, as does the first's retry, which draws for both."""
        agreed = dataclasses.replace(loan(late_fee=motes("5"), grace_days=2), retry_days=(32,))
        account = Account.opened(agreed, {})
        account.advance(day("2024-03-01"))
        attempt = next_attempt(account)
        assert (attempt.period, day_text(Day(attempt.day))) == (1, "2024-03-04")
        assert is_drawing(agreed, attempt.number)

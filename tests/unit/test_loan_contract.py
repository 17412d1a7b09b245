"""The loan contract: offers, acceptance, payments, what is refused, its reads, and the vectors by loans that run."""

import dataclasses
from typing import Any

import pytest

from ledger.block import Status
from ledger.policy import contract_address
from ledger.transaction import Call
from ledger.types import Address, Motes
from tests.loan_cases import Vector, loan, motes, vectors
from tests.loan_chain import FUNDS, HOUR_MS, LoanChain, day, names
from tests.vm_harness import account
from vm.calendar import DAY_MS, BusinessDays, Day, day_text, local_midnight_ms
from vm.contracts.asset import Asset, Balance
from vm.contracts.loan import NAME, OFFER_MS_MAX, RECLAIM_MS, Loan
from vm.contracts.loan_types import Attempt, BookingKind, LoanStatus, Outstanding
from vm.errors import ContractError
from vm.loan.schedule import Payment, quote
from vm.loan.terms import Terms

VIN = "WVWZZZ1JZXW000001"
UNKNOWN = b"\x01" * 32


def open_terms(**options: Any) -> Terms:
    """Terms that leave the day of disbursement to the borrower."""
    return dataclasses.replace(loan(**options), disbursed_on=0)


@pytest.fixture
def chain() -> LoanChain:
    return LoanChain()


def code(chain: LoanChain, method: Any, *args: Any) -> str:
    """The code of a query's failure."""
    with pytest.raises(ContractError) as caught:
        chain.query(method, *args)
    return caught.value.failure_code


def payments(chain: LoanChain, loan_id: bytes) -> list[Payment]:
    """What was paid, as the offline quote takes it."""
    return [Payment(Day(each.day), each.amount) for each in chain.bookings(loan_id)]


class TestOffer:
    def test_holds_the_principal_and_reports(self, chain: LoanChain) -> None:
        loan_id = chain.offer(loan(), lien=VIN)
        assert chain.balance(chain.lender).held == motes("100")
        assert chain.query(Asset.get_hold, loan_id).deadline_ms == chain.check(loan_id).expires_ms + RECLAIM_MS
        [offered] = chain.events
        assert (offered.name, offered.principal, offered.lien) == ("LoanOffered", motes("100"), VIN)
        assert chain.check(loan_id).status is LoanStatus.OFFERED
        assert chain.waiting() == 1

    def test_withdrawn_gives_the_money_back_and_waits_for_nothing(self, chain: LoanChain) -> None:
        loan_id = chain.offer(loan())
        assert chain.refused(chain.borrower, Loan.withdraw, loan_id) == "NOT_PERMITTED"
        chain.do(chain.lender, Loan.withdraw, loan_id)
        assert chain.balance(chain.lender) == Balance(Motes(FUNDS), Motes(0), Motes(0))
        assert chain.check(loan_id).status is LoanStatus.WITHDRAWN
        assert chain.waiting() == 0
        assert names(chain.events) == ["LoanOffered", "OfferWithdrawn"]
        assert chain.refused(chain.borrower, Loan.accept, loan_id) == "NOT_OFFERED"
        assert chain.refused(chain.lender, Loan.withdraw, loan_id) == "NOT_OFFERED"

    def test_expires_by_itself(self, chain: LoanChain) -> None:
        loan_id = chain.offer(open_terms(), days=3)
        assert names(chain.until("2024-01-05")) == ["OfferExpired"]
        assert chain.balance(chain.lender).free == FUNDS
        assert chain.check(loan_id).status is LoanStatus.EXPIRED
        assert chain.refused(chain.borrower, Loan.accept, loan_id) == "NOT_OFFERED"
        assert chain.waiting() == 0

    def test_nobody_accepts_after_the_expiry_even_before_the_calendar_comes_to_it(self, chain: LoanChain) -> None:
        loan_id = chain.offer(open_terms(), days=3)
        chain.hold_up_the_calendar()
        chain.leap("2024-01-05")
        receipt = chain.send(chain.borrower, Loan.accept, loan_id, gas_limit=500_000)
        assert receipt.error is not None
        assert receipt.error.code == "NOT_OFFERED"
        assert chain.check(loan_id).status is LoanStatus.OFFERED

    def test_expiry_after_the_lender_reclaimed_his_hold_himself(self, chain: LoanChain) -> None:
        """That takes a calendar more than a week behind."""
        loan_id = chain.offer(open_terms(), days=3)
        chain.hold_up_the_calendar()
        chain.leap("2024-01-12")
        receipt = chain.send(chain.lender, Asset.reclaim, loan_id, gas_limit=500_000)
        assert receipt.status is Status.SUCCEEDED, receipt.error
        chain.let_go()
        assert names(chain.until("2024-01-13")) == ["OfferExpired"]
        assert chain.balance(chain.lender).free == FUNDS

    @pytest.mark.parametrize(
        ("change", "expected"),
        [
            ({"borrower": account("lender").address}, "BAD_PARTIES"),
            ({"borrower": contract_address(NAME)}, "BAD_RECIPIENT"),
            ({"pay_to": Address(bytes(33))}, "BAD_RECIPIENT"),
            ({"pay_to": contract_address("asset")}, "BAD_RECIPIENT"),
            ({"lien": "wvw"}, "BAD_VEHICLE"),
            ({"lien": "-A"}, "BAD_VEHICLE"),
            ({"lien": "A B"}, "BAD_VEHICLE"),
            ({"lien": "A\n"}, "BAD_VEHICLE"),
            ({"expires": 0}, "BAD_EXPIRY"),
            ({"expires": OFFER_MS_MAX + 1}, "BAD_EXPIRY"),
            ({"terms": loan(start="2023-12-31")}, "NOT_DISBURSEMENT_DAY"),
            ({"terms": loan(start="2024-01-09"), "expires": 7 * DAY_MS}, "EXPIRES_TOO_EARLY"),
            ({"terms": loan(str(FUNDS // 10**8 + 1))}, "INSUFFICIENT_FUNDS"),
        ],
    )
    def test_refused(self, chain: LoanChain, change: dict[str, Any], expected: str) -> None:
        values: dict[str, Any] = {
            "terms": loan(),
            "borrower": chain.borrower.address,
            "pay_to": None,
            "lien": None,
            "expires": DAY_MS,
        }
        values |= change
        expires = chain.now_ms + values.pop("expires")
        assert chain.refused(chain.lender, Loan.offer, *values.values(), expires) == expected
        assert not chain.events

    def test_terms_no_loan_can_have_fail_the_call_and_nothing_else(self, chain: LoanChain) -> None:
        """They come as arguments from anybody: a principal of 0, in a block with another transaction."""
        good = chain.call(Loan.offer, loan(), chain.borrower.address, None, None, chain.now_ms + DAY_MS)
        terms: Any = good.args[0]
        bad = Call(good.contract, good.method, ((0, *terms[1:]), *good.args[1:]))
        execution = chain.block(chain.transaction(chain.lender, bad), chain.transaction(chain.lender, good))
        assert [receipt.status for receipt in execution.receipts] == [Status.FAILED, Status.SUCCEEDED]
        error = execution.receipts[0].error
        assert error is not None
        assert error.code == "BAD_ARGUMENTS"
        assert "principal must be within" in error.message


class TestAccept:
    def test_moves_the_money_and_plans_the_first_instalment(self, chain: LoanChain) -> None:
        loan_id = chain.lend(open_terms())
        assert chain.balance(chain.borrower).free == FUNDS + motes("100")
        assert chain.balance(chain.lender) == Balance(Motes(FUNDS - motes("100")), Motes(0), Motes(0))
        view = chain.check(loan_id)
        assert (view.status, view.day, view.agreement.terms) == (LoanStatus.ACTIVE, day("2024-01-01"), loan())
        assert view.next == Attempt(1, 0, day("2024-02-01"))
        assert view.mandate_id is not None
        mandate = chain.query(Asset.get_mandate, view.mandate_id)
        assert (mandate.owner, mandate.holder, mandate.purpose) == (chain.borrower.address, contract_address(NAME), "loan")
        [_, disbursed] = chain.events
        assert (disbursed.name, disbursed.instalment, disbursed.first_due_day) == (
            "LoanDisbursed",
            motes("17.01"),
            day("2024-02-01"),
        )
        assert chain.waiting() == 1

    def test_pays_the_seller_where_that_was_agreed(self, chain: LoanChain) -> None:
        chain.lend(loan(), pay_to=chain.seller)
        assert chain.balance(chain.seller).free == motes("100")
        assert chain.balance(chain.borrower).free == FUNDS

    def test_is_the_borrowers_alone_and_once(self, chain: LoanChain) -> None:
        loan_id = chain.offer(loan())
        for sender in (chain.lender, chain.anybody):
            assert chain.refused(sender, Loan.accept, loan_id) == "NOT_PERMITTED"
        chain.do(chain.borrower, Loan.accept, loan_id)
        assert chain.refused(chain.borrower, Loan.accept, loan_id) == "NOT_OFFERED"
        assert chain.refused(chain.borrower, Loan.accept, UNKNOWN) == "UNKNOWN_LOAN"

    def test_only_on_the_agreed_day_where_there_is_one(self, chain: LoanChain) -> None:
        loan_id = chain.offer(loan(start="2024-01-03"))
        assert chain.refused(chain.borrower, Loan.accept, loan_id) == "NOT_DISBURSEMENT_DAY"
        chain.until("2024-01-03")
        chain.do(chain.borrower, Loan.accept, loan_id)
        late = chain.offer(loan(start="2024-01-03"))
        chain.until("2024-01-04")
        assert chain.refused(chain.borrower, Loan.accept, late) == "NOT_DISBURSEMENT_DAY"

    def test_the_day_is_the_one_of_the_loans_own_time(self, chain: LoanChain) -> None:
        """13:00 UTC on 1 January is 2 January 11 hours and more to the east, and due days begin there at their midnight."""
        chain.advance(HOUR_MS)
        terms = dataclasses.replace(open_terms(), utc_offset_minutes=14 * 60)
        loan_id = chain.lend(terms)
        view = chain.check(loan_id)
        assert view.agreement.terms.disbursed_on == day("2024-01-02")
        assert view.next == Attempt(1, 0, day("2024-02-02"))
        due_ms = local_midnight_ms(day("2024-02-02"), 14 * 60)
        assert not chain.until_ms(due_ms - 1)
        chain.advance(1)
        chain.block()
        assert names(chain.events[-2:]) == ["InstalmentDue", "LoanPaid"]

    def test_terms_that_do_not_fit_the_day_are_refused(self) -> None:
        """Due on the 1st, moved to the Friday before: 1 February 2026 is a Sunday, and the 30th is over."""
        chain = LoanChain("2026-01-31")
        terms = dataclasses.replace(open_terms(), due_day=1, business_days=BusinessDays.PREVIOUS)
        assert chain.refused(chain.borrower, Loan.accept, chain.offer(terms)) == "BAD_INPUT"

    def test_one_lien_on_a_vehicle_at_a_time(self, chain: LoanChain) -> None:
        first = chain.lend(loan(), lien=VIN)
        assert names(chain.events)[-1] == "LienTaken"
        assert chain.query(Loan.lien_of, VIN) == first
        second = chain.offer(loan(), lien=VIN)
        assert chain.refused(chain.borrower, Loan.accept, second) == "LIEN_EXISTS"
        chain.do(chain.borrower, Loan.pay_off, first, motes("100"))
        assert chain.query(Loan.lien_of, VIN) is None
        chain.do(chain.borrower, Loan.accept, second)
        assert chain.query(Loan.lien_of, VIN) == second


class TestPay:
    def test_anybody_pays_and_only_what_is_needed_is_taken(self, chain: LoanChain) -> None:
        """Overpayment goes back: it never leaves its owner."""
        loan_id = chain.lend(loan(), lien=VIN)
        chain.until("2024-02-15")
        assert chain.query(Loan.payoff_quote, loan_id, 0).total == motes("83.81")
        receipt = chain.do(chain.anybody, Loan.pay, loan_id, motes("500"))
        assert receipt.results == (motes("83.81"),)
        assert chain.balance(chain.anybody).free == FUNDS - motes("83.81")
        assert chain.balance(chain.lender).free == FUNDS + motes("0.82")  # 0.58 and 0.24 of interest
        assert names(chain.events)[-3:] == ["LoanPaid", "LienReleased", "LoanClosed"]
        view = chain.check(loan_id)
        assert (view.status, view.payoff, view.next) == (LoanStatus.CLOSED, 0, None)
        assert chain.bookings(loan_id)[-1].payer == chain.anybody.address

    def test_when_closed_nothing_is_drawn_any_more(self, chain: LoanChain) -> None:
        loan_id = chain.lend(loan())
        mandate_id = chain.loan(loan_id).mandate_id
        chain.do(chain.borrower, Loan.pay, loan_id, motes("100"))
        assert chain.waiting() == 0
        assert code(chain, Asset.get_mandate, mandate_id) == "UNKNOWN_MANDATE"
        before = chain.balance(chain.borrower)
        assert chain.until("2024-12-31") == []
        assert chain.balance(chain.borrower) == before
        for method, *args in ((Loan.pay, 1), (Loan.pay_off, 1)):
            assert chain.refused(chain.borrower, method, loan_id, *args) == "NOT_RUNNING"
        assert chain.refused(chain.lender, Loan.write_off, loan_id) == "NOT_RUNNING"
        assert chain.refused(chain.lender, Loan.reverse_payment, loan_id, 1) == "NOT_RUNNING"

    def test_payoff_after_one_instalment(self, chain: LoanChain) -> None:
        """The vector of Fineract: 83.57 + 0.24 on 15 February after one instalment on time."""
        loan_id = chain.lend(loan())
        chain.until("2024-02-15")
        quoted = chain.query(Loan.payoff_quote, loan_id, 0)
        assert quoted.parts == Outstanding(motes("83.57"), motes("0.24"), Motes(0), Motes(0))
        assert chain.refused(chain.borrower, Loan.pay_off, loan_id, motes("83.80")) == "PAYOFF_CHANGED"
        assert chain.do(chain.borrower, Loan.pay_off, loan_id, motes("83.81")).results == (motes("83.81"),)
        assert chain.check(loan_id).status is LoanStatus.CLOSED

    def test_payoff_can_be_quoted_for_a_later_day_but_no_earlier_one(self, chain: LoanChain) -> None:
        loan_id = chain.lend(loan())
        assert chain.query(Loan.payoff_quote, loan_id, day("2024-02-15")).total == motes("100.86")
        assert chain.query(Loan.payoff_quote, loan_id, day("2060-02-15")).parts.principal == motes("100")
        chain.until("2024-01-15")
        chain.do(chain.borrower, Loan.pay, loan_id, Motes(1))
        assert code(chain, Loan.payoff_quote, loan_id, day("2024-01-14")) == "BAD_INPUT"

    @pytest.mark.parametrize(
        ("early", "paid", "third_due"),
        [
            ("next_instalment", ("17.01", "17.01", "2.99", "0", "0", "0"), "17.01"),
            ("last_instalment", ("17.01", "0", "0", "0", "2.99", "17.01"), "17.01"),
            ("reamortise", ("17.01", "20.00", "0", "0", "0", "0"), "12.94"),
        ],
    )
    def test_money_ahead_goes_where_it_was_agreed(
        self, chain: LoanChain, early: str, paid: tuple[str, ...], third_due: str
    ) -> None:
        """20.00 on 15 February pay the next instalments, the last ones, or lower those to come: 63.57 over five of them."""
        terms = loan(early=early)
        loan_id = chain.lend(terms)
        chain.until("2024-02-15")
        chain.do(chain.borrower, Loan.pay, loan_id, motes("20"))
        rows = chain.schedule(loan_id)
        assert [row.instalment.paid for row in rows] == list(map(motes, paid))
        assert rows[2].instalment.due == motes(third_due)
        [_, ahead] = chain.bookings(loan_id)
        assert (ahead.kind, ahead.amount, ahead.period) == (BookingKind.PAID, motes("20"), 0)
        assert rows == quote(terms, payments(chain, loan_id), day("2024-02-15")).rows
        chain.until("2024-12-01")
        assert chain.check(loan_id).status is LoanStatus.CLOSED

    def test_refused(self, chain: LoanChain) -> None:
        loan_id = chain.offer(loan())
        assert chain.refused(chain.borrower, Loan.pay, loan_id, Motes(1)) == "NOT_RUNNING"
        chain.do(chain.borrower, Loan.accept, loan_id)
        assert chain.refused(chain.borrower, Loan.pay, loan_id, Motes(0)) == "BAD_AMOUNT"
        assert chain.refused(chain.borrower, Loan.pay, UNKNOWN, Motes(1)) == "UNKNOWN_LOAN"
        poor = chain.account("poor", 5)
        assert chain.refused(poor, Loan.pay, loan_id, Motes(6)) == "INSUFFICIENT_FUNDS"
        assert chain.bookings(loan_id) == ()


class TestReads:
    @pytest.mark.parametrize("method", [Loan.get, Loan.schedule, Loan.bookings, Loan.payoff_quote])
    def test_of_no_loan(self, chain: LoanChain, method: Any) -> None:
        args = {Loan.get: (), Loan.payoff_quote: (0,)}.get(method, (1, 10))
        assert code(chain, method, UNKNOWN, *args) == "UNKNOWN_LOAN"

    def test_an_offer_shows_the_schedule_of_a_loan_taken_today(self, chain: LoanChain) -> None:
        expected = quote(loan(), [], day("2024-01-01")).rows
        assert chain.schedule(chain.offer(open_terms())) == expected
        assert chain.schedule(chain.offer(loan())) == expected
        later = chain.offer(loan(start="2024-01-05"))
        assert chain.schedule(later) == quote(loan(start="2024-01-05"), [], day("2024-01-05")).rows
        assert code(chain, Loan.payoff_quote, later, 0) == "NOT_RUNNING"

    def test_pages(self, chain: LoanChain) -> None:
        loan_id = chain.lend(loan())
        chain.until("2024-03-15")
        rows = chain.schedule(loan_id)
        assert chain.query(Loan.schedule, loan_id, 3, 2) == rows[2:4]
        assert chain.query(Loan.schedule, loan_id, 6, 100) == rows[5:]
        assert chain.query(Loan.schedule, loan_id, 0, 1) == ()
        assert chain.query(Loan.instalments, loan_id, 1, 1_000) == tuple(row.instalment for row in rows[:2])
        assert chain.query(Loan.instalments, loan_id, 2, 1) == (rows[1].instalment,)
        assert chain.query(Loan.instalments, loan_id, 3, 5) == ()
        assert chain.query(Loan.instalments, loan_id, 2**16 - 1, 2**16 - 1) == ()
        booked = chain.bookings(loan_id)
        assert len(booked) == 2
        assert chain.query(Loan.bookings, loan_id, 2, 1) == booked[1:]
        assert chain.query(Loan.bookings, loan_id, 0, 1) == ()
        assert chain.query(Loan.bookings, loan_id, 3, 1) == ()
        assert chain.query(Loan.bookings, loan_id, 2**32 - 1, 2**16 - 1) == ()

    def test_what_is_over_is_shown_as_it_ended(self, chain: LoanChain) -> None:
        loan_id = chain.lend(loan())
        chain.until("2024-02-15")
        chain.do(chain.borrower, Loan.pay_off, loan_id, motes("84"))
        at_the_end = chain.schedule(loan_id)
        chain.until("2024-12-15")
        assert chain.schedule(loan_id) == at_the_end
        assert [row.balance for row in at_the_end] == [motes("83.57"), 0, 0, 0, 0, 0]


@pytest.mark.parametrize("vector", list(vectors()), ids=lambda vector: vector.name)
def test_fineract(vector: Vector) -> None:
    """Every schedule of the vector file by a running loan: nothing is collected, and what the vector says was paid is paid."""
    chain, loan_id = LoanChain.lived(vector.terms, vector.payments)
    chain.until(day_text(vector.day))
    shown = [
        (
            day_text(Day(row.instalment.due_day)) if date else "",
            row.instalment.principal,
            row.instalment.interest,
            row.instalment.paid,
        )
        for row, (date, *_) in zip(chain.schedule(loan_id), vector.rows, strict=True)
    ]
    assert shown == [(date, *map(motes, amounts)) for date, *amounts in vector.rows]
    chain.check(loan_id)

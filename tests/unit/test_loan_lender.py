"""What the lender of a running loan may do: charge fees, give payments back, call default, write off."""

import dataclasses
from typing import Any

import pytest

from ledger.types import Motes
from tests.loan_cases import loan, motes
from tests.loan_chain import LoanChain, day, names
from vm.calendar import day_text
from vm.contracts.asset import Asset
from vm.contracts.loan import Loan
from vm.contracts.loan_types import Attempt, BookingKind, LoanStatus, Outstanding
from vm.loan.schedule import Payment, quote, replay
from vm.loan.state import Split
from vm.loan.terms import Terms

VIN = "WVWZZZ1JZXW000001"


def terms(**changes: Any) -> Terms:
    """100.00 over six months, retried after 1, 3 and 7 days, with a late fee of 5.00 after 3 days."""
    return dataclasses.replace(loan(late_fee=motes("5"), grace_days=3), retry_days=(1, 3, 7), **changes)


@pytest.fixture
def chain() -> LoanChain:
    return LoanChain()


class TestFee:
    terms = dataclasses.replace(loan(), fee_limit=motes("2"))

    def test_is_charged_on_what_fell_due_and_collected_first(self, chain: LoanChain) -> None:
        loan_id = chain.lend(self.terms)
        chain.drain()
        chain.until("2024-02-01")
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, motes("1.5"), "a letter")
        assert (chain.events[-1].name, chain.events[-1].reason) == ("FeeCharged", "a letter")
        assert chain.check(loan_id).due == motes("18.51")
        chain.do(chain.anybody, Loan.pay, loan_id, motes("2"))
        assert chain.bookings(loan_id)[-1].split == Split(fee=motes("1.5"), interest=motes("0.5"))
        assert [each.kind for each in chain.bookings(loan_id)] == [BookingKind.FEE, BookingKind.PAID]

    def test_of_a_paid_instalment_is_collected_on_the_next_retry_or_due_day(self, chain: LoanChain) -> None:
        loan_id = chain.lend(dataclasses.replace(self.terms, retry_days=(5,)))
        chain.until("2024-02-02")
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, motes("1"), "a letter")
        assert chain.loan(loan_id).next == Attempt(1, 1, day("2024-02-06"))
        assert names(chain.until("2024-02-07")) == ["LoanPaid"]
        assert chain.check(loan_id).due == 0

    def test_brings_no_late_fee_where_the_instalment_itself_was_paid_in_time(self, chain: LoanChain) -> None:
        """Else a lender could charge a mote on the last day of grace, and have 5.00 for its not being paid."""
        loan_id = chain.lend(dataclasses.replace(terms(fee_limit=motes("2")), retry_days=()))
        chain.until("2024-02-04")
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, Motes(1), "a letter")
        chain.until("2024-02-20")
        assert "LateFeeCharged" not in names(chain.events)
        assert chain.check(loan_id).due == 1

    def test_refused(self, chain: LoanChain) -> None:
        loan_id = chain.lend(self.terms)
        charge = (Loan.charge_fee, loan_id)
        assert chain.refused(chain.lender, *charge, 1, motes("1"), "x") == "NOT_DUE"
        chain.until("2024-02-01")
        assert chain.refused(chain.borrower, *charge, 1, motes("1"), "x") == "NOT_PERMITTED"
        assert chain.refused(chain.lender, *charge, 0, motes("1"), "x") == "NOT_DUE"
        assert chain.refused(chain.lender, *charge, 1, Motes(0), "x") == "BAD_AMOUNT"
        assert chain.refused(chain.lender, *charge, 1, motes("2.01"), "x") == "FEE_NOT_AGREED"
        chain.do(chain.lender, *charge, 1, motes("2"), "x")
        assert chain.refused(chain.lender, *charge, 1, Motes(1), "x") == "FEE_NOT_AGREED"
        plain = chain.lend(loan(start="2024-02-01"))
        chain.until("2024-03-01")
        assert chain.refused(chain.lender, Loan.charge_fee, plain, 1, Motes(1), "x") == "FEE_NOT_AGREED"


class TestDefault:
    def test_is_called_when_an_instalment_is_overdue_for_long_enough(self, chain: LoanChain) -> None:
        loan_id = chain.lend(dataclasses.replace(loan(), default_days=30), lien=VIN)
        chain.drain()
        chain.until("2024-03-01")
        assert chain.refused(chain.borrower, Loan.call_default, loan_id) == "NOT_PERMITTED"
        assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"
        chain.until("2024-03-02")
        chain.do(chain.lender, Loan.call_default, loan_id)
        [called, enforced] = chain.events[-2:]
        assert (called.name, called.number, called.overdue_since) == ("DefaultCalled", 1, day("2024-02-01"))
        assert called.owed.principal == motes("100")
        assert (enforced.name, enforced.vehicle) == ("LienEnforced", VIN)
        assert chain.check(loan_id).status is LoanStatus.DEFAULTED
        assert chain.refused(chain.lender, Loan.call_default, loan_id) == "IN_DEFAULT"

    def test_collection_goes_on_and_can_still_close_the_loan(self, chain: LoanChain) -> None:
        loan_id = chain.lend(dataclasses.replace(loan(), default_days=30), lien=VIN)
        chain.drain()
        chain.until("2024-03-15")
        chain.do(chain.lender, Loan.call_default, loan_id)
        chain.drain("500")
        chain.until("2024-07-02")
        assert chain.check(loan_id).status is LoanStatus.CLOSED
        assert chain.query(Loan.lien_of, VIN) is None

    def test_an_unpaid_fee_is_no_default(self, chain: LoanChain) -> None:
        loan_id = chain.lend(dataclasses.replace(loan(), default_days=10, fee_limit=motes("5")))
        chain.until("2024-02-01")
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, motes("5"), "x")
        chain.until("2024-02-20")
        assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"

    def test_nothing_is_overdue_on_a_loan_that_is_paid(self, chain: LoanChain) -> None:
        loan_id = chain.lend(dataclasses.replace(loan(), default_days=0))
        chain.until("2024-02-20")
        assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"


class TestWriteOff:
    def test_ends_the_loan_with_what_is_owed_noted(self, chain: LoanChain) -> None:
        loan_id = chain.lend(loan(late_fee=motes("5"), grace_days=3), lien=VIN)
        chain.until("2024-02-01")
        chain.drain()
        chain.until("2024-03-15")
        assert chain.refused(chain.borrower, Loan.write_off, loan_id) == "NOT_PERMITTED"
        chain.do(chain.lender, Loan.write_off, loan_id)
        [written_off] = [event for event in chain.events if event.name == "LoanWrittenOff"]
        view = chain.check(loan_id)
        assert view.status is LoanStatus.WRITTEN_OFF
        assert view.written_off == written_off.given_up == Outstanding(motes("83.57"), motes("0.71"), Motes(0), motes("5"))
        assert (view.outstanding, view.principal_paid, view.due, view.payoff) == (0, motes("16.43"), 0, 0)
        assert (chain.waiting(), chain.query(Loan.lien_of, VIN)) == (0, None)
        chain.drain("500")
        assert chain.until("2025-01-01") == []
        assert chain.refused(chain.lender, Loan.write_off, loan_id) == "NOT_RUNNING"

    def test_after_a_default(self, chain: LoanChain) -> None:
        loan_id = chain.lend(dataclasses.replace(loan(), default_days=1))
        chain.drain()
        chain.until("2024-02-15")
        chain.do(chain.lender, Loan.call_default, loan_id)
        chain.do(chain.lender, Loan.write_off, loan_id)
        assert chain.check(loan_id).status is LoanStatus.WRITTEN_OFF


class TestReversal:
    def test_gives_the_money_back_and_the_account_is_as_if_it_had_never_come(self, chain: LoanChain) -> None:
        agreed = terms(late_fee=Motes(0))
        loan_id = chain.lend(agreed)
        chain.drain("500")
        chain.until("2024-02-10")
        chain.do(chain.anybody, Loan.pay, loan_id, motes("20"))
        chain.until("2024-03-03")
        before = chain.balance(chain.borrower).free
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 1)
        assert chain.balance(chain.borrower).free == before + motes("17.01")
        booked = chain.bookings(loan_id)
        assert [each.reversed for each in booked] == [True, False]
        left = [Payment(day(day_text(each.day)), each.amount) for each in booked[1:]]  # type: ignore[arg-type]
        expected = quote(agreed, left, day("2024-03-03"))
        assert chain.schedule(loan_id) == expected.rows
        view = chain.check(loan_id)
        assert view.payoff == expected.payoff
        account, _ = replay(agreed, left, day("2024-03-03"))
        assert view.due == account.state.due > 0
        [reversal] = [event for event in chain.events if event.name == "PaymentReversed"]
        assert (reversal.number, reversal.payer, reversal.amount) == (1, chain.borrower.address, motes("17.01"))

    def test_what_was_paid_ahead_is_taken_back_out_of_the_book(self, chain: LoanChain) -> None:
        """A payment of three instalments ahead had closed them; without it they are as agreed, and nothing of it stays stored."""
        loan_id = chain.lend(terms())
        fresh = chain.schedule(loan_id)
        chain.do(chain.anybody, Loan.pay, loan_id, motes("60"))
        assert len(chain.query(Loan.instalments, loan_id, 1, 6)) == 4
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 1)
        assert chain.query(Loan.instalments, loan_id, 1, 6) == ()
        assert chain.schedule(loan_id) == fresh
        assert chain.check(loan_id).outstanding == motes("100")

    def test_brings_no_late_fee_for_the_past(self, chain: LoanChain) -> None:
        """Otherwise a lender could give 17.01 back and take 5.00 of late fee for it."""
        loan_id = chain.lend(terms())
        chain.until("2024-05-20")
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 4)
        assert "LateFeeCharged" not in names(chain.events)
        assert sum(chain.row(loan_id, number).penalty for number in range(1, 5)) == 0
        chain.drain()
        chain.until("2024-06-10")
        assert [event.number for event in chain.events if event.name == "LateFeeCharged"] == [5]

    def test_brings_no_late_fee_within_the_grace_days_for_what_was_paid_on_time(self, chain: LoanChain) -> None:
        """Given back on the last day of grace, the borrower would else have to pay again by midnight."""
        loan_id = chain.lend(terms())
        chain.until("2024-02-04")
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 1)
        chain.drain()
        chain.until("2024-02-20")
        assert chain.check(loan_id).due == motes("17.01")
        assert "LateFeeCharged" not in names(chain.events)
        chain.until("2024-03-06")
        assert [event.number for event in chain.events if event.name == "LateFeeCharged"] == [2]

    def test_leaves_the_late_fee_of_what_was_unpaid_anyway(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms())
        chain.drain("10")
        chain.until("2024-02-04")
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 1)
        chain.drain()
        chain.until("2024-02-06")
        assert [event.number for event in chain.events if event.name == "LateFeeCharged"] == [1]

    def test_is_possible_for_a_month(self, chain: LoanChain) -> None:
        """The lender had the money and yet gets interest as if not: not for years, as for what was paid early."""
        loan_id = chain.lend(terms())
        chain.do(chain.anybody, Loan.pay, loan_id, motes("50"))
        chain.until("2024-02-02")
        assert chain.refused(chain.lender, Loan.reverse_payment, loan_id, 1) == "OUTDATED"
        other = chain.lend(terms(disbursed_on=day("2024-02-02")))
        chain.do(chain.anybody, Loan.pay, other, motes("50"))
        chain.until("2024-03-04")
        chain.do(chain.lender, Loan.reverse_payment, other, 1)

    def test_is_no_default_before_the_chain_could_draw_again(self, chain: LoanChain) -> None:
        """A borrower who has the money does not lose the car by it, whatever the terms say of a default."""
        loan_id = chain.lend(terms(default_days=0), lien=VIN)
        chain.until("2024-02-05")
        for funds in ("100", "0"):
            chain.drain(funds)
            number = len(chain.bookings(loan_id))
            chain.do(chain.lender, Loan.reverse_payment, loan_id, number)
            assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"
            chain.until("2024-02-07" if funds == "100" else "2024-02-29")
            assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"
            chain.until("2024-02-08" if funds == "100" else "2024-03-01")
        chain.do(chain.lender, Loan.call_default, loan_id)

    def test_keeps_the_late_fees_that_were_charged_and_the_lenders_fees(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms(fee_limit=motes("2")))
        chain.drain()
        chain.until("2024-02-06")
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, motes("2"), "a letter")
        chain.do(chain.anybody, Loan.pay, loan_id, motes("10"))
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 2)
        row = chain.row(loan_id, 1)
        assert (row.penalty, row.fee, row.paid) == (motes("5"), motes("2"), 0)
        assert chain.check(loan_id).due == motes("24.01")

    def test_starts_the_days_before_a_default_anew(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms(default_days=60))
        chain.until("2024-05-20")
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 4)
        chain.drain()
        assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"
        chain.until("2024-07-30")
        assert chain.refused(chain.lender, Loan.call_default, loan_id) == "NOT_IN_DEFAULT"
        chain.until("2024-07-31")  # sixty days after the draw of 1 June
        chain.do(chain.lender, Loan.call_default, loan_id)

    def test_refused(self, chain: LoanChain) -> None:
        loan_id = chain.lend(terms(fee_limit=motes("2")))
        chain.until("2024-02-01")
        chain.do(chain.lender, Loan.charge_fee, loan_id, 1, motes("2"), "a letter")
        reverse = (Loan.reverse_payment, loan_id)
        assert chain.refused(chain.borrower, *reverse, 1) == "NOT_PERMITTED"
        for number in (0, 2, 3):
            assert chain.refused(chain.lender, *reverse, number) == "UNKNOWN_PAYMENT"
        chain.free(chain.lender, Asset.transfer, chain.anybody.address, Motes(chain.balance(chain.lender).free - 1))
        assert chain.refused(chain.lender, *reverse, 1) == "INSUFFICIENT_FUNDS"
        chain.free(chain.anybody, Asset.transfer, chain.lender.address, motes("100"))
        chain.do(chain.lender, *reverse, 1)
        assert chain.refused(chain.lender, *reverse, 1) == "UNKNOWN_PAYMENT"

    def test_is_refused_where_rounding_would_make_the_later_payments_too_much(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Interest in whole DATR: a hundredth paid early moves it on, so that in the end a whole one more is owed, and paid."""
        for days in ("REVERSAL_DAYS", "CHECKPOINT_DAYS"):
            monkeypatch.setattr(f"vm.contracts.loan_history.{days}", 366)
        chain = LoanChain("2022-01-08")
        options: dict[str, Any] = {"day_count": "ACT/360", "amortization": "equal_principal", "minor_unit": motes("1")}
        loan_id = chain.lend(loan("28", "30", 4, "2022-01-08", principal_grace=2, **options))
        chain.drain()
        for date, amount in (
            ("2022-01-23", 1_000_000),
            ("2022-03-09", 1_499_500_000),
            ("2022-04-01", 100_000_000),
            ("2022-05-09", 5),
            ("2022-05-10", 1_499_499_994),
        ):
            chain.until(date)
            chain.do(chain.anybody, Loan.pay, loan_id, Motes(amount))
        assert chain.check(loan_id).payoff == 1
        assert chain.refused(chain.lender, Loan.reverse_payment, loan_id, 1) == "NOT_REVERSIBLE"
        chain.do(chain.lender, Loan.reverse_payment, loan_id, 5)
        assert chain.check(loan_id).payoff == 1_499_499_995

"""The running account: the waterfall, late fees, early payment as agreed, payoff, and that only payments and their days count."""

import pytest

from ledger.types import Motes
from tests.loan_cases import loan, motes, payment
from vm.abi_types import type_spec
from vm.calendar import Day, parse_day
from vm.loan import state
from vm.loan.account import Account, WrongDayError
from vm.loan.schedule import Schedule, quote, replay, schedule
from vm.loan.state import Instalment, Split
from vm.loan.terms import Terms


def opened(terms: Terms | None = None) -> Account:
    return Account.opened(terms or loan(), {})


def pay(account: Account, date: str, amount: str) -> Split:
    return account.pay(parse_day(date), motes(amount))


def split(penalty: str = "0", fee: str = "0", interest: str = "0", principal: str = "0", returned: str = "0") -> Split:
    return Split(motes(penalty), motes(fee), motes(interest), motes(principal), motes(returned))


def plan(found: Schedule) -> list[tuple[int, int]]:
    return [(row.instalment.principal, row.instalment.interest) for row in found.rows]


def amounts(*pairs: tuple[str, str]) -> list[tuple[int, int]]:
    return [(motes(principal), motes(interest)) for principal, interest in pairs]


class TestWaterfall:
    def test_instalments_paid_ahead_are_not_gone_through_again_when_a_later_one_falls_due(self) -> None:
        """Forty years of them would be more than a call of the calendar has gas for."""
        account = opened(loan("5000", "12", 480))
        pay(account, "2024-01-01", "4000")
        ahead = account.state.next_early
        assert ahead > 50
        account.advance(account.terms.due_on(ahead + 1))
        assert account.state.oldest_open >= ahead
        assert account.due_of_oldest(2) == account.state.due > 0

    def test_what_the_oldest_instalments_ask_passes_over_paid_ones(self) -> None:
        account = opened()
        pay(account, "2024-05-01", "68.04")
        account.advance(parse_day("2024-06-01"))
        account.charge_fee(1, 5)
        assert (account.due_of_oldest(1), account.due_of_oldest(4), account.state.oldest_open) == (5, 5, 1)
        pay(account, "2024-06-01", "0.00000005")
        assert account.due_of_oldest(2) == 0
        assert account.due_of_oldest(2) == account.state.due > 0

    def test_each_instalment_pays_penalty_fee_interest_principal_and_the_oldest_comes_first(self) -> None:
        account = opened(loan(late_fee=motes("5"), grace_days=3))
        account.advance(parse_day("2024-03-10"))
        account.charge_fee(1, motes("2"))
        assert account.state.due == motes("46.02")  # twice 17.01, two late fees of 5, a fee of 2
        assert pay(account, "2024-03-10", "1") == split(penalty="1")
        assert pay(account, "2024-03-10", "5") == split(penalty="4", fee="1")
        assert pay(account, "2024-03-10", "2") == split(fee="1", interest="0.58", principal="0.42")
        assert pay(account, "2024-03-10", "18") == split(penalty="1.99", principal="16.01")
        assert account.instalment(1).outstanding == 0
        assert account.instalment(2).outstanding == motes("20.02")
        assert account.state.due_penalty == motes("3.01")

    def test_a_payment_of_nothing_brings_the_account_up_to_date(self) -> None:
        account = opened()
        assert pay(account, "2024-02-01", "0") == Split()
        assert account.state.due == motes("17.01")

    def test_a_partial_collection_leaves_the_rest_due(self) -> None:
        account = opened()
        assert pay(account, "2024-02-01", "10") == split(interest="0.58", principal="9.42")
        assert account.state.due == account.state.due_principal == motes("7.01")
        assert account.state.owed == motes("90.58")

    def test_days_go_forward_only(self) -> None:
        account = opened()
        pay(account, "2024-02-01", "17.01")
        with pytest.raises(WrongDayError, match="is before day") as caught:
            pay(account, "2024-01-31", "17.01")
        assert caught.value.reason == "wrong_day"
        with pytest.raises(WrongDayError):
            quote(loan(), [payment("2024-02-02", "1")], parse_day("2024-02-01"))


class TestLateFee:
    terms = loan(late_fee=motes("5"), grace_days=3)

    @pytest.mark.parametrize(("day", "penalty"), [("2024-02-04", "0"), ("2024-02-05", "5"), ("2024-02-28", "5")])
    def test_comes_after_the_grace_days_once(self, day: str, penalty: str) -> None:
        account = opened(self.terms)
        account.advance(parse_day(day))
        assert account.instalment(1).penalty == motes(penalty)

    def test_is_charged_before_a_payment_of_that_day_and_even_when_little_is_unpaid(self) -> None:
        account = opened(self.terms)
        pay(account, "2024-02-04", "17")
        assert pay(account, "2024-02-05", "1") == split(penalty="1")

    def test_is_not_charged_on_what_is_paid_within_the_grace_days(self) -> None:
        account = opened(self.terms)
        pay(account, "2024-02-04", "17.01")
        account.advance(parse_day("2024-02-20"))
        assert account.state.due == 0

    def test_no_penalty_on_a_penalty(self) -> None:
        """The instalment is paid but for its penalty: no further fee, no interest on it."""
        account = opened(self.terms)
        account.advance(parse_day("2024-02-10"))
        pay(account, "2024-02-10", "17.01")
        account.advance(parse_day("2024-02-29"))
        assert account.state.due == motes("5")
        assert account.instalment(1).penalty == motes("5")

    def test_goes_on_after_the_last_due_day(self) -> None:
        account = opened(self.terms)
        account.advance(parse_day("2025-01-01"))
        assert [account.instalment(number).penalty for number in range(1, 7)] == [motes("5")] * 6
        assert account.payoff == account.state.due


class TestEarlyPayment:
    def test_re_amortise_repays_at_once_and_lowers_the_instalment(self) -> None:
        """400 repaid on 25 June: 24 days of 1,000 and 6 of 600; three instalments of the annuity on 600."""
        account = opened(loan("1000", "7", 3, "2024-06-01", early="reamortise"))
        assert pay(account, "2024-06-25", "400") == split(principal="400")
        assert account.state.planned == motes("202.34")
        assert plan(schedule(account)) == amounts(("596.97", "5.37"), ("199.99", "2.35"), ("203.04", "1.18"))
        assert account.payoff == motes("604.67")

    def test_re_amortise_leaves_a_principal_grace_as_agreed(self) -> None:
        account = opened(loan("1000", "12", 6, early="reamortise", principal_grace=3, amortization="equal_principal"))
        pay(account, "2024-02-15", "10")
        assert pay(account, "2024-02-15", "400") == split(principal="400")
        assert account.state.planned == motes("200")
        assert [principal for principal, _ in plan(schedule(account))] == list(map(motes, ("0", "400", "0", "200", "200", "200")))

    def test_the_last_instalments_fill_from_the_end(self) -> None:
        account = opened(loan(early="last_instalment"))
        assert pay(account, "2024-01-01", "40") == split(principal="40")
        found = schedule(account)
        assert [row.instalment.paid for row in found.rows] == list(map(motes, ("0", "0", "0", "5.98", "17.01", "17.01")))
        assert found.rows[3].balance == motes("34.02")

    def test_the_next_instalment_skips_a_principal_grace(self) -> None:
        account = opened(loan("1000", "12", 4, principal_grace=2, amortization="equal_principal"))
        assert pay(account, "2024-01-16", "104.84") == split(interest="4.84", principal="100")
        assert account.instalment(2) == Instalment(2, account.terms.due_on(2))
        assert account.instalment(3).principal_paid == motes("100")
        assert plan(schedule(account)) == amounts(("0", "9.48"), ("0", "9"), ("500", "9"), ("500", "5"))

    def test_a_whole_instalment_ahead_closes_it(self) -> None:
        account = opened()
        assert pay(account, "2024-01-01", "17.01") == split(principal="17.01")
        assert account.instalment(1).closed
        account.advance(parse_day("2024-02-01"))
        assert account.state.due == 0
        assert plan(schedule(account))[1] == (motes("16.04"), motes("0.97"))  # two months of 82.99

    def test_interest_comes_first_in_the_next_instalment_too(self) -> None:
        """The first instalment is closed on 15 January; five days of 83.25 are 0.08, which the second pays before principal."""
        account = opened()
        pay(account, "2024-01-15", "17.01")
        assert pay(account, "2024-01-20", "5") == split(interest="0.08", principal="4.92")
        assert account.instalment(1).paid == motes("17.01")
        assert account.instalment(2).interest_paid == motes("0.08")
        found = schedule(account)
        assert found.rows[1].instalment.due == motes("17.01")
        assert plan(found)[1] == (motes("16.29"), motes("0.72"))  # with 12 days of 78.33, and February

    @pytest.mark.parametrize("early", ["next_instalment", "last_instalment", "reamortise"])
    def test_all_principal_but_no_interest_still_leaves_the_interest(self, early: str) -> None:
        account = opened(loan(early=early, interest_grace=2))
        assert pay(account, "2024-01-16", "100.1") == split(interest="0.10", principal="100")
        assert account.payoff == motes("0.18")
        pay(account, "2024-04-01", "0.18")
        assert account.is_closed
        account.advance(parse_day("2024-08-01"))
        assert account.is_closed

    def test_interest_that_was_put_off_is_not_part_of_the_plan(self) -> None:
        """Three months of deferred interest come on top of the fourth instalment; principal is repaid as without the grace."""
        plain, graced = (plan(quote(loan(interest_grace=grace), [], parse_day("2024-01-01"))) for grace in (0, 3))
        assert [principal for principal, _ in plain] == [principal for principal, _ in graced]
        assert [interest for _, interest in graced] == list(map(motes, ("0", "0", "0", "1.75", "0.20", "0.10")))


class TestPayoff:
    def test_closes_the_loan_and_returns_what_is_too_much(self) -> None:
        """1,000 and 4.67 of interest on 25 June, as in Fineract's C3939."""
        account = opened(loan("1000", "7", 3, "2024-06-01"))
        assert pay(account, "2024-06-25", "1100") == split(interest="4.67", principal="1000", returned="95.33")
        assert account.is_closed
        found = schedule(account)
        assert plan(found) == amounts(("1000", "4.67"), ("0", "0"), ("0", "0"))
        assert (found.payoff, found.rows[0].balance) == (0, 0)

    def test_of_a_closed_loan_everything_goes_back(self) -> None:
        account = opened()
        pay(account, "2024-01-31", "200")
        assert pay(account, "2024-02-01", "50") == split(returned="50")
        assert pay(account, "2025-02-01", "50") == split(returned="50")

    def test_includes_what_is_overdue_with_fees(self) -> None:
        account = opened(loan(late_fee=motes("5")))
        account.advance(parse_day("2024-02-15"))
        account.charge_fee(1, motes("2"))
        assert account.payoff == motes("107.86")  # 100, interest 0.58 and 0.28, 5 and 2
        assert pay(account, "2024-02-15", "107.86") == split("5", "2", "0.86", "100")
        assert account.is_closed

    @pytest.mark.parametrize("early", ["next_instalment", "last_instalment", "reamortise"])
    def test_after_money_ahead(self, early: str) -> None:
        account = opened(loan("1000", "7", 12, early=early))
        pay(account, "2024-01-16", "300")
        account.advance(parse_day("2024-03-20"))
        assert pay(account, "2024-03-20", str(account.payoff / 10**8)).returned == 0
        assert account.is_closed
        assert sum(principal for principal, _ in plan(schedule(account))) == motes("1000")


def test_how_often_the_account_is_looked_at_changes_nothing() -> None:
    terms = loan(late_fee=motes("5"), grace_days=3)
    payments = [payment("2024-02-15", "30"), payment("2024-04-20", "10")]
    daily: dict[int, Instalment] = {}
    account = Account.opened(terms, daily)
    for day in range(terms.disbursed_on, parse_day("2024-09-01") + 1):
        account.advance(Day(day))
        for each in payments:
            if each.day == day:
                account.pay(each.day, each.amount)
    at_once, _ = replay(terms, payments, parse_day("2024-09-01"))
    assert account.state == at_once.state
    assert [account.instalment(number) for number in range(1, 7)] == [at_once.instalment(number) for number in range(1, 7)]


def test_a_schedule_leaves_the_account_as_it_is() -> None:
    book: dict[int, Instalment] = {}
    account = Account.opened(loan(), book)
    pay(account, "2024-01-15", "15")
    before, kept = account.state, dict(book)
    schedule(account)
    assert (account.state, book) == (before, kept)


def test_only_instalments_that_fell_due_or_were_paid_are_kept() -> None:
    book: dict[int, Instalment] = {}
    account = Account.opened(loan("1000", "7", 480), book)
    assert not book
    account.advance(account.terms.due_on(1))
    assert set(book) == {1}


def test_state_and_instalments_can_be_stored_by_a_contract() -> None:
    account = opened(loan(late_fee=Motes(1)))
    pay(account, "2024-03-05", "20")
    stored: dict[str, object] = {
        "LoanState": account.state,
        "Instalment": account.instalment(1),
        "Split": pay(account, "2024-03-06", "1"),
    }
    for name, value in stored.items():
        spec = type_spec(getattr(state, name))
        assert spec.decode(spec.encode(value)) == value
        assert all(spec.docs)

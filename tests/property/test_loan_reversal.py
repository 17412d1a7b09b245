"""Giving a payment back, over random loans and payments: the account is made anew of the others."""

from dataclasses import replace

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.types import Address, Motes
from tests.loan_rebuild import rebuilt
from tests.property.test_loan import histories
from vm.calendar import Day
from vm.contracts.loan_types import Booking, BookingKind
from vm.loan.account import Account
from vm.loan.schedule import Payment, replay
from vm.loan.state import Split
from vm.loan.terms import Terms


def booking(payment: Payment) -> Booking:
    """A payment as the contract books it; where it went is worked out anew anyway."""
    return Booking(BookingKind.PAID, payment.day, Address(bytes(33)), Motes(payment.amount), Split())


@given(histories(), st.data())
@settings(max_examples=80, deadline=None)
def test_a_reversal_leaves_the_account_without_the_payment(
    history: tuple[Terms, list[Payment], Day], data: st.DataObject
) -> None:
    """It keeps exactly the late fees there were and owes what the payment had repaid; but for rounding no less than before."""
    terms, payments, day = history
    old = Account.opened(terms, {})
    taken = []
    for payment in payments:
        amount = payment.amount - old.pay(payment.day, payment.amount).returned
        if old.is_closed:
            break
        if amount:
            taken.append(Payment(payment.day, amount))
    if old.is_closed or not taken:
        return
    old.advance(day)
    reversed_at = data.draw(st.integers(0, len(taken) - 1))
    booked = [booking(payment) for payment in taken]
    booked[reversed_at] = replace(booked[reversed_at], reversed=True)
    new, book, splits = rebuilt(old, booked)
    assert {number for number, row in book.items() if row.penalty} == {
        number for number in range(1, old.state.number) if old.instalment(number).penalty
    }
    slack = terms.minor_unit * terms.instalments  # what rounding can make of it
    assert new.payoff + slack >= old.payoff
    live = [split for split in splits if not split.reversed]
    assert sum(split.split.principal for split in live) + new.state.owed == terms.principal
    assert sum(split.split.returned for split in live) <= slack
    if not terms.late_fee:
        expected = replay(terms, [payment for at, payment in enumerate(taken) if at != reversed_at], day)[0].state
        assert replace(new.state, next_late=expected.next_late) == expected

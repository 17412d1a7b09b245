"""The model of a reversal: a loan's account made anew from all its bookings since the money moved."""

from collections.abc import Iterable
from dataclasses import replace

from vm.calendar import Day
from vm.contracts.loan_types import Booking, BookingKind
from vm.loan.account import Account
from vm.loan.state import Instalment, LoanState


class Rebuilt(Account):
    """An account made anew: late fees are those that were charged, so that giving money back never costs the borrower one."""

    charged: set[int]

    def is_late(self, row: Instalment) -> bool:
        """Whether the late fee was charged on it."""
        return row.number in self.charged


def rebuilt(old: Account, bookings: Iterable[Booking]) -> tuple[Account, dict[int, Instalment], list[Booking]]:
    """An account made anew of its bookings but for the reversed ones; its book; and the bookings as split now.

    What was paid until now brings no late fee any more, also where its grace days are not over.
    """
    terms, book = old.terms, dict[int, Instalment]()
    account, booked = Rebuilt.opened(terms, book), list[Booking]()
    account.charged = {number for number in range(1, old.state.number) if old.instalment(number).penalty}
    for booking in bookings:
        if booking.reversed:
            booked.append(booking)
        elif booking.kind is BookingKind.FEE:
            account.advance(Day(booking.day))
            account.charge_fee(booking.period, booking.amount)
            booked.append(booking)
        else:
            booked.append(replace(booking, split=account.pay(Day(booking.day), booking.amount)))
    account.advance(Day(old.state.day))
    unpaid = (number for number in range(old.state.next_late, old.state.number) if old.instalment(number).is_overdue)
    account.state = replace(account.state, next_late=next(unpaid, old.state.number))
    return account, book, booked


def comparable(account: Account) -> LoanState:
    """An account's state with `oldest_open` at the first open instalment: it may point to one before, as a hint where to look."""
    open_ones = (number for number in range(1, account.state.number) if account.instalment(number).outstanding)
    first = next(open_ones, account.state.number)
    assert account.state.oldest_open <= first or not account.state.due
    return replace(account.state, oldest_open=first)

"""When the chain collects a loan, and the account of a loan in the contract's storage. Nothing here moves money."""

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Final

from ledger.types import Motes
from vm.calendar import Day, date_of
from vm.contract import Map
from vm.contracts.loan_types import Attempt, Booking, BookingKind, Outstanding
from vm.loan.account import Account
from vm.loan.state import Book, Instalment, LoanState, Split
from vm.loan.terms import MONTHS_PER_YEAR, NOTHING, Terms

DUE: Final = 0
"""The number of an instalment's first attempt, on its due day."""
ROW_GAS: Final = 30_000
"""Changing an instalment, beyond what storage shows of it; looking at one takes a sixth."""


class StoredBook:
    """A loan's instalments in the contract's storage. What is written stays here until `save`, so that each is stored once.

    Each is charged for as it comes, since a payment may change any number of them.
    """

    __slots__ = ("_charge", "_loan_id", "_read", "_rows", "_written")

    def __init__(self, rows: Map[tuple[bytes, int], Instalment], loan_id: bytes, charge: Callable[[int], None]) -> None:
        self._charge = charge
        self._rows = rows
        self._loan_id = loan_id
        self._read: dict[int, Instalment | None] = {}
        self._written: dict[int, Instalment] = {}

    def get(self, number: int, /) -> Instalment | None:
        """Return an instalment, as written last."""
        if number in self._written:
            return self._written[number]
        if number not in self._read:
            self._charge(ROW_GAS // 6)
            self._read[number] = self._rows.get((self._loan_id, number), None)
        return self._read[number]

    def __setitem__(self, number: int, instalment: Instalment, /) -> None:
        self._charge(ROW_GAS)
        self._written[number] = instalment

    def replace(self, book: dict[int, Instalment], last: int) -> None:
        """Make this the book of instalments up to `last`; what another book does not have is forgotten."""
        self._written.clear()
        for number in range(1, last + 1):
            new = book.get(number)
            if new is None and self.get(number) is not None:
                del self._rows[self._loan_id, number]
                self._read[number] = None
            elif new is not None and new != self.get(number):
                self._written[number] = new

    def save(self) -> None:
        """Store what was written."""
        for number, instalment in self._written.items():
            self._rows[self._loan_id, number] = instalment
        self._read |= self._written
        self._written.clear()


def offsets(terms: Terms) -> tuple[int, ...]:
    """Return the days after a due day on which something is done while the instalment is unpaid: attempts 1, 2 and so on.

    They are the retry days, and the day on which the late fee is charged; on that one alone nothing is drawn.
    """
    fee_day = {terms.grace_days + 1} if terms.late_fee else set[int]()
    return tuple(sorted(fee_day | set(terms.retry_days)))


def is_drawing(terms: Terms, attempt: int) -> bool:
    """Return whether an attempt draws money: on the due day and on the retry days."""
    return attempt == DUE or offsets(terms)[attempt - 1] in terms.retry_days


def next_attempt(account: Account) -> Attempt:
    """Return what comes next after the day the account has reached: the next due day, or an earlier day of an unpaid instalment.

    Of several on one day, one that draws: it does for all. After the last due day there is an attempt a month for as long as
    something is owed.
    """
    terms, found = account.terms, [_next_due(account), *_open_attempts(account, offsets(account.terms))]
    return min(found, key=lambda attempt: (attempt.day, not is_drawing(terms, attempt.number), attempt.number))


def next_draw(account: Account) -> Day:
    """Return the next day after the one the account has reached on which money is drawn."""
    return Day(min(attempt.day for attempt in (_next_due(account), *_open_attempts(account, account.terms.retry_days))))


def _next_due(account: Account) -> Attempt:
    terms, number = account.terms, account.state.number
    if number > terms.instalments:
        begun, today = date_of(Day(terms.disbursed_on)), date_of(Day(account.state.day))
        months = (today.year - begun.year) * MONTHS_PER_YEAR + today.month - begun.month
        number = max(number, months)
        while terms.due_on(number) <= account.state.day:
            number += 1
    return Attempt(number, DUE, terms.due_on(number))


def _open_attempts(account: Account, days: tuple[int, ...]) -> Iterable[Attempt]:
    """Yield the next attempt of each unpaid instalment that has one left, of those so many days after its due day."""
    terms, today, number = account.terms, account.state.day, account.state.number - 1
    while days and number >= account.state.oldest_open and (due := terms.due_on(number)) + days[-1] > today:
        if account.instalment(number).outstanding:
            index = next(index for index, offset in enumerate(days) if due + offset > today)
            yield Attempt(number, index + 1, due + days[index])
        number -= 1


class StoredAccount(Account):
    """An account in the contract's storage. While `excused`, nobody is late: the chain itself was."""

    __slots__ = ("excused",)

    def __init__(self, terms: Terms, state: LoanState, book: Book) -> None:
        super().__init__(terms, state, book)
        self.excused = False

    def is_late(self, row: Instalment) -> bool:
        """Return whether an instalment is charged the late fee when its grace days are over."""
        return not self.excused and super().is_late(row)


class _Rebooked(Account):
    """An account made anew: late fees are those that were charged, so that giving money back never costs the borrower one."""

    __slots__ = ("charged",)

    charged: set[int]

    def is_late(self, row: Instalment) -> bool:
        """Return whether the late fee was charged on it."""
        return row.number in self.charged


def rebooked(old: Account, bookings: Iterable[Booking]) -> tuple[Account, dict[int, Instalment], list[Booking]]:
    """Return an account made anew of its bookings but for the reversed ones; its book; and the bookings as split now.

    What was paid until now brings no late fee any more, also where its grace days are not over.
    """
    terms, book = old.terms, dict[int, Instalment]()
    account, booked = _Rebooked.opened(terms, book), list[Booking]()
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


def fee_split(amount: int) -> Split:
    """Return the split of a fee's booking."""
    return Split(NOTHING, Motes(amount))


def outstanding(account: Account) -> Outstanding:
    """Return what closes the loan on the day the account has reached, by kind."""
    state = account.state
    return Outstanding(state.owed, Motes(account.interest_owed), state.due_fee, state.due_penalty)

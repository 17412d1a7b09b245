"""When the chain collects a loan, and who is late on it. Nothing here moves money."""

from collections.abc import Iterable
from typing import Final

from ledger.types import Motes
from vm.calendar import Day, date_of
from vm.contracts.loan_types import Attempt, Outstanding
from vm.loan.account import Account
from vm.loan.state import Book, Instalment, LoanState, Split
from vm.loan.terms import MONTHS_PER_YEAR, NOTHING, Terms

DUE: Final = 0
"""The number of an instalment's first attempt, on its due day."""


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
        number = max(number, months - 1)  # where weekends move a due day into the next month, that one is still to come
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
    """An account in the contract's storage. While `excused`, nobody is late: the chain itself was.

    While it is made anew, late fees are those that were `charged`, so that giving money back never costs the borrower one.
    """

    __slots__ = ("charged", "excused")

    def __init__(self, terms: Terms, state: LoanState, book: Book) -> None:
        super().__init__(terms, state, book)
        self.charged: frozenset[int] | None = None
        self.excused = False

    def is_late(self, row: Instalment) -> bool:
        """Return whether an instalment is charged the late fee when its grace days are over."""
        if self.charged is not None:
            return row.number in self.charged
        return not self.excused and super().is_late(row)


def fee_split(amount: int) -> Split:
    """Return the split of a fee's booking."""
    return Split(NOTHING, Motes(amount))


def outstanding(account: Account) -> Outstanding:
    """Return what closes the loan on the day the account has reached, by kind."""
    state = account.state
    return Outstanding(state.owed, Motes(account.interest_owed), state.due_fee, state.due_penalty)

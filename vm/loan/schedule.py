"""The schedule of a loan seen from a day: what fell due as it is, the rest as if everything due were paid on that day.

A contract shows it from its stored account; offline the account is first replayed from the payments. One code either way.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace

from ledger.errors import invariant
from ledger.types import Motes
from vm.calendar import Day
from vm.loan.account import Account
from vm.loan.state import Book, Instalment
from vm.loan.terms import Terms


@dataclass(frozen=True, slots=True)
class Payment:
    """Money of the borrower: a local day and motes."""

    day: Day
    amount: int


@dataclass(frozen=True, slots=True)
class Row:
    """An instalment of the schedule, and the principal that is left when it is paid (`balance`, motes)."""

    instalment: Instalment
    balance: Motes


@dataclass(frozen=True, slots=True)
class Schedule:
    """All instalments seen from `day`; in motes: `payoff` closes the loan on that day, `returned` was paid too much."""

    day: Day
    rows: tuple[Row, ...]
    payoff: int
    returned: int = 0


class _Draft:
    """Instalments over those of a book, which stays as it is."""

    __slots__ = ("_book", "_drafts")

    def __init__(self, book: Book) -> None:
        self._book = book
        self._drafts: dict[int, Instalment] = {}

    def get(self, number: int, /) -> Instalment | None:
        """Return the draft of an instalment, or what the book has."""
        return self._drafts.get(number) or self._book.get(number)

    def __setitem__(self, number: int, instalment: Instalment, /) -> None:
        self._drafts[number] = instalment


def draft(account: Account) -> Account:
    """Return a copy of an account to look ahead with: the account and its book stay as they are."""
    return Account(account.terms, account.state, _Draft(account.book))


def rows(account: Account, last: int) -> tuple[Row, ...]:
    """Return the instalments up to number `last` seen from the day the account has reached. The account stays as it is."""
    ahead = draft(account)
    while ahead.state.number <= last:
        ahead.settle_due()
        ahead.bill()
    balance, found = int(account.terms.principal), list[Row]()
    for number in range(1, last + 1):
        instalment = ahead.instalment(number)
        balance -= instalment.principal
        found.append(Row(instalment, Motes(balance)))
    return tuple(found)


def schedule(account: Account) -> Schedule:
    """Return the schedule of an account seen from the day it has reached. The account stays as it is."""
    found = rows(account, account.terms.instalments)
    invariant(found[-1].balance == 0, "a schedule repays exactly the principal")
    return Schedule(Day(account.state.day), found, account.payoff)


def replay(terms: Terms, payments: Iterable[Payment], day: Day) -> tuple[Account, int]:
    """Return the account on a day after payments in the order of their days, and the motes that went back.

    Raises `WrongDayError` for a payment out of order, before the disbursement or after `day`.
    """
    account, returned = Account.opened(terms, {}), 0
    for payment in payments:
        returned += account.pay(payment.day, payment.amount).returned
    account.advance(day)
    return account, returned


def quote(terms: Terms, payments: Iterable[Payment], day: Day) -> Schedule:
    """Return the schedule seen from a day after these payments. Raises as `replay` does."""
    account, returned = replay(terms, payments, day)
    return replace(schedule(account), returned=returned)

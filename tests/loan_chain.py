"""A chain with a loan contract, a lender, a borrower, and a calendar that is lived through: each entry runs when it is due.

chain = LoanChain("2024-01-01")
loan_id = chain.lend(loan())                  # offered and accepted
events = chain.until("2024-02-01")            # what the loan contract reported on the way
"""

from collections.abc import Sequence
from copy import copy
from dataclasses import dataclass, field, replace
from types import SimpleNamespace
from typing import Any, Self

from ledger.block import Receipt, ReceiptKind, Status
from ledger.store import MemoryStore
from ledger.types import MOTES_PER_DATR, Motes
from tests.loan_cases import motes
from tests.vm_harness import START_MS, Account, Chain
from vm.calendar import DAY_MS, Day, day_text, local_midnight_ms, parse_day
from vm.contracts.asset import Asset
from vm.contracts.loan import NAME, Loan
from vm.contracts.loan_types import RUNNING, Booking, BookingKind, LoanStatus, LoanView
from vm.contracts.schedule import Schedule
from vm.executor import BlockExecution
from vm.loan.schedule import Payment, Row
from vm.loan.state import Instalment
from vm.loan.terms import Terms

FUNDS = 1_000_000 * MOTES_PER_DATR
HOUR_MS = 3_600_000


@dataclass(frozen=True)
class Seen:
    """One event of the loan contract."""

    name: str
    fields: SimpleNamespace = field(hash=False)

    def __getattr__(self, name: str) -> Any:
        return getattr(self.fields, name)


class LoanChain(Chain):
    """The harness with a loan contract; begins at noon of a date."""

    def __init__(self, date: str = "2024-01-01", **options: Any) -> None:
        self.events: list[Seen] = []
        self.scheduled: list[Receipt] = []
        super().__init__({NAME: Loan}, **options)
        self.context = replace(self.context, timestamp_ms=START_MS)
        self.advance(local_midnight_ms(parse_day(date), 0) + 12 * HOUR_MS - START_MS)
        self.lender = self.account("lender", FUNDS)
        self.borrower = self.account("borrower", FUNDS)
        self.seller = self.account("seller")
        self.anybody = self.account("anybody", FUNDS)

    @classmethod
    def lived(cls, terms: Terms, payments: Sequence[Payment]) -> tuple[Self, bytes]:
        """A chain on which nothing of a loan was collected and these payments came, each on its day; and the loan's id."""
        chain = cls(day_text(Day(terms.disbursed_on)))
        chain.lender = chain.account("rich", 10 * FUNDS)
        loan_id = chain.lend(terms)
        chain.drain()
        for payment in payments:
            chain.until(day_text(payment.day))
            chain.do(chain.anybody, Loan.pay, loan_id, Motes(payment.amount))
        return chain, loan_id

    def block(self, *transactions: Any) -> BlockExecution:
        """As in the harness, and note what the loan contract reported; a scheduled call never fails."""
        execution = super().block(*transactions)
        spec = self.registry.entry(NAME).spec
        ran = [receipt for receipt in execution.receipts if receipt.kind is ReceiptKind.SCHEDULED]
        for receipt in (*ran, *execution.receipts[: len(execution.receipts) - len(ran)]):
            if receipt.kind is ReceiptKind.SCHEDULED and receipt.status is not Status.SUCCEEDED:
                raise AssertionError(f"a scheduled call failed: {receipt.error}")
            for event in receipt.events:
                if event.contract == NAME:
                    fields = zip(spec.event_names[event.name].fields, event.fields, strict=True)
                    self.events.append(Seen(event.name, SimpleNamespace(**{at.name: at.type.decode(it) for at, it in fields})))
        self.scheduled += ran
        return execution

    def fork(self) -> Self:
        """A copy that goes its own way."""
        other = copy(self)
        other.state = MemoryStore(dict(self.state.iterate()))
        other.events, other.scheduled = list(self.events), list(self.scheduled)
        return other

    @property
    def now_ms(self) -> int:
        """The time of the next block."""
        return self.context.timestamp_ms

    def do(self, sender: Account, method: Any, *args: Any) -> Receipt:
        """Send what must succeed."""
        receipt = self.send(sender, method, *args, gas_limit=25_000_000)
        assert receipt.status is Status.SUCCEEDED, receipt.error
        return receipt

    def refused(self, sender: Account, method: Any, *args: Any) -> str:
        """Send what must fail and return its code."""
        receipt = self.send(sender, method, *args, gas_limit=25_000_000)
        assert receipt.error is not None, "it was not refused"
        return receipt.error.code

    def offer(self, terms: Terms, *, pay_to: Account | None = None, lien: str | None = None, days: int = 10) -> bytes:
        """Offer a loan to the borrower."""
        to = pay_to.address if pay_to else None
        args = (terms, self.borrower.address, to, lien, self.now_ms + days * DAY_MS)
        [loan_id] = self.do(self.lender, Loan.offer, *args).results
        assert isinstance(loan_id, bytes)
        return loan_id

    def lend(self, terms: Terms, **options: Any) -> bytes:
        """Offer a loan and accept it."""
        loan_id = self.offer(terms, **options)
        self.do(self.borrower, Loan.accept, loan_id)
        return loan_id

    def until(self, date: str, offset_minutes: int = 0) -> list[Seen]:
        """Live until noon of a date; return what the loan contract reported."""
        return self.until_ms(local_midnight_ms(parse_day(date), offset_minutes) + 12 * HOUR_MS)

    def next_day(self) -> list[Seen]:
        """Live until noon of the next day."""
        return self.until_ms((self.now_ms // DAY_MS + 1) * DAY_MS + 12 * HOUR_MS)

    def until_ms(self, end_ms: int) -> list[Seen]:
        """Live until a time: there is a block whenever something is due."""
        known = len(self.events)
        while (due_ms := self.query(Schedule.next_due)) is not None and due_ms <= end_ms:
            self.advance(max(0, due_ms - self.now_ms))
            self.block()
        self.advance(max(0, end_ms - self.now_ms))
        return self.events[known:]

    def leap(self, date: str) -> None:
        """Let time pass without a block, as when the chain stands still."""
        self.advance(local_midnight_ms(parse_day(date), 0) + 12 * HOUR_MS - self.now_ms)

    def loan(self, loan_id: bytes) -> LoanView:
        """How a loan stands."""
        view: LoanView = self.query(Loan.get, loan_id)
        return view

    def bookings(self, loan_id: bytes) -> tuple[Booking, ...]:
        """All bookings of a loan."""
        pages = (self.query(Loan.bookings, loan_id, first, 256) for first in range(1, self.loan(loan_id).bookings + 1, 256))
        return tuple(booking for page in pages for booking in page)

    def schedule(self, loan_id: bytes) -> tuple[Row, ...]:
        """The schedule of a loan, seen from now."""
        found: tuple[Row, ...] = self.query(Loan.schedule, loan_id, 1, 480)
        return found

    def row(self, loan_id: bytes, number: int) -> Instalment:
        """An instalment that fell due or was paid ahead."""
        [row] = self.query(Loan.instalments, loan_id, number, 1)
        assert isinstance(row, Instalment)
        return row

    def drain(self, keep: str = "0") -> None:
        """Leave the borrower this much free money; the rest goes to the treasury's account."""
        spare = self.balance(self.borrower).free - motes(keep)
        if spare > 0:
            self.free(self.borrower, Asset.transfer, self.anybody.address, Motes(spare))
        elif spare < 0:
            self.free(self.anybody, Asset.transfer, self.borrower.address, Motes(-spare))

    def hold_up_the_calendar(self) -> None:
        """Make blocks too small for scheduled calls, as when very many are due; `let_go` ends it."""
        self.context = replace(self.context, max_gas=6_000_000)

    def let_go(self) -> None:
        """Make room for scheduled calls again."""
        self.context = replace(self.context, max_gas=2**40)

    def waiting(self) -> int:
        """How many entries are in the calendar."""
        return sum(b"schedule" in key and b"entries" in key for key, _ in self.state.iterate())

    def check(self, loan_id: bytes) -> LoanView:
        """Assert what is true of a loan at every time."""
        view = self.loan(loan_id)
        principal = view.agreement.terms.principal
        given_up = view.written_off.principal if view.written_off else 0
        running = view.status in RUNNING
        assert view.outstanding >= 0
        assert (view.next is not None) == (view.mandate_id is not None) == running
        if view.status in (LoanStatus.OFFERED, LoanStatus.WITHDRAWN, LoanStatus.EXPIRED):
            assert (view.principal_paid, view.outstanding, view.bookings) == (0, 0, 0)
            return view
        assert view.principal_paid + view.outstanding + given_up == principal
        assert view.status is not LoanStatus.CLOSED or view.principal_paid == principal
        assert not running or view.payoff > 0
        assert view.due <= view.payoff
        paid = [each for each in self.bookings(loan_id) if each.kind is not BookingKind.FEE and not each.reversed]
        assert sum(each.split.principal for each in paid) == view.principal_paid
        for each in paid:
            parts = each.split
            assert parts.penalty + parts.fee + parts.interest + parts.principal == each.amount > 0
        return view


def names(events: list[Seen]) -> list[str]:
    """What the events are, in order."""
    return [event.name for event in events]


def day(date: str) -> Day:
    """The day number of a date."""
    return parse_day(date)

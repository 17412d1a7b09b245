"""Standing orders for tests: a chain that runs them, terms in one line each, and their money seen from outside."""

from collections.abc import Mapping
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

from ledger.block import Receipt, Status
from ledger.types import Motes
from tests.vm_harness import Account, Chain, account
from vm.calendar import DAY_MS, Every, Recurrence
from vm.contract import Contract
from vm.contracts.asset import Asset
from vm.contracts.order import NAME, StandingOrder
from vm.contracts.order_types import (
    Amount,
    AmountKind,
    Cancellation,
    CancellationRule,
    Collection,
    Order,
    Period,
    Until,
)
from vm.contracts.schedule import NAME as SCHEDULE
from vm.storage import storage_key

_ENTRIES = storage_key(SCHEDULE, "entries", 0)[:-1]
FOREVER = Until(None, None, None)
ANY_TIME = Cancellation(CancellationRule.ANY_TIME, 0)
CARRY = Collection((), partial=True, carry=True)
RETRIES = Collection((1, 3), partial=True, carry=True)
MONTHLY = Recurrence(Every.MONTH, 1)
DAILY = Recurrence(Every.DAY)
UNKNOWN = b"\xff" * 32
TENANT, LANDLORD, FRIEND = account("tenant"), account("landlord"), account("friend")


def fixed(motes: int) -> Amount:
    return Amount(AmountKind.FIXED, Motes(motes), 0, Motes(0), "")


def percentage(rate_e4: int, base: int, cap: int) -> Amount:
    return Amount(AmountKind.PERCENTAGE, Motes(base), rate_e4, Motes(cap), "")


def per_unit(price: int, cap: int, unit: str = "km") -> Amount:
    return Amount(AmountKind.PER_UNIT, Motes(price), 0, Motes(cap), unit)


def at(text: str) -> int:
    """Return an ISO time without a zone as Unix milliseconds UTC."""
    return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()) * 1_000


class OrderChain(Chain):
    """A chain with the standing orders' contract, whose first block is stamped as told."""

    def __init__(self, now: str = "2024-01-01", others: Mapping[str, type[Contract]] | None = None) -> None:
        super().__init__({NAME: StandingOrder, **(others or {})})
        self.go_to(at(now))

    def go_to(self, time_ms: int) -> None:
        """Let the next block be stamped so."""
        self.context = replace(self.context, timestamp_ms=time_ms)

    def open(self, payer: Account, payee: Account, amount: Amount, every: Recurrence = MONTHLY, **terms: Any) -> bytes:
        """Give an order and return its id; `start`, `until`, `collection`, `cancellation` and `reference` may be told."""
        receipt = self.try_open(payer, payee, amount, every, **terms)
        assert receipt.status is Status.SUCCEEDED, receipt.error
        order_id = receipt.results[0]
        assert isinstance(order_id, bytes)
        return order_id

    def try_open(
        self,
        payer: Account,
        payee: Account,
        amount: Amount,
        every: Recurrence = MONTHLY,
        *,
        start_ms: int = 0,
        until: Until = FOREVER,
        collection: Collection = CARRY,
        cancellation: Cancellation = ANY_TIME,
        reference: str = "",
    ) -> Receipt:
        """Try to give an order."""
        return self.send(
            payer, StandingOrder.open, payee.address, amount, every, start_ms, until, collection, cancellation, reference
        )

    def days(self, count: int) -> list[Receipt]:
        """Let days pass, a block a day, and return the receipts of what the calendar did."""
        receipts: list[Receipt] = []
        for _ in range(count):
            self.go_to(self.context.timestamp_ms + DAY_MS - 1_000)  # a block moves on by a second
            receipts += self.block().receipts
        return receipts

    def run_until(self, now: str) -> list[Receipt]:
        """Let the days pass until this moment, a block at each midnight and one there."""
        end_ms = at(now)
        receipts: list[Receipt] = []
        while self.context.timestamp_ms < end_ms:
            midnight_ms = (self.context.timestamp_ms // DAY_MS + 1) * DAY_MS
            self.go_to(min(midnight_ms, end_ms))
            receipts += self.block().receipts
        return receipts

    def order(self, order_id: bytes) -> Order:
        order: Order = self.query(StandingOrder.get, order_id)
        return order

    def periods(self, order_id: bytes) -> tuple[Period, ...]:
        """Return all periods, page by page."""
        found: list[Period] = []
        while page := self.query(StandingOrder.periods, order_id, len(found) + 1, 100):
            found += page
        return tuple(found)

    def waiting(self) -> int:
        """Return how many calls are in the calendar."""
        return sum(key.startswith(_ENTRIES) for key, _ in self.state.iterate())


def events(receipts: list[Receipt]) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the contract's events in these receipts, without the order's id."""
    told = [event for receipt in receipts for event in receipt.events if event.contract == NAME]
    return [(event.name, event.fields[1:]) for event in told]


def error_of(receipt: Receipt) -> str:
    """Return the code of a call that failed."""
    assert receipt.error is not None
    return receipt.error.code


def chain(tenant: int = 10**6, now: str = "2024-01-15") -> OrderChain:
    """Return a chain on which the tenant has some money and the landlord none."""
    on = OrderChain(now)
    on.account(TENANT.name, tenant)
    on.account(FRIEND.name, 10**6)
    on.go_to(at(now))
    return on


def leave_with(on: OrderChain, motes: int) -> None:
    """Let the tenant have just this much."""
    have = on.balance(TENANT).free
    if have > motes:
        on.free(TENANT, Asset.transfer, FRIEND.address, Motes(have - motes))
    elif have < motes:
        on.free(FRIEND, Asset.transfer, TENANT.address, Motes(motes - have))


def ok(receipt: Receipt) -> Receipt:
    assert receipt.status is Status.SUCCEEDED, receipt.error
    return receipt


def due_days(on: OrderChain, order_id: bytes) -> list[int]:
    return [period.due_ms for period in on.periods(order_id)]

"""Standing orders against an independent model: any orders, payers rich and poor, any days, any interruption."""

from dataclasses import replace
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from ledger.block import Receipt, Status
from ledger.types import Motes
from tests.order_model import Model, ModelOrder
from tests.orders import OrderChain, fixed, per_unit, percentage
from tests.vm_harness import TREASURY, Account, account
from vm.calendar import DAY_MS, Every, Recurrence
from vm.contracts.asset import Asset
from vm.contracts.order import NAME, StandingOrder
from vm.contracts.order_types import Cancellation, CancellationRule, Collection, OrderStatus, Terms, Until
from vm.errors import ContractError

PEOPLE = [account(name) for name in ("poor", "rich", "broke", "payee")]
FUNDS = (130, 100_000, 0, 50)
MAX_ORDERS = 6
MAX_BLOCKS = 500

people = st.sampled_from(PEOPLE)
motes = st.integers(20, 120)
amounts = st.one_of(
    motes.map(fixed),
    st.builds(percentage, st.integers(1, 20_000), st.integers(0, 200), st.integers(400, 500)),
    st.builds(per_unit, st.integers(1, 20), st.integers(20, 200)),
)
minutes = st.sampled_from([0, 1, 600, 1_439])
zones = st.sampled_from([0, 60, -330, 14 * 60])
recurrences = st.one_of(
    st.builds(Recurrence, st.just(Every.MONTH), st.sampled_from([1, 15, 28, 29, 30, 31]), st.just(0), minutes, zones),
    st.builds(Recurrence, st.just(Every.WEEK), st.integers(1, 7), st.just(0), minutes, zones),
    st.builds(Recurrence, st.just(Every.YEAR), st.integers(1, 29), st.sampled_from([1, 2, 3, 12]), minutes, zones),
    st.builds(Recurrence, st.just(Every.DAY), st.just(0), st.just(0), minutes, zones),
)
retry_days = st.sets(st.integers(1, 40), max_size=4).map(lambda days: tuple(sorted(days)))
collections = st.builds(Collection, retry_days, partial=st.booleans(), carry=st.booleans())
cancellations = st.one_of(
    st.just(Cancellation(CancellationRule.ANY_TIME, 0)),
    st.just(Cancellation(CancellationRule.AGREEMENT, 0)),
    st.integers(0, 45).map(lambda days: Cancellation(CancellationRule.NOTICE, days)),
)
ends = st.one_of(
    st.just((None, None, None)),
    st.tuples(st.integers(0, 400), st.none(), st.none()),
    st.tuples(st.none(), st.integers(1, 12), st.none()),
    st.tuples(st.none() | st.integers(100, 400), st.none() | st.integers(3, 8), st.integers(1, 900)),
)
wishes = st.fixed_dictionaries(
    {
        "payer": st.integers(0, 3),
        "payee": st.sampled_from([1, 2, 3, 1, 2, 3, 0]),
        "amount": amounts,
        "every": recurrences,
        "start": st.integers(-5, 40),
        "end": ends,
        "collection": collections,
        "cancellation": cancellations,
    }
)
numbers = st.integers(0, MAX_ORDERS - 1)


class OrderMachine(RuleBasedStateMachine):
    """The chain and the model take the same steps; every step the chain refuses, the model refuses too."""

    @initialize(wished=st.lists(wishes, min_size=2, max_size=4))
    def begin(self, wished: list[dict[str, Any]]) -> None:
        self.chain = OrderChain("2023-12-20")
        for person, funds in zip(PEOPLE, FUNDS, strict=True):
            self.chain.account(person.name, funds)
        self.model = Model({person.address: funds for person, funds in zip(PEOPLE, FUNDS, strict=True)})
        self.orders: dict[bytes, ModelOrder] = {}
        self.turn = 0
        for wish in wished:
            self.open(wish)

    def send(self, sender: Account, method: Any, *args: Any) -> Receipt:
        """Send; what is due comes first."""
        self.model.block(self.chain.context.timestamp_ms)
        self.now_ms = self.chain.context.timestamp_ms
        return self.chain.send(sender, method, *args)

    def agree(self, receipt: Receipt, expected: bool) -> None:
        assert (receipt.status is Status.SUCCEEDED) == (expected and not self.model.is_disabled), receipt.error

    # ---- steps

    @rule(wish=wishes)
    def open_another(self, wish: dict[str, Any]) -> None:
        if len(self.orders) < MAX_ORDERS:
            self.open(wish)

    def open(self, wish: dict[str, Any]) -> None:
        payer, payee = PEOPLE[wish["payer"]], PEOPLE[(wish["payer"] + wish["payee"]) % len(PEOPLE)]
        now_ms = self.chain.context.timestamp_ms
        days, count, total = wish["end"]
        until = Until(None if days is None else now_ms + days * DAY_MS, count, None if total is None else Motes(total))
        start_ms = now_ms + wish["start"] * DAY_MS
        terms = (wish["amount"], wish["every"], start_ms, until, wish["collection"], wish["cancellation"], "")
        receipt = self.send(payer, StandingOrder.open, payee.address, *terms)
        order = None
        if payer != payee and not self.model.is_disabled:
            order = self.model.open(Terms(payer.address, payee.address, *terms), self.now_ms)
        self.agree(receipt, order is not None)
        if order is not None:
            order_id = receipt.results[0]
            assert isinstance(order_id, bytes)
            self.orders[order_id] = order

    def order(self, number: int) -> tuple[bytes, ModelOrder | None]:
        """Return an order; beyond the last one stands an unknown one, and while the contract is off none is known."""
        order_id = [*self.orders, b"\x00" * 32][min(number, len(self.orders))]
        return order_id, None if self.model.is_disabled else self.orders.get(order_id)

    @rule(number=numbers, by=st.just(PEOPLE[1]) | people, amount=st.integers(0, 60) | st.just(10_000))
    def settle(self, number: int, by: Account, amount: int) -> None:
        order_id, order = self.order(number)
        receipt = self.send(by, StandingOrder.settle, order_id, Motes(amount))
        self.agree(receipt, order is not None and self.model.settle(order, by.address, amount, self.now_ms))

    @rule(number=numbers, by=people)
    def cancel(self, number: int, by: Account) -> None:
        order_id, order = self.order(number)
        receipt = self.send(by, StandingOrder.cancel, order_id)
        self.agree(receipt, order is not None and self.model.cancel(order, by.address, self.now_ms))

    @rule(number=numbers, by=people, ahead=st.sampled_from([1, 1, 1, 0, 2]), quantity=st.integers(0, 60))
    def report(self, number: int, by: Account, ahead: int, quantity: int) -> None:
        """The payee reports what the next period is for; others, and other periods, are refused."""
        order_id, order = self.order(number)
        if order is not None and order.terms.payee != by.address and ahead == 1:
            by = next(person for person in PEOPLE if person.address == order.terms.payee)
        self.model.block(self.chain.context.timestamp_ms)
        period = len(order.periods) + ahead if order is not None else 1
        receipt = self.send(by, StandingOrder.report, order_id, period, quantity)
        self.agree(receipt, order is not None and self.model.report(order, by.address, period, quantity))

    @rule(person=people, amount=st.integers(1, 150))
    def earn(self, person: Account, amount: int) -> None:
        assert self.send(TREASURY, Asset.transfer, person.address, Motes(amount)).status is Status.SUCCEEDED
        self.model.free[person.address] += amount

    @rule(person=people, part=st.integers(1, 4))
    def spend(self, person: Account, part: int) -> None:
        """Lose a part of what one has, or all of it."""
        self.model.block(self.chain.context.timestamp_ms)
        amount = self.model.free[person.address] // part
        if amount:
            assert self.send(person, Asset.transfer, TREASURY.address, Motes(amount)).status is Status.SUCCEEDED
            self.model.free[person.address] -= amount
        else:
            self.chain.block()

    @rule(days=st.integers(1, 10))
    def live(self, days: int) -> None:
        """Days pass as they do: a block each."""
        for _ in range(days):
            self.chain.advance(DAY_MS)
            self.settle_blocks(1)

    @rule(days=st.integers(11, 75) | st.integers(100, 366), seconds=st.integers(0, 86_399))
    def jump(self, days: int, seconds: int) -> None:
        """The chain stands still for weeks, or months where nothing is daily; then it makes up for all of it."""
        is_daily = any(each.order.terms.every.every is Every.DAY for each in self.model.queue)
        self.chain.advance((min(days, 40) if is_daily else days) * DAY_MS + seconds * 1_000)
        self.settle_blocks(MAX_BLOCKS)
        assert all(each.at_ms > self.chain.context.timestamp_ms for each in self.model.queue)

    @rule()
    def switch(self) -> None:
        """Governance switches the contract off, or on again."""
        self.model.is_disabled = not self.model.is_disabled
        off = frozenset({NAME}) if self.model.is_disabled else frozenset[str]()
        self.chain.context = replace(self.chain.context, disabled=off)

    def settle_blocks(self, limit: int) -> None:
        """Make blocks while something is due, at least one."""
        for _ in range(limit):
            now_ms = self.chain.context.timestamp_ms
            self.model.block(now_ms)
            receipts = self.chain.block().receipts
            assert all(receipt.status is Status.SUCCEEDED for receipt in receipts)
            if not any(each.at_ms <= self.chain.context.timestamp_ms for each in self.model.queue):
                return

    # ---- what must hold

    @invariant()
    def money_is_where_the_model_has_it(self) -> None:
        for person in PEOPLE:
            assert self.chain.balance(person).free == self.model.free[person.address]
            assert self.chain.balance(person).held == 0

    @invariant()
    def every_order_stands_where_the_model_has_it(self) -> None:
        for order_id, order in self.orders.items():
            found = self.chain.order(order_id)
            progress = found.progress
            assert progress.status.value == order.status()
            assert (progress.period, found.owed, progress.paid) == (len(order.periods), order.owed, order.paid)
            assert progress.asked == progress.paid + progress.lapsed + found.owed
            assert (progress.next is None) == (progress.status is not OrderStatus.ACTIVE) == (not self.has_mandate(order_id))
        assert self.chain.waiting() == len(self.model.queue)

    @invariant()
    def the_periods_of_one_order_add_up(self) -> None:
        """Another one each time, for there may be hundreds of periods; at the end all of them."""
        if self.orders:
            self.turn += 1
            self.check_periods([*self.orders][self.turn % len(self.orders)])

    def check_periods(self, order_id: bytes) -> None:
        order = self.orders[order_id]
        found = self.chain.periods(order_id)
        assert [(each.due_ms, each.asked, each.paid, each.lapsed) for each in found] == [
            (each.due_ms, each.asked, each.paid, each.lapsed) for each in order.periods
        ]
        dues = [each.due_ms for each in found]
        assert dues == sorted(set(dues))
        assert not dues or order.end_ms is None or dues[-1] <= order.end_ms
        assert sum(each.paid for each in found) == self.chain.order(order_id).progress.paid
        assert all(each.asked == each.paid + each.lapsed + each.owed for each in found)

    def has_mandate(self, order_id: bytes) -> bool:
        try:
            self.chain.query(Asset.get_mandate, order_id)
        except ContractError:
            return False
        return True

    def teardown(self) -> None:
        for order_id in getattr(self, "orders", {}):
            self.check_periods(order_id)


TestOrders = OrderMachine.TestCase
TestOrders.settings = settings(max_examples=16, stateful_step_count=40)

"""Standing orders in trouble: calls twice and late, a contract switched off, a frozen payer, amounts beyond all bounds.

The harness checks after every block that no money was made or lost, and that the holds are exactly what is held.
"""

from dataclasses import replace

import pytest

from ledger.block import Status
from ledger.transaction import Call
from ledger.types import Address, Motes
from tests.orders import (
    CARRY,
    DAILY,
    FRIEND,
    LANDLORD,
    RETRIES,
    TENANT,
    UNKNOWN,
    OrderChain,
    at,
    chain,
    due_days,
    error_of,
    events,
    fixed,
    leave_with,
    ok,
)
from vm import gas
from vm.calendar import DAY_MS, MINUTE_MS
from vm.context import Machine
from vm.contract import Context, Contract, write
from vm.contracts.asset import DATR, Asset
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.contracts.order import NAME, StandingOrder
from vm.contracts.order_types import (
    Collection,
    OrderError,
    OrderStatus,
    Until,
)
from vm.contracts.schedule import Schedule
from vm.errors import CoreError


def put_into_calendar(on: OrderChain, order_id: bytes, period: int, attempt: int) -> None:
    """Have the calendar make a call that the contract did not ask for."""
    machine = Machine(on.registry, on.state, on.context)
    machine.schedule(on.registry.entry(NAME), on.context.timestamp_ms + 1, StandingOrder.pay, (order_id, period, attempt))
    on.state.apply(machine.storage.overlay.changes)


def test_no_attempt_is_made_twice_nor_early_nor_for_another_period() -> None:
    on = chain(tenant=150)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES)
    on.run_until("2024-03-01")
    before = on.order(order_id)
    assert before.owed == 50
    leave_with(on, 1_000)
    for period, attempt in ((1, 0), (2, 0), (1, 1), (3, 0), (2, 1), (2, 2), (0, 0), (2**32 - 1, 0)):
        put_into_calendar(on, order_id, period, attempt)
    put_into_calendar(on, UNKNOWN, 1, 0)
    on.advance(1_000)
    receipts = on.block().receipts
    assert len(receipts) == 9
    assert [receipt.error.code for receipt in receipts if receipt.error] == [OrderError.UNKNOWN_ORDER.name]
    assert events(list(receipts)) == []
    assert on.order(order_id) == before
    on.run_until("2024-03-10")
    assert on.balance(LANDLORD).free == 200
    assert on.query(Schedule.next_due) == at("2024-04-01")


@pytest.mark.parametrize(("period", "attempt"), [(1, 0), (1, 1), (1, 2), (2, 2), (2, 3), (3, 0), (3, 1), (0, 1)])
def test_an_attempt_that_is_not_the_next_does_nothing_when_the_next_one_is_due(period: int, attempt: int) -> None:
    """The second period is to be tried again; nothing else may take that place, not even by a retry's number."""
    on = chain(tenant=150)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES)
    on.run_until("2024-03-01")
    leave_with(on, 1_000)
    before = on.order(order_id)
    put_into_calendar(on, order_id, period, attempt)
    on.go_to(at("2024-03-02"))
    receipts = on.block().receipts
    assert [len(receipt.events) for receipt in receipts] == [0, 2]  # Drawn and Paid, by the right one
    assert before.progress.period == on.order(order_id).progress.period == 2
    assert on.balance(LANDLORD).free == 200


def test_the_right_attempt_made_twice_pays_once() -> None:
    on = chain(tenant=150)
    on.open(TENANT, LANDLORD, fixed(100))
    order_id = on.open(TENANT, FRIEND, fixed(100))
    leave_with(on, 1_000)
    had = on.balance(FRIEND).free
    put_into_calendar(on, order_id, 1, 0)
    on.go_to(at("2024-02-01"))
    receipts = on.block().receipts
    assert len(receipts) == 3
    assert on.balance(FRIEND).free == had + 100


def test_after_a_long_halt_every_period_is_asked_for_once_and_retries_are_as_late() -> None:
    on = chain(tenant=250)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES, until=Until(None, 3, None))
    on.go_to(at("2024-04-20") + 5_000)
    for _ in range(3):
        on.block()
    assert due_days(on, order_id) == [at(day) for day in ("2024-02-01", "2024-03-01", "2024-04-01")]
    assert on.balance(LANDLORD).free == 250
    planned = on.order(order_id).progress.next
    assert planned is not None
    assert (planned.period, planned.number, planned.at_ms) == (3, 1, at("2024-04-21"))


def test_while_the_contract_is_switched_off_nothing_is_drawn_and_nothing_is_lost() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(100), DAILY, until=Until(None, 5, None))
    on.context = replace(on.context, disabled=frozenset({NAME}))
    on.days(3)
    assert error_of(on.send(TENANT, StandingOrder.cancel, order_id)) == CoreError.CONTRACT_DISABLED.name
    assert on.balance(LANDLORD).free == 0
    assert on.order(order_id).progress.period == 0
    on.context = replace(on.context, disabled=frozenset())
    on.advance(60 * MINUTE_MS)
    for _ in range(3):
        on.block()
    assert on.balance(LANDLORD).free == 300
    on.days(5)
    assert on.balance(LANDLORD).free == 500
    assert on.order(order_id).progress.status is OrderStatus.COMPLETED


def lose_call(on: OrderChain, order_id: bytes) -> None:
    """Take an order's next call out of the calendar behind its back."""
    planned = on.order(order_id).progress.next
    assert planned is not None
    machine = Machine(on.registry, on.state, on.context)
    machine.calendar().cancel(NAME, planned.entry_id)
    on.state.apply(machine.storage.overlay.changes)


def test_an_order_whose_call_was_lost_can_still_be_ended() -> None:
    """Nothing in a collection is known to fail; if one did, its entry in the calendar would be gone."""
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(100))
    lose_call(on, order_id)
    ok(on.send(TENANT, StandingOrder.cancel, order_id))
    assert on.order(order_id).progress.status is OrderStatus.CANCELLED


def test_an_order_whose_call_was_lost_goes_on_when_somebody_settles() -> None:
    """Its time has passed and nothing waits: paying a part has it collected again."""
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(100))
    on.run_until("2024-02-01")
    lose_call(on, order_id)
    on.run_until("2024-03-15")
    leave_with(on, 1_000)
    assert on.order(order_id).progress.period == 1
    ok(on.send(FRIEND, StandingOrder.settle, order_id, Motes(1)))
    on.block()
    assert (on.order(order_id).progress.period, on.order(order_id).owed) == (2, 0)
    assert on.waiting() == 1


def test_an_order_whose_call_was_lost_after_it_fell_due_is_collected_and_ends() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(100))
    lose_call(on, order_id)
    on.run_until("2024-02-15")
    ok(on.send(TENANT, StandingOrder.cancel, order_id))
    on.block()
    assert on.balance(LANDLORD).free == 100
    assert on.order(order_id).progress.status is OrderStatus.CANCELLED


def test_settling_does_not_put_off_a_collection_that_waits_for_room() -> None:
    """Else a payer could stay at the end of the queue by paying a mote in every block."""
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(100))
    on.run_until("2024-02-01")
    planned = on.order(order_id).progress.next
    on.context = replace(on.context, max_gas=6_000_000)  # too small for scheduled calls
    on.go_to(at("2024-03-02"))
    ok(on.send(FRIEND, StandingOrder.settle, order_id, Motes(1), gas_limit=600_000))
    assert on.order(order_id).progress.next == planned


class Freezer(Contract):
    """Stands in for governance, which alone freezes DATR."""

    @write
    def freeze(self, ctx: Context, account: Address, frozen: bool) -> None:
        """Freeze an account, or let it spend again."""
        if frozen:
            ctx.call(Asset.freeze, DATR, account, "a court order")
        else:
            ctx.call(Asset.unfreeze, DATR, account)


@pytest.mark.parametrize("partial", [True, False])
def test_a_frozen_payer_pays_nothing_and_owes_it(partial: bool) -> None:
    on = OrderChain("2024-01-15", {GOVERNANCE: Freezer})
    on.account(TENANT.name, 1_000)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=replace(RETRIES, partial=partial))
    on.free(FRIEND, Freezer.freeze, TENANT.address, True)
    on.run_until("2024-02-03")
    assert (on.balance(LANDLORD).free, on.order(order_id).owed) == (0, 100)
    on.free(FRIEND, Freezer.freeze, TENANT.address, False)
    on.run_until("2024-02-04")
    assert (on.balance(LANDLORD).free, on.order(order_id).owed) == (100, 0)


def test_amounts_as_large_as_can_be_break_nothing() -> None:
    on = chain(tenant=0)
    most = 2**64 - 1
    order_id = on.open(TENANT, LANDLORD, fixed(most), DAILY, until=Until(None, 9, None))
    lapsing = on.open(TENANT, LANDLORD, fixed(most - 1), DAILY, collection=Collection((), partial=True, carry=False))
    receipts = on.days(12)
    assert all(receipt.status is Status.SUCCEEDED for receipt in receipts)
    assert (on.order(order_id).progress.status, on.order(order_id).owed) == (OrderStatus.UNPAID, most)
    assert [period.lapsed for period in on.periods(lapsing)] == [most - 1, 1]
    assert on.waiting() == 0


def test_the_gas_of_a_collection_stays_a_tenth_of_its_bound() -> None:
    """Also where a search through a year of unpaid days finds how many of them can be paid."""
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(100), DAILY, collection=replace(CARRY, partial=False), reference="r" * 64)
    used = [receipt.gas_used for receipt in on.days(366)]
    leave_with(on, 15_050)
    [receipt] = on.days(1)
    assert [period.number for period in on.periods(order_id) if not period.owed] == list(range(1, 151))
    assert max(*used, receipt.gas_used) < gas.SCHEDULED_GAS_LIMIT // 10


def test_pay_is_nobody_s_to_call() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(100))
    on.advance(40 * DAY_MS)
    for sender in (TENANT, LANDLORD):
        receipt = on.block(on.transaction(sender, Call(NAME, "pay", (order_id, 2, 0)))).receipts[0]
        assert error_of(receipt) == CoreError.WRONG_KIND.name


def test_two_orders_share_a_purse_in_the_order_of_their_days() -> None:
    on = chain(tenant=150)
    first = on.open(TENANT, LANDLORD, fixed(100))
    second = on.open(TENANT, FRIEND, fixed(100))
    on.run_until("2024-02-01")
    assert (on.order(first).owed, on.order(second).owed) == (0, 50)

"""The calendar: calls run by themselves, on time, in order, each alone, and never take a block over its bounds."""

import itertools
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Receipt, ReceiptKind, Status
from ledger.types import Motes
from tests.vm_harness import START_MS, Chain
from vm import gas
from vm.contract import U32, U64, Context, Contract, Map, Text, read, require, scheduled, write
from vm.contracts.asset import Asset
from vm.contracts.schedule import Schedule
from vm.errors import ContractError, CoreError


class AlarmError(StrEnum):
    """Why an alarm fails."""

    TOLD_TO_FAIL = "it was told to fail"


@dataclass(frozen=True, slots=True)
class Rang:
    """An alarm went off."""

    name: Text
    at_ms: U64


class Alarm(Contract, errors=AlarmError, events=(Rang,)):
    """Rings at the times it was set to."""

    rung: Map[Text, U32]
    names: Map[U32, Text]

    @write
    def set(self, ctx: Context, name: Text, due_ms: U64) -> U64:
        """Ring at a time. Returns the entry's id."""
        return ctx.schedule(due_ms, self.ring, name)

    @write
    def cancel(self, ctx: Context, entry_id: U64) -> None:
        """Do not ring."""
        ctx.cancel_schedule(entry_id)

    @write
    def steal(self, ctx: Context, due_ms: U64) -> U64:
        """Try to schedule somebody else's method."""
        return ctx.schedule(due_ms, Burglar.visit)

    @write
    def call_scheduled(self, ctx: Context) -> None:
        """Try to call a scheduled method like any other."""
        ctx.call(Burglar.visit)

    @scheduled
    def ring(self, ctx: Context, name: Text) -> None:
        """Ring; some names fail, run for ever, or set the next one."""
        count = self.rung.get("all", 0)
        self.rung["all"] = count + 1
        self.names[count] = name
        require(name != "fail", AlarmError.TOLD_TO_FAIL)
        require(ctx.sender == ctx.origin == ctx.contract, AlarmError.TOLD_TO_FAIL)
        while name == "forever":
            self.rung["forever"] = self.rung.get("forever", 0) + 1
        if name == "again":
            ctx.schedule(ctx.now_ms + 1, self.ring, "last")
        ctx.emit(Rang(name, ctx.now_ms))

    @read
    def rings(self) -> tuple[Text, ...]:
        """Return the names that rang, in order."""
        return tuple(self.names[number] for number in range(self.rung.get("all", 0)))


class Burglar(Contract):
    """Has a scheduled method of its own."""

    visits: Map[Text, U32]

    @scheduled
    def visit(self, ctx: Context) -> None:
        """Come by."""
        self.visits["all"] = self.visits.get("all", 0) + 1


def chain(**options: Any) -> Chain:
    return Chain({"alarm": Alarm, "burglar": Burglar, "schedule": Schedule}, **options)


def set_alarms(on: Chain, *alarms: tuple[str, int]) -> list[int]:
    """Set alarms in one block and return their ids."""
    alice = on.account("alice")
    calls = [on.call(Alarm.set, name, due_ms) for name, due_ms in alarms]
    receipts = [on.block(on.transaction(alice, call)).receipts[0] for call in calls]
    assert all(receipt.status is Status.SUCCEEDED for receipt in receipts)
    return [int(receipt.results[0]) for receipt in receipts]  # type: ignore[arg-type]


def scheduled_of(receipts: tuple[Receipt, ...]) -> list[Receipt]:
    return [receipt for receipt in receipts if receipt.kind is ReceiptKind.SCHEDULED]


def test_a_call_runs_in_the_first_block_that_is_late_enough() -> None:
    on, due_ms = chain(), START_MS + 10_000
    set_alarms(on, ("early", due_ms))
    on.advance(due_ms - 1 - on.context.timestamp_ms)
    assert on.block().receipts == ()
    on.advance(due_ms - on.context.timestamp_ms)
    [receipt] = on.block().receipts
    assert (receipt.kind, receipt.status) == (ReceiptKind.SCHEDULED, Status.SUCCEEDED)
    assert [(event.contract, event.name, event.fields) for event in receipt.events] == [("alarm", "Rang", ("early", due_ms))]
    assert on.block().receipts == ()
    assert on.query(Alarm.rings) == ("early",)


def test_order_is_due_time_and_then_the_order_of_asking() -> None:
    on, due_ms = chain(), START_MS + 100_000
    set_alarms(on, ("c", due_ms + 2), ("a", due_ms), ("d", due_ms + 2), ("b", due_ms + 1), ("e", due_ms + 2))
    on.advance(200_000)
    on.block()
    assert on.query(Alarm.rings) == ("a", "b", "c", "d", "e")


def test_transactions_keep_their_places_before_the_scheduled_receipts() -> None:
    """So a transaction's index is that of its receipt, though the scheduled calls ran before it."""
    on, due_ms = chain(), START_MS + 100_000
    set_alarms(on, ("first", due_ms))
    on.advance(due_ms - on.context.timestamp_ms)
    alice = on.account("alice")
    transactions = [on.transaction(alice, on.call(Alarm.set, f"t{number}", due_ms + 10**9)) for number in range(2)]
    receipts = on.block(*transactions).receipts
    assert [receipt.kind for receipt in receipts] == [ReceiptKind.TRANSACTION, ReceiptKind.TRANSACTION, ReceiptKind.SCHEDULED]
    assert [receipt.id for receipt in receipts[:2]] == [transaction.id for transaction in transactions]
    assert len({receipt.id for receipt in receipts}) == 3


def test_one_failure_stops_nobody() -> None:
    on, due_ms = chain(), START_MS + 100_000
    set_alarms(on, ("a", due_ms), ("fail", due_ms), ("forever", due_ms), ("b", due_ms))
    on.advance(200_000)
    receipts = on.block().receipts
    assert [receipt.status for receipt in receipts] == [Status.SUCCEEDED, Status.FAILED, Status.FAILED, Status.SUCCEEDED]
    assert [receipt.error.code for receipt in receipts if receipt.error] == ["TOLD_TO_FAIL", CoreError.OUT_OF_GAS.name]
    assert receipts[2].gas_used == gas.SCHEDULED_GAS_LIMIT
    assert on.query(Alarm.rings) == ("a", "b")
    assert on.block().receipts == ()


def test_a_call_may_ask_for_the_next_one_but_not_for_now() -> None:
    on, due_ms = chain(), START_MS + 100_000
    set_alarms(on, ("again", due_ms))
    on.advance(due_ms - on.context.timestamp_ms)
    assert len(on.block().receipts) == 1
    assert len(on.block().receipts) == 1
    assert on.query(Alarm.rings) == ("again", "last")
    refused = on.send(on.account("alice"), Alarm.set, "now", on.context.timestamp_ms)
    assert refused.error is not None
    assert refused.error.code == CoreError.BAD_TIME.name


def test_what_exceeds_the_share_of_a_block_waits_for_the_next() -> None:
    """Half of the gas is left to transactions, and nothing that is due is lost or made twice."""
    on, due_ms, count = chain(), START_MS + 10_000_000, 60
    set_alarms(on, *((f"n{number}", due_ms) for number in range(count)))
    on.advance(due_ms - on.context.timestamp_ms)
    max_gas = 2 * (gas.SCHEDULED_GAS_LIMIT + 12 * 60_000)
    on.context = on.context.__class__(**{**_fields(on.context), "max_gas": max_gas})
    sizes: list[int] = []
    while len(sizes) < count and (receipts := on.block().receipts):
        assert sum(receipt.gas_used for receipt in receipts) <= max_gas // gas.SCHEDULE_SHARE
        sizes.append(len(receipts))
    assert len(sizes) > 2
    assert sum(sizes) == count
    assert on.query(Alarm.rings) == tuple(f"n{number}" for number in range(count))


def _fields(context: Any) -> dict[str, Any]:
    return {name: getattr(context, name) for name in context.__slots__}


def test_cancelled_entries_do_not_ring_and_only_their_contract_cancels() -> None:
    on, due_ms = chain(), START_MS + 100_000
    first, second = set_alarms(on, ("a", due_ms), ("b", due_ms))
    alice = on.account("alice")
    assert on.query(Schedule.get, first).method == "ring"
    assert on.send(alice, Alarm.cancel, first).status is Status.SUCCEEDED
    again = on.send(alice, Alarm.cancel, first)
    assert again.error is not None
    assert again.error.code == "UNKNOWN_ENTRY"
    on.advance(200_000)
    on.block()
    assert on.query(Alarm.rings) == ("b",)
    assert on.query(Schedule.next_due) is None
    with pytest.raises(ContractError) as gone:
        on.query(Schedule.get, second)
    assert gone.value.failure_code == "UNKNOWN_ENTRY"


def test_nobody_calls_a_scheduled_method_but_the_calendar() -> None:
    on = chain()
    alice = on.account("alice")
    call = on.call(Alarm.ring, "by hand")
    by_hand = on.block(on.transaction(alice, call)).receipts[0]
    assert by_hand.error is not None
    assert by_hand.error.code == CoreError.WRONG_KIND.name
    for method, args in ((Alarm.steal, (START_MS + 10**6,)), (Alarm.call_scheduled, ())):
        receipt = on.send(alice, method, *args)
        assert receipt.error is not None
        assert receipt.error.code in (CoreError.WRONG_KIND.name, CoreError.CONTRACT_DEFECT.name)
    assert on.query(Schedule.next_due) is None


def test_scheduled_calls_cost_nobody_a_fee() -> None:
    on, due_ms = chain(gas_price_motes=3), START_MS + 100_000
    alice = on.account("alice", motes=10**10)
    assert on.send(alice, Alarm.set, "a", due_ms).status is Status.SUCCEEDED
    before = on.balance(alice)
    on.advance(200_000)
    [receipt] = on.block().receipts
    assert receipt.gas_used > 0
    assert on.balance(alice) == before
    assert on.send(alice, Asset.transfer, on.account("bob").address, Motes(1)).status is Status.SUCCEEDED


@settings(deadline=None, max_examples=40)
@given(
    due=st.lists(st.integers(1, 12), max_size=30),
    cancelled=st.sets(st.integers(0, 29)),
    steps=st.lists(st.integers(1, 5), min_size=1, max_size=6),
)
def test_the_calendar_is_a_stable_sort(due: list[int], cancelled: set[int], steps: list[int]) -> None:
    """Whatever the times, cancellations and blocks: what rings is what was set and not cancelled, by time and then by asking."""
    on, first_ms = chain(), START_MS + 1_000_000
    ids = set_alarms(on, *((f"{number}", first_ms + 1_000 * at) for number, at in enumerate(due)))
    alice = on.account("alice")
    for number in cancelled & set(range(len(due))):
        assert on.send(alice, Alarm.cancel, ids[number]).status is Status.SUCCEEDED
    for now_ms in itertools.accumulate((1_000 * step for step in [*steps, 100]), initial=first_ms):
        on.advance(now_ms - on.context.timestamp_ms)
        on.block()
        live = [(at, number) for number, at in enumerate(due) if number not in cancelled and first_ms + 1_000 * at <= now_ms]
        assert on.query(Alarm.rings) == tuple(f"{number}" for _, number in sorted(live))
    assert on.query(Schedule.next_due) is None
    left = [key for key, _ in on.state.iterate() if b"schedule" in key]
    assert len(left) <= 2  # the last id and the heap's size

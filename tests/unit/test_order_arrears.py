"""Standing orders whose payer has too little, and how orders end.

The harness checks after every block that no money was made or lost, and that the holds are exactly what is held.
"""

from dataclasses import replace

import pytest

from ledger.types import Motes
from tests.orders import (
    CARRY,
    DAILY,
    FRIEND,
    LANDLORD,
    RETRIES,
    TENANT,
    UNKNOWN,
    at,
    chain,
    error_of,
    events,
    fixed,
    leave_with,
    ok,
    per_unit,
)
from vm.contracts.asset import Asset, AssetError
from vm.contracts.order import StandingOrder
from vm.contracts.order_types import (
    Cancellation,
    CancellationRule,
    Collection,
    OrderError,
    OrderStatus,
    Until,
)
from vm.errors import ContractError

# ---- too little money


def test_a_poor_payer_pays_what_is_there_and_the_rest_is_tried_again() -> None:
    on = chain(tenant=30)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES, until=Until(None, 1, None))
    both = (TENANT.address, LANDLORD.address)
    assert events(on.run_until("2024-02-01")) == [
        ("FellDue", (1, at("2024-02-01"), 100)),
        ("Paid", (1, 0, 30, 70)),
        ("Short", (*both, 1, 0, 70, at("2024-02-02"))),
    ]
    assert events(on.run_until("2024-02-03")) == [("Short", (*both, 1, 1, 70, at("2024-02-04")))]
    leave_with(on, 71)
    assert events(on.run_until("2024-02-04")) == [("Paid", (1, 2, 70, 0)), ("Ended", (*both, "completed", 100, 0))]
    assert (on.balance(TENANT).free, on.balance(LANDLORD).free) == (1, 100)
    assert on.order(order_id).owed == 0


def test_the_next_period_pays_the_oldest_first() -> None:
    on = chain(tenant=130)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES)
    on.run_until("2024-02-15")
    leave_with(on, 0)
    on.run_until("2024-03-15")
    assert [(period.paid, period.owed) for period in on.periods(order_id)] == [(100, 0), (0, 100)]
    leave_with(on, 150)
    on.run_until("2024-04-01")
    assert [(period.paid, period.owed) for period in on.periods(order_id)] == [(100, 0), (100, 0), (50, 50)]
    order = on.order(order_id)
    assert (order.progress.asked, order.progress.paid, order.owed) == (300, 250, 50)


@pytest.mark.parametrize(("money", "paid"), [(99, 0), (100, 1), (299, 2), (300, 3), (350, 3), (499, 4), (500, 5)])
def test_whole_periods_only_where_that_was_agreed(money: int, paid: int) -> None:
    on = chain(tenant=99)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=replace(CARRY, partial=False))
    on.run_until("2024-02-15")
    assert on.balance(TENANT).free == 99
    leave_with(on, 0)
    on.run_until("2024-05-15")
    assert on.order(order_id).owed == 400
    leave_with(on, money)
    on.run_until("2024-06-01")
    assert [period.owed for period in on.periods(order_id)] == [0] * paid + [100] * (5 - paid)
    assert on.balance(TENANT).free == money - 100 * paid


def test_what_does_not_carry_on_lapses_after_the_last_retry() -> None:
    on = chain(tenant=30)
    lapsing = Collection((2,), partial=True, carry=False)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=lapsing, until=Until(None, 2, None))
    both = (TENANT.address, LANDLORD.address)
    on.run_until("2024-02-01")
    assert events(on.run_until("2024-02-03")) == [("Short", (*both, 1, 1, 70, None)), ("Lapsed", (1, 70))]
    leave_with(on, 500)
    on.run_until("2024-03-01")
    assert [(period.paid, period.lapsed, period.owed) for period in on.periods(order_id)] == [(30, 70, 0), (100, 0, 0)]
    assert on.order(order_id).progress.status is OrderStatus.COMPLETED
    assert on.balance(LANDLORD).free == 130


def test_what_lapsed_is_not_taken_for_money_that_pays_a_later_period() -> None:
    on = chain(tenant=0)
    whole = Collection((), partial=False, carry=False)
    order_id = on.open(TENANT, LANDLORD, per_unit(1, cap=100), collection=whole)
    for number, units in ((1, 50), (2, 100)):
        ok(on.send(LANDLORD, StandingOrder.report, order_id, number, units))
        on.run_until(f"2024-{number + 1:02}-01")
        leave_with(on, 60)
    assert [(period.paid, period.lapsed) for period in on.periods(order_id)] == [(0, 50), (0, 100)]


def test_a_total_counts_what_did_not_lapse() -> None:
    on = chain(tenant=100)
    order_id = on.open(
        TENANT, LANDLORD, fixed(100), collection=Collection((), partial=True, carry=False), until=Until(None, None, Motes(200))
    )
    on.run_until("2024-03-02")
    assert on.order(order_id).progress.status is OrderStatus.ACTIVE
    leave_with(on, 1_000)
    on.run_until("2024-06-01")
    assert [(period.paid, period.lapsed) for period in on.periods(order_id)] == [(100, 0), (0, 100), (100, 0)]
    assert on.order(order_id).progress.status is OrderStatus.COMPLETED


def test_a_retry_is_not_made_once_the_next_period_is_due() -> None:
    """A daily order's next day is its retry; only the last one's retries are made."""
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(5), DAILY, collection=RETRIES, until=Until(None, 3, None))
    told = [(name, fields[2:4]) for name, fields in events(on.run_until("2024-02-01")) if name == "Short"]
    assert told == [("Short", (1, 0)), ("Short", (2, 0)), ("Short", (3, 0)), ("Short", (3, 1)), ("Short", (3, 2))]
    assert on.order(order_id).progress.status is OrderStatus.UNPAID
    assert on.order(order_id).owed == 15


def test_anybody_settles_what_is_owed_and_never_more() -> None:
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES, until=Until(None, 2, None))
    assert error_of(on.send(FRIEND, StandingOrder.settle, order_id, Motes(1))) == OrderError.NOTHING_OWED.name
    on.run_until("2024-03-01")
    assert error_of(on.send(FRIEND, StandingOrder.settle, order_id, Motes(0))) == OrderError.BAD_AMOUNT.name
    assert error_of(on.send(TENANT, StandingOrder.settle, order_id, Motes(1))) == AssetError.INSUFFICIENT_FUNDS.name
    assert ok(on.send(FRIEND, StandingOrder.settle, order_id, Motes(30))).results == (30,)
    assert [period.paid for period in on.periods(order_id)] == [30, 0]
    paid = ok(on.send(FRIEND, StandingOrder.settle, order_id, Motes(10**6)))
    assert paid.results == (170,)
    assert [name for name, _ in events([paid])] == ["Settled", "Ended"]
    assert on.balance(FRIEND).free == 10**6 - 200
    assert on.waiting() == 0
    assert error_of(on.send(FRIEND, StandingOrder.settle, order_id, Motes(1))) == OrderError.NOTHING_OWED.name


def test_once_all_is_settled_the_next_period_comes_next() -> None:
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES)
    on.run_until("2024-02-01")
    ok(on.send(FRIEND, StandingOrder.settle, order_id, Motes(40)))
    planned = on.order(order_id).progress.next
    assert planned is not None
    assert (planned.period, planned.number, planned.at_ms) == (1, 1, at("2024-02-02"))
    ok(on.send(FRIEND, StandingOrder.settle, order_id, Motes(60)))
    planned = on.order(order_id).progress.next
    assert planned is not None
    assert (planned.period, planned.number, planned.at_ms) == (2, 0, at("2024-03-01"))
    assert on.waiting() == 1


def test_what_an_order_left_unpaid_can_still_be_settled() -> None:
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(100), until=Until(None, 1, None))
    on.run_until("2024-02-02")
    assert on.order(order_id).progress.status is OrderStatus.UNPAID
    leave_with(on, 1_000)
    on.run_until("2024-04-02")
    assert on.balance(LANDLORD).free == 0
    ok(on.send(TENANT, StandingOrder.settle, order_id, Motes(99)))
    assert on.order(order_id).progress.status is OrderStatus.UNPAID
    both = (TENANT.address, LANDLORD.address)
    done = ok(on.send(TENANT, StandingOrder.settle, order_id, Motes(99)))
    assert events([done]) == [("Settled", (TENANT.address, 1, 0)), ("Ended", (*both, "completed", 100, 0))]


# ---- the end


def test_a_payer_cancels_at_any_time_and_nothing_more_falls_due() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(100))
    on.run_until("2024-02-10")
    assert error_of(on.send(FRIEND, StandingOrder.cancel, order_id)) == OrderError.NOT_PERMITTED.name
    assert error_of(on.send(TENANT, StandingOrder.cancel, UNKNOWN)) == OrderError.UNKNOWN_ORDER.name
    now_ms = on.context.timestamp_ms
    both = (TENANT.address, LANDLORD.address)
    assert events([ok(on.send(TENANT, StandingOrder.cancel, order_id))]) == [
        ("Cancelled", (TENANT.address, LANDLORD.address, TENANT.address, now_ms)),
        ("Ended", (*both, "cancelled", 100, 0)),
    ]
    assert on.waiting() == 0
    assert error_of(on.send(TENANT, StandingOrder.cancel, order_id)) == OrderError.NOT_ACTIVE.name
    on.run_until("2024-06-01")
    assert on.balance(LANDLORD).free == 100
    with pytest.raises(ContractError, match="no such mandate"):
        on.query(Asset.get_mandate, order_id)


@pytest.mark.parametrize(("days", "paid"), [(15, 100), (21, 200), (22, 200), (366, 300)])
def test_with_notice_what_falls_due_until_then_is_still_paid(days: int, paid: int) -> None:
    on = chain()
    notice = Cancellation(CancellationRule.NOTICE, days)
    order_id = on.open(TENANT, LANDLORD, fixed(100), cancellation=notice, until=Until(None, 3, None))
    on.run_until("2024-02-09")
    ok(on.send(TENANT, StandingOrder.cancel, order_id))
    end_ms = on.order(order_id).progress.end_ms
    on.run_until("2024-02-12")
    if on.order(order_id).progress.status is OrderStatus.ACTIVE:
        ok(on.send(TENANT, StandingOrder.cancel, order_id))
    assert on.order(order_id).progress.end_ms == end_ms
    on.run_until("2024-05-01")
    assert on.balance(LANDLORD).free == paid
    complete = paid == 300
    assert on.order(order_id).progress.status is (OrderStatus.COMPLETED if complete else OrderStatus.CANCELLED)


def test_by_agreement_the_payer_asks_and_the_payee_ends() -> None:
    on = chain()
    agreed = Cancellation(CancellationRule.AGREEMENT, 0)
    order_id = on.open(TENANT, LANDLORD, fixed(100), cancellation=agreed)
    both = (TENANT.address, LANDLORD.address)
    assert events([ok(on.send(TENANT, StandingOrder.cancel, order_id))]) == [("CancelAsked", both)]
    assert events([ok(on.send(TENANT, StandingOrder.cancel, order_id))]) == []
    on.run_until("2024-02-01")
    order = on.order(order_id).progress
    assert (order.cancel_asked, order.status, order.paid) == (True, OrderStatus.ACTIVE, 100)
    ok(on.send(LANDLORD, StandingOrder.cancel, order_id))
    on.run_until("2024-04-01")
    assert on.order(order_id).progress.status is OrderStatus.CANCELLED
    assert on.balance(LANDLORD).free == 100


@pytest.mark.parametrize("rule", list(CancellationRule))
def test_the_payee_may_always_end_it(rule: CancellationRule) -> None:
    on = chain()
    order_id = on.open(
        TENANT, LANDLORD, fixed(100), cancellation=Cancellation(rule, 30 if rule is CancellationRule.NOTICE else 0)
    )
    ok(on.send(LANDLORD, StandingOrder.cancel, order_id))
    assert on.order(order_id).progress.status is OrderStatus.CANCELLED
    assert on.waiting() == 0


def test_what_fell_due_before_the_cancellation_is_still_tried_on_the_agreed_days() -> None:
    on = chain(tenant=0)
    order_id = on.open(TENANT, LANDLORD, fixed(100), collection=RETRIES)
    on.run_until("2024-02-01")
    assert events([ok(on.send(TENANT, StandingOrder.cancel, order_id))])[-1][0] == "Cancelled"
    leave_with(on, 60)
    on.run_until("2024-02-03")
    assert on.balance(LANDLORD).free == 60
    leave_with(on, 1)
    on.run_until("2024-06-01")
    order = on.order(order_id)
    assert (order.progress.status, order.progress.period, order.progress.paid, order.owed) == (OrderStatus.CANCELLED, 1, 61, 39)
    ok(on.send(FRIEND, StandingOrder.settle, order_id, Motes(39)))
    assert on.order(order_id).progress.status is OrderStatus.CANCELLED
    assert on.order(order_id).owed == 0

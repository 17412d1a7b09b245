"""Standing orders: when they pay, until when, how much; and which orders cannot be.

The harness checks after every block that no money was made or lost, and that the holds are exactly what is held.
"""

import pytest

from ledger.policy import contract_address
from ledger.transaction import Call
from ledger.types import Motes
from tests.orders import (
    ANY_TIME,
    CARRY,
    DAILY,
    FRIEND,
    LANDLORD,
    MONTHLY,
    TENANT,
    UNKNOWN,
    at,
    chain,
    due_days,
    error_of,
    events,
    fixed,
    ok,
    per_unit,
    percentage,
)
from vm.calendar import Every, Recurrence
from vm.context import NOBODY
from vm.contracts.asset import Asset
from vm.contracts.order import NAME, StandingOrder
from vm.contracts.order_types import (
    Amount,
    AmountKind,
    Cancellation,
    CancellationRule,
    Collection,
    OrderError,
    OrderStatus,
    Until,
)
from vm.errors import ContractError, CoreError

# ---- when


@pytest.mark.parametrize(
    ("every", "dues"),
    [
        (Recurrence(Every.MONTH, 31), ["2024-01-31", "2024-02-29", "2024-03-31", "2024-04-30"]),
        (Recurrence(Every.MONTH, 1, 0, 6 * 60), ["2024-02-01T06:00", "2024-03-01T06:00", "2024-04-01T06:00", "2024-05-01T06:00"]),
        (Recurrence(Every.WEEK, 7), ["2024-01-21", "2024-01-28", "2024-02-04", "2024-02-11"]),
        (Recurrence(Every.DAY, 0, 0, 30, 60), ["2024-01-15T23:30", "2024-01-16T23:30", "2024-01-17T23:30", "2024-01-18T23:30"]),
    ],
    ids=["month end", "first of the month at six", "Sundays", "half past midnight, an hour east"],
)
def test_a_period_falls_due_on_its_day_and_is_paid_by_itself(every: Recurrence, dues: list[str]) -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(100), every, until=Until(None, 4, None))
    seen = []
    for number, due in enumerate(dues, start=1):
        on.go_to(at(due) - 1)
        assert on.block().receipts == ()
        on.go_to(at(due))
        [receipt] = on.block().receipts
        assert ok(receipt).gas_used < 300_000
        seen.append(on.balance(LANDLORD).free)
        assert on.order(order_id).progress.period == number
    assert seen == [100, 200, 300, 400]
    assert due_days(on, order_id) == [at(due) for due in dues]
    assert on.order(order_id).progress.status is OrderStatus.COMPLETED
    assert on.waiting() == 0


def test_a_yearly_order_of_the_leap_day_is_due_on_the_last_of_february() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(1), Recurrence(Every.YEAR, 29, 2), until=Until(None, 5, None))
    for day in ("2024-02-29", "2025-02-28", "2026-02-28", "2027-02-28", "2028-02-29"):
        on.go_to(at(day))
        assert len(on.block().receipts) == 1
        assert due_days(on, order_id)[-1] == at(day)
    assert on.balance(LANDLORD).free == 5


def test_the_first_period_is_due_at_the_start_or_after_it() -> None:
    on = chain()
    early = on.open(TENANT, LANDLORD, fixed(1), start_ms=at("2024-03-01"))
    late = on.open(TENANT, LANDLORD, fixed(10), start_ms=at("2024-03-01") + 1)
    past = on.open(TENANT, LANDLORD, fixed(100), start_ms=at("2020-01-01"))
    on.run_until("2024-04-01")
    assert [due_days(on, each)[0] for each in (early, late, past)] == [
        at(day) for day in ("2024-03-01", "2024-04-01", "2024-02-01")
    ]


def test_each_step_is_told_and_the_authority_ends_with_the_order() -> None:
    on = chain()
    receipt = ok(on.try_open(TENANT, LANDLORD, fixed(70), until=Until(None, 2, None), reference="flat 7"))
    order_id = receipt.results[0]
    assert isinstance(order_id, bytes)
    assert on.query(Asset.get_mandate, order_id).owner == TENANT.address
    both = (TENANT.address, LANDLORD.address)
    assert events([receipt]) == [("Opened", (*both, "flat 7", at("2024-02-01")))]
    assert events(on.run_until("2024-12-31")) == [
        ("FellDue", (1, at("2024-02-01"), 70)),
        ("Paid", (1, 0, 70, 0)),
        ("FellDue", (2, at("2024-03-01"), 70)),
        ("Paid", (2, 0, 70, 0)),
        ("Ended", (*both, "completed", 140, 0)),
    ]
    with pytest.raises(ContractError, match="no such mandate"):
        on.query(Asset.get_mandate, order_id)
    assert on.waiting() == 0


# ---- until when


@pytest.mark.parametrize(
    ("until", "paid"),
    [
        (Until(None, 3, None), [100, 100, 100]),
        (Until(at("2024-04-01"), None, None), [100, 100, 100]),
        (Until(at("2024-04-01") - 1, None, None), [100, 100]),
        (Until(None, None, Motes(250)), [100, 100, 50]),
        (Until(None, None, Motes(200)), [100, 100]),
        (Until(at("2024-04-01"), 2, Motes(1_000)), [100, 100]),
        (Until(None, 9, Motes(1)), [1]),
    ],
    ids=["count", "end", "just before", "total", "full total", "the first of all", "a total of one mote"],
)
def test_an_order_is_through_at_what_comes_first(until: Until, paid: list[int]) -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(100), until=until)
    on.run_until("2024-09-01")
    assert [period.paid for period in on.periods(order_id)] == paid
    assert on.balance(LANDLORD).free == sum(paid)
    assert on.order(order_id).progress.status is OrderStatus.COMPLETED


# ---- how much


@pytest.mark.parametrize(
    ("base", "rate_e4", "amount"),
    [(10_000, 250, 250), (10_001, 5_000, 5_001), (9_999, 5_000, 5_000), (3, 1_666, 0), (1, 5_000, 1), (1, 4_999, 0)],
)
def test_a_percentage_of_the_base_is_rounded_half_up_once(base: int, rate_e4: int, amount: int) -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, percentage(rate_e4, base, cap=10_000))
    on.run_until("2024-02-01")
    assert on.balance(LANDLORD).free == amount
    assert on.periods(order_id)[0].quantity is None


def test_the_payee_reports_the_base_of_the_next_period_up_to_the_cap() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, percentage(1_000, 5_000, cap=800))
    assert ok(on.send(LANDLORD, StandingOrder.report, order_id, 1, 8_000)).results == (800,)
    refused = on.send(LANDLORD, StandingOrder.report, order_id, 1, 8_005)
    assert error_of(refused) == OrderError.OVER_CAP.name
    on.run_until("2024-03-01")
    assert [(period.quantity, period.paid) for period in on.periods(order_id)] == [(8_000, 800), (None, 500)]


def test_units_are_charged_as_reported_and_nothing_without_a_report() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, per_unit(3, cap=300, unit="kWh"))
    told = events([ok(on.send(LANDLORD, StandingOrder.report, order_id, 1, 40))])
    assert told == [("Reported", (TENANT.address, LANDLORD.address, 1, 40, 120))]
    assert ok(on.send(LANDLORD, StandingOrder.report, order_id, 1, 50)).results == (150,)
    on.run_until("2024-03-01")
    assert [(period.quantity, period.paid) for period in on.periods(order_id)] == [(50, 150), (None, 0)]
    assert on.order(order_id).progress.period == 2


def test_reports_that_do_not_fit_are_refused() -> None:
    on = chain()
    metered, rent = on.open(TENANT, LANDLORD, per_unit(3, cap=300)), on.open(TENANT, LANDLORD, fixed(100))
    for sender, order_id, period, quantity, code in (
        (TENANT, metered, 1, 1, OrderError.NOT_PERMITTED),
        (FRIEND, metered, 1, 1, OrderError.NOT_PERMITTED),
        (LANDLORD, metered, 0, 1, OrderError.WRONG_PERIOD),
        (LANDLORD, metered, 2, 1, OrderError.WRONG_PERIOD),
        (LANDLORD, metered, 1, 101, OrderError.OVER_CAP),
        (LANDLORD, metered, 1, 2**64 - 1, OrderError.OVER_CAP),
        (LANDLORD, rent, 1, 1, OrderError.NOTHING_TO_REPORT),
        (LANDLORD, UNKNOWN, 1, 1, OrderError.UNKNOWN_ORDER),
    ):
        assert error_of(on.send(sender, StandingOrder.report, order_id, period, quantity)) == code.name
    on.run_until("2024-02-01")
    assert error_of(on.send(LANDLORD, StandingOrder.report, metered, 1, 1)) == OrderError.WRONG_PERIOD.name
    ok(on.send(LANDLORD, StandingOrder.cancel, metered))
    assert error_of(on.send(LANDLORD, StandingOrder.report, metered, 2, 1)) == OrderError.NOT_ACTIVE.name


# ---- what is refused


@pytest.mark.parametrize(
    ("terms", "code"),
    [
        ({"amount": fixed(0)}, OrderError.BAD_AMOUNT),
        ({"amount": Amount(AmountKind.FIXED, Motes(1), 1, Motes(0), "")}, OrderError.BAD_AMOUNT),
        ({"amount": Amount(AmountKind.FIXED, Motes(1), 0, Motes(1), "")}, OrderError.BAD_AMOUNT),
        ({"amount": Amount(AmountKind.FIXED, Motes(1), 0, Motes(0), "km")}, OrderError.BAD_AMOUNT),
        ({"amount": percentage(0, 1, 1)}, OrderError.BAD_AMOUNT),
        ({"amount": percentage(1, 1, 0)}, OrderError.BAD_AMOUNT),
        ({"amount": percentage(10_000, 101, 100)}, OrderError.BAD_AMOUNT),
        ({"amount": per_unit(0, 1)}, OrderError.BAD_AMOUNT),
        ({"amount": per_unit(2, 1)}, OrderError.BAD_AMOUNT),
        ({"amount": Amount(AmountKind.PER_UNIT, Motes(1), 1, Motes(1), "")}, OrderError.BAD_AMOUNT),
        ({"until": Until(at("2024-01-31"), None, None)}, OrderError.BAD_END),
        ({"until": Until(0, None, None)}, OrderError.BAD_END),
        ({"until": Until(None, 0, None)}, OrderError.BAD_END),
        ({"until": Until(None, None, Motes(0))}, OrderError.BAD_END),
        ({"collection": Collection((0,), partial=True, carry=True)}, OrderError.BAD_RETRY),
        ({"collection": Collection((3, 3), partial=True, carry=True)}, OrderError.BAD_RETRY),
        ({"collection": Collection((3, 2), partial=True, carry=True)}, OrderError.BAD_RETRY),
        ({"collection": Collection((3, 367), partial=True, carry=True)}, OrderError.BAD_RETRY),
        ({"cancellation": Cancellation(CancellationRule.ANY_TIME, 1)}, OrderError.BAD_NOTICE),
        ({"cancellation": Cancellation(CancellationRule.AGREEMENT, 1)}, OrderError.BAD_NOTICE),
    ],
)
def test_terms_that_cannot_be_are_refused(terms: dict[str, object], code: OrderError) -> None:
    on = chain()
    amount = terms.pop("amount", fixed(100))
    assert isinstance(amount, Amount)
    assert error_of(on.try_open(TENANT, LANDLORD, amount, **terms)) == code.name  # type: ignore[arg-type]
    assert on.waiting() == 0


def test_the_payee_is_another_account_with_keys() -> None:
    on = chain()
    for payee in (TENANT.address, contract_address("order"), NOBODY):
        terms = (payee, fixed(1), MONTHLY, 0, Until(None, None, None), CARRY, ANY_TIME, "")
        assert error_of(on.send(TENANT, StandingOrder.open, *terms)) == OrderError.BAD_RECIPIENT.name


def test_a_day_that_no_calendar_has_is_refused_and_harms_no_block() -> None:
    on = chain()
    good = on.call(StandingOrder.open, LANDLORD.address, fixed(1), MONTHLY, 0, Until(None, None, None), CARRY, ANY_TIME, "")
    bad = (good.args[0], good.args[1], ("month", 32, 0, 0, 0), *good.args[3:])
    receipt = on.block(on.transaction(TENANT, Call(NAME, "open", bad))).receipts[0]
    assert error_of(receipt) == CoreError.BAD_ARGUMENTS.name


def test_unknown_orders_are_said_to_be_unknown() -> None:
    on = chain()
    with pytest.raises(ContractError) as caught:
        on.query(StandingOrder.get, UNKNOWN)
    assert caught.value.failure_code == OrderError.UNKNOWN_ORDER.name
    with pytest.raises(ContractError):
        on.query(StandingOrder.periods, UNKNOWN, 1, 1)
    assert error_of(on.send(FRIEND, StandingOrder.settle, UNKNOWN, Motes(1))) == OrderError.UNKNOWN_ORDER.name


def test_periods_come_in_pages() -> None:
    on = chain()
    order_id = on.open(TENANT, LANDLORD, fixed(1), DAILY)
    on.days(7)
    assert [period.number for period in on.query(StandingOrder.periods, order_id, 0, 3)] == [1, 2, 3]
    assert [period.number for period in on.query(StandingOrder.periods, order_id, 6, 100)] == [6, 7]
    assert on.query(StandingOrder.periods, order_id, 8, 100) == ()
    assert on.query(StandingOrder.periods, order_id, 2**32 - 1, 100) == ()

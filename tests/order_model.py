"""An independent model of standing orders: lists of periods, days counted one by one, a queue of what is to be collected.

It shares no arithmetic with the contract: due days come from `datetime`, and payments go through the periods one after another.
"""

import calendar
from dataclasses import dataclass, field
from datetime import UTC, date, datetime, timedelta, timezone
from functools import cache

from vm.calendar import Every, Recurrence
from vm.contracts.order_types import AmountKind, CancellationRule, Terms

DAY_MS = 86_400_000
HOUR_MS = 3_600_000
EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


@cache
def next_time(every: Recurrence, after_ms: int) -> int:
    """Return the first time after `after_ms` that the rule names, by looking at one day after the other."""
    zone = timezone(timedelta(minutes=every.utc_offset_minutes))
    day = (EPOCH + timedelta(milliseconds=after_ms)).astimezone(zone).date()
    while True:
        if _names(every, day):
            at = datetime(day.year, day.month, day.day, tzinfo=zone) + timedelta(minutes=every.at_minute)
            if (at_ms := (at - EPOCH) // timedelta(milliseconds=1)) > after_ms:
                return at_ms
        day += timedelta(days=1)


def _names(every: Recurrence, day: date) -> bool:
    if every.every is Every.DAY:
        return True
    if every.every is Every.WEEK:
        return day.isoweekday() == every.on_day
    on_day = day.day == min(every.on_day, calendar.monthrange(day.year, day.month)[1])
    return on_day and (every.every is Every.MONTH or day.month == every.on_month)


@dataclass
class ModelPeriod:
    """A period that fell due."""

    due_ms: int
    asked: int
    paid: int = 0
    lapsed: int = 0

    @property
    def owed(self) -> int:
        return self.asked - self.paid - self.lapsed


@dataclass(eq=False)
class ModelOrder:
    """An order and all that became of it."""

    terms: Terms
    last_ms: int
    end_ms: int | None
    periods: list[ModelPeriod] = field(default_factory=list)
    reported: int | None = None
    attempts: int = 0
    late_days: int = 0
    is_over: bool = False

    @property
    def owed(self) -> int:
        return sum(period.owed for period in self.periods)

    @property
    def paid(self) -> int:
        return sum(period.paid for period in self.periods)

    def left(self) -> int | None:
        """Return how much of the total may still be asked for; None without one."""
        total = self.terms.until.total
        return None if total is None else total - sum(period.asked - period.lapsed for period in self.periods)

    def next_due(self, end_ms: int | None) -> int | None:
        if self.terms.until.count == len(self.periods) or self.left() == 0:
            return None
        due_ms = next_time(self.terms.every, self.last_ms)
        return None if end_ms is not None and due_ms > end_ms else due_ms

    def planned(self) -> tuple[int, int, int] | None:
        """Return when the next collection is, for which period, and the number of its attempt."""
        due_ms = self.next_due(self.end_ms)
        days = self.terms.collection.retry_days
        if self.owed and self.attempts <= len(days):
            retry_ms = self.last_ms + (self.late_days + days[self.attempts - 1]) * DAY_MS
            if due_ms is None or retry_ms < due_ms:
                return retry_ms, len(self.periods), self.attempts
        return None if due_ms is None else (due_ms, len(self.periods) + 1, 0)

    def cost(self) -> int:
        amount = self.terms.amount
        if amount.kind is AmountKind.FIXED:
            return amount.price
        if amount.kind is AmountKind.PER_UNIT:
            return amount.price * (self.reported or 0)
        whole, rest = divmod((amount.price if self.reported is None else self.reported) * amount.rate_e4, 10_000)
        return whole + (rest >= 5_000)

    def fall_due(self, now_ms: int) -> None:
        due_ms = next_time(self.terms.every, self.last_ms)
        left = self.left()
        self.periods.append(ModelPeriod(due_ms, self.cost() if left is None else min(self.cost(), left)))
        self.last_ms, self.reported, self.attempts = due_ms, None, 0
        self.late_days = (now_ms - due_ms) // DAY_MS

    def receive(self, money: int, *, whole: bool) -> int:
        """Pay the oldest periods first and return how much of the money that took."""
        left = money
        for period in self.periods:
            part = min(left, period.owed)
            if whole and part < period.owed:
                break
            period.paid += part
            left -= part
        return money - left

    def status(self) -> str:
        if not self.is_over:
            return "active"
        if self.next_due(self.terms.until.end_ms) is not None:
            return "cancelled"
        return "unpaid" if self.owed else "completed"


@dataclass
class Waiting:
    """A collection in the queue."""

    at_ms: int
    arrival: int
    order: ModelOrder
    period: int
    attempt: int


class Model:
    """All orders and all money. `block` does what is due; the other steps happen within a block, after that."""

    def __init__(self, free: dict[bytes, int]) -> None:
        self.free = free
        self.orders: list[ModelOrder] = []
        self.queue: list[Waiting] = []
        self.is_disabled = False
        self._arrivals = 0

    def block(self, now_ms: int) -> None:
        while due := [each for each in self.queue if each.at_ms <= now_ms]:
            first = min(due, key=lambda each: (each.at_ms, each.arrival))
            self.queue.remove(first)
            if self.is_disabled:
                self._wait(now_ms + HOUR_MS, first.order, first.period, first.attempt)
            else:
                self._collect(first.order, first.attempt, now_ms)

    def open(self, terms: Terms, now_ms: int) -> ModelOrder | None:
        """Return the order, or None when it would never fall due."""
        order = ModelOrder(terms, max(terms.start_ms - 1, now_ms), terms.until.end_ms)
        if order.planned() is None:
            return None
        self.orders.append(order)
        self._go_on(order, now_ms)
        return order

    def settle(self, order: ModelOrder, by: bytes, amount: int, now_ms: int) -> bool:
        taken = min(amount, order.owed)
        if not 0 < taken <= self.free[by]:
            return False
        self.free[by] -= taken
        self.free[order.terms.payee] += order.receive(taken, whole=False)
        if not order.is_over:
            self._go_on(order, now_ms)
        return True

    def cancel(self, order: ModelOrder, by: bytes, now_ms: int) -> bool:
        terms = order.terms
        if order.is_over or by not in (terms.payer, terms.payee):
            return False
        if by == terms.payer and terms.cancellation.rule is CancellationRule.AGREEMENT:
            return True
        end_ms = now_ms + (terms.cancellation.notice_days * DAY_MS if by == terms.payer else 0)
        if order.end_ms is None or end_ms < order.end_ms:
            order.end_ms = end_ms
            self._go_on(order, now_ms)
        return True

    def report(self, order: ModelOrder, by: bytes, period: int, quantity: int) -> bool:
        amount = order.terms.amount
        was, order.reported = order.reported, quantity
        fits = amount.kind is not AmountKind.FIXED and order.cost() <= amount.cap
        if order.is_over or by != order.terms.payee or period != len(order.periods) + 1 or not fits:
            order.reported = was
            return False
        return True

    def _collect(self, order: ModelOrder, attempt: int, now_ms: int) -> None:
        if attempt == 0:
            order.fall_due(now_ms)
        order.attempts = attempt + 1
        paid = order.receive(self.free[order.terms.payer], whole=not order.terms.collection.partial)
        self.free[order.terms.payer] -= paid
        self.free[order.terms.payee] += paid
        planned = order.planned()
        if not order.terms.collection.carry and (planned is None or planned[2] == 0):
            order.periods[-1].lapsed += order.owed
        self._go_on(order, now_ms)

    def _go_on(self, order: ModelOrder, now_ms: int) -> None:
        planned = order.planned()
        waiting = next((each for each in self.queue if each.order is order), None)
        if waiting is not None:
            if planned is not None and planned[1:] == (waiting.period, waiting.attempt):
                return
            self.queue.remove(waiting)
        if planned is None:
            order.is_over = True
        else:
            self._wait(max(planned[0], now_ms + 1), order, *planned[1:])

    def _wait(self, at_ms: int, order: ModelOrder, period: int, attempt: int) -> None:
        self._arrivals += 1
        self.queue.append(Waiting(at_ms, self._arrivals, order, period, attempt))

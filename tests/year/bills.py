"""What loans and standing orders come to, worked out day by day with exact fractions: nothing of the contracts' own code.

Each agreement draws on an account of its own, so it can be followed alone. Times are Unix milliseconds, money is motes. A step of
an agreement says what the chain must report for it: `("loan", id, "paid", amount)` and the like.
"""

from abc import ABC, abstractmethod
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import date, timedelta
from fractions import Fraction
from math import floor
from typing import Final, TypeAlias

from tests.year.days import DAY_MS, local_date, midnight_ms, months_later

MINOR: Final = 1_000_000  # 0.01 DATR
Step: TypeAlias = tuple[str | int, ...]


class Purse:
    """The free money of one account."""

    def __init__(self) -> None:
        self.free = 0

    def take(self, most: int) -> int:
        """Take as much as there is, up to `most`."""
        taken = min(most, self.free)
        self.free -= taken
        return taken


class Bill(ABC):
    """An agreement that collects by itself."""

    def __init__(self, name: str, purse: Purse) -> None:
        self.name = name
        self.purse = purse
        self.received = 0
        self.ended = False

    @abstractmethod
    def run_to(self, time_ms: int) -> Iterator[Step]:
        """Do what falls due up to a time, and yield what is to be reported."""

    def _step(self, *what: str | int) -> Step:
        return (self.name, *what)


# ---- loans


@dataclass(frozen=True)
class LoanPlan:
    """The terms of a loan, as far as these loans differ. `rate` is in 1/10 basis point."""

    principal: int
    rate: int
    instalments: int
    day_count: str
    equal_principal: bool
    late_fee: int
    grace_days: int
    retry_days: tuple[int, ...]
    utc_offset: int


@dataclass
class Row:
    """An instalment that fell due, and what is unpaid of it; fields in the order in which money pays them."""

    number: int
    due: date
    penalty: int
    interest: int
    principal: int
    fined: bool = False

    @property
    def unpaid(self) -> int:
        """Return all that is."""
        return self.penalty + self.interest + self.principal


def half_up(amount: Fraction) -> int:
    """Round to the minor unit."""
    return floor(amount / MINOR + Fraction(1, 2)) * MINOR


class LoanBill(Bill):
    """A loan from the day its money moved, one local midnight after the other."""

    def __init__(self, name: str, purse: Purse, plan: LoanPlan, accepted_ms: int) -> None:
        super().__init__(name, purse)
        self.plan = plan
        self.begun = self.day = local_date(accepted_ms, plan.utc_offset)
        self.owed = self.unbilled = plan.principal
        self.accrued = Fraction(0)
        self.rows: list[Row] = []
        self.planned = self._planned()

    def _planned(self) -> int:
        plan = self.plan
        if plan.equal_principal or not plan.rate:
            return half_up(Fraction(plan.principal, plan.instalments))
        monthly = Fraction(plan.rate, 1_200_000)
        return half_up(plan.principal * monthly / (1 - 1 / (1 + monthly) ** plan.instalments))

    def due_on(self, number: int) -> date:
        """Return when an instalment falls due."""
        return months_later(self.begun, number, self.begun.day)

    @property
    def due(self) -> int:
        """Return what fell due and is unpaid."""
        return sum(row.unpaid for row in self.rows)

    def run_to(self, time_ms: int) -> Iterator[Step]:
        """Live through the local midnights up to a time."""
        while not self.ended and midnight_ms(self.day + timedelta(1), self.plan.utc_offset) <= time_ms:
            yield from self._midnight(self.day + timedelta(1))

    def _midnight(self, day: date) -> Iterator[Step]:
        number, plan = len(self.rows) + 1, self.plan
        if number <= plan.instalments:
            self.accrued += self.owed * self._daily_rate(number)
        self.day = day
        if number <= plan.instalments and day == self.due_on(number):
            yield self._bill(number)
        for row in self.rows:
            if plan.late_fee and row.unpaid and not row.fined and day > row.due + timedelta(plan.grace_days):
                row.fined, row.penalty = True, plan.late_fee
                yield self._step("late", row.number, plan.late_fee)
        if self._is_attempt(day):
            yield from self._collect()

    def _daily_rate(self, number: int) -> Fraction:
        yearly = Fraction(self.plan.rate, 100_000)
        match self.plan.day_count:
            case "ACT/365":
                return yearly / 365
            case "ACT/360":
                return yearly / 360
            case _:
                return yearly / 12 / (self.due_on(number) - self.due_on(number - 1)).days

    def _bill(self, number: int) -> Step:
        interest, self.accrued = half_up(self.accrued), Fraction(0)
        part = self.planned if self.plan.equal_principal else max(0, self.planned - interest)
        principal = self.unbilled if number == self.plan.instalments else min(part, self.unbilled)
        self.unbilled -= principal
        self.rows.append(Row(number, self.due_on(number), 0, interest, principal))
        return self._step("due", number, principal, interest)

    def _is_attempt(self, day: date) -> bool:
        """Due days, the same day of the months after the last one, and the retry days of what is unpaid."""
        months = (day.year - self.begun.year) * 12 + day.month - self.begun.month
        retried = (row.due + timedelta(days) for row in self.rows if row.unpaid for days in self.plan.retry_days)
        return day == self.due_on(months) or day in retried

    def _collect(self) -> Iterator[Step]:
        due = self.due
        left = taken = self.purse.take(due)
        for row in self.rows:
            for part in ("penalty", "interest", "principal"):
                paid = min(left, getattr(row, part))
                setattr(row, part, getattr(row, part) - paid)
                left -= paid
                self.owed -= paid if part == "principal" else 0
        self.received += taken
        if taken:
            yield self._step("paid", taken)
        if taken < due:
            yield self._step("short", due - taken)
        if not self.owed and not self.due:
            self.ended = True
            yield self._step("closed")


# ---- standing orders


@dataclass(frozen=True)
class OrderPlan:
    """The terms of an order, as far as these orders differ. `percent_e4` 0 is a fixed amount, else `motes` is the base."""

    motes: int
    percent_e4: int
    every: str
    on_day: int
    at_minute: int
    utc_offset: int
    count: int | None
    retry_days: tuple[int, ...]
    partial: bool
    carry: bool

    @property
    def amount(self) -> int:
        """Return what a period costs."""
        return floor(Fraction(self.motes * self.percent_e4, 10_000) + Fraction(1, 2)) if self.percent_e4 else self.motes


@dataclass
class Due:
    """A period that fell due: when, what it asked for, and what is unpaid of it."""

    number: int
    due_ms: int
    unpaid: int
    attempts: int = field(default=0)


class OrderBill(Bill):
    """An order from the moment it was given, one attempt after the other."""

    def __init__(self, name: str, purse: Purse, plan: OrderPlan, opened_ms: int) -> None:
        super().__init__(name, purse)
        self.plan = plan
        self.periods: list[Due] = []
        self.lapsed = 0
        self._after_ms = opened_ms
        self.next_ms = self._next_period_ms()

    @property
    def owed(self) -> int:
        """Return what fell due and was neither paid nor given up."""
        return sum(period.unpaid for period in self.periods)

    def _next_period_ms(self) -> int | None:
        """Return when the next period falls due."""
        plan = self.plan
        if plan.count is not None and len(self.periods) >= plan.count:
            return None
        day = local_date(self._after_ms, plan.utc_offset)
        while not self._recurs(day) or midnight_ms(day, plan.utc_offset, plan.at_minute) <= self._after_ms:
            day += timedelta(1)
        return midnight_ms(day, plan.utc_offset, plan.at_minute)

    def _recurs(self, day: date) -> bool:
        match self.plan.every:
            case "day":
                return True
            case "week":
                return day.isoweekday() == self.plan.on_day
            case _:
                return day == months_later(day, 0, self.plan.on_day)

    def run_to(self, time_ms: int) -> Iterator[Step]:
        """Make the attempts up to a time."""
        while not self.ended and self.next_ms is not None and self.next_ms <= time_ms:
            yield from self._attempt(self.next_ms)

    def _attempt(self, now_ms: int) -> Iterator[Step]:
        period_ms = self._next_period_ms()
        if now_ms == period_ms:
            self._after_ms = now_ms
            self.periods.append(Due(len(self.periods) + 1, now_ms, self.plan.amount))
            yield self._step("due", len(self.periods), self.plan.amount)
        last = self.periods[-1]
        last.attempts += 1
        if paid := self._draw():
            self.received += paid
            yield self._step("paid", paid)
        retry_ms, period_ms = self._retry_ms(last), self._next_period_ms()
        if self.owed:
            yield self._step("short", self.owed)
            if retry_ms is None and not self.plan.carry:
                self.lapsed += self.owed
                yield self._step("lapsed", self.owed)
                for period in self.periods:
                    period.unpaid = 0
        self.next_ms = period_ms if retry_ms is None else retry_ms
        if self.next_ms is None:
            self.ended = True
            yield self._step("ended", self.owed)

    def _retry_ms(self, last: Due) -> int | None:
        """Return when it is tried again, where that is before the next period."""
        days, period_ms = self.plan.retry_days, self._next_period_ms()
        if not self.owed or last.attempts > len(days):
            return None
        retry_ms = last.due_ms + days[last.attempts - 1] * DAY_MS
        return retry_ms if period_ms is None or retry_ms < period_ms else None

    def _draw(self) -> int:
        """Pay the oldest periods first: what there is, or only whole ones."""
        paid = 0
        for period in self.periods:
            if period.unpaid > self.purse.free and not self.plan.partial:
                break
            taken = self.purse.take(period.unpaid)
            period.unpaid -= taken
            paid += taken
        return paid

"""The rules of standing orders as pure functions: what a period costs, when the next one falls due, when is tried again.

Money is in motes; a part of a base is exact and rounded half up to a mote once. Times are Unix milliseconds.
"""

from dataclasses import replace
from typing import Final

from ledger.codec import INT_MAX
from ledger.types import Motes
from vm.calendar import DAY_MS
from vm.contract import require
from vm.contracts.order_types import (
    RATE_UNIT,
    RETRY_DAY_MAX,
    Amount,
    AmountKind,
    Attempt,
    CancellationRule,
    Due,
    OrderError,
    OrderStatus,
    Period,
    Progress,
    Terms,
)

_HALF: Final = RATE_UNIT // 2
_NOT_SCHEDULED: Final = 0


def check_terms(terms: Terms) -> None:
    """Fail for an agreement that cannot be. Errors: BAD_AMOUNT, BAD_END, BAD_RETRY, BAD_NOTICE."""
    _check_amount(terms.amount)
    until, days, rule = terms.until, terms.collection.retry_days, terms.cancellation
    require(until.count != 0 and until.total != 0, OrderError.BAD_END)
    require(all(a < b for a, b in zip((0, *days), days, strict=False)), OrderError.BAD_RETRY)
    require(max(days, default=0) <= RETRY_DAY_MAX, OrderError.BAD_RETRY, day=max(days, default=0), limit=RETRY_DAY_MAX)
    require(rule.notice_days == 0 or rule.rule is CancellationRule.NOTICE, OrderError.BAD_NOTICE)


def _check_amount(amount: Amount) -> None:
    kind = amount.kind
    is_fixed, by_rate, by_unit = (kind is each for each in (AmountKind.FIXED, AmountKind.PERCENTAGE, AmountKind.PER_UNIT))
    require(amount.price > 0 or by_rate, OrderError.BAD_AMOUNT, price=amount.price)
    require((amount.rate_e4 > 0) == by_rate, OrderError.BAD_AMOUNT, rate_e4=amount.rate_e4)
    require((amount.cap > 0) != is_fixed, OrderError.BAD_AMOUNT, cap=amount.cap)
    require(amount.unit == "" or by_unit, OrderError.BAD_AMOUNT, unit=amount.unit)
    least = cost(amount, 1 if by_unit else None)
    require(is_fixed or least <= amount.cap, OrderError.BAD_AMOUNT, cap=amount.cap, least=least)


def cost(amount: Amount, reported: int | None) -> int:
    """Return what a period costs, given what the payee reported for it. Without a report no unit was used."""
    match amount.kind:
        case AmountKind.FIXED:
            return amount.price
        case AmountKind.PERCENTAGE:
            return ((amount.price if reported is None else reported) * amount.rate_e4 + _HALF) // RATE_UNIT
        case AmountKind.PER_UNIT:
            return amount.price * (reported or 0)


def at_start(terms: Terms, now_ms: int) -> Progress:
    """Return where an order stands when it is given: its first period lies ahead, and not before its start."""
    before_ms = max(terms.start_ms - 1, now_ms)
    return Progress(
        status=OrderStatus.ACTIVE,
        period=0,
        due_ms=before_ms,
        retry_from_ms=before_ms,
        attempts=0,
        asked=Motes(0),
        paid=Motes(0),
        lapsed=Motes(0),
        reported=None,
        end_ms=terms.until.end_ms,
        cancel_asked=False,
        next=None,
    )


def next_due_ms(terms: Terms, progress: Progress, end_ms: int | None) -> int | None:
    """Return when the next period falls due; None when there is none any more, given the end."""
    if progress.period == terms.until.count or not room(terms, progress):
        return None
    due_ms = terms.every.first_after(progress.due_ms)
    return due_ms if end_ms is None or due_ms <= end_ms else None


def room(terms: Terms, progress: Progress) -> int:
    """Return how much may still be asked for: up to the agreed total, and to what an amount can be at all."""
    left = INT_MAX - progress.asked
    return left if terms.until.total is None else min(left, terms.until.total - (progress.asked - progress.lapsed))


def fall_due(terms: Terms, progress: Progress, now_ms: int) -> tuple[Progress, Due]:
    """Return the progress with the next period fallen due, and that period.

    When it is collected late, as after a long halt of the chain, its retries are as late by whole days.
    """
    due_ms = terms.every.first_after(progress.due_ms)
    asked = Motes(min(cost(terms.amount, progress.reported), room(terms, progress)))
    due = Due(due_ms, progress.reported, asked, before=progress.asked, lapsed=Motes(0))
    late_ms = (now_ms - due_ms) // DAY_MS * DAY_MS
    return replace(
        progress,
        period=progress.period + 1,
        due_ms=due_ms,
        retry_from_ms=due_ms + late_ms,
        attempts=0,
        asked=Motes(progress.asked + asked),
        reported=None,
    ), due


def next_attempt(terms: Terms, progress: Progress) -> Attempt | None:
    """Return the collection to come, without its entry in the calendar; None when the order is over.

    A retry is made only before the next period falls due, whose own collection takes what is owed first.
    """
    due_ms = next_due_ms(terms, progress, progress.end_ms)
    days = terms.collection.retry_days
    if progress.owed and progress.attempts <= len(days):
        retry_ms = progress.retry_from_ms + days[progress.attempts - 1] * DAY_MS
        if due_ms is None or retry_ms < due_ms:
            return Attempt(progress.period, progress.attempts, retry_ms, _NOT_SCHEDULED)
    return None if due_ms is None else Attempt(progress.period + 1, 0, due_ms, _NOT_SCHEDULED)


def final_status(terms: Terms, progress: Progress) -> OrderStatus:
    """Return how an order ended for which nothing is to come."""
    if next_due_ms(terms, progress, terms.until.end_ms) is not None:
        return OrderStatus.CANCELLED
    return OrderStatus.UNPAID if progress.owed else OrderStatus.COMPLETED


def shown(number: int, due: Due, progress: Progress) -> Period:
    """Return a period with what was paid of it: all payments went to the oldest ones first."""
    closed = min(due.asked, max(0, progress.paid + progress.lapsed - due.before))
    paid, owed = Motes(closed - due.lapsed), Motes(due.asked - closed)
    return Period(number, due.due_ms, due.quantity, due.asked, paid, due.lapsed, owed)

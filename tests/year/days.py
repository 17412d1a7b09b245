"""Dates of the year in plain `datetime`: nothing of the calendar that the contracts use."""

from calendar import monthrange
from datetime import UTC, date, datetime, timedelta
from typing import Final

DAY_MS: Final = 86_400_000
EPOCH: Final = date(1970, 1, 1)


def day_number(day: date) -> int:
    """Return days since 1970-01-01."""
    return (day - EPOCH).days


def local_date(time_ms: int, utc_offset_minutes: int) -> date:
    """Return the local date of a moment."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=time_ms, minutes=utc_offset_minutes)
    return moment.date()


def midnight_ms(day: date, utc_offset_minutes: int, at_minute: int = 0) -> int:
    """Return the Unix milliseconds of a local minute of a day."""
    return day_number(day) * DAY_MS + (at_minute - utc_offset_minutes) * 60_000


def months_later(day: date, months: int, on_day: int) -> date:
    """Return the date so many months later, on `on_day` or the month's last day."""
    years, month = divmod(day.month - 1 + months, 12)
    year, month = day.year + years, month + 1
    return date(year, month, min(on_day, monthrange(year, month)[1]))

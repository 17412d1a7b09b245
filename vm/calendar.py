"""The civil calendar in integers: day numbers, months, weekends, local midnights, and what recurs.

A `Day` counts days from 1970-01-01 (day 0) in the proleptic Gregorian calendar; before it days are negative. Times are Unix
milliseconds UTC, local time is UTC plus a fixed offset in minutes (consensus knows no daylight saving time). Nothing here reads a
clock. A day of the month beyond a month's end means its last day, and is kept: 31 Jan -> 29 Feb -> 31 Mar.
"""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final, NamedTuple, NewType

from ledger.errors import InvalidInputError
from vm.abi_types import U8, U16, Bounds

Day = NewType("Day", int)

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
MINUTES_PER_DAY: Final = 1_440
UTC_OFFSET_MINUTES_MAX: Final = 14 * 60

UtcOffset = Annotated[int, Bounds(-UTC_OFFSET_MINUTES_MAX, UTC_OFFSET_MINUTES_MAX)]

_DAYS_PER_400_YEARS: Final = 146_097
_DAYS_0000_03_01_TO_1970: Final = 719_468
_MONTH_DAYS: Final = (31, 28, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31)
_THURSDAY: Final = 3  # 1970-01-01
_SATURDAY: Final = 5
_ISO_DATE: Final = re.compile(r"([0-9]{4})-([0-9]{2})-([0-9]{2})", re.ASCII)


class BadDateError(InvalidInputError):
    """A date or a rule that no calendar has: `bad_date`."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__("bad_date", message, hint='write dates like "2024-02-29"', **details)


class Date(NamedTuple):
    """A civil date: `month` and `day` count from 1."""

    year: int
    month: int
    day: int


class BusinessDays(StrEnum):
    """What becomes of a day that falls on a weekend: it stays, or moves to the next Monday or the previous Friday."""

    SAME = "same"
    NEXT = "next"
    PREVIOUS = "previous"


def days_in_month(year: int, month: int) -> int:
    """Return how many days a month (1..12) has."""
    leap = year % 4 == 0 and (year % 100 != 0 or year % 400 == 0)
    return 29 if month == 2 and leap else _MONTH_DAYS[month - 1]


def day_of(year: int, month: int, day: int) -> Day:
    """Return the day number of a civil date. Raises `BadDateError` for a date the calendar does not have."""
    if not 1 <= month <= 12 or not 1 <= day <= days_in_month(year, month):
        raise BadDateError(f"{year:04d}-{month:02d}-{day:02d} is not a date of the calendar")
    return _day_number(year, month, day)


def date_of(day: Day) -> Date:
    """Return the civil date of a day number.

    Years begin on 1 March here, so that the leap day is the last of its year (Howard Hinnant, "chrono-Compatible Low-Level Date
    Algorithms").
    """
    era, day_of_era = divmod(day + _DAYS_0000_03_01_TO_1970, _DAYS_PER_400_YEARS)
    year_of_era = (day_of_era - day_of_era // 1_460 + day_of_era // 36_524 - day_of_era // 146_096) // 365
    day_of_year = day_of_era - (365 * year_of_era + year_of_era // 4 - year_of_era // 100)
    march_month = (5 * day_of_year + 2) // 153
    month = march_month + 3 if march_month < 10 else march_month - 9
    year = year_of_era + 400 * era + (1 if month <= 2 else 0)
    return Date(year, month, day_of_year - (153 * march_month + 2) // 5 + 1)


def parse_day(text: str) -> Day:
    """Return the day of an ISO date such as `2024-02-29`. Raises `BadDateError`."""
    match = _ISO_DATE.fullmatch(text)
    if match is None:
        raise BadDateError(f"{text[:40]!r} is not a date")
    return day_of(int(match[1]), int(match[2]), int(match[3]))


def day_text(day: Day) -> str:
    """Return a day as an ISO date."""
    date = date_of(day)
    return f"{date.year:04d}-{date.month:02d}-{date.day:02d}"


def add_months(day: Day, months: int, day_of_month: int = 0) -> Day:
    """Return the day `months` later, on `day_of_month` (0: as in `day`), or on the month's last day where it has none such."""
    date = date_of(day)
    return _in_month(date.year * 12 + date.month - 1 + months, day_of_month or date.day)


def weekday(day: Day) -> int:
    """Return the day of the week: 0 is Monday, 6 is Sunday."""
    return (day + _THURSDAY) % 7


def business_day(day: Day, rule: BusinessDays) -> Day:
    """Return the day, moved off the weekend as the rule says."""
    past_friday = weekday(day) - _SATURDAY + 1  # 1 on Saturday, 2 on Sunday
    if past_friday <= 0 or rule is BusinessDays.SAME:
        return day
    return Day(day - past_friday if rule is BusinessDays.PREVIOUS else day + 3 - past_friday)


def local_midnight_ms(day: Day, utc_offset_minutes: int) -> int:
    """Return when a local day begins, in Unix milliseconds UTC."""
    return day * DAY_MS - utc_offset_minutes * MINUTE_MS


def local_day(time_ms: int, utc_offset_minutes: int) -> Day:
    """Return the local day in which a moment (Unix milliseconds UTC) falls."""
    return Day((time_ms + utc_offset_minutes * MINUTE_MS) // DAY_MS)


class Every(StrEnum):
    """How often something recurs."""

    DAY = "day"
    WEEK = "week"
    MONTH = "month"
    YEAR = "year"


@dataclass(frozen=True, slots=True)
class Recurrence:
    """A time that comes again: daily, weekly, monthly or yearly, at a minute of the local day.

    Args:
        every: how often
        on_day: day of the week (1 is Monday, 7 Sunday) or of the month (1..31, at most its last day); 0 for daily
        on_month: month of the year (1..12) for yearly, else 0
        at_minute: minutes after local midnight
        utc_offset_minutes: local time minus UTC
    """

    every: Every
    on_day: U8 = 0
    on_month: U8 = 0
    at_minute: U16 = 0
    utc_offset_minutes: UtcOffset = 0

    def __post_init__(self) -> None:
        last_day = {Every.DAY: 0, Every.WEEK: 7, Every.MONTH: 31, Every.YEAR: 31}[self.every]
        for name, value, low, high in (
            ("on_day", self.on_day, min(1, last_day), last_day),
            ("on_month", self.on_month, *((1, 12) if self.every is Every.YEAR else (0, 0))),
            ("at_minute", self.at_minute, 0, MINUTES_PER_DAY - 1),
            ("utc_offset_minutes", self.utc_offset_minutes, -UTC_OFFSET_MINUTES_MAX, UTC_OFFSET_MINUTES_MAX),
        ):
            if not low <= value <= high:
                raise BadDateError(f"{name} of what comes every {self.every} must be within {low}..{high}, got {value}")
        if self.every is Every.YEAR and self.on_day > max(29, _MONTH_DAYS[self.on_month - 1]):
            raise BadDateError(f"month {self.on_month} never has a day {self.on_day}")

    def first_after(self, time_ms: int) -> int:
        """Return the first time strictly after `time_ms`; both are Unix milliseconds UTC."""
        today = local_day(time_ms, self.utc_offset_minutes)
        at_ms = self._at_ms(self._first_day_from(today))
        return at_ms if at_ms > time_ms else self._at_ms(self._first_day_from(Day(today + 1)))

    def _at_ms(self, day: Day) -> int:
        return local_midnight_ms(day, self.utc_offset_minutes) + self.at_minute * MINUTE_MS

    def _first_day_from(self, day: Day) -> Day:
        """Return the first day on or after `day` that the rule names."""
        match self.every:
            case Every.DAY:
                return day
            case Every.WEEK:
                return Day(day + (self.on_day - 1 - weekday(day)) % 7)
            case Every.MONTH | Every.YEAR:
                return self._first_month_day_from(day)

    def _first_month_day_from(self, day: Day) -> Day:
        date = date_of(day)
        month, step = date.year * 12 + date.month - 1, 1
        if self.every is Every.YEAR:
            month, step = date.year * 12 + self.on_month - 1, 12
        found = _in_month(month, self.on_day)
        return found if found >= day else _in_month(month + step, self.on_day)


def _in_month(month_number: int, day_of_month: int) -> Day:
    """Return a day of the month that is `month_number` months after January of year 0, at most its last one."""
    year, month = month_number // 12, month_number % 12 + 1
    return _day_number(year, month, min(day_of_month, days_in_month(year, month)))


def _day_number(year: int, month: int, day: int) -> Day:
    march_year = year - 1 if month <= 2 else year
    era, year_of_era = divmod(march_year, 400)
    day_of_year = (153 * ((month + 9) % 12) + 2) // 5 + day - 1
    day_of_era = year_of_era * 365 + year_of_era // 4 - year_of_era // 100 + day_of_year
    return Day(era * _DAYS_PER_400_YEARS + day_of_era - _DAYS_0000_03_01_TO_1970)

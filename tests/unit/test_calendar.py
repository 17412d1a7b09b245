"""The civil calendar against Python's, and what recurs against a plain search through the days."""

import re
from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from vm.abi_types import type_spec
from vm.calendar import (
    DAY_MS,
    MINUTE_MS,
    BadDateError,
    BusinessDays,
    Date,
    Day,
    Every,
    Recurrence,
    add_months,
    business_day,
    date_of,
    day_of,
    day_text,
    days_in_month,
    local_day,
    local_midnight_ms,
    parse_day,
    weekday,
)

EPOCH = date(1970, 1, 1)
dates = st.dates(date(1, 1, 1), date(9999, 12, 31))
offsets = st.integers(-14 * 60, 14 * 60)


@given(dates)
def test_days_and_dates_agree_with_the_proleptic_gregorian_calendar(of: date) -> None:
    day = day_of(of.year, of.month, of.day)
    assert day == (of - EPOCH).days
    assert date_of(day) == Date(of.year, of.month, of.day)
    assert weekday(day) == of.weekday()
    assert day_text(day) == of.isoformat()
    assert parse_day(of.isoformat()) == day


@given(st.integers(-(10**7), 10**7))
def test_every_day_number_has_its_own_date(number: int) -> None:
    found = date_of(Day(number))
    assert day_of(found.year, found.month, found.day) == number


@pytest.mark.parametrize("text", ["2023-02-29", "1900-02-29", "2024-13-01", "2024-00-10", "2024-01-00", "2024-04-31"])
def test_a_date_no_calendar_has_is_refused(text: str) -> None:
    with pytest.raises(BadDateError, match="not a date of the calendar"):
        parse_day(text)


@pytest.mark.parametrize("text", ["", "2024-1-1", "20240101", "2024-01-01T00:00", "٢٠٢٤-01-01", "x" * 100])
def test_a_date_is_written_one_way(text: str) -> None:
    with pytest.raises(BadDateError, match="is not a date"):
        parse_day(text)


def test_a_day_of_the_month_is_kept_past_shorter_months() -> None:
    start = parse_day("2024-01-31")
    later = [day_text(add_months(start, months)) for months in range(1, 5)]
    assert later == ["2024-02-29", "2024-03-31", "2024-04-30", "2024-05-31"]
    assert day_text(add_months(start, 13)) == "2025-02-28"
    assert day_text(add_months(start, -2)) == "2023-11-30"
    assert day_text(add_months(parse_day("2024-01-15"), 1, 31)) == "2024-02-29"


@given(dates, st.integers(-500, 500))
def test_months_later_is_the_same_day_or_the_last_of_its_month(of: date, months: int) -> None:
    found = date_of(add_months(day_of(of.year, of.month, of.day), months))
    assert found.year * 12 + found.month == of.year * 12 + of.month + months
    assert found.day == min(of.day, days_in_month(found.year, found.month))


@pytest.mark.parametrize(
    ("day", "rule", "moved"),
    [
        ("2024-06-01", BusinessDays.SAME, "2024-06-01"),
        ("2024-06-01", BusinessDays.NEXT, "2024-06-03"),
        ("2024-06-02", BusinessDays.NEXT, "2024-06-03"),
        ("2024-06-01", BusinessDays.PREVIOUS, "2024-05-31"),
        ("2024-06-02", BusinessDays.PREVIOUS, "2024-05-31"),
        ("2024-05-31", BusinessDays.NEXT, "2024-05-31"),
        ("2024-06-03", BusinessDays.PREVIOUS, "2024-06-03"),
    ],
)
def test_a_weekend_moves_as_agreed(day: str, rule: BusinessDays, moved: str) -> None:
    assert day_text(business_day(parse_day(day), rule)) == moved


def test_local_midnight_is_earlier_in_the_east() -> None:
    day = parse_day("2024-06-01")
    utc = int(datetime(2024, 6, 1, tzinfo=UTC).timestamp()) * 1_000
    assert local_midnight_ms(day, 0) == utc
    assert local_midnight_ms(day, 540) == utc - 9 * 3_600_000
    assert local_midnight_ms(day, -300) == utc + 5 * 3_600_000


@given(st.integers(-100_000, 100_000), offsets, st.integers(0, DAY_MS - 1))
def test_a_local_day_lasts_from_its_midnight_to_the_next(number: int, offset: int, into_ms: int) -> None:
    assert local_day(local_midnight_ms(Day(number), offset) + into_ms, offset) == number


recurrences = st.builds(
    lambda every, day, month, minute, offset: Recurrence(
        every,
        on_day={Every.DAY: 0, Every.WEEK: (day - 1) % 7 + 1, Every.MONTH: day, Every.YEAR: min(day, 29)}[every],
        on_month=month if every is Every.YEAR else 0,
        at_minute=minute,
        utc_offset_minutes=offset,
    ),
    st.sampled_from(Every),
    st.integers(1, 31),
    st.integers(1, 12),
    st.integers(0, 1_439),
    offsets,
)


def recurs_on(rule: Recurrence, day: date) -> bool:
    """Whether the rule names the day, said another way."""
    last = (day.replace(day=1) + timedelta(days=32)).replace(day=1) - timedelta(days=1)
    of_month = day.day == min(rule.on_day, last.day)
    return {
        Every.DAY: True,
        Every.WEEK: day.isoweekday() == rule.on_day,
        Every.MONTH: of_month,
        Every.YEAR: of_month and day.month == rule.on_month,
    }[rule.every]


@given(recurrences, st.integers(0, 4_000_000_000_000))
def test_the_next_time_is_the_first_one_after(rule: Recurrence, now_ms: int) -> None:
    local = EPOCH + timedelta(days=local_day(now_ms, rule.utc_offset_minutes))
    candidates = (local + timedelta(days=days) for days in range(370))
    times = (
        ((day - EPOCH).days * 1_440 + rule.at_minute - rule.utc_offset_minutes) * MINUTE_MS
        for day in candidates
        if recurs_on(rule, day)
    )
    assert rule.first_after(now_ms) == next(time for time in times if time > now_ms)


def test_a_rule_can_be_stored_by_a_contract() -> None:
    rule = Recurrence(Every.MONTH, on_day=31, at_minute=90, utc_offset_minutes=-60)
    spec = type_spec(Recurrence)
    assert spec.decode(spec.encode(rule)) == rule
    assert all(spec.docs)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"every": Every.WEEK, "on_day": 8}, "on_day of what comes every week must be within 1..7, got 8"),
        ({"every": Every.MONTH, "on_day": 0}, "on_day of what comes every month must be within 1..31, got 0"),
        ({"every": Every.DAY, "on_day": 1}, "on_day of what comes every day must be within 0..0, got 1"),
        ({"every": Every.YEAR, "on_day": 1}, "on_month of what comes every year must be within 1..12, got 0"),
        ({"every": Every.MONTH, "on_day": 1, "on_month": 1}, "on_month of what comes every month must be within 0..0"),
        ({"every": Every.YEAR, "on_day": 31, "on_month": 4}, "month 4 never has a day 31"),
        ({"every": Every.YEAR, "on_day": 30, "on_month": 2}, "month 2 never has a day 30"),
        ({"every": Every.DAY, "at_minute": 1_440}, "at_minute of what comes every day must be within 0..1439"),
        ({"every": Every.DAY, "utc_offset_minutes": 841}, "utc_offset_minutes of what comes every day"),
    ],
)
def test_a_rule_that_names_no_time_is_refused(change: dict[str, int], message: str) -> None:
    with pytest.raises(BadDateError, match=re.escape(message)):
        Recurrence(**change)  # type: ignore[arg-type]

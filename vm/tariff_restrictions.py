"""When a tariff element applies: OCPI 2.2.1/2.3.0 TariffRestrictions, read strictly, and their canonical form.

All that are stated must hold at a moment (mod_tariffs, TariffRestrictions). Minima are inclusive, maxima exclusive, so that
elements whose ranges meet never overlap. Times, dates and days are those of the moment in the tariff's local time: "FRIDAY,
22:00 to 06:00" is early and late on Friday, not Saturday morning. Energy and duration count from the session's start; power is
what the car draws. What cannot be known here (current, reservations) is refused by name, never ignored.
"""

import re
from dataclasses import dataclass
from datetime import date
from operator import attrgetter
from typing import Final

from ledger.codec import Value, as_int, fields
from vm.strict_json import Node, scaled_or_none

DAY_S: Final = 86_400
WEEK_S: Final = 7 * DAY_S
UTC_OFFSET_MINUTES_MAX: Final = 14 * 60

_E4_MAX: Final = 10**9  # 100 MWh or 100 MW in 1/10,000 kWh or kW
_WEEKDAYS: Final = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
_EPOCH_DAY: Final = date(1970, 1, 1).toordinal()
_LAST_DAY: Final = date(2999, 12, 31).toordinal() - _EPOCH_DAY
_TIME: Final = re.compile(r"([01][0-9]|2[0-3]):([0-5][0-9])", re.ASCII)
_DATE: Final = re.compile(r"[12][0-9]{3}-[0-9]{2}-[0-9]{2}", re.ASCII)

_HIGHEST: Final = {
    "start_time_min": 24 * 60 - 1,
    "end_time_min": 24 * 60 - 1,
    "start_day": _LAST_DAY,
    "end_day": _LAST_DAY,
    "min_kwh_e4": _E4_MAX,
    "max_kwh_e4": _E4_MAX,
    "min_power_e4": _E4_MAX,
    "max_power_e4": _E4_MAX,
    "min_duration_s": 10**9,
    "max_duration_s": 10**9,
    "weekdays": 2 ** len(_WEEKDAYS) - 1,
}
_RANGES: Final = (
    ("start_day", "end_day", "start_date must be before end_date"),
    ("min_kwh_e4", "max_kwh_e4", "min_kwh must be below max_kwh"),
    ("min_power_e4", "max_power_e4", "min_power must be below max_power"),
    ("min_duration_s", "max_duration_s", "min_duration must be below max_duration"),
)
_FIELDS: Final = (
    "start_time",
    "end_time",
    "start_date",
    "end_date",
    "min_kwh",
    "max_kwh",
    "min_power",
    "max_power",
    "min_duration",
    "max_duration",
    "day_of_week",
)
_NOT_PRICED: Final = {
    "min_current": "the current is not metered",
    "max_current": "the current is not metered",
    "reservation": "reservations are not sessions",
    "booking": "bookings are not sessions",
}


@dataclass(frozen=True, slots=True)
class Restrictions:
    """What must hold for an element to apply; None does not restrict.

    Times are minutes of the local day, from `start_time_min` until before `end_time_min` (over midnight where that is not later);
    days are local dates in days since 1970-01-01; energy and power are in 1/10,000 kWh and kW; `weekdays` has bit 0 for Monday.
    """

    start_time_min: int | None = None
    end_time_min: int | None = None
    start_day: int | None = None
    end_day: int | None = None
    min_kwh_e4: int | None = None
    max_kwh_e4: int | None = None
    min_power_e4: int | None = None
    max_power_e4: int | None = None
    min_duration_s: int | None = None
    max_duration_s: int | None = None
    weekdays: int | None = None

    def to_value(self) -> Value:
        """Return the fields in their order, nil for what does not restrict."""
        value: Value = _all_fields(self)
        return value

    @classmethod
    def from_value(cls, value: Value) -> "Restrictions":
        """Return the restrictions of their canonical form. Raises `BadEncodingError`; `problem` is for the caller to ask."""
        items = fields(value, len(_HIGHEST), "tariff restrictions")
        return cls(
            *(
                None if item is None else as_int(item, name, high=high)
                for item, (name, high) in zip(items, _HIGHEST.items(), strict=True)
            )
        )

    def problem(self) -> str | None:
        """Return why these can never hold or are none at all, or None."""
        if self == Restrictions():
            return "restrictions must restrict something"
        if self.weekdays == 0:
            return "weekdays must have a day"
        for low_name, high_name, why in _RANGES:
            low, high = getattr(self, low_name), getattr(self, high_name)
            if low is not None and high is not None and low >= high:
                return why
        return None

    @property
    def recurring(self) -> bool:
        """Return whether these depend on the time of day or the day of the week."""
        return not (self.start_time_min is None and self.end_time_min is None and self.weekdays is None)

    def in_a_week(self) -> tuple[tuple[int, int], ...]:
        """Return from when until when the times and days hold, in seconds of a local week that begins on Monday."""
        weekdays = 2 ** len(_WEEKDAYS) - 1 if self.weekdays is None else self.weekdays
        begin, end = (self.start_time_min or 0) * 60, (self.end_time_min or 0) * 60
        spans = ((begin, end),) if begin < end else ((0, end), (begin, DAY_S))
        days = [day * DAY_S for day in range(len(_WEEKDAYS)) if weekdays >> day & 1]
        return tuple((day + low, day + high) for day in days for low, high in spans if low < high)


_all_fields: Final = attrgetter(*_HIGHEST)


def read_restrictions(node: Node) -> Restrictions | None:
    """Return an OCPI element's restrictions, None where it has none. Raises the node's error, naming the one it is about."""
    if isinstance(node.value, dict):
        for name, why in _NOT_PRICED.items():
            if node.value.get(name) not in (None, []):
                hint = f"{why}: give elements without it"
                Node(node.value[name], f"{node.path}.{name}", node.error).refuse("this restriction cannot be priced", hint=hint)
    member = node.members(optional=(*_FIELDS, *_NOT_PRICED))
    found = Restrictions(
        start_time_min=_minute(member.get("start_time")),
        end_time_min=_minute(member.get("end_time")),
        start_day=_day(member.get("start_date")),
        end_day=_day(member.get("end_date")),
        min_kwh_e4=scaled_or_none(member.get("min_kwh"), places=4, high=_E4_MAX),
        max_kwh_e4=scaled_or_none(member.get("max_kwh"), places=4, high=_E4_MAX),
        min_power_e4=scaled_or_none(member.get("min_power"), places=4, high=_E4_MAX),
        max_power_e4=scaled_or_none(member.get("max_power"), places=4, high=_E4_MAX),
        min_duration_s=scaled_or_none(member.get("min_duration"), places=0, high=_HIGHEST["min_duration_s"]),
        max_duration_s=scaled_or_none(member.get("max_duration"), places=0, high=_HIGHEST["max_duration_s"]),
        weekdays=_weekdays(member.get("day_of_week")),
    )
    if found == Restrictions():
        return None
    if problem := found.problem():
        node.refuse(problem)
    return found


def _minute(node: Node | None) -> int | None:
    if node is None:
        return None
    match = _TIME.fullmatch(node.text(max_chars=5))
    if match is None:
        node.refuse("must be a time of day", hint='write it like "07:30"; "00:00" also ends a day')
    return int(match[1]) * 60 + int(match[2])


def _day(node: Node | None) -> int | None:
    if node is None:
        return None
    text = node.text(max_chars=10)
    try:
        day = date.fromisoformat(text).toordinal() - _EPOCH_DAY if _DATE.fullmatch(text) else -1
    except ValueError:
        day = -1
    if not 0 <= day <= _LAST_DAY:
        node.refuse("must be a date from 1970 to 2999", hint='write it like "2026-03-01"')
    return day


def _weekdays(node: Node | None) -> int | None:
    """Return the days' bits; an empty list restricts nothing."""
    if node is None:
        return None
    bits = 0
    for item in node.items(low=0, high=len(_WEEKDAYS)):
        name = item.text(max_chars=9)
        if name not in _WEEKDAYS:
            item.refuse(f"must be one of {', '.join(_WEEKDAYS)}")
        bits |= 1 << _WEEKDAYS.index(name)
    return bits or None

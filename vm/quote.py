"""The offline quote: a session in JSON priced by the same code the charging contract runs.

Session: `{"start", "end", "energy_wh", "charging_end"?, "readings"?: [{"at", "meter_wh"}], "utc_offset_minutes"?}`, times in
ISO-8601 UTC to the second. From start to `charging_end` (else `end`) is charging, the rest until `end` is parking.

What `readings` do not show of the energy was drawn linearly (`vm.session_profile`). Times of day, dates and days of the week of a
tariff are local: UTC plus `utc_offset_minutes`.
"""

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import Final

from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX, BadSessionError, Cost, Exact, e4_text, whole
from vm.session_pricing import price_profile
from vm.session_profile import Point, SessionProfile, session_profile, spread_readings
from vm.strict_json import Node, parse
from vm.tariff import Tariff, parse_tariff
from vm.tariff_restrictions import UTC_OFFSET_MINUTES_MAX

READINGS_MAX: Final = 4_096
METER_WH_MAX: Final = 10**15  # a lifetime counter, not a session's energy

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_DATE: Final = r"[0-9]{4}-[0-9]{2}-[0-9]{2}"
_UTC_TIME: Final = re.compile(rf"({_DATE})[T ]([0-9]{{2}}:[0-9]{{2}}(?::[0-9]{{2}})?)(?:\.0+)?(?:Z|\+00:00)")


@dataclass(frozen=True, slots=True)
class Reading:
    """A meter reading: Unix seconds UTC and the meter's counter in Wh."""

    at_s: int
    meter_wh: int


@dataclass(frozen=True, slots=True)
class Session:
    """A finished charging session; times are Unix seconds UTC, start <= charging_end <= end."""

    start_s: int
    charging_end_s: int
    end_s: int
    energy_wh: int
    readings: tuple[Reading, ...] = ()
    utc_offset_minutes: int = 0

    def profile(self) -> SessionProfile:
        """Return how the session went in time."""
        counter = [(reading.at_s, reading.meter_wh) for reading in self.readings]
        readings = spread_readings(self.start_s, self.charging_end_s, self.energy_wh, counter)
        end = Point(self.end_s, self.energy_wh)
        return session_profile(self.start_s, self.charging_end_s, end, readings, self.utc_offset_minutes)


def quote(tariff_json: str, session_json: str) -> dict[str, object]:
    """Return the printed quote of a tariff and a session in JSON text. Raises `BadTariffError` or `BadSessionError`."""
    return quote_session(parse_tariff(tariff_json), parse_session(session_json))


def quote_session(tariff: Tariff, session: Session) -> dict[str, object]:
    """Return the printed quote of a session."""
    return printed(price_profile(tariff, session.profile()))


def printed(cost: Cost) -> dict[str, object]:
    """Return a cost as `datacar charging price --json` prints it.

    Amounts and prices (per kWh, per hour, or flat) are decimal strings of DATR with 4 places. `quantity` is what is billed,
    after step_size: Wh for ENERGY, seconds for TIME and PARKING_TIME, 1 for FLAT (hours would not always be exact decimals).
    Where a price changed within a Wh or a second it is shown to 4 places; what is billed is exact.
    """
    return {
        "excl_vat": e4_text(cost.excl_vat_e4),
        "vat": e4_text(cost.vat_e4),
        "incl_vat": e4_text(cost.incl_vat_e4),
        "components": [
            {
                "type": str(line.dimension),
                "quantity": _quantity_text(line.quantity),
                "price": e4_text(line.price_e4),
                "excl_vat": e4_text(line.excl_vat_e4),
                "vat": e4_text(line.vat_e4),
            }
            for line in cost.components
        ],
        "incl_vat_motes": str(cost.incl_vat_motes),
    }


def _quantity_text(quantity: Exact) -> str:
    """Return a quantity as a decimal, a whole one without places."""
    return str(quantity) if quantity == int(quantity) else e4_text(whole(quantity * 10_000)).rstrip("0").rstrip(".")


def parse_session(text: str) -> Session:
    """Return the session of a JSON text. Raises `BadSessionError` naming the field and the value."""
    root = parse(text, BadSessionError)
    member = root.members(required=("start", "end", "energy_wh"), optional=("charging_end", "readings", "utc_offset_minutes"))
    start_s = _utc_seconds(member["start"])
    end_s = _from_start(member["end"], start_s)
    charging_end_s = _from_start(member["charging_end"], start_s) if "charging_end" in member else end_s
    if charging_end_s > end_s:
        member["charging_end"].refuse("must not be after end")
    session = Session(
        start_s,
        charging_end_s,
        end_s,
        energy_wh=member["energy_wh"].scaled(places=0, high=ENERGY_WH_MAX),
        readings=_read_readings(member.get("readings")),
        utc_offset_minutes=_read_utc_offset(member.get("utc_offset_minutes")),
    )
    if "readings" in member and (problem := _readings_problem(session)):
        member["readings"].refuse(problem)
    return session


def _from_start(node: Node, start_s: int) -> int:
    """Return a time from `start_s` to `SECONDS_MAX` after it."""
    at_s = _utc_seconds(node)
    if at_s < start_s:
        node.refuse("must not be before start")
    if at_s - start_s > SECONDS_MAX:
        node.refuse(f"must be at most {SECONDS_MAX} s after start")
    return at_s


def _utc_seconds(node: Node) -> int:
    """Return Unix seconds of an ISO-8601 UTC time; local times, other offsets and parts of a second are refused."""
    match = _UTC_TIME.fullmatch(node.text(max_chars=40))
    if match is None:
        node.refuse("must be ISO-8601 in UTC to the second", hint='write it like "2026-03-01T08:30:00Z"')
    try:
        return (datetime.fromisoformat(f"{match[1]}T{match[2]}+00:00") - _EPOCH) // timedelta(seconds=1)
    except ValueError:
        node.refuse("is not a date and time of the calendar")


def _read_utc_offset(node: Node | None) -> int:
    limit = UTC_OFFSET_MINUTES_MAX
    return 0 if node is None else node.scaled(places=0, low=-limit, high=limit)


def _read_readings(node: Node | None) -> tuple[Reading, ...]:
    """Return the readings, which must be in order of time with a meter that never goes back."""
    if node is None:
        return ()
    readings: list[Reading] = []
    for item in node.items(low=0, high=READINGS_MAX):
        member = item.members(required=("at", "meter_wh"))
        reading = Reading(_utc_seconds(member["at"]), member["meter_wh"].scaled(places=0, high=METER_WH_MAX))
        if readings and reading.at_s <= readings[-1].at_s:
            member["at"].refuse("must be after the reading before it")
        if readings and reading.meter_wh < readings[-1].meter_wh:
            member["meter_wh"].refuse(f"must not be below the reading before it ({readings[-1].meter_wh})")
        readings.append(reading)
    return tuple(readings)


def _readings_problem(session: Session) -> str | None:
    """Return why the readings contradict the session, or None. The counter may start anywhere; only its growth counts."""
    if not session.readings:
        return None
    first, last = session.readings[0], session.readings[-1]
    if first.at_s < session.start_s or last.at_s > session.end_s:
        return "must lie between start and end"
    growth_wh = last.meter_wh - first.meter_wh
    whole = first.at_s == session.start_s and last.at_s >= session.charging_end_s
    if growth_wh > session.energy_wh or (whole and growth_wh != session.energy_wh):
        return f"show {growth_wh} Wh but energy_wh is {session.energy_wh}"
    return None

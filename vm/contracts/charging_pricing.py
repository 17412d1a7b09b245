"""How the charging contract prices a session: from the station's reports to a bill, at the times of the events.

A session is priced again with each report. Under a tariff without restrictions its totals are enough. Under another the meter's
readings count: those are kept that the price can depend on, at most `POINTS_MAX`; when there are more, the latest gives way to
the next, and energy counts as drawn linearly between those that stay. One that comes after a later one is put in its place, so
that their order matters only to tariffs that look at power: there a reading dropped before could have told more after it.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ledger.types import Motes
from vm.contracts.charging_records import CdrLine, Measured
from vm.contracts.charging_types import POINTS_MAX, MeterPoint, Progress, Start, TariffTerms
from vm.pricing import Cost, whole
from vm.session_pricing import is_needed, price_profile
from vm.session_profile import Point, SessionProfile
from vm.tariff import MOTES_PER_E4

PRICING_GAS: Final = 60_000
RESTRICTION_GAS: Final = 12_000
"""For each element with restrictions of a tariff, whenever a session is priced with it: reading and preparing it."""
PERIOD_GAS: Final = 9_000
"""For each charging period under a tariff with restrictions, and for as much work in it."""
POINT_GAS: Final = 1_000
"""For each reading that is kept of a session, whenever the session is read."""
LINE_GAS: Final = 4_000
"""For each line of a charge detail record, whenever that is read to compare or credit it."""

LATEST_POINTS: Final = 2
"""Points that are kept free for the latest reading and the end of charging."""

Charge = Callable[[int], None]


def price(terms: TariffTerms, start: Start, progress: Progress, charge: Charge) -> Cost:
    """Return what a session costs from its start to its last good values. `charge` is called with gas before it is used."""
    charge(PRICING_GAS + RESTRICTION_GAS * terms.restricted_count)
    profile = _profile(terms, start, progress, progress.points)
    return price_profile(terms.to_price_with(), profile, lambda work: charge(PERIOD_GAS * work))


def with_reading(terms: TariffTerms, start: Start, last: Progress, now: Progress, charge: Charge) -> Progress:
    """Return `now`, the values of a reading, with the readings until `last` that the price can depend on."""
    if not terms.restricted_count or last.sequence == 0:
        return now
    charge(RESTRICTION_GAS * terms.restricted_count)
    before = MeterPoint(last.at_s, last.meter_wh)
    profile = _profile(terms, start, now, (*last.points[-1:], before))
    needed = is_needed(terms.to_price_with(), profile, lambda work: charge(PERIOD_GAS * work))
    return replace(now, points=_kept(last.points, before) if needed else last.points)


def with_overtaken(
    terms: TariffTerms, start: Start, last: Progress, late: MeterPoint, charging: bool, charge: Charge
) -> Progress:
    """Return `last`, the values of the latest reading, with what an earlier one that came after it still tells.

    Until when the car charged; and where the price can depend on it, how much it had drawn by then. What contradicts the readings
    around it tells nothing.
    """
    charge(RESTRICTION_GAS * terms.restricted_count)  # before anything else: the tariff was read for this
    if not start.at_s <= late.at_s <= last.at_s:
        return last
    if charging and late.at_s > last.charging_end_s:
        last = replace(last, charging_end_s=late.at_s)
    if not terms.restricted_count or len(last.points) >= POINTS_MAX - LATEST_POINTS:
        return last
    known = (MeterPoint(start.at_s, start.meter_wh), *last.points, MeterPoint(last.at_s, last.meter_wh))
    place = sum(each.at_s <= late.at_s for each in known[:-1])
    before, after = known[place - 1], known[place]
    if not before.meter_wh <= late.meter_wh <= after.meter_wh or late in (before, after):
        return last
    until = replace(last, at_s=after.at_s, meter_wh=after.meter_wh, charging_end_s=min(last.charging_end_s, after.at_s))
    around = _profile(terms, start, until, (before, late))
    needed = is_needed(terms.to_price_with(), around, lambda work: charge(PERIOD_GAS * work))
    return replace(last, points=(*last.points[: place - 1], late, *last.points[place - 1 :])) if needed else last


def with_end(terms: TariffTerms, last: Progress, end: Progress) -> Progress:
    """Return `end`, the values of a stop, with the readings until `last`.

    What it adds to them was drawn until the end of charging; where that was over, until the stop.
    """
    if not terms.restricted_count:
        return end
    points = [MeterPoint(last.at_s, last.meter_wh)] if last.sequence else []
    if end.charging_end_s < end.at_s and (last.at_s < end.charging_end_s or not last.sequence):
        points.append(MeterPoint(end.charging_end_s, end.meter_wh))
    return replace(end, points=_kept(last.points, *points))


def measured_end(terms: TariffTerms, measured: Measured) -> Progress:
    """Return the last values of a session that was as an arbiter found it; a station's reports of the same would be priced so."""
    points = (MeterPoint(measured.start_s, measured.meter_start_wh), *measured.readings)
    kept = points[1:-1] if terms.restricted_count else ()
    last = Progress(len(points) - 1, points[-1].at_s, points[-1].meter_wh, measured.start_s, Motes(0), kept)
    end = replace(last, at_s=measured.end_s, meter_wh=measured.meter_end_wh, charging_end_s=measured.charging_end_s)
    return with_end(terms, last, end)


def _kept(points: tuple[MeterPoint, ...], *more: MeterPoint) -> tuple[MeterPoint, ...]:
    return (*points[: POINTS_MAX - len(more)], *more)


def _profile(terms: TariffTerms, start: Start, progress: Progress, points: Sequence[MeterPoint]) -> SessionProfile:
    readings = [Point(start.at_s, 0), *(Point(each.at_s, each.meter_wh - start.meter_wh) for each in points)]
    end = Point(progress.at_s, progress.meter_wh - start.meter_wh)
    return SessionProfile(progress.charging_end_s, (*readings, end), terms.utc_offset_minutes)


def cdr_lines(cost: Cost) -> tuple[CdrLine, ...]:
    """Return the lines of a bill in motes, quantities rounded half up to whole ones."""
    return tuple(
        CdrLine(
            line.dimension,
            whole(line.quantity),
            line.price_e4,
            motes(line.excl_vat_e4),
            motes(line.vat_e4),
        )
        for line in cost.components
    )


def motes(amount_e4: int) -> Motes:
    """Return the motes of an amount in 1/10,000 DATR."""
    return Motes(amount_e4 * MOTES_PER_E4)

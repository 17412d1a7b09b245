"""How the charging contract prices a session: from the station's reports to a bill, at the times of the events.

A session is priced again with each report. Under a tariff without restrictions its totals are enough. Under another the meter's
readings count: those are kept that the price can depend on, at most `POINTS_MAX`; when there are more, the latest gives way to
the next, and energy counts as drawn linearly between those that stay.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ledger.types import Motes
from vm.contracts.charging_types import POINTS_MAX, CdrLine, MeterPoint, Progress, Start, TariffTerms
from vm.pricing import Cost, whole
from vm.session_pricing import is_needed, price_profile
from vm.session_profile import Point, SessionProfile
from vm.tariff import MOTES_PER_E4

PRICING_GAS: Final = 60_000
RESTRICTION_GAS: Final = 12_000
"""For each element with restrictions of a tariff, whenever a session is priced with it: reading and preparing it."""
PERIOD_GAS: Final = 9_000
"""For each charging period under a tariff with restrictions, and for as much work in it."""

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

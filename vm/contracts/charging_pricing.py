"""How the charging contract prices a session: from the station's reports to a bill, at the times of the events.

Reports count in the order of their sequence, whatever order they arrive in: a reading before which one is missing waits for it
(`follow`), and so does the end (`finished`). So the bill of a session is a matter of its reports alone. Where many have waited,
a call takes as many as it can pay for and the next one goes on, in the same order.

A session is priced again with each reading. Under a tariff without restrictions its totals are enough. Under another the meter's
readings count: those are kept that the price can depend on, at most `POINTS_MAX`; when there are more, the latest gives way to
the next, and energy counts as drawn linearly between those that stay.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Final

from ledger.types import Motes
from vm.contracts.charging_records import CdrLine, Measured
from vm.contracts.charging_types import (
    POINTS_MAX,
    Flag,
    MeterPoint,
    Progress,
    Reading,
    Session,
    Start,
    Stop,
    TariffTerms,
    add_flags,
    advance,
)
from vm.pricing import Cost, whole
from vm.session_pricing import is_needed, price_profile
from vm.session_profile import Point, SessionProfile
from vm.tariff import MOTES_PER_E4
from vm.tariff_schedule import Schedule

PRICING_GAS: Final = 60_000
RESTRICTION_GAS: Final = 30_000
"""For each element with restrictions of a tariff, whenever a call reads it: loading and preparing it."""
PERIOD_GAS: Final = 9_000
"""For each charging period under a tariff with restrictions, and for as much work in it."""
POINT_GAS: Final = 1_000
"""For each reading that is kept of a session, whenever the session is read."""
WAITING_GAS: Final = 4_000
"""For each reading of a session that waits for an earlier one, whenever the session is read, and mostly written."""
READING_GAS: Final = 12_000
"""For each reading whose turn comes, whatever the tariff."""
LINE_GAS: Final = 4_000
"""For each line of a charge detail record, whenever that is read to compare or credit it."""
FOLLOW_GAS: Final = 5_000_000
"""What pricing may have used in a call when it takes another reading that waited: with the most that one takes, and pricing the
whole session after it, under the 25,000,000 that a call can have."""

Charge = Callable[[int], None]


class Pricer:
    """A session's tariff, prepared for one call. `charge` is called with gas before it is used.

    Readings that waited are taken while less than `follow_gas` was used.
    """

    __slots__ = ("_charge", "_left", "_schedule", "_tariff", "_terms")

    def __init__(self, terms: TariffTerms, charge: Charge, follow_gas: int = FOLLOW_GAS) -> None:
        self._charge, self._left = charge, follow_gas
        self.charge(RESTRICTION_GAS * terms.restricted_count)
        self._terms = terms
        self._tariff = terms.to_price_with()
        self._schedule = Schedule(self._tariff) if terms.restricted_count else None

    @property
    def may_go_on(self) -> bool:
        """Return whether this call may take another reading that waited."""
        return self._left > 0

    def charge(self, gas: int) -> None:
        """Charge the call for what comes next."""
        self._left -= gas
        self._charge(gas)

    def price(self, start: Start, progress: Progress) -> Cost:
        """Return what a session costs from its start to its last good values."""
        self.charge(PRICING_GAS)
        profile = self._profile(start, progress, progress.points)
        return price_profile(self._tariff, profile, self._on_work, self._schedule)

    def priced(self, start: Start, progress: Progress) -> Progress:
        """Return `progress` with what the session costs until then."""
        return replace(progress, cost=Motes(self.price(start, progress).incl_vat_motes))

    def with_reading(self, start: Start, last: Progress, now: Progress) -> Progress:
        """Return `now`, the values of a reading, with the readings until `last` that the price can depend on."""
        if self._schedule is None or last.sequence == 0:
            return now
        before = MeterPoint(last.at_s, last.meter_wh)
        profile = self._profile(start, now, (*last.points[-1:], before))
        needed = is_needed(self._schedule, profile, self._on_work)
        return replace(now, points=_kept(last.points, before) if needed else last.points)

    def with_end(self, last: Progress, end: Progress) -> Progress:
        """Return `end`, the values of a stop, with the readings until `last`.

        What it adds to them was drawn until the end of charging; where that was over, until the stop.
        """
        if self._schedule is None:
            return end
        points = [MeterPoint(last.at_s, last.meter_wh)] if last.sequence else []
        if end.charging_end_s < end.at_s and (last.at_s < end.charging_end_s or not last.sequence):
            points.append(MeterPoint(end.charging_end_s, end.meter_wh))
        return replace(end, points=_kept(last.points, *points))

    def measured_end(self, measured: Measured) -> Progress:
        """Return the last values of a session as an arbiter found it; a station's reports of the same would be priced so."""
        points = (MeterPoint(measured.start_s, measured.meter_start_wh), *measured.readings)
        kept = points[1:-1] if self._schedule is not None else ()
        last = Progress(len(points) - 1, points[-1].at_s, points[-1].meter_wh, measured.start_s, Motes(0), kept)
        end = replace(last, at_s=measured.end_s, meter_wh=measured.meter_end_wh, charging_end_s=measured.charging_end_s)
        return self.with_end(last, end)

    def _on_work(self, work: int) -> None:
        self.charge(PERIOD_GAS * work)

    def _profile(self, start: Start, progress: Progress, points: Sequence[MeterPoint]) -> SessionProfile:
        readings = [Point(start.at_s, 0), *(Point(each.at_s, each.meter_wh - start.meter_wh) for each in points)]
        end = Point(progress.at_s, progress.meter_wh - start.meter_wh)
        return SessionProfile(progress.charging_end_s, (*readings, end), self._terms.utc_offset_minutes)


def after_reading(start: Start, last: Progress, reading: Reading) -> tuple[Progress, tuple[Flag, ...]]:
    """Return the good values after a reading, but for their cost and points, and what was wrong with it."""
    meter_wh, at_s, flags = advance(start, last, reading.meter_wh, reading.at_s)
    charging_end_s = at_s if reading.charging else last.charging_end_s
    now = replace(last, sequence=reading.sequence, at_s=at_s, meter_wh=meter_wh, charging_end_s=charging_end_s)
    return now, flags


def follow(pricer: Pricer, session: Session, start: Start, last: Progress, *, with_gaps: bool = False) -> Session:
    """Return a session with those of its waiting readings taken whose turn has come; `with_gaps` it has for all of them.

    At least one is; those stay that would be too much for one call.
    """
    flags, taken = session.flags, 0
    for reading in session.ahead:
        if (taken and not pricer.may_go_on) or not (with_gaps or reading.sequence == last.sequence + 1):
            break
        pricer.charge(READING_GAS)
        now, wrong = after_reading(start, last, reading)
        last, flags, taken = pricer.with_reading(start, last, now), add_flags(flags, wrong), taken + 1
    return replace(session, progress=last, flags=flags, ahead=session.ahead[taken:])


def finished(pricer: Pricer, session: Session, start: Start, last: Progress) -> tuple[Session, Progress]:
    """Return a session all of whose readings were taken, and its end: that of its stop, or else the last reading."""
    if session.reported is None:
        return session, last
    end, flags = _after_stop(start, last, session.reported)
    end = pricer.with_end(last, end)
    return replace(session, progress=end, flags=add_flags(session.flags, flags)), end


def _after_stop(start: Start, last: Progress, stop: Stop) -> tuple[Progress, tuple[Flag, ...]]:
    """Return the good values at the end of a session, but for its cost and points, and what was wrong with the report."""
    meter_wh, at_s, flags = advance(start, last, stop.meter_wh, stop.at_s)
    charging_end_s = min(max(stop.charging_end_s, start.at_s), at_s)
    if charging_end_s != stop.charging_end_s:
        flags = (*flags, Flag.CLOCK)
    return replace(last, at_s=at_s, meter_wh=meter_wh, charging_end_s=charging_end_s), flags


def _kept(points: tuple[MeterPoint, ...], *more: MeterPoint) -> tuple[MeterPoint, ...]:
    return (*points[: POINTS_MAX - len(more)], *more)


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

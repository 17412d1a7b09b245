"""A charging session in time: when it charged, when it was parked, and how much energy had been drawn at each moment.

The meter is known at its readings; between two of them energy is drawn linearly (OCPI 2.2.1, mod_cdrs, CDR: "interpolated ...
using the metering information before and after"). Without readings it is drawn linearly from the start to the end of charging.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise

from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX, BadSessionError, ChargingPeriod, Exact


@dataclass(frozen=True, slots=True)
class Point:
    """How much energy had been drawn since the session's start at a time: Unix seconds UTC and Wh."""

    at_s: int
    energy_wh: Exact


@dataclass(frozen=True, slots=True)
class Stretch:
    """Part of a session in which energy was drawn linearly. One of no duration is a jump of the meter at a moment."""

    start: Point
    end: Point

    @property
    def seconds(self) -> int:
        """Return how long it lasts."""
        return self.end.at_s - self.start.at_s

    @property
    def energy_wh(self) -> Exact:
        """Return what was drawn in it."""
        return self.end.energy_wh - self.start.energy_wh


@dataclass(frozen=True, slots=True)
class SessionProfile:
    """A session as restricted tariffs price it; times are Unix seconds UTC.

    `points` begin with the start and nothing drawn and close with the end; neither time nor energy goes back. Local time is
    UTC plus `utc_offset_minutes`. From `charging_end_s` on, the car is parked. Raises `BadSessionError` for what cannot be.
    """

    charging_end_s: int
    points: tuple[Point, ...]
    utc_offset_minutes: int = 0

    def __post_init__(self) -> None:
        if not self.points or self.points[0].energy_wh != 0:
            raise BadSessionError("must begin with nothing drawn", path="points", value=self.points)
        for earlier, later in pairwise(self.points):
            if later.at_s < earlier.at_s or later.energy_wh < earlier.energy_wh:
                raise BadSessionError("must not go back", path="points", value=later)
        if not self.start_s <= self.charging_end_s <= self.end_s:
            raise BadSessionError("must be within the session", path="charging_end", value=self.charging_end_s)
        if self.end_s - self.start_s > SECONDS_MAX:
            raise BadSessionError(f"must be at most {SECONDS_MAX} s", path="session time", value=self.end_s - self.start_s)
        if self.energy_wh > ENERGY_WH_MAX:
            raise BadSessionError(f"must be at most {ENERGY_WH_MAX} Wh", path="energy_wh", value=self.energy_wh)

    @property
    def start_s(self) -> int:
        """Return when it began."""
        return self.points[0].at_s

    @property
    def end_s(self) -> int:
        """Return when it ended."""
        return self.points[-1].at_s

    @property
    def energy_wh(self) -> Exact:
        """Return what was drawn in all."""
        return self.points[-1].energy_wh

    def stretches(self) -> Iterator[Stretch]:
        """Yield the session's stretches in order, leaving out empty ones; a session without anything is one empty stretch."""
        first, last = self.points[0], self.points[-1]
        if first == last:
            yield Stretch(first, last)
            return
        for start, end in pairwise(self.points):
            if start != end:
                yield Stretch(start, end)

    def period(self) -> ChargingPeriod:
        """Return the session's totals, which are all that counts for a tariff without restrictions."""
        return ChargingPeriod(int(self.energy_wh), self.charging_end_s - self.start_s, self.end_s - self.charging_end_s)


def session_profile(
    start_s: int, charging_end_s: int, end: Point, readings: Sequence[Point] = (), utc_offset_minutes: int = 0
) -> SessionProfile:
    """Return the profile of a session that is known at its start, its end and some readings between, in order.

    What the end adds to the last reading was drawn until the end of charging; where that was over, until the session's end.
    Raises `BadSessionError`.
    """
    points = [Point(start_s, 0), *readings]
    if charging_end_s < end.at_s and (points[-1].at_s < charging_end_s or not readings):
        points.append(Point(charging_end_s, end.energy_wh))
    return SessionProfile(charging_end_s, (*points, end), utc_offset_minutes)


def spread_readings(start_s: int, charging_end_s: int, energy_wh: int, readings: Sequence[tuple[int, int]]) -> tuple[Point, ...]:
    """Return readings of a counter, (time, Wh) in order, as energy since the session's start.

    The counter may have begun anywhere; its growth counts. What it does not show of `energy_wh` was drawn before the first
    reading where the last one is at the end of charging, after the last where the first is at the start. Where neither is, a
    counter that shows no more than the session drew has counted from its start; another tells nothing, and the missing energy was
    drawn evenly over the time of charging that no reading covers.
    """
    if not readings:
        return ()
    (first_s, first_wh), (last_s, last_wh) = readings[0], readings[-1]
    missing = energy_wh - (last_wh - first_wh)
    before_s = min(first_s, charging_end_s) - start_s
    after_s = max(0, charging_end_s - last_s)
    before: Exact = missing
    if first_s == start_s:
        before = 0
    elif after_s and last_wh <= energy_wh:
        before = first_wh
    elif after_s:
        before = Fraction(missing * before_s, before_s + after_s)
    points = [Point(at_s, before + meter_wh - first_wh) for at_s, meter_wh in readings]
    if before and charging_end_s < first_s:
        points.insert(0, Point(charging_end_s, before))
    return tuple(points)

"""What a session costs under a tariff with restrictions: each moment at the prices of the elements that apply then.

A session falls into charging periods, from each moment at which other elements apply (OCPI 2.2.1, mod_cdrs, CDR object). Moments
are exact: a limit of energy may be passed within a second, so quantities are fractions, and all are summed before the bill rounds
each component once. A flat fee is due once: that of the first moment at which an element with one applies.

Work is bounded by the tariff and the readings, not by how long the session lasted: days or weeks that pass between two readings
are worked on once, however many. Work is reported before it is done, so that it can be paid for.
"""

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import pairwise

from vm.pricing import Cost, Exact, bill, price_session, round_up
from vm.session_profile import SessionProfile, Stretch
from vm.tariff import Dimension, PriceComponent, Tariff
from vm.tariff_restrictions import DAY_S
from vm.tariff_schedule import E4_KWH_PER_WH, Elements, Schedule

OnWork = Callable[[int], None]
"""Told how much is worked on next: 1 for a charging period, more where its elements depend on more than the time."""


@dataclass(frozen=True, slots=True)
class _Period:
    """Part of a session in which the same elements apply."""

    elements: Elements
    seconds: Exact
    energy_wh: Exact
    parked: bool


@dataclass(slots=True)
class _Used:
    """What was used so far, for each component by its place in the tariff."""

    components: dict[int, PriceComponent] = field(default_factory=dict)
    quantities: dict[int, Exact] = field(default_factory=dict)
    last_energy: int | None = None
    last_time: int | None = None
    flat: int | None = None

    def add(self, place: int, component: PriceComponent, quantity: Exact) -> None:
        self.components[place] = component
        self.quantities[place] = self.quantities.get(place, 0) + quantity


def price_profile(
    tariff: Tariff, profile: SessionProfile, on_work: OnWork = lambda _work: None, schedule: Schedule | None = None
) -> Cost:
    """Return what a session costs. Without restrictions this is `price_session` of its totals.

    `on_work` is called before each charging period; what it raises ends the pricing. `schedule` is the tariff's, where the
    caller has it already.
    """
    if not tariff.restricted:
        return price_session(tariff, (profile.period(),))
    schedule = schedule or Schedule(tariff)
    used = _Used()
    for stretch in profile.stretches():
        for period in _periods(schedule, profile, stretch, on_work):
            _use(used, schedule, period)
    _round_up(used, used.last_energy)
    _round_up(used, used.last_time)
    return bill(tariff, [(used.components[place], quantity) for place, quantity in sorted(used.quantities.items()) if quantity])


def is_needed(schedule: Schedule, profile: SessionProfile, on_work: OnWork = lambda _work: None) -> bool:
    """Return whether the price of a session can depend on the reading before the last of its points, which are 3 at least.

    It cannot where the same elements apply from the reading before to the one after, and neither energy nor power passes a limit:
    which elements apply is then a matter of the time alone, so they stay the same whenever the energy was drawn.
    """
    before, after = (Stretch(*points) for points in pairwise(profile.points[-3:]))
    energy, energy_after, _ = schedule.levels(before)
    if not (before.seconds and after.seconds) or energy != energy_after or schedule.levels(before) != schedule.levels(after):
        return True
    periods = (period for stretch in (before, after) for period in _periods(schedule, profile, stretch, on_work))
    return len({period.elements for period in periods}) > 1


def _use(used: _Used, schedule: Schedule, period: _Period) -> None:
    """Add what was used in a period to the components that price it."""
    active = schedule.components(period.elements)
    if used.flat is None and Dimension.FLAT in active:
        used.flat, component = active[Dimension.FLAT]
        used.add(used.flat, component, 1)
    if period.energy_wh and Dimension.ENERGY in active:
        used.last_energy, component = active[Dimension.ENERGY]
        used.add(used.last_energy, component, period.energy_wh)
    time = Dimension.PARKING_TIME if period.parked else Dimension.TIME
    if period.seconds and time in active:
        used.last_time, component = active[time]
        used.add(used.last_time, component, period.seconds)


def _round_up(used: _Used, last: int | None) -> None:
    """Round the total of what was used last up by its step_size; the last component takes what that adds."""
    if last is None:
        return
    component = used.components[last]
    alike = (place for place, each in used.components.items() if each.dimension is component.dimension)
    total = sum(used.quantities[place] for place in alike)
    used.quantities[last] += round_up(total, component.step_size) - total


def _periods(schedule: Schedule, profile: SessionProfile, stretch: Stretch, on_work: OnWork) -> Iterator[_Period]:
    """Yield the charging periods of a stretch in order."""
    offset_s = profile.utc_offset_minutes * 60
    for begin, end in pairwise(_marks(schedule, profile, stretch)):
        at_s, seconds, energy_wh = begin[0], end[0] - begin[0], end[1] - begin[1]
        on_work(schedule.work)
        elements = schedule.otherwise(stretch, at_s - profile.start_s, at_s + offset_s, begin[1])
        parked = at_s >= profile.charging_end_s
        if not seconds:
            yield _Period(Elements(elements & schedule.recurring_at(at_s + offset_s)), 0, energy_wh, parked)
            continue
        for number, (recurring, lasts) in enumerate(schedule.recurring(at_s + offset_s, seconds)):
            if number:
                on_work(1)
            share = energy_wh if lasts == seconds else Fraction(energy_wh * lasts) / seconds
            yield _Period(Elements(elements & recurring), lasts, share, parked)


def _marks(schedule: Schedule, profile: SessionProfile, stretch: Stretch) -> list[tuple[Exact, Exact]]:
    """Return the moments (time, energy drawn) of a stretch between which only times of day and days of the week matter."""
    begin, end = stretch.start, stretch.end
    start_s, offset_s = profile.start_s, profile.utc_offset_minutes * 60
    times = {start_s + each for each in _between(schedule.durations_s, begin.at_s - start_s, end.at_s - start_s)}
    first_day, last_day = (begin.at_s + offset_s) // DAY_S, -(-(end.at_s + offset_s) // DAY_S)
    times.update(day * DAY_S - offset_s for day in _between(schedule.days, first_day, last_day))
    times.update(_between([profile.charging_end_s], begin.at_s, end.at_s))
    marks: set[tuple[Exact, Exact]] = {(at_s, _energy_at(stretch, at_s)) for at_s in times}
    for energy_e4 in _between(schedule.energies_e4, begin.energy_wh * E4_KWH_PER_WH, end.energy_wh * E4_KWH_PER_WH):
        energy_wh = Fraction(energy_e4, E4_KWH_PER_WH)
        share = (energy_wh - begin.energy_wh) / stretch.energy_wh
        marks.add((begin.at_s + stretch.seconds * share, energy_wh))
    return [(begin.at_s, begin.energy_wh), *sorted(marks), (end.at_s, end.energy_wh)]


def _between(values: list[int], low: Exact, high: Exact) -> list[int]:
    """Return which of these values, in order, lie between two others."""
    return values[bisect_right(values, low) : bisect_left(values, high)]


def _energy_at(stretch: Stretch, at_s: int) -> Exact:
    """Return how much energy had been drawn at a time of a stretch."""
    return stretch.start.energy_wh + Fraction(stretch.energy_wh * (at_s - stretch.start.at_s)) / stretch.seconds

"""A tariff with restrictions, prepared for pricing: which elements apply at which moments.

A set of elements is a number with one bit for each, the first element's being the lowest. Times of day and days of the week
recur, so they are worked out for one day or week; everything else about a moment is asked of it.
"""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterator, Mapping
from math import floor
from operator import attrgetter
from typing import Final, NewType

from vm.pricing import Exact
from vm.session_profile import Stretch
from vm.tariff import Dimension, PriceComponent, Tariff
from vm.tariff_restrictions import DAY_S, WEEK_S, Restrictions

Elements = NewType("Elements", int)
"""A set of a tariff's elements, as bits."""

_other_limits: Final = attrgetter(
    "start_day",
    "end_day",
    "min_kwh_e4",
    "max_kwh_e4",
    "min_power_e4",
    "max_power_e4",
    "min_duration_s",
    "max_duration_s",
)
_MONDAY_S: Final = 4 * DAY_S  # 1970-01-01 was a Thursday
E4_KWH_PER_WH: Final = 10
_E4_KW_SECONDS_PER_WH: Final = 36_000  # 1 Wh in a second is 3,600 W, and 1/10,000 kW is 0.1 W


class Schedule:
    """What of a tariff applies when. Immutable in effect: the lookups are only remembered."""

    __slots__ = (
        "_active",
        "_changes",
        "_cycle_s",
        "_elements",
        "_now",
        "_other",
        "_powers_e4",
        "days",
        "durations_s",
        "energies_e4",
    )

    def __init__(self, tariff: Tariff) -> None:
        self._elements = tariff.elements
        self._active: dict[Elements, Mapping[Dimension, tuple[int, PriceComponent]]] = {}
        stated = [(1 << n, element.restrictions) for n, element in enumerate(tariff.elements) if element.restrictions is not None]
        self._other = [(bit, each) for bit, each in stated if _restricts_otherwise(each)]
        self.days = _values(stated, "start_day", "end_day")
        self.durations_s = _values(stated, "min_duration_s", "max_duration_s")
        self.energies_e4 = _values(stated, "min_kwh_e4", "max_kwh_e4")
        self._powers_e4 = _values(stated, "min_power_e4", "max_power_e4")
        recurring = [(bit, each) for bit, each in stated if each.recurring]
        self._cycle_s = WEEK_S if any(each.weekdays is not None for _, each in recurring) else DAY_S
        always = (1 << len(tariff.elements)) - 1 & ~sum(bit for bit, _ in recurring)
        self._changes, self._now = self._recurrence(always, recurring)

    def _recurrence(self, always: int, recurring: list[tuple[int, Restrictions]]) -> tuple[list[int], list[Elements]]:
        """Return from which seconds of the cycle on which elements apply, by time of day and day of the week."""
        changes: dict[int, int] = defaultdict(int)
        for bit, restrictions in recurring:
            for begin, end in restrictions.in_a_week():
                changes[begin] ^= bit
                changes[end] ^= bit
        starts, sets = [0], [Elements(always ^ changes[0])]
        for second in sorted(changes):
            if 0 < second < self._cycle_s and changes[second]:
                starts.append(second)
                sets.append(Elements(sets[-1] ^ changes[second]))
        return starts, sets

    @property
    def work(self) -> int:
        """Return how much work `otherwise` is, where 1 is about that of another price by the time."""
        return 1 + len(self._other) // 4

    def recurring_at(self, local_s: Exact) -> Elements:
        """Return which elements apply at a local time by time of day and day of the week."""
        return self._now[self._place(local_s)[1]]

    def recurring(self, local_s: Exact, seconds: Exact) -> Iterator[tuple[Elements, Exact]]:
        """Yield which elements do from a local time on, in order, each with the seconds it lasts.

        Whole cycles are yielded as one that lasts so many times as long: their number does not matter, however many years.
        """
        if len(self._now) == 1:
            yield self._now[0], seconds
            return
        cycles, rest = divmod(seconds, self._cycle_s)
        if cycles:
            for elements, lasts in self._turn(local_s, self._cycle_s):
                yield elements, lasts * cycles
        yield from self._turn(local_s, rest)

    def _turn(self, local_s: Exact, seconds: Exact) -> Iterator[tuple[Elements, Exact]]:
        """Yield the same for at most one cycle."""
        at, index = self._place(local_s)
        while seconds > 0:
            following = self._changes[index + 1] if index + 1 < len(self._changes) else self._cycle_s
            lasts = min(following - at, seconds)
            yield self._now[index], lasts
            seconds -= lasts
            index = (index + 1) % len(self._changes)
            at = following % self._cycle_s

    def _place(self, local_s: Exact) -> tuple[Exact, int]:
        """Return which second of the cycle a local time is, and the last change until then."""
        second = (local_s - _MONDAY_S) % self._cycle_s
        return second, bisect_right(self._changes, second) - 1

    def otherwise(self, stretch: Stretch, elapsed_s: Exact, local_s: Exact, energy_wh: Exact) -> Elements:
        """Return which elements apply at a moment of a stretch by all else: date, duration, energy and power."""
        elements = (1 << len(self._elements)) - 1
        # All limits are whole numbers, so the whole part of a value says on which side of them it is.
        day_s, duration_s, energy_e4 = floor(local_s), floor(elapsed_s), floor(energy_wh * E4_KWH_PER_WH)
        power_e4 = _power_e4(stretch)
        for bit, each in self._other:
            if not (
                _within(day_s, each.start_day, each.end_day, DAY_S)
                and _within(duration_s, each.min_duration_s, each.max_duration_s)
                and _within(energy_e4, each.min_kwh_e4, each.max_kwh_e4)
                and _within(power_e4, each.min_power_e4, each.max_power_e4)
            ):
                elements &= ~bit
        return Elements(elements)

    def levels(self, stretch: Stretch) -> tuple[int, int, int]:
        """Return how many limits of energy are reached at the start and end of a stretch, and how many of power within it."""
        energies = (floor(point.energy_wh * E4_KWH_PER_WH) for point in (stretch.start, stretch.end))
        start, end = (bisect_right(self.energies_e4, energy_e4) for energy_e4 in energies)
        return start, end, bisect_right(self._powers_e4, _power_e4(stretch))

    def components(self, elements: Elements) -> Mapping[Dimension, tuple[int, PriceComponent]]:
        """Return what prices each dimension where these elements apply: the first one's component and its place in the tariff."""
        found = self._active.get(elements)
        if found is None:
            first: dict[Dimension, tuple[int, PriceComponent]] = {}
            place = 0
            for index, element in enumerate(self._elements):
                for component in element.components:
                    if elements >> index & 1:
                        first.setdefault(component.dimension, (place, component))
                    place += 1
            found = self._active[elements] = first
        return found


def _restricts_otherwise(restrictions: Restrictions) -> bool:
    """Return whether these depend on more than the time of day and the day of the week."""
    return any(value is not None for value in _other_limits(restrictions))


def _values(stated: list[tuple[int, Restrictions]], *names: str) -> list[int]:
    """Return the different values that these restrictions have anywhere."""
    return sorted({value for _, each in stated for name in names if (value := getattr(each, name)) is not None})


def _power_e4(stretch: Stretch) -> int:
    """Return the whole part of the power in 1/10,000 kW; a jump of the meter is drawn within a second."""
    return floor(stretch.energy_wh * _E4_KW_SECONDS_PER_WH) // max(stretch.seconds, 1)


def _within(value: int, low: int | None, high: int | None, scale: int = 1) -> bool:
    return (low is None or low * scale <= value) and (high is None or value < high * scale)

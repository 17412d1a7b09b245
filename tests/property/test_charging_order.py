"""A station that was offline sends its readings in any order, some twice: the price is that of all of them in order.

Except where it depends on power: a reading that changed nothing when it came is not kept, and could tell more of the power after
one that it overtook.
"""

import json
from dataclasses import replace
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.types import Motes
from tests.property.test_session_pricing import SATURDAY_NIGHT, tariffs
from vm.contracts.charging_pricing import price, with_end, with_overtaken, with_reading
from vm.contracts.charging_types import MeterPoint, Progress, Start, TariffTerms
from vm.tariff import parse_tariff

START = Start("tx", 1_000_000, SATURDAY_NIGHT)
FIRST = Progress(0, START.at_s, START.meter_wh, START.at_s, Motes(0))
Reading = tuple[int, MeterPoint, bool]

growth = st.lists(st.tuples(st.integers(1, 400), st.integers(0, 400), st.booleans()), min_size=1, max_size=12)


def without_power(document: Any) -> Any:
    """Return a tariff that does not look at power."""
    for element in document["elements"]:
        limits = element.get("restrictions", {})
        left = {name: value for name, value in limits.items() if not name.endswith("_power")}
        element.pop("restrictions", None)
        if left:
            element["restrictions"] = left
    return document


def readings_of(steps: list[tuple[int, int, bool]]) -> list[Reading]:
    """Return what a station reads, numbered, each so many seconds and Wh after the one before."""
    at_s, meter_wh, found = START.at_s, START.meter_wh, []
    for number, (seconds, energy_wh, charging) in enumerate(steps, 1):
        at_s, meter_wh = at_s + seconds, meter_wh + energy_wh
        found.append((number, MeterPoint(at_s, meter_wh), charging))
    return found


def told(terms: TariffTerms, readings: list[Reading]) -> Progress:
    """Return where a session stands after these reports, as the contract takes them."""
    last = FIRST
    for number, point, charging in readings:
        if number > last.sequence:
            charging_end_s = point.at_s if charging else last.charging_end_s
            now = Progress(number, point.at_s, point.meter_wh, charging_end_s, Motes(0))
            last = with_reading(terms, START, last, now, lambda _gas: None)
        else:
            last = with_overtaken(terms, START, last, point, charging, lambda _gas: None)
    return last


def billed(terms: TariffTerms, last: Progress) -> tuple[Any, Any]:
    """Return what the session costs now, and if it stopped a minute later."""
    end = replace(last, at_s=last.at_s + 60, meter_wh=last.meter_wh + 9, charging_end_s=last.at_s + 30)
    stopped = with_end(terms, last, end)
    return tuple(price(terms, START, each, lambda _gas: None) for each in (last, stopped))  # type: ignore[return-value]


@settings(max_examples=100, deadline=None)
@given(tariffs.map(without_power), growth, st.data())
def test_readings_in_any_order_cost_what_they_cost_in_order(document: Any, steps: Any, data: st.DataObject) -> None:
    terms = TariffTerms.of(parse_tariff(json.dumps(document)), 60)
    readings = readings_of(steps)
    shuffled = data.draw(st.permutations([*readings, *data.draw(st.lists(st.sampled_from(readings), max_size=4))]))
    assert billed(terms, told(terms, shuffled)) == billed(terms, told(terms, readings))

"""Restricted tariffs against an oracle that walks through a session second by second, and laws that such bills obey."""

import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.types import Motes
from vm.contracts.charging_pricing import Pricer
from vm.contracts.charging_types import Progress, Start, TariffTerms
from vm.session_pricing import is_needed, price_profile
from vm.session_profile import Point, SessionProfile
from vm.tariff import Tariff, parse_tariff
from vm.tariff_schedule import Schedule

UNITS = {"FLAT": 1, "ENERGY": 1_000, "TIME": 3_600, "PARKING_TIME": 3_600}
DAYS = ("MONDAY", "TUESDAY", "WEDNESDAY", "THURSDAY", "FRIDAY", "SATURDAY", "SUNDAY")
SATURDAY_NIGHT = int(datetime(2026, 2, 28, 23, 55, tzinfo=UTC).timestamp())

clocks = st.sampled_from(["00:00", "23:56", "23:57", "23:59", "00:01", "00:02", "00:05", "12:00"])
dates = st.sampled_from(["2026-02-28", "2026-03-01", "2026-03-02"])
energies = st.sampled_from(["0.1", "0.25", "0.5003", "1"])
powers = st.sampled_from(["0.0001", "3.6", "7.2", "11"])
lengths = st.sampled_from([1, 60, 61, 200, 400])


def ordered(low: str, high: str, values: st.SearchStrategy[Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Either limit, both in order, or neither."""
    pairs = st.sets(values, min_size=2, max_size=2).map(lambda pair: sorted(pair, key=number))
    both = pairs.map(lambda pair: {low: pair[0], high: pair[1]})
    return st.one_of(st.just({}), st.just({}), values.map(lambda each: {low: each}), values.map(lambda each: {high: each}), both)


def number(limit: str | int) -> Fraction:
    """A limit as something that can be put in order; dates are."""
    return Fraction(str(limit).replace("-", ""))


restrictions = st.builds(
    lambda *parts: {key: value for part in parts for key, value in part.items()},
    st.fixed_dictionaries({}, optional={"start_time": clocks, "end_time": clocks}),
    st.fixed_dictionaries({}, optional={"day_of_week": st.lists(st.sampled_from(DAYS), max_size=7)}),
    ordered("start_date", "end_date", dates),
    ordered("min_kwh", "max_kwh", energies),
    ordered("min_power", "max_power", powers),
    ordered("min_duration", "max_duration", lengths),
)
components = st.fixed_dictionaries(
    {
        "type": st.sampled_from(sorted(UNITS)),
        "price": st.sampled_from(["0", "0.0001", "0.3", "0.39", "1.7", "123.4567"]),
        "step_size": st.sampled_from([1, 1, 7, 60, 300]),
    },
    optional={"vat": st.sampled_from(["0", "7", "19", "33.3333"])},
)
elements = st.fixed_dictionaries(
    {"price_components": st.lists(components, min_size=1, max_size=4, unique_by=lambda each: each["type"])},
    optional={"restrictions": restrictions},
)
tariffs = st.fixed_dictionaries({"elements": st.lists(elements, min_size=1, max_size=5)})


@st.composite
def profiles(draw: st.DrawFn, longest_s: int = 600) -> SessionProfile:
    """A session around a midnight at which a month and a week end, in some time zone."""
    offset = draw(st.sampled_from([0, 0, 60, -90, 345]))
    start = SATURDAY_NIGHT - offset * 60 + draw(st.integers(0, 400))
    times = sorted(draw(st.sets(st.integers(start + 1, start + longest_s), max_size=4)))
    points = [Point(start, 0)]
    for at_s in times:
        points.append(Point(at_s, points[-1].energy_wh + draw(st.one_of(st.just(0), st.integers(0, 700)))))
    return SessionProfile(draw(st.integers(start, points[-1].at_s)), tuple(points), offset)


def applies(limits: dict[str, Any], local: datetime, elapsed: int, kwh: Fraction, power: Fraction) -> bool:
    """Whether an element applies at a moment, read off the tariff as it was written."""
    begin, until = limits.get("start_time", "00:00"), limits.get("end_time", "00:00")
    clock, day = local.strftime("%H:%M"), local.strftime("%Y-%m-%d")
    return (
        (begin <= clock < until if begin < until else clock >= begin or clock < until)
        and (not limits.get("day_of_week") or DAYS[local.weekday()] in limits["day_of_week"])
        and limits.get("start_date", "") <= day < limits.get("end_date", "9")
        and Fraction(limits.get("min_kwh", 0)) <= kwh < Fraction(limits.get("max_kwh", 10**9))
        and Fraction(limits.get("min_power", 0)) <= power < Fraction(limits.get("max_power", 10**9))
        and limits.get("min_duration", 0) <= elapsed < limits.get("max_duration", 10**9)
    )


def walk(document: Any, profile: SessionProfile) -> dict[tuple[int, str], Fraction]:
    """What is billed of each component, by a walk through the seconds; those in which a limit of energy is passed are cut."""
    limits = {
        Fraction(each.get("restrictions", {}).get(name, 0)) * 1_000
        for each in document["elements"]
        for name in ("min_kwh", "max_kwh")
    }
    used: dict[tuple[int, str], Fraction] = {}
    last: dict[str, tuple[int, str]] = {}

    def use(kind: str, group: str, amount: Fraction) -> None:
        place = next(
            (n for n in active if any(part["type"] == kind for part in document["elements"][n]["price_components"])), None
        )
        if place is not None and amount:
            last[group] = (place, kind)
            used[place, kind] = used.get((place, kind), Fraction(0)) + amount

    for before, after in pairwise(profile.points if len(profile.points) > 1 else profile.points * 2):
        seconds, energy = after.at_s - before.at_s, Fraction(after.energy_wh - before.energy_wh)
        for second in range(before.at_s, after.at_s) or [before.at_s]:
            low = before.energy_wh + energy * (second - before.at_s) / max(seconds, 1)
            high = before.energy_wh + energy * (second + 1 - before.at_s) / max(seconds, 1)
            local = datetime.fromtimestamp(second, UTC) + timedelta(minutes=profile.utc_offset_minutes)
            for begin, end in pairwise([low, *sorted(each for each in limits if low < each < high), high]):
                active = [
                    n
                    for n, each in enumerate(document["elements"])
                    if applies(
                        each.get("restrictions", {}),
                        local,
                        second - profile.start_s,
                        begin / 1_000,
                        energy * 36 / 10 / max(seconds, 1),
                    )
                ]
                if "flat" not in last:
                    use("FLAT", "flat", Fraction(1))
                use("ENERGY", "energy", end - begin)
                lasts = (end - begin) / (high - low) if high > low else Fraction(1)
                use("TIME" if second < profile.charging_end_s else "PARKING_TIME", "time", lasts if seconds else Fraction(0))
    for group in ("energy", "time"):
        if group in last:
            step, kind = part_of(document, last[group])["step_size"], last[group][1]
            total = sum(amount for (_, other), amount in used.items() if other == kind)
            used[last[group]] += ceil(total / step) * step - total
    return {place: amount for place, amount in used.items() if amount}


def part_of(document: Any, place: tuple[int, str]) -> Any:
    [part] = [each for each in document["elements"][place[0]]["price_components"] if each["type"] == place[1]]
    return part


def rounded(exact: Fraction) -> int:
    return floor(exact * 10_000 + Fraction(1, 2))


@settings(max_examples=120, deadline=None)
@given(tariffs, profiles())
def test_a_bill_equals_the_walk_through_the_seconds(document: Any, profile: SessionProfile) -> None:
    cost = price_profile(parse_tariff(json.dumps(document)), profile)
    expected = []
    for place, amount in walk(document, profile).items():
        part = part_of(document, place)
        exact = amount * Fraction(part["price"]) / UNITS[place[1]]
        vat = exact * Fraction(part.get("vat", 0)) / 100
        expected.append((place[1], amount, rounded(exact), rounded(vat)))
    lines = [(str(line.dimension), line.quantity, line.excl_vat_e4, line.vat_e4) for line in cost.components]
    assert sorted(lines) == sorted(expected)
    assert cost.excl_vat_e4 == sum(line[2] for line in expected)
    assert cost.vat_e4 == sum(line[3] for line in expected)


@settings(max_examples=50, deadline=None)
@given(tariffs, profiles(longest_s=40 * 86_400))
def test_a_tariff_prices_the_same_without_what_never_applies(document: Any, profile: SessionProfile) -> None:
    """What the chain prices with is not what was published, but costs the same."""
    tariff = parse_tariff(json.dumps(document))
    assert price_profile(TariffTerms.of(tariff).flattened().to_price_with(), profile) == price_profile(tariff, profile)


@settings(max_examples=50, deadline=None)
@given(tariffs, profiles(longest_s=40 * 86_400), st.integers(0, 40 * 86_400))
def test_cutting_a_session_at_any_second_changes_nothing(document: Any, profile: SessionProfile, cut: int) -> None:
    tariff = parse_tariff(json.dumps(document))
    points = list(profile.points)
    for index, (before, after) in enumerate(pairwise(points)):
        if before.at_s < profile.start_s + cut < after.at_s:
            share = Fraction(profile.start_s + cut - before.at_s, after.at_s - before.at_s)
            energy = before.energy_wh + (after.energy_wh - before.energy_wh) * share
            points.insert(index + 1, Point(profile.start_s + cut, energy))
            break
    pieces = SessionProfile(profile.charging_end_s, tuple(points), profile.utc_offset_minutes)
    assert price_profile(tariff, pieces) == price_profile(tariff, profile)


@settings(max_examples=50, deadline=None)
@given(tariffs, profiles(longest_s=3 * 86_400))
def test_a_reading_that_is_not_needed_changes_nothing(document: Any, profile: SessionProfile) -> None:
    tariff = parse_tariff(json.dumps(document))
    if len(profile.points) < 3 or is_needed(Schedule(tariff), profile):
        return
    points = (*profile.points[:-2], profile.points[-1])
    without = SessionProfile(profile.charging_end_s, points, profile.utc_offset_minutes)
    assert price_profile(tariff, without) == price_profile(tariff, profile)


@settings(max_examples=50, deadline=None)
@given(tariffs)
def test_the_canonical_form_round_trips(document: Any) -> None:
    tariff = parse_tariff(json.dumps(document))
    assert Tariff.from_value(decode(encode(tariff.to_value()))) == tariff
    assert TariffTerms.of(tariff, -60).to_price_with() == tariff


@settings(deadline=None)
@given(
    tariffs, st.lists(st.tuples(st.integers(0, 20_000), st.integers(0, 400), st.booleans()), min_size=1, max_size=20), st.data()
)
def test_the_readings_a_contract_keeps_give_the_price_of_all_of_them(document: Any, reports: Any, data: st.DataObject) -> None:
    """The last report is the stop; after each one the price is that of the whole session so far."""
    terms = TariffTerms.of(parse_tariff(json.dumps(document)), 60)
    start = Start("tx", 1_000_000, SATURDAY_NIGHT)
    last = Progress(0, start.at_s, start.meter_wh, start.at_s, Motes(0))
    points, pricer = [Point(start.at_s, 0)], Pricer(terms, lambda _gas: None)
    for number, (seconds, energy_wh, charging) in enumerate(reports):
        at_s, meter_wh = last.at_s + seconds, last.meter_wh + energy_wh
        is_stop = number == len(reports) - 1
        if is_stop:
            charged_s = data.draw(st.integers(start.at_s, at_s))
            now = pricer.with_end(last, replace(last, at_s=at_s, meter_wh=meter_wh, charging_end_s=charged_s))
            if charged_s < at_s and (last.at_s < charged_s or not last.sequence):
                points.append(Point(charged_s, meter_wh - start.meter_wh))
        else:
            charged_s = at_s if charging else last.charging_end_s
            now = replace(last, sequence=number + 1, at_s=at_s, meter_wh=meter_wh, charging_end_s=charged_s)
            now = pricer.with_reading(start, last, now)
        points.append(Point(at_s, meter_wh - start.meter_wh))
        everything = SessionProfile(now.charging_end_s, tuple(points), 60)
        assert pricer.price(start, now) == price_profile(terms.to_price_with(), everything)
        last = now

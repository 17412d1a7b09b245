"""Pricing against a second computation written another way, and laws every bill obeys."""

import json
import math
from decimal import ROUND_HALF_UP, Decimal, localcontext
from fractions import Fraction
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.codec import decode, encode
from vm.pricing import ChargingPeriod, price_session
from vm.quote import quote
from vm.tariff import BadTariffError, Tariff, parse_tariff

SECONDS_PER_DAY = 86_400
PER_UNIT = {"FLAT": 1, "ENERGY": 1_000, "TIME": 3_600, "PARKING_TIME": 3_600}


def decimals(places: int, high: int) -> st.SearchStrategy[str]:
    """Decimal strings from 0 to `high`, small values as often as large ones."""
    return st.one_of(
        st.decimals(0, high, places=places), st.decimals(0, Decimal("0.01"), places=places), st.integers(0, high)
    ).map(lambda number: f"{number:f}")


components = st.fixed_dictionaries(
    {
        "type": st.sampled_from(sorted(PER_UNIT)),
        "price": decimals(4, 1_000),
        "step_size": st.one_of(st.integers(1, 10), st.sampled_from([60, 100, 300, 500, 900, 3_600]), st.just(7_777)),
    },
    optional={"vat": decimals(4, 100)},
)
elements = st.fixed_dictionaries(
    {"price_components": st.lists(components, min_size=1, max_size=4, unique_by=lambda component: component["type"])}
)


@st.composite
def tariffs(draw: st.DrawFn) -> dict[str, Any]:
    """An OCPI tariff object, with consistent limits where it has any."""
    tariff: dict[str, Any] = {"elements": draw(st.lists(elements, min_size=1, max_size=3))}
    net = sorted(draw(st.lists(st.decimals(0, 500, places=4), min_size=2, max_size=2)))
    tax = sorted(draw(st.lists(st.decimals(0, 100, places=4), min_size=2, max_size=2)))
    for name, excl, vat in zip(("min_price", "max_price"), net, tax, strict=True):
        if draw(st.booleans()):
            tariff[name] = {"excl_vat": str(excl)} | ({"incl_vat": str(excl + vat)} if draw(st.booleans()) else {})
    if draw(st.booleans()):
        tariff["preauthorize_amount"] = draw(decimals(8, 500))
    return tariff


energies = st.integers(0, 200_000)
durations = st.one_of(st.just(0), st.integers(0, SECONDS_PER_DAY // 2 - 1))
periods = st.lists(st.builds(ChargingPeriod, energies, durations, durations), max_size=4)


def rounded(exact: Fraction) -> Decimal:
    """Half up at 4 places by `decimal`; 100 digits tell every tie of these inputs from what is beside it."""
    with localcontext(prec=100):
        return (Decimal(exact.numerator) / exact.denominator).quantize(Decimal("0.0001"), rounding=ROUND_HALF_UP)


def expected_total(tariff: dict[str, Any], energy_wh: int, charging_s: int, parking_s: int) -> tuple[Decimal, Decimal]:
    """The net and gross total of a session that charges and then parks, computed the way a person would."""
    exact: list[tuple[Fraction, Fraction]] = []
    first = {c["type"]: c for e in reversed(tariff["elements"]) for c in e["price_components"]}
    parks = parking_s > 0 and "PARKING_TIME" in first
    used = {"FLAT": 1, "ENERGY": energy_wh, "TIME": charging_s, "PARKING_TIME": parking_s}
    for kind, component in first.items():
        step = component["step_size"]
        if kind == "FLAT" or (kind == "TIME" and parks):
            step = 1
        quantity = math.ceil(Fraction(used[kind], step)) * step
        net = Fraction(component["price"]) * Fraction(quantity, PER_UNIT[kind])
        exact.append((net, net * Fraction(component.get("vat", "0")) / 100))
    excl = sum((rounded(net) for net, _ in exact), Decimal(0))
    incl = excl + sum((rounded(vat) for _, vat in exact), Decimal(0))
    return limited(tariff, exact, excl, incl)


def limited(
    tariff: dict[str, Any], exact: list[tuple[Fraction, Fraction]], excl: Decimal, incl: Decimal
) -> tuple[Decimal, Decimal]:
    """Bound net by the net limits and gross by the gross limits; a limit without gross keeps the share of VAT."""
    low, high = tariff.get("min_price"), tariff.get("max_price")
    bound = low if low and excl < Decimal(low["excl_vat"]) else None
    bound = high if high and excl > Decimal(high["excl_vat"]) else bound
    if bound:
        excl = Decimal(bound["excl_vat"])
        if "incl_vat" not in bound:
            net = sum((net for net, _ in exact), Fraction(0))
            vat = sum((vat for _, vat in exact), Fraction(0))
            incl = excl + (rounded(Fraction(excl) * vat / net) if net else 0)
    if low and "incl_vat" in low:
        incl = max(incl, Decimal(low["incl_vat"]))
    if high and "incl_vat" in high:
        incl = min(incl, Decimal(high["incl_vat"]))
    return excl, incl


def clock(seconds: int) -> str:
    return f"2026-03-02T{seconds // 3_600:02}:{seconds // 60 % 60:02}:{seconds % 60:02}Z"


@given(tariffs(), energies, durations, durations)
def test_a_quote_equals_the_second_computation(tariff: dict[str, Any], energy_wh: int, charging_s: int, parking_s: int) -> None:
    session = {
        "start": clock(0),
        "charging_end": clock(charging_s),
        "end": clock(charging_s + parking_s),
        "energy_wh": energy_wh,
    }
    printed: dict[str, Any] = quote(json.dumps(tariff), json.dumps(session))
    excl, incl = expected_total(tariff, energy_wh, charging_s, parking_s)
    assert (Decimal(printed["excl_vat"]), Decimal(printed["incl_vat"])) == (excl, incl)
    assert Decimal(printed["vat"]) == incl - excl
    assert int(printed["incl_vat_motes"]) == incl * 10**8


@given(tariffs(), periods)
def test_a_bill_adds_up_and_never_goes_below_zero_vat(document: dict[str, Any], session: list[ChargingPeriod]) -> None:
    cost = price_session(parse_tariff(json.dumps(document)), session)
    assert 0 <= cost.excl_vat_e4 <= cost.incl_vat_e4
    if "min_price" not in document and "max_price" not in document:
        assert cost.excl_vat_e4 == sum(line.excl_vat_e4 for line in cost.components)
        assert cost.vat_e4 == sum(line.vat_e4 for line in cost.components)


@given(tariffs(), periods, st.integers(0, 5_000))
def test_more_energy_never_costs_less(document: dict[str, Any], session: list[ChargingPeriod], more_wh: int) -> None:
    """Net only: the average VAT share under a limit may fall when the mix of rates changes."""
    tariff = parse_tariff(json.dumps(document))
    dearer = price_session(tariff, [ChargingPeriod(more_wh, 0, 0), *session])
    assert dearer.excl_vat_e4 >= price_session(tariff, session).excl_vat_e4


@given(tariffs(), energies, durations, durations, st.data())
def test_cutting_a_session_into_periods_changes_nothing(
    document: dict[str, Any], energy_wh: int, charging_s: int, parking_s: int, data: st.DataObject
) -> None:
    tariff = parse_tariff(json.dumps(document))
    wh, cut_s = data.draw(st.integers(0, energy_wh)), data.draw(st.integers(0, charging_s))
    pieces = [ChargingPeriod(wh, cut_s, 0), ChargingPeriod(energy_wh - wh, charging_s - cut_s, parking_s)]
    assert price_session(tariff, pieces) == price_session(tariff, [ChargingPeriod(energy_wh, charging_s, parking_s)])


@given(tariffs())
def test_the_canonical_form_round_trips(document: dict[str, Any]) -> None:
    tariff = parse_tariff(json.dumps(document))
    assert Tariff.from_value(decode(encode(tariff.to_value()))) == tariff


json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.sampled_from(["elements", "price_components", "type"]), inner),
)


@given(json_values)
def test_any_other_json_is_refused_in_the_one_way(document: object) -> None:
    """No price is ever given, so each is refused, by a tariff error and nothing else."""
    with pytest.raises(BadTariffError) as caught:
        parse_tariff(json.dumps(document))
    assert caught.value.details["path"]

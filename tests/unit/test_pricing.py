"""Pricing: OCPI's own examples, hand-computed bills, half-up edges, and the offline quote of a session file."""

import json
from pathlib import Path

import pytest

from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX, BadSessionError, ChargingPeriod, Cost, Exact, price_session
from vm.quote import parse_session, quote
from vm.tariff import (
    AMOUNT_E4_MAX,
    PRICE_E4_MAX,
    STEP_SIZE_MAX,
    Dimension,
    PriceComponent,
    PriceLimit,
    Tariff,
    TariffElement,
    parse_tariff,
)

EXAMPLES = Path(__file__).parents[2] / "docs" / "examples"
H, MIN = 3_600, 60


def tariff(*components: tuple[str, str, str | None, int], **members: object) -> Tariff:
    """A tariff of one element; components are (type, price, vat, step_size)."""
    names = ("type", "price", "vat", "step_size")
    element = {"price_components": [dict(zip(names, component, strict=True)) for component in components]}
    return parse_tariff(json.dumps({"elements": [element]} | members))


def price(of: Tariff, energy_wh: int = 0, charging_s: int = 0, parking_s: int = 0) -> Cost:
    return price_session(of, [ChargingPeriod(energy_wh, charging_s, parking_s)])


def totals(cost: Cost) -> tuple[int, int]:
    return cost.excl_vat_e4, cost.incl_vat_e4


def quantities(cost: Cost) -> dict[str, Exact]:
    return {str(line.dimension): line.quantity for line in cost.components}


START: tuple[str, str, str | None, int] = ("FLAT", "0.50", "20", 1)
ENERGY: tuple[str, str, str | None, int] = ("ENERGY", "0.25", "10", 1)
PARKING: tuple[str, str, str | None, int] = ("PARKING_TIME", "2.00", "20", 900)
MAX_10 = {"max_price": {"excl_vat": 10, "incl_vat": 11}}
MIN_HALF = {"min_price": {"excl_vat": "0.50", "incl_vat": "0.55"}}


@pytest.mark.parametrize(
    ("of", "used", "expected"),
    [
        (tariff(("TIME", "2.00", "10", 300)), (15_342, 7_103, 0), (40_000, 44_000)),  # the CDR example
        (tariff(ENERGY), (20_000, 0, 0), (50_000, 55_000)),
        (tariff(START, ENERGY), (20_000, 0, 0), (55_000, 61_000)),
        (tariff(START, ENERGY, PARKING), (20_000, 2 * H, 40 * MIN), (70_000, 79_000)),
        (tariff(START, ENERGY, **MAX_10), (50_000, 0, 0), (100_000, 110_000)),
        (tariff(START, ENERGY, **MAX_10), (30_000, 0, 0), (80_000, 88_500)),
        (tariff(ENERGY, **MIN_HALF), (20_000, 0, 0), (50_000, 55_000)),
        (tariff(ENERGY, **MIN_HALF), (1_999, 0, 0), (5_000, 5_500)),
        (tariff(("TIME", "2.00", "10", 60)), (0, 150 * MIN, 42 * MIN), (50_000, 55_000)),
        (
            tariff(("TIME", "3.00", "10", 60), ("PARKING_TIME", "5.00", "20", 300)),
            (0, 150 * MIN, 42 * MIN),
            (112_500, 127_500),
        ),
        (tariff(("TIME", "1.90", "5.2", 300)), (0, 150 * MIN, 0), (47_500, 49_970)),
        (tariff(("FLAT", "0.00", None, 0)), (20_000, H, H), (0, 0)),
        (tariff(("ENERGY", "0.25", None, 1)), (116, 0, 0), (290, 290)),
        (tariff(("ENERGY", "0.25", None, 500)), (1, 0, 0), (1_250, 1_250)),
    ],
)
def test_ocpi_examples(of: Tariff, used: tuple[int, int, int], expected: tuple[int, int]) -> None:
    """Worked examples of the OCPI 2.2.1 tariffs and CDRs chapters."""
    assert totals(price(of, *used)) == expected


def test_the_cdr_example_line_by_line() -> None:
    cost = price(tariff(("TIME", "2.00", "10", 300)), 15_342, 7_103)
    (line,) = cost.components
    assert (line.dimension, line.quantity, line.price_e4) == (Dimension.TIME, 7_200, 20_000)
    assert (line.excl_vat_e4, line.vat_e4) == (40_000, 4_000)
    assert cost.incl_vat_motes == 440_000_000


BOTH_TIMES = tariff(("TIME", "1.00", None, 600), ("PARKING_TIME", "2.00", None, 600))


@pytest.mark.parametrize(
    ("periods", "expected"),
    [
        ([(21, 16)], {"TIME": 21 * MIN, "PARKING_TIME": 20 * MIN}),  # OCPI: charging is followed by parking
        ([(21, 0)], {"TIME": 30 * MIN}),
        ([(0, 7)], {"PARKING_TIME": 10 * MIN}),
        ([(21, 0), (0, 16)], {"TIME": 21 * MIN, "PARKING_TIME": 20 * MIN}),
        ([(6, 0), (22, 0)], {"TIME": 30 * MIN}),  # OCPI: the total is rounded, not each period
        ([(5, 7), (6, 0)], {"TIME": 20 * MIN, "PARKING_TIME": 7 * MIN}),  # charges again at the end
        ([(21, 16), (0, 0)], {"TIME": 21 * MIN, "PARKING_TIME": 20 * MIN}),  # nothing happens at the end
        ([(20, 10)], {"TIME": 20 * MIN, "PARKING_TIME": 10 * MIN}),  # whole steps stay
        ([(0, 0)], {}),
        ([], {}),
    ],
)
def test_step_size_rounds_only_the_time_in_use_last(periods: list[tuple[int, int]], expected: dict[str, int]) -> None:
    cost = price_session(BOTH_TIMES, [ChargingPeriod(0, charge * MIN, park * MIN) for charge, park in periods])
    assert quantities(cost) == expected


def test_free_parking_leaves_the_step_to_charging_time() -> None:
    """OCPI: the step of the last time dimension that is paid for counts."""
    assert quantities(price(tariff(("TIME", "2.00", None, 300)), 0, 7_103, 600)) == {"TIME": 7_200}


def test_energy_is_rounded_once_on_the_session_total() -> None:
    """OCPI: 4.3 kWh and 1.1 kWh with steps of 500 Wh are 5.5 kWh."""
    of = tariff(("ENERGY", "0.20", None, 500))
    cost = price_session(of, [ChargingPeriod(4_300, 60, 0), ChargingPeriod(1_100, 60, 0)])
    assert quantities(cost) == {"ENERGY": 5_500}


@pytest.mark.parametrize(
    ("component", "used", "excl_e4", "vat_e4"),
    [
        (("ENERGY", "0.25", None, 25), 101, 313, 0),  # 125 Wh: 0.03125 is a tie
        (("ENERGY", "0.0001", None, 1), 499, 0, 0),
        (("ENERGY", "0.0001", None, 1), 500, 1, 0),
        (("ENERGY", "0.0001", None, 1), 1_499, 1, 0),
        (("ENERGY", "0.0001", None, 1), 1_500, 2, 0),
        (("ENERGY", "0.0010", "5", 1), 1_000, 10, 1),  # VAT 0.00005 is a tie
        (("ENERGY", "0.0010", "4.9999", 1), 1_000, 10, 0),
        (("ENERGY", "0.0010", "15", 1), 1_000, 10, 2),
        (("ENERGY", "0.0009", "50", 1), 500, 5, 2),  # 0.00045 and 0.000225: VAT of the exact cost, not of 0.0005
        (("ENERGY", "0.0001", "100", 1), 499, 0, 0),
    ],
)
def test_halves_round_up_at_the_fourth_place(
    component: tuple[str, str, str | None, int], used: int, excl_e4: int, vat_e4: int
) -> None:
    (line,) = price(tariff(component), used).components
    assert (line.excl_vat_e4, line.vat_e4) == (excl_e4, vat_e4)


def test_each_component_is_rounded_before_the_sum() -> None:
    """0.00005 twice is 0.0002, not 0.0001."""
    halves = tariff(("ENERGY", "0.0001", None, 1), ("TIME", "0.0001", None, 1))
    assert price(halves, 500, 1_800).excl_vat_e4 == 2


def test_flat_is_due_once_and_unused_dimensions_have_no_line() -> None:
    of = tariff(START, ENERGY, PARKING)
    cost = price_session(of, [ChargingPeriod(0, 60, 0)] * 5)
    assert quantities(cost) == {"FLAT": 1}
    assert totals(cost) == (5_000, 6_000)


@pytest.mark.parametrize(
    ("limits", "energy_wh", "expected"),
    [
        # The energy costs 1.00 + 0.10 a 4 kWh.
        ({"min_price": {"excl_vat": 2}}, 4_000, (20_000, 22_000)),  # no gross limit: VAT keeps its share
        ({"max_price": {"excl_vat": 2}}, 40_000, (20_000, 22_000)),
        ({"min_price": {"excl_vat": 2}}, 0, (20_000, 20_000)),  # nothing was taxed
        ({"min_price": {"excl_vat": "0.9", "incl_vat": "1.5"}}, 4_000, (10_000, 15_000)),  # only gross is too low
        ({"max_price": {"excl_vat": 1, "incl_vat": "1.05"}}, 4_000, (10_000, 10_500)),  # only gross is too high
        ({"min_price": {"excl_vat": "1.05", "incl_vat": "1.06"}}, 4_000, (10_500, 11_000)),  # only net is too low
        ({"max_price": {"excl_vat": "0.9", "incl_vat": "1.2"}}, 4_000, (9_000, 11_000)),  # only net is too high
        ({"min_price": {"excl_vat": 1}, "max_price": {"excl_vat": 1}}, 4_000, (10_000, 11_000)),
        ({"min_price": {"excl_vat": 2}, "max_price": {"excl_vat": 2, "incl_vat": "2.1"}}, 4_000, (20_000, 21_000)),
    ],
)
def test_both_limits_hold_each_on_its_total(limits: dict[str, object], energy_wh: int, expected: tuple[int, int]) -> None:
    cost = price(tariff(ENERGY, **limits), energy_wh)
    assert totals(cost) == expected
    assert sum(line.excl_vat_e4 for line in cost.components) == energy_wh * 10_000 // 4_000


def test_vat_share_under_a_limit_is_taken_before_any_rounding() -> None:
    """1 Wh rounds to nothing, yet its 10 % decide the VAT of the minimum price; two rates mix by their cost."""
    tiny = tariff(("ENERGY", "0.0001", "10", 1), min_price={"excl_vat": 1})
    assert totals(price(tiny, 1)) == (10_000, 11_000)
    mixed = tariff(("ENERGY", "1", "10", 1), ("TIME", "3", "30", 1), max_price={"excl_vat": 1})
    assert totals(price(mixed, 1_000, H)) == (10_000, 12_500)


def test_the_dearest_session_stays_below_2_to_the_63_motes() -> None:
    """What the contract stores and moves must be encodable whatever a tariff and a station claim."""
    components = tuple(
        PriceComponent(dimension, PRICE_E4_MAX, 10**6, 1 if dimension is Dimension.FLAT else STEP_SIZE_MAX)
        for dimension in Dimension
    )
    dearest = Tariff("", "", (TariffElement(components),))
    longest = [ChargingPeriod(ENERGY_WH_MAX, SECONDS_MAX // 2, SECONDS_MAX // 2)]
    assert price_session(dearest, longest).incl_vat_motes < 2**63
    floor = Tariff("", "", dearest.elements, min_price=PriceLimit(AMOUNT_E4_MAX, None))
    assert price_session(floor, longest).incl_vat_motes < 2**63


@pytest.mark.parametrize(
    ("energy_wh", "charging_s", "parking_s", "path"),
    [
        (-1, 0, 0, "energy_wh"),
        (ENERGY_WH_MAX + 1, 0, 0, "energy_wh"),
        (0, -1, 0, "charging_s"),
        (0, SECONDS_MAX + 1, 0, "charging_s"),
        (0, 0, -1, "parking_s"),
    ],
)
def test_impossible_periods_are_refused(energy_wh: int, charging_s: int, parking_s: int, path: str) -> None:
    with pytest.raises(BadSessionError) as caught:
        ChargingPeriod(energy_wh, charging_s, parking_s)
    assert caught.value.details["path"] == path


@pytest.mark.parametrize("half", [ChargingPeriod(ENERGY_WH_MAX, 0, 0), ChargingPeriod(0, SECONDS_MAX, 0)])
def test_limits_hold_for_the_session_not_only_for_each_period(half: ChargingPeriod) -> None:
    with pytest.raises(BadSessionError, match="must be at most 100000000"):
        price_session(BOTH_TIMES, [half, ChargingPeriod(1, 0, 1)])


def session(**changes: object) -> str:
    """A session of 4 kWh, one hour charging and half an hour parking, changed; None removes a field."""
    fields = {
        "start": "2026-03-02T08:00:00Z",
        "charging_end": "2026-03-02T09:00:00Z",
        "end": "2026-03-02T09:30:00Z",
        "energy_wh": 4_000,
    } | changes
    return json.dumps({name: value for name, value in fields.items() if value is not None})


def test_the_printed_quote_of_the_example_files() -> None:
    """Computed by hand: 21,344 Wh bill 21,400; 7,103 s of charging are followed by parking; 2,197 s bill 2,700."""
    printed = quote((EXAMPLES / "tariff.json").read_text(), (EXAMPLES / "session.json").read_text())
    columns = ("type", "quantity", "price", "excl_vat", "vat")
    lines = [
        ("FLAT", "1", "0.5000", "0.5000", "0.0950"),
        ("ENERGY", "21400", "0.3900", "8.3460", "1.5857"),
        ("TIME", "7103", "1.2000", "2.3677", "0.4499"),
        ("PARKING_TIME", "2700", "3.0000", "2.2500", "0.4275"),
    ]
    assert printed == {
        "excl_vat": "13.4637",
        "vat": "2.5581",
        "incl_vat": "16.0218",
        "components": [dict(zip(columns, line, strict=True)) for line in lines],
        "incl_vat_motes": "1602180000",
    }


def test_without_charging_end_all_of_the_session_is_charging() -> None:
    assert parse_session(session(charging_end=None)).profile().period() == ChargingPeriod(4_000, 5_400, 0)
    assert parse_session(session()).profile().period() == ChargingPeriod(4_000, 3_600, 1_800)


@pytest.mark.parametrize("start", ["2026-03-02T08:00:00+00:00", "2026-03-02 08:00:00.000Z", "2026-03-02T08:00Z"])
def test_utc_may_be_written_in_the_usual_ways(start: str) -> None:
    assert parse_session(session(start=start)) == parse_session(session())


def test_times_are_unix_seconds() -> None:
    leap_year = parse_session(session(start="1970-01-01T00:00:00Z", charging_end=None, end="1972-03-01T00:00:01Z", energy_wh="7"))
    assert (leap_year.start_s, leap_year.end_s, leap_year.energy_wh) == (0, (365 + 365 + 31 + 29) * 86_400 + 1, 7)


def reading(minute: int, meter_wh: object) -> dict[str, object]:
    return {"at": f"2026-03-02T{8 + minute // 60:02}:{minute % 60:02}:00Z", "meter_wh": meter_wh}


@pytest.mark.parametrize(
    "readings",
    [
        [],
        [reading(30, 7)],
        [reading(0, 0), reading(30, 1_500), reading(60, 4_000)],
        [reading(0, 123_000), reading(90, 127_000)],
        [reading(10, 5), reading(20, 5), reading(90, 3_900)],
    ],
)
def test_readings_that_agree_do_not_change_the_price(readings: list[object]) -> None:
    text = (EXAMPLES / "tariff.json").read_text()
    assert quote(text, session(readings=readings)) == quote(text, session())


@pytest.mark.parametrize(
    ("changes", "path", "why"),
    [
        ({"start": None}, "$", 'field "start" is missing'),
        ({"energy_wh": None}, "$", 'field "energy_wh" is missing'),
        ({"chargingEnd": "2026-03-02T09:00:00Z"}, "$", 'unknown field "chargingEnd"'),
        ({"start": 1_772_438_400}, "$.start", "must be text"),
        ({"start": "2026-03-02T08:00:00"}, "$.start", "must be ISO-8601 in UTC"),
        ({"start": "2026-03-02T08:00:00+01:00"}, "$.start", "must be ISO-8601 in UTC"),
        ({"start": "2026-03-02T08:00:00.5Z"}, "$.start", "to the second"),
        ({"start": "2026-03-02"}, "$.start", "must be ISO-8601 in UTC"),
        ({"start": "2026-02-29T08:00:00Z"}, "$.start", "not a date and time of the calendar"),
        ({"start": "2026-03-02T24:00:00Z"}, "$.start", "not a date and time of the calendar"),
        ({"end": "2026-03-02T07:59:59Z", "charging_end": None}, "$.end", "must not be before start"),
        ({"end": "2036-03-02T08:00:00Z"}, "$.end", "at most 100000000 s after start"),
        ({"charging_end": "2026-03-02T09:30:01Z"}, "$.charging_end", "must not be after end"),
        ({"charging_end": "2026-03-02T07:00:00Z"}, "$.charging_end", "must not be before start"),
        ({"energy_wh": -1}, "$.energy_wh", "within 0..100000000, got -1"),
        ({"energy_wh": "1.5"}, "$.energy_wh", "must be a whole number"),
        ({"energy_wh": 10**30}, "$.energy_wh", "within 0..100000000"),
        ({"utc_offset_minutes": 841}, "$.utc_offset_minutes", "within -840..840"),
        ({"utc_offset_minutes": "CET"}, "$.utc_offset_minutes", "must be a number"),
        ({"readings": {}}, "$.readings", "must be an array"),
        ({"readings": [{"at": "2026-03-02T08:10:00Z"}]}, "$.readings[0]", 'field "meter_wh" is missing'),
        ({"readings": [reading(1, 0), reading(1, 5)]}, "$.readings[1].at", "after the reading before it"),
        ({"readings": [reading(1, 9), reading(2, 8)]}, "$.readings[1].meter_wh", "below the reading before it (9)"),
        ({"readings": [reading(91, 9)]}, "$.readings", "between start and end"),
        ({"readings": [reading(1, 0), reading(2, 4_001)]}, "$.readings", "4001 Wh but energy_wh is 4000"),
        ({"readings": [reading(0, 0), reading(60, 3_999)]}, "$.readings", "3999 Wh but energy_wh is 4000"),
    ],
)
def test_bad_sessions_are_refused_by_field(changes: dict[str, object], path: str, why: str) -> None:
    with pytest.raises(BadSessionError) as caught:
        parse_session(session(**changes))
    assert caught.value.reason == "bad_session"
    assert caught.value.details["path"] == path
    assert why in caught.value.message

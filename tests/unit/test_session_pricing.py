"""Tariffs with restrictions: OCPI's own examples, moments at the edges, readings, and sessions that last for years."""

import json
from collections.abc import Callable
from fractions import Fraction
from pathlib import Path
from typing import Any

import pytest

from vm.pricing import BadSessionError, ChargingPeriod, Exact, price_session
from vm.quote import quote
from vm.session_pricing import price_profile
from vm.session_profile import Point, SessionProfile, session_profile, spread_readings
from vm.strict_json import Node
from vm.tariff import BadTariffError, Tariff, parse_tariff, read_tariff

MONDAY = 1_772_409_600  # 2026-03-02T00:00:00Z
H, MIN, DAY = 3_600, 60, 86_400


def part(kind: str, price: str, step: int = 1, vat: str | None = None) -> dict[str, Any]:
    return {"type": kind, "price": price, "step_size": step} | ({} if vat is None else {"vat": vat})


def document(*elements: tuple[list[dict[str, Any]], dict[str, Any]]) -> dict[str, Any]:
    return {"elements": [{"price_components": parts, "restrictions": limits} for parts, limits in elements]}


def tariff(*elements: tuple[list[dict[str, Any]], dict[str, Any]]) -> Tariff:
    return parse_tariff(json.dumps(document(*elements)))


def net(of: Tariff, *points: tuple[int, int], parked_s: int = 0, offset: int = 0) -> int:
    """What a session costs without VAT: points are (second of Monday 2026-03-02, Wh)."""
    curve = tuple(Point(MONDAY + at_s, energy_wh) for at_s, energy_wh in points)
    return price_profile(of, SessionProfile(curve[-1].at_s - parked_s, curve, offset)).excl_vat_e4


def clock(hours: int, minutes: int = 0) -> int:
    return hours * H + minutes * MIN


STEP_SIZES = tariff(
    ([part("TIME", "1.20", 1_800), part("PARKING_TIME", "1.00", 900)], {"start_time": "00:00", "end_time": "17:00"}),
    ([part("TIME", "2.40", 900), part("PARKING_TIME", "1.00", 900)], {"start_time": "17:00", "end_time": "20:00"}),
    ([part("TIME", "2.40", 900)], {"start_time": "20:00", "end_time": "23:59"}),
)
POWERS = tariff(
    ([part("ENERGY", "0.20")], {"max_power": 16}),
    ([part("ENERGY", "0.35")], {"max_power": 32}),
    ([part("ENERGY", "0.50")], {}),
)
LASTING = tariff(
    ([part("ENERGY", "0")], {"max_duration": 1_800}),
    ([part("ENERGY", "0.25")], {"max_duration": 3_600}),
    ([part("ENERGY", "0.40")], {}),
)
FIRST_FREE = tariff(
    ([part("PARKING_TIME", "0", 60)], {"min_duration": 0, "max_duration": 3_600}),
    ([part("PARKING_TIME", "2", 60)], {"min_duration": 3_600, "max_duration": 10_800}),
    ([part("PARKING_TIME", "3", 60)], {"min_duration": 10_800}),
    ([part("ENERGY", "0")], {"max_kwh": "1.0"}),
    ([part("ENERGY", "0.2")], {"min_kwh": "1.0"}),
)


class TestOcpiExamples:
    """Worked examples of mod_tariffs and mod_cdrs, 2.2.1 with its corrections."""

    def test_switching_element_uses_the_last_step_on_the_whole_time(self) -> None:
        """16:35, 35 minutes: 25 at 1.20, and 20 instead of 10 at 2.40."""
        assert net(STEP_SIZES, (clock(16, 35), 0), (clock(17, 10), 0)) == 13_000

    def test_followed_by_parking_only_parking_is_rounded(self) -> None:
        """16:55, 10 minutes, then parked for 2: 5 at 1.20, 5 at 2.40, 15 of parking."""
        assert net(STEP_SIZES, (clock(16, 55), 0), (clock(17, 7), 0), parked_s=120) == 1_000 + 2_000 + 2_500

    def test_parking_that_became_free_is_rounded_where_it_was_paid(self) -> None:
        """19:40, 12 minutes, then parked for 20, the last 12 for free: 0.48 and 15 minutes at 1.00."""
        assert net(STEP_SIZES, (clock(19, 40), 0), (clock(20, 12), 0), parked_s=20 * MIN) == 4_800 + 2_500

    def test_wholly_free_parking_leaves_the_step_to_charging(self) -> None:
        """19:55, 10 minutes, parked for 2 for free: 5 and 10 instead of 5 minutes, all at 2.40."""
        assert net(STEP_SIZES, (clock(19, 55), 0), (clock(20, 7), 0), parked_s=120) == 6_000

    def test_energy_is_rounded_once(self) -> None:
        """4.3 kWh before 17:00, 1.1 after, steps of 500 Wh: 5.5 in all, so 1.2 after."""
        of = tariff(([part("ENERGY", "0.20", 500)], {"end_time": "17:00"}), ([part("ENERGY", "0.27", 500)], {}))
        assert net(of, (clock(16), 0), (clock(17), 4_300), (clock(18), 5_400)) == 8_600 + 3_240

    def test_time_is_rounded_once(self) -> None:
        """6 minutes at 5 an hour, 22 at 7, steps of 10 minutes: 24 are billed after 17:00."""
        of = tariff(([part("TIME", "5", 600)], {"end_time": "17:00"}), ([part("TIME", "7", 600)], {}))
        assert net(of, (clock(16, 54), 0), (clock(17, 22), 0)) == 5_000 + 28_000

    def test_what_the_step_adds_goes_to_the_last_component_in_use(self) -> None:
        """3 kWh at 2, 3 at 5, 3 at 2 again, steps of 10 kWh: 6 + 15 + 8."""
        of = tariff(([part("ENERGY", "2", 10_000)], {"max_power": 5}), ([part("ENERGY", "5", 10_000)], {"min_power": 5}))
        assert net(of, (0, 0), (H, 3_000), (H + H // 2, 6_000), (2 * H + H // 2, 9_000)) == 290_000

    def test_by_power(self) -> None:
        """1 kWh at 6 kW, 40 at 48 kW, 0.5 at 4 kW."""
        assert net(POWERS, (0, 0), (600, 1_000), (3_600, 41_000), (4_050, 41_500)) == 203_000

    def test_by_duration(self) -> None:
        """5 kWh in the first half hour, 1.2 in the next 10 minutes."""
        assert net(LASTING, (0, 0), (1_800, 5_000), (2_400, 6_200)) == 3_000

    def test_first_kwh_and_first_hour_free(self) -> None:
        """19 of 20 kWh at 0.20, 1.75 of 2.75 hours at 2."""
        assert net(FIRST_FREE, (0, 0), (0, 20_000), (9_900, 20_000), parked_s=9_900) == 38_000 + 35_000

    def test_a_saturday_of_the_complex_tariff(self) -> None:
        """13:30, 114 minutes, parked for 71: 2.50 + 2.375 + 7.50, and 1.60 VAT. Its elements by current are left out."""
        of = tariff(
            ([part("FLAT", "2.50", 1, "15")], {}),
            ([part("TIME", "1.25", 600, "20")], {"day_of_week": ["SATURDAY", "SUNDAY"]}),
            ([part("TIME", "2.00", 600, "20")], {}),
            ([part("PARKING_TIME", "5", 300, "10")], {"start_time": "09:00", "end_time": "18:00", "day_of_week": ["MONDAY"]}),
            ([part("PARKING_TIME", "6", 300, "10")], {"start_time": "10:00", "end_time": "17:00", "day_of_week": ["SATURDAY"]}),
        )
        start = MONDAY - 2 * DAY + clock(13, 30)
        cost = price_profile(of, session_profile(start, start + 114 * MIN, Point(start + 185 * MIN, 0)))
        assert (cost.excl_vat_e4, cost.incl_vat_e4) == (123_750, 139_750)


def lines(of: Tariff, profile: SessionProfile) -> list[tuple[str, Exact, int]]:
    return [(str(line.dimension), line.quantity, line.price_e4) for line in price_profile(of, profile).components]


class TestMoments:
    def test_over_midnight_the_day_is_that_of_the_moment(self) -> None:
        """Mondays, 22:00 to 06:00: Monday before six and after ten, not Tuesday morning."""
        of = tariff(([part("TIME", "1")], {"start_time": "22:00", "end_time": "06:00", "day_of_week": ["MONDAY"]}))
        assert net(of, (-6 * H, 0), (2 * DAY, 0)) == 80_000

    @pytest.mark.parametrize("limits", [{"start_time": "00:00", "end_time": "00:00"}, {"end_time": "00:00"},
                                        {"start_time": "07:30", "end_time": "07:30"}, {"start_time": "00:00"}])  # fmt: skip
    def test_a_whole_day(self, limits: dict[str, Any]) -> None:
        assert net(tariff(([part("TIME", "1")], limits)), (-5, 0), (DAY + 5, 0)) == (DAY + 10) * 10_000 // H + 1

    def test_times_and_dates_are_local(self) -> None:
        of = tariff(([part("TIME", "1")], {"start_date": "2026-03-02", "end_date": "2026-03-03", "start_time": "12:00"}))
        session = ((-DAY, 0), (3 * DAY, 0))
        assert net(of, *session) == net(of, *session, offset=330) == net(of, *session, offset=-840) == 120_000
        assert net(of, (0, 0), (12 * H, 0), offset=330) == 55_000
        assert net(of, (0, 0), (12 * H, 0), offset=-30) == 0

    def test_limits_that_meet_share_no_moment(self) -> None:
        """Minima are inclusive and maxima exclusive, at the very second and Wh."""
        of = tariff(([part("ENERGY", "1"), part("TIME", "1")], {"max_kwh": "1", "max_duration": 1_800}),
                    ([part("ENERGY", "2"), part("TIME", "2")], {"min_kwh": "1", "min_duration": 1_800}))  # fmt: skip
        profile = SessionProfile(MONDAY + H, (Point(MONDAY, 0), Point(MONDAY + H, 2_000)))
        assert lines(of, profile) == [
            ("ENERGY", 1_000, 10_000),
            ("TIME", 1_800, 10_000),
            ("ENERGY", 1_000, 20_000),
            ("TIME", 1_800, 20_000),
        ]

    def test_a_limit_of_energy_is_passed_within_a_second(self) -> None:
        of = tariff(
            ([part("ENERGY", "1"), part("TIME", "1")], {"max_kwh": "0.0055"}), ([part("ENERGY", "2"), part("TIME", "2")], {})
        )
        profile = SessionProfile(MONDAY + 9, (Point(MONDAY, 0), Point(MONDAY + 9, 9)))
        half = Fraction(11, 2)
        assert lines(of, profile) == [
            ("ENERGY", half, 10_000),
            ("TIME", half, 10_000),
            ("ENERGY", 9 - half, 20_000),
            ("TIME", 9 - half, 20_000),
        ]

    def test_a_price_that_changes_within_a_watt_hour_is_billed_exactly(self) -> None:
        """1 Wh over 3 s, the price changes after 1 s: a third of it costs 0.3 per Wh, two thirds 0.6."""
        of = tariff(([part("ENERGY", "300")], {"end_time": "17:00"}), ([part("ENERGY", "600")], {}))
        assert net(of, (clock(17) - 1, 0), (clock(17) + 2, 1)) == 1_000 + 4_000

    def test_a_jump_of_the_meter_belongs_to_its_moment(self) -> None:
        of = tariff(([part("ENERGY", "1")], {"end_time": "12:00"}), ([part("ENERGY", "3")], {}))
        assert net(of, (clock(11), 0), (clock(12) - 1, 0), (clock(12) - 1, 1_000), (clock(13), 1_000)) == 10_000
        assert net(of, (clock(11), 0), (clock(12), 0), (clock(12), 1_000), (clock(13), 1_000)) == 30_000

    def test_one_flat_fee_that_of_the_first_moment_with_one(self) -> None:
        of = tariff(([part("FLAT", "1")], {"end_time": "12:00"}), ([part("FLAT", "3")], {"start_time": "14:00"}))
        assert net(of, (clock(11), 0), (clock(15), 0)) == 10_000
        assert net(of, (clock(13), 0), (clock(15), 0)) == 30_000
        assert net(of, (clock(12), 0), (clock(14), 0)) == 0
        assert net(of, (clock(12) - 1, 0)) == 10_000, "a session that lasted no time"

    def test_without_matching_elements_there_is_no_cost(self) -> None:
        of = tariff(([part("ENERGY", "1"), part("FLAT", "1")], {"start_date": "2030-01-01"}))
        assert lines(of, session_profile(MONDAY, MONDAY + H, Point(MONDAY + H, 9))) == []

    def test_limits_of_the_total_hold_for_fractions_too(self) -> None:
        """0.1 + 0.2 = 0.3 net, of which the tax is (0.01 + 0.04) / 0.3 on average."""
        text = document(([part("ENERGY", "0.3", 1, "10")], {"end_time": "17:00"}), ([part("ENERGY", "0.3", 1, "20")], {}))
        of = parse_tariff(json.dumps(text | {"min_price": {"excl_vat": 3}}))
        cost = price_profile(
            of, session_profile(MONDAY + clock(17) - 1, MONDAY + clock(17) + 2, Point(MONDAY + clock(17) + 2, 1_000))
        )
        assert (cost.excl_vat_e4, cost.vat_e4) == (30_000, 5_000)


class TestLongSessions:
    def test_years_cost_no_more_work_than_days(self) -> None:
        of = tariff(([part("TIME", "1")], {"start_time": "08:00", "end_time": "20:00"}), ([part("TIME", "0.5")], {}))
        counts, costs = [], []
        for days in (3, 1_100):
            counted: list[int] = []
            profile = session_profile(MONDAY, MONDAY + days * DAY, Point(MONDAY + days * DAY, 5))
            costs.append(price_profile(of, profile, counted.append).excl_vat_e4)
            counts.append(sum(counted))
        assert costs == [3 * 180_000, 1_100 * 180_000]
        assert counts[0] == counts[1] < 10

    def test_three_years_of_weeks(self) -> None:
        """1,099 days from a Monday are 157 weeks: that many Sundays."""
        of = tariff(([part("PARKING_TIME", "2")], {"day_of_week": ["SUNDAY"], "end_time": "00:30"}))
        assert net(of, (0, 0), (1_099 * DAY, 0), parked_s=1_099 * DAY) == 157 * 10_000
        assert net(of, (DAY - 1, 0), (1_100 * DAY, 0), parked_s=1_099 * DAY + 1) == 157 * 10_000

    def test_the_last_price_of_a_long_session_is_that_of_its_end(self) -> None:
        """The whole weeks end on a Wednesday, the session on Thursday: its step counts."""
        of = tariff(([part("TIME", "1", 7)], {"day_of_week": ["THURSDAY"]}), ([part("TIME", "1", 1_000_000)], {}))
        seconds = 3 * 7 * DAY + 10
        start = MONDAY + 3 * DAY
        found = lines(of, session_profile(start, start + seconds, Point(start + seconds, 0)))
        assert sum(quantity for _, quantity, _ in found) == -(-seconds // 7) * 7

    def test_what_reports_the_work_may_end_it(self) -> None:
        def stop(work: int) -> None:
            raise BufferError(work)

        with pytest.raises(BufferError):
            price_profile(POWERS, session_profile(MONDAY, MONDAY + 1, Point(MONDAY + 1, 1)), stop)


class TestProfiles:
    @pytest.mark.parametrize(
        "make",
        [
            lambda: SessionProfile(0, ()),
            lambda: SessionProfile(0, (Point(0, 1),)),
            lambda: SessionProfile(0, (Point(0, 0), Point(-1, 0))),
            lambda: SessionProfile(0, (Point(0, 0), Point(1, 5), Point(2, 4))),
            lambda: SessionProfile(3, (Point(0, 0), Point(2, 4))),
            lambda: SessionProfile(-1, (Point(0, 0), Point(2, 4))),
            lambda: SessionProfile(0, (Point(0, 0), Point(10**8 + 1, 4))),
            lambda: SessionProfile(0, (Point(0, 0), Point(1, 10**8 + 1))),
        ],
    )
    def test_what_cannot_be_is_refused(self, make: Callable[[], SessionProfile]) -> None:
        with pytest.raises(BadSessionError):
            make()

    def test_totals_without_a_when_price_no_restricted_tariff(self) -> None:
        with pytest.raises(BadSessionError, match="depends on when"):
            price_session(POWERS, (ChargingPeriod(1, 1, 0),))

    @pytest.mark.parametrize(
        ("readings", "expected"),
        [
            ([], [(10, 0), (30, 60), (50, 60)]),
            ([(10, 5), (20, 45), (30, 65)], [(10, 0), (10, 0), (20, 40), (30, 60), (50, 60)]),
            ([(20, 50)], [(10, 0), (20, 50), (30, 60), (50, 60)]),  # has counted from the start
            ([(20, 900)], [(10, 0), (20, 30), (30, 60), (50, 60)]),  # a lifetime counter: evenly
            ([(15, 900), (20, 930)], [(10, 0), (15, 10), (20, 40), (30, 60), (50, 60)]),
            ([(20, 900), (30, 907)], [(10, 0), (20, 53), (30, 60), (50, 60)]),  # the rest was drawn before
            ([(40, 3)], [(10, 0), (30, 60), (40, 60), (50, 60)]),
            ([(10, 0), (20, 7)], [(10, 0), (10, 0), (20, 7), (30, 60), (50, 60)]),  # the rest was drawn after
            ([(10, 0), (30, 20), (50, 60)], [(10, 0), (10, 0), (30, 20), (50, 60), (50, 60)]),  # they say otherwise
        ],
    )
    def test_what_readings_do_not_show_is_drawn_evenly(
        self, readings: list[tuple[int, int]], expected: list[tuple[int, int]]
    ) -> None:
        """60 Wh from second 10 to 50, charging until 30."""
        profile = session_profile(10, 30, Point(50, 60), spread_readings(10, 30, 60, readings))
        assert [(point.at_s, point.energy_wh) for point in profile.points] == expected


def session(**changes: object) -> str:
    times = {"start": "2026-03-02T16:00:00Z", "charging_end": "2026-03-02T18:00:00Z", "end": "2026-03-02T19:00:00Z"}
    return json.dumps(times | {"energy_wh": 3_001} | changes)


class TestQuotes:
    TEXT = json.dumps(
        document(([part("ENERGY", "0.30", 1, "10")], {"end_time": "17:00"}), ([part("ENERGY", "0.60", 1, "10")], {}))
    )

    def test_readings_and_the_offset_count(self) -> None:
        def found(**changes: object) -> Any:
            printed: Any = quote(self.TEXT, session(**changes))
            return [(line["quantity"], line["excl_vat"]) for line in printed["components"]], printed["incl_vat"]

        assert found() == ([("1500.5", "0.4502"), ("1500.5", "0.9003")], "1.4855")
        assert found(utc_offset_minutes=60) == ([("3001", "1.8006")], "1.9807")
        assert found(utc_offset_minutes=-120) == ([("3001", "0.9003")], "0.9903")
        readings = [{"at": "2026-03-02T16:00:00Z", "meter_wh": 7}, {"at": "2026-03-02T17:00:00Z", "meter_wh": 3_007}]
        assert found(readings=readings) == ([("3000", "0.9000"), ("1", "0.0006")], "0.9907")

    def test_a_quantity_that_is_no_short_decimal_is_shown_to_four_places(self) -> None:
        printed: Any = quote(self.TEXT, session(charging_end="2026-03-02T17:30:00Z", energy_wh=1_000))
        assert [line["quantity"] for line in printed["components"]] == ["666.6667", "333.3333"]
        assert [line["excl_vat"] for line in printed["components"]] == ["0.2000", "0.2000"]


REFUSED: list[tuple[dict[str, Any], str, str]] = [
    ({"reservation": "RESERVATION"}, ".reservation", "cannot be priced"),
    ({"booking": "BOOKING"}, ".booking", "cannot be priced"),
    ({"min_current": 16}, ".min_current", "cannot be priced"),
    ({"max_current": 0}, ".max_current", "cannot be priced"),
    ({"surprise": 0}, "", 'unknown field "surprise"'),
    ({"start_time": "24:00"}, ".start_time", "must be a time of day"),
    ({"end_time": "7:30"}, ".end_time", "must be a time of day"),
    ({"end_time": "07:30:00"}, ".end_time", "at most 5 printable"),
    ({"start_time": 730}, ".start_time", "must be text"),
    ({"start_date": "2026-02-30"}, ".start_date", "must be a date from 1970 to 2999"),
    ({"start_date": "1969-12-31"}, ".start_date", "must be a date"),
    ({"end_date": "20260301"}, ".end_date", "must be a date"),
    ({"end_date": "2026-W10-1"}, ".end_date", "must be a date"),
    ({"min_kwh": -1}, ".min_kwh", "within 0..100000"),
    ({"max_kwh": "0.00001"}, ".max_kwh", "at most 4 decimal places"),
    ({"min_power": "NaN"}, ".min_power", "must be a number"),
    ({"max_power": 10**6}, ".max_power", "within 0..100000"),
    ({"min_duration": "1.5"}, ".min_duration", "must be a whole number"),
    ({"max_duration": 10**10}, ".max_duration", "within 0..1000000000"),
    ({"day_of_week": "MONDAY"}, ".day_of_week", "must be an array"),
    ({"day_of_week": ["monday"]}, ".day_of_week[0]", "must be one of MONDAY"),
    ({"day_of_week": ["MONDAY"] * 8}, ".day_of_week", "must have 0..7 items"),
    ({"min_kwh": 5, "max_kwh": 5}, "", "min_kwh must be below max_kwh"),
    ({"min_power": 5, "max_power": 4}, "", "min_power must be below max_power"),
    ({"min_duration": 5, "max_duration": 5}, "", "min_duration must be below max_duration"),
    ({"start_date": "2026-03-01", "end_date": "2026-03-01"}, "", "start_date must be before end_date"),
]


@pytest.mark.parametrize(("limits", "path", "why"), REFUSED)
def test_restrictions_are_refused_by_name_and_never_ignored(limits: dict[str, Any], path: str, why: str) -> None:
    with pytest.raises(BadTariffError) as caught:
        tariff(([part("ENERGY", "1")], {}), ([part("ENERGY", "1")], limits))
    assert caught.value.details["path"] == f"$.elements[1].restrictions{path}"
    assert why in caught.value.message


def test_restrictions_must_be_an_object() -> None:
    with pytest.raises(BadTariffError, match="must be an object"):
        read_tariff(Node({"elements": [{"price_components": [part("ENERGY", "1")], "restrictions": []}]}, "$", BadTariffError))


def test_the_example_of_a_time_of_use_tariff_is_read() -> None:
    found = parse_tariff((Path(__file__).parents[2] / "docs" / "examples" / "tariff-time-of-use.json").read_text())
    assert [element.restrictions is not None for element in found.elements] == [True, True, True, False]

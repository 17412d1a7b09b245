"""Each row of the failure table of charging: what happens when something goes wrong, and that money goes where it belongs.

A class is a row. The harness checks after every block that no money was made or lost, and that the holds are what is held.
"""

from itertools import permutations
from typing import Any

import pytest

from ledger.block import Status
from ledger.types import MOTES_PER_DATR, Motes
from tests.charging_site import (
    ARBITER,
    HELD,
    HOUR,
    MANY_RULES,
    NOON,
    OPERATOR,
    TERMS,
    UNKNOWN,
    Site,
    events_of,
    measured,
    site_with,
)
from tests.vm_harness import account
from vm.contracts.asset import Asset
from vm.contracts.charging import Charging
from vm.contracts.charging_parties import Station
from vm.contracts.charging_records import CdrKind, Outcome
from vm.contracts.charging_types import (
    AHEAD_MAX,
    CLOCK_TOLERANCE_MS,
    DISPUTE_MS,
    METER_WH_MAX,
    RECLAIM_MS,
    SESSION_MS,
    Flag,
    SessionStatus,
    Stop,
    TariffTerms,
)
from vm.gas import SCHEDULED_GAS_LIMIT
from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX
from vm.tariff import Dimension, PriceComponent, Tariff, TariffElement, parse_tariff

LATE = parse_tariff(
    """{"elements": [
        {"price_components": [{"type": "ENERGY", "price": 0.2, "step_size": 1}], "restrictions": {"max_duration": 3600}},
        {"price_components": [{"type": "ENERGY", "price": 0.5, "step_size": 1},
                              {"type": "PARKING_TIME", "price": 6, "step_size": 1}]}],
    "preauthorize_amount": 20}"""
)
"""Energy is dearer after an hour: it matters when it was drawn."""


END = NOON + 2 * HOUR


@pytest.fixture
def site() -> Site:
    return site_with(TERMS)


class TestFundsWillRunOut:
    """Running cost + what the next interval can add reaches the hold -> stop requested; an overshoot is a debt until paid."""

    def test_a_stop_is_requested_before_the_money_runs_out(self, site: Site) -> None:
        """5 kWh and half an hour cost 3 + 1 a reading: after 4 readings 17 of 20 are spent, and the next one may add 4."""
        session_id = site.started(meter_wh=0)
        seen = []
        for number in range(1, 5):
            at_s = NOON + number * HOUR // 2
            receipt = site.ok(site.station, Charging.meter, session_id, number, number * 5_000, at_s, True)
            seen.append(events_of(receipt))
        assert seen == [["SessionUpdated"]] * 3 + [["SessionUpdated", "StopRequested"]]

    def test_an_overshoot_is_a_debt_that_blocks_new_starts_until_paid(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 40_000)  # 1 + 24 + 2 = 27 of 20
        overshoot = 7 * MOTES_PER_DATR
        assert site.money(OPERATOR) == (HELD, 0)
        assert site.session(session_id).owed == overshoot
        assert site.chain.query(Charging.debt, site.driver.address) == overshoot
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "DRIVER_IN_DEBT"
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(overshoot))
        assert site.money(OPERATOR) == (HELD + overshoot, 0)
        assert site.chain.query(Charging.debt, site.driver.address) == 0
        assert site.code(site.driver, Charging.pay_debt, session_id, Motes(1)) == "NO_DEBT"
        assert site.cdr(session_id).debt == overshoot, "a CDR never changes"
        site.authorize()

    def test_a_debt_may_be_paid_in_parts(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 40_000)
        assert site.ok(site.driver, Charging.pay_debt, session_id, Motes(3 * MOTES_PER_DATR)).results == (3 * MOTES_PER_DATR,)
        assert site.session(session_id).owed == 4 * MOTES_PER_DATR
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "DRIVER_IN_DEBT"
        assert site.code(site.driver, Charging.pay_debt, session_id, Motes(0)) == "BAD_AMOUNT"
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(4 * MOTES_PER_DATR))
        assert site.money(OPERATOR) == (HELD + 7 * MOTES_PER_DATR, 0)
        site.authorize()

    def test_a_session_whose_money_is_held_starts_whatever_is_owed_for_another(self, site: Site) -> None:
        """Its station may be offline and know of no debt; and it is paid out of the hold."""
        waiting = site.authorize()
        site.stop(site.started(meter_wh=0), 40_000)
        site.ok(site.station, Charging.start, waiting, "tx-2", 0, NOON)
        site.stop(waiting, 10_000)
        assert site.cdr(waiting).debt == 0

    def test_no_debt_is_so_big_that_another_session_cannot_be_settled(self, site: Site) -> None:
        """A driver with a station of his own can owe more than 64 bits hold; the honest operator still gets the hold."""
        honest = site.started(meter_wh=0)
        dear = PriceComponent(Dimension.ENERGY, 10**9, 10**6, 1)
        terms = TariffTerms.of(Tariff("dear", "", (TariffElement((dear,)),), preauthorize_motes=1))
        own = account("own station")
        site.ok(own, Charging.publish_tariff, terms)
        operator = site.driver
        site.ok(operator, Charging.register_operator, "DE*OWN", "own", operator.address, ARBITER.address)
        site.ok(operator, Charging.add_station, own.address, "own", terms.tariff_id(), None)
        args = (own.address, terms.tariff_id(), ARBITER.address, None)
        owned = [site.ok(site.driver, Charging.authorize, *args).results[0] for _ in range(12)]
        for each in owned:
            site.ok(own, Charging.start, each, "tx", 0, NOON)
            site.ok(own, Charging.stop, each, ENERGY_WH_MAX, NOON, NOON, "", 0)
        assert site.chain.query(Charging.debt, site.driver.address) == 2**64 - 1
        site.stop(honest, 40_000)
        assert site.money(OPERATOR) == (HELD, 0)
        friend = site.chain.account("friend", 7 * MOTES_PER_DATR)
        site.ok(friend, Charging.pay_debt, honest, Motes(7 * MOTES_PER_DATR))
        assert site.money(OPERATOR) == (HELD + 7 * MOTES_PER_DATR, 0)
        assert site.code(site.driver, Charging.authorize, *args) == "DRIVER_IN_DEBT"

    def test_anybody_may_pay_and_debts_of_several_sessions_add_up(self, site: Site) -> None:
        first, second = site.started(meter_wh=0), site.started(meter_wh=0)
        for each in (first, second):
            site.stop(each, 40_000)
        friend = site.chain.account("friend", 7 * MOTES_PER_DATR)
        site.ok(friend, Charging.pay_debt, first, Motes(9 * MOTES_PER_DATR))  # 2 more than is owed are not taken
        assert site.money(friend) == (0, 0)
        assert site.chain.query(Charging.debt, site.driver.address) == 7 * MOTES_PER_DATR


class TestStationOffline:
    """Start, meter and stop arrive late, in any order within their sequence; priced at event time with the frozen tariff."""

    def test_reports_that_are_days_late_are_priced_at_their_own_times_by_the_tariff_of_then(self, site: Site) -> None:
        session_id = site.authorize()
        dearer = TariffTerms.of(parse_tariff('{"elements": [{"price_components": [{"type": "FLAT", "price": 19}]}],'
                                             ' "preauthorize_amount": 20}'))  # fmt: skip
        site.ok(OPERATOR, Charging.publish_tariff, dearer)
        site.ok(OPERATOR, Charging.set_tariff, site.station.address, dearer.tariff_id())
        site.wait(SESSION_MS - 60_000)
        site.ok(site.station, Charging.start, session_id, "tx-1", 1_000_000, NOON)
        site.ok(site.station, Charging.meter, session_id, 1, 1_005_000, NOON + HOUR // 2, True)
        site.stop(session_id, 1_010_000, hours=2, charged=1)
        assert site.cdr(session_id).total_incl_vat == 15 * MOTES_PER_DATR

    @pytest.mark.parametrize("order", list(permutations(range(3))))
    @pytest.mark.parametrize("stopped", [True, False])
    def test_readings_in_any_order_cost_the_same(self, order: tuple[int, ...], stopped: bool) -> None:
        """2 kWh by half an hour, 4 by the hour, 9 by two: 4 at 0.20 and 5 at 0.50; parked for the second hour."""
        site = site_with(TariffTerms.of(LATE))
        session_id = site.started(meter_wh=0)
        readings = [(1, 2_000, HOUR // 2, True), (2, 4_000, HOUR, True), (3, 9_000, 2 * HOUR, False)]
        for number, meter_wh, after_s, charging in [readings[place] for place in order]:
            site.ok(site.station, Charging.meter, session_id, number, meter_wh, NOON + after_s, charging)
        if stopped:
            site.stop(session_id, 9_000, hours=2, charged=1)
        else:
            site.wait(SESSION_MS)
        assert site.cdr(session_id).total_incl_vat == (33 + 60) * MOTES_PER_DATR // 10

    def meter(self, site: Site, session_id: bytes, number: int, meter_wh: int, after_s: int = 60) -> list[str]:
        return events_of(site.ok(site.station, Charging.meter, session_id, number, meter_wh, NOON + after_s, True))

    def test_a_reading_that_overtook_another_waits_for_it(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        assert self.meter(site, session_id, 3, 3_000, 1_800) == []
        assert self.meter(site, session_id, 2, 2_000, 1_200) == []
        waiting = site.session(session_id)
        assert waiting.progress is not None
        assert (waiting.progress.sequence, [each.sequence for each in waiting.ahead]) == (0, [2, 3])
        assert self.meter(site, session_id, 1, 1_000, 600) == ["SessionUpdated"]
        session = site.session(session_id)
        assert session.progress is not None
        assert (session.progress.sequence, session.progress.meter_wh, session.ahead) == (3, 3_000, ())

    def test_a_reading_whose_number_came_already_is_acknowledged(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        self.meter(site, session_id, 1, 1_000)
        self.meter(site, session_id, 3, 3_000)
        after = site.session(session_id)
        for number in (0, 1, 3):
            assert self.meter(site, session_id, number, 9_000, 1_800) == []
        assert site.session(session_id) == after
        site.stop(session_id, 6_000)
        assert self.meter(site, session_id, 2, 9_000, 1_800) == []
        assert site.cdr(session_id).energy_wh == 6_000

    def test_too_far_ahead_of_a_missing_reading_is_refused_so_that_the_station_sends_that(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        for number in range(2, AHEAD_MAX + 1):
            self.meter(site, session_id, number, number)
        for number in (AHEAD_MAX + 1, 2**32 - 1):
            receipt = site.chain.send(site.station, Charging.meter, session_id, number, number, NOON + 60, True)
            assert receipt.error is not None
            assert receipt.error.code == "READING_MISSING"
            assert receipt.error.message.endswith(f": missing 1, furthest {AHEAD_MAX}")
        assert self.meter(site, session_id, 1, 0) == ["SessionUpdated"], "a lost reading's number is taken by another"
        assert self.meter(site, session_id, AHEAD_MAX + 1, 100) == ["SessionUpdated"]
        session = site.session(session_id)
        assert session.progress is not None
        assert (session.progress.sequence, session.progress.meter_wh, session.flags) == (AHEAD_MAX + 1, 100, ())

    def test_money_that_runs_out_is_seen_in_readings_that_wait(self, site: Site) -> None:
        """Of 20, 20 kWh in two hours cost 15, and as much again may follow."""
        session_id = site.started(meter_wh=0)
        assert self.meter(site, session_id, 2, 5_000, HOUR // 2) == []
        assert self.meter(site, session_id, 3, 20_000, 2 * HOUR) == ["StopRequested"]
        site.stop(session_id, 20_000, 2, 2, readings=4)
        assert self.meter(site, session_id, 4, 20_000, 2 * HOUR) == [], "it has stopped already"

    def test_an_end_that_overtook_readings_is_settled_with_the_last_of_them(self) -> None:
        site = site_with(TariffTerms.of(LATE))
        session_id = site.started(meter_wh=0)
        self.meter(site, session_id, 2, 4_000, HOUR)
        receipt = site.stop(session_id, 9_000, hours=2, charged=1, readings=3)
        assert (events_of(receipt), receipt.events[0].fields[-1]) == (["StopDeferred"], 2)
        assert site.stop(session_id, 9_000, hours=2, charged=1, readings=3).events == (), "the same again is acknowledged"
        assert self.meter(site, session_id, 4, 9_999, 2 * HOUR) == [], "there is none such"
        assert site.code(account("anybody"), Charging.settle_expired, session_id) == "NOT_YET"
        assert self.meter(site, session_id, 1, 2_000, HOUR // 2) == ["SessionUpdated"]
        receipt = site.ok(site.station, Charging.meter, session_id, 3, 9_000, NOON + 2 * HOUR, False)
        assert events_of(receipt) == ["Captured", "Released", "SessionCompleted"]
        cdr = site.cdr(session_id)
        assert (cdr.total_incl_vat, cdr.stop) == ((33 + 60) * MOTES_PER_DATR // 10, Stop(9_000, END, NOON + HOUR, "Local", 3))
        assert site.session(session_id).ahead == ()

    def test_readings_that_never_come_delay_the_settlement_until_the_deadline(self, site: Site) -> None:
        """A station that lies about them waits for its money; the driver gets what is left of his hold at the deadline."""
        session_id = site.started(meter_wh=0)
        self.meter(site, session_id, 2, 4_000, HOUR // 2)
        assert events_of(site.stop(session_id, -1, readings=2**32 - 1)) == ["StopDeferred"]
        assert site.money(site.driver)[1] == HELD
        [receipt] = site.wait(SESSION_MS)
        assert events_of(receipt) == ["Captured", "Released", "SessionCompleted"]
        cdr = site.cdr(session_id)
        assert (cdr.energy_wh, cdr.flags, site.money(site.driver)[1]) == (4_000, (Flag.METER,), 0), "what came counts"
        assert cdr.paid + cdr.released == HELD

    def test_another_end_while_readings_are_missing_opens_a_dispute(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 10_000, readings=1)
        assert events_of(site.stop(session_id, 10_000, readings=0)) == ["StopDisputed", "DisputeOpened"]
        assert self.meter(site, session_id, 1, 5_000, 600) == ["SessionUpdated"], "nothing is settled while it is open"
        site.resolve(session_id, Outcome.UPHELD)
        assert site.cdr(session_id).total_incl_vat == 9 * MOTES_PER_DATR

    def test_a_dispute_that_is_over_leaves_what_is_missing_to_come(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 10_000, readings=1)
        site.ok(site.driver, Charging.dispute, session_id, "where is the reading")
        assert events_of(site.resolve(session_id, Outcome.UPHELD)) == ["DisputeResolved"]
        assert events_of(site.stop(session_id, 11_000, readings=1)) == ["StopQuarantined"]
        assert "SessionCompleted" in self.meter(site, session_id, 1, 5_000, 600)
        site.ok(site.driver, Charging.dispute, session_id, "nobody decided about the bill")

    @pytest.mark.parametrize("outcome", [Outcome.CREDITED, Outcome.CORRECTED])
    def test_an_arbiter_decides_while_readings_are_missing(self, site: Site, outcome: Outcome) -> None:
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 10_000, readings=2)
        self.meter(site, session_id, 2, 5_000, 600)
        site.ok(site.driver, Charging.dispute, session_id, "too much")
        site.resolve(session_id, outcome, measured(5_000, start_wh=0) if outcome is Outcome.CORRECTED else None)
        session = site.session(session_id)
        assert (session.status is SessionStatus.COMPLETED) == (outcome is Outcome.CORRECTED)
        assert (session.ahead, session.reported, self.meter(site, session_id, 1, 1)) == ((), None, [])

    def test_a_session_that_its_driver_cancelled_owes_once_its_readings_are_there(self, site: Site) -> None:
        session_id = site.authorize()
        site.wait(HOUR * 1_000)
        site.ok(site.driver, Charging.cancel, session_id)
        at_s = (site.session(session_id).deadline_ms - SESSION_MS) // 1_000
        site.ok(site.station, Charging.start, session_id, "tx", 0, at_s)
        site.ok(site.station, Charging.stop, session_id, 10_000, at_s + 60, at_s + 60, "", 1)
        assert site.chain.query(Charging.debt, site.driver.address) == 0
        site.ok(site.station, Charging.meter, session_id, 1, 10_000, at_s + 60, True)
        assert site.chain.query(Charging.debt, site.driver.address) == site.cdr(session_id).total_incl_vat > 0

    def test_a_report_that_overtook_the_start_is_refused_so_that_the_station_repeats_it(self, site: Site) -> None:
        session_id = site.authorize()
        assert site.code(site.station, Charging.meter, session_id, 1, 1_005_000, NOON + 600, True) == "NOT_STARTED"
        assert site.code(site.station, Charging.stop, session_id, 1_010_000, NOON + HOUR, NOON + HOUR, "", 0) == "NOT_STARTED"
        site.ok(site.station, Charging.start, session_id, "tx-1", 1_000_000, NOON)
        site.stop(session_id, 1_010_000)
        assert site.cdr(session_id).energy_wh == 10_000

    def test_a_station_that_moved_to_another_operator_still_reports_for_the_first(self, site: Site) -> None:
        """The money of what was authorized before stays with whom the driver agreed with."""
        session_id = site.started()
        other = account("other operator")
        site.ok(other, Charging.register_operator, "NL*OTH", "Other", other.address, ARBITER.address)
        site.ok(other, Charging.invite_station, site.station.address, "NL*OTH*E9", site.tariff_id, None)
        site.ok(site.station, Charging.register_station, "NL*OTH*E9", other.address, site.tariff_id)
        site.stop(session_id, 1_010_000)
        assert (site.cdr(session_id).operator, site.cdr(session_id).station_id) == (OPERATOR.address, "DE*DTC*E1")
        assert (site.money(OPERATOR)[0], site.money(other)) == (9 * MOTES_PER_DATR, (0, 0))
        assert site.chain.query(Charging.station, site.station.address) == Station("NL*OTH*E9", other.address, site.tariff_id)

    def test_nothing_happens_in_the_future(self, site: Site) -> None:
        latest = (site.chain.context.timestamp_ms + CLOCK_TOLERANCE_MS) // 1_000
        session_id = site.authorize()
        assert site.code(site.station, Charging.start, session_id, "tx", 0, latest + 2) == "EVENT_IN_FUTURE"
        site.ok(site.station, Charging.start, session_id, "tx", 0, latest)
        assert site.code(site.station, Charging.meter, session_id, 1, 0, latest + 60, True) == "EVENT_IN_FUTURE"
        assert site.code(site.station, Charging.stop, session_id, 0, latest + 60, latest, "", 0) == "EVENT_IN_FUTURE"


class TestDoubleStop:
    """The first wins; an identical repeat is acknowledged; a differing one opens a dispute, money unmoved."""

    def test_an_identical_start_is_acknowledged_and_a_differing_one_refused(self, site: Site) -> None:
        session_id = site.started()
        assert site.ok(site.station, Charging.start, session_id, "tx-1", 1_000_000, NOON).events == ()
        assert site.code(site.station, Charging.start, session_id, "tx-1", 1_000_001, NOON) == "ALREADY_STARTED"
        site.stop(session_id, 1_010_000)
        assert site.ok(site.station, Charging.start, session_id, "tx-1", 1_000_000, NOON).events == ()

    def test_an_identical_stop_is_acknowledged(self, site: Site) -> None:
        session_id = site.started()
        site.stop(session_id, 1_010_000)
        settled = site.session(session_id), site.cdr(session_id), site.money(OPERATOR)
        assert site.stop(session_id, 1_010_000).events == ()
        assert (site.session(session_id), site.cdr(session_id), site.money(OPERATOR)) == settled

    @pytest.mark.parametrize("other", [{"meter_wh": 1_020_000}, {"hours": 2}, {"charged": 0}, {"reason": "Remote"}])
    def test_a_differing_stop_opens_a_dispute_and_moves_no_money(self, site: Site, other: dict[str, Any]) -> None:
        session_id = site.started()
        site.stop(session_id, 1_010_000)
        settled = site.cdrs(session_id), site.money(OPERATOR), site.money(site.driver)
        receipt = site.stop(session_id, **{"meter_wh": 1_010_000, **other})
        assert events_of(receipt) == ["StopDisputed", "DisputeOpened"]
        assert site.session(session_id).disputed
        assert (site.dispute(session_id).opened_by, site.dispute(session_id).outcome) == (site.station.address, None)
        again = site.stop(session_id, 1_030_000)
        assert events_of(again) == ["StopDisputed"], "one dispute is enough"
        assert site.stop(session_id, 1_010_000).events == (), "the first is still acknowledged"
        assert (site.cdrs(session_id), site.money(OPERATOR), site.money(site.driver)) == settled

    def test_a_differing_stop_opens_no_second_dispute_and_none_long_after(self, site: Site) -> None:
        decided, old = site.settled(), site.settled()
        site.stop(decided, 1_020_000)
        site.resolve(decided, Outcome.UPHELD)
        assert events_of(site.stop(decided, 1_030_000)) == ["StopQuarantined"]
        site.wait(DISPUTE_MS)
        assert events_of(site.stop(old, 1_020_000)) == ["StopQuarantined"]
        assert not site.session(old).disputed


class TestStopForAnUnknownOrForeignSession:
    """Accepted and quarantined, also for the id -1 of a station that was never told one; no money."""

    def test_a_stop_for_an_unknown_foreign_or_cancelled_session_is_quarantined(self, site: Site) -> None:
        other = site.chain.account("other station")
        site.ok(OPERATOR, Charging.add_station, other.address, "X", site.tariff_id, None)
        foreign, cancelled = site.started(), site.authorize()
        site.ok(site.driver, Charging.cancel, cancelled)
        before = site.money(site.driver), site.session(foreign)
        for sender, session_id in (
            (site.station, UNKNOWN),
            (site.station, bytes(32)),
            (other, foreign),
            (site.station, cancelled),
        ):
            receipt = site.ok(sender, Charging.stop, session_id, 5, NOON + 1, NOON, "Local", 0)
            assert events_of(receipt) == ["StopQuarantined"]
        assert (site.money(site.driver), site.session(foreign)) == before


class TestMeterGoesBackwards:
    """Meter backwards, meterStop below meterStart, -1: billed to the last good reading, flagged."""

    @pytest.mark.parametrize("meter_wh", [-1, 0, 1_004_999, 1_000_000 + ENERGY_WH_MAX + 1, 2**63 - 1])
    def test_a_meter_that_cannot_be_is_billed_to_the_last_good_reading(self, site: Site, meter_wh: int) -> None:
        session_id = site.started(meter_wh=1_000_000)
        site.ok(site.station, Charging.meter, session_id, 1, 1_005_000, NOON + 600, True)
        site.stop(session_id, meter_wh)
        cdr = site.cdr(session_id)
        assert (cdr.energy_wh, cdr.charging_s, cdr.flags) == (5_000, HOUR, (Flag.METER,))

    def test_a_reading_that_goes_back_is_flagged_and_a_later_good_one_counts(self, site: Site) -> None:
        session_id = site.started(meter_wh=1_000)
        site.ok(site.station, Charging.meter, session_id, 1, 900, NOON + 60, True)
        assert site.session(session_id).flags == (Flag.METER,)
        site.stop(session_id, 3_000)
        assert (site.cdr(session_id).energy_wh, site.cdr(session_id).flags) == (2_000, (Flag.METER,))

    def test_a_clock_that_went_back_keeps_the_last_good_time(self, site: Site) -> None:
        session_id = site.started(meter_wh=0)
        site.ok(site.station, Charging.meter, session_id, 1, 1_000, NOON + 600, True)
        site.ok(site.station, Charging.stop, session_id, 2_000, NOON + 60, NOON + 60, "Reboot", 0)
        cdr = site.cdr(session_id)
        assert (cdr.end_s, cdr.charging_s, cdr.parking_s, cdr.flags) == (NOON + 600, 60, 540, (Flag.CLOCK,))

    @pytest.mark.parametrize(("charging_end", "charging_s"), [(NOON - 5, 0), (NOON + HOUR + 5, HOUR)])
    def test_charging_ends_within_the_session(self, site: Site, charging_end: int, charging_s: int) -> None:
        session_id = site.started()
        site.ok(site.station, Charging.stop, session_id, 1_000_001, NOON + HOUR, charging_end, "", 0)
        cdr = site.cdr(session_id)
        assert (cdr.charging_s, cdr.parking_s, cdr.flags) == (charging_s, HOUR - charging_s, (Flag.CLOCK,))

    def test_the_longest_session_and_the_highest_meter(self, site: Site) -> None:
        site.chain.advance(2 * SECONDS_MAX * 1_000)
        session_id = site.started(meter_wh=METER_WH_MAX - 1)
        end = NOON + SECONDS_MAX
        site.ok(site.station, Charging.stop, session_id, METER_WH_MAX, end, end, "", 0)
        assert (site.cdr(session_id).charging_s, site.cdr(session_id).flags) == (SECONDS_MAX, ())


class TestNeverStopped:
    """The deadline settles at the last reading and releases the rest: the calendar does, without anyone asking."""

    def test_the_calendar_settles_at_the_last_reading(self, site: Site) -> None:
        """It charged for half an hour, then parked until the last reading after an hour: 1 + 3 + 1 + 3."""
        session_id = site.started(meter_wh=0)
        site.ok(site.station, Charging.meter, session_id, 1, 5_000, NOON + HOUR // 2, True)
        site.ok(site.station, Charging.meter, session_id, 2, 5_000, NOON + HOUR, False)
        assert site.code(account("anybody"), Charging.settle_expired, session_id) == "NOT_YET"
        [receipt] = site.wait(SESSION_MS)
        assert events_of(receipt) == ["Captured", "Released", "SessionCompleted"]
        cdr = site.cdr(session_id)
        assert (cdr.total_incl_vat, cdr.stop) == (8 * MOTES_PER_DATR, None)
        assert (cdr.charging_s, cdr.parking_s) == (HOUR // 2, HOUR // 2)
        assert (site.money(OPERATOR), site.money(site.driver)[1]) == ((cdr.paid, 0), 0)
        assert site.code(account("anybody"), Charging.settle_expired, session_id) == "SESSION_ENDED"

    def test_the_real_end_that_comes_after_all_is_a_matter_for_the_arbiter(self, site: Site) -> None:
        session_id = site.started()
        site.wait(SESSION_MS)
        before = site.money(OPERATOR), site.cdr(session_id)
        assert events_of(site.stop(session_id, 1_009_000)) == ["StopDisputed", "DisputeOpened"]
        assert (site.money(OPERATOR), site.cdr(session_id)) == before

    def test_one_that_never_started_is_released(self, site: Site) -> None:
        before = site.money(site.driver)
        session_id = site.authorize()
        [receipt] = site.wait(SESSION_MS)
        assert events_of(receipt) == ["Released", "SessionInvalidated"]
        assert site.money(site.driver) == before
        assert site.session(session_id).status is SessionStatus.INVALID

    def test_at_its_last_moment_a_stop_still_counts_and_the_calendar_has_nothing_left_to_do(self, site: Site) -> None:
        session_id, cancelled = site.started(), site.authorize()
        site.ok(site.station, Charging.cancel, cancelled)
        site.chain.advance(site.session(session_id).deadline_ms - site.chain.context.timestamp_ms)
        site.stop(session_id, 1_010_000)
        assert site.cdr(session_id).energy_wh == 10_000
        assert site.wait(SESSION_MS) == []

    def test_what_is_too_much_for_the_calendar_anybody_may_settle(self) -> None:
        """Under a tariff of many rules a month takes more gas to price than a scheduled call has."""
        site = site_with(MANY_RULES)
        session_id = site.started()
        call = site.chain.call(Charging.meter, session_id, 1, 1_070_000, NOON + 29 * 24 * HOUR, True)
        site.chain.advance(SESSION_MS - 60_000)
        site.chain.block(site.chain.transaction(site.station, call, gas_limit=10**8))
        [receipt] = site.wait(60_000)
        assert events_of(receipt) == ["SettlementLeft"]
        assert receipt.gas_used < SCHEDULED_GAS_LIMIT
        assert site.session(session_id).status is SessionStatus.ACTIVE
        call = site.chain.call(Charging.settle_expired, session_id)
        [receipt] = site.chain.block(site.chain.transaction(account("anybody"), call, gas_limit=10**8)).receipts
        assert receipt.status is Status.SUCCEEDED
        assert receipt.gas_used > SCHEDULED_GAS_LIMIT
        assert (site.cdr(session_id).energy_wh, site.cdr(session_id).stop) == (70_000, None)

    def test_a_hold_that_the_driver_took_back_at_last_leaves_a_debt(self) -> None:
        """Only where the calendar could not settle and nobody else did, a week after any dispute is over."""
        site = site_with(MANY_RULES)
        session_id = site.started()
        call = site.chain.call(Charging.meter, session_id, 1, 1_070_000, NOON + 29 * 24 * HOUR, True)
        site.chain.advance(SESSION_MS - 60_000)
        site.chain.block(site.chain.transaction(site.station, call, gas_limit=10**8))
        site.wait(RECLAIM_MS - SESSION_MS)
        assert site.code(site.driver, Asset.reclaim, session_id) == "NOT_YET"
        site.wait(60_000)
        site.ok(site.driver, Asset.reclaim, session_id)
        call = site.chain.call(Charging.settle_expired, session_id)
        site.chain.block(site.chain.transaction(account("anybody"), call, gas_limit=10**8))
        cdr = site.cdr(session_id)
        assert (cdr.paid, cdr.released, cdr.debt) == (0, cdr.held, cdr.total_incl_vat)


class TestDisputed:
    """Frozen, resolved by the agreed arbiter: a credit record (negated) and a new one; records never change."""

    def test_a_settled_session_is_credited_and_billed_anew(self, site: Site) -> None:
        """10 kWh in an hour were 9.00; it was 5 kWh: 6.00."""
        session_id = site.settled()
        [original] = site.cdrs(session_id)
        before = site.money(site.driver)[0], site.money(OPERATOR)[0]
        site.ok(site.driver, Charging.dispute, session_id, "the meter ran twice as fast")
        assert (site.money(site.driver)[0], site.money(OPERATOR)[0]) == before, "frozen where it is"
        site.resolve(session_id, Outcome.CORRECTED, measured(1_005_000))
        first, credit, correction = site.cdrs(session_id)
        assert first == original
        assert (credit.kind, credit.refers_to, credit.number) == (CdrKind.CREDIT, original.number, original.number + 1)
        assert [-line.excl_vat for line in credit.lines] == [line.excl_vat for line in original.lines]
        assert credit.total_incl_vat == -original.total_incl_vat == -9 * MOTES_PER_DATR
        assert (correction.kind, correction.refers_to) == (CdrKind.CORRECTION, original.number)
        assert (correction.energy_wh, correction.total_incl_vat) == (5_000, 6 * MOTES_PER_DATR)
        back = 3 * MOTES_PER_DATR
        assert (site.money(site.driver)[0], site.money(OPERATOR)[0]) == (before[0] + back, before[1] - back)

    def test_an_open_session_is_not_settled_while_disputed(self, site: Site) -> None:
        session_id = site.started()
        site.ok(OPERATOR, Charging.dispute, session_id, "the connector is broken")
        assert events_of(site.stop(session_id, 1_010_000)) == ["StopDeferred"]
        assert site.code(account("anybody"), Charging.settle_expired, session_id) == "SESSION_DISPUTED"
        assert site.money(site.driver)[1] == HELD
        site.resolve(session_id, Outcome.UPHELD)
        [cdr] = site.cdrs(session_id)
        assert (cdr.kind, cdr.total_incl_vat, cdr.paid) == (CdrKind.CHARGE, 9 * MOTES_PER_DATR, 9 * MOTES_PER_DATR)

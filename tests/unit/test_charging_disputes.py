"""Disputes of charging sessions: who may open and decide them, what records they leave, and where the money goes."""

from typing import Any

import pytest

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
    disputed,
    events_of,
    measured,
    site_with,
    totals,
)
from tests.vm_harness import TREASURY, account
from vm.contracts.asset import Asset
from vm.contracts.charging import Charging
from vm.contracts.charging_records import CdrKind, Measured, Outcome, RefundDue
from vm.contracts.charging_types import (
    CLOCK_TOLERANCE_MS,
    DISPUTE_MS,
    RESOLVE_MS,
    SESSION_MS,
    Flag,
    MeterPoint,
    SessionStatus,
    TariffTerms,
)
from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX
from vm.tariff import parse_tariff

DATR = MOTES_PER_DATR
PROVIDER, SUPPLIER = account("provider"), account("supplier")


@pytest.fixture
def site() -> Site:
    return site_with(TERMS)


class TestOpening:
    def test_its_driver_and_its_operator_may(self, site: Site) -> None:
        for party in (site.driver, OPERATOR):
            session_id = site.settled()
            receipt = site.ok(party, Charging.dispute, session_id, "why")
            assert events_of(receipt) == ["DisputeOpened"]
            assert (site.dispute(session_id).opened_by, site.dispute(session_id).reason) == (party.address, "why")
        for stranger in (ARBITER, account("anybody"), site.station):
            assert site.code(stranger, Charging.dispute, session_id, "why") == "NOT_PERMITTED"

    def test_once_and_of_a_session_that_began(self, site: Site) -> None:
        session_id = disputed(site, site.settled())
        assert site.code(OPERATOR, Charging.dispute, session_id, "too") == "ALREADY_DISPUTED"
        site.resolve(session_id, Outcome.UPHELD)
        assert site.code(OPERATOR, Charging.dispute, session_id, "again") == "ALREADY_DISPUTED"
        pending = site.authorize()
        assert site.code(site.driver, Charging.dispute, pending, "why") == "NOT_STARTED"
        site.ok(site.driver, Charging.cancel, pending)
        assert site.code(site.driver, Charging.dispute, pending, "why") == "SESSION_ENDED"
        assert site.code(site.driver, Charging.dispute, UNKNOWN, "why") == "UNKNOWN_SESSION"

    def test_within_a_period(self, site: Site) -> None:
        early, late = site.settled(), site.settled()
        site.chain.advance(DISPUTE_MS - 5_000)
        disputed(site, early)
        site.chain.advance(5_000)
        assert site.code(site.driver, Charging.dispute, late, "why") == "TOO_LATE"


class TestDeciding:
    def test_only_the_agreed_arbiter_may(self, site: Site) -> None:
        session_id = disputed(site, site.settled())
        other = account("other arbiter")
        site.ok(OPERATOR, Charging.change_operator, "x", OPERATOR.address, other.address)
        for stranger in (other, OPERATOR, site.driver, site.station):
            assert site.code(stranger, Charging.resolve, session_id, Outcome.CREDITED, None, "so") == "NOT_PERMITTED"
        site.resolve(session_id, Outcome.CREDITED)
        assert site.code(ARBITER, Charging.resolve, session_id, Outcome.CREDITED, None, "so") == "NOT_DISPUTED"
        assert site.dispute(session_id).outcome is Outcome.CREDITED

    @pytest.mark.parametrize(
        ("outcome", "found"),
        [
            (Outcome.CORRECTED, None),
            (Outcome.UPHELD, measured(1)),
            (Outcome.CREDITED, measured(1)),
            (Outcome.LAPSED, None),
            (Outcome.CORRECTED, measured(999_999)),
            (Outcome.CORRECTED, measured(1_000_001, hours=1, charged=2)),
            (Outcome.CORRECTED, measured(1_000_001, hours=-1, charged=-1)),
            (Outcome.CORRECTED, measured(1_000_001 + ENERGY_WH_MAX)),
            (Outcome.CORRECTED, measured(1_000_001, readings=(MeterPoint(NOON + 9, 1_000_002),))),
            (Outcome.CORRECTED, measured(1_000_001, readings=(MeterPoint(NOON - 1, 1_000_000),))),
            (Outcome.CORRECTED, Measured(NOON - SECONDS_MAX, 0, NOON, NOON + 1, 1, ())),
            (Outcome.CORRECTED, measured(1_000_001, hours=24 * 2)),
        ],
    )
    def test_what_cannot_have_been_is_refused(self, site: Site, outcome: Outcome, found: Measured | None) -> None:
        session_id = disputed(site, site.settled())
        assert site.code(ARBITER, Charging.resolve, session_id, outcome, found, "so") == "BAD_MEASURED"
        assert site.session(session_id).disputed

    def test_the_future_is_as_for_stations(self) -> None:
        found = measured(1_000_001)
        end_ms = (NOON + HOUR) * 1_000
        assert found.problem(end_ms - CLOCK_TOLERANCE_MS) is None
        assert found.problem(end_ms - CLOCK_TOLERANCE_MS - 1) == "it ends in the future"

    def test_a_dispute_that_nobody_decides_lapses_and_the_report_stands(self, site: Site) -> None:
        session_id = disputed(site, site.settled())
        before = site.money(OPERATOR), site.cdrs(session_id)
        assert site.dispute(session_id).deadline_ms <= site.chain.context.timestamp_ms + RESOLVE_MS
        [receipt] = site.wait(RESOLVE_MS)
        assert events_of(receipt) == ["DisputeResolved"]
        assert (site.money(OPERATOR), site.cdrs(session_id)) == before
        assert site.dispute(session_id).outcome is Outcome.LAPSED
        assert site.code(ARBITER, Charging.resolve, session_id, Outcome.UPHELD, None, "so") == "NOT_DISPUTED"

    def test_one_that_was_decided_does_not_lapse(self, site: Site) -> None:
        site.resolve(disputed(site, site.settled()), Outcome.UPHELD)
        assert site.wait(RESOLVE_MS) == []


class TestSettledSessions:
    def test_what_was_reported_may_stand(self, site: Site) -> None:
        session_id = disputed(site, site.settled())
        before = site.money(OPERATOR), site.money(site.driver), site.cdrs(session_id)
        assert events_of(site.resolve(session_id, Outcome.UPHELD)) == ["DisputeResolved"]
        assert (site.money(OPERATOR), site.money(site.driver), site.cdrs(session_id)) == before

    def test_all_of_it_may_be_credited(self, site: Site) -> None:
        before = site.money(site.driver)
        session_id = disputed(site, site.settled())
        receipt = site.resolve(session_id, Outcome.CREDITED)
        assert events_of(receipt) == ["DisputeResolved", "Drawn", "SessionCredited"]
        assert totals(site, session_id) == [9 * DATR, -9 * DATR]
        assert (site.money(site.driver), site.money(OPERATOR)) == (before, (0, 0))
        assert site.session(session_id).status is SessionStatus.COMPLETED

    def test_more_than_was_billed_becomes_a_debt(self, site: Site) -> None:
        session_id = disputed(site, site.settled())
        site.resolve(session_id, Outcome.CORRECTED, measured(1_020_000, hours=2, charged=1))
        assert totals(site, session_id) == [9 * DATR, -9 * DATR, 21 * DATR]
        correction = site.cdr(session_id)
        assert (correction.paid, correction.debt, correction.held, correction.released) == (9 * DATR, 12 * DATR, 0, 0)
        assert site.chain.query(Charging.debt, site.driver.address) == site.session(session_id).owed == 12 * DATR
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(12 * DATR))
        assert site.money(OPERATOR) == (21 * DATR, 0)

    def test_a_debt_is_lowered_before_anything_is_given_back(self, site: Site) -> None:
        """27 of 20 were held: 7 owed. It was 21: 1 is still owed. It was 15: 5 come back."""
        for meter_wh, owed, back in ((30_000, 1, 0), (20_000, 0, 5)):
            session_id = site.started(meter_wh=0)
            site.stop(session_id, 40_000)
            site.resolve(disputed(site, session_id), Outcome.CORRECTED, measured(meter_wh, start_wh=0))
            first, credit, correction = site.cdrs(session_id)
            assert (first.paid, first.debt) == (20 * DATR, 7 * DATR)
            assert (credit.paid, credit.debt) == (-20 * DATR, -7 * DATR)
            assert (correction.paid, correction.debt) == ((20 - back) * DATR, owed * DATR)
            assert site.chain.query(Charging.debt, site.driver.address) == owed * DATR
            if owed:
                site.ok(site.driver, Charging.pay_debt, session_id, Motes(owed * DATR))
        assert site.money(OPERATOR)[0] == (21 + 15) * DATR

    def test_a_debt_that_was_paid_meanwhile_comes_back_too(self, site: Site) -> None:
        before = site.money(site.driver)
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 40_000)
        disputed(site, session_id)
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(7 * DATR))
        site.resolve(session_id, Outcome.CREDITED)
        _, credit = site.cdrs(session_id)
        assert (credit.total_incl_vat, credit.paid, credit.debt) == (-27 * DATR, -27 * DATR, 0)
        assert (site.money(site.driver), site.money(OPERATOR)) == (before, (0, 0))

    def test_the_start_may_be_corrected_too_and_the_stations_repeats_are_still_acknowledged(self, site: Site) -> None:
        session_id = disputed(site, site.settled())
        found = Measured(NOON + HOUR // 2, 1_004_000, NOON + HOUR, NOON + HOUR, 1_010_000, ())
        site.resolve(session_id, Outcome.CORRECTED, found)
        correction = site.cdr(session_id)
        assert (correction.start.meter_wh, correction.start.at_s, correction.charging_s) == (
            1_004_000,
            NOON + HOUR // 2,
            HOUR // 2,
        )
        assert correction.total_incl_vat == (100 + 360 + 100) * DATR // 100
        assert site.ok(site.station, Charging.start, session_id, "tx-1", 1_000_000, NOON).events == ()
        assert site.stop(session_id, 1_010_000).events == ()

    def test_a_tariff_that_depends_on_when_is_priced_with_the_arbiters_readings(self) -> None:
        """The first hour costs 0.20, the rest 0.50: of 10 kWh in two hours 9 were in the first."""
        tariff = parse_tariff(
            """{"elements": [
            {"price_components": [{"type": "ENERGY", "price": 0.2, "step_size": 1}], "restrictions": {"max_duration": 3600}},
            {"price_components": [{"type": "ENERGY", "price": 0.5, "step_size": 1}]}], "preauthorize_amount": 20}"""
        )
        for readings, cost in (((), 35), ((MeterPoint(NOON + HOUR, 1_009_000),), 23)):
            site = site_with(TariffTerms.of(tariff))
            session_id = disputed(site, site.settled(1_020_000, hours=2, charged=2))
            site.resolve(session_id, Outcome.CORRECTED, measured(1_010_000, 2, 2, readings=readings))
            assert site.cdr(session_id).total_incl_vat == cost * DATR // 10

    def test_flags_and_reports_stay_with_the_records(self, site: Site) -> None:
        session_id = disputed(site, site.settled(-1))
        site.resolve(session_id, Outcome.CORRECTED, measured(1_010_000))
        first, _, correction = site.cdrs(session_id)
        assert first.flags == correction.flags == (Flag.METER,)
        assert first.stop == correction.stop
        assert (first.total_incl_vat, correction.total_incl_vat) == (3 * DATR, 9 * DATR)


class TestRefundsOwed:
    def emptied(self, site: Site) -> bytes:
        """Return a session that is disputed when its operator has spent all but 2."""
        session_id = disputed(site, site.settled())
        site.ok(OPERATOR, Asset.transfer, TREASURY.address, Motes(7 * DATR))
        return session_id

    def test_what_cannot_be_drawn_is_owed_and_stops_new_business(self, site: Site) -> None:
        before = site.money(site.driver)[0]
        session_id = self.emptied(site)
        site.resolve(session_id, Outcome.CREDITED)
        assert site.money(site.driver)[0] == before - 7 * DATR
        assert site.chain.query(Charging.refunds_due, session_id) == (RefundDue(OPERATOR.address, Motes(7 * DATR)),)
        assert site.chain.query(Charging.refunds_owed, OPERATOR.address) == 7 * DATR
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "REFUND_OWED"
        site.ok(TREASURY, Asset.transfer, OPERATOR.address, Motes(3 * DATR))
        receipt = site.ok(account("anybody"), Charging.collect_refund, session_id)
        assert (receipt.results, events_of(receipt)) == ((3 * DATR,), ["Drawn", "RefundPaid"])
        assert site.chain.query(Charging.refunds_owed, OPERATOR.address) == 4 * DATR
        site.ok(TREASURY, Asset.transfer, OPERATOR.address, Motes(5 * DATR))
        site.ok(site.driver, Charging.collect_refund, session_id)
        assert (site.money(site.driver)[0], site.money(OPERATOR)[0]) == (before, DATR)
        assert site.code(site.driver, Charging.collect_refund, session_id) == "NO_REFUND"
        site.authorize()

    def test_sessions_under_way_go_on(self, site: Site) -> None:
        waiting = site.authorize()
        site.resolve(self.emptied(site), Outcome.CREDITED)
        site.ok(site.station, Charging.start, waiting, "tx-2", 1_000_000, NOON)
        site.stop(waiting, 1_010_000)
        assert site.money(OPERATOR)[0] == 9 * DATR

    def test_partners_give_back_their_shares_each_as_it_can(self, site: Site) -> None:
        """9.00 in shares of 50, 30 and 20 %; then it was 6.00, and the supplier has nothing left."""
        site.agree_split(PROVIDER, 3_000, SUPPLIER, 2_000)
        site.provider = PROVIDER
        before = site.money(site.driver)[0]
        session_id = disputed(site, site.settled())
        site.ok(SUPPLIER, Asset.transfer, TREASURY.address, Motes(18 * DATR // 10))
        site.resolve(session_id, Outcome.CORRECTED, measured(1_005_000))
        assert [site.money(who)[0] for who in (OPERATOR, PROVIDER, SUPPLIER)] == [3 * DATR, 18 * DATR // 10, 0]
        assert site.money(site.driver)[0] == before - 66 * DATR // 10
        assert site.chain.query(Charging.refunds_due, session_id) == (RefundDue(SUPPLIER.address, Motes(6 * DATR // 10)),)
        for cdr in site.cdrs(session_id):
            assert sum(part.amount for part in cdr.parts) == cdr.paid
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "REFUND_OWED"
        site.provider = None
        site.authorize()

    def test_several_refunds_add_up(self, site: Site) -> None:
        first, second = self.emptied(site), disputed(site, site.settled())
        site.ok(OPERATOR, Asset.transfer, TREASURY.address, Motes(11 * DATR))
        for session_id in (first, second):
            site.resolve(session_id, Outcome.CREDITED)
        assert site.chain.query(Charging.refunds_owed, OPERATOR.address) == 18 * DATR
        site.ok(TREASURY, Asset.transfer, OPERATOR.address, Motes(9 * DATR))
        site.ok(site.driver, Charging.collect_refund, second)
        assert site.chain.query(Charging.refunds_owed, OPERATOR.address) == 9 * DATR
        assert site.chain.query(Charging.refunds_due, first) != site.chain.query(Charging.refunds_due, second) == ()


class TestOpenSessions:
    def running(self, site: Site) -> bytes:
        return disputed(site, site.started())

    def test_readings_go_on_and_the_end_is_kept_for_later(self, site: Site) -> None:
        session_id = self.running(site)
        site.ok(site.station, Charging.meter, session_id, 1, 1_005_000, NOON + HOUR // 2, True)
        assert events_of(site.stop(session_id, 1_010_000)) == ["StopDeferred"]
        assert site.stop(session_id, 1_010_000).events == ()
        assert events_of(site.stop(session_id, 1_020_000)) == ["StopDisputed"]
        assert site.ok(site.station, Charging.meter, session_id, 2, 1_030_000, NOON + 2 * HOUR, True).events == ()
        assert (site.session(session_id).status, site.money(site.driver)[1]) == (SessionStatus.ACTIVE, HELD)
        receipt = site.resolve(session_id, Outcome.UPHELD)
        assert events_of(receipt) == ["DisputeResolved", "Captured", "Released", "SessionCompleted"]
        assert site.cdr(session_id).total_incl_vat == 9 * DATR
        assert site.stop(session_id, 1_010_000).events == (), "it is the end that counted"

    def test_one_that_has_not_ended_goes_on_after_the_dispute(self, site: Site) -> None:
        session_id = self.running(site)
        assert events_of(site.resolve(session_id, Outcome.UPHELD)) == ["DisputeResolved"]
        site.stop(session_id, 1_010_000)
        assert totals(site, session_id) == [9 * DATR]

    def test_one_may_be_ended_without_a_bill(self, site: Site) -> None:
        session_id = self.running(site)
        receipt = site.resolve(session_id, Outcome.CREDITED)
        assert events_of(receipt) == ["DisputeResolved", "Released", "SessionInvalidated"]
        assert (site.money(site.driver), site.cdrs(session_id)) == ((100 * DATR, 0), ())
        assert events_of(site.stop(session_id, 1_010_000)) == ["StopQuarantined"]
        assert site.wait(SESSION_MS) == []

    def test_also_when_its_driver_had_cancelled_it(self, site: Site) -> None:
        session_id = site.authorize()
        site.chain.advance(HOUR * 1_000)
        site.ok(site.driver, Charging.cancel, session_id)
        at_s = site.session(session_id).deadline_ms // 1_000 - SESSION_MS // 1_000
        site.ok(site.station, Charging.start, session_id, "tx", 0, at_s)
        site.resolve(disputed(site, session_id), Outcome.CREDITED)
        receipt = site.ok(site.station, Charging.stop, session_id, 10_000, at_s + 60, at_s + 60, "", 0)
        assert events_of(receipt) == ["StopQuarantined"]
        assert site.chain.query(Charging.debt, site.driver.address) == 0

    def test_one_may_be_settled_as_the_arbiter_found(self, site: Site) -> None:
        session_id = self.running(site)
        site.resolve(session_id, Outcome.CORRECTED, measured(1_005_000))
        [cdr] = site.cdrs(session_id)
        assert (cdr.kind, cdr.total_incl_vat, cdr.paid + cdr.released) == (CdrKind.CHARGE, 6 * DATR, HELD)
        assert events_of(site.stop(session_id, 1_010_000)) == ["StopQuarantined"], "the outcome is final"

    @pytest.mark.parametrize("reported", [True, False])
    @pytest.mark.parametrize("lapses", [True, False])
    def test_the_deadline_waits_for_the_outcome(self, site: Site, reported: bool, lapses: bool) -> None:
        session_id = site.started()
        site.ok(site.station, Charging.meter, session_id, 1, 1_005_000, NOON + HOUR // 2, True)
        site.chain.advance(SESSION_MS - 60_000)
        disputed(site, session_id)
        if reported:
            site.stop(session_id, 1_010_000)
        [receipt] = site.wait(60_000)
        assert receipt.events == (), "the deadline passes it by"
        assert site.code(site.driver, Asset.reclaim, session_id) == "NOT_YET"
        if lapses:
            [receipt] = site.wait(RESOLVE_MS - 60_000)
        else:
            receipt = site.resolve(session_id, Outcome.UPHELD)
        assert events_of(receipt) == ["DisputeResolved", "Captured", "Released", "SessionCompleted"]
        assert site.cdr(session_id).total_incl_vat == (9 if reported else 5) * DATR

    def test_what_is_too_much_for_the_calendar_then_anybody_may_settle(self) -> None:
        site = site_with(MANY_RULES)
        session_id = self.running(site)
        month = (session_id, 1_070_000, NOON + 29 * 24 * HOUR, NOON + 29 * 24 * HOUR, "Local", 0)
        site.chain.advance(SESSION_MS - 120_000)
        [receipt] = site.chain.block(self.paid(site, Charging.stop, *month)).receipts
        assert events_of(receipt) == ["StopDeferred"]
        receipts = [*site.wait(60_000), *site.wait(120_000)]
        assert [events_of(receipt) for receipt in receipts] == [[], ["DisputeResolved", "SettlementLeft"]]
        [receipt] = site.chain.block(self.paid(site, Charging.settle_expired, session_id)).receipts
        assert "SessionCompleted" in events_of(receipt)
        assert site.cdr(session_id).stop is not None

    def paid(self, site: Site, method: Any, *args: Any) -> Any:
        return site.chain.transaction(site.station, site.chain.call(method, *args), gas_limit=10**8)

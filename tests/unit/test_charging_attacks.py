"""Charging against those who would gain by its rules: an operator, an arbiter, a driver, a partner, and all of them together."""

import pytest

from ledger.types import MOTES_PER_DATR, Motes
from tests.charging_site import (
    ARBITER,
    NOON,
    OPERATOR,
    TERMS,
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
from vm.contracts.charging_records import Measured, Outcome
from vm.contracts.charging_types import RECLAIM_MS, RESOLVE_MS, SESSION_MS
from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX

DATR = MOTES_PER_DATR
PROVIDER, SUPPLIER = account("provider"), account("supplier")


@pytest.fixture
def site() -> Site:
    return site_with(TERMS)


class TestOperator:
    """It wants its bill to stand."""

    def test_one_before_there_is_a_bill_does_not_use_up_the_right_to_dispute_the_bill(self, site: Site) -> None:
        """Else an operator disputes his own running session, an honest arbiter upholds it, and whatever is billed then stands."""
        session_id = site.started()
        site.ok(OPERATOR, Charging.dispute, session_id, "to be on the safe side")
        site.resolve(session_id, Outcome.UPHELD)
        assert site.code(OPERATOR, Charging.dispute, session_id, "once more") == "ALREADY_DISPUTED", "while it runs, once"
        site.stop(session_id, 1_050_000)
        disputed(site, session_id)
        site.resolve(session_id, Outcome.CORRECTED, measured(1_010_000))
        assert totals(site, session_id) == [33 * DATR, -33 * DATR, 9 * DATR]
        assert site.code(site.driver, Charging.dispute, session_id, "again") == "ALREADY_DISPUTED"
        assert events_of(site.stop(session_id, 1_040_000)) == ["StopQuarantined"]

    def test_then_a_differing_stop_opens_one_as_well(self, site: Site) -> None:
        session_id = disputed(site, site.started())
        site.resolve(session_id, Outcome.UPHELD)
        site.stop(session_id, 1_050_000)
        assert events_of(site.stop(session_id, 1_010_000)) == ["StopDisputed", "DisputeOpened"]
        assert site.dispute(session_id).outcome is None

    def test_an_end_that_was_known_when_a_dispute_was_decided_is_final(self, site: Site) -> None:
        session_id = site.started()
        site.ok(OPERATOR, Charging.dispute, session_id, "why")
        site.stop(session_id, 1_010_000)
        site.resolve(session_id, Outcome.UPHELD)
        assert site.code(site.driver, Charging.dispute, session_id, "again") == "ALREADY_DISPUTED"
        assert events_of(site.stop(session_id, 1_020_000)) == ["StopQuarantined"]


class TestArbiter:
    """It was named by the operator, and the driver agreed to it; both may be wrong about it."""

    def test_whoever_pays_a_debt_pays_no_more_than_he_signed(self, site: Site) -> None:
        """An operator and its arbiter could raise a debt just before the payment that they see coming."""
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 40_000)
        disputed(site, session_id)
        free = site.money(site.driver)[0]
        site.resolve(session_id, Outcome.CORRECTED, measured(80_000, start_wh=0))
        receipt = site.ok(site.driver, Charging.pay_debt, session_id, Motes(7 * DATR))
        assert receipt.results == (7 * DATR,)
        assert site.money(site.driver)[0] == free - 7 * DATR
        assert site.chain.query(Charging.debt, site.driver.address) == site.session(session_id).owed == 24 * DATR

    def test_nobody_decides_of_money_that_is_his(self, site: Site) -> None:
        """Also where it is the station's own account that is paid."""
        station = account("the arbiter's")
        site.ok(OPERATOR, Charging.add_station, station.address, "X", site.tariff_id, ARBITER.address)
        args = (station.address, site.tariff_id, ARBITER.address, None)
        assert site.code(site.driver, Charging.authorize, *args) == "BAD_ARBITER"

    def test_with_the_operator_it_takes_no_more_than_was_held(self, site: Site) -> None:
        """The worst they can find is a debt, which the driver need not pay."""
        session_id = disputed(site, site.started())
        start_s = NOON - SECONDS_MAX + 3_600
        worst = Measured(start_s, 0, NOON, NOON + 3_600, ENERGY_WH_MAX, ())
        before = site.money(site.driver)
        site.resolve(session_id, Outcome.CORRECTED, worst)
        assert site.money(site.driver) == (before[0], 0)
        assert site.money(OPERATOR) == (20 * DATR, 0)
        assert site.session(session_id).owed == site.chain.query(Charging.debt, site.driver.address) > 10**5 * DATR

    @pytest.mark.parametrize("outcome", [Outcome.CREDITED, Outcome.CORRECTED])
    def test_with_the_driver_it_takes_from_a_partner_what_that_partner_had_of_the_session_and_no_more(
        self, site: Site, outcome: Outcome
    ) -> None:
        """Whatever else is in the accounts from which refunds may be drawn, and however often they try."""
        site.agree_split(PROVIDER, 3_333, SUPPLIER, 6_666)
        site.provider = PROVIDER
        savings = 1_000 * DATR
        everybody = OPERATOR, PROVIDER, SUPPLIER
        for each in everybody:
            site.chain.account(each.name, savings)
        others = site.settled()
        kept = [site.money(each)[0] for each in everybody]
        session_id = disputed(site, site.settled())
        site.resolve(session_id, outcome, measured(1_000_000, hours=0, charged=0) if outcome is Outcome.CORRECTED else None)
        left = DATR if outcome is Outcome.CORRECTED else 0  # the flat fee
        shares = [left * 3_333 // 10_000, left * 6_666 // 10_000]
        assert [site.money(each)[0] for each in everybody] == [
            had + share for had, share in zip(kept, (left - sum(shares), *shares), strict=True)
        ]
        assert site.code(site.driver, Charging.collect_refund, session_id) == "NO_REFUND"
        assert site.code(ARBITER, Charging.resolve, session_id, outcome, None, "more") == "NOT_DISPUTED"
        assert site.code(ARBITER, Charging.resolve, others, outcome, None, "more") == "NOT_DISPUTED"


class TestDriver:
    """He wants energy for nothing, or his money back twice."""

    def test_a_session_that_its_driver_cancelled_is_to_be_stopped_as_soon_as_it_starts(self, site: Site) -> None:
        """He takes the hold back right before a start that he sees coming: the first reading is too late to learn of it."""
        session_id = site.authorize()
        at_s = site.chain.context.timestamp_ms // 1_000
        site.ok(site.driver, Charging.cancel, session_id)
        receipt = site.ok(site.station, Charging.start, session_id, "tx", 0, at_s)
        assert events_of(receipt) == ["SessionStarted", "StopRequested"]
        [request] = [event for event in receipt.events if event.name == "StopRequested"]
        assert request.fields == (session_id, "LocalOutOfCredit", MOTES_PER_DATR, 0)

    def test_money_comes_back_once_in_whatever_order_it_is_asked_for(self, site: Site) -> None:
        """Overshoot, paid by half, credited in full while the operator is broke, and every call that moves money once more."""
        before = site.money(site.driver)[0]
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 40_000)
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(3 * DATR))
        disputed(site, session_id)
        site.ok(OPERATOR, Asset.transfer, TREASURY.address, Motes(23 * DATR))
        site.resolve(session_id, Outcome.CREDITED)
        assert site.code(site.driver, Charging.pay_debt, session_id, Motes(DATR)) == "NO_DEBT"
        for _ in range(3):
            site.ok(TREASURY, Asset.transfer, OPERATOR.address, Motes(10 * DATR))
            site.chain.send(site.driver, Charging.collect_refund, session_id)
            assert site.code(site.driver, Charging.settle_expired, session_id) == "SESSION_ENDED"
            assert site.code(site.driver, Charging.cancel, session_id) == "ALREADY_STARTED"
            assert site.code(site.driver, Charging.dispute, session_id, "more") == "ALREADY_DISPUTED"
            assert site.code(site.driver, Asset.reclaim, session_id) == "UNKNOWN_HOLD"
            site.stop(session_id, 40_000)
        assert site.wait(RECLAIM_MS) == []
        assert site.money(site.driver) == (before, 0)
        assert site.money(OPERATOR)[0] == (30 - 23) * DATR
        assert (site.session(session_id).paid, site.session(session_id).owed) == (0, 0)

    def test_disputes_keep_money_held_no_longer_than_it_can_be_held(self, site: Site) -> None:
        """One that he opens at the last moment is over a week before he could take the hold back."""
        session_id = site.started()
        site.chain.advance(SESSION_MS - 10_000)
        disputed(site, session_id)
        site.wait(RESOLVE_MS - 10_000)
        assert site.code(site.driver, Asset.reclaim, session_id) == "NOT_YET"
        site.wait(10_000)
        assert site.session(session_id).ended_ms is not None
        assert site.money(OPERATOR)[0] == DATR


class TestStation:
    """Its account signs what it likes."""

    def test_an_invitation_that_was_overtaken_does_not_switch_it_on_again(self, site: Site) -> None:
        """Its operator invited it, then added it without waiting, and switched it off."""
        new = account("new")
        site.ok(OPERATOR, Charging.invite_station, new.address, "X", site.tariff_id, None)
        site.ok(OPERATOR, Charging.add_station, new.address, "X", site.tariff_id, None)
        site.ok(OPERATOR, Charging.switch_station, new.address, False)
        assert site.code(new, Charging.register_station, "X", OPERATOR.address, site.tariff_id) == "NOT_INVITED"
        assert not site.chain.query(Charging.station, new.address).enabled

    def test_one_that_changes_hands_does_not_take_the_sessions_with_it(self, site: Site) -> None:
        """The other operator's arbiter and word are nothing to what was authorized before."""
        other, session_id = account("other"), site.started()
        site.ok(other, Charging.register_operator, "NL*OTH", "Other", other.address, PROVIDER.address)
        site.ok(other, Charging.invite_station, site.station.address, "Z", site.tariff_id, None)
        site.ok(site.station, Charging.register_station, "Z", other.address, site.tariff_id)
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "ARBITER_CHANGED"
        assert site.code(other, Charging.dispute, session_id, "mine") == "NOT_PERMITTED"
        site.stop(session_id, 1_010_000)
        disputed(site, session_id)
        assert site.code(PROVIDER, Charging.resolve, session_id, Outcome.CREDITED, None, "so") == "NOT_PERMITTED"
        site.resolve(session_id, Outcome.CREDITED)
        assert (site.money(OPERATOR), site.money(other)) == ((0, 0), (0, 0))

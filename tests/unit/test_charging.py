"""The charging contract: tariffs, and the flow of a session from its authorization to its settlement.

The harness checks after every block that no money was made or lost, and that the holds are exactly what is held.
"""

from dataclasses import replace

import pytest

from ledger.types import MOTES_PER_DATR, Motes
from tests.charging_site import ARBITER, CHEAP, HEAVY, HELD, HOUR, NOON, OPERATOR, TERMS, UNKNOWN, Site, events_of, site_with
from tests.vm_harness import account
from vm.contracts.asset import Asset
from vm.contracts.charging import Charging
from vm.contracts.charging_parties import Station
from vm.contracts.charging_records import CdrKind
from vm.contracts.charging_types import CLOCK_TOLERANCE_MS, SESSION_MS, LimitTerms, SessionStatus, Stop, TariffTerms
from vm.errors import ContractError
from vm.pricing import ChargingPeriod, price_session
from vm.tariff import parse_tariff


@pytest.fixture
def site() -> Site:
    return site_with(TERMS)


class TestTariffs:
    def test_terms_are_the_tariffs_own_canonical_form(self) -> None:
        tariff = parse_tariff('{"elements": [{"price_components": [{"type": "TIME", "price": 1.5, "vat": 7, "step_size": 9}]}],'
                              ' "min_price": {"excl_vat": 1, "incl_vat": 2}, "max_price": {"excl_vat": 5}}')  # fmt: skip
        assert TariffTerms.of(tariff).to_price_with() == tariff

    def test_publishing_twice_is_publishing_once(self, site: Site) -> None:
        again = site.ok(OPERATOR, Charging.publish_tariff, TERMS)
        assert again.results == (site.tariff_id,)
        assert again.events == ()
        assert site.chain.query(Charging.tariff, site.tariff_id) == TERMS

    def test_the_id_names_every_term(self) -> None:
        assert len({TERMS.tariff_id(), CHEAP.tariff_id(), replace(TERMS, preauthorize=Motes(1)).tariff_id()}) == 3

    @pytest.mark.parametrize(
        "terms",
        [
            replace(TERMS, preauthorize=None),
            replace(TERMS, preauthorize=Motes(0)),
            replace(TERMS, min_price=LimitTerms(9, 8)),
            replace(TERMS, min_price=LimitTerms(9, None), max_price=LimitTerms(8, None)),
            replace(TERMS, elements=(replace(TERMS.elements[0], components=TERMS.elements[0].components[:1] * 2),)),
        ],
    )
    def test_terms_that_cannot_be_used_are_refused(self, site: Site, terms: TariffTerms) -> None:
        assert site.code(OPERATOR, Charging.publish_tariff, terms) == "BAD_TARIFF"

    def test_a_label_in_any_script_is_only_a_label(self, site: Site) -> None:
        """Which letters are printable differs between Python versions, so execution must not ask."""
        site.ok(OPERATOR, Charging.publish_tariff, replace(TERMS, label="Zürich \u0870\U000e0001"))

    def test_only_the_operator_sets_a_stations_tariff(self, site: Site) -> None:
        site.ok(OPERATOR, Charging.publish_tariff, CHEAP)
        assert site.code(site.station, Charging.set_tariff, site.station.address, CHEAP.tariff_id()) == "NOT_PERMITTED"
        assert site.code(OPERATOR, Charging.set_tariff, OPERATOR.address, CHEAP.tariff_id()) == "UNKNOWN_STATION"
        assert site.code(OPERATOR, Charging.set_tariff, site.station.address, UNKNOWN) == "UNKNOWN_TARIFF"
        site.ok(OPERATOR, Charging.set_tariff, site.station.address, CHEAP.tariff_id())
        expected = Station("DE*DTC*E1", OPERATOR.address, CHEAP.tariff_id())
        assert site.chain.query(Charging.station, site.station.address) == expected

    def test_pricing_with_the_flattened_tariff_is_pricing_with_the_published_one(self) -> None:
        """The first component of each dimension counts, wherever it stands, and the limits stay."""
        first, second = HEAVY.elements[0], replace(TERMS.elements[0], components=TERMS.elements[0].components[2:])
        terms = replace(HEAVY, elements=(second, first), min_price=LimitTerms(70_000, None))
        flat = terms.flattened()
        assert (flat.component_count, terms.component_count) == (4, 6)
        period = ChargingPeriod(12_345, 777, 1_234)
        assert price_session(flat.to_price_with(), (period,)) == price_session(terms.to_price_with(), (period,))


class TestFlow:
    def test_a_session_from_authorization_to_settlement(self, site: Site) -> None:
        """FLAT 1 + 10 kWh at 0.50 with 20 % VAT = 6.00 + 1 h at 2 + 1 h parked at 6 = 15.00 of 20 held."""
        before = site.money(site.driver)[0]
        session_id = site.authorize()
        assert site.money(site.driver) == (before - HELD, HELD)
        assert site.session(session_id).status is SessionStatus.PENDING
        site.ok(site.station, Charging.start, session_id, "tx-1", 1_000_000, NOON)
        site.ok(site.station, Charging.meter, session_id, 1, 1_005_000, NOON + HOUR // 2, True)
        receipt = site.stop(session_id, 1_010_000, hours=2, charged=1)

        cost = 15 * MOTES_PER_DATR
        assert site.money(site.driver) == (before - cost, 0)
        assert site.money(OPERATOR) == (cost, 0)
        cdr = site.cdr(session_id)
        assert (cdr.energy_wh, cdr.charging_s, cdr.parking_s) == (10_000, HOUR, HOUR)
        assert (cdr.total_excl_vat, cdr.total_vat, cdr.total_incl_vat) == (14 * MOTES_PER_DATR, MOTES_PER_DATR, cost)
        assert (cdr.held, cdr.paid, cdr.released, cdr.debt) == (HELD, cost, HELD - cost, 0)
        assert [(line.dimension.value, line.quantity) for line in cdr.lines] == [
            ("FLAT", 1), ("ENERGY", 10_000), ("TIME", HOUR), ("PARKING_TIME", HOUR)
        ]  # fmt: skip
        assert cdr.stop == Stop(1_010_000, NOON + 2 * HOUR, NOON + HOUR, "Local", 0)
        assert cdr.flags == ()
        assert (cdr.number, cdr.session_id, cdr.kind, cdr.refers_to) == (1, session_id, CdrKind.CHARGE, None)
        assert (cdr.operator, cdr.operator_id, cdr.station_id) == (OPERATOR.address, "DE*DTC", "DE*DTC*E1")
        assert events_of(receipt) == ["Captured", "Released", "SessionCompleted"]
        assert site.session(session_id).status is SessionStatus.COMPLETED

    def test_the_tariff_the_driver_agreed_to_is_frozen(self, site: Site) -> None:
        first, second = site.started(), site.authorize()
        site.ok(OPERATOR, Charging.publish_tariff, CHEAP)
        site.ok(OPERATOR, Charging.set_tariff, site.station.address, CHEAP.tariff_id())
        site.ok(site.station, Charging.start, second, "tx-2", 0, NOON)
        site.stop(first, 1_010_000)
        site.stop(second, 10_000)
        assert {site.cdr(each).tariff_id for each in (first, second)} == {site.tariff_id}
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "TARIFF_CHANGED"

    def test_the_arbiter_the_driver_was_shown_is_agreed_too(self, site: Site) -> None:
        session_id = site.authorize()
        other = account("other arbiter")
        site.ok(OPERATOR, Charging.change_operator, "City", OPERATOR.address, other.address)
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "ARBITER_CHANGED"
        assert site.session(session_id).arbiter == ARBITER.address
        terms = site.station.address, site.tariff_id, other.address, None
        for party in (other, site.station):
            site.ok(site.driver, Asset.transfer, party.address, Motes(HELD))
        assert site.code(other, Charging.authorize, *terms) == "BAD_ARBITER", "nobody decides his own case"
        site.ok(site.station, Charging.authorize, *terms)

    def test_who_may_do_what(self, site: Site) -> None:
        session_id = site.authorize()
        assert site.code(site.driver, Charging.start, session_id, "tx", 0, NOON) == "NOT_PERMITTED"
        site.ok(site.station, Charging.start, session_id, "tx", 0, NOON)
        assert site.code(site.driver, Charging.meter, session_id, 1, 0, NOON, True) == "NOT_PERMITTED"
        assert site.code(site.driver, Charging.stop, session_id, 0, NOON, NOON, "", 0) == "UNKNOWN_STATION"
        assert site.code(site.driver, Charging.authorize, OPERATOR.address, *site.agreed()[1:]) == "UNKNOWN_STATION"

    def test_without_the_money_there_is_no_session(self, site: Site) -> None:
        poor = site.chain.account("poor", HELD - 1)
        assert site.code(poor, Charging.authorize, *site.agreed()) == "INSUFFICIENT_FUNDS"

    def test_reports_out_of_their_place_are_refused_with_a_reason(self, site: Site) -> None:
        session_id = site.authorize()
        assert site.code(site.station, Charging.meter, session_id, 1, 0, NOON, True) == "NOT_STARTED"
        assert site.code(site.station, Charging.stop, session_id, 0, NOON, NOON, "", 0) == "NOT_STARTED"
        assert site.code(site.station, Charging.start, UNKNOWN, "tx", 0, NOON) == "UNKNOWN_SESSION"
        assert site.code(site.station, Charging.meter, UNKNOWN, 1, 0, NOON, True) == "UNKNOWN_SESSION"

    def test_an_operators_records_are_numbered_without_a_gap(self, site: Site) -> None:
        ids = [site.settled(1_000_000 + number) for number in range(3)]
        site.ok(site.driver, Charging.cancel, site.authorize())
        ids.append(site.settled())
        listed = site.chain.query(Charging.cdrs_of, OPERATOR.address, 2)
        assert [(cdr.number, cdr.session_id) for cdr in listed] == list(enumerate(ids, 1))[1:]
        assert site.chain.query(Charging.cdrs_of, OPERATOR.address, 5) == ()

    def test_reads_of_what_is_not_there_say_so(self, site: Site) -> None:
        for method in (Charging.session, Charging.cdr, Charging.cdrs, Charging.tariff, Charging.split, Charging.dispute_of):
            with pytest.raises(ContractError):
                site.chain.query(method, UNKNOWN)
        with pytest.raises(ContractError, match="no such charge detail record"):
            site.chain.query(Charging.cdr, site.authorize())
        assert site.chain.query(Charging.debt, site.driver.address) == 0


class TestCancel:
    @pytest.mark.parametrize("by_station", [True, False])
    def test_an_authorization_that_never_started_is_released(self, site: Site, by_station: bool) -> None:
        before = site.money(site.driver)
        session_id = site.authorize()
        site.ok(site.station if by_station else site.driver, Charging.cancel, session_id)
        assert site.money(site.driver) == before
        assert site.session(session_id).status is SessionStatus.INVALID
        assert site.code(site.station, Charging.start, session_id, "tx", 0, NOON) == "SESSION_ENDED"
        assert site.code(site.station, Charging.meter, session_id, 1, 0, NOON, True) == "SESSION_ENDED"
        assert site.ok(site.driver, Charging.cancel, session_id).events == ()

    def test_nobody_else_and_not_after_the_start(self, site: Site) -> None:
        session_id = site.started()
        assert site.code(OPERATOR, Charging.cancel, session_id) == "NOT_PERMITTED"
        assert site.code(site.driver, Charging.cancel, session_id) == "ALREADY_STARTED"


class TestLateStartAfterCancel:
    """A driver who cancels while a station is offline does not charge for nothing."""

    def cancelled(self, site: Site, minutes: int = 60) -> tuple[bytes, int, int]:
        """Return a session, and when it was authorized and cancelled, in seconds."""
        session_id = site.authorize()
        authorized_s = site.chain.context.timestamp_ms // 1_000 - 1
        site.chain.advance(minutes * 60_000)
        cancelled_s = site.chain.context.timestamp_ms // 1_000
        site.ok(site.driver, Charging.cancel, session_id)
        return session_id, authorized_s, cancelled_s

    def test_what_began_before_the_cancel_is_billed_as_a_debt(self, site: Site) -> None:
        before = site.money(site.driver)
        session_id, start_s, _ = self.cancelled(site)
        assert site.money(site.driver) == before, "the hold is released at once"
        site.ok(site.station, Charging.start, session_id, "tx-1", 0, start_s)
        receipt = site.ok(site.station, Charging.meter, session_id, 1, 5_000, start_s + 1_800, True)
        assert events_of(receipt) == ["SessionUpdated", "StopRequested"], "nothing is held any more"
        site.ok(site.station, Charging.stop, session_id, 10_000, start_s + HOUR, start_s + HOUR, "Local", 0)
        cdr = site.cdr(session_id)
        assert (cdr.total_incl_vat, cdr.debt) == (9 * MOTES_PER_DATR, 9 * MOTES_PER_DATR)
        assert (cdr.held, cdr.paid, cdr.released) == (HELD, 0, HELD)
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "DRIVER_IN_DEBT"
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(9 * MOTES_PER_DATR))
        assert site.money(OPERATOR) == (9 * MOTES_PER_DATR, 0)

    def test_only_between_the_authorization_and_the_cancel(self, site: Site) -> None:
        session_id, authorized_s, cancelled_s = self.cancelled(site)
        earliest = authorized_s - CLOCK_TOLERANCE_MS // 1_000
        for at_s in (earliest - 1, cancelled_s + 1, NOON):
            assert site.code(site.station, Charging.start, session_id, "tx", 0, at_s) == "SESSION_ENDED"
        site.ok(site.station, Charging.start, session_id, "tx", 0, cancelled_s)
        other, authorized_s, _ = self.cancelled(site)
        site.ok(site.station, Charging.start, other, "tx", 0, authorized_s - CLOCK_TOLERANCE_MS // 1_000)

    def test_not_after_the_deadline_nor_against_the_stations_own_word(self, site: Site) -> None:
        late, start_s, _ = self.cancelled(site)
        denied, denied_s, _ = self.cancelled(site)
        site.ok(site.station, Charging.cancel, denied)
        assert site.code(site.station, Charging.start, denied, "tx", 0, denied_s) == "SESSION_ENDED"
        assert events_of(site.ok(site.station, Charging.stop, denied, 5, denied_s, denied_s, "", 0)) == ["StopQuarantined"]
        site.chain.advance(SESSION_MS)
        assert site.code(site.station, Charging.start, late, "tx", 0, start_s) == "SESSION_ENDED"
        assert events_of(site.ok(site.station, Charging.stop, late, 5, start_s, start_s, "", 0)) == ["StopQuarantined"]

    def test_reports_that_overtook_the_start_are_repeated_not_lost(self, site: Site) -> None:
        session_id, start_s, end_s = self.cancelled(site)
        stop = (session_id, 10_000, end_s, end_s, "Local", 0)
        assert site.code(site.station, Charging.meter, session_id, 1, 5_000, start_s, True) == "NOT_STARTED"
        assert site.code(site.station, Charging.stop, *stop) == "NOT_STARTED"
        site.ok(site.station, Charging.start, session_id, "tx", 0, start_s)
        assert events_of(site.ok(site.station, Charging.stop, *stop)) == ["SessionCompleted"]

    def test_one_that_is_never_stopped_is_settled_at_the_deadline(self, site: Site) -> None:
        session_id, start_s, _ = self.cancelled(site)
        site.ok(site.station, Charging.start, session_id, "tx", 0, start_s)
        site.wait(SESSION_MS)
        assert site.cdr(session_id).debt == MOTES_PER_DATR

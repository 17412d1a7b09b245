"""The charging contract's operators: who may register what, stations that come, go and change hands, and splits of the money."""

from itertools import product

import pytest

from ledger.policy import contract_address
from ledger.types import MOTES_PER_DATR, Address, Motes
from tests.charging_site import ARBITER, HELD, NOON, OPERATOR, TERMS, UNKNOWN, Site, site_with
from tests.vm_harness import account
from vm.context import NOBODY
from vm.contracts.asset import Asset
from vm.contracts.charging import NAME, Charging
from vm.contracts.charging_operators import REFUNDS
from vm.contracts.charging_parties import Operator, Share, portions, returns
from vm.contracts.charging_records import Part

PROVIDER, SUPPLIER, OTHER = account("provider"), account("supplier"), account("other operator")


@pytest.fixture
def site() -> Site:
    return site_with(TERMS, {"NL*OTH": OTHER})


class TestOperators:
    def test_an_operator_is_found_by_its_account_and_by_its_id(self, site: Site) -> None:
        expected = Operator("DE*DTC", "operator", OPERATOR.address, ARBITER.address)
        assert site.chain.query(Charging.operator, OPERATOR.address) == expected
        assert site.chain.query(Charging.operator_account, "DE*DTC") == OPERATOR.address

    @pytest.mark.parametrize("operator_id", ["de*dtc", "DE-DTC", "DE*DT!", "D3*DTC", "DE*DT\u0663"])
    def test_an_id_is_a_country_and_a_party(self, site: Site, operator_id: str) -> None:
        args = (operator_id, "x", OPERATOR.address, ARBITER.address)
        assert site.code(site.driver, Charging.register_operator, *args) == "BAD_OPERATOR_ID"

    def test_ids_and_accounts_are_registered_once(self, site: Site) -> None:
        args = ("x", OPERATOR.address, ARBITER.address)
        assert site.code(OPERATOR, Charging.register_operator, "DE*NEW", *args) == "OPERATOR_EXISTS"
        assert site.code(site.driver, Charging.register_operator, "DE*DTC", *args) == "OPERATOR_ID_TAKEN"
        assert site.code(site.driver, Charging.change_operator, *args) == "UNKNOWN_OPERATOR"

    @pytest.mark.parametrize("payout", [contract_address(NAME), NOBODY], ids=["contract", "zeros"])
    def test_an_operator_can_spend_what_he_earns(self, site: Site, payout: Address) -> None:
        args = ("DE*NEW", "x", payout, ARBITER.address)
        assert site.code(site.driver, Charging.register_operator, *args) == "BAD_RECIPIENT"
        assert site.code(OPERATOR, Charging.change_operator, "x", payout, ARBITER.address) == "BAD_RECIPIENT"
        station = (site.driver.address, "X", site.tariff_id, payout)
        assert site.code(OPERATOR, Charging.add_station, *station) == "BAD_RECIPIENT"
        assert site.code(OPERATOR, Charging.invite_station, *station) == "BAD_RECIPIENT"

    @pytest.mark.parametrize("arbiter", [contract_address(NAME), NOBODY, OPERATOR.address, SUPPLIER.address])
    def test_an_arbiter_can_sign_and_is_not_the_operator(self, site: Site, arbiter: Address) -> None:
        assert site.code(OPERATOR, Charging.change_operator, "x", SUPPLIER.address, arbiter) == "BAD_ARBITER"

    def test_what_was_authorized_before_a_change_is_paid_as_it_was_agreed(self, site: Site) -> None:
        session_id = site.started()
        site.ok(OPERATOR, Charging.change_operator, "City", OTHER.address, ARBITER.address)
        later = site.started()
        site.stop(session_id, 1_010_000)
        site.stop(later, 1_010_000)
        assert site.money(OPERATOR) == site.money(OTHER) == (9 * MOTES_PER_DATR, 0)

    def test_refunds_and_nothing_else_can_be_drawn_from_an_operators_account(self, site: Site) -> None:
        granted = site.ok(account("third"), Charging.register_operator, "NL*NEW", "x", OTHER.address, ARBITER.address)
        [event] = [event for event in granted.events if event.name == "Granted"]
        mandate = site.chain.query(Asset.get_mandate, event.fields[0])
        assert (mandate.owner, mandate.holder, mandate.purpose) == (account("third").address, contract_address(NAME), REFUNDS)


class TestStations:
    def test_only_a_registered_operator_registers_stations(self, site: Site) -> None:
        args = (account("new").address, "X", site.tariff_id, None)
        assert site.code(site.driver, Charging.add_station, *args) == "UNKNOWN_OPERATOR"
        assert site.code(site.driver, Charging.invite_station, *args) == "UNKNOWN_OPERATOR"
        assert site.code(OPERATOR, Charging.add_station, site.station.address, *args[1:]) == "STATION_EXISTS"
        assert site.code(OPERATOR, Charging.add_station, args[0], "X", UNKNOWN, None) == "UNKNOWN_TARIFF"

    def test_a_station_registers_itself_only_as_it_was_invited_and_once(self, site: Site) -> None:
        new = account("new")
        assert site.code(new, Charging.register_station, "X", OPERATOR.address, site.tariff_id) == "NOT_INVITED"
        site.ok(OPERATOR, Charging.invite_station, new.address, "X", site.tariff_id, OTHER.address)
        for args in (
            ("Y", OPERATOR.address, site.tariff_id),
            ("X", OPERATOR.address, UNKNOWN),
            ("X", OTHER.address, site.tariff_id),
        ):
            assert site.code(new, Charging.register_station, *args) == "NOT_INVITED"
        assert site.code(site.driver, Charging.register_station, "X", OPERATOR.address, site.tariff_id) == "NOT_INVITED"
        site.ok(new, Charging.register_station, "X", OPERATOR.address, site.tariff_id)
        assert site.chain.query(Charging.station, new.address).payout == OTHER.address
        assert site.code(new, Charging.register_station, "X", OPERATOR.address, site.tariff_id) == "NOT_INVITED"

    def test_whoever_takes_a_strangers_account_for_a_station_does_not_keep_it(self, site: Site) -> None:
        """An operator needs no word of the account, so the account's own word with another operator's counts more."""
        new = account("new")
        site.ok(OTHER, Charging.add_station, new.address, "squat", site.tariff_id, None)
        site.ok(OPERATOR, Charging.invite_station, new.address, "X", site.tariff_id, None)
        site.ok(new, Charging.register_station, "X", OPERATOR.address, site.tariff_id)
        assert site.chain.query(Charging.station, new.address).operator == OPERATOR.address
        assert site.code(OTHER, Charging.set_tariff, new.address, site.tariff_id) == "NOT_PERMITTED"

    def test_a_station_switched_off_takes_no_new_sessions_and_ends_those_it_has(self, site: Site) -> None:
        waiting, running = site.authorize(), site.started()
        assert site.code(OTHER, Charging.switch_station, site.station.address, False) == "NOT_PERMITTED"
        site.ok(OPERATOR, Charging.switch_station, site.station.address, False)
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "STATION_DISABLED"
        site.ok(site.station, Charging.start, waiting, "tx-2", 0, NOON)
        site.stop(running, 1_010_000)
        site.ok(OPERATOR, Charging.switch_station, site.station.address, True)
        site.authorize()

    def test_a_station_may_have_a_payout_account_of_its_own(self, site: Site) -> None:
        site.station = account("hosted")
        site.ok(OPERATOR, Charging.add_station, site.station.address, "X", site.tariff_id, SUPPLIER.address)
        site.settled()
        assert (site.money(SUPPLIER), site.money(OPERATOR)) == ((9 * MOTES_PER_DATR, 0), (0, 0))


class TestSplits:
    def split_site(self, site: Site, *shares_e4: int) -> bytes:
        site.provider = PROVIDER
        supplier = (SUPPLIER, shares_e4[1]) if len(shares_e4) > 1 else (None, 0)
        return site.agree_split(PROVIDER, shares_e4[0], *supplier)

    def earned(self, site: Site) -> tuple[int, ...]:
        return tuple(site.money(who)[0] for who in (OPERATOR, PROVIDER, SUPPLIER))

    def test_the_money_is_divided_and_the_rest_is_the_operators(self, site: Site) -> None:
        """9.00 with 12.34 % for the provider and 7.77 % for the supplier."""
        self.split_site(site, 1_234, 777)
        session_id = site.settled()
        cost = 9 * MOTES_PER_DATR
        provider, supplier = cost * 1_234 // 10_000, cost * 777 // 10_000
        assert self.earned(site) == (cost - provider - supplier, provider, supplier)
        cdr = site.cdr(session_id)
        assert cdr.provider == PROVIDER.address
        assert cdr.parts == tuple(Part(who.address, site.money(who)[0]) for who in (OPERATOR, PROVIDER, SUPPLIER))

    def test_a_debt_that_is_paid_later_is_divided_too(self, site: Site) -> None:
        """27 of 20: what partners have in the end is their share of the sum."""
        self.split_site(site, 3_333)
        session_id = site.started(meter_wh=0)
        site.stop(session_id, 40_000)
        assert self.earned(site)[1] == HELD * 3_333 // 10_000
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(1))
        site.ok(site.driver, Charging.pay_debt, session_id, Motes(7 * MOTES_PER_DATR - 1))
        share = 27 * MOTES_PER_DATR * 3_333 // 10_000
        assert self.earned(site) == (27 * MOTES_PER_DATR - share, share, 0)

    def test_without_an_agreed_split_the_operator_receives_all(self, site: Site) -> None:
        site.provider = PROVIDER
        [split_id] = site.ok(OPERATOR, Charging.publish_split, Share(PROVIDER.address, 5_000), None).results
        first = site.settled()
        site.ok(PROVIDER, Charging.accept_split, split_id)
        site.provider = None
        site.settled()
        assert self.earned(site) == (18 * MOTES_PER_DATR, 0, 0)
        assert (site.session(first).provider, site.session(first).split_id) == (PROVIDER.address, None)

    def test_every_partner_must_accept(self, site: Site) -> None:
        shares = Share(PROVIDER.address, 5_000), Share(SUPPLIER.address, 5_000)
        [split_id] = site.ok(OPERATOR, Charging.publish_split, *shares).results
        assert site.code(OTHER, Charging.accept_split, split_id) == "NOT_PERMITTED"
        site.ok(PROVIDER, Charging.accept_split, split_id)
        assert site.code(PROVIDER, Charging.accept_split, split_id) == "ALREADY_ACCEPTED"
        assert site.chain.query(Charging.split_in_force, OPERATOR.address, PROVIDER.address) is None
        site.ok(SUPPLIER, Charging.accept_split, split_id)
        assert site.chain.query(Charging.split_in_force, OPERATOR.address, PROVIDER.address) == split_id
        site.provider = PROVIDER
        site.settled()
        assert self.earned(site) == (0, 45 * MOTES_PER_DATR // 10, 45 * MOTES_PER_DATR // 10), "the operator keeps what is left"

    def test_a_split_that_ended_still_pays_what_was_authorized_under_it(self, site: Site) -> None:
        split_id = self.split_site(site, 5_000)
        session_id = site.started()
        assert site.code(site.driver, Charging.end_split, split_id) == "NOT_PERMITTED"
        site.ok(PROVIDER, Charging.end_split, split_id)
        assert site.code(OPERATOR, Charging.end_split, split_id) == "SPLIT_ENDED"
        assert site.code(PROVIDER, Charging.accept_split, split_id) == "SPLIT_ENDED"
        site.stop(session_id, 1_010_000)
        assert self.earned(site)[1] == 45 * MOTES_PER_DATR // 10
        site.settled()
        assert self.earned(site)[1] == 45 * MOTES_PER_DATR // 10

    def test_a_new_split_replaces_the_old_for_what_comes_and_ending_the_old_changes_nothing(self, site: Site) -> None:
        old = self.split_site(site, 5_000)
        new = self.split_site(site, 1_000)
        assert site.chain.query(Charging.split, old).ended
        assert site.code(OPERATOR, Charging.end_split, old) == "SPLIT_ENDED"
        assert site.chain.query(Charging.split_in_force, OPERATOR.address, PROVIDER.address) == new

    def test_an_older_offer_never_replaces_a_newer_one(self, site: Site) -> None:
        """The supplier alone would take nearly all that the provider's drivers pay."""
        offers = (Share(PROVIDER.address, 100), Share(SUPPLIER.address, 9_000)), (Share(PROVIDER.address, 500), None)
        (old,), (new,) = (site.ok(OPERATOR, Charging.publish_split, *offer).results for offer in offers)
        for split_id in (old, new):
            site.ok(PROVIDER, Charging.accept_split, split_id)
        assert site.code(SUPPLIER, Charging.accept_split, old) == "SPLIT_ENDED"
        assert site.chain.query(Charging.split_in_force, OPERATOR.address, PROVIDER.address) == new
        assert [site.chain.query(Charging.split, each).ended for each in (old, new)] == [True, False]
        site.ok(PROVIDER, Charging.end_split, new)
        assert site.code(SUPPLIER, Charging.accept_split, old) == "SPLIT_ENDED", "also when the newer one is over"

    def test_an_offer_may_be_accepted_while_a_newer_one_is_not(self, site: Site) -> None:
        old, new = (site.ok(OPERATOR, Charging.publish_split, Share(PROVIDER.address, e4), None).results[0] for e4 in (100, 500))
        other = site.ok(OPERATOR, Charging.publish_split, Share(SUPPLIER.address, 1), None).results[0]
        for partner, split_id in ((PROVIDER, old), (PROVIDER, new), (SUPPLIER, other)):
            site.ok(partner, Charging.accept_split, split_id)
            in_force = site.chain.query(Charging.split_in_force, OPERATOR.address, partner.address)
            assert in_force == split_id

    def test_each_operator_has_its_own(self, site: Site) -> None:
        self.split_site(site, 5_000)
        site.station = account("station of the other")
        site.ok(OTHER, Charging.add_station, site.station.address, "X", site.tariff_id, None)
        site.settled()
        assert (site.money(OTHER)[0], site.money(PROVIDER)[0]) == (9 * MOTES_PER_DATR, 0)

    def test_shares_that_cannot_be_are_refused(self, site: Site) -> None:
        one = Share(PROVIDER.address, 5_001)
        bad = [(one, Share(SUPPLIER.address, 5_000)), (one, Share(PROVIDER.address, 1)), (Share(OPERATOR.address, 1), None)]
        for shares in bad:
            assert site.code(OPERATOR, Charging.publish_split, *shares) == "BAD_SPLIT"
        assert site.code(OPERATOR, Charging.publish_split, Share(NOBODY, 1), None) == "BAD_RECIPIENT"
        assert site.code(site.driver, Charging.publish_split, one, None) == "UNKNOWN_OPERATOR"
        assert site.code(PROVIDER, Charging.accept_split, UNKNOWN) == "UNKNOWN_SPLIT"
        assert site.code(OPERATOR, Charging.end_split, UNKNOWN) == "UNKNOWN_SPLIT"

    def test_an_arbiter_who_is_a_partner_does_not_judge(self, site: Site) -> None:
        site.provider = ARBITER
        site.agree_split(ARBITER, 1)
        assert site.code(site.driver, Charging.authorize, *site.agreed()) == "BAD_ARBITER"

    def test_what_partners_keep_is_their_share_of_what_is_kept(self) -> None:
        """Of 11 motes a third were 3; of the 5 that stay it is 1, so 2 of the 6 come from the partner."""
        partners = [Share(PROVIDER.address, 3_333)]
        assert portions(11, 0, partners, [0]) == [3]
        assert returns(6, 5, partners, [3]) == [2]

    def test_to_the_mote_however_it_is_paid_and_given_back(self) -> None:
        """All small amounts: parts are never negative, never more than there is, and end at each partner's share."""
        partners = [Share(PROVIDER.address, 5_001), Share(SUPPLIER.address, 4_998)]
        for first, second, kept in product(range(12), range(1, 12), range(12)):
            received = [0, 0]
            for amount, paid in ((first, 0), (second, first)):
                parts = portions(amount, paid, partners, received)
                assert min(parts) >= 0
                assert sum(parts) <= amount
                received = [had + part for had, part in zip(received, parts, strict=True)]
            total = first + second
            if kept <= total:
                back = returns(total - kept, kept, partners, received)
                assert min(back) >= 0
                assert sum(back) <= total - kept
                assert all(part <= had for part, had in zip(back, received, strict=True))
                assert total - kept - sum(back) <= total - sum(received), "the operator has what it gives back"


def test_an_operator_may_drive_too_and_a_station_may_be_its_own_operator(site: Site) -> None:
    own = account("own")
    site.ok(site.driver, Asset.transfer, own.address, Motes(HELD))
    site.ok(own, Charging.register_operator, "FR*OWN", "own", own.address, ARBITER.address)
    site.ok(own, Charging.add_station, own.address, "own", site.tariff_id, None)
    site.station = own
    site.stop(site.started(driver=own), 1_010_000)
    assert site.money(own) == (HELD, 0)

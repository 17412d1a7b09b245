"""A station's reports arrive in any order, some of them twice: what a session costs is what it costs with all of them in order.

The end among them, and whatever the readings say: several of one second, a meter or a clock that goes back.
"""

import json
from typing import Any, NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Status
from ledger.transaction import Call
from ledger.types import MOTES_PER_DATR
from tests.charging_site import Site, site_with
from tests.property.test_session_pricing import SATURDAY_NIGHT, tariffs
from vm.contracts.charging import Charging
from vm.contracts.charging_pricing import Charge, Pricer
from vm.contracts.charging_records import Cdr
from vm.contracts.charging_settlement import Settlement
from vm.contracts.charging_types import SESSION_MS, Session, SessionStatus, TariffTerms
from vm.tariff import parse_tariff

START_WH = 1_000_000
STOP = 0
"""The number of the end among the reports; readings count from 1."""

seconds = st.one_of(st.just(0), st.integers(0, 400), st.integers(-60, 400))
energy_wh = st.one_of(st.just(0), st.integers(0, 400), st.integers(-60, 400))
steps = st.lists(st.tuples(seconds, energy_wh, st.booleans()), min_size=1, max_size=12)


class Reported(NamedTuple):
    """What a station says at a moment."""

    at_s: int
    meter_wh: int
    charging: bool


def site_of(document: Any) -> Site:
    site = site_with(TariffTerms.of(parse_tariff(json.dumps({**document, "preauthorize_amount": 1})), 60))
    site.chain.advance(SATURDAY_NIGHT * 1_000 + SESSION_MS // 2 - site.chain.context.timestamp_ms)
    return site


def reports_of(found: list[tuple[int, int, bool]], end: tuple[int, int, bool]) -> dict[int, Reported]:
    """Return what a station reports, by number: each so many seconds and Wh after the one before; the end is the last."""
    at_s, meter_wh, reports = SATURDAY_NIGHT, START_WH, {}
    for number, (seconds, energy_wh, charging) in enumerate([*found, end], 1):
        at_s, meter_wh = at_s + seconds, meter_wh + energy_wh
        reports[number % (len(found) + 1)] = Reported(at_s, meter_wh, charging)
    return reports


def calls_of(site: Site, session_id: bytes, reports: dict[int, Reported]) -> dict[int, Call]:
    """Return the station's calls, by number."""
    end = reports[STOP]
    charging_end_s = end.at_s - (0 if end.charging else 60)
    stop = site.chain.call(Charging.stop, session_id, end.meter_wh, end.at_s, charging_end_s, "Local", len(reports) - 1)
    readings = {number: (each.meter_wh, each.at_s, each.charging) for number, each in reports.items() if number != STOP}
    return {STOP: stop} | {
        number: site.chain.call(Charging.meter, session_id, number, *each) for number, each in readings.items()
    }


def play(site: Site, driver: str, reports: dict[int, Reported], order: list[int]) -> bytes:
    """Report a driver's session in this order, all in one block, which whoever proposes it orders; nothing is refused."""
    session_id = site.authorize(site.chain.account(driver, MOTES_PER_DATR))
    site.ok(site.station, Charging.start, session_id, "tx", START_WH, SATURDAY_NIGHT)
    calls = calls_of(site, session_id, reports)
    receipts = site.chain.block(
        *(site.chain.transaction(site.station, calls[each], gas_limit=5_000_000) for each in order)
    ).receipts
    assert {receipt.status for receipt in receipts} <= {Status.SUCCEEDED}, [receipt.error for receipt in receipts]
    return session_id


def bill(site: Site, session_id: bytes) -> tuple[Any, ...]:
    """Return all that a record says of what was used and what it costs."""
    cdr: Cdr = site.cdr(session_id)
    used = cdr.energy_wh, cdr.charging_s, cdr.parking_s, cdr.end_s, cdr.stop
    return *used, cdr.lines, cdr.total_excl_vat, cdr.total_vat, cdr.total_incl_vat, cdr.flags


@settings(max_examples=60, deadline=None)
@given(tariffs, steps, st.tuples(seconds, energy_wh, st.booleans()), st.data())
def test_reports_in_any_order_cost_what_they_cost_in_order(document: Any, found: Any, end: Any, data: st.DataObject) -> None:
    site, reports = site_of(document), reports_of(found, end)
    in_order = [*range(1, len(reports)), STOP]
    again = data.draw(st.lists(st.sampled_from(in_order), max_size=4))
    shuffled = data.draw(st.permutations([*in_order, *again]))
    one, other = play(site, "ann", reports, shuffled), play(site, "ben", reports, in_order)
    assert bill(site, one) == bill(site, other)


@settings(max_examples=30, deadline=None)
@given(tariffs, steps, st.tuples(seconds, energy_wh, st.booleans()), st.data())
def test_so_do_those_of_which_some_never_arrive_at_the_deadline(document: Any, found: Any, end: Any, data: st.DataObject) -> None:
    """With the end among those that do, or not."""
    site, reports = site_of(document), reports_of(found, end)
    arrive = sorted(data.draw(st.sets(st.sampled_from(sorted(reports)), max_size=len(reports) - 1)))
    shuffled = data.draw(st.permutations(arrive))
    played = play(site, "ann", reports, shuffled), play(site, "ben", reports, arrive)
    site.wait(SESSION_MS)
    assert {site.session(each).status for each in played} == {SessionStatus.COMPLETED}
    assert bill(site, played[0]) == bill(site, played[1])


def one_reading_a_call(settlement: Settlement, session: Session, charge: Charge, follow_gas: int = 0) -> Pricer:
    """What `Settlement._pricer` returns where each reading that waited is as much as a call can take."""
    return Pricer(settlement.prices[session.tariff_id], charge, min(follow_gas, 0))


@settings(max_examples=40, deadline=None)
@given(tariffs, steps, st.tuples(seconds, energy_wh, st.booleans()), st.data())
def test_so_do_those_that_are_too_many_for_one_call(document: Any, found: Any, end: Any, data: st.DataObject) -> None:
    """However far each call comes; some may be missing until the deadline. The calendar goes on by itself."""
    site, reports = site_of(document), reports_of(found, end)
    never = data.draw(st.sets(st.sampled_from(sorted(reports)), max_size=1))
    arrive = sorted(set(reports) - never)
    in_order = play(site, "ben", reports, arrive)
    shuffled = data.draw(st.permutations([*arrive, *data.draw(st.lists(st.sampled_from(arrive), max_size=4))]))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(Settlement, "_pricer", one_reading_a_call)
        by_and_by = play(site, "ann", reports, shuffled)
        site.wait(SESSION_MS if never else 1)
        for _ in reports:
            site.wait(1)
    assert {site.session(each).status for each in (in_order, by_and_by)} == {SessionStatus.COMPLETED}
    assert bill(site, by_and_by) == bill(site, in_order)

"""Real sessions under the example's time-of-use tariff, played through the contract itself: exact to the mote, split or not.

Step sizes, an idle fee and VAT, by the site's own clock. What each session costs is worked out by `tests.time_of_use_bill`.
"""

import csv
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from datacar.sessions_file import RealSession, read_sessions
from ledger.block import Receipt, Status
from ledger.transaction import Call
from ledger.types import MOTES_PER_DATR
from tests.charging_site import ARBITER, OPERATOR, Site, site_with
from tests.time_of_use_bill import cost
from tests.vm_harness import Account, account
from vm.contracts.charging import Charging
from vm.contracts.charging_types import TariffTerms
from vm.tariff import parse_tariff

ROOT = Path(__file__).resolve().parents[2]
TARIFF = ROOT / "docs" / "examples" / "tariff-time-of-use.json"
EXAMPLE = ROOT / "docs" / "examples" / "sessions.csv"
REAL = ROOT.parent / "shared" / "data" / "charging_sessions.csv"
UTC_OFFSET_MINUTES = 540
CALLS = 8
PROVIDER, SUPPLIER = account("provider"), account("supplier")
SHARES_E4 = (1_234, 777)


def expected_motes(file: Path) -> dict[str, int]:
    """Return what each session costs including VAT, by an independent computation."""
    terms = json.loads(TARIFF.read_text(), parse_float=str)
    costs = {}
    with file.open(newline="") as rows:
        for row in csv.DictReader(rows):
            start, end = int(row["connected_at"]), int(row["disconnected_at"])
            stopped = min(end, int(row["charging_done_at"] or end))
            costs[row["session_id"]] = cost(terms, start, stopped, end, int(row["energy_wh"]), UTC_OFFSET_MINUTES)[1]
    return costs


def send_all(site: Site, sender: Account, calls: Iterable[Call]) -> list[Receipt]:
    """Send many calls in one block, some to a transaction; all must succeed."""
    several = list(calls)
    lots = [several[at : at + CALLS] for at in range(0, len(several), CALLS)]
    receipts = site.chain.block(*(site.chain.transaction(sender, *lot, gas_limit=50_000_000) for lot in lots)).receipts
    assert {receipt.status for receipt in receipts} <= {Status.SUCCEEDED}
    return list(receipts)


def play(site: Site, sessions: list[RealSession]) -> list[bytes]:
    """Play all sessions at one station, by one driver who pays his debts in the end; return their ids."""
    chain = site.chain
    receipts = send_all(site, site.driver, [chain.call(Charging.authorize, *site.agreed())] * len(sessions))
    ids: list[Any] = [result for receipt in receipts for result in receipt.results]
    told = list(zip(ids, sessions, strict=True))
    call = chain.call
    send_all(site, site.station, (call(Charging.start, key, each.session_id, 0, each.connected_s) for key, each in told))
    read = int(site.provider is not None)
    if read:  # one reading at the end of charging, or none: what is known is the same
        readings = (call(Charging.meter, key, 1, each.energy_wh, each.charging_end_s, True) for key, each in told)
        send_all(site, site.station, readings)
    send_all(
        site,
        site.station,
        (call(Charging.stop, key, each.energy_wh, each.disconnected_s, each.charging_end_s, "", read) for key, each in told),
    )
    send_all(site, site.driver, (call(Charging.pay_debt, key, owed) for key in ids if (owed := site.session(key).owed)))
    return ids


@pytest.mark.parametrize("split", [False, True], ids=["operator alone", "split"])
@pytest.mark.parametrize("file", [EXAMPLE, REAL], ids=["example", "real site"])
def test_every_session_is_priced_and_divided_to_the_mote(file: Path, split: bool) -> None:
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    sessions, rejected = read_sessions(file)
    assert rejected == []
    site = site_with(TariffTerms.of(parse_tariff(TARIFF.read_text()), UTC_OFFSET_MINUTES))
    funds = 300_000 * MOTES_PER_DATR
    site.chain.account("driver", funds)
    before = site.money(site.driver)[0]
    if split:
        site.provider = PROVIDER
        site.agree_split(PROVIDER, SHARES_E4[0], SUPPLIER, SHARES_E4[1])
    ids = play(site, sessions)
    expected = expected_motes(file)
    records = [site.cdr(session_id) for session_id in ids]
    assert {record.start.transaction_id: record.total_incl_vat for record in records} == expected
    total = sum(expected.values())
    partners = [total * share_e4 // 10_000 if split else 0 for share_e4 in SHARES_E4]
    assert [site.money(who)[0] for who in (PROVIDER, SUPPLIER)] == partners
    assert site.money(OPERATOR) == (total - sum(partners), 0)
    assert site.money(site.driver) == (before - total, 0)
    assert sorted(record.number for record in records) == list(range(1, len(sessions) + 1))
    assert site.money(ARBITER) == (0, 0)

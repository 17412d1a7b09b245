"""What programs give contracts: values with their units become the ABI's JSON forms exactly, or are refused by name."""

from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacar import AsyncClient, Client, Wallet
from datacar.abi import ContractAbi
from datacar.arguments import Argument, UnknownTimeError, UnknownUnitError, json_forms
from datacar.errors import RejectedError
from datacar.units import COUNT, DATR, BadValueError, money
from ledger.errors import InvalidInputError
from tests.memory_node import FAUCET_SEED
from tests.served_node import serve
from vm.registry import default_registry

ABIS: Final = {name: ContractAbi.from_json(default_registry().abi(name)) for name in default_registry().names()}
SOMEONE: Final = Wallet.from_seed(b"s" * 32)
FAUCET: Final = Wallet.from_seed(FAUCET_SEED)
NOW_MS: Final = 1_700_000_000_000
DAY_MS: Final = 86_400_000


def formed(contract: str, method: str, /, **given: Any) -> Any:
    return json_forms(ABIS[contract].methods[method], given, {"CARM": money("CARM", 2)}, NOW_MS)


AT: Final = datetime(2023, 11, 21, 22, 13, 20, tzinfo=UTC)


@pytest.mark.parametrize(
    ("contract", "method", "name", "value", "form"),
    [
        ("asset", "transfer", "amount", "1.5 DATR", "150000000"),
        ("asset", "transfer", "amount", Decimal("1.50"), "150000000"),
        ("asset", "transfer", "amount", "3 motes", "3"),
        ("asset", "transfer", "amount", "150000000", "150000000"),
        ("asset", "transfer", "to", SOMEONE.address, SOMEONE.address),
        ("asset", "hold_for", "deadline_ms", AT, NOW_MS + 7 * DAY_MS),
        ("asset", "hold_for", "deadline_ms", AT.astimezone(timezone(timedelta(hours=5, minutes=30))), NOW_MS + 7 * DAY_MS),
        ("asset", "hold_for", "deadline_ms", AT + timedelta(milliseconds=7), NOW_MS + 7 * DAY_MS + 7),
        ("asset", "hold_for", "deadline_ms", "+7d", NOW_MS + 7 * DAY_MS),
        ("asset", "hold_for", "deadline_ms", "2023-11-21 22:13:20", NOW_MS + 7 * DAY_MS),
        ("asset", "hold_for", "deadline_ms", NOW_MS, NOW_MS),
        ("asset", "get_hold", "hold_id", b"\x07" * 32, "0x" + "07" * 32),
        ("loan", "offer", "terms", {"annual_rate": "12.5 %"}, {"annual_rate": 12_500}),
        ("loan", "offer", "terms", {"annual_rate": Decimal("12.5")}, {"annual_rate": 12_500}),
        ("loan", "offer", "terms", {"annual_rate": 12_500}, {"annual_rate": 12_500}),
        ("loan", "offer", "terms", {"disbursed_on": date(2024, 2, 29)}, {"disbursed_on": 19_782}),
        (
            "loan",
            "offer",
            "terms",
            {"disbursed_on": "2024-02-29", "late_fee": "1 DATR"},
            {"disbursed_on": 19_782, "late_fee": "100000000"},
        ),
        ("loan", "offer", "terms", {"grace_days": timedelta(days=3)}, {"grace_days": 3}),
        ("loan", "offer", "nothing", "1.5 DATR", "1.5 DATR"),
    ],
    ids=str,
)
def test_values_with_units_become_json_forms(contract: str, method: str, name: str, value: Argument, form: object) -> None:
    assert formed(contract, method, **{name: value}) == {name: form}


@pytest.mark.parametrize(
    ("contract", "method", "name", "value", "said"),
    [
        ("asset", "transfer", "amount", 1.5, "amount: 1.5 is a float"),
        ("asset", "transfer", "to", 1.5, "to: 1.5 is a float"),
        ("asset", "transfer", "nothing", 1.5, "nothing: 1.5 is a float"),
        ("asset", "transfer", "amount", "1.5", "amount: '1.5' names no unit"),
        ("asset", "transfer", "amount", Decimal("NaN"), "amount: Decimal('NaN') is no value here"),
        ("asset", "transfer", "amount", Decimal("1e999999"), "is no value here"),
        ("asset", "transfer", "amount", Decimal("0.000000001"), "is not a whole number of motes"),
        ("asset", "transfer", "amount", "1.5 kWh", "amount: '1.5 kWh' is not an amount of DATR"),
        ("asset", "transfer", "amount", timedelta(1), "is no value here"),
        ("asset", "hold_for", "deadline_ms", AT.replace(tzinfo=None), "names no time zone"),
        ("asset", "hold_for", "deadline_ms", AT + timedelta(microseconds=1), "is finer than a millisecond"),
        ("asset", "hold_for", "deadline_ms", date(2024, 1, 1), "is no value here"),
        ("asset", "hold_for", "deadline_ms", "1700000000000", "names no unit"),
        ("loan", "offer", "terms", {"annual_rate": 12.5}, "terms: annual_rate: 12.5 is a float"),
        ("loan", "offer", "terms", {"annual_rate": "12.5"}, "terms: annual_rate: '12.5' names no unit"),
        ("loan", "offer", "terms", {"disbursed_on": AT}, "terms: disbursed_on: "),
        ("loan", "offer", "terms", {"retry_days": [1, 2.0]}, "terms: retry_days: [2]: 2.0 is a float"),
        ("loan", "offer", "terms", {"grace_days": timedelta(hours=1)}, "is not a whole number of days"),
        ("asset", "transfer_batch", "payments", [{"to": "x", "amount": 0.5}], "payments: [1]: amount: 0.5 is a float"),
    ],
    ids=str,
)
def test_what_is_not_exact_or_names_no_unit_is_refused_by_name(
    contract: str, method: str, name: str, value: Any, said: str
) -> None:
    with pytest.raises(BadValueError) as refused:
        formed(contract, method, **{name: value})
    assert said in refused.value.message


def test_amounts_are_of_the_asset_named_beside_them() -> None:
    given = {"symbol": "CARM", "to": SOMEONE.address, "amount": "12.25 CARM"}
    assert formed("asset", "send", **given)["amount"] == "1225"
    assert formed("asset", "send", **given | {"amount": Decimal("12.25")})["amount"] == "1225"
    assert formed("asset", "send", **given | {"symbol": "DATR", "amount": "1 DATR"})["amount"] == "100000000"
    with pytest.raises(BadValueError, match="is not an amount of CARM"):
        formed("asset", "send", **given | {"amount": "1 DATR"})
    with pytest.raises(UnknownUnitError, match="CRAM"):
        formed("asset", "send", **given | {"symbol": "CRAM"})
    assert formed("asset", "send", **given | {"symbol": "CRAM", "amount": "1225"})["amount"] == "1225"  # asks nobody


def test_arguments_in_order_are_read_as_by_name() -> None:
    method = ABIS["asset"].methods["transfer"]
    assert json_forms(method, [SOMEONE.address, "1.5 DATR"], {}, None) == [SOMEONE.address, "150000000"]
    assert json_forms(method, [SOMEONE.address, "5", "too many"], {}, None) == [SOMEONE.address, "5", "too many"]
    with pytest.raises(UnknownTimeError):
        json_forms(ABIS["asset"].methods["hold_for"], {"deadline_ms": "+7d"}, {}, None)


@given(st.integers(0, 2**63))
def test_any_number_of_motes_survives_in_all_its_forms(motes: int) -> None:
    amount = Decimal(motes).scaleb(-8)
    for value in (str(motes), f"{motes} motes", f"{amount:f} DATR", amount):
        assert formed("asset", "transfer", amount=value) == {"amount": str(motes)}


@pytest.mark.parametrize("value", [20270201, 1_700_000_000])
def test_a_date_or_seconds_are_no_milliseconds(value: int) -> None:
    with pytest.raises(BadValueError, match=f"deadline_ms: {value} is no time in milliseconds"):
        formed("asset", "hold_for", deadline_ms=value)
    assert formed("asset", "hold_for", deadline_ms=0) == {"deadline_ms": 0}


HOLD_ID: Final = b"\x11" * 32
HOLD: Final = f"the hold's asset 0x{HOLD_ID.hex()}"
ORDER: Final = f"what is reported to the order 0x{HOLD_ID.hex()}"


def test_what_is_paid_out_of_a_hold_is_of_its_asset() -> None:
    """1.5 DATR of a hold of two decimals was 1,500,000."""
    method = ABIS["asset"].methods["capture"]
    for hold_id in (HOLD_ID, "0x" + HOLD_ID.hex()):
        with pytest.raises(UnknownUnitError) as unknown:
            json_forms(method, {"hold_id": hold_id, "amount": "1.5 DATR"}, {}, None)
        assert unknown.value.asset == HOLD
    known = {HOLD: money("EURX", 2)}
    with pytest.raises(BadValueError, match=r"amount: '1\.5 DATR' is not an amount of EURX"):
        json_forms(method, {"hold_id": HOLD_ID, "amount": "1.5 DATR"}, known, None)
    assert json_forms(method, {"hold_id": HOLD_ID, "amount": Decimal("1.5")}, known, None) == {
        "hold_id": "0x" + HOLD_ID.hex(),
        "amount": "150",
    }
    assert json_forms(method, [HOLD_ID, "150"], {}, None)[1] == "150", "its smallest units need no node"  # type: ignore[index]


def test_what_is_reported_to_an_order_is_money_only_for_a_percentage() -> None:
    method = default_registry().method("order", "report")
    with pytest.raises(UnknownUnitError) as unknown:
        json_forms(method, {"order_id": HOLD_ID, "quantity": "1000 DATR"}, {}, None)
    assert unknown.value.asset == ORDER
    for base in ("1000 DATR", Decimal(1000)):
        formed_base = json_forms(method, {"order_id": HOLD_ID, "quantity": base}, {ORDER: DATR}, None)
        assert formed_base == {"order_id": "0x" + HOLD_ID.hex(), "quantity": 100_000_000_000}
    with pytest.raises(BadValueError, match="is not a number of units"):
        json_forms(method, {"order_id": HOLD_ID, "quantity": "1000 DATR"}, {ORDER: COUNT}, None)


def test_a_hold_of_another_asset_is_captured_in_its_units(tmp_path: Path) -> None:
    with serve(tmp_path / "db") as served, Client(served.url) as client:
        asset = client.contract("asset")
        first = {"address": FAUCET.address, "amount": "10", "category": "other", "schedule": None, "authority": None}
        rights = {"mintable": False, "burnable": False, "freezable": False, "max_supply": None}
        asset.issue(FAUCET, "EURX", "euro", 2, [first | {"amount": "1000 EURX"}], rights)
        asset.transfer(FAUCET, to=SOMEONE.address, amount="1 DATR")
        terms = {"holder": SOMEONE.address, "purpose": "deposit", "deadline_ms": "+7d"}
        euros = asset.hold_asset_for(FAUCET, symbol="EURX", amount="200 EURX", **terms).results[0]
        datr = asset.hold_for(FAUCET, amount="5 DATR", **terms).results[0]
        with pytest.raises(BadValueError, match="is not an amount of EURX"):
            asset.capture(SOMEONE, hold_id=euros, amount="1.5 DATR", to=SOMEONE.address)
        asset.capture(SOMEONE, hold_id=euros, amount="1.50 EURX", to=SOMEONE.address)
        assert asset.balance(symbol="EURX", address=SOMEONE.address)["free"] == "150"
        asset.capture(SOMEONE, hold_id=datr, amount="1.5 DATR", to=SOMEONE.address)
        assert client.balance(SOMEONE.address).free == 250_000_000


def test_calls_take_units_on_a_real_chain(tmp_path: Path) -> None:
    """The decimals of an asset and the chain's time are asked for where they are needed, once."""
    with serve(tmp_path / "db") as served, Client(served.url) as client:
        asset = client.contract("asset")
        asset.transfer(FAUCET, to=SOMEONE.address, amount="2.5 DATR")
        assert client.balance(SOMEONE.address).free == 250_000_000
        first = {
            "address": SOMEONE.address,
            "amount": "1000.5 CARM",
            "category": "community",
            "schedule": None,
            "authority": None,
        }
        rights = {"mintable": True, "burnable": True, "freezable": False, "max_supply": "2000 CARM"}
        issue = {"symbol": "CARM", "name": "Carma", "decimals": 2, "rights": rights, "allocations": [first]}
        asset.issue(SOMEONE, **issue)
        asset.send(SOMEONE, symbol="CARM", to=FAUCET.address, amount=Decimal("0.5"))
        assert asset.balance(symbol="CARM", address=FAUCET.address)["free"] == "50"
        held = asset.hold_for(SOMEONE, holder=FAUCET.address, amount="1 DATR", purpose="rent", deadline_ms="+7d")
        assert held.events[0].fields["deadline_ms"] > client.chain_info().timestamp_ms + 6 * DAY_MS
        with pytest.raises(BadValueError, match="is a float"):
            asset.transfer(SOMEONE, to=FAUCET.address, amount=0.5)
        with pytest.raises(RejectedError, match="there is no asset"):
            asset.send(SOMEONE, symbol="CRAM", to=FAUCET.address, amount="1 CRAM")
        with pytest.raises(InvalidInputError):
            asset.transfer(SOMEONE, to=FAUCET.address, amount="1.5")
        assert client.balance(SOMEONE.address).free == 150_000_000


async def test_the_asynchronous_client_takes_the_same(tmp_path: Path) -> None:
    with serve(tmp_path / "db") as served:
        async with AsyncClient(served.url) as client:
            await client.contract("asset").transfer(FAUCET, to=SOMEONE.address, amount="1.5 DATR")
            assert (await client.balance(SOMEONE.address)).free == 150_000_000

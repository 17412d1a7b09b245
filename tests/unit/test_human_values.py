"""Values as people write them: what each unit takes and shows, and what is said of text that is none."""

from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacar import units
from datacar.human import Lookup, Shown, load_json, read_args, read_call, read_json, read_text
from datacar.shapes import Shape, of_params
from datacar.units import BadValueError, Unit, read_number, unit_of
from ledger.codec import encode
from ledger.policy import contract_address, format_address
from ledger.types import Address
from tests.vm_toys import Toy
from vm.abi import Json, MethodSpec
from vm.abi_types import I64, U8, U16, U32, U64, SignedMotes, type_spec
from vm.contract import Motes
from vm.registry import Registry, default_registry

NOW_MS: Final = 1_800_000_000_000
ALICE: Final = contract_address("alice")
HIGH: Final = 2**64 - 1


def address(name: str) -> Address:
    if name != "alice":
        raise BadValueError(f"{name!r} is no wallet", "give an address")
    return ALICE


def unit_of_carm(symbol: str) -> Unit:
    assert symbol == "CARM"
    return units.money("CARM", 2)


REGISTRY: Final = Registry({"toy": Toy, **{name: default_registry().entry(name).cls for name in ("asset", "charging")}})
LOOKUP: Final = Lookup(address, lambda: NOW_MS, unit_of_carm, REGISTRY)
SHOWN: Final = Shown(lambda account: "alice" if account == ALICE else format_address(account), unit_of_carm, REGISTRY)


def param(method: MethodSpec, name: str) -> Shape:
    return next(shape for shape in of_params(method) if shape.name == name)


def read(unit: Unit, text: str, low: int = -HIGH, high: int = HIGH) -> int:
    return read_number(unit, text, low, high, lambda: NOW_MS)


@pytest.mark.parametrize(
    ("unit", "text", "value"),
    [
        (units.DATR, "1.5", 150_000_000),
        (units.DATR, "1.5 DATR", 150_000_000),
        (units.DATR, "0.00000001 datr", 1),
        (units.DATR, "150000000 motes", 150_000_000),
        (units.DATR, "-2", -200_000_000),
        (units.money("CARM", 2), "12.5 CARM", 1_250),
        (units.money("CARM", 2), "1250 units", 1_250),
        (units.money("NONE", 0), "7", 7),
        (units.money("CAR2", 2), "1.5 CAR2", 150),
        (units.money("UNITS", 2), "5 UNITS", 500),  # and not the smallest: it is the asset's own name
        (units.ENERGY, "7.2 kWh", 7_200),
        (units.ENERGY, "7200", 7_200),
        (units.ENERGY, "1.5MWh", 1_500_000),
        (units.ENERGY, "1 MWH", 1_000_000),
        (units.ENERGY, "7 KWH", 7_000),
        (units.POWER, "11 kW", 11_000),
        (units.POWER, "5 Mw", 5_000_000),
        (units.RATE, "12", 12_000),
        (units.RATE, "12.345 %", 12_345),
        (units.SHARE, "2.5%", 250),
        (units.NUMBER, "17", 17),
        (units.DATE, "2024-02-29", 19_782),
        (units.DATE, "19782", 19_782),
        (units.BASE, "120 units", 120),
        (units.BASE, "1000.5 DATR", 100_050_000_000),
        (units.BASE, "7 motes", 7),
        (units.CLOCK, "07:30", 450),
        (units.CLOCK, "24:00", 1_440),
        (units.OFFSET, "+05:30", 330),
        (units.OFFSET, "-01:00", -60),
        (units.OFFSET, "UTC", 0),
        (units.SECONDS, "90 min", 5_400),
        (units.SECONDS, "1h 30min", 5_400),
        (units.SECONDS, "90", 90),
        (units.MILLISECONDS, "1.5 s", 1_500),
        (units.DAYS, "3 days", 3),
        (units.DAYS, "48h", 2),
        (units.MINUTES, "-1h 30min", -90),
        (units.MOMENT_MS, "2027-01-31", 1_801_353_600_000),
        (units.MOMENT_MS, "2027-01-31 12:00", 1_801_396_800_000),
        (units.MOMENT_MS, "2027-01-31T12:00:00.25+01:00", 1_801_393_200_250),
        (units.MOMENT_MS, "2027-01-31T12:00:00Z", 1_801_396_800_000),
        (units.MOMENT_MS, "1801396800000", 1_801_396_800_000),
        (units.MOMENT_MS, "0", 0),
        (units.MOMENT_MS, "100000000000", 100_000_000_000),
        (units.MOMENT_S, "1801396800", 1_801_396_800),
        (units.MOMENT_MS, "1973-01-01", 94_694_400_000),
        (units.MOMENT_MS, "now", NOW_MS),
        (units.MOMENT_MS, "+7d", NOW_MS + 7 * 86_400_000),
        (units.MOMENT_MS, "-1h 30min", NOW_MS - 5_400_000),
        (units.MOMENT_S, "2027-01-31 12:00", 1_801_396_800),
        (units.MOMENT_S, "+1min", NOW_MS // 1_000 + 60),
    ],
)
def test_text_is_read_exactly(unit: Unit, text: str, value: int) -> None:
    assert read(unit, text) == value


@pytest.mark.parametrize(
    ("unit", "value", "text"),
    [
        (units.DATR, 150_000_000, "1.5 DATR"),
        (units.DATR, -1, "-0.00000001 DATR"),
        (units.ENERGY, 7_200, "7.2 kWh"),
        (units.ENERGY, 999, "999 Wh"),
        (units.RATE, 12_345, "12.345 %"),
        (units.SHARE, 250, "2.5 %"),
        (units.DATE, 19_782, "2024-02-29"),
        (units.DATE, HIGH, str(HIGH)),
        (units.DATE, 0, "0"),  # which stands for no date: nothing happens in 1970
        (units.BASE, 120, "120 units (of a base: motes)"),
        (units.CLOCK, 450, "07:30"),
        (units.OFFSET, -330, "-05:30"),
        (units.SECONDS, 5_400, "1 h 30 min"),
        (units.SECONDS, 0, "0 s"),
        (units.DAYS, 90, "90 d"),
        (units.MOMENT_MS, 1_801_396_800_250, "2027-01-31T12:00:00.250Z"),
        (units.MOMENT_S, 1_801_396_800, "2027-01-31T12:00:00Z"),
        (units.MOMENT_MS, HIGH, str(HIGH)),
    ],
)
def test_values_are_shown_with_their_unit(unit: Unit, value: int, text: str) -> None:
    assert unit.show(value) == text


@pytest.mark.parametrize(
    ("unit", "text", "said", "hint"),
    [
        (units.DATR, "1.123456789", "'1.123456789' is not a whole number of motes", "1.5"),
        (units.DATR, "1,5", "'1,5' is not an amount of DATR", "plain decimal"),
        (units.DATR, "5 CARM", "'5 CARM' is not an amount of DATR", "DATR"),
        (units.DATR, "1e3", "'1e3' is not an amount of DATR", "DATR"),
        (units.DATR, "", "'' is not an amount of DATR", "DATR"),
        (units.DATR, "007", "'007' is not an amount of DATR", "DATR"),
        (units.DATR, "-1", "'-1' is not within 0 DATR to 184467440737.09551615 DATR", "DATR"),
        (units.DATR, "184467440738", "is not within 0 DATR to", "DATR"),
        (units.ENERGY, "7.2", "'7.2' is not a whole number of Wh", "7.2 kWh"),
        (units.ENERGY, "7 kW", "'7 kW' is not an energy", "Wh or kWh"),
        (units.ENERGY, "1 mWh", "'1 mWh' is not an energy", "MWh has a capital M"),
        (units.POWER, "5 mW", "'5 mW' is not a power", "MW has a capital M"),
        (units.BASE, "120", "'120' is not a number of units, nor money", "1000 DATR"),
        (units.COUNT, "1000 DATR", "'1000 DATR' is not a number of units", "not for a percentage"),
        (units.MOMENT_MS, "20270201", "20270201 is no time in milliseconds: under 100000000000", "2027-01-31 12:00"),
        (units.MOMENT_MS, "1801396800", "1801396800 is no time in milliseconds", "Unix milliseconds"),
        (units.MOMENT_S, "20270201", "20270201 is no time in seconds", "2027-01-31 12:00"),
        (units.RATE, "9.4822", "'9.4822' is not a whole number of 1/1,000 %", "at most 3 decimals"),
        (units.DATE, "2024-02-30", "2024-02-30 is not a date of the calendar", "2024-02-29"),
        (units.DATE, "tomorrow", "'tomorrow' is not a date", "2024-02-29"),
        (units.CLOCK, "25:00", "'25:00' is not a time of the day", "07:30"),
        (units.OFFSET, "CET", "'CET' is not an offset of local time", "+01:00"),
        (units.SECONDS, "1.5", "'1.5' is not a length of time", "seconds"),
        (units.SECONDS, "5 m", "'5 m' is not a length of time", "90 min"),
        (units.SECONDS, "1 ms", "'1 ms' is not a whole number of seconds", "90 min"),
        (units.DAYS, "", "'' is not a length of time", "days"),
        (units.MOMENT_MS, "2027-01-31 24:00", "is not a date and time", "UTC"),
        (units.MOMENT_MS, "+7", "'7' is not a length of time", "+7d"),
        (units.MOMENT_S, "2027-01-31T12:00:00.5Z", "is not a whole number of seconds", "Unix seconds"),
        (units.NUMBER, "1_000", "'1_000' is not a whole number", "digits"),
        (units.NUMBER, "9" * 65, "is too long", "digits"),
    ],
)
def test_what_is_no_value_is_explained_with_the_unit(unit: Unit, text: str, said: str, hint: str) -> None:
    with pytest.raises(BadValueError) as refused:
        read(unit, text, low=0)
    assert said in refused.value.message
    assert hint in refused.value.hint


@pytest.mark.parametrize(
    ("name", "hint", "doc", "unit"),
    [
        ("amount", Motes, "", units.DATR),
        ("difference", SignedMotes, "", units.DATR),
        ("meter_start_wh", U64, "", units.ENERGY),
        ("deadline_ms", U64, "", units.MOMENT_MS),
        ("tx_window_ms", U64, "", units.MILLISECONDS),
        ("base_timeout_ms", U64, "", units.MILLISECONDS),
        ("at_s", I64, "", units.MOMENT_S),
        ("min_duration_s", U32, "", units.SECONDS),
        ("charging_s", U32, "", units.SECONDS),
        ("grace_days", U16, "", units.DAYS),
        ("disbursed_on", U32, "", units.DATE),
        ("start_day", U32, "", units.DATE),
        ("due_day", U8, "", units.NUMBER),
        ("on_day", U8, "", units.NUMBER),
        ("start_time_min", U16, "", units.CLOCK),
        ("at_minute", U16, "", units.CLOCK),
        ("utc_offset_minutes", I64, "", units.OFFSET),
        ("annual_rate", U32, "", units.RATE),
        ("rate_e4", U32, "", units.SHARE),
        ("part", U32, "in 1/10,000", units.SHARE),
        ("share", U32, "", units.SHARE),
        ("overdue_since", U32, "", units.DATE),
        ("quantity", U64, "units, or for a percentage the base in motes", units.BASE),
        ("yearly", U32, "in 1/10 basis point", units.RATE),
        ("sequence", U32, "", units.NUMBER),
    ],
)
def test_the_unit_follows_from_the_name_the_bounds_and_the_doc(name: str, hint: Any, doc: str, unit: Unit) -> None:
    assert unit_of(name, type_spec(hint), doc) is unit


def test_an_exponent_is_no_asset() -> None:
    with pytest.raises(BadValueError, match="is not an amount of E3"):
        read(units.money("E3", 0), "1e3")


@given(st.from_regex(r"[A-Z][A-Z0-9]{0,11}", fullmatch=True), st.integers(0, 18), st.integers(0, HIGH))
def test_amounts_of_any_asset_read_back_as_shown(symbol: str, decimals: int, value: int) -> None:
    unit = units.money(symbol, decimals)
    assert read(unit, unit.show(value)) == value


def test_prices_have_four_decimals() -> None:
    price = unit_of("price_e4", type_spec(U32))
    assert price is not None
    assert (read(price, "0.39"), price.show(3_900)) == (3_900, "0.39 DATR")
    assert unit_of("vat_percent_e4", type_spec(U32)) is not price


OUTER: Final = param(REGISTRY.method("toy", "keep"), "outer")
OUTER_JSON: Final[Json] = {
    "parts": [{"colour": "RED", "tag": 7}, "colour=blue,tag=8", {"colour": "red"}],
    "pair": [True, "0x0a"],
    "owner": "alice",
    "price": "1.5 DATR",
}
OUTER_VALUE: Final = ((("red", 7), ("blue", 8), ("red", None)), (True, b"\x0a"), ALICE, 150_000_000)


def test_structures_are_read_from_json_with_values_as_people_write_them() -> None:
    assert read_json(OUTER, OUTER_JSON, LOOKUP) == OUTER_VALUE
    assert read_json(OUTER, SHOWN.to_json(OUTER, OUTER_VALUE), LOOKUP) == OUTER_VALUE
    assert SHOWN.lines(OUTER, OUTER_VALUE)[:2] == [("parts.1.colour", "red"), ("parts.1.tag", "7")]
    assert SHOWN.text(OUTER, OUTER_VALUE).endswith("pair (yes, 0x0a), owner alice, price 1.5 DATR)")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"price": 150_000_000}, "price: '150000000' cannot be used"),
        ({"price": "1.5 kWh"}, "price: '1.5 kWh' is not an amount of DATR"),
        ({"owner": "bob"}, "owner: 'bob' is no wallet"),
        ({"owner": format_address(ALICE)[:-1] + "!"}, "owner: "),
        ({"parts": [{"colour": "green", "tag": None}]}, "parts: [1]: colour: 'green' cannot be used"),
        ({"parts": {}}, "parts: this cannot be used"),
        ({"pair": [True]}, "pair: this cannot be used"),
        ({"pair": [1, "0x"]}, "pair: [1]: 1 cannot be used"),
        ({"pair": ["yes", "0x1"]}, "pair: [2]: '0x1' cannot be used"),
        ({"parts": ["colour=red"] * 1_025}, "parts: "),
        ({"colour": "red"}, "'colour' cannot be used"),
    ],
)
def test_what_is_wrong_in_a_structure_is_named_by_its_path(change: dict[str, Json], said: str) -> None:
    with pytest.raises(BadValueError) as refused:
        read_json(OUTER, {**OUTER_JSON, **change}, LOOKUP)
    assert refused.value.message.startswith(said)
    assert refused.value.hint


def test_a_part_that_is_missing_is_named() -> None:
    with pytest.raises(BadValueError, match="owner, price of Outer must be given"):
        read_json(OUTER, {"parts": [], "pair": ["no", "0x"]}, LOOKUP)


@pytest.mark.parametrize("text", ["{", "[1,", "NaN", '{"a": 1, "a": 2}', "[" * 100_000])
def test_json_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(BadValueError, match="this is no JSON"):
        load_json(text)


@pytest.mark.parametrize(
    ("method", "name", "number", "text", "value"),
    [
        ("loan.offer", "annual_rate", 12, "12", 12_000),
        ("governance.set_threshold", "share", 75, "75", 7_500),
        ("order.open", "rate_e4", 5, "5", 500),
        ("charging.publish_tariff", "price_e4", 1, "1", 10_000),
    ],
)
def test_a_bare_number_in_json_is_never_a_thousandth_of_what_was_meant(
    method: str, name: str, number: int, text: str, value: int
) -> None:
    """12 beside 12.5 must not be 0.012 %: what has another unit in the contract is text in both directions, as money is."""
    contract, _, called = method.partition(".")
    shape = next(_named(each, name) for each in of_params(default_registry().method(contract, called)) if _named(each, name))
    assert shape is not None
    with pytest.raises(BadValueError, match="cannot be used") as refused:
        read_json(shape, load_json(str(number)), LOOKUP)
    assert "as text" in refused.value.hint
    assert read_json(shape, text, LOOKUP) == read_json(shape, load_json(f"{number}.0"), LOOKUP) == value
    assert SHOWN.to_json(shape, value) == text


def _named(shape: Shape, name: str) -> Shape | None:
    """Return the part of this name, however deep."""
    if shape.name == name and not shape.parts:
        return shape
    return next((found for part in shape.parts if (found := _named(part, name))), None)


def test_decimals_in_json_never_pass_through_a_float() -> None:
    shape = param(REGISTRY.method("asset", "transfer"), "amount")
    assert read_json(shape, load_json("184467440737.09551615"), LOOKUP) == HIGH


def test_amounts_are_in_the_asset_that_is_named_beside_them() -> None:
    args = {"symbol": "CARM", "to": "alice", "amount": "12.5"}
    assert read_args("asset", "send", args, LOOKUP) == ("CARM", ALICE, 1_250)
    assert read_args("asset", "send", args | {"symbol": "DATR"}, LOOKUP) == ("DATR", ALICE, 1_250_000_000)
    with pytest.raises(BadValueError, match="' is not an amount of CARM"):
        read_args("asset", "send", args | {"amount": "12.5 DATR"}, LOOKUP)
    params = of_params(REGISTRY.method("asset", "send"))
    assert SHOWN.named(params, ("CARM", ALICE, 1_250)) == ["symbol CARM", "to alice", "amount 12.5 CARM"]


class TestCallsInsideOfValues:
    """What members vote on and signers agree to is calls: their arguments are written and shown like any others."""

    SHAPE = param(default_registry().method("governance", "propose_calls"), "calls")
    JSON: Final[Json] = {"contract": "asset", "method": "transfer", "args": {"to": "alice", "amount": "1.5"}}

    def test_arguments_become_canonical_bytes_and_are_shown_by_name(self) -> None:
        value = read_json(self.SHAPE, [self.JSON], LOOKUP)
        assert value == (("asset", "transfer", encode((ALICE, 150_000_000))),)
        assert SHOWN.text(self.SHAPE, value) == "[asset.transfer(to alice, amount 1.5 DATR)]"
        in_order = self.JSON | {"args": ["alice", "1.5"]}
        in_bytes = self.JSON | {"args": "0x" + encode((ALICE, 150_000_000)).hex()}
        assert read_json(self.SHAPE, [in_order], LOOKUP) == read_json(self.SHAPE, [in_bytes], LOOKUP) == value

    def test_arguments_that_fit_no_method_are_shown_as_they_are(self) -> None:
        assert SHOWN.text(self.SHAPE, (("asset", "transfer", b"\x90"),)) == "[asset.transfer(0x90)]"

    @pytest.mark.parametrize(
        ("change", "said"),
        [
            ({"contract": "nothing"}, "nothing.transfer: there is no such contract"),
            ({"method": "nothing"}, "asset.nothing: the contract has no such method"),
            ({"args": {"to": "alice"}}, "transfer amount: must be given"),
            ({"args": ["alice"]}, "this cannot be used"),
            ({"args": {"to": "alice", "amount": "1", "more": 1}}, "transfer has no 'more'"),
            ({"more": 1}, "in this call 'more' is unknown"),
            ({"contract": 1}, "this cannot be used"),
        ],
    )
    def test_calls_that_cannot_be_are_refused(self, change: dict[str, Json], said: str) -> None:
        with pytest.raises(BadValueError) as refused:
            read_call(self.JSON | change, LOOKUP)
        assert refused.value.message.startswith(said)


def test_defaults_of_our_own_contracts_fill_what_is_left_out() -> None:
    tariff = param(REGISTRY.method("charging", "publish_tariff"), "tariff")
    assert tariff.parts[-1].name == "utc_offset_minutes"
    assert tariff.parts[-1].may_be_left_out


def test_a_list_s_bounds_hold() -> None:
    rule = Shape("days", type_spec(tuple[U16, ...]), "", False, None, (), None)
    assert rule.may_be_left_out
    bounded = param(REGISTRY.method("asset", "transfer_batch"), "payments")
    with pytest.raises(BadValueError, match="256"):
        read_json(bounded, [{"to": "alice", "amount": "1"}] * 257, LOOKUP)


@pytest.mark.parametrize(
    ("method", "name", "text", "hint"),
    [
        ("asset.get_hold", "hold_id", "0x12", "write 0x and 64 hex digits"),
        ("asset.issue", "symbol", "", "write 1 to 12 characters"),
        ("asset.hold", "purpose", "x" * 65, "write 1 to 64 characters"),
    ],
)
def test_what_has_another_length_is_explained_to_people(method: str, name: str, text: str, hint: str) -> None:
    """And not in words of the codec that found it."""
    contract, _, called = method.partition(".")
    with pytest.raises(BadValueError) as refused:
        read_text(param(default_registry().method(contract, called), name), text, LOOKUP)
    assert refused.value.hint == hint


@pytest.mark.parametrize("text", ["maybe", "1", ""])
def test_yes_and_no_are_words(text: str) -> None:
    shape = Shape("flag", type_spec(bool), "", False, None, (), None)
    assert (read_text(shape, "Yes", LOOKUP), read_text(shape, "false", LOOKUP)) == (True, False)
    with pytest.raises(BadValueError, match="cannot be used"):
        read_text(shape, text, LOOKUP)

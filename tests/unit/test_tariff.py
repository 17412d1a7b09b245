"""Tariffs: what is read from OCPI JSON, what is refused and where, and the canonical form."""

import json
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest

from ledger.codec import Value, decode, encode
from ledger.errors import DatacarError, InvalidInputError
from vm.strict_json import MAX_CHARS, Node
from vm.tariff import (
    BadTariffError,
    Dimension,
    PriceComponent,
    PriceLimit,
    Tariff,
    TariffElement,
    parse_tariff,
    read_tariff,
)

EXAMPLE = Path(__file__).parents[2] / "docs" / "examples" / "tariff.json"


def energy(**changes: object) -> dict[str, object]:
    """An ENERGY component, changed."""
    return {"type": "ENERGY", "price": "0.25", "vat": 10, "step_size": 1} | changes


def document(*components: dict[str, object], **members: object) -> dict[str, object]:
    """A tariff of one element, with further members."""
    return {"elements": [{"price_components": list(components or (energy(),))}]} | members


def read(tariff: object) -> Tariff:
    return parse_tariff(json.dumps(tariff))


def test_the_example_file_is_read_in_full() -> None:
    tariff = parse_tariff(EXAMPLE.read_text())
    assert tariff == Tariff(
        "city-ac-22",
        "DATR",
        (
            TariffElement(
                (
                    PriceComponent(Dimension.FLAT, 5_000, 190_000, 1),
                    PriceComponent(Dimension.ENERGY, 3_900, 190_000, 100),
                    PriceComponent(Dimension.TIME, 12_000, 190_000, 60),
                )
            ),
            TariffElement((PriceComponent(Dimension.PARKING_TIME, 30_000, 190_000, 900),)),
        ),
        PriceLimit(10_000, 11_900),
        PriceLimit(800_000, 952_000),
        50 * 10**8,
    )


@pytest.mark.parametrize(
    ("written", "price_e4"),
    [
        ("2", 20_000),
        ("2.0", 20_000),
        ('"2.0000"', 20_000),
        ("0.25000000", 2_500),
        ("2.5e-1", 2_500),
        ("1E+2", 1_000_000),
        ("0.0001", 1),
        ("0", 0),
        ("-0.0", 0),
        ("0e999999999", 0),
        ("100000", 10**9),
    ],
)
def test_a_price_is_the_decimal_that_was_written(written: str, price_e4: int) -> None:
    text = json.dumps(document(energy(price="@"))).replace('"@"', written)
    assert parse_tariff(text).elements[0].components[0].price_e4 == price_e4


def test_missing_vat_is_kept_apart_from_zero_vat() -> None:
    tariff = read(document(energy(vat=None), {"type": "TIME", "price": 1, "vat": 0, "step_size": 1}))
    assert [component.vat_percent_e4 for component in tariff.elements[0].components] == [None, 0]


@pytest.mark.parametrize("step", [{}, {"step_size": 0}, {"step_size": 300}])
def test_a_flat_fee_has_no_step(step: dict[str, object]) -> None:
    tariff = read(document({"type": "FLAT", "price": 1} | step))
    assert tariff.elements[0].components[0].step_size == 1


@pytest.mark.parametrize("restrictions", [None, {}, {"min_kwh": None, "day_of_week": []}])
def test_empty_restrictions_restrict_nothing(restrictions: object) -> None:
    plain = document()
    plain["elements"] = [{"price_components": [energy()], "restrictions": restrictions}]
    assert read(plain) == read(document())


def test_price_limits_are_read_under_the_names_of_ocpi_2_3() -> None:
    new = read(document(max_price={"before_taxes": 5, "after_taxes": 6}, tax_included="NO"))
    assert new == read(document(max_price={"excl_vat": 5, "incl_vat": 6}))


def test_the_first_element_with_a_component_prices_its_dimension() -> None:
    time = {"type": "TIME", "price": 2, "step_size": 60}
    first, second = energy(price=1), energy(price=9)
    tariff = read({"elements": [{"price_components": [first]}, {"price_components": [second, time]}]})
    active = [(component.dimension, component.price_e4) for component in tariff.active_components()]
    assert active == [(Dimension.ENERGY, 10_000), (Dimension.TIME, 20_000)]


COMPONENT = "$.elements[0].price_components[0]"
REFUSED: list[tuple[Any, str, str]] = [
    ([], "$", "must be an object, got an array of 0"),
    ({}, "$", 'field "elements" is missing'),
    ({"elements": []}, "$.elements", "must have 1..16 items"),
    ({"elements": {}}, "$.elements", "must be an array"),
    ({"elements": [{"price_components": [energy()]}] * 17}, "$.elements", "must have 1..16 items"),
    ({"elements": [{"price_components": []}]}, "$.elements[0].price_components", "must have 1..16 items"),
    (document(energy(), energy()), "$.elements[0].price_components", "may price each type once"),
    (document(max_prise=None), "$", 'unknown field "max_prise"'),
    (document(energy(unit="kWh")), COMPONENT, 'unknown field "unit"'),
    (document(energy(type="CURRENT")), f"{COMPONENT}.type", 'FLAT, ENERGY, TIME, PARKING_TIME, got "CURRENT"'),
    (document(energy(type="energy")), f"{COMPONENT}.type", "must be one of"),
    (document(energy(type=7)), f"{COMPONENT}.type", "must be text, got 7"),
    (document({"type": "ENERGY", "price": 1}), COMPONENT, 'field "step_size" is missing'),
    (document({"type": "ENERGY", "step_size": 1}), COMPONENT, 'field "price" is missing'),
    (document(energy(price=None)), COMPONENT, 'field "price" is missing'),
    (document(energy(price="-0.01")), f"{COMPONENT}.price", 'within 0..100000, got "-0.01"'),
    (document(energy(price=-1)), f"{COMPONENT}.price", "within 0..100000, got -1"),
    (document(energy(price="0.00001")), f"{COMPONENT}.price", "at most 4 decimal places"),
    (document(energy(price="100000.0001")), f"{COMPONENT}.price", "within 0..100000"),
    (document(energy(price=10**60)), f"{COMPONENT}.price", "within 0..100000"),
    (document(energy(price="NaN")), f"{COMPONENT}.price", "must be a number"),
    (document(energy(price="Infinity")), f"{COMPONENT}.price", "must be a number"),
    (document(energy(price="1e3")), f"{COMPONENT}.price", "must be a number"),
    (document(energy(price=" 1")), f"{COMPONENT}.price", "must be a number"),
    (document(energy(price="1_0")), f"{COMPONENT}.price", "must be a number"),
    (document(energy(price="\u0661")), f"{COMPONENT}.price", "must be a number"),
    (document(energy(price="")), f"{COMPONENT}.price", "must be a number"),
    (document(energy(price=True)), f"{COMPONENT}.price", "must be a number, got true"),
    (document(energy(price=[1])), f"{COMPONENT}.price", "must be a number, got an array of 1"),
    (document(energy(vat="100.0001")), f"{COMPONENT}.vat", "within 0..100"),
    (document(energy(vat="19.00001")), f"{COMPONENT}.vat", "at most 4 decimal places"),
    (document(energy(vat=-1)), f"{COMPONENT}.vat", "within 0..100"),
    (document(energy(step_size=0)), f"{COMPONENT}.step_size", "within 1..1000000"),
    (document(energy(step_size="0.5")), f"{COMPONENT}.step_size", "must be a whole number"),
    (document(energy(step_size=1_000_001)), f"{COMPONENT}.step_size", "within 1..1000000"),
    (document(preauthorize_amount=-1), "$.preauthorize_amount", "within 0..800000000"),
    (document(preauthorize_amount="0.000000001"), "$.preauthorize_amount", "at most 8 decimal places"),
    (document(min_price=5), "$.min_price", "must be an object"),
    (document(min_price={"incl_vat": 5}), "$.min_price", 'field "excl_vat" is missing'),
    (document(min_price={"excl_vat": 2, "incl_vat": 1}), "$.min_price", "must not be below"),
    (
        document(min_price={"excl_vat": 2}, max_price={"excl_vat": 1}),
        "$.min_price",
        "must not be above max_price (excluding VAT)",
    ),
    (
        document(min_price={"excl_vat": 1, "incl_vat": 4}, max_price={"excl_vat": 2, "incl_vat": 3}),
        "$.min_price",
        "must not be above max_price (including VAT)",
    ),
    (document(tax_included="YES"), "$.tax_included", "prices must be given without taxes"),
    (document(id="x" * 37), "$.id", "at most 36 printable characters"),
    (document(id="\ud800"), "$.id", "at most 36 printable characters"),
    (document(currency="E\n"), "$.currency", "printable"),
]


@pytest.mark.parametrize(("tariff", "path", "why"), REFUSED)
def test_refusals_name_the_path_the_reason_and_the_value(tariff: object, path: str, why: str) -> None:
    with pytest.raises(BadTariffError) as caught:
        read(tariff)
    assert caught.value.reason == "bad_tariff"
    assert caught.value.details["path"] == path
    assert caught.value.message.startswith(f"{path}: ")
    assert why in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "not valid JSON"),
        ("{", "not valid JSON"),
        ('{"elements": NaN}', "NaN is not a number"),
        ('{"elements": -Infinity}', "-Infinity is not a number"),
        ('{"elements": 1, "elements": 2}', 'the key "elements" stands twice'),
        ('{"elements": ' + "9" * 5_000 + "}", "a number of 5000 characters"),
        ('{"elements": 1e99999999999999999999}', "out of range"),
        ("[" * 100_000, "not valid JSON"),
        (" " * (MAX_CHARS + 1), "at most"),
    ],
)
def test_what_is_not_plain_json_is_refused(text: str, why: str) -> None:
    with pytest.raises(BadTariffError) as caught:
        parse_tariff(text)
    assert why in caught.value.message
    assert caught.value.details["path"] == "$"
    assert len(caught.value.message) < 400


def test_a_huge_exponent_is_refused_without_being_computed() -> None:
    text = json.dumps(document(energy(price="@"))).replace('"@"', "1e999999999")
    with pytest.raises(BadTariffError, match=r"within 0\.\.100000"):
        parse_tariff(text)


@pytest.mark.parametrize(
    ("price", "why"),
    [
        (0.25, "binary float"),
        (Decimal("NaN"), "must be a finite number"),
        (Decimal("Infinity"), "must be a finite number"),
        (1 << 20_000, "got an integer of 20001 bits"),
        (b"1", "must be a number"),
    ],
    ids=["float", "nan", "infinity", "huge", "bytes"],
)
def test_values_that_strict_parsing_never_yields_are_refused_too(price: object, why: str) -> None:
    """A caller may have decoded the document by other means."""
    with pytest.raises(BadTariffError) as caught:
        read_tariff(Node(document(energy(price=price)), "$", BadTariffError))
    assert why in caught.value.message


def test_the_canonical_form_is_stable() -> None:
    tariff = read(document(energy(vat=None), id="t", min_price={"excl_vat": 1}, preauthorize_amount="0.00000001"))
    value: Value = ("t", "", (((("ENERGY", 2_500, None, 1),), None),), (10_000, None), None, 1)
    assert tariff.to_value() == value
    assert Tariff.from_value(value) == tariff
    assert encode(tariff.to_value()).hex() == "96a174a091929194a6454e45524759cd09c4c001c092cd2710c0c001"


def test_the_example_survives_its_canonical_bytes() -> None:
    tariff = parse_tariff(EXAMPLE.read_text())
    assert Tariff.from_value(decode(encode(tariff.to_value()))) == tariff


ENERGY: Value = ("ENERGY", 1, None, 1)
ELEMENT: Value = ((ENERGY,), None)
BAD_VALUES: list[Value] = [
    None,
    (),
    ("t", "", (ELEMENT,), None, None),
    ("t", "", (), None, None, None),
    ("t", "", (((), None),), None, None, None),
    ("t", "", (((ENERGY, ENERGY), None),), None, None, None),
    ("t", "", (ELEMENT,) * 17, None, None, None),
    ("t", "", (((ENERGY,) * 17, None),), None, None, None),
    ("t" * 37, "", (ELEMENT,), None, None, None),
    ("\n", "", (ELEMENT,), None, None, None),
    (b"t", "", (ELEMENT,), None, None, None),
    ("t", "", (((("CURRENT", 1, None, 1),), None),), None, None, None),
    ("t", "", (((("ENERGY", -1, None, 1),), None),), None, None, None),
    ("t", "", (((("ENERGY", 10**9 + 1, None, 1),), None),), None, None, None),
    ("t", "", (((("ENERGY", True, None, 1),), None),), None, None, None),
    ("t", "", (((("ENERGY", 1, 10**6 + 1, 1),), None),), None, None, None),
    ("t", "", (((("ENERGY", 1, None, 0),), None),), None, None, None),
    ("t", "", (((("FLAT", 1, None, 2),), None),), None, None, None),
    ("t", "", (ELEMENT,), (2, 1), None, None),
    ("t", "", (ELEMENT,), (2, None), (1, None), None),
    ("t", "", (ELEMENT,), (1,), None, None),
    ("t", "", (ELEMENT,), None, None, 8 * 10**16 + 1),
    ("t", "", (((ENERGY,),),), None, None, None),
    ("t", "", (((ENERGY,), ()),), None, None, None),
    ("t", "", (((ENERGY,), (None,) * 11),), None, None, None),
    ("t", "", (((ENERGY,), (1_440, *(None,) * 10)),), None, None, None),
    ("t", "", (((ENERGY,), (*(None,) * 4, 2, 2, *(None,) * 5)),), None, None, None),
    ("t", "", (((ENERGY,), (*(None,) * 10, 0)),), None, None, None),
    ("t", "", (((ENERGY,), (*(None,) * 10, 128)),), None, None, None),
]


@pytest.mark.parametrize("value", BAD_VALUES)
def test_a_canonical_form_that_no_tariff_has_is_refused(value: Value) -> None:
    with pytest.raises(InvalidInputError) as caught:
        Tariff.from_value(value)
    assert caught.value.reason in {"bad_encoding", "too_large"}


def test_refusals_are_input_errors_of_the_shared_tree() -> None:
    with pytest.raises(DatacarError) as caught:
        read({})
    assert caught.value.code == -32000
    assert caught.value.data()["reason"] == "bad_tariff"

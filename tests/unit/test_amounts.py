"""Amounts: exact decimal DATR to motes and back, nothing rounded, nothing guessed."""

from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datacar.amounts import MAX_MOTES, BadAmountError, format_motes, parse_datr


@pytest.mark.parametrize(
    ("text", "motes"),
    [
        ("0", 0),
        ("0.00000001", 1),
        ("1", 100_000_000),
        ("1.5", 150_000_000),
        ("1.50", 150_000_000),
        ("800000000", 80_000_000_000_000_000),
        ("184467440737.09551615", MAX_MOTES),
    ],
)
def test_plain_decimals_are_exact(text: str, motes: int) -> None:
    assert parse_datr(text) == motes
    assert parse_datr(Decimal(text)) == motes


@pytest.mark.parametrize(
    "text",
    [
        *("", " 1", "1 ", "1\n", "+1", "-1", "-0", ".5", "5.", "01", "1e3", "1E3", "1,5", "1_000", "0x10", "NaN", "Infinity"),
        *("1.5 DATR", "\N{ARABIC-INDIC DIGIT ONE}", "1.000000001", "1.000000000", "184467440737.09551616", "9" * 5_000),
    ],
)
def test_anything_but_a_plain_decimal_is_refused(text: str) -> None:
    with pytest.raises(BadAmountError) as caught:
        parse_datr(text)
    assert caught.value.reason == "bad_encoding"
    assert '"1.5"' in caught.value.hint


@pytest.mark.parametrize("amount", [1.5, 1, True, None, b"1", ["1"]])
def test_only_text_and_decimals_are_amounts(amount: object) -> None:
    """A float is not exact, and a bare integer may be meant as DATR or as motes."""
    with pytest.raises(BadAmountError, match="must be text or a Decimal"):
        parse_datr(amount)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("amount", "motes"),
    [
        (Decimal("1E+3"), 100_000_000_000),
        (Decimal("1.10") * Decimal("1.0000000000"), 110_000_000),
        (Decimal(100).normalize(), 10_000_000_000),
        (Decimal("1E-8"), 1),
        (Decimal("0E+999999"), 0),
        (Decimal("0E-999999"), 0),
    ],
)
def test_a_decimal_counts_by_its_value_not_by_its_form(amount: Decimal, motes: int) -> None:
    assert parse_datr(amount) == motes


@pytest.mark.parametrize(
    ("amount", "problem"),
    [
        (Decimal("NaN"), "finite"),
        (Decimal("sNaN"), "finite"),
        (Decimal("Infinity"), "finite"),
        (Decimal("-1.5"), "negative"),
        (Decimal("-0"), "negative"),
        (Decimal("0.000000001"), "less than one mote"),
        (Decimal("1.000000001"), "9 decimals"),
        (Decimal("1E+999999"), "too large"),
        (Decimal("1E-999999"), "less than one mote"),
        (Decimal("184467440737.09551616"), "too large"),
        (Decimal("1E+12"), "too large"),
    ],
)
def test_decimals_that_are_no_amount(amount: Decimal, problem: str) -> None:
    with pytest.raises(BadAmountError, match=problem):
        parse_datr(amount)


@pytest.mark.parametrize(
    ("motes", "text"),
    [(0, "0"), (1, "0.00000001"), (100, "0.000001"), (150_000_000, "1.5"), (10**10, "100"), (-150_000_000, "-1.5")],
)
def test_formatting_drops_needless_zeros_only(motes: int, text: str) -> None:
    assert format_motes(motes) == text


@given(motes=st.integers(0, MAX_MOTES))
def test_every_amount_comes_back(motes: int) -> None:
    assert parse_datr(format_motes(motes)) == motes
    assert parse_datr(Decimal(format_motes(motes))) == motes


@given(amount=st.decimals(allow_nan=False, allow_infinity=False))
def test_an_accepted_decimal_is_exactly_its_motes(amount: Decimal) -> None:
    try:
        motes = parse_datr(amount)
    except BadAmountError:
        return
    assert Decimal(motes).scaleb(-8) == amount


@given(text=st.text(max_size=30) | st.from_regex(r"[0-9]{1,12}(\.[0-9]{0,10})?", fullmatch=True))
def test_accepted_text_is_exactly_its_motes(text: str) -> None:
    try:
        motes = parse_datr(text)
    except BadAmountError:
        return
    assert Decimal(motes).scaleb(-8) == Decimal(text)

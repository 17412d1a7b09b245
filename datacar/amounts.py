"""Amounts as people write them: decimal DATR in, integer motes out, and back (1 DATR = 10^8 motes).

Exact or refused: no floats, no rounding, no signs, no exponents, nothing over an unsigned 64-bit integer.
"""

import re
from decimal import Decimal
from typing import Final

from ledger.errors import BadEncodingError
from ledger.types import MOTES_PER_DATR, Motes

DECIMALS: Final = 8
MAX_MOTES: Final = 2**64 - 1

_MAX_WHOLE_DIGITS: Final = len(str(MAX_MOTES // MOTES_PER_DATR))
_PLAIN_DECIMAL: Final = re.compile(r"(0|[1-9][0-9]*)(?:\.([0-9]+))?", re.ASCII)


class BadAmountError(BadEncodingError):
    """An amount that is no exact number of motes within an unsigned 64-bit integer."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message, hint='write DATR as a plain decimal such as "1.5", with at most 8 decimals', **details)


def parse_datr(amount: str | Decimal) -> Motes:
    """Return the motes of an amount in DATR: plain decimal text such as `"1.5"`, or a `Decimal` of that exact value.

    Zero is an amount. Raises `BadAmountError` for anything else: floats, integers (DATR or motes?), signs, exponents,
    more than 8 decimals, more than 2^64 - 1 motes.
    """
    if isinstance(amount, Decimal):
        return _parse_text(_plain_text(amount))
    if isinstance(amount, str):
        return _parse_text(amount)
    raise BadAmountError(f"an amount of DATR must be text or a Decimal, got {type(amount).__name__}")


def format_motes(motes: int) -> str:
    """Return `motes` in DATR, without needless zeros: 150000000 -> `"1.5"`. Differences may be negative."""
    whole, rest = divmod(abs(motes), MOTES_PER_DATR)
    sign = "-" if motes < 0 else ""
    return f"{sign}{whole}.{rest:0{DECIMALS}}".rstrip("0").rstrip(".")


def _parse_text(text: str) -> Motes:
    if len(text) > _MAX_WHOLE_DIGITS + 1 + DECIMALS:
        raise BadAmountError(f"the amount has {len(text)} characters: too large, or more than {DECIMALS} decimals")
    match = _PLAIN_DECIMAL.fullmatch(text)
    if match is None:
        raise BadAmountError(f"{text!r} is not a plain decimal number")
    whole, fraction = match[1], match[2] or ""
    if len(fraction) > DECIMALS:
        raise BadAmountError(f"{text} DATR has {len(fraction)} decimals, at most {DECIMALS} are allowed", limit=DECIMALS)
    motes = int(whole + fraction.ljust(DECIMALS, "0"))
    if motes > MAX_MOTES:
        raise BadAmountError(f"{text} DATR is too large: {motes} motes over a limit of {MAX_MOTES}", limit=MAX_MOTES, got=motes)
    return Motes(motes)


def _plain_text(amount: Decimal) -> str:
    """Return a Decimal's value as plain text: its exponent and trailing zeros are how it was computed, not what it is."""
    if not amount.is_finite() or amount.is_signed():
        raise BadAmountError(f"{amount} is not an amount: it must be finite and not negative")
    if amount.is_zero():
        return "0"
    if amount.adjusted() >= _MAX_WHOLE_DIGITS:  # before 10^(10^9) is spelled out
        raise BadAmountError(f"{amount} DATR is too large: over {MAX_MOTES} motes", limit=MAX_MOTES)
    if amount.adjusted() < -DECIMALS:
        raise BadAmountError(f"{amount} DATR is less than one mote", limit=DECIMALS)
    text = f"{amount:f}"
    return text.rstrip("0").rstrip(".") if "." in text else text

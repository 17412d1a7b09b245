"""Numbers inside of sentences that contracts and their terms say, as people write them: dates, money, rates.

Such a sentence has no list of its numbers: what each is follows from the words around it.
"""

import re
from typing import Annotated, Final

from datacar.units import DATE, DATR, DAYS, MOMENT_MS, NUMBER, Unit, unit_of
from vm.abi_types import Bounds, type_spec

WIDE: Final = type_spec(Annotated[int, Bounds(-(2**63), 2**64 - 1)])
_LOAN_MONEY: Final = frozenset({"principal", "minor_unit", "instalment_multiple_of", "late_fee", "fee_limit"})
_MOTES: Final = re.compile(r"\b([0-9]{1,20}) motes\b", re.ASCII)
_DAY: Final = re.compile(r"\bday ([0-9]{4,7})(?![-0-9])", re.ASCII)
_UNTIL: Final = re.compile(r"\bbefore ([0-9]{13})\b", re.ASCII)
_WITHIN: Final = re.compile(
    r"\b([a-z][a-z_]*) must be within (-?[0-9]{1,20})\.\.(-?[0-9]{1,20}), got (-?[0-9]{1,20})(?![0-9])", re.ASCII
)


def plain_unit(name: str) -> Unit | None:
    """Return the unit that a number's name says, None for a count or what the name counts itself."""
    unit = DATE if name == "today" else unit_of(name, WIDE)
    return None if unit in (NUMBER, DAYS) else unit


def in_words(text: str) -> str:
    """Return a sentence with the amounts, days, times and bounds of terms that it names as people write them."""
    text = _WITHIN.sub(_within, text)
    text = _MOTES.sub(lambda found: DATR.show(int(found[1])), text)
    text = _UNTIL.sub(lambda found: f"before {MOMENT_MS.show(int(found[1]))}", text)
    return _DAY.sub(lambda found: DATE.show(int(found[1])), text)


def _within(found: re.Match[str]) -> str:
    unit = DATR if found[1] in _LOAN_MONEY else plain_unit(found[1])
    low, high, got = (int(number) if unit is None else unit.show(int(number)) for number in found.groups()[1:])
    return f"{found[1]} must be within {low} to {high}, got {got}"

"""Strict reading of JSON documents that carry money: no binary floats, no unknown keys, no duplicates, everything bounded.

A `Node` is a value with its JSON path, so every refusal says where and what: `$.elements[0].price_components[1].price`.
"""

import json
import re
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from typing import ClassVar, Final, NoReturn

from ledger.errors import InvalidInputError

MAX_CHARS: Final = 256 * 1024
MAX_NUMBER_CHARS: Final = 64
_SHOWN_CHARS: Final = 60
_PLAIN_DECIMAL: Final = re.compile(r"-?[0-9]{1,40}(\.[0-9]{1,20})?")


class FieldError(InvalidInputError):
    """A field of a document is wrong; subclasses say of which document. `details` holds `path` and the shown `value`."""

    word: ClassVar[str]

    def __init__(self, why: str, *, path: str, value: object, hint: str = "correct this field and try again") -> None:
        shown = show(value)
        super().__init__(self.word, f"{path}: {why}, got {shown}", hint=hint, path=path, value=shown)


def show(value: object) -> str:
    """Return a short text of any value for an error message; never raises, whatever the size."""
    if isinstance(value, dict | list | tuple):
        return f"{'an object' if isinstance(value, dict) else 'an array'} of {len(value)}"
    if isinstance(value, int) and value.bit_length() > 256:
        return f"an integer of {value.bit_length()} bits"
    if value is None or isinstance(value, bool | str):
        text = json.dumps(value if not isinstance(value, str) else value[: _SHOWN_CHARS + 1])
    else:
        text = str(value)
    return text if len(text) <= _SHOWN_CHARS else text[:_SHOWN_CHARS] + "..."


@dataclass(frozen=True, slots=True)
class Node:
    """A JSON value, the path it stands at, and the error class that refuses it."""

    value: object
    path: str
    error: type[FieldError]

    def refuse(self, why: str, *, hint: str = "correct this field and try again") -> NoReturn:
        """Raise this document's error for this field."""
        raise self.error(why, path=self.path, value=self.value, hint=hint)

    def members(self, *, required: tuple[str, ...] = (), optional: tuple[str, ...] = ()) -> dict[str, "Node"]:
        """Return the object's members that are not null. Unknown keys are refused: a misspelt field must not be ignored."""
        if not isinstance(self.value, dict):
            self.refuse("must be an object")
        for key in self.value:
            if key not in required and key not in optional:
                known = ", ".join((*required, *optional))
                self.refuse(f"unknown field {show(key)}", hint=f"the fields known here are: {known}")
        found = {key: Node(value, f"{self.path}.{key}", self.error) for key, value in self.value.items() if value is not None}
        for key in required:
            if key not in found:
                self.refuse(f"field {show(key)} is missing")
        return found

    def items(self, *, low: int, high: int) -> tuple["Node", ...]:
        """Return the array's items; there must be `low`..`high` of them."""
        if not isinstance(self.value, list):
            self.refuse("must be an array")
        if not low <= len(self.value) <= high:
            self.refuse(f"must have {low}..{high} items")
        return tuple(Node(value, f"{self.path}[{index}]", self.error) for index, value in enumerate(self.value))

    def text(self, *, max_chars: int) -> str:
        """Return printable text of at most `max_chars` characters."""
        if not isinstance(self.value, str):
            self.refuse("must be text")
        if len(self.value) > max_chars or not self.value.isprintable():
            self.refuse(f"must be at most {max_chars} printable characters")
        return self.value

    def scaled(self, *, places: int, high: int, low: int = 0) -> int:
        """Return the number times 10^`places`, exactly, within `low`..`high`.

        Takes an integer, a `Decimal` or a plain decimal string; more than `places` decimal places are refused, not rounded.
        """
        sign, digits, exponent = self._decimal().as_tuple()
        if not isinstance(exponent, int):
            self.refuse("must be a finite number")
        significant = "".join(map(str, digits)).rstrip("0")
        shift = exponent + len(digits) - len(significant) + places if significant else 0
        if shift < 0:
            self.refuse(f"must have at most {places} decimal places" if places else "must be a whole number")
        # Checked before the power is built: 1e999999999 must not cost a gigabyte.
        if shift + len(significant) > MAX_NUMBER_CHARS:
            self._out_of_range(places, low, high)
        magnitude: int = int(significant or "0") * 10**shift
        number = -magnitude if sign else magnitude
        if not low <= number <= high:
            self._out_of_range(places, low, high)
        return number

    def _decimal(self) -> Decimal:
        """Return the number as written; booleans, binary floats and odd strings are not numbers here."""
        value = self.value
        if isinstance(value, Decimal):
            return value
        if isinstance(value, float):
            self.refuse("is a binary float, which is not exact", hint="parse JSON with parse_float=decimal.Decimal")
        plain = isinstance(value, str) and _PLAIN_DECIMAL.fullmatch(value)
        small = isinstance(value, int) and not isinstance(value, bool) and value.bit_length() <= 256
        if not (plain or small):
            self.refuse("must be a number")
        return Decimal(str(value))

    def _out_of_range(self, places: int, low: int, high: int) -> NoReturn:
        self.refuse(f"must be within {_unscaled(low, places)}..{_unscaled(high, places)}")


def scaled_or_none(node: Node | None, *, places: int, high: int) -> int | None:
    """Return `node.scaled(...)` of an optional member, None where it is absent."""
    return None if node is None else node.scaled(places=places, high=high)


def _unscaled(number: int, places: int) -> str:
    """Return `number` / 10^`places` as a plain decimal text."""
    return f"{Decimal(number).scaleb(-places).normalize():f}"


def parse(text: str, error: type[FieldError]) -> Node:
    """Return the root node of a JSON text of at most `MAX_CHARS`; raises `error` when it is no such JSON."""
    if len(text) > MAX_CHARS:
        raise error(f"must be JSON of at most {MAX_CHARS} characters", path="$", value=len(text))
    try:
        document = json.loads(
            text,
            parse_float=_number,
            parse_int=lambda digits: int(_bounded(digits)),
            parse_constant=_refuse_constant,
            object_pairs_hook=_unique,
        )
    except (ValueError, RecursionError) as problem:
        raise error(f"not valid JSON ({problem})", path="$", value=text) from problem
    return Node(document, "$", error)


def _bounded(digits: str) -> str:
    if len(digits) > MAX_NUMBER_CHARS:
        raise ValueError(f"a number of {len(digits)} characters")
    return digits


def _number(text: str) -> Decimal:
    try:
        return Decimal(_bounded(text))
    except InvalidOperation as problem:
        raise ValueError(f"the number {text} is out of range") from problem


def _refuse_constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not a number")


def _unique(pairs: list[tuple[str, object]]) -> dict[str, object]:
    """Build an object, refusing a key given twice (which one would count?)."""
    members: dict[str, object] = {}
    for key, value in pairs:
        if key in members:
            raise ValueError(f"the key {show(key)} stands twice in one object")
        members[key] = value
    return members

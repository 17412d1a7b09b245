"""What a program gives a contract's method: money, energies, rates, dates and times with their units, exactly.

    "1.5 DATR", "7.2 kWh", "12.5 %", "90 min", "2027-01-31 12:00", "+7d"   text with a unit, read as the command line reads it
    Decimal("1.5")   an amount in DATR (or in the asset named beside it), a rate in percent, a price in DATR
    datetime (with a zone), date, timedelta   where the method takes a time, a day, a length of time
    bytes            instead of 0x hex
    "150000000", 5   the JSON forms of the ABI: amounts in motes as text, other numbers as the contract has them

Nothing is rounded, and a float is refused wherever it stands. Other text of a bare number is refused: it names no unit.
"""

import re
from collections.abc import Mapping, Sequence
from datetime import date, datetime, timedelta
from decimal import Decimal
from typing import Any, Final, NoReturn, TypeAlias

from datacar.shapes import NAMING, Shape, of_params, priced
from datacar.units import DATE, DURATIONS, MOMENT_MS, MOMENT_S, NUMBER, BadValueError, Unit, read_number, within
from vm.abi import Json, MethodSpec
from vm.abi_types import Kind

Argument: TypeAlias = (
    bool | int | str | bytes | Decimal | datetime | date | timedelta | Mapping[str, "Argument"] | Sequence["Argument"] | None
)
"""A value that a method may be given; see above."""

_BARE: Final = re.compile(r"-?[0-9]+(?:\.[0-9]*)?", re.ASCII)
_MOTES: Final = re.compile(r"0|-?[1-9][0-9]*", re.ASCII)
_MILLISECOND: Final = timedelta(milliseconds=1)
_MAX_DIGITS: Final = 30


class UnknownUnitError(Exception):
    """A unit is needed that is not known yet: somebody has to ask the node (`datacar.asset_units`).

    `asset` is a symbol, or what `datacar.shapes.priced` names a hold's asset or an order's quantity by.
    """

    def __init__(self, asset: str) -> None:
        super().__init__(asset)
        self.asset = asset


class UnknownTimeError(Exception):
    """The chain's time is needed, for a time like `+7d`, and is not known yet."""


def json_forms(
    method: MethodSpec, args: Sequence[Any] | Mapping[str, Any], units: Mapping[str, Unit], now_ms: int | None
) -> list[Json] | dict[str, Json]:
    """Return a method's arguments, by position or by name, in the JSON forms of its ABI.

    `units` are those of issued assets by symbol. Raises `BadValueError` that names the argument, `UnknownUnitError`,
    `UnknownTimeError`. What is no argument of the method stays as it is: whoever takes it refuses it.
    """
    params = of_params(method)
    reading = _Reading(units, now_ms)
    if isinstance(args, Mapping):
        return reading.members(params, args)
    named = reading.members(params[: len(args)], dict(zip([param.name for param in params], args, strict=False)))
    return [*named.values(), *(reading.exact(value) for value in args[len(params) :])]


class _Reading:
    """Turns values into JSON forms, with the units of assets and the time as far as they are known."""

    def __init__(self, units: Mapping[str, Unit], now_ms: int | None) -> None:
        self._units = units
        self._now_ms = now_ms

    def members(self, parts: Sequence[Shape], given: Mapping[str, Any]) -> dict[str, Json]:
        """Return named values that stand together; amounts are of the asset that is named beside them."""
        named = {name: given[name] for name in NAMING if name in given}
        shapes = {part.name: part for part in priced(tuple(parts), named, self._unit_of)}
        found = {}
        for name, value in given.items():
            with within(name):
                found[name] = self.form(shapes[name], value) if name in shapes else self.exact(value)
        return found

    def form(self, shape: Shape, value: Any) -> Json:
        """Return the JSON form of a value of this shape."""
        self.exact(value)
        match shape.kind:
            case Kind.MOTES | Kind.INT if shape.unit is not None and not isinstance(value, bool | int | None):
                return self._number(shape, shape.unit, value)
            case Kind.INT if shape.unit is not None and type(value) is int:
                shape.unit.check_bare(value)
                return value
            case Kind.BYTES if isinstance(value, bytes):
                return "0x" + value.hex()
            case Kind.STRUCT if isinstance(value, Mapping):
                return self.members(shape.parts, value)
            case Kind.LIST | Kind.TUPLE if isinstance(value, list | tuple):
                return self._items(shape, value)
            case _:
                return value

    def exact(self, value: Any) -> Any:
        """Return a value as it is. Raises `BadValueError` for a float."""
        if isinstance(value, float):
            raise BadValueError(f"{value} is a float, which is not exact", 'write it with its unit, such as "1.5 DATR"')
        return value

    def _items(self, shape: Shape, values: Sequence[Any]) -> list[Json]:
        parts = shape.parts * len(values) if shape.kind is Kind.LIST else shape.parts
        if len(parts) != len(values):
            return [self.exact(value) for value in values]  # of the wrong length: refused by what takes it
        found = []
        for number, (part, value) in enumerate(zip(parts, values, strict=True), 1):
            with within(f"[{number}]"):
                found.append(self.form(part, value))
        return found

    def _number(self, shape: Shape, unit: Unit, value: Any) -> Json:
        """Return a number that was given with its unit: motes are text in JSON, other numbers are numbers."""
        is_money = shape.kind is Kind.MOTES
        if isinstance(value, str) and ((is_money and _MOTES.fullmatch(value)) or unit is NUMBER):
            return value
        number = read_number(unit, _text_of(unit, value), shape.spec.low, shape.spec.high, self._now)
        return str(number) if is_money else number

    def _unit_of(self, symbol: str) -> Unit:
        """Return an asset's unit, or one that says it is not known when it is needed."""
        if symbol in self._units:
            return self._units[symbol]

        def unknown(*_args: object) -> NoReturn:
            raise UnknownUnitError(symbol)

        return Unit(symbol, "", "", unknown, unknown)

    def _now(self) -> int:
        if self._now_ms is None:
            raise UnknownTimeError
        return self._now_ms


def _text_of(unit: Unit, value: Any) -> str:
    """Return the text that a unit reads. Raises `BadValueError` for what is no value of that unit."""
    match value:
        case str():
            if _BARE.fullmatch(value):
                raise BadValueError(f"{value!r} names no unit", f"{unit.hint}; here with its unit, or as a Decimal")
            return value
        case Decimal() if value.is_finite() and abs(value.adjusted()) <= _MAX_DIGITS:
            return f"{value:f}"
        case datetime() if unit in (MOMENT_MS, MOMENT_S):
            return _moment_text(value)
        case timedelta() if unit in DURATIONS:
            count, rest = divmod(value, _MILLISECOND)
            if not rest:
                return f"{count} ms"
        case date() if unit is DATE and not isinstance(value, datetime):
            return value.isoformat()
    raise BadValueError(f"{value!r} is no value here", unit.hint)


def _moment_text(value: datetime) -> str:
    if value.tzinfo is None:
        raise BadValueError(f"{value.isoformat()} names no time zone", "give it one: datetime(..., tzinfo=UTC)")
    if value.microsecond % 1_000:
        raise BadValueError(f"{value.isoformat()} is finer than a millisecond", "cut it first: value.replace(microsecond=0)")
    return value.isoformat(timespec="milliseconds")

"""Contract values as people write and read them, directed by their shapes: text and JSON in, canonical values out, and back.

In JSON, strings are read as people write them ("1.5 DATR", "2024-02-29"), whole numbers are the contract's own, and a number
with a decimal point is taken as its text. Where the contract's own number is another than people's, a whole number is refused:
`12` beside `12.5` would be 0.012 %. `Shown.to_json` gives what can be read again: money is a decimal string of DATR.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, NoReturn

from datacar import shapes
from datacar.shapes import NAMING, Money, Shape, priced
from datacar.units import BadValueError, Now, read_number, within
from datacar.words import in_words
from ledger.codec import Value, as_tuple, decode, encode
from ledger.errors import BadEncodingError, DatacarError
from ledger.policy import HRP, format_address, parse_address
from ledger.transaction import MAX_ARGS, Call
from ledger.types import Address
from vm.abi import Json
from vm.abi_types import Kind
from vm.calendar import BadDateError
from vm.errors import ContractError

if TYPE_CHECKING:
    from vm.registry import Registry

MAX_JSON_CHARS: Final = 512 * 1024
_COMPOSED: Final = frozenset({Kind.LIST, Kind.TUPLE, Kind.STRUCT})
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_BOOLS: Final = {"true": True, "yes": True, "false": False, "no": False}
_SHOWN_CHARS: Final = 60
_BY_THE_CHAIN: Final = {"Outcome": ("LAPSED",)}
"""Words that only the chain itself gives."""
_CALL_KEYS: Final = ("contract", "method", "args")


@dataclass(frozen=True, slots=True)
class Lookup:
    """What reading may have to ask for: the account of a name, the time, an asset's unit by its symbol, and the methods that
    calls inside of values are of.
    """

    address: Callable[[str], Address]
    now_ms: Now
    money: Money
    registry: "Registry"


# ---- reading


def read_text(shape: Shape, text: str, lookup: Lookup) -> Value:
    """Return the canonical value of a text. Lists, tuples and structs are JSON; flat ones also `a,b` and `name=a,name=b`.

    Raises `BadValueError` saying what was wrong, with the unit in the hint.
    """
    match shape.kind:
        case Kind.INT | Kind.MOTES if shape.unit is not None:
            return read_number(shape.unit, text, shape.spec.low, shape.spec.high, lookup.now_ms)
        case Kind.BOOL:
            return _BOOLS[text.lower()] if text.lower() in _BOOLS else _refuse(text, "write yes or no")
        case Kind.ENUM:
            found = next((word for word in words_of(shape) if word.lower() == text.lower()), None)
            return found if found is not None else _refuse(text, f"write one of {', '.join(words_of(shape))}")
        case Kind.ADDRESS:
            return _address(text, lookup)
        case Kind.BYTES:
            if not _HEX.fullmatch(text):
                _refuse(text, _expected(shape))
            return _checked(shape, bytes.fromhex(text[2:]))
        case Kind.LIST | Kind.TUPLE | Kind.STRUCT:
            return read_json(shape, _parts_of(shape, text), lookup)
        case _:
            return _checked(shape, text)


def read_json(shape: Shape, data: Json, lookup: Lookup) -> Value:
    """Return the canonical value of a JSON one. Raises `BadValueError` with the path to what was wrong."""
    if data is None and shape.optional:
        return None
    if isinstance(data, str) and shape.kind not in _COMPOSED:
        return read_text(shape, data, lookup)
    match shape.kind:
        case Kind.INT if type(data) is int:
            if shape.unit is not None and shape.unit.scaled:
                _refuse(str(data), f'give it as text, such as "{shape.unit.example}": a bare number could be another unit')
            if shape.unit is not None:
                shape.unit.check_bare(data)
            return _checked(shape, data)
        case Kind.MOTES if type(data) is int:
            return _refuse(str(data), 'an amount is text, such as "1.5 DATR": a bare number could be motes')
        case Kind.BOOL if isinstance(data, bool):
            return data
        case Kind.LIST if isinstance(data, list):
            return _checked(
                shape, tuple([_read_part(shape.parts[0], f"[{at + 1}]", item, lookup) for at, item in enumerate(data)])
            )
        case Kind.TUPLE:
            return _read_tuple(shape, data, lookup)
        case Kind.STRUCT:
            return _read_call(shape, data, lookup) if shape.is_call else _read_struct(shape, data, lookup)
        case _:
            return _refuse(data, _expected(shape))


def words_of(shape: Shape) -> tuple[str, ...]:
    """Return the words that people may give for one of a list."""
    return tuple(word for word in shape.spec.names if word not in _BY_THE_CHAIN.get(shape.spec.name, ()))


def assemble(shape: Shape, given: Mapping[str, Value]) -> Value:
    """Return a struct of the parts that were given, by name, and the defaults of the others.

    Raises `BadValueError` naming what is missing or unknown.
    """
    names = [part.name for part in shape.parts]
    if unknown := given.keys() - set(names):
        _refuse(", ".join(sorted(unknown)), f"{shape.spec.name} has {', '.join(names)}")
    if missing := [part.name for part in shape.parts if part.name not in given and not part.may_be_left_out]:
        raise BadValueError(f"{', '.join(missing)} of {shape.spec.name} must be given", f"it has {', '.join(names)}")
    return _checked(shape, tuple([given[part.name] if part.name in given else left_out(part) for part in shape.parts]))


def left_out(shape: Shape) -> Value:
    """Return the value of something that may be left out and was."""
    if shape.default is not None:
        return shape.default.value
    if shape.optional:
        return None
    return assemble(shape, {}) if shape.kind is Kind.STRUCT else ()


def load_json(text: str) -> Json:
    """Return the JSON document in a text; a number with a decimal point as its text. Raises `BadValueError`."""
    if len(text) > MAX_JSON_CHARS:
        raise BadValueError(f"{len(text)} characters of JSON are over the limit of {MAX_JSON_CHARS}", "give less")
    try:
        return json.loads(text, parse_float=str, parse_constant=_no_constant, object_pairs_hook=_members)
    except (ValueError, RecursionError) as error:
        raise BadValueError(
            f"this is no JSON: {error}", 'write JSON such as {"name": "value"}, or name a file with it'
        ) from error


def _members(pairs: list[tuple[str, Json]]) -> dict[str, Json]:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("an object has the same name twice")
    return found


def _no_constant(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _refuse(data: Json, hint: str) -> NoReturn:
    shown = repr(data[:_SHOWN_CHARS]) if isinstance(data, str) else "this" if isinstance(data, dict | list) else repr(data)
    raise BadValueError(f"{shown} cannot be used", hint)


def _expected(shape: Shape) -> str:
    match shape.kind:
        case Kind.LIST:
            return f"give an array of at most {shape.spec.high} items"
        case Kind.TUPLE:
            return f"give an array of {len(shape.parts)} items"
        case Kind.BYTES:
            return f"write 0x and {2 * shape.spec.low if shape.spec.low == shape.spec.high else 'pairs of'} hex digits"
        case Kind.TEXT:
            return f"write {shape.spec.low} to {shape.spec.high} characters"
        case Kind.STRUCT:
            return f"give an object with {', '.join(part.name for part in shape.parts)}"
        case _:
            return shape.unit.hint if shape.unit is not None else f"give {shape.kind.value} as text"


def _checked(shape: Shape, value: Value) -> Value:
    """Return a canonical value once its type agrees. Raises `BadValueError`."""
    try:
        shape.spec.decode(value)
    except DatacarError as error:  # a struct may refuse what its fields are together
        about_dates = isinstance(error.__cause__, BadDateError)  # its hint is how to write one, which was not the question here
        own = shape.kind is Kind.STRUCT and error.hint and not about_dates
        hint = error.hint if own else _expected(shape)
        raise BadValueError(in_words(error.message), hint) from error
    return value


def _address(text: str, lookup: Lookup) -> Address:
    if not text.lower().startswith(f"{HRP}1"):
        return lookup.address(text)
    try:
        return parse_address(text)
    except BadEncodingError as error:
        raise BadValueError(error.message, "copy the whole address, or give the name of a wallet") from error


def _parts_of(shape: Shape, text: str) -> Json:
    """Return the JSON form of a composed value's text."""
    if text.lstrip()[:1] in ("{", "["):
        return load_json(text)
    nested = shape.kind is Kind.TUPLE and any(part.kind in _COMPOSED for part in shape.parts)
    if shape.kind is Kind.LIST or shape.is_call or nested:
        _refuse(text, f"{_expected(shape)}, as JSON")
    parts = text.split(",")
    if shape.kind is Kind.TUPLE:
        return parts
    pairs = [part.partition("=") for part in parts]
    if any(not equals for _, equals, _ in pairs) or len({name for name, _, _ in pairs}) < len(pairs):
        _refuse(text, f"write {','.join(f'{part.name}=...' for part in shape.parts)}, or JSON")
    return {name.strip(): value for name, _, value in pairs}


def _read_part(shape: Shape, place: str, data: Json, lookup: Lookup) -> Value:
    """Return a part of a list, which may also be written as text."""
    with within(place):
        if isinstance(data, str):
            return read_text(shape, data, lookup)
        return read_json(shape, data, lookup)


def _read_tuple(shape: Shape, data: Json, lookup: Lookup) -> Value:
    if not isinstance(data, list) or len(data) != len(shape.parts):
        _refuse(data, _expected(shape))
    parts = [_read_part(part, f"[{part.name}]", item, lookup) for part, item in zip(shape.parts, data, strict=True)]
    return _checked(shape, tuple(parts))


def _read_struct(shape: Shape, data: Json, lookup: Lookup) -> Value:
    if not isinstance(data, dict):
        _refuse(data, _expected(shape))
    parts, given = {part.name: part for part in priced_json(shape.parts, data, lookup)}, {}
    for name, item in data.items():
        if name not in parts:
            _refuse(name, f"{shape.spec.name} has {', '.join(parts)}")
        with within(name):
            given[name] = read_json(parts[name], item, lookup)
    return assemble(shape, given)


def priced_json(parts: tuple[Shape, ...], data: Mapping[str, Json], lookup: Lookup) -> tuple[Shape, ...]:
    """Return parts in the units that are named beside them. Raises `BadValueError`, and why a unit is not known."""
    named = {part.name: part for part in parts if part.name in NAMING and data.get(part.name) is not None}
    return priced(parts, {name: read_json(part, data[name], lookup) for name, part in named.items()}, lookup.money)


def _read_call(shape: Shape, data: Json, lookup: Lookup) -> Value:
    """Return a call that is made later: as `read_call`, or with arguments as 0x of canonical bytes."""
    if isinstance(data, dict) and isinstance(data.get("args"), str):
        return _read_struct(shape, data, lookup)
    call = read_call(data, lookup)
    return _checked(shape, (call.contract, call.method, encode(call.args)))


def read_call(data: Json, lookup: Lookup) -> Call:
    """Return the call of {contract, method, args}, its arguments by name or in order. Raises `BadValueError`."""
    if not isinstance(data, dict):
        _refuse(data, f"give an object with {', '.join(_CALL_KEYS)}")
    if data.keys() != set(_CALL_KEYS):
        wrong = [f"{name[:_SHOWN_CHARS]!r} is unknown" for name in sorted(data.keys() - set(_CALL_KEYS))]
        wrong += [f"{name!r} is missing" for name in _CALL_KEYS if name not in data]
        raise BadValueError(f"in this call {wrong[0]}", f"give {', '.join(_CALL_KEYS)}")
    contract, method = data["contract"], data["method"]
    if not isinstance(contract, str) or not isinstance(method, str):
        _refuse(data, "contract and method are text")
    return Call(contract, method, read_args(contract, method, data["args"], lookup))


def read_args(contract: str, method: str, args: Json, lookup: Lookup) -> tuple[Value, ...]:
    """Return a method's canonical arguments: an object by name, or an array in order. Raises `BadValueError`."""
    try:
        params = shapes.of_params(lookup.registry.method(contract, method))
    except ContractError as error:
        raise BadValueError(f"{contract}.{method}: {error.message}", "`datacar CONTRACT --help` lists its methods") from error
    names = [param.name for param in params]
    given = dict(zip(names, args, strict=False)) if isinstance(args, list) and len(args) == len(names) else args
    if isinstance(given, dict) and (unknown := sorted(given.keys() - set(names))):
        raise BadValueError(f"{method} has no {unknown[0][:_SHOWN_CHARS]!r}", f"it takes {', '.join(names) or 'nothing'}")
    if not isinstance(given, dict):
        _refuse(args, f"{method} takes {', '.join(names) or 'no arguments'}")
    values = []
    for param in priced_json(params, given, lookup):
        with within(f"{method} {param.name}"):
            if param.name not in given and not param.may_be_left_out:
                raise BadValueError("must be given", _expected(param))
            values.append(read_json(param, given[param.name], lookup) if param.name in given else left_out(param))
    return tuple(values)


# ---- showing


@dataclass(frozen=True, slots=True)
class Shown:
    """How values are shown: `label` says whose an address is, `money` an asset's unit, `registry` what calls in values mean."""

    label: Callable[[Address], str]
    money: Money
    registry: "Registry"

    def text(self, shape: Shape, value: Any) -> str:
        """Return a value in one line."""
        if value is None:
            return "-"
        match shape.kind:
            case Kind.BOOL:
                return "yes" if value else "no"
            case Kind.ADDRESS:
                return self.label(Address(value))
            case Kind.BYTES:
                return f"0x{value.hex()}"
            case Kind.LIST:
                return "[" + ", ".join(self.text(shape.parts[0], item) for item in value) + "]"
            case Kind.TUPLE:
                return "(" + ", ".join(self._parts(shape.parts, value)) + ")"
            case Kind.STRUCT:
                return self.call(value) if shape.is_call else "(" + ", ".join(self.named(shape.parts, value)) + ")"
            case _:
                return shape.unit.show(value) if shape.unit is not None else str(value)

    def named(self, parts: Sequence[Shape], values: Sequence[Any]) -> list[str]:
        """Return `name value` of each part."""
        texts = self._parts(self.priced(parts, values), values)
        return [f"{part.name} {text}" for part, text in zip(parts, texts, strict=True)]

    def priced(self, parts: Sequence[Shape], values: Sequence[Any]) -> tuple[Shape, ...]:
        """Return parts in the units that are named beside them."""
        named = {part.name: value for part, value in zip(parts, values, strict=True) if part.name in NAMING}
        return priced(tuple(parts), named, self.money)

    def call(self, value: Any) -> str:
        """Return a call that is kept in a value, its arguments by name where they are known here."""
        contract, method, raw = value
        try:
            args = as_tuple(decode(raw), "arguments", max_items=MAX_ARGS)
            spec = self.registry.method(contract, method)
            spec.decode_args(args)
        except DatacarError:
            return f"{contract}.{method}(0x{raw.hex()})"
        return f"{contract}.{method}({', '.join(self.named(shapes.of_params(spec), args))})"

    def lines(self, shape: Shape, value: Any, path: str = "") -> list[tuple[str, str]]:
        """Return a value as lines of (path, text): a struct's fields, and a list's items where they are structs."""
        name = f"{path}." if path else ""
        if value is not None and shape.kind is Kind.STRUCT and not shape.is_call:
            parts = zip(self.priced(shape.parts, value), value, strict=True)
            return [line for part, item in parts for line in self.lines(part, item, name + part.name)]
        if value is not None and shape.kind is Kind.LIST and shape.parts[0].kind is Kind.STRUCT:
            items = [self.lines(shape.parts[0], item, f"{name}{at + 1}") for at, item in enumerate(value)]
            return [line for item in items for line in item] or [(path, "-")]
        return [(path, self.text(shape, value))]

    def to_json(self, shape: Shape, value: Any) -> Json:
        """Return the JSON form of a canonical value: as the ABI's, but money is a decimal string of DATR (or of its asset).

        So is whatever else has another unit in the contract: percentages, prices.
        """
        if value is None:
            return None
        match shape.kind:
            case Kind.MOTES | Kind.INT if shape.unit is not None and (shape.unit.scaled or shape.kind is Kind.MOTES):
                return shape.unit.show(value).partition(" ")[0]
            case Kind.ADDRESS:
                return format_address(Address(value))
            case Kind.BYTES:
                return "0x" + value.hex()
            case Kind.LIST:
                return [self.to_json(shape.parts[0], item) for item in value]
            case Kind.TUPLE:
                return [self.to_json(part, item) for part, item in zip(shape.parts, value, strict=True)]
            case Kind.STRUCT:
                return {
                    part.name: self.to_json(part, item) for part, item in zip(self.priced(shape.parts, value), value, strict=True)
                }
            case _:
                return value

    def _parts(self, parts: Sequence[Shape], values: Sequence[Any]) -> list[str]:
        return [self.text(part, item) for part, item in zip(parts, values, strict=True)]

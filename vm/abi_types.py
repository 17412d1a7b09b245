"""Contract types: from an annotation to compiled codecs between canonical values and Python objects.

Each type has one `TypeSpec`, built once when the contract class is: `decode` is strict (arguments from outside), `encode` checks
what the contract itself stores, returns or emits, and `load` is the fast way back from our own state (None: as it is).
"""

import inspect
import re
import types
from collections.abc import Callable
from dataclasses import dataclass, fields, is_dataclass
from enum import StrEnum
from functools import cache
from operator import attrgetter
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from ledger.codec import INT_MAX, Value
from ledger.errors import BadEncodingError, InvalidInputError
from ledger.policy import ADDRESS_BYTES, CONTRACT_ACCOUNT, KEY_ACCOUNT
from ledger.types import Address, Motes

MAX_ITEMS: Final = 1_024
MAX_BYTES: Final = 64 * 1024
MAX_TEXT_CHARS: Final = 256


class Kind(StrEnum):
    """What a type is; with its bounds this is what the ABI says of it."""

    NONE = "none"
    BOOL = "bool"
    INT = "int"
    MOTES = "motes"
    ADDRESS = "address"
    BYTES = "bytes"
    TEXT = "text"
    ENUM = "enum"
    LIST = "list"
    TUPLE = "tuple"
    OPTIONAL = "optional"
    STRUCT = "struct"


@dataclass(frozen=True, slots=True)
class Bounds:
    """Inside `Annotated[...]`: a number's range, or how many bytes, characters or items. `motes`: JSON shows it as money."""

    low: int
    high: int
    motes: bool = False


U8: TypeAlias = Annotated[int, Bounds(0, 2**8 - 1)]
U16: TypeAlias = Annotated[int, Bounds(0, 2**16 - 1)]
U32: TypeAlias = Annotated[int, Bounds(0, 2**32 - 1)]
U64: TypeAlias = Annotated[int, Bounds(0, 2**64 - 1)]
I64: TypeAlias = Annotated[int, Bounds(-(2**63), 2**63 - 1)]
SignedMotes: TypeAlias = Annotated[int, Bounds(-(2**63), 2**63 - 1, motes=True)]
Bytes: TypeAlias = Annotated[bytes, Bounds(0, MAX_BYTES)]
Bytes32: TypeAlias = Annotated[bytes, Bounds(32, 32)]
Text: TypeAlias = Annotated[str, Bounds(0, MAX_TEXT_CHARS)]

Encoder: TypeAlias = Callable[[Any], Value]
Decoder: TypeAlias = Callable[[Value], Any]


@dataclass(frozen=True, slots=True)
class TypeSpec:
    """One compiled type. `low`/`high` bound the number, the bytes, the characters or the items.

    `items` are the types of its parts, `names` an enum's words or a struct's field names, `docs` what is said of those fields.
    """

    kind: Kind
    encode: Encoder
    decode: Decoder
    load: Callable[[Any], Any] | None = None
    low: int = 0
    high: int = 0
    items: "tuple[TypeSpec, ...]" = ()
    names: tuple[str, ...] = ()
    docs: tuple[str, ...] = ()
    name: str = ""
    doc: str = ""

    def from_state(self, value: Any) -> Any:
        """Return the Python object of a value that our own state holds."""
        return value if self.load is None else self.load(value)


@cache
def type_spec(hint: Any) -> TypeSpec:
    """Return the compiled type of an annotation. Raises `TypeError` for one that contracts cannot use."""
    if hint is None or hint is type(None):
        return TypeSpec(Kind.NONE, _none, _none)
    if hint is bool:
        return TypeSpec(Kind.BOOL, _bool, _bool)
    if hint is Motes:
        check = _int_check("motes", 0, INT_MAX)
        return TypeSpec(Kind.MOTES, check, check, high=INT_MAX)
    if hint is Address:
        return TypeSpec(Kind.ADDRESS, _address, _address, low=ADDRESS_BYTES, high=ADDRESS_BYTES)
    if hasattr(hint, "__supertype__"):
        return type_spec(hint.__supertype__)
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _enum_spec(hint)
    if isinstance(hint, type) and is_dataclass(hint):
        return _struct_spec(hint)
    return _composed_spec(hint)


def _composed_spec(hint: Any) -> TypeSpec:
    origin = get_origin(hint)
    if origin is Annotated:
        return _bounded_spec(hint)
    if origin is tuple:
        args = get_args(hint)
        if len(args) == 2 and args[1] is Ellipsis:
            return _list_spec(type_spec(args[0]), Bounds(0, MAX_ITEMS))
        return _tuple_spec(tuple(type_spec(arg) for arg in args))
    if origin in (Union, types.UnionType):
        parts = [arg for arg in get_args(hint) if arg is not type(None)]
        if len(parts) == 1:
            return _optional_spec(type_spec(parts[0]))
    raise TypeError(
        f"{hint!r} cannot be a contract type: use bool, U32, U64, I64, Motes, Address, Bytes, Bytes32, Text, a StrEnum, "
        "tuple[T, ...], tuple[A, B], T | None, or a frozen dataclass of these"
    )


def _bounded_spec(hint: Any) -> TypeSpec:
    base, *extras = get_args(hint)
    bounds = next((extra for extra in extras if isinstance(extra, Bounds)), None)
    if bounds is None:
        return type_spec(base)
    low, high = bounds.low, bounds.high
    if base is int:
        check = _int_check("motes" if bounds.motes else "the number", low, high)
        return TypeSpec(Kind.MOTES if bounds.motes else Kind.INT, check, check, low=low, high=high)
    if base is bytes or base is str:
        check = _size_check(base, low, high)
        return TypeSpec(Kind.BYTES if base is bytes else Kind.TEXT, check, check, low=low, high=high)
    inner = type_spec(base)
    if inner.kind is Kind.LIST:
        return _list_spec(inner.items[0], bounds)
    raise TypeError(f"Bounds do not apply to {base!r}")


def _refuse(expected: str, value: object) -> BadEncodingError:
    shown = value if type(value) is int and value.bit_length() <= 64 else type(value).__name__
    return BadEncodingError(f"expected {expected}, got {shown}")


def _none(value: Any) -> None:
    if value is not None:
        raise _refuse("nothing", value)


def _bool(value: Any) -> Any:
    if type(value) is not bool:
        raise _refuse("true or false", value)
    return value


def _address(value: Any) -> Any:
    if type(value) is not bytes or len(value) != ADDRESS_BYTES or value[0] not in (KEY_ACCOUNT, CONTRACT_ACCOUNT):
        raise _refuse(f"an address of {ADDRESS_BYTES} bytes with a known version", value)
    return value


def _int_check(what: str, low: int, high: int) -> Callable[[Any], Any]:
    def check(value: Any) -> Any:
        if type(value) is not int or not low <= value <= high:
            raise _refuse(f"{what} to be an integer within {low}..{high}", value)
        return value

    return check


def _size_check(base: type[bytes] | type[str], low: int, high: int) -> Callable[[Any], Any]:
    unit = "bytes" if base is bytes else "characters of text"
    expected = f"{low} {unit}" if low == high else f"{low} to {high} {unit}"

    def check(value: Any) -> Any:
        if type(value) is not base:
            raise _refuse(expected, value)
        if not low <= len(value) <= high:
            raise BadEncodingError(f"expected {expected}, got {len(value)}", limit=high, got=len(value))
        return value

    return check


def _enum_spec(hint: type[StrEnum]) -> TypeSpec:
    members = {str(member.value): member for member in hint}

    def encode(value: Any) -> Value:
        if type(value) is not hint:
            raise _refuse(hint.__name__, value)
        return str(value.value)

    def decode(value: Value) -> Any:
        if type(value) is not str or value not in members:
            raise _refuse("one of " + ", ".join(members), value)
        return members[value]

    names = tuple(members)
    return TypeSpec(Kind.ENUM, encode, decode, members.__getitem__, names=names, name=hint.__name__, doc=summary(hint))


def _struct_spec(cls: type) -> TypeSpec:
    if not cls.__dataclass_params__.frozen:  # type: ignore[attr-defined]
        raise TypeError(f"{cls.__name__} must be a frozen dataclass to be a contract type")
    hints = get_type_hints(cls, include_extras=True)
    names = tuple(item.name for item in fields(cls))
    items = tuple(type_spec(hints[name]) for name in names)
    if not names:
        raise TypeError(f"{cls.__name__} has no fields")
    take: Callable[[Any], Any] = attrgetter(*names) if len(names) > 1 else lambda value: (getattr(value, names[0]),)
    encoders = tuple(item.encode for item in items)
    decoders = tuple(item.decode for item in items)

    def encode(value: Any) -> Value:
        if type(value) is not cls:
            raise _refuse(cls.__name__, value)
        return tuple([one(part) for one, part in zip(encoders, take(value), strict=True)])

    def encode_plain(value: Any) -> Value:
        if type(value) is not cls:
            raise _refuse(cls.__name__, value)
        values: tuple[Value, ...] = take(value)
        for check, part in zip(encoders, values, strict=True):
            check(part)
        return values

    def decode(value: Value) -> Any:
        if type(value) is not tuple or len(value) != len(decoders):
            raise _refuse(f"{cls.__name__} as {len(decoders)} fields", value)
        parts = [one(part) for one, part in zip(decoders, value, strict=True)]
        try:
            return cls(*parts)
        except InvalidInputError as error:  # parts that do not go together, by the structure's own rules
            raise BadEncodingError(error.message, hint=error.hint) from error

    plain = all(item.encode is item.decode for item in items)
    documented = part_docs(cls)
    return TypeSpec(
        Kind.STRUCT,
        encode_plain if plain else encode,
        decode,
        _struct_loader(cls, items),
        items=items,
        names=names,
        docs=tuple(documented.get(name, "") for name in names),
        name=cls.__name__,
        doc=summary(cls),
    )


def _struct_loader(cls: type, items: tuple[TypeSpec, ...]) -> Callable[[Any], Any]:
    if all(item.load is None for item in items):
        return lambda value: cls(*value)
    loads = tuple(item.from_state for item in items)
    return lambda value: cls(*[load(part) for load, part in zip(loads, value, strict=True)])


def _tuple_spec(items: tuple[TypeSpec, ...]) -> TypeSpec:
    encoders = tuple(item.encode for item in items)
    decoders = tuple(item.decode for item in items)
    loads = tuple(item.from_state for item in items)

    def through(converters: tuple[Callable[[Any], Any], ...]) -> Callable[[Any], Any]:
        def convert(value: Any) -> Any:
            if type(value) is not tuple or len(value) != len(converters):
                raise _refuse(f"{len(converters)} items", value)
            return tuple([one(part) for one, part in zip(converters, value, strict=True)])

        return convert

    plain = all(item.load is None for item in items)
    return TypeSpec(Kind.TUPLE, through(encoders), through(decoders), None if plain else through(loads), items=items)


def _list_spec(item: TypeSpec, bounds: Bounds) -> TypeSpec:
    low, high = bounds.low, bounds.high

    def through(one: Callable[[Any], Any]) -> Callable[[Any], Any]:
        def convert(value: Any) -> Any:
            if type(value) is not tuple:
                raise _refuse("a list", value)
            if not low <= len(value) <= high:
                raise BadEncodingError(f"expected {low} to {high} items, got {len(value)}", limit=high, got=len(value))
            return tuple([one(part) for part in value])

        return convert

    load = None if item.load is None else through(item.load)
    return TypeSpec(Kind.LIST, through(item.encode), through(item.decode), load, low=low, high=high, items=(item,))


def _optional_spec(item: TypeSpec) -> TypeSpec:
    def through(one: Callable[[Any], Any]) -> Callable[[Any], Any]:
        return lambda value: None if value is None else one(value)

    load = None if item.load is None else through(item.load)
    return TypeSpec(Kind.OPTIONAL, through(item.encode), through(item.decode), load, items=(item,))


def summary(thing: object) -> str:
    """Return a docstring's text before any `Args:` section, or nothing when there is none of its own."""
    return _docstring(thing).partition("\nArgs:")[0].strip()


def part_docs(thing: object) -> dict[str, str]:
    """Return what the `Args:` section of a docstring says of each parameter or field."""
    section = _docstring(thing).partition("\nArgs:\n")[2]
    return dict(re.findall(r"^ {4}(\w+): (.+)$", section, re.MULTILINE))


def _docstring(thing: object) -> str:
    if isinstance(thing, type):
        text = thing.__dict__.get("__doc__") or ""
        return "" if is_dataclass(thing) and text.startswith(f"{thing.__name__}(") else inspect.cleandoc(text)
    return inspect.getdoc(thing) or ""

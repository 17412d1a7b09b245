"""RPC methods declared once: a handler's signature gives the validation of its parameters and its OpenRPC entry.

    @METHODS.method("tx_get", result=TRANSACTION_STATUS)
    async def tx_get(rpc: Context, id_: Hash, valid_until_ms: TimeMs | None = None) -> Json:
        '''Where a transaction stands.'''

The first parameter is the node's side; a trailing underscore keeps a name off Python's own. Each type is `Annotated` with its
`ParamType`; a parameter with a default may be left out.
"""

import inspect
import re
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import UnionType
from typing import Annotated, Any, Final, NoReturn, TypeAlias, TypeVar, get_args, get_origin, get_type_hints

from ledger.errors import BadEncodingError
from ledger.hashing import HASH_BYTES
from ledger.policy import parse_address
from ledger.types import Address as AddressBytes
from node.rpc.jsonrpc import BadNumber, InvalidParamsError, Json
from vm.strict_json import show

OPENRPC_VERSION: Final = "1.3.2"
MAX_JSON_DEPTH: Final = 16
MAX_SAFE_INT: Final = 2**53 - 1

Schema: TypeAlias = dict[str, Any]
"""A JSON Schema."""
Handler: TypeAlias = Callable[..., Awaitable[Json]]
H = TypeVar("H", bound=Handler)

_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*", re.ASCII)
_MOTES: Final = re.compile(r"0|[1-9][0-9]{0,19}", re.ASCII)


class RefusedError(Exception):
    """A value does not fit its type; the text says what was expected."""


def _refuse(expected: str, value: Json) -> NoReturn:
    raise RefusedError(f"must be {expected}, got {value if isinstance(value, BadNumber) else show(value)}")


@dataclass(frozen=True, slots=True, eq=False)
class ParamType:
    """How a parameter is read from JSON, and the JSON Schema that says so. Compared by identity: annotations must hash."""

    read: Callable[[Json], Any]
    schema: Schema


def integer(low: int, high: int) -> ParamType:
    """Return the type of integers within low..high."""

    def read(value: Json) -> int:
        if type(value) is not int or not low <= value <= high:
            _refuse(f"an integer within {low}..{high}", value)
        return value

    return ParamType(read, {"type": "integer", "minimum": low, "maximum": high})


def text(max_chars: int) -> ParamType:
    """Return the type of texts of 1 to `max_chars` characters."""

    def read(value: Json) -> str:
        if not isinstance(value, str) or not 0 < len(value) <= max_chars:
            _refuse(f"text of 1 to {max_chars} characters", value)
        return value

    return ParamType(read, {"type": "string", "minLength": 1, "maxLength": max_chars})


def choice(*options: str) -> ParamType:
    """Return the type of one of a few words."""

    def read(value: Json) -> str:
        if value not in options or not isinstance(value, str):
            _refuse("one of " + ", ".join(options), value)
        return value

    return ParamType(read, {"type": "string", "enum": list(options)})


def hex_bytes(size: int | None = None) -> ParamType:
    """Return the type of bytes as 0x hex: exactly `size` of them, or any number."""
    expected = "0x and pairs of hex digits" if size is None else f"0x and {2 * size} hex digits"

    def read(value: Json) -> bytes:
        if not isinstance(value, str) or (size is not None and len(value) != 2 + 2 * size) or not _HEX.fullmatch(value):
            _refuse(expected, value)
        return bytes.fromhex(value[2:])

    digits = "*" if size is None else f"{{{size}}}"
    return ParamType(read, {"type": "string", "pattern": f"^0x([0-9a-fA-F]{{2}}){digits}$"})


def array_of_text(max_items: int) -> ParamType:
    """Return the type of arrays of 1 to `max_items` texts."""

    def read(value: Json) -> list[str]:
        if not isinstance(value, list) or not 0 < len(value) <= max_items:
            _refuse(f"an array of 1 to {max_items} texts", value)
        if not all(isinstance(item, str) for item in value):
            _refuse("an array of texts only", next(item for item in value if not isinstance(item, str)))
        return value

    return ParamType(read, {"type": "array", "minItems": 1, "maxItems": max_items, "items": {"type": "string"}})


def _read_bool(value: Json) -> bool:
    return value if isinstance(value, bool) else _refuse("true or false", value)


def _read_address(value: Json) -> AddressBytes:
    if not isinstance(value, str):
        _refuse("a bech32m address", value)
    try:
        return parse_address(value)
    except BadEncodingError as error:
        raise RefusedError(error.message) from error


def _read_motes(value: Json) -> int:
    if not isinstance(value, str) or not _MOTES.fullmatch(value) or int(value) > 2**64 - 1:
        _refuse('motes as a decimal string such as "150000000"', value)
    return int(value)


def _read_block(value: Json) -> int | bytes:
    read = _HEIGHT.read if not isinstance(value, str) else _HASH.read
    found: int | bytes = read(value)
    return found


def _read_arguments(value: Json) -> Mapping[str, Json] | list[Json]:
    if not isinstance(value, dict | list):
        _refuse("an object of named arguments or an array", value)
    _check_json(value)
    return value


@dataclass(frozen=True, slots=True)
class JsonCall:
    """A contract call as JSON states it: named or positional arguments, not yet canonical."""

    contract: str
    method: str
    args: Mapping[str, Json] | list[Json]


def _read_json(value: Json) -> Json:
    _check_json(value)
    return value


def _read_call(value: Json) -> JsonCall:
    if not isinstance(value, dict) or not {"contract", "method"} <= value.keys() <= {"contract", "method", "args"}:
        _refuse("an object {contract, method, args}", value)
    return JsonCall(_NAME.read(value["contract"]), _NAME.read(value["method"]), _read_arguments(value.get("args", {})))


def _check_json(value: Json, depth: int = MAX_JSON_DEPTH) -> None:
    """Refuse what no contract argument can be: fractions, huge integers, deep nesting."""
    if isinstance(value, BadNumber):
        _refuse("integers within 64 bits", value)
    if isinstance(value, dict | list):
        if depth == 0:
            raise RefusedError(f"must not be nested deeper than {MAX_JSON_DEPTH} levels")
        for item in value.values() if isinstance(value, dict) else value:
            _check_json(item, depth - 1)


_HEIGHT: Final = integer(0, MAX_SAFE_INT)
_HASH: Final = hex_bytes(HASH_BYTES)
_NAME: Final = text(64)
_ARGUMENTS_SCHEMA: Final[Schema] = {"type": ["object", "array"], "description": "named or positional, in the ABI's JSON forms"}

HeightNumber: TypeAlias = Annotated[int, _HEIGHT]
BlockRef: TypeAlias = Annotated[int | bytes, ParamType(_read_block, {"oneOf": [_HEIGHT.schema, _HASH.schema]})]
TimeMs: TypeAlias = Annotated[int, integer(0, MAX_SAFE_INT)]
Hash: TypeAlias = Annotated[bytes, _HASH]
HexBytes: TypeAlias = Annotated[bytes, hex_bytes()]
Address: TypeAlias = Annotated[AddressBytes, ParamType(_read_address, {"type": "string", "description": "bech32m"})]
Motes: TypeAlias = Annotated[int, ParamType(_read_motes, {"type": "string", "pattern": f"^({_MOTES.pattern})$"})]
Flag: TypeAlias = Annotated[bool, ParamType(_read_bool, {"type": "boolean"})]
Name: TypeAlias = Annotated[str, _NAME]
Arguments: TypeAlias = Annotated[Mapping[str, Any] | list[Any], ParamType(_read_arguments, _ARGUMENTS_SCHEMA)]
JsonValue: TypeAlias = Annotated[Any, ParamType(_read_json, {"description": "in the ABI's JSON forms"})]

_CALL_SCHEMA: Final[Schema] = {
    "type": "object",
    "properties": {"contract": _NAME.schema, "method": _NAME.schema, "args": _ARGUMENTS_SCHEMA},
    "required": ["contract", "method"],
    "additionalProperties": False,
}
CallJson: TypeAlias = Annotated[JsonCall, ParamType(_read_call, _CALL_SCHEMA)]


@dataclass(frozen=True, slots=True)
class Param:
    """A named parameter."""

    name: str
    type: ParamType
    required: bool


@dataclass(frozen=True, slots=True)
class Method:
    """A method as the server runs it and as `rpc.discover` describes it."""

    name: str
    handler: Handler
    params: tuple[Param, ...]
    keywords: tuple[str, ...]
    result: Schema
    doc: str
    development: bool

    def bind(self, params: Mapping[str, Json] | list[Json]) -> dict[str, Any]:
        """Return the handler's keyword arguments. Raises `InvalidParamsError` naming the parameter that is wrong.

        null stands for leaving an optional parameter out.
        """
        given = self._named(params)
        arguments: dict[str, Any] = {}
        for param, keyword in zip(self.params, self.keywords, strict=True):
            value = given.get(param.name)
            if value is None:
                if param.required:
                    raise self._invalid(f"parameter {param.name} is missing", param.name)
                continue
            try:
                arguments[keyword] = param.type.read(value)
            except RefusedError as refused:
                raise self._invalid(f"parameter {param.name}: {refused}", param.name) from None
        return arguments

    def _named(self, params: Mapping[str, Json] | list[Json]) -> Mapping[str, Json]:
        names = [param.name for param in self.params]
        if isinstance(params, list):
            if len(params) > len(names):
                raise self._invalid(f"at most {len(names)} parameters, got {len(params)}", limit=len(names), got=len(params))
            return dict(zip(names, params, strict=False))
        if unknown := params.keys() - set(names):
            name = min(unknown)
            raise self._invalid(f"unknown parameter {show(name)}", name[:64])
        return params

    def _invalid(self, problem: str, parameter: str | None = None, **details: object) -> InvalidParamsError:
        known = ", ".join(param.name for param in self.params) or "none"
        if parameter is not None:
            details["parameter"] = parameter
        return InvalidParamsError(f"{self.name}: {problem}", hint=f"parameters of {self.name}: {known}", **details)

    def openrpc(self) -> Schema:
        """Return the method object of the OpenRPC document."""
        params = [{"name": item.name, "required": item.required, "schema": item.type.schema} for item in self.params]
        return {
            "name": self.name,
            "summary": self.doc.partition("\n")[0],
            "description": self.doc,
            "paramStructure": "either",
            "params": params,
            "result": {"name": "result", "schema": self.result},
        }


@dataclass(frozen=True, slots=True)
class MethodTable:
    """Methods by name."""

    by_name: dict[str, Method] = field(default_factory=dict)

    def method(self, name: str, *, result: Schema, development: bool = False) -> Callable[[H], H]:
        """Return the decorator that adds a handler under `name`. Raises `TypeError` for a signature that cannot be declared."""

        def add(handler: H) -> H:
            if name in self.by_name:
                raise TypeError(f"{name} is declared twice")
            params, keywords = _params_of(handler)
            self.by_name[name] = Method(
                name, handler, params, keywords, result, inspect.cleandoc(handler.__doc__ or ""), development
            )
            return handler

        return add

    @classmethod
    def merged(cls, tables: "Iterable[MethodTable]") -> "MethodTable":
        """Return one table of all; raises `TypeError` when two declare the same name."""
        methods = [method for table in tables for method in table.by_name.values()]
        by_name = {method.name: method for method in methods}
        if len(by_name) != len(methods):
            raise TypeError("a method is declared twice")
        return cls(by_name)


def _params_of(handler: Handler) -> tuple[tuple[Param, ...], tuple[str, ...]]:
    hints = get_type_hints(handler, include_extras=True)
    found = list(inspect.signature(handler).parameters.values())[1:]
    params = tuple(Param(item.name.rstrip("_"), _type_of(hints[item.name]), item.default is item.empty) for item in found)
    return params, tuple(item.name for item in found)


def _type_of(hint: Any) -> ParamType:
    """Return the `ParamType` in an annotation, also through `| None`."""
    if get_origin(hint) is UnionType or type(None) in get_args(hint):
        hint = next(arg for arg in get_args(hint) if arg is not type(None))
    for extra in getattr(hint, "__metadata__", ()):
        if isinstance(extra, ParamType):
            return extra
    raise TypeError(f"{hint!r} has no ParamType: annotate the parameter with one")


def openrpc_document(methods: Iterable[Method], *, version: str, components: Mapping[str, Schema]) -> Schema:
    """Return the OpenRPC document of the methods."""
    return {
        "openrpc": OPENRPC_VERSION,
        "info": {
            "title": "Datacar node",
            "version": version,
            "description": "Heights, counts and times (Unix ms) are integers; amounts are decimal strings of motes (1 DATR = "
            "10^8 motes); bytes are 0x hex; addresses bech32m. Errors carry data {reason, hint, numbers}.",
        },
        "methods": [method.openrpc() for method in methods],
        "components": {"schemas": dict(components)},
    }

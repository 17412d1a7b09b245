"""The ABI: what a contract class says of itself. Everything comes from its annotations and docstrings.

`ContractSpec` is the compiled form that execution uses; `document` is the JSON form that wallets, the CLI and the docs use.
"""

import inspect
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from enum import StrEnum
from typing import Any, Final, TypeAlias, get_type_hints

from ledger.codec import Value
from ledger.errors import BadEncodingError
from ledger.hashing import HASH_BYTES
from ledger.transaction import MAX_ARGS
from vm.abi_types import Encoder, Kind, TypeSpec, part_docs, summary, type_spec
from vm.errors import ContractError, CoreError

MAX_EVENT_FIELDS: Final = 32

Json: TypeAlias = Any
"""A JSON document's value: dict, list, str, int, bool or None."""


class MethodKind(StrEnum):
    """Who may call a method, and what it may do."""

    WRITE = "write"
    READ = "read"
    GENESIS = "genesis"
    SCHEDULED = "scheduled"


@dataclass(frozen=True, slots=True)
class Param:
    """One named, typed part: a parameter, an event's or struct's field."""

    name: str
    type: TypeSpec
    doc: str


@dataclass(frozen=True, slots=True)
class MethodSpec:
    """A method that can be called: `function(contract, context, *arguments)`, without the context if it takes none."""

    name: str
    kind: MethodKind
    function: Callable[..., Any]
    takes_context: bool
    params: tuple[Param, ...]
    returns: TypeSpec
    doc: str

    def decode_args(self, args: tuple[Value, ...]) -> list[Any]:
        """Return the Python arguments of canonical ones. Raises `ContractError` BAD_ARGUMENTS naming the first that is wrong."""
        return self._convert(args, decode=True)

    def encode_args(self, args: tuple[Any, ...]) -> tuple[Value, ...]:
        """Return the canonical arguments of Python ones. Raises `ContractError` BAD_ARGUMENTS naming the first that is wrong."""
        return tuple(self._convert(args, decode=False))

    def _convert(self, args: tuple[Any, ...], *, decode: bool) -> list[Any]:
        params = self.params
        if len(args) != len(params):
            raise ContractError(CoreError.BAD_ARGUMENTS, method=self.name, need=len(params), have=len(args))
        converted = []
        try:
            for param, value in zip(params, args, strict=True):
                spec = param.type
                converted.append(spec.decode(value) if decode else spec.encode(value))
        except BadEncodingError as error:
            name = params[len(converted)].name
            raise ContractError(CoreError.BAD_ARGUMENTS, method=self.name, argument=name, problem=error.message) from error
        return converted


@dataclass(frozen=True, slots=True)
class EventSpec:
    """An event class and how its fields become canonical values."""

    name: str
    fields: tuple[Param, ...]
    encode: Encoder
    doc: str


@dataclass(frozen=True, slots=True)
class FieldSpec:
    """One storage field: a `Map` has a key type, an `Item` has none."""

    name: str
    key: TypeSpec | None
    value: TypeSpec


@dataclass(frozen=True, slots=True)
class ContractSpec:
    """A compiled contract class."""

    methods: Mapping[str, MethodSpec]
    events: Mapping[type, EventSpec]
    event_names: Mapping[str, EventSpec]
    errors: tuple[StrEnum, ...]
    storage: tuple[FieldSpec, ...]
    doc: str

    @property
    def genesis(self) -> MethodSpec | None:
        """Return the method that runs when the chain starts, if there is one."""
        return next((method for method in self.methods.values() if method.kind is MethodKind.GENESIS), None)


def method_spec(function: Callable[..., Any], kind: MethodKind, context: type) -> MethodSpec:
    """Return the compiled method. Raises `TypeError` unless it is `def name(self[, ctx: Context], typed parameters...)`."""
    name = function.__name__
    hints = get_type_hints(function, include_extras=True)
    parameters = list(inspect.signature(function).parameters.values())
    takes_context = len(parameters) > 1 and hints.get(parameters[1].name) is context
    if any(item.kind is not item.POSITIONAL_OR_KEYWORD or item.default is not item.empty for item in parameters):
        raise TypeError(f"{function.__qualname__} must take plain parameters without defaults")
    names = [item.name for item in parameters[2 if takes_context else 1 :]]
    if len(names) > MAX_ARGS or any(each not in hints for each in (*names, "return")):
        raise TypeError(f"{function.__qualname__} must annotate its result and at most {MAX_ARGS} parameters")
    params = _params(function, {each: hints[each] for each in names})
    return MethodSpec(name, kind, function, takes_context, params, type_spec(hints["return"]), summary(function))


def event_spec(cls: type) -> EventSpec:
    """Return the compiled event of a frozen dataclass. Raises `TypeError` for anything else."""
    spec = type_spec(cls)
    if spec.kind is not Kind.STRUCT or len(spec.names) > MAX_EVENT_FIELDS:
        raise TypeError(f"event {cls.__name__} must be a frozen dataclass of at most {MAX_EVENT_FIELDS} fields")
    hints = get_type_hints(cls, include_extras=True)
    return EventSpec(cls.__name__, _params(cls, {item.name: hints[item.name] for item in fields(cls)}), spec.encode, spec.doc)


def _params(owner: object, hints: Mapping[str, Any]) -> tuple[Param, ...]:
    docs = part_docs(owner)
    if unknown := docs.keys() - hints.keys():
        raise TypeError(f"{owner!r} documents {', '.join(sorted(unknown))}, which it does not have")
    return tuple(Param(name, type_spec(hint), docs.get(name, "")) for name, hint in hints.items())


def document(name: str, spec: ContractSpec) -> Json:
    """Return the ABI of a contract as a JSON document, in the order of its source."""
    return {
        "name": name,
        "doc": spec.doc,
        "methods": [
            {
                "name": method.name,
                "kind": method.kind.value,
                "doc": method.doc,
                "params": _params_json(method.params),
                "returns": type_json(method.returns),
            }
            for method in spec.methods.values()
        ],
        "events": [
            {"name": event.name, "doc": event.doc, "fields": [_field_json(field) for field in event.fields]}
            for event in spec.event_names.values()
        ],
        "errors": [{"code": error.name, "doc": error.value} for error in spec.errors],
        "storage": [
            {"name": item.name, "key": None if item.key is None else type_json(item.key), "value": type_json(item.value)}
            for item in spec.storage
        ],
    }


def _params_json(params: tuple[Param, ...]) -> Json:
    return [{"name": param.name, "type": type_json(param.type), "doc": param.doc} for param in params]


def _field_json(field: Param) -> Json:
    """Return an event's field; one that is `indexed` has topics, by which nodes find the event."""
    return {"name": field.name, "type": type_json(field.type), "doc": field.doc, "indexed": has_topics(field.type)}


def has_topics(spec: TypeSpec) -> bool:
    """Return whether values of a type are, or hold, addresses or 32-byte ids."""
    is_id = spec.kind is Kind.BYTES and spec.low == spec.high == HASH_BYTES
    return spec.kind is Kind.ADDRESS or is_id or any(map(has_topics, spec.items))


def type_json(spec: TypeSpec) -> Json:
    """Return a type as JSON: its kind, and the bounds and parts that kind has."""
    kind: dict[str, Json] = {"kind": spec.kind.value}
    match spec.kind:
        case Kind.INT:
            return kind | {"min": spec.low, "max": spec.high}
        case Kind.BYTES:
            return kind | {"min_bytes": spec.low, "max_bytes": spec.high}
        case Kind.TEXT:
            return kind | {"min_chars": spec.low, "max_chars": spec.high}
        case Kind.ENUM:
            return kind | {"name": spec.name, "doc": spec.doc, "values": list(spec.names)}
        case Kind.LIST:
            return kind | {"max_items": spec.high, "item": type_json(spec.items[0])}
        case Kind.TUPLE:
            return kind | {"items": [type_json(item) for item in spec.items]}
        case Kind.OPTIONAL:
            return kind | {"item": type_json(spec.items[0])}
        case Kind.STRUCT:
            parts = zip(spec.names, spec.items, spec.docs, strict=True)
            return kind | {
                "name": spec.name,
                "doc": spec.doc,
                "fields": [{"name": name, "type": type_json(item), "doc": doc} for name, item, doc in parts],
            }
        case _:
            return kind

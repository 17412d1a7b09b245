"""A contract's ABI document as a node serves it, turned back into types that convert and check arguments.

Each type of the document is rebuilt as the annotation it came from, so the checks are the ones the contract itself runs.
"""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, make_dataclass
from enum import StrEnum
from typing import Annotated, Any, Final, NoReturn

from datacar.errors import BadAnswerError, DatacarError
from ledger.types import Address
from vm.abi import MethodKind, MethodSpec, Param
from vm.abi_types import Bounds, Kind, type_spec

_UNBOUNDED: Final = {
    Kind.NONE: None,
    Kind.BOOL: bool,
    Kind.ADDRESS: Address,
    Kind.MOTES: Annotated[int, Bounds(-(2**63), 2**64 - 1, motes=True)],  # the document does not say whether it may be negative
}


@dataclass(frozen=True, slots=True)
class ContractAbi:
    """A contract's methods by name."""

    name: str
    doc: str
    methods: Mapping[str, MethodSpec]

    @classmethod
    def from_json(cls, document: Mapping[str, Any]) -> "ContractAbi":
        """Return the ABI of what `contract_abi` answered. Raises `BadAnswerError` for something else."""
        try:
            methods = {item["name"]: _method(item) for item in document["methods"]}
            return cls(document["name"], document["doc"], methods)
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise BadAnswerError(f"this is no ABI: {problem!r}") from None


def abi_hash(document: Mapping[str, Any]) -> str:
    """Return what tells one version of an interface from another: the SHA-256 of its document."""
    return hashlib.sha256(json.dumps(document, sort_keys=True).encode()).hexdigest()


def check_method(here: Mapping[str, Any], there: Any, method: str) -> bool:
    """Return whether the ABI document of a contract that a node gives is the one known here.

    Arguments go by their place, and units by what is said of them. Raises `DatacarError` `abi_mismatch` where the node's `method`
    takes or returns something else, `BadAnswerError` for no ABI.
    """
    try:
        expected, got = abi_hash(here), abi_hash(there)
        is_other = _taken_and_returned(here, method) != _taken_and_returned(there, method)
    except (KeyError, TypeError, AttributeError) as problem:
        raise BadAnswerError(f"this is no ABI: {problem!r}") from None
    if expected != got and is_other:
        raise DatacarError(
            "abi_mismatch",
            f"the node's {here['name']}.{method} takes or returns something else than the one known here",
            hint="use the version of the software that the node has; `datacar rpc contract_abi` shows its contracts",
            expected=expected,
            got=got,
        )
    return expected == got


def _taken_and_returned(document: Mapping[str, Any], method: str) -> list[Any]:
    return [(item["kind"], item["params"], item["returns"]) for item in document["methods"] if item.get("name") == method]


def json_args(method: MethodSpec, args: Sequence[Any], named: Mapping[str, Any]) -> list[Any] | dict[str, Any]:
    """Return the JSON arguments of a call made like a Python one. Raises `TypeError` for an argument given twice."""
    if not named:
        return list(args)
    names = [param.name for param in method.params][: len(args)]
    if len(names) < len(args) or not named.keys().isdisjoint(names):
        raise TypeError(f"{method.name}() was given an argument both by position and by name, or too many")
    return dict(zip(names, args, strict=True)) | dict(named)


def _method(item: Mapping[str, Any]) -> MethodSpec:
    params = tuple(Param(part["name"], type_spec(_hint(part["type"])), part["doc"]) for part in item["params"])
    returns = type_spec(_hint(item["returns"]))
    kind = MethodKind(item["kind"])
    return MethodSpec(item["name"], kind, _runs_elsewhere, False, params, returns, item["doc"])


def _runs_elsewhere(*_args: Any) -> NoReturn:
    raise TypeError("a method known by its ABI runs on the chain, not here")


def _hint(item: Mapping[str, Any]) -> Any:
    """Return the annotation that a type of the document stands for."""
    match kind := Kind(item["kind"]):
        case Kind.LIST:
            items = tuple.__class_getitem__((_hint(item["item"]), ...))
            return Annotated[items, Bounds(item.get("min_items", 0), item["max_items"])]
        case Kind.TUPLE:
            return tuple.__class_getitem__(tuple(_hint(part) for part in item["items"]))
        case Kind.OPTIONAL:
            return _hint(item["item"]) | None
        case Kind.STRUCT:
            return make_dataclass(item["name"], [(part["name"], _hint(part["type"])) for part in item["fields"]], frozen=True)
        case Kind.ENUM:
            return StrEnum(item["name"], [(f"V{number}", value) for number, value in enumerate(item["values"])])
        case _:
            return _plain_hint(kind, item)


def _plain_hint(kind: Kind, item: Mapping[str, Any]) -> Any:
    match kind:
        case Kind.INT:
            return Annotated[int, Bounds(item["min"], item["max"])]
        case Kind.BYTES:
            return Annotated[bytes, Bounds(item["min_bytes"], item["max_bytes"])]
        case Kind.TEXT:
            return Annotated[str, Bounds(item["min_chars"], item["max_chars"])]
        case _:
            return _UNBOUNDED[kind]

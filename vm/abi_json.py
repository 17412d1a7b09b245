"""JSON forms of contract values, directed by their types: what RPC, the CLI and the SDK show and accept.

Bytes are `0x` hex, addresses bech32m, money a decimal string of motes, other numbers integers, structs objects, the rest as is.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, NoReturn

from ledger.block import Event, Receipt, ReceiptKind, Status
from ledger.codec import Value, decode
from ledger.errors import BadEncodingError
from ledger.policy import format_address, parse_address
from ledger.transaction import Call
from ledger.types import Address
from vm.abi import FieldSpec, Json, MethodSpec
from vm.abi_types import Kind, TypeSpec
from vm.errors import ContractError, CoreError
from vm.registry import Registry
from vm.storage import storage_key

_DECIMAL: Final = re.compile(r"0|-?[1-9][0-9]{0,19}")
_HEX: Final = re.compile(r"0x(?:[0-9a-fA-F]{2})*")


def args_from_json(method: MethodSpec, params: Sequence[Json] | Mapping[str, Json]) -> tuple[Value, ...]:
    """Return the canonical arguments of named or positional JSON ones.

    Raises `ContractError` BAD_ARGUMENTS naming the parameter that is missing, unknown or wrong.
    """
    names = [param.name for param in method.params]
    given = dict(params) if isinstance(params, Mapping) else dict(zip(names, params, strict=False))
    if len(params) != len(names) or given.keys() != set(names):
        raise ContractError(CoreError.BAD_ARGUMENTS, method=method.name, need=", ".join(names), have=_shown_names(params))
    args = []
    for param in method.params:
        try:
            args.append(value_from_json(param.type, given[param.name]))
        except BadEncodingError as error:
            failure = ContractError(CoreError.BAD_ARGUMENTS, method=method.name, argument=param.name, problem=error.message)
            raise failure from error
    return tuple(args)


def _shown_names(params: Sequence[Json] | Mapping[str, Json]) -> str:
    return ", ".join(str(name)[:64] for name in params) if isinstance(params, Mapping) else f"{len(params)} positional"


def value_from_json(spec: TypeSpec, data: Json) -> Value:
    """Return the canonical value of a JSON one. Raises `BadEncodingError` saying what was expected."""
    value = _from_json(spec, data)
    spec.decode(value)
    return value


def _from_json(spec: TypeSpec, data: Json) -> Value:
    match spec.kind:
        case Kind.MOTES:
            return _motes(data)
        case Kind.ADDRESS:
            return parse_address(data) if isinstance(data, str) else _refuse("an address", data)
        case Kind.BYTES:
            if not isinstance(data, str) or not _HEX.fullmatch(data):
                _refuse("0x and pairs of hex digits", data)
            return bytes.fromhex(data[2:])
        case Kind.OPTIONAL:
            return None if data is None else _from_json(spec.items[0], data)
        case Kind.LIST:
            return tuple([_from_json(spec.items[0], part) for part in _array(data, spec.low, spec.high)])
        case Kind.TUPLE:
            parts = _array(data, len(spec.items), len(spec.items))
            return tuple([_from_json(item, part) for item, part in zip(spec.items, parts, strict=True)])
        case Kind.STRUCT:
            if not isinstance(data, dict) or data.keys() != set(spec.names):
                _refuse(f"an object with exactly {', '.join(spec.names)}", data)
            return tuple(_from_json(item, data[name]) for name, item in zip(spec.names, spec.items, strict=True))
        case Kind.NONE | Kind.BOOL | Kind.INT | Kind.TEXT | Kind.ENUM:
            return data if data is None or isinstance(data, bool | int | str) else _refuse(spec.kind.value, data)


def _array(data: Json, low: int, high: int) -> Sequence[Json]:
    if not isinstance(data, list | tuple) or not low <= len(data) <= high:
        _refuse(f"an array of {low} items" if low == high else f"an array of {low} to {high} items", data)
    return data


def _motes(data: Json) -> int:
    if not isinstance(data, str) or not _DECIMAL.fullmatch(data):
        _refuse('motes as a decimal string such as "150000000"', data)
    return int(data)


def _refuse(expected: str, data: Json) -> NoReturn:
    shown = f"{data[:40]!r}" if isinstance(data, str) else type(data).__name__
    raise BadEncodingError(f"expected {expected}, got {shown}", hint="see the contract's ABI (contract_abi)")


def value_to_json(spec: TypeSpec, value: Any) -> Json:
    """Return the JSON form of a canonical value of this type."""
    match spec.kind:
        case Kind.MOTES:
            return str(value)
        case Kind.ADDRESS:
            return format_address(Address(value))
        case Kind.BYTES:
            return "0x" + value.hex()
        case Kind.OPTIONAL:
            return None if value is None else value_to_json(spec.items[0], value)
        case Kind.LIST:
            return [value_to_json(spec.items[0], part) for part in value]
        case Kind.TUPLE:
            return [value_to_json(item, part) for item, part in zip(spec.items, value, strict=True)]
        case Kind.STRUCT:
            parts = zip(spec.names, spec.items, value, strict=True)
            return {name: value_to_json(item, part) for name, item, part in parts}
        case Kind.NONE | Kind.BOOL | Kind.INT | Kind.TEXT | Kind.ENUM:
            return value


def field_key(contract: str, field: FieldSpec, key: Json | None) -> bytes:
    """Return the raw state key of a storage field, of a map's with a key in JSON. Raises `ContractError` BAD_ARGUMENTS."""
    if (field.key is None) != (key is None):
        need = "no key" if field.key is None else "a key"
        raise ContractError(CoreError.BAD_ARGUMENTS, field=field.name, need=need).within(contract)
    if field.key is None:
        return storage_key(contract, field.name)
    try:
        return storage_key(contract, field.name, value_from_json(field.key, key))
    except BadEncodingError as error:
        raise ContractError(CoreError.BAD_ARGUMENTS, field=field.name, problem=error.message).within(contract) from error


def field_value(field: FieldSpec, raw: bytes | None) -> Json:
    """Return the JSON form of a storage field's raw value, None for none. Raises `BadEncodingError` for bytes of another type."""
    if raw is None:
        return None
    value = decode(raw)
    field.value.decode(value)
    return value_to_json(field.value, value)


def untyped_to_json(value: Value) -> Json:
    """Return the JSON form of a value whose type is not known here: bytes as hex, arrays as arrays."""
    if isinstance(value, bytes):
        return "0x" + value.hex()
    if isinstance(value, tuple | list):
        return [untyped_to_json(item) for item in value]
    return value


def event_to_json(registry: Registry, event: Event) -> Json:
    """Return {contract, name, fields: {name: value}}; raises `ContractError` for a contract or event that is not registered."""
    spec = registry.entry(event.contract).spec.event_names.get(event.name)
    if spec is None:
        raise ContractError(CoreError.UNKNOWN_EVENT, event=event.name).within(event.contract)
    values = zip(spec.fields, event.fields, strict=True)
    fields = {field.name: value_to_json(field.type, value) for field, value in values}
    return {"contract": event.contract, "name": event.name, "fields": fields}


def receipt_to_json(registry: Registry, receipt: Receipt, calls: Sequence[Call] = ()) -> Json:
    """Return a receipt; with the transaction's `calls` each result is shown by its method's type."""
    error = receipt.error
    typed = [registry.method(call.contract, call.method).returns for call in calls] if receipt.results else []
    return {
        "kind": "transaction" if receipt.kind is ReceiptKind.TRANSACTION else "scheduled",
        "id": "0x" + receipt.id.hex(),
        "status": "succeeded" if receipt.status is Status.SUCCEEDED else "failed",
        "gas_used": receipt.gas_used,
        "results": [
            value_to_json(typed[index], value) if index < len(typed) else untyped_to_json(value)
            for index, value in enumerate(receipt.results)
        ],
        "events": [event_to_json(registry, event) for event in receipt.events],
        "error": None if error is None else {"contract": error.contract, "code": error.code, "message": error.message},
    }


def call_to_json(registry: Registry, call: Call) -> Json:
    """Return {contract, method, args: {name: value}}. Raises `ContractError` for a call that does not fit the ABI."""
    method = registry.method(call.contract, call.method)
    method.decode_args(call.args)
    values = zip(method.params, call.args, strict=True)
    args = {param.name: value_to_json(param.type, value) for param, value in values}
    return {"contract": call.contract, "method": call.method, "args": args}

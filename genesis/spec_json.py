"""The file form of a genesis specification: strict JSON, every refusal naming the JSON path of what is wrong.

    {"chain_id", "timestamp_ms", "development", "parameters": {...}, "members": [{"id", "public_key", "certificate",
     "p2p_address"}], "contracts": {NAME: {PARAMETER: ...}}}

Bytes are 0x hex, times Unix milliseconds. A contract's parameters are those of its genesis method in the JSON form of its ABI:
addresses in bech32m, money in motes as decimal strings. The first committee is `members` and stands nowhere else.
"""

import json
import re
from collections.abc import Iterator
from dataclasses import fields as dataclass_fields
from pathlib import Path
from typing import Any, Final, NamedTuple

from genesis.arguments import file_params
from genesis.spec import MAX_TIME_MS, GenesisError, GenesisSpec
from ledger.codec import Value
from ledger.committee import MAX_CERTIFICATE_BYTES, MAX_MEMBERS, Committee, Member
from ledger.crypto import PUBLIC_KEY_BYTES, SIGNATURE_BYTES
from ledger.errors import BadEncodingError
from ledger.parameters import ChainParameters
from ledger.policy import format_address, parse_address
from ledger.types import Address, MemberId
from vm.abi_json import value_from_json, value_to_json
from vm.abi_types import Kind, TypeSpec
from vm.contracts.governance_possession import proves_possession
from vm.contracts.governance_types import MAX_ADDRESS_CHARS, MEMBER_ID, is_host_port
from vm.errors import ContractError
from vm.registry import Registry, default_registry
from vm.strict_json import FieldError, Node, parse

GENESIS_NAME: Final = "genesis.json"

_FIELDS: Final = ("chain_id", "timestamp_ms", "development", "parameters", "members", "contracts")
_MEMBER_FIELDS: Final = ("id", "public_key", "certificate", "p2p_address")
_RECORD_FIELDS: Final = ("account", "possession")
_HEX: Final = re.compile(r"0x((?:[0-9a-fA-F]{2})+)", re.ASCII)


class GenesisFieldError(FieldError):
    """A field of the genesis file is wrong."""

    word = "bad_genesis"


def read_spec(path: Path, registry: Registry | None = None) -> GenesisSpec:
    """Return the specification in a genesis file. Raises `GenesisError`, `GenesisFieldError` or `OSError`."""
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise GenesisError(f"{path} is not UTF-8 text", path="$") from error
    return spec_from_json(text, registry)


def spec_from_json(text: str, registry: Registry | None = None) -> GenesisSpec:
    """Return the specification of a JSON text."""
    members = parse(text, GenesisFieldError).members(required=_FIELDS)
    return GenesisSpec(
        chain_id=members["chain_id"].text(max_chars=64),
        timestamp_ms=members["timestamp_ms"].scaled(places=0, low=1, high=MAX_TIME_MS),
        development=_flag(members["development"]),
        parameters=_parameters(members["parameters"]),
        committee=_committee(members["members"]),
        contracts=_contracts(members["contracts"], registry or default_registry()),
    )


def spec_to_json(spec: GenesisSpec, registry: Registry | None = None) -> str:
    """Return the file form of a specification: the same text for the same specification."""
    found = registry or default_registry()
    document = {
        "chain_id": spec.chain_id,
        "timestamp_ms": spec.timestamp_ms,
        "development": spec.development,
        "parameters": {item.name: getattr(spec.parameters, item.name) for item in dataclass_fields(spec.parameters)},
        "members": [member_to_json(member) for member in spec.committee.members],
        "contracts": {name: _arguments_to_json(found, name, spec.contracts[name]) for name in sorted(spec.contracts)},
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


class Record(NamedTuple):
    """What a new member hands over; older records lack what is None. A possession is its key's (`governance_possession`)."""

    member: Member
    account: Address | None
    possession: bytes | None


def record_from_json(text: str) -> Record:
    """Return the JSON record that `datacar init` prints. One whose possession is not its key's is refused."""
    node = parse(text, GenesisFieldError)
    given = node.members(required=_MEMBER_FIELDS, optional=_RECORD_FIELDS)
    member = _member(node, optional=_RECORD_FIELDS)
    account = _account(given["account"]) if "account" in given else None
    possession = None
    if account is not None and "possession" in given:
        possession = _bytes(given["possession"], SIGNATURE_BYTES)
        if not proves_possession(possession, member.id, account, member.public_key):
            given["possession"].refuse("must be the key's signature that it is for this id and account")
    return Record(member, account, possession)


def record_to_json(member: Member, account: Address, possession: bytes) -> dict[str, str]:
    """Return the JSON record that a new member hands over."""
    return {**member_to_json(member), "account": format_address(account), "possession": "0x" + possession.hex()}


def member_to_json(member: Member) -> dict[str, str]:
    """Return a member as it stands in the genesis file."""
    return {
        "id": member.id,
        "public_key": "0x" + member.public_key.hex(),
        "certificate": "0x" + member.certificate.hex(),
        "p2p_address": member.p2p_address,
    }


def check_member_id(text: str) -> MemberId:
    """Return a member id: 1 to 32 characters of a-z, 0-9 and, inside, `.`, `_` and `-`. Raises `BadEncodingError`."""
    if not MEMBER_ID.fullmatch(text):
        raise BadEncodingError(
            f"{text[:40]!r} is not a member id", hint="use 1 to 32 characters of a-z, 0-9 and, inside, . _ and -"
        )
    return MemberId(text)


def check_host_port(text: str) -> str:
    """Return a `host:port` that other members can dial (IPv6 in brackets). Raises `BadEncodingError`."""
    if not is_host_port(text):
        raise BadEncodingError(f"{text[:60]!r} is not host:port", hint="write it as node.example.org:26656 or [::1]:26656")
    return text


def _flag(node: Node) -> bool:
    if not isinstance(node.value, bool):
        node.refuse("must be true or false")
    return node.value


def _parameters(node: Node) -> ChainParameters:
    names = tuple(item.name for item in dataclass_fields(ChainParameters))
    given = node.members(required=names)
    numbers = tuple(given[name].scaled(places=0, low=0, high=2**53) for name in names)
    try:
        return ChainParameters.from_value(numbers)
    except BadEncodingError as error:
        raise GenesisError(error.message, path=node.path) from error


def _committee(node: Node) -> Committee:
    members = tuple(_member(item) for item in node.items(low=1, high=MAX_MEMBERS))
    try:
        return Committee(0, members)
    except BadEncodingError as error:
        raise GenesisError(error.message, path=node.path, hint="sort the members by id, each with a key of its own") from error


def _account(node: Node) -> Address:
    try:
        return parse_address(node.text(max_chars=MAX_ADDRESS_CHARS))
    except BadEncodingError as error:
        raise GenesisError(error.message, path=node.path, hint=error.hint) from error


def _member(node: Node, *, optional: tuple[str, ...] = ()) -> Member:
    given = node.members(required=_MEMBER_FIELDS, optional=optional)
    key = _bytes(given["public_key"], PUBLIC_KEY_BYTES)
    if len(key) != PUBLIC_KEY_BYTES:
        given["public_key"].refuse(f"must have {PUBLIC_KEY_BYTES} bytes")
    return Member(
        MemberId(_checked(given["id"], check_member_id)),
        key,
        _bytes(given["certificate"], MAX_CERTIFICATE_BYTES),
        _checked(given["p2p_address"], check_host_port),
    )


def _checked(node: Node, check: Any) -> str:
    text = node.text(max_chars=MAX_ADDRESS_CHARS)
    try:
        return str(check(text))
    except BadEncodingError as error:
        raise GenesisError(error.message, path=node.path, hint=error.hint) from error


def _bytes(node: Node, max_bytes: int) -> bytes:
    match = _HEX.fullmatch(node.text(max_chars=2 + 2 * max_bytes))
    if match is None:
        node.refuse("must be 0x and pairs of hex digits")
    return bytes.fromhex(match[1])


def _contracts(node: Node, registry: Registry) -> dict[str, tuple[Value, ...]]:
    takers = tuple(name for name in registry.names() if registry.entry(name).spec.genesis is not None)
    given = node.members(optional=takers)
    return {name: _arguments(registry, name, given[name]) for name in sorted(given)}


def _arguments(registry: Registry, name: str, node: Node) -> tuple[Value, ...]:
    params = _params(registry, name)
    if not isinstance(node.value, dict) or node.value.keys() != params.keys():
        node.refuse(f"must be an object with exactly {', '.join(params)}")
    return tuple(_argument(spec, node.value[param], f"{node.path}.{param}") for param, spec in params.items())


def _argument(spec: TypeSpec, data: Any, path: str) -> Value:
    """Return a canonical argument; a refusal names the innermost part that is wrong."""
    try:
        return value_from_json(spec, data)
    except BadEncodingError as error:
        for part, part_data, part_path in _parts(spec, data, path):
            _argument(part, part_data, part_path)
        raise GenesisError(error.message, path=path, hint=error.hint) from error


def _parts(spec: TypeSpec, data: Any, path: str) -> Iterator[tuple[TypeSpec, Any, str]]:
    if spec.kind is Kind.LIST and isinstance(data, list):
        yield from ((spec.items[0], part, f"{path}[{index}]") for index, part in enumerate(data))
    elif spec.kind is Kind.STRUCT and isinstance(data, dict):
        parts = zip(spec.names, spec.items, strict=True)
        yield from ((item, data[name], f"{path}.{name}") for name, item in parts if name in data)
    elif spec.kind is Kind.OPTIONAL and data is not None:
        yield spec.items[0], data, path


def _arguments_to_json(registry: Registry, name: str, args: tuple[Value, ...]) -> dict[str, Any]:
    params = _params(registry, name)
    return {param: value_to_json(spec, value) for (param, spec), value in zip(params.items(), args, strict=True)}


def _params(registry: Registry, name: str) -> dict[str, TypeSpec]:
    """Return the names and types of what a contract's genesis method takes."""
    try:
        method = registry.entry(name).spec.genesis
    except ContractError as error:
        raise GenesisError(error.message, path=f"$.contracts.{name}") from error
    return {} if method is None else {param.name: param.type for param in file_params(method)}

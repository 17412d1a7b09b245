"""`account_get`, `contract_*` and `state_get`: state reads and the contracts' interfaces."""

from typing import Final

from ledger.errors import NotFoundError
from ledger.policy import format_address
from ledger.types import Address as AddressBytes
from node.rpc.context import At, Context
from node.rpc.jsonrpc import Json
from node.rpc.schema import Address, Arguments, Flag, HeightNumber, JsonValue, MethodTable, Name
from node.rpc.views import ADDRESS, ANY, HEX, MOTES, TEXT, hex_of, page, shape, state_read
from vm.abi_json import args_from_json, field_key, field_value, value_to_json
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import Asset
from vm.strict_json import show

METHODS: Final = MethodTable()


@METHODS.method("account_get", result=state_read(shape(address=ADDRESS, balance=MOTES, held=MOTES, locked=MOTES, total=MOTES)))
async def account_get(
    rpc: Context,
    address: Address,
    height: HeightNumber | None = None,
    prove: Flag = False,
    trusted_height: HeightNumber | None = None,
) -> Json:
    """Return an account's money: `balance` is free to spend, `held` is reserved, `locked` is released later.

    As for all state reads, `height` asks for the state after that block. `prove` adds the `proof` of what was read, from genesis
    or, shorter, for one who trusts the block of `trusted_height`; running `asset.balance_of` on it gives the answer.
    """
    method = rpc.registry.method(ASSET, Asset.balance_of.__name__)
    value, place = await rpc.read(method, ASSET, (address,), At(height, prove, trusted_height))
    return place | {"value": account_view(address, value_to_json(method.returns, value))}


def account_view(address: AddressBytes, money: Json) -> Json:
    """Return an account's money as it is shown."""
    return {
        "address": format_address(address),
        "balance": money["free"],
        "held": money["held"],
        "locked": money["locked"],
        "total": str(sum(int(part) for part in money.values())),
    }


@METHODS.method("contract_list", result=page(shape(name=TEXT, address=ADDRESS, doc=TEXT)))
async def contract_list(rpc: Context) -> Json:
    """Return the contracts of the chain with their own accounts."""
    entries = [rpc.registry.entry(name) for name in rpc.registry.names()]
    items = [{"name": entry.name, "address": format_address(entry.address), "doc": entry.spec.doc} for entry in entries]
    return {"items": items, "next_cursor": None}


@METHODS.method("contract_abi", result={"type": "object", "description": "the contract's interface: methods, events, errors"})
async def contract_abi(rpc: Context, name: Name) -> Json:
    """Return a contract's ABI: methods with their types, events, errors and storage."""
    if name not in rpc.registry.names():
        raise NotFoundError("not_found", f"there is no contract {show(name)}", hint="contract_list names them", contract=name)
    return rpc.registry.abi(name)


@METHODS.method("contract_query", result=state_read(ANY))
async def contract_query(
    rpc: Context,
    contract: Name,
    method: Name,
    args: Arguments | None = None,
    height: HeightNumber | None = None,
    prove: Flag = False,
    trusted_height: HeightNumber | None = None,
) -> Json:
    """Return what a read method answers, in the JSON forms of the ABI. `prove` proves what it read: run it again on that."""
    spec = rpc.registry.method(contract, method)
    value, place = await rpc.read(spec, contract, args_from_json(spec, args or {}), At(height, prove, trusted_height))
    return place | {"value": value_to_json(spec.returns, value)}


@METHODS.method("state_get", result=state_read(ANY, key=HEX))
async def state_get(
    rpc: Context,
    contract: Name,
    field: Name,
    key: JsonValue | None = None,
    height: HeightNumber | None = None,
    prove: Flag = False,
    trusted_height: HeightNumber | None = None,
) -> Json:
    """Return a value that a contract stores, null where there is none. `field` is one of the ABI's `storage`.

    `key` is given for a map, in the JSON form of its key's type. The answer's `key` is the raw state key, which a `proof` names.
    """
    spec = rpc.registry.field(contract, field)
    raw_key = field_key(contract, spec, key)
    version = rpc.version(height)
    answer = {"height": version.header.height, "key": hex_of(raw_key), "value": field_value(spec, version.get(raw_key))}
    return answer | {"proof": await rpc.state_proof(version, (raw_key,), trusted_height)} if prove else answer

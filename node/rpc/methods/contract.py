"""`account_get` and `contract_*`: state reads and the contracts' interfaces."""

from typing import Final

from ledger.errors import NotFoundError
from ledger.policy import format_address
from node.rpc.context import Context
from node.rpc.jsonrpc import Json
from node.rpc.schema import Address, Arguments, Flag, HeightNumber, MethodTable, Name
from node.rpc.views import ADDRESS, ANY, MOTES, TEXT, page, shape, state_read
from vm.abi_json import args_from_json, value_to_json
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import Asset
from vm.strict_json import show

METHODS: Final = MethodTable()


@METHODS.method("account_get", result=state_read(shape(address=ADDRESS, balance=MOTES, held=MOTES, locked=MOTES, total=MOTES)))
async def account_get(rpc: Context, address: Address, height: HeightNumber | None = None, prove: Flag = False) -> Json:
    """Return an account's money: `balance` is free to spend, `held` is reserved, `locked` is released later."""
    at = rpc.check_state_read(height, prove)
    method = rpc.registry.method(ASSET, Asset.balance_of.__name__)
    money = value_to_json(method.returns, rpc.node.query(ASSET, method.name, (address,)))
    total = sum(int(part) for part in money.values())
    value = {
        "address": format_address(address),
        "balance": money["free"],
        "held": money["held"],
        "locked": money["locked"],
        "total": str(total),
    }
    return {"height": at, "value": value}


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
) -> Json:
    """Return what a read method answers, in the JSON forms of the ABI."""
    at = rpc.check_state_read(height, prove)
    spec = rpc.registry.method(contract, method)
    value = rpc.node.query(contract, method, args_from_json(spec, args or {}))
    return {"height": at, "value": value_to_json(spec.returns, value)}

"""Chains for tests of the asset contract: what genesis gives, and what receipts, events and accounts say."""

from collections.abc import Sequence
from typing import Any

import msgpack

from ledger.block import Receipt, Status
from ledger.types import Address, Motes
from tests.asset_toys import Keeper, Steward
from tests.supply import OF_ASSET
from tests.vm_harness import TREASURY, Account, Chain
from vm.contracts.asset import SUPPLY, Allocation, Asset, Category


def founded(*allocations: Allocation) -> Chain:
    """Return a chain that starts with these and gives the treasury the rest, with a steward as governance, and a keeper."""
    rest = Motes(SUPPLY - sum(item.amount for item in allocations))
    everything = (*allocations, Allocation(TREASURY.address, rest, Category.OTHER, None, None))
    args = Asset.spec.methods["distribute"].encode_args((everything,))
    return Chain({"governance": Steward, "keeper": Keeper}, genesis={"asset": args})


def code_of(receipt: Receipt) -> str:
    """Return the code of a failure."""
    assert receipt.status is Status.FAILED
    assert receipt.error is not None
    return receipt.error.code


def result_of(receipt: Receipt) -> Any:
    """Return what a successful call returned."""
    assert receipt.status is Status.SUCCEEDED, receipt.error
    [result] = receipt.results
    return result


def told(receipts: Sequence[Receipt] | Receipt) -> list[tuple[str, tuple[Any, ...]]]:
    """Return the events of receipts that all succeeded, with their fields."""
    receipts = [receipts] if isinstance(receipts, Receipt) else receipts
    assert all(receipt.status is Status.SUCCEEDED for receipt in receipts), [receipt.error for receipt in receipts]
    return [(event.name, event.fields) for receipt in receipts for event in receipt.events]


def money(chain: Chain, who: Account | Address, symbol: str = "DATR") -> tuple[int, int, int]:
    """Return what an account has free, held and locked."""
    balance = chain.query(Asset.balance, symbol, who.address if isinstance(who, Account) else who)
    return (balance.free, balance.held, balance.locked)


def stored(chain: Chain, field: str) -> dict[Any, Any]:
    """Return one of the contract's maps as it is in the state, with plain keys and values."""
    return stored_fields(chain).get(field, {})


def stored_fields(chain: Chain) -> dict[str, dict[Any, Any]]:
    """Return all of the contract's maps as they are in the state; single items have the key None."""
    fields: dict[str, dict[Any, Any]] = {}
    for raw_key, raw in chain.state.iterate(OF_ASSET):
        _, name, *key = msgpack.unpackb(raw_key, use_list=False)
        fields.setdefault(name, {})[key[0] if key else None] = msgpack.unpackb(raw, use_list=False)
    return fields

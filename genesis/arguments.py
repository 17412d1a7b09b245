"""What the contracts' genesis methods are given: the arguments in the file, after the first committee where one asks for it.

A first parameter named `committee` is not in the file: it is the chain's own, so that the two can never differ.
"""

from collections.abc import Mapping
from typing import Final

from genesis.spec import GenesisSpec
from ledger.codec import Value, as_str, as_tuple, fields
from ledger.committee import MAX_MEMBERS
from ledger.policy import as_address
from ledger.types import Address, MemberId
from vm.abi import MethodSpec, Param
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.registry import Registry

COMMITTEE: Final = "committee"


def file_params(method: MethodSpec) -> tuple[Param, ...]:
    """Return the parameters of a genesis method that the genesis file holds."""
    return method.params[1:] if _takes_committee(method) else method.params


def genesis_arguments(spec: GenesisSpec, registry: Registry) -> Mapping[str, tuple[Value, ...]]:
    """Return the canonical arguments of all genesis methods; lists stay empty where one takes the committee and has no entry."""
    arguments = dict(spec.contracts)
    committee = tuple(member.to_value() for member in spec.committee.members)
    for name in registry.names():
        method = registry.entry(name).spec.genesis
        if method is not None and _takes_committee(method):
            absent = ((),) * len(file_params(method))
            arguments[name] = (committee, *arguments.get(name, absent))
    return arguments


def governance_arguments(accounts: Mapping[MemberId, Address]) -> dict[str, tuple[Value, ...]]:
    """Return the entry of `GenesisSpec.contracts` that gives members their governance accounts."""
    return {GOVERNANCE: (tuple(sorted(accounts.items())),)}


def governance_accounts(contracts: Mapping[str, tuple[Value, ...]]) -> dict[MemberId, Address]:
    """Return the governance accounts in `GenesisSpec.contracts`; raises `BadEncodingError` for an entry of another form."""
    [entries] = fields(contracts.get(GOVERNANCE, ((),)), 1, "governance arguments")
    pairs = (fields(entry, 2, "governance account") for entry in as_tuple(entries, "governance accounts", max_items=MAX_MEMBERS))
    return {MemberId(as_str(member_id, "member id", max_chars=32)): as_address(account) for member_id, account in pairs}


def _takes_committee(method: MethodSpec) -> bool:
    return bool(method.params) and method.params[0].name == COMMITTEE

"""What the contracts' genesis methods are given: the arguments in the file, after what is the chain's own.

First parameters named `committee` and `parameters` are not in the file: they are those of the chain, so the two never differ.
"""

from collections.abc import Mapping
from itertools import takewhile
from typing import Final

from genesis.spec import GenesisSpec
from ledger.codec import Value, as_str, as_tuple, fields
from ledger.committee import MAX_MEMBERS
from ledger.policy import as_address
from ledger.types import Address, MemberId
from vm.abi import MethodSpec, Param
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.registry import Registry

OWN: Final = ("committee", "parameters")
"""What a genesis method may take of the chain's own, before all else."""


def file_params(method: MethodSpec) -> tuple[Param, ...]:
    """Return the parameters of a genesis method that the genesis file holds."""
    return method.params[_count_own(method) :]


def genesis_arguments(spec: GenesisSpec, registry: Registry) -> Mapping[str, tuple[Value, ...]]:
    """Return the canonical arguments of all genesis methods; lists stay empty where one with the chain's own has no entry."""
    arguments = dict(spec.contracts)
    own: dict[str, Value] = {
        "committee": tuple(member.to_value() for member in spec.committee.members),
        "parameters": spec.parameters.to_value(),
    }
    for name in registry.names():
        method = registry.entry(name).spec.genesis
        if method is not None and (count := _count_own(method)):
            absent = ((),) * len(file_params(method))
            arguments[name] = (*(own[param.name] for param in method.params[:count]), *arguments.get(name, absent))
    return arguments


def governance_arguments(accounts: Mapping[MemberId, Address]) -> dict[str, tuple[Value, ...]]:
    """Return the entry of `GenesisSpec.contracts` that gives members their governance accounts."""
    return {GOVERNANCE: (tuple(sorted(accounts.items())),)}


def governance_accounts(contracts: Mapping[str, tuple[Value, ...]]) -> dict[MemberId, Address]:
    """Return the governance accounts in `GenesisSpec.contracts`; raises `BadEncodingError` for an entry of another form."""
    [entries] = fields(contracts.get(GOVERNANCE, ((),)), 1, "governance arguments")
    pairs = (fields(entry, 2, "governance account") for entry in as_tuple(entries, "governance accounts", max_items=MAX_MEMBERS))
    return {MemberId(as_str(member_id, "member id", max_chars=32)): as_address(account) for member_id, account in pairs}


def _count_own(method: MethodSpec) -> int:
    """Return how many of the first parameters are the chain's own."""
    return sum(1 for _ in takewhile(lambda param: param.name in OWN, method.params))

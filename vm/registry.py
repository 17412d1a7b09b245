"""Which contracts the chain runs: one line each in `default_registry`."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any

from ledger.policy import contract_address
from ledger.types import Address
from vm.abi import ContractSpec, FieldSpec, Json, MethodSpec, document
from vm.context import MULTISIG
from vm.contract import Contract
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import Asset
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging
from vm.contracts.governance import Governance
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.contracts.loan import NAME as LOAN
from vm.contracts.loan import Loan
from vm.contracts.multisig import Multisig
from vm.contracts.order import NAME as ORDER
from vm.contracts.order import StandingOrder
from vm.contracts.schedule import NAME as SCHEDULE
from vm.contracts.schedule import Schedule
from vm.errors import ContractError, CoreError


@dataclass(frozen=True, slots=True)
class Entry:
    """A contract on the chain: its name, its own account, its class."""

    name: str
    address: Address
    cls: type[Contract]

    @property
    def spec(self) -> ContractSpec:
        """Return the compiled interface."""
        return self.cls.spec


class Registry:
    """Contracts by name, in the order in which their genesis methods run."""

    __slots__ = ("_by_function", "_entries", "_routes")

    def __init__(self, contracts: Mapping[str, type[Contract]]) -> None:
        self._entries = {name: Entry(name, contract_address(name), cls) for name, cls in contracts.items()}
        self._routes: dict[tuple[str, str], tuple[Entry, MethodSpec]] = {}
        self._by_function: dict[Callable[..., Any], tuple[Entry, MethodSpec]] = {}
        for entry in self._entries.values():
            for method in entry.spec.methods.values():
                if method.function in self._by_function:
                    raise ValueError(f"{entry.cls.__name__} is registered twice")
                self._by_function[method.function] = self._routes[entry.name, method.name] = (entry, method)

    def names(self) -> tuple[str, ...]:
        """Return the contracts' names in genesis order."""
        return tuple(self._entries)

    def entry(self, contract: str) -> Entry:
        """Return a contract. Raises `ContractError` UNKNOWN_CONTRACT."""
        found = self._entries.get(contract)
        if found is None:
            raise ContractError(CoreError.UNKNOWN_CONTRACT).within(contract)
        return found

    def method(self, contract: str, method: str) -> MethodSpec:
        """Return a contract's method. Raises `ContractError` UNKNOWN_CONTRACT or UNKNOWN_METHOD."""
        return self.route(contract, method)[1]

    def route(self, contract: str, method: str) -> tuple[Entry, MethodSpec]:
        """Return a contract and its method. Raises as `method` does."""
        found = self._routes.get((contract, method))
        if found is None:
            self.entry(contract)
            raise ContractError(CoreError.UNKNOWN_METHOD, method=method).within(contract)
        return found

    def field(self, contract: str, field: str) -> FieldSpec:
        """Return one of a contract's storage fields. Raises `ContractError` UNKNOWN_CONTRACT or UNKNOWN_FIELD."""
        fields = self.entry(contract).spec.storage
        found = next((item for item in fields if item.name == field), None)
        if found is None:
            raise ContractError(CoreError.UNKNOWN_FIELD, field=field[:64], known=", ".join(item.name for item in fields)).within(
                contract
            )
        return found

    def of_function(self, function: Callable[..., Any]) -> tuple[Entry, MethodSpec]:
        """Return the contract and method that `Asset.transfer` and the like stand for. Raises `LookupError` for others."""
        return self._by_function[function]

    def abi(self, contract: str) -> Json:
        """Return a contract's ABI as a JSON document. Raises `ContractError` UNKNOWN_CONTRACT."""
        return document(contract, self.entry(contract).spec)


@cache
def default_registry() -> Registry:
    """Return the contracts of a Datacar chain."""
    return Registry(
        {
            ASSET: Asset,
            CHARGING: Charging,
            GOVERNANCE: Governance,
            LOAN: Loan,
            MULTISIG: Multisig,
            ORDER: StandingOrder,
            SCHEDULE: Schedule,
        }
    )

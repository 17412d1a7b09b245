"""The rules of the next block as nodes need them, read from a state without executing anything."""

from collections.abc import Mapping
from dataclasses import astuple, dataclass

from ledger.parameters import ChainParameters
from vm import gas
from vm.contracts.governance_rule_types import Upgrade
from vm.contracts.governance_rules import AS_AT_GENESIS, RULES_REVISION_KEY, RuleBook
from vm.contracts.governance_types import NAME
from vm.gas import GasMeter
from vm.overlay import Overlay, StateReader
from vm.storage import Storage


@dataclass(frozen=True, slots=True)
class ChainRules:
    """What the blocks from the next one on are judged by, until it changes.

    Args:
        disabled: the contracts that are switched off
        upgrade: the last upgrade that was decided, ahead or in force
        version: the version of the protocol before that upgrade; 1 at genesis
    """

    parameters: ChainParameters
    disabled: frozenset[str]
    upgrade: Upgrade | None
    version: int

    def version_at(self, height: int) -> int:
        """Return the version of the protocol that the block of this height is of, as things stand."""
        upgrade = self.upgrade
        return self.version if upgrade is None or height < upgrade.height else upgrade.version


def touches_rules(changes: Mapping[bytes, bytes | None]) -> bool:
    """Return whether a block with these state changes may have changed what `read_rules` says."""
    return RULES_REVISION_KEY in changes


def read_rules(state: StateReader, genesis_parameters: ChainParameters) -> ChainRules:
    """Return the rules as of a state (`get(key) -> bytes | None`): after block h those of h + 1.

    A chain without the governance contract keeps those of genesis.
    """
    book = RuleBook(NAME, Storage(Overlay(state), GasMeter(gas.UNLIMITED), frozen=True))
    stored = book.parameters.get()
    parameters = genesis_parameters if stored is None else ChainParameters.from_value(astuple(stored))
    plan = book.plan.get(AS_AT_GENESIS)
    return ChainRules(parameters, frozenset(book.disabled.get(())), plan.upgrade, plan.version)

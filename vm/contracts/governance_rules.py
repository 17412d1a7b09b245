"""The rules of the chain that governance keeps: its parameters, the contracts that are switched off, the next upgrade.

They are what nodes go by from the block after the one that changes them (`vm.chain_rules`).
"""

from collections.abc import Sequence
from dataclasses import astuple, replace
from typing import Final

from ledger.errors import BadEncodingError
from ledger.parameters import BOUNDS, ChainParameters
from vm.context import CALENDAR
from vm.contract import U64, Context, Contract, Item, require
from vm.contracts.asset import NAME as ASSET
from vm.contracts.governance_events import (
    ContractDisabled,
    ContractEnabled,
    ParameterSet,
    UpgradeCancelled,
    UpgradeScheduled,
)
from vm.contracts.governance_rule_types import (
    MAX_DISABLED,
    DisabledContracts,
    ParameterChange,
    ParameterName,
    Parameters,
    RulesInfo,
    Upgrade,
    UpgradePlan,
)
from vm.contracts.governance_types import NAME, GovernanceError
from vm.errors import ContractError
from vm.gas import TRANSACTIONS_PER_BLOCK
from vm.storage import storage_key

RULES_REVISION_KEY: Final = storage_key(NAME, "rules_revision")
"""The state key that changes whenever something of this does."""
FIRST_VERSION: Final = 1
UPGRADE_NOTICE_BLOCKS: Final = 100
"""How far ahead an upgrade is at least. The vote on it takes longer; this keeps a slip of the hand from stopping nodes."""
LEAST_CAP_MS: Final = 1_000
"""How long the longest view lasts at least: a wide network cannot decide on a block in less, nor take that back then."""
GAS_PER_CAP_MS: Final = 250_000
"""A full block takes a quarter of the longest view: what is due is made first, in whatever view, and must not outlast it."""
INDISPENSABLE: Final = frozenset({ASSET, CALENDAR, NAME})

_DEFAULTS: Final = Parameters(*astuple(ChainParameters()))
AS_AT_GENESIS: Final = UpgradePlan(FIRST_VERSION, None)


class RuleBook(Contract):
    """Storage of the rules, with the checks that keep them workable. It has no methods to call."""

    parameters: Item[Parameters]
    window_limit_ms: Item[U64]  # what nodes keep for the transaction window is fixed when they start
    disabled: Item[DisabledContracts]
    plan: Item[UpgradePlan]
    rules_revision: Item[U64]  # see `RULES_REVISION_KEY`

    def _found_rules(self, parameters: Parameters) -> None:
        self._require_sound(parameters)
        self.parameters.set(parameters)
        self.window_limit_ms.set(parameters.tx_window_ms)

    def _set_parameters(self, ctx: Context, changes: Sequence[ParameterChange], deciding_gas: int) -> None:
        """Store other parameters. `deciding_gas` is what a deciding vote may take: blocks must have room for twice that."""
        before = after = self._parameters()
        names = {change.name for change in changes}
        require(len(names) == len(changes), GovernanceError.PARAMETER_TWICE)
        for change in changes:
            self._require_within(change, deciding_gas)
            after = replace(after, **{change.name.value: change.value})
        self._require_sound(after)
        if names & {ParameterName.BLOCK_MAX_GAS, ParameterName.TIMEOUT_CAP_MS}:
            _require_time_for_blocks(after)
        self.parameters.set(after)
        self._bump_rules()
        for change in changes:
            ctx.emit(ParameterSet(change.name, getattr(before, change.name.value), change.value))

    def _require_within(self, change: ParameterChange, deciding_gas: int) -> None:
        least, most = BOUNDS[change.name.value]
        if change.name is ParameterName.TX_WINDOW_MS:
            most = self.window_limit_ms.get(most)
        elif change.name is ParameterName.BLOCK_MAX_GAS:
            least = max(least, 2 * TRANSACTIONS_PER_BLOCK * deciding_gas)
        elif change.name is ParameterName.TIMEOUT_CAP_MS:
            least = max(least, LEAST_CAP_MS)
        right = least <= change.value <= most
        require(right, GovernanceError.BAD_PARAMETER, name=change.name.value, value=change.value, least=least, most=most)

    def _require_sound(self, parameters: Parameters) -> None:
        """Fail where the parameters do not go together."""
        try:
            ChainParameters.from_value(astuple(parameters))
        except BadEncodingError as error:
            raise ContractError(GovernanceError.BAD_PARAMETER, problem=error.message) from error

    def _disable(self, ctx: Context, contract: str) -> None:
        disabled = self.disabled.get(())
        require(contract not in INDISPENSABLE, GovernanceError.CANNOT_DISABLE, contract=contract)
        require(contract not in disabled, GovernanceError.ALREADY_DISABLED, contract=contract)
        require(len(disabled) < MAX_DISABLED, GovernanceError.TOO_MANY_DISABLED, limit=MAX_DISABLED)
        self.disabled.set(tuple(sorted((*disabled, contract))))
        self._bump_rules()
        ctx.emit(ContractDisabled(contract))

    def _enable(self, ctx: Context, contract: str) -> None:
        disabled = self.disabled.get(())
        require(contract in disabled, GovernanceError.NOT_DISABLED, contract=contract)
        self.disabled.set(tuple(name for name in disabled if name != contract))
        self._bump_rules()
        ctx.emit(ContractEnabled(contract))

    def _schedule_upgrade(self, ctx: Context, upgrade: Upgrade) -> None:
        plan, least = self._plan(ctx), ctx.height + UPGRADE_NOTICE_BLOCKS
        require(plan.upgrade is None, GovernanceError.UPGRADE_PENDING)
        require(upgrade.version > plan.version, GovernanceError.BAD_VERSION, version=upgrade.version, now=plan.version)
        require(upgrade.height >= least, GovernanceError.BAD_HEIGHT, height=upgrade.height, least=least)
        self.plan.set(replace(plan, upgrade=upgrade))
        self._bump_rules()
        ctx.emit(UpgradeScheduled(upgrade.version, upgrade.height, upgrade.name))

    def _cancel_upgrade(self, ctx: Context) -> None:
        plan = self._plan(ctx)
        if plan.upgrade is None:
            raise ContractError(GovernanceError.NO_UPGRADE, version=plan.version)
        self.plan.set(replace(plan, upgrade=None))
        self._bump_rules()
        ctx.emit(UpgradeCancelled(plan.upgrade.version))

    def _rules(self, ctx: Context) -> RulesInfo:
        parameters, plan = self._parameters(), self._plan(ctx)
        limit_ms = self.window_limit_ms.get(parameters.tx_window_ms)
        return RulesInfo(parameters, limit_ms, self.disabled.get(()), plan.version, plan.upgrade)

    def _parameters(self) -> Parameters:
        """Return what genesis set, or what was decided since."""
        return self.parameters.get(_DEFAULTS)

    def _plan(self, ctx: Context) -> UpgradePlan:
        """Return the version of this block and the upgrade after it: one whose height has come lies ahead no more."""
        plan = self.plan.get(AS_AT_GENESIS)
        if plan.upgrade is None or plan.upgrade.height > ctx.height:
            return plan
        return UpgradePlan(plan.upgrade.version, None)

    def _bump_rules(self) -> None:
        self.rules_revision.set(self.rules_revision.get(0) + 1)


def _require_time_for_blocks(parameters: Parameters) -> None:
    most = GAS_PER_CAP_MS * parameters.timeout_cap_ms
    right, name = parameters.block_max_gas <= most, ParameterName.BLOCK_MAX_GAS.value
    require(right, GovernanceError.BAD_PARAMETER, name=name, value=parameters.block_max_gas, most=most)

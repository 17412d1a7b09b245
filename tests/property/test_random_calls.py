"""Whatever is called, by whomever: what fails has a code of the ABI, leaves nothing behind but its gas, and money adds up."""

from dataclasses import replace
from typing import Final

from ledger.block import Receipt, Status
from ledger.policy import contract_address
from ledger.store import MemoryStore
from ledger.types import Height
from tests.determinism.calls import CallMaker
from tests.determinism.samples import SAMPLES
from tests.determinism.world import PAUSES_MS, World
from tests.seeds import fresh
from tests.supply import check_state
from vm.context import BlockContext
from vm.contracts.asset import balance_key
from vm.errors import CoreError
from vm.executor import Executor
from vm.registry import default_registry

CALLS: Final = 1_000
GAS_PRICE: Final = 3


def test_a_call_that_fails_costs_its_gas_and_changes_nothing_else() -> None:
    world, registry = World(fresh("calls")), default_registry()
    executor, state, fees = Executor(registry), MemoryStore(), contract_address("fees")
    state.apply(dict(world.genesis.state))
    context = BlockContext(Height(1), world.genesis.header.timestamp_ms + 1_000, GAS_PRICE, fees, max_gas=10**12)
    maker = CallMaker(registry, world.rng, world.accounts, SAMPLES)
    failed = succeeded = 0
    for _ in range(CALLS):
        maker.now_ms = context.timestamp_ms
        transaction = world.transaction(maker, context.timestamp_ms)
        execution = executor.build(state, context, [transaction], 1, 2**20).execution
        if execution.receipts:
            receipt = execution.receipts[0]
            maker.learn(receipt)
            succeeded += receipt.status is Status.SUCCEEDED
            if receipt.status is Status.FAILED:
                failed += 1
                _check_code(receipt)
                alone = executor.execute(state, context, []).changes  # what is due ran before it
                touched = {key for key, value in execution.changes.items() if alone.get(key, state.get(key)) != value}
                assert touched <= {balance_key(transaction.sender), balance_key(fees)}
                assert 0 < receipt.gas_used <= transaction.body.gas_limit
        state.apply(execution.changes)
        pause_ms = world.rng.choice(PAUSES_MS) if world.rng.random() < 0.02 else 1_000
        context = replace(context, height=Height(context.height + 1), timestamp_ms=context.timestamp_ms + pause_ms)
    check_state(state)
    assert failed > CALLS // 10
    assert succeeded > CALLS // 25


def _check_code(receipt: Receipt) -> None:
    error, registry = receipt.error, default_registry()
    assert error is not None
    known = set(CoreError.__members__)
    if error.contract in registry.names():
        known |= {each.name for each in registry.entry(error.contract).spec.errors}
    assert error.code in known
    assert error.code != CoreError.CONTRACT_DEFECT.name, error

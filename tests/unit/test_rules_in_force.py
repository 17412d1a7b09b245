"""What governance decides about the chain is what nodes go by from the next block on: parameters, contracts, versions."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from consensus.effects import BuildBlock, SetTimer, Timer
from ledger.block import Status
from ledger.codec import decode, encode
from ledger.errors import RejectedError
from ledger.transaction import Call, Transaction
from ledger.types import MemberId, View
from node import chain as node_chain
from node.chain import InvalidBlockError, OutdatedError
from node.db_replay import _replay_held
from node.db_rows import SOURCES, Range, What
from tests.memory_node import FAUCET_SEED, MemoryNode
from tests.one_driver import NOW, one_driver
from vm.contracts.asset import FEES, balance_key
from vm.contracts.governance import Governance
from vm.contracts.governance_rules import UPGRADE_NOTICE_BLOCKS
from vm.contracts.planned_calls import PlannedCall
from vm.gas import max_gas_limit
from vm.registry import default_registry


@pytest.fixture
def node(tmp_path: Path) -> Iterator[MemoryNode]:
    made = MemoryNode(tmp_path / "db", auto=False)
    yield made
    made.close()


def _call(method: Callable[..., Any], *args: Any) -> Call:
    entry, spec = default_registry().of_function(method)
    return Call(entry.name, spec.name, spec.encode_args(args))


def _decide(node: MemoryNode, method: str, *args: Any) -> None:
    """Have the one member decide on a call of governance itself, in a block of its own."""
    planned = (PlannedCall("governance", method, encode(args)),)
    call = _call(Governance.propose_calls, planned, "", None)
    _commit(node, node.sign(node.keys[0].governance_seed, (call,), gas_limit=5_000_000))


def _commit(node: MemoryNode, *transactions: Transaction) -> None:
    for transaction in transactions:
        node._intake.admit(transaction, node.now_ms)
    node.commit()
    for transaction in transactions:
        receipt = node._finality.status(transaction.id).receipt
        assert receipt is not None
        assert receipt.status is Status.SUCCEEDED, receipt.error


def _payment(node: MemoryNode, *, amount: int = 5, valid_for_ms: int = 60_000) -> Transaction:
    call = Call("asset", "transfer", (node.keys[0].account, amount))
    return node.sign(FAUCET_SEED, (call,), valid_for_ms=valid_for_ms)


def test_parameters_hold_from_the_next_block_on(node: MemoryNode) -> None:
    _decide(node, "set_parameters", (("gas_price_motes", 7), ("block_max_transactions", 2)))
    assert node.parameters.gas_price_motes == 7
    payments = [_payment(node) for _ in range(3)]
    built, _ = node._chain.build(payments, 100, View(0), MemberId("node1"), node.now_ms + 1)
    assert len(built.transactions) == 2
    assert built.header.gas_used > 0
    assert built.execution.receipts[0].status is Status.SUCCEEDED
    charged = built.execution.changes[balance_key(FEES)]
    assert charged is not None
    balance: Any = decode(charged)
    assert balance[0] == 7 * built.header.gas_used
    one_too_many = node._chain.build(payments[:1], 100, View(0), MemberId("node1"), node.now_ms + 1)[0]
    with pytest.raises(InvalidBlockError, match="over its limits"):
        node._chain.execute(one_too_many.header, payments)


def test_a_shorter_window_is_kept_to_and_forgets_nothing(node: MemoryNode) -> None:
    """What was committed under the longer window can not be committed again, and what is valid for too long waits."""
    early = _payment(node, valid_for_ms=3_000_000)
    _commit(node, early)
    _decide(node, "set_parameters", (("tx_window_ms", 600_000),))
    with pytest.raises(RejectedError):
        node._intake.admit(_payment(node, valid_for_ms=3_000_000), node.now_ms)
    node.step_ms = 2_600_000
    node.commit()
    again, _ = node._chain.build([early], 100, View(0), MemberId("node1"), node.now_ms + 1_000)
    assert again.transactions == ()
    assert node._chain.committed_at(early.id) is not None


def test_what_a_shorter_window_keeps_waiting_is_no_work_and_is_in_nobodys_way(
    node: MemoryNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else blocks without anything in them follow one another until it may stand in one, or none holds anything else."""
    monkeypatch.setattr(node_chain, "MAX_SCANNED", 2)
    _decide(node, "set_parameters", (("tx_window_ms", 600_000),))
    for _ in range(2):
        node._mempool.add(_payment(node, valid_for_ms=3_000_000))  # as if they had come before
    assert not node._chain.has_includable(node._mempool, node.now_ms)
    _commit(node, _payment(node))
    assert len(node._mempool) == 2


def test_what_asks_for_more_gas_than_smaller_blocks_give_is_no_work(node: MemoryNode) -> None:
    """Else every primary is taken for one that does not propose, until it expires."""
    call = Call("asset", "transfer", (node.keys[0].account, 5))
    pending = node.sign(FAUCET_SEED, (call,), gas_limit=max_gas_limit(node.parameters.block_max_gas))
    _decide(node, "set_parameters", (("block_max_gas", node.parameters.block_max_gas // 2),))
    node._mempool.add(pending)  # as if it had come before
    built, refused = node._chain.build([pending], 1, View(0), MemberId("node1"), node.now_ms + 1)
    assert (built.transactions, refused) == ((), (pending,))
    assert not node._chain.has_includable(node._mempool, node.now_ms)
    node._mempool.add(_payment(node))
    assert node._chain.has_includable(node._mempool, node.now_ms)


def test_a_disabled_contract_is_off_in_the_next_block(node: MemoryNode) -> None:
    _decide(node, "disable_contract", "charging")
    call = Call("charging", "pay_debt", (bytes(32), 1))
    built, _ = node._chain.build([node.sign(FAUCET_SEED, (call,))], 100, View(0), MemberId("node1"), node.now_ms + 1)
    error = built.execution.receipts[0].error
    assert error is not None
    assert error.code == "CONTRACT_DISABLED"
    _decide(node, "enable_contract", "charging")
    assert node._chain.rules.disabled == frozenset()


def test_no_block_of_an_unknown_version_is_judged(node: MemoryNode) -> None:
    height = node.tip.height + 1 + UPGRADE_NOTICE_BLOCKS
    _decide(node, "schedule_upgrade", 2, height, "second")
    while node.tip.height < height - 1:
        assert node._chain.outdated is None
        node.commit()
    assert node._chain.outdated is not None
    built, _ = node._chain.build([], 100, View(0), MemberId("node1"), node.now_ms + 1)
    with pytest.raises(OutdatedError, match="version 2"):
        node._chain.execute(built.header, [])


async def test_a_node_that_does_not_know_the_version_votes_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(node_chain, "RULES_VERSION", 0)
    with one_driver(tmp_path) as (driver, _network):
        driver.start()
        assert driver.replica.halted is not None
        assert driver.replica.halted.reason.startswith("version: ")
        await driver.stop()


async def test_timeouts_and_block_size_are_the_chains_from_the_next_height_on(tmp_path: Path) -> None:
    with one_driver(tmp_path, index=0) as (driver, _network):
        driver.start()
        parameters = replace(driver.chain.parameters, base_timeout_ms=2_500, timeout_cap_ms=9_000, block_max_transactions=7)
        driver.chain.rules = replace(driver.chain.rules, parameters=parameters)
        driver._standing.take()
        effects = driver.replica.on_work(True, NOW)
        assert SetTimer(Timer.PROGRESS, NOW + 2_500) in effects
        assert [effect.max_transactions for effect in effects if isinstance(effect, BuildBlock)] == [7]
        await driver.stop()


def test_the_past_is_judged_by_the_rules_of_then(node: MemoryNode) -> None:
    """Fees that are exported are those that were paid, and what was executed under other rules executes again."""
    _commit(node, _payment(node, amount=10**12))
    _decide(node, "set_parameters", (("gas_price_motes", 7),))
    _decide(node, "set_parameters", (("gas_price_motes", 3),))
    _commit(node, _payment(node))
    rows = SOURCES[What.TRANSACTIONS].rows(node._chain, Range(), lambda *_: None)
    assert [row["fee_motes"] // row["gas_used"] for row in rows] == [0, 0, 7, 3]
    replayed = _replay_held(node._chain, lambda *_: None)
    assert (replayed.first, replayed.last) == (1, node.tip.height)

"""With a price for gas: what its sender cannot pay any more is in nobody's way, and is found again once he can."""

import asyncio
import hashlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.crypto import public_key
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.transaction import Call, Transaction
from ledger.types import MemberId, TxHash, View
from node import chain as node_chain
from node import work as node_work
from node.api import TxState
from node.mempool import DEFERRED_SHARE
from node.work import Work
from tests.memory_node import FAUCET_SEED, MemoryNode

GAS = 100_000
FUNDS = 50 * GAS
SCANNED = 4


@pytest.fixture
def node(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[MemoryNode]:
    for module in (node_chain, node_work):
        monkeypatch.setattr(module, "MAX_SCANNED", SCANNED)
    made = MemoryNode(tmp_path / "db", auto=False, parameters=ChainParameters(gas_price_motes=1))
    yield made
    made.close()


def seed(name: str) -> bytes:
    return hashlib.sha256(name.encode()).digest()


def payment(node: MemoryNode, payer: bytes, amount: int = 1, *, to: str = "somebody", gas: int = GAS) -> Transaction:
    receiver = KeyPolicy.single(public_key(seed(to))).address
    return node.sign(payer, (Call("asset", "transfer", (receiver, amount)),), gas_limit=gas)


def fund(node: MemoryNode, name: str, amount: int = FUNDS) -> None:
    node._intake.admit(payment(node, FAUCET_SEED, amount, to=name), node.now_ms)
    node.commit()


def unpayable(node: MemoryNode, count: int) -> list[Transaction]:
    """Transactions in the pool whose sender has spent what he had when they came."""
    fund(node, "spender")
    made = [payment(node, seed("spender"), gas=FUNDS - 1 - number) for number in range(count)]
    for transaction in (payment(node, seed("spender"), FUNDS - GAS), *made):
        node._intake.admit(transaction, node.now_ms)
    for transaction in made:
        assert node._mempool.find(transaction.id) is not None
    node.commit()
    return made


def build(node: MemoryNode) -> tuple[tuple[Transaction, ...], tuple[Transaction, ...]]:
    """What a primary would put into a block now, and what it would put behind the rest."""
    built, refused = node._chain.build(node._mempool.candidates(), 100, View(0), MemberId("node1"), node.now_ms + 1)
    return built.transactions, refused


def test_what_comes_later_and_can_be_paid_is_seen_at_the_first_look(node: MemoryNode) -> None:
    left = unpayable(node, 3 * SCANNED)
    assert [node._chain.has_includable(node._mempool, node.now_ms) for _ in range(3)] == [False] * 3
    node._intake.admit(later := payment(node, FAUCET_SEED), node.now_ms)
    assert node._chain.has_includable(node._mempool, node.now_ms)
    included, refused = build(node)
    assert included == (later,)
    assert set(refused) < set(left)


async def test_what_is_behind_all_that_cannot_be_paid_is_found_soon(node: MemoryNode) -> None:
    """Of each member's pool that is not seen in one look, the rest is looked at soon: not at the next heartbeat."""
    unpayable(node, 5 * SCANNED)
    node._intake.admit(payment(node, FAUCET_SEED), node.now_ms)
    said = asyncio.Queue[bool]()
    work = Work(node._chain, node._mempool, lambda: node.now_ms, 1, said.put_nowait)
    work.on_committed(0)
    looks = [await asyncio.wait_for(said.get(), 10)]
    while not looks[-1]:
        looks.append(await asyncio.wait_for(said.get(), 10))
    work.stop()
    assert len(looks) <= 6
    assert build(node)[0] != ()


async def test_where_nothing_can_be_paid_nobody_looks_for_ever(node: MemoryNode) -> None:
    unpayable(node, 3 * SCANNED)
    said = asyncio.Queue[bool]()
    work = Work(node._chain, node._mempool, lambda: node.now_ms, 1, said.put_nowait)
    work.on_committed(0)
    assert [await asyncio.wait_for(said.get(), 10) for _ in range(3)] == [False] * 3
    assert work._work_timer is None
    work.stop()


def test_who_gets_money_again_is_served(node: MemoryNode) -> None:
    unpayable(node, SCANNED)
    assert not node._chain.has_includable(node._mempool, node.now_ms)
    assert node._mempool.pending == SCANNED
    fund(node, "spender")
    assert node._mempool.pending < SCANNED, "paid in the same block"


def test_less_gas_may_be_payable_where_more_is_not(node: MemoryNode) -> None:
    unpayable(node, SCANNED - 2)
    fund(node, "spender", 2 * GAS)
    for gas in (GAS, GAS - 1):
        node._intake.admit(payment(node, seed("spender"), gas=gas), node.now_ms)
    included, refused = build(node)
    assert [each.body.gas_limit for each in included] == [GAS, GAS - 1]
    assert len(refused) == SCANNED - 2


def test_the_deferred_come_last_but_for_a_share(node: MemoryNode) -> None:
    """Else a stream of new ones would keep one waiting until it expires that was refused once."""
    mempool = node._mempool
    early = [payment(node, FAUCET_SEED, 1 + number) for number in range(3)]
    late = [payment(node, FAUCET_SEED, 10 + number) for number in range(2 * DEFERRED_SHARE)]
    for transaction in early:
        mempool.add(transaction)
    mempool.defer([early[1].tx_hash, early[0].tx_hash, TxHash(bytes(32))])
    for transaction in late:
        mempool.add(transaction)
    order = list(mempool.candidates())
    assert order[0] is early[2]
    assert [order.index(early[1]), order.index(early[0])] == [DEFERRED_SHARE - 1, 2 * DEFERRED_SHARE - 1]
    assert len(order) == len(set(order)) == len(early) + len(late)
    mempool.remove([each.id for each in early])
    assert list(mempool.candidates()) == late
    assert not mempool._deferred


async def test_what_is_pending_here_is_not_called_expired(node: MemoryNode) -> None:
    """A wallet that named another validity by mistake would pay again."""
    pending = unpayable(node, 1)[0]
    waiting = asyncio.create_task(node.wait_final(pending.id, 60_000, node.now_ms))
    for _ in range(3):
        await asyncio.sleep(0)
        node.commit()
    assert not waiting.done()
    assert node.transaction_status(pending.id, node.now_ms).state is TxState.PENDING
    node.step_ms = pending.body.valid_until_ms
    node.commit()
    assert (await waiting).state is TxState.EXPIRED

"""Receipt proofs of large blocks: the event loop goes round while they are made, and who asks at once shares the work."""

import asyncio
from pathlib import Path

import pytest

from ledger.errors import NotFoundError
from ledger.transaction import Call, Transaction
from ledger.types import Height
from node import prover
from node.block_store import Held
from tests.memory_node import FAUCET_SEED, MemoryNode
from tests.vm_harness import account

MANY = 300
STEPS = 12
"""Of each of two lists: its items, its leaves and the lowest nodes in pieces, and each level above them."""


async def full_block(tmp_path: Path) -> tuple[MemoryNode, list[Transaction]]:
    node = MemoryNode(tmp_path / "db", auto=False)
    call = Call("asset", "transfer", (account("alice").address, 1))
    sent = [node.sign(FAUCET_SEED, (call,)) for _ in range(MANY)]
    assert not [answer for answer in await node.submit([each.raw for each in sent]) if answer.error]
    node.commit()
    return node, sent


async def rounds_of(*work: asyncio.Task[None]) -> int:
    """Return how often the event loop goes round until the tasks are done."""
    rounds = 0
    while not all(each.done() for each in work):
        await asyncio.sleep(0)
        rounds += 1
    return rounds


async def test_the_event_loop_goes_round_while_a_block_is_hashed_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With turns of a single step: many of them, and no more for ten who ask than for one."""
    monkeypatch.setattr(prover, "TURN_S", 0.0)
    node, sent = await full_block(tmp_path)

    async def prove(transaction: Transaction) -> None:
        proof = await node.prove_receipt(transaction.id)
        assert proof is not None
        assert proof.verify(node.genesis_hash).height == 1

    alone = await rounds_of(asyncio.create_task(prove(sent[0])))
    assert alone >= 2 * STEPS
    assert await rounds_of(asyncio.create_task(prove(sent[1]))) < 5, "its block is hashed"
    node.close()
    node, sent = await full_block(tmp_path / "again")
    together = await rounds_of(*(asyncio.create_task(prove(each)) for each in sent[::30]))
    assert together < 4 * alone, "ten who ask share the work"
    node.close()


async def test_a_block_that_is_pruned_while_it_is_hashed_is_still_proven(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prover, "TURN_S", 0.0)
    node, sent = await full_block(tmp_path)
    node.commit()
    asked = asyncio.create_task(node.prove_receipt(sent[5].id))
    await asyncio.sleep(0)
    node._chain.store.put_held(Held(Height(0), Height(2), Height(2), Height(0)))
    while node._chain.store.forget_blocks(100):
        pass
    proof = await asked
    assert proof is not None
    assert proof.verify(node.genesis_hash).height == 1
    node.close()


async def test_what_is_not_there_is_said(tmp_path: Path) -> None:
    node, sent = await full_block(tmp_path)
    assert await node.prove_receipt(node.sign(FAUCET_SEED, (Call("asset", "supply", ()),)).id) is None
    node._chain.store.put_held(Held(Height(0), Height(2), Height(2), Height(0)))
    node._chain.store.forget_blocks(100)
    with pytest.raises(NotFoundError) as caught:
        await node.prove_receipt(sent[0].id)
    assert caught.value.reason == "pruned"
    node.close()

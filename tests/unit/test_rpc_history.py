"""Reads of the past: what a height held is answered as it was, and what is not kept any more is said to be `pruned`."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from ledger.policy import format_address
from ledger.proof import Proof
from ledger.state_tree import NODE_PREFIX, CorruptStateError
from ledger.transaction import Call, Transaction
from ledger.types import Height, TxId
from node.block_store import Held
from node.pruning import Keep, Pruner
from tests.memory_node import FAUCET_SEED, START_MS, MemoryNode
from tests.unit.test_rpc_schema import ALICE, Rpc, raw_of
from vm.context import RECENT_BLOCKS

HOUR_MS = 3_600_000


@pytest.fixture
async def rpc(tmp_path: Path) -> AsyncIterator[Rpc]:
    node = MemoryNode(tmp_path / "db")
    yield Rpc(node)
    node.close()


async def pay(rpc: Rpc, amount: int = 5) -> Transaction:
    sent = rpc.node.sign(FAUCET_SEED, (Call("asset", "transfer", (ALICE, amount)),))
    await rpc.ok("tx_send", raw=raw_of(sent))
    return sent


def prune(node: MemoryNode, **keep: int) -> None:
    """Forget all that need not be kept."""
    pruner = Pruner(node._chain, Keep(**keep))
    while pruner.step():
        pass


async def pruned(rpc: Rpc, method: str, /, **params: Any) -> Any:
    """Return the data of the error, which must be `pruned`."""
    error = await rpc.fails(method, **params)
    assert (error["code"], error["data"]["reason"]) == (-32001, "pruned"), error
    return error["data"]


async def balance(rpc: Rpc, **params: Any) -> tuple[int, str]:
    answer = await rpc.ok("account_get", address=format_address(ALICE), **params)
    if params.get("prove"):
        Proof.decode(bytes.fromhex(answer["proof"][2:])).verify(rpc.node.genesis_hash)
    return answer["height"], answer["value"]["balance"]


async def test_every_height_is_answered_as_it_was(rpc: Rpc) -> None:
    for amount in (5, 7, 11):
        await pay(rpc, amount)
    expected = {0: "0", 1: "5", 2: "12", 3: "23"}
    for height, free in expected.items():
        assert await balance(rpc, height=height) == (height, free)
        assert await balance(rpc, height=height, prove=True) == (height, free)
        stored = await rpc.ok("state_get", contract="asset", field="accounts", key=["DATR", format_address(ALICE)], height=height)
        assert stored["value"] == (None if height == 0 else {"free": free, "held": "0", "locked": "0", "frozen": False})
        asked = await rpc.ok("contract_query", contract="asset", method="balance_of", args=[format_address(ALICE)], height=height)
        assert asked["value"]["free"] == free
    assert await balance(rpc) == await balance(rpc, prove=True) == (3, "23")
    future = await rpc.fails("account_get", address=format_address(ALICE), height=4)
    assert future["data"]["reason"] == "not_found"


async def test_old_states_are_pruned(rpc: Rpc) -> None:
    for _ in range(6):
        await pay(rpc)
    prune(rpc.node, states=2)
    assert await balance(rpc, height=4, prove=True) == (4, "20")
    for method, params in (
        ("account_get", {"address": format_address(ALICE)}),
        ("contract_query", {"contract": "asset", "method": "supply"}),
        ("state_get", {"contract": "asset", "field": "supplies", "key": "DATR"}),
        ("consensus_members", {}),
    ):
        for prove in ({}, {"prove": True}) if method != "consensus_members" else ({},):
            assert (await pruned(rpc, method, height=3, **params, **prove))["oldest"] == 4
    assert (await rpc.ok("node_capabilities"))["held"] == {
        "headers_from": 0,
        "receipts_from": 0,
        "bodies_from": 0,
        "states_from": 4,
    }


async def test_a_state_of_another_root_than_its_header_s_is_not_read(rpc: Rpc) -> None:
    for _ in range(3):
        await pay(rpc)
    raw = rpc.node._chain.store.raw
    raw.apply({NODE_PREFIX + (2).to_bytes(8): raw.get(NODE_PREFIX + (1).to_bytes(8))})
    with pytest.raises(CorruptStateError):
        rpc.node.state_at(Height(2))


@pytest.mark.parametrize("method", ["account_get", "state_get", "contract_query"])
async def test_a_state_that_is_pruned_while_it_is_being_proven_is_said_to_be_pruned(tmp_path: Path, method: str) -> None:
    """At whatever moment of the call it goes: the answer is whole, or `pruned` with the oldest height."""
    params: dict[str, dict[str, Any]] = {
        "account_get": {"address": format_address(ALICE)},
        "state_get": {"contract": "asset", "field": "accounts", "key": ["DATR", format_address(ALICE)]},
        "contract_query": {"contract": "asset", "method": "balance_of", "args": [format_address(ALICE)]},
    }
    for turns in range(8):
        rpc = Rpc(MemoryNode(tmp_path / str(turns)))
        for _ in range(3):
            await pay(rpc)
        asked = asyncio.create_task(rpc.raw(method, {**params[method], "height": 1, "prove": True}))
        for _ in range(turns):
            await asyncio.sleep(0)
        prune(rpc.node, states=1)
        answer = await asked
        if "error" in answer:
            assert (answer["error"]["data"]["reason"], answer["error"]["data"].get("oldest")) == ("pruned", 2), turns
        else:
            proof = Proof.decode(bytes.fromhex(answer["result"]["proof"][2:]))
            assert proof.verify(rpc.node.genesis_hash).height == 1
        rpc.node.close()


async def test_old_bodies_and_receipts_are_pruned_and_headers_stay(rpc: Rpc) -> None:
    old = await pay(rpc)
    tx_id = "0x" + old.id.hex()
    rpc.node.step_ms = HOUR_MS
    for _ in range(RECENT_BLOCKS + 4):
        rpc.node.commit()
    prune(rpc.node, bodies=2, snapshot_every=0)
    tip = rpc.node.tip.height
    rpc.node._finality._recent.clear()  # as after a restart
    for full in (False, True):
        assert (await pruned(rpc, "chain_getBlock", height=1, full=full))["oldest"] == tip - 2
    assert (await rpc.ok("chain_getBlock", height=tip - 2, full=True))["height"] == tip - 2
    data = await pruned(rpc, "tx_get", id=tx_id)
    assert 1 < data["oldest"] <= tip - 2
    assert data["height"] == 1
    await pruned(rpc, "tx_get", id=tx_id, prove=True)
    await pruned(rpc, "tx_wait", id=tx_id, timeout_ms=1)
    assert (await rpc.fails("tx_send", raw=raw_of(old)))["data"]["reason"] == "pruned"
    assert (await rpc.ok("chain_getHeader", height=1))["height"] == 1
    assert (await rpc.ok("chain_getCommit", height=1))["signers"] == ["node1"]
    proof = Proof.decode(bytes.fromhex((await rpc.ok("chain_proveHeader", height=1))["proof"][2:]))
    assert proof.verify(rpc.node.genesis_hash).height == 1
    unknown = await rpc.ok("tx_get", id="0x" + "07" * 32)
    assert unknown["status"] == "not_found", "the ids reach back to genesis"


def restored(node: MemoryNode, first: int, height: int) -> None:
    """Have the node hold what one does that was restored from the snapshot of `height`, whose window begins at `first`."""
    store = node._chain.store
    store.put_held(Held(Height(first), Height(first), Height(height + 1), Height(height)))
    store.raw.apply({prefix + at.to_bytes(8): None for prefix in (b"b", b"c", b"r", b"i") for at in range(1, first)})


async def test_a_node_that_began_with_a_snapshot_does_not_know_what_was_before(rpc: Rpc) -> None:
    """An id that it never saw may stand in an older block, unless its validity shows that it cannot."""
    for _ in range(5):
        await pay(rpc)
    window_ms = rpc.node.parameters.tx_window_ms
    restored(rpc.node, first=3, height=4)
    unknown, snapshot_ms = "0x" + "07" * 32, START_MS + 4_000
    assert (await pruned(rpc, "tx_get", id=unknown))["oldest"] == 3
    assert (await pruned(rpc, "tx_get", id=unknown, valid_until_ms=snapshot_ms - 1))["oldest"] == 3
    recent = await rpc.ok("tx_get", id=unknown, valid_until_ms=rpc.node.tip.timestamp_ms)
    assert recent["status"] == "not_found"
    rpc.node.step_ms = window_ms + 10_000
    rpc.node.commit()
    assert (await rpc.ok("tx_get", id=unknown, valid_until_ms=snapshot_ms))["status"] == "expired"
    late = await rpc.fails("tx_wait", id=unknown, timeout_ms=1)
    assert late["data"]["reason"] == "wait_timeout", "it may be on its way here"
    assert (await pruned(rpc, "chain_getHeader", height=1))["oldest"] == 3
    await pruned(rpc, "chain_getHeader", hash="0x" + "07" * 32)
    assert [item["height"] for item in (await rpc.ok("chain_listBlocks"))["items"]][-1] >= 3
    page = await rpc.ok("chain_listBlocks", limit=4)
    assert ([item["height"] for item in page["items"]], page["next_cursor"]) == ([6, 5, 4, 3], None)


async def test_a_pause_before_the_window_does_not_cost_a_restored_node_its_wallets(rpc: Rpc) -> None:
    """The window's first block may be much younger than the window: what is valid now can still be in no block before it."""
    await pay(rpc)
    rpc.node.step_ms = 2 * rpc.node.parameters.tx_window_ms
    await pay(rpc)
    rpc.node.step_ms = 1_000
    await pay(rpc)
    restored(rpc.node, first=2, height=3)
    await pay(rpc)


async def test_what_may_have_been_paid_before_the_window_is_never_called_expired(rpc: Rpc) -> None:
    """Expired is final: a wallet would pay again."""
    old = await pay(rpc)
    known = {"id": "0x" + old.id.hex(), "valid_until_ms": old.body.valid_until_ms}
    rpc.node.step_ms = 2 * rpc.node.parameters.tx_window_ms
    await pay(rpc)
    restored(rpc.node, first=2, height=2)
    rpc.node._chain.store.raw.apply({b"t" + old.id: None})
    asked = asyncio.create_task(pruned(rpc, "tx_wait", timeout_ms=5_000, **known))
    await asyncio.sleep(0)
    rpc.node.commit()
    assert (await asked)["oldest"] == 2
    await pruned(rpc, "tx_get", **known)


async def test_a_wait_over_a_restored_state_is_not_answered_as_expired(rpc: Rpc, monkeypatch: pytest.MonkeyPatch) -> None:
    """The blocks between the old tip and the window were never seen here: what was waited for may be in one of them."""
    await pay(rpc)
    node, until_ms = rpc.node, rpc.node.tip.timestamp_ms + 5_000
    asked = asyncio.create_task(pruned(rpc, "tx_wait", id="0x" + "07" * 32, valid_until_ms=until_ms, timeout_ms=5_000))
    for _ in range(10):
        await asyncio.sleep(0)
    assert node._finality._count == 1
    with monkeypatch.context() as unseen:
        unseen.setattr(node._finality, "committed", lambda _executed: None)
        for _ in range(10):
            node.commit()
        restored(node, first=9, height=10)
    node._finality.adopted()
    node.commit()
    assert (await asked)["oldest"] == 9


async def test_a_value_of_an_unknown_place_is_refused(rpc: Rpc) -> None:
    for params, code in (
        ({"contract": "nope", "field": "accounts"}, "UNKNOWN_CONTRACT"),
        ({"contract": "asset", "field": "nope"}, "UNKNOWN_FIELD"),
        ({"contract": "asset", "field": "supplies"}, "BAD_ARGUMENTS"),
        ({"contract": "governance", "field": "roster", "key": 1}, "BAD_ARGUMENTS"),
        ({"contract": "asset", "field": "supplies", "key": 5}, "BAD_ARGUMENTS"),
    ):
        error = await rpc.fails("state_get", **params)
        assert error["data"]["code"] == code
    assert rpc.node.transaction_status(TxId(bytes(32))).state == "not_found"

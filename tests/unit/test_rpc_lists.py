"""`tx_list` and `event_list` over the dispatcher: who finds what, pages that stay put, honest ends where blocks are pruned."""

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from ledger.policy import format_address
from ledger.transaction import Call
from ledger.types import Height
from node.block_store import Held
from node.indexes import REACH_KEY, Reach, reach_bytes
from node.pruning import Keep, Pruner
from node.rpc.dispatch import Dispatcher
from node.rpc.methods import lists
from tests.ledger_folder import ADDRESSES, SEEDS, FolderNode, LedgerFolder
from tests.memory_node import FAUCET
from vm.registry import default_registry

ALICE, BOB, CAROL, NOBODY = ADDRESSES[:4]


class Rpc:
    def __init__(self, node: FolderNode) -> None:
        self.node = node
        self._dispatcher = Dispatcher(node, default_registry(), max_body_bytes=1024, observe=lambda _method, _outcome: None)

    async def raw(self, method: str, **params: Any) -> Any:
        answer = await self._dispatcher.answer(orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        assert answer is not None
        return orjson.loads(answer)

    async def page(self, method: str, **params: Any) -> Any:
        answer = await self.raw(method, **params)
        assert "error" not in answer, answer
        return answer["result"]

    async def everything(self, method: str, **params: Any) -> list[Any]:
        """Return all items, page by page."""
        items: list[Any] = []
        cursor: str | None = None
        for _ in range(1_000):
            page = await self.page(method, **params, cursor=cursor)
            items += page["items"]
            cursor = page["next_cursor"]
            if cursor is None:
                return items
        raise AssertionError("a list ends")

    async def refusal(self, method: str, **params: Any) -> Any:
        answer = await self.raw(method, **params)
        assert "error" in answer, answer
        return answer["error"]["data"]


@pytest.fixture
def node(tmp_path: Path) -> Iterator[FolderNode]:
    """Twelve blocks: the faucet pays Alice, then Alice pays Bob in every other one; Carol's payment runs out of gas."""
    with LedgerFolder(tmp_path).running() as found:
        for height in range(1, 13):
            found.transfer(ALICE, 1_000)
            if height % 2 == 0:
                found.transfer(BOB, height, SEEDS[0])
            if height == 5:
                found.put(Call("asset", "transfer", (CAROL, 1)), seed=SEEDS[0], gas_limit=25_000)
            found.commit()
        found.reindex()
        yield found


def places(items: list[Any]) -> list[tuple[int, int]]:
    return [(item["height"], item["index"]) for item in items]


async def test_an_account_sees_what_it_sent_what_it_got_and_where_it_was_named(node: FolderNode) -> None:
    rpc = Rpc(node)
    of_bob = await rpc.everything("tx_list", address=format_address(BOB))
    assert [item["height"] for item in of_bob] == [12, 10, 8, 6, 4, 2]
    assert {item["status"] for item in of_bob} == {"succeeded"}
    [of_carol] = await rpc.everything("tx_list", address=format_address(CAROL))
    assert (of_carol["height"], of_carol["status"], of_carol["kind"]) == (5, "failed", "transaction")
    assert await rpc.everything("tx_list", address=format_address(NOBODY)) == []
    of_all = await rpc.everything("tx_list")
    assert len(of_all) == 19
    assert places(of_all) == sorted(places(of_all), reverse=True)
    assert places(await rpc.everything("tx_list", contract="asset", limit=3)) == places(of_all)
    assert await rpc.everything("tx_list", contract="charging") == []
    both = await rpc.everything("tx_list", contract="asset", address=format_address(FAUCET))
    assert [item["height"] for item in both] == list(range(12, 0, -1))


async def test_an_item_names_its_transaction_and_full_holds_it(node: FolderNode, monkeypatch: pytest.MonkeyPatch) -> None:
    rpc = Rpc(node)
    [light] = (await rpc.page("tx_list", address=format_address(BOB), limit=1))["items"]
    [full] = (await rpc.page("tx_list", address=format_address(BOB), limit=1, full=True))["items"]
    assert light == {name: value for name, value in full.items() if name not in ("transaction", "receipt")}
    status = await rpc.page("tx_get", id=light["id"])
    assert (status["height"], status["index"], status["receipt"]) == (light["height"], light["index"], full["receipt"])
    assert full["transaction"]["id"] == light["id"]
    assert len((await rpc.page("tx_list", limit=100))["items"]) == 19
    monkeypatch.setattr(lists, "MAX_FULL", 3)
    assert len((await rpc.page("tx_list", limit=100, full=True))["items"]) == 3
    assert len(await rpc.everything("tx_list", limit=100, full=True)) == 19
    assert full["transaction"]["sender"] == format_address(ALICE)
    assert light["timestamp_ms"] == (await rpc.page("chain_getHeader", height=12))["timestamp_ms"]


async def test_events_by_contract_name_topic_and_height(node: FolderNode) -> None:
    rpc = Rpc(node)
    events = await rpc.everything("event_list", contract="asset", event="Transferred", topic=format_address(BOB), limit=2)
    assert [item["height"] for item in events] == [12, 10, 8, 6, 4, 2]
    assert events[0]["fields"] == {"sender": format_address(ALICE), "recipient": format_address(BOB), "amount": "12"}
    assert events[0]["event_index"] == 0
    assert await rpc.everything("event_list", topic=format_address(BOB)) == events
    some = await rpc.everything("event_list", topic=format_address(BOB), from_height=4, to_height=8)
    assert [item["height"] for item in some] == [8, 6, 4]
    for nowhere in ({"from_height": 13}, {"from_height": 2**53 - 1}, {"from_height": 5, "to_height": 4}):
        assert await rpc.everything("event_list", **nowhere) == []
    assert await rpc.everything("event_list", to_height=2**53 - 1) == await rpc.everything("event_list")
    assert len(await rpc.everything("event_list")) == 18, "the failed transfer said nothing"
    assert await rpc.everything("event_list", contract="asset", event="Held") == []
    assert await rpc.everything("event_list", topic="0x" + "00" * 32) == []


@pytest.mark.parametrize("limit", [1, 2, 7, 100])
async def test_pages_put_together_are_the_list(node: FolderNode, limit: int) -> None:
    rpc = Rpc(node)
    for method in ("tx_list", "event_list"):
        assert await rpc.everything(method, limit=limit) == await rpc.everything(method, limit=50)


async def test_events_of_one_receipt_are_split_between_pages(tmp_path: Path) -> None:
    with LedgerFolder(tmp_path).running() as node:
        node.put(*[Call("asset", "transfer", (BOB, amount)) for amount in range(1, 8)])
        node.commit()
        node.reindex()
        items = await Rpc(node).everything("event_list", topic=format_address(BOB), limit=2)
        assert [item["fields"]["amount"] for item in items] == ["7", "6", "5", "4", "3", "2", "1"]
        assert [item["event_index"] for item in items] == [6, 5, 4, 3, 2, 1, 0]


async def test_blocks_that_come_later_do_not_shift_pages(node: FolderNode) -> None:
    rpc = Rpc(node)
    first = await rpc.page("tx_list", address=format_address(FAUCET), limit=5)
    assert (first["height"], first["oldest"]) == (12, 1)
    for _ in range(3):
        node.transfer(ALICE, 1)
        node.commit()
    node.reindex()
    second = await rpc.page("tx_list", address=format_address(FAUCET), limit=5, cursor=first["next_cursor"])
    assert [item["height"] for item in first["items"] + second["items"]] == list(range(12, 2, -1))
    assert second["height"] == 12, "the list is still that of height 12"
    assert (await rpc.page("tx_list", limit=1))["height"] == 15


async def test_a_page_takes_bounded_work_however_little_it_finds(node: FolderNode, monkeypatch: pytest.MonkeyPatch) -> None:
    """Short pages with a cursor lead to the end all the same."""
    monkeypatch.setattr(lists, "MAX_LOOKS", 2)
    monkeypatch.setattr(lists, "LOOKS_A_TURN", 2)
    rpc = Rpc(node)
    page = await rpc.page("event_list", contract="asset", topic=format_address(BOB), limit=50)
    assert len(page["items"]) <= 2
    assert page["next_cursor"] is not None
    assert len(await rpc.everything("event_list", contract="asset", topic=format_address(BOB), limit=50)) == 6


async def test_where_blocks_are_pruned_lists_end_and_say_so(node: FolderNode) -> None:
    rpc = Rpc(node)
    before = await rpc.page("event_list", topic=format_address(BOB), limit=4)
    pruner = Pruner(node.chain, Keep(states=1, bodies=5, snapshot_every=0))
    while pruner.step():
        pass
    assert node.held.bodies_from == 7
    page = await rpc.page("event_list", topic=format_address(BOB))
    assert [item["height"] for item in page["items"]] == [12, 10, 8]
    assert (page["next_cursor"], page["oldest"]) == (None, 7)
    for asked in ({"cursor": before["next_cursor"]}, {"to_height": 6}):
        refusal = await rpc.refusal("event_list", topic=format_address(BOB), **asked)
        assert (refusal["reason"], refusal["oldest"]) == ("pruned", 7)


async def test_a_page_says_how_far_down_it_reaches_also_when_blocks_go_while_it_is_made(
    node: FolderNode, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else what was swept from the index meanwhile would be said not to exist."""
    monkeypatch.setattr(lists, "LOOKS_A_TURN", 1)
    asked = asyncio.create_task(Rpc(node).page("event_list", topic=format_address(BOB)))
    for _ in range(4):
        await asyncio.sleep(0)
    assert not asked.done()
    pruner = Pruner(node.chain, Keep(states=1, bodies=5, snapshot_every=0))
    while pruner.step():
        pass
    page = await asked
    assert [item["height"] for item in page["items"]][:3] == [12, 10, 8]
    assert (page["next_cursor"], page["oldest"]) == (None, 7)


async def test_a_node_without_index_says_so(node: FolderNode) -> None:
    rpc = Rpc(node)
    node.chain.store.raw.apply({REACH_KEY: None})
    assert (await rpc.refusal("tx_list"))["reason"] == "not_indexed"
    node.chain.store.raw.apply({REACH_KEY: reach_bytes(Reach(Height(1), Height(11)))})
    assert (await rpc.refusal("tx_list"))["reason"] == "not_indexed", "the last block is not in it"
    node.reindex()
    held = node.chain.store.held
    node.chain.store.put_held(Held(held.headers_from, held.receipts_from, Height(13), held.states_from))
    page = await rpc.page("tx_list")
    assert (page["items"], page["oldest"]) == ([], 13), "as after a restore: nothing is listed yet, and nothing is denied"


@pytest.mark.parametrize(
    ("method", "params", "reason"),
    [
        ("tx_list", {"contract": "nope"}, "contract_error"),
        ("event_list", {"contract": "asset", "event": "Nope"}, "contract_error"),
        ("event_list", {"event": "Held"}, "bad_encoding"),
        ("event_list", {"topic": "0x12"}, "bad_encoding"),
        ("event_list", {"topic": 5}, "bad_encoding"),
        ("event_list", {"topic": "datr1nonsense"}, "bad_encoding"),
        ("tx_list", {"cursor": "12"}, "bad_encoding"),
        ("tx_list", {"cursor": "13-1-0-0"}, "bad_encoding"),
        ("tx_list", {"cursor": "3-4-0-0"}, "bad_encoding"),
        ("tx_list", {"cursor": "3-2-99999999-0"}, "bad_encoding"),
        ("tx_list", {"limit": 101}, "bad_encoding"),
    ],
)
async def test_what_cannot_be_listed_is_refused_with_a_reason(
    node: FolderNode, method: str, params: dict[str, Any], reason: str
) -> None:
    assert (await Rpc(node).refusal(method, **params))["reason"] == reason


async def test_the_state_tree_can_be_walked_down_to_a_leaf(node: FolderNode) -> None:
    rpc = Rpc(node)
    root = await rpc.page("chain_getStateNode", height=12)
    assert root["node"]["digest"] == (await rpc.page("chain_getHeader", height=12))["state_root"]
    path = min(root["node"]["children"])
    while (found := await rpc.page("chain_getStateNode", height=12, path=path))["node"]["leaf"] is None:
        path += min(found["node"]["children"])
    assert node.chain.store.state.get(bytes.fromhex(found["node"]["leaf"]["key"][2:])) is not None
    assert (await rpc.page("chain_getStateNode", height=12, path=path + "0"))["node"] is None
    assert (await rpc.refusal("chain_getStateNode", path="0" * 65))["reason"] == "bad_encoding"
    assert (await rpc.refusal("chain_getStateNode", height=13))["reason"] == "not_found"

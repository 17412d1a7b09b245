"""RPC methods: one declaration gives validation, positional and named parameters, and a document that tells the truth."""

import asyncio
import re
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, Final

import orjson
import pytest

from ledger.crypto import public_key
from ledger.policy import KeyPolicy, format_address
from ledger.transaction import Call, Transaction
from node import finality
from node.api import Submission
from node.rpc import limits, views
from node.rpc.call_views import call_text
from node.rpc.dispatch import Dispatcher
from node.rpc.methods import METHODS
from node.rpc.schema import MethodTable
from node.rpc.turns import TURN_S, Turns
from tests.memory_node import FAUCET, FAUCET_SEED, MemoryNode
from tests.patience import PATIENCE_MS, PATIENCE_S
from vm.contracts.governance import Governance
from vm.contracts.governance_possession import prove_possession
from vm.contracts.governance_types import Candidate
from vm.registry import default_registry

CONTRACT_METHODS: Final = {
    "rpc.discover", "chain_info", "chain_getBlock", "chain_getHeader", "chain_getCommit", "chain_listBlocks", "tx_send",
    "tx_sendBatch", "tx_get", "tx_wait", "tx_decode", "tx_simulate", "account_get", "contract_list", "contract_abi",
    "tx_list", "event_list", "chain_getStateNode",
    "contract_query", "mempool_status", "consensus_status", "consensus_members", "consensus_evidence",
    "state_get", "chain_proveHeader", "chain_listHandovers", "chain_getCommittee",
    "net_peers", "node_status", "node_capabilities", "gov_list", "gov_get",
    "dev_faucet", "dev_time", "dev_increaseTimeMs",
}  # fmt: skip
ALICE: Final = KeyPolicy.single(public_key(b"a" * 32)).address
HEADER_FIELDS: Final = {
    "chain_id", "height", "view", "hash", "parent_hash", "proposer", "timestamp_ms", "transactions_root", "receipts_root",
    "state_root", "committee_hash", "next_committee_hash", "gas_used",
}  # fmt: skip


class Rpc:
    """Calls methods of a memory node through the whole dispatcher."""

    def __init__(self, node: MemoryNode) -> None:
        self.node = node
        self.seen: list[tuple[str, str]] = []
        self._dispatcher = Dispatcher(
            node, default_registry(), max_body_bytes=1024, observe=lambda method, outcome: self.seen.append((method, outcome))
        )

    async def raw(self, method: str, params: Any, /) -> Any:
        return await self.message({"jsonrpc": "2.0", "id": 1, "method": method, "params": params})

    async def message(self, body: Any) -> Any:
        answer = await self._dispatcher.answer(orjson.dumps(body))
        assert answer is not None
        return orjson.loads(answer)

    async def ok(self, method: str, /, **params: Any) -> Any:
        answer = await self.raw(method, params)
        assert "error" not in answer, answer
        return answer["result"]

    async def fails(self, method: str, /, **params: Any) -> Any:
        answer = await self.raw(method, params)
        assert "result" not in answer, answer
        return answer["error"]


@pytest.fixture
async def rpc(tmp_path: Path) -> AsyncIterator[Rpc]:
    node = MemoryNode(tmp_path / "db")
    yield Rpc(node)
    node.close()


def pay(node: MemoryNode, amount: int = 5, **options: int) -> Transaction:
    return node.sign(FAUCET_SEED, (Call("asset", "transfer", (ALICE, amount)),), **options)


def raw_of(transaction: Transaction) -> str:
    return "0x" + transaction.raw.hex()


def check(schema: dict[str, Any], value: Any, where: str = "$") -> None:
    """Raise unless `value` fits the part of JSON Schema that our documents use."""
    if "$ref" in schema:
        return check(views.COMPONENTS[schema["$ref"].rpartition("/")[2]], value, where)
    if "oneOf" in schema:
        problems = []
        for option in schema["oneOf"]:
            try:
                return check(option, value, where)
            except AssertionError as problem:
                problems.append(str(problem))
        raise AssertionError("; ".join(problems))
    kinds = {"object": dict, "array": list, "string": str, "integer": int, "boolean": bool, "null": type(None)}
    named = schema.get("type", [])
    allowed = tuple(kinds[kind] for kind in ([named] if isinstance(named, str) else named))
    assert not allowed or type(value) in allowed, f"{where}: {value!r} is no {named}"
    assert value in schema.get("enum", [value]), f"{where}: {value!r}"
    if isinstance(value, str) and "pattern" in schema:
        assert re.search(schema["pattern"], value), f"{where}: {value!r}"
    if isinstance(value, dict) and "properties" in schema:
        assert set(schema["required"]) <= value.keys() <= set(schema["properties"]), f"{where}: {sorted(value)}"
        for name, item in value.items():
            check(schema["properties"][name], item, f"{where}.{name}")
    if isinstance(value, list) and "items" in schema:
        for index, item in enumerate(value):
            check(schema["items"], item, f"{where}[{index}]")
    return None


def test_every_method_of_the_contract_is_served() -> None:
    assert set(METHODS.by_name) == CONTRACT_METHODS


async def test_every_answer_fits_its_declared_schema(rpc: Rpc) -> None:
    """The OpenRPC document is what clients are generated from, so each method is called and its real answer checked."""
    sent, pending = pay(rpc.node), pay(rpc.node, 6)
    alice, tx_id = format_address(ALICE), "0x" + sent.id.hex()
    call = {"contract": "asset", "method": "transfer", "args": {"to": alice, "amount": "1"}}
    candidate = Candidate(public_key(b"c" * 32), b"certificate", "c.example:1", ALICE, prove_possession(b"c" * 32, "c", ALICE))
    add = default_registry().of_function(Governance.propose_add_observer)[1].encode_args(("c", candidate, "", None))
    proposal = rpc.node.sign(
        rpc.node.keys[0].governance_seed, (Call("governance", "propose_add_observer", add),), gas_limit=1_000_000
    )
    calls: list[tuple[str, dict[str, Any]]] = [
        ("tx_send", {"raw": raw_of(sent), "wait": "final"}),
        ("tx_send", {"raw": raw_of(sent)}),
        ("tx_sendBatch", {"raws": [raw_of(pending), raw_of(sent), "0x00", "junk"]}),
        ("tx_get", {"id": tx_id}),
        ("tx_get", {"id": tx_id, "prove": True}),
        ("tx_wait", {"id": tx_id, "prove": True}),
        ("tx_send", {"raw": raw_of(sent), "prove": True}),
        ("tx_get", {"id": "0x" + "00" * 32}),
        ("tx_wait", {"id": tx_id}),
        ("tx_decode", {"raw": raw_of(sent)}),
        ("tx_decode", {"call": call}),
        ("tx_simulate", {"raw": raw_of(sent)}),
        ("tx_simulate", {"call": call, "sender": alice}),
        ("chain_getBlock", {}),
        ("chain_getBlock", {"height": 1, "full": True}),
        ("chain_getHeader", {"height": 0}),
        ("chain_getCommit", {"height": 1}),
        ("chain_listBlocks", {"limit": 1}),
        ("account_get", {"address": alice}),
        ("account_get", {"address": alice, "prove": True, "height": 0}),
        ("contract_query", {"contract": "asset", "method": "supply", "prove": True, "trusted_height": 1}),
        ("state_get", {"contract": "asset", "field": "supplies", "key": "DATR", "prove": True}),
        ("chain_proveHeader", {"height": 1, "trusted_height": 1}),
        ("contract_abi", {"name": "asset"}),
        ("contract_query", {"contract": "asset", "method": "balance_of", "args": [alice]}),
        ("dev_faucet", {"address": alice, "wait": "final"}),
        ("dev_increaseTimeMs", {"ms": 1_000}),
        ("tx_send", {"raw": raw_of(proposal), "wait": "final"}),
        ("gov_get", {"id": 1}),
    ]
    called = {name for name, _ in calls}
    for name, params in [*calls, *((name, {}) for name in METHODS.by_name if name not in called)]:
        check(METHODS.by_name[name].result, await rpc.ok(name, **params), name)


async def test_the_document_lists_what_is_served(rpc: Rpc) -> None:
    document = await rpc.ok("rpc.discover")
    assert document["openrpc"] == "1.3.2"
    assert {method["name"] for method in document["methods"]} == CONTRACT_METHODS
    wait = next(method for method in document["methods"] if method["name"] == "tx_wait")
    assert [(item["name"], item["required"]) for item in wait["params"]] == [
        ("id", True),
        ("valid_until_ms", False),
        ("timeout_ms", False),
        ("prove", False),
        ("trusted_height", False),
    ]
    assert all(method["summary"] for method in document["methods"])


async def test_development_methods_exist_on_development_chains_only(tmp_path: Path) -> None:
    node = MemoryNode(tmp_path / "db", development=False)
    try:
        rpc = Rpc(node)
        assert "dev_faucet" not in {method["name"] for method in (await rpc.ok("rpc.discover"))["methods"]}
        error = await rpc.fails("dev_faucet", address=format_address(ALICE))
        assert (error["code"], error["data"]["reason"]) == (-32003, "not_permitted")
    finally:
        node.close()


async def test_a_header_has_the_fields_of_the_contract(rpc: Rpc) -> None:
    header = await rpc.ok("chain_getHeader")
    assert header.keys() == HEADER_FIELDS
    assert header == (await rpc.ok("chain_getHeader", hash=header["hash"]))
    assert (
        header
        == (await rpc.raw("chain_getHeader", [0]))["result"]
        == (await rpc.raw("chain_getHeader", [header["hash"]]))["result"]
    )


async def test_positional_and_named_parameters_mean_the_same(rpc: Rpc) -> None:
    named = await rpc.ok("contract_query", contract="asset", method="balance_of", args={"address": format_address(FAUCET)})
    placed = await rpc.raw("contract_query", ["asset", "balance_of", [format_address(FAUCET)]])
    assert placed["result"] == named


@pytest.mark.parametrize(
    ("method", "params", "parameter"),
    [
        ("account_get", {}, "address"),
        ("account_get", {"address": None}, "address"),
        ("account_get", {"address": 5}, "address"),
        ("account_get", {"address": "datr1qqqq"}, "address"),
        ("account_get", {"address": format_address(ALICE)[:-1] + "q"}, "address"),
        ("account_get", {"address": format_address(ALICE), "height": -1}, "height"),
        ("account_get", {"address": format_address(ALICE), "height": "1"}, "height"),
        ("account_get", {"address": format_address(ALICE), "height": True}, "height"),
        ("account_get", {"address": format_address(ALICE), "height": 1.0}, "height"),
        ("account_get", {"address": format_address(ALICE), "prove": 1}, "prove"),
        ("state_get", {"contract": "asset", "field": "supplies", "key": 1.5}, "key"),
        ("account_get", {"address": format_address(ALICE), "adress": "x"}, "adress"),
        ("tx_get", {"id": "0x12"}, "id"),
        ("tx_get", {"id": "12" * 33}, "id"),
        ("tx_get", {"id": "0x" + "g" * 64}, "id"),
        ("tx_send", {"raw": "0x123"}, "raw"),
        ("tx_send", {"raw": "0x12 34"}, "raw"),
        ("tx_send", {"raw": "0x12", "wait": "forever"}, "wait"),
        ("tx_send", {"raw": "0x12", "wait": ["final"]}, "wait"),
        ("tx_send", {"raw": "0x12", "timeout_ms": 10**9}, "timeout_ms"),
        ("tx_sendBatch", {"raws": []}, "raws"),
        ("tx_sendBatch", {"raws": ["0x12"] * 1_001}, "raws"),
        ("tx_sendBatch", {"raws": ["0x12", 5]}, "raws"),
        ("tx_simulate", {}, "raw"),
        ("tx_simulate", {"call": {"contract": "asset"}}, "call"),
        ("tx_simulate", {"call": {"contract": "asset", "method": "transfer", "extra": 1}}, "call"),
        ("chain_getBlock", {"height": 1, "hash": "0x" + "00" * 32}, "hash"),
        ("chain_listBlocks", {"limit": 0}, "limit"),
        ("chain_listBlocks", {"cursor": "x"}, "cursor"),
        ("contract_query", {"contract": "asset", "method": "supply", "args": [1.5]}, "args"),
        ("dev_faucet", {"address": format_address(ALICE), "amount_motes": 5}, "amount_motes"),
        ("dev_faucet", {"address": format_address(ALICE), "amount_motes": "-5"}, "amount_motes"),
        ("dev_faucet", {"address": format_address(ALICE), "amount_motes": str(2**64)}, "amount_motes"),
    ],
)
async def test_wrong_parameters_are_named(rpc: Rpc, method: str, params: dict[str, Any], parameter: str) -> None:
    error = await rpc.fails(method, **params)
    assert (error["code"], error["data"]["reason"], error["data"]["parameter"]) == (-32602, "bad_encoding", parameter)
    assert error["data"]["hint"]


async def test_deep_and_many_parameters_are_refused(rpc: Rpc) -> None:
    deep: Any = []
    for _ in range(50):
        deep = [deep]
    assert (await rpc.fails("contract_query", contract="asset", method="supply", args=deep))["code"] == -32602
    assert (await rpc.raw("chain_info", [1]))["error"]["code"] == -32602


async def test_unknown_methods_are_not_found(rpc: Rpc) -> None:
    error = await rpc.fails("eth_blockNumber")
    assert (error["code"], error["data"]["reason"]) == (-32601, "not_found")
    assert rpc.seen == [("unknown", "not_found")]  # what strangers type must not become a metric's label


async def test_a_defect_is_logged_and_not_told(
    rpc: Rpc, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MemoryNode, "peers", lambda _node: 1 // 0)
    error = await rpc.fails("net_peers")
    assert (error["code"], error["data"]["reason"]) == (-32603, "internal_error")
    assert "ZeroDivision" not in str(error)
    assert "ZeroDivisionError" in capsys.readouterr().out


async def test_blocks_that_are_not_there(rpc: Rpc) -> None:
    for params in ({"height": 9}, {"hash": "0x" + "00" * 32}):
        error = await rpc.fails("chain_getBlock", **params)
        assert (error["code"], error["data"]["reason"], error["data"]["tip"]) == (-32001, "not_found", 0)
    assert (await rpc.fails("chain_getCommit"))["data"]["reason"] == "not_found"  # genesis has no certificate


async def test_pages_go_down_to_genesis(rpc: Rpc) -> None:
    for amount in range(1, 5):
        await rpc.ok("tx_send", raw=raw_of(pay(rpc.node, amount)))
    seen, cursor = [], None
    while True:
        page = await rpc.ok("chain_listBlocks", limit=2, **({} if cursor is None else {"cursor": cursor}))
        seen += [header["height"] for header in page["items"]]
        if (cursor := page["next_cursor"]) is None:
            break
    assert seen == [4, 3, 2, 1, 0]


async def test_sending_twice_is_idempotent(rpc: Rpc) -> None:
    transaction = pay(rpc.node)
    first = await rpc.ok("tx_send", raw=raw_of(transaction), wait="final")
    again = await rpc.ok("tx_send", raw=raw_of(transaction), wait="final")
    assert (first["status"], first["duplicate"], again["duplicate"]) == ("succeeded", False, True)
    assert again["receipt"] == first["receipt"]
    assert (await rpc.ok("account_get", address=format_address(ALICE)))["value"]["balance"] == "5"


async def test_refusals_carry_code_reason_and_numbers(rpc: Rpc) -> None:
    good = pay(rpc.node)
    broken = bytearray(good.raw)
    broken[-1] ^= 1
    other = MemoryNode(Path(str(rpc.node.chain_path) + "-other"), name="other-1")
    foreign = pay(other)
    other.close()
    unknown = rpc.node.sign(FAUCET_SEED, (Call("nobody", "pay", ()),))
    poor = rpc.node.sign(b"p" * 32, (Call("asset", "transfer", (ALICE, 7)),))
    late = pay(rpc.node, valid_for_ms=0)
    table: list[tuple[bytes, int, str, dict[str, Any]]] = [
        (bytes(broken), -32000, "bad_signature", {}),
        (
            foreign.raw,
            -32000,
            "wrong_chain",
            {"expected": "0x" + rpc.node.genesis_hash[:8].hex(), "got": "0x" + foreign.body.chain_tag.hex()},
        ),
        (b"\x00", -32000, "bad_encoding", {}),
        (b"\xc6\xff\xff\xff\xff", -32000, "bad_encoding", {}),
        (bytes(65_537), -32000, "too_large", {"limit": 65_536, "got": 65_537}),
        (unknown.raw, -32003, "contract_error", {"contract": "nobody", "code": "UNKNOWN_CONTRACT"}),
        (poor.raw, -32003, "insufficient_funds", {"need": "7", "have": "0"}),
        (late.raw, -32003, "expired", {"valid_until_ms": late.body.valid_until_ms, "block_time_ms": rpc.node.tip.timestamp_ms}),
    ]
    for raw, code, reason, numbers in table:
        error = await rpc.fails("tx_send", raw="0x" + raw.hex())
        assert (error["code"], error["data"]["reason"]) == (code, reason)
        assert numbers.items() <= error["data"].items()
        [item] = await rpc.ok("tx_sendBatch", raws=["0x" + raw.hex()])
        assert item["error"] == error


async def test_waiting_ends_with_wait_timeout(tmp_path: Path) -> None:
    node = MemoryNode(tmp_path / "db", auto=False)
    try:
        rpc, transaction = Rpc(node), pay(node)
        error = await rpc.fails("tx_send", raw=raw_of(transaction), wait="final", timeout_ms=1)
        assert (error["code"], error["data"]["reason"], error["data"]["id"]) == (
            -32002,
            "wait_timeout",
            "0x" + transaction.id.hex(),
        )
        assert (await rpc.ok("tx_get", id="0x" + transaction.id.hex()))["status"] == "pending"
        node.commit()
        assert (await rpc.ok("tx_wait", id="0x" + transaction.id.hex()))["status"] == "succeeded"
    finally:
        node.close()


async def test_an_accepted_transaction_is_never_refused_for_want_of_room_to_wait(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(finality, "MAX_WAITERS", 0)
    node = MemoryNode(tmp_path / "db", auto=False)
    try:
        rpc, transaction = Rpc(node), pay(node)
        tx_id = "0x" + transaction.id.hex()
        error = await rpc.fails("tx_send", raw=raw_of(transaction), wait="final")
        assert (error["code"], error["data"]["reason"], error["data"]["id"]) == (-32002, "wait_timeout", tx_id)
        assert (await rpc.ok("tx_get", id=tx_id))["status"] == "pending"
        node.commit()
        assert (await rpc.ok("tx_wait", id=tx_id))["status"] == "succeeded"  # what is final needs no room
    finally:
        node.close()


async def test_one_batch_cannot_hold_all_the_waits(rpc: Rpc) -> None:
    """There is room for some; the others are told so at once, while nothing that is waited for has been sent."""
    awaited = [pay(rpc.node) for _ in range(100)]
    ids = ["0x" + transaction.id.hex() for transaction in awaited]
    requests = [
        {"jsonrpc": "2.0", "id": number, "method": "tx_wait", "params": {"id": tx_id, "timeout_ms": PATIENCE_MS}}
        for number, tx_id in enumerate(ids)
    ]
    asked = asyncio.create_task(rpc.message(requests))
    async with asyncio.timeout(PATIENCE_S):
        while len(rpc.seen) < len(requests) - limits.BATCH_WAITS:  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0)
    await rpc.node.submit([transaction.raw for transaction in awaited])
    answers = await asked
    refused = [answer["error"]["data"] for answer in answers if "error" in answer]
    assert {(data["reason"], data["limit"]) for data in refused} == {("wait_timeout", limits.BATCH_WAITS)}
    assert sum("result" in answer for answer in answers) == limits.BATCH_WAITS
    told = [answer["result"]["id"] if "result" in answer else answer["error"]["data"]["id"] for answer in answers]
    assert told == ids


class Rounds:
    """Counts how often the event loop goes round while `work` is called; each call takes longer than a turn."""

    def __init__(self) -> None:
        self.count = 0
        self.seen: list[int] = []

    def work(self, _item: object = None) -> None:
        self.seen.append(self.count)
        end = time.monotonic() + TURN_S
        while time.monotonic() < end:
            pass

    async def run(self) -> None:
        while True:
            self.count += 1
            await asyncio.sleep(0)


@pytest.fixture
async def rounds() -> AsyncIterator[Rounds]:
    found = Rounds()
    task = asyncio.create_task(found.run())
    yield found
    task.cancel()


async def test_long_answers_leave_room_for_other_work_however_many_there_are(rounds: Rounds) -> None:
    turns = Turns()
    await asyncio.gather(*(turns.each(range(5), rounds.work) for _ in range(3)))
    assert len(set(rounds.seen)) == len(rounds.seen) == 15
    assert await turns.each(range(100), str) == [str(number) for number in range(100)]
    assert await turns.each((), str) == []


async def test_slow_transactions_are_submitted_one_in_a_turn(rpc: Rpc, rounds: Rounds, monkeypatch: pytest.MonkeyPatch) -> None:
    def submit(_node: MemoryNode, raw: bytes) -> Submission:
        rounds.work()
        return Submission(None, error=KeyError(raw))  # type: ignore[arg-type]

    monkeypatch.setattr(MemoryNode, "_submit", submit)
    answers = await rpc.node.submit([bytes([number]) for number in range(6)])
    assert [str(answer.error) for answer in answers] == [str(KeyError(bytes([number]))) for number in range(6)]
    assert len(set(rounds.seen)) == 6


async def test_an_unknown_contract_has_no_abi(rpc: Rpc) -> None:
    error = await rpc.fails("contract_abi", name="nobody")
    assert (error["code"], error["data"]["reason"]) == (-32001, "not_found")


async def test_strangers_cannot_write_lines_into_what_people_read(rpc: Rpc) -> None:
    evil = "x\x1b[2J\n\u202e"
    call = Call("charging", "register_station", (evil, ALICE, b"t" * 32))
    assert "\\x1b[2J\\n\\u202e" in call_text(default_registry(), call)
    for text in (call_text(default_registry(), call), call_text(default_registry(), Call(evil, evil, ()))):
        assert text.isprintable()


async def test_what_is_simulated_may_be_sent(rpc: Rpc) -> None:
    """One limit of gas for both, and clients are told which."""
    most = (await rpc.ok("chain_info"))["parameters"]["max_gas_limit"]
    over, at_most = pay(rpc.node, gas_limit=most + 1), pay(rpc.node, gas_limit=most)
    for method in ("tx_simulate", "tx_send"):
        error = await rpc.fails(method, raw=raw_of(over))
        assert (error["data"]["reason"], error["data"]["limit"], error["data"]["got"]) == ("too_large", most, most + 1)
    assert (await rpc.ok("tx_simulate", raw=raw_of(at_most)))["outcome"] == "succeeded"
    assert (await rpc.ok("tx_send", raw=raw_of(at_most), wait="final"))["status"] == "succeeded"


async def test_a_reading_of_a_contract_shows_its_types(rpc: Rpc) -> None:
    found = await rpc.ok("contract_query", contract="asset", method="balance_of", args=[format_address(FAUCET)])
    assert found == {"height": 0, "value": {"free": "80000000000000000", "held": "0", "locked": "0"}}
    for params in ({"method": "transfer"}, {"method": "nothing"}, {"method": "balance_of", "args": ["x"]}):
        error = await rpc.fails("contract_query", contract="asset", **params)
        assert (error["code"], error["data"]["reason"]) == (-32003, "contract_error")


def test_a_method_is_declared_once_and_with_types() -> None:
    table = MethodTable()

    async def handler(_rpc: object, limit: int) -> None:
        """Do nothing."""

    with pytest.raises(TypeError, match="no ParamType"):
        table.method("x", result={})(handler)
    with pytest.raises(TypeError, match="declared twice"):
        MethodTable.merged((METHODS, METHODS))

"""`gov_*` and `consensus_members` over the dispatcher: what the members propose, how it stands, and who they are."""

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import orjson
import pytest

from consensus.evidence import Evidence
from consensus.messages import Prepare, Signed, signing_digest
from genesis.network import KeySource, NodeKeys, make_node_keys
from ledger.codec import encode
from ledger.crypto import sign
from ledger.policy import format_address
from ledger.transaction import Call
from ledger.types import BlockHash, Height, MemberId, View
from node.block_store import MAX_EVIDENCE
from node.rpc.dispatch import Dispatcher
from tests.memory_node import MemoryNode
from vm.contracts.asset import Asset
from vm.contracts.governance import Governance
from vm.contracts.governance_rule_types import ParameterChange, ParameterName
from vm.contracts.governance_types import Candidate
from vm.contracts.planned_calls import PlannedCall
from vm.registry import default_registry


def newcomer(name: str) -> NodeKeys:
    return make_node_keys(KeySource.from_seed("newcomers"), MemberId(name), f"{name}.example:26656")


class Network:
    """A memory node whose four members sign every block, with their governance keys."""

    def __init__(self, path: Path) -> None:
        self.node = MemoryNode(path, members=4)
        self._dispatcher = Dispatcher(self.node, default_registry(), max_body_bytes=2**16, observe=lambda _method, _outcome: None)

    async def raw(self, method: str, /, **params: Any) -> Any:
        answer = await self._dispatcher.answer(orjson.dumps({"jsonrpc": "2.0", "id": 1, "method": method, "params": params}))
        assert answer is not None
        return orjson.loads(answer)

    async def ok(self, method: str, /, **params: Any) -> Any:
        answer = await self.raw(method, **params)
        assert "error" not in answer, answer
        return answer["result"]

    async def send(self, member: int, method: Any, *args: Any) -> None:
        entry, spec = default_registry().of_function(method)
        call = Call(entry.name, spec.name, spec.encode_args(args))
        signed = self.node.sign(self.node.keys[member].governance_seed, (call,), gas_limit=2_000_000)
        answer = await self.ok("tx_send", raw="0x" + signed.raw.hex(), wait="final")
        assert answer["status"] == "succeeded", answer

    async def propose(self, member: int, name: str, reason: str = "") -> Candidate:
        keys = newcomer(name)
        candidate = Candidate(
            keys.member.public_key, keys.member.certificate, keys.member.p2p_address, keys.account, keys.possession
        )
        await self.send(member, Governance.propose_add_observer, name, candidate, reason, None)
        return candidate


@pytest.fixture
def network(tmp_path: Path) -> Iterator[Network]:
    made = Network(tmp_path / "db")
    yield made
    made.node.close()


async def test_a_proposal_is_shown_with_its_votes_and_what_it_still_needs(network: Network) -> None:
    candidate = await network.propose(0, "e", "a new partner")
    await network.send(1, Governance.vote, 1, False)
    found = await network.ok("gov_get", id=1)
    assert (found["kind"], found["member_id"], found["proposer"]) == ("add_observer", "e", "node1")
    assert (found["status"], found["approvals"], found["rejections"], found["need"]) == ("open", 1, 1, 3)
    assert found["reason"] == "a new partner"
    assert found["candidate"]["certificate"] == "0x" + candidate.certificate.hex()
    assert found["candidate"]["account"] == format_address(candidate.account)
    assert [(vote["member_id"], vote["approve"]) for vote in found["votes"]] == [("node1", True), ("node2", False)]
    assert found["expires_ms"] == found["created_ms"] + 7 * 86_400_000
    assert found["closed_height"] is None


def planned(method: Any, *args: Any) -> PlannedCall:
    entry, spec = default_registry().of_function(method)
    return PlannedCall(entry.name, spec.name, encode(spec.encode_args(args)))


async def test_a_list_of_calls_is_shown_as_what_it_would_do(network: Network) -> None:
    """Nobody votes on bytes: contract, method and arguments by name, and a sentence."""
    suspect = network.node.keys[3].account
    change = ParameterChange(ParameterName.HEARTBEAT_MS, 1_000)
    calls = (planned(Asset.freeze, "DATR", suspect, "evidence"), planned(Governance.set_parameters, (change,)))
    await network.send(0, Governance.propose_calls, calls, "resolution 5", None)
    found = await network.ok("gov_get", id=1)
    assert (found["kind"], found["member_id"], found["candidate"]) == ("calls", "", None)
    assert (found["topics"], found["need"], found["reason"]) == (["freeze", "parameters"], 3, "resolution 5")
    first, second = found["calls"]
    assert (first["contract"], first["method"], first["problem"]) == ("asset", "freeze", None)
    assert first["args"] == {"symbol": "DATR", "account": format_address(suspect), "reason": "evidence"}
    assert first["raw_args"] == "0x" + calls[0].args.hex()
    assert first["text"] == f"asset.freeze(symbol=DATR, account={format_address(suspect)}, reason=evidence)"
    assert second["args"] == {"changes": [{"name": "heartbeat_ms", "value": 1_000}]}
    for member in (1, 2):
        await network.send(member, Governance.vote, 1, True)
    executed = await network.ok("gov_get", id=1)
    assert (executed["status"], executed["calls"]) == ("executed", found["calls"])


async def test_calls_that_would_fail_say_so_before_the_vote(network: Network) -> None:
    calls = (PlannedCall("asset", "print", encode(())), PlannedCall("asset", "freeze", encode(("DATR",))))
    await network.send(0, Governance.propose_calls, calls, "", None)
    [item] = (await network.ok("gov_list"))["items"]
    assert [call["args"] for call in item["calls"]] == [None, None]
    assert item["calls"][0]["problem"] == "the contract has no such method: method print"
    assert "which cannot succeed" in item["calls"][1]["text"]


async def test_calls_of_a_rejected_proposal_are_gone_but_for_their_hash(network: Network) -> None:
    await network.send(0, Governance.propose_calls, (PlannedCall("asset", "print", encode(())),), "", None)
    for member in (1, 2):
        await network.send(member, Governance.vote, 1, False)
    found = await network.ok("gov_get", id=1)
    assert (found["status"], found["calls"]) == ("rejected", None)
    assert found["calls_sha256"] == "0x" + sha256(encode((("asset", "print", encode(())),))).hexdigest()


async def test_what_was_decided_is_in_force_from_the_next_block_on(network: Network) -> None:
    """Through blocks, as a node judges them: a contract that is switched off, and other parameters."""
    change = ParameterChange(ParameterName.HEARTBEAT_MS, 1_234)
    calls = (planned(Governance.disable_contract, "charging"), planned(Governance.set_parameters, (change,)))
    await network.send(0, Governance.propose_calls, calls, "", None)
    for member in (1, 2):
        await network.send(member, Governance.vote, 1, True)
    assert (await network.ok("chain_info"))["parameters"]["heartbeat_ms"] == 1_234
    signed = network.node.sign(network.node.keys[0].governance_seed, (Call("charging", "settle_expired", (bytes(32),)),))
    outcome = await network.ok("tx_simulate", raw="0x" + signed.raw.hex())
    assert outcome["error"]["code"] == "CONTRACT_DISABLED"
    rules = await network.ok("contract_query", contract="governance", method="rules", args={})
    assert rules["value"]["disabled"] == ["charging"]


async def test_who_signs_a_list_of_calls_can_read_it(network: Network) -> None:
    """Planned calls are bytes inside of a transaction: it says what they are, one level deep, and what is none."""
    propose = default_registry().of_function(Governance.propose_calls)[1]
    inner = planned(Governance.propose_calls, (planned(Asset.burn, "DATR", 5),), "", None)
    for call, text in (
        (planned(Asset.burn, "DATR", 150_000_000), "calls=[asset.burn(symbol=DATR, amount=1.5 DATR)]"),
        (PlannedCall("asset", "burn", b"\xc1"), "calls=[asset.burn(...), whose arguments are no list]"),
        (inner, "calls=[governance.propose_calls(calls=[{contract: 'asset', method: 'burn', args: 0x"),
    ):
        args = propose.encode_args(((call,), "", None))
        signed = network.node.sign(network.node.keys[0].governance_seed, (Call("governance", "propose_calls", args),))
        decoded = await network.ok("tx_decode", raw="0x" + signed.raw.hex())
        assert text in decoded["text"]


async def test_lists_go_from_the_newest_down(network: Network) -> None:
    for number in range(5):
        await network.propose(number % 4, f"e{number}")
    first = await network.ok("gov_list", limit=2)
    assert [item["id"] for item in first["items"]] == [5, 4]
    second = await network.ok("gov_list", limit=2, cursor=first["next_cursor"])
    assert [item["id"] for item in second["items"]] == [3, 2]
    last = await network.ok("gov_list", limit=2, cursor=second["next_cursor"])
    assert ([item["id"] for item in last["items"]], last["next_cursor"]) == ([1], None)
    assert await network.ok("gov_list", limit=5, cursor="99") == await network.ok("gov_list", limit=5)


async def test_a_chain_without_proposals_lists_none(network: Network) -> None:
    assert await network.ok("gov_list") == {"items": [], "next_cursor": None}


@pytest.mark.parametrize("number", [1, 2**53 - 1])
async def test_unknown_proposals_are_not_found(network: Network, number: int) -> None:
    answer = await network.raw("gov_get", id=number)
    assert answer["error"]["data"]["reason"] == "not_found"
    assert answer["error"]["data"]["newest"] == 0


@pytest.mark.parametrize(("method", "params"), [("gov_get", {"id": 0}), ("gov_get", {}), ("gov_list", {"cursor": "x"})])
async def test_bad_parameters_are_named(network: Network, method: str, params: dict[str, Any]) -> None:
    answer = await network.raw(method, **params)
    assert answer["error"]["code"] == -32602
    assert answer["error"]["data"]["parameter"] in ("id", "cursor")


async def test_members_are_shown_with_their_roles(network: Network) -> None:
    await network.propose(0, "e")
    for member in (1, 2):
        await network.send(member, Governance.vote, 1, True)
    found = await network.ok("consensus_members")
    assert (found["epoch"], found["quorum"], found["faults"], found["changed_height"]) == (0, 3, 1, 0)
    assert [(item["id"], item["role"]) for item in found["members"]] == [(f"node{at}", "validator") for at in range(1, 5)]
    assert [item["account"] for item in found["members"]] == [format_address(each.account) for each in network.node.keys]
    [observer] = found["observers"]
    assert (observer["id"], observer["role"], observer["attested_height"]) == ("e", "observer", None)
    assert observer["since_height"] == found["height"] == network.node.tip.height
    assert observer["public_key"] == "0x" + newcomer("e").member.public_key.hex()


async def test_members_of_a_height_are_those_it_had(network: Network) -> None:
    await network.propose(0, "e")
    at = network.node.tip.height
    for height in (at, at - 1):
        assert (await network.ok("consensus_members", height=height))["height"] == height
    assert (await network.raw("consensus_members", height=at + 1))["error"]["data"]["reason"] == "not_found"


async def test_evidence_against_a_member_is_shown_whole_and_bounded(network: Network) -> None:
    """Whoever reads it can check it without this node: the two messages are there byte for byte."""
    node, keys = network.node, network.node.keys[1]
    assert (await network.ok("consensus_evidence"))["items"] == []
    for height in range(1, MAX_EVIDENCE + 5):
        votes = [Prepare(Height(height), View(0), BlockHash(letter * 32)) for letter in (b"a", b"b")]
        first, second = (
            Signed(vote, keys.member.id, sign(keys.consensus_seed, signing_digest(vote, node.genesis_hash))) for vote in votes
        )
        evidence = Evidence(first, second)
        node._store.put_evidence(evidence.signer, *evidence.position, evidence.encode())
    items = (await network.ok("consensus_evidence"))["items"]
    assert len(items) == MAX_EVIDENCE, "one is enough: no member fills another's disk"
    shown = items[0]
    assert (shown["member"], shown["height"], shown["view"], shown["step"]) == ("node2", 1, 0, "prepare")
    pair = [Signed.decode(bytes.fromhex(shown[name].removeprefix("0x"))) for name in ("first", "second")]
    Evidence(*pair).check(node.committee, node.genesis_hash)

"""The light client believes an honest node, and a lying one nothing, over changes of the committee and restarts of its own."""

import asyncio
import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

import orjson
import pytest

from datacar import Client, Wallet
from datacar.errors import BadAnswerError, BadProofError, InvalidInputError, NotFoundError
from datacar.light import BehindError, LightChain, LightClient
from datacar.steps import Call, Flow
from datacar.trusted import BlockReference, from_json, to_json
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.claims import StateClaim
from ledger.crypto import sign
from ledger.errors import BadEncodingError
from ledger.hashing import Tag
from ledger.policy import format_address
from ledger.proof import ForkError, Proof, StaleProofError
from ledger.types import BlockHash, Height, View
from node.block_store import Held
from node.rpc.dispatch import Dispatcher
from tests.memory_node import FAUCET_SEED, MemoryNode
from tests.proof_chain import ALICE, NOBODY, ProofChain, trusted_at
from tests.served_node import serve
from vm.registry import default_registry

T = TypeVar("T")
TEXT = format_address(ALICE)


class Peer:
    """Answers a flow's calls from a memory node through the whole dispatcher; `lie` changes answers on their way."""

    def __init__(self, node: MemoryNode, lie: Callable[[str, Any], Any] | None = None) -> None:
        self._dispatcher = Dispatcher(node, default_registry(), max_body_bytes=4096, observe=lambda _method, _outcome: None)
        self._lie = lie
        self.asked: list[tuple[str, Any]] = []

    def run(self, flow: Flow[T]) -> T:
        """Return the flow's result."""
        try:
            step = next(flow)
            while True:
                assert isinstance(step, Call)
                try:
                    answer = self._answer(step)
                except NotFoundError as error:
                    step = flow.throw(error)
                else:
                    step = flow.send(answer)
        except StopIteration as end:
            value: T = end.value
            return value

    def _answer(self, call: Call) -> Any:
        self.asked.append((call.method, call.params))
        body = {"jsonrpc": "2.0", "id": 1, "method": call.method, "params": dict(call.params)}
        answer = orjson.loads(asyncio.run(self._dispatcher.answer(orjson.dumps(body))) or b"")
        if (error := answer.get("error")) is not None:
            assert error["code"] == NotFoundError.code, error
            raise NotFoundError(error["data"]["reason"], error["message"], hint=error["data"]["hint"])
        return answer["result"] if self._lie is None else self._lie(call.method, answer["result"])


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProofChain]:
    made = ProofChain(tmp_path_factory.mktemp("light") / "db")
    yield made
    made.node.close()


def test_reads_are_verified_from_genesis_on(chain: ProofChain) -> None:
    peer, light = Peer(chain.node), LightChain(chain.genesis_hash)
    newest = peer.run(light.sync())
    assert (newest.height, newest.epoch) == (chain.tip, 2)
    account = peer.run(light.account(TEXT))
    assert (account.value.free, account.block.height, account.block.epoch) == (29, chain.tip, 2)
    assert peer.run(light.state("asset", "accounts", ["DATR", format_address(NOBODY)])).value is None
    assert peer.run(light.query("governance", "committee")).value["quorum"] == 3
    assert peer.run(light.header()).value == chain.node.tip
    receipt = peer.run(light.receipt("0x" + chain.together[1].id.hex()))
    assert (receipt.value.status, receipt.value.index) == ("succeeded", 1)
    assert Proof.decode(account.proof).genesis is None, "who follows the chain is told no more than is new"


def test_the_past_of_the_same_epoch_is_read_and_that_of_older_ones_is_refused(chain: ProofChain) -> None:
    peer, light = Peer(chain.node), LightChain(chain.genesis_hash)
    peer.run(light.sync())
    assert peer.run(light.account(TEXT, height=chain.tip - 1)).value.free == 23
    assert light.newest is not None
    assert light.newest.height == chain.tip
    old = "0x" + chain.payments[0].id.hex()
    for flow in (light.account(TEXT, height=1), light.account(TEXT, height=0), light.receipt(old), light.header(2)):
        with pytest.raises(StaleProofError):
            peer.run(flow)
    trusting = LightChain(chain.genesis_hash, accept_old_epochs=True)
    peer.run(trusting.sync())
    assert peer.run(trusting.account(TEXT, height=1)).value.free == 5
    assert peer.run(trusting.account(TEXT, height=0)).block.epoch == 0
    assert peer.run(trusting.receipt(old)).value.height == 1


def test_an_answer_about_another_height_is_refused(chain: ProofChain) -> None:
    """It is proven, of the same epoch, and not what was asked for."""
    swapped = Peer(chain.node).run(_raw("account_get", {"address": TEXT, "prove": True, "height": chain.tip}))
    peer = Peer(chain.node, lambda method, answer: swapped if method == "account_get" else answer)
    with pytest.raises(BadAnswerError, match="another height"):
        peer.run(LightChain(chain.genesis_hash).account(TEXT, height=chain.tip - 1))


def test_a_restored_node_serves_those_who_know_only_genesis(tmp_path: Path) -> None:
    """It has neither block 1 nor what was before its snapshot's window, but every change of the committee."""
    made = ProofChain(tmp_path / "db")
    store, first = made.node._chain.store, Height(made.tip - 1)
    store.put_held(Held(first, first, made.tip, Height(made.tip - 1)))
    store.raw.apply({prefix + at.to_bytes(8): None for prefix in (b"b", b"c", b"r", b"i") for at in range(1, first)})
    light = LightChain(made.genesis_hash)
    found = Peer(made.node).run(light.account(TEXT))
    assert (found.value.free, found.block.height, found.block.epoch) == (29, made.tip, 2)
    made.node.close()


def test_many_changes_are_followed_in_pages(chain: ProofChain) -> None:
    def short_pages(method: str, answer: Any) -> Any:
        if method == "chain_listHandovers" and len(answer["items"]) > 1:
            assert len(answer["items"]) == 2
            return {"items": answer["items"][:1], "next_height": 99}
        return answer

    peer, light = Peer(chain.node, short_pages), LightChain(chain.genesis_hash)
    with pytest.raises(BadAnswerError, match="does not go on"):
        peer.run(light.sync())  # the same page again and again
    assert Peer(chain.node).run(light.sync()).epoch == 2


def test_nothing_is_believed_of_a_liar(chain: ProofChain) -> None:
    """A liar's answers are genuine in part: another account's proof, an older one, none, or a changed value beside a true one."""
    others = chain.state([])
    stale = "0x" + chain.state([], Height(2)).encode().hex()
    lies: tuple[Callable[[str, Any], Any], ...] = (
        lambda method, answer: answer | {"proof": "0x" + others.encode().hex()} if method == "account_get" else answer,
        lambda method, answer: answer | {"proof": stale} if method == "account_get" else answer,
        lambda method, answer: {"height": answer["height"]} if method == "account_get" else answer,
        lambda method, answer: answer | {"proof": answer["proof"][:-2] + "00"} if method == "account_get" else answer,
        lambda method, answer: "nonsense" if method == "account_get" else answer,
        lambda method, answer: answer | {"proof": stale} if method == "chain_proveHeader" else answer,
        lambda method, answer: {"items": answer["items"][1:], "next_height": None} if method == "chain_listHandovers" else answer,
        lambda method, answer: {"items": ["0x90"], "next_height": None} if method == "chain_listHandovers" else answer,
        lambda method, answer: {} if method == "chain_listHandovers" else answer,
    )
    for lie in lies:
        with pytest.raises((InvalidInputError, BadAnswerError, BehindError)):
            Peer(chain.node, lie).run(LightChain(chain.genesis_hash).account(TEXT))

    def richer(method: str, answer: Any) -> Any:
        return answer | {"value": answer["value"] | {"balance": "1000000"}} if method == "account_get" else answer

    assert Peer(chain.node, richer).run(LightChain(chain.genesis_hash).account(TEXT)).value.free == 29, "the proof counts"


def test_a_receipt_other_than_its_proof_is_refused(chain: ProofChain) -> None:
    tx_id, other = ("0x" + transaction.id.hex() for transaction in chain.together[:2])

    def failed(method: str, answer: Any) -> Any:
        return answer | {"receipt": answer["receipt"] | {"gas_used": 1}} if method == "tx_get" else answer

    with pytest.raises(BadProofError):
        Peer(chain.node, failed).run(LightChain(chain.genesis_hash).receipt(tx_id))
    swapped = Peer(chain.node).run(_raw("tx_get", {"id": other, "prove": True}))
    with pytest.raises(BadAnswerError, match="another transaction"):
        Peer(chain.node, lambda method, answer: swapped if method == "tx_get" else answer).run(
            LightChain(chain.genesis_hash).receipt(tx_id)
        )
    with pytest.raises(NotFoundError):
        Peer(chain.node).run(LightChain(chain.genesis_hash).receipt("0x" + "07" * 32))


def _raw(method: str, params: dict[str, Any]) -> Flow[Any]:
    return (yield Call(method, params))


def test_a_node_that_falls_back_is_noticed(chain: ProofChain) -> None:
    """Of the same epoch, but older than what was seen; and another block of the same height."""
    newest = trusted_at(chain, chain.tip)
    ahead = replace(newest, height=Height(chain.tip + 5))
    with pytest.raises(BehindError):
        Peer(chain.node).run(LightChain(chain.genesis_hash, ahead).account(TEXT))
    with pytest.raises(ForkError):
        Peer(chain.node).run(LightChain(chain.genesis_hash, replace(newest, block_hash=BlockHash(bytes(32)))).account(TEXT))
    with pytest.raises(BehindError, match="s old"):
        Peer(chain.node).run(LightChain(chain.genesis_hash, max_age_s=3_600).account(TEXT))


def reference_at(chain: ProofChain, height: Height) -> BlockReference:
    return BlockReference(height, trusted_at(chain, height).block_hash)


def keeping(chain: ProofChain, path: Path, height: Height) -> Path:
    """Return a file in which a light client has kept the block of a height."""
    path.write_text(to_json(trusted_at(chain, height), chain.genesis_hash))
    return path


@pytest.mark.parametrize("whole", [False, True])
def test_a_named_block_other_than_the_kept_one_of_its_height_is_a_fork(chain: ProofChain, tmp_path: Path, whole: bool) -> None:
    """Neither is taken silently, and the file stays as it was; the same block is no contradiction."""
    newest = trusted_at(chain, chain.tip)
    file = keeping(chain, tmp_path / "light.json", chain.tip)
    before = file.read_text()
    other = replace(newest, block_hash=BlockHash(bytes(32)))
    with pytest.raises(ForkError) as caught:
        LightChain(chain.genesis_hash, other if whole else BlockReference(other.height, other.block_hash), state_file=file)
    assert caught.value.details["height"] == chain.tip
    assert file.read_text() == before
    light = LightChain(chain.genesis_hash, newest if whole else reference_at(chain, chain.tip), state_file=file)
    peer = Peer(chain.node)
    assert peer.run(light.account(TEXT)).value.free == 29
    assert all(params.get("height") is None for _, params in peer.asked), "there is nothing to compare"


@pytest.mark.parametrize("height", [1, 2, -1], ids=["two epochs before", "an epoch before", "of the same epoch"])
@pytest.mark.parametrize("whole", [False, True])
def test_an_older_named_block_must_be_on_the_kept_chain(chain: ProofChain, tmp_path: Path, height: int, whole: bool) -> None:
    at = Height(height % chain.tip)
    file = keeping(chain, tmp_path / "light.json", chain.tip)
    for named, holds in ((trusted_at(chain, at), True), (replace(trusted_at(chain, at), block_hash=BlockHash(bytes(32))), False)):
        start = named if whole else BlockReference(named.height, named.block_hash)
        light, peer = LightChain(chain.genesis_hash, start, state_file=file), Peer(chain.node)
        if holds:
            assert peer.run(light.account(TEXT)).value.free == 29
            assert peer.run(light.account(TEXT)).value.free == 29
            compared = [params for method, params in peer.asked if method == "chain_proveHeader" and params.get("height") == at]
            assert len(compared) == (1 if height < 0 else 2), "once, and again from genesis for an older epoch"
        else:
            for _ in range(2):  # it is not forgotten
                with pytest.raises(ForkError):
                    peer.run(light.account(TEXT))


def test_a_kept_block_must_be_on_the_chain_of_a_newer_named_one(chain: ProofChain, tmp_path: Path) -> None:
    file = keeping(chain, tmp_path / "light.json", Height(chain.tip - 2))
    newer = reference_at(chain, Height(chain.tip - 1))
    assert Peer(chain.node).run(LightChain(chain.genesis_hash, newer, state_file=file).account(TEXT)).value.free == 29
    kept = replace(trusted_at(chain, Height(chain.tip - 2)), block_hash=BlockHash(bytes(32)))
    for start in (newer, trusted_at(chain, Height(chain.tip - 1))):
        file.write_text(to_json(kept, chain.genesis_hash))
        with pytest.raises(ForkError):
            Peer(chain.node).run(LightChain(chain.genesis_hash, start, state_file=file).account(TEXT))
        assert from_json(file.read_text(), chain.genesis_hash) == kept, "who looks into it finds both"


def test_an_older_named_block_that_the_node_does_not_hold_is_not_compared(tmp_path: Path) -> None:
    """The only way would be another node: what is kept counts."""
    made = ProofChain(tmp_path / "db")
    file = keeping(made, tmp_path / "light.json", Height(made.tip - 1))
    named = BlockReference(Height(1), BlockHash(bytes(32)))
    store, first = made.node._chain.store, Height(made.tip - 1)
    store.put_held(Held(first, first, made.tip, Height(made.tip - 1)))
    store.raw.apply({prefix + at.to_bytes(8): None for prefix in (b"b", b"c", b"r", b"i") for at in range(1, first)})
    assert Peer(made.node).run(LightChain(made.genesis_hash, named, state_file=file).account(TEXT)).value.free == 29
    made.node.close()


def forged_by_epoch_1(chain: ProofChain) -> Proof:
    """Return what leaked keys can make: a block of the future by a committee that was replaced long ago."""
    honest, genesis_hash = chain.receipt(1), chain.genesis_hash
    committee = honest.handovers[0].following
    header = replace(chain.node.tip, height=Height(chain.tip + 10), committee_hash=committee.hash(genesis_hash))
    signed = vote_digest(Tag.COMMIT, genesis_hash, header.height, View(0), header.hash(genesis_hash))
    votes = {keys.member.id: sign(keys.consensus_seed, signed) for keys in chain.node.keys[:5]}
    certificate = QuorumCertificate.build(header, View(0), votes, committee)
    return replace(honest, certificate=certificate, claim=StateClaim(()))


def test_a_leaked_old_committee_cannot_make_a_new_block(chain: ProofChain) -> None:
    """Nobody can tell from genesis alone; who has seen the next epoch can, even one who takes proofs of old epochs."""
    forged = forged_by_epoch_1(chain)
    assert forged.verify(chain.genesis_hash).height == chain.tip + 10

    def by_old_keys(method: str, answer: Any) -> Any:
        return answer | {"proof": "0x" + forged.encode().hex()} if method == "chain_proveHeader" else answer

    for accept in (False, True):
        light = LightChain(chain.genesis_hash, trusted_at(chain, chain.tip), accept_old_epochs=accept)
        with pytest.raises(StaleProofError):
            Peer(chain.node, by_old_keys).run(light.header())
        assert light.newest is not None
        assert light.newest.height == chain.tip


@pytest.mark.parametrize("whole", [False, True])
def test_the_last_block_of_a_committee_is_enough_to_refuse_its_keys(chain: ProofChain, whole: bool) -> None:
    """A client that has seen the block which replaces a committee, and nothing after it, takes nothing more of that committee."""
    last = chain.receipt().handovers[1].certificate.header
    seen, forged = trusted_at(chain, last.height), forged_by_epoch_1(chain)
    assert (seen.epoch, seen.next_committee_hash) == (1, chain.node.tip.committee_hash)
    forged = forged if whole else replace(forged, genesis=None, handovers=())
    with pytest.raises(StaleProofError) as refused:
        forged.verify(chain.genesis_hash, seen)
    assert refused.value.details["seen"] == 2
    assert chain.state([], trusted=last.height).verify(chain.genesis_hash, seen).epoch == 2
    assert chain.state([], last.height, trusted=last.height).verify(chain.genesis_hash, seen) == seen
    peer = Peer(chain.node, lambda method, answer: answer | {"items": [], "next_height": None})
    light = LightChain(chain.genesis_hash, seen)
    assert peer.run(light.sync()).epoch == 2, "hidden handovers do not matter: the proof of the last block has them"


def test_another_last_block_of_a_committee_is_a_fork(chain: ProofChain) -> None:
    last = chain.receipt().handovers[1].certificate.header
    other = replace(trusted_at(chain, last.height), block_hash=BlockHash(bytes(32)))
    with pytest.raises(ForkError):
        chain.state([], trusted=last.height).verify(chain.genesis_hash, other)
    with pytest.raises(ForkError):
        Peer(chain.node).run(LightChain(chain.genesis_hash, other).sync())


def test_it_starts_from_a_named_block(chain: ProofChain) -> None:
    height = Height(chain.tip - 1)
    trusted = trusted_at(chain, height)
    reference = BlockReference.parse(f"{height}:0x{trusted.block_hash.hex()}")
    peer, light = Peer(chain.node), LightChain(chain.genesis_hash, reference)
    assert peer.run(light.account(TEXT)).value.free == 29
    assert all(params.get("trusted_height", 1) for _, params in peer.asked), "nothing is asked from genesis"
    with pytest.raises(BadProofError, match="does not have the trusted block"):
        Peer(chain.node).run(LightChain(chain.genesis_hash, replace(reference, block_hash=BlockHash(bytes(32)))).account(TEXT))

    def wrong_committee(method: str, answer: Any) -> Any:
        return answer | {"epoch": 7} if method == "chain_getCommittee" else answer

    with pytest.raises(BadProofError, match="does not have the trusted block"):
        Peer(chain.node, wrong_committee).run(LightChain(chain.genesis_hash, reference).account(TEXT))
    for text in ("1", "1:0x12", "-1:0x" + "00" * 32, "0x" + "00" * 32):
        with pytest.raises(BadEncodingError):
            BlockReference.parse(text)


def test_what_was_seen_is_kept_in_a_file(chain: ProofChain, tmp_path: Path) -> None:
    file = tmp_path / "light.json"
    Peer(chain.node).run(LightChain(chain.genesis_hash, state_file=file).sync())
    again = LightChain(chain.genesis_hash, state_file=file)
    assert again.newest is not None
    assert (again.newest.height, again.newest.epoch) == (chain.tip, 2)
    peer = Peer(chain.node)
    assert peer.run(again.account(TEXT)).value.free == 29
    assert [method for method, _ in peer.asked] == ["account_get"]
    reference = BlockReference(Height(1), BlockHash(bytes(32)))  # older than what was seen: not gone back to
    assert LightChain(chain.genesis_hash, reference, state_file=file).newest == again.newest
    assert from_json(to_json(again.newest, chain.genesis_hash), chain.genesis_hash) == again.newest
    with pytest.raises(InvalidInputError, match="another chain"):
        LightChain(bytes(32), state_file=file)
    for bad in ("", "{}", "[]", "[" * 100_000, json.dumps(json.loads(file.read_text()) | {"height": -1})):
        file.write_text(bad)
        with pytest.raises(BadEncodingError):
            LightChain(chain.genesis_hash, state_file=file)


def test_it_reads_over_http(tmp_path: Path) -> None:
    with serve(tmp_path / "db", members=4) as served:
        genesis_hash = served.node.genesis_hash
        with Client(served.url) as client, LightClient(served.url, "0x" + genesis_hash.hex()) as light:
            receipt = client.transfer(Wallet.from_seed(FAUCET_SEED), to=TEXT, amount_motes=5)
            assert receipt.verify(genesis_hash).height == receipt.height
            assert light.sync().height == receipt.height
            assert light.account(TEXT).value.free == 5
            assert light.receipt(receipt.id).value.events == receipt.events
            assert light.header(0).value.height == 0
            assert light.query("asset", "balance_of", {"address": TEXT}).value["free"] == "5"
            assert light.state("asset", "supplies", "DATR", height=0).value is not None
            assert light.newest is not None

"""Proofs: what is true is accepted from the genesis hash alone, and nothing else is."""

import asyncio
import itertools
import random
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datacar.errors import BadProofError
from datacar.proven import describe, read_method, read_value
from ledger.block import Header
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.claims import MAX_STATE_ENTRIES, ReceiptClaim, StateClaim, StateEntry
from ledger.codec import Value, decode, encode, encode_trusted, fields
from ledger.committee import MAX_MEMBERS, Committee, Member
from ledger.committee_chain import Handover
from ledger.crypto import public_key, sign
from ledger.errors import DatacarError, InvalidInputError, TooLargeError
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.list_root import BadProofError as NoProofError
from ledger.list_root import list_root
from ledger.policy import format_address
from ledger.proof import (
    MAX_PROOF_BYTES,
    MAX_PROOF_VALUES,
    PROOF_VERSION,
    ForkError,
    Proof,
    StaleProofError,
    TrustedBlock,
)
from ledger.state_tree import StateTree
from ledger.store import MemoryStore
from ledger.types import BlockHash, Height, MemberId, View
from tests.memory_node import MemoryNode
from tests.proof_chain import ALICE, NOBODY, ProofChain, trusted_at
from tests.seeds import fresh
from vm.contracts.asset import balance_key

CHANGES = 500


@pytest.fixture(scope="module")
def chain(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ProofChain]:
    made = ProofChain(tmp_path_factory.mktemp("proofs") / "db")
    yield made
    made.node.close()


def is_believed(data: bytes, genesis_hash: bytes, trusted: TrustedBlock | None = None) -> bool:
    """Return whether the bytes are a proof; refusals are coded errors of what is wrong with the input, never anything else."""
    try:
        Proof.decode(data).verify(genesis_hash, trusted)
    except InvalidInputError:
        return False
    return True


def test_what_is_true_is_accepted_and_every_changed_byte_is_refused(chain: ProofChain) -> None:
    """Of every kind of proof, in 500 random places each."""
    rng, genesis_hash, known = random.Random(fresh("proof")), chain.genesis_hash, trusted_at(chain, Height(1))
    for kind, proof in chain.of_every_kind().items():
        good, trusted = proof.encode(), known if proof.genesis is None else None
        block = Proof.decode(good).verify(genesis_hash, trusted)
        assert (block.height, block.block_hash) == (proof.header.height, proof.header.hash(genesis_hash)), kind
        assert Proof.decode(good).encode() == good
        for _ in range(CHANGES):
            bad = bytearray(good)
            bad[place := rng.randrange(len(bad))] ^= (change := rng.randint(1, 255))
            assert not is_believed(bytes(bad), genesis_hash, trusted), f"{kind}: byte {place} xor {change}"
        assert not is_believed(good[:-1], genesis_hash, trusted)
        assert not is_believed(good + b"\0", genesis_hash, trusted)


def mutations(value: Value) -> Iterator[Value]:
    """Every value that differs in one leaf or lacks or repeats one part, at any depth."""
    match value:
        case bool():
            yield not value
        case int():
            yield from (value + 1, value ^ 1)
        case bytes():
            yield from (value + b"\0", value[:-1] + bytes([(value[-1] if value else 0) ^ 1]))
        case str():
            yield value + "x"
        case None:
            yield from (0, b"", ())
        case _:
            parts = tuple(value)
            yield (*parts, None)
            for place, part in enumerate(parts):
                yield parts[:place] + parts[place + 1 :]
                yield (*parts[:place], part, *parts[place:])
                yield from ((*parts[:place], other, *parts[place + 1 :]) for other in mutations(part))


def check_forgery(chain: ProofChain, body: bytes, trusted: TrustedBlock | None) -> None:
    """Seal a changed body anew: what is accepted then is no lie but another truth, such as the absence of another key."""
    data = encode((3, digest(Tag.PROOF, ZERO_HASH, body), body))
    if is_believed(data, chain.genesis_hash, trusted):
        found = Proof.decode(data)
        assert isinstance(found.claim, StateClaim)
        assert found.header == chain.node.header(found.header.height)
        state = chain.node.state_at(found.header.height)
        assert all(state.get(entry.key) == entry.value for entry in found.claim.entries)


def body_of(proof: Proof) -> bytes:
    _, _, body = fields(decode(proof.encode()), 3, "proof")
    assert isinstance(body, bytes)
    return body


def test_every_byte_is_bound(chain: ProofChain) -> None:
    """Not by the seal, which anyone can make."""
    rng, known = random.Random(fresh("proof_bytes")), trusted_at(chain, Height(1))
    for proof in chain.of_every_kind().values():
        for _ in range(100):
            bad = bytearray(body_of(proof))
            bad[rng.randrange(len(bad))] ^= rng.randint(1, 255)
            check_forgery(chain, bytes(bad), known if proof.genesis is None else None)


def test_every_part_is_bound(chain: ProofChain) -> None:
    """Each field changed, dropped or repeated, in canonical bytes."""
    rng, known = random.Random(fresh("proof_parts")), trusted_at(chain, Height(1))
    for proof in chain.of_every_kind().values():
        lies = list(mutations(decode(body_of(proof))))
        for lie in rng.sample(lies, min(len(lies), 250)):
            check_forgery(chain, encode(lie), known if proof.genesis is None else None)


def test_the_committee_is_followed_over_every_change_and_no_other_way(chain: ProofChain) -> None:
    proof = chain.receipt()
    assert len(proof.handovers) == 2
    assert proof.verify(chain.genesis_hash).epoch == 2
    assert [len(chain.receipt(payment).handovers) for payment in (0, 1, 2)] == [0, 1, 2]
    first, second = proof.handovers
    for bad in (
        (),
        (first,),
        (second,),
        (second, first),
        (first, first, second),
        (first, replace(second, following=first.following)),
    ):
        with pytest.raises(InvalidInputError):
            replace(proof, handovers=bad).verify(chain.genesis_hash)
    with pytest.raises(InvalidInputError):
        replace(proof, certificate=chain.receipt(0).certificate).verify(chain.genesis_hash)


def test_a_change_after_a_proof_is_in_the_next_one(tmp_path: Path) -> None:
    """The node keeps the changes of the committee that it has read: not for longer than they are all."""
    made = ProofChain.__new__(ProofChain)  # with a past of its own
    made.node = MemoryNode(tmp_path / "db", members=5)
    made.payments = [made.pay(5)]
    assert made.receipt().verify(made.genesis_hash).epoch == 0
    made.remove(4)
    made.payments.append(made.pay(7))
    assert made.receipt().verify(made.genesis_hash).epoch == 1
    made.node.close()


def test_a_short_proof_needs_its_trusted_block(chain: ProofChain) -> None:
    key, known = balance_key(ALICE), trusted_at(chain, Height(2))
    short, full = chain.state([key], trusted=Height(2)), chain.state([key])
    assert len(short.encode()) < len(full.encode())
    assert short.verify(chain.genesis_hash, known) == full.verify(chain.genesis_hash)
    with pytest.raises(NoProofError, match="does not reach back to genesis"):
        short.verify(chain.genesis_hash)
    newest = trusted_at(chain, chain.tip)
    assert chain.state([key], trusted=chain.tip).handovers == ()
    assert chain.state([key], trusted=chain.tip).verify(chain.genesis_hash, newest).epoch == 2
    with pytest.raises(InvalidInputError):  # handovers from before it cannot follow from it
        short.verify(chain.genesis_hash, newest)


def test_what_is_older_than_the_trusted_block_is_refused(chain: ProofChain) -> None:
    """Keys of past committees may have leaked: who has seen a later epoch takes nothing from an earlier one."""
    newest = trusted_at(chain, chain.tip)
    for proof in (chain.receipt(0), chain.receipt(0, trusted=chain.tip), chain.state([], Height(0))):
        with pytest.raises(StaleProofError) as caught:
            proof.verify(chain.genesis_hash, newest)
        assert caught.value.reason == "stale_proof"
    below = Height(chain.tip - 1)
    assert chain.state([], below).verify(chain.genesis_hash, trusted_at(chain, chain.tip)).height == below  # of the same epoch


def test_a_header_of_genesis_is_believed_as_the_parent_of_block_1_alone(chain: ProofChain) -> None:
    proof = chain.state([balance_key(ALICE)], Height(0))
    assert proof.block0 is not None
    richer = chain.state([balance_key(ALICE)])  # what Alice has at the tip, said to be of genesis
    for lie in (
        replace(proof, block0=replace(proof.block0, timestamp_ms=1)),
        replace(proof, block0=replace(proof.block0, state_root=richer.header.state_root), claim=richer.claim),
        replace(proof, certificate=richer.certificate),
        replace(proof, block0=richer.header, claim=richer.claim),
    ):
        with pytest.raises(InvalidInputError):
            lie.verify(chain.genesis_hash)


def test_a_later_epoch_below_the_trusted_block_is_refused(chain: ProofChain) -> None:
    """The trusted block's committee would have had to follow it."""
    ahead = replace(trusted_at(chain, Height(1)), height=Height(chain.tip + 1))
    with pytest.raises(InvalidInputError, match="later epoch"):
        chain.state([]).verify(chain.genesis_hash, ahead)


def test_another_chain_of_committees_is_refused(chain: ProofChain) -> None:
    newest = trusted_at(chain, chain.tip)
    others = Committee(
        newest.epoch, (*newest.committee.members[:-1], replace(newest.committee.members[-1], public_key=bytes(32)))
    )
    with pytest.raises(InvalidInputError, match="not those of the trusted block"):
        chain.receipt().verify(chain.genesis_hash, replace(newest, height=Height(1), committee=others))
    with pytest.raises(ForkError):
        chain.state([]).verify(chain.genesis_hash, replace(newest, block_hash=BlockHash(bytes(32))))


def test_a_proof_of_another_chain_is_refused(chain: ProofChain) -> None:
    for proof in chain.of_every_kind().values():
        with pytest.raises(InvalidInputError) as caught:
            proof.verify(bytes(32), None if proof.genesis is not None else trusted_at(chain, Height(1)))
        assert proof.genesis is None or caught.value.reason == "wrong_chain"


def test_transaction_and_receipt_belong_together(chain: ProofChain) -> None:
    """All of these parts are in one block, and not at one place of it."""
    first, second = (asyncio.run(chain.node.prove_receipt(transaction.id)) for transaction in chain.together[:2])
    assert first is not None
    assert second is not None
    assert isinstance(first.claim, ReceiptClaim)
    assert isinstance(second.claim, ReceiptClaim)
    one, two = first.claim, second.claim
    for lie in (
        replace(one, raw=two.raw, transaction_place=two.transaction_place),
        replace(one, receipt=two.receipt, receipt_place=two.receipt_place),
        replace(one, raw=two.raw),
        replace(one, receipt=two.receipt),
        replace(one, transaction_place=two.transaction_place),
        replace(one, receipt_place=two.receipt_place),
    ):
        with pytest.raises(InvalidInputError):
            replace(first, claim=lie).verify(chain.genesis_hash)
    assert replace(first, claim=two).verify(chain.genesis_hash) == second.verify(chain.genesis_hash)


def test_a_proof_says_what_it_is_about(chain: ProofChain) -> None:
    """In the words of the contracts: the payment with its event, the balance, the absence; of which epoch, height and time."""
    genesis_hash, alice = chain.genesis_hash, format_address(ALICE)
    proofs = chain.of_every_kind()

    def said(kind: str) -> Any:
        return describe(proofs[kind], proofs[kind].verify(genesis_hash), genesis_hash)

    payment = said("receipt")
    assert (payment["kind"], payment["status"], payment["epoch"]) == ("receipt", "succeeded", 2)
    assert payment["time"].startswith("2023-11-14T22:1")
    assert payment["calls"] == [{"contract": "asset", "method": "transfer", "args": {"to": alice, "amount": "11"}}]
    assert payment["events"][0] | {"fields": None} == {"index": 0, "contract": "asset", "name": "Transferred", "fields": None}
    [value] = said("account")["values"]
    assert (value["contract"], value["field"], value["of"]) == ("asset", "accounts", ["DATR", alice])
    assert value["value"] == {"free": "29", "held": "0", "locked": "0", "frozen": False}
    [absent] = said("absent account")["values"]
    assert (absent["of"][1], absent["value"]) == (format_address(NOBODY), None)
    assert said("header")["kind"] == "header"
    assert said("account at genesis")["height"] == 0
    assert read_value(proofs["account of the past"], "asset", "accounts", ["DATR", alice])["free"] == "5"


def test_a_query_is_run_again_on_what_it_read(chain: ProofChain) -> None:
    proof = chain.of_every_kind()["query"]
    proof.verify(chain.genesis_hash)
    committee = read_method(proof, "governance", "committee")
    assert [member["id"] for member in committee["members"]] == ["node1", "node2", "node3", "node4"]
    for question in (("asset", "balance_of", [format_address(ALICE)]), ("governance", "observer_list", [])):
        with pytest.raises(DatacarError):
            read_method(proof, *question)
    assert isinstance(proof.claim, StateClaim)
    less = replace(proof, claim=StateClaim(proof.claim.entries[1:]))
    less.verify(chain.genesis_hash)
    with pytest.raises(BadProofError, match="does not hold"):
        read_method(less, "governance", "committee")
    with pytest.raises(BadProofError, match="not of the state"):
        read_method(chain.receipt(), "asset", "supply")


def test_a_claim_of_wrong_shape_is_no_claim(chain: ProofChain) -> None:
    proof = chain.state([balance_key(ALICE), balance_key(NOBODY)])
    assert isinstance(proof.claim, StateClaim)
    one, two = proof.claim.entries
    for entries in ((two, one), (one, one)):
        with pytest.raises(InvalidInputError):
            StateClaim(entries)
    with pytest.raises(TooLargeError):
        StateClaim((one,) * 5_000)


# ---- any state, any keys


SEEDS = tuple(bytes([index]) * 32 for index in range(1, 5))
FOUNDERS = Committee(0, tuple(Member(MemberId(f"m{at}"), public_key(seed), b"", f"m{at}:1") for at, seed in enumerate(SEEDS)))
GENESIS = encode((1, "any", 1, True, (), FOUNDERS.to_value(), ()))
GENESIS_HASH = digest(Tag.GENESIS, ZERO_HASH, GENESIS)
KEYS = st.binary(min_size=1, max_size=3)
CHANGESETS = st.lists(st.dictionaries(KEYS, st.none() | st.binary(max_size=4), max_size=12), min_size=1, max_size=4)


def certified(state_root: bytes, height: int) -> QuorumCertificate:
    """Return a certificate of the founders over a header with this state."""
    committee_hash, empty = FOUNDERS.hash(GENESIS_HASH), list_root(GENESIS_HASH, ())
    header = Header(
        Height(height), View(0), ZERO_HASH, MemberId("m0"), height, empty, empty, state_root, committee_hash, committee_hash, 0
    )
    signed = vote_digest(Tag.COMMIT, GENESIS_HASH, header.height, View(0), header.hash(GENESIS_HASH))
    votes = {member.id: sign(seed, signed) for member, seed in zip(FOUNDERS.members[:3], SEEDS, strict=False)}
    return QuorumCertificate.build(header, View(0), votes, FOUNDERS)


@settings(max_examples=60)
@given(changesets=CHANGESETS, asked=st.sets(KEYS, min_size=1, max_size=6), data=st.data())
def test_values_and_absences_are_proven_at_every_height(
    changesets: list[dict[bytes, bytes | None]], asked: set[bytes], data: st.DataObject
) -> None:
    """Whatever was written and deleted: each version proves exactly what it holds, and no other value of any asked key."""
    store, root, model = MemoryStore(), None, dict[bytes, bytes]()
    tree = StateTree(GENESIS_HASH, store)
    versions = []
    for height, changes in enumerate(changesets, start=1):
        update = tree.update(root, Height(height), changes)
        store.apply(update.nodes)
        tree.adopt(update)
        root = update.root
        model = {key: value for key, value in (model | changes).items() if value is not None}
        versions.append((root, model))
    root, model = data.draw(st.sampled_from(versions))
    keys = sorted(asked | set(itertools.islice(model, 3)))
    entries = tuple(StateEntry(key, model.get(key), tree.prove(root, key)) for key in keys)
    proof = Proof(GENESIS, (), certified(root.digest, root.height), None, StateClaim(entries))
    assert Proof.decode(proof.encode()).verify(GENESIS_HASH).height == root.height
    place = data.draw(st.integers(0, len(entries) - 1))
    claimed = entries[place].value
    lie = data.draw((st.none() | st.binary(max_size=4)).filter(lambda value: value != claimed))
    forged = (*entries[:place], replace(entries[place], value=lie), *entries[place + 1 :])
    with pytest.raises(InvalidInputError):
        replace(proof, claim=StateClaim(forged)).verify(GENESIS_HASH)


def test_proof_with_many_changes_of_a_large_committee_can_be_read() -> None:
    """Its members are many small values: the bound on values of an ordinary object must not make old chains unprovable."""
    large = Committee(
        0, tuple(Member(MemberId(f"m{at:03}"), digest(Tag.GENESIS, ZERO_HASH, bytes([at])), b"", "") for at in range(100))
    )
    certificate = certified(ZERO_HASH, 1)
    proof = Proof(GENESIS, (Handover(certificate, large),) * 300, certificate, None, StateClaim(()))
    assert Proof.decode(proof.encode()) == proof


def test_a_proof_of_very_many_values_is_refused_before_they_are_built(chain: ProofChain) -> None:
    """Some bytes a value are honest, one is not: each takes many times its size in memory."""
    body = encode_trusted((None, tuple([()] * (MAX_PROOF_VALUES // 2)), 0, None, 0))
    data = encode_trusted((PROOF_VERSION, digest(Tag.PROOF, ZERO_HASH, body), body))
    assert len(data) < MAX_PROOF_BYTES
    with pytest.raises(TooLargeError, match="number of encoded values"):
        Proof.decode(data)


def test_every_honest_proof_that_fits_into_the_bytes_fits_into_the_values(chain: ProofChain) -> None:
    """The densest are long chains of the largest committees, with ids as short as can be."""
    members = tuple(Member(MemberId(chr(at)), at.to_bytes(32), b"", "") for at in range(1, 1 + MAX_MEMBERS))
    handover = replace(chain.receipt().handovers[0], following=Committee(1, members))
    value = handover.to_value()
    assert values_in(value) * (MAX_PROOF_BYTES / len(encode_trusted(value))) < MAX_PROOF_VALUES
    entries = chain.state([balance_key(ALICE), balance_key(NOBODY)]).claim.to_value()
    assert values_in(entries) * (MAX_STATE_ENTRIES / 2) < MAX_PROOF_VALUES


def values_in(value: Value) -> int:
    return 1 + (sum(map(values_in, value)) if isinstance(value, tuple) else 0)

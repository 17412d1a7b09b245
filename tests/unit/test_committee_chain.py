"""Handovers: the committee followed from genesis, and proofs that carry many of them."""

import pytest

from ledger.block import Header, Receipt, ReceiptKind, Status
from ledger.certificate import BadCertificateError, QuorumCertificate, vote_digest
from ledger.committee import Committee, Member
from ledger.committee_chain import Handover, follow
from ledger.crypto import public_key, sign
from ledger.hashing import ZERO_HASH, Tag
from ledger.list_root import prove_item
from ledger.receipt_proof import ReceiptProof
from ledger.types import Height, MemberId, View
from tests.consensus_net import GENESIS_HASH, seed_of


def committee(n: int, epoch: int) -> Committee:
    return Committee(epoch, tuple(Member(MemberId(f"m{i:03}"), public_key(seed_of(i)), b"", "") for i in range(n)))


def handover(height: int, old: Committee, new: Committee, signers: int | None = None) -> Handover:
    header = Header(
        Height(height), View(0), ZERO_HASH, MemberId("m0"), height, ZERO_HASH, ZERO_HASH, ZERO_HASH,
        old.hash(GENESIS_HASH), new.hash(GENESIS_HASH), 0,
    )  # fmt: skip
    signed = vote_digest(Tag.COMMIT, GENESIS_HASH, header.height, View(0), header.hash(GENESIS_HASH))
    count = old.quorum if signers is None else signers
    votes = {member.id: sign(seed_of(int(member.id[1:])), signed) for member in old.members[:count]}
    return Handover(QuorumCertificate.build(header, View(0), votes, old), new)


def test_committee_is_followed_over_every_change() -> None:
    first, second, third = committee(4, 0), committee(5, 1), committee(4, 2)
    steps = (handover(7, first, second), handover(9, second, third))
    assert follow(first, steps, GENESIS_HASH) == third
    assert follow(first, (), GENESIS_HASH) == first
    assert Handover.from_value(steps[0].to_value()).to_value() == steps[0].to_value()


def test_nothing_but_the_true_order_is_followed() -> None:
    first, second, third = committee(4, 0), committee(5, 1), committee(4, 2)
    one, two = handover(7, first, second), handover(9, second, third)
    lies = (
        (two,),
        (two, one),
        (one, one),
        (one, handover(7, second, third)),
        (Handover(one.certificate, third),),
        (handover(7, first, second, signers=2),),
    )
    for lie in lies:
        with pytest.raises(BadCertificateError):
            follow(first, lie, GENESIS_HASH)


def test_proof_with_many_changes_of_a_large_committee_can_be_read() -> None:
    """Its members are many small values: the bound on values of an ordinary object must not make old chains unprovable."""
    large = committee(100, 0)
    steps = tuple(handover(height, large, large, signers=1) for height in range(1, 301))
    receipt = Receipt(ReceiptKind.TRANSACTION, ZERO_HASH, Status.SUCCEEDED, 1, (), (), None)
    place = prove_item(GENESIS_HASH, [receipt.hash(GENESIS_HASH)], 0)
    proof = ReceiptProof(b"genesis", steps, steps[0].certificate, receipt, place)
    assert ReceiptProof.decode(proof.encode()).encode() == proof.encode()

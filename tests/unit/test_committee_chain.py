"""Handovers: the committee followed from genesis, or from where one has come to."""

import pytest

from ledger.block import Header
from ledger.certificate import BadCertificateError, QuorumCertificate, vote_digest
from ledger.committee import Committee, Member
from ledger.committee_chain import Handover, follow
from ledger.crypto import public_key, sign
from ledger.hashing import ZERO_HASH, Tag
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


def test_who_has_followed_goes_on_from_there() -> None:
    first, second, third = committee(4, 0), committee(5, 1), committee(4, 2)
    one, two = handover(7, first, second), handover(9, second, third)
    assert follow(first, (one, two), GENESIS_HASH, first=Height(7)) == third
    assert follow(second, (two,), GENESIS_HASH, first=Height(8)) == third
    with pytest.raises(BadCertificateError, match="not in order"):
        follow(first, (one,), GENESIS_HASH, first=Height(8))

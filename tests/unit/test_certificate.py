"""Certificates: a quorum of exactly this committee over exactly this header, or nothing."""

from dataclasses import replace

import pytest

from ledger.certificate import BadCertificateError, PreparedCert, QuorumCertificate, vote_digest
from ledger.committee import Committee
from ledger.crypto import sign
from ledger.errors import BadEncodingError
from ledger.hashing import Tag
from ledger.types import Height, MemberId, View
from tests.consensus_net import GENESIS_HASH, genesis_tip, make_committee, seed_of

COMMITTEE = make_committee(7)
HEADER = replace(genesis_tip(COMMITTEE).header, height=Height(9), view=View(2))


def votes(count: int, tag: Tag = Tag.COMMIT, view: int = 3) -> dict[MemberId, bytes]:
    signed = vote_digest(tag, GENESIS_HASH, Height(9), View(view), HEADER.hash(GENESIS_HASH))
    return {MemberId(f"m{i}"): sign(seed_of(i), signed) for i in range(count)}


def build(found: dict[MemberId, bytes], committee: Committee = COMMITTEE) -> QuorumCertificate:
    return QuorumCertificate.build(HEADER, View(3), found, committee)


def test_quorum_is_accepted_and_comes_back_from_bytes() -> None:
    for count in (5, 6, 7):
        certificate = build(votes(count))
        certificate.check(GENESIS_HASH, COMMITTEE)
        assert QuorumCertificate.from_value(certificate.to_value()) == certificate


def test_one_vote_short_is_refused() -> None:
    with pytest.raises(BadCertificateError) as caught:
        build(votes(4)).check(GENESIS_HASH, COMMITTEE)
    assert (caught.value.details["need"], caught.value.details["have"]) == (5, 4)


def test_prepares_are_no_commits() -> None:
    with pytest.raises(BadCertificateError):
        build(votes(5, Tag.PREPARE)).check(GENESIS_HASH, COMMITTEE)
    PreparedCert.build(HEADER, View(3), votes(5, Tag.PREPARE), COMMITTEE).check(GENESIS_HASH, COMMITTEE)


def test_votes_of_another_view_header_chain_or_committee_are_refused() -> None:
    good = build(votes(5))
    for bad, genesis_hash, committee in (
        (replace(good, view=View(4)), GENESIS_HASH, COMMITTEE),
        (replace(good, header=replace(HEADER, gas_used=1)), GENESIS_HASH, COMMITTEE),
        (good, bytes(32), COMMITTEE),
        (good, GENESIS_HASH, make_committee(6)),
        (good, GENESIS_HASH, Committee(1, COMMITTEE.members)),
    ):
        with pytest.raises(BadCertificateError):
            bad.check(genesis_hash, committee)


def test_bitmap_cannot_lie() -> None:
    good = build(votes(5))
    for bitmap in (b"\xff", b"\x80", b"\x3f", b"\x1e", b"", b"\x1f\x00"):
        with pytest.raises(BadCertificateError):
            replace(good, bitmap=bitmap).check(GENESIS_HASH, COMMITTEE)
    with pytest.raises(BadCertificateError):
        replace(good, signatures=good.signatures[::-1]).check(GENESIS_HASH, COMMITTEE)


def test_committee_refuses_one_key_with_two_votes() -> None:
    first, second = COMMITTEE.members[:2]
    with pytest.raises(BadEncodingError, match="one key, one vote"):
        Committee(0, (first, replace(second, public_key=first.public_key)))
    with pytest.raises(BadEncodingError, match="ascending"):
        Committee(0, (second, first))

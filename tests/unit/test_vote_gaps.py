"""What proves something and what does not: certificates, new views, handovers, evidence, and the books of votes.

A planted bug of `tests.mutants` that no other test saw has its test here.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from typing import Any

import pytest

from consensus.evidence import contradict
from consensus.inbox import MAX_MESSAGES, Inbox
from consensus.messages import Commit, Prepare, Signed, ViewChange
from consensus.verify import authenticate
from consensus.votes import VIEWS_AHEAD, VIEWS_KEPT, VoteBook
from ledger.certificate import BadCertificateError, PreparedCert, QuorumCertificate, vote_digest
from ledger.committee import Committee, Member
from ledger.committee_chain import Handover, follow
from ledger.crypto import public_key, sign
from ledger.errors import BadSignatureError
from ledger.hashing import Tag
from ledger.types import Height, MemberId, View
from tests.consensus_net import GENESIS_HASH, make_committee, seed_of
from tests.one_replica import COMMITTEE, ONE, ZERO, block, certified, changes_to, hash_of, new_view, say

# ---- what is authentic (rule 4)


@pytest.mark.parametrize(
    "lie",
    [
        lambda cert: replace(cert, signatures=(bytes(64), *cert.signatures[1:])),
        lambda cert: certified(block(), 0, (0, 1)),
        lambda cert: certified(block(), 2),
        lambda cert: certified(block(height=Height(2)), 0),
        lambda cert: certified(block(committee_hash=make_committee(5).hash(GENESIS_HASH)), 0),
        lambda cert: replace(cert, bitmap=bytes([cert.bitmap[0] | 16])),
    ],
    ids=[
        "forged vote",
        "two of four",
        "of the view it leaves for",
        "of another height",
        "of another committee",
        "a vote of nobody",
    ],
)
def test_view_change_with_a_certificate_that_proves_nothing_is_refused(lie: Callable[[PreparedCert], PreparedCert]) -> None:
    good = certified(block(), 1)
    authenticate(say(3, ViewChange(ONE, View(2), good)), COMMITTEE, GENESIS_HASH)
    with pytest.raises(BadCertificateError):
        authenticate(say(3, ViewChange(ONE, View(2), lie(good))), COMMITTEE, GENESIS_HASH)


@pytest.mark.parametrize(
    "changes",
    [
        changes_to(1)[:2],
        changes_to(1, members=(0, 1, 2, 3)),
        (*changes_to(1)[:2], changes_to(1)[1]),
        (*changes_to(1)[:2], *changes_to(1)[1:]),
        (*changes_to(1)[:2], changes_to(2)[2]),
        (*changes_to(1)[:2], replace(changes_to(1)[2], signature=bytes(64))),
        (*changes_to(1)[:2], say(3, ViewChange(Height(2), View(1), None))),
    ],
    ids=["q - 1", "q + 1", "one twice", "one twice beside q", "for another view", "forged", "of another height"],
)
def test_new_view_with_anything_but_q_good_view_changes_is_void(changes: tuple[Signed, ...]) -> None:
    authenticate(new_view(1, block(view=1), changes_to(1)), COMMITTEE, GENESIS_HASH)
    with pytest.raises((BadCertificateError, BadSignatureError)):
        authenticate(new_view(1, block(view=1), changes), COMMITTEE, GENESIS_HASH)


def test_committee_hash_names_every_key_and_the_epoch() -> None:
    """A rotated key alone must make another hash: light clients follow nothing else."""
    rotated = (*COMMITTEE.members[:3], Member(MemberId("m3"), public_key(seed_of(33)), b"", "h3:1"))
    hashes = {item.hash(GENESIS_HASH) for item in (COMMITTEE, Committee(0, rotated), Committee(1, COMMITTEE.members))}
    assert len(hashes) == 3


def handover(height: int, old: Committee, new: Committee, voters: Sequence[int] = (0, 1, 2)) -> Handover:
    """Return the handover by block `height`, certified by members of the old committee."""
    names: dict[str, Any] = {"committee_hash": old.hash(GENESIS_HASH), "next_committee_hash": new.hash(GENESIS_HASH)}
    header = block(height=Height(height), **names).header
    signed = vote_digest(Tag.COMMIT, GENESIS_HASH, header.height, ZERO, header.hash(GENESIS_HASH))
    votes = {MemberId(f"m{i}"): sign(seed_of(i), signed) for i in voters}
    return Handover(QuorumCertificate.build(header, ZERO, votes, old), new)


def test_committees_are_followed_by_certified_handovers_in_order_only() -> None:
    five, six = make_committee(5), make_committee(6)
    first, second = handover(3, COMMITTEE, five), handover(7, five, six, (0, 1, 2, 3))
    assert follow(COMMITTEE, (first, second), GENESIS_HASH) == six
    uncertified = handover(3, COMMITTEE, five, (0, 1))
    another = replace(first, following=six)
    earlier = handover(3, five, six, (0, 1, 2, 3))
    for wrong in ((uncertified,), (another,), (first, earlier), (second,)):
        with pytest.raises(BadCertificateError):
            follow(COMMITTEE, wrong, GENESIS_HASH)


def test_words_for_different_positions_do_not_contradict() -> None:
    said = [say(1, Prepare(ONE, View(view), hash_of(letter))) for view, letter in ((0, "a"), (1, "b"))]
    assert not contradict(*said)
    assert not contradict(said[0], say(1, Prepare(Height(2), ZERO, hash_of("b"))))
    assert not contradict(said[0], say(1, Commit(ONE, ZERO, hash_of("b"))))
    assert contradict(said[0], say(1, Prepare(ONE, ZERO, hash_of("b"))))


# ---- votes (rules 3 and 10)


def commits(*votes: tuple[int, int, str]) -> VoteBook:
    """Return a book of commits (member, view, block)."""
    book = VoteBook(Commit, COMMITTEE)
    for member, view, letter in votes:
        vote = Commit(ONE, View(view), hash_of(letter))
        book.add(say(member, vote), vote, ZERO)
    return book


def test_quorum_is_of_one_view_and_one_block() -> None:
    assert list(commits((0, 0, "a"), (1, 0, "a"), (2, 1, "a")).quorums()) == []
    assert list(commits((0, 0, "a"), (1, 0, "a"), (2, 0, "b"), (3, 0, "b")).quorums()) == []
    book = commits((0, 0, "a"), (1, 0, "a"), (2, 0, "a"), (3, 0, "b"), (3, 2, "b"))
    assert list(book.quorums()) == [(0, hash_of("a"))], "a vote in a later view hides nothing"
    assert set(book.signatures(ZERO, hash_of("a"))) == {"m0", "m1", "m2"}


def test_first_vote_counts_and_floods_of_views_are_not_kept() -> None:
    book = commits((0, 0, "a"), (0, 0, "b"))
    assert book.voters(ZERO, hash_of("a")) == ("m0",)
    assert book.voters(ZERO, hash_of("b")) == ()
    ahead = Commit(ONE, View(VIEWS_AHEAD + 1), hash_of("a"))
    assert not book.add(say(1, ahead), ahead, ZERO)
    for view in range(2 * VIEWS_KEPT):
        vote = Commit(ONE, View(view), hash_of("a"))
        book.add(say(1, vote), vote, View(view))
    assert len(book.messages(ZERO)) == VIEWS_KEPT


def test_inbox_is_bounded_for_each_who_delivers_and_gives_one_height() -> None:
    inbox = Inbox()
    assert all(inbox.put(MemberId("m1"), Height(2), b"x") for _ in range(MAX_MESSAGES))
    assert not inbox.put(MemberId("m1"), Height(2), b"x")
    assert inbox.put(MemberId("m2"), Height(3), b"y" * 4_000_000)
    assert not inbox.put(MemberId("m2"), Height(3), b"y" * 4_000_000)
    assert inbox.put(MemberId("m3"), Height(3), b"z" * 4_000_000), "another's flood is none of its own"
    assert inbox.take(Height(2)) == ((MemberId("m1"), b"x"),) * MAX_MESSAGES
    assert len(inbox) == 0

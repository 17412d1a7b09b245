"""Two words of one member for one position: evidence against it (rule 10), and a stop for who finds its own (rule 7)."""

from dataclasses import replace

import pytest

from consensus.effects import RecordEvidence
from consensus.evidence import Evidence
from consensus.messages import Commit, Message, Prepare, PrePrepare, Signed, ViewChange, signing_digest
from ledger.crypto import sign
from ledger.errors import InvalidInputError
from ledger.types import BlockHash, Height, MemberId, TxHash, View
from tests.consensus_net import GENESIS_HASH, Network, make_committee, seed_of


def say(index: int, message: Message) -> Signed:
    """Return a message as member `index` signs it."""
    return Signed(message, MemberId(f"m{index}"), sign(seed_of(index), signing_digest(message, GENESIS_HASH)))


def hash_of(letter: str) -> BlockHash:
    return BlockHash(letter.encode() * 32)


@pytest.mark.parametrize("kind", [Prepare, Commit])
def test_two_votes_for_one_view_are_evidence_once(kind: type[Prepare] | type[Commit]) -> None:
    net = Network(4)
    replica, height = net.nodes[0].replica, net.nodes[0].replica.height
    first, second, third = (say(1, kind(height, View(0), hash_of(letter))) for letter in "abc")
    assert replica.on_message(first, net.now) is not None
    found = [effect for effect in replica.on_message(second, net.now) if isinstance(effect, RecordEvidence)]
    assert found == [RecordEvidence(Evidence(first, second))]
    again = (*replica.on_message(third, net.now), *replica.on_message(first, net.now))
    assert not [effect for effect in again if isinstance(effect, RecordEvidence)]
    found[0].evidence.check(net.committee, GENESIS_HASH)
    assert Evidence.decode(found[0].evidence.encode()) == found[0].evidence


def test_two_proposals_for_one_view_are_evidence() -> None:
    net = Network(4)
    net.run(1_000, lambda: net.nodes[1].replica.height > 3)
    node = net.nodes[1]
    proposal = net._build(net.nodes[0], node.replica.height, View(0))
    fine = PrePrepare(node.replica.height, View(0), proposal.header, proposal.tx_hashes)
    other = replace(fine, tx_hashes=(TxHash(b"x" * 32),))
    node.replica.on_message(say(0, fine), net.now)
    effects = node.replica.on_message(say(0, other), net.now)
    assert [effect.evidence.signer for effect in effects if isinstance(effect, RecordEvidence)] == ["m0"]


def test_the_same_word_twice_or_in_two_views_is_no_evidence() -> None:
    net = Network(4)
    replica, height = net.nodes[0].replica, net.nodes[0].replica.height
    said = [
        say(1, Prepare(height, View(0), hash_of("a"))),
        say(1, Prepare(height, View(0), hash_of("a"))),
        say(1, Prepare(height, View(1), hash_of("b"))),
        say(1, Commit(height, View(0), hash_of("b"))),
        say(2, Prepare(height, View(0), hash_of("b"))),
        say(1, ViewChange(height, View(1), None)),
        say(1, ViewChange(height, View(2), None)),
    ]
    effects = [effect for signed in said for effect in replica.on_message(signed, net.now)]
    assert not [effect for effect in effects if isinstance(effect, RecordEvidence)]


def test_evidence_that_proves_nothing_is_refused() -> None:
    committee = make_committee(4)
    vote = say(1, Prepare(net_height(), View(0), hash_of("a")))
    other = say(1, Prepare(net_height(), View(0), hash_of("b")))
    forged = Signed(other.message, other.signer, bytes(64))
    for first, second in ((vote, vote), (vote, forged), (vote, say(2, other.message))):
        with pytest.raises(InvalidInputError):
            Evidence(first, second).check(committee, GENESIS_HASH)
    Evidence(vote, other).check(committee, GENESIS_HASH)


def net_height() -> Height:
    return Network(4).nodes[0].replica.height


def test_own_signature_above_the_floor_means_quarantine() -> None:
    """The disk was put back, or a second node runs with our key: either way we do not know what we signed."""
    net = Network(4)
    net.run(2_000, net.all_reach(10))
    node = net.nodes[2]
    unknown = say(2, Commit(node.replica.height, View(5), hash_of("z")))
    net.feed(node, node.replica.on_message(unknown, net.now))
    assert node.replica.phase == "quarantine"
    height, before = node.replica.height, len(node.said)
    for other in net.nodes:
        net._tip_hint(other, node)
    assert net.run(5_000, lambda: node.replica.phase != "quarantine"), "it ends two blocks above the others' tips"
    assert node.replica.height >= height + 2
    assert net.run(5_000, lambda: len(node.said) > before), "and then it votes again"


def test_own_words_that_come_back_are_no_reason_to_stop() -> None:
    net = Network(4)
    net.run(2_000, net.all_reach(5))
    node = net.nodes[2]
    for message in list(node.said.values()):
        net.feed(node, node.replica.on_message(say(2, message), net.now))
    assert node.replica.phase != "quarantine"


def test_another_word_for_a_position_already_signed_means_quarantine() -> None:
    """Two nodes with one key: the second one's vote for the same view contradicts ours."""
    net = Network(4)
    net.run(2_000, net.all_reach(5))
    node = net.nodes[2]

    def fresh() -> list[Prepare]:
        held = node.replica._signer.state.messages
        return [item for item in held if isinstance(item, Prepare) and item.height == node.replica.height]

    assert net.run(5_000, lambda: bool(fresh()))
    node.replica.on_message(say(2, replace(fresh()[0], block_hash=hash_of("z"))), net.now)
    assert node.replica.phase == "quarantine"

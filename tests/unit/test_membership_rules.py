"""Rule 13 in the replica: a change executed in block h makes the committee of h + 1, and nothing else of the protocol notices."""

from consensus.messages import Prepare, Signed, signing_digest
from ledger.certificate import QuorumCertificate
from ledger.committee import Committee, Member
from ledger.crypto import public_key, sign
from ledger.types import BlockHash, Height, MemberId, View
from tests.consensus_net import GENESIS_HASH, Network, make_committee, seed_of


def shrunk(n: int, without: int, epoch: int = 1) -> Committee:
    """Return the committee of n members with one taken out."""
    return Committee(epoch, tuple(item for item in make_committee(n).members if item.id != f"m{without}"))


def test_removed_member_stops_voting_at_once_and_the_rest_go_on() -> None:
    net = Network(5)
    net.changes[Height(5)] = shrunk(5, 4)
    assert net.run(10_000, lambda: net.heights()[0] >= 20)
    certificates = [certificate for _, certificate in net.nodes[0].disk.chain]
    assert all(MemberId("m4") not in item.signers(shrunk(5, 4)) for item in certificates[5:])
    assert certificates[5].header.committee_hash == shrunk(5, 4).hash(GENESIS_HASH) == certificates[4].header.next_committee_hash
    assert net.nodes[4].replica.phase == "observer"
    assert not [position for position in net.nodes[4].said if position.height > 5]


def test_added_member_votes_from_the_next_height_on() -> None:
    net = Network(5)
    net.committee = shrunk(5, 4, epoch=0)
    for index in range(5):
        net.crash(index)
    for index in range(5):
        net.restart(index)
    net.changes[Height(7)] = make_committee(5)
    assert net.run(10_000, net.all_reach(30))
    said = {position.height for position in net.nodes[4].said}
    assert min(said) == 8


def test_primary_that_is_removed_by_its_own_block_hands_over() -> None:
    net = Network(5)
    net.changes[Height(3)] = shrunk(5, 0)
    assert net.run(10_000, lambda: net.heights()[1] >= 20)
    headers = [proposal.header for proposal, _ in net.nodes[1].disk.chain]
    assert {header.proposer for header in headers[:3]} == {"m0"}
    assert headers[3].proposer == "m1"
    assert max(header.view for header in headers) == 0, (
        "view 0 of the new committee has another primary, and needs no view change"
    )


def test_certificate_of_the_old_committee_is_worth_nothing_after_the_change() -> None:
    """m4 left: its vote must not complete a quorum of the four that are left, whatever it signs."""
    net = Network(5)
    net.changes[Height(2)] = shrunk(5, 4)
    net.run(10_000, lambda: net.heights()[0] >= 2)
    node, height = net.nodes[0], net.nodes[0].replica.height
    vote = Prepare(height, View(0), BlockHash(b"x" * 32))
    signed = Signed(vote, MemberId("m4"), sign(seed_of(4), signing_digest(vote, GENESIS_HASH)))
    assert net._receive(node, MemberId("m4"), signed.encode()) == ()
    assert "m4 is not a member of the committee" in net.log[-1]


def test_votes_for_the_next_height_are_judged_by_its_own_committee() -> None:
    """m4 is added by block 4; what it says of height 5 reaches the others before they have block 4, and counts all the same."""
    net = Network(5, delay_ms=(1, 200))
    net.committee = shrunk(5, 4, epoch=0)
    for index in range(5):
        net.crash(index)
    for index in range(5):
        net.restart(index)
    for height in range(4, 60, 4):
        net.changes[Height(height)] = make_committee(5) if height % 8 else shrunk(5, 4, epoch=height)
    assert net.run(60_000, net.all_reach(60))
    assert net.log == [], "no honest message was refused"


def test_replaced_key_signs_from_the_next_height_on() -> None:
    """The driver holds both keys; the committee decides which one counts."""
    net = Network(4)
    members = list(net.committee.members)
    members[2] = Member(members[2].id, public_key(seed_of(22)), b"", "h2:1")
    net.changes[Height(4)] = Committee(1, tuple(members))
    net.nodes[2].replica.hold_keys(frozenset({public_key(seed_of(2))}))
    assert net.run(10_000, lambda: net.heights()[0] >= 10)
    assert net.nodes[2].replica.phase == "observer", "without the new key it signs nothing that nobody would count"
    certificates = [certificate for _, certificate in net.nodes[0].disk.chain]
    for item in certificates:
        QuorumCertificate.check(item, GENESIS_HASH, net.committee_of(item.header.height))

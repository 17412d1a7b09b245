"""The rules of the protocol on a virtual network: what must happen, and what must not."""

from dataclasses import replace

import pytest

from consensus.effects import FetchBlocks, Persist
from consensus.messages import Commit, Prepare, PrePrepare, Signed, Step, ViewChange, signing_digest
from consensus.quarantine import Quarantine
from consensus.sign_state import Floor, SignState
from ledger.committee import quorum_size
from ledger.crypto import sign
from ledger.types import BlockHash, Height, MemberId, TxHash, View
from tests.consensus_net import GENESIS_HASH, Network, Node, make_committee, seed_of


@pytest.mark.parametrize(("n", "quorum"), [(1, 1), (2, 2), (3, 2), (4, 3), (5, 4), (6, 4), (7, 5), (10, 7), (13, 9)])
def test_quorum_is_ceil_of_half_of_n_f_1(n: int, quorum: int) -> None:
    assert quorum_size(n) == quorum == -(-(n + (n - 1) // 3 + 1) // 2)


@pytest.mark.parametrize("n", [1, 2, 3, 4, 7])
def test_normal_case_commits_in_the_first_view(n: int) -> None:
    net = Network(n)
    assert net.run(5_000, net.all_reach(20))
    assert all(certificate.view == 0 for node in net.nodes for _, certificate in node.disk.chain)


def test_idle_network_says_nothing() -> None:
    net = Network(4)
    net.want_work = lambda _node: False
    net.run(60_000)
    assert net.heights() == [0, 0, 0, 0]
    assert all(not node.said for node in net.nodes)


def test_dead_backup_costs_no_view() -> None:
    net = Network(4)
    net.crash(3)
    assert net.run(5_000, net.all_reach(30))
    assert all(node.replica.view == 0 for node in net.nodes if node.up)


def test_dead_primary_costs_one_view_change_and_not_one_timeout_a_round() -> None:
    net = Network(4)
    assert net.run(5_000, net.all_reach(5))
    net.crash(0)
    died = net.now
    assert net.run(2_000, net.all_reach(7)), "first commit within 2 s"
    first = net.now - died
    assert net.run(5_000, net.all_reach(60)), "and normal speed afterwards"
    assert net.now - died - first < 4_000
    assert {node.replica.view for node in net.nodes if node.up} == {1}


def test_two_dead_primaries_in_a_row_with_seven_members() -> None:
    net = Network(7)
    net.crash(0)
    net.crash(1)
    assert net.run(6_000, net.all_reach(10))


def test_prepared_block_survives_its_primary() -> None:
    """Commits are cut off, so the block is prepared everywhere and committed nowhere; the next view must carry it on."""
    net = Network(4)
    prepared: set[bytes] = set()
    net.want_work = lambda node: len(node.disk.chain) < 1
    deliver = net._receive

    def drop_commits(node: object, sender: object, wire: bytes) -> object:
        signed = Signed.decode(wire)
        if isinstance(signed.message, Commit) and signed.message.view == 0:
            prepared.add(signed.message.block_hash)
            return ()
        return deliver(node, sender, wire)  # type: ignore[arg-type]

    net._receive = drop_commits  # type: ignore[assignment, method-assign]
    assert net.run(10_000, net.all_reach(1))
    assert prepared == {net.decided[Height(1)]}
    proposal, certificate = net.nodes[1].disk.chain[0]
    assert (proposal.header.view, certificate.view) == (0, 1), "header of the first proposal, view of the decision"


def test_next_height_leaves_for_the_view_that_decided() -> None:
    """Rule 2: after a re-proposal the members move on to the deciding view at once, without a timeout."""
    net = Network(4)
    net.run(200, net.all_reach(2))
    net.crash(0)
    assert net.run(3_000, net.all_reach(len(net.decided) + 2))
    start = net.now
    assert net.run(1_000, net.all_reach(max(net.heights()) + 5))
    assert net.now - start < 900


def test_lagging_member_catches_up_and_votes_again() -> None:
    net = Network(4)
    net.crash(2)
    assert net.run(5_000, net.all_reach(20))
    net.restart(2)
    assert net.run(5_000, net.all_reach(30))


def test_all_killed_at_once_come_back() -> None:
    for seed in range(20):
        net = Network(4, seed)
        net.run(100 + 7 * seed)
        for index in range(4):
            net.crash(index)
        net.run(1_000)
        for index in range(4):
            net.restart(index)
        assert net.run(10_000, net.all_reach(max(net.heights()) + 3)), f"seed {seed}: {net.heights()}"


def test_isolated_member_never_escalates() -> None:
    net = Network(4)
    net.cut = lambda a, b: 3 in (a, b)
    net.run(20_000)  # five times the longest view
    assert net.nodes[3].replica.view <= 1
    net.cut = lambda _a, _b: False
    for node in net.nodes[:3]:
        net._tip_hint(node, net.nodes[3])
    assert net.run(10_000, net.all_reach(max(net.heights()) + 5))


def test_lost_sign_state_is_quarantined_until_two_above_the_tip() -> None:
    net = Network(4)
    net.run(1_000, net.all_reach(5))
    net.crash(3)
    net.nodes[3].disk.sign_state = None
    net.nodes[3].disk.chain.clear()
    net.restart(3)
    node = net.nodes[3]
    node.said = {}
    assert node.replica.phase == "quarantine"
    tip = max(net.heights())
    assert net.run(10_000, net.all_reach(tip + 10))
    assert node.replica.phase != "quarantine"
    assert min(floor.height for floor in node.said) > tip + 2


def test_invalid_proposal_costs_its_primary_the_view_at_once() -> None:
    net = Network(4)
    net.refuse = lambda node, proposal: proposal.header.proposer == "m0" and node != 0
    start = net.now
    assert net.run(3_000, net.all_reach(1))
    assert net.now - start < 500, "no timeout was waited for"
    assert net.nodes[1].disk.chain[0][1].view == 1


def test_certificate_against_own_result_halts() -> None:
    net = Network(4)
    net.refuse = lambda node, _proposal: node == 3
    net.run(2_000)
    assert net.nodes[3].replica.phase == "halted"
    assert "diverged" in net.log[0]
    assert min(net.heights()[:3]) > 3, "the others go on"


@pytest.mark.parametrize("victims", [(3,), (1, 2, 3)])
def test_hashes_that_are_not_the_header_s_cost_the_view_and_halt_nobody(victims: tuple[int, ...]) -> None:
    """A primary sends the right header with wrong hashes to some: they must not judge the block by them, nor stay stuck."""
    net = Network(4)
    honest = net._to_all

    def lie(node: Node, signed: Signed) -> None:
        message = signed.message
        if node.index != 0 or not isinstance(message, PrePrepare) or message.height != 3:
            honest(node, signed)
            return
        wrong = replace(message, tx_hashes=(TxHash(b"x" * 32),))
        forged = Signed(wrong, node.id, sign(seed_of(0), signing_digest(wrong, GENESIS_HASH)))
        for other in net.nodes[1:]:
            wire = (forged if other.index in victims else signed).encode()
            net._send(node, other, lambda n, wire=wire: net._receive(n, node.id, wire))  # type: ignore[misc]

    net._to_all = lie  # type: ignore[method-assign]
    net.refuse = lambda _node, proposal: proposal.tx_hashes == (TxHash(b"x" * 32),)
    assert net.run(10_000, net.all_reach(10))
    assert all(node.replica.halted is None for node in net.nodes)


def test_lying_tip_does_not_mute_a_quarantined_member_of_seven() -> None:
    """A stated tip counts once our own certified chain has reached it; a liar is as good as silent."""
    net = Network(7)
    net.run(1_000, net.all_reach(5))
    net.crash(6)
    net.nodes[6].disk.sign_state = None
    net.restart(6)
    node = net.nodes[6]
    net.feed(node, node.replica.on_peer_tip(MemberId("m0"), Height(2**52), net.now))
    assert net.run(20_000, lambda: node.replica.phase != "quarantine")


def test_wiped_member_needs_the_word_of_a_quorum_of_others() -> None:
    """Its own empty store says nothing of what it signed: with two others of four, a laggard and a liar could mislead it."""
    committee = make_committee(4)
    quarantine = Quarantine(MemberId("m3"))
    quarantine.saw_tip(MemberId("m3"), Height(0))
    quarantine.saw_tip(MemberId("m0"), Height(2))
    quarantine.saw_tip(MemberId("m1"), Height(2))
    assert not quarantine.is_over(Height(1_000), committee)
    quarantine.saw_tip(MemberId("m2"), Height(40))
    assert not quarantine.is_over(Height(41), committee)
    assert quarantine.is_over(Height(42), committee)


def test_halted_replica_fetches_no_more() -> None:
    net = Network(4)
    net.refuse = lambda node, _proposal: node == 3
    net.run(2_000)
    replica = net.nodes[3].replica
    assert replica.phase == "halted"
    assert not [e for e in replica.on_peer_tip(MemberId("m0"), Height(99), net.now) if isinstance(e, FetchBlocks)]


def test_floor_forbids_a_second_vote_and_keeps_the_first() -> None:
    first = Prepare(Height(4), View(1), BlockHash(b"a" * 32))
    state = SignState().signed(first, None)
    assert state.floor == Floor(Height(4), View(1), Step.PREPARE)
    for height, view in [(4, 1), (4, 0), (3, 9)]:
        assert not state.may_sign(Prepare(Height(height), View(view), BlockHash(b"b" * 32)))
    assert not state.may_sign(ViewChange(Height(4), View(1), None))
    assert state.may_sign(Commit(Height(4), View(1), BlockHash(b"a" * 32)))
    assert SignState.decode(state.encode()) == state


def test_everything_is_persisted_before_it_is_sent() -> None:
    """The network's stand-in driver asserts it for each message; here the order inside one input."""
    net = Network(1)
    effects = net.nodes[0].replica.on_work(True, net.now)
    kinds = [type(effect) for effect in effects]
    assert Persist not in kinds, "nothing is signed before the candidate is built"


def test_forged_messages_are_refused_by_the_check_before_the_replica() -> None:
    net = Network(4)
    vote = Prepare(Height(1), View(0), BlockHash(b"x" * 32))
    good = sign(seed_of(1), signing_digest(vote, GENESIS_HASH))
    for signed in (
        Signed(vote, MemberId("m1"), bytes(64)),
        Signed(vote, MemberId("m2"), good),
        Signed(vote, MemberId("nobody"), good),
        Signed(Commit(Height(1), View(0), BlockHash(b"x" * 32)), MemberId("m1"), good),
    ):
        assert net._receive(net.nodes[0], signed.signer, signed.encode()) == ()
    assert len(net.log) == 4
    assert net._receive(net.nodes[0], MemberId("m1"), Signed(vote, MemberId("m1"), good).encode()) is not None
    assert len(net.log) == 4


def test_committee_hash_is_of_epoch_ids_and_keys() -> None:
    four, five = make_committee(4), make_committee(5)
    assert four.hash(GENESIS_HASH) != five.hash(GENESIS_HASH)
    assert four.hash(GENESIS_HASH) != four.hash(bytes(32))

"""What one member cannot do to the rest, and what an outage does not cost: consensus on a virtual network."""

from consensus.effects import Broadcast, BuildBlock, Candidate, Proposal
from consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Signed, ViewChange, signing_digest
from consensus.watch import ALLOWED_MS, WINDOW
from ledger.certificate import PreparedCert
from ledger.crypto import sign
from ledger.types import BlockHash, Height, MemberId, View
from tests.consensus_net import GENESIS_HASH, Network, Node, seed_of

H, V0 = Height(1), View(0)


def by(index: int, message: Message) -> Signed:
    """Return a message as member `index` signs it."""
    return Signed(message, MemberId(f"m{index}"), sign(seed_of(index), signing_digest(message, GENESIS_HASH)))


def cert_of(net: Network, proposal: Proposal, voters: tuple[int, ...], view: int = 0) -> PreparedCert:
    """Return the prepared certificate that these members' votes make."""
    vote = Prepare(proposal.header.height, View(view), proposal.block_hash)
    signatures = {MemberId(f"m{index}"): by(index, vote).signature for index in voters}
    return PreparedCert.build(proposal.header, View(view), signatures, net.committee)


def test_prepared_block_that_only_a_byzantine_member_holds_does_not_stop_the_chain() -> None:
    """m0 keeps its own Prepare to itself, those who prepared restart, and m0 shows its certificate in every view."""
    net = Network(4, 0)
    m0 = net.nodes[0]
    block = net._build(m0, H, V0)
    net.crash(0)
    proposal = by(0, PrePrepare(H, V0, block.header, block.tx_hashes)).encode()
    for index in (2, 3):
        net.feed(net.nodes[index], net._receive(net.nodes[index], m0.id, proposal))
    net.run(100)
    assert all(Prepare(H, V0, block.block_hash) in net.nodes[index].said.values() for index in (2, 3))
    assert not any(isinstance(said, Commit) for node in net.nodes for said in node.said.values())
    cert = cert_of(net, block, (0, 2, 3))
    for index in (2, 3):
        net.crash(index)
        net.restart(index)
    told: set[View] = set()
    to_all = net._to_all

    def and_m0_too(node: Node, signed: Signed) -> None:
        view = signed.message.view
        if isinstance(signed.message, ViewChange) and view not in told:
            told.add(view)
            lie = by(0, ViewChange(H, view, cert)).encode()
            for index in (1, 2, 3):
                net._later(index, 0, lambda n: net._receive(n, m0.id, lie))
        to_all(node, signed)

    net._to_all = and_m0_too  # type: ignore[method-assign]
    assert net.run(20_000, lambda: len(net.nodes[1].disk.chain) > 0), "the chain stands still"


def test_primary_that_ends_an_outage_is_not_deposed_for_it() -> None:
    """The time of a partition is not the new primary's: its first proposal comes in a later view than the height began in."""
    net = Network(4, 1)
    assert net.run(20_000, net.all_reach(20))
    net.cut = lambda a, b: (a < 2) != (b < 2)
    net.run(10_000)
    before = max(net.heights())
    net.cut = lambda _a, _b: False
    assert net.run(20_000, net.all_reach(before + 12))
    views = [proposal.header.view for proposal, _ in net.nodes[0].disk.chain[before : before + 12]]
    assert len(set(views)) == 1, views


def test_new_view_carries_the_view_changes_its_block_was_chosen_from() -> None:
    """A certificate that comes while the fresh block is being built does not turn the NewView against itself."""
    net = Network(4, 2)
    primary = net.nodes[1].replica
    net.want_work = lambda _node: False
    cert = cert_of(net, net._build(net.nodes[0], H, V0), (0, 2, 3))
    for index in (2, 3):
        effects = primary.on_message(by(index, ViewChange(H, View(1), None)), net.now)
    own = next(item.message for item in effects if isinstance(item, Broadcast))
    assert any(isinstance(item, BuildBlock) for item in primary.on_message(by(1, own), net.now))
    primary.on_message(by(0, ViewChange(H, View(1), cert)), net.now)
    fresh = net._build(net.nodes[1], H, View(1))
    effects = primary.on_candidate(Candidate(fresh, net.committee), net.now)
    new_view = next(item.message for item in effects if isinstance(item, Broadcast) and isinstance(item.message, NewView))
    assert new_view.header == fresh.header
    assert [item.message for item in new_view.view_changes] == [ViewChange(H, View(1), None)] * 3


def test_quarantine_for_a_stale_sign_state_outlasts_a_restart() -> None:
    net = Network(4, 3)
    assert net.run(20_000, net.all_reach(3))
    node = net.nodes[3]
    shown = by(3, Commit(node.replica.height, View(5), BlockHash(b"x" * 32)))
    net.feed(node, node.replica.on_message(shown, net.now))
    assert node.replica.phase == "quarantine"
    net.crash(3)
    net.restart(3)
    assert net.nodes[3].replica.phase == "quarantine"
    assert net.run(20_000, lambda: net.nodes[3].replica.phase != "quarantine"), "and it ends when it may"


def test_primary_that_is_told_late_is_not_slow() -> None:
    """A member that tells everyone but the primary makes each proposal wait for the reminder: that is not the primary's time."""
    net = Network(4, 4)
    watch = net.nodes[2].replica._agreement.watch
    for told in (True, False):
        for _ in range(WINDOW):
            watch.work_began(0)
            if told:
                watch.told(ALLOWED_MS)
            watch.proposed(ALLOWED_MS + 30)
            watch.committed(MemberId("m0"))
        assert watch.is_slow(MemberId("m0")) is not told


def test_reminder_restarts_the_primary_s_time() -> None:
    net = Network(4, 5)
    replica = net.nodes[2].replica
    replica.on_work(True, net.now)
    replica.on_reminded(net.now + ALLOWED_MS)
    assert replica._agreement.watch._since_ms == net.now + ALLOWED_MS
    replica.on_reminded(net.now + 2 * ALLOWED_MS)
    assert replica._agreement.watch._since_ms == net.now + ALLOWED_MS, "the first time counts: more reminders are no excuse"


def test_messages_that_can_change_nothing_are_not_worth_verifying() -> None:
    """A flood of these is dropped before it costs anything: doubles, votes of far or past views, lower view changes."""
    net = Network(4, 6)
    replica = net.nodes[0].replica
    vote, other = (Prepare(H, V0, BlockHash(letter * 32)) for letter in (b"a", b"b"))
    assert replica.wants(by(1, vote))
    replica.on_message(by(1, vote), net.now)
    assert not replica.wants(by(1, vote)), "held already"
    assert replica.wants(by(1, other)), "it would be evidence"
    replica.on_message(by(1, other), net.now)
    assert not replica.wants(by(1, Prepare(H, V0, BlockHash(b"c" * 32)))), "convicted already"
    assert not replica.wants(by(2, Commit(H, View(99), BlockHash(b"a" * 32))))
    replica.on_message(by(2, ViewChange(H, View(7), None)), net.now)
    assert not replica.wants(by(2, ViewChange(H, View(6), None)))
    assert replica.wants(by(2, ViewChange(H, View(8), None)))


def test_proposals_that_cannot_open_the_view_are_not_worth_verifying() -> None:
    """Only the primary of the view that a height begins in opens it with a PrePrepare: anybody else's is a flood."""
    net = Network(4, 8)
    replica = net.nodes[2].replica
    block = net._build(net.nodes[0], H, V0)
    assert replica.wants(by(0, PrePrepare(H, V0, block.header, block.tx_hashes)))
    assert not replica.wants(by(1, PrePrepare(H, V0, block.header, block.tx_hashes)))
    assert not replica.wants(by(0, PrePrepare(H, View(4), block.header, block.tx_hashes)))

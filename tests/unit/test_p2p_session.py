"""The state machine of one connection: handshake, refusals, liveness, misbehaviour. Two sessions talk in memory."""

from itertools import chain

import pytest

from ledger.committee import Member
from ledger.types import BlockHash, Height, MemberId
from p2p.frames import FrameType, encode_frame
from p2p.handshake import PROTOCOL_VERSION, Directory, Terms
from p2p.limits import MIB, Limits, Scope
from p2p.messages import (
    Application,
    Blocks,
    Bodies,
    Consensus,
    GetBlocks,
    GetBodies,
    Hello,
    Ping,
    Reject,
    Status,
    Transactions,
    Welcome,
    encode,
)
from p2p.session import Closed, Event, Opened, Phase, Received, Session
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State

ALICE, BOB, CAROL = MemberId("alice"), MemberId("bob"), MemberId("carol")
GENESIS = bytes(range(32))
LIMITS = Limits()


STATUS = Status(Height(9), BlockHash(bytes(32)))


def session(me: MemberId, owner: MemberId | None, *, dialled: MemberId | None = None, limits: Limits = LIMITS) -> Session:
    """A session of `me` with a peer that showed `owner`'s certificate, started at 0 ms."""
    return Session(Terms(GENESIS, me, "test"), owner, dialled, Height(3), limits, 0)


def carry(source: Session, target: Session, now_ms: float = 0) -> list[Event]:
    """Move all waiting bytes one way; return the events they bring."""
    chunks = iter(source.next_chunk, None)
    return list(chain.from_iterable(target.receive(chunk, now_ms) for chunk in chunks))


def shake(dialler: Session, listener: Session) -> tuple[list[Event], list[Event]]:
    """Exchange until both are silent; return the events of each side."""
    dialler_events: list[Event] = []
    listener_events: list[Event] = []
    for _ in range(4):
        listener_events += carry(dialler, listener)
        dialler_events += carry(listener, dialler)
    return dialler_events, listener_events


def open_pair(limits: Limits = LIMITS) -> tuple[Session, Session]:
    pair = session(ALICE, BOB, dialled=BOB, limits=limits), session(BOB, ALICE, limits=limits)
    shake(*pair)
    assert [side.phase for side in pair] == [Phase.OPEN, Phase.OPEN]
    return pair


def test_members_of_one_chain_open() -> None:
    alice, bob = session(ALICE, BOB, dialled=BOB), session(BOB, ALICE)
    assert shake(alice, bob) == ([Opened(BOB, Height(3))], [Opened(ALICE, Height(3))])


def test_open_means_that_both_sides_agreed() -> None:
    """A Hello that fits is not enough: the other side may still refuse ours."""
    alice, bob = session(ALICE, BOB, dialled=BOB), session(BOB, ALICE)
    bob.next_chunk()
    assert carry(alice, bob) == []
    assert bob.phase is Phase.WELCOME
    assert not bob.send(FrameType.CONSENSUS, encode(Consensus(b"early")))


def test_welcome_and_first_messages_may_come_in_one_piece() -> None:
    alice, bob = session(ALICE, BOB, dialled=BOB), session(BOB, ALICE)
    carry(alice, bob)
    assert carry(bob, alice) == [Opened(BOB, Height(3))]
    assert alice.send(FrameType.CONSENSUS, encode(Consensus(b"vote")))
    assert carry(alice, bob) == [Opened(ALICE, Height(3)), Received(Consensus(b"vote"))]


@pytest.mark.parametrize(
    ("terms", "field", "ours", "theirs"),
    [
        (Terms(bytes(32), BOB, "test"), "genesis_hash", "0x" + GENESIS.hex(), "0x" + bytes(32).hex()),
        (Terms(GENESIS, BOB, "test", 9), "protocol_version", str(PROTOCOL_VERSION), "9"),
        (Terms(GENESIS, CAROL, "test"), "member_id", "bob", "carol"),
    ],
)
def test_a_mismatch_names_the_field_on_both_sides(terms: Terms, field: str, ours: str, theirs: str) -> None:
    alice, bob = session(ALICE, BOB, dialled=BOB), Session(terms, ALICE, None, Height(3), LIMITS, 0)
    alice_events, bob_events = shake(alice, bob)
    for events in (alice_events, bob_events):
        assert len(events) == 1
        assert isinstance(events[0], Closed)
        assert not events[0].misbehaved
        assert field in events[0].reason
        assert ours in events[0].reason
        assert theirs in events[0].reason


def test_a_member_that_only_the_other_side_refuses_learns_why() -> None:
    """Bob has nothing against Alice, but Alice dialled Carol: the Reject tells him."""
    alice, bob = session(ALICE, BOB, dialled=CAROL), session(BOB, ALICE)
    carry(bob, alice)
    farewell = alice.next_chunk() or b""
    assert bob.receive(farewell, 0) == [
        Closed("rejected by the peer: wrong_address: member_id expected carol, got bob"),
    ]


def test_either_side_may_dial() -> None:
    """The larger id does when the smaller one does not come."""
    alice, bob = session(ALICE, BOB), session(BOB, ALICE, dialled=ALICE)
    assert shake(bob, alice) == ([Opened(ALICE, Height(3))], [Opened(BOB, Height(3))])


def test_before_the_handshake_only_small_handshake_frames_are_taken() -> None:
    for frame in (encode(Consensus(b"early")), encode(Ping(1)), encode(Welcome()), encode_frame(FrameType.HELLO, bytes(2_000))):
        bob = session(BOB, ALICE)
        (event,) = bob.receive(frame, 0)
        assert isinstance(event, Closed)
        assert event.misbehaved
        assert bob.buffered_bytes == 0


def test_a_second_hello_is_refused() -> None:
    alice, bob = open_pair()
    (event,) = bob.receive(encode(Hello(GENESIS, 1, ALICE, "test", Height(0))), 0)
    assert isinstance(event, Closed)
    assert event.misbehaved
    assert carry(bob, alice) == [Closed(f"rejected by the peer: {event.reason}")]


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (encode_frame(FrameType.CONSENSUS, b"\xc1"), "bad_encoding"),
        (encode_frame(FrameType.PING, b"\xcc\x05"), "bad_encoding: not canonical"),
        ((2 * MIB + 1).to_bytes(4, "big") + b"\x07", "too_large: CONSENSUS frame is too large"),
        (b"\x00\x00\x00\x00\xff", "bad_encoding: unknown frame type 255"),
        (encode(Ping(1)) * 200, "rate_limited: more than 10 frames of PING a second"),
    ],
)
def test_misbehaviour_ends_the_session_and_is_told(data: bytes, reason: str) -> None:
    alice, bob = open_pair()
    *_, last = bob.receive(data, 0)
    assert isinstance(last, Closed)
    assert last.misbehaved
    assert last.reason.startswith(reason)
    assert carry(bob, alice) == [Closed(f"rejected by the peer: {last.reason}")]
    assert bob.receive(encode(Status(Height(1), BlockHash(bytes(32)))), 0) == [], "nothing is taken after the end"


def test_messages_before_a_bad_frame_in_one_piece_still_count() -> None:
    _, bob = open_pair()
    events = bob.receive(encode(Consensus(b"good")) + encode(Welcome()), 0)
    assert events[0] == Received(Consensus(b"good"))
    assert isinstance(events[1], Closed)


def test_status_moves_the_height_a_peer_is_known_at() -> None:
    alice, bob = open_pair()
    alice.send(FrameType.STATUS, encode(Status(Height(44), BlockHash(bytes(32)))))
    carry(alice, bob)
    assert bob.height == 44


def test_round_trip_time_is_measured_on_opening_and_after() -> None:
    alice, bob = open_pair()
    assert alice.rtt_ms == 0
    now_ms = alice.deadline_ms
    assert alice.tick(now_ms) is None
    carry(alice, bob, now_ms + 10)
    carry(bob, alice, now_ms + 25)
    assert alice.rtt_ms == pytest.approx(25)


def test_a_handshake_that_takes_too_long_is_given_up() -> None:
    bob = session(BOB, ALICE)
    assert bob.tick(LIMITS.handshake_timeout_ms - 1) is None
    closed = bob.tick(LIMITS.handshake_timeout_ms)
    assert closed is not None
    assert closed.reason.startswith("handshake_timeout")


def test_silence_closes_but_any_bytes_keep_open() -> None:
    alice, _ = open_pair()
    piece = encode(Consensus(bytes(1_000)))
    now_ms = 0.0
    for index in range(20):
        now_ms += LIMITS.idle_timeout_ms - 1
        alice.receive(piece[index : index + 1], now_ms)
        while alice.deadline_ms <= now_ms:
            assert alice.tick(now_ms) is None
    end_ms = now_ms + LIMITS.idle_timeout_ms
    while alice.phase is Phase.OPEN:
        assert alice.deadline_ms <= end_ms
        now_ms = alice.deadline_ms
        alice.tick(now_ms)
    assert now_ms == end_ms
    assert alice.closed is not None
    assert alice.closed.reason.startswith("idle_timeout")


def test_a_silent_peer_is_asked_once_not_again_and_again() -> None:
    alice, _ = open_pair()
    alice.tick(alice.deadline_ms)
    assert alice.next_chunk() is not None
    alice.tick(alice.deadline_ms)
    assert alice.next_chunk() is None


def test_a_peer_that_does_not_drain_consensus_is_given_up_but_gossip_only_drops() -> None:
    alice, _ = open_pair(Limits(outbox_bytes=1_000))
    gossip = encode_frame(FrameType.TRANSACTIONS, bytes(600))
    vote = encode(Consensus(bytes(600)))
    assert alice.send(FrameType.TRANSACTIONS, gossip)
    assert not alice.send(FrameType.TRANSACTIONS, gossip)
    assert alice.send(FrameType.CONSENSUS, vote), "the gossip makes room"
    assert not alice.send(FrameType.CONSENSUS, vote)
    assert alice.closed is not None
    assert alice.closed.reason.startswith("send_queue_full")


def test_the_first_reason_for_an_end_stays() -> None:
    alice, _ = open_pair()
    first = alice.close("not_permitted: removed")
    assert alice.lost("reset by peer") is first
    assert alice.close("other") is first


def test_a_lost_handshake_says_what_to_look_for() -> None:
    assert "may not know our certificate" in session(ALICE, BOB).lost("closed by the peer").reason


def test_a_long_or_odd_reason_still_fits_a_reject() -> None:
    alice, bob = open_pair()
    alice.close("x" * 1_000 + "\n")
    assert carry(alice, bob) == [Closed("rejected by the peer: " + "x" * 256)]
    assert str(Reject("plain")) == "plain"


# Blocks only, from a certificate that the dialling side does not know


def sync_pair(limits: Limits = LIMITS) -> tuple[Session, Session]:
    """Alice dialled Bob and does not know the certificate that she was shown; he knows hers."""
    pair = session(ALICE, None, dialled=BOB, limits=limits), session(BOB, ALICE, limits=limits)
    assert shake(*pair) == ([Opened(BOB, Height(3))], [Opened(ALICE, Height(3))])
    assert [side.scope for side in pair] == [Scope.ASKS, Scope.SERVES]
    return pair


def test_an_unknown_certificate_is_asked_for_blocks_and_told_nothing() -> None:
    alice, bob = sync_pair()
    for message in (STATUS, Consensus(b"vote"), Transactions((b"t",)), GetBodies(BlockHash(bytes(32)), ()), Blocks((b"b",))):
        assert not alice.send(message.type, encode(message))
    assert alice.send(FrameType.GET_BLOCKS, encode(GetBlocks(Height(1), 1)))
    assert carry(alice, bob) == [Received(GetBlocks(Height(1), 1))]
    for other in (Consensus(b"vote"), Transactions((b"t",)), GetBodies(BlockHash(bytes(32)), ()), GetBlocks(Height(1), 1)):
        assert not bob.send(other.type, encode(other)), "nor does the member serve anything else"
    assert bob.send(FrameType.STATUS, encode(STATUS))
    assert bob.send(FrameType.BLOCKS, encode(Blocks((b"b",))))
    assert not bob.send(FrameType.BLOCKS, encode(Blocks((b"b",)))), "one answer to each request"
    assert set(carry(bob, alice)) == {Received(STATUS), Received(Blocks((b"b",)))}
    assert alice.height == 9
    for request, answer in (
        (GetSnapshot(Height(8), Height(1)), Snapshot(Height(8), b"certificate")),
        (GetHistory(Height(7), 2), History(Height(7), ())),
        (GetState(Height(8), b""), State(Height(8), b"", None)),
    ):
        assert not bob.send(answer.type, encode(answer)), "nobody has asked for it yet"
        assert alice.send(request.type, encode(request))
        assert carry(alice, bob) == [Received(request)]
        assert bob.send(answer.type, encode(answer))
        assert carry(bob, alice) == [Received(answer)]
    assert alice.closed is bob.closed is None


@pytest.mark.parametrize(
    "message",
    [Consensus(b"v"), Transactions((b"t",)), GetBodies(BlockHash(bytes(32)), ()), Bodies(BlockHash(bytes(32)), (b"t",)),
     GetBlocks(Height(1), 1), Blocks((b"b",)), State(Height(1), b"", None), GetState(Height(1), b"")],
    ids=lambda message: type(message).__name__,
)  # fmt: skip
def test_an_unknown_certificate_that_says_more_than_it_was_asked_is_cut_off(message: Application) -> None:
    alice, _ = sync_pair()
    (event,) = alice.receive(encode(message), 0)
    assert isinstance(event, Closed)
    assert event.misbehaved


@pytest.mark.parametrize("message", [Consensus(b"vote"), STATUS, Transactions((b"t",)), Blocks((b"b",)), History(Height(1), ())])
def test_who_asked_for_blocks_only_may_not_send_more(message: Application) -> None:
    """In one piece with the Welcome as well as after it."""
    _, bob = sync_pair()
    (event,) = bob.receive(encode(message), 0)
    assert isinstance(event, Closed)
    assert event.misbehaved
    bob = session(BOB, ALICE)
    hello = encode(Hello(GENESIS, PROTOCOL_VERSION, ALICE, "test", Height(0)))
    *_, last = bob.receive(hello + encode(Welcome(sync_only=True)) + encode(message), 0)
    assert isinstance(last, Closed)
    assert last.misbehaved


def test_an_unknown_certificate_must_claim_to_be_the_member_dialled() -> None:
    alice = session(ALICE, None, dialled=BOB)
    (event,) = alice.receive(encode(Hello(GENESIS, PROTOCOL_VERSION, CAROL, "test", Height(0))), 0)
    assert isinstance(event, Closed)
    assert event.reason.startswith("wrong_member: member_id expected bob, got carol")


def test_who_is_dialled_cannot_make_it_a_session_for_blocks_only() -> None:
    alice = session(ALICE, BOB, dialled=BOB)
    hello = encode(Hello(GENESIS, PROTOCOL_VERSION, BOB, "test", Height(0)))
    *_, last = alice.receive(hello + encode(Welcome(sync_only=True)), 0)
    assert isinstance(last, Closed)
    assert last.misbehaved


def test_a_session_with_an_unknown_certificate_ends_in_time_to_look_for_the_member_anew() -> None:
    limits = Limits(sync_only_ms=5_000)
    alice, bob = sync_pair(limits)
    while alice.closed is None:
        now_ms = alice.deadline_ms
        alice.tick(now_ms)
        carry(alice, bob, now_ms)
        carry(bob, alice, now_ms)
    assert now_ms == limits.sync_only_ms
    assert alice.closed.again
    assert not alice.closed.misbehaved


def test_the_directory_knows_owners_by_exact_bytes() -> None:
    members = [
        Member(name, bytes([index]) * 32, f"cert {name}".encode(), "h:1") for index, name in enumerate((ALICE, BOB, CAROL))
    ]
    directory = Directory(BOB, members, {b"old carol": CAROL, b"old dave": MemberId("dave")})
    assert directory.owner(b"cert alice") == ALICE
    assert directory.owner(b"old carol") == CAROL, "in its grace period"
    assert directory.owner(b"old dave") is None, "no member any more"
    assert directory.owner(b"cert bob") is None, "never ourselves"
    assert set(directory.certificates) == {b"cert alice", b"cert carol", b"old carol"}

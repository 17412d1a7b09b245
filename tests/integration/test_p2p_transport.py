"""Real sockets and real TLS on 127.0.0.1: who gets in, who does not, and what is left when a node stops."""

import asyncio
import gc
import hashlib
import socket
import ssl
import threading
from collections.abc import AsyncIterator, Callable, Iterable
from dataclasses import replace
from pathlib import Path

import pytest
from cryptography import x509
from structlog.testing import capture_logs

from genesis.certificates import make_certificate
from ledger.committee import Member
from ledger.errors import BadEncodingError
from ledger.types import BlockHash, Height, MemberId
from p2p.frames import FrameType, encode_frame
from p2p.handshake import PROTOCOL_VERSION
from p2p.limits import BURST_SECONDS, RULES, Limits
from p2p.messages import Application, Blocks, Consensus, GetBlocks, Hello, Status, Transactions, Welcome, encode
from p2p.tls import LocalIdentity, describe_failure, make_contexts
from p2p.transport import Transport
from tests.patience import PATIENCE_S
from tests.ports import take_ports

GENESIS = hashlib.sha256(b"genesis").digest()
ALICE, BOB, CAROL = MemberId("alice"), MemberId("bob"), MemberId("carol")
# Short times where a test waits for them; long ones where a busy machine must not be late: who should dial does so.
LIMITS = Limits(
    penalty_ms=300,
    redial_cap_ms=200,
    ping_interval_ms=250,
    connect_timeout_ms=30_000,
    handshake_timeout_ms=30_000,
    idle_timeout_ms=30_000,
    reverse_first_ms=30_000,
)
KEPT_AWAY = replace(LIMITS, penalty_ms=60_000)


class Recorder:
    """A node as the transport sees it: keeps what it is told; `until` waits for a condition on it."""

    def __init__(self) -> None:
        self.messages: list[tuple[MemberId, Application]] = []
        self.connected: list[MemberId] = []
        self.disconnected: list[tuple[MemberId, str]] = []
        self.unproven: list[tuple[MemberId, Height]] = []
        self._changed = asyncio.Event()

    def on_connected(self, member_id: MemberId) -> None:
        self.connected.append(member_id)
        self._changed.set()

    def on_message(self, member_id: MemberId, message: Application) -> None:
        self.messages.append((member_id, message))
        self._changed.set()

    def on_disconnected(self, member_id: MemberId, reason: str) -> None:
        self.disconnected.append((member_id, reason))
        self._changed.set()

    def on_unproven_tip(self, member_id: MemberId, status: Status) -> None:
        self.unproven.append((member_id, status.height))
        self._changed.set()

    async def until(self, condition: Callable[[], bool]) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while not condition():
                self._changed.clear()
                await self._changed.wait()


async def eventually(condition: Callable[[], bool]) -> None:
    """Wait for something no callback tells of (a counter, a log line)."""
    async with asyncio.timeout(PATIENCE_S):
        while not condition():  # noqa: ASYNC110 - there is no event to wait for
            await asyncio.sleep(0.005)


def identity(name: str) -> LocalIdentity:
    certificate, key = make_certificate(hashlib.sha256(name.encode()).digest(), name)
    return LocalIdentity(MemberId(name), certificate, key)


class Network:
    """Transports on free ports of this machine, stopped when the test ends."""

    def __init__(self) -> None:
        self.nodes: list[Transport] = []

    async def add(
        self, who: LocalIdentity, *, genesis_hash: bytes = GENESIS, port: int | None = None, limits: Limits = LIMITS
    ) -> tuple[Transport, Recorder]:
        """Start a node that knows no members yet."""
        recorder = Recorder()
        node = Transport(
            who,
            genesis_hash,
            (),
            recorder,
            listen_host="127.0.0.1",
            listen_port=take_ports(1)[0] if port is None else port,
            tip=lambda: Height(5),
            wall_ms=lambda: 1_700_000_000_000,
            software_version="test",
            limits=limits,
        )
        await node.start()
        self.nodes.append(node)
        return node, recorder

    async def pair(self, limits: Limits = LIMITS) -> tuple[Transport, Recorder, Transport, Recorder]:
        """Return Alice and Bob, connected."""
        alice, alice_saw = await self.add(identity("alice"), limits=limits)
        bob, bob_saw = await self.add(identity("bob"), limits=limits)
        introduce((alice, bob), {ALICE: alice, BOB: bob})
        await alice_saw.until(lambda: alice_saw.connected == [BOB])
        await bob_saw.until(lambda: bob_saw.connected == [ALICE])
        return alice, alice_saw, bob, bob_saw


def member(name: str, port: int) -> Member:
    key = hashlib.sha256(b"consensus " + name.encode()).digest()
    return Member(MemberId(name), key, identity(name).certificate, f"127.0.0.1:{port}")


def introduce(nodes: Iterable[Transport], members: dict[MemberId, Transport]) -> None:
    """Tell `nodes` of `members`, each with its own certificate and where it really listens."""
    records = [member(member_id, node.listen_port) for member_id, node in members.items()]
    for node in nodes:
        node.set_members(records)


@pytest.fixture
async def network() -> AsyncIterator[Network]:
    running = Network()
    yield running
    for node in running.nodes:
        await node.stop()


async def raw_client(port: int, who: LocalIdentity) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A TLS client that speaks as it likes."""
    return await asyncio.open_connection("127.0.0.1", port, ssl=make_contexts(who).client, server_hostname="")


async def drain(reader: asyncio.StreamReader) -> bytes:
    """Read until the other side is gone, however it went."""
    data = b""
    try:
        async with asyncio.timeout(PATIENCE_S):
            while piece := await reader.read(65_536):
                data += piece
    except (ConnectionError, ssl.SSLError):
        pass
    return data


# The normal case


async def test_four_members_form_a_full_mesh_with_one_connection_a_pair(network: Network) -> None:
    names = ("alice", "bob", "carol", "dave")
    nodes = [await network.add(identity(name)) for name in names]
    introduce([node for node, _ in nodes], {MemberId(name): node for name, (node, _) in zip(names, nodes, strict=True)})
    for (node, saw), name in zip(nodes, names, strict=True):
        await saw.until(lambda saw=saw: len(saw.connected) == 3)  # type: ignore[misc]
        assert len(node.links) == 3
        assert [(peer.member_id, peer.direction) for peer in node.peers()] == [
            (other, "out" if name < other else "in") for other in names if other != name
        ]
    message = Status(Height(6), BlockHash(bytes(32)))
    assert nodes[0][0].broadcast(message) == 3
    assert nodes[0][0].broadcast(message, skip=BOB) == 2
    for _, saw in nodes[2:]:
        await saw.until(lambda saw=saw: saw.messages == [(ALICE, message)] * 2)  # type: ignore[misc]
    assert nodes[1][1].messages == [(ALICE, message)]


async def test_messages_of_all_sizes_arrive_in_order_and_are_counted(network: Network) -> None:
    alice, _, bob, bob_saw = await network.pair()
    sent: list[Application] = [
        Consensus(b"vote"),
        Transactions((b"a" * 300,) * 1_000),
        Blocks((bytes(2**20),) * 7),
        GetBlocks(Height(1), 100),
    ]
    for message in sent:
        assert alice.send(BOB, message)
    await bob_saw.until(lambda: len(bob_saw.messages) == len(sent))
    assert {message for _, message in bob_saw.messages} == set(sent)
    await eventually(lambda: alice.peers()[0].rtt_ms is not None)
    (info,) = alice.peers()
    (mirror,) = bob.peers()
    assert info.connected
    assert info.connected_since_ms == 1_700_000_000_000
    assert info.height == 5
    assert info.bytes_out > 7 * 2**20
    assert mirror.bytes_in > 7 * 2**20
    assert info.rtt_ms is not None
    assert not alice.send(CAROL, Consensus(b"nobody"))


async def test_small_messages_do_not_wait_for_the_kernel(network: Network) -> None:
    """Nagle's algorithm is off at both ends: a vote after a vote leaves at once."""
    alice, _, bob, _ = await network.pair()
    for link in alice.links | bob.links:
        assert link._wire is not None
        assert link._wire.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


async def test_consensus_overtakes_a_backlog_of_gossip_and_blocks(network: Network) -> None:
    """With the socket full, what is urgent does not wait behind what is large."""
    alice, _, _, bob_saw = await network.pair()
    for _ in range(3):
        assert alice.send(BOB, Blocks((bytes(2**20),) * 7))
    assert alice.send(BOB, Transactions((b"gossip",)))
    assert alice.send(BOB, Consensus(b"vote"))
    await bob_saw.until(lambda: len(bob_saw.messages) == 5)
    kinds = [type(message) for _, message in bob_saw.messages]
    assert kinds.index(Consensus) < kinds.index(Transactions) < 4
    assert kinds[-1] is Blocks


# Who does not get in


async def test_a_stranger_at_the_listener_is_logged_and_nothing_else_happens(network: Network) -> None:
    alice, alice_saw, bob, bob_saw = await network.pair()
    with capture_logs() as logs:
        reader, writer = await raw_client(bob.listen_port, identity("mallory"))
        assert await drain(reader) == b"", "a stranger is told nothing"
        await eventually(lambda: bob.strangers_refused == 1)
    writer.close()
    (line,) = [entry for entry in logs if entry["event"] == "p2p.stranger_refused"]
    assert line["log_level"] == "warning"
    assert line["remote"].startswith("127.0.0.1:")
    assert "certificate not trusted" in line["reason"]
    assert bob.send(ALICE, Consensus(b"still here"))
    await alice_saw.until(lambda: alice_saw.messages == [(BOB, Consensus(b"still here"))])
    assert bob_saw.disconnected == []
    assert alice.strangers_refused == 0


async def test_a_certificate_signed_by_a_member_is_no_member(network: Network) -> None:
    """Members are not authorities, and a name proves nothing: same common name, another key."""
    _, _, bob, _ = await network.pair()
    certificate, key = make_certificate(hashlib.sha256(b"other").digest(), "alice")
    reader, writer = await raw_client(bob.listen_port, LocalIdentity(ALICE, certificate, key))
    assert await drain(reader) == b""
    writer.close()
    await eventually(lambda: bob.strangers_refused == 1)


@pytest.mark.parametrize(
    ("greeting", "reason"), [(b"GET / HTTP/1.1\r\nHost: node\r\n\r\n", "HTTP"), (b"\x00" * 64, "TLS"), (b"", "closed during")]
)
async def test_what_is_not_tls_is_refused_with_a_reason(network: Network, greeting: bytes, reason: str) -> None:
    bob, _ = await network.add(identity("bob"))
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection("127.0.0.1", bob.listen_port)
        writer.write(greeting)
        writer.write_eof()
        await drain(reader)
        await eventually(lambda: bob.strangers_refused == 1)
    writer.close()
    assert [reason in entry["reason"] for entry in logs if entry["event"] == "p2p.stranger_refused"] == [True]


async def test_tls_1_2_is_refused(network: Network) -> None:
    _, _, bob, _ = await network.pair()
    context = make_contexts(identity("alice")).client
    context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_2
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncio.open_connection("127.0.0.1", bob.listen_port, ssl=context, server_hostname="")
    await eventually(lambda: bob.strangers_refused == 1)


async def test_a_flood_of_strangers_is_logged_in_a_few_lines_and_keeps_nobody_out(network: Network) -> None:
    """Silent sockets hold every handshake slot: the oldest give way, and a member still gets in at once."""
    limits = replace(LIMITS, max_pending_handshakes=4, stranger_logs_per_s=0.01)  # few however long it takes
    bob, bob_saw = await network.add(identity("bob"), limits=limits)
    with capture_logs() as logs:
        silent = [await asyncio.open_connection("127.0.0.1", bob.listen_port) for _ in range(20)]
        alice, _ = await network.add(identity("alice"))
        introduce((alice, bob), {ALICE: alice, BOB: bob})
        await bob_saw.until(lambda: bob_saw.connected == [ALICE])
        assert bob.strangers_refused >= 16
        assert await drain(silent[0][0]) == b"", "who gave way is cut off"
    assert len([entry for entry in logs if entry["event"] == "p2p.stranger_refused"]) <= 7
    for _, writer in silent:
        writer.close()


async def test_a_silent_socket_is_dropped_after_the_handshake_timeout(network: Network) -> None:
    bob, _ = await network.add(identity("bob"), limits=replace(LIMITS, handshake_timeout_ms=100))
    with capture_logs() as logs:
        reader, writer = await asyncio.open_connection("127.0.0.1", bob.listen_port)
        assert await drain(reader) == b""
        await eventually(lambda: bob.strangers_refused == 1)
    writer.close()
    assert "no TLS handshake in time" in logs[-1]["reason"]


async def test_another_member_at_a_members_address_is_refused(network: Network) -> None:
    alice, alice_saw = await network.add(identity("alice"))
    carol, carol_saw = await network.add(identity("carol"))
    introduce((alice, carol), {ALICE: alice, BOB: carol, CAROL: carol})
    await alice_saw.until(lambda: CAROL in alice_saw.connected)
    await eventually(lambda: "wrong_address: member_id expected bob, got carol" in (alice.peers()[0].last_error or ""))
    assert BOB not in alice_saw.connected
    await carol_saw.until(lambda: carol_saw.connected == [ALICE])


async def test_a_wrong_genesis_names_the_field_on_both_sides(network: Network) -> None:
    other = bytes(32)
    with capture_logs() as logs:
        alice, alice_saw = await network.add(identity("alice"))
        bob, bob_saw = await network.add(identity("bob"), genesis_hash=other)
        introduce((alice, bob), {ALICE: alice, BOB: bob})
        for node in (alice, bob):
            await eventually(lambda node=node: node.peers()[0].last_error is not None)  # type: ignore[misc]
    for node, ours, theirs in ((alice, GENESIS, other), (bob, other, GENESIS)):
        error = node.peers()[0].last_error or ""
        assert f"genesis_hash expected 0x{ours.hex()}, got 0x{theirs.hex()}" in error
    assert {entry["peer"] for entry in logs if entry["event"] == "p2p.connect_failed"} == {ALICE, BOB}
    assert alice_saw.connected == bob_saw.connected == []


async def test_a_member_that_claims_to_be_another_is_refused(network: Network) -> None:
    """Alice's certificate, Carol's name."""
    bob, bob_saw = await network.add(identity("bob"))
    alice = replace(identity("alice"), member_id=MemberId("aaron"))
    liar, liar_saw = await network.add(alice)
    introduce((liar,), {BOB: bob})
    introduce((bob,), {ALICE: liar, MemberId("aaron"): liar})
    await eventually(lambda: "member_id expected alice, got aaron" in (liar.peers()[0].last_error or ""))
    assert liar_saw.connected == bob_saw.connected == []


@pytest.mark.parametrize(
    ("attack", "reason"),
    [
        (b"\x7f\xff\xff\xff\x07", "too_large: CONSENSUS frame"),
        (b"\x00\x00\x00\x01\xee\x00", "unknown frame type 238"),
        (encode_frame(FrameType.STATUS, b"\xc1"), "bad_encoding"),
        (encode(GetBlocks(Height(1), 1)) * (RULES[FrameType.GET_BLOCKS].frames_per_s * BURST_SECONDS + 50), "rate_limited"),
    ],
    ids=["oversized", "unknown", "garbage", "flood"],
)
async def test_a_member_that_misbehaves_is_cut_off_told_why_and_kept_away(network: Network, attack: bytes, reason: str) -> None:
    bob, bob_saw = await network.add(identity("bob"), limits=KEPT_AWAY)
    introduce((bob,), {ALICE: bob, BOB: bob})
    hello = encode(Hello(GENESIS, PROTOCOL_VERSION, ALICE, "test", Height(0)))
    reader, writer = await raw_client(bob.listen_port, identity("alice"))
    writer.write(hello + encode(Welcome()))
    await bob_saw.until(lambda: bob_saw.connected == [ALICE])
    writer.write(attack)
    heard = await drain(reader)
    assert reason.encode() in heard
    await bob_saw.until(lambda: bool(bob_saw.disconnected))
    assert reason in bob_saw.disconnected[0][1]
    writer.close()
    reader, writer = await raw_client(bob.listen_port, identity("alice"))
    assert await drain(reader) == b"", "not yet: the penalty runs"
    writer.close()
    assert bob.strangers_refused == 0


# An unknown certificate at a member's address: blocks only

NEW_BOB = replace(identity("new bob"), member_id=BOB)
TIP = Status(Height(6), BlockHash(bytes(32)))


def record(who: LocalIdentity, node: Transport) -> Member:
    """Return the member record of a node that shows this identity."""
    return replace(member(who.member_id, node.listen_port), certificate=who.certificate)


async def test_a_node_behind_a_rotation_gets_blocks_and_then_a_full_session(network: Network) -> None:
    """Alice knows Bob by his old certificate; what she learns from his blocks is what lets her know him again."""
    alice, alice_saw = await network.add(identity("alice"))
    bob, bob_saw = await network.add(NEW_BOB)
    introduce((bob,), {ALICE: alice})
    with capture_logs() as logs:
        introduce((alice,), {BOB: bob})
        await alice_saw.until(lambda: alice_saw.unproven == [(BOB, 5)])
        await bob_saw.until(lambda: bob_saw.connected == [ALICE])
    assert [entry["log_level"] for entry in logs if entry["event"] == "p2p.sync_only"] == ["warning"]
    for node in (alice, bob):
        (info,) = node.peers()
        assert (info.connected, info.sync_only) == (False, True)
        assert node.broadcast(Consensus(b"vote")) == node.broadcast(Transactions((b"gossip",))) == 0
    assert alice.broadcast(TIP) == 0
    assert bob.broadcast(TIP) == 1
    assert alice.send(BOB, GetBlocks(Height(6), 100))
    await bob_saw.until(lambda: bob_saw.messages == [(ALICE, GetBlocks(Height(6), 100))])
    assert bob.send(ALICE, Blocks((b"the rotation",)))
    await alice_saw.until(lambda: alice_saw.messages == [(BOB, Blocks((b"the rotation",)))])
    assert alice_saw.unproven == [(BOB, 5), (BOB, 6)], "its tip is no word of a member's"
    assert not alice_saw.connected
    assert not alice_saw.disconnected
    alice.set_members([record(NEW_BOB, bob)])
    await alice_saw.until(lambda: alice_saw.connected == [BOB])
    await bob_saw.until(lambda: bob_saw.connected == [ALICE, ALICE])
    assert alice.send(BOB, Consensus(b"vote"))
    assert bob.send(ALICE, Consensus(b"vote"))
    assert [peer.sync_only for peer in (*alice.peers(), *bob.peers())] == [False, False]


async def test_the_larger_id_dials_when_the_smaller_one_is_not_let_in(network: Network) -> None:
    """Bob is behind and does not know Alice's certificate: his listener must refuse her, so he goes to her."""
    limits = replace(LIMITS, reverse_first_ms=150)
    new_alice = replace(identity("new alice"), member_id=ALICE)
    alice, alice_saw = await network.add(new_alice, limits=limits)
    bob, bob_saw = await network.add(identity("bob"), limits=limits)
    introduce((alice, bob), {ALICE: alice, BOB: bob})
    await bob_saw.until(lambda: bob_saw.unproven == [(ALICE, 5)])
    assert bob.strangers_refused > 0
    bob.set_members([record(new_alice, alice)])
    await bob_saw.until(lambda: bob_saw.connected == [ALICE])
    await alice_saw.until(lambda: alice_saw.connected[-1:] == [BOB] and alice.peers()[0].connected)


async def test_an_impostor_at_a_members_address_does_not_keep_the_member_out(network: Network) -> None:
    """It is asked for blocks and hears nothing; the member itself takes its place as soon as it comes."""
    limits = replace(LIMITS, reverse_first_ms=300)
    alice, alice_saw = await network.add(identity("alice"), limits=limits)
    mallory, mallory_saw = await network.add(replace(identity("mallory"), member_id=BOB))
    introduce((mallory,), {ALICE: alice})
    introduce((alice,), {BOB: mallory})
    await alice_saw.until(lambda: alice_saw.unproven == [(BOB, 5)])
    bob, bob_saw = await network.add(identity("bob"), limits=limits)
    introduce((bob,), {ALICE: alice})
    await alice_saw.until(lambda: alice_saw.connected == [BOB])
    await mallory_saw.until(lambda: bool(mallory_saw.disconnected))
    assert alice.send(BOB, Consensus(b"vote"))
    await bob_saw.until(lambda: bob_saw.messages == [(ALICE, Consensus(b"vote"))])
    assert mallory_saw.messages == []
    assert alice_saw.disconnected == []
    assert alice.peers()[0].direction == "in"
    assert alice.strangers_refused == 0


async def test_an_impostor_that_misbehaves_brings_no_penalty_on_the_member(network: Network) -> None:
    """Or it could keep the member out for ever, at a frame every few seconds."""

    async def lie(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(encode(Hello(GENESIS, PROTOCOL_VERSION, BOB, "test", Height(9))) + encode(Welcome()))
        await reader.readuntil(encode(Welcome(sync_only=True)))
        writer.write(encode(Consensus(b"lie")))
        await drain(reader)
        writer.close()

    server = await asyncio.start_server(lie, "127.0.0.1", 0, ssl=server_context(identity("mallory")))
    alice, alice_saw = await network.add(identity("alice"), limits=KEPT_AWAY)
    alice.set_members([member("bob", server.sockets[0].getsockname()[1])])
    await eventually(lambda: "a CONSENSUS frame is not expected here" in (alice.peers()[0].last_error or ""))
    assert alice_saw.unproven == [(BOB, 9)]
    _, writer = await raw_client(alice.listen_port, identity("bob"))
    writer.write(encode(Hello(GENESIS, PROTOCOL_VERSION, BOB, "test", Height(0))) + encode(Welcome()))
    await alice_saw.until(lambda: alice_saw.connected == [BOB])
    assert alice_saw.messages == []
    writer.close()
    server.close()


def server_context(who: LocalIdentity) -> ssl.SSLContext:
    """Return the context of a TLS server that shows this identity and lets anybody in."""
    context = make_contexts(who).server
    context.verify_mode = ssl.CERT_NONE
    return context


async def test_an_unproven_connection_is_given_up_when_the_member_moves(network: Network) -> None:
    alice, alice_saw = await network.add(identity("alice"))
    mallory, _ = await network.add(replace(identity("mallory"), member_id=BOB))
    bob, _ = await network.add(identity("bob"), limits=replace(LIMITS, reverse_first_ms=60_000, reverse_cap_ms=60_000))
    introduce((mallory, bob), {ALICE: alice})
    introduce((alice,), {BOB: mallory})
    await alice_saw.until(lambda: alice_saw.unproven == [(BOB, 5)])
    introduce((alice,), {BOB: bob})
    await alice_saw.until(lambda: alice_saw.connected == [BOB])


async def test_an_unproven_connection_is_made_anew_before_long(network: Network) -> None:
    """Who held the address for a moment does not keep the line: when the member is back it is found."""
    alice, alice_saw = await network.add(identity("alice"), limits=replace(LIMITS, sync_only_ms=200))
    mallory, mallory_saw = await network.add(replace(identity("mallory"), member_id=BOB))
    introduce((mallory,), {ALICE: alice})
    introduce((alice,), {BOB: mallory})
    await mallory_saw.until(lambda: len(mallory_saw.connected) == 3)
    assert len(alice_saw.unproven) >= 2


async def test_a_stranger_that_dials_gets_no_session_for_blocks(network: Network) -> None:
    """Only who dials may overlook a certificate."""
    alice, alice_saw = await network.add(identity("alice"))
    bob, bob_saw = await network.add(NEW_BOB, limits=replace(LIMITS, reverse_first_ms=50))
    introduce((bob,), {ALICE: alice})
    alice.set_members([member("bob", 9)])
    await eventually(lambda: alice.strangers_refused >= 2)
    assert [*alice_saw.connected, *bob_saw.connected, *alice_saw.unproven, *bob_saw.unproven] == []


# Coming and going


async def test_when_both_dial_one_connection_stays_and_it_is_the_same_on_both_sides(network: Network) -> None:
    limits = replace(LIMITS, reverse_first_ms=1, reverse_cap_ms=1)
    names = ("alice", "bob", "carol", "dave")
    nodes = [await network.add(identity(name), limits=limits) for name in names]
    everybody = [member(name, node.listen_port) for name, (node, _) in zip(names, nodes, strict=True)]
    for node, _ in reversed(nodes):
        node.set_members(everybody)
    await eventually(lambda: all(len(node.links) == 3 and all(peer.connected for peer in node.peers()) for node, _ in nodes))
    for node, _ in nodes:
        assert node.broadcast(TIP) == 3
    for node, saw in nodes:
        await saw.until(lambda saw=saw: len(saw.messages) == 3)  # type: ignore[misc]
        assert all(peer.last_error is None or peer.connected for peer in node.peers())


async def test_the_connection_that_the_smaller_id_dialled_stays(network: Network) -> None:
    """Both sides go by this, whichever of two they saw first: neither drops the one that the other keeps."""
    alice, alice_saw, bob, bob_saw = await network.pair()
    reader, writer = await raw_client(alice.listen_port, identity("bob"))
    writer.write(encode(Hello(GENESIS, PROTOCOL_VERSION, BOB, "test", Height(0))) + encode(Welcome()))
    assert b"duplicate: another connection with this member is open" in await drain(reader)
    writer.close()
    assert alice_saw.disconnected == bob_saw.disconnected == []
    assert [node.peers()[0].connected for node in (alice, bob)] == [True, True]
    assert alice.peers()[0].last_error is None


async def test_the_larger_id_dials_where_the_smaller_one_cannot(network: Network) -> None:
    alice, alice_saw = await network.add(identity("alice"))
    bob, _ = await network.add(identity("bob"), limits=replace(LIMITS, reverse_first_ms=100))
    alice.set_members([member("bob", 9)])
    introduce((bob,), {ALICE: alice})
    await alice_saw.until(lambda: alice_saw.connected == [BOB])
    assert [node.peers()[0].direction for node in (alice, bob)] == ["in", "out"]
    assert alice.peers()[0].connected


async def test_a_name_that_hangs_holds_up_its_own_member_only(network: Network, monkeypatch: pytest.MonkeyPatch) -> None:
    release, real = threading.Event(), socket.getaddrinfo

    def getaddrinfo(host: str, *args: object, **kwargs: object) -> object:
        if host == "hangs.example":
            release.wait(PATIENCE_S)
        return real("127.0.0.1", *args, **kwargs)  # type: ignore[arg-type]

    monkeypatch.setattr(socket, "getaddrinfo", getaddrinfo)
    alice, alice_saw = await network.add(identity("alice"), limits=replace(LIMITS, connect_timeout_ms=300))
    carol, _ = await network.add(identity("carol"))
    introduce((carol,), {ALICE: alice})
    away = replace(member("bob", 9), p2p_address="hangs.example:9")
    alice.set_members([away, replace(member("carol", 1), p2p_address=f"carol.example:{carol.listen_port}")])
    await alice_saw.until(lambda: alice_saw.connected == [CAROL])
    await eventually(lambda: "no answer yet from the name service for hangs.example" in (alice.peers()[0].last_error or ""))
    await alice.stop()
    release.set()


async def test_peers_find_each_other_again_after_a_restart(network: Network) -> None:
    alice, alice_saw, bob, bob_saw = await network.pair()
    await bob.stop()
    assert bob_saw.disconnected[0][0] == ALICE
    await alice_saw.until(lambda: len(alice_saw.disconnected) == 1)
    assert "stopping" in alice_saw.disconnected[0][1], "a clean stop says so"
    assert not alice.send(BOB, Consensus(b"nobody there"))
    again, again_saw = await network.add(identity("bob"), port=bob.listen_port)
    introduce((again,), {ALICE: alice})
    await alice_saw.until(lambda: alice_saw.connected == [BOB, BOB])
    assert alice.send(BOB, Consensus(b"welcome back"))
    await again_saw.until(lambda: again_saw.messages == [(ALICE, Consensus(b"welcome back"))])


async def test_a_dead_connection_is_replaced_by_the_peers_next_one(network: Network) -> None:
    """Alice's machine lost power: Bob still holds the old socket when she is back."""
    bob, bob_saw = await network.add(identity("bob"))
    introduce((bob,), {ALICE: bob})
    greeting = encode(Hello(GENESIS, PROTOCOL_VERSION, ALICE, "test", Height(0))) + encode(Welcome())
    writers = []
    for count in (1, 2):
        _, writer = await raw_client(bob.listen_port, identity("alice"))
        writer.write(greeting)
        writers.append(writer)
        await bob_saw.until(lambda count=count: len(bob_saw.connected) == count)  # type: ignore[misc]
    assert [reason.split(":")[0] for _, reason in bob_saw.disconnected] == ["replaced"]
    assert [peer.connected for peer in bob.peers()] == [True]
    for writer in writers:
        writer.close()


async def test_a_peer_that_falls_silent_is_given_up(network: Network) -> None:
    bob, bob_saw = await network.add(identity("bob"), limits=replace(LIMITS, idle_timeout_ms=300, handshake_timeout_ms=60_000))
    introduce((bob,), {ALICE: bob})
    reader, writer = await raw_client(bob.listen_port, identity("alice"))
    writer.write(encode(Hello(GENESIS, PROTOCOL_VERSION, ALICE, "test", Height(0))) + encode(Welcome()))
    heard = await drain(reader)
    assert b"idle_timeout" in heard
    await bob_saw.until(lambda: len(bob_saw.disconnected) == 1)
    writer.close()


async def test_a_peer_that_reads_nothing_is_given_up_when_consensus_no_longer_fits(network: Network) -> None:
    bob, bob_saw = await network.add(identity("bob"), limits=replace(LIMITS, outbox_bytes=2**20, shutdown_timeout_ms=200))
    introduce((bob,), {ALICE: bob})
    _, writer = await raw_client(bob.listen_port, identity("alice"))
    writer.write(encode(Hello(GENESIS, PROTOCOL_VERSION, ALICE, "test", Height(0))) + encode(Welcome()))
    await bob_saw.until(lambda: bob_saw.connected == [ALICE])
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    vote = Consensus(bytes(256 * 1024))
    sent = 0
    while bob.send(ALICE, vote):
        sent += 1
        assert sent < 1_000
    assert bob_saw.disconnected == [], "no callback from within a call"
    await bob_saw.until(lambda: bool(bob_saw.disconnected))
    assert bob_saw.disconnected[0][1].startswith("send_queue_full")
    writer.transport.abort()


async def test_a_removed_member_is_dropped_and_stays_out(network: Network) -> None:
    alice, alice_saw, bob, bob_saw = await network.pair()
    bob.set_members([member("bob", bob.listen_port)])
    await bob_saw.until(lambda: bool(bob_saw.disconnected))
    assert "no longer a member" in bob_saw.disconnected[0][1]
    await alice_saw.until(lambda: bool(alice_saw.disconnected))
    assert bob.peers() == ()
    with capture_logs() as logs:
        await eventually(lambda: bob.strangers_refused > 0)
    reasons = {entry["reason"] for entry in logs if entry["event"] == "p2p.stranger_refused"}
    assert reasons == {"certificate not trusted: of no member any more"}, "TLS still lets it pass, its bytes do not"
    introduce((bob,), {ALICE: alice})
    await bob_saw.until(lambda: bob_saw.connected == [ALICE, ALICE])


async def test_a_replaced_certificate_is_good_for_its_grace_period_only(network: Network) -> None:
    alice, _, bob, bob_saw = await network.pair()
    old = identity("alice").certificate
    new, _ = make_certificate(hashlib.sha256(b"alice, later").digest(), "alice")
    record = replace(member("alice", alice.listen_port), certificate=new)
    bob.set_members([record], {old: ALICE})
    assert bob.send(ALICE, Consensus(b"in grace"))
    bob.set_members([record])
    await bob_saw.until(lambda: bool(bob_saw.disconnected))


async def test_one_unreadable_certificate_does_not_stop_the_node(network: Network) -> None:
    alice, alice_saw = await network.add(identity("alice"))
    bob, _ = await network.add(identity("bob"))
    broken = replace(member("carol", 1), certificate=b"not a certificate")
    records = [member("alice", alice.listen_port), member("bob", bob.listen_port), broken]
    with capture_logs() as logs:
        for node in (alice, bob):
            node.set_members(records)
        await alice_saw.until(lambda: alice_saw.connected == [BOB])
    assert {entry["peer"] for entry in logs if entry["event"] == "p2p.certificate_unreadable"} == {CAROL}


@pytest.mark.parametrize(
    ("address", "reason"), [("nonsense", "host:port"), ("a..b:1", "label"), ("127.0.0.1:9", "connection refused")]
)
async def test_a_bad_address_is_told_and_tried_again_once_it_is_corrected(network: Network, address: str, reason: str) -> None:
    alice, alice_saw = await network.add(identity("alice"))
    alice.set_members([replace(member("bob", 1), p2p_address=address)])
    await eventually(lambda: reason in (alice.peers()[0].last_error or ""))
    bob, _ = await network.add(identity("bob"))
    introduce((alice, bob), {ALICE: alice, BOB: bob})
    await alice_saw.until(lambda: alice_saw.connected == [BOB])


async def test_a_node_can_drop_a_peer_and_keep_it_away(network: Network) -> None:
    _, alice_saw, bob, bob_saw = await network.pair()
    loop = asyncio.get_running_loop()
    began = loop.time()
    bob.disconnect(ALICE, "bad_signature: a forged vote")
    await alice_saw.until(lambda: bool(alice_saw.disconnected))
    assert "bad_signature: a forged vote" in alice_saw.disconnected[0][1]
    await bob_saw.until(lambda: bob_saw.connected == [ALICE, ALICE])
    assert loop.time() - began >= 0.9 * LIMITS.penalty_ms / 1_000


async def test_stop_leaves_no_task_no_socket_and_is_quick() -> None:
    """Open, half-open and dialling connections all end; the port is free again at once."""
    loop = asyncio.get_running_loop()
    network = Network()
    alice, _, bob, _ = await network.pair()
    introduce((alice,), {BOB: bob, CAROL: network.nodes[0]})
    alice.set_members([member("bob", bob.listen_port), member("carol", 9)])
    silent_reader, silent_writer = await asyncio.open_connection("127.0.0.1", alice.listen_port)
    began = loop.time()
    await alice.stop()
    await bob.stop()
    await bob.stop()
    assert loop.time() - began < LIMITS.handshake_timeout_ms / 1_000 / 2, "nothing is waited for"
    assert await drain(silent_reader) == b""
    silent_writer.close()
    await silent_writer.wait_closed()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert alice.links == bob.links == set()
    gc.collect()  # an unclosed socket or transport warns here, and warnings are errors
    for node in (alice, bob):
        with socket.create_server(("127.0.0.1", node.listen_port)):
            pass


async def test_stop_does_not_wait_for_a_peer_that_hangs(network: Network) -> None:
    bob, bob_saw = await network.add(identity("bob"), limits=replace(LIMITS, shutdown_timeout_ms=100))
    introduce((bob,), {ALICE: bob})
    _, writer = await raw_client(bob.listen_port, identity("alice"))
    writer.write(encode(Hello(GENESIS, PROTOCOL_VERSION, ALICE, "test", Height(0))) + encode(Welcome()))
    await bob_saw.until(lambda: bob_saw.connected == [ALICE])
    writer.transport.pause_reading()  # type: ignore[attr-defined]
    async with asyncio.timeout(LIMITS.idle_timeout_ms / 1_000 / 2):
        await bob.stop()
    assert bob.links == set()
    writer.transport.abort()


# Certificates


def test_a_certificate_is_made_again_from_its_seed_and_never_expires() -> None:
    certificate, key = make_certificate(bytes(32), "bank")
    assert (certificate, key) == make_certificate(bytes(32), "bank")
    assert certificate != make_certificate(bytes(31) + b"\x01", "bank")[0]
    parsed = x509.load_der_x509_certificate(certificate)
    assert b"99991231235959Z" in certificate
    assert parsed.not_valid_before_utc.year == 2000
    assert not parsed.extensions.get_extension_for_class(x509.BasicConstraints).value.ca


def test_a_key_may_stay_in_its_file(tmp_path: Path) -> None:
    who = identity("alice")
    path = tmp_path / "tls.key"
    assert isinstance(who.key, bytes)
    path.write_bytes(who.key)
    assert make_contexts(replace(who, key=path)).trust(()) == ()


def test_a_key_that_does_not_fit_its_certificate_says_so() -> None:
    with pytest.raises(BadEncodingError, match="certificate and key of alice do not fit"):
        make_contexts(replace(identity("alice"), key=identity("bob").key))


def test_contexts_demand_tls_1_3_and_the_listeners_a_known_certificate() -> None:
    contexts = make_contexts(identity("alice"))
    contexts.trust([identity("bob").certificate, identity("carol").certificate])
    for context in (contexts.server, contexts.client):
        assert context.minimum_version == context.maximum_version == ssl.TLSVersion.TLSv1_3
        assert not context.check_hostname
    assert contexts.server.verify_mode is ssl.CERT_REQUIRED
    assert contexts.server.cert_store_stats()["x509"] == 2
    assert contexts.server.num_tickets == 0


@pytest.mark.parametrize(
    ("error", "text"),
    [
        (ConnectionRefusedError(111, "x"), "connection refused: nothing listens there"),
        (TimeoutError(), "no answer in time"),
        (ConnectionAbortedError("x"), "no TLS handshake in time"),
        (ConnectionResetError(), "closed during the TLS handshake"),
        (OSError(113, "No route to host"), "OSError: [Errno 113] No route to host"),
        (OSError("x" * 1_000), "OSError: " + "x" * 191),
    ],
)
def test_failures_are_told_in_a_bounded_line(error: OSError, text: str) -> None:
    assert describe_failure(error) == text

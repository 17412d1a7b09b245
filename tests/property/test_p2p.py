"""For all bytes and all orders: decoders raise their own errors only, memory stays bounded, the send queue keeps its rules."""

import itertools
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from ledger.errors import BadEncodingError, InvalidInputError, TooLargeError
from ledger.state_parts import Fork, Leaves
from ledger.types import BlockHash, Height, MemberId, TxHash
from p2p.frames import HEADER_BYTES, Frame, FrameDecoder, FrameType, encode_frame
from p2p.handshake import PROTOCOL_VERSION, Terms
from p2p.limits import HANDSHAKE_LIMITS, RULES, SIZE_LIMITS, Limits, Priority
from p2p.messages import (
    Blocks,
    Bodies,
    Consensus,
    GetBlocks,
    GetBodies,
    Hello,
    Message,
    Ping,
    Pong,
    Reject,
    Status,
    Transactions,
    Welcome,
    decode,
    encode,
)
from p2p.outbox import CHUNK_BYTES, Outbox, Put
from p2p.session import Closed, Session
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State

hashes = st.binary(min_size=32, max_size=32)
heights = st.integers(0, 2**53).map(Height)
lines = st.text(max_size=32).filter(str.isprintable)
raws = st.lists(st.binary(max_size=400), max_size=20).map(tuple)
block_heights = st.integers(1, 2**53).map(Height)
paths = st.lists(st.integers(0, 15), max_size=64).map(bytes)
pairs = st.tuples(st.binary(max_size=40), st.binary(max_size=40))
forks = st.integers(0, 2**16 - 1).map(lambda bitmap: Fork(bitmap, bytes(32 * bitmap.bit_count())))
parts = st.one_of(st.none(), forks, st.lists(pairs, max_size=20).map(tuple).map(Leaves))
messages: st.SearchStrategy[Message] = st.one_of(
    st.builds(Hello, hashes, st.integers(0, 2**16), lines.map(MemberId), lines, heights),
    st.just(Welcome()),
    st.builds(Reject, lines, lines, lines, lines),
    st.builds(Ping, st.integers(0, 2**64 - 1)),
    st.builds(Pong, st.integers(0, 2**64 - 1)),
    st.builds(Status, heights, hashes.map(BlockHash), heights, heights),
    st.builds(Consensus, st.binary(max_size=2_000)),
    st.builds(Transactions, raws),
    st.builds(GetBodies, hashes.map(BlockHash), st.lists(hashes.map(TxHash), max_size=20).map(tuple)),
    st.builds(Bodies, hashes.map(BlockHash), raws),
    st.builds(GetBlocks, block_heights, st.integers(1, 100)),
    st.builds(Blocks, raws),
    st.builds(GetSnapshot, block_heights, block_heights),
    st.builds(Snapshot, block_heights, st.binary(max_size=400), raws),
    st.builds(GetHistory, block_heights, st.integers(1, 100)),
    st.builds(History, block_heights, st.lists(pairs, max_size=20).map(tuple)),
    st.builds(GetState, block_heights, paths),
    st.builds(State, block_heights, paths, parts),
)


def pieces(data: bytes, cuts: list[int]) -> Iterator[bytes]:
    """Cut `data` at `cuts`."""
    borders = sorted({min(cut, len(data)) for cut in cuts} | {0, len(data)})
    for start, end in itertools.pairwise(borders):
        yield data[start:end]


@given(st.lists(messages, max_size=6), st.lists(st.integers(0, 10_000), max_size=10))
def test_any_messages_cut_anywhere_come_out_the_same(sent: list[Message], cuts: list[int]) -> None:
    decoder = FrameDecoder(SIZE_LIMITS)
    data = b"".join(encode(message) for message in sent)
    assert [decode(frame) for piece in pieces(data, cuts) for frame in decoder.feed(piece)] == sent
    assert decoder.buffered_bytes == 0


@given(st.lists(st.binary(max_size=5_000), max_size=10))
def test_random_bytes_raise_only_the_decoders_own_errors_and_are_not_hoarded(chunks: list[bytes]) -> None:
    decoder = FrameDecoder(HANDSHAKE_LIMITS)
    bound = HEADER_BYTES + max(HANDSHAKE_LIMITS.values())
    for chunk in chunks:
        try:
            decoder.feed(chunk)
        except (BadEncodingError, TooLargeError):
            break
        assert decoder.buffered_bytes < bound


@given(st.sampled_from(FrameType), st.binary(max_size=200))
def test_random_payloads_raise_only_input_errors(kind: FrameType, payload: bytes) -> None:
    try:
        message = decode(Frame(kind, payload))
    except InvalidInputError:
        return
    assert encode(message) == encode_frame(kind, payload), "what is accepted has this one encoding"


@given(
    st.lists(
        st.one_of(
            st.binary(max_size=100),
            messages.map(encode),
            st.builds(encode_frame, st.sampled_from(FrameType), st.binary(max_size=50)),
        ),
        max_size=12,
    )
)
def test_a_session_survives_any_peer(chunks: list[bytes]) -> None:
    """Whatever comes, in whatever order: events or one Closed, never an exception, never an unbounded buffer."""
    bob = Session(Terms(bytes(32), MemberId("bob"), "v"), MemberId("alice"), None, Height(0), Limits(), 0)
    bob.receive(encode(Hello(bytes(32), PROTOCOL_VERSION, MemberId("alice"), "v", Height(0))) + encode(Welcome()), 0)
    ends = 0
    for now_ms, chunk in enumerate(chunks):
        events = bob.receive(chunk, now_ms)
        ends += sum(isinstance(event, Closed) for event in events)
        assert bob.buffered_bytes <= HEADER_BYTES + max(SIZE_LIMITS.values())
    assert ends == (bob.closed is not None)


@given(
    st.lists(
        st.one_of(st.none(), st.tuples(st.sampled_from(Priority), st.integers(0, 3 * CHUNK_BYTES))),
        max_size=60,
    )
)
def test_the_send_queue_keeps_its_rules(steps: list[tuple[Priority, int] | None]) -> None:
    """Bounded; urgent first; order within a kind; consensus never dropped once queued; sizes add up."""
    max_bytes, max_frames = 8 * CHUNK_BYTES, 20
    outbox = Outbox(max_bytes, max_frames)
    consensus: list[bytes] = []
    serial = 0
    for step in steps:
        if step is None:
            chunk = outbox.next_chunk()
            while consensus and chunk and chunk.startswith(consensus[0]):
                chunk = chunk[len(consensus.pop(0)) :]
            assert not (chunk and consensus), "nothing overtakes consensus"
            continue
        priority, size = step
        serial += 1
        frame = bytes([priority]) + serial.to_bytes(4, "big") + bytes(size)
        outcome = outbox.put(priority, frame)
        assert (outcome is Put.OVERFLOW) <= (priority is Priority.CONSENSUS)
        if priority is Priority.CONSENSUS and outcome is Put.QUEUED:
            consensus.append(frame)
        assert 0 <= outbox.bytes <= max_bytes
        assert 0 <= outbox.frames <= max_frames
    rest = 0
    while (chunk := outbox.next_chunk()) is not None:
        rest += len(chunk)
    assert outbox.bytes == outbox.frames == 0
    assert rest <= max_bytes


def test_limits_of_every_type_are_reachable() -> None:
    """A rule that a legal message cannot fit is a defect: the largest legal ones pass."""
    assert len(encode(GetBodies(BlockHash(bytes(32)), (TxHash(bytes(32)),) * 2_000))) < RULES[FrameType.GET_BODIES].max_bytes
    assert len(encode(Hello(bytes(32), 2**16, MemberId("m" * 32), "v" * 64, Height(2**53)))) < RULES[FrameType.HELLO].max_bytes
    assert len(encode(Reject(*("\U0001f697" * 256,) * 4))) < RULES[FrameType.REJECT].max_bytes
    status = Status(Height(2**53), BlockHash(bytes(32)), Height(2**53), Height(2**53))
    assert len(encode(status)) < RULES[FrameType.STATUS].max_bytes
    assert len(encode(GetState(Height(2**53), bytes(64)))) < RULES[FrameType.GET_STATE].max_bytes
    assert len(encode(GetSnapshot(Height(2**53), Height(2**53)))) < RULES[FrameType.GET_SNAPSHOT].max_bytes

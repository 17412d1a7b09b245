"""Frames, messages, rates and the send queue: what a peer may send, and what waits for it."""

import pytest

from ledger.codec import encode as encode_value
from ledger.errors import BadEncodingError, LimitError, TooLargeError
from ledger.state_parts import MAX_PART_KEYS, Fork, Leaves
from ledger.types import BlockHash, Height, MemberId, TxHash
from p2p.frames import HEADER_BYTES, Frame, FrameDecoder, FrameType, encode_frame
from p2p.handshake import parse_address
from p2p.limits import BURST_SECONDS, HANDSHAKE_LIMITS, MIB, RULES, SIZE_LIMITS, Backoff, Meter, Priority, TokenBucket
from p2p.messages import (
    BLOCKS_TARGET_BYTES,
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
    batch_transactions,
    decode,
    encode,
    fit_blocks,
)
from p2p.outbox import CHUNK_BYTES, Outbox, Put
from p2p.state_messages import (
    HISTORY_TARGET_BYTES,
    SNAPSHOT_TARGET_BYTES,
    GetHistory,
    GetSnapshot,
    GetState,
    History,
    Snapshot,
    State,
    fit_handovers,
    fit_history,
)

HASH = BlockHash(bytes(range(32)))

MESSAGES: tuple[Message, ...] = (
    Hello(bytes(32), 1, MemberId("bank"), "datacar 0.1.0", Height(7)),
    Welcome(),
    Reject("wrong_chain", "genesis_hash", "0x00", "0x01"),
    Ping(2**64 - 1),
    Pong(0),
    Status(Height(9), HASH, Height(4), Height(8)),
    Consensus(b"\x93\x01\x02\x03"),
    Transactions((b"a", b"b" * 300)),
    GetBodies(HASH, (TxHash(bytes(32)),)),
    Bodies(HASH, (b"raw",)),
    GetBlocks(Height(1), 100),
    Blocks((b"block 1", b"block 2")),
    GetSnapshot(Height(8), Height(1)),
    Snapshot(Height(8), b"certificate", (b"handover 1", b"handover 2")),
    GetHistory(Height(3), 100),
    History(Height(3), ((b"certificate", b"receipts"),)),
    GetState(Height(8), b"\x00\x0f"),
    State(Height(8), b"", Fork(5, bytes(64))),
)


@pytest.mark.parametrize("message", MESSAGES, ids=lambda message: message.type.name)
def test_every_message_survives_the_wire_byte_by_byte(message: Message) -> None:
    decoder = FrameDecoder(SIZE_LIMITS)
    frames = [frame for byte in encode(message) for frame in decoder.feed(bytes([byte]))]
    assert [decode(frame) for frame in frames] == [message]
    assert decoder.buffered_bytes == 0


def test_every_type_has_a_message_and_a_rule() -> None:
    assert {message.type for message in MESSAGES} == set(FrameType) == set(RULES)


def test_a_frame_is_length_type_payload() -> None:
    """The bytes other implementations must produce."""
    assert encode(Ping(5)) == b"\x00\x00\x00\x01\x04\x05"


def test_an_oversized_frame_is_refused_from_its_header_alone() -> None:
    """Nothing of the payload is needed, and none of it is kept."""
    header = encode_frame(FrameType.TRANSACTIONS, b"")[4:]
    decoder = FrameDecoder(SIZE_LIMITS)
    with pytest.raises(TooLargeError) as caught:
        decoder.feed((MIB + 1).to_bytes(4, "big") + header)
    assert caught.value.details == {"limit": MIB, "got": MIB + 1}
    assert FrameDecoder(SIZE_LIMITS).feed(MIB.to_bytes(4, "big") + header) == []


def test_an_unknown_or_early_type_is_refused() -> None:
    with pytest.raises(BadEncodingError, match="unknown frame type 99"):
        FrameDecoder(SIZE_LIMITS).feed(b"\x00\x00\x00\x00\x63")
    with pytest.raises(BadEncodingError, match="CONSENSUS frame is not expected"):
        FrameDecoder(HANDSHAKE_LIMITS).feed(encode(Consensus(b"early")))


def test_frames_around_a_chunk_border_come_out_whole() -> None:
    frame = encode(Consensus(b"x" * 100))
    decoder = FrameDecoder(SIZE_LIMITS)
    assert len(decoder.feed(frame * 2 + frame[:-1])) == 2
    assert decoder.buffered_bytes == len(frame) - 1
    assert decoder.feed(frame[-1:]) == [Frame(FrameType.CONSENSUS, frame[HEADER_BYTES:])]


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (FrameType.HELLO, (bytes(31), 1, "a", "v", 0)),
        (FrameType.HELLO, (bytes(32), 1, "a\n", "v", 0)),
        (FrameType.HELLO, (bytes(32), 1, "a", "v")),
        (FrameType.WELCOME, None),
        (FrameType.WELCOME, 1),
        (FrameType.REJECT, ("why\x1b[31m", "", "", "")),
        (FrameType.PING, -1),
        (FrameType.STATUS, (1, b"short", 0, 0)),
        (FrameType.STATUS, (1, bytes(32))),
        (FrameType.STATUS, (1, bytes(32), 0, -1)),
        (FrameType.CONSENSUS, "text"),
        (FrameType.TRANSACTIONS, (b"a",) * 1_001),
        (FrameType.TRANSACTIONS, (b"a" * (64 * 1024 + 1),)),
        (FrameType.GET_BODIES, (bytes(32), (bytes(32),) * 2_001)),
        (FrameType.BODIES, (bytes(32), ("text",))),
        (FrameType.GET_BLOCKS, (0, 1)),
        (FrameType.GET_BLOCKS, (1, 0)),
        (FrameType.GET_BLOCKS, (1, 101)),
        (FrameType.BLOCKS, (1,)),
        (FrameType.GET_SNAPSHOT, (0, 1)),
        (FrameType.GET_SNAPSHOT, (1, 0)),
        (FrameType.SNAPSHOT, (1, b"", (b"",) * 1_001)),
        (FrameType.GET_HISTORY, (1, 101)),
        (FrameType.GET_HISTORY, (1, 0)),
        (FrameType.HISTORY, (1, ((b"certificate",),))),
        (FrameType.HISTORY, (1, ((b"", b""),) * 101)),
        (FrameType.GET_STATE, (1, b"\x10")),
        (FrameType.GET_STATE, (1, bytes(65))),
        (FrameType.STATE, (1, b"", (1, b""))),
        (FrameType.STATE, (1, b"", ((b"key",),))),
    ],
)
def test_values_outside_the_rules_are_refused(kind: FrameType, value: object) -> None:
    with pytest.raises((BadEncodingError, TooLargeError)):
        decode(Frame(kind, encode_value(value)))  # type: ignore[arg-type]


@pytest.mark.parametrize("part", [Leaves(((b"key", b"value"),)), Leaves(((b"", b""),) * MAX_PART_KEYS), Leaves(()), None])
def test_a_part_of_any_kind_passes(part: Leaves | None) -> None:
    """The largest number of keys that a part may have is within the bound on a frame's values."""
    frame = encode(State(Height(1), b"", part))
    assert decode(Frame(FrameType.STATE, frame[HEADER_BYTES:])) == State(Height(1), b"", part)


def test_answers_of_state_sync_are_cut_to_fit() -> None:
    """One item at least, so that the asker gets on; what no frame can carry is as if it were not held."""
    item = (b"certificate", bytes(HISTORY_TARGET_BYTES // 3))
    assert len(fit_history(Height(1), [item] * 10).items) == 2
    assert len(fit_history(Height(1), [(b"", bytes(HISTORY_TARGET_BYTES * 2))] * 2).items) == 1
    assert fit_history(Height(1), [(b"", bytes(RULES[FrameType.HISTORY].max_bytes))]).items == ()
    assert len(fit_history(Height(1), [(b"", b"")] * 200).items) == 100
    encode(fit_history(Height(1), [(b"", bytes(RULES[FrameType.HISTORY].max_bytes - 32))]))
    assert len(fit_handovers([bytes(SNAPSHOT_TARGET_BYTES // 3)] * 9)) == 2
    assert len(fit_handovers([bytes(SNAPSHOT_TARGET_BYTES + 1)] * 2)) == 1
    assert len(fit_handovers([b""] * 2_000)) == 1_000


def test_a_payload_that_is_not_canonical_is_refused() -> None:
    with pytest.raises(BadEncodingError, match="not canonical"):
        decode(Frame(FrameType.PING, b"\xcc\x05"))


@pytest.mark.parametrize("kind", [FrameType.BLOCKS, FrameType.TRANSACTIONS, FrameType.BODIES, FrameType.CONSENSUS])
def test_a_large_frame_of_tiny_values_is_refused_before_it_is_decoded(kind: FrameType) -> None:
    """8 MiB of empty arrays took 1.8 s to decode: a member could hold up every other's consensus."""
    count = RULES[kind].max_bytes - 5
    with pytest.raises(BadEncodingError, match="exceeds max_array_len"):
        decode(Frame(kind, b"\xdd" + count.to_bytes(4, "big") + b"\x90" * count))


@pytest.mark.parametrize("count", [15, 16, 0xC4, 0xC5, 0xC6, 1_000])
@pytest.mark.parametrize("size", [0xC4, 0xDC, 400, 0xC4C5])
def test_the_largest_honest_batches_pass(count: int, size: int) -> None:
    """Counts and sizes whose bytes look like msgpack headers themselves."""
    (batch, *_) = batch_transactions([b"\xc6" * size] * count)
    frames = FrameDecoder(SIZE_LIMITS).feed(encode(batch))
    assert [decode(frame) for frame in frames] == [batch]


def test_the_largest_honest_bodies_pass() -> None:
    bodies = Bodies(HASH, (b"\xdd" * 500,) * 2_000)
    assert [decode(frame) for frame in FrameDecoder(SIZE_LIMITS).feed(encode(bodies))] == [bodies]


def test_encoding_more_than_the_limit_raises() -> None:
    with pytest.raises(TooLargeError):
        encode(Consensus(bytes(2 * MIB)))


def test_transaction_batches_fill_frames_in_order() -> None:
    raws = [bytes([index % 251]) * 60_000 for index in range(40)] + [b"small"] * 2_500
    batches = list(batch_transactions(raws))
    assert [raw for batch in batches for raw in batch.raws] == raws
    assert all(len(encode(batch)) <= MIB + HEADER_BYTES for batch in batches)
    assert len(batches) <= 6
    assert list(batch_transactions([])) == []


def test_block_answers_stay_near_the_target_but_carry_one() -> None:
    assert fit_blocks([bytes(3 * MIB), b"next"]).items == (bytes(3 * MIB),)
    assert len(fit_blocks([bytes(BLOCKS_TARGET_BYTES // 4)] * 10).items) == 4
    assert len(fit_blocks([b"tiny"] * 500).items) == 100
    assert fit_blocks([]).items == ()


@pytest.mark.parametrize(
    ("text", "expected"),
    [("node1.example:26656", ("node1.example", 26656)), ("[::1]:80", ("::1", 80)), ("10.0.0.1:1", ("10.0.0.1", 1))],
)
def test_addresses(text: str, expected: tuple[str, int]) -> None:
    assert parse_address(text) == expected


@pytest.mark.parametrize("text", ["", "host", "host:", ":1", "host:0", "host:65536", "host:-1", "::1:80", "[host]:1", "host:²"])
def test_bad_addresses_are_refused(text: str) -> None:
    with pytest.raises(BadEncodingError):
        parse_address(text)


# Rates


def test_a_token_bucket_allows_its_burst_then_its_rate() -> None:
    bucket = TokenBucket(rate_per_s=10, burst=5, now_ms=1_000)
    assert [bucket.take(1, 1_000) for _ in range(6)] == [True] * 5 + [False]
    assert bucket.wait_ms(1) == pytest.approx(100)
    assert bucket.take(1, 1_100)
    assert not bucket.take(1, 1_100)
    assert not bucket.take(6, 99_000), "the level never exceeds the burst"


def test_the_meter_names_the_rate_that_was_exceeded() -> None:
    meter = Meter(0)
    for _ in range(RULES[FrameType.PING].frames_per_s * BURST_SECONDS):
        meter.charge(FrameType.PING, 1, 0)
    with pytest.raises(LimitError, match="more than 10 frames of PING a second") as caught:
        meter.charge(FrameType.PING, 1, 0)
    assert caught.value.reason == "rate_limited"
    meter.charge(FrameType.PING, 1, 1_000)
    meter.charge(FrameType.PONG, 1, 0)  # each type has its own


def test_honest_load_passes_the_meter() -> None:
    """5,000 transactions/s of 300 bytes one by one, and 256 members' votes re-sent every 500 ms, for a minute."""
    meter = Meter(0)
    for now_ms in range(0, 60_000, 500):
        for _ in range(2_500):
            meter.charge(FrameType.TRANSACTIONS, 305, now_ms)
        for _ in range(3 * 256):
            meter.charge(FrameType.CONSENSUS, 200, now_ms)


@pytest.mark.parametrize("kind", FrameType)
def test_the_largest_frame_fits_its_rate(kind: FrameType) -> None:
    Meter(0).charge(kind, RULES[kind].max_bytes, 0)


def test_backoff_doubles_to_its_cap_with_jitter_by_key() -> None:
    delays = {key: [Backoff(key, 50, 1_000).next_ms()] for key in ("a|b", "a|c")}
    for key in delays:
        backoff = Backoff(key, 50, 1_000)
        delays[key] = [backoff.next_ms() for _ in range(100)]
        for attempt, delay in enumerate(delays[key]):
            full = min(1_000, 50 << attempt)
            assert 0.75 * full <= delay <= full
        backoff.reset()
        assert backoff.next_ms() == delays[key][0]
    assert delays["a|b"] != delays["a|c"]


# The send queue


def test_urgent_frames_overtake_and_order_within_a_kind_stays() -> None:
    outbox = Outbox(1_000_000, 100)
    for priority in (Priority.SYNC, Priority.GOSSIP, Priority.BODIES, Priority.CONSENSUS):
        outbox.put(priority, priority.name[:1].encode() + b"1")
        outbox.put(priority, priority.name[:1].encode() + b"2")
    assert outbox.next_chunk() == b"C1C2B1B2G1G2S1S2"
    assert outbox.next_chunk() is None
    assert outbox.bytes == outbox.frames == 0


def test_chunks_are_small_unless_one_frame_is_large() -> None:
    outbox = Outbox(10_000_000, 100)
    large = bytes(3 * CHUNK_BYTES)
    outbox.put(Priority.SYNC, large)
    for _ in range(3):
        outbox.put(Priority.CONSENSUS, bytes(CHUNK_BYTES // 2))
    assert [len(outbox.next_chunk() or b"") for _ in range(3)] == [CHUNK_BYTES, CHUNK_BYTES // 2, len(large)]


def test_a_full_queue_drops_the_newest_of_the_least_urgent() -> None:
    outbox = Outbox(10, 100)
    assert outbox.put(Priority.SYNC, b"s1") is Put.QUEUED
    assert outbox.put(Priority.GOSSIP, b"g1") is Put.QUEUED
    assert outbox.put(Priority.GOSSIP, b"g2") is Put.QUEUED
    assert outbox.put(Priority.CONSENSUS, b"cccc") is Put.QUEUED
    assert outbox.put(Priority.SYNC, b"s2") is Put.DROPPED
    assert outbox.put(Priority.CONSENSUS, b"CCC") is Put.QUEUED
    assert outbox.next_chunk() == b"ccccCCCg1"
    assert outbox.dropped == 3


def test_consensus_never_drops_in_silence() -> None:
    outbox = Outbox(100, 2)
    assert outbox.put(Priority.CONSENSUS, b"a") is Put.QUEUED
    assert outbox.put(Priority.CONSENSUS, b"b") is Put.QUEUED
    assert outbox.put(Priority.CONSENSUS, b"c") is Put.OVERFLOW
    assert outbox.next_chunk() == b"ab"

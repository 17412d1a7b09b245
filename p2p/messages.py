"""The messages members exchange, one frozen class for each frame type.

Consensus messages, transactions and blocks pass through as raw bytes: whoever made them encoded them once, and whoever needs
them decodes them once. `encode` gives whole frames; `decode` takes what `FrameDecoder` cut out.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self, TypeAlias

from ledger.block import MAX_BLOCK_TRANSACTIONS, as_tx_hashes
from ledger.codec import INT_MAX, Value, as_bool, as_bytes, as_int, as_str, as_tuple, encode_trusted, fields
from ledger.codec import decode as decode_value
from ledger.errors import BadEncodingError, TooLargeError
from ledger.hashing import HASH_BYTES, ZERO_HASH
from ledger.transaction import MAX_TRANSACTION_BYTES
from ledger.types import BlockHash, Height, MemberId, TxHash
from p2p.frames import Frame, FrameType, encode_frame
from p2p.limits import MAX_BLOCKS_COUNT, MAX_GOSSIP_TRANSACTIONS, MAX_HEIGHT, MIB, RULES
from p2p.state_messages import MAX_STATE_VALUES, GetHistory, GetSnapshot, GetState, History, Snapshot, State

MAX_TEXT_CHARS: Final = 256

_ARRAY_HEADER_BYTES: Final = 5
_BIN_HEADER_BYTES: Final = 5

# No message has more values than Bodies or State. The bound keeps a frame of millions of tiny values cheap.
_MAX_VALUES: Final = max(MAX_BLOCK_TRANSACTIONS + 4, MAX_STATE_VALUES)

GENESIS_HEIGHT: Final = Height(0)
NO_HASH: Final = BlockHash(ZERO_HASH)

# What an answer should carry: a larger frame, once begun, holds up the consensus messages behind it.
BLOCKS_TARGET_BYTES: Final = MIB


@dataclass(frozen=True, slots=True)
class Hello:
    """The first frame from each side. Its five fields stay in every protocol version, so that a mismatch can be named."""

    type: ClassVar[FrameType] = FrameType.HELLO

    genesis_hash: bytes
    protocol_version: int
    member_id: MemberId
    software_version: str
    height: Height

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.genesis_hash, self.protocol_version, self.member_id, self.software_version, self.height)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        genesis_hash, protocol_version, member_id, software_version, height = fields(value, 5, "Hello")
        return cls(
            as_bytes(genesis_hash, "genesis hash", size=HASH_BYTES),
            as_int(protocol_version, "protocol version", high=2**16),
            MemberId(_as_line(member_id, "member id", max_chars=32)),
            _as_line(software_version, "software version", max_chars=64),
            _as_height(height),
        )


@dataclass(frozen=True, slots=True)
class Welcome:
    """The answer to a Hello that fits: the sender will now take every message, or Status and Blocks only (`sync_only`)."""

    type: ClassVar[FrameType] = FrameType.WELCOME

    sync_only: bool = False

    def to_value(self) -> Value:
        """Return the canonical form."""
        return self.sync_only

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        return cls(as_bool(value, "Welcome's sync_only"))


@dataclass(frozen=True, slots=True)
class Reject:
    """The last frame before the sender closes: why, and for a mismatch the field that differs with both values as text."""

    type: ClassVar[FrameType] = FrameType.REJECT

    reason: str
    field: str = ""
    expected: str = ""
    got: str = ""

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.reason, self.field, self.expected, self.got)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        return cls(*(_as_line(item, "Reject text") for item in fields(value, 4, "Reject")))

    def __str__(self) -> str:
        return f"{self.reason}: {self.field} expected {self.expected}, got {self.got}" if self.field else self.reason


@dataclass(frozen=True, slots=True)
class Ping:
    """Asks for a Pong with the same nonce."""

    type: ClassVar[FrameType] = FrameType.PING

    nonce: int

    def to_value(self) -> Value:
        """Return the canonical form."""
        return self.nonce

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        return cls(as_int(value, "ping nonce", high=INT_MAX))


@dataclass(frozen=True, slots=True)
class Pong:
    """Answers the Ping of this nonce."""

    type: ClassVar[FrameType] = FrameType.PONG

    nonce: int

    def to_value(self) -> Value:
        """Return the canonical form."""
        return self.nonce

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        return cls(as_int(value, "pong nonce", high=INT_MAX))


@dataclass(frozen=True, slots=True)
class Status:
    """The sender's tip after a commit, and what it can serve: blocks from `bodies_from` on, the snapshot of a height (0: none).

    A hint only: nothing is believed without a certificate.
    """

    type: ClassVar[FrameType] = FrameType.STATUS

    height: Height
    block_hash: BlockHash
    bodies_from: Height = GENESIS_HEIGHT
    snapshot: Height = GENESIS_HEIGHT

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.height, self.block_hash, self.bodies_from, self.snapshot)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        height, block_hash, bodies_from, snapshot = fields(value, 4, "Status")
        return cls(_as_height(height), _as_block_hash(block_hash), _as_height(bodies_from), _as_height(snapshot))


@dataclass(frozen=True, slots=True)
class Consensus:
    """The canonical bytes of one signed consensus message; only the consensus package reads them."""

    type: ClassVar[FrameType] = FrameType.CONSENSUS

    payload: bytes = field(repr=False)

    def to_value(self) -> Value:
        """Return the canonical form."""
        return self.payload

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        return cls(as_bytes(value, "consensus message"))


@dataclass(frozen=True, slots=True)
class Transactions:
    """A gossip batch of raw transactions: at most 1,000 and 1 MiB (`batch_transactions` cuts any list so)."""

    type: ClassVar[FrameType] = FrameType.TRANSACTIONS

    raws: tuple[bytes, ...] = field(repr=False)

    def to_value(self) -> Value:
        """Return the canonical form."""
        return self.raws

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        return cls(_as_raws(value, MAX_GOSSIP_TRANSACTIONS))


@dataclass(frozen=True, slots=True)
class GetBodies:
    """Asks for the transactions of a proposed block that the sender lacks, by hash."""

    type: ClassVar[FrameType] = FrameType.GET_BODIES

    block_hash: BlockHash
    tx_hashes: tuple[TxHash, ...]

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.block_hash, self.tx_hashes)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        block_hash, tx_hashes = fields(value, 2, "GetBodies")
        return cls(_as_block_hash(block_hash), as_tx_hashes(tx_hashes))


@dataclass(frozen=True, slots=True)
class Bodies:
    """Answers GetBodies with those raw transactions the sender has."""

    type: ClassVar[FrameType] = FrameType.BODIES

    block_hash: BlockHash
    raws: tuple[bytes, ...] = field(repr=False)

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.block_hash, self.raws)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        block_hash, raws = fields(value, 2, "Bodies")
        return cls(_as_block_hash(block_hash), _as_raws(raws, MAX_BLOCK_TRANSACTIONS))


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """Asks for up to `count` (1..100) committed blocks from `from_height` (>= 1) upwards."""

    type: ClassVar[FrameType] = FrameType.GET_BLOCKS

    from_height: Height
    count: int

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.from_height, self.count)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        from_height, count = fields(value, 2, "GetBlocks")
        return cls(Height(as_int(from_height, "from height", 1, MAX_HEIGHT)), as_int(count, "block count", 1, MAX_BLOCKS_COUNT))


@dataclass(frozen=True, slots=True)
class Blocks:
    """Answers GetBlocks, ascending: each item the canonical bytes of [block, certificate]; empty when the sender has none."""

    type: ClassVar[FrameType] = FrameType.BLOCKS

    items: tuple[bytes, ...] = field(repr=False)

    def to_value(self) -> Value:
        """Return the canonical form."""
        return self.items

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        return cls(tuple(as_bytes(item, "block") for item in as_tuple(value, "blocks", max_items=MAX_BLOCKS_COUNT)))


HandshakeMessage: TypeAlias = Hello | Welcome | Reject
StateRequest: TypeAlias = GetSnapshot | GetHistory | GetState
StateAnswer: TypeAlias = Snapshot | History | State
Application: TypeAlias = Status | Consensus | Transactions | GetBodies | Bodies | GetBlocks | Blocks | StateRequest | StateAnswer
Message: TypeAlias = HandshakeMessage | Ping | Pong | Application

_CLASSES: Final[dict[FrameType, type[Message]]] = {
    kind.type: kind
    for kind in (
        *(Hello, Welcome, Reject, Ping, Pong),
        *(Status, Consensus, Transactions, GetBodies, Bodies, GetBlocks, Blocks),
        *(GetSnapshot, Snapshot, GetHistory, History, GetState, State),
    )
}


def encode(message: Message) -> bytes:
    """Return the frame of a message; raises `TooLargeError` when it is over the limit of its type."""
    payload = encode_trusted(message.to_value())
    limit = RULES[message.type].max_bytes
    if len(payload) > limit:
        raise TooLargeError(f"{message.type.name} frame", limit=limit, got=len(payload))
    return encode_frame(message.type, payload)


def decode(frame: Frame) -> Message:
    """Return the message of a frame; raises `BadEncodingError` or `TooLargeError`."""
    value = decode_value(frame.payload, max_bytes=RULES[frame.type].max_bytes, max_values=_MAX_VALUES)
    return _CLASSES[frame.type].from_value(value)


def batch_transactions(raws: Iterable[bytes]) -> Iterator[Transactions]:
    """Cut raw transactions, in order, into gossip batches that fit a frame."""
    room = RULES[FrameType.TRANSACTIONS].max_bytes - _ARRAY_HEADER_BYTES
    batch: list[bytes] = []
    size = 0
    for raw in raws:
        cost = len(raw) + _BIN_HEADER_BYTES
        if batch and (len(batch) == MAX_GOSSIP_TRANSACTIONS or size + cost > room):
            yield Transactions(tuple(batch))
            batch, size = [], 0
        batch.append(raw)
        size += cost
    if batch:
        yield Transactions(tuple(batch))


def fit_blocks(items: Iterable[bytes], target_bytes: int = BLOCKS_TARGET_BYTES) -> Blocks:
    """Return an answer with the first items that stay within `target_bytes` in all, but with one at least."""
    taken: list[bytes] = []
    size = 0
    for item in items:
        size += len(item)
        if taken and (len(taken) == MAX_BLOCKS_COUNT or size > target_bytes):
            break
        taken.append(item)
    return Blocks(tuple(taken))


def _as_height(value: Value) -> Height:
    return Height(as_int(value, "height", high=MAX_HEIGHT))


def _as_block_hash(value: Value) -> BlockHash:
    return BlockHash(as_bytes(value, "block hash", size=HASH_BYTES))


def _as_raws(value: Value, max_items: int) -> tuple[bytes, ...]:
    items = as_tuple(value, "transactions", max_items=max_items)
    return tuple(as_bytes(item, "transaction", max_size=MAX_TRANSACTION_BYTES) for item in items)


def _as_line(value: Value, what: str, max_chars: int = MAX_TEXT_CHARS) -> str:
    """Return text that is safe to log: no control characters, no line breaks."""
    text = as_str(value, what, max_chars=max_chars)
    if not text.isprintable():
        raise BadEncodingError(f"{what} must be printable")
    return text

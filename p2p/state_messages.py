"""The messages of state sync: a snapshot's trust, the history of its transaction window, and its state in parts.

Everything in an answer certifies itself: handovers and certificates by signatures, receipts and state by the roots in certified
headers. So an answer may come from anybody, and passes through here as bytes. Each repeats what it answers.
"""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import ClassVar, Final, Self

from ledger.codec import Value, as_bytes, as_int, as_tuple, fields
from ledger.state_parts import MAX_PART_KEYS, Part, as_path, part_from_value
from ledger.types import Height
from p2p.frames import FrameType
from p2p.limits import MAX_HEIGHT, MAX_HISTORY_COUNT, MAX_SNAPSHOT_HANDOVERS, MIB, RULES

MAX_STATE_VALUES: Final = 2 * MAX_PART_KEYS + 16

# What an answer should carry: a larger frame, once begun, holds up the consensus messages behind it.
HISTORY_TARGET_BYTES: Final = 512 * 1024
SNAPSHOT_TARGET_BYTES: Final = MIB
_ITEM_OVERHEAD: Final = 16


@dataclass(frozen=True, slots=True)
class GetSnapshot:
    """Asks for what makes the header of `height` trusted: its certificate, and the handovers of `from_height` (>= 1) up to it."""

    type: ClassVar[FrameType] = FrameType.GET_SNAPSHOT

    height: Height
    from_height: Height

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.height, self.from_height)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        height, from_height = fields(value, 2, "GetSnapshot")
        return cls(_as_block_height(height), _as_block_height(from_height))


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Answers GetSnapshot: the bytes of the certificate (empty: not held), and of as many handovers, ascending, as fit."""

    type: ClassVar[FrameType] = FrameType.SNAPSHOT

    height: Height
    certificate: bytes = field(repr=False)
    handovers: tuple[bytes, ...] = field(default=(), repr=False)

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.height, self.certificate, self.handovers)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        height, certificate, handovers = fields(value, 3, "Snapshot")
        items = as_tuple(handovers, "handovers", max_items=MAX_SNAPSHOT_HANDOVERS)
        return cls(
            _as_block_height(height),
            as_bytes(certificate, "certificate"),
            tuple(as_bytes(item, "handover") for item in items),
        )


@dataclass(frozen=True, slots=True)
class GetHistory:
    """Asks for the certificates and receipts of up to `count` blocks from `from_height` (>= 1) DOWNWARDS."""

    type: ClassVar[FrameType] = FrameType.GET_HISTORY

    from_height: Height
    count: int

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.from_height, self.count)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        from_height, count = fields(value, 2, "GetHistory")
        return cls(_as_block_height(from_height), as_int(count, "history count", 1, MAX_HISTORY_COUNT))


@dataclass(frozen=True, slots=True)
class History:
    """Answers GetHistory, from `from_height` down: the bytes of certificate and receipts of each block; empty: not held."""

    type: ClassVar[FrameType] = FrameType.HISTORY

    from_height: Height
    items: tuple[tuple[bytes, bytes], ...] = field(repr=False)

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.from_height, self.items)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        from_height, items = fields(value, 2, "History")
        return cls(
            _as_block_height(from_height),
            tuple(_as_history_item(item) for item in as_tuple(items, "history", max_items=MAX_HISTORY_COUNT)),
        )


@dataclass(frozen=True, slots=True)
class GetState:
    """Asks for the part of the state of `height` that stands at a path."""

    type: ClassVar[FrameType] = FrameType.GET_STATE

    height: Height
    path: bytes

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.height, self.path)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        height, path = fields(value, 2, "GetState")
        return cls(_as_block_height(height), as_path(path))


@dataclass(frozen=True, slots=True)
class State:
    """Answers GetState; None when that version is not held."""

    type: ClassVar[FrameType] = FrameType.STATE

    height: Height
    path: bytes
    part: Part | None = field(repr=False)

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (self.height, self.path, None if self.part is None else self.part.to_value())

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the message of a canonical form."""
        height, path, part = fields(value, 3, "State")
        return cls(_as_block_height(height), as_path(path), None if part is None else part_from_value(part))


def fit_handovers(handovers: Iterable[bytes]) -> tuple[bytes, ...]:
    """Return the first handovers that one answer should carry, one at least."""
    taken: list[bytes] = []
    room = SNAPSHOT_TARGET_BYTES
    for item in handovers:
        room -= len(item) + _ITEM_OVERHEAD
        if taken and (room < 0 or len(taken) == MAX_SNAPSHOT_HANDOVERS):
            break
        taken.append(item)
    return tuple(taken)


def fit_history(from_height: Height, items: Iterable[tuple[bytes, bytes]]) -> History:
    """Return an answer with the first items that it should carry: one at least, unless that is over what a frame may have."""
    taken: list[tuple[bytes, bytes]] = []
    size = 0
    for certificate, receipts in items:
        size += len(certificate) + len(receipts) + _ITEM_OVERHEAD
        limit = HISTORY_TARGET_BYTES if taken else RULES[FrameType.HISTORY].max_bytes - _ITEM_OVERHEAD
        if size > limit or len(taken) == MAX_HISTORY_COUNT:
            break
        taken.append((certificate, receipts))
    return History(from_height, tuple(taken))


def _as_block_height(value: Value) -> Height:
    return Height(as_int(value, "height", 1, MAX_HEIGHT))


def _as_history_item(value: Value) -> tuple[bytes, bytes]:
    certificate, receipts = fields(value, 2, "history item")
    return as_bytes(certificate, "certificate"), as_bytes(receipts, "receipts")

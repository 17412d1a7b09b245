"""Frames on the wire (protocol, section P2P): a 4-byte big-endian payload length, one type byte, the canonical payload.

The length is judged against the limit of its type as soon as the five header bytes are there, before any payload is kept, so a
decoder never holds more than one permitted frame and the chunk it was just given.
"""

import struct
from collections.abc import Mapping
from enum import IntEnum
from typing import Final, NamedTuple

from ledger.errors import BadEncodingError, TooLargeError

_HEADER: Final = struct.Struct(">IB")
HEADER_BYTES: Final = _HEADER.size


class FrameType(IntEnum):
    """The type byte. Numbers are never reused; HELLO and REJECT keep their shape in every protocol version."""

    HELLO = 1
    WELCOME = 2
    REJECT = 3
    PING = 4
    PONG = 5
    STATUS = 6
    CONSENSUS = 7
    TRANSACTIONS = 8
    GET_BODIES = 9
    BODIES = 10
    GET_BLOCKS = 11
    BLOCKS = 12
    GET_SNAPSHOT = 13
    SNAPSHOT = 14
    GET_HISTORY = 15
    HISTORY = 16
    GET_STATE = 17
    STATE = 18


class Frame(NamedTuple):
    """A whole frame: its type and its payload bytes, not decoded."""

    type: FrameType
    payload: bytes


def encode_frame(kind: FrameType, payload: bytes) -> bytes:
    """Return the bytes of a frame."""
    return _HEADER.pack(len(payload), kind) + payload


class FrameDecoder:
    """Cuts a byte stream into frames, in time linear in the bytes fed. Of no more use once it has raised."""

    __slots__ = ("_buffer", "_limits")

    def __init__(self, limits: Mapping[FrameType, int]) -> None:
        self._limits = dict(limits)
        self._buffer = bytearray()

    def allow(self, limits: Mapping[FrameType, int]) -> None:
        """Take frames of these types, up to these payload sizes in bytes, from the next `feed` on."""
        self._limits = dict(limits)

    @property
    def buffered_bytes(self) -> int:
        """Return how much of an unfinished frame is held."""
        return len(self._buffer)

    def feed(self, data: bytes) -> list[Frame]:
        """Return the frames that `data` completes.

        Raises `TooLargeError` for a length over the limit of its type, `BadEncodingError` for a type that is not allowed.
        """
        frames: list[Frame] = []
        if self._buffer:
            self._buffer += data
            with memoryview(self._buffer) as view:
                used = self._cut(view, frames)
            del self._buffer[:used]
        else:
            with memoryview(data) as view:
                used = self._cut(view, frames)
                self._buffer += view[used:]
        return frames

    def _cut(self, view: memoryview, frames: list[Frame]) -> int:
        """Append the whole frames of `view` to `frames`; return the bytes they took."""
        offset, total = 0, len(view)
        while total - offset >= HEADER_BYTES:
            length, code = _HEADER.unpack_from(view, offset)
            kind = self._judge(length, code)
            end = offset + HEADER_BYTES + length
            if end > total:
                break
            frames.append(Frame(kind, bytes(view[offset + HEADER_BYTES : end])))
            offset = end
        return offset

    def _judge(self, length: int, code: int) -> FrameType:
        """Return the type of a header that is within its limit."""
        try:
            kind = FrameType(code)
        except ValueError:
            raise BadEncodingError(f"unknown frame type {code}", hint="both sides must speak this protocol", type=code) from None
        limit = self._limits.get(kind)
        if limit is None:
            raise BadEncodingError(
                f"a {kind.name} frame is not expected here", hint="Hello comes first; then what the session is for", type=code
            )
        if length > limit:
            raise TooLargeError(f"{kind.name} frame", limit=limit, got=length)
        return kind

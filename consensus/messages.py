"""The messages of the protocol and their canonical forms (protocol, section Consensus).

The signer stands outside the signed bytes: what is signed is the tagged body, so a vote is the same bytes for everyone who
casts it, and certificates need no more than a bitmap. Prepare and Commit sign exactly what `ledger.certificate` checks.
"""

from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self, TypeAlias

from ledger.block import Header, as_tx_hashes
from ledger.certificate import PreparedCert
from ledger.codec import Value, as_bytes, as_int, as_str, as_tuple, decode, encode_trusted, fields
from ledger.committee import MAX_MEMBERS
from ledger.crypto import SIGNATURE_BYTES
from ledger.errors import BadEncodingError
from ledger.hashing import HASH_BYTES, Tag, digest
from ledger.types import BlockHash, Height, MemberId, TxHash, View

MAX_MESSAGE_BYTES: Final = 2 * 1024 * 1024
_MAX_COUNTER: Final = 2**53


class Step(IntEnum):
    """The order in which one member may sign within one view."""

    VIEW_CHANGE = 0
    PROPOSE = 1
    PREPARE = 2
    COMMIT = 3


@dataclass(frozen=True, slots=True)
class PrePrepare:
    """The primary's proposal in the view that the height starts in. It is no vote."""

    height: Height
    view: View
    header: Header
    tx_hashes: tuple[TxHash, ...]


@dataclass(frozen=True, slots=True)
class Prepare:
    """A vote: this block is valid and is what the primary proposed in this view."""

    height: Height
    view: View
    block_hash: BlockHash


@dataclass(frozen=True, slots=True)
class Commit:
    """A vote: this block is prepared, and I hold it and the proof of it on disk."""

    height: Height
    view: View
    block_hash: BlockHash


@dataclass(frozen=True, slots=True)
class ViewChange:
    """A member leaves for `view`, with the highest prepared certificate it holds for this height."""

    height: Height
    view: View
    prepared: PreparedCert | None


@dataclass(frozen=True, slots=True)
class NewView:
    """The primary of `view` opens it: exactly q view changes for it, and the proposal that follows from them."""

    height: Height
    view: View
    view_changes: tuple["Signed", ...]
    header: Header
    tx_hashes: tuple[TxHash, ...]


Message: TypeAlias = PrePrepare | Prepare | Commit | ViewChange | NewView
Proposing: TypeAlias = PrePrepare | NewView
Vote: TypeAlias = Prepare | Commit

_KINDS: Final[tuple[type[Message], ...]] = (PrePrepare, Prepare, Commit, ViewChange, NewView)
_KIND_OF: Final[dict[type[Message], int]] = {kind: index for index, kind in enumerate(_KINDS)}
_TAGS: Final = (Tag.PRE_PREPARE, Tag.PREPARE, Tag.COMMIT, Tag.VIEW_CHANGE, Tag.NEW_VIEW)
_STEPS: Final = (Step.PROPOSE, Step.PREPARE, Step.COMMIT, Step.VIEW_CHANGE, Step.PROPOSE)


@dataclass(frozen=True, slots=True)
class Signed:
    """A message with who says it and the signature over its tagged body."""

    message: Message
    signer: MemberId
    signature: bytes

    def to_value(self) -> Value:
        """Return the canonical form [kind, body, signer, signature]."""
        return (_KIND_OF[type(self.message)], body_value(self.message), self.signer, self.signature)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the signed message of a canonical form; the signature is not checked here."""
        kind, body, signer, signature = fields(value, 4, "signed message")
        return cls(
            message_from_value((kind, body)),
            MemberId(as_str(signer, "signer", max_chars=32)),
            as_bytes(signature, "signature", size=SIGNATURE_BYTES),
        )

    def encode(self) -> bytes:
        """Return the wire bytes."""
        return encode_trusted(self.to_value())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the message of wire bytes; raises `BadEncodingError` or `TooLargeError`."""
        return cls.from_value(decode(data, max_bytes=MAX_MESSAGE_BYTES))


def step_of(message: Message) -> Step:
    """Return the step that signing `message` takes."""
    return _STEPS[_KIND_OF[type(message)]]


def signing_digest(message: Message, genesis_hash: bytes) -> bytes:
    """Return the 32 bytes that the signer of `message` signs."""
    return digest(_TAGS[_KIND_OF[type(message)]], genesis_hash, encode_trusted(body_value(message)))


def body_value(message: Message) -> Value:
    """Return the canonical form of a message's body."""
    match message:
        case PrePrepare(height, view, header, tx_hashes):
            return (height, view, header.to_value(), tx_hashes)
        case Prepare(height, view, block_hash) | Commit(height, view, block_hash):
            return (height, view, block_hash)
        case ViewChange(height, view, prepared):
            return (height, view, None if prepared is None else prepared.to_value())
        case NewView(height, view, view_changes, header, tx_hashes):
            return (height, view, tuple(item.to_value() for item in view_changes), header.to_value(), tx_hashes)


def message_value(message: Message) -> Value:
    """Return the canonical form [kind, body] of an unsigned message, as the sign-state keeps it."""
    return (_KIND_OF[type(message)], body_value(message))


def message_from_value(value: Value) -> Message:
    """Return the message of [kind, body]; raises `BadEncodingError` naming what is wrong."""
    kind_value, body = fields(value, 2, "message")
    kind = _KINDS[as_int(kind_value, "message kind", 0, len(_KINDS) - 1)]
    if kind is PrePrepare:
        height, view, header, tx_hashes = fields(body, 4, "PrePrepare")
        return PrePrepare(*_position(height, view), Header.from_value(header), as_tx_hashes(tx_hashes))
    if kind is Prepare or kind is Commit:
        height, view, block_hash = fields(body, 3, kind.__name__)
        return kind(*_position(height, view), BlockHash(as_bytes(block_hash, "block hash", size=HASH_BYTES)))
    if kind is ViewChange:
        height, view, prepared = fields(body, 3, "ViewChange")
        return ViewChange(*_position(height, view), None if prepared is None else PreparedCert.from_value(prepared))
    height, view, view_changes, header, tx_hashes = fields(body, 5, "NewView")
    items = as_tuple(view_changes, "view changes", max_items=MAX_MEMBERS)
    return NewView(
        *_position(height, view),
        tuple(_signed_view_change(item) for item in items),
        Header.from_value(header),
        as_tx_hashes(tx_hashes),
    )


def _position(height: Value, view: Value) -> tuple[Height, View]:
    return Height(as_int(height, "height", 1, _MAX_COUNTER)), View(as_int(view, "view", 0, _MAX_COUNTER))


def _signed_view_change(value: Value) -> Signed:
    signed = Signed.from_value(value)
    if not isinstance(signed.message, ViewChange):
        raise BadEncodingError("a NewView carries view changes only")
    return signed

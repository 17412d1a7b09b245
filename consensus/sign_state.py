"""What a member has signed: the one monotone floor (rule 5) and the messages and certificate to repeat after a restart.

Nothing new is signed at or below the floor (height, view, step); what was signed is kept and sent again, byte for byte, since
Ed25519 is deterministic. The driver writes the encoded state in two checksummed copies before anything leaves (rule 6).
"""

from dataclasses import dataclass
from typing import Final, Self

from consensus.messages import Message, Step, message_from_value, message_value, step_of
from ledger.certificate import PreparedCert
from ledger.codec import Value, as_bool, as_int, as_tuple, decode, encode_trusted, fields
from ledger.errors import invariant
from ledger.types import Height, View

SIGN_STATE_VERSION: Final = 2
_MAX_COUNTER: Final = 2**53


@dataclass(frozen=True, slots=True, order=True)
class Floor:
    """The highest position that was signed; ordered by height, then view, then step."""

    height: Height
    view: View
    step: Step


GROUND: Final = Floor(Height(0), View(0), Step.VIEW_CHANGE)


@dataclass(frozen=True, slots=True)
class SignState:
    """The floor, the latest own message of each step at the floor's height, and the highest prepared certificate there.

    `doubted` since a signature of ours turned up that is not in here: this is not the last state of our key (rule 7).
    """

    floor: Floor = GROUND
    messages: tuple[Message, ...] = ()
    prepared: PreparedCert | None = None
    doubted: bool = False

    def may_sign(self, message: Message) -> bool:
        """Return whether `message` lies above the floor."""
        return position_of(message) > self.floor

    def signed(self, message: Message, prepared: PreparedCert | None) -> "SignState":
        """Return the state after signing `message` while holding `prepared`; the caller has asked `may_sign`."""
        invariant(self.may_sign(message), f"{message} is not above the floor {self.floor}")
        step = step_of(message)
        same_height = self.floor.height == message.height
        kept = tuple(old for old in self.messages if same_height and step_of(old) != step)
        return SignState(position_of(message), (*kept, message), prepared)

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        floor = self.floor
        messages = tuple(message_value(message) for message in self.messages)
        prepared = None if self.prepared is None else self.prepared.to_value()
        return encode_trusted((SIGN_STATE_VERSION, floor.height, floor.view, int(floor.step), messages, prepared, self.doubted))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the state of canonical bytes; raises `BadEncodingError`."""
        version, height, view, step, messages, prepared, doubted = fields(decode(data), 7, "sign-state")
        as_int(version, "sign-state version", SIGN_STATE_VERSION, SIGN_STATE_VERSION)
        floor = Floor(
            Height(as_int(height, "height", 0, _MAX_COUNTER)),
            View(as_int(view, "view", 0, _MAX_COUNTER)),
            Step(as_int(step, "step", 0, len(Step) - 1)),
        )
        items: tuple[Value, ...] = as_tuple(messages, "signed messages", max_items=len(Step))
        cert = None if prepared is None else PreparedCert.from_value(prepared)
        return cls(floor, tuple(message_from_value(item) for item in items), cert, as_bool(doubted, "doubted"))


def position_of(message: Message) -> Floor:
    """Return where signing `message` moves the floor to."""
    return Floor(message.height, message.view, step_of(message))

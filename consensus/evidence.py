"""Evidence of equivocation: two different messages that one member signed for one height, view and step (rule 10).

An honest member cannot produce it, its floor forbids that (rule 5), whatever it lost or restored. So it convicts its signer to
anyone who knows the committee; governance may act on it. It is found while a height is open, among what is held of it anyway.
"""

from dataclasses import dataclass
from typing import Self

from consensus.messages import MAX_MESSAGE_BYTES, Signed, Step, step_of
from consensus.verify import authenticate
from ledger.codec import decode, encode_trusted, fields
from ledger.committee import Committee
from ledger.errors import InvalidInputError
from ledger.types import Height, MemberId, View


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two contradicting messages of one signer, in the order in which they came."""

    first: Signed
    second: Signed

    @property
    def signer(self) -> MemberId:
        """Return whom it convicts."""
        return self.first.signer

    @property
    def position(self) -> tuple[Height, View, Step]:
        """Return what was signed twice."""
        message = self.first.message
        return message.height, message.view, step_of(message)

    def encode(self) -> bytes:
        """Return the canonical bytes [first, second]."""
        return encode_trusted((self.first.to_value(), self.second.to_value()))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the evidence of canonical bytes; raises `BadEncodingError` or `TooLargeError`. Nothing is checked by this."""
        first, second = fields(decode(data, max_bytes=2 * MAX_MESSAGE_BYTES), 2, "evidence")
        return cls(Signed.from_value(first), Signed.from_value(second))

    def check(self, committee: Committee, genesis_hash: bytes) -> None:
        """Raise `InvalidInputError` unless one member of that height's committee really signed both, and they contradict."""
        if not contradict(self.first, self.second):
            raise InvalidInputError("bad_evidence", "these two messages do not contradict each other", hint="nothing to act on")
        for item in (self.first, self.second):
            authenticate(item, committee, genesis_hash)


def contradict(left: Signed, right: Signed) -> bool:
    """Return whether one signer said two different things for one height, view and step."""
    return left.signer == right.signer and _position(left) == _position(right) and left.message != right.message


def _position(signed: Signed) -> tuple[Height, View, Step]:
    return signed.message.height, signed.message.view, step_of(signed.message)

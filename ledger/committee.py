"""Members, the committee that votes on a height, and the arithmetic of quorums.

With n members, f = (n-1)//3 of them may be Byzantine and a quorum is q = ceil((n+f+1)/2): any two quorums share at least
f+1 members, so at least one honest one. 2f+1 says the same only for n = 3f+1.
"""

import itertools
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final, Self

from ledger.codec import Value, as_bytes, as_int, as_str, as_tuple, encode_trusted, fields
from ledger.crypto import PUBLIC_KEY_BYTES
from ledger.errors import BadEncodingError
from ledger.hashing import Tag, digest
from ledger.types import MemberId, View

MAX_MEMBERS: Final = 256
MAX_CERTIFICATE_BYTES: Final = 4096


def fault_tolerance(n: int) -> int:
    """Return f, the number of Byzantine members that n members bear."""
    return (n - 1) // 3


def quorum_size(n: int) -> int:
    """Return q, the votes that decide among n members."""
    return (n + fault_tolerance(n) + 2) // 2


@dataclass(frozen=True, slots=True)
class Member:
    """A whitelisted organisation's node: its consensus key (Ed25519), TLS certificate (DER) and P2P address host:port."""

    id: MemberId
    public_key: bytes
    certificate: bytes = field(repr=False)
    p2p_address: str

    def to_value(self) -> Value:
        """Return the canonical form [id, key, certificate, address]."""
        return (self.id, self.public_key, self.certificate, self.p2p_address)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the member of a canonical form."""
        member_id, key, certificate, address = fields(value, 4, "member")
        return cls(
            MemberId(as_str(member_id, "member id", max_chars=32)),
            as_bytes(key, "member key", size=PUBLIC_KEY_BYTES),
            as_bytes(certificate, "member certificate", max_size=MAX_CERTIFICATE_BYTES),
            as_str(address, "member P2P address"),
        )


@dataclass(frozen=True)
class Committee:
    """The members that vote, ascending by id, in an epoch that counts membership changes. Not slotted: it caches its hash."""

    epoch: int
    members: tuple[Member, ...]

    def __post_init__(self) -> None:
        ids = [member.id for member in self.members]
        if not ids or len(ids) > MAX_MEMBERS:
            raise BadEncodingError(f"a committee has 1..{MAX_MEMBERS} members, got {len(ids)}", limit=MAX_MEMBERS, got=len(ids))
        if any(left >= right for left, right in itertools.pairwise(ids)):
            raise BadEncodingError("committee members must be ascending and distinct by id")
        if len({member.public_key for member in self.members}) != len(ids):
            raise BadEncodingError("two committee members have the same key: one key, one vote")

    def to_value(self) -> Value:
        """Return the canonical form [epoch, [member, ...]]."""
        return (self.epoch, tuple(member.to_value() for member in self.members))

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the committee of a canonical form."""
        epoch, members = fields(value, 2, "committee")
        items = as_tuple(members, "committee members", max_items=MAX_MEMBERS)
        return cls(as_int(epoch, "epoch"), tuple(Member.from_value(item) for item in items))

    @property
    def size(self) -> int:
        """Return n."""
        return len(self.members)

    @property
    def faults(self) -> int:
        """Return f."""
        return fault_tolerance(len(self.members))

    @cached_property
    def quorum(self) -> int:
        """Return q."""
        return quorum_size(len(self.members))

    @cached_property
    def index_of(self) -> dict[MemberId, int]:
        """Return each member's position in the bitmap of certificates."""
        return {member.id: index for index, member in enumerate(self.members)}

    def get(self, member_id: MemberId) -> Member | None:
        """Return the member with this id, or None."""
        index = self.index_of.get(member_id)
        return None if index is None else self.members[index]

    def primary(self, view: View) -> MemberId:
        """Return the member that proposes in `view`."""
        return self.members[view % len(self.members)].id

    def hash(self, genesis_hash: bytes) -> bytes:
        """Return the digest of epoch and sorted (member id, key): what light clients follow from header to header."""
        pairs = tuple((member.id, member.public_key) for member in self.members)
        return digest(Tag.COMMITTEE, genesis_hash, encode_trusted((self.epoch, pairs)))

"""Which committee votes, followed from genesis without trusting anybody (protocol, rule 14).

Each header names the committee after it. A handover is a header that names another one than its own, with the certificate of the
old committee and the new one's epoch, ids and keys. Who follows them assumes that fewer than q keys of any past committee leak.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Self

from ledger.certificate import BadCertificateError, QuorumCertificate
from ledger.codec import Value, as_bytes, as_int, as_str, as_tuple, fields
from ledger.committee import MAX_MEMBERS, Committee, Member
from ledger.crypto import PUBLIC_KEY_BYTES
from ledger.types import Height, MemberId

FIRST_HEIGHT: Final = Height(1)
"""Of the blocks that a committee votes on."""


@dataclass(frozen=True, slots=True)
class Handover:
    """A certified block after which `following` votes; of its members only id and key count here."""

    certificate: QuorumCertificate
    following: Committee

    def to_value(self) -> Value:
        """Return the canonical form [certificate, epoch, [[id, key], ...]]."""
        pairs = tuple((member.id, member.public_key) for member in self.following.members)
        return (self.certificate.to_value(), self.following.epoch, pairs)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the handover of a canonical form; nothing is checked by this."""
        certificate, epoch, pairs = fields(value, 3, "handover")
        members = tuple(_voter(pair) for pair in as_tuple(pairs, "committee members", max_items=MAX_MEMBERS))
        return cls(QuorumCertificate.from_value(certificate), Committee(as_int(epoch, "epoch"), members))


def follow(
    committee: Committee, handovers: Iterable[Handover], genesis_hash: bytes, *, first: Height = FIRST_HEIGHT
) -> Committee:
    """Return the committee after the last handover. Raises `BadCertificateError` for one that does not follow.

    `committee` votes on block `first`: no handover may stand below it.
    """
    height = first - 1
    for handover in handovers:
        header = handover.certificate.header
        if header.height <= height:
            raise BadCertificateError("the handovers are not in order", height=header.height, after=height)
        handover.certificate.check(genesis_hash, committee)
        if handover.following.hash(genesis_hash) != header.next_committee_hash:
            raise BadCertificateError("this is not the committee that the header names", height=header.height)
        committee, height = handover.following, header.height
    return committee


def _voter(value: Value) -> Member:
    """Return a member of which only id and key are known."""
    member_id, key = fields(value, 2, "committee member")
    return Member(
        MemberId(as_str(member_id, "member id", max_chars=32)), as_bytes(key, "member key", size=PUBLIC_KEY_BYTES), b"", ""
    )

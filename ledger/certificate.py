"""Votes' signed bytes and the certificates made of them (protocol, sections Blocks and Consensus).

A certificate is [header, view, bitmap over the committee, signatures in bitmap order]. With the header it certifies it proves
every balance, receipt and event at that height to anyone who knows the committee.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Final, Self

from ledger.block import Header
from ledger.codec import Value, as_bytes, as_int, as_tuple, encode_trusted, fields
from ledger.committee import MAX_MEMBERS, Committee
from ledger.crypto import SIGNATURE_BYTES, verify
from ledger.errors import InvalidInputError
from ledger.hashing import Tag, digest
from ledger.types import BlockHash, Height, MemberId, View

MAX_BITMAP_BYTES: Final = MAX_MEMBERS // 8


class BadCertificateError(InvalidInputError):
    """A certificate whose signatures do not make a quorum of its committee."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__("bad_signature", message, hint="ask another peer", **details)


def vote_digest(tag: Tag, genesis_hash: bytes, height: Height, view: View, block_hash: BlockHash) -> bytes:
    """Return the 32 bytes that a Prepare or Commit vote signs: the tagged [height, view, block hash]."""
    return digest(tag, genesis_hash, encode_trusted((height, view, block_hash)))


@dataclass(frozen=True, slots=True)
class Certificate:
    """A quorum's signatures over one header in one view. Which vote they are is the subclass's `TAG`."""

    TAG: ClassVar[Tag]

    header: Header
    view: View
    bitmap: bytes
    signatures: tuple[bytes, ...]

    @classmethod
    def build(cls, header: Header, view: View, votes: Mapping[MemberId, bytes], committee: Committee) -> Self:
        """Return the certificate of `votes` (member id -> signature)."""
        bits = bytearray((committee.size + 7) // 8)
        signatures = []
        for index, member in enumerate(committee.members):
            if (signature := votes.get(member.id)) is not None:
                bits[index // 8] |= 1 << (index % 8)
                signatures.append(signature)
        return cls(header, view, bytes(bits), tuple(signatures))

    def to_value(self) -> Value:
        """Return the canonical form [header, view, bitmap, signatures]."""
        return (self.header.to_value(), self.view, self.bitmap, self.signatures)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the certificate of a canonical form; its signatures are not checked here."""
        header, view, bitmap, signatures = fields(value, 4, "certificate")
        items = as_tuple(signatures, "certificate signatures", max_items=MAX_MEMBERS)
        return cls(
            Header.from_value(header),
            View(as_int(view, "view", high=2**53)),
            as_bytes(bitmap, "bitmap", max_size=MAX_BITMAP_BYTES),
            tuple(as_bytes(item, "signature", size=SIGNATURE_BYTES) for item in items),
        )

    def signers(self, committee: Committee) -> tuple[MemberId, ...]:
        """Return who signed, in bitmap order. Raises `BadCertificateError` for bits outside the committee."""
        if len(self.bitmap) != (committee.size + 7) // 8:
            raise BadCertificateError(
                "the bitmap's size is not the committee's", expected=(committee.size + 7) // 8, got=len(self.bitmap)
            )
        bits = int.from_bytes(self.bitmap, "little")
        if bits >> committee.size:
            raise BadCertificateError("the bitmap names members outside the committee")
        return tuple(member.id for index, member in enumerate(committee.members) if bits >> index & 1)

    def check(self, genesis_hash: bytes, committee: Committee) -> None:
        """Raise `BadCertificateError` unless a quorum of exactly this committee validly signed exactly this header."""
        if self.header.committee_hash != committee.hash(genesis_hash):
            raise BadCertificateError("the certificate is of another committee")
        signers = self.signers(committee)
        if len(signers) < committee.quorum or len(signers) != len(self.signatures):
            raise BadCertificateError(
                "too few votes for a quorum", need=committee.quorum, have=min(len(signers), len(self.signatures))
            )
        signed = vote_digest(self.TAG, genesis_hash, self.header.height, self.view, self.header.hash(genesis_hash))
        for member_id, signature in zip(signers, self.signatures, strict=True):
            member = committee.members[committee.index_of[member_id]]
            if not verify(member.public_key, signature, signed):
                raise BadCertificateError(f"the vote of {member_id} is not valid", member=member_id)


class QuorumCertificate(Certificate):
    """q Commit votes: the block is final."""

    __slots__ = ()
    TAG = Tag.COMMIT


class PreparedCert(Certificate):
    """q Prepare votes: no other block can be prepared in this view, and later views must carry it on."""

    __slots__ = ()
    TAG = Tag.PREPARE

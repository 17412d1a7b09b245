"""Who is on the other side: the members' addresses and certificates, and the judgement of a Hello (protocol, section P2P).

TLS has already proved that the peer holds the key of the certificate it showed. What is left is that it means the same chain,
speaks the same protocol, and is the member whose certificate that is; of one with an unknown certificate, which only the
dialling side talks to and only for blocks, that it claims to be the member dialled. The first field that differs is named to
both sides.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from ledger.committee import Member
from ledger.errors import BadEncodingError
from ledger.types import MemberId
from p2p.messages import Hello, Reject

PROTOCOL_VERSION: Final = 2
MAX_PORT: Final = 65_535

_NO_CERTIFICATES: Final[Mapping[bytes, MemberId]] = MappingProxyType({})


@dataclass(frozen=True, slots=True)
class Terms:
    """What this node says of itself in every Hello, but for its height."""

    genesis_hash: bytes
    member_id: MemberId
    software_version: str
    protocol_version: int = PROTOCOL_VERSION


class Directory:
    """The members as of now: whom to dial and whose certificates to trust.

    `previous` maps replaced certificates (DER) that are still in their grace period to their members.
    """

    __slots__ = ("_owners", "peers")

    def __init__(self, me: MemberId, members: Iterable[Member], previous: Mapping[bytes, MemberId] = _NO_CERTIFICATES) -> None:
        everyone = {member.id: member for member in members}
        self.peers = {member_id: member for member_id, member in everyone.items() if member_id != me}
        self._owners = {certificate: owner for certificate, owner in previous.items() if owner in self.peers}
        self._owners.update({member.certificate: member.id for member in self.peers.values()})

    @property
    def certificates(self) -> tuple[bytes, ...]:
        """Return every certificate (DER) a peer may show."""
        return tuple(self._owners)

    def owner(self, certificate: bytes) -> MemberId | None:
        """Return the member whose certificate this is, byte for byte, or None."""
        return self._owners.get(certificate)


def parse_address(text: str) -> tuple[str, int]:
    """Return host and port of "host:port" or "[v6]:port"; raises `BadEncodingError`."""
    host, separator, port = text.rpartition(":")
    bracketed = host.startswith("[") and host.endswith("]")
    host = host[1:-1] if bracketed else host
    if not separator or not host or (":" in host) != bracketed or not (port.isascii() and port.isdigit()):
        raise BadEncodingError(f"a P2P address is host:port, got {text!r}", hint="write it as node1.example:26656 or [::1]:26656")
    if not 0 < int(port) <= MAX_PORT:
        raise BadEncodingError(f"a port is within 1..{MAX_PORT}, got {port}", limit=MAX_PORT, got=int(port))
    return host, int(port)


def check_hello(hello: Hello, terms: Terms, owner: MemberId, dialled: MemberId | None) -> Reject | None:
    """Return why this Hello is refused, or None.

    `owner` is the member whose certificate the peer showed, or the member dialled if nobody here knows that certificate;
    `dialled` the member this node called, None when it was called.
    """
    if hello.genesis_hash != terms.genesis_hash:
        return _mismatch("wrong_chain", "genesis_hash", "0x" + terms.genesis_hash.hex(), "0x" + hello.genesis_hash.hex())
    if hello.protocol_version != terms.protocol_version:
        return _mismatch("wrong_protocol", "protocol_version", terms.protocol_version, hello.protocol_version)
    if hello.member_id != owner:
        return _mismatch("wrong_member", "member_id", owner, hello.member_id)
    if dialled is not None and dialled != owner:
        return _mismatch("wrong_address", "member_id", dialled, owner)
    return None


def _mismatch(reason: str, field: str, expected: object, got: object) -> Reject:
    return Reject(reason, field, str(expected), str(got))

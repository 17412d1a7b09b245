"""Keys and the first committee of a whole network, from one root: the same root gives the same keys and certificates.

For development and tests, and for a consortium whose operator makes all nodes. Members that keep their keys to themselves run
`datacar init` instead and hand over their record.
"""

import hmac
import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Self

from genesis.certificates import make_certificate
from ledger.committee import Committee, Member
from ledger.crypto import public_key
from ledger.policy import KeyPolicy
from ledger.types import Address, MemberId
from vm.contracts.governance_possession import prove_possession


@dataclass(frozen=True, slots=True)
class KeySource:
    """Derives independent 32-byte secrets from one root: HMAC-SHA256(root, label)."""

    root: bytes = field(repr=False)

    @classmethod
    def from_seed(cls, seed: str) -> Self:
        """Return the source of a seed anyone can type: reproducible, so for networks without value only."""
        return cls(sha256(b"datacar network seed\0" + seed.encode()).digest())

    @classmethod
    def random(cls) -> Self:
        """Return a source from the system's randomness; it is kept nowhere."""
        return cls(secrets.token_bytes(32))

    def secret(self, label: str) -> bytes:
        """Return the 32-byte secret that `label` stands for."""
        return hmac.digest(self.root, label.encode(), "sha256")


@dataclass(frozen=True, slots=True)
class NodeKeys:
    """A member's public record with the secrets behind it: consensus and governance seeds (32 bytes each) and TLS key (PEM)."""

    member: Member
    consensus_seed: bytes = field(repr=False)
    tls_key: bytes = field(repr=False)
    governance_seed: bytes = field(repr=False)

    @property
    def account(self) -> Address:
        """Return the account that proposes and votes for the member."""
        return KeyPolicy.single(public_key(self.governance_seed)).address

    @property
    def possession(self) -> bytes:
        """Return the consensus key's signature that it is for this member under its account."""
        return prove_possession(self.consensus_seed, self.member.id, self.account)


def make_node_keys(source: KeySource, member_id: MemberId, p2p_address: str) -> NodeKeys:
    """Return the keys, certificate and record of one member."""
    consensus_seed = source.secret(f"{member_id}/consensus")
    certificate, tls_key = make_certificate(source.secret(f"{member_id}/tls"), member_id)
    member = Member(member_id, public_key(consensus_seed), certificate, p2p_address)
    return NodeKeys(member, consensus_seed, tls_key, source.secret(f"{member_id}/governance"))


def node_names(count: int) -> tuple[MemberId, ...]:
    """Return `node1`, `node2`, ... with as many digits as sorting by name takes."""
    digits = len(str(count))
    return tuple(MemberId(f"node{number:0{digits}}") for number in range(1, count + 1))


def make_committee(members: Sequence[Member]) -> Committee:
    """Return the first committee of these members, in any order. Raises `BadEncodingError` for a name or key given twice."""
    return Committee(0, tuple(sorted(members, key=lambda member: member.id)))

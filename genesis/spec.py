"""What a chain starts from, and its hash: the value every member must agree on before the first block.

    genesis_hash = SHA-256(tag GENESIS || 32 zero bytes || canonical(spec))

The hash, not the chain's name, separates networks: it stands in everything that is hashed or signed. The file form is in
`genesis.spec_json`. Pure.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Final

from ledger.codec import Value, encode
from ledger.committee import Committee
from ledger.crypto import is_valid_public_key
from ledger.errors import InvalidInputError
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.parameters import ChainParameters

FORMAT_VERSION: Final = 1
MAX_TIME_MS: Final = 2**53

_CHAIN_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,30}[a-z0-9])?", re.ASCII)


class GenesisError(InvalidInputError):
    """A genesis specification that no chain can start from; `path` is the JSON path of what is wrong."""

    def __init__(self, why: str, *, path: str, hint: str = "correct this field of the genesis file", **details: object) -> None:
        super().__init__("bad_genesis", f"{path}: {why}", hint=hint, path=path, **details)


@dataclass(frozen=True, kw_only=True)
class GenesisSpec:
    """A chain's start: name, time (Unix ms), parameters, first committee, and the arguments of the contracts' genesis methods.

    `development` allows the `dev_*` RPC methods (faucet, faults). `contracts` maps a contract to its canonical arguments. Raises
    `GenesisError`. Not slotted: it caches its hash.
    """

    chain_id: str
    timestamp_ms: int
    development: bool
    parameters: ChainParameters
    committee: Committee
    contracts: Mapping[str, tuple[Value, ...]] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if not _CHAIN_ID.fullmatch(self.chain_id):
            raise GenesisError(
                f"must be 1 to 32 characters of a-z, 0-9 and inner hyphens, got {self.chain_id[:40]!r}", path="$.chain_id"
            )
        if not 0 < self.timestamp_ms <= MAX_TIME_MS:
            raise GenesisError(f"must be within 1..{MAX_TIME_MS}, got {self.timestamp_ms}", path="$.timestamp_ms")
        if self.committee.epoch != 0:
            raise GenesisError(f"the first committee is of epoch 0, got {self.committee.epoch}", path="$.members")
        _check_members(self.committee)

    def to_value(self) -> Value:
        """Return the canonical form; contracts stand in the order of their names."""
        return (
            FORMAT_VERSION,
            self.chain_id,
            self.timestamp_ms,
            self.development,
            self.parameters.to_value(),
            self.committee.to_value(),
            tuple((name, self.contracts[name]) for name in sorted(self.contracts)),
        )

    @cached_property
    def hash(self) -> bytes:
        """Return the genesis hash (32 bytes)."""
        return digest(Tag.GENESIS, ZERO_HASH, encode(self.to_value()))


def _check_members(committee: Committee) -> None:
    """Refuse members that could never vote or be reached."""
    addresses: set[str] = set()
    for index, member in enumerate(committee.members):
        path = f"$.members[{index}]"
        if not is_valid_public_key(member.public_key):
            raise GenesisError(f"the key of {member.id} is no valid Ed25519 key", path=f"{path}.public_key")
        if member.p2p_address in addresses:
            raise GenesisError(f"{member.p2p_address} is another member's address too", path=f"{path}.p2p_address")
        addresses.add(member.p2p_address)

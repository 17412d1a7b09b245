"""Key policies and the addresses they have ("t of [keys]"; a single key is "1 of [key]").

An address is a version byte and 32 bytes: the hash of the key policy, or of a contract's name. 32 bytes because 20 leave only
80-bit collision strength for multisig. Its text form is bech32m (BIP-350) with the prefix `datr` on every network.
"""

import itertools
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, Self

from ledger import bech32m
from ledger.codec import Value, as_bytes, as_int, as_tuple, encode_trusted, fields
from ledger.crypto import PUBLIC_KEY_BYTES
from ledger.errors import BadEncodingError
from ledger.hashing import HASH_BYTES, ZERO_HASH, Tag, digest
from ledger.types import Address

HRP: Final = "datr"
ADDRESS_BYTES: Final = 1 + HASH_BYTES
MAX_POLICY_KEYS: Final = 16
KEY_ACCOUNT: Final = 0
CONTRACT_ACCOUNT: Final = 1


@dataclass(frozen=True, slots=True)
class KeyPolicy:
    """`threshold` signatures out of `keys` (32-byte Ed25519 keys, ascending and distinct, at most 16)."""

    threshold: int
    keys: tuple[bytes, ...]

    @classmethod
    def single(cls, key: bytes) -> Self:
        """Return the policy "1 of [key]"."""
        return cls(1, (key,))

    def to_value(self) -> Value:
        """Return the canonical form [threshold, [key, ...]]."""
        return (self.threshold, self.keys)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the policy of a canonical form; raises `BadEncodingError` for keys out of order or a threshold out of range."""
        threshold, keys_value = fields(value, 2, "key policy")
        keys = tuple(
            as_bytes(key, "public key", size=PUBLIC_KEY_BYTES)
            for key in as_tuple(keys_value, "policy keys", max_items=MAX_POLICY_KEYS)
        )
        if any(left >= right for left, right in itertools.pairwise(keys)):
            raise BadEncodingError("policy keys must be ascending and distinct")
        if not keys:
            raise BadEncodingError("a key policy needs at least one key")
        return cls(as_int(threshold, "policy threshold", 1, len(keys)), keys)

    @property
    def address(self) -> Address:
        """Return the 33-byte address of this policy (the same on every network)."""
        return _policy_address(self.threshold, self.keys)


@lru_cache(maxsize=65_536)
def _policy_address(threshold: int, keys: tuple[bytes, ...]) -> Address:
    return Address(bytes([KEY_ACCOUNT]) + digest(Tag.POLICY, ZERO_HASH, encode_trusted((threshold, keys))))


def contract_address(name: str) -> Address:
    """Return the account that the contract `name` owns; no key can sign for it."""
    return Address(bytes([CONTRACT_ACCOUNT]) + digest(Tag.CONTRACT_ID, ZERO_HASH, name.encode()))


@lru_cache(maxsize=65_536)
def format_address(address: Address) -> str:
    """Return the bech32m text of a 33-byte address."""
    return bech32m.encode(HRP, address)


def parse_address(text: str) -> Address:
    """Return the 33-byte address of a bech32m text; raises `BadEncodingError` with what is wrong."""
    return as_address(bech32m.decode(text, HRP))


def as_address(value: Value) -> Address:
    """Return a decoded value as an address: 33 bytes with a known version byte."""
    raw = as_bytes(value, "address", size=ADDRESS_BYTES)
    if raw[0] not in (KEY_ACCOUNT, CONTRACT_ACCOUNT):
        raise BadEncodingError(f"address version {raw[0]} is unknown", got=raw[0])
    return Address(raw)

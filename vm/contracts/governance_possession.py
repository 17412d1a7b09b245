"""Proof that a member's new consensus key is its own: a signature by that key over whose it is to be.

    signature = Ed25519(key, SHA-256("datacar:possess\\0" || 0[32] || [member id, account, key]))

Without it anybody could register another's key, which is public before the chain knows it, as its own: it would be used for ever.
The digest names no chain, since `datacar init` signs it before there may be one, and needs none: on another chain it says the
same, that the key is for this member under this account, and so helps nobody but the holder of that account. No other object has
this tag: it is worth nothing as a vote, and no vote is worth anything as this. Pure.
"""

from typing import Annotated, Final

from ledger.codec import encode
from ledger.crypto import SIGNATURE_BYTES, public_key, sign, verify
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.types import Address
from vm.abi_types import Bounds

POSSESSION_GAS: Final = 80_000
"""A signature's verification."""

Possession = Annotated[bytes, Bounds(SIGNATURE_BYTES, SIGNATURE_BYTES)]


def prove_possession(seed: bytes, member_id: str, account: Address) -> bytes:
    """Return the signature (64 bytes) of a consensus key's seed that lets `member_id`, governed by `account`, have the key."""
    return sign(seed, _digest(member_id, account, public_key(seed)))


def proves_possession(possession: bytes, member_id: str, account: Address, key: bytes) -> bool:
    """Return whether `possession` is what `prove_possession` makes for this member and account with the seed of `key`."""
    return verify(key, possession, _digest(member_id, account, key))


def _digest(member_id: str, account: Address, key: bytes) -> bytes:
    return digest(Tag.POSSESSION, ZERO_HASH, encode((member_id, account, key)))

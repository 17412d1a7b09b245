"""Ed25519 (RFC 8032) through libsodium, the one library that decides whether a signature is valid.

Libraries disagree on small-order keys, non-canonical encodings and cofactored verification; a chain where two nodes disagree
forks. So every check in the project comes through here, and its accept/reject table is frozen in a test.
"""

from functools import lru_cache
from typing import Final

from nacl.bindings import crypto_core_ed25519_is_valid_point, crypto_sign, crypto_sign_open, crypto_sign_seed_keypair
from nacl.exceptions import BadSignatureError as _SodiumBadSignature

SEED_BYTES: Final = 32
PUBLIC_KEY_BYTES: Final = 32
SIGNATURE_BYTES: Final = 64


@lru_cache(maxsize=64)
def _secret_key(seed: bytes) -> bytes:
    return crypto_sign_seed_keypair(seed)[1]


def forget_secret_keys() -> None:
    """Drop the secret keys kept for signing. Python zeroes no memory: what was there is gone when it is used again."""
    _secret_key.cache_clear()


def public_key(seed: bytes) -> bytes:
    """Return the 32-byte public key of a 32-byte seed."""
    return crypto_sign_seed_keypair(seed)[0]


def is_valid_public_key(key: bytes) -> bool:
    """Return whether `key` is a canonical point of the prime-order group: no other can have valid signatures of its own."""
    return len(key) == PUBLIC_KEY_BYTES and bool(crypto_core_ed25519_is_valid_point(key))


def sign(seed: bytes, message: bytes) -> bytes:
    """Return the 64-byte deterministic signature of `message`."""
    return crypto_sign(message, _secret_key(seed))[:SIGNATURE_BYTES]


def verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether `signature` (64 bytes) over `message` is valid under `key` (32 bytes); never raises for bad input."""
    if len(key) != PUBLIC_KEY_BYTES or len(signature) != SIGNATURE_BYTES:
        return False
    try:
        crypto_sign_open(signature + message, key)
    except _SodiumBadSignature:
        return False
    return True

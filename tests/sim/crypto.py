"""Ed25519 or a fast deterministic stand-in for it, put underneath the one module that all production code signs with.

The stand-in keeps real key pairs and the sizes of signatures; a "signature" is a hash of the public key and the message, so
nobody who plays by the rules can tell the difference and nobody here forges: lying members sign with keys of their own.
"""

import contextlib
import hashlib
from collections.abc import Iterator

from nacl.exceptions import BadSignatureError

from ledger import crypto
from ledger.crypto import SIGNATURE_BYTES

FAST_CRYPTO_NOTE = "stand-in signatures (--real-crypto uses libsodium)"


def _sign(message: bytes, secret_key: bytes) -> bytes:
    """Return signature and message, as libsodium does; the second half of a secret key is the public key."""
    return hashlib.sha512(secret_key[32:] + message).digest() + message


def _open(signed: bytes, public_key: bytes) -> bytes:
    """Return the message of a signed one; raises libsodium's error when the signature is not that of the key."""
    message = signed[SIGNATURE_BYTES:]
    if hashlib.sha512(public_key + message).digest() != signed[:SIGNATURE_BYTES]:
        raise BadSignatureError("the stand-in signature is not valid")
    return message


@contextlib.contextmanager
def signatures(*, real: bool) -> Iterator[None]:
    """Use the stand-in within the block, unless `real`."""
    if real:
        yield
        return
    saved = crypto.crypto_sign, crypto.crypto_sign_open  # type: ignore[attr-defined]
    crypto.crypto_sign, crypto.crypto_sign_open = _sign, _open  # type: ignore[assignment,attr-defined]
    try:
        yield
    finally:
        crypto.crypto_sign, crypto.crypto_sign_open = saved  # type: ignore[attr-defined]

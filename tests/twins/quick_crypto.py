"""A fast stand-in for Ed25519, installed explicitly and only while a test runs: signatures that anyone could forge.

The real replicas never forge, so agreement and progress do not depend on it; that checks are made at all does not either: a
signature of another key or message is refused here as well. It replaces `sign` and `verify` of `ledger.crypto` in every module
that has imported them.
"""

import hashlib
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from types import ModuleType

from ledger import crypto

_public_key = lru_cache(maxsize=64)(crypto.public_key)


def quick_sign(seed: bytes, message: bytes) -> bytes:
    """Return 64 bytes that `quick_verify` takes for a signature of this seed's key over `message`."""
    return _signature(_public_key(seed), message)


def quick_verify(key: bytes, signature: bytes, message: bytes) -> bool:
    """Return whether `quick_sign` gave `signature` for this key and message."""
    return signature == _signature(key, message)


def _signature(key: bytes, message: bytes) -> bytes:
    return hashlib.sha512(key + message).digest()


def _users(name: str, function: object) -> list[ModuleType]:
    roots = ("consensus", "ledger", "tests")
    modules = [module for key, module in list(sys.modules.items()) if key.split(".", 1)[0] in roots]
    return [module for module in modules if module.__dict__.get(name) is function]


@contextmanager
def quick_crypto() -> Iterator[int]:
    """Install the stand-in, yield in how many places, and bring libsodium back."""
    swaps = [("sign", crypto.sign, quick_sign), ("verify", crypto.verify, quick_verify)]
    places = [(module, name, real, quick) for name, real, quick in swaps for module in _users(name, real)]
    for module, name, _, quick in places:
        setattr(module, name, quick)
    try:
        yield len(places)
    finally:
        for module, name, real, _ in places:
            setattr(module, name, real)

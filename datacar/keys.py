"""Wallet keys: BIP-39 words -> seed -> SLIP-0010 Ed25519 keys at `m/44'/coin'/account'/0'/index'`.

The words and their optional passphrase are the whole backup: the same ones give the same keys in any wallet that follows
BIP-39 and SLIP-0010. Ed25519 has hardened derivation only.
"""

import hmac
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Final, Self

from mnemonic import Mnemonic

from ledger import crypto
from ledger.errors import BadEncodingError

WORD_COUNTS: Final = (12, 15, 18, 21, 24)
DEFAULT_WORDS: Final = 24
COIN_TYPE: Final = 1  # SLIP-0044: 1 is for tests and for chains without a registered number
HARDENED: Final = 2**31
MAX_PATH_DEPTH: Final = 16

_MASTER_KEY: Final = b"ed25519 seed"
_PATH_STEP: Final = re.compile(r"(0|[1-9][0-9]{0,9})'", re.ASCII)


class BadMnemonicError(BadEncodingError):
    """Words that are no BIP-39 phrase. The message never repeats a word: phrases must not end up in logs."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message, hint="check the words and their order against the backup", **details)


class BadPathError(BadEncodingError):
    """A derivation path that Ed25519 does not have."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(message, hint="write a path of hardened steps such as m/44'/1'/0'/0'/0'", **details)


@dataclass(frozen=True, slots=True)
class KeyPair:
    """An Ed25519 key pair: the 32-byte seed (secret, never shown) and the 32-byte public key."""

    seed: bytes = field(repr=False)
    public_key: bytes

    @classmethod
    def from_seed(cls, seed: bytes) -> Self:
        """Return the pair of a 32-byte secret seed."""
        if len(seed) != crypto.SEED_BYTES:
            raise BadEncodingError(
                f"an Ed25519 seed has {crypto.SEED_BYTES} bytes, got {len(seed)}", hint="export the key again from its wallet"
            )
        return cls(seed, crypto.public_key(seed))

    def sign(self, message: bytes) -> bytes:
        """Return the 64-byte signature of `message`."""
        return crypto.sign(self.seed, message)


@dataclass(frozen=True, slots=True)
class ExtendedKey:
    """A node of the SLIP-0010 tree: 32-byte secret and 32-byte chain code (which is as secret)."""

    secret: bytes = field(repr=False)
    chain_code: bytes = field(repr=False)

    @classmethod
    def master(cls, seed: bytes) -> Self:
        """Return the root of the tree that `seed` (16-64 bytes) spans."""
        if not 16 <= len(seed) <= 64:
            raise BadEncodingError(f"a master seed has 16 to 64 bytes, got {len(seed)}", hint="use the 64 bytes of BIP-39")
        return cls._of(_MASTER_KEY, seed)

    def child(self, index: int) -> Self:
        """Return the hardened child `index` (0 <= index < 2^31, written index')."""
        if not 0 <= index < HARDENED:
            raise BadPathError(f"path step {index} is outside 0..{HARDENED - 1}", limit=HARDENED - 1, got=index)
        return self._of(self.chain_code, b"\0" + self.secret + (HARDENED + index).to_bytes(4, "big"))

    def derive(self, steps: tuple[int, ...]) -> Self:
        """Return the descendant at `steps`, each of them hardened."""
        key = self
        for index in steps:
            key = key.child(index)
        return key

    @classmethod
    def _of(cls, key: bytes, data: bytes) -> Self:
        node = hmac.digest(key, data, "sha512")
        return cls(node[:32], node[32:])


def generate_mnemonic(words: int = DEFAULT_WORDS) -> str:
    """Return a new random phrase of 12, 15, 18, 21 or 24 English words (24: 256 bits) from the system's randomness."""
    _check_word_count(words)
    return _english().generate(strength=words // 3 * 32)


def normalize_mnemonic(phrase: str) -> str:
    """Return `phrase` in lower case with single spaces, checked; raises `BadMnemonicError` with what is wrong."""
    words = Mnemonic.normalize_string(phrase).lower().split()
    _check_word_count(len(words))
    known = frozenset(_english().wordlist)
    unknown = [position for position, word in enumerate(words, start=1) if word not in known]
    if unknown:
        positions = ", ".join(map(str, unknown))
        raise BadMnemonicError(f"not in BIP-39's English list: word number {positions}", positions=unknown)
    if not _english().check(" ".join(words)):
        raise BadMnemonicError("the words' checksum does not match: one is wrong, or the order is")
    return " ".join(words)


def mnemonic_to_seed(phrase: str, passphrase: str = "") -> bytes:
    """Return the 64-byte BIP-39 seed of a phrase. Any passphrase is valid and gives other keys."""
    return Mnemonic.to_seed(normalize_mnemonic(phrase), passphrase)


def key_path(account: int = 0, index: int = 0, *, coin_type: int = COIN_TYPE) -> str:
    """Return the text of the path `m/44'/coin_type'/account'/0'/index'`."""
    return f"m/44'/{coin_type}'/{account}'/0'/{index}'"


def parse_path(path: str) -> tuple[int, ...]:
    """Return the steps of a path such as `m/44'/1'/0'/0'/0'` (`m` alone has none); raises `BadPathError`."""
    root, *steps = path.split("/", MAX_PATH_DEPTH + 1)
    if root != "m":
        raise BadPathError("a derivation path starts with m")
    if len(steps) > MAX_PATH_DEPTH:
        raise BadPathError(f"a derivation path has at most {MAX_PATH_DEPTH} steps", limit=MAX_PATH_DEPTH)
    return tuple(_parse_step(step) for step in steps)


def key_from_mnemonic(
    phrase: str, *, passphrase: str = "", account: int = 0, index: int = 0, coin_type: int = COIN_TYPE
) -> KeyPair:
    """Return the key pair at `m/44'/coin_type'/account'/0'/index'` of a phrase and its optional passphrase."""
    steps = parse_path(key_path(account, index, coin_type=coin_type))
    return KeyPair.from_seed(ExtendedKey.master(mnemonic_to_seed(phrase, passphrase)).derive(steps).secret)


@lru_cache(maxsize=1)
def _english() -> Mnemonic:
    return Mnemonic("english")


def _check_word_count(count: int) -> None:
    if count not in WORD_COUNTS:
        raise BadMnemonicError(f"a phrase has 12, 15, 18, 21 or 24 words, got {count}", got=count)


def _parse_step(step: str) -> int:
    match = _PATH_STEP.fullmatch(step)
    if match is None:
        raise BadPathError(f"path step {step!r} is not a number followed by ' (Ed25519 has hardened steps only)")
    index = int(match[1])
    if index >= HARDENED:
        raise BadPathError(f"path step {index} is outside 0..{HARDENED - 1}", limit=HARDENED - 1, got=index)
    return index

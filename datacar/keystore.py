"""Encrypted keystore files: one secret under a password (scrypt, RFC 7914, then AES-256-GCM), as versioned JSON.

Everything else in the file (kind, public labels, parameters) is readable without the password and authenticated with it: a
changed label makes the file refuse to open. A file is written whole or not at all, mode 0600, and never over another one unasked.
"""

import os
import re
import tempfile
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Final, Self

import orjson
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.scrypt import Scrypt

from ledger import codec
from ledger.errors import BadEncodingError, NotFoundError, RejectedError, TooLargeError

VERSION: Final = 1
MAX_FILE_BYTES: Final = 64 * 1024
MAX_SECRET_BYTES: Final = 4 * 1024
MAX_SCRYPT_MEMORY_BYTES: Final = 256 * 1024 * 1024
MAX_SCRYPT_WORK: Final = 2**22  # n * r * p: four times the default's

_KDF: Final = "scrypt"
_CIPHER: Final = "aes-256-gcm"
_KEY_BYTES: Final = 32
_SALT_BYTES: Final = 32
_NONCE_BYTES: Final = 12
_TAG_BYTES: Final = 16
_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,31}", re.ASCII)


class BadKeystoreError(BadEncodingError):
    """A file that is no keystore of this version, or asks for more than a keystore may."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__(f"not a usable keystore: {message}", hint="restore the file from its backup", **details)


class WrongPasswordError(RejectedError):
    """The password is wrong, or the file was changed after it was written: the cipher cannot tell which."""

    is_local: ClassVar = True

    def __init__(self) -> None:
        super().__init__(
            "not_permitted", "wrong password, or the keystore was changed", hint="try again, or restore the file from its backup"
        )


class KeystoreExistsError(RejectedError):
    """Something stands where the keystore would go; what it holds may be the only copy of a key."""

    is_local: ClassVar = True

    def __init__(self, path: Path) -> None:
        super().__init__(
            "not_permitted", f"{path} exists already", hint="choose another name, or ask for it to be overwritten", path=str(path)
        )


@dataclass(frozen=True, slots=True)
class ScryptParams:
    """The cost of one password guess: about 128 * n * r bytes of memory and n * r * p steps.

    The default takes 128 MiB. Raises `BadKeystoreError` for values that scrypt does not have or that would exhaust a machine.
    """

    n: int = 2**17
    r: int = 8
    p: int = 1

    def __post_init__(self) -> None:
        if min(self.n, self.r, self.p) < 1 or self.n < 2 or self.n & (self.n - 1):
            raise BadKeystoreError(
                f"scrypt needs n, a power of two over 1, and r, p over 0, got n={self.n} r={self.r} p={self.p}"
            )
        memory_bytes = 128 * self.r * (self.n + self.p)
        if memory_bytes > MAX_SCRYPT_MEMORY_BYTES:
            raise BadKeystoreError(
                f"scrypt would take {memory_bytes} bytes, over a limit of {MAX_SCRYPT_MEMORY_BYTES}",
                limit=MAX_SCRYPT_MEMORY_BYTES,
                got=memory_bytes,
            )
        work = self.n * self.r * self.p
        if work > MAX_SCRYPT_WORK:
            raise BadKeystoreError(
                f"scrypt would take {work} steps, over a limit of {MAX_SCRYPT_WORK}", limit=MAX_SCRYPT_WORK, got=work
            )

    def derive(self, password: str, salt: bytes) -> bytes:
        """Return the 32-byte key of `password`; the same password typed on another keyboard (NFKD) gives the same key."""
        normal = unicodedata.normalize("NFKD", password).encode("utf-8", "surrogatepass")
        return Scrypt(salt=salt, length=_KEY_BYTES, n=self.n, r=self.r, p=self.p).derive(normal)


DEFAULT_SCRYPT: Final = ScryptParams()


@dataclass(frozen=True, slots=True)
class Keystore:
    """A locked secret. `kind` says what it is (`mnemonic`, `seed`); `public` holds labels that need no password."""

    kind: str
    public: Mapping[str, str]
    scrypt: ScryptParams
    salt: bytes
    nonce: bytes
    ciphertext: bytes = field(repr=False)

    def unlock(self, password: str) -> bytes:
        """Return the secret; raises `WrongPasswordError`. Takes about half a second and 128 MiB by default."""
        key = self.scrypt.derive(password, self.salt)
        try:
            return AESGCM(key).decrypt(
                self.nonce, self.ciphertext, _authenticated(self.kind, self.public, self.scrypt, self.salt)
            )
        except InvalidTag:
            raise WrongPasswordError from None

    def to_json(self) -> bytes:
        """Return the file's bytes: indented JSON, bytes as hex."""
        document = {
            "version": VERSION,
            "kind": self.kind,
            "public": dict(self.public),
            "kdf": {"name": _KDF, "n": self.scrypt.n, "r": self.scrypt.r, "p": self.scrypt.p, "salt": self.salt.hex()},
            "cipher": {"name": _CIPHER, "nonce": self.nonce.hex(), "ciphertext": self.ciphertext.hex()},
        }
        return orjson.dumps(document, option=orjson.OPT_INDENT_2 | orjson.OPT_APPEND_NEWLINE)

    @classmethod
    def from_json(cls, data: bytes) -> Self:
        """Return the keystore in a file's bytes, every field checked; raises `BadKeystoreError` or `TooLargeError`."""
        if len(data) > MAX_FILE_BYTES:
            raise TooLargeError("keystore file", limit=MAX_FILE_BYTES, got=len(data), hint="this is not a keystore")
        try:
            document = orjson.loads(data)
        except orjson.JSONDecodeError as error:
            raise BadKeystoreError(f"not JSON: {error}") from None
        _check_version(document)
        top = _exact_fields(document, {"version", "kind", "public", "kdf", "cipher"}, "keystore")
        kdf = _exact_fields(top["kdf"], {"name", "n", "r", "p", "salt"}, "kdf")
        cipher = _exact_fields(top["cipher"], {"name", "nonce", "ciphertext"}, "cipher")
        _check_name(kdf["name"], _KDF)
        _check_name(cipher["name"], _CIPHER)
        return cls(
            kind=_kind(top["kind"]),
            public=_labels(top["public"]),
            scrypt=ScryptParams(_integer(kdf["n"], "n"), _integer(kdf["r"], "r"), _integer(kdf["p"], "p")),
            salt=_hex(kdf["salt"], "salt", _SALT_BYTES, _SALT_BYTES),
            nonce=_hex(cipher["nonce"], "nonce", _NONCE_BYTES, _NONCE_BYTES),
            ciphertext=_hex(cipher["ciphertext"], "ciphertext", _TAG_BYTES, _TAG_BYTES + MAX_SECRET_BYTES),
        )


def lock(
    secret: bytes,
    password: str,
    *,
    kind: str,
    public: Mapping[str, str] | None = None,
    scrypt: ScryptParams = DEFAULT_SCRYPT,
) -> Keystore:
    """Return `secret` (at most 4 KiB) locked with `password` (not empty) under a fresh salt and nonce.

    `public` labels (an address, a path) stay readable; they cannot be changed without the password.
    """
    if not password:
        raise RejectedError("not_permitted", "the password is empty", hint="choose a password for the keystore")
    if len(secret) > MAX_SECRET_BYTES:
        raise TooLargeError("secret", limit=MAX_SECRET_BYTES, got=len(secret))
    kind, labels = _kind(kind), _labels(dict(public or {}))
    salt, nonce = os.urandom(_SALT_BYTES), os.urandom(_NONCE_BYTES)
    key = scrypt.derive(password, salt)
    ciphertext = AESGCM(key).encrypt(nonce, secret, _authenticated(kind, labels, scrypt, salt))
    return Keystore(kind, labels, scrypt, salt, nonce, ciphertext)


def read(path: Path) -> Keystore:
    """Return the keystore at `path`, still locked; raises `NotFoundError`, `BadKeystoreError` or `TooLargeError`."""
    try:
        with path.open("rb") as file:
            data = file.read(MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        raise NotFoundError("not_found", f"there is no keystore at {path}", hint="check the name", path=str(path)) from None
    return Keystore.from_json(data)


def write(path: Path, keystore: Keystore, *, overwrite: bool = False) -> None:
    """Write `keystore` to `path`, durably and whole, mode 0600; folders are made with mode 0700.

    Raises `KeystoreExistsError` when `path` exists and `overwrite` is not set, however close the race; `OSError` from the disk.
    """
    data = keystore.to_json()
    if len(data) > MAX_FILE_BYTES:
        raise TooLargeError("keystore file", limit=MAX_FILE_BYTES, got=len(data), hint="use fewer or shorter labels")
    if not overwrite and path.exists():
        raise KeystoreExistsError(path)
    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
    descriptor, name = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)  # mode 0600 from the first byte
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            os.fsync(file.fileno())
        _publish(temporary, path, overwrite=overwrite)
    finally:
        temporary.unlink(missing_ok=True)
    _sync_folder(path.parent)


def _publish(temporary: Path, path: Path, *, overwrite: bool) -> None:
    """Give the finished file its name in one step; a hard link, unlike a rename, never replaces what is there."""
    if overwrite:
        temporary.replace(path)
        return
    try:
        path.hardlink_to(temporary)
    except FileExistsError:
        raise KeystoreExistsError(path) from None


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _authenticated(kind: str, public: Mapping[str, str], scrypt: ScryptParams, salt: bytes) -> bytes:
    """Return the canonical bytes of all that is not secret: AES-GCM's additional data."""
    labels = tuple(sorted(public.items()))
    return codec.encode(("datacar-keystore", VERSION, kind, labels, _KDF, scrypt.n, scrypt.r, scrypt.p, salt, _CIPHER))


def _check_version(document: object) -> None:
    """Refuse other versions before their fields are looked at."""
    version = document.get("version") if isinstance(document, dict) else None
    if type(version) is not int or version != VERSION:
        raise BadKeystoreError(f"its version is {version!r}, this program reads {VERSION}", expected=VERSION)


def _exact_fields(value: object, names: set[str], what: str) -> dict[str, object]:
    if not isinstance(value, dict) or set(value) != names:
        raise BadKeystoreError(f"{what} must have exactly the fields {', '.join(sorted(names))}")
    return value


def _check_name(value: object, expected: str) -> None:
    if value != expected:
        raise BadKeystoreError(f"it uses {value!r}, this program knows {expected!r}", expected=expected)


def _kind(value: object) -> str:
    if not isinstance(value, str) or not _KIND.fullmatch(value):
        raise BadKeystoreError("kind must be a short lower-case word")
    return value


def _labels(value: object) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for pair in value.items() for item in pair):
        raise BadKeystoreError("public must be an object of texts")
    return value


def _integer(value: object, what: str) -> int:
    if type(value) is not int:
        raise BadKeystoreError(f"{what} must be an integer")
    return value


def _hex(value: object, what: str, low: int, high: int) -> bytes:
    """Return the bytes of a hex text, `low` to `high` of them."""
    try:
        data = bytes.fromhex(value) if isinstance(value, str) else b""
    except ValueError:
        data = b""
    if not low <= len(data) <= high:
        raise BadKeystoreError(f"{what} must be the hex of {low} to {high} bytes")
    return data

"""Files with secrets: made readable by their owner only, and refused when others may read them."""

import os
import stat
from pathlib import Path
from typing import Final

from ledger.crypto import SEED_BYTES
from ledger.errors import DatacarError

_OTHERS: Final = stat.S_IRWXG | stat.S_IRWXO
_MAX_SECRET_BYTES: Final = 64 * 1024


class SecretFileError(DatacarError):
    """A file with a secret is missing, open to others, or not what it should be. Messages never repeat its contents."""

    def __init__(self, what: str, path: Path, why: str, *, hint: str) -> None:
        super().__init__("bad_secret_file", f"{what} {path} {why}", hint=hint, path=str(path))


def write_secret(path: Path, data: bytes) -> None:
    """Write a new file that only its owner may read, synced to disk. Raises `FileExistsError`: secrets are never overwritten."""
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(descriptor, "wb") as file:
        file.write(data)
        file.flush()
        os.fsync(file.fileno())


def write_seed(path: Path, seed: bytes) -> None:
    """Write a 32-byte seed as hex into a new secret file."""
    write_secret(path, seed_text(seed))


def seed_text(seed: bytes) -> bytes:
    """Return what a secret file with this 32-byte seed holds."""
    return seed.hex().encode() + b"\n"


def read_secret(path: Path, what: str) -> bytes:
    """Return the contents of a secret file; `what` names it in errors. Raises `SecretFileError`."""
    try:
        with path.open("rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                raise SecretFileError(what, path, "is not a file", hint="name the key file itself")
            if mode := stat.S_IMODE(status.st_mode) & _OTHERS:
                shown = stat.S_IMODE(status.st_mode)
                why = f"may be used by others than its owner (mode {shown:04o})"
                raise SecretFileError(what, path, why, hint=f"chmod {shown & ~mode:o} {path}, and ask who may have read it")
            return file.read(_MAX_SECRET_BYTES)
    except FileNotFoundError as error:
        raise SecretFileError(what, path, "does not exist", hint="make keys with `datacar init`, or restore a backup") from error
    except (PermissionError, IsADirectoryError) as error:
        raise SecretFileError(what, path, "cannot be read", hint="run the node as the owner of its key files") from error


def read_seed(path: Path, what: str) -> bytes:
    """Return the 32-byte seed in a secret file of 64 hex digits. Raises `SecretFileError`."""
    try:
        seed = bytes.fromhex(read_secret(path, what).decode("ascii").strip())
    except ValueError:
        seed = b""
    if len(seed) != SEED_BYTES:
        raise SecretFileError(what, path, f"does not hold {2 * SEED_BYTES} hex digits", hint="restore it from a backup")
    return seed

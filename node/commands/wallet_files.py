"""Wallets on this machine: a keystore file each, its name, and the password that opens it."""

import contextlib
import os
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from datacar import keystore
from datacar.keys import key_path
from datacar.wallet import Wallet
from ledger.errors import BadEncodingError, DatacarError, NotFoundError
from ledger.policy import parse_address

PASSWORD_VARIABLE: Final = "DATACAR__CLIENT__PASSWORD"  # noqa: S105 - a name, no password
KIND: Final = "mnemonic"
MAX_PASSWORD_BYTES: Final = 4 * 1024

_SUFFIX: Final = ".json"
_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)

PasswordFile = Annotated[
    Path | None,
    typer.Option("--password-file", help=f"A file whose first line is the password (else {PASSWORD_VARIABLE}, else asked)."),
]


@dataclass(frozen=True, slots=True)
class WalletFile:
    """A wallet as its file shows it without the password. `public_key` is 0x hex, empty in files of earlier versions."""

    name: str
    address: str
    path: str
    file: Path
    public_key: str = ""


def wallets_home() -> Path:
    """Return the folder of keystores: `$XDG_DATA_HOME/datacar/wallets`, else under `~/.local/share`."""
    given = Path(os.environ.get("XDG_DATA_HOME", ""))
    return (given if given.is_absolute() else Path.home() / ".local/share") / "datacar" / "wallets"


def check_name(name: str) -> str:
    """Return a wallet's name; raises `BadEncodingError` for one that is no safe file name."""
    if not _NAME.fullmatch(name):
        raise BadEncodingError(f"{name!r} is no wallet name", hint="use 1 to 32 characters of a-z, 0-9, - and _")
    return name


def check_address(text: str) -> str:
    """Return an address as given; raises `BadEncodingError` when it is none."""
    parse_address(text)
    return text


def save(name: str, wallet: Wallet, password: str, *, account: int, index: int) -> WalletFile:
    """Write a wallet's words, locked with `password`. Raises `KeystoreExistsError`: nothing is ever overwritten."""
    file = _file_of(name)
    labels = {
        "address": wallet.address,
        "public_key": "0x" + wallet.key.public_key.hex(),
        "path": key_path(account, index),
        "account": str(account),
        "index": str(index),
    }
    keystore.write(file, keystore.lock(wallet.mnemonic.encode(), password, kind=KIND, public=labels))
    return WalletFile(name, wallet.address, labels["path"], file, labels["public_key"])


def check_free(name: str) -> None:
    """Raise `KeystoreExistsError` before anyone types a password for a name that is taken."""
    if (file := _file_of(name)).exists():
        raise keystore.KeystoreExistsError(file)


def look(name: str) -> WalletFile:
    """Return what a wallet's file shows without its password. Raises `NotFoundError`, `BadKeystoreError`."""
    file = _file_of(name)
    if not file.exists():
        raise NotFoundError(
            "not_found", f"there is no wallet {name}", hint="`datacar wallet list` shows them, `wallet new` makes one", name=name
        )
    public = keystore.read(file).public
    return WalletFile(name, public.get("address", ""), public.get("path", ""), file, public.get("public_key", ""))


def unlock(name: str, password: str) -> Wallet:
    """Return the wallet with its key. Raises `WrongPasswordError`, or `BadKeystoreError` when it holds another key."""
    found = look(name)
    locked = keystore.read(found.file)
    words = locked.unlock(password).decode()
    account, index = (int(locked.public.get(label, "0")) for label in ("account", "index"))
    wallet = Wallet.from_mnemonic(words, account=account, index=index)
    if wallet.address != found.address:
        raise keystore.BadKeystoreError(f"its key has the address {wallet.address}, its label says {found.address}")
    return wallet


def names() -> list[str]:
    """Return the names of all wallets, sorted."""
    home = wallets_home()
    found = [file.stem for file in home.glob(f"*{_SUFFIX}")] if home.is_dir() else []
    return sorted(name for name in found if _NAME.fullmatch(name))


def readable() -> list[WalletFile]:
    """Return the wallets whose files can be read, sorted by name; a damaged one is no hindrance for the others."""
    found = []
    for name in names():
        with contextlib.suppress(DatacarError, OSError):
            found.append(look(name))
    return found


def read_password(file: Path | None, *, confirm: bool = False) -> str:
    """Return the password: the first line of `file`, else from the environment, else asked for on the terminal."""
    if file is not None:
        with file.open(encoding="utf-8") as stream:
            return stream.read(MAX_PASSWORD_BYTES).partition("\n")[0].removesuffix("\r")
    if (given := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return given
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
    return asked


def _file_of(name: str) -> Path:
    return wallets_home() / (check_name(name) + _SUFFIX)

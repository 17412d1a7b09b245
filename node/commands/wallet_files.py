"""Wallets on this machine: a keystore file each, its name, and the password that opens it."""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import typer

from datacar import keystore
from datacar.keys import key_path
from datacar.wallet import Wallet
from ledger.errors import BadEncodingError, DatacarError, NotFoundError
from ledger.policy import HRP, format_address, parse_address
from node.commands.agreement import check_can_ask
from node.commands.sending_options import PASSWORD_VARIABLE, check_name, is_name
from node.secret_files import read_secret

KIND: Final = "mnemonic"
MAX_PASSWORD_BYTES: Final = 4 * 1024

_SUFFIX: Final = ".json"


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


def account_address(text: str) -> str:
    """Return an account's address: one that is given, or that of a wallet here. Raises `BadEncodingError`, `NotFoundError`."""
    if is_name(text) and not text.startswith(f"{HRP}1"):
        try:
            return look(text).address
        except NotFoundError as error:
            hint = "give datr1... or one of `datacar wallet list`"
            raise NotFoundError(error.reason, f"{text!r} is no address and no wallet here", hint=hint) from error
    return format_address(parse_address(text))


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
    return sorted(name for name in found if is_name(name))


def readable() -> list[WalletFile]:
    """Return the wallets whose files can be read, sorted by name; a damaged one is no hindrance for the others."""
    found = []
    for name in names():
        with contextlib.suppress(DatacarError, OSError):
            found.append(look(name))
    return found


def read_password(file: Path | None, *, confirm: bool = False) -> str:
    """Return the password: the first line of `file`, else from the environment, else asked for on the terminal.

    Raises `SecretFileError` for a file that others than its owner may use; a pipe is nobody else's. Without a terminal to ask on
    raises `NotConfirmedError`.
    """
    if file is not None:
        return _first_line(file)
    if (given := os.environ.get(PASSWORD_VARIABLE)) is not None:
        return given
    check_can_ask(yes=False, hint=f"give --password-file FILE, or the password in {PASSWORD_VARIABLE}")
    asked: str = typer.prompt("Password", hide_input=True, confirmation_prompt=confirm, err=True)
    return asked


def _first_line(file: Path) -> str:
    if file.is_file():
        data = read_secret(file, "the password file")
    else:  # a pipe, or nothing
        with file.open("rb") as stream:
            data = stream.read(MAX_PASSWORD_BYTES)
    try:
        return data[:MAX_PASSWORD_BYTES].decode("utf-8").partition("\n")[0].removesuffix("\r")
    except UnicodeDecodeError as error:
        raise BadEncodingError(f"{file} is not UTF-8 text", hint="its first line is the password") from error


def _file_of(name: str) -> Path:
    return wallets_home() / (check_name(name) + _SUFFIX)

"""Who acts in a command that sends: a wallet on this machine, a key file, or an account of several keys that sign later.

An account is known before its password is asked for, so that everything is shown and confirmed first.
"""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

import typer

from datacar.keystore import BadKeystoreError
from datacar.multisig import MAX_TEXT_CHARS, Multisig, PendingTransaction
from datacar.units import MOMENT_MS, BadValueError
from datacar.wallet import Wallet
from ledger.errors import DatacarError
from ledger.policy import KeyPolicy, contract_address, format_address, parse_address
from ledger.types import Address
from node.commands import wallet_files
from node.commands.output import print_json, print_pairs
from node.commands.sending_options import DEFAULT_WALLET
from node.durable import replacing_text
from node.secret_files import read_seed

if TYPE_CHECKING:
    from vm.registry import Registry


@dataclass(frozen=True, slots=True)
class Sender:
    """Who acts. `unlock` returns the wallet that signs and may ask for its password; None for an account of several keys."""

    policy: KeyPolicy
    name: str
    unlock: Callable[[], Wallet] | None

    @property
    def address(self) -> str:
        """Return the account's address."""
        return format_address(self.policy.address)

    def wallet(self) -> Wallet:
        """Return the wallet that signs, which may ask for its password. Raises a usage error for an account of several keys."""
        if self.unlock is None:
            raise typer.BadParameter("an account of several keys cannot sign by itself", param_hint="--multisig")
        return self.unlock()


def read_sender(wallet: str | None, key: Path | None, multisig: Path | None, password_file: Path | None) -> Sender:
    """Return who acts. Raises a usage error for more than one, `NotFoundError`, `SecretFileError`, `BadFileError`."""
    if sum(each is not None for each in (wallet, key, multisig)) > 1:
        raise typer.BadParameter("only one of them can act", param_hint="--wallet / --key / --multisig")
    if multisig is not None:
        return Sender(Multisig.from_text(read_text_file(multisig)).policy, f"account {multisig}", None)
    if key is not None:
        signer = Wallet.from_seed(read_seed(key.expanduser(), "the key"))
        return Sender(signer.policy, f"key {key}", lambda: signer)
    name = wallet or DEFAULT_WALLET
    found = wallet_files.look(name)

    @cache
    def unlock() -> Wallet:
        return wallet_files.unlock(name, wallet_files.read_password(password_file))

    policy = KeyPolicy.single(bytes.fromhex(found.public_key[2:])) if found.public_key else unlock().policy
    if format_address(policy.address) != found.address:
        raise BadKeystoreError(f"the labels of wallet {name} contradict one another")
    return Sender(policy, f"wallet {name}", unlock)


def read_text_file(path: Path) -> str:
    """Return a small text file, or what is over its limit, which then is refused. Raises `OSError`."""
    with path.open(encoding="utf-8", errors="replace") as file:
        return file.read(MAX_TEXT_CHARS + 1)


def address_of(name: str) -> Address:
    """Return the account of a wallet's name. Raises `BadValueError`."""
    try:
        return parse_address(wallet_files.look(name).address)
    except DatacarError as error:
        raise BadValueError(
            f"{name!r} is no address and no wallet here", "give datr1... or one of `datacar wallet list`"
        ) from error


def known_accounts(registry: "Registry") -> dict[str, str]:
    """Return whose an address is, by its text: the wallets on this machine, the contracts and the account of fees."""
    names = {"fees": contract_address("fees")} | {name: registry.entry(name).address for name in registry.names()}
    contracts = {format_address(address): f"contract {name}" for name, address in names.items()}
    return contracts | {each.address: f"wallet {each.name}" for each in wallet_files.readable()}


def check_new(path: Path | None, option: str = "--out") -> None:
    """Raise a usage error where a file would be overwritten: it may be an account's, or hold what others have signed."""
    if path is not None and path.exists():
        raise typer.BadParameter(f"there is a file already: {path}; choose another name", param_hint=option)


def write_pending(path: Path, pending: PendingTransaction, registry: "Registry", *, as_json: bool) -> None:
    """Write a transaction that is being signed to a file, replaced as a whole, and print how it stands."""
    with replacing_text(path) as file:
        file.write(pending.to_text(registry))
    print_pending(path, pending, as_json=as_json)


def print_pending(path: Path, pending: PendingTransaction, *, as_json: bool) -> None:
    """Print how the collecting of a transaction's signatures stands."""
    shown: dict[str, object] = {
        "file": str(path),
        "id": "0x" + pending.id.hex(),
        "account": pending.multisig.address,
        "signatures": len(pending.signatures),
        "needed": pending.body.policy.threshold,
        "missing": pending.missing,
        "valid_until": MOMENT_MS.show(pending.body.valid_until_ms),
    }
    if as_json:
        signed = ["0x" + key.hex() for key in pending.signed_by]
        print_json({**shown, "valid_until_ms": pending.body.valid_until_ms, "signed_by": signed})
    else:
        print_pairs(shown)

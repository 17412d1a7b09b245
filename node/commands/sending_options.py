"""The options of commands that send: who signs, how it is confirmed, and how much gas it may use.

Help shows them, so nothing is imported here that a command needs only when it runs.
"""

import re
from pathlib import Path
from typing import Annotated, Final

import typer

from ledger.errors import BadEncodingError
from node.commands.exits import usage

DEFAULT_WALLET: Final = "default"
PASSWORD_VARIABLE: Final = "DATACAR__CLIENT__PASSWORD"  # noqa: S105 - a name, no password

_NAME: Final = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}", re.ASCII)


def is_name(name: str) -> bool:
    """Return whether a text is a wallet's name, which is safe as a file's."""
    return _NAME.fullmatch(name) is not None


def check_name(name: str) -> str:
    """Return a wallet's name; raises `BadEncodingError` for one that is no safe file name."""
    if not is_name(name):
        raise BadEncodingError(f"{name!r} is no wallet name", hint="use 1 to 32 characters of a-z, 0-9, - and _")
    return name


WalletName = Annotated[
    str | None,
    typer.Option(
        "--wallet", metavar="NAME", parser=usage(check_name), help=f"The wallet that signs; {DEFAULT_WALLET} if none is named."
    ),
]
KeyFile = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="A key file (hex of a seed) that signs instead.")]
MultisigFile = Annotated[
    Path | None,
    typer.Option("--multisig", metavar="FILE", help="An account of several keys that acts instead: they sign the file --out."),
]
PasswordFile = Annotated[
    Path | None,
    typer.Option(
        "--password-file",
        help=f"A file whose first line is the password, and that only its owner may read (else {PASSWORD_VARIABLE}, else asked).",
    ),
]
Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")]
GasLimit = Annotated[
    int | None, typer.Option("--gas-limit", min=1, metavar="GAS", help="The most gas; by simulation if not given.")
]
TxReference = Annotated[str, typer.Option("--tx-reference", metavar="TEXT", help="A business id to send along.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="With --multisig: the new file that its keys sign.")]

"""What commands that talk to a node share: its address, how long to wait, and the client made of them."""

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from datacar.rpc import DEFAULT_URL, Endpoint
from ledger.errors import BadEncodingError, DatacarError
from node.commands.exits import usage

if TYPE_CHECKING:
    from datacar.client import Client

GENESIS_VARIABLE: Final = "DATACAR__CLIENT__GENESIS_HASH"
MAX_RAW_CHARS: Final = 256 * 1024


def _url(text: str) -> str:
    Endpoint.parse(text)
    return text


Rpc = Annotated[
    str,
    typer.Option("--rpc", metavar="URL", envvar="DATACAR__CLIENT__RPC", parser=usage(_url), help="The node's RPC address."),
]
Timeout = Annotated[
    float,
    typer.Option(
        "--timeout", metavar="SECONDS", envvar="DATACAR__CLIENT__TIMEOUT", min=0.1, help="How long to wait for an answer."
    ),
]
DEFAULT_RPC: Final = DEFAULT_URL
DEFAULT_TIMEOUT: Final = 30.0


def expected_genesis() -> bytes | None:
    """Return the hash of the genesis that the environment says all nodes must have. Raises a usage error."""
    from datacar.receipt import genesis_hash_of  # here, since help needs none of it

    text = os.environ.get(GENESIS_VARIABLE)
    try:
        return genesis_hash_of(text) if text else None
    except DatacarError as error:
        raise typer.BadParameter(f"{error.message} ({error.hint})", param_hint=GENESIS_VARIABLE) from error


def connect(url: str, timeout_s: float) -> "Client":
    """Return the client of a command; signs only for the chain that `DATACAR__CLIENT__GENESIS_HASH` names."""
    from datacar.client import Client  # here, since help needs none of it

    return Client(url, timeout_s, genesis_hash=expected_genesis())


def call(url: str, timeout_s: float, method: str, /, **params: Any) -> Any:
    """Return the result of one RPC call. Raises what the node says, or `UnreachableError`."""
    with connect(url, timeout_s) as client:
        return client.call(method, **params)


def read_raw(source: str) -> bytes:
    """Return a transaction's bytes from 0x hex, from a file that holds it, or from standard input for `-`.

    Raises `BadEncodingError`, `OSError`.
    """
    text = source if source.startswith("0x") else sys.stdin.read(MAX_RAW_CHARS) if source == "-" else _file_text(Path(source))
    try:
        return bytes.fromhex(text.strip().removeprefix("0x"))
    except ValueError as error:
        raise BadEncodingError(f"not a transaction in hex: {error}", hint="give 0x hex, a file that holds it, or -") from error


def _file_text(path: Path) -> str:
    with path.open(encoding="ascii", errors="replace") as file:
        return file.read(MAX_RAW_CHARS)


def expect_object(answer: Any, what: str) -> Any:
    """Return an answer that must be an object; anything else is not a Datacar node's."""
    if not isinstance(answer, dict):
        raise DatacarError("bad_answer", f"the node answered no {what}", hint="is this the RPC address of a Datacar node?")
    return answer

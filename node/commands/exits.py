"""How commands end: the exit codes of the command line, which error has which, and how an error is shown.

Commands raise errors of the `DatacarError` tree and never choose an exit code for them; the root group (`cli.py`) calls `report`.
For what a person typed wrongly, wrap the parser of the option with `usage`: the error then names the option and ends with 2.
"""

import json
from collections.abc import Callable
from enum import IntEnum
from functools import wraps
from typing import Final, ParamSpec, TypeVar

import typer

from ledger.errors import DatacarError, LimitError, RejectedError
from node.rpc.printable import printable

P = ParamSpec("P")
T = TypeVar("T")


class Exit(IntEnum):
    """What a script learns from how a command ended."""

    OK = 0
    ERROR = 1
    USAGE = 2
    UNREACHABLE = 3
    REJECTED = 4
    OUTCOME_UNKNOWN = 5
    INTERRUPTED = 130


NOT_CONFIRMED: Final = "not_confirmed"

_BY_REASON: Final = {
    NOT_CONFIRMED: Exit.USAGE,
    "unreachable": Exit.UNREACHABLE,
    "wait_timeout": Exit.OUTCOME_UNKNOWN,
    "outcome_unknown": Exit.OUTCOME_UNKNOWN,
}


def exit_code(error: DatacarError) -> Exit:
    """Return the exit code of an error: by its reason word where that says more, else by its class.

    What is refused on this machine, such as a wrong password, is no rejection (`is_local`): no node was asked for it.
    """
    if error.reason in _BY_REASON:
        return _BY_REASON[error.reason]
    if getattr(error, "is_local", False):
        return Exit.ERROR
    if isinstance(error, RejectedError | LimitError):
        return Exit.REJECTED
    return Exit.ERROR


def report(error: DatacarError | OSError, *, as_json: bool) -> Exit:
    """Show an error (message and hint on stderr; with `--json` also the error object on stdout) and return its exit code.

    On stderr amounts are in DATR; the object is what a node or an error of ours says, in motes.
    """
    from datacar.failures import explain  # here, since help and completion need none of it

    shown = error if isinstance(error, DatacarError) else _of_system(error)
    message, hint = explain(shown)
    if notes := getattr(error, "__notes__", None):  # it says it in the units of the asset that it is about
        message = notes[-1]
    typer.secho(f"error: {printable(message)}", fg=typer.colors.RED, err=True)
    if hint:
        typer.echo(f"hint: {printable(hint)}", err=True)
    if as_json:
        code = getattr(shown, "rpc_code", shown.code)  # of a `RequestRefusedError`: the node's own, which no class stands for
        body = {"code": code, "message": shown.message, "data": shown.data()}
        typer.echo(json.dumps({"error": body}, indent=2, ensure_ascii=False, default=_text))
    return exit_code(shown)


def usage(parse: Callable[P, T]) -> Callable[P, T]:
    """Return `parse` for use as an option's `parser`: what it refuses becomes a usage error (exit 2) that names the option."""

    @wraps(parse)
    def parse_or_explain(*args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return parse(*args, **kwargs)
        except DatacarError as error:
            raise typer.BadParameter(f"{error.message} ({error.hint})" if error.hint else error.message) from error

    return parse_or_explain


def _of_system(error: OSError) -> DatacarError:
    """Return what the operating system refused, as an error of our tree."""
    what = error.strerror or str(error) or type(error).__name__
    where = f": {error.filename}" if error.filename else ""
    return DatacarError("system_error", f"{what}{where}", hint="check the path, its permissions and the disk", errno=error.errno)


def _text(value: object) -> str:
    return "0x" + value.hex() if isinstance(value, bytes) else str(value)

"""How commands speak: data to stdout (JSON with `--json`, else tables), messages and progress to stderr."""

import json
import os
import sys
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Annotated, Final, TextIO

import typer

from node.rpc.printable import printable

JSON_KEY: Final = "datacar.json"


def _remember(ctx: typer.Context, value: bool) -> bool:
    """Keep the choice where the root group finds it when the command fails."""
    ctx.meta[JSON_KEY] = value
    return value


Json = Annotated[bool, typer.Option("--json", help="Print JSON to stdout.", callback=_remember)]


def print_json(value: object) -> None:
    """Print one JSON document to stdout. Bytes become 0x hex; other values JSON does not know become text."""
    typer.echo(json.dumps(value, indent=2, ensure_ascii=False, default=_plain))


def print_pairs(pairs: Mapping[str, object]) -> None:
    """Print names and values in two columns to stdout."""
    width = max(map(len, pairs), default=0)
    for name, value in pairs.items():
        typer.echo(f"{name:<{width}}  {_shown(value)}")


def print_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> None:
    """Print rows in aligned columns to stdout: plain text that a pipe can cut, nothing folded or shortened."""
    lines = [tuple(columns), *(tuple(_shown(cell) for cell in row) for row in rows)]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    for number, line in enumerate(lines):
        text = "  ".join(f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True)).rstrip()
        typer.secho(text, bold=number == 0)


def print_line(text: str) -> None:
    """Print one line to stdout that holds text of strangers."""
    typer.echo(printable(text))


def progress(message: str) -> None:
    """Say on stderr what is being done."""
    typer.echo(printable(message), err=True)


def tell(message: str) -> None:
    """As `progress`, in a command that goes on with its work though nobody reads it any more."""
    with heard_or_not(sys.stderr):
        progress(message)


@contextmanager
def heard_or_not(stream: TextIO) -> Iterator[None]:
    """Print to a standard stream inside. Where its reader has gone (`| head`) the rest goes nowhere, and nothing is raised."""
    try:
        yield
        stream.flush()
    except BrokenPipeError:
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, stream.fileno())
        os.close(nowhere)


def warn(message: str) -> None:
    """Say on stderr what deserves attention."""
    typer.secho(f"warning: {printable(message)}", fg=typer.colors.YELLOW, err=True)


def _shown(value: object) -> str:
    return "-" if value is None else "0x" + value.hex() if isinstance(value, bytes) else printable(str(value))


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        return "0x" + value.hex()
    return list(value) if isinstance(value, set | frozenset | tuple) else str(value)

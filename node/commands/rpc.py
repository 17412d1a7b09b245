"""`datacar rpc`: any method of a node, with its result as JSON."""

import json
from typing import Annotated, Any

import typer

from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call
from node.commands.output import Json, print_json

app = typer.Typer(add_completion=False)


@app.command()
def rpc(
    method: Annotated[str, typer.Argument(help="For example chain_info; rpc.discover lists all.")],
    params: Annotated[
        list[str] | None,
        typer.Argument(metavar="[K=V]...", help="Named parameters. V is JSON, else text; '\"5\"' is the text 5."),
    ] = None,
    rpc_url: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = True,
) -> None:
    """Call a JSON-RPC method and print its result."""
    del as_json  # a result is JSON in any case
    named = dict(_parameter(text) for text in params or [])
    print_json(call(rpc_url, timeout, method, **named))


def _parameter(text: str) -> tuple[str, Any]:
    """Return name and value; fractions stay text, since amounts are."""
    name, separator, value = text.partition("=")
    if not name or not separator:
        raise typer.BadParameter(f"{text!r} is not NAME=VALUE", param_hint="K=V")
    try:
        return name, json.loads(value, parse_float=str)
    except ValueError:
        return name, value

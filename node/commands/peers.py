"""`datacar peers`: the other members as one node sees them."""

from collections.abc import Mapping
from typing import Any

import typer

from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, expect_object
from node.commands.output import Json, print_json, print_table

app = typer.Typer(add_completion=False)


@app.command()
def peers(rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Show the other members: connected or not, how high, how far away."""
    found = expect_object(call(rpc, timeout, "net_peers"), "list of peers")
    if as_json:
        print_json(found)
        return
    columns = ("member", "address", "connected", "direction", "height", "round trip us", "last error")
    names = ("id", "address", "connected", "direction", "height", "rtt_us")
    print_table(columns, [[*(item[name] for name in names), _trouble(item)] for item in found["items"]])


def _trouble(peer: Mapping[str, Any]) -> str | None:
    """Return what ended or kept from coming about the last connection; where there is one now, that was before it."""
    error = peer["last_error"]
    return f"before: {error}" if error is not None and peer["connected"] else error

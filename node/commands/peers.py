"""`datacar peers`: the other members as one node sees them."""

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
    names = ("id", "address", "connected", "direction", "height", "rtt_us", "last_error")
    print_table(columns, [[item[name] for name in names] for item in found["items"]])

"""`datacar members`: who votes, and who follows."""

import typer

from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, expect_object
from node.commands.output import Json, print_json, print_pairs, print_table

app = typer.Typer(add_completion=False)


@app.command()
def members(rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Show the committee (the members that vote, and how many of them decide) and the observers."""
    found = expect_object(call(rpc, timeout, "consensus_members"), "committee")
    if as_json:
        print_json(found)
        return
    print_pairs({name: found[name] for name in ("height", "epoch", "quorum", "faults")})
    columns = ("member", "role", "address", "public key", "governance account")
    rows = [
        (item["id"], item["role"], item["p2p_address"], item["public_key"], item["account"])
        for item in (*found["members"], *found["observers"])
    ]
    print_table(columns, rows)

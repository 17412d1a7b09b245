"""`datacar account`: an account's money."""

from typing import Annotated

import typer

from datacar.amounts import format_motes
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, expect_object
from node.commands.exits import usage
from node.commands.output import Json, print_json, print_pairs
from node.commands.wallet_files import account_address

app = typer.Typer(add_completion=False)


@app.command()
def account(
    address: Annotated[str, typer.Argument(help="The account, or a wallet here.", parser=usage(account_address))],
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Show an account: free, held and locked money, in DATR."""
    show_account(address, rpc, timeout, as_json=as_json)


def show_account(address: str, rpc: str, timeout: float, *, as_json: bool) -> None:
    """Print an account's money as the node knows it; amounts in DATR, and in motes where the name says so."""
    found = expect_object(call(rpc, timeout, "account_get", address=address), "account")
    motes = {name: found["value"][name] for name in ("balance", "held", "locked", "total")}
    amounts = {name: format_motes(int(value)) for name, value in motes.items()}
    if as_json:
        named = {f"{name}_motes": value for name, value in motes.items()}
        print_json({"address": address, "height": found["height"], **amounts, **named})
    else:
        print_pairs({"address": address, "height": found["height"], **{name: f"{text} DATR" for name, text in amounts.items()}})

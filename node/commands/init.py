"""`datacar init`: keys, certificate and configuration of one member, made on its own machine."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from genesis.network import KeySource, make_node_keys
from genesis.spec_json import GENESIS_NAME, check_host_port, check_member_id, record_to_json
from ledger.types import MemberId
from node.commands.exits import usage
from node.commands.output import Json, print_json, progress
from node.config import DEFAULT_P2P_PORT, DEFAULT_RPC_PORT, P2pSection, RpcSection
from node.node_folder import Endpoints, write_node_folder

RECORD_NAME: Final = "member.json"

app = typer.Typer(add_completion=False)


@app.command()
def init(
    folder: Annotated[Path, typer.Option("--dir", help="Where to make it.")],
    member_id: Annotated[str, typer.Option("--member-id", parser=usage(check_member_id), help="This member's id.")],
    p2p_address: Annotated[
        str,
        typer.Option("--p2p-address", metavar="HOST:PORT", parser=usage(check_host_port), help="Where the others reach it."),
    ] = f"127.0.0.1:{DEFAULT_P2P_PORT}",
    as_json: Json = False,
) -> None:
    """Make the folder of a new member and print its record, which goes into the genesis file of the network.

    The record is public; the keys beside it never leave this folder, but for governance.key: it votes for the member, the node
    does without it, and its place is where the operator signs.
    """
    folder = folder.expanduser().absolute()
    keys = make_node_keys(KeySource.random(), MemberId(member_id), p2p_address)
    endpoints = Endpoints(P2pSection().host, int(p2p_address.rpartition(":")[2]), RpcSection().host, DEFAULT_RPC_PORT)
    config = write_node_folder(folder, keys, endpoints, genesis=GENESIS_NAME)
    record = record_to_json(keys.member, keys.account)
    (folder / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    progress(f"made {config} with keys; the member record is in {folder / RECORD_NAME}")
    progress(f"next: put the network's genesis file into {folder / GENESIS_NAME}, then: datacar start --config {config}")
    if as_json:
        print_json(record)
    else:
        typer.echo(json.dumps(record, indent=2))

"""`datacar init`: keys, certificate and configuration of one member, made on its own machine."""

import json
from pathlib import Path
from typing import Annotated, Final

import typer

from genesis.network import KeySource, make_node_keys
from genesis.spec import GenesisError, GenesisSpec
from genesis.spec_json import GENESIS_NAME, check_host_port, check_member_id, read_spec, record_to_json
from ledger.types import MemberId
from node.commands.exits import usage
from node.commands.output import Json, print_json, progress
from node.config import DEFAULT_P2P_PORT, DEFAULT_RPC_PORT, P2pSection, RpcSection
from node.config_file import set_in_file
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
    genesis: Annotated[
        Path | None,
        typer.Option("--genesis", metavar="FILE", help="The genesis file of a network that runs already, to join it."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Make the folder of a new member and print its record.

    The record goes into the genesis file of a new network. Where there is such a file already, given here or in the folder, this
    member is not in it: the members propose it (`datacar gov propose add-observer`), and its node starts as one that joins.

    The record is public; the keys beside it never leave this folder, but for governance.key: it votes for the member, the node
    does without it, and its place is where the operator signs.
    """
    folder = folder.expanduser().absolute()
    keys = make_node_keys(KeySource.random(), MemberId(member_id), p2p_address)
    endpoints = Endpoints(P2pSection().host, int(p2p_address.rpartition(":")[2]), RpcSection().host, DEFAULT_RPC_PORT)
    spec = _given_genesis(folder, genesis)
    config = write_node_folder(folder, keys, endpoints, genesis=GENESIS_NAME)
    record = record_to_json(keys.member, keys.account, keys.possession)
    (folder / RECORD_NAME).write_text(json.dumps(record, indent=2) + "\n", encoding="utf-8")
    progress(f"made {config} with keys; the member record is in {folder / RECORD_NAME}")
    if spec is None:
        progress(f"next: put the network's genesis file into {folder / GENESIS_NAME}, then: datacar start --config {config}")
    else:  # keys made just now stand in no genesis file
        set_in_file(config, "node", "join", "true")
        progress(f"the genesis file of {spec.chain_id} does not name this member: it joins (node.join = true)")
        progress(f"next: hand over {RECORD_NAME} to be proposed, and: datacar start --config {config}")
    if as_json:
        print_json(record)
    else:
        typer.echo(json.dumps(record, indent=2))


def _given_genesis(folder: Path, file: Path | None) -> GenesisSpec | None:
    """Return the network to join, its file put into the folder; None where there is none yet. Errors come first."""
    placed = folder / GENESIS_NAME
    if file is None:
        return read_spec(placed) if placed.exists() else None
    spec = read_spec(file)
    if not placed.exists():
        folder.mkdir(parents=True, exist_ok=True)
        placed.write_bytes(file.read_bytes())
    elif read_spec(placed).hash != spec.hash:
        raise GenesisError(f"{placed} is that of another network", path="$", hint="choose another folder with --dir")
    return spec

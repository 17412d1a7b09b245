"""`datacar genesis`: making what a chain starts from, and checking it before anyone runs it."""

import json
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from datacar.amounts import format_motes
from datacar.keys import KeyPair
from genesis.arguments import governance_accounts, governance_arguments
from genesis.block import make_genesis_block
from genesis.certificates import check_certificate
from genesis.network import KeySource, NodeKeys, make_committee, make_node_keys, node_names
from genesis.presets import DEV_ACCOUNT_MOTES, DEV_ACCOUNTS, DEV_PARAMETERS, contract_arguments, distribution, part_motes
from genesis.spec import GenesisError, GenesisSpec
from genesis.spec_json import GENESIS_NAME, Record, check_host_port, read_spec, record_from_json, spec_to_json
from ledger.codec import Value
from ledger.committee import Committee, Member
from ledger.errors import BadEncodingError
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy, format_address
from ledger.types import Address
from node.commands.dev_accounts import SEEDED_TIME_MS, NewAccount, dev_contracts, holders_of, make_account, make_holders
from node.commands.exits import usage
from node.commands.genesis_warnings import record_warnings, size_warnings, warnings_of
from node.commands.output import Json, print_json, print_pairs, print_table, progress, warn
from node.config import DEFAULT_P2P_PORT, DEFAULT_RPC_PORT, P2pSection, RpcSection
from node.node_folder import FAUCET_KEY_NAME, Endpoints, write_node_folder
from node.secret_files import write_secret, write_seed
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import Allocation, Asset, Category

MAX_NODES: Final = 100
ACCOUNTS_NAME: Final = "accounts.json"

app = typer.Typer(help="Make and check what a chain starts from.", no_args_is_help=True, add_completion=False)

File = Annotated[Path, typer.Argument(metavar="FILE", help="The genesis file.", show_default=False)]


@app.command()
def new(
    folder: Annotated[Path, typer.Option("--dir", help="Where to make it.")],
    chain_id: Annotated[str, typer.Option("--chain-id", help="The chain's name.")],
    nodes: Annotated[int | None, typer.Option("--nodes", min=1, max=MAX_NODES, help="Make the folders of so many nodes.")] = None,
    member: Annotated[
        list[Path] | None, typer.Option("--member", help="A record that `datacar init` printed; repeat it for each member.")
    ] = None,
    p2p_address: Annotated[
        list[str] | None,
        typer.Option("--p2p-address", metavar="HOST:PORT", help="Where each of the nodes is reached; repeat it for each."),
    ] = None,
    development: Annotated[
        bool, typer.Option("--development", help="Allow the dev_* methods; fund test accounts and a faucet.")
    ] = False,
    seed: Annotated[str | None, typer.Option("--seed", help="Make all keys from this text: for tests only.")] = None,
    as_json: Json = False,
) -> None:
    """Make a genesis file with the DATR distribution, and the keys of what it is made for.

    Either --nodes, which makes whole node folders here, or --member for members that keep their own keys.
    """
    if (nodes is None) == (not member):
        raise typer.BadParameter("give either --nodes or --member", param_hint="--nodes / --member")
    folder = folder.expanduser().absolute()
    if (folder / GENESIS_NAME).exists():
        raise GenesisError(f"{folder / GENESIS_NAME} exists", path="$", hint="choose another folder with --dir")
    source = KeySource.random() if seed is None else KeySource.from_seed(seed)
    timestamp_ms = time.time_ns() // 1_000_000 if seed is None else SEEDED_TIME_MS
    made = [] if nodes is None else _make_nodes(source, nodes, p2p_address or [])
    given = [(path, _read_member(path)) for path in member or []]
    records = [(record.member, record.account) for _, record in given] or [(keys.member, keys.account) for keys in made]
    accounts, faucet, contracts = _make_accounts(source, timestamp_ms, development=development)
    spec = GenesisSpec(
        chain_id=chain_id,
        timestamp_ms=timestamp_ms,
        development=development,
        parameters=DEV_PARAMETERS if development else ChainParameters(),
        committee=_committee([record for record, _ in records]),
        contracts=contracts | _governance(records),
    )
    make_genesis_block(spec)
    _write(folder, spec, made, accounts, faucet)
    for text in (*size_warnings(spec.committee), *record_warnings(given)):
        warn(text)
    progress(f"the words of the genesis accounts are in {folder / ACCOUNTS_NAME}: move them to a safe place")
    result = {
        "genesis": str(folder / GENESIS_NAME),
        "genesis_hash": "0x" + spec.hash.hex(),
        "accounts": str(folder / ACCOUNTS_NAME),
    }
    print_json(result) if as_json else print_pairs(result)


@app.command("add-member")
def add_member(
    file: File,
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="The record that `datacar init` printed.")],
    as_json: Json = False,
) -> None:
    """Add a member to a genesis file before its chain starts. The genesis hash changes: every member needs the new file."""
    spec = read_spec(file)
    accounts = governance_accounts(spec.contracts)
    found = _read_member(record)
    added, account = found.member, found.account
    known = [(member, accounts.get(member.id)) for member in spec.committee.members]
    spec = replace(
        spec,
        committee=_committee([*spec.committee.members, added]),
        contracts={**spec.contracts, **_governance([*known, (added, account)])},
    )
    part = file.with_name(f".{file.name}.part")
    part.write_text(spec_to_json(spec), encoding="utf-8")
    part.replace(file)
    for text in record_warnings([(record, found)]):
        warn(text)
    result = {"added": added.id, "members": spec.committee.size, "genesis_hash": "0x" + spec.hash.hex()}
    print_json(result) if as_json else print_pairs(result)


@app.command()
def verify(
    file: File,
    member: Annotated[
        list[Path] | None, typer.Option("--member", help="A member's record, to compare with the file; repeat it for each.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a genesis file and print what the chain would start from. Members compare the genesis hash before they start.

    Warns of what is valid and may not work well; that is no error.
    """
    spec = read_spec(file)
    warnings = warnings_of(spec, [(path, _read_member(path)) for path in member or []])
    for index, item in enumerate(spec.committee.members):
        _check_member(item, f"$.members[{index}].certificate")
    block = make_genesis_block(spec)
    allocations = _allocations(spec)
    summary = {
        "chain_id": spec.chain_id,
        "genesis_hash": "0x" + spec.hash.hex(),
        "block_hash": "0x" + block.hash.hex(),
        "state_root": "0x" + block.header.state_root.hex(),
        "timestamp_ms": spec.timestamp_ms,
        "development": spec.development,
        "quorum": spec.committee.quorum,
        "faults": spec.committee.faults,
        "supply": format_motes(sum(item.amount for item in allocations)),
    }
    for text in warnings:
        warn(text)
    accounts = governance_accounts(spec.contracts)
    members = [
        {"id": member.id, "p2p_address": member.p2p_address, "account": _account_text(accounts.get(member.id))}
        for member in spec.committee.members
    ]
    distributed = [_allocation_to_json(item) for item in allocations]
    if as_json:
        print_json({"valid": True, **summary, "warnings": warnings, "members": members, "distribution": distributed})
        return
    print_pairs(summary)
    typer.echo("")
    print_table(
        ("MEMBER", "P2P ADDRESS", "GOVERNANCE ACCOUNT"),
        [(each["id"], each["p2p_address"], each["account"] or "none: it cannot vote") for each in members],
    )
    typer.echo("")
    print_table(("CATEGORY", "DATR", "RELEASED", "ACCOUNT"), [_allocation_row(item) for item in allocations])


@app.command("hash")
def hash_(file: File, as_json: Json = False) -> None:
    """Print the genesis hash of a file."""
    found = "0x" + read_spec(file).hash.hex()
    print_json({"genesis_hash": found}) if as_json else typer.echo(found)


def _make_nodes(source: KeySource, count: int, addresses: list[str]) -> list[NodeKeys]:
    if addresses and len(addresses) != count:
        raise typer.BadParameter(f"{count} nodes need as many addresses, got {len(addresses)}", param_hint="--p2p-address")
    reached = [usage(check_host_port)(text) for text in addresses]
    reached = reached or [f"127.0.0.1:{DEFAULT_P2P_PORT + index}" for index in range(count)]
    return [make_node_keys(source, name, address) for name, address in zip(node_names(count), reached, strict=True)]


def _read_member(path: Path) -> Record:
    record = record_from_json(path.read_text(encoding="utf-8"))
    _check_member(record.member, f"{path}: $.certificate")
    return record


def _governance(records: list[tuple[Member, Address | None]]) -> dict[str, tuple[Value, ...]]:
    return governance_arguments({member.id: account for member, account in records if account is not None})


def _account_text(account: Address | None) -> str | None:
    return None if account is None else format_address(account)


def _check_member(member: Member, path: str) -> None:
    try:
        check_certificate(member.certificate, member.id)
    except BadEncodingError as error:
        raise GenesisError(error.message, path=path, hint=error.hint) from error


def _committee(members: list[Member]) -> Committee:
    try:
        return make_committee(members)
    except BadEncodingError as error:
        raise GenesisError(error.message, path="$.members", hint="give each member once, with a key of its own") from error


def _make_accounts(
    source: KeySource, timestamp_ms: int, *, development: bool
) -> tuple[dict[str, NewAccount], KeyPair | None, dict[str, tuple[Value, ...]]]:
    """Return the accounts of genesis by name, the faucet's key, and the contracts' arguments."""
    holders = make_holders(source)
    named = {str(category): account for category, account in holders.items()}
    if not development:
        ido = make_account(source, "ido", part_motes(Category.IDO))
        parts = distribution(holders_of(holders), ((ido.address, ido.motes),), timestamp_ms)
        return {"ido": ido, **named}, None, contract_arguments(parts)
    tests = [make_account(source, f"account/{number}", DEV_ACCOUNT_MOTES) for number in range(1, DEV_ACCOUNTS + 1)]
    faucet = KeyPair.from_seed(source.secret("faucet"))
    contracts = dev_contracts(tests, KeyPolicy.single(faucet.public_key).address, holders, timestamp_ms)
    return {f"test{number}": account for number, account in enumerate(tests, 1)} | named, faucet, contracts


def _write(
    folder: Path, spec: GenesisSpec, made: list[NodeKeys], accounts: dict[str, NewAccount], faucet: KeyPair | None
) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    shown = {name: asdict(account.shown()) for name, account in accounts.items()}
    write_secret(folder / ACCOUNTS_NAME, json.dumps(shown, indent=2).encode() + b"\n")
    faucet_seed = None if faucet is None else faucet.seed
    if faucet_seed is not None and not made:
        write_seed(folder / FAUCET_KEY_NAME, faucet_seed)
    for index, keys in enumerate(made):
        host, _, port = keys.member.p2p_address.rpartition(":")
        local = host == "127.0.0.1"
        endpoints = Endpoints(
            host if local else P2pSection().host, int(port), RpcSection().host, DEFAULT_RPC_PORT + (index if local else 0)
        )
        write_node_folder(folder / keys.member.id, keys, endpoints, genesis=f"../{GENESIS_NAME}", faucet_seed=faucet_seed)
    (folder / GENESIS_NAME).write_text(spec_to_json(spec), encoding="utf-8")


def _allocations(spec: GenesisSpec) -> tuple[Allocation, ...]:
    method = Asset.spec.genesis
    args = spec.contracts.get(ASSET)
    if method is None or args is None:
        return ()
    [allocations] = method.decode_args(args)
    return tuple(allocations)


def _allocation_to_json(item: Allocation) -> dict[str, Any]:
    schedule = None
    if item.schedule is not None:
        portion = format_motes(item.schedule.portion)
        schedule = {"first_ms": item.schedule.first_ms, "every_months": item.schedule.every_months, "portion": portion}
    return {
        "category": str(item.category),
        "address": format_address(item.address),
        "amount": format_motes(item.amount),
        "schedule": schedule,
        "authority": None if item.authority is None else format_address(item.authority),
    }


def _allocation_row(item: Allocation) -> tuple[object, ...]:
    released = "at once"
    if item.authority is not None:
        released = f"by {format_address(item.authority)[:13]}..."
    elif item.schedule is not None:
        first = time.strftime("%Y-%m-%d", time.gmtime(item.schedule.first_ms / 1_000))
        released = f"{format_motes(item.schedule.portion)} every {item.schedule.every_months} months from {first}"
    return str(item.category), format_motes(item.amount), released, format_address(item.address)

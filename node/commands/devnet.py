"""`datacar devnet`: a real network on this machine for development and tests."""

import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Annotated, Any, Final, NoReturn

import typer

from datacar.amounts import format_motes, parse_datr
from ledger.errors import DatacarError, UnavailableError
from node import devnet as network
from node import probe
from node.commands.agreement import agree, check_can_ask
from node.commands.devnet_time import WentBackError, describe, parse_moment, parse_span, shown
from node.commands.exits import usage
from node.commands.output import Json, heard_or_not, print_json, print_pairs, print_table, progress, tell
from node.commands.paths import state_home
from node.commands.sending_options import Yes
from node.devnet import Devnet, DevNode, NoDevnetError
from node.devnet_time import NetworkTime, move_time, move_time_in_steps, network_time
from node.process import stop

DEFAULT_NODES: Final = 4
FUND_TIMEOUT_S: Final = 30.0
WATCH_S: Final = 0.5

app = typer.Typer(help="Run a network of real nodes on this machine.", no_args_is_help=True, add_completion=False)


def _address(text: str) -> str:
    from node.commands.wallet_files import account_address  # here, since help needs none of it

    return account_address(text)


Dir = Annotated[Path | None, typer.Option("--dir", help="The network's folder.", show_default="~/.local/state/datacar/devnet")]


@app.command()
def up(
    folder: Dir = None,
    nodes: Annotated[
        int | None, typer.Option("--nodes", min=1, max=network.MAX_NODES, help="How many nodes.", show_default=str(DEFAULT_NODES))
    ] = None,
    seed: Annotated[str | None, typer.Option("--seed", help="Make all keys from this text: the same network each time.")] = None,
    detach: Annotated[bool, typer.Option("--detach", help="Leave the nodes running and return when all are ready.")] = False,
    as_json: Json = False,
) -> None:
    """Start a network, or what is down of one that exists; it keeps ports, keys and data.

    Without --detach this stays: a live table on a terminal, else plain lines; Ctrl-C stops the nodes and keeps their data.
    """
    path = _folder(folder)
    if detach:
        found = _start(path, nodes, seed)
        with heard_or_not(sys.stdout):
            _show(found, as_json=as_json)
        return
    with _term_as_interrupt():
        try:
            found = _start(path, nodes, seed)
            with heard_or_not(sys.stdout):
                _show(found, as_json=as_json)
            _watch(found)
        except KeyboardInterrupt:
            tell("stopping the nodes")
            with _uninterrupted():
                _stop(path)
    tell(f"stopped; the data is kept in {path}")


@app.command()
def down(folder: Dir = None, as_json: Json = False) -> None:
    """Stop all nodes and wait until they have ended; their data is kept."""
    found = Devnet.load(_folder(folder))
    running = found.running()
    killed = found.stop()
    for process in killed:
        progress(f"process {process.pid} did not end by itself and was killed")
    if as_json:
        print_json({"stopped": len(running), "killed": [process.pid for process in killed]})
    else:
        typer.echo(f"stopped {len(running)} of {len(found.nodes)} nodes")


@app.command()
def reset(
    folder: Dir = None,
    yes: Yes = False,
    as_json: Json = False,
) -> None:
    """Stop all nodes and delete their data: another chain, with the same keys, ports and accounts."""
    check_can_ask(yes=yes)
    found = Devnet.load(_folder(folder))
    agree(f"Delete the chain in {found.folder}?", yes=yes)
    found.reset(_now_ms())
    if as_json:
        print_json(_describe(found))
    else:
        typer.echo(f"{found.folder} is ready for a new chain: datacar devnet up")


@app.command()
def status(folder: Dir = None, as_json: Json = False) -> None:
    """Show the nodes, their processes and the funded accounts."""
    found = Devnet.load(_folder(folder))
    if as_json:
        print_json(_describe(found))
        return
    from node.commands.devnet_view import sample_all

    samples = sample_all(found.nodes)
    rows = [
        (sample.name, sample.pid, sample.height, sample.view, sample.primary, sample.peers, sample.status, node.rpc_url)
        for node, sample in zip(found.nodes, samples, strict=True)
    ]
    print_table(("NODE", "PID", "HEIGHT", "VIEW", "PRIMARY", "PEERS", "STATUS", "RPC"), rows)
    _show_accounts(_describe(found))


@app.command()
def logs(
    name: Annotated[str | None, typer.Argument(metavar="[NODE]", help="One node; else all.", show_default=False)] = None,
    follow: Annotated[bool, typer.Option("-f", "--follow", help="Go on showing what is written.")] = False,
    lines: Annotated[int, typer.Option("-n", "--lines", min=0, help="How many lines back, of each node.")] = 20,
    folder: Dir = None,
) -> None:
    """Show the nodes' logs."""
    from node.commands.devnet_logs import follow_lines

    found = Devnet.load(_folder(folder))
    chosen = found.nodes if name is None else (found.node(name),)
    prefixes = {node.log: f"{node.name} | " if len(chosen) > 1 else "" for node in chosen}
    for path, prefix in prefixes.items():
        for line in network.last_lines(path, lines):
            typer.echo(prefix + line)
    if follow:
        for path, line in follow_lines(prefixes):
            typer.echo(prefixes[path] + line)


@app.command()
def fund(
    address: Annotated[str, typer.Argument(help="Who receives it: an account, or a wallet here.", parser=usage(_address))],
    amount: Annotated[int, typer.Option("--amount", metavar="DATR", parser=usage(parse_datr), help="How much.")] = "1000",  # type: ignore[assignment]
    folder: Dir = None,
    as_json: Json = False,
) -> None:
    """Send test money from the network's faucet and wait until it is final. The same command again pays once more."""
    from node.commands.devnet_fund import fund_account  # here, since help needs none of it

    node = _any_running(Devnet.load(_folder(folder)))
    sent = fund_account(node.rpc_url, address, amount, FUND_TIMEOUT_S)
    if as_json:
        print_json(sent)
    else:
        shown = {key: sent.get(key) for key in ("id", "status", "height")}
        print_pairs({"address": address, "amount": f"{format_motes(amount)} DATR", **shown})


@app.command("time")
def time_(
    by_ms: Annotated[
        int | None,
        typer.Argument(metavar="[+SPAN]", help="How far ahead: +30d, +1h, +1d12h.", parser=parse_span, show_default=False),
    ] = None,
    to_ms: Annotated[
        int | None, typer.Option("--to", metavar="TIME", help="A date or time (ISO-8601, UTC).", parser=parse_moment)
    ] = None,
    step_ms: Annotated[
        int | None,
        typer.Option("--step", metavar="SPAN", help="Go so far at a time, such as 1d; at once if left out.", parser=parse_span),
    ] = None,
    folder: Dir = None,
    as_json: Json = False,
) -> None:
    """Show the network's time, or set it ahead: what falls due in between is done when this returns.

    All nodes go together, also those that are down. Time never goes back. What waits for a block meanwhile may expire.

    A jump is an outage to the contracts, and no borrower pays for that: grace days that end inside of one bring no late fee.
    With --step 1d each day has its blocks, and fees come as on a chain that runs; a step takes some tenths of a second.
    """
    found = Devnet.load(_folder(folder))
    if by_ms is not None and to_ms is not None:
        raise typer.BadParameter("give a span or --to, not both")
    if step_ms is not None and by_ms is None and to_ms is None:
        raise typer.BadParameter("give a span or --to besides", param_hint="--step")
    before, now = None, network_time(found)
    if to_ms is not None:
        by_ms = to_ms - now.clock_ms
        if by_ms <= 0:
            raise WentBackError(to_ms, now.clock_ms)
    if by_ms is not None:
        before = now
        now = move_time(found, by_ms) if step_ms is None else move_time_in_steps(found, by_ms, step_ms, _tell_time)
    if as_json:
        print_json(describe(before, now))
    else:
        typer.echo(shown(before, now))


def _tell_time(now: NetworkTime) -> None:
    tell(shown(None, now))


def _folder(given: Path | None) -> Path:
    return (given or state_home() / "devnet").expanduser().absolute()


def _now_ms() -> int:
    return time.time_ns() // 1_000_000


def _start(folder: Path, nodes: int | None, seed: str | None) -> Devnet:
    """Return the network in `folder`, made if there is none, with every node running and ready."""
    with network.starting_lock(tell):
        try:
            found = Devnet.load(folder)
        except NoDevnetError:
            from node.commands.dev_accounts import dev_blueprint

            tell(f"making a network of {nodes or DEFAULT_NODES} nodes in {folder}")
            found = network.create(folder, dev_blueprint(nodes or DEFAULT_NODES, seed, _now_ms()), tell)
        else:
            _check_same(found, nodes, seed)
        with _undone_on_failure(found):
            network.start(found, tell)
    return found


def _check_same(found: Devnet, nodes: int | None, seed: str | None) -> None:
    """Raise `DevnetError` when another network was asked for than the one that is there."""
    if nodes not in (None, len(found.nodes)):
        _refuse_other(found, f"has {len(found.nodes)} nodes, not {nodes}")
    if seed not in (None, found.seed):
        _refuse_other(found, "was made from another seed" if found.seed else "was made from random keys")


def _refuse_other(found: Devnet, why: str) -> NoReturn:
    hint = "leave the option away, or choose another --dir"
    raise network.DevnetError("other_devnet", f"the network in {found.folder} {why}", hint=hint)


def _stop(folder: Path) -> None:
    """Stop what runs in `folder`; there may be no network yet."""
    try:
        Devnet.load(folder).stop()
    except NoDevnetError:
        return


@contextmanager
def _undone_on_failure(found: Devnet) -> Iterator[None]:
    """Stop what was started inside when it fails or the user loses patience; nodes that ran before go on."""
    before = found.running()
    try:
        yield
    except (DatacarError, OSError, KeyboardInterrupt):
        with _uninterrupted():
            stop(process for process in found.running() if process not in before)
        raise


@contextmanager
def _term_as_interrupt() -> Iterator[None]:
    """Let SIGTERM and SIGHUP end the foreground command as Ctrl-C does; no node must outlive it."""

    def interrupt(_number: int, _frame: FrameType | None) -> None:
        raise KeyboardInterrupt

    previous = {number: signal.signal(number, interrupt) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in previous.items():
            signal.signal(number, handler)


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Ignore Ctrl-C while stopping: a second one must not leave processes behind."""
    previous = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, previous)


def _watch(found: Devnet) -> None:
    """Stay until interrupted, or until no node runs any more."""
    if sys.stdout.isatty():
        from node.commands.devnet_view import show_live

        show_live(found)
        return
    tell("the nodes run until this command is interrupted")
    known = {node.name for node in found.nodes}
    while known:
        time.sleep(WATCH_S)
        for name in sorted(known - {node.name for node in found.nodes if node.process()}):
            tell(f"{name} has ended; see `datacar devnet logs {name}`")
            known.remove(name)


def _any_running(found: Devnet) -> DevNode:
    for node in found.nodes:
        if node.process() is not None:
            return node
    raise UnavailableError("unreachable", f"no node of {found.folder} runs", hint="start them: `datacar devnet up`")


def _describe(found: Devnet) -> dict[str, Any]:
    """Return what `up --json` and `status --json` print."""
    nodes = [node.describe() for node in found.nodes]
    balances = _balances(found)
    return {
        "chain_id": found.chain_id,
        "dir": str(found.folder),
        "nodes": [{**node, "running": node["pid"] is not None} for node in nodes],
        "accounts": [
            {"address": each.address, "mnemonic": each.mnemonic, "path": each.path, "balance": balances[each.address]}
            for each in found.accounts
        ],
    }


def _balances(found: Devnet) -> dict[str, str]:
    """Return the accounts' balances in DATR as a running node knows them, else those of genesis."""
    calls = [("account_get", {"address": account.address}) for account in found.accounts]
    for node in found.nodes:
        if node.process() is None:
            continue
        try:
            answers = probe.call(network.HOST, node.rpc_port, *calls)
        except DatacarError:
            continue
        amounts = [format_motes(int(answer["value"]["balance"])) for answer in answers]
        return {account.address: amount for account, amount in zip(found.accounts, amounts, strict=True)}
    return {account.address: account.balance for account in found.accounts}


def _show(found: Devnet, *, as_json: bool) -> None:
    document = _describe(found)
    if as_json:
        print_json(document)
        return
    print_table(
        ("NODE", "PID", "RPC", "P2P", "LOG"),
        [(node["name"], node["pid"], node["rpc_url"], node["p2p_address"], node["log"]) for node in document["nodes"]],
    )
    _show_accounts(document)


def _show_accounts(document: dict[str, Any]) -> None:
    """Print the funded accounts with their words: they are secret to nobody, and the money is not real."""
    typer.echo("")
    rows = [(each["address"], each["balance"], each["path"], each["mnemonic"]) for each in document["accounts"]]
    print_table(("ACCOUNT", "DATR", "PATH", "WORDS"), rows)

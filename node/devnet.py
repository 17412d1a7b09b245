"""A development network on this machine: one folder, a node process for each member, kept across stops.

    DIR/devnet.json  (0600: it holds the test accounts' words)   DIR/genesis.json
    DIR/node1/  config.toml  keys  data/  node.log  node.pid

The folder is made beside its place and renamed into it, so it is either whole or not there.
"""

import contextlib
import fcntl
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Self

from genesis.arguments import governance_arguments
from genesis.network import KeySource, NodeKeys, make_committee, make_node_keys, node_names
from genesis.presets import DEV_PARAMETERS
from genesis.spec import GenesisSpec
from genesis.spec_json import GENESIS_NAME, read_spec, spec_to_json
from ledger.codec import Value
from ledger.errors import DatacarError, NotFoundError
from node import probe
from node.clock import read_offset, write_offset
from node.config import DEFAULT_P2P_PORT, DEFAULT_RPC_PORT
from node.node_folder import CONFIG_NAME, DATA_NAME, Endpoints, write_first_sign_state, write_node_folder
from node.process import ProcessId, read_pid_file, spawn, stop
from node.secret_files import write_secret

HOST: Final = "127.0.0.1"
CHAIN_ID: Final = "datacar-devnet"
MAX_NODES: Final = 32
READY_TIMEOUT_S: Final = 60.0
POLL_S: Final = 0.1

_RECORD: Final = "devnet.json"
_SCRIPT: Final = Path(__file__).resolve().parents[1] / "cli.py"  # beside the packages, in a checkout and in an installed wheel

Say = Callable[[str], None]


class DevnetError(DatacarError):
    """The development network cannot do what was asked."""

    def __init__(self, reason: str, message: str, *, hint: str, **details: object) -> None:
        super().__init__(reason, message, hint=hint, **details)


class NoDevnetError(NotFoundError):
    """There is no development network in this folder."""

    def __init__(self, folder: Path) -> None:
        super().__init__("not_found", f"there is no devnet in {folder}", hint="start one: `datacar devnet up`")


@dataclass(frozen=True, slots=True)
class DevAccount:
    """A funded test account; `balance` is what genesis gave it, in DATR. The words are secret, the money is not real."""

    address: str
    mnemonic: str = field(repr=False)
    path: str
    balance: str


@dataclass(frozen=True, slots=True)
class DevNode:
    """A node of the network: its name (the member id), folder and ports."""

    name: str
    folder: Path
    rpc_port: int
    p2p_port: int

    @property
    def log(self) -> Path:
        """Return the file that takes the process's output."""
        return self.folder / "node.log"

    @property
    def pid_file(self) -> Path:
        """Return the file that names the process."""
        return self.folder / "node.pid"

    @property
    def rpc_url(self) -> str:
        """Return the address wallets use, without a path."""
        return f"http://{HOST}:{self.rpc_port}"

    def process(self) -> ProcessId | None:
        """Return the running process, or None."""
        return read_pid_file(self.pid_file)

    def describe(self) -> dict[str, Any]:
        """Return what `devnet up --json` prints of this node; `pid` is None when it is down."""
        process = self.process()
        return {
            "name": self.name,
            "pid": None if process is None else process.pid,
            "rpc_url": self.rpc_url,
            "ws_url": f"ws://{HOST}:{self.rpc_port}/ws",
            "p2p_address": f"{HOST}:{self.p2p_port}",
            "data_dir": str(self.folder / DATA_NAME),
            "log": str(self.log),
        }


@dataclass(frozen=True, slots=True)
class Blueprint:
    """What a new network is made from.

    `contracts` are the arguments of genesis but for the members' accounts, `accounts` the funded ones among them and `holders`
    those of the locked parts; `faucet_seed` is the key of one more. `seed` is what all keys come from, None when they are random.
    """

    node_count: int
    keys: KeySource = field(repr=False)
    timestamp_ms: int
    contracts: dict[str, tuple[Value, ...]] = field(repr=False)
    accounts: tuple[DevAccount, ...]
    holders: tuple[DevAccount, ...]
    faucet_seed: bytes = field(repr=False)
    seed: str | None = None


@dataclass(frozen=True, slots=True)
class Devnet:
    """A network on disk. Processes are looked up when asked for, never remembered."""

    folder: Path
    chain_id: str
    nodes: tuple[DevNode, ...]
    accounts: tuple[DevAccount, ...]
    seed: str | None

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Return the network in `folder`. Raises `NoDevnetError`, or `DevnetError` for a damaged record."""
        try:
            record = json.loads((folder / _RECORD).read_text(encoding="utf-8"))
            nodes = tuple(
                DevNode(item["name"], folder / item["name"], item["rpc_port"], item["p2p_port"]) for item in record["nodes"]
            )
            accounts = tuple(DevAccount(**item) for item in record["accounts"])
            return cls(folder, record["chain_id"], nodes, accounts, record["seed"])
        except (FileNotFoundError, NotADirectoryError):
            raise NoDevnetError(folder) from None
        except (ValueError, TypeError, KeyError) as error:
            hint = f"delete {folder} and start a new one"
            raise DevnetError("bad_devnet", f"{folder / _RECORD} is damaged: {error!r}", hint=hint) from error

    def node(self, name: str) -> DevNode:
        """Return a node by name. Raises `NotFoundError`."""
        for node in self.nodes:
            if node.name == name:
                return node
        names = ", ".join(node.name for node in self.nodes)
        raise NotFoundError("not_found", f"there is no node {name!r}", hint=f"the nodes are: {names}")

    def running(self) -> tuple[ProcessId, ...]:
        """Return the processes that run."""
        return tuple(process for node in self.nodes if (process := node.process()) is not None)

    def stop(self) -> tuple[ProcessId, ...]:
        """Stop all nodes and wait for them; returns those that had to be killed."""
        killed = stop(self.running())
        for node in self.nodes:
            node.pid_file.unlink(missing_ok=True)
        return killed

    def level_clocks(self) -> int:
        """Have the nodes that are down start with the clock of the one that is furthest ahead; return that offset in ms."""
        offsets = {node: read_offset(node.folder / DATA_NAME) for node in self.nodes}
        furthest = max(offsets.values())
        for node, offset_ms in offsets.items():
            if offset_ms < furthest and node.process() is None:
                write_offset(node.folder / DATA_NAME, furthest)
        return furthest

    def reset(self, timestamp_ms: int) -> None:
        """Stop all nodes and begin a new chain: same keys, ports and accounts, another genesis hash, no data."""
        self.stop()
        spec = replace(read_spec(self.folder / GENESIS_NAME), timestamp_ms=timestamp_ms)
        for node in self.nodes:
            with contextlib.suppress(FileNotFoundError):
                shutil.rmtree(node.folder / DATA_NAME)
            node.log.unlink(missing_ok=True)
        part = self.folder / f"{GENESIS_NAME}.part"
        part.write_text(spec_to_json(spec), encoding="utf-8")
        part.replace(self.folder / GENESIS_NAME)
        for node in self.nodes:
            write_first_sign_state(node.folder / DATA_NAME)


def create(folder: Path, blueprint: Blueprint, say: Say, ports: tuple[Sequence[int], Sequence[int]] | None = None) -> Devnet:
    """Make the folder of a new network on these RPC and P2P ports, by default the next free ones from the usual ones on.

    Raises `DevnetError` when something else is in its place.
    """
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise DevnetError("bad_devnet", f"{folder} holds something else", hint="choose another folder with --dir")
    names = node_names(blueprint.node_count)
    rpc_ports, p2p_ports = ports or (free_ports(DEFAULT_RPC_PORT, len(names), say), free_ports(DEFAULT_P2P_PORT, len(names), say))
    keys = [make_node_keys(blueprint.keys, name, f"{HOST}:{port}") for name, port in zip(names, p2p_ports, strict=True)]
    spec = GenesisSpec(
        chain_id=CHAIN_ID,
        timestamp_ms=blueprint.timestamp_ms,
        development=True,
        parameters=DEV_PARAMETERS,
        committee=make_committee([each.member for each in keys]),
        contracts=blueprint.contracts | governance_arguments({each.member.id: each.account for each in keys}),
    )
    with _whole_or_nothing(folder) as part:
        (part / GENESIS_NAME).write_text(spec_to_json(spec), encoding="utf-8")
        for node_keys, rpc_port, p2p_port in zip(keys, rpc_ports, p2p_ports, strict=True):
            _write_node(part, node_keys, Endpoints(HOST, p2p_port, HOST, rpc_port), blueprint.faucet_seed)
        write_secret(part / _RECORD, _record(blueprint, names, rpc_ports, p2p_ports))
    return Devnet.load(folder)


@contextlib.contextmanager
def _whole_or_nothing(folder: Path) -> Iterator[Path]:
    """Give a new private folder that takes the place of `folder` (absent or empty) at the end, or is deleted on failure."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    part = Path(tempfile.mkdtemp(prefix=f".{folder.name}.", dir=folder.parent))
    try:
        yield part
        part.replace(folder)
    except BaseException:
        shutil.rmtree(part, ignore_errors=True)
        raise


def _write_node(folder: Path, keys: NodeKeys, endpoints: Endpoints, faucet_seed: bytes) -> None:
    write_node_folder(folder / keys.member.id, keys, endpoints, genesis=f"../{GENESIS_NAME}", faucet_seed=faucet_seed)


def _record(blueprint: Blueprint, names: Sequence[str], rpc_ports: Sequence[int], p2p_ports: Sequence[int]) -> bytes:
    nodes = [
        {"name": name, "rpc_port": rpc_port, "p2p_port": p2p_port}
        for name, rpc_port, p2p_port in zip(names, rpc_ports, p2p_ports, strict=True)
    ]
    record = {
        "chain_id": CHAIN_ID,
        "seed": blueprint.seed,
        "nodes": nodes,
        "accounts": [asdict(account) for account in blueprint.accounts],
        "holders": [asdict(account) for account in blueprint.holders],
    }
    return json.dumps(record, indent=2).encode() + b"\n"


def free_ports(first: int, count: int, say: Say) -> tuple[int, ...]:
    """Return the next `count` ports from `first` on that nothing listens on, saying which are skipped."""
    found: list[int] = []
    for port in range(first, 65_536):
        if is_free(port):
            found.append(port)
        else:
            say(f"port {port} is busy, skipping it")
        if len(found) == count:
            return tuple(found)
    raise DevnetError("no_free_port", f"no {count} free ports from {first} on", hint="stop what uses them")


def is_free(port: int) -> bool:
    """Return whether a server could listen on this port now."""
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probed:
        probed.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probed.bind((HOST, port))
        except OSError:
            return False
        return True


@contextlib.contextmanager
def starting_lock(say: Say) -> Iterator[None]:
    """Hold this user's lock on starting networks: two that start together would both take the same free ports."""
    path = Path(tempfile.gettempdir()) / f"datacar-devnet-{os.getuid()}.lock"
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another devnet to finish starting")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def start(devnet: Devnet, say: Say) -> dict[str, subprocess.Popen[bytes]]:
    """Start the nodes that are down and wait until all are ready. Returns the processes that were started, by node.

    Raises `DevnetError` with the reason when a port is taken, a node ends, or not all are ready in time.
    """
    missing = [node for node in devnet.nodes if node.process() is None]
    for node in missing:
        _check_ports(node)
    devnet.level_clocks()
    started = {}
    for node in missing:
        command = [sys.executable, str(_SCRIPT), "start", "--config", str(node.folder / CONFIG_NAME)]
        started[node.name] = spawn(command, log=node.log, pid_file=node.pid_file)
    if started:
        say(f"started {', '.join(started)}")
    _wait_ready(devnet, started, say)
    return started


def _check_ports(node: DevNode) -> None:
    for port in (node.rpc_port, node.p2p_port):
        if not is_free(port):
            hint = f"stop what uses port {port}; the network's ports are fixed in its genesis"
            raise DevnetError("port_in_use", f"port {port} of {node.name} is used by another process", hint=hint, port=port)


def _wait_ready(devnet: Devnet, started: dict[str, subprocess.Popen[bytes]], say: Say) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    waiting = devnet.nodes
    with ThreadPoolExecutor(len(waiting)) as pool:
        while True:
            answers = dict(zip(waiting, pool.map(lambda node: probe.readiness(HOST, node.rpc_port), waiting), strict=True))
            for node, answer in answers.items():
                _check_running(node, started.get(node.name))
                if answer.ready:
                    say(f"{node.name} is ready at {node.rpc_url}")
            late = {node: answer.reason for node, answer in answers.items() if not answer.ready}
            if not late:
                return
            if time.monotonic() > deadline:
                raise _not_ready(late)
            waiting = tuple(late)
            time.sleep(POLL_S)


def _check_running(node: DevNode, started: subprocess.Popen[bytes] | None) -> None:
    """Raise `DevnetError` when the node's process has ended."""
    if started is not None and started.poll() is not None:
        code: int | None = started.returncode
    elif node.process() is None:
        code = None
    else:
        return
    last = last_lines(node.log, 1)
    ended = "ended" if code is None else f"ended with exit code {code}"
    raise DevnetError(
        "node_ended",
        f"{node.name} {ended}; its last words: {last[0].strip() if last else '(none)'}",
        hint=f"read its log: {node.log}",
        node=node.name,
    )


def _not_ready(late: dict[DevNode, str]) -> DevnetError:
    reasons = {node.name: reason for node, reason in late.items()}
    return DevnetError(
        "not_ready",
        f"not ready after {READY_TIMEOUT_S:.0f} s: {'; '.join(f'{name}: {reason}' for name, reason in reasons.items())}",
        hint="read what they say: `datacar devnet logs`",
        reasons=reasons,
    )


def last_lines(path: Path, count: int) -> list[str]:
    """Return the last lines of a log, reading no more of it than it takes."""
    if count < 1:
        return []
    try:
        with path.open("rb") as file:
            file.seek(0, os.SEEK_END)
            size, data = file.tell(), b""
            while size and data.count(b"\n") <= count:
                step = min(size, 64 * 1024)
                size -= step
                file.seek(size)
                data = file.read(step) + data
    except FileNotFoundError:
        return []
    return data.decode(errors="replace").splitlines()[-count:]

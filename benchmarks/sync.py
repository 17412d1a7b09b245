"""How fast a fresh node takes up a chain: once by all its blocks, once from a snapshot.

One real node serves a chain of transfers that was made beforehand, another one, with nothing but its keys, connects to it by TLS;
each is a process with a disk folder of its own. Both ways end on the same state root, or the run is void. All blocks lie within
the transaction window, so the snapshot's receipts are those of all transfers: an older chain has less to fetch.
"""

import asyncio
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import orjson
from rich.table import Table

from benchmarks.local_chain import local_chain
from benchmarks.report import Bars, Machine
from genesis.block import make_genesis_block
from genesis.network import KeySource, NodeKeys, make_node_keys, node_names
from genesis.spec_json import read_spec, spec_to_json
from ledger.types import Height
from node.assembly import running_driver
from node.config import load_config
from node.devnet import HOST, free_ports
from node.log_lines import set_up_logging
from node.node_folder import CONFIG_NAME, Endpoints, write_node_folder

TRANSFERS: Final = 500
MEMBERS: Final = 4
FIRST_PORT: Final = 27_656
LIMIT_S: Final = 600.0
LOOK_S: Final = 0.005
READY: Final = "ready"
WAYS: Final = (("by blocks", 0), ("from a snapshot", 1))
_ROOT: Final = Path(__file__).resolve().parents[1]


@dataclass(frozen=True, slots=True)
class Way:
    """One way to the tip: how long it took, what came over the connection, and the fresh node's largest memory."""

    name: str
    seconds: float
    blocks_per_s: float
    transfers_per_s: float
    received_mb: float
    mb_per_s: float
    peak_mb: float
    state_root: str


@dataclass(frozen=True, slots=True)
class SyncReport:
    """A chain of `blocks` blocks of `transfers` transfers to `accounts` accounts, taken up in each way."""

    benchmark: str
    machine: Machine
    blocks: int
    transfers: int
    accounts: int
    ways: tuple[Way, ...]

    def table(self) -> Table:
        """Return a line for each way."""
        title = f"{self.blocks:,} blocks, {self.blocks * self.transfers:,} transfers to {self.accounts:,} accounts"
        table = Table("a fresh node syncs", "seconds", "blocks/s", "transfers/s", "MB", "MB/s", "peak MB", title=title)
        for way in self.ways:
            rates = f"{way.blocks_per_s:,.0f}", f"{way.transfers_per_s:,.0f}", f"{way.received_mb:,.1f}", f"{way.mb_per_s:,.1f}"
            table.add_row(way.name, f"{way.seconds:,.2f}", *rates, f"{way.peak_mb:,.0f}")
        return table

    def bars(self) -> Bars:
        """Return the transfers a second of each way."""
        return Bars(
            "Transfers a second that a fresh node takes up", "tx/s", tuple((w.name, w.transfers_per_s) for w in self.ways)
        )


def run(*, quick: bool = False, say: Callable[[str], None]) -> SyncReport:
    """Make a chain of 100 blocks of 500 transfers (4 when `quick`) and take it up in both ways: about a minute."""
    machine, blocks, accounts = Machine.here(), 4 if quick else 100, 1_000 if quick else 20_000
    with tempfile.TemporaryDirectory(prefix="datacar-bench-") as name:
        folder = Path(name)
        keys = _make_keys(say)
        _make_chain(folder, keys, blocks, accounts, say)
        ways = []
        with _served(folder / keys[0].member.id):
            for way, distance in WAYS:
                say(f"a fresh node syncs {way}")
                ways.append(_take_up(folder, keys[-1], blocks, way, distance))
    if len({way.state_root for way in ways}) != 1:
        raise RuntimeError(f"the two ways end on different state roots: the run is void ({ways})")
    return SyncReport("sync", machine, blocks, TRANSFERS, accounts, tuple(ways))


def _make_keys(say: Callable[[str], None]) -> list[NodeKeys]:
    source, names = KeySource.from_seed("sync benchmark"), node_names(MEMBERS)
    ports = free_ports(FIRST_PORT, MEMBERS, say)
    return [make_node_keys(source, name, f"{HOST}:{port}") for name, port in zip(names, ports, strict=True)]


def _make_chain(folder: Path, keys: list[NodeKeys], blocks: int, accounts: int, say: Callable[[str], None]) -> None:
    """Write the serving node's folder with the chain in it, its last height pinned as a snapshot."""
    with local_chain(folder / "db", accounts, indexes=False, keys=keys) as local:
        for number in range(blocks):
            local.add_block(TRANSFERS)
            if (number + 1) % 10 == 0:
                say(f"{number + 1} of {blocks} blocks made")
        local.chain.store.put_pins((Height(blocks),))
    (folder / "genesis.json").write_text(spec_to_json(local.genesis.spec))
    config = _write_folder(folder, keys[0])
    (folder / "db").rename(config.parent / "data" / "db")


def _write_folder(folder: Path, keys: NodeKeys) -> Path:
    """Write a member's folder and return its configuration."""
    port = int(keys.member.p2p_address.rpartition(":")[2])
    return write_node_folder(folder / keys.member.id, keys, Endpoints(HOST, port, HOST, port), genesis="../genesis.json")


@contextmanager
def _served(folder: Path) -> Iterator[None]:
    """The serving node in a process of its own, until the context is left."""
    process = subprocess.Popen(_command("serve", folder / CONFIG_NAME), stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=_ROOT)
    try:
        if process.stdout is None or process.stdout.readline().strip() != READY.encode():
            raise RuntimeError("the serving node did not start")
        yield
    finally:
        process.communicate()  # closes its input, on which it ends


def _take_up(folder: Path, keys: NodeKeys, blocks: int, name: str, distance: int) -> Way:
    """Start a fresh node in a process of its own and return what it measured until it had the tip."""
    config = _write_folder(folder, keys)
    try:
        command = _command("join", config, name, str(distance), str(blocks))
        ran = subprocess.run(command, stdout=subprocess.PIPE, cwd=_ROOT, check=True)
        return Way(**orjson.loads(ran.stdout))
    finally:
        shutil.rmtree(config.parent)


def _command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "benchmarks.sync", *map(str, arguments)]


# ---- in the processes


async def _serve(path: Path) -> None:
    """Run a node until the standard input ends."""
    config = load_config(path, {"storage": {"indexes": False}})
    failures: list[BaseException] = []
    async with running_driver(config, make_genesis_block(read_spec(config.node.genesis)), failures.append):
        sys.stdout.write(READY + "\n")
        sys.stdout.flush()
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)
    if failures:
        raise failures[0]


async def _join(path: Path, name: str, distance: int, blocks: int) -> Way:
    """Run a fresh node until it has the tip."""
    config = load_config(path, {"storage": {"snapshot_distance": distance, "indexes": False}})
    genesis = make_genesis_block(read_spec(config.node.genesis))
    failures: list[BaseException] = []
    began_s = time.perf_counter()
    async with running_driver(config, genesis, failures.append) as driver:
        while driver.chain.tip.height < blocks:
            await asyncio.sleep(LOOK_S)
            if failures or time.perf_counter() - began_s > LIMIT_S:
                raise RuntimeError(f"the fresh node did not come to height {blocks}: {failures}")
        seconds = time.perf_counter() - began_s
        received_mb = sum(peer.bytes_in for peer in driver.network.peers()) / 1e6
        if (driver.chain.store.held.bodies_from > 0) != (distance > 0):
            raise RuntimeError(f"the fresh node came to its tip another way than {name}")
        root = "0x" + driver.chain.tip.state_root.hex()
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1_000
    rate = blocks / seconds
    return Way(name, seconds, rate, rate * TRANSFERS, received_mb, received_mb / seconds, peak_mb, root)


def _main(command: str, path: str, *arguments: str) -> None:
    set_up_logging("error", "json")
    if command == "serve":
        asyncio.run(_serve(Path(path)))
    else:
        name, distance, blocks = arguments
        sys.stdout.write(orjson.dumps(asyncio.run(_join(Path(path), name, int(distance), int(blocks)))).decode())


if __name__ == "__main__":
    _main(*sys.argv[1:])

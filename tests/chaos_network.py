"""Node processes that dial each other through `tests.proxy`, and the faults that happen to them, planned from a seed."""

import asyncio
import dataclasses
import logging
import os
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterable
from enum import StrEnum
from pathlib import Path
from typing import Any, Final

from datacar import Wallet
from genesis.network import make_committee, make_node_keys, node_names
from genesis.presets import DEV_PARAMETERS
from genesis.spec import GenesisSpec
from genesis.spec_json import GENESIS_NAME, spec_to_json
from node import probe
from node.commands.dev_accounts import dev_blueprint
from node.devnet import HOST, DevNode, last_lines, starting_lock
from node.node_folder import CONFIG_NAME, Endpoints, write_node_folder
from node.process import ProcessId, spawn, stop
from tests.patience import PATIENCE_S
from tests.ports import take_ports
from tests.proxy import Proxies

CLI: Final = Path(__file__).resolve().parents[1] / "cli.py"

log = logging.getLogger("chaos")


class Kind(StrEnum):
    """What can happen to some nodes for a while."""

    KILL = "kill -9"
    PAUSE = "pause"
    RESET = "reset all connections of"
    DEAFEN = "deafen"
    MUTE = "mute"
    SPLIT = "split off"
    SLOW = "slow down the lines of"


@dataclasses.dataclass(frozen=True, slots=True)
class Fault:
    """From `at_s` on, for `lasts_s`, this happens to `nodes`; `delay_s` is how slow a slow line is."""

    at_s: float
    lasts_s: float
    kind: Kind
    nodes: tuple[int, ...]
    delay_s: float

    def __str__(self) -> str:
        return f"{self.kind} {', '.join(map(str, self.nodes))} for {self.lasts_s:.1f} s"


def make_plan(seed: int, seconds: float, count: int = 4) -> list[Fault]:
    """Return the faults of a run: every kind once before any comes twice, one to all nodes at once, overlapping freely."""
    rng, faults, deck, at_s = random.Random(seed), list[Fault](), list[Kind](), 0.5
    while at_s < seconds:
        if not deck:
            deck = rng.sample(list(Kind), len(Kind))
        kind = deck.pop()
        if kind is Kind.SPLIT:  # mostly into halves, and long enough that each half gets as far as it can
            victims, lasts_s = rng.choice((1, 2, 2, 2)), rng.uniform(2, 6)
        else:  # more short ones than long ones
            victims, lasts_s = rng.choices((1, 2, 3, count), (10, 4, 1, 2))[0], 0.5 + 5.5 * rng.random() ** 2
        nodes = tuple(sorted(rng.sample(range(count), victims)))
        faults.append(Fault(at_s, min(lasts_s, seconds - at_s), kind, nodes, rng.choice((0.02, 0.1, 0.3))))
        at_s += rng.uniform(0.2, 2.5)
    return faults


class ChaosNetwork:
    """Nodes counted from 0, each behind a proxy. Everything but `make` and `close` belongs to one event loop."""

    def __init__(self, folder: Path, count: int = 4) -> None:
        """Make folders and keys, and start the processes."""
        names = node_names(count)
        blueprint = dev_blueprint(count, None, time.time_ns() // 1_000_000)
        with starting_lock(lambda _: None):
            ports = take_ports(3 * count)
            front, back, rpc = ports[:count], ports[count : 2 * count], ports[2 * count :]
            keys = [make_node_keys(blueprint.keys, name, f"{HOST}:{port}") for name, port in zip(names, front, strict=True)]
            committee = make_committee([each.member for each in keys])
            spec = GenesisSpec(
                chain_id="datacar-chaos",
                timestamp_ms=blueprint.timestamp_ms,
                development=True,
                parameters=DEV_PARAMETERS,
                committee=committee,
                contracts=blueprint.contracts,
            )
            (folder / GENESIS_NAME).write_text(spec_to_json(spec), encoding="utf-8")
            for each, p2p_port, rpc_port in zip(keys, back, rpc, strict=True):
                endpoints = Endpoints(HOST, p2p_port, HOST, rpc_port)
                write_node_folder(folder / each.member.id, each, endpoints, genesis=f"../{GENESIS_NAME}")
            self.genesis_hash = spec.hash
            self.folder = folder
            self.nodes = [DevNode(name, folder / name, rpc[at], back[at]) for at, name in enumerate(names)]
            self.wallets = [Wallet.from_mnemonic(account.mnemonic) for account in blueprint.accounts]
            self._children: dict[int, subprocess.Popen[bytes]] = {}
            self.proxies = Proxies(dict(enumerate(zip(front, back, strict=True))), self.pid_of)
            try:
                for node in range(count):
                    self.launch(node)
            except BaseException:
                self.close()
                raise
        self._down: Counter[int] = Counter()
        self._paused: Counter[int] = Counter()
        self._began = time.monotonic()
        self.timeline: list[str] = []

    @property
    def members(self) -> range:
        """Return the nodes' numbers."""
        return range(len(self.nodes))

    # ---- processes

    def pid_of(self, node: int) -> int | None:
        """Return the pid of a running node."""
        child = self._children.get(node)
        return None if child is None or child.poll() is not None else child.pid

    def launch(self, node: int) -> None:
        """Start a node's process."""
        where = self.nodes[node]
        command = [sys.executable, str(CLI), "start", "--config", str(where.folder / CONFIG_NAME)]
        self._children[node] = spawn(command, log=where.log, pid_file=where.pid_file)

    async def kill(self, node: int) -> None:
        """kill -9, and wait for the end."""
        if (child := self._children.pop(node, None)) is not None:
            assert child.poll() is None, f"node {node} ended by itself with {child.returncode}"
            child.kill()
            await asyncio.to_thread(child.wait, PATIENCE_S)

    def signal(self, node: int, number: signal.Signals) -> None:
        """Send a signal to a node that runs."""
        if (pid := self.pid_of(node)) is not None:
            os.kill(pid, number)

    def close(self) -> None:
        """Stop all processes, paused ones too, and see that none is left."""
        for node in self.members:
            self.signal(node, signal.SIGCONT)
        running = [process for node in self.nodes if (process := node.process()) is not None]
        killed = stop(running)
        for child in self._children.values():
            child.wait(PATIENCE_S)
        assert not killed, f"{killed} did not stop on SIGTERM"
        assert not _processes_of(self.folder), "a process of this network is left"

    # ---- faults

    def note(self, text: str) -> None:
        """Add a line to the timeline; `pytest --log-cli-level=INFO` shows it live."""
        self.timeline.append(f"{time.monotonic() - self._began:7.2f} s  {text}")
        log.info(self.timeline[-1])

    async def suffer(self, plan: Iterable[Fault], seconds: float) -> None:
        """Let the faults of a plan happen at their times; all are healed at the end."""
        began = time.monotonic()
        async with asyncio.TaskGroup() as group:
            for fault in plan:
                group.create_task(self._happen(fault, began))
        await asyncio.sleep(max(0.0, began + seconds - time.monotonic()))

    async def _happen(self, fault: Fault, began: float) -> None:
        await asyncio.sleep(max(0.0, began + fault.at_s - time.monotonic()))
        self.note(str(fault))
        await self.apply(fault, 1)
        await asyncio.sleep(max(0.0, began + fault.at_s + fault.lasts_s - time.monotonic()))
        await self.apply(fault, -1)
        self.note(f"over: {fault}")

    async def apply(self, fault: Fault, by: int) -> None:
        """Begin (1) or end (-1) a fault."""
        for node in fault.nodes:
            match fault.kind:
                case Kind.KILL:
                    await self._take_down(node, by)
                case Kind.PAUSE:
                    self._pause(node, by)
                case _:
                    self._cut(fault, node, by)

    async def _take_down(self, node: int, by: int) -> None:
        self._down[node] += by
        if by > 0:
            await self.kill(node)
        elif not self._down[node]:
            self.launch(node)

    def _pause(self, node: int, by: int) -> None:
        self._paused[node] += by
        self.signal(node, signal.SIGSTOP if self._paused[node] else signal.SIGCONT)

    def _cut(self, fault: Fault, node: int, by: int) -> None:
        for source, target in self.proxies.pairs_of(node):
            match fault.kind:
                case Kind.RESET if source == node:
                    self.proxies.refuse(source, target, by)
                case Kind.DEAFEN if target == node:
                    self.proxies.silence(source, target, by)
                case Kind.MUTE if source == node:
                    self.proxies.silence(source, target, by)
                case Kind.SPLIT if not {source, target} <= set(fault.nodes):
                    self.proxies.silence(source, target, by)
                case Kind.SLOW:
                    self.proxies.slow(source, target, fault.delay_s, by)

    # ---- asking

    async def ask(self, node: int, *calls: tuple[str, dict[str, Any]]) -> tuple[Any, ...]:
        """Return a node's answers to a batch of up to 100 calls, off the event loop: the proxies work on it."""
        return await asyncio.to_thread(probe.call, HOST, self.nodes[node].rpc_port, *calls, timeout_s=PATIENCE_S)

    async def readiness(self, node: int) -> probe.Readiness:
        """Return what a node says of itself."""
        return await asyncio.to_thread(probe.readiness, HOST, self.nodes[node].rpc_port)

    def story(self, lines: int = 12) -> str:
        """Return the timeline and the last words of each node."""
        logs = [f"--- {node.log}\n" + "\n".join(last_lines(node.log, lines)) for node in self.nodes]
        return "\n".join([*self.timeline, *logs])


def _processes_of(folder: Path) -> list[ProcessId]:
    """Return the processes whose command line names something in this folder."""
    found = []
    for entry in Path("/proc").iterdir():
        try:
            if entry.name.isdecimal() and str(folder).encode() in (entry / "cmdline").read_bytes():
                found.append(ProcessId(int(entry.name), ""))
        except OSError:
            continue
    return found

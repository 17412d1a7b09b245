"""A network of four real operating-system processes for tests, with the SDK to talk to it."""

import contextlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Final, Self, TypeVar

from datacar import Client, Wallet
from genesis.presets import DEV_PARAMETERS
from genesis.spec_json import GENESIS_NAME, read_spec, spec_to_json
from ledger.parameters import ChainParameters
from node import probe
from node.commands.dev_accounts import dev_blueprint
from node.devnet import HOST, Devnet, create, last_lines, starting_lock
from node.node_folder import CONFIG_NAME
from node.process import spawn
from tests.patience import PATIENCE_S
from tests.ports import take_ports

BATCH: Final = 100
CLI: Final = Path(__file__).resolve().parents[1] / "cli.py"

Text = TypeVar("Text", str, bytes)


class Processes:
    """A devnet in a folder of its own. Nodes are counted from 0."""

    def __init__(self, folder: Path, nodes: int = 4, parameters: ChainParameters = DEV_PARAMETERS) -> None:
        self._children: dict[str, subprocess.Popen[bytes]] = {}
        blueprint = dev_blueprint(nodes, None, time.time_ns() // 1_000_000)
        with starting_lock(_say_nothing):
            self.devnet: Devnet = create(folder / "net", blueprint, _say_nothing, (take_ports(nodes), take_ports(nodes)))
            genesis = self.devnet.folder / GENESIS_NAME
            genesis.write_text(spec_to_json(replace(read_spec(genesis), parameters=parameters)), encoding="utf-8")
            try:
                self.revive()
            except BaseException:
                self.close()
                raise
        self.wallets = [Wallet.from_mnemonic(account.mnemonic) for account in self.devnet.accounts]

    def close(self) -> None:
        """Stop everything."""
        self.devnet.stop()
        for child in self._children.values():
            child.wait(PATIENCE_S)

    def client(self, node: int, timeout_s: float = PATIENCE_S) -> Client:
        """Return a client of one node."""
        return Client(self.devnet.nodes[node].rpc_url, timeout_s=timeout_s)

    def ask(self, node: int, method: str, /, **params: object) -> Any:
        """Return what a node answers."""
        return self.ask_all(node, [(method, params)])[0]

    def ask_all(self, node: int, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
        """Return what a node answers to any number of calls."""
        port, answers = self.devnet.nodes[node].rpc_port, list[Any]()
        for first in range(0, len(calls), BATCH):
            answers += probe.call(HOST, port, *calls[first : first + BATCH], timeout_s=PATIENCE_S)
        return answers

    def readiness(self, node: int) -> probe.Readiness:
        """Return what a node says of itself."""
        return probe.readiness(HOST, self.devnet.nodes[node].rpc_port)

    def until_ready(self, node: int, timeout_s: float = PATIENCE_S) -> None:
        """Wait until a node is ready, or fail with what it says."""
        deadline = time.monotonic() + timeout_s
        while not (answer := self.readiness(node)).ready:
            said = "\n".join(last_lines(self.devnet.nodes[node].log, 5))
            assert self.devnet.nodes[node].process() is not None, f"it has ended: {said}"
            assert time.monotonic() < deadline, f"{answer.reason}: {said}"
            time.sleep(0.05)

    def pid(self, node: int) -> int:
        """Return the pid of a node that runs."""
        process = self.devnet.nodes[node].process()
        assert process is not None
        return process.pid

    def adopt(self, node: int, child: subprocess.Popen[bytes]) -> None:
        """Look after a process that a test started as a node."""
        self._children[self.devnet.nodes[node].name] = child

    def kill(self, node: int) -> None:
        """kill -9."""
        os.kill(self.pid(node), signal.SIGKILL)
        self.exit_code(node)

    def exit_code(self, node: int) -> int:
        """Wait for the end of a node's process."""
        code = self._children[self.devnet.nodes[node].name].wait(PATIENCE_S)
        del self._children[self.devnet.nodes[node].name]
        return code

    def revive(self) -> None:
        """Start what is down and wait until all are ready."""
        self._children = {name: child for name, child in self._children.items() if child.poll() is None}
        self.devnet.level_clocks()
        for node in self.devnet.nodes:
            if node.process() is None:
                command = [sys.executable, str(CLI), "start", "--config", str(node.folder / CONFIG_NAME)]
                self._children[node.name] = spawn(command, log=node.log, pid_file=node.pid_file)
        for index in range(len(self.devnet.nodes)):
            self.until_ready(index)

    def whole(self) -> Self:
        """Return it with all nodes up and ready, also when the test before failed in the middle."""
        self.revive()
        return self

    def primary(self) -> int:
        """Return which node is primary, by the word of one that runs."""
        running = next(index for index, node in enumerate(self.devnet.nodes) if node.process() is not None)
        name = self.ask(running, "consensus_status")["primary"]
        return next(index for index, node in enumerate(self.devnet.nodes) if node.name == name)

    def assert_one_chain(self) -> int:
        """All nodes come to one tip, and hold the same hash and state root at every height; return the height."""
        nodes = range(len(self.devnet.nodes))
        until(lambda: len({self.ask(node, "chain_info")["hash"] for node in nodes}) == 1)
        height: int = min(self.ask(node, "chain_info")["height"] for node in nodes)
        calls = [("chain_getHeader", {"height": at}) for at in range(height + 1)]
        chains = [self.ask_all(node, calls) for node in nodes]
        for at, headers in enumerate(zip(*chains, strict=True)):
            assert len({(header["hash"], header["state_root"]) for header in headers}) == 1, f"height {at} differs"
        supplies = {self.ask(node, "contract_query", contract="asset", method="supply", args={})["value"] for node in nodes}
        assert supplies == {str(800_000_000 * 10**8)}
        return height


@contextlib.contextmanager
def ended(process: subprocess.Popen[Text]) -> Iterator[subprocess.Popen[Text]]:
    """Give a process that is gone when the test is over, also when that fails: one left behind has the next test fail too."""
    with process:
        try:
            yield process
        finally:
            process.kill()  # nothing when it has ended; leaving the context waits for it and closes its pipes


def until(condition: Callable[[], bool], timeout_s: float = PATIENCE_S) -> None:
    """Wait until the condition holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.05)


def _say_nothing(_line: str) -> None:
    """Take what is said of the start."""

"""A network of four real operating-system processes for tests, with the SDK to talk to it."""

import os
import signal
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from datacar import Client, Wallet
from node import probe
from node.commands.dev_accounts import dev_blueprint
from node.devnet import HOST, Devnet, create, start, starting_lock


class Processes:
    """A devnet in a folder of its own. Nodes are counted from 0."""

    def __init__(self, folder: Path, nodes: int = 4) -> None:
        with starting_lock(lambda _: None):
            self.devnet: Devnet = create(folder / "net", dev_blueprint(nodes, None, time.time_ns() // 1_000_000), lambda _: None)
            self._children = start(self.devnet, lambda _: None)
        self.wallets = [Wallet.from_mnemonic(account.mnemonic) for account in self.devnet.accounts]

    def close(self) -> None:
        """Stop everything."""
        self.devnet.stop()
        for child in self._children.values():
            child.wait(timeout=10)

    def client(self, node: int, timeout_s: float = 30) -> Client:
        """Return a client of one node."""
        return Client(self.devnet.nodes[node].rpc_url, timeout_s=timeout_s)

    def ask(self, node: int, method: str, /, **params: object) -> Any:
        """Return what a node answers."""
        return probe.call(HOST, self.devnet.nodes[node].rpc_port, (method, params))[0]

    def kill(self, node: int) -> None:
        """kill -9."""
        process = self.devnet.nodes[node].process()
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        self._children.pop(self.devnet.nodes[node].name).wait(timeout=10)

    def revive(self) -> None:
        """Start what is down and wait until all are ready."""
        self._children |= start(self.devnet, lambda _: None)

    def primary(self) -> int:
        """Return which node is primary, by the word of one that runs."""
        running = next(index for index, node in enumerate(self.devnet.nodes) if node.process() is not None)
        name = self.ask(running, "consensus_status")["primary"]
        return next(index for index, node in enumerate(self.devnet.nodes) if node.name == name)

    def assert_one_chain(self) -> int:
        """All nodes come to one tip, and hold the same hash and state root at every height; return the height."""
        count = len(self.devnet.nodes)
        until(lambda: len({self.ask(node, "chain_info")["hash"] for node in range(count)}) == 1)
        height: int = min(self.ask(node, "chain_info")["height"] for node in range(count))
        for at in range(height + 1):
            headers = [self.ask(node, "chain_getHeader", height=at) for node in range(count)]
            assert len({(header["hash"], header["state_root"]) for header in headers}) == 1, f"height {at} differs"
        supplies = {
            self.ask(node, "contract_query", contract="asset", method="supply", args={})["value"] for node in range(count)
        }
        assert supplies == {str(800_000_000 * 10**8)}
        return height


def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until the condition holds, or fail."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        time.sleep(0.05)

"""`datacar devnet` with real node processes: the printed object, restarts that keep everything, and nothing left behind."""

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import cli
from datacar.wallet import Wallet
from ledger.errors import DatacarError
from node import probe
from node.commands.dev_accounts import dev_blueprint
from node.devnet import Devnet as StoredDevnet
from node.devnet import DevnetError, create, free_ports
from node.process import birth_of
from tests.patience import PATIENCE_S
from tests.ports import take_ports
from tests.processes import ended, until

ROOT = str(Path(cli.__file__).resolve().parent)
ON_PORTS = (
    "import sys; sys.path.insert(0, sys.argv[1]); import cli; from node import devnet; "
    "devnet.DEFAULT_RPC_PORT, devnet.DEFAULT_P2P_PORT = map(int, sys.argv[2:4]); del sys.argv[1:4]; cli.main()"
)
"""The command line, but that it begins to look for free ports where no other network on this machine does meanwhile."""
ACCOUNT_KEYS = {"address", "mnemonic", "path", "balance"}
TIME_MS = 1_735_689_600_000
NODE_KEYS = {"name", "pid", "rpc_url", "ws_url", "p2p_address", "data_dir", "log", "running"}

pytestmark = pytest.mark.cluster


class Devnet:
    """The command line on one folder, from a current folder that is not the checkout."""

    def __init__(self, folder: Path) -> None:
        self._begin = [sys.executable, "-c", ON_PORTS, ROOT, str(take_ports(8)[0]), str(take_ports(8)[0])]
        self.folder = folder / "net"
        self.elsewhere = folder

    def command(self, verb: str, *args: str) -> list[str]:
        return [*self._begin, "devnet", verb, *args, "--dir", str(self.folder)]

    def run(self, verb: str, *args: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            self.command(verb, *args), capture_output=True, text=True, cwd=self.elsewhere, timeout=5 * PATIENCE_S, check=False
        )

    def json(self, verb: str, *args: str) -> Any:
        result = self.run(verb, *args, "--json")
        assert result.returncode == 0, result.stderr
        return json.loads(result.stdout)

    def up(self) -> Any:
        return self.json("up", "--detach")


@pytest.fixture
def devnet(tmp_path: Path) -> Iterator[Devnet]:
    network = Devnet(tmp_path)
    yield network
    with contextlib.suppress(DatacarError):  # there is none, or what is there is none
        StoredDevnet.load(network.folder).stop()


def stable(document: Any) -> Any:
    """What must be the same at every start."""
    return document | {"nodes": [node | {"pid": None, "running": None} for node in document["nodes"]]}


def rpc(document: Any, method: str, **params: Any) -> Any:
    host, port = document["nodes"][0]["rpc_url"].removeprefix("http://").split(":")
    [result] = probe.call(host, int(port), (method, params), timeout_s=PATIENCE_S)
    return result


def test_a_network_from_its_first_start_to_its_reset(devnet: Devnet) -> None:
    """One network lives through it all, since starting one is what costs time."""
    first = devnet.up()
    _check_printed_object(devnet, first)
    other = devnet.run("up", "--detach", "--nodes", "7")
    assert (other.returncode, "has 4 nodes, not 7" in other.stderr) == (1, True)
    assert devnet.json("status") == first, "a refused command stops nothing"

    funded = first["accounts"][0]
    assert devnet.json("fund", funded["address"], "--amount", "2.5")["status"] == "succeeded"
    victim = first["nodes"][1]["pid"]
    os.kill(victim, signal.SIGKILL)
    until(lambda: birth_of(victim) is None)
    second = devnet.up()
    kept = [old["pid"] == new["pid"] for old, new in zip(first["nodes"], second["nodes"], strict=True)]
    assert kept == [True, False, True, True], "only what was down is started"
    assert second["accounts"][0] == funded | {"balance": "1000002.5"}

    _check_down(devnet, second)
    running = _start_unheard(devnet)
    third = devnet.up()
    assert [node["pid"] for node in third["nodes"]] == running
    assert stable(third) == stable(second), "money, keys and ports survive a stop of all nodes"

    assert devnet.run("reset").returncode != 0, "without --yes it asks, and nobody answers"
    old_hash = rpc(second, "chain_info")["genesis_hash"]
    devnet.json("reset", "--yes")
    again = devnet.up()
    assert stable(again) == stable(first)
    assert rpc(again, "chain_info")["genesis_hash"] != old_hash, "a reset network is another chain"


def _check_printed_object(devnet: Devnet, up: Any) -> None:
    assert set(up) == {"chain_id", "dir", "nodes", "accounts"}
    assert up["dir"] == str(devnet.folder)
    assert len(up["nodes"]) == 4
    assert all(set(node) == NODE_KEYS and node["running"] for node in up["nodes"])
    assert all(set(account) == ACCOUNT_KEYS and account["balance"] == "1000000" for account in up["accounts"])
    account = up["accounts"][3]
    assert Wallet.from_mnemonic(account["mnemonic"]).address == account["address"]
    assert rpc(up, "consensus_status")["primary"] in [node["name"] for node in up["nodes"]]


def _check_down(devnet: Devnet, up: Any) -> None:
    assert devnet.json("down") == {"stopped": 4, "killed": []}
    assert [birth_of(node["pid"]) for node in up["nodes"]] == [None] * 4
    status = devnet.json("status")
    assert [(node["pid"], node["running"]) for node in status["nodes"]] == [(None, False)] * 4
    assert set(status) == set(up)


def _start_unheard(devnet: Devnet) -> list[int]:
    """Start the nodes as `up --detach 2>&1 | head -0` does: nobody reads what is printed. Return the processes that run."""
    reading, writing = os.pipe()
    os.close(reading)
    command = devnet.command("up", "--detach")
    result = subprocess.run(command, stdout=writing, stderr=writing, cwd=devnet.elsewhere, timeout=5 * PATIENCE_S, check=False)
    os.close(writing)
    assert result.returncode == 0
    return [node["pid"] for node in devnet.json("status")["nodes"] if node["running"]]


def test_foreground_stops_its_nodes_when_interrupted(devnet: Devnet) -> None:
    started = subprocess.Popen(devnet.command("up", "--json"), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    with ended(started) as command:
        assert command.stdout is not None
        text = ""
        while not text.endswith("}\n") or text.count("{") != text.count("}"):
            text += command.stdout.readline()
            assert command.poll() is None
        pids = [node["pid"] for node in json.loads(text)["nodes"]]
        command.send_signal(signal.SIGINT)
        _, messages = command.communicate(timeout=PATIENCE_S)
        assert command.returncode == 0, messages
        assert [birth_of(pid) for pid in pids] == [None] * 4


def test_a_node_that_cannot_start_is_told_and_the_others_stop(devnet: Devnet) -> None:
    made = create(devnet.folder, dev_blueprint(4, None, TIME_MS), print, (take_ports(4), take_ports(4)))
    config = made.nodes[2].folder / "config.toml"
    config.write_text(config.read_text().replace("[rpc]", "[rcp]"))
    result = devnet.run("up", "--detach")
    assert result.returncode == 1
    assert "node3 ended with exit code 1" in result.stderr
    assert made.running() == ()


def test_a_taken_port_of_an_existing_network_is_told(devnet: Devnet) -> None:
    made = create(devnet.folder, dev_blueprint(4, None, TIME_MS), print, (take_ports(4), take_ports(4)))
    port = made.nodes[2].rpc_port
    with socket.create_server(("127.0.0.1", port)):
        result = devnet.run("up", "--detach")
    assert result.returncode == 1
    assert f"port {port} of node3 is used by another process" in result.stderr
    assert made.running() == ()


def test_a_folder_with_something_else_in_it_is_left_alone(devnet: Devnet) -> None:
    devnet.folder.mkdir()
    (devnet.folder / "letters").write_text("dear")
    result = devnet.run("up", "--detach")
    assert result.returncode == 1
    assert "holds something else" in result.stderr
    assert [path.name for path in devnet.folder.iterdir()] == ["letters"]


def test_busy_ports_are_skipped_with_a_message() -> None:
    said: list[str] = []
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        assert port not in free_ports(port, 1, said.append)
        assert said[0] == f"port {port} is busy, skipping it"
    with pytest.raises(DevnetError, match="no 2 free ports"):
        free_ports(65_535, 2, said.append)

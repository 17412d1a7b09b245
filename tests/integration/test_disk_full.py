"""A disk that is full, for real: the node says so and reads on, the others go on, and it recovers without being started again."""

import contextlib
import errno
import os
import resource
import secrets
import shutil
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from datacar import Client, Wallet
from ledger.crypto import public_key
from ledger.policy import KeyPolicy, parse_address
from ledger.transaction import SALT_BYTES, Call, TransactionBody, chain_tag_of
from node import probe
from node.app import MAX_PAUSE_S
from node.damage import ASIDE_NAME, NOTE_NAME, STORE_NAME
from node.devnet import HOST
from node.disk_watch import PROBE_BYTES
from node.node_folder import CONFIG_NAME, DATA_NAME
from node.probe import ProbeError
from node.process import spawn
from tests.patience import PATIENCE_S
from tests.processes import Processes, until

pytestmark = pytest.mark.cluster

CLI = Path(__file__).resolve().parents[2] / "cli.py"


RECOVERY_S = 2 * MAX_PAUSE_S
"""The longer a node's disk has failed, the longer it waits before the next attempt to go on."""


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Four real processes whose disks fail in turn."""
    processes = Processes(tmp_path_factory.mktemp("disk"))
    yield processes
    processes.close()


@contextlib.contextmanager
def limited_files(network: Processes, node: int, limit_bytes: int) -> Iterator[None]:
    """Have the kernel refuse a running node every byte beyond this size of a file: EFBIG, in the middle of a write if need be."""
    process = network.pid(node)
    before = resource.prlimit(process, resource.RLIMIT_FSIZE)
    resource.prlimit(process, resource.RLIMIT_FSIZE, (limit_bytes, before[1]))
    try:
        yield
    finally:  # a failed test leaves the network whole for the next one, and a test may have ended the process
        with contextlib.suppress(ProcessLookupError):
            resource.prlimit(process, resource.RLIMIT_FSIZE, before)


def stalled(network: Processes, node: int) -> str:
    return str(network.ask(node, "consensus_status")["stalled"])


def recover(network: Processes, node: int) -> None:
    """Wait until a node takes part again."""
    network.until_ready(node, RECOVERY_S)


def is_connected(network: Processes, node: int, other: int) -> bool:
    """Return whether a node is connected with another."""
    name = network.devnet.nodes[other].name
    return any(peer["id"] == name and peer["connected"] for peer in network.ask(node, "net_peers")["items"])


def balance(network: Processes, node: int, address: str) -> int:
    return int(network.ask(node, "account_get", address=address)["value"]["balance"])


def store_log_bytes(network: Processes, node: int) -> int:
    """Return the size of LevelDB's log."""
    return max(path.stat().st_size for path in (network.devnet.nodes[node].folder / DATA_NAME / STORE_NAME).glob("*.log"))


class Payments:
    """Pays one mote after another to an account of its own; every payment is final before the next."""

    def __init__(self, network: Processes) -> None:
        self.to = Wallet.generate().address
        self.count = 0
        self._network = network

    def until(self, through: int, condition: Callable[[], bool]) -> None:
        """Pay through a node until the condition holds, at least once."""
        deadline = time.monotonic() + PATIENCE_S
        with self._network.client(through) as client:
            self.one(client)
            while not condition():
                assert time.monotonic() < deadline, "it did not come to hold in time"
                self.one(client)

    def one(self, client: Client) -> None:
        """Pay once."""
        client.transfer(self._network.wallets[0], to=self.to, amount_motes=1)
        self.count += 1

    def raw(self) -> str:
        """Return a signed payment that is not sent."""
        genesis_hash = bytes.fromhex(self._network.ask(0, "chain_info")["genesis_hash"][2:])
        seed = self._network.wallets[0].key.seed
        body = TransactionBody(
            KeyPolicy.single(public_key(seed)),
            secrets.token_bytes(SALT_BYTES),
            time.time_ns() // 1_000_000 + 60_000,
            chain_tag_of(genesis_hash),
            (Call("asset", "transfer", (parse_address(self.to), 1)),),
            100_000,
        )
        return "0x" + body.sign(genesis_hash, (seed,)).raw.hex()


class Wait(threading.Thread):
    """A `tx_wait` at one node for an id that never comes; `error` is how it ended."""

    def __init__(self, network: Processes, node: int) -> None:
        super().__init__()
        self.error: ProbeError | None = None
        self._port = network.devnet.nodes[node].rpc_port
        self.start()

    def run(self) -> None:
        try:
            probe.call(HOST, self._port, ("tx_wait", {"id": "0x" + "77" * 32, "timeout_ms": 60_000}), timeout_s=70)
        except ProbeError as error:
            self.error = error


def test_a_node_that_cannot_write_says_so_reads_on_and_recovers(network: Processes) -> None:
    """Two members in turn: the first must vote again, or there is no quorum without the second."""
    pids = [network.pid(node) for node in range(4)]
    payments, primary = Payments(network), network.primary()
    for victim in (primary, (primary + 1) % 4):
        payments.until(victim, lambda: True)  # so that it has a block to read
        stall_and_use(network, victim, payments)
        recover(network, victim)
        assert stalled(network, victim) == "None"
        log = network.devnet.nodes[victim].log
        until(lambda: '"lines_lost"' in log.read_text())  # noqa: B023 - its log could not be written either
    network.assert_one_chain()
    assert [balance(network, node, payments.to) for node in range(4)] == [payments.count] * 4
    assert [network.pid(node) for node in range(4)] == pids


def stall_and_use(network: Processes, victim: int, payments: Payments) -> None:
    """Take the disk from one node, see that it says so and takes no part while the others pay on, and give the disk back."""
    through, wait = (victim + 2) % 4, Wait(network, victim)
    with limited_files(network, victim, 0):
        payments.until(through, lambda: stalled(network, victim).startswith("disk_full: "))
        assert "bytes are free in" in stalled(network, victim)
        until(lambda: "disk: disk_full: " in network.readiness(victim).reason)
        wait.join(PATIENCE_S)
        assert wait.error is not None
        assert wait.error.reason == "wait_timeout"
        check_it_reads_and_takes_nothing(network, victim, through, payments)
        payments.until(through, lambda: not is_connected(network, through, victim))


def check_it_reads_and_takes_nothing(network: Processes, node: int, other: int, payments: Payments) -> None:
    """What is stored is told; what is sent is refused before anything of it is taken, so a wallet may send it to another."""
    assert network.ask(node, "chain_getHeader", height=1)["height"] == 1
    assert balance(network, node, payments.to) <= payments.count
    with pytest.raises(ProbeError) as refused:
        network.ask(node, "tx_send", raw=payments.raw())
    assert refused.value.reason == "disk_full"
    with Client([network.devnet.nodes[at].rpc_url for at in (node, other)], timeout_s=PATIENCE_S) as client:
        payments.one(client)


def test_a_node_that_cannot_even_open_its_store_again_waits_for_that(network: Processes) -> None:
    """The probe's small file fits, the store's do not: the attempts fail, with no store to read from between them."""
    payments, victim = Payments(network), (network.primary() + 1) % 4
    payments.until(victim, lambda: store_log_bytes(network, victim) > 3 * PROBE_BYTES)
    with limited_files(network, victim, 2 * PROBE_BYTES):
        payments.until((victim + 2) % 4, lambda: "cannot open" in stalled(network, victim))
        with pytest.raises(ProbeError) as refused:
            network.ask(victim, "chain_getHeader", height=1)
        assert refused.value.reason == "store_closed"
    recover(network, victim)
    network.assert_one_chain()
    assert balance(network, victim, payments.to) == payments.count


def test_a_node_without_its_disk_stops_cleanly(network: Processes) -> None:
    payments, victim = Payments(network), (network.primary() + 1) % 4
    with limited_files(network, victim, 0):
        payments.until((victim + 1) % 4, lambda: stalled(network, victim).startswith("disk_full: "))
        os.kill(network.pid(victim), signal.SIGTERM)
        assert network.exit_code(victim) == 0
    network.revive()
    network.assert_one_chain()


def test_a_damaged_store_is_no_outage(network: Processes) -> None:
    """The node leaves a note and ends; the next start sets the store aside and fetches the chain from the others."""
    payments, victim = Payments(network), (network.primary() + 1) % 4
    payments.until(victim, lambda: payments.count > 20)
    network.kill(victim)
    network.revive()  # which writes what was in LevelDB's log into a table
    store = network.devnet.nodes[victim].folder / DATA_NAME / STORE_NAME
    for table in store.glob("*.ldb"):
        with table.open("r+b") as file:
            file.write(os.urandom(table.stat().st_size - 4096))  # but the index at its end
    with pytest.raises(ProbeError) as refused:
        read_all_blocks(network, victim)
    assert refused.value.reason == "store_corrupt"
    assert network.exit_code(victim) == 1
    assert (store / NOTE_NAME).is_file()
    network.revive()
    assert (store.parent / ASIDE_NAME / NOTE_NAME).is_file()
    network.assert_one_chain()
    assert balance(network, victim, payments.to) == payments.count


def read_all_blocks(network: Processes, node: int) -> None:
    for height in range(1, network.ask(node, "chain_info")["height"]):
        network.ask(node, "chain_getBlock", height=height)


# ---- a file system of the node's own, which can really be filled up

SMALL_DISK_BYTES = 64 * 1024 * 1024
IN_OWN_NAMESPACE = ("unshare", "--mount", "--map-root-user")
ON_SMALL_DISK = 'mount -t tmpfs -o size="$1" tmpfs "$2" && cp -R "$3"/. "$2" && shift 3 && exec "$@"'


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Processes]:
    """A network of one member, stopped, whose data folder is to be a mount point; what was in it is in `data.first`."""
    probed = subprocess.run([*IN_OWN_NAMESPACE, "mount", "-t", "tmpfs", "tmpfs", str(tmp_path)], check=False, capture_output=True)
    if probed.returncode != 0:
        pytest.skip(f"this machine mounts no file system for a test: {probed.stderr.decode().strip()}")
    processes = Processes(tmp_path, nodes=1)
    try:
        os.kill(processes.pid(0), signal.SIGTERM)
        assert processes.exit_code(0) == 0
        folder = processes.devnet.nodes[0].folder
        (folder / DATA_NAME).rename(folder / "data.first")
        (folder / DATA_NAME).mkdir()
        yield processes
    finally:
        processes.close()


def start_on_small_disk(alone: Processes, min_free_bytes: int) -> Path:
    """Start the member on a small disk in memory that only it sees, and return the data folder as seen from here."""
    node = alone.devnet.nodes[0]
    data = node.folder / DATA_NAME
    start = (sys.executable, str(CLI), "start", "--config", str(node.folder / CONFIG_NAME))
    mount = ("sh", "-c", ON_SMALL_DISK, "sh", str(SMALL_DISK_BYTES), str(data), str(node.folder / "data.first"))
    setting = ("env", f"DATACAR__STORAGE__MIN_FREE_BYTES={min_free_bytes}")
    alone.adopt(0, spawn([*IN_OWN_NAMESPACE, *mount, *setting, *start], log=node.log, pid_file=node.pid_file))
    alone.until_ready(0)
    return Path(f"/proc/{alone.pid(0)}/root{data}")


def send_until(alone: Processes, condition: Callable[[], bool]) -> None:
    """Send payments that nobody waits for, until the condition holds."""
    payments, deadline = Payments(alone), time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        with contextlib.suppress(ProbeError):
            alone.ask(0, "tx_send", raw=payments.raw())


def fill(file: Path, leave_bytes: int) -> None:
    """Make a file so large that so much is left on its disk."""
    with file.open("wb") as filler:
        os.posix_fallocate(filler.fileno(), 0, shutil.disk_usage(file.parent).free - leave_bytes)


def test_a_disk_without_any_room_left(alone: Processes) -> None:
    data = start_on_small_disk(alone, min_free_bytes=0)
    fill(data / "filler", 0)
    send_until(alone, lambda: stalled(alone, 0).startswith("disk_full: "))
    assert os.strerror(errno.ENOSPC) in stalled(alone, 0)
    height = alone.ask(0, "chain_info")["height"]
    assert alone.ask(0, "chain_getHeader", height=height)["height"] == height
    (data / "filler").unlink()
    check_it_goes_on(alone, height)


def test_voting_stops_before_the_disk_is_full(alone: Processes) -> None:
    least = 16 * 1024 * 1024
    data = start_on_small_disk(alone, min_free_bytes=least)
    fill(data / "filler", least - 1)
    until(lambda: stalled(alone, 0).startswith("disk_full: "))
    assert f"storage.min_free_bytes is {least}" in stalled(alone, 0)
    height = alone.ask(0, "chain_info")["height"]
    (data / "filler").unlink()
    check_it_goes_on(alone, height)


def check_it_goes_on(alone: Processes, height: int) -> None:
    """The same process takes part again, from where it was."""
    recover(alone, 0)
    payments = Payments(alone)
    payments.until(0, lambda: True)
    assert balance(alone, 0, payments.to) == 1
    assert alone.ask(0, "chain_info")["height"] > height

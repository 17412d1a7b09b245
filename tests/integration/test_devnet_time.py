"""A network whose clocks are set ahead by weeks: no view change, no stall, nothing lost, and who was away comes back."""

import asyncio
import itertools
import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Final

import pytest

import cli
from consensus import watch
from datacar import Wallet
from datacar.errors import RejectedError
from genesis.presets import DEV_ACCOUNT_MOTES
from ledger.codec import as_tuple
from ledger.policy import parse_address
from ledger.transaction import Call
from ledger.types import Height
from node.api import TxState
from node.clock import DevelopmentClock, now_ms
from node.devnet_time import move_time, network_time
from tests.core_network import ADDRESSES, CoreNetwork, Networks, until
from tests.patience import PATIENCE_MS, PATIENCE_S, PATIENT
from tests.processes import Processes
from tests.processes import until as until_now

DAY_MS: Final = 86_400_000
VALID_MS: Final = 3_000_000
SCRIPT: Final = str(Path(cli.__file__).resolve())

pytestmark = pytest.mark.cluster


# ---- in one process: every order in which members can go


class Clocks:
    """Four members with clocks that can be set."""

    def __init__(self, net: CoreNetwork) -> None:
        self.net = net
        self._clocks = [DevelopmentClock(config.node.data_dir) for config in net.configs]
        net.clocks |= dict(enumerate(self._clocks))
        self._view = -1

    async def settle(self) -> None:
        """Start, and pay once."""
        await self.net.start()
        await self.net.ready()
        item, service = self.net.transfer(0, ADDRESSES[8], 1), self.net.service(0)
        await service.submit([item.raw])
        await service.wait_final(item.id, PATIENCE_MS)
        self._view = service.tip.view

    def jump(self, index: int, ms: int = DAY_MS, from_height: Height | None = None) -> Height:
        return self.net.drivers[index].jumps.ask(lambda: self._clocks[index].set_ahead(ms), from_height)

    async def followed(self, since_ms: int) -> None:
        """Wait until all have a block of the new time; no view changed for it."""
        await until(lambda: all(driver.chain.tip.timestamp_ms >= since_ms for driver in self.net.drivers.values()))
        views = {(driver.replica.view, driver.chain.tip.view) for driver in self.net.drivers.values()}
        assert views == {(self._view, self._view)}


@pytest.fixture
async def clocks(networks: Networks, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Clocks]:
    """A network that is patient with its primary: a view changes for a day that passed, and not because the machine is busy."""
    monkeypatch.setattr(watch, "ALLOWED_MS", PATIENT.base_timeout_ms)
    found = Clocks(networks(parameters=PATIENT))
    await found.settle()
    yield found
    await found.net.stop()
    assert found.net.failures == []


@pytest.mark.parametrize("order", [(0, 1, 2, 3), (3, 2, 1, 0), (1, 0, 3, 2)], ids=["primary first", "last", "between"])
async def test_idle_members_may_go_in_any_order_within_a_moment(clocks: Clocks, order: tuple[int, ...]) -> None:
    """Blocks of a primary that is ahead wait at the others; one that is behind has its second."""
    due_ms = clocks.net.drivers[0].clock() + DAY_MS
    for index in order:
        clocks.jump(index)
        await asyncio.sleep(0.1)
    await clocks.followed(due_ms)


async def test_under_load_the_others_go_where_the_primarys_new_time_begins(clocks: Clocks) -> None:
    """Ten days, one after the other, while payments flow through all members; none is lost, none waits for long."""
    net, over = clocks.net, asyncio.Event()
    longest_s, paid = 0.0, [0] * 4

    async def pay(index: int) -> None:
        nonlocal longest_s
        service = net.service(index)
        while not over.is_set():
            began, ahead_ms = time.monotonic(), net.drivers[index].clock() - now_ms()
            item = net.transfer(index, ADDRESSES[index + 4], 1, valid_for_ms=ahead_ms + VALID_MS)
            (answer,) = await service.submit([item.raw])
            if answer.error is None:
                status = await service.wait_final(item.id, PATIENCE_MS, item.body.valid_until_ms)
                assert status.state in (TxState.SUCCEEDED, TxState.EXPIRED)
                paid[index] += status.state is TxState.SUCCEEDED
            longest_s = max(longest_s, time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for index in range(4):
            group.create_task(pay(index))
        for day in range(10):
            await until(lambda: min(paid) > day)  # noqa: B023 - on a slow machine a day takes all that is under way with it
            due_ms = net.drivers[0].clock() + DAY_MS
            from_height = clocks.jump(0)
            for index in (1, 2, 3):
                await asyncio.sleep(0.05)
                clocks.jump(index, from_height=from_height)
            await clocks.followed(due_ms)
        over.set()
    assert longest_s < PATIENT.base_timeout_ms / 1_000, "0.2 s on a quiet machine: so long the others take to follow"
    for index, count in enumerate(paid):
        free, *_ = as_tuple(net.service(0).query("asset", "balance_of", (ADDRESSES[index + 4],)), "balance", max_items=4)
        assert free == DEV_ACCOUNT_MOTES + count


# ---- four processes and the command line


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Four processes of their own, for their clocks are not those of others any more."""
    processes = Processes(tmp_path_factory.mktemp("time"), parameters=PATIENT)
    yield processes
    processes.close()


def devnet_time(network: Processes, *args: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, SCRIPT, "devnet", "time", *args, "--dir", str(network.devnet.folder)]
    return subprocess.run(command, capture_output=True, text=True, timeout=2 * PATIENCE_S, check=False)


def views(network: Processes) -> set[int]:
    return {network.ask(node, "consensus_status")["view"] for node in range(4)}


def test_a_month_passes_and_what_was_signed_before_it_has_its_answer(network: Processes) -> None:
    payer, payee = network.wallets[0], Wallet.generate()
    with network.client(1) as client:
        done = client.sign(payer, [Call("asset", "transfer", (parse_address(payee.address), 1))])
        client.send(done)
        view = views(network)
        kept = client.sign(payer, [Call("asset", "transfer", (parse_address(payee.address), 2))])
        before = network_time(network.devnet)
        after = move_time(network.devnet, 30 * DAY_MS)
        assert after.block_ms - before.block_ms >= 30 * DAY_MS
        assert after.offset_ms == before.offset_ms + 30 * DAY_MS
        assert {network.ask(node, "dev_time")["offset_ms"] for node in range(4)} == {after.offset_ms}
        assert views(network) == view
        assert client.transfer(payer, to=payee.address, amount_motes=4).succeeded
        with pytest.raises(RejectedError) as caught:
            client.send(kept)
        assert caught.value.reason == "expired"
        assert client.send(done).succeeded, "sending again what is in a block is safe, however long ago that was"
        assert client.balance(payee.address).free == 1 + 4
    assert network.ask(2, "node_status")["uptime_ms"] < DAY_MS, "it did not run for a month"
    network.assert_one_chain()


def test_member_that_was_down_starts_with_the_time_of_the_others(network: Processes) -> None:
    view, primary = views(network), network.primary()
    absent, gone = [node for node in range(4) if node != primary][:2]
    network.kill(absent)
    after = move_time(network.devnet, 7 * DAY_MS)
    network.revive()
    assert network.ask(absent, "dev_time") | {"time_ms": 0} == {
        "time_ms": 0,
        "offset_ms": after.offset_ms,
        "promised_ms": after.offset_ms,
    }
    until_now(lambda: network.ask(absent, "chain_info")["timestamp_ms"] >= after.block_ms)
    network.kill(gone)
    with network.client(absent) as client:
        assert client.transfer(network.wallets[1], to=Wallet.generate().address, amount_motes=1).succeeded, "its vote is needed"
    network.revive()
    assert views(network) == view
    network.assert_one_chain()


def test_command_sets_the_time_and_never_back(network: Processes) -> None:
    moved = devnet_time(network, "+1d12h", "--json")
    assert moved.returncode == 0, moved.stderr
    shown = json.loads(moved.stdout)
    assert shown["block_ms"] - shown["before_ms"] >= 36 * 3_600_000
    assert network.ask(0, "chain_getHeader", height=shown["height"])["timestamp_ms"] == shown["block_ms"]
    stepped = devnet_time(network, "+60h", "--step", "1d", "--json")
    assert stepped.returncode == 0, stepped.stderr
    later = json.loads(stepped.stdout)
    assert later["block_ms"] - later["before_ms"] >= 60 * 3_600_000
    heights = range(shown["height"], later["height"] + 1)
    stamps = [network.ask(0, "chain_getHeader", height=height)["timestamp_ms"] for height in heights]
    assert max(after - before for before, after in itertools.pairwise(stamps)) <= DAY_MS + 60_000, "no day was jumped over"
    assert stepped.stderr.count(" at height ") == 3, "each step is told"
    back = devnet_time(network, "--to", shown["before"])
    assert (back.returncode, "time goes only ahead" in back.stderr) == (1, True)
    century = devnet_time(network, "+36600d")
    assert (century.returncode, "it goes 36600 days at most" in century.stderr) == (4, True), century.stderr
    network.assert_one_chain()

"""Four real drivers over real disks, sockets and TLS: they agree, survive crashes, catch up, and lose nothing."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.types import Height
from node.api import TxState
from tests.core_network import ADDRESSES, CoreNetwork


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.02)


async def start(directory: Path, n: int = 4) -> CoreNetwork:
    net = CoreNetwork(directory, n)
    await net.start()
    await until(lambda: all(net.service(i).readiness().ready for i in range(n)))
    return net


async def pay(net: CoreNetwork, index: int, count: int = 1) -> None:
    """Send transfers to a node and wait until they are final there."""
    service = net.service(index)
    items = [net.transfer(k % 10, ADDRESSES[(k + 1) % 10], 1) for k in range(count)]
    for answer in await service.submit([item.raw for item in items]):
        assert answer.error is None, answer.error
    for status in await asyncio.gather(*(service.wait_final(item.id, 15_000) for item in items)):
        assert status.state is TxState.SUCCEEDED


def assert_same_chain(net: CoreNetwork) -> None:
    """All running nodes hold the same blocks and the same certified roots."""
    tips = [net.service(index).tip.height for index in net.drivers]
    for height in range(min(tips) + 1):
        headers = {net.service(index).header(Height(height)) for index in net.drivers}
        assert len(headers) == 1, f"height {height} differs"


async def test_four_nodes_commit_and_agree(tmp_path: Path) -> None:
    net = await start(tmp_path)
    for index in range(4):
        await pay(net, index, 50)
    await until(lambda: len({net.service(index).tip_hash for index in range(4)}) == 1)
    assert_same_chain(net)
    supply = [net.service(index).query("asset", "supply", ()) for index in range(4)]
    assert supply == [800_000_000 * 10**8] * 4
    await net.stop()
    assert net.failures == []


async def test_primary_dies_and_comes_back(tmp_path: Path) -> None:
    net = await start(tmp_path)
    await pay(net, 1, 5)
    await net.stop(0)
    began = time.monotonic()
    await pay(net, 1, 5)
    assert time.monotonic() - began < 6, "one view change"
    began = time.monotonic()
    for _ in range(5):
        await pay(net, 2)
    assert time.monotonic() - began < 3, "and not one for each block"
    await net.start(0)
    await until(lambda: net.service(0).tip.height >= net.service(1).tip.height - 1)
    await pay(net, 0, 5)
    assert_same_chain(net)
    await net.stop()


async def test_node_with_an_empty_disk_catches_up_by_itself_and_signs_nothing_it_may_contradict(tmp_path: Path) -> None:
    net = await start(tmp_path)
    await net.stop(3)
    for _ in range(10):
        await pay(net, 0, 3)
    for path in sorted((tmp_path / net.configs[3].node.member_id / "data").rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    await net.start(3)
    assert net.drivers[3].replica.phase == "quarantine"
    await until(lambda: net.service(3).tip.height >= 10)
    for _ in range(4):
        await pay(net, 0)
    await until(lambda: net.drivers[3].replica.phase != "quarantine")
    assert_same_chain(net)
    await net.stop()


async def test_all_stop_and_start_again_where_they_were(tmp_path: Path) -> None:
    net = await start(tmp_path)
    await pay(net, 0, 20)
    before = net.service(0).tip.height
    await net.stop()
    await net.start()
    assert net.service(0).tip.height >= before
    await until(lambda: all(net.service(i).readiness().ready for i in range(4)))
    await pay(net, 3, 20)
    assert_same_chain(net)
    await net.stop()


async def test_no_quorum_says_who_is_missing_and_nothing_is_acknowledged(tmp_path: Path) -> None:
    net = await start(tmp_path)
    await net.stop(2, 3)
    service = net.service(0)
    await until(lambda: not service.readiness().ready)
    stalled = service.consensus_status().stalled
    assert stalled is not None
    assert "node3, node4" in stalled
    item = net.transfer(0, ADDRESSES[1], 1)
    (answer,) = await service.submit([item.raw])
    assert answer.error is None
    with pytest.raises(Exception, match="not final after") as caught:
        await service.wait_final(item.id, 500)
    assert getattr(caught.value, "reason", "") == "wait_timeout"
    await net.start(2, 3)
    status = await service.wait_final(item.id, 15_000)
    assert status.state is TxState.SUCCEEDED, "kept, and done when the quorum is back"
    await net.stop()


async def test_expired_is_said_of_a_committed_time_only(tmp_path: Path) -> None:
    net = await start(tmp_path)
    await net.stop(2, 3)
    service = net.service(0)
    item = net.transfer(0, ADDRESSES[1], 1, valid_for_ms=5)  # over before the batch delay is: it never gets into a proposal
    await service.submit([item.raw])
    await asyncio.sleep(0.1)
    assert service.transaction_status(item.id).state is TxState.PENDING, "its time is over, but no block says so"
    await net.start(2, 3)
    status = await service.wait_final(item.id, 15_000)
    assert status.state is TxState.EXPIRED
    assert service.transaction_status(item.id).state is TxState.EXPIRED
    await net.stop()

"""Four real drivers over real disks, sockets and TLS: they agree, survive crashes, catch up, and lose nothing."""

import asyncio
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from ledger.codec import as_tuple, decode, encode, fields
from ledger.types import BlockHash, Height
from node.api import TxState
from node.clock import Clock, now_ms
from p2p.messages import Blocks, Status, Transactions
from tests.core_network import ADDRESSES, CoreNetwork


async def until(condition: Callable[[], bool], timeout_s: float = 20.0) -> None:
    """Wait until the condition holds."""
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, "it did not come to hold in time"
        await asyncio.sleep(0.02)


async def start(directory: Path, clocks: dict[int, Clock] | None = None) -> CoreNetwork:
    net, n = CoreNetwork(directory, 4), 4
    net.clocks |= clocks or {}
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


# ---- one member lies, floods or is slow


async def test_body_that_only_the_primary_has_is_fetched_also_while_gossip_flows(tmp_path: Path) -> None:
    """Frames of gossip every few milliseconds must not put off asking for what a proposal lacks."""
    net = await start(tmp_path)
    liar = net.keys[3].member.id
    item = net.transfer(0, ADDRESSES[1], 1)
    net.drivers[0].gossip.receive(liar, (item.raw,))

    async def noise() -> None:
        while True:
            for index in range(3):
                net.drivers[index].on_message(liar, Transactions(()))
            await asyncio.sleep(0.005)

    flood = asyncio.create_task(noise())
    status = await net.service(1).wait_final(item.id, 5_000, item.body.valid_until_ms)
    flood.cancel()
    assert status.state is TxState.SUCCEEDED
    assert net.drivers[1].replica.view == 0
    await net.stop()


async def test_bodies_that_are_not_the_header_s_halt_nobody(tmp_path: Path) -> None:
    """A certified header with other bodies is a lie of its sender, not a difference from the quorum."""
    net = await start(tmp_path)
    await net.stop(3)
    await pay(net, 0)
    tip = net.service(0).tip.height
    item = net.drivers[0].answers.certified(tip)
    assert item is not None
    block, certificate = fields(decode(item), 2, "block")
    header, bodies = fields(block, 2, "block")
    await net.stop(0, 1, 2)
    await net.start(3)
    victim = net.drivers[3]
    assert victim.chain.tip.height == tip - 1
    lie = encode(((header, (*as_tuple(bodies, "bodies", max_items=9), *as_tuple(bodies, "bodies", max_items=9))), certificate))
    victim.on_message(net.keys[1].member.id, Blocks((lie,)))
    await asyncio.sleep(0.2)
    assert victim.replica.halted is None
    head, view, bitmap, votes = fields(certificate, 4, "certificate")
    forged = encode((block, (head, view, bitmap, (bytes(64), *as_tuple(votes, "votes", max_items=4)[1:]))))
    victim.on_message(net.keys[1].member.id, Blocks((forged,)))
    await asyncio.sleep(0.2)
    assert net.failures == [], "a bad vote in a certificate is refused, and stops nobody"
    victim.on_message(net.keys[1].member.id, Blocks((item,)))
    await until(lambda: victim.chain.tip.height == tip)
    await net.stop()


async def test_junk_that_no_block_can_hold_costs_no_view(tmp_path: Path) -> None:
    net = await start(tmp_path)
    junk = (
        net.transfer(0, ADDRESSES[1], 1, valid_for_ms=2**52).raw,
        net.transfer(0, ADDRESSES[1], 1, gas_limit=2**39).raw,
    )
    for index in range(4):
        net.drivers[index].on_message(net.keys[(index + 1) % 4].member.id, Transactions(junk))
    await asyncio.sleep(1.5)
    assert [driver.replica.view for driver in net.drivers.values()] == [0] * 4
    assert all(len(driver.intake.mempool) == 0 for driver in net.drivers.values())
    await net.stop()


async def test_failing_disk_stops_the_node_also_while_it_catches_up(tmp_path: Path) -> None:
    net = await start(tmp_path)
    await net.stop(3)
    await pay(net, 0, 3)
    await net.start(3)

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    net.drivers[3].chain.store.commit = full  # type: ignore[method-assign, assignment]
    await until(lambda: bool(net.failures))
    assert isinstance(net.failures[0], OSError)
    await pay(net, 0, 3)
    await net.stop()


async def test_one_lying_tip_makes_nobody_unready(tmp_path: Path) -> None:
    net = await start(tmp_path)
    net.drivers[0].on_message(net.keys[2].member.id, Status(Height(2**52), BlockHash(bytes(32))))
    assert net.service(0).readiness().ready
    await pay(net, 0)
    await net.stop()


async def test_heartbeats_come_though_the_wall_clock_is_slewed(tmp_path: Path) -> None:
    began = time.time_ns()
    slewed: Clock = lambda: (began + int((time.time_ns() - began) * 0.98)) // 1_000_000  # noqa: E731
    net = await start(tmp_path, dict.fromkeys(range(4), slewed))
    await pay(net, 0)
    base = net.service(0).tip.height
    await until(lambda: net.service(0).tip.height >= base + 2, 15)
    await net.stop()


async def test_transaction_committed_before_is_not_pending_again_because_a_proposal_names_it(tmp_path: Path) -> None:
    """A primary that proposes an old transaction must not fill the others' pools with what no block can hold."""
    net = await start(tmp_path)
    service, item = net.service(0), net.transfer(0, ADDRESSES[1], 1)
    await service.submit([item.raw])
    await service.wait_final(item.id, 15_000)
    intake = net.drivers[1].intake
    await until(lambda: intake.chain.committed_at(item.id) is not None)
    intake.take_wanted(item.tx_hash, item.raw)
    intake.verify_now(item.tx_hash, time.time_ns() // 1_000_000)
    assert intake.find(item.tx_hash) is not None, "the proposal can be judged"
    assert len(intake.mempool) == 0
    await net.stop()


async def test_what_a_slow_clock_may_not_include_yet_is_tried_again(tmp_path: Path) -> None:
    """Valid for a whole window by the clock of who took it, it is too far ahead for a primary 400 ms behind: not for long."""
    slow: Clock = lambda: now_ms() - 400  # noqa: E731
    net = await start(tmp_path, {0: slow, 2: slow, 3: slow})
    item = net.transfer(0, ADDRESSES[1], 1, valid_for_ms=net.genesis.spec.parameters.tx_window_ms)
    (answer,) = await net.service(1).submit([item.raw])
    assert answer.error is None
    began, status = time.monotonic(), await net.service(1).wait_final(item.id, 10_000)
    assert status.state is TxState.SUCCEEDED
    assert time.monotonic() - began < 2
    assert [driver.replica.view for driver in net.drivers.values()] == [0] * 4
    await net.stop()


async def test_primary_that_lacks_what_the_others_hold_is_told_and_not_replaced(tmp_path: Path) -> None:
    """Gossip that never reached it is no fault of the primary: 2,000 transactions that only the backups hold cost no view."""
    net = await start(tmp_path)
    items = [net.transfer(n % 10, ADDRESSES[n % 9], 1) for n in range(2_000)]
    for index in (1, 2, 3):
        for item in items:
            net.drivers[index].intake.mempool.add(item)
        net.drivers[index].on_pending()
    await until(lambda: all(len(driver.intake.mempool) == 0 for driver in net.drivers.values()), 30)
    assert [driver.replica.view for driver in net.drivers.values()] == [0] * 4
    assert_same_chain(net)
    await net.stop()

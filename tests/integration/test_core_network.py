"""Four real drivers over real disks, sockets and TLS: they agree, survive crashes, catch up, and lose nothing."""

import asyncio
import time
from dataclasses import replace

import pytest

from genesis.presets import DEV_PARAMETERS
from ledger.codec import as_tuple, decode, encode, fields
from ledger.parameters import ChainParameters
from ledger.types import BlockHash, Height
from node.api import TxState
from node.clock import Clock, now_ms
from p2p.messages import Blocks, Status, Transactions
from tests.core_network import ADDRESSES, CoreNetwork, Networks, until
from tests.patience import PATIENCE_MS, PATIENCE_S, PATIENT


async def start(
    networks: Networks, clocks: dict[int, Clock] | None = None, parameters: ChainParameters = DEV_PARAMETERS
) -> CoreNetwork:
    """Return a network of four that are ready."""
    net = networks(parameters=parameters)
    net.clocks |= clocks or {}
    await net.start()
    await net.ready()
    return net


async def pay(net: CoreNetwork, index: int, count: int = 1) -> None:
    """Send transfers to a node and wait until they are final there."""
    service = net.service(index)
    items = [net.transfer(k % 10, ADDRESSES[(k + 1) % 10], 1) for k in range(count)]
    for answer in await service.submit([item.raw for item in items]):
        assert answer.error is None, answer.error
    for status in await asyncio.gather(*(service.wait_final(item.id, PATIENCE_MS) for item in items)):
        assert status.state is TxState.SUCCEEDED


def primary(net: CoreNetwork) -> int:
    """Return which node is primary; the first one, unless the machine was so busy that a view has failed already."""
    name = next(iter(net.drivers.values())).replica.primary
    return next(index for index, keys in enumerate(net.keys) if keys.member.id == name)


def assert_same_chain(net: CoreNetwork) -> None:
    """All running nodes hold the same blocks and the same certified roots."""
    tips = [net.service(index).tip.height for index in net.drivers]
    for height in range(min(tips) + 1):
        headers = {net.service(index).header(Height(height)) for index in net.drivers}
        assert len(headers) == 1, f"height {height} differs"


async def test_four_nodes_commit_and_agree(networks: Networks) -> None:
    net = await start(networks)
    for index in range(4):
        await pay(net, index, 50)
    await until(lambda: len({net.service(index).tip_hash for index in range(4)}) == 1)
    assert_same_chain(net)
    supply = [net.service(index).query("asset", "supply", ()) for index in range(4)]
    assert supply == [800_000_000 * 10**8] * 4
    await net.stop()
    assert net.failures == []


async def test_primary_dies_and_comes_back(networks: Networks) -> None:
    """Counted in views, which are the same on a slow machine: one in which the new primary was too slow is allowed for."""
    net = await start(networks)
    gone = primary(net)
    through, other = (gone + 1) % 4, (gone + 2) % 4
    await pay(net, through, 5)
    before = max(net.views)
    await net.stop(gone)
    await pay(net, through, 5)
    after = max(net.views)
    assert before < after <= before + 2, "one view change"
    for _ in range(5):
        await pay(net, other)
    assert max(net.views) <= after + 1, "and not one for each block"
    await net.start(gone)
    await until(lambda: net.service(gone).tip.height >= net.service(through).tip.height - 1)
    await pay(net, gone, 5)
    assert_same_chain(net)


async def test_node_with_an_empty_disk_catches_up_by_itself_and_signs_nothing_it_may_contradict(networks: Networks) -> None:
    net = await start(networks)
    await net.stop(3)
    for _ in range(10):
        await pay(net, 0, 3)
    for path in sorted(net.configs[3].node.data_dir.rglob("*"), reverse=True):
        path.unlink() if path.is_file() else path.rmdir()
    await net.start(3)
    assert net.drivers[3].replica.phase == "quarantine"
    await until(lambda: net.service(3).tip.height >= 10)
    for _ in range(4):
        await pay(net, 0)
    await until(lambda: net.drivers[3].replica.phase != "quarantine")
    assert_same_chain(net)
    await net.stop()


async def test_all_stop_and_start_again_where_they_were(networks: Networks) -> None:
    net = await start(networks)
    await pay(net, 0, 20)
    before = net.service(0).tip.height
    await net.stop()
    await net.start()
    assert net.service(0).tip.height >= before
    await net.ready()
    await pay(net, 3, 20)
    assert_same_chain(net)
    await net.stop()


async def test_no_quorum_says_who_is_missing_and_nothing_is_acknowledged(networks: Networks) -> None:
    net = await start(networks)
    await net.stop(2, 3)
    service = net.service(0)
    await until(lambda: "node3, node4" in (service.consensus_status().stalled or ""))
    assert not service.readiness().ready
    item = net.transfer(0, ADDRESSES[1], 1)
    (answer,) = await service.submit([item.raw])
    assert answer.error is None
    with pytest.raises(Exception, match="not final after") as caught:
        await service.wait_final(item.id, 500)
    assert getattr(caught.value, "reason", "") == "wait_timeout"
    await net.start(2, 3)
    status = await service.wait_final(item.id, PATIENCE_MS)
    assert status.state is TxState.SUCCEEDED, "kept, and done when the quorum is back"
    await net.stop()


async def test_expired_is_said_of_a_committed_time_only(networks: Networks) -> None:
    """Its time is over at once, by everybody's clock: before the batch delay is, so it never gets into a proposal."""
    ahead_ms = 0
    clock: Clock = lambda: now_ms() + ahead_ms  # noqa: E731
    net = await start(networks, dict.fromkeys(range(4), clock))
    await net.stop(2, 3)
    service = net.service(0)
    item = net.transfer(0, ADDRESSES[1], 1)
    (answer,) = await service.submit([item.raw])
    assert answer.error is None
    ahead_ms = item.body.valid_until_ms - now_ms() + 1
    await asyncio.sleep(0.1)
    assert service.transaction_status(item.id).state is TxState.PENDING, "its time is over, but no block says so"
    await net.start(2, 3)
    status = await service.wait_final(item.id, PATIENCE_MS)
    assert status.state is TxState.EXPIRED
    assert service.transaction_status(item.id).state is TxState.EXPIRED


# ---- one member lies, floods or is slow


async def test_body_that_only_the_primary_has_is_fetched_also_while_gossip_flows(networks: Networks) -> None:
    """Frames of gossip every few milliseconds must not put off asking for what a proposal lacks."""
    net = await start(networks, parameters=PATIENT)
    first, before = primary(net), net.views
    others = [index for index in range(4) if index != first]
    liar = net.keys[others[-1]].member.id
    item = net.transfer(0, ADDRESSES[1], 1)
    net.drivers[first].gossip.receive(liar, (item.raw,))

    async def noise() -> None:
        while True:
            for index in (first, *others[:-1]):
                net.drivers[index].on_message(liar, Transactions(()))
            await asyncio.sleep(0.005)

    flood = asyncio.create_task(noise())
    try:
        status = await net.service(others[0]).wait_final(item.id, PATIENCE_MS, item.body.valid_until_ms)
    finally:
        flood.cancel()
    assert status.state is TxState.SUCCEEDED
    assert net.views == before


async def test_bodies_that_are_not_the_header_s_halt_nobody(networks: Networks) -> None:
    """A certified header with other bodies is a lie of its sender, not a difference from the quorum."""
    net = await start(networks)
    await net.stop(3)
    await pay(net, 0)
    tip = net.service(0).tip.height
    items = [net.drivers[0].answers.certified(Height(height)) for height in range(1, tip + 1)]
    block, certificate = fields(decode(items[-1] or b""), 2, "block")
    header, bodies = fields(block, 2, "block")
    await net.stop(0, 1, 2)
    await net.start(3)
    victim, teacher = net.drivers[3], net.keys[1].member.id
    for item in items[victim.chain.tip.height : -1]:  # what else was decided after it was stopped
        victim.on_message(teacher, Blocks((item or b"",)))
    await until(lambda: victim.chain.tip.height == tip - 1)
    lie = encode(((header, (*as_tuple(bodies, "bodies", max_items=9), *as_tuple(bodies, "bodies", max_items=9))), certificate))
    victim.on_message(teacher, Blocks((lie,)))
    await asyncio.sleep(0.2)
    assert victim.replica.halted is None
    head, view, bitmap, votes = fields(certificate, 4, "certificate")
    forged = encode((block, (head, view, bitmap, (bytes(64), *as_tuple(votes, "votes", max_items=4)[1:]))))
    victim.on_message(teacher, Blocks((forged,)))
    await asyncio.sleep(0.2)
    assert net.failures == [], "a bad vote in a certificate is refused, and stops nobody"
    victim.on_message(teacher, Blocks((items[-1] or b"",)))
    await until(lambda: victim.chain.tip.height == tip)


async def test_junk_that_no_block_can_hold_costs_no_view(networks: Networks) -> None:
    net = await start(networks)
    before = net.views
    junk = (
        net.transfer(0, ADDRESSES[1], 1, valid_for_ms=2**52).raw,
        net.transfer(0, ADDRESSES[1], 1, gas_limit=2**39).raw,
    )
    for index in range(4):
        net.drivers[index].on_message(net.keys[(index + 1) % 4].member.id, Transactions(junk))
    await asyncio.sleep(1.5)
    assert net.views == before
    assert all(len(driver.intake.mempool) == 0 for driver in net.drivers.values())


async def test_failing_disk_stops_the_node_also_while_it_catches_up(networks: Networks) -> None:
    net = await start(networks)
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


async def test_one_lying_tip_makes_nobody_unready(networks: Networks) -> None:
    net = await start(networks)
    net.drivers[0].on_message(net.keys[2].member.id, Status(Height(2**52), BlockHash(bytes(32))))
    assert net.service(0).readiness().ready
    await pay(net, 0)
    await net.stop()


async def test_heartbeats_come_though_the_wall_clock_is_slewed(networks: Networks) -> None:
    began = time.time_ns()
    slewed: Clock = lambda: (began + int((time.time_ns() - began) * 0.98)) // 1_000_000  # noqa: E731
    net = await start(networks, dict.fromkeys(range(4), slewed), replace(DEV_PARAMETERS, heartbeat_ms=1_000))
    await pay(net, 0)
    base = net.service(0).tip.height
    await until(lambda: net.service(0).tip.height >= base + 2)
    await net.stop()


async def test_transaction_committed_before_is_not_pending_again_because_a_proposal_names_it(networks: Networks) -> None:
    """A primary that proposes an old transaction must not fill the others' pools with what no block can hold."""
    net = await start(networks)
    service, item = net.service(0), net.transfer(0, ADDRESSES[1], 1)
    await service.submit([item.raw])
    await service.wait_final(item.id, PATIENCE_MS)
    intake = net.drivers[1].intake
    await until(lambda: intake.chain.committed_at(item.id) is not None)
    intake.take_wanted(item.tx_hash, item.raw)
    intake.verify_now(item.tx_hash, time.time_ns() // 1_000_000)
    assert intake.find(item.tx_hash) is not None, "the proposal can be judged"
    assert len(intake.mempool) == 0
    await net.stop()


async def test_what_a_slow_clock_may_not_include_yet_is_tried_again(networks: Networks) -> None:
    """Valid for a whole window by the clock of who took it, it is too far ahead for a primary 400 ms behind: not for long."""
    slow: Clock = lambda: now_ms() - 400  # noqa: E731
    net = await start(networks, {0: slow, 2: slow, 3: slow}, replace(PATIENT, heartbeat_ms=60_000))
    before = net.views
    item = net.transfer(0, ADDRESSES[1], 1, valid_for_ms=net.genesis.spec.parameters.tx_window_ms)
    (answer,) = await net.service(1).submit([item.raw])
    assert answer.error is None
    began, status = time.monotonic(), await net.service(1).wait_final(item.id, PATIENCE_MS)
    assert status.state is TxState.SUCCEEDED
    assert time.monotonic() - began < PATIENT.base_timeout_ms / 1_000, "neither a heartbeat nor a view change was waited for"
    assert net.views == before
    await net.stop()


async def test_primary_that_lacks_what_the_others_hold_is_told_and_not_replaced(networks: Networks) -> None:
    """Gossip that never reached it is no fault of the primary: 2,000 transactions that only the backups hold cost no view."""
    net = await start(networks, parameters=PATIENT)
    first, before = primary(net), net.views
    items = [net.transfer(n % 10, ADDRESSES[n % 9], 1) for n in range(2_000)]
    for index in (index for index in range(4) if index != first):
        for item in items:
            net.drivers[index].intake.mempool.add(item)
        net.drivers[index].on_pending()
    await until(lambda: all(len(driver.intake.mempool) == 0 for driver in net.drivers.values()), 5 * PATIENCE_S)
    assert net.views == before
    assert_same_chain(net)
    await net.stop()

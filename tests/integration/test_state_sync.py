"""Real nodes over real disks and sockets: who is far behind takes a snapshot, checks all of it, and goes on as a full member."""

import shutil
from dataclasses import replace

from genesis.presets import DEV_PARAMETERS
from ledger.types import Height
from node.api import TxState
from node.config import StorageSection
from tests.core_network import ADDRESSES, CoreNetwork, Networks, until
from tests.integration.test_core_network import assert_same_chain, pay

EVERY = 6
BUSY = replace(DEV_PARAMETERS, heartbeat_ms=60_000)  # the tests count blocks: a slow machine must not add empty ones


def configure(net: CoreNetwork, **storage: int) -> None:
    """Give all nodes (that are started later) a storage section."""
    section = StorageSection.model_validate({"snapshot_every": EVERY, **storage})
    net.configs = [config.model_copy(update={"storage": section}) for config in net.configs]


async def pay_for_blocks(net: CoreNetwork, index: int, height: int) -> None:
    """Send a few transfers after each block until a node has this height."""
    while net.service(index).tip.height < height:
        await pay(net, index, 3)


async def network_of_three(networks: Networks, **storage: int) -> CoreNetwork:
    """Four members of whom the last has not started yet."""
    net = networks(parameters=BUSY)
    configure(net, **storage)
    await net.start(0, 1, 2)
    await net.ready()
    return net


async def test_a_fresh_node_joins_from_a_snapshot_and_votes(networks: Networks) -> None:
    """State, window and membership come over; blocks follow; then the network needs its vote and gets it."""
    net = await network_of_three(networks, snapshot_distance=5)
    early = net.transfer(1, ADDRESSES[2], 5)
    await net.service(0).submit([early.raw])
    await pay_for_blocks(net, 0, 2 * EVERY + 2)
    await net.start(3)
    await until(lambda: net.service(3).tip.height >= 2 * EVERY + 2)
    store = net.drivers[3].chain.store
    assert (store.held.states_from, store.held.bodies_from) == (2 * EVERY, 2 * EVERY + 1), "it came by the snapshot"
    assert store.block(Height(EVERY)) is None
    await until(lambda: net.service(3).status()["state_sync"] is None)  # shown while it is under way only
    status = net.service(3).transaction_status(early.id)
    assert status.state is TxState.SUCCEEDED, "the window's receipts came too"
    again = await net.service(3).submit([early.raw])
    assert again[0].duplicate, "and its ids"
    await net.stop(1)
    await pay(net, 3, 3)
    await until(lambda: len({net.service(i).tip_hash for i in net.drivers}) == 1)
    roots = {net.drivers[i].chain.tip.state_root for i in net.drivers}
    assert len(roots) == 1
    await net.stop(3)
    await net.start(3, 1)
    await pay(net, 1, 3)
    assert_same_chain_from(net, 2 * EVERY)
    await net.stop()
    assert net.failures == []


def assert_same_chain_from(net: CoreNetwork, height: int) -> None:
    """All running nodes have the same headers from a height on."""
    tips = [net.service(index).tip.height for index in net.drivers]
    for at in map(Height, range(height, min(tips) + 1)):
        assert len({net.drivers[index].chain.store.header(at) for index in net.drivers}) == 1


async def test_when_nobody_has_the_blocks_any_more_a_snapshot_is_taken(networks: Networks) -> None:
    """However near: pruned members cannot serve blocks, so the distance does not count. An old chain gives way to the new one."""
    net = await network_of_three(networks, snapshot_distance=1_000, keep_bodies=2, keep_states=2)
    await net.start(3)
    await pay_for_blocks(net, 0, 3)
    await until(lambda: net.service(3).tip.height >= 3)
    await net.stop(3)
    await pay_for_blocks(net, 0, 3 * EVERY + 1)
    await until(lambda: all(net.drivers[i].chain.store.held.bodies_from > 6 for i in range(3)))
    await net.start(3)
    await until(lambda: net.service(3).tip.height >= 3 * EVERY + 1)
    chain = net.drivers[3].chain
    assert chain.store.held.states_from >= 2 * EVERY
    await until(lambda: chain.store.raw.get(b"minstall") is None)
    assert dict(chain.store.raw.iterate(chain.store.other_values)) == {}
    await net.stop(0)
    await pay(net, 3, 3)
    await net.stop()
    assert net.failures == []


async def test_blocks_are_fetched_where_that_is_shorter(networks: Networks) -> None:
    """Nearer than the distance, or with snapshots switched off, every block is executed."""
    net = await network_of_three(networks, snapshot_distance=0)
    await pay_for_blocks(net, 0, EVERY + 2)
    await net.start(3)
    await until(lambda: net.service(3).tip.height >= EVERY + 2)
    assert net.drivers[3].chain.store.held.bodies_from == 0
    assert_same_chain(net)
    await net.stop()
    assert net.failures == []


async def test_one_after_another_may_lose_its_disk(networks: Networks) -> None:
    """The one that was restored first is among those that the next one asks."""
    net = await network_of_three(networks, snapshot_distance=5)
    await pay_for_blocks(net, 0, EVERY + 1)
    for lost in (3, 2):
        if lost in net.drivers:
            await net.stop(lost)
        shutil.rmtree(net.configs[lost].node.data_dir / "db", ignore_errors=True)
        await net.start(lost)
        await caught_up(net, lost)
        assert net.drivers[lost].chain.store.held.states_from >= EVERY
        await pay_for_blocks(net, 0, net.service(0).tip.height + EVERY)
    await until(lambda: len({net.service(i).tip_hash for i in range(4)}) == 1)
    await net.stop()
    assert net.failures == []


async def caught_up(net: CoreNetwork, index: int) -> None:
    """Wait until a node is where the first one is."""
    await until(lambda: net.service(index).tip.height >= net.service(0).tip.height)

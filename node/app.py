"""One node from its configuration to its end: opens the disk, joins the members, serves wallets, stops cleanly.

A disk that fails or is full ends the node's part in consensus, not the process: what is stored can still be read while the disk
is probed, and when it works the node is put together anew from what it finds there, as after a crash.
"""

import asyncio
import contextlib
import gc
import signal
from typing import Final

import structlog

from genesis.block import make_genesis_block
from genesis.spec_json import read_spec
from ledger.errors import DatacarError
from node.assembly import Disk, driver_on, open_disk
from node.clock import DevelopmentClock, now_ms
from node.config import NodeConfig
from node.damage import is_damage, note_damage
from node.disk_watch import DiskWatch, Outage
from node.listening import listening
from node.log_lines import set_up_logging
from node.rpc.server import RpcServer
from node.secret_files import read_seed
from node.service import NodeService

LOOK_S: Final = 1.0
"""How often the disk is looked at, and probed while it fails."""
CALM_S: Final = 60.0
"""Failing again sooner than this after it was put together, the node waits twice as long before the next attempt."""
MAX_PAUSE_S: Final = 64.0

log = structlog.get_logger("node")


def run(config: NodeConfig) -> int:
    """Run one node until SIGTERM or SIGINT. Returns the exit code: 0 for a clean stop, 1 when it had to stop."""
    set_up_logging(config.log.level, config.log.format)
    return asyncio.run(_run(config))


async def _run(config: NodeConfig) -> int:
    node, loop = Node(config), asyncio.get_running_loop()
    for name in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(name, node.stop)
    error = await node.run()
    log.info("stopped", clean=error is None)
    return 0 if error is None else 1


def calm_collector() -> None:
    """Have the cycle collector look less often, and never at what start-up made.

    Blocks, pool and tree are millions of tuples without cycles. With the defaults, a saturated four-node network on two cores
    committed 1.6 thousand transfers a second; with this 2.0 thousand.
    """
    gc.unfreeze()  # the start before this one, which is garbage now
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 20, 20)


class Node:
    """A node that is put together as often as its disk comes back, behind one RPC server that stays."""

    def __init__(self, config: NodeConfig) -> None:
        self._config = config
        self._genesis = make_genesis_block(read_spec(config.node.genesis))
        self._faucet_seed = None if config.node.faucet_key is None else read_seed(config.node.faucet_key, "the faucet key")
        self._watch = DiskWatch(config.node.data_dir, config.storage.min_free_bytes)
        self._service: NodeService | None = None
        self._server: RpcServer | None = None
        self._over = False
        self._error: BaseException | None = None
        self._outage: Outage | None = None
        self._news = asyncio.Event()
        self._pause_s = 0.0

    def stop(self) -> None:
        """Have `run` end."""
        self._over = True
        self._news.set()

    async def run(self) -> BaseException | None:
        """Run until `stop`, or until the node cannot go on, and return why. Raises what keeps it from being put together."""
        try:
            while not self._over:
                await self._live()
        finally:
            await self._stop_serving()
        return self._error

    async def _live(self) -> None:
        """Put the node together and run it until it is to stop, or its disk has failed and works again."""
        self._outage, began_s, is_open = None, asyncio.get_running_loop().time(), False
        try:
            with open_disk(self._config, self._genesis, self._fail) as disk:
                is_open = True
                await self._take_part(disk)
                await self._wait_for_disk(began_s)
        except (OSError, DatacarError) as error:
            if is_open:  # what keeps a store from being opened is found again by whoever opens it
                self._note_damage(error)
            outage = self._watch.outage_of(error)
            if self._service is None or outage is None:
                raise
            self._stand_down(outage)
            await self._wait_for_disk(began_s)

    async def _take_part(self, disk: Disk) -> None:
        """Take part in consensus until the node is to stop or its disk fails; after this it only tells what is stored."""
        settable = DevelopmentClock(self._config.node.data_dir) if self._genesis.spec.development else None
        async with contextlib.AsyncExitStack() as stack:
            with listening("p2p", self._config.p2p.host, self._config.p2p.port):
                network = driver_on(disk, self._config, self._genesis, self._fail, settable or now_ms)
                driver = await stack.enter_async_context(network)
            self._service = NodeService(self._genesis, driver, self._faucet_seed, settable)
            if self._outage is not None:
                self._service.stand_down(self._outage)
            await self._serve(self._service)
            calm_collector()
            while not self._over and self._outage is None:
                if (shortage := self._watch.look()) is not None:
                    self._stand_down(shortage)
                else:
                    await self._pause()
            if self._over:
                await self._stop_serving()

    def _fail(self, error: BaseException) -> None:
        """Take note that the driver has stopped or the store failed: to wait for the disk, or to end. The first note counts."""
        outage = self._watch.outage_of(error)
        if outage is None and not self._over:
            log.critical("the node cannot go on", exc_info=error)
            self._note_damage(error)
            self._over, self._error = True, error
            self._news.set()
        elif outage is not None and self._outage is None:
            self._stand_down(outage)
            self._news.set()

    def _note_damage(self, error: BaseException) -> None:
        """Leave a note for the next start when the store holds something wrong: waiting for the disk does not mend that."""
        if isinstance(error, DatacarError) and is_damage(error):
            note_damage(self._config.node.data_dir, error)

    def _stand_down(self, outage: Outage) -> None:
        """Say why the node takes no part, and have it take nothing in."""
        if self._outage is None:
            log.error("taking no part while the disk fails", reason=outage.reason, what=outage.what)
        self._outage = outage
        if self._service is not None:
            self._service.stand_down(outage)

    async def _wait_for_disk(self, began_s: float) -> None:
        """Wait until the disk works or the node is to stop: the longer, the more often it failed soon after `began_s`."""
        loop = asyncio.get_running_loop()
        failed_soon = loop.time() - began_s < CALM_S
        self._pause_s = max(LOOK_S, min(2 * self._pause_s, MAX_PAUSE_S)) if failed_soon else LOOK_S
        until_s = loop.time() + self._pause_s
        while not self._over:
            await self._pause()
            outage = await asyncio.to_thread(self._watch.probe)
            if outage is not None:
                self._stand_down(outage)
            elif loop.time() >= until_s:
                log.info("the disk works again: putting the node together anew")
                return

    async def _pause(self) -> None:
        """Let some time pass, less when there is news."""
        self._news.clear()
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LOOK_S):
                await self._news.wait()

    async def _serve(self, service: NodeService) -> None:
        """Answer wallets for this service from now on."""
        rpc = self._config.rpc
        if self._server is None:
            self._server = RpcServer(service, rpc, allowed_hosts=rpc.allowed_hosts, allowed_origins=rpc.allowed_origins)
            with listening("rpc", rpc.host, rpc.port):
                await self._server.start()
        else:
            self._server.serve(service)
        where = f"{rpc.host}:{self._server.port}"
        log.info("started", member=service.member_id, chain=service.chain_id, height=service.tip.height, rpc=where)

    async def _stop_serving(self) -> None:
        if self._server is not None:
            await self._server.stop()

"""One node of four is killed again and again while wallets pay through all of them.

What it told before each death (its tip, and the outcomes of payments) must stand in its folder as the dead process left it,
before any other member could mend it; and again over RPC once it is back.
"""

import asyncio
import contextlib
import random
import shutil
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genesis.block import make_genesis_block
from genesis.spec_json import GENESIS_NAME, read_spec
from ledger.errors import DatacarError
from ledger.types import Height, TxId
from node.chain import Chain
from node.damage import ASIDE_NAME, STORE_NAME, open_or_heal
from node.node_folder import DATA_NAME
from node.storage import check_files
from tests.chaos_network import ChaosNetwork
from tests.chaos_wallets import Wallets
from tests.integration.test_chaos import all_ready, ask_all, no_alarms, one_chain, same_outcomes_everywhere, within
from vm.executor import Executor
from vm.registry import default_registry

AT_ONCE: Final = 8
READY_S: Final = 60.0
LONGEST_LIFE_S: Final = 1.5
LONGEST_START_S: Final = 1.5
AT_START_SHARE: Final = 0.25  # of the deaths are followed by another while the node starts, which is when it repairs
RECENT: Final = 2_000  # payments looked at after a death; in one life there are fewer
ASKED: Final = 100
SHOWN_S: Final = 10.0

Say = Callable[[str], None]


@dataclass
class Tally:
    """What a run has done."""

    kills: int = 0
    at_start: int = 0
    torn: int = 0
    payments: int = 0
    height: int = 0

    def __str__(self) -> str:
        return (
            f"{self.kills} kills ({self.at_start} while starting, {self.torn} left an unfinished write), "
            f"{self.payments} payments told by the victim, height {self.height}"
        )


async def crash(folder: Path, count: int, seed: int, say: Say) -> Tally:
    """Run a network, kill one node `count` times under load, and see that nothing it told was lost."""
    network = ChaosNetwork(folder)
    try:
        await network.proxies.start()
        await within(READY_S, lambda: all_ready(network))
        wallets = Wallets([node.rpc_url for node in network.nodes], network.wallets, network.genesis_hash, seed)
        try:
            victim = Victim(network, wallets, seed, say)
            over = asyncio.Event()
            async with asyncio.TaskGroup() as group:
                group.create_task(wallets.keep_paying(over, AT_ONCE))
                await victim.die_often(count)
                over.set()
        finally:
            await wallets.close()
        await within(READY_S, lambda: all_ready(network))
        victim.tally.height = await one_chain(network)
        await same_outcomes_everywhere(network, wallets)
        await no_alarms(network)
        return victim.tally
    except BaseException as error:
        error.add_note(f"python -m tests.crashes --count {count} --seed {seed}\n{network.story()}")
        raise
    finally:
        await network.proxies.stop()
        network.close()


class Victim:
    """The node that is killed, and what it has told."""

    def __init__(self, network: ChaosNetwork, wallets: Wallets, seed: int, say: Say) -> None:
        self.tally = Tally()
        self._network = network
        self._wallets = wallets
        self._rng = random.Random(seed)
        self._say = say
        self._genesis = make_genesis_block(read_spec(network.folder / GENESIS_NAME))
        self._node = self._rng.randrange(len(network.nodes))
        self._data_dir = network.nodes[self._node].folder / DATA_NAME
        self._tip = Height(0), "0x" + self._genesis.header.hash(network.genesis_hash).hex()
        self._told: dict[str, int] = {}  # the heights of payments, since the last start

    async def die_often(self, count: int) -> None:
        """Kill the node so many times; each time it must come back with all that it has told."""
        said_s = time.monotonic()
        while self.tally.kills < count:
            await within(READY_S, self._problem)
            await self._live()
            await self._die()
            while self.tally.kills < count and self._rng.random() < AT_START_SHARE:
                await asyncio.sleep(self._rng.uniform(0.0, LONGEST_START_S))
                await self._die()
                self.tally.at_start += 1
            await within(READY_S, self._problem)
            await self._check_answers()
            if time.monotonic() - said_s > SHOWN_S:
                said_s = time.monotonic()
                self._say(f"{self.tally.kills} of {count} kills, height {self._tip[0]}")

    async def _problem(self) -> str:
        answer = await self._network.readiness(self._node)
        return "" if answer.ready else f"the victim is not ready: {answer.reason}"

    async def _lag(self, other: int) -> str:
        """Return what another member still lacks of what the victim has told."""
        (info,) = await self._network.ask(other, ("chain_info", {}))
        return "" if info["height"] >= self._tip[0] else f"node {other} is at {info['height']}, the victim told of {self._tip[0]}"

    async def _live(self) -> None:
        """Have the node tell its tip until its hour has come."""
        end_s = time.monotonic() + self._rng.uniform(0.0, LONGEST_LIFE_S)
        while time.monotonic() < end_s:
            with contextlib.suppress(DatacarError):
                (info,) = await self._network.ask(self._node, ("chain_info", {}))
                self._tip = info["height"], info["hash"]

    async def _die(self) -> None:
        """Kill the node, look at what it left, and start it."""
        await self._network.kill(self._node)
        self.tally.kills += 1
        self._network.note(f"kill {self.tally.kills} of node {self._node}")
        for payment in self._wallets.payments[-RECENT:]:
            if payment.told_by == self._node and payment.answer is not None and payment.answer["height"] is not None:
                self._told[payment.id] = payment.answer["height"]
        await asyncio.to_thread(self._check_remains)
        self._network.launch(self._node)

    def _check_remains(self) -> None:
        """What the dead process has told stands in a copy of its folder; the folder itself is left to its successor."""
        with tempfile.TemporaryDirectory(prefix="datacar-crashes-") as copied:
            shutil.copytree(self._data_dir / STORE_NAME, Path(copied) / STORE_NAME)
            self.tally.torn += len(check_files(Path(copied) / STORE_NAME).torn)
            store = open_or_heal(Path(copied), self._network.genesis_hash, "refuse")
            try:
                chain = Chain(self._genesis, store, Executor(default_registry()))
                height, block_hash = self._tip
                assert chain.tip.height >= height, f"the victim told of height {height}, on its disk is {chain.tip.height}"
                assert "0x" + store.hash_of(height).hex() == block_hash
                for tx_id, at in self._told.items():
                    place = store.find_transaction(TxId(bytes.fromhex(tx_id[2:])))
                    assert place is not None, f"the victim told of {tx_id}, and lost it"
                    assert place[0] == at
            finally:
                store.close()

    async def _check_answers(self) -> None:
        """What the node told before its death it tells again; its headers are those of another member."""
        assert not (self._data_dir / ASIDE_NAME).exists(), "it took its store for damaged"
        height, block_hash = self._tip
        other = (self._node + 1) % len(self._network.nodes)
        await within(READY_S, lambda: self._lag(other))
        mine, theirs = [(await ask_all(self._network, node, [header(height)]))[0] for node in (self._node, other)]
        assert mine["hash"] == block_hash
        assert (mine["hash"], mine["state_root"]) == (theirs["hash"], theirs["state_root"])
        told = list(self._told.items())[-ASKED:]
        answers = await ask_all(self._network, self._node, [("tx_get", {"id": tx_id}) for tx_id, _ in told])
        assert [answer["height"] for answer in answers] == [at for _, at in told]
        self.tally.payments += len(self._told)
        self._told.clear()


def header(height: int) -> tuple[str, dict[str, int]]:
    """Return the call that asks for a header."""
    return "chain_getHeader", {"height": height}

"""Four real processes that are killed, paused, cut off, silenced and slowed at random, often more than f at once, under load.

`CHAOS_SECONDS` says how long, `CHAOS_SEED` runs a plan of faults again (the machine's timing is not in it). A failure shows the
seed, what happened when, and each node's last log lines.
"""

import asyncio
import os
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Final

import pytest

from node.probe import ProbeError
from tests.chaos_network import ChaosNetwork, Fault, Kind, make_plan
from tests.chaos_wallets import Wallets
from tests.patience import PATIENCE_S
from tests.proxy import SUPPORTED
from tests.seeds import fresh
from vm.contracts.asset import SUPPLY

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not SUPPORTED, reason="needs Linux's /proc to know who dialled")]

PROGRESS_S: Final = 30.0  # 4 s on a quiet machine
AT_ONCE: Final = 24
# What an honest node says only of a defect, its own or of another honest one. Critical is: it halted, had to stop, or has proof
# that a member signed two different messages for one step.
ALARMS: Final = (
    '"level": "critical"',
    "invalid proposal",
    "bad transaction",
    "refused a",
    "no readable sign-state",
    "Traceback",
)


async def test_chaos_loses_nothing_forks_nothing_and_heals(tmp_path: Path) -> None:
    seconds = float(os.environ.get("CHAOS_SECONDS", "8"))
    seed = fresh("chaos")
    network = ChaosNetwork(tmp_path)
    try:
        await network.proxies.start()
        await within(PATIENCE_S, lambda: all_ready(network))
        await cuts_are_real(network)
        wallets = Wallets([node.rpc_url for node in network.nodes], network.wallets, network.genesis_hash, seed)
        try:
            await live_through(network, wallets, seed, seconds)
        finally:
            await wallets.close()
        height = await one_chain(network)
        await same_outcomes_everywhere(network, wallets)
        await money_is_where_it_belongs(network, wallets, height)
        await no_alarms(network)
    except BaseException as error:
        error.add_note(f"CHAOS_SEED={seed} CHAOS_SECONDS={seconds:g}\n{network.story()}")
        raise
    finally:
        await network.proxies.stop()
        network.close()


def test_a_plan_comes_from_its_seed_alone_and_holds_every_kind() -> None:
    plan = make_plan(7, 30)
    assert plan == make_plan(7, 30) != make_plan(8, 30)
    assert {fault.kind for fault in plan} == set(Kind)
    assert all(fault.at_s + fault.lasts_s <= 30 for fault in plan)
    assert any(len(fault.nodes) > 1 for fault in plan), "more than f at once"


# ---- the run


async def live_through(network: ChaosNetwork, wallets: Wallets, seed: int, seconds: float) -> None:
    """Pay through all faults; then, soon after the last process is up, a payment through each node is final."""
    over = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(wallets.keep_paying(over, AT_ONCE))
        await network.suffer(make_plan(seed, seconds), seconds)
        await within(PATIENCE_S, lambda: all_answer(network))
        network.note("all faults are over and all processes are up")
        async with asyncio.timeout(PROGRESS_S):
            await asyncio.gather(*(wallets.settle(wallets.sign(node), only=node) for node in network.members))
        network.note("a new payment is final through each node")
        await within(PROGRESS_S, lambda: all_ready(network))
        over.set()
    network.note(f"{len(wallets.payments)} payments settled, {sum(item.tries > 1 for item in wallets.payments)} in several tries")
    assert sum(item.tries == 1 for item in wallets.payments) > AT_ONCE, "the network hardly worked: nothing was tested"


async def cuts_are_real(network: ChaosNetwork) -> None:
    """The proxies are what nodes talk through: reset and refused connections are gone, and come back afterwards."""
    fault = Fault(0, 0, Kind.RESET, (1,), 0)
    await network.apply(fault, 1)
    await within(PROGRESS_S, lambda: peers_are(network, 1, 0))
    await network.apply(fault, -1)
    await within(PROGRESS_S, lambda: peers_are(network, 1, len(network.nodes) - 1))


async def peers_are(network: ChaosNetwork, node: int, count: int) -> str:
    connected = (await network.ask(node, ("node_status", {})))[0]["peers_connected"]
    return "" if connected == count else f"node {node} has {connected} peers, not {count}"


async def all_answer(network: ChaosNetwork) -> str:
    for node in network.members:
        try:
            await network.ask(node, ("chain_info", {}))
        except ProbeError as error:
            return error.message
    return ""


async def all_ready(network: ChaosNetwork) -> str:
    answers = [await network.readiness(node) for node in network.members]
    return "; ".join(f"node {node}: {answer.reason}" for node, answer in enumerate(answers) if not answer.ready)


async def same_tip(network: ChaosNetwork) -> str:
    infos = [(await network.ask(node, ("chain_info", {})))[0] for node in network.members]
    return "" if len({info["hash"] for info in infos}) == 1 else f"heights {[info['height'] for info in infos]}"


async def within(seconds: float, problem: Callable[[], Awaitable[str]]) -> None:
    """Wait until there is no problem any more, or fail with it."""
    deadline = time.monotonic() + seconds
    while what := await problem():
        assert time.monotonic() < deadline, f"after {seconds:g} s: {what}"
        await asyncio.sleep(0.05)


# ---- what must hold afterwards


def in_batches(calls: Sequence[tuple[str, dict[str, Any]]]) -> Iterator[Sequence[tuple[str, dict[str, Any]]]]:
    for first in range(0, len(calls), 100):
        yield calls[first : first + 100]


async def ask_all(network: ChaosNetwork, node: int, calls: Sequence[tuple[str, dict[str, Any]]]) -> list[Any]:
    return [answer for batch in in_batches(calls) for answer in await network.ask(node, *batch)]


async def one_chain(network: ChaosNetwork) -> int:
    """All nodes come to one tip, with the same hash and state root at every height; return the height."""
    await within(PROGRESS_S, lambda: same_tip(network))
    height: int = (await network.ask(0, ("chain_info", {})))[0]["height"]
    calls = [("chain_getHeader", {"height": at}) for at in range(height + 1)]
    chains = [await ask_all(network, node, calls) for node in network.members]
    for at, headers in enumerate(zip(*chains, strict=True)):
        assert len({(header["hash"], header["state_root"]) for header in headers}) == 1, f"height {at}: {headers}"
    network.note(f"one chain of {height} blocks, the last of view {chains[0][-1]['view']}")
    return height


async def same_outcomes_everywhere(network: ChaosNetwork, wallets: Wallets) -> None:
    """What was acknowledged by one node stands on every node: same status, height, index and receipt."""
    payments = wallets.payments
    calls = [("tx_get", {"id": item.id, "valid_until_ms": item.valid_until_ms}) for item in payments]
    for node in network.members:
        for payment, found in zip(payments, await ask_all(network, node, calls), strict=True):
            assert payment.answer is not None
            told = {name: payment.answer[name] for name in ("status", "height", "index", "receipt")}
            assert told == {name: found[name] for name in told}, f"{payment.id}: node {payment.told_by} and node {node} differ"


async def money_is_where_it_belongs(network: ChaosNetwork, wallets: Wallets, height: int) -> None:
    """The blocks hold exactly the payments that succeeded, each once; payees have just that; the supply is whole."""
    paid = {item.id: item for item in wallets.payments if item.answer is not None and item.answer["status"] == "succeeded"}
    blocks = await ask_all(network, 0, [("chain_getBlock", {"height": at}) for at in range(height + 1)])
    assert sorted(tx_id for block in blocks for tx_id in block["transactions"]) == sorted(paid)
    network.note(f"{len(paid)} payments succeeded, {len(wallets.payments) - len(paid)} expired")
    due = {to: sum(item.motes for item in paid.values() if item.to == to) for to in wallets.payees}
    for node in network.members:
        answers = await ask_all(network, node, [("account_get", {"address": to}) for to in due])
        assert [int(answer["value"]["balance"]) for answer in answers] == list(due.values())
        (supply,) = await network.ask(node, ("contract_query", {"contract": "asset", "method": "supply", "args": {}}))
        assert supply["value"] == str(SUPPLY)


async def no_alarms(network: ChaosNetwork) -> None:
    """No node halted, signed twice, lost its sign-state, or took an honest peer for a faulty one."""
    for index in network.members:
        (evidence,) = await network.ask(index, ("consensus_evidence", {}))
        assert evidence["items"] == [], "an honest member contradicted itself"
    for node in network.nodes:
        for line in node.log.read_text(encoding="utf-8").splitlines():
            misbehaved = "p2p.disconnected" in line and '"level": "warning"' in line
            assert not misbehaved, f"{node.name}: {line}"
            assert not any(alarm in line for alarm in ALARMS), f"{node.name}: {line}"

"""The time of a development network: all its clocks set ahead together, with the chain following.

The nodes of one machine share its wall clock, so equal offsets are equal clocks. Each node keeps its own in its data folder; one
that is down has it written there and catches up when it starts.
"""

import contextlib
import fcntl
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import UnavailableError
from node import probe
from node.clock import MAX_AHEAD_MS, TooFarAheadError, now_ms, write_offset
from node.devnet import HOST, Devnet, DevnetError, DevNode
from node.node_folder import DATA_NAME

ASK_TIMEOUT_S: Final = 10.0
STANDSTILL_S: Final = 30.0
"""The chain must bring forth a block at least this often while what has fallen due is worked off."""
POLL_S: Final = 0.02

_TIP: Final[tuple[tuple[str, dict[str, Any]], ...]] = (
    ("chain_info", {}),
    ("contract_query", {"contract": "schedule", "method": "next_due"}),
)


@dataclass(frozen=True, slots=True)
class NetworkTime:
    """A network's time in Unix ms, by its clocks and by the last block that all running nodes have; how far ahead they are."""

    clock_ms: int
    offset_ms: int
    block_ms: int
    height: int


@dataclass(frozen=True, slots=True)
class _Said:
    """What one node says: how far ahead its clock will be, the primary it follows, and its last block."""

    offset_ms: int
    primary: str
    block_ms: int
    height: int


def network_time(devnet: Devnet) -> NetworkTime:
    """Return what the running nodes say. Raises `UnavailableError` when none runs or one does not answer."""
    return _time_of(_ask_all(_running(devnet)))


def move_time(devnet: Devnet, by_ms: int) -> NetworkTime:
    """Set the clocks of all nodes ahead, wait until the chain has followed and has done what fell due, and return the new time.

    Nodes that differed are level afterwards. Raises `UnavailableError` when no node runs, one does not answer, or the chain
    stands still; `RejectedError` when the clocks go no further. All of it can be tried again.
    """
    with _alone(devnet):
        nodes = _running(devnet)
        said = _ask_all(nodes)
        target_ms = max(devnet.level_clocks(), *(each.offset_ms for each in said.values())) + by_ms
        if target_ms > MAX_AHEAD_MS:  # before any is set: later, some would be and some not
            raise TooFarAheadError(target_ms)
        for node in devnet.nodes:
            if node not in nodes:
                write_offset(node.folder / DATA_NAME, target_ms)
        until_ms = now_ms() + target_ms
        _set_clocks(said, target_ms)
        return _wait(nodes, until_ms)


def move_time_in_steps(devnet: Devnet, by_ms: int, step_ms: int, say: Callable[[NetworkTime], None]) -> NetworkTime:
    """As `move_time`, a step at a time: what falls due in one is done before the next, as on a chain that was never late.

    Steps are counted from now, so that real time that passes meanwhile shifts none of them over a midnight. `say` hears of each.
    """
    now = network_time(devnet)
    began_ms = now.clock_ms
    for ahead_ms in (*range(step_ms, by_ms, step_ms), by_ms):
        if (left_ms := began_ms + ahead_ms - now.clock_ms) > 0:
            now = move_time(devnet, left_ms)
            say(now)
    return now


def _time_of(said: dict[DevNode, _Said]) -> NetworkTime:
    offset_ms = max(each.offset_ms for each in said.values())
    last = min(said.values(), key=lambda each: each.height)
    return NetworkTime(now_ms() + offset_ms, offset_ms, last.block_ms, last.height)


def _running(devnet: Devnet) -> tuple[DevNode, ...]:
    nodes = tuple(node for node in devnet.nodes if node.process() is not None)
    if not nodes:
        raise UnavailableError("unreachable", f"no node of {devnet.folder} runs", hint="start them: `datacar devnet up`")
    return nodes


def _ask(node: DevNode, *calls: tuple[str, dict[str, Any]]) -> tuple[Any, ...]:
    return probe.call(HOST, node.rpc_port, *calls, timeout_s=ASK_TIMEOUT_S)


def _ask_all(nodes: tuple[DevNode, ...]) -> dict[DevNode, _Said]:
    calls: tuple[tuple[str, dict[str, Any]], ...] = (("dev_time", {}), ("consensus_status", {}), ("chain_info", {}))
    with ThreadPoolExecutor(len(nodes)) as pool:
        answers = pool.map(lambda node: _ask(node, *calls), nodes)
        return {
            node: _Said(clock["promised_ms"], consensus["primary"], chain["timestamp_ms"], chain["height"])
            for node, (clock, consensus, chain) in zip(nodes, answers, strict=True)
        }


def _set_clocks(said: dict[DevNode, _Said], target_ms: int) -> None:
    """Set the primary's clock first and the others' from the height that it names: see `node.time_jump`."""
    primary = Counter(each.primary for each in said.values()).most_common(1)[0][0]
    first, *others = sorted(said, key=lambda node: (node.name != primary, node.name))
    from_height = _set_clock(first, target_ms - said[first].offset_ms, {})
    if others:
        params = {} if from_height is None else {"from_height": from_height}
        with ThreadPoolExecutor(len(others)) as pool:
            list(pool.map(lambda node: _set_clock(node, target_ms - said[node].offset_ms, params), others))


def _set_clock(node: DevNode, ms: int, params: dict[str, Any]) -> int | None:
    """Set a node's clock ahead; return from which height on it is, None when it is there already."""
    if ms <= 0:
        return None
    (answer,) = _ask(node, ("dev_increaseTimeMs", {"ms": ms, **params}))
    height: int = answer["from_height"]
    return height


def _wait(nodes: tuple[DevNode, ...], until_ms: int) -> NetworkTime:
    """Wait until all nodes have a block stamped `until_ms` or later and nothing is left that was due by then."""
    heights: dict[DevNode, int] = {}
    moved_s = time.monotonic()
    with ThreadPoolExecutor(len(nodes)) as pool:
        while True:
            answers = dict(zip(nodes, pool.map(lambda node: _ask(node, *_TIP), nodes), strict=True))
            late = [node for node, (tip, calendar) in answers.items() if not _has_followed(tip, calendar, until_ms)]
            if not late:
                return _time_of(_ask_all(nodes))
            found = {node: tip["height"] for node, (tip, _) in answers.items()}
            if found != heights:
                heights, moved_s = found, time.monotonic()
            elif time.monotonic() > moved_s + STANDSTILL_S:
                raise _standstill(late)
            time.sleep(POLL_S)


def _has_followed(tip: dict[str, Any], calendar: dict[str, Any], until_ms: int) -> bool:
    """Return whether a node's last block is of the new time, and the calendar after it holds nothing from before."""
    return tip["timestamp_ms"] >= until_ms and (calendar["value"] is None or calendar["value"] > until_ms)


def _standstill(late: list[DevNode]) -> UnavailableError:
    reasons = {}
    for node in late:
        (status,) = _ask(node, ("consensus_status", {}))
        reasons[node.name] = status["stalled"] or f"at height {status['height']}, view {status['view']}"
    listed = "; ".join(f"{name}: {reason}" for name, reason in reasons.items())
    message = f"the clocks are set, and no block came for {STANDSTILL_S:.0f} s ({listed})"
    return UnavailableError("no_quorum", message, hint="see `datacar devnet status`", reasons=reasons)


@contextlib.contextmanager
def _alone(devnet: Devnet) -> Iterator[None]:
    """Hold the network's lock on its clocks: two who set them at once would set them differently."""
    with (devnet.folder / "time.lock").open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            hint = "wait for it"
            raise DevnetError("busy", f"another command is setting the clocks of {devnet.folder}", hint=hint) from None
        yield

"""The live table of a development network: what each node says of itself, asked twice a second."""

import time
from collections import deque
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Final

from rich.console import Console, Group
from rich.live import Live
from rich.table import Table
from rich.text import Text

from node import probe
from node.devnet import HOST, Devnet, DevNode
from node.process import ProcessId

REFRESH_S: Final = 0.5
RATE_WINDOW_S: Final = 5.0

_CALLS: Final[tuple[tuple[str, dict[str, Any]], ...]] = (("node_status", {}), ("consensus_status", {}))


@dataclass(frozen=True, slots=True)
class Sample:
    """What a node said; None where it said nothing."""

    name: str
    pid: int | None
    status: str
    height: int | None = None
    view: int | None = None
    primary: str | None = None
    peers: int | None = None
    committed: int | None = None


def sample(node: DevNode) -> Sample:
    """Return how a node is doing."""
    process = node.process()
    if process is None:
        return Sample(node.name, None, "down")
    try:
        status, consensus = probe.call(HOST, node.rpc_port, *_CALLS)
    except probe.ProbeError as error:
        return Sample(node.name, process.pid, "starting" if error.reason == "unreachable" else error.message)
    return _sample_of(node, process, status, consensus)


def _sample_of(node: DevNode, process: ProcessId, status: dict[str, Any], consensus: dict[str, Any]) -> Sample:
    failed = [f"{name}: {why}" for name, why in status["checks"].items() if why != "ok"]
    return Sample(
        node.name,
        process.pid,
        "; ".join(failed) or consensus["stalled"] or "ready",
        height=status["height"],
        view=consensus["view"],
        primary=consensus["primary"],
        peers=status["peers_connected"],
        committed=status["committed"]["transactions"],
    )


def sample_all(nodes: Sequence[DevNode]) -> list[Sample]:
    """Return how the nodes are doing, asked at the same time."""
    with ThreadPoolExecutor(len(nodes)) as pool:
        return list(pool.map(sample, nodes))


class Rates:
    """Transactions a second of each node, over the last seconds."""

    def __init__(self) -> None:
        self._seen: dict[str, deque[tuple[float, int]]] = {}

    def update(self, found: Sample, now_s: float) -> float | None:
        """Return the rate after a sample taken at `now_s` (monotonic), or None while there is nothing to compare it with."""
        seen = self._seen.setdefault(found.name, deque())
        if found.committed is None or (seen and found.committed < seen[-1][1]):
            seen.clear()
        if found.committed is None:
            return None
        seen.append((now_s, found.committed))
        while now_s - seen[0][0] > RATE_WINDOW_S:
            seen.popleft()
        elapsed_s = now_s - seen[0][0]
        return (found.committed - seen[0][1]) / elapsed_s if elapsed_s else None


def show_live(devnet: Devnet) -> None:
    """Show the table until the user interrupts or no node runs any more."""
    rates, console = Rates(), Console()
    with ThreadPoolExecutor(len(devnet.nodes)) as pool, Live(console=console, auto_refresh=False) as live:
        while True:
            samples = list(pool.map(sample, devnet.nodes))
            now_s = time.monotonic()
            live.update(_table(devnet, samples, [rates.update(found, now_s) for found in samples]), refresh=True)
            if all(found.pid is None for found in samples):
                return
            time.sleep(REFRESH_S)


def _table(devnet: Devnet, samples: Sequence[Sample], rates: Sequence[float | None]) -> Group:
    table = Table(title=f"{devnet.chain_id} in {devnet.folder}", title_justify="left", expand=True)
    for name in ("node", "height", "view", "primary", "peers", "tx/s", "status", "rpc"):
        table.add_column(name, justify="right" if name in ("height", "view", "peers", "tx/s") else "left")
    for node, found, rate in zip(devnet.nodes, samples, rates, strict=True):
        shown = (found.height, found.view, found.primary, found.peers, None if rate is None else round(rate))
        cells = ["-" if cell is None else str(cell) for cell in shown]
        colour = "green" if found.status == "ready" else "red" if found.pid is None else "yellow"
        table.add_row(node.name, *cells, Text(found.status, style=colour), node.rpc_url)
    return Group(table, Text("Ctrl-C stops the nodes and keeps their data", style="dim"))

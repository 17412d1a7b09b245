"""Throughput and latency of a whole network of real processes, against the bound that verifying signatures sets.

`signature_bound_tps = verifies_per_s / nodes`: every node verifies every transaction, and all of them share this machine's
cores. A run counts only if afterwards all nodes agree in height and state root and the supply is what genesis made; else it is
void. Without a rate, it looks for the highest one that the network keeps up with.
"""

import math
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import orjson
from rich.table import Table

from benchmarks.load import LoadResult, Orders
from benchmarks.report import Machine, usable_cores
from benchmarks.signature import verifies_per_s_all_cores
from ledger.committee import fault_tolerance
from ledger.errors import DatacarError
from node import probe
from node.commands.dev_accounts import dev_blueprint
from node.devnet import HOST, Devnet, create, start, starting_lock
from vm.contracts.asset import SUPPLY

Say = Callable[[str], None]

MAX_P99_MS: Final = 1_000
MIN_COMMITTED: Final = 0.99
RAMP_WINDOWS: Final = 12
VERIFY_S: Final = 1.5
CLOSE_ENOUGH: Final = 1.12


class VoidRunError(DatacarError):
    """The nodes did not end on one chain with the supply of genesis: no figure of this run counts."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__("void", message, hint="this is a defect of the node: keep the logs and report it", **details)


@dataclass(frozen=True, slots=True)
class ClusterReport:
    """One measured rate. Times in ms; `fraction_of_bound` = committed_tps / signature_bound_tps."""

    machine: Machine
    nodes: int
    cores: int
    seconds: float
    offered_tps: float
    committed_tps: float
    p50_ms: float
    p95_ms: float
    p99_ms: float
    accepted: int
    rejected: int
    rejections: dict[str, int]
    lost: int
    tx_size_bytes: int
    block_tps_series: list[int]
    verifies_per_s: float
    signature_bound_tps: float
    fraction_of_bound: float
    client_cpu_s: float
    node_cpu_s: float
    send_lag_ms: float
    kept_up: bool
    steps: list[dict[str, float]]

    def table(self) -> Table:
        """Return the figures as a table."""
        table = Table(title=f"{self.nodes} nodes, {self.seconds:g} s window, open loop")
        table.add_column("figure")
        table.add_column("value", justify="right")
        rows: list[tuple[str, str]] = [
            ("offered", f"{self.offered_tps:,.0f} tx/s"),
            ("committed", f"{self.committed_tps:,.0f} tx/s"),
            ("signature bound", f"{self.signature_bound_tps:,.0f} tx/s ({self.verifies_per_s:,.0f} verifies/s)"),
            ("fraction of the bound", f"{self.fraction_of_bound:.1%}"),
            ("latency p50 / p95 / p99", f"{self.p50_ms:.0f} / {self.p95_ms:.0f} / {self.p99_ms:.0f} ms"),
            ("accepted / rejected / lost", f"{self.accepted:,} / {self.rejected:,} / {self.lost:,}"),
            ("CPU: nodes / client", f"{self.node_cpu_s:.1f} / {self.client_cpu_s:.1f} s"),
            ("kept up", "yes" if self.kept_up else "no"),
        ]
        for row in rows:
            table.add_row(*row)
        return table


class Cluster:
    """A benchmark's own network: made in a temporary folder, stopped and removed at the end."""

    def __init__(self, nodes: int, say: Say) -> None:
        self._say = say
        self._temporary = tempfile.TemporaryDirectory(prefix="datacar-bench-")
        with starting_lock(say):
            self.devnet: Devnet = create(
                Path(self._temporary.name) / "net", dev_blueprint(nodes, None, time.time_ns() // 1_000_000), say
            )
            self._children = start(self.devnet, say)

    def close(self) -> None:
        """Stop the nodes and remove their data."""
        self.devnet.stop()
        for child in self._children.values():
            child.wait()
        self._temporary.cleanup()

    def kill(self, *nodes: int) -> None:
        """kill -9 these nodes, all at once."""
        children = [self._children.pop(self.devnet.nodes[node].name) for node in nodes]
        for child in children:
            child.kill()
        for child in children:
            child.wait()

    def revive(self) -> None:
        """Start the nodes that are down, and wait until all are ready. Raises `DevnetError`."""
        self._children |= start(self.devnet, self._say)

    def pids(self) -> list[int]:
        """Return the processes that run."""
        return [process.pid for process in self.devnet.running()]

    def primary(self) -> int:
        """Return which node is primary now, by the word of the first that runs."""
        running = next(at for at, node in enumerate(self.devnet.nodes) if node.process() is not None)
        name = self.ask(running, "consensus_status")["primary"]
        return next(at for at, node in enumerate(self.devnet.nodes) if node.name == name)

    def ask(self, node: int, method: str, /, **params: object) -> Any:
        """Return what a node answers."""
        return probe.call(HOST, self.devnet.nodes[node].rpc_port, (method, params))[0]

    def offer(self, rate: float, seconds: float) -> tuple[LoadResult, list[int], list[int]]:
        """Offer a rate from a process of its own; return its result, and the timestamps (ms) and sizes of its blocks."""
        info = self.ask(0, "chain_info")
        nodes = [node.describe() for node in self.devnet.nodes]
        orders = Orders(
            ws_urls=[node["ws_url"] for node in nodes],
            pids=[node["pid"] for node in nodes],
            mnemonics=[account.mnemonic for account in self.devnet.accounts],
            genesis_hash=info["genesis_hash"],
            rate=rate,
            warm_up_s=max(1.0, seconds / 10),
            seconds=seconds,
            observers=fault_tolerance(len(nodes)) + 1,
            start_height=info["height"],
        )
        command = [sys.executable, "-m", "benchmarks.load"]
        root = Path(__file__).resolve().parent.parent
        ran = subprocess.run(command, input=orjson.dumps(orders), stdout=subprocess.PIPE, cwd=root, check=True)
        result = LoadResult(**orjson.loads(ran.stdout))
        stamps, sizes = self._blocks_since(info["height"])
        return result, stamps, sizes

    def _blocks_since(self, height: int) -> tuple[list[int], list[int]]:
        stamps, sizes = [], []
        for at in range(height + 1, self.ask(0, "chain_info")["height"] + 1):
            block = self.ask(0, "chain_getBlock", height=at)
            stamps.append(block["header"]["timestamp_ms"])
            sizes.append(len(block["transactions"]))
        return stamps, sizes

    def check(self) -> None:
        """Raise `VoidRunError` unless all nodes come to the same block and state, and the supply is whole."""
        count = len(self.devnet.nodes)
        deadline = time.monotonic() + 15
        while True:
            infos = [self.ask(node, "chain_info") for node in range(count)]
            if len({info["hash"] for info in infos}) == 1:
                break
            if time.monotonic() > deadline:
                raise VoidRunError("the nodes do not agree on the last block", heights=[info["height"] for info in infos])
            time.sleep(0.1)
        height = infos[0]["height"]
        roots = {self.ask(node, "chain_getHeader", height=height)["state_root"] for node in range(count)}
        supplies = {
            self.ask(node, "contract_query", contract="asset", method="supply", args={})["value"] for node in range(count)
        }
        if len(roots) != 1 or supplies != {str(SUPPLY)}:
            raise VoidRunError("state roots or the supply differ", roots=sorted(roots), supplies=sorted(supplies))


def run(*, nodes: int, seconds: float, rate: float | None, say: Say) -> ClusterReport:
    """Start a network, offer `rate` (or ramp), and return the figures. Raises `VoidRunError`."""
    machine = Machine.here()
    say("measuring signature verification on the idle machine")
    verifies_per_s = verifies_per_s_all_cores(VERIFY_S)
    cluster = Cluster(nodes, say)
    try:
        bench = _Bench(cluster, machine, verifies_per_s, seconds, say)
        report = bench.step(rate) if rate is not None else bench.ramp()
        cluster.check()
        return report
    finally:
        cluster.close()


class _Bench:
    """The steps of one run."""

    def __init__(self, cluster: Cluster, machine: Machine, verifies_per_s: float, seconds: float, say: Say) -> None:
        self._cluster = cluster
        self._machine = machine
        self._verifies_per_s = verifies_per_s
        self._seconds = seconds
        self._say = say
        self._steps: list[dict[str, float]] = []

    def ramp(self) -> ClusterReport:
        """Return the highest rate that was kept up with: up by half while it is, then halving the gap between yes and no."""
        began = time.monotonic()
        low: ClusterReport | None = None
        high: float | None = None
        last: ClusterReport | None = None
        rate = 0.15 * self._verifies_per_s / len(self._cluster.devnet.nodes)
        longest = 0.0
        while low is None or high is None or high / low.offered_tps > CLOSE_ENOUGH:
            step_began = time.monotonic()
            if step_began - began + max(longest, 1.6 * self._seconds) > RAMP_WINDOWS * self._seconds and last is not None:
                self._say("the time for the ramp is over")
                break
            last = self.step(rate)
            longest = max(longest, time.monotonic() - step_began)
            if last.kept_up:
                low = last
            else:
                high = rate
            rate = _next_rate(None if low is None else low.offered_tps, high)
        found = low or last
        if found is None:
            raise VoidRunError("no step of the ramp fitted into its time")
        return found

    def step(self, rate: float) -> ClusterReport:
        """Return the figures of one rate."""
        result, stamps, sizes = self._cluster.offer(rate, self._seconds)
        report = self._report(rate, result, stamps, sizes)
        self._steps.append({"offered_tps": round(rate, 1), "committed_tps": report.committed_tps, "p99_ms": report.p99_ms})
        verdict = "kept up" if report.kept_up else "did not keep up"
        self._say(f"offered {rate:,.0f}/s: committed {report.committed_tps:,.0f}/s, p99 {report.p99_ms:,.0f} ms, {verdict}")
        return report

    def _report(self, rate: float, result: LoadResult, stamps: list[int], sizes: list[int]) -> ClusterReport:
        series = [0] * max(1, round(self._seconds))
        for stamp, size in zip(stamps, sizes, strict=True):
            second = (stamp - result.window_start_ms) // 1_000
            if 0 <= second < len(series):
                series[second] += size
        nodes = len(self._cluster.devnet.nodes)
        bound = self._verifies_per_s / nodes
        committed = sum(series) / len(series)
        p99 = percentile(result.latencies_ms, 0.99)
        in_time = len(result.latencies_ms) - result.late
        backlog_s = (result.offered - in_time) / rate
        return ClusterReport(
            machine=self._machine,
            nodes=nodes,
            cores=usable_cores(),
            seconds=self._seconds,
            offered_tps=round(rate, 1),
            committed_tps=round(committed, 1),
            p50_ms=percentile(result.latencies_ms, 0.50),
            p95_ms=percentile(result.latencies_ms, 0.95),
            p99_ms=p99,
            accepted=result.accepted,
            rejected=result.rejected,
            rejections=result.rejections,
            lost=result.lost,
            tx_size_bytes=result.tx_size_bytes,
            block_tps_series=series,
            verifies_per_s=round(self._verifies_per_s, 1),
            signature_bound_tps=round(bound, 1),
            fraction_of_bound=round(committed / bound, 4),
            client_cpu_s=round(result.client_cpu_s, 2),
            node_cpu_s=round(result.node_cpu_s, 2),
            send_lag_ms=round(result.send_lag_ms, 1),
            kept_up=p99 <= MAX_P99_MS and in_time >= MIN_COMMITTED * result.offered and backlog_s <= 1,
            steps=list(self._steps),
        )


def percentile(ordered: list[float], share: float) -> float:
    """Return the smallest value that `share` of the sorted values do not exceed; infinity of none."""
    if not ordered:
        return float("inf")
    return float(round(ordered[min(len(ordered) - 1, int(share * len(ordered)))], 1))


def _next_rate(low: float | None, high: float | None) -> float:
    if low is None and high is not None:
        return high / 2
    if high is None and low is not None:
        return low * 1.5
    if low is None or high is None:
        raise VoidRunError("no rate was tried")
    return math.sqrt(low * high)

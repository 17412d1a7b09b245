"""What Datacar promises about faults and overload, measured on real processes: `python -m benchmarks.promises [NAME ...]`.

Each promise gets a network of its own and first learns what that commits on this machine; it passes or fails by itself. JSON goes
to stdout, progress to stderr; the exit code is 1 when one failed. All windows are in seconds, rates in transfers a second.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final

import orjson

from benchmarks.cluster import Cluster, Say
from benchmarks.pressure import Pressure, PressureOrders, PressureResult, pressing
from benchmarks.report import Machine
from benchmarks.signature import verifies_per_s_all_cores
from benchmarks.watch import BlockWatch, CpuMark, MemoryWatch, anonymous_mib
from ledger.errors import DatacarError
from node import probe
from node.config import MempoolSection
from node.devnet import HOST, last_lines

WINDOW_S: Final = 10.0
WARM_UP_S: Final = 4.0
DRAIN_S: Final = 60.0
PROBED_SHARE: Final = 0.4  # of the signature bound: well over what a network of Python nodes commits
SATURATING: Final = 1.25  # times the capacity, where throughput is compared
OVERLOAD: Final = 2.0
BACKUP_SHARE: Final = 0.95
PRIMARY_SHARE: Final = 0.90
FIRST_COMMIT_S: Final = 2.0
LONGEST_GAP_S: Final = 1.0
RESTART_S: Final = 10.0

# Memory beyond an idle node's that is meant to be used: LevelDB's cache and write buffers, the state tree's cached nodes, the
# pool's decoded transactions, and for each other member its unverified gossip and its outbox.
STORE_MIB: Final = 64 + 2 * 16
TREE_MIB: Final = 100
POOLED_KIB: Final = 4
PEER_MIB: Final = 16 + 32
STEADY_MIB: Final = 16.0


@dataclass(frozen=True, slots=True)
class Verdict:
    """Whether one promise was kept: what was measured, and in `broken` what was not as promised."""

    promise: str
    nodes: int
    passed: bool
    broken: list[str]
    figures: dict[str, Any]
    last_log_lines: dict[str, list[str]]


class Findings:
    """What is found out about a network: figures, and what was not as promised."""

    def __init__(self, say: Say) -> None:
        self.say = say
        self.figures: dict[str, Any] = {}
        self.broken: list[str] = []

    def expect(self, kept: bool, otherwise: str) -> None:
        """Note a broken promise."""
        if not kept:
            self.say(f"BROKEN: {otherwise}")
            self.broken.append(otherwise)


class Stage(Findings):
    """A network under measurement. `verifies_per_s` is what all of the machine's cores do together."""

    def __init__(self, cluster: Cluster, verifies_per_s: float, say: Say) -> None:
        super().__init__(say)
        self.cluster = cluster
        self.verifies_per_s = verifies_per_s
        self.figures["idle_mib"] = round(max(anonymous_mib(pid) for pid in cluster.pids()), 1)

    @property
    def count(self) -> int:
        """Return how many nodes there are."""
        return len(self.cluster.devnet.nodes)

    def orders(self, rate: float, nodes: list[int]) -> PressureOrders:
        """Return the orders to press these nodes."""
        devnet = self.cluster.devnet
        urls = [devnet.nodes[node].describe()["ws_url"] for node in nodes]
        mnemonics = [account.mnemonic for account in devnet.accounts]
        return PressureOrders(urls, mnemonics, self.cluster.ask(0, "chain_info")["genesis_hash"], rate)

    def watch(self, node: int) -> BlockWatch:
        """Return a watch of a node's blocks from now on."""
        return BlockWatch(self.cluster.devnet.nodes[node].rpc_url, self.cluster.ask(node, "chain_info")["height"] + 1)

    def learn_capacity(self) -> None:
        """Find out what the network commits when it is offered clearly more, and let it come to rest again."""
        rate = PROBED_SHARE * self.verifies_per_s / self.count
        while (found := self._committed_of(rate)) > 0.9 * rate:
            rate *= 2
        self.figures["capacity_tps"] = round(found, 1)
        self.say(f"capacity: {found:,.0f}/s (offered {rate:,.0f}/s)")

    def _committed_of(self, rate: float) -> float:
        with self.watch(0) as watch, pressing(self.orders(rate, list(range(self.count)))) as pressure:
            time.sleep(WARM_UP_S + WINDOW_S)
            now = time.monotonic()
            pressure.end()
            self.rest()
        return watch.rate(now - WINDOW_S, now)

    def rest(self) -> None:
        """Wait until all pools are empty."""
        deadline = time.monotonic() + DRAIN_S
        while left := [self.pooled(node) for node in range(self.count) if self.pooled(node)]:
            if time.monotonic() > deadline:
                self.expect(False, f"pools were not empty {DRAIN_S:g} s after the load: {left}")
                return
            time.sleep(0.2)

    def pooled(self, node: int) -> int:
        """Return how many transactions a node's pool holds."""
        held = self.cluster.ask(node, "node_status")["mempool"]
        return int(held["transactions"]) + int(held["unverified"])

    def views(self, from_height: int) -> list[tuple[int, int]]:
        """Return the different (header's, certificate's) views of all blocks above a height."""
        port, tip = self.cluster.devnet.nodes[0].rpc_port, self.cluster.ask(0, "chain_info")["height"]
        calls = [("chain_getCommit", {"height": height}) for height in range(from_height + 1, tip + 1)]
        self.say(f"reading {len(calls):,} certificates")
        batches = (calls[first : first + 100] for first in range(0, len(calls), 100))
        certificates = (item for batch in batches for item in probe.call(HOST, port, *batch, timeout_s=30))
        return sorted({(item["header"]["view"], item["view"]) for item in certificates})

    @contextmanager
    def loaded(self, times_capacity: float, nodes: list[int]) -> Iterator[tuple[BlockWatch, Pressure]]:
        """A warmed-up load on these nodes, watched at the first; afterwards all nodes run, agree, and have come to rest."""
        rate = times_capacity * self.figures["capacity_tps"]
        with self.watch(nodes[0]) as watch, pressing(self.orders(rate, nodes)) as pressure:
            time.sleep(WARM_UP_S)
            yield watch, pressure
            self.figures["load"] = pressure.end()
            self.cluster.revive()
            self.rest()
        self.cluster.check()

    def kill_under_load(self, victim: int, spared: set[int], seconds: float) -> tuple[BlockWatch, float]:
        """Measure a window, kill a node and go on for `seconds`; return the watch and when the node died.

        It and those `spared` get no load from wallets, so that the others' share of it is the same in both windows.
        """
        pressed = [node for node in range(self.count) if node != victim and node not in spared]
        with self.loaded(SATURATING, pressed) as (watch, pressure):
            ours = [*self.cluster.pids(), pressure.pid, os.getpid()]
            begin = CpuMark.now(ours)
            time.sleep(WINDOW_S)
            end = CpuMark.now(ours)
            self.cluster.kill(victim)
            survivors = [*self.cluster.pids(), pressure.pid, os.getpid()]
            dead = CpuMark.now(survivors)
            time.sleep(seconds)
            self.figures |= {
                "others_cores_before": begin.others_cores(end),
                "others_cores_after": dead.others_cores(CpuMark.now(survivors)),
            }
        return watch, end.at_s

    def compare(self, watch: BlockWatch, killed_s: float, from_s: float, least: float) -> None:
        """Hold the throughput of the window from `from_s` on to a share of the one before the death."""
        before, after = watch.rate(killed_s - WINDOW_S, killed_s), watch.rate(from_s, from_s + WINDOW_S)
        self.figures |= {"before_tps": round(before, 1), "after_tps": round(after, 1), "ratio": round(after / before, 3)}
        self.expect(after >= least * before, f"throughput fell from {before:,.0f}/s to {after:,.0f}/s, {after / before:.0%}")


# ---- the promises


def dead_backup(stage: Stage) -> None:
    """Throughput with one backup dead is at least 95 % of that with all nodes."""
    watch, killed_s = stage.kill_under_load((stage.cluster.primary() + 1) % stage.count, set(), WINDOW_S)
    stage.compare(watch, killed_s, killed_s, BACKUP_SHARE)


def dead_primary(stage: Stage) -> None:
    """A dead primary costs one pause, over 2 s after its death; then blocks come as fast as before, with no gap over 1 s."""
    victim = stage.cluster.primary()
    following = (victim + 1) % stage.count  # spared like the primary before it, or it alone would also serve wallets
    watch, killed_s = stage.kill_under_load(victim, {following}, WINDOW_S + 3 * FIRST_COMMIT_S)
    # A block that was decided before the death may still be told of after it: the pause is the longest gap, wherever it begins.
    _, resumed_s = watch.longest_gap(killed_s, killed_s + 3 * FIRST_COMMIT_S)
    begin_s, end_s = watch.longest_gap(resumed_s, resumed_s + WINDOW_S)
    stage.figures |= {"resumed_after_s": round(resumed_s - killed_s, 3), "longest_later_gap_s": round(end_s - begin_s, 3)}
    stage.expect(resumed_s - killed_s <= FIRST_COMMIT_S, f"blocks came again {resumed_s - killed_s:.2f} s after the death")
    stage.expect(end_s - begin_s <= LONGEST_GAP_S, f"a later gap between blocks of {end_s - begin_s:.2f} s")
    stage.compare(watch, killed_s, resumed_s, PRIMARY_SHARE)


def restart(stage: Stage) -> None:
    """All nodes killed at once under load lose no block that any of them told of, and go on within 10 s of being started."""
    with ExitStack() as stack:
        watches = [stack.enter_context(stage.watch(node)) for node in range(stage.count)]
        stack.enter_context(stage.loaded(SATURATING, list(range(stage.count))))
        time.sleep(WINDOW_S / 2)
        stage.cluster.kill(*range(stage.count))
        told = {(block.height, block.block_hash): block.size for watch in watches for block in watch.told}
        started_s, started_ms = time.monotonic(), time.time() * 1_000
        stage.cluster.revive()
        ready_s = time.monotonic()
        time.sleep(WINDOW_S)
    firsts = [next((block.at_s for block in watch.told if block.stamp_ms >= started_ms), float("inf")) for watch in watches]
    progress_s = max(firsts) - started_s
    kept = {(item["height"], item["hash"]) for node in range(stage.count) for item in _headers(stage, node, sorted(told))}
    lost = sorted(told.keys() - kept)
    stage.figures |= {
        "blocks_told_of": len(told),
        "transactions_acknowledged": sum(told.values()),
        "lost_blocks": len(lost),
        "ready_after_s": round(ready_s - started_s, 3),
        "new_block_on_all_after_s": round(progress_s, 3),
    }
    stage.expect(not lost, f"blocks that a node had told of are gone: {lost[:3]}")
    stage.expect(progress_s <= RESTART_S, f"the first new block was on all nodes {progress_s:.1f} s after the start")


def _headers(stage: Stage, node: int, blocks: list[tuple[int, str]]) -> Iterator[Any]:
    port = stage.cluster.devnet.nodes[node].rpc_port
    for first in range(0, len(blocks), 100):
        calls = [("chain_getHeader", {"height": height}) for height, _ in blocks[first : first + 100]]
        yield from probe.call(HOST, port, *calls, timeout_s=30)


# ---- overload


def overload(stage: Stage, seconds: float) -> None:
    """Twice what they can commit makes honest nodes refuse, not change views; and their memory stays within its bounds."""
    cluster = stage.cluster
    height, everyone = cluster.ask(0, "chain_info")["height"], list(range(stage.count))
    with MemoryWatch(cluster.pids()) as memory, stage.loaded(OVERLOAD, everyone) as (watch, _):
        began_s = time.monotonic()
        full, slowest_s = _sit_out(stage, seconds)
        ended_s = time.monotonic()
    load: PressureResult = stage.figures["load"]
    gap = watch.longest_gap(began_s, ended_s)
    views = stage.views(height)
    stage.figures |= {
        "seconds": round(ended_s - began_s, 1),
        "committed_tps": round(watch.rate(began_s, ended_s), 1),
        "longest_gap_s": round(gap[1] - gap[0], 3),
        "views": views,
        "most_pooled": full,
        "slowest_status_answer_s": round(slowest_s, 3),
    }
    stage.expect(len(views) == 1, f"views changed: (header's, certificate's) {views}")
    sent = (load.offered - load.unsent) / load.seconds
    least = 0.9 * OVERLOAD * stage.figures["capacity_tps"]
    stage.expect(sent >= least, f"the load was too weak to tell: {sent:,.0f}/s reached the nodes instead of {least:,.0f}/s")
    others = {reason: count for reason, count in load.refused.items() if reason not in ("pool_full", "sender_quota")}
    stage.expect(not others, f"refusals for other reasons than a full pool: {others}")
    judge_memory(stage, stage.count, memory, (began_s, ended_s))


def _sit_out(stage: Stage, seconds: float) -> tuple[int, float]:
    """Let the load press; return the most transactions that any pool held, and the longest a node took to tell its status."""
    deadline, most, slowest_s = time.monotonic() + seconds, 0, 0.0
    while time.monotonic() < deadline:
        for node in range(stage.count):
            asked_s = time.monotonic()
            port = stage.cluster.devnet.nodes[node].rpc_port
            (status,) = probe.call(HOST, port, ("node_status", {}), timeout_s=30)
            slowest_s = max(slowest_s, time.monotonic() - asked_s)
            most = max(most, status["mempool"]["transactions"])
        time.sleep(1)
    return most, slowest_s


def judge_memory(found: Findings, nodes: int, memory: MemoryWatch, window: tuple[float, float]) -> None:
    """Hold memory to its bound; and from the third quarter of the window to the last it may not grow any more."""
    pool_mib = MempoolSection().max_transactions * POOLED_KIB / 1024
    bound_mib = found.figures["idle_mib"] + STORE_MIB + TREE_MIB + pool_mib + (nodes - 1) * PEER_MIB
    began_s, quarter_s = window[0], (window[1] - window[0]) / 4
    quarters = [memory.mean(began_s + at * quarter_s, began_s + (at + 1) * quarter_s) for at in range(4)]
    grown_mib = max(last - third for third, last in zip(quarters[2], quarters[3], strict=True))
    found.figures |= {
        "highest_mib": round(memory.highest(), 1),
        "bound_mib": round(bound_mib, 1),
        "quarters_mib": [[round(value, 1) for value in quarter] for quarter in quarters],
        "grown_in_last_half_mib": round(grown_mib, 1),
    }
    found.expect(memory.highest() <= bound_mib, f"a node held {memory.highest():.0f} MiB, over the bound of {bound_mib:.0f}")
    found.expect(grown_mib <= STEADY_MIB, f"memory still grew by {grown_mib:.0f} MiB from the third quarter to the last")


# ---- running them

PROMISES: Final[dict[str, Callable[[Stage], None]]] = {
    "dead-backup": dead_backup,
    "dead-primary": dead_primary,
    "restart": restart,
}


def measure(promise: str, nodes: int, verifies_per_s: float, judge: Callable[[Stage], None], say: Say) -> Verdict:
    """Start a network, learn its capacity, let a promise be judged on it, and return the verdict."""
    say(f"--- {promise}, {nodes} nodes")
    cluster = Cluster(nodes, say)
    try:
        stage = Stage(cluster, verifies_per_s, say)
        try:
            stage.learn_capacity()
            judge(stage)
        except DatacarError as error:
            stage.expect(False, f"{type(error).__name__}: {error.message}")
        tails = {node.name: last_lines(node.log, 30) for node in cluster.devnet.nodes} if stage.broken else {}
        return Verdict(promise, nodes, not stage.broken, stage.broken, stage.figures, tails)
    finally:
        cluster.close()


def main(arguments: list[str] | None = None) -> int:
    """Measure the named promises, or all, and print the verdicts as JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"{', '.join(PROMISES)}, overload; default: all")
    parser.add_argument("--minutes", type=float, default=10.0, help="how long the overload lasts (default 10)")
    parser.add_argument("--nodes", type=int, nargs="*", default=[4, 7], help="sizes of the overloaded networks (default 4 7)")
    options = parser.parse_args(arguments)
    wanted = options.names or [*PROMISES, "overload"]
    if unknown := set(wanted) - {*PROMISES, "overload"}:
        parser.error(f"there is no promise {', '.join(sorted(unknown))}")
    machine, verifies_per_s = Machine.here(), verifies_per_s_all_cores(1.5)
    runs = [(name, 4, PROMISES[name]) for name in wanted if name != "overload"]
    if "overload" in wanted:
        runs += [("overload", nodes, lambda stage: overload(stage, options.minutes * 60)) for nodes in options.nodes]
    verdicts = [measure(name, nodes, verifies_per_s, judge, _say) for name, nodes, judge in runs]
    document = {"machine": machine, "verifies_per_s": round(verifies_per_s, 1), "promises": verdicts}
    sys.stdout.buffer.write(orjson.dumps(document, option=orjson.OPT_INDENT_2) + b"\n")
    return 0 if all(verdict.passed for verdict in verdicts) else 1


def _say(text: str) -> None:
    sys.stderr.write(f"{text}\n")


if __name__ == "__main__":
    sys.exit(main())

"""Seeded hostile runs of the replica: loss, delay, partitions and crashes never fork it, and it comes back."""

import os
import random

from tests.consensus_net import Network
from tests.seeds import fresh

RUNS = int(os.environ.get("FAULT_RUNS", "12"))


def hurt(net: Network, rng: random.Random) -> None:
    """One random fault, or the end of one."""
    n = len(net.nodes)
    up = [node.index for node in net.nodes if node.up]
    down = [node.index for node in net.nodes if not node.up]
    match rng.choice(["crash", "restart", "cut", "heal", "all"]):
        case "crash" if len(down) <= (n - 1) // 3:
            net.crash(rng.choice(up))
        case "restart" if down:
            net.restart(down[0])
        case "cut":
            side = set(rng.sample(range(n), rng.randint(1, n - 1)))
            net.cut = lambda a, b: (a in side) != (b in side)
        case "heal":
            net.cut = lambda _a, _b: False
        case "all":
            for index in range(n):
                net.crash(index)
            for index in range(n):
                net.restart(index)
        case _:
            pass


def hostile_run(seed: int) -> None:
    """One run: some seconds of faults, then healing; agreement is checked at each commit, progress at the end."""
    rng = random.Random(seed)
    net = Network(rng.choice([4, 4, 5, 7]), seed, loss=rng.choice([0.0, 0.02, 0.2]), delay_ms=(1, rng.choice([5, 50, 400])))
    for _ in range(rng.randint(2, 8)):
        net.run(rng.randint(10, 3_000))
        hurt(net, rng)
    net.cut, net.loss, net.delay_ms = (lambda _a, _b: False), 0.0, (1, 5)
    for node in list(net.nodes):
        if not node.up:
            net.restart(node.index)
    for node in net.nodes:
        for other in net.nodes:
            net._tip_hint(node, other)
    assert net.run(10_000, net.all_reach(max(net.heights()) + 2)), f"no progress after healing: {net.heights()}"


def test_hostile_runs_agree_and_recover() -> None:
    first = fresh("faults")
    for seed in range(first, first + RUNS):
        try:
            hostile_run(seed)
        except AssertionError as error:
            raise AssertionError(f"FAULTS_SEED={seed} FAULT_RUNS=1: {error}") from error

"""How long a block's update of the Merkle state takes: `python -m benchmarks.state`. Single-threaded, in memory, plain Python."""

import random
import sys
import time
from itertools import pairwise
from statistics import median

from ledger.hashing import ZERO_HASH
from ledger.state_tree import StateTree
from ledger.store import MemoryStore
from ledger.types import Height

_VALUE_BYTES = 24


def run(keys: int = 200_000, updates: int = 1_000, repeats: int = 15) -> None:
    """Print the medians over `repeats` blocks that each change `updates` random ones of `keys` keys, in us a key."""
    rng = random.Random(1)
    names = [b"account/%d" % number for number in range(keys)]
    store = MemoryStore()
    tree = StateTree(ZERO_HASH, store)
    first = tree.update(None, Height(0), {name: rng.randbytes(_VALUE_BYTES) for name in names})
    store.apply(first.nodes)
    tree.adopt(first)
    root = first.root
    del first  # the test bed, not the measurement: a node never holds so large an update
    update_us: list[float] = []
    commit_us: list[float] = []
    get_us: list[float] = []
    written = 0
    for height in range(1, repeats + 1):
        changes = {name: rng.randbytes(_VALUE_BYTES) for name in rng.sample(names, updates)}
        times = [time.perf_counter()]
        update = tree.update(root, Height(height), changes)
        times.append(time.perf_counter())
        store.apply(update.nodes)
        tree.adopt(update)
        times.append(time.perf_counter())
        root = update.root
        written += sum(map(len, update.nodes.values()))
        for name in changes:
            tree.get(root, name)
        times.append(time.perf_counter())
        spans = [(after - before) / updates * 1e6 for before, after in pairwise(times)]
        update_us.append(spans[0])
        commit_us.append(spans[1])
        get_us.append(spans[2])
    _print(f"{updates:,} updates on {keys:,} keys, median of {repeats}, in us a key:")
    _print(f"  update {median(update_us):.2f}   write and adopt {median(commit_us):.2f}   get {median(get_us):.2f}")
    _print(f"  bytes written a key: {written / updates / repeats:.0f}")


def _print(line: str) -> None:
    sys.stdout.write(line + "\n")


if __name__ == "__main__":
    run()

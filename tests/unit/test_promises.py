"""How the measured promises read their figures: rates, gaps and memory of made-up runs."""

from benchmarks.promises import POOLED_KIB, STEADY_MIB, STORE_MIB, TREE_MIB, Findings, judge_memory
from benchmarks.watch import BlockWatch, CpuMark, MemoryWatch, Told


def watched(*blocks: tuple[float, int]) -> BlockWatch:
    """A watch that was told of blocks of these sizes at these times."""
    watch = BlockWatch("http://127.0.0.1:1", 1)
    watch.told = [Told(at_s, 0, height, "0x", size) for height, (at_s, size) in enumerate(blocks, 1)]
    return watch


def judged(quarters: list[float], idle_mib: float = 50) -> list[str]:
    """What is said of one node's memory, given its mean in each of four 10 s quarters."""
    found = Findings(lambda _: None)
    found.figures["idle_mib"] = idle_mib
    memory = MemoryWatch([])
    memory.samples = [(at * 10 + second + 0.5, [value]) for at, value in enumerate(quarters) for second in range(10)]
    judge_memory(found, 4, memory, (0, 40))
    return found.broken


def test_a_rate_counts_the_transactions_of_its_window_only() -> None:
    watch = watched((1.0, 100), (2.0, 10), (3.0, 20), (4.5, 500))
    assert watch.rate(1.0, 4.0) == 10


def test_the_longest_gap_includes_the_ends_of_the_window() -> None:
    watch = watched((1.0, 1), (1.5, 1), (3.0, 1))
    assert watch.longest_gap(0.9, 3.1) == (1.5, 3.0)
    assert watch.longest_gap(0.9, 9.0) == (3.0, 9.0)
    assert watched().longest_gap(2, 5) == (2, 5)


def test_cores_of_others_are_what_the_machine_did_beside_us() -> None:
    assert CpuMark(10, 100, 50).others_cores(CpuMark(20, 118, 62)) == 0.6


def test_memory_that_levels_off_within_its_bound_passes() -> None:
    assert judged([100, 200, 300, 300 + STEADY_MIB]) == []


def test_memory_that_keeps_growing_does_not_pass() -> None:
    assert "still grew by 40 MiB" in judged([100, 140, 180, 220])[0]


def test_memory_over_the_bound_does_not_pass() -> None:
    bound = 50 + STORE_MIB + TREE_MIB + 50_000 * POOLED_KIB / 1024 + 3 * 48
    assert "over the bound" in judged([bound + 1] * 4)[0]

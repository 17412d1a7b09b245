"""Many seeds, on several processes: what was exercised, how fast, and which seeds failed."""

import functools
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import Final

from tests.sim.plan import make_plan
from tests.sim.shrink import report, shrink
from tests.sim.world import Failure, run
from tests.workers import workers

SUMMARY: Final = (
    "blocks", "commits", "later views", "transactions", "promises", "expired", "frames", "power losses", "torn writes",
    "ViewChange", "NewView", "supply checks", "liars dropped", "states restored",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class Outcome:
    """One seed's run, as it crosses from a worker: `story` is the shrunk trace of a failing one."""

    seed: int
    failure: Failure | None
    counts: Counter[str]
    digest: str
    progress_ms: int | None
    virtual_ms: int
    cpu_s: float
    story: str = ""


@dataclass
class Totals:
    """What a campaign has seen."""

    runs: int = 0
    failed: list[Outcome] = field(default_factory=list)
    counts: Counter[str] = field(default_factory=Counter)
    slowest_progress_ms: int = 0
    virtual_ms: int = 0
    started_s: float = field(default_factory=time.monotonic)

    def add(self, outcome: Outcome) -> None:
        """Count a run."""
        self.runs += 1
        self.counts += outcome.counts
        self.virtual_ms += outcome.virtual_ms
        self.slowest_progress_ms = max(self.slowest_progress_ms, outcome.progress_ms or 0)
        if outcome.failure is not None:
            self.failed.append(outcome)

    @property
    def per_minute(self) -> float:
        """Return the seeds run in a minute of real time."""
        return 60 * self.runs / max(0.001, time.monotonic() - self.started_s)

    def lines(self) -> Iterator[str]:
        """Yield the summary."""
        yield f"{self.runs} seeds, {self.virtual_ms / 60_000:.1f} virtual minutes, {self.per_minute:.0f} seeds a minute"
        yield "  " + ", ".join(f"{name} {self.counts[name]:,}" for name in SUMMARY)
        others = sorted(name for name in self.counts if name not in SUMMARY)
        yield "  " + ", ".join(f"{name} {self.counts[name]:,}" for name in others)
        yield f"  slowest progress after healing: {self.slowest_progress_ms} virtual ms (bound 10,000)"
        if self.failed:
            yield "FAILED seeds: " + ", ".join(f"{item.seed} [{item.failure.oracle}]" for item in self.failed if item.failure)


def run_seed(seed: int, *, real_crypto: bool = False, tell: bool = True) -> Outcome:
    """Run a seed; shrink it and tell its story when it fails."""
    started_s = time.process_time()
    again = functools.partial(run, real_crypto=real_crypto)
    result = again(make_plan(seed))
    story = report(shrink(result, again)) if tell and result.failure is not None else ""
    cpu_s = time.process_time() - started_s
    return Outcome(seed, result.failure, result.counts, result.digest, result.progress_ms, result.virtual_ms, cpu_s, story)


def run_seeds(seeds: Iterable[int], jobs: int, *, real_crypto: bool = False) -> Iterator[Outcome]:
    """Yield the outcomes as they come; one process when `jobs` is 1."""
    work = functools.partial(run_seed, real_crypto=real_crypto)
    if jobs == 1:
        yield from map(work, seeds)
        return
    with workers(jobs) as pool:
        yield from pool.imap_unordered(work, seeds)

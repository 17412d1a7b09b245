"""Whole networks of real nodes survive what seeds do to them, and the simulator notices when they do not.

`SIM_SEEDS=n` runs so many fresh seeds; `python -m tests.sim` runs campaigns.
"""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.seeds import fresh
from tests.sim.campaign import Totals, run_seeds
from tests.sim.plan import Byzantine, Crash, Lie, Plan, make_plan
from tests.sim.world import run

SEEDS = int(os.environ.get("SIM_SEEDS", "30"))
JOBS = 2
ROOT = Path(__file__).parents[2]


def calm(seed: int, *faults: Byzantine, members: int = 4) -> Plan:
    """Return a run of a few seconds in which only the given faults happen."""
    return Plan(seed, members, 5.0, (1.0, 5.0), (0,) * members, 6_000, faults)


def test_fresh_seeds_hold() -> None:
    """Hostile runs from seeds that nobody has tried before; those of a failure are printed."""
    first = fresh("sim")
    totals = Totals()
    for outcome in run_seeds(range(first, first + SEEDS), JOBS):
        totals.add(outcome)
    report = "\n".join([f"first seed {first}", *totals.lines(), *(outcome.story for outcome in totals.failed)])
    sys.stdout.write(report + "\n")
    assert not totals.failed, report
    assert totals.counts["commits"] > 20 * SEEDS, "next to nothing was committed: the runs prove nothing"


REGRESSIONS = (
    # A crash of a host that was to join and did not: the simulator's own mistake, it has no such host.
    Plan(266116084, 7, 2.0, (1.0, 5.0), (0,) * 7, 17_650, (Crash(5_279, 9, 2_043),)),
    # A bad vote inside a NewView: writing the refusal to the log raised, because its details named a member a second time,
    # and one lying message stopped an honest node.
    Plan(1, 4, 5.0, (1.0, 5.0), (0,) * 4, 9_000, (Byzantine(0, 1, Lie.MUTATION), Crash(2_000, 0, 3_000))),
    Plan(7, 4, 5.0, (1.0, 5.0), (0,) * 4, 9_000, (Byzantine(0, 1, Lie.MUTATION), Crash(2_000, 0, 3_000))),
)


@pytest.mark.parametrize("plan", REGRESSIONS, ids=lambda plan: f"seed-{plan.seed}")
def test_what_once_broke_holds(plan: Plan) -> None:
    """Runs that failed once, shrunk to what made them fail."""
    result = run(plan)
    assert result.failure is None, result.failure


@pytest.mark.parametrize("lie", list(Lie), ids=lambda lie: lie.name.lower())
def test_one_liar_breaks_nothing(lie: Lie) -> None:
    """Each kind of Byzantine member alone: nobody forks, stops or loses anything, and blocks come."""
    result = run(calm(1, Byzantine(0, 0, lie)))
    assert result.failure is None, result.failure
    assert result.counts["blocks"] >= 3


def test_real_signatures_agree_with_the_stand_in() -> None:
    """The same run with libsodium: the stand-in changes no decision, only the bytes of signatures."""
    plan = calm(2, Byzantine(0, 1, Lie.EQUIVOCATION))
    fast, real = run(plan), run(plan, real_crypto=True)
    assert real.failure is None, real.failure
    assert (fast.counts["blocks"], fast.virtual_ms, fast.counts["frames"]) == (
        real.counts["blocks"],
        real.virtual_ms,
        real.counts["frames"],
    )


def digest_of(seed: int, hash_seed: str) -> str:
    """Return the digest of all frames of a seed's run in a process of its own."""
    command = [sys.executable, "-m", "tests.sim", "--seeds", "1", "--seed", str(seed), "--jobs", "1", "--verbose"]
    environment = {**os.environ, "PYTHONHASHSEED": hash_seed}
    done = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, check=False, timeout=120)
    found = re.search(r"digest ([0-9a-f]{32})", done.stdout)
    assert found, done.stdout + done.stderr
    return found[1]


def test_a_seed_is_one_run_whatever_the_hash_seed() -> None:
    """Every frame at the same virtual time with the same bytes: nothing depends on the order of a set."""
    seed = next(seed for seed in range(100, 200) if make_plan(seed).liars and make_plan(seed).members == 4)
    assert digest_of(seed, "1") == digest_of(seed, "2")

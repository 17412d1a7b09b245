"""Seeded runs that stop at the first violation: `python -m tests.mutants.seeds faults|twins|sim COUNT --seed FIRST`.

Always the same seeds, so that the verdict on a planted bug is the same tomorrow. Ends with status 1 after a violation.
"""

import argparse
import sys
from collections.abc import Callable

from tests.mutants.killers import BEGUN
from tests.property.test_consensus_faults import hostile_run
from tests.sim.campaign import run_seed
from tests.sim.crypto import signatures
from tests.twins.__main__ import sample
from tests.twins.quick_crypto import quick_crypto
from tests.twins.run import play
from tests.twins.scenario import scenario

ROUNDS = 2


def faults(seed: int, count: int) -> str:
    """Run hostile networks of replicas."""
    with signatures(real=False):
        for number in range(seed, seed + count):
            try:
                hostile_run(number)
            except AssertionError as error:
                return f"faults, seed {number}: {error}"
    return ""


def twins(seed: int, count: int) -> str:
    """Run a sample of the scenarios with a member that runs twice."""
    with quick_crypto():
        for number in sample(ROUNDS, count, seed):
            if (violation := play(scenario(number, ROUNDS)).violation) is not None:
                return f"twins, scenario {number}: {violation}"
    return ""


def sim(seed: int, count: int) -> str:
    """Run hostile networks of whole nodes."""
    for number in range(seed, seed + count):
        if (failure := run_seed(number, tell=False).failure) is not None:
            return f"sim, seed {number}: {failure}"
    return ""


RUNS: dict[str, Callable[[int, int], str]] = {"faults": faults, "twins": twins, "sim": sim}


def main() -> int:
    """Run; 1 when something was violated."""
    parser = argparse.ArgumentParser(prog="python -m tests.mutants.seeds", description=__doc__)
    parser.add_argument("kind", choices=RUNS)
    parser.add_argument("count", type=int, help="how many")
    parser.add_argument("--seed", type=int, default=1, help="the first seed, or that of the sample")
    options = parser.parse_args()
    sys.stdout.write(BEGUN + "\n")
    violation = RUNS[options.kind](options.seed, options.count)
    sys.stdout.write((violation or "nothing violated") + "\n")
    return int(bool(violation))


if __name__ == "__main__":
    sys.exit(main())

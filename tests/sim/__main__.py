"""`python -m tests.sim --seeds N [--seed FIRST] [--jobs 2] [--real-crypto] [--verbose]`: hostile runs of whole networks."""

import argparse
import secrets
import sys

from tests.sim.campaign import Outcome, Totals, run_seeds
from tests.sim.crypto import FAST_CRYPTO_NOTE
from tests.sim.world import PROGRESS_MS

PROGRESS_EVERY = 50


def main() -> int:
    """Run the seeds; 1 when one of them failed."""
    options = _options()
    first = secrets.randbits(31) if options.seed is None else options.seed
    crypto = "libsodium" if options.real_crypto else FAST_CRYPTO_NOTE
    _say(f"{options.seeds} seeds from {first} on {options.jobs} processes; {crypto}; progress within {PROGRESS_MS} ms of healing")
    totals = Totals()
    for outcome in run_seeds(range(first, first + options.seeds), options.jobs, real_crypto=options.real_crypto):
        totals.add(outcome)
        _tell(outcome, totals, verbose=options.verbose)
    for line in totals.lines():
        _say(line)
    if totals.failed:
        _say("again: " + "; ".join(f"python -m tests.sim --seeds 1 --seed {item.seed}" for item in totals.failed[:5]))
    return 1 if totals.failed else 0


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--seeds", type=int, default=100, help="how many runs")
    parser.add_argument("--seed", type=int, help="the first seed (a fresh one by default); with --seeds 1 the one to repeat")
    parser.add_argument("--jobs", type=int, default=2, help="processes")
    parser.add_argument("--real-crypto", action="store_true", help="sign and verify with libsodium")
    parser.add_argument("--verbose", action="store_true", help="a line for each run")
    return parser.parse_args()


def _tell(outcome: Outcome, totals: Totals, *, verbose: bool) -> None:
    if outcome.failure is not None:
        _say(f"\n{outcome.story}\n")
    elif verbose:
        counts = outcome.counts
        _say(
            f"seed {outcome.seed}: {counts['blocks']} blocks, {counts['transactions']} payments, {counts['power losses']} power"
            f" losses, progress after {outcome.progress_ms} ms, {outcome.cpu_s:.2f} s CPU, digest {outcome.digest}"
        )
    if totals.runs % PROGRESS_EVERY == 0:
        _say(f"... {totals.runs} seeds, {totals.per_minute:.0f} a minute, {len(totals.failed)} failed")


def _say(text: str) -> None:
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

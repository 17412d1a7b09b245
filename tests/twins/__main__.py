"""Runs twins scenarios from the command line: all of them, a sample, or one with its trace.

    python -m tests.twins --rounds 2 --jobs 2                  all 43,264 scenarios of two rounds
    python -m tests.twins --rounds 3 --sample 5000 --seed 7    a sample of those of three rounds
    python -m tests.twins --rounds 2 --scenario 4711           one again, with its trace

Ends with status 1 when a scenario violates the protocol.
"""

import argparse
import os
import random
import secrets
import sys
import time
from collections import Counter
from collections.abc import Iterable, Iterator

from tests.twins.chunks import chunks, run_chunk, signatures
from tests.twins.run import TracedDigest, play
from tests.twins.scenario import round_count, scenario, scenario_count
from tests.workers import workers

SHOWN_FAILURES = 5
PROGRESS_S = 5.0


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; return the exit status."""
    options = parse(arguments)
    say(f"signatures: {'Ed25519 (libsodium)' if options.real_crypto else 'a fast stand-in; --real-crypto uses libsodium'}")
    if options.scenario is not None:
        return show(options.scenario, options.rounds, real_crypto=options.real_crypto)
    total = scenario_count(options.rounds)
    if options.sample is None:
        numbers: Iterable[int] = range(total)
        count = total
    else:
        seed = secrets.randbits(32) if options.seed is None else options.seed
        say(f"a sample of {options.sample} of {total} scenarios, --seed {seed}")
        numbers, count = sample(options.rounds, options.sample, seed), options.sample
    return run(numbers, count, options.rounds, options.jobs, real_crypto=options.real_crypto)


def parse(arguments: list[str] | None) -> argparse.Namespace:
    """Return the options."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.twins", description="Systematic scenarios with a member that runs twice."
    )
    parser.add_argument("--rounds", type=int, default=2, help=f"rounds of a scenario, {round_count()} different ones each")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--sample", type=int, help="so many drawn scenarios instead of all")
    parser.add_argument("--seed", type=int, help="of the sample; a fresh one is printed")
    parser.add_argument("--scenario", type=int, help="one scenario, with its trace")
    parser.add_argument("--real-crypto", action="store_true", help="sign and verify with libsodium")
    return parser.parse_args(arguments)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def sample(rounds: int, count: int, seed: int) -> Iterator[int]:
    """Yield `count` scenario numbers drawn from `seed`."""
    draws = random.Random(seed)
    return (draws.randrange(scenario_count(rounds)) for _ in range(count))


def show(number: int, rounds: int, *, real_crypto: bool) -> int:
    """Run one scenario and print its rounds, its trace and its outcome."""
    chosen, traced = scenario(number, rounds), TracedDigest()
    with signatures(real=real_crypto):
        outcome = play(chosen, traced)
    say("\n".join(traced.lines()))
    say(f"digest {outcome.digest}, height {outcome.height}, healed in {outcome.healing_ms} ms")
    say(outcome.violation or "nothing violated")
    return int(outcome.violation is not None)


def run(numbers: Iterable[int], count: int, rounds: int, jobs: int, *, real_crypto: bool) -> int:
    """Run scenarios on several processes, printing progress; return the exit status."""
    started = told = time.monotonic()
    heights: Counter[int] = Counter()
    failed: list[tuple[int, str]] = []
    done = slowest_ms = 0
    with workers(jobs) as pool:
        for results in pool.imap_unordered(run_chunk, chunks(numbers, rounds, real_crypto=real_crypto)):
            for number, outcome in results:
                heights[outcome.height] += 1
                slowest_ms = max(slowest_ms, outcome.healing_ms)
                if outcome.violation is not None:
                    failed.append((number, outcome.violation))
            done += len(results)
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                say(f"{done} of {count}, {done / (told - started):.0f}/s, {len(failed)} failed")
    spent = time.monotonic() - started
    say(f"{done} scenarios of {rounds} rounds in {spent:.0f} s ({done / spent:.0f}/s on {jobs} processes): {len(failed)} failed")
    say(f"slowest healing {slowest_ms} ms; highest blocks: {', '.join(f'{h} in {heights[h]}' for h in sorted(heights))}")
    for number, violation in sorted(failed)[:SHOWN_FAILURES]:
        say(f"\npython -m tests.twins --rounds {rounds} --scenario {number}\n  {violation}")
        show(number, rounds, real_crypto=real_crypto)
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())

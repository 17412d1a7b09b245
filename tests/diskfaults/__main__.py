"""Damages a chain's LevelDB folder from the command line.

    python -m tests.diskfaults --count 2000 --jobs 2          with fresh seeds, the first of them printed
    python -m tests.diskfaults --count 1 --seed 4711          one again

Ends with status 1 when a read was wrong or a node did not heal.
"""

import argparse
import os
import secrets
import sys
import tempfile
import time
from collections import Counter
from functools import partial
from pathlib import Path

from tests.diskfaults.chunks import ORIGINAL_NAME, run_chunk
from tests.diskfaults.original import make_original
from tests.diskfaults.play import Found, Outcome
from tests.workers import workers

SHOWN_FAILURES = 5
CHUNK = 20
PROGRESS_S = 10.0
WIDTH = 18


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.diskfaults", description="Damaged folders of a real chain.")
    parser.add_argument("--count", type=int, default=200, help="how many")
    parser.add_argument("--seed", type=int, help="of the first; a fresh one is printed")
    parser.add_argument("--jobs", type=int, default=os.cpu_count() or 1, help="processes")
    parser.add_argument("--resync-every", type=int, default=1, help="see each so-many-th through that must begin anew")
    options = parser.parse_args(arguments)
    seed = secrets.randbits(31) if options.seed is None else options.seed
    say(f"{options.count} faults, --seed {seed}")
    with tempfile.TemporaryDirectory(prefix="datacar-diskfaults-") as folder:
        make_original(Path(folder) / ORIGINAL_NAME)
        return run(Path(folder), seed, options.count, options.jobs, options.resync_every)


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


def run(folder: Path, seed: int, count: int, jobs: int, resync_every: int) -> int:
    """Play the faults on several processes, printing progress and what came of them; return the exit status."""
    started = told = time.monotonic()
    chunks = [range(first, min(first + CHUNK, seed + count)) for first in range(seed, seed + count, CHUNK)]
    results: list[Outcome | str] = []
    with workers(jobs) as pool:
        for chunk in pool.imap_unordered(partial(run_chunk, folder, resync_every), chunks):
            results += chunk
            if time.monotonic() - told > PROGRESS_S:
                told = time.monotonic()
                say(f"{len(results)} of {count}, {len(results) / (told - started):.0f}/s")
    outcomes = [result for result in results if isinstance(result, Outcome)]
    failures = [result for result in results if isinstance(result, str)]
    say(summary(outcomes))
    say(f"{len(results)} faults in {time.monotonic() - started:.0f} s on {jobs} processes: {len(failures)} failed")
    for failure in failures[:SHOWN_FAILURES]:
        say(f"\n{failure}")
    return int(bool(failures))


def summary(outcomes: list[Outcome]) -> str:
    """Return a table: how the damage showed, by file and by what happened to it."""
    columns = list(Found)
    counts = Counter((f"{outcome.fault.place}: {outcome.fault.kind}", outcome.found) for outcome in outcomes)
    rows = sorted({row for row, _ in counts})
    lines = [f"{'':32}" + "".join(f"{column:>{WIDTH}}" for column in columns)]
    lines += [f"{row:32}" + "".join(f"{counts[row, column]:>{WIDTH}}" for column in columns) for row in rows]
    totals = Counter(outcome.found for outcome in outcomes)
    lines.append(f"{'all':32}" + "".join(f"{totals[column]:>{WIDTH}}" for column in columns))
    return "\n".join(lines)


if __name__ == "__main__":
    sys.exit(main())

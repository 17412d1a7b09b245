"""Kills a real node process under load from the command line.

    python -m tests.crashes --count 200             a fresh seed, which is printed
    python -m tests.crashes --count 200 --seed 7    the same node and moments (the machine's timing is not in it)

Ends with status 1 when the node did not come back with all that it had told.
"""

import argparse
import asyncio
import secrets
import sys
import tempfile
import time
import traceback
from pathlib import Path

from tests.crashes.run import crash


def main(arguments: list[str] | None = None) -> int:
    """Run what the arguments say; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.crashes", description="kill -9 of a node process under load.")
    parser.add_argument("--count", type=int, default=200, help="how often")
    parser.add_argument("--seed", type=int, help="which node and when; a fresh one is printed")
    options = parser.parse_args(arguments)
    seed = secrets.randbits(31) if options.seed is None else options.seed
    say(f"{options.count} kills, --seed {seed}")
    began_s = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="datacar-crashes-") as folder:
        try:
            tally = asyncio.run(crash(Path(folder), options.count, seed, say))
        except Exception:  # noqa: BLE001 - whatever it is, it is a failure to be shown with its seed
            say(traceback.format_exc())
            return 1
    say(f"{tally} in {time.monotonic() - began_s:.0f} s: nothing was lost, and all members hold one chain")
    return 0


def say(text: str) -> None:
    """Print a line at once."""
    sys.stdout.write(text + "\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

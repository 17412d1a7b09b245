"""`python -m tests.year --loans 1000 --orders 1000 --days 365`: a year of them on four real nodes; 0 when all is right."""

import argparse
import json
import sys
import tempfile
from pathlib import Path

from tests.year.network import YearError
from tests.year.plan import make_plan
from tests.year.run import TRANSFERS, run_year


def main() -> int:
    """Run it and print what came of it."""
    parser = argparse.ArgumentParser(prog="python -m tests.year", description=__doc__)
    parser.add_argument("--loans", type=int, default=1_000)
    parser.add_argument("--orders", type=int, default=1_000)
    parser.add_argument("--days", type=int, default=365)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--transfers", type=int, default=TRANSFERS, help="how many are timed, before and among the days")
    parser.add_argument("--slower", type=float, default=0.2, help="how much slower a transfer may become: 0.2 is 20 %%")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if min(options.days, options.transfers) < 1:
        parser.error("--days and --transfers must be at least 1")
    _say(f"seed {options.seed}")
    plan = make_plan(options.seed, options.loans, options.orders, options.days)
    with tempfile.TemporaryDirectory() as folder:
        try:
            report = run_year(Path(folder), plan, options.days, _say, options.transfers)
        except YearError as error:
            _say(f"error: {error} (seed {options.seed})")
            return 1
    shown = report.shown()
    lines = json.dumps(shown, indent=2) if options.json else "\n".join(f"{name:<22} {value}" for name, value in shown.items())
    sys.stdout.write(lines + "\n")
    if report.slower > options.slower:
        _say(f"error: transfers became {report.slower:.0%} slower, {options.slower:.0%} is allowed")
        return 1
    return 0


def _say(line: str) -> None:
    sys.stderr.write(line + "\n")
    sys.stderr.flush()


if __name__ == "__main__":
    sys.exit(main())

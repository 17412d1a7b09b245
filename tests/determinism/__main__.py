"""`python -m tests.determinism --seed S --calls N`: the outcome as JSON, for comparison with that of other environments."""

import argparse
import json
import locale
import time
from dataclasses import asdict

from tests.determinism.world import World


def main() -> None:
    """Take up the environment's locale and time zone, run, and print."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--calls", type=int, default=10_000)
    asked = parser.parse_args()
    try:
        used = locale.setlocale(locale.LC_ALL, "")
    except locale.Error:
        used = "not installed"
    time.tzset()
    outcome = asdict(World(asked.seed).run(asked.calls))
    print(json.dumps({"locale": used, "zone": time.tzname[0], **outcome}, sort_keys=True))  # noqa: T201 (its output)


if __name__ == "__main__":
    main()

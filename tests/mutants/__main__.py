"""`python -m tests.mutants [--jobs 2] [--only NAME] [--list] [--json]`: plants each bug and says what caught it.

Ends with status 1 when one is not caught, 2 when a fault or a killer does not fit the code any more.
"""

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

from tests.mutants.catalogue import MUTANTS
from tests.mutants.killers import BrokenKillerError
from tests.mutants.mutant import Mutant, MutantError
from tests.mutants.runner import Runner, UnsoundError, Verdict, misfits


def main(arguments: Sequence[str] | None = None) -> int:
    """Run what the arguments say; return the exit status."""
    options = _options(arguments)
    chosen = [mutant for mutant in MUTANTS if not options.only or any(part in mutant.name for part in options.only)]
    try:
        if wrong := misfits(MUTANTS):
            raise MutantError("\n".join(wrong))
        if options.list:
            for mutant in chosen:
                sys.stdout.write(f"{mutant.name:38} {mutant.file:34} {mutant.rule}\n")
            return 0
        if not chosen:
            raise MutantError(f"no planted bug has a name with {options.only}")
        return _run(chosen, options.jobs, as_json=options.json)
    except (MutantError, UnsoundError, BrokenKillerError) as error:
        _say(str(error), sys.stderr)
        return 2


def _options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.mutants", description=__doc__)
    parser.add_argument("--jobs", type=int, default=2, help="copies worked on at a time")
    parser.add_argument("--only", action="append", metavar="NAME", help="those with this in their name; may be repeated")
    parser.add_argument("--list", action="store_true", help="list them and run nothing")
    parser.add_argument("--json", action="store_true", help="print the verdicts as JSON, and the rest to stderr")
    return parser.parse_args(arguments)


def _run(mutants: Sequence[Mutant], jobs: int, *, as_json: bool) -> int:
    out = sys.stderr if as_json else sys.stdout
    started_s, verdicts = time.monotonic(), []
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        runner = Runner(Path(directory).resolve(), jobs, lambda text: _say(text, out))
        for verdict in runner.run(mutants):
            _say(_line(verdict), out)
            verdicts.append(verdict)
    uncaught = [verdict for verdict in verdicts if verdict.killer is None]
    if as_json:
        sys.stdout.write(json.dumps([verdict.to_json() for verdict in verdicts], indent=1) + "\n")
    _say(f"{len(verdicts)} planted bugs, {len(verdicts) - len(uncaught)} caught, {time.monotonic() - started_s:.0f} s", out)
    for verdict in uncaught:
        _say(f"NOT CAUGHT: {verdict.name} ({verdict.file}): {verdict.rule}", out)
    return int(bool(uncaught))


def _line(verdict: Verdict) -> str:
    if verdict.killer is None:
        return f"NOT CAUGHT {verdict.name:38} {verdict.took_s:6.1f} s"
    return f"caught {verdict.name:38} {verdict.took_s:6.1f} s  by {verdict.killer}: {verdict.what[:150]}"


def _say(text: str, out: TextIO) -> None:
    out.write(text + "\n")
    out.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The planted bugs of `tests.mutants` still fit the code, and their runner tells what is caught from what is not.

`python -m tests.mutants` runs them all.
"""

from dataclasses import replace
from pathlib import Path

import pytest

from tests.mutants.catalogue import MUTANTS
from tests.mutants.killers import BEGUN, KILLERS, BrokenKillerError
from tests.mutants.mutant import Mutant, MutantError
from tests.mutants.runner import ROOT, misfits

RULES = (*range(1, 11), 12, 13, 14)


def test_every_planted_bug_fits_the_code_as_it_is() -> None:
    assert misfits(MUTANTS) == []


def test_every_rule_of_consensus_is_broken_by_some() -> None:
    """Rule 11 is that there is nothing to break: no checkpoint messages."""
    broken = {mutant.rule.split(":")[0].rstrip("ab") for mutant in MUTANTS}
    assert {str(rule) for rule in RULES} <= broken
    assert len(MUTANTS) >= 36


def test_killers_are_used_and_their_tests_exist() -> None:
    used = {name for mutant in MUTANTS for name in mutant.killers}
    assert used == set(KILLERS)
    paths = {argument for killer in KILLERS.values() for argument in killer.arguments if argument.startswith("tests/")}
    assert {path for path in paths if not (ROOT / path).is_file()} == set()


def planted(old: str, new: str) -> Mutant:
    return Mutant("a bug", "a rule", "code.py", old, new, ("gaps",))


def test_a_bug_that_does_not_fit_exactly_once_is_refused(tmp_path: Path) -> None:
    source = "left = 1\nright = 1\n"
    assert planted("left = 1", "left = 2").apply(source) == "left = 2\nright = 1\n"
    for old, new in (("= 1", "= 2"), ("middle", "left"), ("left = 1", "left = 1"), ("left = 1", "left =")):
        with pytest.raises(MutantError):
            planted(old, new).apply(source)
    (tmp_path / "code.py").write_text(source)
    good = planted("left = 1", "left = 2")
    assert misfits((good,), tmp_path) == []
    assert len(misfits((good, good), tmp_path)) == 1
    assert len(misfits((replace(good, killers=("nobody",)),), tmp_path)) == 1
    assert len(misfits((replace(good, file="gone.py"),), tmp_path)) == 1


def test_only_a_failed_test_or_run_is_a_catch() -> None:
    tests, runs = KILLERS["gaps"], KILLERS["sim"]
    assert tests.verdict(0, "") is runs.verdict(0, "") is None
    assert (
        tests.verdict(1, "...\nFAILED tests/unit/test_x.py::test_y - no\n1 failed") == "FAILED tests/unit/test_x.py::test_y - no"
    )
    assert runs.verdict(1, f"{BEGUN}\nsim, seed 3: fork") == "sim, seed 3: fork"
    for killer, status, output in ((tests, 2, "ERROR collecting"), (tests, 5, "no tests ran"), (runs, 1, "ImportError: gone")):
        with pytest.raises(BrokenKillerError):
            killer.verdict(status, output)

"""The readable scenarios: each command prints what its file says.

`REWRITE_SCENARIOS=1 pytest tests/unit/test_scenarios.py` writes the files anew, for a diff to judge.
"""

import os
from pathlib import Path

import pytest

from tests.scenario_runner import COMMANDS, LIES, ScenarioError, check, render

FILES = sorted((Path(__file__).resolve().parents[1] / "scenarios").glob("*.txt"))
REWRITE = os.environ.get("REWRITE_SCENARIOS", "") not in {"", "0"}


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.stem)
def test_scenario_goes_as_written(path: Path) -> None:
    written, real = check(path, rewrite=REWRITE)
    assert written == real, f"{path.name}: read the difference; REWRITE_SCENARIOS=1 pytest {Path(__file__).name} accepts it"


def test_only_the_scenario_of_a_rolled_back_sign_state_violates_the_protocol() -> None:
    """A violation is output like any other, so a rewrite must not slip one in."""
    assert [path.stem for path in FILES if "VIOLATION" in path.read_text()] == ["rolled_back_sign_state"]


def test_every_command_and_every_lie_is_shown_by_some_scenario() -> None:
    commands = [line.removeprefix("> ").split() for path in FILES for line in path.read_text().splitlines() if line[:2] == "> "]
    assert {words[0] for words in commands} == set(COMMANDS)
    assert {words[3] for words in commands if words[0] == "lie"} == set(LIES)


def test_output_that_is_not_what_happens_is_seen_and_a_rewrite_mends_it(tmp_path: Path) -> None:
    path = tmp_path / "wrong.txt"
    path.write_text("# prose stays\n\n> network n=4\n  5 members\n> work 0\n")
    written, real = check(path, rewrite=False)
    assert written != real
    assert path.read_text() == written
    assert check(path, rewrite=True) == (real, real) == check(path, rewrite=False)
    assert real.startswith("# prose stays\n\n> network n=4\n  m0,m1,m2,m3: 4 members")
    assert real.endswith("> work 0\n  m0: PrePrepare 1.0 A\n  m0: Prepare 1.0 A\n")


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("> status\n", "line 1.*first command is"),
        ("> network n=4\n> wrok 0\n", "line 2.*no command 'wrok'"),
        ("> network n=4\n> deliver 0->1 preparee\n", "unknown kinds: preparee"),
        ("> network n=4\n> run 5\n", "a time ends in ms"),
        ("> network n=4\n> settle now\n", "takes no arguments"),
        ("> network n=4 chance@5=+m4\n", "unknown options"),
        ("> network n=4 change@5=+m3\n", "adds .* or removes"),
        ("network n=4\n", "neither prose"),
    ],
)
def test_mistakes_in_a_scenario_are_named_with_their_line(text: str, complaint: str) -> None:
    with pytest.raises(ScenarioError, match=complaint):
        render(text)

"""`datacar charging price` and `replay`: which file is wrong, and whether anything came of a replay."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

import cli
from node.commands.exits import Exit
from tests.served_node import Served, serve

EXAMPLES: Final = Path(cli.__file__).resolve().parent / "docs" / "examples"
TARIFF: Final = EXAMPLES / "tariff.json"
SESSION: Final = EXAMPLES / "session.json"
SESSIONS: Final = EXAMPLES / "sessions.csv"


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("charging command") / "db") as found:
        yield found


def charging(*args: str | Path) -> Any:
    return CliRunner().invoke(cli.app, ["charging", *map(str, args)])


def changed(file: Path, to: Path, **fields: object) -> Path:
    """Return a copy of a JSON file in which some fields are others."""
    to.write_text(json.dumps({**json.loads(file.read_text()), **fields}))
    return to


def test_a_wrong_field_is_named_with_its_file(tmp_path: Path) -> None:
    """Both files are JSON: `$.end` alone does not say whose."""
    bad_session = changed(SESSION, tmp_path / "my session.json", end="yesterday")
    bad_tariff = changed(TARIFF, tmp_path / "my tariff.json", elements=[])
    early = changed(SESSION, tmp_path / "early.json", end="2000-01-01T00:00:00Z")
    for args, bad, path in (
        (("--tariff", TARIFF, "--session", bad_session), bad_session, "$.end"),
        (("--tariff", TARIFF, "--session", early), early, "$.end"),
        (("--tariff", bad_tariff, "--session", SESSION), bad_tariff, "$.elements"),
        (("--tariff", bad_tariff, "--session", bad_session), bad_tariff, "$.elements"),
    ):
        result = charging("price", *args, "--json")
        assert result.exit_code == Exit.ERROR
        assert f"error: {bad}: {path}: " in result.stderr
        error = json.loads(result.stdout)["error"]
        assert (error["data"]["file"], error["data"]["path"]) == (str(bad), path)


def test_a_file_that_is_no_text_is_named(tmp_path: Path) -> None:
    bad = tmp_path / "session.json"
    bad.write_bytes(b"\xff\xfe")
    result = charging("price", "--tariff", TARIFF, "--session", bad)
    assert result.exit_code == Exit.ERROR
    assert f"error: {bad} is no text in UTF-8" in result.stderr


def test_a_replay_of_which_nothing_was_settled_has_failed(served: Served, tmp_path: Path) -> None:
    header, first, *_ = SESSIONS.read_text().splitlines()
    bad = [f"{number},,,,,," for number in range(3)]
    none, some = tmp_path / "none.csv", tmp_path / "some.csv"
    none.write_text("\n".join([header, *bad]))
    some.write_text("\n".join([header, first, *bad]))
    for file, settled, code in ((none, 0, Exit.REJECTED), (some, 1, Exit.OK)):
        result = charging("replay", file, "--tariff", TARIFF, "--rpc", served.url, "--json")
        assert result.exit_code == code, result.output
        document = json.loads(result.stdout)
        assert (document["sessions"], document["settled"], len(document["rejected"])) == (3 + settled, settled, 3)
        assert f"3 of {3 + settled} sessions were rejected, {settled} were settled" in result.stderr

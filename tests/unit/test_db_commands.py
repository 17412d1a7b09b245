"""`datacar db`: what a person and a script see of the operator's tools, and how they end."""

import contextlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

import cli
from node.commands import db_export
from node.commands.exits import Exit
from node.damage import STORE_NAME
from tests.ledger_folder import ADDRESSES, LedgerFolder
from tests.served_node import serve

BLOCKS = 5


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LedgerFolder:
    folder = LedgerFolder(tmp_path_factory.mktemp("made") / "node")
    folder.grow(BLOCKS)
    return folder


@pytest.fixture
def folder(made: LedgerFolder, tmp_path: Path) -> LedgerFolder:
    shutil.copytree(made.folder, tmp_path / "node")
    return made.at(tmp_path / "node")


def run(*args: object) -> Result:
    return CliRunner().invoke(cli.app, ["db", *map(str, args)])


def answer(*args: object, code: Exit = Exit.OK) -> Any:
    """Return the JSON that a command prints and nothing else on stdout."""
    result = run(*args, "--json")
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def test_verify_says_whole(made: LedgerFolder) -> None:
    found = answer("verify", "--full", "--replay", "-c", made.config)
    assert (found["ok"], found["tip"], found["problems"]) == (True, BLOCKS, [])
    assert found["replayed"] == {"first": 1, "last": BLOCKS, "transactions": 3 * BLOCKS, "from_genesis": True}
    shown = run("verify", "-c", made.config)
    assert (shown.exit_code, shown.stdout.splitlines()[-1]) == (Exit.OK, "whole")


def test_verify_names_damage_in_the_chain_and_ends_with_1(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.raw.apply({b"c" + (3).to_bytes(8): None})
    found = answer("verify", "-c", folder.config, code=Exit.ERROR)
    assert {"check": "headers", "message": "the certificate is missing", "height": 3} in found["problems"]
    shown = run("verify", "-c", folder.config)
    assert "DAMAGED headers: block 3: the certificate is missing" in shown.stdout


def test_verify_names_damage_in_the_files_and_opens_nothing(folder: LedgerFolder) -> None:
    current = folder.data_dir / STORE_NAME / "CURRENT"
    current.unlink()
    before = sorted(path.name for path in current.parent.iterdir())
    found = answer("verify", "-c", folder.config, code=Exit.ERROR)
    assert (found["tip"], found["problem_count"]) == (None, 1)
    assert found["problems"][0]["check"] == "files"
    assert found["problems"][0]["message"].startswith("CURRENT: missing")
    assert {path.name for path in current.parent.iterdir()} <= {*before, "LOCK"}


def test_a_flipped_bit_in_a_table_is_found_by_the_full_check(folder: LedgerFolder) -> None:
    with folder.store():
        pass  # what is in the log goes into a table when the store is opened
    table = max((folder.data_dir / STORE_NAME).glob("*.ldb"), key=lambda path: path.stat().st_size)
    data = bytearray(table.read_bytes())
    data[len(data) // 3] ^= 0x10
    table.write_bytes(bytes(data))
    found = answer("verify", "--full", "-c", folder.config, code=Exit.ERROR)
    assert any("checksum" in problem["message"] for problem in found["problems"])


def test_export_to_stdout_is_rows_alone_and_to_a_file_a_summary(made: LedgerFolder, tmp_path: Path) -> None:
    result = run("export", "blocks", "-c", made.config)
    assert [json.loads(line)["height"] for line in result.stdout.splitlines()] == list(range(BLOCKS + 1))
    assert "6 blocks exported" in result.stderr
    target = tmp_path / "accounts.csv"
    found = answer("export", "accounts", target, "--format", "csv", "-c", made.config)
    assert (found["rows"], found["tip"]) == (8, BLOCKS)
    assert len(target.read_text().splitlines()) == 9
    assert run("export", "blocks", "-c", made.config, "--json").exit_code == Exit.USAGE


def test_the_search_for_gas_prices_is_shown_too(made: LedgerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Fees of an old block need all later receipts: that comes first, and may take most of the time."""
    told: list[tuple[str, int, int]] = []
    monkeypatch.setattr(db_export, "shown_progress", lambda: contextlib.nullcontext(lambda *step: told.append(step)))
    run("export", "transactions", tmp_path / "rows", "--from-height", 2, "--to-height", 2, "-c", made.config)
    later = BLOCKS - 1
    assert told[:later] == [("reading gas prices", number, later) for number in range(1, later + 1)]
    assert told[later:] == [("exporting blocks", 1, 1)]


@pytest.mark.parametrize("step", ["reading gas prices", "exporting blocks"])
def test_ctrl_c_leaves_no_half_file(step: str, made: LedgerFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither a part of one, nor a damaged one where a whole one was."""

    def interrupt(what: str, done: int, _total: int) -> None:
        if (what, done) == (step, 3):
            raise KeyboardInterrupt

    monkeypatch.setattr(db_export, "shown_progress", lambda: contextlib.nullcontext(interrupt))
    rows = tmp_path / "rows"
    for before in (None, "of yesterday"):
        if before is not None:
            rows.write_text(before)
        result = run("export", "transactions", rows, "-c", made.config)
        assert result.exit_code == Exit.INTERRUPTED, result.output
        assert [path.name for path in tmp_path.iterdir()] == ([] if before is None else ["rows"])
        assert before is None or rows.read_text() == before


def test_prune_and_reindex_say_what_is_held(folder: LedgerFolder) -> None:
    found = answer("prune", "--keep-states", 2, "--keep-bodies", 3, "-c", folder.config)
    assert (found["states_from"], found["bodies_from"], found["headers_from"]) == (BLOCKS - 2, BLOCKS - 3, 0)
    assert found["freed_bytes"] == found["before_bytes"] - found["after_bytes"]
    assert answer("reindex", "-c", folder.config) == {"first_height": BLOCKS - 3, "last_height": BLOCKS}
    assert answer("verify", "--full", "--replay", "-c", folder.config)["ok"]
    refused = answer("export", "transactions", folder.folder / "x", "--from-height", 1, "-c", folder.config, code=Exit.ERROR)
    assert refused["error"]["data"]["oldest"] == BLOCKS - 3
    assert not (folder.folder / "x").exists()


def test_diff_of_folders_and_of_running_nodes(made: LedgerFolder, folder: LedgerFolder, tmp_path: Path) -> None:
    assert answer("diff", made.folder, folder.data_dir)["same"]
    with folder.running() as node:
        node.transfer(ADDRESSES[0], 5)
        node.commit()
    shutil.copytree(made.folder, tmp_path / "third")
    third = made.at(tmp_path / "third")
    with third.running() as node:
        node.commit()
    for other in (third.config, third.data_dir / STORE_NAME):
        found = answer("diff", folder.folder, other, code=Exit.ERROR)
        assert (found["first_differing_height"], found["state_height"]) == (BLOCKS + 1, BLOCKS + 1)
        assert found["keys"][0]["field"] == "accounts"
    with serve(third.data_dir / STORE_NAME) as served:
        assert answer("diff", folder.folder, f"http://127.0.0.1:{served.server.port}", code=Exit.ERROR) == found
    shown = run("diff", folder.folder, third.folder)
    assert f"the first block that differs is {BLOCKS + 1}" in shown.stdout
    assert "asset.accounts" in shown.stdout


def test_a_snapshot_makes_another_node_the_same(made: LedgerFolder, tmp_path: Path) -> None:
    """JSON alone on stdout, and a restored node is whole, agrees with the first, and goes on indexing from where it begins."""
    saved = answer("snapshot", tmp_path / "file", "-c", made.config)
    assert saved["height"] == BLOCKS
    other = made.at(tmp_path / "other")
    other.folder.mkdir()
    for name in ("config.toml", "genesis.json"):
        shutil.copy(made.folder / name, other.folder)
    assert answer("restore", tmp_path / "file", "-c", other.config)["height"] == BLOCKS
    assert answer("verify", "--full", "-c", other.config)["held"]["bodies_from"] == BLOCKS + 1
    assert answer("diff", made.folder, other.folder)["same"]
    with other.running() as node:
        node.transfer(ADDRESSES[0], 5)
        node.commit()
        assert node.lists.oldest() == BLOCKS + 1
    assert answer("verify", "--full", "--replay", "-c", other.config)["replayed"]["first"] == BLOCKS + 1


def test_a_node_that_runs_is_refused_with_the_next_step(folder: LedgerFolder) -> None:
    with folder.running():
        for command in (["verify"], ["prune"], ["reindex"], ["export", "blocks"]):
            result = run(*command, "-c", folder.config)
            assert result.exit_code == Exit.ERROR
            assert "stop the node" in result.stderr
            assert result.stdout == ""
        refused = run("diff", folder.folder, folder.folder)
        assert "stop the node" in refused.stderr


@pytest.mark.parametrize("args", [["verify", "-c", "nowhere.toml"], ["diff", "nowhere", "nowhere"]])
def test_what_is_not_there_is_said(args: list[str]) -> None:
    result = run(*args)
    assert result.exit_code == Exit.ERROR
    assert "nowhere" in result.stderr

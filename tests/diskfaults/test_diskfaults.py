"""A share of the damaged folders with a fixed seed, and the proof that they find what they are there for."""

import os
import tempfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest

from node.damage import STORE_NAME, open_or_heal
from node.level_files import Scan
from node.storage import open_block_store
from tests.diskfaults.original import Original, chain_on, commit_block, make_original
from tests.diskfaults.play import Found, Outcome, WrongError, play
from tests.one_driver import GENESIS_HASH

COUNT = int(os.environ.get("DISKFAULTS", "200"))
SEED = 2_000_000
RESYNC_EVERY = 25


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> Original:
    """The chain, made once for the tests of this file."""
    return make_original(tmp_path_factory.mktemp("diskfaults") / "original")


def run(original: Original, seed: int, *, resync: bool = False) -> Outcome:
    with tempfile.TemporaryDirectory(dir=original.folder.parent) as folder:
        return play(original, Path(folder), seed, resync=resync)


def test_after_damage_reads_are_right_or_refused_and_the_node_heals(original: Original) -> None:
    outcomes = [run(original, seed, resync=seed % RESYNC_EVERY == 0) for seed in range(SEED, SEED + COUNT)]
    counts = Counter(outcome.found for outcome in outcomes)
    assert set(counts) >= {Found.WHOLE, Found.NOT_OPENED, Found.NOT_READ}, "each of them happened"
    assert all(outcome.said for outcome in outcomes if outcome.found in (Found.NOT_OPENED, Found.NOT_READ))


def test_a_log_that_ends_in_its_last_write_is_an_earlier_height(tmp_path: Path) -> None:
    """Whether random damage ever leads there depends on when LevelDB put its tables together; here it does not do that."""
    blocks = 3
    with chain_on(open_block_store(tmp_path / STORE_NAME, GENESIS_HASH)) as chain:
        for _ in range(blocks):
            commit_block(chain)
    log = max((tmp_path / STORE_NAME).glob("*.log"))
    log.write_bytes(log.read_bytes()[:-1])
    with chain_on(open_or_heal(tmp_path, GENESIS_HASH, "refuse")) as chain:
        assert chain.tip.height == blocks - 1


def test_a_seed_is_the_same_damage_again(original: Original) -> None:
    assert run(original, SEED + 3).fault == run(original, SEED + 3).fault


def wrong(original: Original, seeds: range) -> list[str]:
    """Return what went wrong with these seeds."""
    found = []
    for seed in seeds:
        try:
            run(original, seed)
        except (WrongError, AssertionError) as error:
            found.append(str(error))
    return found


def test_without_the_look_through_the_files_records_are_lost_unnoticed(
    original: Original, monkeypatch: pytest.MonkeyPatch
) -> None:
    nothing: Callable[..., Scan] = lambda _folder, **_options: Scan()  # noqa: E731
    monkeypatch.setattr("node.storage.scan", nothing)
    assert "synced blocks were lost without a word" in wrong(original, range(SEED, SEED + 60))

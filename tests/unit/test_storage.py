"""What the disk may do to us: the three LevelDB facts that decide how it is opened, and the sign-state's two copies."""

from pathlib import Path

import plyvel
import pytest

from consensus.messages import Prepare
from consensus.sign_state import SignState
from ledger.types import BlockHash, Height, View
from node.block_store import StorageError
from node.sign_file import NAMES, open_sign_file
from node.storage import LevelStore, open_block_store


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 0x10
    path.write_bytes(bytes(data))


def only(directory: Path, pattern: str) -> Path:
    (found,) = directory.glob(pattern)
    return found


def test_fact_1_by_default_a_flipped_bit_in_the_log_silently_loses_synced_records(tmp_path: Path) -> None:
    db = plyvel.DB(str(tmp_path / "db"), create_if_missing=True)
    for n in range(100):
        db.put(b"key %d" % n, b"value" * 10, sync=True)
    db.close()
    flip(only(tmp_path / "db", "*.log"), 1_000)
    db = plyvel.DB(str(tmp_path / "db"))
    assert len(list(db.iterator())) < 100, "lost, and nobody was told"
    db.close()


def test_fact_1_we_refuse_to_open_it(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    for n in range(100):
        store.apply({b"key %d" % n: b"value" * 10})
    store.close()
    flip(only(tmp_path / "db", "*.log"), 1_000)
    with pytest.raises(StorageError) as caught:
        LevelStore(tmp_path / "db")
    assert caught.value.reason == "store_corrupt"


def make_table(directory: Path) -> Path:
    db = plyvel.DB(str(directory), create_if_missing=True, compression=None)
    for n in range(1_000):
        db.put(b"key %04d" % n, b"value" * 10)
    db.compact_range()
    db.close()
    return only(directory, "*.ldb")


def test_fact_2_by_default_a_flipped_bit_in_a_table_returns_a_wrong_value(tmp_path: Path) -> None:
    table = make_table(tmp_path / "db")
    flip(table, table.read_bytes().index(b"value") + 2)
    db = plyvel.DB(str(tmp_path / "db"))
    assert db.get(b"key 0000") not in (None, b"value" * 10), "wrong, and nobody was told"
    db.close()


def test_fact_2_we_refuse_to_read_it(tmp_path: Path) -> None:
    table = make_table(tmp_path / "db")
    flip(table, table.read_bytes().index(b"value") + 2)
    store = LevelStore(tmp_path / "db")
    with pytest.raises(plyvel.CorruptionError):
        store.get(b"key 0000")
    with pytest.raises(plyvel.CorruptionError):
        list(store.iterate(b"key"))
    store.close()


def test_fact_3_a_plain_batch_commits_even_after_an_exception(tmp_path: Path) -> None:
    db = plyvel.DB(str(tmp_path / "db"), create_if_missing=True)

    def fail_half_way() -> None:
        with db.write_batch() as batch:
            batch.put(b"half", b"done")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail_half_way()
    assert db.get(b"half") == b"done"
    db.close()


def test_fact_3_ours_does_not(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    with pytest.raises(TypeError):
        store.apply({b"half": b"done", b"bad": 7})  # type: ignore[dict-item]
    assert store.get(b"half") is None
    store.apply({b"a1": b"x", b"a2": b"y", b"b": b"z", b"gone": None})
    assert dict(store.iterate(b"a")) == {b"a1": b"x", b"a2": b"y"}
    store.close()


def test_a_second_process_on_the_same_folder_is_refused(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    with pytest.raises(StorageError) as caught:
        LevelStore(tmp_path / "db")
    assert caught.value.reason == "store_locked"
    store.close()


def test_store_of_another_chain_is_refused(tmp_path: Path) -> None:
    store = open_block_store(tmp_path, b"a" * 32)
    store.raw.apply({b"mgenesis": b"a" * 32})
    store.close()
    with pytest.raises(StorageError) as caught:
        open_block_store(tmp_path, b"b" * 32)
    assert caught.value.reason == "wrong_chain"
    open_block_store(tmp_path, b"a" * 32).close()


# ---- the sign-state


def state_at(height: int) -> SignState:
    return SignState().signed(Prepare(Height(height), View(0), BlockHash(b"b" * 32)), None)


def saved(directory: Path, *heights: int) -> None:
    file = open_sign_file(directory)
    file.load()
    for height in heights:
        file.save(state_at(height))
    file.close()


def load(directory: Path) -> SignState | None:
    file = open_sign_file(directory)
    state = file.load()
    file.close()
    return state


def test_sign_state_comes_back(tmp_path: Path) -> None:
    assert load(tmp_path) is None
    saved(tmp_path, 1, 2, 3)
    assert load(tmp_path) == state_at(3)
    saved(tmp_path, 4)
    assert load(tmp_path) == state_at(4)


@pytest.mark.parametrize("name", NAMES)
def test_one_copy_is_enough_whatever_happens_to_the_other(tmp_path: Path, name: str) -> None:
    for damage in (
        lambda p: p.write_bytes(b""),
        lambda p: p.write_bytes(p.read_bytes()[:40]),
        lambda p: flip(p, 50),
        Path.unlink,
    ):
        saved(tmp_path, 1, 2)
        damage(tmp_path / name)
        assert load(tmp_path) == state_at(2)


def test_every_flipped_bit_of_a_copy_is_noticed(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    good = (tmp_path / NAMES[0]).read_bytes()
    (tmp_path / NAMES[1]).unlink()
    for bit in range(len(good) * 8):
        bad = bytearray(good)
        bad[bit // 8] ^= 1 << bit % 8
        (tmp_path / NAMES[0]).write_bytes(bytes(bad))
        assert load(tmp_path) is None


def test_both_copies_bad_is_lost_and_not_a_fresh_start(tmp_path: Path) -> None:
    saved(tmp_path, 5)
    for name in NAMES:
        flip(tmp_path / name, 50)
    assert load(tmp_path) is None


@pytest.mark.parametrize("name", NAMES)
def test_stale_copy_is_renewed_before_anything_is_signed_again(tmp_path: Path, name: str) -> None:
    """After a crash between the two writes the newer state is used and its votes leave: the older must be gone by then."""
    saved(tmp_path, 1)
    older = (tmp_path / name).read_bytes()
    saved(tmp_path, 2)
    (tmp_path / name).write_bytes(older)
    assert load(tmp_path) == state_at(2)
    for other in NAMES:
        if other != name:
            flip(tmp_path / other, 50)
    assert load(tmp_path) == state_at(2)


def test_crash_between_the_two_writes_leaves_the_newer_one(tmp_path: Path) -> None:
    saved(tmp_path, 1)
    older = (tmp_path / NAMES[1]).read_bytes()
    saved(tmp_path, 2)
    (tmp_path / NAMES[1]).write_bytes(older)
    assert load(tmp_path) == state_at(2)

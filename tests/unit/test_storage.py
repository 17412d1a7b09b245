"""What the disk may do to us: the LevelDB facts that decide how it is used, its errors, and the sign-state's two copies."""

import re
import resource
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import plyvel
import pytest

from consensus.messages import Prepare
from consensus.sign_state import SignState
from ledger.types import BlockHash, Height, View
from node.block_store import StorageError
from node.level_files import scan
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


def test_fact_2_we_refuse_to_read_it_and_say_where(tmp_path: Path) -> None:
    table = make_table(tmp_path / "db")
    flip(table, table.read_bytes().index(b"value", 30_000))
    told: list[StorageError] = []
    store = LevelStore(tmp_path / "db", told.append)
    with pytest.raises(StorageError) as caught:
        sum(1 for n in range(1_000) if store.get(b"key %04d" % n))
    assert caught.value.reason == "store_corrupt"
    where = rf"{tmp_path / 'db'}, {table.name} at byte (\d+): checksum mismatch of a block of (\d+) bytes: "
    said = re.fullmatch(rf"cannot read [0-9a-f]+ in {where}Corruption: block checksum mismatch", caught.value.message)
    assert said is not None
    assert 30_000 - 5_000 < int(said[1]) <= 30_000 <= int(said[1]) + int(said[2]) + 100
    with pytest.raises(StorageError):
        list(store.iterate(b"key"))
    assert [error.reason for error in told] == ["store_corrupt"] * 2
    assert told[0] is caught.value
    store.close()


def test_fact_4_plyvels_iterator_takes_damage_behind_the_last_readable_pair_for_the_end(tmp_path: Path) -> None:
    table = make_table(tmp_path / "db")
    flip(table, table.read_bytes().rindex(b"value"))
    db = plyvel.DB(str(tmp_path / "db"), paranoid_checks=True)
    found = list(db.iterator(prefix=b"key", verify_checksums=True))
    assert 0 < len(found) < 1_000, "the last ones are missing, and nobody was told"
    db.close()


def test_fact_4_ours_does_not(tmp_path: Path) -> None:
    table = make_table(tmp_path / "db")
    flip(table, table.read_bytes().rindex(b"value"))
    store = LevelStore(tmp_path / "db")
    found: list[bytes] = []
    with pytest.raises(StorageError) as caught:
        found.extend(key for key, _ in store.iterate(b"key"))
    assert 0 < len(found) < 1_000
    assert caught.value.reason == "store_corrupt"
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


def test_iteration_keeps_to_prefix_and_start_and_sees_what_stood_at_the_call(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.apply({b"a1": b"x", b"b1": b"1", b"b2": b"2", b"b3": b"3", b"c": b"z"})
    pairs = store.iterate(b"b", b"b2")
    store.apply({b"b2": b"changed", b"b4": b"new"})
    assert list(pairs) == [(b"b2", b"2"), (b"b3", b"3")]
    assert [key for key, _ in store.iterate(b"b", b"a")] == [b"b1", b"b2", b"b3", b"b4"]
    assert list(store.iterate(b"b", b"bz")) == list(store.iterate(b"b", b"c")) == list(store.iterate(b"d")) == []
    assert [key for key, _ in store.iterate()] == [b"a1", b"b1", b"b2", b"b3", b"b4", b"c"]
    next(store.iterate())  # one that is not read to its end keeps nothing open
    store.close()


# ---- a folder belongs to one


def test_folder_that_this_process_has_open_is_refused(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            LevelStore(tmp_path / "db")
        assert caught.value.reason == "store_locked"
    assert open_in_another_process(tmp_path / "db") == "store_locked", "the attempts did not give the lock away"
    store.close()
    assert open_in_another_process(tmp_path / "db") == "opened"
    LevelStore(tmp_path / "db").close()


def open_in_another_process(path: Path) -> str:
    code = (
        "import sys; from pathlib import Path; from node.storage import LevelStore; from node.block_store import StorageError\n"
        "try: LevelStore(Path(sys.argv[1])).close(); print('opened')\n"
        "except StorageError as error: print(error.reason)"
    )
    return subprocess.run(
        [sys.executable, "-c", code, str(path)], cwd=Path(__file__).parents[2], capture_output=True, text=True, check=True
    ).stdout.strip()


# ---- what LevelDB's errors become


@contextmanager
def files_up_to(limit_bytes: int) -> Iterator[None]:
    """The kernel refuses this process every byte beyond this size of a file: EFBIG."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_full_disk_is_told_and_nothing_is_written_until_the_log_was_read_anew(tmp_path: Path) -> None:
    """What was acknowledged is there, what was refused is not, though the log ends in half a record."""
    told: list[StorageError] = []
    store = LevelStore(tmp_path / "db", told.append)
    for n in range(10):
        store.apply({b"key %d" % n: bytes(5_000)})
    with files_up_to(52_000), pytest.raises(StorageError) as caught:
        store.apply({b"too much": bytes(5_000)})
    assert caught.value.reason == "disk_full"
    with pytest.raises(StorageError) as again:
        store.apply({b"there is room again": b""})
    assert again.value is caught.value
    assert told == [caught.value]
    assert store.get(b"key 9") == bytes(5_000), "reads go on"
    store.close()
    store = LevelStore(tmp_path / "db")
    assert [key for key, _ in store.iterate()] == [b"key %d" % n for n in range(10)]
    store.apply({b"more": b"x"})
    store.close()


def test_fact_5_leveldb_alone_writes_on_behind_half_a_record_and_loses_it(tmp_path: Path) -> None:
    """Why no write is tried after one has failed."""
    db = plyvel.DB(str(tmp_path / "db"), create_if_missing=True)
    with files_up_to(3_000), pytest.raises(plyvel.IOError):
        db.put(b"too much", bytes(5_000), sync=True)
    db.put(b"acknowledged", b"x", sync=True)
    db.close()
    assert [item.why for item in scan(tmp_path / "db").damage] == ["the length is damaged: a whole record follows at byte 3000"]
    db = plyvel.DB(str(tmp_path / "db"), paranoid_checks=True)
    assert list(db.iterator()) == [], "lost, and nobody was told"
    db.close()


def test_full_disk_at_the_start_is_not_taken_for_damage(tmp_path: Path) -> None:
    store = LevelStore(tmp_path / "db")
    store.apply({b"key": bytes(50_000)})
    store.close()
    with files_up_to(10_000), pytest.raises(StorageError) as caught:
        LevelStore(tmp_path / "db")
    assert caught.value.reason == "disk_full"
    store = LevelStore(tmp_path / "db")
    assert store.get(b"key") == bytes(50_000)
    store.close()


def test_fact_6_plyvel_finds_nothing_in_a_table_that_vanished(tmp_path: Path) -> None:
    table = make_table(tmp_path / "db")
    db = plyvel.DB(str(tmp_path / "db"), paranoid_checks=True)
    table.unlink()
    assert db.get(b"key 0000", verify_checksums=True) is None
    db.close()


def test_fact_6_we_refuse_to_say_that_there_is_nothing(tmp_path: Path) -> None:
    table = make_table(tmp_path / "db")
    store = LevelStore(tmp_path / "db")
    assert store.get(b"a key before all in tables") is None
    store.apply({b"new": b"x"})
    table.unlink()
    with pytest.raises(StorageError) as caught:
        store.apply({b"key 0000": b"on the belief that there was nothing"})
    assert caught.value.reason == "store_corrupt"
    with pytest.raises(StorageError):
        list(store.iterate())
    with pytest.raises(StorageError):  # some milliseconds later, in which nothing can be written
        list(iter(lambda: store.get(b"key 0000"), b"never"))
    assert store.get(b"new") == b"x"
    store.close()


def test_folder_that_cannot_be_made_is_an_error_of_the_disk(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StorageError) as caught:
        LevelStore(tmp_path / "file" / "db")
    assert caught.value.reason == "store_io"


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

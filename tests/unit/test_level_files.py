"""What LevelDB silently does with files it does not expect, and that the look through them beforehand finds each case."""

import shutil
import struct
import time
from collections.abc import Callable
from pathlib import Path

import plyvel
import pytest

from node.block_store import StorageError
from node.level_files import locate, scan
from node.level_log import BLOCK_BYTES, HEADER_BYTES, crc32c, mask, walk
from node.level_manifest import EditError, read_manifest, read_varint
from node.level_tables import TABLE_MAGIC
from node.storage import LevelStore

RECORDS = 60
GROWN = 2_000
VALUE = b"value" * 10


def make_log_only(folder: Path) -> Path:
    """Return the log of a database that has nothing but its log."""
    db = plyvel.DB(str(folder), create_if_missing=True)
    for n in range(RECORDS):
        db.put(b"key %03d" % n, VALUE)
    db.close()
    return only(folder, "*.log")


def make_grown(folder: Path) -> Path:
    """Return the MANIFEST of a database that has run for a while: two logs became tables, the third goes on."""
    db = plyvel.DB(str(folder), create_if_missing=True, compression=None)
    for n in range(GROWN):
        if n in (700, 1_400):
            db.compact_range(start=b"x", stop=b"y")  # nothing is there, but first the log becomes a table
        db.put(b"key %05d" % n, VALUE)
    db.close()
    assert len(list(folder.glob("*.ldb"))) == 2
    return only(folder, "MANIFEST-*")


def only(folder: Path, pattern: str) -> Path:
    (found,) = folder.glob(pattern)
    return found


def keys_after(folder: Path) -> list[bytes]:
    """Return what LevelDB believes was all, opened as carefully as it can be."""
    db = plyvel.DB(str(folder), create_if_missing=True, paranoid_checks=True)
    keys = [key for key, _ in db.iterator(verify_checksums=True)]
    db.close()
    return keys


def record_offsets(data: bytes) -> list[int]:
    return [offset for offset, _ in walk(data, keep_bytes=0, checksums=False).records]


def patch(path: Path, offset: int, new: bytes) -> None:
    data = path.read_bytes()
    path.write_bytes(data[:offset] + new + data[offset + len(new) :])


# ---- what LevelDB does, and that we see it coming


def lengthen(path: Path, record: int) -> None:
    """Flip a high bit of a record's length, so that it seems to lead over the end of the file."""
    offset = record_offsets(path.read_bytes())[record] + 5
    patch(path, offset, bytes([path.read_bytes()[offset] ^ 0x20]))


def test_fact_a_flipped_length_drops_every_synced_record_after_it_silently(tmp_path: Path) -> None:
    log = make_log_only(tmp_path)
    lengthen(log, 40)
    (found,) = scan(tmp_path).damage
    assert (found.file, found.offset) == (log.name, record_offsets(log.read_bytes())[39] + 7 + 8 + 4 + 1 + 1 + 7 + 1 + 50)
    assert "the length is damaged" in found.why
    assert len(keys_after(tmp_path)) == 40, "20 synced records are gone, and nobody was told"


def test_fact_a_zeroed_range_is_skipped_silently(tmp_path: Path) -> None:
    log = make_log_only(tmp_path)
    offset = record_offsets(log.read_bytes())[30]
    patch(log, offset, bytes(100))
    (found,) = scan(tmp_path).damage
    assert (found.offset, found.why) == (offset, "a zero-filled range")
    assert len(keys_after(tmp_path)) == 30


def test_fact_without_its_log_a_database_opens_without_its_records(tmp_path: Path) -> None:
    log = make_log_only(tmp_path)
    log.unlink()
    (found,) = scan(tmp_path).damage
    assert str(found) == f"{log.name}: missing, and the MANIFEST needs it"
    assert keys_after(tmp_path) == []


def test_fact_without_current_a_new_database_is_made_and_the_tables_are_deleted(tmp_path: Path) -> None:
    make_grown(tmp_path)
    only(tmp_path, "*.log").unlink()
    (tmp_path / "CURRENT").unlink()
    (found,) = scan(tmp_path).damage
    assert found.file == "CURRENT"
    assert found.why.startswith("missing beside other files")
    assert len(list(tmp_path.glob("*.ldb"))) == 2
    assert keys_after(tmp_path) == []
    assert list(tmp_path.glob("*.ldb")) == []


def test_fact_a_lost_end_of_the_manifest_leaves_a_hole_in_the_middle(tmp_path: Path) -> None:
    """The edit that said which table took over from a log is lost, the log was deleted: newer records stay, older ones go."""
    manifest = make_grown(tmp_path)
    data = manifest.read_bytes()
    manifest.write_bytes(data[: record_offsets(data)[-1] + 20])
    found = scan(tmp_path)
    assert [str(item) for item in found.damage] == ["000004.log: missing, and the MANIFEST needs it"]
    assert [item.file for item in found.torn] == [manifest.name]
    left = keys_after(tmp_path)
    assert left == [b"key %05d" % n for n in (*range(700), *range(1_400, GROWN))]


def test_fact_a_lost_end_of_an_older_log_leaves_a_hole_in_the_middle(tmp_path: Path) -> None:
    """Two logs are there when the process dies while the older one is being made into a table."""
    make_two_logs(tmp_path)
    older, newer = sorted(tmp_path.glob("*.log"))
    for cut in (record_offsets(older.read_bytes())[40], record_offsets(older.read_bytes())[40] + 30):
        copied = tmp_path / f"cut at {cut}"
        shutil.copytree(tmp_path, copied, ignore=shutil.ignore_patterns("cut at *"))
        (copied / older.name).write_bytes(older.read_bytes()[:cut])
        assert any(item.file in (older.name, newer.name) for item in scan(copied).damage), "numbers of changes are missing"
        left = keys_after(copied)
        assert len(left) == 41
        assert left[-1] == b"key 059"


def make_two_logs(folder: Path) -> None:
    """Make the folder of a process that died while one log was being made into a table and the next one was written."""
    log = make_log_only(folder)
    data = log.read_bytes()
    last = record_offsets(data)[-1]
    log.write_bytes(data[:last])
    (folder / f"{int(log.stem) + 1:06}.log").write_bytes(data[last:])
    assert scan(folder).damage == []


# ---- what a healthy folder looks like


def test_healthy_folders_are_whole_at_every_age(tmp_path: Path) -> None:
    assert scan(tmp_path).damage == []
    for n in range(6):
        db = plyvel.DB(str(tmp_path), create_if_missing=True, write_buffer_size=64 * 1024)
        for key in range(700 * n):
            db.put(b"%d %d" % (n, key), VALUE)
        db.delete(b"1 1")
        if n == 3:
            db.compact_range()
        db.close()
        found = scan(tmp_path, check_logs=True)
        assert (found.damage, found.torn) == ([], [])
    sizes = [path.stat().st_size for path in tmp_path.glob("*.ldb")]  # one that was just replaced may still be there
    assert 0 < found.tables <= len(sizes)
    assert 0 < found.table_bytes <= sum(sizes)
    assert found.log_bytes == sum(path.stat().st_size for path in tmp_path.glob("*.log"))
    assert found.log_records > 0


def test_folder_of_a_killed_first_start_is_a_fresh_one(tmp_path: Path) -> None:
    (tmp_path / "MANIFEST-000001").write_bytes(b"")
    (tmp_path / "LOCK").touch()
    assert scan(tmp_path).damage == []


@pytest.mark.parametrize("missing", range(1, 40))
def test_cut_off_last_write_is_reported_and_not_refused(tmp_path: Path, missing: int) -> None:
    """What a power failure leaves of a write that was not synced, so not acknowledged."""
    log = make_log_only(tmp_path)
    data = log.read_bytes()
    log.write_bytes(data[:-missing])
    found = scan(tmp_path)
    assert found.damage == []
    assert [(item.file, item.offset) for item in found.torn] == [(log.name, record_offsets(data)[-1])]
    assert len(keys_after(tmp_path)) == RECORDS - 1


def test_cut_off_write_over_several_blocks_is_torn_where_it_began(tmp_path: Path) -> None:
    db = plyvel.DB(str(tmp_path), create_if_missing=True)
    db.put(b"small", VALUE)
    db.put(b"big", bytes(3 * BLOCK_BYTES))
    db.close()
    log = only(tmp_path, "*.log")
    for size in (log.stat().st_size - 5, 2 * BLOCK_BYTES, BLOCK_BYTES + 3, BLOCK_BYTES):
        log.write_bytes(log.read_bytes()[:size])
        found = scan(tmp_path)
        assert found.damage == []
        assert found.torn[0].offset == HEADER_BYTES + 12 + 1 + 1 + 5 + 1 + len(VALUE)


def test_log_that_ends_before_what_the_manifest_knows_is_refused(tmp_path: Path) -> None:
    """The MANIFEST notes the last change whenever it is written; a log that ends below it lost synced records."""
    log = make_log_only(tmp_path)
    append_edit(only(tmp_path, "MANIFEST-*"), b"\x04" + varint(RECORDS))
    assert scan(tmp_path).damage == []
    data = log.read_bytes()
    log.write_bytes(data[: record_offsets(data)[-1]])
    assert str(scan(tmp_path).damage[0]).endswith("ends with change 59, but the MANIFEST knows of 60")


def test_log_that_begins_late_is_refused(tmp_path: Path) -> None:
    log = make_log_only(tmp_path)
    append_edit(only(tmp_path, "MANIFEST-*"), b"\x04" + varint(10))
    data = log.read_bytes()
    log.write_bytes(data[record_offsets(data)[10] :])
    assert scan(tmp_path).damage == [], "the first ten may be in tables"
    log.write_bytes(data[record_offsets(data)[11] :])
    assert "goes on with change 12 where 11 is due" in scan(tmp_path).damage[0].why


# ---- every kind of damage has its words

Damage = Callable[[Path], None]


def cut(pattern: str, by: int) -> Damage:
    def damage(folder: Path) -> None:
        path = min(folder.glob(pattern))
        path.write_bytes(path.read_bytes()[:-by])

    return damage


def write(pattern: str, offset: int, data: bytes) -> Damage:
    def damage(folder: Path) -> None:
        path = min(folder.glob(pattern))
        patch(path, offset % path.stat().st_size, data)

    return damage


def remove(pattern: str) -> Damage:
    return lambda folder: min(folder.glob(pattern)).unlink()


@pytest.mark.parametrize(
    ("damage", "why"),
    [
        (remove("*.ldb"), "missing, and the MANIFEST needs it"),
        (cut("*.ldb", 1), "but the MANIFEST says"),
        (write("*.ldb", -1, b"\0"), "the magic number at its end is wrong"),
        (write("*.ldb", -48, b"\xff"), "its end does not name the blocks before it"),
        (write("*.ldb", -48, b"\xff" * 40), "its end does not name the blocks before it"),
        (remove("MANIFEST-*"), "which is missing"),
        (write("MANIFEST-*", 20, b"?"), "checksum mismatch"),
        (cut("MANIFEST-*", 10), "needs it"),
        (write("MANIFEST-*", 5, b"\xff"), "over the end of its block"),
        (write("CURRENT", 9, b"9"), "which is missing"),
        (write("CURRENT", 0, b"?"), "names no MANIFEST"),
        (cut("CURRENT", 1), "names no MANIFEST"),
        (write("*.log", 6, b"\x09"), "at byte 0: no record has kind 9"),
        (write("*.log", 6, b"\x04"), "at byte 0: a record without its beginning"),
        (write("*.log", 6, b"\x02"), "at byte 0: checksum mismatch"),
    ],
)
def test_damage_is_named(tmp_path: Path, damage: Damage, why: str) -> None:
    make_grown(tmp_path)
    damage(tmp_path)
    found = scan(tmp_path)
    assert why in str(found.damage[0])
    with pytest.raises(StorageError) as caught:
        LevelStore(tmp_path)
    assert caught.value.reason == "store_corrupt"
    assert why in caught.value.message


def test_every_flipped_bit_of_a_log_is_refused_with_its_place(tmp_path: Path) -> None:
    """By the look through the files or by LevelDB, whose checksums cover what the framing does not show; in each of 8 bits."""
    folder = tmp_path / "db"
    log = make_log_only(folder)
    files = {path: path.read_bytes() for path in folder.iterdir()}
    good = files[log]
    offsets = record_offsets(good)
    for offset in (*range(offsets[0], offsets[1]), *range(offsets[-2], len(good))):
        patch(log, offset, bytes([good[offset] ^ 1 << offset % 8]))
        with pytest.raises(StorageError) as caught:
            LevelStore(folder)
        assert caught.value.reason == "store_corrupt"
        assert f"{log.name} at byte {max(each for each in offsets if each <= offset)}" in caught.value.message
        for path, content in files.items():
            path.write_bytes(content)


def test_damaged_block_is_located(tmp_path: Path) -> None:
    make_grown(tmp_path)
    first, second = sorted(tmp_path.glob("*.ldb"))
    assert locate(tmp_path, b"key 00000") is None
    data = first.read_bytes()
    patch(first, data.index(b"key 00000") + 20, b"?")
    patch(second, data.rindex(b"value") + 2, b"?")
    found = locate(tmp_path, b"key 00000")
    assert str(found).startswith(f"{first.name} at byte 0: checksum mismatch of a block of 4")
    assert locate(tmp_path, b"a") == found, "a read on from before all meets it first"
    assert locate(tmp_path, b"key 00600") is None
    other = locate(tmp_path, b"key 01399")
    assert other is not None
    assert other.file == second.name
    patch(first, len(data) - 60, b"????????????")
    assert "index block" in str(locate(tmp_path, b"key 00600"))
    assert locate(tmp_path, b"zzz") is None


def test_nothing_is_changed_by_looking(tmp_path: Path) -> None:
    make_grown(tmp_path)
    before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
    scan(tmp_path, check_logs=True)
    assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before


# ---- the formats


def test_crc32c_vectors() -> None:
    """RFC 3720, appendix B.4."""
    assert crc32c(bytes(32)) == 0x8A9136AA
    assert crc32c(b"\xff" * 32) == 0x62A8AB43
    assert crc32c(bytes(range(32))) == 0x46DD794E
    assert crc32c(b"123456789") == 0xE3069283


def test_padding_at_the_end_of_a_block_must_be_zero() -> None:
    payload = bytes([1]) * (BLOCK_BYTES - 2 * HEADER_BYTES + 2)
    record = struct.pack("<IHB", mask(crc32c(b"\1" + payload)), len(payload), 1) + payload
    tail = struct.pack("<IHB", mask(crc32c(b"\1")), 0, 1)
    room = BLOCK_BYTES - len(record)
    assert 0 < room < HEADER_BYTES
    whole = walk(record + bytes(room) + tail, keep_bytes=4, checksums=True)
    assert (whole.fault, whole.torn, whole.records) == (None, None, [(0, b"\1\1\1\1"), (BLOCK_BYTES, b"")])
    dirty = walk(record + b"x" * room + tail, keep_bytes=4, checksums=True)
    assert dirty.fault is not None
    assert dirty.fault.why == "the padding at a block's end is not zero"


def test_edits_that_make_no_sense_are_refused_with_their_place() -> None:
    for edit in (b"\x0a", b"\x02", b"\x02\xff", b"\x01\x7f", b"\x01\x03abc", b"\x02" + b"\x80" * 10):
        with pytest.raises(EditError) as caught:
            read_manifest([(0, b"\x02\x05"), (77, edit)])
        assert caught.value.offset == 77
    assert read_varint(b"\xac\x02", 0) == (300, 2)


def test_a_large_healthy_folder_is_looked_through_quickly(tmp_path: Path) -> None:
    """A log of 16 MiB and 1,000 tables took 0.04 s; this bound is for a busy machine."""
    tables = 1_000
    db = plyvel.DB(str(tmp_path), create_if_missing=True, write_buffer_size=32 * 1024 * 1024)
    for n in range(16):
        with db.write_batch() as batch:
            for key in range(256):
                batch.put(b"%d %d" % (n, key), bytes(4_000))
    db.close()
    add_tables(tmp_path, tables)
    took_s = []
    for _ in range(5):
        began = time.perf_counter()
        found = scan(tmp_path)
        took_s.append(time.perf_counter() - began)
        assert (found.damage, found.tables, found.log_bytes > 15 * 1024 * 1024) == ([], tables, True)
    assert min(took_s) < 1, "the fastest, for other work on the machine only ever adds"


def add_tables(folder: Path, count: int) -> None:
    """Add tables that are empty but for their ends, and an edit that names them."""
    meta, index = bytes(8 + 5), bytes(8 + 5)
    table = meta + index + (b"\x00\x08" + b"\x0d\x08").ljust(40, b"\0") + TABLE_MAGIC
    edit = b""
    for number in range(100, 100 + count):
        (folder / f"{number:06}.ldb").write_bytes(table)
        edit += b"\x07\x01" + varint(number) + varint(len(table)) + b"\x01a\x01b"
    append_edit(only(folder, "MANIFEST-*"), edit)


def append_edit(manifest: Path, edit: bytes) -> None:
    record = struct.pack("<IHB", mask(crc32c(b"\1" + edit)), len(edit), 1) + edit
    manifest.write_bytes(manifest.read_bytes() + record)


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 0x7F | 0x80]) + varint(value >> 7)

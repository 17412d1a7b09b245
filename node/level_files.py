"""What LevelDB's files must look like before LevelDB may open them: it silently drops, or even deletes, what it does not expect.

Without CURRENT it makes a new database and takes over or deletes the old one's files. Without the log that the MANIFEST names it
goes on without that log's records; when the end of the MANIFEST or of an older log is lost it can come up with a hole in the
middle, newer records beside missing older ones. `scan` finds each of these from the file names, the MANIFEST, the framing and the
sequence numbers of the logs, and the size and the end of every table; it changes nothing. Flipped bits in a log's payload or in a
table's blocks are left to LevelDB, which compares their checksums when it replays a log (paranoid checks) and when it reads.

Formats: LevelDB 1.22, log_format.md, table_format.md, write_batch.cc.
"""

import os
import re
import struct
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from node.level_log import Walk, walk
from node.level_manifest import EditError, Manifest, read_manifest
from node.level_tables import FOOTER_BYTES, TABLE_MAGIC, TRAILER_BYTES, find_damage, read_footer

CURRENT_NAME: Final = "CURRENT"

_BATCH_HEADER: Final = struct.Struct("<QI")  # the sequence number of a batch's first change, and how many changes it holds
_LOG: Final = re.compile(r"(\d+)\.log")
_TABLE: Final = re.compile(r"(\d+)\.(?:ldb|sst)")
_MANIFEST: Final = re.compile(r"MANIFEST-\d+")
_FIRST_MANIFEST: Final = "MANIFEST-000001"


@dataclass(frozen=True, slots=True)
class Finding:
    """Something found in a file, at a byte or as a whole."""

    file: str
    why: str
    offset: int | None = None

    def __str__(self) -> str:
        return f"{self.file}{'' if self.offset is None else f' at byte {self.offset}'}: {self.why}"


@dataclass(slots=True)
class Scan:
    """What a scan found. With `damage` the folder must not be opened.

    `torn` is what a power failure leaves of a write that was never synced, so never acknowledged: it is dropped.
    """

    damage: list[Finding] = field(default_factory=list)
    torn: list[Finding] = field(default_factory=list)
    tables: int = 0
    table_bytes: int = 0
    log_bytes: int = 0
    log_records: int = 0

    def blame(self, file: str, why: str, offset: int | None = None) -> None:
        """Add damage."""
        self.damage.append(Finding(file, why, offset))


def scan(folder: Path, *, check_logs: bool = False) -> Scan:
    """Return what is wrong with the LevelDB files in a folder that no process has open; one without a database is whole.

    `check_logs` also compares the logs' checksums, to say where LevelDB found them wrong (5 MB/s). Raises `OSError`.
    """
    found = Scan()
    names = set(os.listdir(folder))
    name = _name_of_manifest(folder, names, found)
    manifest = None if name is None else _read_manifest(folder, name, found)
    if manifest is not None:
        _check_tables(folder, names, manifest, found)
        _check_logs(folder, names, manifest, found, checksums=check_logs)
    return found


# ---- CURRENT and the MANIFEST


def _name_of_manifest(folder: Path, names: set[str], found: Scan) -> str | None:
    """Return the MANIFEST that CURRENT names; None without a database, or with a damaged CURRENT."""
    if CURRENT_NAME not in names:
        rest = sorted(name for name in names if any(form.fullmatch(name) for form in (_LOG, _TABLE, _MANIFEST)))
        if rest and rest != [_FIRST_MANIFEST]:  # that one alone: killed while the database was made, when it held nothing
            found.blame(CURRENT_NAME, f"missing beside other files of a database ({', '.join(rest[:3])}, ...)")
        return None
    content = (folder / CURRENT_NAME).read_bytes()
    name = content[:-1].decode("ascii", errors="replace")
    if content[-1:] != b"\n" or not _MANIFEST.fullmatch(name):
        found.blame(CURRENT_NAME, f"names no MANIFEST: {content[:40]!r}", 0)
    elif name not in names:
        found.blame(CURRENT_NAME, f"names {name}, which is missing", 0)
    else:
        return name
    return None


def _read_manifest(folder: Path, name: str, found: Scan) -> Manifest | None:
    data = (folder / name).read_bytes()
    walked = walk(data, keep_bytes=len(data), checksums=True)
    if not _is_whole(name, walked, found):
        return None
    try:
        manifest = read_manifest(walked.records)
    except EditError as error:
        found.blame(name, error.why, error.offset)
        return None
    if None in (manifest.log_number, manifest.last_sequence, manifest.next_file):
        found.blame(name, "ends before it says where the log begins", len(data))
        return None
    return manifest


def _is_whole(name: str, walked: Walk, found: Scan) -> bool:
    """Note how a walk ended. A torn end is no damage in itself: what must be there without it is looked for later."""
    if walked.fault is not None:
        found.blame(name, walked.fault.why, walked.fault.offset)
    elif walked.torn is not None:
        found.torn.append(Finding(name, "the last write was cut off before it was synced", walked.torn))
    return walked.fault is None


# ---- tables


def _check_tables(folder: Path, names: set[str], manifest: Manifest, found: Scan) -> None:
    files = {int(match[1]): name for name in names if (match := _TABLE.fullmatch(name))}
    for number, table in manifest.tables.items():
        name = files.get(number)
        if name is None:
            found.blame(f"{number:06}.ldb", "missing, and the MANIFEST needs it")
        elif problem := _table_problem(f"{folder}/{name}", table.size_bytes):
            found.blame(name, problem[1], problem[0])
    found.tables, found.table_bytes = len(manifest.tables), sum(table.size_bytes for table in manifest.tables.values())


def _table_problem(path: str, expected_bytes: int) -> tuple[int, str] | None:
    """Return where and why a table cannot be what the MANIFEST says."""
    handle = os.open(path, os.O_RDONLY)
    try:
        size = os.fstat(handle).st_size
        footer = os.pread(handle, FOOTER_BYTES, max(0, size - FOOTER_BYTES))
    finally:
        os.close(handle)
    if size != expected_bytes:
        return min(size, expected_bytes), f"{size} bytes long, but the MANIFEST says {expected_bytes}"
    if footer[-len(TABLE_MAGIC) :] != TABLE_MAGIC:
        return size - len(TABLE_MAGIC), "the magic number at its end is wrong"
    return None if _footer_fits(footer, size) else (size - FOOTER_BYTES, "its end does not name the blocks before it")


def _footer_fits(footer: bytes, size: int) -> bool:
    """Return whether the two last blocks, as the footer has them, are what stands before it."""
    try:
        meta, index = read_footer(footer)
    except ValueError:
        return False
    return (sum(meta) + TRAILER_BYTES, sum(index) + TRAILER_BYTES) == (index[0], size - FOOTER_BYTES)


def locate(folder: Path, key: bytes) -> Finding | None:
    """Return the damaged block in a table that a read at `key`, or on from it, met; None when none is found. Raises `OSError`.

    The folder may be in use.
    """
    ignored = Scan()
    names = set(os.listdir(folder))
    name = _name_of_manifest(folder, names, ignored)
    manifest = None if name is None else _read_manifest(folder, name, ignored)
    tables = {} if manifest is None else manifest.tables
    hit = [number for number, table in tables.items() if table.first <= key <= table.last]
    behind = sorted((table.first, number) for number, table in tables.items() if table.first > key)
    for number in (*hit, *(number for _, number in behind[:1])):
        path = folder / f"{number:06}.ldb"
        if path.name in names and (fault := find_damage(path, key)):
            return Finding(path.name, fault.why, fault.offset)
    return None


# ---- logs


def _check_logs(folder: Path, names: set[str], manifest: Manifest, found: Scan, *, checksums: bool) -> None:
    """Every change since the tables must be there once, in the logs from the MANIFEST's on: they are numbered without a gap."""
    first = manifest.log_number or 0
    logs = sorted((int(match[1]), name) for name in names if (match := _LOG.fullmatch(name)) and int(match[1]) >= first)
    if first and (not logs or logs[0][0] != first):
        found.blame(f"{first:06}.log", "missing, and the MANIFEST needs it")
        return
    run = _Run(manifest.last_sequence or 0)
    torn: Finding | None = None
    for _, name in logs:
        walked, size = _walk_log(folder / name, checksums=checksums)
        found.log_bytes += size
        found.log_records += len(walked.records)
        if walked.records and torn is not None:
            found.blame(torn.file, f"cut off, though {name} goes on after it", torn.offset)
        if not _is_whole(name, walked, found):
            return
        if walked.torn is not None:
            torn = found.torn[-1]
        for offset, head in walked.records:
            if problem := run.follow(head):
                found.blame(name, problem, offset)
                return
        if name == logs[-1][1] and (problem := run.end()):
            found.blame(name, problem, size)


def _walk_log(path: Path, *, checksums: bool) -> tuple[Walk, int]:
    data = path.read_bytes()
    return walk(data, keep_bytes=_BATCH_HEADER.size, checksums=checksums), len(data)


class _Run:
    """The numbers of the changes in the logs; those up to `durable` were synced before the MANIFEST's last edit."""

    def __init__(self, durable: int) -> None:
        self._durable = durable
        self._due: int | None = None  # known once a batch was seen

    def follow(self, head: bytes) -> str:
        """Take the next batch; return what is wrong with its place, or nothing."""
        if len(head) < _BATCH_HEADER.size:
            return "a record too short for a write batch"
        sequence: int
        count: int
        sequence, count = _BATCH_HEADER.unpack(head)
        latest = self._durable + 1 if self._due is None else self._due  # tables may hold the first ones already
        if sequence > latest or (self._due is not None and sequence < latest):
            return f"goes on with change {sequence} where {latest} is due"
        self._due = sequence + count
        return ""

    def end(self) -> str:
        """Return what is missing at the end, or nothing."""
        if self._due is None or self._due > self._durable:
            return ""
        return f"ends with change {self._due - 1}, but the MANIFEST knows of {self._durable}"

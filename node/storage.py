"""LevelDB as the node's store (architecture, section Dependencies): what it returns was written, and what it cannot read it says.

LevelDB's files are looked through before it opens them (`node.level_files`). It is opened with paranoid checks and read with
checksums verified, because with its defaults a flipped bit loses synced records or returns a wrong value; every batch is a
transaction, because without that it commits even after an exception; iteration is plyvel's raw one, because the other takes an
error behind the last readable pair for the end; and nothing is written on what was not found unless all tables are there, because
a table that vanished reads as one without the key. Those facts are kept as tests. No error of plyvel's leaves this module: they
become `StorageError` with the reason `store_corrupt`, `store_io`, `disk_full` or `store_locked`.
"""

import contextlib
import errno
import fcntl
import os
import re
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

import plyvel
import structlog

from ledger.errors import DatacarError
from node.block_store import BlockStore, StorageError
from node.level_files import Scan, locate, scan

LOCK_NAME: Final = "LOCK"
WRITE_BUFFER_BYTES: Final = 16 * 1024 * 1024
SHOWN_FINDINGS: Final = 5

_FULL: Final = tuple(os.strerror(number) for number in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG))
_GONE: Final = os.strerror(errno.ENOENT)
_HINTS: Final = {
    "store_corrupt": "see `datacar db verify`; restore a snapshot, or delete the db folder alone (never the sign-state) and let "
    "the node sync again",
    "store_io": "look at the disk (system log, SMART) and at the folder's permissions",
    "disk_full": "make room on the disk",
    "store_locked": "is another node running on it?",
    "store_closed": "the node stops, or waits for its disk: ask again, or ask another member",
}
_ERRORS: Final = (plyvel.Error, RuntimeError)  # the latter when it is closed: a request may still be under way then
_LOOK_NS: Final = 5_000_000
_CLOCK_TICK_NS: Final = 20_000_000  # the kernel stamps files by a clock that ticks every 1 to 10 ms
_SHOWN_TABLE: Final = re.compile(rb"^ (\d+):\d+\[", re.MULTILINE)
_opened: Final[set[Path]] = set()  # by this process: POSIX locks do not hold against oneself

log = structlog.get_logger("node")

Watch = Callable[[StorageError], None]
"""Is told of every error of a store that is in use, before the caller is."""


def _nobody(_error: StorageError) -> None:
    """Tell nobody."""


class LevelStore:
    """A `ledger.store.Store` over one LevelDB directory. Not thread-safe beyond LevelDB's own guarantees.

    After a write has failed no other is tried: LevelDB's log may end in half a record then, and must be read anew first.
    """

    def __init__(self, path: Path, watch: Watch = _nobody, *, write_buffer_bytes: int = WRITE_BUFFER_BYTES) -> None:
        """Open a directory, made when it is not there; a log of `write_buffer_bytes` becomes a table. Raises `StorageError`."""
        self._path = path
        self._watch = watch
        self._write_failed: StorageError | None = None
        self._located = False
        with _os_errors(f"cannot open {path}"):
            path.mkdir(parents=True, exist_ok=True)
        with locked(path):
            for finding in check_files(path).torn:
                log.warning("an unfinished write is dropped, as after a power failure", path=str(path), where=str(finding))
        try:
            self._db = plyvel.DB(
                str(path),
                create_if_missing=True,
                paranoid_checks=True,
                compression=None,  # hashes, keys and signatures do not compress: trying costs CPU at every compaction
                bloom_filter_bits=10,
                lru_cache_size=64 * 1024 * 1024,
                write_buffer_size=write_buffer_bytes,
            )
        except plyvel.Error as error:
            raise self._explained(error) from error
        self._tables = _Tables(self._db, path)
        _opened.add(path.resolve())

    def _explained(self, error: plyvel.Error) -> StorageError:
        """Return why LevelDB did not open; it does not say in which file, so the logs are looked through once more."""
        failure = _storage_error(error, f"cannot open {self._path}")
        if failure.reason == "store_corrupt":
            with contextlib.suppress(OSError):
                found = scan(self._path, check_logs=True)
                return _damaged(self._path, found) if found.damage else failure
        return failure

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, its checksum verified, or None. Raises `StorageError`."""
        try:
            value = self._db.get(key, verify_checksums=True)
        except _ERRORS as error:
            raise self._failed(error, f"cannot read {key.hex()}", key) from error
        if value is None:
            self._check_tables(f"cannot read {key.hex()}", at_once=False)
        return value

    def _check_tables(self, what: str, *, at_once: bool) -> None:
        try:
            gone = self._tables.gone(at_once=at_once)
            if not gone:
                return
            failure = _with_reason("store_corrupt", f"{what} in {self._path}: {gone} vanished")
        except OSError as error:
            failure = _with_reason("store_io", f"{what} in {self._path}: cannot look for its tables: {error}")
        self._watch(failure)
        raise failure

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write all of `changes` durably (synced to disk) or none of them. Raises `StorageError`, then at every further call."""
        if self._write_failed is not None:
            raise self._write_failed
        self._check_tables("nothing is written on what was read", at_once=True)
        try:
            with self._db.write_batch(transaction=True, sync=True) as batch:
                for key, value in changes.items():
                    if value is None:
                        batch.delete(key)
                    else:
                        batch.put(key, value)
        except plyvel.Error as error:
            self._write_failed = self._failed(error, f"cannot write {len(changes)} records")
            raise self._write_failed from error

    def iterate(self, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs under `prefix`, ascending from key `start` on, as they stood at the call. Raises `StorageError`."""
        try:
            at = self._db.raw_iterator(verify_checksums=True)
        except _ERRORS as error:
            raise self._failed(error, f"cannot read on from {prefix.hex()}") from error
        return self._pairs(at, prefix, max(prefix, start))

    def _pairs(self, at: "plyvel.RawIterator", prefix: bytes, first: bytes) -> Iterator[tuple[bytes, bytes]]:
        key = first
        try:
            at.seek(first)
            while at.valid():
                key, value = at.item()
                if not key.startswith(prefix):
                    return
                yield key, value
                at.next()
        except _ERRORS as error:
            raise self._failed(error, f"cannot read on from {key.hex()}", key) from error
        finally:
            at.close()

    def _failed(self, error: plyvel.Error | RuntimeError, what: str, key: bytes | None = None) -> StorageError:
        if isinstance(error, RuntimeError):
            return _with_reason("store_closed", f"{what}: the store is closed")
        failure = _storage_error(error, f"{what} in {self._path}{self._place(error, key)}")
        self._watch(failure)
        return failure

    def _place(self, error: plyvel.Error, key: bytes | None) -> str:
        """Return where a table is damaged, if it is that; LevelDB only says so. Looked for once: then the node stops."""
        if key is None or self._located or not isinstance(error, plyvel.CorruptionError):
            return ""
        self._located = True
        with contextlib.suppress(OSError):
            found = locate(self._path, key)
            return "" if found is None else f", {found}"
        return ""

    def compact(self, start: bytes, stop: bytes) -> None:
        """Rewrite the tables of a range of keys without what was deleted, which gives its room back. Raises `StorageError`."""
        try:
            self._db.compact_range(start=start, stop=stop)
        except _ERRORS as error:
            raise self._failed(error, f"cannot compact from {start.hex()}") from error

    def close(self) -> None:
        """Release the directory."""
        self._db.close()
        self._tables.close()
        _opened.discard(self._path.resolve())


class _Tables:
    """Sees when a live table's file is gone. Asks LevelDB for its tables only when the folder has changed."""

    def __init__(self, db: plyvel.DB, path: Path) -> None:
        self._db = db
        self._folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self._whole_until_ns = 0
        self._changed_ns = -1

    def gone(self, *, at_once: bool) -> str:
        """Return the name of a table that is not there, or nothing; looks every few milliseconds only, unless `at_once`.

        Raises `OSError`.
        """
        now_ns = time.monotonic_ns()
        if now_ns < self._whole_until_ns and not at_once:
            return ""
        missing = self._missing()
        if not missing:
            self._whole_until_ns = now_ns + _LOOK_NS
        return missing

    def _missing(self) -> str:
        changed_ns = os.fstat(self._folder).st_mtime_ns
        if changed_ns == self._changed_ns:
            return ""
        live = self._live()
        files = {name.partition(".")[0] for name in os.listdir(self._folder) if name.endswith((".ldb", ".sst"))}
        missing = sorted((live - files) & self._live())  # LevelDB may have replaced some meanwhile
        if missing:
            return f"{missing[0]}.ldb"
        if abs(time.time_ns() - changed_ns) > _CLOCK_TICK_NS:  # else a change after this look may bear the same time
            self._changed_ns = changed_ns
        return ""

    def _live(self) -> set[str]:
        shown = self._db.get_property(b"leveldb.sstables") or b""
        return {match[1].decode().zfill(6) for match in _SHOWN_TABLE.finditer(shown)}

    def close(self) -> None:
        """Release the folder."""
        if self._folder >= 0:
            os.close(self._folder)
            self._folder = -1


def open_block_store(path: Path, genesis_hash: bytes, watch: Watch = _nobody) -> BlockStore:
    """Return the chain's store in a LevelDB directory, made when it is not there. Raises `StorageError`."""
    raw = LevelStore(path, watch)
    try:
        return BlockStore(raw, str(path), genesis_hash)
    except DatacarError:
        raw.close()
        raise


def check_files(path: Path) -> Scan:
    """Look through the files of a LevelDB directory that nobody has open. Raises `StorageError` with what is damaged."""
    with _os_errors(f"cannot read {path}"):
        found = scan(path)
        if found.damage:  # with checksums it shows better where it began
            raise _damaged(path, scan(path, check_logs=True))
    return found


@contextlib.contextmanager
def locked(path: Path) -> Iterator[None]:
    """Hold LevelDB's lock on an existing directory, so that no process opens it meanwhile. Raises `StorageError`."""
    taken = StorageError("store_locked", f"{path} is in use", hint=_HINTS["store_locked"])
    if path.resolve() in _opened:
        raise taken
    with _os_errors(f"cannot open {path}"):
        handle = os.open(path / LOCK_NAME, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        try:
            fcntl.lockf(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            raise taken from error
        yield
    finally:
        os.close(handle)


@contextlib.contextmanager
def _os_errors(what: str) -> Iterator[None]:
    """Turn `OSError` into `StorageError`."""
    try:
        yield
    except OSError as error:
        raise _with_reason("disk_full" if str(error.strerror) in _FULL else "store_io", f"{what}: {error}") from error


def _storage_error(error: plyvel.Error, what: str) -> StorageError:
    """Return what an error of LevelDB means. It comes as a text, which ends in the system's own words for the error's number."""
    text = error.args[0].decode("utf-8", errors="replace") if error.args and isinstance(error.args[0], bytes) else str(error)
    if not isinstance(error, plyvel.IOError) or text.endswith(_GONE):
        reason = "store_corrupt"  # a table that is gone does not come back by waiting
    elif text.endswith(_FULL):
        reason = "disk_full"
    else:
        reason = "store_locked" if f"{LOCK_NAME}: " in text else "store_io"
    return _with_reason(reason, f"{what}: {text}")


def _with_reason(reason: str, message: str) -> StorageError:
    return StorageError(reason, message, hint=_HINTS[reason])


def _damaged(path: Path, found: Scan) -> StorageError:
    shown = "; ".join(map(str, found.damage[:SHOWN_FINDINGS]))
    more = len(found.damage) - SHOWN_FINDINGS
    message = f"{path} is damaged: {shown}{f'; and {more} more' if more > 0 else ''}"
    damage = [str(finding) for finding in found.damage[:SHOWN_FINDINGS]]
    return StorageError("store_corrupt", message, hint=_HINTS["store_corrupt"], damage=damage)

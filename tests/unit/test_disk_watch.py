"""Which errors are the disk's fault, how a disk is probed, and log lines that cannot be written."""

import contextlib
import errno
import json
import logging
import os
import resource
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
import structlog

from node.block_store import StorageError
from node.disk_watch import FAILING, FULL, PROBE_NAME, DiskWatch
from node.log_lines import Lines, set_up_logging
from node.secret_files import SecretFileError


@contextlib.contextmanager
def file_size_limit(limit_bytes: int) -> Iterator[None]:
    """Have the kernel refuse this process every byte beyond this size of a file."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit_bytes, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


class TestOutages:
    @pytest.mark.parametrize(
        ("number", "reason"),
        [
            (errno.ENOSPC, FULL),
            (errno.EDQUOT, FULL),
            (errno.EFBIG, FULL),
            (errno.EIO, FAILING),
            (errno.EROFS, FAILING),
            (errno.ENODEV, FAILING),
        ],
    )
    def test_errors_of_the_disk_say_which_and_how_much_is_free(self, tmp_path: Path, number: int, reason: str) -> None:
        outage = DiskWatch(tmp_path, 0).outage_of(OSError(number, os.strerror(number)))
        assert outage is not None
        assert outage.reason == reason
        assert str(outage).startswith(f"{reason}: [Errno {number}] {os.strerror(number)}; ")
        assert f"bytes are free in {tmp_path}" in outage.what

    @pytest.mark.parametrize(("of_store", "reason"), [("disk_full", FULL), ("store_io", FAILING)])
    def test_errors_of_the_store_by_its_own_word(self, tmp_path: Path, of_store: str, reason: str) -> None:
        outage = DiskWatch(tmp_path, 0).outage_of(StorageError(of_store, "cannot write", hint=""))
        assert outage is not None
        assert (outage.reason, outage.what.partition(";")[0]) == (reason, "cannot write")

    def test_what_the_disk_caused_counts_as_the_disk(self, tmp_path: Path) -> None:
        error = SecretFileError("unreadable", tmp_path / "tls.pem", "cannot be read", hint="")
        error.__cause__ = OSError(errno.EIO, "Input/output error")
        outage = DiskWatch(tmp_path, 0).outage_of(error)
        assert outage is not None
        assert outage.reason == FAILING

    def test_waiting_for_the_disk_mends_nothing_else(self, tmp_path: Path) -> None:
        corrupt = StorageError("store_corrupt", "a flipped bit", hint="")
        corrupt.__cause__ = OSError(errno.EIO, "Input/output error")  # the store's own word counts
        for error in (corrupt, ZeroDivisionError(), ConnectionResetError(errno.ECONNRESET, "reset"), OSError("no number")):
            assert DiskWatch(tmp_path, 0).outage_of(error) is None

    def test_a_folder_that_is_gone_is_an_outage_with_what_is_known(self, tmp_path: Path) -> None:
        outage = DiskWatch(tmp_path / "gone", 1).look()
        assert outage is not None
        assert outage.reason == FAILING
        assert "free space unknown" in outage.what


class TestProbe:
    def test_a_disk_that_works_and_nothing_is_left_on_it(self, tmp_path: Path) -> None:
        assert DiskWatch(tmp_path, 0).probe() is None
        assert list(tmp_path.iterdir()) == []

    def test_a_disk_that_takes_nothing_or_half(self, tmp_path: Path) -> None:
        for limit_bytes in (0, 1_000):
            with file_size_limit(limit_bytes):
                outage = DiskWatch(tmp_path, 0).probe()
            assert outage is not None
            assert outage.reason == FULL
            assert list(tmp_path.iterdir()) == []

    def test_what_a_probe_before_a_crash_left_is_in_nobodys_way(self, tmp_path: Path) -> None:
        (tmp_path / PROBE_NAME).write_bytes(b"x" * 1_000_000)
        assert DiskWatch(tmp_path, 0).probe() is None
        assert list(tmp_path.iterdir()) == []

    def test_it_takes_more_room_to_go_on_than_to_stop(self, tmp_path: Path) -> None:
        free_bytes = shutil.disk_usage(tmp_path).free
        at_the_limit, below = DiskWatch(tmp_path, free_bytes * 9 // 10), DiskWatch(tmp_path, free_bytes * 2)
        assert at_the_limit.look() is None
        assert at_the_limit.probe() is not None
        for outage in (below.look(), below.probe()):
            assert outage is not None
            assert outage.reason == FULL
            assert f"storage.min_free_bytes is {free_bytes * 2}" in outage.what


class TestLogLines:
    def test_a_full_disk_loses_lines_and_no_more(self) -> None:
        with open("/dev/full", "wb") as full:
            lines = Lines(full.fileno())
            lines.info("one")
            lines.error("two")
        assert lines.add_lost(None, "info", {"event": "three"}) == {"event": "three", "lines_lost": 2}

    def test_after_half_a_line_the_next_begins_a_new_one(self, tmp_path: Path) -> None:
        path = tmp_path / "log"
        with path.open("wb") as file:
            lines = Lines(file.fileno())
            lines.info("first")
            with file_size_limit(len("first\nhal")):
                lines.info("half a line")
                lines.info("nothing of this")
            lines.info("last")
            assert lines.add_lost(None, "info", {}) == {}, "it was told with the last line"
        assert path.read_text() == "first\nhal\nlast\n"

    def test_lines_of_the_node_and_of_libraries_are_json(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        path, root = tmp_path / "log", logging.getLogger()
        before, level, configured = root.handlers[:], root.level, structlog.get_config()
        root.handlers[:] = []
        try:
            with path.open("w") as file:
                monkeypatch.setattr(sys, "stderr", file)
                set_up_logging("info", "json")
                structlog.get_logger("node").info("started", height=3)
                structlog.get_logger("node").debug("not shown")
                logging.getLogger("asyncio").error("a callback %s", "failed", exc_info=ZeroDivisionError("by nought"))
        finally:
            root.handlers[:], root.level = before, level
            structlog.configure(**configured)
        first, second = map(json.loads, path.read_text().splitlines())
        assert (first["event"], first["level"], first["height"]) == ("started", "info", 3)
        assert (second["event"], second["level"], second["library"]) == ("a callback failed", "error", "asyncio")
        assert "ZeroDivisionError: by nought" in second["exception"]

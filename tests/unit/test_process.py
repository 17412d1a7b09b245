"""Pid files name one process for certain: nothing else is ever signalled."""

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from node.process import ProcessId, birth_of, read_pid_file, spawn, stop

SLEEP = [sys.executable, "-c", "import time; print('up', flush=True); time.sleep(60)"]
STUBBORN = [
    sys.executable,
    "-c",
    "import signal, time; signal.signal(signal.SIGTERM, signal.SIG_IGN); print('up', flush=True); time.sleep(60)",
]


@pytest.fixture
def started(tmp_path: Path) -> Iterator[subprocess.Popen[bytes]]:
    process = spawn(SLEEP, log=tmp_path / "log", pid_file=tmp_path / "pid")
    yield process
    process.kill()
    process.wait()


def test_pid_file_finds_the_process_while_it_lives(tmp_path: Path, started: subprocess.Popen[bytes]) -> None:
    found = read_pid_file(tmp_path / "pid")
    assert found is not None
    assert found.pid == started.pid
    assert os.getsid(found.pid) == found.pid, "a session of its own keeps Ctrl-C away from it"
    assert stop([found]) == ()
    assert read_pid_file(tmp_path / "pid") is None, "a zombie does not run"


def test_a_pid_used_again_is_another_process(tmp_path: Path, started: subprocess.Popen[bytes]) -> None:
    (tmp_path / "pid").write_text(json.dumps({"pid": started.pid, "birth": "another"}))
    assert read_pid_file(tmp_path / "pid") is None
    assert stop([ProcessId(started.pid, "another")]) == ()
    assert started.poll() is None, "it was not ours, so it was not signalled"


@pytest.mark.parametrize("text", ["", "12", "{}", '{"pid": "x", "birth": "y"}', "[]"])
def test_a_damaged_pid_file_names_nothing(tmp_path: Path, text: str) -> None:
    (tmp_path / "pid").write_text(text)
    assert read_pid_file(tmp_path / "pid") is None


def test_what_ignores_the_request_to_end_is_killed(tmp_path: Path) -> None:
    process = spawn(STUBBORN, log=tmp_path / "log", pid_file=tmp_path / "pid")
    found = read_pid_file(tmp_path / "pid")
    assert found is not None
    while "up" not in (tmp_path / "log").read_text():
        assert process.poll() is None
    assert stop([found], term_grace_s=0.1) == (found,)
    assert process.wait() == -9


def test_births_differ_and_the_dead_have_none() -> None:
    assert birth_of(os.getpid()) is not None
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    assert birth_of(ended.pid) is None

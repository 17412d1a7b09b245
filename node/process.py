"""Processes that outlive the command which started them: pid files that name a process for certain, starting and stopping.

A pid alone does not: it is used again after its process ended. So a pid file also holds when the process was born, and nothing
is ever signalled whose birth differs.
"""

import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import DatacarError

POLL_S: Final = 0.02
TERM_GRACE_S: Final = 10.0
KILL_GRACE_S: Final = 5.0

_PROC: Final = Path("/proc")


class ProcessError(DatacarError):
    """A process that could not be started or stopped."""

    def __init__(self, message: str, *, hint: str, **details: object) -> None:
        super().__init__("process_error", message, hint=hint, **details)


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process for certain: its pid and when it was born (comparable text, of this machine and boot)."""

    pid: int
    birth: str

    @property
    def alive(self) -> bool:
        """Return whether this very process still runs (a zombie does not)."""
        return birth_of(self.pid) == self.birth


def birth_of(pid: int) -> str | None:
    """Return when the living process with this pid was born, or None when there is none."""
    if (_PROC / "self" / "stat").exists():
        return _birth_from_proc(pid)
    shown = subprocess.run(  # noqa: S603 - a fixed command with a number
        ["/bin/ps", "-o", "stat=,lstart=", "-p", str(pid)], capture_output=True, text=True, check=False
    )
    state, _, birth = shown.stdout.strip().partition(" ")
    return birth.strip() if birth and not state.startswith("Z") else None


def _birth_from_proc(pid: int) -> str | None:
    """Read proc_pid_stat(5): after the last `)` come the state (field 3) and, as field 22, the start time in clock ticks."""
    try:
        stat = (_PROC / str(pid) / "stat").read_text("ascii", errors="replace")
        boot = (_PROC / "sys" / "kernel" / "random" / "boot_id").read_text("ascii").strip()
    except OSError:
        return None
    parts = stat.rpartition(")")[2].split()
    return None if parts[0] in ("Z", "X") else f"{boot}/{parts[19]}"


def read_pid_file(path: Path) -> ProcessId | None:
    """Return the process a pid file names, if that very process still runs."""
    try:
        record = json.loads(path.read_text(encoding="utf-8"))
        process = ProcessId(int(record["pid"]), str(record["birth"]))
    except (OSError, ValueError, TypeError, KeyError):
        return None
    return process if process.alive else None


def spawn(command: Sequence[str], *, log: Path, pid_file: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output appended to `log`, and write its pid file.

    The session keeps the terminal's Ctrl-C away from it. Raises `ProcessError` when it ends at once.
    """
    with log.open("ab") as output:
        process = subprocess.Popen(  # noqa: S603 - our own interpreter and script
            command, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.STDOUT, start_new_session=True
        )
    birth = birth_of(process.pid)
    if birth is None:
        raise ProcessError(f"{command[0]} ended at once (exit code {process.wait()})", hint=f"see {log}")
    part = pid_file.with_suffix(".part")
    part.write_text(json.dumps({"pid": process.pid, "birth": birth}), encoding="utf-8")
    part.replace(pid_file)
    return process


def stop(processes: Iterable[ProcessId], *, term_grace_s: float = TERM_GRACE_S) -> tuple[ProcessId, ...]:
    """End processes: SIGTERM to all, and SIGKILL to the session of each that has not ended within `term_grace_s`.

    Returns those that had to be killed. Raises `ProcessError` when one survives even that.
    """
    waiting = [process for process in processes if _signal(process, signal.SIGTERM)]
    stubborn = _wait_for_end(waiting, term_grace_s)
    for process in stubborn:
        _signal(process, signal.SIGKILL)
    if left := _wait_for_end(stubborn, KILL_GRACE_S):
        pids = [process.pid for process in left]
        raise ProcessError(f"processes {pids} do not end", hint="they hang in the kernel: look at the disk", pids=pids)
    return tuple(stubborn)


def _signal(process: ProcessId, number: signal.Signals) -> bool:
    """Send a signal to this very process (SIGKILL to its whole session); False when it is gone."""
    if not process.alive:
        return False
    try:
        if number is signal.SIGKILL:
            os.killpg(process.pid, number)
        else:
            os.kill(process.pid, number)
    except ProcessLookupError:
        return False
    except PermissionError as error:
        raise ProcessError(f"process {process.pid} belongs to another user", hint="stop it as that user") from error
    return True


def _wait_for_end(processes: Sequence[ProcessId], seconds: float) -> list[ProcessId]:
    """Return those of the processes that still run after `seconds`."""
    deadline = time.monotonic() + seconds
    left = [process for process in processes if process.alive]
    while left and time.monotonic() < deadline:
        time.sleep(POLL_S)
        left = [process for process in left if process.alive]
    return left

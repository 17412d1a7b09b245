"""The disk under the node: which errors are its fault, when it is nearly full, and whether it works again.

A node that cannot write may not vote, yet can still tell what it has stored. So such an error is an outage to wait for, with a
reason for people and programs, and no end of the process. A damaged store is none: waiting does not mend it.
"""

import contextlib
import errno
import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.errors import UnavailableError
from node.block_store import StorageError

FULL: Final = "disk_full"
FAILING: Final = "disk_error"
PROBE_NAME: Final = "disk-probe"
PROBE_BYTES: Final = 64 * 1024

_FULL_ERRNOS: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_FAILING_ERRNOS: Final = frozenset({errno.EIO, errno.EROFS, errno.ENXIO, errno.ENODEV, errno.ESTALE})
_STORE_REASONS: Final = {"disk_full": FULL, "store_io": FAILING}


@dataclass(frozen=True, slots=True)
class Outage:
    """Why the disk cannot be used: `disk_full` or `disk_error`, and a line with the numbers."""

    reason: str
    what: str

    def __str__(self) -> str:
        return f"{self.reason}: {self.what}"


class DiskOutageError(UnavailableError):
    """What a node that cannot write refuses: nothing of it was taken."""

    def __init__(self, outage: Outage) -> None:
        hint = "send it to another member; this one goes on by itself once its disk works"
        super().__init__(outage.reason, "this node takes part in nothing while it cannot write to its disk", hint=hint)


class DiskWatch:
    """Watches the disk of the data folder. Under `min_free_bytes` of free space it counts as full, a while before it is."""

    def __init__(self, folder: Path, min_free_bytes: int) -> None:
        self._folder = folder
        self._min_free_bytes = min_free_bytes

    def outage_of(self, error: BaseException) -> Outage | None:
        """Return the outage that an error tells of, itself or by its cause; None when waiting for the disk does not help."""
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, StorageError):
                reason = _STORE_REASONS.get(cause.reason)
                return None if reason is None else Outage(reason, self._with_numbers(cause))
            if isinstance(cause, OSError) and cause.errno in _FULL_ERRNOS | _FAILING_ERRNOS:
                return self._outage(cause)
            cause = cause.__cause__
        return None

    def look(self) -> Outage | None:
        """Return the reason to stop before a write fails, if there is one: hardly any space left, or a disk that is not there."""
        return self._shortage(self._min_free_bytes)

    def probe(self) -> Outage | None:
        """Write and sync a small file; return what is still wrong. Blocks for as long as the disk does.

        A quarter more than the least space must be free: else a node at the very limit would stop and go on in turns.
        """
        path = self._folder / PROBE_NAME
        try:
            with path.open("wb") as file:
                file.write(os.urandom(PROBE_BYTES))  # a file system that compresses must find room for it all the same
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            return self._outage(error)
        finally:
            with contextlib.suppress(OSError):
                path.unlink()
        return self._shortage(self._min_free_bytes * 5 // 4)

    def _shortage(self, least_bytes: int) -> Outage | None:
        try:
            free_bytes = shutil.disk_usage(self._folder).free
        except OSError as error:
            return self._outage(error)
        if free_bytes >= least_bytes:
            return None
        limit = f"{least_bytes} are needed (storage.min_free_bytes is {self._min_free_bytes})"
        return Outage(FULL, f"{free_bytes} bytes are free in {self._folder}, {limit}")

    def _outage(self, error: OSError) -> Outage:
        return Outage(FULL if error.errno in _FULL_ERRNOS else FAILING, self._with_numbers(error))

    def _with_numbers(self, error: Exception) -> str:
        try:
            free = f"{shutil.disk_usage(self._folder).free} bytes are free"
        except OSError as unreadable:
            free = f"free space unknown ({unreadable.strerror})"
        return f"{error}; {free} in {self._folder}"

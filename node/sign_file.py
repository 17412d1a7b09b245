"""The sign-state on disk, in two checksummed copies (rule 6).

Both files are overwritten in place, one after the other, each synced before the next: at every moment at least one of them is
whole. A copy is [sequence, state] with a SHA-256 in front; the higher sequence wins. A crash between the two writes leaves one
copy older: it is renewed at the next load, before anything of the newer state is repeated.
"""

import hashlib
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Final, Protocol

from consensus.sign_state import SignState
from ledger.codec import as_bytes, as_int, decode, encode_trusted, fields
from ledger.errors import DatacarError
from node.durable import sync_directory

NAMES: Final = ("sign-state.a", "sign-state.b")
_HEADER_BYTES: Final = 36  # SHA-256 and a 4-byte length


class Slot(Protocol):
    """A place for one copy. A crash in the middle of `write` may leave any mixture of the old and the new bytes."""

    def read(self) -> bytes:
        """Return all bytes held."""
        ...

    def write(self, data: bytes) -> None:
        """Overwrite from the start and sync; raises OSError when the disk does not take it."""
        ...

    def close(self) -> None:
        """Release it."""
        ...


class FileSlot:
    """A copy in a file, made when it is not there; readable by its owner only."""

    def __init__(self, path: Path) -> None:
        self._file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)

    def read(self) -> bytes:
        """Return all bytes held."""
        return os.pread(self._file, os.fstat(self._file).st_size, 0)

    def write(self, data: bytes) -> None:
        """Overwrite from the start and sync."""
        offset = 0
        while offset < len(data):
            offset += os.pwrite(self._file, data[offset:], offset)
        os.fdatasync(self._file)

    def close(self) -> None:
        """Close the file."""
        os.close(self._file)


class SignFile:
    """Two copies of the sign-state. `load` before the first `save`."""

    def __init__(self, slots: Sequence[Slot]) -> None:
        self._slots = list(slots)
        self._sequence = 0

    def load(self) -> SignState | None:
        """Return the newest readable state, or None when neither copy is readable (lost, or never written).

        Both copies hold it, synced, before this returns: its votes are about to be repeated, and a stale copy could forget them.
        """
        records = [_decode(slot.read()) for slot in self._slots]
        found = [record for record in records if record is not None]
        if not found:
            return None
        self._sequence, state = max(found, key=lambda record: record[0])
        for slot, record in zip(self._slots, records, strict=True):
            if record is None or record[0] != self._sequence:
                slot.write(self._record(state))
        return state

    def save(self, state: SignState) -> None:
        """Make `state` durable in both copies; raises OSError when the disk does not take it."""
        self._sequence += 1
        record = self._record(state)
        for slot in self._slots:
            slot.write(record)

    def _record(self, state: SignState) -> bytes:
        payload = encode_trusted((self._sequence, state.encode()))
        return hashlib.sha256(payload).digest() + len(payload).to_bytes(4) + payload

    def close(self) -> None:
        """Release both slots."""
        for slot in self._slots:
            slot.close()


def open_sign_file(directory: Path) -> SignFile:
    """Return the sign-state's two files in a directory, made when they are not there."""
    directory.mkdir(parents=True, exist_ok=True)
    slots = [FileSlot(directory / name) for name in NAMES]
    sync_directory(directory)
    return SignFile(slots)


def _decode(data: bytes) -> tuple[int, SignState] | None:
    """Return the record of one copy, or None when it is empty, torn or damaged."""
    length = int.from_bytes(data[32:_HEADER_BYTES])
    payload = data[_HEADER_BYTES : _HEADER_BYTES + length]
    if len(data) < _HEADER_BYTES or len(payload) != length or hashlib.sha256(payload).digest() != data[:32]:
        return None
    try:
        sequence, state = fields(decode(payload), 2, "sign-state record")
        return as_int(sequence, "sequence"), SignState.decode(as_bytes(state, "sign-state"))
    except DatacarError:
        return None

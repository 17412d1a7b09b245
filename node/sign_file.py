"""The sign-state on disk, in two checksummed copies (rule 6).

Both files are overwritten in place, one after the other, each synced before the next: at every moment at least one of them is
whole. A copy is [sequence, state] with a SHA-256 in front; the higher sequence wins. A crash between the two writes leaves one
copy older: it is renewed at the next load, before anything of the newer state is repeated.
"""

import hashlib
import os
from pathlib import Path
from typing import Final

from consensus.sign_state import SignState
from ledger.codec import as_bytes, as_int, decode, encode_trusted, fields
from ledger.errors import DatacarError

NAMES: Final = ("sign-state.a", "sign-state.b")
_HEADER_BYTES: Final = 36  # SHA-256 and a 4-byte length


class SignFile:
    """Two copies of the sign-state in a directory. `load` before the first `save`."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(parents=True, exist_ok=True)
        self._files = [os.open(directory / name, os.O_RDWR | os.O_CREAT, 0o600) for name in NAMES]
        self._sequence = 0
        _sync_directory(directory)

    def load(self) -> SignState | None:
        """Return the newest readable state, or None when neither copy is readable (lost, or never written).

        Both copies hold it, synced, before this returns: its votes are about to be repeated, and a stale copy could forget them.
        """
        records = [_read(file) for file in self._files]
        found = [record for record in records if record is not None]
        if not found:
            return None
        self._sequence, state = max(found, key=lambda record: record[0])
        if any(record is None or record[0] != self._sequence for record in records):
            if records[1] is not None and records[1][0] == self._sequence:
                self._files.reverse()  # the stale copy is written first: the newest stays whole meanwhile
            self._write(state)
        return state

    def save(self, state: SignState) -> None:
        """Make `state` durable in both copies; raises OSError when the disk does not take it."""
        self._sequence += 1
        self._write(state)

    def _write(self, state: SignState) -> None:
        payload = encode_trusted((self._sequence, state.encode()))
        record = hashlib.sha256(payload).digest() + len(payload).to_bytes(4) + payload
        for file in self._files:
            _write_all(file, record)
            os.fdatasync(file)

    def close(self) -> None:
        """Close both files."""
        for file in self._files:
            os.close(file)


def _write_all(file: int, data: bytes) -> None:
    offset = 0
    while offset < len(data):
        offset += os.pwrite(file, data[offset:], offset)


def _read(file: int) -> tuple[int, SignState] | None:
    """Return the record of one copy, or None when it is empty, torn or damaged."""
    data = os.pread(file, os.fstat(file).st_size, 0)
    length = int.from_bytes(data[32:_HEADER_BYTES])
    payload = data[_HEADER_BYTES : _HEADER_BYTES + length]
    if len(data) < _HEADER_BYTES or len(payload) != length or hashlib.sha256(payload).digest() != data[:32]:
        return None
    try:
        sequence, state = fields(decode(payload), 2, "sign-state record")
        return as_int(sequence, "sequence"), SignState.decode(as_bytes(state, "sign-state"))
    except DatacarError:
        return None


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)

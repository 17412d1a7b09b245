"""The store as the ledger needs it: an ordered map of bytes to bytes with atomic writes, and one that lives in memory.

The protocols are owned here, by the side that uses them; the node implements them over LevelDB. A store may be shared by
several users, so each keeps to key prefixes of its own.
"""

from collections.abc import Iterator, Mapping
from typing import Protocol


class Reader(Protocol):
    """What reading the state takes."""

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, or None."""
        ...


class Store(Reader, Protocol):
    """An ordered byte map. Keys compare as unsigned bytes."""

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write all of `changes` or none of them; None deletes, and deleting what is not there is no error."""
        ...

    def iterate(self, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs whose key starts with `prefix`, ascending from key `start` on, as they stood at the call."""
        ...


class MemoryStore:
    """A `Store` in a dict: for tests, tools and the simulator. `iterate` sorts, so it costs more than LevelDB's."""

    __slots__ = ("_data",)

    def __init__(self, data: Mapping[bytes, bytes] | None = None) -> None:
        self._data: dict[bytes, bytes] = dict(data or {})

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under `key`, or None."""
        return self._data.get(key)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write all of `changes`; None deletes."""
        for key, value in changes.items():
            if value is None:
                self._data.pop(key, None)
            else:
                self._data[key] = value

    def iterate(self, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs whose key starts with `prefix`, ascending from key `start` on, as they stood at the call."""
        return iter(sorted(pair for pair in self._data.items() if pair[0].startswith(prefix) and pair[0] >= start))

    def __len__(self) -> int:
        return len(self._data)

"""A block's writes on top of a state nobody changes until the block is final, with an undo journal."""

from collections.abc import Mapping
from typing import Final, TypeAlias

from ledger.store import Reader

StateReader: TypeAlias = Reader
"""A committed state: `get(key) -> bytes | None`."""

_ABSENT: Final = object()


class Overlay:
    """Reads fall through to `base`; writes stay here until `changes` is taken. `None` is a deletion."""

    __slots__ = ("_base_get", "_changes", "_undo")

    def __init__(self, base: StateReader) -> None:
        self._base_get = base.get
        self._changes: dict[bytes, bytes | None] = {}
        self._undo: list[tuple[bytes, object]] = []

    def get(self, key: bytes) -> bytes | None:
        """Return the newest value of `key`, or None."""
        found = self._changes.get(key, _ABSENT)
        return self._base_get(key) if found is _ABSENT else found  # type: ignore[return-value]

    def put(self, key: bytes, value: bytes | None) -> None:
        """Set or, with None, delete `key`."""
        self._undo.append((key, self._changes.get(key, _ABSENT)))
        self._changes[key] = value

    def mark(self) -> int:
        """Return a point to roll back to."""
        return len(self._undo)

    def rollback(self, mark: int) -> None:
        """Take back every write since `mark`."""
        while len(self._undo) > mark:
            key, before = self._undo.pop()
            if before is _ABSENT:
                del self._changes[key]
            else:
                self._changes[key] = before  # type: ignore[assignment]

    def seal(self) -> None:
        """Forget the journal: what is written now stays."""
        self._undo.clear()

    @property
    def changes(self) -> Mapping[bytes, bytes | None]:
        """Return every changed key with its new value; the order means nothing."""
        return self._changes

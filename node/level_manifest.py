"""LevelDB's MANIFEST: edits that add up to which tables are live and where the log begins (LevelDB 1.22, version_edit.cc)."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Final

_COMPARATOR: Final = b"leveldb.BytewiseComparator"
_MAX_SHIFT: Final = 63
KEY_TAIL_BYTES: Final = 8  # LevelDB's own keys end in sequence and kind


class _Tag(IntEnum):
    COMPARATOR = 1
    LOG_NUMBER = 2
    NEXT_FILE = 3
    LAST_SEQUENCE = 4
    COMPACT_POINTER = 5
    DELETED_FILE = 6
    NEW_FILE = 7
    PREVIOUS_LOG = 9


class EditError(ValueError):
    """An edit that cannot be understood; `offset` is its record's."""

    def __init__(self, offset: int, why: str) -> None:
        super().__init__(why)
        self.offset = offset
        self.why = why


@dataclass(frozen=True, slots=True)
class Table:
    """A live table: its size and the first and last key in it."""

    size_bytes: int
    first: bytes
    last: bytes


@dataclass(slots=True)
class Manifest:
    """What the edits add up to. `tables` are the live ones by number.

    What was written up to `last_sequence` was durable before the last edit was; logs before `log_number` count no more.
    """

    log_number: int | None = None
    last_sequence: int | None = None
    next_file: int | None = None
    tables: dict[int, Table] = field(default_factory=dict)


def read_manifest(records: Iterable[tuple[int, bytes]]) -> Manifest:
    """Return the sum of the edits in (offset, edit) records. Raises `EditError`."""
    manifest = Manifest()
    for offset, edit in records:
        try:
            _apply(_Fields(edit), manifest)
        except ValueError as error:
            raise EditError(offset, str(error)) from error
    return manifest


class _Fields:
    """Reads numbers and texts off an edit. Raises `ValueError` where it ends too early."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    @property
    def left(self) -> bool:
        return self._at < len(self._data)

    def number(self) -> int:
        """Read a varint."""
        value, self._at = read_varint(self._data, self._at)
        return value

    def text(self) -> bytes:
        """Read a length and so many bytes."""
        length = self.number()
        begin, self._at = self._at, self._at + length
        if self._at > len(self._data):
            raise ValueError("a text of the edit is cut off")
        return self._data[begin : self._at]


def read_varint(data: bytes, at: int) -> tuple[int, int]:
    """Return the varint at a place and where it ends. Raises `ValueError`."""
    value = 0
    for shift in range(0, _MAX_SHIFT + 1, 7):
        if at >= len(data):
            break
        byte = data[at]
        at += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, at
    raise ValueError("a number is cut off or too long")


def _apply(fields: _Fields, manifest: Manifest) -> None:
    deleted: list[int] = []
    added: dict[int, Table] = {}
    while fields.left:
        match tag := fields.number():
            case _Tag.COMPARATOR:
                if (name := fields.text()) != _COMPARATOR:
                    raise ValueError(f"the keys are ordered by {name!r}")
            case _Tag.LOG_NUMBER:
                manifest.log_number = fields.number()
            case _Tag.NEXT_FILE:
                manifest.next_file = fields.number()
            case _Tag.LAST_SEQUENCE:
                manifest.last_sequence = fields.number()
            case _Tag.PREVIOUS_LOG:
                fields.number()
            case _Tag.COMPACT_POINTER:
                fields.number()
                fields.text()
            case _Tag.DELETED_FILE:
                fields.number()
                deleted.append(fields.number())
            case _Tag.NEW_FILE:
                fields.number()
                number, size = fields.number(), fields.number()
                added[number] = Table(size, fields.text()[:-KEY_TAIL_BYTES], fields.text()[:-KEY_TAIL_BYTES])
            case _:
                raise ValueError(f"an edit has no field {tag}")
    for number in deleted:
        manifest.tables.pop(number, None)
    manifest.tables |= added  # a table that moves to another level is deleted and added by one edit

"""What can happen to a LevelDB folder, drawn from a seed."""

import random
import re
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Final

from node.level_log import BLOCK_BYTES


class Kind(StrEnum):
    """What happens to a file."""

    FLIP = "one flipped bit"
    GARBAGE = "garbage"
    ZEROS = "zeros"
    CUT = "cut off"
    GROWN = "grown"
    REPEATED = "a part written twice"
    GONE = "deleted"


class Place(StrEnum):
    """Which file it happens to."""

    LOG = "log"
    TABLE = "table"
    MANIFEST = "MANIFEST"
    CURRENT = "CURRENT"


FILES: Final = {
    Place.LOG: re.compile(r"\d+\.log"),
    Place.TABLE: re.compile(r"\d+\.ldb"),
    Place.MANIFEST: re.compile(r"MANIFEST-\d+"),
    Place.CURRENT: re.compile("CURRENT"),
}
PLACES: Final = (*[Place.LOG] * 9, *[Place.TABLE] * 6, *[Place.MANIFEST] * 4, Place.CURRENT)
KINDS: Final = (*[Kind.FLIP] * 10, *[Kind.GARBAGE] * 4, *[Kind.ZEROS] * 3, *[Kind.CUT] * 4, Kind.GROWN, Kind.REPEATED, Kind.GONE)
MAX_GARBAGE_BYTES: Final = 64
MAX_ZEROS_BYTES: Final = 8_192
HEADER_REACH: Final = 4_096


@dataclass(frozen=True, slots=True)
class Fault:
    """What happened where."""

    place: Place
    kind: Kind
    file: str
    offset: int
    length: int

    def __str__(self) -> str:
        return f"{self.file}: {self.kind} at byte {self.offset} ({self.length})"


def inflict(folder: Path, rng: random.Random) -> Fault:
    """Damage one file of a LevelDB folder and say how."""
    place = rng.choice(PLACES)
    file = rng.choice(sorted(path for path in folder.iterdir() if FILES[place].fullmatch(path.name)))
    kind = rng.choice(KINDS)
    data = file.read_bytes()
    at, length = _where(rng, len(data)), _how_long(rng, kind)
    if kind is Kind.GONE:
        file.unlink()
    else:
        file.write_bytes(_CHANGES[kind](rng, data, at, length))
    return Fault(place, kind, file.name, at, length)


def _where(rng: random.Random, size: int) -> int:
    """Anywhere, but often in the last block, where LevelDB forgives most, and near the very end."""
    first = rng.choice((0, 0, max(0, size - BLOCK_BYTES), max(0, size - HEADER_REACH), max(0, size - 64)))
    return rng.randrange(first, size)


def _how_long(rng: random.Random, kind: Kind) -> int:
    match kind:
        case Kind.GARBAGE | Kind.GROWN:
            return rng.randint(1, MAX_GARBAGE_BYTES)
        case Kind.ZEROS | Kind.REPEATED:
            return rng.randint(1, rng.choice((MAX_GARBAGE_BYTES, MAX_ZEROS_BYTES)))
        case _:
            return 1


def _flip(rng: random.Random, data: bytes, at: int, _length: int) -> bytes:
    return data[:at] + bytes([data[at] ^ 1 << rng.randrange(8)]) + data[at + 1 :]


def _garbage(rng: random.Random, data: bytes, at: int, length: int) -> bytes:
    return data[:at] + rng.randbytes(min(length, len(data) - at)) + data[at + length :]


def _zeros(_rng: random.Random, data: bytes, at: int, length: int) -> bytes:
    return data[:at] + bytes(min(length, len(data) - at)) + data[at + length :]


def _cut(_rng: random.Random, data: bytes, at: int, _length: int) -> bytes:
    return data[:at]


def _grown(rng: random.Random, data: bytes, _at: int, length: int) -> bytes:
    return data + rng.choice((bytes(length), rng.randbytes(length)))


def _repeated(_rng: random.Random, data: bytes, at: int, length: int) -> bytes:
    return data[: at + length] + data[at : at + length] + data[at + length :]


_CHANGES: Final[dict[Kind, Callable[[random.Random, bytes, int, int], bytes]]] = {
    Kind.FLIP: _flip,
    Kind.GARBAGE: _garbage,
    Kind.ZEROS: _zeros,
    Kind.CUT: _cut,
    Kind.GROWN: _grown,
    Kind.REPEATED: _repeated,
}

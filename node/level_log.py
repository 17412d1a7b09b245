"""The record format that LevelDB writes its logs and MANIFEST in, walked to the last byte.

A file is a row of 32 KiB blocks. A record in it is a masked CRC32C (4 bytes), a length (2), a kind (1) and its payload; what does
not fit into a block goes on in the next one, and less than a header's room at a block's end is padding. LevelDB's own reader
takes a record that the end of the file cuts off for one that was being written in a power failure, and drops it without a word,
with everything behind it; and it skips zero-filled ranges. So a flipped bit in a length loses synced records silently, which is
what this walk is there to find.
"""

import struct
from dataclasses import dataclass, field
from typing import Final

BLOCK_BYTES: Final = 32 * 1024
HEADER_BYTES: Final = 7

_FULL, _FIRST, _MIDDLE, _LAST = 1, 2, 3, 4
_HEADER: Final = struct.Struct("<IHB")
_MASK_DELTA: Final = 0xA282EAD8
_POLYNOMIAL: Final = 0x82F63B78  # Castagnoli, bits reversed


def _make_table() -> tuple[int, ...]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (_POLYNOMIAL if value & 1 else 0)
        table.append(value)
    return tuple(table)


_TABLE: Final = _make_table()


def crc32c(data: bytes) -> int:
    """Return the CRC32C (RFC 3720, section 12.1) of `data`. About 10 MB/s: for what is small or under suspicion."""
    crc, table = 0xFFFFFFFF, _TABLE
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ crc >> 8
    return crc ^ 0xFFFFFFFF


def mask(crc: int) -> int:
    """Return a CRC as LevelDB stores it."""
    return ((crc >> 15 | crc << 17) + _MASK_DELTA) & 0xFFFFFFFF


@dataclass(frozen=True, slots=True)
class Fault:
    """What is wrong at a byte of a file."""

    offset: int
    why: str


@dataclass(slots=True)
class Walk:
    """What stands in a file. `records` are (offset, the payload's first bytes) of whole records, up to the first fault.

    `torn` is where the last record begins when the file ends before it does and nothing shows that it ever was whole.
    """

    records: list[tuple[int, bytes]] = field(default_factory=list)
    fault: Fault | None = None
    torn: int | None = None


def walk(data: bytes, *, keep_bytes: int, checksums: bool) -> Walk:
    """Walk a file's records; `keep_bytes` of each payload are returned, and its checksum is compared if asked (slow)."""
    found, size, at, last = Walk(), len(data), 0, None
    begun: tuple[int, bytes] | None = None  # a record of which more is to come
    unpack, records = _HEADER.unpack_from, found.records
    while at < size:
        room = BLOCK_BYTES - at % BLOCK_BYTES
        if room < HEADER_BYTES:
            if any(data[at : at + room]):
                found.fault = _at_fault(data, last, Fault(at, "the padding at a block's end is not zero"))
                return found
            at += room
            continue
        if size - at < HEADER_BYTES:
            break
        crc, length, kind = unpack(data, at)
        end = at + HEADER_BYTES + length
        why = _frame_problem(data, at, length, kind, inside=begun is not None)
        if not why and end > size:
            why = _was_whole(data, at, crc)
            if not why:
                break
        if not why and checksums and not _checks(data, at):
            why = "checksum mismatch"
        if why:
            found.fault = _at_fault(data, last, Fault(at, why))
            return found
        head = data[at + HEADER_BYTES : min(end, at + HEADER_BYTES + keep_bytes)]
        if kind == _FULL:
            records.append((at, head))
        else:
            begun = (at, head) if begun is None else (begun[0], (begun[1] + head)[:keep_bytes])
            if kind == _LAST:
                records.append(begun)
                begun = None
        last, at = at, end
    if begun is not None or at < size:
        found.torn = at if begun is None else begun[0]
    return found


def _checks(data: bytes, at: int) -> bool:
    """Return whether the checksum of the record at a place is that of its kind and payload."""
    crc: int
    length: int
    crc, length, _ = _HEADER.unpack_from(data, at)
    return mask(crc32c(data[at + 6 : at + HEADER_BYTES + length])) == crc


def _at_fault(data: bytes, last: int | None, fault: Fault) -> Fault:
    """Return the fault, or that of the record before it, whose wrong length or kind has led here."""
    if last is None or _checks(data, last):
        return fault
    return Fault(last, "checksum mismatch")


def _frame_problem(data: bytes, at: int, length: int, kind: int, *, inside: bool) -> str:
    """Return what is wrong with a header, or nothing."""
    if not _FULL <= kind <= _LAST:
        return "a zero-filled range" if not any(data[at : at + HEADER_BYTES]) else f"no record has kind {kind}"
    if at % BLOCK_BYTES + HEADER_BYTES + length > BLOCK_BYTES:
        return f"a length of {length} leads over the end of its block"
    if (kind in (_MIDDLE, _LAST)) != inside:
        return "a record begins inside another" if inside else "a record without its beginning"
    return ""


def _was_whole(data: bytes, at: int, crc: int) -> str:
    """Return how it shows that a record which now leads over the file's end once did not, or nothing: a power failure cut it.

    Then its checksum fits to no shorter payload, and no whole records stand behind its header.
    """
    running, kind = 0xFFFFFFFF, data[at + 6]
    running = _TABLE[(running ^ kind) & 0xFF] ^ running >> 8
    for length, byte in enumerate(data[at + HEADER_BYTES :], 1):
        running = _TABLE[(running ^ byte) & 0xFF] ^ running >> 8
        if mask(running ^ 0xFFFFFFFF) == crc:
            return f"the length is damaged: the checksum is that of {length} bytes"
    follower = next((begin for begin in range(at + 1, len(data) - HEADER_BYTES + 1) if _leads_to_the_end(data, begin)), None)
    return "" if follower is None else f"the length is damaged: a whole record follows at byte {follower}"


def _leads_to_the_end(data: bytes, begin: int) -> bool:
    """Return whether the rest of the last block is whole records from `begin` on, the first with its checksum."""
    at = begin
    while len(data) - at >= HEADER_BYTES:
        _, length, kind = _HEADER.unpack_from(data, at)
        if not _FULL <= kind <= _LAST:
            return False
        at += HEADER_BYTES + length
    return at == len(data) and _checks(data, begin)

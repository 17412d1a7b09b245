"""Where a table is damaged: LevelDB says that a read failed, but neither the file nor the place.

A table is data blocks, a filter, an index of the data blocks (the last key of each, and where it is) and a footer; each block is
followed by its compression and masked CRC32C. Keys here are LevelDB's own: ours with 8 bytes of sequence and kind behind them.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from node.level_log import Fault, crc32c, mask
from node.level_manifest import KEY_TAIL_BYTES, read_varint

FOOTER_BYTES: Final = 48
TRAILER_BYTES: Final = 5
TABLE_MAGIC: Final = (0xDB4775248B80FB57).to_bytes(8, "little")
BLOCKS_TRIED: Final = 3

Handle = tuple[int, int]  # where a block begins, and its bytes without the trailer


def read_footer(footer: bytes) -> tuple[Handle, Handle]:
    """Return the handles of the metaindex and the index block. Raises `ValueError`."""
    meta, at = _handle(footer, 0)
    index, _ = _handle(footer, at)
    return meta, index


def _handle(data: bytes, at: int) -> tuple[Handle, int]:
    begin, at = read_varint(data, at)
    size, at = read_varint(data, at)
    return (begin, size), at


def find_damage(path: Path, key: bytes) -> Fault | None:
    """Return the first damaged block of those that a read at `key`, or on from it, meets first. Raises `OSError`."""
    data = path.read_bytes()
    try:
        _, index = read_footer(data[-FOOTER_BYTES:])
        if not _checks(data, index):
            return Fault(index[0], "checksum mismatch of the index block")
        handles = [handle for last, handle in _entries(data[index[0] : sum(index)]) if last >= key]
    except ValueError as error:
        return Fault(max(0, len(data) - FOOTER_BYTES), str(error))
    damaged = (handle for handle in handles[:BLOCKS_TRIED] if not _checks(data, handle))
    return next((Fault(begin, f"checksum mismatch of a block of {size} bytes") for begin, size in damaged), None)


def _checks(data: bytes, handle: Handle) -> bool:
    begin, end = handle[0], sum(handle)
    return data[end + 1 : end + TRAILER_BYTES] == mask(crc32c(data[begin : end + 1])).to_bytes(4, "little")


def _entries(block: bytes) -> Iterator[tuple[bytes, Handle]]:
    """Yield the keys of an index block, without their tails, and the handles. Each key gives only what differs from the last."""
    restarts = int.from_bytes(block[-4:], "little")
    at, end, key = 0, len(block) - 4 - 4 * restarts, b""
    while at < end:
        shared, at = read_varint(block, at)
        fresh, at = read_varint(block, at)
        size, at = read_varint(block, at)
        key = key[:shared] + block[at : at + fresh]
        yield key[:-KEY_TAIL_BYTES], _handle(block, at + fresh)[0]
        at += fresh + size

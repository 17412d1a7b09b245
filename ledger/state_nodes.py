"""The nodes of the stored state tree: their shape, their bytes in the store, and a cache that serves only what was checked.

    node    key  NODE_PREFIX + path (a byte a nibble) + height (8 bytes, big-endian)    value  bitmap, leaves, digests, refs
    leaf    key  LEAF_PREFIX + key hash + height                                        value  [key, value], canonical

Two bytes each: the bitmap of the children, and that of those which are leaves. Digests and refs of the children lie side by side.
A ref is the rest of the child's store key: the height of a node, key hash and height of a leaf.
"""

import struct
from collections.abc import Mapping
from typing import Any, Final, TypeAlias

import msgpack

from ledger.errors import DatacarError, NotFoundError
from ledger.hashing import HASH_BYTES
from ledger.state_proof import StateHasher, Step
from ledger.store import Reader
from ledger.types import Height

NODE_PREFIX: Final = b"sn"
LEAF_PREFIX: Final = b"sl"

NODE_REF: Final = 8
LEAF_REF: Final = HASH_BYTES + 8

# Plain tuples of packed bytes, because thousands of these pass through a block's update and memory is slower than arithmetic.
Node: TypeAlias = tuple[int, int, bytes, bytes]  # bitmap, leaves, digests, refs
Child: TypeAlias = tuple[bytes, bytes]  # digest, ref; both empty where there is no child

_BITMAPS: Final = struct.Struct(">HH")

_OVERHEAD: Final = 200  # bytes of a cached node beside its record: two objects, a key, a place in the table

NOTHING: Final[Child] = (b"", b"")
EMPTY: Final[Node] = (0, 0, b"", b"")


class CorruptStateError(DatacarError):
    """The store returned bytes that do not have the hash their parent promises: damage on disk or in memory."""

    def __init__(self, what: str, key: bytes) -> None:
        super().__init__(
            "corrupt_state",
            f"{what} does not match its hash",
            hint="stop the node and restore a snapshot, or sync again from other members",
            store_key=key.hex(),
        )


class PrunedStateError(NotFoundError):
    """A node or leaf of the asked version is no longer stored."""

    def __init__(self, key: bytes) -> None:
        height = int.from_bytes(key[-NODE_REF:])
        super().__init__(
            "pruned",
            f"state written at height {height} is no longer stored",
            hint="ask for a later height, or ask an archive node",
            written_at=height,
        )


class NodeCache:
    """Reads nodes through a cache, checking each against its digest when it comes from the store.

    A node enters the cache only from the store or from a written update, and is served only under the digest asked for: what a
    dropped update would have written under the same store key cannot be mistaken for it. The cache holds at most `bound`
    bytes in two generations: what was used since the last turn, and what before; a turn forgets the latter. A node is kept as
    its digest and its record in one piece: taking that apart costs less than the cache misses of four objects.
    """

    __slots__ = ("_half", "_hasher", "_old", "_reader", "_room", "_young")

    def __init__(self, hasher: StateHasher, reader: Reader, bound: int) -> None:
        self._hasher = hasher
        self._reader = reader
        self._half = self._room = bound // 2
        self._young: dict[bytes, bytes] = {}
        self._old: dict[bytes, bytes] = {}

    def load(self, key: bytes, digest: bytes) -> Node:
        """Return the node stored under `key`; raises `PrunedStateError` or `CorruptStateError`."""
        cached = self._young.get(key)
        if cached is None or not cached.startswith(digest):
            cached = self._old.pop(key, None)
            if cached is None or not cached.startswith(digest):
                return self._read(key, digest)
            self._remember(key, cached)
        return _split(cached, HASH_BYTES)

    def adopt(self, stale: tuple[bytes, ...], fresh: Mapping[bytes, tuple[bytes, Node]]) -> None:
        """Put the nodes of a written update in the place of those it replaced."""
        for key in stale:
            if (entry := self._young.pop(key, None)) is not None:
                self._room += len(entry) + _OVERHEAD
        for key, (digest, node) in fresh.items():
            self._remember(key, digest + encode_node(node))

    def _read(self, key: bytes, digest: bytes) -> Node:
        data = self._reader.get(key)
        if data is None:
            raise PrunedStateError(key)
        node = decode_node(data, key)
        if self._hasher.node(node[0], node[2]) != digest:
            raise CorruptStateError("a state node", key)
        self._remember(key, digest + data)
        return node

    def _remember(self, key: bytes, entry: bytes) -> None:
        size = len(entry) + _OVERHEAD
        if size > self._room:
            self._old, self._young = self._young, {}
            self._room = self._half
        self._room -= size
        self._young[key] = entry


def place_of(bitmap: int, leaves: int, bit: int) -> tuple[int, int, int, int]:
    """Return where in a node's digests and refs the child of `bit` is or would be: place, size, place of ref, size of ref."""
    rank = (bitmap & (bit - 1)).bit_count()
    ref_place = rank * NODE_REF + (leaves & (bit - 1)).bit_count() * HASH_BYTES
    if not bitmap & bit:
        return rank * HASH_BYTES, 0, ref_place, 0
    return rank * HASH_BYTES, HASH_BYTES, ref_place, LEAF_REF if leaves & bit else NODE_REF


def child_of(node: Node, slot: int) -> Child:
    """Return the child in `slot` of a node."""
    bitmap, leaves, digests, refs = node
    place, size, ref_place, ref_size = place_of(bitmap, leaves, 1 << slot)
    return digests[place : place + size], refs[ref_place : ref_place + ref_size]


def siblings_of(node: Node, slot: int) -> Step:
    """Return the bitmap and digests of a node's children but the one in `slot`."""
    bitmap, leaves, digests, _ = node
    place, size, _, _ = place_of(bitmap, leaves, 1 << slot)
    return bitmap & ~(1 << slot), digests[:place] + digests[place + size :]


def version_bytes(height: Height) -> bytes:
    """Return the ref of a node that `height` wrote."""
    return height.to_bytes(NODE_REF)


def encode_node(node: Node) -> bytes:
    """Return the record of a node in the store."""
    bitmap, leaves, digests, refs = node
    return _BITMAPS.pack(bitmap, leaves) + digests + refs


def decode_node(data: bytes, key: bytes) -> Node:
    """Return the node of a stored record; raises `CorruptStateError`. Its digest is the caller's to check."""
    if len(data) < _BITMAPS.size:
        raise CorruptStateError("a state record", key)
    bitmap, leaves, digests, refs = node = _split(data, 0)
    children = bitmap.bit_count()
    if (
        leaves & ~bitmap
        or len(refs) != children * NODE_REF + leaves.bit_count() * HASH_BYTES
        or len(digests) != children * HASH_BYTES
    ):
        raise CorruptStateError("a state record", key)
    return node


def _split(data: bytes, at: int) -> Node:
    bitmap, leaves = _BITMAPS.unpack_from(data, at)
    digests = at + _BITMAPS.size
    refs = digests + bitmap.bit_count() * HASH_BYTES
    return bitmap, leaves, data[digests:refs], data[refs:]


def decode_record(data: bytes, key: bytes, count: int) -> tuple[Any, ...]:
    """Return the `count` fields of a stored record; raises `CorruptStateError`. What they are is the caller's to check."""
    try:
        record = msgpack.unpackb(data, use_list=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptStateError("a state record", key) from error
    if type(record) is not tuple or len(record) != count:
        raise CorruptStateError("a state record", key)
    return record

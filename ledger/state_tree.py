"""The Merkle state: a radix-16 tree over the hashes of keys, every version of which stays readable until it is pruned.

What is hashed, and the tree's shape, stand in `ledger.state_proof`; how nodes and leaves are stored in `ledger.state_nodes`.
Each step down is one `get`, a leaf need not be read to be replaced nor rewritten when it moves up or down, and each height has
a root node of its own.

Pure: it reads through a `Reader` and returns what is to be written. Not thread-safe.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from ledger.errors import invariant
from ledger.hashing import HASH_BYTES
from ledger.state_nodes import (
    LEAF_PREFIX,
    LEAF_REF,
    NODE_PREFIX,
    NODE_REF,
    Child,
    CorruptStateError,
    Node,
    NodeCache,
    PrunedStateError,
    child_of,
    decode_node,
    decode_record,
    siblings_of,
    version_bytes,
)
from ledger.state_proof import RADIX, StateHasher, StateProof, path_of
from ledger.state_update import StateRoot, TreeUpdate, UpdatePass
from ledger.store import Reader
from ledger.types import Height

__all__ = [
    "LEAF_PREFIX",
    "NODE_PREFIX",
    "CorruptStateError",
    "Place",
    "PrunedStateError",
    "StateRoot",
    "StateTree",
    "TreeUpdate",
]

CACHE_BYTES: Final = 64 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Place:
    """What stands at a path of one version: a node or a leaf, with its digest and the rest of its store key."""

    path: bytes
    digest: bytes
    ref: bytes = field(repr=False)

    @property
    def is_leaf(self) -> bool:
        """Return whether it is a leaf."""
        return len(self.ref) == LEAF_REF


class StateTree:
    """All versions of one chain's state in one store. `reader` must show committed writes only.

    A node is checked against its digest when it comes from the store, a leaf against its key (by `items`: its digest).
    """

    def __init__(self, genesis_hash: bytes, reader: Reader, *, cache_bytes: int = CACHE_BYTES) -> None:
        self._hasher = StateHasher(genesis_hash)
        self._nodes = NodeCache(self._hasher, reader, cache_bytes)
        self._reader = reader

    def root_at(self, height: Height) -> StateRoot | None:
        """Return the version that `height` wrote, or None when it is not stored (not yet, or pruned).

        Compare its digest with the header's: it is computed from what the store holds.
        """
        data = self._reader.get(NODE_PREFIX + version_bytes(height))
        if data is None:
            return None
        node = decode_node(data, NODE_PREFIX + version_bytes(height))
        return StateRoot(height, self._hasher.node(node[0], node[2]))

    def update(self, root: StateRoot | None, height: Height, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """Return the version of `height`: that of `root` (None: the empty state) with raw `changes` made (None deletes).

        Nothing is written or remembered. `height` must be above the root's: a version is written once.
        """
        invariant(root is None or root.height < height, "a state version follows one of a lower height")
        return UpdatePass(self._hasher, self._nodes, version_bytes(height)).run(root, height, changes)

    def adopt(self, update: TreeUpdate) -> None:
        """Remember the nodes of an update that HAS been written, so that the next one need not read them again."""
        self._nodes.adopt(update.stale, update.fresh)

    def get(self, root: StateRoot, key: bytes) -> bytes | None:
        """Return the value of `key` in the version `root`, or None."""
        key_hash = self._hasher.key(key)
        _, leaf = self._walk(root, path_of(key_hash))
        return self._leaf(leaf)[1] if leaf[1][:HASH_BYTES] == key_hash else None

    def prove(self, root: StateRoot, key: bytes) -> StateProof:
        """Return the proof of the value of `key` in the version `root`, or of its absence."""
        key_hash = self._hasher.key(key)
        path = path_of(key_hash)
        nodes, leaf = self._walk(root, path)
        steps = tuple(siblings_of(node, slot) for node, slot in zip(nodes, path, strict=False))
        other_hash = leaf[1][:HASH_BYTES]
        if other_hash in (b"", key_hash):
            return StateProof(steps, None)
        return StateProof(steps, (other_hash, self._hasher.value(self._leaf(leaf)[1])))

    def items(self, root: StateRoot, after: bytes = b"") -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield (key hash, key, value) of the version `root` in order of key hash, from the first hash above `after`.

        Checks every node and leaf against its digest (snapshots and `db verify` rely on it): raises `CorruptStateError`.
        """
        return self._items((root.digest, version_bytes(root.height)), b"", path_of(after))

    def place(self, root: StateRoot, path: bytes = b"") -> Place | None:
        """Return what stands exactly at `path` (a byte a nibble) of the version `root`; None: nothing does."""
        place: Place | None = Place(b"", root.digest, version_bytes(root.height))
        for slot in path:
            place = None if place is None or place.is_leaf else self.children(place).get(slot)
        return place

    def children(self, place: Place) -> dict[int, Place]:
        """Return what stands below a node, by slot (0..15, ascending). Raises `CorruptStateError`, `PrunedStateError`."""
        node = self._nodes.load(NODE_PREFIX + place.path + place.ref, place.digest)
        return {slot: Place(place.path + bytes((slot,)), *child_of(node, slot)) for slot in range(RADIX) if node[0] >> slot & 1}

    def items_at(self, place: Place) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield what `items` does of the leaves at and below a place."""
        return self._items((place.digest, place.ref), place.path, b"")

    def _items(self, child: Child, path: bytes, after: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
        digest, ref = child
        if len(ref) == NODE_REF and path >= after[: len(path)]:
            node = self._nodes.load(NODE_PREFIX + path + ref, digest)
            for slot in range(RADIX):
                yield from self._items(child_of(node, slot), path + bytes((slot,)), after)
        elif len(ref) == LEAF_REF and path_of(ref[:HASH_BYTES]) > after:
            yield ref[:HASH_BYTES], *self._leaf(child)

    def _walk(self, root: StateRoot, path: bytes) -> tuple[list[Node], Child]:
        """Return the nodes along `path` from the root down, and the leaf where they end (`NOTHING`: none is there)."""
        nodes: list[Node] = []
        digest, ref = root.digest, version_bytes(root.height)
        while len(ref) == NODE_REF:
            depth = len(nodes)
            nodes.append(self._nodes.load(NODE_PREFIX + path[:depth] + ref, digest))
            digest, ref = child_of(nodes[depth], path[depth])
        return nodes, (digest, ref)

    def _leaf(self, leaf: Child) -> tuple[bytes, bytes]:
        """Return the raw key and value of a leaf, checked against its digest."""
        digest, ref = leaf
        data = self._reader.get(LEAF_PREFIX + ref)
        if data is None:
            raise PrunedStateError(LEAF_PREFIX + ref)
        key, value = decode_record(data, LEAF_PREFIX + ref, 2)
        if type(key) is not bytes or type(value) is not bytes:
            raise CorruptStateError("a state leaf", LEAF_PREFIX + ref)
        if self._hasher.leaf(self._hasher.key(key), self._hasher.value(value)) != digest:
            raise CorruptStateError("a state leaf", LEAF_PREFIX + ref)
        return key, value

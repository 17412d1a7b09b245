"""A block's changes of the state tree in one pass: down over the sorted paths of all changes, digests computed on the way up."""

from bisect import bisect_left
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

from ledger.codec import encode_trusted
from ledger.hashing import HASH_BYTES
from ledger.state_nodes import (
    EMPTY,
    LEAF_PREFIX,
    LEAF_REF,
    NODE_PREFIX,
    NODE_REF,
    NOTHING,
    Child,
    Node,
    NodeCache,
    encode_node,
    version_bytes,
)
from ledger.state_proof import StateHasher, path_of
from ledger.types import Height

Entry: TypeAlias = tuple[bytes, bytes, bytes]  # path, digest and ref of a changed leaf; empty digest and ref: deleted


@dataclass(frozen=True, slots=True)
class StateRoot:
    """One version of the state: the height that wrote it, and the root digest that stands in that height's header."""

    height: Height
    digest: bytes


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """What an update would write. A value: dropping it undoes the update.

    `fresh`: store key -> digest and node; `leaves`: store key -> raw key and value. `stale`: store keys of the previous version
    that this one replaces; they may be deleted once no height below `root.height` is to be readable.
    """

    root: StateRoot
    fresh: Mapping[bytes, tuple[bytes, Node]] = field(repr=False)
    leaves: Mapping[bytes, tuple[bytes, bytes]] = field(repr=False)
    stale: tuple[bytes, ...] = field(repr=False)

    @property
    def nodes(self) -> dict[bytes, bytes]:
        """Return what is to be written atomically with the block, encoded at each call: store key -> bytes."""
        records = {key: encode_node(node) for key, (_, node) in self.fresh.items()}
        records.update((key, encode_trusted(leaf)) for key, leaf in self.leaves.items())
        return records


class UpdatePass:
    """One batched update: down the tree once over the sorted paths of all changes, digests computed on the way up."""

    __slots__ = ("_fresh", "_hasher", "_leaves", "_load", "_stale", "_version")

    def __init__(self, hasher: StateHasher, nodes: NodeCache, version: bytes) -> None:
        self._hasher = hasher
        self._load = nodes.load
        self._version = version
        self._fresh: dict[bytes, tuple[bytes, Node]] = {}
        self._leaves: dict[bytes, tuple[bytes, bytes]] = {}
        self._stale: list[bytes] = []

    def run(self, root: StateRoot | None, height: Height, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """Make `changes` to `root` as the version of `height`, which gets a root node even when nothing changes."""
        node = EMPTY
        if root is not None:
            key = NODE_PREFIX + version_bytes(root.height)
            node = self._load(key, root.digest)
            self._stale.append(key)
        entries = self._entries(changes)
        digest, _ = self._seal(b"", self._change_children(node, entries, 0, len(entries), 0))
        return TreeUpdate(StateRoot(height, digest), self._fresh, self._leaves, tuple(self._stale))

    def _entries(self, changes: Mapping[bytes, bytes | None]) -> list[Entry]:
        """Return the changed leaves in the order of their paths; those with a value are written."""
        hash_key, hash_value, hash_leaf = self._hasher.key, self._hasher.value, self._hasher.leaf
        version, leaves = self._version, self._leaves
        entries: list[Entry] = []
        for key, value in changes.items():
            key_hash = hash_key(key)
            if value is None:
                entries.append((path_of(key_hash), *NOTHING))
            else:
                ref = key_hash + version
                leaves[LEAF_PREFIX + ref] = (key, value)
                entries.append((path_of(key_hash), hash_leaf(key_hash, hash_value(value)), ref))
        entries.sort()  # by path: no two are the same
        return entries

    def _change_children(self, node: Node, entries: list[Entry], start: int, stop: int, depth: int) -> Node:
        """Return the node at `depth` with entries[start:stop] made below it: `node` itself when that changes nothing.

        The inner loop of every update, so the arithmetic of `_place` and the commonest case stand here unrolled.
        """
        bitmap, leaves, digests, refs = node
        while start < stop:
            path, digest, ref = entries[start]
            slot = path[depth]
            end = start + 1
            while end < stop and entries[end][0][depth] == slot:
                end += 1
            bit = 1 << slot
            rank = (bitmap & (bit - 1)).bit_count()
            place = rank * HASH_BYTES
            ref_place = rank * NODE_REF + (leaves & (bit - 1)).bit_count() * HASH_BYTES
            size = HASH_BYTES if bitmap & bit else 0
            ref_size = (LEAF_REF if leaves & bit else NODE_REF) if size else 0
            old_digest, old_ref = digests[place : place + size], refs[ref_place : ref_place + ref_size]
            if ref_size == NODE_REF and end - start == 1:
                digest, ref = self._change_one(old_digest, old_ref, entries, start, depth + 1)
            elif ref_size == NODE_REF:
                digest, ref = self._change_node(old_digest, old_ref, entries, start, end, depth + 1)
            elif end - start == 1 and old_ref[:HASH_BYTES] == ref[:HASH_BYTES] and digest != old_digest:
                self._stale.append(LEAF_PREFIX + old_ref)
            else:
                digest, ref = self._change_leaf(old_digest, old_ref, entries[start:end], depth + 1)
            start = end
            if digest != old_digest:
                digests = digests[:place] + digest + digests[place + size :]
                refs = refs[:ref_place] + ref + refs[ref_place + ref_size :]
                if len(ref) != ref_size:
                    bitmap = bitmap | bit if ref else bitmap & ~bit
                    leaves = leaves | bit if len(ref) == LEAF_REF else leaves & ~bit
        return node if digests is node[2] else (bitmap, leaves, digests, refs)

    def _change_one(self, digest: bytes, ref: bytes, entries: list[Entry], at: int, depth: int) -> Child:
        """Do what `_change_node` does for entries[at] alone: mostly a new value of a key that is there.

        Then no node changes its shape, so the way down is a list and the way up replaces a digest and a ref in each.
        """
        path, new_digest, new_ref = entries[at]
        where = NODE_PREFIX + path
        top, child, load = (digest, ref, depth), (digest, ref), self._load
        trail: list[tuple[bytes, Node, int, int]] = []
        while len(child[1]) == NODE_REF:
            key = where[: len(NODE_PREFIX) + depth] + child[1]
            node = load(key, child[0])
            bitmap, leaves, digests, refs = node
            bit = 1 << path[depth]
            rank = (bitmap & (bit - 1)).bit_count()
            ref_place = rank * NODE_REF + (leaves & (bit - 1)).bit_count() * HASH_BYTES
            trail.append((key, node, rank * HASH_BYTES, ref_place))
            child = NOTHING
            if bitmap & bit:
                size = LEAF_REF if leaves & bit else NODE_REF
                child = digests[rank * HASH_BYTES : (rank + 1) * HASH_BYTES], refs[ref_place : ref_place + size]
            depth += 1
        if not new_ref or child[1][:HASH_BYTES] != new_ref[:HASH_BYTES] or child[0] == new_digest:
            return self._change_node(top[0], top[1], entries, at, at + 1, top[2])
        self._stale.append(LEAF_PREFIX + child[1])
        digest, ref = new_digest, new_ref
        version, hash_node, stale, fresh = self._version, self._hasher.node, self._stale, self._fresh
        for key, (bitmap, leaves, digests, refs), place, ref_place in reversed(trail):
            digests = digests[:place] + digest + digests[place + HASH_BYTES :]
            refs = refs[:ref_place] + ref + refs[ref_place + len(ref) :]
            digest, ref = hash_node(bitmap, digests), version
            fresh[key[:-NODE_REF] + version] = (digest, (bitmap, leaves, digests, refs))
            stale.append(key)
        return digest, ref

    def _change_node(self, digest: bytes, ref: bytes, entries: list[Entry], start: int, stop: int, depth: int) -> Child:
        """Return the node at `depth` after the entries, or the one leaf that is left of it, or nothing."""
        path = entries[start][0][:depth]
        key = NODE_PREFIX + path + ref
        old = self._load(key, digest)
        new = self._change_children(old, entries, start, stop, depth)
        if new is old:
            return digest, ref
        self._stale.append(key)
        bitmap, leaves, digests, refs = new
        if bitmap == leaves and len(refs) <= LEAF_REF:
            return digests, refs
        return self._seal(path, new)

    def _change_leaf(self, digest: bytes, ref: bytes, entries: list[Entry], depth: int) -> Child:
        """Return what stands at `depth` after the entries where a leaf, or nothing, stood."""
        if ref:
            entries = self._join_leaf(digest, ref, entries)
        live = [entry for entry in entries if entry[1]]
        if len(live) < 2:
            return live[0][1:] if live else NOTHING
        return self._seal(live[0][0][:depth], self._change_children(EMPTY, live, 0, len(live), depth))

    def _join_leaf(self, digest: bytes, ref: bytes, entries: list[Entry]) -> list[Entry]:
        """Return the entries with the leaf that stands in their place, unless one of them replaces or deletes it."""
        path = path_of(ref[:HASH_BYTES])
        place = bisect_left(entries, (path,))
        if place == len(entries) or entries[place][0] != path:
            return [*entries[:place], (path, digest, ref), *entries[place:]]
        if entries[place][1] == digest:  # the value it had: the leaf stays as it was
            del self._leaves[LEAF_PREFIX + entries[place][2]]
            return [*entries[:place], (path, digest, ref), *entries[place + 1 :]]
        self._stale.append(LEAF_PREFIX + ref)
        return entries

    def _seal(self, path: bytes, node: Node) -> Child:
        """Write the node at `path` and return it as a child."""
        digest = self._hasher.node(node[0], node[2])
        self._fresh[NODE_PREFIX + path + self._version] = (digest, node)
        return digest, self._version

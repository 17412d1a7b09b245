"""The Merkle state: a radix-16 tree over the hashes of keys, every version of which stays readable until it is pruned.

What is hashed, and the tree's shape, stand in `ledger.state_proof`. This module stores the tree (protocol, section State):

    node    key  NODE_PREFIX + path (a byte a nibble) + height (8 bytes, big-endian)    value  [bitmap, leaves, digests, refs]
    leaf    key  LEAF_PREFIX + key hash + height                                        value  [key, value]

`leaves` is the bitmap of the children that are leaves; digests and refs of the children present lie side by side. A ref is the
rest of the child's store key: the height of a node, key hash and height of a leaf. So each step down is one `get`, a leaf need
not be read to be replaced nor rewritten when it moves up or down, and each height has a root node of its own.

Pure: it reads through a `Reader` and returns what is to be written. Not thread-safe.
"""

from bisect import bisect_left
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

import msgpack

from ledger.codec import encode_trusted
from ledger.errors import DatacarError, NotFoundError, invariant
from ledger.hashing import HASH_BYTES
from ledger.state_proof import RADIX, StateHasher, StateProof, Step, path_of
from ledger.store import Reader
from ledger.types import Height

NODE_PREFIX: Final = b"sn"
LEAF_PREFIX: Final = b"sl"
CACHE_NODES: Final = 65_536  # a full node of leaves takes 1.5 KB: at most 100 MB

_NODE_REF: Final = 8
_LEAF_REF: Final = HASH_BYTES + 8

# Plain tuples of packed bytes, because thousands of these pass through a block's update and memory is slower than arithmetic.
_Node: TypeAlias = tuple[int, int, bytes, bytes]  # bitmap, leaves, digests, refs
_Child: TypeAlias = tuple[bytes, bytes]  # digest, ref; both empty where there is no child
_Entry: TypeAlias = tuple[bytes, bytes, bytes]  # path, digest and ref of a changed leaf; empty digest and ref: deleted

_NOTHING: Final[_Child] = (b"", b"")
_EMPTY: Final[_Node] = (0, 0, b"", b"")


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
        height = int.from_bytes(key[-_NODE_REF:])
        super().__init__(
            "pruned",
            f"state written at height {height} is no longer stored",
            hint="ask for a later height, or ask an archive node",
            written_at=height,
        )


@dataclass(frozen=True, slots=True)
class StateRoot:
    """One version of the state: the height that wrote it, and the root digest that stands in that height's header."""

    height: Height
    digest: bytes


@dataclass(frozen=True, slots=True)
class TreeUpdate:
    """What an update would write. A value: dropping it undoes the update.

    `nodes`: store key -> bytes, to be written atomically with the block. `stale`: store keys of the previous version that
    this one replaces; they may be deleted once no height below `root.height` is to be readable. `decoded`: for `adopt` only.
    """

    root: StateRoot
    nodes: Mapping[bytes, bytes]
    stale: tuple[bytes, ...]
    decoded: Mapping[bytes, tuple[bytes, _Node]] = field(repr=False, compare=False)


class StateTree:
    """All versions of one chain's state in one store. `reader` must show committed writes only.

    A node is checked against its digest when it comes from the store, a leaf against its key (by `items`: its digest).
    """

    def __init__(self, genesis_hash: bytes, reader: Reader, *, cache_nodes: int = CACHE_NODES) -> None:
        self._hasher = StateHasher(genesis_hash)
        self._nodes = _Nodes(self._hasher, reader, cache_nodes)
        self._reader = reader

    def root_at(self, height: Height) -> StateRoot | None:
        """Return the version that `height` wrote, or None when it is not stored (not yet, or pruned).

        Compare its digest with the header's: it is computed from what the store holds.
        """
        data = self._reader.get(NODE_PREFIX + _version(height))
        if data is None:
            return None
        node = _decode_node(data, NODE_PREFIX + _version(height))
        return StateRoot(height, self._hasher.node(node[0], node[2]))

    def update(self, root: StateRoot | None, height: Height, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """Return the version of `height`: that of `root` (None: the empty state) with raw `changes` made (None deletes).

        Nothing is written or remembered. `height` must be above the root's: a version is written once.
        """
        invariant(root is None or root.height < height, "a state version follows one of a lower height")
        return _Pass(self._hasher, self._nodes, _version(height)).run(root, height, changes)

    def adopt(self, update: TreeUpdate) -> None:
        """Remember the nodes of an update that HAS been written, so that the next one need not read them again."""
        self._nodes.adopt(update.stale, update.decoded)

    def get(self, root: StateRoot, key: bytes) -> bytes | None:
        """Return the value of `key` in the version `root`, or None."""
        key_hash = self._hasher.key(key)
        _, ref = self._walk(root, path_of(key_hash))
        if ref[:HASH_BYTES] != key_hash:
            return None
        stored_key, value = self._leaf(ref)
        if stored_key != key:
            raise CorruptStateError("a state leaf", LEAF_PREFIX + ref)
        return value

    def prove(self, root: StateRoot, key: bytes) -> StateProof:
        """Return the proof of the value of `key` in the version `root`, or of its absence."""
        key_hash = self._hasher.key(key)
        path = path_of(key_hash)
        nodes, ref = self._walk(root, path)
        steps = tuple(_siblings(node, slot) for node, slot in zip(nodes, path, strict=False))
        if not ref or ref[:HASH_BYTES] == key_hash:
            return StateProof(steps, None)
        _, value = self._leaf(ref)
        return StateProof(steps, (ref[:HASH_BYTES], self._hasher.value(value)))

    def items(self, root: StateRoot, after: bytes = b"") -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield (key hash, key, value) of the version `root` in order of key hash, from the first hash above `after`.

        Checks every node and leaf against its digest (snapshots and `db verify` rely on it): raises `CorruptStateError`.
        """
        return self._items((root.digest, _version(root.height)), b"", path_of(after))

    def _items(self, child: _Child, path: bytes, after: bytes) -> Iterator[tuple[bytes, bytes, bytes]]:
        digest, ref = child
        if len(ref) == _NODE_REF and path >= after[: len(path)]:
            node = self._nodes.load(NODE_PREFIX + path + ref, digest)
            for slot in range(RADIX):
                yield from self._items(_child(node, slot), path + bytes((slot,)), after)
        elif len(ref) == _LEAF_REF and path_of(ref[:HASH_BYTES]) > after:
            key, value = self._leaf(ref)
            if digest != self._hasher.leaf(self._hasher.key(key), self._hasher.value(value)):
                raise CorruptStateError("a state leaf", LEAF_PREFIX + ref)
            yield ref[:HASH_BYTES], key, value

    def _walk(self, root: StateRoot, path: bytes) -> tuple[list[_Node], bytes]:
        """Return the nodes along `path` from the root down, and the ref of the leaf where they end (empty: none is there)."""
        nodes: list[_Node] = []
        digest, ref = root.digest, _version(root.height)
        while len(ref) == _NODE_REF:
            depth = len(nodes)
            nodes.append(self._nodes.load(NODE_PREFIX + path[:depth] + ref, digest))
            digest, ref = _child(nodes[depth], path[depth])
        return nodes, ref

    def _leaf(self, ref: bytes) -> tuple[bytes, bytes]:
        """Return the raw key and value of a leaf. The caller checks them."""
        data = self._reader.get(LEAF_PREFIX + ref)
        if data is None:
            raise PrunedStateError(LEAF_PREFIX + ref)
        key, value = _decode(data, LEAF_PREFIX + ref, 2)
        return key, value


class _Nodes:
    """Reads nodes through a cache, checking each against its digest when it comes from the store.

    A node enters the cache only from the store or from a written update, and is served only under the digest asked for: what a
    dropped update would have written under the same store key cannot be mistaken for it. The cache holds at most `bound` nodes
    in two generations: what was used since the last turn, and what before; a turn forgets the latter.
    """

    __slots__ = ("_half", "_hasher", "_old", "_reader", "_young")

    def __init__(self, hasher: StateHasher, reader: Reader, bound: int) -> None:
        self._hasher = hasher
        self._reader = reader
        self._half = max(1, bound // 2)
        self._young: dict[bytes, tuple[bytes, _Node]] = {}
        self._old: dict[bytes, tuple[bytes, _Node]] = {}

    def load(self, key: bytes, digest: bytes) -> _Node:
        """Return the node stored under `key`; raises `PrunedStateError` or `CorruptStateError`."""
        cached = self._young.get(key)
        if cached is None or cached[0] != digest:
            cached = self._old.pop(key, None)
            if cached is None or cached[0] != digest:
                cached = digest, self._read(key, digest)
            self._remember(key, cached)
        return cached[1]

    def adopt(self, stale: tuple[bytes, ...], fresh: Mapping[bytes, tuple[bytes, _Node]]) -> None:
        """Put the nodes of a written update in the place of those it replaced."""
        for key in stale:
            self._young.pop(key, None)
        for key, entry in fresh.items():
            self._remember(key, entry)

    def _read(self, key: bytes, digest: bytes) -> _Node:
        data = self._reader.get(key)
        if data is None:
            raise PrunedStateError(key)
        node = _decode_node(data, key)
        if self._hasher.node(node[0], node[2]) != digest or not _refs_fit(node):
            raise CorruptStateError("a state node", key)
        return node

    def _remember(self, key: bytes, entry: tuple[bytes, _Node]) -> None:
        if len(self._young) >= self._half:
            self._old, self._young = self._young, {}
        self._young[key] = entry


class _Pass:
    """One batched update: down the tree once over the sorted paths of all changes, digests computed on the way up."""

    __slots__ = ("_decoded", "_hasher", "_load", "_stale", "_version", "_written")

    def __init__(self, hasher: StateHasher, nodes: _Nodes, version: bytes) -> None:
        self._hasher = hasher
        self._load = nodes.load
        self._version = version
        self._written: dict[bytes, bytes] = {}
        self._decoded: dict[bytes, tuple[bytes, _Node]] = {}
        self._stale: list[bytes] = []

    def run(self, root: StateRoot | None, height: Height, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        """Make `changes` to `root` as the version of `height`, which gets a root node even when nothing changes."""
        node = _EMPTY
        if root is not None:
            key = NODE_PREFIX + _version(root.height)
            node = self._load(key, root.digest)
            self._stale.append(key)
        entries = self._entries(changes)
        digest, _ = self._seal(b"", self._change_children(node, entries, 0, len(entries), 0))
        return TreeUpdate(StateRoot(height, digest), self._written, tuple(self._stale), self._decoded)

    def _entries(self, changes: Mapping[bytes, bytes | None]) -> list[_Entry]:
        """Return the changed leaves in the order of their paths; those with a value are written."""
        hash_key, hash_leaf = self._hasher.key, self._hasher.leaf_hash
        version, written = self._version, self._written
        entries: list[_Entry] = []
        for key, value in changes.items():
            key_hash = hash_key(key)
            if value is None:
                entries.append((path_of(key_hash), *_NOTHING))
            else:
                ref = key_hash + version
                written[LEAF_PREFIX + ref] = encode_trusted((key, value))
                digest = hash_leaf(encode_trusted((key_hash, hash_leaf(encode_trusted((value,))))))
                entries.append((path_of(key_hash), digest, ref))
        entries.sort()  # by path: no two are the same
        return entries

    def _change_children(self, node: _Node, entries: list[_Entry], start: int, stop: int, depth: int) -> _Node:
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
            ref_place = rank * _NODE_REF + (leaves & (bit - 1)).bit_count() * HASH_BYTES
            size = HASH_BYTES if bitmap & bit else 0
            ref_size = (_LEAF_REF if leaves & bit else _NODE_REF) if size else 0
            old_digest, old_ref = digests[place : place + size], refs[ref_place : ref_place + ref_size]
            if ref_size == _NODE_REF:
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
                    leaves = leaves | bit if len(ref) == _LEAF_REF else leaves & ~bit
        return node if digests is node[2] else (bitmap, leaves, digests, refs)

    def _change_node(self, digest: bytes, ref: bytes, entries: list[_Entry], start: int, stop: int, depth: int) -> _Child:
        """Return the node at `depth` after the entries, or the one leaf that is left of it, or nothing."""
        path = entries[start][0][:depth]
        key = NODE_PREFIX + path + ref
        old = self._load(key, digest)
        new = self._change_children(old, entries, start, stop, depth)
        if new is old:
            return digest, ref
        self._stale.append(key)
        bitmap, leaves, digests, refs = new
        if bitmap == leaves and len(refs) <= _LEAF_REF:
            return digests, refs
        return self._seal(path, new)

    def _change_leaf(self, digest: bytes, ref: bytes, entries: list[_Entry], depth: int) -> _Child:
        """Return what stands at `depth` after the entries where a leaf, or nothing, stood."""
        if ref:
            entries = self._join_leaf(digest, ref, entries)
        live = [entry for entry in entries if entry[1]]
        if len(live) < 2:
            return live[0][1:] if live else _NOTHING
        return self._seal(live[0][0][:depth], self._change_children(_EMPTY, live, 0, len(live), depth))

    def _join_leaf(self, digest: bytes, ref: bytes, entries: list[_Entry]) -> list[_Entry]:
        """Return the entries with the leaf that stands in their place, unless one of them replaces or deletes it."""
        path = path_of(ref[:HASH_BYTES])
        place = bisect_left(entries, (path,))
        if place == len(entries) or entries[place][0] != path:
            return [*entries[:place], (path, digest, ref), *entries[place:]]
        if entries[place][1] == digest:  # the value it had: the leaf stays as it was
            del self._written[LEAF_PREFIX + entries[place][2]]
            return [*entries[:place], (path, digest, ref), *entries[place + 1 :]]
        self._stale.append(LEAF_PREFIX + ref)
        return entries

    def _seal(self, path: bytes, node: _Node) -> _Child:
        """Write the node at `path` and return it as a child."""
        digest = self._hasher.node_hash(encode_trusted((node[0], node[2])))
        key = NODE_PREFIX + path + self._version
        self._written[key] = encode_trusted(node)
        self._decoded[key] = (digest, node)
        return digest, self._version


def _place(bitmap: int, leaves: int, bit: int) -> tuple[int, int, int, int]:
    """Return where in a node's digests and refs the child of `bit` is or would be: place, size, place of ref, size of ref."""
    rank = (bitmap & (bit - 1)).bit_count()
    ref_place = rank * _NODE_REF + (leaves & (bit - 1)).bit_count() * HASH_BYTES
    if not bitmap & bit:
        return rank * HASH_BYTES, 0, ref_place, 0
    return rank * HASH_BYTES, HASH_BYTES, ref_place, _LEAF_REF if leaves & bit else _NODE_REF


def _child(node: _Node, slot: int) -> _Child:
    """Return the child in `slot` of a node."""
    bitmap, leaves, digests, refs = node
    place, size, ref_place, ref_size = _place(bitmap, leaves, 1 << slot)
    return digests[place : place + size], refs[ref_place : ref_place + ref_size]


def _siblings(node: _Node, slot: int) -> Step:
    """Return the bitmap and digests of a node's children but the one in `slot`."""
    bitmap, leaves, digests, _ = node
    place, size, _, _ = _place(bitmap, leaves, 1 << slot)
    return bitmap & ~(1 << slot), digests[:place] + digests[place + size :]


def _version(height: Height) -> bytes:
    return height.to_bytes(_NODE_REF)


def _refs_fit(node: _Node) -> bool:
    """Tell whether the part of a stored node that its digest does not cover has the right shape."""
    bitmap, leaves, _, refs = node
    if type(leaves) is not int or type(refs) is not bytes or leaves & ~bitmap:
        return False
    return len(refs) == bitmap.bit_count() * _NODE_REF + leaves.bit_count() * HASH_BYTES


def _decode_node(data: bytes, key: bytes) -> _Node:
    bitmap, leaves, digests, refs = _decode(data, key, 4)
    return bitmap, leaves, digests, refs


def _decode(data: bytes, key: bytes, count: int) -> tuple[Any, ...]:
    """Return the `count` fields of a stored record; raises `CorruptStateError`. What they are is the caller's to check."""
    try:
        record = msgpack.unpackb(data, use_list=False)
    except (ValueError, msgpack.UnpackException) as error:
        raise CorruptStateError("a state record", key) from error
    if type(record) is not tuple or len(record) != count:
        raise CorruptStateError("a state record", key)
    return record

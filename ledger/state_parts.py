"""A version of the state in parts that are checked one by one as they come (protocol, section State).

A part is what stands at one path of the tree: a `Fork`, the bitmap and digests of a node, or `Leaves`, all pairs of a subtree
that is small enough. Who puts a state together starts at the root digest of a certified header, so the digest of every part is
known before the part is: a lie is found at once, whoever told it, and each part is good for itself.

Pure: `cut` reads a tree and stops between steps where its caller may do other work; `Assembly` returns what is to be written.
"""

from bisect import bisect_left
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ledger.codec import Value, as_bytes, as_int, as_tuple, encode_trusted, fields
from ledger.errors import BadEncodingError
from ledger.hashing import HASH_BYTES
from ledger.list_root import BadProofError
from ledger.state_nodes import encode_node
from ledger.state_proof import MAX_DEPTH, RADIX, StateHasher, path_of
from ledger.state_tree import LEAF_PREFIX, NODE_PREFIX, Place, StateRoot, StateTree

PART_KEYS: Final = 512
"""A subtree that is taken for smaller than this is tried as a whole."""
PART_BYTES: Final = 96 * 1024
"""Over so many bytes of keys and values a subtree is cut after all, unless it is one leaf."""
MAX_PART_KEYS: Final = 1_024

STEP_KEYS: Final = 64  # read between two stops of `cut`

_NIBBLE_BITS: Final = 4

Path: TypeAlias = bytes
Pair: TypeAlias = tuple[bytes, bytes]
_Leaf: TypeAlias = tuple[bytes, bytes, bytes]  # path, digest, ref


class BadPartError(BadProofError):
    """A part that does not have the digest which its parent promises."""

    def __init__(self, message: str, path: Path, **details: object) -> None:
        super().__init__(message, hint="ask another member for it", path=path.hex(), **details)


@dataclass(frozen=True, slots=True)
class Fork:
    """A node: bit i says that it has child i, the 32-byte digests of the children follow one another."""

    bitmap: int
    digests: bytes = field(repr=False)

    def __post_init__(self) -> None:
        if self.bitmap >> RADIX or len(self.digests) != self.bitmap.bit_count() * HASH_BYTES:
            raise BadEncodingError(f"a fork with bitmap {self.bitmap:#06x} has {len(self.digests)} bytes of digests")

    def to_value(self) -> Value:
        """Return the canonical form [bitmap, digests]."""
        return (self.bitmap, self.digests)

    def children(self) -> dict[int, bytes]:
        """Return the digests by slot."""
        slots = (slot for slot in range(RADIX) if self.bitmap >> slot & 1)
        return {slot: self.digests[at * HASH_BYTES : (at + 1) * HASH_BYTES] for at, slot in enumerate(slots)}


@dataclass(frozen=True, slots=True)
class Leaves:
    """All (raw key, value) of a subtree, in the order of the keys' hashes."""

    pairs: tuple[Pair, ...] = field(repr=False)

    def to_value(self) -> Value:
        """Return the canonical form [[key, value, key, value, ...]]."""
        return (tuple(item for pair in self.pairs for item in pair),)


Part: TypeAlias = Fork | Leaves


def part_from_value(value: Value) -> Part:
    """Return the part of a canonical form: its length tells which kind it is. Raises `BadEncodingError`."""
    items = as_tuple(value, "state part", max_items=2)
    if len(items) == 2:
        return Fork(as_int(items[0], "fork bitmap", high=2**RADIX - 1), as_bytes(items[1], "fork digests"))
    (flat,) = fields(value, 1, "leaves")
    found = [as_bytes(item, "state key or value") for item in as_tuple(flat, "leaves", max_items=2 * MAX_PART_KEYS)]
    if len(found) % 2:
        raise BadEncodingError("leaves come as pairs of key and value")
    return Leaves(tuple(zip(found[::2], found[1::2], strict=True)))


def as_path(value: Value) -> Path:
    """Return a path: a byte (0..15) for each nibble."""
    path = as_bytes(value, "state path", max_size=MAX_DEPTH)
    if any(slot >= RADIX for slot in path):
        raise BadEncodingError("a state path has a nibble over 15")
    return path


# ---- cutting


def cut(tree: StateTree, root: StateRoot, path: Path) -> Iterator[Part | None]:
    """Yield a None for each step of about a millisecond and at last the part at `path` of a version, if anything stands there.

    Raises `PrunedStateError` or `CorruptStateError` of the tree.
    """
    place = tree.place(root, path)
    if place is None:
        return
    if place.is_leaf or estimate_keys(tree, place) <= PART_KEYS:
        yield None
        pairs: list[Pair] = []
        room = PART_BYTES
        for _, key, value in tree.items_at(place):
            room -= len(key) + len(value)
            if pairs and (room < 0 or len(pairs) == MAX_PART_KEYS):
                break
            pairs.append((key, value))
            if len(pairs) % STEP_KEYS == 0:
                yield None
        else:
            yield Leaves(tuple(pairs))
            return
    yield _fork(tree, place)


def _fork(tree: StateTree, place: Place) -> Fork:
    children = tree.children(place)
    return Fork(sum(1 << slot for slot in children), b"".join(child.digest for child in children.values()))


def estimate_keys(tree: StateTree, place: Place) -> int:
    """Return about how many keys stand below a place, from a handful of nodes.

    Key hashes are uniform: under a node whose children are all nodes stand about 16 times as many keys as under one of them, and
    where empty slots and leaves begin, a node has two or three keys. Whoever grinds keys to mislead this gains nothing but work.
    """
    scale = 1
    while not place.is_leaf:
        children = tree.children(place)
        inner = [child for child in children.values() if not child.is_leaf]
        if len(inner) < RADIX:
            return scale * (len(children) + 2 * len(inner))
        scale, place = scale * RADIX, inner[0]
    return scale


# ---- putting together


@dataclass(slots=True)
class _Open:
    """A fork with `unknown` children that may be a leaf or a node. `hashes`: the key hashes of those that are leaves."""

    fork: Fork
    unknown: int
    hashes: dict[int, bytes] = field(default_factory=dict)


class Assembly:
    """A state put together as version `height`, from parts in any order: those wanted are the children of the forks that came.

    Bounded: what is wanted next is taken depth first, so that few forks are open at a time. `values_prefix` is where the flat
    pairs go in the store.
    """

    def __init__(self, genesis_hash: bytes, root: StateRoot, values_prefix: bytes) -> None:
        self._hasher = StateHasher(genesis_hash)
        self._version = root.height.to_bytes(8)
        self._prefix = values_prefix
        self._stack: list[Path] = [b""]
        self._expected: dict[Path, bytes] = {b"": root.digest}
        self._open: dict[Path, _Open] = {}
        self._done = 0
        self.keys = 0
        self.parts = 0

    @property
    def complete(self) -> bool:
        """Return whether everything has come: then what was returned for writing is the whole version."""
        return not self._expected

    @property
    def waiting(self) -> int:
        """Return how many parts and forks are held in memory: what is wanted or asked for, and what is open."""
        return len(self._expected) + len(self._open)

    @property
    def permille(self) -> int:
        """Return how much of the key space has come: key hashes are uniform, so about so much of the state has."""
        return self._done * 1_000 // _share(0)

    @property
    def expected_keys(self) -> int:
        """Return about how many keys the state has; 0 before anything has come."""
        return self.keys * _share(0) // self._done if self._done else 0

    def want(self) -> Path | None:
        """Return the path of a part to get, or None when all that are known of are being got."""
        while self._stack:
            if (path := self._stack.pop()) in self._expected:
                return path
        return None

    def give_back(self, path: Path) -> None:
        """Have a part wanted again: whoever was asked did not bring it."""
        if path in self._expected:
            self._stack.append(path)

    def take(self, path: Path, part: Part) -> dict[bytes, bytes]:
        """Take a part that was wanted and return the records to write. Raises `BadPartError` and is as it was before."""
        digest = self._expected.get(path)
        if digest is None:
            return {}
        records = self._take_fork(path, part, digest) if isinstance(part, Fork) else self._take_leaves(path, part, digest)
        del self._expected[path]
        self.parts += 1
        return records

    def _take_fork(self, path: Path, fork: Fork, digest: bytes) -> dict[bytes, bytes]:
        if self._hasher.node(fork.bitmap, fork.digests) != digest:
            raise BadPartError("the fork does not have the digest that its parent promises", path)
        children = fork.children()
        for slot, child in reversed(children.items()):
            self._expected[path + bytes((slot,))] = child
            self._stack.append(path + bytes((slot,)))
        self._done += (RADIX - len(children)) * _share(len(path) + 1)
        self._open[path] = _Open(fork, len(children))
        records: dict[bytes, bytes] = {} if children else self._close(path)
        return records | self._tell_parent(path, None)

    def _take_leaves(self, path: Path, leaves: Leaves, digest: bytes) -> dict[bytes, bytes]:
        records: dict[bytes, bytes] = {}
        entries = self._entries(path, leaves.pairs, records)
        key_hash: bytes | None = None
        if len(entries) == 1 and path:
            found, key_hash = entries[0][1], entries[0][2][:HASH_BYTES]
        else:
            found = self._grow(entries, 0, len(entries), len(path), path, records)
        if found != digest:
            raise BadPartError("the leaves do not have the digest that their parent promises", path, leaves=len(entries))
        self._done += _share(len(path))
        self.keys += len(entries)
        return records | self._tell_parent(path, key_hash)

    def _entries(self, path: Path, pairs: Sequence[Pair], records: dict[bytes, bytes]) -> list[_Leaf]:
        """Return the leaves in order, their records put into `records`. Raises `BadPartError` for what does not belong here."""
        if path and not pairs:
            raise BadPartError("something stands at this path, no leaves came", path)
        hasher, version, prefix = self._hasher, self._version, self._prefix
        entries: list[_Leaf] = []
        last = b""
        for key, value in pairs:
            key_hash = hasher.key(key)
            if key_hash <= last:
                raise BadPartError("the leaves are not in the order of their keys' hashes", path)
            last = key_hash
            entries.append((path_of(key_hash), hasher.leaf(key_hash, hasher.value(value)), key_hash + version))
            records[LEAF_PREFIX + key_hash + version] = encode_trusted((key, value))
            records[prefix + key] = value
        if entries and not (entries[0][0].startswith(path) and entries[-1][0].startswith(path)):
            raise BadPartError("a leaf belongs to another path", path)
        return entries

    def _grow(self, leaves: list[_Leaf], start: int, stop: int, depth: int, path: Path, records: dict[bytes, bytes]) -> bytes:
        """Return the digest of the node at `path` over leaves[start:stop], its record and those below it put into `records`."""
        bitmap = kinds = 0
        digests: list[bytes] = []
        refs: list[bytes] = []
        while start < stop:
            slot = leaves[start][0][depth]
            end = bisect_left(leaves, (path + bytes((slot + 1,)),), start, stop)
            if end - start == 1:
                _, digest, ref = leaves[start]
                kinds |= 1 << slot
            else:
                digest, ref = self._grow(leaves, start, end, depth + 1, path + bytes((slot,)), records), self._version
            bitmap |= 1 << slot
            digests.append(digest)
            refs.append(ref)
            start = end
        joined = b"".join(digests)
        records[NODE_PREFIX + path + self._version] = encode_node((bitmap, kinds, joined, b"".join(refs)))
        return self._hasher.node(bitmap, joined)

    def _tell_parent(self, path: Path, key_hash: bytes | None) -> dict[bytes, bytes]:
        """Note that a leaf (with its key hash) or a node (None) stands at `path`; return the parent's record once it is whole."""
        if not path:
            return {}
        parent = self._open[path[:-1]]
        parent.unknown -= 1
        if key_hash is not None:
            parent.hashes[path[-1]] = key_hash
        return {} if parent.unknown else self._close(path[:-1])

    def _close(self, path: Path) -> dict[bytes, bytes]:
        """Return the record of a fork all of whose children are known."""
        opened = self._open.pop(path)
        fork, hashes = opened.fork, opened.hashes
        refs = b"".join(hashes.get(slot, b"") + self._version for slot in fork.children())
        kinds = sum(1 << slot for slot in hashes)
        return {NODE_PREFIX + path + self._version: encode_node((fork.bitmap, kinds, fork.digests, refs))}


def _share(depth: int) -> int:
    """Return how many key hashes have the same path down to `depth`."""
    return 1 << _NIBBLE_BITS * (MAX_DEPTH - depth)

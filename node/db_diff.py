"""`datacar db diff`: where do two nodes part, and over which key?

Headers name their parents, so the first height at which two chains differ is found by bisection. There the two state trees are
walked down along differing digests only: a few nodes for each key that differs, however large the states are.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from itertools import islice
from typing import Final, Protocol

from ledger.block import Header
from ledger.errors import DatacarError, NotFoundError
from ledger.state_tree import StateTree
from ledger.types import Height
from node.block_store import BlockStore, StorageError
from node.db_tools import Progress
from node.missing import pruned
from node.state_node import StateNode, state_node

RADIX: Final = 16


class Side(Protocol):
    """One of the two nodes: a store, or a node that answers over RPC."""

    @property
    def name(self) -> str:
        """What to call it."""

    @property
    def genesis_hash(self) -> bytes:
        """Its chain."""

    def heights(self) -> tuple[Height, Height]:
        """Return the first height whose header is held, and the tip."""

    def header(self, height: Height) -> Header:
        """Return a committed header."""

    def node(self, height: Height, path: bytes) -> StateNode | None:
        """Return what stands at a path of a version of the state. Raises `NotFoundError` `pruned{oldest}`."""


class StoreSide:
    """A stopped node's store."""

    def __init__(self, name: str, store: BlockStore, genesis_hash: bytes) -> None:
        self.name = name
        self.genesis_hash = genesis_hash
        self._store = store
        self._tree = StateTree(genesis_hash, store.raw)

    def heights(self) -> tuple[Height, Height]:
        """Return the first height whose header is held, and the tip."""
        return self._store.held.headers_from, self._store.tip_height() or Height(0)

    def header(self, height: Height) -> Header:
        """Return a committed header. Raises `StorageError`."""
        header = self._store.header(height)
        if header is None:
            hint = "run `datacar db verify`"
            raise StorageError("store_corrupt", f"{self.name}: the header of block {height} is missing", hint=hint, height=height)
        return header

    def node(self, height: Height, path: bytes) -> StateNode | None:
        """Return what stands at a path of a version of the state, as the tree has it."""
        held = height >= self._store.held.states_from or height in self._store.pins
        root = self._tree.root_at(height) if held else None
        if root is None:
            raise pruned(f"the state of height {height}", self._store.held.states_from, height=height)
        return state_node(self._tree, root, path)


@dataclass(frozen=True, slots=True)
class KeyDifference:
    """A raw state key with its value on either side; None: it is not there."""

    key: bytes
    a: bytes | None
    b: bytes | None


@dataclass(slots=True)
class Difference:
    """What two nodes differ in.

    `compared`: the highest height both have. `first_height`: of the first block that differs, in the fields `header_fields`.
    `state_height`: the height whose states were compared, `keys` what differs there (`more`: there are further ones). `faults`:
    what one of them lacks of what it says it has. `notes`: what could not be compared, which is no difference.
    """

    tips: tuple[Height, Height]
    compared: Height
    first_height: Height | None = None
    header_fields: tuple[str, ...] = ()
    state_height: Height | None = None
    keys: list[KeyDifference] = field(default_factory=list)
    more: bool = False
    faults: list[str] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether the two agree in everything both have: one that is behind, or has pruned, does not differ for that."""
        return self.first_height is None and not self.keys and not self.faults


def diff(a: Side, b: Side, max_keys: int, progress: Progress) -> Difference:
    """Return where two nodes of one chain part.

    Raises `StorageError` for nodes of different chains, `NotFoundError` `pruned` where there is no height that both have.
    """
    if a.genesis_hash != b.genesis_hash:
        raise StorageError("wrong_chain", f"{a.name} and {b.name} are of different chains", hint="compare nodes of one chain")
    (first_a, tip_a), (first_b, tip_b) = a.heights(), b.heights()
    found = Difference((tip_a, tip_b), min(tip_a, tip_b))
    low = max(first_a, first_b)
    if low > found.compared:
        what = f"nothing can be compared: one node ends at height {found.compared}, and there"
        raise NotFoundError(
            "pruned",
            f"{what} the other, whose oldest header is of height {low}, has nothing",
            hint="compare again when the one behind has caught up",
            oldest=low,
            height=found.compared,
        )
    found.first_height = _first_height(a, b, low, found.compared, progress)
    if found.first_height is not None:
        one, other = a.header(found.first_height), b.header(found.first_height)
        names = (item.name for item in fields(Header))
        found.header_fields = tuple(name for name in names if getattr(one, name) != getattr(other, name))
        if found.first_height == low > 0:
            found.notes.append(f"the headers differ from height {low} on, which is the first that both have")
    _compare_states(a, b, found, max_keys, progress)
    return found


def _first_height(a: Side, b: Side, low: int, high: int, progress: Progress) -> Height | None:
    """Return the first height at which the headers differ: once they do, they do for ever."""
    if a.header(Height(high)) == b.header(Height(high)):
        return None
    steps = 0
    while low < high:
        middle = (low + high) // 2
        if a.header(Height(middle)) == b.header(Height(middle)):
            low = middle + 1
        else:
            high = middle
        steps += 1
        progress("comparing headers", steps, steps + (high - low).bit_length())
    return Height(low)


def _compare_states(a: Side, b: Side, found: Difference, max_keys: int, progress: Progress) -> None:
    """Compare the states where the chains part, or at the last common height: a state must also be what its header says."""
    begin = found.compared if found.first_height is None else found.first_height
    try:
        height = _common_state(a, b, begin, found.compared)
    except NotFoundError as error:
        found.notes.append(f"the states were not compared: {error.message}")
        return
    found.state_height = height
    try:
        for side in (a, b):
            root = side.node(height, b"")
            if root is None or root.digest != side.header(height).state_root:
                found.faults.append(f"{side.name} does not hold the state that its own header of height {height} names")
        found.keys.extend(islice(_differing(a, b, height, b"", progress), max_keys + 1))
    except DatacarError as error:
        found.faults.append(f"the states could not be read to the end: {error.message}")
    found.more = len(found.keys) > max_keys
    del found.keys[max_keys:]


def _common_state(a: Side, b: Side, low: Height, high: Height) -> Height:
    """Return the first height from `low` on whose state both hold. Raises `NotFoundError` when there is none up to `high`."""
    height = low
    while True:
        try:
            a.node(height, b"")
            b.node(height, b"")
        except NotFoundError as error:
            oldest = error.details.get("oldest")
            if not isinstance(oldest, int) or not height < oldest <= high:
                raise
            height = Height(oldest)
        else:
            return height


def _differing(a: Side, b: Side, height: Height, path: bytes, progress: Progress) -> Iterator[KeyDifference]:
    """Yield the differing keys below a path, in the order of their hashes."""
    one, other = a.node(height, path), b.node(height, path)
    progress("walking down the states", int.from_bytes(_key_space(path)), 2**16)
    if (one and one.digest) == (other and other.digest):
        return
    if one is not None and other is not None and one.leaf is None and other.leaf is None:
        for slot in range(RADIX):
            if one.children.get(slot) != other.children.get(slot):
                yield from _differing(a, b, height, path + bytes((slot,)), progress)
        return
    if one is not None and one.leaf is None:
        for key, left, right in _against(_leaves(a, height, path, one), other):
            yield KeyDifference(key, left, right)
    else:
        for key, right, left in _against(_leaves(b, height, path, other), one):
            yield KeyDifference(key, left, right)


def _against(many: Iterator[tuple[bytes, bytes]], single: StateNode | None) -> Iterator[tuple[bytes, bytes | None, bytes | None]]:
    """Yield (key, value among many, value of the single leaf, if there is one) where they differ."""
    rest = dict([single.leaf] if single is not None and single.leaf is not None else ())
    for key, value in many:
        mine = rest.pop(key, None)
        if mine != value:
            yield key, value, mine
    for key, mine in rest.items():
        yield key, None, mine


def _leaves(side: Side, height: Height, path: bytes, node: StateNode | None) -> Iterator[tuple[bytes, bytes]]:
    """Yield the pairs at and below a path."""
    if node is None:
        return
    if node.leaf is not None:
        yield node.leaf
    for slot in node.children:
        below = path + bytes((slot,))
        yield from _leaves(side, height, below, side.node(height, below))


def _key_space(path: bytes) -> bytes:
    """Return the first two bytes of the key hashes below a path: how far a walk in their order has come."""
    nibbles = (path + bytes(4))[:4]
    return bytes((nibbles[0] << 4 | nibbles[1], nibbles[2] << 4 | nibbles[3]))

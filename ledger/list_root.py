"""Merkle roots of ordered lists of digests: a header's transactions and receipts roots, and proofs that an item is in one.

The tree is RFC 6962's (section 2.1): leaves and nodes are hashed under different tags, an odd node moves up unpaired and is
never doubled. Unlike there, the root also covers the number of items, so a proof binds the item's position:

    leaf = LIST_LEAF(item)    node = LIST_NODE([left, right])    root = LIST_NODE([count, top node or nil])

each over the canonical encoding. Pure; checking a proof takes nothing but this module.
"""

from collections.abc import Generator, Iterator, Sequence
from dataclasses import dataclass
from typing import Final, Self

from ledger.codec import Value, as_bytes, as_int, as_tuple, decode, encode_trusted, fields
from ledger.errors import BadEncodingError, InvalidInputError, invariant
from ledger.hashing import HASH_BYTES, Hasher, Tag

MAX_LIST_DEPTH: Final = 32
MAX_LIST_ITEMS: Final = 2**MAX_LIST_DEPTH
MAX_LIST_PROOF_BYTES: Final = MAX_LIST_DEPTH * (HASH_BYTES + 2) + 32
HASHES_A_STEP: Final = 256
"""A part of a millisecond of work."""


class BadProofError(InvalidInputError):
    """A well-formed Merkle proof that does not prove the claim: the item, value, key or root is another one."""

    def __init__(
        self, message: str, *, hint: str = "check the height of the header, or ask another node", **details: object
    ) -> None:
        super().__init__("bad_proof", message, hint=hint, **details)


@dataclass(frozen=True, slots=True)
class ListProof:
    """The path of item `index` (from 0) of `count`: the 32-byte sibling digests, the lowest first. Always well-formed."""

    index: int
    count: int
    siblings: tuple[bytes, ...]

    def __post_init__(self) -> None:
        if not 0 <= self.index < self.count <= MAX_LIST_ITEMS:
            raise BadEncodingError(f"list proof for item {self.index} of {self.count}", index=self.index, count=self.count)
        expected = sum(sibling is not None for sibling in _sibling_places(self.index, self.count))
        if len(self.siblings) != expected:
            raise BadEncodingError(
                f"list proof for item {self.index} of {self.count} must have {expected} siblings, got {len(self.siblings)}",
                expected=expected,
                got=len(self.siblings),
            )

    def to_value(self) -> Value:
        """Return the canonical form [index, count, [sibling, ...]]."""
        return (self.index, self.count, self.siblings)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the proof of a canonical form; raises `BadEncodingError` for any other shape."""
        index, count, siblings = fields(value, 3, "list proof")
        return cls(
            as_int(index, "list proof index"),
            as_int(count, "list proof count"),
            tuple(
                as_bytes(sibling, "list proof sibling", size=HASH_BYTES)
                for sibling in as_tuple(siblings, "list proof siblings", max_items=MAX_LIST_DEPTH)
            ),
        )

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return encode_trusted(self.to_value())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the proof that `data` encodes; raises `BadEncodingError` or `TooLargeError`."""
        return cls.from_value(decode(data, max_bytes=MAX_LIST_PROOF_BYTES))


def list_root(genesis_hash: bytes, items: Sequence[bytes]) -> bytes:
    """Return the 32-byte root of a list of 32-byte digests (an empty list has one too)."""
    return ListTree(genesis_hash, items).root


class ListTree:
    """The tree over a list of 32-byte digests, hashed once: its `root`, and many proofs."""

    __slots__ = ("_count", "_levels", "root")

    def __init__(self, genesis_hash: bytes, items: Sequence[bytes]) -> None:
        for _ in self._steps(genesis_hash, items):
            pass

    @classmethod
    def in_steps(cls, genesis_hash: bytes, items: Sequence[bytes]) -> Generator[None, None, Self]:
        """Return the tree, yielding between steps of `HASHES_A_STEP`: for callers that must do other things in between."""
        tree = cls.__new__(cls)
        yield from cls._steps(tree, genesis_hash, items)
        return tree

    def _steps(self, genesis_hash: bytes, items: Sequence[bytes]) -> Iterator[None]:
        self._count = len(items)
        self._levels: list[list[bytes]] = []
        yield from _grow(self._levels, genesis_hash, items)
        top = self._levels[-1]
        self.root = Hasher(Tag.LIST_NODE, genesis_hash)(encode_trusted((len(items), top[0] if top else None)))

    def prove(self, index: int) -> ListProof:
        """Return the proof that item `index` stands there (0 <= index < the number of items)."""
        invariant(0 <= index < self._count, f"item {index} of {self._count} cannot be proven")
        places = _sibling_places(index, self._count)
        siblings = tuple(level[place] for level, place in zip(self._levels, places, strict=False) if place is not None)
        return ListProof(index, self._count, siblings)


def prove_item(genesis_hash: bytes, items: Sequence[bytes], index: int) -> ListProof:
    """Return the proof that `items[index]` stands at `index` (0 <= index < len(items))."""
    return ListTree(genesis_hash, items).prove(index)


def verify_list_proof(genesis_hash: bytes, root: bytes, item: bytes, proof: ListProof) -> None:
    """Return iff `item` stands at `proof.index` in the list of `proof.count` digests under `root`; else raise `BadProofError`."""
    node = Hasher(Tag.LIST_NODE, genesis_hash)
    digest = Hasher(Tag.LIST_LEAF, genesis_hash)(encode_trusted(item))
    siblings = iter(proof.siblings)
    for level, place in enumerate(_sibling_places(proof.index, proof.count)):
        if place is None:
            continue
        sibling = next(siblings)
        is_left = place < proof.index >> level
        digest = node(encode_trusted((sibling, digest) if is_left else (digest, sibling)))
    if node(encode_trusted((proof.count, digest))) != root:
        raise BadProofError(
            f"the list proof does not lead to the root: not item {proof.index} of {proof.count}",
            index=proof.index,
            count=proof.count,
        )


def _grow(levels: list[list[bytes]], genesis_hash: bytes, items: Sequence[bytes]) -> Iterator[None]:
    """Add the tree's digests level by level, from the leaves to the single top one; yield after each step."""
    invariant(all(len(item) == HASH_BYTES for item in items), "a list root is taken over 32-byte digests")
    leaf, node = Hasher(Tag.LIST_LEAF, genesis_hash), Hasher(Tag.LIST_NODE, genesis_hash)
    levels.append(level := [])
    for at in range(0, len(items), HASHES_A_STEP):
        level += [leaf(encode_trusted(item)) for item in items[at : at + HASHES_A_STEP]]
        yield
    while len(level) > 1:
        levels.append(above := [])
        for at in range(0, len(level), 2 * HASHES_A_STEP):
            left, right = level[at : at + 2 * HASHES_A_STEP : 2], level[at + 1 : at + 2 * HASHES_A_STEP : 2]
            above += [node(encode_trusted(pair)) for pair in zip(left, right, strict=False)]
            yield
        if len(level) % 2:
            above.append(level[-1])
        level = above


def _sibling_places(index: int, count: int) -> list[int | None]:
    """Return for each level below the top the place of the sibling on the path of `index`, or None where it has none."""
    places: list[int | None] = []
    while count > 1:
        places.append(index ^ 1 if index ^ 1 < count else None)
        index, count = index >> 1, (count + 1) >> 1
    return places

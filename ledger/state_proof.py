"""The hashes of the state tree, and proofs that a key has a value, or none, under a state root. No tree code, no store.

    key hash = STATE_KEY(key)    value hash = STATE_LEAF([value])    leaf = STATE_LEAF([key hash, value hash])
    node = STATE_NODE([bitmap, digests])               root = the node at depth 0, even with 0 or 1 children

each over the canonical encoding (the arrays' lengths keep the two uses of STATE_LEAF apart). Bit i of a node's bitmap says that
it has child i (0..15); the digests of the children present follow one another in one byte string. A key's path is its hash read
as 64 nibbles, high first. A leaf stands at the shallowest depth >= 1 where no other key shares its path; below the root a node
stands exactly where two keys or more share a path. So a root depends on the pairs only, never on their history.
"""

from dataclasses import dataclass
from typing import Final, Self, TypeAlias

from ledger.codec import Value, as_bytes, as_int, as_tuple, decode, encode_trusted, fields
from ledger.errors import BadEncodingError
from ledger.hashing import HASH_BYTES, Hasher, Tag
from ledger.list_root import BadProofError

RADIX: Final = 16
MAX_DEPTH: Final = 2 * HASH_BYTES
MAX_STATE_PROOF_BYTES: Final = MAX_DEPTH * (RADIX * HASH_BYTES + 8) + 128

# Turns the ASCII of a hex digit into its value, so that a path is one byte a nibble.
_HEX_VALUES: Final = bytes.maketrans(b"0123456789abcdef", bytes(range(RADIX)))


# The canonical encoding of two hashes, and of a node, up to what differs: thousands of them are hashed in a block.
_HASH_HEAD: Final = encode_trusted(bytes(HASH_BYTES))[:-HASH_BYTES]
_LEAF_HEAD: Final = encode_trusted((bytes(HASH_BYTES), bytes(HASH_BYTES)))[: 1 + len(_HASH_HEAD)]


class _NodeHeads(dict[int, bytes]):
    """The encoding of a node before its digests, by bitmap."""

    def __missing__(self, bitmap: int) -> bytes:
        size = bitmap.bit_count() * HASH_BYTES
        encoded = encode_trusted((bitmap, bytes(size)))
        head = self[bitmap] = encoded[: len(encoded) - size]
        return head


_NODE_HEADS: Final = _NodeHeads()


def path_of(key_hash: bytes) -> bytes:
    """Return the path of a key hash: one byte (0..15) for each nibble, high nibble first."""
    return key_hash.hex().encode().translate(_HEX_VALUES)


Step: TypeAlias = tuple[int, bytes]  # bitmap and digests of a node's children without the one on the path


class StateHasher:
    """The tagged hashes of one chain's state, as the module's docstring defines them."""

    __slots__ = ("_leaf", "_node", "key")

    def __init__(self, genesis_hash: bytes) -> None:
        self.key = Hasher(Tag.STATE_KEY, genesis_hash)
        self._leaf = Hasher(Tag.STATE_LEAF, genesis_hash)
        self._node = Hasher(Tag.STATE_NODE, genesis_hash)

    def value(self, value: bytes) -> bytes:
        """Return the value hash."""
        return self._leaf(encode_trusted((value,)))

    def leaf(self, key_hash: bytes, value_hash: bytes) -> bytes:
        """Return the digest of the leaf with this key hash and value hash."""
        return self._leaf(_LEAF_HEAD + key_hash + _HASH_HEAD + value_hash)

    def node(self, bitmap: int, digests: bytes) -> bytes:
        """Return the digest of the node with these children."""
        return self._node(_NODE_HEADS[bitmap] + digests)


@dataclass(frozen=True, slots=True)
class StateProof:
    """The path from the root to where a key's leaf is or would be. Always well-formed, not yet checked against a root.

    `steps`: for each node from the root down, the children beside the path. `other`: None when the path ends in the key's own
    leaf or in an empty place; (key hash, value hash) when another key's leaf stands there.
    """

    steps: tuple[Step, ...]
    other: tuple[bytes, bytes] | None

    def __post_init__(self) -> None:
        if not 1 <= len(self.steps) <= MAX_DEPTH:
            raise BadEncodingError(f"state proof must have 1..{MAX_DEPTH} steps, got {len(self.steps)}", limit=MAX_DEPTH)
        for bitmap, digests in self.steps:
            if bitmap >> RADIX or len(digests) != bitmap.bit_count() * HASH_BYTES:
                raise BadEncodingError(f"state proof step with bitmap {bitmap:#06x} has {len(digests)} bytes of digests")

    def to_value(self) -> Value:
        """Return the canonical form [[[bitmap, digests], ...], [key hash, value hash] or nil]."""
        return (self.steps, self.other)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the proof of a canonical form; raises `BadEncodingError` for any other shape."""
        steps, other = fields(value, 2, "state proof")
        return cls(
            tuple(_step(step) for step in as_tuple(steps, "state proof steps", max_items=MAX_DEPTH)),
            None if other is None else _other(other),
        )

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return encode_trusted(self.to_value())

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the proof that `data` encodes; raises `BadEncodingError` or `TooLargeError`."""
        return cls.from_value(decode(data, max_bytes=MAX_STATE_PROOF_BYTES))


def _step(value: Value) -> Step:
    bitmap, digests = fields(value, 2, "state proof step")
    return as_int(bitmap, "step bitmap"), as_bytes(digests, "step digests")


def _other(value: Value) -> tuple[bytes, bytes]:
    key_hash, value_hash = fields(value, 2, "other leaf")
    return as_bytes(key_hash, "key hash", size=HASH_BYTES), as_bytes(value_hash, "value hash", size=HASH_BYTES)


def verify_state_proof(genesis_hash: bytes, root_hash: bytes, key: bytes, value: bytes | None, proof: StateProof) -> None:
    """Return iff under `root_hash` the raw state key `key` has `value` (None: is absent); else raise `BadProofError`.

    `root_hash` must come from a certified header. At most 66 hashes.
    """
    hasher = StateHasher(genesis_hash)
    key_hash = hasher.key(key)
    path = path_of(key_hash)
    digest = _bottom(hasher, key_hash, value, proof)
    for step, slot in reversed(tuple(zip(proof.steps, path, strict=False))):
        digest = hasher.node(*_with_child(step, slot, digest))
    if digest != root_hash:
        claim = "is absent" if value is None else "has this value"
        raise BadProofError(f"the state proof does not lead to the root: not shown that the key {claim}", depth=len(proof.steps))


def _with_child(step: Step, slot: int, digest: bytes) -> Step:
    """Return the bitmap and digests of a node from the children beside the path and the one in `slot` (empty: none)."""
    bitmap, digests = step
    bit = 1 << slot
    if bitmap & bit:
        raise BadProofError("the state proof names a sibling in the key's own place", slot=slot)
    place = (bitmap & (bit - 1)).bit_count() * HASH_BYTES
    return bitmap | bit if digest else bitmap, digests[:place] + digest + digests[place:]


def _bottom(hasher: StateHasher, key_hash: bytes, value: bytes | None, proof: StateProof) -> bytes:
    """Return the digest at the end of the path if the claim holds: the key's leaf, another leaf, or none (empty)."""
    if value is not None:
        if proof.other is not None:
            raise BadProofError("this proof is about another key's leaf: it shows absence, not a value")
        return hasher.leaf(key_hash, hasher.value(value))
    if proof.other is None:
        return b""
    depth = len(proof.steps)
    if proof.other[0] == key_hash:
        raise BadProofError("the proof of absence shows the key itself")
    if path_of(proof.other[0])[:depth] != path_of(key_hash)[:depth]:
        raise BadProofError("the other leaf of the proof is not on the key's path", depth=depth)
    return hasher.leaf(*proof.other)

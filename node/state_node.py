"""One node of the state tree as others may ask for it: enough to walk down to where two states differ."""

from dataclasses import dataclass

from ledger.state_tree import StateRoot, StateTree


@dataclass(frozen=True, slots=True)
class StateNode:
    """What stands at a path (a byte a nibble): its digest, and a leaf's raw key and value or the digests of a node's children."""

    digest: bytes
    leaf: tuple[bytes, bytes] | None
    children: dict[int, bytes]


def state_node(tree: StateTree, root: StateRoot, path: bytes) -> StateNode | None:
    """Return what stands at `path` of a version, or None. Raises `CorruptStateError`, `PrunedStateError`."""
    place = tree.place(root, path)
    if place is None:
        return None
    if not place.is_leaf:
        return StateNode(place.digest, None, {slot: child.digest for slot, child in tree.children(place).items()})
    [(_, key, value)] = tree.items_at(place)
    return StateNode(place.digest, (key, value), {})

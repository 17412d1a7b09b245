"""Laws of the Merkle state: the root is a function of the pairs alone, the tree is a dict, proofs hold and forgeries do not."""

import random
from collections.abc import Mapping
from itertools import combinations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.errors import InvalidInputError
from ledger.hashing import ZERO_HASH
from ledger.state_proof import StateHasher, StateProof, path_of, verify_state_proof
from ledger.state_tree import StateTree
from ledger.store import MemoryStore
from ledger.types import Height

HASHER = StateHasher(ZERO_HASH)


def _close_keys() -> list[bytes]:
    """Few keys with paths that part early and late, so that a short run meets splits, chains and collapses."""
    paths = {b"key %d" % number: path_of(HASHER.key(b"key %d" % number)) for number in range(400)}
    deep = [pair for pair in combinations(paths, 2) if paths[pair[0]][:3] == paths[pair[1]][:3]]
    return sorted({key for pair in deep[:8] for key in pair} | set(list(paths)[:16]))


CLOSE_KEYS = _close_keys()
KEYS = st.sampled_from(CLOSE_KEYS)
VALUES = st.binary(max_size=3) | st.binary(min_size=30, max_size=70)
CONTENT = st.dictionaries(KEYS, VALUES, max_size=24)
BATCHES = st.lists(st.dictionaries(KEYS, st.none() | VALUES, max_size=12), min_size=1, max_size=8)


def digest_by_definition(leaves: dict[bytes, bytes], depth: int = 0) -> bytes:
    """The digest of the subtree of `leaves` (path -> leaf digest), straight from the definition in `ledger.state_proof`."""
    if depth and len(leaves) == 1:
        return next(iter(leaves.values()))
    children = {}
    for slot in range(16):
        if below := {path: leaf for path, leaf in leaves.items() if path[depth] == slot}:
            children[slot] = digest_by_definition(below, depth + 1)
    return HASHER.node(sum(1 << slot for slot in children), b"".join(children.values()))


def root_by_definition(content: dict[bytes, bytes]) -> bytes:
    return digest_by_definition(
        {path_of(HASHER.key(key)): HASHER.leaf(HASHER.key(key), HASHER.value(value)) for key, value in content.items()}
    )


def root_after(*batches: Mapping[bytes, bytes | None]) -> bytes:
    """The root after these batches, one height each, every node read back from the store."""
    store = MemoryStore()
    tree = StateTree(ZERO_HASH, store)
    root = None
    for height, changes in enumerate(batches):
        update = tree.update(root, Height(height), changes)
        store.apply(update.nodes)
        root = update.root
    return root.digest if root else b""


@settings(deadline=None)
@given(CONTENT, st.randoms(use_true_random=False))
def test_order_and_batching_do_not_matter(content: dict[bytes, bytes], shuffler: random.Random) -> None:
    pairs = list(content.items())
    shuffler.shuffle(pairs)
    expected = root_by_definition(content)
    assert root_after(dict(pairs)) == expected
    if pairs:
        assert root_after(*({key: value} for key, value in pairs)) == expected
        cut = shuffler.randrange(len(pairs))
        assert root_after(dict(pairs[:cut]), dict(pairs[cut:])) == expected


@settings(deadline=None)
@given(CONTENT, CONTENT)
def test_deleted_is_as_never_inserted(kept: dict[bytes, bytes], passing: dict[bytes, bytes]) -> None:
    gone: dict[bytes, bytes | None] = {key: None for key in passing if key not in kept}
    expected = root_by_definition(kept)
    assert root_after({**kept, **{key: passing[key] for key in gone}}, gone) == expected
    assert root_after(passing, {**gone, **kept}) == expected
    assert root_after(kept, passing, {**gone, **kept}) == expected


@settings(max_examples=40, deadline=None)
@given(BATCHES, st.sets(st.integers(0, 7)))
def test_the_tree_is_a_dict_at_every_height(batches: list[dict[bytes, bytes | None]], dropped: set[int]) -> None:
    """Against a model, with competing updates dropped on the way, a tiny cache, and every height checked at the end."""
    store = MemoryStore()
    tree = StateTree(ZERO_HASH, store, cache_bytes=3_000)
    model: dict[bytes, bytes] = {}
    history = []
    root = None
    for height, changes in enumerate(batches):
        if height in dropped:
            tree.update(root, Height(height), batches[height - 1])
        update = tree.update(root, Height(height), changes)
        store.apply(update.nodes)
        if height % 2:
            tree.adopt(update)
        model = {key: value for key, value in (model | changes).items() if value is not None}
        root = update.root
        history.append((root, model))
    for version, content in history:
        assert version.digest == root_by_definition(content)
        assert {key: value for _, key, value in tree.items(version)} == content
        for key in CLOSE_KEYS:
            value = tree.get(version, key)
            assert value == content.get(key)
            verify_state_proof(ZERO_HASH, version.digest, key, value, tree.prove(version, key))


@settings(max_examples=60, deadline=None)
@given(BATCHES)
def test_stale_is_exactly_what_the_last_version_does_not_use(batches: list[dict[bytes, bytes | None]]) -> None:
    store = MemoryStore()
    tree = StateTree(ZERO_HASH, store)
    model: dict[bytes, bytes] = {}
    root = None
    for height, changes in enumerate(batches):
        update = tree.update(root, Height(height), changes)
        assert not set(update.stale) & set(update.nodes)
        store.apply(update.nodes)
        store.apply(dict.fromkeys(update.stale))
        tree.adopt(update)
        model = {key: value for key, value in (model | changes).items() if value is not None}
        root = update.root
    assert root is not None
    assert {key: value for _, key, value in StateTree(ZERO_HASH, store).items(root)} == model
    assert len(store) == len(StateTree(ZERO_HASH, MemoryStore()).update(None, Height(0), model).nodes)


@settings(deadline=None)
@given(CONTENT, KEYS, st.none() | VALUES, st.data())
def test_only_the_truth_is_provable(content: dict[bytes, bytes], key: bytes, claim: bytes | None, data: st.DataObject) -> None:
    """A true proof of any key, forged in any byte, never proves any claim; and a false claim is never proven by a true proof."""
    store = MemoryStore()
    tree = StateTree(ZERO_HASH, store)
    update = tree.update(None, Height(0), content)
    store.apply(update.nodes)
    encoded = tree.prove(update.root, data.draw(KEYS)).encode()
    place = data.draw(st.integers(0, len(encoded) - 1))
    forged = encoded[:place] + bytes((encoded[place] ^ data.draw(st.integers(1, 255)),)) + encoded[place + 1 :]
    with pytest.raises(InvalidInputError):
        verify_state_proof(ZERO_HASH, update.root.digest, key, claim, StateProof.decode(forged))
    if claim != content.get(key):
        with pytest.raises(InvalidInputError):
            verify_state_proof(ZERO_HASH, update.root.digest, key, claim, StateProof.decode(encoded))


@settings(deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_are_no_proof(data: bytes) -> None:
    with pytest.raises(InvalidInputError):
        verify_state_proof(ZERO_HASH, ZERO_HASH, b"key", b"value", StateProof.decode(data))

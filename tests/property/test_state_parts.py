"""Laws of state parts: any state comes over whole in any order, and no part that differs from the true one is taken."""

import random
from collections.abc import Iterator

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.codec import decode, encode
from ledger.errors import BadEncodingError, InvalidInputError
from ledger.hashing import ZERO_HASH
from ledger.state_parts import (
    MAX_PART_KEYS,
    PART_BYTES,
    Assembly,
    BadPartError,
    Fork,
    Leaves,
    Part,
    as_path,
    cut,
    estimate_keys,
    part_from_value,
)
from ledger.state_tree import CorruptStateError, StateRoot, StateTree
from ledger.store import MemoryStore
from ledger.types import Height

OLD, NEW = Height(7), Height(9)
VALUES = b"v"


def build(content: dict[bytes, bytes]) -> tuple[StateTree, StateRoot, MemoryStore]:
    """A tree of `content` written by three blocks, so that its records have several versions."""
    store = MemoryStore()
    tree = StateTree(ZERO_HASH, store)
    root = None
    items = sorted(content.items())
    for height in range(3):
        update = tree.update(root, Height(height), dict(items[height::3]))
        store.apply(update.nodes)
        root = update.root
    assert root is not None
    return tree, root, store


def whole(tree: StateTree, root: StateRoot, path: bytes) -> Part:
    """The part at a path, without stopping on the way."""
    (part,) = (found for found in cut(tree, root, path) if found is not None)
    return part


def carry(tree: StateTree, root: StateRoot, rng: random.Random) -> tuple[Assembly, MemoryStore]:
    """Fetch everything, a few parts at a time in random order, each through its canonical bytes."""
    store = MemoryStore()
    assembly = Assembly(ZERO_HASH, StateRoot(NEW, root.digest), VALUES)
    asked: list[bytes] = []
    while not assembly.complete:
        while len(asked) < 4 and (path := assembly.want()) is not None:
            asked.append(path)
        path = asked.pop(rng.randrange(len(asked)))
        if rng.random() < 0.1:
            assembly.give_back(path)
            continue
        part = part_from_value(decode(encode(whole(tree, root, path).to_value())))
        store.apply(assembly.take(path, part))
        assert assembly.waiting <= 16 * 64
    return assembly, store


@settings(deadline=None, max_examples=40)
@given(st.integers(0, 2**32), st.sampled_from([0, 1, 2, 3, 20, 200, 520, 700, 2_500]))
def test_any_state_comes_over_whole(seed: int, keys: int) -> None:
    """The copy is one version of its own: every key reads, proves and iterates, and flat pairs lie beside the tree."""
    rng = random.Random(seed)
    content = {rng.randbytes(rng.randint(1, 8)): rng.randbytes(rng.randint(0, 90)) for _ in range(keys)}
    tree, root, _ = build(content)
    assembly, store = carry(tree, root, rng)
    copy = StateTree(ZERO_HASH, store)
    version = copy.root_at(NEW)
    assert version is not None
    assert version.digest == root.digest
    assert {key: value for _, key, value in copy.items(version)} == content
    assert {key[1:]: value for key, value in store.iterate(VALUES)} == content
    assert (assembly.permille, assembly.expected_keys, assembly.keys) == (1_000, len(content), len(content))
    assert all(copy.prove(version, key) == tree.prove(root, key) for key in [*content, b"absent"])


def test_a_copy_goes_on_as_the_original_would() -> None:
    """Blocks after the snapshot lead to the same roots on both, whatever versions the records below have."""
    content = {b"key %d" % number: b"value %d" % number for number in range(3_000)}
    tree, root, _ = build(content)
    _, copied = carry(tree, root, random.Random(1))
    copy = StateTree(ZERO_HASH, copied)
    changes = {b"key %d" % number: None if number % 3 else b"new" for number in range(0, 3_000, 7)}
    here = copy.update(copy.root_at(NEW), Height(10), changes)
    assert here.root.digest == tree.update(root, Height(10), changes).root.digest
    copied.apply(here.nodes)
    assert len({value for _, _, value in copy.items(here.root)}) > 1


def test_parts_are_few_and_bounded() -> None:
    """A part is about what fits a frame: not one a key, and none over the bounds but a single leaf."""
    content = {b"account %d" % number: bytes(100) for number in range(20_000)} | {b"big": bytes(1_000_000)}
    tree, root, _ = build(content)
    sizes: list[int] = []
    counts: list[int] = []
    wanted = [b""]
    while wanted:
        path = wanted.pop()
        part = whole(tree, root, path)
        if isinstance(part, Fork):
            wanted += [path + bytes((slot,)) for slot in part.children()]
        else:
            counts.append(len(part.pairs))
            sizes.append(sum(len(key) + len(value) for key, value in part.pairs))
    assert sum(counts) == 20_001
    assert max(counts) <= MAX_PART_KEYS
    assert len(counts) < 20_001 / 20
    assert [size > 1_000_000 for size in sizes if size > PART_BYTES] == [True], "the one large leaf stands alone"


@pytest.mark.parametrize("keys", [1, 5, 40, 300, 5_000, 30_000])
def test_the_estimate_is_near(keys: int) -> None:
    """Within a factor of eight: enough to choose between one answer and sixteen."""
    tree = StateTree(ZERO_HASH, store := MemoryStore())
    update = tree.update(None, Height(0), {b"%d" % number: b"" for number in range(keys)})
    store.apply(update.nodes)
    place = tree.place(update.root)
    assert place is not None
    assert keys / 8 <= estimate_keys(tree, place) <= keys * 8


def test_cutting_stops_on_the_way() -> None:
    """Between two stops there is a bounded piece of work, so that votes need not wait for a whole part."""
    tree, root, _ = build({b"%d" % number: bytes(64) for number in range(400)})
    *stops, part = cut(tree, root, b"")
    assert len(stops) >= 4
    assert not any(stops)
    assert part == whole(tree, root, b"")


def lies_about(part: Part, other: Part, rng: random.Random) -> Iterator[Part]:
    """Everything near the true part that a liar may send instead."""
    yield other
    yield Leaves(())
    yield Fork(0, b"")
    if isinstance(part, Fork):
        place = rng.randrange(len(part.digests))
        yield Fork(part.bitmap, part.digests[:place] + bytes((part.digests[place] ^ 1,)) + part.digests[place + 1 :])
        yield Fork(part.bitmap & (part.bitmap - 1), part.digests[32:])
        yield Fork(part.bitmap, part.digests[32:] + part.digests[:32])
    else:
        at = rng.randrange(len(part.pairs))
        key, value = part.pairs[at]
        before, after = part.pairs[:at], part.pairs[at + 1 :]
        yield Leaves((*before, *after))
        yield Leaves((*before, (key, value + b"!"), *after))
        yield Leaves((*before, (key, value[:-1] + b"?"), *after))
        yield Leaves((*before, (key + b"!", value), *after))
        yield Leaves((*before, (key, value), (key, value), *after))
        yield Leaves(part.pairs[::-1])
        yield Leaves((*part.pairs, (b"one more", b"")))


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10**6), st.sampled_from([1, 2, 17, 900, 3_000]))
def test_no_lie_is_taken(seed: int, keys: int) -> None:
    """A wrong part of any kind is refused and changes nothing: the true one is taken afterwards and the root is right."""
    rng = random.Random(seed)
    tree, root, _ = build({b"%d/%d" % (seed, number): b"%d" % number for number in range(keys)})
    other_tree, other_root, _ = build({b"%d/%d" % (seed, number): b"x%d" % number for number in range(keys)})
    assembly = Assembly(ZERO_HASH, StateRoot(NEW, root.digest), VALUES)
    store = MemoryStore()
    while (path := assembly.want()) is not None:
        part = whole(tree, root, path)
        if rng.random() < 0.3 or not path:
            for lie in lies_about(part, whole(other_tree, other_root, path), rng):
                if lie != part:
                    before = (assembly.keys, assembly.permille, assembly.waiting)
                    with pytest.raises(BadPartError):
                        assembly.take(path, lie)
                    assert (assembly.keys, assembly.permille, assembly.waiting) == before
        store.apply(assembly.take(path, part))
    assert assembly.complete
    assert StateTree(ZERO_HASH, store).root_at(NEW) == StateRoot(NEW, root.digest)


def test_a_part_of_another_place_or_version_is_refused() -> None:
    """A liar may know true parts: of a sibling, of an older version. None of them passes for the one that is wanted."""
    tree, root, store = build({b"%d" % number: b"" for number in range(3_000)})
    update = tree.update(root, OLD, {b"1": b"changed"})
    store.apply(update.nodes)
    assembly = Assembly(ZERO_HASH, StateRoot(NEW, update.root.digest), VALUES)
    with pytest.raises(BadPartError):
        assembly.take(b"", whole(tree, root, b""))
    assembly.take(b"", whole(tree, update.root, b""))
    path = assembly.want()
    assert path is not None
    with pytest.raises(BadPartError):
        assembly.take(path, whole(tree, update.root, bytes((path[0] ^ 1,))))


def test_what_nobody_asked_for_is_nothing() -> None:
    """A part that has come already, or was never wanted, is neither an error nor a record."""
    tree, root, _ = build({b"%d" % number: b"" for number in range(3_000)})
    assembly = Assembly(ZERO_HASH, StateRoot(NEW, root.digest), VALUES)
    part = whole(tree, root, b"")
    assembly.take(b"", part)
    assert assembly.take(b"", part) == {}
    assert assembly.take(b"\x01\x02", part) == {}
    assembly.give_back(b"")
    assert assembly.want() != b""


def test_nothing_stands_beside_the_tree() -> None:
    """A path below a leaf or into an empty slot has no part."""
    tree, root, _ = build({b"one": b"1"})
    place = tree.place(root)
    assert place is not None
    (leaf,) = tree.children(place).values()
    for path in (leaf.path + b"\x00", bytes((leaf.path[0] ^ 1,))):
        assert list(cut(tree, root, path)) == []


def test_damage_is_never_served() -> None:
    """A node or leaf that was changed in the store is not cut into a part: its reader is told, not misled."""
    _, root, store = build({b"%d" % number: b"value" for number in range(3_000)})
    for key, value in list(store.iterate(b"s"))[:400]:
        store.apply({key: value[:-1] + bytes((value[-1] ^ 1,))})
    tree = StateTree(ZERO_HASH, store)
    wanted, refused = [b""], 0
    while wanted:
        path = wanted.pop()
        try:
            part = whole(tree, root, path)
        except CorruptStateError:
            refused += 1
            continue
        wanted += [path + bytes((slot,)) for slot in part.children()] if isinstance(part, Fork) else []
    assert refused


@pytest.mark.parametrize(
    "value",
    [(), (1, 2, 3), (2**16, bytes(32)), (1, bytes(31)), (3, bytes(32)), ((b"key",),), ((b"key", 1),), ((b"",) * 4_098,), b"", 5],
)
def test_malformed_parts_are_refused(value: object) -> None:
    """What is no part at all does not get as far as a hash."""
    with pytest.raises(InvalidInputError):
        part_from_value(value)  # type: ignore[arg-type]


def test_paths_are_nibbles() -> None:
    """A path is at most 64 bytes of 0..15."""
    assert as_path(bytes(64)) == bytes(64)
    for wrong in (b"\x10", bytes(65), 3):
        with pytest.raises(InvalidInputError):
            as_path(wrong)
    with pytest.raises(BadEncodingError):
        Fork(1, b"")

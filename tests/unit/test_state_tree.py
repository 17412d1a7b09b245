"""The Merkle state: what is hashed, what is stored, which versions can be read and proven, and what damage does."""

from collections.abc import Mapping
from itertools import combinations

import pytest

from ledger.codec import encode
from ledger.errors import BadEncodingError, InvalidInputError, InvariantError, TooLargeError
from ledger.hashing import Tag, digest
from ledger.list_root import BadProofError
from ledger.state_proof import MAX_DEPTH, MAX_STATE_PROOF_BYTES, StateHasher, StateProof, path_of, verify_state_proof
from ledger.state_tree import LEAF_PREFIX, NODE_PREFIX, CorruptStateError, PrunedStateError, StateRoot, StateTree, TreeUpdate
from ledger.store import MemoryStore
from ledger.types import Height

GENESIS = bytes(range(32))
EMPTY_ROOT = digest(Tag.STATE_NODE, GENESIS, encode((0, b"")))
HASHER = StateHasher(GENESIS)


def key_path(key: bytes) -> bytes:
    return path_of(HASHER.key(key))


def shared(left: bytes, right: bytes) -> int:
    """How many nibbles the paths of two keys share."""
    return next(depth for depth in range(65) if key_path(left)[:depth] != key_path(right)[:depth]) - 1


# Two keys whose paths part late, found by search: below a common prefix the tree is a chain of nodes with one child.
TWINS = max(combinations([b"twin %d" % number for number in range(150)], 2), key=lambda pair: shared(*pair))


class Chain:
    """A tree over a store, and the root of every height that was committed."""

    def __init__(self) -> None:
        self.store = MemoryStore()
        self.tree = StateTree(GENESIS, self.store)
        self.roots: list[StateRoot] = []

    def prepare(self, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        return self.tree.update(self.roots[-1] if self.roots else None, Height(len(self.roots)), changes)

    def commit(self, changes: Mapping[bytes, bytes | None]) -> TreeUpdate:
        update = self.prepare(changes)
        self.store.apply(update.nodes)
        self.tree.adopt(update)
        self.roots.append(update.root)
        return update


@pytest.fixture
def chain() -> Chain:
    chain = Chain()
    chain.commit({b"key %d" % number: b"value %d" % number for number in range(300)})
    return chain


def test_hashes_are_the_documented_ones() -> None:
    """A small tree spelt out by hand from the module's docstring."""
    first, second = b"twin 0", next(key for key in (b"twin %d" % number for number in range(1, 99)) if not shared(b"twin 0", key))
    leaves = {}
    for key, value in ((first, b""), (second, b"two")):
        key_hash = digest(Tag.STATE_KEY, GENESIS, key)
        value_hash = digest(Tag.STATE_LEAF, GENESIS, encode((value,)))
        leaves[key_hash[0] >> 4] = digest(Tag.STATE_LEAF, GENESIS, encode((key_hash, value_hash)))
    bitmap = sum(1 << slot for slot in leaves)
    root = digest(Tag.STATE_NODE, GENESIS, encode((bitmap, b"".join(leaves[slot] for slot in sorted(leaves)))))
    assert Chain().prepare({first: b"", second: b"two"}).root.digest == root


def test_the_empty_state_has_a_root_at_every_height() -> None:
    chain = Chain()
    for _ in range(2):
        assert chain.commit({b"never was": None}).root.digest == EMPTY_ROOT
    assert chain.roots[0] != chain.roots[1]
    assert chain.tree.root_at(Height(1)) == chain.roots[1]
    assert list(chain.tree.items(chain.roots[1])) == []


def test_frozen_roots() -> None:
    """A change here is a change of protocol: every state root ever committed would differ."""
    chain = Chain()
    assert chain.commit({}).root.digest.hex() == "43f8eaa57691aba089eedc7eed8d50e039a10fd6a9934c5ad27e0d74e74bbca2"
    assert (
        chain.commit({b"key": b"value"}).root.digest.hex() == "f7b9a8c6b929b639e2186bc9e681eed95f4700bef7f2e046414347062fddc5df"
    )
    assert (
        chain.commit({TWINS[0]: b"a", TWINS[1]: b"b"}).root.digest.hex()
        == "c6eb61e42ee0f7756517e4494454bf5d65becc072c282da8e541b91e81337375"
    )
    assert (
        chain.commit({b"key %d" % number: b"%d" % number for number in range(1000)}).root.digest.hex()
        == "57e2f27fd87a16aebc99161dc794568516e971958f97fd9d30b7fadc4b9ed645"
    )
    assert (
        chain.commit({b"key %d" % number: None for number in range(0, 1000, 2)}).root.digest.hex()
        == "8a25df7a609b78c6083ad9e54b1b91bd3c31238b76164b8126fb3b6f9010bee9"
    )


def test_frozen_records() -> None:
    """What lies in the store; a change needs a migration of every node's database."""
    update = Chain().prepare({b"key": b"value"})
    leaf_ref = HASHER.key(b"key") + bytes(8)
    slot = leaf_ref[0] >> 4
    leaf = HASHER.leaf(HASHER.key(b"key"), HASHER.value(b"value"))
    assert dict(update.nodes) == {
        NODE_PREFIX + bytes(8): (1 << slot).to_bytes(2) * 2 + leaf + leaf_ref,
        LEAF_PREFIX + leaf_ref: encode((b"key", b"value")),
    }


def test_every_height_stays_readable_and_provable(chain: Chain) -> None:
    for height in range(1, 6):
        chain.commit({b"key %d" % number: b"%d at %d" % (number, height) for number in range(height, 300, 7)})
    chain.commit({b"key %d" % number: None for number in range(300)})
    for tree in (chain.tree, StateTree(GENESIS, chain.store)):
        assert [tree.root_at(Height(height)) for height in range(7)] == chain.roots
        assert tree.get(chain.roots[0], b"key 8") == b"value 8"
        assert tree.get(chain.roots[1], b"key 8") == b"8 at 1"
        assert tree.get(chain.roots[5], b"key 8") == b"8 at 1"
        assert tree.get(chain.roots[6], b"key 8") is None
        for root in chain.roots:
            value = tree.get(root, b"key 8")
            verify_state_proof(GENESIS, root.digest, b"key 8", value, tree.prove(root, b"key 8"))


def test_a_dropped_update_leaves_no_trace(chain: Chain) -> None:
    before = dict(chain.store.iterate())
    lost = chain.prepare({b"key %d" % number: b"lost" for number in range(0, 300, 3)} | {b"new": b"lost"})
    assert dict(chain.store.iterate()) == before
    won = chain.commit({b"key %d" % number: b"won" for number in range(0, 300, 2)})
    alone = Chain()
    alone.commit({b"key %d" % number: b"value %d" % number for number in range(300)})
    assert alone.commit({b"key %d" % number: b"won" for number in range(0, 300, 2)}) == won
    assert won.root != lost.root
    assert chain.tree.get(won.root, b"key 3") == b"value 3"
    assert chain.tree.get(won.root, b"new") is None
    assert chain.commit({b"new": b"x"}).root == alone.commit({b"new": b"x"}).root


def test_a_node_is_served_only_under_its_digest(chain: Chain) -> None:
    """Even a caller who adopts an update and then writes another for that height gets no wrong state."""
    chain.tree.adopt(chain.prepare({b"key 1": b"lost"}))
    won = chain.prepare({b"key 1": b"won"})
    chain.store.apply(won.nodes)
    assert chain.tree.get(won.root, b"key 1") == b"won"


def test_writing_what_is_there_changes_only_the_root_node(chain: Chain) -> None:
    """No-op writes cost nothing and keep the version of what did not change: `stale` must not name what is still in use."""
    old = chain.roots[-1]
    update = chain.commit({b"key %d" % number: b"value %d" % number for number in range(300)} | {b"absent": None})
    assert update.root.digest == old.digest
    assert set(update.nodes) == {NODE_PREFIX + (1).to_bytes(8)}
    assert update.stale == (NODE_PREFIX + bytes(8),)


def test_stale_records_can_go_and_nothing_else(chain: Chain) -> None:
    """After deleting what is stale, exactly the last version remains: nothing it needs is gone, nothing unused is kept."""
    for height in range(1, 30):
        changes: dict[bytes, bytes | None] = {b"key %d" % n: b"%d" % height for n in range(height, 300, 11)}
        changes |= {b"key %d" % n: None for n in range(height, 300, 5)} | {TWINS[height % 2]: None if height % 3 else b"t"}
        update = chain.commit(changes)
        chain.store.apply(dict.fromkeys(update.stale))
    content = {key: value for _, key, value in chain.tree.items(chain.roots[-1])}
    fresh = StateTree(GENESIS, chain.store)
    assert {key: value for _, key, value in fresh.items(chain.roots[-1])} == content
    assert len(chain.store) == len(Chain().prepare(content).nodes)
    with pytest.raises(PrunedStateError) as caught:
        list(fresh.items(chain.roots[0]))
    assert (caught.value.reason, caught.value.details) == ("pruned", {"written_at": 0})
    assert fresh.root_at(Height(0)) is None


def test_keys_with_a_long_common_path() -> None:
    """A chain of nodes with one child appears under twins and goes with one of them."""
    assert shared(*TWINS) >= 3
    chain = Chain()
    alone = chain.commit({TWINS[0]: b"a"}).root
    both = chain.commit({TWINS[1]: b"b"})
    assert sum(key.startswith(NODE_PREFIX) for key in both.nodes) == shared(*TWINS) + 1
    for key, value in zip(TWINS, (b"a", b"b"), strict=True):
        proof = chain.tree.prove(both.root, key)
        assert len(proof.steps) == shared(*TWINS) + 1
        verify_state_proof(GENESIS, both.root.digest, key, value, proof)
    assert chain.commit({TWINS[1]: None}).root.digest == alone.digest
    assert chain.commit({TWINS[0]: None}).root.digest == EMPTY_ROOT


def test_items_resume_after_a_key_hash(chain: Chain) -> None:
    """Snapshots are cut into chunks with this."""
    root = chain.roots[-1]
    everything = list(chain.tree.items(root))
    assert [key_hash for key_hash, _, _ in everything] == sorted(HASHER.key(b"key %d" % n) for n in range(300))
    for cut in (0, 1, 150, 299):
        assert list(chain.tree.items(root, after=everything[cut][0])) == everything[cut + 1 :]
    assert list(chain.tree.items(root, after=b"\x80")) == [item for item in everything if item[0] > b"\x80"]


def test_a_small_cache_changes_nothing(chain: Chain) -> None:
    small = StateTree(GENESIS, chain.store, cache_bytes=4_000)
    changes = {b"key %d" % number: b"x" for number in range(0, 300, 2)}
    assert small.update(chain.roots[-1], Height(1), changes) == chain.prepare(changes)
    cached = [*small._nodes._young.values(), *small._nodes._old.values()]
    assert 0 < sum(map(len, cached)) <= 4_000


def test_nodes_that_were_replaced_give_their_room_back(chain: Chain) -> None:
    """A cache that holds the whole tree goes on holding it, however often the same keys change."""
    reads: list[bytes] = []

    class Counting:
        def get(self, key: bytes) -> bytes | None:
            reads.append(key)
            return chain.store.get(key)

    tree, root = StateTree(GENESIS, Counting(), cache_bytes=400_000), chain.roots[-1]
    everything = {b"key %d" % number: b"changed" for number in range(300)}
    tree.update(root, Height(root.height + 1), everything)
    reads.clear()
    for number in range(1_000):
        update = tree.update(root, Height(root.height + 1), {b"key 1": b"%d" % number})
        tree.adopt(update)
        chain.store.apply(update.nodes)
        root = update.root
    tree.update(root, Height(root.height + 1), everything)
    assert reads == []


def test_a_version_is_written_once(chain: Chain) -> None:
    with pytest.raises(InvariantError):
        chain.tree.update(chain.roots[0], Height(0), {})


def test_damage_is_found_wherever_it_is(chain: Chain) -> None:
    """A flipped bit in any record either fails `items` or (in a ref's height) names a record that is not there."""
    root = chain.roots[-1]
    for number, (key, data) in enumerate(chain.store.iterate()):
        place = number * 7 % len(data)
        damaged = data[:place] + bytes((data[place] ^ 1 << number % 8,)) + data[place + 1 :]
        chain.store.apply({key: damaged})
        with pytest.raises((CorruptStateError, PrunedStateError)):
            list(StateTree(GENESIS, chain.store).items(root))
        chain.store.apply({key: data})
    assert len(list(StateTree(GENESIS, chain.store).items(root))) == 300


@pytest.mark.parametrize("record", [b"", b"\1", b"\0\1\0\0", "a node called a leaf", "a ref too few", "a byte too much"])
def test_damage_beside_the_digest_is_corruption_too(chain: Chain, record: bytes | str) -> None:
    """A node's digest does not cover where its children are stored."""
    key = NODE_PREFIX + bytes(8)
    stored = chain.store.get(key) or b""
    damaged = {
        "a node called a leaf": stored[:2] + b"\0\1" + stored[4:],
        "a ref too few": stored[:-8],
        "a byte too much": stored + b"x",
    }
    chain.store.apply({key: damaged[record] if isinstance(record, str) else record})
    with pytest.raises(CorruptStateError):
        StateTree(GENESIS, chain.store).get(chain.roots[-1], b"key 1")


def test_a_leaf_under_the_wrong_name_is_not_returned(chain: Chain) -> None:
    ours, other = (LEAF_PREFIX + HASHER.key(key) + bytes(8) for key in (b"key 1", b"key 2"))
    chain.store.apply({ours: chain.store.get(other)})
    with pytest.raises(CorruptStateError):
        chain.tree.get(chain.roots[-1], b"key 1")


@pytest.mark.parametrize("record", [(b"key 1", b"another value"), (b"key 1", 7)])
def test_a_leaf_with_another_value_is_not_returned(chain: Chain, record: tuple[bytes, bytes | int]) -> None:
    """Whatever the store's own checksum says of it."""
    root, absent = chain.roots[-1], absent_keys(chain)[1]
    chain.store.apply({LEAF_PREFIX + HASHER.key(b"key 1") + bytes(8): encode(record)})
    with pytest.raises(CorruptStateError):
        chain.tree.get(root, b"key 1")
    other = chain.tree.prove(root, absent).other
    assert other is not None
    ours = next(key for key, _ in chain.store.iterate(LEAF_PREFIX + other[0]))
    chain.store.apply({ours: encode(record)})
    with pytest.raises(CorruptStateError):
        chain.tree.prove(root, absent)


def absent_keys(chain: Chain) -> tuple[bytes, bytes]:
    """A key whose path ends in an empty place, and one whose path ends in another key's leaf."""
    proofs = {key: chain.tree.prove(chain.roots[-1], key) for key in (b"absent %d" % number for number in range(99))}
    return (
        next(key for key, proof in proofs.items() if proof.other is None),
        next(key for key, proof in proofs.items() if proof.other is not None),
    )


def refused(root: StateRoot, key: bytes, value: bytes | None, proof: StateProof, genesis_hash: bytes = GENESIS) -> None:
    with pytest.raises(BadProofError):
        verify_state_proof(genesis_hash, root.digest, key, value, proof)


def test_a_proof_of_a_value_proves_only_that(chain: Chain) -> None:
    root, later = chain.roots[-1], chain.commit({b"key 7": b"later"}).root
    proof = chain.tree.prove(root, b"key 7")
    verify_state_proof(GENESIS, root.digest, b"key 7", b"value 7", proof)
    refused(root, b"key 7", b"value 8", proof)
    refused(root, b"key 7", b"", proof)
    refused(root, b"key 7", None, proof)
    refused(root, b"key 8", b"value 8", proof)
    refused(later, b"key 7", b"value 7", proof)
    refused(root, b"key 7", b"value 7", proof, genesis_hash=bytes(32))
    refused(root, b"key 7", b"value 7", StateProof(proof.steps[:-1] or proof.steps * 2, None))
    refused(root, b"key 7", b"value 7", StateProof((*proof.steps, (0, b"")), None))
    refused(root, b"key 7", b"value 7", StateProof(proof.steps, (HASHER.key(b"key 7"), HASHER.value(b"value 7"))))


def test_a_proof_of_absence_proves_only_that(chain: Chain) -> None:
    root = chain.roots[-1]
    for key in absent_keys(chain):
        proof = chain.tree.prove(root, key)
        verify_state_proof(GENESIS, root.digest, key, None, proof)
        refused(root, key, b"", proof)
        refused(root, key, b"value 7", proof)
        refused(root, b"key 7", None, proof)


def test_a_present_key_cannot_be_shown_absent(chain: Chain) -> None:
    """The three lies: an empty place, the key's own leaf as another's, a leaf from another part of the tree."""
    root = chain.roots[-1]
    proof = chain.tree.prove(root, b"key 7")
    refused(root, b"key 7", None, StateProof(proof.steps, None))
    refused(root, b"key 7", None, StateProof(proof.steps, (HASHER.key(b"key 7"), HASHER.value(b"value 7"))))
    refused(root, b"key 7", None, StateProof(proof.steps, (HASHER.key(b"key 8"), HASHER.value(b"value 8"))))
    (bitmap, digests), *rest = proof.steps
    slot = key_path(b"key 7")[0]
    with_own_place = bitmap | 1 << slot, digests[: slot * 32] + EMPTY_ROOT + digests[slot * 32 :]
    refused(root, b"key 7", None, StateProof((with_own_place, *rest), None))


def test_a_leaf_off_the_path_shows_no_absence() -> None:
    """Even under a root that a defective tree made, with another key's leaf where it may not stand."""
    other = HASHER.key(b"twin 0"), HASHER.value(b"value")
    key = next(key for key in (b"key %d" % number for number in range(99)) if not shared(key, b"twin 0"))
    misplaced = digest(Tag.STATE_NODE, GENESIS, encode((1 << key_path(key)[0], HASHER.leaf(*other))))
    refused(StateRoot(Height(0), misplaced), key, None, StateProof(((0, b""),), other))


def test_a_change_of_any_byte_of_a_proof_is_refused(chain: Chain) -> None:
    root = chain.roots[-1]
    for key, value in ((b"key 7", b"value 7"), *((key, None) for key in absent_keys(chain))):
        data = chain.tree.prove(root, key).encode()
        verify_state_proof(GENESIS, root.digest, key, value, StateProof.decode(data))
        for place in range(len(data)):
            for mask in (1, 0x80):
                forged = data[:place] + bytes((data[place] ^ mask,)) + data[place + 1 :]
                with pytest.raises(InvalidInputError):
                    verify_state_proof(GENESIS, root.digest, key, value, StateProof.decode(forged))


@pytest.mark.parametrize(
    "value",
    [
        None,
        ((), None),
        (((0, b""),) * (MAX_DEPTH + 1), None),
        (((0, bytes(32)),), None),
        (((3, bytes(32)),), None),
        (((1 << 16, bytes(32)),), None),
        (((-1, b""),), None),
        (((0, None),), None),
        (((0, b""),), ()),
        (((0, b""),), (bytes(32), bytes(31))),
        (((0, b""),), None, None),
    ],
)
def test_a_proof_of_the_wrong_shape_is_refused(value: object) -> None:
    with pytest.raises((BadEncodingError, TooLargeError)):
        StateProof.decode(encode(value))  # type: ignore[arg-type]


def test_the_size_of_a_proof_is_bounded() -> None:
    largest = StateProof(((0xFFFF, bytes(16 * 32)),) * MAX_DEPTH, (bytes(32), bytes(32))).encode()
    assert len(largest) <= MAX_STATE_PROOF_BYTES
    with pytest.raises(TooLargeError):
        StateProof.decode(bytes(MAX_STATE_PROOF_BYTES + 1))


def test_memory_store_is_ordered_and_iterates_a_snapshot() -> None:
    store = MemoryStore({b"b": b"2", b"a": b"1", b"ab": b"3", b"\xff": b"4"})
    seen = store.iterate(b"a")
    store.apply({b"a": None, b"ac": b"5", b"missing": None})
    assert list(seen) == [(b"a", b"1"), (b"ab", b"3")]
    assert list(store.iterate()) == [(b"ab", b"3"), (b"ac", b"5"), (b"b", b"2"), (b"\xff", b"4")]
    assert (store.get(b"a"), store.get(b"ac"), len(store)) == (None, b"5", 4)

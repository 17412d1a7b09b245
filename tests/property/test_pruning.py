"""Laws of pruning: what is held reads as it did, what is not is refused, and nothing is left over or taken too much."""

from dataclasses import dataclass, field

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ledger.block import Status
from ledger.errors import NotFoundError
from ledger.state_proof import verify_state_proof
from ledger.state_tree import LEAF_PREFIX, NODE_PREFIX, StateTree
from ledger.store import MemoryStore
from ledger.types import Height, View
from node import pruning
from node.block_store import STALE, BlockStore
from node.chain import Chain
from node.pruning import LEASE_MS, Keep, Pruner
from tests.one_driver import GENESIS_HASH, NAMES, NETWORK, NOW, certify
from tests.sim.chain import ACCOUNT_SEEDS
from tests.vm_harness import account
from vm.executor import Executor
from vm.registry import default_registry

BLOCKS = st.lists(st.integers(0, 3), min_size=4, max_size=24)  # how many transfers each block holds
KEEPS = st.builds(Keep, st.integers(0, 6), st.integers(0, 6), st.sampled_from((0, 3, 5)), st.integers(1, 2))


class Disk(MemoryStore):
    """A store in memory that a node may close."""

    def close(self) -> None:
        pass


@dataclass
class Grown:
    """A chain with what its state was at each height."""

    chain: Chain
    disk: Disk
    states: dict[int, dict[bytes, bytes]] = field(default_factory=dict)
    sent: int = 0

    def note(self) -> None:
        version = self.chain.version(self.chain.tip.height)
        self.states[version.header.height] = {key: value for _, key, value in version.tree.items(version.root)}

    def add_block(self, transfers: int) -> None:
        """Commit a block of transfers, each to an account that has had nothing before."""
        made = []
        for _ in range(transfers):
            self.sent += 1
            to = account(f"new {self.sent}").address
            args, sender = (to, self.sent), self.sent % len(ACCOUNT_SEEDS)
            made.append(NETWORK.call(sender, "asset", "transfer", args, NOW + 30_000, self.sent.to_bytes(8)))
        built, _ = self.chain.build(made, 100, View(0), NAMES[0], NOW)
        assert all(receipt.status is Status.SUCCEEDED for receipt in built.execution.receipts)
        self.chain.commit(built, certify(self.chain, built.header))
        self.note()


def grown() -> Grown:
    disk = Disk()
    chain = Chain(NETWORK.genesis, BlockStore(disk, "memory", GENESIS_HASH), Executor(default_registry()))
    made = Grown(chain, disk)
    made.note()
    return made


def reachable(made: Grown, heights: list[int]) -> set[bytes]:
    """Return the store keys of everything that these versions consist of."""
    seen: set[bytes] = set()

    class Recording:
        def get(self, key: bytes) -> bytes | None:
            seen.add(key)
            return made.disk.get(key)

    for height in heights:
        tree = StateTree(GENESIS_HASH, Recording(), cache_bytes=0)
        root = tree.root_at(Height(height))
        assert root is not None
        assert {key: value for _, key, value in tree.items(root)} == made.states[height]
    return seen


def stored(made: Grown) -> set[bytes]:
    return {key for prefix in (NODE_PREFIX, LEAF_PREFIX) for key, _ in made.disk.iterate(prefix)}


def finish(pruner: Pruner) -> None:
    for _ in range(10_000):
        if not pruner.step():
            return
    raise AssertionError("pruning does not come to an end")


@settings(deadline=None, max_examples=60)
@given(blocks=BLOCKS, keep=KEEPS, idle=st.sets(st.integers(0, 24)), restart=st.sets(st.integers(0, 24)))
def test_exactly_what_is_held_stays(blocks: list[int], keep: Keep, idle: set[int], restart: set[int]) -> None:
    """However pruning and blocks alternate, and whenever the node restarts between."""
    made = grown()
    pruner = Pruner(made.chain, keep)
    for number, transfers in enumerate(blocks):
        made.add_block(transfers)
        pruner.on_committed(made.chain.tip.height, NOW)
        if number in restart:
            pruner = Pruner(made.chain, keep)
        if number not in idle:
            pruner.step()
    finish(pruner)
    store, tip = made.chain.store, made.chain.tip.height
    held = [height for height in range(tip + 1) if height >= store.held.states_from or height in store.pins]
    assert store.held.states_from == (max(0, tip - keep.states) if keep.states else 0)
    lowest = min(tip - keep.bodies, min(store.pins, default=0 if keep.snapshot_every else tip) + 1)
    assert store.held.bodies_from == (max(0, lowest) if keep.bodies else 0)
    assert stored(made) == reachable(made, held)
    for height in range(tip + 1):
        assert store.header(Height(height)) is not None
        assert (store.block(Height(height)) is None) == (0 < height < store.held.bodies_from)
        assert (store.receipts(Height(height)) is None) == (0 < height < store.held.receipts_from)
    for height in set(range(tip + 1)) - set(held):
        with pytest.raises(NotFoundError) as refused:
            made.chain.version(Height(height))
        assert refused.value.reason == "pruned"
        assert refused.value.details["oldest"] == store.held.states_from


@settings(deadline=None, max_examples=20)
@given(blocks=BLOCKS, keep=KEEPS)
def test_proofs_of_held_versions_hold(blocks: list[int], keep: Keep) -> None:
    made = grown()
    pruner = Pruner(made.chain, keep)
    for transfers in blocks:
        made.add_block(transfers)
        pruner.on_committed(made.chain.tip.height, NOW)
        pruner.step()
    oldest = made.chain.version(made.chain.store.held.states_from)
    absent = b"no such key"
    verify_state_proof(GENESIS_HASH, oldest.header.state_root, absent, None, oldest.prove(absent))
    for key, value in made.states[oldest.header.height].items():
        assert oldest.get(key) == value
        verify_state_proof(GENESIS_HASH, oldest.header.state_root, key, value, oldest.prove(key))


def test_snapshot_that_is_being_read_stays() -> None:
    """A lease outlives newer snapshots, for as long as it is renewed; a member has one, and takes nobody else's."""
    made, now_ms = grown(), 1_000
    pruner = Pruner(made.chain, Keep(states=1, snapshot_every=2, snapshots=1))

    def go_on(blocks: int) -> None:
        for _ in range(blocks):
            made.add_block(1)
            pruner.on_committed(made.chain.tip.height, now_ms)
            finish(pruner)

    go_on(2)
    assert pruner.lease(NAMES[0], Height(2), now_ms)
    assert not pruner.lease(NAMES[0], Height(1), now_ms)
    go_on(6)
    assert tuple(made.chain.store.pins) == (2, 8)
    assert made.chain.version(Height(2)).get(b"no such key") is None
    for _ in range(3):
        assert pruner.lease(NAMES[1], made.chain.tip.height, now_ms)
        go_on(2)
    assert tuple(made.chain.store.pins) == (2, 12, 14)
    now_ms += LEASE_MS - 1
    pruner.renew(NAMES[1], now_ms)
    now_ms += 2
    go_on(2)
    assert tuple(made.chain.store.pins) == (12, 16)
    now_ms += LEASE_MS
    go_on(2)
    assert made.chain.store.pins == (18,)
    assert pruner.snapshot == 18
    assert stored(made) == reachable(made, [17, 18])


def test_keys_of_a_large_block_are_forgotten_with_the_last_pin_that_needs_them(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are filed in pieces, and filed again under an older pin that is still being read: no piece may hide another."""
    monkeypatch.setattr(pruning, "KEYS_A_STEP", 3)
    made, now = grown(), NOW
    pruner = Pruner(made.chain, Keep(states=1, snapshot_every=3, snapshots=1))
    for _ in range(15):
        made.add_block(3)
        height = made.chain.tip.height
        if height < 11:
            pruner.lease(NAMES[0], Height(3), now)
        else:
            now += 2 * LEASE_MS
        pruner.on_committed(height, now)
        finish(pruner)
    assert made.chain.store.pins == (15,)
    assert stored(made) == reachable(made, [14, 15])


def test_what_a_restored_state_replaced_is_forgotten() -> None:
    """`BlockStore.become` pins the restored height alone: nobody is told of the pins that go with it."""
    made = grown()
    pruner = Pruner(made.chain, Keep(states=1, snapshot_every=3, snapshots=2))
    for restored in (False, False, False, False, False, False, False, False, True, False):
        made.add_block(2)
        height = made.chain.tip.height
        if restored:
            made.chain.store.put_pins((height,))
        pruner.on_committed(height, NOW)
        finish(pruner)
    assert made.chain.store.pins == (9,)
    assert stored(made) == reachable(made, [9, 10])


def test_a_node_that_makes_no_snapshots_any_more_lets_go_of_the_old_ones() -> None:
    """Else they, and every body after them, would stay for ever."""
    made = grown()
    for keep in (Keep(states=1, bodies=1, snapshot_every=2), Keep(states=1, bodies=1, snapshot_every=0)):
        pruner = Pruner(made.chain, keep)
        for _ in range(4):
            made.add_block(2)
            pruner.on_committed(made.chain.tip.height, NOW)
            finish(pruner)
    assert (made.chain.store.pins, made.chain.store.held.bodies_from) == ((), 7)
    assert stored(made) == reachable(made, [7, 8])


def test_receipts_of_the_oldest_snapshot_s_window_stay_and_of_the_block_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever takes the snapshot asks for them: the block before the window shows by its time that the window is whole."""
    monkeypatch.setattr("node.chain.RECENT_BLOCKS", 3)
    made = grown()
    for _ in range(12):
        made.add_block(1)
    made.chain.window_limit_ms = 4  # blocks are a millisecond apart
    made.chain.store.put_pins((Height(10),))
    finish(Pruner(made.chain, Keep(bodies=1, snapshot_every=10)))
    assert made.chain.window_start(made.chain.version(Height(10)).header) == 6
    assert [bool(made.chain.store.receipts(Height(height))) for height in (4, 5, 6)] == [False, True, True]


def test_forgotten_block_s_transaction_is_still_a_duplicate() -> None:
    """Ids outlive bodies: nobody can play a transaction again because its block was pruned."""
    made = grown()
    made.add_block(1)
    [tx_id] = made.chain.store.tx_ids(Height(1)) or ()
    pruner = Pruner(made.chain, Keep(bodies=1, snapshot_every=0))
    for _ in range(3):
        made.add_block(0)
    finish(pruner)
    assert made.chain.store.block(Height(1)) is None
    assert made.chain.committed_at(tx_id) == (1, 0)


def test_work_left_by_a_crash_is_taken_up() -> None:
    """The floor is raised first; whatever of the rest was not deleted yet is deleted after the restart."""
    made = grown()
    for _ in range(8):
        made.add_block(2)
    first = Pruner(made.chain, Keep(states=2, bodies=2))
    assert first.step()
    assert next(int.from_bytes(key[1:]) for key, _ in made.disk.iterate(STALE)) == 2
    finish(Pruner(made.chain, Keep(states=2, bodies=2)))
    assert stored(made) == reachable(made, [6, 7, 8])

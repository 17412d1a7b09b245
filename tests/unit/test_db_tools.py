"""What the operator's tools find, forget, compare and write, on stores of small chains. The command line is tested elsewhere."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.certificate import QuorumCertificate
from ledger.codec import as_tuple, decode, encode_trusted
from ledger.committee_chain import Handover
from ledger.errors import DatacarError, NotFoundError
from ledger.policy import contract_address, format_address
from ledger.state_tree import LEAF_PREFIX, NODE_PREFIX
from ledger.transaction import Call, Transaction
from ledger.types import Height
from node.block_store import BlockStore, Held, StorageError, stored_genesis
from node.chain import Chain
from node.db_diff import Difference, StoreSide, diff
from node.db_export import Format, export
from node.db_index import reindex
from node.db_prune import prune
from node.db_replay import Replayed, ReplayError, replay
from node.db_rows import SOURCES, Range, What
from node.db_tools import silent, stopped_store
from node.db_verify import Report, verify
from node.durable import replacing_text
from node.indexes import EVERY, INDEX_PREFIX, REACH_KEY, Reach, read_reach
from node.lists import NotIndexedError
from node.pruning import Keep, Pruner
from node.sign_file import NAMES
from tests.ledger_folder import ADDRESSES, SEEDS, LedgerFolder
from tests.memory_node import FAUCET
from tests.proof_chain import ProofChain
from vm.contracts.asset import SUPPLY, balance_key
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.executor import Executor
from vm.registry import default_registry
from vm.storage import storage_key

BLOCKS = 12
REGISTRY = default_registry()


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> LedgerFolder:
    """Twelve blocks of three transfers, the last block empty."""
    folder = LedgerFolder(tmp_path_factory.mktemp("made") / "node", members=4)
    folder.grow(BLOCKS - 1)
    folder.grow(1, per_block=0)
    return folder


@pytest.fixture
def folder(made: LedgerFolder, tmp_path: Path) -> LedgerFolder:
    """A copy that a test may change."""
    return copy_of(made, tmp_path / "node")


def copy_of(made: LedgerFolder, to: Path) -> LedgerFolder:
    shutil.copytree(made.folder, to)
    return made.at(to)


def checked(folder: LedgerFolder, *, full: bool = True) -> Report:
    with folder.store() as store:
        return verify(store, folder.genesis, REGISTRY, silent, full=full)


def replayed(folder: LedgerFolder) -> Replayed:
    with folder.store() as store:
        return replay(store, folder.genesis, REGISTRY, folder.data_dir, silent)


# ---- verify


def test_a_whole_ledger_is_whole_and_every_part_was_looked_at(made: LedgerFolder) -> None:
    report = checked(made)
    assert (report.tip, report.problems) == (BLOCKS, [])
    assert report.counts["headers"] == report.counts["certificates"] == report.counts["blocks"] == BLOCKS
    assert report.counts["versions"] == BLOCKS + 1
    assert report.counts["index entries"] == 5 * 3 * (BLOCKS - 1)
    assert report.counts["records"] > 300
    assert not checked(made, full=False).problems


def number(height: int) -> bytes:
    return height.to_bytes(8)


def swap(store: BlockStore, one: bytes, other: bytes) -> None:
    """Exchange two records: each one whole, and in the wrong place."""
    left, right = store.raw.get(one), store.raw.get(other)
    assert left is not None
    assert right is not None
    store.raw.apply({one: right, other: left})


def forge_signature(store: BlockStore) -> None:
    found = store.certificate(Height(5))
    assert found is not None
    forged = QuorumCertificate(found.header, found.view, found.bitmap, (found.signatures[1], *found.signatures[1:]))
    store.raw.apply({b"c" + number(5): encode_trusted(forged.to_value())})


def lose_a_leaf(store: BlockStore) -> None:
    """The newest of its key, so one of the tip's."""
    newest = {key[:-8]: key for key, _ in store.raw.iterate(LEAF_PREFIX)}
    store.raw.apply({min(newest.values()): None})


def lose_an_id(store: BlockStore) -> None:
    ids = store.tx_ids(Height(4)) or ()
    store.raw.apply({b"t" + ids[1]: None})


def put_receipts(store: BlockStore, to: int, source: int, more: int) -> None:
    """Give a block the receipts of another, the last one `more` times more."""
    receipts = store.receipts(Height(source)) or ()
    changed = receipts[:more] if more < 0 else receipts + receipts[-1:] * more
    store.raw.apply({b"r" + number(to): encode_trusted(tuple(receipt.to_value() for receipt in changed))})


def shorten_ids(store: BlockStore) -> None:
    """Every id that is left is found where it stands."""
    store.raw.apply({b"i" + number(4): b"".join((store.tx_ids(Height(4)) or ())[:2])})


def forge_members(store: BlockStore) -> None:
    """Another key of a member in the flat state, by which a node that starts takes up its committee."""
    key = storage_key(GOVERNANCE, "members", "node4")
    fields = as_tuple(decode(store.state.get(key) or b""), "member", max_items=20)
    forged = [bytes(32) if isinstance(item, bytes) and len(item) == 32 else item for item in fields]
    store.raw.apply({store.state.prefix + key: encode_trusted(forged)})


def forge_header(store: BlockStore) -> None:
    """Another block of that height, found by its hash: only the next one's parent hash tells."""
    found = store.certificate(Height(5))
    assert found is not None
    header = replace(found.header, gas_used=1)
    forged = QuorumCertificate(header, found.view, found.bitmap, found.signatures)
    genesis_hash = stored_genesis(store.raw)
    assert genesis_hash is not None
    store.raw.apply({b"c" + number(5): encode_trusted(forged.to_value()), b"h" + header.hash(genesis_hash): number(5)})


DAMAGE: list[tuple[str, Callable[[BlockStore], Any], str, int | None, bool]] = [
    ("a certificate gone", lambda store: store.raw.apply({b"c" + number(4): None}), "headers", 4, True),
    ("two certificates exchanged", lambda store: swap(store, b"c" + number(4), b"c" + number(5)), "headers", 4, True),
    ("a hash that leads nowhere", lambda store: store.raw.apply({b"h" + store.hash_of(Height(6)): None}), "headers", 6, True),
    ("the genesis block gone", lambda store: store.raw.apply({b"b" + number(0): None}), "headers", 0, True),
    ("a list of ids gone", lambda store: store.raw.apply({b"i" + number(7): None}), "window", 7, True),
    ("an id that is not found", lose_an_id, "window", 4, True),
    ("a member that is another", forge_members, "tip", 12, True),
    ("a header that is another", forge_header, "headers", 6, True),
    ("a list of ids that ends early", shorten_ids, "blocks", 4, False),
    ("a vote of another", forge_signature, "certificates", 5, False),
    ("a body gone", lambda store: store.raw.apply({b"b" + number(3): None}), "blocks", 3, False),
    ("two bodies exchanged", lambda store: swap(store, b"b" + number(3), b"b" + number(4)), "blocks", 3, False),
    ("receipts gone", lambda store: store.raw.apply({b"r" + number(3): None}), "blocks", 3, False),
    ("a receipt too many", lambda store: put_receipts(store, 3, 3, 1), "blocks", 3, False),
    ("a receipt too few", lambda store: put_receipts(store, 3, 3, -1), "blocks", 3, False),
    ("receipts exchanged", lambda store: swap(store, b"r" + number(3), b"r" + number(4)), "blocks", 3, False),
    ("a balance", lambda store: store.raw.apply({store.state.prefix + balance_key(FAUCET): b"\x93\x01\0\0"}), "state", 12, False),
    ("a key too many", lambda store: store.raw.apply({store.state.prefix + b"more": b""}), "state", 12, False),
    ("an index entry gone", lambda store: store.raw.apply({next(store.raw.iterate(EVERY))[0]: None}), "index", 11, False),
    ("an index entry too many", lambda store: store.raw.apply({EVERY + bytes(5) + b"\xff" * 3: b""}), "index", None, False),
]


@pytest.mark.parametrize(("damage", "check", "height", "fast"), [item[1:] for item in DAMAGE], ids=[item[0] for item in DAMAGE])
def test_damage_is_named_with_its_place(
    folder: LedgerFolder, damage: Callable[[BlockStore], Any], check: str, height: int | None, fast: bool
) -> None:
    """Records that LevelDB takes for whole, but that are missing, exchanged or another's; `fast`: found without --full too."""
    with folder.store() as store:
        damage(store)
    found = [(problem.check, problem.height) for problem in checked(folder).problems]
    assert (check, height) in found, found
    assert bool(checked(folder, full=False).problems) is fast


def changed_committee(tmp_path: Path, damage: Callable[[BlockStore], object]) -> list[tuple[str, int | None]]:
    """Return what the full check finds in a chain whose committee changed twice."""
    chain = ProofChain(tmp_path / "db")
    store, genesis = chain.node._chain.store, chain.node._genesis
    damage(store)
    found = verify(store, genesis, REGISTRY, silent, full=True).problems
    chain.node.close()
    return [(problem.check, problem.height) for problem in found]


def test_the_committee_that_follows_is_compared_with_the_header(tmp_path: Path) -> None:
    def lose(store: BlockStore) -> None:
        store.raw.apply({b"k" + number(changes(store)[1].certificate.header.height): None})

    def exchange(store: BlockStore) -> None:
        """One that the next block's voters are all in: their signatures are enough."""
        first, second = changes(store)
        key = b"k" + number(second.certificate.header.height)
        store.raw.apply({key: encode_trusted(Handover(second.certificate, first.following).to_value())})

    def changes(store: BlockStore) -> tuple[Handover, Handover]:
        first, second = store.handovers(Height(100))
        heights.append(second.certificate.header.height)
        return first, second

    heights: list[int] = []
    assert changed_committee(tmp_path / "whole", changes) == []
    assert changed_committee(tmp_path / "lost", lose) == [("certificates", heights[0])]
    assert changed_committee(tmp_path / "another", exchange) == [("certificates", heights[0])]


def test_a_transaction_without_its_signature_is_found_though_every_root_is_right(folder: LedgerFolder) -> None:
    """As a quorum of dishonest members could have certified it."""
    with folder.running() as node:
        forged = node.sign(SEEDS[0], (Call("asset", "supply", ()),))
        forged = Transaction.from_raw(forged.raw[:-1] + bytes((forged.raw[-1] ^ 1,)), node.genesis_hash)
        node._mempool.add(forged)
        node.commit()
        assert node.transaction_status(forged.id).height == BLOCKS + 1
        node.reindex()
    found = [(problem.check, problem.height) for problem in checked(folder).problems]
    assert found == [("blocks", BLOCKS + 1)]


# ---- verify: what pruning goes by


def named_keys(store: BlockStore, prefix: bytes) -> list[tuple[bytes, tuple[bytes, ...]]]:
    return [(record, decode(data)) for record, data in store.raw.iterate(prefix)]  # type: ignore[misc]


def test_the_records_that_pruning_goes_by_are_whole(folder: LedgerFolder) -> None:
    """Also with snapshots that hold keys back, in the middle of the work, and when they are let go."""
    keep = Keep(states=3, bodies=5, snapshot_every=4, snapshots=2)
    with folder.store() as store:
        store.put_pins((Height(4), Height(8)))
        chain = Chain(folder.genesis, store, Executor(REGISTRY))
        pruner = Pruner(chain, keep)
        while pruner.step():
            assert not verify(store, folder.genesis, REGISTRY, silent, full=True).problems
        assert named_keys(store, b"z")
        store.put_pins((Height(8),))
        assert not verify(store, folder.genesis, REGISTRY, silent, full=True).problems
        pruner = Pruner(chain, keep)
        pruner.step()
        report = verify(store, folder.genesis, REGISTRY, silent, full=True)
        assert (report.problems, report.counts["stale records"]) == ([], len(named_keys(store, b"x") + named_keys(store, b"z")))


def lose_a_stale_node(store: BlockStore) -> None:
    """Of a version that nothing else in the full check walks down."""
    [(_, keys)] = named_keys(store, b"x" + number(7))
    store.raw.apply({next(key for key in keys if len(key) > len(NODE_PREFIX) + 8): None})


def name_the_future(store: BlockStore) -> None:
    """A key that the block itself wrote: deleting it later would break what is still read."""
    [(record, keys)] = named_keys(store, b"x" + number(7))
    store.raw.apply({record: encode_trusted((*keys, NODE_PREFIX + number(7)))})


STALE_DAMAGE: list[tuple[str, Callable[[BlockStore], Any]]] = [
    ("a key that is gone", lose_a_stale_node),
    ("a key of the block itself", name_the_future),
    ("a key of another kind", lambda store: store.raw.apply({b"x" + number(7): encode_trusted((b"c" + number(3),))})),
    ("no list of keys", lambda store: store.raw.apply({b"x" + number(7): b"\xc1"})),
    ("a record gone", lambda store: store.raw.apply({b"x" + number(7): None})),
    ("the last record gone", lambda store: store.raw.apply({b"x" + number(BLOCKS): None})),
    ("above the tip", lambda store: store.raw.apply({b"x" + number(99): encode_trusted(())})),
]


@pytest.mark.parametrize("damage", [item[1] for item in STALE_DAMAGE], ids=[item[0] for item in STALE_DAMAGE])
def test_damage_of_what_pruning_goes_by_is_found(folder: LedgerFolder, damage: Callable[[BlockStore], Any]) -> None:
    with folder.store() as store:
        damage(store)
    assert {problem.check for problem in checked(folder).problems} == {"pruning"}
    assert not checked(folder, full=False).problems


def test_keys_that_only_forgotten_states_had_may_be_gone(folder: LedgerFolder) -> None:
    """A state that was installed replaces the tree; the records of the chain before it are worked through later."""
    with folder.store() as store:
        held = store.held
        store.put_held(replace(held, states_from=Height(8)))
        [(_, keys)] = named_keys(store, b"x" + number(8))
        store.raw.apply(dict.fromkeys(keys))
    assert not checked(folder).problems
    with folder.store() as store:
        store.put_held(held)
    assert "pruning" in {problem.check for problem in checked(folder).problems}


def test_damage_of_what_is_kept_for_a_snapshot_is_found(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.put_pins((Height(4),))
        pruner = Pruner(Chain(folder.genesis, store, Executor(REGISTRY)), Keep(states=3, snapshot_every=0))
        while pruner.step():
            pass
        record, keys = next(item for item in named_keys(store, b"z") if item[1])
        whole = dict(store.raw.iterate())
        store.raw.apply({keys[0]: None})
        found = verify(store, folder.genesis, REGISTRY, silent, full=True).problems
        assert "pruning" in {problem.check for problem in found}
        store.raw.apply({keys[0]: whole[keys[0]], record: encode_trusted((*keys, NODE_PREFIX + number(5)))})
        found = verify(store, folder.genesis, REGISTRY, silent, full=True).problems
        assert {problem.check for problem in found} == {"pruning"}, "it was written after the snapshot"
        store.raw.apply({record: whole[record]})
        store.put_pins((Height(4), Height(99)))
        found = verify(store, folder.genesis, REGISTRY, silent, full=True).problems
        assert {problem.check for problem in found} == {"snapshots"}


def test_a_lost_leaf_of_any_kept_version_is_found(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.put_pins((Height(1), Height(BLOCKS)))
        for key, _ in [pair for pair in store.raw.iterate(LEAF_PREFIX) if pair[0].endswith(number(1))]:
            store.raw.apply({key: None})
    assert {problem.check for problem in checked(folder).problems} == {"snapshots", "pruning"}
    with folder.store() as store:
        lose_a_leaf(store)
    assert "state" in [problem.check for problem in checked(folder).problems]


def test_a_tip_that_cannot_be_taken_up_is_said_and_the_rest_still_looked_at(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.raw.apply({b"sn" + number(BLOCKS): None})
    report = checked(folder)
    assert [problem.check for problem in report.problems] == ["tip"]
    assert report.counts["records"] > 300
    assert report.counts["blocks"] == BLOCKS


def test_many_problems_are_counted_and_few_are_kept(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.raw.apply({b"t" + tx_id: None for height in range(BLOCKS + 1) for tx_id in store.tx_ids(Height(height)) or ()})
        missing = sum(len(store.tx_ids(Height(height)) or ()) for height in range(BLOCKS + 1))
    report = checked(folder)
    assert report.problem_count == 2 * missing, "told by the window and by the blocks"
    assert len(report.problems) == min(report.problem_count, 100)


# ---- replay


def test_replay_from_genesis_gives_the_same_roots_and_leaves_nothing(folder: LedgerFolder) -> None:
    before = sorted(path.name for path in folder.data_dir.iterdir())
    assert replayed(folder) == Replayed(Height(1), Height(BLOCKS), 3 * (BLOCKS - 1), from_genesis=True)
    assert sorted(path.name for path in folder.data_dir.iterdir()) == before


def test_replay_of_a_pruned_ledger_begins_at_the_oldest_state(folder: LedgerFolder) -> None:
    prune(folder.data_dir, folder.genesis, REGISTRY, Keep(states=4, bodies=6, snapshot_every=0), silent)
    assert replayed(folder) == Replayed(Height(BLOCKS - 3), Height(BLOCKS), 9, from_genesis=False)
    prune(folder.data_dir, folder.genesis, REGISTRY, Keep(states=4, bodies=1, snapshot_every=0), silent)
    assert replayed(folder).first == BLOCKS - 1


@pytest.mark.parametrize("keep", [Keep(snapshot_every=0), Keep(states=6, bodies=6, snapshot_every=0)], ids=["genesis", "pruned"])
def test_replay_notices_a_block_that_does_something_else(folder: LedgerFolder, keep: Keep) -> None:
    """As if an earlier version had executed it differently: the body is another, its header the one that was agreed."""
    prune(folder.data_dir, folder.genesis, REGISTRY, keep, silent)
    with folder.running() as node:
        other = node.sign(SEEDS[0], (Call("asset", "transfer", (ADDRESSES[1], 1)),))
        block = node.chain.store.block(Height(9))
        assert block is not None
        node.chain.store.raw.apply(
            {b"b" + number(9): encode_trusted((block.header.to_value(), (*block.transactions, other.raw)))}
        )
    with pytest.raises(ReplayError) as caught:
        replayed(folder)
    assert caught.value.details["height"] == 9


# ---- prune and reindex


def test_pruning_keeps_what_was_asked_for_and_the_rest_is_gone(folder: LedgerFolder) -> None:
    done = prune(folder.data_dir, folder.genesis, REGISTRY, Keep(states=3, bodies=5, snapshot_every=0), silent)
    assert (done.held.states_from, done.held.bodies_from) == (BLOCKS - 3, BLOCKS - 5)
    assert done.before_bytes > 0
    assert done.after_bytes > 0
    report = checked(folder)
    assert (report.problems, report.counts["versions"], report.counts["headers"]) == ([], 4, BLOCKS)
    assert report.counts["index entries"] == 5 * 3 * 5, "the index of the pruned blocks went with them"
    with folder.store() as store:
        assert sum(1 for _ in store.raw.iterate(INDEX_PREFIX)) == 5 * 3 * 5 + 2, "and two notes"
        assert store.block(Height(BLOCKS - 6)) is None
        assert store.header(Height(1)) is not None
        with pytest.raises(NotFoundError):
            Chain(folder.genesis, store, Executor(REGISTRY)).version(Height(2))


def test_reindex_makes_the_very_index_that_was_there(folder: LedgerFolder) -> None:
    with folder.store() as store:
        before = dict(store.raw.iterate(INDEX_PREFIX))
        store.raw.apply(dict.fromkeys(list(before)[::3], b"wrong") | {INDEX_PREFIX + b"t" + bytes(28): b""})
        assert reindex(store, folder.genesis.spec.hash, REGISTRY, silent) == Reach(Height(1), Height(BLOCKS))
        assert dict(store.raw.iterate(INDEX_PREFIX)) == before


def test_reindex_that_is_broken_off_leaves_no_index(folder: LedgerFolder) -> None:
    def interrupt(what: str, _done: int, _total: int) -> None:
        if what == "indexing blocks":
            raise KeyboardInterrupt

    with folder.store() as store:
        before = dict(store.raw.iterate(INDEX_PREFIX))
        with pytest.raises(KeyboardInterrupt):
            reindex(store, folder.genesis.spec.hash, REGISTRY, interrupt)
    for _ in range(2):  # also after a restart
        with folder.running() as node:
            node.transfer(ADDRESSES[0], 5)
            node.commit()
            with pytest.raises(NotIndexedError):
                node.lists.oldest()
    with folder.running() as node:
        node.reindex()
        assert node.lists.oldest() == 1
    with folder.running() as node:
        node.commit()
        assert node.lists.oldest() == 1
        assert before.items() <= dict(node.chain.store.raw.iterate(INDEX_PREFIX)).items() | {REACH_KEY: before[REACH_KEY]}.items()
    assert not checked(folder).problems


def test_reindex_does_not_pass_over_what_is_damaged(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.raw.apply({b"r" + number(5): None})
        with pytest.raises(StorageError) as caught:
            reindex(store, folder.genesis.spec.hash, REGISTRY, silent)
        assert (caught.value.reason, caught.value.details["height"]) == ("store_corrupt", 5)
        assert read_reach(store.raw) is None


@pytest.mark.parametrize("more", [1, -1])
def test_receipts_and_transactions_that_disagree_in_number_are_damage(folder: LedgerFolder, more: int) -> None:
    with folder.store() as store:
        put_receipts(store, 5, 5, more)
        with pytest.raises(StorageError) as caught:
            reindex(store, folder.genesis.spec.hash, REGISTRY, silent)
        assert (caught.value.reason, caught.value.details["height"]) == ("store_corrupt", 5)
    with pytest.raises(StorageError) as caught:
        exported(folder, What.TRANSACTIONS)
    assert (caught.value.reason, caught.value.details["height"]) == ("store_corrupt", 5)


# ---- diff


def compared(one: LedgerFolder, other: LedgerFolder, max_keys: int = 10) -> Difference:
    with one.store() as a, other.store() as b:
        genesis_hash = one.genesis.spec.hash
        return diff(StoreSide("A", a, genesis_hash), StoreSide("B", b, genesis_hash), max_keys, silent)


def test_nodes_of_one_chain_are_the_same_also_when_one_is_behind(made: LedgerFolder, tmp_path: Path) -> None:
    behind, ahead = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    ahead.grow(3)
    found = compared(behind, ahead)
    assert found.same
    assert (found.tips, found.compared, found.state_height) == ((BLOCKS, BLOCKS + 3), BLOCKS, BLOCKS)


def test_a_node_that_is_behind_one_that_pruned_does_not_differ(made: LedgerFolder, tmp_path: Path) -> None:
    """The headers name the states: what could not be compared is said, and is no difference."""
    behind, ahead = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    ahead.grow(8)
    prune(ahead.data_dir, ahead.genesis, REGISTRY, Keep(states=2, snapshot_every=0), silent)
    for one, other in ((behind, ahead), (ahead, behind)):
        found = compared(one, other)
        assert found.same
        assert (found.compared, found.state_height) == (BLOCKS, None)
        assert [note for note in found.notes if note.startswith("the states were not compared")]


def test_nodes_without_a_common_block_cannot_be_compared(made: LedgerFolder, tmp_path: Path) -> None:
    behind, restored = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    restored.grow(8)
    with restored.store() as store:
        store.put_held(Held(Height(BLOCKS + 3), Height(BLOCKS + 3), Height(BLOCKS + 3), Height(BLOCKS + 3)))
    for one, other in ((behind, restored), (restored, behind)):
        with pytest.raises(NotFoundError) as caught:
            compared(one, other)
        assert caught.value.details["oldest"] == BLOCKS + 3


def test_a_state_that_cannot_be_read_is_no_agreement(made: LedgerFolder, tmp_path: Path) -> None:
    one, other = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    for part, to in ((one, ADDRESSES[0]), (other, ADDRESSES[1])):
        with part.running() as node:
            node.transfer(to, 5)
            node.commit()
    with other.store() as store:
        lose_a_leaf(store)
        for key, _ in [pair for pair in store.raw.iterate(LEAF_PREFIX) if pair[0].endswith(number(BLOCKS + 1))]:
            store.raw.apply({key: None})
    found = compared(one, other)
    assert not found.same
    assert [fault for fault in found.faults if "read to the end" in fault]


def test_the_first_height_and_key_at_which_two_nodes_part(made: LedgerFolder, tmp_path: Path) -> None:
    one, other = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    for part, to in ((one, ADDRESSES[0]), (other, ADDRESSES[1])):
        part.grow(1, per_block=0)
        with part.running() as node:
            node.transfer(to, 5)
            node.commit()
        part.grow(20)
    found = compared(one, other)
    assert found.first_height == BLOCKS + 2
    assert found.header_fields == ("transactions_root", "receipts_root", "state_root")
    assert found.state_height == BLOCKS + 2
    assert {item.key for item in found.keys} == {balance_key(ADDRESSES[0]), balance_key(ADDRESSES[1])}
    assert not found.more
    fewer = compared(one, other, max_keys=1)
    assert fewer.keys == found.keys[:1]
    assert fewer.more


def test_where_the_first_state_is_pruned_the_first_that_both_hold_is_compared(made: LedgerFolder, tmp_path: Path) -> None:
    one, other = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    for part, to in ((one, ADDRESSES[0]), (other, ADDRESSES[1])):
        with part.running() as node:
            node.transfer(to, 5)
            node.commit()
        part.grow(8)
    prune(other.data_dir, other.genesis, REGISTRY, Keep(states=2, snapshot_every=0), silent)
    found = compared(one, other)
    assert (found.first_height, found.state_height) == (BLOCKS + 1, BLOCKS + 7)
    assert len(found.keys) == 2


def test_a_key_that_only_one_side_has(made: LedgerFolder, tmp_path: Path) -> None:
    one, other = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    new = [contract_address(name) for name in ("a", "b", "c", "d", "e", "f")]
    stranger = [bytes([0]) + address[1:] for address in new]
    with one.running() as node:
        for address in stranger:
            node.transfer(address, 5)  # type: ignore[arg-type]
        node.commit()
    with other.running() as node:
        node.commit()
    found = compared(one, other)
    keys = {item.key: (item.a, item.b) for item in found.keys}
    for address in stranger:
        assert keys[balance_key(address)][0] is not None  # type: ignore[arg-type]
        assert keys[balance_key(address)][1] is None  # type: ignore[arg-type]
    assert keys.keys() == {balance_key(address) for address in (*stranger, FAUCET)}  # type: ignore[arg-type]
    assert {item.key: (item.b, item.a) for item in compared(other, one).keys} == keys


def test_a_state_that_is_not_what_its_own_header_says_is_noticed(made: LedgerFolder, tmp_path: Path) -> None:
    one, other = copy_of(made, tmp_path / "a"), copy_of(made, tmp_path / "b")
    with other.store() as store:
        root = store.raw.get(b"sn" + number(BLOCKS - 2))
        assert root is not None
        store.raw.apply({b"sn" + number(BLOCKS): root})
    found = compared(one, other)
    assert not found.same
    assert found.first_height is None
    assert any(fault.startswith("B does not hold the state") for fault in found.faults)


def test_nodes_of_two_chains_are_not_compared(made: LedgerFolder, tmp_path: Path) -> None:
    stranger = LedgerFolder(tmp_path / "other", name="another")
    with made.store() as a, stranger.store() as b, pytest.raises(StorageError) as caught:
        diff(StoreSide("A", a, made.genesis.spec.hash), StoreSide("B", b, stranger.genesis.spec.hash), 1, silent)
    assert caught.value.reason == "wrong_chain"


# ---- export


def exported(folder: LedgerFolder, what: What, form: Format = Format.NDJSON, wanted: Range | None = None) -> str:
    out = io.StringIO(newline="")
    with folder.store() as store:
        export(Chain(folder.genesis, store, Executor(REGISTRY)), what, form, wanted or Range(), out, silent)
    return out.getvalue()


def rows(folder: LedgerFolder, what: What, wanted: Range | None = None) -> list[dict[str, Any]]:
    return [json.loads(line) for line in exported(folder, what, wanted=wanted).splitlines()]


@pytest.mark.parametrize("what", list(What))
def test_both_formats_hold_the_same_in_the_same_order(made: LedgerFolder, what: What) -> None:
    objects = rows(made, what)
    table = list(csv.reader(io.StringIO(exported(made, what, Format.CSV), newline="")))
    assert tuple(table[0]) == SOURCES[what].columns
    assert len(table) == len(objects) + 1
    for cells, item in zip(table[1:], objects, strict=True):
        assert tuple(item) == SOURCES[what].columns
        for cell, value in zip(cells, item.values(), strict=True):
            shown = "" if value is None else value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            assert cell == shown.replace('": ', '":').replace(", ", ",") if isinstance(value, dict | list) else cell == shown


def test_the_accounts_add_up_to_the_supply(made: LedgerFolder) -> None:
    accounts = rows(made, What.ACCOUNTS)
    assert sum(account["total_motes"] for account in accounts) == SUPPLY
    assert all(type(account["free_motes"]) is int for account in accounts)
    assert {account["address"] for account in accounts} >= {format_address(FAUCET), format_address(ADDRESSES[0])}
    early = rows(made, What.ACCOUNTS, Range(high=1))
    assert len(early) == 4, "the faucet and the three of the first block"
    assert sum(account["total_motes"] for account in early) == SUPPLY


def test_transactions_and_their_events_belong_together(made: LedgerFolder) -> None:
    transactions, events = rows(made, What.TRANSACTIONS), rows(made, What.EVENTS)
    assert len(transactions) == len(events) == 3 * (BLOCKS - 1)
    for transaction, event in zip(transactions, events, strict=True):
        assert transaction["id"] == event["id"]
        assert transaction["calls"][0]["args"]["amount"] == event["fields"]["amount"]
        assert transaction["sender"] == event["fields"]["sender"]
    assert [row["height"] for row in rows(made, What.BLOCKS)] == list(range(BLOCKS + 1))
    assert [row["height"] for row in rows(made, What.EVENTS, Range(3, 4))] == [3, 3, 3, 4, 4, 4]


def test_what_is_not_held_is_refused_and_the_rest_exported(folder: LedgerFolder) -> None:
    prune(folder.data_dir, folder.genesis, REGISTRY, Keep(states=3, bodies=5, snapshot_every=0), silent)
    for what, wanted in (
        (What.TRANSACTIONS, Range(low=2)),
        (What.TRANSACTIONS, Range(high=2)),
        (What.ACCOUNTS, Range(high=2)),
    ):
        with pytest.raises(NotFoundError) as caught:
            exported(folder, what, wanted=wanted)
        assert caught.value.reason == "pruned"
    assert {row["height"] for row in rows(folder, What.TRANSACTIONS)} == set(range(BLOCKS - 5, BLOCKS))
    assert len(rows(folder, What.BLOCKS)) == BLOCKS + 1


def test_a_file_appears_only_when_it_is_complete(tmp_path: Path) -> None:
    target = tmp_path / "rows.csv"
    target.write_text("old")
    with contextlib.suppress(KeyboardInterrupt), replacing_text(target) as out:
        out.write("half")
        raise KeyboardInterrupt
    assert (target.read_text(), [path.name for path in tmp_path.iterdir()]) == ("old", ["rows.csv"])
    with replacing_text(target) as out:
        out.write("new")
    assert (target.read_text(), [path.name for path in tmp_path.iterdir()]) == ("new", ["rows.csv"])


# ---- opening


def test_a_folder_without_a_chain_is_refused_and_left_as_it_is(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError), stopped_store(tmp_path):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_running_node_is_left_alone(folder: LedgerFolder) -> None:
    with folder.running(), pytest.raises(StorageError) as caught, folder.store():
        pass
    assert caught.value.reason == "store_locked"
    assert "stop the node" in caught.value.hint


def test_the_genesis_of_another_chain_is_refused(made: LedgerFolder) -> None:
    with pytest.raises(DatacarError) as caught, stopped_store(made.data_dir, b"x" * 32):
        pass
    assert caught.value.reason == "wrong_chain"
    assert not [name for name in NAMES if (made.data_dir / name).exists()], "the tools make no sign-state"

"""What the operator's tools find, forget, compare and write, on stores of small chains. The command line is tested elsewhere."""

import contextlib
import csv
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from ledger.certificate import QuorumCertificate
from ledger.codec import encode_trusted
from ledger.errors import DatacarError, NotFoundError
from ledger.policy import contract_address, format_address
from ledger.state_tree import LEAF_PREFIX
from ledger.transaction import Call
from ledger.types import Height
from node.block_store import BlockStore, StorageError
from node.chain import Chain
from node.db_diff import Difference, StoreSide, diff
from node.db_export import Format, export
from node.db_index import reindex
from node.db_prune import prune
from node.db_replay import Replayed, ReplayError, replay
from node.db_rows import SOURCES, Range, What
from node.db_tools import replacing, silent, stopped_store
from node.db_verify import Report, verify
from node.indexes import EVERY, INDEX_PREFIX, Reach
from node.pruning import Keep
from node.sign_file import NAMES
from tests.ledger_folder import ADDRESSES, SEEDS, LedgerFolder
from tests.memory_node import FAUCET
from vm.contracts.asset import SUPPLY, balance_key
from vm.executor import Executor
from vm.registry import default_registry

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


DAMAGE: list[tuple[str, Callable[[BlockStore], Any], str, int | None, bool]] = [
    ("a certificate gone", lambda store: store.raw.apply({b"c" + number(4): None}), "headers", 4, True),
    ("two certificates exchanged", lambda store: swap(store, b"c" + number(4), b"c" + number(5)), "headers", 4, True),
    ("a hash that leads nowhere", lambda store: store.raw.apply({b"h" + store.hash_of(Height(6)): None}), "headers", 6, True),
    ("the genesis block gone", lambda store: store.raw.apply({b"b" + number(0): None}), "headers", 0, True),
    ("a list of ids gone", lambda store: store.raw.apply({b"i" + number(7): None}), "window", 7, True),
    ("an id that is not found", lose_an_id, "window", 4, True),
    ("a vote of another", forge_signature, "certificates", 5, False),
    ("a body gone", lambda store: store.raw.apply({b"b" + number(3): None}), "blocks", 3, False),
    ("two bodies exchanged", lambda store: swap(store, b"b" + number(3), b"b" + number(4)), "blocks", 3, False),
    ("receipts gone", lambda store: store.raw.apply({b"r" + number(3): None}), "blocks", 3, False),
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


def test_a_lost_leaf_of_any_kept_version_is_found(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.put_pins((Height(1), Height(BLOCKS)))
        for key, _ in [pair for pair in store.raw.iterate(LEAF_PREFIX) if pair[0].endswith(number(1))]:
            store.raw.apply({key: None})
    assert [problem.check for problem in checked(folder).problems] == ["snapshots"]
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
        with pytest.raises(KeyboardInterrupt):
            reindex(store, folder.genesis.spec.hash, REGISTRY, interrupt)
        assert not [key for key, _ in store.raw.iterate(INDEX_PREFIX + b"m")]


def test_reindex_does_not_pass_over_what_is_damaged(folder: LedgerFolder) -> None:
    with folder.store() as store:
        store.raw.apply({b"r" + number(5): None})
        with pytest.raises(StorageError) as caught:
            reindex(store, folder.genesis.spec.hash, REGISTRY, silent)
        assert (caught.value.reason, caught.value.details["height"]) == ("store_corrupt", 5)
        assert not [key for key, _ in store.raw.iterate(INDEX_PREFIX + b"m")]


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
    assert any(note.startswith("B does not hold the state") for note in found.notes)


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
    with contextlib.suppress(KeyboardInterrupt), replacing(target) as out:
        out.write("half")
        raise KeyboardInterrupt
    assert (target.read_text(), [path.name for path in tmp_path.iterdir()]) == ("old", ["rows.csv"])
    with replacing(target) as out:
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

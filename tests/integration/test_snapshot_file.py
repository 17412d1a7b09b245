"""A snapshot in a file: whole, checked to the last byte, and as good a beginning as genesis for all that comes after it."""

import json
import random
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner, Result

import cli
from ledger.errors import NotFoundError
from ledger.parameters import ChainParameters
from ledger.transaction import Call, Transaction
from ledger.types import Height
from node.block_store import StorageError
from node.chain import InvalidBlockError
from node.commands.exits import Exit
from node.db_snapshot import RESTORING_NAME, restore, save
from node.db_tools import silent
from node.snapshot_file import BadSnapshotError
from tests.ledger_folder import ADDRESSES, FolderNode, LedgerFolder
from tests.memory_node import FAUCET_SEED
from vm.registry import default_registry

BLOCKS = 130
WINDOW_MS = 20_000  # twenty blocks, so that the last hundred blocks count
FLIPS = 50


def send(node: FolderNode, seed: bytes, *calls: Call) -> Transaction:
    """Give a transaction that fits the short window to the pool."""
    transaction = node.sign(seed, calls, valid_for_ms=WINDOW_MS // 2, gas_limit=2_000_000)
    node._intake.admit(transaction, node.now_ms)
    return transaction


def govern(node: FolderNode, index: int, method: str, *args: str | int | None) -> None:
    """Commit a call of the governance contract by a member."""
    send(node, node.keys[index].governance_seed, Call("governance", method, args))
    node.commit()


def grow(node: FolderNode, blocks: int) -> None:
    """Commit blocks of two payments each."""
    for number in range(blocks):
        for each in range(2):
            send(node, FAUCET_SEED, Call("asset", "transfer", (ADDRESSES[(number + each) % len(ADDRESSES)], 7 + number)))
        node.commit()


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> LedgerFolder:
    """A chain of five members of whom one is removed on the way."""
    folder = LedgerFolder(
        tmp_path_factory.mktemp("source"), members=5, parameters=ChainParameters(tx_window_ms=WINDOW_MS), name="snapshots"
    )
    with folder.running() as node:
        grow(node, 5)
        govern(node, 0, "propose_remove", node.keys[4].member.id, "", None)
        proposal = node.query("governance", "last_proposal", ())
        assert isinstance(proposal, int)
        for voter in (1, 2, 3):
            if node.committee.size == 5:
                govern(node, voter, "vote", proposal, True)
        assert node.committee.size == 4
        grow(node, BLOCKS - node.tip.height)
    return folder


@pytest.fixture(scope="module")
def snapshot(source: LedgerFolder, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Its snapshot."""
    path = tmp_path_factory.mktemp("file") / "snapshot"
    done = save(source.data_dir, source.genesis, default_registry(), path, None, silent)
    assert done.height == BLOCKS
    assert done.size_bytes == path.stat().st_size
    assert [item.name for item in path.parent.iterdir()] == ["snapshot"]
    return path


@pytest.fixture
def empty(source: LedgerFolder, tmp_path: Path) -> LedgerFolder:
    """A node's folder without a database."""
    shutil.copytree(source.folder, tmp_path / "node", ignore=shutil.ignore_patterns("db"))
    return source.at(tmp_path / "node")


def test_a_restored_node_goes_on_like_the_one_it_came_from(source: LedgerFolder, snapshot: Path, empty: LedgerFolder) -> None:
    """The same roots after the next blocks, the same committee, and what stands in the window is known."""
    restore(empty.data_dir, empty.genesis, default_registry(), snapshot, silent)
    copy = source.at(empty.folder.parent / "original")
    shutil.copytree(source.folder, copy.folder)
    with empty.running() as restored, copy.running() as original:
        held = restored.chain.store.held
        assert (held.bodies_from, held.states_from, held.headers_from) == (BLOCKS + 1, BLOCKS, BLOCKS - 100)
        assert restored.tip == original.tip
        assert restored.chain.membership == original.chain.membership
        assert restored.chain.store.handovers(Height(BLOCKS)) == original.chain.store.handovers(Height(BLOCKS))
        for height in range(BLOCKS - 99, BLOCKS + 1):
            at = Height(height)
            assert restored.chain.store.receipts(at) == original.chain.store.receipts(at)
            assert restored.chain.store.tx_ids(at) == original.chain.store.tx_ids(at)
        version = restored.chain.version(Height(BLOCKS))
        grow(original, 1)
        block = original.chain.store.block(Height(BLOCKS + 1))
        certificate = original.chain.store.certificate(Height(BLOCKS + 1))
        assert block is not None
        assert certificate is not None
        transactions = [Transaction.from_raw(raw, restored.genesis_hash) for raw in block.transactions]
        restored.chain.commit(restored.chain.execute(block.header, transactions), certificate)
        assert restored.tip == original.tip
        assert version.root.digest != restored.tip.state_root
        old = original.chain.store.tx_ids(Height(BLOCKS - 3))
        assert old
        assert restored.chain.committed_at(old[0]) == original.chain.committed_at(old[0])


def test_a_transaction_of_the_window_stays_taken(source: LedgerFolder, snapshot: Path, empty: LedgerFolder) -> None:
    """No block can hold again what a block before the snapshot holds."""
    restore(empty.data_dir, empty.genesis, default_registry(), snapshot, silent)
    with source.running() as original:
        block = original.chain.store.block(Height(BLOCKS - 5))
    assert block is not None
    with empty.running() as restored:
        again = [Transaction.from_raw(block.transactions[0], restored.genesis_hash)]
        built, _ = restored.chain.build(again, 10, restored.tip.view, restored.tip.proposer, restored.now_ms + 1)
        assert built.transactions == ()
        with pytest.raises(InvalidBlockError, match="committed already"):
            restored.chain.execute(built.header, again)


def test_a_snapshot_of_a_restored_node_is_the_same_file(snapshot: Path, empty: LedgerFolder, tmp_path: Path) -> None:
    """Whoever came from a snapshot can give it on: nothing of it was lost."""
    restore(empty.data_dir, empty.genesis, default_registry(), snapshot, silent)
    save(empty.data_dir, empty.genesis, default_registry(), tmp_path / "again", None, silent)
    assert (tmp_path / "again").read_bytes() == snapshot.read_bytes()


def test_an_older_height_can_be_taken_while_its_state_is_kept(source: LedgerFolder, empty: LedgerFolder, tmp_path: Path) -> None:
    """And what is not there is refused: genesis, heights to come."""
    save(source.data_dir, source.genesis, default_registry(), tmp_path / "older", Height(BLOCKS - 10), silent)
    done = restore(empty.data_dir, empty.genesis, default_registry(), tmp_path / "older", silent)
    assert done.height == BLOCKS - 10
    for height in (0, BLOCKS + 1):
        with pytest.raises(NotFoundError):
            save(source.data_dir, source.genesis, default_registry(), tmp_path / "none", Height(height), silent)
    assert not list(tmp_path.glob("*none*"))


def test_every_changed_byte_is_refused_and_nothing_is_left(snapshot: Path, empty: LedgerFolder, tmp_path: Path) -> None:
    """Changes, cuts and additions anywhere: no database appears, and the file is named with the place."""
    rng = random.Random(20)
    good = snapshot.read_bytes()
    bad = tmp_path / "bad"
    damaged = [good[:place] + bytes((good[place] ^ 1 << rng.randrange(8),)) + good[place + 1 :] for place in places(rng, good)]
    damaged += [good[: rng.randrange(len(good))] for _ in range(10)] + [good + b"\0", b""]
    for data in damaged:
        bad.write_bytes(data)
        with pytest.raises(BadSnapshotError):
            restore(empty.data_dir, empty.genesis, default_registry(), bad, silent)
        assert not (empty.data_dir / "db").exists()
        assert not (empty.data_dir / RESTORING_NAME).exists()
    restore(empty.data_dir, empty.genesis, default_registry(), snapshot, silent)


def places(rng: random.Random, data: bytes) -> list[int]:
    """Everywhere in the head, and all over the rest."""
    return [*range(0, 64, 8), *(rng.randrange(len(data)) for _ in range(FLIPS))]


def test_a_file_of_another_chain_is_named_so(snapshot: Path, tmp_path: Path) -> None:
    """The genesis hash decides."""
    other = LedgerFolder(tmp_path / "other", name="another-chain")
    shutil.rmtree(other.data_dir / "db")
    with pytest.raises(BadSnapshotError) as caught:
        restore(other.data_dir, other.genesis, default_registry(), snapshot, silent)
    assert caught.value.reason == "wrong_chain"


def test_the_commands(source: LedgerFolder, empty: LedgerFolder, tmp_path: Path) -> None:
    """`datacar db snapshot` and `datacar db restore`, and what they say."""
    path = tmp_path / "snapshot"
    taken = run("snapshot", path, "-c", source.config, "--json")
    assert taken.exit_code == Exit.OK, taken.output
    found = json.loads(taken.stdout)
    assert (found["height"], found["file"], found["size_bytes"]) == (BLOCKS, str(path), path.stat().st_size)
    restored = run("restore", path, "-c", empty.config, "--json")
    assert restored.exit_code == Exit.OK, restored.output
    assert json.loads(restored.stdout)["keys"] == found["keys"] > 0
    with empty.running() as node:
        assert node.tip.height == BLOCKS
    again = run("restore", path, "-c", empty.config)
    assert again.exit_code == Exit.ERROR
    assert "already" in again.output
    path.write_bytes(path.read_bytes()[:-1])
    shutil.rmtree(empty.data_dir / "db")
    cut = run("restore", path, "-c", empty.config)
    assert cut.exit_code == Exit.ERROR
    assert "ends in the middle of a record" in cut.output


def run(*args: object) -> Result:
    """Run one of the commands."""
    return CliRunner().invoke(cli.app, ["db", *map(str, args)])


def test_a_folder_with_a_database_is_left_alone(source: LedgerFolder, snapshot: Path) -> None:
    """Restoring never replaces what is there."""
    with pytest.raises(StorageError) as caught:
        restore(source.data_dir, source.genesis, default_registry(), snapshot, silent)
    assert caught.value.reason == "store_in_use"

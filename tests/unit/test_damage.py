"""What a node does about a damaged store: set it aside once and begin anew, or refuse; never more than that, never by mistake."""

import asyncio
import json
import time
from pathlib import Path

import pytest

from ledger.codec import encode_trusted
from ledger.state_tree import LEAF_PREFIX, CorruptStateError
from node import probe
from node.app import Node
from node.block_store import BlockStore, StorageError
from node.commands.dev_accounts import dev_blueprint
from node.config import load_config
from node.damage import ASIDE_NAME, NOTE_NAME, STORE_NAME, is_damage, note_damage, noted_damage, open_or_heal
from node.devnet import create
from node.storage import LevelStore
from tests.patience import PATIENCE_S
from tests.ports import take_ports

GENESIS = b"g" * 32
KEY = b"mschema"


def make_store(data_dir: Path) -> Path:
    """Make a store with a record in its log and return the log."""
    store = open_or_heal(data_dir, GENESIS, "refuse")
    store.raw.apply({KEY: b"2", b"mgenesis": GENESIS})
    store.close()
    (log,) = (data_dir / STORE_NAME).glob("*.log")
    (data_dir / "sign-state.a").write_bytes(b"signed")
    return log


def flip(path: Path, offset: int) -> None:
    data = bytearray(path.read_bytes())
    data[offset] ^= 1
    path.write_bytes(data)


def is_empty(store: BlockStore) -> bool:
    return not list(store.raw.iterate())


def test_whole_store_is_opened_as_it_is(tmp_path: Path) -> None:
    make_store(tmp_path)
    store = open_or_heal(tmp_path, GENESIS, "resync")
    assert store.raw.get(KEY) == b"2"
    store.close()
    assert sorted(path.name for path in tmp_path.iterdir()) == [STORE_NAME, "sign-state.a"]


def test_refusing_says_what_and_where_and_changes_nothing(tmp_path: Path) -> None:
    log = make_store(tmp_path)
    flip(log, 20)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    with pytest.raises(StorageError) as caught:
        open_or_heal(tmp_path, GENESIS, "refuse")
    assert caught.value.reason == "store_corrupt"
    assert f"{tmp_path / STORE_NAME} is damaged: {log.name} at byte 0: checksum mismatch" in caught.value.message
    assert "never the sign-state" in caught.value.hint
    assert caught.value.details["damage"] == [f"{log.name} at byte 0: checksum mismatch"]
    after = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    assert {path: data for path, data in after.items() if not path.name.startswith("LOG")} == {
        path: data for path, data in before.items() if not path.name.startswith("LOG")
    }


def test_resync_sets_the_store_aside_and_begins_with_an_empty_one(tmp_path: Path) -> None:
    log = make_store(tmp_path)
    flip(log, 20)
    damaged = log.read_bytes()
    store = open_or_heal(tmp_path, GENESIS, "resync")
    assert is_empty(store)
    store.close()
    assert (tmp_path / ASIDE_NAME / log.name).read_bytes() == damaged, "a person can still look at it"
    assert (tmp_path / "sign-state.a").read_bytes() == b"signed"


def test_second_damage_needs_a_person(tmp_path: Path) -> None:
    flip(make_store(tmp_path), 20)
    open_or_heal(tmp_path, GENESIS, "resync").close()
    flip(make_store(tmp_path), 20)
    for _ in range(2):
        with pytest.raises(StorageError) as caught:
            open_or_heal(tmp_path, GENESIS, "resync")
        assert caught.value.reason == "store_corrupt"
        assert f"{tmp_path / ASIDE_NAME} still holds what was damaged before" in caught.value.message
    assert (tmp_path / STORE_NAME).exists()


def test_damage_found_in_use_is_noted_for_the_next_start(tmp_path: Path) -> None:
    told: list[StorageError] = []
    make_store(tmp_path)
    LevelStore(tmp_path / STORE_NAME).close()  # the log becomes a table
    (table,) = (tmp_path / STORE_NAME).glob("*.ldb")
    store = open_or_heal(tmp_path, GENESIS, "resync", told.append)
    flip(table, 20)
    with pytest.raises(StorageError) as found:
        list(store.raw.iterate(b"m"))
    assert told == [found.value]
    note = json.loads((tmp_path / STORE_NAME / NOTE_NAME).read_text(encoding="utf-8"))
    assert note["reason"] == "store_corrupt"
    assert note["message"] == noted_damage(tmp_path)
    assert "checksum mismatch" in note["message"]
    store.close()
    with pytest.raises(StorageError) as caught:
        open_or_heal(tmp_path, GENESIS, "refuse")
    assert "was found damaged before: cannot read" in caught.value.message
    assert caught.value.hint.endswith(f"remove {tmp_path / STORE_NAME / NOTE_NAME}")
    store = open_or_heal(tmp_path, GENESIS, "resync")
    assert is_empty(store)
    assert noted_damage(tmp_path) is None, "the note went with the folder"
    store.close()


def test_first_note_stays_and_an_unreadable_one_counts(tmp_path: Path) -> None:
    make_store(tmp_path)
    assert noted_damage(tmp_path) is None
    note_damage(tmp_path, CorruptStateError("a state node", b"sn"))
    note_damage(tmp_path, StorageError("store_corrupt", "later", hint=""))
    assert noted_damage(tmp_path) == "a state node does not match its hash"
    (tmp_path / STORE_NAME / NOTE_NAME).write_text("{", encoding="utf-8")
    assert "cannot be read" in (noted_damage(tmp_path) or "")


@pytest.mark.parametrize("reason", ["store_locked", "wrong_chain", "store_version"])
def test_what_is_no_damage_is_never_set_aside(tmp_path: Path, reason: str) -> None:
    make_store(tmp_path)
    other = LevelStore(tmp_path / STORE_NAME)
    if reason == "store_version":
        other.apply({KEY: b"0"})
    if reason != "store_locked":
        other.close()
    with pytest.raises(StorageError) as caught:
        open_or_heal(tmp_path, b"h" * 32 if reason == "wrong_chain" else GENESIS, "resync")
    assert caught.value.reason == reason
    assert not is_damage(caught.value)
    assert not (tmp_path / ASIDE_NAME).exists()
    other.close()


def test_store_that_a_process_uses_is_never_set_aside(tmp_path: Path) -> None:
    """Not even with a note in it: its process may be about to end, but has not."""
    make_store(tmp_path)
    other = LevelStore(tmp_path / STORE_NAME)
    note_damage(tmp_path, StorageError("store_corrupt", "found in use", hint=""))
    with pytest.raises(StorageError) as caught:
        open_or_heal(tmp_path, GENESIS, "resync")
    assert caught.value.reason == "store_locked"
    assert (tmp_path / STORE_NAME).exists()
    other.close()


def test_torn_end_of_the_log_is_no_damage(tmp_path: Path) -> None:
    log = make_store(tmp_path)
    log.write_bytes(log.read_bytes() + log.read_bytes()[:30])
    store = open_or_heal(tmp_path, GENESIS, "refuse")
    assert store.raw.get(KEY) == b"2"
    store.close()


async def test_damage_that_only_a_proof_shows_stops_the_node(tmp_path: Path) -> None:
    """The store's checksums fit, the state tree's hashes do not: nobody is told a wrong value, and the node votes no more."""
    blueprint, ports = dev_blueprint(1, "damage test", time.time_ns() // 1_000_000), (take_ports(1), take_ports(1))
    network = create(tmp_path / "net", blueprint, lambda _line: None, ports)
    config = load_config(tmp_path / "net" / network.nodes[0].name / "config.toml")
    node = Node(config)
    running = asyncio.create_task(node.run())
    rpc = config.rpc
    while not (await asyncio.to_thread(probe.readiness, rpc.host, rpc.port)).ready:
        assert not running.done()
        await asyncio.sleep(0.02)
    assert node._service is not None
    store = node._service._driver.chain.store.raw
    store.apply({key: encode_trusted((b"another key", b"")) for key, _ in store.iterate(LEAF_PREFIX)})
    asked = ("account_get", {"address": network.accounts[0].address, "prove": True})
    with pytest.raises(probe.ProbeError) as refused:
        await asyncio.to_thread(probe.call, rpc.host, rpc.port, asked, timeout_s=PATIENCE_S)
    assert refused.value.reason in ("corrupt_state", "unreachable"), "the node may have ended before the answer was out"
    error = await asyncio.wait_for(running, PATIENCE_S)
    assert isinstance(error, CorruptStateError)
    assert noted_damage(config.node.data_dir) == error.message

"""The consensus key's replacement: never without a key, whatever the moment, and the replaced one is gone."""

from pathlib import Path

from ledger import crypto
from ledger.crypto import public_key, sign
from node.key_ring import NEXT_SUFFIX, FileKeyRing
from node.secret_files import read_seed, write_seed

OLD, NEXT, OTHER = (letter * 32 for letter in (b"o", b"n", b"x"))


def ring_in(folder: Path, next_seed: bytes | None = NEXT) -> tuple[FileKeyRing, Path]:
    path = folder / "consensus.key"
    write_seed(path, OLD)
    if next_seed is not None:
        write_seed(path.with_name(path.name + NEXT_SUFFIX), next_seed)
    return FileKeyRing(path), path


def test_next_key_takes_over_when_the_chain_names_it(tmp_path: Path) -> None:
    ring, path = ring_in(tmp_path)
    assert not ring.settle(public_key(OLD)), "nothing is replaced by being made"
    sign(OLD, b"a vote")
    assert ring.settle(public_key(NEXT))
    assert ring.public_keys == {public_key(NEXT)}
    assert read_seed(path, "the key") == NEXT
    assert not path.with_name(path.name + NEXT_SUFFIX).exists()
    assert crypto._secret_key.cache_info().currsize == 0, "no copy of the replaced key is kept for signing"
    assert FileKeyRing(path).public_keys == {public_key(NEXT)}


def test_crash_before_the_take_over_is_made_up_for_at_the_next_start(tmp_path: Path) -> None:
    _, path = ring_in(tmp_path)
    again = FileKeyRing(path)
    assert again.settle(public_key(NEXT))
    assert again.seed(public_key(NEXT)) == NEXT


def test_no_key_is_lost_when_the_chain_names_one_that_is_not_here(tmp_path: Path) -> None:
    ring, path = ring_in(tmp_path)
    assert not ring.settle(public_key(OTHER))
    assert read_seed(path, "the key") == OLD
    assert read_seed(path.with_name(path.name + NEXT_SUFFIX), "the next key") == NEXT
    assert ring.public_keys == {public_key(OLD)}


def test_next_file_that_was_exchanged_meanwhile_is_not_taken_for_another(tmp_path: Path) -> None:
    ring, path = ring_in(tmp_path)
    assert not ring.settle(public_key(OTHER))
    path.with_name(path.name + NEXT_SUFFIX).unlink()
    write_seed(path.with_name(path.name + NEXT_SUFFIX), OTHER)
    assert not ring.settle(public_key(NEXT))
    assert ring.settle(public_key(OTHER))
    assert read_seed(path, "the key") == OTHER

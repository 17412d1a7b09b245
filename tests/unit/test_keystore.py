"""Keystore files: what is locked opens with its password only, and no file harms, lies or is lost."""

import copy
import os
import stat
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datacar.keystore import (
    DEFAULT_SCRYPT,
    MAX_FILE_BYTES,
    MAX_SECRET_BYTES,
    BadKeystoreError,
    Keystore,
    KeystoreExistsError,
    ScryptParams,
    WrongPasswordError,
    lock,
    read,
    write,
)
from ledger.errors import DatacarError, NotFoundError, RejectedError, TooLargeError

CHEAP = ScryptParams(n=2, r=1, p=1)
SECRET = b"void come effort suffer camp survey"


def cheap(secret: bytes = SECRET, password: str = "correct horse") -> Keystore:
    return lock(secret, password, kind="mnemonic", public={"address": "datr1q", "path": "m/44'"}, scrypt=CHEAP)


def test_a_written_keystore_opens_with_its_password(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    write(path, cheap())
    keystore = read(path)
    assert keystore == cheap_with(keystore)
    assert keystore.unlock("correct horse") == SECRET
    assert keystore.public == {"address": "datr1q", "path": "m/44'"}


def cheap_with(keystore: Keystore) -> Keystore:
    """Return what `keystore` must be, given its random parts."""
    return Keystore("mnemonic", {"address": "datr1q", "path": "m/44'"}, CHEAP, keystore.salt, keystore.nonce, keystore.ciphertext)


def test_the_default_cost_is_128_mib_and_opens_again() -> None:
    """The one test that pays the real price."""
    assert 128 * DEFAULT_SCRYPT.n * DEFAULT_SCRYPT.r == 128 * 1024 * 1024
    assert lock(SECRET, "pw", kind="seed").unlock("pw") == SECRET


@pytest.mark.parametrize("password", ["", "correct hors", "correct horse ", "Correct horse", "x" * 5_000])
def test_any_other_password_is_refused(password: str) -> None:
    with pytest.raises(WrongPasswordError) as caught:
        cheap().unlock(password)
    assert caught.value.reason == "not_permitted"
    assert "password" in caught.value.message


def test_a_password_is_the_same_on_every_keyboard() -> None:
    composed, decomposed = "caf\N{LATIN SMALL LETTER E WITH ACUTE}", "cafe\N{COMBINING ACUTE ACCENT}"
    assert cheap(password=composed).unlock(decomposed) == SECRET


def test_an_empty_password_is_not_taken() -> None:
    with pytest.raises(RejectedError, match="empty"):
        lock(SECRET, "", kind="seed", scrypt=CHEAP)


def test_the_same_secret_never_looks_the_same() -> None:
    one, two = cheap(), cheap()
    assert one.salt != two.salt
    assert one.nonce != two.nonce
    assert one.ciphertext != two.ciphertext


def test_the_file_does_not_show_the_secret(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    write(path, cheap())
    assert SECRET not in path.read_bytes()
    assert SECRET.hex().encode() not in path.read_bytes()


def test_a_secret_has_a_limit() -> None:
    assert cheap(bytes(MAX_SECRET_BYTES)).unlock("correct horse") == bytes(MAX_SECRET_BYTES)
    with pytest.raises(TooLargeError):
        cheap(bytes(MAX_SECRET_BYTES + 1))


# --- the file ---------------------------------------------------------------------------------------------------------


def test_only_the_owner_may_read_it_whatever_the_umask(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "wallet.json"
    before = os.umask(0)
    try:
        write(path, cheap())
    finally:
        os.umask(before)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700


def test_an_existing_file_is_kept_unless_asked_otherwise(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    write(path, cheap(b"first"))
    with pytest.raises(KeystoreExistsError, match="exists already"):
        write(path, cheap(b"second"))
    assert read(path).unlock("correct horse") == b"first"
    write(path, cheap(b"second"), overwrite=True)
    assert read(path).unlock("correct horse") == b"second"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_of_many_writers_at_once_exactly_one_wins(tmp_path: Path) -> None:
    """Two wallets made at the same moment under one name must not lose a key."""
    path = tmp_path / "wallet.json"
    secrets = [bytes([number]) for number in range(8)]
    keystores = [cheap(secret) for secret in secrets]

    def attempt(number: int) -> bytes | None:
        try:
            write(path, keystores[number])
        except KeystoreExistsError:
            return None
        return secrets[number]

    with ThreadPoolExecutor(8) as pool:
        winners = [secret for secret in pool.map(attempt, range(8)) if secret is not None]
    assert winners == [read(path).unlock("correct horse")]
    assert list(tmp_path.iterdir()) == [path]


def test_a_failed_write_leaves_the_old_file_and_nothing_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "wallet.json"
    write(path, cheap(b"first"))

    def full_disk(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full_disk)
    with pytest.raises(OSError, match="No space left"):
        write(path, cheap(b"second"), overwrite=True)
    assert list(tmp_path.iterdir()) == [path]
    assert read(path).unlock("correct horse") == b"first"


def test_a_dangling_link_is_not_written_over(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    path.symlink_to(tmp_path / "elsewhere.json")
    with pytest.raises(KeystoreExistsError):
        write(path, cheap())
    assert not (tmp_path / "elsewhere.json").exists()


def test_a_missing_file_is_not_found(tmp_path: Path) -> None:
    with pytest.raises(NotFoundError, match="no keystore"):
        read(tmp_path / "wallet.json")


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    path = tmp_path / "wallet.json"
    with path.open("wb") as file:
        file.truncate(10 * 1024**3)  # sparse
    with pytest.raises(TooLargeError):
        read(path)


def test_labels_too_large_to_read_back_are_not_written(tmp_path: Path) -> None:
    keystore = lock(SECRET, "pw", kind="seed", public={"note": "x" * MAX_FILE_BYTES}, scrypt=CHEAP)
    with pytest.raises(TooLargeError):
        write(tmp_path / "wallet.json", keystore)
    assert list(tmp_path.iterdir()) == []


# --- hostile files ----------------------------------------------------------------------------------------------------


def changed(change: Callable[[dict[str, Any]], object]) -> bytes:
    document = orjson.loads(cheap().to_json())
    change(document)
    return orjson.dumps(document)


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda d: d.update(version=2), "version is 2, this program reads 1"),
        (lambda d: d.update(version=True), "version is True"),
        (lambda d: d.pop("version"), "version is None"),
        (lambda d: d.update(extra=1), "exactly the fields"),
        (lambda d: d.pop("kind"), "exactly the fields"),
        (lambda d: d.update(kind="Mnemonic"), "kind"),
        (lambda d: d.update(kind=3), "kind"),
        (lambda d: d.update(public=["a"]), "public"),
        (lambda d: d.update(public={"a": 1}), "public"),
        (lambda d: d.update(kdf=None), "kdf"),
        (lambda d: d["kdf"].update(name="pbkdf2"), "'pbkdf2', this program knows 'scrypt'"),
        (lambda d: d["cipher"].update(name="aes-128-ctr"), "this program knows 'aes-256-gcm'"),
        (lambda d: d["kdf"].update(n=2**40), "bytes, over a limit"),
        (lambda d: d["kdf"].update(n=2**17, r=2**20), "bytes, over a limit"),
        (lambda d: d["kdf"].update(p=2**40), "bytes, over a limit"),
        (lambda d: d["kdf"].update(n=2**14, r=8, p=2**10), "steps, over a limit"),
        (lambda d: d["kdf"].update(n=1), "power of two"),
        (lambda d: d["kdf"].update(n=3), "power of two"),
        (lambda d: d["kdf"].update(n=0), "power of two"),
        (lambda d: d["kdf"].update(r=0), "power of two"),
        (lambda d: d["kdf"].update(p=-1), "power of two"),
        (lambda d: d["kdf"].update(n=2.0), "n must be an integer"),
        (lambda d: d["kdf"].update(r=True), "r must be an integer"),
        (lambda d: d["kdf"].update(salt="00" * 31), "salt"),
        (lambda d: d["kdf"].update(salt="zz" * 32), "salt"),
        (lambda d: d["cipher"].update(nonce=7), "nonce"),
        (lambda d: d["cipher"].update(ciphertext="00" * 15), "ciphertext"),
        (lambda d: d["cipher"].update(ciphertext="00" * (MAX_SECRET_BYTES + 17)), "ciphertext"),
    ],
)
def test_a_file_out_of_bounds_is_refused_before_any_work(change: Callable[[dict[str, Any]], object], problem: str) -> None:
    with pytest.raises(BadKeystoreError, match=problem) as caught:
        Keystore.from_json(changed(change))
    assert caught.value.reason == "bad_encoding"


@pytest.mark.parametrize("data", [b"", b"{", b"[]", b"null", b"1", b"\xff", b"[" * 60_000, b"1" * 5_000])
def test_what_is_no_keystore_is_refused(data: bytes) -> None:
    with pytest.raises(BadKeystoreError):
        Keystore.from_json(data)


@pytest.mark.parametrize(
    "change",
    [
        lambda d: d.update(kind="seed"),
        lambda d: d["public"].update(address="datr1evil"),
        lambda d: d["public"].update(note=""),
        lambda d: d["public"].pop("path"),
        lambda d: d["kdf"].update(p=2),
        lambda d: d["kdf"].update(salt="00" * 32),
        lambda d: d["cipher"].update(nonce="00" * 12),
        lambda d: d["cipher"].update(ciphertext="00" * 64),
    ],
)
def test_nothing_in_the_file_can_be_changed_unseen(change: Callable[[dict[str, Any]], object]) -> None:
    """Not even the readable labels: an attacker must not swap the address that a user reads and pays into."""
    with pytest.raises(WrongPasswordError):
        Keystore.from_json(changed(change)).unlock("correct horse")


@settings(max_examples=50)
@given(secret=st.binary(max_size=200), password=st.text(min_size=1, max_size=40), label=st.text(max_size=40))
def test_any_secret_password_and_label_come_back(secret: bytes, password: str, label: str) -> None:
    keystore = lock(secret, password, kind="seed", public={"label": label}, scrypt=CHEAP)
    again = Keystore.from_json(keystore.to_json())
    assert again.unlock(password) == secret
    assert again.public == {"label": label}


@settings(max_examples=100)
@given(data=st.data())
def test_a_broken_file_opens_wrongly_never_and_crashes_never(data: st.DataObject) -> None:
    original = bytearray(cheap().to_json())
    broken = copy.copy(original)
    position = data.draw(st.integers(0, len(original) - 1))
    broken[position] = data.draw(st.integers(0, 255))
    try:
        secret = Keystore.from_json(bytes(broken)).unlock("correct horse")
    except DatacarError:
        return
    assert secret == SECRET

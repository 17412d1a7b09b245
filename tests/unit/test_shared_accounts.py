"""Accounts of several keys in the SDK: signatures collected in any order over files, and whatever can be wrong with a file."""

import itertools
import json
from collections.abc import Callable
from typing import Any, Final

import pytest

from datacar import Multisig, PendingTransaction, Wallet
from datacar.errors import BadEncodingError, BadSignatureError, InvalidInputError
from datacar.multisig import BadFileError, NotASignerError, ThresholdNotReachedError
from datacar.transactions import ChainInfo
from ledger.policy import contract_address, parse_address
from ledger.transaction import Call, Transaction

GENESIS: Final = b"\x07" * 32
CHAIN: Final = ChainInfo("c-1", GENESIS, height=5, timestamp_ms=1_000_000, tx_window_ms=3_600_000, gas_price_motes=0)
ALICE, BOB, CAROL, MALLORY = (Wallet.from_seed(name * 32) for name in (b"a", b"b", b"c", b"m"))
SIGNERS: Final = (ALICE, BOB, CAROL)
SHARED: Final = Multisig.of(2, [wallet.key.public_key for wallet in SIGNERS])
PAYMENT: Final = Call("asset", "transfer", (contract_address("shop"), 150_000_000))


@pytest.fixture
def pending() -> PendingTransaction:
    return SHARED.build(CHAIN, [PAYMENT], reference="invoice 7")


def carried(pending: PendingTransaction) -> PendingTransaction:
    """What the next signer reads of a file."""
    return PendingTransaction.from_text(pending.to_text())


def test_the_account_is_the_same_whatever_the_order_of_its_keys() -> None:
    keys = [wallet.key.public_key for wallet in SIGNERS]
    assert {Multisig.of(2, order).address for order in itertools.permutations(keys)} == {SHARED.address}
    assert Multisig.of(3, keys).address != SHARED.address
    assert Multisig.of(1, [ALICE.key.public_key]).address == ALICE.address
    assert Multisig.from_text(SHARED.to_text()) == SHARED


@pytest.mark.parametrize(("threshold", "count"), [(0, 3), (4, 3), (1, 0), (1, 17)])
def test_an_account_that_cannot_be_is_refused(threshold: int, count: int) -> None:
    with pytest.raises(InvalidInputError):
        Multisig.of(threshold, [bytes([number]) * 32 for number in range(count)])


def test_a_key_stands_there_once() -> None:
    with pytest.raises(BadEncodingError, match="distinct"):
        Multisig.of(1, [ALICE.key.public_key] * 2)


@pytest.mark.parametrize("order", list(itertools.permutations(SIGNERS, 2)), ids=["ab", "ac", "ba", "bc", "ca", "cb"])
def test_any_two_of_three_sign_in_any_order(pending: PendingTransaction, order: tuple[Wallet, Wallet]) -> None:
    first, second = order
    done = carried(carried(pending).sign(first)).sign(second)
    transaction = carried(done).transaction()
    transaction.check_signatures()
    assert transaction.sender == parse_address(SHARED.address)
    assert transaction.id == pending.id
    assert (transaction.body.calls, transaction.body.reference) == ((PAYMENT,), "invoice 7")
    assert Transaction.from_raw(transaction.raw, GENESIS) == transaction


def test_what_was_signed_apart_is_combined(pending: PendingTransaction) -> None:
    by_alice, by_bob, by_carol = (pending.sign(wallet) for wallet in SIGNERS)
    together = by_bob.combine(by_alice, by_carol, by_bob)
    assert together == by_carol.combine(by_alice, by_bob)
    assert set(together.signed_by) == {wallet.key.public_key for wallet in SIGNERS}
    together.transaction().check_signatures()  # with more signatures than it takes


def test_signing_again_changes_nothing(pending: PendingTransaction) -> None:
    assert pending.sign(BOB).sign(BOB) == pending.sign(BOB)
    assert (pending.missing, pending.sign(BOB).missing, pending.sign(BOB).sign(ALICE).missing) == (2, 1, 0)


def test_too_few_signatures_are_refused_with_the_numbers(pending: PendingTransaction) -> None:
    with pytest.raises(ThresholdNotReachedError) as refused:
        pending.sign(ALICE).transaction()
    assert refused.value.details == {"need": 2, "have": 1}
    assert "have 1 more of the account's keys sign" in refused.value.hint


def test_a_stranger_s_key_cannot_sign(pending: PendingTransaction) -> None:
    with pytest.raises(NotASignerError) as refused:
        pending.sign(MALLORY)
    assert refused.value.details["account"] == SHARED.address


def test_different_transactions_are_not_combined(pending: PendingTransaction) -> None:
    with pytest.raises(BadFileError, match="these are different transactions"):
        pending.sign(ALICE).combine(SHARED.build(CHAIN, [PAYMENT]).sign(BOB))


@pytest.mark.parametrize("name", ["calls", "threshold", "amount"])
def test_a_name_that_stands_there_twice_is_refused(pending: PendingTransaction, name: str) -> None:
    """Who reads a file may see the first, who reads it by machine the last: then it is not what people read that is signed."""
    at = pending.to_text().index(f'"{name}":')
    text = pending.to_text()[:at] + f'"{name}": "innocent", ' + pending.to_text()[at:]
    with pytest.raises(BadFileError, match="the same name twice"):
        PendingTransaction.from_text(text)


def test_it_can_be_collected_nearly_as_long_as_the_chain_allows(pending: PendingTransaction) -> None:
    assert pending.body.valid_until_ms == 1_000_000 + 3_240_000
    assert SHARED.build(CHAIN, [PAYMENT], valid_until_ms=1_500_000).body.valid_until_ms == 1_500_000


def _other(document: dict[str, Any]) -> str:
    return Multisig.of(1, [bytes.fromhex(key[2:]) for key in document["keys"]]).address


TAMPERED: Final[list[tuple[str, Callable[[dict[str, Any]], Any], str]]] = [
    ("recipient", lambda file: file["calls"][0]["args"].update(to=MALLORY.address), "the file was changed: it says transaction"),
    ("amount", lambda file: file["calls"][0]["args"].update(amount="150000001"), "the file was changed: it says transaction"),
    ("method", lambda file: file["calls"][0].update(method="nothing"), "a call of the file cannot be made: asset"),
    ("one more call", lambda file: file["calls"].append(file["calls"][0]), "the file was changed: it says transaction"),
    ("no call", lambda file: file.update(calls=[]), "the file holds no transaction"),
    ("reference", lambda file: file.update(reference="invoice 8"), "the file was changed: it says transaction"),
    ("gas", lambda file: file.update(gas_limit=10**9), "the file was changed: it says transaction"),
    ("end", lambda file: file.update(valid_until_ms=9), "the file was changed: it says transaction"),
    ("chain", lambda file: file.update(genesis_hash="0x" + "08" * 32), "the file was changed: it says transaction"),
    ("id", lambda file: file.update(id="0x" + "00" * 32), "the file was changed: it says transaction 0x0000"),
    ("account", lambda file: file.update(account=MALLORY.address), "the file was changed: it says account"),
    ("threshold", lambda file: file.update(threshold=1), "the file was changed: it says account"),
    ("threshold and account", lambda file: file.update(threshold=1, account=_other(file)), "it says transaction"),
    ("keys", lambda file: file["keys"].pop(), "the file was changed: it says account"),
    ("no keys", lambda file: file.update(keys=[]), "threshold and keys make no account"),
    ("salt", lambda file: file.update(salt="0x00"), "the file holds no transaction"),
    ("hex", lambda file: file.update(salt="zz"), "the file lacks something or has it wrong"),
    ("a stranger's signature", lambda file: file["signatures"][0].update(key="0x" + "00" * 32), "has it wrong"),
    ("field", lambda file: file.pop("reference"), "the file must have exactly the fields"),
    ("kind", lambda file: file.update(kind="datacar-multisig"), "the file is no datacar-multisig-transaction"),
    ("version", lambda file: file.update(version=2), "of version 1"),
]


@pytest.mark.parametrize(("change", "said"), [case[1:] for case in TAMPERED], ids=[case[0] for case in TAMPERED])
def test_a_file_that_was_changed_is_refused(
    pending: PendingTransaction, change: Callable[[dict[str, Any]], Any], said: str
) -> None:
    """Whoever reads the file reads what is signed: nothing in it can be changed, and nothing in it is only for show."""
    document = json.loads(pending.sign(ALICE).to_text())
    change(document)
    with pytest.raises(BadFileError) as refused:
        PendingTransaction.from_text(json.dumps(document))
    assert said in refused.value.message


def test_a_signature_that_was_changed_is_refused(pending: PendingTransaction) -> None:
    """Also one that is genuine, but of another key or another transaction."""
    document = json.loads(pending.sign(ALICE).sign(BOB).to_text())
    first, second = document["signatures"]
    flipped = "0x" + ("1" if first["signature"][2] == "0" else "0") + first["signature"][3:]
    elsewhere = json.loads(SHARED.build(CHAIN, [PAYMENT]).sign(ALICE).sign(BOB).to_text())["signatures"][0]["signature"]
    for signature in (flipped, second["signature"], elsewhere, "0x"):
        document["signatures"] = [first | {"signature": signature}]
        with pytest.raises(BadSignatureError, match="is not valid for this transaction"):
            PendingTransaction.from_text(json.dumps(document))


def test_a_transaction_changed_with_its_id_has_lost_its_signatures(pending: PendingTransaction) -> None:
    honest, forged = json.loads(pending.sign(ALICE).to_text()), json.loads(SHARED.build(CHAIN, [PAYMENT]).to_text())
    with pytest.raises(BadSignatureError):
        PendingTransaction.from_text(json.dumps(forged | {"signatures": honest["signatures"]}))


@pytest.mark.parametrize("text", ["", "{", "[]", "null", '"datacar"', "[" * 100_000, " " * 600_000])
def test_what_is_no_file_of_ours_is_refused(text: str) -> None:
    for read in (PendingTransaction.from_text, Multisig.from_text):
        with pytest.raises(InvalidInputError):
            read(text)

"""Transactions: what their two digests cover, who may sign, and each refusal's reason."""

import hashlib
from dataclasses import replace

import pytest

from ledger.codec import encode
from ledger.crypto import public_key, sign
from ledger.errors import BadEncodingError, BadSignatureError, InvalidInputError, TooLargeError
from ledger.policy import KeyPolicy, format_address, parse_address
from ledger.transaction import MAX_TRANSACTION_BYTES, Call, Transaction, TransactionBody, chain_tag_of

GENESIS_HASH = hashlib.sha256(b"genesis").digest()
SEEDS = tuple(sorted((hashlib.sha256(bytes([n])).digest() for n in range(3)), key=public_key))
KEYS = tuple(public_key(seed) for seed in SEEDS)
BODY = TransactionBody(
    KeyPolicy.single(KEYS[0]),
    bytes(8),
    1_700_000_000_000,
    chain_tag_of(GENESIS_HASH),
    (Call("asset", "transfer", (bytes(33), 5)),),
    100_000,
    "invoice 7",
)


def test_frozen_vector() -> None:
    """A change of these means that no old transaction can be read any more."""
    tx = BODY.sign(GENESIS_HASH, SEEDS[:1])
    assert tx.id.hex() == "f518c1860091372ab92ae87efd45641441345deff3bb9c8dd8c176e20690f0a7"
    assert format_address(tx.sender).startswith("datr1")


def test_id_leaves_out_signatures_and_tx_hash_does_not() -> None:
    policy = KeyPolicy(1, KEYS)
    body = replace(BODY, policy=policy)
    one, other = body.sign(GENESIS_HASH, SEEDS[:1]), body.sign(GENESIS_HASH, SEEDS[1:2])
    assert one.id == other.id
    assert one.tx_hash != other.tx_hash
    one.check_signatures()
    other.check_signatures()


@pytest.mark.parametrize("field", ["salt", "valid_until_ms", "calls", "gas_limit", "reference"])
def test_every_field_is_in_the_id(field: str) -> None:
    changes: dict[str, object] = {
        "salt": b"12345678",
        "valid_until_ms": 1_700_000_000_001,
        "calls": (Call("asset", "transfer", (bytes(33), 6)),),
        "gas_limit": 100_001,
        "reference": "",
    }
    changed = replace(BODY, **{field: changes[field]})  # type: ignore[arg-type]
    assert changed.sign(GENESIS_HASH, SEEDS[:1]).id != BODY.sign(GENESIS_HASH, SEEDS[:1]).id


def test_signature_of_another_chain_is_worth_nothing() -> None:
    """Same chain tag, other genesis hash: the tag only helps the sender, the signature is what protects."""
    other = GENESIS_HASH[:8] + bytes(24)
    foreign = BODY.sign(other, SEEDS[:1])
    with pytest.raises(BadSignatureError):
        Transaction.from_raw(foreign.raw, GENESIS_HASH).check_signatures()


def test_wrong_chain_says_both() -> None:
    tx = replace(BODY, chain_tag=b"another!").sign(b"another!" + bytes(24), SEEDS[:1])
    with pytest.raises(InvalidInputError) as caught:
        Transaction.from_raw(tx.raw, GENESIS_HASH)
    assert caught.value.data() | {"hint": ""} == {
        "reason": "wrong_chain",
        "hint": "",
        "expected": "0x" + GENESIS_HASH[:8].hex(),
        "got": "0x" + b"another!".hex(),
    }


def test_threshold_needs_exactly_t_distinct_keys() -> None:
    body = replace(BODY, policy=KeyPolicy(2, KEYS))
    body.sign(GENESIS_HASH, SEEDS[:2]).check_signatures()
    body.sign(GENESIS_HASH, (SEEDS[2], SEEDS[0])).check_signatures()
    for seeds in (SEEDS[:1], SEEDS):
        with pytest.raises(BadSignatureError, match="exactly 2"):
            body.sign(GENESIS_HASH, seeds).check_signatures()


def raw_with(signatures: tuple[tuple[int, bytes], ...], body: TransactionBody = BODY) -> bytes:
    return encode((body.to_value(), signatures))


def test_bad_signatures_are_refused() -> None:
    good = BODY.sign(GENESIS_HASH, SEEDS[:1])
    wrong = sign(SEEDS[1], good.id)
    for signatures in (((0, wrong),), ((1, good.signatures[0][1]),), ((0, bytes(64)),), ()):
        with pytest.raises(BadSignatureError):
            Transaction.from_raw(raw_with(signatures), GENESIS_HASH).check_signatures()


@pytest.mark.parametrize(
    "body",
    [
        replace(BODY, policy=KeyPolicy(1, KEYS[::-1])),
        replace(BODY, policy=KeyPolicy(1, (KEYS[0], KEYS[0]))),
        replace(BODY, policy=KeyPolicy(0, KEYS)),
        replace(BODY, policy=KeyPolicy(4, KEYS)),
        replace(BODY, policy=KeyPolicy(1, ())),
        replace(BODY, salt=bytes(7)),
        replace(BODY, calls=()),
        replace(BODY, valid_until_ms=-1),
        replace(BODY, gas_limit=2**41),
    ],
)
def test_malformed_bodies_are_refused_by_name(body: TransactionBody) -> None:
    with pytest.raises(BadEncodingError):
        Transaction.from_raw(raw_with(((0, bytes(64)),), body), GENESIS_HASH)


def test_two_signatures_of_one_key_are_refused() -> None:
    with pytest.raises(BadEncodingError):
        Transaction.from_raw(raw_with(((0, bytes(64)), (0, bytes(64)))), GENESIS_HASH)


def test_too_many_and_too_large() -> None:
    many = replace(BODY, calls=BODY.calls * 17)
    with pytest.raises(TooLargeError):
        Transaction.from_raw(raw_with((), many), GENESIS_HASH)
    with pytest.raises(TooLargeError):
        Transaction.from_raw(raw_with((), replace(BODY, reference="x" * 65)), GENESIS_HASH)
    with pytest.raises(TooLargeError) as caught:
        Transaction.from_raw(bytes(MAX_TRANSACTION_BYTES + 1), GENESIS_HASH)
    assert caught.value.details["limit"] == MAX_TRANSACTION_BYTES


def test_addresses_are_text_and_back() -> None:
    address = KeyPolicy(2, KEYS).address
    assert parse_address(format_address(address)) == address
    with pytest.raises(BadEncodingError):
        parse_address(format_address(address)[:-1] + "q")

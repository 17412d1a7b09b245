"""The list root: RFC 6962's shape checked against a recursive definition, proofs of every index, and frozen vectors."""

import hashlib

import pytest

from ledger.codec import encode
from ledger.errors import BadEncodingError, InvalidInputError, InvariantError, TooLargeError
from ledger.hashing import Tag, digest
from ledger.list_root import MAX_LIST_PROOF_BYTES, BadProofError, ListProof, list_root, prove_item, verify_list_proof

GENESIS = bytes(range(32))
SIZES = range(34)


def items_of(count: int) -> list[bytes]:
    return [hashlib.sha256(b"item %d" % number).digest() for number in range(count)]


def top_by_definition(items: list[bytes]) -> bytes:
    """RFC 6962, section 2.1: split at the largest power of two smaller than the size."""
    if len(items) == 1:
        return digest(Tag.LIST_LEAF, GENESIS, encode(items[0]))
    split = 1 << (len(items) - 1).bit_length() - 1
    return digest(Tag.LIST_NODE, GENESIS, encode((top_by_definition(items[:split]), top_by_definition(items[split:]))))


@pytest.mark.parametrize("count", SIZES)
def test_root_is_that_of_the_recursive_definition(count: int) -> None:
    items = items_of(count)
    top = top_by_definition(items) if items else None
    assert list_root(GENESIS, items) == digest(Tag.LIST_NODE, GENESIS, encode((count, top)))


@pytest.mark.parametrize("count", SIZES)
def test_every_index_is_proven_and_nothing_else(count: int) -> None:
    items = items_of(count)
    root = list_root(GENESIS, items)
    for index, item in enumerate(items):
        proof = prove_item(GENESIS, items, index)
        assert (proof.index, proof.count) == (index, count)
        verify_list_proof(GENESIS, root, item, ListProof.decode(proof.encode()))
        for other in (items[(index + 1) % count], bytes(32)):
            if other != item:
                with pytest.raises(BadProofError):
                    verify_list_proof(GENESIS, root, other, proof)


def test_a_proof_binds_position_and_count() -> None:
    """Without the count in the root, the path of item 2 of 3 would also pass as that of item 1 of 2."""
    items = items_of(3)
    root = list_root(GENESIS, items)
    proof = prove_item(GENESIS, items, 2)
    with pytest.raises(BadProofError) as caught:
        verify_list_proof(GENESIS, root, items[2], ListProof(1, 2, proof.siblings))
    assert caught.value.data() == {"reason": "bad_proof", "hint": caught.value.hint, "index": 1, "count": 2}


def test_roots_and_proofs_belong_to_one_chain() -> None:
    items = items_of(5)
    assert list_root(GENESIS, items) != list_root(bytes(32), items)
    with pytest.raises(BadProofError):
        verify_list_proof(bytes(32), list_root(GENESIS, items), items[0], prove_item(GENESIS, items, 0))


def test_no_two_lists_share_a_root() -> None:
    """Doubled tails (CVE-2012-2459), inner nodes passed off as items, prefixes: all have roots of their own."""
    a, b, c = items_of(3)
    inner = digest(Tag.LIST_NODE, GENESIS, encode((a, b)))
    lists = [[], [a], [a, a], [a, b], [b, a], [a, b, c], [a, b, c, c], [inner, c], [inner], [bytes(32)]]
    assert len({list_root(GENESIS, items) for items in lists}) == len(lists)


def test_a_change_of_any_byte_of_a_proof_is_refused() -> None:
    items = items_of(11)
    root = list_root(GENESIS, items)
    for index in (0, 6, 10):
        data = prove_item(GENESIS, items, index).encode()
        for place in range(len(data)):
            for mask in (1, 0x80):
                forged = data[:place] + bytes((data[place] ^ mask,)) + data[place + 1 :]
                with pytest.raises(InvalidInputError):
                    verify_list_proof(GENESIS, root, items[index], ListProof.decode(forged))


@pytest.mark.parametrize(
    "value",
    [
        None,
        (0, 1),
        (0, 0, ()),
        (1, 1, ()),
        (0, 2, ()),
        (0, 1, (bytes(32),)),
        (0, 2, (bytes(31),)),
        (0, 2, (None,)),
        (0, 2**32 + 1, (bytes(32),) * 32),
        (True, 2, (bytes(32),)),
    ],
)
def test_a_proof_of_the_wrong_shape_is_refused(value: object) -> None:
    with pytest.raises(BadEncodingError):
        ListProof.decode(encode(value))  # type: ignore[arg-type]


def test_the_size_of_a_proof_is_bounded() -> None:
    largest = ListProof(2**32 - 1, 2**32, (bytes(32),) * 32).encode()
    assert len(largest) <= MAX_LIST_PROOF_BYTES
    with pytest.raises(TooLargeError):
        ListProof.decode(bytes(MAX_LIST_PROOF_BYTES + 1))


def test_items_are_digests() -> None:
    with pytest.raises(InvariantError):
        list_root(GENESIS, [b"short"])
    with pytest.raises(InvariantError):
        prove_item(GENESIS, items_of(2), 2)


@pytest.mark.parametrize(
    ("count", "root"),
    [
        (0, "8fe79feac9c3f3886d9f60c22be6139753418d7a91c73aa5eff29bb8e7a4054c"),
        (1, "be09ee2b2adaafe91b388d8505c4abf5f601031492b4fcb9e4a3ee75010faeab"),
        (7, "c75b301e71a20d55bd52b8f7baf46a3993d9f1c35c09a9dc60e310ef12a04497"),
        (2000, "2424e70e6ac77768d7ba13ed4d03031b72b11b576e2998a01e89c6d0bf2edd7a"),
    ],
)
def test_frozen_roots(count: int, root: str) -> None:
    """A change here is a change of protocol: every transactions and receipts root ever committed would differ."""
    assert list_root(GENESIS, items_of(count)).hex() == root

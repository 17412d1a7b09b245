"""The pool is bounded, fair to senders, and loses nothing but what was committed or can no longer be."""

import hashlib
import tracemalloc
from dataclasses import replace

import pytest

from ledger.codec import Value
from ledger.crypto import public_key
from ledger.errors import LimitError
from ledger.policy import KeyPolicy
from ledger.transaction import Call, Transaction, TransactionBody, chain_tag_of
from node.mempool import Mempool, MempoolLimits

GENESIS_HASH = bytes(32)


def transaction(
    number: int, sender: int = 0, valid_until_ms: int = 1_000, args: tuple[Value, ...] = (bytes(33), 1)
) -> Transaction:
    seed = hashlib.sha256(b"sender %d" % sender).digest()
    body = TransactionBody(
        KeyPolicy.single(public_key(seed)),
        number.to_bytes(8),
        valid_until_ms,
        chain_tag_of(GENESIS_HASH),
        (Call("asset", "transfer", args),),
        1,
    )
    return body.sign(GENESIS_HASH, (seed,))


def pool(count: int = 10, size: int = 10**6, share: int = 100) -> Mempool:
    return Mempool(MempoolLimits(count, size, share))


def test_first_come_first_proposed() -> None:
    mempool = pool()
    items = [transaction(n) for n in range(5)]
    for item in items:
        assert mempool.add(item)
    assert [item.id for item in mempool.candidates()] == [item.id for item in items]
    assert mempool.find(items[2].id) is items[2]
    assert mempool.get(items[2].tx_hash) is items[2]


def test_the_same_id_is_held_once() -> None:
    mempool = pool()
    item = transaction(1)
    assert mempool.add(item)
    assert not mempool.add(replace(item))
    assert (len(mempool), mempool.size_bytes) == (1, len(item.raw))


def test_count_and_bytes_are_bounded_and_the_refusal_says_so() -> None:
    mempool = pool(count=2)
    mempool.add(transaction(1, 1))
    mempool.add(transaction(2, 2))
    with pytest.raises(LimitError) as caught:
        mempool.add(transaction(3, 3))
    assert (caught.value.reason, caught.value.details["limit"]) == ("pool_full", 2)
    small = pool(size=2_000)
    small.add(transaction(1))
    with pytest.raises(LimitError) as caught:
        small.add(transaction(2))
    assert caught.value.reason == "pool_full"


def test_what_counts_is_memory_and_not_the_wire() -> None:
    """A decoded transaction takes many times its bytes: six times for a payment, more for a list of small numbers."""
    few, many = transaction(1), transaction(2, args=(bytes(33), tuple(range(1_000))))
    for item in (few, many):
        mempool = pool()
        tracemalloc.start()
        held = [Transaction.from_raw(item.raw, GENESIS_HASH) for _ in range(20)]
        measured = tracemalloc.get_traced_memory()[0] / len(held)
        tracemalloc.stop()
        mempool.add(item)
        assert measured / 3 < mempool.memory_bytes < 3 * measured
        mempool.remove([item.id])
        assert mempool.memory_bytes == 0


def test_one_sender_cannot_fill_it() -> None:
    mempool = pool(count=20, share=10)
    mempool.add(transaction(1))
    mempool.add(transaction(2))
    with pytest.raises(LimitError) as caught:
        mempool.add(transaction(3))
    assert (caught.value.reason, caught.value.details["limit"]) == ("sender_quota", 2)
    assert mempool.add(transaction(3, sender=1))
    mempool.remove([transaction(1).id])
    assert mempool.add(transaction(4)), "room again after a commit"


def test_pinned_is_not_proposed_again_until_unpinned() -> None:
    mempool = pool()
    items = [transaction(n) for n in range(3)]
    for item in items:
        mempool.add(item)
    mempool.pin([items[0].tx_hash, items[1].tx_hash])
    assert [item.id for item in mempool.candidates()] == [items[2].id]
    assert mempool.pending == 1
    mempool.remove([items[0].id])
    assert mempool.pending == 1
    mempool.unpin()
    assert [item.id for item in mempool.candidates()] == [items[1].id, items[2].id]


def test_expires_by_the_block_time_only() -> None:
    mempool = pool()
    for number, until in enumerate([100, 200, 300]):
        mempool.add(transaction(number, valid_until_ms=until))
    assert [item.body.valid_until_ms for item in mempool.expire(200)] == [100, 200]
    assert len(mempool) == 1
    assert mempool.expire(200) == ()


def test_bookkeeping_returns_to_nothing() -> None:
    mempool = pool(count=5_000)
    items = [transaction(n, sender=n % 7) for n in range(300)]
    for _ in range(10):
        for item in items:
            mempool.add(item)
        mempool.remove(item.id for item in items)
        mempool.expire(0)
    assert (len(mempool), mempool.size_bytes, mempool.pending) == (0, 0, 0)
    assert len(mempool._expiry) <= 2_048, "forgotten entries do not pile up"
    assert not mempool._senders

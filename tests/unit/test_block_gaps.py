"""What makes a block valid, what the sign-state's files promise, and whom a censored transaction blames: one rule a test.

A planted bug of `tests.mutants` that no other test saw has its test here.
"""

import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.crypto import public_key
from ledger.transaction import Transaction
from ledger.types import Height, MemberId, View
from node.chain import Chain, ExecutedBlock, InvalidBlockError
from node.fairness import PATIENCE_MS, Fairness
from node.mempool import Mempool, MempoolLimits
from node.sign_file import FileSlot
from tests.one_driver import NAMES, NETWORK, NOW, certify, open_chain
from tests.sim.chain import PARAMETERS
from vm.contracts.governance_possession import prove_possession

ANOTHER = b"x" * 32


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    with open_chain(tmp_path) as opened:
        yield opened


def payment(number: int, valid_until_ms: int = NOW + 30_000) -> Transaction:
    return NETWORK.transfer(4, 5, 1 + number, valid_until_ms, number.to_bytes(8))


def build(chain: Chain, *transactions: Transaction, now_ms: int = NOW, proposer: MemberId = NAMES[0]) -> ExecutedBlock:
    return chain.build(transactions, 100, View(0), proposer, now_ms)[0]


def commit(chain: Chain, built: ExecutedBlock) -> None:
    chain.commit(built, certify(chain, built.header))


def refused(chain: Chain, built: ExecutedBlock, *transactions: Transaction) -> str:
    """Return why a block's header with these transactions is refused."""
    with pytest.raises(InvalidBlockError) as caught:
        chain.execute(built.header, transactions)
    return caught.value.message


# ---- headers (K1)

FIELDS: dict[str, Any] = {
    "parent_hash": ANOTHER,
    "transactions_root": ANOTHER,
    "receipts_root": ANOTHER,
    "state_root": ANOTHER,
    "committee_hash": ANOTHER,
    "next_committee_hash": ANOTHER,
    "gas_used": 1,
    "height": Height(2),
}


@pytest.mark.parametrize("field", FIELDS)
def test_header_that_differs_in_one_field_is_invalid(chain: Chain, field: str) -> None:
    built = build(chain, payment(1))
    assert chain.execute(built.header, built.transactions).header == built.header
    wrong = replace(built, header=replace(built.header, **{field: FIELDS[field]}))
    assert refused(chain, wrong, payment(1)).startswith((field, "the block does not follow"))


def test_time_goes_up_by_one_when_the_clock_does_not(chain: Chain) -> None:
    commit(chain, build(chain))
    assert build(chain, now_ms=NOW - 1_000).header.timestamp_ms == NOW + 1


def test_next_block_is_built_on_the_state_that_the_disk_holds(chain: Chain) -> None:
    commit(chain, build(chain, payment(1)))
    commit(chain, build(chain, payment(2), now_ms=NOW + 1))
    again = Chain(NETWORK.genesis, chain.store, chain.executor)
    expected = build(again, payment(3), now_ms=NOW + 2).header
    assert build(chain, payment(3), now_ms=NOW + 2).header == expected


def test_changed_committee_votes_from_the_next_height_on(chain: Chain) -> None:
    new_seed, keys = b"\x07" * 32, NETWORK.keys[0]
    new_key, possession = public_key(new_seed), prove_possession(new_seed, keys.member.id, keys.account)
    rotate = NETWORK.call(0, "governance", "rotate_key", (new_key, possession), NOW + 30_000, bytes(8))
    before, built = chain.committee.hash(chain.genesis_hash), build(chain, rotate)
    after = built.following.hash(chain.genesis_hash)
    assert (built.header.committee_hash, built.header.next_committee_hash) == (before, after)
    assert before != after
    commit(chain, built)
    assert new_key in {member.public_key for member in chain.committee.members}
    assert build(chain, now_ms=NOW + 1).header.committee_hash == after


# ---- entries (T2, T3, K4, K6)


def test_transaction_stands_once_in_a_block_and_in_one_block(chain: Chain) -> None:
    built = build(chain, payment(1))
    assert "stands twice" in refused(chain, built, payment(1), payment(1))
    commit(chain, built)
    empty = build(chain, payment(1), now_ms=NOW + 1)
    assert empty.transactions == (), "it is not proposed again"
    assert "committed already" in refused(chain, empty, payment(1))


@pytest.mark.parametrize(
    ("valid_until_ms", "timely"),
    [(NOW - 1, False), (NOW, True), (NOW + PARAMETERS.tx_window_ms, True), (NOW + PARAMETERS.tx_window_ms + 1, False)],
)
def test_block_holds_what_is_valid_at_its_time_to_the_millisecond(chain: Chain, valid_until_ms: int, *, timely: bool) -> None:
    transaction = payment(1, valid_until_ms)
    built = build(chain, transaction)
    assert (built.transactions == (transaction,)) is timely
    if timely:
        chain.execute(built.header, (transaction,))
    else:
        assert "expired or too far ahead" in refused(chain, built, transaction)


def test_block_is_bounded_in_count_and_bytes(chain: Chain) -> None:
    transactions = (payment(1), payment(2))
    built = build(chain, *transactions)
    chain.execute(built.header, transactions)
    chain.rules = replace(chain.rules, parameters=replace(PARAMETERS, block_max_transactions=1))
    assert "over its limits" in refused(chain, built, *transactions)
    chain.rules = replace(chain.rules, parameters=replace(PARAMETERS, block_max_bytes=len(transactions[0].raw)))
    assert "over its limits" in refused(chain, built, *transactions)


# ---- the sign-state's files (rule 5)


def test_copy_is_synced_after_all_of_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    real = os.fdatasync

    def spy(handle: int) -> None:
        synced.append(os.fstat(handle).st_size)
        real(handle)

    monkeypatch.setattr("node.sign_file.os.fdatasync", spy)
    slot = FileSlot(tmp_path / "copy")
    slot.write(b"x" * 100)
    slot.close()
    assert synced == [100]


# ---- censorship (rule 9 b)


def watched(chain: Chain) -> tuple[Fairness, Transaction]:
    """Return the watch on a pending transaction that was sent to all again at `NOW`."""
    mempool, transaction = Mempool(MempoolLimits()), payment(1)
    mempool.add(transaction)
    fairness = Fairness(chain, mempool)
    fairness.told(transaction.id, NOW)
    return fairness, transaction


def test_primary_has_five_seconds_and_so_has_the_next(chain: Chain) -> None:
    fairness, _ = watched(chain)
    first, second = build(chain), build(chain, proposer=NAMES[1])
    assert not fairness.is_passed_over(first, NOW + PATIENCE_MS - 1)
    assert fairness.is_passed_over(first, NOW + PATIENCE_MS)
    assert not fairness.is_passed_over(second, NOW + PATIENCE_MS + 1)
    assert fairness.is_passed_over(second, NOW + 2 * PATIENCE_MS + 1)


def test_block_without_room_passes_nothing_over(chain: Chain) -> None:
    fairness, _ = watched(chain)
    built = build(chain)
    full = replace(built, transactions=(payment(2),) * (PARAMETERS.block_max_transactions // 2 + 1))
    assert not fairness.is_passed_over(full, NOW + PATIENCE_MS)
    assert fairness.is_passed_over(built, NOW + PATIENCE_MS)


def test_what_three_of_four_primaries_left_out_is_blamed_on_nobody(chain: Chain) -> None:
    fairness, _ = watched(chain)
    verdicts = []
    for turn, proposer in enumerate(NAMES):
        fairness.is_passed_over(build(chain, proposer=proposer), NOW + 2 * turn * PATIENCE_MS)
        verdicts.append(fairness.is_passed_over(build(chain, proposer=proposer), NOW + (2 * turn + 1) * PATIENCE_MS))
    assert verdicts == [True, True, False, False]

"""The executor: atomic transactions, gas, limits, strict and building mode, and what admission asks."""

import os
import subprocess
import sys
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.block import MAX_EVENTS, Receipt, ReceiptKind, Status
from ledger.codec import encode
from ledger.errors import TooLargeError
from ledger.policy import contract_address
from ledger.transaction import Call, Transaction
from ledger.types import Motes
from tests.vm_harness import FEES, Account, Chain, account
from tests.vm_toys import Colour, Inner, Outer, Toy
from vm import gas
from vm.contract import Contract
from vm.contracts.asset import SUPPLY, Asset, Rights
from vm.errors import ContractError, InsufficientFundsError, InvalidEntryError
from vm.executor import Executor
from vm.gas import DEFAULT_GAS_LIMIT
from vm.registry import Registry

BOB = account("bob").address
TOY = contract_address("toy")


@pytest.fixture
def chain() -> Chain:
    return Chain({"toy": Toy}, genesis={"toy": (41,)})


@pytest.fixture
def alice(chain: Chain) -> Account:
    return chain.account("alice", 1_000_000_000)


def fund_toy(chain: Chain, payer: Account, motes: int) -> None:
    """Give the toy contract money as contracts get it: they take it themselves."""
    [hold_id] = chain.free(payer, Toy.hold, payer.address, Motes(motes)).results
    chain.free(payer, Toy.capture, hold_id, Motes(motes), TOY)


def code_of(receipt: Receipt) -> str:
    """Return a failed receipt's contract and code, having checked that nothing else is in it."""
    assert receipt.status is Status.FAILED
    assert (receipt.results, receipt.events) == ((), ())
    assert receipt.error is not None
    return f"{receipt.error.contract}.{receipt.error.code}"


def test_success_has_results_events_and_gas(chain: Chain, alice: Account) -> None:
    transaction = chain.transaction(alice, chain.call(Toy.note, "a", 5), chain.call(Toy.note, "b", 6))
    (receipt,) = chain.block(transaction).receipts
    assert (receipt.kind, receipt.id, receipt.status) == (ReceiptKind.TRANSACTION, transaction.id, Status.SUCCEEDED)
    assert receipt.results == (5, 6)
    assert [(event.name, event.fields) for event in receipt.events] == [("Noted", ("a", 5)), ("Noted", ("b", 6))]
    assert gas.intrinsic(len(transaction.raw)) < receipt.gas_used < 100_000
    assert chain.query(Toy.get, "b") == 6


def test_failure_reverts_everything_and_still_pays_gas(chain: Chain, alice: Account) -> None:
    """All calls of a transaction or none: writes, deletions and events of the calls before the failing one go too."""
    chain.send(alice, Toy.note, "kept", 1)
    before = dict(chain.state.iterate())
    calls = (chain.call(Toy.forget, "kept"), chain.call(Toy.note, "x", 2), chain.call(Toy.note_and_fail, "y", 3))
    execution = chain.block(chain.transaction(alice, *calls))
    assert code_of(execution.receipts[0]) == "toy.TOLD_TO_FAIL"
    assert execution.receipts[0].error is not None
    assert execution.receipts[0].error.message == "it was told to fail: value 3"
    assert dict(chain.state.iterate()) == before
    assert execution.changes == {}
    assert execution.gas_used == execution.receipts[0].gas_used > gas.TRANSACTION + 4 * gas.WRITE


def test_a_failure_does_not_touch_its_neighbours(chain: Chain, alice: Account) -> None:
    failing = chain.call(Toy.note_and_fail, "a", 9)
    transactions = [chain.transaction(alice, chain.call(Toy.note, "a", n)) for n in (1, 2)]
    execution = chain.block(transactions[0], chain.transaction(alice, failing), transactions[1])
    assert [receipt.status for receipt in execution.receipts] == [Status.SUCCEEDED, Status.FAILED, Status.SUCCEEDED]
    assert chain.query(Toy.get, "a") == 2


@pytest.mark.parametrize(
    ("call", "expected"),
    [
        (Call("nobody", "act", ()), "nobody.UNKNOWN_CONTRACT"),
        (Call("toy", "act", ()), "toy.UNKNOWN_METHOD"),
        (Call("toy", "__init__", ()), "toy.UNKNOWN_METHOD"),
        (Call("asset", "reserve_fee", (BOB, 1)), "asset.UNKNOWN_METHOD"),
        (Call("asset", "pay_fee", (BOB, 1)), "asset.UNKNOWN_METHOD"),
        (Call("toy", "get", ("a",)), "toy.WRONG_KIND"),
        (Call("toy", "start", (1,)), "toy.WRONG_KIND"),
        (Call("asset", "distribute", ((),)), "asset.WRONG_KIND"),
        (Call("toy", "note", ()), "toy.BAD_ARGUMENTS"),
        (Call("toy", "note", ("a",)), "toy.BAD_ARGUMENTS"),
        (Call("toy", "note", ("a", 1, 2)), "toy.BAD_ARGUMENTS"),
        (Call("toy", "note", ("a", "1")), "toy.BAD_ARGUMENTS"),
        (Call("toy", "note", ("a", True)), "toy.BAD_ARGUMENTS"),
        (Call("toy", "note", ("a", -1)), "toy.BAD_ARGUMENTS"),
        (Call("toy", "note", ("a" * 257, 1)), "toy.BAD_ARGUMENTS"),
        (Call("asset", "transfer", (BOB[:-1], 1)), "asset.BAD_ARGUMENTS"),
        (Call("asset", "transfer", (b"\x09" + BOB[1:], 1)), "asset.BAD_ARGUMENTS"),
        (Call("toy", "keep", (((("red", None),), (True, b""), BOB),)), "toy.BAD_ARGUMENTS"),
    ],
)
def test_calls_that_can_never_work(chain: Chain, alice: Account, call: Call, expected: str) -> None:
    """On the chain they are failed receipts that change nothing; admission refuses them with the same code."""
    transaction = chain.transaction(alice, call)
    execution = chain.block(transaction)
    assert code_of(execution.receipts[0]) == expected
    assert execution.changes == {}
    with pytest.raises(ContractError) as caught:
        chain.executor.check_transaction(transaction)
    assert f"{caught.value.contract}.{caught.value.failure_code}" == expected
    data = caught.value.data()
    assert (data["reason"], f"{data['contract']}.{data['code']}") == ("contract_error", expected)
    assert data["message"] == caught.value.message


def test_admission_takes_what_can_work(chain: Chain, alice: Account) -> None:
    chain.executor.check_transaction(chain.transaction(alice, chain.call(Toy.note, "a", 1)))


def test_admission_refuses_gas_that_cannot_carry_the_transaction(chain: Chain, alice: Account) -> None:
    transaction = chain.transaction(alice, chain.call(Toy.note, "a", 1), gas_limit=gas.TRANSACTION)
    with pytest.raises(ContractError, match="gas limit"):
        chain.executor.check_transaction(transaction)
    (receipt,) = chain.block(transaction).receipts
    assert (code_of(receipt), receipt.gas_used) == (".OUT_OF_GAS", gas.TRANSACTION)


def test_every_gas_limit_below_the_need_fails_whole(chain: Chain, alice: Account) -> None:
    """Wherever the gas runs out, the whole limit is used and nothing stays."""

    def note(gas_limit: int) -> Transaction:
        return chain.transaction(alice, chain.call(Toy.note, "a", 1), gas_limit=gas_limit)

    need = chain.executor.simulate(chain.state, chain.context, note(60_000)).receipt.gas_used
    for limit in (*range(300, need, need // 37), need - 1):
        execution = chain.executor.execute(chain.state, chain.context, [note(limit)])
        assert code_of(execution.receipts[0]).endswith("OUT_OF_GAS")
        assert (execution.gas_used, execution.changes) == (limit, {})
    assert chain.block(note(need)).receipts[0].status is Status.SUCCEEDED


def test_a_transfer_fits_the_default_gas_limit_twice(chain: Chain, alice: Account) -> None:
    receipt = chain.send(alice, Asset.transfer, BOB, Motes(1), gas_limit=DEFAULT_GAS_LIMIT)
    assert receipt.status is Status.SUCCEEDED
    assert receipt.gas_used < DEFAULT_GAS_LIMIT // 2


def test_receipts_are_charged_by_byte(chain: Chain, alice: Account) -> None:
    """Results and events cost what they weigh, so that no block's receipts outgrow what can be encoded."""
    few, more = chain.send(alice, Toy.ids, 1), chain.send(alice, Toy.ids, 2)
    assert more.gas_used - few.gas_used == gas.RECEIPT_BYTE * 34
    one, two = chain.send(alice, Toy.shout, 1), chain.send(alice, Toy.shout, 2)
    assert two.gas_used - one.gas_used == gas.EVENT + gas.RECEIPT_BYTE * len(encode(("", 1)))


def test_arguments_are_charged_by_value(chain: Chain, alice: Account) -> None:
    """Checking nested arguments costs by the value, also when they turn out to be wrong."""

    def used(parts: int, *, good: bool = True) -> int:
        outer = ((("red", None),) * parts, (True, b""), alice.address, 1 if good else -1)
        transaction = chain.transaction(alice, Call("toy", "keep", (outer,)))
        receipt = chain.block(transaction).receipts[0]
        assert (receipt.status is Status.SUCCEEDED) == good
        return receipt.gas_used - gas.TRANSACTION_BYTE * len(transaction.raw)

    assert used(9, good=False) - used(1, good=False) == 8 * 3 * gas.ARGUMENT
    assert used(9) - used(1) > 8 * 3 * gas.ARGUMENT


def test_computation_is_charged_where_a_contract_says_so(chain: Chain, alice: Account) -> None:
    light, heavy = chain.send(alice, Toy.work, 10_000), chain.send(alice, Toy.work, 210_000)
    assert heavy.gas_used - light.gas_used - gas.TRANSACTION_BYTE * 2 == 200_000
    assert code_of(chain.send(alice, Toy.work, 2**63)) == "toy.OUT_OF_GAS"


def test_sender_origin_contract_and_time(chain: Chain, alice: Account) -> None:
    now_ms = chain.context.timestamp_ms
    assert chain.send(alice, Toy.who).results == ((alice.address, alice.address, TOY, now_ms),)
    assert chain.send(alice, Toy.who_through).results == ((TOY, alice.address, TOY, now_ms + 1_000),)


def test_new_ids_are_unique_and_reproducible(chain: Chain, alice: Account) -> None:
    transaction = chain.transaction(alice, chain.call(Toy.ids, 5), chain.call(Toy.ids, 5))
    first = chain.executor.execute(chain.state, chain.context, [transaction]).receipts[0]
    behind_another = [chain.transaction(alice, chain.call(Toy.ids, 1)), transaction]
    assert first == chain.executor.execute(chain.state, chain.context, behind_another).receipts[1]
    assert first == chain.block(transaction).receipts[0]
    again = chain.block(chain.transaction(alice, chain.call(Toy.ids, 5))).receipts[0]
    ids = [one for result in (*first.results, *again.results) for one in items(result)]
    assert len(ids) == len(set(ids)) == 15


def items(value: object) -> Iterable[object]:
    """Return a result that must be a list."""
    assert isinstance(value, tuple)
    return value


def test_structures_survive_storage(chain: Chain, alice: Account) -> None:
    outer = Outer((Inner(Colour.BLUE, 3), Inner(Colour.RED, None)), (False, b"\x00"), BOB, Motes(7))
    assert chain.send(alice, Toy.keep, outer).results == chain.args(Toy.keep, outer)


def test_deletion_reaches_the_state(chain: Chain, alice: Account) -> None:
    chain.send(alice, Toy.note, "a", 1)
    size = len(chain.state)
    assert chain.send(alice, Toy.forget, "a").results == (True,)
    assert len(chain.state) == size - 1
    assert chain.send(alice, Toy.forget, "a").results == (False,)
    assert chain.query(Toy.get, "a") is None


def test_calls_between_contracts(chain: Chain, alice: Account) -> None:
    """The called contract sees the caller as its sender, and a failure after the call takes its money back."""
    fund_toy(chain, alice, 100)
    receipt = chain.send(alice, Toy.pay, BOB, Motes(30))
    assert receipt.results == ((70, 0, 0),)
    assert [event.contract for event in receipt.events] == ["asset"]
    assert code_of(chain.send(alice, Toy.pay_then_fail, BOB, Motes(30))) == "toy.TOLD_TO_FAIL"
    assert code_of(chain.send(alice, Toy.pay, BOB, Motes(71))) == "asset.INSUFFICIENT_FUNDS"
    assert chain.balance(TOY).free == 70


def test_a_caught_failure_leaves_nothing_behind(chain: Chain, alice: Account) -> None:
    """A contract may go on after a nested call failed; that call's writes and events are gone, its own stay."""
    receipt = chain.send(alice, Toy.swallow, "nested")
    assert (receipt.status, receipt.results, receipt.events) == (Status.SUCCEEDED, ("TOLD_TO_FAIL",), ())
    assert chain.query(Toy.get, "nested") is None
    assert chain.query(Toy.last_value) == 1


def test_nesting_is_bounded(chain: Chain, alice: Account) -> None:
    """8 calls deep works, 9 do not."""
    assert chain.send(alice, Toy.dive, 7).results == (0,)
    assert code_of(chain.send(alice, Toy.dive, 8)) == "toy.CALL_DEPTH"


def test_events_are_bounded(chain: Chain, alice: Account) -> None:
    assert len(chain.send(alice, Toy.shout, MAX_EVENTS, gas_limit=2**32).events) == MAX_EVENTS
    assert code_of(chain.send(alice, Toy.shout, MAX_EVENTS + 1, gas_limit=2**32)) == "toy.TOO_MANY_EVENTS"


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("divide", "toy.CONTRACT_DEFECT"),
        ("lookup", "toy.CONTRACT_DEFECT"),
        ("result", "toy.CONTRACT_DEFECT"),
        ("event", "toy.CONTRACT_DEFECT"),
        ("stranger", "toy.CONTRACT_DEFECT"),
        ("store", "toy.BAD_INPUT"),
        ("input", "toy.BAD_INPUT"),
        ("argument", "toy.BAD_ARGUMENTS"),
    ],
)
def test_a_defective_contract_harms_only_its_own_call(chain: Chain, alice: Account, how: str, expected: str) -> None:
    assert code_of(chain.send(alice, Toy.break_down, how)) == expected
    assert chain.send(alice, Toy.break_down, "").status is Status.SUCCEEDED


def test_reads_cannot_write(chain: Chain, alice: Account) -> None:
    """Neither from outside nor called by a write method."""
    for method in (Toy.sneaky, Toy.sneaky_event):
        with pytest.raises(ContractError) as caught:
            chain.query(method)
        assert caught.value.failure_code == "READ_ONLY"
    assert code_of(chain.send(alice, Toy.call_sneaky)) == "toy.READ_ONLY"


@pytest.mark.parametrize(
    ("contract", "method", "args", "expected"),
    [
        ("nobody", "get", (), "nobody.UNKNOWN_CONTRACT"),
        ("toy", "nothing", (), "toy.UNKNOWN_METHOD"),
        ("toy", "note", ("a", 1), "toy.WRONG_KIND"),
        ("toy", "get", (1,), "toy.BAD_ARGUMENTS"),
    ],
)
def test_queries_that_cannot_work(chain: Chain, contract: str, method: str, args: tuple[Any, ...], expected: str) -> None:
    with pytest.raises(ContractError) as caught:
        chain.executor.query(chain.state, chain.context, contract, method, args)
    assert f"{caught.value.contract}.{caught.value.failure_code}" == expected


def test_genesis_runs_once_with_its_parameters(chain: Chain) -> None:
    assert chain.query(Toy.last_value) == 41
    assert chain.query(Asset.supply) == SUPPLY


@pytest.mark.parametrize("params", [{}, {"toy": ()}, {"toy": ("1",)}, {"toy": (1,), "nobody": ()}, {"toy": (1,), "bare": (1,)}])
def test_genesis_refuses_wrong_parameters(params: dict[str, Any]) -> None:
    class Bare(Contract):
        """Nothing to start with."""

    with pytest.raises(ContractError):
        Chain({"toy": Toy, "bare": Bare}, genesis=params)


def test_registry_refuses_the_same_class_twice_and_a_missing_asset() -> None:
    with pytest.raises(ValueError, match="registered twice"):
        Registry({"one": Toy, "two": Toy})
    with pytest.raises(ContractError):
        Executor(Registry({"toy": Toy}))


class TestFees:
    """Gas money is reserved, spent and given back; without a price none of that touches the state."""

    def test_free_gas_touches_no_balance(self, chain: Chain) -> None:
        pauper = chain.account("pauper")
        execution = chain.block(chain.transaction(pauper, chain.call(Toy.note, "a", 1)))
        assert all(b"accounts" not in key for key in execution.changes)

    def test_gas_used_goes_to_the_fee_account_and_the_rest_back(self, chain: Chain, alice: Account) -> None:
        chain.context = replace(chain.context, gas_price_motes=3)
        before = chain.balance(alice).free
        good = chain.send(alice, Toy.note, "a", 1)
        bad = chain.send(alice, Toy.note_and_fail, "a", 1)
        paid = 3 * (good.gas_used + bad.gas_used)
        assert chain.balance(alice).free == before - paid
        assert chain.balance(FEES).free == paid

    def test_the_fee_account_may_send_too(self, chain: Chain, alice: Account) -> None:
        chain.send(alice, Asset.transfer, FEES.address, Motes(1_000_000))
        chain.context = replace(chain.context, gas_price_motes=1)
        chain.send(FEES, Asset.transfer, BOB, Motes(400_000), gas_limit=100_000)
        assert chain.balance(FEES).free == 600_000

    def test_reserved_money_cannot_be_spent(self, chain: Chain) -> None:
        chain.context = replace(chain.context, gas_price_motes=1)
        carl = chain.account("carl", 150_000)
        failed = chain.send(carl, Asset.transfer, BOB, Motes(50_001), gas_limit=100_000)
        assert code_of(failed) == "asset.INSUFFICIENT_FUNDS"
        chain.account("carl", failed.gas_used)
        assert chain.send(carl, Asset.transfer, BOB, Motes(50_000), gas_limit=100_000).status is Status.SUCCEEDED

    def test_an_entry_that_cannot_reserve_voids_the_proposal(self, chain: Chain) -> None:
        chain.context = replace(chain.context, gas_price_motes=1)
        carl = chain.account("carl", 120_000)
        good, late = (chain.transaction(carl, chain.call(Toy.note, "a", n), gas_limit=100_000) for n in (1, 2))
        with pytest.raises(InvalidEntryError) as caught:
            chain.block(good, late)
        assert (caught.value.index, caught.value.tx_hash, caught.value.reason) == (1, late.tx_hash, "insufficient_funds")
        assert caught.value.numbers["need"] == 100_000
        assert caught.value.numbers["have"] < 120_000


class TestBuild:
    """The primary's mode leaves out what strict mode refuses, and both agree on what remains."""

    def test_build_and_execute_agree(self, chain: Chain, alice: Account) -> None:
        chain.context = replace(chain.context, gas_price_motes=2)
        pauper = chain.account("pauper", 10)
        candidates = [
            chain.transaction(alice, chain.call(Toy.note, "a", 1)),
            chain.transaction(pauper, chain.call(Toy.note, "b", 1)),
            chain.transaction(alice, chain.call(Toy.note_and_fail, "c", 1)),
            chain.transaction(alice, chain.call(Asset.transfer, BOB, Motes(5))),
        ]
        built = chain.executor.build(chain.state, chain.context, candidates, 100, 100_000)
        assert built.included == (candidates[0], candidates[2], candidates[3])
        assert [(refused.id, error.reason) for refused, error in built.refused] == [(candidates[1].id, "insufficient_funds")]
        assert chain.executor.execute(chain.state, chain.context, built.included) == built.execution

    def test_count_and_bytes_end_the_block(self, chain: Chain, alice: Account) -> None:
        candidates = [chain.transaction(alice, chain.call(Toy.note, "a", n)) for n in range(1, 6)]
        size = len(candidates[0].raw)
        build = chain.executor.build
        assert build(chain.state, chain.context, candidates, 3, 10**6).included == tuple(candidates[:3])
        assert build(chain.state, chain.context, candidates, 9, 2 * size).included == tuple(candidates[:2])
        assert build(chain.state, chain.context, candidates, 9, 3 * size - 1).refused == ()
        assert build(chain.state, chain.context, [], 9, 10**6).included == ()

    def test_gas_ends_the_block_and_what_fits_none_is_refused(self, chain: Chain, alice: Account) -> None:
        """One that no longer fits waits for the next block; in strict mode it voids the block."""
        chain.context = replace(chain.context, max_gas=10_000_000)
        many = [chain.transaction(alice, chain.call(Toy.work, 900_000), gas_limit=1_000_000) for _ in range(12)]
        built = chain.executor.build(chain.state, chain.context, many, 99, 10**6)
        assert (built.included, built.refused) == (tuple(many[: len(built.included)]), ())
        assert 10 <= len(built.included) < 12
        assert built.execution.gas_used > 9_000_000
        with pytest.raises(InvalidEntryError) as caught:
            chain.block(*many)
        assert (caught.value.reason, caught.value.index) == ("too_large", len(built.included))

    def test_greedy_transactions_cannot_fill_blocks(self, chain: Chain, alice: Account) -> None:
        """Asking for more than a tenth of a block's gas is refused at once, by everyone, and does not end a block."""
        chain.context = replace(chain.context, max_gas=10_000_000)
        small = [chain.transaction(alice, chain.call(Toy.note, "a", n)) for n in (1, 2)]
        giant = chain.transaction(alice, chain.call(Toy.note, "a", 3), gas_limit=1_000_001)
        built = chain.executor.build(chain.state, chain.context, [small[0], giant, small[1]], 9, 10**6)
        assert built.included == tuple(small)
        assert [(refused.id, error.reason) for refused, error in built.refused] == [(giant.id, "too_large")]
        with pytest.raises(TooLargeError):
            chain.executor.check_funds(chain.state, chain.context, giant)
        with pytest.raises(InvalidEntryError):
            chain.block(giant)

    def test_a_transaction_over_the_blocks_bytes_is_refused(self, chain: Chain, alice: Account) -> None:
        transaction = chain.transaction(alice, chain.call(Toy.note, "a", 1))
        built = chain.executor.build(chain.state, chain.context, [transaction], 9, len(transaction.raw) - 1)
        assert built.included == ()
        assert [error.reason for _, error in built.refused] == ["too_large"]


class TestAdmission:
    """What the RPC refuses before a transaction costs anybody anything."""

    def test_a_transfer_that_cannot_be_paid(self, chain: Chain) -> None:
        """`need` is amount and gas money, `have` all the sender's free money."""
        chain.context = replace(chain.context, gas_price_motes=2)
        carl = chain.account("carl", 250_000)
        transaction = chain.transaction(carl, chain.call(Asset.transfer, BOB, Motes(60_000)), gas_limit=100_000)
        with pytest.raises(InsufficientFundsError) as caught:
            chain.executor.check_funds(chain.state, chain.context, transaction)
        assert caught.value.data() == {
            "reason": "insufficient_funds",
            "hint": "fund the account, or send less",
            "need": "260000",
            "have": "250000",
        }

    def test_gas_that_cannot_be_reserved(self, chain: Chain) -> None:
        chain.context = replace(chain.context, gas_price_motes=2)
        carl = chain.account("carl", 10)
        transaction = chain.transaction(carl, chain.call(Toy.note, "a", 1), gas_limit=100_000)
        with pytest.raises(InsufficientFundsError) as caught:
            chain.executor.check_funds(chain.state, chain.context, transaction)
        assert (caught.value.need, caught.value.have) == (200_000, 10)

    def test_another_assets_shortage_is_told_without_the_gas_money(self, chain: Chain, alice: Account) -> None:
        """Gas is paid in DATR: what is free of another asset is not more by it."""
        chain.free(alice, Asset.issue, "PARK", "Parking", 0, (), Rights(True, True, False, None))
        chain.context = replace(chain.context, gas_price_motes=2)
        transaction = chain.transaction(alice, chain.call(Asset.send, "PARK", BOB, Motes(5)), gas_limit=100_000)
        with pytest.raises(InsufficientFundsError) as caught:
            chain.executor.check_funds(chain.state, chain.context, transaction)
        assert (caught.value.need, caught.value.have) == (5, 0)

    def test_another_accounts_shortage_is_told_without_the_senders_gas(self, chain: Chain, alice: Account) -> None:
        chain.context = replace(chain.context, gas_price_motes=2)
        transaction = chain.transaction(alice, chain.call(Toy.pay, BOB, Motes(5)), gas_limit=100_000)
        with pytest.raises(InsufficientFundsError) as caught:
            chain.executor.check_funds(chain.state, chain.context, transaction)
        assert (caught.value.need, caught.value.have) == (5, 0)

    def test_what_can_be_paid_or_fails_otherwise_is_let_in(self, chain: Chain, alice: Account) -> None:
        """A failure that a later state may not have is not for admission to judge."""
        for call in (chain.call(Asset.transfer, BOB, Motes(5)), chain.call(Toy.note_and_fail, "a", 1)):
            chain.executor.check_funds(chain.state, chain.context, chain.transaction(alice, call))

    def test_simulation_changes_nothing_and_tells_what_would_happen(self, chain: Chain, alice: Account) -> None:
        before = dict(chain.state.iterate())
        transaction = chain.transaction(alice, chain.call(Toy.note, "a", 1))
        simulated = chain.executor.simulate(chain.state, chain.context, transaction)
        assert dict(chain.state.iterate()) == before
        assert simulated.failure is None
        assert simulated.receipt == chain.block(transaction).receipts[0]
        unsigned = chain.executor.simulate_calls(chain.state, chain.context, alice.address, transaction.body.calls)
        assert unsigned.receipt.events == simulated.receipt.events
        carried = gas.TRANSACTION_BYTE * len(transaction.raw)
        assert unsigned.receipt.gas_used + carried == simulated.receipt.gas_used


_DIGEST_SCRIPT = """
import hashlib
from tests.unit.test_executor import busy_block
from ledger.codec import encode
execution = busy_block()
digest = hashlib.sha256()
for receipt in execution.receipts:
    digest.update(receipt.hash(bytes(32)))
digest.update(encode(tuple(sorted(execution.changes.items()))))
print(digest.hexdigest())
"""


def busy_block() -> Any:
    """Execute one block that succeeds and fails in many ways."""
    chain = Chain({"toy": Toy}, genesis={"toy": (41,)}, gas_price_motes=1)
    alice = chain.account("alice", 10**12)
    fund_toy(chain, alice, 100)
    how = ["divide", "lookup", "result", "event", "stranger", "store", "input", "argument"]
    calls = [
        chain.call(Toy.note, "a", 1),
        chain.call(Toy.ids, 3),
        chain.call(Toy.pay, BOB, Motes(3)),
        chain.call(Toy.hold, alice.address, Motes(3)),
        chain.call(Toy.dive, 9),
        Call("toy", "note", ("a", "b")),
        Call("nobody", "act", ()),
        *(chain.call(Toy.break_down, each) for each in how),
    ]
    return chain.block(*(chain.transaction(alice, call) for call in calls))


def test_the_same_on_every_node() -> None:
    """Receipts and changes do not depend on the process: other hash seeds give the same digest."""
    root = Path(__file__).parent.parent.parent
    digests = {
        subprocess.run(
            [sys.executable, "-c", _DIGEST_SCRIPT],
            cwd=root,
            env={**os.environ, "PYTHONHASHSEED": seed},
            check=True,
            capture_output=True,
            text=True,
        ).stdout
        for seed in ("1", "2")
    }
    assert len(digests) == 1

"""The native asset: genesis, transfers, holds and locks. The harness checks after every block that no money was made or lost."""

from typing import Any

import pytest

from ledger.block import Receipt, Status
from ledger.policy import contract_address, format_address
from ledger.types import Motes
from tests.vm_harness import TREASURY, Account, Chain, account
from tests.vm_toys import Toy
from vm.context import NOBODY
from vm.contracts.asset import SUPPLY, Allocation, Asset, Category, Hold, Lock, Schedule, balance_key
from vm.errors import ContractError

BOB = account("bob").address
TOY = contract_address("toy")
YEAR_MS = 365 * 86_400_000


@pytest.fixture
def chain() -> Chain:
    return Chain({"toy": Toy}, genesis={"toy": (0,)})


@pytest.fixture
def alice(chain: Chain) -> Account:
    return chain.account("alice", 1_000)


def code_of(receipt: Receipt) -> str:
    assert receipt.status is Status.FAILED
    assert receipt.error is not None
    return receipt.error.code


def hold_id_of(receipt: Receipt) -> bytes:
    """Return the id that a hold's receipt gives."""
    assert receipt.status is Status.SUCCEEDED, receipt.error
    (hold_id,) = receipt.results
    assert isinstance(hold_id, bytes)
    return hold_id


def money(chain: Chain, who: Any) -> tuple[int, int, int]:
    balance = chain.balance(who)
    return (balance.free, balance.held, balance.locked)


class TestTransfer:
    def test_moves_free_money_and_says_so(self, chain: Chain, alice: Account) -> None:
        receipt = chain.send(alice, Asset.transfer, BOB, Motes(400))
        assert [(event.name, event.fields) for event in receipt.events] == [("Transferred", (alice.address, BOB, 400))]
        assert (money(chain, alice), money(chain, BOB)) == ((600, 0, 0), (400, 0, 0))

    def test_zero_is_refused(self, chain: Chain, alice: Account) -> None:
        assert code_of(chain.send(alice, Asset.transfer, BOB, Motes(0))) == "BAD_AMOUNT"

    def test_more_than_there_is_names_the_numbers(self, chain: Chain, alice: Account) -> None:
        receipt = chain.send(alice, Asset.transfer, BOB, Motes(1_001))
        assert receipt.error is not None
        assert receipt.error.code == "INSUFFICIENT_FUNDS"
        assert receipt.error.message.endswith(f"account {format_address(alice.address)}, need 1001, have 1000")
        assert money(chain, BOB) == (0, 0, 0)

    def test_the_biggest_amount_overflows_nothing(self, chain: Chain, alice: Account) -> None:
        assert code_of(chain.send(alice, Asset.transfer, BOB, Motes(2**64 - 1))) == "INSUFFICIENT_FUNDS"

    @pytest.mark.parametrize("nobody", [TOY, contract_address("gone"), NOBODY], ids=["contract", "unknown", "zeros"])
    def test_no_money_goes_where_no_key_can_spend_it(self, chain: Chain, alice: Account, nobody: Any) -> None:
        """A slip of the hand must not lose money for ever: by transfer, by a hold, or by capturing one."""
        bob = chain.account("bob", 1_000)
        deadline_ms = chain.context.timestamp_ms + 60_000
        hold_id = hold_id_of(chain.send(bob, Asset.hold_for, alice.address, Motes(5), "x", deadline_ms))
        assert code_of(chain.send(alice, Asset.transfer, nobody, Motes(1))) == "BAD_RECIPIENT"
        assert code_of(chain.send(alice, Asset.hold_for, nobody, Motes(1), "x", deadline_ms)) == "BAD_RECIPIENT"
        assert code_of(chain.send(alice, Asset.capture, hold_id, Motes(1), nobody)) == "BAD_RECIPIENT"

    def test_a_contract_may_pay_a_contract_but_not_the_zero_filled_account(self, chain: Chain, alice: Account) -> None:
        hold_id = hold_id_of(chain.send(alice, Toy.hold, alice.address, Motes(5)))
        assert code_of(chain.send(alice, Toy.capture, hold_id, Motes(1), NOBODY)) == "BAD_RECIPIENT"
        assert chain.send(alice, Toy.capture, hold_id, Motes(5), TOY).status is Status.SUCCEEDED
        assert money(chain, TOY) == (5, 0, 0)

    def test_to_oneself_changes_nothing(self, chain: Chain, alice: Account) -> None:
        assert chain.send(alice, Asset.transfer, alice.address, Motes(1_000)).status is Status.SUCCEEDED
        assert money(chain, alice) == (1_000, 0, 0)

    def test_an_emptied_account_leaves_the_state(self, chain: Chain, alice: Account) -> None:
        assert chain.state.get(balance_key(alice.address)) is not None
        chain.send(alice, Asset.transfer, BOB, Motes(1_000))
        assert chain.state.get(balance_key(alice.address)) is None
        assert money(chain, alice) == (0, 0, 0)


class TestHolds:
    def test_held_money_is_set_aside(self, chain: Chain, alice: Account) -> None:
        deadline_ms = chain.context.timestamp_ms + 10_000
        receipt = chain.send(alice, Toy.hold, alice.address, Motes(300))
        hold_id = hold_id_of(receipt)
        assert money(chain, alice) == (700, 300, 0)
        assert chain.query(Asset.get_hold, hold_id) == Hold(alice.address, TOY, "toy", Motes(300), deadline_ms)
        assert [event.fields for event in receipt.events] == [(hold_id, alice.address, TOY, "toy", 300, deadline_ms, "DATR")]
        assert code_of(chain.send(alice, Asset.transfer, BOB, Motes(701))) == "INSUFFICIENT_FUNDS"

    def test_captures_in_parts_until_it_is_used_up(self, chain: Chain, alice: Account) -> None:
        hold_id = hold_id_of(chain.send(alice, Toy.hold, alice.address, Motes(300)))
        receipt = chain.send(alice, Toy.capture, hold_id, Motes(100), BOB)
        assert [event.fields for event in receipt.events] == [(hold_id, alice.address, BOB, 100, 200, "DATR")]
        assert (money(chain, alice), money(chain, BOB)) == ((700, 200, 0), (100, 0, 0))
        assert code_of(chain.send(alice, Toy.capture, hold_id, Motes(201), BOB)) == "BAD_AMOUNT"
        assert code_of(chain.send(alice, Toy.capture, hold_id, Motes(0), BOB)) == "BAD_AMOUNT"
        chain.send(alice, Toy.capture, hold_id, Motes(200), BOB)
        assert (money(chain, alice), money(chain, BOB)) == ((700, 0, 0), (300, 0, 0))
        assert code_of(chain.send(alice, Toy.capture, hold_id, Motes(1), BOB)) == "UNKNOWN_HOLD"
        assert code_of(chain.send(alice, Toy.release, hold_id)) == "UNKNOWN_HOLD"

    def test_release_gives_the_rest_back(self, chain: Chain, alice: Account) -> None:
        hold_id = hold_id_of(chain.send(alice, Toy.hold, alice.address, Motes(300)))
        chain.send(alice, Toy.capture, hold_id, Motes(100), BOB)
        receipt = chain.send(alice, Toy.release, hold_id)
        assert [event.fields for event in receipt.events] == [(hold_id, alice.address, 200, "DATR")]
        assert money(chain, alice) == (900, 0, 0)
        with pytest.raises(ContractError, match="no such hold"):
            chain.query(Asset.get_hold, hold_id)

    def test_capture_to_the_owner(self, chain: Chain, alice: Account) -> None:
        hold_id = hold_id_of(chain.send(alice, Toy.hold, alice.address, Motes(1_000)))
        chain.send(alice, Toy.capture, hold_id, Motes(1_000), alice.address)
        assert money(chain, alice) == (1_000, 0, 0)

    def test_only_the_signer_is_ever_held(self, chain: Chain, alice: Account) -> None:
        """A contract cannot hold the money of somebody who did not sign, nor can a key account call what is for contracts."""
        mallory = chain.account("mallory", 1)
        assert code_of(chain.send(mallory, Toy.hold, alice.address, Motes(1))) == "NOT_PERMITTED"
        assert code_of(chain.send(alice, Asset.hold, alice.address, Motes(1), "x", 2**60)) == "NOT_PERMITTED"
        assert code_of(chain.send(mallory, Asset.hold, alice.address, Motes(1), "x", 2**60)) == "NOT_PERMITTED"

    def test_only_the_holder_captures_and_releases(self, chain: Chain, alice: Account) -> None:
        hold_id = hold_id_of(chain.send(alice, Toy.hold, alice.address, Motes(300)))
        for sender in (alice, chain.account("mallory", 1)):
            assert code_of(chain.send(sender, Asset.capture, hold_id, Motes(1), BOB)) == "NOT_PERMITTED"
            assert code_of(chain.send(sender, Asset.release, hold_id)) == "NOT_PERMITTED"
        assert money(chain, alice) == (700, 300, 0)

    def test_the_owner_takes_it_back_after_the_deadline(self, chain: Chain, alice: Account) -> None:
        hold_id = hold_id_of(chain.send(alice, Toy.hold, alice.address, Motes(300)))
        deadline_ms = chain.query(Asset.get_hold, hold_id).deadline_ms
        chain.advance(deadline_ms - chain.context.timestamp_ms)
        assert code_of(chain.send(alice, Asset.reclaim, hold_id)) == "NOT_YET"
        assert code_of(chain.send(chain.account("mallory", 1), Asset.reclaim, hold_id)) == "NOT_PERMITTED"
        assert chain.send(alice, Toy.capture, hold_id, Motes(1), BOB).status is Status.SUCCEEDED
        assert chain.send(alice, Asset.reclaim, hold_id).status is Status.SUCCEEDED
        assert money(chain, alice) == (999, 0, 0)
        assert code_of(chain.send(alice, Asset.reclaim, hold_id)) == "UNKNOWN_HOLD"

    def test_an_owner_may_name_a_holder(self, chain: Chain, alice: Account) -> None:
        bob = chain.account("bob")
        deadline_ms = chain.context.timestamp_ms + 5_000
        hold_id = hold_id_of(chain.send(alice, Asset.hold_for, bob.address, Motes(300), "deposit", deadline_ms))
        assert chain.send(bob, Asset.capture, hold_id, Motes(50), bob.address).status is Status.SUCCEEDED
        assert chain.send(bob, Asset.release, hold_id).status is Status.SUCCEEDED
        assert (money(chain, alice), money(chain, bob)) == ((950, 0, 0), (50, 0, 0))

    @pytest.mark.parametrize(
        ("amount", "ahead_ms", "holder", "expected"),
        [
            (0, 5_000, BOB, "BAD_AMOUNT"),
            (1_001, 5_000, BOB, "INSUFFICIENT_FUNDS"),
            (1, 0, BOB, "BAD_DEADLINE"),
            (1, 5_000, account("alice").address, "NOT_PERMITTED"),
        ],
    )
    def test_holds_that_are_refused(
        self, chain: Chain, alice: Account, amount: int, ahead_ms: int, holder: Any, expected: str
    ) -> None:
        deadline_ms = chain.context.timestamp_ms + ahead_ms
        assert code_of(chain.send(alice, Asset.hold_for, holder, Motes(amount), "x", deadline_ms)) == expected


def founded(*allocations: Allocation) -> Chain:
    """Return a chain that starts with these and gives the treasury the rest."""
    rest = Motes(SUPPLY - sum(item.amount for item in allocations))
    everything = (*allocations, Allocation(TREASURY.address, rest, Category.OTHER, None, None))
    return Chain(genesis={"asset": Chain().args(Asset.distribute, everything)})


class TestGenesis:
    def test_locked_money_is_visible_with_its_terms(self) -> None:
        schedule = Schedule(5 * YEAR_MS, 12, Motes(SUPPLY // 50))
        technology = Allocation(BOB, Motes(SUPPLY * 8 // 100), Category.TECHNOLOGY, schedule, None)
        operation = Allocation(BOB, Motes(SUPPLY // 10), Category.OPERATION, None, TREASURY.address)
        free = Allocation(BOB, Motes(5), Category.IDO, None, None)
        chain = founded(technology, operation, free)
        assert money(chain, BOB) == (5, 0, SUPPLY * 18 // 100)
        assert chain.query(Asset.get_locks) == (
            Lock(BOB, Category.TECHNOLOGY, technology.amount, schedule, None, technology.amount),
            Lock(BOB, Category.OPERATION, operation.amount, None, TREASURY.address, operation.amount),
        )
        assert chain.query(Asset.supply) == SUPPLY == 800_000_000 * 10**8

    def test_locked_money_cannot_be_spent(self) -> None:
        chain = founded(Allocation(BOB, Motes(10), Category.OPERATION, None, TREASURY.address))
        assert code_of(chain.send(account("bob"), Asset.transfer, TREASURY.address, Motes(1))) == "INSUFFICIENT_FUNDS"

    @pytest.mark.parametrize("amount", [0, SUPPLY - 1, SUPPLY + 1, 2**64 - 1])
    def test_only_the_whole_supply(self, amount: int) -> None:
        everything = (Allocation(BOB, Motes(amount), Category.OTHER, None, None),)
        with pytest.raises(ContractError) as caught:
            Chain(genesis={"asset": Chain().args(Asset.distribute, everything)})
        assert caught.value.failure_code == "BAD_SUPPLY"

    @pytest.mark.parametrize(
        ("schedule", "authority"),
        [
            (Schedule(1, 12, Motes(0)), None),
            (Schedule(1, 0, Motes(9)), None),
            (Schedule(1, 12, Motes(1)), BOB),
        ],
    )
    def test_a_lock_needs_exactly_one_way_out(self, schedule: Schedule, authority: Any) -> None:
        with pytest.raises(ContractError) as caught:
            founded(Allocation(BOB, Motes(10), Category.FOUNDATION, schedule, authority))
        assert caught.value.failure_code == "BAD_UNLOCK"

    def test_one_release_of_everything_needs_no_period(self) -> None:
        assert money(founded(Allocation(BOB, Motes(10), Category.OTHER, Schedule(1, 0, Motes(10)), None)), BOB) == (0, 0, 10)

    def test_no_empty_allocation(self) -> None:
        with pytest.raises(ContractError) as caught:
            founded(Allocation(BOB, Motes(0), Category.OTHER, None, None))
        assert caught.value.failure_code == "BAD_AMOUNT"

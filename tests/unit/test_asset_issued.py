"""Assets that anybody issues, payments in them, in batches and by allowance, and what may be minted and burned."""

from typing import Any

import pytest

from genesis import presets
from ledger.policy import contract_address
from ledger.types import Motes
from tests.asset_chain import code_of, founded, money, result_of, stored, told
from tests.asset_toys import Keeper
from tests.vm_harness import Account, Chain, account
from vm.contracts.asset import SUPPLY, Allocation, Asset, AssetInfo, Category, Hold, Payment, Rights, Schedule
from vm.contracts.asset_locks import months_later
from vm.contracts.asset_types import CARM
from vm.errors import ContractError

ALICE, BOB, CARL = account("alice"), account("bob"), account("carl")
KEEPER = contract_address("keeper")
NOTHING = Rights(mintable=False, burnable=False, freezable=False, max_supply=None)
ANYTHING = Rights(mintable=True, burnable=True, freezable=True, max_supply=Motes(1_000))
MONTH_MS = 31 * 86_400_000


@pytest.fixture
def chain() -> Chain:
    """Alice has DATR and all 900 PARK, of which there may be 1,000."""
    made = founded(Allocation(ALICE.address, Motes(1_000), Category.IDO, None, None))
    issue(made, ALICE, "PARK", 900, ANYTHING)
    return made


def issue(chain: Chain, issuer: Account, symbol: str, amount: int, rights: Rights) -> None:
    """Issue an asset, all of it free money of its issuer."""
    allocations = (Allocation(issuer.address, Motes(amount), Category.OTHER, None, None),) if amount else ()
    told(chain.send(issuer, Asset.issue, symbol, "Parking", 2, allocations, rights))


class TestIssue:
    def test_it_is_registered_and_distributed(self, chain: Chain) -> None:
        terms = Schedule(months_later(chain.context.timestamp_ms, 1), 1, Motes(50))
        allocations = (
            Allocation(BOB.address, Motes(100), Category.COMMUNITY, None, None),
            Allocation(CARL.address, Motes(100), Category.TEAM, terms, None),
        )
        receipt = chain.send(ALICE, Asset.issue, "CAR2", "Car two", 6, allocations, NOTHING)
        assert told(receipt) == [("Issued", ("CAR2", ALICE.address, 200))]
        assert (money(chain, BOB, "CAR2"), money(chain, CARL, "CAR2")) == ((100, 0, 0), (0, 0, 100))
        assert chain.query(Asset.get_asset, "CAR2") == AssetInfo("CAR2", "Car two", 6, ALICE.address, NOTHING)
        assert chain.query(Asset.supply_of, "CAR2") == 200
        assert [info.symbol for info in chain.query(Asset.list_assets, 0)] == ["PARK", "CAR2"]
        assert [info.symbol for info in chain.query(Asset.list_assets, 1)] == ["CAR2"]
        assert [lock.amount for lock in chain.query(Asset.get_locks_of, "CAR2")] == [100]
        chain.advance(MONTH_MS)
        assert told(chain.block().receipts) == [("Unlocked", ("CAR2", 0, CARL.address, 50, 50))]
        chain.advance(MONTH_MS)
        assert told(chain.block().receipts) == [("Unlocked", ("CAR2", 0, CARL.address, 50, 0))]
        assert money(chain, CARL, "CAR2") == (100, 0, 0)

    def test_datr_is_described_like_any_other(self, chain: Chain) -> None:
        info = chain.query(Asset.get_asset, "DATR")
        assert (info.decimals, info.issuer, info.rights.mintable, info.rights.max_supply) == (8, None, False, SUPPLY)
        assert chain.query(Asset.supply_of, "DATR") == chain.query(Asset.supply) == SUPPLY

    @pytest.mark.parametrize(
        ("symbol", "amount", "rights", "expected"),
        [
            ("DATR", 1, NOTHING, "ASSET_EXISTS"),
            ("PARK", 1, NOTHING, "ASSET_EXISTS"),
            ("park", 1, NOTHING, "BAD_SYMBOL"),
            ("PA-RK", 1, NOTHING, "BAD_SYMBOL"),
            ("PA RK", 1, NOTHING, "BAD_SYMBOL"),
            ("PÄRK", 1, NOTHING, "BAD_SYMBOL"),
            ("NEW", 1_001, ANYTHING, "MAX_SUPPLY"),
            ("NEW", 0, NOTHING, "BAD_SUPPLY"),
            ("NEW", 0, Rights(mintable=True, burnable=True, freezable=True, max_supply=Motes(0)), "BAD_SUPPLY"),
        ],
    )
    def test_assets_that_are_refused(self, chain: Chain, symbol: str, amount: int, rights: Rights, expected: str) -> None:
        allocations = (Allocation(ALICE.address, Motes(amount), Category.OTHER, None, None),) if amount else ()
        before = list(chain.state.iterate())
        assert code_of(chain.send(BOB, Asset.issue, symbol, "x", 0, allocations, rights)) == expected
        assert list(chain.state.iterate()) == before

    @pytest.mark.parametrize(
        ("amount", "address", "schedule", "authority", "expected"),
        [
            (0, BOB.address, None, None, "BAD_AMOUNT"),
            (1, KEEPER, None, None, "BAD_RECIPIENT"),
            (1, bytes(33), None, None, "BAD_RECIPIENT"),
            (1, BOB.address, None, ALICE.address, "BAD_UNLOCK"),
            (1, BOB.address, Schedule(1, 0, Motes(0)), None, "BAD_UNLOCK"),
        ],
    )
    def test_allocations_that_are_refused(
        self, chain: Chain, amount: int, address: Any, schedule: Any, authority: Any, expected: str
    ) -> None:
        good = Allocation(BOB.address, Motes(1), Category.OTHER, None, None)
        bad = Allocation(address, Motes(amount), Category.OTHER, schedule, authority)
        before = list(chain.state.iterate())
        assert code_of(chain.send(BOB, Asset.issue, "NEW", "x", 0, (good, bad), NOTHING)) == expected
        assert list(chain.state.iterate()) == before

    def test_a_supply_too_large_to_count_is_refused(self, chain: Chain) -> None:
        halves = (Allocation(BOB.address, Motes(2**63), Category.OTHER, None, None),) * 2
        assert code_of(chain.send(BOB, Asset.issue, "NEW", "x", 0, halves, NOTHING)) == "MAX_SUPPLY"
        less = (halves[0], Allocation(BOB.address, Motes(2**63 - 1), Category.OTHER, None, None))
        assert told(chain.send(BOB, Asset.issue, "NEW", "x", 0, less, NOTHING)) == [("Issued", ("NEW", BOB.address, 2**64 - 1))]

    def test_the_largest_distribution_fits_into_a_transaction(self, chain: Chain) -> None:
        """And all its locks into one reading."""
        terms = Schedule(chain.context.timestamp_ms + MONTH_MS, 1, Motes(1))
        parts = tuple(Allocation(account(f"p{n}").address, Motes(600), Category.TEAM, terms, None) for n in range(256))
        receipt = chain.send(BOB, Asset.issue, "MANY", "x", 0, parts, NOTHING, gas_limit=25_000_000)
        assert told(receipt) == [("Issued", ("MANY", BOB.address, 256 * 600))]
        assert len(chain.query(Asset.get_locks_of, "MANY")) == 256

    def test_nobody_takes_the_foundation_s_symbol(self, chain: Chain) -> None:
        """On a chain with a foundation; on any other it is a symbol like all."""
        part = Allocation(BOB.address, Motes(5), Category.FOUNDATION, Schedule(chain.context.timestamp_ms, 0, Motes(5)), None)
        with_foundation = founded(part)
        allocations = (Allocation(CARL.address, Motes(1), Category.OTHER, None, None),)
        call = Asset.issue, CARM, "mine", 2, allocations, NOTHING
        assert code_of(with_foundation.send(CARL, *call)) == "NOT_PERMITTED"
        assert told(with_foundation.send(BOB, *call)) == [("Issued", ("CARM", BOB.address, 1))]
        assert told(chain.send(CARL, *call)) == [("Issued", ("CARM", CARL.address, 1))]

    def test_unknown_assets_are_named_so(self, chain: Chain) -> None:
        for read in (Asset.get_asset, Asset.supply_of):
            with pytest.raises(ContractError, match="no asset of this symbol"):
                chain.query(read, "NONE")
        assert chain.query(Asset.get_locks_of, "NONE") == chain.query(Asset.list_assets, 1) == ()

    def test_carm_is_issued_from_its_preset(self, chain: Chain) -> None:
        names = ("foundation", "community", "partnership", "team", "circulation")
        holders = presets.CarmHolders(*(account(name).address for name in names))
        arguments = presets.carm_issue(holders, chain.context.timestamp_ms)
        told(chain.send(ALICE, Asset.issue, *arguments))
        part = presets.CARM_SUPPLY // 100
        assert chain.query(Asset.supply_of, "CARM") == presets.CARM_SUPPLY
        assert money(chain, holders.team, "CARM") == (0, 0, 15 * part)
        freed = []
        for _ in range(25):
            chain.advance(MONTH_MS)
            freed.append(sum(fields[3] for _, fields in told(chain.block().receipts)))
        assert (sum(freed), sum(amount > 0 for amount in freed)) == (15 * part, 24)
        assert code_of(chain.send(ALICE, Asset.mint, "CARM", BOB.address, Motes(1))) == "NO_RIGHT"


class TestSupply:
    def test_the_issuer_mints_up_to_the_maximum(self, chain: Chain) -> None:
        receipt = chain.send(ALICE, Asset.mint, "PARK", BOB.address, Motes(100))
        assert told(receipt) == [("Minted", ("PARK", BOB.address, 100, 1_000))]
        assert money(chain, BOB, "PARK") == (100, 0, 0)
        assert code_of(chain.send(ALICE, Asset.mint, "PARK", BOB.address, Motes(1))) == "MAX_SUPPLY"

    def test_without_a_maximum_it_stops_where_numbers_do(self, chain: Chain) -> None:
        issue(chain, BOB, "MORE", 1, Rights(mintable=True, burnable=False, freezable=False, max_supply=None))
        assert code_of(chain.send(BOB, Asset.mint, "MORE", BOB.address, Motes(2**64 - 1))) == "MAX_SUPPLY"
        told(chain.send(BOB, Asset.mint, "MORE", BOB.address, Motes(2**64 - 2)))
        assert chain.query(Asset.supply_of, "MORE") == 2**64 - 1

    @pytest.mark.parametrize(
        ("sender", "symbol", "to", "amount", "expected"),
        [
            (BOB, "PARK", BOB.address, 1, "NOT_PERMITTED"),
            (ALICE, "PARK", BOB.address, 0, "BAD_AMOUNT"),
            (ALICE, "PARK", KEEPER, 1, "BAD_RECIPIENT"),
            (ALICE, "DATR", BOB.address, 1, "NO_RIGHT"),
            (ALICE, "NONE", BOB.address, 1, "UNKNOWN_ASSET"),
        ],
    )
    def test_mints_that_are_refused(
        self, chain: Chain, sender: Account, symbol: str, to: Any, amount: int, expected: str
    ) -> None:
        assert code_of(chain.send(sender, Asset.mint, symbol, to, Motes(amount))) == expected

    def test_owners_burn_their_own(self, chain: Chain) -> None:
        assert told(chain.send(ALICE, Asset.burn, "PARK", Motes(400))) == [("Burned", ("PARK", ALICE.address, 400, 500))]
        assert told(chain.send(ALICE, Asset.mint, "PARK", ALICE.address, Motes(500)))
        assert money(chain, ALICE, "PARK") == (1_000, 0, 0)

    def test_burning_datr_lowers_its_supply_for_ever(self, chain: Chain) -> None:
        receipt = chain.send(ALICE, Asset.burn, "DATR", Motes(1_000))
        assert told(receipt) == [("Burned", ("DATR", ALICE.address, 1_000, SUPPLY - 1_000))]
        assert chain.query(Asset.supply) == SUPPLY - 1_000

    @pytest.mark.parametrize(
        ("symbol", "amount", "expected"),
        [
            ("PARK", 0, "BAD_AMOUNT"),
            ("PARK", 901, "INSUFFICIENT_FUNDS"),
            ("FIXED", 1, "NO_RIGHT"),
            ("NONE", 1, "UNKNOWN_ASSET"),
        ],
    )
    def test_burns_that_are_refused(self, chain: Chain, symbol: str, amount: int, expected: str) -> None:
        issue(chain, ALICE, "FIXED", 10, NOTHING)
        assert code_of(chain.send(ALICE, Asset.burn, symbol, Motes(amount))) == expected


class TestPayments:
    def test_sending_an_issued_asset(self, chain: Chain) -> None:
        receipt = chain.send(ALICE, Asset.send, "PARK", BOB.address, Motes(40))
        assert told(receipt) == [("Sent", ("PARK", ALICE.address, BOB.address, 40))]
        assert (money(chain, ALICE, "PARK"), money(chain, BOB, "PARK")) == ((860, 0, 0), (40, 0, 0))
        assert (money(chain, ALICE), money(chain, BOB)) == ((1_000, 0, 0), (0, 0, 0))

    def test_sending_datr_is_a_transfer(self, chain: Chain) -> None:
        by_symbol = told(chain.send(ALICE, Asset.send, "DATR", BOB.address, Motes(40)))
        assert by_symbol == told(chain.send(ALICE, Asset.transfer, BOB.address, Motes(40)))

    @pytest.mark.parametrize(
        ("symbol", "to", "amount", "expected"),
        [
            ("PARK", BOB.address, 0, "BAD_AMOUNT"),
            ("PARK", BOB.address, 901, "INSUFFICIENT_FUNDS"),
            ("PARK", KEEPER, 1, "BAD_RECIPIENT"),
            ("NONE", BOB.address, 1, "INSUFFICIENT_FUNDS"),
        ],
    )
    def test_sendings_that_are_refused(self, chain: Chain, symbol: str, to: Any, amount: int, expected: str) -> None:
        assert code_of(chain.send(ALICE, Asset.send, symbol, to, Motes(amount))) == expected

    @pytest.mark.parametrize(("symbol", "event"), [("DATR", "Transferred"), ("PARK", "Sent")])
    def test_a_batch_pays_everybody(self, chain: Chain, symbol: str, event: str) -> None:
        """Also somebody twice, and the payer itself."""
        payments = tuple(Payment(who.address, Motes(amount)) for who, amount in ((BOB, 1), (CARL, 2), (BOB, 3), (ALICE, 4)))
        assert [name for name, _ in told(chain.send(ALICE, Asset.transfer_batch, symbol, payments))] == [event] * 4
        assert (money(chain, BOB, symbol), money(chain, CARL, symbol)) == ((4, 0, 0), (2, 0, 0))

    @pytest.mark.parametrize(
        ("payments", "expected"),
        [
            (((BOB.address, 1), (CARL.address, 0)), "BAD_AMOUNT"),
            (((BOB.address, 1), (KEEPER, 1)), "BAD_RECIPIENT"),
            (((BOB.address, 900), (CARL.address, 1)), "INSUFFICIENT_FUNDS"),
            (((BOB.address, 2**64 - 1), (CARL.address, 2**64 - 1)), "INSUFFICIENT_FUNDS"),
        ],
    )
    def test_one_bad_payment_refuses_the_batch(self, chain: Chain, payments: Any, expected: str) -> None:
        before = list(chain.state.iterate())
        batch = tuple(Payment(to, Motes(amount)) for to, amount in payments)
        assert code_of(chain.send(ALICE, Asset.transfer_batch, "PARK", batch)) == expected
        assert list(chain.state.iterate()) == before

    def test_the_largest_batch(self, chain: Chain) -> None:
        batch = tuple(Payment(account(f"b{n}").address, Motes(1)) for n in range(256))
        receipt = chain.send(ALICE, Asset.transfer_batch, "PARK", batch, gas_limit=25_000_000)
        assert len(told(receipt)) == 256
        assert receipt.gas_used < 5_000_000
        for wrong in ((), (*batch, batch[0])):
            with pytest.raises(ContractError, match="argument payments"):
                chain.send(ALICE, Asset.transfer_batch, "PARK", wrong)


class TestAllowances:
    def test_a_spender_sends_what_it_may(self, chain: Chain) -> None:
        receipt = chain.send(ALICE, Asset.approve, "PARK", BOB.address, Motes(100))
        assert told(receipt) == [("Approved", ("PARK", ALICE.address, BOB.address, 100))]
        assert chain.query(Asset.allowance, "PARK", ALICE.address, BOB.address) == 100
        assert told(chain.send(BOB, Asset.transfer_from, "PARK", ALICE.address, CARL.address, Motes(60))) == [
            ("Spent", ("PARK", ALICE.address, BOB.address, 60, 40)),
            ("Sent", ("PARK", ALICE.address, CARL.address, 60)),
        ]
        assert code_of(chain.send(BOB, Asset.transfer_from, "PARK", ALICE.address, CARL.address, Motes(41))) == (
            "INSUFFICIENT_ALLOWANCE"
        )
        told(chain.send(BOB, Asset.transfer_from, "PARK", ALICE.address, BOB.address, Motes(40)))
        assert (money(chain, BOB, "PARK"), money(chain, CARL, "PARK")) == ((40, 0, 0), (60, 0, 0))
        assert stored(chain, "allowances") == {}

    def test_a_new_allowance_replaces_the_old_and_zero_ends_it(self, chain: Chain) -> None:
        for amount in (100, 5):
            told(chain.send(ALICE, Asset.approve, "DATR", BOB.address, Motes(amount)))
        assert code_of(chain.send(BOB, Asset.transfer_from, "DATR", ALICE.address, BOB.address, Motes(6))) == (
            "INSUFFICIENT_ALLOWANCE"
        )
        told(chain.send(ALICE, Asset.approve, "DATR", BOB.address, Motes(0)))
        assert chain.query(Asset.allowance, "DATR", ALICE.address, BOB.address) == 0
        assert stored(chain, "allowances") == {}

    def test_it_is_for_one_asset_one_owner_and_one_spender(self, chain: Chain) -> None:
        told(chain.send(ALICE, Asset.approve, "PARK", BOB.address, Motes(100)))
        for sender, symbol, owner in ((BOB, "DATR", ALICE), (CARL, "PARK", ALICE), (BOB, "PARK", CARL)):
            receipt = chain.send(sender, Asset.transfer_from, symbol, owner.address, sender.address, Motes(1))
            assert code_of(receipt) == "INSUFFICIENT_ALLOWANCE"

    def test_it_promises_no_funds(self, chain: Chain) -> None:
        """It may be larger than the account; a payment that fails leaves it as it was."""
        told(chain.send(ALICE, Asset.approve, "PARK", BOB.address, Motes(2_000)))
        before = list(chain.state.iterate())
        for amount, to, expected in (
            (901, BOB.address, "INSUFFICIENT_FUNDS"),
            (0, BOB.address, "BAD_AMOUNT"),
            (1, KEEPER, "BAD_RECIPIENT"),
        ):
            assert code_of(chain.send(BOB, Asset.transfer_from, "PARK", ALICE.address, to, Motes(amount))) == expected
        assert list(chain.state.iterate()) == before

    def test_a_contract_may_be_the_spender(self, chain: Chain) -> None:
        told(chain.send(ALICE, Asset.approve, "PARK", KEEPER, Motes(7)))
        names = [name for name, _ in told(chain.send(CARL, Keeper.spend, "PARK", ALICE.address, KEEPER, Motes(7)))]
        assert names == ["Spent", "Sent"]
        assert money(chain, KEEPER, "PARK") == (7, 0, 0)

    @pytest.mark.parametrize(
        ("symbol", "spender", "expected"), [("PARK", ALICE, "NOT_PERMITTED"), ("NONE", BOB, "UNKNOWN_ASSET")]
    )
    def test_allowances_that_are_refused(self, chain: Chain, symbol: str, spender: Account, expected: str) -> None:
        assert code_of(chain.send(ALICE, Asset.approve, symbol, spender.address, Motes(1))) == expected


class TestHolds:
    def test_a_hold_carries_its_asset(self, chain: Chain) -> None:
        deadline_ms = chain.context.timestamp_ms + 60_000
        receipt = chain.send(ALICE, Keeper.hold, "PARK", ALICE.address, Motes(300), deadline_ms)
        hold_id = result_of(receipt)
        assert told(receipt) == [("Held", (hold_id, ALICE.address, KEEPER, "kept", 300, deadline_ms, "PARK"))]
        assert chain.query(Asset.get_hold, hold_id) == Hold(ALICE.address, KEEPER, "kept", Motes(300), deadline_ms, "PARK")
        assert (money(chain, ALICE, "PARK"), money(chain, ALICE)) == ((600, 300, 0), (1_000, 0, 0))
        receipt = chain.send(CARL, Keeper.capture, hold_id, Motes(100), BOB.address)
        assert told(receipt) == [("Captured", (hold_id, ALICE.address, BOB.address, 100, 200, "PARK"))]
        assert told(chain.send(CARL, Keeper.release, hold_id)) == [("Released", (hold_id, ALICE.address, 200, "PARK"))]
        assert (money(chain, ALICE, "PARK"), money(chain, BOB, "PARK")) == ((800, 0, 0), (100, 0, 0))

    def test_an_owner_takes_its_own_back(self, chain: Chain) -> None:
        deadline_ms = chain.context.timestamp_ms + 5_000
        hold_id = result_of(chain.send(ALICE, Asset.hold_asset_for, "PARK", BOB.address, Motes(300), "deposit", deadline_ms))
        chain.advance(10_000)
        assert told(chain.send(ALICE, Asset.reclaim, hold_id)) == [("Released", (hold_id, ALICE.address, 300, "PARK"))]
        assert money(chain, ALICE, "PARK") == (900, 0, 0)

    def test_holds_that_are_refused(self, chain: Chain) -> None:
        deadline_ms = chain.context.timestamp_ms + 60_000
        for symbol, holder, amount, expected in (
            ("PARK", BOB.address, 901, "INSUFFICIENT_FUNDS"),
            ("PARK", ALICE.address, 1, "NOT_PERMITTED"),
            ("NONE", BOB.address, 1, "INSUFFICIENT_FUNDS"),
            ("PARK", KEEPER, 1, "BAD_RECIPIENT"),
        ):
            receipt = chain.send(ALICE, Asset.hold_asset_for, symbol, holder, Motes(amount), "x", deadline_ms)
            assert code_of(receipt) == expected
        assert code_of(chain.send(ALICE, Asset.hold_asset, "PARK", ALICE.address, Motes(1), "x", deadline_ms)) == "NOT_PERMITTED"

"""Freezes: what a frozen account can and can not, and who may decide it; and what governance pays out of the fees."""

from dataclasses import replace
from typing import Any

import pytest

from ledger.block import Status
from ledger.policy import contract_address
from ledger.types import Motes
from tests.asset_chain import code_of, founded, money, result_of, stored, told
from tests.asset_toys import Keeper, Steward
from tests.vm_harness import START_MS, Account, Chain, account
from vm.contracts.asset import FEES, Allocation, Asset, Category, Freeze, Payment, Reward, Rights, Schedule

ALICE, BOB, CARL = account("alice"), account("bob"), account("carl")
GOVERNANCE = contract_address("governance")
SOON_MS = 3_600_000
FREEZABLE = Rights(mintable=False, burnable=True, freezable=True, max_supply=None)


@pytest.fixture
def chain() -> Chain:
    """Alice has DATR, also in a pool, and PARK, which bob issued with the right to freeze."""
    made = founded(
        Allocation(ALICE.address, Motes(1_000), Category.IDO, None, None),
        Allocation(ALICE.address, Motes(50), Category.MINING, None, CARL.address),
        Allocation(FEES, Motes(500), Category.OTHER, None, None),
    )
    park = (Allocation(ALICE.address, Motes(100), Category.OTHER, None, None),)
    told(made.send(BOB, Asset.issue, "PARK", "Parking", 2, park, FREEZABLE))
    return made


def freeze(chain: Chain, symbol: str = "DATR", who: Account = ALICE) -> None:
    """Freeze an account by governance."""
    told(chain.send(CARL, Steward.freeze, symbol, who.address, "court order 7"))


class TestFrozen:
    def test_it_is_told_and_kept_and_can_end(self, chain: Chain) -> None:
        height, now_ms = chain.context.height, chain.context.timestamp_ms
        receipt = chain.send(CARL, Steward.freeze, "DATR", ALICE.address, "court order 7")
        assert told(receipt) == [("Frozen", ("DATR", ALICE.address, GOVERNANCE, "court order 7"))]
        assert chain.query(Asset.get_freeze, "DATR", ALICE.address) == Freeze(GOVERNANCE, "court order 7", height, now_ms)
        assert money(chain, ALICE) == (1_000, 0, 50)
        receipt = chain.send(CARL, Steward.unfreeze, "DATR", ALICE.address)
        assert told(receipt) == [("Unfrozen", ("DATR", ALICE.address, GOVERNANCE))]
        assert chain.query(Asset.get_freeze, "DATR", ALICE.address) is None
        assert told(chain.send(ALICE, Asset.transfer, BOB.address, Motes(1_000)))

    def test_its_free_money_cannot_leave(self, chain: Chain) -> None:
        """By every way there is; each attempt leaves the state as it was."""
        deadline_ms = chain.context.timestamp_ms + SOON_MS
        told(chain.send(ALICE, Asset.approve, "DATR", BOB.address, Motes(10)))
        mandate_id = result_of(chain.send(ALICE, Keeper.grant, ALICE.address))
        freeze(chain)
        before = list(chain.state.iterate())
        attempts: list[tuple[Account, Any, tuple[Any, ...]]] = [
            (ALICE, Asset.transfer, (BOB.address, Motes(1))),
            (ALICE, Asset.transfer, (ALICE.address, Motes(1))),
            (ALICE, Asset.send, ("DATR", BOB.address, Motes(1))),
            (ALICE, Asset.transfer_batch, ("DATR", (Payment(BOB.address, Motes(1)),))),
            (ALICE, Asset.hold_for, (BOB.address, Motes(1), "x", deadline_ms)),
            (ALICE, Keeper.hold, ("DATR", ALICE.address, Motes(1), deadline_ms)),
            (ALICE, Asset.approve, ("DATR", BOB.address, Motes(20))),
            (BOB, Asset.transfer_from, ("DATR", ALICE.address, BOB.address, Motes(1))),
            (ALICE, Asset.burn, ("DATR", Motes(1))),
            (CARL, Asset.release_pool, (0, Motes(1), BOB.address, "x")),
            (CARL, Asset.pay_rewards, (0, (Reward(BOB.address, Motes(1), "x"),), "x")),
        ]
        for sender, method, args in attempts:
            assert code_of(chain.send(sender, method, *args)) == "FROZEN", method
        receipt = chain.send(BOB, Keeper.draw, mandate_id, Motes(5), BOB.address)
        assert (result_of(receipt), told(receipt)) == (0, [])
        assert list(chain.state.iterate()) == before

    def test_it_receives(self, chain: Chain) -> None:
        told(chain.send(ALICE, Asset.transfer, BOB.address, Motes(100)))
        freeze(chain)
        told(chain.send(BOB, Asset.transfer, ALICE.address, Motes(100)))
        assert money(chain, ALICE) == (1_000, 0, 50)

    def test_its_holds_are_captured_given_back_and_reclaimed(self, chain: Chain) -> None:
        now_ms = chain.context.timestamp_ms
        kept = result_of(chain.send(ALICE, Keeper.hold, "DATR", ALICE.address, Motes(300), now_ms + SOON_MS))
        short = result_of(chain.send(ALICE, Asset.hold_for, BOB.address, Motes(50), "x", now_ms + 10_000))
        freeze(chain)
        told(chain.send(BOB, Keeper.capture, kept, Motes(100), BOB.address))
        assert (money(chain, ALICE), money(chain, BOB)) == ((650, 250, 50), (100, 0, 0))
        told(chain.send(BOB, Keeper.release, kept))
        chain.advance(20_000)
        told(chain.send(ALICE, Asset.reclaim, short))
        assert money(chain, ALICE) == (900, 0, 50)
        assert code_of(chain.send(ALICE, Asset.transfer, BOB.address, Motes(1))) == "FROZEN"

    def test_its_scheduled_money_is_released_into_the_frozen_account(self) -> None:
        terms = Schedule(START_MS + SOON_MS, 0, Motes(9))
        chain = founded(Allocation(ALICE.address, Motes(9), Category.TEAM, terms, None))
        freeze(chain)
        chain.advance(SOON_MS)
        assert told(chain.block().receipts)[0][0] == "Unlocked"
        assert money(chain, ALICE) == (9, 0, 0)
        assert code_of(chain.send(ALICE, Asset.transfer, BOB.address, Motes(1))) == "FROZEN"

    def test_it_pays_for_gas(self, chain: Chain) -> None:
        told(chain.send(account("treasury"), Asset.transfer, ALICE.address, Motes(10**8)))
        freeze(chain)
        chain.context = replace(chain.context, gas_price_motes=1)
        receipt = chain.send(ALICE, Asset.approve, "DATR", BOB.address, Motes(0))
        assert receipt.status is Status.SUCCEEDED
        assert money(chain, ALICE)[0] == 10**8 + 1_000 - receipt.gas_used
        assert stored(chain, "accounts")["DATR", ALICE.address][3] is True
        receipt = chain.send(ALICE, Asset.transfer, BOB.address, Motes(1))
        assert code_of(receipt) == "FROZEN"

    def test_a_frozen_authority_pays_out_no_pool(self, chain: Chain) -> None:
        """Carl decides on alice's pool; what he might have done with it is what he is frozen for."""
        freeze(chain, who=CARL)
        assert code_of(chain.send(CARL, Asset.release_pool, 0, Motes(5), BOB.address, "for a friend")) == "FROZEN"
        reward = (Reward(BOB.address, Motes(5), "data"),)
        assert code_of(chain.send(CARL, Asset.pay_rewards, 0, reward, "for a friend")) == "FROZEN"

    def test_an_allowance_can_be_ended(self, chain: Chain) -> None:
        told(chain.send(ALICE, Asset.approve, "DATR", BOB.address, Motes(10)))
        freeze(chain)
        told(chain.send(ALICE, Asset.approve, "DATR", BOB.address, Motes(0)))
        assert stored(chain, "allowances") == {}

    def test_only_in_its_asset(self, chain: Chain) -> None:
        freeze(chain, "PARK")
        assert code_of(chain.send(ALICE, Asset.send, "PARK", BOB.address, Motes(1))) == "FROZEN"
        told(chain.send(ALICE, Asset.transfer, BOB.address, Motes(1)))

    def test_an_empty_account_can_be_frozen_before_it_receives(self, chain: Chain) -> None:
        freeze(chain, who=CARL)
        assert money(chain, CARL) == (0, 0, 0)
        told(chain.send(ALICE, Asset.transfer, CARL.address, Motes(5)))
        assert code_of(chain.send(CARL, Asset.transfer, ALICE.address, Motes(5))) == "FROZEN"

    def test_a_thawed_empty_account_leaves_the_state(self, chain: Chain) -> None:
        before = stored(chain, "accounts")
        freeze(chain, who=CARL)
        told(chain.send(CARL, Steward.unfreeze, "DATR", CARL.address))
        assert stored(chain, "accounts") == before
        assert stored(chain, "freezes") == {}


class TestWhoMay:
    def test_the_issuer_of_a_freezable_asset(self, chain: Chain) -> None:
        told(chain.send(BOB, Asset.freeze, "PARK", ALICE.address, "stolen"))
        assert chain.query(Asset.get_freeze, "PARK", ALICE.address).by == BOB.address
        told(chain.send(BOB, Asset.unfreeze, "PARK", ALICE.address))

    def test_nobody_else(self, chain: Chain) -> None:
        told(chain.send(BOB, Asset.issue, "SOFT", "x", 0, (), replace(FREEZABLE, freezable=False, mintable=True)))
        for sender, symbol, expected in (
            (ALICE, "PARK", "NOT_PERMITTED"),
            (BOB, "DATR", "NOT_PERMITTED"),
            (BOB, "SOFT", "NOT_PERMITTED"),
            (BOB, "NONE", "UNKNOWN_ASSET"),
        ):
            assert code_of(chain.send(sender, Asset.freeze, symbol, CARL.address, "x")) == expected
            assert code_of(chain.send(sender, Asset.unfreeze, symbol, CARL.address)) == expected

    def test_an_issuer_does_not_undo_governance(self, chain: Chain) -> None:
        """Not even by having frozen first: governance takes a freeze over."""
        told(chain.send(BOB, Asset.freeze, "PARK", ALICE.address, "first"))
        freeze(chain, "PARK")
        assert chain.query(Asset.get_freeze, "PARK", ALICE.address).by == GOVERNANCE
        assert code_of(chain.send(BOB, Asset.unfreeze, "PARK", ALICE.address)) == "NOT_PERMITTED"
        assert code_of(chain.send(BOB, Asset.freeze, "PARK", ALICE.address, "again")) == "FROZEN"
        told(chain.send(CARL, Steward.unfreeze, "PARK", ALICE.address))
        told(chain.send(ALICE, Asset.send, "PARK", BOB.address, Motes(1)))

    def test_governance_undoes_an_issuer(self, chain: Chain) -> None:
        told(chain.send(BOB, Asset.freeze, "PARK", ALICE.address, "first"))
        told(chain.send(CARL, Steward.unfreeze, "PARK", ALICE.address))

    def test_twice_is_refused(self, chain: Chain) -> None:
        freeze(chain)
        assert code_of(chain.send(CARL, Steward.freeze, "DATR", ALICE.address, "again")) == "FROZEN"
        told(chain.send(CARL, Steward.unfreeze, "DATR", ALICE.address))
        assert code_of(chain.send(CARL, Steward.unfreeze, "DATR", ALICE.address)) == "NOT_FROZEN"


class TestFees:
    def test_governance_pays_out_of_them(self, chain: Chain) -> None:
        receipt = chain.send(CARL, Steward.spend_fees, BOB.address, Motes(200), "audit")
        assert told(receipt) == [("FeesSpent", (BOB.address, 200, "audit"))]
        assert (money(chain, FEES), money(chain, BOB)) == ((300, 0, 0), (200, 0, 0))

    @pytest.mark.parametrize(
        ("to", "amount", "purpose", "expected"),
        [
            (BOB.address, 501, "audit", "INSUFFICIENT_FUNDS"),
            (BOB.address, 0, "audit", "BAD_AMOUNT"),
            (bytes(33), 1, "audit", "BAD_RECIPIENT"),
            (BOB.address, 1, " ", "NO_PURPOSE"),
        ],
    )
    def test_spendings_that_are_refused(self, chain: Chain, to: Any, amount: int, purpose: str, expected: str) -> None:
        assert code_of(chain.send(CARL, Steward.spend_fees, to, Motes(amount), purpose)) == expected

    def test_nobody_else_may(self, chain: Chain) -> None:
        assert code_of(chain.send(CARL, Asset.spend_fees, CARL.address, Motes(1), "mine")) == "NOT_PERMITTED"

    def test_fees_that_blocks_collect_can_be_spent(self, chain: Chain) -> None:
        told(chain.send(account("treasury"), Asset.transfer, ALICE.address, Motes(10**8)))
        chain.context = replace(chain.context, fee_account=FEES, gas_price_motes=1)
        used = chain.send(ALICE, Asset.transfer, BOB.address, Motes(1)).gas_used
        chain.context = replace(chain.context, gas_price_motes=0)
        told(chain.send(CARL, Steward.spend_fees, BOB.address, Motes(500 + used), "all of it"))
        assert money(chain, FEES) == (0, 0, 0)

"""Locked money: released by the calendar on its day, or by decisions that everybody can see."""

from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from genesis import presets
from ledger.block import ReceiptKind
from ledger.types import MOTES_PER_DATR, Motes
from tests.asset_chain import code_of, founded, money, result_of, told
from tests.vm_harness import START_MS, Chain, account
from vm.context import Machine
from vm.contracts.asset import Allocation, Asset, Category, PoolRelease, Reward, Schedule
from vm.contracts.asset_locks import LATEST_MS, months_later, releases_by
from vm.contracts.schedule import Schedule as Calendar
from vm.errors import ContractError

ALICE, BOB, CARL = account("alice"), account("bob"), account("carl")
DAY_MS = 86_400_000
GENESIS_MS = START_MS - 1_000


def at(iso: str) -> int:
    """Return a time in Unix milliseconds."""
    return int(datetime.fromisoformat(iso).replace(tzinfo=UTC).timestamp() * 1000)


def run_until(chain: Chain, time_ms: int) -> list[tuple[str, tuple[Any, ...]]]:
    """Let a block be stamped so; return what scheduled calls in it told."""
    chain.advance(time_ms - chain.context.timestamp_ms)
    receipts = chain.block().receipts
    assert all(receipt.kind is ReceiptKind.SCHEDULED for receipt in receipts)
    return told(receipts)


def locked(amount: int, first_ms: int, every_months: int, portion: int) -> Chain:
    """Return a chain with one scheduled lock of alice's."""
    terms = Schedule(first_ms, every_months, Motes(portion))
    return founded(Allocation(ALICE.address, Motes(amount), Category.TEAM, terms, None))


class TestMonths:
    @pytest.mark.parametrize(
        ("start", "months", "end"),
        [
            ("2024-01-31T12:30:00", 1, "2024-02-29T12:30:00"),
            ("2024-02-29T23:59:59", 48, "2028-02-29T23:59:59"),
            ("2024-02-29T00:00:00", 60, "2029-02-28T00:00:00"),
            ("2024-11-30T06:00:00", 3, "2025-02-28T06:00:00"),
        ],
    )
    def test_the_day_is_kept_where_there_is_one(self, start: str, months: int, end: str) -> None:
        assert months_later(at(start) + 7, months) == at(end) + 7

    @given(
        first_ms=st.integers(0, 4 * 10**12),
        every_months=st.integers(1, 60),
        wait_ms=st.integers(-(10**12), 10**13) | st.integers(-3, 3),
    )
    def test_the_count_of_releases_is_that_of_a_calendar_walked_through(
        self, first_ms: int, every_months: int, wait_ms: int
    ) -> None:
        """The closed form against stepping from release to release; on the last release itself, just before and after it too."""
        schedule = Schedule(first_ms, every_months, Motes(1))
        now_ms, count = first_ms + wait_ms, 0
        while months_later(first_ms, count * every_months) <= now_ms:
            count += 1
        assert releases_by(schedule, now_ms) == count
        due_ms = months_later(first_ms, count * every_months)
        assert [releases_by(schedule, due_ms + shift) for shift in (-1, 0, 1)] == [count, count + 1, count + 1]


class TestCalendar:
    def test_each_month_frees_a_portion_and_the_last_the_rest(self) -> None:
        """From the last day of January on: the day is kept through February, and the end takes what is left."""
        first_ms = at("2024-01-31T09:00:00")
        chain = locked(250, first_ms, 1, 100)
        assert run_until(chain, first_ms - 1) == []
        assert money(chain, ALICE) == (0, 0, 250)
        assert run_until(chain, first_ms) == [("Unlocked", ("DATR", 0, ALICE.address, 100, 150))]
        assert run_until(chain, at("2024-02-29T08:59:59")) == []
        assert run_until(chain, at("2024-02-29T09:00:00")) == [("Unlocked", ("DATR", 0, ALICE.address, 100, 50))]
        assert run_until(chain, at("2024-03-31T08:59:59")) == []
        assert run_until(chain, at("2024-03-31T09:00:00")) == [("Unlocked", ("DATR", 0, ALICE.address, 50, 0))]
        assert money(chain, ALICE) == (250, 0, 0)
        assert chain.query(Calendar.next_due) is None
        [lock] = chain.query(Asset.get_locks)[:1]
        assert (lock.amount, lock.total) == (0, 250)

    def test_a_late_block_catches_up_with_all_that_was_due(self) -> None:
        first_ms = at("2024-01-31T09:00:00")
        chain = locked(250, first_ms, 1, 100)
        assert run_until(chain, at("2024-03-01T00:00:00")) == [("Unlocked", ("DATR", 0, ALICE.address, 200, 50))]
        assert run_until(chain, at("2040-01-01T00:00:00")) == [("Unlocked", ("DATR", 0, ALICE.address, 50, 0))]

    @pytest.mark.parametrize("first_ms", [0, 1, GENESIS_MS])
    def test_what_is_due_at_genesis_comes_with_the_first_block(self, first_ms: int) -> None:
        chain = locked(10, first_ms, 0, 10)
        assert money(chain, ALICE) == (0, 0, 10)
        assert told(chain.block().receipts) == [("Unlocked", ("DATR", 0, ALICE.address, 10, 0))]
        assert money(chain, ALICE) == (10, 0, 0)

    def test_released_money_can_be_spent_in_its_block(self) -> None:
        """What is due comes before the block's transactions."""
        chain = locked(10, START_MS + DAY_MS, 0, 10)
        assert code_of(chain.send(ALICE, Asset.transfer, BOB.address, Motes(1))) == "INSUFFICIENT_FUNDS"
        chain.advance(DAY_MS)
        assert chain.send(ALICE, Asset.transfer, BOB.address, Motes(10)).error is None
        assert money(chain, BOB) == (10, 0, 0)

    def test_nobody_calls_it_by_hand(self) -> None:
        chain = locked(10, START_MS + DAY_MS, 0, 10)
        assert code_of(chain.send(ALICE, Asset.unlock, "DATR", 0)) == "WRONG_KIND"

    def test_the_calendar_opens_no_pool(self) -> None:
        """Nothing asks it to; if something did, money that is released by decision would stay."""
        chain = founded(Allocation(ALICE.address, Motes(10), Category.OPERATION, None, BOB.address))
        machine, entry = Machine(chain.registry, chain.state, chain.context), chain.registry.entry("asset")
        machine.run(entry, entry.spec.methods["unlock"], entry.address, ["DATR", 0])
        assert not machine.storage.overlay.changes

    @pytest.mark.parametrize(
        "terms",
        [
            Schedule(1, 12, Motes(0)),
            Schedule(1, 0, Motes(9)),
            Schedule(1, 1, Motes(1)),
            Schedule(LATEST_MS + 1, 1, Motes(1_000)),
            Schedule(2**64 - 1, 0, Motes(1_000)),
            Schedule(LATEST_MS - DAY_MS, 1, Motes(500)),
            Schedule(1, 2**32 - 1, Motes(500)),
        ],
    )
    def test_a_schedule_must_end_while_there_are_dates(self, terms: Schedule) -> None:
        with pytest.raises(ContractError) as caught:
            locked(1_000, terms.first_ms, terms.every_months, terms.portion)
        assert caught.value.failure_code == "BAD_UNLOCK"

    def test_there_are_at_most_so_many_locks(self) -> None:
        terms = Schedule(START_MS, 0, Motes(1))
        with pytest.raises(ContractError) as caught:
            founded(*(Allocation(ALICE.address, Motes(1), Category.TEAM, terms, None) for _ in range(257)))
        assert caught.value.failure_code == "BAD_UNLOCK"

    def test_all_locks_of_one_day_are_released_on_it(self) -> None:
        terms = Schedule(START_MS + DAY_MS, 0, Motes(1))
        chain = founded(*(Allocation(account(f"a{n}").address, Motes(1), Category.TEAM, terms, None) for n in range(200)))
        assert len(run_until(chain, START_MS + DAY_MS)) == 200


def genesis_chain() -> tuple[Chain, presets.Holders]:
    """Return a chain with DATR's own distribution, and the holders of its parts."""
    holders = presets.Holders(*(account(name).address for name in ("technology", "operation", "foundation", "mining")))
    parts = presets.distribution(holders, ((ALICE.address, presets.part_motes(Category.IDO)),), GENESIS_MS)
    return Chain(genesis=presets.contract_arguments(parts)), holders


class TestTenYears:
    def test_the_distribution_is_released_on_its_calendar(self) -> None:
        """Day by day for ten years: technology 2 % of the total a year after 5 years, the foundation 1 % a quarter after 4."""
        chain, holders = genesis_chain()
        start = datetime.fromtimestamp(GENESIS_MS / 1000, UTC)
        assert (start.month, start.day) == (11, 14)
        percent = 8_000_000 * MOTES_PER_DATR
        technology = {start.replace(year=start.year + years): 2 * percent for years in range(5, 9)}
        foundation = {}
        for quarter in range(15):
            years, month = divmod(start.month - 1 + 3 * quarter, 12)
            foundation[start.replace(year=start.year + 4 + years, month=month + 1)] = percent
        expected = sorted(
            [(day, "technology", amount) for day, amount in technology.items()]
            + [(day, "foundation", amount) for day, amount in foundation.items()]
        )
        names = {holders.technology: "technology", holders.foundation: "foundation"}
        seen = []
        for day in range(1, 3_653):
            stamp_ms = GENESIS_MS + day * DAY_MS
            for name, (symbol, _, owner, amount, _) in run_until(chain, stamp_ms):
                assert (name, symbol) == ("Unlocked", "DATR")
                seen.append((datetime.fromtimestamp(stamp_ms / 1000, UTC), names[owner], amount))
        assert sorted(seen) == expected
        assert (sum(technology.values()), sum(foundation.values())) == (8 * percent, 15 * percent)
        assert money(chain, holders.technology) == (8 * percent, 0, 0)
        assert money(chain, holders.foundation) == (15 * percent, 0, 0)
        assert (money(chain, holders.operation)[2], money(chain, holders.mining)[2]) == (10 * percent, 42 * percent)
        assert chain.query(Calendar.next_due) is None

    def test_the_milliseconds_before_each_release_nothing_moves(self) -> None:
        chain, holders = genesis_chain()
        for lock in chain.query(Asset.get_locks):
            if lock.schedule is not None and lock.owner == holders.foundation:
                assert run_until(chain, lock.schedule.first_ms - 1) == []
                assert len(run_until(chain, lock.schedule.first_ms)) == 1


class TestPools:
    @pytest.fixture
    def chain(self) -> Chain:
        """Pool 0 is alice's and bob decides; lock 1 has a schedule; pool 2 is carl's own."""
        return founded(
            Allocation(ALICE.address, Motes(1_000), Category.OPERATION, None, BOB.address),
            Allocation(ALICE.address, Motes(5), Category.TEAM, Schedule(START_MS * 2, 0, Motes(5)), None),
            Allocation(CARL.address, Motes(9_000), Category.MINING, None, CARL.address),
        )

    def test_a_release_is_paid_told_and_kept(self, chain: Chain) -> None:
        height, now_ms = chain.context.height, chain.context.timestamp_ms
        receipt = chain.send(BOB, Asset.release_pool, 0, Motes(300), CARL.address, "audit of 2025")
        assert result_of(receipt) == 0
        assert told(receipt) == [("PoolReleased", (0, 0, BOB.address, CARL.address, 300, 700, "audit of 2025"))]
        assert (money(chain, ALICE), money(chain, CARL)) == ((0, 0, 705), (300, 0, 9_000))
        kept = PoolRelease(0, BOB.address, CARL.address, Motes(300), 1, "audit of 2025", height, now_ms)
        assert chain.query(Asset.get_release, 0) == kept
        assert chain.query(Asset.get_locks)[0].amount == 700

    def test_the_whole_pool_can_be_released_and_then_nothing(self, chain: Chain) -> None:
        assert result_of(chain.send(BOB, Asset.release_pool, 0, Motes(1_000), BOB.address, "all")) == 0
        assert code_of(chain.send(BOB, Asset.release_pool, 0, Motes(1), BOB.address, "more")) == "BAD_AMOUNT"

    @pytest.mark.parametrize(
        ("sender", "number", "amount", "to", "purpose", "expected"),
        [
            (ALICE, 0, 1, CARL.address, "mine", "NOT_PERMITTED"),
            (BOB, 2, 1, CARL.address, "theirs", "NOT_PERMITTED"),
            (BOB, 0, 0, CARL.address, "nothing", "BAD_AMOUNT"),
            (BOB, 0, 1_001, CARL.address, "too much", "BAD_AMOUNT"),
            (BOB, 0, 1, bytes([1]) + bytes(32), "to a contract", "BAD_RECIPIENT"),
            (BOB, 0, 1, CARL.address, "  ", "NO_PURPOSE"),
            (BOB, 1, 1, CARL.address, "a schedule", "UNKNOWN_POOL"),
            (BOB, 7, 1, CARL.address, "no lock", "UNKNOWN_POOL"),
        ],
    )
    def test_releases_that_are_refused(
        self, chain: Chain, sender: Any, number: int, amount: int, to: Any, purpose: str, expected: str
    ) -> None:
        before = list(chain.state.iterate())
        assert code_of(chain.send(sender, Asset.release_pool, number, Motes(amount), to, purpose)) == expected
        assert list(chain.state.iterate()) == before

    def test_an_empty_purpose_is_no_argument(self, chain: Chain) -> None:
        with pytest.raises(ContractError, match="argument purpose"):
            chain.send(BOB, Asset.release_pool, 0, Motes(1), CARL.address, "")

    def test_rewards_go_to_many_by_one_decision(self, chain: Chain) -> None:
        chain.send(BOB, Asset.release_pool, 0, Motes(1), BOB.address, "first")
        rewards = (Reward(ALICE.address, Motes(10), "trip 1"), Reward(BOB.address, Motes(20), "trip 2"))
        receipt = chain.send(CARL, Asset.pay_rewards, 2, rewards, "week 1")
        assert told(receipt) == [
            ("PoolReleased", (1, 2, CARL.address, None, 30, 8_970, "week 1")),
            ("Rewarded", (1, ALICE.address, 10, "trip 1")),
            ("Rewarded", (1, BOB.address, 20, "trip 2")),
        ]
        assert result_of(receipt) == 1
        assert (money(chain, ALICE), money(chain, BOB), money(chain, CARL)) == ((10, 0, 1_004), (21, 0, 0), (0, 0, 8_970))
        assert [release.payments for release in chain.query(Asset.list_releases, 0)] == [1, 2]

    @pytest.mark.parametrize(
        ("rewards", "expected"),
        [
            ((Reward(ALICE.address, Motes(1), "a"), Reward(ALICE.address, Motes(0), "b")), "BAD_AMOUNT"),
            ((Reward(ALICE.address, Motes(9_000), "a"), Reward(ALICE.address, Motes(1), "b")), "BAD_AMOUNT"),
            ((Reward(ALICE.address, Motes(1), "a"), Reward(bytes(33), Motes(1), "b")), "BAD_RECIPIENT"),  # type: ignore[arg-type]
        ],
    )
    def test_one_bad_reward_refuses_them_all(self, chain: Chain, rewards: Any, expected: str) -> None:
        before = list(chain.state.iterate())
        assert code_of(chain.send(CARL, Asset.pay_rewards, 2, rewards, "week")) == expected
        assert list(chain.state.iterate()) == before

    def test_the_largest_batch_fits_into_a_transaction(self, chain: Chain) -> None:
        """256 rewards with references of 64 characters: within a transaction's bytes, events and gas."""
        rewards = tuple(Reward(account(f"c{n}").address, Motes(1), "r" * 64) for n in range(256))
        receipt = chain.send(CARL, Asset.pay_rewards, 2, rewards, "p" * 256, gas_limit=25_000_000)
        assert len(told(receipt)) == 257
        assert receipt.gas_used < 6_000_000
        with pytest.raises(ContractError, match="argument rewards"):
            chain.send(CARL, Asset.pay_rewards, 2, (*rewards, rewards[0]), "one more")

    def test_releases_are_listed_in_pages(self, chain: Chain) -> None:
        for number in range(66):
            chain.send(BOB, Asset.release_pool, 0, Motes(1), CARL.address, f"release {number}")
        purposes = [release.purpose for release in chain.query(Asset.list_releases, 0)]
        assert purposes == [f"release {number}" for number in range(64)]
        assert [release.purpose for release in chain.query(Asset.list_releases, 64)] == ["release 64", "release 65"]
        assert chain.query(Asset.list_releases, 66) == ()
        with pytest.raises(ContractError, match="no such release"):
            chain.query(Asset.get_release, 66)

"""Locked money of the asset contract: what the calendar releases, and pools that are paid out by decision.

A lock's releases follow from its terms and the time alone: after a delay, or a block that comes late, one call catches up.
"""

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from vm.calendar import DAY_MS, Day, add_months, date_of
from vm.contract import U32, Address, Context, Item, Map, Motes, require
from vm.contracts.asset_accounts import Accounts, require_purpose, require_recipient
from vm.contracts.asset_events import PoolReleased, Rewarded, Unlocked
from vm.contracts.asset_types import (
    DATR,
    MAX_LOCKS,
    MAX_RELEASES,
    PAGE,
    Allocation,
    AssetError,
    Lock,
    PoolRelease,
    Reward,
    Schedule,
    Symbol,
)

LATEST_MS: Final = 253_402_300_799_999
"""The end of the year 9999: no release may be due later, so that every time in a schedule can be shown as a date."""


class Locks(Accounts):
    """The locks of each asset, numbered from 0, and the decisions that paid out of pools, numbered from 0 over all pools."""

    locks: Map[tuple[Symbol, U32], Lock]
    lock_counts: Map[Symbol, U32]
    releases: Map[U32, PoolRelease]
    release_count: Item[U32]

    def _allot(self, symbol: str, allocations: Iterable[Allocation]) -> list[tuple[int, int]]:
        """Give each its allocation. Returns the numbers of the locks that the calendar releases, with their first times."""
        waiting = []
        for item in allocations:
            require(item.amount > 0, AssetError.BAD_AMOUNT, amount=item.amount)
            if item.schedule is None and item.authority is None:
                self._give(symbol, item.address, item.amount)
                continue
            number = self._lock(symbol, item)
            if item.schedule is not None:
                waiting.append((number, item.schedule.first_ms))
        return waiting

    def _lock(self, symbol: str, item: Allocation) -> int:
        """Store locked money and return its number: it needs exactly one way out."""
        schedule = item.schedule
        require((schedule is None) != (item.authority is None), AssetError.BAD_UNLOCK)
        if schedule is not None:
            _check_schedule(schedule, item.amount)
        number = self.lock_counts.get(symbol, 0)
        require(number < MAX_LOCKS, AssetError.BAD_UNLOCK, limit=MAX_LOCKS)
        self.lock_counts[symbol] = number + 1
        self.locks[symbol, number] = Lock(item.address, item.category, item.amount, schedule, item.authority, item.amount)
        self._shift(symbol, item.address, locked=item.amount)
        return number

    def _release_due(self, ctx: Context, symbol: str, number: int) -> int | None:
        """Free what a lock's schedule has released by now. Returns when its next release is due; None: nothing is left."""
        lock = self.locks[symbol, number]
        if lock.schedule is None:
            return None
        count = releases_by(lock.schedule, ctx.now_ms)
        amount = Motes(min(lock.total, count * lock.schedule.portion) - (lock.total - lock.amount))
        left = Motes(lock.amount - amount)
        if amount:
            self.locks[symbol, number] = replace(lock, amount=left)
            self._shift(symbol, lock.owner, free=amount, locked=-amount)
            ctx.emit(Unlocked(symbol, number, lock.owner, amount, left))
        return months_later(lock.schedule.first_ms, count * lock.schedule.every_months) if left else None

    def _release(self, ctx: Context, number: int, amount: Motes, to: Address, purpose: str) -> int:
        """Pay one account out of a pool and return the release's number."""
        require_recipient(ctx, to)
        release = self._decide(ctx, number, amount, to, 1, purpose)
        self._give(DATR, to, amount)
        return release

    def _reward(self, ctx: Context, number: int, rewards: tuple[Reward, ...], purpose: str) -> int:
        """Pay many accounts out of a pool and return the release's number."""
        for reward in rewards:
            require(reward.amount > 0, AssetError.BAD_AMOUNT, amount=reward.amount)
            require_recipient(ctx, reward.to)
        total = Motes(sum(reward.amount for reward in rewards))
        release = self._decide(ctx, number, total, None, len(rewards), purpose)
        for reward in rewards:
            self._give(DATR, reward.to, reward.amount)
            ctx.emit(Rewarded(release, reward.to, reward.amount, reward.reference))
        return release

    def _decide(self, ctx: Context, number: int, amount: Motes, to: Address | None, payments: int, purpose: str) -> int:
        """Take money out of a pool by its authority's decision and keep the decision."""
        lock = self.locks.require((DATR, number), AssetError.UNKNOWN_POOL)
        require(lock.authority is not None, AssetError.UNKNOWN_POOL)
        require(lock.authority == ctx.sender, AssetError.NOT_PERMITTED)
        require_purpose(purpose)
        require(0 < amount <= lock.amount, AssetError.BAD_AMOUNT, amount=amount, locked=lock.amount)
        for account in (lock.owner, ctx.sender):
            self._check_not_frozen(DATR, account)
        left = Motes(lock.amount - amount)
        self.locks[DATR, number] = replace(lock, amount=left)
        self._shift(DATR, lock.owner, locked=-amount)
        release = self.release_count.get(0)
        self.release_count.set(release + 1)
        self.releases[release] = PoolRelease(number, ctx.sender, to, amount, payments, purpose, ctx.height, ctx.now_ms)
        ctx.emit(PoolReleased(release, number, ctx.sender, to, amount, left, purpose))
        return release

    def _locks_of(self, symbol: str) -> tuple[Lock, ...]:
        return tuple([self.locks[symbol, number] for number in range(self.lock_counts.get(symbol, 0))])

    def _releases_from(self, first: int) -> tuple[PoolRelease, ...]:
        stop = min(self.release_count.get(0), first + PAGE)
        return tuple([self.releases[number] for number in range(first, stop)])


def months_later(time_ms: int, months: int) -> int:
    """Return the same UTC day and time `months` later, in Unix milliseconds; the month's last day where it has no such day."""
    day, within_ms = divmod(time_ms, DAY_MS)
    return add_months(Day(day), months) * DAY_MS + within_ms


def releases_by(schedule: Schedule, now_ms: int) -> int:
    """Return how many of a schedule's releases are due by now: release k is due k periods after the first."""
    if now_ms < schedule.first_ms:
        return 0
    if not schedule.every_months:
        return 1
    first, now = date_of(Day(schedule.first_ms // DAY_MS)), date_of(Day(now_ms // DAY_MS))
    periods = (12 * (now.year - first.year) + now.month - first.month) // schedule.every_months
    if months_later(schedule.first_ms, periods * schedule.every_months) > now_ms:  # later in this month
        periods -= 1
    return periods + 1


def _check_schedule(schedule: Schedule, amount: int) -> None:
    """Refuse a schedule that never ends, or not before the calendar that people use does."""
    require(schedule.portion > 0, AssetError.BAD_UNLOCK, portion=0)
    count = -(-amount // schedule.portion)
    require(schedule.every_months > 0 or count == 1, AssetError.BAD_UNLOCK, every_months=0)
    require(count <= MAX_RELEASES, AssetError.BAD_UNLOCK, releases=count, limit=MAX_RELEASES)
    in_time = schedule.first_ms <= LATEST_MS
    last_ms = months_later(schedule.first_ms, (count - 1) * schedule.every_months) if in_time else schedule.first_ms
    require(last_ms <= LATEST_MS, AssetError.BAD_UNLOCK, last_ms=last_ms, limit=LATEST_MS)

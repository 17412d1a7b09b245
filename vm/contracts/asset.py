"""DATR and issued assets: balances, holds, locked money. The one place that moves money; fees and other contracts go through it.

At every point free + held + locked over all accounts equals the supply of each asset. Nothing ever mints DATR: genesis makes it.
Methods without a symbol are about DATR. Here are the entry points; what they do is in `asset_accounts` (money in accounts),
`asset_holds`, `asset_locks` (schedules and pools) and `asset_issuance` (issued assets, allowances, freezes).
"""

from vm.context import Context
from vm.contract import U32, U64, Address, Bytes32, Motes, genesis, read, require, scheduled, write
from vm.contracts.asset_accounts import balance_key, has_keys, require_purpose, require_recipient
from vm.contracts.asset_events import EVENTS, FeesSpent, Granted, Revoked
from vm.contracts.asset_holds import Holds
from vm.contracts.asset_issuance import Issuance
from vm.contracts.asset_types import (
    DATR,
    FEES,
    GOVERNANCE,
    NAME,
    SUPPLY,
    Allocation,
    Allocations,
    AssetError,
    AssetInfo,
    AssetName,
    Balance,
    Category,
    Decimals,
    Freeze,
    Hold,
    Lock,
    Mandate,
    Payment,
    Payments,
    PoolRelease,
    Purpose,
    Reward,
    Rewards,
    Rights,
    Schedule,
    Statement,
    Symbol,
)

__all__ = [
    "DATR",
    "FEES",
    "GOVERNANCE",
    "NAME",
    "SUPPLY",
    "Allocation",
    "Asset",
    "AssetError",
    "AssetInfo",
    "Balance",
    "Category",
    "Freeze",
    "Hold",
    "Lock",
    "Mandate",
    "Payment",
    "PoolRelease",
    "Reward",
    "Rights",
    "Schedule",
    "balance_key",
    "has_keys",
    "pay_as_signer",
]


class Asset(Holds, Issuance, errors=AssetError, events=EVENTS):
    """The native token DATR, 800,000,000 of 10^8 motes each, made at genesis and never more; and assets that anybody issues."""

    @genesis
    def distribute(self, ctx: Context, allocations: tuple[Allocation, ...]) -> None:
        """Create the supply of DATR. Errors: BAD_SUPPLY, BAD_AMOUNT, BAD_UNLOCK."""
        total = sum(item.amount for item in allocations)
        require(total == SUPPLY, AssetError.BAD_SUPPLY, need=SUPPLY, have=total)
        self.supplies[DATR] = SUPPLY
        self._plan_unlocks(ctx, DATR, self._allot(DATR, allocations))

    # ---- payments

    @write
    def transfer(self, ctx: Context, to: Address, amount: Motes) -> None:
        """Send free money of the caller. Errors: BAD_AMOUNT, BAD_RECIPIENT, FROZEN, INSUFFICIENT_FUNDS. Emits Transferred.

        Args:
            to: who receives it: an account with keys (only a contract may pay another contract's account)
            amount: motes, at least 1
        """
        self._pay(ctx, DATR, ctx.sender, to, amount)

    @write
    def send(self, ctx: Context, symbol: Symbol, to: Address, amount: Motes) -> None:
        """As `transfer`, of any asset. Errors: as `transfer`. Emits Sent (Transferred for DATR)."""
        self._pay(ctx, symbol, ctx.sender, to, amount)

    @write
    def transfer_batch(self, ctx: Context, symbol: Symbol, payments: Payments) -> None:
        """Send free money of the caller to up to 256 accounts, to all or to none.

        Errors: as `transfer`. Emits Sent (Transferred for DATR) for each.
        """
        self._pay_all(ctx, symbol, payments)

    @write
    def approve(self, ctx: Context, symbol: Symbol, spender: Address, amount: Motes) -> None:
        """Let `spender` send up to `amount` of the caller's free money, instead of what was allowed before; 0 ends it.

        What is spent of the old allowance before this is executed comes on top: to change one safely, end it first.

        Errors: NOT_PERMITTED (the spender is the caller), UNKNOWN_ASSET, FROZEN. Emits Approved.
        """
        self._approve(ctx, symbol, spender, amount)

    @write
    def transfer_from(self, ctx: Context, symbol: Symbol, owner: Address, to: Address, amount: Motes) -> None:
        """Send free money of `owner` that the caller is allowed to spend.

        Errors: INSUFFICIENT_ALLOWANCE, else as `transfer`. Emits Spent and Sent (Transferred for DATR).
        """
        self._spend(ctx, symbol, owner, amount)
        self._pay(ctx, symbol, owner, to, amount)

    # ---- holds

    @write
    def hold(self, ctx: Context, owner: Address, amount: Motes, purpose: Purpose, deadline_ms: U64) -> Bytes32:
        """Hold money of the transaction's signer for the calling contract. Returns the hold's id.

        Errors: NOT_PERMITTED (called by a key account, or the owner did not sign), BAD_AMOUNT, BAD_DEADLINE, FROZEN,
        INSUFFICIENT_FUNDS. Emits Held.
        """
        return self._hold_of_signer(ctx, Hold(owner, ctx.sender, purpose, amount, deadline_ms))

    @write
    def hold_for(self, ctx: Context, holder: Address, amount: Motes, purpose: Purpose, deadline_ms: U64) -> Bytes32:
        """Hold money of the caller in favour of `holder`. Returns the hold's id.

        Errors: NOT_PERMITTED (the caller is the holder), BAD_RECIPIENT, BAD_AMOUNT, BAD_DEADLINE, FROZEN, INSUFFICIENT_FUNDS.
        Emits Held.
        """
        return self._hold_of_caller(ctx, Hold(ctx.sender, holder, purpose, amount, deadline_ms))

    @write
    def hold_asset(
        self, ctx: Context, symbol: Symbol, owner: Address, amount: Motes, purpose: Purpose, deadline_ms: U64
    ) -> Bytes32:
        """As `hold`, of any asset. Errors: as `hold`. Emits Held."""
        return self._hold_of_signer(ctx, Hold(owner, ctx.sender, purpose, amount, deadline_ms, symbol))

    @write
    def hold_asset_for(
        self, ctx: Context, symbol: Symbol, holder: Address, amount: Motes, purpose: Purpose, deadline_ms: U64
    ) -> Bytes32:
        """As `hold_for`, of any asset. Errors: as `hold_for`. Emits Held."""
        return self._hold_of_caller(ctx, Hold(ctx.sender, holder, purpose, amount, deadline_ms, symbol))

    @write
    def capture(self, ctx: Context, hold_id: Bytes32, amount: Motes, to: Address) -> None:
        """Pay held money out; only its holder may. Until the owner takes it back this also works after the deadline.

        Errors: UNKNOWN_HOLD, NOT_PERMITTED, BAD_AMOUNT, BAD_RECIPIENT. Emits Captured.
        """
        self._capture(ctx, hold_id, amount, to)

    @write
    def release(self, ctx: Context, hold_id: Bytes32) -> None:
        """Give the rest of a hold back to its owner; only its holder may. Errors: UNKNOWN_HOLD, NOT_PERMITTED. Emits Released."""
        self._end(ctx, hold_id, self._held_by(ctx.sender, hold_id))

    @write
    def reclaim(self, ctx: Context, hold_id: Bytes32) -> None:
        """Take one's own hold back after its deadline. Errors: UNKNOWN_HOLD, NOT_PERMITTED, NOT_YET. Emits Released."""
        hold = self.holds.require(hold_id, AssetError.UNKNOWN_HOLD)
        require(hold.owner == ctx.sender, AssetError.NOT_PERMITTED)
        require(ctx.now_ms > hold.deadline_ms, AssetError.NOT_YET, now_ms=ctx.now_ms, deadline_ms=hold.deadline_ms)
        self._end(ctx, hold_id, hold)

    # ---- mandates

    @write
    def grant(self, ctx: Context, owner: Address, purpose: Purpose) -> Bytes32:
        """Let the calling contract draw money of the transaction's signer. Returns the mandate's id.

        Errors: NOT_PERMITTED (called by a key account, or the owner did not sign). Emits Granted.
        """
        require(ctx.sender != ctx.origin and owner == ctx.origin, AssetError.NOT_PERMITTED)
        mandate_id = ctx.new_id()
        self.mandates[mandate_id] = Mandate(owner, ctx.sender, purpose)
        ctx.emit(Granted(mandate_id, owner, ctx.sender, purpose))
        return mandate_id

    @write
    def draw(self, ctx: Context, mandate_id: Bytes32, amount: Motes, to: Address) -> Motes:
        """Pay up to `amount` of the owner's free money under a mandate; only its holder may. Returns what was paid.

        That is nothing where the owner has nothing or is frozen. Errors: UNKNOWN_MANDATE, NOT_PERMITTED, BAD_RECIPIENT.
        Emits Drawn.
        """
        return self._draw(ctx, mandate_id, amount, to)

    @write
    def revoke(self, ctx: Context, mandate_id: Bytes32) -> None:
        """End a mandate; only its holder may. Errors: UNKNOWN_MANDATE, NOT_PERMITTED. Emits Revoked."""
        mandate = self._mandate_of(ctx.sender, mandate_id)
        del self.mandates[mandate_id]
        ctx.emit(Revoked(mandate_id, mandate.owner))

    # ---- locked money

    @scheduled
    def unlock(self, ctx: Context, symbol: Symbol, number: U32) -> None:
        """Free what a lock's schedule has released by now, and come again for the next release. Emits Unlocked."""
        due_ms = self._release_due(ctx, symbol, number)
        if due_ms is not None:
            self._plan_unlocks(ctx, symbol, [(number, due_ms)])

    @write
    def release_pool(self, ctx: Context, number: U32, amount: Motes, to: Address, purpose: Statement) -> U32:
        """Pay out of a pool; only its authority may. The decision is kept for all to see. Returns the release's number.

        Errors: UNKNOWN_POOL, NOT_PERMITTED, NO_PURPOSE, BAD_AMOUNT, BAD_RECIPIENT, FROZEN. Emits PoolReleased.

        Args:
            number: the pool's place in `get_locks`
            purpose: what it is for, in public
        """
        return self._release(ctx, number, amount, to, purpose)

    @write
    def pay_rewards(self, ctx: Context, number: U32, rewards: Rewards, purpose: Statement) -> U32:
        """Pay up to 256 contributors out of a pool, all or none, by one decision. Returns the release's number.

        Errors: as `release_pool`. Emits PoolReleased, and Rewarded for each.

        Args:
            number: the pool's place in `get_locks`
            purpose: what they are for, in public
        """
        return self._reward(ctx, number, rewards, purpose)

    # ---- issued assets

    @write
    def issue(
        self, ctx: Context, symbol: Symbol, name: AssetName, decimals: Decimals, allocations: Allocations, rights: Rights
    ) -> None:
        """Issue a new asset; the caller is its issuer for ever.

        Errors: BAD_SYMBOL, ASSET_EXISTS, MAX_SUPPLY, BAD_SUPPLY (there could never be any), BAD_AMOUNT, BAD_RECIPIENT,
        BAD_UNLOCK, NOT_PERMITTED (CARM is the foundation's). Emits Issued.

        Args:
            symbol: letters A-Z and digits; no other asset may have it
            allocations: what exists at first, in smallest units; locked parts need a schedule
        """
        info = AssetInfo(symbol, name, decimals, ctx.sender, rights)
        self._plan_unlocks(ctx, symbol, self._issue(ctx, info, allocations))

    @write
    def mint(self, ctx: Context, symbol: Symbol, to: Address, amount: Motes) -> None:
        """Make more of an asset; only its issuer may, where it is mintable.

        Errors: UNKNOWN_ASSET, NO_RIGHT, NOT_PERMITTED, BAD_AMOUNT, BAD_RECIPIENT, MAX_SUPPLY. Emits Minted.
        """
        self._mint(ctx, symbol, to, amount)

    @write
    def burn(self, ctx: Context, symbol: Symbol, amount: Motes) -> None:
        """Destroy free money of the caller, where the asset is burnable (DATR is).

        Errors: UNKNOWN_ASSET, NO_RIGHT, BAD_AMOUNT, FROZEN, INSUFFICIENT_FUNDS. Emits Burned.
        """
        self._burn(ctx, symbol, amount)

    # ---- governance

    @write
    def freeze(self, ctx: Context, symbol: Symbol, account: Address, reason: Statement) -> None:
        """Keep free money from leaving an account; governance may, and the issuer where the asset is freezable.

        The account still receives, its holds can still be captured and given back, and it can pay for gas.
        Errors: UNKNOWN_ASSET, NOT_PERMITTED, FROZEN (it is already). Emits Frozen.
        """
        self._freeze(ctx, symbol, account, reason)

    @write
    def unfreeze(self, ctx: Context, symbol: Symbol, account: Address) -> None:
        """Let an account spend again; who froze it may, and governance.

        Errors: UNKNOWN_ASSET, NOT_PERMITTED, NOT_FROZEN. Emits Unfrozen.
        """
        self._unfreeze(ctx, symbol, account)

    @write
    def spend_fees(self, ctx: Context, to: Address, amount: Motes, purpose: Statement) -> None:
        """Pay out of the collected fees; only governance may.

        Errors: NOT_PERMITTED, NO_PURPOSE, BAD_AMOUNT, BAD_RECIPIENT, FROZEN, INSUFFICIENT_FUNDS. Emits FeesSpent.
        """
        require(ctx.sender == GOVERNANCE, AssetError.NOT_PERMITTED)
        require_purpose(purpose)
        require(amount > 0, AssetError.BAD_AMOUNT, amount=amount)
        require_recipient(ctx, to)
        self._take(DATR, FEES, amount)
        self._give(DATR, to, amount)
        ctx.emit(FeesSpent(to, amount, purpose))

    # ---- reading

    @read
    def balance_of(self, address: Address) -> Balance:
        """Return an account's DATR; an account nobody paid yet has none."""
        return self._balance(DATR, address)

    @read
    def balance(self, symbol: Symbol, address: Address) -> Balance:
        """Return what an account has of any asset."""
        return self._balance(symbol, address)

    @read
    def supply(self) -> Motes:
        """Return how much DATR there is in all."""
        return self.supplies.get(DATR, Motes(0))

    @read
    def supply_of(self, symbol: Symbol) -> Motes:
        """Return how much there is of any asset. Errors: UNKNOWN_ASSET."""
        return self.supplies.require(symbol, AssetError.UNKNOWN_ASSET)

    @read
    def get_asset(self, symbol: Symbol) -> AssetInfo:
        """Return what an asset is. Errors: UNKNOWN_ASSET."""
        return self._info(symbol)

    @read
    def list_assets(self, first: U32) -> tuple[AssetInfo, ...]:
        """Return up to 64 issued assets in the order of their issue, from place `first` (0: the oldest) on."""
        return self._infos_from(first)

    @read
    def allowance(self, symbol: Symbol, owner: Address, spender: Address) -> Motes:
        """Return how much of the owner's free money the spender may send."""
        return self.allowances.get((symbol, owner, spender), Motes(0))

    @read
    def get_freeze(self, symbol: Symbol, address: Address) -> Freeze | None:
        """Return why an account is frozen; nothing when it is not."""
        return self.freezes.get((symbol, address))

    @read
    def get_hold(self, hold_id: Bytes32) -> Hold:
        """Return a hold. Errors: UNKNOWN_HOLD (also when it is used up or released)."""
        return self.holds.require(hold_id, AssetError.UNKNOWN_HOLD)

    @read
    def get_mandate(self, mandate_id: Bytes32) -> Mandate:
        """Return a mandate. Errors: UNKNOWN_MANDATE (also when it was revoked)."""
        return self.mandates.require(mandate_id, AssetError.UNKNOWN_MANDATE)

    @read
    def get_locks(self) -> tuple[Lock, ...]:
        """Return all locked DATR with the terms of its release, in the order of genesis, also what was released meanwhile."""
        return self._locks_of(DATR)

    @read
    def get_locks_of(self, symbol: Symbol) -> tuple[Lock, ...]:
        """As `get_locks`, of any asset."""
        return self._locks_of(symbol)

    @read
    def get_release(self, number: U32) -> PoolRelease:
        """Return a decision to pay out of a pool. Errors: UNKNOWN_RELEASE."""
        return self.releases.require(number, AssetError.UNKNOWN_RELEASE)

    @read
    def list_releases(self, first: U32) -> tuple[PoolRelease, ...]:
        """Return up to 64 decisions to pay out of pools, in their order, from number `first` on."""
        return self._releases_from(first)

    def _plan_unlocks(self, ctx: Context, symbol: str, waiting: list[tuple[int, int]]) -> None:
        """Have the calendar make the next release of these locks; one whose time has passed comes at once."""
        for number, due_ms in waiting:
            ctx.schedule(max(due_ms, ctx.now_ms + 1), self.unlock, symbol, number)


def pay_as_signer(ctx: Context, amount: Motes, purpose: str, to: Address) -> None:
    """Pay free money of the signer, who called this contract: a hold, captured at once. Raises as both do."""
    hold_id = ctx.call(Asset.hold, ctx.sender, amount, purpose, ctx.now_ms + 1)
    ctx.call(Asset.capture, hold_id, amount, to)

"""Contracts that act on assets as real ones do: one that stands for governance, and a keeper with holds and mandates."""

from ledger.types import Address, Motes
from vm.contract import U64, Bytes32, Context, Contract, Text, write
from vm.contracts.asset import Asset


class Steward(Contract):
    """Registered as `governance`: does what a decision of the members would do."""

    @write
    def freeze(self, ctx: Context, symbol: Text, account: Address, reason: Text) -> None:
        """Freeze an account."""
        ctx.call(Asset.freeze, symbol, account, reason)

    @write
    def unfreeze(self, ctx: Context, symbol: Text, account: Address) -> None:
        """Unfreeze an account."""
        ctx.call(Asset.unfreeze, symbol, account)

    @write
    def spend_fees(self, ctx: Context, to: Address, amount: Motes, purpose: Text) -> None:
        """Pay out of the fees."""
        ctx.call(Asset.spend_fees, to, amount, purpose)


class Keeper(Contract):
    """Holds and draws the money of those who sign for it, and spends what it was allowed."""

    @write
    def hold(self, ctx: Context, symbol: Text, owner: Address, amount: Motes, deadline_ms: U64) -> Bytes32:
        """Hold any asset of the signer."""
        return ctx.call(Asset.hold_asset, symbol, owner, amount, "kept", deadline_ms)

    @write
    def capture(self, ctx: Context, hold_id: Bytes32, amount: Motes, to: Address) -> None:
        """Pay a hold out."""
        ctx.call(Asset.capture, hold_id, amount, to)

    @write
    def release(self, ctx: Context, hold_id: Bytes32) -> None:
        """Give a hold back."""
        ctx.call(Asset.release, hold_id)

    @write
    def grant(self, ctx: Context, owner: Address) -> Bytes32:
        """Take a mandate of the signer."""
        return ctx.call(Asset.grant, owner, "kept")

    @write
    def draw(self, ctx: Context, mandate_id: Bytes32, amount: Motes, to: Address) -> Motes:
        """Draw under a mandate."""
        return ctx.call(Asset.draw, mandate_id, amount, to)

    @write
    def revoke(self, ctx: Context, mandate_id: Bytes32) -> None:
        """End a mandate."""
        ctx.call(Asset.revoke, mandate_id)

    @write
    def spend(self, ctx: Context, symbol: Text, owner: Address, to: Address, amount: Motes) -> None:
        """Send money that the owner lets this contract spend."""
        ctx.call(Asset.transfer_from, symbol, owner, to, amount)

"""Money put aside in the asset contract: holds that a holder captures or gives back, and mandates to draw."""

from dataclasses import replace

from vm.contract import Address, Bytes32, Context, Map, Motes, require
from vm.contracts.asset_accounts import Accounts, require_recipient
from vm.contracts.asset_events import Captured, Drawn, Held, Released
from vm.contracts.asset_types import DATR, AssetError, Hold, Mandate


class Holds(Accounts):
    """The holds and mandates, with the checks and writes that keep them and the accounts in step."""

    holds: Map[Bytes32, Hold]
    mandates: Map[Bytes32, Mandate]

    def _hold(self, ctx: Context, hold: Hold) -> bytes:
        require(hold.amount > 0, AssetError.BAD_AMOUNT, amount=hold.amount)
        require(hold.deadline_ms > ctx.now_ms, AssetError.BAD_DEADLINE, now_ms=ctx.now_ms, deadline_ms=hold.deadline_ms)
        self._set_aside(hold.symbol, hold.owner, hold.amount)
        hold_id = ctx.new_id()
        self.holds[hold_id] = hold
        ctx.emit(Held(hold_id, hold.owner, hold.holder, hold.purpose, hold.amount, hold.deadline_ms, hold.symbol))
        return hold_id

    def _hold_of_signer(self, ctx: Context, hold: Hold) -> bytes:
        """Hold what belongs to the transaction's signer for the contract that calls."""
        require(ctx.sender != ctx.origin and hold.owner == ctx.origin, AssetError.NOT_PERMITTED)
        return self._hold(ctx, hold)

    def _hold_of_caller(self, ctx: Context, hold: Hold) -> bytes:
        """Hold what belongs to the caller for somebody else."""
        require(hold.holder != ctx.sender, AssetError.NOT_PERMITTED)
        require_recipient(ctx, hold.holder)
        return self._hold(ctx, hold)

    def _held_by(self, holder: Address, hold_id: bytes) -> Hold:
        hold = self.holds.require(hold_id, AssetError.UNKNOWN_HOLD)
        require(hold.holder == holder, AssetError.NOT_PERMITTED)
        return hold

    def _capture(self, ctx: Context, hold_id: bytes, amount: Motes, to: Address) -> None:
        hold = self._held_by(ctx.sender, hold_id)
        require(0 < amount <= hold.amount, AssetError.BAD_AMOUNT, amount=amount, held=hold.amount)
        require_recipient(ctx, to)
        left = Motes(hold.amount - amount)
        if left:
            self.holds[hold_id] = replace(hold, amount=left)
        else:
            del self.holds[hold_id]
        self._shift(hold.symbol, hold.owner, held=-amount)
        self._give(hold.symbol, to, amount)
        ctx.emit(Captured(hold_id, hold.owner, to, amount, left, hold.symbol))

    def _end(self, ctx: Context, hold_id: bytes, hold: Hold) -> None:
        """Give back what is left of a hold."""
        del self.holds[hold_id]
        self._shift(hold.symbol, hold.owner, free=hold.amount, held=-hold.amount)
        ctx.emit(Released(hold_id, hold.owner, hold.amount, hold.symbol))

    def _mandate_of(self, holder: Address, mandate_id: bytes) -> Mandate:
        mandate = self.mandates.require(mandate_id, AssetError.UNKNOWN_MANDATE)
        require(mandate.holder == holder, AssetError.NOT_PERMITTED)
        return mandate

    def _draw(self, ctx: Context, mandate_id: bytes, amount: Motes, to: Address) -> Motes:
        owner = self._mandate_of(ctx.sender, mandate_id).owner
        require_recipient(ctx, to)
        account = self._account(DATR, owner)
        paid = Motes(0) if account.frozen else min(amount, account.free)
        if paid:
            self._take(DATR, owner, paid)
            self._give(DATR, to, paid)
            ctx.emit(Drawn(mandate_id, owner, to, paid))
        return paid

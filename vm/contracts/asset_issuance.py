"""Assets that anybody issues beside DATR, what their issuers and owners may do with them, and allowances to spend."""

import string
from dataclasses import replace
from typing import Final

from ledger.policy import format_address
from vm.contract import U32, Address, Context, Item, Map, Motes, require
from vm.contracts.asset_accounts import require_recipient
from vm.contracts.asset_events import Approved, Burned, Frozen, Issued, Minted, Spent, Unfrozen
from vm.contracts.asset_locks import Locks
from vm.contracts.asset_types import (
    CARM,
    DATR,
    GOVERNANCE,
    MAX_UNITS,
    NATIVE,
    PAGE,
    Allocation,
    AssetError,
    AssetInfo,
    Category,
    Freeze,
    Symbol,
)

_SYMBOL_CHARS: Final = frozenset(string.ascii_uppercase + string.digits)


class Issuance(Locks):
    """The register of issued assets and of allowances."""

    infos: Map[Symbol, AssetInfo]
    symbols: Map[U32, Symbol]
    symbol_count: Item[U32]
    allowances: Map[tuple[Symbol, Address, Address], Motes]

    def _info(self, symbol: str) -> AssetInfo:
        return NATIVE if symbol == DATR else self.infos.require(symbol, AssetError.UNKNOWN_ASSET)

    def _infos_from(self, first: int) -> tuple[AssetInfo, ...]:
        stop = min(self.symbol_count.get(0), first + PAGE)
        return tuple([self.infos[self.symbols[number]] for number in range(first, stop)])

    def _issue(self, ctx: Context, info: AssetInfo, allocations: tuple[Allocation, ...]) -> list[tuple[int, int]]:
        """Register an asset and distribute it. Returns what `_allot` does."""
        symbol, rights = info.symbol, info.rights
        require(_SYMBOL_CHARS.issuperset(symbol), AssetError.BAD_SYMBOL)
        require(symbol != DATR and symbol not in self.infos, AssetError.ASSET_EXISTS)
        if symbol == CARM and (foundation := self._foundation()) is not None:
            require(ctx.sender == foundation, AssetError.NOT_PERMITTED, issuer=format_address(foundation))
        total, most = sum(item.amount for item in allocations), _most(info)
        require(total <= most, AssetError.MAX_SUPPLY, supply=total, limit=most)
        require(total > 0 or (rights.mintable and most > 0), AssetError.BAD_SUPPLY, have=0)
        for item in allocations:
            require_recipient(ctx, item.address)
            require(item.authority is None, AssetError.BAD_UNLOCK)
        self._register(info)
        self.supplies[symbol] = Motes(total)
        waiting = self._allot(symbol, allocations)
        ctx.emit(Issued(symbol, ctx.sender, Motes(total)))
        return waiting

    def _foundation(self) -> Address | None:
        """Return the account that holds the foundation's part of DATR; None on a chain without such a part."""
        return next((lock.owner for lock in self._locks_of(DATR) if lock.category is Category.FOUNDATION), None)

    def _register(self, info: AssetInfo) -> None:
        count = self.symbol_count.get(0)
        self.symbols[count] = info.symbol
        self.symbol_count.set(count + 1)
        self.infos[info.symbol] = info

    def _mint(self, ctx: Context, symbol: str, to: Address, amount: Motes) -> None:
        info = self._info(symbol)
        require(info.rights.mintable, AssetError.NO_RIGHT)
        require(info.issuer == ctx.sender, AssetError.NOT_PERMITTED)
        require(amount > 0, AssetError.BAD_AMOUNT, amount=amount)
        require_recipient(ctx, to)
        supply, most = Motes(self.supplies[symbol] + amount), _most(info)
        require(supply <= most, AssetError.MAX_SUPPLY, supply=supply, limit=most)
        self.supplies[symbol] = supply
        self._give(symbol, to, amount)
        ctx.emit(Minted(symbol, to, amount, supply))

    def _burn(self, ctx: Context, symbol: str, amount: Motes) -> None:
        require(self._info(symbol).rights.burnable, AssetError.NO_RIGHT)
        require(amount > 0, AssetError.BAD_AMOUNT, amount=amount)
        self._take(symbol, ctx.sender, amount)
        self.supplies[symbol] = supply = Motes(self.supplies[symbol] - amount)
        ctx.emit(Burned(symbol, ctx.sender, amount, supply))

    def _approve(self, ctx: Context, symbol: str, spender: Address, amount: Motes) -> None:
        owner = ctx.sender
        require(spender != owner, AssetError.NOT_PERMITTED)
        self._info(symbol)
        if amount:
            self._check_not_frozen(symbol, owner)
            self.allowances[symbol, owner, spender] = amount
        else:
            del self.allowances[symbol, owner, spender]
        ctx.emit(Approved(symbol, owner, spender, amount))

    def _spend(self, ctx: Context, symbol: str, owner: Address, amount: Motes) -> None:
        """Use up the caller's allowance."""
        key = symbol, owner, ctx.sender
        allowed = self.allowances.get(key, Motes(0))
        require(amount <= allowed, AssetError.INSUFFICIENT_ALLOWANCE, need=amount, have=allowed)
        left = Motes(allowed - amount)
        if left:
            self.allowances[key] = left
        else:
            del self.allowances[key]
        ctx.emit(Spent(symbol, owner, ctx.sender, amount, left))

    def _freeze(self, ctx: Context, symbol: str, account: Address, reason: str) -> None:
        self._check_freezer(ctx, symbol)
        known = self.freezes.get((symbol, account))
        overrules = known is not None and ctx.sender == GOVERNANCE != known.by
        require(known is None or overrules, AssetError.FROZEN)
        self.freezes[symbol, account] = Freeze(ctx.sender, reason, ctx.height, ctx.now_ms)
        self._put(symbol, account, replace(self._account(symbol, account), frozen=True))
        ctx.emit(Frozen(symbol, account, ctx.sender, reason))

    def _unfreeze(self, ctx: Context, symbol: str, account: Address) -> None:
        self._check_freezer(ctx, symbol)
        known = self.freezes.require((symbol, account), AssetError.NOT_FROZEN)
        require(ctx.sender in (known.by, GOVERNANCE), AssetError.NOT_PERMITTED)
        del self.freezes[symbol, account]
        self._put(symbol, account, replace(self._account(symbol, account), frozen=False))
        ctx.emit(Unfrozen(symbol, account, ctx.sender))

    def _check_freezer(self, ctx: Context, symbol: str) -> None:
        info = self._info(symbol)
        by_issuer = info.rights.freezable and info.issuer == ctx.sender
        require(by_issuer or ctx.sender == GOVERNANCE, AssetError.NOT_PERMITTED)


def _most(info: AssetInfo) -> int:
    """Return how much of an asset there may ever be."""
    most = info.rights.max_supply
    return MAX_UNITS if most is None else most

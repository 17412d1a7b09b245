"""DATR: balances, holds and locked money. The one place that moves money; fees and every other contract go through it.

Amounts are motes. At every point free + held + locked over all accounts equals the supply, which genesis fixes. Storage is keyed
by the asset's symbol, so that issued assets can live beside the native one.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from ledger.policy import CONTRACT_ACCOUNT, KEY_ACCOUNT, format_address
from ledger.types import MOTES_PER_DATR
from vm.context import NOBODY
from vm.contract import U32, U64, Address, Bounds, Bytes32, Context, Contract, Map, Motes, genesis, read, require, write
from vm.errors import ContractError
from vm.storage import storage_key

NAME: Final = "asset"
DATR: Final = "DATR"
SUPPLY: Final = Motes(800_000_000 * MOTES_PER_DATR)
MAX_LOCKS: Final = 256

Symbol = Annotated[str, Bounds(1, 12)]
Purpose = Annotated[str, Bounds(1, 64)]


class AssetError(StrEnum):
    """Why money does not move."""

    BAD_AMOUNT = "the amount cannot be used here"
    BAD_DEADLINE = "the deadline must lie ahead"
    BAD_RECIPIENT = "nobody could spend what this account receives"
    BAD_SUPPLY = "the allocations must add up to the supply"
    BAD_UNLOCK = "an unlock needs a schedule that can end or an authority, and not both"
    INSUFFICIENT_FUNDS = "the account has too little free money"
    NOT_PERMITTED = "the caller may not do this"
    NOT_YET = "the hold's deadline has not passed"
    UNKNOWN_HOLD = "there is no such hold, or it is used up"
    UNKNOWN_MANDATE = "there is no such mandate, or it was revoked"


class Category(StrEnum):
    """What a genesis allocation is for."""

    IDO = "ido"
    TECHNOLOGY = "technology"
    OPERATION = "operation"
    FOUNDATION = "foundation"
    MINING = "mining"
    OTHER = "other"


@dataclass(frozen=True, slots=True)
class Balance:
    """An account's money.

    Args:
        free: what it may spend
        held: what holds keep for their holders
        locked: what is released later
    """

    free: Motes
    held: Motes
    locked: Motes


@dataclass(frozen=True, slots=True)
class Hold:
    """Money of `owner` that `holder` may capture, or give back.

    Args:
        amount: what is left of it
        deadline_ms: from then on the owner may take it back
    """

    owner: Address
    holder: Address
    purpose: Purpose
    amount: Motes
    deadline_ms: U64


@dataclass(frozen=True, slots=True)
class Mandate:
    """Authority of `holder`, a contract, to draw money that `owner` has free, until the holder revokes it."""

    owner: Address
    holder: Address
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Schedule:
    """When locked money becomes free.

    Args:
        first_ms: the first release, Unix milliseconds
        every_months: months between releases
        portion: the size of each release; the last one takes the rest
    """

    first_ms: U64
    every_months: U32
    portion: Motes


@dataclass(frozen=True, slots=True)
class Lock:
    """Locked money of `owner` and the terms of its release.

    Args:
        amount: what is still locked
        schedule: released by the calendar, or
        authority: released by this account's decision
    """

    owner: Address
    category: Category
    amount: Motes
    schedule: Schedule | None
    authority: Address | None


@dataclass(frozen=True, slots=True)
class Allocation:
    """One part of the genesis distribution: free at once without a schedule or an authority, else locked."""

    address: Address
    amount: Motes
    category: Category
    schedule: Schedule | None
    authority: Address | None


@dataclass(frozen=True, slots=True)
class Transferred:
    """Free money went from one account to another."""

    sender: Address
    recipient: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class Held:
    """Free money of the owner was put aside for the holder."""

    hold_id: Bytes32
    owner: Address
    holder: Address
    purpose: Purpose
    amount: Motes
    deadline_ms: U64


@dataclass(frozen=True, slots=True)
class Captured:
    """Held money was paid out; `left` is still held."""

    hold_id: Bytes32
    owner: Address
    recipient: Address
    amount: Motes
    left: Motes


@dataclass(frozen=True, slots=True)
class Released:
    """The rest of a hold is its owner's free money again."""

    hold_id: Bytes32
    owner: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class Granted:
    """A contract may draw the owner's free money from now on."""

    mandate_id: Bytes32
    owner: Address
    holder: Address
    purpose: Purpose


@dataclass(frozen=True, slots=True)
class Drawn:
    """Free money of the owner was paid under a mandate."""

    mandate_id: Bytes32
    owner: Address
    recipient: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class Revoked:
    """Nothing can be drawn under the mandate any more."""

    mandate_id: Bytes32
    owner: Address


_NOTHING: Final = Balance(Motes(0), Motes(0), Motes(0))


class Asset(Contract, errors=AssetError, events=(Transferred, Held, Captured, Released, Granted, Drawn, Revoked)):
    """The native token DATR: 800,000,000 of 10^8 motes each, made at genesis and never more."""

    accounts: Map[tuple[Symbol, Address], Balance]
    supplies: Map[Symbol, Motes]
    holds: Map[Bytes32, Hold]
    mandates: Map[Bytes32, Mandate]
    locks: Map[U32, Lock]
    lock_counts: Map[Symbol, U32]

    @genesis
    def distribute(self, allocations: tuple[Allocation, ...]) -> None:
        """Create the supply. Errors: BAD_SUPPLY, BAD_AMOUNT, BAD_UNLOCK."""
        total = sum(item.amount for item in allocations)
        require(total == SUPPLY, AssetError.BAD_SUPPLY, need=SUPPLY, have=total)
        for item in allocations:
            require(item.amount > 0, AssetError.BAD_AMOUNT, amount=item.amount)
            if item.schedule is None and item.authority is None:
                self._give(item.address, item.amount)
            else:
                self._lock(item)
        self.supplies[DATR] = SUPPLY

    @write
    def transfer(self, ctx: Context, to: Address, amount: Motes) -> None:
        """Send free money of the caller. Errors: BAD_AMOUNT, BAD_RECIPIENT, INSUFFICIENT_FUNDS. Emits Transferred.

        Args:
            to: who receives it: an account with keys (only a contract may pay another contract's account)
            amount: motes, at least 1
        """
        require(amount > 0, AssetError.BAD_AMOUNT, amount=amount)
        _require_recipient(ctx, to)
        self._take(ctx.sender, amount)
        self._give(to, amount)
        ctx.emit(Transferred(ctx.sender, to, amount))

    @write
    def hold(self, ctx: Context, owner: Address, amount: Motes, purpose: Purpose, deadline_ms: U64) -> Bytes32:
        """Hold money of the transaction's signer for the calling contract. Returns the hold's id.

        Errors: NOT_PERMITTED (called by a key account, or the owner did not sign), BAD_AMOUNT, BAD_DEADLINE, INSUFFICIENT_FUNDS.
        Emits Held.
        """
        require(ctx.sender != ctx.origin and owner == ctx.origin, AssetError.NOT_PERMITTED)
        return self._hold(ctx, Hold(owner, ctx.sender, purpose, amount, deadline_ms))

    @write
    def hold_for(self, ctx: Context, holder: Address, amount: Motes, purpose: Purpose, deadline_ms: U64) -> Bytes32:
        """Hold money of the caller in favour of `holder`. Returns the hold's id.

        Errors: NOT_PERMITTED (the caller is the holder), BAD_RECIPIENT, BAD_AMOUNT, BAD_DEADLINE, INSUFFICIENT_FUNDS. Emits Held.
        """
        require(holder != ctx.sender, AssetError.NOT_PERMITTED)
        _require_recipient(ctx, holder)
        return self._hold(ctx, Hold(ctx.sender, holder, purpose, amount, deadline_ms))

    @write
    def capture(self, ctx: Context, hold_id: Bytes32, amount: Motes, to: Address) -> None:
        """Pay held money out; only its holder may. Until the owner takes it back this also works after the deadline.

        Errors: UNKNOWN_HOLD, NOT_PERMITTED, BAD_AMOUNT, BAD_RECIPIENT. Emits Captured.
        """
        hold = self._held_by(ctx.sender, hold_id)
        require(0 < amount <= hold.amount, AssetError.BAD_AMOUNT, amount=amount, held=hold.amount)
        _require_recipient(ctx, to)
        left = Motes(hold.amount - amount)
        if left:
            self.holds[hold_id] = replace(hold, amount=left)
        else:
            del self.holds[hold_id]
        self._unhold(hold.owner, amount)
        self._give(to, amount)
        ctx.emit(Captured(hold_id, hold.owner, to, amount, left))

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
        """Pay up to `amount` of the owner's free money under a mandate; only its holder may. Returns what was paid, maybe nothing.

        Errors: UNKNOWN_MANDATE, NOT_PERMITTED, BAD_RECIPIENT. Emits Drawn.
        """
        mandate = self._mandate_of(ctx.sender, mandate_id)
        _require_recipient(ctx, to)
        paid = Motes(min(amount, self.accounts.get((DATR, mandate.owner), _NOTHING).free))
        if paid:
            self._take(mandate.owner, paid)
            self._give(to, paid)
            ctx.emit(Drawn(mandate_id, mandate.owner, to, paid))
        return paid

    @write
    def revoke(self, ctx: Context, mandate_id: Bytes32) -> None:
        """End a mandate; only its holder may. Errors: UNKNOWN_MANDATE, NOT_PERMITTED. Emits Revoked."""
        mandate = self._mandate_of(ctx.sender, mandate_id)
        del self.mandates[mandate_id]
        ctx.emit(Revoked(mandate_id, mandate.owner))

    @read
    def get_mandate(self, mandate_id: Bytes32) -> Mandate:
        """Return a mandate. Errors: UNKNOWN_MANDATE (also when it was revoked)."""
        return self.mandates.require(mandate_id, AssetError.UNKNOWN_MANDATE)

    @read
    def balance_of(self, address: Address) -> Balance:
        """Return an account's money; an account nobody paid yet has none."""
        return self.accounts.get((DATR, address), _NOTHING)

    @read
    def supply(self) -> Motes:
        """Return how much there is in all."""
        return self.supplies.get(DATR, Motes(0))

    @read
    def get_hold(self, hold_id: Bytes32) -> Hold:
        """Return a hold. Errors: UNKNOWN_HOLD (also when it is used up or released)."""
        return self.holds.require(hold_id, AssetError.UNKNOWN_HOLD)

    @read
    def get_locks(self) -> tuple[Lock, ...]:
        """Return all locked money with the terms of its release, in the order of genesis."""
        return tuple(self.locks[number] for number in range(self.lock_counts.get(DATR, 0)))

    def reserve_fee(self, payer: Address, amount: int) -> None:
        """Take what a transaction's gas may cost out of `payer`'s free money. Raises `ContractError` INSUFFICIENT_FUNDS."""
        self._take(payer, amount)

    def pay_fee(self, account: Address, amount: int) -> None:
        """Put reserved gas money into an account: the unused part back to its payer, the fees to the fee account."""
        self._give(account, amount)

    def _take(self, owner: Address, amount: int) -> None:
        balance = self.accounts.get((DATR, owner), _NOTHING)
        if balance.free < amount:
            raise ContractError(AssetError.INSUFFICIENT_FUNDS, account=format_address(owner), need=amount, have=balance.free)
        self._put(owner, Balance(Motes(balance.free - amount), balance.held, balance.locked))

    def _give(self, owner: Address, amount: int) -> None:
        balance = self.accounts.get((DATR, owner), _NOTHING)
        self.accounts[DATR, owner] = Balance(Motes(balance.free + amount), balance.held, balance.locked)

    def _put(self, owner: Address, balance: Balance) -> None:
        """Store a balance that shrank: accounts without money leave the state."""
        if balance == _NOTHING:
            del self.accounts[DATR, owner]
        else:
            self.accounts[DATR, owner] = balance

    def _hold(self, ctx: Context, hold: Hold) -> bytes:
        require(hold.amount > 0, AssetError.BAD_AMOUNT, amount=hold.amount)
        require(hold.deadline_ms > ctx.now_ms, AssetError.BAD_DEADLINE, now_ms=ctx.now_ms, deadline_ms=hold.deadline_ms)
        self._take(hold.owner, hold.amount)
        balance = self.accounts.get((DATR, hold.owner), _NOTHING)
        self.accounts[DATR, hold.owner] = replace(balance, held=Motes(balance.held + hold.amount))
        hold_id = ctx.new_id()
        self.holds[hold_id] = hold
        ctx.emit(Held(hold_id, hold.owner, hold.holder, hold.purpose, hold.amount, hold.deadline_ms))
        return hold_id

    def _held_by(self, holder: Address, hold_id: bytes) -> Hold:
        hold = self.holds.require(hold_id, AssetError.UNKNOWN_HOLD)
        require(hold.holder == holder, AssetError.NOT_PERMITTED)
        return hold

    def _mandate_of(self, holder: Address, mandate_id: bytes) -> Mandate:
        mandate = self.mandates.require(mandate_id, AssetError.UNKNOWN_MANDATE)
        require(mandate.holder == holder, AssetError.NOT_PERMITTED)
        return mandate

    def _unhold(self, owner: Address, amount: int) -> None:
        balance = self.accounts[DATR, owner]
        self._put(owner, replace(balance, held=Motes(balance.held - amount)))

    def _end(self, ctx: Context, hold_id: bytes, hold: Hold) -> None:
        del self.holds[hold_id]
        self._unhold(hold.owner, hold.amount)
        self._give(hold.owner, hold.amount)
        ctx.emit(Released(hold_id, hold.owner, hold.amount))

    def _lock(self, item: Allocation) -> None:
        """Store locked money: it needs exactly one way out."""
        schedule = item.schedule
        ends = schedule is None or (schedule.portion > 0 and (schedule.every_months > 0 or schedule.portion >= item.amount))
        require(ends and (schedule is None) != (item.authority is None), AssetError.BAD_UNLOCK)
        number = self.lock_counts.get(DATR, 0)
        require(number < MAX_LOCKS, AssetError.BAD_UNLOCK, limit=MAX_LOCKS)
        self.lock_counts[DATR] = number + 1
        self.locks[number] = Lock(item.address, item.category, item.amount, schedule, item.authority)
        balance = self.accounts.get((DATR, item.address), _NOTHING)
        self.accounts[DATR, item.address] = replace(balance, locked=Motes(balance.locked + item.amount))


def has_keys(address: Address) -> bool:
    """Return whether signatures can spend what this account receives: not a contract's account, and not the zero-filled one."""
    return address[0] == KEY_ACCOUNT and address != NOBODY


def _require_recipient(ctx: Context, to: Address) -> None:
    """Refuse a slip of the hand that would lose money for ever; a contract knows which contracts it may pay."""
    between_contracts = ctx.sender[0] == to[0] == CONTRACT_ACCOUNT
    require(has_keys(to) or between_contracts, AssetError.BAD_RECIPIENT, account=format_address(to))


def balance_key(address: Address) -> bytes:
    """Return the state key of an account's DATR balance: what a balance proof is asked for."""
    return storage_key(NAME, "accounts", (DATR, address))

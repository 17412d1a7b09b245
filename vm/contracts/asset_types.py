"""What the asset contract stores and takes: amounts, holds, mandates, locks, pools, issued assets. Amounts are in smallest units
of their asset: motes for DATR.
"""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from ledger.policy import contract_address
from ledger.types import MOTES_PER_DATR, Address, Motes
from vm.abi_types import U32, U64, Bounds

NAME: Final = "asset"
DATR: Final = "DATR"
CARM: Final = "CARM"
"""The foundation's second token: only the account that holds the foundation's part of DATR can issue it."""
DATR_DECIMALS: Final = 8
SUPPLY: Final = Motes(800_000_000 * MOTES_PER_DATR)
MAX_UNITS: Final = Motes(2**64 - 1)
MAX_LOCKS: Final = 256
MAX_RELEASES: Final = 600
"""How many releases one schedule may have: nobody pays for the calls that the calendar makes."""
MAX_BATCH: Final = 256
PAGE: Final = 64

FEES: Final = contract_address("fees")
"""The account that collects the fees; no contract runs there, governance decides what is paid out of it."""
GOVERNANCE: Final = contract_address("governance")

Symbol = Annotated[str, Bounds(1, 12)]
Purpose = Annotated[str, Bounds(1, 64)]
Statement = Annotated[str, Bounds(1, 256)]
Reference = Annotated[str, Bounds(1, 64)]
AssetName = Annotated[str, Bounds(1, 64)]
Decimals = Annotated[int, Bounds(0, 18)]


class AssetError(StrEnum):
    """Why money does not move."""

    ASSET_EXISTS = "there is an asset of this symbol already"
    BAD_AMOUNT = "the amount cannot be used here"
    BAD_DEADLINE = "the deadline must lie ahead"
    BAD_RECIPIENT = "nobody could spend what this account receives"
    BAD_SUPPLY = "the allocations must add up to the supply"
    BAD_SYMBOL = "a symbol consists of the letters A-Z and digits"
    BAD_UNLOCK = "an unlock needs a schedule that can end or an authority, and not both"
    FROZEN = "the account is frozen"
    INSUFFICIENT_ALLOWANCE = "the owner has allowed less than this"
    INSUFFICIENT_FUNDS = "the account has too little free money"
    MAX_SUPPLY = "there may never be so much of the asset"
    NO_PURPOSE = "the purpose must be stated"
    NO_RIGHT = "the asset was issued without this right"
    NOT_FROZEN = "the account is not frozen"
    NOT_PERMITTED = "the caller may not do this"
    NOT_YET = "the hold's deadline has not passed"
    UNKNOWN_ASSET = "there is no asset of this symbol"
    UNKNOWN_HOLD = "there is no such hold, or it is used up"
    UNKNOWN_MANDATE = "there is no such mandate, or it was revoked"
    UNKNOWN_POOL = "there is no such pool of locked money"
    UNKNOWN_RELEASE = "there is no such release"


class Category(StrEnum):
    """What an allocation is for."""

    IDO = "ido"
    TECHNOLOGY = "technology"
    OPERATION = "operation"
    FOUNDATION = "foundation"
    MINING = "mining"
    COMMUNITY = "community"
    PARTNERSHIP = "partnership"
    TEAM = "team"
    CIRCULATION = "circulation"
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
class Account:
    """An account as the state holds it.

    Args:
        free: what it may spend, unless it is frozen
        held: what holds keep for their holders
        locked: what is released later
        frozen: free money may come but not leave
    """

    free: Motes
    held: Motes
    locked: Motes
    frozen: bool


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
    symbol: Symbol = DATR


@dataclass(frozen=True, slots=True)
class Mandate:
    """Authority of `holder`, a contract, to draw DATR that `owner` has free, until the holder revokes it."""

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
        authority: a pool, released by this account's decision
        total: what was locked at first
    """

    owner: Address
    category: Category
    amount: Motes
    schedule: Schedule | None
    authority: Address | None
    total: Motes


@dataclass(frozen=True, slots=True)
class Allocation:
    """One part of an asset's first distribution: free at once without a schedule or an authority, else locked.

    Args:
        authority: who decides of its release; only DATR's genesis has such pools
    """

    address: Address
    amount: Motes
    category: Category
    schedule: Schedule | None
    authority: Address | None


@dataclass(frozen=True, slots=True)
class PoolRelease:
    """One decision to pay out of a pool, kept for ever.

    Args:
        pool: the number of the lock it came from
        authority: who decided
        to: who received it; nothing for a batch of rewards, whose events name everybody
        payments: to how many accounts it went
        time_ms: the time of its block, Unix milliseconds
    """

    pool: U32
    authority: Address
    to: Address | None
    amount: Motes
    payments: U32
    purpose: Statement
    height: U64
    time_ms: U64


@dataclass(frozen=True, slots=True)
class Payment:
    """One payment of a batch."""

    to: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class Reward:
    """One contributor's part of a batch of rewards.

    Args:
        reference: what it is paid for, in the words of whoever pays
    """

    to: Address
    amount: Motes
    reference: Reference


@dataclass(frozen=True, slots=True)
class Rights:
    """What may happen to an asset after it was issued; nobody can change it.

    Args:
        mintable: its issuer may make more of it
        burnable: owners may destroy what is theirs
        freezable: its issuer may freeze accounts in this asset
        max_supply: how much of it may ever be there at a time; nothing: as much as 2^64 - 1 smallest units
    """

    mintable: bool
    burnable: bool
    freezable: bool
    max_supply: Motes | None


@dataclass(frozen=True, slots=True)
class AssetInfo:
    """What an asset is.

    Args:
        decimals: how many of its digits stand behind the point when people read an amount
        issuer: who issued it; nobody for DATR
    """

    symbol: Symbol
    name: AssetName
    decimals: Decimals
    issuer: Address | None
    rights: Rights


@dataclass(frozen=True, slots=True)
class Freeze:
    """Why the free money of an account cannot leave it.

    Args:
        by: governance, or the asset's issuer
        time_ms: the time of its block, Unix milliseconds
    """

    by: Address
    reason: Statement
    height: U64
    time_ms: U64


Payments = Annotated[tuple[Payment, ...], Bounds(1, MAX_BATCH)]
Rewards = Annotated[tuple[Reward, ...], Bounds(1, MAX_BATCH)]
Allocations = Annotated[tuple[Allocation, ...], Bounds(0, MAX_BATCH)]

NATIVE: Final = AssetInfo(
    DATR, "Datacar", DATR_DECIMALS, None, Rights(mintable=False, burnable=True, freezable=False, max_supply=SUPPLY)
)

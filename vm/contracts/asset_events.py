"""What the asset contract tells. Amounts are in smallest units of their asset; events without a symbol are about DATR."""

from dataclasses import dataclass
from typing import Final

from ledger.types import Address, Motes
from vm.abi_types import U32, U64, Bytes32
from vm.contracts.asset_types import Purpose, Reference, Statement, Symbol


@dataclass(frozen=True, slots=True)
class Transferred:
    """Free DATR went from one account to another."""

    sender: Address
    recipient: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class Sent:
    """Free units of an issued asset went from one account to another."""

    symbol: Symbol
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
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class Captured:
    """Held money was paid out; `left` is still held."""

    hold_id: Bytes32
    owner: Address
    recipient: Address
    amount: Motes
    left: Motes
    symbol: Symbol


@dataclass(frozen=True, slots=True)
class Released:
    """The rest of a hold is its owner's free money again."""

    hold_id: Bytes32
    owner: Address
    amount: Motes
    symbol: Symbol


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


@dataclass(frozen=True, slots=True)
class Unlocked:
    """Locked money became free by its schedule; `left` is still locked."""

    symbol: Symbol
    number: U32
    owner: Address
    amount: Motes
    left: Motes


@dataclass(frozen=True, slots=True)
class PoolReleased:
    """The authority of a pool decided a release; `left` is still in the pool."""

    release: U32
    pool: U32
    authority: Address
    recipient: Address | None
    amount: Motes
    left: Motes
    purpose: Statement


@dataclass(frozen=True, slots=True)
class Rewarded:
    """A contributor received a part of a release."""

    release: U32
    recipient: Address
    amount: Motes
    reference: Reference


@dataclass(frozen=True, slots=True)
class Issued:
    """There is a new asset."""

    symbol: Symbol
    issuer: Address
    supply: Motes


@dataclass(frozen=True, slots=True)
class Minted:
    """The issuer made more of an asset."""

    symbol: Symbol
    recipient: Address
    amount: Motes
    supply: Motes


@dataclass(frozen=True, slots=True)
class Burned:
    """An owner destroyed what was its own."""

    symbol: Symbol
    owner: Address
    amount: Motes
    supply: Motes


@dataclass(frozen=True, slots=True)
class Approved:
    """The spender may spend this much of the owner's free money from now on."""

    symbol: Symbol
    owner: Address
    spender: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class Spent:
    """The spender sent money of the owner; `left` is still allowed."""

    symbol: Symbol
    owner: Address
    spender: Address
    amount: Motes
    left: Motes


@dataclass(frozen=True, slots=True)
class Frozen:
    """Free money of the account cannot leave it any more."""

    symbol: Symbol
    account: Address
    by: Address
    reason: Statement


@dataclass(frozen=True, slots=True)
class Unfrozen:
    """The account may spend its free money again."""

    symbol: Symbol
    account: Address
    by: Address


@dataclass(frozen=True, slots=True)
class FeesSpent:
    """Governance paid out of the collected fees."""

    recipient: Address
    amount: Motes
    purpose: Statement


EVENTS: Final = (
    *(Transferred, Sent, Held, Captured, Released, Granted, Drawn, Revoked, Unlocked, PoolReleased, Rewarded),
    *(Issued, Minted, Burned, Approved, Spent, Frozen, Unfrozen, FeesSpent),
)

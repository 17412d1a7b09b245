"""The distributions of DATR and CARM as data, and what a development network makes of DATR's. Amounts in smallest units. Pure."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from genesis.spec import GenesisError
from ledger.codec import Value
from ledger.errors import invariant
from ledger.parameters import ChainParameters
from ledger.types import MOTES_PER_DATR, Address, Motes
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import SUPPLY, Allocation, Asset, Category, Rights, Schedule
from vm.contracts.asset_locks import months_later
from vm.contracts.asset_types import CARM

DEV_ACCOUNTS: Final = 10
DEV_ACCOUNT_MOTES: Final = Motes(1_000_000 * MOTES_PER_DATR)
DEV_PARAMETERS: Final = ChainParameters(heartbeat_ms=5_000)

CARM_DECIMALS: Final = 8
CARM_SUPPLY: Final = Motes(10_000_000_000 * 10**CARM_DECIMALS)
CARM_RIGHTS: Final = Rights(mintable=False, burnable=True, freezable=False, max_supply=CARM_SUPPLY)
TEAM_MONTHS: Final = 24


@dataclass(frozen=True, slots=True)
class Release:
    """Locked for `after_years` from genesis; then `percent` of the total supply every `every_months` until all is released."""

    after_years: int
    every_months: int
    percent: int


@dataclass(frozen=True, slots=True)
class Part:
    """A part of the supply: free at once, released by the calendar, or (`decided_by`) by the decision of that part's holder."""

    category: Category
    percent: int
    release: Release | None = None
    decided_by: Category | None = None


DISTRIBUTION: Final = (
    Part(Category.IDO, 25),
    Part(Category.TECHNOLOGY, 8, Release(after_years=5, every_months=12, percent=2)),
    Part(Category.OPERATION, 10, decided_by=Category.FOUNDATION),
    Part(Category.FOUNDATION, 15, Release(after_years=4, every_months=3, percent=1)),
    Part(Category.MINING, 42, decided_by=Category.MINING),
)


@dataclass(frozen=True, slots=True)
class Holders:
    """The accounts that hold the locked parts. Payouts of the mining pool are decided by its own account, on chain."""

    technology: Address
    operation: Address
    foundation: Address
    mining: Address

    def of(self, category: Category) -> Address:
        """Return the holder of a locked part."""
        match category:
            case Category.TECHNOLOGY:
                return self.technology
            case Category.OPERATION:
                return self.operation
            case Category.FOUNDATION:
                return self.foundation
            case _:
                invariant(category is Category.MINING, f"{category} has no holder of its own")
                return self.mining


def part_motes(category: Category) -> Motes:
    """Return the size of a part of the distribution."""
    return _percent_motes(next(part.percent for part in DISTRIBUTION if part.category is category))


def distribution(holders: Holders, ido: Sequence[tuple[Address, Motes]], timestamp_ms: int) -> tuple[Allocation, ...]:
    """Return the genesis allocations: the whole supply, the IDO part as given in `ido`. Raises `GenesisError`."""
    need, have = part_motes(Category.IDO), sum(amount for _, amount in ido)
    if need != have:
        raise GenesisError(
            f"the IDO accounts must receive {need} motes together, got {have}",
            path="$.contracts.asset.allocations",
            need=str(need),
            have=str(have),
        )
    free = tuple(Allocation(address, amount, Category.IDO, None, None) for address, amount in ido)
    return free + tuple(_allocate(part, holders, timestamp_ms) for part in DISTRIBUTION if part.category is not Category.IDO)


def dev_ido(accounts: Sequence[Address], faucet: Address) -> tuple[tuple[Address, Motes], ...]:
    """Return the IDO part of a development network: the same for each test account, the rest for the faucet."""
    rest = part_motes(Category.IDO) - len(accounts) * DEV_ACCOUNT_MOTES
    invariant(rest > 0, "the faucet of a development network must not be empty")
    return (*((account, DEV_ACCOUNT_MOTES) for account in accounts), (faucet, Motes(rest)))


def contract_arguments(allocations: tuple[Allocation, ...]) -> dict[str, tuple[Value, ...]]:
    """Return what the contracts' genesis methods take, in canonical form."""
    method = Asset.spec.genesis
    if method is None:
        raise GenesisError("the asset contract has no genesis method", path="$.contracts.asset")
    return {ASSET: method.encode_args((allocations,))}


@dataclass(frozen=True, slots=True)
class CarmHolders:
    """The accounts that receive CARM's parts."""

    foundation: Address
    community: Address
    partnership: Address
    team: Address
    circulation: Address


def carm_distribution(holders: CarmHolders, timestamp_ms: int) -> tuple[Allocation, ...]:
    """Return how CARM is distributed when it is issued: all of it free, but the team's part, released over 24 months."""
    team = _carm_motes(15)
    monthly = Schedule(months_later(timestamp_ms, 1), 1, Motes(-(-team // TEAM_MONTHS)))
    return (
        Allocation(holders.foundation, _carm_motes(20), Category.FOUNDATION, None, None),
        Allocation(holders.community, _carm_motes(15), Category.COMMUNITY, None, None),
        Allocation(holders.partnership, _carm_motes(15), Category.PARTNERSHIP, None, None),
        Allocation(holders.team, team, Category.TEAM, monthly, None),
        Allocation(holders.circulation, _carm_motes(35), Category.CIRCULATION, None, None),
    )


def carm_issue(holders: CarmHolders, timestamp_ms: int) -> tuple[str, str, int, tuple[Allocation, ...], Rights]:
    """Return the arguments of `Asset.issue` for CARM; whoever sends them is its issuer, who can make no more of it."""
    return CARM, CARM, CARM_DECIMALS, carm_distribution(holders, timestamp_ms), CARM_RIGHTS


def _allocate(part: Part, holders: Holders, timestamp_ms: int) -> Allocation:
    schedule = None
    if part.release is not None:
        first_ms = months_later(timestamp_ms, 12 * part.release.after_years)
        schedule = Schedule(first_ms, part.release.every_months, _percent_motes(part.release.percent))
    authority = None if part.decided_by is None else holders.of(part.decided_by)
    return Allocation(holders.of(part.category), _percent_motes(part.percent), part.category, schedule, authority)


def _percent_motes(percent: int) -> Motes:
    return Motes(SUPPLY * percent // 100)


def _carm_motes(percent: int) -> Motes:
    return Motes(CARM_SUPPLY * percent // 100)

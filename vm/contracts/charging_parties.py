"""Who is paid for charging: operators, their stations, and splits with providers and energy suppliers.

A split is agreed before a session begins and never changes. What a partner has of a session's money is its share of all that was
paid so far, rounded down to the mote; the operator has the rest.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Final

from vm.contract import U64, Address, Bounds, Bytes32
from vm.contracts.charging_types import StationId

WHOLE_E4: Final = 10_000
"""All of the money, in shares."""

OperatorId = Annotated[str, Bounds(6, 6)]
PartyName = Annotated[str, Bounds(1, 64)]

_OPERATOR_ID: Final = re.compile(r"[A-Z]{2}\*[A-Z0-9]{3}", re.ASCII)


@dataclass(frozen=True, slots=True)
class Operator:
    """Who runs stations (a CPO in OCPI). Its own account signs for it, and refunds are drawn from that account.

    Args:
        operator_id: country and party, like DE*DTC
        payout: receives the money of its stations that have no payout account of their own
        arbiter: decides disputes of sessions; drivers agree to it when they authorize
    """

    operator_id: OperatorId
    name: PartyName
    payout: Address
    arbiter: Address


@dataclass(frozen=True, slots=True)
class Station:
    """A charging station; its own account signs its reports.

    Args:
        operator: runs it, and sets its tariff
        tariff_id: what it offers now
        payout: receives its money instead of the operator's payout account
        enabled: whether sessions can be authorized there
    """

    station_id: StationId
    operator: Address
    tariff_id: Bytes32
    payout: Address | None = None
    enabled: bool = True


@dataclass(frozen=True, slots=True)
class Share:
    """What a partner receives.

    Args:
        share_e4: parts in 10,000
    """

    account: Address
    share_e4: Annotated[int, Bounds(1, WHOLE_E4)]


@dataclass(frozen=True, slots=True)
class Split:
    """How sessions of a provider's drivers at an operator's stations are paid. In force once every partner has accepted it.

    Args:
        provider: whose customers drive (an EMSP in OCPI)
        supplier: of the energy
        number: counts the operator's splits with that provider from 1
        accepted: who has signed it, besides the operator
        ended: nothing new is authorized under it
    """

    operator: Address
    provider: Share
    supplier: Share | None
    number: U64
    accepted: tuple[Address, ...]
    ended: bool

    @property
    def partners(self) -> tuple[Share, ...]:
        """Return who is paid besides the operator."""
        return (self.provider,) if self.supplier is None else (self.provider, self.supplier)

    @property
    def in_force(self) -> bool:
        """Return whether every partner has accepted it and nobody has ended it."""
        return not self.ended and len(self.accepted) == len(self.partners)


def is_operator_id(text: str) -> bool:
    """Return whether these are a country and a party, like DE*DTC."""
    return _OPERATOR_ID.fullmatch(text) is not None


def portions(amount: int, paid: int, partners: Sequence[Share], received: Sequence[int]) -> list[int]:
    """Return what each partner gets of the next `amount` of a session for which `paid` has been paid so far.

    The operator gets the rest. However many payments there are, each partner ends with its share of the sum, rounded down; where
    the operator's own share is nothing or next to it, payments of single motes may leave a partner one mote short of that.
    """
    parts: list[int] = []
    for partner, had in zip(partners, received, strict=True):
        due = (paid + amount) * partner.share_e4 // WHOLE_E4 - had
        parts.append(min(max(due, 0), amount - sum(parts)))
    return parts


def returns(amount: int, kept: int, partners: Sequence[Share], received: Sequence[int]) -> list[int]:
    """Return what each partner gives back of `amount`, to have its share of what is `kept`; the operator gives the rest."""
    parts: list[int] = []
    for partner, had in zip(partners, received, strict=True):
        over = had - kept * partner.share_e4 // WHOLE_E4
        parts.append(min(max(over, 0), amount - sum(parts)))
    return parts

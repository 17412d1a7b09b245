"""Charge detail records (CDR), and the disputes that end in further ones. Units as in `charging_types`.

A record never changes. One that was wrong is followed by a credit, which is its exact negative, and where something is still due,
by a correction: the sum of a session's records is what it costs.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from ledger.types import Address, Motes
from vm.abi_types import U32, U64, Bounds, Bytes32, SignedMotes
from vm.contracts.charging_parties import OperatorId
from vm.contracts.charging_types import (
    CLOCK_TOLERANCE_MS,
    POINTS_MAX,
    EventTime,
    Flag,
    MeterPoint,
    MeterWh,
    Start,
    StationId,
    Stop,
)
from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX
from vm.tariff import Dimension

READINGS_MAX: Final = POINTS_MAX - 2  # the end of charging and the end of the session are points too

Statement = Annotated[str, Bounds(1, 256)]


class CdrKind(StrEnum):
    """What a charge detail record is for."""

    CHARGE = "CHARGE"
    CREDIT = "CREDIT"
    CORRECTION = "CORRECTION"


class Outcome(StrEnum):
    """How a dispute ended: the report stands, nothing is due, other values count, or nobody decided and the report stands."""

    UPHELD = "UPHELD"
    CREDITED = "CREDITED"
    CORRECTED = "CORRECTED"
    LAPSED = "LAPSED"


@dataclass(frozen=True, slots=True)
class CdrLine:
    """One line of the bill: `quantity` in Wh, seconds or 1, after step_size. A credit's amounts are negative.

    Where a price changed within a Wh or a second, the exact quantity is billed and its nearest whole number kept here.
    """

    dimension: Dimension
    quantity: U64
    price_e4: U32
    excl_vat: SignedMotes
    vat: SignedMotes


@dataclass(frozen=True, slots=True)
class Part:
    """What one account has of a session's money; negative in a credit."""

    account: Address
    amount: SignedMotes


@dataclass(frozen=True, slots=True)
class Cdr:
    """A charge detail record. It never changes; `paid` + `debt` = `total_incl_vat`, and in a CHARGE `paid` + `released` = `held`.

    Args:
        number: counts the operator's records from 1, without a gap
        refers_to: the number of the record that this credits or replaces
        provider: whose customer the driver is
        stop: the station's report, or nothing when the deadline settled the session
        end_s: the end that was priced
        paid: what the operator and its partners have of the total
        debt: what the driver owes of it
        parts: who has how much of `paid`, the operator's payout account first
    """

    number: U64
    session_id: Bytes32
    kind: CdrKind
    refers_to: U64 | None
    issued_ms: U64
    driver: Address
    operator: Address
    operator_id: OperatorId
    provider: Address | None
    station: Address
    station_id: StationId
    tariff_id: Bytes32
    start: Start
    stop: Stop | None
    end_s: EventTime
    energy_wh: U64
    charging_s: U32
    parking_s: U32
    lines: tuple[CdrLine, ...]
    total_excl_vat: SignedMotes
    total_vat: SignedMotes
    total_incl_vat: SignedMotes
    held: Motes
    released: Motes
    paid: SignedMotes
    debt: SignedMotes
    parts: tuple[Part, ...]
    flags: tuple[Flag, ...]


@dataclass(frozen=True, slots=True)
class Measured:
    """What an arbiter found that a session was; its price is that of the agreed tariff. Times are Unix seconds UTC.

    Args:
        readings: of the meter between, where the tariff depends on them
    """

    start_s: EventTime
    meter_start_wh: MeterWh
    charging_end_s: EventTime
    end_s: EventTime
    meter_end_wh: MeterWh
    readings: Annotated[tuple[MeterPoint, ...], Bounds(0, READINGS_MAX)]

    def problem(self, now_ms: int) -> str | None:
        """Return why no session can have been so, or None."""
        times = (self.start_s, *(each.at_s for each in self.readings), self.end_s)
        meters = (self.meter_start_wh, *(each.meter_wh for each in self.readings), self.meter_end_wh)
        if list(times) != sorted(times) or not self.start_s <= self.charging_end_s <= self.end_s:
            return "the times are not in order"
        if list(meters) != sorted(meters):
            return "the meter goes back"
        if self.end_s - self.start_s > SECONDS_MAX or self.meter_end_wh - self.meter_start_wh > ENERGY_WH_MAX:
            return "it is longer or more than a session can be"
        return "it ends in the future" if self.end_s * 1_000 > now_ms + CLOCK_TOLERANCE_MS else None


@dataclass(frozen=True, slots=True)
class Dispute:
    """A disagreement about a session: the last one. What is decided about its bill is final.

    Args:
        opened_by: the driver, the operator, or the station that reported two different ends
        deadline_ms: from then on what was reported stands
        timer: the calendar's entry for that
        outcome: nothing while it is open
        statement: the arbiter's reasons
        final: whether it is about the bill; one that was over while the session still ran leaves its bill open to another
    """

    opened_by: Address
    reason: Statement
    opened_ms: U64
    deadline_ms: U64
    timer: U64 | None
    outcome: Outcome | None
    statement: Annotated[str, Bounds(0, 256)]
    resolved_ms: U64 | None
    final: bool


@dataclass(frozen=True, slots=True)
class RefundDue:
    """What a party still has to give back to a session's driver."""

    account: Address
    amount: Motes


def credited(cdr: Cdr, number: int, issued_ms: int, debt: int, parts: tuple[Part, ...]) -> Cdr:
    """Return the credit of a record: its negative. `debt` and `parts` are what is owed and paid of it when it is credited."""
    return replace(
        cdr,
        number=number,
        kind=CdrKind.CREDIT,
        refers_to=cdr.number,
        issued_ms=issued_ms,
        lines=tuple(replace(line, excl_vat=-line.excl_vat, vat=-line.vat) for line in cdr.lines),
        total_excl_vat=-cdr.total_excl_vat,
        total_vat=-cdr.total_vat,
        total_incl_vat=-cdr.total_incl_vat,
        held=Motes(0),
        released=Motes(0),
        paid=-sum(part.amount for part in parts),
        debt=-debt,
        parts=tuple(Part(part.account, -part.amount) for part in parts),
    )

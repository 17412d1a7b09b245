"""What the charging contract tells: its events, in OCPI's words. Units as in `charging_types`."""

from dataclasses import dataclass
from typing import Annotated, Final

from ledger.types import Address, Motes
from vm.abi_types import U32, U64, Bounds, Bytes32
from vm.contracts.charging_parties import OperatorId, PartyName, Share
from vm.contracts.charging_records import Measured, Outcome, Statement
from vm.contracts.charging_types import EventTime, MeterWh, StationId, Stop, StopReason, TransactionId
from vm.tariff import TARIFF_ID_CHARS_MAX


@dataclass(frozen=True, slots=True)
class OperatorRegistered:
    """An account is an operator now."""

    operator: Address
    operator_id: OperatorId
    name: PartyName
    payout: Address
    arbiter: Address


@dataclass(frozen=True, slots=True)
class OperatorChanged:
    """An operator says this of itself now; sessions that were authorized before keep what it said then."""

    operator: Address
    name: PartyName
    payout: Address
    arbiter: Address


@dataclass(frozen=True, slots=True)
class SplitPublished:
    """An operator offers partners a share of what a provider's drivers pay at its stations."""

    split_id: Bytes32
    operator: Address
    provider: Share
    supplier: Share | None


@dataclass(frozen=True, slots=True)
class SplitAccepted:
    """A partner agreed to a split."""

    split_id: Bytes32
    partner: Address
    in_force: bool


@dataclass(frozen=True, slots=True)
class SplitEnded:
    """Nothing new is authorized under a split."""

    split_id: Bytes32
    by: Address


@dataclass(frozen=True, slots=True)
class TariffPublished:
    """A tariff can be offered by stations from now on."""

    tariff_id: Bytes32
    label: Annotated[str, Bounds(0, TARIFF_ID_CHARS_MAX)]


@dataclass(frozen=True, slots=True)
class StationRegistered:
    """An account is a station now."""

    station: Address
    station_id: StationId
    operator: Address
    tariff_id: Bytes32


@dataclass(frozen=True, slots=True)
class StationInvited:
    """An account may register itself as an operator's station."""

    station: Address
    station_id: StationId
    operator: Address
    tariff_id: Bytes32


@dataclass(frozen=True, slots=True)
class StationSwitched:
    """A station takes new sessions, or none."""

    station: Address
    enabled: bool


@dataclass(frozen=True, slots=True)
class TariffSet:
    """A station offers another tariff; sessions that were authorized before keep theirs."""

    station: Address
    tariff_id: Bytes32


@dataclass(frozen=True, slots=True)
class SessionAuthorized:
    """A driver's money is held for a session at a station. `split_id`: how others than the operator are paid."""

    session_id: Bytes32
    driver: Address
    station: Address
    operator: Address
    provider: Address | None
    split_id: Bytes32 | None
    tariff_id: Bytes32
    held: Motes
    deadline_ms: U64


@dataclass(frozen=True, slots=True)
class SessionStarted:
    """A session began."""

    session_id: Bytes32
    transaction_id: TransactionId
    meter_wh: MeterWh
    at_s: EventTime


@dataclass(frozen=True, slots=True)
class SessionUpdated:
    """A reading counted; these are the session's good values now, and what it costs so far."""

    session_id: Bytes32
    sequence: U32
    energy_wh: U64
    at_s: EventTime
    cost: Motes


@dataclass(frozen=True, slots=True)
class StopRequested:
    """The station should stop: the next interval may cost more than what is held."""

    session_id: Bytes32
    reason: StopReason
    cost: Motes
    held: Motes


@dataclass(frozen=True, slots=True)
class SessionCompleted:
    """A session was settled: `paid` went to the operator and its partners, `released` to the driver, who owes `debt`.

    `cdr` is the number of the operator's record of it.
    """

    session_id: Bytes32
    energy_wh: U64
    total_incl_vat: Motes
    paid: Motes
    released: Motes
    debt: Motes
    cdr: U64


@dataclass(frozen=True, slots=True)
class SessionInvalidated:
    """An authorization ended without a session; nothing is billed."""

    session_id: Bytes32
    released: Motes


@dataclass(frozen=True, slots=True)
class StopDeferred:
    """A session's end is noted, and settled when `missing` more readings have come and no dispute is open, or at its deadline."""

    session_id: Bytes32
    stop: Stop
    missing: U32


@dataclass(frozen=True, slots=True)
class StopDisputed:
    """A station reported a second, different end of a session. No money moved."""

    session_id: Bytes32
    stop: Stop


@dataclass(frozen=True, slots=True)
class StopQuarantined:
    """A station reported an end that changes nothing: of a session not its own, or too late. No money moved."""

    station: Address
    session_id: Bytes32
    stop: Stop


@dataclass(frozen=True, slots=True)
class SettlementLeft:
    """The calendar could not settle a session that was due: pricing it takes more gas. `settle_expired` does, by anybody."""

    session_id: Bytes32


@dataclass(frozen=True, slots=True)
class DebtPaid:
    """A session's debt, or some of it, was paid to the operator and its partners."""

    session_id: Bytes32
    payer: Address
    amount: Motes


@dataclass(frozen=True, slots=True)
class DisputeOpened:
    """A session's money stays where it is until its arbiter has decided, or the deadline has passed."""

    session_id: Bytes32
    opened_by: Address
    arbiter: Address
    reason: Statement
    deadline_ms: U64


@dataclass(frozen=True, slots=True)
class DisputeResolved:
    """A dispute is over: by its arbiter, or (LAPSED) by the calendar. `measured` is what counts now, where that was corrected."""

    session_id: Bytes32
    outcome: Outcome
    measured: Measured | None
    statement: Annotated[str, Bounds(0, 256)]


@dataclass(frozen=True, slots=True)
class SessionCredited:
    """A settled session's record was credited, and where something is still due, another one issued.

    The driver got `refunded` back now, and `refund_owed` is still due to him; he owes `debt`.
    """

    session_id: Bytes32
    credit: U64
    correction: U64 | None
    total_incl_vat: Motes
    refunded: Motes
    refund_owed: Motes
    debt: Motes


@dataclass(frozen=True, slots=True)
class RefundPaid:
    """Part of an owed refund was drawn and paid to the driver."""

    session_id: Bytes32
    amount: Motes
    left: Motes


EVENTS: Final = (
    OperatorRegistered,
    OperatorChanged,
    SplitPublished,
    SplitAccepted,
    SplitEnded,
    TariffPublished,
    StationInvited,
    StationRegistered,
    StationSwitched,
    TariffSet,
    SessionAuthorized,
    SessionStarted,
    SessionUpdated,
    StopRequested,
    SessionCompleted,
    SessionInvalidated,
    StopDeferred,
    StopDisputed,
    StopQuarantined,
    SettlementLeft,
    DebtPaid,
    DisputeOpened,
    DisputeResolved,
    SessionCredited,
    RefundPaid,
)

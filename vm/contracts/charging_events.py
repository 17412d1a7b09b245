"""What the charging contract tells: its events, in OCPI's words. Units as in `charging_types`."""

from dataclasses import dataclass
from typing import Annotated, Final

from ledger.types import Address, Motes
from vm.abi_types import U32, U64, Bounds, Bytes32
from vm.contracts.charging_types import EventTime, MeterWh, StationId, Stop, StopReason, TransactionId
from vm.tariff import TARIFF_ID_CHARS_MAX


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
class TariffSet:
    """A station offers another tariff; sessions that were authorized before keep theirs."""

    station: Address
    tariff_id: Bytes32


@dataclass(frozen=True, slots=True)
class SessionAuthorized:
    """A driver's money is held for a session at a station."""

    session_id: Bytes32
    driver: Address
    station: Address
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
    """A session was settled: `paid` went to the operator, `released` back to the driver, who owes `debt`."""

    session_id: Bytes32
    energy_wh: U64
    total_incl_vat: Motes
    paid: Motes
    released: Motes
    debt: Motes


@dataclass(frozen=True, slots=True)
class SessionInvalidated:
    """An authorization ended without a session; nothing is billed."""

    session_id: Bytes32
    released: Motes


@dataclass(frozen=True, slots=True)
class StopDisputed:
    """A station reported a second, different end of a settled session. No money moved."""

    session_id: Bytes32
    stop: Stop


@dataclass(frozen=True, slots=True)
class StopQuarantined:
    """A station reported the end of a session that is not its own. No money moved."""

    station: Address
    session_id: Bytes32
    stop: Stop


@dataclass(frozen=True, slots=True)
class DebtPaid:
    """A session's debt was paid to the operator."""

    session_id: Bytes32
    payer: Address
    amount: Motes


EVENTS: Final = (
    TariffPublished,
    StationRegistered,
    TariffSet,
    SessionAuthorized,
    SessionStarted,
    SessionUpdated,
    StopRequested,
    SessionCompleted,
    SessionInvalidated,
    StopDisputed,
    StopQuarantined,
    DebtPaid,
)

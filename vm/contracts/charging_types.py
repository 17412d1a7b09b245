"""What the charging contract stores of tariffs and sessions; its limits and its errors.

The words are OCPI's. Energy is in Wh, times are Unix seconds UTC as the station reports them, money is in motes; prices of a
tariff are in 1/10,000 DATR (`_e4`), as in `vm.tariff`.
"""

from dataclasses import dataclass, fields, replace
from enum import StrEnum
from operator import attrgetter
from typing import Annotated, Any, Final

from ledger.codec import encode_trusted
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.types import Address, Motes
from vm.abi_types import I64, U8, U16, U32, U64, Bounds, Bytes32, type_spec
from vm.pricing import ENERGY_WH_MAX, SECONDS_MAX
from vm.tariff import (
    COMPONENTS_MAX,
    CURRENCY_CHARS_MAX,
    ELEMENTS_MAX,
    STEP_SIZE_MAX,
    TARIFF_ID_CHARS_MAX,
    Dimension,
    PriceComponent,
    PriceLimit,
    Tariff,
    TariffElement,
)
from vm.tariff_restrictions import UTC_OFFSET_MINUTES_MAX, Restrictions

STATION_ID_CHARS_MAX: Final = 48
TRANSACTION_ID_CHARS_MAX: Final = 64
DEBT_BYTES: Final = 16
METER_WH_MAX: Final = 10**15  # a lifetime counter
EVENT_S_MAX: Final = 2**40
POINTS_MAX: Final = 64
"""How many of a running session's readings are kept for pricing it."""
AHEAD_MAX: Final = 32
"""How far a reading may be ahead of the last one before which none is missing."""

NOTHING: Final = Motes(0)
DAY_MS: Final = 86_400_000
SESSION_MS: Final = 30 * DAY_MS
"""How long a session may stay open: far longer than a station is ever offline."""
DISPUTE_MS: Final = 30 * DAY_MS
"""How long after its settlement a session can be disputed."""
RESOLVE_MS: Final = 30 * DAY_MS
"""How long an arbiter has; then what was reported stands."""
RECLAIM_MS: Final = SESSION_MS + RESOLVE_MS + 7 * DAY_MS
"""When the driver could take the hold back by himself: a week after any session has ended, disputed or not."""
CLOCK_TOLERANCE_MS: Final = 600_000
"""How far a station's clock and the chain's may be apart."""

StationId = Annotated[str, Bounds(1, STATION_ID_CHARS_MAX)]
TransactionId = Annotated[str, Bounds(1, TRANSACTION_ID_CHARS_MAX)]
StopReason = Annotated[str, Bounds(0, 40)]
Debt = Annotated[bytes, Bounds(DEBT_BYTES, DEBT_BYTES)]  # motes, big-endian: sums of debts outgrow the codec's integers
MeterWh = Annotated[int, Bounds(0, METER_WH_MAX)]
ReportedWh = I64  # whatever a broken meter says; -1 is how stations say that they do not know
EventTime = Annotated[int, Bounds(0, EVENT_S_MAX)]


class ChargingError(StrEnum):
    """Why a charging call is refused."""

    ALREADY_ACCEPTED = "the caller has accepted this split already"
    ALREADY_DISPUTED = "the session was disputed before; there is one dispute of a running session and one of its bill"
    ALREADY_STARTED = "the session was started with other values"
    ARBITER_CHANGED = "the operator names another arbiter now"
    BAD_ARBITER = "the arbiter must have keys and be no party to the session"
    BAD_MEASURED = "no session can have been so"
    BAD_OPERATOR_ID = "an operator's id is its country and party, like DE*DTC"
    BAD_RECIPIENT = "nobody could spend what this account receives"
    BAD_SPLIT = "a split needs different partners besides the operator, and at most all of the money"
    BAD_TARIFF = "the tariff cannot be used"
    DRIVER_IN_DEBT = "the driver owes for an earlier session"
    EVENT_IN_FUTURE = "the event's time lies after the chain's"
    NOT_DISPUTED = "the session is not disputed now"
    NOT_INVITED = "the operator has not invited this station so"
    NOT_PERMITTED = "the caller may not do this"
    NOT_STARTED = "the session has not been started"
    NOT_YET = "the session's deadline has not passed"
    NO_DEBT = "nothing is owed for this session"
    NO_REFUND = "no refund is owed for this session"
    OPERATOR_EXISTS = "this account is an operator already"
    OPERATOR_ID_TAKEN = "another operator has this id"
    READING_MISSING = "a reading is missing before this one: send it first, or if it is lost, the one before it as its number"
    REFUND_OWED = "a party that would be paid owes drivers a refund"
    SESSION_DISPUTED = "the session is disputed; its arbiter decides first"
    SESSION_ENDED = "the session has ended"
    SPLIT_ENDED = "the split was ended, or is older than one that has come into force: the operator may publish it anew"
    STATION_DISABLED = "the station takes no new sessions"
    STATION_EXISTS = "this account is a station already"
    TARIFF_CHANGED = "the station has another tariff now"
    TOO_LATE = "the time for disputing this session is over"
    TOO_MUCH_WORK = "pricing this session takes more gas than the calendar gives"
    UNKNOWN_CDR = "there is no such charge detail record"
    UNKNOWN_OPERATOR = "this account is no operator"
    UNKNOWN_SESSION = "there is no such session"
    UNKNOWN_SPLIT = "there is no such split"
    UNKNOWN_STATION = "this account is no station"
    UNKNOWN_TARIFF = "no such tariff was published"


class SessionStatus(StrEnum):
    """Where a session stands (OCPI SessionStatus)."""

    PENDING = "PENDING"
    ACTIVE = "ACTIVE"
    COMPLETED = "COMPLETED"
    INVALID = "INVALID"


class Flag(StrEnum):
    """What was wrong with a station's reports; the last good values were used instead."""

    METER = "METER"
    CLOCK = "CLOCK"


@dataclass(frozen=True, slots=True)
class ComponentTerms:
    """The price of one dimension.

    Args:
        dimension: FLAT, ENERGY, TIME or PARKING_TIME
        price_e4: 1/10,000 DATR per kWh, per hour, or flat, without VAT
        vat_percent_e4: 1/10,000 percent
        step_size: the billed block in Wh or seconds
    """

    dimension: Dimension
    price_e4: U32
    vat_percent_e4: U32 | None
    step_size: Annotated[int, Bounds(1, STEP_SIZE_MAX)]

    def to_price_with(self) -> PriceComponent:
        """Return the component, unchecked."""
        return PriceComponent(self.dimension, self.price_e4, self.vat_percent_e4, self.step_size)


@dataclass(frozen=True, slots=True)
class RestrictionTerms:
    """When an element applies: all that is stated must hold. Minima are inclusive, maxima exclusive; times and days are local.

    Args:
        start_time_min: minutes of the day
        end_time_min: minutes of the day; over midnight where it is not after the start
        start_day: a date, in days since 1970-01-01
        end_day: a date, in days since 1970-01-01
        min_kwh_e4: 1/10,000 kWh drawn since the session's start
        max_kwh_e4: 1/10,000 kWh drawn since the session's start
        min_power_e4: 1/10,000 kW
        max_power_e4: 1/10,000 kW
        min_duration_s: seconds since the session's start
        max_duration_s: seconds since the session's start
        weekdays: bits of the days it applies on, the lowest for Monday
    """

    start_time_min: U16 | None
    end_time_min: U16 | None
    start_day: U32 | None
    end_day: U32 | None
    min_kwh_e4: U32 | None
    max_kwh_e4: U32 | None
    min_power_e4: U32 | None
    max_power_e4: U32 | None
    min_duration_s: U32 | None
    max_duration_s: U32 | None
    weekdays: U8 | None

    def to_price_with(self) -> Restrictions:
        """Return the restrictions, unchecked."""
        return Restrictions(*_restrictions_of(self))


_restrictions_of: Final = attrgetter(*(each.name for each in fields(RestrictionTerms)))


@dataclass(frozen=True, slots=True)
class ElementTerms:
    """Price components that hold together, always or when the restrictions do."""

    components: Annotated[tuple[ComponentTerms, ...], Bounds(1, COMPONENTS_MAX)]
    restrictions: RestrictionTerms | None = None

    def to_price_with(self) -> TariffElement:
        """Return the element, unchecked."""
        components = tuple([each.to_price_with() for each in self.components])
        return TariffElement(components, None if self.restrictions is None else self.restrictions.to_price_with())


@dataclass(frozen=True, slots=True)
class LimitTerms:
    """A minimum or maximum total in 1/10,000 DATR."""

    excl_vat_e4: U64
    incl_vat_e4: U64 | None

    def to_price_with(self) -> PriceLimit:
        """Return the limit, unchecked."""
        return PriceLimit(self.excl_vat_e4, self.incl_vat_e4)


@dataclass(frozen=True, slots=True)
class TariffTerms:
    """A tariff as the ABI states it: the fields of `vm.tariff.Tariff`, in the same canonical form, and its local time.

    Args:
        label: the operator's own id of it
        preauthorize: what a session holds of the driver's money
        utc_offset_minutes: added to UTC this is the local time that restrictions are about
    """

    label: Annotated[str, Bounds(0, TARIFF_ID_CHARS_MAX)]
    currency: Annotated[str, Bounds(0, CURRENCY_CHARS_MAX)]
    elements: Annotated[tuple[ElementTerms, ...], Bounds(1, ELEMENTS_MAX)]
    min_price: LimitTerms | None
    max_price: LimitTerms | None
    preauthorize: Motes | None
    utc_offset_minutes: Annotated[int, Bounds(-UTC_OFFSET_MINUTES_MAX, UTC_OFFSET_MINUTES_MAX)] = 0

    @classmethod
    def of(cls, tariff: Tariff, utc_offset_minutes: int = 0) -> "TariffTerms":
        """Return the terms of a tariff that `parse_tariff` read, where local time is so far from UTC.

        Raises `BadEncodingError` for an offset of more than 14 hours.
        """
        value: Any = tariff.to_value()
        terms: TariffTerms = _TERMS.decode((*value, utc_offset_minutes))
        return terms

    def check(self) -> None:
        """Raise `BadEncodingError` for terms that contradict themselves.

        Labels price nothing, and whether a letter is printable depends on the Unicode tables of each node's Python.
        """
        _, _, *terms, _ = _TERMS.encode(self)
        Tariff.from_value(("", "", *terms))

    def to_price_with(self) -> Tariff:
        """Return the tariff without its labels, unchecked: what is stored was checked when it was published."""
        return Tariff(
            "",
            "",
            tuple([each.to_price_with() for each in self.elements]),
            None if self.min_price is None else self.min_price.to_price_with(),
            None if self.max_price is None else self.max_price.to_price_with(),
            self.preauthorize,
        )

    @property
    def component_count(self) -> int:
        """Return how many price components there are: what reading and hashing the terms takes grows with it."""
        return sum(len(element.components) for element in self.elements)

    @property
    def restricted_count(self) -> int:
        """Return how many elements have restrictions: 0 means that a session's totals are all that counts."""
        return sum(element.restrictions is not None for element in self.elements)

    def flattened(self) -> "TariffTerms":
        """Return terms that price the same, without what never applies: what sessions are priced with.

        A component does not that stands behind another of its dimension without restrictions. Where nothing is restricted, that
        leaves one for each dimension, whatever was published.
        """
        priced: set[Dimension] = set()
        elements: list[ElementTerms] = []
        for element in self.elements:
            left = tuple(each for each in element.components if each.dimension not in priced)
            if element.restrictions is None:
                priced.update(each.dimension for each in left)
            if left:
                elements.append(replace(element, components=left))
        if not self.restricted_count:
            elements = [ElementTerms(tuple(each for element in elements for each in element.components))]
        return replace(self, label="", currency="", elements=tuple(elements))

    def tariff_id(self) -> bytes:
        """Return the hash that names these very terms: what a driver agrees to cannot change under its id."""
        return digest(Tag.CONTRACT_ID, ZERO_HASH, encode_trusted(("charging", "tariff", _TERMS.encode(self))))


_TERMS: Final[Any] = type_spec(TariffTerms)


@dataclass(frozen=True, slots=True)
class Start:
    """The station's report that a session began."""

    transaction_id: TransactionId
    meter_wh: MeterWh
    at_s: EventTime


@dataclass(frozen=True, slots=True)
class Stop:
    """The station's report that a session ended, as it came: `meter_wh` is -1 where the station does not know.

    Args:
        charging_end_s: when the car stopped drawing energy; it was parked from then on
        readings: how many readings the station has sent of the session
    """

    meter_wh: ReportedWh
    at_s: EventTime
    charging_end_s: EventTime
    reason: StopReason
    readings: U32


@dataclass(frozen=True, slots=True)
class Reading:
    """The station's report of its meter, as it came.

    Args:
        sequence: counts the session's readings from 1
        charging: whether the car was drawing energy until then
    """

    sequence: U32
    meter_wh: ReportedWh
    at_s: EventTime
    charging: bool


@dataclass(frozen=True, slots=True)
class MeterPoint:
    """A good reading of the meter."""

    at_s: EventTime
    meter_wh: MeterWh


@dataclass(frozen=True, slots=True)
class Progress:
    """The last good values of a running session.

    Args:
        sequence: of the last reading that counted, with all before it; 0 is the start
        charging_end_s: until when it is known to have charged
        cost: what it cost until then, including VAT
        points: the earlier readings that the price can depend on; none unless the tariff has restrictions
    """

    sequence: U32
    at_s: EventTime
    meter_wh: MeterWh
    charging_end_s: EventTime
    cost: Motes
    points: Annotated[tuple[MeterPoint, ...], Bounds(0, POINTS_MAX)] = ()


@dataclass(frozen=True, slots=True)
class Session:
    """A charging session. Its id is that of the hold on the driver's money.

    Args:
        operator: ran the station when this was authorized
        payee: receives what no partner does
        arbiter: decides a dispute; the driver agreed to it
        provider: whose customer the driver is, as he says
        split_id: the provider's split with the operator, where they have agreed on one
        tariff_id: what the driver agreed to
        held: what was put aside for it
        deadline_ms: from then on it is settled at its last reading
        owed: what the driver still owes for it
        cancelled_ms: when the driver cancelled it and got the hold back; a start from before that still counts
        disputed: a dispute of it is open
        timer: the calendar's entry for the deadline
        reported: the end, while a reading before it is missing or a dispute is open
        ahead: readings that came before an earlier one, in their order; they count after it
        ended_ms: when it was settled
        paid: what the operator and its partners have for it
        received: what each partner has of that
        records: the numbers of its charge detail records
    """

    driver: Address
    station: Address
    station_id: StationId
    operator: Address
    payee: Address
    arbiter: Address
    provider: Address | None
    split_id: Bytes32 | None
    tariff_id: Bytes32
    held: Motes
    deadline_ms: U64
    status: SessionStatus = SessionStatus.PENDING
    start: Start | None = None
    progress: Progress | None = None
    flags: tuple[Flag, ...] = ()
    owed: Motes = NOTHING
    cancelled_ms: U64 | None = None
    disputed: bool = False
    timer: U64 | None = None
    reported: Stop | None = None
    ended_ms: U64 | None = None
    paid: Motes = NOTHING
    received: tuple[Motes, ...] = ()
    records: tuple[U64, ...] = ()
    ahead: Annotated[tuple[Reading, ...], Bounds(0, AHEAD_MAX)] = ()

    @property
    def has_ended(self) -> bool:
        """Return whether its end was reported, and no reading before that is missing."""
        return self.reported is not None and not self.missing

    @property
    def can_go_on(self) -> bool:
        """Return whether it is the turn of a reading that waits."""
        return self.progress is not None and any(each.sequence == self.progress.sequence + 1 for each in self.ahead[:1])

    @property
    def missing(self) -> int:
        """Return how many readings are missing before its end, as far as that was reported."""
        if self.reported is None or self.progress is None:
            return 0
        return max(0, self.reported.readings - self.progress.sequence - len(self.ahead))


def advance(start: Start, progress: Progress, meter_wh: int, at_s: int) -> tuple[int, int, tuple[Flag, ...]]:
    """Return the meter and time that count after a report of these, and what was wrong with it.

    Neither goes back, nor further from the start than a session can be: then the last good value stays.
    """
    good_meter = progress.meter_wh <= meter_wh <= min(start.meter_wh + ENERGY_WH_MAX, METER_WH_MAX)
    good_time = progress.at_s <= at_s <= start.at_s + SECONDS_MAX
    flags = (*(() if good_meter else (Flag.METER,)), *(() if good_time else (Flag.CLOCK,)))
    return meter_wh if good_meter else progress.meter_wh, at_s if good_time else progress.at_s, flags


def add_flags(flags: tuple[Flag, ...], more: tuple[Flag, ...]) -> tuple[Flag, ...]:
    """Return both, each flag once, in the order of their names."""
    return flags if set(more) <= set(flags) else tuple(sorted({*flags, *more}))

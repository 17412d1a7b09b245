"""What standing orders are made of: what was agreed, where it stands, its periods. Money in motes, times in Unix milliseconds."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from ledger.types import Address, Motes
from vm.abi_types import U16, U32, U64, Bounds
from vm.calendar import Recurrence

RATE_UNIT: Final = 10_000
RETRIES_MAX: Final = 31
RETRY_DAY_MAX: Final = 366
"""How long after its due day a period may be drawn by the calendar: an order that has ended ends some time."""
NOTICE_DAYS_MAX: Final = 366
REFERENCE_CHARS_MAX: Final = 64
UNIT_CHARS_MAX: Final = 16
PERIODS_PAGE_MAX: Final = 100
LAST_MS: Final = 253_402_300_799_999  # the end of the year 9999

OrderTime = Annotated[int, Bounds(0, LAST_MS)]
RetryDays = Annotated[tuple[U16, ...], Bounds(0, RETRIES_MAX)]
NoticeDays = Annotated[int, Bounds(0, NOTICE_DAYS_MAX)]
Reference = Annotated[str, Bounds(0, REFERENCE_CHARS_MAX)]
Unit = Annotated[str, Bounds(0, UNIT_CHARS_MAX)]
PageSize = Annotated[int, Bounds(1, PERIODS_PAGE_MAX)]


class OrderError(StrEnum):
    """Why an order is refused."""

    BAD_AMOUNT = "an order cannot have this amount"
    BAD_END = "the order would end before its first period"
    BAD_RECIPIENT = "the payee must be another account, one with keys"
    BAD_RETRY = "retries come on days after the due day, in order, each once"
    BAD_NOTICE = "only a cancellation with notice has notice days"
    NOT_PERMITTED = "the caller may not do this"
    NOT_ACTIVE = "the order has ended"
    NOTHING_OWED = "nothing of this order is owed"
    NOTHING_TO_REPORT = "the amount of this order is fixed"
    OVER_CAP = "the period would cost more than the payer agreed to"
    UNKNOWN_ORDER = "there is no such order"
    WRONG_PERIOD = "only the period that falls due next can be reported"


class AmountKind(StrEnum):
    """How a period's amount comes about: always the same, a part of a base, or a price times what was counted."""

    FIXED = "fixed"
    PERCENTAGE = "percentage"
    PER_UNIT = "per_unit"


class CancellationRule(StrEnum):
    """How the payer ends an order: at once, some days later, or only together with the payee."""

    ANY_TIME = "any_time"
    NOTICE = "notice"
    AGREEMENT = "agreement"


class OrderStatus(StrEnum):
    """Where an order is: running, through and paid, ended early, or through with something left unpaid."""

    ACTIVE = "active"
    COMPLETED = "completed"
    CANCELLED = "cancelled"
    UNPAID = "unpaid"


@dataclass(frozen=True, slots=True)
class Amount:
    """What a period costs.

    Args:
        price: fixed: of a period; percentage: the base, unless the payee reports another one; per_unit: of one unit
        rate_e4: percentage: the part of the base, in 1/10,000; else 0
        cap: percentage and per_unit: the most that a period may cost; else 0
        unit: per_unit: what is counted, such as kWh or km; else empty
    """

    kind: AmountKind
    price: Motes
    rate_e4: U32
    cap: Motes
    unit: Unit


@dataclass(frozen=True, slots=True)
class Until:
    """When an order is through: at whatever comes first. Without any of them it runs until it is cancelled.

    Args:
        end_ms: nothing falls due later than this
        count: how many periods fall due
        total: how much is asked for in all; the last period takes the rest
    """

    end_ms: OrderTime | None
    count: U32 | None
    total: Motes | None


@dataclass(frozen=True, slots=True)
class Collection:
    """What happens when the payer has too little.

    Args:
        retry_days: days after the due day on which it is tried again, until the next period falls due
        partial: take what is there; else only whole periods are paid
        carry: what stays unpaid is owed on and paid before the later periods; else it lapses
    """

    retry_days: RetryDays
    partial: bool
    carry: bool


@dataclass(frozen=True, slots=True)
class Cancellation:
    """How the payer may end the order; the payee may at any time.

    Args:
        notice_days: what falls due within so many days is still paid; 0 unless the rule is notice
    """

    rule: CancellationRule
    notice_days: NoticeDays


@dataclass(frozen=True, slots=True)
class Terms:
    """What the payer agreed to; it never changes.

    Args:
        every: when a period falls due
        start_ms: the first period falls due at the first such time from here on
        reference: what the payee knows it by: a contract's or customer's number
    """

    payer: Address
    payee: Address
    amount: Amount
    every: Recurrence
    start_ms: OrderTime
    until: Until
    collection: Collection
    cancellation: Cancellation
    reference: Reference


@dataclass(frozen=True, slots=True)
class Attempt:
    """The collection to come.

    Args:
        period: what it is for, counted from 1
        number: 0 when that falls due, then its retries
        at_ms: when it is made
        entry_id: its entry in the calendar
    """

    period: U32
    number: U16
    at_ms: U64
    entry_id: U64


@dataclass(frozen=True, slots=True)
class Progress:
    """How far an order has come; `asked` = `paid` + `lapsed` + what is owed.

    Args:
        period: the last one that fell due; 0 before the first
        due_ms: when it did; before the first, the moment after which that comes
        retry_from_ms: what its retry days count from: later than due_ms by as many whole days as it was collected late
        attempts: how often its collection was tried
        asked: what all periods cost so far
        paid: what the payee received of it
        lapsed: what was given up of it
        reported: what the payee reported for the next period
        end_ms: nothing falls due later; earlier than agreed when it was cancelled
        cancel_asked: the payer asked the payee to agree to the end
        next: the collection to come; none when the order has ended
    """

    status: OrderStatus
    period: U32
    due_ms: U64
    retry_from_ms: U64
    attempts: U16
    asked: Motes
    paid: Motes
    lapsed: Motes
    reported: U64 | None
    end_ms: U64 | None
    cancel_asked: bool
    next: Attempt | None

    @property
    def owed(self) -> Motes:
        """Return what fell due and was neither paid nor given up."""
        return Motes(self.asked - self.paid - self.lapsed)


@dataclass(frozen=True, slots=True)
class Order:
    """A standing order. `owed` is what fell due and was not paid."""

    terms: Terms
    progress: Progress
    owed: Motes


@dataclass(frozen=True, slots=True)
class Due:
    """A period as it is stored. What is paid goes to the oldest ones first, so that what each has got follows from the sum.

    Args:
        quantity: what was reported for it
        asked: what it costs
        before: what all earlier ones cost
        lapsed: what was given up of it
    """

    due_ms: U64
    quantity: U64 | None
    asked: Motes
    before: Motes
    lapsed: Motes


@dataclass(frozen=True, slots=True)
class Period:
    """A period that fell due; `asked` = `paid` + `lapsed` + `owed`."""

    number: U32
    due_ms: U64
    quantity: U64 | None
    asked: Motes
    paid: Motes
    lapsed: Motes
    owed: Motes

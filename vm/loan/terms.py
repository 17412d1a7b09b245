"""What lender and borrower agree on, its due days, and the two formulas of a loan: the instalment and a period's interest.

Amounts are motes, days are local day numbers (`vm.calendar`), the annual rate is in 1/10 basis point: 12 % is 12,000. Ratios stay
exact fractions of integers; each amount of the schedule is rounded half up once, to the loan's minor unit.
"""

from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Annotated, Final, NoReturn

from ledger.codec import INT_MAX
from ledger.errors import BadEncodingError
from ledger.types import MOTES_PER_DATR, Motes
from vm.abi_types import U8, U16, U32, Bounds
from vm.calendar import UTC_OFFSET_MINUTES_MAX, BusinessDays, Day, UtcOffset, add_months, business_day, date_of

INSTALMENTS_MAX: Final = 480  # forty years of months
RATE_UNIT: Final = 100_000  # an annual rate of 100 %, in 1/10 basis point
RATE_MAX: Final = 10 * RATE_UNIT
PRINCIPAL_MAX: Final = 800_000_000 * MOTES_PER_DATR  # all the DATR there is; x 62 days still fits 64 bits
NOTHING: Final = Motes(0)
CENT: Final = Motes(MOTES_PER_DATR // 100)
DAYS_MAX: Final = 366
RETRIES_MAX: Final = 31
LAST_DISBURSEMENT: Final = 2_932_896 - 366 * 41  # the last due day is still before the year 10000
MONTHS_PER_YEAR: Final = 12
_DAYS_30_360: Final = 30

RetryDays = Annotated[tuple[U16, ...], Bounds(0, RETRIES_MAX)]


class DayCount(StrEnum):
    """What part of a year a period is: a twelfth for a month (30/360), or its actual days over 365 or 360."""

    THIRTY_360 = "30/360"
    ACT_365 = "ACT/365"
    ACT_360 = "ACT/360"


class Amortization(StrEnum):
    """What stays equal from one instalment to the next: the whole (an annuity) or its part of the principal."""

    EQUAL_INSTALMENTS = "equal_instalments"
    EQUAL_PRINCIPAL = "equal_principal"


class EarlyPayment(StrEnum):
    """What money beyond everything due pays: the next instalments, the last ones, or principal with a new, lower instalment."""

    NEXT_INSTALMENT = "next_instalment"
    LAST_INSTALMENT = "last_instalment"
    REAMORTISE = "reamortise"


class BadTermsError(BadEncodingError):
    """Terms no loan can have: `bad_terms`, naming the field. As arguments of a call they are as bad as bytes that are none."""

    def __init__(self, field: str, why: str) -> None:
        super().__init__(f"{field} {why}", hint="correct this term and try again", field=field)
        self.reason = "bad_terms"
        self.field = field


@dataclass(frozen=True, slots=True)
class Terms:
    """The terms of a loan. Raises `BadTermsError` for terms that cannot be.

    Args:
        principal: motes lent, a multiple of minor_unit
        annual_rate: in 1/10 basis point (12 % is 12,000)
        instalments: how many; instalment k is due k months after disbursed_on
        disbursed_on: local day on which the money moves
        day_count: how interest counts days
        amortization: equal instalments or equal principal
        principal_grace: first instalments that repay no principal
        interest_grace: first instalments that collect no interest; the next one collects it all
        minor_unit: amounts of the schedule are multiples of it
        instalment_multiple_of: the equal instalment is rounded to it; 0 for none
        due_day: day of the month on which instalments are due; 0 for that of disbursed_on
        business_days: what becomes of a due day on a weekend
        utc_offset_minutes: local time minus UTC
        early_payment: what money beyond everything due pays
        late_fee: motes charged once for an instalment whose principal or interest is unpaid after grace_days
        grace_days: days after the due day before the late fee
        retry_days: days after the due day on which collection is tried again
        default_days: days an instalment is overdue before the lender may call default
        fee_limit: motes of other fees that the lender may charge on one instalment
    """

    principal: Motes
    annual_rate: U32
    instalments: U16
    disbursed_on: U32
    day_count: DayCount
    amortization: Amortization
    principal_grace: U16 = 0
    interest_grace: U16 = 0
    minor_unit: Motes = CENT
    instalment_multiple_of: Motes = NOTHING
    due_day: U8 = 0
    business_days: BusinessDays = BusinessDays.SAME
    utc_offset_minutes: UtcOffset = 0
    early_payment: EarlyPayment = EarlyPayment.NEXT_INSTALMENT
    late_fee: Motes = NOTHING
    grace_days: U16 = 0
    retry_days: RetryDays = ()
    default_days: U16 = 90
    fee_limit: Motes = NOTHING

    def __post_init__(self) -> None:
        self._check_ranges()
        self._check_units()
        days = (0, *self.retry_days)
        if days[-1] > DAYS_MAX or any(later <= earlier for earlier, later in pairwise(days)):
            self._refuse("retry_days", f"must be at most {DAYS_MAX} days after the due day, in order, each once")
        if self._most_owed() > INT_MAX:
            self._refuse("principal", "could come to more, with all interest and fees, than an amount can be")
        if self.due_on(1) <= self.disbursed_on:
            self._refuse("due_day", "would make the first instalment due before the money is there")

    def due_on(self, number: int) -> Day:
        """Return the day instalment `number` (from 1) is due, moved off the weekend as agreed; 0 is the day of disbursement."""
        if number == 0:
            return Day(self.disbursed_on)
        return business_day(add_months(Day(self.disbursed_on), number, self.due_day), self.business_days)

    def interest(self, number: int, balance_days: int) -> tuple[int, int]:
        """Return the exact interest (numerator, denominator, in motes) of `balance_days` motes x days within period `number`.

        A monthly period's share of the year under 30/360 is spread evenly over its actual days.
        """
        numerator = balance_days * self.annual_rate
        match self.day_count:
            case DayCount.ACT_365:
                return numerator, RATE_UNIT * 365
            case DayCount.ACT_360:
                return numerator, RATE_UNIT * 360
            case DayCount.THIRTY_360:
                days = self.due_on(number) - self.due_on(number - 1)
                return numerator * self._days_30_360(number), RATE_UNIT * 360 * days

    def instalment(self, principal: int, count: int) -> int:
        """Return what stays equal over `count` instalments that repay `principal`: the annuity, or the part of the principal.

        The annuity is P*i / (1 - (1+i)^-count) with i = annual/12 for every day count, rounded half up to the minor unit, then to
        the agreed multiple (which equal principal does not have).
        """
        if self.amortization is Amortization.EQUAL_PRINCIPAL:
            return half_up(principal, count, self.minor_unit)
        exact = annuity(principal, self.annual_rate, count)
        amount = half_up(*exact, self.minor_unit)
        return half_up(amount, 1, self.instalment_multiple_of) if self.instalment_multiple_of else amount

    def _days_30_360(self, number: int) -> int:
        """Return the days of a period where every month has 30: 30, but for a first period that ends on another day."""
        if number > 1 or not self.due_day:
            return _DAYS_30_360
        begins = min(date_of(Day(self.disbursed_on)).day, _DAYS_30_360)
        return _DAYS_30_360 + min(self.due_day, _DAYS_30_360) - begins

    def _check_ranges(self) -> None:
        for field, value, low, high in (
            ("principal", self.principal, 1, PRINCIPAL_MAX),
            ("annual_rate", self.annual_rate, 0, RATE_MAX),
            ("instalments", self.instalments, 1, INSTALMENTS_MAX),
            ("disbursed_on", self.disbursed_on, 0, LAST_DISBURSEMENT),
            ("principal_grace", self.principal_grace, 0, self.instalments - 1),
            ("interest_grace", self.interest_grace, 0, self.instalments - 1),
            ("minor_unit", self.minor_unit, 1, PRINCIPAL_MAX),
            ("instalment_multiple_of", self.instalment_multiple_of, 0, PRINCIPAL_MAX),
            ("due_day", self.due_day, 0, 31),
            ("utc_offset_minutes", self.utc_offset_minutes, -UTC_OFFSET_MINUTES_MAX, UTC_OFFSET_MINUTES_MAX),
            ("late_fee", self.late_fee, 0, PRINCIPAL_MAX),
            ("grace_days", self.grace_days, 0, DAYS_MAX),
            ("retry_days", len(self.retry_days), 0, RETRIES_MAX),
            ("default_days", self.default_days, 0, DAYS_MAX),
            ("fee_limit", self.fee_limit, 0, PRINCIPAL_MAX),
        ):
            if not low <= value <= high:
                self._refuse(field, f"must be within {low}..{high}, got {value}")

    def _check_units(self) -> None:
        if self.principal % self.minor_unit:
            self._refuse("principal", f"must be a multiple of the minor unit, {self.minor_unit} motes")
        if self.instalment_multiple_of % self.minor_unit:
            self._refuse("instalment_multiple_of", f"must be a multiple of the minor unit, {self.minor_unit} motes")

    def _most_owed(self) -> int:
        """Return more than can ever be owed: nothing paid, months of 31 days, every rounding up, every fee and late fee."""
        days = 31 * (self.instalments + 2)
        interest = self.principal * self.annual_rate * days // (RATE_UNIT * 360) + self.minor_unit * self.instalments
        return self.principal + interest + (self.late_fee + self.fee_limit) * self.instalments

    def _refuse(self, field: str, why: str) -> NoReturn:
        raise BadTermsError(field, why)


def annuity(principal: int, annual_rate: int, count: int) -> tuple[int, int]:
    """Return the exact equal monthly payment (numerator, denominator) that repays `principal` in `count` months."""
    if annual_rate == 0:
        return principal, count
    unit = RATE_UNIT * MONTHS_PER_YEAR
    grown, base = (unit + annual_rate) ** count, unit**count
    return principal * annual_rate * grown, unit * (grown - base)


def half_up(numerator: int, denominator: int, unit: int) -> int:
    """Return the non-negative fraction rounded to the nearest multiple of `unit`, halves up."""
    divisor = denominator * unit
    return (2 * numerator + divisor) // (2 * divisor) * unit

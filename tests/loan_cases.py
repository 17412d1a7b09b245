"""Loans in few words for the tests, and the vectors of `tests/vectors/loan_schedules.txt`."""

from collections.abc import Iterator
from dataclasses import dataclass, field
from decimal import Decimal
from pathlib import Path

from ledger.types import Motes
from vm.calendar import BusinessDays, Day, parse_day
from vm.loan.schedule import Payment
from vm.loan.terms import CENT, NOTHING, Amortization, DayCount, EarlyPayment, Terms

VECTORS = Path(__file__).parent / "vectors" / "loan_schedules.txt"


def motes(datr: str) -> Motes:
    """The motes of an amount in DATR."""
    return Motes(int(Decimal(datr).scaleb(8)))


def loan(
    principal: str = "100",
    rate: str = "7",
    instalments: int = 6,
    start: str = "2024-01-01",
    *,
    day_count: str = "30/360",
    amortization: str = "equal_instalments",
    early: str = "next_instalment",
    multiple: str = "0",
    principal_grace: int = 0,
    interest_grace: int = 0,
    minor_unit: Motes = CENT,
    due_day: int = 0,
    business_days: BusinessDays = BusinessDays.SAME,
    late_fee: Motes = NOTHING,
    grace_days: int = 0,
) -> Terms:
    """Terms: 100.00 at 7 % over 6 months from 1 January 2024 unless said otherwise."""
    return Terms(
        principal=motes(principal),
        annual_rate=int(Decimal(rate).scaleb(3)),
        instalments=int(instalments),
        disbursed_on=parse_day(start),
        day_count=DayCount(day_count),
        amortization=Amortization(amortization),
        principal_grace=int(principal_grace),
        interest_grace=int(interest_grace),
        minor_unit=minor_unit,
        instalment_multiple_of=motes(multiple),
        due_day=due_day,
        business_days=business_days,
        early_payment=EarlyPayment(early),
        late_fee=late_fee,
        grace_days=grace_days,
    )


def payment(date: str, amount: str) -> Payment:
    """A payment on a date, in DATR."""
    return Payment(parse_day(date), motes(amount))


@dataclass
class Vector:
    """One schedule of the file: rows are (due date or "", principal, interest, paid), as written."""

    name: str
    terms: Terms
    payments: list[Payment]
    day: Day
    rows: list[tuple[str, str, str, str]] = field(default_factory=list)


def vectors() -> Iterator[Vector]:
    """The schedules of the file."""
    found: list[Vector] = []
    name, terms, payments = "", loan(), list[Payment]()
    for line in VECTORS.read_text(encoding="utf-8").splitlines():
        match line.split("#")[0].split():
            case ["loan", name, *pairs]:
                terms, payments = loan(**dict(pair.split("=") for pair in pairs)), []  # type: ignore[arg-type]
            case ["paid", date, amount]:
                payments.append(payment(date, amount))
            case ["seen", date]:
                found.append(Vector(f"{name} seen {date}", terms, list(payments), parse_day(date)))
            case [*words] if words:
                date = words.pop(0) if "-" in words[0] else ""
                found[-1].rows.append((date, words[0], words[1], words[2] if len(words) > 2 else "0"))
    yield from found

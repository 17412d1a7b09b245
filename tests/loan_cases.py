"""Loans in few words for the tests, and the vectors of `tests/vectors/loan_schedules.txt` and `loan_excerpts.txt`."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path
from typing import Any

from ledger.types import Motes
from vm.calendar import BusinessDays, Day, day_text, parse_day
from vm.loan.schedule import Payment, Row
from vm.loan.terms import CENT, NOTHING, Amortization, DayCount, EarlyPayment, Terms

VECTORS = Path(__file__).parent / "vectors" / "loan_schedules.txt"
EXCERPTS = VECTORS.with_name("loan_excerpts.txt")

Figure = tuple[int, int, tuple[str, ...]]


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
                terms, payments = _terms(pairs), []
            case ["paid", date, amount]:
                payments.append(payment(date, amount))
            case ["seen", date]:
                found.append(Vector(f"{name} seen {date}", terms, list(payments), parse_day(date)))
            case [*words] if words:
                date = words.pop(0) if "-" in words[0] else ""
                found[-1].rows.append((date, words[0], words[1], words[2] if len(words) > 2 else "0"))
    yield from found


@dataclass
class Excerpt:
    """Published figures of a loan: (first and last instalment, what they ask for together, as written).

    That is the whole, or principal and interest, the last one's due date before them where it is printed.
    """

    name: str
    terms: Terms
    payments: list[Payment] = field(default_factory=list)
    figures: list[Figure] = field(default_factory=list)

    @property
    def day(self) -> Day:
        """The day from which the schedule is seen: that of the last payment, or of the disbursement."""
        return self.payments[-1].day if self.payments else Day(self.terms.disbursed_on)

    def shown(self, rows: Sequence[Row]) -> list[Figure]:
        """What these rows say of the figures, with as many decimals as published; what lies beyond them is left out."""
        return [(first, last, _asked(rows[first - 1 : last], written)) for first, last, written in self.within(rows)]

    def within(self, rows: Sequence[Row]) -> list[Figure]:
        """The published figures of instalments up to the last of these rows."""
        return [figure for figure in self.figures if figure[1] <= len(rows)]


def excerpts() -> Iterator[Excerpt]:
    """The loans of the file of excerpts."""
    found: list[Excerpt] = []
    for line in EXCERPTS.read_text(encoding="utf-8").splitlines():
        match line.split("#")[0].split():
            case ["loan", name, *pairs]:
                found.append(Excerpt(name, _terms(pairs)))
            case ["paid", date, amount]:
                found[-1].payments.append(payment(date, amount))
            case [numbers, *written]:
                first, _, last = numbers.removesuffix(":").partition("-")
                found[-1].figures.append((int(first), int(last or first), tuple(written)))
    yield from found


def _asked(rows: Sequence[Row], written: tuple[str, ...]) -> tuple[str, ...]:
    asked = [row.instalment for row in rows]
    date = (day_text(Day(asked[-1].due_day)),) if "-" in written[0] else ()
    amounts = written[len(date) :]
    parts = sum(row.principal for row in asked), sum(row.interest for row in asked)
    return *date, *map(_as_written, parts if len(amounts) == len(parts) else (sum(parts),), amounts)


def _terms(pairs: list[str]) -> Terms:
    read: dict[str, Callable[[str], Any]] = {"minor_unit": motes, "due_day": int, "business_days": BusinessDays}
    return loan(**{key: read.get(key, str)(text) for key, text in (pair.split("=") for pair in pairs)})


def _as_written(amount: int, written: str) -> str:
    return str(Decimal(amount).scaleb(-8).quantize(Decimal(written), ROUND_HALF_UP))

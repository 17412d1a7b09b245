"""`datacar loan`: what a loan costs, by the code that the contract runs; what a running one does, by the node."""

import re
from collections.abc import Callable, Iterable
from typing import Annotated, Any, Final

import typer

from datacar.amounts import format_motes, parse_datr
from ledger.errors import InvalidInputError
from ledger.types import Motes
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout
from node.commands.contract_group import MethodGroup
from node.commands.exits import usage
from node.commands.output import Json, print_json, print_pairs, print_table, warn
from vm.calendar import BusinessDays, Day, day_text, parse_day
from vm.loan.schedule import Payment, Row, Schedule, quote
from vm.loan.state import Instalment
from vm.loan.terms import CENT, INSTALMENTS_MAX, NOTHING, RATE_MAX, Amortization, BadTermsError, DayCount, EarlyPayment, Terms

app = typer.Typer(
    help="Offer, accept and repay loans; quote their schedules.", no_args_is_help=True, add_completion=False, cls=MethodGroup
)

_MONEY: Final = ("principal", "interest", "fees", "penalties", "due", "paid", "outstanding")
_PLACES: Final = 2
_RATE_DECIMALS: Final = 3
_RATE_PERCENT: Final = 10**_RATE_DECIMALS  # a percent has 1,000 tenths of a basis point
_RATE: Final = re.compile(r"(0|[1-9][0-9]{0,3})(?:\.([0-9]{1,3}))?%?", re.ASCII)


class BadOptionError(InvalidInputError):
    """An option whose text cannot be read: `bad_option`."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__("bad_option", message, hint=hint)


def parse_rate(text: str) -> int:
    """Return an annual rate in percent, such as `7` or `12.345`, in 1/10 basis point."""
    match = _RATE.fullmatch(text)
    rate = RATE_MAX + 1 if match is None else int(match[1] + (match[2] or "").ljust(_RATE_DECIMALS, "0"))
    if rate > RATE_MAX:
        hint = f"write percent a year, at most {RATE_MAX // _RATE_PERCENT} and with at most {_RATE_DECIMALS} decimals, like 12.5"
        raise BadOptionError(f"{text[:40]!r} is not an annual rate", hint)
    return rate


def parse_payment(text: str) -> Payment:
    """Return a payment written `DATE:AMOUNT`, such as `2024-02-01:17.01`."""
    date, colon, amount = text.partition(":")
    if not colon:
        raise BadOptionError(f"{text[:40]!r} is not a payment", "write a date, a colon and DATR, like 2024-02-01:17.01")
    return Payment(parse_day(date), parse_datr(amount))


def _money(text: str) -> Any:
    """Return an option that is an amount of DATR."""
    return typer.Option(metavar="DATR", parser=usage(parse_datr), help=text)


def _date(text: str) -> Any:
    """Return an option that is a date."""
    return typer.Option(metavar="DATE", parser=usage(parse_day), help=text)


def _count(text: str, high: int | None = None) -> Any:
    """Return an option that is a small number."""
    return typer.Option(min=0, max=high, metavar="N", help=text)


def _payments(kind: Callable[..., Any], text: str) -> Any:
    """Return an option or argument that is a list of payments."""
    return kind(metavar="DATE:DATR", parser=usage(parse_payment), help=text)


@app.callback()
def _loan() -> None:
    """Offer, accept and repay loans; quote their schedules."""


_NEEDED: Final = ("principal", "annual_rate", "instalments", "start")
_ASKING: Final = frozenset({"loan_id", "first", "count", "rpc", "timeout", "as_json"})
_A_LOAN: Final = "A loan on the chain"
_LOAN_ID: Final = re.compile("0x[0-9a-fA-F]{64}", re.ASCII)


def _loan_id(text: str) -> str:
    if not _LOAN_ID.fullmatch(text):
        raise BadOptionError(f"{text[:40]!r} is no loan's id", "write 0x and 64 hex digits, as `datacar loan offer` printed it")
    return text


def _of_a_loan(text: str) -> Any:
    """Return an option that counts the instalments of a loan on the chain."""
    return typer.Option(min=1, max=INSTALMENTS_MAX, metavar="N", help=text, rich_help_panel=_A_LOAN)


LoanId = Annotated[
    str | None, typer.Option(metavar="0xID", parser=usage(_loan_id), help="Ask a node for this loan's.", rich_help_panel=_A_LOAN)
]
First = Annotated[int, _of_a_loan("From this number on.")]
Count = Annotated[int | None, _of_a_loan("How many; all unless given.")]
Percent = Annotated[
    int | None, typer.Option(metavar="PERCENT", parser=usage(parse_rate), help="Interest a year. Required, as above.")
]
HowMany = Annotated[
    int | None, typer.Option(min=1, max=INSTALMENTS_MAX, metavar="N", help="How many; one a month. Required, as above.")
]


@app.command()
def schedule(
    context: typer.Context,
    principal: Annotated[int | None, _money("How much is lent. Required, but with --loan-id.")] = None,
    annual_rate: Percent = None,
    instalments: HowMany = None,
    start: Annotated[int | None, _date("When the money moves. Required, as above.")] = None,
    day_count: Annotated[
        DayCount, typer.Option(metavar="WORD", case_sensitive=False, help="How days count: 30/360, act/365 or act/360.")
    ] = DayCount.THIRTY_360,
    amortization: Annotated[
        Amortization, typer.Option(metavar="WORD", help="What stays equal: equal_instalments or equal_principal.")
    ] = Amortization.EQUAL_INSTALMENTS,
    principal_grace: Annotated[int, _count("First instalments that repay no principal.")] = 0,
    interest_grace: Annotated[int, _count("First instalments that collect no interest; the next collects it all.")] = 0,
    instalment_multiple_of: Annotated[int | None, _money("Round the equal instalment to it.")] = None,
    minor_unit: Annotated[int | None, _money("Amounts are multiples of it; 0.01 unless given.")] = None,
    due_day: Annotated[int, _count("Day of the month that is due; 0: the start's.", 31)] = 0,
    business_days: Annotated[
        BusinessDays, typer.Option(metavar="WORD", help="Where a due day on a weekend moves: same, next or previous.")
    ] = BusinessDays.SAME,
    early_payment: Annotated[
        EarlyPayment, typer.Option(metavar="WORD", help=f"What money ahead pays: {', '.join(EarlyPayment)}.")
    ] = EarlyPayment.NEXT_INSTALMENT,
    late_fee: Annotated[int | None, _money("Charged once for a late instalment.")] = None,
    grace_days: Annotated[int, _count("Days after the due day before the late fee.")] = 0,
    paid: Annotated[list[Payment] | None, _payments(typer.Option, "A payment made; may be given again.")] = None,
    more_paid: Annotated[list[Payment] | None, _payments(typer.Argument, "More payments made.")] = None,
    as_of: Annotated[int | None, _date("Seen from this day; the start unless given.")] = None,
    loan_id: LoanId = None,
    first: First = 1,
    count: Count = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Quote a loan's schedule offline, by the code that the contract runs; or with --loan-id that of a loan on the chain.

    Offline it is as agreed, or with payments as seen from a day. Instalment k is due k months after the start, on the same day
    of the month or the month's last. Of a loan on the chain it is seen from today, as if everything due were paid today.
    """
    _check_one_way(context, asks=loan_id is not None)
    if loan_id is not None:
        from node.commands import loan_asked  # here, since a quote needs no node

        loan_asked.show(loan_id, first, count, rpc, timeout, as_json=as_json)
        return
    if principal is None or annual_rate is None or instalments is None or start is None:
        raise _missing(context)
    terms = _terms(
        principal=Motes(principal),
        annual_rate=annual_rate,
        instalments=instalments,
        disbursed_on=start,
        day_count=day_count,
        amortization=amortization,
        principal_grace=principal_grace,
        interest_grace=interest_grace,
        minor_unit=CENT if minor_unit is None else Motes(minor_unit),
        instalment_multiple_of=Motes(instalment_multiple_of or NOTHING),
        due_day=due_day,
        business_days=business_days,
        early_payment=early_payment,
        late_fee=Motes(late_fee or NOTHING),
        grace_days=grace_days,
    )
    if instalment_multiple_of and amortization is Amortization.EQUAL_PRINCIPAL:
        warn("--instalment-multiple-of rounds equal instalments; with equal principal it changes nothing")
    _quote(terms, [*(paid or ()), *(more_paid or ())], as_of, as_json=as_json)


def _quote(terms: Terms, paid: list[Payment], as_of: int | None, *, as_json: bool) -> None:
    """Print the schedule of these terms, with payments, as seen from a day."""
    start = Day(terms.disbursed_on)
    seen_from = start if as_of is None else Day(as_of)
    found = quote(terms, _in_order(paid, start, seen_from), seen_from)
    if found.returned:
        warn(f"{format_motes(found.returned)} DATR were more than the loan takes: they go back")
    print_json(printed(found)) if as_json else _show(found)


def _missing(context: typer.Context) -> typer.BadParameter:
    name = next(name for name in _NEEDED if context.params[name] is None)
    return typer.BadParameter("must be given, or --loan-id to ask a node", param_hint=f"--{name.replace('_', '-')}")


def _check_one_way(context: typer.Context, *, asks: bool) -> None:
    """Raise a usage error for options of a quote beside --loan-id, and for its options without it."""
    typed = [name for name in context.params if getattr(context.get_parameter_source(name), "name", "") == "COMMANDLINE"]
    for name in typed:
        if asks and name not in _ASKING:
            raise typer.BadParameter("the terms of a loan on the chain are known", param_hint=f"--{name.replace('_', '-')}")
        if not asks and name in ("first", "count"):
            raise typer.BadParameter("only with --loan-id", param_hint=f"--{name}")


def printed(found: Schedule) -> dict[str, object]:
    """Return a schedule as `datacar loan schedule --json` prints it: amounts are decimal strings of DATR."""
    return {
        **printed_rows(found.rows),
        "payoff": _text(found.payoff),
        "returned": _text(found.returned),
        "as_of": day_text(found.day),
    }


def printed_rows(found: Iterable[Row]) -> dict[str, object]:
    """Return instalments and their totals in JSON, amounts as decimal strings of DATR."""
    lines = [(row, _amounts(row.instalment)) for row in found]
    return {
        "instalments": [
            {
                "number": row.instalment.number,
                "due_date": day_text(Day(row.instalment.due_day)),
                **_texts(amounts),
                "balance": _text(row.balance),
            }
            for row, amounts in lines
        ],
        "totals": _texts({name: sum(amounts[name] for _, amounts in lines) for name in _MONEY}),
    }


def _terms(**terms: Any) -> Terms:
    """Return the terms; what they refuse is a usage error that names the option."""
    try:
        return Terms(**terms)
    except BadTermsError as error:
        option = "start" if error.field == "disbursed_on" else error.field.replace("_", "-")
        raise typer.BadParameter(error.message, param_hint=f"--{option}") from error


def _in_order(payments: list[Payment], start: Day, seen_from: Day) -> list[Payment]:
    """Return the payments by day; on one day in the order given."""
    if seen_from < start:
        raise typer.BadParameter(f"{day_text(seen_from)} is before the start", param_hint="--as-of")
    for payment in payments:
        if payment.day < start:
            raise typer.BadParameter(f"{day_text(payment.day)} is before the start", param_hint="--paid")
        if payment.day > seen_from:
            raise typer.BadParameter(
                f"{day_text(payment.day)} is after {day_text(seen_from)}, the day it is seen from; give a later --as-of",
                param_hint="--paid",
            )
    return sorted(payments, key=lambda payment: payment.day)


def _amounts(row: Instalment) -> dict[str, int]:
    amounts = (row.principal, row.interest, row.fee, row.penalty, row.due, row.paid, row.outstanding)
    return dict(zip(_MONEY, amounts, strict=True))


def _texts(amounts: dict[str, int]) -> dict[str, str]:
    return {name: _text(motes) for name, motes in amounts.items()}


def _text(motes: int) -> str:
    """Return an amount with at least two places, so that columns line up: 305.00."""
    whole, _, fraction = format_motes(motes).partition(".")
    return f"{whole}.{fraction.ljust(_PLACES, '0')}"


def show_rows(shown: dict[str, Any]) -> None:
    """Print instalments and their totals as a table."""
    columns = ("number", "due_date", *_MONEY, "balance")
    lines = [
        tuple(name.upper().replace("_", " ") for name in columns),
        *(tuple(str(row[name]) for name in columns) for row in shown["instalments"]),
        ("", "total", *(shown["totals"][name] for name in _MONEY), ""),
    ]
    widths = [max(len(line[place]) for line in lines) for place in range(len(columns))]
    head, *rows = [[f"{cell:>{width}}" for cell, width in zip(line, widths, strict=True)] for line in lines]
    print_table(head, rows)


def _show(found: Schedule) -> None:
    shown: dict[str, Any] = printed(found)
    show_rows(shown)
    typer.echo("")
    print_pairs({f"payoff on {shown['as_of']}": f"{shown['payoff']} DATR"})

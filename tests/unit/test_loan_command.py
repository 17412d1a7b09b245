"""`datacar loan schedule`: what it prints, for programs and for people, and what it says of options that cannot be."""

import json
from decimal import Decimal
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from node.commands.exits import Exit

run = CliRunner().invoke

SMALL = ("--principal", "100", "--annual-rate", "7", "--instalments", "6", "--start", "2024-01-01")
CAR = ("--principal", "5000", "--annual-rate", "12", "--instalments", "18", "--start", "2022-11-01")


def printed(*options: str) -> Any:
    result = run(cli.app, ["loan", "schedule", *options, "--json"])
    assert result.exit_code == Exit.OK, result.output
    return json.loads(result.stdout)


def refused(*options: str) -> str:
    result = run(cli.app, ["loan", "schedule", *options])
    assert result.exit_code == Exit.USAGE, result.output
    assert not result.stdout
    return " ".join(result.stderr.replace("│", " ").split())


def test_the_contractual_schedule() -> None:
    found = printed(*CAR, "--day-count", "30/360", "--amortization", "equal_instalments", "--instalment-multiple-of", "1")
    assert [row["due"] for row in found["instalments"]] == ["305.00"] * 17 + ["303.22"]
    assert found["instalments"][0] == {
        "number": 1,
        "due_date": "2022-12-01",
        "principal": "255.00",
        "interest": "50.00",
        "fees": "0.00",
        "penalties": "0.00",
        "due": "305.00",
        "paid": "0.00",
        "outstanding": "305.00",
        "balance": "4745.00",
    }
    assert found["totals"] == {
        "principal": "5000.00",
        "interest": "488.22",
        "fees": "0.00",
        "penalties": "0.00",
        "due": "5488.22",
        "paid": "0.00",
        "outstanding": "5488.22",
    }
    assert found["payoff"] == "5000.00"


def test_the_payoff_after_a_payment() -> None:
    found = printed(*SMALL, "--paid", "2024-02-01:17.01", "--as-of", "2024-02-15")
    assert found["payoff"] == "83.81"
    assert found["as_of"] == "2024-02-15"
    assert [row["paid"] for row in found["instalments"]] == ["17.01", *["0.00"] * 5]


def test_several_payments_in_any_order_and_either_way_to_write_them() -> None:
    expected = printed(*SMALL, "--paid", "2024-02-01:17.01", "--paid", "2024-03-05:10", "--as-of", "2024-03-10")
    assert [row["interest"] for row in expected["instalments"]] == ["0.58", "0.49", "0.41", "0.29", "0.20", "0.10"]
    assert printed(*SMALL, "--paid", "2024-03-05:10", "--paid", "2024-02-01:17.01", "--as-of", "2024-03-10") == expected
    assert printed(*SMALL, "--as-of", "2024-03-10", "--paid", "2024-02-01:17.01", "2024-03-05:10") == expected


def test_each_option_reaches_the_terms() -> None:
    graced = printed(*CAR, "--instalment-multiple-of", "1", "--principal-grace", "6", "--interest-grace", "3")
    assert [row["due"] for row in graced["instalments"]][:7] == ["0.00", "0.00", "0.00", "200.00", "50.00", "50.00", "444.00"]
    actual = printed(*CAR, "--amortization", "equal_principal", "--day-count", "act/360")
    assert (actual["instalments"][0]["principal"], actual["instalments"][1]["interest"]) == ("277.78", "48.80")
    fine = printed(*SMALL, "--minor-unit", "0.00000001")
    assert fine["instalments"][0]["due"] == "17.00859373"
    moved = printed(*SMALL, "--due-day", "31", "--business-days", "previous")
    assert [row["due_date"] for row in moved["instalments"]][:2] == ["2024-02-29", "2024-03-29"]
    late = printed(*SMALL, "--late-fee", "5", "--grace-days", "3", "--as-of", "2024-02-05")
    assert (late["instalments"][0]["penalties"], late["instalments"][0]["due"]) == ("5.00", "22.01")
    ahead = printed(*SMALL, "--early-payment", "last_instalment", "--paid", "2024-01-01:17.01", "--as-of", "2024-01-01")
    assert ahead["instalments"][5]["paid"] == "17.01"
    rate = printed("--principal", "100", "--annual-rate", "12.345", *SMALL[4:])
    assert rate["instalments"][0]["interest"] == "1.03"


def test_what_is_paid_too_much_goes_back() -> None:
    result = run(cli.app, ["loan", "schedule", *SMALL, "--paid", "2024-01-01:101.5", "--as-of", "2024-01-01", "--json"])
    found = json.loads(result.stdout)
    assert (found["payoff"], found["returned"]) == ("0.00", "1.50")
    assert "1.5 DATR were more than the loan takes" in result.stderr


def test_a_multiple_that_changes_nothing_is_pointed_out() -> None:
    result = run(cli.app, ["loan", "schedule", *CAR, "--amortization", "equal_principal", "--instalment-multiple-of", "1"])
    assert result.exit_code == Exit.OK
    assert "277.78" in result.stdout
    assert "with equal principal it changes nothing" in result.stderr


def test_the_table_for_people_lines_up() -> None:
    result = run(cli.app, ["loan", "schedule", *SMALL])
    lines = result.stdout.splitlines()
    assert " ".join(lines[0].split()) == "NUMBER DUE DATE PRINCIPAL INTEREST FEES PENALTIES DUE PAID OUTSTANDING BALANCE"
    assert len({len(line) for line in lines[:7]}) == 1
    assert lines[7].split() == ["total", "100.00", "2.05", "0.00", "0.00", "102.05", "0.00", "102.05"]
    assert lines[9].split() == ["payoff", "on", "2024-01-01", "100.00", "DATR"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (("--as-of", "2023-12-31"), "2023-12-31 is before the start"),
        (
            ("--paid", "2024-02-01:17.01"),
            "2024-02-01 is after 2024-01-01, the day it is seen from; give a later --as-of",
        ),
        (("--paid", "2023-12-31:1"), "2023-12-31 is before the start"),
        (("--paid", "2024-02-01"), "'2024-02-01' is not a payment (write a date, a colon and DATR, like 2024-02-01:17.01)"),
        (("--paid", "2024-02-30:1"), "2024-02-30 is not a date of the calendar"),
        (("--paid", "2024-02-01:-1"), "'-1' is not a plain decimal number"),
        (
            ("--annual-rate", "9.4822"),
            "'9.4822' is not an annual rate (write percent a year, at most 1000 and with at most 3 decimals",
        ),
        (("--annual-rate", "1000.001"), "'1000.001' is not an annual rate"),
        (("--instalments", "481"), "less than or equal to 480"),
        (("--principal", "0"), "principal must be within 1"),
        (("--principal", "100.001"), "principal must be a multiple of the minor unit"),
        (("--principal-grace", "6"), "principal_grace must be within 0..5, got 6"),
        (("--minor-unit", "0"), "minor_unit must be within 1"),
        (("--start", "1969-12-31"), "for --start: disbursed_on must be within 0"),
        (("--start", "tomorrow"), "'tomorrow' is not a date"),
        (("--day-count", "31/365"), "'31/365' is not one of"),
    ],
)
def test_options_that_cannot_be_are_explained(options: tuple[str, ...], message: str) -> None:
    assert message in refused(*SMALL, *options)


def test_amounts_are_exact_decimals() -> None:
    """No amount passes through a float: all the DATR there is, to the mote."""
    found = printed("--principal", "800000000", *SMALL[2:], "--minor-unit", "0.00000001")
    rows = found["instalments"]
    assert sum(Decimal(row["principal"]) for row in rows) == 800_000_000
    assert sum(Decimal(row["due"]) for row in rows) == Decimal(found["totals"]["due"])

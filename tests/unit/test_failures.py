"""Failures in the words of people: which of their numbers are money, in what asset, and what to do next."""

import ast
import json
import re
from pathlib import Path
from typing import Any, Final

import pytest
import typer

import cli
import vm
from datacar.errors import CallWouldFailError, error_from_json
from datacar.failure_hints import ANY, HINTS, hint_of
from datacar.failures import MONEY, explain, failure_text
from datacar.units import money
from datacar.words import in_words
from ledger.errors import DatacarError, RejectedError
from node.commands.charging_replay import reason_text
from node.commands.exits import report
from vm.errors import CoreError, InsufficientFundsError
from vm.registry import default_registry

ALICE: Final = "datr1qp66kjfftmylmr9yg4yw8825zeacjg6kpyh4wwynt0jfnq6uatwr6lzm8dr"
SHORT: Final = f"the account has too little free money: symbol DATR, account {ALICE}, need 150000000, have 3"


@pytest.mark.parametrize(
    ("contract", "code", "message", "shown"),
    [
        ("asset", "INSUFFICIENT_FUNDS", SHORT, SHORT.replace("150000000", "1.5 DATR").replace("have 3", "have 0.00000003 DATR")),
        ("asset", "INSUFFICIENT_FUNDS", "x: symbol CARM, need 1250, have 0", "x: symbol CARM, need 12.5 CARM, have 0 CARM"),
        (
            "asset",
            "NOT_YET",
            "x: deadline_ms 1700000000000, now_ms 0",
            "x: deadline_ms 2023-11-14T22:13:20Z, now_ms 1970-01-01T00:00:00Z",
        ),
        ("charging", "DRIVER_IN_DEBT", "x: owed 39000000", "x: owed 0.39 DATR"),
        ("charging", "EVENT_IN_FUTURE", "x: at_s 1700000000", "x: at_s 2023-11-14T22:13:20Z"),
        ("loan", "PAYOFF_CHANGED", "x: payoff 500000000, at_most 100000000", "x: payoff 5 DATR, at_most 1 DATR"),
        ("loan", "NOT_DISBURSEMENT_DAY", "x: day 19676, today 19675", "x: day 2023-11-15, today 2023-11-14"),
        ("governance", "TOO_FEW_MEMBERS", "x: need 4, have 3", "x: need 4, have 3"),
        ("order", "UNKNOWN_ORDER", "there is no such order", "there is no such order"),
        (
            "asset",
            "MAX_SUPPLY",
            "x: supply 5, limit 4",
            "x: supply 5 smallest units of the asset, limit 4 smallest units of the asset",
        ),
        ("asset", "BAD_INPUT", "x: problem need 150000000 of it", "x: problem need 150000000 of it"),
    ],
)
def test_numbers_are_shown_as_people_write_them(contract: str, code: str, message: str, shown: str) -> None:
    assert failure_text(contract, code, message, lambda symbol: money(symbol, 8 if symbol == "DATR" else 2)) == shown


def test_the_asset_of_a_call_is_that_of_its_failure() -> None:
    assert failure_text("asset", "MAX_SUPPLY", "x: supply 500, limit 400", lambda symbol: money(symbol, 2), "CARM").endswith(
        "supply 5 CARM, limit 4 CARM"
    )


@pytest.mark.parametrize(
    "error",
    [CallWouldFailError("asset", "INSUFFICIENT_FUNDS", SHORT), InsufficientFundsError(150_000_000, 3)],
    ids=["a contract's", "a node's"],
)
def test_who_has_too_little_reads_datr_and_the_next_step(error: DatacarError, capsys: pytest.CaptureFixture[str]) -> None:
    """People read amounts in DATR; the object for programs has the motes that RPC gives."""
    report(error, as_json=True)
    shown = capsys.readouterr()
    assert "1.5 DATR" in shown.err
    assert "0.00000003 DATR" in shown.err
    assert "150000000" not in shown.err
    assert "fund the account, or send less" in shown.err
    assert "150000000" in json.dumps(json.loads(shown.out)["error"])


@pytest.mark.parametrize(
    ("reason", "shown"),
    [
        ("DRIVER_IN_DEBT: x: owed 39000000", "DRIVER_IN_DEBT: x: owed 0.39 DATR"),
        ("INSUFFICIENT_FUNDS: x: need 5, have 0", "INSUFFICIENT_FUNDS: x: need 0.00000005 DATR, have 0 DATR"),
        ("EVENT_IN_FUTURE: x: at_s 1700000000", "EVENT_IN_FUTURE: x: at_s 2023-11-14T22:13:20Z"),
        ("expired: it is too late", "expired: it is too late"),
        ("odd", "odd"),
    ],
)
def test_rejected_sessions_say_theirs_too(reason: str, shown: str) -> None:
    assert reason_text(reason) == shown


def test_other_errors_say_what_they_said() -> None:
    error = RejectedError("not_permitted", "need 150000000", hint="no")
    assert explain(error) == ("need 150000000", "no")
    strange = error_from_json({"code": -32003, "message": "x", "data": {"reason": "contract_error", "message": 5}})
    assert explain(strange) == ("x", "")


COUNTS: Final = {
    *(
        "attested_height",
        "audit_id",
        "bytes",
        "call",
        "days",
        "every_months",
        "furthest",
        "missing",
        "newest",
        "height",
        "keys",
        "latest_s",
        "made",
        "next",
        "now",
    ),
    *("number", "open", "overdue_days", "own", "proposal_id", "proposed", "rate_e4", "releases", "share", "shares_e4", "since"),
    *("threshold", "tip", "unit", "version", "vote_gas", "at_s", "day", "today"),
}
"""Numbers that are never money, by their names."""
WORDS: Final = {
    *(
        "account",
        "argument",
        "contract",
        "event",
        "exception",
        "field",
        "issuer",
        "kind",
        "known",
        "member_id",
        "method",
        "name",
        "named",
    ),
    *("offered", "p2p_address", "problem", "proposer", "reason", "station_id", "status", "tariff_id", "topic", "transaction_id"),
}
COUNTED: Final = {
    ("BAD_CALLS", "limit"),
    ("BAD_CALLS", "most"),
    ("BAD_HEIGHT", "least"),
    ("BAD_PARAMETER", "least"),
    ("BAD_PARAMETER", "most"),
    ("BAD_PARAMETER", "value"),
    ("BAD_RETRY", "limit"),
    ("BAD_THRESHOLD", "least"),
    ("BAD_THRESHOLD", "most"),
    ("BAD_UNLOCK", "limit"),
    ("NOT_IN_DEFAULT", "need"),
    ("OUTDATED", "limit"),
    ("TOO_FEW_MEMBERS", "have"),
    ("TOO_FEW_MEMBERS", "need"),
    ("TOO_MANY_AUDITORS", "limit"),
    ("TOO_MANY_BOOKINGS", "limit"),
    ("TOO_MANY_CERTIFICATES", "limit"),
    ("TOO_MANY_DISABLED", "limit"),
    ("TOO_MANY_MEMBERS", "limit"),
    ("TOO_MANY_PROPOSALS", "limit"),
}
"""Numbers that are money elsewhere, and counts in these codes."""


def raised() -> set[tuple[str, str]]:
    """Every (code, name of a number) with which a contract's failure is raised."""
    codes = {error.name for name in default_registry().names() for error in default_registry().entry(name).spec.errors}
    found = set()
    for path in sorted(Path(vm.__file__).parent.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                named = [arg.attr for arg in node.args if isinstance(arg, ast.Attribute) and arg.attr in codes]
                found |= {(code, keyword.arg) for code in named for keyword in node.keywords if keyword.arg is not None}
    return found


def test_every_number_of_a_failure_is_known_as_money_or_as_something_else() -> None:
    """A new failure with an amount cannot reach people in motes unnoticed."""
    money_pairs = {(code, name) for (_, code), names in MONEY.items() for name in names}
    others = {pair for pair in raised() - money_pairs if pair[1] not in COUNTS | WORDS and not pair[1].endswith("_ms")}
    assert others <= COUNTED, "say of a new number in `datacar.failures.MONEY` that it is money, else here that it is none"
    assert not money_pairs & COUNTED


@pytest.mark.parametrize(("contract", "code"), MONEY, ids=" ".join)
def test_the_codes_in_the_table_are_the_contracts_own(contract: str, code: str) -> None:
    assert code in {error.name for error in default_registry().entry(contract).spec.errors}


CODES: Final = {name: {error.name for error in default_registry().entry(name).spec.errors} for name in default_registry().names()}


@pytest.mark.parametrize(("contract", "code"), HINTS, ids=" ".join)
def test_the_codes_that_have_a_next_step_are_there(contract: str, code: str) -> None:
    everywhere = {each.name for each in CoreError}.union(*CODES.values())
    assert code in (everywhere if contract == ANY else CODES[contract])


def test_who_may_is_said_wherever_a_contract_knows_parties() -> None:
    for contract in ("asset", "charging", "loan", "order"):
        assert "name" in hint_of(contract, "NOT_PERMITTED")
        assert f"`datacar {contract} " in hint_of(contract, "NOT_PERMITTED")


def commands() -> set[tuple[str, str]]:
    """Every command that a next step names, as its group and name."""
    found = set()
    for hint in HINTS.values():
        for group, name in re.findall(r"`datacar ([a-z]+) ([a-z][a-z-]+)", hint):
            found.add((group, name))
    return found


@pytest.mark.parametrize(("group", "name"), sorted(commands()), ids=" ".join)
def test_commands_in_next_steps_exist(group: str, name: str) -> None:
    root: Any = typer.main.get_command(cli.app)
    _, family, _ = root.resolve_command(root.context_class(root, info_name="datacar"), [group])
    assert name in family.commands


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        ("x: problem day 18262 is before day 20871, up to", "x: problem 2020-01-01 is before 2027-02-22, up to"),
        ("annual_rate must be within 0..1000000, got 1200000000", "annual_rate must be within 0 % to 1000 %, got 1200000 %"),
        ("late_fee must be within 0..100000000, got 150000000", "late_fee must be within 0 DATR to 1 DATR, got 1.5 DATR"),
        ("retry_days must be within 0..8, got 9", "retry_days must be within 0 to 8, got 9"),
        ("must be a multiple of the minor unit, 1000000 motes", "must be a multiple of the minor unit, 0.01 DATR"),
        ("no block took it before 1700000000000", "no block took it before 2023-11-14T22:13:20Z"),
        ("day 31 of month 2, need 150000000, height 20871", "day 31 of month 2, need 150000000, height 20871"),
    ],
)
def test_numbers_inside_of_sentences_are_in_words_too(said: str, shown: str) -> None:
    assert in_words(said) == shown


def test_people_read_commands_where_programs_read_methods() -> None:
    tip = error_from_json(
        {"code": -32001, "message": "there is no block 99 here", "data": {"reason": "not_found", "hint": "x", "tip": 7}}
    )
    assert explain(tip) == ("there is no block 99 here", "the last block is 7")
    waiting = RejectedError("wait_timeout", "x", hint="ask again with tx_wait; sending the same bytes again is safe")
    assert explain(waiting)[1].startswith("`datacar tx wait ID` asks again;")
    assert "see the contract" not in explain(CallWouldFailError("loan", "UNKNOWN_LOAN", "there is no such loan"))[1]

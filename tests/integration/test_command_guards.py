"""What commands find out before they send: loans that ask a node, stations that repeat, debts, proposals that must fail."""

import json
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import pytest
from typer.testing import Result

import cli
from datacar import Client, Wallet, keystore
from datacar.units import MOMENT_S
from node.commands import loan_asked, sending_options, wallet_files
from node.commands.exits import Exit
from node.secret_files import write_seed
from tests.command_line import ok, run, said
from tests.memory_node import FAUCET_SEED
from tests.served_node import Served, serve
from tests.unit.test_commands_page import COMMANDS

ROOT: Final = Path(cli.__file__).parent
CHEAP: Final = keystore.ScryptParams(n=2)
HOUR_MS: Final = 3_600_000


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("node") / "db", members=4) as found:
        yield found


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, served: Served) -> Path:
    """Wallets with money on this machine, and the members' governance keys."""
    path = tmp_path_factory.mktemp("home")
    for each in served.node.keys:
        write_seed(path / each.member.id, each.governance_seed)
    with pytest.MonkeyPatch.context() as patch, Client(served.url) as client:
        patch.setenv("XDG_DATA_HOME", str(path))
        patch.setattr(keystore, "lock", partial(keystore.lock, scrypt=CHEAP))
        for name in ("alice", "bank", "bob", "station", "arbiter", "shop"):
            made = wallet_files.save(name, Wallet.generate(12), "pw", account=0, index=0)
            client.transfer(Wallet.from_seed(FAUCET_SEED), to=made.address, amount="100000")
    return path


@pytest.fixture(autouse=True)
def environment(home: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("XDG_DATA_HOME", str(home))
    monkeypatch.setenv("DATACAR__CLIENT__RPC", served.url)
    monkeypatch.setenv(sending_options.PASSWORD_VARIABLE, "pw")


# ---- loans


def offer(*terms: str, expires: str = "+7d") -> Result:
    common = terms or ("--terms", "docs/examples/car-loan.json")
    return run("loan", "offer", *common, "--borrower", "bob", "--expires-ms", expires, "--wallet", "bank", "--yes", "--json")


OFFERS: Final = [words for words in COMMANDS if words[1:3] in (["loan", "offer"], ["asset", "issue"])]


@pytest.mark.parametrize("words", OFFERS, ids=lambda words: " ".join(words[1:5]))
def test_what_the_page_offers_is_taken(words: list[str]) -> None:
    args = ["bob" if word == "datr1..." else word for word in words[1:]]
    assert ok(*args, "--yes")["status"] == "succeeded"


def test_an_offer_that_ends_before_the_money_moves_says_so() -> None:
    """Both conditions that were named held; the one that did not was not named."""
    parts = {"principal": "100", "annual-rate": "7", "instalments": "6", "disbursed-on": "2024-02-01"}
    flags = [word for name, value in parts.items() for word in (f"--terms.{name}", value)]
    flags += ["--terms.day-count", "30/360", "--terms.amortization", "equal_instalments"]
    result = offer(*flags)
    assert result.exit_code == Exit.REJECTED
    assert json.loads(result.stdout)["error"]["data"]["code"] == "EXPIRES_TOO_EARLY"
    assert "an offer must last until the day has begun on which the money moves: expires_ms 2023-11-2" in said(result)
    assert "opens_ms 2024-02-01T00:00:00Z hint: give an --expires-ms after opens_ms" in said(result)
    assert offer(*flags, expires="+90d").exit_code == Exit.OK


def test_the_schedule_of_a_loan_on_the_chain(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of an offer and of a running loan, in pages; the same as the offline quote of its terms."""
    monkeypatch.setattr(loan_asked, "PAGE", 5)
    [loan_id] = json.loads(offer().stdout)["results"]
    asked = ok("loan", "schedule", "--loan-id", loan_id)
    assert asked["next"] is None
    start = "2023-11-14"
    quoted = ok(
        *("loan", "schedule", "--principal", "5000", "--annual-rate", "12", "--instalments", "18", "--start", start),
        *("--late-fee", "5", "--grace-days", "5"),
    )
    assert (asked["instalments"], asked["totals"]) == (quoted["instalments"], quoted["totals"])
    ok("loan", "accept", "--loan-id", loan_id, "--wallet", "bob", "--yes")
    assert ok("loan", "schedule", "--loan-id", loan_id)["instalments"] == quoted["instalments"]
    some = ok("loan", "schedule", "--loan-id", loan_id, "--first", "3", "--count", "8")["instalments"]
    assert some == quoted["instalments"][2:10]
    assert run("loan", "schedule", "--loan-id", loan_id).stdout.count("\n") == 20


def test_a_long_schedule_says_where_it_stops() -> None:
    """A node's work for one answer is bounded: what it cannot count is no error, and no silence."""
    parts = {"principal": "5000", "annual-rate": "7", "instalments": "240", "disbursed-on": "0"}
    flags = [word for name, value in parts.items() for word in (f"--terms.{name}", value)]
    result = offer(*flags, "--terms.day-count", "30/360", "--terms.amortization", "equal_instalments")
    [loan_id] = json.loads(result.stdout)["results"]
    shown = run("loan", "schedule", "--loan-id", loan_id, "--json")
    found = json.loads(shown.stdout)
    assert 60 < len(found["instalments"]) < 240
    assert found["next"] == len(found["instalments"]) + 1
    assert f"no further ahead than to instalment {found['next'] - 1} of 240" in said(shown)


@pytest.mark.parametrize(
    ("args", "wrong"),
    [
        (("--loan-id", "0x" + "00" * 32, "--principal", "5"), "--principal"),
        (("--count", "5"), "only with --loan-id"),
        (("--loan-id", "5"), "is no loan's id"),
        (("--principal", "5"), "--annual-rate: must be given, or --loan-id"),
    ],
)
def test_a_quote_and_a_question_do_not_mix(args: tuple[str, ...], wrong: str) -> None:
    result = run("loan", "schedule", *args)
    assert result.exit_code == Exit.USAGE
    assert wrong in said(result)


# ---- charging


@pytest.fixture
def session(served: Served) -> str:
    """A session of bob that has begun at alice's station."""
    if run("charging", "operator", "--address", "alice").exit_code:
        register = ("--operator-id", "DE*DTC", "--name", "x", "--payout", "alice", "--arbiter", "arbiter")
        ok("charging", "register-operator", *register, "--wallet", "alice", "--yes")
    [tariff] = ok("charging", "publish-tariff", "--tariff", "docs/examples/tariff.json", "--wallet", "alice", "--yes")["results"]
    if run("charging", "station", "--address", "station").exit_code:
        place = ("--station", "station", "--station-id", "DE*DTC*E1", "--tariff-id", tariff)
        ok("charging", "add-station", *place, "--wallet", "alice", "--yes")
    driver = ("--station", "station", "--tariff-id", tariff, "--arbiter", "arbiter", "--wallet", "bob", "--yes")
    [session_id] = ok("charging", "authorize", *driver)["results"]
    assert start(session_id).exit_code == Exit.OK
    served.node.now_ms += HOUR_MS
    served.node.commit()
    return str(session_id)


def start(session_id: str) -> Result:
    event = ("--session-id", session_id, "--transaction-id", "t", "--meter-start-wh", "1 kWh", "--at-s", "now")
    return run("charging", "start", *event, "--wallet", "station", "--yes", "--json")


def stop(session_id: str, meter: str = "12 kWh", *, at: str = "now") -> Result:
    event = ("--meter-stop-wh", meter, "--at-s", at, "--charging-end-s", at, "--reason", "EVDisconnected", "--readings", "0")
    return run("charging", "stop", "--session-id", session_id, *event, "--wallet", "station", "--yes", "--json")


def test_a_repeated_stop_opens_no_dispute(served: Served, session: str) -> None:
    """`now` is another second each time: the first report is said, and repeating that changes nothing."""
    assert stop(session).exit_code == Exit.OK
    served.node.now_ms += 5_000
    served.node.commit()
    height = served.node.tip.height
    again = stop(session)
    assert (again.exit_code, served.node.tip.height) == (Exit.REJECTED, height)
    first = json.loads(again.stdout)["error"]["data"]["first"]
    assert "nothing was sent: this session was stopped at 20" in said(again)
    assert f"--at-s {MOMENT_S.show(first['at_s'])} " in said(again)
    assert stop(session, at=str(first["at_s"])).exit_code == Exit.OK
    assert ok("charging", "session", "--session-id", session)["value"]["disputed"] is False
    assert stop(session, "99 kWh", at=str(first["at_s"])).exit_code == Exit.REJECTED


def test_a_repeated_start_says_what_differs(session: str) -> None:
    again = start(session)
    assert again.exit_code == Exit.REJECTED
    assert "this session was started at 20" in said(again)
    assert "hint: repeat with --transaction-id 't' --meter-start-wh '1 kWh' --at-s 20" in said(again)


def test_a_debt_names_its_sessions(session: str) -> None:
    """More than was held: the driver owes, and finds for what."""
    assert stop(session, "300 kWh").exit_code == Exit.OK
    owed = ok("charging", "debt", "--driver", "bob")
    assert owed["value"] != "0"
    assert owed["sessions"] == [{"session_id": session, "owed": owed["value"]}]
    assert session in run("charging", "debt", "--driver", "bob").stdout
    terms = ok("charging", "session", "--session-id", session)["value"]
    driver = ("--station", "station", "--tariff-id", terms["tariff_id"], "--arbiter", "arbiter", "--wallet", "bob", "--yes")
    refused = run("charging", "authorize", *driver)
    assert "`datacar charging debt --driver ACCOUNT` names the sessions" in said(refused)
    ok("charging", "pay-debt", "--session-id", session, "--amount", owed["value"], "--wallet", "bob", "--yes")
    assert ok("charging", "debt", "--driver", "bob")["sessions"] == []


def test_what_only_the_chain_says_is_not_offered() -> None:
    shown = " ".join(run("charging", "resolve", "--help").output.replace("│", " ").split())
    assert "One of UPHELD, CREDITED, CORRECTED." in shown
    result = run("charging", "resolve", "--session-id", "0x" + "00" * 32, "--outcome", "LAPSED", "--statement", "x", "--yes")
    assert result.exit_code == Exit.USAGE
    assert "write one of UPHELD, CREDITED, CORRECTED" in said(result)


def test_reported_times_lie_behind() -> None:
    shown = " ".join(run("charging", "stop", "--help").output.replace("│", " ").split())
    assert "2027-01-31 12:00 or now" in shown
    assert "+7d" not in shown


# ---- proposals


def propose(home: Path, *args: str, member: str = "node1") -> Result:
    return run("gov", "propose", *args, "--reason", "x", "--key", str(home / member), "--yes", "--json")


def test_what_could_never_be_done_is_not_proposed(served: Served, home: Path) -> None:
    height = served.node.tip.height
    result = propose(home, "schedule-upgrade", "--version", "2", "--height", str(height + 50), "--name", "next")
    assert (result.exit_code, served.node.tip.height) == (Exit.REJECTED, height)
    assert (
        f"could never be carried out: governance BAD_HEIGHT: an upgrade needs more blocks of notice: height {height + 50}, least"
        in said(result)
    )
    assert propose(home, "disable-contract", "--contract", "charge").exit_code == Exit.REJECTED
    assert served.node.tip.height == height


def test_an_upgrade_that_comes_too_late_is_said_to(served: Served, home: Path) -> None:
    height = served.node.tip.height
    made = propose(home, "schedule-upgrade", "--version", "2", "--height", str(height + 110), "--name", "next")
    [number] = json.loads(made.stdout)["results"]
    assert "problem" not in run("gov", "show", str(number)).stdout
    for _ in range(30):
        served.node.commit()
    problem = f"governance BAD_HEIGHT: an upgrade needs more blocks of notice: height {height + 110}, least"
    assert f"problem: call 1 would fail now: {problem}" in run("gov", "show", str(number)).stdout
    assert ok("gov", "show", str(number))["calls"][0]["problem"].startswith(problem)
    assert problem in said(run("gov", "vote", str(number), "--no", "--key", str(home / "node2"), "--yes"))


def test_what_may_be_possible_later_is_warned_of(home: Path) -> None:
    made = propose(home, "spend-fees", "--to", "alice", "--amount", "5", "--purpose", "x", member="node2")
    assert made.exit_code == Exit.OK
    assert "as things stand the deciding vote on asset.spend_fees would fail" in said(made)


def test_a_wrong_key_of_a_proposed_call_is_named(home: Path) -> None:
    call = {"contract": "asset", "method": "freeze", "args": {"symbol": "DATR", "acount": "alice", "reason": "x"}}
    result = run("gov", "propose-calls", "--calls", json.dumps(call), "--reason", "", "--key", str(home / "node1"), "--yes")
    assert result.exit_code == Exit.USAGE
    assert "freeze has no 'acount' (it takes symbol, account, reason)" in said(result)


def test_only_votes_are_no_commands_of_their_own() -> None:
    shown = run("gov", "--help").output
    assert "set-parameters" not in shown
    assert "propose-calls" in shown
    assert "set-parameters" in run("gov", "propose", "--help").output


def test_the_last_block_is_named(served: Served) -> None:
    result = run("block", "99999")
    assert f"hint: the last block is {served.node.tip.height}" in said(result)


def test_a_payment_quote_of_the_past_names_dates() -> None:
    [loan_id] = json.loads(offer().stdout)["results"]
    ok("loan", "accept", "--loan-id", loan_id, "--wallet", "bob", "--yes")
    result = run("loan", "payoff-quote", "--loan-id", loan_id, "--day", "2020-01-01")
    assert "2020-01-01 is before 2023-11-1" in said(result)


def test_a_day_that_no_month_has_is_no_question_of_dates() -> None:
    parts = {"amount.kind": "fixed", "amount.price": "25", "amount.rate-e4": "0", "amount.cap": "0", "amount.unit": ""}
    parts |= {"every.every": "month", "every.on-day": "32", "start-ms": "now", "reference": "x", "payee": "shop"}
    parts |= {"collection.partial": "yes", "collection.carry": "yes", "cancellation.rule": "any_time"}
    parts |= {"cancellation.notice-days": "0"}
    result = run("order", "open", *(word for name, value in parts.items() for word in (f"--{name}", value)), "--yes")
    assert result.exit_code == Exit.USAGE
    assert "must be within 1 to 31, got 32 (give an object with every, on_day" in said(result)


def test_thresholds_are_all_shares() -> None:
    rows = run("gov", "thresholds").stdout.splitlines()[1:]
    assert rows
    assert all(row.count(" %") == 2 for row in rows)

"""The wallet's commands against a served node: what they print, what they keep secret, and how they end."""

import json
import os
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from datacar import Client, Wallet
from ledger.policy import parse_address
from ledger.transaction import Call, Transaction
from node.commands import agreement, sending_options, wallet_files
from node.commands.exits import Exit
from tests.command_line import ok, run
from tests.memory_node import FAUCET_SEED
from tests.served_node import Served, serve

PHRASE: Final = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
SOMEONE: Final = Wallet.from_seed(b"s" * 32).address
FAUCET: Final = Wallet.from_seed(FAUCET_SEED)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("node") / "db") as found:
        yield found


@pytest.fixture(autouse=True)
def home(tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("DATACAR__CLIENT__RPC", served.url)
    monkeypatch.setenv(sending_options.PASSWORD_VARIABLE, "correct horse")
    return tmp_path


def fund(served: Served, address: str, motes: int) -> str:
    raw = served.node.sign(FAUCET_SEED, (Call("asset", "transfer", (parse_address(address), motes)),)).raw
    return "0x" + raw.hex()


def test_a_wallet_from_words_to_payment(served: Served, home: Path) -> None:
    made = ok("wallet", "restore", "alice", "--mnemonic-file", "-", "--index", "1", stdin=PHRASE)
    assert made["address"] == Wallet.from_mnemonic(PHRASE, index=1).address
    assert "mnemonic" not in made
    file = Path(made["file"])
    assert (file.parent, file.stat().st_mode & 0o777) == (home / "datacar" / "wallets", 0o600)
    assert "abandon" not in file.read_text()
    assert ok("wallet", "list") == [{"name": "alice", "address": made["address"], "path": "m/44'/1'/0'/0'/1'"}]
    assert run("wallet", "address", "alice").stdout.strip() == made["address"]
    assert ok("tx", "send", fund(served, made["address"], 200_000_000))["status"] == "succeeded"
    before = ok("account", SOMEONE)["balance_motes"]
    sent = ok("wallet", "send", "--from", "alice", "--to", SOMEONE, "--amount", "1.5", "--yes")
    assert (sent["status"], sent["amount"], sent["to"]) == ("succeeded", "1.5", SOMEONE)
    assert int(ok("account", SOMEONE)["balance_motes"]) - int(before) == 150_000_000
    assert ok("wallet", "balance", "alice")["balance"] == "0.5"


def test_new_shows_the_words_once_and_overwrites_nothing() -> None:
    made = ok("wallet", "new", "--words", "12")
    assert Wallet.from_mnemonic(made["mnemonic"]).address == made["address"]
    again = run("wallet", "new")
    assert again.exit_code == Exit.ERROR
    assert "exists already" in again.stderr
    assert run("wallet", "address", "default").stdout.strip() == made["address"]


def test_spending_asks_first(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """With what it costs and what is left; the answer no sends nothing, and yes leaves what was said."""
    made = ok("wallet", "restore", "alice", "--mnemonic-file", "-", "--index", "2", stdin=PHRASE)
    ok("tx", "send", fund(served, made["address"], 250_000_000))
    height = served.node.tip.height
    monkeypatch.setattr(agreement, "is_terminal", lambda: True)
    payment = ("wallet", "send", "--from", "alice", "--to", SOMEONE, "--amount", "1")
    refused = run(*payment, stdin="n\n")
    assert refused.exit_code == Exit.ERROR
    assert f"Send 1 DATR from {made['address']} to {SOMEONE}?" in refused.stderr
    assert "; no fee" in refused.stderr
    assert "balance: 2.5 DATR free, 1.5 DATR afterwards" in refused.stderr
    assert served.node.tip.height == height
    sent = run(*payment, stdin="y\n")
    assert sent.exit_code == Exit.OK
    assert f"event  asset.Transferred: sender {made['address']} (you), recipient {SOMEONE}, amount 1 DATR" in sent.stdout
    assert ok("wallet", "balance", "alice")["balance"] == "1.5"


UNASKED: Final = (
    ("wallet", "send", "--to", SOMEONE, "--amount", "1"),
    ("asset", "transfer", "--to", SOMEONE, "--amount", "1"),
    ("gov", "vote", "1", "--key", "none.key"),
    ("gov", "propose", "remove", "node1", "--key", "none.key"),
    ("gov", "propose", "promote", "node1", "--key", "none.key"),
    ("gov", "propose", "add-observer", "none.json", "--key", "none.key"),
    ("devnet", "reset", "--dir", "nowhere"),
)


@pytest.mark.parametrize("args", UNASKED, ids=lambda args: " ".join(args[:3]))
def test_without_a_terminal_nothing_is_begun_and_the_way_on_is_said(args: tuple[str, ...]) -> None:
    """At once, before keys are read or a node is asked, with the same code everywhere."""
    rpc = () if args[0] == "devnet" else ("--rpc", "http://127.0.0.1:1")
    result = run(*args, *rpc, "--json", stdin="y\n")
    assert result.exit_code == Exit.USAGE, result.output
    assert "there is no terminal to ask on" in result.stderr
    assert "--yes" in result.stderr
    assert json.loads(result.stdout)["error"]["data"]["reason"] == "not_confirmed"


def test_exit_codes_tell_what_happened(monkeypatch: pytest.MonkeyPatch) -> None:
    ok("wallet", "restore", "poor", "--mnemonic-file", "-", "--index", "7", stdin=PHRASE)
    send = ("wallet", "send", "--from", "poor", "--to", SOMEONE, "--yes", "--amount")
    assert run(*send, "5").exit_code == Exit.REJECTED
    assert run(*send, "1.123456789").exit_code == Exit.USAGE
    assert run("wallet", "send", "--from", "poor", "--to", "datr1x", "--amount", "1", "--yes").exit_code == Exit.USAGE
    assert run("wallet", "balance", "nobody").exit_code == Exit.ERROR
    assert run(*send, "5", "--rpc", "http://127.0.0.1:1").exit_code == Exit.UNREACHABLE
    unknown = "0x" + "00" * 32
    assert run("tx", "wait", unknown, "--timeout", "0.2").exit_code == Exit.OUTCOME_UNKNOWN
    assert run("tx", "wait", unknown, "--valid-until-ms", "1").exit_code == Exit.REJECTED  # expired
    monkeypatch.setenv(sending_options.PASSWORD_VARIABLE, "wrong")
    assert run(*send, "5").exit_code == Exit.REJECTED


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o644, 0o660])
def test_a_password_that_others_may_read_is_refused(mode: int, tmp_path: Path) -> None:
    """With the chmod to type; nothing is made with it."""
    file = tmp_path / "password"
    file.write_text("correct horse\n")
    file.chmod(mode)
    refused = run("wallet", "new", "--password-file", str(file))
    assert refused.exit_code == Exit.ERROR
    assert f"may be used by others than its owner (mode {mode:04o})" in refused.stderr
    assert f"chmod 600 {file}" in refused.stderr
    assert "correct horse" not in refused.output
    assert ok("wallet", "list") == []


def test_a_password_is_read_from_a_file_of_its_owner_and_from_a_pipe(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv(sending_options.PASSWORD_VARIABLE)
    file = tmp_path / "password"
    file.write_text("correct horse\r\nand a note\n")
    file.chmod(0o600)
    made = ok("wallet", "new", "--words", "12", "--password-file", str(file))
    receiving, sending = os.pipe()
    os.write(sending, b"correct horse\n")
    os.close(sending)
    try:
        opened = wallet_files.unlock("default", wallet_files.read_password(Path(f"/dev/fd/{receiving}")))
    finally:
        os.close(receiving)
    assert opened.address == made["address"]


@pytest.mark.parametrize("way", ["wallet", "tx"])
def test_interrupted_while_sending_the_outcome_is_unknown(
    way: str, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the transaction may have left: its id and how to ask for it, never a silent end."""

    def interrupt(_client: Client, _transaction: Transaction, _timeout_s: float | None = None) -> None:
        raise KeyboardInterrupt

    made = ok("wallet", "restore", "alice", "--mnemonic-file", "-", stdin=PHRASE)
    ok("tx", "send", fund(served, made["address"], 200_000_000))
    monkeypatch.setattr(Client, "send", interrupt)
    raw = fund(served, SOMEONE, 5)
    payment = ("wallet", "send", "--from", "alice", "--to", SOMEONE, "--amount", "1", "--yes")
    result = run(*(payment if way == "wallet" else ("tx", "send", raw)), "--json")
    assert result.exit_code == Exit.OUTCOME_UNKNOWN
    error = json.loads(result.stdout)["error"]["data"]
    assert error["reason"] == "outcome_unknown"
    sending = next(line for line in result.stderr.splitlines() if line.startswith("sending 0x"))
    assert error["id"] in sending
    assert str(error["valid_until_ms"]) in sending
    assert f"datacar tx wait {error['id']}" in result.stderr


def test_events_and_references_cannot_forge_lines(served: Served) -> None:
    evil = "x\x1b[3A\nstatus  failed"
    call = Call("charging", "register_station", (evil, FAUCET.policy.address, b"t" * 32))
    raw = "0x" + served.node.sign(FAUCET_SEED, (call,)).raw.hex()
    for result in (run("tx", "decode", raw), run("tx", "simulate", raw)):
        assert result.exit_code == 0, result.output
        assert "\x1b" not in result.stdout
        assert "\nstatus" not in result.stdout


def test_a_transaction_is_read_simulated_and_followed(served: Served, tmp_path: Path) -> None:
    file = tmp_path / "tx.hex"
    file.write_text(fund(served, SOMEONE, 150_000_000) + "\n")
    decoded = ok("tx", "decode", str(file))
    assert decoded["text"].endswith(f"asset.transfer(to={SOMEONE}, amount=1.5 DATR)")
    assert ok("tx", "get", decoded["id"])["status"] == "not_found"
    assert ok("tx", "simulate", str(file))["outcome"] == "succeeded"
    assert ok("tx", "get", decoded["id"])["status"] == "not_found"  # simulating sends nothing
    sent = ok("tx", "send", str(file))
    assert ok("tx", "wait", decoded["id"])["height"] == sent["height"]
    [event] = ok("tx", "get", decoded["id"])["receipt"]["events"]
    assert (event["fields"]["amount"], event["raw_fields"]["amount"], sent["events"]) == ("1.5", "150000000", [event])
    for shown in (run("tx", "get", decoded["id"]), run("tx", "wait", decoded["id"]), run("tx", "send", str(file))):
        assert f"recipient {SOMEONE}, amount 1.5 DATR" in shown.stdout
    assert run("tx", "send", "0xzz").exit_code == Exit.ERROR


def test_looking_at_the_chain(served: Served) -> None:
    ok("tx", "send", fund(served, SOMEONE, 1))
    height = served.node.tip.height
    block = ok("block", str(height), "--full")
    assert (block["height"], len(block["transactions"])) == (height, 1)
    assert ok("block", block["hash"])["height"] == height
    assert "datr1" in run("block", "--full").stdout
    assert re.search(r"^time  +20\d\d-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z$", run("block").stdout, re.MULTILINE)
    assert run("block", "x").exit_code == Exit.USAGE
    assert ok("members")["members"][0]["id"] == "node1"
    assert "node1" in run("members").stdout
    assert ok("peers")["items"][0]["id"] == "node2"
    assert "node2" in run("peers").stdout
    assert "DATR" in run("account", SOMEONE).stdout


def test_any_method_can_be_called() -> None:
    assert ok("rpc", "chain_info")["chain_id"] == "memory-1"
    found = ok("rpc", "contract_query", "contract=asset", "method=balance_of", f'args=["{SOMEONE}"]')
    assert found["value"]["held"] == "0"
    assert ok("rpc", "dev_faucet", f"address={SOMEONE}", 'amount_motes="5"')["duplicate"] is False
    assert run("rpc", "nope").exit_code == Exit.ERROR
    assert run("rpc", "chain_info", "height").exit_code == Exit.USAGE


@pytest.mark.parametrize("args", [("new", "fresh"), ("restore", "fresh"), ("restore", "fresh", "--mnemonic-file", "-")])
def test_without_a_terminal_nobody_types_a_password(
    args: tuple[str, ...], home: Path, monkeypatch: pytest.MonkeyPatch, recwarn: pytest.WarningsRecorder
) -> None:
    """It says what to give instead, and leaves no wallet behind that nobody could open."""
    monkeypatch.delenv(sending_options.PASSWORD_VARIABLE)
    result = run("wallet", *args, "--json", stdin=PHRASE)
    assert result.exit_code == Exit.USAGE
    assert json.loads(result.stdout)["error"]["data"]["reason"] == "not_confirmed"
    assert ("--mnemonic-file" if args == ("restore", "fresh") else "--password-file") in result.stderr
    assert not recwarn.list
    assert not list(home.rglob("fresh.json"))


def test_a_wrong_password_is_no_rejection(served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """No node refused anything: exit code 4 would say so."""
    made = ok("wallet", "restore", "alice", "--mnemonic-file", "-", "--index", "9", stdin=PHRASE)
    ok("tx", "send", fund(served, made["address"], 250_000_000))
    height = served.node.tip.height
    monkeypatch.setenv(sending_options.PASSWORD_VARIABLE, "wrong")
    result = run("wallet", "send", "--from", "alice", "--to", SOMEONE, "--amount", "1", "--yes")
    assert (result.exit_code, served.node.tip.height) == (Exit.ERROR, height)
    assert "wrong password" in result.stderr


def test_nothing_is_never_paid(served: Served) -> None:
    height = served.node.tip.height
    result = run("wallet", "send", "--to", SOMEONE, "--amount", "0", "--yes")
    assert result.exit_code == Exit.USAGE
    assert "a payment of nothing is not sent" in result.stderr
    assert served.node.tip.height == height


def test_a_wallet_here_is_named_wherever_an_account_is(served: Served) -> None:
    made = ok("wallet", "restore", "alice", "--mnemonic-file", "-", "--index", "3", stdin=PHRASE)
    ok("wallet", "restore", "bob", "--mnemonic-file", "-", "--index", "4", stdin=PHRASE)
    ok("tx", "send", fund(served, made["address"], 250_000_000))
    assert ok("account", "alice")["balance"] == "2.5"
    assert ok("wallet", "send", "--from", "alice", "--to", "bob", "--amount", "1", "--yes")["status"] == "succeeded"
    assert ok("account", "bob")["balance"] == "1"
    result = run("account", "carol")
    assert result.exit_code == Exit.USAGE
    assert "'carol' is no address and no wallet here" in result.stderr

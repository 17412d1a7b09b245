"""The wallet's commands against a served node: what they print, what they keep secret, and how they end."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner, Result

from cli import app
from datacar import Client, Wallet
from ledger.policy import parse_address
from ledger.transaction import Call, Transaction
from node.commands import wallet_files
from node.commands.exits import Exit
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
    monkeypatch.setenv(wallet_files.PASSWORD_VARIABLE, "correct horse")
    return tmp_path


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=stdin)


def ok(*args: str, stdin: str | None = None) -> Any:
    result = run(*args, "--json", stdin=stdin)
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


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
    assert again.exit_code == Exit.REJECTED
    assert "exists already" in again.stderr
    assert run("wallet", "address", "default").stdout.strip() == made["address"]


def test_spending_asks_first(served: Served) -> None:
    ok("wallet", "restore", "alice", "--mnemonic-file", "-", stdin=PHRASE)
    height = served.node.tip.height
    refused = run("wallet", "send", "--from", "alice", "--to", SOMEONE, "--amount", "1", stdin="n\n")
    assert refused.exit_code == Exit.ERROR
    assert "Send 1 DATR" in refused.stderr
    assert served.node.tip.height == height


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
    monkeypatch.setenv(wallet_files.PASSWORD_VARIABLE, "wrong")
    assert run(*send, "5").exit_code == Exit.REJECTED


@pytest.mark.parametrize("way", ["wallet", "tx"])
def test_interrupted_while_sending_the_outcome_is_unknown(
    way: str, served: Served, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after the transaction may have left: its id and how to ask for it, never a silent end."""

    def interrupt(_client: Client, _transaction: Transaction, _timeout_s: float | None = None) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(Client, "send", interrupt)
    ok("wallet", "restore", "alice", "--mnemonic-file", "-", stdin=PHRASE)
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
    assert "amount=150000000" in run("tx", "get", decoded["id"]).stdout
    assert run("tx", "send", "0xzz").exit_code == Exit.ERROR


def test_looking_at_the_chain(served: Served) -> None:
    ok("tx", "send", fund(served, SOMEONE, 1))
    height = served.node.tip.height
    block = ok("block", str(height), "--full")
    assert (block["height"], len(block["transactions"])) == (height, 1)
    assert ok("block", block["hash"])["height"] == height
    assert "datr1" in run("block", "--full").stdout
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

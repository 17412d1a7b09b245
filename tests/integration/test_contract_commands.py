"""Commands made of contracts against a served node: what they show before anything is sent, how they ask, and how they end."""

import json
import os
import pty
import re
import subprocess
import sys
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any, Final

import pytest

import cli
from datacar import Client, Wallet, format_motes, keystore, parse_datr
from datacar.errors import RejectedError
from ledger.codec import encode
from ledger.parameters import ChainParameters
from ledger.policy import parse_address
from ledger.transaction import Call
from node.commands import agreement, contract_group, sending_options, wallet_files
from node.commands.exits import Exit
from node.rpc.server import RpcServer
from node.secret_files import write_seed
from tests.command_line import ok, run, said
from tests.memory_node import FAUCET_SEED, MemoryNode
from tests.served_node import LoopThread, Served, Settings, serve
from vm.contract import U32, U64, Context, Contract, read, write
from vm.registry import Registry, default_registry

ROOT: Final = Path(cli.__file__).parent
DAY_MS: Final = 86_400_000
BOB: Final = Wallet.from_seed(b"b" * 32)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("node") / "db") as found:
        yield found


@pytest.fixture(scope="module")
def wallets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two wallets on this machine, alice's key also as a file, and the faucet's."""
    home = tmp_path_factory.mktemp("home")
    write_seed(home / "faucet.key", FAUCET_SEED)
    alice = Wallet.generate(12)
    write_seed(home / "alice.key", alice.key.seed)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("XDG_DATA_HOME", str(home))
        for name, wallet in (("alice", alice), ("bob", Wallet.generate(12))):
            wallet_files.save(name, wallet, "correct horse", account=0, index=0)
    return home


@pytest.fixture(autouse=True)
def environment(wallets: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_DATA_HOME", str(wallets))
    monkeypatch.setenv("DATACAR__CLIENT__RPC", served.url)
    monkeypatch.setenv(sending_options.PASSWORD_VARIABLE, "correct horse")


@pytest.fixture
def key(wallets: Path) -> tuple[str, str]:
    """Alice signs, without the second that a password takes."""
    return ("--key", str(wallets / "alice.key"))


@pytest.fixture
def funded(wallets: Path) -> None:
    ok("asset", "transfer", "--to", "alice", "--amount", "1000", "--key", str(wallets / "faucet.key"), "--yes")


def balance(name: str) -> Any:
    return ok("asset", "balance-of", "--address", name)["value"]


@pytest.mark.usefixtures("funded")
def test_what_a_call_does_is_shown_before_it_is_sent(served: Served) -> None:
    height, before = served.node.tip.height, balance("alice")
    args = ("asset", "hold-for", "--holder", "bob", "--amount", "2.5 DATR", "--purpose", "rent", "--deadline-ms", "+7d")
    result = run(*args, "--wallet", "alice", "--dry-run")
    assert (result.exit_code, result.stdout) == (0, "")
    shown = said(result)
    alice, bob = (wallet_files.look(name).address for name in ("alice", "bob"))
    assert f"wallet alice, {alice}, calls asset.hold_for" in shown
    assert f"holder {bob} (wallet bob) amount 2.5 DATR purpose rent deadline_ms 20" in shown
    assert "money: asset.Held: hold_id (decided when sent)" in shown, "the simulation's is no id of anything"
    assert f"owner {alice} (you), holder {bob} (wallet bob), purpose rent, amount 2.5 DATR" in shown
    assert "; no fee" in shown
    assert (served.node.tip.height, balance("alice")) == (height, before)
    simulated = ok(*args, "--wallet", "alice", "--dry-run")
    assert simulated["events"][0]["fields"]["amount"] == "2.5"
    assert simulated["results"] == [simulated["events"][0]["raw_fields"]["hold_id"]] == ["(decided when sent)"]
    assert simulated["gas_limit"] > simulated["gas_used"] > 0


@pytest.mark.usefixtures("funded")
def test_a_write_method_is_sent_and_a_read_method_asked(key: tuple[str, str]) -> None:
    args = ("--holder", "bob", "--amount", "2.5", "--purpose", "rent", "--deadline-ms", "+7d")
    sent = ok("asset", "hold-for", *args, *key, "-y")
    assert sent["status"] == "succeeded"
    [hold_id] = sent["results"]
    assert [event["name"] for event in sent["events"]] == ["Held"]
    held = ok("asset", "get-hold", "--hold-id", hold_id)
    assert (held["value"]["amount"], held["value"]["holder"]) == ("2.5", wallet_files.look("bob").address)
    text = run("asset", "get-hold", "--hold-id", hold_id).stdout
    assert "amount       2.5 DATR" in text
    assert "(wallet bob)" in text
    before = ok("asset", "balance-of", "--address", "alice", "--height", str(sent["height"] - 1))
    assert before["height"] == sent["height"] - 1
    assert before["value"]["held"] != balance("alice")["held"]


@pytest.mark.usefixtures("funded")
def test_without_a_terminal_nobody_can_agree(served: Served, key: tuple[str, str], monkeypatch: pytest.MonkeyPatch) -> None:
    height = served.node.tip.height
    args = ("asset", "transfer", "--to", "bob", "--amount", "1", *key)
    result = run(*args, stdin="y\n")
    assert result.exit_code == Exit.USAGE
    assert "there is no terminal to ask on hint: look with --dry-run, then say --yes" in said(result)
    monkeypatch.setattr(agreement, "is_terminal", lambda: True)
    assert run(*args, stdin="n\n").exit_code == Exit.ERROR
    assert served.node.tip.height == height
    assert run(*args, stdin="y\n").exit_code == Exit.OK


@pytest.mark.usefixtures("funded")
@pytest.mark.parametrize(("answer", "code", "blocks"), [(b"n\n", Exit.ERROR, 0), (b"y\n", Exit.OK, 1)])
def test_on_a_terminal_it_asks(served: Served, answer: bytes, code: Exit, blocks: int) -> None:
    """A real process on a real pseudo-terminal: the summary and the question come before the answer counts."""
    height = served.node.tip.height
    command = [sys.executable, str(ROOT / "cli.py"), "asset", "transfer", "--to", "bob", "--amount", "1.25", "--wallet", "alice"]
    ours, theirs = pty.openpty()
    try:
        process = subprocess.Popen(command, stdin=theirs, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT)
        os.write(ours, answer)
        _, errors = process.communicate(timeout=60)
    finally:
        os.close(ours)
        os.close(theirs)
    assert process.returncode == code, errors
    text = errors.decode()
    assert text.index("amount  1.25 DATR") < text.index("Send it? [y/N]")
    assert served.node.tip.height == height + blocks


def test_what_would_fail_is_not_sent(served: Served, key: tuple[str, str]) -> None:
    height = served.node.tip.height
    result = run("asset", "transfer", "--to", "bob", "--amount", "799000000", *key, "--yes", "--json")
    assert result.exit_code == Exit.REJECTED
    error = json.loads(result.stdout)["error"]["data"]
    assert error["code"] == "INSUFFICIENT_FUNDS"
    assert "need 79900000000000000, have " in error["message"], "for programs, as RPC gives it"
    assert ", calls" in result.stderr, "who has too little is told before"
    alice = wallet_files.look("alice").address
    assert (
        f"INSUFFICIENT_FUNDS: the account has too little free money: symbol DATR, account {alice}, need 799000000 DATR, have "
        in said(result)
    )
    assert f"hint: fund the account, or send less; `datacar account {alice}` shows what it has" in said(result)
    assert served.node.tip.height == height
    unknown = run("asset", "get-hold", "--hold-id", "0x" + "00" * 32)
    assert unknown.exit_code == Exit.REJECTED
    assert "no such hold" in unknown.stderr
    unreachable = run("asset", "supply", "--rpc", "http://127.0.0.1:1")
    assert unreachable.exit_code == Exit.UNREACHABLE


@pytest.mark.usefixtures("funded")
def test_amounts_of_another_asset_have_its_decimals(key: tuple[str, str]) -> None:
    rights = ("--rights.mintable", "yes", "--rights.burnable", "yes", "--rights.freezable", "no")
    first = json.dumps({"address": "alice", "amount": "1000.5", "category": "community", "schedule": None, "authority": None})
    issue = (
        "--symbol",
        "CARM",
        "--name",
        "Carma",
        "--decimals",
        "2",
        *rights,
        "--allocations",
        first,
        "--wallet",
        "alice",
        "--yes",
    )
    assert "supply 1000.5 CARM" in said(run("asset", "issue", *issue, "--dry-run"))  # no node knows it yet
    assert ok("asset", "issue", *issue)["events"][0]["fields"]["supply"] == "1000.5"
    ok("asset", "send", "--symbol", "CARM", "--to", "bob", "--amount", "12.25", *key, "--yes")
    assert "free    12.25 CARM" in run("asset", "balance", "--symbol", "CARM", "--address", "bob").stdout
    assert ok("asset", "supply-of", "--symbol", "CARM")["value"] == "1000.5"
    fine = run("asset", "send", "--symbol", "CARM", "--to", "bob", "--amount", "0.001", *key, "--yes")
    assert "for --amount: '0.001' is not a whole number of units (write CARM" in said(fine)
    unknown = run("asset", "send", "--symbol", "CRAM", "--to", "alice", "--amount", "1", *key, "--yes")
    assert unknown.exit_code == Exit.REJECTED
    assert "there is no asset CRAM" in said(unknown)


@pytest.mark.usefixtures("funded")
def test_what_is_paid_out_of_a_hold_is_of_its_asset(key: tuple[str, str], wallets: Path) -> None:
    """With two decimals 1.50 DATR would be 1,500,000 of it."""
    faucet = ("--key", str(wallets / "faucet.key"), "--yes")
    rights = ("--rights.mintable", "no", "--rights.burnable", "no", "--rights.freezable", "no")
    owner = Wallet.from_seed(FAUCET_SEED).address
    first = json.dumps({"address": owner, "amount": "9000000", "category": "other", "schedule": None, "authority": None})
    ok("asset", "issue", "--symbol", "EURX", "--name", "euro", "--decimals", "2", *rights, "--allocations", first, *faucet)
    terms = ("--holder", "alice", "--purpose", "deposit", "--deadline-ms", "+7d")
    [hold_id] = ok("asset", "hold-asset-for", "--symbol", "EURX", "--amount", "2000000", *terms, *faucet)["results"]
    args = ("asset", "capture", "--hold-id", hold_id, "--to", "alice", "--amount")
    shown = said(run(*args, "1.50", *key, "--dry-run"))
    assert "amount 1.5 EURX" in shown
    assert "DATR" not in shown.split("gas:")[0]
    refused = run(*args, "1.5 DATR", *key, "--yes")
    assert (refused.exit_code, "'1.5 DATR' is not an amount of EURX" in said(refused)) == (Exit.USAGE, True)
    too_much = run(*args, "2000000.01", *key, "--yes")
    assert "amount 2000000.01 EURX, held 2000000 EURX" in said(too_much)
    assert ok(*args, "1.50", *key, "--yes")["events"][0]["fields"]["amount"] == "1.5"
    assert ok("asset", "balance", "--symbol", "EURX", "--address", "alice")["value"]["free"] == "1.5"
    released = run("asset", "release", "--hold-id", hold_id, *key, "--yes")
    assert "amount 1999998.5 EURX" in released.stdout
    gone = run(*args, "1.50", *key, "--yes")
    assert (gone.exit_code, "there is no such hold" in said(gone)) == (Exit.REJECTED, True)
    unreachable = run(*args, "1.50", *key, "--yes", "--rpc", "http://127.0.0.1:1")
    assert unreachable.exit_code == Exit.UNREACHABLE, "in what it is nobody else can say"


@pytest.mark.usefixtures("funded")
def test_what_is_reported_for_a_percentage_is_in_datr(key: tuple[str, str], wallets: Path) -> None:
    """A bare number is DATR there too, and a number of units where the order is for units."""

    def opened(kind: str, **amount: str) -> str:
        given = {"price": "0", "rate-e4": "0", "cap": "500", "unit": ""} | amount
        flags = [part for name, value in given.items() for part in (f"--amount.{name}", value)]
        terms = ("--every.every", "day", "--start-ms", "now", "--collection.partial", "yes", "--collection.carry", "yes")
        end = ("--cancellation.rule", "notice", "--cancellation.notice-days", "0", "--reference", "rent")
        args = ("--payee", "alice", "--amount.kind", kind, *flags, *terms, *end)
        faucet = ("--key", str(wallets / "faucet.key"), "--yes")
        [order_id] = ok("order", "open", *args, *faucet)["results"]
        return str(order_id)

    share, counted = opened("percentage", **{"rate-e4": "5 %"}), opened("per_unit", price="2", unit="kWh")
    report = ("order", "report", "--period", "1", "--order-id")
    sent = run(*report, share, "--quantity", "1000", *key, "--yes")
    assert sent.exit_code == 0, sent.output
    assert "quantity 1000 DATR" in said(sent)
    assert "quantity 1000 DATR, amount 50 DATR" in sent.stdout
    assert "progress.reported 1000 DATR" in " ".join(run("order", "get", "--order-id", share).stdout.split())
    assert ok("order", "get", "--order-id", share)["value"]["progress"]["reported"] == "1000"
    told = ok(*report, counted, "--quantity", "120", *key, "--yes")["events"][0]["fields"]
    assert (told["quantity"], told["amount"]) == (120, "240")
    money = run(*report, counted, "--quantity", "1000 DATR", *key, "--yes")
    assert (money.exit_code, "is not a number of units" in said(money)) == (Exit.USAGE, True)


@pytest.mark.usefixtures("funded")
def test_nothing_is_signed_for_another_chain_than_the_configured_one(
    served: Served, key: tuple[str, str], monkeypatch: pytest.MonkeyPatch
) -> None:
    args = ("asset", "transfer", "--to", "bob", "--amount", "1", *key, "--yes", "--json")
    height = served.node.tip.height
    monkeypatch.setenv("DATACAR__CLIENT__GENESIS_HASH", "0x" + "09" * 32)
    result = run(*args)
    assert result.exit_code == Exit.ERROR, result.output
    assert json.loads(result.stdout)["error"]["data"]["reason"] == "wrong_chain"
    plain = run("wallet", "send", "--from", "alice", "--to", "bob", "--amount", "1", "--yes", "--json")
    assert json.loads(plain.stdout)["error"]["data"]["reason"] == "wrong_chain"
    assert served.node.tip.height == height
    monkeypatch.setenv("DATACAR__CLIENT__GENESIS_HASH", "0x09")
    assert run(*args).exit_code == Exit.USAGE
    monkeypatch.setenv("DATACAR__CLIENT__GENESIS_HASH", "0x" + served.node.genesis_hash.hex())
    assert run(*args).exit_code == 0


@pytest.mark.usefixtures("funded")
def test_failures_about_another_asset_are_in_its_units(served: Served, key: tuple[str, str], wallets: Path) -> None:
    """Also where the failure does not name the asset: the call does. Who has only the receipt reads of smallest units."""
    rights = ("--rights.mintable", "yes", "--rights.burnable", "no", "--rights.freezable", "no", "--rights.max-supply", "100")
    first = json.dumps({"address": "alice", "amount": "99.5", "category": "community", "schedule": None, "authority": None})
    ok("asset", "issue", "--symbol", "TOK", "--name", "Token", "--decimals", "3", *rights, "--allocations", first, *key, "--yes")
    minting = run("asset", "mint", "--symbol", "TOK", "--to", "bob", "--amount", "2", *key, "--yes", "--json")
    assert minting.exit_code == Exit.REJECTED
    assert "supply 101.5 TOK, limit 100 TOK" in minting.stderr
    assert "supply 101500, limit 100000" in json.loads(minting.stdout)["error"]["message"]
    alice = bytes.fromhex((wallets / "alice.key").read_text())
    bob = parse_address(wallet_files.look("bob").address)
    transaction = served.node.sign(alice, (Call("asset", "mint", ("TOK", bob, 2_000)),))
    sent = run("tx", "send", "0x" + transaction.raw.hex())
    assert sent.exit_code == Exit.REJECTED
    assert "MAX_SUPPLY: there may never be so much of the asset: supply 101.5 TOK, limit 100 TOK" in sent.stderr
    got = run("tx", "get", "0x" + transaction.id.hex())
    assert "supply 101500 smallest units of the asset, limit 100000 smallest units of the asset" in got.stdout
    raw = ok("tx", "get", "0x" + transaction.id.hex())["receipt"]["error"]
    assert raw["message"].endswith("supply 101500, limit 100000")


@pytest.mark.usefixtures("funded")
def test_every_receipt_has_one_form_for_programs_and_one_for_people(served: Served, key: tuple[str, str]) -> None:
    """Whichever command prints it: `asset transfer`, `wallet send`, `tx send`, `tx get`, `tx wait`."""
    bob = wallet_files.look("bob").address
    by_method = ok("asset", "transfer", "--to", "bob", "--amount", "1.5", *key, "--yes")
    by_wallet = ok("wallet", "send", "--to", bob, "--amount", "1.5", "--from", "alice", "--yes")
    for sent in (by_method, by_wallet):
        got = ok("tx", "get", sent["id"])
        assert sent["events"] == got["receipt"]["events"] == ok("tx", "wait", sent["id"])["receipt"]["events"]
        assert sent["events"][0]["fields"]["amount"] == "1.5"
        assert {name: sent[name] for name in ("id", "status", "height", "index")} == {
            name: got[name] for name in ("id", "status", "height", "index")
        }
        assert sent["raw_results"] == got["receipt"]["raw_results"]
    texts = [
        run("asset", "transfer", "--to", "bob", "--amount", "1.5", *key, "--yes"),
        run("wallet", "send", "--to", bob, "--amount", "1.5", "--from", "alice", "--yes"),
        run("tx", "get", by_method["id"]),
    ]
    for text in texts:
        [event] = [line for line in text.stdout.splitlines() if line.startswith("event ")]
        assert event.startswith("event  asset.Transferred: sender datr1")
        assert event.endswith(f"recipient {bob} (wallet bob), amount 1.5 DATR")


@pytest.mark.usefixtures("funded")
def test_a_loan_is_offered_in_words_of_people(key: tuple[str, str], tmp_path: Path) -> None:
    """By flags for each part, and by a file of the same words; what a read prints in JSON can be given again."""
    terms = {"principal": "100", "annual_rate": "7 %", "instalments": 6, "disbursed_on": 0, "day_count": "30/360"}
    file = tmp_path / "terms.json"
    file.write_text(json.dumps(terms | {"amortization": "equal_instalments", "late_fee": "1.5 DATR"}))
    flags = [part for name, value in terms.items() for part in (f"--terms.{name.replace('_', '-')}", str(value))]
    flags += ["--terms.amortization", "equal_instalments", "--terms.late-fee", "1.5"]
    common = ("--borrower", "bob", "--expires-ms", "+2d", *key, "--yes")
    ids = [ok("loan", "offer", *given, *common)["results"][0] for given in (["--terms", str(file)], flags)]
    first, second = (ok("loan", "get", "--loan-id", loan_id)["value"]["agreement"]["terms"] for loan_id in ids)
    assert first == second
    assert (first["principal"], first["annual_rate"], first["late_fee"]) == ("100", "7", "1.5")
    shown = run("loan", "get", "--loan-id", ids[0]).stdout
    assert ["agreement.terms.annual_rate", "7", "%"] in [line.split() for line in shown.splitlines()]
    again = ok("loan", "offer", "--terms", json.dumps(first), *common)
    assert ok("loan", "get", "--loan-id", again["results"][0])["value"]["agreement"]["terms"] == first
    accepting = run("loan", "accept", "--loan-id", ids[0], "--wallet", "bob", "--dry-run")
    assert ["agreement.terms.late_fee", "1.5", "DATR"] in [line.split() for line in accepting.stderr.splitlines()]
    refused = run("loan", "offer", "--terms", str(file), "--terms.principal", "5", *common)
    assert refused.exit_code == Exit.USAGE
    wrong = run("loan", "offer", *flags, "--terms.retry-days", "5", "--terms.retry-days", "3", *common)
    assert "for --terms: retry_days must be" in said(wrong)


@pytest.mark.usefixtures("funded")
def test_a_tariff_is_published_in_ocpi_s_form(key: tuple[str, str], tmp_path: Path) -> None:
    components = [{"type": "ENERGY", "price": 0.39, "vat": 20, "step_size": 1}]
    file = tmp_path / "tariff.json"
    tariff = {"id": "t1", "currency": "DATR", "preauthorize_amount": 20, "elements": [{"price_components": components}]}
    file.write_text(json.dumps(tariff))
    [tariff_id] = ok("charging", "publish-tariff", "--tariff", str(file), *key, "--yes")["results"]
    shown = run("charging", "tariff", "--tariff-id", tariff_id).stdout
    assert "preauthorize                            20 DATR" in shown
    assert "0.39 DATR" in shown


def test_a_wallet_of_an_earlier_version_signs_too(served: Served, wallets: Path) -> None:
    """Its file does not name the public key: the password is needed before anything can be simulated."""
    old = Wallet.generate(12)
    labels = {"address": old.address, "path": "m/44'/1'/0'/0'/0'", "account": "0", "index": "0"}
    locked = keystore.lock(old.mnemonic.encode(), "correct horse", kind=wallet_files.KIND, public=labels)
    keystore.write(wallet_files.wallets_home() / "old.json", locked)
    ok("asset", "transfer", "--to", "old", "--amount", "1", "--key", str(wallets / "faucet.key"), "--yes")
    assert ok("asset", "transfer", "--to", "bob", "--amount", "0.5", "--wallet", "old", "--yes")["status"] == "succeeded"
    assert run("wallet", "multisig", "key", "old").stdout.strip() == "0x" + old.key.public_key.hex()
    assert ok("wallet", "address", "old")["public_key"] is None
    (wallet_files.wallets_home() / "damaged.json").write_text("{")
    assert run("asset", "balance-of", "--address", "old").exit_code == 0  # a damaged file is no hindrance


@pytest.fixture
def priced(tmp_path: Path) -> Iterator[Served]:
    """A node of a chain where gas has a price: 5 motes."""

    async def enter(stack: AsyncExitStack) -> Served:
        node = MemoryNode(tmp_path / "db", parameters=ChainParameters(gas_price_motes=5))
        stack.callback(node.close)
        server = RpcServer(node, Settings())
        await server.start()
        stack.push_async_callback(server.stop)
        return Served(node, server)

    with LoopThread(enter) as found:
        yield found


def test_who_has_little_offers_no_more_gas_than_that(priced: Served) -> None:
    """Where gas has a price, what simulates well must not fail for want of a fee that nobody needs."""
    poor, faucet = Wallet.from_seed(b"p" * 32), Wallet.from_seed(FAUCET_SEED)
    payment = Call("asset", "transfer", (faucet.policy.address, 100))
    with Client(priced.url) as client:
        client.transfer(faucet, to=poor.address, amount_motes=200_000)
        simulated = client.simulate(poor.policy, [payment])
        assert simulated.gas_used < simulated.gas_limit <= 40_000
        assert client.send(client.sign(poor, [payment], gas_limit=simulated.gas_limit)).succeeded
        with pytest.raises(RejectedError, match="100000 motes are needed and 2"):
            client.simulate(poor.policy, [payment], gas_limit=20_000)


@pytest.mark.parametrize(
    ("command", "spent"),
    [
        (("asset", "transfer", "--to", "bob", "--amount", "1.5"), 150_000_000),
        (("asset", "hold-for", "--holder", "bob", "--amount", "2", "--purpose", "rent", "--deadline-ms", "+7d"), 200_000_000),
        (("wallet", "send", "--to", BOB.address, "--amount", "0.5"), 50_000_000),
    ],
    ids=lambda value: " ".join(value[:2]) if isinstance(value, tuple) else "",
)
def test_the_question_says_what_it_costs_and_what_is_left(
    command: tuple[str, ...], spent: int, priced: Served, wallets: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The fee that is expected is the one that is taken, and the account keeps no less than was said."""
    monkeypatch.setattr(agreement, "is_terminal", lambda: True)
    alice = wallet_files.look("alice").address
    who = ("--from", "alice") if command[0] == "wallet" else ("--key", str(wallets / "alice.key"))
    with Client(priced.url) as client:
        client.transfer(Wallet.from_seed(FAUCET_SEED), to=alice, amount="10")
        asked = run(*command, *who, "--rpc", priced.url, stdin="n\n")
        assert asked.exit_code == Exit.ERROR
        [told] = [line for line in asked.stderr.splitlines() if line.startswith("gas: ")]
        numbers = re.fullmatch(r"gas: ([0-9,]+), at most ([0-9,]+); fee: ([0-9.]+) DATR expected, at most ([0-9.]+) DATR", told)
        assert numbers is not None, told
        gas, most_gas = (int(text.replace(",", "")) for text in numbers.groups()[:2])
        fee, most = (parse_datr(text) for text in numbers.groups()[2:])
        assert (fee, most) == (5 * gas, 5 * most_gas)
        left = 1_000_000_000 - spent - most
        assert f"balance: 10 DATR free, {format_motes(left)} DATR or more afterwards" in asked.stderr
        assert client.balance(alice).free == 1_000_000_000
        assert run(*command, *who, "--rpc", priced.url, stdin="y\n").exit_code == Exit.OK
        taken = 1_000_000_000 - spent - client.balance(alice).free
        assert fee - 200 * 5 <= taken <= fee < most  # a signature's envelope is counted at its most


def test_who_cannot_pay_the_fee_reads_datr(priced: Served, wallets: Path) -> None:
    key = ("--key", str(wallets / "alice.key"))
    args = ("asset", "transfer", "--to", "bob", "--amount", "1", *key, "--rpc", priced.url, "--yes")
    with Client(priced.url) as client:
        client.transfer(Wallet.from_seed(FAUCET_SEED), to=wallet_files.look("alice").address, amount="1")
    for limit in ("1000000", "20000000"):
        result = run(*args, "--gas-limit", limit)
        assert result.exit_code == Exit.REJECTED
        assert "motes" not in result.stderr
        assert "hint: fund the account, or send less" in result.stderr


FREEZE: Final = {"contract": "asset", "method": "freeze", "args": {"symbol": "DATR", "account": "bob", "reason": "case 12"}}


def test_whoever_votes_or_approves_sees_the_calls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Proposals of members and of signers: written with values as people write them, and shown like that before anyone agrees."""
    bob = wallet_files.look("bob").address
    frozen = f"asset.freeze(symbol DATR, account {bob} (wallet bob), reason case 12)"
    with serve(tmp_path / "db", members=4) as found:
        monkeypatch.setenv("DATACAR__CLIENT__RPC", found.url)
        keys = []
        for each in found.node.keys[:3]:
            write_seed(tmp_path / each.member.id, each.governance_seed)
            keys.append(str(tmp_path / each.member.id))
        ok("gov", "propose-calls", "--calls", json.dumps(FREEZE), "--reason", "a court order", "--key", keys[0], "--yes")
        voting = run("gov", "vote", "1", "--key", keys[1], "--yes")
        assert voting.stderr.splitlines()[:2] == [
            "proposal 1 of node1: calls freeze (a court order); open, 1 of 3 approvals",
            f"  {frozen}",
        ]
        assert f"call {frozen}" in run("gov", "show", "1").stdout
        assert "calls freeze" in run("gov", "list").stdout
        assert ok("gov", "vote", "1", "--key", keys[2], "--yes")["status"] == "executed"
        assert ok("asset", "get-freeze", "--symbol", "DATR", "--address", "bob")["value"]["reason"] == "case 12"
        signers = [Wallet.from_seed(bytes.fromhex(Path(key).read_text())).key.public_key.hex() for key in keys]
        ok(
            "wallet",
            "multisig",
            "new",
            str(tmp_path / "shared.json"),
            "--threshold",
            "2",
            *(f"--signer=0x{key}" for key in signers),
        )
        calls = json.dumps({"contract": "charging", "method": "cancel", "args": ["0x" + "07" * 32]})
        policy = ("--policy", str(tmp_path / "shared.json"), "--reference", "7", "--calls", calls)
        assert ok("multisig", "propose", *policy, "--key", keys[0], "--yes")["results"] == [1]
        rejecting = said(run("multisig", "reject", "--proposal-id", "1", "--key", keys[1], "--dry-run"))
        assert f"calls.1 charging.cancel(session_id 0x{'07' * 32})" in rejecting


def switching(method: str, contract: str) -> str:
    return json.dumps({"contract": "governance", "method": method, "args": {"contract": contract}})


def test_a_contract_that_is_not_there_cannot_be_proposed_to_be_switched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chain would take it, and nothing would come of it; what is switched off may be switched on by whatever name it has."""
    with serve(tmp_path / "db", members=4) as found:
        monkeypatch.setenv("DATACAR__CLIENT__RPC", found.url)
        keys = []
        for each in found.node.keys[:3]:
            write_seed(tmp_path / each.member.id, each.governance_seed)
            keys.append(str(tmp_path / each.member.id))
        propose = ("gov", "propose-calls", "--reason", "", "--key", keys[0], "--yes", "--calls")
        height = found.node.tip.height
        for method, word in (("disable_contract", "disable"), ("enable_contract", "enable")):
            result = run(*propose, f"[{switching('disable_contract', 'order')}, {switching(method, 'charge')}]", "--json")
            assert result.exit_code == Exit.REJECTED
            assert f"there is no contract 'charge' on this chain to {word}" in result.stderr
            assert "hint: name one of asset, charging, governance, loan, multisig, order, schedule" in result.stderr
            assert json.loads(result.stdout)["error"]["data"]["known"] == list(default_registry().names())
        assert found.node.tip.height == height
        ok(*propose, switching("disable_contract", "charging"))
        with Client(found.url) as client:  # as by other software: the vote takes any name
            signer = Wallet.from_seed(bytes.fromhex(Path(keys[0]).read_text()))
            call = {"contract": "governance", "method": "disable_contract", "args": "0x" + encode(("charge",)).hex()}
            client.contract("governance").propose_calls(signer, calls=[call], reason="", expires_ms=None)
        for key in keys[1:]:
            ok("gov", "vote", "2", "--key", key, "--yes")
        assert ok("gov", "rules")["value"]["disabled"] == ["charge"]
        assert ok(*propose, switching("enable_contract", "charge"))["status"] == "succeeded"


class Notes(Contract):
    """Keeps a number."""

    @write
    def note(self, ctx: Context, value: U64) -> U64:
        """Write a note."""
        return value

    @read
    def last(self) -> U64:
        """Return a note."""
        return 1

    @read
    def first(self) -> U64:
        """Return a note."""
        return 7


class OtherNotes(Contract):
    """Keeps a smaller number."""

    @write
    def note(self, ctx: Context, value: U32) -> U32:
        """Write a note."""
        return value

    @read
    def first(self) -> U64:
        """Return the first note."""
        return 7


@pytest.fixture
def other_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A node whose contract `notes` is another version than the one known here."""
    contracts = {name: default_registry().entry(name).cls for name in default_registry().names()}

    async def enter(stack: AsyncExitStack) -> Served:
        there = Registry({**contracts, "notes": OtherNotes})
        node = MemoryNode(tmp_path / "db", registry=there)
        stack.callback(node.close)
        server = RpcServer(node, Settings(), registry=there)
        await server.start()
        stack.push_async_callback(server.stop)
        return Served(node, server)

    monkeypatch.setattr(contract_group, "default_registry", lambda: Registry({**contracts, "notes": Notes}))
    with LoopThread(enter) as found:
        monkeypatch.setenv("DATACAR__CLIENT__RPC", found.url)
        yield


@pytest.mark.usefixtures("other_version")
@pytest.mark.parametrize("args", [("note", "--value", "1", "--yes"), ("last",)], ids=["differs", "is not there"])
def test_a_method_of_another_version_is_not_called(args: tuple[str, ...], key: tuple[str, str]) -> None:
    result = run("notes", *args, *(key if "--yes" in args else ()), "--json")
    assert result.exit_code == Exit.ERROR, result.output
    error = json.loads(result.stdout)["error"]["data"]
    assert error["reason"] == "abi_mismatch"
    assert error["expected"] != error["got"]


@pytest.mark.usefixtures("other_version")
def test_a_method_that_is_the_same_in_another_version_is_called_with_a_warning() -> None:
    result = run("notes", "first")
    assert (result.exit_code, result.stdout) == (0, "7\n")
    assert "the node has another version of the contract notes" in said(result)

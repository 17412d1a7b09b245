"""A 2-of-3 account pays through files: built beside a node, signed without one, combined, sent; and what is refused."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import pytest

from datacar import Client, Multisig, Wallet, parse_datr
from datacar.amounts import format_motes
from datacar.transactions import ChainInfo
from ledger.policy import parse_address
from ledger.transaction import Call
from node.commands.exits import Exit
from node.secret_files import write_seed
from tests.command_line import ok, run
from tests.memory_node import FAUCET_SEED
from tests.served_node import Served, serve

SIGNERS: Final = {name: Wallet.from_seed(name[:1].encode() * 32) for name in ("alice", "bob", "carol")}
MALLORY: Final = Wallet.from_seed(b"m" * 32)
SHOP: Final = Wallet.from_seed(b"s" * 32).address


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("node") / "db") as found:
        yield found


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, served: Served, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Everybody's key file, and a node that only commands with `--rpc` reach: all others work offline."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("DATACAR__CLIENT__RPC", "http://127.0.0.1:1")
    monkeypatch.chdir(tmp_path)
    for name, wallet in {**SIGNERS, "mallory": MALLORY}.items():
        write_seed(tmp_path / f"{name}.key", wallet.key.seed)
    write_seed(tmp_path / "faucet.key", FAUCET_SEED)
    return tmp_path


@pytest.fixture
def account(served: Served) -> str:
    """The account's file; it has 50 DATR and more."""
    signers = [part for wallet in SIGNERS.values() for part in ("--signer", "0x" + wallet.key.public_key.hex())]
    address = ok("wallet", "multisig", "new", "shared.json", "--threshold", "2", *signers)["address"]
    ok("asset", "transfer", "--to", address, "--amount", "50", "--key", "faucet.key", "--yes", "--rpc", served.url)
    return "shared.json"


@pytest.fixture
def built(served: Served, account: str) -> str:
    args = ("--to", SHOP, "--amount", "1.5", "--tx-reference", "invoice 7", "--out", "tx.json", "--rpc", served.url)
    assert ok("wallet", "multisig", "build", account, *args)["missing"] == 2
    return "tx.json"


def sign(file: str, name: str, *args: str) -> Any:
    return ok("wallet", "multisig", "sign", file, "--key", f"{name}.key", "--yes", *args)


def shop_has(served: Served) -> int:
    with Client(served.url) as client:
        return client.balance(SHOP).free


def test_two_of_three_pay_over_files(served: Served, built: str) -> None:
    before = shop_has(served)
    assert sign(built, "carol", "--out", "by-carol.json")["missing"] == 1
    assert sign(built, "alice", "--out", "by-alice.json")["missing"] == 1
    combined = ok("wallet", "multisig", "combine", "by-carol.json", "by-alice.json", "--out", "both.json")
    assert (combined["signatures"], combined["missing"], len(combined["signed_by"])) == (2, 0, 2)
    sent = ok("wallet", "multisig", "send", "both.json", "--yes", "--rpc", served.url)
    assert (sent["status"], sent["id"]) == ("succeeded", combined["id"])
    assert sent["events"][0]["fields"] == {"sender": combined["account"], "recipient": SHOP, "amount": "1.5"}
    assert shop_has(served) - before == parse_datr("1.5")
    again = ok("wallet", "multisig", "send", "both.json", "--yes", "--rpc", served.url)
    assert again["height"] == sent["height"]  # sending it again is safe
    assert shop_has(served) - before == parse_datr("1.5")


def test_one_file_goes_round(served: Served, built: str) -> None:
    before = shop_has(served)
    for name in ("bob", "alice", "carol"):  # one more than it takes
        sign(built, name)
    shown = run("wallet", "multisig", "show", built)
    assert shown.stdout.count(": signed") == 3
    assert "amount  1.5 DATR" in shown.stderr
    assert "reference: invoice 7" in shown.stderr
    ok("wallet", "multisig", "send", built, "--yes", "--rpc", served.url)
    assert shop_has(served) - before == parse_datr("1.5")


def test_offline_nobody_knows_the_asset_of_a_hold() -> None:
    """150,000,000 were shown as 1.5 DATR whatever they were of."""
    shared = Multisig.of(2, [wallet.key.public_key for wallet in SIGNERS.values()])
    chain = ChainInfo("far-1", b"\x07" * 32, 5, 1_700_000_000_000, 3_600_000, 0)
    capture = Call("asset", "capture", (b"\x11" * 32, 150_000_000, parse_address(SHOP)))
    report = Call("order", "report", (b"\x22" * 32, 1, 1_000))
    Path("hold.json").write_text(shared.build(chain, [capture, report], gas_limit=100_000).to_text())
    shown = run("wallet", "multisig", "show", "hold.json").stderr
    assert "150000000 smallest units of the hold's asset" in shown
    assert "1000 units (of a base: motes)" in shown
    assert "DATR" not in shown


def test_too_few_signatures_are_not_sent(served: Served, built: str) -> None:
    height = served.node.tip.height
    sign(built, "alice")
    sign(built, "alice")
    result = run("wallet", "multisig", "send", built, "--yes", "--rpc", served.url, "--json")
    assert result.exit_code == Exit.ERROR
    error = json.loads(result.stdout)["error"]["data"]
    assert (error["reason"], error["need"], error["have"]) == ("not_permitted", 2, 1)
    assert served.node.tip.height == height


def test_a_wrong_signer_is_refused(built: str, folder: Path) -> None:
    before = (folder / built).read_text()
    result = run("wallet", "multisig", "sign", built, "--key", "mallory.key", "--yes")
    assert result.exit_code == Exit.ERROR
    assert f"the key 0x{MALLORY.key.public_key.hex()} is none of " in result.stderr
    assert (folder / built).read_text() == before


def test_a_tampered_file_is_neither_signed_nor_combined_nor_sent(served: Served, built: str, folder: Path) -> None:
    height = served.node.tip.height
    sign(built, "alice")
    text = (folder / built).read_text()
    (folder / "honest.json").write_text(text)
    (folder / built).write_text(text.replace('"150000000"', '"4900000000"'))
    for args in (
        ("sign", built, "--key", "bob.key", "--yes"),
        ("combine", "honest.json", built, "--out", "both.json"),
        ("send", built, "--rpc", served.url),
        ("show", built),
    ):
        result = run("wallet", "multisig", *args)
        assert result.exit_code == Exit.ERROR, args
        assert "the file was changed: it says transaction" in result.stderr
    assert not (folder / "both.json").exists()
    assert served.node.tip.height == height


def test_signing_asks_somebody(built: str) -> None:
    result = run("wallet", "multisig", "sign", built, "--key", "alice.key")
    assert result.exit_code == Exit.USAGE
    assert "no terminal to ask on" in " ".join(result.stderr.split())
    assert "amount  1.5 DATR" in result.stderr


def test_who_is_asked_to_sign_sees_what_it_may_cost_and_until_when(served: Served, account: str) -> None:
    """Whoever builds the file chooses gas and end; the others agree to both with their signatures."""
    costly = ("--to", SHOP, "--amount", "1", "--gas-limit", "9000000", "--out", "costly.json", "--rpc", served.url)
    ok("wallet", "multisig", "build", account, *costly)
    asked = run("wallet", "multisig", "sign", "costly.json", "--key", "alice.key").stderr
    assert "gas: at most 9,000,000" in asked
    assert "can be sent until 20" in asked


def test_out_never_takes_the_place_of_a_file(served: Served, account: str, built: str, folder: Path) -> None:
    """Neither the account's own nor one with signatures that others gave."""
    sign(built, "alice")
    kept = {name: (folder / name).read_text() for name in (account, built)}
    pay = ("--to", SHOP, "--amount", "1", "--rpc", served.url)
    transfer = ("asset", "transfer", *pay, "--multisig", account)
    for args in (
        ("wallet", "multisig", "build", account, *pay, "--out", account),
        ("wallet", "multisig", "build", account, *pay, "--out", built),
        (*transfer, "--out", built),
        ("wallet", "multisig", "combine", built, "--out", account),
        ("wallet", "multisig", "sign", built, "--key", "bob.key", "--yes", "--out", account),
    ):
        result = run(*args)
        assert result.exit_code == Exit.USAGE, args
        assert "there is a file already" in " ".join(result.stderr.replace("│", " ").split()), args
    assert {name: (folder / name).read_text() for name in kept} == kept


def test_any_method_can_be_built_for_several_keys(served: Served, account: str) -> None:
    """The command of a method writes the file instead of sending; `build` takes several calls."""
    out = ("--multisig", account, "--out", "hold.json", "--rpc", served.url)
    ok("asset", "hold-for", "--holder", SHOP, "--amount", "2", "--purpose", "rent", "--deadline-ms", "+7d", *out)
    sign("hold.json", "alice")
    sign("hold.json", "bob")
    sent = ok("wallet", "multisig", "send", "hold.json", "--yes", "--rpc", served.url)
    assert [event["name"] for event in sent["events"]] == ["Held"]
    call = json.dumps({"contract": "asset", "method": "transfer", "args": {"to": SHOP, "amount": "0.25"}})
    twice = ("--call", call, "--call", call, "--expires", "+10min", "--out", "two.json", "--rpc", served.url)
    ok("wallet", "multisig", "build", account, *twice)
    for name in ("bob", "carol"):
        sign("two.json", name)
    before = shop_has(served)
    assert len(ok("wallet", "multisig", "send", "two.json", "--yes", "--rpc", served.url)["results"]) == 2
    assert shop_has(served) - before == parse_datr("0.5")


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (("--out", "tx.json"), "give 1 to 16 calls"),
        (("--out", "tx.json", "--to", SHOP), "a transfer needs both"),
        (("--out", "tx.json", "--to", SHOP, "--amount", "1e3"), "transfer amount: '1e3' is not an amount of DATR"),
        (("--out", "tx.json", "--to", SHOP, "--amount", "1", "--expires", "+2d"), "for --expires: '+2d' is not within"),
        (
            ("--out", "tx.json", "--call", '{"contract": "asset"}'),
            "in this call 'method' is missing (give contract, method, args)",
        ),
    ],
)
def test_what_cannot_be_built_is_a_usage_error(served: Served, account: str, args: tuple[str, ...], said: str) -> None:
    result = run("wallet", "multisig", "build", account, *args, "--rpc", served.url)
    assert result.exit_code == Exit.USAGE, result.output
    assert said in " ".join(result.stderr.replace("│", " ").split())


def test_what_would_fail_is_not_built(served: Served, account: str, folder: Path) -> None:
    result = run(
        "wallet", "multisig", "build", account, "--to", SHOP, "--amount", "49000000", "--out", "tx.json", "--rpc", served.url
    )
    assert result.exit_code == Exit.REJECTED
    assert "INSUFFICIENT_FUNDS" in result.stderr
    assert not (folder / "tx.json").exists()


def test_the_sdk_does_the_same_in_a_few_lines(served: Served, account: str, folder: Path) -> None:
    shared = Multisig.from_text((folder / account).read_text())
    call = Call("asset", "transfer", (parse_address(SHOP), parse_datr("0.75")))
    with Client(served.url) as client:
        found = client.simulate(shared.policy, [call])
        pending = shared.build(client.chain_info(), [call], gas_limit=found.gas_limit)
        receipt = client.send(pending.sign(SIGNERS["alice"]).combine(pending.sign(SIGNERS["bob"])).transaction())
        assert client.balance(shared.address).free > 0
    assert receipt.succeeded
    assert receipt.gas_used <= found.gas_limit
    assert receipt.events[0].fields["amount"] == "75000000"
    assert format_motes(75_000_000) == "0.75"
    receipt.verify(served.node.genesis_hash)

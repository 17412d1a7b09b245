"""`datacar proof`: made by a node, checked without one, and refused in every place where a byte was changed."""

import itertools
import json
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from datacar import Client, LightClient, Wallet
from genesis.spec_json import spec_to_json
from node.commands.exits import Exit
from tests.memory_node import FAUCET_SEED
from tests.seeds import fresh
from tests.served_node import Served, serve

OTHER = Wallet.from_seed(b"\x07" * 32)
NOBODY = Wallet.from_seed(b"\x08" * 32)


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("proof commands") / "db", members=4) as found:
        yield found


@pytest.fixture(scope="module")
def payment(served: Served) -> str:
    with Client(served.url) as client:
        return client.transfer(Wallet.from_seed(FAUCET_SEED), to=OTHER.address, amount="1.5").id


@pytest.fixture
def genesis(served: Served, tmp_path: Path) -> str:
    file = tmp_path / "genesis.json"
    file.write_text(spec_to_json(served.node._genesis.spec))
    return str(file)


def run(*args: str, code: Exit = Exit.OK) -> Any:
    """Return the JSON that a command prints."""
    result = CliRunner().invoke(cli.app, ["proof", *args, "--json"])
    assert result.exit_code == code, result.output
    return json.loads(result.stdout)


def shown(*args: str) -> str:
    """Return what a command prints for people."""
    result = CliRunner().invoke(cli.app, ["proof", *args])
    assert result.exit_code == Exit.OK, result.output
    return result.stdout


def test_a_payment_is_proven_by_one_file(served: Served, payment: str, genesis: str, tmp_path: Path) -> None:
    file = str(tmp_path / "payment.proof")
    made = run("make", "tx", payment, "--out", file, "--rpc", served.url)
    assert made["size_bytes"] == Path(file).stat().st_size
    found = run("check", file, "--genesis", genesis)
    assert (found["valid"], found["kind"], found["id"], found["status"]) == (True, "receipt", payment, "succeeded")
    assert {"epoch", "height", "timestamp_ms", "time", "block_hash"} <= found.keys()
    assert found["calls"][0]["args"] == {"to": OTHER.address, "amount": "150000000"}
    assert (found["events"][0]["index"], found["events"][0]["name"]) == (0, "Transferred")
    assert found == run("check", file, "--genesis", "0x" + served.node.genesis_hash.hex())
    told = shown("check", file, "--genesis", genesis)
    assert told.startswith("valid")
    assert f"call   asset.transfer(to {OTHER.address}, amount 1.5 DATR)" in told
    assert "event  0: asset.Transferred: " in told
    assert f", recipient {OTHER.address}, amount 1.5 DATR" in told
    assert "150000000" not in told


def test_values_of_all_heights_are_proven(served: Served, payment: str, genesis: str, tmp_path: Path) -> None:
    assert payment
    files, rpc = (str(tmp_path / f"{number}.proof") for number in itertools.count()), ("--rpc", served.url)
    balance = {"free": "150000000", "held": "0", "locked": "0"}

    def made(*args: str) -> str:
        file = next(files)
        run("make", *args, "--out", file, *rpc)
        return file

    def checked(file: str, *args: str) -> Any:
        return run("check", file, "--genesis", genesis, *args)

    def told(file: str, *args: str) -> str:
        return shown("check", file, "--genesis", genesis, *args)

    file = made("account", OTHER.address)
    assert checked(file)["values"][0]["value"] == balance | {"frozen": False}
    assert f'value  asset.accounts[["DATR", "{OTHER.address}"]] = (free 1.5 DATR, held 0 DATR' in told(file)
    query = ("--query", "asset.balance_of", f"address={OTHER.address}")
    assert checked(file, *query)["answer"] == balance
    assert told(file, *query).endswith("asset.balance_of answers\nfree    1.5 DATR\nheld    0 DATR\nlocked  0 DATR\n")
    assert (
        run("check", file, "--genesis", genesis, "--query", "asset.supply", code=Exit.ERROR)["error"]["data"]["reason"]
        == "bad_proof"
    )
    found = checked(file := made("account", OTHER.address, "--height", "0"))
    assert (found["height"], found["values"][0]["value"]) == (0, None)
    assert f'"{OTHER.address}"]] = -\n' in told(file)
    found = checked(made("value", "asset", "accounts", json.dumps(["DATR", NOBODY.address])))
    assert found["values"][0]["value"] is None
    found = checked(file := made("value", "asset", "supplies", "DATR"))
    assert found["values"][0] | {"key": ""} == {
        "key": "", "contract": "asset", "field": "supplies", "of": "DATR", "value": "80000000000000000",
    }  # fmt: skip
    assert 'value  asset.supplies["DATR"] = 800000000 DATR\n' in told(file)
    found = checked(made("query", "governance", "member", "member_id=node2"), "--query", "governance.member", "member_id=node2")
    assert found["answer"]["role"] == "validator"
    found = checked(made("header", "1"))
    assert (found["kind"], found["height"]) == ("header", 1)


def test_a_proof_that_is_there_is_never_overwritten(served: Served, payment: str, tmp_path: Path) -> None:
    """It may be all that somebody has of a payment: the node that made it may have pruned it since."""
    file = tmp_path / "payment.proof"
    file.write_bytes(b"kept")
    kinds = (("tx", payment), ("account", OTHER.address), ("value", "asset", "supplies", "DATR"), ("header",))
    for asked in (*kinds, ("query", "asset", "supply")):
        result = CliRunner().invoke(cli.app, ["proof", "make", *asked, "--out", str(file), "--rpc", served.url])
        assert result.exit_code == Exit.USAGE, result.output
        assert "there is a file already" in " ".join(result.stderr.replace("│", " ").split())
        assert file.read_bytes() == b"kept"


@pytest.mark.parametrize("given", ["0x1234", "0x" + "0" * 63 + "g", "0x" + "00" * 33, "0x"])
def test_half_a_hash_is_no_genesis(given: str, tmp_path: Path) -> None:
    result = CliRunner().invoke(cli.app, ["proof", "check", str(tmp_path / "none"), "--genesis", given])
    assert result.exit_code == Exit.USAGE, result.output
    assert "64 hex digits" in " ".join(result.stderr.replace("│", " ").split())


def test_what_is_no_proof_of_this_chain_is_refused(served: Served, payment: str, genesis: str, tmp_path: Path) -> None:
    file = tmp_path / "payment.proof"
    run("make", "tx", payment, "--out", str(file), "--rpc", served.url)
    error = run("check", str(file), "--genesis", "0x" + "07" * 32, code=Exit.ERROR)["error"]
    assert error["data"]["reason"] == "wrong_chain"
    good, rng = file.read_bytes(), random.Random(fresh("proof_file"))
    for _ in range(20):
        bad = bytearray(good)
        bad[rng.randrange(len(bad))] ^= rng.randint(1, 255)
        file.write_bytes(bytes(bad))
        run("check", str(file), "--genesis", genesis, code=Exit.ERROR)
    missing = run("make", "tx", "0x" + "07" * 32, "--out", str(tmp_path / "none.proof"), "--rpc", served.url, code=Exit.ERROR)
    assert missing["error"]["data"]["reason"] == "not_found"
    assert CliRunner().invoke(cli.app, ["proof", "check", str(file), "--genesis", genesis, "x=1"]).exit_code == Exit.ERROR
    file.write_bytes(good)
    assert CliRunner().invoke(cli.app, ["proof", "check", str(file), "--genesis", genesis, "x=1"]).exit_code == Exit.USAGE


def test_a_trusted_block_keeps_out_what_contradicts_it(served: Served, payment: str, genesis: str, tmp_path: Path) -> None:
    file, kept = str(tmp_path / "payment.proof"), tmp_path / "light.json"
    run("make", "tx", payment, "--out", file, "--rpc", served.url)
    with LightClient(served.url, served.node.genesis_hash, state_file=kept) as light:
        light.sync()
    assert run("check", file, "--genesis", genesis, "--trusted", str(kept))["valid"]
    later = json.loads(kept.read_text()) | {"epoch": 3}
    kept.write_text(json.dumps(later))
    error = run("check", file, "--genesis", genesis, "--trusted", str(kept), code=Exit.ERROR)["error"]
    assert error["data"]["reason"] == "stale_proof"
    gone = run("check", file, "--genesis", genesis, "--trusted", str(tmp_path / "none.json"), code=Exit.ERROR)
    assert gone["error"]["data"]["reason"] == "not_found"

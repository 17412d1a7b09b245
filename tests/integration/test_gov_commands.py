"""`datacar gov` against a served node of four members: from `datacar init` to a vote, and a certificate's rotation."""

import json
from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from datacar.client import Client
from genesis.certificates import check_certificate, make_certificate
from genesis.spec_json import read_spec
from ledger.transaction import Transaction
from node.commands import agreement, gov
from node.commands.exits import Exit
from node.commands.rotation import NewCertificate, NextKey
from node.config import load_config
from node.key_ring import FileKeyRing
from node.node_folder import GOVERNANCE_KEY_NAME, Endpoints, write_node_folder
from node.secret_files import write_seed
from tests.command_line import ok, run
from tests.served_node import Served, serve


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    with serve(tmp_path / "db", members=4) as found:
        monkeypatch.setenv("DATACAR__CLIENT__RPC", found.url)
        yield found


@pytest.fixture
def keys(served: Served, tmp_path: Path) -> list[str]:
    """The members' governance keys, as the `--key` option of each."""
    for each in served.node.keys:
        write_seed(tmp_path / each.member.id, each.governance_seed)
    return [str(tmp_path / each.member.id) for each in served.node.keys]


@pytest.fixture
def record(tmp_path: Path) -> Path:
    """What a new organisation hands over: the member record of its `datacar init`."""
    folder = tmp_path / "newcomer"
    ok("init", "--dir", str(folder), "--member-id", "e", "--p2p-address", "e.example:26656")
    return folder / "member.json"


def decide(keys: list[str], *proposal: str) -> Any:
    """Propose by the first member and approve by the next two; the answer to the last vote."""
    number = str(ok("gov", "propose", *proposal, "--key", keys[0], "--yes")["proposal_id"])
    ok("gov", "vote", number, "--key", keys[1], "--yes")
    return ok("gov", "vote", number, "--key", keys[2], "--yes")


def test_a_member_joins_attests_and_leaves(served: Served, keys: list[str], record: Path) -> None:
    folder = record.parent
    assert (folder / GOVERNANCE_KEY_NAME).stat().st_mode & 0o777 == 0o600
    decided = decide(keys, "add-observer", str(record), "--reason", "a new partner")
    assert (decided["status"], decided["approvals"], decided["need"], decided["advice"]) == ("executed", 3, 3, None)
    attested = ok("gov", "attest", "--node", str(folder), "--yes")
    assert attested["attested_height"] == served.node.tip.height - 1
    [observer] = ok("members")["observers"]
    assert (observer["id"], observer["attested_height"]) == ("e", attested["attested_height"])
    assert decide(keys, "remove", "e")["status"] == "executed"
    assert ok("members")["observers"] == []
    listed = ok("gov", "list")["items"]
    assert [(item["id"], item["kind"], item["status"]) for item in listed] == [
        (2, "remove", "executed"),
        (1, "add_observer", "executed"),
    ]


def test_a_promotion_is_advised_on_and_asked_about(keys: list[str], record: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The memory node sees node2 alone: with five members nothing would be decided."""
    decide(keys, "add-observer", str(record))
    monkeypatch.setattr(agreement, "is_terminal", lambda: True)
    refused = run("gov", "propose", "promote", "e", "--key", keys[0], stdin="n\n")
    assert refused.exit_code == 1
    assert "the network would STOP: 2 more must be connected first" in refused.stderr
    assert ok("gov", "list")["items"][0]["id"] == 1
    result = run("gov", "propose", "promote", "e", "--key", keys[0], "--json", stdin="y\n")
    made = json.loads(result.stdout[result.stdout.index("{") :])  # after what the runner echoes as typed
    assert made["status"] == "open"
    assert made["advice"]["after"] == {"n": 5, "f": 1, "q": 4, "connected": 2}
    assert not made["advice"]["stays_live"]


def test_a_vote_that_cannot_succeed_is_not_sent(served: Served, keys: list[str], record: Path) -> None:
    decide(keys, "add-observer", str(record))
    number = str(ok("gov", "propose", "promote", "e", "--key", keys[0], "--yes")["proposal_id"])
    ok("gov", "vote", number, "--key", keys[1], "--yes")
    height = served.node.tip.height
    result = run("gov", "vote", number, "--key", keys[2], "--yes", "--json")
    assert result.exit_code == Exit.REJECTED
    assert json.loads(result.stdout)["error"]["data"]["code"] == "NOT_SYNCED"
    assert served.node.tip.height == height
    ok("gov", "attest", "--node", str(record.parent), "--yes")
    assert ok("gov", "vote", number, "--key", keys[2], "--yes")["status"] == "executed"


def test_members_disapprove(keys: list[str], record: Path) -> None:
    ok("gov", "propose", "add-observer", str(record), "--key", keys[0], "--yes", "--expires-days", "1")
    shown = run("gov", "vote", "1", "--no", "--key", keys[1], "--yes")
    assert shown.exit_code == 0
    assert "proposal 1 of node1: add observer e; open" in shown.stderr
    assert ok("gov", "vote", "1", "--no", "--key", keys[2], "--yes")["status"] == "rejected"
    text = run("gov", "show", "1").stdout
    assert "node2 disapproves" in text
    assert "candidate p2p_address: e.example:26656" in text
    assert "rejected" in run("gov", "list").stdout


def test_attesting_goes_on_until_the_vote_is_there(
    served: Served, keys: list[str], record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Promotions take days to agree on, blocks a fraction of a second."""
    decide(keys, "add-observer", str(record))
    waits = iter(["too early", "decided"])

    def sleep(_seconds: float) -> None:
        if next(waits) == "too early":
            for _ in range(gov.ATTEST_EVERY_BLOCKS + 1):
                served.node.commit()
        else:
            decide(keys, "promote", "e")

    monkeypatch.setattr(gov, "sleep", sleep)
    first = served.node.tip.height
    done = ok("gov", "attest", "--until-promoted", "--node", str(record.parent), "--yes")
    assert done["attested_height"] > first + gov.ATTEST_EVERY_BLOCKS
    assert ok("members")["epoch"] == 1


def test_a_certificate_is_rotated_in_the_node_s_folder(served: Served, tmp_path: Path) -> None:
    node, folder = served.node.keys[0], tmp_path / "node"
    write_node_folder(folder, node, Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    rotated = ok("gov", "rotate-certificate", "--node", str(folder), "--yes")
    der = (folder / "tls.crt").read_bytes()
    assert der != node.member.certificate
    check_certificate(der, "node1")
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "tls.key").read_bytes() != node.tls_key
    assert rotated["certificate_sha256"] == ok("members")["members"][0]["certificate_sha256"]
    assert not list(folder.glob("*.new"))


def test_a_vote_that_is_interrupted_leaves_its_id(
    served: Served, keys: list[str], record: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C after it may have left: whether it counts can be asked, and is not guessed."""

    def interrupt(_client: Client, _transaction: Transaction, _timeout_s: float | None = None) -> None:
        raise KeyboardInterrupt

    ok("gov", "propose", "add-observer", str(record), "--key", keys[0], "--yes")
    monkeypatch.setattr(Client, "send", interrupt)
    result = run("gov", "vote", "1", "--key", keys[1], "--yes", "--json")
    assert result.exit_code == Exit.OUTCOME_UNKNOWN
    assert json.loads(result.stdout)["error"]["data"]["id"] in result.stderr


def test_a_proposal_is_shown_with_dates(keys: list[str], record: Path) -> None:
    ok("gov", "propose", "add-observer", str(record), "--key", keys[0], "--yes")
    shown = dict(line.split(maxsplit=1) for line in run("gov", "show", "1").stdout.splitlines() if "_ms" in line)
    assert shown["created_ms"].endswith("Z")
    assert shown["expires_ms"].endswith("Z")


def test_a_rotation_that_was_interrupted_goes_on_with_what_it_had(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    write_node_folder(folder, served.node.keys[0], Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    made = NewCertificate.prepare(folder, "node1")
    assert NewCertificate.prepare(folder, "node1") == made
    ok("gov", "rotate-certificate", str(folder / "tls.crt.new"), "--node", str(folder), "--yes")
    height = served.node.tip.height
    (folder / "tls.key.new").replace(folder / "tls.key")
    ok("gov", "rotate-certificate", "--node", str(folder), "--yes")
    assert served.node.tip.height == height
    assert (folder / "tls.crt").read_bytes() == made.certificate


def test_a_key_without_its_certificate_is_made_anew(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    write_node_folder(folder, served.node.keys[0], Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    (folder / "tls.key.new").write_bytes(b"half")
    assert NewCertificate.prepare(folder, "node1").certificate
    assert (folder / "tls.key.new").read_bytes().startswith(b"-----BEGIN PRIVATE KEY-----")


def test_a_certificate_of_somebody_else_is_not_sent(served: Served, keys: list[str], tmp_path: Path) -> None:
    file = tmp_path / "other.crt"
    file.write_bytes(make_certificate(bytes(32), "node2")[0])
    height = served.node.tip.height
    result = run("gov", "rotate-certificate", str(file), "--key", keys[0], "--yes")
    assert "names node2 instead of node1" in result.stderr
    assert (result.exit_code, served.node.tip.height) == (Exit.ERROR, height)


def test_a_consensus_key_is_made_before_the_chain_hears_of_it(served: Served, tmp_path: Path) -> None:
    """The node finds it beside its own; run twice, the same key is meant."""
    folder = tmp_path / "node"
    write_node_folder(folder, served.node.keys[0], Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    ring = FileKeyRing(folder / "consensus.key")
    rotated = ok("gov", "rotate-key", "--node", str(folder), "--yes")
    assert (rotated["member"], rotated["epoch"]) == ("node1", 1)
    height = served.node.tip.height
    again = run("gov", "rotate-key", "--node", str(folder), "--yes", "--json")
    assert (again.exit_code, served.node.tip.height) == (Exit.REJECTED, height), "no success without anything sent"
    assert "nothing was sent: the chain names the key" in json.loads(again.stdout)["error"]["message"]
    new_key = served.node.committee.members[0].public_key
    assert rotated["public_key"] == "0x" + new_key.hex()
    assert ring.settle(new_key)
    assert ring.public_keys == {new_key}
    assert not (folder / "consensus.key.next").exists()


def make_folder(served: Served, folder: Path) -> Path:
    """The folder of the first member's node."""
    write_node_folder(folder, served.node.keys[0], Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    return folder


def a_minute_later(served: Served) -> None:
    served.node.now_ms += 60_000
    served.node.commit()


def test_an_observer_s_second_rotation_says_that_nothing_was_sent(served: Served, keys: list[str], record: Path) -> None:
    """Its node may not run yet; the key that waits is then the one on record."""
    decide(keys, "add-observer", str(record))
    first = ok("gov", "rotate-key", "--node", str(record.parent), "--yes")
    height = served.node.tip.height
    again = run("gov", "rotate-key", "--node", str(record.parent), "--yes")
    assert (again.exit_code, served.node.tip.height) == (Exit.REJECTED, height)
    assert "nothing was sent" in again.stderr
    assert FileKeyRing(record.parent / "consensus.key").settle(bytes.fromhex(first["public_key"][2:]))
    too_soon = run("gov", "rotate-key", "--node", str(record.parent), "--yes", "--json")
    assert json.loads(too_soon.stdout)["error"]["data"]["code"] == "ROTATED_TOO_SOON"


def test_a_waiting_key_that_was_used_is_replaced_by_another(served: Served, tmp_path: Path) -> None:
    """A folder that was copied or restored may hold one: it must not be in the way for ever."""
    folder = make_folder(served, tmp_path / "node")
    write_seed(folder / "consensus.key.next", served.node.keys[1].consensus_seed)
    result = run("gov", "rotate-key", "--node", str(folder), "--yes")
    assert result.exit_code == 0, result.output
    assert "making another" in result.stderr
    new_key = served.node.committee.members[0].public_key
    assert NextKey.prepare(folder).public_key == new_key not in {each.member.public_key for each in served.node.keys}


def test_a_waiting_certificate_that_was_used_is_replaced_by_another(served: Served, tmp_path: Path) -> None:
    folder = make_folder(served, tmp_path / "node")
    made = NewCertificate.prepare(folder, "node1")
    ok("gov", "rotate-certificate", str(folder / "tls.crt.new"), "--node", str(folder), "--yes")
    a_minute_later(served)
    second = tmp_path / "second.crt"
    second.write_bytes(make_certificate(b"2" * 32, "node1")[0])
    ok("gov", "rotate-certificate", str(second), "--node", str(folder), "--yes")
    a_minute_later(served)
    result = run("gov", "rotate-certificate", "--node", str(folder), "--yes")
    assert result.exit_code == 0, result.output
    assert "making another" in result.stderr
    assert (folder / "tls.crt").read_bytes() not in (made.certificate, second.read_bytes())


def test_half_written_files_are_never_taken_for_keys(served: Served, tmp_path: Path) -> None:
    """A crash leaves a .part file at most, which the next run throws away."""
    folder = make_folder(served, tmp_path / "node")
    for name in ("consensus.key.next", "tls.key.new", "tls.crt.new"):
        (folder / f"{name}.part").write_bytes(b"half")
    assert len(NextKey.prepare(folder).public_key) == 32
    assert NewCertificate.prepare(folder, "node1").certificate
    assert not list(folder.glob("*.part"))
    assert (folder / "consensus.key.next").stat().st_mode & 0o777 == 0o600


def test_voters_see_whom_they_vote_on_and_compare_the_record(
    keys: list[str], record: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(agreement, "is_terminal", lambda: True)
    ok("gov", "propose", "add-observer", str(record), "--key", keys[0], "--yes")
    document = json.loads(record.read_text())
    asked = run("gov", "vote", "1", "--record", str(record), "--key", keys[1], stdin="n\n")
    fingerprint = sha256(bytes.fromhex(document["certificate"][2:])).hexdigest()
    for shown in (
        document["account"],
        document["public_key"],
        document["p2p_address"],
        f"0x{fingerprint}",
        "it is the member of",
    ):
        assert shown in asked.stderr[: asked.stderr.index("Approve of proposal 1?")]
    ok("init", "--dir", str(tmp_path / "other"), "--member-id", "e", "--p2p-address", "e.example:26656")
    other = run("gov", "vote", "1", "--record", str(tmp_path / "other" / "member.json"), "--key", keys[1], "--yes")
    assert other.exit_code == Exit.REJECTED
    assert "another governance account, consensus key, certificate (SHA-256)" in other.stderr
    assert ok("gov", "list")["items"][0]["approvals"] == 1


def test_a_record_is_compared_with_a_proposal_that_adds_somebody(keys: list[str], record: Path) -> None:
    decide(keys, "add-observer", str(record))
    ok("gov", "propose", "remove", "e", "--key", keys[0], "--yes")
    assert run("gov", "vote", "2", "--record", str(record), "--key", keys[1], "--yes").exit_code == Exit.USAGE


def test_a_closed_proposal_shows_the_fingerprint_alone(keys: list[str], record: Path) -> None:
    decide(keys, "add-observer", str(record))
    candidate = ok("gov", "show", "1")["candidate"]
    assert candidate["certificate"] is None
    assert candidate["certificate_sha256"] == ok("members")["observers"][0]["certificate_sha256"]


@pytest.mark.parametrize("placed", [True, False], ids=["in the folder", "with --genesis"])
def test_who_joins_a_network_has_its_node_start_so(tmp_path: Path, placed: bool) -> None:
    """A node whose genesis file does not name it refuses to start, unless it joins."""
    ok("genesis", "new", "--nodes", "1", "--chain-id", "c", "--seed", "s", "--dir", str(tmp_path / "net"))
    given, folder = tmp_path / "net" / "genesis.json", tmp_path / "e"
    if placed:
        folder.mkdir()
        (folder / "genesis.json").write_bytes(given.read_bytes())
    ok("init", "--dir", str(folder), "--member-id", "e", *([] if placed else ["--genesis", str(given)]))
    config = load_config(folder / "config.toml")
    assert config.node.join
    config.check_files()
    assert read_spec(folder / "genesis.json") == read_spec(given)


def test_without_a_genesis_file_a_member_is_one_of_the_first(tmp_path: Path) -> None:
    ok("init", "--dir", str(tmp_path / "e"), "--member-id", "e")
    assert not load_config(tmp_path / "e" / "config.toml").node.join


def test_a_genesis_file_of_another_network_is_not_mixed_in(tmp_path: Path) -> None:
    for name in ("a", "b"):
        ok("genesis", "new", "--nodes", "1", "--chain-id", name, "--seed", name, "--dir", str(tmp_path / name))
    result = run("init", "--dir", str(tmp_path / "a"), "--member-id", "e", "--genesis", str(tmp_path / "b" / "genesis.json"))
    assert "is that of another network" in result.stderr
    assert not (tmp_path / "a" / "consensus.key").exists()


def test_genesis_is_checked_for_room_for_the_deciding_vote(tmp_path: Path) -> None:
    """Else the first members could never change who is one."""
    ok("genesis", "new", "--nodes", "48", "--chain-id", "c", "--seed", "s", "--dir", str(tmp_path))
    file = tmp_path / "genesis.json"
    assert "block_max_gas" not in run("genesis", "verify", str(file)).stderr
    document = json.loads(file.read_text())
    document["parameters"]["block_max_gas"] = 10_000_000
    file.write_text(json.dumps(document))
    result = run("genesis", "verify", str(file))
    assert result.exit_code == 0
    assert "set block_max_gas to 11160000 or more" in result.stderr


def test_an_address_is_moved(keys: list[str]) -> None:
    ok("gov", "set-address", "new.example:1", "--key", keys[1], "--yes")
    assert ok("members")["members"][1]["p2p_address"] == "new.example:1"


def test_a_stranger_s_key_is_told_so(keys: list[str], tmp_path: Path) -> None:
    write_seed(tmp_path / "stranger", b"s" * 32)
    result = run("gov", "rotate-certificate", keys[0], "--key", str(tmp_path / "stranger"), "--yes")
    assert result.exit_code == Exit.REJECTED
    assert "is no member's governance account" in result.stderr


@pytest.mark.parametrize("args", [("vote", "1"), ("rotate-certificate",), ("set-address", "nowhere", "--key", "x")])
def test_usage_errors_name_what_is_missing(args: tuple[str, ...]) -> None:
    assert run("gov", *args).exit_code == Exit.USAGE


def test_open_key_files_are_refused(keys: list[str]) -> None:
    Path(keys[0]).chmod(0o644)
    result = run("gov", "propose", "remove", "node2", "--key", keys[0], "--yes")
    assert result.exit_code == Exit.ERROR
    assert "chmod" in result.stderr


def test_a_record_without_an_account_is_refused(keys: list[str], record: Path) -> None:
    document = json.loads(record.read_text())
    del document["account"]
    record.write_text(json.dumps(document))
    result = run("gov", "propose", "add-observer", str(record), "--key", keys[0], "--yes")
    assert "names no governance account" in result.stderr

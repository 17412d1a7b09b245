"""`datacar gov` against a served node of four members: from `datacar init` to a vote, and a certificate's rotation."""

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner, Result

from cli import app
from genesis.certificates import check_certificate, make_certificate
from node.commands import gov
from node.commands.exits import Exit
from node.commands.rotation import NewCertificate
from node.key_ring import FileKeyRing
from node.node_folder import GOVERNANCE_KEY_NAME, Endpoints, write_node_folder
from node.secret_files import write_seed
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


def run(*args: str, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, list(args), input=stdin)


def ok(*args: str) -> Any:
    result = run(*args, "--json")
    assert result.exit_code == 0, result.output
    return json.loads(result.stdout)


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
    attested = ok("gov", "attest", "--node", str(folder))
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


def test_a_promotion_is_advised_on_and_asked_about(keys: list[str], record: Path) -> None:
    """The memory node sees node2 alone: with five members nothing would be decided."""
    decide(keys, "add-observer", str(record))
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
    ok("gov", "attest", "--node", str(record.parent))
    assert ok("gov", "vote", number, "--key", keys[2], "--yes")["status"] == "executed"


def test_members_disapprove(keys: list[str], record: Path) -> None:
    ok("gov", "propose", "add-observer", str(record), "--key", keys[0], "--yes", "--expires-days", "1")
    shown = run("gov", "vote", "1", "--no", "--key", keys[1], "--yes")
    assert shown.exit_code == 0
    assert "proposal 1 of node1: add observer e at e.example:26656, certificate 0x" in shown.stderr
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
    done = ok("gov", "attest", "--until-promoted", "--node", str(record.parent))
    assert done["attested_height"] > first + gov.ATTEST_EVERY_BLOCKS
    assert ok("members")["epoch"] == 1


def test_a_certificate_is_rotated_in_the_node_s_folder(served: Served, tmp_path: Path) -> None:
    node, folder = served.node.keys[0], tmp_path / "node"
    write_node_folder(folder, node, Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    rotated = ok("gov", "rotate-certificate", "--node", str(folder))
    der = (folder / "tls.crt").read_bytes()
    assert der != node.member.certificate
    check_certificate(der, "node1")
    assert (folder / "tls.key").stat().st_mode & 0o777 == 0o600
    assert (folder / "tls.key").read_bytes() != node.tls_key
    assert rotated["certificate_sha256"] == ok("members")["members"][0]["certificate_sha256"]
    assert not list(folder.glob("*.new"))


def test_a_rotation_that_was_interrupted_goes_on_with_what_it_had(served: Served, tmp_path: Path) -> None:
    folder = tmp_path / "node"
    write_node_folder(folder, served.node.keys[0], Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    made = NewCertificate.prepare(folder, "node1")
    assert NewCertificate.prepare(folder, "node1") == made
    ok("gov", "rotate-certificate", str(folder / "tls.crt.new"), "--node", str(folder))
    height = served.node.tip.height
    (folder / "tls.key.new").replace(folder / "tls.key")
    ok("gov", "rotate-certificate", "--node", str(folder))
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
    result = run("gov", "rotate-certificate", str(file), "--key", keys[0])
    assert "names node2 instead of node1" in result.stderr
    assert (result.exit_code, served.node.tip.height) == (Exit.ERROR, height)


def test_a_consensus_key_is_made_before_the_chain_hears_of_it(served: Served, tmp_path: Path) -> None:
    """The node finds it beside its own; run twice, the same key is meant."""
    folder = tmp_path / "node"
    write_node_folder(folder, served.node.keys[0], Endpoints("127.0.0.1", 1, "127.0.0.1", 2), genesis="genesis.json")
    ring = FileKeyRing(folder / "consensus.key")
    rotated = ok("gov", "rotate-key", "--node", str(folder))
    assert (rotated["member"], rotated["epoch"]) == ("node1", 1)
    height = served.node.tip.height
    assert ok("gov", "rotate-key", "--node", str(folder)) == rotated
    assert served.node.tip.height == height
    new_key = served.node.committee.members[0].public_key
    assert rotated["public_key"] == "0x" + new_key.hex()
    assert ring.settle(new_key)
    assert ring.public_keys == {new_key}
    assert not (folder / "consensus.key.next").exists()


def test_an_address_is_moved(keys: list[str]) -> None:
    ok("gov", "set-address", "new.example:1", "--key", keys[1])
    assert ok("members")["members"][1]["p2p_address"] == "new.example:1"


def test_a_stranger_s_key_is_told_so(keys: list[str], tmp_path: Path) -> None:
    write_seed(tmp_path / "stranger", b"s" * 32)
    result = run("gov", "rotate-certificate", keys[0], "--key", str(tmp_path / "stranger"))
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

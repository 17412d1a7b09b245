"""`datacar charging`: quotes, and real sessions played through a network of four node processes, to the mote."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from datacar.sessions_file import read_sessions
from node.commands.exits import Exit
from tests import charging_bill, time_of_use_bill
from tests.patience import PATIENCE_S
from tests.processes import Processes, ended, until
from vm.quote import quote

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SESSIONS, SESSION, TARIFF = EXAMPLES / "sessions.csv", EXAMPLES / "session.json", EXAMPLES / "tariff.json"
TIME_OF_USE = EXAMPLES / "tariff-time-of-use.json"
REAL_SESSIONS = ROOT.parent / "shared" / "data" / "charging_sessions.csv"
RESULT_KEYS = {"sessions", "settled", "rejected", "energy_wh", "total_motes", "stations", "seconds"}


def run(*args: str | Path) -> Any:
    return CliRunner().invoke(cli.app, ["charging", *map(str, args)])


def replay_command(sessions: Path, network: Processes, tariff: Path = TARIFF) -> list[str]:
    url = network.devnet.nodes[0].rpc_url
    return [sys.executable, cli.__file__, "charging", "replay", str(sessions), "--tariff", str(tariff), "--rpc", url, "--json"]


def replay(sessions: Path, network: Processes, *options: str, tariff: Path = TARIFF) -> Any:
    command = [*replay_command(sessions, network, tariff), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE_S, check=False)
    assert result.returncode == Exit.OK, result.stderr
    return json.loads(result.stdout)


def assert_exact(document: Any, sessions: Path, network: Processes, expected: dict[str, int]) -> None:
    """Every session is settled, and every account holds what an independent computation says."""
    rows, _ = read_sessions(sessions)
    assert document.keys() == RESULT_KEYS
    assert (document["sessions"], document["settled"], document["rejected"]) == (len(rows), len(rows), [])
    assert document["energy_wh"] == sum(row.energy_wh for row in rows)
    assert {key: int(station["motes"]) for key, station in document["stations"].items()} == expected
    assert int(document["total_motes"]) == sum(expected.values())
    due = {station["address"]: int(station["motes"]) for station in document["stations"].values()}
    until(lambda: balances(network, len(network.devnet.nodes) - 1, due) == due)  # the last node hears of the blocks in its time


def balances(network: Processes, node: int, addresses: Iterable[str]) -> dict[str, int]:
    """Return what accounts have by the word of one node."""
    answers = [network.ask(node, "account_get", address=address) for address in addresses]
    return {address: int(answer["value"]["balance"]) for address, answer in zip(addresses, answers, strict=True)}


class TestPrice:
    def test_json_is_the_quote(self) -> None:
        result = run("price", "--tariff", TARIFF, "--session", SESSION, "--json")
        assert result.exit_code == Exit.OK
        assert json.loads(result.stdout) == quote(TARIFF.read_text(), SESSION.read_text())

    def test_a_time_of_use_tariff_has_a_line_for_each_price(self) -> None:
        result = run("price", "--tariff", TIME_OF_USE, "--session", SESSION, "--json")
        assert result.exit_code == Exit.OK
        printed = json.loads(result.stdout)
        assert printed == quote(TIME_OF_USE.read_text(), SESSION.read_text())
        assert [line["price"] for line in printed["components"] if line["type"] == "PARKING_TIME"] == ["4.5000", "1.5000"]

    def test_a_person_sees_lines_and_totals(self) -> None:
        shown = run("price", "--tariff", TARIFF, "--session", SESSION).stdout
        assert "PARKING_TIME  2700" in shown
        assert "incl_vat  16.0218 DATR" in shown

    def test_a_wrong_document_names_its_field(self, tmp_path: Path) -> None:
        bad = tmp_path / "bad.json"
        bad.write_text('{"elements": []}')
        result = run("price", "--tariff", bad, "--session", SESSION, "--json")
        assert result.exit_code == Exit.ERROR
        assert json.loads(result.stdout)["error"]["data"]["path"] == "$.elements"

    def test_a_missing_file_is_a_usage_error(self, tmp_path: Path) -> None:
        assert run("price", "--tariff", tmp_path / "none.json", "--session", SESSION).exit_code == Exit.USAGE


class TestReplay:
    def test_no_node_no_replay(self) -> None:
        result = run("replay", SESSIONS, "--tariff", TARIFF, "--rpc", "http://127.0.0.1:9", "--json")
        assert result.exit_code == Exit.UNREACHABLE

    def test_what_is_not_said_is_not_assumed(self) -> None:
        assert run("replay", SESSIONS).exit_code == Exit.USAGE
        assert run("replay", SESSIONS, "--tariff", TARIFF, "--utc-offset-minutes", "900").exit_code == Exit.USAGE

    @pytest.mark.cluster
    def test_the_example_twice_on_one_network(self, network: Processes) -> None:
        first, second = replay(SESSIONS, network), replay(SESSIONS, network)
        for document in (first, second):
            assert_exact(document, SESSIONS, network, charging_bill.station_motes(SESSIONS, TARIFF))
        assert {item["address"] for item in first["stations"].values()}.isdisjoint(
            item["address"] for item in second["stations"].values()
        )
        network.assert_one_chain()

    @pytest.mark.cluster
    def test_interrupted_it_tells_what_was_settled(self, network: Processes, tmp_path: Path) -> None:
        header, *rows = SESSIONS.read_text().splitlines()
        many = tmp_path / "many.csv"
        many.write_text("\n".join([header, *(f"{turn}-{row}" for turn in range(60) for row in rows)]))
        command = replay_command(many, network)
        started = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path)
        with ended(started) as process:
            assert process.stderr is not None
            assert "of 1200 sessions" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            printed, _ = process.communicate(timeout=10 * PATIENCE_S)
        document = json.loads(printed)
        assert process.returncode == Exit.INTERRUPTED
        assert document["sessions"] == 1_200
        assert 0 < document["settled"] < 1_200
        assert document["rejected"] == []
        stations = [item["address"] for item in document["stations"].values()]
        assert document["total_motes"] != "0"
        until(lambda: str(sum(balances(network, 1, stations).values())) == document["total_motes"])

    @pytest.mark.cluster
    def test_the_sessions_of_a_real_site_under_a_time_of_use_tariff(self, network: Processes, tmp_path: Path) -> None:
        """Restrictions, step sizes, idle fee and VAT, by the site's own clock; the plain tariff is in the example above.

        One in four of them: all are played through the contract in `tests.unit.test_charging_real_sessions`.
        """
        if not REAL_SESSIONS.exists():
            pytest.skip(f"{REAL_SESSIONS} is not on this machine")
        header, *rows = REAL_SESSIONS.read_text().splitlines()
        some = tmp_path / "some.csv"
        some.write_text("\n".join([header, *rows[::4]]))
        expected = time_of_use_bill.station_motes(some, TIME_OF_USE, 540)
        document = replay(some, network, "--utc-offset-minutes", "540", tariff=TIME_OF_USE)
        assert_exact(document, some, network, expected)

"""`datacar charging`: quotes, and real sessions played through a network of four node processes, to the mote."""

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from datacar.sessions_file import read_sessions
from node.commands.exits import Exit
from tests import charging_bill, time_of_use_bill
from tests.processes import Processes
from vm.quote import quote

ROOT = Path(__file__).resolve().parents[2]
EXAMPLES = ROOT / "docs" / "examples"
SESSIONS, SESSION, TARIFF = EXAMPLES / "sessions.csv", EXAMPLES / "session.json", EXAMPLES / "tariff.json"
TIME_OF_USE = EXAMPLES / "tariff-time-of-use.json"
REAL_SESSIONS = ROOT.parent / "shared" / "data" / "charging_sessions.csv"
RESULT_KEYS = {"sessions", "settled", "rejected", "energy_wh", "total_motes", "stations", "seconds"}


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    found = Processes(tmp_path_factory.mktemp("replay"))
    yield found
    found.close()


def run(*args: str | Path) -> Any:
    return CliRunner().invoke(cli.app, ["charging", *map(str, args)])


def replay_command(sessions: Path, network: Processes, tariff: Path = TARIFF) -> list[str]:
    url = network.devnet.nodes[0].rpc_url
    return [sys.executable, cli.__file__, "charging", "replay", str(sessions), "--tariff", str(tariff), "--rpc", url, "--json"]


def replay(sessions: Path, network: Processes, *options: str, tariff: Path = TARIFF) -> Any:
    command = [*replay_command(sessions, network, tariff), *options]
    result = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
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
    last = len(network.devnet.nodes) - 1
    for station in document["stations"].values():
        assert network.ask(last, "account_get", address=station["address"])["value"]["balance"] == station["motes"]


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
        process = subprocess.Popen(
            replay_command(many, network), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, cwd=tmp_path
        )
        assert process.stderr is not None
        assert "of 1200 sessions" in process.stderr.readline()
        process.send_signal(signal.SIGINT)
        printed, _ = process.communicate(timeout=60)
        document = json.loads(printed)
        assert process.returncode == Exit.INTERRUPTED
        assert document["sessions"] == 1_200
        assert 0 < document["settled"] < 1_200
        assert document["rejected"] == []
        balances = [network.ask(1, "account_get", address=item["address"])["value"] for item in document["stations"].values()]
        assert str(sum(int(balance["balance"]) for balance in balances)) == document["total_motes"] != "0"

    @pytest.mark.cluster
    def test_the_sessions_of_a_real_site_under_a_time_of_use_tariff(self, network: Processes) -> None:
        """Restrictions, step sizes, idle fee and VAT, by the site's own clock; the plain tariff is in the example above."""
        if not REAL_SESSIONS.exists():
            pytest.skip(f"{REAL_SESSIONS} is not on this machine")
        expected = time_of_use_bill.station_motes(REAL_SESSIONS, TIME_OF_USE, 540)
        document = replay(REAL_SESSIONS, network, "--utc-offset-minutes", "540", tariff=TIME_OF_USE)
        assert_exact(document, REAL_SESSIONS, network, expected)

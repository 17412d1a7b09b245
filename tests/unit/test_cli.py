"""The command line's frame: families load lazily, errors become messages and exit codes, JSON goes to stdout alone."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

import cli
from datacar.amounts import parse_datr
from datacar.errors import RequestRefusedError
from datacar.wallet import Wallet
from genesis.spec_json import read_spec
from ledger.errors import DatacarError, InvalidInputError, LimitError, NotFoundError, RejectedError, UnavailableError
from node.commands.exits import Exit, exit_code, report
from node.commands.output import print_pairs, print_table
from node.secret_files import read_seed

run = CliRunner().invoke


def exit_of(*args: str) -> int:
    return run(cli.app, list(args)).exit_code


class TestFrame:
    def test_help_lists_every_family_and_imports_none(self) -> None:
        script = (
            "import sys, cli; cli.app(['--help'], standalone_mode=False); print([n for n in sys.modules if 'node.commands' in n])"
        )
        shown = subprocess.run(
            [sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=Path(cli.__file__).parent
        )
        assert all(f" {family.name} " in shown.stdout for family in cli.FAMILIES)
        imported = shown.stdout.splitlines()[-1]
        assert imported == "['node.commands', 'node.commands.exits', 'node.commands.output']"

    @pytest.mark.parametrize("family", cli.FAMILIES, ids=lambda family: family.name)
    def test_every_family_in_the_table_loads_and_has_help(self, family: cli.Family) -> None:
        result = run(cli.app, [family.name, "--help"])
        assert result.exit_code == Exit.OK, result.output
        assert "--help" in result.output

    def test_a_missing_part_says_what_is_missing(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(sys.modules, "node.commands.version", None)
        result = run(cli.app, ["version"])
        assert result.exit_code == Exit.ERROR
        assert "needs the Python module node.commands.version" in result.stderr

    def test_version_in_json_is_all_there_is_on_stdout(self) -> None:
        result = run(cli.app, ["version", "--json"])
        assert set(json.loads(result.stdout)) == {"version", "python", "platform"}
        assert result.stderr == ""

    @pytest.mark.parametrize(
        "args", [["nope"], ["version", "--nope"], ["genesis"], [], ["genesis", "new"], ["devnet", "fund", "x"]]
    )
    def test_usage_errors_end_with_2_and_keep_stdout_clean(self, args: list[str]) -> None:
        result = run(cli.app, args)
        assert result.exit_code == Exit.USAGE


class TestErrors:
    @pytest.mark.parametrize(
        ("error", "code"),
        [
            (UnavailableError("unreachable", ""), Exit.UNREACHABLE),
            (UnavailableError("wait_timeout", ""), Exit.OUTCOME_UNKNOWN),
            (UnavailableError("outcome_unknown", ""), Exit.OUTCOME_UNKNOWN),
            (UnavailableError("syncing", ""), Exit.ERROR),
            (RejectedError("insufficient_funds", ""), Exit.REJECTED),
            (LimitError("pool_full", ""), Exit.REJECTED),
            (InvalidInputError("bad_encoding", ""), Exit.ERROR),
            (NotFoundError("not_found", ""), Exit.ERROR),
            (DatacarError("anything", ""), Exit.ERROR),
        ],
        ids=lambda value: getattr(value, "reason", str(value)),
    )
    def test_exit_codes_are_those_of_the_interface(self, error: DatacarError, code: Exit) -> None:
        assert exit_code(error) == code
        assert [Exit.OK, Exit.ERROR, Exit.USAGE, Exit.UNREACHABLE, Exit.REJECTED, Exit.OUTCOME_UNKNOWN] == [0, 1, 2, 3, 4, 5]

    def test_message_and_hint_on_stderr_and_with_json_the_object_on_stdout(self, tmp_path: Path) -> None:
        plain = run(cli.app, ["devnet", "status", "--dir", str(tmp_path)])
        assert (plain.exit_code, plain.stdout) == (Exit.ERROR, "")
        assert "error: there is no devnet in" in plain.stderr
        assert "hint: start one" in plain.stderr
        shown = run(cli.app, ["devnet", "status", "--dir", str(tmp_path), "--json"])
        error = json.loads(shown.stdout)["error"]
        assert error["data"]["reason"] == "not_found"
        assert error["data"]["hint"]
        assert "error: there is no devnet in" in shown.stderr

    def test_with_json_the_code_is_the_nodes_own(self, capsys: pytest.CaptureFixture[str]) -> None:
        report(RequestRefusedError(-32601, "not_found", "no such method", hint=""), as_json=True)
        assert json.loads(capsys.readouterr().out)["error"]["code"] == -32601

    def test_messages_of_strangers_stay_on_their_line(self, capsys: pytest.CaptureFixture[str]) -> None:
        report(RejectedError("contract_error", "no\nstatus  succeeded\x1b[2J", hint="a\rb"), as_json=False)
        print_pairs({"reference": "x\x1b[3A\nstatus  succeeded", "text": "\u202e", "plain": "Ladesäule 7"})
        print_table(("a",), [("y\nz",)])
        shown = capsys.readouterr()
        assert shown.err.splitlines() == ["error: no\\nstatus  succeeded\\x1b[2J", "hint: a\\rb"]
        assert [line.partition("  ")[2].strip() for line in shown.out.splitlines()[:3]] == [
            "x\\x1b[3A\\nstatus  succeeded",
            "\\u202e",
            "Ladesäule 7",
        ]
        assert shown.out.splitlines()[3:] == ["a", "y\\nz"]

    def test_what_the_system_refuses_is_no_traceback(self, tmp_path: Path) -> None:
        result = run(cli.app, ["genesis", "hash", str(tmp_path / "none.json")])
        assert result.exit_code == Exit.ERROR
        assert "No such file" in result.stderr
        assert "none.json" in result.stderr


class TestGenesis:
    def test_new_is_verified_and_reproducible_from_a_seed(self, tmp_path: Path) -> None:
        hashes = []
        for name in ("a", "b"):
            args = ["genesis", "new", "--nodes", "4", "--chain-id", "test", "--development", "--seed", "s", "--json"]
            result = run(cli.app, [*args, "--dir", str(tmp_path / name)])
            assert result.exit_code == Exit.OK, result.output
            hashes.append(json.loads(result.stdout)["genesis_hash"])
        assert hashes[0] == hashes[1]
        shown = json.loads(run(cli.app, ["genesis", "verify", str(tmp_path / "a" / "genesis.json"), "--json"]).stdout)
        assert (shown["valid"], shown["genesis_hash"], shown["supply"], shown["faults"]) == (True, hashes[0], "800000000", 1)
        assert sum(parse_datr(part["amount"]) for part in shown["distribution"]) == parse_datr("800000000")
        assert exit_of("config", "validate", "--config", str(tmp_path / "a" / "node3" / "config.toml")) == Exit.OK
        assert (tmp_path / "a" / "accounts.json").stat().st_mode & 0o777 == 0o600
        for member in shown["members"]:
            key = tmp_path / "a" / member["id"] / "governance.key"
            assert key.stat().st_mode & 0o777 == 0o600
            assert Wallet.from_seed(read_seed(key, "the governance key")).address == member["account"]

    def test_members_with_their_own_keys_meet_in_a_genesis_file(self, tmp_path: Path) -> None:
        for name in ("bank", "maker"):
            result = run(
                cli.app, ["init", "--dir", str(tmp_path / name), "--member-id", name, "--p2p-address", f"{name}.example:26656"]
            )
            assert json.loads(result.stdout) == json.loads((tmp_path / name / "member.json").read_text())
        bank, maker = (str(tmp_path / name / "member.json") for name in ("bank", "maker"))
        result = run(cli.app, ["genesis", "new", "--member", bank, "--chain-id", "consortium", "--dir", str(tmp_path)])
        assert result.exit_code == Exit.OK, result.output
        file = tmp_path / "genesis.json"
        before = read_spec(file)
        added = run(cli.app, ["genesis", "add-member", str(file), maker, "--json"])
        spec = read_spec(file)
        assert json.loads(added.stdout)["genesis_hash"] == "0x" + spec.hash.hex() != "0x" + before.hash.hex()
        assert [member.id for member in spec.committee.members] == ["bank", "maker"]
        assert not spec.development
        records = [json.loads(Path(path).read_text()) for path in (bank, maker)]
        shown = json.loads(run(cli.app, ["genesis", "verify", str(file), "--json"]).stdout)
        assert [member["account"] for member in shown["members"]] == [record["account"] for record in records]
        assert exit_of("genesis", "add-member", str(file), maker) == Exit.ERROR, "a member stands there once"
        assert read_spec(file) == spec

    def test_init_never_overwrites_keys(self, tmp_path: Path) -> None:
        args = ["init", "--dir", str(tmp_path), "--member-id", "bank"]
        assert exit_of(*args) == Exit.OK
        key = (tmp_path / "consensus.key").read_bytes()
        assert exit_of(*args) == Exit.ERROR
        assert (tmp_path / "consensus.key").read_bytes() == key

    def test_a_foreign_certificate_is_found(self, tmp_path: Path) -> None:
        for name in ("bank", "maker"):
            exit_of("init", "--dir", str(tmp_path / name), "--member-id", name)
        record = json.loads((tmp_path / "bank" / "member.json").read_text())
        record["id"] = "maker"
        del record["possession"]  # it would be found first
        (tmp_path / "forged.json").write_text(json.dumps(record))
        args = ["genesis", "new", "--member", str(tmp_path / "forged.json"), "--chain-id", "c", "--dir", str(tmp_path / "g")]
        result = run(cli.app, args)
        assert result.exit_code == Exit.ERROR
        assert "names bank instead of maker" in result.stderr


class TestGenesisWarnings:
    """What a chain should not start with is said, in JSON too, and is no error."""

    @pytest.fixture
    def file(self, tmp_path: Path) -> Path:
        args = ["genesis", "new", "--nodes", "4", "--chain-id", "c", "--development", "--seed", "s", "--dir", str(tmp_path / "g")]
        assert exit_of(*args) == Exit.OK
        return tmp_path / "g" / "genesis.json"

    def verified(self, file: Path, *args: str) -> list[str]:
        result = run(cli.app, ["genesis", "verify", str(file), *args, "--json"])
        assert result.exit_code == Exit.OK, result.output
        warnings: list[str] = json.loads(result.stdout)["warnings"]
        assert [line.removeprefix("warning: ") for line in result.stderr.splitlines()] == warnings
        return warnings

    def changed(self, file: Path, **parameters: int) -> Path:
        document = json.loads(file.read_text())
        document["parameters"] |= parameters
        file.write_text(json.dumps(document))
        return file

    def test_there_is_nothing_to_say_of_what_is_made_here(self, file: Path) -> None:
        assert self.verified(file) == []

    @pytest.mark.parametrize(("gas", "warned"), [(1_000_000_000, 0), (1_000_000_001, 1)])
    def test_blocks_that_take_longer_than_a_view(self, gas: int, warned: int, file: Path) -> None:
        """250,000 gas for each millisecond of the longest view (4,000), as governance demands of later changes."""
        said = self.verified(self.changed(file, block_max_gas=gas))
        assert len(said) == warned
        assert all("set block_max_gas to 1000000000 or less, or timeout_cap_ms to 4001 or more" in text for text in said)

    def test_views_that_end_too_soon(self, file: Path) -> None:
        [text] = self.verified(self.changed(file, timeout_cap_ms=999, base_timeout_ms=500, block_max_gas=200_000_000))
        assert "timeout_cap_ms is 999" in text

    def test_few_members_and_one_without_a_vote(self, file: Path) -> None:
        document = json.loads(file.read_text())
        gone, silent = document["members"].pop(), document["members"][0]["id"]
        accounts = document["contracts"]["governance"]["accounts"]
        document["contracts"]["governance"]["accounts"] = [
            each for each in accounts if each["member_id"] not in (gone["id"], silent)
        ]
        file.write_text(json.dumps(document))
        small, mute = self.verified(file)
        assert small.startswith("a committee of 3 bears no fault")
        assert mute.startswith(f"{silent}: no governance account")

    def test_records_that_prove_nothing_or_are_of_others(self, tmp_path: Path) -> None:
        for name in ("bank", "maker"):
            exit_of("init", "--dir", str(tmp_path / name), "--member-id", name, "--p2p-address", f"{name}.example:26656")
        bank, maker = (tmp_path / name / "member.json" for name in ("bank", "maker"))
        record = json.loads(bank.read_text())
        del record["possession"]
        (tmp_path / "old.json").write_text(json.dumps(record))
        (tmp_path / "moved.json").write_text(json.dumps(json.loads(bank.read_text()) | {"p2p_address": "elsewhere:1"}))
        made = run(cli.app, ["genesis", "new", "--member", str(tmp_path / "old.json"), "--chain-id", "c", "--dir", str(tmp_path)])
        assert "bank does not prove that it holds its consensus key" in made.stderr
        file = tmp_path / "genesis.json"
        assert len(self.verified(file, "--member", str(bank))) == 1  # of one member
        _, old, moved, other = self.verified(
            file, "--member", str(tmp_path / "old.json"), "--member", str(tmp_path / "moved.json"), "--member", str(maker)
        )
        assert "bank does not prove that it holds its consensus key" in old
        assert moved.endswith("bank is another one in this genesis file: p2p_address")
        assert other.endswith("maker is no member in this genesis file")

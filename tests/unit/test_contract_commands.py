"""Commands made of contracts, without a node: which there are, their help, and what they say of options that cannot be."""

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Annotated, Final

import pytest
import typer
from typer.testing import CliRunner, Result

import cli
from datacar import Event, Multisig, Wallet
from datacar.failures import offline_money
from ledger.policy import contract_address, format_address
from node.commands import contract_group, gov
from node.commands.contract_group import RESERVED, MethodGroup, extend, group_of
from node.commands.contract_options import LONGEST_SHOWN
from node.commands.contract_view import View
from node.commands.exits import Exit
from tests.vm_toys import Toy
from vm.abi import MethodKind
from vm.contract import U8, U16, U64, Address, Bytes, Context, Contract, Motes, Text, read, write
from vm.registry import Registry, default_registry

SOMEONE: Final = format_address(contract_address("someone"))
ROOT: Final = Path(cli.__file__).parent


class Till(Contract):
    """Takes what the commands' options are made of."""

    @write
    def take(self, ctx: Context, amount: Motes, at_ms: U64, days: tuple[U16, ...], open_now: bool) -> None:
        """Take [all] of it. Errors: NONE.

        Args:
            days: [one] or more
        """

    @write
    def clash(self, ctx: Context, key: Text, yes: bool, json: U8 | None) -> None:
        """Have parameters that are called like the options of every command."""

    @write
    def pay(self, ctx: Context, pairs: tuple[tuple[Address, Motes], ...], data: Bytes) -> None:
        """Take pairs."""

    @read
    def level(self, at: U8) -> U8:
        """Return it."""
        return at


REGISTRY: Final = Registry({"toy": Toy, "till": Till, "asset": default_registry().entry("asset").cls})
run = CliRunner().invoke


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """No wallets, and a node that nothing may ask: whatever is wrong is found before."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setenv("DATACAR__CLIENT__RPC", "http://127.0.0.1:1")


@pytest.fixture
def toys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Toy contracts instead of the chain's: registered, they have their commands."""
    monkeypatch.setattr(contract_group, "default_registry", lambda: REGISTRY)


def till(*args: str) -> Result:
    return run(cli.app, ["till", *args])


def refused(result: Result) -> str:
    assert result.exit_code == Exit.USAGE, result.output
    return " ".join(result.stderr.replace("│", " ").split())


class TestGroups:
    @pytest.mark.parametrize("contract", default_registry().names())
    def test_every_registered_contract_has_a_group_with_all_of_its_methods(self, contract: str) -> None:
        """Also one that nobody wrote a line for: registered is enough."""
        result = run(cli.app, [contract, "--help"])
        assert result.exit_code == Exit.OK, result.output
        served = gov.SERVED_METHODS if contract == "governance" else ()
        for method in default_registry().entry(contract).spec.methods.values():
            shown = f" {method.name.replace('_', '-')} " in result.output
            assert shown == (method.kind in (MethodKind.WRITE, MethodKind.READ) and method.name not in served)

    @pytest.mark.parametrize("contract", default_registry().names())
    def test_every_parameter_has_an_option(self, contract: str) -> None:
        group = group_of(contract)
        for method in default_registry().entry(contract).spec.methods.values():
            if (command := group.made(method.name.replace("_", "-"))) is not None:
                options = {option for param in command.params for option in param.opts}
                names = {param.name.replace("_", "-") for param in method.params}
                reserved = RESERVED[method.kind]
                assert {f"--arg-{name}" if name in reserved else f"--{name}" for name in names} < options
                assert all(command.help and param.help is not None for param in command.params)

    def test_a_contract_without_a_family_is_a_group_of_its_name(self) -> None:
        assert "schedule" not in {family.name for family in cli.FAMILIES}
        assert run(cli.app, ["schedule", "next-due", "--help"]).exit_code == Exit.OK
        assert "No such command 'nothing'" in refused(run(cli.app, ["nothing"]))

    def test_hand_made_commands_win_and_stay(self) -> None:
        app = typer.Typer(cls=MethodGroup)

        @app.command("take")
        def take() -> None:
            """Made by hand."""

        @app.command()
        def other() -> None:
            """Made by hand too."""

        group = extend(typer.main.get_command(app), "till", ("clash",), REGISTRY)
        assert set(group.commands) == {"take", "other", "pay", "level"}
        assert group.made("take").help == "Made by hand."
        assert group.made("pay").params

    def test_methods_that_gov_serves_under_other_names_exist(self) -> None:
        assert set(default_registry().entry("governance").spec.methods) >= gov.SERVED_METHODS

    @pytest.mark.usefixtures("toys")
    def test_help_says_what_is_taken_and_how_it_is_written(self) -> None:
        shown = till("take", "--help").output
        assert "Take [all] of it." in shown
        flat = " ".join(shown.replace("│", " ").split())
        assert "[one] or more. Written 30. May be given again." in flat
        assert "Written here in DATR, such as 1.5." in flat  # what the contract says of motes is not how it is written
        assert "--amount" in shown
        assert "DATR" in shown

    def test_the_root_s_help_imports_no_contract(self) -> None:
        script = "import sys, cli; cli.app(['--help'], standalone_mode=False); print([n for n in sys.modules if n[:3] == 'vm.'])"
        done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True, cwd=ROOT)
        assert done.stdout.splitlines()[-1] == "[]"


@pytest.mark.usefixtures("toys")
class TestOptions:
    def test_a_parameter_called_like_a_standard_option_gets_another_name(self) -> None:
        assert {"key", "yes", "json", "rpc", "wallet", "help"} <= RESERVED[MethodKind.WRITE]
        assert {"height", "json", "rpc", "help"} <= RESERVED[MethodKind.READ]
        shown = till("clash", "--help").output
        assert all(f"--arg-{name} " in shown for name in ("key", "yes", "json"))

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["take"], "Missing option '--amount'"),
            (["take", "--amount", "1", "--at-ms", "1"], "Missing option '--open-now'"),
            (["take", "--amount", "1e3"], "--at-ms"),
            (
                ["take", "--amount", "1e3", "--at-ms", "0", "--open-now", "yes"],
                "for --amount: '1e3' is not an amount of DATR (write",
            ),
            (
                ["take", "--amount", "1", "--at-ms", "x", "--open-now", "yes"],
                "for --at-ms: 'x' is not a date and time (write UTC",
            ),
            (
                ["take", "--amount", "1", "--at-ms", "20270201", "--open-now", "yes"],
                "for --at-ms: 20270201 is no time in milliseconds: under 100000000000, before March 1973 (write UTC",
            ),
            (
                ["take", "--amount", "1", "--at-ms", "0", "--open-now", "maybe"],
                "for --open-now: 'maybe' cannot be used (write yes",
            ),
            (
                ["take", "--amount", "1", "--at-ms", "0", "--open-now", "yes", "--days", "3", "--days", "soon"],
                "for --days: [2]: 'soon' is not a length of time",
            ),
            (["pay", "--data", "0xff", "--pairs", "{"], "for --pairs: [1]: this is no JSON"),
            (["pay", "--data", "0xff", "--pairs", f"{SOMEONE},1,2"], "for --pairs: [1]: this cannot be used (give an array of 2"),
            (["pay", "--data", "0xff", "--pairs", "nobody,1"], "'nobody' is no address and no wallet here"),
            (["pay", "--data", "ff"], "for --data: 'ff' cannot be used (write 0x"),
            (
                ["take", "--amount", "1", "--at-ms", "0", "--open-now", "yes"],
                "there is no terminal to ask on hint: look with --dry-run",
            ),
            (
                ["take", "--amount", "1", "--at-ms", "0", "--open-now", "yes", "--yes", "--tx-reference", "x" * 65],
                "for --tx-reference: at most 64 characters",
            ),
            (
                ["take", "--amount", "1", "--at-ms", "0", "--open-now", "yes", "--yes", "--wallet", "a", "--key", "b"],
                "for --wallet / --key / --multisig: only one of them can act",
            ),
            (
                ["take", "--amount", "1", "--at-ms", "0", "--open-now", "yes", "--yes", "--out", "b"],
                "for --multisig / --out: an account of several keys needs a file",
            ),
        ],
    )
    def test_what_cannot_be_is_a_usage_error_that_names_the_option(self, args: list[str], said: str) -> None:
        assert said in refused(till(*args))

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            ([], "for --outer: must be given"),
            (["--outer.price", "1"], "for --outer: pair, owner of Outer must be given"),
            (["--outer.price", "1 kWh"], "for --outer.price: '1 kWh' is not an amount of DATR"),
            (["--outer", "{}", "--outer.price", "1"], "for --outer: --outer says it all: leave out --outer.price"),
            (["--outer", '{"price": "1", "sum": 2}'], "for --outer: 'sum' cannot be used (Outer has parts, pair, owner, price)"),
            (["--outer", "price=1"], "must be given (it has parts, pair, owner, price)"),
        ],
    )
    def test_a_structure_is_given_whole_or_by_its_parts(self, args: list[str], said: str) -> None:
        assert said in refused(run(cli.app, ["toy", "keep", *args]))

    def test_a_file_that_is_not_there_is_no_traceback(self) -> None:
        result = run(cli.app, ["toy", "keep", "--outer", "none.json", "--yes"])
        assert result.exit_code == Exit.ERROR
        assert "No such file or directory: none.json" in result.stderr


class TestSharedAccountFiles:
    """`wallet multisig` without a network."""

    def test_an_account_is_made_once_and_shown(self, tmp_path: Path) -> None:
        keys = ["0x" + Wallet.from_seed(bytes([each]) * 32).key.public_key.hex() for each in (1, 2, 3)]
        file = str(tmp_path / "shared.json")
        signers = [part for key in keys for part in ("--signer", key)]
        made = run(cli.app, ["wallet", "multisig", "new", file, "--threshold", "2", *signers, "--json"])
        assert made.exit_code == Exit.OK, made.output
        shown = json.loads(made.stdout)
        assert shown == {"address": shown["address"], "threshold": 2, "keys": sorted(keys)}
        assert Multisig.from_text(Path(file).read_text()).address == shown["address"]
        assert json.loads(run(cli.app, ["wallet", "multisig", "show", file, "--json"]).stdout) == shown
        again = run(cli.app, ["wallet", "multisig", "new", file, "--threshold", "1", *signers])
        assert again.exit_code == Exit.ERROR
        assert "File exists" in again.stderr

    @pytest.mark.parametrize(
        ("args", "said"),
        [
            (["--threshold", "2", "--signer", "0x" + "01" * 32], "policy threshold must be within 1..1"),
            (["--threshold", "1", "--signer", "0x01"], "for --signer: a public key is 0x and 64 hex digits"),
            (["--threshold", "1", "--signer", "0x" + "01" * 32, "--signer", "0x" + "01" * 32], "ascending and distinct"),
            (["--threshold", "1"], "Missing option '--signer'"),
        ],
    )
    def test_an_account_that_cannot_be_is_a_usage_error(self, args: list[str], said: str, tmp_path: Path) -> None:
        assert said in refused(run(cli.app, ["wallet", "multisig", "new", str(tmp_path / "shared.json"), *args]))
        assert not (tmp_path / "shared.json").exists()

    def test_an_account_s_file_is_a_policy_for_the_contract(self, tmp_path: Path) -> None:
        """What `wallet multisig new` wrote is taken where the chain's multisig wants keys and threshold."""
        file = tmp_path / "shared.json"
        file.write_text(Multisig.of(1, [Wallet.from_seed(b"a" * 32).key.public_key]).to_text())
        result = run(cli.app, ["multisig", "address-of", "--policy", str(file)])
        assert result.exit_code == Exit.UNREACHABLE, result.output  # all was read


def test_an_event_of_another_version_never_passes_motes_off_as_datr() -> None:
    """Its fields cannot be read here: people are told the unit."""
    view = View.of(default_registry(), offline_money)
    strange = Event("asset", "Transferred", {"amount": "150000000", "memo": "new"})
    assert view.event_text(strange) == "asset.Transferred (another version's; money in motes): amount 150000000, memo new"


def test_commands_made_by_hand_get_the_standard_options() -> None:
    """`charging publish-tariff` reads OCPI's form; how it is sent is as for all."""
    app = typer.Typer()

    @app.command("note")
    @contract_group.sends("asset", "supply")
    def note(what: Annotated[str, typer.Option("--what")]) -> tuple[str, ...]:
        """Say something."""
        return (what,)

    shown = run(app, ["--help"]).output
    assert all(f"--{name} " in shown for name in ("what", "wallet", "dry-run", "rpc", "json"))
    assert "Say something." in shown


OWN_UNITS: Final = re.compile(
    r"\b[Mm]otes\b|basis point|smallest units;|1/10,000|[Pp]arts in 10,000|days since|Unix (milli)?seconds"
)


@pytest.mark.parametrize("contract", default_registry().names())
def test_help_says_one_way_of_writing_a_value(contract: str) -> None:
    """What a number is inside of the contract contradicts how people write it: the help says the latter alone."""
    group = group_of(contract)
    for method in default_registry().entry(contract).spec.methods.values():
        command = group.made(method.name.replace("_", "-"))
        for param in () if command is None else command.params:
            assert not OWN_UNITS.search(param.help or ""), f"{method.name} {param.name}: {param.help}"


def test_a_long_option_is_named_in_its_text() -> None:
    """A terminal of 80 columns has no room for it."""
    command = group_of("loan").made("offer")
    long = {param.opts[0]: param.help for param in command.params if len(param.opts[0]) > 2 + LONGEST_SHOWN}
    assert long
    assert all(text.startswith(f"{option.rpartition('.')[2]}: ") for option, text in long.items())

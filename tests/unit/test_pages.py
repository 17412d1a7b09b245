"""README.md, docs/proofs.md and the calls on other pages say what is: commands and programs run, arguments are the ABI's."""

import re
import shlex
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import pytest
import typer
from typer.testing import CliRunner

import cli
from datacar import Client, Wallet
from genesis.spec_json import spec_to_json
from node.commands import sending_options
from node.commands.exits import Exit
from tests.memory_node import FAUCET_SEED
from tests.served_node import Served, serve
from vm.registry import default_registry

ROOT: Final = Path(cli.__file__).resolve().parent
README: Final = (ROOT / "README.md").read_text(encoding="utf-8")
PROOFS: Final = (ROOT / "docs" / "proofs.md").read_text(encoding="utf-8")
REGISTRY: Final = default_registry()
SESSION_ID: Final = "11" * 32

FIRST_STEPS: Final = README.partition("## First steps\n```\n")[2].partition("```")[0].splitlines()
FOR_AN_AUDITOR: Final = PROOFS.partition("## For an auditor\n\n```\n")[2].partition("```")[0].splitlines()
CALLS: Final = re.compile(r"`(?:(\w+)\.)?([a-z_]+)\(([a-z0-9_, ]*)\)`")
"""`contract.method(argument, ...)`; one without its contract is of any that has such a method."""


@dataclass(frozen=True)
class Stage:
    """A served chain, the words of an account on it that has money, and a payment to another."""

    served: Served
    words: str
    wallet: Wallet
    payment: str


@pytest.fixture(scope="module")
def stage(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stage]:
    wallet = Wallet.generate()
    with serve(tmp_path_factory.mktemp("pages") / "db") as served, Client(served.url) as client:
        client.transfer(Wallet.from_seed(FAUCET_SEED), to=wallet.address, amount="1000")
        payment = client.transfer(wallet, to=Wallet.generate().address, amount="1").id
        yield Stage(served, wallet.mnemonic, wallet, payment)


@pytest.fixture
def place(stage: Stage, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder as that of somebody who reads: with the examples and the genesis file in it, and no wallets yet."""
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / "share"))
    monkeypatch.setenv("DATACAR__CLIENT__RPC", stage.served.url)
    monkeypatch.setenv(sending_options.PASSWORD_VARIABLE, "correct horse")
    monkeypatch.chdir(tmp_path)
    (tmp_path / "docs").symlink_to(ROOT / "docs")
    (tmp_path / "genesis.json").write_text(spec_to_json(stage.served.node._genesis.spec))
    return tmp_path


def words_of(line: str) -> list[str]:
    """Return a line's command without the program's name and the comment."""
    program, *words = shlex.split(line, comments=True)
    assert program.removeprefix(".venv/bin/") == "datacar"
    return words


def known(words: Sequence[str]) -> bool:
    """Return whether there is such a command with such options."""
    command: Any = typer.main.get_command(cli.app)
    rest = list(words)
    while hasattr(command, "resolve_command"):
        if rest[:1] == ["--help"]:
            return True
        _, command, rest = command.resolve_command(command.context_class(command, info_name="datacar"), rest)
    options = {option for param in command.params for option in (*param.opts, "--help")}
    return {word for word in rest if word.startswith("-")} - {"-"} <= options


def run(words: Sequence[str], stdin: str = "") -> str:
    result = CliRunner().invoke(cli.app, list(words), input=stdin)
    assert result.exit_code == Exit.OK, (words, result.output)
    return result.stdout


def program(text: str) -> dict[str, Any]:
    """Return the names of the one Python program on a page."""
    [found] = re.findall(r"^```python\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(compile(found, "page", "exec"), names)
    return names


def test_the_first_steps_can_be_gone(stage: Stage, place: Path) -> None:
    """All but those of `devnet`, which run real nodes as in tests/integration/test_devnet.py: these must only exist."""
    commands = [words_of(line.replace("datr1...", stage.wallet.address)) for line in FIRST_STEPS]
    assert len(commands) > 12
    assert [words for words in commands if not known(words)] == []
    for words in commands:
        if words[0] != "devnet":
            asks = ["--yes"] if words[:2] == ["asset", "transfer"] else []
            run([*words, *asks], stdin=stage.words if words[:2] == ["wallet", "restore"] else "")
    assert run(["asset", "balance-of", "--address", "bob", "--json"]).count('"1.5"') == 1
    assert (place / "balance.proof").exists()


def test_the_program_of_the_readme_pays(stage: Stage) -> None:
    to = Wallet.generate().address
    program(README)["pay"](stage.served.url, stage.words, to)
    with Client(stage.served.url) as client:
        assert client.balance(to).free == 150_000_000


def test_the_proofs_are_made_and_checked_as_the_page_does(stage: Stage, place: Path) -> None:
    there = {"0x4f2c...": stage.payment, "datr1...": stage.wallet.address, "120000": "1", "0x...": f"0x{SESSION_ID}"}
    for line in FOR_AN_AUDITOR:
        for written, found in there.items():
            line = line.replace(written, found)
        if line:
            run(words_of(line))
    assert len(list(place.glob("*.proof"))) == 4


def test_the_light_client_of_the_page_reads_a_balance(stage: Stage, place: Path) -> None:
    read, genesis_hash = program(PROOFS)["free_money"], stage.served.node.genesis_hash
    found = read(stage.served.url, genesis_hash, stage.wallet.address, place / "light.json")
    with Client(stage.served.url) as client:
        assert found == client.balance(stage.wallet.address).free
    assert (place / "light.json").exists()


@pytest.mark.parametrize("page", ["governance.md", "money.md"])
def test_calls_have_the_arguments_of_the_abi(page: str) -> None:
    """Whoever proposes a call writes its arguments by these names."""
    methods: dict[str, set[tuple[str, tuple[str, ...]]]] = {}
    for contract in REGISTRY.names():
        for method in REGISTRY.entry(contract).spec.methods.values():
            methods.setdefault(method.name, set()).add((contract, tuple(param.name for param in method.params)))
    calls = CALLS.findall((ROOT / "docs" / page).read_text(encoding="utf-8"))
    assert calls
    wrong = [
        f"{contract}.{method}({args})"
        for contract, method, args in calls
        if not any(
            contract in ("", known_contract) and tuple(re.findall(r"\w+", args)) == names
            for known_contract, names in methods.get(method, ())
        )
    ]
    assert wrong == []

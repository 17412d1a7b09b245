"""docs/commands.md says what is: every command on the page exists with its options, and its program runs."""

import re
import shlex
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any, Final

import pytest
import typer

import cli
from datacar import Client, Wallet
from tests.memory_node import FAUCET_SEED
from tests.served_node import serve

PAGE: Final = (Path(cli.__file__).parent / "docs" / "commands.md").read_text(encoding="utf-8")
SHELL: Final = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
COMMANDS: Final = [shlex.split(line) for line in SHELL.splitlines() if line]
PAYS, MOVES_IN = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[1:4]))
def test_every_command_on_the_page_exists_with_its_options(words: list[str]) -> None:
    command: Any = typer.main.get_command(cli.app)
    rest = words[1:]
    assert words[0] == "datacar"
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(command.context_class(command, info_name="datacar"), rest)
    known = {option for param in command.params for option in param.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def program(text: str) -> dict[str, Any]:
    names: dict[str, Any] = {}
    exec(compile(text, "docs/commands.md", "exec"), names)
    return names


def test_the_program_with_units_moves_what_it_says(tmp_path: Path) -> None:
    tenant, landlord = Wallet.from_seed(FAUCET_SEED), Wallet.from_seed(b"l" * 32).address
    until = datetime(2027, 1, 31, 12, tzinfo=UTC)
    with serve(tmp_path / "db") as served, Client(served.url) as client:
        hold_id = program(MOVES_IN)["move_in"](served.url, tenant, landlord, Decimal("0.75"), until)
        assert client.balance(landlord).free == 150_000_000
        found = client.contract("asset").get_hold(hold_id)
        assert (found["amount"], found["deadline_ms"]) == ("150000000", int(until.timestamp()) * 1_000)


def test_the_program_on_the_page_pays(tmp_path: Path) -> None:
    names = program(PAYS)
    alice, bob, carol = (Wallet.from_seed(letter * 32) for letter in (b"a", b"b", b"c"))
    keys = [wallet.key.public_key for wallet in (alice, bob, carol)]
    with serve(tmp_path / "db") as served, Client(served.url) as client:
        client.transfer(Wallet.from_seed(FAUCET_SEED), to=names["Multisig"].of(2, keys).address, amount="10")
        names["pay"](served.url, keys, alice, bob, carol.address)
        assert client.balance(carol.address).free == 150_000_000

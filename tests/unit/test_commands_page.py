"""docs/commands.md says what is: every command on the page exists with its options, and its program runs."""

import re
import shlex
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
[PROGRAM] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


@pytest.mark.parametrize("words", COMMANDS, ids=lambda words: " ".join(words[1:4]))
def test_every_command_on_the_page_exists_with_its_options(words: list[str]) -> None:
    command: Any = typer.main.get_command(cli.app)
    rest = words[1:]
    assert words[0] == "datacar"
    while hasattr(command, "resolve_command"):
        _, command, rest = command.resolve_command(command.context_class(command, info_name="datacar"), rest)
    known = {option for param in command.params for option in param.opts}
    assert {word for word in rest if word.startswith("--")} <= known


def test_the_program_on_the_page_pays(tmp_path: Path) -> None:
    names: dict[str, Any] = {}
    exec(compile(PROGRAM, "docs/commands.md", "exec"), names)
    alice, bob, carol = (Wallet.from_seed(letter * 32) for letter in (b"a", b"b", b"c"))
    keys = [wallet.key.public_key for wallet in (alice, bob, carol)]
    with serve(tmp_path / "db") as served, Client(served.url) as client:
        client.transfer(Wallet.from_seed(FAUCET_SEED), to=names["Multisig"].of(2, keys).address, amount="10")
        names["pay"](served.url, keys, alice, bob, carol.address)
        assert client.balance(carol.address).free == 150_000_000

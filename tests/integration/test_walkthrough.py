"""docs/walkthrough.md says what is: all of its commands, in its order, against a served node of four members."""

import json
import re
import shlex
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

import cli
from datacar import Client, Wallet, keystore
from node.commands import sending_options, wallet_files
from node.commands.devnet_time import parse_span
from node.node_folder import GOVERNANCE_KEY_NAME
from node.secret_files import write_seed
from tests.memory_node import FAUCET_SEED
from tests.served_node import Served, serve

ROOT: Final = Path(cli.__file__).parent
PAGE: Final = (ROOT / "docs" / "walkthrough.md").read_text(encoding="utf-8")
SHELL: Final = "\n".join(re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)).replace("\\\n", " ")
LINES: Final = [line for line in SHELL.splitlines() if line]
ID: Final = re.compile(r"([A-Z]+)=\$\((.*) \| jq -r '\.results\[0\]'\)")

CHEAP: Final = keystore.ScryptParams(n=2)
"""What a guess of a password costs is no part of this; by default it is half a second for each command."""


class Walk:
    """Runs the page's lines as a shell would; the development network's own commands are a memory node's here."""

    def __init__(self, served: Served, net: Path) -> None:
        self.served = served
        self.words = {"NET": str(net)}
        self.said: dict[str, str] = {}

    def run(self, line: str) -> None:
        """Run a line: a command, one whose first result is kept, or a variable."""
        if (kept := ID.fullmatch(re.sub(r" +", " ", line))) is not None:
            self.words[kept[1]] = json.loads(self.command(kept[2]))["results"][0]
        elif line.startswith("datacar devnet "):
            self.devnet(shlex.split(line)[2:])
        elif line.startswith("datacar "):
            self.command(line)
        else:
            assert re.match(r"(export )?[A-Z_]+=", line), line

    def command(self, line: str) -> str:
        """Run a command and return what it printed."""
        for name, value in self.words.items():
            line = line.replace(f"${name}", value)
        args = shlex.split(line)[1:]
        result = CliRunner().invoke(cli.app, args)
        assert result.exit_code == 0, f"{line}\n{result.output}"
        self.said[" ".join(args[:2])] = result.stdout
        return result.stdout

    def devnet(self, words: list[str]) -> None:
        """Do what a development network's command does: fund from the faucet, or go on in time and let the calendar work."""
        match words:
            case ["fund", name, "--amount", amount]:
                with Client(self.served.url) as client:
                    client.transfer(Wallet.from_seed(FAUCET_SEED), to=wallet_files.look(name).address, amount=amount)
            case ["time", span]:
                self.served.node.now_ms += parse_span(span)
                for _ in range(3):
                    self.served.node.commit()
            case _:
                assert words in (["up", "--detach"], ["down"])


@pytest.fixture
def walk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Walk]:
    with serve(tmp_path / "db", members=4) as served:
        for each in served.node.keys:
            (tmp_path / each.member.id).mkdir()
            write_seed(tmp_path / each.member.id / GOVERNANCE_KEY_NAME, each.governance_seed)
        monkeypatch.chdir(ROOT)
        monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
        monkeypatch.setenv("DATACAR__CLIENT__RPC", served.url)
        monkeypatch.setenv(sending_options.PASSWORD_VARIABLE, "for this walk only")
        monkeypatch.setattr(keystore, "lock", partial(keystore.lock, scrypt=CHEAP))
        yield Walk(served, tmp_path)


def test_the_walk_goes_as_the_page_says(walk: Walk) -> None:
    for line in LINES:
        walk.run(line)
    assert "SESSION" not in walk.said["charging debt"], "nothing is owed, so no session is listed"
    assert walk.said["loan schedule"].count("\n") > 18
    assert "collected" in walk.said["loan bookings"]
    assert "closed" in walk.said["loan get"]
    assert re.search(r"^1 .* 25 DATR", walk.said["order periods"], re.MULTILINE)
    assert "problem" not in walk.said["gov show"]
    rules: Any = walk.said["gov rules"]
    assert re.search(r"block_max_transactions +500", rules)

"""`datacar peers`: what is wrong with a connection now, apart from what was wrong before it."""

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

import cli
from ledger.types import MemberId
from node.api import PeerStatus
from tests.memory_node import MemoryNode
from tests.served_node import serve

REFUSED = "connection refused"


def seen(name: str, *, connected: bool, error: str | None) -> PeerStatus:
    return PeerStatus(MemberId(name), "127.0.0.1:26657", "out", connected, 7, 0.25, error)


def test_an_error_from_before_a_connection_is_shown_as_that(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    peers = (
        seen("back", connected=True, error=REFUSED),
        seen("well", connected=True, error=None),
        seen("gone", connected=False, error=REFUSED),
    )
    monkeypatch.setattr(MemoryNode, "peers", lambda _node: peers)

    def run(*options: str) -> Any:
        result = CliRunner().invoke(cli.app, ["peers", "--rpc", served.url, *options])
        assert result.exit_code == 0, result.output
        return result.stdout

    with serve(tmp_path / "db") as served:
        shown = {line.split()[0]: line.partition("250")[2].strip() for line in run().splitlines()[1:]}
        items = json.loads(run("--json"))["items"]
    assert shown == {"back": f"before: {REFUSED}", "well": "-", "gone": REFUSED}
    assert [item["last_error"] for item in items] == [REFUSED, None, REFUSED], "as RPC gives it"

"""The only member of a chain without the database that its sign-state belongs to: it says so, and begins no other chain."""

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from datacar import Wallet
from node.damage import STORE_NAME
from node.node_folder import DATA_NAME
from tests.processes import Processes

pytestmark = pytest.mark.cluster


@pytest.fixture
def alone(tmp_path: Path) -> Iterator[Processes]:
    processes = Processes(tmp_path, nodes=1)
    yield processes
    processes.close()


def test_a_lost_database_of_the_only_member_is_told(alone: Processes, tmp_path: Path) -> None:
    node = alone.devnet.nodes[0]
    store = node.folder / DATA_NAME / STORE_NAME
    with alone.client(0) as client:
        client.transfer(alone.wallets[0], to=Wallet.generate().address, amount_motes=1)
    alone.kill(0)
    shutil.move(store, tmp_path / "kept")
    with pytest.raises(AssertionError, match=r"(?s)it has ended: .*put back the database"):
        alone.revive()
    assert "node1, its only member, has voted on block" in node.log.read_text()
    shutil.rmtree(store)
    shutil.move(tmp_path / "kept", store)
    alone.revive()
    assert alone.ask(0, "chain_info")["height"] > 0

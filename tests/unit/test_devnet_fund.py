"""Test money that does not become final in time: its id is told, and that asking again would pay again."""

import re
from collections.abc import Iterator

import pytest

from datacar import Client
from datacar.errors import OutcomeUnknownError
from datacar.wallet import Wallet
from ledger.errors import UnavailableError
from node.commands.devnet_fund import FundingUnknownError, fund_account
from node.commands.exits import Exit, exit_code
from tests.memory_node import FAUCET_SEED
from tests.served_node import Served, serve

ALICE = Wallet.from_seed(b"\x07" * 32).address


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("fund") / "db") as found:
        yield found


@pytest.fixture
def stuck(served: Served) -> Iterator[Served]:
    """The node takes transactions in and makes no block of them."""
    served.node.auto = False
    yield served
    served.node.auto = True


def test_money_arrives(served: Served, capsys: pytest.CaptureFixture[str]) -> None:
    sent = fund_account(served.url, ALICE, 150, 30.0)
    assert (sent["status"], sent["duplicate"]) == ("succeeded", False)
    assert capsys.readouterr().err == f"sending {sent['id']}\n"
    with Client(served.url) as client:
        assert client.balance(ALICE).free == 150


def test_what_is_not_final_in_time_is_named(stuck: Served, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(FundingUnknownError) as caught:
        fund_account(stuck.url, ALICE, 150, 0.3)
    error = caught.value
    tx_id = error.details["id"]
    assert exit_code(error) == Exit.OUTCOME_UNKNOWN
    assert str(tx_id) in error.message
    assert re.search(r"not final after \d+\.\d s$", error.message)
    assert f"datacar tx wait {tx_id} --rpc {stuck.url}" in error.hint
    assert "pay once more" in error.hint
    assert f"sending {tx_id}" in capsys.readouterr().err
    assert [each.id.hex() for each in stuck.node._mempool.candidates()] == [str(tx_id)[2:]]


def test_a_wait_says_how_long_it_was_as_a_whole(stuck: Served, monkeypatch: pytest.MonkeyPatch) -> None:
    """A node is asked for a part of it at a time, and knows of no other."""
    monkeypatch.setattr("datacar.flows.WAIT_SLICE_MS", 200)
    with Client(stuck.url) as client, pytest.raises(UnavailableError) as caught:
        client.wait("0x" + "11" * 32, timeout_s=0.5)
    assert caught.value.reason == "wait_timeout"
    assert re.fullmatch(r"not final after \d+\.\d s", caught.value.message)
    assert int(str(caught.value.details["timeout_ms"])) >= 500
    with Client(stuck.url) as client, pytest.raises(OutcomeUnknownError, match=r"not final after \d+\.\d s"):
        client.transfer(Wallet.from_seed(FAUCET_SEED), to=ALICE, amount="1", timeout_s=0.5)

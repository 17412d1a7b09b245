"""What a client does not take from a node that lies: another end of a payment, another order of arguments, another chain."""

import copy
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest

from datacar import AsyncClient, Client, Wallet, flows, steps
from datacar.errors import BadAnswerError, BadProofError, OutcomeUnknownError, TransactionExpiredError, TransactionFailedError
from datacar.receipt import Event, Failure, Receipt, outcome_of
from ledger.errors import BadEncodingError, DatacarError, InvalidInputError
from ledger.policy import contract_address
from ledger.transaction import Call, Transaction
from tests.memory_node import FAUCET_SEED
from tests.served_node import Served, serve
from vm.registry import default_registry

PAYER: Final = Wallet.from_seed(FAUCET_SEED)
PAYEE: Final = Wallet.from_seed(b"p" * 32)
OTHER_CHAIN: Final = b"\x09" * 32


@pytest.fixture(scope="module")
def served(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    with serve(tmp_path_factory.mktemp("node") / "db") as found:
        yield found


def ended(client: Client, *, well: bool) -> tuple[Transaction, dict[str, Any]]:
    """Return a transaction that succeeded or failed, and what a node truly says of it, with its proof."""
    to = PAYEE.policy.address if well else contract_address("asset")
    transaction = client.sign(PAYER, [Call("asset", "transfer", (to, 5))])
    try:
        client.send(transaction)
    except TransactionFailedError:
        assert not well
    return transaction, client.call("tx_get", id="0x" + transaction.id.hex(), prove=True)


@pytest.mark.parametrize("well", [True, False])
@pytest.mark.parametrize("told", ["succeeded", "failed", "expired", "pending", None])
def test_a_true_receipt_under_another_status_is_no_outcome(served: Served, well: bool, told: str | None) -> None:
    """Only the receipt is proven: a failed payment passed as paid, and a made one as failed, so that it would be made twice."""
    with Client(served.url) as client:
        transaction, answer = ended(client, well=well)
    if told == answer["status"]:
        return
    lie = {**answer, "status": told}
    sending = flows.send(transaction, 60.0)
    next(sending)
    with pytest.raises(OutcomeUnknownError) as caught:
        sending.send(lie)
    assert isinstance(caught.value.__cause__, BadAnswerError)
    waiting = flows.wait(answer["id"], None, 60.0)
    next(waiting)
    with pytest.raises(BadAnswerError, match="its receipt"):
        waiting.send(lie)
    with pytest.raises(BadAnswerError):
        Receipt.from_status(lie)


def test_a_receipt_that_contradicts_itself_is_none() -> None:
    failure = {"contract": "asset", "code": "BAD_AMOUNT", "message": "no"}
    for status, error in (("succeeded", failure), ("failed", None), ("expired", None)):
        receipt = {"status": status, "gas_used": 7, "results": [], "events": [], "error": error}
        with pytest.raises(BadAnswerError):
            outcome_of({"id": "0x01", "status": status, "height": 6, "index": 0, "receipt": receipt}, 9)


def test_what_has_no_receipt_has_not_ended_or_expired() -> None:
    assert outcome_of({"id": "0x01", "status": "pending", "receipt": None}, 9) is None
    with pytest.raises(TransactionExpiredError, match="before 9"):
        outcome_of({"id": "0x01", "status": "expired", "receipt": None}, 9)
    with pytest.raises(BadAnswerError):
        outcome_of({"id": "0x01", "status": "succeeded", "receipt": None}, 9)


@pytest.mark.parametrize("well", [True, False])
def test_whatever_a_receipt_shows_is_checked_against_its_proof(served: Served, well: bool) -> None:
    with Client(served.url) as client:
        _, answer = ended(client, well=well)
        genesis_hash = client.chain_info().genesis_hash
    receipt = Receipt.from_status(answer)
    receipt.verify(genesis_hash)
    others: dict[str, list[Any]] = {
        "id": ["0x" + "00" * 32],
        "status": ["failed" if well else "succeeded", "expired"],
        "height": [receipt.height + 1, True, float(receipt.height)],
        "index": [receipt.index + 1, bool(receipt.index)],
        "gas_used": [receipt.gas_used + 1, float(receipt.gas_used)],
        "results": [(*receipt.results, None)],
        "events": [(*receipt.events, Event("asset", "Transfer", {})), receipt.events[1:] if well else (Event("a", "b", {}),)],
        "error": [Failure("asset", "BAD_AMOUNT", "another"), None if receipt.error else Failure("a", "B", "c")],
    }
    assert {*others, "proof"} == set(Receipt.__dataclass_fields__), "every field is tried"
    for name, values in others.items():
        for value in values:
            with pytest.raises(BadProofError):
                replace(receipt, **{name: value}).verify(genesis_hash)


# ---- arguments


def swapped(contract: str, method: str, one: str, other: str) -> Any:
    """Return a contract's interface with two parts of a method's first structure in each other's place."""
    document = copy.deepcopy(default_registry().abi(contract))
    [found] = [item for item in document["methods"] if item["name"] == method]
    parts = next(param["type"]["fields"] for param in found["params"] if "fields" in param["type"])
    at = {part["name"]: number for number, part in enumerate(parts)}
    parts[at[one]], parts[at[other]] = parts[at[other]], parts[at[one]]
    return document


def test_arguments_are_not_put_where_the_node_says() -> None:
    """It would make who offers 5 % of 1 DATR, at most 20, sign 5 % of 20 DATR, at most 1."""
    flow = flows.invoke(flows.Memory(), "order", "open", (PAYER, PAYEE.address), {}, flows.CallOptions("", None, 9.0))
    assert isinstance(asked := next(flow), steps.Call)
    assert asked.method == "contract_abi"
    with pytest.raises(DatacarError, match=r"order\.open takes or returns something else") as caught:
        flow.send(swapped("order", "open", "price", "cap"))
    assert caught.value.reason == "abi_mismatch"
    assert caught.value.details["expected"] != caught.value.details["got"]


def test_another_version_whose_method_is_the_same_is_called() -> None:
    flow = flows.invoke(flows.Memory(), "asset", "supply", (), {}, flows.CallOptions("", None, 9.0))
    next(flow)
    asked = flow.send({**default_registry().abi("asset"), "doc": "a newer version"})
    assert isinstance(asked, steps.Call)
    assert asked.method == "contract_query"


@pytest.mark.parametrize("nonsense", [None, [], {}, {"methods": [1]}, {"methods": [{"name": "supply"}]}])
def test_what_is_no_interface_is_said(nonsense: Any) -> None:
    flow = flows.invoke(flows.Memory(), "asset", "supply", (), {}, flows.CallOptions("", None, 9.0))
    next(flow)
    with pytest.raises(BadAnswerError, match="this is no ABI"):
        flow.send(nonsense)


# ---- the chain


def test_nothing_is_signed_for_another_chain_than_the_expected_one(served: Served) -> None:
    height = served.node.tip.height
    with Client(served.url, genesis_hash=OTHER_CHAIN) as client:
        for act in (
            lambda: client.sign(PAYER, [Call("asset", "transfer", (PAYEE.policy.address, 5))]),
            lambda: client.transfer(PAYER, to=PAYEE.address, amount="1"),
            lambda: client.contract("asset").transfer(PAYER, to=PAYEE.address, amount="1 DATR"),
            client.chain_info,
        ):
            with pytest.raises(InvalidInputError, match="is of the chain") as caught:
                act()
            assert caught.value.reason == "wrong_chain"
            assert caught.value.details["expected"] == "0x" + OTHER_CHAIN.hex()
    assert served.node.tip.height == height
    genesis_hash = served.node.genesis_hash
    for expected in (genesis_hash, "0x" + genesis_hash.hex(), None):
        with Client(served.url, genesis_hash=expected) as client:
            assert client.chain_info().genesis_hash == genesis_hash
    with pytest.raises(BadEncodingError):
        Client(served.url, genesis_hash="0x12")


async def test_nor_by_the_asynchronous_client(served: Served) -> None:
    async with AsyncClient(served.url, genesis_hash=OTHER_CHAIN) as client:
        with pytest.raises(InvalidInputError, match="is of the chain"):
            await client.transfer(PAYER, to=PAYEE.address, amount="1")


def test_a_light_client_takes_no_contradicting_receipt(served: Served, tmp_path: Path) -> None:
    from datacar import LightClient

    with Client(served.url) as client:
        _, answer = ended(client, well=False)
    with LightClient(served.url, served.node.genesis_hash, state_file=tmp_path / "light.json") as light:
        light.sync()
        reading = light.chain.receipt(answer["id"])
        next(reading)
        with pytest.raises(BadAnswerError, match="its receipt"):
            reading.send({**answer, "status": "succeeded"})


def test_a_node_of_another_chain_is_passed_over(served: Served, tmp_path: Path) -> None:
    """Of several endpoints one may have been set up anew, or be somebody else's."""
    with serve(tmp_path / "other", chain="other-1") as other:
        urls = [other.url, served.url]
        with Client(urls, genesis_hash=served.node.genesis_hash) as client:
            assert [client.chain_info().genesis_hash for _ in range(2)] == [served.node.genesis_hash] * 2
        with Client(urls, genesis_hash=OTHER_CHAIN) as client, pytest.raises(InvalidInputError, match="is of the chain"):
            client.chain_info()

"""The wallet SDK without a network: keys, building, errors, and above all what it says when an answer is lost."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from typing import Any, Final, TypeVar

import pytest

from datacar import flows, rpc, steps
from datacar.abi import ContractAbi, json_args
from datacar.amounts import BadAmountError
from datacar.errors import (
    BadAnswerError,
    BadProofError,
    CallWouldFailError,
    ConnectionLostError,
    DatacarError,
    InvalidInputError,
    LimitError,
    NotFoundError,
    OutcomeUnknownError,
    RejectedError,
    RequestRefusedError,
    TransactionExpiredError,
    TransactionFailedError,
    UnavailableError,
    UnreachableError,
    error_from_json,
)
from datacar.receipt import Event, Receipt
from datacar.transactions import ChainInfo, build
from datacar.wallet import Wallet
from ledger.block import Status
from ledger.errors import BadEncodingError
from ledger.policy import parse_address
from ledger.transaction import Call, Transaction, TransactionBody
from tests.memory_node import FAUCET_SEED, MemoryNode
from vm.abi_json import args_from_json
from vm.errors import ContractError
from vm.registry import default_registry

T = TypeVar("T")
PHRASE: Final = "abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon abandon about"
GENESIS: Final = b"\x07" * 32
CHAIN: Final = ChainInfo("c-1", GENESIS, height=5, timestamp_ms=1_000_000, tx_window_ms=3_600_000, gas_price_motes=0)
INFO: Final = {
    "chain_id": "c-1",
    "genesis_hash": "0x" + GENESIS.hex(),
    "height": 5,
    "timestamp_ms": 1_000_000,
    "tx_window_ms": 3_600_000,
    "parameters": {"gas_price_motes": "0", "max_gas_limit": 25_000_000},
}
WALLET: Final = Wallet.from_mnemonic(PHRASE)
OTHER: Final = Wallet.from_mnemonic(PHRASE, index=1)


def answer_of(tx_id: str, status: str = "succeeded", error: Any = None) -> dict[str, Any]:
    receipt = {"status": status, "gas_used": 7, "results": [None], "events": [], "error": error}
    return {"id": tx_id, "status": status, "height": 6, "index": 0, "receipt": receipt, "duplicate": False}


def drive(flow: steps.Flow[T], script: list[Any]) -> tuple[T, list[steps.Call]]:
    """Run a flow against scripted results: an exception is thrown in, a function is called with the step."""
    calls: list[steps.Call] = []
    answers = iter(script)
    try:
        step = next(flow)
        while True:
            if isinstance(step, steps.Pause):
                step = flow.send(None)
                continue
            calls.append(step)
            result = next(answers)
            if isinstance(result, DatacarError):
                step = flow.throw(result)
            else:
                step = flow.send(result(step) if callable(result) else result)
    except StopIteration as end:
        return end.value, calls


def signed() -> Transaction:
    call = Call("asset", "transfer", (parse_address(OTHER.address), 5))
    return WALLET.sign(build(CHAIN, WALLET.policy, [call]), GENESIS)


# ---- wallets and building


def test_the_words_are_the_wallet() -> None:
    assert Wallet.from_mnemonic(PHRASE).address == WALLET.address
    addresses = {
        WALLET.address,
        Wallet.from_mnemonic(PHRASE, account=1).address,
        Wallet.from_mnemonic(PHRASE, index=1).address,
        Wallet.from_mnemonic(PHRASE, passphrase="x").address,
    }
    assert len(addresses) == 4
    made = Wallet.generate()
    assert len(made.mnemonic.split()) == 24
    assert Wallet.from_mnemonic(made.mnemonic) == made


def test_a_wallet_never_shows_its_secrets() -> None:
    shown = f"{WALLET!r} {WALLET.key!r}"
    assert "abandon" not in shown
    assert WALLET.key.seed.hex() not in shown
    assert repr(WALLET.key.seed) not in shown


def test_signed_transactions_are_valid_and_for_one_chain() -> None:
    transaction = signed()
    transaction.check_signatures()
    assert Transaction.from_raw(transaction.raw, GENESIS) == transaction
    assert transaction.sender == parse_address(WALLET.address)
    with pytest.raises(InvalidInputError) as caught:
        Transaction.from_raw(transaction.raw, b"\x08" * 32)
    assert caught.value.reason == "wrong_chain"


def test_bodies_differ_by_salt_and_end_by_the_chains_time() -> None:
    bodies: list[TransactionBody] = [build(CHAIN, WALLET.policy, [Call("a", "b", ())]) for _ in range(2)]
    assert bodies[0].salt != bodies[1].salt
    assert bodies[0].valid_until_ms == 1_000_000 + 600_000
    assert replace(CHAIN, tx_window_ms=10_000).valid_until_ms() == 1_000_000 + 5_000


@pytest.mark.parametrize("amount", [1.5, "1.123456789", "-1", "1e3", 7, Decimal("NaN")])
def test_inexact_amounts_are_refused(amount: Any) -> None:
    with pytest.raises(BadAmountError):
        flows.motes_of(amount, None)


def test_an_amount_is_said_in_exactly_one_way() -> None:
    assert flows.motes_of("1.5", None) == flows.motes_of(Decimal("1.5"), None) == flows.motes_of(None, 150_000_000)
    for amount, motes in ((None, None), ("1", 1)):
        with pytest.raises(TypeError):
            flows.motes_of(amount, motes)
    for wrong in (-1, True, 1.0):
        with pytest.raises(BadEncodingError):
            flows.motes_of(None, wrong)  # type: ignore[arg-type]


# ---- what became of a payment


def send(script: list[Any], timeout_s: float = 60.0) -> tuple[Receipt, list[steps.Call], Transaction]:
    transaction = signed()
    receipt, calls = drive(flows.send(transaction, timeout_s), script)
    return receipt, calls, transaction


def succeeded(step: steps.Call) -> dict[str, Any]:
    return answer_of("0x" + Transaction.from_raw(bytes.fromhex(step.params["raw"][2:]), GENESIS).id.hex())


LOST: Final[Callable[[], DatacarError]] = lambda: ConnectionLostError("lost")  # noqa: E731
TIMEOUT: Final[Callable[[], DatacarError]] = lambda: UnavailableError("wait_timeout", "not yet")  # noqa: E731


def test_a_transfer_is_sent_and_waited_for() -> None:
    receipt, calls = drive(
        flows.transfer(WALLET, OTHER.address, flows.motes_of("1.5", None), reference="r", gas_limit=None, timeout_s=9.0),
        [INFO, succeeded],
    )
    assert receipt.succeeded
    sent = Transaction.from_raw(bytes.fromhex(calls[1].params["raw"][2:]), GENESIS)
    assert sent.body.calls == (Call("asset", "transfer", (parse_address(OTHER.address), 150_000_000)),)
    assert (sent.body.reference, calls[1].params["wait"]) == ("r", "final")


@pytest.mark.parametrize(
    "trouble",
    [
        [LOST()],
        [TIMEOUT(), TIMEOUT()],
        [LOST(), UnreachableError("down"), LOST()],
        [BadAnswerError("a proxy's page")],
        [RequestRefusedError(-32603, "internal_error", "defect", hint="")],
        [LOST(), LimitError("pool_full", "full"), RejectedError("insufficient_funds", "moved already?")],
        [LimitError("rate_limited", "too many waits")],
        [NotFoundError("not_found", "its block is not here")],
        [RequestRefusedError(-32099, "unknown", "something new", hint="")],
        [answer_of("0x" + "00" * 32)],
    ],
)
def test_after_a_lost_answer_the_same_bytes_are_sent_again(trouble: list[Any]) -> None:
    receipt, calls, transaction = send([*trouble, succeeded])
    assert receipt.id == "0x" + transaction.id.hex()
    assert len(calls) == len(trouble) + 1
    assert {call.params["raw"] for call in calls} == {"0x" + transaction.raw.hex()}


@pytest.mark.parametrize(
    "trouble",
    [
        LOST(),
        TIMEOUT(),
        BadAnswerError("x"),
        RequestRefusedError(-32603, "i", "i", hint=""),
        LimitError("rate_limited", "too many waits"),
        answer_of("0x" + "00" * 32),
    ],
)
def test_out_of_time_the_outcome_is_unknown_never_a_failure(trouble: Any) -> None:
    with pytest.raises(OutcomeUnknownError) as caught:
        send([trouble], timeout_s=0)
    error = caught.value
    assert (error.reason, error.valid_until_ms) == ("outcome_unknown", 1_600_000)
    assert Transaction.from_raw(error.raw, GENESIS).id.hex() in error.transaction_id


@pytest.mark.parametrize(
    "refusal",
    [
        UnreachableError("down"),
        RejectedError("insufficient_funds", "poor"),
        InvalidInputError("bad_signature", "bad"),
        LimitError("pool_full", "full"),
        UnavailableError("syncing", "later"),
        RequestRefusedError(-32602, "bad_encoding", "bad", hint=""),
    ],
)
def test_a_refusal_of_the_first_sending_is_told_as_it_is(refusal: DatacarError) -> None:
    with pytest.raises(type(refusal)) as caught:
        send([refusal])
    assert caught.value is refusal


def test_expired_is_final_even_after_a_lost_answer() -> None:
    with pytest.raises(TransactionExpiredError):
        send([LOST(), RejectedError("expired", "late")])
    with pytest.raises(TransactionExpiredError):
        send([lambda step: {"id": succeeded(step)["id"], "status": "expired", "receipt": None}])


def test_a_failed_receipt_is_raised_with_its_reason() -> None:
    failure = {"contract": "asset", "code": "BAD_AMOUNT", "message": "no"}
    with pytest.raises(TransactionFailedError) as caught:
        send([lambda step: answer_of(succeeded(step)["id"], "failed", failure)])
    assert caught.value.receipt.error is not None
    assert caught.value.data()["code"] == "BAD_AMOUNT"
    assert caught.value.data()["message"] == "no"


def test_an_answer_that_is_not_final_is_no_success() -> None:
    with pytest.raises(OutcomeUnknownError):
        send([lambda step: {"id": succeeded(step)["id"], "status": "pending"}])
    with pytest.raises(OutcomeUnknownError, match="holds no receipt"):
        send([lambda step: succeeded(step) | {"receipt": None}])


def test_the_answer_about_another_transaction_is_no_answer() -> None:
    with pytest.raises(BadAnswerError, match="another transaction"):
        drive(flows.wait("0x01", None, 60.0), [answer_of("0x02")])


def test_a_wait_that_ends_early_is_not_repeated_at_once() -> None:
    """A node whose waits are full says so at once: asking it again without a pause would be a busy loop."""
    flow = flows.wait("0x01", None, 60.0)
    next(flow)
    assert isinstance(flow.throw(TIMEOUT()), steps.Pause)
    assert isinstance(flow.send(None), steps.Call)
    sending = flows.send(signed(), 60.0)
    next(sending)
    assert isinstance(sending.throw(TIMEOUT()), steps.Pause)


def test_the_faucet_is_asked_once_and_its_transaction_is_waited_for_in_slices() -> None:
    accepted = {"id": "0x01", "status": "pending", "duplicate": False}
    receipt, calls = drive(
        flows.faucet(OTHER.address, flows.motes_of("1", None), 200.0), [accepted, TIMEOUT(), answer_of("0x01")]
    )
    assert receipt.succeeded
    assert [call.method for call in calls] == ["dev_faucet", "tx_wait", "tx_wait"]
    assert all(call.params.get("timeout_ms", 0) <= flows.WAIT_SLICE_MS for call in calls)
    with pytest.raises(TransactionExpiredError):
        drive(flows.faucet(OTHER.address, flows.motes_of("1", None), 9.0), [accepted, {"id": "0x01", "status": "expired"}])


def test_waiting_goes_on_in_slices_until_the_time_is_up() -> None:
    answer, calls = drive(flows.wait("0x01", 9, 60.0), [TIMEOUT(), answer_of("0x01")])
    assert answer["status"] == "succeeded"
    assert [call.params["valid_until_ms"] for call in calls] == [9, 9]
    with pytest.raises(UnavailableError, match="not yet"):
        drive(flows.wait("0x01", None, 0), [TIMEOUT()])


# ---- contract calls


def test_calls_are_typed_by_the_abi_of_the_node() -> None:
    memory, options = flows.Memory(), flows.CallOptions("", None, 9.0)
    abi = default_registry().abi("asset")
    simulated = {"error": None, "gas": 30_000}
    receipt, calls = drive(
        flows.invoke(memory, "asset", "transfer", (WALLET,), {"to": OTHER.address, "amount": "5"}, options),
        [abi, INFO, simulated, succeeded],
    )
    assert receipt.succeeded
    sent = Transaction.from_raw(bytes.fromhex(calls[-1].params["raw"][2:]), GENESIS)
    assert sent.body.calls == (Call("asset", "transfer", (parse_address(OTHER.address), 5)),)
    assert sent.body.gas_limit > 45_000
    value, calls = drive(flows.invoke(memory, "asset", "supply", (), {}, options), [{"height": 1, "value": "8"}])
    assert (value, [call.method for call in calls]) == ("8", ["contract_query"])  # the ABI was not fetched again


def test_a_call_that_would_fail_is_not_sent() -> None:
    memory, options = flows.Memory(), flows.CallOptions("", None, 9.0)
    failure = {"contract": "asset", "code": "BAD_AMOUNT", "message": "no"}
    with pytest.raises(CallWouldFailError, match="BAD_AMOUNT"):
        drive(
            flows.invoke(memory, "asset", "transfer", (WALLET, OTHER.address, "0"), {}, options),
            [default_registry().abi("asset"), INFO, {"error": failure, "gas": 1}],
        )


@pytest.mark.parametrize(
    ("method", "args", "error"),
    [
        ("nothing", (), ContractError),
        ("transfer", (OTHER.address, "5"), TypeError),
        ("transfer", (WALLET, OTHER.address), ContractError),
        ("transfer", (WALLET, "datr1x", "5"), ContractError),
        ("transfer", (WALLET, OTHER.address, 5), ContractError),
        ("balance_of", ("x",), ContractError),
    ],
)
def test_wrong_calls_are_refused_before_anything_is_sent(method: str, args: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        drive(
            flows.invoke(flows.Memory(), "asset", method, args, {}, flows.CallOptions("", 1, 9.0)),
            [default_registry().abi("asset")],
        )


def test_every_abi_comes_back_as_the_types_it_was_made_of() -> None:
    for name in default_registry().names():
        abi = ContractAbi.from_json(default_registry().abi(name))
        for method in abi.methods.values():
            original = default_registry().method(name, method.name)
            assert [param.name for param in method.params] == [param.name for param in original.params]
            assert [param.type.kind for param in method.params] == [param.type.kind for param in original.params]
            assert method.returns.kind == original.returns.kind
    with pytest.raises(BadAnswerError):
        ContractAbi.from_json({"name": "x", "doc": "", "methods": [{}]})


def test_arguments_by_position_and_by_name_mix_as_in_python() -> None:
    method = ContractAbi.from_json(default_registry().abi("asset")).methods["transfer"]
    named = json_args(method, [OTHER.address], {"amount": "5"})
    assert args_from_json(method, named) == args_from_json(method, json_args(method, [OTHER.address, "5"], {}))
    with pytest.raises(TypeError):
        json_args(method, [OTHER.address], {"to": OTHER.address})


# ---- JSON-RPC without I/O


def test_errors_come_back_as_the_classes_they_left_as() -> None:
    for cls in (InvalidInputError, NotFoundError, UnavailableError, RejectedError, LimitError):
        body = {"code": cls.code, "message": "m", "data": {"reason": "r", "hint": "h", "message": "inner", "need": "5"}}
        error = error_from_json(body)
        assert type(error) is cls
        assert (error.reason, error.hint, error.message, error.details) == ("r", "h", "m", {"message": "inner", "need": "5"})
    refused = error_from_json({"code": -32601, "message": "m"})
    assert isinstance(refused, RequestRefusedError)
    assert refused.rpc_code == -32601
    assert isinstance(error_from_json("x"), BadAnswerError)


@pytest.mark.parametrize("body", [b"<html>", b"[]", b"1", b'{"jsonrpc":"2.0","id":2,"result":1}', b'{"jsonrpc":"2.0","id":1}'])
def test_answers_of_something_else_are_bad_answers(body: bytes) -> None:
    with pytest.raises(BadAnswerError):
        rpc.result_of(1, body, 200)


def test_floats_never_leave_a_wallet() -> None:
    with pytest.raises(BadEncodingError, match="float"):
        rpc.request_bytes(1, "m", {"a": [{"b": 1.5}]})


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("http://127.0.0.1:8645", "http://127.0.0.1:8645/rpc"),
        ("http://127.0.0.1:8645/", "http://127.0.0.1:8645/rpc"),
        ("https://node.example/datacar", "https://node.example:443/datacar"),
        ("http://[::1]:8645", "http://[::1]:8645/rpc"),
    ],
)
def test_urls_get_the_rpc_path(url: str, expected: str) -> None:
    assert rpc.Endpoint.parse(url).url == expected


@pytest.mark.parametrize("url", ["", "127.0.0.1:8645", "ftp://x", "http://", "http://x:99999", "http://u:p@x", "http://x/?q"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(rpc.BadUrlError):
        rpc.Endpoint.parse(url)


def tried(attempts: rpc.Attempts, *failures: UnavailableError) -> Iterator[int]:
    for index, failure in zip(attempts, failures, strict=False):
        yield index
        attempts.failed(failure)


def test_attempts_go_round_from_the_last_good_endpoint() -> None:
    attempts = rpc.Attempts(3, 1, "tx_get")
    assert list(tried(attempts, UnreachableError("a"), ConnectionLostError("b"), UnreachableError("c"))) == [1, 2, 0]
    assert isinstance(attempts.error, ConnectionLostError)


@pytest.mark.parametrize("method", ["dev_faucet", "admin_stop", "tx_send", "tx_sendBatch"])
def test_what_may_have_had_its_effect_is_not_asked_of_another_node_unsaid(method: str) -> None:
    """Another node's refusal, or no connection to it, must not hide that the first one may have taken the transaction."""
    attempts = rpc.Attempts(3, 0, method)
    assert list(tried(attempts, UnreachableError("a"), ConnectionLostError("b"), UnreachableError("c"))) == [0, 1]
    assert isinstance(attempts.error, ConnectionLostError)


def test_a_node_that_syncs_is_passed_over_and_other_answers_are_final() -> None:
    assert list(tried(rpc.Attempts(2, 0, "m"), UnavailableError("syncing", "s"), UnavailableError("no_quorum", "q"))) == [0, 1]
    with pytest.raises(UnavailableError, match="late"):
        list(tried(rpc.Attempts(2, 0, "m"), UnavailableError("wait_timeout", "late")))


# ---- proofs


async def proven(tmp_path: Path) -> tuple[Receipt, bytes]:
    node = MemoryNode(tmp_path / "db")
    try:
        transaction = node.sign(FAUCET_SEED, (Call("asset", "transfer", (parse_address(OTHER.address), 5)),))
        await node.submit([transaction.raw])
        status, proof = node.transaction_status(transaction.id), await node.prove_receipt(transaction.id)
        assert status.receipt is not None
        assert status.receipt.status is Status.SUCCEEDED
        assert proof is not None
        sender = Wallet.from_seed(FAUCET_SEED).address
        event = Event("asset", "Transferred", {"sender": sender, "recipient": OTHER.address, "amount": "5"})
        receipt = Receipt("0x" + transaction.id.hex(), "succeeded", 1, 0, status.receipt.gas_used, (None,), (event,), None)
        return replace(receipt, proof=proof.encode()), node.genesis_hash
    finally:
        node.close()


async def test_a_receipt_is_believed_with_its_proof_only(tmp_path: Path) -> None:
    receipt, genesis_hash = await proven(tmp_path)
    receipt.verify(genesis_hash)
    receipt.verify("0x" + genesis_hash.hex())
    lie = Event("asset", "Transferred", dict(receipt.events[0].fields) | {"amount": "6"})
    fields = receipt.events[0].fields
    swapped = {"recipient": fields["sender"], "sender": fields["recipient"], "amount": "5"}  # the same values in the same order
    for changed in (
        replace(receipt, id="0x" + "00" * 32),
        replace(receipt, status="failed"),
        replace(receipt, height=2),
        replace(receipt, index=1),
        replace(receipt, gas_used=1),
        replace(receipt, results=("5",)),
        replace(receipt, events=()),
        replace(receipt, events=(lie,)),
        replace(receipt, events=(Event("asset", "Transferred", swapped),)),
        replace(receipt, results=({},)),
        replace(receipt, proof=None),
    ):
        with pytest.raises(BadProofError):
            changed.verify(genesis_hash)
    for other in (b"\x09" * 32, "0x" + "09" * 32):
        with pytest.raises(InvalidInputError, match="another chain"):
            receipt.verify(other)

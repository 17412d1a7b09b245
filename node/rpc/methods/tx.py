"""`tx_*`: sending transactions, their outcomes, decoding and simulation."""

from typing import Annotated, Final

from ledger.block import Receipt
from ledger.errors import BadEncodingError, DatacarError, unreachable
from ledger.transaction import Call
from ledger.types import Height, TxId
from node.api import Submission, TxStatus
from node.rpc import views
from node.rpc.call_views import call_steps, receipt_steps, status_steps, texts_steps
from node.rpc.context import Context
from node.rpc.jsonrpc import InvalidParamsError, Json, error_body
from node.rpc.schema import (
    Address,
    CallJson,
    Flag,
    Hash,
    HeightNumber,
    HexBytes,
    JsonCall,
    MethodTable,
    RefusedError,
    TimeMs,
    array_of_text,
    choice,
    hex_bytes,
    integer,
)
from node.rpc.turns import Steps, finished
from node.rpc.views import INTEGER, TEXT, array, nullable, ref, shape
from vm.abi_json import args_from_json

METHODS: Final = MethodTable()
MAX_RAWS: Final = 1_000
FEW_EVENTS: Final = 16
DEFAULT_TIMEOUT_MS: Final = 30_000
MAX_TIMEOUT_MS: Final = 120_000

Wait = Annotated[str, choice("none", "accepted", "final")]
TimeoutMs = Annotated[int, integer(0, MAX_TIMEOUT_MS)]
Raws = Annotated[list[str], array_of_text(MAX_RAWS)]

_HEX: Final = hex_bytes()


@METHODS.method("tx_send", result=ref("Submission"))
async def send(
    rpc: Context,
    raw: HexBytes,
    wait: Wait = "accepted",
    timeout_ms: TimeoutMs = DEFAULT_TIMEOUT_MS,
    prove: Flag = False,
    trusted_height: HeightNumber | None = None,
) -> Json:
    """Send a signed transaction. Sending the same bytes again is safe: it answers `duplicate` and where the first one stands.

    `none` and `accepted` answer when the node took it into its pool, `final` when it succeeded, failed or expired. A refusal is
    an error in any case. `wait_timeout` says that the outcome is open: go on with `tx_wait`. `prove` adds the receipt's `proof`,
    from genesis or, shorter, for one who trusts the block of `trusted_height`.
    """
    [submission] = await rpc.node.submit([raw])
    answer = await settled(rpc, submission, raw, wait, timeout_ms)
    return answer | await _proof(rpc, answer, trusted_height) if prove else answer


async def settled(rpc: Context, submission: Submission, raw: bytes | None, wait: str, timeout_ms: int) -> Json:
    """Return the answer to one submission, after waiting for its end if asked to; raises its error."""
    status = accepted(submission)
    valid_until_ms: int | None = None
    calls: tuple[Call, ...] = ()
    if raw is not None and (wait == "final" or status.receipt is not None):
        body = rpc.node.decode_transaction(raw).body
        valid_until_ms, calls = body.valid_until_ms, body.calls
    if wait == "final" and not status.is_final:
        status = await rpc.wait_final(status.id, timeout_ms, valid_until_ms)
    return await _told(rpc, status, _submission_steps(rpc, status, submission.duplicate, calls))


async def _told(rpc: Context, status: TxStatus, steps: Steps[Json]) -> Json:
    """Return a status's view, made in turns where that takes long: most are short, and somebody waits for them."""
    is_long = status.receipt is not None and len(status.receipt.events) > FEW_EVENTS
    return await rpc.turns.run(steps) if is_long else finished(steps)


def accepted(submission: Submission) -> TxStatus:
    """Return a submission's status; raises the error it was refused with."""
    if submission.error is not None:
        raise submission.error
    return submission.status or unreachable("a submission has a status or an error")


def _submission_steps(rpc: Context, status: TxStatus, duplicate: bool, calls: tuple[Call, ...] = ()) -> Steps[Json]:
    view = yield from status_steps(rpc.registry, status, calls)
    shown = view if status.is_final else {"id": view["id"], "status": view["status"]}
    return shown | {"duplicate": duplicate}


@METHODS.method("tx_sendBatch", result=array(ref("BatchItem")))
async def send_batch(rpc: Context, raws: Raws) -> Json:
    """Send up to 1,000 signed transactions, in order. Each gets its own answer: {id, status, duplicate} or {id, error}."""
    submissions = await _submit_all(rpc, raws)
    known = any(submission.status is not None and submission.status.receipt is not None for submission in submissions)
    return await rpc.views(submissions, lambda submission: _batch_item_steps(rpc, submission), large=known)


async def _submit_all(rpc: Context, raws: list[str]) -> list[Submission]:
    """Submit what is hex at all, and put the refusals of the rest in their places."""
    read = [_read_hex(text) for text in raws]
    good = iter(await rpc.node.submit([item for item in read if isinstance(item, bytes)]))
    return [next(good) if isinstance(item, bytes) else Submission(None, error=item) for item in read]


def _read_hex(text: str) -> bytes | DatacarError:
    try:
        raw: bytes = _HEX.read(text)
    except RefusedError as refused:
        return BadEncodingError(f"raw {refused}", hint="send the transaction's bytes as 0x hex")
    return raw


def _batch_item_steps(rpc: Context, submission: Submission) -> Steps[Json]:
    if submission.error is not None:
        tx_id = None if submission.id is None else views.hex_of(submission.id)
        return {"id": tx_id, "error": error_body(submission.error)}
    return (yield from _submission_steps(rpc, accepted(submission), submission.duplicate))


@METHODS.method("tx_get", result=ref("TransactionStatus"))
async def get(
    rpc: Context,
    id_: Hash,
    valid_until_ms: TimeMs | None = None,
    prove: Flag = False,
    trusted_height: HeightNumber | None = None,
) -> Json:
    """Return where a transaction stands; with `valid_until_ms` an id never seen here can be answered as expired.

    `prove` adds the `proof` of a receipt: canonical bytes that anyone can check with the genesis hash alone or, shorter, knowing
    the block of `trusted_height`. Errors: pruned, where the receipt is not kept or the id may be older than what is.
    """
    return await _status(rpc, rpc.node.transaction_status(TxId(id_), valid_until_ms), prove, trusted_height)


@METHODS.method("tx_wait", result=ref("TransactionStatus"))
async def wait(
    rpc: Context,
    id_: Hash,
    valid_until_ms: TimeMs | None = None,
    timeout_ms: TimeoutMs = DEFAULT_TIMEOUT_MS,
    prove: Flag = False,
    trusted_height: HeightNumber | None = None,
) -> Json:
    """Return a transaction's final status as soon as there is one. Errors: wait_timeout. `prove` as in `tx_get`."""
    return await _status(rpc, await rpc.wait_final(TxId(id_), timeout_ms, valid_until_ms), prove, trusted_height)


async def _status(rpc: Context, status: TxStatus, prove: bool, trusted_height: int | None) -> Json:
    view = await _told(rpc, status, status_steps(rpc.registry, status, rpc.calls_behind(status)))
    return view | await _proof(rpc, view, trusted_height) if prove else view


async def _proof(rpc: Context, view: Json, trusted_height: int | None) -> Json:
    """Return the proof of the receipt in a view; null where there is no receipt yet."""
    if view.get("receipt") is None:
        return {"proof": None}
    trusted = None if trusted_height is None else Height(trusted_height)
    proof = await rpc.node.prove_receipt(TxId(bytes.fromhex(view["id"][2:])), trusted)
    return {"proof": None if proof is None else views.hex_of(proof.encode())}


@METHODS.method("tx_decode", result={"oneOf": [ref("Transaction"), shape(calls=array(views.CALL), text=TEXT)]})
async def decode(rpc: Context, raw: HexBytes | None = None, call: CallJson | None = None) -> Json:
    """Return a transaction's fields and a sentence for people (`text`), of its raw bytes or of one call in JSON."""
    if raw is not None and call is None:
        [view] = await rpc.views([raw], rpc.decoded_steps)
        return view
    canonical = _canonical(rpc, _given(raw, call))
    view = await rpc.turns.run(call_steps(rpc.registry, canonical))
    return {"calls": [view], "text": await rpc.turns.run(texts_steps(rpc.registry, [canonical]))}


@METHODS.method(
    "tx_simulate",
    result=shape(
        outcome={"type": "string", "enum": ["succeeded", "failed"]},
        gas=INTEGER,
        events=array({"type": "object"}),
        results=array({}),
        error=nullable({"type": "object"}),
        text=TEXT,
    ),
)
async def simulate(
    rpc: Context, raw: HexBytes | None = None, call: CallJson | None = None, sender: Address | None = None
) -> Json:
    """Return what a transaction would do now: `raw` bytes (signed or not), or one `call` of `sender`. Nothing is sent.

    A call has all the gas that a transaction may ask for (`max_gas_limit` in `chain_info`). Errors: too_large, for more.
    """
    if raw is not None and call is None:
        transaction = rpc.node.decode_transaction(raw)
        [receipt], calls = await rpc.turns.each([transaction], rpc.node.simulate), transaction.body.calls
    else:
        calls = (_canonical(rpc, _given(raw, call)),)
        if sender is None:
            raise InvalidParamsError("parameter sender is missing", hint="a call needs the account it is of", parameter="sender")
        [receipt] = await rpc.turns.each([sender], lambda account: rpc.node.simulate_calls(account, calls))
    return await rpc.turns.run(_simulated_steps(rpc, receipt, calls))


def _simulated_steps(rpc: Context, receipt: Receipt, calls: tuple[Call, ...]) -> Steps[Json]:
    view = yield from receipt_steps(rpc.registry, receipt, calls)
    return {
        "outcome": view["status"],
        "gas": view["gas_used"],
        "events": view["events"],
        "results": view["results"],
        "error": view["error"],
        "text": (yield from texts_steps(rpc.registry, calls)),
    }


def _given(raw: bytes | None, call: JsonCall | None) -> JsonCall:
    if call is None or raw is not None:
        raise InvalidParamsError("either raw or call must be given", hint="give one of the two", parameter="raw")
    return call


def _canonical(rpc: Context, call: JsonCall) -> Call:
    """Return a JSON call in canonical form. Raises `ContractError` for an unknown contract or method, or wrong arguments."""
    method = rpc.registry.method(call.contract, call.method)
    return Call(call.contract, call.method, args_from_json(method, call.args))

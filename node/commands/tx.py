"""`datacar tx`: send, follow and read transactions."""

from typing import Annotated, Any, Final

import typer

from datacar.client import Client
from datacar.errors import OutcomeUnknownError, TransactionExpiredError, TransactionFailedError
from datacar.receipt import Receipt
from ledger.transaction import Transaction
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, expect_object, read_raw
from node.commands.output import Json, print_json, print_line, print_pairs, progress

app = typer.Typer(help="Send, follow and read transactions.", no_args_is_help=True, add_completion=False)

_RAW_HELP: Final = "The signed transaction: 0x hex, a file that holds it, or - for standard input."
Raw = Annotated[str, typer.Argument(metavar="RAW", help=_RAW_HELP)]
Id = Annotated[str, typer.Argument(metavar="ID", help="The transaction's id, 0x hex.")]
ValidUntil = Annotated[
    int | None,
    typer.Option("--valid-until-ms", min=0, help="Its valid_until_ms: lets the node say expired of one it never saw."),
]


@app.command()
def send(raw: Raw, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Send a signed transaction and wait until it is final. Sending it again is safe.

    Exit codes: 0 succeeded, 3 nothing was sent, 4 refused, failed or expired, 5 the outcome is not known yet.
    """
    data = read_raw(raw)
    with Client(rpc, timeout) as client:
        transaction = Transaction.from_raw(data, client.chain_info().genesis_hash)
        show_receipt(deliver(client, transaction), as_json=as_json)


def deliver(client: Client, transaction: Transaction) -> Receipt:
    """Send a transaction and return its receipt. Its id is told before it leaves: Ctrl-C afterwards is no end of a payment.

    Raises like `Client.send`, and `OutcomeUnknownError` when interrupted.
    """
    tx_id, valid_until_ms = "0x" + transaction.id.hex(), transaction.body.valid_until_ms
    progress(f"sending {tx_id} (valid_until_ms {valid_until_ms})")
    try:
        return client.send(transaction)
    except KeyboardInterrupt:
        raise OutcomeUnknownError(tx_id, transaction.raw, valid_until_ms, "interrupted") from None


@app.command()
def get(
    tx_id: Id,
    valid_until_ms: ValidUntil = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Show where a transaction stands."""
    known = {} if valid_until_ms is None else {"valid_until_ms": valid_until_ms}
    _show_status(expect_object(call(rpc, timeout, "tx_get", id=tx_id, **known), "status"), as_json=as_json)


@app.command()
def wait(
    tx_id: Id,
    valid_until_ms: ValidUntil = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Wait until a transaction is final; exit code 4 when it failed or expired, 5 when the time is up first."""
    with Client(rpc, timeout) as client:
        found = client.wait(tx_id, valid_until_ms=valid_until_ms)
    if found["status"] == "expired":
        raise TransactionExpiredError(tx_id, valid_until_ms or 0)
    receipt = Receipt.from_status(found)
    if not receipt.succeeded:
        raise TransactionFailedError(receipt)
    _show_status(found, as_json=as_json)


@app.command()
def decode(raw: Raw, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Show what a transaction says, without sending it."""
    found = expect_object(call(rpc, timeout, "tx_decode", raw="0x" + read_raw(raw).hex()), "transaction")
    if as_json:
        print_json(found)
    else:
        print_pairs({name: found[name] for name in ("id", "text", "valid_until_ms", "gas_limit", "reference", "size_bytes")})


@app.command()
def simulate(raw: Raw, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Show what a transaction would do now, without sending it."""
    found = expect_object(call(rpc, timeout, "tx_simulate", raw="0x" + read_raw(raw).hex()), "outcome")
    if as_json:
        print_json(found)
    else:
        print_pairs({"text": found["text"], "outcome": found["outcome"], "gas": found["gas"]})
        _show_events(found["events"], found["error"])


def show_receipt(receipt: Receipt, *, as_json: bool, **more: object) -> None:
    """Print a final outcome."""
    place = {"id": receipt.id, "status": receipt.status, "height": receipt.height, "index": receipt.index}
    if as_json:
        events = [{"contract": event.contract, "name": event.name, "fields": event.fields} for event in receipt.events]
        print_json({**place, "gas_used": receipt.gas_used, "results": list(receipt.results), "events": events, **more})
    else:
        print_pairs({**place, **more})


def _show_status(found: dict[str, Any], *, as_json: bool) -> None:
    if as_json:
        print_json(found)
        return
    print_pairs({name: found[name] for name in ("id", "status", "height", "index")})
    if (receipt := found["receipt"]) is not None:
        _show_events(receipt["events"], receipt["error"])


def _show_events(events: list[dict[str, Any]], error: dict[str, Any] | None) -> None:
    for event in events:
        fields = ", ".join(f"{name}={value}" for name, value in event["fields"].items())
        print_line(f"event  {event['contract']}.{event['name']}({fields})")
    if error is not None:
        print_line(f"error  {error['contract']} {error['code']}: {error['message']}")

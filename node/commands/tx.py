"""`datacar tx`: send, follow and read transactions."""

from typing import Annotated, Any, Final

import typer

from datacar import on_demand
from datacar.client import Client
from datacar.errors import BadAnswerError
from datacar.receipt import Receipt, outcome_of
from datacar.units import MOMENT_MS
from ledger.transaction import Transaction
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, connect, expect_object, read_raw
from node.commands.contract_view import View, money_of, told_by
from node.commands.delivery import deliver
from node.commands.output import Json, print_json, print_pairs

app = typer.Typer(help="Send, follow and read transactions.", no_args_is_help=True, add_completion=False)

_RAW_HELP: Final = "The signed transaction: 0x hex, a file that holds it, or - for standard input."
_DECODED: Final = ("gas_limit", "reference", "size_bytes")
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
    with connect(rpc, timeout) as client:
        transaction = Transaction.from_raw(data, client.chain_info().genesis_hash)
        view, calls = View.of(on_demand.default_registry(), money_of(client), transaction.sender), transaction.body.calls
        with view.explaining(calls):
            view.print_receipt(calls, deliver(client, transaction), as_json=as_json)


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
    with connect(rpc, timeout) as client:
        _show_status(client, expect_object(client.call("tx_get", id=tx_id, **known), "status"), as_json=as_json)


@app.command()
def wait(
    tx_id: Id,
    valid_until_ms: ValidUntil = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Wait until a transaction is final; exit code 4 when it failed or expired, 5 when the time is up first."""
    with connect(rpc, timeout) as client:
        found = client.wait(tx_id, valid_until_ms=valid_until_ms)
        if outcome_of(found, valid_until_ms or 0) is None:
            raise BadAnswerError("tx_wait answered no final status", id=tx_id)
        _show_status(client, found, as_json=as_json)


@app.command()
def decode(raw: Raw, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Show what a transaction says, without sending it."""
    found = expect_object(call(rpc, timeout, "tx_decode", raw="0x" + read_raw(raw).hex()), "transaction")
    if as_json:
        print_json(found)
    else:
        until = {"valid_until": MOMENT_MS.show(found["valid_until_ms"])}
        print_pairs({name: found[name] for name in ("id", "text")} | until | {name: found[name] for name in _DECODED})


@app.command()
def simulate(raw: Raw, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Show what a transaction would do now, without sending it."""
    data = read_raw(raw)
    with connect(rpc, timeout) as client:
        found = expect_object(client.call("tx_simulate", raw="0x" + data.hex()), "outcome")
        if as_json:
            print_json(_view(client).told_json(found))
            return
        print_pairs({"text": found["text"], "outcome": found["outcome"], "gas": found["gas"]})
        _view(client).print_told(*told_by(found))


def _show_status(client: Client, found: dict[str, Any], *, as_json: bool) -> None:
    receipt, view = found["receipt"], _view(client)
    if receipt is not None:
        Receipt.from_status(found)  # refuses one that ended otherwise than the answer says
    if as_json:
        print_json({**found, "receipt": None if receipt is None else view.told_json(receipt)})
        return
    print_pairs({name: found[name] for name in ("id", "status", "height", "index")})
    if receipt is not None:
        view.print_told(*told_by(receipt))


def _view(client: Client) -> View:
    return View.of(on_demand.default_registry(), money_of(client))

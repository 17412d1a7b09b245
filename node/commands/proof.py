"""`datacar proof`: one file that proves a payment, a balance or any stored value, and the check of it that needs no node."""

import json
import re
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from datacar import on_demand, trusted
from datacar.failures import offline_money
from datacar.proven import describe, read_method
from datacar.shapes import of_field
from genesis.spec_json import read_spec
from ledger.errors import NotFoundError, TooLargeError
from ledger.hashing import HASH_BYTES
from ledger.proof import MAX_PROOF_BYTES, Proof
from ledger.transaction import Call
from node.commands.agreement import ASSET
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, expect_object
from node.commands.contract_sender import check_new
from node.commands.contract_view import View, told_by
from node.commands.exits import usage
from node.commands.output import Json, print_json, print_line, print_pairs, progress
from node.commands.wallet_files import account_address
from vm.abi_types import Kind, TypeSpec

app = typer.Typer(help="Prove a payment, a balance or a stored value; check such a proof offline.", no_args_is_help=True)
make = typer.Typer(help="Have a node make a proof file.", no_args_is_help=True, add_completion=False)
app.add_typer(make, name="make")

_HASH: Final = re.compile(rf"0x[0-9a-fA-F]{{{2 * HASH_BYTES}}}", re.ASCII)


def _new(path: Path) -> Path:
    """Return the file's path. Raises a usage error where there is one, before a node is asked."""
    check_new(path)
    return path


Out = Annotated[Path, typer.Option("--out", metavar="FILE", help="The new file to write.", show_default=False, callback=_new)]
At = Annotated[int | None, typer.Option("--height", min=0, help="The state after this block; the last one if left out.")]
Params = Annotated[
    list[str] | None,
    typer.Argument(metavar="[K=V]...", help="Named arguments. V is JSON, else text; '\"5\"' is the text 5."),
]


@make.command("tx")
def make_tx(
    tx_id: Annotated[str, typer.Argument(metavar="ID", help="The transaction's id, 0x hex.")],
    out: Out,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """A final transaction with its receipt and events: the proof of a payment."""
    found = expect_object(call(rpc, timeout, "tx_get", id=tx_id, prove=True), "status")
    if found.get("proof") is None:
        raise NotFoundError("not_found", f"the transaction is {found.get('status')}", hint="only a final one has a receipt")
    _write(found, out, as_json=as_json)


@make.command("account")
def make_account(
    address: Annotated[str, typer.Argument(help="The account (bech32m).", parser=usage(account_address))],
    out: Out,
    height: At = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """An account's money, or that it has none."""
    _write(call(rpc, timeout, "account_get", address=address, prove=True, **_at(height)), out, as_json=as_json)


@make.command("value")
def make_value(
    contract: Annotated[str, typer.Argument(help="The contract's name.")],
    field: Annotated[str, typer.Argument(help="One of the ABI's `storage`.")],
    out: Out,
    key: Annotated[str | None, typer.Argument(help="Of a map: the key, as JSON or else text.")] = None,
    height: At = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Any value that a contract stores, or that there is none."""
    named = {} if key is None else {"key": _value(key)}
    found = call(rpc, timeout, "state_get", contract=contract, field=field, prove=True, **named, **_at(height))
    _write(found, out, as_json=as_json)


@make.command("query")
def make_query(
    contract: Annotated[str, typer.Argument(help="The contract's name.")],
    method: Annotated[str, typer.Argument(help="One of its read methods.")],
    out: Out,
    params: Params = None,
    height: At = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """All that a read method reads: `proof check --query` runs it again on that."""
    asked = {"contract": contract, "method": method, "args": _named(params), **_at(height)}
    _write(call(rpc, timeout, "contract_query", prove=True, **asked), out, as_json=as_json)


@make.command("header")
def make_header(
    out: Out,
    height: Annotated[int | None, typer.Argument(min=0, help="Of which block; the last one if left out.")] = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """A block's header: that it was decided, and when."""
    _write(call(rpc, timeout, "chain_proveHeader", **_at(height)), out, as_json=as_json)


@app.command()
def check(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="The proof.", show_default=False)],
    genesis: Annotated[
        str, typer.Option("--genesis", metavar="GENESIS", help="The genesis file, or its hash (0x hex), from a source you trust.")
    ],
    query: Annotated[
        str | None, typer.Option("--query", metavar="CONTRACT.METHOD", help="Run this read method on what the proof holds.")
    ] = None,
    params: Params = None,
    trusted_file: Annotated[
        Path | None,
        typer.Option("--trusted", metavar="FILE", help="A block that a light client kept: refuse what is older or elsewhere."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Check a proof offline and print what it proves, of which epoch, height and time. Exit code 1: believe nothing of it.

    A proof from genesis rests on the keys of every committee since: an old epoch proves less once its keys may have leaked.
    """
    genesis_hash = _genesis_hash(genesis)
    known = None if trusted_file is None else trusted.load(trusted_file, genesis_hash)
    if trusted_file is not None and known is None:
        raise NotFoundError("not_found", f"there is no file {trusted_file}", hint="leave out --trusted to check from genesis")
    proof = Proof.decode(_read(file))
    found = describe(proof, proof.verify(genesis_hash, known), genesis_hash)
    asked = None
    if query is not None:
        contract, _, method = query.partition(".")
        named = _named(params)
        found["answer"] = read_method(proof, contract, method, named)
        asked = _call(contract, method, named)
    elif params:
        raise typer.BadParameter("arguments are those of --query", param_hint="K=V")
    if as_json:
        print_json({"valid": True, **found})
    else:
        _show(found, asked)


def _show(found: dict[str, Any], asked: Call | None) -> None:
    """Print what a proof says; `asked` is the question that it answers, if one was asked."""
    lists = ("values", "calls", "results", "events", "error", "answer")
    shown = {name: value for name, value in found.items() if name not in lists}
    print_pairs(
        {"valid": "yes", **{name: value if isinstance(value, str) else json.dumps(value) for name, value in shown.items()}}
    )
    view = View.of(on_demand.default_registry(), offline_money)
    for item in found.get("values", ()):
        print_line(f"value  {_stored(view, item)}")
    if "events" in found:
        for item in found["calls"]:
            print_line(f"call   {view.call_text(item)}")
        for item, result in zip(found["calls"], found["results"], strict=False):
            if result is not None:
                shape, value = view.result(_call(item["contract"], item["method"], item["args"]), result)
                print_line(f"result {view.shown.text(shape, value)}")
        events, failure = told_by(found)
        for index, event in enumerate(events):
            print_line(f"event  {index}: {view.event_text(event)}")
        view.print_told((), failure)
    if asked is not None:
        print_line(f"{asked.contract}.{asked.method} answers")
        view.print_value(asked, found["answer"], found["height"], as_json=False)


def _call(contract: str, method: str, args: Any) -> Call:
    """Return the call that stands in JSON."""
    return Call(contract, method, on_demand.args_from_json(on_demand.default_registry().method(contract, method), args))


def _stored(view: View, item: dict[str, Any]) -> str:
    """Return where a value stands, as its contract names it, and the value; of what this version does not know, both raw."""
    if "field" not in item:
        return f"{item['key']} = {json.dumps(item['value'])}"
    field = view.registry.field(item["contract"], item["field"])
    key = f"[{json.dumps(item['of'])}]" if "of" in item else ""
    shape = of_field(field)
    if item["contract"] == ASSET and (symbol := _text_in_front(field.key, item.get("of"))) is not None:
        shape = shape.in_money(view.shown.money(symbol))
    value = None if item["value"] is None else on_demand.value_from_json(field.value, item["value"])
    return f"{item['contract']}.{field.name}{key} = {view.shown.text(shape, value)}"


def _text_in_front(spec: TypeSpec | None, key: Any) -> str | None:
    """Return the text that a key is or begins with, None where it is none: in what the assets' contract stores, a symbol."""
    if spec is not None and spec.kind is Kind.TUPLE:
        return _text_in_front(spec.items[0], key[0])
    return str(key) if spec is not None and spec.kind is Kind.TEXT else None


def _write(answer: Any, out: Path, *, as_json: bool) -> None:
    """Write the proof in an answer to a file, after reading it as one."""
    found = expect_object(answer, "proof")
    try:
        data = bytes.fromhex(str(found["proof"]).removeprefix("0x"))
    except (KeyError, ValueError):
        raise NotFoundError(
            "not_found", "the node's answer holds no proof", hint="does node_capabilities say it proves?"
        ) from None
    proof = Proof.decode(data)
    with out.open("xb") as file:  # whatever came there meanwhile
        file.write(data)
    progress(f"wrote {out}; check it with: datacar proof check {out} --genesis GENESIS")
    place = {"file": str(out), "height": proof.header.height, "size_bytes": len(data)}
    (print_json if as_json else print_pairs)(place)


def _read(file: Path) -> bytes:
    with file.open("rb") as source:
        data = source.read(MAX_PROOF_BYTES + 1)
    if len(data) > MAX_PROOF_BYTES:
        raise TooLargeError(str(file), limit=MAX_PROOF_BYTES, got=file.stat().st_size, hint="is this a proof?")
    return data


def _genesis_hash(given: str) -> bytes:
    """Return the hash in a genesis file, or the one that was given. Raises a usage error for half a hash."""
    if not given.startswith("0x"):
        return read_spec(Path(given)).hash
    if not _HASH.fullmatch(given):
        problem = (
            f"a hash is 0x and {2 * HASH_BYTES} hex digits, not {given!r} ({len(given) - 2}); a file of that name is ./{given}"
        )
        raise typer.BadParameter(problem, param_hint="--genesis")
    return bytes.fromhex(given[2:])


def _at(height: int | None) -> dict[str, int]:
    return {} if height is None else {"height": height}


def _named(params: list[str] | None) -> dict[str, Any]:
    """Return NAME=VALUE arguments by name."""
    pairs = [text.partition("=") for text in params or ()]
    if any(not name or not separator for name, separator, _ in pairs):
        raise typer.BadParameter("arguments are written NAME=VALUE", param_hint="K=V")
    return {name: _value(value) for name, _, value in pairs}


def _value(text: str) -> Any:
    """Return a value written as JSON, or else the text itself; fractions stay text, since amounts are."""
    try:
        return json.loads(text, parse_float=str)
    except ValueError:
        return text

"""`datacar block`: one block, by height or hash."""

from typing import Annotated, Any

import typer

from datacar.units import MOMENT_MS
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, expect_object
from node.commands.output import Json, print_json, print_line, print_pairs

app = typer.Typer(add_completion=False)


@app.command()
def block(
    number: Annotated[str | None, typer.Argument(metavar="[HEIGHT|HASH]", help="Which one; the last one if left out.")] = None,
    full: Annotated[bool, typer.Option("--full", help="With decoded transactions and receipts.")] = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Show a block."""
    found = expect_object(call(rpc, timeout, "chain_getBlock", **_reference(number), full=full), "block")
    if as_json:
        print_json(found)
        return
    shown = {("time" if name == "timestamp_ms" else name): value for name, value in found["header"].items()}
    shown["time"] = MOMENT_MS.show(shown["time"])
    print_pairs(shown | {"transactions": len(found["transactions"]), "size_bytes": found["size_bytes"]})
    for index, item in enumerate(found["transactions"]):
        print_line(f"{index:>6}  {item if isinstance(item, str) else item['id'] + '  ' + item['text']}")


def _reference(number: str | None) -> dict[str, Any]:
    if number is None:
        return {}
    if number.startswith("0x"):
        return {"hash": number}
    if not (number.isascii() and number.isdigit()):
        raise typer.BadParameter(f"{number!r} is neither a height nor a 0x hash", param_hint="HEIGHT|HASH")
    return {"height": int(number)}

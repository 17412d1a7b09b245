"""`datacar db export`: a stopped node's ledger as newline-delimited JSON or CSV."""

import sys
import time
from pathlib import Path
from typing import Annotated

import typer

from node.chain import Chain
from node.commands.config import Config, Override
from node.commands.db_session import shown_progress, target
from node.commands.output import Json, print_json, progress
from node.db_export import Format
from node.db_export import export as export_rows
from node.db_rows import Range, What
from node.durable import replacing_text
from vm.executor import Executor
from vm.registry import default_registry

File = Annotated[Path | None, typer.Argument(metavar="[FILE]", help="Where to; standard output if left out.", dir_okay=False)]
Low = Annotated[
    int | None, typer.Option("--from-height", min=0, metavar="HEIGHT", help="First block; the oldest held if left out.")
]
High = Annotated[
    int | None, typer.Option("--to-height", min=0, metavar="HEIGHT", help="Last block, or the height of the state; else the tip.")
]


def export(
    what: Annotated[What, typer.Argument(help="What to export.")],
    file: File = None,
    form: Annotated[
        Format, typer.Option("--format", help="One JSON object a line, or CSV with a line of names.")
    ] = Format.NDJSON,
    low: Low = None,
    high: High = None,
    config: Config = None,
    override: Override = None,
    as_json: Json = False,
) -> None:
    """Export a stopped node's ledger; a file appears only when it is complete.

    Columns named `_motes` are integers (10^8 motes are 1 DATR); arguments, events and stored values stand in the forms of the
    contract's ABI. With --json a summary is printed, which needs FILE.
    """
    if as_json and file is None:
        raise typer.BadParameter("standard output cannot hold both the rows and the summary", param_hint="--json")
    node = target(config, override)
    began = time.monotonic()
    with shown_progress() as told, node.store() as store:
        chain = Chain(node.genesis, store, Executor(default_registry()))
        if file is None:
            rows = export_rows(chain, what, form, Range(low, high), sys.stdout, told)
        else:
            with replacing_text(file) as out:
                rows = export_rows(chain, what, form, Range(low, high), out, told)
        tip = chain.tip.height
    seconds = time.monotonic() - began
    if as_json:
        print_json({"what": what, "format": form, "file": str(file), "rows": rows, "tip": tip, "seconds": round(seconds, 3)})
    else:
        progress(f"{rows:,} {what} exported in {seconds:.1f} s")

"""`datacar db snapshot` and `datacar db restore`: a stopped node's state in one file, and a new node from one."""

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from ledger.types import Height
from node.commands.config import Config, Override
from node.commands.db_session import shown_progress, target
from node.commands.output import Json, print_json, print_pairs
from node.db_snapshot import restore as restore_file
from node.db_snapshot import save
from vm.registry import default_registry

To = Annotated[Path, typer.Argument(help="The file to write; one that is there is replaced at the end.", metavar="FILE")]
From = Annotated[Path, typer.Argument(help="The file that `datacar db snapshot` wrote.", metavar="FILE", exists=True)]
At = Annotated[int | None, typer.Option("--height", min=1, metavar="H", help="A height whose state is kept; default: the last.")]


def snapshot(file: To, height: At = None, config: Config = None, override: Override = None, as_json: Json = False) -> None:
    """Write the state of a stopped node, with all that proves it and the transaction window, into one file.

    The file holds no keys and no sign-state. Ctrl-C leaves nothing of it.
    """
    node = target(config, override)
    with shown_progress() as told:
        done = save(node.data_dir, node.genesis, default_registry(), file, None if height is None else Height(height), told)
    _show(file, asdict(done), as_json)


def restore(file: From, config: Config = None, override: Override = None, as_json: Json = False) -> None:
    """Make the database of a node that has none from a snapshot file; every byte of it is checked against the genesis.

    The node signs nothing without its own sign-state until the chain has grown past what its key may have voted for.
    """
    node = target(config, override)
    with shown_progress() as told:
        done = restore_file(node.data_dir, node.genesis, default_registry(), file, told)
    _show(file, asdict(done), as_json)


def _show(file: Path, done: dict[str, int], as_json: bool) -> None:
    del done["expected_keys"]
    result = {"file": str(file), **done}
    print_json(result) if as_json else print_pairs(result)

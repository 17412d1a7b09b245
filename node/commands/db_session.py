"""What the commands of `datacar db` share: the stopped node of a configuration, and progress on stderr."""

import contextlib
import logging
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import structlog
from rich.console import Console
from rich.progress import BarColumn, Progress, TaskID, TaskProgressColumn, TextColumn, TimeElapsedColumn

from genesis.block import GenesisBlock, make_genesis_block
from genesis.spec_json import read_spec
from node.block_store import BlockStore
from node.commands.config import read_config
from node.commands.output import progress
from node.config import NodeConfig
from node.db_tools import Progress as Told
from node.db_tools import stopped_store

SAY_EVERY_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Target:
    """Whose ledger it is: a node's configuration and the genesis of its chain."""

    config: NodeConfig
    genesis: GenesisBlock

    @property
    def data_dir(self) -> Path:
        """The folder that the database is in."""
        return self.config.node.data_dir

    @contextlib.contextmanager
    def store(self) -> Iterator[BlockStore]:
        """The node's store, open until the context is left. Raises `StorageError`, `NotFoundError`."""
        with stopped_store(self.data_dir, self.genesis.spec.hash) as store:
            yield store


def target(config: Path | None, overrides: list[str] | None) -> Target:
    """Return what the options of a command name. Raises `ConfigError`, `GenesisError`, `OSError`."""
    found = read_config(config, overrides)
    return Target(found, make_genesis_block(read_spec(found.node.genesis)))


@contextlib.contextmanager
def shown_progress() -> Iterator[Told]:
    """Show on stderr how far long work has come, bars on a terminal, else a line now and then; and what is logged meanwhile."""
    console = Console(stderr=True)
    with _logged_to_stderr(), _shown_on(console) as told:
        yield told


@contextlib.contextmanager
def _logged_to_stderr() -> Iterator[None]:
    """Warnings of the node's own parts go to stderr; stdout is for data."""
    before = structlog.get_config()
    structlog.configure(
        wrapper_class=structlog.make_filtering_bound_logger(logging.WARNING),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )
    try:
        yield
    finally:
        structlog.configure(**before)


@contextlib.contextmanager
def _shown_on(console: Console) -> Iterator[Told]:
    if not console.is_terminal:
        yield _Lines()
        return
    columns = (TextColumn("{task.description}"), BarColumn(), TaskProgressColumn(), TextColumn("{task.fields[count]}"))
    with Progress(*columns, TimeElapsedColumn(), console=console) as bar:
        tasks: dict[str, TaskID] = {}
        shown: dict[str, float] = {}

        def tell(what: str, done: int, total: int) -> None:
            now = time.monotonic()
            if done != total and now - shown.get(what, 0.0) < 0.1:
                return
            shown[what] = now
            if what not in tasks:
                tasks[what] = bar.add_task(what, total=total or None, count="")
            bar.update(tasks[what], completed=done, total=total or None, count=f"{done:,}" + (f" of {total:,}" if total else ""))

        yield tell


class _Lines:
    """Says a line now and then, for logs and pipes."""

    def __init__(self) -> None:
        self._said = time.monotonic()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Take note of progress."""
        now = time.monotonic()
        if now - self._said >= SAY_EVERY_S:
            self._said = now
            progress(f"{what}: {done:,}" + (f" of {total:,}" if total else ""))

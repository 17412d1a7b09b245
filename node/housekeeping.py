"""Pins snapshots and prunes behind the tip, in the background and a little at a time."""

import asyncio
from typing import Final

from ledger.types import Height
from node.clock import Clock
from node.pruning import Pruner
from node.tasks import Tasks

PAUSE_S: Final = 0.01  # a step takes some 3 ms: consensus and wallets have the rest


class Housekeeper:
    """Runs a `Pruner` after each block until it has nothing more to do."""

    def __init__(self, pruner: Pruner, tasks: Tasks, clock: Clock) -> None:
        self.pruner = pruner
        self._tasks = tasks
        self._clock = clock
        self._task: asyncio.Task[None] | None = None

    def on_committed(self, height: Height) -> None:
        """Take up the work that a new block makes."""
        self.pruner.on_committed(height, self._clock())
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._run(), "pruning")

    async def _run(self) -> None:
        more = True
        while more:
            await asyncio.sleep(PAUSE_S)
            more = self.pruner.step()

"""The replica's timers on the event loop.

The progress timer counts in slices: a node that does not get around to its work, because the machine is overloaded, does not get
around to the next slice either. So its patience grows with its own lag, and what already waits in its sockets is read first;
overload is not the primary's fault.
"""

import asyncio
from collections.abc import Callable
from typing import Final

from consensus.effects import Timer
from node.clock import Clock

SLICE_MS: Final = 100


class Timers:
    """Calls `fire` when a timer expires; setting one again replaces it."""

    def __init__(self, clock: Clock, fire: Callable[[Timer], None]) -> None:
        self._clock = clock
        self._fire = fire
        self._handles: dict[Timer, asyncio.TimerHandle] = {}

    def set(self, timer: Timer, at_ms: int | None) -> None:
        """Have `timer` expire at `at_ms` of the node's clock, or never when it is None."""
        if (old := self._handles.pop(timer, None)) is not None:
            old.cancel()
        if at_ms is not None:
            self._wait(timer, max(0, at_ms - self._clock()))

    def stop(self) -> None:
        """Stop all timers."""
        for handle in self._handles.values():
            handle.cancel()
        self._handles.clear()

    def _wait(self, timer: Timer, left_ms: int) -> None:
        slice_ms = min(left_ms, SLICE_MS) if timer is Timer.PROGRESS else left_ms
        loop = asyncio.get_running_loop()
        self._handles[timer] = loop.call_later(slice_ms / 1_000, self._over, timer, left_ms - slice_ms)

    def _over(self, timer: Timer, left_ms: int) -> None:
        if left_ms > 0:
            self._wait(timer, left_ms)
        else:
            del self._handles[timer]
            self._fire(timer)

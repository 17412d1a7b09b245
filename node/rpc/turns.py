"""Long work in turns of a few milliseconds, so that consensus messages never wait for it."""

import asyncio
import time
from collections.abc import Callable, Sequence
from typing import Final, TypeVar

T = TypeVar("T")
R = TypeVar("R")

TURN_S: Final = 0.002


class Turns:
    """One turn at a time over all requests, and the event loop goes round between two, however many requests there are.

    A turn ends by time, not by count: items differ by a factor of a hundred. The longest one is the longest single item.
    """

    def __init__(self) -> None:
        self._lock = asyncio.Lock()

    async def each(self, items: Sequence[T], work: Callable[[T], R]) -> list[R]:
        """Return what `work` makes of each item, in order. Raises what it raises."""
        done: list[R] = []
        while len(done) < len(items):
            async with self._lock:
                end = time.monotonic() + TURN_S
                while len(done) < len(items):
                    done.append(work(items[len(done)]))
                    if time.monotonic() >= end:
                        break
                await asyncio.sleep(0)
        return done

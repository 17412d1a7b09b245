"""Long work in turns of a few milliseconds, so that consensus messages never wait for it."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Generator, Iterable
from typing import Any, Final, TypeAlias, TypeVar

T = TypeVar("T")
R = TypeVar("R")

TURN_S: Final = 0.002

Steps: TypeAlias = Generator[None, None, T]
"""Work that can be left at each `yield`, and what it comes to."""


class Turns:
    """One turn for each time that the event loop goes round, however many requests there are: they take it one after the other.

    A turn ends by time, not by count: steps differ by a factor of a hundred. Short work is done in one turn with others'.
    """

    def __init__(self) -> None:
        self._waiting: deque[tuple[Steps[Any], asyncio.Future[Any]]] = deque()
        self._planned = False

    async def run(self, steps: Steps[T]) -> T:
        """Return what the steps come to. Raises what they raise."""
        loop = asyncio.get_running_loop()
        outcome: asyncio.Future[T] = loop.create_future()
        self._waiting.append((steps, outcome))
        if not self._planned:
            self._planned = True
            loop.call_soon(self._take_turn)
        return await outcome

    def _take_turn(self) -> None:
        end = time.monotonic() + TURN_S
        while self._waiting:
            steps, outcome = self._waiting.popleft()
            _work(steps, outcome, end)
            if not outcome.done():
                self._waiting.append((steps, outcome))
            if time.monotonic() >= end:
                break
        self._planned = bool(self._waiting)
        if self._planned:
            asyncio.get_running_loop().call_soon(self._take_turn)

    async def each(self, items: Iterable[T], work: Callable[[T], R]) -> list[R]:
        """Return what `work` makes of each item, in order. Raises what it raises."""
        return await self.run(_each(items, work))


def _work(steps: Steps[T], outcome: asyncio.Future[T], end: float) -> None:
    """Take steps until they come to something, nobody waits for that any more, or it is time to stop."""
    try:
        while not outcome.done():
            next(steps)
            if time.monotonic() >= end:
                return
        steps.close()
    except StopIteration as done:
        outcome.set_result(done.value)
    except Exception as error:  # noqa: BLE001 - raised again where it is waited for
        if not outcome.done():
            outcome.set_exception(error)


def _each(items: Iterable[T], work: Callable[[T], R]) -> Steps[list[R]]:
    done: list[R] = []
    for item in items:
        done.append(work(item))
        yield
    return done


def finished(steps: Steps[T]) -> T:
    """Return what steps come to, all in one go."""
    while True:
        try:
            next(steps)
        except StopIteration as done:
            result: T = done.value
            return result

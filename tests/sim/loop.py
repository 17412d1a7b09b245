"""An asyncio event loop in virtual time: it never sleeps, and jumps to the next timer when nothing is ready.

What asyncio does with a loop is its own code; only the clock and the waiting for sockets are replaced.
"""

import asyncio
from collections.abc import Callable
from contextvars import Context
from typing import Any, Final

_LEAST_S: Final = 2e-9


class StuckError(RuntimeError):
    """Nothing is ready and no timer is set: the simulation waits for something that can never come."""


class _NoSockets:
    """Stands where the selector is: waiting for sockets takes virtual time only."""

    def __init__(self) -> None:
        self.now_s = 0.0

    def select(self, timeout: float | None) -> list[object]:
        """Let `timeout` seconds pass."""
        if timeout is None:
            raise StuckError("nothing is ready and no timer is set")
        if timeout > 0:
            self.now_s += timeout
        return []

    def close(self) -> None:
        """Nothing to release."""


class VirtualLoop(asyncio.BaseEventLoop):
    """A loop whose `time()` starts at 0 and moves only when everything that is ready has run."""

    def __init__(self) -> None:
        super().__init__()
        self._selector = _NoSockets()
        self.events = 0

    def time(self) -> float:
        """Return the virtual seconds since the start."""
        return self._selector.now_s

    def call_at(  # type: ignore[override]
        self, when: float, callback: Callable[..., object], *args: Any, context: Context | None = None
    ) -> asyncio.TimerHandle:
        """Set a timer, at least a moment ahead.

        asyncio takes a timer as due a clock tick early. Where time moves only from timer to timer, code that waits for a time so
        near would wait for ever.
        """
        return super().call_at(max(when, self.time() + _LEAST_S), callback, *args, context=context)

    @property
    def now_ms(self) -> int:
        """Return the virtual milliseconds since the start."""
        return int(self._selector.now_s * 1_000)

    def after_ms(self, delay_ms: float, callback: Callable[..., object], *args: Any) -> asyncio.TimerHandle:
        """Call `callback` so many virtual milliseconds from now."""
        return self.call_later(delay_ms / 1_000, callback, *args)

    def _process_events(self, event_list: list[object]) -> None:
        """There are no sockets."""

    def _write_to_self(self) -> None:
        """Nobody calls from another thread."""

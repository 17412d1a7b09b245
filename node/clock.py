"""The node's one source of time: wall-clock milliseconds for timestamps and timers of the pure cores."""

import time
from collections.abc import Callable
from typing import TypeAlias

Clock: TypeAlias = Callable[[], int]
"""Returns Unix milliseconds; handed to whoever needs it, so that a simulator can give each node its own."""


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000

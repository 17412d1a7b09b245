"""The node's one source of time: wall-clock milliseconds for timestamps and timers of the pure cores."""

import time


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000

"""The node's one source of time: wall-clock milliseconds for timestamps and timers of the pure cores.

On a development chain the clock can be set ahead, and stays so across restarts: the offset is a file of the data folder. What
measures how long something takes must bear that (`Driver.set_ahead`), or go by another clock.
"""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Final, TypeAlias

from ledger.errors import DatacarError, RejectedError
from node.durable import replacing_text

Clock: TypeAlias = Callable[[], int]
"""Returns Unix milliseconds; handed to whoever needs it, so that a simulator can give each node its own."""

OFFSET_NAME: Final = "clock.json"
DAY_MS: Final = 86_400_000
MAX_AHEAD_MS: Final = 100 * 366 * DAY_MS
"""A century: what is dated later than some calendars reach would be no use."""


def now_ms() -> int:
    """Return Unix milliseconds."""
    return time.time_ns() // 1_000_000


class BadOffsetError(DatacarError):
    """The file that says how far ahead a clock is cannot be read."""

    def __init__(self, path: Path) -> None:
        hint = "delete it; `datacar devnet up` makes it anew from what the other nodes have"
        super().__init__("bad_clock_file", f"{path} does not hold an offset", hint=hint)


class TooFarAheadError(RejectedError):
    """A clock is to be set further ahead than it goes."""

    def __init__(self, offset_ms: int) -> None:
        message = f"the clock would be {offset_ms // DAY_MS} days ahead, it goes {MAX_AHEAD_MS // DAY_MS} days at most"
        super().__init__("not_permitted", message, hint="begin anew: `datacar devnet reset`", limit=MAX_AHEAD_MS, got=offset_ms)


def read_offset(data_dir: Path) -> int:
    """Return how many milliseconds ahead the clock of a data folder is. Raises `BadOffsetError`."""
    path = data_dir / OFFSET_NAME
    try:
        offset_ms = json.loads(path.read_text(encoding="utf-8"))["offset_ms"]
    except FileNotFoundError:
        return 0
    except (ValueError, TypeError, KeyError):
        raise BadOffsetError(path) from None
    if type(offset_ms) is not int or not 0 <= offset_ms <= MAX_AHEAD_MS:
        raise BadOffsetError(path)
    return offset_ms


def write_offset(data_dir: Path, offset_ms: int) -> None:
    """Have the clock of a data folder be so far ahead. Raises `TooFarAheadError`."""
    if offset_ms > MAX_AHEAD_MS:
        raise TooFarAheadError(offset_ms)
    data_dir.mkdir(parents=True, exist_ok=True)
    with replacing_text(data_dir / OFFSET_NAME) as file:
        json.dump({"offset_ms": offset_ms}, file)


class DevelopmentClock:
    """A clock that can be set ahead, never back. `promised_ms` is the offset on disk: what is not in force yet will be."""

    def __init__(self, data_dir: Path, base: Clock = now_ms) -> None:
        self._data_dir = data_dir
        self._base = base
        self.offset_ms = self.promised_ms = read_offset(data_dir)

    def __call__(self) -> int:
        """Return Unix milliseconds as this node sees them."""
        return self._base() + self.offset_ms

    def promise(self, ms: int) -> None:
        """Write down that the clock will be set ahead by `ms`. Raises `TooFarAheadError`, or `OSError` and is as before."""
        write_offset(self._data_dir, self.promised_ms + ms)
        self.promised_ms += ms

    def set_ahead(self, ms: int) -> None:
        """Set the clock ahead by what was promised before."""
        self.offset_ms += ms

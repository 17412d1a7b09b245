"""How many bytes answers may take: those of one message, and all that the server holds until their readers have them.

Large answers are made by few requests at a time, as bytes from the start, and one after the other within a batch.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from ledger.errors import LimitError, TooLargeError
from node.rpc import limits

_LESS: Final = "ask for less at once: smaller batches, shorter pages, without full"


class Room:
    """The server's room. `held` is what answers take now, also those that are being sent."""

    def __init__(self) -> None:
        self.held = 0
        self.places = asyncio.Semaphore(limits.LARGE_AT_ONCE)

    def share(self) -> "Share":
        """Return the share of one message; leaving it as a context gives its bytes back."""
        return Share(self)


class Share:
    """The room of one message's answer."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self._turn = asyncio.Lock()
        self._used = 0
        self._making = 0
        self._refused = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, _type: type[BaseException] | None, _error: BaseException | None, _trace: TracebackType | None) -> None:
        self._room.held -= self._used
        self._used = 0

    def check_open(self) -> None:
        """Raise `TooLargeError` once an item of the batch found no room: those after it are not even begun."""
        if self._refused:
            hint = f"this request was not carried out; {_LESS}"
            raise TooLargeError("the answer to this batch", limit=limits.MAX_ANSWER_BYTES, got=self._refused, hint=hint)

    def check_fits(self, size: int, hint: str = "") -> None:
        """Raise for `size` more bytes than there is room for: `TooLargeError` in this answer, `LimitError` in the whole server.

        Small ones always fit: what a request did must be told.
        """
        if size <= limits.SMALL_BYTES:
            return
        if self._used + size > limits.MAX_ANSWER_BYTES:
            self._refused = self._used + size
            raise TooLargeError("the answer", limit=limits.MAX_ANSWER_BYTES, got=self._refused, hint=hint or _LESS)
        if self._room.held + size > limits.MAX_HELD_BYTES:
            raise LimitError(
                "rate_limited",
                f"{self._room.held} bytes of answers are on their way already",
                hint=hint or "try again in a moment",
                limit=limits.MAX_HELD_BYTES,
            )

    def piece(self, data: bytes) -> bytes:
        """Count and return a part of the large answer that is being made. Raises as `check_fits` for the parts together."""
        self._making += len(data)
        self.check_fits(self._making)
        return data

    def keep(self, data: bytes) -> bytes:
        """Count and return an item's bytes."""
        self._used += len(data)
        self._room.held += len(data)
        return data

    @asynccontextmanager
    async def large(self) -> AsyncIterator[None]:
        """Hold a place to make a large answer, one item of a batch after the other. Inside, wait for nothing but turns."""
        async with self._turn:
            self.check_open()
            async with self._room.places:
                self._making = 0
                yield

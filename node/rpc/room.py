"""How many bytes answers may take: those of one message, and all that the server holds until their readers have them.

Large answers are made by few requests at a time, as bytes from the start, and one after the other within a batch.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import Final, Self

from ledger.errors import LimitError, TooLargeError, UnavailableError
from node.rpc import limits

_LESS: Final = "ask for less at once: smaller batches, shorter pages, without full"


class AnswerTooLargeError(TooLargeError):
    """There is no room for an answer in its message's."""


class AnswersFullError(LimitError):
    """There is no room for an answer in the whole server."""


class AnswerLostError(UnavailableError):
    """A request that changes something was carried out, and there is no room to tell what came of it. It is no refusal."""

    def __init__(self) -> None:
        hint = "this request was carried out: ask for the statuses with tx_get, or send the same bytes again in smaller batches"
        super().__init__("answer_lost", "the answer has no room", hint=hint, limit=limits.MAX_ANSWER_BYTES)


NO_ROOM: Final = (AnswerTooLargeError, AnswersFullError)


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

    def check_fits(self, size: int) -> None:
        """Raise for `size` more bytes than there is room for, in this answer or in the whole server (`NO_ROOM`).

        Small ones always fit: what a request did must be told.
        """
        if size <= limits.SMALL_BYTES:
            return
        if self._used + size > limits.MAX_ANSWER_BYTES:
            self._refused = self._used + size
            raise AnswerTooLargeError("the answer", limit=limits.MAX_ANSWER_BYTES, got=self._refused, hint=_LESS)
        if self._room.held + size > limits.MAX_HELD_BYTES:
            raise AnswersFullError(
                "rate_limited",
                f"{self._room.held} bytes of answers are on their way already",
                hint="try again in a moment",
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
            if self._refused:
                raise AnswerTooLargeError(
                    "the answer to this batch", limit=limits.MAX_ANSWER_BYTES, got=self._refused, hint=_LESS
                )
            async with self._room.places:
                self._making = 0
                yield

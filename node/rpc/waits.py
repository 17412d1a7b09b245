"""How many waits for finality one WebSocket, or one HTTP request, may hold: so none can take the room of all."""

from collections.abc import Iterator
from contextlib import contextmanager

from ledger.types import TxId
from node.finality import WaitTimeoutError


class Waits:
    """The room for waits of one source."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._open = 0

    @contextmanager
    def one(self, tx_id: TxId) -> Iterator[None]:
        """Hold room for a wait. Raises `WaitTimeoutError` at once when all is taken: the transaction may have been accepted."""
        if self._open >= self._limit:
            raise WaitTimeoutError(tx_id, f"not final yet, and {self._open} waits are open here already", limit=self._limit)
        self._open += 1
        try:
            yield
        finally:
            self._open -= 1

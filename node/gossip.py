"""Spreads transactions to all members in batches, and verifies what comes in between other work.

Whoever a wallet sends to tells all the others at once; nobody passes gossip on. What stays pending is told again, so a
transaction that reached only some members still gets to the primary.
"""

import asyncio
from collections.abc import Callable
from itertools import islice
from typing import Final

from ledger.transaction import Transaction
from ledger.types import MemberId, TxHash, TxId
from node.clock import Clock
from node.intake import Intake
from node.ports import Network
from node.tasks import Tasks
from p2p.messages import Transactions, batch_transactions

FLUSH_S: Final = 0.005
REPEAT_S: Final = 3.0
MAX_REPEATED: Final = 500
MAX_INTRODUCED: Final = 5_000
CHUNK: Final = 24  # about 2 ms of verification


class Gossip:
    """Batches out, chunks in. `told` hears which transaction is the oldest when it was sent to all again, and when."""

    def __init__(self, intake: Intake, network: Network, tasks: Tasks, clock: Clock, told: Callable[[TxId, int], None]) -> None:
        self._intake = intake
        self._clock = clock
        self._network = network
        self._tasks = tasks
        self._outgoing: list[bytes] = []
        self._flush_timer: asyncio.TimerHandle | None = None
        self._repeat_timer: asyncio.TimerHandle | None = None
        self._drain_task: asyncio.Task[None] | None = None
        self._first_pending: TxId | None = None
        self._told = told

    def stop(self) -> None:
        """Stop all work."""
        for handle in (self._flush_timer, self._repeat_timer):
            if handle is not None:
                handle.cancel()

    def spread(self, transaction: Transaction) -> None:
        """Tell all members of a transaction that a wallet sent here."""
        self._outgoing.append(transaction.raw)
        loop = asyncio.get_running_loop()
        if self._flush_timer is None:
            self._flush_timer = loop.call_later(FLUSH_S, self._flush)

    def on_pending(self) -> None:
        """A transaction entered the pool, from a wallet or another member: see that it is told again while it stays there."""
        if self._repeat_timer is None:
            self._repeat_timer = asyncio.get_running_loop().call_later(REPEAT_S, self._repeat)

    def introduce(self, member_id: MemberId) -> None:
        """Tell a member that has just connected what is pending."""
        self._send_pending(MAX_INTRODUCED, lambda batch: self._network.send(member_id, batch))

    def receive(self, member_id: MemberId, raws: tuple[bytes, ...]) -> tuple[TxHash, ...]:
        """Take a peer's batch, which is verified soon, a chunk at a time; return the hashes of what is new."""
        taken = self._intake.offer(raws, member_id)
        if self._intake.backlog and (self._drain_task is None or self._drain_task.done()):
            self._drain_task = self._tasks.spawn(self._drain(), "gossip verification")
        return taken

    async def _drain(self) -> None:
        while self._intake.backlog:
            async with self._intake.turn():
                for liar in self._intake.verify_some(CHUNK, self._clock()):
                    self._network.disconnect(liar, "sent a transaction that it cannot have verified")

    def remind(self, primary: MemberId) -> bool:
        """Send the oldest pending transactions, as many as a batch holds, to a primary that seems not to have them."""
        pending = (transaction.raw for transaction in self._intake.mempool.candidates())
        batch = next(batch_transactions(pending), None)
        return batch is not None and self._network.send(primary, batch)

    def _flush(self) -> None:
        self._flush_timer = None
        outgoing, self._outgoing = self._outgoing, []
        for batch in batch_transactions(outgoing):
            self._network.broadcast(batch)

    def _repeat(self) -> None:
        """Tell all members again of the oldest pending transactions when the oldest has not moved since the last time."""
        oldest = next(iter(self._intake.mempool.candidates()), None)
        if oldest is not None and oldest.id == self._first_pending:
            self._send_pending(MAX_REPEATED, self._network.broadcast)
            self._told(oldest.id, self._clock())
        self._first_pending = None if oldest is None else oldest.id
        self._repeat_timer = None
        if oldest is not None:
            self._repeat_timer = asyncio.get_running_loop().call_later(REPEAT_S, self._repeat)

    def _send_pending(self, limit: int, send: Callable[[Transactions], object]) -> None:
        pending = (transaction.raw for transaction in self._intake.mempool.candidates())
        for batch in batch_transactions(islice(pending, limit)):
            send(batch)

"""Sending thousands of transactions: many in one request, each with its own final outcome.

Sending the same bytes again is idempotent and answers where they stand, so one call both sends a batch and learns what became of
it; between two of them the batch waits for its last transaction. A lost answer costs nothing but the repetition.
"""

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from types import TracebackType
from typing import Any, Final, Self

from datacar.async_client import AsyncClient
from datacar.errors import (
    BadAnswerError,
    DatacarError,
    LimitError,
    OutcomeUnknownError,
    TransactionExpiredError,
    TransactionFailedError,
    UnavailableError,
    error_from_json,
    may_have_arrived,
)
from datacar.receipt import Receipt, outcome_of
from ledger.transaction import Transaction

MAX_BATCH: Final = 250
BATCHES: Final = 4
"""How many batches are under way at once: one fills while others wait for their blocks."""
PAUSE_S: Final = 0.25
GIVE_UP_S: Final = 60.0
_WAIT_S: Final = 5.0


@dataclass(slots=True, eq=False)
class _Item:
    transaction: Transaction
    outcome: asyncio.Future[Receipt]
    may_be_sent: bool = False

    @property
    def id(self) -> str:
        return "0x" + self.transaction.id.hex()

    def take(self, answer: Any) -> bool:
        """Take a `tx_sendBatch` answer; return whether it was the last word. A refusal for now, as of a full pool, is not.

        Raises `BadAnswerError` for an answer about another transaction, or one that contradicts itself.
        """
        if not isinstance(answer, dict):
            raise BadAnswerError("tx_sendBatch answered something that is no object")
        if (body := answer.get("error")) is not None:
            return self._refuse(error_from_json(body))
        if answer.get("id") != self.id:
            raise BadAnswerError("the answer is about another transaction", id=self.id)
        self.may_be_sent = True
        try:
            receipt = outcome_of(answer, self.transaction.body.valid_until_ms)
        except (TransactionFailedError, TransactionExpiredError) as error:
            return self._fail(error)
        return receipt is not None and self._succeed(receipt)

    def _refuse(self, error: DatacarError) -> bool:
        """Take a refusal. Once a node may have the transaction none is its end, but `expired`, which a committed block proves."""
        if self.may_be_sent and error.reason == "expired":
            return self._fail(TransactionExpiredError(self.id, self.transaction.body.valid_until_ms))
        if self.may_be_sent or may_have_arrived(error):
            self.may_be_sent = True
            return False
        return not isinstance(error, LimitError | UnavailableError) and self._fail(error)

    def give_up(self, cause: str) -> None:
        """End the wait without an outcome."""
        body = self.transaction.body
        self._fail(OutcomeUnknownError(self.id, self.transaction.raw, body.valid_until_ms, cause))

    def _succeed(self, receipt: Receipt) -> bool:
        if not self.outcome.done():
            self.outcome.set_result(receipt)
        return True

    def _fail(self, error: DatacarError) -> bool:
        if not self.outcome.done():
            self.outcome.set_exception(error)
        return True


class BatchSender:
    """Collects what is sent at the same time into batches.

    async with BatchSender(client) as sender:
        receipts = await asyncio.gather(*map(sender.send, transactions))
    """

    def __init__(self, client: AsyncClient, *, give_up_s: float = GIVE_UP_S) -> None:
        self._client = client
        self._give_up_s = give_up_s
        self._queue: asyncio.Queue[_Item] = asyncio.Queue()
        self._workers: list[asyncio.Task[None]] = []

    async def __aenter__(self) -> Self:
        self._workers = [asyncio.create_task(self._work()) for _ in range(BATCHES)]
        return self

    async def __aexit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        for worker in self._workers:
            worker.cancel()
        ends = await asyncio.gather(*self._workers, return_exceptions=True)
        if defect := next((end for end in ends if isinstance(end, Exception)), None):
            raise defect

    async def send(self, transaction: Transaction) -> Receipt:
        """Send a signed transaction and return its receipt when it is final and succeeded; raises like `AsyncClient.send`."""
        outcome: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        self._queue.put_nowait(_Item(transaction, outcome))
        return await outcome

    async def _work(self) -> None:
        while True:
            batch = [await self._queue.get()]
            while len(batch) < MAX_BATCH and not self._queue.empty():
                batch.append(self._queue.get_nowait())
            cause = "the sender was closed"
            try:
                cause = await self._deliver(batch)
            except DatacarError as error:
                cause = error.message
            finally:
                for item in batch:
                    item.give_up(cause)  # nobody waits for ever

    async def _deliver(self, batch: Sequence[_Item]) -> str:
        """Send until every transaction of the batch has its outcome, or time is up; then return why there is none."""
        deadline = time.monotonic() + self._give_up_s
        cause = f"no final answer within {self._give_up_s} s"
        while batch and time.monotonic() < deadline:
            try:
                batch = await self._ask(batch)
                if batch:
                    await self._client.wait(batch[-1].id, timeout_s=_WAIT_S)
            except (UnavailableError, LimitError) as error:
                cause = error.message
                if error.reason != "wait_timeout":
                    await asyncio.sleep(PAUSE_S)
        return cause

    async def _ask(self, batch: Sequence[_Item]) -> Sequence[_Item]:
        """Send a batch, once more or for the first time, and return what is not final yet."""
        try:
            answers = await self._client.call("tx_sendBatch", raws=["0x" + item.transaction.raw.hex() for item in batch])
        except DatacarError as error:
            if may_have_arrived(error) and error.reason != "rate_limited":  # which a batch, waiting for nothing, gets unread
                for item in batch:
                    item.may_be_sent = True
            raise
        if not isinstance(answers, list) or len(answers) != len(batch):
            raise BadAnswerError("tx_sendBatch must answer each transaction")
        return [item for item, answer in zip(batch, answers, strict=True) if not item.take(answer)]

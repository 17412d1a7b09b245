"""Wallets: they pay one another through any node, send the same bytes elsewhere when no answer comes, and remember answers."""

import asyncio
import random
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from ledger.codec import Value
from ledger.transaction import Transaction
from ledger.types import TxId
from node.api import TxState, TxStatus
from node.finality import WaitTimeoutError
from tests.sim.chain import ACCOUNT_SEEDS, START_MS
from tests.sim.host import Host

if TYPE_CHECKING:
    from tests.sim.world import World

WAIT_MS: Final = 1_500
RETRY_S: Final = 0.1
BURST: Final = 8


@dataclass(frozen=True, slots=True)
class Answer:
    """A final answer that an honest node gave to a wallet."""

    status: TxStatus
    host: str
    at_ms: int


class Clients:
    """All wallets of a run. `answers` holds what they were promised."""

    def __init__(self, world: "World", rng: random.Random) -> None:
        self._world = world
        self._rng = rng
        self.answers: dict[TxId, Answer] = {}
        self.nodes = list(world.hosts)
        self.submitted = 0
        self.refused = 0
        self._open: dict[asyncio.Task[None], None] = {}
        self._paying: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Return how many transactions have no final answer yet."""
        return len(self._open)

    def start(self, per_s: float) -> None:
        """Pay so many times a second."""
        self._paying = self._world.loop.create_task(self._pay_for_ever(per_s))

    def stop(self) -> None:
        """Start no more payments."""
        if self._paying is not None:
            self._paying.cancel()

    def abandon(self) -> None:
        """Forget what is under way: the run is over."""
        self.stop()
        for task in self._open:
            task.cancel()

    async def _pay_for_ever(self, per_s: float) -> None:
        while True:
            burst = self._rng.choice([1, 1, 1, 1, BURST])
            await asyncio.sleep(self._rng.expovariate(per_s / burst))
            for _ in range(burst):
                self.pay()

    def pay(self, sender: int | None = None, valid_ms: int | None = None) -> TxId:
        """Make one payment and follow it to its end; return its id."""
        transaction = self._payment(sender, valid_ms)
        self._submit(transaction)
        return transaction.id

    def submit_payment(self) -> asyncio.Task[None]:
        """Make one payment; return the task that ends when it is final."""
        return self._submit(self._payment(None, None))

    def _payment(self, sender: int | None, valid_ms: int | None) -> Transaction:
        rng = self._rng
        first, second = rng.sample(range(len(ACCOUNT_SEEDS)), 2)
        amount = rng.randint(1, 10**9)
        until_ms = self._valid_until_ms() if valid_ms is None else START_MS + self._world.loop.now_ms + valid_ms
        payer = first if sender is None else sender
        return self._world.network.transfer(payer, second, amount, until_ms, rng.randbytes(8))

    async def settle(self, account: int, contract: str, method: str, args: tuple[Value, ...]) -> TxStatus:
        """Call a contract and return the final answer."""
        salt = self._rng.randbytes(8)
        transaction = self._world.network.call(account, contract, method, args, self._valid_until_ms(), salt)
        await asyncio.wait([self._submit(transaction)])
        return self.answers[transaction.id].status

    def _valid_until_ms(self) -> int:
        return START_MS + self._world.loop.now_ms + self._rng.randint(4_000, 20_000)

    def _submit(self, transaction: Transaction) -> asyncio.Task[None]:
        self.submitted += 1
        task = self._world.loop.create_task(self._follow(transaction))
        self._open[task] = None
        task.add_done_callback(self._ended)
        return task

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._open.pop(task, None)
        if not task.cancelled() and (error := task.exception()) is not None:
            self._world.violated("clients", f"a wallet's task failed: {error!r}")

    async def _follow(self, transaction: Transaction) -> None:
        """Send until there is a final answer of an honest node."""
        while transaction.id not in self.answers:
            host = self._rng.choice(self.nodes)
            status = await self._ask(host, transaction)
            if status is not None and status.is_final and host.honest:
                self._remember(host, status)
            else:
                await asyncio.sleep(RETRY_S)

    async def _ask(self, host: Host, transaction: Transaction) -> TxStatus | None:
        """Return what a node says of a transaction, or None when it cannot be reached or will not take it."""
        service = host.service
        if service is None:
            return None
        try:
            (submission,) = await service.submit([transaction.raw])
            if submission.error is not None:
                self.refused += 1
                expired = submission.error.reason == "expired"
                return TxStatus(transaction.id, TxState.EXPIRED) if expired else None
            return await service.wait_final(transaction.id, WAIT_MS, transaction.body.valid_until_ms)
        except (WaitTimeoutError, OSError):
            return None

    def _remember(self, host: Host, status: TxStatus) -> None:
        answer = Answer(status, host.name, self._world.loop.now_ms)
        self._world.trace.note("wallet", f"told by {host.name} that {status.id[:4].hex()} {status.state} at h{status.height}")
        self.answers[status.id] = answer

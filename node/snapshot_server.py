"""Serves snapshots to members that sync: a little work at a time, so that consensus does not wait for it.

A snapshot is a pinned version of the state tree that stands beside the chain's later versions; nothing is copied to take one.
Whoever reads one has it pinned for a while longer.
"""

import asyncio
from collections import deque
from collections.abc import Iterator
from itertools import islice
from typing import Final

from ledger.errors import NotFoundError
from ledger.state_parts import Part, cut
from ledger.state_tree import StateTree
from ledger.types import Height, MemberId
from node.chain import Chain
from node.clock import Clock
from node.intake import Intake
from node.ports import Network
from node.pruning import Pruner
from node.tasks import Tasks
from p2p.messages import StateAnswer, StateRequest
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State, fit_handovers, fit_history

MAX_QUEUED: Final = 8  # of one member: an honest one waits for answers before it asks for more
STEPS_A_TURN: Final = 4
CACHE_BYTES: Final = 4 * 1024 * 1024  # of its own: reading a whole state must not push out the nodes that blocks need


class SnapshotServer:
    """Answers state requests in turn; `pruner` keeps the pinned versions that are being read."""

    def __init__(self, chain: Chain, intake: Intake, network: Network, tasks: Tasks, pruner: Pruner, clock: Clock) -> None:
        self._chain = chain
        self._intake = intake
        self._network = network
        self._tasks = tasks
        self._pruner = pruner
        self._clock = clock
        self._tree = StateTree(chain.genesis_hash, chain.store.raw, cache_bytes=CACHE_BYTES)
        self._queues: dict[MemberId, deque[StateRequest]] = {}
        self._task: asyncio.Task[None] | None = None

    @property
    def queued(self) -> int:
        """Return how many requests wait."""
        return sum(map(len, self._queues.values()))

    def on_request(self, member: MemberId, request: StateRequest) -> None:
        """Take a request; one that is too many is not answered."""
        queue = self._queues.setdefault(member, deque())
        if len(queue) < MAX_QUEUED:
            queue.append(request)
        if self._task is None or self._task.done():
            self._task = self._tasks.spawn(self._serve(), "snapshot server")

    async def _serve(self) -> None:
        """Answer one request of each member in turn until none waits."""
        while self._queues:
            member = next(iter(self._queues))
            queue = self._queues.pop(member)
            request = queue.popleft()
            if queue:
                self._queues[member] = queue
            self._network.send(member, await self._answer(member, request))

    async def _answer(self, member: MemberId, request: StateRequest) -> StateAnswer:
        match request:
            case GetState(height, path):
                part = await self._part(height, path) if self._is_leased(member, height) else None
                return State(height, path, part)
            case GetHistory():
                self._pruner.renew(member, self._clock())
                async with self._intake.turn():
                    return self._history(request)
            case GetSnapshot():
                async with self._intake.turn():
                    return self._snapshot(member, request)

    def _is_leased(self, member: MemberId, height: Height) -> bool:
        return self._pruner.lease(member, height, self._clock())

    async def _part(self, height: Height, path: bytes) -> Part | None:
        """Return a part of a pinned version, or None; the event loop goes round while it is put together."""
        try:
            steps = cut(self._tree, self._chain.version(height).root, path)
            while True:
                async with self._intake.turn():
                    done = list(islice(steps, STEPS_A_TURN))
                if not done or done[-1] is not None:
                    return done[-1] if done else None
        except NotFoundError:
            return None

    def _history(self, request: GetHistory) -> History:
        return fit_history(request.from_height, self._blocks(request))

    def _blocks(self, request: GetHistory) -> Iterator[tuple[bytes, bytes]]:
        store = self._chain.store
        for height in map(Height, range(request.from_height, max(0, request.from_height - request.count), -1)):
            certificate, receipts = store.certificate_bytes(height), store.receipts_bytes(height)
            if certificate is None or receipts is None or height > self._chain.tip.height:
                return
            yield certificate, receipts

    def _snapshot(self, member: MemberId, request: GetSnapshot) -> Snapshot:
        store = self._chain.store
        certificate = store.certificate_bytes(request.height) if self._is_leased(member, request.height) else None
        if certificate is None:
            return Snapshot(request.height, b"")
        handovers = fit_handovers(store.handover_bytes(request.from_height, request.height))
        return Snapshot(request.height, certificate, handovers)

"""The proposals of the height that is worked on: built as primary, executed as backup, forgotten when the height is over."""

import asyncio
from collections.abc import Callable

import structlog

from consensus.effects import BuildBlock, Candidate, Effects, Proposal
from consensus.replica import Replica
from ledger.block import Header
from ledger.committee import Committee
from ledger.errors import DatacarError
from ledger.transaction import Transaction
from ledger.types import BlockHash, MemberId
from node.bodies import BodyCollector
from node.chain import Chain, ExecutedBlock
from node.clock import Clock
from node.intake import Intake
from node.ports import Network
from node.tasks import Tasks
from node.work import Work

log = structlog.get_logger("consensus")


class Proposals:
    """What may become the next block of one chain. `post` queues what the replica is to be told of it."""

    def __init__(
        self,
        chain: Chain,
        replica: Replica,
        intake: Intake,
        network: Network,
        work: Work,
        tasks: Tasks,
        clock: Clock,
        post: Callable[[Callable[[], Effects]], None],
    ) -> None:
        self.executed: dict[BlockHash, ExecutedBlock] = {}
        self.bodies = BodyCollector(intake, network, replica.config.me, clock)
        self._chain = chain
        self._replica = replica
        self._intake = intake
        self._work = work
        self._tasks = tasks
        self._clock = clock
        self._post = post
        self._executions: dict[BlockHash, asyncio.Task[None]] = {}

    def build(self, request: BuildBlock) -> None:
        """Build and execute a block; None is the answer when there is nothing to put into one and no need for an empty one."""
        now, me, mempool = self._clock(), self._replica.config.me, self._intake.mempool
        is_due = self._chain.is_due(now) or self._work.heartbeat_due(now)
        mempool.unpin()
        executed, refused = self._chain.build(mempool.candidates(), request.max_transactions, request.view, me, now)
        mempool.defer(transaction.tx_hash for transaction in refused)
        candidate: Candidate | None = None
        if executed.transactions or request.allow_empty or is_due or mempool.has_expired(now):
            self.executed[executed.block_hash] = executed
            tx_hashes = tuple(transaction.tx_hash for transaction in executed.transactions)
            mempool.pin(tx_hashes)
            candidate = Candidate(Proposal(executed.block_hash, executed.header, tx_hashes), executed.following)
        else:
            self._work.look_again()
        self._post(lambda: self._replica.on_candidate(candidate, self._clock()))

    def execute(self, proposal: Proposal) -> None:
        """Find out whether a proposal is valid, unless that is under way."""
        if proposal.block_hash not in self._executions:
            task = self._tasks.spawn(self._collect_and_execute(proposal), "execution")
            self._executions[proposal.block_hash] = task
            task.add_done_callback(lambda _: self._executions.pop(proposal.block_hash, None))

    async def _collect_and_execute(self, proposal: Proposal) -> None:
        """Get the bodies, execute on the tip, and say whether the proposal is valid; given up when its height is over."""
        following, began_ms = None, self._clock()
        try:
            transactions = await self.bodies.collect(proposal)
            if proposal.header.height != self._chain.tip.height + 1:
                return
            began_ms = self._clock()
            following = self._execute_now(proposal, transactions)
        except DatacarError as error:
            log.warning("invalid proposal", height=proposal.header.height, proposer=proposal.header.proposer, error=error.message)
        now, took_ms = self._clock(), max(0, self._clock() - began_ms)
        self._post(lambda: self._replica.on_executed(proposal.block_hash, following, took_ms, now))

    def _execute_now(self, proposal: Proposal, transactions: tuple[Transaction, ...]) -> Committee:
        """Execute a proposal and return the committee after it. Raises `InvalidBlockError`."""
        executed = self._chain.execute(proposal.header, transactions)
        self.executed[proposal.block_hash] = executed
        self._intake.mempool.pin(proposal.tx_hashes)
        return executed.following

    def find(self, header: Header, block_hash: BlockHash, holders: tuple[MemberId, ...]) -> None:
        """Find a prepared block in our own store, else at members that prepared it."""
        block = self._chain.store.pending(block_hash)
        if block is None:
            self.bodies.want_block(header, block_hash, holders)
        elif block.header.height == header.height:
            tx_hashes = tuple(self._intake.hash_of(raw) for raw in block.transactions)
            for tx_hash, raw in zip(tx_hashes, block.transactions, strict=True):
                self._intake.take_wanted(tx_hash, raw)
            proposal = Proposal(block_hash, block.header, tx_hashes)
            self._post(lambda: self._replica.on_bodies(proposal, self._clock()))

    def forget(self) -> None:
        """Give up everything: the height is over."""
        self.executed.clear()
        for task in self._executions.values():
            if task is not asyncio.current_task():
                task.cancel()
        self.bodies.reset()

"""Catching up: fetches committed blocks with their certificates from other members and checks every one of them (rule 12).

Tips that others state are hints. A block counts only if its certificate is a quorum of its committee and executing it here gives
the roots in its header. A peer that lies, stalls or has nothing is passed over.
"""

import asyncio
from collections import deque
from collections.abc import Container
from typing import Final, Protocol

import structlog

from ledger.block import Block
from ledger.certificate import QuorumCertificate
from ledger.codec import MAX_BYTES, decode, fields
from ledger.committee import MAX_MEMBERS
from ledger.errors import DatacarError
from ledger.list_root import list_root
from ledger.transaction import Transaction
from ledger.types import Height, MemberId
from node.bodies import CHUNK
from node.chain import Chain, ExecutedBlock, InvalidBlockError
from node.intake import Intake
from node.ports import Network
from node.state_sync import Adopter, StateSync
from node.tasks import Tasks
from p2p.messages import BLOCKS_TARGET_BYTES, NO_HASH, Blocks, GetBlocks, Status

BATCH: Final = 100
TIMEOUT_S: Final = 3.0
SNAPSHOT_DISTANCE: Final = 1_000

log = structlog.get_logger("sync")


class Committer(Adopter, Protocol):
    """What a synced block, or a state, is handed to."""

    def commit_synced(self, executed: ExecutedBlock, certificate: QuorumCertificate) -> None:
        """Commit a certified block on the tip."""

    def diverged(self, height: Height, reason: str) -> None:
        """Stop: a certified block executes differently here."""


class BlockSync:
    """One catch-up at a time, from a snapshot first where that is the shorter way; `tips` are the heights that peers stated."""

    def __init__(
        self,
        chain: Chain,
        intake: Intake,
        network: Network,
        committer: Committer,
        tasks: Tasks,
        snapshot_distance: int = SNAPSHOT_DISTANCE,
    ) -> None:
        self._chain = chain
        self._intake = intake
        self._network = network
        self._committer = committer
        self._tasks = tasks
        self._asked: deque[MemberId] = deque(maxlen=MAX_MEMBERS)
        self._task: asyncio.Task[None] | None = None
        self._sent: asyncio.Task[None] | None = None
        self._reply: tuple[MemberId, asyncio.Future[Blocks]] | None = None
        self.state_sync = StateSync(chain, network, committer, tasks, snapshot_distance)
        self._bodies_from: dict[MemberId, Height] = {}
        self.tips: dict[MemberId, Height] = {}

    @property
    def running(self) -> bool:
        """Return whether a catch-up is under way."""
        return self._task is not None and not self._task.done()

    @property
    def target(self) -> Height:
        """Return the (f+1)-th highest stated tip: some honest member is there. One member alone may say anything."""
        stated, faults = self._stated, self._chain.committee.faults
        return stated[faults] if len(stated) > faults else Height(0)

    @property
    def _stated(self) -> list[Height]:
        """Return the tips of members that vote, the highest first."""
        return sorted((self.tips[member.id] for member in self._chain.committee.members if member.id in self.tips), reverse=True)

    @property
    def _is_behind(self) -> bool:
        """Return whether there is anything to catch up with: by the word of f + 1, or of whoever there is where fewer speak."""
        stated, faults = self._stated or sorted(self.tips.values(), reverse=True), self._chain.committee.faults
        return bool(stated) and stated[min(faults, len(stated) - 1)] > self._chain.tip.height

    def heard(self, member: MemberId, status: Status) -> None:
        """Take what a member says it has."""
        self.tips[member] = status.height
        if status.block_hash != NO_HASH:  # else it is of a handshake, which tells of no more than a height
            self._bodies_from[member] = status.bodies_from
            self.state_sync.heard(member, status)

    def keep_only(self, members: Container[MemberId]) -> None:
        """Forget what those said who are no members any more."""
        for said in (self.tips, self._bodies_from):
            for member_id in [member_id for member_id in said if member_id not in members]:
                del said[member_id]
        self.state_sync.keep_only(members)

    def request(self, hint: MemberId) -> None:
        """Start catching up, from `hint` first, unless that is under way already."""
        if not self.running:
            self._task = self._tasks.spawn(self._run(hint), "block sync")

    def on_blocks(self, member: MemberId, message: Blocks) -> None:
        """Take blocks: the answer that is waited for, or the next block sent by a member that saw us lagging."""
        if self._reply is not None and self._reply[0] == member and not self._reply[1].done():
            self._reply[1].set_result(message)
        elif message.items and not self.state_sync.running and (self._sent is None or self._sent.done()):
            self._sent = self._tasks.spawn(self._apply_sent(member, message), "sent blocks")

    async def _run(self, hint: MemberId) -> None:
        start = self._chain.tip.height
        passed_over: set[MemberId] = set()
        while True:
            holders = [member for member in self.tips if self._has_next(member) and member not in passed_over]
            snapshot = self.state_sync.target(blocks_can_be_had=bool(holders)) if self._is_behind else None
            if snapshot is not None:
                await self.state_sync.run(snapshot)
            elif not holders:
                break
            elif not await self._fetch_from(source := self._choose(holders, hint)):
                passed_over.add(source)
        if (done := self._chain.tip.height - start) > 1:
            log.info("caught up", blocks=done, height=self._chain.tip.height)

    def _has_next(self, member: MemberId) -> bool:
        """Return whether a member has the next block, as far as it said."""
        next_height = self._chain.tip.height + 1
        return self.tips[member] >= next_height >= self._bodies_from.get(member, 0)

    def _choose(self, holders: list[MemberId], hint: MemberId) -> MemberId:
        """Return the member that was asked the longest ago, the hint first, observers last: nobody slow is first."""
        last = {member: place for place, member in enumerate(self._asked)}
        votes = self._chain.committee.index_of
        source = min(holders, key=lambda item: (item not in votes, last.get(item, -1), item != hint, item))
        self._asked.append(source)
        return source

    async def _fetch_from(self, source: MemberId) -> bool:
        """Fetch and apply one batch; return whether the source gave all that it said it had, or as much as fits an answer.

        What brings the chain no further is nothing, however much it is.
        """
        height = self._chain.tip.height
        promised = min(BATCH, self.tips.get(source, height) - height)
        future: asyncio.Future[Blocks] = asyncio.get_running_loop().create_future()
        self._reply = (source, future)
        try:
            if not self._network.send(source, GetBlocks(Height(height + 1), BATCH)):
                return False
            message = await asyncio.wait_for(future, TIMEOUT_S)
        except TimeoutError:
            log.warning("no blocks came", member=source, waited_s=TIMEOUT_S)
            self.tips.pop(source, None)  # until it says so again
            return False
        finally:
            self._reply = None
        full = len(message.items) >= promised or sum(map(len, message.items)) >= BLOCKS_TARGET_BYTES // 2
        if not message.items:
            self.tips.pop(source, None)  # it does not have what it said
        good = await self._apply_all(source, message)
        if self._chain.tip.height + BATCH < self.target:
            log.info("catching up", height=self._chain.tip.height, target=self.target)
        return good and full and self._chain.tip.height > height

    async def _apply_sent(self, source: MemberId, message: Blocks) -> None:
        await self._apply_all(source, message)

    async def _apply_all(self, source: MemberId, message: Blocks) -> bool:
        """Apply blocks in order; return whether all were as they should be."""
        for item in message.items:
            try:
                await self._apply(item)
            except DatacarError as error:
                log.warning("refused a block", member=source, error=error.message, details=error.details)
                return False
        return True

    async def _apply(self, item: bytes) -> None:
        """Check and commit one block, or do nothing when it is not the next one (any more)."""
        block_value, certificate_value = fields(decode(item, max_bytes=MAX_BYTES), 2, "certified block")
        block, certificate = Block.from_value(block_value), QuorumCertificate.from_value(certificate_value)
        if block.header.height != self._chain.tip.height + 1:
            return
        if certificate.header != block.header:
            raise InvalidBlockError("the certificate is of another header", height=block.header.height)
        genesis_hash = self._chain.genesis_hash
        certificate.check(genesis_hash, self._chain.committee)
        # The header is the quorum's word, the bodies are the sender's: they must be the header's before anything is made of them.
        if list_root(genesis_hash, [self._intake.hash_of(raw) for raw in block.transactions]) != block.header.transactions_root:
            raise InvalidBlockError("the bodies are not those of the certified header", height=block.header.height)
        transactions = await self._decode(block)
        if block.header.height != self._chain.tip.height + 1:
            return
        try:
            executed = self._chain.execute(block.header, transactions)
        except InvalidBlockError as error:
            self._committer.diverged(block.header.height, f"a certified block executes differently here: {error.message}")
            raise
        self._committer.commit_synced(executed, certificate)

    async def _decode(self, block: Block) -> tuple[Transaction, ...]:
        """Return the verified transactions; a quorum verified them too, but money is taken on nobody's word."""
        transactions = []
        for index, raw in enumerate(block.transactions):
            transaction = self._intake.find(self._intake.hash_of(raw))
            if transaction is None:
                transaction = self._intake.decode(raw)
                transaction.check_signatures()
            transactions.append(transaction)
            if index % CHUNK == CHUNK - 1:
                await asyncio.sleep(0)
        return tuple(transactions)

"""Gets the transactions of a proposal: from the pool, from gossip not yet verified, or from members that hold them."""

import asyncio
from collections.abc import Sequence
from typing import Final

from consensus.effects import Proposal
from ledger.block import Header
from ledger.list_root import list_root
from ledger.transaction import Transaction
from ledger.types import BlockHash, MemberId, TxHash
from node.intake import Intake
from p2p.messages import Bodies, GetBodies
from p2p.transport import Transport

GRACE_S: Final = 0.01  # gossip that is on its way costs nothing; asking for it again does
RETRY_S: Final = 0.2
CHUNK: Final = 32


class BodyCollector:
    """Collects bodies for the proposals of one height at a time. Waits end with the height (`reset`)."""

    def __init__(self, intake: Intake, transport: Transport, me: MemberId) -> None:
        self._intake = intake
        self._transport = transport
        self._me = me
        self._arrived = asyncio.Event()
        self._wanted: dict[BlockHash, Header] = {}

    def reset(self) -> None:
        """Forget what past heights needed."""
        self._wanted.clear()
        self._intake.forget_extra()

    async def collect(self, proposal: Proposal) -> tuple[Transaction, ...]:
        """Return the proposal's transactions, verified. Raises a `DatacarError` when one of them is bad in itself.

        Waits as long as it takes: the view's timer, not this, decides when to give up; the caller cancels.
        """
        holders = self._holders(proposal.header.proposer)
        wait_s = GRACE_S
        attempt = 0
        while missing := await self._verify_held(proposal.tx_hashes):
            self._arrived.clear()
            try:
                await asyncio.wait_for(self._arrived.wait(), wait_s)
            except TimeoutError:
                holder = holders[attempt % len(holders)]
                self._transport.send(holder, GetBodies(proposal.block_hash, tuple(missing)))
                attempt += 1
                wait_s = RETRY_S
        return tuple(found for tx_hash in proposal.tx_hashes if (found := self._intake.find(tx_hash)) is not None)

    def want_block(self, header: Header, block_hash: BlockHash, holders: Sequence[MemberId]) -> None:
        """Ask `holders` for all bodies of a prepared block of which only the header is known here."""
        self._wanted[block_hash] = header
        for holder in holders:
            if holder != self._me:
                self._transport.send(holder, GetBodies(block_hash, ()))

    def on_bodies(self, message: Bodies) -> Proposal | None:
        """Take bodies that arrived; return the proposal when they complete a block that was asked for as a whole."""
        self._intake.offer(message.raws)
        self._arrived.set()
        header = self._wanted.get(message.block_hash)
        if header is None:
            return None
        genesis_hash = self._intake.chain.genesis_hash
        tx_hashes = tuple(self._intake.hash_of(raw) for raw in message.raws)
        if list_root(genesis_hash, tx_hashes) != header.transactions_root:
            return None
        del self._wanted[message.block_hash]
        return Proposal(message.block_hash, header, tx_hashes)

    def on_gossip(self) -> None:
        """Look again: new transactions came."""
        self._arrived.set()

    async def _verify_held(self, tx_hashes: Sequence[TxHash]) -> list[TxHash]:
        """Verify what is here of a proposal, in chunks, and return what is not."""
        missing, verified = [], 0
        for tx_hash in tx_hashes:
            if self._intake.find(tx_hash) is not None:
                continue
            if self._intake.has_unverified(tx_hash):
                self._intake.verify_now(tx_hash)
                verified += 1
                if verified % CHUNK == 0:
                    await asyncio.sleep(0)
            else:
                missing.append(tx_hash)
        return missing

    def _holders(self, proposer: MemberId) -> list[MemberId]:
        others = [member.id for member in self._intake.chain.committee.members if member.id not in (self._me, proposer)]
        return [proposer, *others] if proposer != self._me else others or [proposer]

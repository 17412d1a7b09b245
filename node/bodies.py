"""Gets the transactions of a proposal: from the pool, from gossip not yet verified, or from members that hold them."""

import asyncio
import contextlib
from collections.abc import Iterable, Sequence
from typing import Final

from consensus.effects import Proposal
from ledger.block import Header
from ledger.list_root import list_root
from ledger.transaction import Transaction
from ledger.types import BlockHash, MemberId, TxHash
from node.chain import InvalidBlockError
from node.clock import Clock
from node.intake import Intake
from node.ports import Network
from p2p.messages import Bodies, GetBodies

GRACE_S: Final = 0.01  # gossip that is on its way costs nothing; asking for it again does
RETRY_S: Final = 0.2
CHUNK: Final = 32


class BodyCollector:
    """Collects bodies for the proposals of one height at a time. Waits end with the height (`reset`)."""

    def __init__(self, intake: Intake, network: Network, me: MemberId, clock: Clock) -> None:
        self._intake = intake
        self._clock = clock
        self._network = network
        self._me = me
        self._arrived = asyncio.Event()
        self._wanted: dict[BlockHash, Header] = {}
        self._missing: dict[BlockHash, frozenset[TxHash]] = {}

    def reset(self) -> None:
        """Forget what past heights needed."""
        self._wanted.clear()
        self._missing.clear()
        self._intake.forget_extra()

    async def collect(self, proposal: Proposal) -> tuple[Transaction, ...]:
        """Return the proposal's transactions, verified. Raises a `DatacarError` when one of them is bad in itself.

        Waits as long as it takes: the view's timer, not this, decides when to give up; the caller cancels.
        """
        loop = asyncio.get_running_loop()
        holders, asked = self._holders(proposal.header.proposer), 0
        ask_at = loop.time() + GRACE_S
        while missing := await self._verify_held(proposal.tx_hashes):
            self._check_size(proposal)
            self._missing[proposal.block_hash] = frozenset(missing)
            self._arrived.clear()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._arrived.wait(), max(0.0, ask_at - loop.time()))
            if loop.time() >= ask_at:
                self._network.send(holders[asked % len(holders)], GetBodies(proposal.block_hash, tuple(missing)))
                asked += 1
                ask_at = loop.time() + RETRY_S
        self._missing.pop(proposal.block_hash, None)
        return tuple(found for tx_hash in proposal.tx_hashes if (found := self._intake.find(tx_hash)) is not None)

    def _check_size(self, proposal: Proposal) -> None:
        """Raise `InvalidBlockError` as soon as what is here of a proposal is more than a block may hold."""
        limit = self._intake.chain.parameters.block_max_bytes
        held = (self._intake.find(tx_hash) for tx_hash in proposal.tx_hashes)
        if (size := sum(len(transaction.raw) for transaction in held if transaction is not None)) > limit:
            raise InvalidBlockError("the block is over its limits", limit=limit, size_bytes=size)

    def want_block(self, header: Header, block_hash: BlockHash, holders: Sequence[MemberId]) -> None:
        """Ask `holders` for all bodies of a prepared block of which only the header is known here."""
        self._wanted[block_hash] = header
        for holder in holders:
            if holder != self._me:
                self._network.send(holder, GetBodies(block_hash, ()))

    def on_bodies(self, message: Bodies) -> Proposal | None:
        """Take bodies that arrived; return the proposal when they complete a block that was asked for as a whole."""
        if message.block_hash not in self._wanted and message.block_hash not in self._missing:
            return None
        tx_hashes = tuple(self._intake.hash_of(raw) for raw in message.raws)
        header = self._wanted.get(message.block_hash)
        whole = header is not None and list_root(self._intake.chain.genesis_hash, tx_hashes) == header.transactions_root
        for tx_hash, raw in zip(tx_hashes, message.raws, strict=True):
            if whole or self._lacks(tx_hash):
                self._intake.take_wanted(tx_hash, raw)
        self.on_gossip(tx_hashes)
        if header is None or not whole:
            return None
        del self._wanted[message.block_hash]
        return Proposal(message.block_hash, header, tx_hashes)

    def on_gossip(self, tx_hashes: Iterable[TxHash]) -> None:
        """Look again if something came that a proposal lacks."""
        if self._missing and any(map(self._lacks, tx_hashes)):
            self._arrived.set()

    def _lacks(self, tx_hash: TxHash) -> bool:
        """Return whether a proposal of this height waits for the transaction."""
        return any(tx_hash in missing for missing in self._missing.values())

    async def _verify_held(self, tx_hashes: Sequence[TxHash]) -> list[TxHash]:
        """Verify what is here of a proposal, in chunks, and return what is not."""
        missing, verified = [], 0
        for tx_hash in tx_hashes:
            if self._intake.find(tx_hash) is not None:
                continue
            if self._intake.has_unverified(tx_hash):
                self._intake.verify_now(tx_hash, self._clock())
                verified += 1
                if verified % CHUNK == 0:
                    await asyncio.sleep(0)
            else:
                missing.append(tx_hash)
        return missing

    def _holders(self, proposer: MemberId) -> list[MemberId]:
        others = [member.id for member in self._intake.chain.committee.members if member.id not in (self._me, proposer)]
        return [proposer, *others] if proposer != self._me else others or [proposer]

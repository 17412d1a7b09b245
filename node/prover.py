"""Makes proofs: what the chain holds, put together so that anyone can check it without this node (`ledger.proof`).

The hashed lists of recently proven blocks are kept, because wallets ask for the receipts of new blocks one by one. Hashing those
of a full block takes some ten milliseconds: whoever waits for them takes the next steps in a turn, so that many who ask for one
block share the work, and consensus messages wait for one turn at most.
"""

import time
from bisect import bisect_left
from collections import OrderedDict
from collections.abc import Callable, Generator, Sequence
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Final, TypeAlias

from genesis.block import GenesisBlock
from ledger.block import Receipt
from ledger.certificate import QuorumCertificate
from ledger.claims import Claim, ReceiptClaim
from ledger.codec import decode, encode
from ledger.committee import Committee
from ledger.committee_chain import Handover
from ledger.errors import NotFoundError
from ledger.hashing import Hasher, Tag
from ledger.list_root import HASHES_A_STEP, ListTree
from ledger.proof import Proof
from ledger.types import Height, TxId
from node.chain import Chain
from node.lists import receipt_items
from node.missing import pruned

KEPT_BLOCKS: Final = 16
TURN_S: Final = 0.002

Turn: TypeAlias = Callable[[], AbstractAsyncContextManager[None]]


@dataclass(frozen=True, slots=True)
class _Lists:
    """A block's transactions and receipts in canonical bytes with the trees over them."""

    raws: tuple[bytes, ...]
    receipts: tuple[bytes, ...]
    transaction_tree: ListTree
    receipt_tree: ListTree

    def claim(self, index: int) -> ReceiptClaim:
        places = (self.transaction_tree.prove(index), self.receipt_tree.prove(index))
        return ReceiptClaim(self.raws[index], Receipt.from_value(decode(self.receipts[index])), *places)


class _Hashing:
    """A block's lists while they are being hashed: `lists` is there when all steps are taken, whoever took them."""

    def __init__(self, steps: Generator[None, None, _Lists]) -> None:
        self._steps = steps
        self.lists: _Lists | None = None

    def work(self) -> None:
        """Take steps for `TURN_S`."""
        end = time.monotonic() + TURN_S
        while self.lists is None:
            try:
                next(self._steps)
            except StopIteration as done:
                self.lists = done.value
            if time.monotonic() >= end:
                return


class Prover:
    """Proofs of what is committed, and the committees that certified it. Long work is done in `turn`s (`Intake.turn`)."""

    def __init__(self, genesis: GenesisBlock, chain: Chain, turn: Turn) -> None:
        self._genesis = genesis
        self._genesis_bytes = encode(genesis.spec.to_value())
        self._chain = chain
        self._turn = turn
        self._handovers: tuple[int, tuple[Handover, ...]] | None = None
        self._hashed: OrderedDict[Height, _Hashing] = OrderedDict()

    async def receipt(self, tx_id: TxId, trusted: Height | None = None) -> Proof | None:
        """Return the proof of a transaction's receipt, None when it is not in a block. Raises `NotFoundError` `pruned`."""
        place = self._chain.committed_at(tx_id)
        if place is None:
            return None
        height, index = place
        hashing = self._hashed.get(height)
        if hashing is None:
            async with self._turn():
                hashing = self._hashing(height)
        while hashing.lists is None:
            async with self._turn():
                hashing.work()
        return self.prove(height, hashing.lists.claim(index), trusted)

    def prove(self, height: Height, claim: Claim, trusted: Height | None = None) -> Proof:
        """Return the proof of a claim about a block: from genesis, or short for those who trust the block of height `trusted`.

        Raises `NotFoundError`: no such block yet, or `pruned`.
        """
        block0 = self._genesis.header if height == 0 else None
        certificate = self._certificate(max(height, Height(1)))
        if trusted is None:
            return Proof(self._genesis_bytes, self.handovers(Height(0), height), certificate, block0, claim)
        return Proof(None, self.handovers(trusted, height), certificate, block0, claim)

    def handovers(self, start: Height, stop: Height) -> tuple[Handover, ...]:
        """Return the changes of the committee in the blocks from `start` on and below `stop`."""
        epoch = self._chain.committee.epoch
        if self._handovers is None or self._handovers[0] != epoch:
            self._handovers = epoch, self._chain.store.handovers(Height(self._chain.tip.height + 1))
        steps = self._handovers[1]
        first, end = (bisect_left(steps, height, key=_height_of) for height in (start, stop))
        return steps[first:end]

    def committee(self, height: Height) -> Committee:
        """Return the committee that certifies a block; of later ones than the first only ids and keys are known."""
        below = self.handovers(Height(0), height)
        return below[-1].following if below else self._genesis.spec.committee

    def _certificate(self, height: Height) -> QuorumCertificate:
        certificate = self._chain.store.certificate(height)
        if certificate is not None and height <= self._chain.tip.height:
            return certificate
        oldest, tip = self._chain.store.held.headers_from, self._chain.tip.height
        if height < oldest:
            raise pruned(f"the certificate of block {height}", oldest, height=height)
        hint = "ask again after the next block"
        raise NotFoundError(
            "not_found", f"block {height}, which proves this, is not there yet", hint=hint, height=height, tip=tip
        )

    def _hashing(self, height: Height) -> _Hashing:
        found = self._hashed.get(height)
        if found is None:
            found = self._hashed[height] = _Hashing(self._read_lists(height))
            while len(self._hashed) > KEPT_BLOCKS:
                self._hashed.popitem(last=False)
        return found

    def _read_lists(self, height: Height) -> Generator[None, None, _Lists]:
        """Return the steps of hashing a block's lists. Raises `NotFoundError` `pruned`."""
        store = self._chain.store
        block, record = store.block(height), store.receipts_bytes(height)
        if block is None or record is None:
            raise pruned(f"the body of block {height}", max(store.held.bodies_from, store.held.receipts_from), height=height)
        receipts = receipt_items(record)  # decoding a large block's receipts takes ten times as long as all the rest here
        return _hash_lists(self._chain.genesis_hash, block.transactions, receipts)


def _hash_lists(genesis_hash: bytes, raws: tuple[bytes, ...], receipts: tuple[bytes, ...]) -> Generator[None, None, _Lists]:
    transaction_tree = yield from _hash_list(genesis_hash, Tag.TRANSACTION_RAW, raws)
    receipt_tree = yield from _hash_list(genesis_hash, Tag.RECEIPT, receipts)
    return _Lists(raws, receipts, transaction_tree, receipt_tree)


def _hash_list(genesis_hash: bytes, tag: Tag, items: Sequence[bytes]) -> Generator[None, None, ListTree]:
    hash_item, digests = Hasher(tag, genesis_hash), list[bytes]()
    for at in range(0, len(items), HASHES_A_STEP):
        digests += map(hash_item, items[at : at + HASHES_A_STEP])
        yield
    return (yield from ListTree.in_steps(genesis_hash, digests))


def _height_of(step: Handover) -> Height:
    return step.certificate.header.height

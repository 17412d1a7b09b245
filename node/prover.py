"""Makes proofs: what the chain holds, put together so that anyone can check it without this node (`ledger.proof`).

The hashed lists of recently proven blocks are kept, because wallets ask for the receipts of new blocks one by one.
"""

from bisect import bisect_left
from collections import OrderedDict
from dataclasses import dataclass
from typing import Final

from genesis.block import GenesisBlock
from ledger.block import Receipt
from ledger.certificate import QuorumCertificate
from ledger.claims import Claim, ReceiptClaim
from ledger.codec import decode, encode
from ledger.committee import Committee
from ledger.committee_chain import Handover
from ledger.errors import NotFoundError
from ledger.hashing import Hasher, Tag
from ledger.list_root import ListTree
from ledger.proof import Proof
from ledger.types import Height, TxId
from node.chain import Chain
from node.lists import receipt_items
from node.missing import pruned

KEPT_BLOCKS: Final = 16


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


class Prover:
    """Proofs of what is committed, and the committees that certified it."""

    def __init__(self, genesis: GenesisBlock, chain: Chain) -> None:
        self._genesis = genesis
        self._genesis_bytes = encode(genesis.spec.to_value())
        self._chain = chain
        self._handovers: tuple[int, tuple[Handover, ...]] | None = None
        self._lists: OrderedDict[Height, _Lists] = OrderedDict()

    def receipt(self, tx_id: TxId, trusted: Height | None = None) -> Proof | None:
        """Return the proof of a transaction's receipt, None when it is not in a block. Raises `NotFoundError` `pruned`."""
        place = self._chain.committed_at(tx_id)
        if place is None:
            return None
        height, index = place
        return self.prove(height, self._lists_of(height).claim(index), trusted)

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

    def _lists_of(self, height: Height) -> _Lists:
        found = self._lists.get(height)
        if found is None:
            found = self._lists[height] = self._read_lists(height)
            while len(self._lists) > KEPT_BLOCKS:
                self._lists.popitem(last=False)
        return found

    def _read_lists(self, height: Height) -> _Lists:
        store, genesis_hash = self._chain.store, self._chain.genesis_hash
        block, record = store.block(height), store.receipts_bytes(height)
        if block is None or record is None:
            raise pruned(f"the body of block {height}", max(store.held.bodies_from, store.held.receipts_from), height=height)
        hash_raw, hash_receipt = Hasher(Tag.TRANSACTION_RAW, genesis_hash), Hasher(Tag.RECEIPT, genesis_hash)
        receipts = receipt_items(record)  # decoding a large block's receipts takes ten times as long as all the rest here
        return _Lists(
            block.transactions,
            receipts,
            ListTree(genesis_hash, [hash_raw(raw) for raw in block.transactions]),
            ListTree(genesis_hash, [hash_receipt(receipt) for receipt in receipts]),
        )


def _height_of(step: Handover) -> Height:
    return step.certificate.header.height

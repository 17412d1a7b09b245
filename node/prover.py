"""Makes receipt proofs; the digests of recently proven blocks are kept, because wallets ask for the receipts of new blocks."""

import itertools
from collections import OrderedDict
from typing import Final

from genesis.spec import GenesisSpec
from ledger.codec import encode
from ledger.committee_chain import Handover
from ledger.list_root import prove_item
from ledger.receipt_proof import ReceiptProof
from ledger.types import Height, TxId
from node.chain import Chain
from node.finality import Finality

KEPT_BLOCKS: Final = 16


class ReceiptProver:
    """Proofs of committed receipts."""

    def __init__(self, spec: GenesisSpec, chain: Chain, finality: Finality) -> None:
        self._genesis = encode(spec.to_value())
        self._chain = chain
        self._finality = finality
        self._handovers: tuple[int, tuple[Handover, ...]] | None = None
        self._digests: OrderedDict[Height, list[bytes]] = OrderedDict()

    def prove(self, tx_id: TxId) -> ReceiptProof | None:
        """Return the proof of a transaction's receipt, or None when it is not in a block."""
        place = self._chain.committed_at(tx_id)
        certificate = None if place is None else self._chain.store.certificate(place[0])
        if place is None or certificate is None:
            return None
        height, index = place
        proof = prove_item(self._chain.genesis_hash, self._digests_of(height), index)
        return ReceiptProof(
            self._genesis, self._handovers_below(height), certificate, self._finality.receipts(height)[index], proof
        )

    def _handovers_below(self, height: Height) -> tuple[Handover, ...]:
        """Return the changes of the committee before a block; they are read again only when there is a new one."""
        epoch = self._chain.committee.epoch
        if self._handovers is None or self._handovers[0] != epoch:
            self._handovers = epoch, self._chain.store.handovers(Height(self._chain.tip.height + 1))
        return tuple(itertools.takewhile(lambda item: item.certificate.header.height < height, self._handovers[1]))

    def _digests_of(self, height: Height) -> list[bytes]:
        digests = self._digests.get(height)
        if digests is None:
            genesis_hash = self._chain.genesis_hash
            digests = self._digests[height] = [receipt.hash(genesis_hash) for receipt in self._finality.receipts(height)]
            while len(self._digests) > KEPT_BLOCKS:
                self._digests.popitem(last=False)
        return digests

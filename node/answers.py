"""What members ask of one another's chains: certified blocks, and the bodies of proposals."""

from collections.abc import Mapping
from typing import Final

from ledger.block import MAX_BLOCK_BYTES
from ledger.types import BlockHash, Height
from node.chain import Chain, ExecutedBlock
from node.intake import Intake
from p2p.messages import Blocks, Bodies, GetBlocks, GetBodies, fit_blocks

MAX_BODIES_BYTES: Final = MAX_BLOCK_BYTES + 64 * 1024  # a whole block; who misses more asks again


class Answers:
    """Answers from the store and from what was executed at this height (`executed`, by block hash)."""

    def __init__(self, chain: Chain, intake: Intake, executed: Mapping[BlockHash, ExecutedBlock]) -> None:
        self._chain = chain
        self._intake = intake
        self._executed = executed

    def blocks(self, request: GetBlocks) -> Blocks:
        """Return what is here of the blocks asked for, as many as fit an answer."""
        items = (self.certified(Height(request.from_height + offset)) for offset in range(request.count))
        return fit_blocks(item for item in items if item is not None)

    def certified(self, height: Height) -> bytes | None:
        """Return the canonical bytes of [block, certificate] of a committed height."""
        block, certificate = self._chain.store.block_bytes(height), self._chain.store.certificate_bytes(height)
        return None if block is None or certificate is None else b"\x92" + block + certificate

    def bodies(self, request: GetBodies) -> Bodies | None:
        """Return bodies by hash, as many as fit, or all those of a prepared block in order (it may have none); None: not here."""
        if request.tx_hashes:
            raws = self._held(request)
            return Bodies(request.block_hash, raws) if raws else None
        executed = self._executed.get(request.block_hash)
        block = self._chain.store.pending(request.block_hash) if executed is None else executed.block
        return None if block is None else Bodies(request.block_hash, block.transactions)

    def _held(self, request: GetBodies) -> tuple[bytes, ...]:
        raws: list[bytes] = []
        room = MAX_BODIES_BYTES
        for transaction in filter(None, map(self._intake.find, request.tx_hashes)):
            room -= len(transaction.raw)
            if room < 0:
                break
            raws.append(transaction.raw)
        return tuple(raws)

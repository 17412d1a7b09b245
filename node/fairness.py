"""Rule 9 (b): whether the primary leaves a transaction out that it must know of and had room for.

Watched is the oldest pending transaction, once it was sent to all members again: an honest primary takes the oldest first, so
five seconds later it has had its turn. Under load nobody is blamed: a pool that is not nearly empty explains why one waits.
"""

from dataclasses import dataclass, field
from typing import Final

from ledger.transaction import Transaction
from ledger.types import MemberId, TxId
from node.chain import Chain, ExecutedBlock
from node.mempool import Mempool

PATIENCE_MS: Final = 5_000
FEW_PENDING: Final = 256  # at the smallest batch an honest primary is through with these within its patience
MAX_COMPLAINTS: Final = 64  # blocks in a row under one primary: who is alone with its complaint stops at last


@dataclass(slots=True)
class _Case:
    """One transaction that waits; `passed_by` are the primaries that left it out for too long."""

    tx_id: TxId
    since_ms: int
    primary: MemberId | None = None
    complaints: int = 0
    passed_by: set[MemberId] = field(default_factory=set)


class Fairness:
    """Judges each committed block. At most one transaction is watched at a time."""

    def __init__(self, chain: Chain, mempool: Mempool) -> None:
        self._chain = chain
        self._mempool = mempool
        self._case: _Case | None = None

    def told(self, tx_id: TxId, now_ms: int) -> None:
        """Note that the oldest pending transaction was sent to all members again."""
        if self._case is None or self._case.tx_id != tx_id:
            self._case = _Case(tx_id, now_ms)

    def is_passed_over(self, executed: ExecutedBlock, now_ms: int) -> bool:
        """Return whether to leave the primary's view for this block, which is committed and off the pool."""
        case = self._case
        transaction = None if case is None else self._mempool.find(case.tx_id)
        if case is None or transaction is None:
            self._case = None
            return False
        if not self._had_room(executed, transaction):
            return False
        primary = executed.header.proposer
        if case.primary != primary:
            case.since_ms = case.since_ms if case.primary is None else now_ms
            case.primary, case.complaints = primary, 0
        if now_ms < case.since_ms + PATIENCE_MS:
            return False
        return self._complain(case, transaction, primary)

    def _complain(self, case: _Case, transaction: Transaction, primary: MemberId) -> bool:
        """Count a complaint. What more than f + 1 primaries left out no block can hold: put it behind the rest."""
        case.passed_by.add(primary)
        case.complaints += 1
        if len(case.passed_by) > self._chain.committee.faults + 1:
            self._mempool.defer([transaction.tx_hash])
            self._case = None
            return False
        return case.complaints <= MAX_COMPLAINTS

    def _had_room(self, executed: ExecutedBlock, transaction: Transaction) -> bool:
        """Return whether the block could have held it, and nothing else explains why it does not."""
        chain, params, block = self._chain, self._chain.parameters, executed.header
        gas_left = params.block_max_gas - block.gas_used
        return (
            self._mempool.pending <= FEW_PENDING
            and 2 * len(executed.transactions) <= params.block_max_transactions
            and 2 * sum(len(item.raw) for item in executed.transactions) <= params.block_max_bytes
            and transaction.body.gas_limit <= gas_left
            and chain.is_timely(transaction, block.timestamp_ms)
            and chain.executor.can_reserve(chain.store.state, chain.context(block.timestamp_ms + 1), transaction)
        )

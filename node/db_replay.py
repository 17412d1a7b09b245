"""`datacar db verify --replay`: does executing the blocks again lead to the same roots?

Where all bodies are held, a chain is grown anew from genesis in a scratch store, block by block as a node that syncs does. Else
each block is executed on the state before it, from the oldest one that is held.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from genesis.block import GenesisBlock
from ledger.block import Header
from ledger.certificate import QuorumCertificate
from ledger.errors import DatacarError, RejectedError
from ledger.list_root import list_root
from ledger.transaction import Transaction
from ledger.types import Height
from node.block_store import BlockStore, StorageError
from node.chain import Chain
from node.db_tools import Progress, transactions_of
from node.missing import pruned
from node.pruning import Keep, Pruner
from node.storage import open_block_store
from vm.executor import Executor
from vm.registry import Registry

PRUNE_EVERY: Final = 100
_ONLY_LATEST: Final = Keep(states=1, bodies=1, snapshot_every=0)


class ReplayError(DatacarError):
    """A block that, executed again, does not do what its header says."""

    def __init__(self, height: Height, message: str, **details: object) -> None:
        hint = "verify with --full; if the store is whole, this version executes differently from the one that wrote it"
        super().__init__("replay_differs", f"block {height}: {message}", hint=hint, height=height, **details)


@dataclass(frozen=True, slots=True)
class Replayed:
    """What was executed again with the same roots: blocks `first` to `last`; from genesis, or on stored states."""

    first: Height
    last: Height
    transactions: int
    from_genesis: bool


def replay(store: BlockStore, genesis: GenesisBlock, registry: Registry, scratch: Path, progress: Progress) -> Replayed:
    """Execute the blocks again. Raises `ReplayError` at the first one that differs, `pruned` where nothing can be executed.

    `scratch` is a folder with room for the state: what is written there is deleted at the end.
    """
    chain = Chain(genesis, store, Executor(registry))
    if store.held.bodies_from > 1:
        return _replay_held(chain, progress)
    with TemporaryDirectory(prefix="replay-", dir=scratch) as folder:
        anew = open_block_store(Path(folder), genesis.spec.hash)
        try:
            return _grow(chain, Chain(genesis, anew, Executor(registry)), progress)
        finally:
            anew.close()


def _grow(source: Chain, anew: Chain, progress: Progress) -> Replayed:
    """Commit every block of `source` to a chain that is at genesis."""
    pruner = Pruner(anew, _ONLY_LATEST)
    _same(Height(0), "hash", source.store.hash_of(Height(0)), anew.tip_hash)

    def run(certificate: QuorumCertificate, transactions: tuple[Transaction, ...]) -> None:
        header = certificate.header
        try:
            executed = anew.execute(header, transactions)
        except RejectedError as error:
            raise ReplayError(header.height, error.message, **error.details) from error
        anew.commit(executed, certificate)
        if header.height % PRUNE_EVERY == 0:
            while pruner.step():
                pass

    return _each(source, Height(1), progress, run, from_genesis=True)


def _replay_held(chain: Chain, progress: Progress) -> Replayed:
    """Execute each block on the stored state before it, and compare what that changes with the header."""
    held, tip = chain.store.held, chain.tip.height
    first = Height(max(held.bodies_from, held.states_from + 1))
    if first > tip:
        raise pruned("a block with the state before it", first, tip=tip)

    def run(certificate: QuorumCertificate, transactions: tuple[Transaction, ...]) -> None:
        header = certificate.header
        before = chain.version(Height(header.height - 1))
        context = chain.context_on(before, header.timestamp_ms)
        try:
            execution = chain.executor.execute(before, context, transactions)
        except RejectedError as error:
            raise ReplayError(header.height, error.message, **error.details) from error
        receipts = [receipt.hash(chain.genesis_hash) for receipt in execution.receipts]
        after = before.tree.update(before.root, header.height, execution.changes)
        _compare(header, list_root(chain.genesis_hash, receipts), after.root.digest)

    return _each(chain, first, progress, run, from_genesis=False)


def _each(
    chain: Chain,
    first: Height,
    progress: Progress,
    run: Callable[[QuorumCertificate, tuple[Transaction, ...]], None],
    *,
    from_genesis: bool,
) -> Replayed:
    tip, count = chain.tip.height, 0
    for height in map(Height, range(first, tip + 1)):
        certificate = chain.store.certificate(height)
        if certificate is None:
            hint = "run `datacar db verify`"
            raise StorageError("store_corrupt", f"the certificate of block {height} is missing", hint=hint, height=height)
        transactions = transactions_of(chain.store, chain.genesis_hash, height)
        run(certificate, transactions)
        count += len(transactions)
        progress("executing blocks again", height - first + 1, tip - first + 1)
    return Replayed(first, tip, count, from_genesis)


def _compare(header: Header, receipts_root: bytes, state_root: bytes) -> None:
    _same(header.height, "receipts_root", header.receipts_root, receipts_root)
    _same(header.height, "state_root", header.state_root, state_root)


def _same(height: Height, name: str, expected: bytes, got: bytes) -> None:
    if expected != got:
        raise ReplayError(height, f"{name} differs", field=name, expected="0x" + expected.hex(), got="0x" + got.hex())

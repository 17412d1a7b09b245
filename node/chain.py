"""The chain as one node holds it: builds, executes and commits blocks on the tip. No I/O but the store's, no clock.

Building and executing are pure on top of the committed state: a result is a value that is thrown away unless its block is
decided. `commit` alone changes anything, in one atomic synced batch.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import islice
from types import MappingProxyType
from typing import Final

from genesis.block import GenesisBlock
from ledger.block import Block, Header
from ledger.certificate import QuorumCertificate
from ledger.committee import Committee
from ledger.errors import DatacarError, NotFoundError, RejectedError, invariant
from ledger.hashing import ZERO_HASH
from ledger.list_root import list_root
from ledger.parameters import ChainParameters
from ledger.state_tree import CorruptStateError, StateRoot, StateTree, TreeUpdate
from ledger.transaction import Transaction
from ledger.types import Address, BlockHash, Height, MemberId, TxHash, TxId, View
from node.block_store import BlockStore, StorageError
from node.indexes import Indexer
from node.mempool import Mempool
from node.state_version import Overlaid, RecentHashes, StateVersion
from vm.chain_rules import ChainRules, read_rules, touches_rules
from vm.context import RECENT_BLOCKS, BlockContext
from vm.contracts.asset import FEES
from vm.contracts.governance_state import Membership, read_membership, touches_membership
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.executor import BlockExecution, Executor
from vm.overlay import StateReader

RULES_VERSION: Final = 1
"""The version of the chain's rules that this software knows. A block of a later one is not judged by it."""
MAX_SCANNED: Final = 4_000
"""Candidates looked at in one go: for a block, or for whether there is something to put into one."""


class InvalidBlockError(RejectedError):
    """A proposed or fetched block that this chain cannot take; `reason` says what is wrong with it."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__("invalid_block", message, hint="nothing to do: its proposer is at fault", **details)


class OutdatedError(DatacarError):
    """The next block follows rules that this software does not know: `version`."""

    def __init__(self, message: str) -> None:
        super().__init__("version", message, hint="install the software of that version and start again; nothing is lost")


@dataclass(frozen=True, slots=True)
class ExecutedBlock:
    """A block with everything that committing it writes."""

    header: Header
    block_hash: BlockHash
    transactions: tuple[Transaction, ...]
    execution: BlockExecution
    tree: TreeUpdate
    membership: Membership
    rules: ChainRules

    @property
    def following(self) -> Committee:
        """Return the committee that votes on the next block."""
        return self.membership.committee

    @property
    def block(self) -> Block:
        """Return the header and the ordered bytes."""
        return Block(self.header, tuple(transaction.raw for transaction in self.transactions))


class Chain:
    """The committed chain and what can be put on top of it."""

    def __init__(self, genesis: GenesisBlock, store: BlockStore, executor: Executor, *, indexes: bool = True) -> None:
        self.genesis_hash = genesis.spec.hash
        self._founding: ChainParameters = genesis.spec.parameters
        self.window_limit_ms = self._founding.tx_window_ms  # the longest there can be: ids of so long ago are kept
        self._fixed = Membership(genesis.spec.committee, (), ())
        self.store = store
        self.executor = executor
        self._tree = StateTree(self.genesis_hash, store.raw)
        self._indexes = indexes
        if store.tip_height() is None:
            self._write_genesis(genesis)
        self._load_tip()

    def _write_genesis(self, genesis: GenesisBlock) -> None:
        update = self._tree.update(None, Height(0), genesis.state)
        invariant(update.root.digest == genesis.header.state_root, "the genesis header commits to the genesis state")
        block = Block(genesis.header, ())
        block_hash, committee = genesis.header.hash(self.genesis_hash), genesis.spec.committee
        self.store.commit(block, block_hash, None, (), (), genesis.state, update, committee)

    def _load_tip(self) -> None:
        height = self.store.tip_height()
        header = None if height is None else self.store.header(height)
        root = None if height is None else self._tree.root_at(height)
        if height is None or header is None or root is None or root.digest != header.state_root:
            hint = "restore a backup, or delete the db folder alone (never the sign-state) and let the node sync again"
            raise StorageError("store_corrupt", f"the block or the state of height {height} is missing or wrong", hint=hint)
        self.tip = header
        self.tip_hash = header.hash(self.genesis_hash)
        self.tip_certificate = self.store.certificate(height)
        self._root: StateRoot = root
        self._indexer = Indexer(self.store.raw, self.executor.registry, height) if self._indexes else None
        self.membership = self._membership(self.store.state)
        self.rules = read_rules(self.store.state, self._founding)
        self.next_due_ms = self.executor.next_due_ms(self.store.state)
        first = max(self.store.held.headers_from, height - RECENT_BLOCKS + 1)
        self._recent = {at: self.store.hash_of(at) for at in map(Height, range(first, height + 1))}

    def _membership(self, state: StateReader) -> Membership:
        """Return the members as of a state: fixed at genesis on a chain without the governance contract."""
        return read_membership(state) if GOVERNANCE in self.executor.registry.names() else self._fixed

    @property
    def committee(self) -> Committee:
        """Return the committee that votes on the next block."""
        return self.membership.committee

    @property
    def parameters(self) -> ChainParameters:
        """Return the parameters that the next block is judged by."""
        return self.rules.parameters

    @property
    def outdated(self) -> str | None:
        """Return why this software cannot judge the next block, None while it can: its rules are of a version not known here."""
        version = self.rules.version_at(self.tip.height + 1)
        if version <= RULES_VERSION:
            return None
        return f"version: after height {self.tip.height} the chain is of version {version}, and this node knows {RULES_VERSION}"

    def context(self, timestamp_ms: int) -> BlockContext:
        """Return what execution takes from a block on the tip."""
        return self._context(Height(self.tip.height + 1), timestamp_ms, MappingProxyType(self._recent))

    def context_at(self, header: Header) -> BlockContext:
        """Return what a read of the state after a committed block takes from the chain."""
        if header.height == self.tip.height:
            return self.context(header.timestamp_ms)
        return self._context(Height(header.height + 1), header.timestamp_ms, self._hashes_before(header))

    def context_on(self, version: StateVersion, timestamp_ms: int) -> BlockContext:
        """Return what execution took from a block that stands on a committed one, by the rules of then."""
        height, rules = Height(version.header.height + 1), read_rules(version, self._founding)
        return self._context(height, timestamp_ms, self._hashes_before(version.header), rules)

    def _hashes_before(self, header: Header) -> RecentHashes:
        first = max(self.store.held.headers_from, header.height - RECENT_BLOCKS + 1)
        return RecentHashes(self.store, range(first, header.height + 1))

    def _context(
        self, height: Height, timestamp_ms: int, recent: Mapping[Height, bytes], rules: ChainRules | None = None
    ) -> BlockContext:
        rules = rules or self.rules
        price, max_gas = rules.parameters.gas_price_motes, rules.parameters.block_max_gas
        return BlockContext(height, timestamp_ms, price, FEES, max_gas, recent, rules.disabled)

    # ---- what was

    def version(self, height: Height) -> StateVersion:
        """Return the state after a committed block. Raises `NotFoundError`: above the tip, or `pruned` below what is kept."""
        tip, oldest = self.tip.height, self.store.held.states_from
        if height > tip:
            raise NotFoundError("not_found", f"height {height} is not there yet", hint="wait for it", height=height, tip=tip)
        header = self.store.header(height)
        root = self._tree.root_at(height) if height >= oldest or height in self.store.pins else None
        if header is None or root is None:
            hint = "ask for a later height, or ask an archive node"
            message = f"the state of height {height} is not kept any more, the oldest here is {oldest}"
            raise NotFoundError("pruned", message, hint=hint, oldest=oldest, height=height)
        if root.digest != header.state_root:
            raise CorruptStateError("the root of the state", b"")
        return StateVersion(header, root, self._tree)

    def window_start(self, tip: Header) -> Height:
        """Return the first height that judging the block after `tip` takes: of the transaction window and the last 100 blocks."""
        oldest_ms = tip.timestamp_ms - self.window_limit_ms
        low, high = max(1, self.store.held.headers_from), max(1, tip.height - RECENT_BLOCKS + 1)
        while low < high:
            middle = (low + high) // 2
            header = self.store.header(Height(middle))
            if header is not None and header.timestamp_ms >= oldest_ms:
                high = middle
            else:
                low = middle + 1
        return Height(low)

    def take_up(self) -> None:
        """Go on from what the store holds now: a restored state has become the tip there."""
        self._tree = StateTree(self.genesis_hash, self.store.raw)
        self._load_tip()

    # ---- on top of the tip

    def build(
        self, candidates: Iterable[Transaction], max_transactions: int, view: View, proposer: MemberId, now_ms: int
    ) -> tuple[ExecutedBlock, tuple[Transaction, ...]]:
        """Return a new block of admissible candidates, executed, perhaps an empty one; and those whose gas money is not there."""
        timestamp_ms = max(now_ms, self.tip.timestamp_ms + 1)
        built = self.executor.build(
            self.store.state,
            self.context(timestamp_ms),
            self._admissible(candidates, timestamp_ms),
            min(max_transactions, self.parameters.block_max_transactions),
            self.parameters.block_max_bytes,
        )
        draft = Header(
            Height(self.tip.height + 1),
            view,
            self.tip_hash,
            proposer,
            timestamp_ms,
            ZERO_HASH,
            ZERO_HASH,
            ZERO_HASH,
            ZERO_HASH,
            ZERO_HASH,
            0,
        )
        refused = tuple(transaction for transaction, _ in built.refused)
        return self._finish(draft, built.included, built.execution), refused

    def execute(self, header: Header, transactions: Sequence[Transaction]) -> ExecutedBlock:
        """Return a proposal's block executed on the tip; raises `InvalidBlockError` for anything that is not as it says."""
        if self.outdated is not None:
            raise OutdatedError(self.outdated)
        if header.height != self.tip.height + 1 or header.parent_hash != self.tip_hash:
            raise InvalidBlockError("the block does not follow from the tip", height=header.height, tip=self.tip.height)
        self._check_entries(header, transactions)
        try:
            execution = self.executor.execute(self.store.state, self.context(header.timestamp_ms), transactions)
        except RejectedError as error:
            raise InvalidBlockError(f"an entry may not stand where it does: {error.message}", **error.details) from error
        executed = self._finish(header, tuple(transactions), execution)
        for name in Header.__slots__:
            expected, got = getattr(executed.header, name), getattr(header, name)
            if expected != got:
                raise InvalidBlockError(f"{name} differs", field=name, expected=_text(expected), got=_text(got))
        return executed

    def commit(self, executed: ExecutedBlock, certificate: QuorumCertificate) -> None:
        """Make a decided block durable and the new tip."""
        invariant(executed.header.parent_hash == self.tip_hash, "a block is committed on its parent")
        indexer, receipts = self._indexer, executed.execution.receipts
        self.store.commit(
            executed.block,
            executed.block_hash,
            certificate,
            receipts,
            [transaction.id for transaction in executed.transactions],
            executed.execution.changes,
            executed.tree,
            executed.following,
            {} if indexer is None else indexer.block(executed.header.height, executed.transactions, receipts),
        )
        self._tree.adopt(executed.tree)
        self._root = executed.tree.root
        self.tip, self.tip_hash, self.tip_certificate = executed.header, executed.block_hash, certificate
        self.membership = executed.membership
        self.rules = executed.rules
        self.next_due_ms = self.executor.next_due_ms(self.store.state)
        self._recent[executed.header.height] = executed.block_hash
        self._recent.pop(Height(executed.header.height - RECENT_BLOCKS), None)

    # ---- which transactions may stand in the next block (protocol, section Transactions)

    def is_timely(self, transaction: Transaction, block_time_ms: int) -> bool:
        """Return whether `valid_until_ms` lets a block stamped so hold the transaction."""
        return block_time_ms <= transaction.body.valid_until_ms <= block_time_ms + self.parameters.tx_window_ms

    def has_includable(self, mempool: Mempool, now_ms: int) -> bool:
        """Return whether a block made now would do something: what is due, or what is pending to be held or to expire.

        Every member answers this alike from the tip and its pool; a primary that does not propose then is replaced. Where none of
        the first `MAX_SCANNED` can be paid they are put behind the others: ask again for those.
        """
        if self.is_due(now_ms):
            return True
        if mempool.pending == 0:
            return False
        if mempool.has_expired(now_ms):
            return True
        context, state = self.context(max(now_ms, self.tip.timestamp_ms + 1)), self.store.state
        unpayable, too_much = list[TxHash](), dict[Address, int]()
        for transaction in self._scanned(mempool.candidates(), context.timestamp_ms):
            sender, gas_limit = transaction.sender, transaction.body.gas_limit
            if gas_limit < too_much.get(sender, gas_limit + 1) and self.executor.can_reserve(state, context, transaction):
                break
            too_much[sender] = min(gas_limit, too_much.get(sender, gas_limit))
            unpayable.append(transaction.tx_hash)
        else:
            mempool.defer(unpayable)
            return False
        return True

    def opens_soon(self, mempool: Mempool, now_ms: int) -> bool:
        """Return whether something pending may stand in a block when a clock as slow as ours may be has caught up."""
        latest_ms = now_ms + self.parameters.tx_window_ms
        ahead = range(latest_ms + 1, latest_ms + 2 * self.parameters.clock_drift_ms + 1)
        return any(transaction.body.valid_until_ms in ahead for transaction in mempool.candidates())

    def is_due(self, now_ms: int) -> bool:
        """Return whether a block made now would make scheduled calls."""
        due_ms = self.next_due_ms
        return due_ms is not None and due_ms <= max(now_ms, self.tip.timestamp_ms + 1)

    def committed_at(self, tx_id: TxId) -> tuple[Height, int] | None:
        """Return the height and index of a committed transaction, as far back as ids are held."""
        place = self.store.find_transaction(tx_id)
        return None if place is None or place[0] > self.tip.height else place

    def _admissible(self, candidates: Iterable[Transaction], block_time_ms: int) -> Iterator[Transaction]:
        for transaction in self._scanned(candidates, block_time_ms):
            if self.committed_at(transaction.id) is None:
                yield transaction

    def _scanned(self, candidates: Iterable[Transaction], block_time_ms: int) -> Iterator[Transaction]:
        """Yield those to look at for a block: what is valid for longer than a window made shorter is in nobody's way."""
        return islice((each for each in candidates if self.is_timely(each, block_time_ms)), MAX_SCANNED)

    def _check_entries(self, header: Header, transactions: Sequence[Transaction]) -> None:
        ids = {transaction.id for transaction in transactions}
        if len(ids) != len(transactions):
            raise InvalidBlockError("a transaction stands twice in the block")
        size_bytes = sum(len(transaction.raw) for transaction in transactions)
        if len(transactions) > self.parameters.block_max_transactions or size_bytes > self.parameters.block_max_bytes:
            raise InvalidBlockError("the block is over its limits", transactions=len(transactions), size_bytes=size_bytes)
        for transaction in transactions:
            if not self.is_timely(transaction, header.timestamp_ms):
                raise InvalidBlockError("an entry is expired or too far ahead", id="0x" + transaction.id.hex())
            if self.committed_at(transaction.id) is not None:
                raise InvalidBlockError("an entry is committed already", id="0x" + transaction.id.hex())

    def _finish(self, draft: Header, transactions: tuple[Transaction, ...], execution: BlockExecution) -> ExecutedBlock:
        """Return the executed block whose header carries the roots that `execution` leads to."""
        tree = self._tree.update(self._root, draft.height, execution.changes)
        changed = touches_membership(execution.changes)
        after = Overlaid(self.store.state, execution.changes)
        membership = self._membership(after) if changed else self.membership
        rules = read_rules(after, self._founding) if touches_rules(execution.changes) else self.rules
        header = replace(
            draft,
            transactions_root=list_root(self.genesis_hash, [transaction.tx_hash for transaction in transactions]),
            receipts_root=list_root(self.genesis_hash, [receipt.hash(self.genesis_hash) for receipt in execution.receipts]),
            state_root=tree.root.digest,
            committee_hash=self.committee.hash(self.genesis_hash),
            next_committee_hash=membership.committee.hash(self.genesis_hash),
            gas_used=execution.gas_used,
        )
        return ExecutedBlock(header, header.hash(self.genesis_hash), transactions, execution, tree, membership, rules)


def _text(value: object) -> object:
    return "0x" + value.hex() if isinstance(value, bytes) else value

"""`datacar db verify`: is what a stopped node stores the chain that it says it is?

Fast: the tip, its state's root and committee, every header with its link to the one before, the ids of the transaction window.
Full: every record's checksum, every certificate's signatures, every body, receipt and id against its header's roots, the whole
state tree against the header and the flat state, the index entry by entry, and the keys that pruning goes by. A check that meets
damage says what and where, and the others go on. What the calendar's own work took stands in no receipt: the gas in a header is
bounded by the receipts here, and found out exactly by `--replay`.
"""

import itertools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Final

from genesis.block import GenesisBlock
from ledger.block import Header, Receipt, ReceiptKind
from ledger.committee import Committee
from ledger.committee_chain import follow
from ledger.errors import DatacarError
from ledger.list_root import list_root
from ledger.state_tree import LEAF_PREFIX, NODE_PREFIX, CorruptStateError
from ledger.transaction import Transaction
from ledger.types import Height
from node.block_store import STALE, BlockStore, Held
from node.chain import Chain
from node.db_tools import Progress, transactions_of
from node.indexes import INDEX_PREFIX, NOTES_PREFIX, PLACE_BYTES, Place, index_block, read_reach
from node.pruning import FILED, stale_keys
from node.state_version import StateVersion
from vm import gas
from vm.executor import Executor
from vm.registry import Registry

MAX_PROBLEMS: Final = 100
"""Kept; more are only counted."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something that is not as it must be; `height` where it belongs to a block."""

    check: str
    message: str
    height: Height | None = None


@dataclass(slots=True)
class Report:
    """What a verification looked at and what it found."""

    tip: Height
    held: Held
    counts: dict[str, int] = field(default_factory=dict)
    problems: list[Problem] = field(default_factory=list)
    problem_count: int = 0

    def blame(self, problem: Problem) -> None:
        """Note a problem."""
        self.problem_count += 1
        if len(self.problems) < MAX_PROBLEMS:
            self.problems.append(problem)


def verify(store: BlockStore, genesis: GenesisBlock, registry: Registry, progress: Progress, *, full: bool) -> Report:
    """Return what is wrong with the chain in a store; nothing in it is changed. Raises `OSError` alone."""
    return _Verification(store, genesis, registry, progress).run(full=full)


class _Verification:
    def __init__(self, store: BlockStore, genesis: GenesisBlock, registry: Registry, progress: Progress) -> None:
        self._store = store
        self._genesis = genesis
        self._hash = genesis.spec.hash
        self._registry = registry
        self._progress = progress
        self._tip = store.tip_height() or Height(0)
        self._report = Report(self._tip, store.held)

    def run(self, *, full: bool) -> Report:
        """Make the checks one after the other; each one ends where it meets what it cannot read."""
        chain = self._open()
        checks: list[tuple[str, Callable[[], Iterator[Problem]]]] = [("headers", self._headers)]
        if chain is not None:
            checks.append(("window", partial(self._window, chain)))
        if full:
            checks = [("records", self._records), *checks, ("certificates", self._certificates), ("blocks", self._blocks)]
            checks.append(("pruning", self._pruning))
        if full and chain is not None:
            checks += [("state", partial(self._state, chain)), ("snapshots", partial(self._versions, chain))]
        for name, check in checks:
            self._guard(name, check())
        return self._report

    def _open(self) -> Chain | None:
        """Take the chain up as a node does when it starts: tip, state root, members, recent hashes."""
        try:
            chain = Chain(self._genesis, self._store, Executor(self._registry))
        except DatacarError as error:
            self._report.blame(Problem("tip", error.message))
            return None
        if chain.committee.hash(self._hash) != chain.tip.next_committee_hash:
            self._report.blame(Problem("tip", "the members in the state are not those that the header names", chain.tip.height))
        return chain

    def _guard(self, name: str, problems: Iterator[Problem]) -> None:
        try:
            for problem in problems:
                self._report.blame(problem)
        except DatacarError as error:
            self._report.blame(Problem(name, error.message))

    def _count(self, what: str, done: int, total: int) -> None:
        self._report.counts[what] = done
        self._progress(f"checking {what}", done, total)

    # ---- fast

    def _headers(self) -> Iterator[Problem]:
        """Every header is there, is of its height and names the one before as its parent; its hash leads to its height."""
        store, first = self._store, Height(max(1, self._store.held.headers_from))
        if store.header(Height(0)) != self._genesis.header:
            yield Problem("headers", "the genesis block is missing or another", Height(0))
        parent: bytes | None = self._genesis.hash if first == 1 else None
        for height in map(Height, range(first, self._tip + 1)):
            certificate = store.certificate(height)
            if certificate is None:
                yield Problem("headers", "the certificate is missing", height)
                parent = None
                continue
            header = certificate.header
            if header.height != height or (parent is not None and header.parent_hash != parent):
                yield Problem("headers", "the header does not follow from the one before", height)
            parent = header.hash(self._hash)
            if store.height_of(header.hash(self._hash)) != height:
                yield Problem("headers", "its hash is not found by the store", height)
            self._count("headers", height - first + 1, self._tip - first + 1)

    def _window(self, chain: Chain) -> Iterator[Problem]:
        """The ids by which duplicates are refused are there, each where it stands."""
        first, tip = chain.window_start(chain.tip), chain.tip.height
        for height in map(Height, range(first, tip + 1)):
            ids = self._store.tx_ids(height)
            if ids is None:
                yield Problem("window", "the list of transaction ids is missing", height)
            for index, tx_id in enumerate(ids or ()):
                if self._store.find_transaction(tx_id) != (height, index):
                    yield Problem("window", f"transaction 0x{tx_id.hex()} is not found where it stands", height)
            self._count("id lists", height - first + 1, tip - first + 1)

    # ---- full

    def _records(self) -> Iterator[Problem]:
        """Reading every record has LevelDB compare every block's checksum."""
        count = 0
        for _ in self._store.raw.iterate():
            count += 1
            if count % 1_000 == 0:
                self._count("records", count, 0)
        self._count("records", count, count)
        yield from ()

    def _certificates(self) -> Iterator[Problem]:
        """A quorum of the committee of its height, followed from genesis, signed every header."""
        tip, first = self._tip, Height(max(1, self._store.held.headers_from))
        handovers = {item.certificate.header.height: item for item in self._store.handovers(Height(tip + 1))}
        before = [item for height, item in handovers.items() if height < first]
        committee: Committee = follow(self._genesis.spec.committee, before, self._hash)
        for height in map(Height, range(first, tip + 1)):
            certificate = self._store.certificate(height)
            if certificate is None:
                continue  # told by the check of the headers
            try:
                certificate.check(self._hash, committee)
            except DatacarError as error:
                yield Problem("certificates", error.message, height)
            if certificate.header.next_committee_hash != certificate.header.committee_hash:
                handover = handovers.get(height)
                if handover is None or handover.following.hash(self._hash) != certificate.header.next_committee_hash:
                    yield Problem("certificates", "the committee that follows is missing or another", height)
                    return
                committee = handover.following
            self._count("certificates", height - first + 1, tip - first + 1)

    def _blocks(self) -> Iterator[Problem]:
        """Receipts, bodies, ids and index entries are what the headers' roots say."""
        held, tip = self._store.held, self._tip
        first = Height(max(1, min(held.receipts_from, held.bodies_from)))
        indexed = self._indexed_from(tip)
        expected, whole = 0, True
        for height in map(Height, range(first, tip + 1)):
            header = self._store.header(height)
            if header is None:
                continue
            receipts = self._store.receipts(height) if height >= held.receipts_from else None
            if receipts is not None:
                yield from self._check_receipts(header, receipts)
            elif height >= held.receipts_from:
                yield Problem("blocks", "the receipts are missing", height)
            if height >= held.bodies_from:
                try:
                    transactions = transactions_of(self._store, self._hash, height)
                    yield from self._check_bodies(header, transactions)
                    if receipts is not None and indexed is not None and height >= indexed:
                        entries = index_block(height, transactions, receipts, self._registry)
                        expected += len(entries)
                        wrong = sum(self._store.raw.get(key) != value for key, value in entries.items())
                        if wrong:
                            yield Problem("index", f"{wrong} entries are missing or wrong: run `datacar db reindex`", height)
                except DatacarError as error:
                    yield Problem("blocks", error.message, height)
                    whole = False
            self._count("blocks", height - first + 1, tip - first + 1)
        if indexed is not None and whole:
            yield from self._check_index(indexed, expected)

    def _check_receipts(self, header: Header, receipts: Sequence[Receipt]) -> Iterator[Problem]:
        height = header.height
        if list_root(self._hash, [receipt.hash(self._hash) for receipt in receipts]) != header.receipts_root:
            yield Problem("blocks", "the receipts do not have the root in the header", height)
        ids = tuple(receipt.id for receipt in receipts if receipt.kind is ReceiptKind.TRANSACTION)
        if ids != self._store.tx_ids(height):
            yield Problem("blocks", "the list of transaction ids is missing or another", height)
        if not _gas_fits(receipts, header.gas_used):
            yield Problem("blocks", "the gas used is not the header's", height)

    def _check_bodies(self, header: Header, transactions: Sequence[Transaction]) -> Iterator[Problem]:
        height, block = header.height, self._store.block(header.height)
        if block is None or block.header != header:
            yield Problem("blocks", "the block has another header than its certificate", height)
        if list_root(self._hash, [transaction.tx_hash for transaction in transactions]) != header.transactions_root:
            yield Problem("blocks", "the transactions do not have the root in the header", height)
        for index, transaction in enumerate(transactions):
            transaction.check_signatures()
            if self._store.find_transaction(transaction.id) != (height, index):
                yield Problem("blocks", f"transaction 0x{transaction.id.hex()} is not found where it stands", height)

    def _indexed_from(self, tip: Height) -> Height | None:
        """Return the first height whose index entries must be there, or None where the node keeps no index."""
        reach, held = read_reach(self._store.raw), self._store.held
        if reach is None or reach.last != tip:
            return None
        return max(reach.first, held.receipts_from, held.bodies_from)

    def _check_index(self, first: Height, expected: int) -> Iterator[Problem]:
        lowest = Place(first, 0).encode()
        keys = (key for key, _ in self._store.raw.iterate(INDEX_PREFIX) if not key.startswith(NOTES_PREFIX))
        found = sum(key[-PLACE_BYTES:] <= lowest for key in keys)
        self._count("index entries", found, expected)
        if found > expected:
            yield Problem("index", f"{found - expected} entries belong to no receipt: run `datacar db reindex`")

    def _pruning(self) -> Iterator[Problem]:
        """Each block whose state is still to be pruned says which keys it replaced, and what is kept of them is there."""
        first, number = Height(self._store.held.states_from + 1), itertools.count(1)
        due = first
        for record, data in self._store.raw.iterate(STALE):
            height = Height(int.from_bytes(record[1:9]))
            yield from self._without_record(due, min(height, Height(self._tip + 1)))
            due = max(due, Height(height + 1))
            if height > self._tip:
                yield Problem("pruning", "there are stale keys of a block above the tip", height)
            yield from self._check_stale(data, height, Height(height - 1), needed=height >= first)
            self._count("stale records", next(number), 0)
        yield from self._without_record(due, Height(self._tip + 1))
        for record, data in self._store.raw.iterate(FILED):
            pin, height = Height(int.from_bytes(record[1:9])), Height(int.from_bytes(record[9:17]))
            yield from self._check_stale(data, height, pin, needed=pin in self._store.pins)
            self._count("stale records", next(number), 0)

    def _without_record(self, start: Height, stop: Height) -> Iterator[Problem]:
        """Blame each block from `start` on and below `stop`: every one replaces at least the root."""
        for height in map(Height, range(start, stop)):
            yield Problem("pruning", "the record of the keys that it replaced is missing: they would never be pruned", height)

    def _check_stale(self, data: bytes, height: Height, kept_for: Height, *, needed: bool) -> Iterator[Problem]:
        """A record names keys of the tree as of `kept_for` at the latest; where that version is `needed` they are there."""
        try:
            keys = stale_keys(data)
        except DatacarError as error:
            yield Problem("pruning", f"the stale keys cannot be read: {error.message}", height)
            return
        trees = (NODE_PREFIX, LEAF_PREFIX)
        if wrong := sum(not key.startswith(trees) or int.from_bytes(key[-8:]) > kept_for for key in keys):
            yield Problem("pruning", f"{wrong} of the stale keys are none: what is still needed would be deleted", height)
        elif needed and (lost := sum(self._store.raw.get(key) is None for key in keys)):
            yield Problem("pruning", f"{lost} keys are gone that the state of height {kept_for} has", height)

    def _state(self, chain: Chain) -> Iterator[Problem]:
        """The tip's tree, digest by digest, leads to the header's root, and holds what the flat state holds."""
        flat, keys = self._store.state, 0
        for key_hash, key, value in self._walk(chain.version(chain.tip.height)):
            keys += 1
            if flat.get(key) != value:
                yield Problem("state", f"the flat state has another value of key {key.hex()}", chain.tip.height)
            if keys % 1_000 == 0:
                self._count("state keys", keys, keys * 65_536 // (int.from_bytes(key_hash[:2]) + 1))
        self._count("state keys", keys, keys)
        others = sum(1 for _ in self._store.raw.iterate(flat.prefix)) - keys
        if others:
            yield Problem("state", f"the flat state has {others} keys more than the tree", chain.tip.height)

    def _versions(self, chain: Chain) -> Iterator[Problem]:
        """Every version that is kept has the root in its header, and the snapshots are whole."""
        first, tip = self._store.held.states_from, chain.tip.height
        for height in map(Height, range(first, tip + 1)):
            try:
                chain.version(height)
            except DatacarError as error:
                yield Problem("state", error.message, height)
            self._count("versions", height - first + 1, tip - first + 1)
        for number, height in enumerate(self._store.pins, 1):
            try:
                sum(1 for _ in self._walk(chain.version(height)))
            except DatacarError as error:
                yield Problem("snapshots", error.message, height)
            self._count("snapshots", number, len(self._store.pins))

    def _walk(self, version: StateVersion) -> Iterator[tuple[bytes, bytes, bytes]]:
        """Yield the pairs of a version. Raises `CorruptStateError`, `PrunedStateError`."""
        if version.root.digest != version.header.state_root:
            raise CorruptStateError("the root of the state", b"")
        return version.tree.items(version.root)


def _gas_fits(receipts: Sequence[Receipt], gas_used: int) -> bool:
    """Return whether a block with these receipts can have used so much gas, as far as that shows without executing it.

    Beside the receipts' gas there is that of the calendar: at least `gas.SCHEDULED` for each scheduled call, and for places that
    leave no receipt, because they were cancelled or put off. Of those alone, there are none or again at least that much.
    """
    calendar = gas_used - sum(receipt.gas_used for receipt in receipts)
    calls = sum(receipt.kind is ReceiptKind.SCHEDULED for receipt in receipts)
    return calendar >= gas.SCHEDULED * max(calls, 1) or calendar == calls == 0

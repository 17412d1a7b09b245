"""Proofs: how large one is, and how long it takes to make and to check it. One core, one thread, plain Python.

A network of four with the genesis of a development network, a state of many accounts, a block of many transfers. `from genesis`
is the file that anyone can check; `handovers` adds as many changes of the committee; `short` is what a light client asks for.
"""

import itertools
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from typing import Final

from rich.table import Table

from benchmarks.report import Machine, Summary
from genesis.block import GenesisBlock, make_genesis_block
from genesis.network import KeySource, NodeKeys, make_committee, make_node_keys, node_names
from genesis.presets import DEV_PARAMETERS, Holders, contract_arguments, dev_ido, distribution
from genesis.spec import GenesisSpec
from ledger.block import Event, Header, Receipt, ReceiptKind, Status
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.claims import Claim, ReceiptClaim, StateClaim, StateEntry
from ledger.codec import encode
from ledger.committee import Committee
from ledger.committee_chain import Handover
from ledger.crypto import public_key, sign
from ledger.hashing import Tag
from ledger.list_root import ListTree
from ledger.policy import KeyPolicy, contract_address
from ledger.proof import Proof, TrustedBlock
from ledger.state_tree import StateRoot, StateTree
from ledger.store import MemoryStore
from ledger.transaction import SALT_BYTES, Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import Address, Height, View
from vm.contracts.asset import balance_key

START_MS: Final = 1_700_000_000_000
SENDER: Final = sha256(b"sender").digest()
HANDOVERS: Final = 100
KEYS_A_STEP: Final = 20_000


@dataclass(frozen=True, slots=True)
class ProofRow:
    """One kind of proof: its bytes, and the microseconds to make and to check it."""

    kind: str
    size_bytes: int
    make_us: Summary
    check_us: Summary


@dataclass(frozen=True, slots=True)
class ProofReport:
    """The proof benchmark's figures."""

    benchmark: str
    machine: Machine
    members: int
    accounts: int
    block_transactions: int
    rows: tuple[ProofRow, ...]

    def table(self) -> Table:
        """Return a table with a line for each kind."""
        size = f"{self.members} members, {self.accounts:,} accounts, {self.block_transactions:,} transfers in the block"
        table = Table(title=f"Proofs: {size}")
        table.add_column("proof")
        for name in ("bytes", "make ms", "check ms", "spread"):
            table.add_column(name, justify="right")
        for row in self.rows:
            make, check = (f"{figure.median / 1_000:,.2f}" for figure in (row.make_us, row.check_us))
            table.add_row(row.kind, f"{row.size_bytes:,}", make, check, f"{row.check_us.spread:.0%}")
        return table


def run(*, quick: bool = False) -> ProofReport:
    """Measure every kind: about 15 s, or 2 s with a smaller state and coarse figures when `quick`."""
    accounts, repeats = (10_000, 5) if quick else (200_000, 30)
    machine, bed = Machine.here(), _Bed(accounts, 100 if quick else 1_000)
    cases = {kind: (make, trusted) for kind, make, trusted in bed.cases()}
    made = {kind: make() for kind, (make, _) in cases.items()}
    made_us: dict[str, list[float]] = {kind: [] for kind in cases}
    checked_us: dict[str, list[float]] = {kind: [] for kind in cases}
    for _ in range(repeats):
        for kind, (make, trusted) in cases.items():
            data = made[kind]
            times = [time.perf_counter()]
            make()
            times.append(time.perf_counter())
            Proof.decode(data).verify(bed.genesis_hash, trusted)
            times.append(time.perf_counter())
            made_us[kind].append((times[1] - times[0]) * 1e6)
            checked_us[kind].append((times[2] - times[1]) * 1e6)
    rows = tuple(ProofRow(kind, len(made[kind]), Summary.of(made_us[kind]), Summary.of(checked_us[kind])) for kind in cases)
    return ProofReport("proof", machine, len(bed.keys), accounts, bed.block_transactions, rows)


class _Bed:
    """A certified block over a large state, without a node."""

    def __init__(self, accounts: int, transactions: int) -> None:
        source = KeySource.from_seed("proof benchmark")
        self.keys = [make_node_keys(source, name, f"127.0.0.1:{1 + at}") for at, name in enumerate(node_names(4))]
        self.block_transactions = transactions
        self.genesis = _genesis(self.keys)
        self.genesis_hash = self.genesis.spec.hash
        self.genesis_bytes = encode(self.genesis.spec.to_value())
        self.committee = self.genesis.spec.committee
        self.tree, self.root = _state(self.genesis, accounts)
        self._make_block(transactions)

    def _make_block(self, count: int) -> None:
        made = [_transfer(self.genesis_hash, number) for number in range(count)]
        self.receipts = [_receipt(transaction) for transaction in made]
        self.raws = [transaction.raw for transaction in made]
        self.transaction_tree = ListTree(self.genesis_hash, [transaction.tx_hash for transaction in made])
        self.receipt_tree = ListTree(self.genesis_hash, [receipt.hash(self.genesis_hash) for receipt in self.receipts])
        self.header = replace(
            self.genesis.header,
            height=Height(1_000),
            transactions_root=self.transaction_tree.root,
            receipts_root=self.receipt_tree.root,
            state_root=self.root.digest,
        )

    def cases(self) -> Sequence[tuple[str, Callable[[], bytes], TrustedBlock | None]]:
        """Return each kind of proof: its name, how it is made, and what its checker trusts beside genesis."""
        held, absent = balance_key(_account(7)), balance_key(contract_address("nobody"))
        certificate = self._certificate(self.header, self.committee)
        steps, last = self._handovers()
        late = self._certificate(replace(self.header, committee_hash=last.hash(self.genesis_hash)), last)
        header = self.header
        trusted = TrustedBlock(
            Height(1_000), header.hash(self.genesis_hash), header.timestamp_ms, self.committee, header.next_committee_hash
        )

        def whole(claim: Callable[[], Claim]) -> Callable[[], bytes]:
            return lambda: Proof(self.genesis_bytes, (), certificate, None, claim()).encode()

        def short(claim: Callable[[], Claim]) -> Callable[[], bytes]:
            return lambda: Proof(None, (), certificate, None, claim()).encode()

        def long(claim: Callable[[], Claim]) -> Callable[[], bytes]:
            return lambda: Proof(self.genesis_bytes, steps, late, None, claim()).encode()

        return (
            ("receipt, from genesis", whole(self._receipt_claim), None),
            ("receipt, short", short(self._receipt_claim), trusted),
            ("account, from genesis", whole(lambda: self._state_claim(held)), None),
            ("account, short", short(lambda: self._state_claim(held)), trusted),
            ("absent account, short", short(lambda: self._state_claim(absent)), trusted),
            ("header, short", short(lambda: StateClaim(())), trusted),
            (f"receipt, from genesis, {HANDOVERS} handovers", long(self._receipt_claim), None),
        )

    def _receipt_claim(self) -> ReceiptClaim:
        place = self.block_transactions // 2
        places = (self.transaction_tree.prove(place), self.receipt_tree.prove(place))
        return ReceiptClaim(self.raws[place], self.receipts[place], *places)

    def _state_claim(self, key: bytes) -> StateClaim:
        return StateClaim((StateEntry(key, self.tree.get(self.root, key), self.tree.prove(self.root, key)),))

    def _handovers(self) -> tuple[tuple[Handover, ...], Committee]:
        """Return as many changes of the committee, which here are of its epoch only, and the last committee."""
        committees = [Committee(epoch, self.committee.members) for epoch in range(HANDOVERS + 1)]
        steps = []
        for height, (old, new) in enumerate(itertools.pairwise(committees), start=1):
            before, after = old.hash(self.genesis_hash), new.hash(self.genesis_hash)
            header = replace(self.header, height=Height(height), committee_hash=before, next_committee_hash=after)
            steps.append(Handover(self._certificate(header, old), new))
        return tuple(steps), committees[-1]

    def _certificate(self, header: Header, committee: Committee) -> QuorumCertificate:
        signed = vote_digest(Tag.COMMIT, self.genesis_hash, header.height, View(0), header.hash(self.genesis_hash))
        votes = {keys.member.id: sign(keys.consensus_seed, signed) for keys in self.keys[: committee.quorum]}
        return QuorumCertificate.build(header, View(0), votes, committee)


def _genesis(keys: Sequence[NodeKeys]) -> GenesisBlock:
    accounts = tuple(_account(number) for number in range(11))
    allocations = distribution(Holders(*accounts[:4]), dev_ido(accounts[:10], accounts[10]), START_MS)
    committee = make_committee([each.member for each in keys])
    spec = GenesisSpec(
        chain_id="proofs",
        timestamp_ms=START_MS,
        development=True,
        parameters=DEV_PARAMETERS,
        committee=committee,
        contracts=contract_arguments(allocations),
    )
    return make_genesis_block(spec)


def _state(genesis: GenesisBlock, accounts: int) -> tuple[StateTree, StateRoot]:
    """Return a tree with this many accounts beside what genesis holds."""
    store = MemoryStore()
    tree = StateTree(genesis.spec.hash, store)
    update = tree.update(None, Height(0), genesis.state)
    value = encode((150_000_000, 0, 0))
    for height, first in enumerate(range(0, accounts, KEYS_A_STEP), start=1):
        store.apply(update.nodes)
        tree.adopt(update)
        numbers = range(first, min(first + KEYS_A_STEP, accounts))
        update = tree.update(update.root, Height(height), {balance_key(_account(number)): value for number in numbers})
    store.apply(update.nodes)
    return tree, update.root


def _account(number: int) -> Address:
    return KeyPolicy.single(sha256(b"account %d" % number).digest()).address


def _transfer(genesis_hash: bytes, number: int) -> Transaction:
    body = TransactionBody(
        KeyPolicy.single(public_key(SENDER)),
        number.to_bytes(SALT_BYTES),
        START_MS + 60_000,
        chain_tag_of(genesis_hash),
        (Call("asset", "transfer", (_account(number), 1)),),
        100_000,
    )
    return body.sign(genesis_hash, (SENDER,))


def _receipt(transaction: Transaction) -> Receipt:
    event = Event("asset", "Transferred", (transaction.sender, *transaction.body.calls[0].args))
    return Receipt(ReceiptKind.TRANSACTION, transaction.id, Status.SUCCEEDED, 33_000, (None,), (event,), None)

"""A chain with every contract, funded accounts, and a member who decides alone: random calls are built, then replayed."""

from dataclasses import dataclass, field
from hashlib import sha256
from random import Random
from typing import Final

from genesis.arguments import governance_arguments
from genesis.block import GenesisBlock, make_genesis_block
from genesis.network import KeySource, NodeKeys, make_committee, make_node_keys, node_names
from genesis.presets import Holders, contract_arguments, distribution, part_motes
from genesis.spec import GenesisSpec
from ledger.block import Block, Status
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.crypto import sign
from ledger.hashing import Tag
from ledger.parameters import ChainParameters
from ledger.store import MemoryStore
from ledger.transaction import Transaction, TransactionBody, chain_tag_of
from ledger.types import Motes, View
from node.block_store import BlockStore
from node.chain import Chain, ExecutedBlock
from tests.determinism.calls import CallMaker
from tests.determinism.samples import SAMPLES
from tests.vm_harness import Account
from vm.contracts.asset import Category
from vm.executor import Executor
from vm.registry import default_registry

START_MS: Final = 1_700_000_000_000
ACCOUNTS: Final = 6
PER_BLOCK: Final = 50
GAS_LIMITS: Final = (20_000, 60_000, 200_000, 2_000_000, 2_000_000, 2_000_000, 20_000_000)
PAUSES_MS: Final = (1_000, 1_000, 1_000, 1_000, 60_000, 3_600_000, 86_400_000, 35 * 86_400_000)


@dataclass(slots=True)
class Outcome:
    """What must be the same everywhere, and counts that show that something happened."""

    fingerprint: str
    gas: int
    blocks: int
    failures: dict[str, int] = field(default_factory=dict)
    successes: dict[str, int] = field(default_factory=dict)
    scheduled: int = 0


class World:
    """One chain over a store in memory, and all blocks that it has made."""

    def __init__(self, seed: int) -> None:
        self.rng = Random(seed)
        self.keys = make_node_keys(KeySource.from_seed("determinism"), node_names(1)[0], "127.0.0.1:1")
        self.accounts = (Account("member", self.keys.governance_seed), *map(_account, range(1, ACCOUNTS)))
        self.genesis = _genesis(self.keys, self.accounts)
        self.blocks: list[Block] = []

    def run(self, calls: int) -> Outcome:
        """Make and commit blocks of random calls, then execute the same blocks again on a fresh chain."""
        chain, maker = self._chain(), CallMaker(default_registry(), self.rng, self.accounts, SAMPLES)
        outcome, summed, now_ms = Outcome("", 0, 0), sha256(), START_MS
        for first in range(0, calls, PER_BLOCK):
            now_ms = maker.now_ms = max(now_ms, chain.tip.timestamp_ms) + self.rng.choice(PAUSES_MS)
            made = [self.transaction(maker, now_ms) for _ in range(min(PER_BLOCK, calls - first))]
            executed, refused = chain.build(made, len(made), View(0), self.keys.member.id, now_ms)
            if len(executed.transactions) + len(refused) != len(made):
                raise AssertionError("a block of random calls has room for all of them")
            for receipt in executed.execution.receipts:
                maker.learn(receipt)
            _count(outcome, executed)
            self._commit(chain, executed)
            summed.update(executed.block_hash)
            self.blocks.append(executed.block)
        outcome.fingerprint = summed.hexdigest()
        self._replay()
        return outcome

    def _replay(self) -> None:
        """Raise unless the blocks, from their bytes, give the very headers again: all roots and the gas."""
        chain = self._chain()
        for block in self.blocks:
            transactions = [Transaction.from_raw(raw, chain.genesis_hash) for raw in block.transactions]
            self._commit(chain, chain.execute(block.header, transactions))

    def _chain(self) -> Chain:
        store = BlockStore(_Memory(), "memory", self.genesis.spec.hash)
        return Chain(self.genesis, store, Executor(default_registry()), indexes=False)

    def transaction(self, maker: CallMaker, now_ms: int) -> Transaction:
        rng = self.rng
        first, call = maker.make()
        calls = (call, *(maker.make()[1] for _ in range(rng.choice((0, 0, 0, 0, 2)))))
        body = TransactionBody(
            policy=first.policy,
            salt=rng.randbytes(8),
            valid_until_ms=now_ms + 60_000,
            chain_tag=chain_tag_of(self.genesis.spec.hash),
            calls=calls,
            gas_limit=rng.choice(GAS_LIMITS),
        )
        return body.sign(self.genesis.spec.hash, (first.seed,))

    def _commit(self, chain: Chain, executed: ExecutedBlock) -> None:
        member, signed = (
            self.keys,
            vote_digest(Tag.COMMIT, chain.genesis_hash, executed.header.height, View(0), executed.block_hash),
        )
        vote = {member.member.id: sign(member.consensus_seed, signed)}
        chain.commit(executed, QuorumCertificate.build(executed.header, View(0), vote, chain.committee))


class _Memory(MemoryStore):
    """A store that a node may have."""

    def close(self) -> None:
        """Do nothing: it is gone with its chain."""


def _account(number: int) -> Account:
    return Account(f"account {number}", sha256(f"determinism {number}".encode()).digest())


def _genesis(keys: NodeKeys, accounts: tuple[Account, ...]) -> GenesisBlock:
    share, addresses = part_motes(Category.IDO) // len(accounts), [account.address for account in accounts]
    rest = part_motes(Category.IDO) - share * (len(accounts) - 1)
    ido = [(address, Motes(share if at else rest)) for at, address in enumerate(addresses)]
    spec = GenesisSpec(
        chain_id="determinism",
        timestamp_ms=START_MS - 1_000,
        development=True,
        parameters=ChainParameters(block_max_gas=10**12),
        committee=make_committee([keys.member]),
        contracts={
            **contract_arguments(distribution(Holders(*addresses[:4]), ido, START_MS)),
            **governance_arguments({keys.member.id: keys.account}),
        },
    )
    return make_genesis_block(spec)


def _count(outcome: Outcome, executed: ExecutedBlock) -> None:
    outcome.gas += executed.header.gas_used
    outcome.blocks += 1
    receipts = executed.execution.receipts  # those of scheduled calls follow those of the transactions
    outcome.scheduled += len(receipts) - len(executed.transactions)
    for transaction, receipt in zip(executed.transactions, receipts, strict=False):
        if receipt.status is Status.SUCCEEDED:
            for call in transaction.body.calls:
                _add(outcome.successes, f"{call.contract}.{call.method}")
        elif receipt.error is not None:
            _add(outcome.failures, f"{receipt.error.contract}.{receipt.error.code}")


def _add(counts: dict[str, int], name: str) -> None:
    counts[name] = counts.get(name, 0) + 1

"""The simulated network's genesis and its funded accounts, made once for each size."""

import hashlib
import random
from dataclasses import dataclass, replace
from functools import cache
from typing import Final

from consensus.sign_state import SignState
from genesis.arguments import governance_arguments
from genesis.block import GenesisBlock, make_genesis_block
from genesis.network import KeySource, NodeKeys, make_committee, make_node_keys, node_names
from genesis.presets import Holders, contract_arguments, dev_ido, distribution
from genesis.spec import GenesisSpec
from ledger.codec import Value
from ledger.crypto import public_key
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.transaction import Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import Motes
from node.block_store import BlockStore
from node.chain import Chain
from node.sign_file import SignFile
from tests.sim.disk import Contents, Disk
from vm.contracts.asset import Allocation, Category, Schedule
from vm.executor import Executor
from vm.registry import default_registry

START_MS: Final = 1_700_000_000_000
PARAMETERS: Final = ChainParameters(heartbeat_ms=3_000, tx_window_ms=60_000, gas_price_motes=2)
SPARES: Final = 2
GAS_LIMIT: Final = 400_000
UNLOCKS: Final = 20
UNLOCK_EVERY_MS: Final = 1_500
ACCOUNT_SEEDS: Final = tuple(hashlib.sha256(b"simulated account %d" % number).digest() for number in range(11))
ADDRESSES: Final = tuple(KeyPolicy.single(public_key(seed)).address for seed in ACCOUNT_SEEDS)


@dataclass(frozen=True)
class Network:
    """The keys of members and of those who may join, block 0, and a disk on which a node has just been set up.

    Account `i` governs for member `i`.
    """

    keys: tuple[NodeKeys, ...]
    genesis: GenesisBlock
    fresh: Contents

    def transfer(self, sender: int, to: int, amount: int, valid_until_ms: int, salt: bytes) -> Transaction:
        """Return a signed transfer between two of the funded accounts."""
        return self.call(sender, "asset", "transfer", (ADDRESSES[to], amount), valid_until_ms, salt)

    def call(
        self, sender: int, contract: str, method: str, args: tuple[Value, ...], valid_until_ms: int, salt: bytes
    ) -> Transaction:
        """Return a signed call of a contract by one of the funded accounts."""
        seed, genesis_hash = ACCOUNT_SEEDS[sender], self.genesis.spec.hash
        calls, policy = (Call(contract, method, args),), KeyPolicy.single(public_key(seed))
        body = TransactionBody(policy, salt, valid_until_ms, chain_tag_of(genesis_hash), calls, GAS_LIMIT)
        return body.sign(genesis_hash, (seed,))


@cache
def make_network(members: int) -> Network:
    """Return the network of so many members, with the keys of those who may join."""
    source = KeySource.from_seed("simulator")
    keys = tuple(
        replace(make_node_keys(source, name, f"{name}:1"), governance_seed=seed)
        for name, seed in zip(node_names(members + SPARES), ACCOUNT_SEEDS, strict=False)
    )
    seated = keys[:members]
    spec = GenesisSpec(
        chain_id="simulator",
        timestamp_ms=START_MS,
        development=True,
        parameters=PARAMETERS,
        committee=make_committee([item.member for item in seated]),
        contracts={
            **contract_arguments(_allocations()),
            **governance_arguments({item.member.id: item.account for item in seated}),
        },
    )
    genesis = make_genesis_block(spec)
    return Network(keys, genesis, _fresh_disk(genesis))


def _allocations() -> tuple[Allocation, ...]:
    """The distribution, with the technology part released a little every so often: each run has something in the calendar."""
    parts = distribution(Holders(*ADDRESSES[:4]), dev_ido(ADDRESSES[:10], ADDRESSES[10]), START_MS)
    [whole] = (part for part in parts if part.category is Category.TECHNOLOGY)
    amount = Motes(whole.amount // UNLOCKS)
    schedules = (Schedule(START_MS + UNLOCK_EVERY_MS * number, 1, amount) for number in range(1, UNLOCKS + 1))
    return (*(part for part in parts if part is not whole), *(replace(whole, amount=amount, schedule=each) for each in schedules))


def _fresh_disk(genesis: GenesisBlock) -> Contents:
    disk = Disk(random.Random(0), lambda _: None)
    opened = disk.open()
    Chain(genesis, BlockStore(opened, "a new disk", genesis.spec.hash), Executor(default_registry()))
    SignFile(opened.slots).save(SignState())
    return disk.contents

"""A chain of one member on this disk, without consensus and network: what blocks of transfers cost a node's store."""

import hashlib
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from genesis.arguments import governance_arguments
from genesis.block import GenesisBlock, make_genesis_block
from genesis.network import KeySource, NodeKeys, make_committee, make_node_keys, node_names
from genesis.presets import Holders, contract_arguments, dev_ido, distribution
from genesis.spec import GenesisSpec
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.crypto import public_key, sign
from ledger.hashing import Tag
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.transaction import SALT_BYTES, Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import View
from node.block_store import BlockStore
from node.chain import Chain, ExecutedBlock
from node.storage import LevelStore
from vm.executor import Executor
from vm.registry import default_registry

START_MS: Final = 1_700_000_000_000
SENDERS: Final = 10
GAS_LIMIT: Final = 100_000
_SPACING_MS: Final = 1_000
_KEYS: Final = make_node_keys(KeySource.from_seed("benchmark"), node_names(1)[0], "localhost:1")
_SEEDS: Final = tuple(hashlib.sha256(b"benchmark account %d" % number).digest() for number in range(SENDERS + 1))


@dataclass(frozen=True, slots=True)
class BlockTimes:
    """Milliseconds of one block: executing it with its roots, and writing it with everything that follows from it."""

    execute_ms: float
    write_ms: float


class LocalChain:
    """Makes blocks of transfers, each to one of `accounts` accounts in turn, and commits them with a real certificate."""

    def __init__(self, chain: Chain, disk: LevelStore, accounts: int, genesis: GenesisBlock, keys: Sequence[NodeKeys]) -> None:
        self.chain = chain
        self.genesis = genesis
        self._keys = keys
        self.disk = disk
        self._policies = [KeyPolicy.single(public_key(seed)) for seed in _SEEDS[:SENDERS]]
        self._payees = [KeyPolicy.single(hashlib.sha256(b"payee %d" % number).digest()).address for number in range(accounts)]
        self._sent = 0

    def add_block(self, transfers: int) -> BlockTimes:
        """Build, execute and commit a block; signing is not counted."""
        now_ms = self.chain.tip.timestamp_ms + _SPACING_MS
        made = [self._transfer(now_ms) for _ in range(transfers)]
        began = time.perf_counter()
        executed, _ = self.chain.build(made, transfers, View(0), self._keys[0].member.id, now_ms)
        built = time.perf_counter()
        certificate = self._certify(executed)
        certified = time.perf_counter()
        self.chain.commit(executed, certificate)
        return BlockTimes((built - began) * 1e3, (time.perf_counter() - certified) * 1e3)

    def _transfer(self, now_ms: int) -> Transaction:
        self._sent += 1
        sender, genesis_hash = self._sent % SENDERS, self.chain.genesis_hash
        call = Call("asset", "transfer", (self._payees[self._sent % len(self._payees)], 1))
        salt, until_ms = self._sent.to_bytes(SALT_BYTES), now_ms + 60_000
        body = TransactionBody(self._policies[sender], salt, until_ms, chain_tag_of(genesis_hash), (call,), GAS_LIMIT)
        return body.sign(genesis_hash, (_SEEDS[sender],))

    def _certify(self, executed: ExecutedBlock) -> QuorumCertificate:
        digest = vote_digest(Tag.COMMIT, self.chain.genesis_hash, executed.header.height, View(0), executed.block_hash)
        votes = {keys.member.id: sign(keys.consensus_seed, digest) for keys in self._keys}
        return QuorumCertificate.build(executed.header, View(0), votes, self.chain.committee)


@contextmanager
def local_chain(
    folder: Path, accounts: int, *, indexes: bool = True, keys: Sequence[NodeKeys] = (_KEYS,)
) -> Iterator[LocalChain]:
    """A new chain in a LevelDB folder, every block of it signed by all of its members."""
    addresses = [KeyPolicy.single(public_key(seed)).address for seed in _SEEDS]
    money = distribution(Holders(*addresses[:4]), dev_ido(addresses[:SENDERS], addresses[SENDERS]), START_MS)
    spec = GenesisSpec(
        chain_id="benchmark",
        timestamp_ms=START_MS,
        development=True,
        parameters=ChainParameters(),
        committee=make_committee([item.member for item in keys]),
        contracts={**contract_arguments(money), **governance_arguments({item.member.id: item.account for item in keys})},
    )
    disk = LevelStore(folder)
    try:
        store = BlockStore(disk, str(folder), spec.hash)
        genesis = make_genesis_block(spec)
        chain = Chain(genesis, store, Executor(default_registry()), indexes=indexes)
        yield LocalChain(chain, disk, accounts, genesis, keys)
    finally:
        disk.close()

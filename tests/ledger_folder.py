"""A node's folder with a small chain in it, as the operator's tools find it: configuration, genesis file and database."""

import contextlib
import copy
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from genesis.block import GenesisBlock
from genesis.spec_json import spec_to_json
from ledger.crypto import public_key
from ledger.policy import KeyPolicy
from ledger.transaction import Call, Transaction
from ledger.types import Address
from node.block_store import BlockStore
from node.chain import Chain
from node.damage import STORE_NAME
from node.db_index import reindex
from node.db_tools import silent, stopped_store
from tests.memory_node import FAUCET_SEED, MEMBER, MemoryNode
from vm.registry import default_registry

SEEDS = tuple(bytes([number]) * 32 for number in range(1, 8))
ADDRESSES = tuple(KeyPolicy.single(public_key(seed)).address for seed in SEEDS)


class FolderNode(MemoryNode):
    """A memory node that takes transactions without an event loop."""

    @property
    def genesis(self) -> GenesisBlock:
        return self._genesis

    @property
    def chain(self) -> Chain:
        return self._chain

    def put(self, *calls: Call, seed: bytes = FAUCET_SEED, gas_limit: int = 400_000) -> Transaction:
        """Give a transaction to the pool and return it."""
        transaction = self.sign(seed, calls, gas_limit=gas_limit)
        self._intake.admit(transaction, self.now_ms)
        return transaction

    def reindex(self) -> None:
        """Make the index anew."""
        reindex(self._chain.store, self.genesis_hash, default_registry(), silent)

    def transfer(self, to: Address, amount: int, seed: bytes = FAUCET_SEED) -> Transaction:
        """Give a transfer to the pool and return it."""
        return self.put(Call("asset", "transfer", (to, amount)), seed=seed)


class LedgerFolder:
    """`config.toml`, `genesis.json` and `data/db` in a folder; `running()` is a node on them, `store()` what it has stopped."""

    def __init__(self, folder: Path, **options: Any) -> None:
        self.folder = folder
        self.data_dir = folder / "data"
        self.config = folder / "config.toml"
        self._options = options
        self.data_dir.mkdir(parents=True)
        with self.running() as node:
            self.genesis = node.genesis
        (folder / "genesis.json").write_text(spec_to_json(self.genesis.spec))
        self.config.write_text(
            f'[node]\nmember_id = "{MEMBER}"\ngenesis = "genesis.json"\ndata_dir = "data"\n'
            'consensus_key = "consensus.key"\ntls_certificate = "tls.crt"\ntls_key = "tls.key"\n'
        )

    def at(self, folder: Path) -> "LedgerFolder":
        """Return the same for a copy of the folder."""
        found = copy.copy(self)
        found.folder, found.data_dir, found.config = folder, folder / "data", folder / "config.toml"
        return found

    @contextlib.contextmanager
    def running(self) -> Iterator[FolderNode]:
        """The node; each block is stamped a second after the one before."""
        node = FolderNode(self.data_dir / STORE_NAME, auto=False, **self._options)
        node.now_ms = node.tip.timestamp_ms
        try:
            yield node
        finally:
            node.close()

    @contextlib.contextmanager
    def store(self) -> Iterator[BlockStore]:
        """The store of the stopped node."""
        with stopped_store(self.data_dir, self.genesis.spec.hash) as store:
            yield store

    def grow(self, blocks: int, per_block: int = 3) -> None:
        """Commit blocks of transfers from the faucet to a few accounts, all of them indexed."""
        with self.running() as node:
            for number in range(blocks):
                for each in range(per_block):
                    node.transfer(ADDRESSES[(number + each) % len(ADDRESSES)], 100 + number)
                node.commit()
            node.reindex()

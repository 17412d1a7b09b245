"""A node without consensus and network: real genesis, pool, execution, store and statuses, one member that decides alone.

`MemoryNode(path)` is a development chain whose faucet holds everything. Each accepted transaction is put into a block of its own
at once, or with `auto=False` when `commit()` is called. It is a `NodeApi`, so RPC tests run against it without sockets.
"""

import hashlib
import secrets
from pathlib import Path
from typing import Final

from genesis.arguments import governance_arguments
from genesis.block import make_genesis_block
from genesis.network import KeySource, make_committee, make_node_keys, node_names
from genesis.presets import contract_arguments
from genesis.spec import GenesisSpec
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.crypto import public_key, sign
from ledger.hashing import Tag
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.transaction import Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import Height, MemberId, View
from node.api import ConsensusStatus, PeerStatus, Readiness
from node.chain import Chain
from node.chain_service import ChainService
from node.finality import Finality
from node.intake import Intake
from node.mempool import Mempool, MempoolLimits
from node.storage import open_block_store
from vm.contracts.asset import SUPPLY, Allocation, Category
from vm.executor import Executor
from vm.registry import Registry, default_registry

START_MS: Final = 1_700_000_000_000
FAUCET_SEED: Final = hashlib.sha256(b"memory node faucet").digest()
FAUCET: Final = KeyPolicy.single(public_key(FAUCET_SEED)).address
MEMBER: Final = MemberId("node1")


class MemoryNode(ChainService):
    """Implements `NodeApi`. `step_ms` is how far apart blocks are stamped. All of its `members` sign each block."""

    now_ms: int

    def __init__(
        self,
        path: Path,
        *,
        auto: bool = True,
        development: bool = True,
        parameters: ChainParameters | None = None,
        registry: Registry | None = None,
        name: str = "memory-1",
        members: int = 1,
    ) -> None:
        source = KeySource.from_seed(name)
        self.keys = [make_node_keys(source, each, f"127.0.0.1:{26656 + at}") for at, each in enumerate(node_names(members))]
        everything = Allocation(FAUCET, SUPPLY, Category.OTHER, None, None)
        spec = GenesisSpec(
            chain_id=name,
            timestamp_ms=START_MS,
            development=development,
            parameters=parameters or ChainParameters(),
            committee=make_committee([each.member for each in self.keys]),
            contracts={
                **contract_arguments((everything,)),
                **governance_arguments({each.member.id: each.account for each in self.keys}),
            },
        )
        registry = registry or default_registry()
        genesis = make_genesis_block(spec, registry)
        self.chain_path = path
        self._store = open_block_store(path, spec.hash)
        chain = Chain(genesis, self._store, Executor(registry))
        self._mempool = Mempool(MempoolLimits())
        intake = Intake(chain, self._mempool, self._accepted)
        super().__init__(genesis, chain, intake, Finality(chain, self._mempool), FAUCET_SEED, lambda: self.now_ms)
        self.auto = auto
        self.now_ms = START_MS
        self.step_ms = 1_000

    def close(self) -> None:
        self._store.close()

    def _accepted(self, _transaction: Transaction, _from_wallet: bool) -> None:
        if self.auto:
            self.commit()

    def commit(self) -> None:
        """Decide a block of everything that waits, stamped `step_ms` later."""
        self.now_ms += self.step_ms
        built, _ = self._chain.build(self._mempool.candidates(), 2_000, View(0), MEMBER, self.now_ms)
        signed = vote_digest(Tag.COMMIT, self.genesis_hash, built.header.height, View(0), built.block_hash)
        committee = self.committee
        votes = {
            each.member.id: sign(each.consensus_seed, signed) for each in self.keys if committee.get(each.member.id) is not None
        }
        self._chain.commit(built, QuorumCertificate.build(built.header, View(0), votes, committee))
        self._mempool.remove([transaction.id for transaction in built.transactions])
        self._finality.expired([transaction.id for transaction in self._mempool.expire(built.header.timestamp_ms)])
        self._finality.committed(built)

    # ---- the network's side of NodeApi

    @property
    def member_id(self) -> MemberId:
        return MEMBER

    def consensus_status(self) -> ConsensusStatus:
        return ConsensusStatus(Height(self.tip.height + 1), 0, MEMBER, "idle", {}, None)

    def set_ahead(self, ms: int, from_height: Height | None = None) -> Height:
        self.now_ms += ms
        return from_height or Height(self.tip.height + 1)

    def peers(self) -> tuple[PeerStatus, ...]:
        return (PeerStatus(MemberId("node2"), "127.0.0.1:26657", "out", True, 7, 0.25, None),)

    def status(self) -> dict[str, object]:
        pool = {"transactions": len(self._mempool), "bytes": self._mempool.size_bytes}
        return {"member_id": MEMBER, "height": self.tip.height, "mempool": pool, "committed": {"transactions": 3}}

    def readiness(self) -> Readiness:
        return Readiness(True, {"quorum": "ok"})

    # ---- what tests need

    def sign(self, seed: bytes, calls: tuple[Call, ...], *, valid_for_ms: int = 600_000, gas_limit: int = 100_000) -> Transaction:
        """Return a transaction of `calls` for this chain, signed by `seed`."""
        body = TransactionBody(
            policy=KeyPolicy.single(public_key(seed)),
            salt=secrets.token_bytes(8),
            valid_until_ms=self.tip.timestamp_ms + valid_for_ms,
            chain_tag=chain_tag_of(self.genesis_hash),
            calls=calls,
            gas_limit=gas_limit,
        )
        return body.sign(self.genesis_hash, (seed,))

"""A node without consensus and network: real genesis, pool, execution, store and statuses, one member that decides alone.

`MemoryNode(path)` is a development chain whose faucet holds everything. Each accepted transaction is put into a block of its own
at once, or with `auto=False` when `commit()` is called. It is a `NodeApi`, so RPC tests run against it without sockets.
"""

import hashlib
import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from genesis.block import make_genesis_block
from genesis.network import KeySource, make_committee, make_node_keys
from genesis.presets import contract_arguments
from genesis.spec import GenesisSpec
from ledger.block import Block, Header, Receipt
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.codec import Value, encode
from ledger.committee import Committee
from ledger.crypto import public_key, sign
from ledger.errors import DatacarError, RejectedError
from ledger.hashing import Tag
from ledger.list_root import prove_item
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.receipt_proof import ReceiptProof
from ledger.transaction import Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import Address, BlockHash, Height, MemberId, TxId, View
from node.api import ConsensusStatus, PeerStatus, Readiness, Submission, TxState, TxStatus
from node.chain import Chain
from node.finality import Finality
from node.intake import Intake
from node.mempool import Mempool, MempoolLimits
from node.storage import BlockStore
from vm.contracts.asset import SUPPLY, Allocation, Category
from vm.executor import Executor
from vm.registry import Registry, default_registry

START_MS: Final = 1_700_000_000_000
FAUCET_SEED: Final = hashlib.sha256(b"memory node faucet").digest()
FAUCET: Final = KeyPolicy.single(public_key(FAUCET_SEED)).address
MEMBER: Final = MemberId("node1")


class MemoryNode:
    """Implements `NodeApi`. `step_ms` is how far apart blocks are stamped."""

    def __init__(
        self,
        path: Path,
        *,
        auto: bool = True,
        development: bool = True,
        parameters: ChainParameters | None = None,
        registry: Registry | None = None,
        name: str = "memory-1",
    ) -> None:
        self._keys = make_node_keys(KeySource.from_seed(name), MEMBER, "127.0.0.1:26656")
        everything = Allocation(FAUCET, SUPPLY, Category.OTHER, None, None)
        self._spec = GenesisSpec(
            chain_id=name,
            timestamp_ms=START_MS,
            development=development,
            parameters=parameters or ChainParameters(),
            committee=make_committee([self._keys.member]),
            contracts=contract_arguments((everything,)),
        )
        registry = registry or default_registry()
        self.chain_path = path
        self._store = BlockStore(path, self._spec.hash)
        self._chain = Chain(make_genesis_block(self._spec, registry), self._store, Executor(registry))
        self._mempool = Mempool(MempoolLimits())
        self._finality = Finality(self._chain, self._mempool)
        self._intake = Intake(self._chain, self._mempool, self._accepted)
        self._auto = auto
        self.now_ms = START_MS
        self.step_ms = 1_000

    def close(self) -> None:
        self._store.close()

    def _accepted(self, _transaction: Transaction, _from_wallet: bool) -> None:
        if self._auto:
            self.commit()

    def commit(self) -> None:
        """Decide a block of everything that waits, stamped `step_ms` later."""
        self.now_ms += self.step_ms
        built = self._chain.build(self._mempool.candidates(), 2_000, View(0), MEMBER, self.now_ms)
        vote = sign(
            self._keys.consensus_seed,
            vote_digest(Tag.COMMIT, self.genesis_hash, built.header.height, View(0), built.block_hash),
        )
        self._chain.commit(built, QuorumCertificate.build(built.header, View(0), {MEMBER: vote}, self.committee))
        self._mempool.remove([transaction.id for transaction in built.transactions])
        self._finality.expired([transaction.id for transaction in self._mempool.expire(built.header.timestamp_ms)])
        self._finality.committed(built)

    # ---- NodeApi

    @property
    def chain_id(self) -> str:
        return self._spec.chain_id

    @property
    def genesis_hash(self) -> bytes:
        return self._spec.hash

    @property
    def development(self) -> bool:
        return self._spec.development

    @property
    def member_id(self) -> MemberId:
        return MEMBER

    @property
    def parameters(self) -> ChainParameters:
        return self._spec.parameters

    @property
    def committee(self) -> Committee:
        return self._spec.committee

    @property
    def tip(self) -> Header:
        return self._chain.tip

    @property
    def tip_hash(self) -> BlockHash:
        return self._chain.tip_hash

    def header(self, height: Height) -> Header | None:
        return self._store.header(height)

    def block(self, height: Height) -> Block | None:
        return self._store.block(height)

    def certificate(self, height: Height) -> QuorumCertificate | None:
        return self._store.certificate(height)

    def tx_ids(self, height: Height) -> tuple[TxId, ...] | None:
        return self._store.tx_ids(height)

    def receipts(self, height: Height) -> tuple[Receipt, ...] | None:
        return self._store.receipts(height)

    def height_of(self, block_hash: BlockHash) -> Height | None:
        return self._store.height_of(block_hash)

    def decode_transaction(self, raw: bytes) -> Transaction:
        return self._intake.decode(raw)

    async def submit(self, raws: Sequence[bytes]) -> list[Submission]:
        return [self._submit(raw) for raw in raws]

    def _submit(self, raw: bytes) -> Submission:
        try:
            transaction = self._intake.decode(raw)
        except DatacarError as error:
            return Submission(None, error=error)
        known = self._finality.status(transaction.id, transaction.body.valid_until_ms)
        if known.state not in (TxState.NOT_FOUND, TxState.EXPIRED):
            return Submission(transaction.id, known, duplicate=True)
        try:
            self._intake.admit(transaction, self.now_ms)
        except DatacarError as error:
            return Submission(transaction.id, error=error)
        return Submission(transaction.id, TxStatus(transaction.id, TxState.PENDING))

    def transaction_status(self, tx_id: TxId, valid_until_ms: int | None = None) -> TxStatus:
        return self._finality.status(tx_id, valid_until_ms)

    async def wait_final(self, tx_id: TxId, timeout_ms: int, valid_until_ms: int | None = None) -> TxStatus:
        return await self._finality.wait(tx_id, timeout_ms, valid_until_ms)

    def prove_receipt(self, tx_id: TxId) -> ReceiptProof | None:
        place = self._chain.committed_at(tx_id)
        if place is None:
            return None
        height, index = place
        certificate, receipts = self.certificate(height), self.receipts(height)
        assert certificate is not None
        assert receipts is not None
        proof = prove_item(self.genesis_hash, [receipt.hash(self.genesis_hash) for receipt in receipts], index)
        return ReceiptProof(encode(self._spec.to_value()), certificate, receipts[index], proof)

    def query(self, contract: str, method: str, args: Sequence[Value]) -> Value:
        context = self._chain.context(self.tip.timestamp_ms)
        return self._chain.executor.query(self._store.state, context, contract, method, tuple(args))

    def simulate(self, transaction: Transaction) -> Receipt:
        context = self._chain.context(self.now_ms + 1)
        return self._chain.executor.simulate(self._store.state, context, transaction).receipt

    def simulate_calls(self, sender: Address, calls: Sequence[Call]) -> Receipt:
        context = self._chain.context(self.now_ms + 1)
        return self._chain.executor.simulate_calls(self._store.state, context, sender, calls).receipt

    async def faucet(self, address: bytes, amount_motes: int) -> Submission:
        if not self.development:
            raise RejectedError("not_permitted", "this node has no faucet")
        calls = (Call("asset", "transfer", (address, amount_motes)),)
        return self._submit(self.sign(FAUCET_SEED, calls).raw)

    def consensus_status(self) -> ConsensusStatus:
        return ConsensusStatus(Height(self.tip.height + 1), 0, MEMBER, "idle", {}, None)

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

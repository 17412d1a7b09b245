"""The chain's side of what a node answers: blocks, transactions, state. Needs no consensus and no network."""

import secrets
import time
from collections.abc import Sequence
from typing import Final

from genesis.block import GenesisBlock
from ledger.block import Block, Header, Receipt
from ledger.certificate import QuorumCertificate
from ledger.claims import Claim
from ledger.codec import Value
from ledger.committee import Committee
from ledger.committee_chain import Handover
from ledger.crypto import public_key
from ledger.errors import DatacarError, NotFoundError, RejectedError
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.proof import Proof
from ledger.transaction import SALT_BYTES, Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import Address, BlockHash, Height, TxId
from node.api import NodeTime, Submission, TxState, TxStatus
from node.block_store import Held
from node.chain import Chain
from node.clock import Clock, now_ms
from node.finality import Finality
from node.intake import Intake
from node.lists import Lists
from node.prover import Prover
from node.state_version import StateVersion
from vm.proven import recorded_query

SUBMIT_CHUNK: Final = 16
SUBMIT_S: Final = 0.002
"""A chunk ends after this time, or that many transactions: whichever comes first."""
FAUCET_GAS: Final = 100_000
FAUCET_VALID_MS: Final = 60_000


class ChainService:
    """The part of `NodeApi` that a chain, its pool and its statuses can answer. `clock` gives Unix milliseconds."""

    def __init__(
        self,
        genesis: GenesisBlock,
        chain: Chain,
        intake: Intake,
        finality: Finality,
        faucet_seed: bytes | None,
        clock: Clock = now_ms,
    ) -> None:
        self._genesis = genesis
        self._chain = chain
        self._intake = intake
        self._finality = finality
        self._prover = Prover(genesis, chain, intake.turn)
        self._faucet_seed = faucet_seed
        self._lists = Lists(chain.store)
        self._now_ms = clock

    # ---- the chain

    @property
    def chain_id(self) -> str:
        """The chain's name."""
        return self._genesis.spec.chain_id

    @property
    def genesis_hash(self) -> bytes:
        """What separates this chain from every other."""
        return self._chain.genesis_hash

    @property
    def development(self) -> bool:
        """Whether genesis allows the `dev_*` methods."""
        return self._genesis.spec.development

    @property
    def parameters(self) -> ChainParameters:
        """The chain's parameters."""
        return self._chain.parameters

    @property
    def committee(self) -> Committee:
        """The members that vote on the next height."""
        return self._chain.committee

    @property
    def tip(self) -> Header:
        """The header of the last committed block."""
        return self._chain.tip

    @property
    def tip_hash(self) -> BlockHash:
        """The hash of the last committed block."""
        return self._chain.tip_hash

    def header(self, height: Height) -> Header | None:
        """Return a committed header."""
        return self._chain.tip if height == self._chain.tip.height else self._chain.store.header(height)

    def block(self, height: Height) -> Block | None:
        """Return a committed block with its bodies."""
        return self._chain.store.block(height)

    def certificate(self, height: Height) -> QuorumCertificate | None:
        """Return the certificate of a committed block; genesis has none."""
        return self._chain.store.certificate(height)

    def tx_ids(self, height: Height) -> tuple[TxId, ...] | None:
        """Return the ids of a committed block's transactions in order."""
        return self._chain.store.tx_ids(height)

    def height_of(self, block_hash: BlockHash) -> Height | None:
        """Return the height of a committed block."""
        return self._chain.store.height_of(block_hash)

    # ---- transactions

    def decode_transaction(self, raw: bytes) -> Transaction:
        """Return the transaction of raw bytes; raises the coded error a sender sees."""
        return self._intake.decode(raw)

    async def submit(self, raws: Sequence[bytes]) -> list[Submission]:
        """Check, verify and accept transactions in order, in chunks that leave room for consensus messages between them."""
        answers: list[Submission] = []
        while len(answers) < len(raws):
            async with self._intake.turn():
                self._submit_chunk(raws, answers)
        return answers

    def _submit_chunk(self, raws: Sequence[bytes], answers: list[Submission]) -> None:
        """Answer the next few transactions: those that are dear to check end the chunk early."""
        end = time.monotonic() + SUBMIT_S
        for raw in raws[len(answers) : len(answers) + SUBMIT_CHUNK]:
            answers.append(self._submit(raw))
            if time.monotonic() >= end:
                break

    def _submit(self, raw: bytes) -> Submission:
        try:
            transaction = self._intake.decode(raw)
        except DatacarError as error:
            return Submission(None, error=error)
        try:
            known = self._finality.status(transaction.id, transaction.body.valid_until_ms)
        except NotFoundError as pruned:
            return Submission(transaction.id, error=pruned)
        if known.state not in (TxState.NOT_FOUND, TxState.EXPIRED):
            return Submission(transaction.id, known, duplicate=True)
        try:
            self._intake.admit(transaction, self._now_ms())
        except DatacarError as error:
            return Submission(transaction.id, error=error)
        return Submission(transaction.id, TxStatus(transaction.id, TxState.PENDING))

    def transaction_status(self, tx_id: TxId, valid_until_ms: int | None = None) -> TxStatus:
        """Return where a transaction stands."""
        return self._finality.status(tx_id, valid_until_ms)

    async def wait_final(self, tx_id: TxId, timeout_ms: int, valid_until_ms: int | None = None) -> TxStatus:
        """Return the final status; raises `wait_timeout` when it does not come in time."""
        return await self._finality.wait(tx_id, timeout_ms, valid_until_ms)

    async def prove_receipt(self, tx_id: TxId, trusted: Height | None = None) -> Proof | None:
        """Return the proof of a committed transaction's receipt, or None when it is not in a block."""
        return await self._prover.receipt(tx_id, trusted)

    def prove(self, height: Height, claim: Claim, trusted: Height | None = None) -> Proof:
        """Return the proof of a claim about a block."""
        return self._prover.prove(height, claim, trusted)

    def handovers(self, start: Height, stop: Height) -> tuple[Handover, ...]:
        """Return the changes of the committee in the blocks from `start` on and below `stop`."""
        return self._prover.handovers(start, stop)

    def committee_at(self, height: Height) -> Committee:
        """Return the committee that certified a block."""
        return self._prover.committee(height)

    @property
    def held(self) -> Held:
        """From which height on this node holds what."""
        return self._chain.store.held

    def evidence(self) -> tuple[bytes, ...]:
        """Return what proves that members contradicted themselves: `consensus.evidence.Evidence` in canonical bytes."""
        return self._chain.store.evidence()

    @property
    def lists(self) -> Lists:
        """What lists of transactions and events are read from."""
        return self._lists

    # ---- state

    def query(self, contract: str, method: str, args: Sequence[Value], version: StateVersion | None = None) -> Value:
        """Return what a read-only method answers on the committed state of the tip, or on another version."""
        chain = self._chain
        if version is None:
            return chain.executor.query(chain.store.state, chain.context_at(chain.tip), contract, method, tuple(args))
        return chain.executor.query(version, chain.context_at(version.header), contract, method, tuple(args))

    def query_noting_reads(
        self, contract: str, method: str, args: Sequence[Value], version: StateVersion
    ) -> tuple[Value, tuple[bytes, ...]]:
        """Return what a read-only method answers and the raw keys it read: their proofs prove the answer."""
        return recorded_query(self._chain.executor, version, version.header, contract, method, tuple(args))

    def note_failure(self, error: DatacarError) -> None:
        """Take note of the error that a request met: nothing runs here that it should stop."""

    def state_at(self, height: Height) -> StateVersion:
        """Return the state after a committed block. Raises `NotFoundError`: not there yet, or `pruned`."""
        return self._chain.version(height)

    def simulate(self, transaction: Transaction) -> Receipt:
        """Return the outcome that the transaction would have on the committed state of the tip."""
        chain = self._chain
        context = chain.context(max(self._now_ms(), chain.tip.timestamp_ms + 1))
        return chain.executor.simulate(chain.store.state, context, transaction).receipt

    def simulate_calls(self, sender: Address, calls: Sequence[Call]) -> Receipt:
        """Return the outcome that unsigned calls of `sender` would have on the committed state of the tip."""
        chain = self._chain
        context = chain.context(max(self._now_ms(), chain.tip.timestamp_ms + 1))
        return chain.executor.simulate_calls(chain.store.state, context, sender, calls).receipt

    def time(self) -> NodeTime:
        """Return what this node's clock says: it has never been set ahead."""
        return NodeTime(self._now_ms(), 0, 0)

    def set_ahead(self, ms: int, from_height: Height | None = None) -> Height:  # noqa: ARG002 - the port's names
        """Refuse: this clock is the machine's."""
        hint = "ask a node of a development network"
        raise RejectedError("not_permitted", "this node's clock cannot be set", hint=hint)

    async def faucet(self, address: bytes, amount_motes: int) -> Submission:
        """Send from the development faucet, an account of genesis; nothing is minted."""
        if self._faucet_seed is None or not self.development:
            hint = "ask a node of a development network that holds the faucet's key"
            raise RejectedError("not_permitted", "this node has no faucet", hint=hint)
        body = TransactionBody(
            KeyPolicy.single(public_key(self._faucet_seed)),
            secrets.token_bytes(SALT_BYTES),
            max(self._now_ms(), self._chain.tip.timestamp_ms) + min(FAUCET_VALID_MS, self.parameters.tx_window_ms),
            chain_tag_of(self.genesis_hash),
            (Call("asset", "transfer", (address, amount_motes)),),
            FAUCET_GAS,
            "faucet",
        )
        return self._submit(body.sign(self.genesis_hash, (self._faucet_seed,)).raw)

"""What the RPC layer may ask of a running node: a small port, owned by its consumer, with typed answers.

Everything here is called on the event loop and returns quickly; what must wait is a coroutine with a timeout.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from ledger.block import Block, Header, Receipt
from ledger.certificate import QuorumCertificate
from ledger.claims import Claim
from ledger.codec import Value
from ledger.committee import Committee
from ledger.committee_chain import Handover
from ledger.errors import DatacarError
from ledger.parameters import ChainParameters
from ledger.proof import Proof
from ledger.transaction import Call, Transaction
from ledger.types import Address, BlockHash, Height, MemberId, TxId
from node.block_store import Held
from node.lists import Lists
from node.state_version import StateVersion


class TxState(StrEnum):
    """Where a transaction stands; the last three are final."""

    NOT_FOUND = "not_found"
    PENDING = "pending"
    SUCCEEDED = "succeeded"
    FAILED = "failed"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class TxStatus:
    """Answer of `tx_get` and `tx_wait`; height, index and receipt stand there once it is in a block."""

    id: TxId
    state: TxState
    height: Height | None = None
    index: int | None = None
    receipt: Receipt | None = None

    @property
    def is_final(self) -> bool:
        """Return whether the state never changes again."""
        return self.state not in (TxState.NOT_FOUND, TxState.PENDING)


@dataclass(frozen=True, slots=True)
class Submission:
    """What became of one submitted transaction: its id and status, or why it was refused."""

    id: TxId | None
    status: TxStatus | None = None
    duplicate: bool = False
    error: DatacarError | None = None


@dataclass(frozen=True, slots=True)
class PeerStatus:
    """One other member as seen from here."""

    member_id: MemberId
    address: str
    direction: str
    connected: bool
    height: int | None
    rtt_ms: float | None
    last_error: str | None


@dataclass(frozen=True, slots=True)
class ConsensusStatus:
    """Answer of `consensus_status`. `stalled` is None or says why nothing moves, with a stable word first."""

    height: Height
    view: int
    primary: MemberId
    phase: str
    votes: dict[str, int]
    stalled: str | None


@dataclass(frozen=True, slots=True)
class NodeTime:
    """A node's clock in Unix ms, how far it was set ahead of the machine's, and how far it will be.

    `offset_ms` is in force, `promised_ms` from a height on that is not there yet. Both are 0 off development chains.
    """

    time_ms: int
    offset_ms: int
    promised_ms: int


@dataclass(frozen=True, slots=True)
class Readiness:
    """Whether the node can serve: the named checks and what failed."""

    ready: bool
    checks: dict[str, str]


class NodeApi(Protocol):
    """A running node."""

    @property
    def chain_id(self) -> str:
        """The chain's name."""

    @property
    def genesis_hash(self) -> bytes:
        """What separates this chain from every other."""

    @property
    def development(self) -> bool:
        """Whether genesis allows the `dev_*` methods."""

    @property
    def member_id(self) -> MemberId:
        """This node's member."""

    @property
    def parameters(self) -> ChainParameters:
        """The chain's parameters."""

    @property
    def committee(self) -> Committee:
        """The members that vote on the next height."""

    @property
    def tip(self) -> Header:
        """The header of the last committed block."""

    @property
    def tip_hash(self) -> BlockHash:
        """The hash of the last committed block."""

    def header(self, height: Height) -> Header | None:
        """Return a committed header."""

    def block(self, height: Height) -> Block | None:
        """Return a committed block with its bodies."""

    def certificate(self, height: Height) -> QuorumCertificate | None:
        """Return the certificate of a committed block; genesis has none."""

    def tx_ids(self, height: Height) -> tuple[TxId, ...] | None:
        """Return the ids of a committed block's transactions in order."""

    def height_of(self, block_hash: BlockHash) -> Height | None:
        """Return the height of a committed block."""

    def decode_transaction(self, raw: bytes) -> Transaction:
        """Return the transaction of raw bytes; raises the coded error a sender sees."""

    async def submit(self, raws: Sequence[bytes]) -> list[Submission]:
        """Check, verify and accept transactions, in order; each gets its own answer."""

    def transaction_status(self, tx_id: TxId, valid_until_ms: int | None = None) -> TxStatus:
        """Return where a transaction stands."""

    async def wait_final(self, tx_id: TxId, timeout_ms: int, valid_until_ms: int | None = None) -> TxStatus:
        """Return the final status; raises `UnavailableError` `wait_timeout` (or `syncing`, `no_quorum`) when it does not come."""

    def evidence(self) -> tuple[bytes, ...]:
        """Return what proves that members contradicted themselves: `consensus.evidence.Evidence` in canonical bytes."""
        ...

    async def prove_receipt(self, tx_id: TxId, trusted: Height | None = None) -> Proof | None:
        """Return the proof of a committed transaction's receipt, or None when it is not in a block.

        From genesis, or short for those who trust the block of height `trusted`. Raises `NotFoundError` `pruned`.
        """

    def prove(self, height: Height, claim: Claim, trusted: Height | None = None) -> Proof:
        """Return the proof of a claim about a block, as `prove_receipt` does. Raises `NotFoundError`."""
        ...

    def handovers(self, start: Height, stop: Height) -> tuple[Handover, ...]:
        """Return the changes of the committee in the blocks from `start` on and below `stop`."""
        ...

    def committee_at(self, height: Height) -> Committee:
        """Return the committee that certified a block."""
        ...

    @property
    def held(self) -> Held:
        """From which height on this node holds what."""
        ...

    @property
    def lists(self) -> Lists:
        """What lists of transactions and events are read from."""

    def query(self, contract: str, method: str, args: Sequence[Value], version: StateVersion | None = None) -> Value:
        """Return what a read-only method answers on the committed state of the tip, or on another version."""

    def query_noting_reads(
        self, contract: str, method: str, args: Sequence[Value], version: StateVersion
    ) -> tuple[Value, tuple[bytes, ...]]:
        """Return what a read-only method answers and the raw keys it read: their proofs prove the answer (`vm.proven`)."""
        ...

    def note_failure(self, error: DatacarError) -> None:
        """Take note of the error that a request met: damage must stop the node, not only be told to whoever asked."""

    def state_at(self, height: Height) -> StateVersion:
        """Return the state after a committed block. Raises `NotFoundError`: not there yet, or `pruned`."""
        ...

    def simulate(self, transaction: Transaction) -> Receipt:
        """Return the outcome that the transaction would have on the committed state of the tip."""

    def simulate_calls(self, sender: Address, calls: Sequence[Call]) -> Receipt:
        """Return the outcome that unsigned calls of `sender` would have on the committed state of the tip."""

    async def faucet(self, address: bytes, amount_motes: int) -> Submission:
        """Send from the development faucet; only where `development`."""

    def time(self) -> NodeTime:
        """Return what this node's clock says."""
        ...

    def set_ahead(self, ms: int, from_height: Height | None = None) -> Height:
        """Set this node's clock ahead where `from_height` begins (None: as soon as it is safe); return from which height on.

        Raises `RejectedError` `not_permitted` where that cannot be done.
        """
        ...

    def consensus_status(self) -> ConsensusStatus:
        """Return where the protocol stands."""

    def peers(self) -> tuple[PeerStatus, ...]:
        """Return the other members as seen from here."""

    def status(self) -> dict[str, object]:
        """Return version, uptime, sizes and counters of this node, JSON-able."""

    def readiness(self) -> Readiness:
        """Return whether this node can serve and why not."""

"""What a replica asks its driver to do: values, carried out in the order they are returned.

A returned tuple always keeps persist -> send -> apply, so a driver that goes through it in order and stops at a failure never
sends a vote that it would forget.
"""

from dataclasses import dataclass
from enum import Enum
from typing import TypeAlias

from consensus.evidence import Evidence
from consensus.messages import Message, Signed
from consensus.sign_state import SignState
from ledger.block import Header
from ledger.certificate import QuorumCertificate
from ledger.committee import Committee
from ledger.types import BlockHash, Height, MemberId, TxHash, View


class Timer(Enum):
    """The timers of a replica; setting one again replaces it."""

    PROGRESS = "progress"
    RESEND = "resend"
    HOLD = "hold"


@dataclass(frozen=True, slots=True)
class Proposal:
    """A block as consensus sees it: the header, its hash, and the ordered hashes of its transactions."""

    block_hash: BlockHash
    header: Header
    tx_hashes: tuple[TxHash, ...]


@dataclass(frozen=True, slots=True)
class Candidate:
    """A block that was built, and the committee that votes after it."""

    proposal: Proposal
    following: Committee


@dataclass(frozen=True, slots=True)
class Persist:
    """Make `block` (header and ordered bodies, when given) and then `state` durable before anything later leaves."""

    state: SignState
    block: Proposal | None = None


@dataclass(frozen=True, slots=True)
class Broadcast:
    """Sign `message`, send it to every member, and feed the signed message back in: one's own vote counts like any other."""

    message: Message


@dataclass(frozen=True, slots=True)
class Relay:
    """Send messages of this height, our own and others', again to every member."""

    messages: tuple[Signed, ...]


@dataclass(frozen=True, slots=True)
class SendBlock:
    """Send the committed block of `height` with its certificate to a member that is behind."""

    to: MemberId
    height: Height


@dataclass(frozen=True, slots=True)
class SetTimer:
    """Call `on_timer` at `at_ms`, or never when it is None."""

    timer: Timer
    at_ms: int | None


@dataclass(frozen=True, slots=True)
class BuildBlock:
    """Build and execute a block of at most `max_transactions` on the tip, and answer with `on_candidate`."""

    height: Height
    view: View
    max_transactions: int
    allow_empty: bool


@dataclass(frozen=True, slots=True)
class Execute:
    """Get the bodies, execute the proposal on an overlay of its parent, and answer with `on_executed`."""

    proposal: Proposal


@dataclass(frozen=True, slots=True)
class FetchBodies:
    """Find the ordered transaction hashes of a prepared block, here or at `holders`, and answer with `on_bodies`."""

    header: Header
    block_hash: BlockHash
    holders: tuple[MemberId, ...]


@dataclass(frozen=True, slots=True)
class FetchBlocks:
    """Fetch committed blocks from `from_height` on; `hint` is a member that seems to have them."""

    from_height: Height
    hint: MemberId


@dataclass(frozen=True, slots=True)
class CommitBlock:
    """The block is final: write it with its certificate in one atomic synced batch, then publish it."""

    proposal: Proposal
    certificate: QuorumCertificate


@dataclass(frozen=True, slots=True)
class RecordEvidence:
    """Keep proof that a member contradicted itself, for operators and for governance (rule 10)."""

    evidence: Evidence


@dataclass(frozen=True, slots=True)
class Halt:
    """Stop voting and report: a certificate contradicts what this node computed itself."""

    reason: str
    height: Height
    block_hash: BlockHash


Effect: TypeAlias = (
    Persist
    | Broadcast
    | Relay
    | SendBlock
    | SetTimer
    | BuildBlock
    | Execute
    | FetchBodies
    | FetchBlocks
    | CommitBlock
    | RecordEvidence
    | Halt
)
Effects: TypeAlias = tuple[Effect, ...]

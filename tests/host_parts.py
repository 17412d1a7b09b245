"""What a stand-in driver is made of: messages between instances, disks, the instances themselves, and who may watch them."""

import hashlib
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TypeAlias

from consensus.effects import Halt, Proposal, Timer
from consensus.evidence import Evidence
from consensus.inbox import Inbox
from consensus.messages import Message, Signed
from consensus.replica import Replica
from consensus.round import Tip
from consensus.sign_state import Floor, SignState
from ledger.block import Header
from ledger.certificate import QuorumCertificate
from ledger.committee import Committee, Member
from ledger.crypto import public_key
from ledger.hashing import ZERO_HASH
from ledger.types import BlockHash, Height, MemberId, View

GENESIS_HASH = hashlib.sha256(b"a chain for scenarios").digest()
START_MS = 1_700_000_000_000


class ViolationError(AssertionError):
    """Something that must never happen did."""


@dataclass(frozen=True, slots=True)
class Status:
    """A member's stated tip."""

    height: Height


@dataclass(frozen=True, slots=True)
class GetBlocks:
    """A request for committed blocks from a height on."""

    from_height: Height


@dataclass(frozen=True, slots=True)
class Blocks:
    """Committed blocks with their certificates, ascending."""

    items: tuple[tuple[Proposal, QuorumCertificate], ...]


@dataclass(frozen=True, slots=True)
class GetBodies:
    """A request for a prepared block."""

    block_hash: BlockHash


@dataclass(frozen=True, slots=True)
class Bodies:
    """A prepared block."""

    proposal: Proposal


Payload: TypeAlias = Signed | Status | GetBlocks | Blocks | GetBodies | Bodies


@dataclass(frozen=True, slots=True)
class Delivery:
    """One message on its way from one instance to another."""

    sender: "Host"
    to: "Host"
    payload: Payload


@dataclass
class Disk:
    """What an instance keeps over a crash: committed blocks, prepared blocks, and two copies of the sign-state."""

    chain: list[tuple[Proposal, QuorumCertificate]] = field(default_factory=list)
    blocks: dict[BlockHash, Proposal] = field(default_factory=dict)
    copies: list[SignState | None] = field(default_factory=lambda: [SignState(), SignState()])
    older: SignState = field(default_factory=SignState)

    def save(self, state: SignState) -> None:
        """Write both copies; the one they held before is remembered for tests that bring it back."""
        if self.copies[1] is not None:
            self.older = self.copies[1]
        self.copies = [state, state]

    @property
    def floor(self) -> Floor | None:
        """Return the highest floor that is on disk."""
        return max((copy.floor for copy in self.copies if copy is not None), default=None)

    def load(self) -> SignState | None:
        """Return the newer of the readable copies through its canonical bytes, or None when both are lost."""
        readable = [copy for copy in self.copies if copy is not None]
        return SignState.decode(max(readable, key=lambda copy: copy.floor).encode()) if readable else None


@dataclass(eq=False)
class Host:
    """One instance of a member. `goal` is the height up to which it has something to propose; `skew_ms` is its clock's error."""

    name: str
    index: int
    member: MemberId
    seed: bytes
    replica: Replica
    disk: Disk
    up: bool = True
    goal: int = 0
    skew_ms: int = 0
    refuses: bool = False
    timers: dict[Timer, int | None] = field(default_factory=dict)
    early: Inbox = field(default_factory=Inbox)
    said: dict[Floor, Message] = field(default_factory=dict)

    @property
    def height(self) -> int:
        """Return the height of the last block in the store."""
        return len(self.disk.chain)


class Observer:
    """What a test may watch; the base class ignores everything."""

    def said(self, host: Host, signed: Signed) -> None:
        """Take that an instance said something new."""

    def repeated(self, host: Host, signed: Signed) -> None:
        """Take that an instance sent again, after a restart, what it had said before."""

    def refused(self, host: Host, signed: Signed, reason: str) -> None:
        """Take that an instance refused a message that is not authentic."""

    def held(self, host: Host, until_ms: int) -> None:
        """Take that an instance holds a proposal that is ahead of its clock."""

    def judged(self, host: Host, proposal: Proposal, valid: bool) -> None:
        """Take what execution found of a proposal."""

    def fired(self, host: Host, timer: Timer) -> None:
        """Take that a timer went off."""

    def committed(self, host: Host, proposal: Proposal, certificate: QuorumCertificate, synced: bool) -> None:
        """Take that an instance committed a block, by votes or from another member."""

    def convicted(self, host: Host, evidence: Evidence) -> None:
        """Take that an instance holds proof that a member contradicted itself."""

    def halted(self, host: Host, halt: Halt) -> None:
        """Take that an instance stopped voting."""


def seed_of(index: int) -> bytes:
    """Return the signing seed of member `index`."""
    return hashlib.sha256(f"member {index}".encode()).digest()


def make_committee(n: int) -> Committee:
    """Return n members m0, m1, ..."""
    return committee_with(0, range(n))


def committee_with(epoch: int, numbers: Iterable[int]) -> Committee:
    """Return the committee of these members (at most m9: ids ascend as text) in an epoch."""
    members = (Member(MemberId(f"m{i}"), public_key(seed_of(i)), b"", f"h{i}:1") for i in sorted(numbers))
    return Committee(epoch, tuple(members))


def genesis_tip(committee: Committee) -> Tip:
    """Return height 0."""
    commit = committee.hash(GENESIS_HASH)
    header = Header(Height(0), View(0), GENESIS_HASH, MemberId(""), START_MS, ZERO_HASH, ZERO_HASH, ZERO_HASH, commit, commit, 0)
    return Tip(header, header.hash(GENESIS_HASH))

"""The governance contract's types, events and errors (protocol, rule 13)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from ledger.committee import MAX_CERTIFICATE_BYTES, MAX_MEMBERS
from vm.contract import U32, U64, Address, Bounds, Bytes32, Text
from vm.contracts.governance_possession import Possession

NAME: Final = "governance"
MAX_ADDRESS_CHARS: Final = 255
MAX_RETIRED: Final = 4

MEMBER_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?", re.ASCII)
HOST_PORT: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]{0,4})", re.ASCII)

MemberName = Annotated[str, Bounds(1, 32)]
PeerAddress = Annotated[str, Bounds(0, MAX_ADDRESS_CHARS)]
Certificate = Annotated[bytes, Bounds(0, MAX_CERTIFICATE_BYTES)]


def is_host_port(text: str) -> bool:
    """Return whether `text` is a host:port that other members can dial, an IPv6 host in brackets."""
    match = HOST_PORT.fullmatch(text)
    return match is not None and len(text) <= MAX_ADDRESS_CHARS and int(match[1]) <= 65_535


class GovernanceError(StrEnum):
    """Why the members stay as they are."""

    ACCOUNT_TAKEN = "the account is another member's"
    ADDRESS_TAKEN = "the P2P address is another member's, or is proposed for one"
    BAD_ACCOUNT = "a member's account needs keys"
    BAD_ADDRESS = "the P2P address is not host:port"
    BAD_CERTIFICATE = "the certificate is empty"
    BAD_EXPIRY = "a proposal must expire within the time allowed from now"
    BAD_KEY = "the key is not a valid Ed25519 key"
    BAD_MEMBER_ID = "a member id has 1 to 32 characters of a-z, 0-9 and, inside, . _ and -"
    BAD_POSSESSION = "the key did not sign that it is for this member and account"
    CERTIFICATE_USED = "the certificate is or was a member's, or is proposed for one"
    CHANGED_TOO_SOON = "the member has changed this less than a minute ago"
    KEY_USED = "the key is or was a member's"
    MEMBER_EXISTS = "there is a member of this id"
    NOT_A_MEMBER = "the caller's account is no member's"
    NOT_A_VALIDATOR = "only a member with a vote may do this"
    NOT_AN_OBSERVER = "the member is not an observer"
    NOT_SYNCED = "the observer has not attested to a recent block"
    ONE_CHANGE_A_BLOCK = "this block changes the committee already; try again in the next one"
    PROPOSAL_CLOSED = "the proposal is decided already"
    PROPOSAL_EXPIRED = "the proposal has expired"
    ROTATED_TOO_SOON = "the member has rotated its key less than a day ago"
    STALE_PROPOSAL = "the member has joined or changed its role since this was proposed"
    TOO_FEW_MEMBERS = "so few members could not decide, or bear no fault any more"
    TOO_MANY_CERTIFICATES = "too many certificates of this member are in their grace period"
    TOO_MANY_MEMBERS = "there is no place for one more"
    TOO_MANY_PROPOSALS = "too many proposals are open"
    UNKNOWN_BLOCK = "the block is not one of the last"
    UNKNOWN_MEMBER = "there is no such member"
    UNKNOWN_PROPOSAL = "there is no such proposal"
    WRONG_HASH = "the block of this height has another hash"


class Role(StrEnum):
    """What a member's node does: vote, or only follow."""

    VALIDATOR = "validator"
    OBSERVER = "observer"


class ActionKind(StrEnum):
    """What a proposal would do."""

    ADD_OBSERVER = "add_observer"
    PROMOTE = "promote"
    REMOVE = "remove"


class ProposalStatus(StrEnum):
    """How a proposal stands; the last three are final."""

    OPEN = "open"
    EXECUTED = "executed"
    REJECTED = "rejected"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class NodeRecord:
    """A node's part of a member, in the canonical form of `ledger.committee.Member`."""

    id: MemberName
    public_key: Bytes32
    certificate: Certificate
    p2p_address: PeerAddress


@dataclass(frozen=True, slots=True)
class GovernanceAccount:
    """The account that proposes and votes for a member."""

    member_id: MemberName
    account: Address


@dataclass(frozen=True, slots=True)
class Candidate:
    """What an organisation hands over to be added.

    Args:
        public_key: the consensus key of its node
        certificate: the TLS certificate of its node, DER
        p2p_address: where the others reach it, host:port
        account: its governance account, one with keys
        possession: the key's signature that it is for this member (`governance_possession`)
    """

    public_key: Bytes32
    certificate: Certificate
    p2p_address: PeerAddress
    account: Address
    possession: Possession


@dataclass(frozen=True, slots=True)
class Nominee:
    """A candidate as its proposal keeps it for ever; the certificate itself is kept only while the proposal is open."""

    public_key: Bytes32
    certificate_sha256: Bytes32
    p2p_address: PeerAddress
    account: Address


@dataclass(frozen=True, slots=True)
class Action:
    """What a proposal does to whom; only an addition has a nominee."""

    kind: ActionKind
    member_id: MemberName
    nominee: Nominee | None


@dataclass(frozen=True, slots=True)
class Vote:
    """A member's last word on a proposal.

    Args:
        height: the block it was given in: it counts while its member votes since then without a break
    """

    member_id: MemberName
    height: U64
    approve: bool


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a proposal was decided, with the votes that counted then.

    Args:
        height: the block that executed or rejected it
        need: the quorum of the committee that decided
    """

    height: U64
    approvals: U32
    rejections: U32
    need: U32


@dataclass(frozen=True, slots=True)
class Proposal:
    """A proposal with its votes.

    Args:
        id: counted from 1
        expires_ms: the last block time at which it can be voted on
        votes: ascending by member id
        outcome: how it was decided; none while it is open, and when it expired
    """

    id: U64
    action: Action
    proposer: MemberName
    reason: Text
    created_height: U64
    created_ms: U64
    expires_ms: U64
    status: ProposalStatus
    votes: Annotated[tuple[Vote, ...], Bounds(0, MAX_MEMBERS)]
    outcome: Outcome | None


@dataclass(frozen=True, slots=True)
class Tally:
    """A proposal with the votes that count: those of the members that vote now, or that did when it was decided.

    Args:
        need: the approvals that execute it, the quorum of that committee
        certificate: that of the nominee; none once the proposal is closed
    """

    proposal: Proposal
    approvals: U32
    rejections: U32
    need: U32
    certificate: Certificate | None


@dataclass(frozen=True, slots=True)
class Reservation:
    """What an open proposal wants for a new member, and no present member may take meanwhile."""

    member_id: MemberName
    certificate_sha256: Bytes32
    p2p_address: PeerAddress


@dataclass(frozen=True, slots=True)
class OpenProposal:
    """An entry of the list of proposals that are being voted on; only an addition reserves something."""

    id: U64
    proposer: MemberName
    expires_ms: U64
    reserved: Reservation | None


@dataclass(frozen=True, slots=True)
class Changed:
    """The block times at which a member last replaced each of these by itself; 0 for never."""

    key_ms: U64
    certificate_ms: U64
    address_ms: U64


@dataclass(frozen=True, slots=True)
class MemberRecord:
    """A member of either role.

    Args:
        certificate_sha256: the fingerprint of its TLS certificate
        account: its governance account; without one it cannot propose, vote or rotate
        since_height: the block that gave it this role
        attested_height: the newest block its account attested to; 0 for none
        changed: when it last changed things by itself
    """

    id: MemberName
    role: Role
    public_key: Bytes32
    certificate_sha256: Bytes32
    p2p_address: PeerAddress
    account: Address | None
    since_height: U64
    attested_height: U64
    changed: Changed


@dataclass(frozen=True, slots=True)
class Retired:
    """A replaced certificate, which still opens connections up to and including the block time `until_ms`."""

    certificate: Certificate
    until_ms: U64


@dataclass(frozen=True, slots=True)
class Certificates:
    """A member's TLS certificate, and those in their grace period; ones past it stay until the next rotation."""

    current: Certificate
    retired: Annotated[tuple[Retired, ...], Bounds(0, MAX_RETIRED)]


MemberNames = Annotated[tuple[MemberName, ...], Bounds(0, MAX_MEMBERS)]


@dataclass(frozen=True, slots=True)
class Roster:
    """Who is a member, each list ascending.

    Args:
        epoch: counts the changes of the committee
        changed_height: the block of the last one
    """

    epoch: U64
    changed_height: U64
    validators: MemberNames
    observers: MemberNames


@dataclass(frozen=True, slots=True)
class CommitteeInfo:
    """The committee of the next block.

    Args:
        quorum: the votes that decide
        faults: how many members may be faulty
    """

    epoch: U64
    changed_height: U64
    quorum: U32
    faults: U32
    members: Annotated[tuple[MemberRecord, ...], Bounds(0, MAX_MEMBERS)]


# ---- events


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal can be voted on."""

    proposal_id: U64
    kind: ActionKind
    member_id: MemberName
    proposer: MemberName
    expires_ms: U64


@dataclass(frozen=True, slots=True)
class Voted:
    """A member voted; the numbers are those after its vote."""

    proposal_id: U64
    member_id: MemberName
    approve: bool
    approvals: U32
    rejections: U32
    need: U32


@dataclass(frozen=True, slots=True)
class ProposalExecuted:
    """A proposal found its quorum and was carried out."""

    proposal_id: U64
    kind: ActionKind
    member_id: MemberName


@dataclass(frozen=True, slots=True)
class ProposalRejected:
    """A proposal can find no quorum any more."""

    proposal_id: U64


@dataclass(frozen=True, slots=True)
class ProposalExpired:
    """A proposal that had expired left the list of open ones."""

    proposal_id: U64


@dataclass(frozen=True, slots=True)
class CommitteeChanged:
    """From the next block on, this committee votes."""

    epoch: U64
    members: U32
    quorum: U32


@dataclass(frozen=True, slots=True)
class SyncAttested:
    """An observer's account named a recent block."""

    member_id: MemberName
    height: U64


@dataclass(frozen=True, slots=True)
class KeyRotated:
    """A member has another consensus key; the old one is never valid again."""

    member_id: MemberName
    old_key: Bytes32
    new_key: Bytes32


@dataclass(frozen=True, slots=True)
class CertificateRotated:
    """A member has another TLS certificate; the old one is valid until `old_until_ms`."""

    member_id: MemberName
    certificate_sha256: Bytes32
    old_until_ms: U64


@dataclass(frozen=True, slots=True)
class AddressSet:
    """A member is reached elsewhere."""

    member_id: MemberName
    p2p_address: PeerAddress


EVENTS: Final = (
    Proposed,
    Voted,
    ProposalExecuted,
    ProposalRejected,
    ProposalExpired,
    CommitteeChanged,
    SyncAttested,
    KeyRotated,
    CertificateRotated,
    AddressSet,
)

"""The governance contract's errors, and the types of members and proposals (protocol, rule 13)."""

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from ledger.committee import MAX_CERTIFICATE_BYTES, MAX_MEMBERS
from vm.contract import U32, U64, Address, Bounds, Bytes32, Text
from vm.contracts.governance_possession import Possession
from vm.contracts.planned_calls import PlannedCalls

NAME: Final = "governance"
MAX_ADDRESS_CHARS: Final = 255
MAX_RETIRED: Final = 4

MEMBER_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9._-]{0,30}[a-z0-9])?", re.ASCII)
HOST_PORT: Final = re.compile(r"(?:[A-Za-z0-9._-]+|\[[0-9A-Fa-f:.]+\]):([1-9][0-9]{0,4})", re.ASCII)

MemberName = Annotated[str, Bounds(1, 32)]
AboutMember = Annotated[str, Bounds(0, 32)]
"""Of a proposal: the member it is about; empty where it is about none."""
PeerAddress = Annotated[str, Bounds(0, MAX_ADDRESS_CHARS)]
Certificate = Annotated[bytes, Bounds(0, MAX_CERTIFICATE_BYTES)]


def is_host_port(text: str) -> bool:
    """Return whether `text` is a host:port that other members can dial, an IPv6 host in brackets."""
    match = HOST_PORT.fullmatch(text)
    return match is not None and len(text) <= MAX_ADDRESS_CHARS and int(match[1]) <= 65_535


class GovernanceError(StrEnum):
    """Why the members, or the chain's rules, stay as they are."""

    ACCOUNT_TAKEN = "the account is another member's or auditor's"
    ADDRESS_TAKEN = "the P2P address is another member's, or is proposed for one"
    ALREADY_DISABLED = "the contract is disabled already"
    AUDITOR_EXISTS = "there is an auditor of this name"
    BAD_ACCOUNT = "a member's or auditor's account needs keys"
    BAD_ADDRESS = "the P2P address is not host:port"
    BAD_CALLS = "the calls cannot be made: each needs its arguments in canonical bytes, and all together are bounded"
    BAD_CERTIFICATE = "the certificate is empty"
    BAD_EXPIRY = "a proposal must expire within the time allowed from now"
    BAD_HEIGHT = "an upgrade needs more blocks of notice"
    BAD_KEY = "the key is not a valid Ed25519 key"
    BAD_MEMBER_ID = "a member id has 1 to 32 characters of a-z, 0-9 and, inside, . _ and -"
    BAD_PARAMETER = "the parameter must be within its bounds"
    BAD_POSSESSION = "the key did not sign that it is for this member and account"
    BAD_THRESHOLD = "the share of the validators must be within what is safe and what there is, in 1/10,000"
    BAD_VERSION = "an upgrade must be to a later version"
    CANNOT_DISABLE = "the chain cannot do without this contract"
    CERTIFICATE_USED = "the certificate is or was a member's, or is proposed for one"
    CHANGED_TOO_SOON = "the member has changed this less than a minute ago"
    KEY_USED = "the key is or was a member's"
    MEMBER_EXISTS = "there is a member of this id"
    NO_UPGRADE = "no upgrade lies ahead"
    NOT_A_MEMBER = "the caller's account is no member's"
    NOT_A_VALIDATOR = "only a member with a vote may do this"
    NOT_AN_AUDITOR = "the caller's account is no auditor's"
    NOT_AN_OBSERVER = "the member is not an observer"
    NOT_DISABLED = "the contract is not disabled"
    NOT_SYNCED = "the observer has not attested to a recent block"
    ONE_CHANGE_A_BLOCK = "this block changes the committee already; try again in the next one"
    ONLY_BY_VOTE = "only a proposal that was voted for can do this: see propose_calls"
    PARAMETER_TWICE = "a parameter can be set once only"
    PROPOSAL_CLOSED = "the proposal is decided already"
    PROPOSAL_EXPIRED = "the proposal has expired"
    ROTATED_TOO_SOON = "the member has rotated its key less than a day ago"
    STALE_PROPOSAL = "the member has joined or changed its role since this was proposed"
    TOO_FEW_MEMBERS = "so few members could not decide, or bear no fault any more"
    TOO_MANY_AUDITORS = "there is no place for one more auditor"
    TOO_MANY_CERTIFICATES = "too many certificates of this member are in their grace period"
    TOO_MANY_DISABLED = "too many contracts are disabled"
    TOO_MANY_MEMBERS = "there is no place for one more"
    TOO_MANY_PROPOSALS = "too many proposals are open"
    UNKNOWN_AUDIT = "there is no such audit"
    UNKNOWN_AUDITOR = "there is no such auditor"
    UNKNOWN_BLOCK = "the block is not one of the last"
    UNKNOWN_MEMBER = "there is no such member"
    UNKNOWN_PROPOSAL = "there is no such proposal"
    UPGRADE_PENDING = "an upgrade lies ahead: cancel it first"
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
    CALLS = "calls"


class Topic(StrEnum):
    """What a proposal is about: how many approvals it needs depends on it (`governance_thresholds`)."""

    MEMBERS = "members"
    PARAMETERS = "parameters"
    CONTRACTS = "contracts"
    UPGRADE = "upgrade"
    THRESHOLDS = "thresholds"
    FREEZE = "freeze"
    SPENDING = "spending"
    OTHER = "other"


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
class CallsDigest:
    """Calls as their proposal keeps them for ever; the calls themselves are kept while it is open, and once it is executed.

    Args:
        sha256: of the calls in canonical bytes
        topics: what they are about, each once, ascending
    """

    sha256: Bytes32
    topics: Annotated[tuple[Topic, ...], Bounds(1, len(Topic))]


@dataclass(frozen=True, slots=True)
class Action:
    """What a proposal does to whom; only an addition has a nominee, only a list of calls has those."""

    kind: ActionKind
    member_id: AboutMember
    nominee: Nominee | None
    calls: CallsDigest | None


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
        need: how many approvals it took
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
        need: the approvals that execute it
        certificate: that of the nominee; none once the proposal is closed
        calls: those to be made, or made; none where it is about a member, or was closed without being executed
    """

    proposal: Proposal
    approvals: U32
    rejections: U32
    need: U32
    certificate: Certificate | None
    calls: PlannedCalls | None


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
    has_calls: bool


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

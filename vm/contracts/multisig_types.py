"""The multisig contract's types, events and errors."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from ledger.policy import MAX_POLICY_KEYS
from ledger.transaction import MAX_REFERENCE_CHARS
from vm.context import MULTISIG
from vm.contract import U8, U64, Address, Bounds, Bytes32
from vm.contracts.planned_calls import PlannedCalls

NAME: Final = MULTISIG
MAX_OPEN_BY_KEY: Final = 4
MAX_OPEN: Final = MAX_OPEN_BY_KEY * MAX_POLICY_KEYS

Keys = Annotated[tuple[Bytes32, ...], Bounds(0, MAX_POLICY_KEYS)]
Reference = Annotated[str, Bounds(0, MAX_REFERENCE_CHARS)]


class MultisigError(StrEnum):
    """Why nothing is collected or done."""

    BAD_CALLS = "the calls cannot be made: each needs its arguments in canonical bytes, and all together are bounded"
    BAD_EXPIRY = "a proposal must expire within the time allowed from now"
    BAD_POLICY = "a policy has 1 to 16 different keys, ascending, and a threshold of 1 to as many"
    NOT_A_SIGNER = "the caller's account is of none of the policy's keys"
    NOT_PERMITTED = "only who proposed may cancel"
    NOTHING_SAID = "the signer has neither approved nor rejected"
    PROPOSAL_CLOSED = "the proposal is decided already"
    PROPOSAL_EXPIRED = "the proposal has expired"
    TOO_MANY_PROPOSALS = "too many proposals of this signer are open"
    UNKNOWN_PROPOSAL = "there is no such proposal"


class CollectionStatus(StrEnum):
    """How a proposal stands; all but the first are final."""

    OPEN = "open"
    EXECUTED = "executed"
    REJECTED = "rejected"
    CANCELLED = "cancelled"
    EXPIRED = "expired"


@dataclass(frozen=True, slots=True)
class SignerPolicy:
    """Who decides for an account, as in the address's own policy (`ledger.policy.KeyPolicy`).

    Args:
        threshold: how many must approve
        keys: Ed25519, ascending
    """

    threshold: U8
    keys: Annotated[tuple[Bytes32, ...], Bounds(1, MAX_POLICY_KEYS)]


@dataclass(frozen=True, slots=True)
class Collection:
    """A proposal to act for an account, with what its signers said.

    Args:
        id: counted from 1
        account: who is to act: the address of the policy
        proposer: the key of who proposed
        calls_sha256: of the calls in canonical bytes
        expires_ms: the last block time at which it can be approved
        approvals: keys in the order of the policy
        closed_height: the block that decided; none while it is open, and when it expired
    """

    id: U64
    account: Address
    policy: SignerPolicy
    proposer: Bytes32
    reference: Reference
    calls_sha256: Bytes32
    created_height: U64
    created_ms: U64
    expires_ms: U64
    status: CollectionStatus
    approvals: Keys
    rejections: Keys
    closed_height: U64 | None


@dataclass(frozen=True, slots=True)
class CollectionInfo:
    """A proposal with its calls; without them where it was closed without being executed."""

    proposal: Collection
    calls: PlannedCalls | None


@dataclass(frozen=True, slots=True)
class OpenCollection:
    """An entry of an account's list of open proposals."""

    id: U64
    proposer: Bytes32
    expires_ms: U64


# ---- events


@dataclass(frozen=True, slots=True)
class Proposed:
    """Calls wait for the approvals of an account's signers."""

    proposal_id: U64
    account: Address
    proposer: Address
    expires_ms: U64
    reference: Reference


@dataclass(frozen=True, slots=True)
class Approved:
    """A signer approved; the numbers are those after that."""

    proposal_id: U64
    signer: Address
    approvals: U8
    threshold: U8


@dataclass(frozen=True, slots=True)
class Rejected:
    """A signer is against it; the number is that after that."""

    proposal_id: U64
    signer: Address
    rejections: U8


@dataclass(frozen=True, slots=True)
class Withdrawn:
    """A signer took back what it had said."""

    proposal_id: U64
    signer: Address


@dataclass(frozen=True, slots=True)
class Closed:
    """A proposal is open no more."""

    proposal_id: U64
    account: Address
    status: CollectionStatus


EVENTS: Final = (Proposed, Approved, Rejected, Withdrawn, Closed)

"""What the governance contract tells the world: the members part first, then the chain's rules."""

from dataclasses import dataclass
from typing import Final

from vm.contract import U32, U64, Address, Bytes32, Text
from vm.contracts.governance_rule_types import AuditOpinion, ParameterName
from vm.contracts.governance_types import AboutMember, ActionKind, MemberName, PeerAddress, Topic
from vm.contracts.planned_calls import ContractName


@dataclass(frozen=True, slots=True)
class Proposed:
    """A proposal can be voted on."""

    proposal_id: U64
    kind: ActionKind
    member_id: AboutMember
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
    """A proposal found the approvals it needs and was carried out."""

    proposal_id: U64
    kind: ActionKind
    member_id: AboutMember


@dataclass(frozen=True, slots=True)
class ProposalRejected:
    """A proposal can find the approvals it needs no more."""

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


@dataclass(frozen=True, slots=True)
class ParameterSet:
    """From the next block on, a parameter of the chain has another value."""

    name: ParameterName
    old: U64
    new: U64


@dataclass(frozen=True, slots=True)
class ContractDisabled:
    """From the next block on, the contract's write methods fail and what it has scheduled waits."""

    contract: ContractName


@dataclass(frozen=True, slots=True)
class ContractEnabled:
    """From the next block on, the contract works again."""

    contract: ContractName


@dataclass(frozen=True, slots=True)
class UpgradeScheduled:
    """From `height` on, every node must run this version of the protocol."""

    version: U32
    height: U64
    name: Text


@dataclass(frozen=True, slots=True)
class UpgradeCancelled:
    """The upgrade to this version does not take place."""

    version: U32


@dataclass(frozen=True, slots=True)
class ThresholdSet:
    """Proposals on this topic need another share of the validators, in 1/10,000."""

    topic: Topic
    share: U32


@dataclass(frozen=True, slots=True)
class AuditorAdded:
    """The account may put audits on the chain under this name."""

    name: MemberName
    account: Address


@dataclass(frozen=True, slots=True)
class AuditorRemoved:
    """The auditor's account can audit no more; what it said stays."""

    name: MemberName


@dataclass(frozen=True, slots=True)
class Audited:
    """An auditor said what it holds of something."""

    audit_id: U64
    auditor: MemberName
    subject: Text
    opinion: AuditOpinion


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
    ParameterSet,
    ContractDisabled,
    ContractEnabled,
    UpgradeScheduled,
    UpgradeCancelled,
    ThresholdSet,
    AuditorAdded,
    AuditorRemoved,
    Audited,
)

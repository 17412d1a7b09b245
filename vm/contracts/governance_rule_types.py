"""The types of what governance decides beside the members: parameters, upgrades, thresholds, auditors."""

from dataclasses import dataclass
from enum import StrEnum
from typing import Annotated, Final

from vm.contract import U32, U64, Address, Bounds
from vm.contracts.governance_types import MemberName, Topic
from vm.contracts.planned_calls import ContractName

MAX_DISABLED: Final = 64
MAX_AUDITORS: Final = 64
MAX_AUDITS_READ: Final = 64
MAX_STATEMENT_CHARS: Final = 1_024

DisabledContracts = Annotated[tuple[ContractName, ...], Bounds(0, MAX_DISABLED)]
Subject = Annotated[str, Bounds(1, 64)]
Statement = Annotated[str, Bounds(0, MAX_STATEMENT_CHARS)]
UpgradeName = Annotated[str, Bounds(1, 64)]


class ParameterName(StrEnum):
    """A parameter of the chain (`ledger.parameters`, where their bounds are)."""

    TX_WINDOW_MS = "tx_window_ms"
    HEARTBEAT_MS = "heartbeat_ms"
    BLOCK_MAX_TRANSACTIONS = "block_max_transactions"
    BLOCK_MAX_BYTES = "block_max_bytes"
    BLOCK_MAX_GAS = "block_max_gas"
    GAS_PRICE_MOTES = "gas_price_motes"
    BASE_TIMEOUT_MS = "base_timeout_ms"
    TIMEOUT_CAP_MS = "timeout_cap_ms"
    CLOCK_DRIFT_MS = "clock_drift_ms"


@dataclass(frozen=True, slots=True)
class Parameters:
    """The chain's parameters, in the canonical form of `ledger.parameters.ChainParameters`: times in ms, sizes in bytes."""

    tx_window_ms: U64
    heartbeat_ms: U64
    block_max_transactions: U64
    block_max_bytes: U64
    block_max_gas: U64
    gas_price_motes: U64
    base_timeout_ms: U64
    timeout_cap_ms: U64
    clock_drift_ms: U64


@dataclass(frozen=True, slots=True)
class ParameterChange:
    """One parameter's new value."""

    name: ParameterName
    value: U64


@dataclass(frozen=True, slots=True)
class Upgrade:
    """A version of the protocol that every node must run from a height on.

    Args:
        height: the first block that is of this version
        name: what people call it
    """

    version: U32
    height: U64
    name: UpgradeName


@dataclass(frozen=True, slots=True)
class UpgradePlan:
    """The version in force, and the one after it.

    Args:
        version: that of the blocks before the upgrade; 1 at genesis
        upgrade: the last one that was scheduled and not cancelled, also once its height has come
    """

    version: U32
    upgrade: Upgrade | None


@dataclass(frozen=True, slots=True)
class RulesInfo:
    """What nodes go by from the next block on.

    Args:
        window_limit_ms: the most that tx_window_ms can be: what it was at genesis, which bounds what nodes keep
        version: the version of the protocol of the next block
        upgrade: the version that comes next; none where none is scheduled
    """

    parameters: Parameters
    window_limit_ms: U64
    disabled: DisabledContracts
    version: U32
    upgrade: Upgrade | None


@dataclass(frozen=True, slots=True)
class Threshold:
    """The share of the validators that must approve of what is about a topic, in 1/10,000."""

    topic: Topic
    share: U32


@dataclass(frozen=True, slots=True)
class ThresholdInfo:
    """A topic's threshold.

    Args:
        share: in 1/10,000
        least: the smallest share that can be set
        need: the approvals that this takes of the committee as it is
    """

    topic: Topic
    share: U32
    least: U32
    need: U32


@dataclass(frozen=True, slots=True)
class Auditor:
    """Who audits, with neither a node nor a vote.

    Args:
        since_height: the block that gave it this role
    """

    name: MemberName
    account: Address
    since_height: U64


class AuditOpinion(StrEnum):
    """What an auditor holds of a thing."""

    APPROVE = "approve"
    OBJECT = "object"
    NOTE = "note"


@dataclass(frozen=True, slots=True)
class Audit:
    """What an auditor said; it stays for ever, also when the auditor is one no more.

    Args:
        id: counted from 1
        subject: what it is about, such as `asset.release/3`
        statement: in words; the hash of a longer report, say
    """

    id: U64
    auditor: MemberName
    subject: Subject
    opinion: AuditOpinion
    statement: Statement
    height: U64
    time_ms: U64

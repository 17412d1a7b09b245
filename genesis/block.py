"""Block 0: made by every member from the specification alone, so it needs no certificate (protocol, section Blocks)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

from genesis.arguments import genesis_arguments
from genesis.spec import GenesisError, GenesisSpec
from ledger.block import Header
from ledger.list_root import list_root
from ledger.state_tree import StateTree
from ledger.store import MemoryStore
from ledger.types import BlockHash, Height, View
from vm.errors import ContractError
from vm.executor import Executor
from vm.registry import Registry, default_registry


@dataclass(frozen=True, slots=True)
class GenesisBlock:
    """The genesis header, its hash, and the first state as raw keys and values."""

    spec: GenesisSpec
    header: Header
    hash: BlockHash
    state: Mapping[bytes, bytes | None] = field(repr=False)


def make_genesis_block(spec: GenesisSpec, registry: Registry | None = None) -> GenesisBlock:
    """Return block 0 of a chain. Raises `GenesisError` when a contract refuses its parameters."""
    genesis_hash, height = spec.hash, Height(0)
    state = _first_state(spec, registry or default_registry())
    committee_hash = spec.committee.hash(genesis_hash)
    empty = list_root(genesis_hash, ())
    header = Header(
        height=height,
        view=View(0),
        parent_hash=genesis_hash,
        proposer=spec.committee.primary(View(0)),
        timestamp_ms=spec.timestamp_ms,
        transactions_root=empty,
        receipts_root=empty,
        state_root=StateTree(genesis_hash, MemoryStore()).update(None, height, state).root.digest,
        committee_hash=committee_hash,
        next_committee_hash=committee_hash,
        gas_used=0,
    )
    return GenesisBlock(spec, header, header.hash(genesis_hash), state)


def _first_state(spec: GenesisSpec, registry: Registry) -> Mapping[bytes, bytes | None]:
    try:
        return Executor(registry).genesis_state(genesis_arguments(spec, registry), spec.timestamp_ms)
    except ContractError as error:
        where = f"$.contracts.{error.contract}" if error.contract else "$.contracts"
        raise GenesisError(error.message, path=where, code=error.failure_code) from error

"""Headers, blocks, receipts and events (protocol, section Blocks). Nothing that is hashed contains a certificate."""

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from enum import IntEnum
from typing import Final, Self

from ledger.codec import Value, as_bytes, as_int, as_str, as_tuple, encode_trusted, fields
from ledger.hashing import HASH_BYTES, Tag, digest
from ledger.types import BlockHash, Height, MemberId, TxHash, View

MAX_BLOCK_TRANSACTIONS: Final = 2_000
MAX_BLOCK_BYTES: Final = 1024 * 1024
MAX_EVENTS: Final = 1_024


@dataclass(frozen=True, slots=True)
class Header:
    """What members vote on. `view` and `proposer` are those of the FIRST proposal; `state_root` is after execution."""

    height: Height
    view: View
    parent_hash: bytes
    proposer: MemberId
    timestamp_ms: int
    transactions_root: bytes
    receipts_root: bytes
    state_root: bytes
    committee_hash: bytes
    next_committee_hash: bytes
    gas_used: int

    def to_value(self) -> Value:
        """Return the canonical form: the fields in order."""
        return tuple(getattr(self, name) for name in _HEADER_FIELDS)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the header of a canonical form."""
        height, view, parent, proposer, time_ms, transactions, receipts, state, committee, next_committee, gas = fields(
            value, len(_HEADER_FIELDS), "header"
        )
        return cls(
            Height(as_int(height, "height", high=2**53)),
            View(as_int(view, "view", high=2**53)),
            as_bytes(parent, "parent hash", size=HASH_BYTES),
            MemberId(as_str(proposer, "proposer", max_chars=32)),
            as_int(time_ms, "timestamp_ms", high=2**53),
            as_bytes(transactions, "transactions root", size=HASH_BYTES),
            as_bytes(receipts, "receipts root", size=HASH_BYTES),
            as_bytes(state, "state root", size=HASH_BYTES),
            as_bytes(committee, "committee hash", size=HASH_BYTES),
            as_bytes(next_committee, "next committee hash", size=HASH_BYTES),
            as_int(gas, "gas used"),
        )

    def hash(self, genesis_hash: bytes) -> BlockHash:
        """Return the block's hash."""
        return BlockHash(digest(Tag.HEADER, genesis_hash, encode_trusted(self.to_value())))


_HEADER_FIELDS: Final = tuple(item.name for item in dataclass_fields(Header))


@dataclass(frozen=True, slots=True)
class Block:
    """A header and the ordered bytes of its transactions."""

    header: Header
    transactions: tuple[bytes, ...]

    def to_value(self) -> Value:
        """Return the canonical form [header, [raw, ...]]."""
        return (self.header.to_value(), self.transactions)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the block of a canonical form; the bodies are not decoded here."""
        header, bodies = fields(value, 2, "block")
        items = as_tuple(bodies, "block transactions", max_items=MAX_BLOCK_TRANSACTIONS)
        return cls(Header.from_value(header), tuple(as_bytes(item, "transaction") for item in items))


class Status(IntEnum):
    """How an executed transaction or schedule entry ended."""

    FAILED = 0
    SUCCEEDED = 1


class ReceiptKind(IntEnum):
    """What a receipt stands for."""

    TRANSACTION = 0
    SCHEDULED = 1


@dataclass(frozen=True, slots=True)
class Event:
    """Something a contract said: its name and its fields in canonical form."""

    contract: str
    name: str
    fields: tuple[Value, ...]

    def to_value(self) -> Value:
        """Return the canonical form [contract, name, fields]."""
        return (self.contract, self.name, self.fields)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the event of a canonical form."""
        contract, name, values = fields(value, 3, "event")
        return cls(as_str(contract, "contract"), as_str(name, "event"), as_tuple(values, "event fields", max_items=32))


@dataclass(frozen=True, slots=True)
class ExecutionError:
    """Why a call failed: the contract, its stable code and a sentence with the numbers."""

    contract: str
    code: str
    message: str

    def to_value(self) -> Value:
        """Return the canonical form [contract, code, message]."""
        return (self.contract, self.code, self.message)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the error of a canonical form."""
        contract, code, message = fields(value, 3, "execution error")
        return cls(as_str(contract, "contract"), as_str(code, "code"), as_str(message, "message", max_chars=1_024))


@dataclass(frozen=True, slots=True)
class Receipt:
    """The outcome of a transaction (`id` is its id) or of a schedule entry. A failed one has no events and no results."""

    kind: ReceiptKind
    id: bytes
    status: Status
    gas_used: int
    results: tuple[Value, ...]
    events: tuple[Event, ...]
    error: ExecutionError | None

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (
            int(self.kind),
            self.id,
            int(self.status),
            self.gas_used,
            self.results,
            tuple(event.to_value() for event in self.events),
            None if self.error is None else self.error.to_value(),
        )

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the receipt of a canonical form."""
        kind, receipt_id, status, gas_used, results, events, error = fields(value, 7, "receipt")
        return cls(
            ReceiptKind(as_int(kind, "receipt kind", 0, 1)),
            as_bytes(receipt_id, "receipt id", size=HASH_BYTES),
            Status(as_int(status, "status", 0, 1)),
            as_int(gas_used, "gas used"),
            as_tuple(results, "results", max_items=64),
            tuple(Event.from_value(item) for item in as_tuple(events, "events", max_items=MAX_EVENTS)),
            None if error is None else ExecutionError.from_value(error),
        )

    def hash(self, genesis_hash: bytes) -> bytes:
        """Return the digest that stands in the receipts root."""
        return digest(Tag.RECEIPT, genesis_hash, encode_trusted(self.to_value()))


def as_tx_hashes(value: Value) -> tuple[TxHash, ...]:
    """Return the ordered transaction hashes of a proposal."""
    items = as_tuple(value, "transaction hashes", max_items=MAX_BLOCK_TRANSACTIONS)
    return tuple(TxHash(as_bytes(item, "transaction hash", size=HASH_BYTES)) for item in items)

"""What a proof can say on the strength of a certified header: what became of a transaction, and what values the state has.

    receipt claim    [0, transaction bytes, receipt, list proof of the transaction, list proof of the receipt]
    state claim      [1, [[raw state key, value or nil, state proof], ...]]    keys ascending; nil: the key is absent

An event is claimed with the receipt that holds it; a state claim of no keys says only that the header stands. Every byte of a
claim is bound by a root of the header. Pure.
"""

import itertools
from dataclasses import dataclass
from enum import IntEnum
from typing import Final, Self, TypeAlias

from ledger.block import Header, Receipt, ReceiptKind
from ledger.codec import Value, as_bytes, as_int, as_tuple, fields
from ledger.errors import BadEncodingError, TooLargeError
from ledger.list_root import BadProofError, ListProof, verify_list_proof
from ledger.state_proof import StateProof, verify_state_proof
from ledger.transaction import MAX_TRANSACTION_BYTES, Transaction

MAX_STATE_ENTRIES: Final = 4_096
"""More keys than one read method can read with its gas."""


class ClaimKind(IntEnum):
    """The first field of a claim."""

    RECEIPT = 0
    STATE = 1


@dataclass(frozen=True, slots=True)
class ReceiptClaim:
    """A transaction (its exact bytes) and the receipt that it got. Both stand at the same index of their lists."""

    raw: bytes
    receipt: Receipt
    transaction_place: ListProof
    receipt_place: ListProof

    @property
    def index(self) -> int:
        """Return the transaction's place in its block."""
        return self.receipt_place.index

    def transaction(self, genesis_hash: bytes) -> Transaction:
        """Return the decoded transaction; raises `BadEncodingError`, `TooLargeError`, or `InvalidInputError` `wrong_chain`."""
        return Transaction.from_raw(self.raw, genesis_hash)

    def to_value(self) -> Value:
        """Return the canonical form."""
        places = (self.transaction_place.to_value(), self.receipt_place.to_value())
        return (int(ClaimKind.RECEIPT), self.raw, self.receipt.to_value(), *places)

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the claim of a canonical form; nothing is checked by this."""
        _, raw, receipt, transaction_place, receipt_place = fields(value, 5, "receipt claim")
        return cls(
            as_bytes(raw, "transaction", max_size=MAX_TRANSACTION_BYTES),
            Receipt.from_value(receipt),
            ListProof.from_value(transaction_place),
            ListProof.from_value(receipt_place),
        )

    def check(self, genesis_hash: bytes, header: Header) -> None:
        """Raise unless the block holds this transaction, its sender signed it, and this is its receipt."""
        transaction = self.transaction(genesis_hash)
        transaction.check_signatures()
        verify_list_proof(genesis_hash, header.transactions_root, transaction.tx_hash, self.transaction_place)
        verify_list_proof(genesis_hash, header.receipts_root, self.receipt.hash(genesis_hash), self.receipt_place)
        if self.receipt.kind is not ReceiptKind.TRANSACTION or self.receipt.id != transaction.id:
            raise BadProofError("the receipt is of another transaction", expected="0x" + transaction.id.hex())
        if self.transaction_place.index != self.receipt_place.index:
            raise BadProofError(
                "transaction and receipt stand at different places of the block",
                transaction=self.transaction_place.index,
                receipt=self.receipt_place.index,
            )


@dataclass(frozen=True, slots=True)
class StateEntry:
    """One raw key of the state (`vm.storage.storage_key`) with its value, or None where there is none."""

    key: bytes
    value: bytes | None
    proof: StateProof

    def to_value(self) -> Value:
        """Return the canonical form [key, value or nil, proof]."""
        return (self.key, self.value, self.proof.to_value())

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the entry of a canonical form."""
        key, found, proof = fields(value, 3, "state entry")
        held = None if found is None else as_bytes(found, "state value")
        return cls(as_bytes(key, "state key"), held, StateProof.from_value(proof))


@dataclass(frozen=True, slots=True)
class StateClaim:
    """Values, and absences, after the block's execution. What a read method answers follows from the keys it read."""

    entries: tuple[StateEntry, ...]

    def __post_init__(self) -> None:
        if len(self.entries) > MAX_STATE_ENTRIES:
            raise TooLargeError("number of keys in a state claim", limit=MAX_STATE_ENTRIES, got=len(self.entries))
        if any(left.key >= right.key for left, right in itertools.pairwise(self.entries)):
            raise BadEncodingError("the keys of a state claim must be ascending and distinct")

    def to_value(self) -> Value:
        """Return the canonical form."""
        return (int(ClaimKind.STATE), tuple(entry.to_value() for entry in self.entries))

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the claim of a canonical form; nothing is checked by this."""
        _, entries = fields(value, 2, "state claim")
        return cls(tuple(StateEntry.from_value(item) for item in as_tuple(entries, "entries", max_items=MAX_STATE_ENTRIES)))

    def check(self, genesis_hash: bytes, header: Header) -> None:
        """Raise unless the header's state has these values and lacks what is said to be absent."""
        for entry in self.entries:
            verify_state_proof(genesis_hash, header.state_root, entry.key, entry.value, entry.proof)


Claim: TypeAlias = ReceiptClaim | StateClaim


def claim_from_value(value: Value) -> Claim:
    """Return the claim of a canonical form; raises `BadEncodingError` or `TooLargeError`. Nothing is checked by this."""
    parts = as_tuple(value, "claim", max_items=5)
    match ClaimKind(as_int(parts[0] if parts else None, "claim kind", 0, max(ClaimKind))):
        case ClaimKind.RECEIPT:
            return ReceiptClaim.from_value(value)
        case ClaimKind.STATE:
            return StateClaim.from_value(value)

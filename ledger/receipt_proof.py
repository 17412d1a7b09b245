"""One value that proves what became of a transaction, to anyone who trusts nothing but the genesis hash.

[genesis, handovers, certificate, receipt, list proof]: the canonical genesis names the first committee and hashes to the trusted
hash, each handover is certified by the committee before it, a quorum of the last one certified the header, and the receipt stands
under the header's receipts root. Checking needs no node and no network.
"""

from dataclasses import dataclass
from typing import Final, Self

from ledger.block import Receipt
from ledger.certificate import QuorumCertificate
from ledger.codec import Value, as_bytes, as_int, as_tuple, decode, encode_trusted, fields
from ledger.committee import Committee
from ledger.committee_chain import Handover, follow
from ledger.errors import InvalidInputError
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.list_root import ListProof, verify_list_proof

PROOF_VERSION: Final = 2
MAX_PROOF_BYTES: Final = 4 * 1024 * 1024
_GENESIS_FIELDS: Final = 7
_GENESIS_COMMITTEE: Final = 5
_MAX_HANDOVERS: Final = 10_000
_MAX_VALUES: Final = MAX_PROOF_BYTES  # handovers of large committees are many small values: the bytes bound them


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """A receipt with everything that makes it believable. `genesis` is the specification's canonical bytes."""

    genesis: bytes
    handovers: tuple[Handover, ...]
    certificate: QuorumCertificate
    receipt: Receipt
    place: ListProof

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        handovers = tuple(handover.to_value() for handover in self.handovers)
        certificate, receipt = self.certificate.to_value(), self.receipt.to_value()
        return encode_trusted((PROOF_VERSION, self.genesis, handovers, certificate, receipt, self.place.to_value()))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the proof that `data` encodes; raises `BadEncodingError` or `TooLargeError`. Nothing is checked by this."""
        value = fields(decode(data, max_bytes=MAX_PROOF_BYTES, max_values=_MAX_VALUES), 6, "receipt proof")
        version, genesis, handovers, certificate, receipt, place = value
        as_int(version, "receipt proof version", PROOF_VERSION, PROOF_VERSION)
        return cls(
            as_bytes(genesis, "genesis"),
            tuple(Handover.from_value(item) for item in as_tuple(handovers, "handovers", max_items=_MAX_HANDOVERS)),
            QuorumCertificate.from_value(certificate),
            Receipt.from_value(receipt),
            ListProof.from_value(place),
        )

    def verify(self, trusted_genesis_hash: bytes) -> None:
        """Raise unless a quorum of a committee that goes back to the trusted genesis certified a block with this receipt."""
        if digest(Tag.GENESIS, ZERO_HASH, self.genesis) != trusted_genesis_hash:
            raise InvalidInputError(
                "wrong_chain",
                "the proof is of another chain",
                hint="check it with the genesis hash of the chain that the transaction was sent to",
                expected="0x" + trusted_genesis_hash.hex(),
            )
        first = _committee(decode(self.genesis, max_bytes=MAX_PROOF_BYTES))
        committee = follow(first, self.handovers, trusted_genesis_hash)
        self.certificate.check(trusted_genesis_hash, committee)
        root = self.certificate.header.receipts_root
        verify_list_proof(trusted_genesis_hash, root, self.receipt.hash(trusted_genesis_hash), self.place)


def _committee(genesis: Value) -> Committee:
    """Return the first committee, which stands at a fixed place of the canonical genesis (`genesis.spec`)."""
    return Committee.from_value(fields(genesis, _GENESIS_FIELDS, "genesis")[_GENESIS_COMMITTEE])

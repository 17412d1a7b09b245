"""One value that proves what became of a transaction, to anyone who trusts nothing but the genesis hash.

[genesis, certificate, receipt, list proof]: the canonical genesis names the committee and hashes to the trusted hash, a quorum of
that committee certified the header, and the receipt stands under the header's receipts root. Checking needs no node and no
network. It follows no changes of membership: a header of a later committee is refused.
"""

from dataclasses import dataclass
from typing import Final, Self

from ledger.block import Receipt
from ledger.certificate import BadCertificateError, QuorumCertificate
from ledger.codec import Value, as_bytes, as_int, decode, encode, fields
from ledger.committee import Committee
from ledger.errors import InvalidInputError
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.list_root import ListProof, verify_list_proof

PROOF_VERSION: Final = 1
MAX_PROOF_BYTES: Final = 4 * 1024 * 1024
_GENESIS_FIELDS: Final = 7
_GENESIS_COMMITTEE: Final = 5


@dataclass(frozen=True, slots=True)
class ReceiptProof:
    """A receipt with everything that makes it believable. `genesis` is the specification's canonical bytes."""

    genesis: bytes
    certificate: QuorumCertificate
    receipt: Receipt
    place: ListProof

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        certificate, receipt = self.certificate.to_value(), self.receipt.to_value()
        return encode((PROOF_VERSION, self.genesis, certificate, receipt, self.place.to_value()))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the proof that `data` encodes; raises `BadEncodingError` or `TooLargeError`. Nothing is checked by this."""
        version, genesis, certificate, receipt, place = fields(decode(data, max_bytes=MAX_PROOF_BYTES), 5, "receipt proof")
        as_int(version, "receipt proof version", PROOF_VERSION, PROOF_VERSION)
        return cls(
            as_bytes(genesis, "genesis"),
            QuorumCertificate.from_value(certificate),
            Receipt.from_value(receipt),
            ListProof.from_value(place),
        )

    def verify(self, trusted_genesis_hash: bytes) -> None:
        """Raise unless a quorum of the trusted genesis' committee certified a block in which this receipt stands."""
        if digest(Tag.GENESIS, ZERO_HASH, self.genesis) != trusted_genesis_hash:
            raise InvalidInputError(
                "wrong_chain",
                "the proof is of another chain",
                hint="check it with the genesis hash of the chain that the transaction was sent to",
                expected="0x" + trusted_genesis_hash.hex(),
            )
        committee = _committee(decode(self.genesis, max_bytes=MAX_PROOF_BYTES))
        if self.certificate.header.committee_hash != committee.hash(trusted_genesis_hash):
            raise BadCertificateError("the block was certified by a later committee than that of genesis")
        self.certificate.check(trusted_genesis_hash, committee)
        root = self.certificate.header.receipts_root
        verify_list_proof(trusted_genesis_hash, root, self.receipt.hash(trusted_genesis_hash), self.place)


def _committee(genesis: Value) -> Committee:
    """Return the first committee, which stands at a fixed place of the canonical genesis (`genesis.spec`)."""
    return Committee.from_value(fields(genesis, _GENESIS_FIELDS, "genesis")[_GENESIS_COMMITTEE])

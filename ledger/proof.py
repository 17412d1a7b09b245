"""One value that proves something of the chain to anyone who trusts nothing but the genesis hash, without node or network.

    [3, seal, body]    body = canonical [genesis or nil, handovers, certificate, header of block 0 or nil, claim], as bytes

The canonical genesis hashes to the trusted hash and names the first committee; each handover is certified by the committee before
it; a quorum of the last one certified the header; the claim (`ledger.claims`) stands under the header's roots. Genesis itself has
no certificate: its header is believed as the parent of block 1.

The seal is the tagged hash of the body. It vouches for nothing, but tells a damaged file: some claims are still true, though they
say something else, after a byte has changed (that another key of the same empty place is absent).

Who has followed the chain already may ask for a shorter one: without genesis, and with the handovers from a trusted block on. All
of this assumes that fewer than q keys of any past committee have leaked (protocol, rule 14). So a checker says of which epoch and
time what it accepted is, and with a trusted block at hand refuses older epochs.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Self

from ledger.block import Header
from ledger.certificate import QuorumCertificate
from ledger.claims import Claim, claim_from_value
from ledger.codec import Value, as_bytes, as_int, as_tuple, decode, encode_trusted, fields
from ledger.committee import Committee
from ledger.committee_chain import Handover, follow
from ledger.errors import InvalidInputError
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.list_root import BadProofError
from ledger.types import BlockHash, Height

PROOF_VERSION: Final = 3
MAX_PROOF_BYTES: Final = 16 * 1024 * 1024
MAX_PROOF_VALUES: Final = 2 * 1024 * 1024
"""More than honest proofs of `MAX_PROOF_BYTES` can hold: those are densest in members of committees, nine bytes a value."""
_GENESIS_FIELDS: Final = 7
_GENESIS_COMMITTEE: Final = 5
_MAX_HANDOVERS: Final = 65_536


class StaleProofError(InvalidInputError):
    """A proof by an older committee than one that is known to have followed it: its keys may be anybody's by now."""

    def __init__(self, height: Height, seen: int) -> None:
        super().__init__(
            "stale_proof",
            f"block {height} was certified before epoch {seen}, which has been seen",
            hint="check it from genesis alone if you know that the keys of its epoch have not leaked",
            height=height,
            seen=seen,
        )


class ForkError(InvalidInputError):
    """Two different certified blocks of one height: more members than the protocol bears have lied. Keep both as evidence."""

    def __init__(self, height: Height, first: bytes, second: bytes) -> None:
        super().__init__(
            "fork",
            f"there are two certified blocks of height {height}",
            hint="keep both proofs and tell the members: no honest quorum signs two",
            height=height,
            seen="0x" + first.hex(),
            got="0x" + second.hex(),
        )


@dataclass(frozen=True, slots=True)
class TrustedBlock:
    """A block that is believed, the committee that certified it, and the hash of the one that it names for the next block.

    Of the members only id and key count here.
    """

    height: Height
    block_hash: BlockHash
    timestamp_ms: int
    committee: Committee
    next_committee_hash: bytes

    @property
    def epoch(self) -> int:
        """Return how many changes of the committee came before it."""
        return self.committee.epoch

    def check_passed(self, handovers: Sequence[Handover], height: Height, genesis_hash: bytes) -> None:
        """Raise for a way to the block of `height` that leaves the committee of this block otherwise than this block says.

        Where this block is the last of its committee, that committee can certify nothing more, whoever has its keys by now.
        """
        own = self.committee.hash(genesis_hash)
        leaving = next((step for step in handovers if step.certificate.header.committee_hash == own), None)
        if leaving is not None and leaving.certificate.header.height == self.height:
            got = leaving.certificate.header.hash(genesis_hash)
            if got != self.block_hash:
                raise ForkError(self.height, self.block_hash, got)
        if height <= self.height or self.next_committee_hash == own:
            return
        if leaving is None or leaving.following.hash(genesis_hash) != self.next_committee_hash:
            raise StaleProofError(height, self.epoch + 1)


@dataclass(frozen=True, slots=True)
class Proof:
    """A claim with everything that makes it believable. `genesis`: the specification's canonical bytes; None in a short one.

    `block0` is there exactly when the claim is about genesis: then `certificate` is that of block 1.
    """

    genesis: bytes | None
    handovers: tuple[Handover, ...]
    certificate: QuorumCertificate
    block0: Header | None
    claim: Claim

    @property
    def header(self) -> Header:
        """Return the header that the claim is about."""
        return self.certificate.header if self.block0 is None else self.block0

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        handovers = tuple(handover.to_value() for handover in self.handovers)
        block0 = None if self.block0 is None else self.block0.to_value()
        body = encode_trusted((self.genesis, handovers, self.certificate.to_value(), block0, self.claim.to_value()))
        return encode_trusted((PROOF_VERSION, _seal(body), body))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the proof that `data` encodes; raises `InvalidInputError`s. Only that it is whole is checked."""
        version, seal, sealed = fields(decode(data, max_bytes=MAX_PROOF_BYTES), 3, "proof")
        as_int(version, "proof version", PROOF_VERSION, PROOF_VERSION)
        body = as_bytes(sealed, "proof body", max_size=MAX_PROOF_BYTES)
        if seal != _seal(body):
            raise BadProofError("the proof is damaged: it is not what was written", hint="copy the file again")
        value = decode(body, max_bytes=MAX_PROOF_BYTES, max_values=MAX_PROOF_VALUES)
        genesis, handovers, certificate, block0, claim = fields(value, 5, "proof body")
        return cls(
            None if genesis is None else as_bytes(genesis, "genesis", max_size=MAX_PROOF_BYTES),
            tuple(Handover.from_value(item) for item in as_tuple(handovers, "handovers", max_items=_MAX_HANDOVERS)),
            QuorumCertificate.from_value(certificate),
            None if block0 is None else Header.from_value(block0),
            claim_from_value(claim),
        )

    def verify(self, genesis_hash: bytes, trusted: TrustedBlock | None = None) -> TrustedBlock:
        """Return the block that the claim is about, or raise unless a quorum of the right committee certified the claim.

        The committee is followed from the genesis that hashes to `genesis_hash`, or in a short proof from `trusted`. With
        `trusted` at hand an older epoch is refused (`StaleProofError`), and so is a chain that does not pass through it. Raises
        errors of the `InvalidInputError` tree, never another.
        """
        committee = self._follow(genesis_hash, trusted)
        self.certificate.check(genesis_hash, committee)
        self._check_block0(genesis_hash)
        header = self.header
        block_hash = header.hash(genesis_hash)
        found = TrustedBlock(header.height, block_hash, header.timestamp_ms, committee, header.next_committee_hash)
        if trusted is not None:
            trusted.check_passed(self.handovers, header.height, genesis_hash)
            _check_against(found, trusted)
        self.claim.check(genesis_hash, header)
        return found

    def _follow(self, genesis_hash: bytes, trusted: TrustedBlock | None) -> Committee:
        """Return the committee after the last handover, each step of the way there checked."""
        if self.genesis is None:
            if trusted is None:
                hint = "check it with the trusted block it was made for, or make one from genesis"
                raise BadProofError("this proof does not reach back to genesis", hint=hint)
            header, committee = self.certificate.header, trusted.committee
            if header.height < trusted.height and header.committee_hash != committee.hash(genesis_hash):
                raise StaleProofError(header.height, trusted.epoch)
            return follow(committee, self.handovers, genesis_hash, first=trusted.height)
        first = _first_committee(self.genesis, genesis_hash)
        last = follow(first, self.handovers, genesis_hash)
        passed = {each.epoch: each for each in (first, *(step.following for step in self.handovers))}
        if trusted is None or last.epoch < trusted.epoch:
            return last
        seen = passed.get(trusted.epoch)
        if seen is None or seen.hash(genesis_hash) != trusted.committee.hash(genesis_hash):
            raise BadProofError(
                "the committees of this proof are not those of the trusted block", epoch=trusted.epoch, height=trusted.height
            )
        return last

    def _check_block0(self, genesis_hash: bytes) -> None:
        """Raise unless the header of genesis, where there is one, is the parent of the certified block."""
        if self.block0 is None:
            return
        child = self.certificate.header
        if (self.block0.height, child.height) != (0, 1) or self.block0.hash(genesis_hash) != child.parent_hash:
            raise BadProofError("this is not the header of the genesis block", height=self.block0.height)


def _seal(body: bytes) -> bytes:
    return digest(Tag.PROOF, ZERO_HASH, body)


def _check_against(found: TrustedBlock, trusted: TrustedBlock) -> None:
    """Raise for what contradicts a trusted block, or is of an older epoch than it."""
    if found.epoch < trusted.epoch:
        raise StaleProofError(found.height, trusted.epoch)
    if found.height == trusted.height and found.block_hash != trusted.block_hash:
        raise ForkError(found.height, trusted.block_hash, found.block_hash)
    if found.height < trusted.height and found.epoch > trusted.epoch:
        raise BadProofError("a block below the trusted one cannot be of a later epoch", epoch=found.epoch, seen=trusted.epoch)


def _first_committee(genesis: bytes, genesis_hash: bytes) -> Committee:
    """Return the first committee, which stands at a fixed place of the canonical genesis (`genesis.spec`)."""
    if digest(Tag.GENESIS, ZERO_HASH, genesis) != genesis_hash:
        raise InvalidInputError(
            "wrong_chain",
            "the proof is of another chain",
            hint="check it with the genesis hash of the chain that it was made for",
            expected="0x" + genesis_hash.hex(),
        )
    value: Value = decode(genesis, max_bytes=MAX_PROOF_BYTES, max_values=MAX_PROOF_VALUES)
    return Committee.from_value(fields(value, _GENESIS_FIELDS, "genesis")[_GENESIS_COMMITTEE])

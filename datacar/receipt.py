"""What a transaction did, as a wallet sees it, and the check that needs to trust no node."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Final, Self

from datacar import on_demand
from datacar.errors import BadAnswerError, BadProofError, TransactionExpiredError, TransactionFailedError
from ledger.claims import ReceiptClaim
from ledger.errors import BadEncodingError
from ledger.hashing import HASH_BYTES
from ledger.proof import Proof, TrustedBlock
from vm.errors import ContractError

_IN_A_BLOCK: Final = ("succeeded", "failed")


@dataclass(frozen=True, slots=True)
class Event:
    """Something a contract said. `fields` are in the JSON forms of its ABI: money as decimal strings of motes."""

    contract: str
    name: str
    fields: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Failure:
    """Why a transaction failed: the contract, its stable code, and a sentence with the numbers."""

    contract: str
    code: str
    message: str


@dataclass(frozen=True, slots=True)
class Receipt:
    """A final outcome. `id` is the transaction's id (0x hex), `height` and `index` its place; a failed one has no events.

    `proof` holds the canonical bytes of a `ledger.proof.Proof` where the node gave one: a file of them is all that an auditor
    needs (`datacar proof check`).
    """

    id: str
    status: str
    height: int
    index: int
    gas_used: int
    results: tuple[Any, ...]
    events: tuple[Event, ...]
    error: Failure | None
    proof: bytes | None = field(default=None, repr=False)

    @property
    def succeeded(self) -> bool:
        """Return whether the transaction took effect."""
        return self.status == "succeeded"

    @classmethod
    def from_status(cls, answer: Mapping[str, Any]) -> Self:
        """Return the receipt in an answer of `tx_send`, `tx_get` or `tx_wait`.

        Raises `BadAnswerError` when there is none, or one that ended otherwise than the answer says: only a receipt is proven.
        """
        try:
            receipt, proof = answer["receipt"], answer.get("proof")
            failure = receipt["error"]
            _check_one_ending(answer["status"], receipt["status"], has_failed=failure is not None)
            return cls(
                id=answer["id"],
                status=receipt["status"],
                height=answer["height"],
                index=answer["index"],
                gas_used=receipt["gas_used"],
                results=tuple(receipt["results"]),
                events=tuple(Event(item["contract"], item["name"], item["fields"]) for item in receipt["events"]),
                error=None if failure is None else Failure(failure["contract"], failure["code"], failure["message"]),
                proof=None if proof is None else bytes.fromhex(proof.removeprefix("0x")),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise BadAnswerError(f"the answer holds no receipt: {problem}") from None

    def verify(self, trusted_genesis: bytes | str, trusted: TrustedBlock | None = None) -> TrustedBlock:
        """Raise unless a quorum of the right committee certified a block that holds exactly this receipt. Works offline.

        `trusted_genesis` is the chain's genesis hash (32 bytes, or 0x hex) from a source you trust; `trusted` a block that is
        believed already, which a short proof needs and which keeps out older epochs. Returns the block, with its epoch and time.
        Raises `BadProofError` for a receipt without a proof or other than its proof, `InvalidInputError` for a proof that does
        not hold.
        """
        if self.proof is None:
            raise BadProofError("this receipt came without a proof", hint="ask the node for it: tx_get with prove")
        proof, genesis_hash = Proof.decode(self.proof), genesis_hash_of(trusted_genesis)
        block = proof.verify(genesis_hash, trusted)
        self.check_against(proof, genesis_hash)
        return block

    def check_against(self, proof: Proof, genesis_hash: bytes) -> None:
        """Raise `BadProofError` for anything this receipt says that a proof, verified before, does not."""
        claim, height = proof.claim, proof.header.height
        if not isinstance(claim, ReceiptClaim):
            raise BadProofError("the proof is of something else than a receipt")
        if _canonical([self.height, self.index]) != _canonical([height, claim.index]):
            raise BadProofError("the proof is for another place in the chain", height=height, index=claim.index)
        proven = _rendered(claim, genesis_hash)
        told = {
            "id": self.id,
            "status": self.status,
            "gas_used": self.gas_used,
            "error": None if self.error is None else asdict(self.error),
            "events": [asdict(event) for event in self.events],
        }
        for name, value in told.items():
            if _canonical(value) != _canonical(proven[name]):
                raise BadProofError(f"{name} is not what the proof says", field=name)
        bare = [on_demand.untyped_to_json(value) for value in claim.receipt.results]  # of a node that had not the calls at hand
        if _canonical(list(self.results)) not in (_canonical(proven["results"]), _canonical(bare)):
            raise BadProofError("results is not what the proof says", field="results")


def outcome_of(answer: Mapping[str, Any], valid_until_ms: int) -> Receipt | None:
    """Return the receipt of a transaction that succeeded, None for one that has not ended, of an answer as `Receipt.from_status`.

    Raises `TransactionFailedError`, `TransactionExpiredError`, and `BadAnswerError` for what contradicts itself.
    """
    status = answer.get("status")
    if answer.get("receipt") is None and status not in _IN_A_BLOCK:
        if status == "expired":
            raise TransactionExpiredError(answer["id"], valid_until_ms)
        return None
    receipt = Receipt.from_status(answer)
    if not receipt.succeeded:
        raise TransactionFailedError(receipt)
    return receipt


def _check_one_ending(told: Any, status: Any, *, has_failed: bool) -> None:
    """Raise `BadAnswerError` unless an answer, its receipt and whether that says a failure are of one final outcome."""
    if told != status:
        raise BadAnswerError(f"the answer says {told!r}, its receipt {status!r}", told=told, status=status)
    if status != ("failed" if has_failed else "succeeded"):
        raise BadAnswerError(f"the receipt says {status!r} and {'a' if has_failed else 'no'} failure", status=status)


def genesis_hash_of(given: bytes | str) -> bytes:
    """Return a genesis hash given as 32 bytes or as 0x hex. Raises `BadEncodingError`."""
    try:
        found = given if isinstance(given, bytes) else bytes.fromhex(given.removeprefix("0x"))
    except ValueError:
        found = b""
    if len(found) != HASH_BYTES:
        raise BadEncodingError(
            f"the genesis hash is not 0x and {2 * HASH_BYTES} hex digits", hint="take it from the network's genesis file"
        )
    return found


def _canonical(document: Any) -> str:
    """Return the one text of a JSON document: it tells true from 1, and not one order of names from another."""
    return json.dumps(document, sort_keys=True)


def _rendered(claim: ReceiptClaim, genesis_hash: bytes) -> Any:
    """Return a proven receipt in JSON with the names of its parts, which the proof does not hold but our own contracts do."""
    try:
        return on_demand.receipt_to_json(on_demand.default_registry(), claim.receipt, claim.transaction(genesis_hash).body.calls)
    except (ContractError, ValueError) as error:
        hint = "update the software that checks it"
        raise BadProofError(f"this version does not know what the receipt holds: {error}", hint=hint) from error

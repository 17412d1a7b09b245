"""What a transaction did, as a wallet sees it, and the check that needs to trust no node."""

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Self

from datacar.errors import BadAnswerError, BadProofError
from ledger.block import Event as ProvenEvent
from ledger.block import Receipt as ProvenReceipt
from ledger.block import Status
from ledger.codec import Value
from ledger.errors import BadEncodingError
from ledger.policy import parse_address
from ledger.receipt_proof import ReceiptProof
from vm.abi_json import event_to_json
from vm.errors import ContractError
from vm.registry import default_registry


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

    `proof` holds the canonical bytes of a `ledger.receipt_proof.ReceiptProof` where the node gave one.
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
        """Return the receipt in an answer of `tx_send`, `tx_get` or `tx_wait`. Raises `BadAnswerError` when there is none."""
        try:
            receipt, proof = answer["receipt"], answer.get("proof")
            failure = receipt["error"]
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

    def verify(self, trusted_genesis: bytes | str) -> None:
        """Raise unless a quorum of the genesis committee certified a block that holds exactly this receipt. Works offline.

        `trusted_genesis` is the chain's genesis hash (32 bytes, or 0x hex) from a source you trust. Raises `BadProofError` for a
        receipt without a proof or other than its proof, `InvalidInputError` for a proof that does not hold.
        """
        if self.proof is None:
            raise BadProofError("this receipt came without a proof", hint="ask the node for it: tx_get with prove")
        proof = ReceiptProof.decode(self.proof)
        proof.verify(_genesis_hash(trusted_genesis))
        if (proof.certificate.header.height, proof.place.index) != (self.height, self.index):
            raise BadProofError("the proof is for another place in the chain", height=proof.certificate.header.height)
        self._compare(proof.receipt)

    def _compare(self, proven: ProvenReceipt) -> None:
        """Raise `BadProofError` for anything this receipt says that the proven one does not."""
        failure = None if proven.error is None else Failure(proven.error.contract, proven.error.code, proven.error.message)
        pairs = {
            "id": (self.id, "0x" + proven.id.hex()),
            "status": (self.status, "succeeded" if proven.status is Status.SUCCEEDED else "failed"),
            "gas_used": (self.gas_used, proven.gas_used),
            "error": (self.error, failure),
            "events": ([_canonical(asdict(event)) for event in self.events], [_rendered(event) for event in proven.events]),
        }
        for name, (told, certified) in pairs.items():
            if told != certified:
                raise BadProofError(f"{name} is not what the proof says", field=name)
        if not _says(list(self.results), proven.results):
            raise BadProofError("results is not what the proof says", field="results")


def _genesis_hash(given: bytes | str) -> bytes:
    if isinstance(given, bytes):
        return given
    try:
        return bytes.fromhex(given.removeprefix("0x"))
    except ValueError:
        raise BadEncodingError("the genesis hash is not 0x hex", hint="take it from the network's genesis file") from None


def _canonical(document: Mapping[str, Any]) -> str:
    """Return the one text of a JSON document: it tells true from 1, and not one order of names from another."""
    return json.dumps(document, sort_keys=True)


def _rendered(event: ProvenEvent) -> str:
    """Return a proven event in JSON with the names of its fields, which the proof does not hold but our own contracts do."""
    try:
        return _canonical(event_to_json(default_registry(), event))
    except (ContractError, ValueError) as error:
        hint = "update the software that checks it"
        raise BadProofError(f"this version does not know {event.contract}.{event.name}: {error}", hint=hint) from error


def _says(told: Any, certified: Value) -> bool:
    """Return whether JSON says the same as a result, in any of the ABI's forms; no method that writes returns named parts."""
    if isinstance(certified, tuple | list):
        if not isinstance(told, list) or len(told) != len(certified):
            return False
        return all(_says(part, item) for part, item in zip(told, certified, strict=True))
    if isinstance(certified, bytes):
        return isinstance(told, str) and (told == "0x" + certified.hex() or _is_address(told, certified))
    if type(certified) is int:
        return told in (certified, str(certified)) and type(told) is not bool
    return type(told) is type(certified) and bool(told == certified)


def _is_address(told: str, certified: bytes) -> bool:
    try:
        return parse_address(told) == certified
    except BadEncodingError:
        return False

"""What a checked proof says, in the JSON forms of the contracts' ABI. Pure; `Proof.verify` comes first.

The contracts are those of this installation: a read method is run again here, on the keys that the proof holds.
"""

from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any, Final, TypeAlias

from datacar.errors import BadProofError
from ledger.claims import ReceiptClaim, StateClaim, StateEntry
from ledger.codec import as_str, as_tuple, decode
from ledger.errors import BadEncodingError
from ledger.policy import format_address
from ledger.proof import Proof, TrustedBlock
from ledger.transaction import Call
from vm.abi_json import args_from_json, call_to_json, field_key, field_value, receipt_to_json, untyped_to_json, value_to_json
from vm.errors import ContractError
from vm.executor import Executor
from vm.proven import ProvenState, UnprovenReadError, proven_query
from vm.registry import default_registry

Json: TypeAlias = Any
"""A JSON document's value: dict, list, str, int, bool or None."""

_KEY_PARTS: Final = 3


def read_value(proof: Proof, contract: str, field: str, key: Json | None = None) -> Json:
    """Return a contract's stored value, None where it is shown that there is none. Raises `BadProofError` for another key."""
    spec = default_registry().field(contract, field)
    raw_key = field_key(contract, spec, key)
    try:
        return field_value(spec, ProvenState(_state(proof)).get(raw_key))
    except UnprovenReadError as error:
        raise BadProofError(error.message, hint=error.hint) from error


def read_method(proof: Proof, contract: str, method: str, args: Sequence[Json] | Mapping[str, Json] = ()) -> Json:
    """Return what a read method answers. Raises `BadProofError` where the proof is of another question, or `ContractError`."""
    spec = default_registry().method(contract, method)
    given = args_from_json(spec, args)
    try:
        value = proven_query(Executor(default_registry()), _state(proof), proof.header, contract, spec.name, given)
    except UnprovenReadError as error:
        raise BadProofError(error.message, hint=error.hint) from error
    return value_to_json(spec.returns, value)


def describe(proof: Proof, block: TrustedBlock, genesis_hash: bytes) -> dict[str, Json]:
    """Return what a verified proof says: of which block, epoch and time, and the receipt or the values it holds."""
    place = {
        "height": block.height,
        "epoch": block.epoch,
        "timestamp_ms": block.timestamp_ms,
        "time": datetime.fromtimestamp(block.timestamp_ms / 1_000, UTC).isoformat(timespec="milliseconds"),
        "block_hash": "0x" + block.block_hash.hex(),
    }
    if isinstance(proof.claim, ReceiptClaim):
        return {"kind": "receipt", **place, **_receipt(proof.claim, genesis_hash)}
    return {
        "kind": "state" if proof.claim.entries else "header",
        **place,
        "values": [_entry(item) for item in proof.claim.entries],
    }


def _receipt(claim: ReceiptClaim, genesis_hash: bytes) -> dict[str, Json]:
    transaction = claim.transaction(genesis_hash)
    calls, registry = transaction.body.calls, default_registry()
    try:
        receipt = receipt_to_json(registry, claim.receipt, calls)
    except (ContractError, ValueError) as error:
        hint = "the proof holds; update the software to read it"
        raise BadProofError(f"this version does not know what the receipt holds: {error}", hint=hint) from error
    return {
        "id": receipt["id"],
        "index": claim.index,
        "status": receipt["status"],
        "sender": format_address(transaction.sender),
        "reference": transaction.body.reference,
        "calls": [_call(call) for call in calls],
        "gas_used": receipt["gas_used"],
        "results": receipt["results"],
        "events": [{"index": index, **event} for index, event in enumerate(receipt["events"])],
        "error": receipt["error"],
    }


def _call(call: Call) -> Json:
    """Return a call with named arguments, or with bare ones where it does not fit any contract."""
    try:
        return call_to_json(default_registry(), call)
    except ContractError:
        return {"contract": call.contract, "method": call.method, "args": untyped_to_json(call.args)}


def _entry(entry: StateEntry) -> Json:
    """Return a raw key's meaning and its value; of what this version does not know, the bytes."""
    raw = {"key": "0x" + entry.key.hex()}
    try:
        parts = as_tuple(decode(entry.key), "state key", max_items=_KEY_PARTS)
        contract, field = (as_str(part, "state key") for part in parts[:2])
        spec = default_registry().field(contract, field)
        named = {"contract": contract, "field": field}
        if spec.key is not None:
            [key] = parts[2:]
            spec.key.decode(key)
            named["of"] = value_to_json(spec.key, key)
        return raw | named | {"value": field_value(spec, entry.value)}
    except (BadEncodingError, ContractError, ValueError):
        return raw | {"value": None if entry.value is None else "0x" + entry.value.hex()}


def _state(proof: Proof) -> StateClaim:
    if not isinstance(proof.claim, StateClaim):
        raise BadProofError("the proof is of a receipt, not of the state", hint="ask the node for a proof of this value")
    return proof.claim

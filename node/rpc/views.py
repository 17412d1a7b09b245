"""What the ledger's objects look like in JSON, and the JSON Schemas that say so.

Heights, counts and times are integers, amounts decimal strings of motes, bytes 0x hex, addresses bech32m.
"""

from collections.abc import Collection, Mapping
from dataclasses import fields
from typing import Final

from ledger.block import Header
from ledger.certificate import QuorumCertificate
from ledger.committee import Committee
from ledger.parameters import ChainParameters
from ledger.policy import format_address
from ledger.types import BlockHash
from node.api import PeerStatus
from node.rpc.jsonrpc import Json
from node.rpc.schema import Schema
from vm.contracts.governance_types import ActionKind, MemberRecord, ProposalStatus, Role, Topic
from vm.gas import max_gas_limit

INTEGER: Final[Schema] = {"type": "integer"}
TEXT: Final[Schema] = {"type": "string"}
BOOLEAN: Final[Schema] = {"type": "boolean"}
ANY: Final[Schema] = {}
HEX: Final[Schema] = {"type": "string", "pattern": "^0x([0-9a-f]{2})*$"}
HASH: Final[Schema] = {"type": "string", "pattern": "^0x[0-9a-f]{64}$"}
MOTES: Final[Schema] = {"type": "string", "pattern": "^(0|[1-9][0-9]*)$", "description": "motes"}
ADDRESS: Final[Schema] = {"type": "string", "description": "bech32m"}
PROOF: Final[Schema] = HEX | {"description": "ledger.proof, canonical bytes: `datacar proof check` takes them"}


def shape(base: Mapping[str, Schema] | None = None, /, *, optional: Collection[str] = (), **more: Schema) -> Schema:
    """Return the schema of an object with these properties and no others; all but the `optional` ones are always there."""
    properties = {**(base or {}), **more}
    required = [name for name in properties if name not in optional]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def nullable(schema: Schema) -> Schema:
    """Return the schema of a value that may be null."""
    return {"oneOf": [schema, {"type": "null"}]}


def array(items: Schema) -> Schema:
    """Return the schema of an array."""
    return {"type": "array", "items": items}


def page(items: Schema) -> Schema:
    """Return the schema of a list's page; `next_cursor` is null on the last one."""
    return shape(items=array(items), next_cursor=nullable(TEXT))


def state_read(value: Schema, **more: Schema) -> Schema:
    """Return the schema of what a state read answers: the height it was read at, and the value; with `prove` also the proof."""
    return shape(more, height=INTEGER, value=value, proof=PROOF, optional=("proof",))


def ref(name: str) -> Schema:
    """Return a reference to one of `COMPONENTS`."""
    return {"$ref": f"#/components/schemas/{name}"}


_FIXED_HEADER: Final = {"height": INTEGER, "view": INTEGER, "proposer": TEXT, "timestamp_ms": INTEGER, "gas_used": INTEGER}
_HEADER: Final = {item.name: _FIXED_HEADER.get(item.name, HASH) for item in fields(Header)}
_ERROR: Final = shape(code=INTEGER, message=TEXT, data={"type": "object"})
CALL: Final = shape(contract=TEXT, method=TEXT, args={"type": ["object", "array"]})
_PLANNED_CALL: Final = shape(
    contract=TEXT,
    method=TEXT,
    args=nullable({"type": "object"}) | {"description": "null where they do not fit the contract"},
    raw_args=HEX | {"description": "the list of arguments in canonical bytes"},
    text=TEXT,
    problem=nullable(TEXT) | {"description": "why the call would fail as things stand"},
)
_PLACE: Final = {"height": nullable(INTEGER), "index": nullable(INTEGER), "receipt": nullable(ref("Receipt"))}
_RECEIPT_PROOF: Final = nullable(HEX) | {"description": "ledger.proof: transaction and receipt, certified"}

COMPONENTS: Final[dict[str, Schema]] = {
    "Header": shape(_HEADER, chain_id=TEXT, hash=HASH),
    "Block": shape(
        height=INTEGER,
        hash=HASH,
        header=ref("Header"),
        transactions=array({"oneOf": [HASH, ref("Transaction")]}),
        receipts=array(ref("Receipt")),
        size_bytes=INTEGER,
        optional=("receipts",),
    ),
    "Certificate": shape(
        height=INTEGER,
        view=INTEGER,
        block_hash=HASH,
        header=ref("Header"),
        bitmap=HEX,
        signatures=array(HEX),
        signers=array(TEXT),
    ),
    "Receipt": shape(
        kind={"type": "string", "enum": ["transaction", "scheduled"]},
        id=HASH,
        status={"type": "string", "enum": ["succeeded", "failed"]},
        gas_used=INTEGER,
        results=array(ANY),
        events=array(shape(contract=TEXT, name=TEXT, fields={"type": "object"})),
        error=nullable(shape(contract=TEXT, code=TEXT, message=TEXT)),
    ),
    "Transaction": shape(
        id=HASH,
        tx_hash=HASH,
        sender=ADDRESS,
        policy=shape(threshold=INTEGER, keys=array(HEX)),
        salt=HEX,
        valid_until_ms=INTEGER,
        chain_tag=HEX,
        calls=array(CALL),
        gas_limit=INTEGER,
        reference=TEXT,
        signatures=array(shape(key_index=INTEGER, signature=HEX)),
        size_bytes=INTEGER,
        text=TEXT,
    ),
    "TransactionStatus": shape(
        _PLACE, id=HASH, status={"type": "string", "enum": ["not_found", "pending", "succeeded", "failed", "expired"]},
        proof=_RECEIPT_PROOF, optional=("proof",),
    ),
    "Submission": shape(_PLACE, id=HASH, status=TEXT, duplicate=BOOLEAN, proof=_RECEIPT_PROOF, optional=("proof", *_PLACE)),
    "BatchItem": shape(
        _PLACE, id=nullable(HASH), status=TEXT, duplicate=BOOLEAN, error=_ERROR,
        optional=("status", "duplicate", "error", *_PLACE),
    ),
    "Member": shape(
        id=TEXT,
        role={"type": "string", "enum": [role.value for role in Role]},
        public_key=HASH,
        certificate_sha256=HASH,
        p2p_address=TEXT,
        account=nullable(ADDRESS) | {"description": "proposes and votes for the member"},
        since_height=INTEGER,
        attested_height=nullable(INTEGER) | {"description": "of an observer: the newest block its account named"},
    ),
    "Proposal": shape(
        id=INTEGER,
        kind={"type": "string", "enum": [kind.value for kind in ActionKind]},
        member_id=TEXT | {"description": "whom it is about; empty for a list of calls"},
        topics=array({"type": "string", "enum": [topic.value for topic in Topic]})
        | {"description": "what it is about; it needs what the topic that needs most does"},
        calls=nullable(array(_PLANNED_CALL))
        | {"description": "what the governance account would do, or did; null where it is about a member, or was closed undone"},
        calls_sha256=nullable(HASH),
        candidate=nullable(
            shape(
                public_key=HASH,
                certificate=nullable(HEX) | {"description": "null once the proposal is closed"},
                certificate_sha256=HASH,
                p2p_address=TEXT,
                account=ADDRESS,
            )
        ),
        proposer=TEXT,
        reason=TEXT,
        status={"type": "string", "enum": [status.value for status in ProposalStatus]},
        created_height=INTEGER,
        created_ms=INTEGER,
        expires_ms=INTEGER,
        closed_height=nullable(INTEGER),
        votes=array(shape(member_id=TEXT, height=INTEGER, approve=BOOLEAN)),
        approvals=INTEGER,
        rejections=INTEGER,
        need=INTEGER,
    ),
}  # fmt: skip


def hex_of(data: bytes) -> str:
    """Return bytes as 0x hex."""
    return "0x" + data.hex()


def plain(value: object) -> Json:
    """Return a field of a header or of parameters: bytes as hex, the rest as it is."""
    return hex_of(value) if isinstance(value, bytes) else value


def header_view(chain_id: str, block_hash: BlockHash, header: Header) -> Json:
    """Return a header with its chain and hash."""
    named = {item.name: plain(getattr(header, item.name)) for item in fields(header)}
    return {"chain_id": chain_id, "hash": hex_of(block_hash), **named}


def certificate_view(header: Json, certificate: QuorumCertificate, committee: Committee) -> Json:
    """Return a certificate by `committee` beside its header's view."""
    return {
        "height": header["height"],
        "view": certificate.view,
        "block_hash": header["hash"],
        "header": header,
        "bitmap": hex_of(certificate.bitmap),
        "signatures": [hex_of(signature) for signature in certificate.signatures],
        "signers": list(certificate.signers(committee)),
    }


def parameters_view(parameters: ChainParameters) -> Json:
    """Return the chain's parameters by name and the gas that a transaction may have; the gas price, being money, is a string."""
    named = {item.name: getattr(parameters, item.name) for item in fields(parameters)}
    most = max_gas_limit(parameters.block_max_gas)
    return named | {"gas_price_motes": str(parameters.gas_price_motes), "max_gas_limit": most}


def member_view(member: MemberRecord) -> Json:
    """Return a member of either role."""
    return {
        "id": member.id,
        "role": member.role.value,
        "public_key": hex_of(member.public_key),
        "certificate_sha256": hex_of(member.certificate_sha256),
        "p2p_address": member.p2p_address,
        "account": None if member.account is None else format_address(member.account),
        "since_height": member.since_height,
        "attested_height": member.attested_height or None,
    }


def peer_view(peer: PeerStatus) -> Json:
    """Return another member as seen from here; the round trip in microseconds, so that it is an integer."""
    return {
        "id": peer.member_id,
        "address": peer.address,
        "direction": peer.direction,
        "connected": peer.connected,
        "height": peer.height,
        "rtt_us": None if peer.rtt_ms is None else round(peer.rtt_ms * 1_000),
        "last_error": peer.last_error,
    }

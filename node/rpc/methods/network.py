"""`consensus_*`, `net_*`, `node_*` and `mempool_*`: how the protocol, the members and this node are doing."""

from dataclasses import asdict
from typing import Final

from consensus.evidence import Evidence
from ledger.errors import UnavailableError
from node.rpc import limits, views
from node.rpc.context import VERSION, Context
from node.rpc.jsonrpc import MAX_BATCH, Json
from node.rpc.methods.governance import ask
from node.rpc.methods.tx import MAX_RAWS
from node.rpc.schema import HeightNumber, MethodTable
from node.rpc.views import BOOLEAN, HEX, INTEGER, TEXT, array, nullable, page, ref, shape
from vm.contracts.governance import Governance
from vm.contracts.governance_types import CommitteeInfo, MemberRecord

METHODS: Final = MethodTable()

_PEER: Final = shape(
    id=TEXT,
    address=TEXT,
    direction=TEXT,
    connected=BOOLEAN,
    height=nullable(INTEGER),
    rtt_us=nullable(INTEGER),
    last_error=nullable(TEXT),
)


@METHODS.method(
    "consensus_status",
    result=shape(height=INTEGER, view=INTEGER, primary=TEXT, phase=TEXT, votes={"type": "object"}, stalled=nullable(TEXT)),
)
async def consensus_status(rpc: Context) -> Json:
    """Return where the protocol stands; `stalled` is null or says why nothing moves."""
    status = rpc.node.consensus_status()
    return {
        "height": status.height,
        "view": status.view,
        "primary": status.primary,
        "phase": status.phase,
        "votes": status.votes,
        "stalled": status.stalled,
    }


@METHODS.method(
    "consensus_members",
    result=shape(
        height=INTEGER,
        epoch=INTEGER,
        changed_height=INTEGER,
        quorum=INTEGER,
        faults=INTEGER,
        members=array(ref("Member")),
        observers=array(ref("Member")),
    ),
)
async def consensus_members(rpc: Context, height: HeightNumber | None = None) -> Json:
    """Return the members as of a height: those that vote on the next block, and the observers.

    `quorum` of them decide and `faults` may be faulty; the epoch counts the committees, `changed_height` is the block that made
    this one.
    """
    version = rpc.version(height)
    committee: CommitteeInfo = ask(rpc, Governance.committee, version=version)
    observers: tuple[MemberRecord, ...] = ask(rpc, Governance.observers, version=version)
    return {
        "height": version.header.height,
        "epoch": committee.epoch,
        "changed_height": committee.changed_height,
        "quorum": committee.quorum,
        "faults": committee.faults,
        "members": [views.member_view(member) for member in committee.members],
        "observers": [views.member_view(member) for member in observers],
    }


@METHODS.method(
    "consensus_evidence",
    result=page(shape(member=TEXT, height=INTEGER, view=INTEGER, step=TEXT, first=HEX, second=HEX)),
)
async def consensus_evidence(rpc: Context) -> Json:
    """Return proof that members contradicted themselves: two signed messages for one height, view and step, as wire bytes."""
    found = [Evidence.decode(item) for item in rpc.node.evidence()]
    return {"items": [_evidence_view(item) for item in found], "next_cursor": None}


def _evidence_view(item: Evidence) -> Json:
    height, view, step = item.position
    return {
        "member": item.signer,
        "height": height,
        "view": view,
        "step": step.name.lower(),
        "first": "0x" + item.first.encode().hex(),
        "second": "0x" + item.second.encode().hex(),
    }


@METHODS.method("net_peers", result=page(_PEER))
async def net_peers(rpc: Context) -> Json:
    """Return the other members as this node sees them; round trips in microseconds."""
    return {"items": [views.peer_view(peer) for peer in rpc.node.peers()], "next_cursor": None}


@METHODS.method("node_status", result={"type": "object", "description": "version, uptime, sizes and counters"})
async def node_status(rpc: Context) -> Json:
    """Return this node's version, uptime, sizes and counters, and whether it is ready."""
    readiness = rpc.node.readiness()
    return rpc.node.status() | {"ready": readiness.ready, "checks": readiness.checks}


@METHODS.method("mempool_status", result={"type": "object", "description": "counts and bytes of what waits for a block"})
async def mempool_status(rpc: Context) -> Json:
    """Return how much waits for a block."""
    found = rpc.node.status().get("mempool")
    if not isinstance(found, dict):
        raise UnavailableError("syncing", "this node has no pool at the moment", hint="ask again, or ask another node")
    return found


@METHODS.method(
    "node_capabilities",
    result=shape(
        version=TEXT,
        member_id=TEXT,
        methods=array(TEXT),
        max_batch=INTEGER,
        max_body_bytes=INTEGER,
        max_answer_bytes=INTEGER,
        max_raws=INTEGER,
        websocket=BOOLEAN,
        subscriptions=BOOLEAN,
        receipt_proofs=BOOLEAN,
        state_proofs=BOOLEAN,
        held=shape(headers_from=INTEGER, receipts_from=INTEGER, bodies_from=INTEGER, states_from=INTEGER),
        development=BOOLEAN,
    ),
)
async def node_capabilities(rpc: Context) -> Json:
    """Return what this node serves, the bounds of a request and its answer, and from which height on it holds what.

    Genesis it always has.
    """
    development = rpc.node.development
    names = sorted(name for name, method in rpc.methods.by_name.items() if development or not method.development)
    return {
        "version": VERSION,
        "member_id": rpc.node.member_id,
        "methods": names,
        "max_batch": MAX_BATCH,
        "max_body_bytes": rpc.max_body_bytes,
        "max_answer_bytes": limits.MAX_ANSWER_BYTES,
        "max_raws": MAX_RAWS,
        "websocket": True,
        "subscriptions": False,
        "receipt_proofs": True,
        "state_proofs": True,
        "held": asdict(rpc.node.held),
        "development": development,
    }

"""`consensus_*`, `net_*`, `node_*` and `mempool_*`: how the protocol, the members and this node are doing."""

from typing import Final

from ledger.errors import UnavailableError
from node.rpc import views
from node.rpc.context import VERSION, Context
from node.rpc.jsonrpc import MAX_BATCH, Json
from node.rpc.methods.tx import MAX_RAWS
from node.rpc.schema import HeightNumber, MethodTable
from node.rpc.views import BOOLEAN, INTEGER, TEXT, array, nullable, page, ref, shape

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
    result=shape(height=INTEGER, epoch=INTEGER, quorum=INTEGER, faults=INTEGER, members=array(ref("Member"))),
)
async def consensus_members(rpc: Context, height: HeightNumber | None = None) -> Json:
    """Return the committee: the members that vote, how many make a quorum, how many may be faulty."""
    at = rpc.check_state_read(height, prove=False)
    committee = rpc.node.committee
    return {
        "height": at,
        "epoch": committee.epoch,
        "quorum": committee.quorum,
        "faults": committee.faults,
        "members": [views.member_view(member) for member in committee.members],
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
        max_raws=INTEGER,
        websocket=BOOLEAN,
        subscriptions=BOOLEAN,
        receipt_proofs=BOOLEAN,
        state_proofs=BOOLEAN,
        development=BOOLEAN,
    ),
)
async def node_capabilities(rpc: Context) -> Json:
    """Return what this node serves and the bounds of a request."""
    development = rpc.node.development
    names = sorted(name for name, method in rpc.methods.by_name.items() if development or not method.development)
    return {
        "version": VERSION,
        "member_id": rpc.node.member_id,
        "methods": names,
        "max_batch": MAX_BATCH,
        "max_body_bytes": rpc.max_body_bytes,
        "max_raws": MAX_RAWS,
        "websocket": True,
        "subscriptions": False,
        "receipt_proofs": True,
        "state_proofs": False,
        "development": development,
    }

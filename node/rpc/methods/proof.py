"""What light clients follow the chain by: certified headers, changes of the committee, the committee of a height."""

from typing import Final

from ledger.claims import StateClaim
from ledger.codec import encode_trusted
from ledger.errors import NotFoundError
from ledger.types import Height
from node.rpc.context import Context
from node.rpc.jsonrpc import Json
from node.rpc.methods.chain import Limit
from node.rpc.schema import HeightNumber, MethodTable
from node.rpc.views import HASH, HEX, INTEGER, PROOF, TEXT, array, hex_of, nullable, shape

METHODS: Final = MethodTable()


@METHODS.method("chain_proveHeader", result=shape(height=INTEGER, proof=PROOF))
async def prove_header(rpc: Context, height: HeightNumber | None = None, trusted_height: HeightNumber | None = None) -> Json:
    """Return the proof of a header, of the last one without a height: from genesis, or for one who trusts `trusted_height`."""
    at = rpc.find_header(height).height
    proof = rpc.node.prove(at, StateClaim(()), None if trusted_height is None else Height(trusted_height))
    return {"height": at, "proof": hex_of(proof.encode())}


@METHODS.method("chain_listHandovers", result=shape(items=array(HEX), next_height=nullable(INTEGER)))
async def list_handovers(rpc: Context, from_height: HeightNumber = 0, limit: Limit = 100) -> Json:
    """Return the changes of the committee from a block on, oldest first, as canonical bytes (`ledger.committee_chain.Handover`).

    `next_height` is where to go on, null after the last one.
    """
    end = Height(rpc.node.tip.height + 1)
    steps = rpc.node.handovers(Height(from_height), end)
    more = steps[limit].certificate.header.height if len(steps) > limit else None
    items = await rpc.turns.each(steps[:limit], lambda step: hex_of(encode_trusted(step.to_value())))
    return {"items": items, "next_height": more}


@METHODS.method(
    "chain_getCommittee",
    result=shape(height=INTEGER, epoch=INTEGER, hash=HASH, members=array(shape(id=TEXT, public_key=HASH))),
)
async def get_committee(rpc: Context, height: HeightNumber | None = None) -> Json:
    """Return the committee that certifies a block, by default the next one; `hash` is the header's `committee_hash`."""
    node = rpc.node
    following = node.tip.height + 1
    at = following if height is None else height
    if at > following:
        raise NotFoundError("not_found", f"height {at} is not there yet", hint="wait for it", height=at, tip=node.tip.height)
    committee = node.committee_at(Height(at))
    members = [{"id": member.id, "public_key": hex_of(member.public_key)} for member in committee.members]
    return {"height": at, "epoch": committee.epoch, "hash": hex_of(committee.hash(node.genesis_hash)), "members": members}

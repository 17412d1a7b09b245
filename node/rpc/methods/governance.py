"""`gov_*`: what the members propose and vote on."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from ledger.errors import NotFoundError
from node.rpc.context import Context
from node.rpc.jsonrpc import Json
from node.rpc.methods.chain import Cursor, Limit, cursor_number
from node.rpc.schema import MAX_SAFE_INT, MethodTable, integer
from node.rpc.views import page, proposal_view, ref
from node.state_version import StateVersion
from vm.contracts.governance import Governance
from vm.contracts.governance_types import Tally

METHODS: Final = MethodTable()

ProposalId = Annotated[int, integer(1, MAX_SAFE_INT)]


def ask(rpc: Context, method: Callable[..., Any], *args: Any, version: StateVersion | None = None) -> Any:
    """Return what a read method of the contract answers, as a Python object; on the last state or another version."""
    entry, spec = rpc.registry.of_function(method)
    return spec.returns.decode(rpc.node.query(entry.name, spec.name, spec.encode_args(args), version))


@METHODS.method("gov_list", result=page(ref("Proposal")))
async def gov_list(rpc: Context, limit: Limit = 20, cursor: Cursor | None = None) -> Json:
    """Return proposals from the newest down, or on from a cursor, each with the votes that count."""
    newest: int = ask(rpc, Governance.last_proposal)
    start = newest if cursor is None else min(cursor_number(cursor), newest)
    ids = range(start, max(0, start - limit), -1)
    items = await rpc.turns.each(ids, lambda number: proposal_view(rpc.registry, ask(rpc, Governance.proposal, number)))
    after = start - limit
    return {"items": items, "next_cursor": str(after) if after > 0 else None}


@METHODS.method("gov_get", result=ref("Proposal"))
async def gov_get(rpc: Context, id_: ProposalId) -> Json:
    """Return a proposal of any time with the votes that count, or counted when it was decided."""
    newest: int = ask(rpc, Governance.last_proposal)
    if id_ > newest:
        hint = "gov_list names them"
        raise NotFoundError("not_found", f"there is no proposal {id_}", hint=hint, id=id_, newest=newest)
    tally: Tally = ask(rpc, Governance.proposal, id_)
    return proposal_view(rpc.registry, tally)

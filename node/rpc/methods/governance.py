"""`gov_*`: what the members propose and vote on."""

from collections.abc import Callable
from typing import Annotated, Any, Final

from ledger.codec import as_tuple, decode
from ledger.errors import NotFoundError
from ledger.transaction import MAX_ARGS, Call
from node.rpc.call_views import proposal_steps
from node.rpc.context import Context
from node.rpc.jsonrpc import Json
from node.rpc.methods.chain import Cursor, Limit, cursor_number
from node.rpc.schema import MAX_SAFE_INT, MethodTable, integer
from node.rpc.turns import Steps
from node.rpc.views import page, ref
from node.state_version import StateVersion
from vm.contracts.asset_types import GOVERNANCE
from vm.contracts.governance import Governance
from vm.contracts.governance_types import ProposalStatus, Tally

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
    items = await rpc.views(ids, lambda number: _proposal_steps(rpc, number))
    after = start - limit
    return {"items": items, "next_cursor": str(after) if after > 0 else None}


@METHODS.method("gov_get", result=ref("Proposal"))
async def gov_get(rpc: Context, id_: ProposalId) -> Json:
    """Return a proposal of any time with the votes that count, or counted when it was decided.

    `problem` says of an open one why its calls would fail now; later they may not.
    """
    newest: int = ask(rpc, Governance.last_proposal)
    if id_ > newest:
        hint = "gov_list names them"
        raise NotFoundError("not_found", f"there is no proposal {id_}", hint=hint, id=id_, newest=newest)
    [view] = await rpc.views([id_], lambda number: _simulated_steps(rpc, number))
    return view


def _proposal_steps(rpc: Context, number: int) -> Steps[Json]:
    tally: Tally = ask(rpc, Governance.proposal, number)
    yield
    return (yield from proposal_steps(rpc.registry, tally))


def _simulated_steps(rpc: Context, number: int) -> Steps[Json]:
    """Return a proposal; of an open one the first call that would fail now, made as the deciding vote makes it, says why."""
    view = yield from _proposal_steps(rpc, number)
    if view["status"] != ProposalStatus.OPEN or any(item["problem"] for item in view["calls"] or ()):
        return view
    calls: list[Call] = []
    for item in view["calls"] or ():
        args = as_tuple(decode(bytes.fromhex(item["raw_args"][2:])), "arguments", max_items=MAX_ARGS)
        calls.append(Call(item["contract"], item["method"], args))
    simulated = rpc.node.simulate_calls(GOVERNANCE, calls) if calls else None
    if simulated is None or simulated.error is None:
        return view
    for count, item in enumerate(view["calls"], 1):
        yield
        failure = rpc.node.simulate_calls(GOVERNANCE, calls[:count]).error
        if failure is not None:
            item["problem"] = f"{failure.contract} {failure.code}: {failure.message}"
            break
    return view

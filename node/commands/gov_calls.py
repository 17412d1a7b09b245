"""What is checked in calls that members vote on, before anybody signs: the chain takes what it could never carry out."""

from typing import Any, Final

from datacar import on_demand
from datacar.client import Client
from datacar.failure_hints import hint_of
from datacar.failures import failure_text
from ledger.codec import as_tuple, decode
from ledger.errors import DatacarError, RejectedError
from ledger.policy import contract_address, format_address
from ledger.transaction import MAX_ARGS, Call
from node.commands.connection import expect_object
from node.commands.output import warn

GOVERNANCE: Final = "governance"
_SWITCHES: Final = ("disable_contract", "enable_contract")
_NEVER: Final = frozenset(
    {"BAD_HEIGHT", "BAD_VERSION", "BAD_PARAMETER", "PARAMETER_TWICE", "BAD_THRESHOLD", "CANNOT_DISABLE", "BAD_ACCOUNT"}
    | {"UNKNOWN_CONTRACT", "UNKNOWN_METHOD", "WRONG_KIND", "BAD_ARGUMENTS"}
)
"""Failures that no time heals; others, such as too little money, may pass until the deciding vote."""


def check_contracts_named(client: Client, call: Call) -> None:
    """Raise `RejectedError` where a proposed call switches a contract that the node does not have.

    The chain would take the proposal and the votes, and nothing would come of it. A name that is switched off already may be
    switched on again, whatever it is.
    """
    for method, contract in _switched(call):
        known = [str(item["name"]) for item in expect_object(client.call("contract_list"), "list of contracts")["items"]]
        if contract in known or (method == "enable_contract" and contract in _disabled(client)):
            continue
        raise RejectedError(
            "not_permitted",
            f"nothing was sent: there is no contract {contract!r} on this chain to {method.partition('_')[0]}",
            hint=f"name one of {', '.join(known)}",
            contract=contract,
            known=known,
        )


def check_can_succeed(client: Client, call: Call) -> None:
    """Raise `RejectedError` where a proposed call could never be carried out; warn where it could not now.

    Each is made as the members' account, as the deciding vote makes it; what depends on an earlier one of the list stays open.
    """
    if (call.contract, call.method) != (GOVERNANCE, "propose_calls"):
        return
    sender = format_address(contract_address(GOVERNANCE))
    for number, (contract, method, args) in enumerate(_planned(call), 1):
        asked = on_demand.call_to_json(on_demand.default_registry(), Call(contract, method, args))
        error = expect_object(client.call("tx_simulate", call=asked, sender=sender), "simulation")["error"]
        if error is None:
            continue
        why = f"{error['contract']} {error['code']}: {failure_text(error['contract'], error['code'], error['message'])}"
        if error["code"] in _NEVER:
            raise RejectedError(
                "contract_error",
                f"nothing was sent: call {number}, {contract}.{method}, could never be carried out: {why}",
                hint=hint_of(error["contract"], error["code"]),
                contract=error["contract"],
                code=error["code"],
            )
        if number == 1:
            warn(f"as things stand the deciding vote on {contract}.{method} would fail: {why}")


def _switched(call: Call) -> list[tuple[str, str]]:
    """Return (method, contract) of each switch in a call, or in the calls that it proposes."""
    if call.contract != GOVERNANCE:
        return []
    calls = [(call.contract, call.method, call.args), *(_planned(call) if call.method == "propose_calls" else ())]
    found = [(method, args) for contract, method, args in calls if contract == GOVERNANCE and method in _SWITCHES]
    return [(method, args[0]) for method, args in found if len(args) == 1 and isinstance(args[0], str)]


def _planned(call: Call) -> list[tuple[str, str, tuple[Any, ...]]]:
    try:
        planned: Any = call.args[0]
        return [(contract, method, as_tuple(decode(raw), "arguments", max_items=MAX_ARGS)) for contract, method, raw in planned]
    except (DatacarError, IndexError, TypeError, ValueError):  # whatever it is, the simulation says what is wrong with it
        return []


def _disabled(client: Client) -> list[str]:
    asked = client.call("contract_query", contract=GOVERNANCE, method="rules")
    return list(expect_object(asked, "rules")["value"]["disabled"])

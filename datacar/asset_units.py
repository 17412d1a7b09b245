"""Units that only a node knows: those of an issued asset, of a hold's asset, and of what is reported to an order. A flow."""

from typing import Any

from datacar.errors import BadAnswerError
from datacar.rpc import Json
from datacar.shapes import OF_THE_ORDER
from datacar.steps import Call, Flow
from datacar.units import COUNT, DATR, DATR_SYMBOL, Unit, money
from vm.amount_assets import OF_THE_HOLD


def asset_unit(name: str) -> Flow[Unit]:
    """Return the unit of an asset by its symbol, or what `datacar.shapes.priced` names. Raises `RejectedError` for none."""
    kind, _, thing_id = name.rpartition(" ")
    try:
        if kind == OF_THE_ORDER:
            order = yield from _asked("order", "get", order_id=thing_id)
            return DATR if order["terms"]["amount"]["kind"] == "percentage" else COUNT
        if kind == OF_THE_HOLD:
            name = (yield from _asked("asset", "get_hold", hold_id=thing_id))["symbol"]
        if name == DATR_SYMBOL:
            return DATR
        return money(name, int((yield from _asked("asset", "get_asset", symbol=name))["decimals"]))
    except (KeyError, TypeError, ValueError, AttributeError) as problem:
        raise BadAnswerError(f"contract_query lacks something: {problem!r}") from None


def _asked(contract: str, method: str, **args: Json) -> Flow[Any]:
    return (yield Call("contract_query", {"contract": contract, "method": method, "args": args}))["value"]

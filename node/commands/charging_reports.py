"""A station's reports by hand: a repetition must be the same report, to the second, or it would open a dispute.

Whoever types `--at-s now` twice says two times. What the chain has is known, so it is said instead of sent.
"""

from typing import Any, Final

from datacar import on_demand
from datacar.client import Client
from datacar.units import ENERGY, MOMENT_S
from ledger.errors import RejectedError
from ledger.policy import format_address
from ledger.transaction import Call
from ledger.types import Address
from node.commands.connection import expect_object
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging

START: Final = Charging.start.__name__
STOP: Final = Charging.stop.__name__
_UNKNOWN: Final = frozenset({"UNKNOWN_SESSION", "UNKNOWN_CDR"})


def check_report(client: Client, sender: Address, call: Call) -> None:
    """Raise `RejectedError` for a start or stop that differs from what the same station reported before."""
    if call.contract != CHARGING or call.method not in (START, STOP):
        return
    spec = on_demand.default_registry().method(CHARGING, call.method)
    given: dict[str, Any] = dict(zip((param.name for param in spec.params), call.args, strict=True))
    session_id = "0x" + bytes(given.pop("session_id")).hex()
    session = _asked(client, Charging.session.__name__, session_id)
    if session is None or session["station"] != format_address(sender):
        return
    known = session["start"] if call.method == START else session["reported"] or _billed(client, session, session_id)
    if known is None or list(known.values()) == list(given.values()):  # both in the order of the report
        return
    first = dict(zip(given, known.values(), strict=False))
    event = "started" if call.method == START else "stopped"
    moment = MOMENT_S.show(known["at_s"])
    repeat = " ".join(f"--{name.replace('_', '-')} {_typed(name, value)}" for name, value in first.items())
    raise RejectedError(
        "not_permitted",
        f"nothing was sent: this session was {event} at {moment} by this station's first report, which counts",
        hint=f"repeat with {repeat}" + ("; another end would open a dispute" if call.method == STOP else ""),
        session_id=session_id,
        first=first,
    )


def _billed(client: Client, session: dict[str, Any], session_id: str) -> dict[str, Any] | None:
    """Return the end that a settled session's first record has, None where no stop was reported."""
    if not session["records"]:
        return None
    records = _asked(client, Charging.cdrs.__name__, session_id)
    stop = records[0].get("stop") if records else None
    return dict(stop) if stop is not None else None


def _asked(client: Client, method: str, session_id: str) -> Any:
    """Return what a read method says of a session, None where there is none."""
    asked = {"contract": CHARGING, "method": method, "args": {"session_id": session_id}}
    try:
        return expect_object(client.call("contract_query", **asked), "value")["value"]
    except RejectedError as error:
        if error.details.get("code") not in _UNKNOWN:
            raise
        return None


def _typed(name: str, value: Any) -> str:
    """Return a value as it is typed."""
    if name.endswith("_s"):
        return MOMENT_S.show(value)
    if name.endswith("_wh") and value >= 0:
        return f"'{ENERGY.show(value)}'"
    return repr(value) if isinstance(value, str) else str(value)

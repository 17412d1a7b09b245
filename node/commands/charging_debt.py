"""What `datacar charging debt` prints: what a driver owes, and for which sessions. The contract keeps the sum alone."""

from typing import Any, Final

from datacar.amounts import format_motes
from datacar.client import Client
from node.commands.connection import expect_object
from node.commands.output import print_json, print_pairs, print_table, warn
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging
from vm.contracts.charging_events import SessionAuthorized

MAX_SESSIONS: Final = 10_000
_PAGE: Final = 100


def show(driver: str, height: int | None, rpc: str, timeout_s: float, *, as_json: bool) -> None:
    """Print a driver's debt and the sessions that it is of, the newest first."""
    with Client(rpc, timeout_s) as client:
        at = {} if height is None else {"height": height}
        found = expect_object(_ask(client, Charging.debt.__name__, {"driver": driver}, at), "debt")
        owed, at = int(found["value"]), {"height": found["height"]}
        sessions = _owed_for(client, driver, owed, at)
    if sum(motes for _, motes in sessions) < owed:
        warn("the sessions of the rest are older than what this node still lists: ask a node that keeps all")
    if as_json:
        listed = [{"session_id": session_id, "owed": format_motes(motes)} for session_id, motes in sessions]
        print_json({"height": found["height"], "value": format_motes(owed), "sessions": listed})
        return
    print_pairs({"owed": f"{format_motes(owed)} DATR"})
    if sessions:
        print_table(("SESSION", "OWED"), [(session_id, f"{format_motes(motes)} DATR") for session_id, motes in sessions])


def _owed_for(client: Client, driver: str, owed: int, at: dict[str, int]) -> list[tuple[str, int]]:
    """Return (session, motes) of the driver's sessions that something is owed for, until they are all of the debt."""
    found: list[tuple[str, int]] = []
    page: dict[str, Any] = {}
    looked = 0
    while owed > sum(motes for _, motes in found) and looked < MAX_SESSIONS:
        asked = {
            "contract": CHARGING,
            "event": SessionAuthorized.__name__,
            "topic": driver,
            "limit": _PAGE,
            "to_height": at["height"],
        }
        listed = expect_object(client.call("event_list", **asked, **page), "list of events")
        for item in listed["items"]:
            session_id = str(item["fields"]["session_id"])
            session = expect_object(_ask(client, Charging.session.__name__, {"session_id": session_id}, at), "session")["value"]
            if item["fields"]["driver"] == driver and int(session["owed"]):
                found.append((session_id, int(session["owed"])))
        looked += len(listed["items"])
        if listed["next_cursor"] is None:
            break
        page = {"cursor": listed["next_cursor"]}
    return found


def _ask(client: Client, method: str, args: dict[str, str], at: dict[str, int]) -> Any:
    return client.call("contract_query", contract=CHARGING, method=method, args=args, **at)

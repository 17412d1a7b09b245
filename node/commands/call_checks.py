"""What is looked at before a call is simulated: calls that the chain takes and that nobody can have meant."""

from typing import Final

from datacar.client import Client
from ledger.transaction import Call
from ledger.types import Address
from node.commands import gov_calls

CHARGING: Final = "charging"


def check_call(client: Client, sender: Address, call: Call) -> None:
    """Raise `RejectedError` for proposals that could never be carried out, and for a station's second, different report."""
    gov_calls.check_contracts_named(client, call)
    gov_calls.check_can_succeed(client, call)
    if call.contract == CHARGING:
        from node.commands import charging_reports  # here, since it imports the contract

        charging_reports.check_report(client, sender, call)

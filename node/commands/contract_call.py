"""From a contract's call to its outcome: simulated, shown, confirmed, signed, sent; or written to a file for several signers.

Nothing is sent that would fail now, or that nobody agreed to: without a terminal to ask on, `--yes` must say so.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import typer

from datacar import on_demand
from datacar.abi import abi_hash, check_method
from datacar.client import Client
from datacar.human import Lookup
from datacar.multisig import Multisig
from ledger.codec import Value
from ledger.transaction import MAX_REFERENCE_CHARS, Call
from node.commands.agreement import Cost, agree, check_can_ask
from node.commands.call_checks import check_call
from node.commands.connection import connect, expect_object
from node.commands.contract_options import Given
from node.commands.contract_sender import Sender, address_of, check_new, read_sender, write_pending
from node.commands.contract_view import View, money_of, undecided
from node.commands.delivery import deliver
from node.commands.output import print_json, progress, warn

if TYPE_CHECKING:
    from vm.registry import Registry

_SHOWN_HASH_CHARS: Final = 16

Read: TypeAlias = Callable[[Lookup], tuple[Value, ...]]
"""Returns a call's canonical arguments."""


@dataclass(frozen=True, slots=True)
class How:
    """How a call is carried out, as the options say."""

    yes: bool
    dry_run: bool
    gas_limit: int | None
    reference: str
    out: Path | None
    as_json: bool

    def check(self, *, several_keys: bool) -> None:
        """Raise a usage error for what cannot be, and `NotConfirmedError`, before anything is asked or sent."""
        check_can_ask(yes=self.yes or self.dry_run or self.out is not None, hint="look with --dry-run, then say --yes")
        if len(self.reference) > MAX_REFERENCE_CHARS:
            raise typer.BadParameter(f"at most {MAX_REFERENCE_CHARS} characters", param_hint="--tx-reference")
        if several_keys != (self.out is not None) and not self.dry_run:
            raise typer.BadParameter("an account of several keys needs a file for its signers", param_hint="--multisig / --out")
        if not self.dry_run:
            check_new(self.out)


def lookup_of(client: Client, registry: "Registry") -> Lookup:
    """Return what reading arguments may ask for; times like `+7d` count from the chain's time."""
    return Lookup(address_of, lambda: client.chain_info().timestamp_ms, money_of(client), registry)


def check_abi(client: Client, registry: "Registry", contract: str, method: str) -> None:
    """Compare the node's contract with the one known here: say a difference, refuse one that changes the method."""
    here, there = registry.abi(contract), expect_object(client.call("contract_abi", name=contract), "interface")
    if check_method(here, there, method):
        return
    versions = f"{abi_hash(there)[:_SHOWN_HASH_CHARS]}, here {abi_hash(here)[:_SHOWN_HASH_CHARS]}"
    warn(f"the node has another version of the contract {contract} ({versions}); {method} is the same in both")


def carry_out(client: Client, registry: "Registry", sender: Sender, call: Call, how: How) -> None:
    """Simulate, show, confirm, sign and send a call, and print its outcome.

    `how` was checked before. Raises `CallWouldFailError` with nothing sent, then as `Client.send` does.
    """
    check_abi(client, registry, call.contract, call.method)
    check_call(client, sender.policy.address, call)
    progress(f"{sender.name}, {sender.address}, calls")  # before what may go wrong: whoever has too little money sees who it is
    view = View.of(registry, money_of(client), sender.policy.address)
    with view.explaining([call]):
        found = client.simulate(sender.policy, [call], gas_limit=how.gas_limit, registry=registry)
        for line in view.summary([call], found, Cost.ask(client, sender.address, found)):
            progress(line)
        for line in () if how.yes else view.about(client, call):
            progress(line)
        if how.dry_run:
            if how.as_json:
                gas = {"gas_used": found.gas_used, "gas_limit": found.gas_limit}
                print_json({**gas, **undecided(view.outcome_json([call], found.results, found.events), found)})
        elif how.out is not None:
            multisig = Multisig(sender.policy)
            pending = multisig.build(client.chain_info(), [call], gas_limit=found.gas_limit, reference=how.reference)
            write_pending(how.out, pending, registry, as_json=how.as_json)
        else:
            agree("Send it?", yes=how.yes)
            transaction = client.sign(sender.wallet(), [call], reference=how.reference, gas_limit=found.gas_limit)
            view.print_receipt([call], deliver(client, transaction), as_json=how.as_json)


def send(registry: "Registry", contract: str, method: str, read: Read, given: Given) -> None:
    """Carry out a call with the standard options of `given`."""
    how = How(
        yes=given["yes"],
        dry_run=given["dry_run"],
        gas_limit=given["gas_limit"],
        reference=given["tx_reference"],
        out=given["out"],
        as_json=given["as_json"],
    )
    with connect(given["rpc"], given["timeout"]) as client:
        call = Call(contract, method, read(lookup_of(client, registry)))
        how.check(several_keys=given["multisig"] is not None)
        sender = read_sender(given["wallet"], given["key"], given["multisig"], given["password_file"])
        carry_out(client, registry, sender, call, how)


def ask(registry: "Registry", contract: str, method: str, read: Read, given: Given) -> None:
    """Ask a read method with the standard options of `given`, and print what it answers."""
    with connect(given["rpc"], given["timeout"]) as client:
        call = Call(contract, method, read(lookup_of(client, registry)))
        check_abi(client, registry, contract, method)
        asked = {**on_demand.call_to_json(registry, call), **({} if given["height"] is None else {"height": given["height"]})}
        found = expect_object(client.call("contract_query", **asked), "value")
        View.of(registry, money_of(client)).print_value(call, found["value"], found["height"], as_json=given["as_json"])

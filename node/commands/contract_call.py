"""From a contract's call to its outcome: simulated, shown, confirmed, signed, sent; or written to a file for several signers.

Nothing is sent that would fail now, or that nobody agreed to: without a terminal to ask on, `--yes` must say so.
"""

import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Final

import typer

from datacar.abi import abi_hash
from datacar.client import Client
from datacar.errors import CallWouldFailError
from datacar.human import Lookup
from datacar.multisig import Multisig
from ledger.errors import DatacarError
from ledger.transaction import MAX_REFERENCE_CHARS, Call
from node.commands.connection import expect_object
from node.commands.contract_sender import Sender, address_of, check_new, write_pending
from node.commands.contract_view import View, money_of
from node.commands.output import print_json, progress, warn
from node.commands.tx import deliver
from vm.abi import Json
from vm.registry import Registry

_SHOWN_HASH_CHARS: Final = 16

Yes = Annotated[bool, typer.Option("--yes", "-y", help="Do not ask for confirmation.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Only show what it would do.")]
GasLimit = Annotated[
    int | None, typer.Option("--gas-limit", min=1, metavar="GAS", help="The most gas; by simulation if not given.")
]
TxReference = Annotated[str, typer.Option("--tx-reference", metavar="TEXT", help="A business id to send along.")]
Out = Annotated[Path | None, typer.Option("--out", metavar="FILE", help="With --multisig: the new file that its keys sign.")]


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
        """Raise a usage error for what cannot be, before anything is asked or sent."""
        if len(self.reference) > MAX_REFERENCE_CHARS:
            raise typer.BadParameter(f"at most {MAX_REFERENCE_CHARS} characters", param_hint="--tx-reference")
        if several_keys != (self.out is not None) and not self.dry_run:
            raise typer.BadParameter("an account of several keys needs a file for its signers", param_hint="--multisig / --out")
        if not (self.yes or self.dry_run or self.out or is_terminal()):
            raise typer.BadParameter("there is no terminal to ask on: look with --dry-run, then say --yes", param_hint="--yes")
        if not self.dry_run:
            check_new(self.out)


def is_terminal() -> bool:
    """Return whether there is somebody to ask."""
    return sys.stdin.isatty()


def lookup_of(client: Client, registry: Registry) -> Lookup:
    """Return what reading arguments may ask for; times like `+7d` count from the chain's time."""
    return Lookup(address_of, lambda: client.chain_info().timestamp_ms, money_of(client), registry)


def check_abi(client: Client, registry: Registry, contract: str, method: str) -> None:
    """Compare the node's contract with the one known here: say a difference, refuse one that changes the method."""
    here, there = registry.abi(contract), expect_object(client.call("contract_abi", name=contract), "interface")
    expected, got = abi_hash(here), abi_hash(there)
    if expected == got:
        return
    if _taken_and_returned(here, method) != _taken_and_returned(there, method):
        raise DatacarError(
            "abi_mismatch",
            f"the node's {contract}.{method} takes or returns something else than the one known here",
            hint="use the version of the software that the node has; `datacar rpc contract_abi` shows its contracts",
            expected=expected,
            got=got,
        )
    versions = f"{got[:_SHOWN_HASH_CHARS]}, here {expected[:_SHOWN_HASH_CHARS]}"
    warn(f"the node has another version of the contract {contract} ({versions}); {method} is the same in both")


def _taken_and_returned(document: Json, method: str) -> Json:
    methods = document.get("methods", ())
    return [(item["kind"], item["params"], item["returns"]) for item in methods if item.get("name") == method]


def carry_out(client: Client, registry: Registry, sender: Sender, call: Call, how: How) -> None:
    """Simulate, show, confirm, sign and send a call, and print its outcome.

    `how` was checked before. Raises `CallWouldFailError` with nothing sent, then as `Client.send` does.
    """
    check_abi(client, registry, call.contract, call.method)
    progress(f"{sender.name}, {sender.address}, calls")  # before what may go wrong: whoever has too little money sees who it is
    try:
        found = client.simulate(sender.policy, [call], gas_limit=how.gas_limit, registry=registry)
    except CallWouldFailError as error:
        error.hint += "; amounts in its words are motes, or the smallest units of their asset"
        raise
    chain = client.chain_info()
    view = View.of(registry, money_of(client), sender.policy.address)
    for line in (*view.summary([call], found, chain.gas_price_motes), *([] if how.yes else view.about(client, call))):
        progress(line)
    if how.dry_run:
        if how.as_json:
            gas = {"gas_used": found.gas_used, "gas_limit": found.gas_limit}
            print_json({**gas, **view.outcome_json([call], found.results, found.events)})
    elif how.out is not None:
        pending = Multisig(sender.policy).build(chain, [call], gas_limit=found.gas_limit, reference=how.reference)
        write_pending(how.out, pending, registry, as_json=how.as_json)
    else:
        if not how.yes:
            typer.confirm("Send it?", abort=True, err=True)
        transaction = client.sign(sender.wallet(), [call], reference=how.reference, gas_limit=found.gas_limit)
        view.print_receipt([call], deliver(client, transaction), as_json=how.as_json)

"""What the `datacar gov` commands share: the key that signs, the questions asked before, and the outcome shown after."""

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import typer

from datacar import on_demand
from datacar.client import Client
from datacar.failures import failure_text
from datacar.flows import Simulation
from datacar.receipt import Receipt
from datacar.wallet import Wallet
from ledger.errors import RejectedError
from ledger.transaction import Call
from node.commands.agreement import Cost, agree
from node.commands.connection import expect_object
from node.commands.contract_view import View, money_of
from node.commands.delivery import deliver
from node.commands.gov_advice import Advice, advise
from node.commands.output import print_json, print_pairs, progress, warn
from node.node_folder import GOVERNANCE_KEY_NAME
from node.secret_files import read_seed
from vm.contracts.governance_types import NAME as GOVERNANCE
from vm.gas import max_gas_limit

GAS_LIMIT: Final = 10_000_000
"""Enough for any call in a committee of 256: which vote decides, and so costs more, is known only in its block."""


def read_wallet(key: Path | None, node: Path | None) -> Wallet:
    """Return the wallet of `--key`, else of the node's folder. Raises `SecretFileError`; without either, a usage error."""
    if key is None:
        if node is None:
            raise typer.BadParameter("name the governance key, or the node's folder that holds it", param_hint="--key / --node")
        key = node / GOVERNANCE_KEY_NAME
    return Wallet.from_seed(read_seed(key.expanduser(), "the governance key"))


@dataclass(frozen=True, slots=True)
class Planned:
    """A call that is about to be sent, and what it would do."""

    call: Call
    found: Simulation


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signs, and the node that is asked and sent to."""

    client: Client
    wallet: Wallet

    def plan(self, method: str, **args: Any) -> Planned:
        """Return a call of the contract that would succeed now. Raises `CallWouldFailError`; nothing is sent."""
        call = Call(GOVERNANCE, method, on_demand.args_from_json(on_demand.default_registry().method(GOVERNANCE, method), args))
        most = max_gas_limit(self.client.call("chain_info")["parameters"]["block_max_gas"])
        return Planned(call, self.client.simulate(self.wallet.policy, [call], gas_limit=min(GAS_LIMIT, most)))

    def confirm(self, question: str, planned: Planned, *, yes: bool) -> None:
        """Say what a call costs and ask, unless told not to; no ends the command."""
        for line in () if yes else Cost.ask(self.client, self.wallet.address, planned.found).lines():
            progress(line)
        agree(question, yes=yes)

    def carry_out(self, planned: Planned) -> Receipt:
        """Send a call and return its receipt. Raises as `deliver`: Ctrl-C afterwards leaves the transaction's id."""
        progress(f"sending {GOVERNANCE}.{planned.call.method} as {self.wallet.address}")
        return deliver(self.client, self.client.sign(self.wallet, [planned.call], gas_limit=planned.found.gas_limit))

    def send(self, method: str, **args: Any) -> Receipt:
        """Plan a call and carry it out, where there is nothing to ask."""
        return self.carry_out(self.plan(method, **args))

    def member(self) -> dict[str, Any]:
        """Return the member that the key is of. Raises `RejectedError` when it is nobody's."""
        found = expect_object(self.client.call("consensus_members"), "members")
        for item in (*found["members"], *found["observers"]):
            if item["account"] == self.wallet.address:
                return dict(item)
        raise RejectedError(
            "not_permitted",
            f"{self.wallet.address} is no member's governance account",
            hint="is this the key of the account in the member record, and the right network?",
        )


def show_advice(client: Client, kind: str, member_id: str) -> Advice | None:
    """Say whether the network would stay live, as the asked node sees it, and return that; None where it does not matter."""
    found = expect_object(client.call("consensus_members"), "members")
    peers = expect_object(client.call("net_peers"), "peers")["items"]
    own = expect_object(client.call("node_capabilities"), "description")["member_id"]
    live = {own, *(peer["id"] for peer in peers if peer["connected"])}
    advice = advise(kind, member_id, {item["id"] for item in found["members"]}, live)
    if advice is not None:
        progress(f"as {own} sees the network:")
        for line in advice.sentences():
            progress(f"  {line}")
        if not advice.stays_live:
            warn("do not do this now: nothing would be decided any more, not even its undoing")
    return advice


def about(proposal: dict[str, Any]) -> str:
    """Return what a proposal is for: a member, or calls and their topics."""
    return f"{proposal['kind']} {proposal['member_id'] or ', '.join(proposal['topics'])}"


def calls_of(client: Client, proposal: dict[str, Any]) -> list[str]:
    """Return the calls that a proposal makes, each in a line: read here from what is voted on, not from the node's words."""
    shown = View.of(on_demand.default_registry(), money_of(client)).shown
    planned = proposal["calls"] or ()
    return [shown.call((each["contract"], each["method"], bytes.fromhex(each["raw_args"][2:]))) for each in planned]


def problems_of(proposal: dict[str, Any]) -> list[str]:
    """Return why calls of an open proposal would fail now, as the node simulated the deciding vote."""
    calls = enumerate(proposal["calls"] or (), 1)
    return [f"problem: call {at} would fail now: {_in_words(each['problem'])}" for at, each in calls if each["problem"]]


def _in_words(problem: str) -> str:
    """Return `CONTRACT CODE: sentence` with the sentence's numbers as people write them."""
    place, _, said = problem.partition(": ")
    contract, _, code = place.partition(" ")
    return f"{place}: {failure_text(contract, code, said)}" if said else problem


def describe(proposal: dict[str, Any]) -> str:
    """Return a proposal in one sentence."""
    said = f" ({proposal['reason']})" if proposal["reason"] else ""
    what = about(proposal).replace("_", " ")
    votes = f"{proposal['approvals']} of {proposal['need']} approvals"
    return f"proposal {proposal['id']} of {proposal['proposer']}: {what}{said}; {proposal['status']}, {votes}"


def show_receipt(signer: Signer, receipt: Receipt, *, as_json: bool, **more: object) -> None:
    """Print how a call of the contract ended."""
    view = View.of(on_demand.default_registry(), money_of(signer.client), signer.wallet.policy.address)
    view.print_receipt((), receipt, as_json=as_json, **more)


def show_outcome(client: Client, receipt: Receipt, number: int, advice: Advice | None, *, as_json: bool) -> None:
    """Print how a proposal stands after a vote on it."""
    proposal = expect_object(client.call("gov_get", id=number), "proposal")
    shown = {name: proposal[name] for name in ("status", "approvals", "rejections", "need")}
    place = {"proposal_id": number, **shown, "tx_id": receipt.id, "height": receipt.height}
    if as_json:
        print_json({**place, "advice": None if advice is None else advice.to_json()})
    else:
        print_pairs(place)


def utc(time_ms: int) -> str:
    """Return Unix milliseconds as a date and time of UTC."""
    return datetime.fromtimestamp(time_ms / 1_000, UTC).strftime("%Y-%m-%d %H:%M")


def table_row(proposal: dict[str, Any]) -> Sequence[object]:
    """Return a proposal as a row under `COLUMNS`."""
    return (
        proposal["id"],
        proposal["status"],
        about(proposal),
        proposal["proposer"],
        proposal["approvals"],
        proposal["rejections"],
        proposal["need"],
        utc(proposal["expires_ms"]),
        proposal["reason"],
    )


COLUMNS: Final = ("id", "status", "proposal", "by", "for", "against", "needed", "expires (UTC)", "reason")

"""`datacar gov`: the members propose, vote, attest and rotate. Signed by a governance key, never by the node."""

from pathlib import Path
from time import sleep
from typing import Annotated, Any, Final

import typer

from datacar.client import Client
from datacar.errors import CallWouldFailError
from datacar.units import MOMENT_MS
from datacar.wallet import Wallet
from genesis.certificates import check_certificate
from genesis.spec_json import check_host_port, check_member_id
from ledger.errors import RejectedError
from ledger.policy import parse_address
from node.commands import gov_session as session
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, expect_object
from node.commands.exits import usage
from node.commands.gov_advice import Advice
from node.commands.gov_candidate import check_proposed, compare_with_record, read_candidate, show_candidate
from node.commands.gov_session import Key, Node, Signer, Yes
from node.commands.output import Json, print_json, print_line, print_pairs, print_table, progress, warn
from node.commands.rotation import NewCertificate, NextKey
from node.commands.tx import show_receipt
from vm.contracts.governance_possession import prove_possession
from vm.contracts.governance_types import Role

ATTEST_EVERY_BLOCKS: Final = 40
POLL_S: Final = 0.5
DAY_MS: Final = 86_400_000

SERVED_METHODS: Final = frozenset({"propose_add_observer", "propose_promote", "propose_remove", "attest_synced"})
"""Methods that the commands here serve under other names, with advice that those made of the contract cannot give."""

app = typer.Typer(
    help="Propose, vote and rotate: who the members are, and what the chain's rules are.",
    no_args_is_help=True,
    add_completion=False,
)
propose = typer.Typer(help="Propose a change of the members.", no_args_is_help=True, add_completion=False)
app.add_typer(propose, name="propose")

MemberIdArg = Annotated[str, typer.Argument(metavar="MEMBER", parser=usage(check_member_id), show_default=False)]
Number = Annotated[int, typer.Argument(metavar="ID", min=1, help="The proposal's id.", show_default=False)]
Reason = Annotated[str, typer.Option("--reason", help="What the other members should know, such as the evidence.")]
Days = Annotated[int | None, typer.Option("--expires-days", min=1, max=30, help="How long to vote; 7 days if not given.")]


# ---- propose


@propose.command("add-observer")
def add_observer(
    record: Annotated[Path, typer.Argument(metavar="RECORD", help="The record that the new member's `datacar init` printed.")],
    reason: Reason = "",
    expires_days: Days = None,
    key: Key = None,
    node: Node = None,
    yes: Yes = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Propose a new member. It follows the chain without a vote until it is promoted."""
    member_id, candidate = read_candidate(record)
    wallet = session.read_wallet(key, node)
    session.confirm(f"Propose to add {member_id} at {candidate['p2p_address']} as an observer?", yes=yes)
    with Client(rpc, timeout) as client:
        args = {"member_id": member_id, "candidate": candidate, "reason": reason}
        _propose(Signer(client, wallet), "propose_add_observer", args, expires_days, None, as_json=as_json)


@propose.command()
def promote(
    member_id: MemberIdArg,
    reason: Reason = "",
    expires_days: Days = None,
    key: Key = None,
    node: Node = None,
    yes: Yes = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Propose that an observer gets a vote. It must have attested to one of the last 100 blocks when it is decided."""
    wallet = session.read_wallet(key, node)
    with Client(rpc, timeout) as client:
        args = {"member_id": member_id, "reason": reason}
        _propose_about("promote", Signer(client, wallet), args, expires_days, yes=yes, as_json=as_json)


@propose.command()
def remove(
    member_id: MemberIdArg,
    reason: Reason = "",
    expires_days: Days = None,
    key: Key = None,
    node: Node = None,
    yes: Yes = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Propose that a member of either role leaves."""
    wallet = session.read_wallet(key, node)
    with Client(rpc, timeout) as client:
        args = {"member_id": member_id, "reason": reason}
        _propose_about("remove", Signer(client, wallet), args, expires_days, yes=yes, as_json=as_json)


def _propose_about(
    kind: str, signer: Signer, args: dict[str, Any], expires_days: int | None, *, yes: bool, as_json: bool
) -> None:
    advice = session.show_advice(signer.client, kind, args["member_id"])
    session.confirm(f"Propose to {kind} {args['member_id']}?", yes=yes)
    _propose(signer, f"propose_{kind}", args, expires_days, advice, as_json=as_json)


def _propose(
    signer: Signer, method: str, args: dict[str, Any], expires_days: int | None, advice: Advice | None, *, as_json: bool
) -> None:
    expires_ms = None
    if expires_days is not None:
        expires_ms = int(signer.client.call("chain_info")["timestamp_ms"]) + expires_days * DAY_MS
    receipt = signer.send(method, **args, expires_ms=expires_ms)
    session.show_outcome(signer.client, receipt, int(receipt.results[0]), advice, as_json=as_json)


# ---- vote and look


@app.command()
def vote(
    number: Number,
    no: Annotated[bool, typer.Option("--no", help="Disapprove of it.")] = False,
    record: Annotated[
        Path | None, typer.Option("--record", metavar="FILE", help="The record the new member handed over: compare it first.")
    ] = None,
    key: Key = None,
    node: Node = None,
    yes: Yes = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Vote on an open proposal; of several votes of a member the last one counts."""
    wallet = session.read_wallet(key, node)
    with Client(rpc, timeout) as client:
        proposal = expect_object(client.call("gov_get", id=number), "proposal")
        progress(session.describe(proposal))
        show_candidate(proposal)
        for line in session.calls_of(client, proposal):
            progress(f"  {line}")
        if record is not None:
            compare_with_record(proposal, record)
        advice = None
        if not no:
            check_proposed(proposal)
            advice = session.show_advice(client, proposal["kind"], proposal["member_id"])
        session.confirm(f"{'Disapprove' if no else 'Approve'} of proposal {number}?", yes=yes)
        receipt = Signer(client, wallet).send("vote", proposal_id=number, approve=not no)
        session.show_outcome(client, receipt, number, advice, as_json=as_json)


@app.command("list")
def list_(
    limit: Annotated[int, typer.Option("--limit", min=1, max=100, help="How many.")] = 20,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """List the newest proposals, open and decided."""
    found = expect_object(call(rpc, timeout, "gov_list", limit=limit), "list of proposals")
    if as_json:
        print_json(found)
    else:
        print_table(session.COLUMNS, [session.table_row(item) for item in found["items"]])


@app.command()
def show(number: Number, rpc: Rpc = DEFAULT_RPC, timeout: Timeout = DEFAULT_TIMEOUT, as_json: Json = False) -> None:
    """Show a proposal with its votes."""
    with Client(rpc, timeout) as client:
        found = expect_object(client.call("gov_get", id=number), "proposal")
        calls = [] if as_json else session.calls_of(client, found)
    if as_json:
        print_json(found)
        return
    shown = {name: value for name, value in found.items() if name not in ("votes", "candidate", "calls", "topics")}
    print_pairs(shown | {name: MOMENT_MS.show(found[name]) for name in ("created_ms", "expires_ms")})
    for line in calls:
        print_line(f"call {line}")
    for name, value in (found["candidate"] or {}).items():
        print_line(f"candidate {name}: {value}")
    for item in found["votes"]:
        print_line(f"{item['member_id']} {'approves' if item['approve'] else 'disapproves'}, height {item['height']}")


# ---- what a member does alone


@app.command()
def attest(
    until_promoted: Annotated[
        bool, typer.Option("--until-promoted", help="Attest again and again until the observer has its vote.")
    ] = False,
    key: Key = None,
    node: Node = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Show that the observer's node follows the chain: name its last block. Ask the observer's own node (--rpc), no other."""
    wallet = session.read_wallet(key, node)
    with Client(rpc, timeout) as client:
        signer = Signer(client, wallet)
        while True:
            tip = expect_object(client.call("chain_info"), "tip")
            receipt = signer.send("attest_synced", height=tip["height"], block_hash=tip["hash"])
            if not until_promoted or _is_promoted(signer, tip["height"] + ATTEST_EVERY_BLOCKS):
                break
        show_receipt(receipt, as_json=as_json, attested_height=tip["height"])


def _is_promoted(signer: Signer, until_height: int) -> bool:
    """Wait for the vote, or for the height at which it is time to attest again."""
    progress(f"waiting to be promoted; attesting again at height {until_height}")
    while signer.client.call("chain_info")["height"] < until_height:
        if signer.member()["role"] == Role.VALIDATOR:
            return True
        sleep(POLL_S)
    return bool(signer.member()["role"] == Role.VALIDATOR)


@app.command("rotate-key")
def rotate_key(
    node: Annotated[Path, typer.Option("--node", metavar="DIR", help="The node's folder.", show_default=False)],
    key: Key = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Replace the consensus key of the member's node. It uses the new one from the next block on, and forgets the old one.

    The new key is made in the node's folder first. When this was interrupted, run it again: it sends the key that waits there, or
    says that the chain has it already.
    """
    wallet = session.read_wallet(key, node)
    with Client(rpc, timeout) as client:
        signer = Signer(client, wallet)
        try:
            new_key = _send_next_key(signer, node)
        except CallWouldFailError as error:
            if error.details["code"] != "KEY_USED":
                raise
            waiting = NextKey.prepare(node)
            if _hex(waiting.public_key) != signer.member()["public_key"]:  # else it is ours since a moment ago
                warn(f"the chain will never take the key in {waiting.path}: it is or was in use; making another")
                waiting.discard()
            new_key = _send_next_key(signer, node)
        shown = {"member": signer.member()["id"], "public_key": new_key, "epoch": client.call("consensus_members")["epoch"]}
        print_json(shown) if as_json else print_pairs(shown)


def _send_next_key(signer: Signer, node: Path) -> str:
    """Send the key that waits in the node's folder. Raises `RejectedError`, with nothing sent, when the chain has it."""
    member, waiting = signer.member(), NextKey.prepare(node)
    new_key = _hex(waiting.public_key)
    if new_key == member["public_key"]:
        raise RejectedError(
            "not_permitted",
            f"nothing was sent: the chain names the key in {waiting.path} as {member['id']}'s already",
            hint="the node takes it up as soon as it runs and has that block; only then can there be another",
        )
    possession = prove_possession(waiting.seed, member["id"], parse_address(member["account"]))
    signer.send("rotate_key", new_key=new_key, possession=_hex(possession))
    return new_key


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


@app.command("rotate-certificate")
def rotate_certificate(
    certificate: Annotated[
        Path | None, typer.Argument(metavar="FILE", help="A certificate (DER) made elsewhere.", show_default=False)
    ] = None,
    key: Key = None,
    node: Node = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Replace the TLS certificate of the member's node; the old one stays valid for 7 days.

    With --node and no FILE this makes a new key and certificate in the node's folder and puts them in place once the chain has
    them: restart the node within the 7 days. When it was interrupted, run it again.
    """
    if certificate is None and node is None:
        raise typer.BadParameter("give a certificate, or the node's folder to make one for", param_hint="FILE / --node")
    wallet = session.read_wallet(key, node)
    with Client(rpc, timeout) as client:
        signer = Signer(client, wallet)
        member = signer.member()
        if certificate is not None:
            der = certificate.read_bytes()
            check_certificate(der, member["id"])
            show_receipt(signer.send("rotate_certificate", certificate="0x" + der.hex()), as_json=as_json)
        elif node is not None:
            _rotate_in_folder(signer, member, node, as_json=as_json)


def _rotate_in_folder(signer: Signer, member: dict[str, Any], node: Path, *, as_json: bool) -> None:
    made = NewCertificate.prepare(node, member["id"])
    try:
        _send_certificate(signer, made)
    except CallWouldFailError as error:
        if error.details["code"] != "CERTIFICATE_USED":
            raise
        if made.fingerprint != signer.member()["certificate_sha256"]:  # else it is ours since a moment ago
            warn("the chain does not take the certificate that waits in the folder: it is or was in use; making another")
            made.discard()
            made = NewCertificate.prepare(node, member["id"])
        _send_certificate(signer, made)
    made.install()
    progress("the new certificate is in place: restart the node within 7 days")
    shown = {"member": member["id"], "certificate": str(made.certificate_path), "certificate_sha256": made.fingerprint}
    print_json(shown) if as_json else print_pairs(shown)


def _send_certificate(signer: Signer, made: NewCertificate) -> None:
    if made.fingerprint != signer.member()["certificate_sha256"]:  # else it was interrupted after it was sent
        signer.send("rotate_certificate", certificate="0x" + made.certificate.hex())


@app.command("set-address")
def set_address(
    p2p_address: Annotated[str, typer.Argument(metavar="HOST:PORT", parser=usage(check_host_port), show_default=False)],
    key: Key = None,
    node: Node = None,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Tell the other members where they reach this member's node."""
    wallet: Wallet = session.read_wallet(key, node)
    with Client(rpc, timeout) as client:
        show_receipt(Signer(client, wallet).send("set_address", p2p_address=p2p_address), as_json=as_json)

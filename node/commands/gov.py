"""`datacar gov`: the members propose, vote, attest and rotate. Signed by a governance key, never by the node."""

from pathlib import Path
from time import sleep
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from datacar.units import MOMENT_MS
from ledger.errors import RejectedError
from ledger.policy import parse_address
from node.commands.connection import DEFAULT_RPC, DEFAULT_TIMEOUT, Rpc, Timeout, call, connect, expect_object
from node.commands.contract_group import MethodGroup
from node.commands.exits import usage
from node.commands.gov_propose import BY_VOTE, ProposeGroup
from node.commands.lazily import Lazily
from node.commands.output import Json, print_json, print_line, print_pairs, print_table, progress, warn
from node.commands.sending_options import Yes
from vm.contracts.governance_possession import prove_possession
from vm.contracts.governance_types import Role

if TYPE_CHECKING:
    import datacar
    from genesis import certificates, spec_json
    from node.commands import agreement, gov_candidate, rotation
    from node.commands import gov_session as session
    from node.commands.gov_advice import Advice
else:  # what help does not need
    datacar = Lazily("datacar")
    certificates, spec_json = Lazily("genesis.certificates"), Lazily("genesis.spec_json")
    agreement, gov_candidate = Lazily("node.commands.agreement"), Lazily("node.commands.gov_candidate")
    rotation, session = Lazily("node.commands.rotation"), Lazily("node.commands.gov_session")

ATTEST_EVERY_BLOCKS: Final = 40
POLL_S: Final = 0.5
DAY_MS: Final = 86_400_000

SERVED_METHODS: Final = frozenset(
    {"propose_add_observer", "propose_promote", "propose_remove", "attest_synced", *BY_VOTE["governance"]}
)
"""Methods that the commands here serve under other names, with advice that those made of the contract cannot give; and those that
only a vote may call, which `gov propose` proposes.
"""

app = typer.Typer(
    help="Propose, vote and rotate: who the members are, and what the chain's rules are.",
    no_args_is_help=True,
    add_completion=False,
    cls=MethodGroup,
)
propose = typer.Typer(
    help="Propose a change of the members or of the rules.", no_args_is_help=True, add_completion=False, cls=ProposeGroup
)
app.add_typer(propose, name="propose")


def _member_id(text: str) -> str:
    return spec_json.check_member_id(text)


def _host_port(text: str) -> str:
    return spec_json.check_host_port(text)


Key = Annotated[Path | None, typer.Option("--key", metavar="FILE", help="The governance key that signs.", show_default=False)]
Node = Annotated[
    Path | None, typer.Option("--node", metavar="DIR", help="A node's folder: its governance.key signs.", show_default=False)
]
MemberIdArg = Annotated[str, typer.Argument(metavar="MEMBER", parser=usage(_member_id), show_default=False)]
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
    agreement.check_can_ask(yes=yes)
    member_id, candidate = gov_candidate.read_candidate(record)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        signer = session.Signer(client, wallet)
        args = {"member_id": member_id, "candidate": candidate, "reason": reason}
        planned = _plan(signer, "propose_add_observer", args, expires_days)
        signer.confirm(f"Propose to add {member_id} at {candidate['p2p_address']} as an observer?", planned, yes=yes)
        _propose(signer, planned, None, as_json=as_json)


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
    agreement.check_can_ask(yes=yes)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        args = {"member_id": member_id, "reason": reason}
        _propose_about("promote", session.Signer(client, wallet), args, expires_days, yes=yes, as_json=as_json)


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
    agreement.check_can_ask(yes=yes)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        args = {"member_id": member_id, "reason": reason}
        _propose_about("remove", session.Signer(client, wallet), args, expires_days, yes=yes, as_json=as_json)


def _propose_about(
    kind: str, signer: "session.Signer", args: dict[str, Any], expires_days: int | None, *, yes: bool, as_json: bool
) -> None:
    advice = session.show_advice(signer.client, kind, args["member_id"])
    planned = _plan(signer, f"propose_{kind}", args, expires_days)
    signer.confirm(f"Propose to {kind} {args['member_id']}?", planned, yes=yes)
    _propose(signer, planned, advice, as_json=as_json)


def _plan(signer: "session.Signer", method: str, args: dict[str, Any], expires_days: int | None) -> "session.Planned":
    expires_ms = None
    if expires_days is not None:
        expires_ms = signer.client.chain_info().timestamp_ms + expires_days * DAY_MS
    return signer.plan(method, **args, expires_ms=expires_ms)


def _propose(signer: "session.Signer", planned: "session.Planned", advice: "Advice | None", *, as_json: bool) -> None:
    receipt = signer.carry_out(planned)
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
    agreement.check_can_ask(yes=yes)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        signer = session.Signer(client, wallet)
        proposal = expect_object(client.call("gov_get", id=number), "proposal")
        progress(session.describe(proposal))
        gov_candidate.show_candidate(proposal)
        for line in session.calls_of(client, proposal):
            progress(f"  {line}")
        for line in session.problems_of(proposal):
            warn(line)
        if record is not None:
            gov_candidate.compare_with_record(proposal, record)
        advice = None
        if not no:
            gov_candidate.check_proposed(proposal)
            advice = session.show_advice(client, proposal["kind"], proposal["member_id"])
        planned = signer.plan("vote", proposal_id=number, approve=not no)
        signer.confirm(f"{'Disapprove' if no else 'Approve'} of proposal {number}?", planned, yes=yes)
        session.show_outcome(client, signer.carry_out(planned), number, advice, as_json=as_json)


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
    with connect(rpc, timeout) as client:
        found = expect_object(client.call("gov_get", id=number), "proposal")
        calls = [] if as_json else session.calls_of(client, found)
    if as_json:
        print_json(found)
        return
    shown = {name: value for name, value in found.items() if name not in ("votes", "candidate", "calls", "topics")}
    print_pairs(shown | {name: MOMENT_MS.show(found[name]) for name in ("created_ms", "expires_ms")})
    for line in calls:
        print_line(f"call {line}")
    for line in session.problems_of(found):
        print_line(line)
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
    yes: Yes = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Show that the observer's node follows the chain: name its last block. Ask the observer's own node (--rpc), no other."""
    agreement.check_can_ask(yes=yes)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        signer = session.Signer(client, wallet)
        agreement.agree(f"Attest as {wallet.address} that the node at {rpc} follows the chain?", yes=yes)
        while True:
            tip = expect_object(client.call("chain_info"), "tip")
            receipt = signer.send("attest_synced", height=tip["height"], block_hash=tip["hash"])
            if not until_promoted or _is_promoted(signer, tip["height"] + ATTEST_EVERY_BLOCKS):
                break
        session.show_receipt(signer, receipt, as_json=as_json, attested_height=tip["height"])


def _is_promoted(signer: "session.Signer", until_height: int) -> bool:
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
    yes: Yes = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Replace the consensus key of the member's node. It uses the new one from the next block on, and forgets the old one.

    The new key is made in the node's folder first. When this was interrupted, run it again: it sends the key that waits there, or
    says that the chain has it already.
    """
    agreement.check_can_ask(yes=yes)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        signer = session.Signer(client, wallet)
        agreement.agree(f"Replace the consensus key of {signer.member()['id']}? That is possible once a day.", yes=yes)
        try:
            new_key = _send_next_key(signer, node)
        except datacar.errors.CallWouldFailError as error:
            if error.details["code"] != "KEY_USED":
                raise
            waiting = rotation.NextKey.prepare(node)
            if _hex(waiting.public_key) != signer.member()["public_key"]:  # else it is ours since a moment ago
                warn(f"the chain will never take the key in {waiting.path}: it is or was in use; making another")
                waiting.discard()
            new_key = _send_next_key(signer, node)
        shown = {"member": signer.member()["id"], "public_key": new_key, "epoch": client.call("consensus_members")["epoch"]}
        print_json(shown) if as_json else print_pairs(shown)


def _send_next_key(signer: "session.Signer", node: Path) -> str:
    """Send the key that waits in the node's folder. Raises `RejectedError`, with nothing sent, when the chain has it."""
    member, waiting = signer.member(), rotation.NextKey.prepare(node)
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
    yes: Yes = False,
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
    agreement.check_can_ask(yes=yes)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        signer = session.Signer(client, wallet)
        member = signer.member()
        if certificate is not None:
            der = certificate.read_bytes()
            certificates.check_certificate(der, member["id"])
            _agree_to_certificate(member, yes=yes)
            receipt = signer.send("rotate_certificate", certificate="0x" + der.hex())
            session.show_receipt(signer, receipt, as_json=as_json)
        elif node is not None:
            _agree_to_certificate(member, yes=yes)
            _rotate_in_folder(signer, member, node, as_json=as_json)


def _agree_to_certificate(member: dict[str, Any], *, yes: bool) -> None:
    agreement.agree(f"Replace the TLS certificate of {member['id']}? Its node must be restarted within 7 days.", yes=yes)


def _rotate_in_folder(signer: "session.Signer", member: dict[str, Any], node: Path, *, as_json: bool) -> None:
    made = rotation.NewCertificate.prepare(node, member["id"])
    try:
        _send_certificate(signer, made)
    except datacar.errors.CallWouldFailError as error:
        if error.details["code"] != "CERTIFICATE_USED":
            raise
        if made.fingerprint != signer.member()["certificate_sha256"]:  # else it is ours since a moment ago
            warn("the chain does not take the certificate that waits in the folder: it is or was in use; making another")
            made.discard()
            made = rotation.NewCertificate.prepare(node, member["id"])
        _send_certificate(signer, made)
    made.install()
    progress("the new certificate is in place: restart the node within 7 days")
    shown = {"member": member["id"], "certificate": str(made.certificate_path), "certificate_sha256": made.fingerprint}
    print_json(shown) if as_json else print_pairs(shown)


def _send_certificate(signer: "session.Signer", made: "rotation.NewCertificate") -> None:
    if made.fingerprint != signer.member()["certificate_sha256"]:  # else it was interrupted after it was sent
        signer.send("rotate_certificate", certificate="0x" + made.certificate.hex())


@app.command("set-address")
def set_address(
    p2p_address: Annotated[str, typer.Argument(metavar="HOST:PORT", parser=usage(_host_port), show_default=False)],
    key: Key = None,
    node: Node = None,
    yes: Yes = False,
    rpc: Rpc = DEFAULT_RPC,
    timeout: Timeout = DEFAULT_TIMEOUT,
    as_json: Json = False,
) -> None:
    """Tell the other members where they reach this member's node."""
    agreement.check_can_ask(yes=yes)
    wallet = session.read_wallet(key, node)
    with connect(rpc, timeout) as client:
        signer = session.Signer(client, wallet)
        planned = signer.plan("set_address", p2p_address=p2p_address)
        signer.confirm(f"Tell the members that the node is reached at {p2p_address}?", planned, yes=yes)
        session.show_receipt(signer, signer.carry_out(planned), as_json=as_json)

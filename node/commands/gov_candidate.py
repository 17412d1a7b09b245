"""What `datacar gov` reads in a new member's record, and shows of a proposed one before anybody votes on it."""

from hashlib import sha256
from pathlib import Path
from typing import Any, Final

import typer

from genesis.certificates import check_certificate
from genesis.spec_json import record_from_json
from ledger.errors import BadEncodingError, RejectedError
from ledger.policy import format_address
from node.commands.output import progress, warn

SHOWN: Final = {
    "account": "governance account",
    "public_key": "consensus key",
    "certificate_sha256": "certificate (SHA-256)",
    "p2p_address": "P2P address",
}
"""What of a candidate people compare, and what it is called."""


def read_candidate(record: Path) -> tuple[str, dict[str, str]]:
    """Return the id and the candidate, as the contract takes it, of a member record. Raises errors of `ledger.errors`."""
    member, account, possession = record_from_json(record.read_text(encoding="utf-8"))
    check_certificate(member.certificate, member.id)
    if account is None or possession is None:
        lacking = "governance account" if account is None else "proof of possession of its key"
        raise BadEncodingError(f"{record} names no {lacking}", hint="its `datacar init` must be of this version")
    return member.id, {
        "public_key": "0x" + member.public_key.hex(),
        "certificate": "0x" + member.certificate.hex(),
        "p2p_address": member.p2p_address,
        "account": format_address(account),
        "possession": "0x" + possession.hex(),
    }


def show_candidate(proposal: dict[str, Any]) -> None:
    """Say who would be added, in full: what the members were told otherwise must be the same."""
    if (candidate := proposal["candidate"]) is not None:
        for name, label in SHOWN.items():
            progress(f"  {label}: {candidate[name]}")


def compare_with_record(proposal: dict[str, Any], record: Path) -> None:
    """Raise `RejectedError` unless the proposal adds exactly the member of the record."""
    member_id, expected = read_candidate(record)
    expected["certificate_sha256"] = "0x" + sha256(bytes.fromhex(expected["certificate"].removeprefix("0x"))).hexdigest()
    if (candidate := proposal["candidate"]) is None:
        raise typer.BadParameter(f"proposal {proposal['id']} adds nobody", param_hint="--record")
    differing = [label for name, label in SHOWN.items() if candidate[name] != expected[name]]
    if proposal["member_id"] != member_id:
        differing.insert(0, "member id")
    if differing:
        raise RejectedError(
            "not_permitted",
            f"proposal {proposal['id']} is not about the member of {record}: another {', '.join(differing)}",
            hint="ask the proposer and the new member; nothing was sent",
        )
    progress(f"it is the member of {record}")


def check_proposed(proposal: dict[str, Any]) -> None:
    """Warn of a certificate that the contract took, since it cannot read it, and that no node could use."""
    certificate = (proposal["candidate"] or {}).get("certificate")  # a closed proposal has none
    if certificate is not None:
        try:
            check_certificate(bytes.fromhex(certificate.removeprefix("0x")), proposal["member_id"])
        except BadEncodingError as error:
            warn(f"the proposed certificate is of no use: {error.message}")

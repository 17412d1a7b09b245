"""Whether a message is authentic: what the driver asks before a message goes into the replica.

Everything signed inside is checked too: the prepared certificate of a view change, and each view change of a new view. A bad
view change is dropped alone by whoever collects it; inside a new view it voids the whole (rule 4).
"""

from consensus.messages import Message, NewView, Signed, ViewChange, signing_digest
from ledger.certificate import BadCertificateError
from ledger.committee import Committee
from ledger.crypto import verify
from ledger.errors import BadSignatureError
from ledger.types import Height


def authenticate(signed: Signed, committee: Committee, genesis_hash: bytes) -> None:
    """Raise `BadSignatureError` or `BadCertificateError` unless a member of `committee` really said all of this."""
    member = committee.get(signed.signer)
    if member is None:
        raise BadSignatureError(f"{signed.signer} is not a member of the committee", member=signed.signer)
    if not verify(member.public_key, signed.signature, signing_digest(signed.message, genesis_hash)):
        raise BadSignatureError(f"the signature of {signed.signer} is not valid", member=signed.signer)
    _check_inside(signed.message, committee, genesis_hash)


def _check_inside(message: Message, committee: Committee, genesis_hash: bytes) -> None:
    match message:
        case ViewChange(height, view, prepared) if prepared is not None:
            if prepared.header.height != height or prepared.view >= view:
                raise BadCertificateError("the prepared certificate is not of this height and an earlier view")
            prepared.check(genesis_hash, committee)
        case NewView():
            _check_view_changes(message, committee, genesis_hash)
        case _:
            pass


def _check_view_changes(message: NewView, committee: Committee, genesis_hash: bytes) -> None:
    """Raise unless the new view holds exactly q authentic view changes of distinct members for its own height and view."""
    signers = {item.signer for item in message.view_changes}
    if len(signers) != committee.quorum or len(message.view_changes) != committee.quorum:
        raise BadCertificateError("a new view needs exactly q view changes", need=committee.quorum, have=len(signers))
    for item in message.view_changes:
        if not isinstance(item.message, ViewChange) or _position(item.message) != _position(message):
            raise BadCertificateError("a view change in the new view is of another height or view", member=item.signer)
        authenticate(item, committee, genesis_hash)


def _position(message: ViewChange | NewView) -> tuple[Height, int]:
    return message.height, message.view

"""Mutual TLS 1.3 among members: self-signed Ed25519 certificates, and contexts that are made once and learn of new members.

There is no authority, no host name and no expiry: a member record on chain holds the one certificate its node shows, and the
transport compares it byte for byte. TLS proves that the peer holds its key. A listener also has TLS turn away who was never a
member; a dialler takes any certificate, since only blocks can tell it of one that is new (`p2p.limits.Scope`).
"""

import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ledger.errors import BadEncodingError, DatacarError
from ledger.types import MemberId

NOT_BEFORE: Final = datetime(2000, 1, 1, tzinfo=UTC)
NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280, 4.1.2.5: no well-defined expiry
MAX_REASON_CHARS: Final = 200


@dataclass(frozen=True, slots=True)
class LocalIdentity:
    """What this node shows: its member id, certificate (DER), and private key as PEM or the path of its PEM file."""

    member_id: MemberId
    certificate: bytes = field(repr=False)
    key: Path | bytes = field(repr=False)


class TlsIdentityError(DatacarError):
    """The files that the node's certificate and key pass through cannot be written or read."""

    def __init__(self, identity: LocalIdentity, error: OSError) -> None:
        super().__init__(
            "bad_config",
            f"cannot load the TLS certificate and key of {identity.member_id}: {error}",
            hint="the key file must be readable, and the folder for temporary files ($TMPDIR) writable with some KiB free",
        )


class TlsContexts:
    """The two contexts of a node, for as long as it runs.

    Certificates are only ever added: to leave one out would mean to load all others again, 0.2 ms each, while consensus waits.
    A removed member gets through the TLS handshake until the next start, and is turned away right after it by its bytes.
    """

    def __init__(self, server: ssl.SSLContext, client: ssl.SSLContext) -> None:
        self.server = server
        self.client = client
        self._taken: set[bytes] = set()

    def trust(self, certificates: Iterable[bytes]) -> tuple[bytes, ...]:
        """Have the listener let these (DER) in too; return those among the new ones that no TLS library can read."""
        new = [certificate for certificate in certificates if certificate not in self._taken]
        self._taken.update(new)
        return tuple(certificate for certificate in new if not _trust(self.server, certificate))


def make_contexts(identity: LocalIdentity) -> TlsContexts:
    """Return contexts that show `identity`; the listener's trusts nobody yet.

    Raises `TlsIdentityError` when a file cannot be used, `BadEncodingError` when the certificate and key do not fit.
    """
    server, client = _context(ssl.PROTOCOL_TLS_SERVER), _context(ssl.PROTOCOL_TLS_CLIENT)
    server.verify_mode = ssl.CERT_REQUIRED
    # A replaced certificate in its grace has its successor's name: without this OpenSSL may take the one for the other's issuer.
    server.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    server.num_tickets = 0
    client.verify_mode = ssl.CERT_NONE
    try:
        _show(identity, server, client)
    except ssl.SSLError as error:
        raise BadEncodingError(
            f"the TLS certificate and key of {identity.member_id} do not fit: {error.reason or error}",
            hint="check the key file against the certificate of the member record",
        ) from error
    except OSError as error:
        raise TlsIdentityError(identity, error) from error
    return TlsContexts(server, client)


def _context(protocol: int) -> ssl.SSLContext:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.options |= ssl.OP_NO_TICKET  # a resumed session would outlive a removed member
    return context


def _show(identity: LocalIdentity, *contexts: ssl.SSLContext) -> None:
    """Load the certificate and key; the ssl module takes files only, so what is in memory passes through a private folder."""
    with tempfile.TemporaryDirectory(prefix="datacar-tls-") as folder:
        certificate = Path(folder, "certificate.pem")
        certificate.write_text(ssl.DER_cert_to_PEM_cert(identity.certificate))
        key = _store(identity.key, Path(folder, "key.pem")) if isinstance(identity.key, bytes) else identity.key
        for context in contexts:
            context.load_cert_chain(certificate, key)


def _store(secret: bytes, path: Path) -> Path:
    """Write a file only its owner may read."""
    path.touch(mode=0o600)
    path.write_bytes(secret)
    return path


def _trust(context: ssl.SSLContext, certificate: bytes) -> bool:
    """Add one certificate to the trust store; False when it cannot be read."""
    try:
        context.load_verify_locations(cadata=certificate)
    except (ssl.SSLError, ValueError):
        return False
    return True


def describe_failure(error: BaseException) -> str:
    """Return one bounded line, for a person, on why there is no connection."""
    if isinstance(error, ssl.SSLCertVerificationError):
        text = f"certificate not trusted: {error.verify_message}"
    elif isinstance(error, ssl.SSLError):
        text = _SSL_REASONS.get(error.reason or "", f"TLS handshake failed: {error.reason or error}")
    elif isinstance(error, ConnectionRefusedError):
        text = "connection refused: nothing listens there"
    elif isinstance(error, TimeoutError):
        text = "no answer in time"
    elif isinstance(error, ConnectionAbortedError):  # asyncio's word for its handshake timeout
        text = "no TLS handshake in time"
    elif isinstance(error, ConnectionError):
        text = "closed during the TLS handshake"
    else:
        text = f"{type(error).__name__}: {error}"
    return text[:MAX_REASON_CHARS]


_SSL_REASONS: Final = {
    "PEER_DID_NOT_RETURN_A_CERTIFICATE": "showed no certificate",
    "HTTP_REQUEST": "spoke HTTP instead of TLS",
    "WRONG_VERSION_NUMBER": "did not speak TLS",
    "UNSUPPORTED_PROTOCOL": "did not offer TLS 1.3",
}

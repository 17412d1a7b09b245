"""Mutual TLS 1.3 among members: self-signed Ed25519 certificates and contexts that trust exactly the members'.

There is no authority, no host name and no expiry: a member record on chain holds the one certificate its node shows, and the
handshake layer compares it byte for byte. What no context trusts, a stranger, fails the TLS handshake itself.
"""

import ssl
import tempfile
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from ledger.errors import BadEncodingError
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


@dataclass(frozen=True, slots=True)
class TlsContexts:
    """The two contexts of one set of members, and the certificates among them that no TLS library can read."""

    server: ssl.SSLContext
    client: ssl.SSLContext
    unreadable: tuple[bytes, ...]


def make_contexts(identity: LocalIdentity, certificates: Iterable[bytes]) -> TlsContexts:
    """Return contexts that show `identity` and trust exactly `certificates` (DER).

    Raises `BadEncodingError` when the node's own certificate and key do not fit. A certificate of another member that cannot be
    read is left out and reported: one bad record must not stop the node.
    """
    trusted = tuple(certificates)
    server, unreadable = _context(ssl.PROTOCOL_TLS_SERVER, identity, trusted)
    server.num_tickets = 0
    client, _ = _context(ssl.PROTOCOL_TLS_CLIENT, identity, trusted)
    return TlsContexts(server, client, unreadable)


def _context(protocol: int, identity: LocalIdentity, certificates: tuple[bytes, ...]) -> tuple[ssl.SSLContext, tuple[bytes, ...]]:
    context = ssl.SSLContext(protocol)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.maximum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False
    context.verify_mode = ssl.CERT_REQUIRED
    # A replaced certificate in its grace has its successor's name: without this OpenSSL may take the one for the other's issuer.
    context.verify_flags |= ssl.VERIFY_X509_PARTIAL_CHAIN
    context.options |= ssl.OP_NO_TICKET  # a resumed session would outlive a removed member
    _show(context, identity)
    return context, tuple(certificate for certificate in certificates if not _trust(context, certificate))


def _show(context: ssl.SSLContext, identity: LocalIdentity) -> None:
    """Load the certificate and key; the ssl module takes files only, so what is in memory passes through a private folder."""
    try:
        with tempfile.TemporaryDirectory(prefix="datacar-tls-") as folder:
            certificate = Path(folder, "certificate.pem")
            certificate.write_text(ssl.DER_cert_to_PEM_cert(identity.certificate))
            key = _store(identity.key, Path(folder, "key.pem")) if isinstance(identity.key, bytes) else identity.key
            context.load_cert_chain(certificate, key)
    except ssl.SSLError as error:
        raise BadEncodingError(
            f"the TLS certificate and key of {identity.member_id} do not fit: {error.reason or error}",
            hint="check the key file against the certificate of the member record",
        ) from error


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

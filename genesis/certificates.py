"""Self-signed Ed25519 certificates for mutual TLS among members (protocol, section P2P).

A member record holds its node's certificate, and nothing else vouches for it: no authority, no host name, no expiry. So a chain
that runs for years is never stopped by a date; certificates are rotated by governance.
"""

import hashlib
from datetime import UTC, datetime
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat, PublicFormat
from cryptography.x509.oid import NameOID

from ledger.errors import BadEncodingError

NOT_BEFORE: Final = datetime(2000, 1, 1, tzinfo=UTC)  # before any clock that is merely wrong
NOT_AFTER: Final = datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC)  # RFC 5280, 4.1.2.5: no well-defined expiry


def make_certificate(seed: bytes, common_name: str) -> tuple[bytes, bytes]:
    """Return (certificate DER, private key PEM) of a 32-byte Ed25519 seed: the same seed and name give the same bytes."""
    key = Ed25519PrivateKey.from_private_bytes(seed)
    public = key.public_key()
    serial = hashlib.sha256(public.public_bytes(Encoding.Raw, PublicFormat.Raw)).digest()[:16]
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name)])
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(public)
        .serial_number(int.from_bytes(serial) | 1)
        .not_valid_before(NOT_BEFORE)
        .not_valid_after(NOT_AFTER)
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .sign(key, None)
    )
    return certificate.public_bytes(Encoding.DER), key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def check_certificate(der: bytes, common_name: str) -> None:
    """Raise `BadEncodingError` unless `der` is an Ed25519 certificate that carries this name and never expires."""
    try:
        certificate = x509.load_der_x509_certificate(der)
        key = certificate.public_key()
        names = [str(item.value) for item in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    except ValueError as error:
        raise BadEncodingError(f"not an X.509 certificate in DER: {error}", hint="make one with `datacar init`") from error
    if not isinstance(key, Ed25519PublicKey):
        raise BadEncodingError("the certificate's key is not Ed25519", hint="make one with `datacar init`")
    if names != [common_name]:
        raise BadEncodingError(f"the certificate names {', '.join(names) or 'nobody'} instead of {common_name}", got=names)
    if certificate.not_valid_after_utc != NOT_AFTER:
        raise BadEncodingError(
            f"the certificate expires on {certificate.not_valid_after_utc:%Y-%m-%d}, which would stop the chain that day",
            hint="make one without expiry (notAfter 99991231235959Z) with `datacar init`",
        )

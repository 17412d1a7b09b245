"""A new TLS key and certificate in a node's folder, put in place of the old ones once the chain has them.

    tls.key.new, tls.crt.new  ->  the transaction is final  ->  tls.key, tls.crt

Interrupted anywhere, it goes on where it was: what was made is used, never made twice. The running node keeps what it has loaded.
"""

import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from genesis.certificates import check_certificate, make_certificate
from ledger.crypto import SEED_BYTES
from node.config import load_config
from node.node_folder import CONFIG_NAME
from node.secret_files import write_secret

SUFFIX: Final = ".new"


@dataclass(frozen=True, slots=True)
class NewCertificate:
    """The certificate (DER) that waits beside the one in use."""

    certificate: bytes
    certificate_path: Path
    key_path: Path

    @classmethod
    def prepare(cls, folder: Path, member_id: str) -> Self:
        """Return the one that waits in a node's folder, made now unless it is there. Raises `ConfigError`, `OSError`."""
        node = load_config(folder.expanduser() / CONFIG_NAME).node
        waiting, key = _beside(node.tls_certificate), _beside(node.tls_key)
        if not waiting.exists():
            key.unlink(missing_ok=True)  # without its certificate nobody has seen it
            certificate, key_pem = make_certificate(secrets.token_bytes(SEED_BYTES), member_id)
            write_secret(key, key_pem)
            part = waiting.with_name(waiting.name + ".part")
            part.write_bytes(certificate)
            part.replace(waiting)
        certificate = waiting.read_bytes()
        check_certificate(certificate, member_id)
        return cls(certificate, node.tls_certificate, node.tls_key)

    @property
    def fingerprint(self) -> str:
        """Return the SHA-256 of the certificate as the node's RPC shows it."""
        return "0x" + sha256(self.certificate).hexdigest()

    def install(self) -> None:
        """Put key and certificate in place. The certificate goes last: while it waits, this can be done again."""
        if _beside(self.key_path).exists():
            _beside(self.key_path).replace(self.key_path)
        _beside(self.certificate_path).replace(self.certificate_path)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)

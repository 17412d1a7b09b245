"""New keys in a node's folder, made and on disk before the chain is told of them.

    consensus.key.next       ->  the transaction is final  ->  the running node takes it itself (`node.key_ring`)
    tls.key.new, tls.crt.new  ->  the transaction is final  ->  tls.key, tls.crt; the node takes them at its next start

Interrupted anywhere, it goes on where it was: what was made is used, never made twice.
"""

import os
import secrets
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from genesis.certificates import check_certificate, make_certificate
from ledger.crypto import SEED_BYTES, public_key
from node.config import load_config
from node.key_ring import NEXT_SUFFIX
from node.node_folder import CONFIG_NAME
from node.secret_files import read_seed, write_secret, write_seed

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
            _sync_directory(waiting.parent)
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
        _sync_directory(self.certificate_path.parent)


def next_consensus_key(folder: Path) -> bytes:
    """Return the public key of the consensus key that waits in a node's folder, made now unless it is there."""
    current = load_config(folder.expanduser() / CONFIG_NAME).node.consensus_key
    waiting = current.with_name(current.name + NEXT_SUFFIX)
    if not waiting.exists():
        write_seed(waiting, secrets.token_bytes(SEED_BYTES))
        _sync_directory(waiting.parent)  # a node that lost a key the chain has already taken up could never vote again
    return public_key(read_seed(waiting, "the next consensus key"))


def _sync_directory(directory: Path) -> None:
    handle = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)

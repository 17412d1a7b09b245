"""New keys in a node's folder, made and on disk before the chain is told of them.

    consensus.key.next       ->  the transaction is final  ->  the running node takes it itself (`node.key_ring`)
    tls.key.new, tls.crt.new  ->  the transaction is final  ->  tls.key, tls.crt; the node takes them at its next start

Interrupted anywhere, it goes on where it was: what was made is used, never made twice, unless the chain can never take it. Files
appear whole or not at all, and are on disk before anything is sent.
"""

import secrets
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Final, Self

from genesis.certificates import check_certificate, make_certificate
from ledger.crypto import SEED_BYTES, public_key
from node.config import load_config
from node.durable import sync_directory
from node.key_ring import NEXT_SUFFIX
from node.node_folder import CONFIG_NAME
from node.secret_files import read_seed, seed_text, write_secret

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
            _put_whole(key, key_pem)
            _put_whole(waiting, certificate)  # last: where it is, its key is
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
            sync_directory(self.key_path.parent)
        _beside(self.certificate_path).replace(self.certificate_path)
        sync_directory(self.certificate_path.parent)

    def discard(self) -> None:
        """Throw away what waits: the chain will never take it. The certificate goes first: without it the key is nothing."""
        for path in (_beside(self.certificate_path), _beside(self.key_path)):
            path.unlink(missing_ok=True)
            sync_directory(path.parent)


@dataclass(frozen=True, slots=True)
class NextKey:
    """The consensus key that waits beside the one in use."""

    path: Path
    seed: bytes = field(repr=False)

    @classmethod
    def prepare(cls, folder: Path) -> Self:
        """Return the one that waits in a node's folder, made now unless it is there. Raises `ConfigError`, `SecretFileError`."""
        current = load_config(folder.expanduser() / CONFIG_NAME).node.consensus_key
        waiting = current.with_name(current.name + NEXT_SUFFIX)
        if not waiting.exists():
            _put_whole(waiting, seed_text(secrets.token_bytes(SEED_BYTES)))
        return cls(waiting, read_seed(waiting, "the next consensus key"))

    @property
    def public_key(self) -> bytes:
        """Return its public half, 32 bytes."""
        return public_key(self.seed)

    def discard(self) -> None:
        """Throw it away: the chain will never take it."""
        self.path.unlink()
        sync_directory(self.path.parent)


def _put_whole(path: Path, data: bytes) -> None:
    """Write a file for its owner only, on disk before it has its name: without a key that the chain took, no node votes."""
    part = path.with_name(path.name + ".part")
    part.unlink(missing_ok=True)  # left by a crash; nobody has seen it
    write_secret(part, data)
    part.replace(path)
    sync_directory(path.parent)


def _beside(path: Path) -> Path:
    return path.with_name(path.name + SUFFIX)

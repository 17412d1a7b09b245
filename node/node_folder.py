"""A node's folder as `datacar init` and the development network make it: keys, certificate, sign-state and configuration.

config.toml  consensus.key  governance.key  tls.crt  tls.key  [faucet.key]  data/sign-state.{a,b}

The node never reads `governance.key`: it is the operator's, for `datacar gov`, and may be moved to another machine.
"""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from consensus.sign_state import SignState
from genesis.network import NodeKeys
from node.secret_files import write_secret, write_seed
from node.sign_file import open_sign_file

CONFIG_NAME: Final = "config.toml"
DATA_NAME: Final = "data"
FAUCET_KEY_NAME: Final = "faucet.key"
GOVERNANCE_KEY_NAME: Final = "governance.key"


@dataclass(frozen=True, slots=True)
class Endpoints:
    """Where a node listens."""

    p2p_host: str
    p2p_port: int
    rpc_host: str
    rpc_port: int


def write_node_folder(
    folder: Path, keys: NodeKeys, endpoints: Endpoints, *, genesis: str, faucet_seed: bytes | None = None
) -> Path:
    """Make a node's folder and return the path of its configuration; `genesis` is a path from the folder.

    Raises `FileExistsError` rather than overwrite a key.
    """
    folder.mkdir(parents=True, exist_ok=True)
    write_seed(folder / "consensus.key", keys.consensus_seed)
    write_seed(folder / GOVERNANCE_KEY_NAME, keys.governance_seed)
    write_secret(folder / "tls.key", keys.tls_key)
    (folder / "tls.crt").write_bytes(keys.member.certificate)
    if faucet_seed is not None:
        write_seed(folder / FAUCET_KEY_NAME, faucet_seed)
    write_first_sign_state(folder / DATA_NAME)
    config = folder / CONFIG_NAME
    sections = _sections(keys, endpoints, genesis, with_faucet=faucet_seed is not None)
    config.write_text(to_toml(sections), encoding="utf-8")
    return config


def write_first_sign_state(data_dir: Path) -> None:
    """Note that a key which was just made has signed nothing. Never do this for a key that was used: it could vote twice."""
    file = open_sign_file(data_dir)
    try:
        file.save(SignState())
    finally:
        file.close()


def to_toml(sections: Mapping[str, Mapping[str, str | int]]) -> str:
    """Return sections of plain texts and integers as TOML."""
    tables = []
    for name, keys in sections.items():
        lines = [f"{key} = {toml_value(value)}\n" for key, value in keys.items()]
        tables.append(f"[{name}]\n{''.join(lines)}")
    return "\n".join(tables)


def toml_value(value: str | int) -> str:
    """Return a text or an integer as TOML writes it; JSON's escapes are a subset of TOML's."""
    return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")


def _sections(keys: NodeKeys, endpoints: Endpoints, genesis: str, *, with_faucet: bool) -> dict[str, dict[str, str | int]]:
    node: dict[str, str | int] = {
        "member_id": keys.member.id,
        "genesis": genesis,
        "data_dir": DATA_NAME,
        "consensus_key": "consensus.key",
        "tls_certificate": "tls.crt",
        "tls_key": "tls.key",
    }
    return {
        "node": node | ({"faucet_key": FAUCET_KEY_NAME} if with_faucet else {}),
        "p2p": {"host": endpoints.p2p_host, "port": endpoints.p2p_port},
        "rpc": {"host": endpoints.rpc_host, "port": endpoints.rpc_port},
    }

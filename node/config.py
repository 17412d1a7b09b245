"""A node's configuration: flags over environment (`DATACAR__SECTION__KEY`) over a TOML file over defaults.

Unknown keys are refused everywhere: a misspelt setting must not be ignored. Every error names the key, the value and where it
came from. Paths in the file are relative to the file, others to the current folder.
"""

import os
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError
from pydantic_settings import BaseSettings, EnvSettingsSource, PydanticBaseSettingsSource, SettingsConfigDict

from ledger.errors import DatacarError
from ledger.types import MemberId
from node.secret_files import read_secret, read_seed

ENV_PREFIX: Final = "DATACAR__"
CLIENT_SECTIONS: Final = frozenset({"client"})  # environment that the wallet commands read, not the node
DEFAULT_RPC_PORT: Final = 8645
DEFAULT_P2P_PORT: Final = 26656

Port = Annotated[int, Field(ge=1, le=65_535)]
Amount = Annotated[int, Field(ge=0, le=2**53)]
Count = Annotated[int, Field(ge=1, le=2**40)]


class ConfigError(DatacarError):
    """A configuration that cannot be used; `problems` lists what is wrong with which key."""

    def __init__(self, *problems: str, hint: str = "see `datacar config schema` for every key") -> None:
        super().__init__("bad_config", "; ".join(problems), hint=hint, problems=list(problems))


class _Section(BaseModel):
    """A table of the file: no unknown keys, never changed afterwards."""

    model_config = ConfigDict(extra="forbid", frozen=True)


class NodeSection(_Section):
    """Who this node is and where its files are."""

    member_id: Annotated[MemberId, Field(min_length=1, max_length=32, description="This member's id in the genesis file.")]
    genesis: Path = Field(description="The genesis file (JSON).")
    data_dir: Path = Field(description="Folder of the database and the consensus sign-state.")
    consensus_key: Path = Field(description="Secret file: the Ed25519 consensus seed, 32 bytes in hex.")
    tls_certificate: Path = Field(description="This member's certificate (DER), as in its member record.")
    tls_key: Path = Field(description="Secret file: the certificate's private key (PEM).")
    join: bool = Field(default=False, description="Start although the chain here does not know this member or key (yet).")
    faucet_key: Path | None = Field(default=None, description="Secret file: seed of the faucet account; development chains only.")


class P2pSection(_Section):
    """Where other members connect."""

    host: str = Field(default="0.0.0.0", description="Interface to listen on; mutual TLS refuses strangers.")  # noqa: S104
    port: Port = Field(default=DEFAULT_P2P_PORT, description="TCP port.")


class RpcSection(_Section):
    """Where wallets and tools connect."""

    host: str = Field(default="127.0.0.1", description="Interface to listen on.")
    port: Port = Field(default=DEFAULT_RPC_PORT, description="TCP port.")
    max_body_bytes: Count = Field(default=2 * 1024 * 1024, description="Largest request body.")
    allowed_hosts: tuple[str, ...] = Field(default=(), description="Names to answer to beside loopback and the interface.")
    allowed_origins: tuple[str, ...] = Field(
        default=(), description="Web origins whose pages may call, as https://wallet.example."
    )


class MempoolSection(_Section):
    """Bounds of what waits to be ordered."""

    max_transactions: Count = Field(default=50_000, description="Most transactions.")
    max_bytes: Count = Field(default=64 * 1024 * 1024, description="Most bytes of memory.")
    sender_share_percent: Annotated[int, Field(ge=1, le=100, description="Most that one sender may fill.")] = 10


class LogSection(_Section):
    """What the node says on stderr."""

    level: Literal["debug", "info", "warning", "error"] = Field(default="info", description="Least severity shown.")
    format: Literal["json", "console"] = Field(default="json", description="One JSON object a line, or text for people.")


class ConsensusSection(_Section):
    """Local timing; what members must agree on stands in genesis."""

    batch_delay_ms: Annotated[int, Field(ge=0, le=1_000, description="How long a primary gathers transactions.")] = 20
    resend_ms: Annotated[int, Field(ge=50, le=10_000, description="How often what peers may lack is sent again.")] = 500


class StorageSection(_Section):
    """What is kept on disk. Counts of blocks: 0 keeps everything. Headers, certificates and transaction ids always stay."""

    keep_states: Amount = Field(default=1_000, description="Recent heights whose state can be read and proven.")
    keep_bodies: Amount = Field(default=0, description="Recent blocks whose transactions and receipts are kept.")
    snapshot_every: Amount = Field(default=1_000, description="Blocks between snapshots that joining members may read; 0: none.")
    snapshots: Annotated[int, Field(ge=1, le=10, description="Snapshots kept.")] = 2
    snapshot_distance: Amount = Field(
        default=1_000, description="Take another member's snapshot when it is this many blocks ahead; 0: always fetch blocks."
    )
    indexes: bool = Field(default=True, description="Index transactions and events by address, contract and topic.")
    on_damage: Literal["resync", "refuse"] = Field(
        default="resync", description="A damaged store: set it aside and fetch the chain again, or refuse to start."
    )
    min_free_bytes: Amount = Field(default=64 * 1024 * 1024, description="Stop voting when less is free on the disk.")


class NodeConfig(BaseSettings):
    """Everything a node is started with."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, env_nested_delimiter="__", extra="forbid", frozen=True)

    node: NodeSection
    p2p: P2pSection = P2pSection()
    rpc: RpcSection = RpcSection()
    mempool: MempoolSection = MempoolSection()
    log: LogSection = LogSection()
    consensus: ConsensusSection = ConsensusSection()
    storage: StorageSection = StorageSection()

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],  # noqa: ARG003 - the names are pydantic's
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        dotenv_settings: PydanticBaseSettingsSource,  # noqa: ARG003
        file_secret_settings: PydanticBaseSettingsSource,  # noqa: ARG003
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Take values from the call only: `load_config` has merged the sources and knows where each value came from."""
        return (init_settings,)

    def check_files(self) -> None:
        """Raise `ConfigError` or `SecretFileError` for files that are missing, unreadable or readable by others."""
        for key in ("genesis", "tls_certificate"):
            path: Path = getattr(self.node, key)
            if not path.is_file() or not os.access(path, os.R_OK):
                hint = "join a network with its genesis file, or make keys with `datacar init`"
                raise ConfigError(f"node.{key}: {path} is not a file this user can read", hint=hint)
        read_seed(self.node.consensus_key, "the consensus key")
        read_secret(self.node.tls_key, "the TLS key")
        if self.node.faucet_key is not None:
            read_seed(self.node.faucet_key, "the faucet key")


Sections = dict[str, dict[str, Any]]


def load_config(
    path: Path, overrides: Mapping[str, Mapping[str, object]] | None = None, *, text: str | None = None
) -> NodeConfig:
    """Return the configuration in the TOML file `path`, under the environment, under `overrides` (section -> key -> value).

    With `text`, that is taken for what the file holds. Raises `ConfigError`.
    """
    path = path.expanduser().absolute()
    document = _parse_toml(read_text(path) if text is None else text, path)
    sources = (
        (str(path), _with_paths(document, path.parent)),
        ("the environment", _with_paths(_read_environment(), Path.cwd())),
        ("the command line", _with_paths({name: dict(keys) for name, keys in (overrides or {}).items()}, Path.cwd())),
    )
    merged: Sections = {}
    origins: dict[tuple[str, ...], str] = {}
    for source, sections in sources:
        for name, keys in sections.items():
            merged.setdefault(name, {}).update(keys)
            origins[name,] = source
            origins.update({(name, key): source for key in keys})
    try:
        return NodeConfig(**merged)  # type: ignore[arg-type]
    except ValidationError as error:
        raise ConfigError(*(_explain(problem, origins, path) for problem in error.errors())) from error


def parse_override(text: str) -> tuple[str, str, str]:
    """Return (section, key, value) of `section.key=value`. Raises `ConfigError`."""
    name, equals, value = text.partition("=")
    section, dot, key = name.strip().partition(".")
    if not (equals and dot and section and key):
        raise ConfigError(f"{text!r} is not section.key=value", hint="for example rpc.port=8700")
    return section, key, value.strip()


def read_text(path: Path) -> str:
    """Return the text of a configuration file. Raises `ConfigError`."""
    try:
        return path.read_text(encoding="utf-8")
    except FileNotFoundError as error:
        raise ConfigError(f"there is no configuration file {path}", hint="make one with `datacar init`") from error
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path} cannot be read: {error}", hint="write it as TOML in UTF-8") from error


def _parse_toml(text: str, path: Path) -> Sections:
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"{path} is not TOML: {error}", hint="write texts in quotes, sections as [node]") from error
    for name, keys in document.items():
        if not isinstance(keys, dict):
            raise ConfigError(f"{name}: must stand in a section such as [node], got {keys!r} (from {path})")
    return document


def _read_environment() -> Sections:
    """Return what the environment sets. Pydantic's source leaves out sections it does not know, so those are looked for here."""
    prefixed = [name for name in os.environ if name.upper().startswith(ENV_PREFIX)]
    for name in prefixed:
        section, _, key = name[len(ENV_PREFIX) :].lower().partition("__")
        if section not in NodeConfig.model_fields and section not in CLIENT_SECTIONS:
            raise ConfigError(f"{section}{key and '.' + key}: there is no such section (from the environment: {name})")
        if not key and section not in CLIENT_SECTIONS:
            raise ConfigError(f"{section}: a key must follow the section (from the environment: {name})")
    return EnvSettingsSource(NodeConfig)()


def _with_paths(sections: Sections, base: Path) -> Sections:
    """Return the sections with the node's paths made absolute from `base`."""
    node = sections.get("node", {})
    for key, info in NodeSection.model_fields.items():
        value = node.get(key)
        if info.annotation in (Path, Path | None) and isinstance(value, str | Path):
            node[key] = (base / Path(value).expanduser()).resolve()
    return sections


def _explain(problem: Any, origins: Mapping[tuple[str, ...], str], path: Path) -> str:
    """Return one line: key, what is wrong, the value, and where it came from."""
    where = tuple(str(part) for part in problem["loc"])
    key = ".".join(where)
    if problem["type"] == "missing":
        return f"{key}: is missing (in {path})"
    origin = origins.get(where[:2], origins.get(where[:1], str(path)))
    if problem["type"] == "extra_forbidden":
        return f"{key}: there is no such {'key' if len(where) > 1 else 'section'} (from {origin})"
    wrong = problem["msg"].removeprefix("Input ")
    return f"{key}: {wrong}, got {str(problem['input'])[:60]!r} (from {origin})"

"""The node's configuration: flags over environment over file over defaults, and errors that name the key, value and source."""

import os
from pathlib import Path

import pytest

from genesis.network import KeySource, make_node_keys
from ledger.errors import DatacarError
from ledger.types import MemberId
from node.config import ConfigError, load_config, parse_override
from node.config_file import set_in_file
from node.node_folder import Endpoints, write_node_folder
from node.secret_files import SecretFileError, read_seed, write_secret, write_seed
from node.sign_file import open_sign_file


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("DATACAR__"):
            monkeypatch.delenv(name)


@pytest.fixture
def config(tmp_path: Path) -> Path:
    """The configuration of a node folder as `init` makes it, with its genesis file beside it."""
    keys = make_node_keys(KeySource.from_seed("config"), MemberId("node1"), "127.0.0.1:26700")
    (tmp_path / "genesis.json").write_text("{}")
    return write_node_folder(
        tmp_path / "node1", keys, Endpoints("127.0.0.1", 26700, "127.0.0.1", 8700), genesis="../genesis.json"
    )


class TestSources:
    def test_file_and_defaults(self, config: Path) -> None:
        found = load_config(config)
        assert (found.node.member_id, found.rpc.port, found.p2p.port) == ("node1", 8700, 26700)
        assert found.rpc.max_body_bytes == 2 * 1024 * 1024
        assert (found.mempool.max_transactions, found.mempool.max_bytes) == (50_000, 64 * 1024 * 1024)
        assert (found.mempool.sender_share_percent, found.consensus.batch_delay_ms) == (10, 20)
        assert (found.consensus.resend_ms, found.log.level, found.log.format) == (500, "info", "json")
        assert found.node.faucet_key is None

    def test_environment_over_file_and_flags_over_environment(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATACAR__RPC__PORT", "8701")
        monkeypatch.setenv("DATACAR__LOG__LEVEL", "debug")
        found = load_config(config, {"rpc": {"port": 8702}})
        assert (found.rpc.port, found.rpc.host, found.log.level) == (8702, "127.0.0.1", "debug")
        assert load_config(config).rpc.port == 8701

    def test_paths_are_relative_to_the_file_whatever_the_current_folder(
        self, config: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        elsewhere = tmp_path / "elsewhere"
        elsewhere.mkdir()
        monkeypatch.chdir(elsewhere)
        found = load_config(Path("../node1/config.toml"))
        assert found.node.genesis == tmp_path / "genesis.json"
        assert found.node.data_dir == config.parent / "data"
        assert load_config(config, {"node": {"data_dir": "here"}}).node.data_dir == elsewhere / "here"


class TestRefusals:
    @pytest.mark.parametrize(
        ("overrides", "message"),
        [
            ({"rpc": {"port": 70_000}}, r"rpc\.port: .*65535, got '70000' \(from the command line\)"),
            ({"rpc": {"prot": 1}}, r"rpc\.prot: there is no such key \(from the command line\)"),
            ({"rcp": {"port": 1}}, r"rcp: there is no such section \(from the command line\)"),
            ({"log": {"level": "loud"}}, r"log\.level: .*got 'loud'"),
            ({"mempool": {"sender_share_percent": 0}}, r"mempool\.sender_share_percent: .*got '0'"),
        ],
    )
    def test_wrong_flags(self, config: Path, overrides: dict[str, dict[str, object]], message: str) -> None:
        with pytest.raises(ConfigError, match=message):
            load_config(config, overrides)

    @pytest.mark.parametrize(
        ("name", "value", "message"),
        [
            ("DATACAR__RPC__PORT", "http", r"rpc\.port: .*got 'http' \(from the environment\)"),
            ("DATACAR__RPC__PROT", "1", r"rpc\.prot: there is no such key \(from the environment\)"),
            ("DATACAR__RCP__PORT", "1", r"rcp\.port: there is no such section \(from the environment: DATACAR__RCP__PORT\)"),
            ("DATACAR__RPC", "1", r"rpc: a key must follow"),
        ],
    )
    def test_wrong_environment(self, config: Path, monkeypatch: pytest.MonkeyPatch, name: str, value: str, message: str) -> None:
        monkeypatch.setenv(name, value)
        with pytest.raises(ConfigError, match=message):
            load_config(config)

    def test_environment_of_the_wallet_commands_is_not_the_nodes(self, config: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("DATACAR__CLIENT__RPC", "http://127.0.0.1:8645")
        assert load_config(config).node.member_id == "node1"

    @pytest.mark.parametrize(
        ("text", "message"),
        [
            ("", "node: is missing"),
            ("[node]\nmember_id = 'a'\n", r"node\.genesis: is missing \(in .*config\.toml\)"),
            ("member_id = 'a'\n", "must stand in a section"),
            ("[node\n", "is not TOML"),
            ("[nodes]\n", r"nodes: there is no such section \(from .*config\.toml\)"),
        ],
    )
    def test_wrong_files(self, config: Path, text: str, message: str) -> None:
        config.write_text(text)
        with pytest.raises(ConfigError, match=message):
            load_config(config)

    def test_all_problems_are_told_at_once(self, config: Path) -> None:
        with pytest.raises(ConfigError) as caught:
            load_config(config, {"rpc": {"port": 0}, "p2p": {"port": -1}})
        assert caught.value.details["problems"] == [str(problem) for problem in str(caught.value).split("; ")]
        assert len(str(caught.value).split("; ")) == 2

    def test_missing_file_says_how_to_make_one(self, tmp_path: Path) -> None:
        with pytest.raises(ConfigError, match="no configuration file") as caught:
            load_config(tmp_path / "none.toml")
        assert "datacar init" in caught.value.hint

    @pytest.mark.parametrize("text", ["rpc.port", "port=1", "=1", ".port=1", "rpc.=1"])
    def test_overrides_have_one_form(self, text: str) -> None:
        with pytest.raises(ConfigError):
            parse_override(text)
        assert parse_override("node.genesis=a=b") == ("node", "genesis", "a=b")


class TestFiles:
    def test_a_new_folder_is_complete_and_private(self, config: Path) -> None:
        load_config(config).check_files()
        for name in ("consensus.key", "tls.key"):
            assert (config.parent / name).stat().st_mode & 0o777 == 0o600

    def test_a_new_key_has_signed_nothing_and_says_so(self, config: Path) -> None:
        """Without a sign-state a node is quarantined; with an empty one for a used key it could vote twice."""
        file = open_sign_file(load_config(config).node.data_dir)
        state = file.load()
        file.close()
        assert state is not None
        assert not state.messages

    @pytest.mark.parametrize("key", ["consensus_key", "tls_key"])
    def test_secrets_open_to_others_are_refused(self, config: Path, key: str) -> None:
        found = load_config(config)
        path: Path = getattr(found.node, key)
        path.chmod(0o640)
        with pytest.raises(SecretFileError, match=r"others than its owner \(mode 0640\)") as caught:
            found.check_files()
        assert "chmod 600" in caught.value.hint

    @pytest.mark.parametrize("key", ["genesis", "consensus_key", "tls_certificate", "tls_key"])
    def test_missing_files_are_named(self, config: Path, key: str) -> None:
        found = load_config(config)
        path: Path = getattr(found.node, key)
        path.unlink()
        with pytest.raises(DatacarError, match=str(path)):
            found.check_files()

    def test_keys_are_never_overwritten(self, tmp_path: Path) -> None:
        write_seed(tmp_path / "key", bytes(32))
        with pytest.raises(FileExistsError):
            write_seed(tmp_path / "key", b"\1" * 32)
        assert read_seed(tmp_path / "key", "the key") == bytes(32)

    @pytest.mark.parametrize("data", [b"", b"00" * 31, b"zz" * 32, b"\xff" * 64])
    def test_a_damaged_seed_is_refused_without_showing_it(self, tmp_path: Path, data: bytes) -> None:
        write_secret(tmp_path / "key", data)
        with pytest.raises(SecretFileError, match="64 hex digits") as caught:
            read_seed(tmp_path / "key", "the key")
        assert not data or data.decode("latin-1") not in str(caught.value)


class TestSet:
    def test_changes_one_key_and_keeps_the_rest(self, config: Path) -> None:
        config.write_text("# ours\n" + config.read_text() + "\n# end\n")
        set_in_file(config, "rpc", "port", "8800")
        set_in_file(config, "log", "level", "debug")
        set_in_file(config, "rpc", "max_body_bytes", "1000")
        found = load_config(config)
        assert (found.rpc.port, found.rpc.max_body_bytes, found.log.level, found.p2p.port) == (8800, 1000, "debug", 26700)
        assert config.read_text().startswith("# ours\n")
        assert "# end\n" in config.read_text()

    @pytest.mark.parametrize(("section", "key", "value"), [("rpc", "port", "0"), ("rpc", "prot", "1"), ("rcp", "port", "1")])
    def test_refuses_what_would_not_load_and_writes_nothing(self, config: Path, section: str, key: str, value: str) -> None:
        before = config.read_bytes()
        with pytest.raises(ConfigError):
            set_in_file(config, section, key, value)
        assert config.read_bytes() == before

    def test_texts_are_quoted(self, config: Path) -> None:
        set_in_file(config, "node", "data_dir", 'a "b"\\c')
        assert load_config(config).node.data_dir == config.parent / 'a "b"\\c'

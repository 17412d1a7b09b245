"""A node that cannot listen says on which address and by which setting, not that something is wrong with the disk."""

import asyncio
import errno
import socket
from collections.abc import Iterator

import pytest

from node.app import Node
from node.commands.dev_accounts import dev_blueprint
from node.config import NodeConfig, load_config
from node.devnet import create
from node.listening import ListenError, listening
from tests.memory_node import START_MS
from tests.ports import take_ports

HOST = "127.0.0.1"


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> NodeConfig:
    """A real node's, with ports of its own."""
    folder = tmp_path_factory.mktemp("listening") / "net"
    blueprint = dev_blueprint(1, "listening", START_MS)
    network = create(folder, blueprint, lambda _line: None, (take_ports(1), take_ports(1)))
    return load_config(folder / network.nodes[0].name / "config.toml")


@pytest.fixture
def taken() -> Iterator[int]:
    """A port that somebody else listens on."""
    with socket.create_server((HOST, 0)) as other:
        yield other.getsockname()[1]


def refusal(config: NodeConfig) -> ListenError:
    with pytest.raises(ListenError) as caught:
        asyncio.run(Node(config).run())
    return caught.value


@pytest.mark.parametrize("section", ["rpc", "p2p"])
def test_a_busy_port_is_named_with_its_setting(config: NodeConfig, taken: int, section: str) -> None:
    part = getattr(config, section).model_copy(update={"host": HOST, "port": taken})
    error = refusal(config.model_copy(update={section: part}))
    assert error.reason == "port_in_use"
    assert f"{HOST}:{taken} ({section}.port)" in error.message
    assert f"{section}.port" in error.hint
    assert (error.details["host"], error.details["port"], error.details["setting"]) == (HOST, taken, f"{section}.port")


@pytest.mark.parametrize("section", ["rpc", "p2p"])
def test_an_address_of_another_machine_is_named_with_its_setting(config: NodeConfig, section: str) -> None:
    part = getattr(config, section).model_copy(update={"host": "192.0.2.1"})
    error = refusal(config.model_copy(update={section: part}))
    assert error.reason == "bad_address"
    assert f"192.0.2.1:{part.port} ({section}.host)" in error.message


def test_a_host_that_nobody_knows_is_named() -> None:
    with pytest.raises(ListenError) as caught, listening("rpc", "nowhere", 1):
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")
    assert (caught.value.reason, caught.value.details["setting"]) == ("bad_address", "rpc.host")


@pytest.mark.parametrize("error", [OSError(errno.ENOSPC, "full"), PermissionError(errno.EACCES, "no", "consensus.key")])
def test_what_is_wrong_with_the_disk_stays_that(error: OSError) -> None:
    with pytest.raises(OSError, match=r"full|consensus\.key") as caught, listening("p2p", HOST, 1):
        raise error
    assert caught.value is error

"""Networks of real nodes, in the process of the test and in their own. They end with the tests, also with those that fail."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from genesis.presets import DEV_PARAMETERS
from ledger.parameters import ChainParameters
from tests.core_network import CoreNetwork, Networks
from tests.processes import Processes


@pytest.fixture
async def networks(tmp_path: Path) -> AsyncIterator[Networks]:
    """Makes networks in the test's folder; what still runs at its end is stopped, or it would disturb the next tests."""
    made: list[CoreNetwork] = []

    def make(members: int = 4, joiners: int = 0, parameters: ChainParameters = DEV_PARAMETERS) -> CoreNetwork:
        made.append(CoreNetwork(tmp_path, members, joiners, parameters))
        return made[-1]

    yield make
    for network in made:
        await network.stop()


@pytest.fixture(scope="session")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Processes]:
    """Four processes for the tests of all files that have none of their own: starting them is what takes time."""
    processes = Processes(tmp_path_factory.mktemp("shared"))
    yield processes
    processes.close()


@pytest.fixture
def network(shared: Processes) -> Processes:
    """The shared processes, whole, whatever the test before left of them."""
    return shared.whole()

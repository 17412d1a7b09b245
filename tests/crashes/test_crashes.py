"""A share of the kills, with a fresh seed. `CRASHES` sets how many, `CRASHES_SEED` repeats which node and when."""

import os
from pathlib import Path

import pytest

from tests.crashes.run import crash
from tests.proxy import SUPPORTED
from tests.seeds import fresh

COUNT = int(os.environ.get("CRASHES", "5"))

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(not SUPPORTED, reason="needs Linux's /proc to know who dialled")]


async def test_killed_node_comes_back_with_all_that_it_told(tmp_path: Path) -> None:
    tally = await crash(tmp_path, COUNT, fresh("crashes"), lambda _: None)
    assert tally.kills == COUNT
    assert tally.height > 0

"""Real sessions under the example's time-of-use tariff: step sizes, idle fee, VAT and limits, to the mote."""

from collections import defaultdict
from pathlib import Path

import pytest

from datacar.sessions_file import read_sessions
from tests.time_of_use_bill import station_motes
from vm.session_pricing import price_profile
from vm.tariff import Dimension, parse_tariff

ROOT = Path(__file__).resolve().parents[2]
TARIFF = ROOT / "docs" / "examples" / "tariff-time-of-use.json"
EXAMPLE = ROOT / "docs" / "examples" / "sessions.csv"
REAL = ROOT.parent / "shared" / "data" / "charging_sessions.csv"
UTC_OFFSET_MINUTES = 540


@pytest.mark.parametrize("file", [EXAMPLE, REAL], ids=["example", "real site"])
def test_every_station_earns_what_an_independent_computation_says(file: Path) -> None:
    if not file.exists():
        pytest.skip(f"{file} is not on this machine")
    tariff = parse_tariff(TARIFF.read_text())
    sessions, rejected = read_sessions(file)
    earned: dict[str, int] = defaultdict(int)
    lines = set()
    for each in sessions:
        cost = price_profile(tariff, each.profile(UTC_OFFSET_MINUTES))
        earned[each.station_id] += cost.incl_vat_motes
        lines |= {(line.dimension, line.price_e4) for line in cost.components}
    assert rejected == []
    assert earned == station_motes(file, TARIFF, UTC_OFFSET_MINUTES)
    assert {dimension for dimension, _ in lines} == set(Dimension), "all dimensions are at stake"
    assert len([price for dimension, price in lines if dimension is Dimension.ENERGY]) == 3, "and all times of day"

"""What the stations of a sessions file should earn, worked out from the raw files alone: nothing here imports the project.

For tariffs of one price for each dimension, with step sizes, VAT, and limits that state both amounts.
"""

import csv
import json
from collections import defaultdict
from decimal import ROUND_CEILING, ROUND_HALF_UP, Decimal, localcontext
from pathlib import Path
from typing import Any

CENT = Decimal("0.0001")
MOTES_PER_DATR = Decimal(100_000_000)


def station_motes(sessions: Path, tariff: Path) -> dict[str, int]:
    """Return the motes of each station: the sum of what its sessions cost including VAT."""
    terms = json.loads(tariff.read_text(), parse_float=Decimal)
    earned: dict[str, int] = defaultdict(int)
    with sessions.open(newline="") as file, localcontext(prec=60):
        for row in csv.DictReader(file):
            earned[row["station_id"]] += int(cost(terms, row) * MOTES_PER_DATR)
    return dict(earned)


def cost(terms: Any, row: dict[str, str]) -> Decimal:
    """Return what one line costs, in DATR."""
    start, end = int(row["connected_at"]), int(row["disconnected_at"])
    stopped = min(end, int(row["charging_done_at"] or end))
    prices = {part["type"]: part for element in reversed(terms["elements"]) for part in element["price_components"]}
    amounts = {"FLAT": 1, "ENERGY": int(row["energy_wh"]), "TIME": stopped - start, "PARKING_TIME": end - stopped}
    units = {"FLAT": 1, "ENERGY": 1000, "TIME": 3600, "PARKING_TIME": 3600}
    last_time = "PARKING_TIME" if end > stopped and "PARKING_TIME" in prices else "TIME"
    net = vat = Decimal(0)
    for kind, part in prices.items():
        amount = Decimal(amounts[kind])
        if kind in ("ENERGY", last_time):
            step = Decimal(part["step_size"])
            amount = (amount / step).to_integral_value(ROUND_CEILING) * step
        exact = amount * Decimal(part["price"]) / units[kind]
        net += exact.quantize(CENT, ROUND_HALF_UP)
        vat += (exact * Decimal(part.get("vat", 0)) / 100).quantize(CENT, ROUND_HALF_UP)
    return limited(terms, net, net + vat)


def limited(terms: Any, net: Decimal, gross: Decimal) -> Decimal:
    """Return the gross amount within min_price and max_price: each of the two amounts is bounded by its own limit.

    Where only the net amount is out of its bounds, the gross one is what the limit says it is.
    """
    low, high = terms.get("min_price"), terms.get("max_price")
    if low and net < Decimal(low["excl_vat"]):
        gross = Decimal(low["incl_vat"])
    if high and net > Decimal(high["excl_vat"]):
        gross = Decimal(high["incl_vat"])
    if low:
        gross = max(gross, Decimal(low["incl_vat"]))
    if high:
        gross = min(gross, Decimal(high["incl_vat"]))
    return gross

"""What sessions should earn under a tariff of times of day, days of the week and durations, from the raw files alone.

Nothing here imports the project. It walks through a session in cells of half an hour, at whose edges prices may
change. Readings of the meter are not looked at: energy is drawn evenly until charging ends.
"""

import csv
import json
from collections import defaultdict
from datetime import UTC, datetime, timedelta
from fractions import Fraction
from itertools import pairwise
from math import ceil, floor
from pathlib import Path
from typing import Any

UNITS = {"FLAT": 1, "ENERGY": 1000, "TIME": 3600, "PARKING_TIME": 3600}
CELL_S = 1800
"""Half hours: what tariffs of this kind in the tests keep to."""


def station_motes(sessions: Path, tariff: Path, utc_offset_minutes: int) -> dict[str, int]:
    """Return the motes of each station: the sum of what its sessions cost including VAT."""
    terms = json.loads(tariff.read_text(), parse_float=str)
    earned: dict[str, int] = defaultdict(int)
    with sessions.open(newline="") as file:
        for row in csv.DictReader(file):
            start, end = int(row["connected_at"]), int(row["disconnected_at"])
            stopped = min(end, int(row["charging_done_at"] or end))
            earned[row["station_id"]] += cost(terms, start, stopped, end, int(row["energy_wh"]), utc_offset_minutes)[1]
    return dict(earned)


def cost(terms: Any, start: int, stopped: int, end: int, energy_wh: int, utc_offset_minutes: int) -> tuple[int, int]:
    """Return what a session costs without and with VAT, in motes."""
    used: dict[tuple[int, str], Fraction] = {}
    last: dict[str, tuple[int, str]] = {}

    def use(kind: str, group: str, amount: Fraction, prices: dict[str, int]) -> None:
        if amount and kind in prices:
            last[group] = (prices[kind], kind)
            used[last[group]] = used.get(last[group], Fraction(0)) + amount

    for begin, until in cells(start, stopped, end, terms):
        prices = prices_at(terms, begin, begin - start, utc_offset_minutes)
        if "flat" not in last:
            use("FLAT", "flat", Fraction(1), prices)
        if begin < stopped or start == stopped == begin:
            part = Fraction(until - begin, stopped - start) if stopped > start else Fraction(1)
            use("ENERGY", "energy", energy_wh * part, prices)
        use("TIME" if begin < stopped else "PARKING_TIME", "time", Fraction(until - begin), prices)
    for group in ("energy", "time"):
        if group in last:
            kind = last[group][1]
            total = sum(amount for (_, other), amount in used.items() if other == kind)
            step = component(terms, last[group])["step_size"]
            used[last[group]] += ceil(total / step) * step - total
    return billed(terms, used)


def cells(start: int, stopped: int, end: int, terms: Any) -> list[tuple[int, int]]:
    """Return the parts of a session within which no price changes."""
    durations = {start + limit for item in terms["elements"] for limit in limits(item)}
    edges = {start, stopped, end, *(each for each in durations if start < each < end)}
    edges.update(range(-(-start // CELL_S) * CELL_S, end, CELL_S))
    ordered = sorted(edges)
    return list(pairwise(ordered)) or [(start, end)]


def limits(element: Any) -> list[int]:
    """Return the durations at which an element begins or ceases to apply."""
    restrictions = element.get("restrictions", {})
    return [restrictions[name] for name in ("min_duration", "max_duration") if name in restrictions]


def prices_at(terms: Any, at: int, elapsed: int, utc_offset_minutes: int) -> dict[str, int]:
    """Return which element prices each dimension at a moment."""
    local = datetime.fromtimestamp(at, UTC) + timedelta(minutes=utc_offset_minutes)
    found: dict[str, int] = {}
    for index, element in enumerate(terms["elements"]):
        if applies(element.get("restrictions", {}), local, elapsed):
            for part in element["price_components"]:
                found.setdefault(part["type"], index)
    return found


def applies(restrictions: dict[str, Any], local: datetime, elapsed: int) -> bool:
    """Return whether an element applies, by its local times and days and by how long the session has lasted."""
    clock, day = local.strftime("%H:%M"), local.strftime("%Y-%m-%d")
    begin, until = restrictions.get("start_time", "00:00"), restrictions.get("end_time", "00:00")
    in_time = begin <= clock < until if begin < until else clock >= begin or clock < until
    in_dates = restrictions.get("start_date", "") <= day < restrictions.get("end_date", "9999")
    in_days = local.strftime("%A").upper() in restrictions["day_of_week"] if restrictions.get("day_of_week") else True
    lasted = restrictions.get("min_duration", 0) <= elapsed < restrictions.get("max_duration", 10**12)
    return in_time and in_dates and in_days and lasted


def component(terms: Any, place: tuple[int, str]) -> Any:
    """Return an element's price component of a type."""
    [found] = [part for part in terms["elements"][place[0]]["price_components"] if part["type"] == place[1]]
    return found


def billed(terms: Any, used: dict[tuple[int, str], Fraction]) -> tuple[int, int]:
    """Return what was used comes to, each component and its VAT rounded on its own; limits must state both amounts."""
    net = gross = 0
    for place, amount in used.items():
        part = component(terms, place)
        exact = amount * Fraction(part["price"]) / UNITS[place[1]]
        net += rounded(exact)
        gross += rounded(exact) + rounded(exact * Fraction(part.get("vat", 0)) / 100)
    low, high = (
        {key: rounded(Fraction(text)) for key, text in terms.get(name, {}).items()} for name in ("min_price", "max_price")
    )
    if low:
        net, gross = (net, gross) if net >= low["excl_vat"] else (low["excl_vat"], low["incl_vat"])
        gross = max(gross, low["incl_vat"])
    if high:
        net, gross = (net, gross) if net <= high["excl_vat"] else (high["excl_vat"], high["incl_vat"])
        gross = min(gross, high["incl_vat"])
    return net, gross


def rounded(datr: Fraction) -> int:
    """Return an amount half up to 1/10,000 DATR, in motes."""
    return floor(datr * 10_000 + Fraction(1, 2)) * 10_000

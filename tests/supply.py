"""Conservation of money, checked on the state itself: of a whole state, or of what one block changes in it.

For each asset, free + held + locked over all accounts is the supply, what is held is in holds, what is locked in locks. A block
keeps that when its changes do, so that checking them alone is enough once the first state was checked.
"""

from collections.abc import Mapping
from typing import Any, Final

import msgpack

from ledger.codec import encode_trusted
from ledger.store import Reader, Store
from vm.contracts import asset

OF_ASSET: Final = encode_trusted((asset.NAME, "", ()))[:-2]
"""What the state key of everything that the asset contract stores begins with."""


class Totals:
    """Sums by asset: what accounts have free, held and locked, what holds and locks keep, and the supply."""

    def __init__(self) -> None:
        self._sums: dict[str, dict[str, int]] = {}

    def add(self, raw_key: bytes, raw: bytes | None, sign: int = 1) -> None:
        """Count a value of the state, or with -1 take it out again."""
        if raw is None or not raw_key.startswith(OF_ASSET):
            return
        _, field, *rest = msgpack.unpackb(raw_key, use_list=False)
        value = msgpack.unpackb(raw, use_list=False)
        match field:
            case "accounts":
                parts = zip(("free", "held", "locked"), value, strict=False)  # a frozen account has a mark behind them
                self._count(rest[0][0], sign, dict(parts))
            case "holds":
                self._count(value[5], sign, {"in holds": value[3]})
            case "locks":
                self._count(rest[0][0], sign, {"in locks": value[2]})
            case "supplies":
                self._count(rest[0], sign, {"supply": value})

    def check(self) -> None:
        """Raise `AssertionError` unless everything adds up."""
        for symbol, sums in self._sums.items():
            free, held, locked, in_holds, in_locks, supply = (
                sums.get(name, 0) for name in ("free", "held", "locked", "in holds", "in locks", "supply")
            )
            if free + held + locked != supply or held != in_holds or locked != in_locks:
                raise AssertionError(f"money was made or lost: {symbol} {sums}")

    def supplies(self) -> dict[str, int]:
        """Return how much there is of each asset."""
        return {symbol: sums.get("supply", 0) for symbol, sums in self._sums.items()}

    def _count(self, symbol: Any, sign: int, amounts: Mapping[str, int]) -> None:
        sums = self._sums.setdefault(symbol, {})
        for name, amount in amounts.items():
            sums[name] = sums.get(name, 0) + sign * amount


def check_state(state: Store) -> Totals:
    """Raise `AssertionError` unless the money in a whole state adds up; return the sums."""
    totals = Totals()
    for raw_key, raw in state.iterate():
        totals.add(raw_key, raw)
    totals.check()
    return totals


def check_change(state: Reader, changes: Mapping[bytes, bytes | None]) -> None:
    """Raise `AssertionError` unless `changes`, made to a state whose money adds up, keep it so."""
    totals = Totals()
    for raw_key, raw in changes.items():
        if raw_key.startswith(OF_ASSET):
            totals.add(raw_key, state.get(raw_key), -1)
            totals.add(raw_key, raw)
    totals.check()

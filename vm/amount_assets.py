"""Which asset an amount is of. Contracts say it by name, so the rule holds for whoever shows their calls.

An amount is of the asset whose `symbol` stands beside it or beside what it is in, and where none does, of DATR. What is paid out
of a hold is of the hold's asset, which only the state knows.
"""

from collections.abc import Sequence
from typing import Final

from ledger.codec import Value

SYMBOL: Final = "symbol"
HOLD: Final = "hold_id"
OF_THE_HOLD: Final = "the hold's asset"
"""No symbol: those have at most 12 characters."""


def asset_beside(names: Sequence[str], values: Sequence[Value]) -> str | None:
    """Return the symbol of the asset that amounts among these named parts are of, or `OF_THE_HOLD`; None where no part says."""
    said = dict(zip(names, values, strict=True))
    symbol = said.get(SYMBOL)
    if isinstance(symbol, str):
        return symbol
    return OF_THE_HOLD if HOLD in said else None

"""Gas: what execution costs. One unit is about a nanosecond of one core of the reference machine (docs/benchmarks.md).

So a block's gas bounds its execution time. Storage is charged by access and byte; so are calls, events and results.
"""

from typing import Final

from vm.errors import ContractError, CoreError

TRANSACTION: Final = 10_000
TRANSACTION_BYTE: Final = 10
CALL: Final = 2_000
ARGUMENT: Final = 300
"""For each value in a call's arguments, lists and their items alike: checking it and making Python objects of it."""
READ: Final = 2_000
READ_BYTE: Final = 10
WRITE: Final = 4_000
WRITE_BYTE: Final = 20
EVENT: Final = 1_000
RECEIPT_BYTE: Final = 40
"""For each byte of an event or result: a block's receipts stay below what one encoded object may have (8 MiB)."""

SCHEDULED: Final = 10_000
"""Taking an entry out of the calendar, or passing over one that was cancelled, beside what the calendar's storage takes."""
SCHEDULED_GAS_LIMIT: Final = 3_000_000
"""What one scheduled call may use: about 3 ms. Nobody pays for it, so it is bounded for each and for each block."""
SCHEDULE_SHARE: Final = 2
"""Scheduled calls take at most this part of a block's gas: one half. The rest is carried over to the next block."""

DEFAULT_GAS_LIMIT: Final = 100_000
"""What a wallet offers for a plain transfer (about a third of it is used)."""
QUERY_GAS_LIMIT: Final = 5_000_000
"""What one read over RPC may cost its node: about 5 ms."""
FUNDS_GAS_LIMIT: Final = 2_000_000
"""How far a node follows a wallet's transaction to see whether its sender can pay, free of charge: about 2 ms."""
UNLIMITED: Final = 2**62

TRANSACTIONS_PER_BLOCK: Final = 10
"""At least this many transactions fit into a block's gas, so none can fill a block by asking for much and using little."""


class GasMeter:
    """Counts gas up to a limit."""

    __slots__ = ("limit", "used")

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.used = 0

    def charge(self, amount: int) -> None:
        """Use `amount`. Raises `ContractError` OUT_OF_GAS over the limit; then exactly the limit counts as used."""
        self.used += amount
        if self.used > self.limit:
            self.used = self.limit
            raise ContractError(CoreError.OUT_OF_GAS, limit=self.limit)


def max_gas_limit(block_max_gas: int) -> int:
    """Return the largest gas limit that a transaction may have."""
    return block_max_gas // TRANSACTIONS_PER_BLOCK


def intrinsic(size_bytes: int) -> int:
    """Return the gas of carrying a transaction of `size_bytes`, before any call."""
    return TRANSACTION + TRANSACTION_BYTE * size_bytes

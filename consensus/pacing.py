"""How long to wait for a primary, and how much to propose at once (protocol, rule 8 and section Blocks).

Overload is not a fault: the primary sizes its blocks so that a proposal commits in about 200 ms, growing by steps and halving
when it took longer, and after k failed views nobody proposes more than 1/2^k of that.
"""

from dataclasses import dataclass
from typing import Final

TARGET_COMMIT_MS: Final = 200
GROWTH: Final = 64
SMALLEST_BATCH: Final = 16


@dataclass(frozen=True, slots=True)
class Timing:
    """The timing parameters of the chain, in milliseconds."""

    base_timeout_ms: int = 1_000
    timeout_cap_ms: int = 4_000
    resend_ms: int = 500
    clock_drift_ms: int = 500

    def view_timeout_ms(self, failed_views: int) -> int:
        """Return how long a view may take after `failed_views` failed ones at this height: doubling, capped."""
        return min(self.timeout_cap_ms, self.base_timeout_ms << min(failed_views, 16))


class BatchSizer:
    """The number of transactions that the primary puts into its next block."""

    def __init__(self, largest: int) -> None:
        self._largest = largest
        self._size = min(largest, 4 * GROWTH)

    def limit(self, failed_views: int) -> int:
        """Return the most transactions to propose now."""
        return max(1, self._size >> min(failed_views, 16))

    def committed(self, transactions: int, took_ms: int) -> None:
        """Learn from a block of our own: `took_ms` from its proposal to its commit."""
        if took_ms > TARGET_COMMIT_MS:
            self._size = max(min(SMALLEST_BATCH, self._largest), self._size // 2)
        elif transactions >= self._size:
            self._size = min(self._largest, self._size + GROWTH)

"""Until when something that people decide on can be decided."""

from enum import StrEnum
from typing import Final

from vm.contract import Context, require

MINUTE_MS: Final = 60_000
DAY_MS: Final = 86_400_000
DEFAULT_EXPIRY_MS: Final = 7 * DAY_MS
MAX_EXPIRY_MS: Final = 30 * DAY_MS
MIN_EXPIRY_MS: Final = MINUTE_MS


def expiry(ctx: Context, expires_ms: int | None, error: StrEnum) -> int:
    """Return the last block time (Unix ms) at which what is proposed now can be decided; `error` unless it is within bounds."""
    until_ms = ctx.now_ms + DEFAULT_EXPIRY_MS if expires_ms is None else expires_ms
    least_ms, limit_ms = ctx.now_ms + MIN_EXPIRY_MS, ctx.now_ms + MAX_EXPIRY_MS
    require(least_ms <= until_ms <= limit_ms, error, expires_ms=until_ms, least_ms=least_ms, limit_ms=limit_ms)
    return until_ms

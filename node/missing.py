"""The one way to say that something was there and is not held any more."""

from ledger.errors import NotFoundError
from ledger.types import Height


def pruned(what: str, oldest: Height, **place: object) -> NotFoundError:
    """Return the error for what was there once; `oldest` is the first height at which its like still is."""
    hint = "ask a node that keeps more: node_capabilities says what one holds"
    return NotFoundError(
        "pruned", f"{what} is not kept here, the oldest is of height {oldest}", hint=hint, oldest=oldest, **place
    )

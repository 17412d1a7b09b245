"""The parameters every member must agree on, since blocks are judged by them. They are part of genesis."""

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Final, Self

from ledger.block import MAX_BLOCK_BYTES, MAX_BLOCK_TRANSACTIONS
from ledger.codec import Value, as_int, fields
from ledger.errors import BadEncodingError
from ledger.transaction import MAX_TRANSACTION_BYTES

_DAY_MS: Final = 86_400_000

# The least and most of each: beyond these, blocks could not be encoded, transactions not be paid for, or views never end.
BOUNDS: Final[dict[str, tuple[int, int]]] = {
    "tx_window_ms": (10_000, 7 * _DAY_MS),
    "heartbeat_ms": (100, _DAY_MS),
    "block_max_transactions": (1, MAX_BLOCK_TRANSACTIONS),
    "block_max_bytes": (MAX_TRANSACTION_BYTES, MAX_BLOCK_BYTES),
    "block_max_gas": (10_000_000, 10**12),
    "gas_price_motes": (0, 10**6),
    "base_timeout_ms": (50, 60_000),
    "timeout_cap_ms": (50, 600_000),
    "clock_drift_ms": (1, 60_000),
}


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParameters:
    """On-chain parameters; the defaults are those of `docs/protocol.md`. Times in ms, sizes in bytes, prices in motes."""

    tx_window_ms: int = 3_600_000
    heartbeat_ms: int = 60_000
    block_max_transactions: int = MAX_BLOCK_TRANSACTIONS
    block_max_bytes: int = MAX_BLOCK_BYTES
    block_max_gas: int = 250_000_000  # about a quarter of the base timeout at 1 ns a gas
    gas_price_motes: int = 0
    base_timeout_ms: int = 1_000
    timeout_cap_ms: int = 4_000
    clock_drift_ms: int = 500

    def to_value(self) -> Value:
        """Return the canonical form: the fields in order."""
        return tuple(getattr(self, item.name) for item in dataclass_fields(self))

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the parameters of a canonical form; raises `BadEncodingError` for one outside its `BOUNDS`."""
        names = [item.name for item in dataclass_fields(cls)]
        found = fields(value, len(names), "chain parameters")
        read = cls(**{name: as_int(item, name, *BOUNDS[name]) for name, item in zip(names, found, strict=True)})
        if read.base_timeout_ms > read.timeout_cap_ms:
            raise BadEncodingError(
                "base_timeout_ms must not be over timeout_cap_ms", base=read.base_timeout_ms, cap=read.timeout_cap_ms
            )
        return read

"""The parameters every member must agree on, since blocks are judged by them. They are part of genesis."""

from dataclasses import dataclass
from dataclasses import fields as dataclass_fields
from typing import Self

from ledger.codec import Value, as_int, fields


@dataclass(frozen=True, slots=True, kw_only=True)
class ChainParameters:
    """On-chain parameters; the defaults are those of `docs/protocol.md`. Times in ms, sizes in bytes, prices in motes."""

    tx_window_ms: int = 3_600_000
    heartbeat_ms: int = 60_000
    block_max_transactions: int = 2_000
    block_max_bytes: int = 1024 * 1024
    block_max_gas: int = 400_000_000
    gas_price_motes: int = 0
    base_timeout_ms: int = 1_000
    timeout_cap_ms: int = 4_000
    clock_drift_ms: int = 500

    def to_value(self) -> Value:
        """Return the canonical form: the fields in order."""
        return tuple(getattr(self, item.name) for item in dataclass_fields(self))

    @classmethod
    def from_value(cls, value: Value) -> Self:
        """Return the parameters of a canonical form; each is a positive integer but the gas price, which may be 0."""
        names = [item.name for item in dataclass_fields(cls)]
        found = fields(value, len(names), "chain parameters")
        return cls(
            **{
                name: as_int(item, name, 0 if name == "gas_price_motes" else 1, 2**53)
                for name, item in zip(names, found, strict=True)
            }
        )

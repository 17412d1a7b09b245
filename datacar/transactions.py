"""Building and signing transactions, and what a wallet must know of the chain for it."""

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final, Self

from datacar.errors import BadAnswerError
from ledger.parameters import ChainParameters
from ledger.policy import KeyPolicy
from ledger.transaction import SALT_BYTES, Call, TransactionBody, chain_tag_of
from vm.gas import DEFAULT_GAS_LIMIT, max_gas_limit

VALIDITY_MS: Final = 600_000
"""How long a transaction may wait for its block unless the caller says otherwise: after that it can safely be sent anew."""


@dataclass(frozen=True, slots=True)
class ChainInfo:
    """What identifies a chain, its last block's height and time (Unix ms), and the most gas that a transaction may ask for."""

    chain_id: str
    genesis_hash: bytes
    height: int
    timestamp_ms: int
    tx_window_ms: int
    gas_price_motes: int
    max_gas_limit: int = max_gas_limit(ChainParameters().block_max_gas)

    @classmethod
    def from_json(cls, answer: Mapping[str, Any]) -> Self:
        """Return what `chain_info` answered. Raises `BadAnswerError` for something else."""
        try:
            parameters = answer["parameters"]
            return cls(
                chain_id=answer["chain_id"],
                genesis_hash=bytes.fromhex(answer["genesis_hash"].removeprefix("0x")),
                height=answer["height"],
                timestamp_ms=answer["timestamp_ms"],
                tx_window_ms=answer["tx_window_ms"],
                gas_price_motes=int(parameters["gas_price_motes"]),
                max_gas_limit=_max_gas_limit(parameters),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as problem:
            raise BadAnswerError(f"chain_info lacks something: {problem}") from None

    def valid_until_ms(self) -> int:
        """Return the usual end of a transaction made now: by the chain's time, since nothing expires by a local clock."""
        return self.timestamp_ms + min(VALIDITY_MS, self.tx_window_ms // 2)


def _max_gas_limit(parameters: Mapping[str, Any]) -> int:
    """Return the most gas of a transaction; older nodes tell that of a block, which it follows from."""
    told = parameters.get("max_gas_limit")
    return max_gas_limit(int(parameters["block_max_gas"])) if told is None else int(told)


def build(
    chain: ChainInfo,
    policy: KeyPolicy,
    calls: Sequence[Call],
    *,
    gas_limit: int = DEFAULT_GAS_LIMIT,
    reference: str = "",
    valid_until_ms: int | None = None,
) -> TransactionBody:
    """Return an unsigned transaction with a fresh random salt. `reference` is a business id of at most 64 characters."""
    return TransactionBody(
        policy=policy,
        salt=secrets.token_bytes(SALT_BYTES),
        valid_until_ms=chain.valid_until_ms() if valid_until_ms is None else valid_until_ms,
        chain_tag=chain_tag_of(chain.genesis_hash),
        calls=tuple(calls),
        gas_limit=gas_limit,
        reference=reference,
    )

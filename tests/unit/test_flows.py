"""Steps of the client's flows, without a node."""

from typing import Final

from datacar import Wallet, flows
from ledger.transaction import Transaction
from ledger.types import Motes
from vm.gas import DEFAULT_GAS_LIMIT

GENESIS: Final = b"\x07" * 32
CHAIN: Final = {
    "chain_id": "c-1",
    "genesis_hash": "0x" + GENESIS.hex(),
    "height": 5,
    "timestamp_ms": 1_000_000,
    "tx_window_ms": 3_600_000,
    "parameters": {"gas_price_motes": "0"},
}
ALICE: Final = Wallet.from_seed(b"a" * 32)


def gas_limit_sent(asked: int | None) -> int:
    flow = flows.transfer(ALICE, ALICE.address, Motes(1), reference="", gas_limit=asked, timeout_s=1)
    next(flow)  # chain_info
    sent = flow.send(CHAIN)
    assert isinstance(sent, flows.Call)
    raw = str(sent.params["raw"])
    return Transaction.from_raw(bytes.fromhex(raw[2:]), GENESIS).body.gas_limit


def test_a_transfer_has_the_gas_limit_that_was_asked_for() -> None:
    """Also none at all: it is not taken for nothing said."""
    assert [gas_limit_sent(asked) for asked in (None, 20_000, 0)] == [DEFAULT_GAS_LIMIT, 20_000, 0]

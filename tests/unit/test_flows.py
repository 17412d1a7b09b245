"""Steps of the client's flows, without a node."""

from typing import Any, Final

import pytest

from datacar import Wallet, flows, steps
from datacar.transactions import ChainInfo
from ledger.policy import parse_address
from ledger.transaction import Call as ContractCall
from ledger.transaction import Transaction
from ledger.types import Motes
from vm.gas import DEFAULT_GAS_LIMIT, max_gas_limit
from vm.registry import default_registry

GENESIS: Final = b"\x07" * 32
CHAIN: Final = {
    "chain_id": "c-1",
    "genesis_hash": "0x" + GENESIS.hex(),
    "height": 5,
    "timestamp_ms": 1_000_000,
    "tx_window_ms": 3_600_000,
    "parameters": {"gas_price_motes": "0", "max_gas_limit": 25_000_000},
}
ALICE: Final = Wallet.from_seed(b"a" * 32)


MOST: Final = 25_000_000
CALL: Final = ContractCall("asset", "transfer", (parse_address(ALICE.address), 1))


def gas_limit_sent(asked: int | None) -> int:
    flow = flows.transfer(ALICE, ALICE.address, Motes(1), reference="", gas_limit=asked, timeout_s=1)
    next(flow)  # chain_info
    sent = flow.send(CHAIN)
    assert isinstance(sent, steps.Call)
    raw = str(sent.params["raw"])
    return Transaction.from_raw(bytes.fromhex(raw[2:]), GENESIS).body.gas_limit


def test_a_transfer_has_the_gas_limit_that_was_asked_for() -> None:
    """Also none at all: it is not taken for nothing said."""
    assert [gas_limit_sent(asked) for asked in (None, 20_000, 0)] == [DEFAULT_GAS_LIMIT, 20_000, 0]


def test_the_most_gas_is_what_the_chain_says() -> None:
    """Older nodes say only what a block has, which it follows from."""
    assert ChainInfo.from_json(CHAIN).max_gas_limit == MOST
    older = {**CHAIN, "parameters": {"gas_price_motes": "0", "block_max_gas": 70_000_000}}
    assert ChainInfo.from_json(older).max_gas_limit == max_gas_limit(70_000_000)


@pytest.mark.parametrize(("used", "limit"), [(6_000_000, 9_000_000), (20_000_000, MOST)])
def test_a_call_is_simulated_and_sent_with_what_a_transaction_may_use(used: int, limit: int) -> None:
    """One that takes 20 M of 25 M has no room for the usual margin, and is sent all the same."""
    flow = flows.simulate(ALICE.policy, [CALL], None, None)
    next(flow)
    assert simulated_gas_limit(flow.send(CHAIN)) > MOST - 10_000
    found = result_of(flow, {"error": None, "gas": used, "results": [None], "events": []})
    assert found.gas_limit == pytest.approx(limit, abs=5_000)
    assert found.gas_used <= found.gas_limit <= MOST


def test_a_call_of_a_contract_is_sent_with_no_more_than_the_chain_allows() -> None:
    options = flows.CallOptions("", None, 9.0)
    flow = flows.invoke(flows.Memory(), "asset", "transfer", (ALICE, ALICE.address, "1"), {}, options)
    next(flow)
    flow.send(default_registry().abi("asset"))
    flow.send(CHAIN)
    sent = flow.send({"error": None, "gas": 20_000_000})
    assert simulated_gas_limit(sent) == MOST


@pytest.mark.parametrize(("free", "limit"), [(10**12, MOST), (1_000, 500)])
def test_where_gas_has_a_price_the_limit_is_the_chain_s_or_half_the_money(free: int, limit: int) -> None:
    chain = {**CHAIN, "parameters": {"gas_price_motes": "1", "max_gas_limit": MOST}}
    flow = flows.simulate(ALICE.policy, [CALL, CALL], None, None)
    next(flow)
    flow.send(chain)
    asked = flow.send({"height": 5, "value": {"balance": str(free), "held": "0", "locked": "0"}})
    assert simulated_gas_limit(asked) == limit


def simulated_gas_limit(step: Any) -> int:
    return Transaction.from_raw(bytes.fromhex(str(step.params["raw"])[2:]), GENESIS).body.gas_limit


def result_of(flow: Any, answer: Any) -> flows.Simulation:
    with pytest.raises(StopIteration) as end:
        flow.send(answer)
    found: flows.Simulation = end.value.value
    return found

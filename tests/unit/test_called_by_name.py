"""Calls that are known only when they are made, calls for a key policy's account, and contracts that are switched off."""

from dataclasses import dataclass, replace
from typing import Any

import pytest

from ledger.block import Receipt, ReceiptKind, Status
from ledger.codec import encode
from ledger.errors import InvariantError
from ledger.types import Motes
from tests.vm_harness import Account, Chain
from vm import gas
from vm.context import CALENDAR, MULTISIG
from vm.contract import U32, U64, Address, Bytes, Context, Contract, Item, Text, read, scheduled, write
from vm.contracts.asset import NAME as ASSET
from vm.contracts.asset import Asset
from vm.contracts.schedule import Schedule
from vm.errors import ContractError
from vm.executor import Executor
from vm.registry import Registry

HOUR_MS = 3_600_000


@dataclass(frozen=True, slots=True)
class Relayed:
    """A call was made."""

    result: U32


class Relay(Contract, events=(Relayed,)):
    """Makes whatever call it is told to."""

    count: Item[U32]

    @write
    def relay(self, ctx: Context, contract: Text, method: Text, args: Bytes) -> None:
        """Make a call."""
        self.count.set(self.count.get(0) + 1)
        ctx.emit(Relayed(1))
        ctx.invoke(contract, method, args)

    @write
    def try_relay(self, ctx: Context, contract: Text, method: Text, args: Bytes) -> Text:
        """Make a call and return the code of its failure."""
        try:
            ctx.invoke(contract, method, args)
        except ContractError as failure:
            return failure.failure_code
        return ""

    @write
    def relay_for(self, ctx: Context, owner: Address, contract: Text, method: Text, args: Bytes) -> None:
        """Make a call for somebody else."""
        ctx.act_for(owner, contract, method, args)

    @write
    def relay_deeper(self, ctx: Context, left: U32) -> U32:
        """Call itself so many times."""
        answer = ctx.invoke(MULTISIG, "relay_deeper", encode((left - 1,))) if left else 0
        assert type(answer) is int
        return answer + 1

    @read
    def counted(self) -> U32:
        """Return how many calls it made."""
        return self.count.get(0)


class Clockwork(Contract):
    """Counts what the calendar calls."""

    ticks: Item[U64]

    @write
    def wind(self, ctx: Context, due_ms: U64) -> U64:
        """Have it tick at a time. Returns the entry's id."""
        return ctx.schedule(due_ms, self.tick)

    @write
    def unwind(self, ctx: Context, entry_id: U64) -> None:
        """Do not tick."""
        ctx.cancel_schedule(entry_id)

    @scheduled
    def tick(self) -> None:
        """Count."""
        self.ticks.set(self.ticks.get(0) + 1)

    @read
    def count_to(self, length: U32) -> tuple[U32, ...]:
        """Return so many numbers."""
        return tuple(range(length))

    @read
    def ticked(self) -> U64:
        """Return how often it ticked."""
        return self.ticks.get(0)


@pytest.fixture
def chain() -> Chain:
    return Chain({MULTISIG: Relay, "clockwork": Clockwork})


@pytest.fixture
def alice(chain: Chain) -> Account:
    return chain.account("alice", motes=1_000)


def _error(receipt: Receipt) -> tuple[str, str]:
    assert receipt.status is Status.FAILED
    assert receipt.error is not None
    return receipt.error.contract, receipt.error.code


def _transfer(to: Account, amount: Any) -> tuple[str, str, bytes]:
    return ASSET, "transfer", encode((to.address, amount))


def test_a_call_by_name_is_the_contracts_own(chain: Chain, alice: Account) -> None:
    """It is not the signer's: the relay has no money of its own to send."""
    bob = chain.account("bob")
    receipt = chain.send(alice, Relay.relay, *_transfer(bob, 5))
    assert _error(receipt) == (ASSET, "INSUFFICIENT_FUNDS")
    assert chain.query(Relay.counted) == 0
    relay = chain.registry.entry(MULTISIG).address
    chain.send(chain.account("contract", 10), Relay.relay_for, alice.address, *_transfer(bob, 5))
    assert chain.balance(bob).free == 5
    assert chain.balance(relay).free == 0


def test_who_signed_the_transaction_did_not_sign_a_call_by_name(chain: Chain, alice: Account) -> None:
    """Or a proposal could hold the money of the very member whose vote decides it."""
    args = encode((alice.address, 30, "deposit", chain.context.timestamp_ms + HOUR_MS))
    assert _error(chain.send(alice, Relay.relay, ASSET, "hold", args)) == (ASSET, "NOT_PERMITTED")
    assert _error(chain.send(alice, Relay.relay, ASSET, "grant", encode((alice.address, "x")))) == (ASSET, "NOT_PERMITTED")


def test_acting_for_an_account_is_as_if_it_had_signed(chain: Chain, alice: Account) -> None:
    """Sender and origin are the account's, and only for that call."""
    bob = chain.account("bob", 50)
    args = encode((bob.address, 30, "deposit", chain.context.timestamp_ms + HOUR_MS))
    assert chain.send(bob, Relay.relay_for, alice.address, ASSET, "hold_for", args).status is Status.SUCCEEDED
    assert chain.balance(alice).held == 30
    granted = encode((alice.address, 5, "x", chain.context.timestamp_ms + HOUR_MS))
    refused = chain.send(bob, Relay.relay_for, bob.address, ASSET, "hold", granted)
    assert _error(refused) == (ASSET, "NOT_PERMITTED")


@pytest.mark.parametrize(
    ("contract", "method", "args", "code"),
    [
        ("mint", "transfer", encode(()), "UNKNOWN_CONTRACT"),
        (ASSET, "mint_datr", encode(()), "UNKNOWN_METHOD"),
        (ASSET, "distribute", encode(((),)), "WRONG_KIND"),
        ("clockwork", "tick", encode(()), "WRONG_KIND"),
        (ASSET, "transfer", encode((b"", 1)), "BAD_ARGUMENTS"),
        (ASSET, "transfer", encode(()), "BAD_ARGUMENTS"),
        (ASSET, "transfer", b"\xff", "BAD_ARGUMENTS"),
        (ASSET, "transfer", b"", "BAD_ARGUMENTS"),
        (ASSET, "transfer", encode(7), "BAD_ARGUMENTS"),
    ],
)
def test_what_is_no_call_fails_with_a_code(
    chain: Chain, alice: Account, contract: str, method: str, args: bytes, code: str
) -> None:
    before = dict(chain.state.iterate())
    assert _error(chain.send(alice, Relay.relay, contract, method, args))[1] == code
    assert dict(chain.state.iterate()) == before


def test_a_failure_that_is_caught_reverts_only_the_call(chain: Chain, alice: Account) -> None:
    receipt = chain.send(alice, Relay.try_relay, *_transfer(alice, 5))
    assert receipt.results == ("INSUFFICIENT_FUNDS",)
    assert receipt.events == ()


def test_the_result_of_a_call_by_name_is_charged_by_value(chain: Chain, alice: Account) -> None:
    """Reading a long list for a list of calls takes as long as being given one."""
    used = []
    for length in (0, 0, 100):
        receipt = chain.send(alice, Relay.relay, "clockwork", "count_to", encode((length,)))
        assert receipt.status is Status.SUCCEEDED
        used.append(receipt.gas_used)
    assert used[2] - used[1] == 100 * gas.ARGUMENT


def test_calls_by_name_nest_no_deeper_than_others(chain: Chain, alice: Account) -> None:
    assert chain.send(alice, Relay.relay_deeper, 7).results == (8,)
    assert _error(chain.send(alice, Relay.relay_deeper, 8)) == (MULTISIG, "CALL_DEPTH")


def test_only_the_multisig_contract_acts_for_others(alice: Account) -> None:
    chain = Chain({"relay": Relay})
    with pytest.raises(InvariantError):
        chain.send(alice, Relay.relay_for, alice.address, *_transfer(alice, 5))


def test_a_disabled_contract_is_read_but_not_written(chain: Chain, alice: Account) -> None:
    chain.context = replace(chain.context, disabled=frozenset({"clockwork"}))
    due_ms = chain.context.timestamp_ms + HOUR_MS
    assert _error(chain.send(alice, Clockwork.wind, due_ms)) == ("clockwork", "CONTRACT_DISABLED")
    by_name = chain.send(alice, Relay.relay, "clockwork", "wind", encode((due_ms,)))
    assert _error(by_name) == ("clockwork", "CONTRACT_DISABLED")
    assert chain.query(Clockwork.ticked) == 0
    assert chain.send(alice, Asset.transfer, chain.account("bob").address, Motes(1)).status is Status.SUCCEEDED


def test_what_is_due_of_a_disabled_contract_waits_and_is_not_lost(chain: Chain, alice: Account) -> None:
    chain.send(alice, Clockwork.wind, chain.context.timestamp_ms + HOUR_MS)
    chain.context = replace(chain.context, disabled=frozenset({"clockwork"}))
    for _ in range(3):
        chain.advance(HOUR_MS)
        assert not chain.block().receipts
    chain.context = replace(chain.context, disabled=frozenset())
    chain.advance(HOUR_MS)
    [receipt] = chain.block().receipts
    assert receipt.kind is ReceiptKind.SCHEDULED
    assert receipt.status is Status.SUCCEEDED
    assert chain.query(Clockwork.ticked) == 1
    chain.advance(2 * HOUR_MS)
    assert not chain.block().receipts


@pytest.mark.parametrize("fate", ["made", "cancelled", "put off"])
def test_what_the_calendar_does_by_itself_counts_against_the_block(chain: Chain, alice: Account, fate: str) -> None:
    """Else calls that are cancelled again, each at a time of its own, give a block more to do than its gas says."""
    first_ms = chain.context.timestamp_ms + HOUR_MS
    for at_ms in range(first_ms, first_ms + 64):
        [entry_id] = chain.send(alice, Clockwork.wind, at_ms).results
        if fate == "cancelled":
            assert chain.send(alice, Clockwork.unwind, entry_id).status is Status.SUCCEEDED
    chain.context = replace(chain.context, disabled=frozenset({"clockwork"} if fate == "put off" else ()))
    chain.advance(2 * HOUR_MS)
    execution = chain.block()
    assert len(execution.changes) > 3 * 64
    assert execution.gas_used > len(execution.changes) * gas.WRITE


def test_a_scheduled_call_of_a_contract_that_is_no_more_fails_and_stops_nobody(chain: Chain, alice: Account) -> None:
    """A later version of the software may lack a contract that has something in the calendar."""
    chain.send(alice, Clockwork.wind, chain.context.timestamp_ms + HOUR_MS)
    chain.executor = Executor(Registry({ASSET: Asset, CALENDAR: Schedule}))
    chain.advance(2 * HOUR_MS)
    [receipt] = chain.block().receipts
    assert _error(receipt) == ("clockwork", "UNKNOWN_CONTRACT")
    assert not chain.block().receipts

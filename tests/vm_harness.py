"""A tiny chain for contract tests: real transactions, real execution, state in memory, one call to do anything.

chain = Chain({"counter": Counter})
alice = chain.account("alice", motes=1_000)
receipt = chain.send(alice, Counter.add, 5)          # one signed transaction in a block of its own
assert chain.query(Counter.count_of, alice.address) == 5
"""

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Final

from ledger.block import Receipt, Status
from ledger.codec import Value
from ledger.crypto import public_key
from ledger.policy import KeyPolicy
from ledger.store import MemoryStore
from ledger.transaction import Call, Transaction, TransactionBody, chain_tag_of
from ledger.types import Address, Height, Motes
from tests.supply import check_change, check_state
from vm.context import BlockContext
from vm.contract import Contract
from vm.contracts import asset
from vm.contracts.asset import Allocation, Asset, Balance, Category
from vm.contracts.schedule import NAME as SCHEDULE
from vm.contracts.schedule import Schedule
from vm.executor import BlockExecution, Executor
from vm.registry import Registry

GENESIS_HASH: Final = hashlib.sha256(b"vm harness").digest()
START_MS: Final = 1_700_000_000_000


@dataclass(frozen=True, slots=True)
class Account:
    """A test account with its key."""

    name: str
    seed: bytes

    @property
    def policy(self) -> KeyPolicy:
        return KeyPolicy.single(public_key(self.seed))

    @property
    def address(self) -> Address:
        return self.policy.address


def account(name: str) -> Account:
    """Return the account of a name: the same key for the same name."""
    return Account(name, hashlib.sha256(name.encode()).digest())


TREASURY: Final = account("treasury")
FEES: Final = account("fees")


class Chain:
    """A chain of one node. Each `send` is a block; `block` takes several transactions. Every block checks the supply."""

    def __init__(
        self,
        contracts: Mapping[str, type[Contract]] | None = None,
        *,
        gas_price_motes: int = 0,
        genesis: Mapping[str, Sequence[Value]] | None = None,
    ) -> None:
        self.registry = Registry({asset.NAME: Asset, SCHEDULE: Schedule, **(contracts or {})})
        self.executor = Executor(self.registry)
        self.state = MemoryStore()
        self.context = BlockContext(Height(1), START_MS, gas_price_motes, FEES.address, max_gas=2**40)
        self._salt = 0
        everything = Allocation(TREASURY.address, asset.SUPPLY, Category.OTHER, None, None)
        params = {asset.NAME: self.args(Asset.distribute, (everything,)), **(genesis or {})}
        self.state.apply(self.executor.genesis_state(params, START_MS - 1_000))
        self.check_supply()

    def account(self, name: str, motes: int = 0) -> Account:
        """Return the account of a name, given `motes` by the treasury."""
        made = account(name)
        if motes:
            self.free(TREASURY, Asset.transfer, made.address, Motes(motes))
        return made

    def free(self, sender: Account, method: Callable[..., Any], *args: Any) -> Receipt:
        """As `send` at a gas price of 0, for setting a scene."""
        price = self.context.gas_price_motes
        self.context = replace(self.context, gas_price_motes=0)
        receipt = self.send(sender, method, *args)
        self.context = replace(self.context, gas_price_motes=price)
        if receipt.status is not Status.SUCCEEDED:
            raise AssertionError(f"setting the scene failed: {receipt.error}")
        return receipt

    def args(self, method: Callable[..., Any], *args: Any) -> tuple[Value, ...]:
        """Return Python arguments in canonical form."""
        return self.registry.of_function(method)[1].encode_args(args)

    def call(self, method: Callable[..., Any], *args: Any) -> Call:
        """Return the call `method(*args)`, as in `chain.call(Asset.transfer, to, amount)`."""
        entry, spec = self.registry.of_function(method)
        return Call(entry.name, spec.name, spec.encode_args(args))

    def transaction(self, sender: Account, *calls: Call, gas_limit: int = 1_000_000) -> Transaction:
        """Return a signed transaction of these calls."""
        self._salt += 1
        body = TransactionBody(
            policy=sender.policy,
            salt=self._salt.to_bytes(8, "big"),
            valid_until_ms=self.context.timestamp_ms + 60_000,
            chain_tag=chain_tag_of(GENESIS_HASH),
            calls=calls,
            gas_limit=gas_limit,
        )
        return body.sign(GENESIS_HASH, (sender.seed,))

    def block(self, *transactions: Transaction) -> BlockExecution:
        """Execute a block, keep its changes, and move on by one height and one second."""
        execution = self.executor.execute(self.state, self.context, transactions)
        check_change(self.state, execution.changes)
        self.state.apply(execution.changes)
        self.context = replace(
            self.context, height=Height(self.context.height + 1), timestamp_ms=self.context.timestamp_ms + 1_000
        )
        return execution

    def send(self, sender: Account, method: Callable[..., Any], *args: Any, gas_limit: int = 1_000_000) -> Receipt:
        """Execute one call in a block of its own and return its receipt."""
        return self.block(self.transaction(sender, self.call(method, *args), gas_limit=gas_limit)).receipts[0]

    def query(self, method: Callable[..., Any], *args: Any) -> Any:
        """Return what a read method says of the current state, as a Python object."""
        entry, spec = self.registry.of_function(method)
        value = self.executor.query(self.state, self.context, entry.name, spec.name, spec.encode_args(args))
        return spec.returns.decode(value)

    def balance(self, who: Account | Address) -> Balance:
        """Return an account's money."""
        balance: Balance = self.query(Asset.balance_of, who.address if isinstance(who, Account) else who)
        return balance

    def advance(self, milliseconds: int) -> None:
        """Let the next block be later."""
        self.context = replace(self.context, timestamp_ms=self.context.timestamp_ms + milliseconds)

    def check_supply(self) -> None:
        """Raise unless each asset's accounts add up to its supply, its holds to what is held, its locks to what is locked."""
        check_state(self.state)

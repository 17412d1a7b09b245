"""Executes blocks: what is due, then transactions in order, each one atomic on an overlay of the parent state (protocol, VM).

Pure: the same state, context and transactions give the same receipts and changes on every node. Expiry, duplicates and
signatures are checked before; what a position in the block decides (reserving the gas money, the block's gas) is checked here.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from ledger.block import ExecutionError, Receipt, ReceiptKind, Status
from ledger.codec import Value, decode, encode_trusted
from ledger.errors import BadEncodingError, DatacarError, TooLargeError
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.policy import contract_address, format_address
from ledger.transaction import MAX_TRANSACTION_BYTES, Call, Transaction
from ledger.types import Address, Height
from vm import gas
from vm.abi import MethodKind, MethodSpec
from vm.abi_types import Kind
from vm.context import CALENDAR, NOBODY, BlockContext, Machine, count_values
from vm.contracts.asset import DATR, Asset, AssetError
from vm.contracts.asset import NAME as ASSET
from vm.contracts.schedule import Entry as CalendarEntry
from vm.errors import ContractError, CoreError, InsufficientFundsError, InvalidEntryError
from vm.gas import GasMeter
from vm.overlay import StateReader
from vm.registry import Entry, Registry

DISABLED_WAIT_MS: Final = 3_600_000
"""How long what is due of a disabled contract is put off, again and again until it is enabled."""


@dataclass(frozen=True, slots=True)
class BlockExecution:
    """What a block does: receipts, every changed state key (None: deleted), the gas used.

    The receipts of the transactions come first, in their order, so that a transaction and its receipt have one index; those of
    the scheduled calls, which ran before them, follow.
    """

    receipts: tuple[Receipt, ...]
    changes: Mapping[bytes, bytes | None]
    gas_used: int


@dataclass(frozen=True, slots=True)
class BuiltBlock:
    """A block made from candidates: what got in, and what was refused with the reason. Others did not fit and may wait."""

    execution: BlockExecution
    included: tuple[Transaction, ...]
    refused: tuple[tuple[Transaction, DatacarError], ...]


@dataclass(frozen=True, slots=True)
class Simulation:
    """The receipt a transaction would get now, and the failure behind a failed one with its numbers."""

    receipt: Receipt
    failure: ContractError | None


class Executor:
    """Runs a registry's contracts. Holds no state of its own; the native asset's contract must be registered."""

    __slots__ = ("registry",)

    def __init__(self, registry: Registry) -> None:
        registry.entry(ASSET)
        self.registry = registry

    def execute(self, state: StateReader, context: BlockContext, transactions: Sequence[Transaction]) -> BlockExecution:
        """Return what the block does. Raises `InvalidEntryError` for an entry that makes the whole proposal invalid."""
        run = _BlockRun(self.registry, state, context)
        run.run_due()
        for transaction in transactions:
            run.add(transaction)
        return run.finish()

    def build(
        self,
        state: StateReader,
        context: BlockContext,
        candidates: Iterable[Transaction],
        max_transactions: int,
        max_bytes: int,
    ) -> BuiltBlock:
        """Return a block of the candidates in order, leaving out those that `execute` would refuse.

        The block ends at the first one that does not fit any more, so that big transactions are not passed over for ever; those
        that would fit no block are refused.
        """
        run = _BlockRun(self.registry, state, context)
        run.run_due()
        included: list[Transaction] = []
        refused: list[tuple[Transaction, DatacarError]] = []
        size_bytes = 0
        too_much: dict[Address, tuple[int, DatacarError]] = {}  # gas that a sender cannot pay, until something is included
        for transaction in candidates:
            if len(included) == max_transactions:
                break
            if (short := too_much.get(transaction.sender)) is not None and transaction.body.gas_limit >= short[0]:
                refused.append((transaction, short[1]))
                continue
            try:
                _check_size(transaction, context.max_gas, max_bytes)
                if size_bytes + len(transaction.raw) > max_bytes or not run.has_gas_for(transaction):
                    break
                run.add(transaction)
            except TooLargeError as error:
                refused.append((transaction, error))
            except InvalidEntryError as error:
                refused.append((transaction, error))
                too_much[transaction.sender] = transaction.body.gas_limit, error
            else:
                included.append(transaction)
                size_bytes += len(transaction.raw)
                too_much.clear()
        return BuiltBlock(run.finish(), tuple(included), tuple(refused))

    def check_call(self, call: Call) -> None:
        """Raise `ContractError` (UNKNOWN_CONTRACT, UNKNOWN_METHOD, WRONG_KIND, BAD_ARGUMENTS) for a call that can never work."""
        _prepare(self.registry, call, MethodKind.WRITE)

    def check_transaction(self, transaction: Transaction) -> None:
        """Raise `ContractError` for a transaction that can never succeed: a wrong call, or less gas than carrying it takes."""
        for call in transaction.body.calls:
            self.check_call(call)
        limit, need = transaction.body.gas_limit, gas.intrinsic(len(transaction.raw))
        if limit < need:
            raise ContractError(CoreError.OUT_OF_GAS, limit=limit, need=need)

    def next_due_ms(self, state: StateReader) -> int | None:
        """Return when the next scheduled call is due, Unix milliseconds; None when none waits."""
        if CALENDAR not in self.registry.names():
            return None
        calendar: Any = Machine(self.registry, state, _NO_BLOCK, frozen=True).instance(self.registry.entry(CALENDAR))
        found: int | None = calendar.next_due()
        return found

    def can_reserve(self, state: StateReader, context: BlockContext, transaction: Transaction) -> bool:
        """Return whether a block may give the transaction its gas limit, and can take the gas money for it from its sender."""
        if transaction.body.gas_limit > gas.max_gas_limit(context.max_gas):
            return False
        try:
            _BlockRun(self.registry, state, context).reserve(transaction)
        except InsufficientFundsError:
            return False
        return True

    def check_funds(self, state: StateReader, context: BlockContext, transaction: Transaction) -> None:
        """Raise `InsufficientFundsError` for a transaction that its sender cannot pay as things stand.

        `need` is the amount and the reserved gas money together, `have` the sender's free money; where another asset is short,
        they are of that one. What shows only after `gas.FUNDS_GAS_LIMIT` is not found out here but in the block, where the sender
        pays for it. Raises `TooLargeError` for more gas than a block gives to one transaction.
        """
        failure = self.simulate(state, context, transaction, gas.FUNDS_GAS_LIMIT).failure
        if failure is None or (failure.contract, failure.failure_code) != (ASSET, AssetError.INSUFFICIENT_FUNDS.name):
            return
        of_sender = (failure.numbers["account"], failure.numbers["symbol"]) == (format_address(transaction.sender), DATR)
        reserve = transaction.body.gas_limit * context.gas_price_motes if of_sender else 0
        raise InsufficientFundsError(int(failure.numbers["need"]) + reserve, int(failure.numbers["have"]) + reserve)

    def simulate(
        self, state: StateReader, context: BlockContext, transaction: Transaction, most_gas: int = gas.UNLIMITED
    ) -> Simulation:
        """Return how the transaction would end now, with its gas or with `most_gas` if that is less.

        Raises `InsufficientFundsError` when its gas cannot be reserved, `TooLargeError` when no block has so much for it.
        """
        _check_size(transaction, context.max_gas, MAX_TRANSACTION_BYTES)
        run = _BlockRun(self.registry, state, context)
        run.reserve(transaction)
        body = transaction.body
        return run.attempt(transaction.id, transaction.sender, body.calls, min(body.gas_limit, most_gas), len(transaction.raw))

    def simulate_calls(
        self,
        state: StateReader,
        context: BlockContext,
        sender: Address,
        calls: Sequence[Call],
        gas_limit: int | None = None,
    ) -> Simulation:
        """Return how an unsigned list of calls would end, by default with all the gas that a transaction may have.

        `gas_used` leaves out the transaction's own bytes.
        """
        limit = gas.max_gas_limit(context.max_gas) if gas_limit is None else gas_limit
        return _BlockRun(self.registry, state, context).attempt(ZERO_HASH, sender, calls, limit, 0)

    def query(self, state: StateReader, context: BlockContext, contract: str, method: str, args: tuple[Value, ...]) -> Value:
        """Return a read method's canonical result. Raises `ContractError`, also for methods that write."""
        machine = Machine(self.registry, state, context, frozen=True)
        machine.begin(ZERO_HASH, NOBODY, gas.QUERY_GAS_LIMIT)
        return _invoke(machine, Call(contract, method, args), NOBODY, MethodKind.READ)

    def genesis_state(self, params: Mapping[str, Sequence[Value]], timestamp_ms: int) -> Mapping[bytes, bytes | None]:
        """Return the first state: every genesis method run once, in the registry's order, with its contract's `params`.

        Raises `ContractError` for wrong or missing parameters, or ones for a contract that takes none.
        """
        context = BlockContext(Height(0), timestamp_ms, 0, NOBODY, gas.UNLIMITED)
        machine = Machine(self.registry, _EmptyState(), context)
        machine.begin(ZERO_HASH, NOBODY, gas.UNLIMITED)
        for name in (*self.registry.names(), *params):
            entry = self.registry.entry(name)
            method, args = entry.spec.genesis, tuple(params.get(name, ()))
            if method is None and args:
                raise ContractError(CoreError.BAD_ARGUMENTS, need=0, have=len(args)).within(name)
        for name in self.registry.names():
            entry = self.registry.entry(name)
            if entry.spec.genesis is not None:
                _invoke(machine, Call(name, entry.spec.genesis.name, tuple(params.get(name, ()))), NOBODY, MethodKind.GENESIS)
                machine.events.clear()
        return machine.storage.overlay.changes


_NO_BLOCK: Final = BlockContext(Height(0), 0, 0, NOBODY, 0)


class _EmptyState:
    """The state before genesis."""

    def get(self, _key: bytes, /) -> bytes | None:
        """Return None."""
        return None


class _BlockRun:
    """One pass over a block's transactions."""

    __slots__ = ("_context", "_fees", "_gas_used", "_machine", "_receipts", "_registry", "_scheduled")

    def __init__(self, registry: Registry, state: StateReader, context: BlockContext) -> None:
        self._registry = registry
        self._context = context
        self._machine = Machine(registry, state, context)
        self._receipts: list[Receipt] = []
        self._scheduled: list[Receipt] = []
        self._gas_used = 0
        self._fees = 0

    def has_gas_for(self, transaction: Transaction) -> bool:
        """Return whether the transaction's gas limit fits into what the block has left."""
        return self._gas_used + transaction.body.gas_limit <= self._context.max_gas

    def run_due(self) -> None:
        """Make the scheduled calls that are due, in the order of (due time, id), as far as their share of the gas goes."""
        if CALENDAR not in self._registry.names():
            return
        share = self._context.max_gas // gas.SCHEDULE_SHARE
        while self._gas_used + gas.SCHEDULED + gas.SCHEDULED_GAS_LIMIT <= share:
            calendar = self._unmetered(CALENDAR)
            work = self._machine.storage.meter
            taken = calendar.take(self._context.timestamp_ms)
            if taken is None:
                return
            entry_id, entry = taken
            if entry is not None and entry.contract in self._context.disabled:
                calendar.put_off(entry_id, entry, self._context.timestamp_ms + DISABLED_WAIT_MS)
            elif entry is not None:
                receipt = self._run_entry(entry_id, entry)
                self._scheduled.append(receipt)
                self._gas_used += receipt.gas_used
            self._gas_used += gas.SCHEDULED + work.used  # the calendar's own work grows with how much waits in it
            self._machine.storage.overlay.seal()

    def _run_entry(self, entry_id: int, due: CalendarEntry) -> Receipt:
        """Make one scheduled call: a failure reverts its writes and events and leaves a failed receipt, like a transaction's."""
        machine, receipt_id = self._machine, digest(Tag.SCHEDULED, ZERO_HASH, entry_id.to_bytes(8))
        owner = contract_address(due.contract)
        meter = machine.begin(receipt_id, owner, gas.SCHEDULED_GAS_LIMIT)
        overlay = machine.storage.overlay
        mark = overlay.mark()
        try:
            args: Any = decode(due.args)
            _invoke(machine, Call(due.contract, due.method, args), owner, MethodKind.SCHEDULED)
        except ContractError as failure:
            overlay.rollback(mark)
            error = failure.to_execution_error()
            return _receipt(receipt_id, Status.FAILED, meter, error=error, kind=ReceiptKind.SCHEDULED)
        return _receipt(receipt_id, Status.SUCCEEDED, meter, (), tuple(machine.events), kind=ReceiptKind.SCHEDULED)

    def add(self, transaction: Transaction) -> None:
        """Execute the next transaction. Raises `InvalidEntryError`, leaving everything as it was."""
        index = len(self._receipts)
        body = transaction.body
        left = min(self._context.max_gas - self._gas_used, gas.max_gas_limit(self._context.max_gas))
        if body.gas_limit > left:
            raise InvalidEntryError(
                "too_large",
                f"its gas limit {body.gas_limit} is over the {left} that the block has for it",
                index=index,
                tx_hash=transaction.tx_hash,
                limit=left,
                got=body.gas_limit,
            )
        try:
            self.reserve(transaction)
        except InsufficientFundsError as error:
            raise InvalidEntryError(
                error.reason, error.message, index=index, tx_hash=transaction.tx_hash, need=error.need, have=error.have
            ) from error
        receipt = self.attempt(transaction.id, transaction.sender, body.calls, body.gas_limit, len(transaction.raw)).receipt
        self._settle(transaction, receipt.gas_used)
        self._receipts.append(receipt)
        self._gas_used += receipt.gas_used
        self._machine.storage.overlay.seal()

    def reserve(self, transaction: Transaction) -> None:
        """Take gas_limit x price out of the sender's free money; a price of 0 touches nothing.

        Raises `InsufficientFundsError`.
        """
        amount = transaction.body.gas_limit * self._context.gas_price_motes
        if amount:
            try:
                self._asset().reserve_fee(transaction.sender, amount)
            except ContractError as failure:
                raise InsufficientFundsError(amount, int(failure.numbers["have"])) from failure

    def attempt(self, tx_id: bytes, sender: Address, calls: Sequence[Call], gas_limit: int, size_bytes: int) -> Simulation:
        """Run all of the calls or none and return the receipt: a failure reverts writes and events and keeps the gas used."""
        machine = self._machine
        meter = machine.begin(tx_id, sender, gas_limit)
        overlay = machine.storage.overlay
        mark = overlay.mark()
        try:
            meter.charge(gas.intrinsic(size_bytes))
            results = tuple([_invoke(machine, call, sender, MethodKind.WRITE) for call in calls])
        except ContractError as failure:
            overlay.rollback(mark)
            error = failure.to_execution_error()
            return Simulation(_receipt(tx_id, Status.FAILED, meter, error=error), failure)
        return Simulation(_receipt(tx_id, Status.SUCCEEDED, meter, results, tuple(machine.events)), None)

    def finish(self) -> BlockExecution:
        """Pay the block's fees out and return what it does."""
        if self._fees:
            self._asset().pay_fee(self._context.fee_account, self._fees)
        return BlockExecution((*self._receipts, *self._scheduled), self._machine.storage.overlay.changes, self._gas_used)

    def _settle(self, transaction: Transaction, gas_used: int) -> None:
        price = self._context.gas_price_motes
        self._fees += gas_used * price
        unused = (transaction.body.gas_limit - gas_used) * price
        if unused:
            self._asset().pay_fee(transaction.sender, unused)

    def _asset(self) -> Asset:
        """Return the contract that moves money."""
        asset: Asset = self._unmetered(ASSET)
        return asset

    def _unmetered(self, name: str) -> Any:
        """Return a contract that the runtime itself uses, with a meter that no transaction pays."""
        self._machine.storage.meter = GasMeter(gas.UNLIMITED)
        return self._machine.instance(self._registry.entry(name))


def _receipt(
    tx_id: bytes,
    status: Status,
    meter: GasMeter,
    results: tuple[Value, ...] = (),
    events: tuple[Any, ...] = (),
    error: ExecutionError | None = None,
    kind: ReceiptKind = ReceiptKind.TRANSACTION,
) -> Receipt:
    return Receipt(kind, tx_id, status, meter.used, results, events, error)


def _check_size(transaction: Transaction, max_gas: int, max_bytes: int) -> None:
    """Raise `TooLargeError` for a transaction that fits into no block."""
    limit = gas.max_gas_limit(max_gas)
    if transaction.body.gas_limit > limit:
        hint = "set a smaller gas limit; tx_simulate says what is used"
        raise TooLargeError("the transaction's gas limit", limit=limit, got=transaction.body.gas_limit, hint=hint)
    if len(transaction.raw) > max_bytes:
        raise TooLargeError("the transaction", limit=max_bytes, got=len(transaction.raw))


def _prepare(registry: Registry, call: Call, kind: MethodKind) -> tuple[Entry, MethodSpec, list[Any]]:
    """Return what a call stands for, with its arguments decoded. Raises `ContractError`."""
    try:
        entry, method = registry.route(call.contract, call.method)
        if method.kind is not kind:
            raise ContractError(CoreError.WRONG_KIND, method=method.name, kind=method.kind.value)
        return entry, method, method.decode_args(call.args)
    except ContractError as failure:
        failure.within(call.contract)
        raise


def _invoke(machine: Machine, call: Call, sender: Address, kind: MethodKind) -> Value:
    """Run one call and return its canonical result. Raises `ContractError`."""
    machine.storage.meter.charge(gas.ARGUMENT * count_values(call.args))
    entry, method, args = _prepare(machine.registry, call, kind)
    machine.require_enabled(entry, method)
    result = machine.run(entry, method, sender, args)
    if result is None and method.returns.kind is Kind.NONE:
        return None
    try:
        value = method.returns.encode(result)
    except BadEncodingError as error:
        defect = ContractError(CoreError.CONTRACT_DEFECT, method=method.name, problem=error.message)
        raise defect.within(entry.name) from error
    machine.storage.meter.charge(gas.RECEIPT_BYTE * len(encode_trusted(value)))
    return value

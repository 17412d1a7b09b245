"""What a contract may know and do: who calls, the block's time, ids, events, and calls of other contracts.

There is no other clock and no other randomness; everything here is the same on every node.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Concatenate, Final, ParamSpec, TypeVar, overload

from ledger.block import MAX_EVENTS, Event
from ledger.codec import Value, as_tuple, decode, encode_trusted
from ledger.errors import BadEncodingError, InvalidInputError, invariant
from ledger.hashing import ZERO_HASH, Tag, digest
from ledger.policy import ADDRESS_BYTES
from ledger.transaction import MAX_ARGS
from ledger.types import Address, Height
from vm import gas
from vm.abi import MethodKind, MethodSpec
from vm.errors import ContractError, CoreError
from vm.gas import GasMeter
from vm.overlay import Overlay, StateReader
from vm.storage import Storage

if TYPE_CHECKING:
    from vm.contract import Contract
    from vm.registry import Entry, Registry

MAX_DEPTH: Final = 8
RECENT_BLOCKS: Final = 100
"""How many blocks back contracts can name a block: execution is told exactly these, so that all nodes answer alike."""
CALENDAR: Final = "schedule"
"""The name of the contract that keeps what is to come."""
MULTISIG: Final = "multisig"
"""The name of the contract that collects the approvals of a key policy, and then acts as its account."""
NOBODY: Final = Address(bytes(ADDRESS_BYTES))
"""The sender of reads and of genesis: an address no key has."""

P = ParamSpec("P")
R = TypeVar("R")


@dataclass(frozen=True, slots=True)
class BlockContext:
    """What execution takes from the block, its ancestors and the chain's parameters. `max_gas` bounds the block.

    `recent_hashes` are the hashes of the blocks right before this one: the last `RECENT_BLOCKS`, or as many as there are.
    `disabled` contracts refuse calls that write; what they have in the calendar waits.

    The chain's parameters are state: the governance contract keeps them, and is given those of genesis as the genesis argument
    named `parameters` (`genesis.arguments`). So no contract learns them from here.
    """

    height: Height
    timestamp_ms: int
    gas_price_motes: int
    fee_account: Address
    max_gas: int
    recent_hashes: Mapping[Height, bytes] = field(default_factory=lambda: MappingProxyType({}), repr=False)
    disabled: frozenset[str] = frozenset()


class Context:
    """One call as its contract sees it. `sender` called it (the signer or a contract), `origin` signed the transaction."""

    __slots__ = ("_depth", "_entry", "_machine", "contract", "height", "now_ms", "origin", "sender", "tx_id")

    def __init__(self, machine: "Machine", entry: "Entry", sender: Address, depth: int) -> None:
        self._machine = machine
        self._entry = entry
        self._depth = depth
        self.sender = sender
        self.origin = machine.origin
        self.contract = entry.address
        self.tx_id = machine.tx_id
        self.height = machine.block.height
        self.now_ms = machine.block.timestamp_ms

    def new_id(self) -> bytes:
        """Return 32 bytes that no other call on this chain gets."""
        return self._machine.new_id()

    def emit(self, event: object) -> None:
        """Put an event, an instance of one of the contract's event classes, into the receipt."""
        self._machine.emit(self._entry, event)

    def block_hash(self, height: int) -> bytes | None:
        """Return the hash of one of the `RECENT_BLOCKS` blocks before this one, None for any other height."""
        block = self._machine.block
        self._machine.storage.meter.charge(gas.READ)
        return block.recent_hashes.get(Height(height)) if block.height - RECENT_BLOCKS <= height < block.height else None

    def schedule(self, due_ms: int, method: Callable[..., None], *args: Any) -> int:
        """Have the chain call one of this contract's own scheduled methods at `due_ms` (Unix milliseconds); return an id.

        It runs by itself, isolated from all else, in the first block stamped so or later that has room; its sender is the
        contract. Raises `ContractError` BAD_TIME unless that lies ahead.
        """
        return self._machine.schedule(self._entry, due_ms, method, args)

    def cancel_schedule(self, entry_id: int) -> None:
        """Take an entry of this contract out of the calendar again. Raises `ContractError` where it has run or never was."""
        self._machine.calendar().cancel(self._entry.name, entry_id)

    def charge(self, amount: int) -> None:
        """Charge gas for work that storage access does not show: long loops, pricing, parsing."""
        self._machine.storage.meter.charge(amount)

    @overload
    def call(self, method: Callable[Concatenate[Any, "Context", P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    @overload
    def call(self, method: Callable[Concatenate[Any, P], R], /, *args: P.args, **kwargs: P.kwargs) -> R: ...
    def call(self, method: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Call another contract: `ctx.call(Asset.transfer, to, amount)`. It sees this contract as its sender.

        A failure reverts what the call did and goes on as `ContractError`; calls nest at most 8 deep.
        """
        return self._machine.call_between(self._entry, self._depth + 1, method, args, kwargs)

    def invoke(self, contract: str, method: str, args: bytes) -> Value:
        """Call a method that is known only now, such as one that was voted for; as `call`, with the arguments in canonical bytes.

        Sender and origin are this contract: whoever signed the transaction did not sign this call. Returns the canonical result.
        Raises `ContractError`, also for what is no canonical list of the method's arguments.
        """
        return self._machine.invoke(self._entry.address, self._depth + 1, contract, method, args)

    def act_for(self, owner: Address, contract: str, method: str, args: bytes) -> Value:
        """As `invoke`, but as if `owner` had signed the call: for the contract that has collected its keys' approvals."""
        invariant(self._entry.name == MULTISIG, "only the multisig contract acts for others")
        return self._machine.invoke(owner, self._depth + 1, contract, method, args)


class Machine:
    """The mutable state of one execution: overlay, gas, events, and the contracts bound to them."""

    __slots__ = ("_contracts", "_ids", "block", "events", "origin", "registry", "storage", "tx_id")

    def __init__(self, registry: "Registry", state: StateReader, block: BlockContext, *, frozen: bool = False) -> None:
        self.registry = registry
        self.block = block
        self.storage = Storage(Overlay(state), GasMeter(gas.UNLIMITED), frozen=frozen)
        self.events: list[Event] = []
        self.tx_id: bytes = ZERO_HASH
        self.origin = NOBODY
        self._ids = 0
        self._contracts: dict[str, Contract] = {}

    def begin(self, tx_id: bytes, origin: Address, gas_limit: int) -> GasMeter:
        """Start a transaction: a fresh meter, no events, ids from its own id."""
        self.tx_id = tx_id
        self.origin = origin
        self.events = []
        self._ids = 0
        self.storage.meter = meter = GasMeter(gas_limit)
        return meter

    def instance(self, entry: "Entry") -> "Contract":
        """Return the contract bound to this execution's storage."""
        found = self._contracts.get(entry.name)
        if found is None:
            found = self._contracts[entry.name] = entry.cls(entry.name, self.storage)
        return found

    def run(self, entry: "Entry", method: MethodSpec, sender: Address, args: list[Any], depth: int = 1) -> Any:
        """Run a method with Python arguments and return its Python result.

        Raises `ContractError`: the contract's own, a bound of the runtime, or CONTRACT_DEFECT where its code broke. The text of
        the exception stays out of the receipt, since it differs between Python versions.
        """
        try:
            self.storage.meter.charge(gas.CALL)
            if method.takes_context:
                return method.function(self.instance(entry), Context(self, entry, sender, depth), *args)
            return method.function(self.instance(entry), *args)
        except ContractError as failure:
            failure.within(entry.name)
            raise
        except InvalidInputError as error:
            bad = ContractError(CoreError.BAD_INPUT, reason=error.reason, problem=error.message)
            raise bad.within(entry.name) from error
        except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
            defect = ContractError(CoreError.CONTRACT_DEFECT, method=method.name, exception=type(error).__name__)
            raise defect.within(entry.name) from error

    def call_between(
        self, caller: "Entry", depth: int, function: Callable[..., Any], args: tuple[Any, ...], kwargs: dict[str, Any]
    ) -> Any:
        """Run a method for another contract: as `run`, plus the depth bound, checked arguments and a revert of its own."""
        entry, method = self.registry.of_function(function)
        names = (param.name for param in method.params[len(args) :])
        positional = (*args, *(kwargs[name] for name in names)) if kwargs else args
        self._require_callable(entry, method, depth)
        self.storage.meter.charge(gas.ARGUMENT * count_values(method.encode_args(positional)))
        return self._nested(entry, method, caller.address, list(positional), depth)

    def invoke(self, signer: Address, depth: int, contract: str, name: str, raw_args: bytes) -> Value:
        """Run a method by its name and canonical arguments as if `signer` had called it; return its canonical result."""
        args = _arguments(raw_args)
        self.storage.meter.charge(gas.ARGUMENT * count_values(args))
        entry, method = self.registry.route(contract, name)
        self._require_callable(entry, method, depth)
        origin, self.origin = self.origin, signer
        try:
            result: Value = self._nested(entry, method, signer, method.decode_args(args), depth, canonical=True)
            return result
        finally:
            self.origin = origin

    def require_enabled(self, entry: "Entry", method: MethodSpec) -> None:
        """Raise `ContractError` CONTRACT_DISABLED for a call that would write with a contract that is switched off."""
        if entry.name in self.block.disabled and method.kind is MethodKind.WRITE:
            raise ContractError(CoreError.CONTRACT_DISABLED).within(entry.name)

    def _require_callable(self, entry: "Entry", method: MethodSpec, depth: int) -> None:
        if depth > MAX_DEPTH:
            raise ContractError(CoreError.CALL_DEPTH, limit=MAX_DEPTH)
        if method.kind in (MethodKind.GENESIS, MethodKind.SCHEDULED):
            raise ContractError(CoreError.WRONG_KIND, method=method.name)
        self.require_enabled(entry, method)

    def _nested(
        self, entry: "Entry", method: MethodSpec, sender: Address, args: list[Any], depth: int, *, canonical: bool = False
    ) -> Any:
        storage = self.storage
        mark, events, frozen = storage.overlay.mark(), len(self.events), storage.frozen
        storage.frozen = frozen or method.kind is MethodKind.READ
        try:
            result = self.run(entry, method, sender, args, depth)
            return self._canonical(method, result) if canonical else result
        except ContractError:
            storage.overlay.rollback(mark)
            del self.events[events:]
            raise
        finally:
            storage.frozen = frozen

    def _canonical(self, method: MethodSpec, result: Any) -> Value:
        """Return the canonical form of a result, charged like arguments: a list of structures takes as long to make."""
        value = method.returns.encode(result)
        self.storage.meter.charge(gas.ARGUMENT * count_values((value,)))
        return value

    def calendar(self) -> Any:
        """Return the contract that keeps what is to come (`vm.contracts.schedule.Schedule`). Raises `ContractError` READ_ONLY."""
        if self.storage.frozen:
            raise ContractError(CoreError.READ_ONLY)
        return self.instance(self.registry.entry(CALENDAR))

    def schedule(self, entry: "Entry", due_ms: int, function: Callable[..., None], args: tuple[Any, ...]) -> int:
        """Put a call of one of the contract's own scheduled methods into the calendar."""
        owner, method = self.registry.of_function(getattr(function, "__func__", function))
        if owner is not entry or method.kind is not MethodKind.SCHEDULED:
            raise TypeError(f"{method.name} is not a scheduled method of {entry.name}")
        if due_ms <= self.block.timestamp_ms:
            raise ContractError(CoreError.BAD_TIME, due_ms=due_ms, now_ms=self.block.timestamp_ms)
        added: int = self.calendar().add(entry.name, method.name, encode_trusted(method.encode_args(args)), due_ms)
        return added

    def new_id(self) -> bytes:
        """Return the digest of the transaction's id and a counter."""
        self._ids += 1
        return digest(Tag.CONTRACT_ID, self.tx_id, self._ids.to_bytes(8, "big"))

    def emit(self, entry: "Entry", event: object) -> None:
        """Add an event of `entry`, charging by byte."""
        if self.storage.frozen:
            raise ContractError(CoreError.READ_ONLY)
        if len(self.events) >= MAX_EVENTS:
            raise ContractError(CoreError.TOO_MANY_EVENTS, limit=MAX_EVENTS)
        spec = entry.spec.events.get(type(event))
        if spec is None:
            raise TypeError(f"{type(event).__name__} is not an event of {entry.name}")
        values: Any = spec.encode(event)
        self.storage.meter.charge(gas.EVENT + gas.RECEIPT_BYTE * len(encode_trusted(values)))
        self.events.append(Event(entry.name, spec.name, values))


def _arguments(raw: bytes) -> tuple[Value, ...]:
    """Return the arguments of canonical bytes. What a library says of others is left out: a receipt must not depend on it."""
    try:
        return as_tuple(decode(raw), "arguments", max_items=MAX_ARGS)
    except BadEncodingError as error:
        raise ContractError(CoreError.BAD_ARGUMENTS, problem="not the canonical bytes of a list", bytes=len(raw)) from error


def count_values(args: tuple[Value, ...]) -> int:
    """Return how many values the arguments are made of, lists and their items alike."""
    count, lists = 0, [args]
    while lists:
        items = lists.pop()
        count += len(items)
        lists += [item for item in items if type(item) is tuple]
    return count

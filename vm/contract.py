"""What a contract's author imports: the base class, the decorators, storage, types and `require`.

    class Counter(Contract, errors=CounterError, events=(Counted,)):
        '''Counts what each account sends.'''

        counts: Map[Address, U64]

        @write
        def add(self, ctx: Context, step: U32) -> U64:
            '''Add `step` to the sender's count. Emits Counted.'''
            require(step > 0, CounterError.BAD_STEP, step=step)
            self.counts[ctx.sender] = total = self.counts.get(ctx.sender, 0) + step
            ctx.emit(Counted(ctx.sender, total))
            return total

        @read
        def count_of(self, account: Address) -> U64:
            '''Return an account's count.'''
            return self.counts.get(account, 0)

The errors are a `StrEnum`: a member's name is the stable code, its value the sentence for people. The events are frozen
dataclasses. One line in `vm/registry.py` puts the contract on the chain.
"""

from collections.abc import Callable, Iterable
from enum import StrEnum
from typing import Any, ClassVar, Final, TypeVar, get_args, get_origin, get_type_hints

from ledger.types import Address, Motes
from vm.abi import ContractSpec, FieldSpec, MethodKind, event_spec, method_spec
from vm.abi_types import I64, U8, U16, U32, U64, Bounds, Bytes, Bytes32, SignedMotes, Text, summary, type_spec
from vm.context import Context
from vm.errors import ContractError
from vm.storage import Item, Map, Storage

__all__ = [
    "I64",
    "U8",
    "U16",
    "U32",
    "U64",
    "Address",
    "Bounds",
    "Bytes",
    "Bytes32",
    "Context",
    "Contract",
    "Item",
    "Map",
    "Motes",
    "SignedMotes",
    "Text",
    "genesis",
    "read",
    "require",
    "scheduled",
    "write",
]

F = TypeVar("F", bound=Callable[..., Any])

_KIND: Final = "__contract_method_kind__"


def write(function: F) -> F:
    """Mark a method that transactions and contracts call and that may change the state."""
    setattr(function, _KIND, MethodKind.WRITE)
    return function


def read(function: F) -> F:
    """Mark a method that only reads: for queries and for other contracts."""
    setattr(function, _KIND, MethodKind.READ)
    return function


def genesis(function: F) -> F:
    """Mark the method that runs once, when the chain starts."""
    setattr(function, _KIND, MethodKind.GENESIS)
    return function


def scheduled(function: F) -> F:
    """Mark a method that the chain itself calls at a time asked for by `ctx.schedule(due_ms, self.method, ...)`."""
    setattr(function, _KIND, MethodKind.SCHEDULED)
    return function


def require(condition: bool, error: StrEnum, **numbers: int | str) -> None:
    """Fail the call with `error` and the numbers a person needs, unless `condition` holds."""
    if not condition:
        raise ContractError(error, **numbers)


class Contract:
    """Base of all contracts. Annotated `Map` and `Item` attributes are its storage, decorated methods its interface."""

    spec: ClassVar[ContractSpec]

    def __init_subclass__(cls, *, errors: type[StrEnum] | None = None, events: Iterable[type] = ()) -> None:
        super().__init_subclass__()
        marked = [item for item in vars(cls).values() if hasattr(item, _KIND)]
        methods = [method_spec(function, getattr(function, _KIND), Context) for function in marked]
        if sum(method.kind is MethodKind.GENESIS for method in methods) > 1:
            raise TypeError(f"{cls.__name__} has more than one genesis method")
        compiled = {event: event_spec(event) for event in events}
        cls.spec = ContractSpec(
            methods={method.name: method for method in methods},
            events=compiled,
            event_names={event.name: event for event in compiled.values()},
            errors=tuple(errors or ()),
            storage=_storage_fields(cls),
            doc=summary(cls),
        )

    def __init__(self, name: str, storage: Storage) -> None:
        for field in self.spec.storage:
            access: Map[Any, Any] | Item[Any]
            access = Item(storage, name, field) if field.key is None else Map(storage, name, field)
            setattr(self, field.name, access)


def _storage_fields(cls: type) -> tuple[FieldSpec, ...]:
    found = []
    for name, hint in get_type_hints(cls, include_extras=True).items():
        args = get_args(hint)
        if get_origin(hint) is Map:
            found.append(FieldSpec(name, type_spec(args[0]), type_spec(args[1])))
        elif get_origin(hint) is Item:
            found.append(FieldSpec(name, None, type_spec(args[0])))
        elif name != "spec":
            raise TypeError(f"{cls.__name__}.{name} must be a Map or an Item: a contract has no other attributes")
    return tuple(found)

"""The shape of a contract's values for people: the ABI's types with names, units, docs and defaults at every part."""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from datacar.units import DATR, DATR_SYMBOL, Unit, money, unit_of
from ledger.codec import Value
from vm.abi import EventSpec, MethodSpec, Param
from vm.abi_types import Kind, TypeSpec

_CALL_PARTS: Final = (("contract", Kind.TEXT), ("method", Kind.TEXT), ("args", Kind.BYTES))


@dataclass(frozen=True, slots=True)
class Default:
    """The canonical value that a part has when it is not given."""

    value: Value


@dataclass(frozen=True, slots=True)
class Shape:
    """A named value. `spec` is its type without `T | None`, which `optional` says; `parts` are a struct's fields, a tuple's items
    or a list's one item; `unit` is a number's.
    """

    name: str
    spec: TypeSpec
    doc: str
    optional: bool
    unit: Unit | None
    parts: tuple["Shape", ...]
    default: Default | None

    @property
    def kind(self) -> Kind:
        """Return the kind of its type."""
        return self.spec.kind

    @property
    def is_call(self) -> bool:
        """Return whether it is a call of a contract to be made later: its arguments are canonical bytes of that method's."""
        return self.kind is Kind.STRUCT and tuple((part.name, part.kind) for part in self.parts) == _CALL_PARTS

    @property
    def may_be_left_out(self) -> bool:
        """Return whether it has a value without anyone giving one."""
        return (
            self.optional
            or self.default is not None
            or (self.kind is Kind.STRUCT and all(part.may_be_left_out for part in self.parts))
            or (self.kind is Kind.LIST and self.spec.low == 0)
        )

    def in_money(self, unit: Unit) -> "Shape":
        """Return it with all amounts in another asset's unit."""
        own = unit if self.kind is Kind.MOTES else self.unit
        return replace(self, unit=own, parts=tuple(part.in_money(unit) for part in self.parts))


Money: TypeAlias = Callable[[str], Unit]
"""Returns the unit of an asset's amounts by its symbol."""


def priced(parts: tuple[Shape, ...], values: Mapping[str, Value], money_of: Money) -> tuple[Shape, ...]:
    """Return parts that stand together, with amounts in the asset whose `symbol` is among their values (else DATR).

    An asset that is described there itself has its `decimals` beside the symbol.
    """
    symbol, decimals = values.get("symbol"), values.get("decimals")
    if not isinstance(symbol, str):
        return parts
    stated = money(symbol, decimals) if type(decimals) is int else None
    unit = DATR if symbol == DATR_SYMBOL else stated or money_of(symbol)
    return tuple(part.in_money(unit) for part in parts)


def of_params(method: MethodSpec) -> tuple[Shape, ...]:
    """Return the shapes of a method's parameters; defaults are known for our own contracts' methods."""
    hints = get_type_hints(method.function, include_extras=True)
    return _of_parts(method.params, hints)


def of_result(method: MethodSpec) -> Shape:
    """Return the shape of what a method returns."""
    return _shape("", method.returns, "", None, None)


def of_event(event: EventSpec) -> tuple[Shape, ...]:
    """Return the shapes of an event's fields."""
    return _of_parts(event.fields, {})


def _of_parts(params: tuple[Param, ...], hints: Mapping[str, Any]) -> tuple[Shape, ...]:
    return tuple(_shape(param.name, param.type, param.doc, hints.get(param.name), None) for param in params)


def _shape(name: str, spec: TypeSpec, doc: str, hint: Any, default: Default | None) -> Shape:
    optional = spec.kind is Kind.OPTIONAL
    inner = spec.items[0] if optional else spec
    return Shape(name, inner, doc, optional, unit_of(name, inner, doc), _parts(name, inner, doc, _bare(hint)), default)


def _parts(name: str, spec: TypeSpec, doc: str, hint: Any) -> tuple[Shape, ...]:
    """Return the shapes inside a type; a list's item goes by the list's name. `hint` is its annotation, None where unknown."""
    match spec.kind:
        case Kind.LIST:
            return (_shape(name, spec.items[0], doc, _item_hint(hint, 0), None),)
        case Kind.TUPLE:
            items = enumerate(spec.items)
            return tuple(_shape(str(number + 1), item, "", _item_hint(hint, number), None) for number, item in items)
        case Kind.STRUCT:
            return _fields(spec, hint)
        case _:
            return ()


def _fields(spec: TypeSpec, hint: Any) -> tuple[Shape, ...]:
    known = isinstance(hint, type) and is_dataclass(hint)
    hints = get_type_hints(hint, include_extras=True) if known else {}
    defaults = {item.name: item.default for item in fields(hint) if item.default is not MISSING} if known else {}
    return tuple(
        _shape(name, item, doc, hints.get(name), Default(item.encode(defaults[name])) if name in defaults else None)
        for name, item, doc in zip(spec.names, spec.items, spec.docs, strict=True)
    )


def _bare(hint: Any) -> Any:
    """Return an annotation without `Annotated`, `NewType` and `T | None` around it."""
    while True:
        if get_origin(hint) is Annotated:
            hint = get_args(hint)[0]
        elif hasattr(hint, "__supertype__"):
            hint = hint.__supertype__
        elif get_origin(hint) in (Union, types.UnionType):
            hint = next(arg for arg in get_args(hint) if arg is not type(None))
        else:
            return hint


def _item_hint(hint: Any, number: int) -> Any:
    args = get_args(hint)
    return args[number] if number < len(args) else None

"""The shape of a contract's values for people: the ABI's types with names, units, docs and defaults at every part."""

import types
from collections.abc import Callable, Mapping
from dataclasses import MISSING, dataclass, fields, is_dataclass, replace
from typing import Annotated, Any, Final, TypeAlias, Union, get_args, get_origin, get_type_hints

from datacar.units import BASE, DATR, DATR_SYMBOL, Unit, money, unit_of
from ledger.codec import Value
from vm.abi import EventSpec, FieldSpec, MethodSpec, Param
from vm.abi_types import Kind, TypeSpec
from vm.amount_assets import HOLD, OF_THE_HOLD, SYMBOL, asset_beside

ORDER: Final = "order_id"
OF_THE_ORDER: Final = "what is reported to the order"
NAMING: Final = (SYMBOL, "decimals", HOLD, ORDER)
"""What, standing beside numbers, says what they are counted in."""
_REPORTED: Final = ("quantity", "reported")
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
        return self.with_unit(unit, lambda part: part.kind is Kind.MOTES)

    def counted_in(self, unit: Unit) -> "Shape":
        """Return it with what may be a number of units or a base in this unit."""
        return self.with_unit(unit, lambda part: part.unit is BASE)

    def reported_as(self, unit: Unit) -> "Shape":
        """Return it with what was reported to an order in this unit."""
        return self.with_unit(unit, lambda part: part.kind is Kind.INT and part.name in _REPORTED)

    def has(self, wanted: "Callable[[Shape], bool]") -> bool:
        """Return whether it or a part of it is a wanted one."""
        return wanted(self) or any(part.has(wanted) for part in self.parts)

    def with_unit(self, unit: Unit, wanted: "Callable[[Shape], bool]") -> "Shape":
        """Return it with the numbers that are wanted in a unit."""
        own = unit if wanted(self) else self.unit
        return replace(self, unit=own, parts=tuple(part.with_unit(unit, wanted) for part in self.parts))


Money: TypeAlias = Callable[[str], Unit]
"""Returns the unit of an asset's amounts by its symbol, or by what `priced` names a hold's asset or an order's quantity."""


def is_symbol(asset: str) -> bool:
    """Return whether this is an asset's symbol, and not what a hold or an order is named by where a `Money` is asked."""
    return " " not in asset


def asset_named(values: Mapping[str, Value]) -> str | None:
    """Return the symbol of the asset that amounts beside these values are of, or what a hold's asset is named by; None: DATR."""
    found = asset_beside(tuple(values), tuple(values.values()))
    return _named(OF_THE_HOLD, values[HOLD]) if found == OF_THE_HOLD else found


def priced(parts: tuple[Shape, ...], values: Mapping[str, Value], money_of: Money) -> tuple[Shape, ...]:
    """Return parts that stand together in the units that `NAMING` ones among their values say; amounts are else in DATR.

    That is the asset whose `symbol` is there (one that is described there has its `decimals` beside it), the asset of the hold
    that something is paid out of, and for what is reported to an order a number of units or, of a percentage, money in DATR.
    """
    if values.get(ORDER) is not None and any(part.has(lambda item: item.unit is BASE) for part in parts):
        unit = money_of(_named(OF_THE_ORDER, values[ORDER]))
        parts = tuple(part.counted_in(unit) for part in parts)
    asset, decimals = asset_named(values), values.get("decimals")
    if asset is None or not (is_symbol(asset) or any(part.has(lambda item: item.kind is Kind.MOTES) for part in parts)):
        return parts
    stated = money(asset, decimals) if type(decimals) is int else None
    unit = DATR if asset == DATR_SYMBOL else stated or money_of(asset)
    return tuple(part.in_money(unit) for part in parts)


def _named(kind: str, thing_id: Value) -> str:
    return f"{kind} {'0x' + thing_id.hex() if isinstance(thing_id, bytes) else thing_id}"


def of_an_order(parts: tuple[Shape, ...]) -> tuple[Shape, ...]:
    """Return parts of what the order contract tells: what was reported to it is a number of units or a base, as it was given."""
    return tuple(part.reported_as(BASE) for part in parts)


def of_params(method: MethodSpec) -> tuple[Shape, ...]:
    """Return the shapes of a method's parameters; defaults are known for our own contracts' methods."""
    hints = get_type_hints(method.function, include_extras=True)
    return _of_parts(method.params, hints)


def of_result(method: MethodSpec) -> Shape:
    """Return the shape of what a method returns."""
    return _shape("", method.returns, "", None, None)


def of_field(field: FieldSpec) -> Shape:
    """Return the shape of what a storage field holds, or each entry of it."""
    return _shape("", field.value, "", None, None)


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

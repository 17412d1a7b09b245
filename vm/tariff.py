"""Charging tariffs: the types, strict reading of OCPI 2.2.1/2.3.0 tariff objects, and the canonical form kept on chain.

Prices and VAT percentages are decimals with at most 4 places, held as integers of 1/10,000 (`_e4`). All amounts are DATR
whatever the `currency` label says. When an element applies is in `vm.tariff_restrictions`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from ledger.codec import Value, as_int, as_str, as_tuple, fields
from ledger.errors import BadEncodingError
from vm.strict_json import FieldError, Node, parse, scaled_or_none
from vm.tariff_restrictions import Restrictions, read_restrictions

MOTES_PER_E4: Final = 10_000  # 1 DATR = 10^8 motes, so 1/10,000 DATR = 10^4 motes

# With these and the session limits of vm.pricing every total stays below 2^63 motes.
PRICE_E4_MAX: Final = 10**9  # 100,000 DATR per kWh, per hour or flat
VAT_PERCENT_E4_MAX: Final = 100 * 10**4
STEP_SIZE_MAX: Final = 10**6  # Wh or s
AMOUNT_E4_MAX: Final = 800_000_000 * 10**4  # all the DATR there is
ELEMENTS_MAX: Final = 16
COMPONENTS_MAX: Final = 16
TARIFF_ID_CHARS_MAX: Final = 36
CURRENCY_CHARS_MAX: Final = 8

# Descriptive OCPI fields that do not change a price.
_IGNORED: Final = (
    "country_code",
    "party_id",
    "type",
    "tariff_alt_text",
    "tariff_alt_url",
    "start_date_time",
    "end_date_time",
    "energy_mix",
    "last_updated",
)
_LIMIT_NAMES: Final = (("excl_vat", "incl_vat"), ("before_taxes", "after_taxes"))  # OCPI 2.2.1, 2.3.0


class BadTariffError(FieldError):
    """A tariff object that breaks the rules: `bad_tariff`, with the JSON path and the value."""

    word = "bad_tariff"


class Dimension(StrEnum):
    """What a price component prices (OCPI TariffDimensionType)."""

    FLAT = "FLAT"
    ENERGY = "ENERGY"
    TIME = "TIME"
    PARKING_TIME = "PARKING_TIME"

    @property
    def quantity_per_unit(self) -> int:
        """Return how many counted quantities (1, Wh, s) one priced unit (1, kWh, h) has."""
        return _QUANTITY_PER_UNIT[self]


_QUANTITY_PER_UNIT: Final = {
    Dimension.FLAT: 1,
    Dimension.ENERGY: 1_000,
    Dimension.TIME: 3_600,
    Dimension.PARKING_TIME: 3_600,
}


@dataclass(frozen=True, slots=True)
class PriceComponent:
    """The price of one dimension: DATR per kWh, per hour or flat, in 1/10,000.

    `vat_percent_e4` is in 1/10,000 percent, None = no VAT. `step_size` is the billed block in Wh or s (1 for FLAT).
    """

    dimension: Dimension
    price_e4: int
    vat_percent_e4: int | None
    step_size: int

    def to_value(self) -> Value:
        """Return [type, price_e4, vat_percent_e4 or nil, step_size]."""
        return (str(self.dimension), self.price_e4, self.vat_percent_e4, self.step_size)

    @classmethod
    def from_value(cls, value: Value) -> "PriceComponent":
        """Return the component of its canonical form. Raises `BadEncodingError`."""
        kind, price, vat, step = fields(value, 4, "price component")
        dimension = _dimension(as_str(kind, "price component type"))
        if dimension is None:
            raise BadEncodingError(f"unknown price component type {kind!r}")
        return cls(
            dimension,
            as_int(price, "price", high=PRICE_E4_MAX),
            None if vat is None else as_int(vat, "vat", high=VAT_PERCENT_E4_MAX),
            as_int(step, "step_size", low=1, high=1 if dimension is Dimension.FLAT else STEP_SIZE_MAX),
        )


@dataclass(frozen=True, slots=True)
class TariffElement:
    """Price components that hold together, at most one for each dimension; without restrictions they always do."""

    components: tuple[PriceComponent, ...]
    restrictions: Restrictions | None = None

    def to_value(self) -> Value:
        """Return [[component, ...], restrictions or nil]."""
        restrictions = None if self.restrictions is None else self.restrictions.to_value()
        return (tuple(component.to_value() for component in self.components), restrictions)

    @classmethod
    def from_value(cls, value: Value) -> "TariffElement":
        """Return the element of its canonical form. Raises `BadEncodingError`."""
        items, restricted = fields(value, 2, "tariff element")
        components = as_tuple(items, "price components", max_items=COMPONENTS_MAX)
        restrictions = None if restricted is None else Restrictions.from_value(restricted)
        element = cls(tuple(map(PriceComponent.from_value, components)), restrictions)
        _require_encoded(_components_problem(element.components))
        _require_encoded(None if restrictions is None else restrictions.problem())
        return element


@dataclass(frozen=True, slots=True)
class PriceLimit:
    """A minimum or maximum total in 1/10,000 DATR; `incl_vat_e4` is optional as in OCPI."""

    excl_vat_e4: int
    incl_vat_e4: int | None

    def to_value(self) -> Value:
        """Return [excl_vat_e4, incl_vat_e4 or nil]."""
        return (self.excl_vat_e4, self.incl_vat_e4)

    @classmethod
    def from_value(cls, value: Value) -> "PriceLimit":
        """Return the limit of its canonical form. Raises `BadEncodingError`."""
        excl, incl = fields(value, 2, "price limit")
        limit = cls(
            as_int(excl, "excl_vat", high=AMOUNT_E4_MAX),
            None if incl is None else as_int(incl, "incl_vat", high=AMOUNT_E4_MAX),
        )
        _require_encoded(_limit_problem(limit))
        return limit


@dataclass(frozen=True, slots=True)
class Tariff:
    """A tariff as it is priced and frozen on chain. `preauthorize_motes` is what `authorize` holds, None = not stated."""

    tariff_id: str
    currency: str
    elements: tuple[TariffElement, ...]
    min_price: PriceLimit | None = None
    max_price: PriceLimit | None = None
    preauthorize_motes: int | None = None

    @property
    def restricted(self) -> bool:
        """Return whether prices depend on anything but the session's totals."""
        return any(element.restrictions is not None for element in self.elements)

    def active_components(self) -> tuple[PriceComponent, ...]:
        """Return the one component that prices each dimension (of the first element that has it), in the tariff's order.

        For a tariff without restrictions; `vm.tariff_schedule` says it for others.
        """
        active: dict[Dimension, PriceComponent] = {}
        for element in self.elements:
            for component in element.components:
                active.setdefault(component.dimension, component)
        return tuple(active.values())

    def to_value(self) -> Value:
        """Return [tariff_id, currency, [element, ...], min_price or nil, max_price or nil, preauthorize_motes or nil]."""
        return (
            self.tariff_id,
            self.currency,
            tuple(element.to_value() for element in self.elements),
            None if self.min_price is None else self.min_price.to_value(),
            None if self.max_price is None else self.max_price.to_value(),
            self.preauthorize_motes,
        )

    @classmethod
    def from_value(cls, value: Value) -> "Tariff":
        """Return the tariff of its canonical form. Raises `BadEncodingError`, `TooLargeError`."""
        tariff_id, currency, elements, low, high, preauthorize = fields(value, 6, "tariff")
        items = as_tuple(elements, "tariff elements", max_items=ELEMENTS_MAX)
        _require_encoded(None if items else "a tariff needs at least one element")
        tariff = cls(
            _label_from_value(tariff_id, "tariff id", TARIFF_ID_CHARS_MAX),
            _label_from_value(currency, "currency", CURRENCY_CHARS_MAX),
            tuple(map(TariffElement.from_value, items)),
            None if low is None else PriceLimit.from_value(low),
            None if high is None else PriceLimit.from_value(high),
            None if preauthorize is None else as_int(preauthorize, "preauthorize", high=AMOUNT_E4_MAX * MOTES_PER_E4),
        )
        _require_encoded(_limits_problem(tariff.min_price, tariff.max_price))
        return tariff


def parse_tariff(text: str) -> Tariff:
    """Return the tariff of an OCPI tariff object in JSON text. Raises `BadTariffError` naming the JSON path and the value."""
    return read_tariff(parse(text, BadTariffError))


def read_tariff(node: Node) -> Tariff:
    """Return the tariff of a JSON object that stands inside another document. Raises the node's error."""
    member = node.members(
        required=("elements",),
        optional=("id", "currency", "min_price", "max_price", "preauthorize_amount", "tax_included", *_IGNORED),
    )
    _refuse_included_taxes(member.get("tax_included"))
    min_price = _read_limit(member.get("min_price"))
    max_price = _read_limit(member.get("max_price"))
    if problem := _limits_problem(min_price, max_price):
        member["min_price"].refuse(problem)
    return Tariff(
        tariff_id=member["id"].text(max_chars=TARIFF_ID_CHARS_MAX) if "id" in member else "",
        currency=member["currency"].text(max_chars=CURRENCY_CHARS_MAX) if "currency" in member else "",
        elements=tuple(map(_read_element, member["elements"].items(low=1, high=ELEMENTS_MAX))),
        min_price=min_price,
        max_price=max_price,
        preauthorize_motes=scaled_or_none(member.get("preauthorize_amount"), places=8, high=AMOUNT_E4_MAX * MOTES_PER_E4),
    )


def _refuse_included_taxes(node: Node | None) -> None:
    """Refuse OCPI 2.3.0's `tax_included: YES`: prices are read as excluding VAT."""
    if node is not None and node.text(max_chars=3) not in ("NO", "N/A"):
        node.refuse("prices must be given without taxes", hint='give net prices and "tax_included": "NO"')


def _read_element(node: Node) -> TariffElement:
    member = node.members(required=("price_components",), optional=("restrictions",))
    components = member["price_components"]
    element = TariffElement(
        tuple(map(_read_component, components.items(low=1, high=COMPONENTS_MAX))),
        read_restrictions(member["restrictions"]) if "restrictions" in member else None,
    )
    if problem := _components_problem(element.components):
        components.refuse(problem)
    return element


def _read_component(node: Node) -> PriceComponent:
    member = node.members(required=("type", "price"), optional=("vat", "step_size"))
    dimension = _dimension(member["type"].text(max_chars=32))
    if dimension is None:
        member["type"].refuse(f"must be one of {', '.join(Dimension)}")
    return PriceComponent(
        dimension=dimension,
        price_e4=member["price"].scaled(places=4, high=PRICE_E4_MAX),
        vat_percent_e4=scaled_or_none(member.get("vat"), places=4, high=VAT_PERCENT_E4_MAX),
        step_size=_read_step_size(node, dimension, member.get("step_size")),
    )


def _read_step_size(component: Node, dimension: Dimension, node: Node | None) -> int:
    """Return the step; a flat fee has no unit to step in, so whatever it states counts as 1."""
    if node is None:
        if dimension is not Dimension.FLAT:
            component.refuse('field "step_size" is missing', hint="1 bills every Wh or second")
        return 1
    if dimension is Dimension.FLAT:
        node.scaled(places=0, high=STEP_SIZE_MAX)
        return 1
    return node.scaled(places=0, low=1, high=STEP_SIZE_MAX)


def _read_limit(node: Node | None) -> PriceLimit | None:
    """Read `min_price` or `max_price` under the names of OCPI 2.2.1 or of 2.3.0."""
    if node is None:
        return None
    excl_name, incl_name = _LIMIT_NAMES[isinstance(node.value, dict) and "before_taxes" in node.value]
    member = node.members(required=(excl_name,), optional=(incl_name,))
    limit = PriceLimit(
        member[excl_name].scaled(places=4, high=AMOUNT_E4_MAX),
        scaled_or_none(member.get(incl_name), places=4, high=AMOUNT_E4_MAX),
    )
    if problem := _limit_problem(limit):
        node.refuse(problem)
    return limit


def _dimension(text: str) -> Dimension | None:
    return Dimension(text) if text in Dimension.__members__ else None


def _label_from_value(value: Value, what: str, max_chars: int) -> str:
    label = as_str(value, what, max_chars=max_chars)
    _require_encoded(None if label.isprintable() else f"{what} must be printable")
    return label


def _components_problem(components: Sequence[PriceComponent]) -> str | None:
    """Return why the components do not make an element, or None."""
    if not components:
        return "an element needs at least one price component"
    if len({component.dimension for component in components}) < len(components):
        return "an element may price each type once"
    return None


def _limit_problem(limit: PriceLimit) -> str | None:
    """Return why the limit contradicts itself, or None."""
    if limit.incl_vat_e4 is not None and limit.incl_vat_e4 < limit.excl_vat_e4:
        return "the limit including VAT must not be below the one excluding VAT"
    return None


def _limits_problem(low: PriceLimit | None, high: PriceLimit | None) -> str | None:
    """Return why the two limits contradict each other, or None."""
    if low is None or high is None:
        return None
    if low.excl_vat_e4 > high.excl_vat_e4:
        return "min_price must not be above max_price (excluding VAT)"
    if low.incl_vat_e4 is not None and high.incl_vat_e4 is not None and low.incl_vat_e4 > high.incl_vat_e4:
        return "min_price must not be above max_price (including VAT)"
    return None


def _require_encoded(problem: str | None) -> None:
    if problem is not None:
        raise BadEncodingError(problem, hint="encode a tariff that parse_tariff accepts")

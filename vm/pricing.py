"""What a charging session costs: one pure function for the contract and for offline quotes, integers only.

Amounts are in 1/10,000 DATR (`_e4`), quantities in Wh and seconds. Each component's cost, and its VAT on that same exact
cost, is an exact fraction rounded half up once; totals are the sums of what was rounded, then limited by min and max price.

step_size (OCPI 2.2.1, mod_cdrs, "Step_size") rounds up the session's total, once for ENERGY and once for TIME and
PARKING_TIME together: of the two only the one in use last, among those the tariff prices.

Here are tariffs without restrictions, where a session's totals are enough, and what all bills share. Where it matters when
something was used, `vm.session_pricing` works out the quantities.

min_price and max_price (OCPI 2.2.1, mod_tariffs): the limit excluding VAT bounds the net total and the one including VAT the
gross total; VAT is the difference. Where a limit that applies has no gross amount, VAT keeps its share of the net total.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from math import lcm
from typing import Final, TypeAlias

from vm.strict_json import FieldError
from vm.tariff import MOTES_PER_E4, Dimension, PriceComponent, PriceLimit, Tariff

ENERGY_WH_MAX: Final = 10**8  # 100 MWh in one session
SECONDS_MAX: Final = 10**8  # 3 years connected
_PERCENT_E4: Final = 100 * 10**4  # 100 % in 1/10,000 percent
_COMMON_UNIT: Final = lcm(*(dimension.quantity_per_unit for dimension in Dimension))

Exact: TypeAlias = int | Fraction
"""A quantity as it is: a price may change in the middle of a watt-hour."""


class BadSessionError(FieldError):
    """A session that cannot be: `bad_session`, with the field and the value."""

    word = "bad_session"


@dataclass(frozen=True, slots=True)
class ChargingPeriod:
    """A stretch of a session: energy taken, seconds charging, then seconds connected without charging.

    The totals of a whole session that charges and then parks are one period.
    """

    energy_wh: int
    charging_s: int
    parking_s: int

    def __post_init__(self) -> None:
        for name, value, high in (
            ("energy_wh", self.energy_wh, ENERGY_WH_MAX),
            ("charging_s", self.charging_s, SECONDS_MAX),
            ("parking_s", self.parking_s, SECONDS_MAX),
        ):
            if not 0 <= value <= high:
                raise BadSessionError(f"must be within 0..{high}", path=name, value=value)


@dataclass(frozen=True, slots=True)
class ComponentCost:
    """One line of the bill: `quantity` in Wh, s or 1 (after step_size) at `price_e4` per kWh, h or 1."""

    dimension: Dimension
    quantity: Exact
    price_e4: int
    excl_vat_e4: int
    vat_e4: int


@dataclass(frozen=True, slots=True)
class Cost:
    """The bill of a session in 1/10,000 DATR. The lines add up to the totals unless min_price or max_price moved these."""

    components: tuple[ComponentCost, ...]
    excl_vat_e4: int
    vat_e4: int

    @property
    def incl_vat_e4(self) -> int:
        """Return the gross total: what the driver pays."""
        return self.excl_vat_e4 + self.vat_e4

    @property
    def incl_vat_motes(self) -> int:
        """Return the gross total in motes, exactly."""
        return self.incl_vat_e4 * MOTES_PER_E4


def whole(quantity: Exact) -> int:
    """Return a non-negative quantity rounded half up, for showing it."""
    return _half_up(quantity, 1)


def e4_text(amount_e4: int) -> str:
    """Return a non-negative amount of 1/10,000 as an exact decimal string with 4 places: 44000 -> "4.4000"."""
    return f"{amount_e4 // 10_000}.{amount_e4 % 10_000:04d}"


def price_session(tariff: Tariff, periods: Sequence[ChargingPeriod]) -> Cost:
    """Return what a session of these periods, in order of time, costs under the tariff.

    A dimension without a component, or without use, costs nothing and has no line; FLAT is due once for any session.
    Raises `BadSessionError` when the periods together exceed `ENERGY_WH_MAX` or `SECONDS_MAX`, and for a tariff with
    restrictions, which needs to know when: see `vm.session_pricing.price_profile`.
    """
    if tariff.restricted:
        raise BadSessionError("this tariff depends on when energy was drawn", path="periods", value=len(periods))
    used = _quantities(periods)
    active = tariff.active_components()
    stepped = _stepped_dimensions(active, periods)
    billed: list[tuple[PriceComponent, Exact]] = []
    for component in active:
        quantity = used[component.dimension]
        if component.dimension in stepped:
            quantity = round_up(quantity, component.step_size)
        if quantity:
            billed.append((component, quantity))
    return bill(tariff, billed)


def bill(tariff: Tariff, billed: Sequence[tuple[PriceComponent, Exact]]) -> Cost:
    """Return the bill of quantities after step_size, a line for each, within the tariff's limits."""
    lines = tuple(_component_cost(component, quantity) for component, quantity in billed)
    excl_e4, vat_e4 = _limited(tariff, billed, lines)
    return Cost(lines, excl_e4, vat_e4)


def _quantities(periods: Sequence[ChargingPeriod]) -> dict[Dimension, int]:
    """Return the session's total of each dimension, in Wh, s or 1."""
    energy_wh = sum(period.energy_wh for period in periods)
    charging_s = sum(period.charging_s for period in periods)
    parking_s = sum(period.parking_s for period in periods)
    if energy_wh > ENERGY_WH_MAX:
        raise BadSessionError(f"must be at most {ENERGY_WH_MAX} Wh in a session", path="energy_wh", value=energy_wh)
    if charging_s + parking_s > SECONDS_MAX:
        raise BadSessionError(f"must be at most {SECONDS_MAX} s", path="session time", value=charging_s + parking_s)
    return {
        Dimension.FLAT: 1,
        Dimension.ENERGY: energy_wh,
        Dimension.TIME: charging_s,
        Dimension.PARKING_TIME: parking_s,
    }


def _stepped_dimensions(active: Sequence[PriceComponent], periods: Sequence[ChargingPeriod]) -> frozenset[Dimension]:
    """Return the dimensions whose total step_size rounds up: ENERGY, and the priced time dimension in use last."""
    priced = {component.dimension for component in active}
    for period in reversed(periods):
        if period.parking_s and Dimension.PARKING_TIME in priced:
            return frozenset({Dimension.ENERGY, Dimension.PARKING_TIME})
        if period.charging_s and Dimension.TIME in priced:
            return frozenset({Dimension.ENERGY, Dimension.TIME})
    return frozenset({Dimension.ENERGY})


def _component_cost(component: PriceComponent, quantity: Exact) -> ComponentCost:
    """Return one line; VAT is taken on the exact cost, not on the rounded one, so each is rounded once."""
    numerator = quantity * component.price_e4
    unit = component.dimension.quantity_per_unit
    return ComponentCost(
        component.dimension,
        quantity,
        component.price_e4,
        excl_vat_e4=_half_up(numerator, unit),
        vat_e4=_half_up(numerator * (component.vat_percent_e4 or 0), unit * _PERCENT_E4),
    )


def _limited(tariff: Tariff, billed: Sequence[tuple[PriceComponent, Exact]], lines: Sequence[ComponentCost]) -> tuple[int, int]:
    """Return the totals (net, VAT) within min_price and max_price."""
    excl = sum(line.excl_vat_e4 for line in lines)
    incl = excl + sum(line.vat_e4 for line in lines)
    limit = _limit_passed(tariff, excl)
    if limit is not None:
        excl = limit.excl_vat_e4
        if limit.incl_vat_e4 is None:
            incl = excl + _vat_share(excl, billed)
    if tariff.min_price is not None and tariff.min_price.incl_vat_e4 is not None:
        incl = max(incl, tariff.min_price.incl_vat_e4)
    if tariff.max_price is not None and tariff.max_price.incl_vat_e4 is not None:
        incl = min(incl, tariff.max_price.incl_vat_e4)
    return excl, incl - excl


def _limit_passed(tariff: Tariff, excl_e4: int) -> PriceLimit | None:
    """Return the limit that the net total is outside of, if any."""
    if tariff.min_price is not None and excl_e4 < tariff.min_price.excl_vat_e4:
        return tariff.min_price
    if tariff.max_price is not None and excl_e4 > tariff.max_price.excl_vat_e4:
        return tariff.max_price
    return None


def _vat_share(excl_e4: int, billed: Sequence[tuple[PriceComponent, Exact]]) -> int:
    """Return the VAT in `excl_e4` at the average rate of what was billed; no VAT where nothing cost anything."""
    net: Exact = 0
    vat: Exact = 0
    for component, quantity in billed:
        cost = quantity * component.price_e4 * (_COMMON_UNIT // component.dimension.quantity_per_unit)
        net += cost
        vat += cost * (component.vat_percent_e4 or 0)
    return _half_up(excl_e4 * vat, net * _PERCENT_E4) if net else 0


def round_up(quantity: Exact, step: int) -> int:
    """Return the smallest multiple of `step` that is not below the quantity."""
    return -(-quantity // step) * step


def _half_up(numerator: Exact, denominator: Exact) -> int:
    """Return the non-negative fraction rounded to the nearest integer, halves up."""
    return (2 * numerator + denominator) // (2 * denominator)

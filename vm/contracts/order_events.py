"""What the standing orders' contract tells: one event for each step of an order. Units as in `order_types`."""

from dataclasses import dataclass
from typing import Final

from ledger.types import Address, Motes
from vm.abi_types import U16, U32, U64, Bytes32
from vm.contracts.order_types import OrderStatus, Reference


@dataclass(frozen=True, slots=True)
class Opened:
    """A payer gave a standing order; `first_ms` is when its first period falls due."""

    order_id: Bytes32
    payer: Address
    payee: Address
    reference: Reference
    first_ms: U64


@dataclass(frozen=True, slots=True)
class Reported:
    """The payee stated the base or the number of units of the next period, which makes it cost `amount`."""

    order_id: Bytes32
    payer: Address
    payee: Address
    period: U32
    quantity: U64
    amount: Motes


@dataclass(frozen=True, slots=True)
class FellDue:
    """A period fell due; it costs `amount`."""

    order_id: Bytes32
    period: U32
    due_ms: U64
    amount: Motes


@dataclass(frozen=True, slots=True)
class Paid:
    """The payee received money, for the oldest periods first."""

    order_id: Bytes32
    period: U32
    attempt: U16
    amount: Motes
    owed: Motes


@dataclass(frozen=True, slots=True)
class Short:
    """The payer had too little. What is `owed` is tried again at `next_ms`, by a retry or with the next period; none: no more."""

    order_id: Bytes32
    payer: Address
    payee: Address
    period: U32
    attempt: U16
    owed: Motes
    next_ms: U64 | None


@dataclass(frozen=True, slots=True)
class Lapsed:
    """What a period still owed was given up, as agreed."""

    order_id: Bytes32
    period: U32
    amount: Motes


@dataclass(frozen=True, slots=True)
class Settled:
    """Somebody paid what was owed, or some of it, without waiting for the next collection."""

    order_id: Bytes32
    by: Address
    amount: Motes
    owed: Motes


@dataclass(frozen=True, slots=True)
class CancelAsked:
    """The payer asks the payee to agree to the end of the order."""

    order_id: Bytes32
    payer: Address
    payee: Address


@dataclass(frozen=True, slots=True)
class Cancelled:
    """Nothing falls due after `end_ms`."""

    order_id: Bytes32
    payer: Address
    payee: Address
    by: Address
    end_ms: U64


@dataclass(frozen=True, slots=True)
class Ended:
    """The order is over: nothing can be drawn any more. `owed` is what was not paid; once it was settled this is said again."""

    order_id: Bytes32
    payer: Address
    payee: Address
    status: OrderStatus
    paid: Motes
    owed: Motes


EVENTS: Final = (Opened, Reported, FellDue, Paid, Short, Lapsed, Settled, CancelAsked, Cancelled, Ended)

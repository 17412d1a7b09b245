"""Toy contracts that reach every corner of the runtime."""

from dataclasses import dataclass
from enum import StrEnum

from ledger.codec import decode
from vm.contract import (
    U8,
    U32,
    U64,
    Address,
    Bytes,
    Bytes32,
    Context,
    Contract,
    Item,
    Map,
    Motes,
    Text,
    genesis,
    read,
    require,
    write,
)
from vm.contracts.asset import Asset, Balance
from vm.errors import ContractError


class ToyError(StrEnum):
    """Why a toy refuses."""

    TOLD_TO_FAIL = "it was told to fail"


class Colour(StrEnum):
    """A closed set of words."""

    RED = "red"
    BLUE = "blue"


@dataclass(frozen=True, slots=True)
class Noted:
    """A note was written."""

    key: Text
    value: U64


@dataclass(frozen=True, slots=True)
class Unlisted:
    """An event the toy forgot to declare."""

    value: U64


@dataclass(frozen=True, slots=True)
class Inner:
    """A part of a structure."""

    colour: Colour
    tag: U32 | None


@dataclass(frozen=True, slots=True)
class Outer:
    """A structure of everything.

    Args:
        parts: its parts
    """

    parts: tuple[Inner, ...]
    pair: tuple[bool, Bytes]
    owner: Address
    price: Motes


class Toy(Contract, errors=ToyError, events=(Noted,)):
    """Does what it is told."""

    notes: Map[Text, U64]
    outers: Map[tuple[U32, Colour], Outer]
    last: Item[U64]

    @genesis
    def start(self, first: U64) -> None:
        """Store the first value."""
        self.last.set(first)

    @write
    def note(self, ctx: Context, key: Text, value: U64) -> U64:
        """Write a note. Emits Noted.

        Args:
            key: what it is called
        """
        self.notes[key] = value
        self.last.set(value)
        ctx.emit(Noted(key, value))
        return value

    @write
    def note_and_fail(self, ctx: Context, key: Text, value: U64) -> None:
        """Write a note, then fail. Errors: TOLD_TO_FAIL."""
        self.note(ctx, key, value)
        require(False, ToyError.TOLD_TO_FAIL, value=value)

    @write
    def forget(self, key: Text) -> bool:
        """Delete a note; returns whether it was there."""
        there = key in self.notes
        del self.notes[key]
        return there

    @write
    def pay_then_fail(self, ctx: Context, to: Address, amount: Motes) -> None:
        """Move this contract's money by another contract, then fail."""
        ctx.call(Asset.transfer, to, amount)
        require(False, ToyError.TOLD_TO_FAIL)

    @write
    def pay(self, ctx: Context, to: Address, amount: Motes) -> Balance:
        """Move this contract's money by another contract and return what is left."""
        ctx.call(Asset.transfer, to=to, amount=amount)
        return ctx.call(Asset.balance_of, ctx.contract)

    @write
    def hold(self, ctx: Context, owner: Address, amount: Motes) -> Bytes32:
        """Hold an owner's money for this contract."""
        return ctx.call(Asset.hold, owner, amount, "toy", ctx.now_ms + 10_000)

    @write
    def capture(self, ctx: Context, hold_id: Bytes32, amount: Motes, to: Address) -> None:
        """Capture a hold of this contract."""
        ctx.call(Asset.capture, hold_id, amount, to)

    @write
    def release(self, ctx: Context, hold_id: Bytes32) -> None:
        """Release a hold of this contract."""
        ctx.call(Asset.release, hold_id)

    @write
    def swallow(self, ctx: Context, key: Text) -> Text:
        """Go on after a nested call failed, and return its code."""
        self.last.set(1)
        try:
            ctx.call(Toy.note_and_fail, key, 7)
        except ContractError as failure:
            return failure.failure_code
        return ""

    @write
    def dive(self, ctx: Context, left: U8) -> U8:
        """Call itself `left` more times through the runtime."""
        return left if left == 0 else ctx.call(Toy.dive, left - 1)

    @write
    def who(self, ctx: Context) -> tuple[Address, Address, Address, U64]:
        """Return the sender, the origin, the contract's own account and the block's time."""
        return (ctx.sender, ctx.origin, ctx.contract, ctx.now_ms)

    @write
    def who_through(self, ctx: Context) -> tuple[Address, Address, Address, U64]:
        """Return what a called contract sees."""
        return ctx.call(Toy.who)

    @write
    def ids(self, ctx: Context, count: U8) -> tuple[Bytes32, ...]:
        """Return fresh ids."""
        return tuple(ctx.new_id() for _ in range(count))

    @write
    def keep(self, outer: Outer) -> Outer:
        """Store a structure and return it as stored."""
        self.outers[1, Colour.RED] = outer
        return self.outers[1, Colour.RED]

    @write
    def shout(self, ctx: Context, times: U32) -> None:
        """Emit many events."""
        for value in range(times):
            ctx.emit(Noted("", value))

    @write
    def work(self, ctx: Context, amount: U64) -> None:
        """Use gas."""
        ctx.charge(amount)

    @write
    def break_down(self, ctx: Context, how: Text) -> U8:
        """Be a defective contract."""
        match how:
            case "divide":
                return 1 // (self.last.get(0) * 0)
            case "lookup":
                return self.notes["nothing here"]
            case "result":
                return 256
            case "event":
                ctx.emit(Unlisted(1))
            case "store":
                self.notes["big"] = 2**64
            case "argument":
                ctx.call(Asset.transfer, ctx.sender, Motes(-1))
            case "stranger":
                ctx.call(Stranger.act)
            case "input":
                decode(b"\xc1")
        return 0

    @read
    def get(self, key: Text) -> U64 | None:
        """Return a note."""
        return self.notes.get(key)

    @read
    def last_value(self) -> U64:
        """Return the last value."""
        return self.last.get(0)

    @read
    def sneaky(self, ctx: Context) -> U64:
        """Try to write in a read method."""
        return ctx.call(Toy.note, "sneaky", 1)

    @read
    def sneaky_event(self, ctx: Context) -> None:
        """Try to emit in a read method."""
        ctx.emit(Noted("sneaky", 1))

    @write
    def call_sneaky(self, ctx: Context) -> U64:
        """Call a read method that tries to write."""
        return ctx.call(Toy.sneaky)


class Stranger(Contract):
    """A contract that is not on the chain."""

    @write
    def act(self) -> None:
        """Do nothing."""

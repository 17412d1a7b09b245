"""Indexes of what committed blocks hold: transactions by address and contract, events by contract, name and topic.

Each receipt of a block leaves one entry under every *selector* that it answers to:

    y b                            every receipt
    y c  contract NUL              the contracts that it calls, or that spoke in it
    y e  contract NUL event NUL    the events in it
    y t  topic                     the sender, addresses among the arguments, addresses and 32-byte ids in events
    y m                            no selector: notes on what the index covers

An entry's key is the selector and the receipt's place, its value the numbers of the receipt's events that answer to the selector,
two bytes each. Places sort from the newest down, so that a list is read forwards and a question with several selectors is the
intersection of their entries. The whole index follows from the blocks: `index_block` is pure, `Indexer` keeps count of how far
down it reaches, `Sweeper` deletes what is of pruned blocks, and `datacar db reindex` makes it anew.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import islice
from typing import Any, Final, Self, TypeAlias

from ledger.block import MAX_EVENTS, Event, Receipt, ReceiptKind
from ledger.codec import as_int, decode, encode_trusted, fields
from ledger.hashing import HASH_BYTES
from ledger.policy import ADDRESS_BYTES
from ledger.store import Reader, Store
from ledger.transaction import Call, Transaction
from ledger.types import Height
from node.block_store import StorageError
from vm.abi import Param
from vm.abi_types import Kind, TypeSpec
from vm.registry import Registry

INDEX_PREFIX: Final = b"y"
EVERY: Final = INDEX_PREFIX + b"b"
NOTES_PREFIX: Final = INDEX_PREFIX + b"m"
REACH_KEY: Final = NOTES_PREFIX + b"r"
SWEPT_KEY: Final = NOTES_PREFIX + b"s"
REBUILDING_KEY: Final = NOTES_PREFIX + b"w"
"""Is there from when the index is deleted until it is whole again."""
PLACE_BYTES: Final = 8
TOPIC_BYTES: Final = 20  # of an address or id: two with the same 20 bytes take 2^76 tries to find, and would share a list

_CONTRACT: Final = INDEX_PREFIX + b"c"
_EVENT: Final = INDEX_PREFIX + b"e"
_TOPIC: Final = INDEX_PREFIX + b"t"
_INDEX_BITS: Final = 24
_MAX_INDEX: Final = 2**_INDEX_BITS - 1
_MAX_HEIGHT: Final = 2 ** (8 * PLACE_BYTES - _INDEX_BITS) - 1
_NUMBER_BYTES: Final = 2
_MARKS: Final = tuple(number.to_bytes(_NUMBER_BYTES) for number in range(MAX_EVENTS))
_ALL_MARKS: Final = b"".join(_MARKS)


@dataclass(frozen=True, slots=True)
class Place:
    """Where a receipt stands: the height of its block, and its number in it."""

    height: Height
    index: int

    def encode(self) -> bytes:
        """Return 8 bytes that sort from the newest place down."""
        return ((_MAX_HEIGHT - self.height) << _INDEX_BITS | (_MAX_INDEX - self.index)).to_bytes(PLACE_BYTES)

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return the place that `encode` gave these bytes for."""
        number = int.from_bytes(data)
        return cls(Height(_MAX_HEIGHT - (number >> _INDEX_BITS)), _MAX_INDEX - (number & _MAX_INDEX))


def newest(height: Height) -> Place:
    """Return the place from which on a list holds everything up to and with `height`."""
    return Place(height, _MAX_INDEX)


@dataclass(frozen=True, slots=True)
class Entry:
    """A receipt that answers to the selectors asked for, and the numbers of those of its events that do, ascending."""

    place: Place
    events: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Reach:
    """Every block of the heights `first` to `last` is in the index."""

    first: Height
    last: Height


# ---- selectors


def of_topic(topic: bytes) -> bytes:
    """Return the selector of an address or of a 32-byte id."""
    return _TOPIC + topic[:TOPIC_BYTES]


def of_contract(contract: str) -> bytes:
    """Return the selector of the transactions and events of a contract."""
    return _CONTRACT + contract.encode() + b"\0"


def of_event(contract: str, event: str) -> bytes:
    """Return the selector of one kind of event."""
    return _EVENT + contract.encode() + b"\0" + event.encode() + b"\0"


# ---- writing


def index_block(
    height: Height, transactions: Sequence[Transaction], receipts: Sequence[Receipt], registry: Registry
) -> dict[bytes, bytes]:
    """Return a block's entries, to be written with it. Runs in every commit, for some 5 us a transfer.

    Raises `StorageError` `store_corrupt` as `check_numbers` does.
    """
    check_numbers(height, transactions, receipts)
    plans = _plans(registry)
    pending = iter(transactions)
    entries: dict[bytes, bytes] = {}
    last = (_MAX_HEIGHT - height) << _INDEX_BITS | _MAX_INDEX
    for index, receipt in enumerate(receipts):
        events = receipt.events
        found = {EVERY: _ALL_MARKS[: _NUMBER_BYTES * len(events)]}
        if receipt.kind is ReceiptKind.TRANSACTION:
            transaction = next(pending)
            found[_TOPIC + transaction.sender[:TOPIC_BYTES]] = b""
            for call in transaction.body.calls:
                plans.index_call(call, found)
        if events:
            plans.index_events(events, found)
        place = (last - index).to_bytes(PLACE_BYTES)
        for selector, numbers in found.items():
            entries[selector + place] = numbers
    return entries


def check_numbers(height: Height, transactions: Sequence[Transaction], receipts: Sequence[Receipt]) -> None:
    """Raise `StorageError` unless each transaction has its receipt: they are stored apart, and read in step."""
    count = sum(receipt.kind is ReceiptKind.TRANSACTION for receipt in receipts)
    if count != len(transactions):
        raise StorageError(
            "store_corrupt",
            f"block {height} is damaged: {len(transactions)} transactions and the receipts of {count}",
            hint="run `datacar db verify --full`",
            height=height,
        )


class Indexer:
    """Makes the entries of the blocks that are committed one after the other, and the note of how far down they reach.

    A node that ran without its index, or was restored from a snapshot, goes on from where it stands: `Reach.first` says so. One
    whose `datacar db reindex` was broken off keeps no index until that has run to its end: lists would lack most of the past.
    """

    __slots__ = ("_broken_off", "_first", "_registry")

    def __init__(self, reader: Reader, registry: Registry, tip: Height | None) -> None:
        reach = read_reach(reader)
        self._registry = registry
        self._broken_off = reader.get(REBUILDING_KEY) is not None
        if reach is not None and reach.last == tip:
            self._first = reach.first
        else:
            self._first = Height(0) if tip is None else Height(tip + 1)

    def block(self, height: Height, transactions: Sequence[Transaction], receipts: Sequence[Receipt]) -> Mapping[bytes, bytes]:
        """Return what a commit writes for the block on the tip."""
        if self._broken_off:
            return {}
        entries = index_block(height, transactions, receipts, self._registry)
        entries[REACH_KEY] = reach_bytes(Reach(self._first, height))
        return entries


def reach_bytes(reach: Reach) -> bytes:
    """Return the value that stands under `REACH_KEY`."""
    return encode_trusted((reach.first, reach.last))


def read_reach(reader: Reader) -> Reach | None:
    """Return which blocks are in the index, or None where there is none."""
    data = reader.get(REACH_KEY)
    if data is None:
        return None
    first, last = fields(decode(data), 2, "reach of the index")
    return Reach(Height(as_int(first, "height")), Height(as_int(last, "height")))


# ---- reading


class Search:
    """Reads a question's entries step by step, newest first, from place `start` down to `end` (both may be among them).

    `step` makes one move of at most one look into each selector, so that a caller can do other things in between. Once `done`, or
    whenever it had enough: `entries` is what was found, `events` counts theirs, `position` is the place to go on from.
    """

    def __init__(self, store: Store, selectors: Sequence[bytes], start: Place, end: Place) -> None:
        self._store = store
        self._selectors = selectors
        self._next: bytes | None = start.encode()
        self._end = end.encode()
        self.entries: list[Entry] = []
        self.events = 0

    @property
    def done(self) -> bool:
        """Whether nothing is left to be found."""
        return self._next is None

    @property
    def position(self) -> Place | None:
        """The place that the next step looks at first."""
        return None if self._next is None else Place.decode(self._next)

    def step(self) -> None:
        """Take the next entry, or skip what one of the selectors does not have."""
        target = self._next
        if target is None:
            return
        numbers: set[int] | None = None
        for selector in self._selectors:
            key, value = next(self._store.iterate(selector, selector + target), (b"", b""))
            place = key[-PLACE_BYTES:]
            if not key or place > self._end:
                self._next = None
                return
            if place != target and numbers is not None:
                self._next = place  # the selectors before this one do not have it, or not known to: begin again from there
                return
            target = place
            here = set(_numbers(value))
            numbers = here if numbers is None else numbers & here
        self.entries.append(Entry(Place.decode(target), tuple(sorted(numbers or ()))))
        self.events += len(self.entries[-1].events)
        after = int.from_bytes(target) + 1
        self._next = after.to_bytes(PLACE_BYTES) if after <= int.from_bytes(self._end) else None


def _numbers(value: bytes) -> Iterator[int]:
    return (int.from_bytes(value[at : at + _NUMBER_BYTES]) for at in range(0, len(value), _NUMBER_BYTES))


# ---- where addresses and ids stand in arguments and events, compiled once for each contract

_Found: TypeAlias = dict[bytes, bytes]
_Walk: TypeAlias = Callable[[Any], Iterator[bytes]]


@dataclass(frozen=True, slots=True)
class _Plan:
    """What a call or an event answers to: its own selectors, and where in its values topics are."""

    selectors: tuple[bytes, ...]
    size: int
    plain: tuple[int, ...]
    nested: tuple[tuple[int, _Walk], ...]

    def topics(self, values: Sequence[Any], sizes: tuple[int, ...]) -> list[bytes]:
        """Return the selectors of the topics in values; arguments of failed calls may be anything: every shape is looked at."""
        if len(values) != self.size:
            return []
        found = [_TOPIC + value[:TOPIC_BYTES] for at in self.plain if type(value := values[at]) is bytes and len(value) in sizes]
        for at, walk in self.nested:
            found += [_TOPIC + topic[:TOPIC_BYTES] for topic in walk(values[at])]
        return found


_ARGUMENT_SIZES: Final = (ADDRESS_BYTES,)
_EVENT_SIZES: Final = (ADDRESS_BYTES, HASH_BYTES)


@dataclass(frozen=True, slots=True)
class _Plans:
    """The plans of all contracts of a registry."""

    calls: Mapping[tuple[str, str], _Plan]
    contracts: Mapping[str, bytes]
    events: Mapping[tuple[str, str], _Plan]

    def index_call(self, call: Call, found: _Found) -> None:
        """Add the contract and the addresses of a call; one that names no contract of the chain can only have failed."""
        plan = self.calls.get((call.contract, call.method))
        if plan is None:
            if (selector := self.contracts.get(call.contract)) is not None:
                found.setdefault(selector, b"")
            return
        found.setdefault(plan.selectors[0], b"")
        for selector in plan.topics(call.args, _ARGUMENT_SIZES):
            found.setdefault(selector, b"")

    def index_events(self, events: Sequence[Event], found: _Found) -> None:
        """Add the number of each event under its contract, its name and its topics."""
        for number, event in enumerate(events):
            plan = self.events.get((event.contract, event.name))
            if plan is None:
                continue
            mark = _MARKS[number]
            for selector in (*plan.selectors, *plan.topics(event.fields, _EVENT_SIZES)):
                numbers = found.get(selector)
                if not numbers:
                    found[selector] = mark
                elif not numbers.endswith(mark):  # two topics of one event may be the same
                    found[selector] = numbers + mark


@lru_cache(maxsize=8)
def _plans(registry: Registry) -> _Plans:
    calls: dict[tuple[str, str], _Plan] = {}
    events: dict[tuple[str, str], _Plan] = {}
    contracts = {name: of_contract(name) for name in registry.names()}
    for name, selector in contracts.items():
        spec = registry.entry(name).spec
        for method in spec.methods.values():
            calls[name, method.name] = _plan((selector,), method.params, _ARGUMENT_SIZES)
        for event in spec.event_names.values():
            events[name, event.name] = _plan((selector, of_event(name, event.name)), event.fields, _EVENT_SIZES)
    return _Plans(calls, contracts, events)


def _plan(selectors: tuple[bytes, ...], params: Sequence[Param], sizes: tuple[int, ...]) -> _Plan:
    specs = [param.type.items[0] if param.type.kind is Kind.OPTIONAL else param.type for param in params]
    plain = tuple(at for at, spec in enumerate(specs) if _is_topic(spec, sizes))
    walks = [(at, _walk(spec, sizes)) for at, spec in enumerate(specs) if at not in plain]
    return _Plan(selectors, len(params), plain, tuple((at, walk) for at, walk in walks if walk is not None))


def _is_topic(spec: TypeSpec, sizes: tuple[int, ...]) -> bool:
    return spec.kind is Kind.ADDRESS or (spec.kind is Kind.BYTES and HASH_BYTES in sizes and spec.low == spec.high == HASH_BYTES)


def _walk(spec: TypeSpec, sizes: tuple[int, ...]) -> _Walk | None:
    """Return what yields the topics inside values of a type, or None for a type that has none."""
    if _is_topic(spec, sizes):
        return lambda value: iter((value,) if type(value) is bytes and len(value) in sizes else ())
    parts = [_walk(item, sizes) for item in spec.items]
    if not any(parts):
        return None
    if spec.kind is Kind.OPTIONAL:
        return parts[0]

    def walk(value: Any) -> Iterator[bytes]:
        if type(value) is tuple:
            walks = parts * len(value) if spec.kind is Kind.LIST else parts
            for part, item in zip(walks, value, strict=False):
                if part is not None:
                    yield from part(item)

    return walk


# ---- forgetting


class Sweeper:
    """Deletes the entries of blocks that are no longer held, a few thousand keys at a time and over and over from the start.

    A round begins when what is to go may be a quarter of what stays: so an entry is looked at some four times in its life.
    """

    def __init__(self, store: Store) -> None:
        self._store = store
        self._position = b""
        self._floor = Height(0)
        self._swept = Height(int.from_bytes(store.get(SWEPT_KEY) or b""))

    def step(self, floor: Height, tip: Height, limit: int = 1_000) -> bool:
        """Look at the next `limit` entries and delete those below `floor`; return whether there is more to do now."""
        if not self._position:
            if (floor - self._swept) * 4 <= tip - floor or floor == self._swept:
                return False
            self._position, self._floor = EVERY, floor
        seen = list(islice(self._store.iterate(INDEX_PREFIX, self._position), limit))
        lowest = Place(self._floor, 0).encode()
        entries = (key for key, _ in seen if not key.startswith(NOTES_PREFIX))
        gone: dict[bytes, bytes | None] = {key: None for key in entries if key[-PLACE_BYTES:] > lowest}
        if len(seen) == limit:
            self._position = seen[-1][0] + b"\0"
            if gone:
                self._store.apply(gone)
            return True
        self._store.apply({**gone, SWEPT_KEY: self._floor.to_bytes(8)})
        self._position, self._swept = b"", self._floor
        return False

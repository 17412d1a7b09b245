"""`tx_list` and `event_list`: transactions and events by what they have to do with, from the newest down.

A list is of one moment: its cursor holds the height at which it began, and blocks that come later do not shift its pages.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Annotated, Final, Self, TypeVar

from ledger.block import MAX_EVENTS, ReceiptKind, Status
from ledger.errors import BadEncodingError, NotFoundError
from ledger.hashing import HASH_BYTES
from ledger.policy import parse_address
from ledger.types import Height
from node.indexes import EVERY, Entry, Place, Search, newest, of_contract, of_event, of_topic
from node.missing import pruned
from node.rpc import views
from node.rpc.call_views import receipt_steps, transaction_steps
from node.rpc.context import Context
from node.rpc.jsonrpc import InvalidParamsError, Json
from node.rpc.schema import (
    Address,
    Flag,
    HeightNumber,
    MethodTable,
    Name,
    ParamType,
    RefusedError,
    Schema,
    hex_bytes,
    integer,
    text,
)
from node.rpc.turns import Steps
from node.rpc.views import ADDRESS, HASH, INTEGER, TEXT, array, nullable, ref, shape
from vm.abi_json import event_to_json
from vm.errors import ContractError, CoreError

METHODS: Final = MethodTable()
MAX_LOOKS: Final = 1_000
LOOKS_A_TURN: Final = 50
MAX_FULL: Final = 20
"""Items of a page with whole transactions, of up to 64 KiB each."""

_CURSOR: Final = re.compile(r"[0-9]{1,15}(?:-[0-9]{1,15}){3}", re.ASCII)
_ID: Final = hex_bytes(HASH_BYTES)
T = TypeVar("T")


def _read_topic(value: Json) -> bytes:
    if isinstance(value, str) and value.startswith("0x"):
        found: bytes = _ID.read(value)
        return found
    if not isinstance(value, str):
        raise RefusedError("must be an address, or an id of 32 bytes as 0x hex")
    try:
        return parse_address(value)
    except BadEncodingError as error:
        raise RefusedError(error.message) from error


Limit = Annotated[int, integer(1, 100)]
Cursor = Annotated[str, text(64)]
Topic = Annotated[bytes, ParamType(_read_topic, {"oneOf": [ADDRESS, _ID.schema]})]


@dataclass(frozen=True, slots=True)
class Position:
    """Where a list goes on: the height at which it began, a receipt's place, and there the event's number."""

    began: Height
    place: Place
    event: int = MAX_EVENTS

    def __str__(self) -> str:
        return f"{self.began}-{self.place.height}-{self.place.index}-{self.event}"

    @classmethod
    def parse(cls, cursor: str, tip: Height) -> Self:
        """Return the position that a cursor stands for. Raises `InvalidParamsError` for one that was not given here."""
        numbers = list(map(int, cursor.split("-"))) if _CURSOR.fullmatch(cursor) else []
        if not numbers or not numbers[1] <= numbers[0] <= tip or numbers[2] > newest(tip).index:
            hint = "pass next_cursor back"
            raise InvalidParamsError("parameter cursor: not one that this method gave", hint=hint, parameter="cursor")
        return cls(Height(numbers[0]), Place(Height(numbers[1]), numbers[2]), numbers[3])


@dataclass(frozen=True, slots=True)
class Span:
    """What one page may hold: from where on, and down to which place."""

    position: Position
    end: Place


def _listed(item: Schema) -> Schema:
    return shape(items=array(item), next_cursor=nullable(TEXT), height=INTEGER, oldest=INTEGER)


_KIND: Final[Schema] = {"type": "string", "enum": ["transaction", "scheduled"]}
_PLACE: Final = {"id": HASH, "kind": _KIND, "height": INTEGER, "index": INTEGER, "timestamp_ms": INTEGER}


@METHODS.method(
    "tx_list",
    result=_listed(
        shape(
            _PLACE,
            status={"type": "string", "enum": ["succeeded", "failed"]},
            gas_used=INTEGER,
            transaction=nullable(ref("Transaction")),
            receipt=ref("Receipt"),
            optional=("transaction", "receipt"),
        )
    ),
)
async def tx_list(
    rpc: Context,
    address: Address | None = None,
    contract: Name | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
    full: Flag = False,
) -> Json:
    """Return transactions from the newest down: those an address sent, was named in or had events about; those of a contract.

    `full` adds each transaction and its receipt, to at most 20 items. `height` is where the list began and `oldest` how far down
    it reaches: blocks below are not held here. A page may be short, or empty, and still have a `next_cursor`.
    """
    limit = min(limit, MAX_FULL) if full else limit
    selectors = [] if address is None else [of_topic(address)]
    if contract is not None:
        selectors.append(of_contract(rpc.registry.entry(contract).name))
    span = _span(rpc, cursor)
    search = rpc.node.lists.search(selectors or [EVERY], span.position.place, span.end)
    await _run(rpc, search, lambda: len(search.entries) > limit)
    places = [Position(span.position.began, entry.place) for entry in search.entries]
    shown, after = _page(places, limit, search, span)
    items = await rpc.views(shown, lambda position: _transaction_steps(rpc, position.place, full=full), large=full)
    return _answer(rpc, items, after, span)


@METHODS.method(
    "event_list", result=_listed(shape(_PLACE, event_index=INTEGER, contract=TEXT, name=TEXT, fields={"type": "object"}))
)
async def event_list(
    rpc: Context,
    contract: Name | None = None,
    event: Name | None = None,
    topic: Topic | None = None,
    from_height: HeightNumber | None = None,
    to_height: HeightNumber | None = None,
    limit: Limit = 20,
    cursor: Cursor | None = None,
) -> Json:
    """Return events from the newest down: of a contract, of one of its kinds, and with an address or a 32-byte id in a field.

    The heights are both inclusive. `height`, `oldest` and short pages as in `tx_list`. Errors: pruned, for heights not held here.
    """
    selectors = [] if topic is None else [of_topic(topic)]
    selectors += _event_selectors(rpc, contract, event)
    span = _span(rpc, cursor, from_height, to_height)
    search = rpc.node.lists.search(selectors or [EVERY], span.position.place, span.end)
    await _run(rpc, search, lambda: search.events - _seen_before(search, span.position) > limit)
    positions = [item for entry in search.entries for item in _events_of(entry, span.position)]
    shown, after = _page(positions, limit, search, span)
    items = await rpc.views(shown, lambda position: _event_steps(rpc, position))
    return _answer(rpc, items, after, span)


def _event_selectors(rpc: Context, contract: str | None, event: str | None) -> list[bytes]:
    if contract is None:
        if event is not None:
            raise InvalidParamsError("parameter contract is missing", hint="name the event's contract", parameter="contract")
        return []
    entry = rpc.registry.entry(contract)
    if event is None:
        return [of_contract(contract)]
    if event not in entry.spec.event_names:
        raise ContractError(CoreError.UNKNOWN_EVENT, event=event).within(contract)
    return [of_event(contract, event)]


def _span(rpc: Context, cursor: str | None, low: int | None = None, high: int | None = None) -> Span:
    """Return what a page may hold. Raises `pruned` where it would begin below what is held."""
    tip, oldest = rpc.node.tip.height, rpc.node.lists.oldest()
    if cursor is None:
        top = Height(tip if high is None else min(high, tip))
        position = Position(tip, newest(top))
    else:
        position = Position.parse(cursor, tip)
    asked = cursor is not None or high is not None
    if asked and position.place.height < oldest:
        raise pruned("what the list would go on with", oldest, height=position.place.height)
    return Span(position, Place(Height(min(max(oldest, low or 0), tip + 1)), 0))


async def _run(rpc: Context, search: Search, enough: Callable[[], bool]) -> None:
    """Search until there is enough, in turns; stop after so many looks even when little was found."""

    def look(_turn: int) -> None:
        if not search.done and not enough():
            search.step()

    for _ in range(MAX_LOOKS // LOOKS_A_TURN):
        if search.done or enough():
            return
        await rpc.turns.each(range(LOOKS_A_TURN), look)


def _seen_before(search: Search, position: Position) -> int:
    """Return how many of the events found earlier pages had: they are of the first receipt."""
    return sum(
        number > position.event for entry in search.entries[:1] if entry.place == position.place for number in entry.events
    )


def _events_of(entry: Entry, position: Position) -> list[Position]:
    """Return the events of a receipt from the last down, without those that earlier pages had."""
    last = position.event if entry.place == position.place else MAX_EVENTS
    return [Position(position.began, entry.place, number) for number in reversed(entry.events) if number <= last]


def _page(found: list[Position], limit: int, search: Search, span: Span) -> tuple[list[Position], str | None]:
    """Return what is shown, and the cursor of the next page where more may follow."""
    if len(found) > limit:
        return found[:limit], str(found[limit])
    place = search.position
    return found, None if place is None else str(Position(span.position.began, place))


def _answer(rpc: Context, items: list[Json], after: str | None, span: Span) -> Json:
    """Return a page. `oldest` is as of now: while the page was being made, more may have been pruned than when it began."""
    return {"items": items, "next_cursor": after, "height": span.position.began, "oldest": rpc.node.lists.oldest()}


def _gone(rpc: Context, place: Place) -> NotFoundError:
    return pruned("what the list names", rpc.node.lists.oldest(), height=place.height)


def _transaction_steps(rpc: Context, place: Place, *, full: bool) -> Steps[Json]:
    node = rpc.node
    receipt = node.lists.receipt(place)
    if receipt is None:
        raise _gone(rpc, place)
    is_transaction = receipt.kind is ReceiptKind.TRANSACTION
    item = {
        **_place_view(rpc, place, receipt.id, is_transaction=is_transaction),
        "status": "succeeded" if receipt.status is Status.SUCCEEDED else "failed",
        "gas_used": receipt.gas_used,
    }
    if not full:
        return item
    if not is_transaction:
        return item | {"transaction": None, "receipt": (yield from receipt_steps(rpc.registry, receipt))}
    raw = node.lists.body(receipt)
    if raw is None:
        raise _gone(rpc, place)
    transaction = node.decode_transaction(raw)
    yield
    shown = yield from receipt_steps(rpc.registry, receipt, transaction.body.calls)
    return item | {"transaction": (yield from transaction_steps(rpc.registry, transaction)), "receipt": shown}


def _event_steps(rpc: Context, position: Position) -> Steps[Json]:
    place = position.place
    receipt = rpc.node.lists.receipt(place)
    if receipt is None:
        raise _gone(rpc, place)
    yield
    view = _place_view(rpc, place, receipt.id, is_transaction=receipt.kind is ReceiptKind.TRANSACTION)
    return view | {"event_index": position.event} | event_to_json(rpc.registry, receipt.events[position.event])


def _place_view(rpc: Context, place: Place, receipt_id: bytes, *, is_transaction: bool) -> Json:
    header = rpc.find_header(place.height)
    return {
        "id": views.hex_of(receipt_id),
        "kind": "transaction" if is_transaction else "scheduled",
        "height": place.height,
        "index": place.index,
        "timestamp_ms": header.timestamp_ms,
    }

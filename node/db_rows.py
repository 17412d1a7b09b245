"""The rows that `datacar db export` writes: blocks, transactions, events, accounts, and everything in the state.

Money that is a column of its own is an integer of motes and has `_motes` in its name. What a contract defines (arguments, events,
stored values) stands in the JSON forms of its ABI, as over RPC: money as decimal strings of motes, bytes as hex.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import StrEnum
from typing import Any, Final, TypeAlias

from ledger.block import Header, Receipt, ReceiptKind, Status
from ledger.codec import Value, as_int, as_str, as_tuple, decode
from ledger.policy import as_address, format_address
from ledger.transaction import Call
from ledger.types import Height
from node.block_store import BlockStore
from node.chain import Chain
from node.db_tools import Progress, heights, missing, receipts_of, transactions_of
from node.indexes import check_numbers
from node.rpc.call_views import datr
from vm.abi import FieldSpec
from vm.abi_json import call_to_json, event_to_json, untyped_to_json, value_to_json
from vm.contracts.asset import DATR
from vm.contracts.asset import NAME as ASSET
from vm.contracts.governance_events import ParameterSet
from vm.contracts.governance_rule_types import ParameterName
from vm.errors import ContractError
from vm.registry import Registry

Row: TypeAlias = dict[str, Any]


class What(StrEnum):
    """What can be exported."""

    BLOCKS = "blocks"
    TRANSACTIONS = "transactions"
    EVENTS = "events"
    ACCOUNTS = "accounts"
    STATE = "state"


@dataclass(frozen=True, slots=True)
class Range:
    """Which heights: blocks from `low` to `high`, the state after block `high`; None: from the oldest held, to the tip."""

    low: int | None = None
    high: int | None = None


@dataclass(frozen=True, slots=True)
class Source:
    """Where rows of one kind come from; each has exactly these columns in this order."""

    columns: tuple[str, ...]
    rows: Callable[[Chain, Range, Progress], Iterator[Row]]


# ---- blocks and what is in them


def _blocks(chain: Chain, wanted: Range, progress: Progress) -> Iterator[Row]:
    store = chain.store
    span = heights(store, wanted.low, wanted.high, store.held.headers_from)
    for number, height in enumerate(map(Height, span), 1):
        header = _header(store, height)
        yield {
            "height": height,
            "hash": _hex(header.hash(chain.genesis_hash)),
            "parent_hash": _hex(header.parent_hash),
            **_time(header),
            "proposer": header.proposer,
            "view": header.view,
            "transactions": len(store.tx_ids(height) or ()),
            "gas_used": header.gas_used,
            "transactions_root": _hex(header.transactions_root),
            "receipts_root": _hex(header.receipts_root),
            "state_root": _hex(header.state_root),
            "committee_hash": _hex(header.committee_hash),
            "next_committee_hash": _hex(header.next_committee_hash),
        }
        progress("exporting blocks", number, len(span))


def _transactions(chain: Chain, wanted: Range, progress: Progress) -> Iterator[Row]:
    registry, prices = chain.executor.registry, GasPrices(chain, wanted.low or 0, progress)
    for header, receipts in _receipts(chain, wanted, chain.store.held.bodies_from, progress):
        found = transactions_of(chain.store, chain.genesis_hash, header.height)
        check_numbers(header.height, found, receipts)
        transactions = iter(found)
        for index, receipt in enumerate(receipts):
            if receipt.kind is not ReceiptKind.TRANSACTION:
                continue
            transaction, error = next(transactions), receipt.error
            yield {
                **_place(header, index, transaction.id),
                "sender": format_address(transaction.sender),
                "status": "succeeded" if receipt.status is Status.SUCCEEDED else "failed",
                "gas_used": receipt.gas_used,
                "fee_motes": receipt.gas_used * prices.at(header.height),
                "error": None if error is None else f"{error.contract}: {error.code}",
                "reference": transaction.body.reference,
                "calls": [_call(registry, call) for call in transaction.body.calls],
            }


class GasPrices:
    """What gas cost in each block from `low` on, by the changes that governance has decided since: no state of then is needed.

    All receipts from there to the tip are read.
    """

    def __init__(self, chain: Chain, low: int, progress: Progress) -> None:
        store, tip = chain.store, chain.tip.height
        self._changes = [
            (height, as_int(event.fields[1], "gas price"))
            for height in _told(range(max(low, store.held.receipts_from, 1), tip + 1), progress)
            if ParameterSet.__name__.encode() in (store.receipts_bytes(height) or b"")
            for receipt in receipts_of(store, height)
            for event in receipt.events
            if event.name == ParameterSet.__name__ and event.fields[0] == ParameterName.GAS_PRICE_MOTES.value
        ]
        self._now = chain.parameters.gas_price_motes

    def at(self, height: Height) -> int:
        """Return the price in motes of a unit of gas in a block: a change holds from the block after it."""
        return next((old for changed, old in self._changes if changed >= height), self._now)


def _told(span: range, progress: Progress) -> Iterator[Height]:
    for number, height in enumerate(map(Height, span), 1):
        yield height
        progress("reading gas prices", number, len(span))


def _events(chain: Chain, wanted: Range, progress: Progress) -> Iterator[Row]:
    for header, receipts in _receipts(chain, wanted, chain.store.held.receipts_from, progress):
        for index, receipt in enumerate(receipts):
            for number, event in enumerate(receipt.events):
                place = {**_place(header, index, receipt.id), "kind": receipt.kind.name.lower(), "event_index": number}
                yield place | event_to_json(chain.executor.registry, event)


def _receipts(chain: Chain, wanted: Range, oldest: Height, progress: Progress) -> Iterator[tuple[Header, tuple[Receipt, ...]]]:
    """Yield each block that did something, with its receipts."""
    store = chain.store
    span = heights(store, wanted.low, wanted.high, max(oldest, store.held.receipts_from))
    for number, height in enumerate(map(Height, span), 1):
        if receipts := receipts_of(store, height):
            yield _header(store, height), receipts
        progress("exporting blocks", number, len(span))


def _header(store: BlockStore, height: Height) -> Header:
    header = store.header(height)
    if header is None:
        raise missing("header", height)
    return header


def _call(registry: Registry, call: Call) -> Row:
    try:
        found: Row = call_to_json(registry, call)
    except ContractError:  # it could only fail
        return {"contract": call.contract, "method": call.method, "args": untyped_to_json(call.args)}
    return found


def _place(header: Header, index: int, receipt_id: bytes) -> Row:
    return {"height": header.height, "index": index, "id": _hex(receipt_id), **_time(header)}


def _time(header: Header) -> Row:
    at = datetime.fromtimestamp(header.timestamp_ms // 1_000, UTC)
    return {"timestamp_ms": header.timestamp_ms, "time": f"{at:%Y-%m-%dT%H:%M:%S}.{header.timestamp_ms % 1_000:03}Z"}


def _hex(data: bytes) -> str:
    return "0x" + data.hex()


# ---- state


@dataclass(frozen=True, slots=True)
class _Entry:
    """A key of the state, taken apart: `key` is nil for an item, `spec` None for a field that no contract here has."""

    contract: str
    field: str
    spec: FieldSpec | None
    key: Value
    value: Value
    raw_key: bytes


def _entries(chain: Chain, wanted: Range, progress: Progress) -> Iterator[_Entry]:
    """Yield everything in the state after a block, in the order of the keys' hashes, each checked against the header's root."""
    tip = chain.tip.height
    version = chain.version(tip if wanted.high is None else Height(min(wanted.high, tip)))
    registry = chain.executor.registry
    fields = {(name, item.name): item for name in registry.names() for item in registry.entry(name).spec.storage}
    for key_hash, raw_key, raw in version.tree.items(version.root):
        contract, field, *rest = as_tuple(decode(raw_key), "state key", max_items=3)
        names = as_str(contract, "contract"), as_str(field, "field")
        yield _Entry(*names, fields.get(names), rest[0] if rest else None, decode(raw), raw_key)
        progress("exporting the state", int.from_bytes(key_hash[:2]), 2**16)


def _accounts(chain: Chain, wanted: Range, progress: Progress) -> Iterator[Row]:
    for entry in _entries(chain, wanted, progress):
        if (entry.contract, entry.field) == (ASSET, "accounts") and entry.spec is not None:
            asset, address = as_tuple(entry.key, "account key", max_items=2)
            balance = entry.spec.value.decode(entry.value)
            total = balance.free + balance.held + balance.locked
            yield {
                "address": format_address(as_address(address)),
                "asset": asset,
                "free_motes": balance.free,
                "held_motes": balance.held,
                "locked_motes": balance.locked,
                "total_motes": total,
                "total_datr": datr(total) if asset == DATR else None,
            }


def _state(chain: Chain, wanted: Range, progress: Progress) -> Iterator[Row]:
    for entry in _entries(chain, wanted, progress):
        spec = entry.spec
        yield {
            "contract": entry.contract,
            "field": entry.field,
            "key": untyped_to_json(entry.key) if spec is None or spec.key is None else value_to_json(spec.key, entry.key),
            "value": untyped_to_json(entry.value) if spec is None else value_to_json(spec.value, entry.value),
            "raw_key": _hex(entry.raw_key),
        }


_PLACE: Final = ("height", "index", "id", "timestamp_ms", "time")

SOURCES: Final[Mapping[What, Source]] = {
    What.BLOCKS: Source(
        (
            *("height", "hash", "parent_hash", "timestamp_ms", "time", "proposer", "view", "transactions", "gas_used"),
            *("transactions_root", "receipts_root", "state_root", "committee_hash", "next_committee_hash"),
        ),
        _blocks,
    ),
    What.TRANSACTIONS: Source(
        (*_PLACE, "sender", "status", "gas_used", "fee_motes", "error", "reference", "calls"), _transactions
    ),
    What.EVENTS: Source((*_PLACE, "kind", "event_index", "contract", "name", "fields"), _events),
    What.ACCOUNTS: Source(
        ("address", "asset", "free_motes", "held_motes", "locked_motes", "total_motes", "total_datr"), _accounts
    ),
    What.STATE: Source(("contract", "field", "key", "value", "raw_key"), _state),
}

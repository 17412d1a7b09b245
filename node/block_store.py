"""The chain in a store: one atomic synced batch a block, and what is read of it later (architecture, section Dependencies).

Works over any `ledger.store.Store` that can be closed; a node runs it over LevelDB (`node.storage`). Numbers in keys are
big-endian, so that iteration follows height.
"""

import itertools
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from types import MappingProxyType
from typing import Final, Protocol, Self

from ledger.block import Block, Header, Receipt
from ledger.certificate import QuorumCertificate
from ledger.codec import MAX_BYTES, Value, as_int, as_tuple, decode, encode_trusted, fields
from ledger.committee import Committee
from ledger.committee_chain import Handover
from ledger.errors import DatacarError
from ledger.hashing import HASH_BYTES
from ledger.state_tree import TreeUpdate
from ledger.store import Reader, Store
from ledger.types import BlockHash, Height, MemberId, TxId, View

SCHEMA_VERSION: Final = b"2"

# One prefix for each kind of record; the state tree keeps its own nodes under `sn` and `sl`, the indexes theirs under `y`.
_BLOCK: Final = b"b"
_CERTIFICATE: Final = b"c"
_RECEIPTS: Final = b"r"
_HEIGHT_OF_BLOCK: Final = b"h"
_IDS: Final = b"i"
_TRANSACTION: Final = b"t"
_VALUES: Final = (b"v", b"w")  # the flat state stands under one of them; a state that is installed grows under the other
STALE: Final = b"x"
_PENDING: Final = b"p"
_EVIDENCE: Final = b"e"
_HANDOVER: Final = b"k"
_META: Final = b"m"

_MAX_RECEIPTS_BYTES: Final = 256 * 1024 * 1024  # our own writing: bounded by the block's gas, not by this
_MAX_RECEIPTS: Final = 1_000_000
_NO_INDEX: Final[Mapping[bytes, bytes]] = MappingProxyType({})
MAX_EVIDENCE: Final = 16  # for each member: one is enough to convict it

_SCHEMA_KEY: Final = _META + b"schema"
_GENESIS_KEY: Final = _META + b"genesis"
_TIP_KEY: Final = _META + b"tip"
_HELD_KEY: Final = _META + b"held"
_VALUES_KEY: Final = _META + b"values"
_PINS_KEY: Final = _META + b"pins"
_BODIES_GONE_KEY: Final = _META + b"gone"


class StorageError(DatacarError):
    """The store cannot be used: damaged, in use by another process, or of another chain."""

    def __init__(self, reason: str, message: str, *, hint: str, **details: object) -> None:
        super().__init__(reason, message, hint=hint, **details)


@dataclass(frozen=True, slots=True)
class Held:
    """From which height on a node holds what; genesis, headers, certificates and ids of `headers_from` upwards always stay.

    `receipts_from` and `bodies_from` rise when blocks are pruned, `states_from` when old versions of the state are; a node that
    was restored from a snapshot of height H begins with the headers and receipts of the window before H, and bodies after it.
    """

    headers_from: Height
    receipts_from: Height
    bodies_from: Height
    states_from: Height

    def encode(self) -> bytes:
        """Return the canonical bytes."""
        return encode_trusted(astuple(self))

    @classmethod
    def decode(cls, data: bytes) -> Self:
        """Return what `encode` gave."""
        return cls(*(Height(as_int(item, "height held")) for item in fields(decode(data), 4, "heights held")))


_EVERYTHING: Final = Held(Height(0), Height(0), Height(0), Height(0))


class NodeStore(Store, Protocol):
    """A store that `apply` makes durable before it returns, and that is released at the end."""

    def close(self) -> None:
        """Release it."""
        ...


class Prefixed:
    """Reads a store under a prefix of its own: the flat view of the latest state."""

    __slots__ = ("_get", "prefix")

    def __init__(self, store: Store, prefix: bytes) -> None:
        self._get = store.get
        self.prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under prefix + key, or None."""
        return self._get(self.prefix + key)


class BlockStore:
    """The chain on disk. `commit` writes everything of a block at once; what it returns later was synced before."""

    def __init__(self, raw: NodeStore, where: str, genesis_hash: bytes) -> None:
        self.raw = raw
        self._check_chain(where, genesis_hash)
        self.state = Prefixed(raw, raw.get(_VALUES_KEY) or _VALUES[0])
        held = raw.get(_HELD_KEY)
        self.held = _EVERYTHING if held is None else Held.decode(held)
        pins = raw.get(_PINS_KEY)
        self.pins: tuple[Height, ...] = () if pins is None else _heights(pins)
        self._genesis_hash = genesis_hash

    def _check_chain(self, where: str, genesis_hash: bytes) -> None:
        schema, stored = self.raw.get(_SCHEMA_KEY), self.raw.get(_GENESIS_KEY)
        if schema not in (None, SCHEMA_VERSION):
            self.raw.close()
            hint = "use the version that wrote it, or sync into an empty folder"
            raise StorageError("store_version", f"{where} has schema {schema!r}, this is {SCHEMA_VERSION!r}", hint=hint)
        if stored not in (None, genesis_hash):
            self.raw.close()
            raise StorageError(
                "wrong_chain",
                f"{where} holds another chain",
                hint="use the genesis file it was made with, or another data folder",
                expected="0x" + genesis_hash.hex(),
                got="0x" + (stored or b"").hex(),
            )

    def close(self) -> None:
        """Release the directory."""
        self.raw.close()

    # ---- writing

    def commit(
        self,
        block: Block,
        block_hash: BlockHash,
        certificate: QuorumCertificate | None,
        receipts: Sequence[Receipt],
        tx_ids: Sequence[TxId],
        state: Mapping[bytes, bytes | None],
        tree: TreeUpdate,
        following: Committee,
        index: Mapping[bytes, bytes] = _NO_INDEX,
    ) -> None:
        """Write a decided block with everything that follows from it in one synced batch, and forget pending proposals.

        `following` is the committee after the block: kept where it is another than the block's own.
        """
        height = _number(block.header.height)
        encoded = encode_trusted(tuple(receipt.to_value() for receipt in receipts))
        changes = self._history(block.header.height, block_hash, encoded, tx_ids)
        changes[_BLOCK + height] = encode_trusted(block.to_value())
        changes[_TIP_KEY] = height
        if certificate is None:
            changes[_SCHEMA_KEY] = SCHEMA_VERSION
            changes[_GENESIS_KEY] = self._genesis_hash
        else:
            changes[_CERTIFICATE + height] = encode_trusted(certificate.to_value())
            if block.header.next_committee_hash != block.header.committee_hash:
                changes[_HANDOVER + height] = encode_trusted(Handover(certificate, following).to_value())
        prefix = self.state.prefix
        for key, value in state.items():
            changes[prefix + key] = value
        changes.update(tree.nodes)
        if tree.stale:
            changes[STALE + height] = encode_trusted(tree.stale)
        changes.update(index)
        changes.update((key, None) for key, _ in self.raw.iterate(_PENDING))
        self.raw.apply(changes)

    def _history(
        self, height: Height, block_hash: BlockHash, receipts: bytes, tx_ids: Sequence[TxId]
    ) -> dict[bytes, bytes | None]:
        """Return the records of what a block did and of the ids it held."""
        number = _number(height)
        changes: dict[bytes, bytes | None] = {
            _RECEIPTS + number: receipts,
            _HEIGHT_OF_BLOCK + block_hash: number,
            _IDS + number: b"".join(tx_ids),
        }
        for index, tx_id in enumerate(tx_ids):
            changes[_TRANSACTION + tx_id] = number + index.to_bytes(4)
        return changes

    def put_pending(self, block_hash: BlockHash, block: Block) -> None:
        """Sync a prepared block before our Commit for it may leave (rule 6)."""
        self.raw.apply({_PENDING + block_hash: encode_trusted(block.to_value())})

    def put_evidence(self, member: MemberId, height: Height, view: View, step: int, evidence: bytes) -> None:
        """Keep proof of an equivocation, unless there is enough of that member already."""
        prefix = _EVIDENCE + member.encode() + b"/"
        key = prefix + _number(height) + _number(view) + bytes([step])
        if self.raw.get(key) is None and sum(1 for _ in self.raw.iterate(prefix)) < MAX_EVIDENCE:
            self.raw.apply({key: evidence})

    # ---- forgetting (`node.pruning` decides what)

    def put_held(self, held: Held) -> None:
        """Note what is held from now on; the records below may go then."""
        self.raw.apply({_HELD_KEY: held.encode()})
        self.held = held

    def put_pins(self, pins: tuple[Height, ...]) -> None:
        """Note which versions of the state stay readable whatever is pruned."""
        self.raw.apply({_PINS_KEY: encode_trusted(pins)})
        self.pins = pins

    def forget_blocks(self, limit: int) -> bool:
        """Delete the bodies and receipts of up to `limit` heights that are not held; return whether there are more."""
        gone = self.raw.get(_BODIES_GONE_KEY)
        bodies, receipts = (1, 1) if gone is None else _heights(gone)
        changes: dict[bytes, bytes | None] = {}
        ends = min(bodies + limit, self.held.bodies_from), min(receipts + limit, self.held.receipts_from)
        changes.update((_BLOCK + _number(height), None) for height in range(bodies, ends[0]))
        changes.update((_RECEIPTS + _number(height), None) for height in range(receipts, ends[1]))
        if changes:
            changes[_BODIES_GONE_KEY] = encode_trusted((max(bodies, ends[0]), max(receipts, ends[1])))
            self.raw.apply(changes)
        return ends < (self.held.bodies_from, self.held.receipts_from)

    # ---- restoring (what is written here means nothing before `become`)

    @property
    def other_values(self) -> bytes:
        """Return the prefix under which the flat state of a snapshot is written beside the present one."""
        return _VALUES[1 - _VALUES.index(self.state.prefix)]

    def history_records(
        self, certificate: QuorumCertificate, receipts: bytes, tx_ids: Sequence[TxId]
    ) -> dict[bytes, bytes | None]:
        """Return the records of a block whose body is not there: certificate, the receipts' canonical bytes, hash and ids."""
        header = certificate.header
        changes = self._history(header.height, header.hash(self._genesis_hash), receipts, tx_ids)
        changes[_CERTIFICATE + _number(header.height)] = encode_trusted(certificate.to_value())
        return changes

    def become(self, tip: Height, held: Held, handovers: Iterable[Handover], more: Mapping[bytes, bytes | None]) -> None:
        """Make an installed state of height `tip` the node's in one synced batch; its window's history must be there.

        `handovers` are all changes of the committee up to and with `tip`; `more` is written with them.
        """
        values = self.other_values
        changes: dict[bytes, bytes | None] = dict(more)
        for handover in handovers:
            changes[_HANDOVER + _number(handover.certificate.header.height)] = encode_trusted(handover.to_value())
        changes.update((key, None) for key, _ in self.raw.iterate(_PENDING))
        changes |= {_TIP_KEY: _number(tip), _HELD_KEY: held.encode(), _VALUES_KEY: values, _PINS_KEY: encode_trusted((tip,))}
        changes[_BODIES_GONE_KEY] = encode_trusted((held.bodies_from, held.receipts_from))
        self.raw.apply(changes)
        self.held, self.pins = held, (tip,)
        self.state.prefix = values

    def unheld_records(self, height: Height) -> dict[bytes, bytes | None]:
        """Return the deletion of what is here of a block and not held: of the chain before a restored one, or above the tip."""
        held, number, tip = self.held, _number(height), self.tip_height()
        above = tip is None or height > tip
        changes: dict[bytes, bytes | None] = {}
        if above or height < held.bodies_from:
            changes[_BLOCK + number] = None
        if above or height < held.receipts_from:
            changes[_RECEIPTS + number] = None
        certificate = self.certificate(height) if above or height < held.headers_from else None
        if certificate is not None:
            changes[_CERTIFICATE + number] = changes[_IDS + number] = None
            changes[_HEIGHT_OF_BLOCK + certificate.header.hash(self._genesis_hash)] = None
            changes.update((_TRANSACTION + tx_id, None) for tx_id in self.tx_ids(height) or ())
        return changes

    # ---- reading

    def evidence(self) -> tuple[bytes, ...]:
        """Return all proof of equivocation, by member and then height."""
        return tuple(value for _, value in self.raw.iterate(_EVIDENCE))

    def tip_height(self) -> Height | None:
        """Return the height of the last committed block, or None for an empty store."""
        data = self.raw.get(_TIP_KEY)
        return None if data is None else Height(int.from_bytes(data))

    def block_bytes(self, height: Height) -> bytes | None:
        """Return a committed block's canonical bytes."""
        return self.raw.get(_BLOCK + _number(height))

    def certificate_bytes(self, height: Height) -> bytes | None:
        """Return a committed block's certificate's canonical bytes."""
        return self.raw.get(_CERTIFICATE + _number(height))

    def block(self, height: Height) -> Block | None:
        """Return a committed block with its bodies."""
        data = self.block_bytes(height)
        return None if data is None else Block.from_value(decode(data, max_bytes=2 * MAX_BYTES))

    def header(self, height: Height) -> Header | None:
        """Return a committed header; its certificate is a shorter way to it than its block, and stays when the body is pruned."""
        certificate = self.certificate(height)
        if certificate is not None:
            return certificate.header
        block = self.block(height)
        return None if block is None else block.header

    def handovers(self, below: Height) -> tuple[Handover, ...]:
        """Return every change of the committee in the blocks under `below`, in order."""
        found = (Handover.from_value(decode(value)) for _, value in self.raw.iterate(_HANDOVER))
        return tuple(itertools.takewhile(lambda handover: handover.certificate.header.height < below, found))

    def handover_bytes(self, first: Height, last: Height) -> Iterator[bytes]:
        """Yield the canonical bytes of each change of the committee in the blocks `first` to `last`, in order."""
        end = _HANDOVER + _number(last)
        for key, value in self.raw.iterate(_HANDOVER, _HANDOVER + _number(first)):
            if key > end:
                return
            yield value

    def hash_of(self, height: Height) -> BlockHash:
        """Return a committed block's hash. Raises `StorageError` where it is missing."""
        header = self.header(height)
        if header is None:
            hint = "see `datacar db verify`"
            raise StorageError("store_corrupt", f"the header of block {height} is missing", hint=hint, height=height)
        return header.hash(self._genesis_hash)

    def certificate(self, height: Height) -> QuorumCertificate | None:
        """Return a committed block's certificate; genesis has none."""
        data = self.certificate_bytes(height)
        return None if data is None else QuorumCertificate.from_value(decode(data))

    def receipts_bytes(self, height: Height) -> bytes | None:
        """Return a committed block's receipts' canonical bytes."""
        return self.raw.get(_RECEIPTS + _number(height))

    def receipts(self, height: Height) -> tuple[Receipt, ...] | None:
        """Return a committed block's receipts in order."""
        data = self.receipts_bytes(height)
        if data is None:
            return None
        value = decode(data, max_bytes=_MAX_RECEIPTS_BYTES, max_values=_MAX_RECEIPTS_BYTES)
        items: tuple[Value, ...] = as_tuple(value, "receipts", max_items=_MAX_RECEIPTS)
        return tuple(Receipt.from_value(item) for item in items)

    def tx_ids(self, height: Height) -> tuple[TxId, ...] | None:
        """Return the ids of a committed block's transactions in order; these lists are never pruned."""
        data = self.raw.get(_IDS + _number(height))
        return None if data is None else tuple(TxId(data[at : at + HASH_BYTES]) for at in range(0, len(data), HASH_BYTES))

    def height_of(self, block_hash: BlockHash) -> Height | None:
        """Return the height of a committed block."""
        data = self.raw.get(_HEIGHT_OF_BLOCK + block_hash)
        return None if data is None else Height(int.from_bytes(data))

    def find_transaction(self, tx_id: TxId) -> tuple[Height, int] | None:
        """Return the height and index at which a transaction was committed, or None.

        A height above the tip is that of a block which a state being installed has in its window.
        """
        data = self.raw.get(_TRANSACTION + tx_id)
        return None if data is None else (Height(int.from_bytes(data[:8])), int.from_bytes(data[8:]))

    def pending(self, block_hash: BlockHash) -> Block | None:
        """Return a prepared block of the current height, or None."""
        data = self.raw.get(_PENDING + block_hash)
        return None if data is None else Block.from_value(decode(data, max_bytes=2 * MAX_BYTES))


def stored_genesis(raw: Reader) -> bytes | None:
    """Return the genesis hash of the chain in a store, or None while there is none."""
    return raw.get(_GENESIS_KEY)


def _heights(data: bytes) -> tuple[Height, ...]:
    return tuple(Height(as_int(item, "height")) for item in as_tuple(decode(data), "heights", max_items=64))


def _number(value: int) -> bytes:
    return value.to_bytes(8)

"""The chain in a store: one atomic synced batch a block, and what is read of it later (architecture, section Dependencies).

Works over any `ledger.store.Store` that can be closed; a node runs it over LevelDB (`node.storage`). Numbers in keys are
big-endian, so that iteration follows height.
"""

import itertools
from collections.abc import Mapping, Sequence
from typing import Final, Protocol

from ledger.block import Block, Header, Receipt
from ledger.certificate import QuorumCertificate
from ledger.codec import MAX_BYTES, Value, as_tuple, decode, encode_trusted
from ledger.committee import Committee
from ledger.committee_chain import Handover
from ledger.errors import DatacarError, unreachable
from ledger.hashing import HASH_BYTES
from ledger.store import Store
from ledger.types import BlockHash, Height, MemberId, TxId, View

SCHEMA_VERSION: Final = b"1"

# One prefix for each kind of record; the state tree keeps its own nodes under `sn` and `sl`.
_BLOCK: Final = b"b"
_CERTIFICATE: Final = b"c"
_RECEIPTS: Final = b"r"
_HEIGHT_OF_BLOCK: Final = b"h"
_IDS: Final = b"i"
_TRANSACTION: Final = b"t"
_VALUE: Final = b"v"
_PENDING: Final = b"p"
_EVIDENCE: Final = b"e"
_HANDOVER: Final = b"k"
_META: Final = b"m"

_MAX_RECEIPTS_BYTES: Final = 256 * 1024 * 1024  # our own writing: bounded by the block's gas, not by this
_MAX_RECEIPTS: Final = 1_000_000
MAX_EVIDENCE: Final = 16  # for each member: one is enough to convict it

_SCHEMA_KEY: Final = _META + b"schema"
_GENESIS_KEY: Final = _META + b"genesis"
_TIP_KEY: Final = _META + b"tip"


class StorageError(DatacarError):
    """The store cannot be used: damaged, in use by another process, or of another chain."""

    def __init__(self, reason: str, message: str, *, hint: str, **details: object) -> None:
        super().__init__(reason, message, hint=hint, **details)


class NodeStore(Store, Protocol):
    """A store that `apply` makes durable before it returns, and that is released at the end."""

    def close(self) -> None:
        """Release it."""
        ...


class Prefixed:
    """Reads a store under a prefix of its own: the flat view of the latest state."""

    __slots__ = ("_get", "_prefix")

    def __init__(self, store: Store, prefix: bytes) -> None:
        self._get = store.get
        self._prefix = prefix

    def get(self, key: bytes) -> bytes | None:
        """Return the value stored under prefix + key, or None."""
        return self._get(self._prefix + key)


class BlockStore:
    """The chain on disk. `commit` writes everything of a block at once; what it returns later was synced before."""

    def __init__(self, raw: NodeStore, where: str, genesis_hash: bytes) -> None:
        self.raw = raw
        self.state = Prefixed(raw, _VALUE)
        self._check_chain(where, genesis_hash)
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
        nodes: Mapping[bytes, bytes],
        following: Committee,
    ) -> None:
        """Write a decided block with everything that follows from it in one synced batch, and forget pending proposals.

        `following` is the committee after the block: kept where it is another than the block's own.
        """
        height = _number(block.header.height)
        changes: dict[bytes, bytes | None] = {
            _BLOCK + height: encode_trusted(block.to_value()),
            _RECEIPTS + height: encode_trusted(tuple(receipt.to_value() for receipt in receipts)),
            _HEIGHT_OF_BLOCK + block_hash: height,
            _IDS + height: b"".join(tx_ids),
            _TIP_KEY: height,
        }
        if certificate is None:
            changes[_SCHEMA_KEY] = SCHEMA_VERSION
            changes[_GENESIS_KEY] = self._genesis_hash
        else:
            changes[_CERTIFICATE + height] = encode_trusted(certificate.to_value())
            if block.header.next_committee_hash != block.header.committee_hash:
                changes[_HANDOVER + height] = encode_trusted(Handover(certificate, following).to_value())
        for index, tx_id in enumerate(tx_ids):
            changes[_TRANSACTION + tx_id] = height + index.to_bytes(4)
        for key, value in state.items():
            changes[_VALUE + key] = value
        changes.update(nodes)
        changes.update((key, None) for key, _ in self.raw.iterate(_PENDING))
        self.raw.apply(changes)

    def put_pending(self, block_hash: BlockHash, block: Block) -> None:
        """Sync a prepared block before our Commit for it may leave (rule 6)."""
        self.raw.apply({_PENDING + block_hash: encode_trusted(block.to_value())})

    def put_evidence(self, member: MemberId, height: Height, view: View, step: int, evidence: bytes) -> None:
        """Keep proof of an equivocation, unless there is enough of that member already."""
        prefix = _EVIDENCE + member.encode() + b"/"
        key = prefix + _number(height) + _number(view) + bytes([step])
        if self.raw.get(key) is None and sum(1 for _ in self.raw.iterate(prefix)) < MAX_EVIDENCE:
            self.raw.apply({key: evidence})

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
        """Return a committed header."""
        block = self.block(height)
        return None if block is None else block.header

    def handovers(self, below: Height) -> tuple[Handover, ...]:
        """Return every change of the committee in the blocks under `below`, in order."""
        found = (Handover.from_value(decode(value)) for _, value in self.raw.iterate(_HANDOVER))
        return tuple(itertools.takewhile(lambda handover: handover.certificate.header.height < below, found))

    def hash_of(self, height: Height) -> BlockHash:
        """Return a committed block's hash; its certificate is a shorter way to the header than its bodies."""
        certificate = self.certificate(height)
        header = self.header(height) if certificate is None else certificate.header
        if header is None:
            unreachable(f"block {height} is not in the store")
        return header.hash(self._genesis_hash)

    def certificate(self, height: Height) -> QuorumCertificate | None:
        """Return a committed block's certificate; genesis has none."""
        data = self.certificate_bytes(height)
        return None if data is None else QuorumCertificate.from_value(decode(data))

    def receipts(self, height: Height) -> tuple[Receipt, ...] | None:
        """Return a committed block's receipts in order."""
        data = self.raw.get(_RECEIPTS + _number(height))
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
        """Return the height and index at which a transaction was committed, or None."""
        data = self.raw.get(_TRANSACTION + tx_id)
        return None if data is None else (Height(int.from_bytes(data[:8])), int.from_bytes(data[8:]))

    def pending(self, block_hash: BlockHash) -> Block | None:
        """Return a prepared block of the current height, or None."""
        data = self.raw.get(_PENDING + block_hash)
        return None if data is None else Block.from_value(decode(data, max_bytes=2 * MAX_BYTES))


def _number(value: int) -> bytes:
    return value.to_bytes(8)

"""Snapshots in files: what state sync fetches from members, in one file that anybody can check against the genesis.

    file    = head, handovers, history, state parts; each record a 4-byte length and so many canonical bytes
    head    = ["datacar snapshot", 1, genesis hash, certificate, number of handovers, number of blocks of history]
    handover, then [certificate, receipts] from the snapshot's height down, then [path, part] from the state's root down

Every record is checked as soon as it is read: signatures lead from genesis to the certificate of the header, and its roots check
the rest. A snapshot holds no key and no sign-state.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import BinaryIO, Final

from ledger.certificate import QuorumCertificate
from ledger.codec import Value, as_bytes, as_int, decode, encode_trusted, fields
from ledger.committee_chain import Handover
from ledger.errors import BadEncodingError, InvalidInputError, NotFoundError, TooLargeError
from ledger.state_parts import Fork, as_path, cut, part_from_value
from ledger.state_tree import StateTree
from ledger.types import Height
from node.block_store import BlockStore
from node.chain import Chain
from node.history import Committees, HistoryJobs
from node.install import Installation
from node.missing import pruned
from node.snapshot_server import CACHE_BYTES

MAGIC: Final = "datacar snapshot"
VERSION: Final = 1
LENGTH_BYTES: Final = 4
MAX_RECORD_BYTES: Final = 64 * 1024 * 1024
_MAX_VALUES: Final = 65_536
_FIRST: Final = Height(1)


class BadSnapshotError(InvalidInputError):
    """A snapshot file that is damaged, forged, cut short, or of another chain. `offset` is where the bad record begins."""

    def __init__(self, message: str, *, reason: str = "bad_snapshot", **details: object) -> None:
        super().__init__(reason, message, hint="fetch the file again, or take a snapshot of another node", **details)


@dataclass(frozen=True, slots=True)
class Step:
    """How far the writing or reading of a snapshot is."""

    height: Height
    blocks: int
    parts: int
    keys: int
    expected_keys: int
    size_bytes: int


# ---- writing


def write_snapshot(chain: Chain, height: Height, file: BinaryIO) -> Iterator[Step]:
    """Write the snapshot of a height that is kept, yielding after each record: the chain may go on meanwhile.

    Raises `NotFoundError` when the version or the history that it needs is not kept.
    """
    writer = _Writer(chain, height, file)
    yield from writer.trust_and_history()
    yield from writer.state()


class _Writer:
    def __init__(self, chain: Chain, height: Height, file: BinaryIO) -> None:
        self._chain = chain
        self._height = height
        self._file = file
        self._root = chain.version(height).root
        self._blocks = self._parts = self._keys = self._size = 0

    def trust_and_history(self) -> Iterator[Step]:
        store, height = self._chain.store, self._height
        certificate = store.certificate(height)
        if certificate is None:
            raise NotFoundError(
                "not_found", "genesis is no snapshot: it follows from the genesis file", hint="name a later height"
            )
        start = self._chain.window_start(certificate.header)
        lowest = max(1, store.held.headers_from, start - 1)  # the block before the window says where it begins
        handovers = store.handovers(Height(height + 1))
        trusted = encode_trusted(certificate.to_value())
        yield self._put((MAGIC, VERSION, self._chain.genesis_hash, trusted, len(handovers), height - lowest + 1))
        for handover in handovers:
            yield self._put(handover.to_value())
        for at in map(Height, range(height, lowest - 1, -1)):
            item = store.certificate_bytes(at), store.receipts_bytes(at)
            if item[1] is None:
                raise pruned(f"the receipts of block {at}, which a snapshot of height {height} needs,", store.held.receipts_from)
            self._blocks += 1
            yield self._put(item)

    def state(self) -> Iterator[Step]:
        tree = StateTree(self._chain.genesis_hash, self._chain.store.raw, cache_bytes=CACHE_BYTES)
        wanted = [b""]
        while wanted:
            path = wanted.pop()
            part = next(found for found in cut(tree, self._root, path) if found is not None)
            if isinstance(part, Fork):
                wanted += [path + bytes((slot,)) for slot in reversed(part.children())]
            else:
                self._keys += len(part.pairs)
            self._parts += 1
            yield self._put((path, part.to_value()))

    def _put(self, value: Value) -> Step:
        data = encode_trusted(value)
        self._file.write(len(data).to_bytes(LENGTH_BYTES) + data)
        self._size += LENGTH_BYTES + len(data)
        return Step(self._height, self._blocks, self._parts, self._keys, 0, self._size)


# ---- reading


def read_snapshot(chain: Chain, file: BinaryIO) -> Iterator[Step]:
    """Install a snapshot into a chain that has nothing but genesis, yielding after each record; at the end the store has it.

    Then `chain.take_up()` goes on from it. Raises `BadSnapshotError`: the store is to be thrown away.
    """
    reader = _Reader(chain, file)
    try:
        yield from reader.run()
    except BadSnapshotError:
        raise
    except InvalidInputError as error:
        raise BadSnapshotError(f"the record at {reader.offset} is bad: {error.message}", offset=reader.offset) from error


class _Reader:
    def __init__(self, chain: Chain, file: BinaryIO) -> None:
        self.offset = 0
        self._chain = chain
        self._store: BlockStore = chain.store
        self._file = file
        self._end = 0

    def run(self) -> Iterator[Step]:
        certificate, handovers, blocks = self._head()
        committees = Committees(self._chain.genesis_hash, self._chain.committee, _FIRST)
        for _ in range(handovers):
            committees.add([Handover.from_value(self._value())])
        header = certificate.header
        certificate.check(self._chain.genesis_hash, committees.at(header.height))
        if committees.last.hash(self._chain.genesis_hash) != header.next_committee_hash:
            raise BadSnapshotError("changes of the committee are missing, or of later blocks", offset=self.offset)
        install = Installation(self._store, self._chain.genesis_hash, certificate)
        install.begin()
        history = HistoryJobs(install, committees, self._chain.genesis_hash, self._chain.window_limit_ms)
        for count in range(blocks):
            items = (as_bytes(item, "history") for item in fields(self._value(), 2, "history item"))
            history.take_item(Height(header.height - count), *items)
            yield self._step(install, history)
        if not history.done:
            raise BadSnapshotError("the history does not reach down to where the transaction window begins", offset=self.offset)
        while not install.assembly.complete:
            path, part = fields(self._value(), 2, "state record")
            count = install.assembly.parts
            install.put(install.assembly.take(as_path(path), part_from_value(part)))
            if install.assembly.parts == count:
                raise BadSnapshotError("a part of the state stands here that has no place", offset=self.offset)
            yield self._step(install, history)
        if self._file.read(1):
            raise BadSnapshotError("bytes follow the last record", offset=self._end)
        install.finish(history.close(self._chain.tip_hash), committees.handovers)

    def _head(self) -> tuple[QuorumCertificate, int, int]:
        magic, version, genesis_hash, certificate, handovers, blocks = fields(self._value(), 6, "snapshot head")
        if magic != MAGIC or version != VERSION:
            raise BadSnapshotError("this is no snapshot of a version that this program reads", version=version, expected=VERSION)
        if genesis_hash != self._chain.genesis_hash:
            expected, got = self._chain.genesis_hash, as_bytes(genesis_hash, "genesis hash")
            raise BadSnapshotError(
                "this is a snapshot of another chain", reason="wrong_chain", expected="0x" + expected.hex(), got="0x" + got.hex()
            )
        found = QuorumCertificate.from_value(decode(as_bytes(certificate, "certificate")))
        height = found.header.height
        if not height:
            raise BadSnapshotError("genesis is no snapshot")
        return found, as_int(handovers, "number of handovers", high=height), as_int(blocks, "number of blocks", 1, height)

    def _value(self) -> Value:
        """Return the next record."""
        self.offset = self._end
        size = int.from_bytes(self._exactly(LENGTH_BYTES))
        if size > MAX_RECORD_BYTES:
            raise TooLargeError("snapshot record", limit=MAX_RECORD_BYTES, got=size)
        data = self._exactly(size)
        self._end += LENGTH_BYTES + size
        return decode(data, max_bytes=MAX_RECORD_BYTES, max_values=_MAX_VALUES)

    def _exactly(self, size: int) -> bytes:
        data = self._file.read(size)
        if len(data) != size:
            raise BadEncodingError("the file ends in the middle of a record", hint="copy it again", have=len(data), need=size)
        return data

    def _step(self, install: Installation, history: HistoryJobs) -> Step:
        state = install.assembly
        return Step(install.height, history.blocks, state.parts, state.keys, state.expected_keys, self._end)

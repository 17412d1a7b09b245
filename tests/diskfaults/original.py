"""The chain whose folder is damaged: blocks of transfers on a real disk, opened a few times, and all that it ever held."""

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.block import Block
from ledger.certificate import QuorumCertificate
from ledger.transaction import SALT_BYTES, Transaction
from ledger.types import BlockHash, Height, View
from node.block_store import BlockStore
from node.chain import Chain
from node.damage import STORE_NAME
from node.level_log import walk
from node.level_manifest import read_manifest
from node.storage import WRITE_BUFFER_BYTES, LevelStore
from tests.one_driver import GENESIS_HASH, NAMES, NETWORK, certify
from tests.sim.chain import ADDRESSES, START_MS
from vm.executor import Executor
from vm.registry import default_registry

BLOCKS: Final = 140
HELD_BACK: Final = 3
"""How many more blocks the other members have."""
STOPPED_AFTER: Final = (15, 30, 45, 60, 80, 100)
"""The blocks after which the node was stopped and started again: LevelDB makes a table then."""
TRANSFERS: Final = 4
LAST_BUFFER_BYTES: Final = 224 * 1024
"""In its last life the node also made a table of a full log, so that its MANIFEST has grown."""
PICKLE_NAME: Final = "past.pickle"


@dataclass
class Past:
    """What a store held after each number of writes: bit n of a key's value is set when it stood there after n writes."""

    writes: int = 0
    masks: dict[bytes, dict[bytes | None, int]] = field(default_factory=dict)
    latest: dict[bytes, tuple[bytes | None, int]] = field(default_factory=dict)

    def write(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Take note of a write."""
        self.writes += 1
        for key, value in changes.items():
            self._was(key, *self.latest.get(key, (None, 0)), self.writes)
            self.latest[key] = value, self.writes

    def end(self) -> None:
        """Nothing more is written."""
        for key, (value, since) in self.latest.items():
            self._was(key, value, since, self.writes + 1)

    def _was(self, key: bytes, value: bytes | None, since: int, until: int) -> None:
        masks = self.masks.setdefault(key, {})
        masks[value] = masks.get(value, 0) | (1 << until) - (1 << since)

    def whenever(self, key: bytes, value: bytes | None) -> int:
        """Return after which numbers of writes a key had this value, as bits."""
        masks = self.masks.get(key)
        if masks is None:
            return self.always if value is None else 0
        return masks.get(value, 0)

    @property
    def always(self) -> int:
        """Return the bits of all numbers of writes."""
        return (1 << self.writes + 1) - 1


class Recording:
    """A `NodeStore` over another one whose writes are noted."""

    def __init__(self, store: LevelStore, past: Past) -> None:
        self._store = store
        self._past = past
        self.get, self.iterate, self.close = store.get, store.iterate, store.close

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write and take note."""
        self._store.apply(changes)
        self._past.write(changes)


@dataclass(frozen=True)
class Original:
    """A node's data folder, what its store held and when, and the chain as the other members have it, genesis first."""

    folder: Path
    past: Past
    hashes: tuple[BlockHash, ...]
    blocks: tuple[tuple[Block, QuorumCertificate], ...]

    @property
    def end(self) -> BlockHash:
        """Return the last block that the members have."""
        return self.hashes[-1]


@contextmanager
def chain_on(store: BlockStore) -> Iterator[Chain]:
    """The chain in a store, which is closed in the end."""
    try:
        yield Chain(NETWORK.genesis, store, Executor(default_registry()))
    finally:
        store.close()


def make_original(folder: Path) -> Original:
    """Make the chain in a new folder."""
    past = Past()
    blocks: list[tuple[Block, QuorumCertificate]] = []
    first = 0
    for last in (*STOPPED_AFTER, BLOCKS):
        buffer_bytes = LAST_BUFFER_BYTES if last == BLOCKS else WRITE_BUFFER_BYTES
        with chain_on(_opened(folder, past, buffer_bytes)) as chain:
            blocks += [commit_block(chain) for _ in range(first, last)]
        first = last
    past.end()
    _drop_leftovers(folder / STORE_NAME)
    ahead = folder.with_name("ahead")
    with chain_on(BlockStore(LevelStore(ahead), str(ahead), GENESIS_HASH)) as chain:
        catch_up(chain, blocks)
        blocks += [commit_block(chain) for _ in range(HELD_BACK)]
        hashes = tuple(chain.store.hash_of(Height(height)) for height in range(chain.tip.height + 1))
    original = Original(folder, past, hashes, tuple(blocks))
    (folder / PICKLE_NAME).write_bytes(pickle.dumps(original))
    return original


def _drop_leftovers(folder: Path) -> None:
    """Remove the tables that LevelDB has replaced but not deleted yet: damage to them would show nothing."""
    (manifest,) = folder.glob("MANIFEST-*")
    data = manifest.read_bytes()
    live = read_manifest(walk(data, keep_bytes=len(data), checksums=True).records).tables
    for table in folder.glob("*.ldb"):
        if int(table.stem) not in live:
            table.unlink()


def load_original(folder: Path) -> Original:
    """Return what another process made."""
    original = pickle.loads((folder / PICKLE_NAME).read_bytes())
    assert isinstance(original, Original)
    return original


def _opened(folder: Path, past: Past, buffer_bytes: int) -> BlockStore:
    path = folder / STORE_NAME
    return BlockStore(Recording(LevelStore(path, write_buffer_bytes=buffer_bytes), past), str(path), GENESIS_HASH)


def catch_up(chain: Chain, blocks: Sequence[tuple[Block, QuorumCertificate]]) -> None:
    """Execute and commit the blocks that a chain does not have yet."""
    for block, certificate in blocks[chain.tip.height :]:
        transactions = [Transaction.from_raw(raw, GENESIS_HASH) for raw in block.transactions]
        chain.commit(chain.execute(block.header, transactions), certificate)


def commit_block(chain: Chain) -> tuple[Block, QuorumCertificate]:
    """Commit a block of transfers as a node does: it is pending first."""
    height = chain.tip.height + 1
    now_ms = START_MS + 1_000 * height
    transfers = [
        NETWORK.transfer(
            number,
            (height + number) % len(ADDRESSES),
            height,
            now_ms + 30_000,
            (TRANSFERS * height + number).to_bytes(SALT_BYTES),
        )
        for number in range(TRANSFERS)
    ]
    executed, _ = chain.build(transfers, TRANSFERS, View(0), NAMES[0], now_ms)
    chain.store.put_pending(executed.block_hash, executed.block)
    certificate = certify(chain, executed.header)
    chain.commit(executed, certificate)
    return executed.block, certificate

"""The state of one chain at a height, and what reads of the past take from the blocks before it."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from ledger.block import Header
from ledger.state_proof import StateProof
from ledger.state_tree import StateRoot, StateTree
from ledger.types import Height
from node.block_store import BlockStore
from vm.overlay import StateReader


@dataclass(frozen=True, slots=True)
class StateVersion:
    """The state after one committed block, as it stays readable until it is pruned; a `vm.overlay.StateReader`."""

    header: Header
    root: StateRoot
    tree: StateTree = field(repr=False, compare=False)

    def get(self, key: bytes) -> bytes | None:
        """Return the value of a raw state key, or None."""
        return self.tree.get(self.root, key)

    def prove(self, key: bytes) -> StateProof:
        """Return the proof of a raw state key's value or absence, under the header's state root."""
        return self.tree.prove(self.root, key)


class RecentHashes(Mapping[Height, bytes]):
    """The hashes of a range of blocks, read when asked for: few reads of the past ask for any."""

    def __init__(self, store: BlockStore, heights: range) -> None:
        self._store = store
        self._heights = heights

    def __getitem__(self, height: Height) -> bytes:
        if height not in self._heights:
            raise KeyError(height)
        return self._store.hash_of(height)

    def __iter__(self) -> Iterator[Height]:
        return map(Height, self._heights)

    def __len__(self) -> int:
        return len(self._heights)


class Overlaid:
    """A state with the changes of a block on top."""

    def __init__(self, state: StateReader, changes: Mapping[bytes, bytes | None]) -> None:
        self._state = state
        self._changes = changes

    def get(self, key: bytes) -> bytes | None:
        """Return the value after the changes."""
        return self._changes[key] if key in self._changes else self._state.get(key)

"""Read methods whose answers can be checked: what a read method read, and the same method run again on nothing but that.

A node runs the method and notes the raw keys it read; a checker gets those keys with their proofs, runs the method again on them
and so has the answer itself. Both use `query_context`: a query sees the header it is asked about and nothing else of the chain.
"""

from collections.abc import Iterator, Mapping
from typing import Final, NoReturn

from ledger.block import Header
from ledger.claims import StateClaim
from ledger.codec import Value
from ledger.errors import DatacarError
from ledger.types import Height
from vm import gas
from vm.context import NOBODY, BlockContext
from vm.executor import Executor
from vm.overlay import StateReader


class UnprovenReadError(DatacarError):
    """The answer depends on what the proof does not hold.

    Not of the `InvalidInputError` tree: that is what a contract may answer itself, and this must not pass for an answer.
    """

    def __init__(self, what: str) -> None:
        super().__init__("bad_proof", f"the proof does not hold {what}, which the method reads", hint="ask another node for it")


class RecordedReads:
    """A state that notes which keys were read."""

    def __init__(self, state: StateReader) -> None:
        self._state = state
        self.keys: set[bytes] = set()

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, and remember that it was asked for."""
        self.keys.add(key)
        return self._state.get(key)


class ProvenState:
    """The part of a state that a claim holds. The claim must have been checked."""

    def __init__(self, claim: StateClaim) -> None:
        self._values = {entry.key: entry.value for entry in claim.entries}

    def get(self, key: bytes) -> bytes | None:
        """Return the value of `key`, or None where it is shown to be absent. Raises `UnprovenReadError` for any other key."""
        if key not in self._values:
            raise UnprovenReadError(f"the key 0x{key.hex()}")
        return self._values[key]


class _NoHashes(Mapping[Height, bytes]):
    """The hashes of recent blocks, of which neither state nor header holds more than one: no provable answer names them."""

    def __getitem__(self, height: Height) -> NoReturn:
        raise UnprovenReadError(f"the hash of block {height}")

    def __iter__(self) -> Iterator[Height]:
        return iter(())

    def __len__(self) -> int:
        return 0


_NO_HASHES: Final = _NoHashes()


def query_context(header: Header) -> BlockContext:
    """Return what a provable query sees: the block after `header`, at the header's time."""
    return BlockContext(Height(header.height + 1), header.timestamp_ms, 0, NOBODY, gas.UNLIMITED, _NO_HASHES)


def recorded_query(
    executor: Executor, state: StateReader, header: Header, contract: str, method: str, args: tuple[Value, ...]
) -> tuple[Value, tuple[bytes, ...]]:
    """Return what a read method answers and the raw keys it read, ascending. Raises as `Executor.query`."""
    reads = RecordedReads(state)
    value = executor.query(reads, query_context(header), contract, method, args)
    return value, tuple(sorted(reads.keys))


def proven_query(
    executor: Executor, claim: StateClaim, header: Header, contract: str, method: str, args: tuple[Value, ...]
) -> Value:
    """Return what a read method answers on a checked claim. Raises `UnprovenReadError`, or as `Executor.query`."""
    return executor.query(ProvenState(claim), query_context(header), contract, method, args)

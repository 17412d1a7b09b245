"""The chain's calendar: calls that contracts have asked for at a time to come (protocol, section VM).

Entries wait in buckets, one for each due time, and run in the order of (due time, id): within a bucket as they came. The due
times that have a bucket form a binary heap, so that adding and taking cost the logarithm of how many different times there are,
not of how many entries. A cancelled entry leaves its place in the bucket, which is passed over when its time comes.

The runtime adds, cancels and takes; transactions only read.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Annotated, Final

from vm.context import CALENDAR
from vm.contract import U32, U64, Bounds, Bytes, Contract, Item, Map, read, require

NAME: Final = CALENDAR

ContractName = Annotated[str, Bounds(1, 64)]


class ScheduleError(StrEnum):
    """Why an entry is not there."""

    UNKNOWN_ENTRY = "there is no such entry, or it has run"
    NOT_PERMITTED = "another contract made this entry"
    TOO_MANY = "too many entries wait for this time"


@dataclass(frozen=True, slots=True)
class Entry:
    """A call to come.

    Args:
        contract: who asked for it, and is called
        args: the arguments in canonical bytes
        due_ms: Unix milliseconds; it runs in the first block stamped so or later that has room for it
    """

    contract: ContractName
    method: ContractName
    args: Bytes
    due_ms: U64


@dataclass(frozen=True, slots=True)
class Bucket:
    """The entries of one due time: how many there are, and how many of them were taken."""

    size: U32
    taken: U32


class Schedule(Contract, errors=ScheduleError):
    """Calls to come, each on its due time; the chain makes them by itself."""

    entries: Map[U64, Entry]
    buckets: Map[U64, Bucket]
    members: Map[tuple[U64, U32], U64]
    heap: Map[U32, U64]
    heap_size: Item[U32]
    last_id: Item[U64]

    @read
    def get(self, entry_id: U64) -> Entry:
        """Return an entry that waits. Errors: UNKNOWN_ENTRY."""
        return self.entries.require(entry_id, ScheduleError.UNKNOWN_ENTRY)

    @read
    def next_due(self) -> U64 | None:
        """Return the earliest time that something is due, in Unix milliseconds; None when nothing waits."""
        return self.heap.get(0, None)

    # ---- for the runtime

    def add(self, contract: str, method: str, args: bytes, due_ms: int) -> int:
        """Put an entry into the calendar and return its id. Errors: TOO_MANY."""
        entry_id = self.last_id.get(0) + 1
        self.last_id.set(entry_id)
        self.put_off(entry_id, Entry(contract, method, args, due_ms), due_ms)
        return entry_id

    def put_off(self, entry_id: int, entry: Entry, due_ms: int) -> None:
        """Put an entry that was taken back into the calendar, under its id, for a later time. Errors: TOO_MANY."""
        bucket = self.buckets.get(due_ms, None)
        if bucket is None:
            bucket = Bucket(0, 0)
            self._push(due_ms)
        require(bucket.size < 2**32 - 1, ScheduleError.TOO_MANY)
        self.entries[entry_id] = replace(entry, due_ms=due_ms)
        self.members[due_ms, bucket.size] = entry_id
        self.buckets[due_ms] = replace(bucket, size=bucket.size + 1)

    def cancel(self, contract: str, entry_id: int) -> None:
        """Take out an entry of a contract. Errors: UNKNOWN_ENTRY, NOT_PERMITTED."""
        entry = self.entries.require(entry_id, ScheduleError.UNKNOWN_ENTRY)
        require(entry.contract == contract, ScheduleError.NOT_PERMITTED)
        del self.entries[entry_id]

    def take(self, now_ms: int) -> tuple[int, Entry | None] | None:
        """Take the next place that is due: its entry's id, and the entry or None when that was cancelled; None: none is due."""
        due_ms = self.heap.get(0, None)
        if due_ms is None or due_ms > now_ms:
            return None
        bucket = self.buckets[due_ms]
        entry_id = self.members[due_ms, bucket.taken]
        del self.members[due_ms, bucket.taken]
        if bucket.taken + 1 < bucket.size:
            self.buckets[due_ms] = replace(bucket, taken=bucket.taken + 1)
        else:
            del self.buckets[due_ms]
            self._pop()
        entry = self.entries.get(entry_id, None)
        if entry is not None:
            del self.entries[entry_id]
        return entry_id, entry

    # ---- the heap of due times: heap[0] is the least, the children of i are 2i + 1 and 2i + 2

    def _push(self, due_ms: int) -> None:
        at = self.heap_size.get(0)
        self.heap_size.set(at + 1)
        while at:
            above = (at - 1) // 2
            parent_ms = self.heap[above]
            if parent_ms <= due_ms:
                break
            self.heap[at] = parent_ms
            at = above
        self.heap[at] = due_ms

    def _pop(self) -> None:
        size = self.heap_size.get(0) - 1
        self.heap_size.set(size)
        moved_ms = self.heap[size]
        del self.heap[size]
        at = 0
        while size:
            below = 2 * at + 1
            least_ms = self.heap[below] if below < size else moved_ms
            if below + 1 < size and (other_ms := self.heap[below + 1]) < least_ms:
                below, least_ms = below + 1, other_ms
            if moved_ms <= least_ms:
                self.heap[at] = moved_ms
                return
            self.heap[at] = least_ms
            at = below

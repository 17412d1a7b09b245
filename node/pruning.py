"""Forgetting what is not to be kept: old versions of the state, and old bodies and receipts (architecture, section Data flow).

Every block leaves a record of the tree's keys that it replaced. A version is readable as long as none of the keys that later
blocks replaced is deleted, so versions below a height are forgotten by first saying so (`Held`) and then deleting, record by
record, in small batches: a crash leaves only work to do. Headers, certificates and the ids of transactions are never forgotten.

A snapshot is a version that is pinned. Keys of a pinned version are not deleted but filed under the pin, and looked at again
when the pin is released.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Final

from ledger.codec import as_bytes, as_tuple, decode, encode_trusted
from ledger.types import Height, MemberId
from node.block_store import STALE, BlockStore
from node.chain import Chain
from node.indexes import Sweeper

KEYS_A_STEP: Final = 1_000
BLOCKS_A_STEP: Final = 100
LEASE_MS: Final = 60_000
FILED: Final = b"z"
_NAME_AT: Final = 17  # in the key of a filed record, after pin and height; a record of stale keys has no name
_MAX_RECORD_BYTES: Final = 256 * 1024 * 1024  # our own writing: bounded by the block's gas, not by this


@dataclass(frozen=True, slots=True)
class Keep:
    """How much a node keeps, in heights below its tip: 0 is everything. Snapshots: one every so many blocks, the last few."""

    states: int = 0
    bodies: int = 0
    snapshot_every: int = 1_000
    snapshots: int = 2


class Pruner:
    """Decides what is forgotten and forgets it a little at a time. `now_ms` is any clock that does not go back."""

    def __init__(self, chain: Chain, keep: Keep) -> None:
        self._chain = chain
        self._store: BlockStore = chain.store
        self._keep = keep
        self._leases: dict[MemberId, tuple[Height, int]] = {}
        self._sweeper = Sweeper(chain.store.raw)
        filed = set(_filed_pins(chain.store))
        self._pinned = set(chain.store.pins)  # as of the last block: a state that is restored brings pins of its own
        self._released = sorted(filed - self._pinned)
        self._done_to = Height(0)  # stale records up to here are gone: looking for them again costs time in LevelDB

    # ---- snapshots

    @property
    def snapshot(self) -> Height:
        """Return the newest pinned height, 0 when there is none."""
        return max(self._store.pins, default=Height(0))

    def lease(self, member: MemberId, height: Height, now_ms: int) -> bool:
        """Keep a pinned version for a member that is reading it for another `LEASE_MS`; return whether it is pinned.

        Each member has one lease: whoever takes a new one gives up the last, and takes nobody else's.
        """
        if height not in self._store.pins:
            return False
        self._leases[member] = height, now_ms + LEASE_MS
        return True

    def renew(self, member: MemberId, now_ms: int) -> None:
        """Keep what a member has leased for another `LEASE_MS`: it is fetching what belongs to it."""
        if (lease := self._leases.get(member)) is not None:
            self._leases[member] = lease[0], now_ms + LEASE_MS

    def on_committed(self, height: Height, now_ms: int) -> None:
        """Pin the version of a snapshot height and let go of those that nobody needs any more."""
        wanted = self._wanted(height, now_ms)
        if wanted != self._store.pins:
            self._store.put_pins(wanted)
        self._released.extend(sorted(self._pinned - set(wanted)))
        self._pinned = set(wanted)

    def _wanted(self, height: Height, now_ms: int) -> tuple[Height, ...]:
        """Return what is to be pinned after the block of `height`: snapshots, and before them what is being read."""
        keep, pins = self._keep, self._store.pins
        if keep.snapshot_every and height % keep.snapshot_every:
            return pins
        self._leases = {member: lease for member, lease in self._leases.items() if lease[1] > now_ms}
        recent = sorted({*pins, height})[-keep.snapshots :] if keep.snapshot_every else []
        leased = {at for at, _ in self._leases.values() if at in pins and at not in recent}
        return (*sorted(leased), *recent)

    # ---- forgetting

    def step(self) -> bool:
        """Forget a little (some milliseconds of work); return whether there is more to do now."""
        self._raise_floor()
        return self._forget_states() or self._store.forget_blocks(BLOCKS_A_STEP) or self._forget_index()

    def _forget_index(self) -> bool:
        """Delete some of the index entries of blocks that are not held; return whether there are more."""
        held = self._store.held
        return self._sweeper.step(max(held.bodies_from, held.receipts_from), self._chain.tip.height)

    def _raise_floor(self) -> None:
        """Say what is held from now on, before anything of the rest is deleted.

        Who joins by a snapshot needs the blocks after it, so those of the oldest one stay, and all before there is one.
        """
        held, tip = self._store.held, self._chain.tip.height
        states = _floor(held.states_from, tip, self._keep.states)
        oldest = min(self._store.pins, default=Height(0) if self._keep.snapshot_every else tip)
        bodies = min(_floor(held.bodies_from, tip, self._keep.bodies), Height(oldest + 1))
        bodies = max(held.bodies_from, bodies)
        receipts = held.receipts_from if bodies == held.bodies_from else self._receipts_floor(bodies)
        raised = replace(held, states_from=states, bodies_from=bodies, receipts_from=receipts)
        if raised != held:
            self._store.put_held(raised)

    def _receipts_floor(self, bodies: Height) -> Height:
        """Return from where receipts are needed: with the bodies, and for the window before the oldest snapshot.

        The block right before the window too: its time is what shows that the window is whole.
        """
        oldest = min(self._store.pins, default=self._chain.tip.height)
        header = self._store.header(oldest)
        window = bodies if header is None else Height(max(1, self._chain.window_start(header) - 1))
        return max(self._store.held.receipts_from, min(bodies, window))

    def _forget_states(self) -> bool:
        """Delete or file some of the keys of versions that are not held; return whether there are more."""
        store, pins = self._store, self._store.pins
        for record, height, keys in self._due():
            changes: dict[bytes, bytes | None] = {}
            filed: dict[Height, list[bytes]] = {}
            for key in keys[:KEYS_A_STEP]:
                written = _number(key[-8:])
                pin = max((at for at in pins if written <= at < height), default=None)
                if pin is None:
                    changes[key] = None
                else:
                    filed.setdefault(pin, []).append(key)
            rest = keys[KEYS_A_STEP:]
            changes[record] = encode_trusted(rest) if rest else None
            for pin, some in filed.items():
                name = record[_NAME_AT:] + len(rest).to_bytes(4)  # no two pieces of one record's keys may take one name
                changes[FILED + pin.to_bytes(8) + height.to_bytes(8) + name] = encode_trusted(tuple(some))
            store.raw.apply(changes)
            if not rest and record.startswith(STALE):
                self._done_to = height
            return True
        return False

    def _due(self) -> Iterator[tuple[bytes, Height, tuple[bytes, ...]]]:
        """Yield the records to work through: key, the height that replaced the keys, and the keys."""
        while self._released:
            for record, data in self._store.raw.iterate(FILED + self._released[0].to_bytes(8)):
                yield record, _number(record[9:17]), stale_keys(data)
            self._released.pop(0)
        for record, data in self._store.raw.iterate(STALE, STALE + self._done_to.to_bytes(8)):
            height = _number(record[1:9])
            if height > self._store.held.states_from:
                return
            yield record, height, stale_keys(data)


def _filed_pins(store: BlockStore) -> Iterator[Height]:
    """Yield the pins that keys are filed under, looking at one record of each: there may be thousands."""
    start = FILED
    while (found := next(store.raw.iterate(FILED, start), None)) is not None:
        pin = _number(found[0][1:9])
        yield pin
        start = FILED + (pin + 1).to_bytes(8)


def _floor(now: Height, tip: Height, keep: int) -> Height:
    """Return the lowest height to keep: `keep` below the tip, never lower than `now`."""
    return max(now, Height(tip - keep)) if keep else now


def stale_keys(data: bytes) -> tuple[bytes, ...]:
    """Return the tree's keys that a record under `STALE` or `FILED` names. Raises `BadEncodingError`."""
    items = as_tuple(decode(data, max_bytes=_MAX_RECORD_BYTES, max_values=_MAX_RECORD_BYTES), "stale keys", max_items=2**32)
    return tuple(as_bytes(item, "stale key") for item in items)


def _number(data: bytes) -> Height:
    return Height(int.from_bytes(data))

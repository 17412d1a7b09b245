"""A virtual disk: what a node has synced survives, a power failure hits between two writes or inside one.

A batch of the store is applied whole or not at all; the one that the power failure hits may be either. A sign-state copy is
overwritten in blocks of 64 bytes; the failure leaves any mixture of old and new ones.
"""

import random
from collections import defaultdict
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

SECTOR_BYTES: Final = 64

Bucket = dict[bytes, bytes]


class PowerLossError(OSError):
    """The machine lost power: this life of the node does nothing any more."""


@dataclass
class Contents:
    """The bytes on the platters. Records are kept by their first byte, so that looking through one kind stays cheap."""

    records: dict[bytes, Bucket] = field(default_factory=lambda: defaultdict(dict))
    slots: list[bytes] = field(default_factory=lambda: [b"", b""])

    def copy_records(self) -> dict[bytes, Bucket]:
        """Return a copy of the store, as a backup takes it (the sign-state is no part of backups)."""
        return defaultdict(dict, {kind: dict(bucket) for kind, bucket in self.records.items()})

    def put(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Apply a batch."""
        for key, value in changes.items():
            if value is None:
                self.records[key[:1]].pop(key, None)
            else:
                self.records[key[:1]][key] = value


class Disk:
    """One machine's disk over all its lives. `on_synced` is told every batch that is on it, acknowledged or not."""

    def __init__(self, rng: random.Random, on_synced: Callable[[Mapping[bytes, bytes | None]], None]) -> None:
        self.contents = Contents()
        self.writes = 0
        self.torn = 0
        self._rng = rng
        self._on_synced = on_synced
        self._fail_at: int | None = None
        self._on_power_loss: Callable[[], None] = lambda: None

    def arm(self, writes: int, on_power_loss: Callable[[], None]) -> None:
        """Lose power at the `writes`-th write from now."""
        self._fail_at = self.writes + writes
        self._on_power_loss = on_power_loss

    def disarm(self) -> None:
        """Forget an armed failure that has not come yet."""
        self._fail_at = None

    def open(self) -> "OpenDisk":
        """Return the disk as one life of a node sees it."""
        return OpenDisk(self)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Sync one batch."""
        hit = self._hit()
        if not hit or self._rng.random() < 0.5:
            self.contents.put(changes)
            self._on_synced(changes)
        if hit:
            self._lose_power("in the middle of a batch")

    def write_slot(self, index: int, data: bytes) -> None:
        """Overwrite a sign-state copy from its start and sync."""
        old = self.contents.slots[index]
        new = data + old[len(data) :]
        hit = self._hit()
        self.contents.slots[index] = self._tear(old, new) if hit else new
        if hit:
            self._lose_power(f"in the middle of sign-state copy {index}")

    def _hit(self) -> bool:
        self.writes += 1
        return self._fail_at is not None and self.writes >= self._fail_at

    def _lose_power(self, where: str) -> None:
        self._fail_at = None
        self._on_power_loss()
        raise PowerLossError(f"power lost {where}")

    def _tear(self, old: bytes, new: bytes) -> bytes:
        """Return any mixture of the old and the new sectors; the file may not have grown yet."""
        self.torn += 1
        sectors = []
        for at in range(0, len(new), SECTOR_BYTES):
            source = new if self._rng.random() < 0.5 else old
            sectors.append(source[at : at + SECTOR_BYTES].ljust(len(new[at : at + SECTOR_BYTES]), b"\0"))
        return b"".join(sectors)


class OpenDisk:
    """A `NodeStore` and two `Slot`s for one life of a node; after `cut` every operation fails."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self.slots = (VirtualSlot(self, 0), VirtualSlot(self, 1))
        self._dead = False

    def cut(self) -> None:
        """The power is gone for this life."""
        self._dead = True

    def check(self) -> None:
        """Raise when the power is gone."""
        if self._dead:
            raise PowerLossError("the power is off")

    def get(self, key: bytes) -> bytes | None:
        """Return the value under `key`."""
        self.check()
        return self.disk.contents.records[key[:1]].get(key)

    def apply(self, changes: Mapping[bytes, bytes | None]) -> None:
        """Write and sync."""
        self.check()
        self.disk.apply(changes)

    def iterate(self, prefix: bytes = b"", start: bytes = b"") -> Iterator[tuple[bytes, bytes]]:
        """Yield the pairs under `prefix`, ascending from key `start` on."""
        self.check()
        records = self.disk.contents.records
        buckets = [records[prefix[:1]]] if prefix else list(records.values())
        pairs = (pair for bucket in buckets for pair in bucket.items())
        return iter(sorted(pair for pair in pairs if pair[0].startswith(prefix) and pair[0] >= start))

    def close(self) -> None:
        """Nothing to release."""


class VirtualSlot:
    """One copy of the sign-state."""

    def __init__(self, opened: OpenDisk, index: int) -> None:
        self._opened = opened
        self._index = index

    def read(self) -> bytes:
        """Return all bytes."""
        self._opened.check()
        return self._opened.disk.contents.slots[self._index]

    def write(self, data: bytes) -> None:
        """Overwrite and sync."""
        self._opened.check()
        self._opened.disk.write_slot(self._index, data)

    def close(self) -> None:
        """Nothing to release."""

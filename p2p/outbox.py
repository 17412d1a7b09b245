"""What waits to be sent to one peer: bounded, consensus before gossip before sync.

When it is full the newest frames of the least urgent kind make room, since an older gossip batch or block answer is the one the
peer waits for. Only consensus frames are never dropped in silence: a peer that cannot drain them is to be disconnected.
"""

from collections import deque
from enum import Enum
from typing import Final

from p2p.limits import Priority

CHUNK_BYTES: Final = 64 * 1024


class Put(Enum):
    """What became of a frame: queued, dropped because more urgent ones fill the queue, or no room for consensus itself."""

    QUEUED = "queued"
    DROPPED = "dropped"
    OVERFLOW = "overflow"


class Outbox:
    """Frames by priority, first in first out within one, at most `max_bytes` and `max_frames` in all."""

    __slots__ = ("_max_bytes", "_max_frames", "_queues", "bytes", "dropped", "frames")

    def __init__(self, max_bytes: int, max_frames: int) -> None:
        self._max_bytes = max_bytes
        self._max_frames = max_frames
        self._queues: tuple[deque[bytes], ...] = tuple(deque() for _ in Priority)
        self.bytes = 0
        self.frames = 0
        self.dropped = 0

    def put(self, priority: Priority, frame: bytes) -> Put:
        """Queue a frame, dropping the newest of less urgent ones while there is no room for it."""
        while self.frames >= self._max_frames or self.bytes + len(frame) > self._max_bytes:
            if not self._drop_below(priority):
                self.dropped += 1
                return Put.OVERFLOW if priority is Priority.CONSENSUS else Put.DROPPED
        self._queues[priority].append(frame)
        self.bytes += len(frame)
        self.frames += 1
        return Put.QUEUED

    def _drop_below(self, priority: Priority) -> bool:
        """Drop the newest frame of the least urgent kind below `priority`, if there is one."""
        for queue in reversed(self._queues[priority + 1 :]):
            if queue:
                self.bytes -= len(queue.pop())
                self.frames -= 1
                self.dropped += 1
                return True
        return False

    def next_chunk(self) -> bytes | None:
        """Return the bytes to write next (small frames joined up to `CHUNK_BYTES`, a larger one alone), or None."""
        if not self.frames:
            return None
        chunk: list[bytes] = []
        size = 0
        for queue in self._queues:
            while queue and (not chunk or size + len(queue[0]) <= CHUNK_BYTES):
                frame = queue.popleft()
                chunk.append(frame)
                size += len(frame)
            if queue:
                break
        self.bytes -= size
        self.frames -= len(chunk)
        return chunk[0] if len(chunk) == 1 else b"".join(chunk)

    def clear(self) -> None:
        """Forget everything that waits: the connection is ending."""
        for queue in self._queues:
            queue.clear()
        self.bytes = self.frames = 0

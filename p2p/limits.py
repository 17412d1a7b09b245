"""What a peer may send and how much is kept for it: one table of rules by frame type, token buckets, redial delays.

Rates are far above honest load (5,000 transactions a second in batches, 256 members re-sending votes every 500 ms) and below
what would stop a node: a peer that exceeds one is dropped with the number it exceeded. Times are monotonic milliseconds,
always passed in.
"""

import hashlib
from dataclasses import dataclass
from enum import Enum, IntEnum
from typing import Final

from ledger.codec import MAX_BYTES
from ledger.errors import LimitError
from p2p.frames import FrameType

KIB: Final = 1024
MIB: Final = 1024 * 1024
BURST_SECONDS: Final = 4

MAX_GOSSIP_TRANSACTIONS: Final = 1_000
MAX_BLOCKS_COUNT: Final = 100
MAX_HISTORY_COUNT: Final = 100
MAX_SNAPSHOT_HANDOVERS: Final = 1_000
MAX_HEIGHT: Final = 2**53


class Priority(IntEnum):
    """Order on a connection: a lower number leaves first; when a queue is full the highest number is dropped first."""

    CONSENSUS = 0
    BODIES = 1
    GOSSIP = 2
    SYNC = 3


@dataclass(frozen=True, slots=True)
class Rule:
    """The limits of one frame type: payload bytes, sustained frames and bytes a second (bursts: `BURST_SECONDS` of them)."""

    priority: Priority
    max_bytes: int
    frames_per_s: int
    bytes_per_s: int


# Handshake and liveness frames travel with consensus: they are tiny, and a starved Ping would cut a busy connection. Bodies of a
# proposal hold up a vote, so they go before gossip.
RULES: Final[dict[FrameType, Rule]] = {
    FrameType.HELLO: Rule(Priority.CONSENSUS, KIB, 1, KIB),
    FrameType.WELCOME: Rule(Priority.CONSENSUS, 16, 1, KIB),
    FrameType.REJECT: Rule(Priority.CONSENSUS, 5 * KIB, 1, 5 * KIB),
    FrameType.PING: Rule(Priority.CONSENSUS, 16, 10, KIB),
    FrameType.PONG: Rule(Priority.CONSENSUS, 16, 10, KIB),
    FrameType.STATUS: Rule(Priority.CONSENSUS, 80, 1_000, 80 * KIB),
    FrameType.CONSENSUS: Rule(Priority.CONSENSUS, 2 * MIB, 10_000, 64 * MIB),
    FrameType.TRANSACTIONS: Rule(Priority.GOSSIP, MIB, 5_000, 32 * MIB),
    FrameType.GET_BODIES: Rule(Priority.BODIES, 80 * KIB, 200, 4 * MIB),
    FrameType.BODIES: Rule(Priority.BODIES, 2 * MIB, 200, 64 * MIB),
    FrameType.GET_BLOCKS: Rule(Priority.SYNC, 32, 100, 4 * KIB),
    FrameType.BLOCKS: Rule(Priority.SYNC, MAX_BYTES, 100, 64 * MIB),
    FrameType.GET_SNAPSHOT: Rule(Priority.SYNC, 32, 20, KIB),
    FrameType.SNAPSHOT: Rule(Priority.SYNC, 2 * MIB, 20, 8 * MIB),
    FrameType.GET_HISTORY: Rule(Priority.SYNC, 32, 200, 8 * KIB),
    FrameType.HISTORY: Rule(Priority.SYNC, MAX_BYTES, 200, 64 * MIB),
    FrameType.GET_STATE: Rule(Priority.SYNC, 96, 2_000, 192 * KIB),
    FrameType.STATE: Rule(Priority.SYNC, MAX_BYTES, 2_000, 64 * MIB),
}

SIZE_LIMITS: Final = {kind: rule.max_bytes for kind, rule in RULES.items()}
HANDSHAKE_LIMITS: Final = {kind: RULES[kind].max_bytes for kind in (FrameType.HELLO, FrameType.WELCOME, FrameType.REJECT)}


class Scope(Enum):
    """What a session is for, as seen from one side.

    A node that has dialled a certificate it does not know ASKS for blocks and snapshots, which certify themselves, and believes
    and tells nothing else; the member that it dialled SERVES them. Everything else needs a FULL session, where each side has
    proved itself.
    """

    FULL = "full"
    ASKS = "asks"
    SERVES = "serves"


_LIVENESS: Final = frozenset({FrameType.HELLO, FrameType.WELCOME, FrameType.REJECT, FrameType.PING, FrameType.PONG})
_ASKED: Final = frozenset({FrameType.GET_BLOCKS, FrameType.GET_SNAPSHOT, FrameType.GET_HISTORY, FrameType.GET_STATE})
ANSWERS: Final = frozenset({FrameType.BLOCKS, FrameType.SNAPSHOT, FrameType.HISTORY, FrameType.STATE})
_SERVED: Final = ANSWERS | {FrameType.STATUS}

SENDS: Final = {Scope.FULL: frozenset(FrameType) - _LIVENESS, Scope.ASKS: _ASKED, Scope.SERVES: _SERVED}
TAKES: Final = {
    Scope.FULL: frozenset(FrameType),
    Scope.ASKS: _LIVENESS | _SERVED,
    Scope.SERVES: _LIVENESS | _ASKED,
}


@dataclass(frozen=True, slots=True)
class Limits:
    """Times and bounds of a node's connections. `penalty_ms` is how long a peer that broke the rules stays away.

    `reverse_*` are the delays before a member is dialled that should have dialled; `sync_only_ms` is how long a session with an
    unknown certificate may last: whoever holds a member's address for a moment must not keep the node's ear for long.
    """

    connect_timeout_ms: int = 3_000
    handshake_timeout_ms: int = 3_000
    shutdown_timeout_ms: int = 1_000
    ping_interval_ms: int = 2_000
    idle_timeout_ms: int = 8_000
    penalty_ms: int = 5_000
    redial_first_ms: int = 50
    redial_cap_ms: int = 1_000
    reverse_first_ms: int = 3_000
    reverse_cap_ms: int = 10_000
    healthy_after_ms: int = 2_000
    sync_only_ms: int = 60_000
    outbox_bytes: int = 32 * MIB
    outbox_frames: int = 20_000
    max_pending_handshakes: int = 64
    accepts_per_s: int = 100
    stranger_logs_per_s: float = 0.5


class TokenBucket:
    """Allows `rate_per_s` on average and `burst` at once."""

    __slots__ = ("_burst", "_level", "_rate_per_ms", "_updated_ms")

    def __init__(self, rate_per_s: float, burst: float, now_ms: float) -> None:
        self._rate_per_ms = rate_per_s / 1_000
        self._burst = burst
        self._level = burst
        self._updated_ms = now_ms

    def take(self, amount: float, now_ms: float) -> bool:
        """Take `amount` if it is there; say whether it was."""
        level = self._level + max(0.0, now_ms - self._updated_ms) * self._rate_per_ms
        self._updated_ms = now_ms
        self._level = min(self._burst, level)
        if self._level < amount:
            return False
        self._level -= amount
        return True

    def wait_ms(self, amount: float) -> float:
        """Return how long after the last `take` this `amount` is there."""
        return max(0.0, (amount - self._level) / self._rate_per_ms)


class Meter:
    """Holds one peer to the rates of `RULES`."""

    __slots__ = ("_buckets", "_now_ms")

    def __init__(self, now_ms: float) -> None:
        self._now_ms = now_ms
        self._buckets: dict[FrameType, tuple[TokenBucket, TokenBucket]] = {}

    def charge(self, kind: FrameType, payload_bytes: int, now_ms: float) -> None:
        """Count one frame; raises `LimitError` with `rate_limited` and the rate when it is one too many."""
        buckets = self._buckets.get(kind) or self._open(kind)
        rule = RULES[kind]
        for bucket, amount, rate, unit in (
            (buckets[0], 1, rule.frames_per_s, "frames"),
            (buckets[1], payload_bytes, rule.bytes_per_s, "bytes"),
        ):
            if not bucket.take(amount, now_ms):
                raise LimitError(
                    "rate_limited",
                    f"more than {rate} {unit} of {kind.name} a second",
                    hint="send fewer or larger batches",
                    limit=rate,
                )

    def _open(self, kind: FrameType) -> tuple[TokenBucket, TokenBucket]:
        rule = RULES[kind]
        frames = TokenBucket(rule.frames_per_s, rule.frames_per_s * BURST_SECONDS, self._now_ms)
        size = TokenBucket(rule.bytes_per_s, max(rule.bytes_per_s * BURST_SECONDS, rule.max_bytes), self._now_ms)
        self._buckets[kind] = (frames, size)
        return self._buckets[kind]


class Backoff:
    """Delays between attempts: doubling from `first_ms` to `cap_ms`, then up to a quarter less by a hash of `key`.

    The jitter needs to differ between nodes, not to be secret: a hash keeps this file pure and a run repeatable.
    """

    __slots__ = ("_attempt", "_cap_ms", "_first_ms", "_key")

    def __init__(self, key: str, first_ms: int, cap_ms: int) -> None:
        self._key = key
        self._first_ms = first_ms
        self._cap_ms = cap_ms
        self._attempt = 0

    def next_ms(self) -> float:
        """Return the delay before the next attempt."""
        full = min(self._cap_ms, self._first_ms << min(self._attempt, 20))
        self._attempt += 1
        seed = hashlib.sha256(f"{self._key}|{self._attempt}".encode()).digest()[0]
        return full * (1 - seed / 1_024)

    def reset(self) -> None:
        """Start over: the last connection was a healthy one."""
        self._attempt = 0

"""A virtual network: connections between hosts, with delay, loss, partitions and flapping, carrying real encoded frames.

A connection keeps its frames in order unless the plan wants reordering; frames in flight die with it. Hosts are numbered; a
member usually is one host, a twinned (Byzantine) member is two, and each other host is connected to one of them.
"""

import contextvars
import random
from collections import defaultdict
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Final, Protocol

from consensus.messages import _KINDS as KINDS
from ledger.committee import Member
from ledger.errors import LimitError
from ledger.types import MemberId
from p2p.frames import Frame, FrameDecoder
from p2p.limits import RULES, SIZE_LIMITS, Limits, Meter, Priority
from p2p.messages import Application, Consensus, Hello, Ping, Pong, Reject, Welcome, decode, encode
from p2p.peers import Handler, PeerInfo
from tests.sim.loop import VirtualLoop

LIMITS: Final = Limits()
MAX_IN_FLIGHT: Final = 4_000  # frames of one connection; more than any honest node has under way here
HANDSHAKE: Final = (Hello, Welcome, Reject, Ping, Pong)


@dataclass
class Quality:
    """What all connections are like. Times in milliseconds, the rest are probabilities for each frame."""

    delay_ms: tuple[float, float] = (1.0, 5.0)
    loss: float = 0.0
    duplicate: float = 0.0
    reorder: float = 0.0


@dataclass
class Pair:
    """The connection between two hosts; `cuts` counts the faults that keep it down, `epoch` its incarnations."""

    up: bool = False
    dialing: bool = False
    epoch: int = 0
    cuts: int = 0
    barred_until_s: float = 0.0


@dataclass
class Direction:
    """One way of a connection."""

    blocked: int = 0
    slow_ms: float = 0.0
    free_at_s: float = 0.0
    in_flight: int = 0


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A message on its way out of a lying member, which may have been changed, delayed or sent elsewhere."""

    to: MemberId
    message: Application
    delay_ms: float = 0.0


def kind_of(message: Application) -> str:
    """Return the name of a message's class, or of the consensus message in it (its second byte is its kind)."""
    return KINDS[message.payload[1]].__name__ if isinstance(message, Consensus) else type(message).__name__


class Watcher(Protocol):
    """Who sees what leaves hosts and what breaks inside them."""

    def on_sent(self, host: int, message: Application) -> None:
        """A host sends a message, to one member or to all."""

    def on_frame(self, source: int, to: int, frame: bytes) -> None:
        """A frame arrives at a host that is up."""

    def on_crash(self, host: int, error: Exception) -> None:
        """A host's code raised while it handled something."""

    def on_dropped(self, host: int, member: MemberId, reason: str) -> None:
        """A host ended a connection because of what the member sent."""


@dataclass
class Wire:
    """All connections. `hosts_of` says which hosts are a member, `route` to which of a member's hosts another one connects."""

    loop: VirtualLoop
    rng: random.Random
    watcher: Watcher
    members: tuple[MemberId, ...]
    route: Callable[[int, MemberId], int]
    quality: Quality = field(default_factory=Quality)
    endpoints: dict[int, "Endpoint"] = field(default_factory=dict)
    pairs: dict[tuple[int, int], Pair] = field(default_factory=lambda: defaultdict(Pair))
    directions: dict[tuple[int, int], Direction] = field(default_factory=lambda: defaultdict(Direction))
    lost: dict[int, Callable[[int, int, str], bool]] = field(default_factory=dict)

    # ---- connections

    def pair(self, a: int, b: int) -> Pair:
        """Return the connection between two hosts."""
        return self.pairs[(a, b) if a < b else (b, a)]

    def plug(self, endpoint: "Endpoint") -> None:
        """Take a host that was switched on."""
        self.endpoints[endpoint.host] = endpoint
        self.refresh(endpoint.host)

    def unplug(self, host: int) -> None:
        """A host lost its power: its connections end, and it hears nothing of that."""
        if self.endpoints.pop(host, None) is not None:
            self.refresh(host)

    def refresh(self, host: int) -> None:
        """Open and end the connections of a host as things stand."""
        for other in range(len(self.members)):
            if other != host:
                self._settle(min(host, other), max(host, other))

    def _wanted(self, a: int, b: int) -> bool:
        first, second = self.endpoints.get(a), self.endpoints.get(b)
        if first is None or second is None or self.pair(a, b).cuts:
            return False
        return first.peer_host(self.members[b]) == b and second.peer_host(self.members[a]) == a

    def _settle(self, a: int, b: int) -> None:
        pair, wanted = self.pair(a, b), self._wanted(a, b)
        if pair.up and not wanted:
            self.drop(a, b, "connection lost")
        elif wanted and not pair.up and not pair.dialing:
            pair.dialing = True
            at_s = max(self.loop.time() + self.rng.uniform(0.02, 0.25), pair.barred_until_s)
            self.loop.call_at(at_s, self._connect, a, b)

    def _connect(self, a: int, b: int) -> None:
        pair = self.pair(a, b)
        pair.dialing = False
        if not self._wanted(a, b):
            return
        if self.loop.time() < pair.barred_until_s:
            self._settle(a, b)
            return
        pair.up = True
        pair.epoch += 1
        for host, other in ((a, b), (b, a)):
            self.directions[host, other].in_flight = 0
            self.directions[host, other].free_at_s = 0.0
            self.endpoints[host].tell_connected(self.members[other])

    def drop(self, a: int, b: int, reason: str) -> None:
        """End a connection; it is dialled again while both sides want it."""
        pair = self.pair(a, b)
        if not pair.up:
            return
        pair.up = False
        pair.epoch += 1
        for host, other in ((a, b), (b, a)):
            if (endpoint := self.endpoints.get(host)) is not None:
                endpoint.tell_disconnected(self.members[other], reason)
        self._settle(min(a, b), max(a, b))

    def cut(self, a: int, b: int, change: int) -> None:
        """Add (1) or take away (-1) a fault that keeps two hosts apart."""
        self.pair(a, b).cuts += change
        self._settle(min(a, b), max(a, b))

    def block(self, source: int, to: int, change: int) -> None:
        """Add (1) or take away (-1) a fault that silently swallows the frames of one direction."""
        self.directions[source, to].blocked += change

    # ---- frames

    def is_up(self, source: int, to: int) -> bool:
        """Return whether two hosts are connected."""
        return self.pair(source, to).up

    def carry(self, source: int, to: int, message: Application, frame: bytes, delay_ms: float = 0.0) -> bool:
        """Send a frame over an open connection; False when there is none or its queue is full."""
        pair, way = self.pair(source, to), self.directions[source, to]
        if not pair.up:
            return False
        if way.in_flight >= MAX_IN_FLIGHT:
            if RULES[message.type].priority is Priority.CONSENSUS:
                self.loop.call_soon(self.drop, source, to, "its queue is full")
            return False
        quality = self.quality
        if way.blocked or (quality.loss and self.rng.random() < quality.loss):
            return True
        if self.lost and any(is_lost(source, to, kind_of(message)) for is_lost in self.lost.values()):
            return True
        copies = 2 if quality.duplicate and self.rng.random() < quality.duplicate else 1
        for _ in range(copies):
            at_s = self.loop.time() + (self.rng.uniform(*quality.delay_ms) + way.slow_ms + delay_ms) / 1_000
            if not delay_ms and not (quality.reorder and self.rng.random() < quality.reorder):
                at_s = way.free_at_s = max(at_s, way.free_at_s)
            way.in_flight += 1
            self.loop.call_at(at_s, self._arrive, pair.epoch, source, to, frame)
        return True

    def _arrive(self, epoch: int, source: int, to: int, frame: bytes) -> None:
        if self.pair(source, to).epoch != epoch:
            return
        self.directions[source, to].in_flight -= 1
        if (endpoint := self.endpoints.get(to)) is not None:
            self.watcher.on_frame(source, to, frame)
            endpoint.take(source, frame)


class Endpoint:
    """One life of one host on the wire: the `Network` that its driver sees."""

    def __init__(self, wire: Wire, host: int, handler: Handler, members: Iterable[Member]) -> None:
        self.wire = wire
        self.host = host
        self.me = wire.members[host]
        self.context: contextvars.Context = contextvars.copy_context()
        self.cpu_ms = 0.0
        self.lie: Callable[[Outgoing], Iterable[Outgoing]] | None = None
        self._handler = handler
        self._peers = [member.id for member in members if member.id != self.me]
        self._busy_until_s = 0.0
        self._meters: dict[int, Meter] = {}

    @property
    def strangers_refused(self) -> int:
        """Return 0: nobody else is on this wire."""
        return 0

    def peer_host(self, member: MemberId) -> int:
        """Return the host that this one takes for a member, or -1 for a member that it does not know."""
        return self.wire.route(self.host, member) if member in self._peers else -1

    # ---- out

    def send(self, member_id: MemberId, message: Application) -> bool:
        """Send to one member."""
        self.wire.watcher.on_sent(self.host, message)
        return self._emit(member_id, message, encode(message))

    def broadcast(self, message: Application, *, skip: MemberId | None = None) -> int:
        """Send to all members."""
        self.wire.watcher.on_sent(self.host, message)
        frame = encode(message)
        return sum(self._emit(member, message, frame) for member in self._peers if member != skip)

    def _emit(self, member: MemberId, message: Application, frame: bytes) -> bool:
        if self.lie is None:
            return self._carry(member, message, frame)
        done = True
        for item in self.lie(Outgoing(member, message)):
            same = item.message is message
            done = self._carry(item.to, item.message, frame if same else encode(item.message), item.delay_ms)
        return done

    def _carry(self, member: MemberId, message: Application, frame: bytes, delay_ms: float = 0.0) -> bool:
        to = self.peer_host(member)
        if to < 0 or self.wire.endpoints.get(self.host) is not self:
            return False
        return self.wire.carry(self.host, to, message, frame, delay_ms)

    def disconnect(self, member_id: MemberId, reason: str, *, misbehaved: bool = True) -> None:
        """End a connection; one that misbehaved stays away for a while."""
        to = self.peer_host(member_id)
        if to < 0:
            return
        if misbehaved:
            self.wire.watcher.on_dropped(self.host, member_id, reason)
            self.wire.pair(self.host, to).barred_until_s = self.wire.loop.time() + LIMITS.penalty_ms / 1_000
        self.wire.loop.call_soon(self.wire.drop, self.host, to, reason)

    def peers(self) -> tuple[PeerInfo, ...]:
        """Return every other member."""
        return tuple(self._info(member) for member in self._peers)

    def _info(self, member: MemberId) -> PeerInfo:
        up = self.wire.is_up(self.host, self.peer_host(member))
        return PeerInfo(member, "virtual", "out", up, None, None, None, 0, 0, 0, None)

    def set_members(self, members: Iterable[Member], previous: Mapping[bytes, MemberId] | None = None) -> None:
        """Take the members as of now."""
        del previous
        self._peers = [member.id for member in members if member.id != self.me]
        self.wire.refresh(self.host)

    # ---- in

    def tell_connected(self, member: MemberId) -> None:
        """Tell the node of a new connection, not from within a call of its own."""
        self._meters.pop(self.peer_host(member), None)
        self.wire.loop.call_soon(self._run, self._handler.on_connected, member)

    def tell_disconnected(self, member: MemberId, reason: str) -> None:
        """Tell the node that a connection ended."""
        self.wire.loop.call_soon(self._run, self._handler.on_disconnected, member, reason)

    def take(self, source: int, frame: bytes) -> None:
        """Hand over a frame, at once or when this slow machine has done what came before."""
        if not self.cpu_ms:
            self._handle(source, frame)
            return
        self._busy_until_s = max(self._busy_until_s, self.wire.loop.time()) + self.cpu_ms / 1_000
        self.wire.loop.call_at(self._busy_until_s, self._handle, source, frame)

    def _handle(self, source: int, frame: bytes) -> None:
        for cut in FrameDecoder(SIZE_LIMITS).feed(frame):
            if not self._within_rates(source, cut):
                return
            message = decode(cut)
            if not isinstance(message, HANDSHAKE):
                self._run(self._handler.on_message, self.wire.members[source], message)

    def _within_rates(self, source: int, frame: Frame) -> bool:
        """Hold a peer to the rates that a real connection holds it to."""
        now_ms = self.wire.loop.time() * 1_000
        meter = self._meters.get(source)
        if meter is None:
            meter = self._meters[source] = Meter(now_ms)
        try:
            meter.charge(frame.type, len(frame.payload), now_ms)
        except LimitError as error:
            self.disconnect(self.wire.members[source], error.message)
            return False
        return True

    def _run(self, call: Callable[..., None], *args: object) -> None:
        """Run the node's code as its own, unless its power is gone."""
        if self.wire.endpoints.get(self.host) is self:
            try:
                self.context.run(call, *args)
            except Exception as error:  # noqa: BLE001 (whatever it is, it belongs to this node and is judged as such)
                self.wire.watcher.on_crash(self.host, error)

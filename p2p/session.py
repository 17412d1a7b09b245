"""One connection as a pure state machine: bytes and `now` in, events and bytes out (protocol, section P2P).

    HELLO --Hello fits, Welcome sent--> WELCOME --Welcome received--> OPEN --anything final--> CLOSED

Each side sends Hello first and Welcome once the other's Hello fits, so an open session is one that both sides accepted. Until
then only the three small handshake frames are taken. Times are monotonic milliseconds. After `Closed` the owner writes what
`next_chunk` still gives (a Reject that tells the peer why) and closes the connection.

A dialling node that does not know the certificate it was shown says so in its Welcome: the session is then for blocks only
(`Scope`), on both sides, each answer to a request, and ends after a while so that the member is looked for anew.
"""

import math
from dataclasses import dataclass
from enum import Enum
from typing import Final, TypeAlias

from ledger.errors import BadEncodingError, InvalidInputError, LimitError, unreachable
from ledger.types import Height, MemberId
from p2p.frames import Frame, FrameDecoder, FrameType
from p2p.handshake import Terms, check_hello
from p2p.limits import ANSWERS, HANDSHAKE_LIMITS, RULES, SENDS, SIZE_LIMITS, TAKES, Limits, Meter, Scope
from p2p.messages import (
    MAX_TEXT_CHARS,
    Application,
    Blocks,
    GetBlocks,
    Hello,
    Message,
    Ping,
    Pong,
    Reject,
    Status,
    Welcome,
    decode,
    encode,
)
from p2p.outbox import Outbox, Put
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State

_SEND_QUEUE_FULL: Final = "send_queue_full: the peer does not drain its consensus messages"


class Phase(Enum):
    """Where the connection stands."""

    HELLO = "hello"
    WELCOME = "welcome"
    OPEN = "open"
    CLOSED = "closed"


@dataclass(frozen=True, slots=True)
class Opened:
    """Both sides accepted each other."""

    member_id: MemberId
    height: Height


@dataclass(frozen=True, slots=True)
class Received:
    """A message for the node."""

    message: Application


@dataclass(frozen=True, slots=True)
class Closed:
    """The end, and why. `misbehaved`: the peer broke the rules and should stay away for a while. `again`: dial anew at once."""

    reason: str
    misbehaved: bool = False
    again: bool = False


Event: TypeAlias = Opened | Received | Closed


class Session:
    """The state of one connection whose TLS handshake is done.

    `owner` is the member whose certificate the peer showed; None, for a peer that was dialled only, if nobody knows it.
    """

    def __init__(
        self, terms: Terms, owner: MemberId | None, dialled: MemberId | None, height: Height, limits: Limits, now_ms: float
    ) -> None:
        claimed = owner or dialled
        if claimed is None:
            unreachable("a session with a stranger that was not dialled")
        self.scope = Scope.ASKS if owner is None else Scope.FULL
        self.phase = Phase.HELLO
        self.closed: Closed | None = None
        self.height = Height(0)
        self.rtt_ms: float | None = None
        self.outbox = Outbox(limits.outbox_bytes, limits.outbox_frames)
        self._terms = terms
        self._owner = claimed
        self._dialled = dialled
        self._limits = limits
        self._decoder = FrameDecoder(HANDSHAKE_LIMITS)
        self._meter = Meter(now_ms)
        self._heard_ms = now_ms
        self._deadline_ms = now_ms + limits.handshake_timeout_ms
        self._over_ms = math.inf
        self._unanswered = 0
        self._pings = 0
        self._ping_sent_ms: float | None = None
        self._put(Hello(terms.genesis_hash, terms.protocol_version, terms.member_id, terms.software_version, height))

    @property
    def deadline_ms(self) -> float:
        """Return when to call `tick` at the latest."""
        return self._deadline_ms

    @property
    def buffered_bytes(self) -> int:
        """Return how much of an unfinished frame is held."""
        return self._decoder.buffered_bytes

    def receive(self, data: bytes, now_ms: float) -> list[Event]:
        """Take bytes from the peer; return what they bring. Nothing is taken after the session closed."""
        events: list[Event] = []
        if self.phase is Phase.CLOSED:
            return events
        self._heard_ms = now_ms
        try:
            for frame in self._decoder.feed(data):
                event = self._on_frame(frame, now_ms)
                if event is not None:
                    events.append(event)
                    if type(event) is Closed:
                        break
        except (InvalidInputError, LimitError) as error:
            events.append(self.close(f"{error.reason}: {error.message}", misbehaved=True))
        return events

    def tick(self, now_ms: float) -> Closed | None:
        """Check the timeouts and ask for a sign of life; return the end if this was it."""
        if self.phase is Phase.CLOSED or now_ms < self._deadline_ms:
            return None
        if self.phase is not Phase.OPEN:
            return self.close(f"handshake_timeout: not complete within {self._limits.handshake_timeout_ms} ms")
        if now_ms - self._heard_ms >= self._limits.idle_timeout_ms:
            return self.close(f"idle_timeout: nothing heard for {self._limits.idle_timeout_ms} ms")
        if now_ms >= self._over_ms:
            return self.close("sync_only_over: this member is dialled anew, its certificate is not known here", again=True)
        return self._ping(now_ms)

    def send(self, kind: FrameType, frame: bytes) -> bool:
        """Queue a frame; False when it was dropped or is beyond the session's scope.

        A consensus frame without room closes the session (see `closed`).
        """
        if self.phase is not Phase.OPEN or kind not in SENDS[self.scope]:
            return False
        if self.scope is Scope.ASKS:
            self._unanswered += 1
        elif self.scope is Scope.SERVES and kind in ANSWERS:
            if not self._unanswered:
                return False
            self._unanswered -= 1
        outcome = self.outbox.put(RULES[kind].priority, frame)
        if outcome is Put.OVERFLOW:
            self.close(_SEND_QUEUE_FULL)
        return outcome is Put.QUEUED

    def next_chunk(self) -> bytes | None:
        """Return the bytes to write next, or None."""
        return self.outbox.next_chunk()

    def close(self, reason: str, *, misbehaved: bool = False, again: bool = False) -> Closed:
        """End the session from this side, telling the peer why; return the event, or that of an earlier end."""
        return self._finish(Closed(reason, misbehaved, again), Reject(_line(reason)))

    def lost(self, reason: str) -> Closed:
        """Note that the connection itself is gone; return why the session ended, which may be an earlier reason."""
        if self.phase in (Phase.HELLO, Phase.WELCOME):
            reason += " before the handshake was complete: it may not know our certificate, or keep us away for a while"
        return self._finish(Closed(f"connection_lost: {reason}"))

    def _on_frame(self, frame: Frame, now_ms: float) -> Event | None:
        """Charge, decode and take one frame; raises what `receive` turns into a close."""
        self._meter.charge(frame.type, len(frame.payload), now_ms)
        message = decode(frame)
        match message:
            case Hello() if self.phase is Phase.HELLO:
                return self._on_hello(message)
            case Welcome() if self.phase is Phase.WELCOME:
                return self._on_welcome(message, now_ms)
            case Reject():
                return self._finish(Closed(f"rejected by the peer: {message}"))
            case Hello() | Welcome():
                raise BadEncodingError(f"{frame.type.name} out of turn in phase {self.phase.value}")
            case _ if self.phase is not Phase.OPEN:
                raise BadEncodingError(f"{frame.type.name} before Welcome")
            case _ if frame.type not in TAKES[self.scope]:
                raise BadEncodingError(f"a {frame.type.name} frame has no place in a session for blocks only")
            case Ping():
                return self._put(Pong(message.nonce))
            case Pong():
                self._on_pong(message, now_ms)
                return None
            case _:
                return self._on_application(message)

    def _on_application(self, message: Application) -> Received:
        """Note the peer's height and, in a session for blocks only, which requests still wait for their answer."""
        match message:
            case Status():
                self.height = message.height
            case GetBlocks() | GetSnapshot() | GetHistory() | GetState() if self.scope is Scope.SERVES:
                self._unanswered += 1
            case Blocks() | Snapshot() | History() | State() if self.scope is Scope.ASKS:
                self._unanswered -= 1
                if self._unanswered < 0:
                    raise BadEncodingError(f"{type(message).__name__} that nobody asked for, in a session for blocks only")
            case _:
                pass
        return Received(message)

    def _on_hello(self, hello: Hello) -> Closed | None:
        refusal = check_hello(hello, self._terms, self._owner, self._dialled)
        if refusal is not None:
            return self._finish(Closed(str(refusal)), refusal)
        self.phase = Phase.WELCOME
        self.height = hello.height
        # The peer may send anything once it has our Welcome, and its own may come in one piece with that.
        self._allow()
        return self._put(Welcome(sync_only=self.scope is Scope.ASKS))

    def _on_welcome(self, welcome: Welcome, now_ms: float) -> Event:
        if welcome.sync_only:
            if self._dialled is not None:
                raise BadEncodingError("only the side that dials may ask for a session for blocks only")
            self.scope = Scope.SERVES
            self._allow()
        if self.scope is Scope.ASKS:
            self._over_ms = now_ms + self._limits.sync_only_ms
        self.phase = Phase.OPEN
        return self._ping(now_ms) or Opened(self._owner, self.height)

    def _allow(self) -> None:
        """Have the decoder refuse by its header what the scope has no place for; `_on_frame` judges what is cut already."""
        self._decoder.allow({kind: SIZE_LIMITS[kind] for kind in TAKES[self.scope]})

    def _ping(self, now_ms: float) -> Closed | None:
        """Ask for a sign of life; while one is outstanding the deadline only moves on."""
        silent_ms = self._heard_ms + self._limits.idle_timeout_ms
        self._deadline_ms = min(now_ms + self._limits.ping_interval_ms, silent_ms, self._over_ms)
        if self._ping_sent_ms is not None:
            return None
        self._pings += 1
        self._ping_sent_ms = now_ms
        return self._put(Ping(self._pings))

    def _on_pong(self, pong: Pong, now_ms: float) -> None:
        if pong.nonce == self._pings and self._ping_sent_ms is not None:
            self.rtt_ms = now_ms - self._ping_sent_ms
            self._ping_sent_ms = None

    def _put(self, message: Message) -> Closed | None:
        """Queue one of the session's own frames; return the end if there was no room."""
        if self.outbox.put(RULES[message.type].priority, encode(message)) is Put.OVERFLOW:
            return self._finish(Closed(_SEND_QUEUE_FULL))
        return None

    def _finish(self, closed: Closed, farewell: Reject | None = None) -> Closed:
        """Close once, replacing all that was waiting by the last word; return how it ended, the first time counting."""
        if self.closed is None:
            self.phase = Phase.CLOSED
            self.closed = closed
            self.outbox.clear()
            if farewell is not None:
                self._put(farewell)
        return self.closed


def _line(text: str) -> str:
    """Return text that a Reject can carry."""
    return "".join(char if char.isprintable() else "?" for char in text)[:MAX_TEXT_CHARS]

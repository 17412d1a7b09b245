"""What a node keeps of each member from one connection to the next, what it shows of it, and what it tells the node.

Pure: times are monotonic milliseconds passed in (`connected_since_ms` alone is Unix time, for people).
"""

from dataclasses import dataclass
from typing import Protocol

import structlog

from ledger.committee import Member
from ledger.types import Height, MemberId
from p2p.limits import Backoff, Limits, TokenBucket
from p2p.messages import Application
from p2p.session import Closed, Session

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("p2p")

STRANGER_LOG_BURST = 5


class Handler(Protocol):
    """What the node does with its peers. Called on the event loop, never from within a call to the transport.

    An exception raised here ends the peer's connection and goes to the loop's exception handler: it is a defect of the node.
    """

    def on_connected(self, member_id: MemberId) -> None:
        """A peer can be sent to from now on."""

    def on_message(self, member_id: MemberId, message: Application) -> None:
        """A peer said something well-formed within its limits; nothing more is known of it."""

    def on_disconnected(self, member_id: MemberId, reason: str) -> None:
        """A connected peer is gone, and why. Follows every `on_connected`."""


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What an operator wants to know of one member. Counters run over all its connections since the start."""

    member_id: MemberId
    address: str
    direction: str
    connected: bool
    connected_since_ms: int | None
    rtt_ms: float | None
    height: Height | None
    bytes_in: int
    bytes_out: int
    dropped_frames: int
    last_error: str | None


class Peer:
    """One member as this node knows it. `session` is that of its open connection, None while there is none."""

    def __init__(self, me: MemberId, member: Member, limits: Limits) -> None:
        self.member = member
        self.dials = me < member.id
        self.backoff = Backoff(f"{me}|{member.id}", limits.redial_first_ms, limits.redial_cap_ms)
        self.session: Session | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.penalty_until_ms = 0.0
        self._penalty_ms = limits.penalty_ms
        self._connected_since_ms: int | None = None
        self._dropped_frames = 0
        self._last_error: str | None = None
        self._logged_error: str | None = None

    @property
    def direction(self) -> str:
        """Return "out" when this node dials, "in" when the peer does."""
        return "out" if self.dials else "in"

    def opened(self, session: Session, remote: str, wall_ms: int) -> None:
        """Note that a connection is open."""
        self.session = session
        self._connected_since_ms = wall_ms
        self._logged_error = None
        log.info("p2p.connected", peer=self.member.id, remote=remote, direction=self.direction)

    def ended(self, session: Session, closed: Closed, remote: str, now_ms: float) -> bool:
        """Note how a connection ended; say whether it was the open one."""
        self._dropped_frames += session.outbox.dropped
        if closed.misbehaved:
            self.penalty_until_ms = now_ms + self._penalty_ms
        if self.session is not session:
            self.failed(closed.reason, remote, suspicious=True)
            return False
        self.session = None
        self._connected_since_ms = None
        self._last_error = closed.reason
        level = log.warning if closed.misbehaved else log.info
        level("p2p.disconnected", peer=self.member.id, remote=remote, reason=closed.reason)
        return True

    def failed(self, reason: str, remote: str, *, suspicious: bool) -> None:
        """Note why a connection did not come about; the same reason over and over is logged once.

        A peer that is merely not there is news; one that is there and does not fit is a warning.
        """
        repeated = reason == self._logged_error
        self._last_error = self._logged_error = reason
        level = log.debug if repeated else log.warning if suspicious else log.info
        level("p2p.connect_failed", peer=self.member.id, remote=remote, reason=reason)

    def info(self) -> PeerInfo:
        """Return the view for operators."""
        session = self.session
        return PeerInfo(
            self.member.id,
            self.member.p2p_address,
            self.direction,
            session is not None,
            self._connected_since_ms,
            session.rtt_ms if session else None,
            session.height if session else None,
            self.bytes_in,
            self.bytes_out,
            self._dropped_frames + (session.outbox.dropped if session else 0),
            self._last_error,
        )


class Strangers:
    """Counts connections that failed the TLS handshake and logs them: a few at once, then at a bounded rate."""

    def __init__(self, limits: Limits) -> None:
        self.refused = 0
        self._bucket = TokenBucket(limits.stranger_logs_per_s, STRANGER_LOG_BURST, 0)
        self._not_logged = 0

    def note(self, remote: str, reason: str, now_ms: float) -> None:
        """Count one; those that are not logged are numbered in the next line."""
        self.refused += 1
        if self._bucket.take(1, now_ms):
            log.warning("p2p.stranger_refused", remote=remote, reason=reason, not_logged=self._not_logged)
            self._not_logged = 0
        else:
            self._not_logged += 1

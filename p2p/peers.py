"""What a node keeps of each member from one connection to the next, what it shows of it, and what it tells the node.

Pure: times are monotonic milliseconds passed in (`connected_since_ms` alone is Unix time, for people).
"""

from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from ledger.committee import Member
from ledger.types import Height, MemberId
from p2p.limits import Backoff, Limits, Scope, TokenBucket
from p2p.messages import Application, Status
from p2p.session import Closed, Session

log: structlog.typing.FilteringBoundLogger = structlog.get_logger("p2p")

STRANGER_LOG_BURST: Final = 5
_UNPROVEN: Final = "certificate_unknown: the certificate at this address is not the one on record here; taking blocks only"


class Handler(Protocol):
    """What the node does with its peers. Called on the event loop, never from within a call to the transport.

    `on_connected` and `on_disconnected` concern members that proved who they are. Somebody who did not, at the address of a
    member, is heard of in `on_unproven_tip`, and in `on_message` with answers that certify themselves.
    An exception raised here ends the peer's connection and goes to the loop's exception handler: it is a defect of the node.
    """

    def on_connected(self, member_id: MemberId) -> None:
        """A peer can be sent to from now on, or at least served with blocks if that is all that it asks for."""

    def on_message(self, member_id: MemberId, message: Application) -> None:
        """A peer said something well-formed within its limits; nothing more is known of it."""

    def on_disconnected(self, member_id: MemberId, reason: str) -> None:
        """A connected peer is gone, and why. Follows every `on_connected`."""

    def on_unproven_tip(self, member_id: MemberId, status: Status) -> None:
        """Somebody at this member's address, whose certificate is not known here (yet), claims to have what `status` says.

        It can be asked for blocks and snapshots, since they certify themselves; its word counts for nothing else.
        """


@dataclass(frozen=True, slots=True)
class PeerInfo:
    """What an operator wants to know of one member. Counters run over all its connections since the start.

    `connected` is said of a full session, `sync_only` of one for blocks only; `direction` is "out" when this node dialled.
    """

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
    sync_only: bool = False


class Peer:
    """One member as this node knows it. `session` is that of its open connection, None while there is none.

    A member that misbehaved is kept away until `penalty_until_ms`. Somebody who did so at its address without its certificate is
    not dialled before `dial_from_ms`, which must not hold up the member itself when it comes.
    """

    def __init__(self, me: MemberId, member: Member, limits: Limits) -> None:
        self.member = member
        self.dials = me < member.id
        first_ms, cap_ms = (
            (limits.redial_first_ms, limits.redial_cap_ms) if self.dials else (limits.reverse_first_ms, limits.reverse_cap_ms)
        )
        self.backoff = Backoff(f"{me}|{member.id}", first_ms, cap_ms)
        self.session: Session | None = None
        self.bytes_in = 0
        self.bytes_out = 0
        self.penalty_until_ms = 0.0
        self.dial_from_ms = 0.0
        self._outgoing = self.dials
        self._penalty_ms = limits.penalty_ms
        self._connected_since_ms: int | None = None
        self._dropped_frames = 0
        self._last_error: str | None = None
        self._logged_error: str | None = None

    @property
    def direction(self) -> str:
        """Return "out" when this node dialled the open connection, or should dial, "in" when the peer."""
        return "out" if self._outgoing else "in"

    @property
    def connected(self) -> bool:
        """Return whether there is a full session."""
        return self.session is not None and self.session.scope is Scope.FULL

    def opened(self, session: Session, remote: str, wall_ms: int, *, outgoing: bool) -> None:
        """Note that a connection is open."""
        self.session = session
        self._outgoing = outgoing
        self._connected_since_ms = wall_ms
        if session.scope is Scope.ASKS:
            self._note("p2p.sync_only", _UNPROVEN, remote, suspicious=True)
            return
        self._logged_error = None
        log.info("p2p.connected", peer=self.member.id, remote=remote, direction=self.direction, scope=session.scope.value)

    def ended(self, session: Session, closed: Closed, remote: str, now_ms: float, *, proven: bool) -> bool:
        """Note how a connection ended; say whether it was the open one. `proven`: it was this member, not just its address."""
        self._dropped_frames += session.outbox.dropped
        if closed.misbehaved:
            self.dial_from_ms = now_ms + self._penalty_ms
            if proven:
                self.penalty_until_ms = self.dial_from_ms
        if self.session is not session:
            if self.session is None:
                self.failed(closed.reason, remote, suspicious=True)
            else:  # one that was not needed, as when both sides dialled
                log.debug("p2p.superfluous", peer=self.member.id, remote=remote, reason=closed.reason)
            return False
        self.session = None
        self._outgoing = self.dials
        self._connected_since_ms = None
        if session.scope is Scope.ASKS and not closed.misbehaved:
            log.debug("p2p.disconnected", peer=self.member.id, remote=remote, reason=closed.reason)
            return True
        self._last_error = closed.reason
        level = log.warning if closed.misbehaved else log.info
        level("p2p.disconnected", peer=self.member.id, remote=remote, reason=closed.reason)
        return True

    def failed(self, reason: str, remote: str, *, suspicious: bool) -> None:
        """Note why a connection did not come about; the same reason over and over is logged once.

        A peer that is merely not there is news; one that is there and does not fit is a warning.
        """
        self._note("p2p.connect_failed", reason, remote, suspicious=suspicious)

    def _note(self, event: str, reason: str, remote: str, *, suspicious: bool) -> None:
        repeated = reason == self._logged_error
        self._last_error = self._logged_error = reason
        level = log.debug if repeated else log.warning if suspicious else log.info
        level(event, peer=self.member.id, remote=remote, reason=reason)

    def info(self) -> PeerInfo:
        """Return the view for operators."""
        session = self.session
        return PeerInfo(
            self.member.id,
            self.member.p2p_address,
            self.direction,
            self.connected,
            self._connected_since_ms,
            session.rtt_ms if session else None,
            session.height if session else None,
            self.bytes_in,
            self.bytes_out,
            self._dropped_frames + (session.outbox.dropped if session else 0),
            self._last_error,
            session is not None and not self.connected,
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

"""One connection: moves the bytes of a `Session` between it and an asyncio transport, and keeps its timer.

A frame is written the moment it is sent unless the socket is full (TCP_NODELAY is set: asyncio leaves it off when it accepts).
"""

import asyncio
import contextlib
import socket
from typing import Final, Protocol, cast

from ledger.types import MemberId
from p2p.frames import FrameType
from p2p.limits import Scope
from p2p.messages import Application
from p2p.outbox import CHUNK_BYTES
from p2p.peers import Peer
from p2p.session import Closed, Event, Opened, Received, Session

_RANKS: Final = {Scope.ASKS: 0, Scope.SERVES: 1, Scope.FULL: 2}


class Hub(Protocol):
    """What a link reports to: the transport, which alone knows the other links."""

    def admit(self, link: "Link") -> tuple[Peer, Session] | None:
        """Return the peer and a new session for a link whose TLS handshake is done; None to cut it off."""

    def opened(self, link: "Link") -> None:
        """Both sides accepted each other."""

    def received(self, link: "Link", message: Application) -> None:
        """The peer said something."""

    def report(self, link: "Link", closed: Closed) -> None:
        """The session has ended; called at least once."""

    def forget(self, link: "Link") -> None:
        """The socket is closed."""


class Link(asyncio.Protocol):
    """One TLS connection and its session. `gone` is done when the socket is closed.

    `proven`: the peer showed the certificate of the member that this link is meant for.
    """

    def __init__(self, hub: Hub, remote: str, dialled: MemberId | None) -> None:
        self.remote = remote
        self.dialled = dialled
        self.loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self.loop.create_future()
        self.certificate = b""
        self.proven = False
        self.peer: Peer | None = None
        self.session: Session | None = None
        self.opened_ms: float | None = None
        self._hub = hub
        self._wire: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._paused = False
        self._ended = False

    def now_ms(self) -> float:
        """Return monotonic milliseconds."""
        return self.loop.time() * 1_000

    @property
    def scope(self) -> Scope | None:
        """Return what the session is for; None before the TLS handshake is done."""
        return None if self.session is None else self.session.scope

    @property
    def closed(self) -> Closed | None:
        """Return how the session ended, or None."""
        return None if self.session is None else self.session.closed

    def yields_to(self, other: "Link") -> bool:
        """Say whether an open link to the same member gives way to `other`, which opened after it; both sides say the same.

        Of two that came the same way the later one counts: who dialled it has given up the other. Else the one for more
        counts, and of equals the one that the smaller id dialled. An unproven one takes the place of no other.
        """
        if (other.dialled is None) == (self.dialled is None):
            return other.proven or not self.proven
        return other.rank > self.rank

    @property
    def rank(self) -> tuple[int, bool]:
        """Return how much this link counts beside one that came the other way."""
        if self.peer is None or self.session is None:
            return -1, False
        return _RANKS[self.session.scope], (self.dialled is not None) == self.peer.dials

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """TLS is done: find whose certificate it is and say Hello."""
        self._wire = cast("asyncio.Transport", transport)
        self._wire.set_write_buffer_limits(high=CHUNK_BYTES)
        with contextlib.suppress(OSError):  # some systems refuse it once the peer has reset the connection
            transport.get_extra_info("socket").setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.certificate = transport.get_extra_info("ssl_object").getpeercert(binary_form=True) or b""
        admitted = self._hub.admit(self)
        if admitted is None:
            self._ended = True
            self._wire.abort()
            return
        self.peer, self.session = admitted
        self._arm()
        self._flush()

    def data_received(self, data: bytes) -> None:
        """Feed the session; what it answers leaves at once."""
        if self._ended or self.session is None or self.peer is None:
            return
        self.peer.bytes_in += len(data)
        for event in self.session.receive(data, self.now_ms()):
            if not self._take(event):
                return
        self._flush()

    def _take(self, event: Event) -> bool:
        """Pass one event on; say whether the connection still stands, which the handler may have ended."""
        match event:
            case Received(message):
                self._hub.received(self, message)
            case Opened():
                self.opened_ms = self.now_ms()
                self._arm()
                self._hub.opened(self)
            case Closed():
                self.finish(event)
        return not self._ended

    def send(self, kind: FrameType, frame: bytes) -> bool:
        """Queue a frame and write it now if the socket takes it; False when it was dropped."""
        if self._ended or self.session is None:
            return False
        queued = self.session.send(kind, frame)
        if self.session.closed is not None:
            self.finish(self.session.closed)
        else:
            self._flush()
        return queued

    def close(self, reason: str, *, misbehaved: bool = False, again: bool = False) -> None:
        """End the connection from this side, telling the peer why."""
        if self.session is not None:
            self.finish(self.session.close(reason, misbehaved=misbehaved, again=again))

    def finish(self, closed: Closed) -> None:
        """Write the last word and close; the report follows in its own turn, so that no handler call nests in another."""
        if self._ended:
            return
        self._ended = True
        if self._wire is not None and self.session is not None and not self._wire.is_closing():
            self._wire.write(self.session.next_chunk() or b"")
            self._wire.close()
        self.loop.call_soon(self._hub.report, self, closed)

    def abort(self) -> None:
        """Cut the connection: it did not close in time."""
        if self._wire is not None:
            self._wire.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        """The socket is gone."""
        self._ended = True
        if self._timer is not None:
            self._timer.cancel()
        if self.session is not None:
            self._hub.report(self, self.session.lost("closed by the peer" if exc is None else str(exc) or type(exc).__name__))
        self._hub.forget(self)
        self.gone.set_result(None)

    def pause_writing(self) -> None:
        """The socket is full: what comes now waits in the outbox, where urgent frames overtake."""
        self._paused = True

    def resume_writing(self) -> None:
        """The socket takes more."""
        self._paused = False
        self._flush()

    def _flush(self) -> None:
        while not self._paused and not self._ended and self.session and self.peer and self._wire:
            chunk = self.session.next_chunk()
            if chunk is None:
                return
            self.peer.bytes_out += len(chunk)
            # TLS takes 16 KiB at a time and asyncio cuts that off the front: of bytes a copy each time, of a view none.
            self._wire.write(chunk if len(chunk) <= CHUNK_BYTES else memoryview(chunk))

    def _arm(self) -> None:
        """Set the timer to the session's deadline."""
        if self._timer is not None:
            self._timer.cancel()
        if self.session is not None:
            self._timer = self.loop.call_at(self.session.deadline_ms / 1_000, self._tick, self.session)

    def _tick(self, session: Session) -> None:
        if self._ended:
            return
        closed = session.tick(self.now_ms())
        if closed is not None:
            self.finish(closed)
            return
        self._flush()
        self._arm()

"""Sockets, TLS and timers for the sessions with all members: the only file of this package that knows asyncio.

One connection for each pair of members, dialled by the smaller id. What a connection means is decided by `Session`; this file
moves its bytes, keeps dialling, and turns its events into calls of the node's `Handler`, all on the event loop's thread.
A frame is written the moment it is sent unless the socket is full (TCP_NODELAY is set: asyncio leaves it off when it accepts).

The listener takes sockets in by itself (`add_reader` and `connect_accepted_socket`) because `create_server` hides failed TLS
handshakes of strangers (they reach the log in debug mode only) and keeps the context it was started with.
"""

import asyncio
import contextlib
import socket
import ssl
from collections.abc import Callable, Iterable, Mapping
from typing import Final, cast

from ledger.committee import Member
from ledger.errors import BadEncodingError
from ledger.types import Height, MemberId
from p2p.frames import FrameType
from p2p.handshake import Directory, Terms, parse_address
from p2p.limits import Limits, TokenBucket
from p2p.messages import Application, encode
from p2p.outbox import CHUNK_BYTES
from p2p.peers import Handler, Peer, PeerInfo, Strangers, log
from p2p.session import Closed, Event, Opened, Received, Session
from p2p.tls import LocalIdentity, describe_failure, make_contexts

LISTEN_BACKLOG: Final = 128
ACCEPT_RETRY_MS: Final = 200


class _Link(asyncio.Protocol):
    """One TLS connection and its session. `gone` is done when the socket is closed."""

    def __init__(self, hub: "Transport", remote: str, dialled: MemberId | None) -> None:
        self.remote = remote
        self.dialled = dialled
        self.loop = asyncio.get_running_loop()
        self.gone: asyncio.Future[None] = self.loop.create_future()
        self.certificate = b""
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
            if not self._take(event, self.peer):
                return
        self._flush()

    def _take(self, event: Event, peer: Peer) -> bool:
        """Pass one event on; say whether the connection still stands, which the handler may have ended."""
        match event:
            case Received(message):
                self._hub.handler.on_message(peer.member.id, message)
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

    def close(self, reason: str, *, misbehaved: bool = False) -> None:
        """End the connection from this side, telling the peer why."""
        if self.session is not None:
            self.finish(self.session.close(reason, misbehaved=misbehaved))

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
        self._hub.links.discard(self)
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


class Transport:
    """This node's connections to all other members. Not thread-safe: everything runs on one event loop.

    `tip` gives this node's height for its Hello, `wall_ms` Unix milliseconds for `PeerInfo.connected_since_ms`. `listen_port` 0
    takes a free port, which `listen_port` tells after `start`.
    """

    def __init__(
        self,
        identity: LocalIdentity,
        genesis_hash: bytes,
        members: Iterable[Member],
        handler: Handler,
        *,
        listen_host: str,
        listen_port: int,
        tip: Callable[[], Height],
        wall_ms: Callable[[], int],
        software_version: str,
        limits: Limits | None = None,
    ) -> None:
        self.handler = handler
        self.listen_port = listen_port
        self.links: set[_Link] = set()
        self._identity = identity
        self._terms = Terms(genesis_hash, identity.member_id, software_version)
        self._listen_host = listen_host
        self._tip = tip
        self._wall_ms = wall_ms
        self._limits = limits or Limits()
        self._peers: dict[MemberId, Peer] = {}
        self._open: dict[MemberId, _Link] = {}
        self._diallers: dict[MemberId, asyncio.Task[None]] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._listener: socket.socket | None = None
        self._accept_timer: asyncio.TimerHandle | None = None
        self._arrivals: dict[asyncio.Task[None], str] = {}
        self._accepts = TokenBucket(self._limits.accepts_per_s, 2 * self._limits.accepts_per_s, 0)
        self._strangers = Strangers(self._limits)
        self._trusted: tuple[bytes, ...] | None = None
        self.set_members(members)

    def set_members(self, members: Iterable[Member], previous: Mapping[bytes, MemberId] | None = None) -> None:
        """Take the members as of now: new ones are dialled, connections of removed ones and of replaced certificates drop.

        `previous` maps replaced certificates (DER) that are still in their grace period to their members.
        """
        self._directory = Directory(self._terms.member_id, members, previous or {})
        self._trust(self._directory.certificates)
        for member_id in self._peers.keys() - self._directory.peers.keys():
            del self._peers[member_id]
            if member_id in self._diallers:
                self._diallers.pop(member_id).cancel()
        for link in tuple(self.links):
            if link.peer is not None and self._directory.owner(link.certificate) != link.peer.member.id:
                link.close("not_permitted: this certificate is no longer a member's")
        for member_id, member in self._directory.peers.items():
            if member_id in self._peers:
                self._peers[member_id].member = member
            else:
                self._peers[member_id] = Peer(self._terms.member_id, member, self._limits)
        if self._loop is not None:
            self._dial_all(self._loop)

    def _trust(self, certificates: tuple[bytes, ...]) -> None:
        """Make the TLS contexts anew if others are to be trusted: a member may change its address in every block."""
        if certificates == self._trusted:
            return
        self._trusted = certificates
        self._tls = make_contexts(self._identity, certificates)
        for certificate in self._tls.unreadable:
            log.error("p2p.certificate_unreadable", peer=self._directory.owner(certificate))

    async def start(self) -> None:
        """Listen, and dial the members with larger ids. Raises `OSError` when the address cannot be bound."""
        self._loop = asyncio.get_running_loop()
        family = socket.AF_INET6 if ":" in self._listen_host else socket.AF_INET
        listener = socket.create_server((self._listen_host, self.listen_port), family=family, backlog=LISTEN_BACKLOG)
        listener.setblocking(False)
        self._listener = listener
        self.listen_port = listener.getsockname()[1]
        self._loop.add_reader(listener.fileno(), self._accept, listener, self._loop)
        log.info("p2p.listening", host=self._listen_host, port=self.listen_port)
        self._dial_all(self._loop)

    async def stop(self) -> None:
        """Close everything, within twice the shutdown timeout; `on_disconnected` is called for every connected peer."""
        if self._loop is None:
            return
        self._close_listener(self._loop)
        await asyncio.sleep(0)  # lets arrivals begin: a task cancelled before its first step would leave its socket open
        tasks = [*self._diallers.values(), *self._arrivals]
        self._diallers.clear()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        for link in tuple(self.links):
            link.close("stopping: the node shuts down")
        await self._wait_for_links()
        for link in tuple(self.links):
            link.abort()
        await self._wait_for_links()
        self._loop = None

    def _close_listener(self, loop: asyncio.AbstractEventLoop) -> None:
        if self._accept_timer is not None:
            self._accept_timer.cancel()
        if self._listener is not None:
            loop.remove_reader(self._listener.fileno())
            self._listener.close()
            self._listener = None

    async def _wait_for_links(self) -> None:
        waiting = [link.gone for link in self.links]
        if waiting:
            await asyncio.wait(waiting, timeout=self._limits.shutdown_timeout_ms / 1_000)

    def send(self, member_id: MemberId, message: Application) -> bool:
        """Send to one member; False when it is not connected or its queue has no room. Raises `TooLargeError`."""
        link = self._open.get(member_id)
        return link is not None and link.send(message.type, encode(message))

    def broadcast(self, message: Application, *, skip: MemberId | None = None) -> int:
        """Send the same bytes to all connected members (but `skip`); return to how many. Raises `TooLargeError`."""
        frame = encode(message)
        return sum(link.send(message.type, frame) for member_id, link in self._open.items() if member_id != skip)

    def disconnect(self, member_id: MemberId, reason: str, *, misbehaved: bool = True) -> None:
        """Drop a member's connection, telling it why; one that misbehaved is kept away for the penalty time."""
        link = self._open.get(member_id)
        if link is not None:
            link.close(reason, misbehaved=misbehaved)

    def peers(self) -> tuple[PeerInfo, ...]:
        """Return every other member, connected or not, by id."""
        return tuple(self._peers[member_id].info() for member_id in sorted(self._peers))

    @property
    def strangers_refused(self) -> int:
        """Return how many connections to the listener failed the TLS handshake."""
        return self._strangers.refused

    # What links tell

    def admit(self, link: _Link) -> tuple[Peer, Session] | None:
        """Return the peer and a new session for a link whose TLS handshake is done; None when it is not to be talked to.

        What goes wrong with a dialled link concerns the member that was dialled, whoever answered at its address.
        """
        owner = self._directory.owner(link.certificate)
        peer = None if owner is None else self._peers.get(link.dialled or owner)
        if owner is None or peer is None or self._listener is None or link.now_ms() < peer.penalty_until_ms:
            log.debug("p2p.not_admitted", remote=link.remote, peer=owner)
            return None
        self.links.add(link)
        return peer, Session(self._terms, owner, link.dialled, self._tip(), self._limits, link.now_ms())

    def opened(self, link: _Link) -> None:
        """Make this the peer's connection; an older one is dead or dying, since only the peer itself can open another."""
        if link.peer is None or link.session is None:
            return
        member_id = link.peer.member.id
        older = self._open.get(member_id)
        if older is not None:
            closed = Closed("replaced: a newer connection of this member is open")
            older.finish(closed)
            self.report(older, closed)
        self._open[member_id] = link
        link.peer.opened(link.session, link.remote, self._wall_ms())
        self.handler.on_connected(member_id)

    def report(self, link: _Link, closed: Closed) -> None:
        """Tell the log and the node, once, that a connection ended."""
        peer, session = link.peer, link.session
        if peer is None or session is None:
            return
        link.peer = None
        if peer.ended(session, closed, link.remote, link.now_ms()):
            del self._open[peer.member.id]
            self.handler.on_disconnected(peer.member.id, closed.reason)

    # Dialling

    def _dial_all(self, loop: asyncio.AbstractEventLoop) -> None:
        for member_id, peer in self._peers.items():
            if peer.dials and member_id not in self._diallers:
                task = loop.create_task(self._keep_dialling(peer, loop), name=f"p2p-dial-{member_id}")
                task.add_done_callback(_surface)
                self._diallers[member_id] = task

    async def _keep_dialling(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        while True:
            link = await self._dial(peer, loop)
            if link is not None:
                await asyncio.shield(link.gone)
                if link.opened_ms is not None and link.now_ms() - link.opened_ms >= self._limits.healthy_after_ms:
                    peer.backoff.reset()
            delay_ms = max(peer.backoff.next_ms(), peer.penalty_until_ms - loop.time() * 1_000)
            await asyncio.sleep(delay_ms / 1_000)

    async def _dial(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> _Link | None:
        """Return a link whose TLS handshake is done, or None after noting why there is none."""
        address = peer.member.p2p_address
        limits = self._limits
        try:
            host, port = parse_address(address)
            async with asyncio.timeout(limits.connect_timeout_ms / 1_000):
                _, link = await loop.create_connection(
                    lambda: _Link(self, address, peer.member.id),
                    host,
                    port,
                    ssl=self._tls.client,
                    server_hostname="",
                    ssl_handshake_timeout=limits.handshake_timeout_ms / 1_000,
                    ssl_shutdown_timeout=limits.shutdown_timeout_ms / 1_000,
                )
        except (OSError, ValueError) as error:  # ValueError: a host name that no encoding fits
            peer.failed(describe_failure(error), address, suspicious=isinstance(error, ssl.SSLError))
        except BadEncodingError as error:
            peer.failed(error.message, address, suspicious=True)
        else:
            return link
        return None

    # Listening

    def _accept(self, listener: socket.socket, loop: asyncio.AbstractEventLoop) -> None:
        """Take one socket in. Over the rate, or without file descriptors, the listener rests while its backlog waits."""
        rest_ms = 0.0
        try:
            sock, address = listener.accept()
        except (BlockingIOError, ConnectionAbortedError):
            return
        except OSError as error:
            log.warning("p2p.accept_failed", reason=str(error))
            rest_ms = ACCEPT_RETRY_MS
        else:
            self._receive(sock, f"{address[0]}:{address[1]}", loop)
            if not self._accepts.take(1, loop.time() * 1_000):
                rest_ms = self._accepts.wait_ms(1)
        if rest_ms:
            loop.remove_reader(listener.fileno())
            self._accept_timer = loop.call_later(
                rest_ms / 1_000, loop.add_reader, listener.fileno(), self._accept, listener, loop
            )

    def _receive(self, sock: socket.socket, remote: str, loop: asyncio.AbstractEventLoop) -> None:
        """Begin a TLS handshake; with too many under way the oldest gives way, since an honest one takes one round trip."""
        if len(self._arrivals) >= self._limits.max_pending_handshakes:
            oldest = next(iter(self._arrivals))
            self._strangers.note(self._arrivals.pop(oldest), "gave way: too many handshakes under way", loop.time() * 1_000)
            oldest.cancel()
        task = loop.create_task(self._shake_hands(sock, remote, loop), name=f"p2p-accept-{remote}")
        self._arrivals[task] = remote
        task.add_done_callback(lambda done: self._arrivals.pop(done, None))

    async def _shake_hands(self, sock: socket.socket, remote: str, loop: asyncio.AbstractEventLoop) -> None:
        try:
            await loop.connect_accepted_socket(
                lambda: _Link(self, remote, None),
                sock,
                ssl=self._tls.server,
                ssl_handshake_timeout=self._limits.handshake_timeout_ms / 1_000,
                ssl_shutdown_timeout=self._limits.shutdown_timeout_ms / 1_000,
            )
        except OSError as error:
            self._strangers.note(remote, describe_failure(error), loop.time() * 1_000)


def _surface(task: "asyncio.Task[None]") -> None:
    """Hand a defect that ended a dialler to the loop's exception handler: nobody awaits it before the node stops."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        task.get_loop().call_exception_handler({"message": f"{task.get_name()} ended", "exception": error, "task": task})

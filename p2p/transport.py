"""The sessions with all members: which connection counts as a member's, and what goes out on it.

What a connection means is decided by `Session`, what its bytes do by `Link`; `dialling` and `listening` make connections. These
four and `names` are the only files of this package that know asyncio or sockets; everything runs on the event loop's thread.

One connection for each pair of members stays open (`Link.yields_to`). Whose it is stands in its certificate, byte for byte. One
with a certificate that no member has is closed if it came in; if this node dialled it, it is for blocks only, whoever is there.
"""

import asyncio
from collections.abc import Callable, Iterable, Mapping

from ledger.committee import Member
from ledger.types import Height, MemberId
from p2p.dialling import Diallers
from p2p.handshake import Directory, Terms
from p2p.limits import Limits, Scope
from p2p.link import Link
from p2p.listening import Listener
from p2p.messages import NO_HASH, Application, Status, encode
from p2p.peers import Handler, Peer, PeerInfo, Strangers, log
from p2p.session import Closed, Session
from p2p.tls import LocalIdentity, make_contexts


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
        self.links: set[Link] = set()
        self._terms = Terms(genesis_hash, identity.member_id, software_version)
        self._listen_host = listen_host
        self._tip = tip
        self._wall_ms = wall_ms
        self._limits = limits or Limits()
        self._peers: dict[MemberId, Peer] = {}
        self._open: dict[MemberId, Link] = {}
        self._loop: asyncio.AbstractEventLoop | None = None
        self._tls = make_contexts(identity)
        self._strangers = Strangers(self._limits)
        self._listener = Listener(self, self._tls.server, self._limits, self._strangers)
        self._diallers = Diallers(self, self._tls.client, self._limits)
        self.set_members(members)

    def set_members(self, members: Iterable[Member], previous: Mapping[bytes, MemberId] | None = None) -> None:
        """Take the members as of now: new ones are dialled, connections of removed ones and of replaced certificates drop.

        `previous` maps replaced certificates (DER) that are still in their grace period to their members. Who was unknown and is
        known now is dialled again at once, for a full session.
        """
        self._directory = Directory(self._terms.member_id, members, previous or {})
        for certificate in self._tls.trust(self._directory.certificates):
            log.error("p2p.certificate_unreadable", peer=self._directory.owner(certificate))
        for link in tuple(self.links):
            self._review(link)
        for member_id in self._peers.keys() - self._directory.peers.keys():
            del self._peers[member_id]
        for member_id, member in self._directory.peers.items():
            if member_id in self._peers:
                self._peers[member_id].member = member
            else:
                self._peers[member_id] = Peer(self._terms.member_id, member, self._limits)
        if self._loop is not None:
            self._diallers.keep(self._peers, self._loop)

    def _review(self, link: Link) -> None:
        """Close a link whose certificate or address means something else than when it was made."""
        if link.peer is None:
            return
        owner = self._directory.owner(link.certificate)
        member = self._directory.peers.get(link.peer.member.id)
        if member is None or (link.scope is not Scope.ASKS and owner != member.id):
            link.close("not_permitted: this certificate is no longer a member's")
        elif link.scope is Scope.ASKS and owner is not None:
            link.close("certificate_known: this certificate is a member's by now", again=True)
        elif link.scope is Scope.ASKS and link.remote != member.p2p_address:
            link.close("address_changed: this is no member's address any more", again=True)

    async def start(self) -> None:
        """Listen, and dial the other members. Raises `OSError` when the address cannot be bound."""
        self._loop = asyncio.get_running_loop()
        self.listen_port = self._listener.open(self._listen_host, self.listen_port, self._loop)
        self._diallers.keep(self._peers, self._loop)

    async def stop(self) -> None:
        """Close everything, within twice the shutdown timeout; `on_disconnected` is called for every connected peer."""
        if self._loop is None:
            return
        self._listener.close(self._loop)
        await asyncio.sleep(0)  # lets arrivals begin: a task cancelled before its first step would leave its socket open
        await asyncio.gather(*self._diallers.stop(), *self._listener.cancel(), return_exceptions=True)
        for link in tuple(self.links):
            link.close("stopping: the node shuts down")
        await self._wait_for_links()
        for link in tuple(self.links):
            link.abort()
        await self._wait_for_links()
        self._loop = None

    async def _wait_for_links(self) -> None:
        waiting = [link.gone for link in self.links]
        if waiting:
            await asyncio.wait(waiting, timeout=self._limits.shutdown_timeout_ms / 1_000)

    def send(self, member_id: MemberId, message: Application) -> bool:
        """Send to one member; False when it is not connected for this, or its queue has no room. Raises `TooLargeError`."""
        link = self._open.get(member_id)
        return link is not None and link.send(message.type, encode(message))

    def broadcast(self, message: Application, *, skip: MemberId | None = None) -> int:
        """Send the same bytes to all members (but `skip`) connected for this; return to how many. Raises `TooLargeError`."""
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
        """Return how many connections to the listener showed no certificate of a member."""
        return self._strangers.refused

    # What links tell

    def admit(self, link: Link) -> tuple[Peer, Session] | None:
        """Return the peer and a new session for a link whose TLS handshake is done; None when it is not to be talked to.

        What goes wrong with a dialled link concerns the member that was dialled, whoever answered at its address.
        """
        owner, now_ms = self._directory.owner(link.certificate), link.now_ms()
        meant = link.dialled or owner
        if meant is None:
            self._strangers.note(link.remote, "certificate not trusted: of no member any more", now_ms)
            return None
        peer = self._peers.get(meant)
        link.proven = owner == meant
        if peer is None or not self._listener.is_open or (link.proven and now_ms < peer.penalty_until_ms):
            log.debug("p2p.not_admitted", remote=link.remote, peer=meant)
            return None
        self.links.add(link)
        return peer, Session(self._terms, owner, link.dialled, self._tip(), self._limits, now_ms)

    def opened(self, link: Link) -> None:
        """Make this the peer's connection, unless the one it has is better."""
        if link.peer is None or link.session is None:
            return
        member_id = link.peer.member.id
        older = self._open.get(member_id)
        if older is not None and not older.yields_to(link):
            link.close("duplicate: another connection with this member is open")
            return
        if older is not None:
            older.close("replaced: a better or newer connection with this member is open")
            if older.closed is not None:
                self.report(older, older.closed)
        self._open[member_id] = link
        link.peer.opened(link.session, link.remote, self._wall_ms(), outgoing=link.dialled is not None)
        if link.session.scope is Scope.ASKS:
            self.handler.on_unproven_tip(member_id, Status(link.session.height, NO_HASH))
        else:
            self.handler.on_connected(member_id)

    def received(self, link: Link, message: Application) -> None:
        """Pass a message on; what somebody unproven says of a tip must not pass for the word of a member."""
        if link.peer is None:
            return
        if link.scope is Scope.ASKS and isinstance(message, Status):
            self.handler.on_unproven_tip(link.peer.member.id, message)
        else:
            self.handler.on_message(link.peer.member.id, message)

    def report(self, link: Link, closed: Closed) -> None:
        """Tell the log and the node, once, that a connection ended."""
        peer, session = link.peer, link.session
        if peer is None or session is None:
            return
        link.peer = None
        if peer.ended(session, closed, link.remote, link.now_ms(), proven=link.proven):
            del self._open[peer.member.id]
            if session.scope is not Scope.ASKS:
                self.handler.on_disconnected(peer.member.id, closed.reason)

    def forget(self, link: Link) -> None:
        """Note that a link's socket is closed."""
        self.links.discard(link)

    def standing_link(self, member_id: MemberId) -> Link | None:
        """Return the open link with which a member has proved itself, whoever dialled it."""
        link = self._open.get(member_id)
        return link if link is not None and link.proven else None

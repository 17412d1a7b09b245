"""Keeps dialling: one task for each other member, which waits while that member itself is connected.

Of each pair the smaller id dials. The larger one does so too once the member has not been there for some seconds, later and less
often: the other may not be able to, because its certificate is new and this node, behind in the chain, does not know it yet.
A member that came for blocks only is left alone: it does not know our certificate, and dials again as soon as it does.
"""

import asyncio
import contextlib
import ssl
from collections.abc import Callable, Mapping
from typing import Protocol

from ledger.errors import BadEncodingError
from ledger.types import MemberId
from p2p.handshake import parse_address
from p2p.limits import Limits
from p2p.link import Hub, Link
from p2p.names import Names
from p2p.peers import Peer
from p2p.tls import describe_failure


class DiallingHub(Hub, Protocol):
    """The transport, as the diallers see it."""

    def standing_link(self, member_id: MemberId) -> Link | None:
        """Return the open link with which a member has proved itself, whoever dialled it."""


class Diallers:
    """The tasks. `context` shows this node's certificate and takes any: whose it is and what for, `Hub.admit` decides."""

    def __init__(self, hub: DiallingHub, context: ssl.SSLContext, limits: Limits) -> None:
        self._hub = hub
        self._context = context
        self._limits = limits
        self._names = Names(limits.connect_timeout_ms)
        self._tasks: dict[MemberId, asyncio.Task[None]] = {}

    def keep(self, peers: Mapping[MemberId, Peer], loop: asyncio.AbstractEventLoop) -> None:
        """Dial exactly these from now on."""
        for member_id in self._tasks.keys() - peers.keys():
            self._tasks.pop(member_id).cancel()
        self._names.keep_only(peers)
        for member_id, peer in peers.items():
            if member_id not in self._tasks:
                task = loop.create_task(self._keep_dialling(peer, loop), name=f"p2p-dial-{member_id}")
                task.add_done_callback(_surface)
                self._tasks[member_id] = task

    def stop(self) -> list["asyncio.Task[None]"]:
        """Cancel all tasks and return them; lookups that hang are left behind."""
        tasks = list(self._tasks.values())
        self._tasks.clear()
        for task in tasks:
            task.cancel()
        return tasks

    async def _keep_dialling(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> None:
        delay_ms = 0.0 if peer.dials else peer.backoff.next_ms()
        while True:
            await asyncio.sleep(delay_ms / 1_000)
            link = self._hub.standing_link(peer.member.id) or await self._dial(peer, loop)
            if link is not None:
                await asyncio.shield(link.gone)
                if link.opened_ms is not None and link.now_ms() - link.opened_ms >= self._limits.healthy_after_ms:
                    peer.backoff.reset()
            if link is not None and link.closed is not None and link.closed.again:
                delay_ms = 0.0
            else:
                delay_ms = max(peer.backoff.next_ms(), peer.dial_from_ms - loop.time() * 1_000)

    async def _dial(self, peer: Peer, loop: asyncio.AbstractEventLoop) -> Link | None:
        """Return a link whose TLS handshake is done, or None after noting why there is none."""
        address = peer.member.p2p_address
        try:
            host, port = parse_address(address)
            hosts = await self._names.resolve(peer.member.id, host)
            return await self._connect(lambda: Link(self._hub, address, peer.member.id), hosts, port, loop)
        except (OSError, ValueError) as error:  # ValueError: a host name that no encoding fits
            peer.failed(describe_failure(error), address, suspicious=isinstance(error, ssl.SSLError))
        except BadEncodingError as error:
            peer.failed(error.message, address, suspicious=True)
        return None

    async def _connect(
        self, make_link: Callable[[], Link], hosts: tuple[str, ...], port: int, loop: asyncio.AbstractEventLoop
    ) -> Link:
        """Try one IP address after the other; raises the `OSError` of the last."""
        for host in hosts[:-1]:
            with contextlib.suppress(OSError):
                return await self._connect_to(make_link, host, port, loop)
        return await self._connect_to(make_link, hosts[-1], port, loop)

    async def _connect_to(self, make_link: Callable[[], Link], host: str, port: int, loop: asyncio.AbstractEventLoop) -> Link:
        limits = self._limits
        async with asyncio.timeout(limits.connect_timeout_ms / 1_000):
            _, link = await loop.create_connection(
                make_link,
                host,
                port,
                ssl=self._context,
                server_hostname="",
                ssl_handshake_timeout=limits.handshake_timeout_ms / 1_000,
                ssl_shutdown_timeout=limits.shutdown_timeout_ms / 1_000,
            )
        return link


def _surface(task: "asyncio.Task[None]") -> None:
    """Hand a defect that ended a dialler to the loop's exception handler: nobody awaits it before the node stops."""
    error = None if task.cancelled() else task.exception()
    if error is not None:
        task.get_loop().call_exception_handler({"message": f"{task.get_name()} ended", "exception": error, "task": task})

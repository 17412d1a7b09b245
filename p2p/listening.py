"""Takes connections in, bounded: strangers can fill neither memory nor the log, and cannot keep members out.

The listener takes sockets in by itself (`add_reader` and `connect_accepted_socket`) because `create_server` hides failed TLS
handshakes of strangers: they reach the log in debug mode only.
"""

import asyncio
import socket
import ssl
from typing import Final

from p2p.limits import Limits, TokenBucket
from p2p.link import Hub, Link
from p2p.peers import Strangers, log
from p2p.tls import describe_failure

LISTEN_BACKLOG: Final = 128
ACCEPT_RETRY_MS: Final = 200


class Listener:
    """The listening socket from `open` to `close`, and the TLS handshakes under way on what it took in."""

    def __init__(self, hub: Hub, context: ssl.SSLContext, limits: Limits, strangers: Strangers) -> None:
        self._hub = hub
        self._context = context
        self._limits = limits
        self._strangers = strangers
        self._socket: socket.socket | None = None
        self._retry: asyncio.TimerHandle | None = None
        self._arrivals: dict[asyncio.Task[None], str] = {}
        self._accepts = TokenBucket(limits.accepts_per_s, 2 * limits.accepts_per_s, 0)

    @property
    def is_open(self) -> bool:
        """Return whether connections are taken in."""
        return self._socket is not None

    def open(self, host: str, port: int, loop: asyncio.AbstractEventLoop) -> int:
        """Listen, on a free port if `port` is 0; return the port. Raises `OSError` when the address cannot be bound."""
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        listener = socket.create_server((host, port), family=family, backlog=LISTEN_BACKLOG)
        listener.setblocking(False)
        self._socket = listener
        loop.add_reader(listener.fileno(), self._accept, listener, loop)
        bound = int(listener.getsockname()[1])
        log.info("p2p.listening", host=host, port=bound)
        return bound

    def close(self, loop: asyncio.AbstractEventLoop) -> None:
        """Take nothing in any more."""
        if self._retry is not None:
            self._retry.cancel()
        if self._socket is not None:
            loop.remove_reader(self._socket.fileno())
            self._socket.close()
            self._socket = None

    def cancel(self) -> list["asyncio.Task[None]"]:
        """Give up the handshakes under way and return their tasks."""
        tasks = list(self._arrivals)
        for task in tasks:
            task.cancel()
        return tasks

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
            self._retry = loop.call_later(rest_ms / 1_000, loop.add_reader, listener.fileno(), self._accept, listener, loop)

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
                lambda: Link(self._hub, remote, None),
                sock,
                ssl=self._context,
                ssl_handshake_timeout=self._limits.handshake_timeout_ms / 1_000,
                ssl_shutdown_timeout=self._limits.shutdown_timeout_ms / 1_000,
            )
        except OSError as error:
            self._strangers.note(remote, describe_failure(error), loop.time() * 1_000)

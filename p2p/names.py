"""Finds the IP addresses of members whose address is a name, so that a name server that hangs holds up nobody else.

At most one lookup for each member and `MAX_LOOKUPS` in all are under way; meanwhile the addresses found last are used. Each has a
daemon thread of its own: nothing can interrupt `getaddrinfo`, and a process waits for the threads of its executors when it ends.
IP addresses come back at once.
"""

import asyncio
import contextlib
import ipaddress
import socket
import threading
from collections.abc import Container
from dataclasses import dataclass
from typing import Final

from ledger.types import MemberId

MAX_LOOKUPS: Final = 32
MAX_ADDRESSES: Final = 4


@dataclass(slots=True)
class _Entry:
    """What is known of one member's name. `lookup` is done when the one under way has ended, perhaps one of an earlier name."""

    host: str
    found: tuple[str, ...] = ()
    error: OSError | ValueError | None = None
    lookup: asyncio.Future[None] | None = None


class Names:
    """The lookups of one transport, on its event loop."""

    def __init__(self, timeout_ms: int) -> None:
        self._timeout_ms = timeout_ms
        self._entries: dict[MemberId, _Entry] = {}
        self._running = 0

    @property
    def running(self) -> int:
        """Return how many lookups have not ended, those of removed members among them."""
        return self._running

    async def resolve(self, member_id: MemberId, host: str) -> tuple[str, ...]:
        """Return at least one IP address of `host`; raises `OSError`, or `ValueError` for a name that no encoding fits."""
        if _is_ip_address(host):
            return (host,)
        entry = self._entries.setdefault(member_id, _Entry(host))
        if entry.host != host:
            entry.host, entry.found = host, ()
        hangs = entry.lookup is not None
        lookup = entry.lookup or self._look_up(entry)
        if lookup is not None and not (hangs and entry.found):
            await asyncio.wait((lookup,), timeout=self._timeout_ms / 1_000)
        if entry.found:
            return entry.found
        raise entry.error or OSError(f"no answer yet from the name service for {host}")

    def keep_only(self, members: Container[MemberId]) -> None:
        """Forget removed members."""
        for member_id in [member_id for member_id in self._entries if member_id not in members]:
            del self._entries[member_id]

    def _look_up(self, entry: _Entry) -> asyncio.Future[None] | None:
        """Start a lookup, or return None while too many are under way."""
        entry.error = None
        if self._running >= MAX_LOOKUPS:
            return None
        loop, host = asyncio.get_running_loop(), entry.host

        def work() -> None:
            answer = _ask(host)
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                loop.call_soon_threadsafe(self._answered, entry, host, answer)

        try:
            threading.Thread(target=work, name=f"p2p-lookup-{host}", daemon=True).start()
        except RuntimeError as error:  # the system gives no more threads
            entry.error = OSError(f"cannot look up {host}: {error}")
            return None
        self._running += 1
        entry.lookup = loop.create_future()
        return entry.lookup

    def _answered(self, entry: _Entry, host: str, answer: "tuple[str, ...] | OSError | ValueError") -> None:
        self._running -= 1
        lookup, entry.lookup = entry.lookup, None
        if entry.host == host:
            if isinstance(answer, tuple):
                entry.found = answer
            else:
                entry.error = answer
        if lookup is not None:
            lookup.set_result(None)


def _ask(host: str) -> "tuple[str, ...] | OSError | ValueError":
    """Return the addresses of a name, or why there are none; takes as long as the system's resolver does."""
    try:
        answers = socket.getaddrinfo(host, None, type=socket.SOCK_STREAM)
    except (OSError, ValueError) as error:
        return error
    return tuple(dict.fromkeys(str(answer[4][0]) for answer in answers))[:MAX_ADDRESSES]


def _is_ip_address(host: str) -> bool:
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True

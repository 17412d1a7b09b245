"""Who may talk to the RPC server from a browser: the Host and Origin checks (pure).

A web page that rebinds its own name to 127.0.0.1 sends that name as Host, so names other than loopback must be listed. A page of
another site sends its Origin: only the server's own pages and listed origins pass. Programs send no Origin.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from ledger.errors import RejectedError

LOOPBACK: Final = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True, slots=True)
class Access:
    """The names this server answers to (without port; `*` for any) and the origins it takes beside its own."""

    hosts: frozenset[str]
    origins: frozenset[str]

    @classmethod
    def of(cls, bind_host: str, hosts: Collection[str] = (), origins: Collection[str] = ()) -> "Access":
        """Return the rule for a server bound to `bind_host`: loopback and that address are always among the names."""
        return cls(LOOPBACK | {bind_host.lower()} | {host.lower() for host in hosts}, frozenset(map(str.lower, origins)))

    def check(self, host: str | None, origin: str | None) -> None:
        """Raise `RejectedError` `not_permitted` for a Host or Origin header that is not allowed."""
        if not self._is_known(host):
            raise _refusal("Host", host, "add the name to the node's allowed hosts")
        if origin is not None and not self._is_welcome(origin.lower(), host or ""):
            raise _refusal("Origin", origin, "add it to the node's allowed origins")

    def _is_known(self, host: str | None) -> bool:
        return "*" in self.hosts or (host is not None and _hostname(host) in self.hosts)

    def _is_welcome(self, origin: str, host: str) -> bool:
        return origin in self.origins or origin in (f"http://{host.lower()}", f"https://{host.lower()}")


def _hostname(host: str) -> str | None:
    """Return the name in a Host header without its port, None for nonsense."""
    try:
        parts = urlsplit(f"//{host}")
        return parts.hostname if parts.netloc == host and "@" not in host and parts.port != 0 else None
    except ValueError:
        return None


def _refusal(header: str, value: str | None, hint: str) -> RejectedError:
    return RejectedError("not_permitted", f"{header} {(value or '(none)')[:80]!r} is not allowed here", hint=hint, header=header)

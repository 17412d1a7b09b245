"""What keeps a node from listening on an address of its configuration, said with the setting to change."""

import errno
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from ledger.errors import DatacarError

_CHANGED: Final = {
    ("rpc", "port"): "choose another rpc.port",
    ("p2p", "port"): "choose another p2p.port, and tell the members: `datacar gov set-address`",
    ("rpc", "host"): "give an address of this machine as rpc.host",
    ("p2p", "host"): "give an address of this machine as p2p.host",
}
_WHY: Final = {
    errno.EADDRINUSE: ("port_in_use", "port", "another process uses this port", "stop it, or "),
    errno.EACCES: ("not_permitted", "port", "this user may not use such a port", "run as one who may, or "),
    errno.EADDRNOTAVAIL: ("bad_address", "host", "no interface of this machine has this address", ""),
}
_NOBODY: Final = ("bad_address", "host", "nobody knows this host", "")


class ListenError(DatacarError):
    """An address of the configuration cannot be listened on: `port_in_use`, `not_permitted`, `bad_address`."""

    def __init__(self, reason: str, section: str, host: str, port: int, setting: str, why: str, *, hint: str) -> None:
        message = f"cannot listen on {host}:{port} ({section}.{setting}): {why}"
        super().__init__(reason, message, hint=hint, host=host, port=port, setting=f"{section}.{setting}")


@contextmanager
def listening(section: str, host: str, port: int) -> Iterator[None]:
    """Have a failure to listen inside raise `ListenError` about the settings of `section`: `rpc` or `p2p`."""
    try:
        yield
    except OSError as error:
        found = _NOBODY if isinstance(error, socket.gaierror) else _WHY.get(error.errno or 0)
        if found is None or error.filename is not None:  # a file's, not an address's
            raise
        reason, setting, why, first = found
        raise ListenError(reason, section, host, port, setting, why, hint=f"{first}{_CHANGED[section, setting]}") from error

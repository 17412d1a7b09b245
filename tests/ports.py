"""Ports of this test process: no other one's, and below those that the system gives to connections.

A node that is down must find its port free when it starts again. One that the system gave (port 0) may by then be an end of any
connection on the machine, and the default ports may be those of another network that started meanwhile.
"""

import itertools
import os
from typing import Final

from node.devnet import is_free

FIRST: Final = 10_000
SHARE: Final = 320
SHARES: Final = 50  # up to 26,000: the default ports begin there, and those of connections at 32,768

_turns = itertools.count()


def take_ports(count: int) -> tuple[int, ...]:
    """Return ports that nothing listens on; the same come again only after all others of this process."""
    first, found = FIRST + os.getpid() % SHARES * SHARE, list[int]()
    while len(found) < count:
        port = first + next(_turns) % SHARE
        if is_free(port):
            found.append(port)
    return tuple(found)

"""TCP proxies between nodes: members dial each other through them, and a test cuts, silences or slows any pair for real.

The member record on chain names the proxy's port; the node listens on another. Who dialled is read from Linux's /proc (the
socket's owner), because TLS hides it. A silenced line loses nothing: like TCP through a partition it delivers when it heals.
"""

import asyncio
import contextlib
import os
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Final

HOST: Final = "127.0.0.1"
CHUNK_BYTES: Final = 64 * 1024
SUPPORTED: Final = sys.platform == "linux"


class Line:
    """One direction between two nodes. Faults may overlap: each is undone by itself."""

    def __init__(self) -> None:
        self._silenced = 0
        self._open = asyncio.Event()
        self._open.set()
        self.delays_s: list[float] = []

    def silence(self, by: int) -> None:
        """Add (1) or take away (-1) a reason to deliver nothing."""
        self._silenced += by
        if self._silenced:
            self._open.clear()
        else:
            self._open.set()

    async def pass_on(self) -> None:
        """Return when the next bytes may be delivered."""
        await asyncio.sleep(max(self.delays_s, default=0))
        await self._open.wait()


class Proxies:
    """A proxy before each node. `ports` gives by node (proxy port, the node's own port); `pid_of` the process that is it now."""

    def __init__(self, ports: Mapping[int, tuple[int, int]], pid_of: Callable[[int], int | None]) -> None:
        self._ports = ports
        self._pid_of = pid_of
        self._lines: defaultdict[tuple[int, int], Line] = defaultdict(Line)
        self._refused: Counter[frozenset[int]] = Counter()
        self._wires: defaultdict[frozenset[int], set[asyncio.StreamWriter]] = defaultdict(set)
        self._servers: list[asyncio.Server] = []
        self._tasks: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on all proxy ports."""
        for node, (port, _) in self._ports.items():
            self._servers.append(await asyncio.start_server(self._acceptor(node), HOST, port))

    async def stop(self) -> None:
        """Close everything."""
        for server in self._servers:
            server.close()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    # ---- faults

    def pairs_of(self, node: int) -> list[tuple[int, int]]:
        """Return both directions between a node and each other one."""
        return [pair for other in self._ports if other != node for pair in ((node, other), (other, node))]

    def refuse(self, one: int, other: int, by: int) -> None:
        """Cut (1) or allow again (-1) a pair: its connections are reset, new ones too."""
        pair = frozenset((one, other))
        self._refused[pair] += by
        if self._refused[pair]:
            for writer in self._wires[pair]:
                writer.transport.abort()

    def silence(self, source: int, target: int, by: int) -> None:
        """Hold back (1) or let flow again (-1) what `source` sends to `target`; connections stay open."""
        self._lines[source, target].silence(by)

    def slow(self, source: int, target: int, delay_s: float, by: int) -> None:
        """Delay each chunk from `source` to `target` (1), or no longer (-1)."""
        delays = self._lines[source, target].delays_s
        if by > 0:
            delays.append(delay_s)
        else:
            delays.remove(delay_s)

    # ---- connections

    def _acceptor(self, target: int) -> Callable[[asyncio.StreamReader, asyncio.StreamWriter], None]:
        def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            task = asyncio.get_running_loop().create_task(self._serve(target, reader, writer))
            self._tasks.add(task)
            task.add_done_callback(self._tasks.discard)

        return accept

    async def _serve(self, target: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        source = self._dialler(writer, target)
        if source is None or self._refused[frozenset((source, target))]:
            writer.transport.abort()
            return
        try:
            far_reader, far_writer = await asyncio.open_connection(HOST, self._ports[target][1])
        except OSError:
            writer.transport.abort()
            return
        wires = self._wires[frozenset((source, target))]
        wires |= {writer, far_writer}
        try:
            await asyncio.gather(
                self._pump(reader, far_writer, self._lines[source, target]),
                self._pump(far_reader, writer, self._lines[target, source]),
            )
        finally:
            wires -= {writer, far_writer}
            writer.transport.abort()
            far_writer.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: Line) -> None:
        """Move bytes one way until the end, which is held back like the rest."""
        with contextlib.suppress(OSError):
            while data := await reader.read(CHUNK_BYTES):
                await line.pass_on()
                writer.write(data)
                await writer.drain()
        await line.pass_on()
        writer.close()

    def _dialler(self, writer: asyncio.StreamWriter, target: int) -> int | None:
        """Return which node opened this connection, None when it is gone already."""
        port = writer.get_extra_info("peername")[1]
        inode = _inode_of(port, self._ports[target][0])
        others = ((node, self._pid_of(node)) for node in self._ports if node != target)
        return next((node for node, pid in others if pid is not None and inode in _sockets_of(pid)), None)


def _inode_of(port: int, remote_port: int) -> str:
    """Return the inode of the loopback connection from `port` to `remote_port` (proc(5): fields 1, 2 and 9 of /proc/net/tcp)."""
    local, remote = f":{port:04X}", f":{remote_port:04X}"
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if fields[1].endswith(local) and fields[2].endswith(remote):
            return fields[9]
    return ""


def _sockets_of(pid: int) -> set[str]:
    return set(_sockets(pid))


def _sockets(pid: int) -> Iterator[str]:
    with contextlib.suppress(OSError):
        for entry in Path(f"/proc/{pid}/fd").iterdir():
            with contextlib.suppress(OSError):
                name = os.readlink(entry)
                if name.startswith("socket:["):
                    yield name[len("socket:[") : -1]

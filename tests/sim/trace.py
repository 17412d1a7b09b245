"""What happened in a run: the last events for people, and one digest over every frame for comparing runs."""

import hashlib
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Signed, ViewChange
from ledger.errors import DatacarError
from p2p.messages import (
    Application,
    Blocks,
    Bodies,
    Consensus,
    GetBlocks,
    GetBodies,
    StateAnswer,
    StateRequest,
    Status,
    Transactions,
)
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State
from tests.sim.loop import VirtualLoop

KEPT_EVENTS: Final = 40_000


@dataclass(frozen=True, slots=True)
class Event:
    """One line of the trace; `what` is put into words only when somebody reads it."""

    at_ms: int
    who: str
    what: str | Application

    def __str__(self) -> str:
        what = self.what if isinstance(self.what, str) else f"sends {describe(self.what)}"
        return f"{self.at_ms:>7} ms  {self.who:<7} {what}"


class Trace:
    """The last events, oldest first."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop
        self._events: deque[Event] = deque(maxlen=KEPT_EVENTS)
        self._digest = hashlib.blake2b()

    def note(self, who: str, what: str | Application) -> None:
        """Add an event."""
        self._events.append(Event(self._loop.now_ms, who, what))

    def count_frame(self, source: int, to: int, frame: bytes) -> None:
        """Take a delivered frame into the digest."""
        self._digest.update(b"%d %d %d " % (self._loop.now_ms, source, to))
        self._digest.update(frame)

    @property
    def digest(self) -> str:
        """Return what is equal for equal runs."""
        return self._digest.hexdigest()[:32]

    def lines(self, last: int, *, repeats: bool = False) -> Iterator[str]:
        """Yield the last events as text; messages that a member sends again are left out unless `repeats`."""
        seen: set[tuple[str, str]] = set()
        events = []
        for event in self._events:
            text = str(event)
            key = (event.who, text[11:])
            if repeats or isinstance(event.what, str) or key not in seen:
                events.append(text)
            seen.add(key)
        yield from events[-last:]


def describe(message: Application) -> str:
    """Return a message in a few words."""
    match message:
        case Consensus(payload):
            try:
                signed = Signed.decode(payload)
            except DatacarError as error:
                return f"undecodable consensus bytes ({error})"
            return f"{describe_consensus(signed.message)} by {signed.signer}"
        case Status(height, block_hash, bodies_from, snapshot):
            return f"Status h{height} {short(block_hash)}, bodies from h{bodies_from}, snapshot h{snapshot}"
        case Transactions(raws):
            return f"{len(raws)} transactions"
        case GetBodies(block_hash, tx_hashes):
            return f"GetBodies {len(tx_hashes) or 'all'} of {short(block_hash)}"
        case Bodies(block_hash, raws):
            return f"{len(raws)} Bodies of {short(block_hash)}"
        case GetBlocks(from_height, count):
            return f"GetBlocks h{from_height} +{count}"
        case Blocks(items):
            return f"{len(items)} Blocks"
        case _:
            return describe_state_sync(message)


def describe_state_sync(message: StateRequest | StateAnswer) -> str:
    """Return a message of state sync in a few words."""
    match message:
        case GetSnapshot(height):
            return f"GetSnapshot h{height}"
        case Snapshot(height, certificate, handovers):
            return f"Snapshot h{height} with {len(handovers)} handovers" if certificate else f"no Snapshot h{height}"
        case GetHistory(from_height, count):
            return f"GetHistory h{from_height} +{count}"
        case History(from_height, items):
            return f"History h{from_height} +{len(items)}"
        case GetState(height, path):
            return f"GetState h{height} at {path.hex()[1::2] or 'root'}"
        case State(height, path, part):
            return f"State h{height} at {path.hex()[1::2] or 'root'}: {part}"


def describe_consensus(message: Message) -> str:
    """Return a consensus message in a few words."""
    where = f"{type(message).__name__} h{message.height} v{message.view}"
    match message:
        case Prepare(block_hash=block_hash) | Commit(block_hash=block_hash):
            return f"{where} {short(block_hash)}"
        case PrePrepare(header=header, tx_hashes=tx_hashes) | NewView(header=header, tx_hashes=tx_hashes):
            root = short(header.state_root)
            return f"{where} with {len(tx_hashes)} txs, first in v{header.view}, root {root}, at {header.timestamp_ms}"
        case ViewChange(prepared=prepared):
            return f"{where} {'nothing prepared' if prepared is None else f'prepared in v{prepared.view}'}"


def short(value: bytes) -> str:
    """Return the first hex digits."""
    return value[:4].hex()

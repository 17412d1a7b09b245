"""Lies with data: bodies withheld, sync answers that are wrong, silence towards some, old messages said again."""

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from ledger.state_parts import Fork, Leaves, Part
from ledger.types import BlockHash, Height, MemberId
from p2p.messages import Blocks, Bodies, Consensus, Status, Transactions
from p2p.state_messages import History, Snapshot, State
from tests.sim.lies import Forger
from tests.sim.network import Outgoing

KEPT = 200


class WithheldBodies:
    """Proposes transactions that it tells nobody, or only some, and answers requests for them with nothing or with others."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._rng = rng
        self._told = frozenset(rng.sample(forger.others, rng.randint(0, len(forger.others) - 1)))

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        match item.message:
            case Transactions() if item.to not in self._told:
                return ()
            case Bodies(block_hash, raws) if item.to not in self._told:
                if self._rng.random() < 0.5:
                    return ()
                return (replace(item, message=Bodies(block_hash, raws[: len(raws) // 2])),)
        return (item,)


class LyingSync:
    """States tips that it does not have, and answers with empty, old, cut, swapped or changed blocks, or not at all."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._rng = rng
        self._kept: deque[bytes] = deque(maxlen=KEPT)
        self._snapshots = LyingSnapshots(rng)

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        match item.message:
            case Status(height, block_hash):
                far = Height(height + self._rng.choice([0, 1, 2, 1_000, 2**52]))
                snapshot = Height(max(0, far + self._rng.choice([0, 0, -1, -4])))
                told = Status(far, block_hash, Height(self._rng.choice([0, far])), snapshot)
                lie = self._rng.choice([told, Status(Height(0), BlockHash(bytes(32)))])
                return (replace(item, message=lie),) if self._rng.random() < 0.5 else (item,)
            case Blocks(items):
                self._kept.extend(items)
                return self._blocks(item, items)
            case Snapshot() | History() | State():
                return self._snapshots.outgoing(item)
        return (item,)

    def _blocks(self, item: Outgoing, items: tuple[bytes, ...]) -> Iterable[Outgoing]:
        rng = self._rng
        match rng.choice(["none", "empty", "old", "swap", "change", "reverse", "truth"]):
            case "none":
                return ()
            case "empty":
                return (replace(item, message=Blocks(())),)
            case "old" if self._kept:
                return (replace(item, message=Blocks((rng.choice(self._kept),))),)
            case "swap" if len(items) > 1:
                return (replace(item, message=Blocks((items[1], items[0], *items[2:]))),)
            case "change" if items:
                return (replace(item, message=Blocks((*items[:-1], _flipped(items[-1], rng)))),)
            case "reverse":
                return (replace(item, message=Blocks(items[::-1])),)
        return (item,)


class LyingSnapshots:
    """Answers questions about snapshots with nothing, with parts of other places or heights, or with changed ones."""

    def __init__(self, rng: random.Random) -> None:
        self._rng = rng
        self._parts: deque[Part] = deque(maxlen=KEPT)
        self._history: deque[tuple[bytes, bytes]] = deque(maxlen=KEPT)
        self._certificates: deque[bytes] = deque(maxlen=KEPT)

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        rng = self._rng
        if rng.random() < 0.3:
            return (item,) if rng.random() < 0.7 else ()
        match item.message:
            case State(height, path, part) if part is not None:
                self._parts.append(part)
                return (replace(item, message=State(height, path, self._changed_part(part))),)
            case History(height, items) if items:
                self._history.extend(items)
                return (replace(item, message=History(height, self._changed_history(items))),)
            case Snapshot(height, certificate, handovers) if certificate:
                self._certificates.append(certificate)
                other = rng.choice([rng.choice(self._certificates), _flipped(certificate, rng), b""])
                return (replace(item, message=Snapshot(height, other, handovers[: rng.randint(0, len(handovers))])),)
        return (item,)

    def _changed_part(self, part: Part) -> Part | None:
        rng = self._rng
        match rng.choice(["none", "other", "change", "cut"]), part:
            case "none", _:
                return None
            case "change", Fork(bitmap, digests) if digests:
                return Fork(bitmap, _flipped(digests, rng))
            case "change", Leaves(pairs) if pairs:
                return Leaves((*pairs[:-1], (pairs[-1][0], pairs[-1][1] + b"!")))
            case "cut", Leaves(pairs):
                return Leaves(pairs[1:])
        return rng.choice(self._parts)

    def _changed_history(self, items: tuple[tuple[bytes, bytes], ...]) -> tuple[tuple[bytes, bytes], ...]:
        rng = self._rng
        certificate, receipts = items[-1]
        lies: list[tuple[tuple[bytes, bytes], ...]] = [
            (),
            items[::-1],
            items[:1],
            (rng.choice(self._history), *items[1:]),
            (*items[:-1], (certificate, rng.choice(self._history)[1])),
            (*items[:-1], (_flipped(certificate, rng), receipts)),
            (*items[:-1], (certificate, _flipped(receipts, rng))),
        ]
        return rng.choice(lies)


def _flipped(data: bytes, rng: random.Random) -> bytes:
    """Return `data` with one bit changed."""
    changed = bytearray(data)
    changed[rng.randrange(len(changed))] ^= 1 << rng.randrange(8)
    return bytes(changed)


class Selective:
    """Says some kinds of things to some members only, and changes its mind now and then."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._others = forger.others
        self._rng = rng
        self._deaf: frozenset[MemberId] = frozenset()
        self._left = 0

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        if self._left == 0:
            self._left = self._rng.randint(1, 300)
            self._deaf = frozenset(self._rng.sample(self._others, self._rng.randint(0, len(self._others))))
        self._left -= 1
        return () if item.to in self._deaf and isinstance(item.message, Consensus) else (item,)


class Replay:
    """Says again what was said long ago, to anybody."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._others = forger.others
        self._rng = rng
        self._kept: list[Outgoing] = []

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        yield item
        if len(self._kept) < KEPT:
            self._kept.append(item)
        elif self._rng.random() < 0.2:
            self._kept[self._rng.randrange(KEPT)] = item
        if self._rng.random() < 0.2:
            yield replace(self._rng.choice(self._kept), to=self._rng.choice(self._others))

"""Lies about proposals and votes: equivocation, floods, far futures, slow and wrong proposals, mutated fields."""

import random
from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, ViewChange
from ledger.types import BlockHash, Height, MemberId, TxHash, View
from tests.sim.lies import Forger
from tests.sim.network import Outgoing

SLOW_MS: Final = (800.0, 960.0)  # of a base timeout of one second, from when the others know of the work
FLOOD: Final = 12


class Equivocation:
    """As primary, gives some members another block, valid in every respect, and votes for it in front of them."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng
        self._fooled: frozenset[MemberId] = frozenset()
        self._other: dict[BlockHash, BlockHash] = {}

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        message = self._forger.own(item)
        if item.to == self._forger.others[0]:
            self._fooled = frozenset(self._rng.sample(self._forger.others, self._rng.randint(1, len(self._forger.others))))
        return (item,) if message is None or item.to not in self._fooled else self._deceive(item, message)

    def _deceive(self, item: Outgoing, message: Message) -> Iterable[Outgoing]:
        match message:
            case PrePrepare(header=header) | NewView(header=header):
                other = replace(header, timestamp_ms=header.timestamp_ms + 1)
                self._other = {self._forger.hash(header): self._forger.hash(other)}
                return (self._forger.say(item, replace(message, header=other)),)
            case Prepare(block_hash=block_hash) | Commit(block_hash=block_hash) if block_hash in self._other:
                lie = self._forger.say(item, replace(message, block_hash=self._other[block_hash]))
                return (lie, item) if self._rng.random() < 0.5 else (lie,)
        return (item,)


class VoteFlood:
    """Adds many votes for blocks that do not exist, in many views, to each of its own."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        yield item
        message = self._forger.own(item)
        if isinstance(message, Prepare | Commit):
            for _ in range(FLOOD):
                view = View(message.view + self._rng.choice([0, 0, 1, 2, 7, 8, 9, 100]))
                block_hash = BlockHash(self._rng.randbytes(32))
                votes: tuple[Message, ...] = (Prepare(message.height, view, block_hash), Commit(message.height, view, block_hash))
                yield self._forger.say(item, self._rng.choice(votes))


class FarFuture:
    """Says things of heights and views that nobody has reached."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        yield item
        message = self._forger.own(item)
        if message is None or self._rng.random() > 0.3:
            return
        height = Height(message.height + self._rng.choice([0, 1, 1, 2, 3, 1_000, 2**50]))
        view = View(message.view + self._rng.choice([0, 1, 3, 50, 2**50]))
        block_hash = BlockHash(self._rng.randbytes(32))
        made: list[Message] = [Prepare(height, view, block_hash), Commit(height, view, block_hash)]
        yield self._forger.say(item, self._rng.choice([*made, ViewChange(height, view, None)]))


class SlowPrimary:
    """Makes each proposal wait until just before the others would complain."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        slow = isinstance(self._forger.own(item), PrePrepare | NewView)
        return (replace(item, delay_ms=item.delay_ms + self._rng.uniform(*SLOW_MS)) if slow else item,)


class WrongRoot:
    """Proposes blocks whose roots are not what executing them gives, or whose transactions are not those of the root."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        message = self._forger.own(item)
        if not isinstance(message, PrePrepare | NewView) or self._rng.random() < 0.5:
            return (item,)
        if self._rng.random() < 0.2:
            hashes = (*message.tx_hashes, TxHash(self._rng.randbytes(32)))
            return (self._forger.say(item, replace(message, tx_hashes=hashes)),)
        name = self._rng.choice(["state_root", "receipts_root", "parent_hash", "next_committee_hash", "transactions_root"])
        header = replace(message.header, **{name: self._rng.randbytes(32)})  # type: ignore[arg-type]
        return (self._forger.say(item, replace(message, header=header)),)


class Mutation:
    """Changes a random field of a message now and then, and signs it again."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        message = self._forger.own(item)
        if message is None or self._rng.random() > 0.3:
            return (item,)
        lie = self._forger.say(item, self._mutate(message))
        return (lie, item) if self._rng.random() < 0.5 else (lie,)

    def _mutate(self, message: Message) -> Message:
        rng = self._rng
        match rng.choice(["height", "view", "content", "content"]):
            case "height":
                return replace(message, height=Height(max(1, message.height + rng.choice([-1, 1]))))
            case "view":
                return replace(message, view=View(max(0, message.view + rng.choice([-1, 1, 2]))))
            case _:
                return self._change_content(message)

    def _change_content(self, message: Message) -> Message:
        rng = self._rng
        match message:
            case Prepare() | Commit():
                return replace(message, block_hash=BlockHash(rng.randbytes(32)))
            case ViewChange():
                return replace(message, prepared=None)
            case PrePrepare(header=header) | NewView(header=header):
                name = rng.choice(["height", "view", "timestamp_ms", "gas_used"])
                value = max(0, getattr(header, name) + rng.choice([-1, 1, -400, 400, 2**40]))
                return replace(message, header=replace(header, **{name: value}))

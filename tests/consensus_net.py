"""A virtual network of replicas for tests: one queue of events in virtual time, seeded loss and delay, crash and restart.

The replicas, messages, signatures and sign-states are the real ones; execution is a stand-in that accepts what the test says.
"""

import hashlib
import heapq
import random
from collections.abc import Callable
from dataclasses import dataclass, field

from consensus.effects import (
    Broadcast,
    BuildBlock,
    Candidate,
    CommitBlock,
    Effect,
    Effects,
    Execute,
    FetchBlocks,
    FetchBodies,
    Halt,
    Persist,
    Proposal,
    RecordEvidence,
    Relay,
    SendBlock,
    SetTimer,
    Timer,
)
from consensus.evidence import Evidence
from consensus.inbox import Inbox
from consensus.messages import Message, Signed, signing_digest
from consensus.pacing import Timing
from consensus.replica import Replica, ReplicaConfig
from consensus.round import Tip
from consensus.sign_state import Floor, SignState, position_of
from consensus.verify import authenticate
from ledger.block import Header
from ledger.certificate import QuorumCertificate
from ledger.committee import Committee, Member
from ledger.crypto import public_key, sign
from ledger.errors import DatacarError
from ledger.hashing import ZERO_HASH
from ledger.list_root import list_root
from ledger.types import BlockHash, Height, MemberId, TxHash, View

GENESIS_HASH = hashlib.sha256(b"a chain for tests").digest()
START_MS = 1_700_000_000_000


def seed_of(index: int) -> bytes:
    """Return the signing seed of member `index`."""
    return hashlib.sha256(f"member {index}".encode()).digest()


def make_committee(n: int) -> Committee:
    """Return n members m0, m1, ..."""
    return Committee(0, tuple(Member(MemberId(f"m{i}"), public_key(seed_of(i)), b"", f"h{i}:1") for i in range(n)))


def genesis_tip(committee: Committee) -> Tip:
    """Return height 0."""
    commit = committee.hash(GENESIS_HASH)
    header = Header(Height(0), View(0), GENESIS_HASH, MemberId(""), START_MS, ZERO_HASH, ZERO_HASH, ZERO_HASH, commit, commit, 0)
    return Tip(header, header.hash(GENESIS_HASH))


@dataclass
class Disk:
    """What a node keeps over a crash: synced blocks and the sign-state's bytes."""

    chain: list[tuple[Proposal, QuorumCertificate]] = field(default_factory=list)
    blocks: dict[BlockHash, Proposal] = field(default_factory=dict)
    sign_state: bytes | None = SignState().encode()


@dataclass
class Node:
    """A replica with the stand-in for its driver."""

    index: int
    replica: Replica
    disk: Disk
    life: int = 0
    up: bool = True
    timers: dict[Timer, int | None] = field(default_factory=dict)
    said: dict[Floor, Message] = field(default_factory=dict)
    work: int = 0
    inbox: Inbox = field(default_factory=Inbox)

    @property
    def id(self) -> MemberId:
        """Return the member id."""
        return self.replica.config.me


class Network:
    """Runs n replicas until a condition holds; every step checks agreement and that nobody contradicts itself."""

    def __init__(self, n: int, seed: int = 0, loss: float = 0.0, delay_ms: tuple[int, int] = (1, 5)) -> None:
        self.random = random.Random(seed)
        self.committee = make_committee(n)
        self.loss = loss
        self.delay_ms = delay_ms
        self.now = START_MS + 1_000
        self.queue: list[tuple[int, int, Callable[[], None]]] = []
        self.counter = 0
        self.cut: Callable[[int, int], bool] = lambda _a, _b: False
        self.decided: dict[Height, BlockHash] = {}
        self.proposed = 0
        self.refuse: Callable[[int, Proposal], bool] = lambda _node, _proposal: False
        self.want_work: Callable[[Node], bool] = lambda _node: True
        self.log: list[str] = []
        self.evidence: list[Evidence] = []
        self.changes: dict[Height, Committee] = {}
        self.nodes = [self._boot(i, Disk()) for i in range(n)]
        for node in self.nodes:
            self._start(node)

    def committee_of(self, height: int) -> Committee:
        """Return the committee that votes on `height`: `changes` maps a block to the committee after it."""
        done = [at for at in self.changes if at < height]
        return self.changes[max(done)] if done else self.committee

    # ---- life of nodes

    def _boot(self, index: int, disk: Disk) -> Node:
        tip = genesis_tip(self.committee)
        if disk.chain:
            proposal, certificate = disk.chain[-1]
            tip = Tip(proposal.header, proposal.block_hash, certificate)
        state = None if disk.sign_state is None else SignState.decode(disk.sign_state)
        config = ReplicaConfig(MemberId(f"m{index}"), GENESIS_HASH, 100, Timing())
        return Node(index, Replica(config, self.committee_of(tip.height + 1), tip, state), disk)

    def _start(self, node: Node) -> None:
        self.feed(node, node.replica.start(self.now))
        self._tell_work(node)
        for other in self.nodes if hasattr(self, "nodes") else []:
            self._tip_hint(other, node)
            self._tip_hint(node, other)

    def _tip_hint(self, sender: Node, to: Node) -> None:
        if sender is not to and sender.up:
            height = sender.replica.tip.height
            self._send(sender, to, lambda node: node.replica.on_peer_tip(sender.id, height, self.now))

    def crash(self, index: int) -> None:
        """Stop a node; only its disk survives."""
        self.nodes[index].up = False
        self.nodes[index].life += 1

    def restart(self, index: int) -> None:
        """Start a node again from its disk."""
        old = self.nodes[index]
        node = self._boot(index, old.disk)
        node.life, node.said = old.life + 1, old.said
        self.nodes[index] = node
        self._start(node)

    # ---- events

    def at(self, when: int, action: Callable[[], None]) -> None:
        """Run `action` at virtual time `when`."""
        self.counter += 1
        heapq.heappush(self.queue, (when, self.counter, action))

    def run(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Run for virtual `for_ms`, or until the condition holds; return whether it did."""
        end = self.now + for_ms
        while self.queue and self.queue[0][0] <= end:
            if until():
                return True
            when, _, action = heapq.heappop(self.queue)
            self.now = max(self.now, when)
            action()
        self.now = end
        return until()

    def _send(self, sender: Node, to: Node, deliver: Callable[[Node], Effects]) -> None:
        if self.cut(sender.index, to.index) or self.random.random() < self.loss:
            return
        self._later(to.index, self.random.randint(*self.delay_ms), deliver)

    def _later(self, index: int, delay_ms: int, deliver: Callable[[Node], Effects]) -> None:
        life = self.nodes[index].life if hasattr(self, "nodes") else 0

        def action() -> None:
            node = self.nodes[index]
            if node.up and node.life == life:
                self.feed(node, deliver(node))

        self.at(self.now + delay_ms, action)

    # ---- the stand-in driver

    def feed(self, node: Node, effects: Effects) -> None:
        """Carry out effects in order."""
        for effect in effects:
            self._carry_out(node, effect)

    def _carry_out(self, node: Node, effect: Effect) -> None:  # noqa: C901 (one case for each effect)
        match effect:
            case Persist(state, block):
                if block is not None:
                    node.disk.blocks[block.block_hash] = block
                node.disk.sign_state = state.encode()
            case Broadcast(message):
                self._broadcast(node, message)
            case Relay(messages):
                for signed in messages:
                    self._to_all(node, signed)
            case SetTimer(timer, at_ms):
                self._set_timer(node, timer, at_ms)
            case BuildBlock(height, view, _limit, _empty):
                candidate = self._build(node, height, view)
                self._later(
                    node.index, 0, lambda n: n.replica.on_candidate(Candidate(candidate, self.committee_of(height + 1)), self.now)
                )
            case Execute(proposal):
                following = None if self.refuse(node.index, proposal) else self.committee_of(proposal.header.height + 1)
                self._later(node.index, 1, lambda n: n.replica.on_executed(proposal.block_hash, following, 1, self.now))
            case CommitBlock(proposal, certificate):
                self._commit(node, proposal, certificate)
            case SendBlock(to, _height):
                self._tip_hint(node, self._node(to))
            case FetchBlocks(_, hint):
                self._fetch(node, self._node(hint))
            case FetchBodies(_, block_hash, holders):
                self._fetch_bodies(node, block_hash, holders)
            case RecordEvidence(evidence):
                self.evidence.append(evidence)
            case Halt(reason, height, _):
                self.log.append(f"{node.id} halts at {height}: {reason}")

    def _broadcast(self, node: Node, message: Message) -> None:
        position = position_of(message)
        assert node.said.setdefault(position, message) == message, f"{node.id} contradicts itself at {position}"
        assert node.disk.sign_state is not None
        assert SignState.decode(node.disk.sign_state).floor >= position, "sent before it was durable"
        signed = Signed(message, node.id, sign(seed_of(node.index), signing_digest(message, GENESIS_HASH)))
        self._later(node.index, 0, lambda n: n.replica.on_message(signed, self.now))
        self._to_all(node, signed)

    def _to_all(self, node: Node, signed: Signed) -> None:
        wire = signed.encode()
        for other in self.nodes:
            if other is not node:
                self._send(node, other, lambda n: self._receive(n, node.id, wire))

    def _receive(self, node: Node, sender: MemberId, wire: bytes) -> Effects:
        signed = Signed.decode(wire)
        if signed.message.height == node.replica.height + 1:
            node.inbox.put(sender, signed.message.height, wire)
            return ()
        try:
            authenticate(signed, self.committee_of(signed.message.height), GENESIS_HASH)
        except DatacarError as error:  # only a test that forges messages may come here
            self.log.append(f"{node.id} refuses {signed.signer}: {error}")
            return ()
        return node.replica.on_message(signed, self.now)

    def _set_timer(self, node: Node, timer: Timer, at_ms: int | None) -> None:
        node.timers[timer] = at_ms
        if at_ms is not None:
            self._later(node.index, max(0, at_ms - self.now), lambda n: self._fire(n, timer, at_ms))

    def _fire(self, node: Node, timer: Timer, at_ms: int) -> Effects:
        if node.timers.get(timer) != at_ms:
            return ()
        node.timers[timer] = None
        return node.replica.on_timer(timer, self.now)

    def _build(self, node: Node, height: Height, view: View) -> Proposal:
        self.proposed += 1
        tip = node.replica.tip
        commit, following = (self.committee_of(at).hash(GENESIS_HASH) for at in (height, height + 1))
        body = hashlib.sha256(f"tx {self.proposed}".encode()).digest()
        stamp = max(self.now, tip.header.timestamp_ms + 1)
        root = list_root(GENESIS_HASH, [body])
        header = Header(height, view, tip.block_hash, node.id, stamp, root, ZERO_HASH, ZERO_HASH, commit, following, 0)
        return Proposal(header.hash(GENESIS_HASH), header, (TxHash(body),))

    def _commit(self, node: Node, proposal: Proposal, certificate: QuorumCertificate) -> None:
        height = proposal.header.height
        certificate.check(GENESIS_HASH, self.committee_of(height))
        assert self.decided.setdefault(height, proposal.block_hash) == proposal.block_hash, f"FORK at height {height}"
        assert len(node.disk.chain) == height - 1, "blocks are committed one by one"
        node.disk.chain.append((proposal, certificate))
        self._tell_work(node)
        for sender, wire in node.inbox.take(Height(height + 1)):
            self._later(node.index, 0, lambda n, sender=sender, wire=wire: self._receive(n, sender, wire))  # type: ignore[misc]

    def _tell_work(self, node: Node) -> None:
        self._later(node.index, 20, lambda n: n.replica.on_work(self.want_work(n), self.now))

    def _fetch(self, node: Node, source: Node) -> None:
        """A round trip to `source` that brings its blocks."""

        def deliver(n: Node) -> Effects:
            news = source.disk.chain[len(n.disk.chain) :] if source.up else []
            if not news:
                return ()
            for proposal, certificate in news:
                self._commit(n, proposal, certificate)
            proposal, certificate = news[-1]
            return n.replica.on_synced(
                Tip(proposal.header, proposal.block_hash, certificate), self.committee_of(proposal.header.height + 1), self.now
            )

        if not self.cut(node.index, source.index):
            self._send(source, node, deliver)

    def _fetch_bodies(self, node: Node, block_hash: BlockHash, holders: tuple[MemberId, ...]) -> None:
        for holder in (node, *(self._node(item) for item in holders)):
            if (found := holder.disk.blocks.get(block_hash)) is not None and holder.up:
                if holder is node:
                    self._later(node.index, 0, lambda n, found=found: n.replica.on_bodies(found, self.now))  # type: ignore[misc]
                else:
                    self._send(holder, node, lambda n, found=found: n.replica.on_bodies(found, self.now))  # type: ignore[misc]

    def _node(self, member_id: MemberId) -> Node:
        return self.nodes[int(member_id[1:])]

    # ---- what tests ask

    def heights(self) -> list[int]:
        """Return the committed height of each node."""
        return [len(node.disk.chain) for node in self.nodes]

    def all_reach(self, height: int) -> Callable[[], bool]:
        """Return a condition: every node that is up has committed `height`."""
        return lambda: all(len(node.disk.chain) >= height for node in self.nodes if node.up)

"""A stand-in driver for real replicas in virtual time: a queue of deliverable messages, a clock, timers, disks, execution.

The replicas, messages, sign-states, certificates and signature checks are the real ones. Execution is a stand-in: a block is
valid unless a test says otherwise. What happens inside one member (its own votes, execution, building) takes no time; what
goes between members waits in `queue` until its time comes or a test delivers, holds or drops it. Everything that a replica is
told stands in the section "inputs of the replica", so a change of its interface is a change there.

Each member may run as several instances with one key ("twins"). Every step checks: nothing leaves before it is durable, no
instance contradicts itself, each certificate is a quorum of the height's committee, and no height is decided twice.
"""

import hashlib
import heapq
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import assert_never

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
from consensus.inbox import Inbox
from consensus.messages import Message, NewView, Signed, signing_digest
from consensus.pacing import Timing
from consensus.replica import Replica, ReplicaConfig
from consensus.round import Tip
from consensus.sign_state import Floor, position_of
from consensus.verify import authenticate
from ledger.block import Header
from ledger.certificate import BadCertificateError, QuorumCertificate
from ledger.committee import Committee
from ledger.crypto import sign
from ledger.errors import BadSignatureError, DatacarError
from ledger.hashing import ZERO_HASH
from ledger.list_root import list_root
from ledger.types import BlockHash, Height, MemberId, TxHash, View
from tests.host_parts import (
    GENESIS_HASH,
    START_MS,
    Blocks,
    Bodies,
    Delivery,
    Disk,
    GetBlocks,
    GetBodies,
    Host,
    Observer,
    Payload,
    Status,
    ViolationError,
    genesis_tip,
    seed_of,
)

MAX_TRANSACTIONS = 100
MAX_SETTLING = 10_000
EXECUTION_MS = 1  # what a replica is told that executing a block took


class HostNetwork:
    """Runs instances of members. `members` names the member of each instance, e.g. (0, 0, 1, 2, 3).

    `changes` maps a height to the committee that its block makes the next one. `replicas_believe` gives the replicas another
    committee than the checks here know, only to prove that these can fail.
    """

    def __init__(
        self,
        committee: Committee,
        members: Iterable[int],
        observer: Observer | None = None,
        changes: Mapping[int, Committee] | None = None,
        replicas_believe: Committee | None = None,
    ) -> None:
        self.committee = committee
        self.changes = dict(changes or {})
        self._believed = replicas_believe
        self.observer = observer or Observer()
        self.now = START_MS + 1_000
        self.queue: list[tuple[int, int, Delivery]] = []
        self.held: list[Delivery] = []
        self.delivered = 0
        self.connected: Callable[[Host, Host], bool] = lambda _a, _b: True
        self.admit: Callable[[Delivery], Delivery | None] = lambda delivery: delivery
        self.holds: Callable[[Delivery], bool] = lambda _delivery: False
        self.delay_ms: Callable[[], int] = lambda: 1
        self.timer_at: Callable[[Host, Timer, int], int | None] = lambda _host, _timer, at_ms: at_ms
        self.decided: dict[Height, BlockHash] = {}
        self.hosts: list[Host] = []
        self._genesis = genesis_tip(committee)
        self._tick = 0
        self._built = 0
        self._local: deque[tuple[Host, Replica, Callable[[], Effects]]] = deque()
        self._timers: list[tuple[int, int, Host, Timer, int]] = []
        self._authentic: dict[int, Signed] = {}
        self._hashes: dict[int, bytes] = {}
        for index, number in enumerate(members):
            name = f"m{number}" + "'" * sum(host.member == f"m{number}" for host in self.hosts)
            disk, member = Disk(), MemberId(f"m{number}")
            self.hosts.append(Host(name, index, member, seed_of(number), self._boot(member, disk), disk))
        for host in self.hosts:
            self._start(host)

    def committee_of(self, height: int) -> Committee:
        """Return the committee that votes on `height`."""
        done = [at for at in self.changes if at < height]
        return self.changes[max(done)] if done else self.committee

    # ---- life

    def _boot(self, member: MemberId, disk: Disk) -> Replica:
        tip = self._genesis
        if disk.chain:
            proposal, certificate = disk.chain[-1]
            tip = Tip(proposal.header, proposal.block_hash, certificate)
        config = ReplicaConfig(member, GENESIS_HASH, MAX_TRANSACTIONS, Timing())
        return Replica(config, self._told(tip.height + 1), tip, disk.load())

    def _start(self, host: Host) -> None:
        self._feed(host, lambda: host.replica.start(self._clock(host)))
        self._drain()

    def crash(self, host: Host) -> None:
        """Stop an instance; only its disk survives. What it sent is still on its way."""
        host.up = False
        host.timers.clear()
        host.early = Inbox()

    def restart(self, host: Host) -> None:
        """Start an instance again from its disk, without pending transactions, and let it exchange tips with its peers."""
        self.crash(host)
        host.replica, host.up, host.goal = self._boot(host.member, host.disk), True, 0
        self._start(host)
        self.greet([host])

    def greet(self, hosts: Iterable[Host]) -> None:
        """Exchange tips between these instances and all that they are connected to, as a new connection does."""
        for host in hosts:
            for other in self._peers(host):
                if other.up:
                    self._send(host, other, Status(Height(host.height)))
                    self._send(other, host, Status(Height(other.height)))

    def give_work(self, host: Host, up_to: int) -> None:
        """Give an instance something to propose until it has committed height `up_to`."""
        host.goal = up_to
        self._tell_work(host)
        self._drain()

    # ---- time and deliveries

    def run(self, for_ms: int, until: Callable[[], bool] = lambda: False) -> bool:
        """Run for virtual `for_ms`, or until the condition holds; return whether it did."""
        end = self.now + for_ms
        while not until():
            queue, timers = self.queue, self._timers
            due = min(queue[0][0] if queue else end + 1, timers[0][0] if timers else end + 1)
            if due > end:
                self.now = end
                return until()
            self.now = max(self.now, due)
            if queue and queue[0][0] == due:
                self._deliver(heapq.heappop(queue)[2])
            else:
                _, _, host, timer, at_ms = heapq.heappop(timers)
                self.fire(host, timer, at_ms)
        return True

    def settle(self) -> None:
        """Deliver everything that is on its way, and what comes of it, without the clock moving on."""
        end = self.delivered + MAX_SETTLING
        while self.queue:
            if self.delivered > end:
                raise ViolationError(f"not quiet after {MAX_SETTLING} deliveries")
            self._deliver(heapq.heappop(self.queue)[2])

    def deliver(self, matches: Callable[[Delivery], bool]) -> int:
        """Deliver what is on its way or held and matches, in the order of sending; return how many that were."""
        chosen = self.drop(matches)
        for delivery in chosen:
            self._deliver(delivery)
        return len(chosen)

    def drop(self, matches: Callable[[Delivery], bool] = lambda _delivery: True) -> list[Delivery]:
        """Take what matches off the queue and return it."""
        waiting = sorted(self.queue, key=lambda item: item[1])
        chosen = [item for item in waiting if matches(item[2])]
        self.queue = [item for item in waiting if not matches(item[2])]
        heapq.heapify(self.queue)
        held = [delivery for delivery in self.held if matches(delivery)]
        self.held = [delivery for delivery in self.held if not matches(delivery)]
        return held + [delivery for _, _, delivery in chosen]

    def fire(self, host: Host, timer: Timer, at_ms: int | None = None) -> bool:
        """Let a timer go off if it is still set (for `at_ms`, when given); return whether it was."""
        due = host.timers.get(timer)
        if due is None or at_ms not in (None, due):
            return False
        host.timers[timer] = None
        self.observer.fired(host, timer)
        self._feed(host, lambda: host.replica.on_timer(timer, self._clock(host)))
        self._drain()
        return True

    def reset_timers(self) -> None:
        """Ask `timer_at` anew for every timer that is set."""
        self._timers.clear()
        for host in self.hosts:
            for timer, at_ms in host.timers.items():
                if at_ms is not None:
                    self._schedule(host, timer, at_ms)

    def _clock(self, host: Host) -> int:
        return self.now + host.skew_ms

    def _next_tick(self) -> int:
        self._tick += 1
        return self._tick

    def _peers(self, host: Host) -> Iterator[Host]:
        return (other for other in self.hosts if other is not host)

    def _instances(self, member: MemberId, but: Host) -> Iterator[Host]:
        return (other for other in self._peers(but) if other.member == member)

    def _send(self, sender: Host, to: Host, payload: Payload) -> None:
        if not self.connected(sender, to):
            return
        delivery = self.admit(Delivery(sender, to, payload))
        if delivery is None:
            return
        if self.holds(delivery):
            self.held.append(delivery)
        else:
            heapq.heappush(self.queue, (self.now + self.delay_ms(), self._next_tick(), delivery))

    def _deliver(self, delivery: Delivery) -> None:
        host = delivery.to
        if not host.up:
            return
        self.delivered += 1
        self._receive(delivery.sender, host, delivery.payload)
        self._drain()

    def _receive(self, sender: Host, host: Host, payload: Payload) -> None:
        match payload:
            case Signed():
                self._feed(host, lambda: self._on_signed(host, sender.member, payload))
            case Status(height):
                self._feed(host, lambda: host.replica.on_peer_tip(sender.member, height, self._clock(host)))
            case GetBlocks(from_height):
                if items := tuple(host.disk.chain[from_height - 1 :]):
                    self._send(host, sender, Blocks(items))
            case Blocks(items):
                self._on_blocks(host, items)
            case GetBodies(block_hash):
                if (found := host.disk.blocks.get(block_hash)) is not None:
                    self._send(host, sender, Bodies(found))
            case Bodies(proposal):
                self._feed(host, lambda: host.replica.on_bodies(proposal, self._clock(host)))
            case _:
                assert_never(payload)

    # ---- inputs of the replica

    def _feed(self, host: Host, produce: Callable[[], Effects]) -> None:
        """Queue an input of the replica that runs now: a crash in between takes it away."""
        self._local.append((host, host.replica, produce))

    def _drain(self) -> None:
        """Work the inputs empty; an effect never re-enters a replica while another input's effects are half done."""
        while self._local:
            host, replica, produce = self._local.popleft()
            if host.up and host.replica is replica:
                for effect in produce():
                    self._carry_out(host, effect)

    def _told(self, height: int) -> Committee:
        """Return the committee that a replica is told votes on `height`."""
        return self._believed or self.committee_of(height)

    def _on_signed(self, host: Host, peer: MemberId, signed: Signed) -> Effects:
        """Check and feed a message; one of the next height waits, unchecked, until this height is over."""
        height = signed.message.height
        if height == host.replica.height + 1:
            host.early.put(peer, height, signed.encode())
            return ()
        if height == host.replica.height and id(signed) not in self._authentic:
            try:
                self._authenticate(signed, self._told(height))
            except DatacarError as error:
                self.observer.refused(host, signed, error.message)
                return ()
            self._authentic[id(signed)] = signed  # kept, so its id stays its own
        return host.replica.on_message(signed, self._clock(host))

    def _authenticate(self, signed: Signed, committee: Committee) -> None:
        if isinstance(signed.message, NewView) and signed.signer != committee.primary(signed.message.view):
            raise BadSignatureError(f"{signed.signer} is not the primary of view {signed.message.view}", member=signed.signer)
        authenticate(signed, committee, GENESIS_HASH)

    def _feed_early(self, host: Host) -> None:
        """Feed what waited for this height."""
        for peer, payload in host.early.take(Height(host.height + 1)):
            self._feed(host, lambda peer=peer, payload=payload: self._on_signed(host, peer, Signed.decode(payload)))  # type: ignore[misc]

    def _feed_executed(self, host: Host, proposal: Proposal) -> None:
        following = None if host.refuses else self._told(proposal.header.height + 1)
        self.observer.judged(host, proposal, following is not None)
        self._feed(host, lambda: host.replica.on_executed(proposal.block_hash, following, EXECUTION_MS, self._clock(host)))

    def _feed_candidate(self, host: Host, height: Height, view: View) -> None:
        candidate = Candidate(self.build(host, height, view), self._told(height + 1))
        self._feed(host, lambda: host.replica.on_candidate(candidate, self._clock(host)))

    def _feed_synced(self, host: Host) -> None:
        proposal, certificate = host.disk.chain[-1]
        tip = Tip(proposal.header, proposal.block_hash, certificate)
        self._feed(host, lambda: host.replica.on_synced(tip, self._told(tip.height + 1), self._clock(host)))

    def _feed_divergence(self, host: Host, height: Height) -> None:
        reason = "a certified block executes differently here"
        self._feed(host, lambda: host.replica.on_divergence(height, reason, self._clock(host)))

    def _tell_work(self, host: Host) -> None:
        if host.height < host.goal:
            self._feed(host, lambda: host.replica.on_work(host.height < host.goal, self._clock(host)))

    # ---- effects

    def _carry_out(self, host: Host, effect: Effect) -> None:  # noqa: C901 (one case for each effect)
        match effect:
            case Persist(state, block):
                if block is not None:
                    host.disk.blocks[block.block_hash] = block
                host.disk.save(state)
            case Broadcast(message):
                self._broadcast(host, message)
            case Relay(messages):
                for signed in messages:
                    self._to_all(host, signed)
            case SetTimer(timer, at_ms):
                host.timers[timer] = at_ms
                if at_ms is not None:
                    if timer is Timer.HOLD:
                        self.observer.held(host, at_ms)
                    self._schedule(host, timer, at_ms)
            case BuildBlock(height, view, _limit, _empty):
                self._feed_candidate(host, height, view)
            case Execute(proposal):
                self._feed_executed(host, proposal)
            case CommitBlock(proposal, certificate):
                self._commit(host, proposal, certificate, synced=False)
                self._feed_early(host)
                self._tell_work(host)
            case SendBlock(to, height):
                for other in self._instances(to, host):
                    self._send(host, other, Blocks((host.disk.chain[height - 1],)))
            case FetchBlocks(from_height, hint):
                for other in self._instances(hint, host):
                    self._send(host, other, GetBlocks(from_height))
            case FetchBodies(_, block_hash, holders):
                self._fetch_bodies(host, block_hash, holders)
            case RecordEvidence(evidence):
                self.observer.convicted(host, evidence)
            case Halt():
                self.observer.halted(host, effect)
            case _:
                assert_never(effect)

    def _schedule(self, host: Host, timer: Timer, at_ms: int) -> None:
        if (due := self.timer_at(host, timer, at_ms - host.skew_ms)) is not None:
            heapq.heappush(self._timers, (max(due, self.now), self._next_tick(), host, timer, at_ms))

    def _broadcast(self, host: Host, message: Message) -> None:
        position = position_of(message)
        floor = host.disk.floor
        if floor is None or floor < position:
            raise ViolationError(f"{host.name} sends {_named(position)} before it is durable")
        earlier = host.said.get(position)
        if earlier is not None and earlier != message:
            raise ViolationError(f"{host.name} contradicts itself: it signs two different messages at {_named(position)}")
        signed = self.sign(host, message)
        if earlier is None:
            host.said[position] = message
            self.observer.said(host, signed)
        else:
            self.observer.repeated(host, signed)
        self._feed(host, lambda: self._on_signed(host, host.member, signed))
        self._to_all(host, signed)

    def sign(self, host: Host, message: Message) -> Signed:
        """Return `message` signed by the member that `host` is an instance of."""
        return Signed(message, host.member, sign(host.seed, signing_digest(message, GENESIS_HASH)))

    def _to_all(self, host: Host, signed: Signed) -> None:
        for other in self._peers(host):
            self._send(host, other, signed)

    def build(self, host: Host, height: Height, view: View) -> Proposal:
        """Return a block unlike any other: each holds a transaction of its own."""
        self._built += 1
        tip = host.replica.tip
        body = hashlib.sha256(f"tx {self._built}".encode()).digest()
        stamp = max(self._clock(host), tip.header.timestamp_ms + 1)
        root = list_root(GENESIS_HASH, [body])
        voting, following = (self._hash_of(at) for at in (height, height + 1))
        header = Header(height, view, tip.block_hash, host.member, stamp, root, ZERO_HASH, ZERO_HASH, voting, following, 0)
        return Proposal(header.hash(GENESIS_HASH), header, (TxHash(body),))

    def _hash_of(self, height: int) -> bytes:
        committee = self.committee_of(height)
        if committee.epoch not in self._hashes:
            self._hashes[committee.epoch] = committee.hash(GENESIS_HASH)
        return self._hashes[committee.epoch]

    def _fetch_bodies(self, host: Host, block_hash: BlockHash, holders: tuple[MemberId, ...]) -> None:
        if (found := host.disk.blocks.get(block_hash)) is not None:
            self._feed(host, lambda: host.replica.on_bodies(found, self._clock(host)))
            return
        for holder in holders:
            for other in self._instances(holder, host):
                self._send(host, other, GetBodies(block_hash))

    def _on_blocks(self, host: Host, items: tuple[tuple[Proposal, QuorumCertificate], ...]) -> None:
        """Commit the blocks that come next; each is checked like any other."""
        before = host.height
        for proposal, certificate in items:
            if proposal.header.height != host.height + 1:
                continue
            if host.refuses:
                self._feed_divergence(host, proposal.header.height)
                break
            self._commit(host, proposal, certificate, synced=True)
        if host.height > before:
            self._feed_synced(host)
            self._feed_early(host)
            self._tell_work(host)

    def _commit(self, host: Host, proposal: Proposal, certificate: QuorumCertificate, *, synced: bool) -> None:
        height = proposal.header.height
        if height != host.height + 1:
            raise ViolationError(f"{host.name} commits height {height} on height {host.height}")
        if self.decided.setdefault(height, proposal.block_hash) != proposal.block_hash:
            raise ViolationError(f"FORK: {host.name} commits another block at height {height}")
        try:
            certificate.check(GENESIS_HASH, self.committee_of(height))
        except BadCertificateError as error:
            raise ViolationError(f"{host.name} commits height {height} with a bad certificate: {error.message}") from error
        if certificate.header != proposal.header:
            raise ViolationError(f"{host.name} commits height {height} with the certificate of another block")
        host.disk.chain.append((proposal, certificate))
        self.observer.committed(host, proposal, certificate, synced)
        for other in self._peers(host):
            self._send(host, other, Status(Height(height)))


def _named(position: Floor) -> str:
    return f"{position.height}.{position.view} {position.step.name.lower()}"

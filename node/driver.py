"""The one driver: feeds the replica and carries out its effects, always persist (fsync) -> send -> apply -> publish.

Everything runs on one event loop, consensus messages first. Inputs are queued, so that an effect never re-enters the replica
while another input's effects are half done. A disk that does not take a write stops the node: it never votes on hope.
"""

from collections import deque
from collections.abc import Callable
from typing import assert_never

import structlog

from consensus.effects import (
    Broadcast,
    BuildBlock,
    CommitBlock,
    Effect,
    Effects,
    Execute,
    FetchBlocks,
    FetchBodies,
    Halt,
    Persist,
    RecordEvidence,
    Relay,
    SendBlock,
    SetTimer,
    Timer,
)
from consensus.evidence import Evidence
from consensus.messages import Message, Signed, signing_digest
from consensus.replica import Replica
from consensus.round import Tip
from ledger.certificate import QuorumCertificate
from ledger.crypto import sign
from ledger.errors import unreachable
from ledger.types import Height, MemberId, TxId
from node.answers import Answers
from node.chain import Chain, ExecutedBlock
from node.clock import Clock
from node.consensus_door import ConsensusDoor
from node.fairness import Fairness
from node.finality import Finality
from node.gossip import Gossip
from node.housekeeping import Housekeeper
from node.intake import Intake
from node.key_ring import KeyRing
from node.ports import Network
from node.proposals import Proposals
from node.pruning import Keep, Pruner
from node.reminder import Reminder
from node.sign_file import SignFile
from node.snapshot_server import SnapshotServer
from node.standing import Standing
from node.sync import BlockSync
from node.tasks import Tasks
from node.time_jump import TimeJumps
from node.timers import Timers
from node.work import Work
from p2p.messages import Application, Blocks, Bodies, Consensus, GetBlocks, GetBodies, Status, Transactions
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State

log = structlog.get_logger("consensus")


class Driver:
    """One member's consensus on real sockets and a real disk. `fail` is called once when the node must stop."""

    def __init__(
        self,
        *,
        chain: Chain,
        replica: Replica,
        keys: KeyRing,
        sign_file: SignFile,
        intake: Intake,
        finality: Finality,
        network: Network,
        clock: Clock,
        batch_delay_ms: int,
        keep: Keep,
        snapshot_distance: int,
        fail: Callable[[BaseException], None],
    ) -> None:
        self.chain = chain
        self.replica = replica
        self.intake = intake
        self.finality = finality
        self.network = network
        self.clock = clock
        self._tasks = Tasks(self.stop_for)
        self._fairness = Fairness(chain, intake.mempool)
        self._work = Work(chain, intake.mempool, clock, batch_delay_ms, self._offer_work)
        self.gossip = Gossip(intake, network, self._tasks, clock, self._told)
        self._reminder = Reminder(self._remind)
        self._pruner = Pruner(chain, keep)
        self._housekeeper = Housekeeper(self._pruner, self._tasks, clock)
        self.sync = BlockSync(chain, intake, network, self, self._tasks, snapshot_distance)
        self._standing = Standing(chain, replica, keys, network, self.sync)
        self._snapshots = SnapshotServer(chain, intake, network, self._tasks, self._pruner, clock)
        self.committed_blocks = 0
        self.committed_transactions = 0
        self.last_commit_ms = clock()
        self._keys = keys
        self._sign_file = sign_file
        self._fail = fail
        self._inputs: deque[Callable[[], Effects]] = deque()
        self._running = False
        self._stopped = False
        self._timers = Timers(clock, self._expired)
        self.proposals = Proposals(chain, replica, intake, network, self._work, self._tasks, clock, self._post)
        self.answers = Answers(chain, intake, self.proposals.executed)
        self.door = ConsensusDoor(chain, replica, network, clock, self._consider)
        self.jumps = TimeJumps(replica, clock, self._post, self._jumped)

    # ---- life

    def start(self) -> None:
        """Take up consensus where the disk says; needs a running event loop."""
        self._standing.take()
        self.sync.state_sync.start_clean_up()
        self._post(lambda: self.replica.start(self.clock()))
        self._check_version()
        self._work.on_committed(0)

    async def stop(self) -> None:
        """Stop taking part; nothing is sent or written after this."""
        self._stopped = True
        self._timers.stop()
        self._work.stop()
        self._reminder.stop()
        self.gossip.stop()
        await self._tasks.stop()

    def stop_for(self, error: BaseException) -> None:
        """Stop taking part because something that must not fail did, a write to disk above all."""
        if not self._stopped:
            self._stopped = True
            log.critical("the node stops: something that must not fail did", error=f"{type(error).__name__}: {error}")
            self._fail(error)

    # ---- the network's side (p2p.peers.Handler)

    def on_connected(self, member_id: MemberId) -> None:
        """Tell a new peer our tip and what is pending."""
        log.info("member connected", member=member_id)
        self.network.send(member_id, self._status())
        self.gossip.introduce(member_id)

    def on_disconnected(self, member_id: MemberId, reason: str) -> None:
        """Note a lost peer."""
        log.info("member disconnected", member=member_id, reason=reason)

    def on_unproven_tip(self, member_id: MemberId, status: Status) -> None:
        """Ask somebody who may be this member for blocks; its word is no evidence of anything, least of all for the replica."""
        if not self._stopped and status.height > self.chain.tip.height:
            self.sync.heard(member_id, status)
            self.sync.request(member_id)

    def on_message(self, member_id: MemberId, message: Application) -> None:  # noqa: C901 (one case for each message)
        """Take a peer's message."""
        if self._stopped:
            return
        match message:
            case Consensus(payload):
                self.door.on_consensus(member_id, payload)
            case Transactions(raws):
                self.proposals.bodies.on_gossip(self.gossip.receive(member_id, raws))
            case Status(height):
                self.sync.heard(member_id, message)
                self._post(lambda: self.replica.on_peer_tip(member_id, height, self.clock()))
            case GetBodies():
                if (bodies := self.answers.bodies(message)) is not None:
                    self.network.send(member_id, bodies)
            case Bodies():
                if (proposal := self.proposals.bodies.on_bodies(message)) is not None:
                    self._post(lambda: self.replica.on_bodies(proposal, self.clock()))
            case GetBlocks():
                self.network.send(member_id, self.answers.blocks(message))
            case Blocks():
                self.sync.on_blocks(member_id, message)
            case GetSnapshot() | GetHistory() | GetState():
                self._snapshots.on_request(member_id, message)
            case Snapshot() | History() | State():
                self.sync.state_sync.on_answer(member_id, message)
            case _:
                assert_never(message)

    def _deliver_early(self) -> Effects:
        """Take up what came for this height before it began."""
        self.door.deliver_early()
        return ()

    # ---- inputs and effects

    def _consider(self, signed: Signed) -> None:
        self._post(lambda: self.replica.on_message(signed, self.clock()))

    def _expired(self, timer: Timer) -> None:
        self._post(lambda: self.replica.on_timer(timer, self.clock()))

    def _post(self, produce: Callable[[], Effects]) -> None:
        """Queue an input and, unless already at it, work the queue empty."""
        self._inputs.append(produce)
        if self._running or self._stopped:
            return
        self._running = True
        try:
            while self._inputs:
                for effect in self._inputs.popleft()():
                    self._carry_out(effect)
        except Exception as error:
            self.stop_for(error)
            raise
        finally:
            self._running = False

    def _carry_out(self, effect: Effect) -> None:  # noqa: C901 (one case for each effect)
        match effect:
            case Persist(state, block):
                if block is not None:
                    self.chain.store.put_pending(block.block_hash, self.proposals.executed[block.block_hash].block)
                self._sign_file.save(state)
            case Broadcast(message):
                self._broadcast(message)
            case Relay(messages):
                for signed in messages:
                    self.network.broadcast(Consensus(signed.encode()))
            case SendBlock(to, height):
                if (item := self.answers.certified(height)) is not None:
                    self.network.send(to, Blocks((item,)))
            case SetTimer(timer, at_ms):
                self._timers.set(timer, at_ms)
            case BuildBlock():
                self.proposals.build(effect)
            case Execute(proposal):
                self.proposals.execute(proposal)
            case FetchBodies(header, block_hash, holders):
                self.proposals.find(header, block_hash, holders)
            case FetchBlocks(_, hint):
                self.sync.tips.setdefault(hint, self.replica.height)
                self.sync.request(hint)
            case CommitBlock(proposal, certificate):
                self._decided(self.proposals.executed[proposal.block_hash], certificate)
            case RecordEvidence(evidence):
                self._record(evidence)
            case Halt(reason, height, block_hash):
                log.critical("halted", reason=reason, height=height, block="0x" + block_hash.hex())
            case _:
                assert_never(effect)

    def _record(self, evidence: Evidence) -> None:
        """Keep proof that a member contradicted itself."""
        height, view, step = evidence.position
        log.critical("a member contradicts itself", member=evidence.signer, height=height, view=view, step=step.name)
        self.chain.store.put_evidence(evidence.signer, height, view, step, evidence.encode())

    def _broadcast(self, message: Message) -> None:
        """Sign, send, and count our own like everybody's."""
        me = self.replica.config.me
        member = self.chain.committee.get(me)  # effects come in order: this is still the committee of the message's height
        if member is None:
            unreachable(f"{me} signs at height {message.height} and is not in its committee")
        seed = self._keys.seed(member.public_key)
        signed = Signed(message, me, sign(seed, signing_digest(message, self.chain.genesis_hash)))
        self.network.broadcast(Consensus(signed.encode()))
        self._inputs.append(lambda: self.replica.on_message(signed, self.clock()))

    # ---- commits

    def _decided(self, executed: ExecutedBlock, certificate: QuorumCertificate) -> None:
        """Commit what this height came to, and go on with what is known of the next one."""
        self._commit(executed, certificate)
        if self._fairness.is_passed_over(executed, self.clock()):
            log.warning("the primary leaves a transaction out", primary=executed.header.proposer, height=executed.header.height)
            self._inputs.append(lambda: self.replica.on_passed_over(executed.header.proposer, self.clock()))
        self._inputs.append(self._deliver_early)

    def commit_synced(self, executed: ExecutedBlock, certificate: QuorumCertificate) -> None:
        """Commit a certified block that another member sent."""
        self._commit(executed, certificate)
        tip = Tip(executed.header, executed.block_hash, certificate)
        self._post(lambda: self.replica.on_synced(tip, executed.following, self.clock()))
        self._post(self._deliver_early)

    def diverged(self, height: Height, reason: str) -> None:
        """Stop voting: a quorum certified what this node computes differently."""
        self._post(lambda: self.replica.on_divergence(height, reason, self.clock()))

    def _commit(self, executed: ExecutedBlock, certificate: QuorumCertificate) -> None:
        """Write the block, then tell everyone who waits for it."""
        self.chain.commit(executed, certificate)
        self.committed_blocks += 1
        self.committed_transactions += len(executed.transactions)
        mempool = self.intake.mempool
        mempool.unpin()
        mempool.remove(transaction.id for transaction in executed.transactions)
        self.finality.expired([transaction.id for transaction in mempool.expire(executed.header.timestamp_ms)])
        self._leave_height()
        self.finality.committed(executed)
        self._work.on_committed(len(executed.transactions))

    def adopt_snapshot(self, certificate: QuorumCertificate) -> None:
        """Go on from a state that was installed in the store: its header is the tip."""
        chain, mempool = self.chain, self.intake.mempool
        chain.take_up()
        mempool.unpin()
        mempool.remove([transaction.id for transaction in mempool.candidates() if chain.committed_at(transaction.id) is not None])
        # What expires now may stand in blocks that are not here: what became of it is not ours to say.
        mempool.expire(chain.tip.timestamp_ms)
        self._leave_height()
        self.finality.adopted()
        self._work.on_committed(0)
        tip = Tip(chain.tip, chain.tip_hash, certificate)
        self._post(lambda: self.replica.on_synced(tip, chain.committee, self.clock()))
        self._post(self._deliver_early)

    def _leave_height(self) -> None:
        """Forget what was worked on at the height that is over, and tell the members what is here now."""
        self.proposals.forget()
        self.door.forget()
        self._reminder.stop()
        self.last_commit_ms = self.clock()
        self._standing.take()
        self._check_version()
        self._housekeeper.on_committed(self.chain.tip.height)
        self.network.broadcast(self._status())
        self.jumps.on_height(Height(self.chain.tip.height + 1))

    def _check_version(self) -> None:
        """Stop voting where the next block is of a version that is not known here."""
        if (outdated := self.chain.outdated) is not None:
            self._post(lambda: self.replica.on_outdated(outdated, self.clock()))

    def _status(self) -> Status:
        """Return our tip and what we have of the blocks before it, for the members that are behind."""
        chain = self.chain
        return Status(chain.tip.height, chain.tip_hash, chain.store.held.bodies_from, self._pruner.snapshot)

    # ---- work to propose

    def on_pending(self) -> None:
        """A transaction entered the pool."""
        self._work.on_pending()
        self.gossip.on_pending()

    def _offer_work(self, work: bool) -> None:
        if not self._stopped:
            self._post(lambda: self.replica.on_work(work, self.clock()))
            if work:
                self._reminder.work_began()

    def _remind(self) -> bool:
        """Tell a primary that has proposed nothing yet what is pending; return whether to look again."""
        replica = self.replica
        if not replica.awaits_proposal or replica.primary == replica.config.me or not self.gossip.remind(replica.primary):
            return False
        self._post(lambda: replica.on_reminded(self.clock()))
        return True

    def _jumped(self) -> None:
        """Go on by a clock that was set ahead: what lasted until then is not held against anybody."""
        self._fairness = Fairness(self.chain, self.intake.mempool)
        self.last_commit_ms = self.clock()
        self._work.clock_moved()

    def _told(self, tx_id: TxId, now_ms: int) -> None:
        """Note that the oldest pending transaction was sent to all again, if the primary is among them."""
        if any(peer.connected and peer.member_id == self.replica.primary for peer in self.network.peers()):
            self._fairness.told(tx_id, now_ms)

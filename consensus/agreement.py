"""Agreement on one height: from proposals and votes to certificates, and from one view to the next (rules 2 to 6).

The replica hands in what is of its height and authentic; what follows goes to `Outgoing`. Once a quorum has committed, `decided`
holds the new tip and the committee after it, and nothing more happens here until the replica begins the next height.
"""

from dataclasses import dataclass
from typing import assert_never

from consensus.effects import (
    BuildBlock,
    Candidate,
    CommitBlock,
    Execute,
    FetchBlocks,
    FetchBodies,
    Halt,
    Proposal,
    RecordEvidence,
    SetTimer,
    Timer,
)
from consensus.evidence import Evidence, contradict
from consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Proposing, Signed, ViewChange, step_of
from consensus.outgoing import Outgoing
from consensus.pacing import BatchSizer, Timing
from consensus.proposals import belongs, carried_certificate, is_timely, names_its_transactions, opens_at_ms
from consensus.round import Round, Tip
from consensus.signer import Signer
from consensus.views import highest_prepared
from consensus.watch import PrimaryWatch
from ledger.certificate import PreparedCert, QuorumCertificate
from ledger.committee import Committee
from ledger.types import BlockHash, MemberId, View


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """Who this replica is, on which chain, and the bounds it keeps."""

    me: MemberId
    genesis_hash: bytes
    max_transactions: int
    timing: Timing


class Agreement:
    """The protocol within a height. `round` holds all that is known of it."""

    def __init__(self, config: ReplicaConfig, signer: Signer, out: Outgoing, round_: Round) -> None:
        self.round = round_
        self.decided: tuple[Tip, Committee] | None = None
        self.watch = PrimaryWatch()
        self._config = config
        self._signer = signer
        self._out = out
        self._sizer = BatchSizer(config.max_transactions)

    def set_bounds(self, config: ReplicaConfig) -> None:
        """Keep other bounds from now on."""
        if config.max_transactions != self._config.max_transactions:
            self._sizer = BatchSizer(config.max_transactions)
        self._config = config

    def begin(self, round_: Round) -> None:
        """Go on to the next height."""
        self.watch.committed(round_.tip.header.proposer if round_.tip.decided_at_once else None)
        self.round = round_
        self.decided = None

    # ---- messages

    def take(self, signed: Signed) -> None:
        """Take an authentic message of this height, our own included."""
        round_, message = self.round, signed.message
        self._look_for_evidence(signed)
        round_.views.saw(signed.signer, message.view)
        match message:
            case Prepare():
                if round_.prepares.add(signed, message, round_.view):
                    self._prepare_certificate_if_ready()
            case Commit():
                if round_.commits.add(signed, message, round_.view):
                    self.commit_if_ready()
            case ViewChange():
                round_.views.add(signed, message)
                self.open_view_if_ready()
            case PrePrepare():
                self._on_pre_prepare(signed, message)
            case NewView():
                self._on_new_view(signed, message)
            case _:
                assert_never(message)
        if self.decided is None and (join := round_.views.view_to_join()) > round_.view:
            self.change_view(join)

    def wants(self, signed: Signed) -> bool:
        """Return whether a message of this height could still change anything here: if not, it is not worth verifying."""
        round_, message = self.round, signed.message
        held = round_.held(signed)
        if held is not None:
            place = (signed.signer, message.view, step_of(message))
            return held.message != message and place not in round_.convicted
        match message:
            case Prepare() | Commit():
                votes = round_.prepares if isinstance(message, Prepare) else round_.commits
                return votes.takes(message.view, round_.view)
            case ViewChange():
                latest = round_.views.change_of(signed.signer)
                return latest is None or latest.message.view < message.view
            case PrePrepare():
                opens = message.view == round_.start_view == round_.view
                return opens and signed.signer == round_.committee.primary(message.view)
            case NewView():
                return message.view >= round_.view
            case _:
                assert_never(message)

    def _look_for_evidence(self, signed: Signed) -> None:
        """Record a message that contradicts what is held of the same signer, once for each view and step."""
        round_ = self.round
        held = round_.held(signed)
        place = (signed.signer, signed.message.view, step_of(signed.message))
        if held is not None and contradict(held, signed) and place not in round_.convicted:
            round_.convicted.add(place)
            self._out.put(RecordEvidence(Evidence(held, signed)))

    def _on_pre_prepare(self, signed: Signed, message: PrePrepare) -> None:
        """Rule 3: only in the starting view, only from its primary, only one."""
        round_ = self.round
        opens = message.view == round_.start_view == round_.view and round_.active
        if opens and signed.signer == round_.committee.primary(message.view):
            self._take_proposal(signed, message)

    def _on_new_view(self, signed: Signed, message: NewView) -> None:
        """Rule 4: recompute what the q view changes force the primary to propose."""
        round_ = self.round
        if message.view <= round_.start_view or signed.signer != round_.committee.primary(message.view):
            return
        if message.view < round_.view or (message.view == round_.view and round_.current is not None):
            self._keep_opening(signed)
            return
        cert = carried_certificate(message)
        for item in message.view_changes:
            round_.views.saw(item.signer, message.view)
        round_.leave_view(message.view, active=True)
        if cert is not None and cert.header != message.header:
            self._leave_bad_primary()
        else:
            self._take_proposal(signed, message)

    def _keep_opening(self, signed: Signed) -> None:
        """Keep our own proposal's signed form, which comes back after we took it up, for sending again."""
        round_ = self.round
        if round_.current_message is None and signed.message.view == round_.view:
            round_.current_message = signed

    # ---- proposals

    def _take_proposal(self, signed: Signed, message: Proposing) -> None:
        """Accept a proposal that its sender may make; hold one ahead of our clock; leave the view at once for a wrong one."""
        round_, timing = self.round, self._config.timing
        if round_.current is not None:
            self._keep_opening(signed)
            return
        round_.current_message = signed
        genesis_hash, is_first = self._config.genesis_hash, carried_certificate(message) is None
        if not names_its_transactions(message, genesis_hash) or (is_first and not self._is_admissible(message)):
            self._leave_bad_primary()
            return
        if is_first and (opens_ms := opens_at_ms(message, timing)) > self._out.now_ms:
            self._out.put(SetTimer(Timer.HOLD, opens_ms))
            return
        self._accept(Proposal(message.header.hash(genesis_hash), message.header, message.tx_hashes))

    def _is_admissible(self, message: Proposing) -> bool:
        config, round_ = self._config, self.round
        fits = belongs(message, round_, config.genesis_hash, config.max_transactions)
        return fits and is_timely(message, round_, config.timing, self._out.now_ms)

    def retry_held(self) -> None:
        """Look again at a proposal that was ahead of our clock."""
        round_ = self.round
        held = round_.current_message if round_.active and round_.current is None else None
        if held is not None and isinstance(held.message, PrePrepare | NewView):
            self._take_proposal(held, held.message)

    def _accept(self, proposal: Proposal) -> None:
        round_ = self.round
        if round_.view == round_.start_view:
            self.watch.proposed(self._out.now_ms)
        round_.current = proposal
        round_.remember(proposal)
        if proposal.block_hash in round_.following:
            self._after_execution(proposal.block_hash)
        else:
            self._execute(proposal)

    def _execute(self, proposal: Proposal) -> None:
        if proposal.block_hash not in self.round.executing:
            self.round.executing.add(proposal.block_hash)
            self._out.put(Execute(proposal))

    def executed(self, block_hash: BlockHash, following: Committee | None, took_ms: int) -> None:
        """Take what executing a proposal found: the committee after it, or None when it is invalid."""
        round_ = self.round
        round_.executing.discard(block_hash)
        if block_hash in round_.proposals:
            self.watch.executed(took_ms)
            round_.following[block_hash] = following
            self._after_execution(block_hash)

    def _after_execution(self, block_hash: BlockHash) -> None:
        round_ = self.round
        is_current = round_.current is not None and round_.current.block_hash == block_hash
        if round_.following[block_hash] is None:
            self._refuse(block_hash, is_current=is_current)
            return
        if is_current:
            self._say(Prepare(round_.height, round_.view, block_hash))
            self._prepare_certificate_if_ready()
        self.commit_if_ready()

    def _refuse(self, block_hash: BlockHash, *, is_current: bool) -> None:
        """An invalid proposal costs its primary the view; a certificate for one means that we differ from a quorum (rule 3)."""
        round_ = self.round
        message = None if round_.current_message is None else round_.current_message.message
        cert = carried_certificate(message) if isinstance(message, NewView) else highest_prepared(round_.chosen)
        certified = any(found == block_hash for _, found in round_.commits.quorums())
        if certified or (is_current and cert is not None):
            self.halt("diverged: a quorum certified a block that executes differently here", block_hash)
        elif is_current:
            self._leave_bad_primary()

    def _leave_bad_primary(self) -> None:
        """Leave at once, for up to f bad primaries in a row: after more of them we may be the odd one out, and time decides."""
        if self.round.failed_views <= self.round.committee.faults:
            self.change_view(View(self.round.view + 1))

    # ---- from votes to certificates

    def _prepare_certificate_if_ready(self) -> None:
        """Prepared: q matching Prepares of the open view for a block that we executed. Only then is a Commit said."""
        round_, current = self.round, self.round.current
        if current is None or not round_.active or round_.following.get(current.block_hash) is None:
            return
        if round_.prepared is not None and round_.prepared.view >= round_.view:
            return
        signatures = round_.prepares.signatures(round_.view, current.block_hash)
        if len(signatures) >= round_.committee.quorum:
            round_.prepared = PreparedCert.build(current.header, round_.view, signatures, round_.committee)
            self._say(Commit(round_.height, round_.view, current.block_hash), current)

    def commit_if_ready(self) -> None:
        """Committed: q matching Commits, in whichever view they were said."""
        round_ = self.round
        for view, block_hash in round_.commits.quorums():
            proposal = round_.proposals.get(block_hash)
            if proposal is None:
                if others := [voter for voter in round_.commits.voters(view, block_hash) if voter != self._config.me]:
                    self.fetch_blocks(others[0])
            elif block_hash not in round_.following:
                self._execute(proposal)
            elif (following := round_.following[block_hash]) is None:
                self._refuse(block_hash, is_current=False)
            else:
                self._commit(proposal, view, following)
            return

    def _commit(self, proposal: Proposal, view: View, following: Committee) -> None:
        round_ = self.round
        signatures = round_.commits.signatures(view, proposal.block_hash)
        certificate = QuorumCertificate.build(proposal.header, view, signatures, round_.committee)
        self._out.put(CommitBlock(proposal, certificate))
        if round_.proposed_at_ms is not None:
            self._sizer.committed(len(proposal.tx_hashes), self._out.now_ms - round_.proposed_at_ms)
        self.decided = Tip(proposal.header, proposal.block_hash, certificate), following

    # ---- views

    def change_view(self, view: View) -> bool:
        """Leave for `view`, carrying our prepared certificate; nothing happens when we may not sign that."""
        round_ = self.round
        leaves = view > round_.view and self._say(ViewChange(round_.height, view, round_.prepared))
        if leaves:
            round_.leave_view(view, active=False)
        return leaves

    def open_view_if_ready(self) -> None:
        """As primary of a view that q members want, propose what they carry, or a fresh block (rule 4)."""
        round_ = self.round
        if round_.active or round_.building or round_.primary != self._config.me:
            return
        changes = round_.views.choose(round_.view, lambda cert: self._proposal_of(cert) is not None)
        if not changes:
            return
        cert = highest_prepared(changes)
        proposal = None if cert is None else self._proposal_of(cert)
        if cert is not None and proposal is None:
            self.fetch_prepared(cert)
            return
        round_.chosen = changes
        if proposal is None:
            self._build(allow_empty=True)
        else:
            self._open_with(proposal)

    def _proposal_of(self, cert: PreparedCert) -> Proposal | None:
        return self.round.proposals.get(cert.header.hash(self._config.genesis_hash))

    def fetch_prepared(self, cert: PreparedCert) -> None:
        """Ask for the transaction hashes of a prepared block, here or at those who prepared it."""
        block_hash = cert.header.hash(self._config.genesis_hash)
        self._out.put(FetchBodies(cert.header, block_hash, cert.signers(self.round.committee)))

    def propose_if_due(self) -> None:
        """As primary of the starting view, have a block built when there is work."""
        round_ = self.round
        starts = round_.active and round_.view == round_.start_view and round_.current is None and not round_.building
        if round_.work and starts and round_.primary == self._config.me:
            self._build(allow_empty=False)

    def _build(self, *, allow_empty: bool) -> None:
        round_ = self.round
        if self._signer.may_propose(round_.height, round_.view):
            round_.building = True
            limit = self._sizer.limit(round_.failed_views)
            self._out.put(BuildBlock(round_.height, round_.view, limit, allow_empty))

    def built(self, candidate: Candidate | None) -> None:
        """Take the block that was built; None when nothing could be put into one."""
        round_ = self.round
        round_.building = False
        if candidate is None:
            round_.work = False
            self.watch.work_ended()
            return
        header = candidate.proposal.header
        if header.height == round_.height and header.view == round_.view and round_.current is None:
            round_.following[candidate.proposal.block_hash] = candidate.following
            self._open_with(candidate.proposal)

    def _open_with(self, proposal: Proposal) -> None:
        """Say the proposal of the current view as its primary, and take part in it like any other member."""
        round_ = self.round
        message: Message
        if round_.view == round_.start_view:
            message = PrePrepare(round_.height, round_.view, proposal.header, proposal.tx_hashes)
        else:
            message = NewView(round_.height, round_.view, round_.chosen, proposal.header, proposal.tx_hashes)
        if self._say(message):
            round_.active = True
            round_.proposed_at_ms = self._out.now_ms
            self._accept(proposal)

    # ---- what all of this comes to

    def _say(self, message: Message, block: Proposal | None = None) -> bool:
        """Sign something new, durably first; False when the floor or our standing forbids it."""
        said = self._signer.say(message, self.round.prepared, block)
        self._out.put(*said)
        return bool(said)

    def fetch_blocks(self, hint: MemberId) -> None:
        """Ask for committed blocks; a halted replica could not take them."""
        if self._signer.halted is None:
            self._out.put(FetchBlocks(self.round.height, hint))

    def halt(self, reason: str, block_hash: BlockHash) -> None:
        """Stop voting for good."""
        if self._signer.halted is None:
            self._signer.halted = Halt(reason, self.round.height, block_hash)
            self._out.put(self._signer.halted)

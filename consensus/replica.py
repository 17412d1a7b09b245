"""The PBFT replica: one member's side of the protocol as a pure state machine (protocol, section Consensus).

Inputs carry `now_ms` and return effects in the order persist -> send -> apply. The driver has checked each message's
signatures (`consensus.verify`), signs what is broadcast, and feeds our own signed messages back in. Tips told by others are
hints; only certificates move a height.
"""

from dataclasses import dataclass
from typing import assert_never

from consensus.effects import (
    BuildBlock,
    CommitBlock,
    Effect,
    Effects,
    Execute,
    FetchBlocks,
    FetchBodies,
    Halt,
    Proposal,
    Relay,
    SendBlock,
    SetTimer,
    Timer,
)
from consensus.inbox import Inbox
from consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Proposing, Signed, ViewChange
from consensus.pacing import BatchSizer, Timing
from consensus.progress import ProgressTimer, one_persist
from consensus.proposals import belongs, carried_certificate, is_timely, names_its_transactions, opens_at_ms
from consensus.round import Round, Tip
from consensus.sign_state import SignState
from consensus.signer import Signer
from consensus.views import highest_prepared
from ledger.certificate import PreparedCert, QuorumCertificate
from ledger.committee import Committee
from ledger.types import BlockHash, Height, MemberId, View


@dataclass(frozen=True, slots=True)
class ReplicaConfig:
    """Who this replica is, on which chain, and the bounds it keeps."""

    me: MemberId
    genesis_hash: bytes
    max_transactions: int
    timing: Timing


class Replica:
    """One member's protocol state. `sign_state` is None when it was lost: the replica then starts in quarantine."""

    def __init__(self, config: ReplicaConfig, committee: Committee, tip: Tip, sign_state: SignState | None) -> None:
        self.config = config
        self.committee = committee
        self._signer = Signer(committee, config.me, sign_state)
        self._progress = ProgressTimer(config.timing)
        self._sizer = BatchSizer(config.max_transactions)
        self._inbox = Inbox()
        self._answered: dict[MemberId, int] = {}
        self._moved = True
        self._ahead: MemberId | None = None
        self._advanced_ms = 0
        self._now = 0
        self._out: list[Effect] = []
        self._round = Round(tip, committee, tip.header.view)

    # ---- inputs ---------------------------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> Effects:
        """Take up the height after the tip: the view and the messages of the sign-state first, byte for byte (rule 5)."""
        self._now = now_ms
        self._out.append(SetTimer(Timer.RESEND, now_ms + self.config.timing.resend_ms))
        self._resume()
        return self._take()

    def on_message(self, signed: Signed, now_ms: int) -> Effects:
        """Take an authentic message of any member, ourselves included."""
        self._now = now_ms
        height = signed.message.height
        if height == self._round.height:
            self._on_current(signed)
        elif height < self._round.height:
            self._answer_old(signed)
        else:
            if height == self._round.height + 1:
                self._inbox.put(signed)
            else:
                self._fetch_blocks(signed.signer)
        return self._take()

    def on_timer(self, timer: Timer, now_ms: int) -> Effects:
        """Take the expiry of a timer that was set."""
        self._now = now_ms
        match timer:
            case Timer.PROGRESS:
                if self._progress.expired(self._round):
                    self._change_view(View(self._round.view + 1))
            case Timer.RESEND:
                self._resend()
            case Timer.HOLD:
                self._retry_held()
            case _:
                assert_never(timer)
        return self._take()

    def on_work(self, work: bool, now_ms: int) -> Effects:
        """Take whether there is something to propose: transactions, due entries, or an overdue heartbeat."""
        self._now = now_ms
        self._round.work = work
        self._propose_if_due()
        return self._take()

    def on_candidate(self, candidate: Proposal | None, now_ms: int) -> Effects:
        """Take the block that `BuildBlock` asked for; None when nothing could be put into one."""
        self._now = now_ms
        round_ = self._round
        round_.building = False
        if candidate is None:
            round_.work = False
        elif candidate.header.height == round_.height and candidate.header.view == round_.view and round_.current is None:
            round_.valid[candidate.block_hash] = True
            self._open_with(candidate)
        return self._take()

    def on_executed(self, block_hash: BlockHash, valid: bool, now_ms: int) -> Effects:
        """Take whether an executed proposal is valid: entries admissible and all roots as in its header."""
        self._now = now_ms
        round_ = self._round
        round_.executing.discard(block_hash)
        if block_hash in round_.proposals:
            round_.valid[block_hash] = valid
            self._after_execution(block_hash, valid)
        return self._take()

    def on_bodies(self, proposal: Proposal, now_ms: int) -> Effects:
        """Take a prepared block whose transaction hashes `FetchBodies` found."""
        self._now = now_ms
        if proposal.header.height == self._round.height:
            self._round.remember(proposal)
            self._open_view_if_ready()
        return self._take()

    def on_synced(self, tip: Tip, now_ms: int) -> Effects:
        """Take a tip that the driver has committed from certified blocks of other members."""
        self._now = now_ms
        if tip.height > self._round.tip.height:
            self._advance(tip)
        return self._take()

    def on_divergence(self, height: Height, reason: str, now_ms: int) -> Effects:
        """Take that a certified block of `height` executes differently here: stop voting (rule 3)."""
        self._now = now_ms
        self._halt(f"diverged at height {height}: {reason}", self._round.tip.block_hash)
        return self._take()

    def on_peer_tip(self, member: MemberId, height: Height, now_ms: int) -> Effects:
        """Take a member's stated tip: a hint to fetch from it, and evidence for the end of a quarantine."""
        self._now = now_ms
        if (quarantine := self._signer.quarantine) is not None:
            quarantine.saw_tip(member, height)
        if height > self._round.height:
            self._fetch_blocks(member)
        elif height == self._round.height:
            self._ahead = member  # its last votes are on their way to us too: fetched only if we stay behind
        return self._take()

    # ---- what others may look at ------------------------------------------------------------------------------------------

    @property
    def height(self) -> Height:
        """Return the height being decided."""
        return self._round.height

    @property
    def view(self) -> View:
        """Return the current view."""
        return self._round.view

    @property
    def tip(self) -> Tip:
        """Return the last committed block."""
        return self._round.tip

    @property
    def primary(self) -> MemberId:
        """Return the primary of the current view."""
        return self.committee.primary(self._round.view)

    @property
    def halted(self) -> Halt | None:
        """Return why this replica stopped voting for good, or None."""
        return self._signer.halted

    @property
    def phase(self) -> str:
        """Return where this height stands: halted, quarantine, view_change, idle, pre_prepared or prepared."""
        if self._signer.halted is not None:
            return "halted"
        return "quarantine" if self._signer.quarantine is not None else self._round.phase

    @property
    def votes(self) -> dict[str, int]:
        """Return how many votes of the current view are held."""
        return self._round.vote_counts()

    # ---- messages of the current height -----------------------------------------------------------------------------------

    def _on_current(self, signed: Signed) -> None:
        round_, message = self._round, signed.message
        round_.views.saw(signed.signer, message.view)
        match message:
            case Prepare():
                if round_.prepares.add(signed, message, round_.view):
                    self._prepare_certificate_if_ready()
            case Commit():
                if round_.commits.add(signed, message, round_.view):
                    self._commit_if_ready()
            case ViewChange():
                round_.views.add(signed, message)
                self._open_view_if_ready()
            case PrePrepare():
                self._on_pre_prepare(signed, message)
            case NewView():
                self._on_new_view(signed, message)
            case _:
                assert_never(message)
        if self._round is round_ and (join := round_.views.view_to_join()) > round_.view:
            self._change_view(join)

    def _on_pre_prepare(self, signed: Signed, message: PrePrepare) -> None:
        """Rule 3: only in the starting view, only from its primary, only one."""
        round_ = self._round
        opens = message.view == round_.start_view == round_.view and round_.active
        if opens and signed.signer == self.committee.primary(message.view):
            self._take_proposal(signed, message)

    def _on_new_view(self, signed: Signed, message: NewView) -> None:
        """Rule 4: recompute what the q view changes force the primary to propose."""
        round_ = self._round
        if message.view <= round_.start_view or signed.signer != self.committee.primary(message.view):
            return
        if message.view < round_.view or (message.view == round_.view and round_.current is not None):
            self._keep_opening(signed)
            return
        cert = carried_certificate(message)
        for item in message.view_changes:
            round_.views.saw(item.signer, message.view)
        round_.leave_view(message.view, active=True)
        if cert is not None and cert.header != message.header:
            self._change_view(View(message.view + 1))
        else:
            self._take_proposal(signed, message)

    def _keep_opening(self, signed: Signed) -> None:
        """Keep our own proposal's signed form, which comes back after we took it up, for sending again."""
        round_ = self._round
        if round_.current_message is None and signed.message.view == round_.view:
            round_.current_message = signed

    def _take_proposal(self, signed: Signed, message: Proposing) -> None:
        """Accept a proposal that its sender may make; hold one ahead of our clock; leave the view at once for a wrong one."""
        round_, timing = self._round, self.config.timing
        if round_.current is not None:
            self._keep_opening(signed)
            return
        round_.current_message = signed
        is_first = carried_certificate(message) is None
        if not names_its_transactions(message, self.config.genesis_hash) or (is_first and not self._is_admissible(message)):
            self._change_view(View(round_.view + 1))
            return
        if is_first and (opens_ms := opens_at_ms(message, timing)) > self._now:
            self._out.append(SetTimer(Timer.HOLD, opens_ms))
            return
        self._accept(Proposal(message.header.hash(self.config.genesis_hash), message.header, message.tx_hashes))

    def _is_admissible(self, message: Proposing) -> bool:
        config, round_ = self.config, self._round
        fits = belongs(message, round_, config.genesis_hash, config.max_transactions)
        return fits and is_timely(message, round_, config.timing, self._now)

    def _retry_held(self) -> None:
        """Look again at a proposal that was ahead of our clock."""
        round_ = self._round
        held = round_.current_message if round_.active and round_.current is None else None
        if held is not None and isinstance(held.message, PrePrepare | NewView):
            self._take_proposal(held, held.message)

    def _accept(self, proposal: Proposal) -> None:
        round_ = self._round
        round_.current = proposal
        round_.remember(proposal)
        valid = round_.valid.get(proposal.block_hash)
        if valid is None:
            self._execute(proposal)
        else:
            self._after_execution(proposal.block_hash, valid)

    def _execute(self, proposal: Proposal) -> None:
        if proposal.block_hash not in self._round.executing:
            self._round.executing.add(proposal.block_hash)
            self._out.append(Execute(proposal))

    def _after_execution(self, block_hash: BlockHash, valid: bool) -> None:
        round_ = self._round
        is_current = round_.current is not None and round_.current.block_hash == block_hash
        if not valid:
            self._refuse(block_hash, is_current)
            return
        if is_current:
            self._say(Prepare(round_.height, round_.view, block_hash))
            self._prepare_certificate_if_ready()
        self._commit_if_ready()

    def _refuse(self, block_hash: BlockHash, is_current: bool) -> None:
        """An invalid proposal costs its primary the view; a certificate for one means that we differ from a quorum (rule 3)."""
        round_ = self._round
        message = None if round_.current_message is None else round_.current_message.message
        cert = carried_certificate(message) if isinstance(message, NewView) else None
        certified = any(found == block_hash for _, found in round_.commits.quorums())
        if certified or (is_current and cert is not None):
            self._halt("diverged: a quorum certified a block that executes differently here", block_hash)
        elif is_current:
            self._change_view(View(round_.view + 1))

    # ---- from votes to certificates ---------------------------------------------------------------------------------------

    def _prepare_certificate_if_ready(self) -> None:
        """Prepared: q matching Prepares of the open view for a block that we executed. Only then is a Commit said."""
        round_, current = self._round, self._round.current
        if current is None or not round_.active or not round_.valid.get(current.block_hash):
            return
        if round_.prepared is not None and round_.prepared.view >= round_.view:
            return
        signatures = round_.prepares.signatures(round_.view, current.block_hash)
        if len(signatures) >= self.committee.quorum:
            round_.prepared = PreparedCert.build(current.header, round_.view, signatures, self.committee)
            self._say(Commit(round_.height, round_.view, current.block_hash), current)

    def _commit_if_ready(self) -> None:
        """Committed: q matching Commits, in whichever view they were said."""
        round_ = self._round
        for view, block_hash in round_.commits.quorums():
            proposal = round_.proposals.get(block_hash)
            if proposal is None:
                self._fetch_blocks(round_.commits.voters(view, block_hash)[0])
            elif (valid := round_.valid.get(block_hash)) is None:
                self._execute(proposal)
            elif not valid:
                self._refuse(block_hash, is_current=False)
            else:
                self._commit(proposal, view)
            return

    def _commit(self, proposal: Proposal, view: View) -> None:
        round_ = self._round
        signatures = round_.commits.signatures(view, proposal.block_hash)
        certificate = QuorumCertificate.build(proposal.header, view, signatures, self.committee)
        self._out.append(CommitBlock(proposal, certificate))
        if round_.proposed_at_ms is not None:
            self._sizer.committed(len(proposal.tx_hashes), self._now - round_.proposed_at_ms)
        self._advance(Tip(proposal.header, proposal.block_hash, certificate))

    def _advance(self, tip: Tip) -> None:
        """Begin the height after `tip` in the tip's view, or leave for the view that decided it (rule 2)."""
        self._round = Round(tip, self.committee, tip.header.view)
        self._moved = True
        self._ahead = None
        self._advanced_ms = self._now
        self._answered.clear()
        self._out.append(SetTimer(Timer.HOLD, None))
        self._signer.committed(tip.height)
        self._resume()
        if tip.certificate is not None and tip.certificate.view > self._round.view:
            self._change_view(tip.certificate.view)
        for signed in self._inbox.take(self._round.height):
            if self._round.tip == tip:
                self._on_current(signed)

    def _resume(self) -> None:
        """Go on where the sign-state says that we were at this height: same view, same bytes again."""
        round_, state = self._round, self._signer.state
        if repeated := self._signer.repeat(round_.height):
            round_.view = max(round_.view, state.floor.view)
            round_.active = round_.view == round_.start_view
            round_.prepared = state.prepared
            if state.prepared is not None:
                self._fetch_prepared(state.prepared)
            self._out.extend(repeated)

    # ---- views ------------------------------------------------------------------------------------------------------------

    def _change_view(self, view: View) -> None:
        """Leave for `view`, carrying our prepared certificate; nothing happens when we may not sign that."""
        round_ = self._round
        if view > round_.view and self._say(ViewChange(round_.height, view, round_.prepared)):
            round_.leave_view(view, active=False)

    def _open_view_if_ready(self) -> None:
        """As primary of a view that q members want, propose what they carry, or a fresh block (rule 4)."""
        round_ = self._round
        if round_.active or round_.building or self.primary != self.config.me:
            return
        changes = round_.views.changes_for(round_.view)
        if not changes:
            return
        cert = highest_prepared(changes)
        if cert is None:
            self._build(allow_empty=True)
        elif (proposal := round_.proposals.get(cert.header.hash(self.config.genesis_hash))) is None:
            self._fetch_prepared(cert)
        else:
            self._open_with(proposal)

    def _fetch_prepared(self, cert: PreparedCert) -> None:
        block_hash = cert.header.hash(self.config.genesis_hash)
        self._out.append(FetchBodies(cert.header, block_hash, cert.signers(self.committee)))

    def _propose_if_due(self) -> None:
        round_ = self._round
        starts = round_.active and round_.view == round_.start_view and round_.current is None and not round_.building
        if round_.work and starts and self.primary == self.config.me:
            self._build(allow_empty=False)

    def _build(self, *, allow_empty: bool) -> None:
        round_ = self._round
        if self._signer.may_propose(round_.height, round_.view):
            round_.building = True
            limit = self._sizer.limit(round_.failed_views)
            self._out.append(BuildBlock(round_.height, round_.view, limit, allow_empty))

    def _open_with(self, proposal: Proposal) -> None:
        """Say the proposal of the current view as its primary, and take part in it like any other member."""
        round_ = self._round
        message: Message
        if round_.view == round_.start_view:
            message = PrePrepare(round_.height, round_.view, proposal.header, proposal.tx_hashes)
        else:
            changes = round_.views.changes_for(round_.view)
            if not changes:
                return
            message = NewView(round_.height, round_.view, changes, proposal.header, proposal.tx_hashes)
        if self._say(message):
            round_.active = True
            round_.proposed_at_ms = self._now
            self._accept(proposal)

    # ---- signing, sending, timers -----------------------------------------------------------------------------------------

    def _say(self, message: Message, block: Proposal | None = None) -> bool:
        """Sign something new, durably first; False when the floor or our standing forbids it."""
        said = self._signer.say(message, self._round.prepared, block)
        self._out.extend(said)
        return bool(said)

    def _answer_old(self, signed: Signed) -> None:
        """Rule 1: who still works on a committed height gets the block and its certificate, once an interval.

        The last votes of a height come in after its quorum: their senders are not behind, so the tip is sent only once it is old.
        """
        interval_ms, height = self.config.timing.resend_ms, signed.message.height
        settling = height == self._round.tip.height and self._now < self._advanced_ms + interval_ms
        if signed.signer != self.config.me and not settling and self._now >= self._answered.get(signed.signer, 0):
            self._answered[signed.signer] = self._now + interval_ms
            self._out.append(SendBlock(signed.signer, height))

    def _resend(self) -> None:
        """Repeat what a peer may lack, but only at a height that did not move for a whole interval."""
        if not self._moved and self._ahead is not None:
            self._fetch_blocks(self._ahead)
        if not self._moved and (messages := self._round.to_resend()):
            self._out.append(Relay(messages))
            self._open_view_if_ready()
            self._commit_if_ready()
        self._moved = False
        self._out.append(SetTimer(Timer.RESEND, self._now + self.config.timing.resend_ms))

    def _fetch_blocks(self, hint: MemberId) -> None:
        """Ask for committed blocks; a halted replica could not take them."""
        if self._signer.halted is None:
            self._out.append(FetchBlocks(self._round.height, hint))

    def _halt(self, reason: str, block_hash: BlockHash) -> None:
        if self._signer.halted is None:
            self._signer.halted = Halt(reason, self._round.height, block_hash)
            self._out.append(self._signer.halted)

    def _take(self) -> Effects:
        """Return the effects of this input, with one write for everything that was signed in it."""
        if self._signer.halted is None:
            self._out.extend(self._progress.arm(self._round, self._now))
        effects, self._out = self._out, []
        return one_persist(effects)

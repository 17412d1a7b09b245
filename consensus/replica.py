"""The PBFT replica: one member's side of the protocol as a pure state machine (protocol, section Consensus).

Inputs carry `now_ms` and return effects in the order persist -> send -> apply. The driver has checked each message's
signatures (`consensus.verify`), signs what is broadcast, and feeds our own signed messages back in. Tips told by others are
hints; only certificates move a height. What happens within a height is in `consensus.agreement`.
"""

from dataclasses import replace
from typing import assert_never

from consensus.agreement import Agreement, ReplicaConfig
from consensus.effects import Candidate, Effects, Halt, Proposal, Relay, SendBlock, SetTimer, Timer
from consensus.messages import Signed
from consensus.outgoing import Outgoing
from consensus.pacing import Timing
from consensus.progress import ProgressTimer
from consensus.round import Round, Tip
from consensus.sign_state import SignState
from consensus.signer import Signer
from ledger.committee import Committee
from ledger.types import BlockHash, Height, MemberId, View

__all__ = ["Replica", "ReplicaConfig"]


class Replica:
    """One member's protocol state. `committee` votes on the height after `tip`.

    `sign_state` is None when it was lost: the replica then starts in quarantine.
    """

    def __init__(self, config: ReplicaConfig, committee: Committee, tip: Tip, sign_state: SignState | None) -> None:
        self.config = config
        self._out = Outgoing()
        self._signer = Signer(committee, config.me, sign_state)
        self._agreement = Agreement(config, self._signer, self._out, Round(tip, committee, tip.header.view))
        self._progress = ProgressTimer(config.timing)
        self._answered: dict[MemberId, int] = {}
        self._moved = True
        self._ahead: MemberId | None = None
        self._advanced_ms = 0

    def hold_keys(self, keys: frozenset[bytes]) -> None:
        """Take the public keys that the driver can sign with: a committee that names another for us counts no vote of ours."""
        self._signer.hold_keys(keys)

    def set_bounds(self, max_transactions: int, timing: Timing) -> None:
        """Take the bounds that the chain sets from the height that has just begun on; a timer that runs stays as it is."""
        self.config = replace(self.config, max_transactions=max_transactions, timing=timing)
        self._agreement.set_bounds(self.config)
        self._progress.set_timing(timing)

    # ---- inputs ---------------------------------------------------------------------------------------------------------

    def start(self, now_ms: int) -> Effects:
        """Take up the height after the tip: the view and the messages of the sign-state first, byte for byte (rule 5)."""
        self._out.now_ms = now_ms
        self._out.put(SetTimer(Timer.RESEND, now_ms + self.config.timing.resend_ms))
        self._resume()
        return self._take()

    def wants(self, signed: Signed) -> bool:
        """Return whether a message of this height is worth verifying: those that can change nothing are most of a flood."""
        return self._agreement.wants(signed)

    def on_message(self, signed: Signed, now_ms: int) -> Effects:
        """Take a message of this height that is authentic, ourselves included, or one of another height as a hint."""
        self._out.now_ms = now_ms
        height = signed.message.height
        if height == self._round.height:
            if signed.signer == self.config.me:
                self._out.put(*self._signer.saw_own(signed.message))
            self._agreement.take(signed)
        elif height < self._round.height:
            self._answer_old(signed)
        else:
            self._agreement.fetch_blocks(signed.signer)
        return self._take()

    def on_timer(self, timer: Timer, now_ms: int) -> Effects:
        """Take the expiry of a timer that was set."""
        self._out.now_ms = now_ms
        match timer:
            case Timer.PROGRESS:
                if self._progress.expired(self._round):
                    self._agreement.change_view(View(self._round.view + 1))
            case Timer.RESEND:
                self._resend()
            case Timer.HOLD:
                self._agreement.retry_held()
            case _:
                assert_never(timer)
        return self._take()

    def on_work(self, work: bool, now_ms: int) -> Effects:
        """Take whether there is something to propose: transactions, due entries, or an overdue heartbeat."""
        self._out.now_ms = now_ms
        self._round.work = work
        if work:
            self._agreement.watch.work_began(now_ms)
        else:
            self._agreement.watch.work_ended()
        self._agreement.propose_if_due()
        return self._take()

    def on_reminded(self, now_ms: int) -> Effects:
        """Take that the primary was told only now what there is to propose: its time counts from here (rule 9 a)."""
        self._out.now_ms = now_ms
        self._agreement.watch.told(now_ms)
        return self._take()

    def on_passed_over(self, primary: MemberId, now_ms: int) -> Effects:
        """Take that `primary` left out what it must have known of and had room for: leave its view (rule 9 b)."""
        self._out.now_ms = now_ms
        if self._round.view == self._round.start_view and self.primary == primary:
            self._agreement.change_view(View(self._round.view + 1))
        return self._take()

    def on_candidate(self, candidate: Candidate | None, now_ms: int) -> Effects:
        """Take the block that `BuildBlock` asked for; None when nothing could be put into one."""
        self._out.now_ms = now_ms
        self._agreement.built(candidate)
        return self._take()

    def on_executed(self, block_hash: BlockHash, following: Committee | None, took_ms: int, now_ms: int) -> Effects:
        """Take what executing a proposal found, and how long that took: the committee that votes after it if it is valid.

        Valid: its entries are admissible and all roots are those of its header. None: it is not.
        """
        self._out.now_ms = now_ms
        self._agreement.executed(block_hash, following, took_ms)
        return self._take()

    def on_bodies(self, proposal: Proposal, now_ms: int) -> Effects:
        """Take a prepared block whose transaction hashes `FetchBodies` found."""
        self._out.now_ms = now_ms
        if proposal.header.height == self._round.height:
            self._round.remember(proposal)
            self._agreement.open_view_if_ready()
        return self._take()

    def on_synced(self, tip: Tip, following: Committee, now_ms: int) -> Effects:
        """Take a tip that the driver has committed from certified blocks of other members, and the committee after it."""
        self._out.now_ms = now_ms
        if tip.height > self._round.tip.height:
            self._advance(tip, following)
        return self._take()

    def on_divergence(self, height: Height, reason: str, now_ms: int) -> Effects:
        """Take that a certified block of `height` executes differently here: stop voting (rule 3)."""
        self._out.now_ms = now_ms
        self._agreement.halt(f"diverged at height {height}: {reason}", self._round.tip.block_hash)
        return self._take()

    def on_outdated(self, reason: str, now_ms: int) -> Effects:
        """Take that the next block follows rules that this software does not know: stop voting, whatever anybody says."""
        self._out.now_ms = now_ms
        self._agreement.halt(reason, self._round.tip.block_hash)
        return self._take()

    def on_peer_tip(self, member: MemberId, height: Height, now_ms: int) -> Effects:
        """Take a member's stated tip: a hint to fetch from it, and evidence for the end of a quarantine."""
        self._out.now_ms = now_ms
        self._signer.saw_tip(member, height)
        if height > self._round.height:
            self._agreement.fetch_blocks(member)
        elif height == self._round.height:
            self._ahead = member  # its last votes are on their way to us too: fetched only if we stay behind
        return self._take()

    # ---- what others may look at ------------------------------------------------------------------------------------------

    @property
    def _round(self) -> Round:
        return self._agreement.round

    @property
    def committee(self) -> Committee:
        """Return the committee of the height being decided."""
        return self._round.committee

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
        return self._round.primary

    @property
    def awaits_proposal(self) -> bool:
        """Return whether the view is open and nothing was proposed in it yet."""
        return self._round.active and self._round.current is None

    @property
    def halted(self) -> Halt | None:
        """Return why this replica stopped voting for good, or None."""
        return self._signer.halted

    @property
    def phase(self) -> str:
        """Return where this height stands: halted, quarantine, observer, view_change, idle, pre_prepared or prepared."""
        signer = self._signer
        if signer.halted is not None:
            return "halted"
        if not signer.is_voter:
            return "observer"
        return "quarantine" if signer.quarantine is not None else self._round.phase

    @property
    def votes(self) -> dict[str, int]:
        """Return how many votes of the current view are held."""
        return self._round.vote_counts()

    # ---- from height to height --------------------------------------------------------------------------------------------

    def _advance(self, tip: Tip, following: Committee) -> None:
        """Begin the height after `tip` in the tip's view, or leave for the view that decided it (rule 2)."""
        agreement = self._agreement
        agreement.begin(Round(tip, following, tip.header.view))
        self._moved = True
        self._ahead = None
        self._advanced_ms = self._out.now_ms
        self._answered.clear()
        self._out.put(SetTimer(Timer.HOLD, None))
        self._signer.committed(tip.height, following)
        self._resume()
        if tip.certificate is not None and tip.certificate.view > self._round.view:
            agreement.change_view(tip.certificate.view)
        elif agreement.watch.is_slow(self.primary) and agreement.change_view(View(self._round.view + 1)):
            agreement.watch.complained()

    def _resume(self) -> None:
        """Go on where the sign-state says that we were at this height: same view, same bytes again."""
        round_, state = self._round, self._signer.state
        if repeated := self._signer.repeat(round_.height):
            round_.view = max(round_.view, state.floor.view)
            round_.active = round_.view == round_.start_view
            round_.prepared = state.prepared
            if state.prepared is not None:
                self._agreement.fetch_prepared(state.prepared)
            self._out.put(*repeated)

    # ---- sending, timers --------------------------------------------------------------------------------------------------

    def _answer_old(self, signed: Signed) -> None:
        """Rule 1: who still works on a committed height gets the block and its certificate, once an interval.

        The last votes of a height come in after its quorum: their senders are not behind, so the tip is sent only once it is old.
        """
        interval_ms, height, now_ms = self.config.timing.resend_ms, signed.message.height, self._out.now_ms
        settling = height == self._round.tip.height and now_ms < self._advanced_ms + interval_ms
        if signed.signer != self.config.me and not settling and now_ms >= self._answered.get(signed.signer, 0):
            self._answered[signed.signer] = now_ms + interval_ms
            self._out.put(SendBlock(signed.signer, height))

    def _resend(self) -> None:
        """Repeat what a peer may lack, but only at a height that did not move for a whole interval."""
        if not self._moved and self._ahead is not None:
            self._agreement.fetch_blocks(self._ahead)
        if not self._moved and (messages := self._round.to_resend()):
            self._out.put(Relay(messages))
            self._agreement.open_view_if_ready()
            self._agreement.commit_if_ready()
        self._moved = False
        self._out.put(SetTimer(Timer.RESEND, self._out.now_ms + self.config.timing.resend_ms))

    def _take(self) -> Effects:
        """Begin the next height if this one is decided, and return the effects of this input."""
        if self._agreement.decided is not None:
            self._advance(*self._agreement.decided)
        if self._signer.halted is None:
            self._out.put(*self._progress.arm(self._round, self._out.now_ms))
        return self._out.take()

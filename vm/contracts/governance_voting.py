"""How the members decide: proposals, votes that count, and the vote that carries a proposal out."""

from collections.abc import Sequence
from dataclasses import replace
from hashlib import sha256
from typing import Annotated, Final

from vm.contract import U64, Bounds, Context, Item, Map, require
from vm.contracts.deadlines import expiry
from vm.contracts.governance_actions import MemberChanges
from vm.contracts.governance_events import ProposalExecuted, ProposalExpired, ProposalRejected, Proposed, ThresholdSet, Voted
from vm.contracts.governance_rule_types import Threshold, ThresholdInfo
from vm.contracts.governance_thresholds import QUORUM_SHARE, WHOLE, approvals_needed, least_share
from vm.contracts.governance_types import (
    Action,
    Candidate,
    GovernanceError,
    MemberRecord,
    OpenProposal,
    Outcome,
    Proposal,
    ProposalStatus,
    Reservation,
    Role,
    Tally,
    Topic,
    Vote,
)
from vm.contracts.planned_calls import PlannedCall, PlannedCalls

MAX_OPEN_PROPOSALS: Final = 32
"""In all; beyond them a member opens its first one only, so no others' proposals are ever in its way."""
MAX_OPEN_BY_MEMBER: Final = 4
_ABOUT_MEMBERS: Final = (Topic.MEMBERS,)


class Voting(MemberChanges):
    """Storage of the proposals, with the counting of votes. It has no methods to call."""

    proposals: Map[U64, Proposal]
    proposal_count: Item[U64]
    proposal_calls: Map[U64, PlannedCalls]  # while it is open, and once it is executed
    shares: Item[Annotated[tuple[Threshold, ...], Bounds(0, len(Topic))]]  # those that were ever set

    def _propose(
        self,
        ctx: Context,
        action: Action,
        reason: str,
        expires_ms: int | None,
        candidate: Candidate | None = None,
        calls: tuple[PlannedCall, ...] = (),
    ) -> int:
        proposer = self._voter(ctx)
        until_ms = expiry(ctx, expires_ms, GovernanceError.BAD_EXPIRY)
        listed = self._clear(ctx, self.open.get(()))
        own = sum(item.proposer == proposer.id for item in listed)
        limit = MAX_OPEN_BY_MEMBER if len(listed) < MAX_OPEN_PROPOSALS else 1
        require(own < limit, GovernanceError.TOO_MANY_PROPOSALS, open=len(listed), proposer=proposer.id, own=own, limit=limit)
        if action.calls is None:
            self._check(action)
        number = self.proposal_count.get(0) + 1
        self.proposal_count.set(number)
        reserved = None
        if candidate is not None:
            self._check_candidate(ctx, action.member_id, candidate)
            self.candidate_certificates[number] = candidate.certificate
            reserved = Reservation(action.member_id, sha256(candidate.certificate).digest(), candidate.p2p_address)
        if calls:
            self.proposal_calls[number] = calls
        self.open.set((*listed, OpenProposal(number, proposer.id, until_ms, reserved, bool(calls))))
        ctx.emit(Proposed(number, action.kind, action.member_id, proposer.id, until_ms))
        status = ProposalStatus.OPEN
        made = Proposal(number, action, proposer.id, reason, ctx.height, ctx.now_ms, until_ms, status, (), None)
        self._cast(ctx, made, proposer, approve=True)
        return number

    def _cast(self, ctx: Context, proposal: Proposal, voter: MemberRecord, *, approve: bool) -> ProposalStatus:
        """Put a vote in the place of the voter's last one, drop votes that count no more, and decide what can be decided."""
        others = [vote for vote in proposal.votes if vote.member_id != voter.id and self._counts(vote)]
        votes = sorted((*others, Vote(voter.id, ctx.height, approve)), key=lambda vote: vote.member_id)
        tally = self._summed(replace(proposal, votes=tuple(votes)), votes)
        ctx.emit(Voted(proposal.id, voter.id, approve, tally.approvals, tally.rejections, tally.need))
        if approve and tally.approvals >= tally.need:
            self._carry_out(ctx, tally)
            ctx.emit(ProposalExecuted(proposal.id, proposal.action.kind, proposal.action.member_id))
            return ProposalStatus.EXECUTED
        if len(self._roster().validators) - tally.rejections < tally.need:
            self._close(ctx, tally, ProposalStatus.REJECTED)
            ctx.emit(ProposalRejected(proposal.id))
            return ProposalStatus.REJECTED
        self.proposals[proposal.id] = tally.proposal
        return ProposalStatus.OPEN

    def _carry_out(self, ctx: Context, tally: Tally) -> None:
        """Do what was decided and close the proposal; where it is a list of calls before them, so that none gets at it again."""
        if tally.proposal.action.calls is None:
            self._execute(ctx, tally.proposal)
            self._close(ctx, tally, ProposalStatus.EXECUTED)
            return
        self._close(ctx, tally, ProposalStatus.EXECUTED)
        for call in self.proposal_calls[tally.proposal.id]:
            ctx.invoke(call.contract, call.method, call.args)

    def _close(self, ctx: Context, tally: Tally, status: ProposalStatus) -> None:
        number = tally.proposal.id
        outcome = Outcome(ctx.height, tally.approvals, tally.rejections, tally.need)
        if tally.proposal.action.nominee is not None:
            del self.candidate_certificates[number]
        if tally.proposal.action.calls is not None and status is not ProposalStatus.EXECUTED:
            del self.proposal_calls[number]
        self.proposals[number] = replace(tally.proposal, status=status, outcome=outcome)
        self.open.set(tuple(item for item in self.open.get(()) if item.id != number))

    def _clear(self, ctx: Context, listed: tuple[OpenProposal, ...]) -> tuple[OpenProposal, ...]:
        left = tuple(item for item in listed if item.expires_ms >= ctx.now_ms)
        if left != listed:
            self.open.set(left)
        for item in listed:
            if item.expires_ms < ctx.now_ms:
                if item.reserved is not None:
                    del self.candidate_certificates[item.id]
                if item.has_calls:
                    del self.proposal_calls[item.id]
                ctx.emit(ProposalExpired(item.id))
        return left

    def _tally(self, proposal: Proposal) -> Tally:
        if (outcome := proposal.outcome) is not None:
            return Tally(proposal, outcome.approvals, outcome.rejections, outcome.need, None, None)
        return self._summed(proposal, [vote for vote in proposal.votes if self._counts(vote)])

    def _summed(self, proposal: Proposal, counted: Sequence[Vote]) -> Tally:
        approvals = sum(vote.approve for vote in counted)
        return Tally(proposal, approvals, len(counted) - approvals, self._need(proposal.action), None, None)

    def _need(self, action: Action) -> int:
        """Return how many approvals an action takes of the committee as it is: the most that any of its topics does."""
        topics = _ABOUT_MEMBERS if action.calls is None else action.calls.topics
        shares, validators = self._shares(), len(self._roster().validators)
        return max(approvals_needed(topic, shares[topic], validators) for topic in topics)

    def _shares(self) -> dict[Topic, int]:
        """Return the share of the validators that each topic needs, in 1/10,000."""
        return dict.fromkeys(Topic, QUORUM_SHARE) | {each.topic: each.share for each in self.shares.get(())}

    def _set_threshold(self, ctx: Context, topic: Topic, share: int) -> None:
        least = least_share(topic)
        require(least <= share <= WHOLE, GovernanceError.BAD_THRESHOLD, topic=topic, share=share, least=least, most=WHOLE)
        others = (each for each in self.shares.get(()) if each.topic is not topic)
        self.shares.set(tuple(sorted((*others, Threshold(topic, share)), key=lambda each: each.topic)))
        ctx.emit(ThresholdSet(topic, share))

    def _thresholds(self) -> tuple[ThresholdInfo, ...]:
        shares, validators = self._shares(), len(self._roster().validators)
        return tuple(
            ThresholdInfo(topic, share, least_share(topic), approvals_needed(topic, share, validators))
            for topic, share in shares.items()
        )

    def _counts(self, vote: Vote) -> bool:
        """Return whether the voter still votes; one that left and came back under the same id must vote again."""
        member = self.members.get(vote.member_id)
        return member is not None and member.role is Role.VALIDATOR and member.since_height <= vote.height

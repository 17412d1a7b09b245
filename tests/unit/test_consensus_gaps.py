"""One replica at a time: what it must refuse, ignore, ask for, remember and repeat, whatever the network around it would mend.

A planted bug of `tests.mutants` that no other test saw has its test here.
"""

from typing import Any

import pytest

from consensus.effects import (
    Broadcast,
    BuildBlock,
    CommitBlock,
    Effect,
    FetchBlocks,
    FetchBodies,
    Persist,
    Proposal,
    Relay,
    SendBlock,
    SetTimer,
    Timer,
)
from consensus.messages import Commit, NewView, Prepare, PrePrepare, ViewChange
from consensus.outgoing import one_persist
from consensus.pacing import TARGET_COMMIT_MS, BatchSizer, Timing
from consensus.progress import ProgressTimer
from consensus.quarantine import Quarantine
from consensus.round import MAX_PROPOSALS, Round, Tip
from consensus.sign_state import SignState
from consensus.views import ViewTracker, highest_prepared
from consensus.watch import WINDOW
from ledger.certificate import QuorumCertificate
from ledger.list_root import list_root
from ledger.types import Height, MemberId, TxHash, View
from tests.consensus_net import GENESIS_HASH, START_MS, Network, genesis_tip
from tests.one_replica import COMMITTEE, NOW, ONE, ZERO, One, block, certified, changes_to, hash_of, new_view, propose, say

# ---- proposals (rules 3 and 4)


def test_no_vote_before_the_block_is_executed_and_no_commit_without_the_block_on_disk() -> None:
    one, proposal = One(1), block()
    one.hear(propose(proposal), *(say(i, Prepare(ONE, ZERO, proposal.block_hash)) for i in (0, 2, 3)))
    assert one.said() == []
    one.effects.clear()
    one.executed(proposal)
    assert one.said() == [Prepare(ONE, ZERO, proposal.block_hash), Commit(ONE, ZERO, proposal.block_hash)]
    first = one.effects[0]
    assert isinstance(first, Persist)
    assert (first.block, first.state.floor.step.name) == (proposal, "COMMIT")


def test_commits_before_execution_commit_nothing() -> None:
    one, proposal = One(1), block()
    one.hear(propose(proposal), *(say(i, Commit(ONE, ZERO, proposal.block_hash)) for i in (0, 2, 3)))
    assert not [effect for effect in one.effects if isinstance(effect, CommitBlock)]
    one.executed(proposal)
    assert [effect.proposal for effect in one.effects if isinstance(effect, CommitBlock)] == [proposal]


def test_only_the_primary_proposes_only_once_and_only_in_its_view() -> None:
    one = One(1)
    one.hear(propose(block(), signer=2), propose(block(view=1), signer=1))
    assert one.executing() == []
    one.hear(propose(block("a")), propose(block("b")))
    assert one.executing() == [block("a").block_hash]
    left = One(3)
    left.did(left.replica.on_passed_over(MemberId("m0"), NOW))
    left.hear(propose(block(view=1), signer=1), propose(block()))
    assert (left.replica.view, left.executing()) == (1, []), "a later view is opened by a NewView only"


WRONG_HEADERS: dict[str, Any] = {
    "view": View(4),
    "proposer": MemberId("m1"),
    "parent_hash": hash_of("x"),
    "committee_hash": hash_of("x"),
    "height": Height(2),
    "timestamp_ms": START_MS,
}


@pytest.mark.parametrize("field", WRONG_HEADERS)
def test_first_proposal_that_does_not_follow_costs_the_view_unexecuted(field: str) -> None:
    one, proposal = One(1), block(**{field: WRONG_HEADERS[field]})
    one.hear(say(0, PrePrepare(ONE, ZERO, proposal.header, proposal.tx_hashes)))
    assert one.executing() == []
    assert one.said() == [ViewChange(ONE, View(1), None)]


@pytest.mark.parametrize("late_ms", [1_500, 1_501])
def test_proposal_may_be_as_old_as_drift_and_view_timeout(late_ms: int) -> None:
    one, proposal = One(1), block()
    one.hear(propose(proposal), now_ms=NOW + late_ms)
    assert (one.executing() == [proposal.block_hash]) == (late_ms == 1_500)


def test_proposal_over_the_bound_is_not_executed() -> None:
    one, proposal = One(1, largest=1), block()
    hashes = (TxHash(b"a" * 32), TxHash(b"b" * 32))
    large = block(transactions_root=list_root(GENESIS_HASH, hashes))
    one.hear(say(0, PrePrepare(ONE, ZERO, large.header, hashes)))
    assert one.executing() == []
    other = One(1, largest=1)
    other.hear(propose(proposal))
    assert other.executing() == [proposal.block_hash]


def test_proposal_ahead_of_the_clock_is_held_until_its_time() -> None:
    one, proposal = One(1), block(timestamp_ms=NOW + 2_000)
    one.hear(propose(proposal))
    assert one.executing() == []
    assert one.said() == []
    assert SetTimer(Timer.HOLD, NOW + 1_500) in one.effects
    one.did(one.replica.on_timer(Timer.HOLD, NOW + 1_500))
    assert one.executing() == [proposal.block_hash]


def test_new_view_of_another_member_or_of_a_view_left_behind_changes_nothing() -> None:
    one, proposal = One(3), block(view=1)
    one.hear(new_view(1, proposal, changes_to(1), signer=2))
    assert (one.replica.view, one.executing()) == (0, [])
    one.hear(*changes_to(2, members=(0, 1)))
    assert one.replica.view == 2
    one.hear(new_view(1, proposal, changes_to(1)))
    assert (one.replica.view, one.executing()) == (2, [])


def test_new_view_must_propose_the_block_prepared_last() -> None:
    older, newer = certified(block("a"), 0), certified(block("b"), 1)
    two = (say(0, ViewChange(ONE, View(2), older)), say(1, ViewChange(ONE, View(2), newer)))
    assert highest_prepared(two) == highest_prepared(reversed(two)) == newer
    changes = (*two, say(3, ViewChange(ONE, View(2), None)))
    for proposal in (block("a"), block("c", view=2)):
        one = One(3)
        one.hear(new_view(2, proposal, changes))
        assert one.executing() == []
        assert one.said() == []
    one = One(3)
    one.hear(new_view(2, block("b"), changes))
    assert one.executing() == [block("b").block_hash]


def test_after_more_than_f_bad_primaries_in_a_row_only_time_moves_the_view() -> None:
    """Whoever finds all proposals invalid is rather the odd one out: it must not run ahead of everybody through the views."""
    one = One(0)
    for view in (1, 2):
        proposal = block("abc"[view], view=view)
        one.hear(new_view(view, proposal, changes_to(view)))
        one.executed(proposal, valid=False)
    assert (one.replica.view, one.said()) == (2, [ViewChange(ONE, View(2), None)])


def test_new_primary_asks_for_the_prepared_block_that_it_lacks_and_for_half_a_batch_else() -> None:
    one, cert = One(1), certified(block(), 0, (0, 2, 3))
    one.hear(*changes_to(1, cert, (2, 3)), say(1, ViewChange(ONE, View(1), None)))
    assert [effect.holders for effect in one.effects if isinstance(effect, FetchBodies)] == [("m0", "m2", "m3")]
    assert one.said(NewView) == []
    fresh = One(1)
    fresh.hear(*changes_to(1, members=(2, 3, 1)))
    assert [(e.max_transactions, e.allow_empty) for e in fresh.effects if isinstance(e, BuildBlock)] == [(50, True)]


def test_decided_block_that_nobody_proposed_here_is_asked_for() -> None:
    one = One(1)
    one.hear(*(say(i, Commit(ONE, ZERO, hash_of("a"))) for i in (0, 2, 3)))
    assert FetchBlocks(ONE, MemberId("m0")) in one.effects


# ---- views and heights (rules 1, 2 and 8)


def test_view_is_joined_when_one_honest_member_is_surely_there() -> None:
    tracker = ViewTracker(COMMITTEE)
    tracker.saw(MemberId("m0"), View(9))
    assert tracker.view_to_join() == 0, "one alone may be a liar"
    tracker.saw(MemberId("m1"), View(5))
    assert tracker.view_to_join() == 5
    tracker.saw(MemberId("m1"), View(2))
    assert tracker.view_to_join() == 5


def test_view_opens_by_q_changes_for_exactly_it_the_latest_of_each() -> None:
    tracker = ViewTracker(COMMITTEE)
    for signed in (*changes_to(1, members=(0, 1)), *changes_to(2, members=(2,))):
        tracker.add(signed, ViewChange(ONE, signed.message.view, None))
    assert tracker.choose(View(1), lambda _cert: True) == ()
    later = changes_to(1, members=(2,))[0]
    tracker.add(later, ViewChange(ONE, View(1), None))
    assert tracker.choose(View(1), lambda _cert: True) == (), "m2 has left for view 2 already"
    for signed in changes_to(2, members=(0, 1)):
        tracker.add(signed, ViewChange(ONE, View(2), None))
    assert [item.signer for item in tracker.choose(View(2), lambda _cert: True)] == ["m0", "m1", "m2"]
    assert [item.message.view for item in tracker.messages()] == [2, 2, 2]


def test_everything_of_the_height_is_repeated_and_again_after_the_interval() -> None:
    one, vote = One(3), say(0, Commit(ONE, ZERO, hash_of("a")))
    change = changes_to(1, members=(1,))[0]
    one.hear(vote, change)
    one.did(one.replica.on_passed_over(MemberId("m0"), NOW))
    assert one.replica.view == 1
    for round_ in range(3):
        effects = one.replica.on_timer(Timer.RESEND, NOW + 500 * (round_ + 1))
        assert SetTimer(Timer.RESEND, NOW + 500 * (round_ + 2)) in effects
        if round_:
            assert [set(effect.messages) for effect in effects if isinstance(effect, Relay)] == [{vote, change}]


def test_old_height_is_answered_with_its_block_once_an_interval_and_a_later_one_is_fetched() -> None:
    net = Network(4)
    net.run(2_000, net.all_reach(5))
    replica = net.nodes[1].replica
    old = say(2, Prepare(Height(2), ZERO, hash_of("a")))
    asked = SendBlock(MemberId("m2"), Height(2))
    assert asked in replica.on_message(old, net.now)
    assert asked not in replica.on_message(old, net.now + 499)
    assert asked in replica.on_message(old, net.now + 500)
    ahead = say(2, Prepare(Height(replica.height + 5), ZERO, hash_of("a")))
    assert FetchBlocks(replica.height, MemberId("m2")) in replica.on_message(ahead, net.now)


def test_synced_tip_never_takes_a_replica_back() -> None:
    net = Network(4)
    net.run(2_000, net.all_reach(5))
    replica = net.nodes[1].replica
    height = replica.height
    replica.on_synced(genesis_tip(net.committee), net.committee, net.now)
    assert replica.height == height


def test_remembered_proposals_are_bounded() -> None:
    round_ = Round(genesis_tip(COMMITTEE), COMMITTEE, ZERO)
    for number in range(3 * MAX_PROPOSALS):
        round_.remember(block(gas_used=number))
    assert len(round_.proposals) == MAX_PROPOSALS


def test_later_view_s_timer_starts_once_with_q_members_and_counts_for_that_view_only() -> None:
    timer, round_ = ProgressTimer(Timing()), Round(genesis_tip(COMMITTEE), COMMITTEE, ZERO)
    round_.work = True
    assert timer.arm(round_, NOW) == (SetTimer(Timer.PROGRESS, NOW + 1_000),)
    round_.current = block()
    assert timer.arm(round_, NOW + 900) == (), "what happens in a view does not prolong it"
    round_.leave_view(View(1), active=False)
    assert not timer.expired(round_)
    for index in (0, 1):
        round_.views.saw(MemberId(f"m{index}"), View(1))
    assert timer.arm(round_, NOW) == (SetTimer(Timer.PROGRESS, None),)
    round_.views.saw(MemberId("m2"), View(3))
    assert timer.arm(round_, NOW) == (SetTimer(Timer.PROGRESS, NOW + 2_000),)
    assert timer.expired(round_)


def test_timeouts_double_up_to_the_cap_and_a_commit_resets_them() -> None:
    assert [Timing().view_timeout_ms(failed) for failed in range(5)] == [1_000, 2_000, 4_000, 4_000, 4_000]
    after = Round(Tip(block(view=7).header, hash_of("a")), COMMITTEE, View(7))
    assert (after.failed_views, after.start_view) == (0, 7)


def test_batch_halves_when_a_block_took_long() -> None:
    sizer = BatchSizer(1_000)
    before = sizer.limit(0)
    sizer.committed(before, TARGET_COMMIT_MS + 1)
    assert sizer.limit(0) == before // 2
    assert sizer.limit(2) == before // 8


# ---- signing (rules 5, 6 and 7)


def prepared_state() -> tuple[SignState, Proposal]:
    """Return the sign-state of m3 after it voted to commit in view 1."""
    proposal = block("p", view=1)
    cert = certified(proposal, 1)
    state = SignState()
    for message in (ViewChange(ONE, View(1), None), Prepare(ONE, View(1), proposal.block_hash)):
        state = state.signed(message, None)
    return state.signed(Commit(ONE, View(1), proposal.block_hash), cert), proposal


def test_restart_repeats_every_word_and_keeps_view_lock_and_block() -> None:
    state, proposal = prepared_state()
    state = SignState.decode(state.encode())
    one = One(3, state)
    assert one.said() == list(state.messages)
    assert len(state.messages) == 3
    assert one.replica.view == 1
    assert [effect.block_hash for effect in one.effects if isinstance(effect, FetchBodies)] == [proposal.block_hash]
    one.effects.clear()
    one.hear(*changes_to(2, members=(0, 1)))
    assert one.said() == [ViewChange(ONE, View(2), certified(proposal, 1))]


def test_halted_replica_signs_nothing_more() -> None:
    one, proposal = One(1), block()
    one.did(one.replica.on_divergence(ONE, "a test says so", NOW))
    one.hear(propose(proposal))
    one.executed(proposal)
    one.hear(*changes_to(3, members=(2, 3)))
    assert one.said() == []


def test_first_tip_that_each_member_states_ends_the_quarantine() -> None:
    """Tips go up for ever while the others work: those of later would never be two blocks below our own."""
    quarantine = Quarantine(MemberId("m3"))
    for height in (5, 6, 7):
        for index in range(3):
            quarantine.saw_tip(MemberId(f"m{index}"), Height(height))
    assert not quarantine.is_over(Height(6), COMMITTEE)
    assert quarantine.is_over(Height(7), COMMITTEE)


def test_writes_merge_into_the_first_with_the_last_state_and_never_across_a_commit() -> None:
    first, proposal = SignState(), block()
    second = first.signed(Prepare(ONE, ZERO, proposal.block_hash), None)
    vote = Broadcast(Prepare(ONE, ZERO, proposal.block_hash))
    assert one_persist([Persist(first, proposal), vote, Persist(second), vote]) == (Persist(second, proposal), vote, vote)
    commit = CommitBlock(proposal, QuorumCertificate.build(proposal.header, ZERO, {}, COMMITTEE))
    apart: list[Effect] = [Persist(first), vote, commit, Persist(second), vote]
    assert one_persist(apart) == tuple(apart)


# ---- slow and censoring primaries (rule 9)


def test_primary_that_was_slow_over_a_window_is_left_with_the_next_height_and_the_complaint_noted() -> None:
    net = Network(4)
    net.run(1_000, net.all_reach(2))
    replica = net.nodes[2].replica
    watch = replica._agreement.watch
    for _ in range(WINDOW):
        watch.committed(replica.primary)
        watch.work_began(0)
        watch.proposed(1_000)
    height = replica.height
    assert net.run(1_000, lambda: replica.height > height)
    assert replica.view == 1
    assert watch._doublings == 1


def test_primary_that_passes_a_transaction_over_is_left_once() -> None:
    one = One(3)
    one.did(one.replica.on_passed_over(MemberId("m0"), NOW))
    one.did(one.replica.on_passed_over(MemberId("m0"), NOW))
    assert one.said() == [ViewChange(ONE, View(1), None)], "the next primary has done nothing yet"

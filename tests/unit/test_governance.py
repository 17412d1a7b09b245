"""The governance contract: who may do what, when it takes effect, and every way it refuses."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ledger.block import Status
from ledger.committee import MAX_MEMBERS
from ledger.errors import DatacarError
from ledger.policy import contract_address
from ledger.store import MemoryStore
from ledger.types import Height
from tests.governance_chain import GovernanceChain, block_hash, candidate, code_of, key_of, member, voter
from tests.vm_harness import Chain, account
from vm.context import NOBODY, RECENT_BLOCKS, BlockContext
from vm.contracts.governance import (
    DEFAULT_EXPIRY_MS,
    GRACE_MS,
    MAX_EXPIRY_MS,
    MAX_OBSERVERS,
    MAX_OPEN_BY_MEMBER,
    MAX_OPEN_PROPOSALS,
    Governance,
)
from vm.contracts.governance_state import NoMembershipError, RetiredCertificate, read_membership, touches_membership
from vm.contracts.governance_types import MAX_RETIRED, GovernanceError, MemberRecord, Outcome, ProposalStatus, Role

ABC = ["a", "b", "c"]
ABCD = ["a", "b", "c", "d"]
STRANGER = account("stranger")


@pytest.fixture
def chain() -> GovernanceChain:
    return GovernanceChain(ABCD)


def events(chain: GovernanceChain, sender: Any, method: Any, *args: Any) -> list[str]:
    receipt = chain.send(sender, method, *args)
    assert receipt.status is Status.SUCCEEDED, receipt.error
    return [event.name for event in receipt.events]


class TestJoining:
    def test_an_organisation_joins_as_observer_and_is_promoted(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        assert chain.names == ABCD
        assert list(chain.membership.observers) == [member("e")]
        assert chain.record("e").role is Role.OBSERVER
        chain.promote(ABC, "e")
        assert chain.names == [*ABCD, "e"]
        assert not chain.membership.observers
        assert chain.committee.epoch == 1
        assert chain.committee.get(member("e").id) == member("e")

    def test_adding_an_observer_is_no_change_of_the_committee(self, chain: GovernanceChain) -> None:
        before = chain.committee
        chain.add(ABC, "e")
        assert chain.committee == before

    def test_it_takes_the_quorum_and_happens_in_the_vote_that_makes_it(self, chain: GovernanceChain) -> None:
        names = [
            events(chain, voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None),
            events(chain, voter("b"), Governance.vote, 1, True),
        ]
        assert names == [["Proposed", "Voted"], ["Voted"]]
        assert (chain.tally(1).approvals, chain.tally(1).need) == (2, 3)
        assert not chain.membership.observers
        assert events(chain, voter("c"), Governance.vote, 1, True) == ["Voted", "ProposalExecuted"]
        assert chain.membership.observers

    def test_the_record_says_since_when(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        assert chain.record("e").since_height == chain.height - 1
        chain.promote(ABC, "e")
        assert chain.record("e").since_height == chain.height - 1
        assert chain.record("e").account == voter("e").address

    @pytest.mark.parametrize(
        ("name", "changes", "code"),
        [
            ("a", {}, "MEMBER_EXISTS"),
            ("E", {}, "BAD_MEMBER_ID"),
            ("e-", {}, "BAD_MEMBER_ID"),
            ("e\n", {}, "BAD_MEMBER_ID"),
            ("e", {"public_key": bytes(32)}, "BAD_KEY"),
            ("e", {"public_key": key_of("a")}, "KEY_USED"),
            ("e", {"certificate": b""}, "BAD_CERTIFICATE"),
            ("e", {"certificate": b"certificate of b"}, "CERTIFICATE_USED"),
            ("e", {"p2p_address": "nowhere"}, "BAD_ADDRESS"),
            ("e", {"p2p_address": "h:65536"}, "BAD_ADDRESS"),
            ("e", {"p2p_address": "a.example:26656"}, "ADDRESS_TAKEN"),
            ("e", {"account": contract_address("asset")}, "BAD_ACCOUNT"),
            ("e", {"account": NOBODY}, "BAD_ACCOUNT"),
            ("e", {"account": voter("d").address}, "ACCOUNT_TAKEN"),
        ],
    )
    def test_candidates_that_could_not_be_members_are_refused(
        self, chain: GovernanceChain, name: str, changes: dict[str, Any], code: str
    ) -> None:
        proposed = candidate("e", **changes)
        assert chain.code(voter("a"), Governance.propose_add_observer, name, proposed, "", None) == code

    def test_what_became_impossible_fails_in_the_deciding_vote_and_leaves_no_trace(self, chain: GovernanceChain) -> None:
        """Two proposals for one key: the second to be decided fails, however it was when it was made."""
        first = chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        second = chain.ok(voter("b"), Governance.propose_add_observer, "f", candidate("f", public_key=key_of("e")), "", None)
        for name in ("b", "c"):
            chain.ok(voter(name), Governance.vote, first, True)
        chain.ok(voter("a"), Governance.vote, second, True)
        assert chain.code(voter("c"), Governance.vote, second, True) == "KEY_USED"
        assert chain.tally(second).proposal.status is ProposalStatus.OPEN

    def test_observers_are_bounded(self) -> None:
        chain = GovernanceChain(["a"])
        for number in range(MAX_OBSERVERS):
            chain.add(["a"], f"x{number}")
        assert chain.code(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None) == "TOO_MANY_MEMBERS"


class TestPromotion:
    def test_it_needs_a_recent_attestation_at_execution(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.attest("e")
        attested = chain.height - 2
        assert chain.record("e").attested_height == attested
        proposal = chain.ok(voter("a"), Governance.propose_promote, "e", "", None)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        chain.idle(attested + RECENT_BLOCKS + 1 - chain.height)
        assert chain.code(voter("c"), Governance.vote, proposal, True) == "NOT_SYNCED"
        chain.attest("e")
        chain.ok(voter("c"), Governance.vote, proposal, True)
        assert chain.names == [*ABCD, "e"]

    def test_an_attestation_of_exactly_the_age_allowed_is_enough(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.attest("e")
        attested = chain.record("e").attested_height
        proposal = chain.ok(voter("a"), Governance.propose_promote, "e", "", None)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        chain.idle(attested + RECENT_BLOCKS - chain.height)
        chain.ok(voter("c"), Governance.vote, proposal, True)
        assert chain.height - 1 - attested == RECENT_BLOCKS

    def test_without_any_attestation_it_fails_even_on_a_young_chain(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        proposal = chain.ok(voter("a"), Governance.propose_promote, "e", "", None)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        assert chain.code(voter("c"), Governance.vote, proposal, True) == "NOT_SYNCED"

    def test_only_observers_are_promoted(self, chain: GovernanceChain) -> None:
        assert chain.code(voter("a"), Governance.propose_promote, "b", "", None) == "NOT_AN_OBSERVER"
        assert chain.code(voter("a"), Governance.propose_promote, "nobody", "", None) == "UNKNOWN_MEMBER"

    def test_committees_are_bounded(self) -> None:
        names = [f"m{number:03}" for number in range(MAX_MEMBERS)]
        chain = GovernanceChain(names)
        receipt = chain.send(voter(names[0]), Governance.propose_remove, names[1], "", None, gas_limit=25_000_000)
        assert receipt.status is Status.SUCCEEDED, receipt.error
        assert len(chain.query(Governance.committee).members) == MAX_MEMBERS

    def test_there_is_no_place_beside_256(self) -> None:
        names = [f"m{number:03}" for number in range(MAX_MEMBERS)]
        chain = GovernanceChain(names)
        quorum = chain.committee.quorum
        first = chain.transaction(
            voter(names[0]),
            chain.call(Governance.propose_add_observer, "x", candidate("x"), "", None),
            gas_limit=25_000_000,
        )
        votes = [
            chain.transaction(voter(name), chain.call(Governance.vote, 1, True), gas_limit=25_000_000) for name in names[1:quorum]
        ]
        execution = chain.block(first, *votes)
        assert all(receipt.status is Status.SUCCEEDED for receipt in execution.receipts)
        receipt = chain.send(voter(names[0]), Governance.propose_promote, "x", "", None, gas_limit=25_000_000)
        assert code_of(receipt) == "TOO_MANY_MEMBERS"


class TestAttestation:
    def test_only_the_last_blocks_with_their_right_hash_count(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.idle(RECENT_BLOCKS)
        now, attest = chain.height, Governance.attest_synced
        assert chain.code(voter("e"), attest, now, block_hash(now)) == "UNKNOWN_BLOCK"
        assert chain.code(voter("e"), attest, now - RECENT_BLOCKS, block_hash(now - RECENT_BLOCKS)) == "UNKNOWN_BLOCK"
        assert chain.code(voter("e"), attest, chain.height - 1, block_hash(1)) == "WRONG_HASH"
        oldest = chain.height - RECENT_BLOCKS
        chain.ok(voter("e"), attest, oldest, block_hash(oldest))
        assert chain.record("e").attested_height == oldest

    def test_a_context_with_more_hashes_than_agreed_does_not_let_more_through(self, chain: GovernanceChain) -> None:
        """Nodes may keep more; what they answer must be the same."""
        chain.add(ABC, "e")
        chain.idle(RECENT_BLOCKS)
        everything = {Height(height): block_hash(height) for height in range(chain.height + 5)}
        chain.context = replace(chain.context, recent_hashes=everything)
        assert code_of(chain.send(voter("e"), Governance.attest_synced, 1, block_hash(1))) == "UNKNOWN_BLOCK"
        chain.context = replace(chain.context, recent_hashes=everything)
        receipt = chain.send(voter("e"), Governance.attest_synced, chain.height, block_hash(chain.height))
        assert code_of(receipt) == "UNKNOWN_BLOCK"

    def test_it_never_moves_back_and_is_no_event_for_nodes(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.idle(5)
        chain.attest("e")
        newest = chain.record("e").attested_height
        call = chain.call(Governance.attest_synced, newest - 3, block_hash(newest - 3))
        execution = chain.block(chain.transaction(voter("e"), call))
        assert chain.record("e").attested_height == newest
        assert not touches_membership(execution.changes)

    def test_only_an_observers_account_may(self, chain: GovernanceChain) -> None:
        assert chain.code(voter("a"), Governance.attest_synced, 0, block_hash(0)) == "NOT_AN_OBSERVER"
        assert chain.code(STRANGER, Governance.attest_synced, 0, block_hash(0)) == "NOT_A_MEMBER"

    def test_contexts_without_hashes_know_no_block(self) -> None:
        assert dict(Chain().context.recent_hashes) == {}
        assert isinstance(Chain().context, BlockContext)


class TestRemoval:
    def test_a_removed_member_is_gone_and_may_not_act(self) -> None:
        chain = GovernanceChain([*ABCD, "e"])
        chain.decide([*ABC, "e"], Governance.propose_remove, "d", "evidence at height 7", None)
        assert chain.names == ["a", "b", "c", "e"]
        assert chain.committee.epoch == 1
        assert chain.tally(1).proposal.reason == "evidence at height 7"
        assert chain.code(voter("d"), Governance.rotate_key, key_of("new")) == "NOT_A_MEMBER"
        assert chain.code(voter("d"), Governance.propose_remove, "a", "", None) == "NOT_A_MEMBER"

    def test_an_observer_leaves_without_a_new_epoch(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.decide(ABC, Governance.propose_remove, "e", "", None)
        assert not chain.membership.observers
        assert chain.committee.epoch == 0

    @pytest.mark.parametrize("count", [1, 4])
    def test_the_last_one_and_the_fourth_stay(self, count: int) -> None:
        chain = GovernanceChain(ABCD[:count])
        assert chain.code(voter("a"), Governance.propose_remove, "a", "", None) == "TOO_FEW_MEMBERS"

    @pytest.mark.parametrize("count", [2, 3])
    def test_below_four_there_is_nothing_to_keep(self, count: int) -> None:
        chain = GovernanceChain(ABCD[:count])
        chain.decide(ABCD[: chain.committee.quorum], Governance.propose_remove, ABCD[count - 1], "", None)
        assert chain.names == ABCD[: count - 1]

    def test_its_key_and_certificate_never_come_back_but_its_name_address_and_account_may(self) -> None:
        chain = GovernanceChain([*ABCD, "e"])
        chain.decide(ABCD, Governance.propose_remove, "e", "", None)
        propose = Governance.propose_add_observer
        assert chain.code(voter("a"), propose, "e", candidate("e", certificate=b"new"), "", None) == "KEY_USED"
        assert chain.code(voter("a"), propose, "e", candidate("e", public_key=key_of("new")), "", None) == "CERTIFICATE_USED"
        chain.decide(ABC, propose, "e", candidate("e", public_key=key_of("new"), certificate=b"new"), "", None)
        assert [each.id for each in chain.membership.observers] == ["e"]

    def test_unknown_members_cannot_be_removed(self, chain: GovernanceChain) -> None:
        assert chain.code(voter("a"), Governance.propose_remove, "e", "", None) == "UNKNOWN_MEMBER"

    def test_two_removals_that_were_open_together_do_not_go_below_four(self) -> None:
        chain = GovernanceChain([*ABCD, "e"])
        first = chain.ok(voter("a"), Governance.propose_remove, "d", "", None)
        second = chain.ok(voter("a"), Governance.propose_remove, "e", "", None)
        for name in ("b", "c", "e"):
            chain.ok(voter(name), Governance.vote, first, True)
        chain.ok(voter("b"), Governance.vote, second, True)
        assert chain.code(voter("c"), Governance.vote, second, True) == "TOO_FEW_MEMBERS"
        assert len(chain.names) == 4


class TestVoting:
    def test_of_several_votes_the_last_one_counts(self, chain: GovernanceChain) -> None:
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        chain.ok(voter("b"), Governance.vote, proposal, False)
        assert (chain.tally(proposal).approvals, chain.tally(proposal).rejections) == (1, 1)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        assert (chain.tally(proposal).approvals, chain.tally(proposal).rejections) == (2, 0)

    def test_it_is_rejected_as_soon_as_no_quorum_is_possible(self, chain: GovernanceChain) -> None:
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        assert chain.ok(voter("b"), Governance.vote, proposal, False) == "open"
        assert events(chain, voter("c"), Governance.vote, proposal, False) == ["Voted", "ProposalRejected"]
        decided = chain.tally(proposal).proposal
        assert (decided.status, decided.outcome) == (ProposalStatus.REJECTED, Outcome(chain.height - 1, 1, 2, 3))
        assert chain.code(voter("d"), Governance.vote, proposal, True) == "PROPOSAL_CLOSED"
        assert chain.query(Governance.open_proposals) == ()

    def test_executed_proposals_take_no_vote(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        assert chain.tally(1).proposal.status is ProposalStatus.EXECUTED
        assert chain.code(voter("d"), Governance.vote, 1, True) == "PROPOSAL_CLOSED"

    def test_only_validators_propose_and_vote(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        for who, code in ((voter("e"), "NOT_A_VALIDATOR"), (STRANGER, "NOT_A_MEMBER")):
            assert chain.code(who, Governance.vote, 1, True) == code
            assert chain.code(who, Governance.propose_remove, "a", "", None) == code

    def test_a_member_without_an_account_counts_but_cannot_vote(self) -> None:
        chain = GovernanceChain(ABCD, without_account=["d"])
        assert chain.record("d").account is None
        assert chain.code(voter("d"), Governance.propose_remove, "a", "", None) == "NOT_A_MEMBER"
        assert chain.query(Governance.committee).quorum == 3

    def test_a_decision_is_told_with_the_votes_of_its_time(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.promote(ABC, "e")
        tally = chain.tally(2)
        assert (tally.approvals, tally.rejections, tally.need) == (3, 0, 3)
        assert chain.query(Governance.committee).quorum == 4

    def test_unknown_proposals_are_refused(self, chain: GovernanceChain) -> None:
        assert chain.code(voter("a"), Governance.vote, 1, True) == "UNKNOWN_PROPOSAL"
        with pytest.raises(DatacarError, match="there is no such proposal"):
            chain.tally(1)

    def test_votes_of_members_that_left_do_not_count(self) -> None:
        chain = GovernanceChain([*ABCD, "e", "f"])
        proposal = chain.ok(voter("e"), Governance.propose_add_observer, "x", candidate("x"), "", None)
        chain.ok(voter("f"), Governance.vote, proposal, True)
        chain.ok(voter("a"), Governance.vote, proposal, True)
        chain.decide(["a", "b", "c", "d"], Governance.propose_remove, "e", "", None)
        assert (chain.tally(proposal).approvals, chain.tally(proposal).need) == (2, 4)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        assert "e" not in [vote.member_id for vote in chain.tally(proposal).proposal.votes]
        assert not chain.membership.observers
        chain.ok(voter("c"), Governance.vote, proposal, True)
        assert chain.membership.observers

    def test_a_vote_does_not_come_back_with_the_name(self) -> None:
        """Who is voted in again under an old id has not voted on what its predecessor approved of."""
        chain = GovernanceChain([*ABCD, "e"])
        proposal = chain.ok(voter("e"), Governance.propose_add_observer, "x", candidate("x"), "", None)
        chain.decide(ABCD, Governance.propose_remove, "e", "", None)
        again = candidate("e", public_key=key_of("again"), certificate=b"again")
        chain.decide(ABC, Governance.propose_add_observer, "e", again, "", None)
        chain.promote(ABC, "e")
        assert chain.tally(proposal).approvals == 0
        chain.ok(voter("e"), Governance.vote, proposal, True)
        assert chain.tally(proposal).approvals == 1

    def test_a_proposal_about_who_left_is_none_about_who_took_the_name(self) -> None:
        chain = GovernanceChain(ABCD)
        chain.add(ABC, "e")
        stale = chain.ok(voter("a"), Governance.propose_promote, "e", "", None)
        chain.ok(voter("b"), Governance.vote, stale, True)
        chain.decide(ABC, Governance.propose_remove, "e", "", None)
        again = candidate("e", public_key=key_of("again"), certificate=b"again")
        chain.decide(ABC, Governance.propose_add_observer, "e", again, "", None)
        chain.attest("e")
        assert chain.code(voter("c"), Governance.vote, stale, True) == "STALE_PROPOSAL"

    def test_a_smaller_quorum_is_used_by_the_next_vote(self) -> None:
        """Nothing executes by itself: when a removal makes the approvals enough, any vote carries it out."""
        chain = GovernanceChain([*ABCD, "e"])
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "x", candidate("x"), "", None)
        for name in ("b", "c"):
            chain.ok(voter(name), Governance.vote, proposal, True)
        chain.decide(ABCD, Governance.propose_remove, "e", "", None)
        assert chain.tally(proposal).proposal.status is ProposalStatus.OPEN
        assert chain.ok(voter("a"), Governance.vote, proposal, True) == "executed"

    def test_one_member_decides_alone_at_once(self) -> None:
        chain = GovernanceChain(["a"])
        names = events(chain, voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        assert names == ["Proposed", "Voted", "ProposalExecuted"]


class TestExpiry:
    def test_it_can_be_voted_on_up_to_its_last_millisecond(self, chain: GovernanceChain) -> None:
        until_ms = chain.context.timestamp_ms + 60_000
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", until_ms)
        chain.context = replace(chain.context, timestamp_ms=until_ms)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        chain.context = replace(chain.context, timestamp_ms=until_ms + 1)
        assert chain.code(voter("c"), Governance.vote, proposal, True) == "PROPOSAL_EXPIRED"
        assert chain.tally(proposal).proposal.status is ProposalStatus.EXPIRED
        assert chain.query(Governance.open_proposals) == ()

    def test_seven_days_unless_it_says_otherwise_and_thirty_at_most(self, chain: GovernanceChain) -> None:
        now_ms = chain.context.timestamp_ms
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        assert chain.tally(proposal).proposal.expires_ms == now_ms + DEFAULT_EXPIRY_MS
        now_ms = chain.context.timestamp_ms
        for until_ms in (now_ms, now_ms + MAX_EXPIRY_MS + 1_001):
            code = chain.code(voter("a"), Governance.propose_add_observer, "f", candidate("f"), "", until_ms)
            assert code == "BAD_EXPIRY"

    def test_open_proposals_are_bounded_by_member_and_in_all(self) -> None:
        names = [f"m{number:02}" for number in range(MAX_OPEN_PROPOSALS // MAX_OPEN_BY_MEMBER + 1)]
        chain = GovernanceChain(names)
        for number in range(MAX_OPEN_PROPOSALS):
            chain.ok(voter(names[number % 8]), Governance.propose_remove, names[0], "", None)
            if number == 24:
                assert chain.code(voter(names[0]), Governance.propose_remove, names[0], "", None) == "TOO_MANY_PROPOSALS"
        assert chain.code(voter(names[-1]), Governance.propose_remove, names[0], "", None) == "TOO_MANY_PROPOSALS"
        assert len(chain.query(Governance.open_proposals)) == MAX_OPEN_PROPOSALS
        chain.advance(DEFAULT_EXPIRY_MS)
        chain.advance(MAX_OPEN_PROPOSALS * 1_000)
        found = events(chain, voter(names[-1]), Governance.propose_remove, names[0], "", None)
        assert found == ["ProposalExpired"] * MAX_OPEN_PROPOSALS + ["Proposed", "Voted"]
        assert chain.query(Governance.last_proposal) == MAX_OPEN_PROPOSALS + 1

    def test_anybody_clears_expired_ones(self, chain: GovernanceChain) -> None:
        chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        assert chain.ok(STRANGER, Governance.clear_expired) == 0
        chain.advance(DEFAULT_EXPIRY_MS)
        assert chain.ok(STRANGER, Governance.clear_expired) == 1
        assert chain.ok(STRANGER, Governance.clear_expired) == 0
        assert chain.tally(1).proposal.status is ProposalStatus.EXPIRED


class TestOneChangeABlock:
    def test_the_second_change_fails_and_works_in_the_next_block(self) -> None:
        chain = GovernanceChain([*ABCD, "e", "f"])
        ids = [chain.ok(voter("a"), Governance.propose_remove, name, "", None) for name in ("e", "f")]
        for name in ("b", "c", "d"):
            chain.ok(voter(name), Governance.vote, ids[0], True)
        for name in ("b", "c"):
            chain.ok(voter(name), Governance.vote, ids[1], True)
        rotate = chain.transaction(voter("a"), chain.call(Governance.rotate_key, key_of("a2")))
        decide = chain.transaction(voter("d"), chain.call(Governance.vote, ids[1], True))
        first, second = chain.block(rotate, decide).receipts
        assert first.status is Status.SUCCEEDED
        assert code_of(second) == "ONE_CHANGE_A_BLOCK"
        assert chain.tally(ids[1]).approvals == 3
        assert chain.ok(voter("d"), Governance.vote, ids[1], True) == "executed"
        assert chain.committee.epoch == 3

    def test_what_leaves_the_committee_as_it_is_may_stand_beside_it(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        calls = [
            (voter("a"), chain.call(Governance.rotate_key, key_of("a2"))),
            (voter("e"), chain.call(Governance.rotate_key, key_of("e2"))),
            (voter("b"), chain.call(Governance.rotate_certificate, b"new")),
            (voter("c"), chain.call(Governance.set_address, "new.example:1")),
        ]
        execution = chain.block(*(chain.transaction(who, call) for who, call in calls))
        assert all(receipt.status is Status.SUCCEEDED for receipt in execution.receipts)
        assert chain.committee.epoch == 1


class TestRotation:
    def test_a_new_key_is_a_new_epoch(self, chain: GovernanceChain) -> None:
        assert events(chain, voter("b"), Governance.rotate_key, key_of("b2")) == ["CommitteeChanged", "KeyRotated"]
        assert chain.committee.epoch == 1
        found = chain.committee.get(member("b").id)
        assert found == replace(member("b"), public_key=key_of("b2"))

    @pytest.mark.parametrize(
        ("key", "code"),
        [(bytes(32), "BAD_KEY"), (key_of("a"), "KEY_USED"), (key_of("b"), "KEY_USED")],
        ids=["no point", "another's", "its own"],
    )
    def test_keys_that_cannot_be_taken(self, chain: GovernanceChain, key: bytes, code: str) -> None:
        assert chain.code(voter("b"), Governance.rotate_key, key) == code

    def test_an_old_key_is_nobodys_any_more(self, chain: GovernanceChain) -> None:
        chain.ok(voter("b"), Governance.rotate_key, key_of("b2"))
        assert chain.code(voter("c"), Governance.rotate_key, key_of("b")) == "KEY_USED"
        chain.idle(4)
        assert chain.code(voter("b"), Governance.rotate_key, key_of("b")) == "KEY_USED"

    def test_nobody_rotates_so_often_that_others_get_no_block(self, chain: GovernanceChain) -> None:
        """Else one member could take every block's one change and never be removed."""
        chain.ok(voter("b"), Governance.rotate_key, key_of("b2"))
        for _ in range(3):
            assert chain.code(voter("b"), Governance.rotate_key, key_of("b3")) == "ROTATED_TOO_SOON"
        chain.ok(voter("b"), Governance.rotate_key, key_of("b3"))

    def test_an_observer_rotates_without_an_epoch(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.ok(voter("e"), Governance.rotate_key, key_of("e2"))
        assert chain.code(voter("e"), Governance.rotate_key, key_of("e3")) == "ROTATED_TOO_SOON"
        chain.idle(3)
        chain.ok(voter("e"), Governance.rotate_key, key_of("e3"))
        assert chain.membership.observers[0].public_key == key_of("e3")
        assert chain.committee.epoch == 0

    def test_strangers_rotate_nothing(self, chain: GovernanceChain) -> None:
        for method, argument in (
            (Governance.rotate_key, key_of("x")),
            (Governance.rotate_certificate, b"x"),
            (Governance.set_address, "x:1"),
        ):
            assert chain.code(STRANGER, method, argument) == "NOT_A_MEMBER"

    def test_the_old_certificate_stays_for_the_grace_period(self, chain: GovernanceChain) -> None:
        genesis_hash, before = bytes(32), chain.committee
        until_ms = chain.context.timestamp_ms + GRACE_MS
        chain.ok(voter("b"), Governance.rotate_certificate, b"second")
        assert chain.membership.retired == (RetiredCertificate(b"certificate of b", member("b").id, until_ms),)
        assert chain.committee.get(member("b").id) == replace(member("b"), certificate=b"second")
        assert chain.committee.hash(genesis_hash) == before.hash(genesis_hash)
        chain.advance(GRACE_MS)
        chain.ok(voter("b"), Governance.rotate_certificate, b"third")
        assert [item.certificate for item in chain.membership.retired] == [b"second"]
        assert chain.query(Governance.certificates_of, "b").current == b"third"

    def test_certificates_in_grace_are_bounded(self, chain: GovernanceChain) -> None:
        for number in range(MAX_RETIRED):
            chain.ok(voter("b"), Governance.rotate_certificate, f"{number}".encode())
        assert chain.code(voter("b"), Governance.rotate_certificate, b"more") == "TOO_MANY_CERTIFICATES"
        chain.advance(GRACE_MS)
        chain.ok(voter("b"), Governance.rotate_certificate, b"more")

    def test_certificates_that_cannot_be_taken(self, chain: GovernanceChain) -> None:
        rotate = Governance.rotate_certificate
        assert chain.code(voter("b"), rotate, b"") == "BAD_CERTIFICATE"
        assert chain.code(voter("b"), rotate, b"certificate of a") == "CERTIFICATE_USED"
        assert chain.code(voter("b"), rotate, b"certificate of b") == "CERTIFICATE_USED"

    def test_an_address_moves_and_the_old_one_is_free(self, chain: GovernanceChain) -> None:
        assert chain.code(voter("b"), Governance.set_address, "a.example:26656") == "ADDRESS_TAKEN"
        assert chain.code(voter("b"), Governance.set_address, "") == "BAD_ADDRESS"
        chain.ok(voter("b"), Governance.set_address, "[::1]:26656")
        assert chain.committee.members[1].p2p_address == "[::1]:26656"
        chain.ok(voter("c"), Governance.set_address, "b.example:26656")
        assert chain.committee.epoch == 0


class TestState:
    def test_nodes_are_told_of_what_they_must_look_at_and_of_nothing_else(self, chain: GovernanceChain) -> None:
        def touched(who: Any, method: Any, *args: Any) -> bool:
            execution = chain.block(chain.transaction(who, chain.call(method, *args)))
            assert execution.receipts[0].status is Status.SUCCEEDED, execution.receipts[0].error
            return touches_membership(execution.changes)

        assert not touched(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        assert not touched(voter("b"), Governance.vote, 1, True)
        assert touched(voter("c"), Governance.vote, 1, True)
        assert touched(voter("e"), Governance.rotate_key, key_of("e2"))
        assert touched(voter("e"), Governance.set_address, "e2.example:1")
        assert touched(voter("e"), Governance.rotate_certificate, b"e2")
        assert touched(voter("a"), Governance.rotate_key, key_of("a2"))

    def test_a_failed_change_touches_nothing(self, chain: GovernanceChain) -> None:
        execution = chain.block(chain.transaction(voter("a"), chain.call(Governance.rotate_key, key_of("b"))))
        assert not touches_membership(execution.changes)

    def test_a_chain_without_the_contract_has_no_members(self) -> None:
        with pytest.raises(NoMembershipError):
            read_membership(MemoryStore())

    def test_reads_say_what_the_state_says(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        info = chain.query(Governance.committee)
        assert (info.epoch, info.quorum, info.faults) == (0, 3, 1)
        assert [(each.id, each.public_key, each.role) for each in info.members] == [
            (each.id, each.public_key, Role.VALIDATOR) for each in chain.committee.members
        ]
        [observer] = chain.query(Governance.observers)
        assert isinstance(observer, MemberRecord)
        assert observer == chain.record("e")
        with pytest.raises(DatacarError, match="there is no such member"):
            chain.record("x")


def test_every_code_is_met_here() -> None:
    """A new error needs a test that meets it."""
    text = Path(__file__).read_text(encoding="utf-8")
    assert [error.name for error in GovernanceError if f'"{error.name}"' not in text] == []

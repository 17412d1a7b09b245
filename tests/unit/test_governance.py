"""The governance contract: who may do what, when it takes effect, and every way it refuses."""

from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from ledger.block import Status
from ledger.committee import MAX_CERTIFICATE_BYTES, MAX_MEMBERS
from ledger.errors import DatacarError
from ledger.policy import contract_address
from ledger.store import MemoryStore
from ledger.types import Height
from tests.governance_chain import GovernanceChain, block_hash, candidate, code_of, key_of, member, possession, rotation, voter
from tests.vm_harness import Chain, account
from vm.abi_types import MAX_TEXT_CHARS
from vm.context import NOBODY, RECENT_BLOCKS, BlockContext
from vm.contracts.deadlines import DAY_MS, DEFAULT_EXPIRY_MS, MAX_EXPIRY_MS, MIN_EXPIRY_MS
from vm.contracts.governance import Governance
from vm.contracts.governance_actions import MAX_OBSERVERS
from vm.contracts.governance_deeds import CHANGE_MS, GRACE_MS
from vm.contracts.governance_members import KEY_CHECK_GAS
from vm.contracts.governance_possession import POSSESSION_GAS
from vm.contracts.governance_state import (
    NoMembershipError,
    RetiredCertificate,
    deciding_vote_gas,
    read_membership,
    touches_membership,
)
from vm.contracts.governance_types import MAX_RETIRED, GovernanceError, MemberRecord, Outcome, ProposalStatus, Role
from vm.contracts.governance_voting import MAX_OPEN_BY_MEMBER, MAX_OPEN_PROPOSALS

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
        assert chain.code(voter("d"), Governance.rotate_key, *rotation("d", "new")) == "NOT_A_MEMBER"
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

    def test_enough_of_those_who_stay_can_vote(self) -> None:
        """A validator without an account counts for the quorum and never votes: too many of them would decide nothing."""
        seven = ["a", "b", "c", "d", "e", "f", "g"]
        chain = GovernanceChain(seven, without_account=["f", "g"])
        everybody_else = ["a", "b", "c", "d", "e"]
        chain.decide(everybody_else, Governance.propose_remove, "e", "", None)
        assert chain.code(voter("a"), Governance.propose_remove, "d", "", None) == "TOO_FEW_MEMBERS"
        chain.decide(ABCD, Governance.propose_remove, "g", "", None)
        assert chain.names == [*ABCD, "f"]

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


class TestPossession:
    """Keys are public before the chain knows them: only who holds one may name it, or it would be used up for its owner."""

    def test_no_member_takes_a_key_that_it_does_not_hold(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        key = key_of("f")
        of_f, of_e = candidate("f").possession, possession("e", key, "e")
        for bad in (of_f, possession("e", key, "f"), possession("f", key, "e"), bytes(64), of_e[:-1] + bytes([of_e[-1] ^ 1])):
            assert chain.code(voter("e"), Governance.rotate_key, key, bad) == "BAD_POSSESSION"
        chain.ok(voter("e"), Governance.rotate_key, key, of_e)

    @pytest.mark.parametrize(
        "changes",
        [
            {"possession": bytes(64)},
            {"public_key": key_of("f"), "possession": candidate("e").possession},
            {"account": voter("f").address},
        ],
        ids=["nonsense", "another key", "another account"],
    )
    def test_no_candidate_comes_with_a_key_that_it_does_not_hold(self, chain: GovernanceChain, changes: dict[str, Any]) -> None:
        proposed = candidate("e", **changes)
        assert chain.code(voter("a"), Governance.propose_add_observer, "e", proposed, "", None) == "BAD_POSSESSION"

    def test_a_possession_is_of_one_name(self, chain: GovernanceChain) -> None:
        assert chain.code(voter("a"), Governance.propose_add_observer, "f", candidate("e"), "", None) == "BAD_POSSESSION"

    def test_it_has_the_length_of_a_signature(self, chain: GovernanceChain) -> None:
        with pytest.raises(DatacarError):
            chain.call(Governance.rotate_key, key_of("b2"), bytes(63))

    def test_its_verification_is_paid_for(self, chain: GovernanceChain) -> None:
        receipt = chain.send(voter("b"), Governance.rotate_key, *rotation("b", "b2"))
        assert receipt.gas_used > KEY_CHECK_GAS + POSSESSION_GAS


class TestReservation:
    """What is proposed for a new member is public: nobody uses it up before the others have voted."""

    @pytest.fixture
    def proposal(self, chain: GovernanceChain) -> int:
        chain.add(ABC, "x")
        found: int = chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        return found

    def test_members_cannot_take_what_is_proposed(self, chain: GovernanceChain, proposal: int) -> None:
        assert chain.code(voter("x"), Governance.rotate_certificate, member("e").certificate) == "CERTIFICATE_USED"
        assert chain.code(voter("x"), Governance.set_address, member("e").p2p_address) == "ADDRESS_TAKEN"
        for name in ("b", "c"):
            chain.ok(voter(name), Governance.vote, proposal, True)
        assert chain.record("e").p2p_address == member("e").p2p_address

    @pytest.mark.parametrize("end", ["rejected", "expired"])
    def test_it_is_free_once_that_is_over(self, chain: GovernanceChain, proposal: int, end: str) -> None:
        if end == "rejected":
            for name in ("b", "c"):
                chain.ok(voter(name), Governance.vote, proposal, False)
        else:
            chain.advance(DEFAULT_EXPIRY_MS)
        chain.ok(voter("x"), Governance.rotate_certificate, member("e").certificate)
        chain.ok(voter("x"), Governance.set_address, member("e").p2p_address)

    def test_another_proposal_may_name_the_same_and_the_votes_decide(self, chain: GovernanceChain, proposal: int) -> None:
        """Else one validator could keep out whom the others want, by proposing the same address first."""
        rival = candidate("f", certificate=member("e").certificate, p2p_address=member("e").p2p_address)
        chain.decide(["b", "c", "d"], Governance.propose_add_observer, "f", rival, "", None)
        chain.ok(voter("b"), Governance.vote, proposal, True)
        assert chain.code(voter("c"), Governance.vote, proposal, True) == "CERTIFICATE_USED"

    def test_the_member_itself_is_not_kept_from_its_own(self, chain: GovernanceChain, proposal: int) -> None:
        """A second proposal for the same member stays open when the first is through."""
        chain.decide(ABC, Governance.propose_add_observer, "e", candidate("e"), "", None)
        chain.ok(voter("e"), Governance.set_address, "elsewhere:1")
        chain.advance(CHANGE_MS)
        chain.ok(voter("e"), Governance.set_address, member("e").p2p_address)
        assert chain.tally(proposal).proposal.status is ProposalStatus.OPEN


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

    def test_not_even_where_it_took_the_name_in_the_same_block(self) -> None:
        chain = GovernanceChain(ABCD)
        chain.decide(ABC, Governance.propose_add_observer, "x", candidate("x"), "", None)
        removal = chain.ok(voter("a"), Governance.propose_remove, "x", "", None)
        chain.ok(voter("b"), Governance.vote, removal, True)
        about_the_first, other = removal + 1, candidate("x", public_key=key_of("other"), certificate=b"other")
        calls = (
            ("a", chain.call(Governance.propose_promote, "x", "", None)),
            ("b", chain.call(Governance.vote, about_the_first, True)),
            ("c", chain.call(Governance.vote, removal, True)),
            ("d", chain.call(Governance.propose_add_observer, "x", other, "", None)),
            ("a", chain.call(Governance.vote, removal + 2, True)),
            ("b", chain.call(Governance.vote, removal + 2, True)),
        )
        executed = chain.block(*(chain.transaction(voter(name), call) for name, call in calls))
        assert [receipt.error for receipt in executed.receipts] == [None] * len(calls)
        chain.attest("x")
        assert chain.code(voter("c"), Governance.vote, about_the_first, True) == "STALE_PROPOSAL"

    def test_a_smaller_quorum_is_used_by_the_next_vote(self) -> None:
        """Nothing executes by itself: when a removal makes the approvals enough, any vote carries it out."""
        chain = GovernanceChain([*ABCD, "e"])
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "x", candidate("x"), "", None)
        for name in ("b", "c"):
            chain.ok(voter(name), Governance.vote, proposal, True)
        chain.decide(ABCD, Governance.propose_remove, "e", "", None)
        assert chain.tally(proposal).proposal.status is ProposalStatus.OPEN
        assert chain.ok(voter("a"), Governance.vote, proposal, True) == "executed"

    def test_disapproval_never_executes(self) -> None:
        """A removal makes the approvals enough; who says no then must not carry out what it is against."""
        chain = GovernanceChain([*ABCD, "e"])
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "x", candidate("x"), "", None)
        for name in ("b", "c"):
            chain.ok(voter(name), Governance.vote, proposal, True)
        chain.decide(ABCD, Governance.propose_remove, "e", "", None)
        assert (chain.tally(proposal).approvals, chain.tally(proposal).need) == (3, 3)
        assert events(chain, voter("d"), Governance.vote, proposal, False) == ["Voted"]
        assert not chain.membership.observers
        assert chain.ok(voter("a"), Governance.vote, proposal, True) == "executed"

    @pytest.mark.parametrize("end", ["executed", "rejected", "expired"])
    def test_closed_proposals_keep_the_fingerprint_alone(self, chain: GovernanceChain, end: str) -> None:
        """A certificate is 4 KB: nobody has all nodes store them for ever without a vote."""
        marked = candidate("e", certificate=b"certificate " * 300)
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "e", marked, "", None)
        assert chain.tally(proposal).certificate == marked.certificate
        if end == "expired":
            chain.advance(DEFAULT_EXPIRY_MS)
            chain.ok(STRANGER, Governance.clear_expired)
        else:
            for name in ("b", "c"):
                chain.ok(voter(name), Governance.vote, proposal, end == "executed")
        tally = chain.tally(proposal)
        assert tally.certificate is None
        assert tally.proposal.status == end
        assert tally.proposal.action.nominee is not None
        assert tally.proposal.action.nominee.certificate_sha256 == sha256(marked.certificate).digest()
        held = [key for key, value in chain.state.iterate() if marked.certificate in value]
        assert len(held) == (1 if end == "executed" else 0), "the member's own"

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

    def test_seven_days_unless_it_says_otherwise_a_minute_at_least_and_thirty_days_at_most(self, chain: GovernanceChain) -> None:
        now_ms = chain.context.timestamp_ms
        proposal = chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        assert chain.tally(proposal).proposal.expires_ms == now_ms + DEFAULT_EXPIRY_MS
        for ahead_ms in (0, MIN_EXPIRY_MS - 1, MAX_EXPIRY_MS + 1):
            until_ms = chain.context.timestamp_ms + ahead_ms
            code = chain.code(voter("a"), Governance.propose_add_observer, "f", candidate("f"), "", until_ms)
            assert code == "BAD_EXPIRY"
        for ahead_ms in (MIN_EXPIRY_MS, MAX_EXPIRY_MS):
            until_ms = chain.context.timestamp_ms + ahead_ms
            chain.ok(voter("a"), Governance.propose_add_observer, "f", candidate("f"), "", until_ms)

    def test_open_proposals_are_bounded_by_member_and_in_all(self) -> None:
        """Eight members that fill the list, as f of them may from n = 25 on, are in nobody's way: its first one opens always."""
        names = [f"m{number:02}" for number in range(MAX_OPEN_PROPOSALS // MAX_OPEN_BY_MEMBER + 1)]
        chain = GovernanceChain(names)
        for number in range(MAX_OPEN_PROPOSALS):
            chain.ok(voter(names[number % 8]), Governance.propose_remove, names[0], "", None)
            if number == 24:
                assert chain.code(voter(names[0]), Governance.propose_remove, names[0], "", None) == "TOO_MANY_PROPOSALS"
        chain.ok(voter(names[-1]), Governance.propose_remove, names[0], "", None)
        assert chain.code(voter(names[-1]), Governance.propose_remove, names[0], "", None) == "TOO_MANY_PROPOSALS"
        assert len(chain.query(Governance.open_proposals)) == MAX_OPEN_PROPOSALS + 1
        chain.advance(DEFAULT_EXPIRY_MS)
        chain.advance(MAX_OPEN_PROPOSALS * 1_000)
        found = events(chain, voter(names[-1]), Governance.propose_remove, names[0], "", None)
        assert found == ["ProposalExpired"] * (MAX_OPEN_PROPOSALS + 1) + ["Proposed", "Voted"]
        assert chain.query(Governance.last_proposal) == MAX_OPEN_PROPOSALS + 2

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
        rotate = chain.transaction(voter("a"), chain.call(Governance.rotate_key, *rotation("a", "a2")))
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
            (voter("a"), chain.call(Governance.rotate_key, *rotation("a", "a2"))),
            (voter("e"), chain.call(Governance.rotate_key, *rotation("e", "e2"))),
            (voter("b"), chain.call(Governance.rotate_certificate, b"new")),
            (voter("c"), chain.call(Governance.set_address, "new.example:1")),
        ]
        execution = chain.block(*(chain.transaction(who, call) for who, call in calls))
        assert all(receipt.status is Status.SUCCEEDED for receipt in execution.receipts)
        assert chain.committee.epoch == 1


class TestRotation:
    def test_a_new_key_is_a_new_epoch(self, chain: GovernanceChain) -> None:
        assert events(chain, voter("b"), Governance.rotate_key, *rotation("b", "b2")) == ["CommitteeChanged", "KeyRotated"]
        assert chain.committee.epoch == 1
        found = chain.committee.get(member("b").id)
        assert found == replace(member("b"), public_key=key_of("b2"))

    @pytest.mark.parametrize(
        ("key", "code"),
        [(bytes(32), "BAD_KEY"), (key_of("a"), "KEY_USED"), (key_of("b"), "KEY_USED")],
        ids=["no point", "another's", "its own"],
    )
    def test_keys_that_cannot_be_taken(self, chain: GovernanceChain, key: bytes, code: str) -> None:
        assert chain.code(voter("b"), Governance.rotate_key, key, possession("b", key, "b")) == code

    def test_an_old_key_is_nobodys_any_more(self, chain: GovernanceChain) -> None:
        chain.ok(voter("b"), Governance.rotate_key, *rotation("b", "b2"))
        assert chain.code(voter("c"), Governance.rotate_key, *rotation("c", "b")) == "KEY_USED"
        chain.advance(DAY_MS)
        assert chain.code(voter("b"), Governance.rotate_key, *rotation("b", "b")) == "KEY_USED"

    def test_a_key_rotates_at_once_and_then_once_a_day(self, chain: GovernanceChain) -> None:
        """Every change of the committee is in all later proofs; and who changes it in each block can never be removed."""
        first_ms = chain.context.timestamp_ms
        chain.ok(voter("b"), Governance.rotate_key, *rotation("b", "b2"))
        chain.context = replace(chain.context, timestamp_ms=first_ms + DAY_MS - 1)
        receipt = chain.send(voter("b"), Governance.rotate_key, *rotation("b", "b3"))
        assert code_of(receipt) == "ROTATED_TOO_SOON"
        assert receipt.error is not None
        assert f"next_ms {first_ms + DAY_MS}" in receipt.error.message, "it says when"
        chain.ok(voter("c"), Governance.rotate_key, *rotation("c", "c2"))
        chain.context = replace(chain.context, timestamp_ms=first_ms + DAY_MS)
        chain.ok(voter("b"), Governance.rotate_key, *rotation("b", "b3"))
        assert chain.committee.epoch == 3

    def test_an_observer_rotates_without_an_epoch(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        chain.ok(voter("e"), Governance.rotate_key, *rotation("e", "e2"))
        assert chain.code(voter("e"), Governance.rotate_key, *rotation("e", "e3")) == "ROTATED_TOO_SOON"
        chain.advance(DAY_MS)
        chain.ok(voter("e"), Governance.rotate_key, *rotation("e", "e3"))
        assert chain.membership.observers[0].public_key == key_of("e3")
        assert chain.committee.epoch == 0

    def test_strangers_rotate_nothing(self, chain: GovernanceChain) -> None:
        for method, arguments in (
            (Governance.rotate_key, rotation("x", "x")),
            (Governance.rotate_certificate, (b"x",)),
            (Governance.set_address, ("x:1",)),
        ):
            assert chain.code(STRANGER, method, *arguments) == "NOT_A_MEMBER"

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
            chain.advance(CHANGE_MS)
        assert chain.code(voter("b"), Governance.rotate_certificate, b"more") == "TOO_MANY_CERTIFICATES"
        chain.advance(GRACE_MS)
        chain.ok(voter("b"), Governance.rotate_certificate, b"more")

    @pytest.mark.parametrize(
        ("method", "values"),
        [(Governance.rotate_certificate, (b"1", b"2", b"3")), (Governance.set_address, ("b1:1", "b2:1", "b3:1"))],
        ids=["certificate", "address"],
    )
    def test_nobody_has_all_nodes_renew_their_connections_all_the_time(
        self, chain: GovernanceChain, method: Any, values: tuple[Any, Any, Any]
    ) -> None:
        first_ms = chain.context.timestamp_ms
        chain.ok(voter("b"), method, values[0])
        chain.context = replace(chain.context, timestamp_ms=first_ms + CHANGE_MS - 1)
        receipt = chain.send(voter("b"), method, values[1])
        assert code_of(receipt) == "CHANGED_TOO_SOON"
        assert receipt.error is not None
        assert f"next_ms {first_ms + CHANGE_MS}" in receipt.error.message
        chain.context = replace(chain.context, timestamp_ms=first_ms + CHANGE_MS)
        chain.ok(voter("b"), method, values[1])

    def test_address_certificate_and_key_do_not_wait_for_each_other(self, chain: GovernanceChain) -> None:
        chain.ok(voter("b"), Governance.set_address, "b1:1")
        chain.ok(voter("b"), Governance.rotate_certificate, b"b1")
        chain.ok(voter("b"), Governance.rotate_key, *rotation("b", "b2"))

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
        assert chain.code(voter("c"), Governance.set_address, "[::1]:26656") == "ADDRESS_TAKEN"
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
        assert touched(voter("e"), Governance.rotate_key, *rotation("e", "e2"))
        assert touched(voter("e"), Governance.set_address, "e2.example:1")
        assert touched(voter("e"), Governance.rotate_certificate, b"e2")
        assert touched(voter("a"), Governance.rotate_key, *rotation("a", "a2"))

    def test_a_failed_change_touches_nothing(self, chain: GovernanceChain) -> None:
        execution = chain.block(chain.transaction(voter("a"), chain.call(Governance.rotate_key, *rotation("a", "b"))))
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


def test_the_deciding_vote_takes_no_more_gas_than_genesis_is_checked_for() -> None:
    """Long names, addresses and reasons, and as many open proposals as there may be."""
    n = 48
    names = [f"m{number:02}" + "-" * 28 + "x" for number in range(n)]
    chain = GovernanceChain(names, host="h" * 200)
    long = candidate("e", certificate=bytes(MAX_CERTIFICATE_BYTES), p2p_address="h" * 249 + ":26656")
    proposals = [
        chain.transaction(
            voter(name), chain.call(Governance.propose_add_observer, "e", long, "r" * MAX_TEXT_CHARS, None), gas_limit=5_000_000
        )
        for name in names
    ]
    quorum = chain.committee.quorum
    chain.block(*proposals)
    assert len(chain.query(Governance.open_proposals)) == n
    votes = [
        chain.transaction(voter(name), chain.call(Governance.vote, 1, True), gas_limit=5_000_000) for name in names[1:quorum]
    ]
    receipts = chain.block(*votes).receipts
    assert "ProposalExecuted" in [event.name for event in receipts[-1].events]
    most = max(receipt.gas_used for receipt in receipts)
    assert deciding_vote_gas(n) / 2 < most <= deciding_vote_gas(n)


def test_every_code_is_met_here() -> None:
    """A new error needs a test that meets it."""
    text = "".join(path.read_text(encoding="utf-8") for path in Path(__file__).parent.glob("test_governance*.py"))
    assert [error.name for error in GovernanceError if f'"{error.name}"' not in text] == []

"""Proposals that are lists of calls, and the chain's rules that these change: every refusal, and nothing half done."""

from dataclasses import astuple, replace
from typing import Any

import pytest

from ledger.block import Receipt, Status
from ledger.codec import encode
from ledger.committee import fault_tolerance, quorum_size
from ledger.parameters import BOUNDS, ChainParameters
from ledger.policy import contract_address
from ledger.store import MemoryStore
from ledger.transaction import MAX_ARGS, MAX_CALLS
from tests.governance_chain import GovernanceChain, candidate, code_of, voter
from tests.vm_harness import Account, account
from vm.chain_rules import ChainRules, read_rules, touches_rules
from vm.contracts.asset import DATR, FEES, Asset
from vm.contracts.deadlines import DEFAULT_EXPIRY_MS
from vm.contracts.governance import Governance
from vm.contracts.governance_rule_types import (
    MAX_AUDITORS,
    MAX_AUDITS_READ,
    MAX_DISABLED,
    Audit,
    AuditOpinion,
    Auditor,
    ParameterChange,
    ParameterName,
    Parameters,
    RulesInfo,
    Upgrade,
)
from vm.contracts.governance_rules import UPGRADE_NOTICE_BLOCKS
from vm.contracts.governance_state import deciding_vote_gas
from vm.contracts.governance_thresholds import MAJORITY_TOPICS, QUORUM_SHARE, WHOLE, approvals_needed, least_share, topics_of
from vm.contracts.governance_types import ProposalStatus, Role, Topic
from vm.contracts.governance_voting import MAX_OPEN_BY_MEMBER
from vm.contracts.planned_calls import CHECK_BYTE_GAS, MAX_CALLS_BYTES, PlannedCall
from vm.errors import ContractError
from vm.gas import TRANSACTIONS_PER_BLOCK

ABC = ["a", "b", "c"]
ABCD = ["a", "b", "c", "d"]
SEVEN = ["a", "b", "c", "d", "e", "f", "g"]
GOVERNANCE = contract_address("governance")
THIEF = account("thief")
OTHER = account("other")
STRANGER = account("stranger")
AUDITOR = account("auditor")


@pytest.fixture
def chain() -> GovernanceChain:
    return GovernanceChain(ABCD)


def freeze(chain: GovernanceChain, who: Account = THIEF) -> PlannedCall:
    return chain.plan(Asset.freeze, DATR, who.address, "evidence")


def unfreeze(chain: GovernanceChain, who: Account = THIEF) -> PlannedCall:
    return chain.plan(Asset.unfreeze, DATR, who.address)


def is_frozen(chain: GovernanceChain, who: Account = THIEF) -> bool:
    chain.account(who.name, motes=10)
    return chain.send(who, Asset.transfer, OTHER.address, 1).status is Status.FAILED


def set_parameters(chain: GovernanceChain, **values: int) -> PlannedCall:
    changes = tuple(ParameterChange(ParameterName(name), value) for name, value in values.items())
    return chain.plan(Governance.set_parameters, changes)


def refused(chain: GovernanceChain, *calls: PlannedCall) -> str:
    """Return the code that the deciding vote fails with; what it would have done must not have happened, and stays possible."""
    receipt, number = decided(chain, *calls)
    assert chain.tally(number).proposal.status is ProposalStatus.OPEN
    return code_of(receipt)


def decided(chain: GovernanceChain, *calls: PlannedCall) -> tuple[Receipt, int]:
    """Return what the deciding vote of the first members is answered, and the proposal's id."""
    *others, last = chain.names[: chain.committee.quorum]
    number = chain.decide(others, Governance.propose_calls, calls, "", None)
    before = dict(chain.state.iterate())
    receipt = chain.send(voter(last), Governance.vote, number, True)
    assert (receipt.status is Status.SUCCEEDED) == (dict(chain.state.iterate()) != before)
    return receipt, number


class TestCalls:
    def test_the_deciding_vote_makes_them_as_the_governance_account(self, chain: GovernanceChain) -> None:
        receipt, number = decided(chain, freeze(chain), freeze(chain, OTHER))
        assert [event.name for event in receipt.events] == ["Voted", "Frozen", "Frozen", "ProposalExecuted"]
        assert receipt.events[1].fields[2] == GOVERNANCE
        assert receipt.events[-1].fields == (number, "calls", "")
        assert is_frozen(chain)

    def test_nothing_happens_before_there_are_enough(self, chain: GovernanceChain) -> None:
        number = chain.enact(["a", "b"], freeze(chain))
        assert not is_frozen(chain)
        assert (chain.tally(number).approvals, chain.tally(number).need) == (2, 3)
        chain.ok(voter("d"), Governance.vote, number, True)
        assert is_frozen(chain)

    def test_all_or_none_are_made_and_one_that_fails_can_be_made_later(self, chain: GovernanceChain) -> None:
        """The second call cannot be made yet: the first leaves no trace, and the same vote succeeds once it can."""
        receipt, number = decided(chain, freeze(chain), unfreeze(chain, OTHER))
        assert receipt.error is not None
        assert (receipt.error.contract, receipt.error.code) == ("asset", "NOT_FROZEN")
        assert not is_frozen(chain)
        chain.enact(ABC, freeze(chain, OTHER))
        assert chain.ok(voter("c"), Governance.vote, number, True) == "executed"
        assert is_frozen(chain)
        assert not is_frozen(chain, OTHER)

    def test_they_are_made_once(self, chain: GovernanceChain) -> None:
        number = chain.enact(ABC, freeze(chain))
        chain.enact(ABC, unfreeze(chain))
        assert chain.code(voter("d"), Governance.vote, number, True) == "PROPOSAL_CLOSED"
        assert not is_frozen(chain)

    def test_they_are_rejected_when_there_cannot_be_enough(self, chain: GovernanceChain) -> None:
        number = chain.enact(["a"], freeze(chain))
        chain.ok(voter("b"), Governance.vote, number, False)
        assert chain.ok(voter("c"), Governance.vote, number, False) == "rejected"
        assert chain.query(Governance.open_proposals) == ()

    def test_only_validators_propose(self, chain: GovernanceChain) -> None:
        chain.add(ABC, "e")
        for who, code in ((voter("e"), "NOT_A_VALIDATOR"), (STRANGER, "NOT_A_MEMBER")):
            assert chain.code(who, Governance.propose_calls, (freeze(chain),), "", None) == code

    def test_they_share_the_members_places(self, chain: GovernanceChain) -> None:
        for _ in range(MAX_OPEN_BY_MEMBER - 1):
            chain.enact(["a"], freeze(chain))
        chain.ok(voter("a"), Governance.propose_add_observer, "e", candidate("e"), "", None)
        assert chain.code(voter("a"), Governance.propose_calls, (freeze(chain),), "", None) == "TOO_MANY_PROPOSALS"

    def test_expired_ones_take_no_vote(self, chain: GovernanceChain) -> None:
        number = chain.enact(["a", "b"], freeze(chain))
        chain.advance(DEFAULT_EXPIRY_MS)
        assert chain.code(voter("c"), Governance.vote, number, True) == "PROPOSAL_EXPIRED"

    @pytest.mark.parametrize("end", ["open", "executed", "rejected", "expired"])
    def test_calls_that_were_not_made_are_not_kept(self, chain: GovernanceChain, end: str) -> None:
        """What was done stays readable for ever; what nobody wanted is kept by its hash alone."""
        calls = (freeze(chain), unfreeze(chain))
        number = chain.enact(["a"], *calls)
        if end == "expired":
            chain.advance(DEFAULT_EXPIRY_MS)
            chain.ok(STRANGER, Governance.clear_expired)
        elif end != "open":
            for name in ("b", "c"):
                chain.ok(voter(name), Governance.vote, number, end == "executed")
        tally = chain.tally(number)
        assert tally.proposal.status == end
        assert tally.calls == (calls if end in ("open", "executed") else None)
        digest = tally.proposal.action.calls
        assert digest is not None
        assert digest.topics == (Topic.FREEZE,)
        kept = [key for key, value in chain.state.iterate() if b"evidence" in value and b"proposal_calls" in key]
        assert len(kept) == (tally.calls is not None)

    @pytest.mark.parametrize(
        "args",
        [
            pytest.param(encode(1), id="no list"),
            pytest.param(b"\xc1", id="no msgpack"),
            pytest.param(b"\x91\xcc\x01", id="not minimal"),
            pytest.param(encode((1,)) + b"\x00", id="trailing"),
            pytest.param(encode((0,) * (MAX_ARGS + 1)), id="too many"),
        ],
    )
    def test_arguments_must_be_a_canonical_list(self, chain: GovernanceChain, args: bytes) -> None:
        calls = (freeze(chain), PlannedCall("asset", "freeze", args))
        receipt = chain.send(voter("a"), Governance.propose_calls, calls, "", None)
        assert code_of(receipt) == "BAD_CALLS"
        assert receipt.error is not None
        assert "call 2" in receipt.error.message

    def test_they_are_bounded(self, chain: GovernanceChain) -> None:
        half = PlannedCall("asset", "freeze", encode((bytes(MAX_CALLS_BYTES // 2 - 4),)))
        assert len(half.args) == MAX_CALLS_BYTES // 2
        for calls, code in (
            ((), "BAD_ARGUMENTS"),
            ((freeze(chain),) * (MAX_CALLS + 1), "BAD_ARGUMENTS"),
            ((half, half, unfreeze(chain)), "BAD_CALLS"),
        ):
            wrong = (tuple(astuple(call) for call in calls), "", None)
            call = replace(chain.call(Governance.propose_calls, (half,), "", None), args=wrong)
            assert code_of(chain.block(chain.transaction(voter("a"), call, gas_limit=10_000_000)).receipts[0]) == code
        receipt = chain.send(voter("a"), Governance.propose_calls, (half, half), "", None, gas_limit=10_000_000)
        assert receipt.status is Status.SUCCEEDED
        assert receipt.gas_used > CHECK_BYTE_GAS * MAX_CALLS_BYTES

    @pytest.mark.parametrize(
        ("contract", "method", "args", "code"),
        [
            ("nobody", "freeze", (), "UNKNOWN_CONTRACT"),
            ("asset", "mint_for_me", (), "UNKNOWN_METHOD"),
            ("asset", "freeze", ("DATR",), "BAD_ARGUMENTS"),
            ("asset", "distribute", ((),), "WRONG_KIND"),
            ("governance", "vote", (1, True), "NOT_A_MEMBER"),
            ("governance", "rotate_key", (bytes(32), bytes(64)), "NOT_A_MEMBER"),
            ("asset", "transfer", (OTHER.address, 1), "INSUFFICIENT_FUNDS"),
        ],
    )
    def test_what_cannot_be_done_fails_the_deciding_vote(
        self, chain: GovernanceChain, contract: str, method: str, args: Any, code: str
    ) -> None:
        """Governance gets no other's rights: neither a vote, nor money, nor what only genesis does."""
        assert refused(chain, freeze(chain), PlannedCall(contract, method, encode(args))) == code
        assert not is_frozen(chain)

    @pytest.mark.parametrize("method", [Asset.hold, Asset.grant])
    def test_who_votes_last_lends_it_nothing(self, chain: GovernanceChain, method: Any) -> None:
        """A contract may hold or draw what is the signer's: the one whose vote decides has not signed these calls as its own."""
        last = chain.account(voter("c").name, motes=100)
        more = (5, "theft", chain.context.timestamp_ms + DEFAULT_EXPIRY_MS) if method is Asset.hold else ("theft",)
        assert refused(chain, chain.plan(method, last.address, *more)) == "NOT_PERMITTED"

    def test_one_member_decides_alone_at_once(self) -> None:
        chain = GovernanceChain(["a"])
        receipt = chain.send(voter("a"), Governance.propose_calls, (freeze(chain),), "", None)
        assert [event.name for event in receipt.events] == ["Proposed", "Voted", "Frozen", "ProposalExecuted"]
        failed = chain.code(voter("a"), Governance.propose_calls, (freeze(chain),), "", None)
        assert failed == "FROZEN"

    def test_collected_fees_are_spent(self, chain: GovernanceChain) -> None:
        chain.context = replace(chain.context, fee_account=FEES)
        spend = chain.plan(Asset.spend_fees, OTHER.address, 5, "an audit")
        assert refused(chain, spend) == "INSUFFICIENT_FUNDS"
        payer = chain.account("payer", motes=10_000_000)
        chain.context = replace(chain.context, gas_price_motes=1)
        chain.ok(payer, Asset.transfer, THIEF.address, 1)
        chain.context = replace(chain.context, gas_price_motes=0)
        collected = chain.balance(FEES).free
        chain.ok(voter("c"), Governance.vote, 1, True)
        assert (chain.balance(OTHER).free, chain.balance(FEES).free) == (5, collected - 5)


@pytest.mark.parametrize(
    ("method", "args"),
    [
        (Governance.set_parameters, ((ParameterChange(ParameterName.HEARTBEAT_MS, 1_000),),)),
        (Governance.disable_contract, ("charging",)),
        (Governance.enable_contract, ("charging",)),
        (Governance.schedule_upgrade, (2, 10_000, "two")),
        (Governance.cancel_upgrade, ()),
        (Governance.set_threshold, (Topic.FREEZE, WHOLE)),
        (Governance.add_auditor, ("kpmg", AUDITOR.address)),
        (Governance.remove_auditor, ("kpmg",)),
    ],
)
def test_nobody_does_alone_what_takes_a_vote(chain: GovernanceChain, method: Any, args: tuple[Any, ...]) -> None:
    for who in (voter("a"), STRANGER):
        assert chain.code(who, method, *args) == "ONLY_BY_VOTE"


class TestParameters:
    def test_they_are_those_of_genesis_at_first(self, chain: GovernanceChain) -> None:
        assert chain.rules == ChainRules(ChainParameters(), frozenset(), None, 1)
        info = chain.query(Governance.rules)
        assert info == RulesInfo(Parameters(*astuple(ChainParameters())), ChainParameters().tx_window_ms, (), 1, None)

    def test_the_names_are_those_of_the_ledger(self) -> None:
        assert [name.value for name in ParameterName] == list(BOUNDS)
        assert list(Parameters.__slots__) == list(BOUNDS)

    def test_a_vote_sets_several_at_once_for_the_next_block(self, chain: GovernanceChain) -> None:
        receipt, _ = decided(chain, set_parameters(chain, gas_price_motes=2, block_max_transactions=50))
        assert chain.rules.parameters == replace(ChainParameters(), gas_price_motes=2, block_max_transactions=50)
        told = [event.fields for event in receipt.events if event.name == "ParameterSet"]
        assert told == [("gas_price_motes", 0, 2), ("block_max_transactions", 2_000, 50)]
        chain.enact(ABC, set_parameters(chain, gas_price_motes=3))
        assert chain.rules.parameters == replace(ChainParameters(), gas_price_motes=3, block_max_transactions=50)

    @pytest.mark.parametrize("name", list(BOUNDS))
    def test_each_is_bounded_and_the_numbers_are_said(self, chain: GovernanceChain, name: str) -> None:
        least, most = BOUNDS[name]
        for value in (least - 1, most + 1):
            if 0 <= value < 2**64:
                receipt, _ = decided(chain, set_parameters(chain, **{name: value}))
                assert code_of(receipt) == "BAD_PARAMETER"
                assert receipt.error is not None
                assert f"name {name}, value {value}, least " in receipt.error.message
        assert chain.rules.parameters == ChainParameters()

    def test_the_window_never_exceeds_what_nodes_have_kept_since_genesis(self, chain: GovernanceChain) -> None:
        limit_ms = ChainParameters().tx_window_ms
        assert refused(chain, set_parameters(chain, tx_window_ms=limit_ms + 1)) == "BAD_PARAMETER"
        chain.enact(ABC, set_parameters(chain, tx_window_ms=60_000))
        chain.enact(ABC, set_parameters(chain, tx_window_ms=limit_ms))
        assert refused(chain, set_parameters(chain, tx_window_ms=limit_ms + 1)) == "BAD_PARAMETER"
        assert chain.rules.parameters.tx_window_ms == limit_ms

    def test_blocks_keep_room_for_a_vote_that_could_undo_it(self) -> None:
        """Else a vote too big for any block would be what could make blocks larger again."""
        chain = GovernanceChain([f"m{number:02}" for number in range(12)])
        least = 2 * TRANSACTIONS_PER_BLOCK * deciding_vote_gas(12)
        assert least > BOUNDS["block_max_gas"][0]
        assert refused(chain, set_parameters(chain, block_max_gas=least - 1)) == "BAD_PARAMETER"
        chain.enact(chain.names[: chain.committee.quorum], set_parameters(chain, block_max_gas=least))
        assert chain.rules.parameters.block_max_gas == least

    def test_the_timeouts_go_together(self, chain: GovernanceChain) -> None:
        assert refused(chain, set_parameters(chain, base_timeout_ms=4_001)) == "BAD_PARAMETER"
        chain.enact(ABC, set_parameters(chain, timeout_cap_ms=8_000, base_timeout_ms=8_000))
        assert refused(chain, set_parameters(chain, timeout_cap_ms=7_999)) == "BAD_PARAMETER"

    def test_views_stay_long_enough_to_decide_in(self, chain: GovernanceChain) -> None:
        """A network whose messages take longer than its longest view decides nothing, not even to have longer ones."""
        assert refused(chain, set_parameters(chain, timeout_cap_ms=999, base_timeout_ms=50)) == "BAD_PARAMETER"
        chain.enact(ABC, set_parameters(chain, timeout_cap_ms=1_000))
        assert chain.rules.parameters.timeout_cap_ms == 1_000

    def test_no_block_takes_longer_than_views_last(self, chain: GovernanceChain) -> None:
        """What is due is made in every view alike: were it too much for one, it would be too much for all."""
        assert refused(chain, set_parameters(chain, block_max_gas=1_000_000_001)) == "BAD_PARAMETER"
        chain.enact(ABC, set_parameters(chain, block_max_gas=1_000_000_000))
        assert refused(chain, set_parameters(chain, timeout_cap_ms=3_999)) == "BAD_PARAMETER"
        chain.enact(ABC, set_parameters(chain, timeout_cap_ms=2_000, block_max_gas=500_000_000))
        assert chain.rules.parameters.block_max_gas == 500_000_000

    def test_a_committee_never_outgrows_what_its_blocks_can_hold_of_votes(self) -> None:
        """Else the vote that would make blocks larger fits into none."""
        names = [f"m{number:02}" for number in range(42)]
        room = TRANSACTIONS_PER_BLOCK * deciding_vote_gas(len(names))
        chain = GovernanceChain(names, parameters=replace(ChainParameters(), block_max_gas=room))
        enough = names[: chain.committee.quorum]
        chain.add(enough, "z")
        chain.attest("z")
        assert chain.code(voter("m00"), Governance.propose_promote, "z", "", None) == "TOO_MANY_MEMBERS"
        chain.enact(enough, set_parameters(chain, block_max_gas=2 * room))
        chain.promote(enough, "z")
        assert len(chain.names) == 43

    def test_each_is_set_once(self, chain: GovernanceChain) -> None:
        change = ParameterChange(ParameterName.HEARTBEAT_MS, 1_000)
        twice = chain.plan(Governance.set_parameters, (change, replace(change, value=2_000)))
        assert refused(chain, twice) == "PARAMETER_TWICE"

    def test_a_genesis_that_goes_beyond_the_bounds_makes_no_chain(self) -> None:
        with pytest.raises(ContractError, match="base_timeout_ms must not be over timeout_cap_ms"):
            GovernanceChain(ABCD, parameters=replace(ChainParameters(), base_timeout_ms=5_000))


class TestContracts:
    def test_a_contract_is_switched_off_and_on(self, chain: GovernanceChain) -> None:
        receipt, _ = decided(chain, chain.plan(Governance.disable_contract, "charging"))
        assert "ContractDisabled" in [event.name for event in receipt.events]
        assert chain.rules.disabled == {"charging"}
        assert chain.query(Governance.rules).disabled == ("charging",)
        assert refused(chain, chain.plan(Governance.disable_contract, "charging")) == "ALREADY_DISABLED"
        chain.enact(ABC, chain.plan(Governance.enable_contract, "charging"))
        assert chain.rules.disabled == frozenset()
        assert refused(chain, chain.plan(Governance.enable_contract, "charging")) == "NOT_DISABLED"

    @pytest.mark.parametrize("name", ["asset", "governance", "schedule"])
    def test_the_chain_keeps_what_it_cannot_do_without(self, chain: GovernanceChain, name: str) -> None:
        assert refused(chain, chain.plan(Governance.disable_contract, name)) == "CANNOT_DISABLE"

    def test_the_list_is_bounded(self) -> None:
        chain = GovernanceChain(["a"])
        calls = [chain.plan(Governance.disable_contract, f"x{number}") for number in range(MAX_DISABLED + 1)]
        for first in range(0, MAX_DISABLED, MAX_CALLS):
            chain.enact(["a"], *calls[first : first + MAX_CALLS])
        assert chain.code(voter("a"), Governance.propose_calls, (calls[-1],), "", None) == "TOO_MANY_DISABLED"


class TestUpgrade:
    def test_it_is_the_version_from_its_height_on(self, chain: GovernanceChain) -> None:
        height = chain.height + 200
        chain.enact(ABC, chain.plan(Governance.schedule_upgrade, 2, height, "two"))
        assert chain.rules.upgrade == Upgrade(2, height, "two")
        assert [chain.rules.version_at(each) for each in (height - 1, height, height + 1)] == [1, 2, 2]
        assert chain.query(Governance.rules).version == 1
        chain.idle(height - chain.height - 1)
        assert (chain.query(Governance.rules).version, chain.query(Governance.rules).upgrade is None) == (1, False)
        chain.block()
        assert chain.height == height
        assert (chain.query(Governance.rules).version, chain.query(Governance.rules).upgrade) == (2, None)

    def test_one_at_a_time_to_a_later_version_with_notice(self, chain: GovernanceChain) -> None:
        far = chain.height + 1_000
        for version, height, code in ((1, far, "BAD_VERSION"), (2, chain.height + UPGRADE_NOTICE_BLOCKS, "BAD_HEIGHT")):
            assert refused(chain, chain.plan(Governance.schedule_upgrade, version, height, "x")) == code
        chain.enact(ABC, chain.plan(Governance.schedule_upgrade, 2, far, "two"))
        assert refused(chain, chain.plan(Governance.schedule_upgrade, 3, far, "three")) == "UPGRADE_PENDING"

    def test_the_notice_is_exact(self) -> None:
        chain = GovernanceChain(["a"])
        early = _upgrade(chain, 2, chain.height + UPGRADE_NOTICE_BLOCKS - 1)
        assert chain.code(voter("a"), Governance.propose_calls, (early,), "", None) == "BAD_HEIGHT"
        least = chain.height + UPGRADE_NOTICE_BLOCKS
        chain.enact(["a"], _upgrade(chain, 2, least))
        assert chain.rules.upgrade == Upgrade(2, least, "x")

    def test_it_is_called_off_before_its_height_only(self, chain: GovernanceChain) -> None:
        cancel = chain.plan(Governance.cancel_upgrade)
        assert refused(chain, cancel) == "NO_UPGRADE"
        chain.enact(ABC, _upgrade(chain, 2, chain.height + 150))
        chain.enact(ABC, cancel)
        assert (chain.rules.upgrade, chain.rules.version) == (None, 1)
        chain.enact(ABC, _upgrade(chain, 2, chain.height + 150))
        chain.idle(150)
        assert refused(chain, cancel) == "NO_UPGRADE"

    def test_the_next_one_builds_on_the_last(self, chain: GovernanceChain) -> None:
        chain.enact(ABC, _upgrade(chain, 5, chain.height + 150))
        chain.idle(150)
        assert refused(chain, _upgrade(chain, 5, chain.height + 150)) == "BAD_VERSION"
        chain.enact(ABC, _upgrade(chain, 6, chain.height + 150))
        assert chain.rules.version == 5
        assert chain.rules.version_at(chain.height) == 5
        chain.enact(ABC, chain.plan(Governance.cancel_upgrade))
        assert (chain.rules.version, chain.rules.upgrade) == (5, None)


def _upgrade(chain: GovernanceChain, version: int, height: int) -> PlannedCall:
    return chain.plan(Governance.schedule_upgrade, version, height, "x")


class TestThresholds:
    @pytest.mark.parametrize("topic", list(Topic))
    def test_it_is_the_quorum_of_any_committee_at_first(self, topic: Topic) -> None:
        for n in range(1, 257):
            assert approvals_needed(topic, QUORUM_SHARE, n) == quorum_size(n)

    @pytest.mark.parametrize("topic", list(Topic))
    def test_no_share_goes_below_what_is_safe_or_above_what_there_is(self, topic: Topic) -> None:
        for n in range(1, 257):
            floor = n // 2 + 1 if topic in MAJORITY_TOPICS else quorum_size(n)
            assert approvals_needed(topic, least_share(topic), n) == approvals_needed(topic, 1, n) == floor
            for share in (least_share(topic), 7_500, 9_000, WHOLE):
                assert floor <= approvals_needed(topic, share, n) <= n

    @pytest.mark.parametrize("topic", [Topic.MEMBERS, Topic.THRESHOLDS])
    def test_those_that_may_fail_never_keep_the_others_from_replacing_them(self, topic: Topic) -> None:
        for n in range(1, 257):
            assert approvals_needed(topic, WHOLE, n) == n - fault_tolerance(n)

    def test_freezing_may_take_more_than_half(self) -> None:
        chain = GovernanceChain(SEVEN)
        chain.enact(SEVEN[:5], chain.plan(Governance.set_threshold, Topic.FREEZE, 5_001))
        needs = {each.topic: each.need for each in chain.query(Governance.thresholds)}
        assert needs == dict.fromkeys(Topic, 5) | {Topic.FREEZE: 4}
        number = chain.enact(SEVEN[:3], freeze(chain))
        assert (chain.tally(number).need, is_frozen(chain)) == (4, False)
        chain.ok(voter("d"), Governance.vote, number, True)
        assert is_frozen(chain)

    def test_the_topic_that_needs_most_counts(self) -> None:
        chain = GovernanceChain(SEVEN)
        chain.enact(SEVEN[:5], chain.plan(Governance.set_threshold, Topic.FREEZE, 5_000))
        both = (freeze(chain), chain.plan(Governance.disable_contract, "charging"))
        assert chain.tally(chain.enact(["a"], *both)).need == 5
        chain.enact(SEVEN[:5], chain.plan(Governance.set_threshold, Topic.CONTRACTS, WHOLE))
        assert chain.tally(chain.enact(["b"], *both)).need == 7

    def test_it_is_that_of_the_decision_not_of_the_proposal(self, chain: GovernanceChain) -> None:
        number = chain.enact(["a", "b"], freeze(chain))
        chain.enact(ABC, chain.plan(Governance.set_threshold, Topic.FREEZE, WHOLE))
        assert chain.ok(voter("c"), Governance.vote, number, True) == "open"
        assert chain.ok(voter("d"), Governance.vote, number, True) == "executed"
        decided_by = chain.tally(number).proposal.outcome
        assert decided_by is not None
        assert decided_by.need == 4

    def test_one_no_rejects_what_needs_all(self, chain: GovernanceChain) -> None:
        chain.enact(ABC, chain.plan(Governance.set_threshold, Topic.SPENDING, WHOLE))
        number = chain.enact(["a"], chain.plan(Asset.spend_fees, OTHER.address, 1, "x"))
        assert chain.ok(voter("b"), Governance.vote, number, False) == "rejected"

    def test_lowering_one_takes_what_it_asks_for(self) -> None:
        """Else fewer could first lower it, then do what it kept them from."""
        chain = GovernanceChain(SEVEN)
        raise_it = chain.plan(Governance.set_threshold, Topic.SPENDING, WHOLE)
        lower_it = chain.plan(Governance.set_threshold, Topic.SPENDING, 5_000)
        chain.enact(SEVEN[:5], raise_it)
        number = chain.enact(SEVEN[:6], lower_it, chain.plan(Governance.disable_contract, "charging"))
        assert (chain.tally(number).need, chain.tally(number).proposal.status) == (7, "open")
        chain.ok(voter("g"), Governance.vote, number, True)
        assert chain.tally(chain.enact(["a"], chain.plan(Asset.spend_fees, OTHER.address, 1, "x"))).need == 4

    @pytest.mark.parametrize("topic", list(Topic))
    def test_unsafe_shares_are_refused_with_the_numbers(self, chain: GovernanceChain, topic: Topic) -> None:
        for share in (least_share(topic) - 1, WHOLE + 1):
            receipt, _ = decided(chain, chain.plan(Governance.set_threshold, topic, share))
            assert code_of(receipt) == "BAD_THRESHOLD"
            assert receipt.error is not None
            assert f"topic {topic.value}, share {share}, least {least_share(topic)}, most 10000" in receipt.error.message

    def test_the_members_keep_to_theirs(self) -> None:
        """Six validators bear one fault: five are enough for what is about members, whatever is asked for."""
        chain = GovernanceChain(SEVEN[:6])
        chain.enact(SEVEN[:4], chain.plan(Governance.set_threshold, Topic.MEMBERS, WHOLE))
        number = chain.ok(voter("a"), Governance.propose_add_observer, "x", candidate("x"), "", None)
        assert chain.tally(number).need == 5
        for name in ("b", "c", "d"):
            chain.ok(voter(name), Governance.vote, number, True)
        assert not chain.membership.observers
        chain.ok(voter("e"), Governance.vote, number, True)
        assert chain.membership.observers

    def test_what_calls_are_about(self, chain: GovernanceChain) -> None:
        about = {
            Topic.PARAMETERS: set_parameters(chain, heartbeat_ms=1_000),
            Topic.CONTRACTS: chain.plan(Governance.enable_contract, "charging"),
            Topic.UPGRADE: chain.plan(Governance.cancel_upgrade),
            Topic.MEMBERS: chain.plan(Governance.remove_auditor, "kpmg"),
            Topic.FREEZE: unfreeze(chain),
            Topic.SPENDING: chain.plan(Asset.spend_fees, OTHER.address, 1, "x"),
            Topic.OTHER: chain.plan(Asset.transfer, OTHER.address, 1),
        }
        for topic, call in about.items():
            assert topics_of((call, call)) == (topic,)
        assert topics_of(tuple(about.values())) == tuple(sorted(about))
        threshold = chain.plan(Governance.set_threshold, Topic.FREEZE, 1)
        assert topics_of((threshold,)) == (Topic.FREEZE, Topic.THRESHOLDS)
        for args in ((), (1,), ("weather", 1)):
            assert topics_of((replace(threshold, args=encode(args)),)) == (Topic.THRESHOLDS,)
        assert topics_of((replace(unfreeze(chain), contract="assets"),)) == (Topic.OTHER,)


class TestAuditors:
    def add(self, chain: GovernanceChain, name: str = "kpmg", who: Account = AUDITOR) -> PlannedCall:
        return chain.plan(Governance.add_auditor, name, who.address)

    def test_an_auditor_speaks_and_is_heard_for_ever(self, chain: GovernanceChain) -> None:
        assert chain.code(AUDITOR, Governance.audit, "asset.release/3", AuditOpinion.NOTE, "") == "NOT_AN_AUDITOR"
        chain.enact(ABC, self.add(chain))
        assert chain.query(Governance.auditors) == (Auditor("kpmg", AUDITOR.address, chain.height - 1),)
        assert chain.code(STRANGER, Governance.audit, "asset.release/3", AuditOpinion.NOTE, "") == "NOT_AN_AUDITOR"
        told = (chain.height, chain.context.timestamp_ms)
        receipt = chain.send(AUDITOR, Governance.audit, "asset.release/3", AuditOpinion.OBJECT, "no purpose")
        assert [event.fields for event in receipt.events] == [(1, "kpmg", "asset.release/3", "object")]
        said = Audit(1, "kpmg", "asset.release/3", AuditOpinion.OBJECT, "no purpose", *told)
        chain.enact(ABC, chain.plan(Governance.remove_auditor, "kpmg"))
        assert chain.query(Governance.auditors) == ()
        assert chain.query(Governance.get_audit, 1) == said
        assert chain.query(Governance.audits_of, "asset.release/3", 0, 10) == (said,)
        assert chain.code(AUDITOR, Governance.audit, "asset.release/3", AuditOpinion.NOTE, "") == "NOT_AN_AUDITOR"

    def test_audits_are_listed_by_subject(self, chain: GovernanceChain) -> None:
        chain.enact(ABC, self.add(chain))
        subjects = ["x", "y", "x", "x"]
        for number, subject in enumerate(subjects, 1):
            assert chain.ok(AUDITOR, Governance.audit, subject, AuditOpinion.APPROVE, "") == number
        assert [audit.id for audit in chain.query(Governance.audits_of, "x", 0, 255)] == [1, 3, 4]
        assert [audit.id for audit in chain.query(Governance.audits_of, "x", 1, 1)] == [3]
        assert chain.query(Governance.audits_of, "x", 3, 1) == chain.query(Governance.audits_of, "z", 0, 1) == ()
        assert chain.query(Governance.last_audit) == 4
        with pytest.raises(ContractError) as failed:
            chain.query(Governance.get_audit, 5)
        assert failed.value.failure_code == "UNKNOWN_AUDIT"

    def test_a_page_is_bounded(self, chain: GovernanceChain) -> None:
        chain.enact(ABC, self.add(chain))
        call = chain.call(Governance.audit, "x", AuditOpinion.NOTE, "s" * 1_024)
        for _ in range(MAX_AUDITS_READ // MAX_CALLS + 1):
            chain.block(chain.transaction(AUDITOR, *[call] * MAX_CALLS, gas_limit=10_000_000))
        assert len(chain.query(Governance.audits_of, "x", 0, 255)) == MAX_AUDITS_READ

    def test_no_auditor_becomes_a_member_as_it_is(self, chain: GovernanceChain) -> None:
        """Nor one that was proposed as a member before: whoever audits the members is none of them."""
        proposed: int = chain.ok(voter("a"), Governance.propose_add_observer, "kpmg", candidate("kpmg"), "", None)
        chain.enact(ABC, self.add(chain))
        chain.enact(ABC, self.add(chain, "auditor2", voter("e")))
        add = Governance.propose_add_observer
        assert chain.code(voter("a"), add, "kpmg", candidate("kpmg"), "", None) == "AUDITOR_EXISTS"
        assert chain.code(voter("a"), add, "e", candidate("e"), "", None) == "ACCOUNT_TAKEN"
        chain.ok(voter("b"), Governance.vote, proposed, True)
        assert chain.code(voter("c"), Governance.vote, proposed, True) == "AUDITOR_EXISTS"
        chain.enact(ABC, chain.plan(Governance.remove_auditor, "kpmg"))
        chain.ok(voter("c"), Governance.vote, proposed, True)
        assert chain.record("kpmg").role is Role.OBSERVER

    def test_an_auditor_has_no_vote(self, chain: GovernanceChain) -> None:
        chain.enact(ABC, self.add(chain))
        assert chain.code(AUDITOR, Governance.propose_calls, (freeze(chain),), "", None) == "NOT_A_MEMBER"
        assert chain.code(AUDITOR, Governance.vote, 1, True) == "NOT_A_MEMBER"

    def test_auditors_are_others_than_members_and_each_other(self, chain: GovernanceChain) -> None:
        chain.enact(ABC, self.add(chain))
        for call, code in (
            (self.add(chain, "kpmg", OTHER), "AUDITOR_EXISTS"),
            (self.add(chain, "pwc"), "ACCOUNT_TAKEN"),
            (self.add(chain, "pwc", voter("a")), "ACCOUNT_TAKEN"),
            (self.add(chain, "a", OTHER), "MEMBER_EXISTS"),
            (self.add(chain, "P", OTHER), "BAD_MEMBER_ID"),
            (chain.plan(Governance.add_auditor, "pwc", GOVERNANCE), "BAD_ACCOUNT"),
            (chain.plan(Governance.remove_auditor, "pwc"), "UNKNOWN_AUDITOR"),
        ):
            chain.advance(DEFAULT_EXPIRY_MS)
            assert refused(chain, call) == code

    def test_they_are_bounded(self) -> None:
        chain = GovernanceChain(["a"])
        calls = [self.add(chain, f"x{number}", account(f"x{number}")) for number in range(MAX_AUDITORS + 1)]
        for first in range(0, MAX_AUDITORS, MAX_CALLS):
            args = (tuple(calls[first : first + MAX_CALLS]), "", None)
            receipt = chain.send(voter("a"), Governance.propose_calls, *args, gas_limit=10_000_000)
            assert receipt.status is Status.SUCCEEDED, receipt.error
        receipt = chain.send(voter("a"), Governance.propose_calls, (calls[-1],), "", None, gas_limit=10_000_000)
        assert code_of(receipt) == "TOO_MANY_AUDITORS"
        names = [each.name for each in chain.query(Governance.auditors)]
        assert names == sorted(names)


class TestChainRules:
    def test_nodes_are_told_of_every_change_and_of_no_other(self, chain: GovernanceChain) -> None:
        def told(*calls: PlannedCall) -> bool:
            number = chain.enact(["a", "b"], *calls)
            before = chain.rules
            vote = chain.transaction(voter("c"), chain.call(Governance.vote, number, True))
            execution = chain.block(vote)
            assert execution.receipts[0].status is Status.SUCCEEDED
            changed = touches_rules(execution.changes)
            assert changed or chain.rules == before
            return changed

        assert told(set_parameters(chain, heartbeat_ms=1_000))
        assert told(chain.plan(Governance.disable_contract, "charging"))
        assert told(chain.plan(Governance.enable_contract, "charging"))
        assert told(_upgrade(chain, 2, chain.height + 500))
        assert told(chain.plan(Governance.cancel_upgrade))
        assert not told(freeze(chain))
        assert not told(chain.plan(Governance.set_threshold, Topic.FREEZE, WHOLE))

    def test_a_chain_without_governance_keeps_those_of_genesis(self) -> None:
        parameters = replace(ChainParameters(), heartbeat_ms=500)
        assert read_rules(MemoryStore(), parameters) == ChainRules(parameters, frozenset(), None, 1)

    def test_they_are_read_from_the_state_not_from_genesis(self, chain: GovernanceChain) -> None:
        assert read_rules(chain.state, replace(ChainParameters(), heartbeat_ms=500)).parameters == ChainParameters()

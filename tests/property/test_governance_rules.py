"""Lists of calls against a model of a page: any order of proposals, votes, members that come and go, thresholds and expiry.

What was decided is what the rules are; nothing is ever half done, and nothing with fewer approvals than are safe.
"""

import itertools
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any, TypeAlias

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.committee import fault_tolerance, quorum_size
from ledger.parameters import BOUNDS, ChainParameters
from tests.governance_chain import GovernanceChain, candidate, key_of, voter
from tests.vm_harness import account
from vm.contracts.asset import DATR, Asset
from vm.contracts.deadlines import DAY_MS, DEFAULT_EXPIRY_MS
from vm.contracts.governance import Governance
from vm.contracts.governance_rule_types import ParameterChange, ParameterName
from vm.contracts.governance_rules import UPGRADE_NOTICE_BLOCKS
from vm.contracts.governance_state import deciding_vote_gas
from vm.contracts.governance_types import Topic
from vm.contracts.governance_voting import MAX_OPEN_BY_MEMBER
from vm.contracts.planned_calls import PlannedCall

NAMES = ["a", "b", "c", "d", "e", "f", "g"]
FOUNDERS = NAMES[:5]
SUSPECTS = [account(name) for name in ("x", "y")]
GAS_LIMIT = 20_000_000
QUORUM_TOPICS = set(Topic) - {Topic.FREEZE, Topic.SPENDING}


class RefusalError(Exception):
    """The model refuses, with the code that the contract should answer."""


@dataclass(frozen=True)
class World:
    """What calls change."""

    parameters: ChainParameters = field(default_factory=ChainParameters)
    disabled: frozenset[str] = frozenset()
    frozen: frozenset[str] = frozenset()
    shares: tuple[tuple[Topic, int], ...] = tuple((topic, 6_666) for topic in Topic)
    version: int = 1
    upgrade: tuple[int, int] | None = None

    def need(self, topics: set[Topic], n: int) -> int:
        """Return the approvals that a proposal on these topics takes of n validators."""
        return max(self._need(topic, n) for topic in topics)

    def _need(self, topic: Topic, n: int) -> int:
        least = quorum_size(n) if topic in QUORUM_TOPICS else n // 2 + 1
        asked = (dict(self.shares)[topic] * n + 9_999) // 10_000
        most = n - fault_tolerance(n) if topic in (Topic.MEMBERS, Topic.THRESHOLDS) else n
        return min(max(least, asked), most)


Change: TypeAlias = Callable[[World, int, int], World]


@dataclass(frozen=True)
class Order:
    """A call as the chain gets it, and as the model does it: world, height and number of validators in, world out."""

    call: PlannedCall
    change: Change
    topics: frozenset[Topic]


@dataclass
class Motion:
    """What the model knows of a proposal."""

    orders: list[Order]
    by: str
    until_ms: int
    votes: dict[str, tuple[int, bool]] = field(default_factory=dict)
    status: str = "open"

    @property
    def topics(self) -> set[Topic]:
        return {topic for order in self.orders for topic in order.topics}


def refuse_unless(condition: bool, code: str) -> None:
    if not condition:
        raise RefusalError(code)


def freezing(chain: GovernanceChain, at: int, *, on: bool) -> Order:
    who = SUSPECTS[at]
    call = chain.plan(Asset.freeze, DATR, who.address, "x") if on else chain.plan(Asset.unfreeze, DATR, who.address)

    def change(world: World, _height: int, _n: int) -> World:
        refuse_unless((who.name in world.frozen) != on, "FROZEN" if on else "NOT_FROZEN")
        return replace(world, frozen=world.frozen ^ {who.name})

    return Order(call, change, frozenset({Topic.FREEZE}))


def setting(chain: GovernanceChain, name: str, value: int) -> Order:
    def change(world: World, _height: int, n: int) -> World:
        least, most = BOUNDS[name]
        most = min(most, ChainParameters().tx_window_ms) if name == "tx_window_ms" else most
        least = max(least, {"block_max_gas": 20 * deciding_vote_gas(n), "timeout_cap_ms": 1_000}.get(name, least))
        refuse_unless(least <= value <= most, "BAD_PARAMETER")
        after = replace(world.parameters, **{name: value})
        refuse_unless(after.base_timeout_ms <= after.timeout_cap_ms, "BAD_PARAMETER")
        outlasts = after.block_max_gas > 250_000 * after.timeout_cap_ms
        refuse_unless(not outlasts or name not in ("block_max_gas", "timeout_cap_ms"), "BAD_PARAMETER")
        return replace(world, parameters=after)

    call = chain.plan(Governance.set_parameters, (ParameterChange(ParameterName(name), value),))
    return Order(call, change, frozenset({Topic.PARAMETERS}))


def switching(chain: GovernanceChain, name: str, *, on: bool) -> Order:
    def change(world: World, _height: int, _n: int) -> World:
        refuse_unless(on or name != "asset", "CANNOT_DISABLE")
        refuse_unless((name in world.disabled) == on, "NOT_DISABLED" if on else "ALREADY_DISABLED")
        return replace(world, disabled=world.disabled ^ {name})

    call = chain.plan(Governance.enable_contract if on else Governance.disable_contract, name)
    return Order(call, change, frozenset({Topic.CONTRACTS}))


def threshold(chain: GovernanceChain, topic: Topic, share: int) -> Order:
    def change(world: World, _height: int, _n: int) -> World:
        refuse_unless((6_666 if topic in QUORUM_TOPICS else 5_000) <= share <= 10_000, "BAD_THRESHOLD")
        return replace(world, shares=tuple((dict(world.shares) | {topic: share}).items()))

    return Order(chain.plan(Governance.set_threshold, topic, share), change, frozenset({Topic.THRESHOLDS, topic}))


def current(world: World, height: int) -> World:
    """Return the world with an upgrade in force that has come."""
    if world.upgrade is not None and world.upgrade[1] <= height:
        return replace(world, version=world.upgrade[0], upgrade=None)
    return world


def upgrading(chain: GovernanceChain, version: int, ahead: int) -> Order:
    at = chain.height + ahead

    def change(world: World, height: int, _n: int) -> World:
        now = current(world, height)
        refuse_unless(now.upgrade is None, "UPGRADE_PENDING")
        refuse_unless(version > now.version, "BAD_VERSION")
        refuse_unless(at >= height + UPGRADE_NOTICE_BLOCKS, "BAD_HEIGHT")
        return replace(now, upgrade=(version, at))

    return Order(chain.plan(Governance.schedule_upgrade, version, at, "x"), change, frozenset({Topic.UPGRADE}))


def cancelling(chain: GovernanceChain) -> Order:
    def change(world: World, height: int, _n: int) -> World:
        now = current(world, height)
        refuse_unless(now.upgrade is not None, "NO_UPGRADE")
        return replace(now, upgrade=None)

    return Order(chain.plan(Governance.cancel_upgrade), change, frozenset({Topic.UPGRADE}))


ORDERS: st.SearchStrategy[Callable[[GovernanceChain], Order]] = st.one_of(
    st.builds(lambda at, on: lambda chain: freezing(chain, at, on=on), st.integers(0, 1), st.booleans()),
    st.builds(
        lambda name, value: lambda chain: setting(chain, name, value),
        st.sampled_from(list(BOUNDS)),
        st.sampled_from([1, 60, 4_000, 60_000, 3_600_001, 8 * 1024 * 1024, 10**8]),
    ),
    st.builds(
        lambda name, on: lambda chain: switching(chain, name, on=on),
        st.sampled_from(["charging", "loan", "asset"]),
        st.booleans(),
    ),
    st.builds(
        lambda topic, share: lambda chain: threshold(chain, topic, share),
        st.sampled_from(list(Topic)),
        st.sampled_from([4_999, 5_000, 6_665, 6_666, 8_000, 10_000, 10_001]),
    ),
    st.builds(
        lambda version, ahead: lambda chain: upgrading(chain, version, ahead), st.integers(1, 4), st.sampled_from([50, 120, 200])
    ),
    st.just(cancelling),
)
seats = st.integers(0, 6)


class RulesMachine(RuleBasedStateMachine):
    """Runs the contract and the model side by side, one call in a block."""

    @initialize()
    def begin(self) -> None:
        self.chain = GovernanceChain(FOUNDERS)
        self.world = World()
        self.since = dict.fromkeys(FOUNDERS, 0)
        self.motions: dict[int, Motion] = {}
        self.serial = itertools.count()

    @property
    def committee(self) -> list[str]:
        return sorted(self.since)

    def send(self, by: str, model: Callable[[int, int], None], method: Any, *args: Any) -> None:
        """Execute a call; chain and model must agree on how it ends."""
        height, now_ms = self.chain.context.height, self.chain.context.timestamp_ms
        receipt = self.chain.send(voter(by), method, *args, gas_limit=GAS_LIMIT)
        expected = None
        try:
            model(height, now_ms)
        except RefusalError as refusal:
            expected = str(refusal)
        assert (None if receipt.error is None else receipt.error.code) == expected

    def is_open(self, motion: Motion, now_ms: int) -> bool:
        return motion.status == "open" and now_ms <= motion.until_ms

    def counted(self, motion: Motion) -> list[bool]:
        return [approve for name, (height, approve) in motion.votes.items() if name in self.since and self.since[name] <= height]

    def need(self, motion: Motion) -> int:
        return self.world.need(motion.topics, len(self.since))

    def cast(self, motion: Motion, name: str, height: int, *, approve: bool) -> None:
        before = dict(motion.votes)
        motion.votes[name] = (height, approve)
        counted = self.counted(motion)
        if approve and counted.count(True) >= self.need(motion):
            world = self.world
            try:
                for order in motion.orders:
                    world = order.change(world, height, len(self.since))
            except RefusalError:
                motion.votes = before
                raise
            self.world, motion.status = world, "executed"
        elif len(self.since) - counted.count(False) < self.need(motion):
            motion.status = "rejected"

    @rule(seat=seats, orders=st.lists(ORDERS, min_size=1, max_size=3))
    def propose(self, seat: int, orders: list[Callable[[GovernanceChain], Order]]) -> None:
        by = self.committee[seat % len(self.since)]
        made = [order(self.chain) for order in orders]

        def model(height: int, now_ms: int) -> None:
            own = sum(each.by == by and self.is_open(each, now_ms) for each in self.motions.values())
            refuse_unless(own < MAX_OPEN_BY_MEMBER, "TOO_MANY_PROPOSALS")
            motion = Motion(made, by, now_ms + DEFAULT_EXPIRY_MS)
            self.cast(motion, by, height, approve=True)
            self.motions[self.chain.query(Governance.last_proposal)] = motion

        self.send(by, model, Governance.propose_calls, tuple(order.call for order in made), "", None)

    def cast_at(self, number: int, name: str, *, approve: bool) -> None:
        motion = self.motions[number]

        def model(height: int, now_ms: int) -> None:
            refuse_unless(name in self.since, "NOT_A_MEMBER")
            refuse_unless(motion.status == "open", "PROPOSAL_CLOSED")
            refuse_unless(now_ms <= motion.until_ms, "PROPOSAL_EXPIRED")
            self.cast(motion, name, height, approve=approve)

        self.send(name, model, Governance.vote, number, approve)

    @precondition(lambda self: self.motions)
    @rule(back=st.integers(0, 3), at=st.integers(0, 6), approve=st.booleans())
    def vote(self, back: int, at: int, *, approve: bool) -> None:
        """Vote on one of the last proposals, as whoever; also one who is no member."""
        numbers = sorted(self.motions)
        self.cast_at(numbers[-1 - back % len(numbers)], NAMES[at], approve=approve)

    @precondition(lambda self: self.motions)
    @rule(back=st.integers(0, 3), no=seats)
    def nearly_all_approve(self, back: int, no: int) -> None:
        """Carry a proposal to its end, with one voice against."""
        numbers = sorted(self.motions)
        number = numbers[-1 - back % len(numbers)]
        for at, name in enumerate(self.committee):
            self.cast_at(number, name, approve=at != no)

    @rule(name=st.sampled_from(NAMES))
    def come_or_go(self, name: str) -> None:
        """Change the committee: votes of those who left count no more, and what is needed is of the committee as it is."""
        if name in self.since:
            if len(self.since) > 4:
                self.chain.decide(self.unanimous(by=name), Governance.propose_remove, name, "", None)
                del self.since[name]
        else:
            serial = f"{name} {next(self.serial)}"
            new = candidate(name, public_key=key_of(serial), certificate=serial.encode())
            self.chain.decide(self.unanimous(), Governance.propose_add_observer, name, new, "", None)
            self.chain.attest(name)
            self.chain.decide(self.unanimous(), Governance.propose_promote, name, "", None)
            self.since[name] = self.chain.height - 1
        assert self.chain.names == self.committee

    def unanimous(self, *, by: str = "") -> list[str]:
        """Return as many members as decide about members, those first whose places for proposals are not taken."""
        now_ms = self.chain.context.timestamp_ms
        open_ones = [motion.by for motion in self.motions.values() if self.is_open(motion, now_ms)]
        ordered = sorted(self.committee, key=lambda name: (open_ones.count(name), name == by))
        return ordered[: self.world.need({Topic.MEMBERS}, len(self.since))]

    @rule(days=st.integers(1, 4))
    def sleep(self, days: int) -> None:
        self.chain.advance(days * DAY_MS)

    @rule(blocks=st.sampled_from([10, 60]))
    def wait(self, blocks: int) -> None:
        self.chain.idle(blocks)

    @invariant()
    def the_rules_are_what_was_decided(self) -> None:
        rules, world = self.chain.rules, current(self.world, self.chain.height)
        assert (rules.parameters, rules.disabled) == (world.parameters, world.disabled)
        assert rules.version_at(self.chain.height) == world.version
        info = self.chain.query(Governance.rules)
        assert (info.version, None if info.upgrade is None else (info.upgrade.version, info.upgrade.height)) == (
            world.version,
            world.upgrade,
        )
        assert {each.topic: each.share for each in self.chain.query(Governance.thresholds)} == dict(world.shares)

    @invariant()
    def what_is_needed_is_never_unsafe(self) -> None:
        n = len(self.since)
        for each in self.chain.query(Governance.thresholds):
            assert each.need == self.world.need({each.topic}, n)
            assert each.need >= (quorum_size(n) if each.topic in QUORUM_TOPICS else n // 2 + 1)

    @invariant()
    def proposals_stand_as_the_model_says(self) -> None:
        now_ms = self.chain.context.timestamp_ms
        for number, motion in list(self.motions.items())[-6:]:
            tally = self.chain.tally(number)
            expired = motion.status == "open" and now_ms > motion.until_ms
            assert tally.proposal.status == ("expired" if expired else motion.status)
            if motion.status == "open":
                counted = self.counted(motion)
                assert (tally.approvals, tally.rejections) == (counted.count(True), counted.count(False))
                assert tally.need == self.need(motion)


RulesMachine.TestCase.settings = settings(max_examples=15, stateful_step_count=25, deadline=None)
TestRules = RulesMachine.TestCase

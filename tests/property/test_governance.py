"""The governance contract against a model of a page: any order of proposals, votes, rotations and attestations, by anybody."""

import itertools
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.block import Receipt, Status
from ledger.committee import quorum_size
from ledger.transaction import Transaction
from tests.governance_chain import GovernanceChain, block_hash, candidate, key_of, possession, voter
from vm.contracts.governance import Governance
from vm.contracts.governance_state import touches_membership
from vm.contracts.governance_voting import MAX_OPEN_BY_MEMBER, MAX_OPEN_PROPOSALS

NAMES = ["a", "b", "c", "d", "e", "f", "g"]
KEYS = [f"key {number}" for number in range(20)]
DAY_MS = 86_400_000
EXPIRY_MS = 7 * DAY_MS

names = st.sampled_from(NAMES)
seats = st.integers(0, 11)  # a place in the committee, round and round; the last one stands for anybody
keys = st.sampled_from(KEYS)
kinds = st.sampled_from(["add", "promote", "promote", "remove"])


@dataclass
class Person:
    """What the model knows of a member; `since` is when it got its role."""

    votes: bool
    key: str
    since: int
    attested: int = 0
    rotated_ms: int = 0


@dataclass
class Motion:
    """What the model knows of a proposal."""

    kind: str
    name: str
    key: str
    by: str
    made: int
    until_ms: int
    votes: dict[str, tuple[int, bool]] = field(default_factory=dict)
    status: str = "open"


class Refusal(Exception):  # noqa: N818
    """The model's way of failing a call with a code."""


class Model:
    """The rules, written down a second time."""

    def __init__(self, count: int) -> None:
        self.people = {name: Person(True, name, 0) for name in NAMES[:count]}
        self.used = {person.key for person in self.people.values()}
        self.motions: list[Motion] = []
        self.epoch = 0
        self.changed = 0
        self.certificates = 0

    @property
    def committee(self) -> list[str]:
        return sorted(name for name, person in self.people.items() if person.votes)

    def change(self, height: int) -> None:
        if self.changed == height:
            raise Refusal("ONE_CHANGE_A_BLOCK")
        self.changed, self.epoch = height, self.epoch + 1

    def by_voter(self, name: str) -> None:
        if name not in self.people:
            raise Refusal("NOT_A_MEMBER")
        if not self.people[name].votes:
            raise Refusal("NOT_A_VALIDATOR")

    def check(self, motion: Motion) -> None:
        person = self.people.get(motion.name)
        if motion.kind == "add":
            if person is not None:
                raise Refusal("MEMBER_EXISTS")
            if motion.key in self.used:
                raise Refusal("KEY_USED")
        elif person is None:
            raise Refusal("UNKNOWN_MEMBER")
        elif motion.kind == "promote" and person.votes:
            raise Refusal("NOT_AN_OBSERVER")
        elif motion.kind == "remove" and person.votes and len(self.committee) in (1, 4):
            raise Refusal("TOO_FEW_MEMBERS")

    def propose(self, motion: Motion, height: int, now_ms: int) -> None:
        self.by_voter(motion.by)
        still = [item for item in self.motions if item.status == "open" and item.until_ms >= now_ms]
        if sum(item.by == motion.by for item in still) >= (MAX_OPEN_BY_MEMBER if len(still) < MAX_OPEN_PROPOSALS else 1):
            raise Refusal("TOO_MANY_PROPOSALS")
        self.check(motion)
        self.cast(motion, motion.by, height, approve=True)
        self.motions.append(motion)

    def vote(self, number: int, name: str, height: int, now_ms: int, *, approve: bool) -> None:
        self.by_voter(name)
        if not 0 < number <= len(self.motions):
            raise Refusal("UNKNOWN_PROPOSAL")
        motion = self.motions[number - 1]
        if motion.status != "open":
            raise Refusal("PROPOSAL_CLOSED")
        if now_ms > motion.until_ms:
            raise Refusal("PROPOSAL_EXPIRED")
        before = dict(motion.votes)
        try:
            self.cast(motion, name, height, approve=approve)
        except Refusal:
            motion.votes = before
            raise

    def counted(self, motion: Motion) -> list[bool]:
        valid = ((self.people.get(name), height, approve) for name, (height, approve) in motion.votes.items())
        return [approve for person, height, approve in valid if person and person.votes and person.since <= height]

    def cast(self, motion: Motion, name: str, height: int, *, approve: bool) -> None:
        motion.votes[name] = (height, approve)
        counted = self.counted(motion)
        n = len(self.committee)
        if approve and sum(counted) >= quorum_size(n):
            self.execute(motion, height)
            motion.status = "executed"
        elif n - counted.count(False) < quorum_size(n):
            motion.status = "rejected"

    def execute(self, motion: Motion, height: int) -> None:
        self.check(motion)
        if motion.kind == "add":
            self.people[motion.name] = Person(False, motion.key, height)
            self.used.add(motion.key)
            return
        person = self.people[motion.name]
        if person.since >= motion.made:
            raise Refusal("STALE_PROPOSAL")
        if motion.kind == "remove":
            if person.votes:
                self.change(height)
            del self.people[motion.name]
            return
        if not person.attested or height - person.attested > 100:
            raise Refusal("NOT_SYNCED")
        self.change(height)
        person.votes, person.since = True, height

    def rotate(self, name: str, key: str, height: int, now_ms: int, *, held: bool) -> None:
        if name not in self.people:
            raise Refusal("NOT_A_MEMBER")
        person = self.people[name]
        if person.rotated_ms and now_ms < person.rotated_ms + DAY_MS:
            raise Refusal("ROTATED_TOO_SOON")
        if key in self.used:
            raise Refusal("KEY_USED")
        if not held:
            raise Refusal("BAD_POSSESSION")
        if person.votes:
            self.change(height)
        person.key, person.rotated_ms = key, now_ms
        self.used.add(key)

    def attest(self, name: str, height: int) -> None:
        if name not in self.people:
            raise Refusal("NOT_A_MEMBER")
        if self.people[name].votes:
            raise Refusal("NOT_AN_OBSERVER")
        self.people[name].attested = max(self.people[name].attested, height)


class GovernanceMachine(RuleBasedStateMachine):
    """Calls gather into a block; `commit` executes it and asks the model for the fate of each."""

    @initialize(count=st.integers(1, 6))
    def begin(self, count: int) -> None:
        self.chain = GovernanceChain(NAMES[:count])
        self.model = Model(count)
        self.waiting: list[tuple[Transaction, Any]] = []
        self.seen_keys = {member.id: member.public_key for member in self.chain.committee.members}
        self.ever_used = set(self.seen_keys.values())
        self.largest = count
        self.serial = itertools.count()

    def call(self, name: str, method: Any, *args: Any, model: Any) -> None:
        """Put a call into the next block; `model(height, now_ms)` does the same there."""
        self.waiting.append((self.chain.transaction(voter(name), self.chain.call(method, *args)), model))

    def voter_at(self, seat: int) -> str:
        """Return who sits there; a few who may not be members at all see to the refusals."""
        committee = self.model.committee
        return NAMES[self.chain.height % len(NAMES)] if seat == 11 else committee[seat % len(committee)]

    def motion(self, by: str, kind: str, name: str, key: str) -> None:
        def model(height: int, now_ms: int) -> None:
            self.model.propose(Motion(kind, name, key, by, height, now_ms + EXPIRY_MS), height, now_ms)

        if kind == "add":
            new = candidate(name, public_key=key_of(key), certificate=f"certificate {next(self.serial)}".encode())
            self.call(by, Governance.propose_add_observer, name, new, "", None, model=model)
        else:
            method = Governance.propose_promote if kind == "promote" else Governance.propose_remove
            self.call(by, method, name, "", None, model=model)

    @rule(seat=seats, kind=kinds, name=names, key=keys)
    def propose(self, seat: int, kind: str, name: str, key: str) -> None:
        self.motion(self.voter_at(seat), kind, name, key)

    @rule(back=st.integers(0, 3), seat=seats, approve=st.booleans())
    def vote(self, back: int, seat: int, *, approve: bool) -> None:
        """Vote on one of the last proposals, or on the next one that there may be."""
        self.cast(len(self.model.motions) + 1 - back, self.voter_at(seat), approve=approve)

    def cast(self, number: int, name: str, *, approve: bool) -> None:
        if number >= 0:
            self.call(
                name,
                Governance.vote,
                number,
                approve,
                model=lambda height, now_ms: self.model.vote(number, name, height, now_ms, approve=approve),
            )

    @precondition(lambda self: any(motion.status == "open" for motion in self.model.motions))
    @rule(data=st.data(), approve=st.integers(0, 9).map(bool))
    def everybody_votes(self, data: st.DataObject, *, approve: bool) -> None:
        """Carry one open proposal to its end, as random votes seldom would."""
        open_ones = [number for number, motion in enumerate(self.model.motions, 1) if motion.status == "open"]
        number = data.draw(st.sampled_from(open_ones))
        for name in self.model.committee:
            self.cast(number, name, approve=approve)

    @rule(seat=st.integers(0, 10), kind=kinds, name=names, key=keys)
    def everybody_agrees(self, seat: int, kind: str, name: str, key: str) -> None:
        """Propose, and let all approve in one block; beside what else waits, it may be one change too many."""
        self.motion(self.voter_at(seat), kind, name, key)
        self.commit()
        for each in self.model.committee:
            self.cast(len(self.model.motions), each, approve=True)

    @rule(seat=st.integers(0, 10), name=names, key=keys)
    def join(self, seat: int, name: str, key: str) -> None:
        """Bring a member in all the way, if the name and the key are free."""
        self.everybody_agrees(seat, "add", name, key)
        self.attest(name)
        self.everybody_agrees(seat, "promote", name, key)

    @rule(seat=seats, key=keys, held=st.integers(0, 9).map(bool))
    def rotate(self, seat: int, key: str, *, held: bool) -> None:
        name = self.voter_at(seat)
        self.call(
            name,
            Governance.rotate_key,
            key_of(key),
            possession(name, key_of(key), name if held else "another"),
            model=lambda height, now_ms: self.model.rotate(name, key, height, now_ms, held=held),
        )

    @rule(name=names)
    def attest(self, name: str) -> None:
        self.commit()
        height = self.chain.height - 1
        self.call(
            name,
            Governance.attest_synced,
            height,
            block_hash(height),
            model=lambda _height, _now: self.model.attest(name, height),
        )

    @rule(blocks=st.sampled_from([1, 4, 60]))
    def wait(self, blocks: int) -> None:
        self.commit()
        self.chain.idle(blocks)

    @rule(days=st.integers(1, 8))
    def sleep(self, days: int) -> None:
        self.commit()
        self.chain.advance(days * DAY_MS)

    @rule()
    def commit(self) -> None:
        """Execute what waits; chain and model must agree on every call and on what comes out."""
        height, now_ms = self.chain.context.height, self.chain.context.timestamp_ms
        waiting, self.waiting = self.waiting, []
        before, epoch = self.chain.membership, self.chain.committee.epoch
        execution = self.chain.block(*(transaction for transaction, _ in waiting))
        for (_, model), receipt in zip(waiting, execution.receipts, strict=True):
            assert code_or_none(receipt) == refusal_or_none(model, height, now_ms)
        after = self.chain.membership
        assert after.committee.epoch - epoch == int(after.committee.hash(bytes(32)) != before.committee.hash(bytes(32)))
        assert after.committee.epoch <= epoch + 1
        assert after == before or touches_membership(execution.changes)
        self.note_keys()

    def note_keys(self) -> None:
        """No key is ever taken up that anybody had before."""
        membership = self.chain.membership
        now = {member.id: member.public_key for member in (*membership.committee.members, *membership.observers)}
        for name, key in now.items():
            assert self.seen_keys.get(name) == key or key not in self.ever_used
        assert len(set(now.values())) == len(now)
        self.seen_keys = now
        self.ever_used |= set(now.values())

    @invariant()
    def the_state_is_the_model_s(self) -> None:
        committee, model = self.chain.committee, self.model
        assert [member.id for member in committee.members] == model.committee
        assert committee.epoch == model.epoch
        found = {member.id: member.public_key for member in (*committee.members, *self.chain.membership.observers)}
        assert found == {name: key_of(person.key) for name, person in model.people.items()}

    @invariant()
    def proposals_stand_as_the_model_says(self) -> None:
        now_ms = self.chain.context.timestamp_ms
        for number, motion in enumerate(self.model.motions, 1):
            tally = self.chain.tally(number)
            expired = motion.status == "open" and now_ms > motion.until_ms
            assert tally.proposal.status == ("expired" if expired else motion.status)
            counted = self.model.counted(motion)
            if motion.status == "open":
                assert (tally.approvals, tally.rejections) == (counted.count(True), counted.count(False))

    @invariant()
    def a_committee_that_bears_a_fault_keeps_bearing_one(self) -> None:
        size = self.chain.committee.size
        self.largest = max(self.largest, size)
        assert size >= (4 if self.largest >= 4 else 1)


def code_or_none(receipt: Receipt) -> str | None:
    assert (receipt.error is None) == (receipt.status is Status.SUCCEEDED)
    return None if receipt.error is None else receipt.error.code


def refusal_or_none(model: Any, height: int, now_ms: int) -> str | None:
    try:
        model(height, now_ms)
    except Refusal as refusal:
        return str(refusal)
    return None


GovernanceMachine.TestCase.settings = settings(max_examples=30, stateful_step_count=30, deadline=None)
TestGovernance = GovernanceMachine.TestCase

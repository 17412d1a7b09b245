"""The multisig contract against a model of a page: any order of proposals, approvals, second thoughts and expiry, by anybody."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from ledger.codec import encode
from ledger.crypto import public_key
from ledger.policy import KeyPolicy
from ledger.types import Motes
from tests.vm_harness import TREASURY, Account, Chain, account
from vm.contracts.asset import Asset
from vm.contracts.deadlines import DAY_MS, DEFAULT_EXPIRY_MS
from vm.contracts.multisig import Multisig
from vm.contracts.multisig_types import MAX_OPEN_BY_KEY, NAME, SignerPolicy
from vm.contracts.planned_calls import PlannedCall

PEOPLE = [account(f"person {number}") for number in range(5)]
SHOP = account("shop")
GAS_LIMIT = 5_000_000
START = 1_000


def policy(threshold: int, members: tuple[int, ...]) -> SignerPolicy:
    return SignerPolicy(threshold, tuple(sorted(public_key(PEOPLE[at].seed) for at in members)))


GROUPS = [(2, (0, 1, 2)), (1, (0, 1)), (3, (1, 2, 3, 4)), (2, (0, 1))]
POLICIES = [policy(*group) for group in GROUPS]
ACCOUNTS = [KeyPolicy(each.threshold, each.keys).address for each in POLICIES]
people = st.integers(0, 4)
words = st.sampled_from(["approve", "approve", "approve", "reject", "revoke", "cancel"])


class RefusalError(Exception):
    """The model refuses, with the code that the contract should answer."""


@dataclass
class Plan:
    """What the model knows of a proposal: it pays `amounts` from the group's account, all or none."""

    group: int
    by: int
    amounts: list[int]
    until_ms: int
    yes: set[int] = field(default_factory=set)
    no: set[int] = field(default_factory=set)
    status: str = "open"


class MultisigMachine(RuleBasedStateMachine):
    """Runs the contract and the model side by side, one call in a block."""

    @initialize()
    def begin(self) -> None:
        self.chain = Chain({NAME: Multisig})
        for address in ACCOUNTS:
            self.chain.free(TREASURY, Asset.transfer, address, Motes(START))
        self.money = [START] * len(GROUPS)
        self.plans: list[Plan] = []

    def send(self, by: int, model: Callable[[int], None], method: Any, *args: Any) -> None:
        now_ms, sender = self.chain.context.timestamp_ms, PEOPLE[by]
        receipt = self.chain.send(sender, method, *args, gas_limit=GAS_LIMIT)
        expected = None
        try:
            model(now_ms)
        except RefusalError as refusal:
            expected = str(refusal)
        assert (None if receipt.error is None else receipt.error.code) == expected

    def pay(self, amount: int) -> PlannedCall:
        call = self.chain.call(Asset.transfer, SHOP.address, Motes(amount))
        return PlannedCall(call.contract, call.method, encode(call.args))

    def approve_in_model(self, plan: Plan, by: int) -> None:
        threshold = GROUPS[plan.group][0]
        if len(plan.yes | {by}) >= threshold:
            if sum(plan.amounts) > self.money[plan.group]:
                raise RefusalError("INSUFFICIENT_FUNDS")
            self.money[plan.group] -= sum(plan.amounts)
            plan.status = "executed"
        plan.yes.add(by)
        plan.no.discard(by)

    @rule(group=st.integers(0, 3), by=people, amounts=st.lists(st.sampled_from([1, 100, 600]), min_size=1, max_size=3))
    def propose(self, group: int, by: int, amounts: list[int]) -> None:
        def model(now_ms: int) -> None:
            if by not in GROUPS[group][1]:
                raise RefusalError("NOT_A_SIGNER")
            mine = [each for each in self.plans if (each.group, each.by, each.status) == (group, by, "open")]
            if sum(each.until_ms >= now_ms for each in mine) >= MAX_OPEN_BY_KEY:
                raise RefusalError("TOO_MANY_PROPOSALS")
            plan = Plan(group, by, amounts, now_ms + DEFAULT_EXPIRY_MS)
            self.approve_in_model(plan, by)
            self.plans.append(plan)

        calls = tuple(self.pay(amount) for amount in amounts)
        self.send(by, model, Multisig.propose, POLICIES[group], calls, "", None)

    def judge(self, plan: Plan, by: int, now_ms: int) -> None:
        if plan.status != "open":
            raise RefusalError("PROPOSAL_CLOSED")
        if now_ms > plan.until_ms:
            raise RefusalError("PROPOSAL_EXPIRED")
        if by not in GROUPS[plan.group][1]:
            raise RefusalError("NOT_A_SIGNER")

    @precondition(lambda self: self.plans)
    @rule(
        back=st.integers(0, 4), by=people, what=st.sampled_from(["approve", "approve", "approve", "reject", "revoke", "cancel"])
    )
    def say(self, back: int, by: int, what: str) -> None:
        number = max(1, len(self.plans) - back)
        plan = self.plans[number - 1]

        def model(now_ms: int) -> None:
            self.judge(plan, by, now_ms)
            if what == "approve":
                self.approve_in_model(plan, by)
            elif what == "reject":
                plan.no.add(by)
                plan.yes.discard(by)
                threshold, members = GROUPS[plan.group]
                plan.status = "open" if len(members) - len(plan.no) >= threshold else "rejected"
            elif what == "revoke":
                if by not in plan.yes | plan.no:
                    raise RefusalError("NOTHING_SAID")
                plan.yes.discard(by)
                plan.no.discard(by)
            elif by != plan.by:
                raise RefusalError("NOT_PERMITTED")
            else:
                plan.status = "cancelled"

        self.send(by, model, getattr(Multisig, what), number)

    @rule(group=st.integers(0, 3), amount=st.sampled_from([100, 700]))
    def earn(self, group: int, amount: int) -> None:
        self.chain.free(TREASURY, Asset.transfer, ACCOUNTS[group], Motes(amount))
        self.money[group] += amount

    @rule(days=st.integers(1, 4))
    def sleep(self, days: int) -> None:
        self.chain.advance(days * DAY_MS)

    @invariant()
    def money_moves_as_was_agreed_and_once(self) -> None:
        assert [self.chain.balance(address).free for address in ACCOUNTS] == self.money
        paid = sum(sum(plan.amounts) for plan in self.plans if plan.status == "executed")
        assert self.chain.balance(SHOP).free == paid

    @invariant()
    def proposals_stand_as_the_model_says(self) -> None:
        now_ms = self.chain.context.timestamp_ms
        for number, plan in list(enumerate(self.plans, 1))[-5:]:
            found = self.chain.query(Multisig.get, number).proposal
            expired = plan.status == "open" and now_ms > plan.until_ms
            assert found.status == ("expired" if expired else plan.status)
            assert {signer_of(key) for key in found.approvals} == plan.yes
            assert {signer_of(key) for key in found.rejections} == plan.no
            assert plan.status != "executed" or len(plan.yes) >= GROUPS[plan.group][0]
        for group, address in enumerate(ACCOUNTS):
            live = [
                number
                for number, plan in enumerate(self.plans, 1)
                if (plan.group, plan.status) == (group, "open") and plan.until_ms >= now_ms
            ]
            assert list(self.chain.query(Multisig.open_of, address)) == live


def signer_of(key: bytes) -> int:
    return next(at for at, person in enumerate(PEOPLE) if key_of(person) == key)


def key_of(person: Account) -> bytes:
    return public_key(person.seed)


MultisigMachine.TestCase.settings = settings(max_examples=25, stateful_step_count=30, deadline=None)
TestMultisig = MultisigMachine.TestCase

"""The native asset against a model of a few lines: any order of transfers and holds, by anybody, with and without fees."""

from dataclasses import replace
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, rule

from ledger.block import Receipt, Status
from ledger.policy import contract_address
from ledger.types import Motes
from tests.vm_harness import FEES, Account, Chain, account
from tests.vm_toys import Toy
from vm.contracts.asset import Asset

PEOPLE = [account(name) for name in ("alice", "bob", "carl")]
TOY = contract_address("toy")
GAS_LIMIT = 200_000
amounts = st.integers(0, 400) | st.integers(0, 2**64 - 1)
people = st.sampled_from(PEOPLE)


class AssetMachine(RuleBasedStateMachine):
    """The chain and the model take the same steps; every step the chain refuses, the model refuses too."""

    holds: ClassVar[Bundle[Any]] = Bundle("holds")

    @initialize(price=st.sampled_from([0, 1]))
    def start(self, price: int) -> None:
        self.chain = Chain({"toy": Toy}, genesis={"toy": (0,)})
        self.funds = 1_000 + price * 10_000_000
        for person in PEOPLE:
            self.chain.account(person.name, self.funds)
        self.chain.context = replace(self.chain.context, gas_price_motes=price)
        self.free = {person.address: self.funds for person in PEOPLE}
        self.held: dict[bytes, list[Any]] = {}
        self.fees = 0

    def send(self, sender: Account, method: Any, *args: Any) -> Receipt:
        """Send, and take the fee off the model."""
        receipt = self.chain.send(sender, method, *args, gas_limit=GAS_LIMIT)
        fee = receipt.gas_used * self.chain.context.gas_price_motes
        self.free[sender.address] -= fee
        self.fees += fee
        return receipt

    def affords(self, sender: Account, amount: int) -> bool:
        reserve = GAS_LIMIT * self.chain.context.gas_price_motes
        return 0 < amount <= self.free[sender.address] - reserve

    def agree(self, receipt: Receipt, expected: bool) -> bool:
        assert (receipt.status is Status.SUCCEEDED) == expected, receipt.error
        return expected

    @rule(sender=people, recipient=people, amount=amounts)
    def transfer(self, sender: Account, recipient: Account, amount: int) -> None:
        expected = self.affords(sender, amount)
        if self.agree(self.send(sender, Asset.transfer, recipient.address, Motes(amount)), expected):
            self.free[sender.address] -= amount
            self.free[recipient.address] += amount

    @rule(target=holds, owner=people, holder=people | st.none(), amount=amounts)
    def hold(self, owner: Account, holder: Account | None, amount: int) -> Any:
        """Hold for a contract or for a person."""
        deadline_ms = self.chain.context.timestamp_ms + 10_000
        expected = self.affords(owner, amount) and holder != owner
        if holder is None:
            receipt = self.send(owner, Toy.hold, owner.address, Motes(amount))
        else:
            receipt = self.send(owner, Asset.hold_for, holder.address, Motes(amount), "x", deadline_ms)
        if not self.agree(receipt, expected):
            return b"\x00" * 32
        hold_id = receipt.results[0]
        assert isinstance(hold_id, bytes)
        self.free[owner.address] -= amount
        self.held[hold_id] = [owner, holder, amount, deadline_ms]
        return hold_id

    @rule(hold_id=holds, sender=people, recipient=people, amount=amounts, by_contract=st.booleans())
    def capture(self, hold_id: bytes, sender: Account, recipient: Account, amount: int, by_contract: bool) -> None:
        method = Toy.capture if by_contract else Asset.capture
        hold = self.held.get(hold_id)
        holder = None if by_contract else sender
        expected = hold is not None and hold[1] == holder and 0 < amount <= hold[2]
        receipt = self.send(sender, method, hold_id, Motes(amount), recipient.address)
        if self.agree(receipt, expected) and hold is not None:
            hold[2] -= amount
            self.free[recipient.address] += amount
            if hold[2] == 0:
                del self.held[hold_id]

    @rule(hold_id=holds, sender=people, by_contract=st.booleans())
    def release(self, hold_id: bytes, sender: Account, by_contract: bool) -> None:
        hold = self.held.get(hold_id)
        expected = hold is not None and hold[1] == (None if by_contract else sender)
        receipt = self.send(sender, Toy.release if by_contract else Asset.release, hold_id)
        if self.agree(receipt, expected) and hold is not None:
            self.free[hold[0].address] += hold[2]
            del self.held[hold_id]

    @rule(hold_id=holds, sender=people)
    def reclaim(self, hold_id: bytes, sender: Account) -> None:
        hold = self.held.get(hold_id)
        expected = hold is not None and hold[0] == sender and self.chain.context.timestamp_ms > hold[3]
        if self.agree(self.send(sender, Asset.reclaim, hold_id), expected) and hold is not None:
            self.free[hold[0].address] += hold[2]
            del self.held[hold_id]

    @rule(milliseconds=st.integers(0, 12_000))
    def wait(self, milliseconds: int) -> None:
        self.chain.advance(milliseconds)

    @invariant()
    def balances_are_the_models(self) -> None:
        """The harness itself checks the supply and the sum of the holds after every block."""
        if not hasattr(self, "chain"):
            return
        for person in PEOPLE:
            balance = self.chain.balance(person)
            held = sum(hold[2] for hold in self.held.values() if hold[0] == person)
            assert (balance.free, balance.held, balance.locked) == (self.free[person.address], held, 0)
        assert self.chain.balance(FEES).free == self.fees
        assert self.chain.balance(TOY).free == 0


AssetMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=30, deadline=None)
TestAsset = AssetMachine.TestCase

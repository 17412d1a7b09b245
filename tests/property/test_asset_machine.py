"""The asset contract against a model: any order of everything it can do, by anybody, right and wrong, over years.

The model says of each step how it ends, down to the code of the error. After each step every account, hold, lock, allowance and
supply in the state is the model's; what failed left the state's bytes as they were.
"""

import calendar
from collections import defaultdict
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar, Final

from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, precondition, rule

from ledger.block import Receipt, ReceiptKind, Status
from ledger.policy import contract_address
from ledger.types import Address, Motes
from tests.asset_chain import founded, stored_fields
from tests.asset_toys import Keeper, Steward
from tests.supply import check_state
from tests.vm_harness import START_MS, TREASURY, Account, account
from vm.contracts.asset import FEES, GOVERNANCE, SUPPLY, Allocation, Asset, Category, Payment, Reward, Rights, Schedule

PEOPLE: Final = [account(name) for name in ("alice", "bob", "carl")]
ALICE, BOB, CARL = PEOPLE
KEEPER: Final = contract_address("keeper")
EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
NOBODYS: Final = Address(bytes(33))
GAS_LIMIT: Final = 20_000_000
MAX_UNITS: Final = 2**64 - 1

people = st.sampled_from(PEOPLE)
recipients = st.sampled_from([*(person.address for person in PEOPLE)] * 4 + [KEEPER, NOBODYS])
amounts = st.integers(0, 60) | st.integers(0, 60) | st.integers(0, 400) | st.sampled_from([0, 1, 2**63, MAX_UNITS])
symbols = st.sampled_from(["DATR", "DATR", "ONE", "TWO"])
strangers = st.sampled_from([None, None, None, *(person.address for person in PEOPLE), KEEPER])
purposes = st.sampled_from(["grant", "grant", "grant", " "])
waits = st.sampled_from([0, 1, 999, 86_400_000, 30 * 86_400_000, 400 * 86_400_000])
schedules = st.builds(
    Schedule,
    st.integers(START_MS - 10**9, START_MS + 10**11),
    st.integers(0, 14),
    st.sampled_from([0, 1, 7, 40, 10**6]).map(Motes),
)
rights = st.builds(Rights, st.booleans(), st.booleans(), st.booleans(), st.none() | st.integers(0, 300).map(Motes))


class RefusedError(Exception):
    """The model does not do this; `code` is why."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def need(condition: bool, code: str) -> None:
    """Refuse unless `condition` holds."""
    if not condition:
        raise RefusedError(code)


def later(time_ms: int, months: int) -> int:
    """Add months by the standard library's calendar."""
    start = EPOCH + timedelta(milliseconds=time_ms)
    years, month = divmod(start.month - 1 + months, 12)
    last = calendar.monthrange(start.year + years, month + 1)[1]
    moved = start.replace(year=start.year + years, month=month + 1, day=min(start.day, last))
    return (moved - EPOCH) // timedelta(milliseconds=1)


@dataclass
class ModelLock:
    """Locked money: its releases counted one by one."""

    owner: Address
    left: int
    schedule: Schedule | None
    authority: Address | None
    done: int = 0


@dataclass
class Model:
    """What there is, in plain dicts."""

    free: dict[tuple[str, Address], int] = field(default_factory=dict)
    held: dict[tuple[str, Address], int] = field(default_factory=dict)
    locked: dict[tuple[str, Address], int] = field(default_factory=dict)
    supply: dict[str, int] = field(default_factory=dict)
    rights: dict[str, tuple[Address | None, Rights]] = field(default_factory=dict)
    frozen: dict[tuple[str, Address], Address] = field(default_factory=dict)
    allowances: dict[tuple[str, Address, Address], int] = field(default_factory=dict)
    holds: dict[bytes, list[Any]] = field(default_factory=dict)
    mandates: dict[bytes, Address] = field(default_factory=dict)
    locks: dict[tuple[str, int], ModelLock] = field(default_factory=dict)
    releases: list[tuple[int, int]] = field(default_factory=list)

    def give(self, symbol: str, to: Address, amount: int) -> None:
        self.free[symbol, to] = self.free.get((symbol, to), 0) + amount

    def take(self, symbol: str, owner: Address, amount: int) -> None:
        need((symbol, owner) not in self.frozen, "FROZEN")
        need(self.free.get((symbol, owner), 0) >= amount, "INSUFFICIENT_FUNDS")
        self.free[symbol, owner] = self.free.get((symbol, owner), 0) - amount

    def pay(self, symbol: str, owner: Address, to: Address, amount: int, *, by_contract: bool = False) -> None:
        need(amount > 0, "BAD_AMOUNT")
        self.check_recipient(to, by_contract=by_contract)
        self.take(symbol, owner, amount)
        self.give(symbol, to, amount)

    def check_recipient(self, to: Address, *, by_contract: bool = False) -> None:
        need((to[0] == 0 and to != NOBODYS) or (to[0] == 1 and by_contract), "BAD_RECIPIENT")

    def lock(self, symbol: str, item: Allocation) -> None:
        number = sum(1 for known, _ in self.locks if known == symbol)
        self.locks[symbol, number] = ModelLock(item.address, item.amount, item.schedule, item.authority)
        self.locked[symbol, item.address] = self.locked.get((symbol, item.address), 0) + item.amount

    def allot(self, symbol: str, item: Allocation) -> None:
        need(item.amount > 0, "BAD_AMOUNT")
        if item.schedule is None and item.authority is None:
            self.give(symbol, item.address, item.amount)
            return
        if item.schedule is not None:
            portion, every = item.schedule.portion, item.schedule.every_months
            need(portion > 0 and (every > 0 or portion >= item.amount), "BAD_UNLOCK")
        self.lock(symbol, item)

    def unlock_until(self, now_ms: int) -> None:
        """Release, one by one, what is due."""
        for (symbol, _), lock in self.locks.items():
            terms = lock.schedule
            while terms and lock.left and later(terms.first_ms, lock.done * terms.every_months) <= now_ms:
                amount = min(lock.left, terms.portion)
                lock.left -= amount
                lock.done += 1
                self.locked[symbol, lock.owner] -= amount
                self.give(symbol, lock.owner, amount)

    def decide(self, sender: Address, number: int, amount: int, purpose: str) -> None:
        lock = self.locks.get(("DATR", number))
        if lock is None or lock.authority is None:
            raise RefusedError("UNKNOWN_POOL")
        need(lock.authority == sender, "NOT_PERMITTED")
        need(purpose != " ", "NO_PURPOSE")
        need(0 < amount <= lock.left, "BAD_AMOUNT")
        need(not {("DATR", lock.owner), ("DATR", sender)} & self.frozen.keys(), "FROZEN")
        lock.left -= amount
        self.locked["DATR", lock.owner] -= amount
        self.releases.append((number, amount))

    def end(self, hold: list[Any]) -> None:
        symbol, owner, _, left, _ = hold
        self.held[symbol, owner] -= left
        self.give(symbol, owner, left)
        hold[3] = 0

    def freezer(self, sender: Address, symbol: str) -> None:
        need(symbol in self.rights, "UNKNOWN_ASSET")
        issuer, rights = self.rights[symbol]
        need(sender == GOVERNANCE or (rights.freezable and sender == issuer), "NOT_PERMITTED")

    def accounts(self) -> dict[tuple[str, Address], tuple[int, int, int, bool]]:
        """Return the accounts that must be in the state."""
        keys = {*self.free, *self.held, *self.locked, *self.frozen}
        parts = {key: (self.free.get(key, 0), self.held.get(key, 0), self.locked.get(key, 0), key in self.frozen) for key in keys}
        return {key: value for key, value in parts.items() if any(value)}


class AssetMachine(RuleBasedStateMachine):
    """The chain and the model take the same steps."""

    holds: ClassVar[Bundle[Any]] = Bundle("holds")
    mandates: ClassVar[Bundle[Any]] = Bundle("mandates")

    @initialize()
    def start(self) -> None:
        """Everybody has a little; there are pools, a schedule, collected fees, and an issued asset."""
        given = (
            *(Allocation(person.address, Motes(300), Category.IDO, None, None) for person in PEOPLE),
            Allocation(FEES, Motes(200), Category.OTHER, None, None),
            Allocation(ALICE.address, Motes(400), Category.OPERATION, None, BOB.address),
            Allocation(CARL.address, Motes(400), Category.MINING, None, CARL.address),
            Allocation(BOB.address, Motes(250), Category.TEAM, Schedule(START_MS + 10**10, 1, Motes(40)), None),
        )
        self.chain = founded(*given)
        self.model = Model()
        for item in given:
            self.model.allot("DATR", item)
        self.model.give("DATR", TREASURY.address, SUPPLY - sum(item.amount for item in given))
        self.model.supply["DATR"] = SUPPLY
        self.model.rights["DATR"] = (None, Rights(mintable=False, burnable=True, freezable=False, max_supply=SUPPLY))
        one = (Allocation(ALICE.address, Motes(200), Category.OTHER, None, None),)
        self.issue_as(ALICE, "ONE", one, Rights(mintable=True, burnable=True, freezable=True, max_supply=Motes(500)))

    def step(self, expect: Callable[[], None], sender: Account, method: Any, *args: Any) -> Receipt | None:
        """Take one step on both; return the receipt if both did it, nothing if both refused."""
        snapshot = list(self.chain.state.iterate())
        now_ms = self.chain.context.timestamp_ms
        self.model.unlock_until(now_ms)
        code = ""
        try:
            expect()
        except RefusedError as refused:
            code = refused.code
        transaction = self.chain.transaction(sender, self.chain.call(method, *args), gas_limit=GAS_LIMIT)
        receipt, *scheduled = self.chain.block(transaction).receipts
        assert all(each.status is Status.SUCCEEDED and each.kind is ReceiptKind.SCHEDULED for each in scheduled)
        assert code == ("" if receipt.error is None else receipt.error.code), receipt.error
        if code and not scheduled:
            assert list(self.chain.state.iterate()) == snapshot
        return None if code else receipt

    # ---- payments

    @rule(sender=people, symbol=symbols, to=recipients, amount=amounts)
    def send(self, sender: Account, symbol: str, to: Address, amount: int) -> None:
        self.step(lambda: self.model.pay(symbol, sender.address, to, amount), sender, Asset.send, symbol, to, Motes(amount))

    @rule(sender=people, to=recipients, amount=amounts)
    def transfer(self, sender: Account, to: Address, amount: int) -> None:
        self.step(lambda: self.model.pay("DATR", sender.address, to, amount), sender, Asset.transfer, to, Motes(amount))

    @rule(sender=people, symbol=symbols, payments=st.lists(st.tuples(recipients, st.integers(0, 60)), min_size=1, max_size=4))
    def batch(self, sender: Account, symbol: str, payments: list[tuple[Address, int]]) -> None:
        def expect() -> None:
            for to, amount in payments:
                need(amount > 0, "BAD_AMOUNT")
                self.model.check_recipient(to)
            self.model.take(symbol, sender.address, sum(amount for _, amount in payments))
            for to, amount in payments:
                self.model.give(symbol, to, amount)

        self.step(expect, sender, Asset.transfer_batch, symbol, tuple(Payment(to, Motes(amount)) for to, amount in payments))

    @rule(sender=people, symbol=symbols, spender=people | st.none(), amount=amounts)
    def approve(self, sender: Account, symbol: str, spender: Account | None, amount: int) -> None:
        who = KEEPER if spender is None else spender.address

        def expect() -> None:
            need(who != sender.address, "NOT_PERMITTED")
            need(symbol in self.model.rights, "UNKNOWN_ASSET")
            need(not amount or (symbol, sender.address) not in self.model.frozen, "FROZEN")
            self.model.allowances[symbol, sender.address, who] = amount

        self.step(expect, sender, Asset.approve, symbol, who, Motes(amount))

    @rule(sender=people, symbol=symbols, owner=people, to=recipients, amount=amounts, by_contract=st.booleans())
    def transfer_from(self, sender: Account, symbol: str, owner: Account, to: Address, amount: int, by_contract: bool) -> None:
        self.spend((symbol, owner.address, KEEPER if by_contract else sender.address), to, amount)

    @precondition(lambda self: any(self.model.allowances.values()))
    @rule(data=st.data(), to=recipients, amount=amounts)
    def transfer_as_allowed(self, data: st.DataObject, to: Address, amount: int) -> None:
        allowed = [key for key, left in self.model.allowances.items() if left]
        self.spend(data.draw(st.sampled_from(allowed)), to, amount)

    def spend(self, key: tuple[str, Address, Address], to: Address, amount: int) -> None:
        """Send by allowance."""
        symbol, owner, spender = key

        def expect() -> None:
            allowed = self.model.allowances.get(key, 0)
            need(amount <= allowed, "INSUFFICIENT_ALLOWANCE")
            self.model.pay(symbol, owner, to, amount, by_contract=spender == KEEPER)
            self.model.allowances[key] = allowed - amount

        method = Keeper.spend if spender == KEEPER else Asset.transfer_from
        self.step(expect, self.who(spender), method, symbol, owner, to, Motes(amount))

    def who(self, address: Address) -> Account:
        """Return the person of an address; for a contract's, anybody who may call it."""
        return next((person for person in PEOPLE if person.address == address), BOB)

    # ---- holds and mandates

    @rule(target=holds, owner=people, symbol=symbols, holder=people | st.none(), amount=amounts, ahead=waits)
    def hold(self, owner: Account, symbol: str, holder: Account | None, amount: int, ahead: int) -> Any:
        deadline_ms = self.chain.context.timestamp_ms + ahead
        who = KEEPER if holder is None else holder.address

        def expect() -> None:
            need(who != owner.address, "NOT_PERMITTED")
            need(amount > 0, "BAD_AMOUNT")
            need(ahead > 0, "BAD_DEADLINE")
            self.model.take(symbol, owner.address, amount)
            self.model.held[symbol, owner.address] = self.model.held.get((symbol, owner.address), 0) + amount

        if holder is None:
            receipt = self.step(expect, owner, Keeper.hold, symbol, owner.address, Motes(amount), deadline_ms)
        else:
            receipt = self.step(expect, owner, Asset.hold_asset_for, symbol, who, Motes(amount), "kept", deadline_ms)
        if receipt is None:
            return multiple()
        [hold_id] = receipt.results
        assert isinstance(hold_id, bytes)
        self.model.holds[hold_id] = [symbol, owner.address, who, amount, deadline_ms]
        return hold_id

    @rule(hold_id=holds, to=recipients, amount=amounts, stranger=strangers)
    def capture(self, hold_id: bytes, to: Address, amount: int, stranger: Address | None) -> None:
        sender = stranger or self.part_of(hold_id, 2)

        def expect() -> None:
            hold = self.model.holds.get(hold_id)
            if hold is None:
                raise RefusedError("UNKNOWN_HOLD")
            need(hold[2] == sender, "NOT_PERMITTED")
            need(0 < amount <= hold[3], "BAD_AMOUNT")
            self.model.check_recipient(to, by_contract=sender == KEEPER)
            hold[3] -= amount
            self.model.held[hold[0], hold[1]] -= amount
            self.model.give(hold[0], to, amount)

        method = Keeper.capture if sender == KEEPER else Asset.capture
        self.step(expect, self.who(sender), method, hold_id, Motes(amount), to)
        self.forget(hold_id)

    @rule(hold_id=holds, stranger=strangers)
    def release(self, hold_id: bytes, stranger: Address | None) -> None:
        sender = stranger or self.part_of(hold_id, 2)

        def expect() -> None:
            hold = self.model.holds.get(hold_id)
            if hold is None:
                raise RefusedError("UNKNOWN_HOLD")
            need(hold[2] == sender, "NOT_PERMITTED")
            self.model.end(hold)

        self.step(expect, self.who(sender), Keeper.release if sender == KEEPER else Asset.release, hold_id)
        self.forget(hold_id)

    @rule(hold_id=holds, stranger=strangers)
    def reclaim(self, hold_id: bytes, stranger: Address | None) -> None:
        sender, now_ms = self.who(stranger or self.part_of(hold_id, 1)), self.chain.context.timestamp_ms

        def expect() -> None:
            hold = self.model.holds.get(hold_id)
            if hold is None:
                raise RefusedError("UNKNOWN_HOLD")
            need(hold[1] == sender.address, "NOT_PERMITTED")
            need(now_ms > hold[4], "NOT_YET")
            self.model.end(hold)

        self.step(expect, sender, Asset.reclaim, hold_id)
        self.forget(hold_id)

    def part_of(self, hold_id: bytes, part: int) -> Address:
        """Return the owner (1) or holder (2) of a hold; of one that is used up, anybody."""
        hold = self.model.holds.get(hold_id)
        address: Address = ALICE.address if hold is None else hold[part]
        return address

    def forget(self, hold_id: bytes) -> None:
        """A hold that is used up is none."""
        if hold_id in self.model.holds and not self.model.holds[hold_id][3]:
            del self.model.holds[hold_id]

    @rule(target=mandates, sender=people, owner=people)
    def grant(self, sender: Account, owner: Account) -> Any:
        receipt = self.step(lambda: need(sender == owner, "NOT_PERMITTED"), sender, Keeper.grant, owner.address)
        if receipt is None:
            return multiple()
        [mandate_id] = receipt.results
        assert isinstance(mandate_id, bytes)
        self.model.mandates[mandate_id] = owner.address
        return mandate_id

    @rule(mandate_id=mandates, sender=people, to=recipients, amount=amounts, by_contract=st.booleans())
    def draw(self, mandate_id: bytes, sender: Account, to: Address, amount: int, by_contract: bool) -> None:
        paid = 0

        def expect() -> None:
            nonlocal paid
            need(mandate_id in self.model.mandates, "UNKNOWN_MANDATE")
            need(by_contract, "NOT_PERMITTED")
            self.model.check_recipient(to, by_contract=True)
            owner = self.model.mandates[mandate_id]
            if ("DATR", owner) not in self.model.frozen:
                paid = min(amount, self.model.free.get(("DATR", owner), 0))
                self.model.take("DATR", owner, paid)
                self.model.give("DATR", to, paid)

        receipt = self.step(expect, sender, Keeper.draw if by_contract else Asset.draw, mandate_id, Motes(amount), to)
        assert receipt is None or receipt.results == (paid,)

    @rule(mandate_id=mandates, sender=people, by_contract=st.booleans())
    def revoke(self, mandate_id: bytes, sender: Account, by_contract: bool) -> None:
        def expect() -> None:
            need(mandate_id in self.model.mandates, "UNKNOWN_MANDATE")
            need(by_contract, "NOT_PERMITTED")
            del self.model.mandates[mandate_id]

        self.step(expect, sender, Keeper.revoke if by_contract else Asset.revoke, mandate_id)

    # ---- issued assets

    @rule(
        sender=people,
        symbol=st.sampled_from(["DATR", "ONE", "TWO", "TWO", "two"]),
        parts=st.lists(st.tuples(people, st.integers(0, 100), schedules | st.none()), max_size=3),
        rights=rights,
    )
    def issue(self, sender: Account, symbol: str, parts: list[tuple[Account, int, Schedule | None]], rights: Rights) -> None:
        allocations = tuple(Allocation(who.address, Motes(amount), Category.OTHER, terms, None) for who, amount, terms in parts)
        self.issue_as(sender, symbol, allocations, rights)

    def issue_as(self, sender: Account, symbol: str, allocations: tuple[Allocation, ...], rights: Rights) -> None:
        most = MAX_UNITS if rights.max_supply is None else rights.max_supply
        total = sum(item.amount for item in allocations)

        def expect() -> None:
            need(symbol.isupper(), "BAD_SYMBOL")
            need(symbol not in self.model.rights, "ASSET_EXISTS")
            need(total <= most, "MAX_SUPPLY")
            need(total > 0 or (rights.mintable and most > 0), "BAD_SUPPLY")
            made = Model()
            for item in allocations:
                made.allot(symbol, item)
            for mine, new in ((self.model.free, made.free), (self.model.locked, made.locked)):
                mine.update(new)
            self.model.locks.update(made.locks)
            self.model.supply[symbol] = total
            self.model.rights[symbol] = (sender.address, rights)

        self.step(expect, sender, Asset.issue, symbol, "An asset", 2, allocations, rights)

    @rule(sender=people, symbol=symbols, to=recipients, amount=amounts)
    def mint(self, sender: Account, symbol: str, to: Address, amount: int) -> None:
        def expect() -> None:
            need(symbol in self.model.rights, "UNKNOWN_ASSET")
            issuer, rights = self.model.rights[symbol]
            need(rights.mintable, "NO_RIGHT")
            need(issuer == sender.address, "NOT_PERMITTED")
            need(amount > 0, "BAD_AMOUNT")
            self.model.check_recipient(to)
            most = MAX_UNITS if rights.max_supply is None else rights.max_supply
            need(self.model.supply[symbol] + amount <= most, "MAX_SUPPLY")
            self.model.supply[symbol] += amount
            self.model.give(symbol, to, amount)

        self.step(expect, sender, Asset.mint, symbol, to, Motes(amount))

    @rule(sender=people, symbol=symbols, amount=amounts)
    def burn(self, sender: Account, symbol: str, amount: int) -> None:
        def expect() -> None:
            need(symbol in self.model.rights, "UNKNOWN_ASSET")
            need(self.model.rights[symbol][1].burnable, "NO_RIGHT")
            need(amount > 0, "BAD_AMOUNT")
            self.model.take(symbol, sender.address, amount)
            self.model.supply[symbol] -= amount

        self.step(expect, sender, Asset.burn, symbol, Motes(amount))

    # ---- locked money and decisions

    @rule(sender=people, number=st.integers(0, 3), to=recipients, amount=amounts, purpose=purposes)
    def release_pool(self, sender: Account, number: int, to: Address, amount: int, purpose: str) -> None:
        def expect() -> None:
            self.model.check_recipient(to)
            self.model.decide(sender.address, number, amount, purpose)
            self.model.give("DATR", to, amount)

        self.step(expect, sender, Asset.release_pool, number, Motes(amount), to, purpose)

    @rule(
        sender=people,
        number=st.integers(0, 3),
        rewards=st.lists(st.tuples(recipients, st.integers(0, 60)), min_size=1, max_size=3),
        purpose=purposes,
    )
    def pay_rewards(self, sender: Account, number: int, rewards: list[tuple[Address, int]], purpose: str) -> None:
        def expect() -> None:
            for to, amount in rewards:
                need(amount > 0, "BAD_AMOUNT")
                self.model.check_recipient(to)
            self.model.decide(sender.address, number, sum(amount for _, amount in rewards), purpose)
            for to, amount in rewards:
                self.model.give("DATR", to, amount)

        batch = tuple(Reward(to, Motes(amount), "trip") for to, amount in rewards)
        self.step(expect, sender, Asset.pay_rewards, number, batch, purpose)

    @precondition(lambda self: len(self.model.frozen) < 3)
    @rule(sender=people, symbol=symbols, who=people, by_governance=st.booleans())
    def freeze(self, sender: Account, symbol: str, who: Account, by_governance: bool) -> None:
        by = GOVERNANCE if by_governance else sender.address

        def expect() -> None:
            self.model.freezer(by, symbol)
            known = self.model.frozen.get((symbol, who.address))
            need(known is None or (by == GOVERNANCE != known), "FROZEN")
            self.model.frozen[symbol, who.address] = by

        self.step(expect, sender, Steward.freeze if by_governance else Asset.freeze, symbol, who.address, "order")

    @rule(sender=people, symbol=symbols, who=people)
    def unfreeze(self, sender: Account, symbol: str, who: Account) -> None:
        self.thaw(sender.address, (symbol, who.address))

    @precondition(lambda self: self.model.frozen)
    @rule(data=st.data(), by_governance=st.booleans())
    def unfreeze_frozen(self, data: st.DataObject, by_governance: bool) -> None:
        key = data.draw(st.sampled_from(list(self.model.frozen)))
        self.thaw(GOVERNANCE if by_governance else self.model.frozen[key], key)

    def thaw(self, by: Address, key: tuple[str, Address]) -> None:
        """Unfreeze an account."""

        def expect() -> None:
            self.model.freezer(by, key[0])
            need(key in self.model.frozen, "NOT_FROZEN")
            need(by in (GOVERNANCE, self.model.frozen[key]), "NOT_PERMITTED")
            del self.model.frozen[key]

        self.step(expect, self.who(by), Steward.unfreeze if by == GOVERNANCE else Asset.unfreeze, *key)

    @rule(sender=people, to=recipients, amount=amounts, purpose=purposes, by_governance=st.booleans())
    def spend_fees(self, sender: Account, to: Address, amount: int, purpose: str, by_governance: bool) -> None:
        def expect() -> None:
            need(by_governance, "NOT_PERMITTED")
            need(purpose != " ", "NO_PURPOSE")
            self.model.pay("DATR", FEES, to, amount, by_contract=True)

        self.step(expect, sender, Steward.spend_fees if by_governance else Asset.spend_fees, to, Motes(amount), purpose)

    @rule(milliseconds=waits)
    def wait(self, milliseconds: int) -> None:
        """Let time pass, and a block come."""
        self.chain.advance(milliseconds)
        self.model.unlock_until(self.chain.context.timestamp_ms)
        assert all(receipt.status is Status.SUCCEEDED for receipt in self.chain.block().receipts)

    @invariant()
    def the_state_is_the_models(self) -> None:
        """And each asset's money adds up to its supply, in holds to what is held, in locks to what is locked."""
        if not hasattr(self, "chain"):
            return
        assert check_state(self.chain.state).supplies() == self.model.supply
        fields: defaultdict[str, dict[Any, Any]] = defaultdict(dict, stored_fields(self.chain))
        assert fields["accounts"] == self.model.accounts()
        assert {key: lock[2] for key, lock in fields["locks"].items()} == {
            key: lock.left for key, lock in self.model.locks.items()
        }
        holds = {key: [hold[5], hold[0], hold[1], hold[3], hold[4]] for key, hold in fields["holds"].items()}
        assert holds == self.model.holds
        assert fields["allowances"] == {key: left for key, left in self.model.allowances.items() if left}
        assert {key: mandate[0] for key, mandate in fields["mandates"].items()} == self.model.mandates
        assert {key: freeze[0] for key, freeze in fields["freezes"].items()} == self.model.frozen
        assert [(release[0], release[3]) for _, release in sorted(fields["releases"].items())] == self.model.releases


AssetMachine.TestCase.settings = settings(
    max_examples=30, stateful_step_count=40, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
TestAssetMachine = AssetMachine.TestCase

"""The loan contract against a model that replays each loan from its payments: random lives of several loans side by side."""

from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from hypothesis import Phase, settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, consumes, initialize, invariant, multiple, rule

from ledger.block import Status
from ledger.types import Address, Motes
from tests.loan_cases import motes
from tests.loan_chain import HOUR_MS, LoanChain
from tests.vm_harness import Account as Key
from tests.vm_harness import account as key
from vm.calendar import DAY_MS, BusinessDays, Day, local_day, local_midnight_ms
from vm.contracts.asset import Asset
from vm.contracts.loan import Loan
from vm.contracts.loan_types import REVERSAL_DAYS, RUNNING, LoanStatus
from vm.executor import BlockExecution
from vm.loan.account import Account
from vm.loan.state import Instalment
from vm.loan.terms import Amortization, DayCount, EarlyPayment, Terms

LENDERS = [key("lender"), key("bank")]
BORROWERS = [key("borrower"), key("dora")]
PEOPLE = [*LENDERS, *BORROWERS, key("anybody")]
WEALTH = motes("100000")
VEHICLES = ["CAR-1", "CAR-2"]


@st.composite
def some_terms(draw: st.DrawFn) -> Terms:
    """Terms of a loan short enough to live through, with the day of disbursement open."""
    count = draw(st.integers(1, 7))
    retries = draw(st.sets(st.sampled_from([1, 2, 5, 9, 30, 33, 45]), max_size=4))
    return Terms(
        principal=Motes(draw(st.integers(1, 2_000)) * 10**8),
        annual_rate=draw(st.sampled_from([0, 7_000, 30_000])),
        instalments=count,
        disbursed_on=0,
        day_count=draw(st.sampled_from(DayCount)),
        amortization=draw(st.sampled_from(Amortization)),
        principal_grace=draw(st.integers(0, count - 1)),
        interest_grace=draw(st.integers(0, count - 1)),
        due_day=draw(st.sampled_from([0, 0, 1, 31])),
        business_days=draw(st.sampled_from([BusinessDays.SAME, BusinessDays.NEXT])),
        early_payment=draw(st.sampled_from(EarlyPayment)),
        late_fee=motes(draw(st.sampled_from(["0", "3"]))),
        grace_days=draw(st.integers(0, 4)),
        retry_days=tuple(sorted(retries)),
        default_days=draw(st.sampled_from([0, 1, 30])),
        fee_limit=motes(draw(st.sampled_from(["0", "2", "5"]))),
    )


class Excusing(Account):
    """An account that charges some instalments no late fee."""

    numbers: set[int]

    def is_late(self, row: Instalment) -> bool:
        return row.number not in self.numbers and super().is_late(row)


@dataclass
class Model:
    """What the test believes of one loan. Its account is computed anew from what was paid, each time it is asked for."""

    terms: Terms
    lender: Address
    borrower: Address
    lien: str | None
    expires_ms: int
    status: LoanStatus = LoanStatus.OFFERED
    booked: list[tuple[str, int, int, int]] = field(default_factory=list)  # kind, day, amount or instalment, amount of a fee
    payers: list[Address] = field(default_factory=list)
    day: int = 0
    attempt: tuple[int, int, int] | None = None  # due time, order of asking, day
    arrears_from: int = 0
    excused: set[int] = field(default_factory=set)  # their grace days ended while the chain stood still

    @property
    def running(self) -> bool:
        return self.status in RUNNING

    def account(self, day: int | None = None) -> Account:
        """The account on a day, or on the one it has reached."""
        account, returned = self.without(0)
        assert returned == 0
        account.advance(Day(self.day if day is None else day))
        return account

    def without(self, number: int) -> tuple[Account, int]:
        """The account without a booking, after the last of the others, and what they were too much."""
        account, returned = Excusing.opened(self.terms, {}), 0
        account.numbers = self.excused
        for at, (kind, day, amount, fee) in enumerate(self.booked, start=1):
            if kind == "fee":
                account.advance(Day(day))
                account.charge_fee(amount, fee)
            elif kind == "paid" and at != number:
                returned += account.pay(Day(day), amount).returned
        return account, returned

    def next_day(self, *, draws: bool = False) -> int:
        """The next day on which the chain does something by itself, or draws, found by looking at one day after the other."""
        account, terms, day = self.account(), self.terms, self.day
        fallen = [account.instalment(number) for number in range(1, account.state.number)]
        offsets = {*terms.retry_days, *([terms.grace_days + 1] if terms.late_fee and not draws else [])}
        late = {row.due_day + offset for row in fallen if row.outstanding for offset in offsets}
        due = {terms.due_on(number) for number in range(1, terms.instalments + 40)}
        while True:
            day += 1
            if day in late or day in due:
                return day

    def draws_on(self, day: int) -> bool:
        """Whether the attempt of a day draws, or only charges a late fee."""
        account = self.account()
        if any(self.terms.due_on(number) == day for number in range(1, account.state.number + 40)):
            return True
        rows = [account.instalment(number) for number in range(1, account.state.number)]
        return any(day - row.due_day in self.terms.retry_days for row in rows if row.outstanding)


class World(LoanChain):
    """The chain, and beside it the models: before each block they do by hand what the calendar does."""

    def __init__(self) -> None:
        self.models: dict[bytes, Model] = {}
        self.money: dict[Address, int] = {}
        self.order = 0
        super().__init__("2024-01-31")
        for who in PEOPLE:
            self.money[who.address] = 0
            self.enrich(who, WEALTH)

    def enrich(self, who: Key, amount: int) -> None:
        """Bring somebody's free money to an amount."""
        have = self.balance(who).free
        if have < amount:
            self.account(who.name, amount - have)
        elif have > amount:
            self.free_transfer(who, have - amount)
        self.money[who.address] = amount

    def free_transfer(self, who: Key, amount: int) -> None:
        self.do(who, Asset.transfer, key("treasury").address, Motes(amount))

    def block(self, *transactions: Any) -> BlockExecution:
        due = [model for model in self.models.values() if model.attempt and model.attempt[0] <= self.now_ms]
        for model in sorted(due, key=lambda model: model.attempt or (0, 0, 0)):
            self.collect(model)
        for model in self.models.values():
            if model.status is LoanStatus.OFFERED and model.expires_ms <= self.now_ms:
                model.status = LoanStatus.EXPIRED
                self.money[model.lender] += model.terms.principal
        return super().block(*transactions)

    def collect(self, model: Model) -> None:
        """Do what an attempt does."""
        assert model.attempt is not None
        late, terms = model.attempt[2] < self.today, model.terms
        if late:
            numbers = range(model.account().state.next_late, terms.instalments + 1)
            model.excused |= {number for number in numbers if terms.due_on(number) + terms.grace_days < model.attempt[2]}
        model.day = max(model.day, model.attempt[2])
        draws, day = model.draws_on(model.attempt[2]), model.day
        paid = min(model.account().state.due, self.money[model.borrower]) if draws else 0
        model.attempt = None
        if paid:
            self.move(model.borrower, model.lender, paid)
            model.booked.append(("paid", day, paid, 0))
            model.payers.append(model.borrower)
        if late and model.account().state.due:
            model.arrears_from = model.next_day(draws=True)
        self.settle(model)

    def move(self, sender: Address, to: Address, amount: int) -> None:
        self.money[sender] -= amount
        self.money[to] += amount

    def settle(self, model: Model) -> None:
        """Close a loan on which nothing is owed, or plan its next attempt, unless one is overdue."""
        if model.account().is_closed:
            model.status, model.attempt = LoanStatus.CLOSED, None
            return
        if model.attempt and model.attempt[2] <= model.day:
            return
        day = model.next_day()
        if model.attempt is None or model.attempt[2] != day:
            self.order += 1
            model.attempt = (max(local_midnight_ms(Day(day), 0), self.now_ms + 1), self.order, day)

    @property
    def today(self) -> Day:
        """The local day of the next block."""
        return local_day(self.now_ms, 0)

    def settled(self) -> None:
        """Have blocks until nothing is due any more."""
        self.block()
        while any(model.attempt and model.attempt[0] <= self.now_ms for model in self.models.values()):
            self.block()


class LoanMachine(RuleBasedStateMachine):
    """The chain and the models take the same steps; what the chain refuses, the models refuse."""

    offers: ClassVar[Bundle[Any]] = Bundle("offers")
    loans: ClassVar[Bundle[Any]] = Bundle("loans")

    @initialize(target=loans, terms=some_terms())
    def begin(self, terms: Terms) -> Any:
        """There is a loan from the beginning."""
        self.world = World()
        return self.lend(LENDERS[0], BORROWERS[0], terms)

    def send(self, expected: bool, sender: Key, method: Any, *args: Any) -> Any:
        receipt = self.world.send(sender, method, *args, gas_limit=25_000_000)
        assert (receipt.status is Status.SUCCEEDED) == expected, receipt.error
        assert receipt.error is None or receipt.error.code != "CONTRACT_DEFECT"
        return receipt.results[0] if receipt.results else None

    def settled(self, loan_id: bytes) -> Model:
        """A loan, after all that is due was done."""
        self.world.settled()
        return self.world.models[loan_id]

    def live(self, loan_id: bytes) -> tuple[bytes, Model]:
        """A loan, after all that is due was done; one that is over most often stands for one that runs."""
        model = self.settled(loan_id)
        if not model.running and self.world.today % 4:
            running = (each for each in self.world.models.items() if each[1].running)
            return next(running, (loan_id, model))
        return loan_id, model

    @rule(
        target=offers,
        lender=st.sampled_from(LENDERS),
        borrower=st.sampled_from(BORROWERS),
        terms=some_terms(),
        lien=st.none() | st.sampled_from(VEHICLES),
    )
    def offer(self, lender: Key, borrower: Key, terms: Terms, lien: str | None) -> Any:
        self.world.settled()
        expires_ms = self.world.now_ms + 3 * DAY_MS
        enough = self.world.money[lender.address] >= terms.principal
        loan_id = self.send(enough, lender, Loan.offer, terms, borrower.address, None, lien, expires_ms)
        if not enough:
            return multiple()
        self.world.money[lender.address] -= terms.principal
        self.world.models[loan_id] = Model(terms, lender.address, borrower.address, lien, expires_ms)
        return loan_id

    @rule(target=loans, loan_id=consumes(offers), who=st.sampled_from(BORROWERS))
    def accept(self, loan_id: bytes, who: Key) -> Any:
        model = self.settled(loan_id)
        taken = any(other.running and other.lien == model.lien for other in self.world.models.values() if model.lien)
        allowed = model.status is LoanStatus.OFFERED and who.address == model.borrower and not taken
        today = self.world.today
        self.send(allowed, who, Loan.accept, loan_id)
        if not allowed:
            return multiple()
        model.day = today
        model.terms = replace(model.terms, disbursed_on=model.day)
        model.status = LoanStatus.ACTIVE
        self.world.money[model.borrower] += model.terms.principal
        self.world.settle(model)
        return loan_id

    @rule(target=loans, lender=st.sampled_from(LENDERS), borrower=st.sampled_from(BORROWERS), terms=some_terms())
    def lend(self, lender: Key, borrower: Key, terms: Terms) -> Any:
        """Offer a loan and accept it at once, as most are."""
        running = sum(model.running for model in self.world.models.values())
        loan_id = self.offer(lender, borrower, terms, None) if running < 3 else None
        return self.accept(loan_id, borrower) if isinstance(loan_id, bytes) else multiple()

    @rule(loan_id=consumes(offers))
    def withdraw(self, loan_id: bytes) -> None:
        model = self.settled(loan_id)
        allowed = model.status is LoanStatus.OFFERED
        self.send(allowed, self.lender(model), Loan.withdraw, loan_id)
        if allowed:
            model.status = LoanStatus.WITHDRAWN
            self.world.money[model.lender] += model.terms.principal

    def lender(self, model: Model) -> Key:
        return next(lender for lender in LENDERS if lender.address == model.lender)

    @rule(days=st.sampled_from([1, 1, 2, 3, 5, 9, 20, 29, 31, 62]))
    def live_on(self, days: int) -> None:
        """Days pass with a block whenever something is due."""
        self.world.until_ms(self.world.now_ms + days * DAY_MS)

    @rule(days=st.sampled_from([1, 4, 31, 40, 150]), hours=st.integers(0, 23))
    def stand_still(self, days: int, hours: int) -> None:
        """Days pass without a block; then the chain catches up."""
        self.world.advance(days * DAY_MS + hours * HOUR_MS)
        self.world.settled()

    @rule(who=st.sampled_from(BORROWERS), amount=st.sampled_from([0, 0, 1, motes("50"), WEALTH]))
    def come_by(self, who: Key, amount: int) -> None:
        """Somebody becomes poor, or rich."""
        self.world.enrich(who, amount)

    @rule(loan_id=loans, then=st.sampled_from([0, motes("50"), WEALTH]))
    def have_bad_days(self, loan_id: bytes, then: int) -> None:
        """The borrower has nothing on the day of the next attempt, and what he has then on the one after it."""
        loan_id, model = self.live(loan_id)
        borrower = next(who for who in BORROWERS if who.address == model.borrower)
        for amount in (0, then):
            self.world.enrich(borrower, amount)
            if model.attempt:
                self.world.until_ms(model.attempt[0] + HOUR_MS)

    @rule(loan_id=loans, who=st.sampled_from(PEOPLE), share=st.fractions(0, 2, max_denominator=12))
    def pay(self, loan_id: bytes, who: Key, share: Any) -> None:
        (loan_id, model), today = self.live(loan_id), self.world.today
        amount = int(model.terms.principal * share / model.terms.instalments)
        taken = min(amount, model.account(today).payoff) if model.running else 0
        allowed = 0 < taken <= self.world.money[who.address]
        result = self.send(allowed, who, Loan.pay, loan_id, Motes(amount))
        if allowed:
            assert result == taken
            self.paid(model, today, who, taken)

    def paid(self, model: Model, today: Day, who: Key, amount: int) -> None:
        model.day = today
        self.world.move(who.address, model.lender, amount)
        model.booked.append(("paid", today, amount, 0))
        model.payers.append(who.address)
        self.world.settle(model)

    @rule(loan_id=loans, who=st.sampled_from(PEOPLE), slack=st.sampled_from([-1, 0, 5]))
    def pay_off(self, loan_id: bytes, who: Key, slack: int) -> None:
        (loan_id, model), today = self.live(loan_id), self.world.today
        payoff = model.account(today).payoff if model.running else 1
        allowed = model.running and slack >= 0 and payoff <= self.world.money[who.address]
        self.send(allowed, who, Loan.pay_off, loan_id, Motes(payoff + slack))
        if allowed:
            self.paid(model, today, who, payoff)
            assert model.status is LoanStatus.CLOSED

    @rule(loan_id=loans, number=st.integers(0, 3), amount=st.sampled_from([motes("1"), motes("2")]))
    def charge_fee(self, loan_id: bytes, number: int, amount: Motes) -> None:
        (loan_id, model), today = self.live(loan_id), self.world.today
        account = model.account(today if model.running else None)
        allowed = model.running and 0 < number < account.state.number
        allowed = allowed and account.instalment(number).fee + amount <= model.terms.fee_limit
        self.send(allowed, self.lender(model), Loan.charge_fee, loan_id, number, amount, "a letter")
        if allowed:
            model.day = today
            model.booked.append(("fee", today, number, amount))
            model.payers.append(model.lender)
            self.world.settle(model)

    @rule(loan_id=loans, pick=st.integers(0, 12))
    def reverse(self, loan_id: bytes, pick: int) -> None:
        """Where there are late fees, what a reversal leaves of them is tested by itself."""
        (loan_id, model), today = self.live(loan_id), self.world.today
        if model.terms.late_fee:
            return
        number = 1 + pick % max(1, len(model.booked) + pick // 10)
        allowed = model.running and number <= len(model.booked) and model.booked[number - 1][0] == "paid"
        allowed = allowed and self.world.money[model.lender] >= model.booked[number - 1][2]
        allowed = allowed and today - model.booked[number - 1][1] <= REVERSAL_DAYS and model.without(number)[1] == 0
        self.send(allowed, self.lender(model), Loan.reverse_payment, loan_id, number)
        if allowed:
            _, day, amount, _ = model.booked[number - 1]
            model.booked[number - 1] = ("reversed", day, amount, 0)
            self.world.move(model.lender, model.payers[number - 1], amount)
            model.day = today
            model.arrears_from = model.next_day(draws=True)
            self.world.settle(model)
            self.call_default(loan_id)

    @rule(loan_id=loans)
    def call_default(self, loan_id: bytes) -> None:
        (loan_id, model), today = self.live(loan_id), self.world.today
        allowed = False
        if model.status is LoanStatus.ACTIVE:
            account = model.account(today)
            rows = [account.instalment(number) for number in range(1, account.state.number)]
            overdue = [row.due_day for row in rows if row.is_overdue]
            allowed = bool(overdue) and today - max(overdue[0], model.arrears_from) >= model.terms.default_days
        self.send(allowed, self.lender(model), Loan.call_default, loan_id)
        if allowed:
            model.status, model.day = LoanStatus.DEFAULTED, today
            self.world.settle(model)

    @rule(loan_id=loans, sure=st.integers(0, 3))
    def write_off(self, loan_id: bytes, sure: int) -> None:
        loan_id, model = self.live(loan_id)
        if sure == 3:
            running = model.running
            self.send(running, self.lender(model), Loan.write_off, loan_id)
            if running:
                model.status, model.attempt = LoanStatus.WRITTEN_OFF, None

    @invariant()
    def the_models_are_right(self) -> None:
        if not hasattr(self, "world"):
            return
        world = self.world
        for who in PEOPLE:
            assert world.balance(who).free == world.money[who.address], who.name
        for loan_id, model in world.models.items():
            view = world.check(loan_id)
            assert view.status is model.status
            assert (None if view.next is None else view.next.day) == (model.attempt[2] if model.attempt else None)
            if model.running:
                account = model.account()
                assert (view.day, view.due, view.payoff) == (model.day, account.state.due, account.payoff)
                assert view.outstanding == account.state.owed
        waiting = sum(model.running or model.status is LoanStatus.OFFERED for model in world.models.values())
        assert world.waiting() == waiting
        for vehicle in VEHICLES:
            secured = [loan_id for loan_id, model in world.models.items() if model.running and model.lien == vehicle]
            found = world.query(Loan.lien_of, vehicle)
            assert secured == ([] if found is None else [found])


TestLoans = LoanMachine.TestCase  # never shrunk: that takes minutes, and the steps say enough
TestLoans.settings = settings(max_examples=20, stateful_step_count=40, deadline=None, phases=[Phase.generate])

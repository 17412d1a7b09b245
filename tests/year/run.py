"""The year itself: agreements are made, days pass, each day is compared with the bills, and at the end all the money is."""

import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median
from typing import Any, Final

from genesis.presets import DEV_ACCOUNT_MOTES
from ledger.policy import parse_address
from ledger.types import MOTES_PER_DATR, Motes
from tests.processes import until
from tests.year.bills import MINOR, Bill, LoanBill, LoanPlan, OrderBill, OrderPlan, Purse, Step
from tests.year.days import DAY_MS
from tests.year.network import CALL_GAS, Network, YearError, call
from tests.year.plan import LENDERS, Account, LoanCase, OrderCase, YearPlan, wallet
from vm.calendar import Every, Recurrence
from vm.contracts.order_types import Amount, AmountKind, Cancellation, CancellationRule, Collection, Until
from vm.loan.terms import Amortization, DayCount, Terms

HALF_DAY_MS: Final = DAY_MS // 2
OFFER_MS: Final = DAY_MS
FUNDER, SPENDER = LENDERS, LENDERS + 1
FUNDS_MOTES: Final = 100_000_000 * MOTES_PER_DATR
TRANSFERS: Final = 60
"""So many are timed before anything else is there, and as many evenly among the days."""
TRANSFERS_A_DAY: Final = 3

Say = Callable[[str], None]


@dataclass(frozen=True)
class Report:
    """What came of it. Times in ms are medians of single transfers, on the empty network and among the days."""

    seed: int
    days: int
    loans: int
    orders: int
    collected: int
    short: int
    late_fees: int
    closed: int
    blocks: int
    scheduled_calls: int
    view_changes: int
    largest_gas: int
    largest_bytes: int
    largest_transactions: int
    empty_ms: float
    among_days_ms: float
    seconds: float

    @property
    def slower(self) -> float:
        """Return how much slower a transfer was among the days: 0.1 is ten per cent."""
        return self.among_days_ms / self.empty_ms - 1

    def shown(self) -> dict[str, Any]:
        """Return it for JSON."""
        return asdict(self) | {"slower": round(self.slower, 3)}


def run_year(folder: Path, plan: YearPlan, days: int, say: Say, transfers: int = TRANSFERS) -> Report:
    """Live through the year on a network of its own. Raises `YearError` where something is not as it should be."""
    began = time.monotonic()
    network = Network.started(folder)
    try:
        return _Year(network, plan, days, say).run(began, transfers)
    finally:
        network.processes.close()


class _Year:
    """The bills of what was agreed so far, and the accounts behind them."""

    def __init__(self, network: Network, plan: YearPlan, days: int, say: Say) -> None:
        self._network, self._plan, self._days, self._say = network, plan, days, say
        self._wallets = network.processes.wallets
        self._purses: dict[str, Purse] = {}
        self._loans: dict[str, tuple[LoanCase, LoanBill]] = {}
        self._orders: dict[str, tuple[OrderCase, OrderBill]] = {}
        self._seen: Counter[str | int] = Counter()
        self._sink = wallet(plan.seed, "sink").address

    def run(self, began: float, transfers: int) -> Report:
        """Live through all days."""
        network = self._network
        network.go_to((network.time_ms() // DAY_MS + 1) * DAY_MS + HALF_DAY_MS)
        funder = self._wallets[FUNDER].address
        network.ask("dev_faucet", address=funder, amount_motes=str(FUNDS_MOTES), wait="final")
        empty, among = self._time_transfers(transfers), list[float]()
        first_noon_ms = network.time_ms() // DAY_MS * DAY_MS + HALF_DAY_MS
        for day in range(self._days + 1):
            noon_ms = first_noon_ms + day * DAY_MS
            if day:
                network.go_to(noon_ms)
            self._check_day(day, noon_ms)
            self._begin_day(day, noon_ms)
            while len(among) < transfers * day // self._days:
                among += self._time_transfers(min(TRANSFERS_A_DAY, transfers))
        self._check_end()
        return self._report(median(empty), median(among), time.monotonic() - began)

    def _time_transfers(self, count: int) -> list[float]:
        return self._network.transfer_ms(self._wallets[SPENDER], self._sink, count)

    # ---- a day

    @property
    def _bills(self) -> Iterator[Bill]:
        for _, loan in self._loans.values():
            yield loan
        for _, order in self._orders.values():
            yield order

    def _check_day(self, day: int, time_ms: int) -> None:
        """Compare what the chain reports of a day with what the bills say."""
        began = time.monotonic()
        expected = Counter(step for bill in self._bills for step in bill.run_to(time_ms))
        found = Counter(step for step in map(_step_of, self._network.new_events()) if step is not None)
        if found != expected:
            missing, extra = list((expected - found).elements()), list((found - expected).elements())
            raise YearError(f"day {day}, missing {missing[:5]}, not expected {extra[:5]}")
        self._seen.update(step[1] for step in found.elements())
        took_s = time.monotonic() - began
        self._say(f"day {day}: height {self._network.height}, {found.total()} steps, compared in {took_s:.2f} s")

    def _begin_day(self, day: int, time_ms: int) -> None:
        """Make the agreements of a day, and let those who were short get their money."""
        loans = [case for case in self._plan.loans if case.opens == day]
        orders = [case for case in self._plan.orders if case.opens == day]
        new = {account.wallet.address: account for account in _accounts(loans, orders)}
        payments = [(address, account.begins) for address, account in new.items() if address not in self._purses]
        payments += [(address, amount) for address, amount in self._late_money(day) if address in self._purses]
        self._pay(payments)
        self._lend(loans, time_ms)
        self._order(orders, time_ms)

    def _late_money(self, day: int) -> Iterator[tuple[str, int]]:
        accounts = {account.wallet.address: account for account in _accounts(self._plan.loans, self._plan.orders)}
        for address, account in accounts.items():
            if account.later is not None and account.later[0] == day:
                yield address, account.later[1]

    def _pay(self, payments: Iterable[tuple[str, int]]) -> None:
        listed = list(payments)
        self._network.fund(self._wallets[FUNDER], listed)
        for address, amount in listed:
            self._purses.setdefault(address, Purse()).free += amount

    def _lend(self, cases: list[LoanCase], time_ms: int) -> None:
        network = self._network
        offers = [network.sign(self._wallets[case.lender], [_offer(case, time_ms + OFFER_MS)], CALL_GAS) for case in cases]
        ids = [answer["receipt"]["results"][0] for answer in network.send_all(offers)]
        accepts = [
            network.sign(case.account.wallet, [call("loan", "accept", bytes.fromhex(loan_id[2:]))], CALL_GAS)
            for case, loan_id in zip(cases, ids, strict=True)
        ]
        network.send_all(accepts)
        for case, loan_id in zip(cases, ids, strict=True):
            purse = self._purses[case.account.wallet.address]
            self._loans[loan_id] = case, LoanBill(loan_id, purse, case.plan, time_ms)
            purse.free += case.plan.principal if case.seller is None else 0

    def _order(self, cases: list[OrderCase], time_ms: int) -> None:
        network = self._network
        raws = [network.sign(case.account.wallet, [_open(case)], CALL_GAS) for case in cases]
        for case, answer in zip(cases, network.send_all(raws), strict=True):
            order_id = answer["receipt"]["results"][0]
            purse = self._purses[case.account.wallet.address]
            self._orders[order_id] = case, OrderBill(order_id, purse, case.plan, time_ms)

    # ---- the end

    def _check_end(self) -> None:
        """Compare all balances and all agreements with the bills, and the nodes with one another."""
        expected = self._balances()
        for address, found in self._network.balances(list(expected)).items():
            if found != {"balance": expected[address], "held": 0}:
                raise YearError(f"{address} has {found}, the bills say {expected[address]}")
        self._check_loans()
        self._check_orders()
        processes = self._network.processes
        until(lambda: len({processes.ask(node, "chain_info")["hash"] for node in range(4)}) == 1)
        supplies = {
            processes.ask(node, "contract_query", contract="asset", method="supply", args={})["value"] for node in range(4)
        }
        if supplies != {str(800_000_000 * MOTES_PER_DATR)}:
            raise YearError(f"the supply is {supplies}")

    def _balances(self) -> dict[str, int]:
        """Return what every account must have: of the lenders, borrowers, sellers, payers and payees."""
        balances = Counter({address: purse.free for address, purse in self._purses.items()})
        balances.update({self._wallets[lender].address: DEV_ACCOUNT_MOTES for lender in range(LENDERS)})
        for case, loan in self._loans.values():
            balances[self._wallets[case.lender].address] += loan.received - case.plan.principal
            if case.seller is not None:
                balances[case.seller] += case.plan.principal
        for given, order in self._orders.values():
            balances[given.payee] += order.received
        return dict(balances)

    def _check_loans(self) -> None:
        found = self._network.query_all("loan", "get", [{"loan_id": loan_id} for loan_id in self._loans])
        for (loan_id, (_, bill)), view in zip(self._loans.items(), found, strict=True):
            expected = ("closed" if bill.ended else "active", bill.owed, bill.plan.principal - bill.owed)
            got = (view["status"], int(view["outstanding"]), int(view["principal_paid"]))
            if got != expected:
                raise YearError(f"loan {loan_id} is {got}, its bill says {expected}")

    def _check_orders(self) -> None:
        found = self._network.query_all("order", "get", [{"order_id": order_id} for order_id in self._orders])
        for (order_id, (_, bill)), view in zip(self._orders.items(), found, strict=True):
            status = "active" if not bill.ended else "unpaid" if bill.owed else "completed"
            asked = len(bill.periods) * bill.plan.amount
            expected = (status, asked, bill.received, bill.lapsed, bill.owed)
            progress = view["progress"]
            money = (int(progress["asked"]), int(progress["paid"]), int(progress["lapsed"]), int(view["owed"]))
            if (progress["status"], *money) != expected:
                raise YearError(f"order {order_id} is {(progress['status'], *money)}, its bill says {expected}")

    def _report(self, empty_ms: float, among_days_ms: float, seconds: float) -> Report:
        limits, seen = self._network.limits, self._seen
        return Report(
            self._plan.seed,
            self._days,
            len(self._loans),
            len(self._orders),
            seen["paid"],
            seen["short"],
            seen["late"],
            seen["closed"] + seen["ended"],
            limits.blocks,
            limits.scheduled,
            limits.view_changes,
            limits.gas,
            limits.size_bytes,
            limits.transactions,
            round(empty_ms, 2),
            round(among_days_ms, 2),
            round(seconds, 1),
        )


def _accounts(loans: Iterable[LoanCase], orders: Iterable[OrderCase]) -> Iterator[Account]:
    yield from (case.account for case in loans)
    yield from (case.account for case in orders)


# ---- plans as the contracts take them, and what they report


def _offer(case: LoanCase, expires_ms: int) -> Any:
    plan, address = case.plan, case.account.wallet.address
    seller = None if case.seller is None else parse_address(case.seller)
    return call("loan", "offer", _terms(plan), parse_address(address), seller, None, expires_ms)


def _terms(plan: LoanPlan) -> Terms:
    amortization = Amortization.EQUAL_PRINCIPAL if plan.equal_principal else Amortization.EQUAL_INSTALMENTS
    return Terms(
        principal=Motes(plan.principal),
        annual_rate=plan.rate,
        instalments=plan.instalments,
        disbursed_on=0,
        day_count=DayCount(plan.day_count),
        amortization=amortization,
        minor_unit=Motes(MINOR),
        utc_offset_minutes=plan.utc_offset,
        late_fee=Motes(plan.late_fee),
        grace_days=plan.grace_days,
        retry_days=plan.retry_days,
    )


def _open(case: OrderCase) -> Any:
    plan = case.plan
    return call(
        "order",
        "open",
        parse_address(case.payee),
        _amount(plan),
        Recurrence(Every(plan.every), plan.on_day, at_minute=plan.at_minute, utc_offset_minutes=plan.utc_offset),
        0,
        Until(None, plan.count, None),
        Collection(plan.retry_days, plan.partial, plan.carry),
        Cancellation(CancellationRule.ANY_TIME, 0),
        "",
    )


def _amount(plan: OrderPlan) -> Amount:
    if not plan.percent_e4:
        return Amount(AmountKind.FIXED, Motes(plan.motes), 0, Motes(0), "")
    return Amount(AmountKind.PERCENTAGE, Motes(plan.motes), plan.percent_e4, Motes(plan.motes), "")


_REPORTED: Final[dict[tuple[str, str], tuple[str, tuple[str, ...]]]] = {
    ("loan", "InstalmentDue"): ("due", ("number", "principal", "interest")),
    ("loan", "LoanPaid"): ("paid", ("amount",)),
    ("loan", "CollectionShort"): ("short", ("missing",)),
    ("loan", "LateFeeCharged"): ("late", ("number", "amount")),
    ("loan", "LoanClosed"): ("closed", ()),
    ("order", "FellDue"): ("due", ("period", "amount")),
    ("order", "Paid"): ("paid", ("amount",)),
    ("order", "Short"): ("short", ("owed",)),
    ("order", "Lapsed"): ("lapsed", ("amount",)),
    ("order", "Ended"): ("ended", ("owed",)),
}


def _step_of(event: dict[str, Any]) -> Step | None:
    """Return the step that an event reports, None for one that the bills do not follow."""
    found = _REPORTED.get((event["contract"], event["name"]))
    if found is None:
        return None
    name, numbers = found
    fields = event["fields"]
    return fields[f"{event['contract']}_id"], name, *(int(fields[number]) for number in numbers)

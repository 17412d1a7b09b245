"""Who lends, borrows and pays what in a year, from a seed: terms of all kinds, and accounts that are short for a while."""

import hashlib
from dataclasses import dataclass
from random import Random
from typing import Final

from datacar import Wallet
from ledger.types import MOTES_PER_DATR
from tests.year.bills import MINOR, LoanPlan, OrderPlan

OPENING_DAYS: Final = 28
"""Agreements are made on the first days, up to so many: then something falls due on every day of a month."""
AT_ONCE: Final = 0.2
"""So large a part of them is made on the first day."""
POOR: Final = 0.3
"""So many accounts begin with too little."""
NEVER: Final = 0.2
"""So many of those never get any more."""
LENDERS: Final = 5
PLENTY: Final = 20_000 * MOTES_PER_DATR
"""Enough for all the orders that one borrower may give as well."""
_OFFSETS: Final = (-300, 0, 60, 330)


@dataclass(frozen=True)
class Account:
    """A new account: what it begins with, and what it gets `later` on a day, so that it is short in between."""

    wallet: Wallet
    begins: int
    later: tuple[int, int] | None


@dataclass(frozen=True)
class LoanCase:
    """A loan to be made on day `opens`, by one of the funded accounts; a `seller` gets the money instead of the borrower."""

    opens: int
    lender: int
    plan: LoanPlan
    seller: str | None
    account: Account


@dataclass(frozen=True)
class OrderCase:
    """A standing order to be given on day `opens`. The account may be a borrower's that has enough."""

    opens: int
    payee: str
    plan: OrderPlan
    account: Account


@dataclass(frozen=True)
class YearPlan:
    """All of it."""

    seed: int
    loans: tuple[LoanCase, ...]
    orders: tuple[OrderCase, ...]


def wallet(seed: int, name: str) -> Wallet:
    """Return the wallet that a name stands for."""
    return Wallet.from_seed(hashlib.sha256(f"year {seed} {name}".encode()).digest())


def make_plan(seed: int, loans: int, orders: int, days: int) -> YearPlan:
    """Return the year of a seed."""
    random = Random(seed)
    lent = tuple(_loan(random, seed, number, days) for number in range(loans))
    rich = [case.account for case in lent if case.seller is None and case.account.later is None]
    given = tuple(_order(random, seed, number, days, rich) for number in range(orders))
    return YearPlan(seed, lent, given)


def _opens(random: Random, days: int) -> int:
    return 0 if random.random() < AT_ONCE else random.randrange(min(OPENING_DAYS, max(1, days // 2)))


def _account(random: Random, of: Wallet, opens: int, days: int, need: int, enough: int) -> Account:
    """Return an account that has `enough`, or for a while less than it will `need`."""
    if random.random() >= POOR:
        return Account(of, enough, None)
    begins = int(need * random.uniform(0, 0.6))
    if random.random() < NEVER or opens + 2 >= days:
        return Account(of, begins, None)
    return Account(of, begins, (random.randrange(opens + 1, days), enough - begins))


def _loan(random: Random, seed: int, number: int, days: int) -> LoanCase:
    instalments = random.choice((3, 6, 10, 11, 12, 18, 36))
    plan = LoanPlan(
        principal=random.randrange(200, 2_000) * 100 * MINOR,
        rate=random.choice((0, 3_990, 7_000, 12_000, 19_950)),
        instalments=instalments,
        day_count=random.choice(("30/360", "ACT/365", "ACT/360")),
        equal_principal=random.random() < 0.3,
        late_fee=random.choice((0, 5 * MOTES_PER_DATR)),
        grace_days=random.choice((0, 3, 10)),
        retry_days=random.choice(((), (1, 3, 7), (5, 20))),
        utc_offset=random.choice(_OFFSETS),
    )
    opens, borrower = _opens(random, days), wallet(seed, f"borrower {number}")
    lender, enough = random.randrange(LENDERS), plan.principal * 2 + PLENTY
    if random.random() < 0.3:
        return LoanCase(opens, lender, plan, None, Account(borrower, enough, None))
    need = plan.principal * min(days // 30 + 1, instalments) // instalments
    seller = wallet(seed, f"seller {number % 17}").address
    return LoanCase(opens, lender, plan, seller, _account(random, borrower, opens, days, need, enough))


def _order(random: Random, seed: int, number: int, days: int, rich: list[Account]) -> OrderCase:
    every = random.choices(("day", "week", "month"), (1, 3, 12))[0]
    plan = OrderPlan(
        motes=random.randrange(1, 90_000) * 10_001,
        percent_e4=random.choice((0, 0, 1_234)),
        every=every,
        on_day={"day": 0, "week": random.randint(1, 7), "month": random.randint(1, 31)}[every],
        at_minute=random.choice((0, 360, 1_290)),
        utc_offset=random.choice(_OFFSETS),
        count=random.choice((None, None, 2, 9)),
        retry_days=random.choice(((), (1, 2), (3, 10))),
        partial=random.random() < 0.5,
        carry=random.random() < 0.5,
    )
    opens, payee = _opens(random, days), wallet(seed, f"payee {number % 23}").address
    if rich and random.random() < 0.3:
        return OrderCase(opens, payee, plan, random.choice(rich))
    need = plan.amount * {"day": days, "week": days // 7 + 2, "month": days // 30 + 2}[every]
    payer = wallet(seed, f"payer {number}")
    return OrderCase(opens, payee, plan, _account(random, payer, opens, days, need, 2 * need))

"""Calls that must not work, over all contracts: each fails with a code, changes nothing, and costs exactly its gas.

The rows are the kinds of mistakes and of malice: wrong types, amounts that are negative or huge, what belongs to others, the
wrong signer, methods that are not there, nesting, and gas. `test_random_calls` does the same for calls nobody thought of.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import pytest

from ledger.block import Status
from ledger.codec import INT_MAX, Value, decode, encode
from ledger.transaction import Call
from ledger.types import MOTES_PER_DATR, Address
from tests.charging_site import TERMS as CITY
from tests.vm_harness import FEES, Account, Chain
from tests.vm_toys import Toy
from vm.calendar import DAY_MS
from vm.contracts.asset import Asset, balance_key
from vm.contracts.charging import NAME as CHARGING
from vm.contracts.charging import Charging
from vm.contracts.charging_parties import Share
from vm.contracts.loan import NAME as LOAN
from vm.contracts.loan import Loan
from vm.contracts.multisig import Multisig
from vm.contracts.order import NAME as ORDER
from vm.contracts.order import StandingOrder

GAS_PRICE: Final = 3
FUNDS: Final = 1_000 * MOTES_PER_DATR
UNKNOWN: Final = b"\xee" * 32
MANY: Final = tuple(range(2_000))


class World(Chain):
    """All contracts, and one thing of each kind that belongs to Alice."""

    def __init__(self) -> None:
        contracts = {CHARGING: Charging, LOAN: Loan, "multisig": Multisig, ORDER: StandingOrder, "toy": Toy}
        super().__init__(contracts, gas_price_motes=GAS_PRICE, genesis={"toy": (7,)})
        self.alice, self.bob = self.account("alice", FUNDS), self.account("bob", FUNDS)
        self.mallory = self.account("mallory", FUNDS)
        self.hold_id = self._made("hold_for", self.bob.address, 5_000, "deposit", self.context.timestamp_ms + DAY_MS)
        weekly, never = ("week", 1, 0, 0, 0), (None, None, None)
        fixed = ("fixed", 100, 0, 0, "")
        self.order_id = self._made("open", self.bob.address, fixed, weekly, 0, never, ((), True, True), ("any_time", 0), "")
        terms = _terms(self.context.timestamp_ms)
        self.loan_id = self._made("offer", terms, self.bob.address, None, None, self.context.timestamp_ms + DAY_MS)
        keys = tuple(sorted(each.policy.keys[0] for each in (self.alice, self.bob)))
        self.policy = (2, keys)
        planned = (("asset", "transfer", encode((self.bob.address, 1))),)
        self.proposal_id = self._made("propose", self.policy, planned, "", None)
        self._open_stations()

    def _open_stations(self) -> None:
        """Alice runs a station; Bob has sessions there: one that waits, one that runs, and one that is settled and disputed."""
        self.station, self.arbiter = self.account("station", FUNDS), self.account("arbiter", FUNDS)
        self.started_s = self.context.timestamp_ms // 1_000
        self.free(self.alice, Charging.register_operator, "DE*DTC", "Alice", self.alice.address, self.arbiter.address)
        self.free(self.alice, Charging.publish_tariff, CITY)
        self.free(self.alice, Charging.add_station, self.station.address, "E1", CITY.tariff_id(), None)
        [self.split_id] = self.free(self.alice, Charging.publish_split, Share(self.bob.address, 1_000), None).results
        self.waiting, self.running, self.disputed = (self._authorized() for _ in range(3))
        for each in (self.running, self.disputed):
            self.free(self.station, Charging.start, each, "tx", 1_000, self.started_s)
        self.free(self.station, Charging.stop, self.disputed, 2_000, self.started_s, self.started_s, "", 0)
        self.free(self.bob, Charging.dispute, self.disputed, "too much")

    def _authorized(self) -> Any:
        terms = self.station.address, CITY.tariff_id(), self.arbiter.address, None
        return self.free(self.bob, Charging.authorize, *terms).results[0]

    def _made(self, method: str, *args: Value) -> Any:
        contract = {"hold_for": "asset", "open": ORDER, "offer": LOAN, "propose": "multisig"}[method]
        [receipt] = self.block(self.transaction(self.alice, Call(contract, method, args))).receipts
        assert receipt.status is Status.SUCCEEDED, receipt.error
        return receipt.results[0]


def _terms(now_ms: int) -> tuple[Value, ...]:
    cent = MOTES_PER_DATR // 100
    agreed = (100 * MOTES_PER_DATR, 7_000, 6, now_ms // DAY_MS, "30/360", "equal_instalments", 0, 0, cent, 0, 0)
    return (*agreed, "same", 0, "next_instalment", 0, 0, (), 90, 0)


@dataclass(frozen=True)
class Bad:
    """One bad call: `args` of the world it is made in, by `sender`, and the contract and code it must fail with."""

    name: str
    contract: str
    method: str
    args: Callable[[World], tuple[Any, ...]]
    code: str
    sender: str = "mallory"
    by: str | None = None
    gas_limit: int = 2_000_000

    def __str__(self) -> str:
        return self.name


def _no_args(_: World) -> tuple[Any, ...]:
    return ()


def _deep(levels: int) -> Any:
    value: Any = ()
    for _ in range(levels):
        value = (value,)
    return value


CASES: Final = (
    # wrong types
    Bad("text for an amount", "asset", "transfer", lambda w: (w.bob.address, "5"), "BAD_ARGUMENTS"),
    Bad("true for an amount", "asset", "transfer", lambda w: (w.bob.address, True), "BAD_ARGUMENTS"),
    Bad("nothing for an amount", "asset", "transfer", lambda w: (w.bob.address, None), "BAD_ARGUMENTS"),
    Bad("a short address", "asset", "transfer", lambda w: (w.bob.address[:-1], 5), "BAD_ARGUMENTS"),
    Bad("an address of no known version", "asset", "transfer", lambda w: (b"\x07" + w.bob.address[1:], 5), "BAD_ARGUMENTS"),
    Bad("an argument too few", "asset", "transfer", lambda w: (w.bob.address,), "BAD_ARGUMENTS"),
    Bad("an argument too many", "asset", "transfer", lambda w: (w.bob.address, 5, 5), "BAD_ARGUMENTS"),
    Bad("a list for a number", "asset", "transfer", lambda w: (w.bob.address, (5,)), "BAD_ARGUMENTS"),
    Bad("a list over its bound", "asset", "transfer_batch", lambda w: ("DATR", ((w.bob.address, 1),) * 257), "BAD_ARGUMENTS"),
    Bad("a huge list for text", "asset", "hold_for", lambda w: (w.bob.address, 5, MANY, 2**60), "BAD_ARGUMENTS"),
    Bad("lists in lists in lists", "asset", "transfer", lambda w: (w.bob.address, _deep(6)), "BAD_ARGUMENTS"),
    Bad("text over its bound", "asset", "hold_for", lambda w: (w.bob.address, 5, "x" * 65, 2**60), "BAD_ARGUMENTS"),
    Bad("an unknown word", LOAN, "offer", lambda w: (_word(w), w.bob.address, None, None, 2**60), "BAD_ARGUMENTS"),
    Bad("half an object", ORDER, "open", lambda w: (w.bob.address, ("fixed",), *(None,) * 6), "BAD_ARGUMENTS"),
    Bad("a weekday 8", ORDER, "open", lambda w: _order(w, every=("week", 8, 0, 0, 0)), "BAD_ARGUMENTS"),
    Bad("more interest than there is", LOAN, "offer", lambda w: _loan(w, annual_rate=2**31), "BAD_ARGUMENTS"),
    # amounts
    Bad("nothing", "asset", "transfer", lambda w: (w.bob.address, 0), "BAD_AMOUNT"),
    Bad("less than nothing", "asset", "transfer", lambda w: (w.bob.address, -5), "BAD_ARGUMENTS"),
    Bad("a number over its bound", ORDER, "report", lambda w: (w.order_id, 2**40, 1), "BAD_ARGUMENTS"),
    Bad("all the money there could be", "asset", "transfer", lambda w: (w.bob.address, INT_MAX), "INSUFFICIENT_FUNDS"),
    Bad("more than one has", "asset", "transfer", lambda w: (w.bob.address, FUNDS), "INSUFFICIENT_FUNDS"),
    Bad("a batch that adds up to more", "asset", "transfer_batch", lambda w: _batch(w, FUNDS // 2), "INSUFFICIENT_FUNDS"),
    Bad("a batch whose last is nothing", "asset", "transfer_batch", lambda w: _batch(w, 1, 0), "BAD_AMOUNT"),
    Bad("more than is held", "asset", "capture", lambda w: (w.hold_id, 5_001, w.bob.address), "BAD_AMOUNT", sender="bob"),
    Bad("a loan of more than one has", LOAN, "offer", lambda w: _loan(w, principal=FUNDS * 10), "INSUFFICIENT_FUNDS", by="asset"),
    Bad("an order for nothing", ORDER, "open", lambda w: _order(w, amount=("fixed", 0, 0, 0, "")), "BAD_AMOUNT"),
    # what is not there
    Bad("an unknown contract", "mint", "make", _no_args, "UNKNOWN_CONTRACT"),
    Bad("an unknown method", "asset", "mint_datr", _no_args, "UNKNOWN_METHOD"),
    Bad("a method that only reads", "asset", "balance_of", lambda w: (w.bob.address,), "WRONG_KIND"),
    Bad("the method of genesis", "asset", "distribute", lambda _: ((),), "WRONG_KIND"),
    Bad("what only the calendar calls", LOAN, "collect", lambda w: (w.loan_id, 1, 0), "WRONG_KIND"),
    Bad("what only the runtime uses", "asset", "pay_fee", lambda w: (w.mallory.address, 5), "UNKNOWN_METHOD"),
    Bad("an unknown session", CHARGING, "cancel", lambda _: (UNKNOWN,), "UNKNOWN_SESSION"),
    Bad("an unknown hold", "asset", "capture", lambda w: (UNKNOWN, 1, w.bob.address), "UNKNOWN_HOLD"),
    Bad("an unknown loan", LOAN, "accept", lambda _: (UNKNOWN,), "UNKNOWN_LOAN"),
    Bad("an unknown order", ORDER, "cancel", lambda _: (UNKNOWN,), "UNKNOWN_ORDER"),
    Bad("an asset that nobody issued", "asset", "send", lambda w: ("GOLD", w.bob.address, 5), "INSUFFICIENT_FUNDS"),
    # the wrong signer, and what is others'
    Bad("another's hold", "asset", "capture", lambda w: (w.hold_id, 1, w.mallory.address), "NOT_PERMITTED"),
    Bad("one's own hold, by the owner", "asset", "capture", lambda w: (w.hold_id, 1, w.alice.address), "NOT_PERMITTED", "alice"),
    Bad(
        "money of others",
        "asset",
        "transfer_from",
        lambda w: ("DATR", w.alice.address, w.mallory.address, 1),
        "INSUFFICIENT_ALLOWANCE",
    ),
    Bad("a hold for a contract", "asset", "hold", lambda w: (w.alice.address, 1, "x", 2**60), "NOT_PERMITTED"),
    Bad("a mandate without a contract", "asset", "grant", lambda w: (w.mallory.address, "x"), "NOT_PERMITTED"),
    Bad("drawing for oneself", "asset", "draw", lambda w: (w.order_id, 1, w.mallory.address), "NOT_PERMITTED"),
    Bad("freezing", "asset", "freeze", lambda w: ("DATR", w.alice.address, "because"), "NOT_PERMITTED"),
    Bad("the fees", "asset", "spend_fees", lambda w: (w.mallory.address, 1, "mine"), "NOT_PERMITTED"),
    Bad("another's order", ORDER, "cancel", lambda w: (w.order_id,), "NOT_PERMITTED"),
    Bad("another's loan", LOAN, "accept", lambda w: (w.loan_id,), "NOT_PERMITTED"),
    Bad("another's offer", LOAN, "withdraw", lambda w: (w.loan_id,), "NOT_PERMITTED", sender="bob"),
    Bad("a key that is none of the policy's", "multisig", "approve", lambda w: (w.proposal_id,), "NOT_A_SIGNER"),
    Bad("a payment into a contract", "asset", "transfer", lambda w: (_asset(w), 5), "BAD_RECIPIENT"),
    # charging: whose session, station, split and dispute it is, and what a meter cannot say
    Bad("another's session, cancelled", CHARGING, "cancel", lambda w: (w.waiting,), "NOT_PERMITTED"),
    Bad("another's session, started", CHARGING, "start", lambda w: (w.waiting, "x", 0, w.started_s), "NOT_PERMITTED"),
    Bad("a start by the driver", CHARGING, "start", lambda w: (w.waiting, "x", 0, w.started_s), "NOT_PERMITTED", "bob"),
    Bad("another's session, read", CHARGING, "meter", lambda w: (w.running, 1, 5, w.started_s, True), "NOT_PERMITTED"),
    Bad("a stop by the driver", CHARGING, "stop", lambda w: _stop(w, w.running), "UNKNOWN_STATION", "bob"),
    Bad("a stop of nothing by nobody", CHARGING, "stop", lambda w: _stop(w, UNKNOWN), "UNKNOWN_STATION"),
    Bad("a reading too early", CHARGING, "meter", lambda w: (w.waiting, 1, 5, w.started_s, True), "NOT_STARTED", "station"),
    Bad("a stop before the start", CHARGING, "stop", lambda w: _stop(w, w.waiting), "NOT_STARTED", "station"),
    Bad("a meter below nothing", CHARGING, "start", lambda w: (w.waiting, "x", -1, w.started_s), "BAD_ARGUMENTS", "station"),
    Bad("a meter of all times", CHARGING, "start", lambda w: (w.waiting, "x", 10**15 + 1, 1), "BAD_ARGUMENTS", "station"),
    Bad("a meter over 63 bits", CHARGING, "meter", lambda w: (w.running, 1, 2**63, 1, True), "BAD_ARGUMENTS", "station"),
    Bad("a sequence below nothing", CHARGING, "meter", lambda w: (w.running, -1, 5, 1, True), "BAD_ARGUMENTS", "station"),
    Bad("a time of no calendar", CHARGING, "meter", lambda w: (w.running, 1, 5, 2**41, True), "BAD_ARGUMENTS", "station"),
    Bad("a time to come", CHARGING, "meter", lambda w: (w.running, 1, 5, 2**40, True), "EVENT_IN_FUTURE", "station"),
    Bad("a session settled too early", CHARGING, "settle_expired", lambda w: (w.running,), "NOT_YET"),
    Bad("a session settled twice", CHARGING, "settle_expired", lambda w: (w.disputed,), "SESSION_ENDED"),
    Bad("a hold that pays a session", "asset", "capture", lambda w: (w.running, 1, w.alice.address), "NOT_PERMITTED", "alice"),
    Bad("a hold of a session, too early", "asset", "reclaim", lambda w: (w.running,), "NOT_YET", "bob"),
    Bad("a debt that is none", CHARGING, "pay_debt", lambda w: (w.disputed, 1), "NO_DEBT"),
    Bad("a refund that is none", CHARGING, "collect_refund", lambda w: (w.disputed,), "NO_REFUND"),
    Bad("another's dispute", CHARGING, "dispute", lambda w: (w.running, "mine"), "NOT_PERMITTED"),
    Bad("a second dispute", CHARGING, "dispute", lambda w: (w.disputed, "more"), "ALREADY_DISPUTED", "alice"),
    Bad("a dispute decided by its driver", CHARGING, "resolve", lambda w: _resolve(w, "CREDITED"), "NOT_PERMITTED", "bob"),
    Bad("a dispute decided by its operator", CHARGING, "resolve", lambda w: _resolve(w, "UPHELD"), "NOT_PERMITTED", "alice"),
    Bad(
        "a dispute decided as by nobody",
        CHARGING,
        "resolve",
        lambda w: _resolve(w, "LAPSED"),
        "BAD_MEASURED",
        "arbiter",
    ),
    Bad("a meter that an arbiter runs back", CHARGING, "resolve", lambda w: _found(w, 9, 8), "BAD_MEASURED", "arbiter"),
    Bad("a meter that an arbiter finds below 0", CHARGING, "resolve", lambda w: _found(w, -1, 8), "BAD_ARGUMENTS", "arbiter"),
    Bad("what only the calendar lets lapse", CHARGING, "lapse", lambda w: (w.disputed,), "WRONG_KIND"),
    Bad("what only the calendar expires", CHARGING, "expire", lambda w: (w.running,), "WRONG_KIND"),
    Bad("another's split, accepted", CHARGING, "accept_split", lambda w: (w.split_id,), "NOT_PERMITTED"),
    Bad("another's split, ended", CHARGING, "end_split", lambda w: (w.split_id,), "NOT_PERMITTED"),
    Bad("a split of nobody's earnings", CHARGING, "publish_split", lambda w: ((w.bob.address, 1), None), "UNKNOWN_OPERATOR"),
    Bad("more than all", CHARGING, "publish_split", lambda w: ((w.bob.address, 10_001), None), "BAD_ARGUMENTS", "alice"),
    Bad("another's station", CHARGING, "set_tariff", lambda w: (w.station.address, CITY.tariff_id()), "NOT_PERMITTED"),
    Bad("a station of no operator", CHARGING, "add_station", lambda w: _add(w, w.bob.address), "UNKNOWN_OPERATOR"),
    Bad("a station twice", CHARGING, "add_station", lambda w: _add(w, w.station.address), "STATION_EXISTS", "alice"),
    Bad("a station nobody invited", CHARGING, "register_station", lambda w: _invited(w), "NOT_INVITED"),
    Bad("an operator's id twice", CHARGING, "register_operator", lambda w: _operator(w, "DE*DTC"), "OPERATOR_ID_TAKEN"),
    Bad("an arbiter of one's own case", CHARGING, "authorize", lambda w: _authorize(w), "BAD_ARBITER", "arbiter"),
    # nesting and gas
    Bad("too deep", "toy", "dive", lambda _: (9,), "CALL_DEPTH"),
    Bad("no gas to begin with", "asset", "transfer", lambda w: (w.bob.address, 5), "OUT_OF_GAS", gas_limit=1_000, by=""),
    Bad("gas for half of it", "asset", "transfer", lambda w: (w.bob.address, 5), "OUT_OF_GAS", gas_limit=20_000),
    Bad("gas that ends in a nested call", ORDER, "open", lambda w: _order(w), "OUT_OF_GAS", gas_limit=90_000, by="*"),
    Bad("endless work", "toy", "work", lambda _: (2**62,), "OUT_OF_GAS"),
    Bad("endless events", "toy", "shout", lambda _: (2**31,), "TOO_MANY_EVENTS"),
)


def _stop(world: World, session_id: Any) -> tuple[Any, ...]:
    return (session_id, 5, world.started_s, world.started_s, "", 0)


def _resolve(world: World, outcome: str, measured: Any = None) -> tuple[Any, ...]:
    return (world.disputed, outcome, measured, "so")


def _found(world: World, start_wh: int, end_wh: int) -> tuple[Any, ...]:
    at_s = world.started_s
    return _resolve(world, "CORRECTED", (at_s, start_wh, at_s, at_s, end_wh, ()))


def _add(_: World, station: Address) -> tuple[Any, ...]:
    return (station, "E2", CITY.tariff_id(), None)


def _invited(world: World) -> tuple[Any, ...]:
    return ("E1", world.alice.address, CITY.tariff_id())


def _operator(world: World, operator_id: str) -> tuple[Any, ...]:
    return (operator_id, "Mallory", world.mallory.address, world.arbiter.address)


def _authorize(world: World) -> tuple[Any, ...]:
    return (world.station.address, CITY.tariff_id(), world.arbiter.address, None)


def _word(world: World) -> tuple[Any, ...]:
    terms = _terms(world.context.timestamp_ms)
    return (*terms[:4], "31/361", *terms[5:])


def _loan(world: World, **changes: Any) -> tuple[Any, ...]:
    terms = list(_terms(world.context.timestamp_ms))
    for name, value in changes.items():
        terms[("principal", "annual_rate").index(name)] = value
    return (tuple(terms), world.bob.address, None, None, world.context.timestamp_ms + DAY_MS)


def _order(world: World, **changes: Any) -> tuple[Any, ...]:
    args = {
        "payee": world.bob.address,
        "amount": ("fixed", 100, 0, 0, ""),
        "every": ("day", 0, 0, 0, 0),
        "start_ms": 0,
        "until": (None, None, None),
        "collection": ((), True, True),
        "cancellation": ("any_time", 0),
        "reference": "",
    }
    return tuple((args | changes).values())


def _batch(world: World, *amounts: int) -> tuple[Any, ...]:
    payments = tuple((world.bob.address, amount) for amount in (*amounts, *amounts[-1:]))
    return ("DATR", (*payments, (world.alice.address, amounts[0])))


def _asset(world: World) -> bytes:
    return world.registry.of_function(Asset.transfer)[0].address


@pytest.fixture(scope="module")
def world() -> World:
    """One for all: a bad call leaves nothing behind."""
    return World()


@pytest.mark.parametrize("bad", CASES, ids=str)
def test_a_bad_call_has_a_code_costs_its_gas_and_changes_nothing(world: World, bad: Bad) -> None:
    sender: Account = getattr(world, bad.sender)
    before = dict(world.state.iterate())
    call = Call(bad.contract, bad.method, bad.args(world))
    [receipt] = world.block(world.transaction(sender, call, gas_limit=bad.gas_limit)).receipts
    assert receipt.error is not None
    assert receipt.error.code == bad.code, receipt.error
    assert bad.by == "*" or receipt.error.contract == (bad.contract if bad.by is None else bad.by)
    assert receipt.events == ()
    assert 0 < receipt.gas_used <= bad.gas_limit
    after = dict(world.state.iterate())
    changed = {key for key in before.keys() | after.keys() if before.get(key) != after.get(key)}
    assert changed == {balance_key(sender.address), balance_key(FEES.address)}
    world.state.apply({key: before.get(key) for key in changed})
    assert _paid(before, after, sender) == GAS_PRICE * receipt.gas_used


def _paid(before: dict[bytes, bytes], after: dict[bytes, bytes], who: Account) -> int:
    old: Any = decode(before[balance_key(who.address)])
    new: Any = decode(after[balance_key(who.address)])
    return int(old[0] - new[0])

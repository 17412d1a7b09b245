"""The charging contract against a model of a few lines: any order of reports, good and bad, by anybody, early and late."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from ledger.block import Receipt, Status
from ledger.types import MOTES_PER_DATR
from tests.vm_harness import START_MS, Account, Chain, account
from vm.contracts.asset import Asset
from vm.contracts.charging import CLOCK_TOLERANCE_MS, NAME, RECLAIM_MS, SESSION_MS, Charging
from vm.contracts.charging_types import Cdr, Session, SessionStatus, TariffTerms
from vm.tariff import parse_tariff

HELD = 3 * MOTES_PER_DATR
FUNDS = 1_000 * MOTES_PER_DATR
TERMS = TariffTerms.of(
    parse_tariff(
        """{"elements": [{"price_components": [
            {"type": "FLAT", "price": 0.35},
            {"type": "ENERGY", "price": 0.4567, "vat": 19, "step_size": 7},
            {"type": "PARKING_TIME", "price": 1.2, "vat": 19, "step_size": 60}]}],
        "preauthorize_amount": 3}"""
    )
)
DRIVERS = [account("ann"), account("ben")]
STATIONS = [account("station 1"), account("station 2")]
OPERATORS = {station.address: account(f"operator of {station.name}") for station in STATIONS}
NOON = START_MS // 1_000 - 86_400

times = st.integers(NOON - 60, NOON + 7_200)
meters = st.integers(-1, 12_000)
stations = st.sampled_from(STATIONS)
start_meters = st.integers(0, 3_000)
rarely = st.integers(0, 9).map(lambda number: number == 9)


def rounded(exact: Fraction) -> int:
    """Half up to 1/10,000 DATR, in motes."""
    return floor(exact * 10_000 + Fraction(1, 2)) * 10_000


def expected_cost(energy_wh: int, parking_s: int) -> int:
    """What TERMS make of a session."""
    energy = Fraction("0.4567") * ceil(Fraction(energy_wh, 7)) * 7 / 1_000
    parking = Fraction("1.2") * ceil(Fraction(parking_s, 60)) * 60 / 3_600
    vat = Fraction(19, 100)
    return sum(rounded(part) for part in (Fraction("0.35"), energy, energy * vat, parking, parking * vat))


@dataclass
class Model:
    """What the tests believe of one session."""

    driver: Account
    station: Account
    deadline_ms: int
    state: str = "PENDING"
    held: int = HELD
    start: tuple[int, int] | None = None
    last: list[int] = field(default_factory=list)  # sequence, time, meter, end of charging
    stop: tuple[int, int, int] | None = None
    owed: int = 0
    cancelled_ms: int | None = None

    def may_start(self, now_ms: int, at_s: int) -> bool:
        """A cancelled session that began while it was authorized counts, until the deadline."""
        if self.state == "PENDING":
            return True
        authorized_ms = self.deadline_ms - SESSION_MS
        cancelled = self.state == "INVALID" and self.cancelled_ms is not None and now_ms <= self.deadline_ms
        return cancelled and authorized_ms - CLOCK_TOLERANCE_MS <= at_s * 1_000 <= (self.cancelled_ms or 0)

    def report(self, meter_wh: int, at_s: int) -> None:
        """Take a report's values where they are good."""
        if meter_wh >= self.last[2]:
            self.last[2] = meter_wh
        if at_s >= self.last[1]:
            self.last[1] = at_s


class ChargingMachine(RuleBasedStateMachine):
    """The chain and the model take the same steps; every step the chain refuses, the model refuses too."""

    ids: ClassVar[Bundle[Any]] = Bundle("ids")

    @initialize()
    def begin(self) -> None:
        self.chain = Chain({NAME: Charging})
        self.free = {driver.address: FUNDS for driver in DRIVERS}
        self.earned = {operator.address: 0 for operator in OPERATORS.values()}
        self.models: dict[bytes, Model] = {}
        self.cdrs: dict[bytes, Cdr] = {}
        self.seen: dict[bytes, Session] = {}
        for driver in DRIVERS:
            self.chain.account(driver.name, FUNDS)
        self.chain.free(STATIONS[0], Charging.publish_tariff, TERMS)
        for station in STATIONS:
            operator = OPERATORS[station.address].address
            self.chain.free(station, Charging.register_station, station.name, operator, TERMS.tariff_id())

    @property
    def now_ms(self) -> int:
        return self.chain.context.timestamp_ms

    def send(self, expected: bool, sender: Account, method: Any, *args: Any) -> Receipt:
        receipt = self.chain.send(sender, method, *args)
        assert (receipt.status is Status.SUCCEEDED) == expected, receipt.error
        assert receipt.error is None or receipt.error.code != "CONTRACT_DEFECT"
        return receipt

    def in_debt(self, driver: Account) -> bool:
        return any(model.owed for model in self.models.values() if model.driver == driver)

    def settle(self, model: Model) -> None:
        """Do what settling does, by hand."""
        assert model.start is not None
        cost = expected_cost(model.last[2] - model.start[1], model.last[1] - model.last[3])
        paid = min(cost, model.held)
        self.earned[OPERATORS[model.station.address].address] += paid
        self.free[model.driver.address] += model.held - paid
        model.state, model.held, model.owed = "COMPLETED", 0, cost - paid

    def invalidate(self, model: Model) -> None:
        self.free[model.driver.address] += model.held
        model.state, model.held = "INVALID", 0

    @rule(target=ids, driver=st.sampled_from(DRIVERS), station=stations, meter_wh=st.none() | start_meters, at_s=times)
    def authorize(self, driver: Account, station: Account, meter_wh: int | None, at_s: int) -> Any:
        """Authorize a session, and most often start it at once."""
        expected = not self.in_debt(driver) and self.free[driver.address] >= HELD
        deadline_ms = self.now_ms + SESSION_MS
        receipt = self.send(expected, driver, Charging.authorize, station.address, TERMS.tariff_id())
        if not expected:
            return multiple()
        [session_id] = receipt.results
        assert isinstance(session_id, bytes)
        self.models[session_id] = Model(driver, station, deadline_ms)
        self.free[driver.address] -= HELD
        if meter_wh is not None:
            self.start(session_id, False, meter_wh, at_s)
        return session_id

    def sender(self, model: Model, foreign: bool) -> Account:
        """The session's station, or another."""
        return STATIONS[(STATIONS.index(model.station) + foreign) % len(STATIONS)]

    @rule(session_id=ids, foreign=rarely, meter_wh=start_meters, at_s=times)
    def start(self, session_id: bytes, foreign: bool, meter_wh: int, at_s: int) -> None:
        model = self.models[session_id]
        fresh = model.may_start(self.now_ms, at_s)
        expected = not foreign and (fresh or model.start == (at_s, meter_wh))
        self.send(expected, self.sender(model, foreign), Charging.start, session_id, "tx", meter_wh, at_s)
        if expected and fresh:
            model.state, model.start, model.last = "ACTIVE", (at_s, meter_wh), [0, at_s, meter_wh, at_s]

    @rule(session_id=ids, foreign=rarely, sequence=st.integers(0, 9), meter_wh=meters, at_s=times, charging=st.booleans())
    def meter(self, session_id: bytes, foreign: bool, sequence: int, meter_wh: int, at_s: int, charging: bool) -> None:
        model = self.models[session_id]
        expected = not foreign and model.start is not None
        args = (session_id, sequence, meter_wh, at_s, charging)
        self.send(expected, self.sender(model, foreign), Charging.meter, *args)
        if expected and model.state == "ACTIVE" and sequence > model.last[0]:
            model.report(meter_wh, at_s)
            model.last[0] = sequence
            if charging:
                model.last[3] = model.last[1]

    @rule(session_id=ids, foreign=rarely, meter_wh=meters, at_s=times, charging_end_s=times)
    def stop(self, session_id: bytes, foreign: bool, meter_wh: int, at_s: int, charging_end_s: int) -> None:
        model = self.models[session_id]
        sender = self.sender(model, foreign)
        state = "FOREIGN" if foreign else model.state
        args = (session_id, meter_wh, at_s, charging_end_s, "Local")
        receipt = self.send(state != "PENDING", sender, Charging.stop, *args)
        names = [event.name for event in receipt.events]
        stop = (meter_wh, at_s, charging_end_s)
        if state in ("FOREIGN", "INVALID"):
            assert names == ["StopQuarantined"]
        elif state == "COMPLETED":
            assert names == ([] if model.stop == stop else ["StopDisputed"])
        elif state == "ACTIVE" and model.start is not None:
            model.report(meter_wh, at_s)
            model.last[3] = min(max(charging_end_s, model.start[0]), model.last[1])
            model.stop = stop
            self.settle(model)
            assert self.send(True, sender, Charging.stop, *args).events == ()

    @rule(session_id=ids)
    def cancel(self, session_id: bytes) -> None:
        model = self.models[session_id]
        now_ms = self.now_ms
        self.send(model.start is None, model.driver, Charging.cancel, session_id)
        if model.state == "PENDING":
            model.cancelled_ms = now_ms
            self.invalidate(model)

    @rule(session_id=ids, ago_s=st.integers(-700, 700), meter_wh=start_meters, energy_wh=st.integers(0, 9_000))
    def late_session(self, session_id: bytes, ago_s: int, meter_wh: int, energy_wh: int) -> None:
        """A session of about the time of its authorization, reported after whatever happened meanwhile."""
        model = self.models[session_id]
        at_s = (model.deadline_ms - SESSION_MS) // 1_000 + ago_s
        if model.start is None and at_s * 1_000 <= self.now_ms and model.may_start(self.now_ms, at_s):
            self.start(session_id, False, meter_wh, at_s)
            self.stop(session_id, False, meter_wh + energy_wh, at_s, at_s)

    @rule(session_id=ids, payer=st.sampled_from(DRIVERS))
    def pay_debt(self, session_id: bytes, payer: Account) -> None:
        model = self.models[session_id]
        owed = model.owed
        expected = 0 < owed <= self.free[payer.address]
        self.send(expected, payer, Charging.pay_debt, session_id)
        if expected:
            self.free[payer.address] -= owed
            self.earned[OPERATORS[model.station.address].address] += owed
            model.owed = 0

    @rule(session_id=ids)
    def settle_expired(self, session_id: bytes) -> None:
        model = self.models[session_id]
        expected = model.state in ("PENDING", "ACTIVE") and self.now_ms > model.deadline_ms
        self.send(expected, STATIONS[1], Charging.settle_expired, session_id)
        if expected:
            self.settle(model) if model.state == "ACTIVE" else self.invalidate(model)

    @rule(session_id=ids)
    def reclaim(self, session_id: bytes) -> None:
        model = self.models[session_id]
        expected = model.held > 0 and self.now_ms > model.deadline_ms - SESSION_MS + RECLAIM_MS
        self.send(expected, model.driver, Asset.reclaim, session_id)
        if expected:
            self.free[model.driver.address] += model.held
            model.held = 0

    @rule(milliseconds=st.sampled_from([1_000, SESSION_MS // 2, RECLAIM_MS]))
    def wait(self, milliseconds: int) -> None:
        self.chain.advance(milliseconds)

    @invariant()
    def money_is_where_the_model_says(self) -> None:
        """The harness itself checks the supply and the sum of the holds after every block."""
        if not hasattr(self, "chain"):
            return
        for driver in DRIVERS:
            mine = [model for model in self.models.values() if model.driver == driver]
            balance = self.chain.balance(driver)
            assert (balance.free, balance.held) == (self.free[driver.address], sum(model.held for model in mine))
            assert self.chain.query(Charging.debt, driver.address) == sum(model.owed for model in mine)
        for operator in OPERATORS.values():
            assert self.chain.balance(operator).free == self.earned[operator.address]

    @invariant()
    def sessions_only_go_forward(self) -> None:
        """Readings and sequences are monotone; what is settled is settled once and adds up; CDRs never change."""
        for session_id, model in getattr(self, "models", {}).items():
            session: Session = self.chain.query(Charging.session, session_id)
            assert (session.status, session.owed) == (SessionStatus(model.state), model.owed)
            before = self.seen.get(session_id, session)
            self.seen[session_id] = session
            if before.progress is not None and session.progress is not None:
                assert session.progress.sequence >= before.progress.sequence
                assert session.progress.meter_wh >= before.progress.meter_wh
                assert session.progress.at_s >= before.progress.at_s
            if session.status is SessionStatus.COMPLETED:
                cdr: Cdr = self.chain.query(Charging.cdr, session_id)
                assert self.cdrs.setdefault(session_id, cdr) == cdr
                assert cdr.paid + cdr.released == cdr.held == HELD
                assert cdr.paid + cdr.debt == cdr.total_incl_vat == cdr.total_excl_vat + cdr.total_vat


ChargingMachine.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCharging = ChargingMachine.TestCase

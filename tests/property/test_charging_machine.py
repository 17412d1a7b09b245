"""The charging contract against a model of its own: any order of reports, good and bad, by anybody, early and late.

Drivers rich and poor, stations of two operators, splits that come and go, disputes and what arbiters make of them, deadlines that
the calendar keeps. After each step everybody's money is what the model says, and what holds for ever is looked at again. The
model is `tests.charging_model`.
"""

from typing import Any, ClassVar

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import Bundle, RuleBasedStateMachine, initialize, invariant, multiple, rule

from ledger.types import MOTES_PER_DATR
from tests.charging_model import (
    ANN,
    ARBITER,
    BEN,
    DRIVERS,
    HELD,
    NOON,
    OPERATORS,
    PARTNERS,
    PLACES,
    TERMS,
    Model,
    Place,
    World,
    expected_cost,
)
from tests.vm_harness import TREASURY, Account
from vm.contracts.asset import Asset
from vm.contracts.charging import Charging
from vm.contracts.charging_records import Measured, Outcome
from vm.contracts.charging_types import AHEAD_MAX, RECLAIM_MS, RESOLVE_MS, SESSION_MS

times = st.integers(NOON - 60, NOON + 7_200)
meters = st.integers(-1, 12_000)
start_meters = st.integers(0, 3_000)
rarely = st.integers(0, 9).map(lambda number: number == 9)
sequences = st.integers(0, 9).map(lambda number: number if number < 8 else number * AHEAD_MAX)
how_many = st.sampled_from([0, 0, 0, 1, 2, 3, 2**32 - 1])
places = st.sampled_from(PLACES)


class ChargingMachine(World, RuleBasedStateMachine):
    """The chain and the model take the same steps; every step the chain refuses, the model refuses too."""

    ids: ClassVar[Bundle[Any]] = Bundle("ids")

    @initialize(
        target=ids,
        poor=st.integers(0, 3 * HELD),
        at_s=st.integers(NOON, NOON + 60),
        shares=st.sampled_from([[], [3_333], [1_234, 777]]),
    )
    def begin(self, poor: int, at_s: int, shares: list[int]) -> Any:
        """Two sessions run at once, roaming or not."""
        self.set_up(poor)
        if shares:
            self.agree_split(PLACES[0], shares)
        return multiple(*(self.authorize(driver, PLACES[0], bool(shares), 1_000, at_s) for driver in (ANN, BEN)))

    # ---- operators and partners

    @rule(place=places, deed=st.sampled_from(["agree", "end", "switch", "spend", "fund"]), share=st.integers(1, 5_000))
    def business(self, place: Place, deed: str, share: int) -> None:
        """One rule for all that is not about a session, so that most steps are."""
        if deed == "agree":
            self.agree_split(place, [share, 5_001 - share][: 1 + share % 2])
        elif deed == "end":
            self.end_split(place)
        elif deed == "switch" and (share < 1_000 or place in self.off):
            self.switch_station(place)
        elif deed in ("spend", "fund"):
            party = [*OPERATORS.values(), *PARTNERS][share % 4]
            self.spend(party, share) if deed == "spend" else self.fund(party, share * MOTES_PER_DATR // 1_000)

    # ---- drivers and stations

    @rule(
        target=ids,
        driver=st.sampled_from([*DRIVERS]),
        place=places,
        roams=st.booleans(),
        meter_wh=st.none() | start_meters,
        at_s=times,
    )
    def authorize(self, driver: Account, place: Place, roams: bool, meter_wh: int | None, at_s: int) -> Any:
        """Authorize a session, and most often start it at once."""
        self.turn()
        shares = self.splits.get((place.operator, PARTNERS[0]), (b"", []))[1] if roams else []
        expected = place not in self.off and not self.in_debt(driver) and self.free[driver.address] >= HELD
        expected = expected and not any(self.owes(party) for party in (place.operator.address, *dict(shares)))
        deadline_ms = self.at_ms + SESSION_MS
        provider = PARTNERS[0].address if roams else None
        args = (place.station.address, TERMS.tariff_id(), ARBITER.address, provider)
        receipt = self.send(expected, driver, Charging.authorize, *args)
        if not expected:
            return multiple()
        [session_id] = receipt.results
        assert isinstance(session_id, bytes)
        self.models[session_id] = Model(driver, place, deadline_ms, shares)
        self.free[driver.address] -= HELD
        if meter_wh is not None:
            self.start(session_id, False, meter_wh, at_s)
        return session_id

    def sender(self, model: Model, foreign: bool) -> Account:
        """The session's station, or another."""
        return PLACES[(PLACES.index(model.place) + foreign) % len(PLACES)].station

    @rule(session_id=ids, foreign=rarely, meter_wh=start_meters, at_s=times)
    def start(self, session_id: bytes, foreign: bool, meter_wh: int, at_s: int) -> None:
        self.turn(session_id)
        model = self.models[session_id]
        fresh = model.start is None and model.may_start(self.at_ms, at_s)
        expected = not foreign and (fresh or model.start == (at_s, meter_wh))
        self.send(expected, self.sender(model, foreign), Charging.start, session_id, "tx", meter_wh, at_s)
        if expected and fresh:
            model.state, model.start = "ACTIVE", (at_s, meter_wh)

    @rule(session_id=ids, foreign=rarely, sequence=sequences, meter_wh=meters, at_s=times, charging=st.booleans())
    def meter(self, session_id: bytes, foreign: bool, sequence: int, meter_wh: int, at_s: int, charging: bool) -> None:
        self.turn(session_id)
        model = self.models[session_id]
        counts = model.state == "ACTIVE" and (model.stop is None or sequence <= model.stop[3])
        too_far = counts and sequence > model.before_a_gap + AHEAD_MAX
        expected = not foreign and model.start is not None and not too_far
        args = (session_id, sequence, meter_wh, at_s, charging)
        self.send(expected, self.sender(model, foreign), Charging.meter, *args)
        if not expected or model.state != "ACTIVE":
            return
        model.read(sequence, meter_wh, at_s, charging)
        if model.has_ended and model.lapses_ms is None:
            self.settle(model)

    @rule(session_id=ids, foreign=rarely, meter_wh=meters, at_s=times, charging_end_s=times, readings=how_many)
    def stop(self, session_id: bytes, foreign: bool, meter_wh: int, at_s: int, charging_end_s: int, readings: int) -> None:
        self.turn(session_id)
        model = self.models[session_id]
        sender = self.sender(model, foreign)
        state = "FOREIGN" if foreign else model.state
        args = (session_id, meter_wh, at_s, charging_end_s, "Local", readings)
        receipt = self.send(state != "PENDING", sender, Charging.stop, *args)
        names = [event.name for event in receipt.events]
        stop = (meter_wh, at_s, charging_end_s, readings)
        if state in ("FOREIGN", "INVALID"):
            assert names == ["StopQuarantined"]
        elif model.stop == stop:
            assert names == []
        elif state == "COMPLETED" or model.stop is not None:
            self.other_end(model, names)
        elif state == "ACTIVE" and model.start is not None:
            model.end_with(stop)
            if model.has_ended and model.lapses_ms is None:
                self.settle(model)
            else:
                assert names == ["StopDeferred"]
            self.turn()
            assert self.send(True, sender, Charging.stop, *args).events == ()

    def other_end(self, model: Model, names: list[str]) -> None:
        """A station reported another end."""
        if model.lapses_ms is not None:
            assert names == ["StopDisputed"]
        elif model.may_be_disputed(self.at_ms):
            assert names == ["StopDisputed", "DisputeOpened"]
            model.open_dispute(self.at_ms + RESOLVE_MS)
        else:
            assert names == ["StopQuarantined"]

    @rule(session_id=ids, by_station=rarely)
    def cancel(self, session_id: bytes, by_station: bool) -> None:
        self.turn(session_id)
        model = self.models[session_id]
        sender = model.place.station if by_station else model.driver
        self.send(model.start is None, sender, Charging.cancel, session_id)
        if model.state == "PENDING":
            model.cancelled_ms = None if by_station else self.at_ms
            self.invalidate(model)
        elif by_station and model.start is None:
            model.cancelled_ms = None

    @rule(session_id=ids, ago_s=st.integers(-700, 700), meter_wh=start_meters, energy_wh=st.integers(0, 9_000))
    def late_session(self, session_id: bytes, ago_s: int, meter_wh: int, energy_wh: int) -> None:
        """A session of about the time of its authorization, reported after whatever happened meanwhile."""
        self.turn()
        model = self.models[session_id]
        at_s = (model.deadline_ms - SESSION_MS) // 1_000 + ago_s
        if model.start is None and at_s * 1_000 <= self.at_ms and model.may_start(self.at_ms, at_s):
            self.start(session_id, False, meter_wh, at_s)
            self.stop(session_id, False, meter_wh + energy_wh, at_s, at_s, 0)

    @rule(session_id=ids, payer=st.sampled_from([*DRIVERS]), amount=st.integers(0, HELD))
    def square(self, session_id: bytes, payer: Account, amount: int) -> None:
        """Pay what a driver owes, or some of it, or give back what he is owed."""
        if self.models[session_id].dues:
            self.collect_refund(session_id)
        else:
            self.pay_debt(session_id, payer, amount)

    def pay_debt(self, session_id: bytes, payer: Account, amount: int = 2**63) -> None:
        self.turn(session_id)
        model = self.models[session_id]
        taken = min(amount, model.owed)
        expected = 0 < taken <= self.free[payer.address]
        receipt = self.send(expected, payer, Charging.pay_debt, session_id, amount)
        if expected:
            assert receipt.results == (taken,)
            self.free[payer.address] -= taken
            before, after = model.parts(model.paid), model.parts(model.paid + taken)
            for each in after:
                self.free[each] += after[each] - before[each]
            model.paid, model.owed = model.paid + taken, model.owed - taken

    # ---- disputes

    @rule(session_id=ids, by_operator=st.booleans())
    def dispute(self, session_id: bytes, by_operator: bool) -> None:
        self.turn(session_id)
        model = self.models[session_id]
        expected = model.may_be_disputed(self.at_ms)
        sender = model.place.operator if by_operator else model.driver
        self.send(expected, sender, Charging.dispute, session_id, "it is wrong")
        if expected:
            model.open_dispute(self.at_ms + RESOLVE_MS)

    @rule(
        session_id=ids,
        outcome=st.sampled_from([Outcome.UPHELD, Outcome.CREDITED, Outcome.CORRECTED]),
        start=st.tuples(times, start_meters),
        lasts=st.tuples(st.integers(0, 3_600), st.integers(0, 3_600), st.integers(0, 12_000)),
        spent=st.booleans(),
    )
    def resolve(
        self, session_id: bytes, outcome: Outcome, start: tuple[int, int], lasts: tuple[int, int, int], spent: bool
    ) -> None:
        """Decide a dispute, most often one that is opened for it; sometimes those who were paid have spent it."""
        self.turn(session_id)
        model = self.models[session_id]
        for party in (model.place.operator, *PARTNERS) if spent else ():
            self.spend(party, 1)
            self.turn(session_id)
        if model.lapses_ms is None and model.may_be_disputed(self.at_ms):
            self.dispute(session_id, bool(lasts[2] % 2))
            self.turn(session_id)
        (at_s, meter_wh), (charged_s, parked_s, energy_wh) = start, lasts
        end_s = at_s + charged_s + parked_s
        found = Measured(at_s, meter_wh, at_s + charged_s, end_s, meter_wh + energy_wh, ())
        expected = model.lapses_ms is not None
        args = (session_id, outcome, found if outcome is Outcome.CORRECTED else None, "so it was")
        self.send(expected, ARBITER, Charging.resolve, *args)
        if not expected:
            return
        model.lapses_ms = None
        cost = expected_cost(energy_wh, parked_s) if outcome is Outcome.CORRECTED else None
        if outcome is Outcome.UPHELD:
            self.go_on(model)
        elif model.state == "COMPLETED":
            self.correct(model, cost)
        elif cost is None:
            self.invalidate(model)
            model.cancelled_ms = None
        else:
            self.settle(model, cost)
            model.bill_disputed = True

    def collect_refund(self, session_id: bytes) -> None:
        self.turn(session_id)
        model = self.models[session_id]
        receipt = self.send(bool(model.dues), TREASURY, Charging.collect_refund, session_id)
        if model.dues:
            assert receipt.results == (self.draw(model),)

    @rule(
        target=ids,
        who=st.tuples(st.sampled_from([ANN, BEN]), places, st.booleans()),
        energy_wh=st.integers(0, 12_000),
        outcome=st.sampled_from([Outcome.UPHELD, Outcome.CREDITED, Outcome.CORRECTED, Outcome.CORRECTED]),
        lasts=st.tuples(st.just(0), st.integers(0, 3_600), st.integers(0, 12_000)),
        cancels=st.booleans(),
        ends=st.booleans(),
        pays=st.booleans(),
        spent=st.booleans(),
    )
    def whole_case(
        self,
        who: tuple[Account, Place, bool],
        energy_wh: int,
        outcome: Outcome,
        lasts: tuple[int, int, int],
        cancels: bool,
        ends: bool,
        pays: bool,
        spent: bool,
    ) -> Any:
        """A session from its authorization to what an arbiter makes of it, and its debts and refunds paid, or some of that."""
        session_id = self.authorize(*who, None, NOON)
        if not isinstance(session_id, bytes):
            return session_id
        at_s = (self.models[session_id].deadline_ms - SESSION_MS) // 1_000
        if cancels:
            self.cancel(session_id, False)
        self.start(session_id, False, 1_000, at_s)
        if ends:
            self.stop(session_id, False, 1_000 + energy_wh, at_s, at_s, 0)
        if pays:
            self.pay_debt(session_id, who[0])
        self.resolve(session_id, outcome, (at_s - 3_600, 2_000), lasts, spent)
        if not ends:
            self.stop(session_id, False, 1_000 + energy_wh, at_s, at_s, 0)
            self.resolve(session_id, Outcome.CORRECTED, (at_s - 3_600, 2_000), lasts, spent)
        if not spent:
            return session_id
        for party in (who[1].operator, *PARTNERS):
            self.fund(party, self.owes(party.address) + 1)
        self.collect_refund(session_id)
        self.pay_debt(session_id, BEN)
        return session_id

    # ---- time

    @rule(session_id=ids)
    def nobody_needs_to_settle_or_take_back(self, session_id: bytes) -> None:
        """The calendar is always earlier."""
        self.turn(session_id)
        model = self.models[session_id]
        self.send(False, TREASURY, Charging.settle_expired, session_id)
        self.turn()
        self.send(False, model.driver, Asset.reclaim, session_id)

    @rule(milliseconds=st.sampled_from([1_000, 3_600_000, SESSION_MS // 2, SESSION_MS, RECLAIM_MS]))
    def wait(self, milliseconds: int) -> None:
        self.chain.advance(milliseconds)
        self.turn()
        self.chain.block()

    # ---- what always holds

    @invariant()
    def money_is_where_the_model_says(self) -> None:
        """The harness itself checks the supply and the sum of the holds after every block."""
        if not hasattr(self, "chain"):
            return
        for address, free in self.free.items():
            assert self.chain.balance(address).free == free
        for driver in DRIVERS:
            held = sum(model.held for model in self.models.values() if model.driver == driver)
            assert self.chain.balance(driver).held == held
            assert self.chain.query(Charging.debt, driver.address) == self.in_debt(driver)
        for party in (*OPERATORS.values(), *PARTNERS):
            assert self.chain.query(Charging.refunds_owed, party.address) == self.owes(party.address)

    @invariant()
    def sessions_only_go_forward(self) -> None:
        """Looked at in the sessions that were touched; at the end in all."""
        for session_id in getattr(self, "touched", ()):
            self.look(session_id, self.models[session_id])
        if hasattr(self, "touched"):
            self.touched.clear()

    def teardown(self) -> None:
        """All sessions once more; and each operator's records are numbered without a gap."""
        if not hasattr(self, "models"):
            return
        for session_id, model in self.models.items():
            self.look(session_id, model)
        for operator in OPERATORS.values():
            mine = (self.cdrs[each] for each, model in self.models.items() if model.place.operator == operator)
            numbers = sorted(cdr.number for cdrs in mine for cdr in cdrs)
            assert numbers == list(range(1, len(numbers) + 1))


ChargingMachine.TestCase.settings = settings(max_examples=40, stateful_step_count=40, deadline=None)
TestCharging = ChargingMachine.TestCase

"""What the tests believe of charging sessions: a model of its own, whose prices and shares are worked out with fractions."""

from dataclasses import dataclass, field
from fractions import Fraction
from math import ceil, floor
from typing import Any

from ledger.block import Receipt, Status
from ledger.types import MOTES_PER_DATR, Address, Motes
from tests.vm_harness import START_MS, TREASURY, Account, Chain, account
from vm.contracts.asset import Asset
from vm.contracts.charging import NAME, Charging
from vm.contracts.charging_parties import Share
from vm.contracts.charging_records import Cdr, CdrKind
from vm.contracts.charging_types import (
    CLOCK_TOLERANCE_MS,
    DISPUTE_MS,
    SESSION_MS,
    Session,
    SessionStatus,
    TariffTerms,
)
from vm.tariff import parse_tariff

HELD = 3 * MOTES_PER_DATR + 7  # shares of it are no whole motes
FUNDS = 1_000 * MOTES_PER_DATR
TERMS = TariffTerms.of(
    parse_tariff(
        """{"elements": [{"price_components": [
            {"type": "FLAT", "price": 0.35},
            {"type": "ENERGY", "price": 0.4567, "vat": 19, "step_size": 7},
            {"type": "PARKING_TIME", "price": 1.2, "vat": 19, "step_size": 60}]}],
        "preauthorize_amount": "3.00000007"}"""
    )
)
ANN, BEN, POOR = (account(name) for name in ("ann", "ben", "poor"))
DRIVERS = {ANN: FUNDS, BEN: FUNDS, POOR: 3 * HELD}
OPERATORS = {"DE*ONE": account("operator one"), "NL*TWO": account("operator two")}
ARBITER = account("arbiter")
PARTNERS = [account("provider"), account("supplier")]
NOON = START_MS // 1_000 - 86_400


@dataclass(frozen=True)
class Place:
    """A station and its operator."""

    station: Account
    operator: Account


PLACES = [Place(account(f"station {number}"), operator) for number, operator in enumerate([*OPERATORS.values()] * 2)][:3]


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
    place: Place
    deadline_ms: int
    shares: list[tuple[Address, int]]
    state: str = "PENDING"
    held: int = HELD
    start: tuple[int, int] | None = None
    came: dict[int, tuple[int, int, bool]] = field(default_factory=dict)  # meter, time, charging: the first of each number
    stop: tuple[int, int, int, int] | None = None  # meter, time, end of charging, how many readings
    cancelled_ms: int | None = None
    ended_ms: int = 0
    paid: int = 0
    owed: int = 0
    lapses_ms: int | None = None  # while a dispute is open
    was_disputed: bool = False  # while it ran, or the bill
    bill_disputed: bool = False
    records: list[tuple[CdrKind, int, int, int]] = field(default_factory=list)  # total, paid, debt
    dues: dict[Address, int] = field(default_factory=dict)

    def may_start(self, now_ms: int, at_s: int) -> bool:
        """A cancelled session that began while it was authorized counts, until the deadline."""
        if self.state == "PENDING":
            return True
        authorized_ms = self.deadline_ms - SESSION_MS
        cancelled = self.state == "INVALID" and self.cancelled_ms is not None and now_ms <= self.deadline_ms
        return cancelled and authorized_ms - CLOCK_TOLERANCE_MS <= at_s * 1_000 <= (self.cancelled_ms or 0)

    @property
    def before_a_gap(self) -> int:
        """How many readings came without one missing before them."""
        return next(number for number in range(len(self.came) + 1) if number + 1 not in self.came)

    @property
    def has_ended(self) -> bool:
        return self.stop is not None and self.before_a_gap >= self.stop[3]

    def read(self, sequence: int, meter_wh: int, at_s: int, charging: bool) -> None:
        """Take a reading, unless it came already, or comes after the end."""
        if sequence and (self.stop is None or sequence <= self.stop[3]):
            self.came.setdefault(sequence, (meter_wh, at_s, charging))

    def end_with(self, stop: tuple[int, int, int, int]) -> None:
        """Take the first report of the end; what waits is no longer waited for where it is beyond that."""
        counted = max(self.before_a_gap, stop[3])
        self.stop, self.came = stop, {number: each for number, each in self.came.items() if number <= counted}

    def totals(self) -> tuple[int, int]:
        """Energy and seconds parked, of all that came, in the order of the numbers; good values only grow."""
        assert self.start is not None
        (start_s, start_wh), (at_s, meter_wh), charged_s = self.start, self.start, self.start[0]
        for _, (reading_wh, reading_s, charging) in sorted(self.came.items()):
            at_s, meter_wh = max(at_s, reading_s), max(meter_wh, reading_wh)
            charged_s = at_s if charging else charged_s
        if self.stop is not None:
            at_s, meter_wh = max(at_s, self.stop[1]), max(meter_wh, self.stop[0])
            charged_s = min(max(self.stop[2], start_s), at_s)
        return meter_wh - start_wh, at_s - charged_s

    def may_be_disputed(self, now_ms: int) -> bool:
        """Once, until the deadline or not long after the end."""
        until_ms = self.ended_ms + DISPUTE_MS if self.state == "COMPLETED" else self.deadline_ms
        before = self.bill_disputed if self.state == "COMPLETED" else self.was_disputed
        return self.state in ("ACTIVE", "COMPLETED") and self.lapses_ms is None and not before and now_ms <= until_ms

    def open_dispute(self, lapses_ms: int) -> None:
        """A dispute of a bill is the only one of it; one of a running session is the only one until there is a bill."""
        self.was_disputed, self.lapses_ms = True, lapses_ms
        self.bill_disputed = self.state == "COMPLETED"

    def parts(self, paid: int) -> dict[Address, int]:
        """Who has what of `paid`; the operator comes last."""
        parts = {partner: paid * share_e4 // 10_000 for partner, share_e4 in self.shares}
        return {**parts, self.place.operator.address: paid - sum(parts.values())}


class World:
    """A chain and what it should be: whatever is done to one is done to the other."""

    def set_up(self, poor: int) -> None:
        """Begin with drivers, operators, stations and a tariff; `poor` is what the poor driver has."""
        self.chain = Chain({NAME: Charging})
        everybody = [*DRIVERS, *OPERATORS.values(), *PARTNERS]
        self.free = {each.address: DRIVERS.get(each, 0) for each in everybody}
        self.free[POOR.address] = poor
        self.models: dict[bytes, Model] = {}
        self.touched: set[bytes] = set()
        self.cdrs: dict[bytes, tuple[Cdr, ...]] = {}
        self.seen: dict[bytes, Session] = {}
        self.splits: dict[tuple[Account, Account], tuple[bytes, list[tuple[Address, int]]]] = {}
        self.off: set[Place] = set()
        for driver in DRIVERS:
            self.chain.account(driver.name, self.free[driver.address])
        self.chain.free(PLACES[0].station, Charging.publish_tariff, TERMS)
        for operator_id, operator in OPERATORS.items():
            who = (operator_id, operator.name, operator.address, ARBITER.address)
            self.chain.free(operator, Charging.register_operator, *who)
        for place in PLACES:
            what = (place.station.address, place.station.name, TERMS.tariff_id(), None)
            self.chain.free(place.operator, Charging.add_station, *what)

    @property
    def now_ms(self) -> int:
        return self.chain.context.timestamp_ms

    def send(self, expected: bool, sender: Account, method: Any, *args: Any) -> Receipt:
        receipt = self.chain.send(sender, method, *args)
        assert (receipt.status is Status.SUCCEEDED) == expected, receipt.error
        assert receipt.error is None or receipt.error.code != "CONTRACT_DEFECT"
        return receipt

    def turn(self, session_id: bytes | None = None) -> None:
        """Do what the calendar does in the block to come, and note its time and which session is looked at."""
        self.at_ms = self.now_ms
        if session_id is not None:
            self.touched.add(session_id)
        for each, model in self.models.items():
            before = model.state, model.lapses_ms
            if model.lapses_ms is not None and self.at_ms >= model.lapses_ms:
                model.lapses_ms = None
                self.go_on(model)
            overdue = self.at_ms > model.deadline_ms and model.lapses_ms is None
            if overdue and model.state == "ACTIVE":
                self.settle(model)
            elif overdue and model.state == "PENDING":
                self.invalidate(model)
            if (model.state, model.lapses_ms) != before:
                self.touched.add(each)

    def go_on(self, model: Model) -> None:
        """After a dispute: settle an open session that has ended meanwhile."""
        if model.state == "ACTIVE" and (model.has_ended or self.at_ms > model.deadline_ms):
            self.settle(model)
            model.bill_disputed = True

    def settle(self, model: Model, cost: int | None = None) -> None:
        """Do what settling does, by hand."""
        assert model.start is not None
        if cost is None:
            cost = expected_cost(*model.totals())
        model.paid = min(cost, model.held)
        model.owed = cost - model.paid
        for account_of, part in model.parts(model.paid).items():
            self.free[account_of] += part
        self.free[model.driver.address] += model.held - model.paid
        model.state, model.held, model.ended_ms = "COMPLETED", 0, self.at_ms
        model.records.append((CdrKind.CHARGE, cost, model.paid, model.owed))

    def invalidate(self, model: Model) -> None:
        self.free[model.driver.address] += model.held
        model.state, model.held = "INVALID", 0

    def correct(self, model: Model, cost: int | None) -> None:
        """Credit a settled session, and bill it anew."""
        model.records.append((CdrKind.CREDIT, -model.paid - model.owed, -model.paid, -model.owed))
        kept = min(cost or 0, model.paid)
        before, after = model.parts(model.paid), model.parts(kept)
        model.paid, model.owed = kept, (cost or 0) - kept
        if cost is not None:
            model.records.append((CdrKind.CORRECTION, cost, kept, model.owed))
        model.dues = {each: before[each] - after[each] for each in before}
        self.draw(model)

    def draw(self, model: Model) -> int:
        drawn = 0
        for each, due in model.dues.items():
            part = min(due, self.free[each])
            self.free[each] -= part
            self.free[model.driver.address] += part
            model.dues[each] = due - part
            drawn += part
        model.dues = {each: due for each, due in model.dues.items() if due}
        return drawn

    def owes(self, party: Address) -> int:
        return sum(model.dues.get(party, 0) for model in self.models.values())

    def in_debt(self, driver: Account) -> int:
        return sum(model.owed for model in self.models.values() if model.driver == driver)

    def agree_split(self, place: Place, shares: list[int]) -> None:
        self.turn()
        terms = [Share(partner.address, share_e4) for partner, share_e4 in zip(PARTNERS, shares, strict=False)]
        second = terms[1] if len(terms) > 1 else None
        [split_id] = self.send(True, place.operator, Charging.publish_split, terms[0], second).results
        for partner, _ in zip(PARTNERS, shares, strict=False):
            self.turn()
            self.send(True, partner, Charging.accept_split, split_id)
        assert isinstance(split_id, bytes)
        self.splits[place.operator, PARTNERS[0]] = split_id, [(each.account, each.share_e4) for each in terms]

    def end_split(self, place: Place) -> None:
        split = self.splits.pop((place.operator, PARTNERS[0]), None)
        if split is not None:
            self.turn()
            self.send(True, PARTNERS[0], Charging.end_split, split[0])

    def switch_station(self, place: Place) -> None:
        self.turn()
        self.send(True, place.operator, Charging.switch_station, place.station.address, place in self.off)
        self.off ^= {place}

    def spend(self, party: Account, share_e4: int) -> None:
        """What was earned does not stay where refunds could be drawn from."""
        self.turn()
        amount = self.free[party.address] * (10_000 - share_e4) // 10_000
        if amount:
            self.send(True, party, Asset.transfer, TREASURY.address, Motes(amount))
            self.free[party.address] -= amount

    def fund(self, party: Account, amount: int) -> None:
        self.turn()
        self.send(True, TREASURY, Asset.transfer, party.address, Motes(amount))
        self.free[party.address] += amount

    def look(self, session_id: bytes, model: Model) -> None:
        """Readings and sequences are monotone; what is settled is settled once and adds up; records never change."""
        session: Session = self.chain.query(Charging.session, session_id)
        assert (session.status, session.owed) == (SessionStatus(model.state), model.owed)
        assert session.disputed == (model.lapses_ms is not None)
        before = self.seen.get(session_id, session)
        self.seen[session_id] = session
        if before.progress is not None and session.progress is not None:
            assert session.progress.sequence >= before.progress.sequence
            assert session.progress.meter_wh >= before.progress.meter_wh
            assert session.progress.at_s >= before.progress.at_s
        cdrs: tuple[Cdr, ...] = self.chain.query(Charging.cdrs, session_id)
        old = self.cdrs.get(session_id, ())
        self.cdrs[session_id] = cdrs
        assert cdrs[: len(old)] == old
        assert [(cdr.kind, cdr.total_incl_vat, cdr.paid, cdr.debt) for cdr in cdrs] == model.records
        for cdr in cdrs:
            assert cdr.paid + cdr.debt == cdr.total_incl_vat == cdr.total_excl_vat + cdr.total_vat
            assert sum(part.amount for part in cdr.parts) == cdr.paid
        if cdrs:
            assert cdrs[0].paid + cdrs[0].released == cdrs[0].held == HELD
            assert sum(cdr.total_incl_vat for cdr in cdrs) == model.paid + model.owed == session.paid + session.owed
        if len(cdrs) > 1:
            assert [-line.excl_vat for line in cdrs[1].lines] == [line.excl_vat for line in cdrs[0].lines]

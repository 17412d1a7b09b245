"""A session of which more readings have waited than one call can take: it goes on from call to call, to the same bill."""

from dataclasses import replace
from typing import Any

import pytest

from benchmarks.gas import slowest_tariff
from ledger.block import Receipt
from ledger.parameters import ChainParameters
from ledger.transaction import Call
from tests.charging_site import ARBITER, MANY_RULES, OPERATOR, Site, events_of, site_with
from tests.vm_harness import Account
from vm.contracts.charging import Charging
from vm.contracts.charging_records import Cdr, Outcome
from vm.contracts.charging_types import AHEAD_MAX, SESSION_MS, SessionStatus
from vm.gas import max_gas_limit

MOST_GAS = max_gas_limit(ChainParameters().block_max_gas)
CALLS_MAX = 12


def gas_of(site: Site, sender: Account, call: Call) -> Receipt:
    """Send a call with all the gas there can be; it must succeed with three fifths of it. Return its receipt."""
    receipt = site.chain.block(site.chain.transaction(sender, call, gas_limit=MOST_GAS)).receipts[-1]
    assert receipt.error is None, receipt.error
    assert receipt.gas_used <= MOST_GAS * 3 // 5
    return receipt


class Course:
    """A session of readings at equal times, of which the one after `before` is missing while 31 more come."""

    def __init__(self, site: Site, step_s: int, before: int) -> None:
        self.site, self.step_s, self.missing, self.count = site, step_s, before + 1, before + AHEAD_MAX
        self.key = site.authorize()
        self.began_s = site.chain.context.timestamp_ms // 1_000
        gas_of(site, site.station, site.chain.call(Charging.start, self.key, "t", 0, self.began_s))

    def read(self, number: int) -> Receipt:
        at_s = self.began_s + number * self.step_s
        self.site.chain.advance(max(0, at_s * 1_000 - self.site.chain.context.timestamp_ms))
        call = self.site.chain.call(Charging.meter, self.key, number, number * 700, at_s, True)
        return gas_of(self.site, self.site.station, call)

    def read_all_but_one(self) -> None:
        for number in range(1, self.count + 1):
            if number != self.missing:
                self.read(number)

    def stop(self) -> Receipt:
        end_s = self.began_s + self.count * self.step_s + 60
        args = (self.key, self.count * 700 + 5, end_s, end_s, "Local", self.count)
        return gas_of(self.site, self.site.station, self.site.chain.call(Charging.stop, *args))

    def settle_expired(self) -> Receipt:
        return gas_of(self.site, OPERATOR, self.site.chain.call(Charging.settle_expired, self.key))

    def bill(self) -> tuple[Any, ...]:
        assert self.site.session(self.key).status is SessionStatus.COMPLETED
        cdr: Cdr = self.site.cdr(self.key)
        used = cdr.energy_wh, cdr.charging_s, cdr.parking_s, cdr.end_s - self.began_s
        return *used, cdr.lines, cdr.total_incl_vat, cdr.flags


def course_of(step_s: int, before: int, terms: Any = MANY_RULES) -> Course:
    return Course(site_with(terms), step_s, before)


def bill_in_order(step_s: int, before: int) -> tuple[Any, ...]:
    """Return the bill of the same session, nothing of which was ever missing."""
    course = course_of(step_s, before)
    for number in range(1, course.count + 1):
        course.read(number)
    course.stop()
    return course.bill()


def go_on(course: Course, report: Any) -> int:
    """Report until the session is settled; return how often that took."""
    for count in range(CALLS_MAX):
        if course.site.session(course.key).status is SessionStatus.COMPLETED:
            return count
        report()
    raise AssertionError("it is not settled")


class TestAnEndedSession:
    """Its missing reading comes last: no call may need more gas than there is, or nobody is ever paid."""

    @pytest.mark.parametrize("who", ["the station, by its stop", "the station, by its reading", "anybody"])
    def test_whoever_calls_next_goes_on(self, who: str) -> None:
        course = course_of(60_000, 10)
        course.read_all_but_one()
        course.stop()
        assert events_of(course.read(course.missing)) == ["SessionUpdated"]
        before = course.site.session(course.key)
        assert before.ahead, "some of them still wait"
        reports = {
            "the station, by its stop": course.stop,
            "the station, by its reading": lambda: course.read(course.missing),
            "anybody": course.settle_expired,
        }
        assert go_on(course, reports[who]) > 0
        assert course.bill() == bill_in_order(60_000, 10)

    @pytest.mark.parametrize(("terms", "step_s", "before"), [(MANY_RULES, 26_000, 66), (slowest_tariff(), 60_000, 10)])
    def test_the_dearest_sessions_are_settled(self, terms: Any, step_s: int, before: int) -> None:
        course = course_of(step_s, before, terms)
        course.read_all_but_one()
        course.stop()
        course.read(course.missing)
        go_on(course, course.settle_expired)

    def test_one_whose_reading_never_comes_is_settled_after_its_deadline(self) -> None:
        course = course_of(60_000, 10)
        course.read_all_but_one()
        course.stop()
        assert [events_of(each) for each in course.site.wait(SESSION_MS)] == [["SettlementLeft"]]
        assert go_on(course, course.settle_expired) > 1

    def test_an_arbiters_word_goes_on_too(self) -> None:
        course = course_of(60_000, 10)
        course.read_all_but_one()
        course.stop()
        course.read(course.missing)
        site = course.site
        site.ok(OPERATOR, Charging.dispute, course.key, "is that so")
        site.wait(1)
        assert site.session(course.key).ahead, "nothing is settled while it is disputed"
        resolve = site.chain.call(Charging.resolve, course.key, Outcome.UPHELD, None, "it is")
        gas_of(site, ARBITER, resolve)
        go_on(course, course.settle_expired)
        assert course.bill() == bill_in_order(60_000, 10)


class TestTheCalendar:
    """What it can do block by block needs nobody's call."""

    def test_it_goes_on_by_itself(self) -> None:
        course = course_of(20_000, 1, replace(MANY_RULES, elements=MANY_RULES.elements[:4]))
        course.read_all_but_one()
        course.stop()
        assert [events_of(each) for each in course.site.wait(SESSION_MS)] == [["SessionUpdated"]]
        assert go_on(course, lambda: course.site.wait(1)) > 1
        assert course.site.session(course.key).timer is None
        assert course.site.wait(1) == [], "and is done with it"


class TestARunningSession:
    """Nothing is due yet, but its station must not be refused for ever."""

    def test_the_next_readings_take_those_that_wait(self) -> None:
        course = course_of(60_000, 10)
        course.read_all_but_one()
        course.read(course.missing)
        left = len(course.site.session(course.key).ahead)
        assert left > 0
        course.read(course.missing)
        assert 0 < len(course.site.session(course.key).ahead) < left, "the same one again takes more of them"
        for number in range(course.count + 1, course.count + CALLS_MAX):
            if course.site.session(course.key).ahead:
                course.read(number)
        assert course.site.session(course.key).ahead == ()

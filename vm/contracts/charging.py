"""Charging sessions: a driver's money is held, the station reports, its operator is paid.

    authorize (driver) -> start -> meter ... -> stop (station) -> price -> CDR, operator and partners paid, rest released

A station may report late, for it may have been offline: its event times price the session, and since it repeats what is refused,
every report that makes sense is accepted, twice as well as once. Bad values in it are flagged and the last good ones billed.
Readings are numbered and the stop says how many there are: they count in that order whatever order they arrive in, so what a
session costs is a matter of its reports alone.
So a driver who cancels gets his hold back at once, but owes for a session that had begun by then, whenever its start arrives; and
a debt refuses new authorizations, never the start of a session whose money is held already.
In every ended session paid + released = held; a session is settled once, and what was wrong with that is credited, never changed.

What it consists of: operators, their tariffs and stations (`charging_operators`), splits with their partners (`charging_splits`),
money and records (`charging_settlement`), disputes (`charging_disputes`), drivers' and stations' calls (`charging_sessions`).
"""

from typing import Final

from vm.contracts.charging_disputes import Disputes
from vm.contracts.charging_events import EVENTS
from vm.contracts.charging_operators import Operators
from vm.contracts.charging_sessions import Sessions
from vm.contracts.charging_settlement import Settlement
from vm.contracts.charging_splits import Splits
from vm.contracts.charging_types import ChargingError

NAME: Final = "charging"


class Charging(Sessions, errors=ChargingError, events=EVENTS):
    """Pays for charging electric cars, by the operator's tariff and the station's meter."""

    # operators
    register_operator = Operators.register_operator
    change_operator = Operators.change_operator
    publish_tariff = Operators.publish_tariff
    add_station = Operators.add_station
    invite_station = Operators.invite_station
    set_tariff = Operators.set_tariff
    switch_station = Operators.switch_station

    # operators and their partners
    publish_split = Splits.publish_split
    accept_split = Splits.accept_split
    end_split = Splits.end_split

    # drivers
    authorize = Sessions.authorize
    cancel = Sessions.cancel
    pay_debt = Settlement.pay_debt

    # stations
    register_station = Operators.register_station
    start = Sessions.start
    meter = Sessions.meter
    stop = Sessions.stop

    # disputes
    dispute = Disputes.dispute
    resolve = Disputes.resolve
    collect_refund = Settlement.collect_refund

    # the calendar, and whoever does what is too much for it
    expire = Settlement.expire
    lapse = Disputes.lapse
    settle_expired = Settlement.settle_expired

    # reads
    operator = Operators.operator
    operator_account = Operators.operator_account
    station = Operators.station
    tariff = Operators.tariff
    split = Splits.split
    split_in_force = Splits.split_in_force
    session = Settlement.session
    cdr = Settlement.cdr
    cdrs = Settlement.cdrs
    cdrs_of = Settlement.cdrs_of
    debt = Settlement.debt
    refunds_due = Settlement.refunds_due
    refunds_owed = Settlement.refunds_owed
    dispute_of = Disputes.dispute_of

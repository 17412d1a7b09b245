"""Charging sessions: a driver's money is held, the station reports, its operator is paid (docs/money.md, section Charging).

    authorize (driver) -> start -> meter ... -> stop (station) -> price -> CDR, operator paid, rest released

A station may report late, for it may have been offline: its event times price the session, and since it repeats what is refused,
every report that makes sense is accepted, twice as well as once. Bad values in it are flagged and the last good ones billed.
So a driver who cancels gets his hold back at once, but owes for a session that had begun by then, whenever its start arrives; and
a debt refuses new authorizations, never the start of a session whose money is held already.
In every ended session paid + released = held; a session is settled once.
"""

from dataclasses import replace
from typing import Final

from ledger.codec import INT_MAX
from ledger.errors import BadEncodingError
from ledger.policy import format_address
from ledger.types import Motes
from vm.contract import U32, Address, Bytes32, Context, Contract, Map, read, require, write
from vm.contracts.asset import Asset, AssetError, has_keys
from vm.contracts.charging_events import (
    EVENTS,
    DebtPaid,
    SessionAuthorized,
    SessionCompleted,
    SessionInvalidated,
    SessionStarted,
    SessionUpdated,
    StationRegistered,
    StopDisputed,
    StopQuarantined,
    StopRequested,
    TariffPublished,
    TariffSet,
)
from vm.contracts.charging_pricing import cdr_lines, motes, price, with_end, with_reading
from vm.contracts.charging_types import (
    DEBT_BYTES,
    Cdr,
    ChargingError,
    Debt,
    EventTime,
    Flag,
    MeterWh,
    Progress,
    ReportedWh,
    Session,
    SessionStatus,
    Start,
    Station,
    StationId,
    Stop,
    StopReason,
    TariffTerms,
    TransactionId,
    add_flags,
    advance,
)
from vm.errors import ContractError

NAME: Final = "charging"
PURPOSE: Final = "charging"
OUT_OF_CREDIT: Final = "LocalOutOfCredit"

DAY_MS: Final = 86_400_000
SESSION_MS: Final = 30 * DAY_MS
"""How long a session may stay open: far longer than a station is ever offline."""
RECLAIM_MS: Final = SESSION_MS + 7 * DAY_MS
"""When the driver could take the hold back by himself: later, so that everybody has a week to have an open session settled."""
CLOCK_TOLERANCE_MS: Final = 600_000
"""How far a station's clock and the chain's may be apart."""
COMPONENT_GAS: Final = 6_000
"""For each price component of a tariff as it was published: reading it, checking it and hashing it."""


class Charging(Contract, errors=ChargingError, events=EVENTS):
    """Pays for charging electric cars, by the operator's tariff and the station's meter."""

    tariffs: Map[Bytes32, TariffTerms]
    prices: Map[Bytes32, TariffTerms]  # the tariffs without what never applies: what was published besides costs nothing
    stations: Map[Address, Station]
    sessions: Map[Bytes32, Session]
    cdrs: Map[Bytes32, Cdr]
    debts: Map[Address, Debt]

    # ---- operators

    @write
    def publish_tariff(self, ctx: Context, tariff: TariffTerms) -> Bytes32:
        """Publish a tariff, for good and for anybody's stations. Returns its id, the hash of its terms; twice is as once.

        Errors: BAD_TARIFF. Emits TariffPublished.
        """
        ctx.charge(COMPONENT_GAS * (tariff.component_count + tariff.restricted_count))
        tariff_id = tariff.tariff_id()
        if tariff_id in self.prices:
            return tariff_id
        require(bool(tariff.preauthorize), ChargingError.BAD_TARIFF, problem="it must state what is preauthorized")
        try:
            tariff.to_price_with()
        except BadEncodingError as error:
            raise ContractError(ChargingError.BAD_TARIFF, problem=error.message) from error
        self.tariffs[tariff_id] = tariff
        self.prices[tariff_id] = tariff.flattened()
        ctx.emit(TariffPublished(tariff_id, tariff.label))
        return tariff_id

    @write
    def register_station(self, ctx: Context, station_id: StationId, operator: Address, tariff_id: Bytes32) -> None:
        """Make the caller a station, whose account signs its reports.

        Errors: STATION_EXISTS, BAD_RECIPIENT, UNKNOWN_TARIFF. Emits StationRegistered.

        Args:
            station_id: the operator's own id of it
            operator: receives its money and sets its tariff: an account with keys
        """
        require(ctx.sender not in self.stations, ChargingError.STATION_EXISTS)
        require(has_keys(operator), ChargingError.BAD_RECIPIENT, account=format_address(operator))
        require(tariff_id in self.prices, ChargingError.UNKNOWN_TARIFF)
        self.stations[ctx.sender] = Station(station_id, operator, tariff_id)
        ctx.emit(StationRegistered(ctx.sender, station_id, operator, tariff_id))

    @write
    def set_tariff(self, ctx: Context, station: Address, tariff_id: Bytes32) -> None:
        """Let a station offer another tariff; only its operator may. What was authorized before keeps its own.

        Errors: UNKNOWN_STATION, NOT_PERMITTED, UNKNOWN_TARIFF. Emits TariffSet.
        """
        found = self.stations.require(station, ChargingError.UNKNOWN_STATION)
        require(found.operator == ctx.sender, ChargingError.NOT_PERMITTED)
        require(tariff_id in self.prices, ChargingError.UNKNOWN_TARIFF)
        self.stations[station] = replace(found, tariff_id=tariff_id)
        ctx.emit(TariffSet(station, tariff_id))

    # ---- drivers

    @write
    def authorize(self, ctx: Context, station: Address, tariff_id: Bytes32) -> Bytes32:
        """Hold what the tariff preauthorizes of the caller's money for one session. Returns the session's id.

        Errors: UNKNOWN_STATION, TARIFF_CHANGED, DRIVER_IN_DEBT, and those of the asset. Emits SessionAuthorized.

        Args:
            tariff_id: what the driver was shown; the session is priced by it whatever the station offers later
        """
        offered = self.stations.require(station, ChargingError.UNKNOWN_STATION).tariff_id
        require(offered == tariff_id, ChargingError.TARIFF_CHANGED, offered=offered.hex())
        owed = self.debt(ctx.sender)
        require(owed == 0, ChargingError.DRIVER_IN_DEBT, owed=owed)
        amount = self.prices[tariff_id].preauthorize or Motes(0)
        deadline_ms = ctx.now_ms + SESSION_MS
        session_id = ctx.call(Asset.hold, ctx.sender, amount, PURPOSE, ctx.now_ms + RECLAIM_MS)
        self.sessions[session_id] = Session(
            driver=ctx.sender,
            station=station,
            tariff_id=tariff_id,
            held=amount,
            deadline_ms=deadline_ms,
            status=SessionStatus.PENDING,
            start=None,
            progress=None,
            flags=(),
            owed=Motes(0),
            cancelled_ms=None,
            disputed=False,
        )
        ctx.emit(SessionAuthorized(session_id, ctx.sender, station, tariff_id, amount, deadline_ms))
        return session_id

    @write
    def cancel(self, ctx: Context, session_id: Bytes32) -> None:
        """Release an authorization that was not started; its driver or its station may.

        The station's word is final. After the driver's, a start that happened before it may still arrive, until the session's
        deadline: the whole cost is then a debt.
        Errors: UNKNOWN_SESSION, NOT_PERMITTED, ALREADY_STARTED. Emits SessionInvalidated.
        """
        session = self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)
        require(ctx.sender in (session.driver, session.station), ChargingError.NOT_PERMITTED)
        require(session.start is None, ChargingError.ALREADY_STARTED)
        if session.status is SessionStatus.PENDING:
            cancelled_ms = None if ctx.sender == session.station else ctx.now_ms
            self._invalidate(ctx, session_id, replace(session, cancelled_ms=cancelled_ms))
        elif ctx.sender == session.station and session.cancelled_ms is not None:
            self.sessions[session_id] = replace(session, cancelled_ms=None)

    @write
    def pay_debt(self, ctx: Context, session_id: Bytes32) -> None:
        """Pay what a session's hold did not cover to its operator; anybody may pay.

        Errors: UNKNOWN_SESSION, NO_DEBT, and those of the asset. Emits DebtPaid.
        """
        session = self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)
        amount = session.owed
        require(amount > 0, ChargingError.NO_DEBT)
        hold_id = ctx.call(Asset.hold, ctx.sender, amount, PURPOSE, ctx.now_ms + 1)  # how a contract takes the signer's money
        ctx.call(Asset.capture, hold_id, amount, self.stations[session.station].operator)
        self.sessions[session_id] = replace(session, owed=Motes(0))
        self._change_debt(session.driver, -amount)
        ctx.emit(DebtPaid(session_id, ctx.sender, amount))

    # ---- stations

    @write
    def start(
        self, ctx: Context, session_id: Bytes32, transaction_id: TransactionId, meter_start_wh: MeterWh, at_s: EventTime
    ) -> None:
        """Begin a session; from here on its tariff is frozen. The same report again changes nothing.

        Errors: UNKNOWN_SESSION, NOT_PERMITTED, SESSION_ENDED (also: began after the driver cancelled), ALREADY_STARTED,
        EVENT_IN_FUTURE. Emits SessionStarted.
        """
        session = self._of_station(ctx, session_id)
        start = Start(transaction_id, meter_start_wh, at_s)
        if session.start is not None:
            require(session.start == start, ChargingError.ALREADY_STARTED, transaction_id=session.start.transaction_id)
            return
        require(session.status is SessionStatus.PENDING or _began_in_time(ctx, session, at_s), ChargingError.SESSION_ENDED)
        _require_past(ctx, at_s)
        progress = self._priced(ctx, session, start, Progress(0, at_s, meter_start_wh, at_s, Motes(0)))
        self.sessions[session_id] = replace(session, status=SessionStatus.ACTIVE, start=start, progress=progress)
        ctx.emit(SessionStarted(session_id, transaction_id, meter_start_wh, at_s))

    @write
    def meter(
        self, ctx: Context, session_id: Bytes32, sequence: U32, meter_wh: ReportedWh, at_s: EventTime, charging: bool
    ) -> None:
        """Report a reading. One that is repeated, or overtaken by a later one or by the stop, changes nothing.

        Errors: UNKNOWN_SESSION, NOT_PERMITTED, NOT_STARTED, EVENT_IN_FUTURE. Emits SessionUpdated, StopRequested.

        Args:
            sequence: counts the session's readings from 1
            charging: whether the car was drawing energy until then
        """
        session = self._of_station(ctx, session_id)
        start, last = _started(ctx, session, at_s)
        if session.status is not SessionStatus.ACTIVE or sequence <= last.sequence:
            return
        _require_past(ctx, at_s)
        meter, time_s, flags = advance(start, last, meter_wh, at_s)
        charging_end_s = time_s if charging else last.charging_end_s
        now = Progress(sequence, time_s, meter, charging_end_s, last.cost)
        now = self._priced(ctx, session, start, with_reading(self.prices[session.tariff_id], start, last, now, ctx.charge))
        self.sessions[session_id] = replace(session, progress=now, flags=add_flags(session.flags, flags))
        ctx.emit(SessionUpdated(session_id, sequence, meter - start.meter_wh, time_s, now.cost))
        held = session.held if session.cancelled_ms is None else Motes(0)
        if 2 * now.cost - last.cost >= held:  # the next interval may cost what this one did
            ctx.emit(StopRequested(session_id, OUT_OF_CREDIT, now.cost, held))

    @write
    def stop(
        self,
        ctx: Context,
        session_id: Bytes32,
        meter_stop_wh: ReportedWh,
        at_s: EventTime,
        charging_end_s: EventTime,
        reason: StopReason,
    ) -> None:
        """End a session: price it, keep its CDR, pay the operator out of the hold and release the rest.

        The first report of the end counts: the same one again changes nothing, a different one only marks the session as
        disputed. One for a session that is not the station's own, or never was, is noted in an event, without effect. One that
        overtook its start is refused, so that the station repeats it.
        Errors: UNKNOWN_STATION, NOT_STARTED, EVENT_IN_FUTURE.
        Emits SessionCompleted, StopDisputed or StopQuarantined.

        Args:
            meter_stop_wh: -1 where the station does not know
            charging_end_s: when the car stopped drawing energy; from then on it was parked
        """
        stop = Stop(meter_stop_wh, at_s, charging_end_s, reason)
        session = self.sessions.get(session_id)
        if session is None or session.station != ctx.sender or _is_over(ctx, session, at_s):
            require(ctx.sender in self.stations, ChargingError.UNKNOWN_STATION)
            ctx.emit(StopQuarantined(ctx.sender, session_id, stop))
        elif session.status is SessionStatus.COMPLETED:
            self._repeat_stop(ctx, session_id, session, stop)
        else:
            start, last = _started(ctx, session, at_s)
            _require_past(ctx, at_s)
            meter, time_s, flags = advance(start, last, meter_stop_wh, at_s)
            charging_end = min(max(charging_end_s, start.at_s), time_s)
            if charging_end != charging_end_s:
                flags = (*flags, Flag.CLOCK)
            end = replace(last, at_s=time_s, meter_wh=meter, charging_end_s=charging_end)
            end = with_end(self.prices[session.tariff_id], last, end)
            self._settle(ctx, session_id, replace(session, flags=add_flags(session.flags, flags)), start, end, stop)

    @write
    def settle_expired(self, ctx: Context, session_id: Bytes32) -> None:
        """End a session whose deadline passed: at its last reading, or without a bill when it never started. Anybody may.

        Errors: UNKNOWN_SESSION, SESSION_ENDED, NOT_YET. Emits SessionCompleted or SessionInvalidated.
        """
        session = self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)
        require(session.status in (SessionStatus.PENDING, SessionStatus.ACTIVE), ChargingError.SESSION_ENDED)
        overdue = ctx.now_ms > session.deadline_ms
        require(overdue, ChargingError.NOT_YET, now_ms=ctx.now_ms, deadline_ms=session.deadline_ms)
        if session.start is None or session.progress is None:
            self._invalidate(ctx, session_id, session)
        else:
            self._settle(ctx, session_id, session, session.start, session.progress, None)

    # ---- reads

    @read
    def session(self, session_id: Bytes32) -> Session:
        """Return a session. Errors: UNKNOWN_SESSION."""
        return self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)

    @read
    def cdr(self, session_id: Bytes32) -> Cdr:
        """Return the charge detail record of a completed session. Errors: UNKNOWN_SESSION."""
        return self.cdrs.require(session_id, ChargingError.UNKNOWN_SESSION)

    @read
    def station(self, address: Address) -> Station:
        """Return a station. Errors: UNKNOWN_STATION."""
        return self.stations.require(address, ChargingError.UNKNOWN_STATION)

    @read
    def tariff(self, ctx: Context, tariff_id: Bytes32) -> TariffTerms:
        """Return a published tariff. Errors: UNKNOWN_TARIFF."""
        found = self.tariffs.require(tariff_id, ChargingError.UNKNOWN_TARIFF)
        ctx.charge(COMPONENT_GAS * (found.component_count + found.restricted_count))
        return found

    @read
    def debt(self, driver: Address) -> Motes:
        """Return what a driver owes for all of his sessions, at most 2^64 - 1; while he owes he cannot authorize another."""
        return Motes(min(self._debt(driver), INT_MAX))

    # ---- inside

    def _of_station(self, ctx: Context, session_id: bytes) -> Session:
        session = self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)
        require(session.station == ctx.sender, ChargingError.NOT_PERMITTED)
        return session

    def _debt(self, driver: Address) -> int:
        return int.from_bytes(self.debts.get(driver, b""), "big")

    def _change_debt(self, driver: Address, change: int) -> None:
        """Add to a driver's debt. No number of sessions overflows it: a debt never makes a settlement fail."""
        total = self._debt(driver) + change
        if total:
            self.debts[driver] = total.to_bytes(DEBT_BYTES, "big")
        else:
            del self.debts[driver]

    def _priced(self, ctx: Context, session: Session, start: Start, progress: Progress) -> Progress:
        """Return `progress` with what the session costs until then."""
        cost = price(self.prices[session.tariff_id], start, progress, ctx.charge)
        return replace(progress, cost=Motes(cost.incl_vat_motes))

    def _repeat_stop(self, ctx: Context, session_id: bytes, session: Session, stop: Stop) -> None:
        """Take a second report of the end: only one that differs from what was settled leaves a trace."""
        if self.cdrs[session_id].stop == stop:
            return
        if not session.disputed:
            self.sessions[session_id] = replace(session, disputed=True)
        ctx.emit(StopDisputed(session_id, stop))

    def _settle(self, ctx: Context, session_id: bytes, session: Session, start: Start, end: Progress, stop: Stop | None) -> None:
        """Price the session up to `end`, move the money and keep the record. The one place where a session is billed."""
        cost = price(self.prices[session.tariff_id], start, end, ctx.charge)
        energy_wh = end.meter_wh - start.meter_wh
        station = self.stations[session.station]
        total = Motes(cost.incl_vat_motes)
        paid = self._pay(ctx, session_id, total, station.operator)
        debt = Motes(total - paid)
        released = Motes(session.held - paid)
        self.cdrs[session_id] = Cdr(
            driver=session.driver,
            station=session.station,
            station_id=station.station_id,
            tariff_id=session.tariff_id,
            start=start,
            stop=stop,
            end_s=end.at_s,
            energy_wh=energy_wh,
            charging_s=end.charging_end_s - start.at_s,
            parking_s=end.at_s - end.charging_end_s,
            lines=cdr_lines(cost),
            total_excl_vat=motes(cost.excl_vat_e4),
            total_vat=motes(cost.vat_e4),
            total_incl_vat=total,
            held=session.held,
            paid=paid,
            released=released,
            debt=debt,
            flags=session.flags,
        )
        last = replace(end, cost=total)
        self.sessions[session_id] = replace(session, status=SessionStatus.COMPLETED, progress=last, owed=debt)
        if debt:
            self._change_debt(session.driver, debt)
        ctx.emit(SessionCompleted(session_id, energy_wh, total, paid, released, debt))

    def _invalidate(self, ctx: Context, session_id: bytes, session: Session) -> None:
        self._pay(ctx, session_id, Motes(0), session.driver)
        self.sessions[session_id] = replace(session, status=SessionStatus.INVALID)
        ctx.emit(SessionInvalidated(session_id, session.held))

    def _pay(self, ctx: Context, hold_id: bytes, amount: Motes, to: Address) -> Motes:
        """Pay up to `amount` out of a hold, release the rest, and return what was paid.

        A hold that its owner took back after its own deadline pays nothing.
        """
        try:
            held = ctx.call(Asset.get_hold, hold_id).amount
        except ContractError as failure:
            if failure.failure_code != AssetError.UNKNOWN_HOLD.name:
                raise
            return Motes(0)
        paid = min(amount, held)
        if paid:
            ctx.call(Asset.capture, hold_id, paid, to)
        if paid < held:
            ctx.call(Asset.release, hold_id)
        return paid


def _started(ctx: Context, session: Session, at_s: int) -> tuple[Start, Progress]:
    """Return how a session began and where it stands; fails the report of this time for one that has not begun."""
    if session.start is None or session.progress is None:
        raise ContractError(ChargingError.SESSION_ENDED if _is_over(ctx, session, at_s) else ChargingError.NOT_STARTED)
    return session.start, session.progress


def _may_still_start(ctx: Context, session: Session, at_s: int) -> bool:
    """Return whether an event of this time may belong to a session that began before its driver cancelled it.

    The deadline bounds how long a driver must reckon with that.
    """
    authorized_ms = session.deadline_ms - SESSION_MS
    return (
        session.status is SessionStatus.INVALID
        and session.cancelled_ms is not None
        and ctx.now_ms <= session.deadline_ms
        and at_s * 1_000 >= authorized_ms - CLOCK_TOLERANCE_MS
    )


def _began_in_time(ctx: Context, session: Session, at_s: int) -> bool:
    """Return whether a start of this time came before the driver's cancel, by the station's clock."""
    return _may_still_start(ctx, session, at_s) and at_s * 1_000 <= (session.cancelled_ms or 0)


def _is_over(ctx: Context, session: Session, at_s: int) -> bool:
    """Return whether a stop of this time can have no effect on the session any more."""
    return session.status is SessionStatus.INVALID and not _may_still_start(ctx, session, at_s)


def _require_past(ctx: Context, at_s: int) -> None:
    """Refuse an event that has not happened yet; the station repeats it, and then it has."""
    latest_ms = ctx.now_ms + CLOCK_TOLERANCE_MS
    require(at_s * 1_000 <= latest_ms, ChargingError.EVENT_IN_FUTURE, at_s=at_s, latest_s=latest_ms // 1_000)

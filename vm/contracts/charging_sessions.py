"""The charging contract's part for drivers and stations: a session from its authorization to its end."""

from dataclasses import replace
from operator import attrgetter
from typing import Final

from ledger.policy import format_address
from ledger.types import Motes
from vm.contract import U32, Address, Bytes32, Context, require, write
from vm.contracts.asset import Asset
from vm.contracts.charging_disputes import Disputes
from vm.contracts.charging_events import (
    SessionAuthorized,
    SessionStarted,
    StopDeferred,
    StopDisputed,
    StopQuarantined,
    StopRequested,
)
from vm.contracts.charging_parties import Station
from vm.contracts.charging_pricing import RESTRICTION_GAS, Pricer, after_reading, follow
from vm.contracts.charging_settlement import PURPOSE
from vm.contracts.charging_types import (
    AHEAD_MAX,
    CLOCK_TOLERANCE_MS,
    RECLAIM_MS,
    SESSION_MS,
    ChargingError,
    EventTime,
    MeterWh,
    Progress,
    Reading,
    ReportedWh,
    Session,
    SessionStatus,
    Start,
    Stop,
    StopReason,
    TransactionId,
)
from vm.errors import ContractError

OUT_OF_CREDIT: Final = "LocalOutOfCredit"
TWO_ENDS: Final = "the station reported two different ends"


class Sessions(Disputes):
    """What drivers and stations do."""

    # ---- drivers

    @write
    def authorize(
        self, ctx: Context, station: Address, tariff_id: Bytes32, arbiter: Address, provider: Address | None
    ) -> Bytes32:
        """Hold what the tariff preauthorizes of the caller's money for one session. Returns the session's id.

        Errors: UNKNOWN_STATION, STATION_DISABLED, TARIFF_CHANGED, ARBITER_CHANGED, BAD_ARBITER, DRIVER_IN_DEBT, REFUND_OWED, and
        those of the asset. Emits SessionAuthorized.

        Args:
            tariff_id: what the driver was shown; the session is priced by it whatever the station offers later
            arbiter: who decides a dispute, as the driver was shown
            provider: whose customer the driver is; where it has no split with the operator in force, the operator receives all
        """
        place = self.stations.require(station, ChargingError.UNKNOWN_STATION)
        require(place.enabled, ChargingError.STATION_DISABLED)
        require(place.tariff_id == tariff_id, ChargingError.TARIFF_CHANGED, offered=place.tariff_id.hex())
        owed = self.debt(ctx.sender)
        require(owed == 0, ChargingError.DRIVER_IN_DEBT, owed=owed)
        operator = self.operators[place.operator]
        require(arbiter == operator.arbiter, ChargingError.ARBITER_CHANGED, named=format_address(operator.arbiter))
        split_id = None if provider is None else self.agreed.get((place.operator, provider))
        terms = self.prices[tariff_id]
        ctx.charge(RESTRICTION_GAS * terms.restricted_count)
        session = Session(
            driver=ctx.sender,
            station=station,
            station_id=place.station_id,
            operator=place.operator,
            payee=place.payout or operator.payout,
            arbiter=arbiter,
            provider=provider,
            split_id=split_id,
            tariff_id=tariff_id,
            held=terms.preauthorize or Motes(0),
            deadline_ms=ctx.now_ms + SESSION_MS,
            received=self._check_parties(ctx, place, station, arbiter, split_id),
        )
        session_id = ctx.call(Asset.hold, ctx.sender, session.held, PURPOSE, ctx.now_ms + RECLAIM_MS)
        self.sessions[session_id] = self._with_timer(ctx, session_id, session)
        ctx.emit(
            SessionAuthorized(
                session_id, ctx.sender, station, place.operator, provider, split_id, tariff_id, session.held, session.deadline_ms
            )
        )
        return session_id

    @write
    def cancel(self, ctx: Context, session_id: Bytes32) -> None:
        """Release an authorization that was not started; its driver or its station may.

        The station's word is final. After the driver's, a start that happened before it may still arrive, until the session's
        deadline: the whole cost is then a debt.
        Errors: UNKNOWN_SESSION, NOT_PERMITTED, ALREADY_STARTED. Emits SessionInvalidated.
        """
        session = self._session(ctx, session_id)
        require(ctx.sender in (session.driver, session.station), ChargingError.NOT_PERMITTED)
        require(session.start is None, ChargingError.ALREADY_STARTED)
        if session.status is SessionStatus.PENDING:
            cancelled_ms = None if ctx.sender == session.station else ctx.now_ms
            self._invalidate(ctx, session_id, replace(session, cancelled_ms=cancelled_ms))
        elif ctx.sender == session.station and session.cancelled_ms is not None:
            self.sessions[session_id] = replace(session, cancelled_ms=None)

    # ---- stations

    @write
    def start(
        self, ctx: Context, session_id: Bytes32, transaction_id: TransactionId, meter_start_wh: MeterWh, at_s: EventTime
    ) -> None:
        """Begin a session; from here on its tariff is frozen. The same report again changes nothing.

        Errors: UNKNOWN_SESSION, NOT_PERMITTED, SESSION_ENDED (also: began after the driver cancelled), ALREADY_STARTED,
        EVENT_IN_FUTURE. Emits SessionStarted, and StopRequested where the driver has taken the hold back.
        """
        session = self._of_station(ctx, session_id)
        start = Start(transaction_id, meter_start_wh, at_s)
        if session.start is not None:
            require(session.start == start, ChargingError.ALREADY_STARTED, transaction_id=session.start.transaction_id)
            return
        require(session.status is SessionStatus.PENDING or _began_in_time(ctx, session, at_s), ChargingError.SESSION_ENDED)
        _require_past(ctx, at_s)
        pricer = self._pricer(session, ctx.charge)
        progress = pricer.priced(start, Progress(0, at_s, meter_start_wh, at_s, Motes(0)))
        session = session if session.timer is not None else self._with_timer(ctx, session_id, session)
        self.sessions[session_id] = replace(session, status=SessionStatus.ACTIVE, start=start, progress=progress)
        ctx.emit(SessionStarted(session_id, transaction_id, meter_start_wh, at_s))
        if session.cancelled_ms is not None:
            ctx.emit(StopRequested(session_id, OUT_OF_CREDIT, progress.cost, Motes(0)))

    @write
    def meter(
        self, ctx: Context, session_id: Bytes32, sequence: U32, meter_wh: ReportedWh, at_s: EventTime, charging: bool
    ) -> None:
        """Report a reading. Readings count in the order of their numbers, whatever order they come in.

        One that came before an earlier one waits for that. The first report of a number counts: another, and one after the end,
        changes nothing, but that readings are taken whose turn has come and that were too many for one call. The last that is
        missing before a reported end settles the session.
        Errors: UNKNOWN_SESSION, NOT_PERMITTED, NOT_STARTED, EVENT_IN_FUTURE, READING_MISSING (send that one first; if it is lost,
        the one before it once more, as this number). Emits SessionUpdated, StopRequested, SessionCompleted.

        Args:
            sequence: counts the session's readings from 1, without a gap
            charging: whether the car was drawing energy until then
        """
        session = self._of_station(ctx, session_id)
        start, last = _started(ctx, session, at_s)
        is_new = session.status is SessionStatus.ACTIVE and not _is_nothing_new(session, last, sequence)
        if is_new:
            _require_past(ctx, at_s)
            furthest = last.sequence + AHEAD_MAX
            require(sequence <= furthest, ChargingError.READING_MISSING, missing=last.sequence + 1, furthest=furthest)
            waiting = (*session.ahead, Reading(sequence, meter_wh, at_s, charging))
            session = replace(session, ahead=tuple(sorted(waiting, key=attrgetter("sequence"))))
        if not is_new and not session.can_go_on:
            return
        pricer = self._pricer(session, ctx.charge)
        if session.can_go_on:
            self._go_on(ctx, session_id, session, start, last, pricer)
            return
        self.sessions[session_id] = session
        if session.reported is None:
            likely, _ = after_reading(start, last, session.ahead[-1])
            self._watch_credit(ctx, session_id, session, last, pricer.priced(start, likely))

    @write
    def stop(
        self,
        ctx: Context,
        session_id: Bytes32,
        meter_stop_wh: ReportedWh,
        at_s: EventTime,
        charging_end_s: EventTime,
        reason: StopReason,
        readings: U32,
    ) -> None:
        """End a session: price it, keep its record, pay the operator and its partners out of the hold and release the rest.

        The first report of the end counts: the same one again changes nothing, a different one opens a dispute, moving no money.
        Where readings are missing before it, the end is noted, and the last of them settles the session, or else its deadline.
        While a dispute is open it is noted as well and settled after that. One for a session that is not the station's own, or
        never was, or that nothing can change any more, is noted in an event, without effect. One that overtook its start is
        refused, so that the station repeats it.
        Errors: UNKNOWN_STATION, NOT_STARTED, EVENT_IN_FUTURE.
        Emits SessionCompleted, StopDeferred, StopDisputed and DisputeOpened, or StopQuarantined.

        Args:
            meter_stop_wh: -1 where the station does not know
            charging_end_s: when the car stopped drawing energy; from then on it was parked
            readings: how many readings the station has sent of the session, the number of the last; 0 for none
        """
        stop = Stop(meter_stop_wh, at_s, charging_end_s, reason, readings)
        session = self._session_or_none(ctx, session_id)
        if session is None or session.station != ctx.sender or _is_over(ctx, session, at_s):
            own = session is not None and session.station == ctx.sender
            require(own or ctx.sender in self.stations, ChargingError.UNKNOWN_STATION)
            ctx.emit(StopQuarantined(ctx.sender, session_id, stop))
        elif session.status is SessionStatus.COMPLETED or session.reported is not None:
            self._repeat_stop(ctx, session_id, session, stop)
        else:
            _started(ctx, session, at_s)
            _require_past(ctx, at_s)
            ahead = tuple(each for each in session.ahead if each.sequence <= readings)
            self._first_stop(ctx, session_id, replace(session, reported=stop, ahead=ahead), stop)

    # ---- inside

    def _of_station(self, ctx: Context, session_id: bytes) -> Session:
        session = self._session(ctx, session_id)
        require(session.station == ctx.sender, ChargingError.NOT_PERMITTED)
        return session

    def _check_parties(
        self, ctx: Context, place: Station, station: Address, arbiter: Address, split_id: bytes | None
    ) -> tuple[Motes, ...]:
        """Fail the call where the arbiter is a party, or one that would be paid owes refunds. Returns 0 for each partner."""
        partners = self._partners(split_id)
        paid = (place.operator, *(partner.account for partner in partners))
        parties = (ctx.sender, station, place.payout, *paid)
        require(arbiter not in parties, ChargingError.BAD_ARBITER, account=format_address(arbiter))
        for party in paid:
            owed = self.refunds_owed(party)
            require(owed == 0, ChargingError.REFUND_OWED, account=format_address(party), owed=owed)
        return tuple(Motes(0) for _ in partners)

    def _with_timer(self, ctx: Context, session_id: bytes, session: Session) -> Session:
        """Return a session that the calendar settles at its deadline."""
        return replace(session, timer=ctx.schedule(session.deadline_ms + 1, self.expire, session_id))

    def _go_on(self, ctx: Context, session_id: bytes, session: Session, start: Start, before: Progress, pricer: Pricer) -> None:
        """Take a session's next readings, and settle it where those were the last."""
        if session.has_ended and not session.disputed:
            self._finish(ctx, session_id, session, pricer)
            return
        session = follow(pricer, session, start, before)
        now = pricer.priced(start, session.progress or before)
        self._update(ctx, session_id, session, start, now)
        if session.reported is None:
            self._watch_credit(ctx, session_id, session, before, now)

    def _watch_credit(self, ctx: Context, session_id: bytes, session: Session, before: Progress, now: Progress) -> None:
        """Have the station stop where the next interval could cost more than is held: it may cost what this one did."""
        held = session.held if session.cancelled_ms is None else Motes(0)
        if 2 * now.cost - before.cost >= held:
            ctx.emit(StopRequested(session_id, OUT_OF_CREDIT, now.cost, held))

    def _first_stop(self, ctx: Context, session_id: bytes, session: Session, stop: Stop) -> None:
        """Take the end of a running session: settle it, or note it while readings are missing or a dispute is open."""
        if session.has_ended and not session.disputed:
            self._end(ctx, session_id, session, ctx.charge)
            return
        self.sessions[session_id] = session
        ctx.emit(StopDeferred(session_id, stop, session.missing))

    def _repeat_stop(self, ctx: Context, session_id: bytes, session: Session, stop: Stop) -> None:
        """Take another report of a session's end: one that differs opens a dispute, where there can still be one."""
        first = session.reported or self._record(ctx, session.operator, session.records[0]).stop
        if first == stop:
            if session.has_ended and not session.disputed:  # its last readings were too many for one call
                self._end(ctx, session_id, session, ctx.charge)
            return
        if session.disputed or self._may_open(ctx, session_id, session):
            ctx.emit(StopDisputed(session_id, stop))
            if not session.disputed:
                self._open_dispute(ctx, session_id, session, TWO_ENDS)
        else:
            ctx.emit(StopQuarantined(ctx.sender, session_id, stop))


def _started(ctx: Context, session: Session, at_s: int) -> tuple[Start, Progress]:
    """Return how a session began and where it stands; fails the report of this time for one that has not begun."""
    if session.start is None or session.progress is None:
        raise ContractError(ChargingError.SESSION_ENDED if _is_over(ctx, session, at_s) else ChargingError.NOT_STARTED)
    return session.start, session.progress


def _is_nothing_new(session: Session, last: Progress, sequence: int) -> bool:
    """Return whether a reading of this number came already, or comes after the end as that was reported."""
    known = sequence <= last.sequence or any(each.sequence == sequence for each in session.ahead)
    return known or (session.reported is not None and sequence > session.reported.readings)


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

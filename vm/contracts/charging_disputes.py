"""The charging contract's part for disputes: a driver, an operator or a contradictory station opens one, its arbiter decides.

An arbiter corrects what was measured, never the price: that is the agreed tariff's. While a dispute of an open session goes on,
nothing of it is settled; what a settled one has paid stays where it is. A dispute that nobody decides lapses, and the report
stands, so that no money is kept for ever.
"""

from dataclasses import replace

from ledger.types import Motes
from vm.contract import Bytes32, Context, Map, read, require, scheduled, write
from vm.contracts.charging_events import DisputeOpened, DisputeResolved, SessionCredited
from vm.contracts.charging_parties import returns
from vm.contracts.charging_records import CdrKind, Dispute, Measured, Outcome, RefundDue, Statement, credited
from vm.contracts.charging_settlement import Settlement
from vm.contracts.charging_types import (
    DISPUTE_MS,
    RESOLVE_MS,
    ChargingError,
    Session,
    SessionStatus,
    Start,
)
from vm.errors import ContractError


class Disputes(Settlement):
    """Disputes of sessions: one of each bill at most, with a final outcome, and one before there is a bill."""

    disputes: Map[Bytes32, Dispute]

    @write
    def dispute(self, ctx: Context, session_id: Bytes32, reason: Statement) -> None:
        """Dispute a started session; its driver and its operator may, until its deadline or within 30 days of its settlement.

        Once; but a dispute that was over before there was a bill leaves the bill to be disputed.
        Errors: UNKNOWN_SESSION, NOT_PERMITTED, NOT_STARTED, SESSION_ENDED, ALREADY_DISPUTED, TOO_LATE. Emits DisputeOpened.
        """
        session = self._session(ctx, session_id)
        require(ctx.sender in (session.driver, session.operator), ChargingError.NOT_PERMITTED)
        require(session.status is not SessionStatus.PENDING, ChargingError.NOT_STARTED)
        require(session.status is not SessionStatus.INVALID, ChargingError.SESSION_ENDED)
        require(not self._was_disputed(session_id, session), ChargingError.ALREADY_DISPUTED)
        require(_in_time(ctx, session), ChargingError.TOO_LATE)
        self._open_dispute(ctx, session_id, session, reason)

    @write
    def resolve(
        self, ctx: Context, session_id: Bytes32, outcome: Outcome, measured: Measured | None, statement: Statement
    ) -> None:
        """Decide a dispute, for good; only the session's arbiter may.

        UPHELD: what was reported stands. CREDITED: nothing is due. CORRECTED: it was as `measured` says, priced by the agreed
        tariff. A settled session's record is credited and, if CORRECTED, followed by a new one. What was paid too much is drawn
        from those who have it, and what they cannot give back now they owe; what was paid too little is the driver's debt.
        Errors: UNKNOWN_SESSION, NOT_DISPUTED, NOT_PERMITTED, BAD_MEASURED. Emits DisputeResolved, and SessionCredited,
        SessionCompleted or SessionInvalidated.
        """
        session = self._session(ctx, session_id)
        require(session.disputed, ChargingError.NOT_DISPUTED)
        require(ctx.sender == session.arbiter, ChargingError.NOT_PERMITTED)
        fitting = outcome is not Outcome.LAPSED and (measured is not None) == (outcome is Outcome.CORRECTED)
        require(fitting, ChargingError.BAD_MEASURED, problem="they are needed for CORRECTED, and only for that")
        problem = None if measured is None else measured.problem(ctx.now_ms)
        require(problem is None, ChargingError.BAD_MEASURED, problem=problem or "")
        session = self._close_dispute(ctx, session_id, session, outcome, measured, statement)
        if outcome is Outcome.UPHELD:
            if _is_due(ctx, session):
                self._end(ctx, session_id, session, ctx.charge)
        elif session.status is SessionStatus.COMPLETED:
            self._correct(ctx, session_id, session, measured)
        elif measured is None:
            self._invalidate(ctx, session_id, replace(session, cancelled_ms=None))
        else:
            pricer = self._pricer(session, ctx.charge)
            self._settle(ctx, session_id, session, _start(session, measured), pricer.measured_end(measured), pricer)

    @scheduled
    def lapse(self, ctx: Context, session_id: Bytes32) -> None:
        """End a dispute that its arbiter has not decided in time. Emits DisputeResolved, and as `expire`."""
        session = self.sessions[session_id]
        if not session.disputed:
            return
        self.disputes[session_id] = replace(self.disputes[session_id], timer=None)
        session = self._close_dispute(ctx, session_id, session, Outcome.LAPSED, None, "")
        if _is_due(ctx, session):
            self._end_within_limit(ctx, session_id, session)

    @read
    def dispute_of(self, session_id: Bytes32) -> Dispute:
        """Return a session's dispute, open or over. Errors: NOT_DISPUTED."""
        return self.disputes.require(session_id, ChargingError.NOT_DISPUTED)

    # ---- inside

    def _open_dispute(self, ctx: Context, session_id: bytes, session: Session, reason: str) -> None:
        deadline_ms = ctx.now_ms + RESOLVE_MS
        timer = ctx.schedule(deadline_ms, self.lapse, session_id)
        final = session.status is SessionStatus.COMPLETED
        self.disputes[session_id] = Dispute(ctx.sender, reason, ctx.now_ms, deadline_ms, timer, None, "", None, final)
        self.sessions[session_id] = replace(session, disputed=True)
        ctx.emit(DisputeOpened(session_id, ctx.sender, session.arbiter, reason, deadline_ms))

    def _may_open(self, ctx: Context, session_id: bytes, session: Session) -> bool:
        """Return whether a session that was reported to have ended can be disputed now."""
        return not self._was_disputed(session_id, session) and _in_time(ctx, session)

    def _was_disputed(self, session_id: bytes, session: Session) -> bool:
        """Return whether there can be no further dispute: what was decided before there was a bill binds nobody after it."""
        dispute = self.disputes.get(session_id)
        return dispute is not None and (dispute.final or session.status is not SessionStatus.COMPLETED)

    def _close_dispute(
        self, ctx: Context, session_id: bytes, session: Session, outcome: Outcome, measured: Measured | None, statement: str
    ) -> Session:
        """Note how a dispute ended, and return the session without it."""
        dispute = self.disputes[session_id]
        if dispute.timer is not None:
            ctx.cancel_schedule(dispute.timer)
        final = dispute.final or outcome in (Outcome.CREDITED, Outcome.CORRECTED) or _is_due(ctx, session)
        self.disputes[session_id] = replace(
            dispute, timer=None, outcome=outcome, statement=statement, resolved_ms=ctx.now_ms, final=final
        )
        session = replace(session, disputed=False)
        self.sessions[session_id] = session
        ctx.emit(DisputeResolved(session_id, outcome, measured, statement))
        return session

    def _correct(self, ctx: Context, session_id: bytes, session: Session, measured: Measured | None) -> None:
        """Credit a settled session's record, issue another where something is due, and move the difference."""
        original = self._record(ctx, session.operator, session.records[-1])
        number = self.record_counts[session.operator] + 1
        credit = self._keep_record(credited(original, number, ctx.now_ms, session.owed, self._parts(session)))
        total, correction = 0, None
        if measured is not None:
            pricer = self._pricer(session, ctx.charge)
            start, end = _start(session, measured), pricer.measured_end(measured)
            cost = pricer.price(start, end)
            total = cost.incl_vat_motes
        kept = Motes(min(total, session.paid))
        dues, received = self._dues(session, kept)
        owed = Motes(total - kept)
        self._change_debt(session.driver, owed - session.owed)
        session = replace(session, owed=owed, paid=kept, received=received)
        if measured is not None:
            record = self._new_record(ctx, session_id, session, (start, end, original.stop), cost)
            correction = self._keep_record(replace(record, kind=CdrKind.CORRECTION, refers_to=original.number))
        numbers = (credit,) if correction is None else (credit, correction)
        self.sessions[session_id] = replace(session, records=(*session.records, *numbers))
        refunded = self._draw(ctx, session_id, session.driver, dues)
        refund_owed = Motes(sum(due.amount for due in dues) - refunded)
        ctx.emit(SessionCredited(session_id, credit, correction, Motes(total), refunded, refund_owed, owed))

    def _dues(self, session: Session, kept: Motes) -> tuple[list[RefundDue], tuple[Motes, ...]]:
        """Return who gives back what where only `kept` is due of what was paid, and what the partners then have."""
        amount = session.paid - kept
        partners = self._partners(session.split_id)
        parts = returns(amount, kept, partners, session.received)
        accounts = (session.operator, *(partner.account for partner in partners))
        dues = zip(accounts, (amount - sum(parts), *parts), strict=True)
        received = tuple(Motes(had - part) for had, part in zip(session.received, parts, strict=True))
        return [RefundDue(account, Motes(part)) for account, part in dues if part], received


def _in_time(ctx: Context, session: Session) -> bool:
    """Return whether a session can be disputed now: before its deadline, or not long after it was settled."""
    until_ms = session.deadline_ms if session.ended_ms is None else session.ended_ms + DISPUTE_MS
    return ctx.now_ms <= until_ms


def _is_due(ctx: Context, session: Session) -> bool:
    """Return whether an open session whose dispute is over is to be settled: it has ended, or its deadline passed meanwhile."""
    return session.status is SessionStatus.ACTIVE and (session.has_ended or ctx.now_ms > session.deadline_ms)


def _start(session: Session, measured: Measured) -> Start:
    """Return how a session began, as its arbiter found."""
    if session.start is None:
        raise ContractError(ChargingError.NOT_STARTED)
    return Start(session.start.transaction_id, measured.meter_start_wh, measured.start_s)

"""The charging contract's part that moves money: settling sessions, their records, debts of drivers and refunds owed to them.

In every ended session paid + released = held; a session is settled once: when its stop and all readings before that have come, at
its deadline, or by its arbiter.
"""

from collections.abc import Sequence
from dataclasses import replace
from typing import Final

from ledger.codec import INT_MAX
from ledger.types import Motes
from vm.contract import U64, Address, Bytes32, Context, Map, read, require, scheduled, write
from vm.contracts.asset import Asset, AssetError
from vm.contracts.charging_events import (
    DebtPaid,
    RefundPaid,
    SessionCompleted,
    SessionInvalidated,
    SessionUpdated,
    SettlementLeft,
)
from vm.contracts.charging_parties import portions
from vm.contracts.charging_pricing import (
    FOLLOW_GAS,
    LINE_GAS,
    POINT_GAS,
    WAITING_GAS,
    Charge,
    Pricer,
    cdr_lines,
    finished,
    follow,
    motes,
)
from vm.contracts.charging_records import Cdr, CdrKind, Part, RefundDue
from vm.contracts.charging_splits import Splits
from vm.contracts.charging_types import (
    DEBT_BYTES,
    ChargingError,
    Debt,
    Progress,
    Session,
    SessionStatus,
    Start,
    Stop,
)
from vm.errors import ContractError
from vm.pricing import Cost

PURPOSE: Final = "charging"
CALENDAR_GAS: Final = 2_000_000
"""What the calendar may use for pricing a session, of the 3,000,000 that one of its calls has."""
CALENDAR_FOLLOW_GAS: Final = CALENDAR_GAS // 2
PAGE: Final = 32
"""How many records one reading returns at most."""


class Settlement(Splits):
    """Sessions, what they cost, and who has paid what."""

    sessions: Map[Bytes32, Session]
    records: Map[tuple[Address, U64], Cdr]  # by operator, and number from 1
    record_counts: Map[Address, U64]
    debts: Map[Address, Debt]  # of drivers
    refunds: Map[Bytes32, tuple[RefundDue, ...]]  # by session: what is still due to its driver
    owing: Map[Address, Debt]  # of operators and partners: all refunds still due

    @write
    def pay_debt(self, ctx: Context, session_id: Bytes32, amount: Motes) -> Motes:
        """Pay what a session's hold did not cover, or some of it, to its operator and partners; anybody may pay.

        Returns what was taken: never more than is owed, nor than was said, for an arbiter may raise a debt meanwhile.
        Errors: UNKNOWN_SESSION, NO_DEBT, and those of the asset. Emits DebtPaid.
        """
        session = self._session(ctx, session_id)
        require(session.owed > 0, ChargingError.NO_DEBT)
        taken = Motes(min(amount, session.owed))
        hold_id = ctx.call(Asset.hold, ctx.sender, taken, PURPOSE, ctx.now_ms + 1)  # how a contract takes the signer's money
        session = self._capture(ctx, hold_id, taken, session)
        self.sessions[session_id] = replace(session, owed=Motes(session.owed - taken))
        self._change_debt(session.driver, -taken)
        ctx.emit(DebtPaid(session_id, ctx.sender, taken))
        return taken

    @write
    def collect_refund(self, ctx: Context, session_id: Bytes32) -> Motes:
        """Draw what is still due to a session's driver from those who owe it, as far as they have it now. Anybody may.

        Returns what was drawn. Errors: NO_REFUND. Emits RefundPaid.
        """
        dues = self.refunds.require(session_id, ChargingError.NO_REFUND)
        for due in dues:
            self._change(self.owing, due.account, -due.amount)
        drawn = self._draw(ctx, session_id, self.sessions[session_id].driver, dues)
        ctx.emit(RefundPaid(session_id, drawn, Motes(sum(due.amount for due in dues) - drawn)))
        return drawn

    @write
    def settle_expired(self, ctx: Context, session_id: Bytes32) -> None:
        """End a session whose deadline passed: at its last reading, or without a bill when it never started. Anybody may.

        The calendar does so by itself; this is for sessions whose pricing takes more gas than it has. One whose end was reported
        is settled at that end. Where more readings have waited than one call can take, it takes some: whoever calls next goes on.
        Errors: UNKNOWN_SESSION, SESSION_ENDED, SESSION_DISPUTED, NOT_YET.
        Emits SessionCompleted, SessionUpdated or SessionInvalidated.
        """
        session = self._session(ctx, session_id)
        require(session.status in (SessionStatus.PENDING, SessionStatus.ACTIVE), ChargingError.SESSION_ENDED)
        require(not session.disputed, ChargingError.SESSION_DISPUTED)
        due = session.has_ended or ctx.now_ms > session.deadline_ms
        require(due, ChargingError.NOT_YET, now_ms=ctx.now_ms, deadline_ms=session.deadline_ms)
        self._end(ctx, session_id, session, ctx.charge)

    @scheduled
    def expire(self, ctx: Context, session_id: Bytes32) -> None:
        """End a session at its deadline, unless it has ended or is disputed. Emits as `settle_expired`, or SettlementLeft."""
        session = replace(self.sessions[session_id], timer=None)
        self.sessions[session_id] = session
        if session.status in (SessionStatus.PENDING, SessionStatus.ACTIVE) and not session.disputed:
            self._end_within_limit(ctx, session_id, session)

    @read
    def session(self, session_id: Bytes32) -> Session:
        """Return a session. Errors: UNKNOWN_SESSION."""
        return self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)

    @read
    def cdr(self, session_id: Bytes32) -> Cdr:
        """Return the last charge detail record of a settled session. Errors: UNKNOWN_SESSION, UNKNOWN_CDR."""
        session = self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)
        require(bool(session.records), ChargingError.UNKNOWN_CDR)
        return self.records[session.operator, session.records[-1]]

    @read
    def cdrs(self, session_id: Bytes32) -> tuple[Cdr, ...]:
        """Return all charge detail records of a session: what it costs is their sum. Errors: UNKNOWN_SESSION."""
        session = self.sessions.require(session_id, ChargingError.UNKNOWN_SESSION)
        return tuple(self.records[session.operator, number] for number in session.records)

    @read
    def cdrs_of(self, operator: Address, first: U64) -> tuple[Cdr, ...]:
        """Return up to 32 of an operator's charge detail records, by number, from number `first` on."""
        last = min(self.record_counts.get(operator, 0), first + PAGE - 1)
        return tuple(self.records[operator, number] for number in range(max(first, 1), last + 1))

    @read
    def debt(self, driver: Address) -> Motes:
        """Return what a driver owes for all of his sessions, at most 2^64 - 1; while he owes he cannot authorize another."""
        return Motes(min(_amount(self.debts, driver), INT_MAX))

    @read
    def refunds_due(self, session_id: Bytes32) -> tuple[RefundDue, ...]:
        """Return what is still due to a session's driver, and from whom."""
        return self.refunds.get(session_id, ())

    @read
    def refunds_owed(self, party: Address) -> Motes:
        """Return what an operator or partner owes to drivers; while it owes nothing is authorized that it would be paid for."""
        return Motes(min(_amount(self.owing, party), INT_MAX))

    # ---- inside

    def _session(self, ctx: Context, session_id: bytes) -> Session:
        """Return a session for a call that may change it. Errors: UNKNOWN_SESSION."""
        session = self._session_or_none(ctx, session_id)
        if session is None:
            raise ContractError(ChargingError.UNKNOWN_SESSION)
        return session

    def _session_or_none(self, ctx: Context, session_id: bytes) -> Session | None:
        session = self.sessions.get(session_id)
        if session is not None and session.progress is not None:
            ctx.charge(POINT_GAS * len(session.progress.points) + WAITING_GAS * len(session.ahead))
        return session

    def _record(self, ctx: Context, operator: Address, number: int) -> Cdr:
        """Return a charge detail record that is there, for a call that needs it."""
        record = self.records[operator, number]
        ctx.charge(LINE_GAS * len(record.lines))
        return record

    def _end(self, ctx: Context, session_id: bytes, session: Session, charge: Charge, follow_gas: int = FOLLOW_GAS) -> None:
        """End an open session as it stands: at its last good values, or without a bill when it never started."""
        if session.start is None or session.progress is None:
            self._invalidate(ctx, session_id, session)
        else:
            self._finish(ctx, session_id, session, self._pricer(session, charge, follow_gas))

    def _pricer(self, session: Session, charge: Charge, follow_gas: int = FOLLOW_GAS) -> Pricer:
        """Return a session's tariff, prepared for this call."""
        return Pricer(self.prices[session.tariff_id], charge, follow_gas)

    def _finish(self, ctx: Context, session_id: bytes, session: Session, pricer: Pricer) -> None:
        """Settle a started session by all that was reported of it; while more waited than one call can take, go on later."""
        if session.start is None or session.progress is None:
            raise ContractError(ChargingError.NOT_STARTED)
        start, last = session.start, session.progress
        session = follow(pricer, session, start, last, with_gaps=True)
        last = session.progress or last
        if session.ahead:
            self._update(ctx, session_id, session, start, pricer.priced(start, last))
            self._go_on_later(ctx, session_id)
        else:
            session, end = finished(pricer, session, start, last)
            self._settle(ctx, session_id, session, start, end, pricer)

    def _update(self, ctx: Context, session_id: bytes, session: Session, start: Start, now: Progress) -> None:
        """Keep the good values of a session that goes on."""
        self.sessions[session_id] = replace(session, progress=now)
        ctx.emit(SessionUpdated(session_id, now.sequence, now.meter_wh - start.meter_wh, now.at_s, now.cost))

    def _go_on_later(self, ctx: Context, session_id: bytes) -> None:
        """Have the calendar go on with a session that is due: in the next block, so nobody has to."""
        session = self._without_timer(ctx, self.sessions[session_id])
        self.sessions[session_id] = replace(session, timer=ctx.schedule(ctx.now_ms + 1, self.expire, session_id))

    def _end_within_limit(self, ctx: Context, session_id: bytes, session: Session) -> None:
        """End an open session by the calendar: where pricing takes too much, leave it to whoever pays for that."""
        left = CALENDAR_GAS

        def charge(amount: int) -> None:
            nonlocal left
            left -= amount
            require(left >= 0, ChargingError.TOO_MUCH_WORK)
            ctx.charge(amount)

        try:
            self._end(ctx, session_id, session, charge, CALENDAR_FOLLOW_GAS)
        except ContractError as failure:
            if failure.failure_code != ChargingError.TOO_MUCH_WORK.name:
                raise
            ctx.emit(SettlementLeft(session_id))

    def _settle(self, ctx: Context, session_id: bytes, session: Session, start: Start, end: Progress, pricer: Pricer) -> None:
        """Price a session up to `end`, move the money and keep the record. The one place where a session is billed."""
        cost = pricer.price(start, end)
        total = Motes(cost.incl_vat_motes)
        session = self._take(ctx, session_id, self._without_timer(ctx, session), total)
        owed, released = Motes(total - session.paid), Motes(session.held - session.paid)
        session = replace(
            session,
            status=SessionStatus.COMPLETED,
            progress=None if session.progress is None else replace(session.progress, cost=total),
            owed=owed,
            ended_ms=ctx.now_ms,
        )
        cdr = self._new_record(ctx, session_id, session, (start, end, session.reported), cost)
        number = self._keep_record(replace(cdr, held=session.held, released=released))
        self.sessions[session_id] = replace(session, reported=None, ahead=(), records=(number,))
        self._change_debt(session.driver, owed)
        ctx.emit(SessionCompleted(session_id, cdr.energy_wh, total, session.paid, released, owed, number))

    def _new_record(
        self, ctx: Context, session_id: bytes, session: Session, course: tuple[Start, Progress, Stop | None], cost: Cost
    ) -> Cdr:
        """Return the next record of a session's operator, for `course`: the start, the end, and the station's report of that."""
        start, end, stop = course
        return Cdr(
            number=self.record_counts.get(session.operator, 0) + 1,
            session_id=session_id,
            kind=CdrKind.CHARGE,
            refers_to=None,
            issued_ms=ctx.now_ms,
            driver=session.driver,
            operator=session.operator,
            operator_id=self.operators[session.operator].operator_id,
            provider=session.provider,
            station=session.station,
            station_id=session.station_id,
            tariff_id=session.tariff_id,
            start=start,
            stop=stop,
            end_s=end.at_s,
            energy_wh=end.meter_wh - start.meter_wh,
            charging_s=end.charging_end_s - start.at_s,
            parking_s=end.at_s - end.charging_end_s,
            lines=cdr_lines(cost),
            total_excl_vat=motes(cost.excl_vat_e4),
            total_vat=motes(cost.vat_e4),
            total_incl_vat=cost.incl_vat_motes,
            held=Motes(0),
            released=Motes(0),
            paid=session.paid,
            debt=session.owed,
            parts=self._parts(session),
            flags=session.flags,
        )

    def _keep_record(self, cdr: Cdr) -> int:
        self.records[cdr.operator, cdr.number] = cdr
        self.record_counts[cdr.operator] = cdr.number
        return cdr.number

    def _invalidate(self, ctx: Context, session_id: bytes, session: Session) -> None:
        """End a session without a bill."""
        session = self._take(ctx, session_id, self._without_timer(ctx, session), Motes(0))
        self.sessions[session_id] = replace(session, status=SessionStatus.INVALID, reported=None, ahead=())
        ctx.emit(SessionInvalidated(session_id, session.held))

    def _without_timer(self, ctx: Context, session: Session) -> Session:
        if session.timer is not None:
            ctx.cancel_schedule(session.timer)
        return replace(session, timer=None)

    def _take(self, ctx: Context, hold_id: bytes, session: Session, amount: Motes) -> Session:
        """Pay up to `amount` out of a session's hold and release the rest.

        A hold that its owner took back after its own deadline, or was given back when he cancelled, pays nothing.
        """
        try:
            held = ctx.call(Asset.get_hold, hold_id).amount
        except ContractError as failure:
            if failure.failure_code != AssetError.UNKNOWN_HOLD.name:
                raise
            return session
        session = self._capture(ctx, hold_id, Motes(min(amount, held)), session)
        if amount < held:
            ctx.call(Asset.release, hold_id)
        return session

    def _capture(self, ctx: Context, hold_id: bytes, amount: Motes, session: Session) -> Session:
        """Pay held money to a session's operator and partners; return the session with what they have now."""
        partners = self._partners(session.split_id)
        parts = portions(amount, session.paid, partners, session.received)
        accounts = (session.payee, *(partner.account for partner in partners))
        for account, part in zip(accounts, (amount - sum(parts), *parts), strict=True):
            if part:
                ctx.call(Asset.capture, hold_id, Motes(part), account)
        received = tuple(Motes(had + part) for had, part in zip(session.received, parts, strict=True))
        return replace(session, paid=Motes(session.paid + amount), received=received)

    def _parts(self, session: Session) -> tuple[Part, ...]:
        """Return who has how much of what was paid for a session."""
        partners = self._partners(session.split_id)
        first = Part(session.payee, session.paid - sum(session.received))
        return (first, *(Part(each.account, had) for each, had in zip(partners, session.received, strict=True)))

    def _draw(self, ctx: Context, session_id: bytes, driver: Address, dues: Sequence[RefundDue]) -> Motes:
        """Draw refunds for a driver; note what could not be drawn as owed. Returns what was drawn."""
        left: list[RefundDue] = []
        for due in dues:
            paid = ctx.call(Asset.draw, self.mandates[due.account], due.amount, driver)
            if paid < due.amount:
                left.append(RefundDue(due.account, Motes(due.amount - paid)))
        for due in left:
            self._change(self.owing, due.account, due.amount)
        if left:
            self.refunds[session_id] = tuple(left)
        else:
            del self.refunds[session_id]
        return Motes(sum(due.amount for due in dues) - sum(due.amount for due in left))

    def _change_debt(self, driver: Address, change: int) -> None:
        self._change(self.debts, driver, change)

    def _change(self, debts: Map[Address, Debt], account: Address, change: int) -> None:
        """Add to what an account owes. No number of sessions overflows it: a debt never makes a settlement fail."""
        if not change:
            return
        total = _amount(debts, account) + change
        if total:
            debts[account] = total.to_bytes(DEBT_BYTES, "big")
        else:
            del debts[account]


def _amount(debts: Map[Address, Debt], account: Address) -> int:
    return int.from_bytes(debts.get(account, b""), "big")

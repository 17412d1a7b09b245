"""Standing orders: what is paid again and again, such as parking, insurance and leases, collected by the chain itself.

    open (payer) -> report (payee, where the amount depends on it) -> pay (the calendar, period after period) -> ended

The payer's authority lets the contract draw what has fallen due, and nothing else: at most what the terms say, once a period, and
never again once the order has ended. A payer with too little owes the rest, as agreed: it is tried again on the agreed days, the
oldest period first. Whoever ends an order ends what is to come; what has fallen due before stays owed.
In every order asked = paid + lapsed + owed; a period is asked for once; every attempt is made once.
"""

from dataclasses import replace
from typing import Final

from ledger.policy import format_address
from ledger.types import Address, Motes
from vm.calendar import DAY_MS, Recurrence
from vm.contract import U16, U32, U64, Bytes32, Context, Contract, Map, read, require, scheduled, write
from vm.contracts.asset import Asset, has_keys, pay_as_signer
from vm.contracts.order_events import (
    EVENTS,
    CancelAsked,
    Cancelled,
    Ended,
    FellDue,
    Lapsed,
    Opened,
    Paid,
    Reported,
    Settled,
    Short,
)
from vm.contracts.order_rules import (
    at_start,
    check_terms,
    cost,
    fall_due,
    final_status,
    next_attempt,
    next_due_ms,
    shown,
)
from vm.contracts.order_types import (
    Amount,
    AmountKind,
    Attempt,
    Cancellation,
    CancellationRule,
    Collection,
    Due,
    Order,
    OrderError,
    OrderStatus,
    OrderTime,
    PageSize,
    Period,
    Progress,
    Reference,
    Terms,
    Until,
)
from vm.contracts.schedule import Schedule
from vm.errors import ContractError

NAME: Final = "order"
PURPOSE: Final = "standing order"
STEP_GAS: Final = 150_000
"""For the days, amounts and records of a step, beyond what storage shows of it: a collection takes about 0.25 ms in all."""


class StandingOrder(Contract, errors=OrderError, events=EVENTS):
    """Pays an agreed amount on a calendar until the order is complete or cancelled."""

    terms: Map[Bytes32, Terms]
    progress: Map[Bytes32, Progress]
    dues: Map[tuple[Bytes32, U32], Due]

    # ---- the payer

    @write
    def open(
        self,
        ctx: Context,
        payee: Address,
        amount: Amount,
        every: Recurrence,
        start_ms: OrderTime,
        until: Until,
        collection: Collection,
        cancellation: Cancellation,
        reference: Reference,
    ) -> Bytes32:
        """Give a standing order on the caller's account. Returns its id, that of the authority to draw.

        Errors: BAD_RECIPIENT, BAD_AMOUNT, BAD_END, BAD_RETRY, BAD_NOTICE, and those of the asset. Emits Opened.

        Args:
            payee: receives the money; another account, with keys
            every: when a period falls due
            start_ms: the first period falls due at the first such time from here on that lies ahead; 0 for now
            until: when the order is through
            collection: what happens when the payer has too little
            cancellation: how the payer may end it
            reference: what the payee knows it by
        """
        require(has_keys(payee) and payee != ctx.sender, OrderError.BAD_RECIPIENT, account=format_address(payee))
        terms = Terms(ctx.sender, payee, amount, every, start_ms, until, collection, cancellation, reference)
        check_terms(terms)
        progress = at_start(terms, ctx.now_ms)
        first_ms = next_due_ms(terms, progress, until.end_ms)
        if first_ms is None:
            raise ContractError(OrderError.BAD_END)
        order_id = ctx.call(Asset.grant, ctx.sender, PURPOSE)
        self.terms[order_id] = terms
        ctx.emit(Opened(order_id, ctx.sender, payee, reference, first_ms))
        self._go_on(ctx, order_id, terms, progress)
        return order_id

    @write
    def settle(self, ctx: Context, order_id: Bytes32, amount: Motes) -> Motes:
        """Pay what an order owes, or some of it, out of the caller's account, at once; anybody may, also after its end.

        Returns what was taken: never more than is owed.
        Errors: UNKNOWN_ORDER, BAD_AMOUNT, NOTHING_OWED, and those of the asset. Emits Settled, Ended.
        """
        terms, progress = self._found(order_id)
        require(amount > 0, OrderError.BAD_AMOUNT, amount=amount)
        taken = Motes(min(amount, progress.owed))
        require(taken > 0, OrderError.NOTHING_OWED)
        pay_as_signer(ctx, taken, PURPOSE, terms.payee)
        progress = replace(progress, paid=Motes(progress.paid + taken))
        ctx.emit(Settled(order_id, ctx.sender, taken, progress.owed))
        if progress.status is OrderStatus.ACTIVE:
            self._go_on(ctx, order_id, terms, progress)
        elif progress.status is OrderStatus.UNPAID and not progress.owed:
            self._end(ctx, order_id, terms, progress)
        else:
            self.progress[order_id] = progress
        return taken

    # ---- either

    @write
    def cancel(self, ctx: Context, order_id: Bytes32) -> None:
        """End an order: by its payee at once, by its payer as was agreed. What has fallen due before stays owed.

        Errors: UNKNOWN_ORDER, NOT_PERMITTED, NOT_ACTIVE. Emits CancelAsked or Cancelled, Ended.
        """
        terms, progress = self._active(order_id)
        require(ctx.sender in (terms.payer, terms.payee), OrderError.NOT_PERMITTED)
        rule = terms.cancellation
        if ctx.sender == terms.payer and rule.rule is CancellationRule.AGREEMENT:
            if not progress.cancel_asked:
                self.progress[order_id] = replace(progress, cancel_asked=True)
                ctx.emit(CancelAsked(order_id, terms.payer, terms.payee))
            return
        end_ms = ctx.now_ms + (rule.notice_days * DAY_MS if ctx.sender == terms.payer else 0)
        if progress.end_ms is None or end_ms < progress.end_ms:
            ctx.emit(Cancelled(order_id, terms.payer, terms.payee, ctx.sender, end_ms))
            self._go_on(ctx, order_id, terms, replace(progress, end_ms=end_ms))

    # ---- the payee

    @write
    def report(self, ctx: Context, order_id: Bytes32, period: U32, quantity: U64) -> Motes:
        """State what the next period is charged for, or correct it, until it is collected; only the payee may. Returns its cost.

        Errors: UNKNOWN_ORDER, NOT_ACTIVE, NOT_PERMITTED, NOTHING_TO_REPORT, WRONG_PERIOD, OVER_CAP. Emits Reported.

        Args:
            quantity: units, or for a percentage the base in motes
        """
        terms, progress = self._active(order_id)
        require(ctx.sender == terms.payee, OrderError.NOT_PERMITTED)
        require(terms.amount.kind is not AmountKind.FIXED, OrderError.NOTHING_TO_REPORT)
        require(period == progress.period + 1, OrderError.WRONG_PERIOD, next=progress.period + 1)
        amount = cost(terms.amount, quantity)
        require(amount <= terms.amount.cap, OrderError.OVER_CAP, amount=amount, cap=terms.amount.cap)
        self.progress[order_id] = replace(progress, reported=quantity)
        ctx.emit(Reported(order_id, terms.payer, terms.payee, period, quantity, Motes(amount)))
        return Motes(amount)

    # ---- the calendar

    @scheduled
    def pay(self, ctx: Context, order_id: Bytes32, period: U32, attempt: U16) -> None:
        """Collect what is owed, the oldest first; with attempt 0 the period falls due. One that is not the next does nothing.

        Emits FellDue, Paid, Short, Lapsed, Ended.
        """
        terms, progress = self._found(order_id)
        planned = progress.next
        if planned is None or (planned.period, planned.number) != (period, attempt) or ctx.now_ms < planned.at_ms:
            return
        if attempt == 0:
            progress, due = fall_due(terms, progress, ctx.now_ms)
            self.dues[order_id, period] = due
            ctx.emit(FellDue(order_id, period, due.due_ms, due.asked))
        paid = self._draw(ctx, order_id, terms, progress)
        progress = replace(progress, paid=Motes(progress.paid + paid), attempts=attempt + 1, next=None)
        if paid:
            ctx.emit(Paid(order_id, period, attempt, paid, progress.owed))
        if progress.owed:
            progress = self._fall_short(ctx, order_id, terms, progress)
        self._go_on(ctx, order_id, terms, progress)

    # ---- reads

    @read
    def get(self, order_id: Bytes32) -> Order:
        """Return an order. Errors: UNKNOWN_ORDER."""
        terms, progress = self._found(order_id)
        return Order(terms, progress, progress.owed)

    @read
    def periods(self, order_id: Bytes32, first: U32, limit: PageSize) -> tuple[Period, ...]:
        """Return the periods that fell due, from number `first` (they count from 1) on, oldest first. Errors: UNKNOWN_ORDER."""
        _, progress = self._found(order_id)
        first = max(first, 1)
        last = min(progress.period, first + limit - 1)
        return tuple(shown(number, self.dues[order_id, number], progress) for number in range(first, last + 1))

    # ---- steps

    def _found(self, order_id: bytes) -> tuple[Terms, Progress]:
        return self.terms.require(order_id, OrderError.UNKNOWN_ORDER), self.progress[order_id]

    def _active(self, order_id: bytes) -> tuple[Terms, Progress]:
        terms, progress = self._found(order_id)
        require(progress.status is OrderStatus.ACTIVE, OrderError.NOT_ACTIVE)
        return terms, progress

    def _draw(self, ctx: Context, order_id: bytes, terms: Terms, progress: Progress) -> Motes:
        """Draw what is owed as far as the payer has it, and return what that was; an asset that refuses has paid nothing."""
        try:
            free = ctx.call(Asset.balance_of, terms.payer).free
            amount = Motes(min(progress.owed, free))
            if amount < progress.owed and not terms.collection.partial:
                amount = self._whole_periods(order_id, progress, free)
            return ctx.call(Asset.draw, order_id, amount, terms.payee) if amount else Motes(0)
        except ContractError:
            return Motes(0)

    def _whole_periods(self, order_id: bytes, progress: Progress, free: int) -> Motes:
        """Return how much of `free` pays whole periods, the oldest first: a search for the last one that it reaches."""
        closed = progress.paid + progress.lapsed
        reached, low, high = closed, 1, progress.period
        while low <= high:
            middle = (low + high) // 2
            due = self.dues[order_id, middle]
            if due.before + due.asked <= closed + free:
                reached, low = max(reached, due.before + due.asked), middle + 1
            else:
                high = middle - 1
        return Motes(reached - closed)

    def _fall_short(self, ctx: Context, order_id: bytes, terms: Terms, progress: Progress) -> Progress:
        """Tell what is still owed and when it is tried again; what does not carry on lapses after the last retry."""
        planned, number, owed = next_attempt(terms, progress), progress.period, progress.owed
        goes_on = terms.collection.carry or (planned is not None and planned.number > 0)
        next_ms = planned.at_ms if planned is not None and goes_on else None
        ctx.emit(Short(order_id, terms.payer, terms.payee, number, progress.attempts - 1, owed, next_ms))
        if goes_on:
            return progress
        self.dues[order_id, number] = replace(self.dues[order_id, number], lapsed=owed)
        ctx.emit(Lapsed(order_id, number, owed))
        return replace(progress, lapsed=Motes(progress.lapsed + owed))

    def _go_on(self, ctx: Context, order_id: bytes, terms: Terms, progress: Progress) -> None:
        """Store the progress and have the next collection made; without one the order is over."""
        ctx.charge(STEP_GAS)
        planned, was = next_attempt(terms, progress), progress.next
        if planned is None:
            self._unschedule(ctx, was)
            self._end(ctx, order_id, terms, replace(progress, next=None))
        elif was is not None and (was.period, was.number) == (planned.period, planned.number) and self._waits(ctx, was):
            self.progress[order_id] = progress
        else:
            self._unschedule(ctx, was)
            at_ms = max(planned.at_ms, ctx.now_ms + 1)
            entry_id = ctx.schedule(at_ms, self.pay, order_id, planned.period, planned.number)
            self.progress[order_id] = replace(progress, next=replace(planned, at_ms=at_ms, entry_id=entry_id))

    def _end(self, ctx: Context, order_id: bytes, terms: Terms, progress: Progress) -> None:
        if progress.status is OrderStatus.ACTIVE:
            ctx.call(Asset.revoke, order_id)
        status = final_status(terms, progress)
        self.progress[order_id] = replace(progress, status=status)
        ctx.emit(Ended(order_id, terms.payer, terms.payee, status, progress.paid, progress.owed))

    def _waits(self, ctx: Context, attempt: Attempt) -> bool:
        """Return whether an attempt is in the calendar: one whose time has come may have failed, and must be made again."""
        if attempt.at_ms > ctx.now_ms:
            return True
        try:
            ctx.call(Schedule.get, attempt.entry_id)
        except ContractError:
            return False
        return True

    def _unschedule(self, ctx: Context, attempt: Attempt | None) -> None:
        """Take an attempt out of the calendar. One whose call failed is there no more; an order must still be able to end."""
        try:
            if attempt is not None:
                ctx.cancel_schedule(attempt.entry_id)
        except ContractError:
            return

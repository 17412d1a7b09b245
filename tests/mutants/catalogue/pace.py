"""Slow and censoring primaries (rule 9)."""

from typing import Final

from tests.mutants.mutant import Mutant

REPLICA: Final = "consensus/replica.py"
WATCH: Final = "consensus/watch.py"
FAIRNESS: Final = "node/fairness.py"
DRIVER: Final = "node/driver.py"
TIMERS: Final = "node/timers.py"

MUTANTS: Final[tuple[Mutant, ...]] = (
    Mutant(
        "slow-primary-tolerated",
        "9a: a primary just under the timeout is left",
        REPLICA,
        "elif agreement.watch.is_slow(self.primary) and agreement",
        "elif agreement.watch.is_slow(MemberId('')) and agreement",
        ("gaps", "slow-primary"),
    ),
    Mutant(
        "complaint-not-noted",
        "9a: the allowance doubles with each complaint",
        REPLICA,
        "            agreement.watch.complained()\n",
        "            pass\n",
        ("gaps", "slow-network"),
    ),
    Mutant(
        "allowance-never-doubled",
        "9a: the allowance doubles with each complaint",
        WATCH,
        "allowed_ms = (ALLOWED_MS << self._doublings)",
        "allowed_ms = ALLOWED_MS",
        ("watch",),
    ),
    Mutant(
        "allowance-never-comes-down",
        "9a: the allowance comes down as blocks go by",
        WATCH,
        "if self._good % FORGIVEN_AFTER == 0:",
        "if self._good < 0:",
        ("watch",),
    ),
    Mutant(
        "own-slowness-blamed-on-the-primary",
        "9a: four times our own execution time is allowed",
        WATCH,
        " + EXECUTION_FACTOR * execution_ms",
        "",
        ("watch",),
    ),
    Mutant(
        "idle-time-blamed-on-the-primary",
        "9a: only time with work counts",
        WATCH,
        "self._delay_ms = 0 if self._since_ms is None else now_ms - self._since_ms",
        "self._delay_ms = now_ms - (self._since_ms or 0)",
        ("watch",),
    ),
    Mutant(
        "record-handed-to-the-next-primary",
        "9a: a new primary starts with a clean record",
        WATCH,
        "            self._samples.clear()\n            self._proposer = proposer\n",
        "            self._proposer = proposer\n",
        ("gaps", "watch"),
    ),
    Mutant(
        "own-lag-blamed-on-the-primary",
        "9: a node that lags is patient",
        TIMERS,
        "slice_ms = min(left_ms, SLICE_MS) if timer is Timer.PROGRESS else left_ms",
        "slice_ms = left_ms",
        ("timers",),
    ),
    Mutant(
        "timer-set-again-expires-twice",
        "8: setting a timer again replaces it",
        TIMERS,
        "            old.cancel()\n",
        "            old.when()\n",
        ("timers", "driver"),
    ),
    Mutant(
        "censoring-primary-tolerated",
        "9b: a primary that passes a transaction over is left",
        REPLICA,
        "        if self._round.view == self._round.start_view and self.primary == primary:\n",
        "        if self._round.view < self._round.start_view and self.primary == primary:\n",
        ("gaps", "driver"),
    ),
    Mutant(
        "censorship-not-looked-for",
        "9b: each block is judged",
        DRIVER,
        "if self._fairness.is_passed_over(executed, self.clock()):",
        "if self._fairness.is_passed_over(executed, 0):",
        ("driver",),
    ),
    Mutant(
        "censored-transaction-not-remembered",
        "9b: what was sent to all again is watched",
        FAIRNESS,
        "            self._case = _Case(tx_id, now_ms)\n",
        "            pass\n",
        ("driver", "blocks"),
    ),
    Mutant(
        "full-block-blamed-on-the-primary",
        "9b: only a block with room passes anything over",
        FAIRNESS,
        "            and 2 * len(executed.transactions) <= params.block_max_transactions\n",
        "",
        ("blocks",),
    ),
    Mutant(
        "no-patience-with-a-new-primary",
        "9b: each primary has five seconds",
        FAIRNESS,
        "if now_ms < case.since_ms + PATIENCE_MS:",
        "if now_ms < case.since_ms:",
        ("blocks",),
    ),
    Mutant(
        "what-no-block-can-hold-deposes-everybody",
        "9b: what more than f + 1 primaries left out is put behind the rest",
        FAIRNESS,
        "if len(case.passed_by) > self._chain.committee.faults + 1:",
        "if len(case.passed_by) > self._chain.committee.size:",
        ("blocks",),
    ),
)

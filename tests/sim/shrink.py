"""Makes a failing run readable: leaves out faults one at a time for as long as the same oracle still fires."""

from collections.abc import Callable
from dataclasses import replace

from tests.sim.plan import Plan
from tests.sim.world import Result

LAST_EVENTS = 120


def shrink(result: Result, rerun: Callable[[Plan], Result]) -> Result:
    """Return the failing run with the fewest faults that leaving out one at a time leads to."""
    if result.failure is None:
        return result
    best, oracle = result, result.failure.oracle
    at = 0
    while at < len(best.plan.faults):
        tried = rerun(best.plan.without(best.plan.faults[at]))
        if tried.failure is not None and tried.failure.oracle == oracle:
            best = tried
        else:
            at += 1
    calmer = rerun(replace(best.plan, skews_ms=(0,) * best.plan.members, delay_ms=(1.0, 5.0)))
    return calmer if calmer.failure is not None and calmer.failure.oracle == oracle else best


def report(result: Result, last: int = LAST_EVENTS) -> str:
    """Return a failing run for people: the plan that is left (to paste into a test), the last events, and the violation."""
    plan = result.plan
    lines = [
        f"seed {plan.seed}, shrunk to {plan!r}",
        *result.trace.lines(last),
        f"seed {plan.seed} VIOLATED {result.failure}",
    ]
    return "\n".join(lines)

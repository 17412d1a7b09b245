"""The replica's timers on a real event loop: a busy node is patient, an idle one is on time."""

import asyncio
import time

from consensus.effects import Timer
from node.clock import now_ms
from node.timers import Timers


async def test_timer_expires_on_time_and_can_be_replaced_or_stopped() -> None:
    fired: list[Timer] = []
    timers = Timers(now_ms, fired.append)
    timers.set(Timer.PROGRESS, now_ms() + 40)
    timers.set(Timer.RESEND, now_ms() + 20)
    timers.set(Timer.HOLD, now_ms() + 20)
    timers.set(Timer.HOLD, None)
    timers.set(Timer.RESEND, now_ms() + 60)
    await asyncio.sleep(0.5)
    assert fired == [Timer.PROGRESS, Timer.RESEND]
    timers.set(Timer.PROGRESS, now_ms() + 10)
    timers.stop()
    await asyncio.sleep(0.1)
    assert len(fired) == 2


async def test_node_that_does_not_get_around_to_its_work_blames_nobody_for_it() -> None:
    """The loop is held for 0.9 s: of the second that the primary has, that counts as one slice."""
    fired = asyncio.Event()
    timers = Timers(now_ms, lambda _: fired.set())
    began = time.monotonic()
    timers.set(Timer.PROGRESS, now_ms() + 1_000)
    await asyncio.sleep(0)
    time.sleep(0.9)  # noqa: ASYNC251 - that is the point
    await fired.wait()
    assert time.monotonic() - began > 1.7

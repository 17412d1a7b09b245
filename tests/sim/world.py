"""One run: hosts, wire, wallets, faults and oracles on one virtual loop, from the start over healing to the last comparison."""

import asyncio
import contextlib
import random
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, Final

import structlog

from genesis.network import NodeKeys
from ledger.types import Height, MemberId
from p2p.messages import Application
from tests.sim import byzantine
from tests.sim.bounds import broken_bounds
from tests.sim.chain import make_network
from tests.sim.clients import Clients
from tests.sim.crypto import signatures
from tests.sim.disk import PowerLossError
from tests.sim.faults import FaultInjector
from tests.sim.governor import Governor
from tests.sim.host import HOST, Host
from tests.sim.loop import VirtualLoop
from tests.sim.network import Quality, Wire
from tests.sim.oracles import Oracles
from tests.sim.plan import Lie, Plan
from tests.sim.trace import Trace

PROGRESS_MS: Final = 10_000  # rule 8: after any outage the first commit comes within 10 s of healing
FINISH_MS: Final = 40_000  # the longest validity of a wallet's transaction, a heartbeat, and a view change or two
STEP_S: Final = 0.05
LONG_MS: Final = 60_000
LONG_STEP_S: Final = 2.0


@dataclass(frozen=True, slots=True)
class Failure:
    """What an oracle saw, and when."""

    oracle: str
    text: str
    at_ms: int

    def __str__(self) -> str:
        return f"[{self.oracle}] {self.text} (at {self.at_ms} virtual ms)"


@dataclass(frozen=True, slots=True)
class Result:
    """What came of a run. `digest` is that of all frames delivered; `progress_ms` from healing to new blocks everywhere."""

    plan: Plan
    failure: Failure | None
    counts: Counter[str]
    digest: str
    virtual_ms: int
    progress_ms: int | None
    trace: Trace


class StopRunError(Exception):
    """An oracle has seen enough."""


class World:
    """Everything of one run."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.loop = VirtualLoop()
        self.trace = Trace(self.loop)
        self.network = make_network(plan.members)
        self.counts: Counter[str] = Counter()
        self.failure: Failure | None = None
        self.progress_ms: int | None = None
        self.stopping: list[asyncio.Task[None]] = []
        self.oracles = Oracles(self)
        liars = plan.liars
        twinned = [host for host, lies in liars.items() if Lie.TWINS in lies]
        names = [keys.member.id for keys in self.network.keys]
        members = (*names, *(names[host] for host in twinned))
        self._twins = {names[host]: (host, len(names) + place) for place, host in enumerate(twinned)}
        self._link_rng = random.Random(f"twins {plan.seed}")
        self.twin_sides: dict[tuple[int, MemberId], int] = {}
        self.wire = Wire(self.loop, random.Random(f"wire {plan.seed}"), self, members, self._route, Quality(plan.delay_ms))
        self.hosts = [
            Host(self, index, self._keys_of(name), self._skew(index), honest=names.index(name) not in liars)
            for index, name in enumerate(members)
        ]
        for index, lies in liars.items():
            for host in (index, *self._twins.get(names[index], ())[1:]):
                byzantine.corrupt(self, self.hosts[host], lies)
        self.clients = Clients(self, random.Random(f"clients {plan.seed}"))
        self.governor = Governor(self)
        self.faults = FaultInjector(self, plan.faults)

    def _keys_of(self, name: MemberId) -> NodeKeys:
        return next(keys for keys in self.network.keys if keys.member.id == name)

    def _skew(self, index: int) -> int:
        return self.plan.skews_ms[index % self.plan.members]

    def _route(self, source: int, member: MemberId) -> int:
        """Return the host that `source` takes for `member`: of twins, each other host knows one."""
        twins = self._twins.get(member)
        if twins is None:
            return int(member.removeprefix("node")) - 1
        side = self.twin_sides.get((source, member))
        if side is None:
            side = self.twin_sides[source, member] = self._link_rng.choice(twins)
        return side

    # ---- a run

    @property
    def honest(self) -> list[Host]:
        """Return the hosts that play by the rules."""
        return [host for host in self.hosts if host.honest]

    @property
    def required(self) -> list[Host]:
        """Return the honest hosts that are members now, with a vote or without: these must go on."""
        membership = self.oracles.membership
        names = {member.id for member in (*membership.committee.members, *membership.observers)}
        return [host for host in self.honest if host.member in names]

    @property
    def organisations(self) -> list[Host]:
        """Return one host of each member, past, present or to come."""
        return self.hosts[: len(self.network.keys)]

    def run(self) -> Result:
        """Run to the end or to the first violation."""
        self.loop.set_exception_handler(self._on_loop_error)
        asyncio.set_event_loop(self.loop)
        try:
            self.loop.run_until_complete(self._main())
        finally:
            self._tear_down()
            asyncio.set_event_loop(None)
        counts = self.counts + self.oracles.counts
        counts["torn writes"] = sum(host.disk.torn for host in self.hosts)
        counts["transactions"], counts["refused"] = self.clients.submitted, self.clients.refused
        return Result(self.plan, self.failure, counts, self.trace.digest, self.loop.now_ms, self.progress_ms, self.trace)

    async def _main(self) -> None:
        with contextlib.suppress(StopRunError):
            await self.script()

    async def script(self) -> None:
        """Faults under load, healing, progress, the end of all payments, and the same state everywhere."""
        self.boot()
        self.clients.start(self.plan.transactions_per_s)
        self.faults.schedule()
        await self.until(self.plan.heal_ms)
        await self.heal_and_finish()

    def boot(self) -> None:
        """Switch everything on."""
        for host in self.hosts:
            host.start()

    async def heal_and_finish(self) -> None:
        """Heal everything and see that the protocol keeps its promises."""
        self.faults.heal()
        await self.expect_progress()
        self.clients.stop()
        await self.wait_for("members", "a change of members is still under way", FINISH_MS, lambda: not self.governor.busy)
        await self.wait_for("wallets", "transactions without a final answer", FINISH_MS, lambda: self.clients.waiting == 0)
        await self.wait_for("convergence", "honest tips differ", PROGRESS_MS, self._converged)
        self.oracles.check_end()
        self._step()

    async def expect_progress(self) -> None:
        """From now on every honest node commits new blocks within the bound."""
        start_ms, highest = self.loop.now_ms, max(self.oracles.tips.values(), default=Height(0))
        everywhere = lambda: all(self.oracles.tips.get(host.index, 0) > highest for host in self.required)  # noqa: E731
        await self.wait_for("progress", f"no new block everywhere after h{highest}", PROGRESS_MS, everywhere)
        self.progress_ms = self.loop.now_ms - start_ms

    def _converged(self) -> bool:
        return len({self.oracles.tips.get(host.index, 0) for host in self.required}) == 1

    async def wait_for(self, oracle: str, problem: str, limit_ms: int, condition: Callable[[], bool]) -> None:
        """Run until the condition holds; when it does not in time, `problem` is the violation."""
        end_ms = self.loop.now_ms + limit_ms
        while not condition():
            if self.loop.now_ms >= end_ms:
                tips = {host.name: self.oracles.tips.get(host.index, 0) for host in self.required}
                self.violated(oracle, f"{problem} within {limit_ms} ms: {tips}")
            await self.pause(STEP_S)

    async def until(self, at_ms: int) -> None:
        """Run to a virtual time."""
        while (left_ms := at_ms - self.loop.now_ms) > 0:
            await self.pause(min(LONG_STEP_S if left_ms > LONG_MS else STEP_S, left_ms / 1_000))

    async def pause(self, seconds: float) -> None:
        """Run a little, then look."""
        await asyncio.sleep(seconds)
        self._step()

    def _step(self) -> None:
        for host in self.honest:
            if host.driver is not None:
                for broken in broken_bounds(host.driver, len(self.wire.members)):
                    self.violated("bounds", f"{host.name}: {broken}")
                if (halt := host.driver.replica.halted) is not None:
                    self.violated("no halt", f"{host.name} halted: {halt.reason}")
        if self.failure is not None:
            raise StopRunError

    def _tear_down(self) -> None:
        self.clients.abandon()
        self.governor.stop()
        for host in self.hosts:
            host.power_off("the run is over")
        self.loop.run_until_complete(asyncio.gather(*self.stopping, return_exceptions=True))
        for task in asyncio.all_tasks(self.loop):
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                self.loop.run_until_complete(task)
        self.loop.close()

    # ---- what is seen

    def violated(self, oracle: str, text: str) -> None:
        """Note the first thing that must not be; the run ends soon."""
        if self.failure is None:
            self.failure = Failure(oracle, text, self.loop.now_ms)
            self.trace.note("ORACLE", f"{oracle}: {text}")

    def on_failed(self, host: Host, life: int, error: BaseException) -> None:
        """A node gave up: right when its power is gone, wrong for an honest node otherwise."""
        if isinstance(error, PowerLossError) or life != host.lives:
            return
        if host.honest:
            self.violated("no halt", f"{host.name} stopped: {type(error).__name__}: {error}")
        else:
            host.power_off(f"it broke itself: {error}")
            self.loop.after_ms(500, host.start)

    def on_sent(self, host: int, message: Application) -> None:
        """A host says something."""
        self.trace.note(self.hosts[host].name, message)
        self.oracles.on_sent(self.hosts[host], message)

    def on_frame(self, source: int, to: int, frame: bytes) -> None:
        """A frame arrives."""
        self.counts["frames"] += 1
        self.trace.count_frame(source, to, frame)

    def on_crash(self, host: int, error: Exception) -> None:
        """A host's code raised."""
        self.on_failed(self.hosts[host], self.hosts[host].lives, error)

    def on_dropped(self, host: int, member: MemberId, reason: str) -> None:
        """A host dropped a member for misbehaving; honest members never deserve it of one another."""
        self.counts["liars dropped"] += 1
        accused = next(item for item in self.hosts if item.member == member)
        if self.hosts[host].honest and accused.honest:
            self.violated("no false accusation", f"{self.hosts[host].name} drops {accused.name}: {reason}")

    def _on_loop_error(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(error, PowerLossError):
            return
        handle = context.get("handle")
        name = handle._context.get(HOST, "") if handle is not None else ""
        if all(host.honest or host.name != name for host in self.hosts):
            self.violated("exceptions", f"{name}: {context.get('message')}: {error!r}")

    def log(self, event: dict[str, Any]) -> None:
        """Take a line of a node's own log into the trace."""
        text = " ".join(f"{key}={value}" for key, value in event.items() if key != "event")
        self.trace.note(HOST.get("-"), f"logs: {event['event']} {text}")


@contextlib.contextmanager
def _logs_into(world: World) -> Iterator[None]:
    def take(_logger: object, _name: str, event: Any) -> Any:
        world.log(event)
        raise structlog.DropEvent

    saved = structlog.get_config()
    structlog.configure(processors=[take], wrapper_class=structlog.BoundLogger, cache_logger_on_first_use=False)
    try:
        yield
    finally:
        structlog.configure(**saved)


def run(plan: Plan, *, real_crypto: bool = False, world_type: type[World] = World) -> Result:
    """Run a plan."""
    with signatures(real=real_crypto):
        world = world_type(plan)
        with _logs_into(world):
            return world.run()

"""Makes the faults of a plan happen, and heals them all."""

from collections.abc import Callable, Iterable
from itertools import product
from typing import TYPE_CHECKING, assert_never

from tests.sim.host import Host
from tests.sim.network import LIMITS, Quality
from tests.sim.plan import (
    BadClock,
    BadLinks,
    Byzantine,
    Crash,
    Damage,
    Fault,
    Flapping,
    KillAll,
    LostKinds,
    MemberChange,
    Partition,
    SlowLink,
    SlowMachine,
)

if TYPE_CHECKING:
    from tests.sim.world import World


class FaultInjector:
    """Schedules faults on the world's loop. What a fault changes, its end undoes; `heal` undoes what is left."""

    def __init__(self, world: "World", faults: Iterable[Fault]) -> None:
        self._world = world
        self._faults = tuple(faults)
        self._undo: dict[int, Callable[[], None]] = {}
        self._healed = False

    def schedule(self) -> None:
        """Set a timer for each fault."""
        for number, fault in enumerate(self._faults):
            if isinstance(fault, Crash) and fault.damage in (Damage.OLD_STORE, Damage.OLD_BACKUP):
                self._world.loop.after_ms(fault.backup_ms, self._crash_with_backup, fault)
            else:
                self._world.loop.after_ms(fault.at_ms, self._begin, number, fault)

    def heal(self) -> None:
        """End everything: all power on, all links good, all clocks right. Liars go on lying."""
        self._healed = True
        world = self._world
        world.trace.note("faults", "all healed")
        for undo in tuple(self._undo.values()):
            undo()
        self._undo.clear()
        for host in world.hosts:
            host.disk.disarm()
            host.slow_down(0.0)
            host.clock.mend(world.plan.skews_ms[host.index % world.plan.members])
            host.start()

    def _begin(self, number: int, fault: Fault) -> None:
        if self._healed or not self._has_host(fault):
            return
        world = self._world
        if not isinstance(fault, Byzantine):
            world.trace.note("faults", str(fault))
        world.counts[type(fault).__name__] += 1
        if isinstance(fault, Crash | KillAll | BadClock | MemberChange | Byzantine):
            self._happen(fault)
        else:
            self._last(number, fault)

    def _has_host(self, fault: Fault) -> bool:
        """Return whether the host that a fault means is there: one that was to join may have been refused, or not begun yet."""
        there = not isinstance(fault, Crash | BadClock | SlowMachine) or fault.host < len(self._world.hosts)
        self._world.counts["faults of nobody"] += not there
        return there

    def _happen(self, fault: Crash | KillAll | BadClock | MemberChange | Byzantine) -> None:
        """Begin a fault that has no end of its own."""
        world = self._world
        match fault:
            case Crash():
                self._crash(fault, None)
            case KillAll(down_ms=down_ms):
                for host, down in zip(world.hosts, down_ms, strict=False):
                    self.power_off(host, "everybody does", down)
            case BadClock(host=index, jump_ms=jump_ms, ppm=ppm):
                world.hosts[index].clock.jump(jump_ms, ppm)
            case MemberChange():
                world.governor.begin(fault)
            case Byzantine(lie=lie):
                world.counts[f"liar: {lie}"] += 1
            case _:
                assert_never(fault)

    def _last(self, number: int, fault: Partition | Flapping | SlowLink | BadLinks | LostKinds | SlowMachine) -> None:
        """Begin a fault that is undone at its end."""
        world = self._world
        match fault:
            case Partition():
                self._partition(number, fault)
            case Flapping():
                self._flap(number, fault)
            case SlowLink():
                self._slow_link(number, fault)
            case BadLinks(loss=loss, duplicate=duplicate, reorder=reorder):
                world.wire.quality = Quality(world.plan.delay_ms, loss, duplicate, reorder)
                self._ends(number, fault.until_ms, self._good_links)
            case LostKinds():
                self._lose(number, fault)
            case SlowMachine(host=index, cpu_ms=cpu_ms):
                world.hosts[index].slow_down(cpu_ms)
                self._ends(number, fault.until_ms, lambda: world.hosts[index].slow_down(0.0))
            case _:
                assert_never(fault)

    def _ends(self, number: int, until_ms: int, undo: Callable[[], None]) -> None:
        """Undo a fault at its end, or at healing."""
        self._undo[number] = undo
        self._world.loop.call_at(until_ms / 1_000, self._end, number)

    def _end(self, number: int) -> None:
        if (undo := self._undo.pop(number, None)) is not None:
            undo()

    # ---- power and disks

    def _crash_with_backup(self, fault: Crash) -> None:
        """Take the backup; the crash comes later."""
        world = self._world
        if not self._has_host(fault):
            return
        backup = world.hosts[fault.host].disk.contents.copy_records()
        world.loop.call_at(fault.at_ms / 1_000, self._begin_crash, fault, backup)

    def _begin_crash(self, fault: Crash, backup: dict[bytes, dict[bytes, bytes]]) -> None:
        if not self._healed:
            self._world.trace.note("faults", str(fault))
            self._world.counts["Crash"] += 1
            self._crash(fault, backup)

    def _crash(self, fault: Crash, backup: dict[bytes, dict[bytes, bytes]] | None) -> None:
        host = self._world.hosts[fault.host]

        def now() -> None:
            self.power_off(host, "crash", fault.down_ms)
            if fault.damage is not None:
                self._world.trace.note("faults", f"{host.name} loses: {fault.damage}")
                self._world.counts[f"lost: {fault.damage}"] += 1
                host.suffer(fault.damage, backup)

        if fault.at_write:
            host.disk.arm(fault.at_write, now)
        elif host.is_up:
            now()

    def power_off(self, host: Host, why: str, down_ms: float) -> None:
        """Switch a host off, and on again after a while."""
        host.power_off(why)
        self._world.counts["power losses"] += 1
        self._world.loop.after_ms(down_ms, host.start)

    # ---- links

    def _partition(self, number: int, fault: Partition) -> None:
        wire, hosts = self._world.wire, range(len(self._world.hosts))
        pairs = [(a, b) for a, b in product(hosts, hosts) if (a in fault.side) and (b not in fault.side)]
        ways = pairs if fault.one_way else [*pairs, *((b, a) for a, b in pairs)]

        def change(by: int) -> None:
            if fault.silent:
                for source, to in ways:
                    wire.block(source, to, by)
            else:
                for a, b in pairs:
                    wire.cut(a, b, by)

        def undo() -> None:
            change(-1)
            if fault.silent and self._world.loop.now_ms - fault.at_ms > LIMITS.idle_timeout_ms / 2:
                for a, b in pairs:
                    wire.drop(a, b, "nothing heard for too long")

        change(1)
        self._ends(number, fault.until_ms, undo)

    def _flap(self, number: int, fault: Flapping) -> None:
        wire, (a, b) = self._world.wire, fault.pair
        cut = False

        def toggle() -> None:
            nonlocal cut
            if number in self._undo:
                cut = not cut
                wire.cut(a, b, 1 if cut else -1)
                self._world.loop.after_ms(fault.period_ms, toggle)

        self._ends(number, fault.until_ms, lambda: wire.cut(a, b, -1) if cut else None)
        toggle()

    def _slow_link(self, number: int, fault: SlowLink) -> None:
        way = self._world.wire.directions[fault.source, fault.to]

        def add(by_ms: int) -> None:
            way.slow_ms += by_ms

        add(fault.extra_ms)
        self._ends(number, fault.until_ms, lambda: add(-fault.extra_ms))

    def _lose(self, number: int, fault: LostKinds) -> None:
        lost = self._world.wire.lost
        lost[number] = lambda source, to, kind: kind in fault.kinds and source in fault.sources and to in fault.targets
        self._ends(number, fault.until_ms, lambda: lost.__delitem__(number))

    def _good_links(self) -> None:
        self._world.wire.quality = Quality(self._world.plan.delay_ms)

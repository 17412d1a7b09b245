"""What a run is made of, all of it from the seed: size, load, links, and the list of faults that a failing run is shrunk by.

At most f members are faulty in what the protocol calls so: they lie, or their disk lost what it had synced. Crashes,
partitions, bad clocks, slow machines and torn writes may hit anybody, as often as the plan likes; they end at `heal_ms`.
"""

import random
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Final, TypeAlias

from ledger.committee import fault_tolerance

SMALLEST: Final = 4
LOST_TOGETHER: Final = (
    ("Commit",),
    ("Commit", "Status", "Blocks"),
    ("Commit", "Status", "Blocks"),
    ("Prepare",),
    ("PrePrepare",),
    ("NewView",),
    ("ViewChange", "NewView"),
    ("Transactions",),
    ("Bodies", "Transactions"),
    ("Blocks", "Status"),
)
SIZES: Final = (4, 4, 4, 4, 4, 5, 7)


def _name(member: StrEnum) -> str:
    """Return an enum's member as code names it: plans are pasted into tests."""
    return f"{type(member).__name__}.{member.name}"


class Damage(StrEnum):
    """What a member's disk loses while it is down."""

    __repr__ = _name

    COPY_A = "sign-state copy a"
    COPY_B = "sign-state copy b"
    BOTH_COPIES = "both sign-state copies"
    OLD_STORE = "store from an old backup, live sign-state"
    OLD_BACKUP = "store from an old backup, no sign-state"
    NO_STORE = "store deleted, live sign-state"


HARMLESS: Final = (Damage.COPY_A, Damage.COPY_B)


class Lie(StrEnum):
    """How a Byzantine member misbehaves."""

    __repr__ = _name

    TWINS = "twins"
    AMNESIA = "amnesia"
    EQUIVOCATION = "equivocating primary"
    CERTIFICATES = "forged, stale and mixed certificates"
    WITHHELD_BODIES = "withheld bodies"
    LYING_SYNC = "lying sync answers"
    VOTE_FLOOD = "vote flood"
    FAR_FUTURE = "far-future heights and views"
    SLOW_PRIMARY = "just-under-timeout primary"
    CENSOR = "censoring primary"
    WRONG_ROOT = "wrong roots"
    MUTATION = "mutated fields"
    SELECTIVE = "silent towards some"
    REPLAY = "old messages again"


@dataclass(frozen=True, slots=True)
class Crash:
    """Power off, at once or at the `at_write`-th write from then; back after `down_ms`, with `damage` done to the disk."""

    at_ms: int
    host: int
    down_ms: int
    at_write: int = 0
    damage: Damage | None = None
    backup_ms: int = 0


@dataclass(frozen=True, slots=True)
class KillAll:
    """Everybody loses power at the same moment."""

    at_ms: int
    down_ms: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Partition:
    """`side` and the rest cannot talk: connections end, or (`silent`) frames vanish; `one_way` only those leaving `side`."""

    at_ms: int
    until_ms: int
    side: tuple[int, ...]
    silent: bool = False
    one_way: bool = False


@dataclass(frozen=True, slots=True)
class Flapping:
    """The connection between two hosts comes and goes."""

    at_ms: int
    until_ms: int
    pair: tuple[int, int]
    period_ms: int


@dataclass(frozen=True, slots=True)
class SlowLink:
    """One direction takes longer."""

    at_ms: int
    until_ms: int
    source: int
    to: int
    extra_ms: int


@dataclass(frozen=True, slots=True)
class BadLinks:
    """All connections lose, duplicate and reorder frames."""

    at_ms: int
    until_ms: int
    loss: float
    duplicate: float
    reorder: float


@dataclass(frozen=True, slots=True)
class LostKinds:
    """Messages of some kinds from `sources` never reach `targets`: what loss does at the worst moment, again and again."""

    at_ms: int
    until_ms: int
    kinds: tuple[str, ...]
    sources: tuple[int, ...]
    targets: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class SlowMachine:
    """Each message takes a host so long."""

    at_ms: int
    until_ms: int
    host: int
    cpu_ms: float


@dataclass(frozen=True, slots=True)
class BadClock:
    """A host's clock jumps by `jump_ms` and then runs `ppm` millionths too fast."""

    at_ms: int
    host: int
    jump_ms: int
    ppm: int


@dataclass(frozen=True, slots=True)
class Byzantine:
    """A member lies in this way for the whole run, after healing too."""

    at_ms: int
    host: int
    lie: Lie


class Change(StrEnum):
    """How the members change."""

    __repr__ = _name

    JOIN = "join"
    LEAVE = "leave"
    ROTATE = "rotate key"


@dataclass(frozen=True, slots=True)
class MemberChange:
    """A member is added (observer, attestation, promotion), removed, or gets another consensus key."""

    at_ms: int
    host: int
    change: Change


Fault: TypeAlias = (
    MemberChange | Crash | KillAll | Partition | Flapping | SlowLink | BadLinks | LostKinds | SlowMachine | BadClock | Byzantine
)


@dataclass(frozen=True, slots=True)
class Upkeep:
    """What all hosts keep on disk, in blocks (0: all), and from how far behind one takes a snapshot (0: never by choice)."""

    snapshot_every: int = 1_000
    snapshot_distance: int = 1_000
    keep_bodies: int = 0
    keep_states: int = 0


DEFAULT_UPKEEP: Final = Upkeep()


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `skews_ms` are the hosts' clocks' first errors, within half the allowed drift."""

    seed: int
    members: int
    transactions_per_s: float
    delay_ms: tuple[float, float]
    skews_ms: tuple[int, ...]
    heal_ms: int
    faults: tuple[Fault, ...]
    upkeep: Upkeep = DEFAULT_UPKEEP

    @property
    def liars(self) -> dict[int, tuple[Lie, ...]]:
        """Return the lies of each Byzantine host."""
        found: dict[int, tuple[Lie, ...]] = {}
        for fault in self.faults:
            if isinstance(fault, Byzantine):
                found[fault.host] = (*found.get(fault.host, ()), fault.lie)
        return found

    def without(self, dropped: Fault) -> "Plan":
        """Return the same run with one fault less."""
        return replace(self, faults=tuple(fault for fault in self.faults if fault is not dropped))


def make_plan(seed: int) -> Plan:
    """Return the run of a seed."""
    rng = random.Random(f"plan {seed}")
    n = rng.choice(SIZES)
    heal_ms = rng.randint(8_000, 20_000)
    changes = rng.choices(list(Change), k=rng.choice([0, 0, 0, 1, 2, 3]))
    if n == SMALLEST:
        changes = [item for item in changes if item is not Change.LEAVE]
    faulty = rng.sample(range(n), rng.choice([0, *([fault_tolerance(n - changes.count(Change.LEAVE))] * 3)]))
    maker = _FaultMaker(rng, n, heal_ms, faulty, changes[: n - SMALLEST + 2])
    return Plan(
        seed=seed,
        members=n,
        transactions_per_s=rng.choice([2.0, 5.0, 10.0]),
        delay_ms=rng.choice([(0.2, 1.0), (1.0, 5.0), (1.0, 5.0), (5.0, 40.0), (1.0, 150.0)]),
        skews_ms=tuple(rng.randint(-120, 120) for _ in range(n)),
        heal_ms=heal_ms,
        faults=maker.faults(),
        upkeep=_make_upkeep(random.Random(f"upkeep {seed}")),
    )


def _make_upkeep(rng: random.Random) -> Upkeep:
    """Return how hosts keep house in a run: in half of them so that some may have to sync by a snapshot."""
    if rng.random() < 0.5:
        return DEFAULT_UPKEEP
    return Upkeep(rng.choice([4, 9, 25]), rng.choice([0, 3, 10, 40]), rng.choice([0, 0, 3, 20]), rng.choice([0, 1, 10]))


class _FaultMaker:
    """Draws the faults of one run."""

    def __init__(self, rng: random.Random, n: int, heal_ms: int, faulty: list[int], changes: list[Change]) -> None:
        self._rng = rng
        self._n = n
        self._heal_ms = heal_ms
        self._faulty = faulty
        self._changes = changes
        self._hosts = n + changes.count(Change.JOIN)

    def faults(self) -> tuple[Fault, ...]:
        """Return what the faulty members do, and what happens to everybody, in the order of time."""
        rng = self._rng
        makers = [self._crash, self._write_crash, self._partition, self._lost_kinds, self._lost_kinds] * 2
        makers += [self._kill_all, self._flapping, self._slow_link, self._bad_links, self._slow_machine, self._bad_clock]
        found: list[Fault] = [fault for host in self._faulty for fault in self._faulty_member(host)]
        found += self._member_changes()
        found += [rng.choice(makers)() for _ in range(rng.randint(0, 10))]
        return tuple(sorted(found, key=lambda fault: fault.at_ms))

    def _member_changes(self) -> list[Fault]:
        """Return changes of different members; newcomers have the numbers after the first members'."""
        joining = iter(range(self._n, self._n + self._changes.count(Change.JOIN)))
        others = iter(
            self._rng.sample([host for host in range(self._n) if host not in self._faulty], self._n - len(self._faulty))
        )
        hosts = (next(joining if change is Change.JOIN else others) for change in self._changes)
        return [MemberChange(self._at() // 2, host, change) for host, change in zip(hosts, self._changes, strict=True)]

    def _at(self) -> int:
        return self._rng.randint(300, self._heal_ms - 800)

    def _span(self) -> tuple[int, int]:
        at_ms = self._at()
        return at_ms, min(self._heal_ms, at_ms + self._rng.randint(200, 6_000))

    def _host(self) -> int:
        return self._rng.randrange(self._hosts)

    def _faulty_member(self, host: int) -> list[Fault]:
        """Return the lies of a Byzantine member, or the losses of one whose disk cannot be trusted."""
        rng = self._rng
        if rng.random() < 0.3:
            kinds = [item for item in Damage if item not in HARMLESS]
            return [self._damage(host, rng.choice(kinds)) for _ in range(rng.randint(1, 2))]
        return [Byzantine(0, host, lie) for lie in rng.sample(list(Lie), rng.choice([1, 1, 2, 3]))]

    def _damage(self, host: int, damage: Damage) -> Crash:
        at_ms = self._at()
        at_write = self._rng.choice([0, self._rng.randint(1, 40)])
        return Crash(at_ms, host, self._rng.randint(20, 2_000), at_write, damage, self._rng.randint(0, at_ms))

    def _crash(self) -> Fault:
        return Crash(self._at(), self._host(), self._rng.randint(10, 5_000))

    def _write_crash(self) -> Fault:
        damage = self._rng.choice([None, None, None, *HARMLESS])
        return Crash(self._at(), self._host(), self._rng.randint(10, 2_000), self._rng.randint(1, 60), damage)

    def _kill_all(self) -> Fault:
        return KillAll(self._at(), tuple(self._rng.randint(10, 2_000) for _ in range(self._n)))

    def _partition(self) -> Fault:
        rng = self._rng
        side = tuple(sorted(rng.sample(range(self._hosts), rng.randint(1, self._hosts // 2))))
        silent = rng.random() < 0.5
        return Partition(*self._span(), side, silent, silent and rng.random() < 0.5)

    def _flapping(self) -> Fault:
        first, second = self._rng.sample(range(self._hosts), 2)
        return Flapping(*self._span(), (first, second), self._rng.randint(50, 1_500))

    def _slow_link(self) -> Fault:
        source, to = self._rng.sample(range(self._hosts), 2)
        return SlowLink(*self._span(), source, to, self._rng.randint(20, 1_500))

    def _bad_links(self) -> Fault:
        rng = self._rng
        return BadLinks(*self._span(), rng.choice([0.0, 0.02, 0.2]), rng.choice([0.0, 0.1]), rng.choice([0.0, 0.3]))

    def _lost_kinds(self) -> Fault:
        rng, hosts = self._rng, range(self._hosts)
        kinds = rng.choice(LOST_TOGETHER)
        sources = hosts if rng.random() < 0.5 else sorted(rng.sample(hosts, rng.randint(1, self._hosts)))
        targets = sorted(rng.sample(hosts, rng.randint(1, self._hosts)))
        return LostKinds(*self._span(), kinds, tuple(sources), tuple(targets))

    def _slow_machine(self) -> Fault:
        return SlowMachine(*self._span(), self._host(), self._rng.uniform(0.5, 40.0))

    def _bad_clock(self) -> Fault:
        jump = self._rng.choice([-60_000, -5_000, -700, 700, 5_000, 60_000])
        return BadClock(self._at(), self._host(), jump, self._rng.randint(-20_000, 20_000))

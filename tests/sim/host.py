"""One simulated machine: a real node on a virtual disk, clock and network; it can lose power at any moment and come back."""

import contextvars
import random
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Final

from genesis.network import NodeKeys
from ledger.committee import Member
from ledger.crypto import public_key
from ledger.types import Height
from node.assembly import Settings, build_driver
from node.block_store import BlockStore
from node.driver import Driver
from node.key_ring import KeyRing
from node.mempool import MempoolLimits
from node.ports import Network
from node.pruning import Keep
from node.service import NodeService
from node.sign_file import SignFile
from p2p.peers import Handler
from tests.sim.chain import START_MS
from tests.sim.disk import Contents, Disk, OpenDisk, PowerLossError
from tests.sim.loop import VirtualLoop
from tests.sim.network import Endpoint
from tests.sim.plan import Damage

if TYPE_CHECKING:
    from tests.sim.world import World

HOST: contextvars.ContextVar[str] = contextvars.ContextVar("HOST")
MEMPOOL: Final = MempoolLimits(max_transactions=400, max_bytes=256 * 1024, sender_share_percent=30)
BATCH_DELAY_MS: Final = 20
RESEND_MS: Final = 500


@dataclass
class KeyFiles:
    """A member's consensus key and, while it is being replaced, the next one: they outlive the node."""

    current: bytes = field(repr=False)
    next: bytes | None = field(default=None, repr=False)


class HostKeys(KeyRing):
    """What `FileKeyRing` does, without files."""

    def __init__(self, files: KeyFiles) -> None:
        super().__init__([files.current])
        self._files = files
        self._load_next()

    def settle(self, key: bytes) -> bool:
        """As `FileKeyRing.settle`."""
        if key not in self._seeds:
            self._load_next()
        changed = super().settle(key)
        if changed and public_key(self._files.current) != key:
            self._files.current, self._files.next = self._seeds[key], None
        return changed

    def _load_next(self) -> None:
        if (seed := self._files.next) is not None:
            self._seeds[public_key(seed)] = seed


class HostClock:
    """A wall clock with an error that may jump, and a rate that may be wrong. `true_ms` has none."""

    def __init__(self, loop: VirtualLoop, skew_ms: int) -> None:
        self._loop = loop
        self._skew_ms = float(skew_ms)
        self._ppm = 0
        self._since_s = 0.0

    def __call__(self) -> int:
        """Return Unix milliseconds as this machine believes."""
        return START_MS + int(self._loop.time() * 1_000 + self._error_ms())

    def _error_ms(self) -> float:
        return self._skew_ms + (self._loop.time() - self._since_s) * self._ppm / 1_000

    def jump(self, by_ms: int, ppm: int) -> None:
        """Go on from another reading, at another rate."""
        self._skew_ms = self._error_ms() + by_ms
        self._since_s, self._ppm = self._loop.time(), ppm

    def mend(self, skew_ms: int) -> None:
        """Show the right time again, within a small error."""
        self._skew_ms, self._since_s, self._ppm = float(skew_ms), self._loop.time(), 0


class Host:
    """A machine with its disk; `driver` and `service` are those of its present life, None while it is off."""

    def __init__(self, world: "World", index: int, keys: NodeKeys, skew_ms: int, *, honest: bool) -> None:
        self.world = world
        self.index = index
        self.keys = keys
        self.honest = honest
        self.member = keys.member.id
        self.name = str(self.member) if index < len(world.network.keys) else f"{self.member}'"
        self.key_files = KeyFiles(keys.consensus_seed)
        self.clock = HostClock(world.loop, skew_ms)
        self.disk = Disk(random.Random(f"disk {world.plan.seed} {index}"), self._synced)
        fresh = world.network.fresh
        self.disk.contents = Contents(fresh.copy_records(), list(fresh.slots))
        self.cpu_ms = 0.0
        self.lives = 0
        self.wanted_up = not world.plan.members <= index < len(world.network.keys)  # who may join waits to be asked
        self.driver: Driver | None = None
        self.service: NodeService | None = None
        self.endpoint: Endpoint | None = None
        self.on_built: Callable[[Driver, Endpoint], None] = lambda _driver, _endpoint: None
        self._opened: OpenDisk | None = None

    @property
    def is_up(self) -> bool:
        """Return whether the node runs."""
        return self.driver is not None

    # ---- life

    def start(self) -> None:
        """Switch on: a new node on whatever the disk holds."""
        if self._opened is not None or not self.wanted_up:
            return
        self.lives += 1
        self.world.trace.note(self.name, f"starts (life {self.lives})")
        self._opened = self.disk.open()
        context = contextvars.copy_context()
        context.run(HOST.set, self.name)
        try:
            context.run(self._build, self._opened, context)
        except PowerLossError:
            self.world.trace.note(self.name, "lost power while it started")

    def _build(self, opened: OpenDisk, context: contextvars.Context) -> None:
        network, life = self.world.network, self.lives
        store = BlockStore(opened, f"the disk of {self.name}", network.genesis.spec.hash)
        upkeep = self.world.plan.upkeep
        keep = Keep(upkeep.keep_states, upkeep.keep_bodies, upkeep.snapshot_every)
        keys, distance = HostKeys(self.key_files), upkeep.snapshot_distance
        settings = Settings(self.member, keys, MEMPOOL, BATCH_DELAY_MS, RESEND_MS, keep, distance)
        endpoints: list[Endpoint] = []

        def connect(handler: Handler, _tip: Callable[[], Height], members: Iterable[Member]) -> Network:
            endpoints.append(Endpoint(self.world.wire, self.index, handler, members))
            return endpoints[0]

        def fail(error: BaseException) -> None:
            self.world.on_failed(self, life, error)

        driver = build_driver(network.genesis, store, SignFile(opened.slots), settings, self.clock, connect, fail)
        endpoint = endpoints[0]
        endpoint.context, endpoint.cpu_ms = context, self.cpu_ms
        self.driver, self.endpoint = driver, endpoint
        self.service = NodeService(network.genesis, driver, None)
        self.on_built(driver, endpoint)
        self.world.wire.plug(endpoint)
        driver.start()

    def power_off(self, why: str) -> None:
        """Stop at once, wherever the node is: nothing of this life reaches the disk or the network any more."""
        if self._opened is None:
            return
        self.world.trace.note(self.name, f"loses power: {why}")
        self._opened.cut()
        self._opened = None
        self.disk.disarm()
        self.world.wire.unplug(self.index)
        if self.driver is not None:
            self.world.stopping.append(self.world.loop.create_task(self.driver.stop()))
        self.driver = self.service = self.endpoint = None

    def slow_down(self, cpu_ms: float) -> None:
        """Let each message take so long from now on."""
        self.cpu_ms = cpu_ms
        if self.endpoint is not None:
            self.endpoint.cpu_ms = cpu_ms

    # ---- disk

    def _synced(self, changes: Mapping[bytes, bytes | None]) -> None:
        self.world.oracles.on_synced(self, changes)

    def suffer(self, damage: Damage, backup: dict[bytes, dict[bytes, bytes]] | None) -> None:
        """Lose something while the power is off; `backup` is an older copy of the store."""
        contents = self.disk.contents
        match damage:
            case Damage.COPY_A | Damage.COPY_B:
                self._lose_copy(0 if damage is Damage.COPY_A else 1)
            case Damage.BOTH_COPIES:
                contents.slots[:] = [b"", b""]
            case Damage.NO_STORE:
                contents.records.clear()
                self.world.oracles.on_store_lost(self)
            case Damage.OLD_STORE | Damage.OLD_BACKUP:
                if backup is not None:
                    contents.records = backup
                    self.world.oracles.on_store_lost(self)
                if damage is Damage.OLD_BACKUP:
                    contents.slots[:] = [b"", b""]

    def _lose_copy(self, index: int) -> None:
        """Lose one sign-state copy, unless a torn write has made the other one unreadable: that would be both."""
        slots = self.disk.contents.slots
        if self.world.oracles.readable(slots[1 - index]):
            slots[index] = b""

"""Fixed stories of members that come back from nothing, or from far behind, by a snapshot: whole networks, virtual time.

What a restored disk must hold is checked by the oracles (`tests.sim.oracles`) in these runs and in those of fresh seeds.
"""

import pytest

from ledger.types import Height
from tests.sim.plan import Byzantine, Crash, Damage, Fault, Lie, LostKinds, Plan, Upkeep
from tests.sim.test_scenarios import check
from tests.sim.world import World

HEAL_MS = 14_000
LOST_MS = 7_000
OFTEN = Upkeep(snapshot_every=5, snapshot_distance=3)
LOSES_ITS_STORE = Crash(LOST_MS, 3, 500, damage=Damage.NO_STORE)


def story(*faults: Fault, upkeep: Upkeep = OFTEN, members: int = 4, heal_ms: int = HEAL_MS) -> Plan:
    """Return a run in which member 3 comes back with an empty disk."""
    return Plan(1, members, 5.0, (1.0, 5.0), (0,) * members, heal_ms, (LOSES_ITS_STORE, *faults), upkeep)


def test_an_empty_disk_is_filled_from_a_snapshot() -> None:
    """Its state, its window and its votes are right, and so is everything that it serves and promises afterwards."""
    world = check(story())
    assert world.oracles.counts["states restored"] >= 1
    assert world.oracles.tips[3] == world.oracles.tips[0]


def test_without_blocks_there_is_a_snapshot() -> None:
    """All others have pruned what the empty disk would need first; by choice it would have fetched blocks."""
    world = check(story(upkeep=Upkeep(snapshot_every=5, snapshot_distance=0, keep_bodies=2, keep_states=1)))
    assert world.oracles.counts["states restored"] >= 1


@pytest.mark.parametrize("kinds", [("State",), ("Snapshot",), ("History",), ("GetState", "GetSnapshot")])
def test_what_never_comes_is_not_waited_for(kinds: tuple[str, ...]) -> None:
    """Snapshots are stated and never served: it fetches blocks instead, and nothing is left of the attempt."""
    lost = LostKinds(0, HEAL_MS + 60_000, kinds, (0, 1, 2, 3), (0, 1, 2, 3))
    world = check(story(lost, heal_ms=HEAL_MS + 16_000))
    assert world.oracles.counts["states restored"] == 0
    assert world.oracles.tips[3] == world.oracles.tips[0]
    records = world.hosts[3].disk.contents.records
    assert records[b"w"] == {}
    assert b"minstall" not in records[b"m"]


@pytest.mark.parametrize("seed", range(3))
def test_a_liar_is_found_out_and_replaced(seed: int) -> None:
    """One member lies about snapshots, history and state in all ways; the others' answers are enough."""
    plan = story(Byzantine(0, 1, Lie.LYING_SYNC))
    world = check(Plan(seed, *(getattr(plan, name) for name in Plan.__slots__[1:])))
    assert world.oracles.tips[3] == world.oracles.tips[0]


class PowerFails(World):
    """Host 3 loses power at a write of the life in which it restores a state, and comes back."""

    at_write = 0
    hits = 0

    def on_frame(self, source: int, to: int, frame: bytes) -> None:
        """Arm the disk when the first answer of a state sync arrives."""
        super().on_frame(source, to, frame)
        if to == 3 and frame[4] == 14 and self.hits == 0:
            self.hits = 1
            host = self.hosts[3]
            host.disk.arm(self.at_write, lambda: self._fail())

    def _fail(self) -> None:
        self.hits = 2
        self.hosts[3].power_off("in the middle of restoring a state")
        self.loop.after_ms(300, self.hosts[3].start)


@pytest.mark.parametrize("at_write", [1, 2, 3, 4, 5, 7])
def test_power_may_fail_at_any_write_of_a_restore(at_write: int) -> None:
    """Before the last batch the node is what it was, after it the state is its own; it comes back and catches up either way."""

    class FailsThere(PowerFails):
        pass

    FailsThere.at_write = at_write
    world = check(story(), FailsThere)
    assert isinstance(world, PowerFails)
    assert world.hits == 2, "the run is one without the failure"
    assert world.oracles.tips[3] == world.oracles.tips[0]
    assert b"minstall" not in world.hosts[3].disk.contents.records[b"m"]


def test_a_member_far_behind_with_an_old_chain_takes_a_snapshot_too() -> None:
    """What it had before gives way: no record of the old chain's state is left in the end."""
    away = Crash(2_000, 3, 7_000)
    plan = Plan(3, 4, 5.0, (1.0, 5.0), (0,) * 4, HEAL_MS, (away,), OFTEN)
    world = check(plan)
    assert world.oracles.counts["states restored"] >= 1
    records = world.hosts[3].disk.contents.records
    assert min(map(len, (records[b"v"], records[b"w"]))) == 0
    height = world.oracles.tips[3]
    assert height == world.oracles.tips[0]
    assert Height(1).to_bytes(8) not in {key[1:] for key in records[b"b"]}

"""The simulator can fail: each test plants a defect of the kind that an oracle is for, and that oracle sees it."""

from collections.abc import Sequence

import pytest

from consensus.sign_state import SignState
from ledger.codec import as_int, as_tuple, decode, encode_trusted
from ledger.types import Height, MemberId, TxId
from node.api import TxState, TxStatus
from node.driver import Driver
from tests.sim.host import Host
from tests.sim.network import Endpoint
from tests.sim.oracles import VALUE
from tests.sim.plan import Byzantine, KillAll, Lie, Partition, Plan
from tests.sim.world import World, run


def plan(seed: int, *faults: Byzantine | KillAll | Partition) -> Plan:
    """Return a short run of four members."""
    return Plan(seed, 4, 5.0, (1.0, 5.0), (0,) * 4, 6_000, faults)


class Planted(World):
    """A world whose first host has a defect."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        built = self.hosts[0].on_built

        def defective(driver: Driver, endpoint: Endpoint) -> None:
            built(driver, endpoint)
            self.plant(self.hosts[0], driver, endpoint)

        self.hosts[0].on_built = defective

    def plant(self, host: Host, driver: Driver, endpoint: Endpoint) -> None:
        """Break something."""


class SendsBeforeItPersists(Planted):
    def plant(self, host: Host, driver: Driver, endpoint: Endpoint) -> None:
        save = driver._sign_file.save

        def later(state: SignState) -> None:
            self.loop.call_soon(save, state)

        driver._sign_file.save = later  # type: ignore[method-assign]


class ForgetsTheBlock(Planted):
    def plant(self, host: Host, driver: Driver, endpoint: Endpoint) -> None:
        driver.chain.store.put_pending = lambda block_hash, block: None  # type: ignore[method-assign]


class AnswersTooEarly(Planted):
    def plant(self, host: Host, driver: Driver, endpoint: Endpoint) -> None:
        async def wait_final(tx_id: TxId, timeout_ms: int, valid_until_ms: int | None = None) -> TxStatus:
            return TxStatus(tx_id, TxState.EXPIRED)

        assert host.service is not None
        host.service.wait_final = wait_final  # type: ignore[method-assign]


class Hoards(Planted):
    def plant(self, host: Host, driver: Driver, endpoint: Endpoint) -> None:
        driver.sync.keep_only = lambda _: None  # type: ignore[method-assign,assignment]
        driver.sync.tips.update((MemberId(f"nobody{number}"), Height(0)) for number in range(1_000))


class MintsMoney(World):
    """Everybody's genesis has one mote too many: nodes agree on it, so only the sum gives it away."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        for host in self.hosts:
            records = host.disk.contents.records[VALUE]
            key = next(key for key in sorted(records) if b"accounts" in key)
            free, *rest = as_tuple(decode(records[key]), "balance", max_items=4)
            records[key] = encode_trusted((as_int(free, "free") + 1, *rest))


class StaysCut(World):
    async def heal_and_finish(self) -> None:
        self.faults._undo.clear()
        await super().heal_and_finish()


class TrustsAmnesia(World):
    """Takes members that vote again after forgetting what they voted for honest ones."""

    def __init__(self, plan: Plan) -> None:
        super().__init__(plan)
        for host in self.hosts:
            host.honest = True


CASES: Sequence[tuple[type[World], str]] = (
    (SendsBeforeItPersists, "durable votes"),
    (ForgetsTheBlock, "durable votes"),
    (AnswersTooEarly, "acknowledged"),
    (MintsMoney, "supply"),
    (Hoards, "bounds"),
)


@pytest.mark.parametrize(("world", "oracle"), CASES, ids=lambda case: getattr(case, "__name__", case))
def test_an_oracle_sees_a_planted_defect(world: type[World], oracle: str) -> None:
    """One defective node among four."""
    failure = run(plan(1), world_type=world).failure
    assert failure is not None
    assert failure.oracle == oracle


def test_a_network_that_stays_cut_in_two_breaks_the_promise_of_progress() -> None:
    """Nothing heals the partition."""
    failure = run(plan(1, Partition(1_000, 60_000, (0, 1))), world_type=StaysCut).failure
    assert failure is not None
    assert failure.oracle == "progress"


def test_a_member_that_contradicts_itself_is_seen() -> None:
    """Restarts without the sign-state and without quarantine."""
    failures = [run(plan(seed, Byzantine(0, 0, Lie.AMNESIA)), world_type=TrustsAmnesia).failure for seed in range(6)]
    assert "no double vote" in {failure.oracle for failure in failures if failure is not None}


def test_a_quorum_that_is_one_too_small_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    """All members count two of four votes as a quorum: the certificates give it away."""
    monkeypatch.setattr("ledger.committee.quorum_size", lambda n: (n + (n - 1) // 3 + 2) // 2 - 1)
    failure = run(plan(1)).failure
    assert failure is not None
    assert failure.oracle in ("validity", "agreement")

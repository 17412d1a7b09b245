"""A clock that is set ahead: how far it goes, how it is kept, and that one member's consensus takes it without a complaint."""

import fcntl
import json
from pathlib import Path

import pytest
import typer

from consensus.messages import Message, PrePrepare, Signed, ViewChange
from consensus.replica import Replica
from ledger.errors import UnavailableError
from ledger.types import Height, View
from node.chain import ExecutedBlock
from node.clock import MAX_AHEAD_MS, OFFSET_NAME, BadOffsetError, DevelopmentClock, TooFarAheadError, read_offset, write_offset
from node.commands.dev_accounts import dev_blueprint
from node.commands.devnet_time import describe, iso, parse_moment, parse_span, shown
from node.devnet import DevnetError, create
from node.devnet_time import NetworkTime, move_time, network_time
from node.driver import Driver
from node.node_folder import DATA_NAME
from p2p.messages import Consensus
from tests.one_driver import NAMES, NETWORK, NOW, SilentNetwork, certify, one_driver, open_chain, wire

DAY_MS = 86_400_000
MONTH_MS = 30 * DAY_MS


# ---- the clock and its file


def test_clock_is_ahead_by_what_was_promised_and_stays_so(tmp_path: Path) -> None:
    clock = DevelopmentClock(tmp_path, lambda: NOW)
    assert (clock(), clock.offset_ms) == (NOW, 0)
    clock.promise(DAY_MS)
    assert clock() == NOW, "a promise is kept where its height begins"
    assert DevelopmentClock(tmp_path, lambda: NOW)() == NOW + DAY_MS, "or at the next start"
    clock.set_ahead(DAY_MS)
    assert (clock(), clock.promised_ms) == (NOW + DAY_MS, DAY_MS)


def test_clock_goes_a_century_ahead_and_no_further(tmp_path: Path) -> None:
    clock = DevelopmentClock(tmp_path, lambda: NOW)
    clock.promise(MAX_AHEAD_MS)
    with pytest.raises(TooFarAheadError):
        clock.promise(1)
    assert clock.promised_ms == read_offset(tmp_path) == MAX_AHEAD_MS


@pytest.mark.parametrize("text", ["", "[]", '{"offset_ms": "7"}', '{"offset_ms": -1}', json.dumps({"offset_ms": 2**60})])
def test_damaged_offset_is_told(tmp_path: Path, text: str) -> None:
    (tmp_path / OFFSET_NAME).write_text(text)
    with pytest.raises(BadOffsetError):
        read_offset(tmp_path)


def test_nodes_that_start_take_the_furthest_clock_of_their_network(tmp_path: Path) -> None:
    devnet = create(tmp_path / "net", dev_blueprint(4, "time", NOW), print)
    write_offset(devnet.nodes[2].folder / DATA_NAME, DAY_MS)
    assert devnet.level_clocks() == DAY_MS
    assert [read_offset(node.folder / DATA_NAME) for node in devnet.nodes] == [DAY_MS] * 4
    devnet.reset(NOW)
    assert devnet.level_clocks() == 0, "a new chain begins now"


def test_network_that_does_not_run_has_no_time(tmp_path: Path) -> None:
    devnet = create(tmp_path / "net", dev_blueprint(4, "time", NOW), print)
    with pytest.raises(UnavailableError, match="no node of"):
        network_time(devnet)
    with pytest.raises(UnavailableError, match="no node of"):
        move_time(devnet, DAY_MS)
    assert devnet.level_clocks() == 0, "nothing was set"


def test_two_who_set_the_clocks_at_once_would_set_them_differently(tmp_path: Path) -> None:
    devnet = create(tmp_path / "net", dev_blueprint(4, "time", NOW), print)
    with (devnet.folder / "time.lock").open("a") as other:
        fcntl.flock(other, fcntl.LOCK_EX)
        with pytest.raises(DevnetError, match="another command"):
            move_time(devnet, DAY_MS)


# ---- what people write


@pytest.mark.parametrize(
    ("text", "ms"), [("+30d", MONTH_MS), ("+1h", 3_600_000), ("1d12h", 129_600_000), ("+2w", 14 * DAY_MS), ("+1m30s", 90_000)]
)
def test_spans(text: str, ms: int) -> None:
    assert parse_span(text) == ms


@pytest.mark.parametrize("text", ["", "+", "30", "+0d", "-1d", "+1d and a bit", "+1y", "+1.5h", "+٣d"])
def test_what_is_no_span_is_told(text: str) -> None:
    with pytest.raises(typer.BadParameter):
        parse_span(text)


def test_moments() -> None:
    assert parse_moment("2027-01-01") == parse_moment("2027-01-01T00:00Z") == parse_moment("2027-01-01T01:00+01:00")
    assert iso(parse_moment("2027-01-01")) == "2027-01-01T00:00:00.000Z"
    with pytest.raises(typer.BadParameter):
        parse_moment("New Year")


def test_times_are_shown_as_people_write_them() -> None:
    then = NetworkTime(clock_ms=0, offset_ms=0, block_ms=parse_moment("2027-01-01"), height=7)
    now = NetworkTime(clock_ms=1, offset_ms=MONTH_MS, block_ms=parse_moment("2027-01-31"), height=8)
    assert shown(None, then) == "2027-01-01T00:00:00.000Z at height 7"
    moved = "2027-01-01T00:00:00.000Z -> 2027-01-31T00:00:00.000Z at height 8, 30 days, 0:00:00 ahead of this machine"
    assert shown(then, now) == moved
    assert describe(None, then).keys() == {"time", "clock_ms", "offset_ms", "block_ms", "height"}
    assert describe(then, now)["before_ms"] == then.block_ms


# ---- one member's consensus: node4, which is not the primary


class Member:
    """A driver with a clock that can be set, and what it sends."""

    def __init__(self, driver: Driver, network: SilentNetwork, clock: DevelopmentClock) -> None:
        self.driver = driver
        self.clock = clock
        self._network = network

    @property
    def replica(self) -> Replica:
        return self.driver.replica

    def jump(self, ms: int = MONTH_MS, from_height: Height | None = None) -> Height:
        return self.driver.jumps.ask(lambda: self.clock.set_ahead(ms), from_height)

    def said(self, kind: type[Message]) -> list[Message]:
        signed = [Signed.decode(message.payload) for _, message in self._network.sent if isinstance(message, Consensus)]
        return [item.message for item in signed if isinstance(item.message, kind)]


def proposal(tmp_path: Path, stamp_ms: int) -> ExecutedBlock:
    """Return an empty first block of the primary, stamped so."""
    (tmp_path / "others").mkdir(exist_ok=True)
    with open_chain(tmp_path / "others") as chain:
        return chain.build((), 100, View(0), NAMES[0], stamp_ms)[0]


def receive(member: Member, block: ExecutedBlock) -> None:
    message = PrePrepare(Height(1), View(0), block.header, ())
    member.driver.on_message(NAMES[0], wire(0, message))


async def test_block_of_a_primary_that_went_first_waits_for_our_clock_and_no_longer(tmp_path: Path) -> None:
    clock = DevelopmentClock(tmp_path, lambda: NOW)
    with one_driver(tmp_path, clock=clock) as (driver, network):
        member = Member(driver, network, clock)
        driver.start()
        receive(member, proposal(tmp_path, NOW + MONTH_MS))
        assert member.replica.phase == "idle", "it is held, not refused"
        assert member.jump(from_height=Height(1)) == 1
        assert member.replica.phase == "pre_prepared", "it is taken up at once"
        assert member.said(ViewChange) == []
        await driver.stop()


async def test_clock_is_set_between_two_heights_while_a_block_is_on_its_way(tmp_path: Path) -> None:
    """Set at once, it would make a month of how long this block took, and a stale one of what is on its way."""
    clock = DevelopmentClock(tmp_path, lambda: NOW)
    with one_driver(tmp_path, clock=clock) as (driver, network):
        member = Member(driver, network, clock)
        driver.start()
        block = proposal(tmp_path, NOW)
        receive(member, block)
        assert member.jump() == 2
        assert clock() == NOW
        driver.commit_synced(driver.chain.execute(block.header, ()), certify(driver.chain, block.header))
        assert clock() == NOW + MONTH_MS
        assert member.jump(from_height=Height(9)) == 9
        assert clock() == NOW + MONTH_MS
        await driver.stop()


async def test_a_month_is_not_how_long_the_primary_took(tmp_path: Path) -> None:
    """There was work before the jump: what is measured from there begins anew, or the primary would be called slow."""
    clock = DevelopmentClock(tmp_path, lambda: NOW)
    with one_driver(tmp_path, clock=clock) as (driver, network):
        member = Member(driver, network, clock)
        driver.start()
        driver.replica.on_work(True, clock())
        member.jump()
        block = proposal(tmp_path, clock())
        receive(member, block)
        assert member.replica.phase == "pre_prepared"
        driver.commit_synced(driver.chain.execute(block.header, ()), certify(driver.chain, block.header))
        assert driver.chain.tip.height == 1
        assert member.said(ViewChange) == []
        await driver.stop()


async def test_what_is_due_by_the_new_clock_is_work_at_once(tmp_path: Path) -> None:
    clock = DevelopmentClock(tmp_path, lambda: NOW)
    with one_driver(tmp_path, index=0, clock=clock) as (driver, network):
        member = Member(driver, network, clock)
        driver.start()
        before = len(member.said(PrePrepare))
        member.jump()
        (said,) = member.said(PrePrepare)[before:]
        assert isinstance(said, PrePrepare)
        assert said.header.timestamp_ms == NOW + MONTH_MS
        assert said.header.proposer == NETWORK.keys[0].member.id
        await driver.stop()

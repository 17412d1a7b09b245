"""State sync against members that lie, stall or have nothing: in one process, on real stores, without sockets."""

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from itertools import count
from pathlib import Path

import pytest

from ledger.certificate import QuorumCertificate
from ledger.committee import Member
from ledger.errors import DatacarError
from ledger.hashing import ZERO_HASH
from ledger.state_parts import Fork, Leaves
from ledger.transaction import Call, Transaction
from ledger.types import BlockHash, Height, MemberId
from node import crew, history
from node.block_store import BlockStore
from node.chain import Chain
from node.crew import MAX_ASKED, MAX_ASKED_ONE
from node.history import Committees, check_history, split_array
from node.install import clean_up
from node.pruning import Keep, Pruner
from node.snapshot_server import MAX_QUEUED, SnapshotServer
from node.state_sync import PAUSE_S, RETRY_S, StateSync
from node.storage import open_block_store
from node.tasks import Tasks
from p2p.messages import Application, StateAnswer, StateRequest, Status
from p2p.peers import PeerInfo
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State
from tests.ledger_folder import FolderNode, LedgerFolder
from tests.patience import PATIENCE_S
from vm.executor import Executor
from vm.registry import default_registry

HEIGHT = Height(12)
MARKER = b"minstall"
NAMES = tuple(MemberId(f"peer{number}") for number in range(5))

Lie = Callable[[StateRequest, StateAnswer], StateAnswer | None]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> LedgerFolder:
    """A chain whose state has several parts, with a snapshot of its last height but two."""
    folder = LedgerFolder(tmp_path_factory.mktemp("source"), name="state-sync")
    with folder.running() as node:
        payees = count()
        for _ in range(HEIGHT + 2):
            for _ in range(5):
                calls = (Call("asset", "transfer", (bytes(29) + next(payees).to_bytes(4), 1)) for _ in range(16))
                node.put(*calls, gas_limit=1_000_000)
            node.commit()
        node.chain.store.put_pins((HEIGHT,))
    return folder


@pytest.fixture
def serving(source: LedgerFolder) -> Iterator[FolderNode]:
    """The node that has it."""
    with source.running() as node:
        yield node


@pytest.fixture
def fresh(source: LedgerFolder, tmp_path: Path) -> Iterator[Chain]:
    """A chain with nothing but genesis."""
    store = open_block_store(tmp_path / "db", source.genesis.spec.hash)
    try:
        yield Chain(source.genesis, store, Executor(default_registry()))
    finally:
        store.close()


def _pinning(chain: Chain, *heights: int) -> Pruner:
    """What keeps these heights' versions of a chain."""
    chain.store.put_pins(tuple(map(Height, heights)))
    return Pruner(chain, Keep())


class Wire:
    """The syncing node's network: each member is a real snapshot server, whose answers come back as its lie makes them."""

    strangers_refused = 0

    def __init__(self, node: FolderNode, tasks: Tasks, lies: Mapping[MemberId, Lie]) -> None:
        self.lies = lies
        self.asked: dict[MemberId, int] = dict.fromkeys(lies, 0)
        self.most = self.most_in_all = 0
        self.requests: list[tuple[MemberId, StateRequest]] = []
        self.sync: StateSync | None = None
        self.servers = {
            name: SnapshotServer(node.chain, node._intake, _Way(self, name), tasks, _pinning(node.chain, HEIGHT), lambda: 0)
            for name in lies
        }

    def send(self, member_id: MemberId, message: Application) -> bool:
        assert isinstance(message, StateRequest)
        self.requests.append((member_id, message))
        self.asked[member_id] += 1
        self.most = max(self.most, self.asked[member_id])
        self.most_in_all = max(self.most_in_all, sum(self.asked.values()))
        self.servers[member_id].on_request(member_id, message)
        return True

    def come_back(self, member: MemberId, answer: StateAnswer) -> None:
        """Deliver what a server sent, unless its member keeps it to itself."""
        self.asked[member] -= 1
        request = next(request for name, request in reversed(self.requests) if name == member)
        told = self.lies[member](request, answer)
        if told is not None and self.sync is not None:
            self.sync.on_answer(member, told)

    def broadcast(self, message: Application, *, skip: MemberId | None = None) -> int:
        raise NotImplementedError

    def disconnect(self, member_id: MemberId, reason: str, *, misbehaved: bool = True) -> None:
        raise NotImplementedError

    def peers(self) -> tuple[PeerInfo, ...]:
        return ()

    def set_members(self, members: Iterable[Member], previous: Mapping[bytes, MemberId] | None = None) -> None:
        raise NotImplementedError


class _Way(Wire):
    """One server's network."""

    def __init__(self, wire: Wire, member: MemberId) -> None:
        self._wire = wire
        self._member = member

    def send(self, member_id: MemberId, message: Application) -> bool:
        assert isinstance(message, StateAnswer)
        assert member_id == self._member
        self._wire.come_back(self._member, message)
        return True


class Adopter:
    """What a driver does at least."""

    def __init__(self, chain: Chain) -> None:
        self._chain = chain

    def adopt_snapshot(self, certificate: QuorumCertificate) -> None:
        self._chain.take_up()
        assert self._chain.tip == certificate.header


@contextlib.asynccontextmanager
async def syncing(serving: FolderNode, fresh: Chain, **lies: Lie) -> AsyncIterator[tuple[StateSync, Wire]]:
    """A state sync of `fresh` from members that lie so; failures of its tasks are failures of the test."""
    failures: list[BaseException] = []
    tasks = Tasks(failures.append)
    wire = Wire(serving, tasks, {MemberId(name): lie for name, lie in lies.items()})
    sync = wire.sync = StateSync(fresh, wire, Adopter(fresh), tasks, distance=5)
    for name in wire.lies:
        sync.heard(name, status(HEIGHT))
    yield sync, wire
    await asyncio.sleep(0.02)
    await tasks.stop()
    assert failures == []


def status(snapshot: int, height: int = HEIGHT + 2) -> Status:
    """Return what a member says of itself."""
    return Status(Height(height), BlockHash(ZERO_HASH), Height(0), Height(snapshot))


def honest(_request: StateRequest, answer: StateAnswer) -> StateAnswer:
    return answer


def silent(_request: StateRequest, _answer: StateAnswer) -> None:
    return None


def has_nothing(_request: StateRequest, answer: StateAnswer) -> StateAnswer:
    match answer:
        case Snapshot(height):
            return Snapshot(height, b"")
        case History(from_height):
            return History(from_height, ())
        case State(height, path):
            return State(height, path, None)


def forges_state(_request: StateRequest, answer: StateAnswer) -> StateAnswer:
    if isinstance(answer, State) and isinstance(answer.part, Leaves):
        (key, value), *rest = answer.part.pairs
        return replace(answer, part=Leaves(((key, value + b"!"), *rest)))
    if isinstance(answer, State) and isinstance(answer.part, Fork):
        return replace(answer, part=Fork(answer.part.bitmap, answer.part.digests[::-1]))
    return answer


def forges_history(_request: StateRequest, answer: StateAnswer) -> StateAnswer:
    if isinstance(answer, History) and answer.items:
        (certificate, receipts), *rest = answer.items
        return replace(answer, items=((certificate, receipts[:-1] + bytes((receipts[-1] ^ 1,))), *rest))
    return answer


def forges_trust(_request: StateRequest, answer: StateAnswer) -> StateAnswer:
    if isinstance(answer, Snapshot):
        return replace(answer, certificate=answer.certificate[:-1] + bytes((answer.certificate[-1] ^ 1,)))
    return answer


def assert_restored(fresh: Chain, serving: FolderNode) -> None:
    """It has the state, all of it, and goes on to the same tip by the blocks after it."""
    assert fresh.tip == serving.chain.store.header(HEIGHT)
    assert (fresh.store.held.states_from, fresh.store.held.bodies_from) == (HEIGHT, HEIGHT + 1)
    for height in map(Height, range(HEIGHT + 1, serving.tip.height + 1)):
        follow(fresh, serving.chain, height)
    assert fresh.tip == serving.tip


def follow(chain: Chain, other: Chain, height: Height) -> None:
    """Commit another chain's block."""
    block, certificate = other.store.block(height), other.store.certificate(height)
    assert block is not None
    assert certificate is not None
    chain.commit(
        chain.execute(block.header, [Transaction.from_raw(raw, chain.genesis_hash) for raw in block.transactions]), certificate
    )


def leftovers(store: BlockStore) -> dict[str, int]:
    """Count what an installation that came to nothing must not leave."""
    tip = store.tip_height() or 0
    return {
        "marker": int(store.raw.get(MARKER) is not None),
        "values": sum(1 for _ in store.raw.iterate(store.other_values)),
        "tree": sum(1 for prefix in (b"sn", b"sl") for key, _ in store.raw.iterate(prefix) if int.from_bytes(key[-8:]) > tip),
        "history": sum(1 for kind in (b"c", b"r", b"i") for key, _ in store.raw.iterate(kind) if int.from_bytes(key[1:]) > tip),
        "hashes": sum(1 for kind in (b"h",) for _, value in store.raw.iterate(kind) if int.from_bytes(value) > tip),
        "places": sum(1 for _, value in store.raw.iterate(b"t") if int.from_bytes(value[:8]) > tip),
    }


async def test_a_state_comes_from_several_members_at_once_within_bounds(serving: FolderNode, fresh: Chain) -> None:
    """All are asked, none for more than its share at a time."""
    async with syncing(serving, fresh, peer0=honest, peer1=honest, peer2=honest) as (sync, wire):
        assert await sync.run(HEIGHT)
        assert sync.progress is None
    assert_restored(fresh, serving)
    assert {name for name, _ in wire.requests} == set(wire.lies)
    assert wire.most <= MAX_ASKED_ONE <= MAX_QUEUED
    assert wire.most_in_all <= MAX_ASKED
    parts = [request for _, request in wire.requests if isinstance(request, GetState)]
    assert len(parts) > 16, "the state is too small for what this shows"
    assert len(set(parts)) == len(parts), "nothing is fetched twice when nobody is slow"


@pytest.mark.parametrize("lie", [silent, has_nothing, forges_state, forges_history, forges_trust])
async def test_whoever_answers_nothing_good_is_replaced(
    serving: FolderNode, fresh: Chain, lie: Lie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whatever most members do, one honest one is enough."""
    monkeypatch.setattr(crew, "SLOW_S", 0.02)
    monkeypatch.setattr(crew, "TIMEOUT_S", 0.5)
    async with syncing(serving, fresh, peer0=lie, peer1=lie, peer2=lie, peer3=honest) as (sync, _):
        assert await sync.run(HEIGHT)
    assert_restored(fresh, serving)


@pytest.mark.parametrize("lie", [silent, has_nothing, forges_state, forges_history, forges_trust])
async def test_without_anybody_honest_it_comes_to_nothing_and_leaves_nothing(
    serving: FolderNode, fresh: Chain, lie: Lie, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The chain is what it was, and blocks come first for a while; without blocks it is tried again soon."""
    monkeypatch.setattr(crew, "SLOW_S", 0.02)
    monkeypatch.setattr(crew, "TIMEOUT_S", 0.5)
    async with syncing(serving, fresh, peer0=lie, peer1=lie) as (sync, _):
        assert sync.target(blocks_can_be_had=True) == HEIGHT
        assert not await sync.run(HEIGHT)
        assert sync.target(blocks_can_be_had=True) is None
        assert sync.target(blocks_can_be_had=False) is None, "at once it would fail again"
        sync._failed_s -= PAUSE_S
        assert sync.target(blocks_can_be_had=True) is None
        assert sync.target(blocks_can_be_had=False) == HEIGHT
        sync.heard(NAMES[2], status(HEIGHT - 1))
        assert sync.target(blocks_can_be_had=False) == HEIGHT - 1, "of somebody who has not failed us"
        sync._failed_s -= RETRY_S
        sync.keep_only(NAMES[:2])
        assert sync.target(blocks_can_be_had=True) == HEIGHT
    assert fresh.tip.height == 0
    assert not any(leftovers(fresh.store).values()), leftovers(fresh.store)
    follow(fresh, serving.chain, Height(1))


async def test_while_one_is_slow_another_is_asked(serving: FolderNode, fresh: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """A member that never answers costs a moment, not its time-out: what it was asked for comes from another one."""
    monkeypatch.setattr(crew, "SLOW_S", 0.03)
    monkeypatch.setattr(crew, "TIMEOUT_S", PATIENCE_S)
    async with syncing(serving, fresh, peer0=silent, peer1=honest) as (sync, _):
        async with asyncio.timeout(PATIENCE_S / 2):
            assert await sync.run(HEIGHT)
    assert_restored(fresh, serving)


async def test_members_that_take_their_time_do_not_take_that_of_the_others(
    serving: FolderNode, fresh: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As many as may be asked at a time answer just before their time-outs: the one beside them is asked all the same."""
    monkeypatch.setattr(crew, "SLOW_S", 0.05)
    monkeypatch.setattr(crew, "MAX_ASKED", 4)
    monkeypatch.setattr(crew, "TIMEOUT_S", PATIENCE_S)
    loop = asyncio.get_running_loop()
    async with syncing(serving, fresh, peer0=honest, peer1=honest, peer2=honest, peer3=honest, peer4=honest) as (sync, wire):

        def late(name: MemberId) -> Lie:
            def answer_later(_request: StateRequest, answer: StateAnswer) -> None:
                loop.call_later(0.9 * PATIENCE_S, sync.on_answer, name, answer)

            return answer_later

        wire.lies = {name: honest if name == NAMES[4] else late(name) for name in NAMES}
        async with asyncio.timeout(PATIENCE_S / 2):
            assert await sync.run(HEIGHT)
    assert_restored(fresh, serving)


async def test_a_lost_connection_is_no_fault(serving: FolderNode, fresh: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """The only member that has the state is gone twice in the middle, once with requests under way, and is asked again after."""
    monkeypatch.setattr(crew, "SLOW_S", 0.02)
    monkeypatch.setattr(crew, "TIMEOUT_S", 0.5)
    async with syncing(serving, fresh, peer0=honest) as (sync, wire):
        loop, name = asyncio.get_running_loop(), NAMES[0]
        connections = count(1)
        now, due = [next(connections)], [5, 11]

        def come_back() -> None:
            now[:] = [next(connections)]
            sync.heard(name, status(HEIGHT))

        def peers() -> tuple[PeerInfo, ...]:
            since = now[0] if now else None
            return (PeerInfo(name, "", "out", bool(now), since, None, None, 0, 0, 0, None),)

        def lossy(_request: StateRequest, answer: StateAnswer) -> StateAnswer | None:
            if due and len(wire.requests) >= due[0]:
                due.pop(0)
                now.clear()
                loop.call_later(0.15, come_back)
            return answer if now else None

        send = wire.send
        wire.lies = {name: lossy}
        monkeypatch.setattr(wire, "peers", peers)
        monkeypatch.setattr(wire, "send", lambda member, message: bool(now) and send(member, message))
        assert await sync.run(HEIGHT)
        assert next(connections) == 4
        assert not due
    assert_restored(fresh, serving)


async def test_a_slow_line_is_no_silence(serving: FolderNode, fresh: Chain, monkeypatch: pytest.MonkeyPatch) -> None:
    """Answers that take longer than the time-out come in the end, as long as their bytes keep coming."""
    monkeypatch.setattr(crew, "SLOW_S", 0.02)
    monkeypatch.setattr(crew, "TIMEOUT_S", 0.05)
    loop, name = asyncio.get_running_loop(), NAMES[0]
    for rate, ends_well in ((0, False), (4 * crew.LEAST_BYTES, True)):
        async with syncing(serving, fresh, peer0=honest) as (sync, wire):
            began_s = loop.time()

            def peers(rate: int = rate, began_s: float = began_s) -> tuple[PeerInfo, ...]:
                come = int(rate * (loop.time() - began_s) / crew.TIMEOUT_S)
                return (PeerInfo(name, "", "out", True, 1, None, None, come, 0, 0, None),)

            def late(_request: StateRequest, answer: StateAnswer, sync: StateSync = sync) -> None:
                loop.call_later(0.2, sync.on_answer, name, answer)

            monkeypatch.setattr(wire, "peers", peers)
            wire.lies = {name: late}
            assert await sync.run(HEIGHT) is ends_well
    assert_restored(fresh, serving)


async def test_a_connection_that_is_lost_again_and_again_is_given_up(
    serving: FolderNode, fresh: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Blocks may be had elsewhere: neither a member that comes and goes, nor one that never comes back, is waited for in vain."""
    monkeypatch.setattr(crew, "PATIENCE_S", 0.05)
    async with syncing(serving, fresh, peer0=honest) as (sync, wire):
        monkeypatch.setattr(wire, "send", lambda _member, _message: asyncio.get_running_loop().call_soon(back) is None)

        def back() -> None:
            sync.heard(NAMES[0], status(HEIGHT))

        async with asyncio.timeout(PATIENCE_S):
            assert not await sync.run(HEIGHT)
        monkeypatch.setattr(wire, "send", lambda _member, _message: False)
        async with asyncio.timeout(PATIENCE_S):
            assert not await sync.run(HEIGHT)


async def test_who_has_no_more_history_than_is_needed_stays(
    serving: FolderNode, fresh: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """History is asked for ahead, without knowing how far down it is needed: not to have what lies below is no fault."""
    monkeypatch.setattr(history, "BLOCKS_A_REQUEST", 2)
    monkeypatch.setattr(history, "RECENT_BLOCKS", 1)
    header, before = serving.chain.store.header(HEIGHT), serving.chain.store.header(Height(HEIGHT - 5))
    assert header is not None
    assert before is not None
    fresh.window_limit_ms = header.timestamp_ms - before.timestamp_ms - 1
    lowest = HEIGHT - 5
    monkeypatch.setattr(crew, "SLOW_S", 0.1)

    def pruned(_request: StateRequest, answer: StateAnswer) -> StateAnswer:
        if not isinstance(answer, History):
            return answer
        kept = max(0, answer.from_height - lowest + 1)
        return replace(answer, items=answer.items[:kept])

    def keeps_history(request: StateRequest, answer: StateAnswer) -> StateAnswer | None:
        return None if isinstance(answer, History) else honest(request, answer)

    async with syncing(serving, fresh, peer0=keeps_history, peer1=pruned, peer2=pruned) as (sync, _):
        assert await sync.run(HEIGHT)
    assert fresh.store.held.receipts_from == lowest


async def test_the_chain_may_come_to_the_height_first(serving: FolderNode, fresh: Chain) -> None:
    """By votes that were still under way, say: then the state is given up, and what the chain wrote stays whole."""
    reached: list[bool] = []

    def overtaken(_request: StateRequest, answer: StateAnswer) -> StateAnswer:
        if isinstance(answer, History) and not reached:
            reached.append(True)
            for height in map(Height, range(1, HEIGHT + 2)):
                follow(fresh, serving.chain, height)
        return answer

    async with syncing(serving, fresh, peer0=overtaken) as (sync, _):
        assert not await sync.run(HEIGHT)
    assert fresh.store.raw.get(MARKER) is None
    assert fresh.tip.height == HEIGHT + 1
    follow(fresh, serving.chain, Height(HEIGHT + 2))
    fresh.take_up()
    assert fresh.tip == serving.tip
    here, there = fresh.version(fresh.tip.height), serving.chain.version(fresh.tip.height)
    assert list(here.tree.items(here.root)) == list(there.tree.items(there.root))


async def test_an_older_chain_gives_way(serving: FolderNode, fresh: Chain) -> None:
    """What is near enough stays as history; its state and bodies go."""
    for height in map(Height, range(1, 4)):
        follow(fresh, serving.chain, height)
    async with syncing(serving, fresh, peer0=honest) as (sync, wire):
        assert await sync.run(HEIGHT)
        asked = [request for _, request in wire.requests if isinstance(request, GetHistory)]
        assert min(request.from_height - request.count + 1 for request in asked) == 4
    assert_restored(fresh, serving)
    for _ in clean_up(fresh.store):
        pass
    assert fresh.store.held.headers_from == 0
    assert fresh.store.raw.get(MARKER) is None
    assert list(fresh.store.raw.iterate(fresh.store.other_values)) == []
    assert min(int.from_bytes(key[-8:]) for prefix in (b"sn", b"sl") for key, _ in fresh.store.raw.iterate(prefix)) == HEIGHT
    assert [fresh.store.block(Height(height)) for height in range(1, 4)] == [None] * 3
    assert fresh.store.receipts(Height(2)) == serving.chain.store.receipts(Height(2))


def test_what_is_left_of_a_crash_is_removed(serving: FolderNode, fresh: Chain) -> None:
    """At any point of it: the marker says what was under way."""

    async def break_off() -> None:
        until_fetched = asyncio.Event()

        def stops(_request: StateRequest, answer: StateAnswer) -> StateAnswer | None:
            if not isinstance(answer, History):
                return answer
            until_fetched.set()
            return None

        async with syncing(serving, fresh, peer0=stops) as (sync, _):
            task = asyncio.create_task(sync.run(HEIGHT))
            await asyncio.wait_for(until_fetched.wait(), PATIENCE_S)
            progress = sync.progress
            assert progress is not None
            assert (progress.height, progress.permille, progress.blocks) == (HEIGHT, 1_000, 0)
            assert progress.keys == progress.expected_keys > 900
            assert progress.parts > 16
            sync._install.put({b"sl" + bytes(32) + HEIGHT.to_bytes(8): bytes(600_000)})  # type: ignore[union-attr]
            task.cancel()
            with pytest.raises(asyncio.CancelledError):
                await task

    asyncio.run(break_off())
    before = leftovers(fresh.store)
    assert before["marker"] == 1
    assert before["values"] > 100
    assert before["tree"] > 100
    for _ in clean_up(fresh.store):
        pass
    assert not any(leftovers(fresh.store).values())
    follow(fresh, serving.chain, Height(1))


def test_the_snapshot_that_most_have_is_taken(fresh: Chain) -> None:
    """A stated height is a hint: a liar's alone never comes first, and near ones count only where blocks are not to be had."""

    async def choose() -> None:
        sync = StateSync(fresh, _Way.__new__(_Way), Adopter(fresh), Tasks(lambda _: None), distance=100)
        assert sync.target(blocks_can_be_had=False) is None
        for name, height in zip(NAMES, (2_000, 2_000, 3_000, 2**50, 40), strict=True):
            sync.heard(name, status(height))
        assert sync.target(blocks_can_be_had=True) == 2_000
        sync.keep_only(NAMES[2:])
        assert sync.target(blocks_can_be_had=True) == 2**50
        sync.keep_only(NAMES[4:])
        assert sync.target(blocks_can_be_had=True) is None
        assert sync.target(blocks_can_be_had=False) == 40
        sync.heard(NAMES[4], status(0))
        assert sync.target(blocks_can_be_had=False) is None
        never = StateSync(fresh, _Way.__new__(_Way), Adopter(fresh), Tasks(lambda _: None), distance=0)
        never.heard(NAMES[0], status(10**6))
        assert never.target(blocks_can_be_had=True) is None
        assert never.target(blocks_can_be_had=False) == 10**6

    asyncio.run(choose())


async def test_a_server_answers_what_it_has_and_queues_little(serving: FolderNode) -> None:
    """Unknown heights, pruned versions and paths beside the tree are answered with nothing; too many requests not at all."""
    answers: list[StateAnswer] = []
    tasks = Tasks(lambda error: answers.append(error))  # type: ignore[arg-type]

    class Port(_Way):
        def __init__(self) -> None:
            pass

        def send(self, member_id: MemberId, message: Application) -> bool:
            assert isinstance(message, StateAnswer)
            answers.append(message)
            return True

    async def reach(count: int) -> None:
        async with asyncio.timeout(PATIENCE_S):
            while len(answers) < count:  # noqa: ASYNC110 - there is no event to wait for
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)  # time for one too many

    server = SnapshotServer(serving.chain, serving._intake, Port(), tasks, _pinning(serving.chain, HEIGHT, 99), lambda: 0)
    requests: list[StateRequest] = [
        GetState(Height(5), b""),
        GetState(Height(99), b""),
        GetState(HEIGHT, bytes(64)),
        GetSnapshot(Height(5), Height(1)),
        GetHistory(Height(99), 3),
    ]
    for request in requests:
        server.on_request(NAMES[0], request)
    await reach(5)
    empty = (State(Height(5), b"", None), State(Height(99), b"", None), State(HEIGHT, bytes(64), None))
    assert answers == [*empty, Snapshot(Height(5), b""), History(Height(99), ())]
    answers.clear()
    for _ in range(3 * MAX_QUEUED):
        server.on_request(NAMES[0], GetHistory(Height(3), 5))
        server.on_request(NAMES[1], GetHistory(Height(2), 1))
    assert server.queued <= 2 * MAX_QUEUED
    await reach(2 * MAX_QUEUED)
    assert len(answers) == 2 * MAX_QUEUED
    first = answers[0]
    assert isinstance(first, History)
    assert [item[0] for item in first.items] == [serving.chain.store.certificate_bytes(Height(at)) for at in (3, 2, 1)]
    await tasks.stop()


def test_history_is_checked_down_to_the_bytes(serving: FolderNode) -> None:
    """The certificate's height and committee, the receipts' root, and that nothing follows."""
    store, chain = serving.chain.store, serving.chain
    committees = Committees(chain.genesis_hash, chain.committee, Height(1))
    certificate, receipts = store.certificate_bytes(HEIGHT), store.receipts_bytes(HEIGHT)
    assert certificate is not None
    assert receipts is not None
    found = check_history(chain.genesis_hash, committees, HEIGHT, certificate, receipts)
    assert found.tx_ids == store.tx_ids(HEIGHT)
    other = store.receipts_bytes(Height(HEIGHT - 1))
    for height, lie, bad in (
        (Height(HEIGHT - 1), certificate, receipts),
        (HEIGHT, certificate, other),
        (HEIGHT, certificate, b""),
    ):
        with pytest.raises(DatacarError):
            check_history(chain.genesis_hash, committees, height, lie, bad or b"")
    for bad in (receipts + b"\0", receipts[:-1], b"\xc0", b"\xdd\xff\xff\xff\xff", b"\x91" * 3_000, b"\x95" + bytes(5)):
        with pytest.raises(DatacarError):
            split_array(bad, 4)


def test_a_flood_of_tiny_receipts_is_refused_at_once(serving: FolderNode) -> None:
    """A true certificate with 8 million items of one byte would keep the event loop for more than a minute."""
    chain = serving.chain
    committees = Committees(chain.genesis_hash, chain.committee, Height(1))
    certificate = chain.store.certificate_bytes(HEIGHT)
    assert certificate is not None
    took_s = []
    for _ in range(5):
        began_s = time.perf_counter()
        for many in (history.MAX_RECEIPTS + 1, 1_000_000):
            with pytest.raises(DatacarError, match="too large"):
                check_history(chain.genesis_hash, committees, HEIGHT, certificate, b"\xdd" + many.to_bytes(4) + bytes(many))
        took_s.append(time.perf_counter() - began_s)
    assert min(took_s) < 0.1, "the fastest, for other work on the machine only ever adds"

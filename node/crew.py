"""Asks several members for many things at once and checks each answer when it comes; who lies or stalls is asked no more.

For what certifies itself (state sync): nobody is believed, so who answers matters for speed only. Bounded: so many requests to
one member, so many in all, each with a time-out. Those that are slow do not count among all: a few members that take their time
must not keep the others from being asked. A lost connection is no fault, unless it is lost again and again.
"""

import asyncio
import contextlib
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Final, Protocol, TypeAlias

import structlog

from ledger.errors import InvalidInputError, NotFoundError, UnavailableError
from ledger.types import MemberId
from node.ports import Network
from p2p.messages import StateAnswer, StateRequest
from p2p.peers import PeerInfo
from p2p.state_messages import GetHistory, GetSnapshot, GetState, History, Snapshot, State

MAX_ASKED: Final = 12
MAX_ASKED_ONE: Final = 3
SLOW_S: Final = 0.8
TIMEOUT_S: Final = 3.0
LONGEST_S: Final = 30.0  # for a member whose bytes do come: a dozen answers of half a megabyte take a slow line that long
LEAST_BYTES: Final = 32 * 1024  # in a time-out, to count as coming
PATIENCE_S: Final = 15.0  # with nobody connected, longer than it takes to dial again
MAX_LOSSES: Final = 4 * MAX_ASKED_ONE  # requests that were lost with a member's connection, without a good answer in between

log = structlog.get_logger("sync")

_Key: TypeAlias = tuple[MemberId, type[StateAnswer], int, bytes]


class SyncFailedError(UnavailableError):
    """A state cannot be fetched from the members there are."""

    def __init__(self, message: str, **details: object) -> None:
        super().__init__("syncing", message, hint="blocks are fetched instead; it is tried again later", **details)


class NotHeldError(NotFoundError):
    """A member does not have (any more) what it was asked for."""

    def __init__(self, what: str) -> None:
        super().__init__("not_found", f"it does not have {what}", hint="ask another member")


class Jobs(Protocol):
    """Things to ask for. `take` raises `InvalidInputError` for an answer that is wrong, `NotHeldError` for one that is none."""

    @property
    def done(self) -> bool:
        """Return whether everything has come."""
        ...

    def next_request(self) -> StateRequest | None:
        """Return what to ask for next; None while that depends on answers that are still to come."""
        ...

    def give_back(self, request: StateRequest, /) -> None:
        """Ask for this again: who was asked has not brought it (yet)."""
        ...

    def take(self, request: StateRequest, answer: StateAnswer, /) -> None:
        """Take the answer to a request, or raise and be as before; one that has come already is nothing."""
        ...


class Crew:
    """The members that are asked in one state sync. `willing` says who there is now; `dropped` are those found wanting."""

    def __init__(self, network: Network, willing: Callable[[], Iterable[MemberId]]) -> None:
        self._network = network
        self._willing = willing
        self.dropped: set[MemberId] = set()
        self._away: set[MemberId] = set()
        self._losses: Counter[MemberId] = Counter()
        self._lacking: dict[MemberId, int] = {}  # the height from which downwards a member has no history
        self._asked: Counter[MemberId] = Counter()
        self._slow = 0
        self._waiting: dict[_Key, asyncio.Future[StateAnswer]] = {}
        self._changed = asyncio.Event()

    @property
    def members(self) -> list[MemberId]:
        """Return who can be asked, those with the least to do first."""
        left = set(self._willing()) - self.dropped - self._away
        return sorted(left, key=lambda member: (self._asked[member], member))

    def heard(self, member: MemberId) -> None:
        """Take a sign of life: a member whose connection was lost can be asked again."""
        if member in self._away:
            self._away.remove(member)
            self._changed.set()

    def on_answer(self, member: MemberId, answer: StateAnswer) -> None:
        """Take what a member sent; what nobody waits for (any more) is nothing."""
        self.heard(member)
        future = self._waiting.get(_key_of_answer(member, answer))
        if future is not None and not future.done():
            future.set_result(answer)

    async def run(self, jobs: Jobs) -> None:
        """Work until the jobs are done. Raises `SyncFailedError` when nobody is left to ask."""
        running: set[asyncio.Task[None]] = set()
        loop = asyncio.get_running_loop()
        alone_until_s = loop.time() + PATIENCE_S
        try:
            while not jobs.done:
                self._changed.clear()
                while (begun := self._begin(jobs)) is not None:
                    running.add(begun)
                    begun.add_done_callback(lambda _: self._changed.set())
                if running:
                    alone_until_s = loop.time() + PATIENCE_S
                elif loop.time() >= alone_until_s or not self._away - self.dropped:
                    raise SyncFailedError("nobody is left who has the state", dropped=len(self.dropped))
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), None if running else alone_until_s - loop.time())
                for task in [task for task in running if task.done()]:
                    running.remove(task)
                    task.result()
        finally:
            for task in running:
                task.cancel()
            await asyncio.gather(*running, return_exceptions=True)

    def _begin(self, jobs: Jobs) -> asyncio.Task[None] | None:
        """Ask somebody for the next thing; None when all who are left have enough to do, or nothing is to be asked for now."""
        idle = [member for member in self.members if self._asked[member] < MAX_ASKED_ONE]
        if not idle or self._asked.total() - self._slow >= MAX_ASKED or (request := jobs.next_request()) is None:
            return None
        member = next((member for member in idle if self._may_ask(member, request)), None)
        if member is None:
            jobs.give_back(request)
            return None
        self._asked[member] += 1
        loop = asyncio.get_running_loop()
        future = self._waiting[_key_of_request(member, request)] = loop.create_future()
        return loop.create_task(self._ask(member, request, jobs, future), name="state sync request")

    def _may_ask(self, member: MemberId, request: StateRequest) -> bool:
        lacks = isinstance(request, GetHistory) and request.from_height <= self._lacking.get(member, 0)
        return not lacks and _key_of_request(member, request) not in self._waiting

    async def _ask(self, member: MemberId, request: StateRequest, jobs: Jobs, future: asyncio.Future[StateAnswer]) -> None:
        """Ask a member and have the jobs take its answer; while it is slow, somebody else may be asked as well."""
        given_back = slow = False
        connection = self._connection(member)
        try:
            if not self._network.send(member, request):
                self._lost(member, is_back=False)
                return
            if not (await asyncio.wait([future], timeout=SLOW_S))[0]:
                given_back = slow = True
                self._slow += 1
                jobs.give_back(request)
                self._changed.set()
            jobs.take(request, await self._patiently(member, future))
            given_back = True
            del self._losses[member]
        except TimeoutError:
            now = self._connection(member)
            if now == connection:
                self._drop(member, f"no answer within {TIMEOUT_S} s")
            else:
                self._lost(member, is_back=now is not None and now[0])
        except NotHeldError as error:
            if isinstance(request, GetHistory):  # asked for ahead, without knowing how far down any is needed: no fault
                self._lacking[member] = max(request.from_height, self._lacking.get(member, 0))
            else:
                self._drop(member, error.message)
        except (InvalidInputError, NotFoundError) as error:
            self._drop(member, error.message)
        finally:
            self._asked[member] -= 1
            self._slow -= slow
            del self._waiting[_key_of_request(member, request)]
            if not given_back:
                jobs.give_back(request)

    async def _patiently(self, member: MemberId, future: asyncio.Future[StateAnswer]) -> StateAnswer:
        """Wait for an answer for as long as the member's bytes keep coming. Raises `TimeoutError`."""
        loop = asyncio.get_running_loop()
        until_s = loop.time() + LONGEST_S
        received, wait_s = self._received(member), TIMEOUT_S - SLOW_S
        while not (await asyncio.wait([future], timeout=wait_s))[0]:
            before, received, wait_s = received, self._received(member), TIMEOUT_S
            if received - before < LEAST_BYTES or loop.time() >= until_s:
                raise TimeoutError
        return future.result()

    def _peer(self, member: MemberId) -> PeerInfo | None:
        return next((peer for peer in self._network.peers() if peer.member_id == member), None)

    def _received(self, member: MemberId) -> int:
        """Return how many bytes have come from a member."""
        peer = self._peer(member)
        return 0 if peer is None else peer.bytes_in

    def _connection(self, member: MemberId) -> tuple[bool, int | None] | None:
        """Return what tells a member's connection from the next one; None when it is no member (any more)."""
        peer = self._peer(member)
        return None if peer is None else (peer.connected or peer.sync_only, peer.connected_since_ms)

    def _lost(self, member: MemberId, *, is_back: bool) -> None:
        """Wait for a sign of life of a member that cannot be sent to; one with another connection already is asked again."""
        self._losses[member] += 1
        if self._losses[member] > MAX_LOSSES:
            self._drop(member, "its connection was lost too often")
        elif not is_back:
            self._away.add(member)

    def _drop(self, member: MemberId, reason: str) -> None:
        """Ask a member no more in this sync."""
        if member not in self.dropped:
            self.dropped.add(member)
            log.warning("state is asked of a member no more", member=member, reason=reason)


def _key_of_request(member: MemberId, request: StateRequest) -> _Key:
    match request:
        case GetSnapshot():
            return member, Snapshot, request.height, b""
        case GetHistory():
            return member, History, request.from_height, b""
        case GetState():
            return member, State, request.height, request.path


def _key_of_answer(member: MemberId, answer: StateAnswer) -> _Key:
    match answer:
        case Snapshot():
            return member, Snapshot, answer.height, b""
        case History():
            return member, History, answer.from_height, b""
        case State():
            return member, State, answer.height, answer.path

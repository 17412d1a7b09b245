"""State sync: takes the chain from a snapshot that other members hold instead of from all the blocks before it.

Nobody is believed: handovers lead from the committee known here to the certificate of the snapshot's header, whose roots check
every part of the state and the history of the transaction window. Only when all of it is there does it become the node's state,
in one batch; until then the node goes on being what it was, and does not vote at heights it has not reached. Whenever this comes
to nothing, blocks are fetched instead, and it is tried again later.
"""

import asyncio
import math
from collections import Counter
from collections.abc import Container, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

import structlog

from ledger.certificate import BadCertificateError, QuorumCertificate
from ledger.codec import INT_MAX, decode
from ledger.committee_chain import Handover
from ledger.list_root import BadProofError
from ledger.types import Height, MemberId
from node.chain import Chain
from node.crew import Crew, NotHeldError, SyncFailedError
from node.history import Committees, HistoryJobs
from node.install import Installation, clean_up
from node.ports import Network
from node.tasks import Tasks
from p2p.messages import StateAnswer, StateRequest, Status
from p2p.state_messages import GetSnapshot, GetState, Snapshot, State

RETRY_S: Final = 30.0
LET_DOWN_S: Final = 600.0  # over RETRY_S: the next attempt is to be with others
SAY_S: Final = 5.0
PAUSE_S: Final = 5.0  # before the next attempt when there are no blocks to go on with
BREATH_S: Final = 0.002  # between two steps of a clean-up, which take some milliseconds

log = structlog.get_logger("sync")


class Adopter(Protocol):
    """What a restored state is handed to."""

    def adopt_snapshot(self, certificate: QuorumCertificate) -> None:
        """Go on from the state of this header: it stands in the store already."""


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a state sync is. `permille` is of the state, whose number of keys is estimated; `blocks` are the window's."""

    height: Height
    parts: int
    keys: int
    expected_keys: int
    permille: int
    blocks: int
    written_bytes: int


class TrustJobs:
    """Fetches the certificate of a snapshot's header and the changes of the committee up to it (`node.crew.Jobs`)."""

    def __init__(self, genesis_hash: bytes, height: Height, committees: Committees) -> None:
        self.certificate: QuorumCertificate | None = None
        self.committees = committees
        self._genesis_hash = genesis_hash
        self._height = height
        self._asked = False

    @property
    def done(self) -> bool:
        """Return whether the header is trusted and the committee after it known."""
        return self.certificate is not None

    def next_request(self) -> StateRequest | None:
        """Ask for one answer at a time: each begins where the one before ended."""
        if self._asked or self.done:
            return None
        self._asked = True
        return GetSnapshot(self._height, self.committees.next_height)

    def give_back(self, _request: StateRequest, /) -> None:
        """Ask again."""
        self._asked = False

    def take(self, request: StateRequest, answer: StateAnswer) -> None:
        """Follow the committees, and check the certificate once they have come to its own."""
        if self.done or not isinstance(request, GetSnapshot) or request.from_height != self.committees.next_height:
            return
        if not isinstance(answer, Snapshot) or not answer.certificate:
            raise NotHeldError("this snapshot")
        certificate = QuorumCertificate.from_value(decode(answer.certificate))
        header = certificate.header
        if header.height != self._height:
            raise BadCertificateError("the certificate is of another height", height=header.height, expected=self._height)
        handovers = [Handover.from_value(decode(item)) for item in answer.handovers]
        if handovers and handovers[-1].certificate.header.height > self._height:
            raise BadCertificateError("a change of the committee is above the snapshot", height=self._height)
        self.committees.add(handovers)
        if self.committees.last.hash(self._genesis_hash) == header.next_committee_hash:
            certificate.check(self._genesis_hash, self.committees.at(self._height))
            self.certificate = certificate
        elif not handovers:
            raise NotHeldError("the changes of the committee before this snapshot")
        self._asked = False


class StateJobs:
    """Fetches the state part by part (`node.crew.Jobs`)."""

    def __init__(self, install: Installation) -> None:
        self._install = install
        self._assembly = install.assembly

    @property
    def done(self) -> bool:
        """Return whether the state is whole."""
        return self._assembly.complete

    def next_request(self) -> StateRequest | None:
        """Return the next part to ask for."""
        path = self._assembly.want()
        return None if path is None else GetState(self._install.height, path)

    def give_back(self, request: StateRequest) -> None:
        """Ask for a part again."""
        if isinstance(request, GetState):
            self._assembly.give_back(request.path)

    def take(self, request: StateRequest, answer: StateAnswer) -> None:
        """Check and write a part."""
        if not isinstance(request, GetState) or not isinstance(answer, State) or answer.part is None:
            raise NotHeldError("this state")
        self._install.put(self._assembly.take(request.path, answer.part))


class StateSync:
    """Runs one state sync at a time; `offers` are the snapshots that peers state to have."""

    def __init__(self, chain: Chain, network: Network, adopter: Adopter, tasks: Tasks, distance: int) -> None:
        self.offers: dict[MemberId, Height] = {}
        self.running = False
        self._chain = chain
        self._network = network
        self._adopter = adopter
        self._tasks = tasks
        self._distance = distance
        self._crew: Crew | None = None
        self._install: Installation | None = None
        self._history: HistoryJobs | None = None
        self._let_down: dict[MemberId, float] = {}
        self._failed_s = -math.inf
        self._cleaning = asyncio.Lock()

    @property
    def progress(self) -> Progress | None:
        """Return how far it is, or None when none is under way."""
        install = self._install
        if install is None:
            return None
        state, blocks = install.assembly, 0 if self._history is None else self._history.blocks
        return Progress(
            install.height, state.parts, state.keys, state.expected_keys, state.permille, blocks, install.written_bytes
        )

    def heard(self, member: MemberId, status: Status) -> None:
        """Take what a member says it has."""
        if self._crew is not None:
            self._crew.heard(member)
        if status.snapshot:
            self.offers[member] = status.snapshot
        else:
            self.offers.pop(member, None)

    def keep_only(self, members: Container[MemberId]) -> None:
        """Forget what those said who are no members any more."""
        self.offers = {member: height for member, height in self.offers.items() if member in members}
        self._let_down = {member: at_s for member, at_s in self._let_down.items() if member in members}

    def on_answer(self, member: MemberId, answer: StateAnswer) -> None:
        """Take an answer, if anything waits for it."""
        if self._crew is not None:
            self._crew.on_answer(member, answer)

    def target(self, *, blocks_can_be_had: bool) -> Height | None:
        """Return the snapshot to take now: far enough ahead, or any when nobody has the next block; None: fetch blocks.

        After a failure blocks come first for a while, if anybody has them, however many new snapshots there are.
        """
        now = asyncio.get_running_loop().time()
        if now < self._failed_s + (RETRY_S if blocks_can_be_had else PAUSE_S):
            return None
        least = self._chain.tip.height + ((self._distance or INT_MAX) if blocks_can_be_had else 1)
        trusted = {member: at for member, at in self.offers.items() if now >= self._let_down.get(member, -math.inf) + LET_DOWN_S}
        return _most_offered(trusted, least) or _most_offered(self.offers, least)

    async def run(self, height: Height) -> bool:
        """Fetch and adopt the state of a height; return whether it is the node's now."""
        loop = asyncio.get_running_loop()
        self.running, began_s = True, loop.time()
        reporter = loop.create_task(self._say(), name="state sync progress")
        log.info("syncing state", height=height, from_height=self._chain.tip.height)
        try:
            await self._fetch(height)
        except SyncFailedError as error:
            self._failed_s = loop.time()
            if self._crew is not None:
                self._let_down.update(dict.fromkeys(self._crew.dropped, self._failed_s))
            self.start_clean_up()
            log.warning("state sync came to nothing", height=height, reason=error.message, details=error.details)
            return False
        else:
            self.start_clean_up()
            log.info("state synced", height=height, seconds=round(loop.time() - began_s, 3))
            return True
        finally:
            reporter.cancel()
            self._crew = self._install = self._history = None
            self.running = False

    async def _fetch(self, height: Height) -> None:
        chain = self._chain
        await self._clean_up()
        self._crew = Crew(self._network, lambda: [member for member, held in self.offers.items() if held >= height])
        committees = Committees(chain.genesis_hash, chain.committee, Height(chain.tip.height + 1))
        trust = TrustJobs(chain.genesis_hash, height, committees)
        await self._crew.run(trust)
        if trust.certificate is None or chain.tip.height >= height:
            raise SyncFailedError("the chain itself came to this height meanwhile")
        install = self._install = Installation(chain.store, chain.genesis_hash, trust.certificate)
        install.begin()
        await self._crew.run(StateJobs(install))
        history = self._history = HistoryJobs(install, committees, chain.genesis_hash, chain.window_limit_ms)
        await self._crew.run(history)
        try:
            window_from = history.close(chain.store.hash_of(install.before))
        except BadProofError as error:
            log.critical("certified blocks contradict each other", error=error.message, details=error.details)
            raise SyncFailedError(error.message) from error
        install.finish(window_from, committees.handovers)
        self._adopter.adopt_snapshot(trust.certificate)

    def start_clean_up(self) -> None:
        """Remove in the background what an installation left: of the chain it replaced, or of itself when it came to nothing."""
        self._tasks.spawn(self._clean_up(), "clean-up after an installed state")

    async def _clean_up(self) -> None:
        async with self._cleaning:
            for _ in clean_up(self._chain.store):
                await asyncio.sleep(BREATH_S)

    async def _say(self) -> None:
        while True:
            await asyncio.sleep(SAY_S)
            if (progress := self.progress) is not None:
                log.info(
                    "syncing state",
                    height=progress.height,
                    done=f"{progress.permille / 10} %",
                    parts=progress.parts,
                    keys=progress.keys,
                    expected_keys=progress.expected_keys,
                    window_blocks=progress.blocks,
                    megabytes=round(progress.written_bytes / 1e6, 1),
                )


def _most_offered(offers: Mapping[MemberId, Height], least: int) -> Height | None:
    """Return the snapshot of `least` or above that most members have, so that many can be asked; of those the highest.

    A stated height is a hint, its certificate decides.
    """
    counts = Counter(height for height in offers.values() if height >= least)
    return max(counts, key=lambda height: (counts[height], height), default=None)

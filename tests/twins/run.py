"""Runs one twins scenario on real replicas and checks it.

How a round gets its primary. Our primary is stable (view mod n), so no round can simply be given one. What an asynchronous
network may do, however, is let any timer that is set go off at any time. So in a round the progress timers are *impatient*
wherever the current view's primary is not the wished one (they go off within 2 ms of being set, or of the round's beginning)
and *patient* in views of the wished one (they do not go off in this round). A group with q members so walks through real view
changes, with real certificates, until the wished primary's view is open; a group without q members leaves its view once and
then waits, since the replica itself sets no timer there (isolation never escalates). Nothing is forced that a slow network and
fast clocks could not do, and no replica is touched but through its inputs.

Each round offers work for one block above the highest height; messages between groups are lost, and so is what is still on
its way when a round ends. It ends after `ROUND_MS` (one or two re-sends) or, in half of all rounds, at the first commit or
after a drawn number of deliveries: that leaves blocks proposed, prepared or committed by some only. Before a round, some
instances restart from their disks. Delays of 1..4 ms are drawn too. All draws come from the scenario's number, so a number
always gives the same run.

A replica that meets a signature of its own key that it does not know of falls silent (rule 7). A Byzantine member would not, so
the twins do not hear what is signed in their name; everybody else hears both.

Checked at every step: what `tests.replica_host` checks (agreement among all five instances, valid certificates, durable before
sent, no instance contradicts itself), that no instance halts, and that evidence convicts nobody but the twins. After the last
round all are connected; then one of the three honest members must commit a block above the highest height within `HEALED_MS`
(rule 8), and all three must be `MORE_BLOCKS` above it within `SETTLED_MS` more.
"""

import hashlib
import random
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from consensus.effects import Halt, Proposal, Timer
from consensus.evidence import Evidence
from consensus.messages import Signed
from ledger.certificate import QuorumCertificate
from ledger.committee import Committee
from ledger.errors import InvariantError
from ledger.types import Height
from tests.host_parts import Delivery, Host, Observer, ViolationError, make_committee
from tests.replica_host import HostNetwork
from tests.replica_words import Transcript
from tests.twins.scenario import AT_FIRST_COMMIT, MEMBERS, PRIMARIES, Ending, Round, Scenario

ROUND_MS: Final = 700
HEALED_MS: Final = 10_000
SETTLED_MS: Final = 5_000
MORE_BLOCKS: Final = 2
COMMITTEE: Final = make_committee(PRIMARIES)
TWIN: Final = COMMITTEE.members[MEMBERS[0]].id
SWITCHED_OFF: Final[dict[Ending, tuple[int, ...]]] = {Ending.BOTH_STAY: (), Ending.TWIN_OFF: (1,), Ending.BOTH_OFF: (0, 1)}


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a scenario: a digest of everything said and committed, the highest height, how long the first block took
    after healing, and what was violated (None: nothing)."""

    digest: str
    height: int
    healing_ms: int
    violation: str | None


class Digest(Observer):
    """Hashes what every instance says and commits, and when; refuses a halt."""

    def __init__(self) -> None:
        super().__init__()
        self.now: Callable[[], int] = lambda: 0
        self._hash = hashlib.sha256()

    def said(self, host: Host, signed: Signed) -> None:
        """Take a signature, which covers the message."""
        self._hash.update(b"%d %d %b" % (self.now(), host.index, signed.signature))
        super().said(host, signed)

    def committed(self, host: Host, proposal: Proposal, certificate: QuorumCertificate, synced: bool) -> None:
        """Take a block and the view that decided it."""
        self._hash.update(b"%d %d %d %b" % (self.now(), host.index, certificate.view, proposal.block_hash))
        super().committed(host, proposal, certificate, synced)

    def halted(self, host: Host, halt: Halt) -> None:
        """No instance may ever halt: all of them execute alike."""
        super().halted(host, halt)
        raise ViolationError(f"{host.name} halts: {halt.reason}")

    def convicted(self, host: Host, evidence: Evidence) -> None:
        """Take a proof of equivocation, which may concern the twins only."""
        super().convicted(host, evidence)
        if evidence.first.signer != TWIN:
            raise ViolationError(f"{host.name} holds evidence against the honest {evidence.first.signer}")

    def stage(self, text: str) -> None:
        """Take that a stage of the scenario begins."""

    def hexdigest(self) -> str:
        """Return the digest so far."""
        return self._hash.hexdigest()


class TracedDigest(Digest, Transcript):
    """The same digest, with everything in words too."""

    def __init__(self) -> None:
        super().__init__()
        self._lines_so_far: list[str] = []

    def stage(self, text: str) -> None:
        """Begin a paragraph."""
        self._lines_so_far += [f"  {line}" for line in self.take()] + [text]

    def lines(self) -> list[str]:
        """Return the whole trace."""
        return self._lines_so_far + [f"  {line}" for line in self.take()]


def _deaf_to_its_own_name(delivery: Delivery) -> Delivery | None:
    """Keep from a twin what is signed in its own name: rule 7 would rightly silence it, and a Byzantine member does not obey."""
    payload, member = delivery.payload, delivery.to.member
    return None if member == TWIN and isinstance(payload, Signed) and payload.signer == TWIN else delivery


class Run:
    """One scenario on five fresh instances."""

    def __init__(self, scenario: Scenario, observer: Digest, replicas_believe: Committee | None = None) -> None:
        self.scenario = scenario
        self.observer = observer
        self.draws = random.Random(scenario.number + 1)
        self.net = HostNetwork(COMMITTEE, MEMBERS, observer, replicas_believe=replicas_believe)
        self.net.admit = _deaf_to_its_own_name
        self.net.delay_ms = lambda: 1 + self.draws.getrandbits(2)
        self.net.timer_at = self._timer_at
        self.wished: int | None = None
        self.group_of: list[int] = []
        observer.now = lambda: self.net.now

    def play(self) -> int:
        """Play all rounds and the healing; return how many virtual ms the first block took then. Raises `ViolationError`."""
        for number, round_ in enumerate(self.scenario.rounds, 1):
            self.observer.stage(f"round {number}: {round_}")
            self._play_round(round_)
        self.observer.stage(f"healing: all are connected, {self.scenario.ending.value}")
        return self._heal()

    def highest(self) -> int:
        """Return the highest committed height."""
        return max(host.height for host in self.net.hosts)

    def _timer_at(self, host: Host, timer: Timer, at_ms: int) -> int | None:
        if timer is not Timer.PROGRESS or self.wished is None:
            return at_ms
        patient = host.replica.primary == COMMITTEE.members[self.wished].id
        return None if patient else self.net.now + self.draws.randrange(3)

    def _play_round(self, round_: Round) -> None:
        net = self.net
        self.wished = round_.primary
        self.group_of = [next(i for i, group in enumerate(round_.groups) if index in group) for index in range(len(MEMBERS))]
        net.connected = lambda a, b: self.group_of[a.index] == self.group_of[b.index]
        net.drop()
        for index in round_.restarts:
            net.restart(net.hosts[index])
        net.reset_timers()
        net.greet(net.hosts)
        goal = self.highest() + 1
        for host in net.hosts:
            net.give_work(host, goal)
        net.run(ROUND_MS, self._cut(round_.cut, goal))

    def _cut(self, cut: int | None, goal: int) -> Callable[[], bool]:
        if cut is None:
            return lambda: False
        if cut == AT_FIRST_COMMIT:
            return lambda: Height(goal) in self.net.decided
        end = self.net.delivered + cut
        return lambda: self.net.delivered >= end

    def _heal(self) -> int:
        net, ending = self.net, self.scenario.ending
        self.wished = None
        net.connected = lambda _a, _b: True
        net.drop()
        for index in SWITCHED_OFF[ending]:
            net.crash(net.hosts[index])
        net.reset_timers()
        net.greet(net.hosts)
        goal, healed_at = self.highest() + MORE_BLOCKS, net.now
        for host in net.hosts:
            if host.up:
                net.give_work(host, goal)
        honest = net.hosts[2:]
        self._expect(HEALED_MS, lambda: any(host.height > goal - MORE_BLOCKS for host in honest), "no block")
        healing_ms = net.now - healed_at
        self._expect(SETTLED_MS, lambda: all(host.height >= goal for host in honest), f"not all honest members at height {goal}")
        return healing_ms

    def _expect(self, within_ms: int, condition: Callable[[], bool], missing: str) -> None:
        if not self.net.run(within_ms, condition):
            where = {host.name: (host.height, host.replica.view, host.replica.phase) for host in self.net.hosts}
            raise ViolationError(f"{missing} within {within_ms} ms of healing ({self.scenario.ending.value}): {where}")


def play(scenario: Scenario, observer: Digest | None = None, replicas_believe: Committee | None = None) -> Outcome:
    """Return the outcome of a scenario, whatever it is."""
    observer = observer or Digest()
    run = Run(scenario, observer, replicas_believe)
    violation, healing_ms = None, 0
    try:
        healing_ms = run.play()
    except ViolationError as error:
        violation = str(error)
    except InvariantError as error:
        violation = f"a replica's own invariant does not hold: {error}"
    return Outcome(observer.hexdigest(), run.highest(), healing_ms, violation)

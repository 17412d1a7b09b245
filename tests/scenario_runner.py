"""Readable scenarios: text files of commands and what comes of them, for reading as much as for testing.

A line that begins with `#` is prose, one with `> ` a command; the indented lines below a command are what it must print.
Nodes are numbers (`all` for every one), messages are chosen by `FROM->TO [KIND ...]`, where FROM and TO are nodes separated by
commas or `*`. What a member sends waits until it is delivered: by `deliver`, by `settle` (everything, at one moment), or by
`run` (each message takes 1 ms, timers go off). The commands:

    network n=4                    start; always the first command. `change@2=+m4`: block 2 makes m4 a member (`-m1` removes one)
    work 0,2                       these have transactions until they commit the next block
    deliver 0->* prepare           deliver what waits; `drop` loses it instead
    settle | run 500ms             deliver all that waits, and what comes of it | let time pass
    hold 0->3 commit               from now on these wait even in `settle` and `run`; `release` ends it and sends them on
    cut *->3 commit                from now on these are lost; `heal` ends cuts and partitions and lets peers exchange tips
    partition 0,1 | 2,3            only within groups
    timeout 2                      the progress timer goes off now, if it is set
    crash 1 | restart 1
    lose-sign-state 3              both copies are gone
    stale-copy 3                   one copy of the sign-state is one write older | roll-back 3: both are
    clock 0 +800ms                 its clock is off by that
    refuse 2 | accept 2            it finds every proposal invalid | valid again
    lie 1 newview other-block to 2,3   what it sends there is another one (`LIES` below); `honest 1` ends it
    status
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Final, TypeAlias

from consensus.effects import Timer
from consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Signed
from ledger.committee import Committee
from tests.host_parts import Delivery, Host, ViolationError, committee_with, make_committee
from tests.replica_host import HostNetwork
from tests.replica_words import Transcript

COMMAND: Final = "> "
INDENT: Final = "  "
Matches: TypeAlias = Callable[[Delivery], bool]


class ScenarioError(ValueError):
    """The text of a scenario is wrong."""


def render(text: str) -> str:
    """Return the scenario with the output that its commands really have."""
    runner, out = Runner(), []
    for number, line in enumerate(text.splitlines(), 1):
        if line.startswith(INDENT):
            continue
        out.append(line)
        if line.startswith(COMMAND):
            try:
                out.extend(INDENT + answer for answer in runner.execute(line.removeprefix(COMMAND)))
            except (ScenarioError, ValueError, KeyError, IndexError) as error:
                raise ScenarioError(f"line {number}, {line!r}: {error}") from error
        elif line and not line.startswith("#"):
            raise ScenarioError(f"line {number}: neither prose (#), command (>) nor indented output: {line!r}")
    return "\n".join(out) + "\n"


def check(path: Path, *, rewrite: bool) -> tuple[str, str]:
    """Return the file's text and what it should be; with `rewrite` the file becomes that."""
    text = path.read_text()
    real = render(text)
    if rewrite and real != text:
        path.write_text(real)
        return real, real
    return text, real


class Runner:
    """Carries out the commands of one scenario."""

    def __init__(self) -> None:
        self.words = Transcript()
        self._net: HostNetwork | None = None
        self._cuts: list[Matches] = []
        self._holds: list[Matches] = []
        self._lies: dict[Host, Callable[[Delivery], Delivery]] = {}
        self._forged: dict[tuple[str, Message], Signed] = {}

    @property
    def net(self) -> HostNetwork:
        """Return the network, which the first command makes."""
        if self._net is None:
            raise ScenarioError("the first command is: network n=...")
        return self._net

    def execute(self, line: str) -> list[str]:
        """Carry out one command and return its output. A violation of the protocol is output too."""
        name, *words = line.split()
        command = COMMANDS.get(name)
        if command is None:
            raise ScenarioError(f"no command {name!r}; there are {', '.join(COMMANDS)}")
        try:
            answer = command(self, words)
        except ViolationError as error:
            answer = [f"VIOLATION: {error}"]
        return self.words.take() + answer

    # ---- the network

    def network(self, words: list[str]) -> list[str]:
        """Start n members."""
        options = dict(word.split("=", 1) for word in words)
        committee = make_committee(int(options.pop("n")))
        changes = _changes(committee, options)
        total = max(int(member.id[1:]) for voting in (committee, *changes.values()) for member in voting.members) + 1
        self._net = HostNetwork(committee, range(total), self.words, changes)
        self._net.admit = self._admit
        self._net.holds = lambda delivery: any(matches(delivery) for matches in self._holds)
        later = [f"from height {height + 1} on {_described(voting)}" for height, voting in sorted(changes.items())]
        return [f"{_described(committee)}; m0 is primary of view 0", *later]

    def work(self, words: list[str]) -> list[str]:
        """Give members something to propose until they commit their next block."""
        for host in self._hosts(words[0]):
            self.net.give_work(host, host.height + 1)
        return []

    def deliver(self, words: list[str]) -> list[str]:
        """Deliver what waits and matches."""
        count = self.net.deliver(self._selector(words))
        return [] if count else ["nothing to deliver"]

    def drop(self, words: list[str]) -> list[str]:
        """Lose what waits and matches."""
        return [f"{len(self.net.drop(self._selector(words)))} lost"]

    def settle(self, words: list[str]) -> list[str]:
        """Deliver everything that waits, and what comes of it."""
        self._nothing_more(words)
        self.net.settle()
        return []

    def run(self, words: list[str]) -> list[str]:
        """Let time pass."""
        self.net.run(_milliseconds(words[0]))
        return []

    def hold(self, words: list[str]) -> list[str]:
        """Let what matches wait from now on."""
        self._holds.append(self._selector(words))
        return []

    def release(self, words: list[str]) -> list[str]:
        """Hold nothing any more and deliver what was held."""
        self._nothing_more(words)
        self._holds.clear()
        held = list(self.net.held)
        self.net.deliver(lambda delivery: any(delivery is item for item in held))
        return []

    def cut(self, words: list[str]) -> list[str]:
        """Lose what matches from now on."""
        self._cuts.append(self._selector(words))
        return []

    def partition(self, words: list[str]) -> list[str]:
        """Connect members within their group only."""
        groups = [self._hosts(group.strip()) for group in " ".join(words).split("|")]
        self.net.connected = lambda a, b: any(a in group and b in group for group in groups)
        return []

    def heal(self, words: list[str]) -> list[str]:
        """End cuts and partitions; connections exchange tips."""
        self._nothing_more(words)
        self._cuts.clear()
        self.net.connected = lambda _a, _b: True
        self.net.greet(host for host in self.net.hosts if host.up)
        return []

    # ---- members

    def timeout(self, words: list[str]) -> list[str]:
        """Let progress timers go off."""
        idle = [host.name for host in self._hosts(words[0]) if not self.net.fire(host, Timer.PROGRESS)]
        return [f"no timer runs at {','.join(idle)}"] if idle else []

    def crash(self, words: list[str]) -> list[str]:
        """Stop members."""
        for host in self._hosts(words[0]):
            self.net.crash(host)
        return []

    def restart(self, words: list[str]) -> list[str]:
        """Start members from their disks."""
        for host in self._hosts(words[0]):
            self.net.restart(host)
        return [f"{host.name} is in quarantine" for host in self._hosts(words[0]) if host.replica.phase == "quarantine"]

    def lose_sign_state(self, words: list[str]) -> list[str]:
        """Lose both copies."""
        for host in self._hosts(words[0]):
            host.disk.copies = [None, None]
        return []

    def stale_copy(self, words: list[str]) -> list[str]:
        """Set one copy back by one write, as a crash between two writes leaves it."""
        for host in self._hosts(words[0]):
            host.disk.copies[1] = host.disk.older
        return []

    def roll_back(self, words: list[str]) -> list[str]:
        """Set both copies back by one write, as an unmarked restore of a backup would."""
        for host in self._hosts(words[0]):
            host.disk.copies = [host.disk.older, host.disk.older]
        return []

    def clock(self, words: list[str]) -> list[str]:
        """Set clocks off."""
        for host in self._hosts(words[0]):
            host.skew_ms = _milliseconds(words[1])
        return []

    def refuse(self, words: list[str]) -> list[str]:
        """Let members find every proposal invalid."""
        return self._judge(words, refuses=True)

    def accept(self, words: list[str]) -> list[str]:
        """Let members find proposals valid again."""
        return self._judge(words, refuses=False)

    def _judge(self, words: list[str], *, refuses: bool) -> list[str]:
        for host in self._hosts(words[0]):
            host.refuses = refuses
        return []

    def lie(self, words: list[str]) -> list[str]:
        """Let a member send something else than it said: NODE KIND HOW [to NODES]."""
        liar, kind, how = self._hosts(words[0])[0], words[1], words[2]
        victims = [host for host in self._hosts(words[4] if words[3:] else "all") if host is not liar]
        told: set[Message] = set()

        def deceive(delivery: Delivery) -> Delivery:
            signed = delivery.payload
            if delivery.to not in victims or not isinstance(signed, Signed) or _kind(delivery) != kind:
                return delivery
            if signed.signer != liar.member:
                return delivery
            forged = self._forge(liar, how, signed.message)
            if signed.message not in told:
                told.add(signed.message)
                names = ",".join(host.name for host in victims)
                self.words.note(f"{liar.name} LIES to {names}: {self.words.describe(forged.message)}")
            return replace(delivery, payload=forged)

        self._lies[liar] = deceive
        return []

    def _forge(self, liar: Host, how: str, message: Message) -> Signed:
        """Return what is sent instead; the same lie about the same message is the same message again."""
        if (how, message) not in self._forged:
            self._forged[how, message] = self.net.sign(liar, LIES[how](self.net, liar, message))
        return self._forged[how, message]

    def honest(self, words: list[str]) -> list[str]:
        """End lies."""
        for host in self._hosts(words[0]):
            del self._lies[host]
        return []

    def status(self, words: list[str]) -> list[str]:
        """Show where every member stands."""
        self._nothing_more(words)
        return [self._status_of(host) for host in self.net.hosts]

    def _status_of(self, host: Host) -> str:
        if not host.up:
            return f"{host.name}  down"
        tip = host.replica.tip
        name = self.words.name(tip.block_hash) if tip.height else "genesis"
        floor = host.disk.floor
        signed = "lost" if floor is None else f"{floor.height}.{floor.view} {floor.step.name.lower()}" if floor.height else "none"
        return f"{host.name}  tip {tip.height} {name}  view {host.replica.view}  {host.replica.phase}  floor {signed}"

    # ---- helpers

    def _admit(self, delivery: Delivery) -> Delivery | None:
        if any(matches(delivery) for matches in self._cuts):
            return None
        lie = self._lies.get(delivery.sender)
        return delivery if lie is None else lie(delivery)

    def _hosts(self, word: str) -> list[Host]:
        return list(self.net.hosts) if word in {"all", "*"} else [self.net.hosts[int(part)] for part in word.split(",")]

    def _selector(self, words: list[str]) -> Matches:
        if not words:
            return lambda _delivery: True
        senders, receivers = (self._hosts(part) for part in words[0].split("->"))
        kinds = frozenset(words[1:])
        if unknown := kinds - KINDS:
            raise ScenarioError(f"unknown kinds: {', '.join(sorted(unknown))}")
        return lambda item: item.sender in senders and item.to in receivers and (not kinds or _kind(item) in kinds)

    def _nothing_more(self, words: list[str]) -> None:
        if words:
            raise ScenarioError(f"takes no arguments, got {words}")


KINDS: Final = frozenset(
    ["preprepare", "prepare", "commit", "viewchange", "newview", "status", "getblocks", "blocks", "getbodies", "bodies"]
)


def _changes(committee: Committee, options: dict[str, str]) -> dict[int, Committee]:
    """Return the committee after each height of `change@HEIGHT=+mN` or `-mN`, in order of heights."""
    out: dict[int, Committee] = {}
    heights = {int(option.removeprefix("change@")): change for option, change in options.items() if option.startswith("change@")}
    if len(heights) < len(options):
        raise ScenarioError(f"unknown options: {', '.join(options)}")
    for height, change in sorted(heights.items()):
        numbers, number = {int(member.id[1:]) for member in committee.members}, int(change[2:])
        if change[:2] not in {"+m", "-m"} or (number in numbers) == (change[0] == "+"):
            raise ScenarioError(f"a change adds (+mN) or removes (-mN) a member, got {change}")
        committee = committee_with(committee.epoch + 1, numbers ^ {number})
        out[height] = committee
    return out


def _described(committee: Committee) -> str:
    numbers = f"{committee.size} members, {committee.faults} may be Byzantine, {committee.quorum} are a quorum"
    return f"{','.join(member.id for member in committee.members)}: {numbers}"


def _kind(delivery: Delivery) -> str:
    payload = delivery.payload
    return type(payload.message if isinstance(payload, Signed) else payload).__name__.lower()


def _milliseconds(word: str) -> int:
    if not word.endswith("ms"):
        raise ScenarioError(f"a time ends in ms, got {word!r}")
    return int(word.removesuffix("ms"))


# ---- lies: what a member sends instead of the message it said


def _other_block(net: HostNetwork, liar: Host, message: Message) -> Message:
    """Propose, or vote for, a block that nobody else has seen."""
    other = net.build(liar, message.height, message.view)
    match message:
        case PrePrepare() | NewView():
            return replace(message, header=other.header, tx_hashes=other.tx_hashes)
        case Prepare() | Commit():
            return replace(message, block_hash=other.block_hash)
    raise ScenarioError("only a proposal or a vote has a block")


def _wrong_hashes(net: HostNetwork, liar: Host, message: Message) -> Message:
    """Propose the right header with the hashes of other transactions."""
    if not isinstance(message, PrePrepare | NewView):
        raise ScenarioError("only a proposal has hashes")
    return replace(message, tx_hashes=net.build(liar, message.height, message.view).tx_hashes)


def _fewer_changes(_net: HostNetwork, _liar: Host, message: Message) -> Message:
    """Open a view with one view change too few."""
    if not isinstance(message, NewView):
        raise ScenarioError("only a NewView has view changes")
    return replace(message, view_changes=message.view_changes[1:])


LIES: Final[dict[str, Callable[[HostNetwork, Host, Message], Message]]] = {
    "other-block": _other_block,
    "wrong-hashes": _wrong_hashes,
    "fewer-changes": _fewer_changes,
}

COMMANDS: Final[dict[str, Callable[[Runner, list[str]], list[str]]]] = {
    command.__name__.replace("_", "-"): command
    for command in (
        Runner.network,
        Runner.work,
        Runner.deliver,
        Runner.drop,
        Runner.settle,
        Runner.run,
        Runner.hold,
        Runner.release,
        Runner.cut,
        Runner.partition,
        Runner.heal,
        Runner.timeout,
        Runner.crash,
        Runner.restart,
        Runner.lose_sign_state,
        Runner.stale_copy,
        Runner.roll_back,
        Runner.clock,
        Runner.refuse,
        Runner.accept,
        Runner.lie,
        Runner.honest,
        Runner.status,
    )
}

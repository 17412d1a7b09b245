"""What replicas do, in words: one line for each event, blocks named A, B, ... in the order in which they are first met.

A position is written height.view, so `Prepare 3.1 B` votes for block B at height 3 in view 1. Neighbouring lines that differ in
their speaker only become one, also over one line of others between them.
"""

from consensus.effects import Halt, Proposal, Timer
from consensus.evidence import Evidence
from consensus.messages import Commit, Message, NewView, Prepare, PrePrepare, Signed, ViewChange
from consensus.views import carries_on
from ledger.certificate import QuorumCertificate
from ledger.list_root import list_root
from ledger.types import BlockHash
from tests.host_parts import GENESIS_HASH, Host, Observer


def _hashes(message: PrePrepare | NewView) -> str:
    own = list_root(GENESIS_HASH, message.tx_hashes) == message.header.transactions_root
    return "" if own else " with the hashes of other transactions"


class Transcript(Observer):
    """Collects lines; `take` returns and forgets those so far."""

    def __init__(self) -> None:
        super().__init__()
        self._names: dict[BlockHash, str] = {}
        self._lines: list[tuple[list[str], str]] = []

    def take(self) -> list[str]:
        """Return the lines since the last call."""
        lines = [f"{','.join(speakers)}: {text}" if speakers else text for speakers, text in self._lines]
        self._lines.clear()
        return lines

    def name(self, block_hash: BlockHash) -> str:
        """Return the short name of a block: A to Z, then A1 and on."""
        number = len(self._names)
        letter, lap = chr(ord("A") + number % 26), number // 26
        return self._names.setdefault(block_hash, f"{letter}{lap or ''}")

    def describe(self, message: Message) -> str:
        """Return a message in words."""
        head = f"{type(message).__name__} {message.height}.{message.view}"
        match message:
            case Prepare(_, _, block_hash) | Commit(_, _, block_hash):
                return f"{head} {self.name(block_hash)}"
            case ViewChange(_, _, None):
                return f"{head} with nothing prepared"
            case ViewChange(_, _, prepared) if prepared is not None:
                return f"{head} with {self.name(prepared.header.hash(GENESIS_HASH))} prepared in view {prepared.view}"
            case NewView() | PrePrepare():
                return f"{head} {self.name(message.header.hash(GENESIS_HASH))}{self._reason(message)}{_hashes(message)}"
        return head

    def _reason(self, message: PrePrepare | NewView) -> str:
        if isinstance(message, PrePrepare):
            return ""
        signers = ",".join(item.signer for item in message.view_changes)
        carried = carries_on(message)
        return f" on the word of {signers}: " + ("fresh" if carried is None else f"prepared in view {carried.view}")

    def said(self, host: Host, signed: Signed) -> None:
        """Tell what an instance says."""
        super().said(host, signed)
        self._add(host, self.describe(signed.message))

    def repeated(self, host: Host, signed: Signed) -> None:
        """Tell what an instance says again after a restart."""
        super().repeated(host, signed)
        self._add(host, f"again {self.describe(signed.message)}")

    def refused(self, host: Host, signed: Signed, reason: str) -> None:
        """Tell which message is not authentic."""
        super().refused(host, signed, reason)
        self._add(host, f"refuses the {type(signed.message).__name__} of {signed.signer}: {reason}")

    def held(self, host: Host, until_ms: int) -> None:
        """Tell that a proposal is early."""
        super().held(host, until_ms)
        self._add(host, "holds a proposal that is ahead of its clock")

    def judged(self, host: Host, proposal: Proposal, valid: bool) -> None:
        """Tell that a block is invalid; that it is valid goes without saying."""
        super().judged(host, proposal, valid)
        if not valid:
            self._add(host, f"finds {self.name(proposal.block_hash)} invalid")

    def fired(self, host: Host, timer: Timer) -> None:
        """Tell about timers that matter."""
        super().fired(host, timer)
        if timer is Timer.PROGRESS:
            self._add(host, f"timeout of view {host.replica.view}")
        elif timer is Timer.HOLD:
            self._add(host, "looks again at the proposal it holds")

    def committed(self, host: Host, proposal: Proposal, certificate: QuorumCertificate, synced: bool) -> None:
        """Tell that a block is final for an instance, and how it came to know."""
        super().committed(host, proposal, certificate, synced)
        how = "takes from a peer" if synced else "commits"
        decided = f"height {proposal.header.height}, decided in view {certificate.view}"
        self._add(host, f"{how} {self.name(proposal.block_hash)} ({decided})")

    def convicted(self, host: Host, evidence: Evidence) -> None:
        """Tell who is caught at saying two things at once."""
        super().convicted(host, evidence)
        both = " and ".join(sorted(self.describe(item.message) for item in (evidence.first, evidence.second)))
        self._add(host, f"keeps evidence against {evidence.first.signer}: {both}")

    def halted(self, host: Host, halt: Halt) -> None:
        """Tell that an instance stops voting."""
        self._add(host, f"HALTS: {halt.reason}")
        super().halted(host, halt)

    def note(self, text: str) -> None:
        """Add a line of nobody."""
        self._lines.append(([], text))

    def _add(self, host: Host, text: str) -> None:
        """Add a line, or the speaker to an equal line: the last one, or the one before when the last is of others."""
        for speakers, earlier in reversed(self._lines[-2:]):
            if host.name in speakers:
                break
            if earlier == text:
                speakers.append(host.name)
                return
        self._lines.append(([host.name], text))

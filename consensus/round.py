"""Everything a replica knows about the one height it works on; thrown away when that height commits (rule 1)."""

from dataclasses import dataclass, field
from typing import Final

from consensus.effects import Proposal
from consensus.messages import Commit, Prepare, Signed, Step, ViewChange
from consensus.views import ViewTracker
from consensus.votes import VoteBook
from ledger.block import Header
from ledger.certificate import PreparedCert, QuorumCertificate
from ledger.committee import Committee
from ledger.types import BlockHash, Height, MemberId, View

MAX_PROPOSALS: Final = 64


@dataclass(frozen=True, slots=True)
class Tip:
    """The last committed block. Genesis has no certificate."""

    header: Header
    block_hash: BlockHash
    certificate: QuorumCertificate | None = None

    @property
    def height(self) -> Height:
        """Return the tip's height."""
        return self.header.height

    @property
    def decided_at_once(self) -> bool:
        """Return whether it was decided in the view in which it was first proposed."""
        return self.certificate is not None and self.certificate.view == self.header.view


@dataclass(slots=True)
class Round:
    """The state of height `tip.height + 1`: views, votes, proposals, and what was found of them by executing.

    `active` says whether the current view is open: the starting view is from the beginning, later ones by a NewView.
    `chosen` are the view changes from which we, as its primary, open it. `following` holds what executing a proposal found: the
    committee after it, or None when it is invalid.
    """

    tip: Tip
    committee: Committee
    view: View
    active: bool = True
    current: Proposal | None = None
    current_message: Signed | None = None
    prepared: PreparedCert | None = None
    building: bool = False
    chosen: tuple[Signed, ...] = ()
    work: bool = False
    proposed_at_ms: int | None = None
    proposals: dict[BlockHash, Proposal] = field(default_factory=dict)
    following: dict[BlockHash, Committee | None] = field(default_factory=dict)
    convicted: set[tuple[MemberId, View, Step]] = field(default_factory=set)
    executing: set[BlockHash] = field(default_factory=set)
    prepares: VoteBook = field(init=False)
    commits: VoteBook = field(init=False)
    views: ViewTracker = field(init=False)

    def __post_init__(self) -> None:
        self.prepares = VoteBook(Prepare, self.committee)
        self.commits = VoteBook(Commit, self.committee)
        self.views = ViewTracker(self.committee)

    @property
    def height(self) -> Height:
        """Return the height being decided."""
        return Height(self.tip.height + 1)

    @property
    def start_view(self) -> View:
        """Return the view this height starts in: that of the parent's header (rule 2)."""
        return self.tip.header.view

    @property
    def primary(self) -> MemberId:
        """Return the primary of the current view."""
        return self.committee.primary(self.view)

    @property
    def failed_views(self) -> int:
        """Return how many views failed at this height."""
        return self.view - self.start_view

    @property
    def phase(self) -> str:
        """Return where this height stands: view_change, idle, pre_prepared or prepared."""
        if not self.active:
            return "view_change"
        if self.current is None:
            return "idle"
        return "prepared" if self.prepared is not None and self.prepared.view == self.view else "pre_prepared"

    def vote_counts(self) -> dict[str, int]:
        """Return how many votes of the current view are held and how many decide."""
        return {
            "prepares": self.prepares.count(self.view),
            "commits": self.commits.count(self.view),
            "members_in_view": self.views.at_least(self.view),
            "quorum": self.committee.quorum,
        }

    def remember(self, proposal: Proposal) -> None:
        """Keep a proposal for later views, the oldest forgotten over the bound."""
        self.proposals[proposal.block_hash] = proposal
        while len(self.proposals) > MAX_PROPOSALS:
            oldest = next(iter(self.proposals))
            del self.proposals[oldest]
            self.following.pop(oldest, None)

    def held(self, signed: Signed) -> Signed | None:
        """Return what is held of the same signer for the same view and step, if anything."""
        message = signed.message
        if isinstance(message, Prepare):
            return self.prepares.held(signed.signer, message.view)
        if isinstance(message, Commit):
            return self.commits.held(signed.signer, message.view)
        found = self.views.change_of(signed.signer) if isinstance(message, ViewChange) else self.current_message
        same = found is not None and (found.signer, found.message.view) == (signed.signer, message.view)
        return found if same else None

    def leave_view(self, view: View, *, active: bool) -> None:
        """Go to `view` with nothing proposed in it yet."""
        self.view = view
        self.active = active
        self.current = None
        self.current_message = None
        self.building = False
        self.chosen = ()
        self.proposed_at_ms = None

    def to_resend(self) -> tuple[Signed, ...]:
        """Return what a peer may lack of this height: the open proposal, view changes and votes (rule 8)."""
        opening = () if self.current_message is None else (self.current_message,)
        return opening + self.views.messages() + self.prepares.messages(self.view) + self.commits.messages(View(0))

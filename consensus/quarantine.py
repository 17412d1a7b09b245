"""Rule 7: a member that cannot know what it signed signs nothing until its past votes can no longer matter.

With a lost sign-state it may have voted for anything up to T + 1, T being the highest certified tip of q members, itself
included. Once it has committed T + 2, no vote of its past can contradict a new one.
"""

from ledger.committee import Committee
from ledger.types import Height, MemberId


class Quarantine:
    """Collects the tips of members until the height after which signing is safe is known."""

    def __init__(self, committee: Committee, me: MemberId) -> None:
        self._committee = committee
        self._me = me
        self._tips: dict[MemberId, Height] = {}
        self._until: Height | None = None

    def saw_tip(self, member: MemberId, height: Height) -> None:
        """Remember a member's certified tip; with those of q members the end is fixed."""
        if self._until is None and self._committee.get(member) is not None:
            self._tips[member] = height
            if len(self._tips) >= self._committee.quorum and self._me in self._tips:
                self._until = Height(max(self._tips.values()) + 2)

    def is_over(self, committed: Height) -> bool:
        """Return whether signing is safe again after committing `committed`."""
        return self._until is not None and committed >= self._until

"""Rule 7: a member that cannot know what it signed signs nothing until its past votes can no longer matter.

With a lost sign-state it may have voted for anything up to T + 1, T being the highest certified tip of q OTHER members: its own
store may be lost or old as well, and only q others surely include an honest one that saw the last height it voted on. A stated
tip counts as certified once our own chain, which takes certified blocks only, has reached it; so a lie too high is worth as
little as silence. After committing T + 2, no vote of its past can contradict a new one.
"""

from ledger.committee import Committee
from ledger.types import Height, MemberId


class Quarantine:
    """Collects the first tip that each other member states, until the height after which signing is safe is known."""

    def __init__(self, me: MemberId) -> None:
        self._me = me
        self._tips: dict[MemberId, Height] = {}

    def saw_tip(self, member: MemberId, height: Height) -> None:
        """Remember the first tip that another member states."""
        if member != self._me:
            self._tips.setdefault(member, height)

    def is_over(self, committed: Height, committee: Committee) -> bool:
        """Return whether signing is safe again after committing `committed`, by the members of the `committee` after it."""
        reached = [tip for member, tip in self._tips.items() if tip <= committed and committee.get(member) is not None]
        needed = min(committee.quorum, committee.size - (committee.get(self._me) is not None))
        return len(reached) >= needed and committed >= max(reached, default=0) + 2

"""The votes of one height, indexed by view and sender, bounded: a flood from one member cannot hide the others' quorum.

A member has one vote for each step and view; the first counts. Votes far above the current view are not kept: their sender
repeats them (rule 8), and its view is remembered by the view tracker all the same.
"""

from collections.abc import Iterator
from typing import Final

from consensus.messages import Commit, Prepare, Signed, Vote
from ledger.committee import Committee
from ledger.types import BlockHash, MemberId, View

VIEWS_AHEAD: Final = 8
VIEWS_KEPT: Final = 64


class VoteBook:
    """Prepares or Commits of one height by view and sender, at most `VIEWS_AHEAD` views above the current one.

    Over `VIEWS_KEPT` views the lowest are forgotten: who needs a block decided there gets it with its certificate.
    """

    def __init__(self, kind: type[Prepare] | type[Commit], committee: Committee) -> None:
        self._kind = kind
        self._quorum = committee.quorum
        self._by_view: dict[View, dict[MemberId, Signed]] = {}

    def add(self, signed: Signed, vote: Vote, current: View) -> bool:
        """Remember a vote; return whether it is new. A second, different vote of the same member and view is not counted."""
        if not self.takes(vote.view, current):
            return False
        votes = self._by_view.setdefault(vote.view, {})
        if signed.signer in votes:
            return False
        votes[signed.signer] = signed
        while len(self._by_view) > VIEWS_KEPT:
            del self._by_view[min(self._by_view)]
        return True

    def takes(self, view: View, current: View) -> bool:
        """Return whether votes of `view` are kept: not far above the current one, and Prepares of past views decide nothing."""
        return view <= current + VIEWS_AHEAD and (self._kind is Commit or view >= current)

    def held(self, sender: MemberId, view: View) -> Signed | None:
        """Return the vote of `sender` in `view`."""
        return self._by_view.get(view, {}).get(sender)

    def signatures(self, view: View, block_hash: BlockHash) -> dict[MemberId, bytes]:
        """Return who voted for this block in this view, with their signatures."""
        votes = self._by_view.get(view, {})
        return {sender: item.signature for sender, item in votes.items() if self._block(item) == block_hash}

    def quorums(self) -> Iterator[tuple[View, BlockHash]]:
        """Yield each (view, block hash) that has a quorum, highest view first."""
        for view in sorted(self._by_view, reverse=True):
            counts: dict[BlockHash, int] = {}
            for item in self._by_view[view].values():
                block_hash = self._block(item)
                counts[block_hash] = counts.get(block_hash, 0) + 1
                if counts[block_hash] == self._quorum:
                    yield view, block_hash

    def voters(self, view: View, block_hash: BlockHash) -> tuple[MemberId, ...]:
        """Return who voted for this block in this view."""
        return tuple(self.signatures(view, block_hash))

    def messages(self, from_view: View) -> tuple[Signed, ...]:
        """Return the votes of `from_view` and above, for sending again."""
        return tuple(item for view, votes in self._by_view.items() if view >= from_view for item in votes.values())

    def count(self, view: View) -> int:
        """Return how many members voted in `view`."""
        return len(self._by_view.get(view, {}))

    def _block(self, item: Signed) -> BlockHash:
        message = item.message
        return message.block_hash if isinstance(message, self._kind) else BlockHash(b"")

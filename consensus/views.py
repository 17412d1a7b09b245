"""Views of one height: who is where, when to join, and what a new view must propose (rules 2, 4 and 8).

Only the latest view change of each member is kept: one that has left for a higher view no longer helps to open a lower one.
"""

from collections.abc import Callable, Iterable

from consensus.messages import NewView, Signed, ViewChange
from ledger.certificate import PreparedCert
from ledger.committee import Committee
from ledger.types import MemberId, View


class ViewTracker:
    """The highest view each member was seen in at this height, and its latest view change."""

    def __init__(self, committee: Committee) -> None:
        self._committee = committee
        self._seen: dict[MemberId, View] = {}
        self._changes: dict[MemberId, Signed] = {}

    def saw(self, sender: MemberId, view: View) -> None:
        """Remember that `sender` signed something in `view`."""
        if view > self._seen.get(sender, View(-1)):
            self._seen[sender] = view

    def add(self, signed: Signed, change: ViewChange) -> None:
        """Remember a view change if it is its sender's latest."""
        held = self._changes.get(signed.signer)
        if held is None or held.message.view < change.view:
            self._changes[signed.signer] = signed

    def change_of(self, sender: MemberId) -> Signed | None:
        """Return a member's latest view change."""
        return self._changes.get(sender)

    def at_least(self, view: View) -> int:
        """Return how many members were seen in `view` or a higher one."""
        return sum(seen >= view for seen in self._seen.values())

    def view_to_join(self) -> View:
        """Return the (f+1)-th highest of the latest views: at least one honest member is there or above."""
        latest = sorted(self._seen.values(), reverse=True)
        position = self._committee.faults
        return latest[position] if len(latest) > position else View(0)

    def choose(self, view: View, is_here: Callable[[PreparedCert], bool]) -> tuple[Signed, ...]:
        """Return q view changes for exactly `view`, in committee order, or none at all.

        Any q of them are as safe as any other: a block that was committed anywhere is among the certificates of each choice. So
        those whose certified blocks are here come first: a certificate of a block that only a liar holds stops nobody.
        """
        latest = [self._changes.get(member.id) for member in self._committee.members]
        found = [item for item in latest if item is not None and item.message.view == view]
        here = [item for item in found if (cert := prepared_of(item)) is None or is_here(cert)]
        quorum = self._committee.quorum
        best = here if len(here) >= quorum else found
        return tuple(best[:quorum]) if len(best) >= quorum else ()

    def messages(self) -> tuple[Signed, ...]:
        """Return everybody's latest view change, for sending again."""
        return tuple(self._changes.values())


def prepared_of(item: Signed) -> PreparedCert | None:
    """Return the certificate that a view change carries."""
    return item.message.prepared if isinstance(item.message, ViewChange) else None


def highest_prepared(changes: Iterable[Signed]) -> PreparedCert | None:
    """Return the prepared certificate of the highest view among view changes, or None when nobody holds one."""
    best: PreparedCert | None = None
    for item in changes:
        cert = prepared_of(item)
        if cert is not None and (best is None or cert.view > best.view):
            best = cert
    return best


def carries_on(new_view: NewView) -> PreparedCert | None:
    """Return the certificate whose block `new_view` must re-propose, or None when it may propose a fresh one."""
    return highest_prepared(new_view.view_changes)

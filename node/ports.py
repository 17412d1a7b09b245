"""What the driver needs of the outside world beside its disk and its clock: the members' network, as its user sees it."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from ledger.committee import Member
from ledger.types import MemberId
from p2p.messages import Application
from p2p.peers import PeerInfo


class Network(Protocol):
    """Connections to all other members. `p2p.transport.Transport` over sockets, a virtual one in the simulator."""

    @property
    def strangers_refused(self) -> int:
        """Return how many incoming connections showed no certificate of a member."""
        ...

    def send(self, member_id: MemberId, message: Application) -> bool:
        """Send to one member; False when it is not connected for this, or its queue has no room."""
        ...

    def broadcast(self, message: Application, *, skip: MemberId | None = None) -> int:
        """Send to all members (but `skip`) connected for this: some are so for blocks only; return to how many."""
        ...

    def disconnect(self, member_id: MemberId, reason: str, *, misbehaved: bool = True) -> None:
        """Drop a member's connection, telling it why."""
        ...

    def peers(self) -> tuple[PeerInfo, ...]:
        """Return every other member, connected or not, by id."""
        ...

    def set_members(self, members: Iterable[Member], previous: Mapping[bytes, MemberId] | None = None) -> None:
        """Take the members as of now; `previous` maps replaced certificates in their grace period to their members."""
        ...

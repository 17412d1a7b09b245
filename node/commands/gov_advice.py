"""What the members should know before they vote: whether the network would stay live (protocol, rule 13).

The contract cannot see who is connected, so this is advice, from one node's point of view. Pure.
"""

from collections.abc import Collection
from dataclasses import asdict, dataclass
from typing import Any

from ledger.committee import fault_tolerance, quorum_size


@dataclass(frozen=True, slots=True)
class Side:
    """The committee before or after: n members, of which f may be faulty, q decide, and `connected` are there now."""

    n: int
    f: int
    q: int
    connected: int

    @classmethod
    def of(cls, committee: Collection[str], live: Collection[str]) -> "Side":
        """Return the figures of a committee of which `live` can be reached."""
        n = len(committee)
        return cls(n, fault_tolerance(n), quorum_size(n), len(set(committee) & set(live)))

    @property
    def spare(self) -> int:
        """Return how many more may fail before nothing is decided; negative when too few are there."""
        return self.connected - self.q


@dataclass(frozen=True, slots=True)
class Advice:
    """What a promotion or a removal would do."""

    before: Side
    after: Side

    @property
    def stays_live(self) -> bool:
        """Return whether enough members are connected to decide afterwards."""
        return self.after.spare >= 0

    def sentences(self) -> tuple[str, ...]:
        """Return the advice in words."""
        lines = [
            f"{name}: {side.n} members, {side.q} decide, {side.f} may be faulty; {side.connected} are connected"
            for name, side in (("before", self.before), ("after", self.after))
        ]
        if not self.stays_live:
            lines.append(f"the network would STOP: {-self.after.spare} more must be connected first")
        elif self.after.spare == 0:
            lines.append("the network would stay live, but stop as soon as one more member is not there")
        else:
            lines.append(f"the network would stay live, with {self.after.spare} to spare")
        if self.after.f < self.before.f:
            lines.append(f"it would bear {self.after.f} faulty members instead of {self.before.f}")
        return tuple(lines)

    def to_json(self) -> dict[str, Any]:
        """Return the figures and the verdict."""
        return {"before": asdict(self.before), "after": asdict(self.after), "stays_live": self.stays_live}


def advise(kind: str, member_id: str, committee: Collection[str], live: Collection[str]) -> Advice | None:
    """Return the advice on a promotion or a removal; None for what leaves the committee as it is. `live` counts this node."""
    if kind == "promote":
        after = {*committee, member_id}
    elif kind == "remove" and member_id in committee:
        after = set(committee) - {member_id}
    else:
        return None
    return Advice(Side.of(committee, live), Side.of(after, live)) if after else None

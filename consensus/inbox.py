"""Messages of the next height that came early: kept, a few for each sender, until this height commits."""

from typing import Final

from consensus.messages import Commit, Prepare, Signed
from ledger.types import Height, MemberId

MAX_PER_SENDER: Final = 8


class Inbox:
    """A bounded buffer for one height ahead; what overflows is sent again by its sender (rule 8)."""

    def __init__(self) -> None:
        self._held: dict[MemberId, list[Signed]] = {}

    def put(self, signed: Signed) -> None:
        """Keep a message unless its sender has filled its share."""
        held = self._held.setdefault(signed.signer, [])
        if len(held) < MAX_PER_SENDER:
            held.append(signed)

    def take(self, height: Height) -> tuple[Signed, ...]:
        """Empty the buffer and return what is of `height`, proposals before the votes that need them."""
        messages = [item for held in self._held.values() for item in held if item.message.height == height]
        self._held.clear()
        return tuple(sorted(messages, key=lambda item: isinstance(item.message, Prepare | Commit)))

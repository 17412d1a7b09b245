"""Messages of the next height that came early: kept as bytes until that height begins, for only then is its committee known.

Bounded for each member that delivers, not for each that signed: until it is verified a message may name any signer. What
overflows is sent again (rule 8).
"""

from typing import Final

from ledger.types import Height, MemberId

MAX_MESSAGES: Final = 1_024
MAX_BYTES: Final = 4 * 1024 * 1024


class Inbox:
    """A bounded buffer for one height ahead."""

    def __init__(self) -> None:
        self._held: dict[MemberId, list[tuple[Height, bytes]]] = {}
        self._bytes: dict[MemberId, int] = {}

    def put(self, sender: MemberId, height: Height, payload: bytes) -> bool:
        """Keep the wire bytes of a message unless who delivers it has filled its share; return whether it is kept."""
        held, size = self._held.setdefault(sender, []), self._bytes.get(sender, 0)
        if len(held) >= MAX_MESSAGES or size + len(payload) > MAX_BYTES:
            return False
        held.append((height, payload))
        self._bytes[sender] = size + len(payload)
        return True

    def take(self, height: Height) -> tuple[tuple[MemberId, bytes], ...]:
        """Empty the buffer and return what is of `height`, with who delivered it, in the order of arrival for each."""
        found = [(sender, payload) for sender, held in self._held.items() for at, payload in held if at == height]
        self._held.clear()
        self._bytes.clear()
        return tuple(found)

    def __len__(self) -> int:
        return sum(map(len, self._held.values()))

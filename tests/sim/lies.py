"""What lying members share: reading and signing consensus messages, and the shape of a lie."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Protocol

from consensus.messages import Message, Signed, signing_digest
from ledger.block import Header
from ledger.crypto import sign
from ledger.errors import DatacarError
from ledger.types import BlockHash, MemberId
from p2p.messages import Consensus
from tests.sim.network import Outgoing


class Misbehaviour(Protocol):
    """One lie: takes each outgoing message and returns what leaves instead."""

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        """Return the messages to send in place of `item`."""
        ...


@dataclass
class Forger:
    """A lying member's key and what it knows of the network."""

    seed: bytes = field(repr=False)
    me: MemberId
    genesis_hash: bytes
    others: list[MemberId]

    def own(self, item: Outgoing) -> Message | None:
        """Return the consensus message in `item` if it is the liar's own."""
        if not isinstance(item.message, Consensus):
            return None
        try:
            signed = Signed.decode(item.message.payload)
        except DatacarError:
            return None
        return signed.message if signed.signer == self.me else None

    def sign(self, message: Message) -> Consensus:
        """Return a message under the liar's own signature."""
        return Consensus(self.signed(message).encode())

    def signed(self, message: Message) -> Signed:
        """Return a message under the liar's own signature, not encoded."""
        return Signed(message, self.me, sign(self.seed, signing_digest(message, self.genesis_hash)))

    def say(self, item: Outgoing, message: Message) -> Outgoing:
        """Return `item` saying something else."""
        return replace(item, message=self.sign(message))

    def hash(self, header: Header) -> BlockHash:
        """Return a block's hash."""
        return header.hash(self.genesis_hash)

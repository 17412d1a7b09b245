"""One replica alone: it hears what a test says, and everything that it asks for is written down."""

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from consensus.effects import Broadcast, Effects, Execute, Proposal
from consensus.messages import Message, NewView, Prepare, PrePrepare, Signed, ViewChange, signing_digest
from consensus.pacing import Timing
from consensus.replica import Replica, ReplicaConfig
from consensus.sign_state import SignState
from ledger.block import Header
from ledger.certificate import PreparedCert
from ledger.crypto import sign
from ledger.list_root import list_root
from ledger.types import BlockHash, Height, MemberId, TxHash, View
from tests.consensus_net import GENESIS_HASH, START_MS, genesis_tip, make_committee, seed_of

NOW = START_MS + 1_000
COMMITTEE = make_committee(4)
ONE, ZERO = Height(1), View(0)


def hash_of(letter: str) -> BlockHash:
    return BlockHash(letter.encode() * 32)


def say(index: int, message: Message) -> Signed:
    """Return a message as member `index` signs it."""
    return Signed(message, MemberId(f"m{index}"), sign(seed_of(index), signing_digest(message, GENESIS_HASH)))


def block(letter: str = "a", view: int = 0, **changes: Any) -> Proposal:
    """Return a proposal for height 1 by the primary of `view`."""
    body = TxHash(letter.encode() * 32)
    root = list_root(GENESIS_HASH, [body])
    tip, commit = genesis_tip(COMMITTEE), COMMITTEE.hash(GENESIS_HASH)
    header = Header(ONE, View(view), tip.block_hash, MemberId(f"m{view % 4}"), NOW, root, bytes(32), bytes(32), commit, commit, 0)
    header = replace(header, **changes)
    return Proposal(header.hash(GENESIS_HASH), header, (body,))


def propose(proposal: Proposal, signer: int = 0) -> Signed:
    return say(signer, PrePrepare(ONE, proposal.header.view, proposal.header, proposal.tx_hashes))


def certified(proposal: Proposal, view: int, voters: Sequence[int] = (0, 1, 2)) -> PreparedCert:
    """Return the prepared certificate of a proposal in `view`."""
    votes = {
        MemberId(f"m{i}"): say(i, Prepare(proposal.header.height, View(view), proposal.block_hash)).signature for i in voters
    }
    return PreparedCert.build(proposal.header, View(view), votes, COMMITTEE)


def changes_to(view: int, prepared: PreparedCert | None = None, members: Sequence[int] = (1, 2, 3)) -> tuple[Signed, ...]:
    """Return view changes, the first of which carries `prepared`."""
    return tuple(say(i, ViewChange(ONE, View(view), prepared if i == members[0] else None)) for i in members)


def new_view(view: int, proposal: Proposal, changes: tuple[Signed, ...], signer: int | None = None) -> Signed:
    message = NewView(ONE, View(view), changes, proposal.header, proposal.tx_hashes)
    return say(view % 4 if signer is None else signer, message)


class One:
    """A replica that keeps all it was made to do."""

    def __init__(self, index: int, state: SignState | None = None, largest: int = 100) -> None:
        config = ReplicaConfig(MemberId(f"m{index}"), GENESIS_HASH, largest, Timing())
        self.replica = Replica(config, COMMITTEE, genesis_tip(COMMITTEE), state or SignState())
        self.effects = list(self.replica.start(NOW))

    def hear(self, *signed: Signed, now_ms: int = NOW) -> None:
        for item in signed:
            self.did(self.replica.on_message(item, now_ms))

    def did(self, effects: Effects) -> None:
        self.effects.extend(effects)

    def executed(self, proposal: Proposal, *, valid: bool = True) -> None:
        self.did(self.replica.on_executed(proposal.block_hash, COMMITTEE if valid else None, 1, NOW))

    def said(self, *kinds: type[Message]) -> list[Message]:
        messages = [effect.message for effect in self.effects if isinstance(effect, Broadcast)]
        return [message for message in messages if not kinds or isinstance(message, kinds)]

    def executing(self) -> list[BlockHash]:
        return [effect.proposal.block_hash for effect in self.effects if isinstance(effect, Execute)]

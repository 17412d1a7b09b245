"""Lies in view changes and new views: hidden, stale, forged and mixed certificates, and proposals that ignore them."""

import random
from collections import deque
from collections.abc import Iterable
from dataclasses import replace

from consensus.messages import Message, NewView, Prepare, Signed, ViewChange
from ledger.certificate import PreparedCert
from ledger.types import MemberId, View
from p2p.messages import Consensus
from tests.sim.lies import Forger
from tests.sim.network import Outgoing

KEPT = 32


class Certificates:
    """Keeps the certificates it sees and puts the wrong one, or a made-up one, where the right one belongs."""

    def __init__(self, forger: Forger, rng: random.Random) -> None:
        self._forger = forger
        self._rng = rng
        self._seen: deque[PreparedCert] = deque(maxlen=KEPT)
        self._changes: deque[Signed] = deque(maxlen=KEPT)
        self._votes: dict[tuple[int, int, bytes], dict[MemberId, bytes]] = {}

    def outgoing(self, item: Outgoing) -> Iterable[Outgoing]:
        self._learn(item)
        message = self._forger.own(item)
        match message:
            case ViewChange():
                return (self._forger.say(item, self._change(message)),)
            case NewView():
                return (self._forger.say(item, self._new_view(message)),)
        return (item,)

    def _learn(self, item: Outgoing) -> None:
        """Remember view changes and certificates that pass by: a node repeats everybody's messages."""
        if not isinstance(item.message, Consensus):
            return
        signed = Signed.decode(item.message.payload)
        if isinstance(signed.message, ViewChange):
            self._changes.append(signed)
            if signed.message.prepared is not None:
                self._seen.append(signed.message.prepared)
        elif isinstance(signed.message, NewView):
            self._changes.extend(signed.message.view_changes)

    def _change(self, message: ViewChange) -> ViewChange:
        prepared = message.prepared
        match self._rng.choice(["hide", "stale", "forge", "mix", "truth"]):
            case "hide":
                return replace(message, prepared=None)
            case "stale" if self._seen:
                return replace(message, prepared=self._rng.choice(self._seen))
            case "forge" if prepared is not None:
                header = replace(prepared.header, timestamp_ms=prepared.header.timestamp_ms + 1)
                return replace(message, prepared=replace(prepared, header=header))
            case "mix" if prepared is not None:
                return replace(message, prepared=self._mixed(prepared))
        return message

    def _mixed(self, cert: PreparedCert) -> PreparedCert:
        """Return a certificate whose own signature counts for another's, or which claims another view."""
        if self._rng.random() < 0.5:
            return replace(cert, view=View(cert.view + 1))
        vote = Prepare(cert.header.height, cert.view, self._forger.hash(cert.header))
        mine = self._forger.signed(vote).signature
        return replace(cert, signatures=(mine,) * len(cert.signatures))

    def _new_view(self, message: NewView) -> Message:
        """Return a new view that leaves out, swaps or repeats view changes, or that proposes what does not follow from them."""
        rng, changes = self._rng, list(message.view_changes)
        match rng.choice(["repeat", "swap", "own", "ignore", "fewer", "truth"]):
            case "repeat":
                changes[0] = changes[-1]
            case "swap" if self._changes:
                changes[rng.randrange(len(changes))] = rng.choice(self._changes)
            case "own":
                mine = self._forger.signed(ViewChange(message.height, message.view, None))
                changes = [mine if item.signer == self._forger.me else item for item in changes]
            case "ignore":
                header = replace(message.header, timestamp_ms=message.header.timestamp_ms + 1, view=message.view)
                return replace(message, header=replace(header, proposer=self._forger.me))
            case "fewer":
                changes.pop()
        return replace(message, view_changes=tuple(changes))

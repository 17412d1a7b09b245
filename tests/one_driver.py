"""One real driver on a real disk, whose network only writes down what it is told to send: what one member does by itself."""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from consensus.messages import Message, Signed, signing_digest
from consensus.sign_state import SignState
from ledger.block import Block, Header
from ledger.certificate import QuorumCertificate, vote_digest
from ledger.codec import encode_trusted
from ledger.committee import Member
from ledger.crypto import sign
from ledger.hashing import Tag
from ledger.types import MemberId, View
from node.assembly import Settings, build_driver
from node.chain import Chain
from node.clock import Clock
from node.driver import Driver
from node.key_ring import KeyRing
from node.mempool import MempoolLimits
from node.sign_file import open_sign_file
from node.storage import open_block_store
from p2p.messages import Application, Consensus
from p2p.peers import PeerInfo
from tests.sim.chain import START_MS, make_network
from vm.executor import Executor
from vm.registry import default_registry

NETWORK = make_network(4)
GENESIS_HASH = NETWORK.genesis.spec.hash
NAMES = tuple(keys.member.id for keys in NETWORK.keys[:4])
NOW = START_MS + 5_000


class SilentNetwork:
    """A `node.ports.Network` that delivers nothing. `on_send` hears each message and to whom (None: to all)."""

    strangers_refused = 0

    def __init__(self) -> None:
        self.sent: list[tuple[MemberId | None, Application]] = []
        self.dropped: list[MemberId] = []
        self.on_send: Callable[[MemberId | None, Application], None] = lambda _to, _message: None

    def send(self, member_id: MemberId, message: Application) -> bool:
        self.sent.append((member_id, message))
        self.on_send(member_id, message)
        return True

    def broadcast(self, message: Application, *, skip: MemberId | None = None) -> int:
        self.sent.append((None, message))
        self.on_send(None, message)
        return len(NAMES) - 1

    def disconnect(self, member_id: MemberId, reason: str, *, misbehaved: bool = True) -> None:
        self.dropped.append(member_id)

    def peers(self) -> tuple[PeerInfo, ...]:
        return ()

    def set_members(self, members: Iterable[Member], previous: Mapping[bytes, MemberId] | None = None) -> None:
        pass

    def asked(self, kind: type[Application]) -> list[MemberId | None]:
        """Return to whom messages of a kind were sent, in order."""
        return [to for to, message in self.sent if isinstance(message, kind)]


@contextmanager
def open_chain(directory: Path) -> Iterator[Chain]:
    """The chain of the network on a disk of its own."""
    store = open_block_store(directory / "db", GENESIS_HASH)
    try:
        yield Chain(NETWORK.genesis, store, Executor(default_registry()))
    finally:
        store.close()


@contextmanager
def one_driver(directory: Path, index: int = 3, clock: Clock = lambda: NOW) -> Iterator[tuple[Driver, SilentNetwork]]:
    """Member `index`, not yet started; its clock stands still at `NOW` unless it has another."""
    network, keys = SilentNetwork(), NETWORK.keys[index]
    store, sign_file = open_block_store(directory / "db", GENESIS_HASH), open_sign_file(directory)
    sign_file.save(SignState())
    settings = Settings(keys.member.id, KeyRing([keys.consensus_seed]), MempoolLimits(), 20, 500)
    failures: list[BaseException] = []
    try:
        yield build_driver(NETWORK.genesis, store, sign_file, settings, clock, lambda *_: network, failures.append), network
        assert failures == []
    finally:
        sign_file.close()
        store.close()


def say(index: int, message: Message) -> Signed:
    """Return a message as member `index` signs it."""
    signature = sign(NETWORK.keys[index].consensus_seed, signing_digest(message, GENESIS_HASH))
    return Signed(message, NAMES[index], signature)


def wire(index: int, message: Message) -> Consensus:
    """Return a member's message as it comes over the network."""
    return Consensus(say(index, message).encode())


def certify(chain: Chain, header: Header, voters: Sequence[int] = (0, 1, 2)) -> QuorumCertificate:
    """Return the certificate of members' votes for any header on the tip."""
    digest = vote_digest(Tag.COMMIT, GENESIS_HASH, header.height, View(0), header.hash(GENESIS_HASH))
    votes = {NAMES[i]: sign(NETWORK.keys[i].consensus_seed, digest) for i in voters}
    return QuorumCertificate.build(header, View(0), votes, chain.committee)


def item(block: Block, certificate: QuorumCertificate) -> bytes:
    """Return a certified block as members send it to one that is behind."""
    return encode_trusted((block.to_value(), certificate.to_value()))

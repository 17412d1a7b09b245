"""What must hold in every run, checked on what is synced to disks and on what leaves hosts (protocol, rules 3 to 6 and 13).

Nothing here asks a node what it thinks: a block counts when it is on a disk, a vote when it is on the wire.
"""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Final, Self

from consensus.messages import Commit, Message, Signed, message_value, step_of
from consensus.sign_state import SignState, position_of
from ledger.block import Block, Header
from ledger.certificate import BadCertificateError, QuorumCertificate
from ledger.codec import decode, encode_trusted
from ledger.committee import Committee
from ledger.hashing import HASH_BYTES
from ledger.state_tree import StateTree
from ledger.state_update import StateRoot
from ledger.store import MemoryStore
from ledger.types import BlockHash, Height, MemberId, TxId
from node.api import TxState
from node.block_store import Held
from node.sign_file import _decode as decode_slot
from p2p.messages import Application, Consensus
from tests.sim.host import Host
from tests.sim.trace import describe_consensus, short
from tests.supply import Totals
from vm.contracts.asset import DATR, SUPPLY
from vm.contracts.asset import NAME as ASSET
from vm.contracts.governance_state import Membership, read_membership, touches_membership

if TYPE_CHECKING:
    from tests.sim.world import World

TIP_KEY: Final = b"mtip"
VALUES_KEY: Final = b"mvalues"
HELD_KEY: Final = b"mheld"
BLOCK, CERTIFICATE, IDS, PENDING, VALUE = (bytes([kind]) for kind in b"bcipv")
SUPPLY_EVERY: Final = 8


@dataclass(frozen=True, slots=True)
class _State:
    """The flat state on a host's disk, as the ledger reads one: a restored one stands under another prefix."""

    prefix: bytes
    records: Mapping[bytes, bytes]

    @classmethod
    def of(cls, host: Host) -> Self:
        """Return the state that counts on a host's disk."""
        records = host.disk.contents.records
        prefix = records[b"m"].get(VALUES_KEY, VALUE)
        return cls(prefix, records[prefix])

    def get(self, key: bytes) -> bytes | None:
        """Return the value under a state key."""
        return self.records.get(self.prefix + key)

    def pairs(self) -> dict[bytes, bytes]:
        """Return all of it."""
        return {key[1:]: value for key, value in self.records.items()}


def votes_needed(members: int) -> int:
    """Return q = ceil((n + f + 1) / 2), by arithmetic of the simulator's own."""
    faults = (members - 1) // 3
    return (members + faults) // 2 + 1


@dataclass(frozen=True, slots=True)
class Decided:
    """The one block of a height, as the first honest disk held it."""

    data: bytes
    header: Header
    block_hash: BlockHash
    first: str


class Oracles:
    """Watches all honest hosts; the first thing that must not be ends the run."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._genesis_hash = world.network.genesis.spec.hash
        self.decided: dict[Height, Decided] = {}
        self.places: dict[TxId, tuple[Height, int]] = {}
        self.tips: dict[int, Height] = {}
        self.counts: Counter[str] = Counter()
        self._memberships = {Height(0): Membership(world.network.genesis.spec.committee, (), ())}
        self._certificates: set[bytes] = set()
        self._said: dict[tuple[MemberId, int, int, int], bytes] = {}
        self._sent: set[tuple[int, bytes]] = set()
        self._slots: dict[bytes, SignState | None] = {}
        self._lost_stores: set[int] = set()

    @property
    def membership(self) -> Membership:
        """Return the members after the highest block that any honest host has committed."""
        return self._memberships[max(self._memberships)]

    def committee_of(self, height: Height) -> Committee:
        """Return who decides a height: the committee in the state before it."""
        return self._memberships[Height(height - 1)].committee

    def _follow_members(self, host: Host, height: Height, header: Header, changes: Mapping[bytes, bytes | None]) -> None:
        """Read the members from the state after a block, and compare the header's word on them (rule 13)."""
        membership = self._memberships[Height(height - 1)]
        if header.committee_hash != membership.committee.hash(self._genesis_hash):
            self._violated("members", f"h{height} names another committee than the state before it")
        state = _State.of(host)
        if touches_membership({key[1:]: value for key, value in changes.items() if key[:1] == state.prefix}):
            membership = read_membership(state)
            names = ", ".join(member.id for member in membership.committee.members)
            self._world.trace.note("members", f"after h{height}: {names}, epoch {membership.committee.epoch}")
        self._memberships[height] = membership
        if header.next_committee_hash != membership.committee.hash(self._genesis_hash):
            self._violated("members", f"h{height} names another next committee than the state after it")

    # ---- blocks on disks

    def on_synced(self, host: Host, changes: Mapping[bytes, bytes | None]) -> None:
        """Look at a batch that is on a host's disk now; only commits are of interest."""
        number = changes.get(TIP_KEY)
        if number is None or not host.honest:
            return
        height = Height(int.from_bytes(number))
        if height == 0:
            return
        if BLOCK + number not in changes:
            self._on_restored(host, height)
            return
        data, certificate = changes[BLOCK + number], changes.get(CERTIFICATE + number)
        if data is None or certificate is None:
            self._violated("certified", f"{host.name} has h{height} without its block or certificate")
            return
        if height != self.tips.get(host.index, 0) + 1:
            self._violated("order", f"{host.name} commits h{height} on h{self.tips.get(host.index, 0)}")
        self.tips[host.index] = height
        decided = self.decided.get(height)
        if decided is None:
            decided = self._decide(host, height, data, changes[IDS + number] or b"")
            self._follow_members(host, height, decided.header, changes)
        elif decided.data != data:
            header = Block.from_value(decode(data)).header
            self._violated(
                "agreement",
                f"FORK at h{height}: {host.name} has {short(header.hash(self._genesis_hash))}"
                f", {decided.first} has {short(decided.block_hash)}",
            )
        self._check_certificate(host, height, decided, certificate)
        self.counts["commits"] += 1
        self._world.trace.note(host.name, f"commits h{height} {short(decided.block_hash)}")
        if height % SUPPLY_EVERY == 0:
            self.check_supply(host)

    def _on_restored(self, host: Host, height: Height) -> None:
        """Look at a state that took the place of a host's chain: all of it is that of a decided block, and so is its history."""
        self.counts["states restored"] += 1
        self._world.trace.note(host.name, f"restores the state of h{height}")
        if height <= self.tips.get(host.index, 0):
            self._violated("order", f"{host.name} restores h{height} on h{self.tips.get(host.index, 0)}")
        self.tips[host.index] = height
        decided, records = self.decided.get(height), host.disk.contents.records
        if decided is None:
            self._violated("agreement", f"{host.name} restores h{height}, which nobody has decided")
            return
        tree = StateTree(self._genesis_hash, MemoryStore())
        if tree.update(None, height, _State.of(host).pairs()).root.digest != decided.header.state_root:
            self._violated("same state", f"{host.name} restored another state of h{height} than its header's")
        if StateTree(self._genesis_hash, host.disk.open()).root_at(height) != StateRoot(height, decided.header.state_root):
            self._violated("same state", f"{host.name} has no tree of h{height}")
        for at in range(self._held_from(host), height + 1):
            ids = [tx_id for tx_id, place in self.places.items() if place[0] == at]
            if records[IDS].get(IDS + at.to_bytes(8)) != b"".join(ids):
                self._violated("exactly once", f"{host.name} restored h{height} without the ids of h{at}")
            self._check_certificate(
                host, Height(at), self.decided[Height(at)], records[CERTIFICATE][CERTIFICATE + at.to_bytes(8)]
            )

    def _held_from(self, host: Host) -> int:
        """Return the lowest height above genesis whose header and ids a host holds."""
        held = host.disk.contents.records[b"m"].get(HELD_KEY)
        return 1 if held is None else max(1, Held.decode(held).headers_from)

    def _decide(self, host: Host, height: Height, data: bytes, ids: bytes) -> Decided:
        header = Block.from_value(decode(data)).header
        parent = self.decided.get(Height(height - 1))
        if parent is not None and header.parent_hash != parent.block_hash:
            self._violated("chain", f"{host.name}: h{height} does not follow from h{height - 1}")
        for index, at in enumerate(range(0, len(ids), HASH_BYTES)):
            tx_id = TxId(ids[at : at + HASH_BYTES])
            if tx_id in self.places:
                self._violated("exactly once", f"{short(tx_id)} stands in {self.places[tx_id]} and again in {(height, index)}")
            self.places[tx_id] = (height, index)
        decided = Decided(data, header, header.hash(self._genesis_hash), host.name)
        self.decided[height] = decided
        self.counts["blocks"] += 1
        self.counts["later views"] += header.view > 0
        return decided

    def _check_certificate(self, host: Host, height: Height, decided: Decided, data: bytes) -> None:
        if data in self._certificates:
            return
        certificate = QuorumCertificate.from_value(decode(data))
        try:
            certificate.check(self._genesis_hash, self.committee_of(height))
        except BadCertificateError as error:
            self._violated("validity", f"{host.name} committed h{height} with a bad certificate: {error}")
        if len(certificate.signatures) < votes_needed(self.committee_of(height).size):
            self._violated("validity", f"{host.name} committed h{height} on {len(certificate.signatures)} votes")
        if certificate.header != decided.header:
            self._violated("validity", f"{host.name} committed h{height} with the certificate of another header")
        self._certificates.add(data)

    def on_store_lost(self, host: Host) -> None:
        """A disk lost something on purpose: its tip is what the store says now."""
        self._lost_stores.add(host.index)
        data = host.disk.contents.records[b"m"].get(TIP_KEY)
        self.tips[host.index] = Height(0 if data is None else int.from_bytes(data))

    def check_supply(self, host: Host) -> None:
        """The money of the committed state adds up to what genesis made, and what the calendar was to release is released."""
        totals, height = Totals(), self.tips.get(host.index, Height(0))
        pairs = _State.of(host).pairs()
        for key, value in pairs.items():
            totals.add(key, value)
        try:
            totals.check()
        except AssertionError as problem:
            self._violated("supply", f"{host.name} at h{height}: {problem}")
        if totals.supplies() != {DATR: SUPPLY}:
            self._violated("supply", f"{host.name} at h{height}: there are {totals.supplies()}, not {SUPPLY} motes")
        decided = self.decided.get(height)
        if decided is not None and (late := _overdue_locks(pairs, decided.header.timestamp_ms)):
            self._violated("calendar", f"{host.name} at h{height}: locks {late} were due before this block")
        self.counts["supply checks"] += 1

    # ---- messages on the wire

    def on_sent(self, host: Host, message: Application) -> None:
        """An honest host says something: nothing that it has not synced, nothing that contradicts what it said before."""
        if not host.honest or not isinstance(message, Consensus) or (host.index, message.payload) in self._sent:
            return
        self._sent.add((host.index, message.payload))
        signed = Signed.decode(message.payload)
        if signed.signer == host.member:
            self._check_said(host, signed.message)
            self._check_durable(host, signed.message)

    def _check_said(self, host: Host, message: Message) -> None:
        place = (host.member, int(message.height), int(message.view), int(step_of(message)))
        said = encode_trusted(message_value(message))
        if self._said.setdefault(place, said) != said:
            self._violated("no double vote", f"{host.name} says another {describe_consensus(message)}")
        self.counts[type(message).__name__] += 1

    def _check_durable(self, host: Host, message: Message) -> None:
        contents = host.disk.contents
        states = [self._slot(data) for data in contents.slots]
        if any(state is None or state.floor < position_of(message) for state in states):
            self._violated("durable votes", f"{host.name} sends {describe_consensus(message)} before its sign-state is synced")
        if not isinstance(message, Commit) or self.tips.get(host.index, 0) >= message.height or host.index in self._lost_stores:
            return  # what a lost store held was on it when the Commit was first said
        if PENDING + message.block_hash not in contents.records[PENDING]:
            self._violated("durable votes", f"{host.name} sends {describe_consensus(message)} before the block is synced")
        if any(state is None or state.prepared is None for state in states):
            self._violated("durable votes", f"{host.name} sends {describe_consensus(message)} without its prepared certificate")

    def _slot(self, data: bytes) -> SignState | None:
        if data not in self._slots:
            if len(self._slots) > 64:
                self._slots.clear()
            record = decode_slot(data)
            self._slots[data] = None if record is None else record[1]
        return self._slots[data]

    def readable(self, slot: bytes) -> bool:
        """Return whether a sign-state copy is whole."""
        return self._slot(slot) is not None

    # ---- at the end

    def check_end(self) -> None:
        """All honest hosts hold the same state; every promise to a wallet was kept on all of them."""
        honest = self._world.required
        first = _State.of(honest[0]).pairs()
        for host in honest:
            self.check_supply(host)
            if _State.of(host).pairs() != first:
                self._violated("same state", f"the states of {honest[0].name} and {host.name} differ at the same height")
        for tx_id, answer in self._world.clients.answers.items():
            self._check_promise(honest, tx_id, answer.status.state, (answer.status.height, answer.status.index), answer.host)

    def _check_promise(
        self, honest: list[Host], tx_id: TxId, state: TxState, place: tuple[Height | None, int | None], by: str
    ) -> None:
        self.counts["promises"] += 1
        self.counts["expired"] += state is TxState.EXPIRED
        for host in honest:
            data = host.disk.contents.records[b"t"].get(b"t" + tx_id)
            found = (None, None) if data is None else (int.from_bytes(data[:8]), int.from_bytes(data[8:]))
            if data is None and place[0] is not None and place[0] < self._held_from(host):
                continue  # it was restored from a later state
            if found != place:
                told = f"{by} told a wallet {state} at {place}, {host.name} has {found}"
                self._violated("acknowledged", f"{short(tx_id)}: {told}")

    def _violated(self, oracle: str, text: str) -> None:
        self._world.violated(oracle, text)


def _overdue_locks(pairs: Mapping[bytes, bytes], now_ms: int) -> list[int]:
    """Return the numbers of locked parts that a block stamped `now_ms` or one before it should have released."""
    found = []
    for key, value in pairs.items():
        name: Any = decode(key)
        if name[:2] == (ASSET, "locks"):
            lock: Any = decode(value)
            if lock[2] and lock[3] is not None and lock[3][0] <= now_ms:
                found.append(name[2][1])
    return found

"""Puts a node together from its configuration: disk, chain, replica, pool, transport and driver, without its RPC."""

import contextlib
from collections.abc import AsyncIterator, Callable, Iterable, Iterator
from dataclasses import dataclass, field
from importlib.metadata import version
from typing import TypeAlias

import structlog

from consensus.pacing import Timing
from consensus.replica import Replica, ReplicaConfig
from consensus.round import Tip
from consensus.sign_state import SignState
from genesis.block import GenesisBlock
from ledger.committee import Member
from ledger.errors import RejectedError
from ledger.transaction import Transaction
from ledger.types import Height, MemberId
from node.block_store import BlockStore, StorageError
from node.chain import Chain
from node.clock import Clock, now_ms
from node.config import NodeConfig
from node.damage import ASIDE_NAME, open_or_heal
from node.driver import Driver
from node.finality import Finality
from node.intake import Intake
from node.key_ring import FileKeyRing, KeyRing
from node.mempool import Mempool, MempoolLimits
from node.ports import Network
from node.pruning import Keep
from node.secret_files import read_secret
from node.sign_file import SignFile, open_sign_file
from p2p.messages import Application, Status
from p2p.peers import Handler
from p2p.tls import LocalIdentity
from p2p.transport import Transport
from vm.executor import Executor
from vm.registry import default_registry

log = structlog.get_logger("node")


class _Switchboard:
    """Passes calls on to a driver that is built after its callers."""

    driver: Driver

    def accepted(self, transaction: Transaction, from_wallet: bool) -> None:
        """A transaction entered the pool: spread it if it came from a wallet, and see that it is proposed."""
        if from_wallet:
            self.driver.gossip.spread(transaction)
        self.driver.on_pending()

    def tip(self) -> Height:
        """Return the height that the handshake states."""
        return self.driver.chain.tip.height

    def on_connected(self, member_id: MemberId) -> None:
        """Pass on."""
        self.driver.on_connected(member_id)

    def on_message(self, member_id: MemberId, message: Application) -> None:
        """Pass on."""
        self.driver.on_message(member_id, message)

    def on_unproven_tip(self, member_id: MemberId, status: Status) -> None:
        """Pass on."""
        self.driver.on_unproven_tip(member_id, status)

    def on_disconnected(self, member_id: MemberId, reason: str) -> None:
        """Pass on."""
        self.driver.on_disconnected(member_id, reason)


@dataclass(frozen=True, slots=True)
class Settings:
    """Who this node is, and the settings of its own that no other member needs to know."""

    me: MemberId
    keys: KeyRing
    mempool: MempoolLimits
    batch_delay_ms: int
    resend_ms: int
    keep: Keep = field(default_factory=Keep)
    snapshot_distance: int = 1_000
    indexes: bool = True


Connect: TypeAlias = Callable[[Handler, Callable[[], Height], Iterable[Member]], Network]
"""Makes the node's network of what is told to it, the height for its handshakes, and the members of now."""


def build_driver(
    genesis: GenesisBlock,
    store: BlockStore,
    sign_file: SignFile,
    settings: Settings,
    clock: Clock,
    connect: Connect,
    fail: Callable[[BaseException], None],
) -> Driver:
    """Put a node together on any disk, clock and network; it takes part once it is started."""
    chain = Chain(genesis, store, Executor(default_registry()), indexes=settings.indexes)
    mempool = Mempool(settings.mempool)
    switchboard = _Switchboard()
    switchboard.driver = Driver(
        chain=chain,
        replica=_replica(settings, chain, sign_file.load()),
        keys=settings.keys,
        sign_file=sign_file,
        intake=Intake(chain, mempool, switchboard.accepted),
        finality=Finality(chain, mempool),
        network=connect(switchboard, switchboard.tip, (*chain.committee.members, *chain.membership.observers)),
        clock=clock,
        batch_delay_ms=settings.batch_delay_ms,
        keep=settings.keep,
        snapshot_distance=settings.snapshot_distance,
        fail=fail,
    )
    return switchboard.driver


def _replica(settings: Settings, chain: Chain, state: SignState | None) -> Replica:
    """The replica as the disk left it. Without a sign-state it is quarantined: the state is made together with the key."""
    if state is None:
        log.warning("no readable sign-state: signing nothing until the chain has grown past every vote this key may have cast")
    params = chain.parameters
    timing = Timing(params.base_timeout_ms, params.timeout_cap_ms, settings.resend_ms, params.clock_drift_ms)
    replica_config = ReplicaConfig(settings.me, chain.genesis_hash, params.block_max_transactions, timing)
    return Replica(replica_config, chain.committee, Tip(chain.tip, chain.tip_hash, chain.tip_certificate), state)


@dataclass(frozen=True, slots=True)
class Disk:
    """What a node keeps: the chain, and what it has signed."""

    store: BlockStore
    sign_file: SignFile


@contextlib.contextmanager
def open_disk(config: NodeConfig, genesis: GenesisBlock, fail: Callable[[BaseException], None]) -> Iterator[Disk]:
    """The node's files, open until the context is left. Raises `StorageError`, or `OSError` for the sign-state's files.

    `fail` is told of every error of the open store, whoever used it, before its user is.
    """
    with contextlib.ExitStack() as stack:
        store = open_or_heal(config.node.data_dir, genesis.spec.hash, config.storage.on_damage, fail)
        stack.callback(store.close)
        sign_file = open_sign_file(config.node.data_dir)
        stack.callback(sign_file.close)
        yield Disk(store, sign_file)


@contextlib.asynccontextmanager
async def driver_on(
    disk: Disk, config: NodeConfig, genesis: GenesisBlock, fail: Callable[[BaseException], None], clock: Clock = now_ms
) -> AsyncIterator[Driver]:
    """A driver that takes part in consensus over sockets. After the context it does not, but still answers from its open disk."""
    settings = _settings(config)
    transports: list[Transport] = []

    def connect(handler: Handler, tip: Callable[[], Height], members: Iterable[Member]) -> Network:
        transports.append(_transport(config, genesis.spec.hash, handler, tip, members))
        return transports[0]

    async with contextlib.AsyncExitStack() as stack:
        driver = build_driver(genesis, disk.store, disk.sign_file, settings, clock, connect, fail)
        signed = disk.sign_file.load()
        check_own_blocks(driver.chain, settings.me, signed)
        if signed is not None and signed.floor.height > driver.chain.tip.height + 1:
            # An older chain than our votes are of cannot know who we have become since.
            log.warning("blocks that were here are lost: fetching them", tip=driver.chain.tip.height, signed=signed.floor.height)
        elif not config.node.join and not (config.node.data_dir / ASIDE_NAME).exists():  # an observer has signed nothing
            check_identity(driver.chain, settings)
        stack.push_async_callback(transports[0].stop)
        await transports[0].start()
        stack.push_async_callback(driver.stop)
        driver.start()
        yield driver


@contextlib.asynccontextmanager
async def running_driver(
    config: NodeConfig, genesis: GenesisBlock, fail: Callable[[BaseException], None], clock: Clock = now_ms
) -> AsyncIterator[Driver]:
    """A driver that takes part in consensus over sockets; leaving the context stops it and closes its files."""
    with open_disk(config, genesis, fail) as disk:
        async with driver_on(disk, config, genesis, fail, clock) as driver:
            yield driver


def _settings(config: NodeConfig) -> Settings:
    limits = MempoolLimits(config.mempool.max_transactions, config.mempool.max_bytes, config.mempool.sender_share_percent)
    storage, consensus = config.storage, config.consensus
    return Settings(
        MemberId(config.node.member_id),
        FileKeyRing(config.node.consensus_key),
        limits,
        consensus.batch_delay_ms,
        consensus.resend_ms,
        Keep(storage.keep_states, storage.keep_bodies, storage.snapshot_every, storage.snapshots),
        storage.snapshot_distance,
        storage.indexes,
    )


def _transport(
    config: NodeConfig, genesis_hash: bytes, handler: Handler, tip: Callable[[], Height], members: Iterable[Member]
) -> Transport:
    key = read_secret(config.node.tls_key, "the TLS key")
    return Transport(
        LocalIdentity(MemberId(config.node.member_id), config.node.tls_certificate.read_bytes(), key),
        genesis_hash,
        members,
        handler,
        listen_host=config.p2p.host,
        listen_port=config.p2p.port,
        tip=tip,
        wall_ms=now_ms,
        software_version=version("datacar"),
    )


def check_own_blocks(chain: Chain, me: MemberId, signed: SignState | None) -> None:
    """Raise `StorageError` where the only member of a chain has voted for a block that it lost: nobody else has it."""
    if signed is None or [member.id for member in chain.committee.members] != [me]:
        return
    height, prepared = chain.tip.height + 1, signed.prepared
    is_lost = signed.floor.height > height
    if signed.floor.height == height and prepared is not None and prepared.header.height == height:
        is_lost = chain.store.pending(prepared.header.hash(chain.genesis_hash)) is None
    if is_lost:
        tip, voted = chain.tip.height, signed.floor.height
        message = f"the chain here ends at height {tip}, and {me}, its only member, has voted on block {voted}"
        hint = "put back the database that belongs to this sign-state; a development network can be reset"
        raise StorageError("block_lost", message, hint=hint, tip=tip, voted=voted)


def check_identity(chain: Chain, settings: Settings) -> None:
    """Raise when the chain does not know this member with this key: nobody would count its votes or let it connect."""
    members = (*chain.committee.members, *chain.membership.observers)
    found = next((member for member in members if member.id == settings.me), None)
    if found is not None:
        settings.keys.settle(found.public_key)  # a crash may have come between the block that names the next key and its use
    if found is None or found.public_key not in settings.keys.public_keys:
        names = ", ".join(member.id for member in members)
        raise RejectedError(
            "not_permitted",
            f"at height {chain.tip.height} of the chain here, {settings.me} with this key is no member (members: {names})",
            hint="check node.member_id and node.consensus_key; one that was added later starts with node.join = true",
        )

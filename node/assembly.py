"""Puts a node together from its configuration: disk, chain, replica, pool, transport and driver, without its RPC."""

import contextlib
from collections.abc import AsyncIterator, Callable
from importlib.metadata import version

import structlog

from consensus.pacing import Timing
from consensus.replica import Replica, ReplicaConfig
from consensus.round import Tip
from consensus.sign_state import SignState
from genesis.block import GenesisBlock
from genesis.spec import GenesisSpec
from ledger.crypto import public_key
from ledger.errors import RejectedError
from ledger.transaction import Transaction
from ledger.types import Height, MemberId
from node.chain import Chain
from node.clock import now_ms
from node.config import NodeConfig
from node.driver import Driver
from node.finality import Finality
from node.intake import Intake
from node.mempool import Mempool, MempoolLimits
from node.secret_files import read_secret, read_seed
from node.sign_file import SignFile
from node.storage import BlockStore
from p2p.messages import Application
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

    def on_disconnected(self, member_id: MemberId, reason: str) -> None:
        """Pass on."""
        self.driver.on_disconnected(member_id, reason)


@contextlib.asynccontextmanager
async def running_driver(
    config: NodeConfig, genesis: GenesisBlock, fail: Callable[[BaseException], None]
) -> AsyncIterator[Driver]:
    """A driver that takes part in consensus; leaving the context stops it and closes its files."""
    seed = read_seed(config.node.consensus_key, "the consensus key")
    me = MemberId(config.node.member_id)
    check_identity(genesis.spec, me, seed)
    async with contextlib.AsyncExitStack() as stack:
        store = BlockStore(config.node.data_dir / "db", genesis.spec.hash)
        stack.callback(store.close)
        sign_file = SignFile(config.node.data_dir)
        stack.callback(sign_file.close)
        chain = Chain(genesis, store, Executor(default_registry()))
        driver = _wire(config, chain, me, seed, sign_file, fail)
        await driver.transport.start()
        stack.push_async_callback(driver.transport.stop)
        driver.start()
        stack.push_async_callback(driver.stop)
        yield driver


def _wire(
    config: NodeConfig, chain: Chain, me: MemberId, seed: bytes, sign_file: SignFile, fail: Callable[[BaseException], None]
) -> Driver:
    switchboard = _Switchboard()
    limits = MempoolLimits(config.mempool.max_transactions, config.mempool.max_bytes, config.mempool.sender_share_percent)
    mempool = Mempool(limits)
    transport = Transport(
        LocalIdentity(me, config.node.tls_certificate.read_bytes(), read_secret(config.node.tls_key, "the TLS key")),
        chain.genesis_hash,
        chain.committee.members,
        switchboard,
        listen_host=config.p2p.host,
        listen_port=config.p2p.port,
        tip=switchboard.tip,
        wall_ms=now_ms,
        software_version=version("datacar"),
    )
    switchboard.driver = Driver(
        chain=chain,
        replica=_replica(config, chain, me, sign_file.load()),
        seed=seed,
        sign_file=sign_file,
        intake=Intake(chain, mempool, switchboard.accepted),
        finality=Finality(chain, mempool),
        transport=transport,
        batch_delay_ms=config.consensus.batch_delay_ms,
        fail=fail,
    )
    return switchboard.driver


def _replica(config: NodeConfig, chain: Chain, me: MemberId, state: SignState | None) -> Replica:
    """The replica as the disk left it. Without a sign-state it is quarantined: the state is made together with the key."""
    if state is None:
        log.warning("no readable sign-state: signing nothing until the chain has grown past every vote this key may have cast")
    params = chain.parameters
    timing = Timing(params.base_timeout_ms, params.timeout_cap_ms, config.consensus.resend_ms, params.clock_drift_ms)
    replica_config = ReplicaConfig(me, chain.genesis_hash, params.block_max_transactions, timing)
    return Replica(replica_config, chain.committee, Tip(chain.tip, chain.tip_hash, chain.tip_certificate), state)


def check_identity(spec: GenesisSpec, me: MemberId, seed: bytes) -> None:
    """Raise when the key is not the one that genesis names for this member: its votes would be refused by everyone."""
    member = spec.committee.get(me)
    if member is None or member.public_key != public_key(seed):
        names = ", ".join(item.id for item in spec.committee.members)
        raise RejectedError(
            "not_permitted",
            f"{me} with this key is not a member of {spec.chain_id} (members: {names})",
            hint="check node.member_id and node.consensus_key against the genesis file",
        )

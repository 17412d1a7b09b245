"""What a running node answers to wallets and operators: `NodeApi` over the driver and the chain."""

import time
from dataclasses import asdict
from functools import partial
from importlib.metadata import version
from typing import Final

from genesis.block import GenesisBlock
from ledger.errors import DatacarError
from ledger.types import Height, MemberId
from node.api import ConsensusStatus, NodeTime, PeerStatus, Readiness
from node.chain_service import ChainService
from node.clock import DevelopmentClock
from node.damage import is_damage
from node.disk_watch import DiskOutageError, Outage
from node.driver import Driver
from p2p.peers import PeerInfo

VERSION: Final = version("datacar")  # looked up once: it reads files
STALLED_MS: Final = 5_000
LAG_BLOCKS: Final = 3
STALE_HEARTBEATS: Final = 3


class NodeService(ChainService):
    """The node as its RPC layer sees it."""

    def __init__(
        self, genesis: GenesisBlock, driver: Driver, faucet_seed: bytes | None, settable: DevelopmentClock | None = None
    ) -> None:
        super().__init__(genesis, driver.chain, driver.intake, driver.finality, faucet_seed, driver.clock)
        self._driver = driver
        self._settable = settable
        self._started_s = time.monotonic()
        self._outage: Outage | None = None

    def stand_down(self, outage: Outage) -> None:
        """Say from now on that the disk fails, take no transaction, and end the waits: the driver has stopped for good.

        What is stored can be read all the same. Called again with the outage as it stands now.
        """
        self._outage = outage
        self._driver.intake.close(lambda: DiskOutageError(outage))
        self._driver.finality.close(f"this node cannot write to its disk ({outage.reason})")

    def note_failure(self, error: DatacarError) -> None:
        """Stop taking part when a request met damage: the store tells of what it finds itself, this is what only proofs show."""
        if is_damage(error):
            self._driver.stop_for(error)

    @property
    def member_id(self) -> MemberId:
        """This node's member."""
        return self._driver.replica.config.me

    def time(self) -> NodeTime:
        """Return what this node's clock says."""
        clock = self._settable
        return super().time() if clock is None else NodeTime(clock(), clock.offset_ms, clock.promised_ms)

    def set_ahead(self, ms: int, from_height: Height | None = None) -> Height:
        """Set the clock ahead for good, in step with the other members. Raises `RejectedError`, `OSError` for the disk's."""
        if self._settable is None:
            return super().set_ahead(ms, from_height)
        self._settable.promise(ms)
        return self._driver.jumps.ask(partial(self._settable.set_ahead, ms), from_height)

    def consensus_status(self) -> ConsensusStatus:
        """Return where the protocol stands."""
        replica = self._driver.replica
        return ConsensusStatus(replica.height, replica.view, replica.primary, replica.phase, replica.votes, self._stalled())

    def _stalled(self) -> str | None:
        replica = self._driver.replica
        if self._outage is not None:
            return str(self._outage)
        if replica.halted is not None:
            return replica.halted.reason
        if missing := self._missing_for_quorum():
            return f"no_quorum: {', '.join(missing)} not connected, {self.committee.quorum} of {self.committee.size} are needed"
        waiting_ms = self._now_ms() - self._driver.last_commit_ms
        if self._driver.intake.mempool.pending and waiting_ms > STALLED_MS:
            return f"no_progress: {self._driver.intake.mempool.pending} transactions wait, no block for {waiting_ms} ms"
        return None

    def _missing_for_quorum(self) -> list[MemberId]:
        """Return the members that are not connected when those that are make no quorum."""
        connected = {peer.member_id for peer in self._driver.network.peers() if peer.connected} | {self.member_id}
        missing = [member.id for member in self.committee.members if member.id not in connected]
        return missing if self.committee.size - len(missing) < self.committee.quorum else []

    def peers(self) -> tuple[PeerStatus, ...]:
        """Return the other members as seen from here."""
        return tuple(self._peer(peer) for peer in self._driver.network.peers())

    def _peer(self, peer: PeerInfo) -> PeerStatus:
        height = self._driver.sync.tips.get(peer.member_id)
        return PeerStatus(peer.member_id, peer.address, str(peer.direction), peer.connected, height, peer.rtt_ms, peer.last_error)

    def status(self) -> dict[str, object]:
        """Return version, uptime, sizes and counters of this node."""
        mempool, state_sync = self._driver.intake.mempool, self._driver.sync.state_sync.progress
        return {
            "version": VERSION,
            "member_id": self.member_id,
            "chain_id": self.chain_id,
            "height": self.tip.height,
            "block_hash": "0x" + self.tip_hash.hex(),
            "uptime_ms": int((time.monotonic() - self._started_s) * 1_000),
            "mempool": {"transactions": len(mempool), "bytes": mempool.size_bytes, "unverified": self._driver.intake.backlog},
            "committed": {"blocks": self._driver.committed_blocks, "transactions": self._driver.committed_transactions},
            "peers_connected": sum(peer.connected for peer in self._driver.network.peers()),
            "strangers_refused": self._driver.network.strangers_refused,
            "syncing": self._driver.sync.running,
            "state_sync": None if state_sync is None else asdict(state_sync),
        }

    def _lag(self) -> str | None:
        """Return how far behind the others this node is, when that matters: by many blocks, or by long ones.

        Wallets say until when a transaction is valid by the last block's time: by one of last week it is over at once.
        """
        behind, age_ms = self._driver.sync.target - self.tip.height, self._now_ms() - self.tip.timestamp_ms
        if behind > LAG_BLOCKS or (behind > 0 and age_ms > STALE_HEARTBEATS * self.parameters.heartbeat_ms):
            return f"{behind} blocks behind, the last one here is {age_ms} ms old"
        return None

    def readiness(self) -> Readiness:
        """Return whether this node can serve and why not."""
        missing = self._missing_for_quorum()
        checks = {
            "disk": "ok" if self._outage is None else str(self._outage),
            "quorum": f"not connected: {', '.join(missing)}" if missing else "ok",
            "sync": self._lag() or "ok",
            "consensus": "ok" if self._driver.replica.halted is None else self._driver.replica.halted.reason,
        }
        return Readiness(all(value == "ok" for value in checks.values()), checks)

"""What a new tip says of this node and the others: the members, the key that is ours, the rules that blocks are judged by."""

from collections.abc import Iterable

import structlog

from consensus.pacing import Timing
from consensus.replica import Replica
from ledger.committee import Member
from node.chain import Chain
from node.key_ring import KeyRing
from node.ports import Network
from node.sync import BlockSync
from vm.contracts.governance_state import Membership

log = structlog.get_logger("consensus")


class Standing:
    """Has network, sync and replica go by the tip's members and rules."""

    def __init__(self, chain: Chain, replica: Replica, keys: KeyRing, network: Network, sync: BlockSync) -> None:
        self._chain = chain
        self._replica = replica
        self._keys = keys
        self._network = network
        self._sync = sync
        self._shown: tuple[Membership, int] | None = None

    def take(self) -> None:
        """Take up what the tip says."""
        self._take_members()
        self._take_bounds()

    def _take_members(self) -> None:
        """Have the network know the members, and replaced certificates in their grace; use our key on record."""
        membership, now_ms = self._chain.membership, self._chain.tip.timestamp_ms
        previous = {item.certificate: item.member_id for item in membership.retired if item.until_ms >= now_ms}
        if self._shown == (membership, len(previous)):
            return
        self._shown = (membership, len(previous))
        members = (*membership.committee.members, *membership.observers)
        self._network.set_members(members, previous)
        self._sync.keep_only({member.id for member in members})
        self._use_key_on_record(members)
        self._replica.hold_keys(self._keys.public_keys)

    def _use_key_on_record(self, members: Iterable[Member]) -> None:
        """Sign with the key that the chain names for us, and say so when we cannot."""
        me = next((member for member in members if member.id == self._replica.config.me), None)
        if me is None:
            log.warning("the chain here names no such member: following without a vote", height=self._chain.tip.height)
        elif self._keys.settle(me.public_key):
            log.info("the next consensus key is in use; the replaced one is erased", height=self._chain.tip.height)
        elif me.public_key not in self._keys.public_keys:
            hint = "put the key on record into the consensus key's file, or rotate again"
            log.error("the chain names another consensus key for us: following without a vote", hint=hint)

    def _take_bounds(self) -> None:
        """Keep the bounds and timeouts that the chain sets for the next height."""
        params, config = self._chain.parameters, self._replica.config
        timing = Timing(params.base_timeout_ms, params.timeout_cap_ms, config.timing.resend_ms, params.clock_drift_ms)
        if (config.max_transactions, config.timing) != (params.block_max_transactions, timing):
            self._replica.set_bounds(params.block_max_transactions, timing)
            log.info("the chain has other parameters", height=self._chain.tip.height)

"""Changes of members in the middle of a run: the organisations behind the members propose, vote, attest and rotate keys.

They act through any node, like wallets, and give up on nothing: what a fault undoes they try again until it is through or the
run is over.
"""

import asyncio
import hashlib
from typing import TYPE_CHECKING, Final

from ledger.block import Status
from ledger.codec import Value
from ledger.crypto import public_key
from ledger.types import MemberId
from node.api import TxStatus
from tests.sim.host import Host
from tests.sim.plan import Change, MemberChange
from vm.contracts.governance_possession import prove_possession
from vm.contracts.governance_types import NAME as GOVERNANCE

if TYPE_CHECKING:
    from tests.sim.world import World

LOOK_S: Final = 0.2
TRIES: Final = 6


class Governor:
    """Carries out the member changes of a plan. `done` counts those that went through."""

    def __init__(self, world: "World") -> None:
        self._world = world
        self._tasks: list[asyncio.Task[None]] = []
        self._turn = asyncio.Lock()
        self._rotations = 0

    def begin(self, change: MemberChange) -> None:
        """Set a change going."""
        self._tasks.append(self._world.loop.create_task(self._change(change)))

    @property
    def busy(self) -> bool:
        """Return whether a change is under way."""
        return any(not task.done() for task in self._tasks)

    def stop(self) -> None:
        """Give up: the run is over."""
        for task in self._tasks:
            task.cancel()

    async def _change(self, change: MemberChange) -> None:
        host = self._world.hosts[change.host]
        async with self._turn:
            match change.change:
                case Change.JOIN:
                    done = await self._join(host)
                case Change.LEAVE:
                    done = await self._decide("propose_remove", host.member, "it leaves", None)
                case Change.ROTATE:
                    done = await self._rotate(host)
        self._world.counts[f"members: {change.change}" if done else "members: given up"] += 1
        self._world.trace.note("members", f"{change.change} of {host.name}: {'done' if done else 'given up'}")

    async def _join(self, host: Host) -> bool:
        """An observer first; promoted once it has shown that it follows the chain."""
        host.wanted_up = True
        host.start()
        keys = host.keys
        record: Value = (keys.member.public_key, keys.member.certificate, keys.member.p2p_address, keys.account, keys.possession)
        if not await self._decide("propose_add_observer", host.member, record, "it joins", None):
            return False
        oracles = self._world.oracles
        while oracles.tips.get(host.index, 0) == 0:  # noqa: ASYNC110 (in virtual time looking again costs nothing)
            await asyncio.sleep(LOOK_S)
        height = oracles.tips[host.index]
        attested = await self._call(host, "attest_synced", height, oracles.decided[height].block_hash)
        return attested is not None and await self._decide("propose_promote", host.member, "it follows", None)

    async def _rotate(self, host: Host) -> bool:
        """The next key lies in the host's files before the chain hears of it."""
        self._rotations += 1
        seed = hashlib.sha256(f"rotated {host.name} {self._rotations}".encode()).digest()
        host.key_files.next = seed
        possession = prove_possession(seed, host.member, host.keys.account)
        return await self._call(host, "rotate_key", public_key(seed), possession) is not None

    async def _decide(self, method: str, *args: Value) -> bool:
        """Propose, and have all others approve; return whether the proposal was carried out."""
        voters = self._voters()
        proposal = await self._call(voters[0], method, *args)
        if proposal is None:
            return False
        votes = [self._world.loop.create_task(self._call(voter, "vote", proposal, True)) for voter in voters[1:]]
        answers = [await vote for vote in votes]
        return "executed" in answers

    def _voters(self) -> list[Host]:
        """Return the hosts of the present validators."""
        committee = self._world.oracles.membership.committee
        return [host for host in self._world.organisations if committee.get(host.member) is not None]

    async def _call(self, host: Host, method: str, *args: Value) -> Value:
        """Return what a call of the contract in a member's name returns; None when it fails."""
        for _ in range(TRIES):
            status = await self._send(host.member, method, args)
            if status.receipt is not None and status.receipt.status is Status.SUCCEEDED:
                result: Value = status.receipt.results[0]
                return True if result is None else result
            if status.receipt is not None and status.receipt.error is not None:
                self._world.trace.note("members", f"{method} for {host.name} failed: {status.receipt.error.code}")
        return None

    async def _send(self, member: MemberId, method: str, args: tuple[Value, ...]) -> TxStatus:
        account = next(index for index, keys in enumerate(self._world.network.keys) if keys.member.id == member)
        return await self._world.clients.settle(account, GOVERNANCE, method, args)

"""Byzantine members: whole real nodes whose outgoing messages pass through lies, which see all of them and may do anything.

A lying member signs with its own key only. What it makes is well formed more often than not: garbage is refused at the first
check, and would try nothing behind it.
"""

import random
from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING, Final

from consensus.sign_state import SignState
from ledger.transaction import Transaction
from node.driver import Driver
from node.sign_file import SignFile
from tests.sim.chain import ADDRESSES
from tests.sim.host import Host
from tests.sim.lies import Forger, Misbehaviour
from tests.sim.lies_certificates import Certificates
from tests.sim.lies_data import LyingSync, Replay, Selective, WithheldBodies
from tests.sim.lies_votes import Equivocation, FarFuture, Mutation, SlowPrimary, VoteFlood, WrongRoot
from tests.sim.network import Endpoint, Outgoing
from tests.sim.plan import Lie

if TYPE_CHECKING:
    from tests.sim.world import World

VICTIM_ACCOUNT: Final = 0

MISBEHAVIOURS: Final[dict[Lie, Callable[[Forger, random.Random], Misbehaviour]]] = {
    Lie.EQUIVOCATION: Equivocation,
    Lie.CERTIFICATES: Certificates,
    Lie.WITHHELD_BODIES: WithheldBodies,
    Lie.LYING_SYNC: LyingSync,
    Lie.VOTE_FLOOD: VoteFlood,
    Lie.FAR_FUTURE: FarFuture,
    Lie.SLOW_PRIMARY: SlowPrimary,
    Lie.WRONG_ROOT: WrongRoot,
    Lie.MUTATION: Mutation,
    Lie.SELECTIVE: Selective,
    Lie.REPLAY: Replay,
}


def corrupt(world: "World", host: Host, lies: Iterable[Lie]) -> None:
    """Make a host lie from now on, in each of its lives."""
    lies = tuple(lies)
    genesis = world.network.genesis.spec
    others = [member.id for member in genesis.committee.members if member.id != host.member]
    forger = Forger(host.keys.consensus_seed, host.member, genesis.hash, others)
    chain = [
        MISBEHAVIOURS[lie](forger, random.Random(f"{lie} {host.index} {world.plan.seed}")) for lie in lies if lie in MISBEHAVIOURS
    ]

    def built(driver: Driver, endpoint: Endpoint) -> None:
        if chain:
            endpoint.lie = lambda item: _through(chain, item)
        if Lie.CENSOR in lies:
            _censor(driver)

    host.on_built = built
    if Lie.AMNESIA in lies:
        _forget_now_and_then(world, host)


def _through(chain: list[Misbehaviour], first: Outgoing) -> Iterable[Outgoing]:
    """Return what becomes of a message that passes all lies in turn."""
    items = [first]
    for lie in chain:
        items = [made for item in items for made in lie.outgoing(item)]
    return items


def _censor(driver: Driver) -> None:
    """Never propose anything of the victim's."""
    mempool = driver.intake.mempool
    candidates = mempool.candidates

    def without_victim() -> Iterable[Transaction]:
        return (transaction for transaction in candidates() if transaction.sender != ADDRESSES[VICTIM_ACCOUNT])

    mempool.candidates = without_victim  # type: ignore[method-assign,assignment]


def _forget_now_and_then(world: "World", host: Host) -> None:
    """Restart at any moment with a blank sign-state and no quarantine: it votes again where it voted before."""
    rng = random.Random(f"amnesia {host.index} {world.plan.seed}")

    def wake() -> None:
        opened = host.disk.open()
        host.disk.contents.slots[:] = [b"", b""]
        SignFile(opened.slots).save(SignState())
        host.start()
        world.loop.after_ms(rng.randint(100, 3_000), fall)

    def fall() -> None:
        host.power_off("it forgets on purpose")
        world.loop.after_ms(rng.randint(1, 300), wake)

    world.loop.after_ms(rng.randint(200, 3_000), fall)

"""The bounds that a node must keep in memory, whatever others send it (rule 10)."""

from collections.abc import Callable, Iterator
from typing import Final

from consensus.inbox import MAX_MESSAGES
from consensus.round import MAX_PROPOSALS
from consensus.votes import VIEWS_AHEAD
from node.driver import Driver
from node.intake import MAX_EXTRA, MAX_UNVERIFIED
from node.snapshot_server import MAX_QUEUED
from tests.sim.host import MEMPOOL

Bound = tuple[str, Callable[[Driver], int], Callable[[int], int]]

BOUNDS: Final[tuple[Bound, ...]] = (
    ("mempool", lambda driver: len(driver.intake.mempool), lambda _n: MEMPOOL.max_transactions),
    ("mempool bytes", lambda driver: driver.intake.mempool.size_bytes, lambda _n: MEMPOOL.max_bytes),
    ("unverified gossip", lambda driver: driver.intake.backlog, lambda n: n * MAX_UNVERIFIED),
    ("extra bodies", lambda driver: len(driver.intake._extra), lambda _n: MAX_EXTRA),
    ("executed blocks", lambda driver: len(driver.proposals.executed), lambda _n: 2 * MAX_PROPOSALS),
    ("executions under way", lambda driver: len(driver.proposals._executions), lambda _n: 2 * MAX_PROPOSALS),
    ("wanted blocks", lambda driver: len(driver.proposals.bodies._wanted), lambda n: 4 * n),
    ("tips", lambda driver: len(driver.sync.tips), lambda n: n),
    ("snapshot offers", lambda driver: len(driver.sync.state_sync.offers), lambda n: n),
    ("snapshot requests", lambda driver: driver._snapshots.queued, lambda n: n * MAX_QUEUED),
    ("inbox", lambda driver: driver.door.waiting, lambda n: n * MAX_MESSAGES),
    ("proposals", lambda driver: len(driver.replica._round.proposals), lambda _n: MAX_PROPOSALS),
    ("judged proposals", lambda driver: len(driver.replica._round.following), lambda _n: 2 * MAX_PROPOSALS),
    ("view changes", lambda driver: len(driver.replica._round.views.messages()), lambda n: n),
)


def broken_bounds(driver: Driver, members: int) -> Iterator[str]:
    """Yield each bound that a node has outgrown."""
    for name, measure, bound in BOUNDS:
        if (size := measure(driver)) > bound(members):
            yield f"{name}: {size}, at most {bound(members)}"
    round_ = driver.replica._round
    for book in (round_.prepares, round_.commits):
        limit = (VIEWS_AHEAD + round_.failed_views + 2) * members
        if (size := len(book.messages(round_.start_view))) > limit:
            yield f"votes: {size}, at most {limit}"

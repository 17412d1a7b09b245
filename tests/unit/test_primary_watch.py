"""Rule 9 (a): a primary just under the timeout is replaced, one on an overloaded machine is not, and nobody storms."""

from consensus.watch import ALLOWED_MS, WINDOW, PrimaryWatch
from ledger.types import MemberId
from tests.consensus_net import Network, Node

P = MemberId("m0")


def block(watch: PrimaryWatch, delay_ms: int, execution_ms: int = 0, proposer: MemberId | None = P) -> None:
    watch.work_began(1_000)
    watch.proposed(1_000 + delay_ms)
    watch.executed(execution_ms)
    watch.committed(proposer)


def test_mean_over_the_window_decides() -> None:
    watch = PrimaryWatch()
    for _ in range(100):
        block(watch, ALLOWED_MS)
    assert not watch.is_slow(P)
    for _ in range(WINDOW):
        block(watch, ALLOWED_MS + 1)
    assert watch.is_slow(P)


def test_one_slow_block_is_forgiven_and_a_row_of_them_is_noticed_before_the_window_is_full() -> None:
    watch = PrimaryWatch()
    block(watch, 3_000)
    assert not watch.is_slow(P)
    block(watch, 900)
    block(watch, 900)
    assert watch.is_slow(P), "whatever the other blocks take, the mean over 16 is too high already"


def test_execution_that_takes_long_here_excuses_the_primary() -> None:
    watch = PrimaryWatch()
    for _ in range(WINDOW):
        block(watch, 1_000, execution_ms=200)
    assert not watch.is_slow(P), "250 + 4 x 200 ms are allowed"


def test_time_without_work_does_not_count() -> None:
    watch = PrimaryWatch()
    for _ in range(WINDOW):
        watch.proposed(60_000)
        watch.committed(P)
    assert not watch.is_slow(P)


def test_each_complaint_doubles_the_allowance_and_good_blocks_take_it_back() -> None:
    watch = PrimaryWatch()
    for _ in range(2):
        watch.complained()
    for _ in range(WINDOW):
        block(watch, 4 * ALLOWED_MS)
    assert not watch.is_slow(P)
    for _ in range(200):
        block(watch, 0)
    for _ in range(WINDOW):
        block(watch, ALLOWED_MS + 1)
    assert watch.is_slow(P)


def test_another_primary_starts_with_a_clean_record() -> None:
    watch = PrimaryWatch()
    for _ in range(WINDOW):
        block(watch, 900)
    block(watch, 0, proposer=MemberId("m1"))
    assert not watch.is_slow(MemberId("m1"))
    assert not watch.is_slow(P)


def slow_primary(net: Network, index: int, delay_ms: int) -> None:
    """Make a member say its proposals so much later than it could."""
    build = net._carry_out

    def carry_out(node: Node, effect: object) -> None:
        if node.index == index and type(effect).__name__ == "BuildBlock":
            net.at(net.now + delay_ms, lambda: build(node, effect))  # type: ignore[arg-type]
        else:
            build(node, effect)  # type: ignore[arg-type]

    net._carry_out = carry_out  # type: ignore[method-assign]


def test_primary_just_under_the_timeout_is_replaced_for_good() -> None:
    """m0 takes 900 ms for each proposal: at least 70 % of the honest rate remain, over 20 s."""
    honest, slow = Network(4, seed=1), Network(4, seed=1)
    slow_primary(slow, 0, 900)
    honest.run(20_000)
    slow.run(20_000)
    assert slow.nodes[1].replica.view >= 1
    assert min(slow.heights()) >= 0.7 * min(honest.heights())


def test_honest_members_on_a_slow_network_do_not_depose_one_another_for_ever() -> None:
    """Every message takes 400 ms: over the allowance of all primaries alike, so the allowance grows until it is peaceful."""
    net = Network(4, seed=3, delay_ms=(380, 400))
    net.run(300_000)
    view, height = net.nodes[0].replica.view, min(net.heights())
    net.run(120_000)
    assert net.nodes[0].replica.view - view <= 1
    assert min(net.heights()) > height + 50

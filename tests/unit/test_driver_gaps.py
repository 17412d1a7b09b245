"""One real driver alone with what others send it: what it checks, keeps, asks for and refuses.

A planted bug of `tests.mutants` that no other test saw has its test here.
"""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from consensus.messages import Commit, Prepare, PrePrepare, Signed, Step, ViewChange
from ledger.block import Block
from ledger.transaction import Transaction
from ledger.types import BlockHash, Height, MemberId, View
from node.chain import Chain, ExecutedBlock
from node.driver import Driver
from node.fairness import PATIENCE_MS
from node.sign_file import open_sign_file
from p2p.messages import NO_HASH, Application, Blocks, Bodies, Consensus, GetBlocks, GetBodies, Status
from tests.one_driver import NAMES, NETWORK, NOW, SilentNetwork, certify, item, one_driver, open_chain, wire
from tests.patience import PATIENCE_S

ONE, ZERO = Height(1), View(0)
ANOTHER = BlockHash(b"x" * 32)


@pytest.fixture
def chain(tmp_path: Path) -> Iterator[Chain]:
    """The others' chain, still empty."""
    (tmp_path / "others").mkdir()
    with open_chain(tmp_path / "others") as opened:
        yield opened


def payment(number: int = 1) -> Transaction:
    return NETWORK.transfer(4, 5, number, NOW + 30_000, number.to_bytes(8))


def build(chain: Chain, *transactions: Transaction) -> ExecutedBlock:
    return chain.build(transactions, 100, ZERO, NAMES[0], NOW)[0]


async def happens(condition: Callable[[], object]) -> None:
    """Let the loop go round until the condition holds."""
    loop = asyncio.get_running_loop()
    held, give_up_s = asyncio.Event(), loop.time() + PATIENCE_S

    def look() -> None:
        if condition() or loop.time() > give_up_s:
            held.set()
        else:
            loop.call_later(0.001, look)

    look()
    await held.wait()
    assert condition()


async def settled(driver: Driver) -> None:
    """Wait until no blocks are being fetched or applied."""
    async with asyncio.timeout(PATIENCE_S):
        while busy := {task for task in (driver.sync._task, driver.sync._sent) if task is not None and not task.done()}:
            await asyncio.wait(busy)


# ---- catching up (rule 12)


def lies(chain: Chain) -> dict[str, bytes]:
    """Return blocks that must not be taken, each wrong in one way."""
    good, other = build(chain, payment(1)), build(chain, payment(2))
    certificate = certify(chain, good.header)
    return {
        "one vote short": item(good.block, certify(chain, good.header, (0, 1))),
        "another header's certificate": item(other.block, certificate),
        "other bodies": item(Block(good.header, other.block.transactions), certificate),
        "no bodies": item(Block(good.header, ()), certificate),
    }


@pytest.mark.parametrize("lie", ["one vote short", "another header's certificate", "other bodies", "no bodies"])
async def test_block_that_its_quorum_did_not_certify_is_not_taken_and_halts_nobody(
    tmp_path: Path, chain: Chain, lie: str
) -> None:
    good = build(chain, payment(1))
    with one_driver(tmp_path) as (driver, _):
        driver.on_message(NAMES[1], Blocks((lies(chain)[lie],)))
        await settled(driver)
        assert (driver.chain.tip.height, driver.replica.halted) == (0, None)
        driver.on_message(NAMES[1], Blocks((item(good.block, certify(chain, good.header)),)))
        await settled(driver)
        assert driver.chain.tip_hash == good.block_hash
        await driver.stop()


async def test_certified_block_that_executes_differently_halts(tmp_path: Path, chain: Chain) -> None:
    header = replace(build(chain).header, state_root=bytes(32))
    with one_driver(tmp_path) as (driver, _):
        driver.on_message(NAMES[1], Blocks((item(Block(header, ()), certify(chain, header)),)))
        await settled(driver)
        assert driver.chain.tip.height == 0
        assert driver.replica.halted is not None
        await driver.stop()


async def test_source_that_lies_or_is_silent_is_passed_over(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    """m2 lies as often as it is asked, m3 says nothing; m1 is honest but named last."""
    monkeypatch.setattr("node.sync.TIMEOUT_S", 0.05)
    good = build(chain, payment(1))
    lie, truth = lies(chain)["one vote short"], item(good.block, certify(chain, good.header))
    with one_driver(tmp_path) as (driver, network):

        def answer(to: MemberId | None, message: Application) -> None:
            if isinstance(message, GetBlocks) and to in (NAMES[1], NAMES[2]):
                blocks = Blocks((lie if to == NAMES[1] else truth,))
                asyncio.get_running_loop().call_soon(driver.on_message, to, blocks)

        network.on_send = answer
        driver.sync.tips.update({NAMES[0]: ONE, NAMES[1]: ONE})
        driver.sync.request(NAMES[1])
        await settled(driver)
        assert network.asked(GetBlocks) == [NAMES[1], NAMES[0]], "each was asked once, and both were given up"
        driver.on_message(NAMES[2], Status(Height(2), ANOTHER))
        await settled(driver)
        assert driver.chain.tip_hash == good.block_hash
        await driver.stop()


async def test_source_of_what_is_here_already_is_passed_over(tmp_path: Path, chain: Chain) -> None:
    """It states a tip that is far away and sends as many blocks as it promised, none of them the next one: no end to that."""
    good = build(chain, payment(1))
    certified = item(good.block, certify(chain, good.header))
    with one_driver(tmp_path) as (driver, network):

        def answer(to: MemberId | None, message: Application) -> None:
            if isinstance(message, GetBlocks) and to == NAMES[0] and len(network.sent) < 50:
                asyncio.get_running_loop().call_soon(driver.on_message, to, Blocks((certified,) * message.count))

        network.on_send = answer
        driver.sync.tips[NAMES[0]] = Height(2**50)
        driver.sync.request(NAMES[0])
        await settled(driver)
        assert driver.chain.tip_hash == good.block_hash
        assert len(network.asked(GetBlocks)) == 2, "the second answer brought nothing"
        await driver.stop()


def test_connecting_anew_takes_back_nothing_that_was_said(tmp_path: Path) -> None:
    """The handshake of somebody unproven tells a height alone: a state sync goes on with the snapshot it offered."""
    with one_driver(tmp_path) as (driver, _):
        driver.sync.request = lambda hint: None  # type: ignore[method-assign]
        driver.on_unproven_tip(NAMES[0], Status(Height(9), ANOTHER, Height(5), Height(4)))
        driver.on_unproven_tip(NAMES[0], Status(Height(10), NO_HASH))
        assert driver.sync.tips[NAMES[0]] == 10
        assert driver.sync.state_sync.offers[NAMES[0]] == 4
        assert not driver.sync._has_next(NAMES[0]), "block 1 is not among those it has"


# ---- bodies (K3)


def propose(built: ExecutedBlock) -> Consensus:
    hashes = tuple(transaction.tx_hash for transaction in built.transactions)
    return wire(0, PrePrepare(ONE, ZERO, built.header, hashes))


def said(network: SilentNetwork) -> list[object]:
    """Return what the driver said itself."""
    sent = [message for to, message in network.sent if to is None and isinstance(message, Consensus)]
    return [Signed.decode(message.payload).message for message in sent]


async def test_missing_body_is_asked_of_the_proposer_then_of_another_and_what_nobody_asked_for_is_not_kept(
    tmp_path: Path, chain: Chain, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.bodies.RETRY_S", 0.02)
    built = build(chain, payment(1))
    with one_driver(tmp_path) as (driver, network):
        driver.start()
        driver.on_message(NAMES[1], Bodies(built.block_hash, (payment(2).raw,)))
        assert driver.intake.backlog == 0
        driver.on_message(NAMES[0], propose(built))
        await happens(lambda: len(network.asked(GetBodies)) >= 2)
        first, second = network.asked(GetBodies)[:2]
        assert first == NAMES[0]
        assert second in NAMES[1:3]
        driver.on_message(NAMES[1], Bodies(built.block_hash, (payment(2).raw, payment(1).raw)))
        assert not driver.intake.has_unverified(payment(2).tx_hash)
        await happens(lambda: Prepare(ONE, ZERO, built.block_hash) in said(network))
        assert driver.intake.find(payment(2).tx_hash) is None
        await driver.stop()


async def test_bodies_of_a_prepared_block_are_those_of_its_root_in_their_order(tmp_path: Path, chain: Chain) -> None:
    built = build(chain, payment(1), payment(2))
    raws = built.block.transactions
    with one_driver(tmp_path) as (driver, network):
        driver.proposals.bodies.want_block(built.header, built.block_hash, NAMES)
        assert network.asked(GetBodies) == list(NAMES[:3])
        for wrong in (raws[:1], raws[::-1], (payment(3).raw,)):
            assert driver.proposals.bodies.on_bodies(Bodies(built.block_hash, wrong)) is None
        found = driver.proposals.bodies.on_bodies(Bodies(built.block_hash, raws))
        assert found is not None
        assert found.tx_hashes == (payment(1).tx_hash, payment(2).tx_hash)


# ---- votes and the disk (rules 5 and 6)


async def test_block_and_words_are_on_disk_when_a_vote_leaves(tmp_path: Path, chain: Chain) -> None:
    built = build(chain, payment(1))
    on_disk: dict[type, tuple[Step, bool]] = {}
    with one_driver(tmp_path) as (driver, network):

        def look(to: MemberId | None, message: Application) -> None:
            if to is None and isinstance(message, Consensus):
                vote = Signed.decode(message.payload).message
                file = open_sign_file(tmp_path)
                state = file.load()
                file.close()
                assert state is not None
                on_disk[type(vote)] = state.floor.step, driver.chain.store.pending(built.block_hash) is not None

        network.on_send = look
        driver.start()
        driver.on_message(NAMES[0], Bodies(built.block_hash, ()))
        driver.on_message(NAMES[0], propose(built))
        await happens(lambda: network.asked(GetBodies))
        driver.on_message(NAMES[0], Bodies(built.block_hash, built.block.transactions))
        await happens(lambda: Prepare in on_disk)
        for index in (0, 1):
            driver.on_message(NAMES[index], wire(index, Prepare(ONE, ZERO, built.block_hash)))
        await happens(lambda: Commit in on_disk)
        assert on_disk == {Prepare: (Step.PREPARE, False), Commit: (Step.COMMIT, True)}
        await driver.stop()


# ---- a censoring primary (rule 9 b)


async def test_primary_whose_block_passes_a_transaction_over_is_left(tmp_path: Path, chain: Chain) -> None:
    """It was sent to all again over five seconds ago, and the block that is decided now had room for it."""
    empty, left_out = build(chain), payment(1)
    with one_driver(tmp_path) as (driver, network):
        driver.start()
        driver.intake.mempool.add(left_out)
        driver._fairness.told(left_out.id, NOW - PATIENCE_MS)
        driver.on_message(NAMES[0], propose(empty))
        await happens(lambda: Prepare(ONE, ZERO, empty.block_hash) in said(network))
        for index in range(3):
            driver.on_message(NAMES[index], wire(index, Commit(ONE, ZERO, empty.block_hash)))
        assert driver.chain.tip_hash == empty.block_hash
        assert said(network)[-1] == ViewChange(Height(2), View(1), None)
        await driver.stop()


# ---- messages (rules 1 and 10)


async def test_early_vote_waits_for_its_height_and_is_then_counted(tmp_path: Path, chain: Chain) -> None:
    good = build(chain)
    with one_driver(tmp_path) as (driver, _):
        driver.start()
        driver.on_message(NAMES[1], wire(1, Prepare(Height(2), ZERO, ANOTHER)))
        assert driver.replica.votes["prepares"] == 0
        driver.on_message(NAMES[1], Blocks((item(good.block, certify(chain, good.header)),)))
        await settled(driver)
        assert driver.replica.height == 2
        assert driver.replica.votes["prepares"] == 1
        await driver.stop()


async def test_forged_message_is_never_counted_and_costs_the_connection(tmp_path: Path) -> None:
    vote = wire(1, Prepare(ONE, ZERO, ANOTHER))
    forged = Consensus(replace(Signed.decode(vote.payload), signature=bytes(64)).encode())
    with one_driver(tmp_path) as (driver, network):
        driver.start()
        for _ in range(2):
            driver.on_message(NAMES[2], forged)
        assert driver.replica.votes["prepares"] == 0
        assert network.dropped == [NAMES[2], NAMES[2]]
        driver.on_message(NAMES[2], vote)
        assert driver.replica.votes["prepares"] == 1
        await driver.stop()


async def test_hint_of_a_later_height_counts_from_its_signer_only(tmp_path: Path) -> None:
    """Nothing of a later height can be checked: in another's name it would send us to whoever the liar likes."""
    ahead = wire(1, Prepare(Height(9), ZERO, ANOTHER))
    with one_driver(tmp_path) as (driver, _):
        driver.start()
        caught_up = []
        for sender in (NAMES[2], NAMES[1]):
            driver.on_message(sender, ahead)
            caught_up.append(driver.sync.running)
        assert caught_up == [False, True]
        await driver.stop()


async def test_evidence_is_in_the_store(tmp_path: Path) -> None:
    with one_driver(tmp_path) as (driver, _):
        driver.start()
        for block_hash in (ANOTHER, BlockHash(b"y" * 32)):
            driver.on_message(NAMES[1], wire(1, Prepare(ONE, ZERO, block_hash)))
        assert len(driver.chain.store.evidence()) == 1
        await driver.stop()

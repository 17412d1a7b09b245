"""What one member cannot do to a node beside consensus: keep wallets out, break links, or make it work for nothing."""

from pathlib import Path

import pytest

from consensus.messages import Prepare, Signed, ViewChange
from ledger.crypto import public_key
from ledger.errors import LimitError
from ledger.policy import KeyPolicy
from ledger.transaction import Call, TransactionBody, chain_tag_of
from ledger.types import BlockHash, Height, TxHash, View
from node.intake import MAX_BACKLOG, Intake
from node.mempool import Mempool, MempoolLimits
from node.sieve import CHANGES_BURST, CHANGES_PER_S, Sieve
from p2p.messages import Bodies, GetBodies, encode
from tests.consensus_net import Network
from tests.one_driver import NAMES, NETWORK, NOW, one_driver, open_chain


async def test_empty_prepared_block_is_given_to_who_asks(tmp_path: Path) -> None:
    """A heartbeat's block has no bodies; who must propose it again waits for the answer all the same."""
    with one_driver(tmp_path) as (driver, network):
        empty = driver.chain.build((), 100, View(0), NAMES[0], NOW)[0]
        driver.chain.store.put_pending(empty.block_hash, empty.block)
        driver.on_message(NAMES[1], GetBodies(empty.block_hash, ()))
        assert network.asked(Bodies) == [NAMES[1]]


async def test_answer_with_bodies_fits_its_frame(tmp_path: Path) -> None:
    """40 transactions of 60 kB are more than a frame holds: an honest node's answer must not break its own link."""
    with one_driver(tmp_path) as (driver, network):
        frames: list[bytes] = []
        network.on_send = lambda _to, message: frames.append(encode(message))
        big = [NETWORK.call(4, "asset", "transfer", (b"x" * 60_000, 1), NOW + 30_000, n.to_bytes(8)) for n in range(40)]
        driver.gossip.receive(NAMES[0], tuple(item.raw for item in big))
        driver.intake.verify_some(100, NOW)
        assert len(driver.intake.mempool) == 40
        driver.on_message(NAMES[1], GetBodies(BlockHash(b"b" * 32), tuple(item.tx_hash for item in big)))
        assert network.asked(Bodies) == [NAMES[1]]
        await driver.stop()


async def test_one_members_garbage_keeps_no_wallet_out_and_costs_it_the_connection(tmp_path: Path) -> None:
    with one_driver(tmp_path) as (driver, _):
        driver.gossip.receive(NAMES[0], tuple(b"garbage %d" % n for n in range(2 * MAX_BACKLOG)))
        driver.intake.admit(NETWORK.transfer(4, 5, 1, NOW + 30_000, bytes(8)), NOW)
        assert driver.intake.verify_some(10, NOW) == {NAMES[0]}
        await driver.stop()


async def test_backlog_of_more_than_f_members_closes_the_door(tmp_path: Path) -> None:
    """Whoever takes more from wallets than everyone can verify has it dropped as gossip elsewhere."""
    with one_driver(tmp_path) as (driver, _):
        for index in (0, 1):
            for n in range(MAX_BACKLOG):
                driver.intake._keep(TxHash(bytes([index]) + n.to_bytes(31)), b"x", NAMES[index])
        with pytest.raises(LimitError) as caught:
            driver.intake.admit(NETWORK.transfer(4, 5, 1, NOW + 30_000, bytes(8)), NOW)
        assert (caught.value.reason, caught.value.details["limit"]) == ("pool_full", MAX_BACKLOG)
        await driver.stop()


def test_gossip_verification_leaves_a_proposals_bodies_alone(tmp_path: Path) -> None:
    """With a full pool the drain would throw them away before the proposal's collector comes round."""
    with open_chain(tmp_path) as chain:
        intake = Intake(chain, Mempool(MempoolLimits(max_transactions=1)), lambda *_: None)
        intake.admit(NETWORK.transfer(4, 5, 1, NOW + 30_000, bytes(8)), NOW)
        wanted = NETWORK.transfer(5, 4, 1, NOW + 30_000, bytes(8))
        intake.take_wanted(wanted.tx_hash, wanted.raw)
        intake.verify_some(24, NOW)
        assert intake.has_unverified(wanted.tx_hash)
        assert intake.verify_now(wanted.tx_hash, NOW) == intake.find(wanted.tx_hash)


def test_gossip_that_nobody_can_pay_leaves_room_for_wallets(tmp_path: Path) -> None:
    """Keys cost nothing: what cannot even pay its gas does not fill the pool."""
    with open_chain(tmp_path) as chain:
        intake = Intake(chain, Mempool(MempoolLimits(max_transactions=200)), lambda *_: None)
        call, tag = Call("asset", "transfer", (bytes(33), 1)), chain_tag_of(chain.genesis_hash)
        seeds = [n.to_bytes(32) for n in range(200)]
        bodies = [
            TransactionBody(KeyPolicy.single(public_key(seed)), bytes(8), NOW + 50_000, tag, (call,), 400_000) for seed in seeds
        ]
        signed = [body.sign(chain.genesis_hash, (seed,)) for body, seed in zip(bodies, seeds, strict=True)]
        intake.offer([item.raw for item in signed], NAMES[0])
        assert intake.verify_some(1_000, NOW) == frozenset(), "it is no lie, only useless"
        assert len(intake.mempool) == 0
        intake.admit(NETWORK.transfer(4, 5, 1, NOW + 30_000, bytes(8)), NOW)


def test_view_changes_without_end_are_verified_a_few_a_second() -> None:
    net = Network(4, 7)
    sieve, flood = Sieve(net.nodes[0].replica), range(1, 200)
    now_ms = float(net.now)
    passed = [view for view in flood if sieve.passes(NAMES[0], _change(net, view), int(now_ms))]
    assert len(passed) == CHANGES_BURST
    assert sieve.passes(NAMES[1], _change(net, 300), int(now_ms)), "what another member delivers has its own share"
    assert sieve.passes(NAMES[0], _change(net, 301), int(now_ms + 2_000 / CHANGES_PER_S))
    vote = Signed(Prepare(Height(1), View(0), BlockHash(bytes(32))), net.nodes[1].id, bytes(64))
    assert sieve.passes(NAMES[0], vote, int(now_ms))


def _change(net: Network, view: int) -> Signed:
    return Signed(ViewChange(Height(1), View(view), None), net.nodes[1].id, bytes(64))

"""Members come, go and change their keys on a running network: real drivers, LevelDB, sockets and TLS (protocol, rule 13)."""

import secrets
import time
from dataclasses import replace

import pytest

from ledger.block import Status
from ledger.claims import StateClaim, StateEntry
from ledger.codec import Value
from ledger.crypto import public_key
from ledger.errors import DatacarError
from ledger.proof import Proof
from ledger.types import Height, MemberId
from node.api import TxState
from node.block_store import StorageError
from node.damage import note_damage
from node.key_ring import NEXT_SUFFIX
from node.secret_files import read_seed, write_seed
from tests.core_network import ADDRESSES, CoreNetwork, Networks, until
from tests.patience import PATIENCE_MS, PATIENCE_S
from vm.contracts.asset import balance_key
from vm.contracts.governance_possession import prove_possession

JOINER = 4


async def govern(net: CoreNetwork, index: int, method: str, *args: Value, via: int | None = None) -> Value:
    """Send a call of the governance contract and return its result; it must succeed."""
    service, item = net.service(index if via is None else via), net.govern(index, method, *args)
    (answer,) = await service.submit([item.raw])
    assert answer.error is None, answer.error
    status = await service.wait_final(item.id, PATIENCE_MS)
    assert status.receipt is not None
    assert status.receipt.status is Status.SUCCEEDED, status.receipt.error
    return status.receipt.results[0]


async def decide(net: CoreNetwork, method: str, *args: Value, voters: tuple[int, ...] = (0, 1, 2)) -> None:
    """Propose by the first of `voters` and have the others approve until it is carried out."""
    proposal = await govern(net, voters[0], method, *args)
    for index in voters[1:]:
        await govern(net, index, "vote", proposal, True)


async def pay(net: CoreNetwork, via: int) -> Height:
    """Commit a transfer and return its height."""
    service, item = net.service(via), net.transfer(0, ADDRESSES[1], 1)
    (answer,) = await service.submit([item.raw])
    assert answer.error is None
    status = await service.wait_final(item.id, PATIENCE_MS)
    assert status.state is TxState.SUCCEEDED
    assert status.height is not None
    return status.height


def candidate(net: CoreNetwork, index: int) -> Value:
    keys = net.keys[index]
    return (keys.member.public_key, keys.member.certificate, keys.member.p2p_address, keys.account, keys.possession)


def signers(net: CoreNetwork, height: Height, via: int = 0) -> set[MemberId]:
    """Return who signed the certificate of a height, which must be of the committee at that height."""
    chain = net.drivers[via].chain
    certificate = chain.store.certificate(height)
    assert certificate is not None
    certificate.check(chain.genesis_hash, chain.committee)  # the last change of members lies before this block
    return set(certificate.signers(chain.committee))


async def all_vote(net: CoreNetwork, members: set[MemberId], via: int = 0) -> None:
    """Each of `members` votes on a new block, and nobody else counts in its certificate."""
    height = await pay(net, via)
    assert signers(net, height, via) <= members
    drivers = [driver for driver in net.drivers.values() if driver.replica.config.me in members]
    assert len(drivers) == len(members)
    deadline = time.monotonic() + PATIENCE_S
    while not all(driver.replica._signer.state.floor.height >= height for driver in drivers):
        assert time.monotonic() < deadline, "somebody does not vote"
        await pay(net, via)  # one that heard of that block when it was decided already votes on the next


async def proofs_hold(net: CoreNetwork) -> None:
    """Under the third committee: receipts and states of all times are believed from genesis on, and not with a handover amiss."""
    service, item = net.service(0), net.transfer(0, ADDRESSES[1], 1)
    await service.submit([item.raw])
    await service.wait_final(item.id, PATIENCE_MS)
    proof = await service.prove_receipt(item.id)
    assert proof is not None
    genesis_hash, key = net.genesis.spec.hash, balance_key(ADDRESSES[1])
    assert Proof.decode(proof.encode()).verify(genesis_hash).epoch == 2
    assert len(proof.handovers) == 2
    first, second = proof.handovers
    for bad in ((), (first,), (second,), (second, first), (first, first), (first, replace(second, following=first.following))):
        with pytest.raises(DatacarError):
            replace(proof, handovers=bad).verify(genesis_hash)
    for height in range(service.tip.height + 1):
        version = service.state_at(Height(height))
        claim = StateClaim((StateEntry(key, version.get(key), version.prove(key)),))
        believed = service.prove(Height(height), claim).verify(genesis_hash)
        assert believed.epoch == sum(step.certificate.header.height < height for step in proof.handovers)


async def test_organisation_joins_follows_votes_and_another_leaves(networks: Networks) -> None:
    net = networks(joiners=1)
    await net.start(0, 1, 2, 3)
    await net.ready()
    await pay(net, 0)
    await net.start(JOINER)
    name = net.keys[JOINER].member.id
    await decide(net, "propose_add_observer", name, candidate(net, JOINER), "joins the consortium", None)
    joiner = net.drivers[JOINER]
    await until(lambda: joiner.chain.tip.height == net.drivers[0].chain.tip.height)
    assert joiner.replica.phase == "observer"
    tip = joiner.chain.tip
    await govern(net, JOINER, "attest_synced", tip.height, joiner.chain.tip_hash, via=0)
    await decide(net, "propose_promote", name, "it follows", None)
    await until(lambda: len({driver.chain.committee.hash(bytes(32)) for driver in net.drivers.values()}) == 1)
    assert net.drivers[0].chain.committee.size == 5
    await all_vote(net, {keys.member.id for keys in net.keys})

    gone = net.keys[1].member.id
    await decide(net, "propose_remove", gone, "leaves the consortium", None, voters=(0, 2, 3, JOINER))
    await until(lambda: all(gone not in driver.chain.committee.index_of for i, driver in net.drivers.items() if i != 1))
    await all_vote(net, {keys.member.id for keys in net.keys} - {gone})
    await until(lambda: all(not peer.connected for peer in net.drivers[1].network.peers()))
    await net.stop()
    await net.start(0, 2, 3, JOINER)
    assert net.drivers[JOINER].chain.committee.size == 4, "the committee is read from the state, not from genesis"
    await all_vote(net, {keys.member.id for keys in net.keys} - {gone})
    await proofs_hold(net)
    await net.stop()
    assert net.failures == []


async def test_observer_that_joined_later_comes_back_from_damage(networks: Networks) -> None:
    """The chain that a set-aside store leaves is genesis, which does not know it; nor has it ever signed anything."""
    net = networks(joiners=1)
    await net.start()
    await net.ready(0, 1, 2, 3)
    await decide(net, "propose_add_observer", net.keys[JOINER].member.id, candidate(net, JOINER), "follows", None)
    await until(lambda: net.drivers[JOINER].chain.tip.height == net.drivers[0].chain.tip.height)
    await net.stop(JOINER)
    node = net.configs[JOINER].node.model_copy(update={"join": False})
    net.configs[JOINER] = net.configs[JOINER].model_copy(update={"node": node})
    note_damage(node.data_dir, StorageError("store_corrupt", "a flipped bit", hint=""))
    for _ in range(2):  # again before it knows what it knew
        await net.start(JOINER)
        await net.stop(JOINER)
    await net.start(JOINER)
    await until(lambda: net.drivers[JOINER].chain.tip.height == net.drivers[0].chain.tip.height)
    await net.stop()
    assert net.failures == []


async def test_consensus_key_is_replaced_while_the_network_runs(networks: Networks) -> None:
    net = networks()
    await net.start()
    await net.ready()
    path, new_seed = net.configs[2].node.consensus_key, secrets.token_bytes(32)
    old_seed = read_seed(path, "the key")
    write_seed(path.with_name(path.name + NEXT_SUFFIX), new_seed)
    name = MemberId(net.keys[2].member.id)
    await govern(net, 2, "rotate_key", public_key(new_seed), prove_possession(new_seed, name, net.keys[2].account))
    await until(lambda: all(_key(net, i, name) == public_key(new_seed) for i in range(4)))
    await all_vote(net, {keys.member.id for keys in net.keys})
    assert read_seed(path, "the key") == new_seed != old_seed
    assert not path.with_name(path.name + NEXT_SUFFIX).exists(), "the replaced key is erased"
    await net.stop(2)
    await net.start(2)
    await all_vote(net, {keys.member.id for keys in net.keys})
    await net.stop()
    assert net.failures == []


def _key(net: CoreNetwork, index: int, name: MemberId) -> bytes:
    member = net.drivers[index].chain.committee.get(name)
    assert member is not None
    return member.public_key
